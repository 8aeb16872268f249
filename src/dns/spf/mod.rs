//! What an SPF record means for an address: `check_host()` (RFC 7208, 4), and what a record costs. Pure.
//!
//! Answers come from [`Facts`]; an open question ends the evaluation, which is begun again with the answer. Explanations
//! (`exp=`) are never fetched: nobody here wants to reject mail. Every walk ends: a term that asks the DNS is counted, and
//! past the limit nothing is asked.

mod names;
mod questions;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::facts::{Answer, Asked, Facts, Family, Question};
use crate::model::record::spf::{Mechanism, Qualifier, Record, TermKind, is_record};
use names::{canonical, in_network, is_askable, is_within, shown};

/// Terms that may ask the DNS in one evaluation (RFC 7208, 4.6.4).
pub const MAX_LOOKUPS: u32 = 10;
/// Lookups that may find nothing in one evaluation (RFC 7208, 4.6.4).
pub const MAX_VOID_LOOKUPS: u32 = 2;
/// Mail exchangers of one `mx`, and names of one `ptr` (RFC 7208, 4.6.4).
const MAX_NAMES: usize = 10;
/// Where counting the cost of a record ends: enough to say "far too many".
const MAX_COUNTED: u32 = 40;
/// How deep the questions of included records are foreseen: no deeper walk is within the limit.
const MAX_DEPTH: u32 = MAX_LOOKUPS;
/// Lines of trace kept.
const MAX_TRACE: usize = 100;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The address of the SMTP client.
    pub address: IpAddr,
    /// The domain whose record is evaluated.
    pub domain: &'a str,
    /// The address of MAIL FROM; without a local part `postmaster` is taken (RFC 7208, 4.3).
    pub sender: &'a str,
    /// The name given with HELO or EHLO.
    pub helo: &'a str,
}

/// The results of RFC 7208, 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// No record.
    None,
    /// The domain says nothing about this address.
    Neutral,
    /// May send.
    Pass,
    /// May not send.
    Fail,
    /// Probably may not send.
    SoftFail,
    /// The DNS did not answer.
    TempError,
    /// The records are wrong.
    PermError,
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "fail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::Pass => "pass",
            Self::PermError => "permerror",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
        })
    }
}

/// The outcome of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The result.
    pub result: SpfResult,
    /// What led to it: the term that matched, or what was wrong. Fit for a terminal.
    pub reason: String,
    /// Terms that asked the DNS.
    pub lookups: u32,
    /// Lookups that found nothing.
    pub void_lookups: u32,
    /// What was looked at, a line each, fit for a terminal; at most a hundred.
    pub trace: Vec<String>,
}

/// What evaluating a record can cost at most, whoever sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Terms that ask the DNS, in this record and all it includes; counting ends shortly after forty.
    pub lookups: u32,
    /// Lookups that find nothing, for a sender by IPv4.
    pub void_lookups: u32,
    /// What is wrong in records that this one leads to.
    pub problems: Vec<String>,
    /// The tree of lookups, a line each, fit for a terminal; at most a hundred.
    pub tree: Vec<String>,
}

/// Evaluates the domain's record for a sender (RFC 7208, 4).
///
/// # Errors
/// Names the next open question.
pub fn check_host(request: &Request<'_>, facts: &Facts) -> Asked<Evaluation> {
    let mut run = Run::new(*request, facts, Walk::UntilMatch);
    let result = match run.check_host(&canonical(request.domain)) {
        Ok(result) => result,
        Err(Stop::Ask(question)) => return Err(question),
        Err(Stop::PermError(why)) => {
            run.reason = why;
            SpfResult::PermError
        }
        Err(Stop::TempError(why)) => {
            run.reason = why;
            SpfResult::TempError
        }
    };
    Ok(Evaluation {
        result,
        reason: run.reason,
        lookups: run.lookups,
        void_lookups: run.void_lookups,
        trace: run.trace,
    })
}

/// Walks every term of the domain's record and of all it includes, and counts.
///
/// # Errors
/// Names the next open question.
pub fn cost(domain: &str, facts: &Facts) -> Asked<Cost> {
    // An address that no record names (RFC 5737); matches do not end this walk anyway.
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0));
    let request = Request {
        address,
        domain,
        sender: domain,
        helo: domain,
    };
    let mut run = Run::new(request, facts, Walk::Everything);
    match run.check_host(&canonical(domain)) {
        Err(Stop::Ask(question)) => return Err(question),
        Err(Stop::PermError(why) | Stop::TempError(why)) => run.problems.push(why),
        Ok(_) => {}
    }
    Ok(Cost {
        lookups: run.lookups,
        void_lookups: run.void_lookups,
        problems: run.problems,
        tree: run.tree,
    })
}

/// Whether a match ends the walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Everything,
    UntilMatch,
}

/// What ends an evaluation early.
enum Stop {
    Ask(Question),
    PermError(String),
    TempError(String),
}

/// An evaluation in progress.
struct Run<'a> {
    request: Request<'a>,
    facts: &'a Facts,
    walk: Walk,
    lookups: u32,
    void_lookups: u32,
    /// Records whose questions were announced.
    announced: u32,
    reason: String,
    problems: Vec<String>,
    trace: Vec<String>,
    tree: Vec<String>,
    /// How many records lead to the one that is walked.
    depth: usize,
}

impl<'a> Run<'a> {
    fn new(mut request: Request<'a>, facts: &'a Facts, walk: Walk) -> Self {
        request.address = request.address.to_canonical();
        Self {
            request,
            facts,
            walk,
            lookups: 0,
            void_lookups: 0,
            announced: 0,
            reason: String::new(),
            problems: Vec::new(),
            trace: Vec::new(),
            tree: Vec::new(),
            depth: 0,
        }
    }

    fn check_host(&mut self, domain: &str) -> Result<SpfResult, Stop> {
        if !is_askable(domain) || !domain.contains('.') {
            self.reason = format!("`{}` is not a domain that can have a record", shown(domain));
            return Ok(SpfResult::None);
        }
        let Some(text) = self.record_of(domain)? else {
            self.reason = format!("{} has no SPF record", shown(domain));
            return Ok(SpfResult::None);
        };
        let record =
            Record::parse(&text).map_err(|error| Stop::PermError(format!("{}: {error}", shown(domain))))?;
        self.note(|| format!("{}: {record}", shown(domain)));
        if self.tree.len() < MAX_TRACE {
            let indent = "  ".repeat(self.depth.min(MAX_NAMES));
            let record = shown(record.as_str());
            self.tree.push(format!("{indent}{}: {record}", shown(domain)));
        }
        self.announce(domain, &record, MAX_DEPTH);
        self.depth += 1;
        let result = self.walk_terms(domain, &record);
        self.depth -= 1;
        result
    }

    fn walk_terms(&mut self, domain: &str, record: &Record) -> Result<SpfResult, Stop> {
        for term in record.terms() {
            let TermKind::Directive(qualifier, mechanism) = &term.kind else {
                continue;
            };
            let matched = match self.matches(domain, mechanism) {
                // The cost of the rest still counts.
                Err(Stop::PermError(why)) if self.walk == Walk::Everything => {
                    self.problems.push(why);
                    false
                }
                result => result?,
            };
            self.note(|| {
                format!(
                    "{}: {} {}",
                    shown(domain),
                    record.text_of(term),
                    if matched { "matches" } else { "does not match" }
                )
            });
            if self.walk == Walk::Everything {
                if self.lookups > MAX_COUNTED || *mechanism == Mechanism::All {
                    return Ok(SpfResult::Neutral);
                }
            } else if matched {
                self.reason = format!("`{}` of {} matches", record.text_of(term), shown(domain));
                return Ok(result_of(*qualifier));
            }
        }
        let Some(target) = record.redirect().filter(|_| record.all().is_none()) else {
            self.reason = format!("no term of {} matches", shown(domain));
            return Ok(SpfResult::Neutral);
        };
        self.count()?;
        let target = self.expand(target, domain)?;
        match self.check_host(&target)? {
            SpfResult::None => Err(Stop::PermError(format!(
                "{} redirects to {}, which has no SPF record",
                shown(domain),
                shown(&target)
            ))),
            result => Ok(result),
        }
    }

    /// Returns the one SPF record of a domain (RFC 7208, 4.4 and 4.5).
    fn record_of(&mut self, domain: &str) -> Result<Option<Vec<u8>>, Stop> {
        let texts = match self.ask(&Question::Txt(domain.to_owned()))? {
            Answer::Failed(why) => return Err(Stop::TempError(format!("TXT of {}: {why}", shown(domain)))),
            Answer::Texts(texts) => texts.as_slice(),
            _ => &[],
        };
        let mut records = texts.iter().filter(|text| is_record(text));
        match (records.next(), records.count()) {
            (record, 0) => Ok(record.cloned()),
            (_, more) => Err(Stop::PermError(format!(
                "{} has {} SPF records",
                shown(domain),
                more + 1
            ))),
        }
    }

    fn matches(&mut self, domain: &str, mechanism: &Mechanism) -> Result<bool, Stop> {
        let address = self.request.address;
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, prefix) => Ok(in_network(address, IpAddr::V4(*network), *prefix)),
            Mechanism::Ip6(network, prefix) => Ok(in_network(address, IpAddr::V6(*network), *prefix)),
            Mechanism::Include(target) => {
                self.count()?;
                let target = self.expand(target, domain)?;
                match self.check_host(&target)? {
                    SpfResult::Pass => Ok(true),
                    SpfResult::None => Err(Stop::PermError(format!(
                        "{} includes {}, which has no SPF record",
                        shown(domain),
                        shown(&target)
                    ))),
                    _ => Ok(false),
                }
            }
            Mechanism::A(target, cidr) => {
                self.count()?;
                let target = self.target(target.as_ref(), domain)?;
                let addresses = self.addresses(&target, Family::of(address))?;
                Ok(self.any_in(&addresses, *cidr))
            }
            Mechanism::Mx(target, cidr) => {
                self.count()?;
                let target = self.target(target.as_ref(), domain)?;
                self.any_mx(&target, *cidr)
            }
            Mechanism::Exists(target) => {
                self.count()?;
                let target = self.expand(target, domain)?;
                // IPv4 also when the sender came by IPv6 (RFC 7208, 5.7).
                Ok(!self.addresses(&target, Family::V4)?.is_empty())
            }
            Mechanism::Ptr(target) => {
                self.count()?;
                let target = self.target(target.as_ref(), domain)?;
                Ok(self
                    .validated_names()?
                    .iter()
                    .any(|name| is_within(name, &target)))
            }
        }
    }
}

fn result_of(qualifier: Qualifier) -> SpfResult {
    match qualifier {
        Qualifier::Fail => SpfResult::Fail,
        Qualifier::Neutral => SpfResult::Neutral,
        Qualifier::Pass => SpfResult::Pass,
        Qualifier::SoftFail => SpfResult::SoftFail,
    }
}

#[cfg(test)]
mod tests;
