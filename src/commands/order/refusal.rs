//! Why there is no certificate, when to ask again, and whether another CA may be asked.

use time::{Duration, OffsetDateTime};

use crate::{
    acme::AcmeError,
    commands::ca,
    error::{Error, Kind},
    model::{authority::short_name, lineage::Held, name::Identifier},
};

/// How long a limit is taken to hold when the CA does not say; a little less than the timer's hour.
const UNSAID: Duration = Duration::minutes(50);

/// Why there is no certificate.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// For the operator.
    pub error: Error,
    /// When the CA wants to be asked again.
    pub retry_at: Option<OffsetDateTime>,
    /// What lies behind it.
    pub cause: Cause,
}

/// What lies behind a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The CA cannot be talked to: the next one may do.
    Down,
    /// Our mirror of the limits, or what the CA said before: nothing was asked for, and nothing failed.
    Held,
    /// A limit of the whole account: no other order goes either.
    Limit,
    /// Anything else.
    Other,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            retry_at: error.retry_at,
            cause: Cause::Other,
            error,
        }
    }
}

impl Refusal {
    /// Tells why there is no session.
    pub fn of_session(directory: &str, error: &AcmeError, now: OffsetDateTime) -> Self {
        // Whatever a directory that is none answers, another CA may do.
        let is_down = error.is_down()
            || error.is_nonsense()
            || matches!(error, AcmeError::Status { .. }) && !error.is_rate_limit();
        Self {
            error: ca::failure(&format!("the CA at {directory} cannot be used"), error),
            retry_at: ca::retry_at(error, now),
            cause: match (is_down, error.is_account_wide([])) {
                (true, _) => Cause::Down,
                (false, true) => Cause::Limit,
                (false, false) => Cause::Other,
            },
        }
    }

    /// Tells of a CA that this host is not prepared for: the next one may do.
    pub fn unusable(error: Error) -> Self {
        Self {
            cause: Cause::Down,
            ..error.into()
        }
    }

    /// Tells why an order came to nothing. `is_begun`: it was made.
    pub fn of_order(
        directory: &str,
        error: &AcmeError,
        identifiers: &[Identifier],
        is_begun: Begun,
        now: OffsetDateTime,
    ) -> Self {
        let is_down = error.is_down() || is_begun == Begun::No && error.is_nonsense();
        let account_wide = error.is_account_wide(identifiers.iter().map(Identifier::base));
        let asked = ca::retry_at(error, now);
        let mut told = ca::failure(&format!("the CA at {directory} issued no certificate"), error);
        // Only a person can end a pause, so that is a failure; a limit passes by itself.
        let is_limit = error.is_rate_limit() && !error.is_paused() && !error.is_down();
        let retry_at = if is_limit {
            told.kind = Kind::NotYet;
            Some(asked.unwrap_or(now.saturating_add(UNSAID)))
        } else {
            asked
        };
        Self {
            error: told,
            retry_at,
            cause: match (is_down, account_wide) {
                (true, _) => Cause::Down,
                (false, true) => Cause::Limit,
                (false, false) => Cause::Other,
            },
        }
    }

    /// Tells of a CA that wants to be left alone, or would refuse: it was not asked.
    pub fn held(directory: &str, until: OffsetDateTime, why: &str) -> Self {
        let error = Error::not_yet(format!("no order was made at {}", short_name(directory)))
            .cause(why)
            .retry_at(until);
        Self {
            cause: Cause::Held,
            ..error.into()
        }
    }

    /// Returns what is kept of a limit by which nobody was asked.
    pub fn to_keep(&self) -> Option<Held> {
        let why = std::iter::once(&self.error.message).chain(&self.error.causes);
        Some(Held {
            until: self.retry_at?,
            why: why.cloned().collect::<Vec<_>>().join(": "),
        })
    }

    /// Returns whether another CA may do.
    pub fn is_down(&self) -> bool {
        self.cause == Cause::Down
    }

    /// Tells what the other CAs said, too.
    pub fn with_others(mut self, others: Vec<Self>) -> Self {
        for other in others {
            self.error.causes.push(other.error.message);
            self.error.causes.extend(other.error.causes);
            for remedy in other.error.remedies {
                if !self.error.remedies.contains(&remedy) {
                    self.error.remedies.push(remedy);
                }
            }
            self.retry_at = match (self.retry_at, other.retry_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                // One of them does not ask to be left alone.
                _ => None,
            };
        }
        self
    }
}

/// Whether an order was made at the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It was not.
    No,
    /// It was.
    Yes,
}
