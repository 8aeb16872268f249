//! What a certificate is for, and how long it is good. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::model::der;

/// How long an end-entity certificate is good, in days, when nothing else is said: what clients take from public CAs
/// (CA/Browser Forum, Ballot SC31).
pub const DAYS: u32 = 398;

/// No client of Apple's takes more of a root that its user added (support.apple.com/103769); others do.
pub const MOST_DAYS: u32 = 825;

/// How long a root is good, in days.
pub const ROOT_DAYS: u32 = 3650;

/// How long an issuing intermediate is good, in days.
pub const INTERMEDIATE_DAYS: u32 = 1825;

/// No CA certificate is asked for that is good for longer, in days: a century.
pub const MOST_CA_DAYS: u32 = 36_500;

/// How long a CRL is good, in days. `renew` makes the next one when half of it is left.
pub const CRL_DAYS: u32 = 30;

/// Certificates are good from a little before now: the clocks of clients differ.
pub const BACKDATED: Duration = Duration::minutes(10);

/// What a certificate may be used for (RFC 5280, 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// As server and as client.
    Both,
    /// As client.
    Client,
    /// As server.
    Server,
}

impl Profile {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// Returns the value of the extended key usage.
    pub fn key_usages(self) -> Vec<u8> {
        // id-kp-serverAuth and id-kp-clientAuth, 1.3.6.1.5.5.7.3.1 and .2.
        let usage = |last| der::value(der::OID, &[0x2b, 6, 1, 5, 5, 7, 3, last]);
        match self {
            Self::Both => der::sequence(&[&usage(1), &usage(2)]),
            Self::Client => der::sequence(&[&usage(2)]),
            Self::Server => der::sequence(&[&usage(1)]),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From when to when something is good, both inclusive, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: OffsetDateTime,
    /// The last moment.
    pub not_after: OffsetDateTime,
}

/// Why no certificate can be good for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidityError {
    /// The issuer's certificate is good only from this moment: the clock is wrong.
    Early(OffsetDateTime),
    /// The issuer's certificate was good only until this moment.
    Expired(OffsetDateTime),
    /// So many days are not allowed; at most so many are.
    TooLong(u32, u32),
    /// For no day at all.
    Zero,
}

impl fmt::Display for ValidityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early(from) => write!(
                f,
                "the CA's certificate is good only from {from}: the clock is wrong"
            ),
            Self::Expired(until) => write!(f, "the CA's certificate was good until {until}"),
            Self::TooLong(days, most) => write!(f, "{days} days are too long: clients take at most {most}"),
            Self::Zero => f.write_str("a certificate for 0 days is none"),
        }
    }
}

impl std::error::Error for ValidityError {}

impl Validity {
    /// Returns when a CA's own certificate is good, from now on.
    ///
    /// # Errors
    /// For no day, and for more than [`MOST_CA_DAYS`].
    pub fn of_authority(now: OffsetDateTime, days: u32) -> Result<Self, ValidityError> {
        match days {
            0 => Err(ValidityError::Zero),
            days if days > MOST_CA_DAYS => Err(ValidityError::TooLong(days, MOST_CA_DAYS)),
            days => Ok(Self::from(now, days)),
        }
    }

    /// Returns when an end-entity certificate is good: within its issuer's time, which cuts it off.
    ///
    /// # Errors
    /// When the clock or the number of days is wrong.
    pub fn of_end_entity(now: OffsetDateTime, days: u32, issuer: Self) -> Result<Self, ValidityError> {
        match days {
            0 => return Err(ValidityError::Zero),
            days if days > MOST_DAYS => return Err(ValidityError::TooLong(days, MOST_DAYS)),
            _ => {}
        }
        Self::from(now, days).within(now, issuer)
    }

    /// Returns the part of it that lies within its issuer's time.
    ///
    /// # Errors
    /// When now does not.
    pub fn within(self, now: OffsetDateTime, issuer: Self) -> Result<Self, ValidityError> {
        if now < issuer.not_before {
            return Err(ValidityError::Early(issuer.not_before));
        }
        if now > issuer.not_after {
            return Err(ValidityError::Expired(issuer.not_after));
        }
        Ok(Self {
            not_before: self.not_before.max(issuer.not_before),
            not_after: self.not_after.min(issuer.not_after),
        })
    }

    fn from(now: OffsetDateTime, days: u32) -> Self {
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let not_before = now.saturating_sub(BACKDATED);
        // The last moment counts too: 398 days are not 398 days and a second.
        let not_after = not_before.saturating_add(Duration::days(days.into()) - Duration::SECOND);
        Self {
            not_before,
            not_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn lifetimes_are_bounded_by_clients_and_by_the_issuer() {
        let issuer = Validity {
            not_before: datetime!(2026-01-01 0:00 UTC),
            not_after: datetime!(2028-01-01 0:00 UTC),
        };
        let check = |now: OffsetDateTime,
                     days: u32,
                     expected: Result<(OffsetDateTime, OffsetDateTime), ValidityError>| {
            let found = Validity::of_end_entity(now, days, issuer);
            assert_eq!(found.map(|found| (found.not_before, found.not_after)), expected);
        };
        let now = datetime!(2026-06-01 12:00:00.5 UTC);
        check(
            now,
            1,
            Ok((
                datetime!(2026-06-01 11:50 UTC),
                datetime!(2026-06-02 11:49:59 UTC),
            )),
        );
        check(now, 825, Ok((datetime!(2026-06-01 11:50 UTC), issuer.not_after)));
        check(
            datetime!(2026-01-01 0:01 UTC),
            1,
            Ok((issuer.not_before, datetime!(2026-01-01 23:50:59 UTC))),
        );
        check(now, 826, Err(ValidityError::TooLong(826, 825)));
        check(now, 0, Err(ValidityError::Zero));
        check(
            datetime!(1970-01-01 0:00 UTC),
            1,
            Err(ValidityError::Early(issuer.not_before)),
        );
        check(
            datetime!(2028-01-01 0:01 UTC),
            1,
            Err(ValidityError::Expired(issuer.not_after)),
        );
        assert!(Validity::of_authority(now, MOST_CA_DAYS).is_ok());
        assert!(Validity::of_authority(now, 0).is_err());
        assert!(Validity::of_authority(now, u32::MAX).is_err());
    }
}
