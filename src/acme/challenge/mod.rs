//! Proves control of names (RFC 8555, 8): one [`Present`] for each way.
//!
//! An order hands over all its responses at once, waits until they are in place, and has them taken away in every case:
//! after success, failure, the end of patience, and, as far as a dropped future allows, interruption.

mod crowd;
pub mod dns01;
mod door;
pub mod http01;
mod port_holder;
pub mod tls_alpn01;
pub mod webroot;

use std::{pin::Pin, time::Duration};

use super::error::AcmeError;
use crate::model::name::DomainName;

/// A future in a box, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The ways to prove control of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeType {
    /// A TXT record (RFC 8555, 8.4).
    Dns01,
    /// A document on port 80 (RFC 8555, 8.3).
    Http01,
    /// A handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeType {
    /// Returns the standard's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns01 => "dns-01",
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// What must be in place for one identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeResponse {
    /// The name that is validated; for a wildcard, the name below `*.`.
    pub name: DomainName,
    /// The challenge's token: base64url characters only.
    pub token: String,
    /// What http-01 answers, and of what tls-alpn-01 shows the digest.
    pub key_authorization: String,
    /// What dns-01 has as TXT data at `_acme-challenge`.
    pub txt: String,
}

/// What came of responses that were, or were to be, put in place.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// The CA has confirmed all of the names.
    Confirmed,
    /// The order came to nothing, for this reason.
    Failed(&'a AcmeError),
}

/// Puts responses in place, and takes them away.
pub trait Present: Send + Sync {
    /// Returns which challenge this is for.
    fn challenge_type(&self) -> ChallengeType;

    /// Puts all responses in place; when it returns, the CA may look.
    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>>;

    /// Takes them away. Called also after [`Present::present`] failed or was interrupted: what is not there is no error.
    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>>;

    /// Hears what came of the responses, before they are taken away; also when an order failed before there were any.
    fn judged<'a>(&'a self, _: &'a [ChallengeResponse], _: Verdict<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// Returns what the reader should know when the CA did not see the responses; nothing where all went well here.
    fn remark(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { None })
    }

    /// Returns whether responses that no order has may be put in place too, to see whether they are seen: not by programs
    /// of the operator's, which are to be run for what they were written for and nothing else.
    fn may_be_tried(&self) -> bool {
        true
    }

    /// Returns how long taking so many responses away may take.
    fn cleanup_limit(&self, _n_responses: usize) -> Duration {
        Duration::from_secs(60)
    }
}

/// Returns whether a token has only the characters it may have (RFC 8555, 8.3).
///
/// It becomes a file name and part of a URL's path: a CA must not be able to lead either astray.
pub(crate) fn is_token(token: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=255).contains(&token.len()) && token.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_nowhere() {
        assert!(is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"));
        for bad in [
            "",
            ".",
            "..",
            "../../etc/cron.d/x",
            "a/b",
            "a\0",
            "a b",
            "é",
            &"a".repeat(256),
        ] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
