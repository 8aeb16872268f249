//! Carries requests to a CA, with limits on time and size.
//!
//! One connection is kept and used again. Redirects are not followed: RFC 8555 has none. Only `https` URLs are asked. A
//! test CA may speak plain HTTP on a loopback address, when its directory is there: no other CA can make us talk to what
//! listens on this host.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use reqwest::Url;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{error::AcmeError, poll, problem::Problem};

/// Which roots the CA's own HTTPS is verified by.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Only these, in PEM: for a private or test CA.
    Only(Vec<u8>),
    /// The system's.
    System,
}

/// How long and how large an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For one request, from its beginning to the end of its answer.
    pub request: Duration,
    /// For an answer's body, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            body: 1 << 20,
        }
    }
}

/// Our side of HTTP. Cheap to clone; clones share the connection and the count.
#[derive(Clone, Debug)]
pub struct Http(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    limits: Limits,
    n_requests: AtomicU32,
    /// Whether the directory itself is asked by plain HTTP.
    plain: AtomicBool,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Which URL was asked for.
    pub url: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, within the limit.
    pub body: Bytes,
}

impl Http {
    /// Prepares the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when there is no usable root certificate.
    pub fn new(trust: &Trust, limits: Limits) -> Result<Self, AcmeError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| AcmeError::Invalid(format!("cannot set up TLS: {error}")))?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("mailcert/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .timeout(limits.request)
            .build()
            .map_err(|error| AcmeError::Invalid(format!("cannot set up HTTP: {}", innermost(&error))))?;
        Ok(Self(Arc::new(Inner {
            client,
            limits,
            n_requests: AtomicU32::new(0),
            plain: AtomicBool::new(false),
        })))
    }

    /// Returns how many requests have been sent.
    pub fn n_requests(&self) -> u32 {
        self.0.n_requests.load(Ordering::Relaxed)
    }

    /// Gets the directory, whose URL is the operator's own: when that is plain HTTP, what it names may be.
    pub(crate) async fn get_directory(&self, url: &str) -> Result<Answer, AcmeError> {
        let is_plain = Url::parse(url).is_ok_and(|url| url.scheme() == "http");
        self.0.plain.store(is_plain, Ordering::Relaxed);
        self.get(url).await
    }

    /// Gets a document that needs no account.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer, AcmeError> {
        self.send(Method::GET, url, None, |_| ()).await
    }

    /// Sends one request; `at_head` sees the headers before the body is waited for.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        jose_json: Option<Bytes>,
        at_head: impl FnOnce(&Answer),
    ) -> Result<Answer, AcmeError> {
        let url_asked = checked(url, self.0.plain.load(Ordering::Relaxed))?;
        let mut request = self.0.client.request(method, url_asked);
        if let Some(body) = jose_json {
            request = request
                .header(header::CONTENT_TYPE, "application/jose+json")
                .body(body);
        }
        self.0.n_requests.fetch_add(1, Ordering::Relaxed);
        let mut response = request.send().await.map_err(|error| self.explain(url, &error))?;
        let mut answer = Answer {
            url: url.to_owned(),
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: Bytes::new(),
        };
        at_head(&answer);
        let limit = self.0.limits.body;
        let too_large = || AcmeError::TooLarge {
            url: url.to_owned(),
            limit,
        };
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.explain(url, &error))?
        {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        answer.body = body.freeze();
        Ok(answer)
    }

    /// Says which kind of failure it was; reqwest has the reason some levels down.
    fn explain(&self, url: &str, error: &reqwest::Error) -> AcmeError {
        let url = url.to_owned();
        if let Some(tls) = tls_error(error) {
            return match tls {
                rustls::Error::InvalidCertificate(reason) => AcmeError::Untrusted {
                    url,
                    reason: certificate_reason(reason),
                },
                other => AcmeError::Tls {
                    url,
                    reason: other.to_string(),
                },
            };
        }
        let limits = &self.0.limits;
        if error.is_timeout() {
            return AcmeError::Timeout {
                url,
                after: if error.is_connect() {
                    limits.connect
                } else {
                    limits.request
                },
            };
        }
        let reason = innermost(error);
        if error.is_connect() {
            AcmeError::Connect { url, reason }
        } else {
            AcmeError::Cut { url, reason }
        }
    }
}

impl Answer {
    /// Returns a header as text.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns when the CA wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        poll::retry_after(
            self.header(header::RETRY_AFTER)?,
            crate::env::Clock::System.now().into(),
        )
    }

    /// Returns the nonce that came with it (RFC 8555, 6.5.1).
    pub fn nonce(&self) -> Option<String> {
        self.header("replay-nonce").map(str::to_owned)
    }

    /// Returns the answer's beginning, for an error message.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(200).collect()
    }

    /// Lets a success pass and makes an error of everything else.
    pub fn success(self) -> Result<Self, AcmeError> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(self.refusal())
        }
    }

    /// Returns the refusal that this answer is.
    pub fn refusal(&self) -> AcmeError {
        let (status, retry_after) = (self.status.as_u16(), self.retry_after());
        match Problem::parse(&self.body) {
            Some(problem) if problem.acme_kind() == Some("accountDoesNotExist") => {
                AcmeError::AccountDoesNotExist(problem)
            }
            Some(problem) if problem.is_deactivation() => AcmeError::Deactivated(problem.into()),
            Some(problem) => AcmeError::Problem {
                problem: problem.into(),
                status,
                retry_after,
            },
            None => AcmeError::Status {
                url: self.url.clone(),
                status,
                retry_after,
                excerpt: self.excerpt(),
            },
        }
    }

    /// Returns the error for an answer that has the wrong shape.
    pub fn not_acme(&self, reason: &impl ToString) -> AcmeError {
        AcmeError::NotAcme {
            url: self.url.clone(),
            reason: reason.to_string(),
            excerpt: self.excerpt(),
        }
    }

    /// Reads the body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_acme(&error))
    }
}

/// Parses a URL and refuses what would go over the network in the clear; `plain` lets plain HTTP pass on this host.
fn checked(url: &str, plain: bool) -> Result<Url, AcmeError> {
    let invalid = |reason: &str| AcmeError::Invalid(format!("`{url}` cannot be asked: {reason}"));
    let parsed = Url::parse(url).map_err(|_| invalid("it is not a URL"))?;
    let is_loopback = match parsed.host_str() {
        None => return Err(invalid("it has no host")),
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    };
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if is_loopback && plain => Ok(parsed),
        _ => Err(invalid("it must begin with https://")),
    }
}

/// Loads the roots.
fn roots(trust: &Trust) -> Result<rustls::RootCertStore, AcmeError> {
    let mut store = rustls::RootCertStore::empty();
    match trust {
        Trust::Only(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                certificate
                    .map_err(|error| error.to_string())
                    .and_then(|certificate| store.add(certificate).map_err(|error| error.to_string()))
                    .map_err(|reason| {
                        AcmeError::Invalid(format!(
                            "a root certificate for the CA's HTTPS is unusable: {reason}"
                        ))
                    })?;
            }
        }
        Trust::System => {
            let loaded = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(loaded.certs);
        }
    }
    if store.is_empty() {
        let reason = match trust {
            Trust::Only(_) => "there is no certificate in the file of root certificates",
            Trust::System => {
                "there are no root certificates on this system; install the package ca-certificates"
            }
        };
        return Err(AcmeError::Invalid(reason.to_owned()));
    }
    Ok(store)
}

/// Finds the TLS failure below other errors.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // `source` of an io::Error steps over the error that it wraps.
        next = match error.downcast_ref::<std::io::Error>() {
            Some(io) => io
                .get_ref()
                .map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// Says why a certificate is not trusted.
fn certificate_reason(reason: &rustls::CertificateError) -> String {
    match reason {
        rustls::CertificateError::UnknownIssuer => "its issuer is not among the trusted roots".to_owned(),
        other => other.to_string(),
    }
}

/// Returns the deepest cause: the one that says something.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_https_and_loopback_only() {
        let check = |url: &str, expected: bool| {
            assert_eq!(checked(url, true).is_ok(), expected, "{url}");
            assert_eq!(
                checked(url, false).is_ok(),
                expected && url.starts_with("https:"),
                "{url}"
            );
        };
        check("https://acme.example/directory", true);
        check("http://127.0.0.1:14000/dir", true);
        check("http://[::1]:14000/dir", true);
        check("http://localhost:14000/dir", true);
        check("http://acme.example/directory", false);
        check("http://127.0.0.1.example/dir", false);
        check("http://192.0.2.1/dir", false);
        check("ftp://127.0.0.1/", false);
        check("file:///etc/passwd", false);
        check("", false);
        check("directory", false);
    }

    #[test]
    fn wants_at_least_one_root() {
        let check = |pem: &str| {
            assert!(
                matches!(
                    Http::new(&Trust::Only(pem.into()), Limits::default()),
                    Err(AcmeError::Invalid(_))
                ),
                "{pem}"
            );
        };
        check("");
        check("no certificate");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        check("-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n");
    }
}
