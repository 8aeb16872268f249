//! TLSA: the key in service is added; ours of earlier keys go when it has been there before (RFC 7671, 8.1). Pure.
//!
//! Nothing is published that DNSSEC does not prove: a record of an unsigned zone does nothing today and harm on the day
//! that it is signed (RFC 7672, 2.2.3). One thing is done at a time: what adds a record removes none.

use super::{Decision, Existing, Refusal};
use crate::{
    dns::{
        desired::Wanted,
        facts::{Asked, Facts, Family, Question},
    },
    model::{plan::RrsetChange, rdata::Rdata, rrset::Rrset},
};

pub(super) fn decide(wanted: &Wanted, existing: &Existing, facts: &Facts) -> Asked<Decision> {
    let there = &existing.rrset.values;
    let missing: Vec<Rdata> = wanted
        .values
        .iter()
        .filter(|value| !there.contains(value))
        .cloned()
        .collect();
    if !missing.is_empty() {
        if let Some(why) = unproven(wanted, facts)? {
            return Ok(Decision::Refused(Refusal {
                message: format!("no TLSA record is published at {}: {why}", wanted.name),
                remedy: "sign the zone, and let dns.resolvers name a resolver that validates; or take `tlsa` out of dns.publish"
                    .to_owned(),
                record: None,
            }));
        }
        let notes = match there.is_empty() {
            true => Vec::new(),
            false => vec![format!(
                "the TLSA records of other keys at {} stay for now: those that mailcert wrote go with a later apply",
                wanted.name
            )],
        };
        let reason = wanted.reason.clone();
        return Ok(Decision::Change(
            existing.change(wanted, missing, Vec::new(), reason),
            notes,
        ));
    }
    let stale: Vec<Rdata> = there
        .iter()
        .filter(|value| existing.is_ours(value) && !wanted.values.contains(value))
        .cloned()
        .collect();
    if stale.is_empty() || !is_seen(wanted, facts)? {
        return Ok(Decision::Nothing(Vec::new()));
    }
    let reason = "the record of the key in service is there, and this one is of an earlier key".to_owned();
    Ok(Decision::Change(
        existing.change(wanted, Vec::new(), stale, reason),
        Vec::new(),
    ))
}

/// Returns what an undo does where keys have rolled over since: `found` is what is there, `ours` are all records of keys of this host.
///
/// Records that were there before the first of ours come back, and ours go; never one by which clients know the key in service,
/// while others stay that do not name it: no record at all is no demand, the wrong ones alone keep mail away (RFC 7672, 2.2.3).
/// `None` where somebody else has changed records since.
pub fn taken_back(
    inverse: &RrsetChange,
    found: &Rrset,
    ours: &[Rdata],
    in_service: Option<&Rdata>,
) -> Option<RrsetChange> {
    let of_others = |values: &[Rdata]| {
        let mut values: Vec<Rdata> = values
            .iter()
            .filter(|value| !ours.contains(value))
            .cloned()
            .collect();
        values.sort();
        values
    };
    if of_others(&found.values) != of_others(&inverse.before) {
        return None;
    }
    let is_there = |value: &&Rdata| found.values.contains(value);
    let mut change = RrsetChange {
        before: found.values.clone(),
        add: inverse
            .add
            .iter()
            .filter(|value| !is_there(value))
            .cloned()
            .collect(),
        remove: inverse.remove.iter().filter(is_there).cloned().collect(),
        ..inverse.clone()
    };
    let had_ours = inverse.after().iter().any(|value| ours.contains(value));
    let loses_service =
        in_service.is_some_and(|in_service| is_there(&in_service) && !change.after().contains(in_service));
    if !had_ours || loses_service {
        change.remove = found
            .values
            .iter()
            .filter(|value| ours.contains(value))
            .cloned()
            .collect();
        change.add.retain(|value| !ours.contains(value));
    }
    Some(change)
}

/// Returns whether resolvers have the records that are wanted.
fn is_seen(wanted: &Wanted, facts: &Facts) -> Asked<bool> {
    let answer = facts.get(&Question::Tlsa(wanted.name.to_string()))?;
    let seen: Vec<Rdata> = match answer {
        crate::dns::facts::Answer::Tlsa(found) => found.iter().map(crate::dns::tlsa::Tlsa::data).collect(),
        _ => Vec::new(),
    };
    Ok(wanted.values.iter().all(|value| seen.contains(value)))
}

/// Returns why DNSSEC does not prove what is said about the port and its host; `None` when it does.
fn unproven(wanted: &Wanted, facts: &Facts) -> Asked<Option<String>> {
    let host = wanted.name.as_str().splitn(3, '.').nth(2).unwrap_or_default();
    let addresses = Family::BOTH.map(|family| Question::Addresses(host.to_owned(), family));
    let own = Question::Tlsa(wanted.name.to_string());
    for question in addresses.iter().chain([&own]) {
        facts.want(question.clone());
    }
    for question in addresses.iter().chain([&own]) {
        if let Some(error) = facts.get(question)?.failure() {
            return Ok(Some(error.to_string()));
        }
        if !facts.status(question).authenticated {
            return Ok(Some(format!(
                "DNSSEC does not prove the answers about {host}: its zone is not signed, or the resolver does not validate"
            )));
        }
    }
    Ok(None)
}
