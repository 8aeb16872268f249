//! One document over HTTPS, at addresses that are given: an MTA-STS policy (RFC 8461, 3.3), an autoconfig file.
//!
//! No redirect is followed, no proxy asked, and no more than 64 KiB and one octet kept. The certificate is judged by the
//! system's roots and the host's name.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::header;
use rustls::RootCertStore;

use super::trust::Roots;
use crate::model::plan::printable_line;

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets that are kept: one more than a policy may have, so that a longer one is seen to be so.
const MAX_BODY: usize = 65_537;
/// Characters of a reason that are shown.
const SHOWN: usize = 300;

/// What a web server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The media type without parameters, in lower case.
    pub media_type: String,
    /// The body, cut after 64 KiB and one octet.
    pub body: Vec<u8>,
}

/// Gets `https://HOST/PATH` from one of these addresses, port 443.
///
/// # Errors
/// Why nothing came, in words fit for a terminal.
pub async fn get(host: &str, path: &str, addresses: &[IpAddr], roots: &Roots) -> Result<Page, String> {
    let failed = |error: &dyn std::error::Error| {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        printable_line(innermost.to_string().as_bytes(), SHOWN)
    };
    let mut store = RootCertStore::empty();
    store.roots.extend(roots.anchors().iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(store)
        .with_no_client_auth();
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| SocketAddr::new(*address, 443))
        .collect();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .user_agent(concat!("mailcert/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .resolve_to_addrs(host, &addresses)
        .timeout(PATIENCE)
        .build()
        .map_err(|error| failed(&error))?;
    let mut response = client
        .get(format!("https://{host}{path}"))
        .send()
        .await
        .map_err(|error| failed(&error))?;
    let media_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        let room = MAX_BODY - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == MAX_BODY {
            break;
        }
    }
    Ok(Page {
        status,
        media_type,
        body,
    })
}
