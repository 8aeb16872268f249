//! When to ask the CA again. Pure.
//!
//! `Retry-After` is obeyed (RFC 8555, 7.4 and 7.5.1). Without one, the first question comes early, since a CA next door
//! is done within milliseconds, and the pauses grow, since one far away is not.

use std::time::{Duration, SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc2822};

/// The longest `Retry-After` that is taken at its word; what says more is read as this.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The pauses between questions about one thing.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    next: Duration,
}

impl Pauses {
    /// The first pause.
    const FIRST: Duration = Duration::from_millis(15);
    /// No pause is longer, unless the CA asks for it.
    const LAST: Duration = Duration::from_secs(5);

    /// Starts with the shortest pause.
    pub fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// Returns how long to wait before the next question, given what the last answer asked for.
    pub fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let own = self.next;
        self.next = (own * 3 / 2).min(Self::LAST);
        // A CA that says 0 means "at once"; our own pause keeps that from becoming a storm.
        retry_after.map_or(own, |wanted| wanted.max(own))
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns how long to wait before the same request goes out with another nonce, or `None` when it is enough.
///
/// The first tries follow at once (the refusal brought a fresh nonce); then pauses grow to a second. All tries together
/// stay within a minute.
pub fn nonce_pause(n_refused: u32, elapsed: Duration) -> Option<Duration> {
    let pause = match n_refused {
        0..=5 => Duration::ZERO,
        6..=15 => Duration::from_millis(50),
        _ => Duration::from_secs(1),
    };
    (elapsed + pause < Duration::from_secs(60)).then_some(pause)
}

/// Reads a `Retry-After` header: seconds or an HTTP-date (RFC 9110, 10.2.3), as time from `now`.
///
/// A date in the past is zero; nonsense is `None`.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    let at = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    let wait = at - OffsetDateTime::from(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retry_after() {
        // 2015-10-21 07:28:00 UTC
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(
                retry_after(value, now),
                expected.map(Duration::from_secs),
                "{value}"
            );
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Wed, 21 Oct 2015 07:28:30 GMT", Some(30));
        check("Wed, 21 Oct 2015 07:00:00 GMT", Some(0));
        check("99999999999999999999999999", Some(LONGEST.as_secs()));
        check("18446744073709551615", Some(LONGEST.as_secs()));
        check("", None);
        check("-1", None);
        check("1.5", None);
        check("soon", None);
    }

    #[test]
    fn asks_early_then_less_often_and_obeys_the_ca() {
        let mut pauses = Pauses::new();
        let first: Vec<u128> = (0..4).map(|_| pauses.next(None).as_millis()).collect();
        assert_eq!(first, [15, 22, 33, 50]);
        assert_eq!(
            pauses.next(Some(Duration::from_secs(30))),
            Duration::from_secs(30)
        );
        assert!(pauses.next(Some(Duration::ZERO)) > Duration::ZERO);
        for _ in 0..30 {
            pauses.next(None);
        }
        assert_eq!(pauses.next(None), Pauses::LAST);
    }

    #[test]
    fn another_nonce_is_tried_for_a_minute() {
        let mut elapsed = Duration::ZERO;
        let mut n_refused = 0;
        while let Some(pause) = nonce_pause(n_refused, elapsed) {
            elapsed += pause;
            n_refused += 1;
        }
        assert!(n_refused > 60, "{n_refused}");
        assert!(
            elapsed < Duration::from_secs(60) && elapsed > Duration::from_secs(55),
            "{elapsed:?}"
        );
    }
}
