//! Gathers what a plan needs; carries out a planned change of an RRset and reads it back from every authoritative
//! server.

use std::time::Duration;

use super::{
    desired::Wanted,
    error::DnsError,
    facts::Facts,
    gather,
    lookup::Lookup,
    plan::{self, Decision, Refusal},
    propagation::{self, Expected},
    provider::Provider,
    resolver::Resolver,
    sending::Sending,
};
use crate::model::{name::DomainName, plan::RrsetChange, rdata::RecordType, rrset::Rrset};

/// Looks at the name where records are written, and decides what is to be done there.
///
/// # Errors
/// When the name, its zone or the records there cannot be found out.
pub async fn propose(
    wanted: &Wanted,
    sending: &Sending,
    provider: &dyn Provider,
    resolver: &Resolver,
    facts: &mut Facts,
) -> Result<Decision, DnsError> {
    let owner = resolver.canonical_name(&wanted.name).await?;
    if owner != wanted.name {
        // RFC 1034, 3.6.2: beside a CNAME nothing may stand. The records of the other name are not ours to edit.
        return Ok(Decision::Refused(Refusal {
            message: format!(
                "{} is an alias (CNAME) of {owner}, so it cannot have a TXT record of its own",
                wanted.name
            ),
            remedy: format!(
                "publish the record at {owner}, or give {} addresses instead of the alias",
                wanted.name
            ),
            record: Some(wanted.text.clone()),
        }));
    }
    let zone = resolver.zone_of(&wanted.name).await?;
    let existing = match provider.list(&zone, &wanted.name, RecordType::Txt).await {
        Ok(existing) => existing,
        // A hidden primary may answer nobody but its secondaries. If these lag, the update is refused, not wrong.
        Err(failure) => seen_at_servers(wanted, &zone, resolver).await.ok_or(failure)?,
    };
    let decide = |facts: &Facts| plan::decide(wanted, &zone, &existing, sending, facts);
    gather::settle(&Lookup::new(resolver), facts, decide)
        .await
        .ok_or(DnsError::TooManyQuestions)
}

/// Returns the TXT records at the name as the first authoritative server that answers has them.
async fn seen_at_servers(wanted: &Wanted, zone: &DomainName, resolver: &Resolver) -> Option<Rrset> {
    let servers = resolver.authoritative_servers(zone).await.ok()?;
    propagation::ask_all(&servers, &wanted.name, RecordType::Txt)
        .await
        .into_iter()
        .find_map(|(_, answer)| answer.ok())
}

/// Carries out the change and waits until every authoritative server of its zone shows it.
///
/// # Errors
/// [`DnsError::ChangedMeanwhile`] when the RRset is not what the change was planned on: nothing is written then.
/// [`DnsError::NotYet`] when it is written but not seen everywhere within `limit`.
pub async fn apply(
    change: &RrsetChange,
    provider: &dyn Provider,
    resolver: &Resolver,
    limit: Duration,
) -> Result<(), DnsError> {
    // Before anything is written: a change that nobody can look for afterwards is not made.
    let servers = resolver.authoritative_servers(&change.zone).await?;
    if let Err(error) = provider.change(change).await {
        // An answer may have been lost on its way after the server did what we asked.
        let is_done = error.may_have_written() && is_carried_out(change, provider).await;
        if !is_done {
            return Err(error);
        }
    }
    let expected = Expected {
        present: &change.add,
        absent: &change.remove,
    };
    propagation::wait(&servers, &change.name, change.kind, expected, limit).await
}

/// Returns whether the RRset is what the change would make of it.
async fn is_carried_out(change: &RrsetChange, provider: &dyn Provider) -> bool {
    provider
        .list(&change.zone, &change.name, change.kind)
        .await
        .is_ok_and(|rrset| rrset.holds_exactly(&change.after()))
}
