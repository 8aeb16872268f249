//! TXT records through an HTTP server of the operator's, as lego's provider httpreq speaks to it.
//!
//! `POST <endpoint>/present` and `/cleanup` with `{"fqdn": "…", "value": "…"}`; a status of 2xx is yes. Basic authentication
//! where the configuration has a user name. Nothing can be listed there: what is at a name is asked from its zone's servers.
//!
//! In lego's mode RAW the server is told `{"domain": "…", "token": "…", "keyAuth": "…"}` and makes the record of a challenge
//! itself: it can be told of nothing else.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Capabilities, Listing, Provider, Reply, Swap, Writer, change_in_steps, list_from_servers, plain_text,
};
use crate::{
    config::provider::HttpReqMode,
    dns::{
        error::{DnsError, ProviderFailure, Written},
        resolver::Resolver,
    },
    model::{
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::Rrset,
    },
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of an answer that are looked at.
const SHOWN: usize = 2000;

/// A server that writes TXT records.
pub struct HttpReq {
    endpoint: String,
    mode: HttpReqMode,
    patience: Duration,
    /// The value of the Authorization header.
    authorization: Option<Zeroizing<String>>,
    client: reqwest::Client,
    resolver: Resolver,
}

/// User name and password for the server.
pub struct BasicAuth<'a> {
    /// The user name.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
}

impl HttpReq {
    /// Returns the provider; `tls` says whom to trust where the endpoint is an https URL.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(
        (endpoint, mode): (&str, HttpReqMode),
        auth: Option<BasicAuth<'_>>,
        tls: rustls::ClientConfig,
        resolver: Resolver,
    ) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("mailcert/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let authorization = auth.map(|auth| {
            let pair = Zeroizing::new(format!("{}:{}", auth.username, auth.password));
            Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        });
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            mode,
            patience: PATIENCE,
            authorization,
            client,
            resolver,
        })
    }

    /// Has each value set up or taken away.
    async fn each(&self, verb: &str, name: &DomainName, values: &[Rdata]) -> Result<(), DnsError> {
        for value in values {
            let text = plain_text(&self.name(), name, value)?;
            let body = json!({ "fqdn": format!("{name}."), "value": text }).to_string();
            self.told(verb, &format!("a TXT record at {name}"), body).await?;
        }
        Ok(())
    }

    /// Has the server make the record of a challenge, which it knows how to (mode RAW).
    ///
    /// # Errors
    /// When it does not say that it has.
    pub async fn present_challenge(
        &self,
        name: &DomainName,
        token: &str,
        key_authorization: &str,
    ) -> Result<(), DnsError> {
        self.of_challenge("present", name, token, key_authorization).await
    }

    /// Has the server take away the record of a challenge (mode RAW).
    ///
    /// # Errors
    /// When it does not say that it has.
    pub async fn cleanup_challenge(
        &self,
        name: &DomainName,
        token: &str,
        key_authorization: &str,
    ) -> Result<(), DnsError> {
        self.of_challenge("cleanup", name, token, key_authorization).await
    }

    async fn of_challenge(
        &self,
        verb: &str,
        name: &DomainName,
        token: &str,
        key_authorization: &str,
    ) -> Result<(), DnsError> {
        let body = json!({ "domain": name.as_str(), "token": token, "keyAuth": key_authorization });
        self.told(verb, &format!("the challenge of {name}"), body.to_string())
            .await
    }

    fn name(&self) -> String {
        format!("the server {}", self.endpoint)
    }

    async fn told(&self, verb: &str, what: &str, body: String) -> Result<(), DnsError> {
        let failed = |failure: Failure| {
            DnsError::Provider(Box::new(ProviderFailure {
                provider: self.name(),
                doing: format!("{verb} {what}"),
                remedy: Some(failure.remedy().to_owned()),
                reason: failure.reason,
                written: failure.written,
            }))
        };
        self.post(verb, body).await.map_err(failed)
    }

    async fn post(&self, verb: &str, body: String) -> Result<(), Failure> {
        let mut request = self
            .client
            .post(format!("{}/{verb}", self.endpoint))
            .timeout(self.patience)
            .header("Content-Type", "application/json")
            .header("Accept", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.as_str());
        }
        let failed = |error: reqwest::Error| Failure {
            reason: match error.is_timeout() {
                true => format!("nothing came within {} s", self.patience.as_secs_f32()),
                false => innermost(&error),
            },
            status: None,
            written: match error.is_connect() {
                true => Written::No,
                false => Written::Maybe,
            },
        };
        let mut response = request.body(body).send().await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let mut said = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            said.extend_from_slice(&chunk);
            if said.len() >= SHOWN {
                said.truncate(SHOWN);
                break;
            }
        }
        let said = String::from_utf8_lossy(&said);
        let written = if status.is_client_error() {
            Written::No
        } else {
            Written::Maybe
        };
        Err(Failure {
            reason: format!("it answered {status}: {}", said.trim()),
            status: Some(status.as_u16()),
            written,
        })
    }
}

/// Why a server did not do what it was told.
struct Failure {
    reason: String,
    /// The status of its answer, where there was one.
    status: Option<u16>,
    written: Written,
}

impl Failure {
    fn remedy(&self) -> &'static str {
        match self.status {
            Some(401) => "compare username and password of dns.provider with what that server knows",
            Some(403) => "let that server allow this user name to change these records",
            Some(404) => {
                "look whether `endpoint` of dns.provider is what `/present` and `/cleanup` are below"
            }
            Some(429) => "it limits how often it may be asked: run it again later",
            Some(500..) => "look at that server's log, and run it again when it is well",
            Some(_) => "look at that server's log, and at dns.provider",
            None => "look whether that server runs, and whether `endpoint` of dns.provider leads to it",
        }
    }
}

/// Returns the error that the others are only wrapped around: the outer ones repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

impl Provider for HttpReq {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            types: match self.mode {
                HttpReqMode::Raw => &[],
                HttpReqMode::Record => &[RecordType::Txt],
            },
            list: Listing::Dns,
            swap: Swap::Compared,
            writer: Writer::Machine,
        }
    }

    fn list<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Reply<'a, Rrset> {
        Box::pin(list_from_servers(&self.resolver, zone, name, kind))
    }

    fn add<'a>(
        &'a self,
        _: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        _: u32,
    ) -> Reply<'a, ()> {
        Box::pin(self.each("present", name, values))
    }

    fn remove<'a>(&'a self, _: &'a DomainName, name: &'a DomainName, values: &'a [Rdata]) -> Reply<'a, ()> {
        Box::pin(self.each("cleanup", name, values))
    }

    fn change<'a>(&'a self, change: &'a RrsetChange) -> Reply<'a, ()> {
        Box::pin(change_in_steps(self, change))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Tells a server that answers with this, or with nothing at all, and returns what came of it and what it was sent.
    async fn told(answer: Option<&str>) -> (String, Option<String>, Written) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/x/", listener.local_addr().unwrap());
        let tls = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let resolver = Resolver::new(Vec::new());
        let auth = BasicAuth {
            username: "mail",
            password: "geheim",
        };
        let at = (endpoint.as_str(), HttpReqMode::Record);
        let mut server = HttpReq::new(at, Some(auth), tls, resolver).unwrap();
        if answer.is_none() {
            server.patience = Duration::from_millis(50);
        }
        let name: DomainName = "a.test".parse().unwrap();
        let values = [Rdata::text("value")];
        let answered = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let mut said = Vec::new();
            while !said.ends_with(b"}") {
                let length = stream.read(&mut buffer).await.unwrap();
                assert!(length > 0);
                said.extend_from_slice(&buffer[..length]);
            }
            if let Some(answer) = answer {
                let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsaid");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
            stream
        };
        let (result, _stream) = tokio::join!(server.add(&name, &name, &values, 60), answered);
        match result.unwrap_err() {
            DnsError::Provider(failure) => {
                let text = DnsError::Provider(failure.clone()).to_string();
                assert!(
                    !text.contains("geheim") && !text.contains("bWFpbDpnZWhlaW0="),
                    "{text}"
                );
                (text, failure.remedy, failure.written)
            }
            error => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn every_refusal_is_told_as_what_it_is() {
        for (answer, remedy, written) in [
            ("401 Unauthorized", "username and password", Written::No),
            ("403 Forbidden", "allow this user name", Written::No),
            ("404 Not Found", "`endpoint`", Written::No),
            ("429 Too Many Requests", "run it again later", Written::No),
            ("500 Internal Server Error", "log", Written::Maybe),
            ("503 Service Unavailable", "when it is well", Written::Maybe),
            ("302 Found", "log", Written::Maybe),
        ] {
            let (text, told, found) = told(Some(answer)).await;
            assert!(text.contains(&format!("it answered {answer}: said")), "{text}");
            assert!(told.unwrap().contains(remedy), "{text}");
            assert_eq!(found, written, "{answer}");
        }
        let (text, told, found) = told(None).await;
        assert!(text.contains("nothing came within 0.05 s"), "{text}");
        assert!(told.unwrap().contains("whether that server runs"));
        assert_eq!(found, Written::Maybe);
    }
}
