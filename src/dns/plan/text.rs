//! TXT records of which a name has one: DMARC, MTA-STS, TLS reporting. Pure.

use super::{Decision, Existing, left_alone};
use crate::{
    dns::{
        desired::Wanted,
        facts::{Asked, Facts, Question},
    },
    model::{
        rdata::Rdata,
        record::dmarc::{self, Policy},
    },
};

/// Decides where the record is wanted when there is none, or when ours says something else.
pub(super) fn decide(wanted: &Wanted, existing: &Existing) -> Decision {
    let there = existing.of_family(wanted.family);
    if there.is_empty() {
        let reason = wanted.reason.clone();
        let change = existing.change(wanted, wanted.values.clone(), Vec::new(), reason);
        return Decision::Change(change, Vec::new());
    }
    if says(wanted, &there) {
        return Decision::Nothing(Vec::new());
    }
    if !there.iter().all(|value| existing.is_ours(value)) {
        return Decision::Nothing(vec![left_alone(wanted, &there)]);
    }
    let remove: Vec<Rdata> = there.into_iter().cloned().collect();
    let reason = format!("the configuration has changed; {}", wanted.reason);
    let change = existing.change(wanted, wanted.values.clone(), remove, reason);
    Decision::Change(change, Vec::new())
}

/// Returns whether records say what is wanted; cut into other strings, or with other white space, they do.
pub(super) fn says(wanted: &Wanted, there: &[&Rdata]) -> bool {
    there.len() == wanted.values.len()
        && there
            .iter()
            .zip(&wanted.values)
            .all(|(value, own)| said(value) == said(own))
}

/// Returns what a record says, without its white space.
fn said(value: &Rdata) -> Vec<u8> {
    let text = value
        .as_txt()
        .map(crate::model::rrset::Txt::joined)
        .unwrap_or_default();
    let said = text.trim_ascii_end().strip_suffix(b";").unwrap_or(&text);
    said.iter().copied().filter(|byte| *byte != b' ').collect()
}

/// As [`decide`]; and a domain that is under a stronger policy of a domain above it keeps that (RFC 9989, 4.10).
///
/// # Errors
/// Names the next open question.
pub(super) fn decide_dmarc(wanted: &Wanted, existing: &Existing, facts: &Facts) -> Asked<Decision> {
    let decision = decide(wanted, existing);
    let Decision::Change(change, notes) = decision else {
        return Ok(decision);
    };
    if !change.remove.is_empty() {
        return Ok(Decision::Change(change, notes));
    }
    let domain = wanted.name.as_str().trim_start_matches("_dmarc.");
    let own = policy_of(wanted.text().as_bytes(), "p");
    for above in dmarc::tree(domain).into_iter().skip(1) {
        let answer = facts.get(&Question::Txt(format!("_dmarc.{above}")))?;
        let Some(text) = answer.texts().iter().find(|text| dmarc::is_record(text)) else {
            continue;
        };
        let inherited = policy_of(text, "sp").or(policy_of(text, "p"));
        if inherited > own {
            return Ok(Decision::Nothing(vec![format!(
                "{domain} is under the DMARC policy of {above} ({}), which is stronger than what the configuration wants; it has no record of its own, and gets none",
                inherited.map_or("none", Policy::word)
            )]));
        }
        break;
    }
    Ok(Decision::Change(change, notes))
}

fn policy_of(text: &[u8], tag: &str) -> Option<Policy> {
    dmarc::Record::parse(text)?.policy(tag).ok().flatten()
}
