//! When to try again after a failure, and how often a certificate is issued at most. Pure.
//!
//! Every bound here holds whatever the clock was when something was written down: an instant that only a wrong clock can
//! have set holds nobody back.

use time::{Duration, OffsetDateTime};

use crate::model::lineage::Failure;

/// No CA is left alone longer, whatever it asks for.
pub const LONGEST: Duration = Duration::days(7);

/// How far a clock may be set back by the protocol that keeps it right.
const SLACK: Duration = Duration::minutes(5);

/// Returns how long to wait after the n-th failure in a row: 1, 10, 100 minutes, then a day.
pub fn back_off(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::minutes(1),
        2 => Duration::minutes(10),
        3 => Duration::minutes(100),
        _ => Duration::days(1),
    }
}

/// What failed, for [`retry_at`].
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// When.
    pub now: OffsetDateTime,
    /// How often in a row.
    pub count: u32,
    /// Until when the CA wants to be left alone, if it said so.
    pub asked: Option<OffsetDateTime>,
    /// When the certificate in use ends, if there is one.
    pub not_after: Option<OffsetDateTime>,
}

/// Returns when to try again: by the back-off, later when the CA asks for it; but several times before the certificate in
/// use ends, and hourly on the day after, whatever the CA asks for.
pub fn retry_at(failed: Failed) -> OffsetDateTime {
    let Failed {
        now,
        count,
        asked,
        not_after,
    } = failed;
    let mut own = back_off(count);
    let mut longest = LONGEST;
    match not_after.map(|not_after| not_after - now) {
        Some(left) if left > Duration::ZERO => {
            let (tenth, half): (Duration, Duration) = (left / 10, left / 2);
            own = own.min(tenth.max(Duration::MINUTE));
            longest = longest.min(half.max(Duration::HOUR));
        }
        Some(left) if left > -Duration::DAY => {
            own = own.min(Duration::HOUR);
            longest = longest.min(Duration::DAY);
        }
        _ => {}
    }
    let asked = asked.map_or(Duration::ZERO, |asked| asked - now).min(longest);
    now.saturating_add(own.max(asked))
}

/// Returns whether unattended runs leave alone what failed so.
pub fn holds(failure: &Failure, now: OffsetDateTime) -> bool {
    failure.retry_at > now && is_credible(failure.at, failure.retry_at, now)
}

/// Returns whether what was written down at `at` can hold until `until`: neither in the future, nor longer than anything
/// of ours does.
pub fn is_credible(at: OffsetDateTime, until: OffsetDateTime, now: OffsetDateTime) -> bool {
    at <= now.saturating_add(SLACK) && until - at <= LONGEST
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
        // An instant just ahead is a clock that was set back a little; it counts as just now. One that is farther ahead
        // was set by a clock that was wrong, and would hold for years.
        let mut inside: Vec<_> = issued_at
            .iter()
            .filter(|at| **at <= now.saturating_add(Duration::DAY))
            .map(|at| *at.min(&now))
            .filter(|at| *at > now.saturating_sub(span))
            .collect();
        inside.sort();
        let blocking = inside.len().checked_sub(max)?;
        Some(inside[blocking].saturating_add(span))
    };
    until(max_per_day, Duration::days(1)).max(until(max_per_week, Duration::weeks(1)))
}

/// Drops what no cap can need any more: all but the last week, of which the newest stay whatever the clock says.
pub fn keep_for_caps(issued_at: &mut Vec<OffsetDateTime>, now: OffsetDateTime) {
    const KEPT: usize = 16;
    let surplus = issued_at.len().saturating_sub(KEPT);
    let mut index = 0;
    issued_at.retain(|at| {
        index += 1;
        index > surplus || *at > now.saturating_sub(Duration::weeks(1))
    });
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::model::lineage::Step;

    const NOW: OffsetDateTime = datetime!(2026-01-08 0:00 UTC);

    #[test]
    fn backs_off_and_obeys_but_not_beyond_the_end() {
        let check = |count, asked: Option<Duration>, left: Option<Duration>, expected: Duration| {
            let at = retry_at(Failed {
                now: NOW,
                count,
                asked: asked.map(|asked| NOW.saturating_add(asked)),
                not_after: left.map(|left| NOW + left),
            });
            assert_eq!(at - NOW, expected, "{count} {asked:?} {left:?}");
        };
        let (minute, hour, day) = (Duration::minutes, Duration::hours, Duration::days);
        for (count, minutes) in [(1, 1), (2, 10), (3, 100), (4, 1440), (5, 1440), (9999, 1440)] {
            check(count, None, None, minute(minutes));
            check(count, None, Some(day(60)), minute(minutes));
            check(count, Some(Duration::ZERO), None, minute(minutes));
            check(count, Some(-day(900)), None, minute(minutes));
        }
        check(1, Some(hour(2)), Some(day(30)), hour(2));
        check(1, Some(hour(34)), Some(day(30)), hour(34));
        check(1, Some(day(36500)), None, day(7));
        check(1, Some(day(36500)), Some(day(30)), day(7));
        // A short lifetime: the century that the CA asks for would be its end.
        check(1, Some(day(36500)), Some(hour(80)), hour(40));
        check(1, Some(day(36500)), Some(minute(30)), hour(1));
        check(4, None, Some(hour(80)), hour(8));
        check(4, None, Some(minute(60)), minute(6));
        check(4, None, Some(minute(3)), minute(1));
        // Expired: hourly for a day, then as ever.
        check(4, None, Some(-hour(1)), hour(1));
        check(4, Some(day(36500)), Some(-hour(1)), day(1));
        check(4, None, Some(-day(2)), day(1));
    }

    #[test]
    fn holds_nobody_back_for_longer_than_a_right_clock_could_have_meant() {
        let check = |at: OffsetDateTime, retry_at: OffsetDateTime, expected| {
            let failure = Failure {
                step: Step::Order,
                message: String::new(),
                count: 4,
                at,
                retry_at,
                configuration: String::new(),
                remedies: Vec::new(),
                not_yet: false,
            };
            assert_eq!(holds(&failure, NOW), expected, "{at} {retry_at}");
        };
        check(NOW - Duration::HOUR, NOW + Duration::HOUR, true);
        check(NOW - Duration::HOUR, NOW, false);
        check(NOW, NOW + Duration::days(7), true);
        check(NOW, NOW + Duration::days(8), false);
        check(NOW + Duration::MINUTE, NOW + Duration::HOUR, true);
        let (past, future) = (datetime!(1970-01-01 0:00 UTC), datetime!(2100-01-01 0:00 UTC));
        check(past, past + Duration::DAY, false);
        check(past, future, false);
        check(future, future + Duration::DAY, false);
    }

    #[test]
    fn counts_issuances_in_a_day_and_a_week() {
        let at = |hours: i64| NOW - Duration::hours(hours);
        assert_eq!(capped(&[at(1)], NOW, 2, 4), None);
        assert_eq!(
            capped(&[at(1), at(5)], NOW, 2, 4),
            Some(at(5) + Duration::days(1))
        );
        assert_eq!(
            capped(&[at(30), at(40), at(50), at(60)], NOW, 2, 4),
            Some(at(60) + Duration::weeks(1))
        );
        assert_eq!(capped(&[at(1); 50], NOW, 0, 0), None);
        // The clock was an hour ahead; it was in 2100; it is in 1970.
        assert_eq!(
            capped(&[at(-1), at(-1)], NOW, 2, 0),
            Some(NOW + Duration::days(1))
        );
        assert_eq!(capped(&[datetime!(2100-01-01 0:00 UTC); 9], NOW, 2, 4), None);
        assert_eq!(capped(&[NOW; 9], datetime!(1970-01-01 0:00 UTC), 2, 4), None);
    }

    #[test]
    fn remembers_issuances_although_the_clock_was_wrong() {
        let mut issued_at: Vec<_> = (0..40)
            .map(|hours| NOW - Duration::hours(10 * hours))
            .rev()
            .collect();
        keep_for_caps(&mut issued_at, NOW);
        assert_eq!(issued_at.len(), 17, "ten hours apart: a week");
        keep_for_caps(&mut issued_at, datetime!(2100-01-01 0:00 UTC));
        assert_eq!(issued_at.len(), 16);
        assert_eq!(issued_at.last(), Some(&NOW));
    }
}
