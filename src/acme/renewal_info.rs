//! When a CA wants a certificate renewed (RFC 9773).

use std::{fmt, time::Duration};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{FromDer, X509Certificate},
};

use super::{directory::Directory, error::AcmeError, http::Http};

/// No URL of an explanation that is longer, in bytes, is kept.
const URL_LIMIT: usize = 2048;

/// How a certificate is named to the CA that issued it (RFC 9773, 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateId(String);

impl CertificateId {
    /// Reads the id out of a certificate.
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when it is no certificate, or does not name its issuer's key.
    pub fn of(certificate_der: &[u8]) -> Result<Self, AcmeError> {
        let invalid =
            |reason: &str| AcmeError::Invalid(format!("the certificate cannot be named to the CA: {reason}"));
        let (_, certificate) =
            X509Certificate::from_der(certificate_der).map_err(|_| invalid("it is not a certificate"))?;
        let key_id =
            certificate
                .extensions()
                .iter()
                .find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
                    _ => None,
                });
        let key_id = key_id.ok_or_else(|| invalid("it has no authority key identifier"))?;
        Ok(Self::new(key_id.0, certificate.raw_serial()))
    }

    /// Makes the id of a key identifier and a serial number as it stands in the certificate, leading zero included.
    fn new(authority_key_id: &[u8], serial: &[u8]) -> Self {
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Self(format!("{}.{}", encode(authority_key_id), encode(serial)))
    }

    /// Takes an id as it was saved; a wrong one is only ever refused by the CA.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the two halves.
    pub(crate) fn halves(&self) -> Option<(&str, &str)> {
        self.0.split_once('.')
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the CA says about one certificate (RFC 9773, 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// The renewal window's beginning.
    pub start: OffsetDateTime,
    /// The renewal window's end; after the beginning.
    pub end: OffsetDateTime,
    /// A page that says why, when there is something to say.
    pub explanation_url: Option<String>,
    /// How long the answer holds: between a minute and a day, six hours when the CA does not say.
    pub retry_after: Duration,
}

/// The answer as it is sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    suggested_window: Window,
    #[serde(rename = "explanationURL", default)]
    explanation_url: Option<String>,
}

/// The window as it is sent.
#[derive(Deserialize)]
struct Window {
    #[serde(with = "time::serde::rfc3339")]
    start: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    end: OffsetDateTime,
}

impl RenewalInfo {
    /// Asks the CA.
    ///
    /// # Errors
    /// [`AcmeError::Unsupported`] when the CA has no renewal information; [`AcmeError::NotAcme`] for a window that ends
    /// before it begins; else what a request can fail with.
    pub async fn fetch(http: &Http, directory: &Directory, id: &CertificateId) -> Result<Self, AcmeError> {
        let base = directory
            .links
            .renewal_info
            .as_deref()
            .ok_or(AcmeError::Unsupported("renewal information"))?;
        let answer = http
            .get(&format!("{}/{id}", base.trim_end_matches('/')))
            .await?
            .success()?;
        let document: Document = answer.json()?;
        Self::read(document, answer.retry_after())
            .ok_or_else(|| answer.not_acme(&"the window ends before it begins"))
    }

    /// Reads the answer's body; `None` for what is none, or a window that ends before it begins.
    pub fn parse(body: &[u8], retry_after: Option<Duration>) -> Option<Self> {
        Self::read(serde_json::from_slice(body).ok()?, retry_after)
    }

    /// Judges the answer; `None` for a window that ends before it begins.
    fn read(document: Document, retry_after: Option<Duration>) -> Option<Self> {
        let Window { start, end } = document.suggested_window;
        // RFC 9773, 4.3.2, wants reasonable limits on what the CA asks for.
        let (least, usual, most) = (60, 6 * 3600, 24 * 3600);
        let retry_after = retry_after.unwrap_or(Duration::from_secs(usual));
        // It is kept in the lineage's record, which must stay small enough to be read again.
        let explanation_url = document.explanation_url.filter(|url| is_link(url));
        (start < end).then(|| Self {
            start,
            end,
            explanation_url,
            retry_after: retry_after.clamp(Duration::from_secs(least), Duration::from_secs(most)),
        })
    }
}

/// Returns whether people can be sent there: a web page, in letters that a terminal can be shown.
fn is_link(url: &str) -> bool {
    url.len() <= URL_LIMIT
        && (url.starts_with("https://") || url.starts_with("http://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_certificate_as_the_rfc_does() {
        // RFC 9773, 4.1.
        let key_id = [
            0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C,
            0xDE, 0x01, 0xC8, 0xD4,
        ];
        let id = CertificateId::new(&key_id, &[0x00, 0x87, 0x65, 0x43, 0x21]);
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        assert!(CertificateId::of(b"no certificate").is_err());
    }

    #[test]
    fn reads_the_serial_and_the_issuer_s_key_id() {
        // The certificate of RFC 9773, appendix A.
        let pem = "-----BEGIN CERTIFICATE-----\n\
            MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt\n\
            cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS\n\
            BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu\n\
            7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf\n\
            qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B\n\
            yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb\n\
            +FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK\n\
            -----END CERTIFICATE-----\n";
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(
            CertificateId::of(&der).unwrap().to_string(),
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        );
    }

    #[test]
    fn keeps_no_explanation_that_would_fill_the_record() {
        let read = |url: &str| {
            let window = r#"{"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z"}"#;
            let json = format!(r#"{{"suggestedWindow": {window}, "explanationURL": "{url}"}}"#);
            let info = RenewalInfo::read(serde_json::from_str(&json).unwrap(), None).unwrap();
            info.explanation_url.map(|url| url.len())
        };
        let long = |length: usize| format!("{:x<length$}", "https://");
        assert_eq!(read(&long(URL_LIMIT)), Some(URL_LIMIT));
        assert_eq!(read(&long(URL_LIMIT + 1)), None);
        assert_eq!(read("javascript:alert(1)"), None);
        assert_eq!(read(r"https://ca.example/\u001b[31m"), None);
        assert_eq!(read("http://ca.example/ari"), Some(21));
    }

    #[test]
    fn refuses_nonsense_and_limits_the_rest() {
        let check = |json: &str, retry_after: Option<u64>, expected: Option<u64>| {
            let read = serde_json::from_str(json)
                .ok()
                .and_then(|document| RenewalInfo::read(document, retry_after.map(Duration::from_secs)));
            assert_eq!(read.map(|info| info.retry_after.as_secs()), expected, "{json}");
        };
        // RFC 9773, 4.2.
        let good = r#"{"suggestedWindow": {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z"},
                       "explanationURL": "https://acme.example.com/docs/ari"}"#;
        check(good, Some(21600), Some(21600));
        check(good, None, Some(21600));
        check(good, Some(0), Some(60));
        check(good, Some(u64::MAX), Some(86400));
        check(
            r#"{"suggestedWindow": {"start": "2025-01-02T04:00:00Z", "end": "2025-01-02T04:00:00Z"}}"#,
            None,
            None,
        );
        check(
            r#"{"suggestedWindow": {"start": "2025-01-03T04:00:00Z", "end": "2025-01-02T04:00:00Z"}}"#,
            None,
            None,
        );
        check(
            r#"{"suggestedWindow": {"start": "tomorrow", "end": "2025-01-02T04:00:00Z"}}"#,
            None,
            None,
        );
        check("{}", None, None);
        check("<html>", None, None);
    }
}
