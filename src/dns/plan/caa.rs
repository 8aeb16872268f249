//! CAA: ours are added, those of others stay, and our own CA is never locked out (RFC 8659). Pure.

use super::{Decision, Existing, Refusal};
use crate::{
    dns::desired::Wanted,
    model::{
        rdata::Rdata,
        record::caa::{self, Property, Verdict},
    },
};

pub(super) fn decide(wanted: &Wanted, existing: &Existing) -> Decision {
    let there = &existing.rrset.values;
    let stale: Vec<Rdata> = there
        .iter()
        .filter(|value| existing.is_ours(value) && !wanted.values.contains(value))
        .cloned()
        .collect();
    let kept: Vec<&Rdata> = there.iter().filter(|value| !stale.contains(value)).collect();
    let lets_us = |values: &[&Rdata]| refused(wanted, values).is_none();
    // A set of others that lets our CAs issue is as it should be, even where it is less strict.
    let is_kept = |value: &Rdata| kept.iter().any(|one| one.says_same(value));
    let is_of_others = !kept.is_empty() && !wanted.values.iter().any(is_kept);
    let add: Vec<Rdata> = match is_of_others && names_issuers(&kept) && lets_us(&kept) {
        true => Vec::new(),
        false => wanted
            .values
            .iter()
            .filter(|value| !is_kept(value) && is_missing(value, &kept))
            .cloned()
            .collect(),
    };
    let after: Vec<&Rdata> = kept.iter().copied().chain(&add).collect();
    if let Some(why) = refused(wanted, &after) {
        return Decision::Refused(Refusal {
            message: format!(
                "with the CAA records wanted at {}, our own CA could not issue: {why}",
                wanted.name
            ),
            remedy: "name the CA in `dns.caa.issuers` as its documents have it, or mend the records that are there"
                .to_owned(),
            record: None,
        });
    }
    if add.is_empty() && stale.is_empty() {
        return Decision::Nothing(Vec::new());
    }
    let notes = match there.is_empty() {
        true => vec![format!(
            "CAA at {} holds for every name below it that has none of its own",
            wanted.name
        )],
        false => Vec::new(),
    };
    let reason = wanted.reason.clone();
    Decision::Change(existing.change(wanted, add, stale, reason), notes)
}

/// Returns whether a set says who may issue at all.
fn names_issuers(values: &[&Rdata]) -> bool {
    values.iter().any(|value| has_tag(value, "issue"))
}

/// Returns whether the set lacks a record: of the contacts of others, one is enough.
fn is_missing(value: &Rdata, kept: &[&Rdata]) -> bool {
    !has_tag(value, "iodef") || !kept.iter().any(|other| has_tag(other, "iodef"))
}

fn has_tag(value: &Rdata, wanted: &str) -> bool {
    matches!(value, Rdata::Caa { tag, .. } if tag.eq_ignore_ascii_case(wanted))
}

/// Returns why a set keeps one of our CAs from issuing.
fn refused(wanted: &Wanted, values: &[&Rdata]) -> Option<String> {
    let properties: Vec<Property> = values.iter().filter_map(|value| property(value)).collect();
    wanted
        .requests
        .iter()
        .find_map(|request| match caa::judge(&properties, &request.request()) {
            Verdict::Allowed => None,
            Verdict::Refused(refusal) => Some(refusal.to_string()),
            Verdict::Unknown => Some("the CA does not say what it is called in CAA records".to_owned()),
        })
}

fn property(value: &Rdata) -> Option<Property> {
    match value {
        Rdata::Caa { flags, tag, value } => Some(Property {
            critical: flags & 0x80 != 0,
            tag: tag.clone(),
            value: value.clone(),
        }),
        _ => None,
    }
}
