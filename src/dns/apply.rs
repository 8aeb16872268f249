//! Carries out a planned change of a TXT RRset and reads it back from every authoritative server.

use std::time::Duration;

use super::{
    error::DnsError,
    propagation::{self, Expected},
    provider::Provider,
    resolver::Resolver,
};
use crate::model::plan::RrsetChange;

/// Carries out the change and waits until every authoritative server of its zone shows it.
///
/// # Errors
/// [`DnsError::ChangedMeanwhile`] when the RRset is not what the change was planned on: nothing is written then.
/// [`DnsError::NotYet`] when it is written but not seen everywhere within `limit`.
pub async fn apply(
    change: &RrsetChange,
    provider: &impl Provider,
    resolver: &Resolver,
    limit: Duration,
) -> Result<(), DnsError> {
    if let Err(error) = provider.change(change).await {
        // An answer may have been lost on its way after the server did what we asked.
        let is_done = matches!(error, DnsError::Server { .. }) && is_carried_out(change, provider).await;
        if !is_done {
            return Err(error);
        }
    }
    let servers = resolver.authoritative_servers(&change.zone).await?;
    let expected = Expected {
        present: &change.add,
        absent: &change.remove,
    };
    propagation::wait(&servers, &change.name, expected, limit).await
}

/// Returns whether the RRset is what the change would make of it.
async fn is_carried_out(change: &RrsetChange, provider: &impl Provider) -> bool {
    let Ok(rrset) = provider.list(&change.name).await else {
        return false;
    };
    let (mut found, mut wanted) = (rrset.values, change.after());
    found.sort();
    wanted.sort();
    found == wanted
}
