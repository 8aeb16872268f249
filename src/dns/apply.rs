//! Gathers what a plan needs; carries out a planned change of an RRset and reads it back from every authoritative
//! server.

use std::time::Duration;

use super::{
    desired::{Family, Wanted},
    error::DnsError,
    facts::Facts,
    gather,
    lookup::Lookup,
    plan::{self, Decision, Existing, Refusal},
    propagation::{self, Expected},
    provider::Provider,
    resolver::Resolver,
    sending::Sending,
};
use crate::model::{name::DomainName, plan::RrsetChange, rdata::Rdata, rrset::Rrset};

/// Where the records of now are read, and whom decisions ask.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Where records are written; `None` where nobody writes: then the authoritative servers are read.
    pub provider: Option<&'a dyn Provider>,
    /// Finds zones and their servers, and answers what decisions ask.
    pub resolver: &'a Resolver,
    /// How mail leaves this host.
    pub sending: &'a Sending,
}

/// What is to be done at a name, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What is to be done.
    pub decision: Decision,
    /// What is there; `None` at an alias.
    pub existing: Option<Existing>,
    /// Why the place that takes the changes did not tell its records, where those of the name servers were taken instead.
    pub unlisted: Option<DnsError>,
}

/// Looks at the name where records are written, and decides what is to be done there. `ours` are the values at this name
/// that this program wrote.
///
/// # Errors
/// When the name, its zone or the records there cannot be found out.
pub async fn propose(wanted: &Wanted, ours: Vec<Rdata>, sources: Sources<'_>) -> Result<Proposal, DnsError> {
    let resolver = sources.resolver;
    let owner = resolver.canonical_name(&wanted.name).await?;
    if owner != wanted.name {
        return Ok(Proposal {
            decision: at_alias(wanted, &owner),
            existing: None,
            unlisted: None,
        });
    }
    let zone = resolver.zone_of(&wanted.name).await?;
    let listed = match sources.provider {
        Some(provider) => provider.list(&zone, &wanted.name, wanted.kind()).await,
        None => Err(DnsError::NoAuthoritativeServer { zone: zone.clone() }),
    };
    let mut unlisted = None;
    let rrset = match listed {
        Ok(rrset) => rrset,
        // A hidden primary may answer nobody but its secondaries. If these lag, the update is refused, not wrong.
        Err(failure) => {
            let Some(seen) = seen_at_servers(wanted, &zone, resolver).await else {
                return Err(failure);
            };
            unlisted = sources.provider.map(|_| failure);
            seen
        }
    };
    let existing = Existing { zone, rrset, ours };
    let decide = |facts: &Facts| plan::decide(wanted, &existing, sources.sending, facts);
    let mut facts = Facts::default();
    let decision = gather::settle(&Lookup::new(resolver), &mut facts, decide)
        .await
        .ok_or(DnsError::TooManyQuestions)?;
    // What says no to a listing says no to a change as well; where nothing is to be changed, nobody needs it.
    if let (Decision::Change(..), Some(failure @ DnsError::Provider(_))) = (&decision, &unlisted) {
        return Err(failure.clone());
    }
    Ok(Proposal {
        decision,
        existing: Some(existing),
        unlisted,
    })
}

/// Decides where the name is an alias: beside a CNAME nothing may stand (RFC 1034, 3.6.2), and the records of the other
/// name are not ours to edit.
fn at_alias(wanted: &Wanted, owner: &DomainName) -> Decision {
    match wanted.family {
        // The host of the policy may be anywhere; a delegated policy is the other's to keep (RFC 8461, 8.2).
        Family::MtaStsHost | Family::MtaSts | Family::Dkim => Decision::Nothing(Vec::new()),
        _ => Decision::Refused(Refusal {
            message: format!(
                "{} is an alias (CNAME) of {owner}, so it cannot have a {} record of its own",
                wanted.name,
                wanted.kind()
            ),
            remedy: format!(
                "publish the record at {owner}, or give {} addresses instead of the alias",
                wanted.name
            ),
            record: Some(wanted.text()),
        }),
    }
}

/// Returns the records at the name as the first authoritative server that answers has them.
async fn seen_at_servers(wanted: &Wanted, zone: &DomainName, resolver: &Resolver) -> Option<Rrset> {
    let servers = resolver.authoritative_servers(zone).await.ok()?;
    propagation::ask_all(&servers, &wanted.name, wanted.kind())
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
