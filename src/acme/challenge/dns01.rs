//! dns-01 (RFC 8555, 8.4): hands names and TXT values to whoever can write them.

use super::{BoxFuture, ChallengeResponse, ChallengeType, Present};
use crate::{acme::error::AcmeError, model::name::DomainName};

/// What a writer of DNS records says when it fails.
pub type DnsFailure = Box<dyn std::error::Error + Send + Sync>;

/// One TXT value that has to be seen at `_acme-challenge` below `name`, or where a CNAME there leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxtValue {
    /// The name that is validated. It may come twice, with two values: `x` and `*.x` in one order.
    pub name: DomainName,
    /// The value.
    pub value: String,
}

/// Writes challenge records.
pub trait Dns01: Send + Sync {
    /// Adds all values beside what is there, and waits until every authoritative server shows them.
    fn present<'a>(&'a self, values: &'a [TxtValue]) -> BoxFuture<'a, Result<(), DnsFailure>>;

    /// Removes these values and nothing else; what is not there is no error.
    fn cleanup<'a>(&'a self, values: &'a [TxtValue]) -> BoxFuture<'a, Result<(), DnsFailure>>;
}

/// dns-01 through a [`Dns01`].
pub struct Records<D>(pub D);

impl<D: Dns01> Present for Records<D> {
    fn challenge_type(&self) -> ChallengeType {
        ChallengeType::Dns01
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move { self.0.present(&values(responses)).await.map_err(AcmeError::Dns01) })
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move { self.0.cleanup(&values(responses)).await.map_err(AcmeError::Dns01) })
    }
}

/// Returns what the DNS has to show.
fn values(responses: &[ChallengeResponse]) -> Vec<TxtValue> {
    responses
        .iter()
        .map(|each| TxtValue {
            name: each.name.clone(),
            value: each.txt.clone(),
        })
        .collect()
}
