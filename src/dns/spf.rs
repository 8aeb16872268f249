//! What an SPF record means for an address: `check_host()` (RFC 7208, 4), and what a record costs. Pure.
//!
//! Answers come from [`Facts`]; an open question ends the evaluation, which is begun again with the answer. Explanations
//! (`exp=`) are never fetched: nobody here wants to reject mail. Every walk ends: a term that asks the DNS is counted, and
//! past the limit nothing is asked.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    error::SHOWN,
    facts::{Answer, Asked, Facts, Family, Question},
    macros::{dotted, transform},
};
use crate::model::{
    plan::printable_line,
    record::spf::{DomainSpec, DualCidr, Mechanism, Part, Qualifier, Record, TermKind, is_record},
};

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

    /// Announces what the terms of a record, and of those it leads to, will ask: then all of it can be asked at once.
    ///
    /// Macros that need an answer of their own (`%{p}`) are left to the walk.
    fn announce(&mut self, domain: &str, record: &Record, depth: u32) {
        let family = Family::of(self.request.address);
        let redirect = record.redirect().filter(|_| record.all().is_none());
        let referred = record.directives().filter_map(|(_, mechanism)| match mechanism {
            Mechanism::Include(target) => Some(target),
            _ => None,
        });
        let referred: Vec<&DomainSpec> = referred.chain(redirect).collect();
        for (_, mechanism) in record.directives() {
            match mechanism {
                Mechanism::A(target, _) => {
                    if let Some(target) = self.foreseen(target.as_ref(), domain) {
                        self.facts.want(Question::Addresses(target, family));
                    }
                }
                Mechanism::Mx(target, _) => {
                    let Some(target) = self.foreseen(target.as_ref(), domain) else {
                        continue;
                    };
                    let Ok(answer) = self.facts.get(&Question::Mx(target)) else {
                        continue;
                    };
                    for name in answer.names().iter().take(MAX_NAMES).map(|name| canonical(name)) {
                        if is_askable(&name) {
                            self.facts.want(Question::Addresses(name, family));
                        }
                    }
                }
                Mechanism::Exists(target) => {
                    if let Some(target) = self.foreseen(Some(target), domain) {
                        self.facts.want(Question::Addresses(target, Family::V4));
                    }
                }
                Mechanism::Ptr(_) => self.facts.want(Question::Ptr(self.request.address)),
                Mechanism::All | Mechanism::Include(_) | Mechanism::Ip4(..) | Mechanism::Ip6(..) => {}
            }
        }
        for target in referred.into_iter().take(MAX_NAMES) {
            let Some(target) = self.foreseen(Some(target), domain) else {
                continue;
            };
            let Ok(answer) = self.facts.get(&Question::Txt(target.clone())) else {
                continue;
            };
            if self.announced >= MAX_COUNTED || depth == 0 {
                return;
            }
            self.announced += 1;
            let mut records = answer.texts().iter().filter(|text| is_record(text));
            if let (Some(text), None) = (records.next(), records.next())
                && let Ok(record) = Record::parse(text)
            {
                self.announce(&target, &record, depth - 1);
            }
        }
    }

    /// Returns the name that a term will ask for, where no answer is needed to tell.
    fn foreseen(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Option<String> {
        if spec.is_some_and(|spec| spec.uses('p')) {
            return None;
        }
        self.target(spec, domain).ok().filter(|name| is_askable(name))
    }

    fn any_mx(&mut self, target: &str, cidr: DualCidr) -> Result<bool, Stop> {
        if !is_askable(target) {
            return Ok(false);
        }
        let names = match self.ask(&Question::Mx(target.to_owned()))? {
            Answer::Failed(why) => return Err(Stop::TempError(format!("MX of {}: {why}", shown(target)))),
            answer => answer.names(),
        };
        self.count_void(names.is_empty(), target)?;
        if names.len() > MAX_NAMES {
            return Err(Stop::PermError(format!(
                "{} has more than {MAX_NAMES} MX records",
                shown(target)
            )));
        }
        let mut matched = false;
        for name in names {
            let addresses = self.addresses(&canonical(&name), Family::of(self.request.address))?;
            matched |= self.any_in(&addresses, cidr);
            if matched && self.walk == Walk::UntilMatch {
                break;
            }
        }
        Ok(matched)
    }

    fn any_in(&self, addresses: &[IpAddr], cidr: DualCidr) -> bool {
        addresses.iter().any(|network| {
            let prefix = if network.is_ipv4() { cidr.v4 } else { cidr.v6 };
            in_network(self.request.address, *network, prefix)
        })
    }

    /// Returns the addresses of a name; a name that the DNS cannot hold has none.
    fn addresses(&mut self, name: &str, family: Family) -> Result<Vec<IpAddr>, Stop> {
        if !is_askable(name) {
            return Ok(Vec::new());
        }
        let addresses = match self.ask(&Question::Addresses(name.to_owned(), family))? {
            Answer::Addresses(addresses) => addresses.clone(),
            Answer::Failed(why) => return Err(Stop::TempError(format!("address of {}: {why}", shown(name)))),
            _ => Vec::new(),
        };
        self.count_void(addresses.is_empty(), name)?;
        Ok(addresses)
    }

    /// Returns the names of the sender's address that lead back to it (RFC 7208, 5.5).
    ///
    /// Failures do not count here: such a name is passed over.
    fn validated_names(&mut self) -> Result<Vec<String>, Stop> {
        let address = self.request.address;
        let names = match self.ask(&Question::Ptr(address))? {
            Answer::Names(names) => names.clone(),
            Answer::Failed(_) => return Ok(Vec::new()),
            _ => Vec::new(),
        };
        self.count_void(names.is_empty(), "the sender's address")?;
        let mut validated = Vec::new();
        for name in names
            .iter()
            .take(MAX_NAMES)
            .map(|name| canonical(name))
            .filter(|name| is_askable(name))
        {
            match self.ask(&Question::Addresses(name.clone(), Family::of(address)))? {
                Answer::Addresses(addresses) if addresses.contains(&address) => validated.push(name),
                _ => {}
            }
        }
        Ok(validated)
    }

    fn ask(&self, question: &Question) -> Result<&'a Answer, Stop> {
        self.facts.get(question).map_err(Stop::Ask)
    }

    /// Counts a term that asks the DNS.
    fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        let limit = if self.walk == Walk::Everything {
            MAX_COUNTED
        } else {
            MAX_LOOKUPS
        };
        if self.lookups > limit {
            return Err(Stop::PermError(format!("more than {limit} terms ask the DNS")));
        }
        Ok(())
    }

    fn count_void(&mut self, is_void: bool, name: &str) -> Result<(), Stop> {
        if !is_void {
            return Ok(());
        }
        self.void_lookups += 1;
        self.note(|| format!("nothing found for {}", shown(name)));
        if self.void_lookups > MAX_VOID_LOOKUPS && self.walk == Walk::UntilMatch {
            return Err(Stop::PermError(format!(
                "more than {MAX_VOID_LOOKUPS} lookups found nothing"
            )));
        }
        Ok(())
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() < MAX_TRACE {
            self.trace.push(line());
        }
    }

    fn target(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Result<String, Stop> {
        spec.map_or_else(|| Ok(domain.to_owned()), |spec| self.expand(spec, domain))
    }

    /// Expands macros (RFC 7208, 7); a result that is too long loses labels from the left (7.3).
    fn expand(&mut self, spec: &DomainSpec, domain: &str) -> Result<String, Stop> {
        let mut text = String::new();
        for part in &spec.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Macro(found) => {
                    let value = self.value_of(found.letter, domain)?;
                    text.push_str(&transform(found, &value));
                }
            }
        }
        let mut name = canonical(&text);
        while name.len() > 253 {
            match name.split_once('.') {
                Some((_, rest)) => name = rest.to_owned(),
                None => break,
            }
        }
        Ok(name)
    }

    fn value_of(&mut self, letter: char, domain: &str) -> Result<String, Stop> {
        let sender = self.request.sender;
        let (local, sender_domain) = match sender.rsplit_once('@') {
            Some(("", host)) => ("postmaster", host),
            Some(pair) => pair,
            None => ("postmaster", sender),
        };
        Ok(match letter {
            's' => format!("{local}@{sender_domain}"),
            'l' => local.to_owned(),
            'o' => sender_domain.to_owned(),
            'd' => domain.to_owned(),
            'i' => dotted(self.request.address),
            'v' => if self.request.address.is_ipv4() {
                "in-addr"
            } else {
                "ip6"
            }
            .to_owned(),
            'h' => self.request.helo.to_owned(),
            'p' => self.best_name(domain)?,
            _ => String::new(),
        })
    }

    /// Returns the validated name that `%{p}` stands for (RFC 7208, 7.3).
    fn best_name(&mut self, domain: &str) -> Result<String, Stop> {
        let names = self.validated_names()?;
        let best = names.iter().find(|name| *name == domain);
        let best = best
            .or_else(|| names.iter().find(|name| is_within(name, domain)))
            .or_else(|| names.first());
        Ok(best.cloned().unwrap_or_else(|| "unknown".to_owned()))
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

/// Returns a name as [`Question`] has it.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Returns whether the DNS could hold this name.
fn is_askable(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(32 - prefix.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn shown(name: &str) -> String {
    printable_line(name.as_bytes(), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::error::DnsError;

    /// A scripted DNS: `name TYPE value` lines; TXT values have spaces, `!` is a failure.
    fn world(lines: &[&str]) -> Facts {
        let mut facts = Facts::default();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let (name, kind, value) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            let question = match kind {
                "A" => Question::Addresses(name.to_owned(), Family::V4),
                "AAAA" => Question::Addresses(name.to_owned(), Family::V6),
                "MX" => Question::Mx(name.to_owned()),
                "PTR" => Question::Ptr(name.parse().unwrap()),
                _ => Question::Txt(name.to_owned()),
            };
            let answer = match (facts.get(&question).ok().cloned(), value) {
                (_, "!") => Answer::Failed(DnsError::NoResolver),
                (Some(Answer::Addresses(mut known)), value) => {
                    known.push(value.parse().unwrap());
                    Answer::Addresses(known)
                }
                (Some(Answer::Names(mut known)), value) => {
                    known.push(value.to_owned());
                    Answer::Names(known)
                }
                (Some(Answer::Texts(mut known)), value) => {
                    known.push(value.as_bytes().to_vec());
                    Answer::Texts(known)
                }
                (_, value) => match &question {
                    Question::Addresses(..) => Answer::Addresses(vec![value.parse().unwrap()]),
                    Question::Txt(_) => Answer::Texts(vec![value.as_bytes().to_vec()]),
                    _ => Answer::Names(vec![value.to_owned()]),
                },
            };
            facts.insert(question, answer);
        }
        facts
    }

    /// Evaluates for `address`, `d.example` and `joe@d.example`; what is not scripted does not exist.
    fn evaluate(facts: &Facts, address: &str) -> Evaluation {
        let request = Request {
            address: address.parse().unwrap(),
            domain: "d.example",
            sender: "joe@d.example",
            helo: "h.example",
        };
        settle(facts, |facts| check_host(&request, facts))
    }

    fn settle<T>(facts: &Facts, decide: impl Fn(&Facts) -> Asked<T>) -> T {
        let mut facts = facts.clone();
        for _ in 0..1000 {
            match decide(&facts) {
                Ok(done) => return done,
                Err(question) => {
                    let answer = match question {
                        Question::Addresses(..) => Answer::Addresses(vec![]),
                        Question::Txt(_) => Answer::Texts(vec![]),
                        _ => Answer::Names(vec![]),
                    };
                    facts.insert(question, answer);
                }
            }
        }
        panic!("does not end");
    }

    #[test]
    fn gives_the_results_of_the_rfc() {
        let check = |lines: &[&str], address: &str, expected: SpfResult| {
            let evaluation = evaluate(&world(lines), address);
            assert_eq!(evaluation.result, expected, "{lines:?} {address}: {evaluation:?}");
        };
        let mx = [
            "d.example TXT v=spf1 mx -all",
            "d.example MX m.example",
            "m.example A 192.0.2.1",
            "m.example AAAA 2001:db8::1",
        ];
        check(&mx, "192.0.2.1", SpfResult::Pass);
        check(&mx, "::ffff:192.0.2.1", SpfResult::Pass);
        check(&mx, "192.0.2.2", SpfResult::Fail);
        check(&mx, "2001:db8::1", SpfResult::Pass);
        // No MX: `mx` matches nothing, not even the domain's own address (RFC 7208, 5.4).
        check(
            &["d.example TXT v=spf1 mx -all", "d.example A 192.0.2.1"],
            "192.0.2.1",
            SpfResult::Fail,
        );
        check(
            &["d.example TXT v=spf1 a -all", "d.example A 192.0.2.1"],
            "192.0.2.1",
            SpfResult::Pass,
        );
        check(
            &["d.example TXT v=spf1 a/24 ~all", "d.example A 192.0.2.1"],
            "192.0.2.200",
            SpfResult::Pass,
        );
        check(
            &["d.example TXT v=spf1 ip4:192.0.2.0/25 ~all"],
            "192.0.2.200",
            SpfResult::SoftFail,
        );
        check(
            &["d.example TXT v=spf1 ip4:1.2.3.4/0 -all"],
            "192.0.2.200",
            SpfResult::Pass,
        );
        check(
            &["d.example TXT v=spf1 ip6:::/0 -all"],
            "192.0.2.200",
            SpfResult::Fail,
        );
        check(&["d.example TXT v=spf1 ?all"], "192.0.2.1", SpfResult::Neutral);
        check(&["d.example TXT v=spf1"], "192.0.2.1", SpfResult::Neutral);
        check(&["d.example TXT other"], "192.0.2.1", SpfResult::None);
        check(&[], "192.0.2.1", SpfResult::None);
        check(&["d.example TXT !"], "192.0.2.1", SpfResult::TempError);
        check(
            &["d.example TXT v=spf1 a -all", "d.example A !"],
            "192.0.2.1",
            SpfResult::TempError,
        );
        check(
            &["d.example TXT v=spf1 -all", "d.example TXT v=spf1 mx"],
            "192.0.2.1",
            SpfResult::PermError,
        );
        check(
            &["d.example TXT v=spf1 +all mxx"],
            "192.0.2.1",
            SpfResult::PermError,
        );
        check(
            &[
                "d.example TXT v=spf1 include:e.example -all",
                "e.example TXT v=spf1 +all",
            ],
            "192.0.2.1",
            SpfResult::Pass,
        );
        check(
            &[
                "d.example TXT v=spf1 include:e.example ?all",
                "e.example TXT v=spf1 -all",
            ],
            "192.0.2.1",
            SpfResult::Neutral,
        );
        check(
            &["d.example TXT v=spf1 include:e.example -all"],
            "192.0.2.1",
            SpfResult::PermError,
        );
        check(
            &[
                "d.example TXT v=spf1 redirect=e.example",
                "e.example TXT v=spf1 -all",
            ],
            "192.0.2.1",
            SpfResult::Fail,
        );
        check(
            &["d.example TXT v=spf1 redirect=e.example"],
            "192.0.2.1",
            SpfResult::PermError,
        );
        check(
            &["d.example TXT v=spf1 redirect=e.example ?all"],
            "192.0.2.1",
            SpfResult::Neutral,
        );
        check(
            &[
                "d.example TXT v=spf1 exists:%{ir}.%{v}.%{d} -all",
                "1.2.0.192.in-addr.d.example A 127.0.0.2",
            ],
            "192.0.2.1",
            SpfResult::Pass,
        );
        check(
            &[
                "d.example TXT v=spf1 exists:%{l1r-}.%{o1}.x.example -all",
                "joe.example.x.example A 127.0.0.2",
            ],
            "2001:db8::1",
            SpfResult::Pass,
        );
        let ptr = [
            "d.example TXT v=spf1 ptr -all",
            "192.0.2.1 PTR m.D.example.",
            "m.d.example A 192.0.2.1",
        ];
        check(&ptr, "192.0.2.1", SpfResult::Pass);
        check(&ptr[..2], "192.0.2.1", SpfResult::Fail);
    }

    #[test]
    fn ends_whatever_the_answers_are() {
        let check = |lines: &[&str], expected: &str| {
            let evaluation = evaluate(&world(lines), "192.0.2.1");
            assert_eq!(
                evaluation.result,
                SpfResult::PermError,
                "{lines:?}: {evaluation:?}"
            );
            assert!(evaluation.reason.contains(expected), "{}", evaluation.reason);
            assert!(evaluation.lookups <= MAX_LOOKUPS + 1 && evaluation.trace.len() <= MAX_TRACE);
            // Counting everything ends as well.
            settle(&world(lines), |facts| cost("d.example", facts));
        };
        check(
            &["d.example TXT v=spf1 include:d.example -all"],
            "more than 10 terms",
        );
        check(&["d.example TXT v=spf1 redirect=d.example"], "more than 10 terms");
        check(
            &["d.example TXT v=spf1 include:d.example include:d.example redirect=d.example"],
            "more than 10 terms",
        );
        check(
            &["d.example TXT v=spf1 a:1.x.example a:2.x.example a:3.x.example -all"],
            "more than 2 lookups",
        );
        let many: Vec<String> = (0..11).map(|n| format!("d.example MX m{n}.example")).collect();
        let many: Vec<&str> = many
            .iter()
            .map(String::as_str)
            .chain(["d.example TXT v=spf1 mx -all"])
            .collect();
        check(&many, "more than 10 MX");
        check(&["d.example TXT v=spf1 \x1b[31m"], "printable ASCII");
        let long = format!("d.example TXT v=spf1 {}", "include:d.example ".repeat(3000));
        check(&[&long], "more than 10 terms");
    }

    #[test]
    fn bad_names_match_nothing() {
        let bad = format!(
            "d.example TXT v=spf1 a:{}.example mx:a..example exists:%{{l}}.{}.example -all",
            "x".repeat(64),
            "y".repeat(64)
        );
        assert_eq!(evaluate(&world(&[&bad]), "192.0.2.1").result, SpfResult::Fail);
    }

    #[test]
    fn counts_the_whole_cost() {
        let facts = world(&[
            "d.example TXT v=spf1 mx a:gone.example include:e.example +all a:after.example",
            "d.example MX m.example",
            "m.example A 192.0.2.1",
            "e.example TXT v=spf1 a ptr -all",
            "e.example A 192.0.2.2",
        ]);
        let cost = settle(&facts, |facts| cost("d.example", facts));
        assert_eq!(
            (cost.lookups, cost.void_lookups, cost.problems.len()),
            (5, 2, 0),
            "{cost:?}"
        );
        assert_eq!(evaluate(&facts, "192.0.2.1").lookups, 1);
    }

    #[test]
    fn expands_macros_as_the_rfc_has_it() {
        // The examples of RFC 7208, 7.4.
        let check = |spec: &str, address: &str, expected: &str| {
            let record = Record::parse(format!("v=spf1 exists:{spec}.x.example").as_bytes()).unwrap();
            let Some((_, Mechanism::Exists(spec))) = record.directives().next() else {
                panic!()
            };
            let request = Request {
                address: address.parse().unwrap(),
                domain: "email.example.com",
                sender: "strong-bad@email.example.com",
                helo: "h.example",
            };
            let facts = Facts::default();
            let mut run = Run::new(request, &facts, Walk::UntilMatch);
            let Ok(text) = run.expand(spec, "email.example.com") else {
                panic!()
            };
            assert_eq!(text.strip_suffix(".x.example"), Some(expected));
        };
        check("%{s}", "192.0.2.3", "strong-bad@email.example.com");
        check("%{o}", "192.0.2.3", "email.example.com");
        check("%{d4}", "192.0.2.3", "email.example.com");
        check("%{d2}", "192.0.2.3", "example.com");
        check("%{d1}", "192.0.2.3", "com");
        check("%{dr}", "192.0.2.3", "com.example.email");
        check("%{d2r}", "192.0.2.3", "example.email");
        check("%{l}", "192.0.2.3", "strong-bad");
        check("%{l-}", "192.0.2.3", "strong.bad");
        check("%{lr}", "192.0.2.3", "strong-bad");
        check("%{lr-}", "192.0.2.3", "bad.strong");
        check("%{l1r-}", "192.0.2.3", "strong");
        check(
            "%{ir}.%{v}._spf.%{d2}",
            "192.0.2.3",
            "3.2.0.192.in-addr._spf.example.com",
        );
        check("%{S}", "192.0.2.3", "strong-bad%40email.example.com");
        check(
            "%{ir}.%{v}",
            "2001:db8::cb01",
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6",
        );
    }
}
