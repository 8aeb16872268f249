//! What is to be done for a lineage now: order, deploy, wait or nothing. Pure: `now` comes in as an argument.
//!
//! [`mod@due`] says when a certificate is to be renewed, [`retry`] when to try again and how often at most.

pub mod due;
pub mod retry;
#[cfg(test)]
mod simulation;

use time::{Duration, OffsetDateTime};

pub use due::{Due, Reason, choose, due, is_to_be_asked, renew_at};
pub use retry::{back_off, capped};

use super::failure::Concern;
use super::lineage::{Failure, Generation, Held, Lineage, State};
use super::name::Identifier;

/// What is to be done for one lineage now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Put the newest complete generation into service (again).
    Deploy(u64),
    /// Nothing, until this instant.
    Idle(Due),
    /// Get a certificate; an order in flight is resumed.
    Order(String),
    /// Something is wanted, but not before this instant.
    Wait(OffsetDateTime, String),
}

/// How a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// `--force` by a person: renews what is not due, passes caps and back-off.
    Forced,
    /// By the timer, or by a person without `--force`.
    Ordinary,
}

/// What the configuration says that matters here.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// The identifiers wanted, canonical and sorted.
    pub identifiers: &'a [Identifier],
    /// Whether the certificate is ordered by us at all.
    pub ordered_by_us: bool,
    /// Renew when this much is left; `None`: the window, else the lifetime.
    pub before: Option<Duration>,
    /// Issuances a day; 0 is no limit.
    pub max_per_day: u32,
    /// Issuances a week; 0 is no limit.
    pub max_per_week: u32,
    /// The last state there is to reach.
    pub goal: State,
    /// Digest of the configuration; a failure under another one is forgotten.
    pub configuration: &'a str,
}

/// Decides what is to be done for a lineage.
pub fn next(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime, urgency: Urgency) -> Next {
    let wanted = wanted(lineage, policy, now, urgency);
    if urgency == Urgency::Forced {
        return wanted;
    }
    let held_back = |concern| {
        let failure = lineage.failure_of(concern)?;
        holds_back(failure, policy, now).then(|| Next::Wait(failure.retry_at, failure.message.clone()))
    };
    match &wanted {
        Next::Idle(_) | Next::Wait(..) => wanted,
        Next::Deploy(_) => held_back(Concern::Service).unwrap_or(wanted),
        Next::Order(_) => {
            let Some(wait) = held_back(Concern::Order).or_else(|| wait_for_cap(lineage, policy, now)) else {
                return wanted;
            };
            meanwhile(lineage, policy, now, urgency).map_or(wait, Next::Deploy)
        }
    }
}

/// Returns whether a certificate is to be got, be it now or later.
pub fn wants_order(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime) -> bool {
    matches!(wanted(lineage, policy, now, Urgency::Ordinary), Next::Order(_))
}

/// Returns until when, and why, nothing is ordered although a certificate is wanted and nothing failed: by the CA's limits, as
/// the last run found them, or by the caps of the configuration.
pub fn held(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime) -> Option<Held> {
    if !wants_order(lineage, policy, now) || lineage.failure_of(Concern::Order).is_some() {
        return None;
    }
    let by_ca = lineage.held.clone().filter(|held| held.until > now);
    by_ca.or_else(|| match wait_for_cap(lineage, policy, now)? {
        Next::Wait(until, why) => Some(Held { until, why }),
        _ => None,
    })
}

/// Returns until when the caps of the configuration hold a new order back; an order in flight was counted before.
pub fn capped_until(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let mut in_flight = lineage.order.iter().chain(&lineage.kept_orders);
    if in_flight.any(|order| order.identifiers == policy.identifiers) {
        return None;
    }
    // A person has revoked it, and the next certificate is not.
    let current = lineage.current().map(|(_, generation)| generation);
    if current.is_some_and(|current| lineage.revocation_of(current).is_some()) {
        return None;
    }
    let issued_at = issued_for(lineage, policy.identifiers);
    capped(issued_at, now, policy.max_per_day, policy.max_per_week)
}

/// Returns when certificates for just these names were issued: the caps, as the CA's limits, count each set of names for itself.
/// Nothing tells of an instant what was issued then, but for how many of the newest generations are for these names.
fn issued_for<'a>(lineage: &'a Lineage, identifiers: &[Identifier]) -> &'a [OffsetDateTime] {
    let is_for_others = |generation: &Generation| {
        let mut has = generation.identifiers.clone();
        has.sort();
        has != identifiers
    };
    let n_newest = lineage.generations.values().rev().position(is_for_others);
    let n_others = n_newest.map_or(0, |n| lineage.issued_at.len().saturating_sub(n));
    lineage.issued_at.get(n_others..).unwrap_or_default()
}

fn wait_for_cap(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime) -> Option<Next> {
    let text = "as many certificates as renew.max_per_day and renew.max_per_week allow were issued; `renew --force` orders all the same";
    Some(Next::Wait(capped_until(lineage, policy, now)?, text.to_owned()))
}

/// Returns whether something is left to do for the generation in service, hooks included.
fn is_to_be_deployed(lineage: &Lineage, policy: &Policy<'_>) -> bool {
    lineage.state < policy.goal || lineage.state == State::RolledBack || lineage.has_unfinished_hooks()
}

/// Returns the generation to put into service while a certificate is waited for: the CA's silence, or a refusal of its,
/// leaves no port with less than what there is.
pub fn meanwhile(
    lineage: &Lineage,
    policy: &Policy<'_>,
    now: OffsetDateTime,
    urgency: Urgency,
) -> Option<u64> {
    let (number, generation) = lineage.current()?;
    let is_held_back = urgency == Urgency::Ordinary
        && lineage
            .failure_of(Concern::Service)
            .is_some_and(|failure| holds_back(failure, policy, now));
    (is_to_be_deployed(lineage, policy) && !is_held_back && generation.not_after > now).then_some(number)
}

fn wanted(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime, urgency: Urgency) -> Next {
    let is_unfinished = lineage.order.is_some() || !lineage.kept_orders.is_empty();
    if is_unfinished && policy.ordered_by_us {
        return Next::Order("an order is unfinished".to_owned());
    }
    let Some((number, generation)) = lineage.current() else {
        return if policy.ordered_by_us {
            Next::Order("there is no certificate yet".to_owned())
        } else {
            Next::Wait(
                now,
                "the certificate comes from elsewhere: `mailcert csr` makes the request for a CA, and `mailcert install` puts the \
                 answer, or what another client got, into service"
                    .to_owned(),
            )
        };
    };
    let due = due(lineage, generation, policy.before);
    if policy.ordered_by_us {
        let mut has = generation.identifiers.clone();
        has.sort();
        if has != policy.identifiers {
            return Next::Order("the identifiers in the configuration have changed".to_owned());
        }
        if urgency == Urgency::Forced && !is_to_be_deployed(lineage, policy) {
            return Next::Order("renewal was forced".to_owned());
        }
        if due.at <= now {
            return Next::Order(format!("renewal is due: {}", due.reason));
        }
    }
    if is_to_be_deployed(lineage, policy) {
        return Next::Deploy(number);
    }
    Next::Idle(due)
}

fn holds_back(failure: &Failure, policy: &Policy<'_>, now: OffsetDateTime) -> bool {
    failure.configuration == policy.configuration && retry::holds(failure, now)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::model::lineage::{Order, Step};

    const START: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);

    fn generation(days: i64) -> Generation {
        Generation {
            identifiers: vec!["a.example".parse().unwrap()],
            not_before: START,
            not_after: START + Duration::days(days),
            leaf_sha256: String::new(),
            spki_sha256: String::new(),
            certificate_id: Some("id".into()),
            directory: None,
        }
    }

    #[test]
    fn what_is_held_back_is_told_while_it_is_wanted_and_nothing_failed() {
        let identifiers = vec!["a.example".parse().unwrap()];
        let policy = Policy {
            identifiers: &identifiers,
            ordered_by_us: true,
            before: None,
            max_per_day: 1,
            max_per_week: 0,
            goal: State::Verified,
            configuration: "c1",
        };
        let now = START + Duration::days(80);
        let mut lineage = Lineage::new("a.example");
        assert_eq!(held(&lineage, &policy, now), None);
        lineage.issued_at.push(now - Duration::hours(1));
        let by_cap = held(&lineage, &policy, now).unwrap();
        assert_eq!(by_cap.until, now + Duration::hours(23));
        let by_ca = Held {
            until: now + Duration::hours(2),
            why: "it asked to be left alone".into(),
        };
        lineage.held = Some(by_ca.clone());
        assert_eq!(held(&lineage, &policy, now), Some(by_ca.clone()));
        assert_eq!(held(&lineage, &policy, by_ca.until), Some(by_cap));
        // Not due: nothing waits, whatever the CA said.
        lineage.state = State::Verified;
        lineage.generation = Some(1);
        lineage.generations.insert(1, generation(365));
        assert_eq!(held(&lineage, &policy, now), None);
        lineage.generations.insert(1, generation(90));
        assert!(held(&lineage, &policy, now).is_some());
        lineage.keep_failure(Failure {
            step: Step::Order,
            message: String::new(),
            remedies: Vec::new(),
            count: 1,
            at: now,
            retry_at: now,
            configuration: String::new(),
            not_yet: false,
        });
        assert_eq!((held(&lineage, &policy, now), &lineage.held), (None, &None));
    }

    #[test]
    fn goes_on_from_where_it_stopped() {
        let identifiers = vec!["a.example".parse().unwrap()];
        let policy = Policy {
            identifiers: &identifiers,
            ordered_by_us: true,
            before: None,
            max_per_day: 2,
            max_per_week: 4,
            goal: State::Verified,
            configuration: "c1",
        };
        let now = START + Duration::days(1);
        let mut lineage = Lineage::new("a.example");
        assert!(matches!(
            next(&lineage, &policy, now, Urgency::Ordinary),
            Next::Order(_)
        ));
        lineage.generations.insert(1, generation(90));
        lineage.state = State::Installed;
        assert_eq!(next(&lineage, &policy, now, Urgency::Ordinary), Next::Deploy(1));
        lineage.state = State::Verified;
        assert!(matches!(
            next(&lineage, &policy, now, Urgency::Ordinary),
            Next::Idle(_)
        ));
        assert!(matches!(
            next(&lineage, &policy, now, Urgency::Forced),
            Next::Order(_)
        ));
        let late = START + Duration::days(70);
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Order(_)
        ));

        let failure = |step, configuration: &str| Failure {
            step,
            message: "no".into(),
            count: 1,
            at: late,
            retry_at: late + Duration::minutes(1),
            configuration: configuration.into(),
            remedies: Vec::new(),
            not_yet: false,
        };
        lineage.failure = Some(failure(Step::Order, "c1"));
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Wait(..)
        ));
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Forced),
            Next::Order(_)
        ));
        lineage.failure = Some(failure(Step::Order, "c0"));
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Order(_)
        ));
        // A failed deployment does not hold back an order.
        lineage.failure = Some(failure(Step::Verify, "c1"));
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Order(_)
        ));
        lineage.failure = None;
        lineage.issued_at = vec![late, late];
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Wait(..)
        ));
        let others = Policy {
            identifiers: &["a.example".parse().unwrap(), "b.example".parse().unwrap()],
            ..policy
        };
        assert_eq!(capped_until(&lineage, &others, late), None);
        // What is complete is not held back by an order that has to wait; what failed to deploy waits for its own time.
        lineage.state = State::Installed;
        assert_eq!(next(&lineage, &policy, late, Urgency::Ordinary), Next::Deploy(1));
        lineage.failure = Some(failure(Step::Verify, "c1"));
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Wait(..)
        ));
        lineage.failure = None;
        lineage.state = State::Verified;
        // An order in flight goes on whatever the caps say, but not one for other names.
        let mut order = Order {
            profile: None,
            generation: 2,
            identifiers: identifiers.clone(),
            directory: String::new(),
            url: None,
            replaces: None,
            started_at: late,
        };
        lineage.order = Some(order.clone());
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Order(_)
        ));
        order.identifiers = vec!["other.example".parse().unwrap()];
        lineage.order = Some(order);
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Wait(..)
        ));
        lineage.order = None;
        lineage.state = State::RolledBack;
        assert_eq!(next(&lineage, &policy, now, Urgency::Ordinary), Next::Deploy(1));
        // Who went back to an older generation on purpose stays there, and it is renewed in its own time.
        lineage.issued_at.clear();
        lineage.generations.insert(2, generation(365));
        lineage.generation = Some(1);
        lineage.state = State::Deployed;
        assert_eq!(next(&lineage, &policy, now, Urgency::Ordinary), Next::Deploy(1));
        lineage.state = State::Verified;
        assert!(matches!(
            next(&lineage, &policy, late, Urgency::Ordinary),
            Next::Order(_)
        ));
        lineage.state = State::RolledBack;
        assert_eq!(next(&lineage, &policy, late, Urgency::Ordinary), Next::Deploy(2));
    }

    #[test]
    fn serves_what_there_is_while_an_order_is_waited_for() {
        let identifiers = vec!["a.example".parse().unwrap()];
        let policy = Policy {
            identifiers: &identifiers,
            ordered_by_us: true,
            before: None,
            max_per_day: 2,
            max_per_week: 4,
            goal: State::Verified,
            configuration: "c1",
        };
        let now = START + Duration::days(70);
        let failure = |step| Failure {
            step,
            message: "no".into(),
            remedies: Vec::new(),
            count: 1,
            at: now,
            retry_at: now + Duration::minutes(10),
            configuration: "c1".into(),
            not_yet: false,
        };
        let mut lineage = Lineage::new("a.example");
        assert_eq!(meanwhile(&lineage, &policy, now, Urgency::Ordinary), None);
        lineage.generations.insert(1, generation(90));
        lineage.state = State::Deployed;
        lineage.keep_failure(failure(Step::Order));
        assert_eq!(next(&lineage, &policy, now, Urgency::Ordinary), Next::Deploy(1));
        assert_eq!(meanwhile(&lineage, &policy, now, Urgency::Ordinary), Some(1));
        // Both have a back-off of their own.
        lineage.keep_failure(failure(Step::Verify));
        assert!(matches!(
            next(&lineage, &policy, now, Urgency::Ordinary),
            Next::Wait(..)
        ));
        assert_eq!(meanwhile(&lineage, &policy, now, Urgency::Ordinary), None);
        assert_eq!(meanwhile(&lineage, &policy, now, Urgency::Forced), Some(1));
        let later = now + Duration::minutes(10);
        assert!(matches!(
            next(&lineage, &policy, later, Urgency::Ordinary),
            Next::Order(_)
        ));
        assert_eq!(meanwhile(&lineage, &policy, later, Urgency::Ordinary), Some(1));
        lineage.state = State::Verified;
        assert_eq!(meanwhile(&lineage, &policy, later, Urgency::Ordinary), None);
        lineage.state = State::RolledBack;
        let expired = START + Duration::days(90);
        assert_eq!(meanwhile(&lineage, &policy, expired, Urgency::Ordinary), None);
    }
}
