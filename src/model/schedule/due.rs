//! When a certificate is to be renewed, and why then. Pure: `now` and randomness come in as arguments.
//!
//! The CA's renewal window decides (RFC 9773, 4.2), but neither it nor the configuration can let a certificate expire: in
//! the last twentieth of the lifetime a certificate is due whatever they say.

use std::fmt;

use serde::{Serialize, Serializer};
use time::{Duration, OffsetDateTime};

use crate::model::lineage::{Generation, Lineage, RenewalInfo, Window};

/// How far apart two unattended runs are at most: the timer wakes hourly, somewhat late, and a run takes a while before it
/// comes to the order.
///
/// Let's Encrypt exempts a renewal from its limits while the window lasts and not a second longer, so the latest instant
/// that may be chosen is this much before the window's end.
pub const BETWEEN_RUNS: Duration = Duration::minutes(75);

/// How long a certificate is left alone whatever its window says, at most an eighth of its lifetime.
///
/// A CA that wants even a certificate back that it issued a moment ago (an incident that is not over, a stale answer)
/// would otherwise be asked for the next one at once, and again (cert-manager #8993).
const SETTLING: Duration = Duration::hours(6);

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
    /// `renew.before` in the configuration would begin with the lifetime's first third.
    ConfiguredTooEarly,
    /// The last twentieth of the lifetime: whatever the CA's window says.
    LastTwentieth,
    /// The usual part of the lifetime is left.
    Lifetime,
    /// The certificate was withdrawn.
    Revoked,
    /// The CA's renewal window.
    Window,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "renew.before in the configuration",
            Self::ConfiguredTooEarly => {
                "a third of the lifetime has passed (renew.before would begin even earlier)"
            }
            Self::LastTwentieth => "the last twentieth of the lifetime begins",
            Self::Lifetime => "a third of the lifetime is left (half of a short one)",
            Self::Revoked => "the certificate was revoked",
            Self::Window => "the CA's renewal window",
        })
    }
}

/// In the words that people read.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns when a generation of a lineage is to be renewed: at once when it was revoked.
pub fn due(lineage: &Lineage, generation: &Generation, before: Option<Duration>) -> Due {
    match lineage.revocation_of(generation) {
        Some(revocation) => Due {
            at: revocation.at,
            reason: Reason::Revoked,
        },
        None => renew_at(generation, lineage.renewal_info.as_ref(), before),
    }
}

/// Returns when a certificate is to be renewed.
///
/// `before` is the operator's fixed time. Without it the CA's window for this very certificate decides, else a third of
/// the lifetime left, half when it is under 10 days.
pub fn renew_at(generation: &Generation, info: Option<&RenewalInfo>, before: Option<Duration>) -> Due {
    let due = wanted_at(generation, info, before);
    let last = generation.not_after.saturating_sub(lifetime(generation) / 20);
    if due.at > last {
        return Due {
            at: last,
            reason: Reason::LastTwentieth,
        };
    }
    due
}

/// Returns when it would be renewed if there were no last twentieth.
fn wanted_at(generation: &Generation, info: Option<&RenewalInfo>, before: Option<Duration>) -> Due {
    let lifetime = lifetime(generation);
    if let Some(left) = before {
        let at = generation.not_after.saturating_sub(left);
        // What was written for a long lifetime must not make a short one due from its first hour on.
        let earliest = generation.not_before.saturating_add(lifetime / 3);
        return if at < earliest {
            Due {
                at: earliest,
                reason: Reason::ConfiguredTooEarly,
            }
        } else {
            Due {
                at,
                reason: Reason::Configured,
            }
        };
    }
    let Some(window) = window_of(generation, info) else {
        let left = if lifetime < Duration::days(10) {
            lifetime / 2
        } else {
            lifetime / 3
        };
        return Due {
            at: generation.not_after.saturating_sub(left),
            reason: Reason::Lifetime,
        };
    };
    let settled = generation.not_before.saturating_add(SETTLING.min(lifetime / 8));
    Due {
        at: within(window.chosen, window.start, window.end).max(settled),
        reason: Reason::Window,
    }
}

fn lifetime(generation: &Generation) -> Duration {
    (generation.not_after - generation.not_before).max(Duration::ZERO)
}

/// Returns the window that speaks about this certificate, if it is one that a CA in its right mind can mean.
pub fn window_of<'a>(generation: &Generation, info: Option<&'a RenewalInfo>) -> Option<&'a Window> {
    info.filter(|info| Some(&info.certificate_id) == generation.certificate_id.as_ref())?
        .window
        .as_ref()
        // To renew after the end is no renewal.
        .filter(|window| window.start < window.end && window.start < generation.not_after)
}

/// Returns the instant moved so that a run that comes up to [`BETWEEN_RUNS`] later is still inside the window; the window's
/// beginning where it is shorter than that.
fn within(chosen: OffsetDateTime, start: OffsetDateTime, end: OffsetDateTime) -> OffsetDateTime {
    chosen.min(end.saturating_sub(BETWEEN_RUNS)).max(start)
}

/// Returns the window with an instant chosen uniformly in it (RFC 9773, 4.2), but not so late that the next run would come
/// after its end; the earlier choice is kept while the window stays the same. `random` is any number.
///
/// A window that ends before it begins is nonsense: `None`.
pub fn choose(
    start: OffsetDateTime,
    end: OffsetDateTime,
    explanation_url: Option<String>,
    earlier: Option<&Window>,
    random: u64,
) -> Option<Window> {
    if end <= start {
        return None;
    }
    let kept = earlier
        .filter(|window| window.start == start && window.end == end)
        .map(|window| window.chosen);
    let room = u64::try_from((end - start - BETWEEN_RUNS).whole_seconds()).unwrap_or(0);
    let offset = i64::try_from(random.checked_rem(room).unwrap_or(0)).ok()?;
    let chosen = kept.unwrap_or_else(|| start.saturating_add(Duration::seconds(offset)));
    Some(Window {
        start,
        end,
        chosen,
        explanation_url,
    })
}

/// Returns whether the CA is to be asked (again) when to renew this certificate.
///
/// No answer holds longer than a day, so an instant farther away was set by a clock that was wrong.
pub fn is_to_be_asked(generation: &Generation, info: Option<&RenewalInfo>, now: OffsetDateTime) -> bool {
    let Some(certificate_id) = &generation.certificate_id else {
        return false;
    };
    info.filter(|info| info.certificate_id == *certificate_id)
        .is_none_or(|info| info.ask_at <= now || info.ask_at > now.saturating_add(Duration::hours(25)))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);

    fn generation(hours: i64) -> Generation {
        Generation {
            identifiers: vec!["a.example".parse().unwrap()],
            not_before: START,
            not_after: START + Duration::hours(hours),
            leaf_sha256: String::new(),
            spki_sha256: String::new(),
            certificate_id: Some("id".into()),
            directory: None,
        }
    }

    fn info(id: &str, start: Duration, end: Duration, random: u64) -> RenewalInfo {
        RenewalInfo {
            certificate_id: id.into(),
            window: choose(START + start, START + end, None, None, random),
            ask_at: START,
        }
    }

    #[test]
    fn renews_in_the_window_else_by_lifetime_and_never_too_late() {
        let day = Duration::days;
        let check = |hours, info: Option<RenewalInfo>, before: Option<i64>, at_hours: i64, reason| {
            let due = renew_at(&generation(hours), info.as_ref(), before.map(Duration::days));
            let at = START + Duration::hours(at_hours);
            assert_eq!(due, Due { at, reason }, "{hours} {info:?}");
        };
        for (days, third, twentieth) in [
            (45, 30 * 24, 1026),
            (64, 1024, 64 * 24 * 19 / 20 + 1),
            (90, 60 * 24, 2052),
            (365, 5840, 8322),
        ] {
            let hours = days * 24;
            check(hours, None, None, third, Reason::Lifetime);
            let other = info("other", day(10), day(12), 0);
            check(hours, Some(other), None, third, Reason::Lifetime);
            let in_time = info("id", day(29), day(30), 0);
            check(hours, Some(in_time), None, 29 * 24, Reason::Window);
            // Years away; the end before the beginning; nothing at all between them.
            let far = info("id", day(4000), day(5000), 0);
            check(hours, Some(far), None, third, Reason::Lifetime);
            check(
                hours,
                Some(info("id", day(30), day(29), 0)),
                None,
                third,
                Reason::Lifetime,
            );
            check(
                hours,
                Some(info("id", day(30), day(30), 0)),
                None,
                third,
                Reason::Lifetime,
            );
            // Revoked on the third day: at once. Before the certificate began: not in its first hours.
            check(
                hours,
                Some(info("id", day(2), day(3), 0)),
                None,
                48,
                Reason::Window,
            );
            check(
                hours,
                Some(info("id", day(-9), day(-8), 0)),
                None,
                6,
                Reason::Window,
            );
            // In the window's end it would be late.
            let late = info("id", day(days) - Duration::hours(3), day(days), u64::MAX);
            let due = renew_at(&generation(hours), Some(&late), None);
            assert_eq!(due.reason, Reason::LastTwentieth, "{days}");
            assert!(
                due.at <= START + Duration::hours(twentieth)
                    && due.at >= START + Duration::hours(twentieth - 1)
            );
        }
        check(160, None, None, 80, Reason::Lifetime);
        check(160, Some(info("id", day(-1), day(0), 0)), None, 6, Reason::Window);
        check(
            160,
            Some(info("id", day(9), day(10), 0)),
            None,
            80,
            Reason::Lifetime,
        );
        check(24, Some(info("id", day(-1), day(0), 0)), None, 3, Reason::Window);
        check(
            90 * 24,
            Some(info("id", day(58), day(62), 0)),
            Some(20),
            70 * 24,
            Reason::Configured,
        );
        check(90 * 24, None, Some(60), 30 * 24, Reason::Configured);
        check(45 * 24, None, Some(60), 15 * 24, Reason::ConfiguredTooEarly);
        check(90 * 24, None, Some(4000), 30 * 24, Reason::ConfiguredTooEarly);
        check(160, None, Some(0), 152, Reason::LastTwentieth);
        // A certificate whose end is before its beginning is due, whatever that means.
        check(-5, None, None, -5, Reason::Lifetime);
    }

    #[test]
    fn an_hourly_run_falls_into_every_window_that_is_long_enough() {
        for minutes in [76, 80, 120, 192, 1296, 2592] {
            let length = Duration::minutes(minutes);
            let start = START + Duration::days(3);
            for random in 0..500_u64 {
                let window = choose(start, start + length, None, None, random * 7919).unwrap();
                let info = RenewalInfo {
                    certificate_id: "id".into(),
                    window: Some(window),
                    ask_at: START,
                };
                let due = renew_at(&generation(160), Some(&info), None).at;
                assert!(
                    due >= start && due + BETWEEN_RUNS <= start + length,
                    "{minutes} {random}: {due}"
                );
            }
        }
        // One that is not: its beginning.
        for minutes in [1, 30, 75] {
            let end = START + Duration::minutes(minutes);
            assert_eq!(choose(START, end, None, None, 12345).unwrap().chosen, START);
        }
        // Whatever an older record holds: in the last hour, before the window, after it.
        let end = START + Duration::days(1);
        for (chosen, expected) in [
            (end - Duration::MINUTE, end - BETWEEN_RUNS),
            (START - Duration::DAY, START),
            (end + Duration::DAY, end - BETWEEN_RUNS),
        ] {
            assert_eq!(within(chosen, START, end), expected);
        }
    }

    #[test]
    fn spreads_its_choice_and_keeps_it_while_the_window_stays() {
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
        let all = choose(
            START,
            OffsetDateTime::from_unix_timestamp(253_402_300_799).unwrap(),
            None,
            None,
            u64::MAX,
        );
        assert!(all.unwrap().chosen > START);
    }

    #[test]
    fn no_wrong_clock_keeps_the_ca_from_being_asked() {
        let now = START + Duration::days(9);
        let check = |id: &str, ask_at: OffsetDateTime, expected| {
            let info = RenewalInfo {
                certificate_id: id.into(),
                window: None,
                ask_at,
            };
            assert_eq!(
                is_to_be_asked(&generation(2160), Some(&info), now),
                expected,
                "{id} {ask_at}"
            );
        };
        check("id", now, true);
        check("id", now + Duration::SECOND, false);
        check("id", now + Duration::days(1), false);
        check("id", datetime!(2100-01-01 0:00 UTC), true);
        check("id", datetime!(1970-01-01 0:00 UTC), true);
        check("other", now + Duration::HOUR, true);
        assert!(is_to_be_asked(&generation(2160), None, now));
        let nameless = Generation {
            certificate_id: None,
            ..generation(2160)
        };
        assert!(!is_to_be_asked(&nameless, None, now));
    }
}
