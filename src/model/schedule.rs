//! When to renew, when to try again, and how often at most. Pure: `now` and randomness come in as arguments.
//!
//! The CA's renewal window decides (RFC 9773, 4.2), but it can never let a certificate expire: in the last twentieth of
//! the lifetime a certificate is due whatever the window says.

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::lineage::{Failure, Generation, Lineage, RenewalInfo, State, Step, Window};

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

/// When a certificate is to be renewed, and why then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The instant.
    pub at: OffsetDateTime,
    /// What decides it.
    pub reason: Reason,
}

/// What decides when a certificate is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `renew.before` in the configuration.
    Configured,
    /// The last twentieth of the lifetime: whatever the CA's window says.
    LastTwentieth,
    /// The usual part of the lifetime is left.
    Lifetime,
    /// The CA's renewal window.
    Window,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "renew.before in the configuration",
            Self::LastTwentieth => "the last twentieth of the lifetime begins",
            Self::Lifetime => "a third of the lifetime is left (half of a short one)",
            Self::Window => "the CA's renewal window",
        })
    }
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
    pub identifiers: &'a [super::name::Identifier],
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
    let step = match &wanted {
        Next::Deploy(_) => [Step::Deploy, Step::Hook, Step::Install, Step::Verify].as_slice(),
        Next::Order(_) => &[Step::Order],
        Next::Idle(_) | Next::Wait(..) => return wanted,
    };
    if urgency == Urgency::Forced {
        return wanted;
    }
    if let Some(failure) = lineage
        .failure
        .as_ref()
        .filter(|failure| holds_back(failure, step, policy, now))
    {
        return Next::Wait(failure.retry_at, failure.message.clone());
    }
    if matches!(wanted, Next::Order(_))
        && lineage.order.is_none()
        && let Some(until) = capped(&lineage.issued_at, now, policy.max_per_day, policy.max_per_week)
    {
        let text = "as many certificates as renew.max_per_day and renew.max_per_week allow were issued";
        return Next::Wait(until, text.to_owned());
    }
    wanted
}

fn wanted(lineage: &Lineage, policy: &Policy<'_>, now: OffsetDateTime, urgency: Urgency) -> Next {
    if lineage.order.is_some() && policy.ordered_by_us {
        return Next::Order("an order is unfinished".to_owned());
    }
    let Some((number, generation)) = lineage.current() else {
        return if policy.ordered_by_us {
            Next::Order("there is no certificate yet".to_owned())
        } else {
            Next::Wait(
                now,
                "the certificate comes from elsewhere: `mailcert install` puts it into service".to_owned(),
            )
        };
    };
    let due = renew_at(generation, lineage.renewal_info.as_ref(), policy.before);
    if policy.ordered_by_us {
        let mut has = generation.identifiers.clone();
        has.sort();
        if has != policy.identifiers {
            return Next::Order("the identifiers in the configuration have changed".to_owned());
        }
        if urgency == Urgency::Forced && is_in_service(lineage, policy) {
            return Next::Order("renewal was forced".to_owned());
        }
        if due.at <= now {
            return Next::Order(format!("renewal is due: {}", due.reason));
        }
    }
    if !is_in_service(lineage, policy) {
        return Next::Deploy(number);
    }
    Next::Idle(due)
}

/// Returns whether nothing is left to do for the generation in service, hooks included.
fn is_in_service(lineage: &Lineage, policy: &Policy<'_>) -> bool {
    lineage.state >= policy.goal && lineage.state != State::RolledBack && !lineage.has_unfinished_hooks()
}

fn holds_back(failure: &Failure, steps: &[Step], policy: &Policy<'_>, now: OffsetDateTime) -> bool {
    // A clock that was set back must not hold a retry for ever: no back-off is longer than a day.
    let sane = failure.retry_at - now <= Duration::days(1) || failure.step == Step::Order;
    steps.contains(&failure.step)
        && failure.configuration == policy.configuration
        && failure.retry_at > now
        && sane
}

/// Returns when a certificate is to be renewed.
///
/// `before` is the operator's fixed time. Without it the CA's window for this very certificate decides, else a third of
/// the lifetime left, half when it is under 10 days.
pub fn renew_at(generation: &Generation, info: Option<&RenewalInfo>, before: Option<Duration>) -> Due {
    if let Some(left) = before {
        return Due {
            at: generation.not_after - left,
            reason: Reason::Configured,
        };
    }
    let lifetime = generation.not_after - generation.not_before;
    let window = info
        .filter(|info| Some(&info.certificate_id) == generation.certificate_id.as_ref())
        .and_then(|info| info.window.as_ref());
    let Some(window) = window else {
        let left = if lifetime < Duration::days(10) {
            lifetime / 2
        } else {
            lifetime / 3
        };
        return Due {
            at: generation.not_after - left,
            reason: Reason::Lifetime,
        };
    };
    let last = generation.not_after - lifetime / 20;
    if window.chosen > last {
        Due {
            at: last,
            reason: Reason::LastTwentieth,
        }
    } else {
        Due {
            at: window.chosen,
            reason: Reason::Window,
        }
    }
}

/// Returns the window with an instant chosen uniformly in it (RFC 9773, 4.2); the earlier choice is kept while the
/// window stays the same. `random` is any number.
///
/// A window that ends before it begins is nonsense: `None`.
pub fn choose(
    start: OffsetDateTime,
    end: OffsetDateTime,
    explanation_url: Option<String>,
    earlier: Option<&Window>,
    random: u64,
) -> Option<Window> {
    let length = u64::try_from((end - start).whole_seconds())
        .ok()
        .filter(|length| *length > 0)?;
    let kept = earlier
        .filter(|window| window.start == start && window.end == end)
        .map(|window| window.chosen);
    let offset = i64::try_from(random % length).ok()?;
    let chosen = kept.unwrap_or_else(|| start.saturating_add(Duration::seconds(offset)));
    Some(Window {
        start,
        end,
        chosen,
        explanation_url,
    })
}

/// Returns how long to wait after the n-th failure in a row: 1, 10, 100 minutes, then a day.
pub fn back_off(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::minutes(1),
        2 => Duration::minutes(10),
        3 => Duration::minutes(100),
        _ => Duration::days(1),
    }
}

/// Returns when another certificate may be issued, or `None` when it may be now.
pub fn capped(
    issued_at: &[OffsetDateTime],
    now: OffsetDateTime,
    max_per_day: u32,
    max_per_week: u32,
) -> Option<OffsetDateTime> {
    let until = |max: u32, span: Duration| {
        let max = usize::try_from(max).ok().filter(|max| *max > 0)?;
        // An instant in the future is a clock that was wrong then; it counts as just now, not for ever.
        let mut inside: Vec<_> = issued_at
            .iter()
            .map(|at| *at.min(&now))
            .filter(|at| *at > now.saturating_sub(span))
            .collect();
        inside.sort();
        let blocking = inside.len().checked_sub(max)?;
        Some(inside[blocking].saturating_add(span))
    };
    until(max_per_day, Duration::days(1)).max(until(max_per_week, Duration::weeks(1)))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

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

    fn info(id: &str, start_day: i64, end_day: i64) -> RenewalInfo {
        let window = choose(
            START + Duration::days(start_day),
            START + Duration::days(end_day),
            None,
            None,
            0,
        );
        RenewalInfo {
            certificate_id: id.into(),
            window,
            ask_at: START,
        }
    }

    #[test]
    fn renews_in_the_window_else_by_lifetime_and_never_too_late() {
        let check = |days, info: Option<RenewalInfo>, before: Option<i64>, at_hours: i64, reason| {
            let due = renew_at(&generation(days), info.as_ref(), before.map(Duration::days));
            assert_eq!(
                due,
                Due {
                    at: START + Duration::hours(at_hours),
                    reason
                },
                "{days} {info:?}"
            );
        };
        check(90, None, None, 60 * 24, Reason::Lifetime);
        check(6, None, None, 3 * 24, Reason::Lifetime);
        check(90, Some(info("id", 58, 62)), None, 58 * 24, Reason::Window);
        check(90, Some(info("other", 10, 12)), None, 60 * 24, Reason::Lifetime);
        check(90, Some(info("id", 400, 500)), None, 2052, Reason::LastTwentieth);
        check(90, Some(info("id", 62, 58)), None, 60 * 24, Reason::Lifetime);
        check(90, Some(info("id", -9, -8)), None, -9 * 24, Reason::Window);
        check(
            90,
            Some(info("id", 58, 62)),
            Some(20),
            70 * 24,
            Reason::Configured,
        );
    }

    #[test]
    fn keeps_its_choice_while_the_window_stays() {
        let end = START + Duration::days(2);
        let first = choose(START, end, None, None, 12345).unwrap();
        assert_eq!(first.chosen, START + Duration::seconds(12345));
        assert_eq!(
            choose(START, end, None, Some(&first), 777).unwrap().chosen,
            first.chosen
        );
        assert_ne!(
            choose(START, end + Duration::HOUR, None, Some(&first), 777)
                .unwrap()
                .chosen,
            first.chosen
        );
        assert_eq!(choose(START, START, None, None, 1), None);
        assert_eq!(choose(end, START, None, None, 1), None);
    }

    #[test]
    fn counts_issuances_in_a_day_and_a_week() {
        let now = datetime!(2026-01-08 0:00 UTC);
        let at = |hours: i64| now - Duration::hours(hours);
        assert_eq!(capped(&[at(1)], now, 2, 4), None);
        assert_eq!(
            capped(&[at(1), at(5)], now, 2, 4),
            Some(at(5) + Duration::days(1))
        );
        assert_eq!(
            capped(&[at(30), at(40), at(50), at(60)], now, 2, 4),
            Some(at(60) + Duration::weeks(1))
        );
        assert_eq!(capped(&[at(1); 50], now, 0, 0), None);
        assert_eq!(
            capped(&[at(-9999), at(-9999)], now, 2, 0),
            Some(now + Duration::days(1))
        );
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
}
