//! RRsets that have one purpose: services, addresses, and what is published by hand alone. Pure.

use super::{Decision, Existing, left_alone};
use crate::{
    dns::{
        desired::Wanted,
        facts::{Asked, Facts, Family, Question},
    },
    model::rdata::Rdata,
};

/// Decides where records are wanted when there are none, or when all are ours and say something else.
pub(super) fn decide(wanted: &Wanted, existing: &Existing) -> Decision {
    let there = &existing.rrset.values;
    let is_wanted = |value: &Rdata| wanted.values.contains(value);
    let has_all = wanted.values.iter().all(|value| there.contains(value));
    if there.is_empty() {
        let reason = wanted.reason.clone();
        let change = existing.change(wanted, wanted.values.clone(), Vec::new(), reason);
        return Decision::Change(change, Vec::new());
    }
    if has_all && there.iter().all(is_wanted) {
        return Decision::Nothing(Vec::new());
    }
    if there.iter().all(|value| existing.is_ours(value)) {
        let add = wanted.values.iter().filter(|value| !there.contains(value));
        let remove = there.iter().filter(|value| !is_wanted(value));
        let reason = format!("the configuration has changed; {}", wanted.reason);
        let change = existing.change(wanted, add.cloned().collect(), remove.cloned().collect(), reason);
        return Decision::Change(change, Vec::new());
    }
    let there: Vec<&Rdata> = there.iter().collect();
    if leads_here(wanted, &there) {
        return Decision::Nothing(Vec::new());
    }
    Decision::Nothing(vec![left_alone(wanted, &there)])
}

/// Returns whether what is there does what is wanted, in other numbers or beside others: other hosts, other weights.
pub(super) fn leads_here(wanted: &Wanted, there: &[&Rdata]) -> bool {
    let target = |value: &Rdata| match value {
        Rdata::Mx { exchange, .. } => Some((0, exchange.clone())),
        Rdata::Srv { port, target, .. } => Some((if target.is_some() { *port } else { 0 }, target.clone())),
        _ => None,
    };
    let targets: Vec<_> = there.iter().copied().filter_map(target).collect();
    wanted
        .values
        .iter()
        .all(|value| target(value).map_or_else(|| there.contains(&value), |own| targets.contains(&own)))
}

/// Decides about the addresses of a name that is to lead here: where it leads anywhere already, it stays.
///
/// # Errors
/// Names the next open question.
pub(super) fn decide_alias(wanted: &Wanted, existing: &Existing, facts: &Facts) -> Asked<Decision> {
    let name = wanted.name.as_str();
    let questions = Family::BOTH.map(|family| Question::Addresses(name.to_owned(), family));
    for question in &questions {
        facts.want(question.clone());
    }
    let mut leads_elsewhere = false;
    for question in &questions {
        leads_elsewhere |= !facts.get(question)?.addresses().is_empty();
    }
    match decide(wanted, existing) {
        Decision::Change(change, _) if change.remove.is_empty() && leads_elsewhere => {
            Ok(Decision::Nothing(Vec::new()))
        }
        decision => Ok(decision),
    }
}
