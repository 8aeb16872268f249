//! TXT records through an HTTP server of the operator's, as lego's provider httpreq speaks to it.
//!
//! `POST <endpoint>/present` and `/cleanup` with `{"fqdn": "…", "value": "…"}`; a status of 2xx is yes. Basic authentication
//! where the configuration has a user name. Nothing can be listed there: what is at a name is asked from its zone's servers.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Capabilities, Listing, Provider, Reply, Swap, Writer, change_in_steps, list_from_servers, plain_text,
};
use crate::{
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
        endpoint: &str,
        auth: Option<BasicAuth<'_>>,
        tls: rustls::ClientConfig,
        resolver: Resolver,
    ) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("mailcert/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .map_err(|error| error.to_string())?;
        let authorization = auth.map(|auth| {
            let pair = Zeroizing::new(format!("{}:{}", auth.username, auth.password));
            Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        });
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            authorization,
            client,
            resolver,
        })
    }

    /// Has each value set up or taken away.
    async fn each(&self, verb: &str, name: &DomainName, values: &[Rdata]) -> Result<(), DnsError> {
        let provider = format!("the server {}", self.endpoint);
        for value in values {
            let text = plain_text(&provider, name, value)?;
            let body = json!({ "fqdn": format!("{name}."), "value": text }).to_string();
            self.post(verb, body).await.map_err(|(reason, written)| {
                DnsError::Provider(Box::new(ProviderFailure {
                    provider: provider.clone(),
                    doing: format!("{verb} a TXT record at {name}"),
                    reason,
                    remedy: Some(
                        "look at that server's log, and at endpoint, username and password of dns.provider"
                            .to_owned(),
                    ),
                    written,
                }))
            })?;
        }
        Ok(())
    }

    async fn post(&self, verb: &str, body: String) -> Result<(), (String, Written)> {
        let mut request = self
            .client
            .post(format!("{}/{verb}", self.endpoint))
            .header("Content-Type", "application/json")
            .header("Accept", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.as_str());
        }
        let failed = |error: reqwest::Error| {
            let written = if error.is_connect() {
                Written::No
            } else {
                Written::Maybe
            };
            (innermost(&error), written)
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
        Err((format!("it answered {status}: {}", said.trim()), written))
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
            types: &[RecordType::Txt],
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
