//! What goes wrong between us and a CA. Pure.
//!
//! Text that came from the outside is kept whole and made fit for a terminal only when it is printed.

use std::{fmt, net::SocketAddr, time::Duration};

use super::problem::Problem;
use crate::model::{
    name::DomainName,
    plan::{printable, printable_line},
};

/// One identifier that the CA could not confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeFailure {
    /// The identifier, wildcards with their `*.`.
    pub identifier: String,
    /// The challenge that was tried: `http-01`, `dns-01`.
    pub challenge: String,
    /// Why it failed.
    pub problem: Problem,
    /// What happened on our side meanwhile that may be the reason.
    pub remark: Option<String>,
}

/// A process that has a port open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its program's name, as the kernel knows it.
    pub program: String,
}

/// Why a conversation with a CA came to nothing.
#[derive(Debug)]
pub enum AcmeError {
    /// The CA does not know the account: it was deactivated, or the CA is another than it was.
    AccountDoesNotExist(Problem),
    /// The listener for a challenge could not be bound, for another reason than [`Self::PortTaken`].
    Bind {
        /// The challenge.
        challenge: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        reason: String,
    },
    /// The CA could not confirm these identifiers.
    Challenge(Vec<ChallengeFailure>),
    /// An authorization does not offer the challenge that is configured.
    ChallengeNotOffered {
        /// The identifier.
        identifier: String,
        /// What was wanted.
        wanted: &'static str,
        /// What the CA offers.
        offered: Vec<String>,
    },
    /// No connection to the CA.
    Connect {
        /// Which URL was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer broke off.
    Cut {
        /// Which URL was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// The account was deactivated; what the CA says.
    Deactivated(Box<Problem>),
    /// The records for dns-01 could not be made, or were not seen; what the DNS adapter says.
    Dns01(Box<dyn std::error::Error + Send + Sync>),
    /// The CA did not bind the account to the customer's account.
    ExternalAccountRefused {
        /// The key identifier.
        key_id: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// The CA wants accounts bound to a customer's account (RFC 8555, 7.3.4).
    ExternalAccountRequired {
        /// The directory.
        directory: String,
    },
    /// The program that was to put a challenge response in place did not; what it said.
    Hook(String),
    /// That program asked to be tried again later; what it said.
    HookLater(String),
    /// Somebody wanted the run to end; the order can be resumed.
    Interrupted,
    /// What was given to us is not usable: a URL, roots, an account key, a certificate.
    Invalid(String),
    /// The certificate that the CA sent is not the one we asked for.
    IssuedOther(String),
    /// The answer is not what RFC 8555 has in its place.
    NotAcme {
        /// Which URL was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
        /// The answer's beginning.
        excerpt: String,
    },
    /// The caller could not save the order's URL.
    NotSaved(Box<dyn std::error::Error + Send + Sync>),
    /// The challenge is in place, but is not seen from outside as it should be; the CA was not told to look.
    NotSeen(Box<crate::error::Error>),
    /// The order came to nothing: the CA gave up on it, or no longer knows it. A new one may do.
    OrderLost {
        /// The order.
        url: String,
        /// What the CA says.
        reason: String,
    },
    /// The CA did not finish in time; the order can be resumed.
    Overdue {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
        /// When the CA wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// Another program has the port of the listener for a challenge.
    PortTaken {
        /// The challenge.
        challenge: &'static str,
        /// The address.
        address: SocketAddr,
        /// Who, as far as we may know.
        holder: Option<Holder>,
    },
    /// The CA has no such profile.
    ProfileNotOffered {
        /// The one that is wanted.
        profile: String,
        /// Those that it offers, each with what it is for.
        offered: Vec<(String, String)>,
    },
    /// The CA refused, and said why.
    Problem {
        /// What it said.
        problem: Box<Problem>,
        /// The HTTP status.
        status: u16,
        /// When it may be tried again.
        retry_after: Option<Duration>,
    },
    /// The CA refused without a word that we understand.
    Status {
        /// Which URL was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// When it may be tried again.
        retry_after: Option<Duration>,
        /// The answer's beginning.
        excerpt: String,
    },
    /// The CA's terms of service were not agreed to.
    TermsOfService {
        /// Where they are.
        url: String,
    },
    /// No answer within the limit.
    Timeout {
        /// Which URL was asked for.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// The TLS handshake with the CA failed, but not over its certificate.
    Tls {
        /// Which URL was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer is larger than any answer of a CA should be.
    TooLarge {
        /// Which URL was asked for.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The CA does not offer this.
    Unsupported(&'static str),
    /// The certificate that the CA's server shows is not trusted.
    Untrusted {
        /// Which URL was asked for.
        url: String,
        /// Why it is not.
        reason: String,
    },
    /// The http-01 token could not be written below the web root.
    Webroot(String),
}

impl AcmeError {
    /// Returns how long the CA wants to be left alone: on 429, 503 and `rateLimited`, or when it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. }
            | Self::Status { retry_after, .. }
            | Self::Overdue { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns whether the CA refused because of its limits, or is too busy: trying at once is of no use.
    pub fn is_rate_limit(&self) -> bool {
        match self {
            Self::Problem { problem, status, .. } => {
                matches!(status, 429 | 503) || problem.acme_kind() == Some("rateLimited")
            }
            Self::Status { status, .. } => matches!(status, 429 | 503),
            _ => false,
        }
    }

    /// Returns whether the CA has paused the account for a name: only a person at the page of [`Self::unpause_url`] can lift
    /// that, and every further order is in vain.
    pub fn is_paused(&self) -> bool {
        match self {
            Self::Problem { problem, .. } => {
                problem.is_paused() || problem.subproblems.iter().any(Problem::is_paused)
            }
            _ => false,
        }
    }

    /// Returns the page where a person lifts the pause.
    pub fn unpause_url(&self) -> Option<String> {
        match self {
            Self::Problem { problem, .. } => std::iter::once(&**problem)
                .chain(&problem.subproblems)
                .find_map(Problem::unpause_url),
            _ => None,
        }
    }

    /// Returns whether a limit holds for the whole account, and not only for these names: then no other order goes either.
    pub fn is_account_wide<'a>(&self, names: impl IntoIterator<Item = &'a DomainName>) -> bool {
        if !self.is_rate_limit() || self.is_paused() {
            return false;
        }
        let Self::Problem { problem, .. } = self else {
            return true;
        };
        let words = problem.detail.to_lowercase();
        // Let's Encrypt says "this exact set of identifiers", or names the identifier or its registered domain.
        let is_about = |name: &DomainName| {
            std::iter::successors(Some(name.clone()), DomainName::parent)
                .filter(|name| name.labels().count() > 1)
                .any(|name| words.contains(name.as_str()))
        };
        problem.subproblems.is_empty() && !words.contains("exact set") && !names.into_iter().any(is_about)
    }

    /// Returns whether the CA cannot be talked to at all now: another one may do.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Cut { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::Untrusted { .. } => true,
            Self::Problem { problem, status, .. } => {
                *status >= 500 && problem.acme_kind() != Some("rateLimited") && !self.is_paused()
            }
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Returns whether what answered is no ACME server, or not in its right mind.
    pub fn is_nonsense(&self) -> bool {
        matches!(self, Self::NotAcme { .. } | Self::TooLarge { .. })
    }

    /// Returns whether the CA did not like the nonce: the same request with another is as good as new (RFC 8555, 6.5).
    pub(crate) fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Problem { problem, .. } if problem.acme_kind() == Some("badNonce"))
    }

    /// Returns whether the same question may well be answered a moment later: a hiccup of the server or the line.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Cut { .. } | Self::Timeout { .. } => true,
            Self::Problem { status, .. } | Self::Status { status, .. } => {
                matches!(status, 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }
}

/// The longest text of a failure at a CA, in characters; a problem for each of a hundred names is in it.
const LONGEST: usize = 32 << 10;

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AccountDoesNotExist(problem) => format!("the CA does not know our account: {problem}"),
            Self::Bind {
                challenge,
                address,
                reason,
            } => format!("cannot listen on {address} for {challenge}: {reason}"),
            Self::Challenge(failures) => {
                let each = failures.iter().map(|failure| {
                    format!(
                        "{} by {}: {}",
                        failure.identifier, failure.challenge, failure.problem
                    )
                });
                let each = each.collect::<Vec<_>>().join("; ");
                // The same for all of them: said once.
                let remark = failures.iter().find_map(|failure| failure.remark.as_ref());
                let remark = remark.map(|remark| format!("; {remark}")).unwrap_or_default();
                format!("the CA could not confirm {each}{remark}")
            }
            Self::ChallengeNotOffered {
                identifier,
                wanted,
                offered,
            } => {
                format!(
                    "the CA does not offer {wanted} for {identifier}, only {}",
                    offered.join(", ")
                )
            }
            Self::Connect { url, reason } => format!("cannot connect to {url}: {reason}"),
            Self::Cut { url, reason } => format!("the answer of {url} broke off: {reason}"),
            Self::Deactivated(problem) => format!("the account is deactivated: {problem}"),
            Self::Dns01(error) => format!("cannot set up dns-01: {error}"),
            Self::NotSeen(error) => error.to_string(),
            Self::ExternalAccountRefused { key_id, problem } => {
                format!(
                    "the CA did not bind the account to the customer's account by the key identifier `{key_id}`: {problem}"
                )
            }
            Self::ExternalAccountRequired { directory } => {
                format!("{directory} wants new accounts bound to a customer's account (RFC 8555, 7.3.4)")
            }
            Self::Interrupted => "the run was interrupted".to_owned(),
            Self::Invalid(reason) => reason.clone(),
            Self::IssuedOther(reason) => format!("the CA sent a certificate we did not ask for: {reason}"),
            Self::NotAcme { url, reason, excerpt } => {
                format!("{url} does not answer as an ACME server ({reason}): `{excerpt}`")
            }
            Self::NotSaved(error) => format!("cannot save the order's URL: {error}"),
            Self::OrderLost { url, reason } => format!("the order {url} came to nothing: {reason}"),
            Self::Overdue {
                what,
                after,
                retry_after,
            } => {
                let seconds = after.as_secs();
                match retry_after {
                    None => format!("the CA did not {what} within {seconds} s"),
                    Some(next) => {
                        format!(
                            "the CA did not {what} within {seconds} s; it asks to come back in {} s",
                            next.as_secs()
                        )
                    }
                }
            }
            Self::PortTaken {
                challenge,
                address,
                holder,
            } => match holder {
                Some(Holder { pid, program }) => {
                    format!(
                        "cannot listen on {address} for {challenge}: {program} (process {pid}) has the port"
                    )
                }
                None => format!("cannot listen on {address} for {challenge}: another program has the port"),
            },
            Self::ProfileNotOffered { profile, offered } if offered.is_empty() => {
                format!("the CA has no profiles, so none `{profile}`")
            }
            Self::ProfileNotOffered { profile, offered } => {
                let each = offered
                    .iter()
                    .map(|(name, meaning)| format!("{name} ({meaning})"));
                format!(
                    "the CA has no profile `{profile}`; it offers {}",
                    each.collect::<Vec<_>>().join(", ")
                )
            }
            Self::Problem {
                problem,
                status,
                retry_after,
            } => {
                format!(
                    "the CA refused: {problem}; HTTP status {status}{}",
                    later(*retry_after)
                )
            }
            Self::Status {
                url,
                status,
                retry_after,
                excerpt,
            } if excerpt.is_empty() => {
                format!("{url} answered HTTP status {status}{}", later(*retry_after))
            }
            Self::Status {
                url,
                status,
                retry_after,
                excerpt,
            } => {
                format!(
                    "{url} answered HTTP status {status}{}: `{excerpt}`",
                    later(*retry_after)
                )
            }
            Self::TermsOfService { url } => format!("the CA's terms of service were not agreed to: {url}"),
            Self::Timeout { url, after } => format!("{url} did not answer within {} s", after.as_secs_f32()),
            Self::Tls { url, reason } => format!("no TLS connection to {url}: {reason}"),
            Self::TooLarge { url, limit } => format!("the answer of {url} is larger than {limit} bytes"),
            Self::Unsupported(what) => format!("the CA does not offer {what}"),
            Self::Untrusted { url, reason } => {
                format!("the certificate that the server of {url} shows is not trusted: {reason}")
            }
            Self::Webroot(error) => format!("cannot set up http-01: {error}"),
            Self::Hook(reason) | Self::HookLater(reason) => reason.clone(),
        };
        match self {
            // What programs of the operator's said, or ourselves: it has lines.
            Self::Dns01(_)
            | Self::Hook(_)
            | Self::HookLater(_)
            | Self::NotSaved(_)
            | Self::NotSeen(_)
            | Self::Webroot(_) => f.write_str(&printable(text.as_bytes())),
            _ => f.write_str(&printable_line(text.as_bytes(), LONGEST)),
        }
    }
}

impl std::error::Error for AcmeError {}

/// Tells when to come back.
fn later(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |after| {
        format!(", try again after {} s", after.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_pause_and_where_it_is_lifted() {
        let check = |body: &str, paused: bool, url: Option<&str>| {
            let error = AcmeError::Problem {
                problem: Problem::parse(body.as_bytes()).unwrap().into(),
                status: 429,
                retry_after: None,
            };
            assert_eq!(
                (error.is_paused(), error.unpause_url().as_deref()),
                (paused, url),
                "{body}"
            );
        };
        // As Boulder words it.
        check(
            r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "Your account is temporarily prevented from requesting certificates for a.test and possibly others. Please visit: https://portal.ca.test/sfe/v1/unpause?jwt=a.b.c"}"#,
            true,
            Some("https://portal.ca.test/sfe/v1/unpause?jwt=a.b.c"),
        );
        check(
            r#"{"type": "urn:ietf:params:acme:error:paused", "detail": "no.", "instance": "https://ca.test/lift/7"}"#,
            true,
            Some("https://ca.test/lift/7"),
        );
        check(
            r#"{"type": "urn:ietf:params:acme:error:paused", "detail": "ask (at https://ca.test/x)."}"#,
            true,
            Some("https://ca.test/x"),
        );
        check(
            r#"{"type": "urn:ietf:params:acme:error:paused", "detail": "no"}"#,
            true,
            None,
        );
        check(
            r#"{"type": "urn:ietf:params:acme:error:rateLimited", "subproblems": [
                {"type": "urn:ietf:params:acme:error:paused", "detail": "see https://ca.test/unpause"}]}"#,
            true,
            Some("https://ca.test/unpause"),
        );
        check(
            r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates, see https://ca.test/limits"}"#,
            false,
            None,
        );
        check(
            r#"{"type": "urn:ietf:params:acme:error:paused", "detail": "http://ca.test/unpause \u001b[31m"}"#,
            true,
            None,
        );
    }

    #[test]
    fn knows_whom_a_limit_is_about_and_who_is_down() {
        let check = |status, kind: &str, detail: &str, account_wide, down| {
            let error = AcmeError::Problem {
                problem: Problem {
                    kind: format!("urn:ietf:params:acme:error:{kind}"),
                    detail: detail.to_owned(),
                    ..Problem::default()
                }
                .into(),
                status,
                retry_after: None,
            };
            let names: Vec<DomainName> = vec!["mail.example.org".parse().unwrap()];
            assert_eq!(
                (error.is_account_wide(&names), error.is_down()),
                (account_wide, down),
                "{detail}"
            );
        };
        let limited = "rateLimited";
        let orders = "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-11-25 12:00:00 \
                      UTC: see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account";
        check(429, limited, orders, true, false);
        let domain = "too many certificates (50) already issued for \"Example.org\" in the last 168h0m0s";
        check(429, limited, domain, false, false);
        let same = "too many certificates (5) already issued for this exact set of identifiers";
        check(429, limited, same, false, false);
        let failed = "too many failed authorizations (5) for \"mail.example.org\" in the last 1h0m0s";
        check(429, limited, failed, false, false);
        let paused = "Your account is temporarily prevented from requesting certificates for x. Please visit: https://x/unpause";
        check(429, limited, paused, false, false);
        check(503, limited, "busy", true, false);
        check(503, "serverInternal", "busy", true, true);
        check(500, "serverInternal", "oops", false, true);
        check(
            403,
            "rejectedIdentifier",
            "policy forbids mail.example.org",
            false,
            false,
        );
    }

    #[test]
    fn knows_limits_from_hiccups() {
        let status = |status| AcmeError::Status {
            url: "https://ca.test/".into(),
            status,
            retry_after: Some(Duration::from_secs(7)),
            excerpt: String::new(),
        };
        assert!(status(429).is_rate_limit() && !status(429).is_passing());
        assert!(status(502).is_passing() && !status(502).is_rate_limit());
        assert_eq!(status(429).retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(
            status(429).to_string(),
            "https://ca.test/ answered HTTP status 429, try again after 7 s"
        );
    }
}
