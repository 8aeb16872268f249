//! What is wrong with a domain's or a host's records, a file for each family of findings. Pure.
//!
//! Each family is a decision over [`Facts`]: it names the questions that it wants answered, all that it can tell, and
//! returns its findings when they are. A good domain has none above "info". Answers are hostile until proven otherwise:
//! what is looked at and shown is bounded, and shown through [`printable_line`].

mod address;
mod caa;
mod dkim;
mod dmarc;
mod dnssec;
mod mta_sts;
mod mx;
pub mod policy_hosts;
mod published;
mod servers;
mod srv;
#[cfg(test)]
mod tests;
mod tls_rpt;
mod tlsa;
mod unanswered;

use std::net::IpAddr;

use time::OffsetDateTime;

use super::{
    check,
    desired::{Role, Wanted},
    error::SHOWN,
    facts::{Answer, Asked, Facts, Family, Question},
    gather::Decision,
    sending::Sending,
    signing::SigningKey,
};
use crate::model::{
    finding::{Finding, Severity},
    name::{DomainName, Identifier},
    plan::printable_line,
};

pub use servers::observe;
pub use unanswered::{Silence, of_silences, verdict};

/// Mail exchangers of one domain that are looked at.
const MAX_HOSTS: usize = 20;

/// What is checked.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: DomainName,
    /// What it is to this host.
    pub role: Role,
    /// This host, where the name is one of ours.
    pub ours: Option<Ours>,
    /// Selectors that DKIM keys are looked up at.
    pub selectors: Vec<Selector>,
    /// How certificates are judged.
    pub now: OffsetDateTime,
    /// Whether pages and ports are asked besides the DNS.
    pub reach: Reach,
}

/// What is asked besides the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    DnsOnly,
    /// Policies and ports.
    Everything,
}

/// A selector and the key that signs with it, where it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The selector.
    pub name: String,
    /// The key that signs, or why it could not be read; `None` for a selector that was only named.
    pub key: Option<Result<SigningKey, String>>,
}

/// What is known of this host.
#[derive(Clone, Debug)]
pub struct Ours {
    /// The name that MX records have.
    pub host: DomainName,
    /// The name given with EHLO, as it is configured.
    pub ehlo: String,
    /// The addresses of its interfaces; empty where they are not known.
    pub interfaces: Vec<IpAddr>,
    /// How mail leaves.
    pub sending: Sending,
    /// The CA and what it is asked for, where there is one.
    pub authority: Option<Authority>,
    /// Ports that speak TLS.
    pub ports: Vec<u16>,
    /// What the configuration wants published, of the families that it lets an apply write.
    pub published: Vec<Wanted>,
}

/// Our CA, for CAA.
#[derive(Clone, Debug)]
pub struct Authority {
    /// What it calls itself in CAA; empty where that is not known.
    pub identities: Vec<String>,
    /// The URL of our account there, where there is one.
    pub account: Option<String>,
    /// The challenge.
    pub method: &'static str,
    /// What certificates are for.
    pub identifiers: Vec<Identifier>,
}

impl Subject {
    /// Returns this host, where the name is its own.
    fn this_host(&self) -> Option<&Ours> {
        self.ours.as_ref().filter(|ours| ours.host == self.name)
    }
}

/// What comes of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What was found.
    Judged(Vec<Finding>),
    /// Nobody answers anything about it.
    Silent(Silence),
}

/// Returns the decisions about a subject, by family.
pub fn decisions(subject: &Subject) -> Vec<Decision<'_, Vec<Finding>>> {
    type Family = fn(&Subject, &Facts) -> Asked<Vec<Finding>>;
    let families: [Family; 13] = [
        spf,
        mx::judge,
        address::judge,
        address::judge_ptr,
        dmarc::judge,
        dkim::judge,
        mta_sts::judge,
        tls_rpt::judge,
        caa::judge,
        dnssec::judge,
        tlsa::judge,
        srv::judge,
        published::judge,
    ];
    let of = |family: Family| -> Decision<'_, Vec<Finding>> { Box::new(move |facts| family(subject, facts)) };
    let mut all: Vec<Decision<'_, Vec<Finding>>> = families.into_iter().map(of).collect();
    all.push(of(servers::compare));
    all
}

/// SPF, as [`check`] has it.
fn spf(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    facts.want(Question::SpfType(subject.name.to_string()));
    let observed = observe(&subject.name, subject.role, facts);
    let sending = subject.ours.as_ref().map(|ours| &ours.sending);
    // What the record leads to is asked while the servers are: their word may differ, but hardly does.
    let beside = check::beside(&subject.name, subject.role, facts);
    if let Some(sending) = sending {
        sending.foresee(&subject.name, facts);
    }
    let mut findings = check::judge(&observed?, sending, facts)?;
    for finding in &mut findings {
        // Records are shown as they are, so that they can be compared; not without end.
        if finding.evidence.len() > 4 * SHOWN {
            finding.evidence = printable_line(finding.evidence.as_bytes(), 4 * SHOWN);
        }
        if finding.remedy.len() > 4 * SHOWN {
            finding.remedy = printable_line(finding.remedy.as_bytes(), 4 * SHOWN);
        }
    }
    findings.extend(beside?);
    Ok(findings)
}

/// A finding with all its parts; evidence of others is made fit for a terminal and cut.
struct Told<'a> {
    subject: &'a str,
}

impl Told<'_> {
    fn tell(
        &self,
        severity: Severity,
        id: &'static str,
        evidence: impl AsRef<str>,
        remedy: impl AsRef<str>,
        reference: &'static str,
    ) -> Finding {
        let shown = |text: &str| printable_line(text.as_bytes(), 4 * SHOWN);
        Finding::new(severity, id, shown(self.subject), shown(evidence.as_ref()))
            .remedy(shown(remedy.as_ref()))
            .reference(reference)
    }

    fn error(
        &self,
        id: &'static str,
        evidence: impl AsRef<str>,
        remedy: impl AsRef<str>,
        reference: &'static str,
    ) -> Finding {
        self.tell(Severity::Error, id, evidence, remedy, reference)
    }

    fn warning(
        &self,
        id: &'static str,
        evidence: impl AsRef<str>,
        remedy: impl AsRef<str>,
        reference: &'static str,
    ) -> Finding {
        self.tell(Severity::Warning, id, evidence, remedy, reference)
    }

    fn info(
        &self,
        id: &'static str,
        evidence: impl AsRef<str>,
        remedy: impl AsRef<str>,
        reference: &'static str,
    ) -> Finding {
        self.tell(Severity::Info, id, evidence, remedy, reference)
    }

    /// Adds that all is well where nothing says otherwise.
    fn conclude(
        &self,
        mut findings: Vec<Finding>,
        id: &'static str,
        evidence: impl AsRef<str>,
    ) -> Vec<Finding> {
        if findings
            .iter()
            .all(|finding| finding.severity < Severity::Warning)
        {
            findings.push(self.tell(Severity::Ok, id, evidence, "", ""));
        }
        findings
    }
}

/// What the DNS says about the addresses of a name.
struct Host {
    name: String,
    addresses: Vec<IpAddr>,
    /// Where it is an alias: of what.
    alias: Option<String>,
    /// Why an answer is missing.
    failed: Option<String>,
    /// Whether DNSSEC proves both answers.
    authenticated: bool,
}

/// Returns the addresses of a name, asking for both families at once.
fn host(name: &str, facts: &Facts) -> Asked<Host> {
    let questions = Family::BOTH.map(|family| Question::Addresses(name.to_owned(), family));
    let answers = questions.each_ref().map(|question| facts.get(question));
    let mut host = Host {
        name: name.to_owned(),
        addresses: Vec::new(),
        alias: None,
        failed: None,
        authenticated: true,
    };
    for (question, answer) in questions.iter().zip(answers) {
        let answer = answer?;
        let status = facts.status(question);
        host.addresses.extend(answer.addresses().iter().take(MAX_HOSTS));
        host.failed = host.failed.or(answer.failure().map(ToString::to_string));
        host.alias = host.alias.or(status.aliases.last().cloned());
        host.authenticated &= status.authenticated;
    }
    Ok(host)
}

/// Returns the addresses of several names, asking for all at once.
fn hosts<'n>(names: impl IntoIterator<Item = &'n str>, facts: &Facts) -> Asked<Vec<Host>> {
    let asked: Vec<Asked<Host>> = names.into_iter().map(|name| host(name, facts)).collect();
    asked.into_iter().collect()
}

/// Returns the names of a domain's mail exchangers, each once, without those that are no names; the domain itself where
/// it has none (RFC 5321, 5.1). Empty for a domain that takes no mail.
fn exchangers(domain: &str, facts: &Facts) -> Asked<Vec<String>> {
    let answer = facts.get(&Question::Mx(domain.to_owned()))?;
    if let Answer::Failed(_) = answer {
        return Ok(Vec::new());
    }
    let mut names = answer.names();
    if names.is_empty() {
        names.push(domain.to_owned());
    }
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if name.parse::<DomainName>().is_ok() && !once.contains(&name) && once.len() < MAX_HOSTS {
            once.push(name);
        }
    }
    Ok(once)
}

/// Returns whether a domain says that it takes no mail (RFC 7505): what is about mail to it is then not wanted.
fn takes_no_mail(domain: &str, facts: &Facts) -> Asked<bool> {
    let answer = facts.get(&Question::Mx(domain.to_owned()))?;
    Ok(
        matches!(answer, Answer::Exchanges(found) if matches!(found.as_slice(), [(_, host)] if host.is_empty())),
    )
}

/// Returns the TXT values at a name, or why they are not known.
fn texts<'f>(name: &str, facts: &'f Facts) -> Asked<Result<&'f [Vec<u8>], String>> {
    Ok(match facts.get(&Question::Txt(name.to_owned()))? {
        Answer::Failed(error) => Err(error.to_string()),
        answer => Ok(answer.texts()),
    })
}

/// Returns octets of others as one short line.
fn shown(text: &[u8]) -> String {
    printable_line(text, SHOWN)
}

/// Returns whether an address is one that others can reach (RFC 6890; RFC 4193).
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || (first == 100 && (64..128).contains(&second)))
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_multicast())
        }
    }
}
