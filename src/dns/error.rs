//! What can go wrong between us and the DNS, told with the server it happened at.

use std::{fmt, net::SocketAddr, time::Duration};

use crate::model::{name::DomainName, plan::printable_line, rdata::RecordType};

/// Characters of others' text that are shown at most.
pub(super) const SHOWN: usize = 500;

/// A failure to ask, to change or to see the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// What was planned on is no longer there: nothing was changed.
    ChangedMeanwhile {
        /// The owner name.
        name: DomainName,
        /// The type of the records.
        kind: RecordType,
        /// What says so: a server, a file.
        place: String,
        /// Whether values of ours were written all the same.
        written: bool,
    },
    /// A chain of CNAME records is a loop, or too long to follow.
    CnameChain {
        /// Where it began.
        name: DomainName,
        /// The names it went through.
        through: Vec<String>,
    },
    /// A name that cannot be asked for.
    Name(String),
    /// No server for the zone has an address.
    NoAuthoritativeServer {
        /// The zone.
        zone: DomainName,
    },
    /// No resolver is known.
    NoResolver,
    /// No zone was found for a name, up to the root.
    NoZone {
        /// The name.
        name: DomainName,
    },
    /// Not every authoritative server shows the change within the time allowed.
    NotYet {
        /// The owner name.
        name: DomainName,
        /// How long was waited.
        waited: Duration,
        /// Each server that lags, and what it said last.
        lagging: Vec<Lag>,
    },
    /// What writes the records did not do its work: a file, a program, an API.
    Provider(Box<ProviderFailure>),
    /// A server did not give a usable answer.
    Server {
        /// The server.
        server: SocketAddr,
        /// What was asked, as `mail.example.jp TXT`.
        question: String,
        /// What came instead.
        failure: ServerFailure,
    },
    /// So many questions were asked for one decision that this one was not.
    TooManyQuestions,
    /// A dynamic update was not carried out.
    Update(Box<UpdateFailure>),
}

/// Something that writes records, and did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFailure {
    /// What it is: `the zone file /etc/bind/db.example.jp`.
    pub provider: String,
    /// What it was to do, as `add 2 TXT records to mail.example.jp`.
    pub doing: String,
    /// Why it did not.
    pub reason: String,
    /// What the operator can do.
    pub remedy: Option<String>,
    /// Whether something may have been written all the same.
    pub written: Written,
}

/// Whether something may have been written by what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nobody knows.
    Maybe,
    /// It was not.
    No,
}

/// A dynamic update that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFailure {
    /// The server.
    pub server: SocketAddr,
    /// The zone.
    pub zone: DomainName,
    /// The owner name.
    pub name: DomainName,
    /// The TSIG key's name.
    pub key: DomainName,
    /// Why.
    pub refusal: Refusal,
}

/// A server that does not show a change yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The server, as `ns2.example.net (192.0.2.53)`.
    pub server: String,
    /// What it answered.
    pub said: String,
}

/// What a server gave instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFailure {
    /// Something that is no DNS message, or none that fits the question.
    Garbled(String),
    /// A connection or a datagram failed.
    Network(String),
    /// It refers to other servers and does not ask them for us.
    Referral,
    /// A response code, such as SERVFAIL or REFUSED.
    ResponseCode(String),
    /// Nothing, in time.
    Timeout(Duration),
    /// This host has no way to such an address: it lacks IPv6, mostly.
    Unreachable(String),
}

/// Why a dynamic update was not carried out (RFC 2136, 2.2; RFC 8945, 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// BADKEY: the server does not know the key, or not with this algorithm.
    BadKey,
    /// BADSIG: the server knows the key's name, but the secret is another.
    BadSignature,
    /// BADTIME: the clocks differ; how many seconds the server's is ahead, when it says so.
    BadTime {
        /// Seconds that the server's clock is ahead of ours.
        ahead: Option<i64>,
    },
    /// NOTAUTH: the server does not serve this zone as its primary.
    NotAuthoritative,
    /// NOTZONE: the name is not within the zone.
    NotInZone,
    /// Another response code.
    Other(String),
    /// REFUSED: the update policy does not allow it.
    Refused,
    /// REFUSED without a signature: who answers so does not say whether it is the key, its secret, or this host's address.
    RefusedUnsigned,
    /// The answer is not signed with our key: somebody else may have sent it.
    Unsigned(String),
}

impl DnsError {
    /// Returns whether a change that failed so may have been carried out all the same.
    pub fn may_have_written(&self) -> bool {
        match self {
            Self::ChangedMeanwhile { written, .. } => *written,
            Self::Provider(failure) => failure.written == Written::Maybe,
            Self::Server { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedMeanwhile {
                name,
                kind,
                place,
                written,
            } => {
                write!(
                    f,
                    "the {kind} records of {name} were changed at {place} meanwhile; "
                )?;
                f.write_str(match written {
                    false => "nothing was written",
                    true => "what was to be written was, and what others wrote was left",
                })
            }
            Self::CnameChain { name, through } => {
                write!(
                    f,
                    "the CNAME at {name} leads in a loop or too far: {}",
                    printable_line(through.join(" -> ").as_bytes(), SHOWN)
                )
            }
            Self::Name(reason) => f.write_str(reason),
            Self::NoAuthoritativeServer { zone } => {
                write!(
                    f,
                    "no authoritative server of {zone} with an address that can be reached from here was found"
                )
            }
            Self::NoResolver => {
                f.write_str("no resolver is known: none in `dns.resolvers`, none in /etc/resolv.conf")
            }
            Self::NoZone { name } => write!(f, "no zone was found that holds {name}"),
            Self::NotYet {
                name,
                waited,
                lagging,
            } => {
                write!(
                    f,
                    "after {} s not every authoritative server shows {name} as it should be",
                    waited.as_secs()
                )?;
                for lag in lagging {
                    write!(
                        f,
                        "; {}: {}",
                        printable_line(lag.server.as_bytes(), SHOWN),
                        printable_line(lag.said.as_bytes(), SHOWN)
                    )?;
                }
                Ok(())
            }
            Self::Provider(failure) => write!(
                f,
                "{} did not {}: {}",
                failure.provider,
                failure.doing,
                printable_line(failure.reason.as_bytes(), 4 * SHOWN)
            ),
            Self::Server {
                server,
                question,
                failure,
            } => {
                write!(
                    f,
                    "{server} did not answer {}: {failure}",
                    printable_line(question.as_bytes(), SHOWN)
                )
            }
            Self::TooManyQuestions => f.write_str("too many questions; not asked"),
            Self::Update(failure) => {
                let UpdateFailure {
                    server,
                    zone,
                    name,
                    key,
                    refusal,
                } = failure.as_ref();
                write!(
                    f,
                    "{server} did not update {name} in the zone {zone} with the TSIG key {key}: {refusal}"
                )
            }
        }
    }
}

impl std::error::Error for DnsError {}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbled(reason) => write!(
                f,
                "it sent no usable DNS message ({})",
                printable_line(reason.as_bytes(), SHOWN)
            ),
            Self::Network(reason) | Self::Unreachable(reason) => {
                f.write_str(&printable_line(reason.as_bytes(), SHOWN))
            }
            Self::Referral => {
                f.write_str("it refers to other servers and does not resolve (recursion is off there)")
            }
            Self::ResponseCode(code) => f.write_str(code),
            Self::Timeout(limit) => write!(f, "nothing came within {} s", limit.as_secs_f32()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadKey => f.write_str("it does not know this key under this algorithm (BADKEY)"),
            Self::BadSignature => f.write_str("it knows this key by another secret (BADSIG)"),
            Self::BadTime { ahead: Some(seconds) } if *seconds < 0 => {
                write!(
                    f,
                    "its clock is {} s behind ours (BADTIME)",
                    seconds.unsigned_abs()
                )
            }
            Self::BadTime { ahead: Some(seconds) } => {
                write!(f, "its clock is {seconds} s ahead of ours (BADTIME)")
            }
            Self::BadTime { ahead: None } => f.write_str("its clock and ours differ too much (BADTIME)"),
            Self::NotAuthoritative => f.write_str("it is not the primary server of this zone (NOTAUTH)"),
            Self::NotInZone => f.write_str("the name is not in this zone (NOTZONE)"),
            Self::Other(code) => write!(f, "it answered {code}"),
            Self::Refused => f.write_str("its update policy does not allow this key to do that (REFUSED)"),
            Self::RefusedUnsigned => f.write_str(
                "it does not know this key by this secret, or takes no updates of this zone from this host (REFUSED, unsigned)",
            ),
            Self::Unsigned(reason) => {
                write!(
                    f,
                    "its answer is not signed with this key ({})",
                    printable_line(reason.as_bytes(), SHOWN)
                )
            }
        }
    }
}
