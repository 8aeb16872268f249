//! TLSA records against what each port serves (RFC 7671; RFC 7672). Pure.

use std::{collections::BTreeSet, net::SocketAddr};

use time::OffsetDateTime;

use super::{Host, Reach, Subject, Told, exchangers, hosts};
use crate::{
    dns::{
        desired::Role,
        facts::{Answer, Asked, Facts, Question},
        tlsa::{Leaf, Tlsa},
    },
    model::{
        certificate::{Certificate, Validity},
        finding::{Finding, Severity},
        name::DomainName,
    },
};

/// Mail exchangers of a domain that is not ours that are looked at.
const MAX_EXCHANGERS: usize = 5;
/// Records of one port that are looked at.
const MAX_RECORDS: usize = 20;
/// Addresses of a host that are asked what they serve.
const MAX_ADDRESSES: usize = 4;
/// A longer TTL makes a change of keys slow, in seconds (RFC 7671, 13).
const LONG_TTL: u32 = 86_400;
/// The port of mail between hosts.
const SMTP: u16 = 25;

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let name = subject.name.as_str();
    let is_of_others = subject.this_host().is_none() && subject.role == Role::MailDomain;
    let (names, ports) = match (subject.this_host(), subject.role) {
        (Some(ours), _) => (vec![name.to_owned()], ours.ports.clone()),
        (None, Role::Host) => (vec![name.to_owned()], vec![SMTP]),
        _ => (exchangers(name, facts)?, vec![SMTP]),
    };
    let names: Vec<String> = names.into_iter().take(MAX_EXCHANGERS).collect();
    for name in &names {
        for port in &ports {
            facts.want(Question::Tlsa(owner(*port, name)));
        }
    }
    let hosts = hosts(names.iter().map(String::as_str), facts)?;
    let mut judged = Vec::new();
    // A domain of ours is told about its hosts alone; our own host tells about itself, and is asked there.
    let asked = Subject {
        reach: if is_of_others {
            Reach::DnsOnly
        } else {
            subject.reach
        },
        ..subject.clone()
    };
    for host in &hosts {
        for port in &ports {
            judged.push(one(&asked, host, *port, facts));
        }
    }
    let mut findings = Vec::new();
    let mut n_with = 0;
    for one in judged {
        let (found, has_records) = one?;
        if !is_of_others {
            findings.extend(found);
        }
        n_with += usize::from(has_records);
    }
    let told = Told { subject: name };
    if subject.role != Role::Host {
        if n_with > 0 && n_with < hosts.len() {
            findings.push(told.warning(
                "tlsa.missing-on-mx",
                format!(
                    "{n_with} of {} MX hosts have TLSA records: mail is only as safe as the weakest",
                    hosts.len()
                ),
                "publish TLSA records for each MX host",
                "RFC 7672, 2.2.1",
            ));
        }
        let mx = Question::Mx(name.to_owned());
        if n_with > 0 && !facts.status(&mx).authenticated && hosts.iter().any(|host| host.authenticated) {
            findings.push(told.warning(
                "tlsa.mx-insecure",
                "the MX records are not signed, so an attacker can name other hosts",
                format!("sign the zone of {name} as well"),
                "RFC 7672, 2.2.1",
            ));
        }
    }
    // A domain without hosts has nothing to protect, or nobody tells which they are.
    if n_with == 0 && findings.is_empty() && !is_of_others && !hosts.is_empty() {
        findings.push(told.info(
            "tlsa.none",
            "there is no TLSA record",
            "in a signed zone, publish the key of the host: `3 1 1` and the SHA-256 of its public key",
            "RFC 7672, 2.2",
        ));
    }
    Ok(findings)
}

fn owner(port: u16, host: &str) -> String {
    format!("_{port}._tcp.{host}")
}

/// Judges one port of one host; also returns whether it has records.
fn one(subject: &Subject, host: &Host, port: u16, facts: &Facts) -> Asked<(Vec<Finding>, bool)> {
    let owner = owner(port, &host.name);
    let told = Told { subject: &owner };
    let question = Question::Tlsa(owner.clone());
    let records = match facts.get(&question)? {
        Answer::Failed(error) => {
            let finding = told.error(
                "tlsa.unanswered",
                format!("{error}: hosts that know DANE do not deliver"),
                "have the name servers mended: they must answer for names below _tcp, also that there are none",
                "RFC 7672, 2.1.2",
            );
            return Ok((vec![finding], false));
        }
        Answer::Tlsa(records) => records.get(..MAX_RECORDS).unwrap_or(records),
        _ => &[],
    };
    if records.is_empty() {
        return Ok((Vec::new(), false));
    }
    let status = facts.status(&question);
    let is_secure = status.authenticated && host.authenticated;
    let mut findings = of_records(&told, records);
    if !is_secure {
        findings.push(told.warning(
            "tlsa.insecure",
            "the records, or the addresses of the host, are not signed: nobody heeds them",
            "sign the zone, or delete the records",
            "RFC 7672, 2.2.2 and 2.2.3",
        ));
    }
    if status.ttl > LONG_TTL {
        findings.push(told.warning(
            "tlsa.ttl",
            format!(
                "the TTL is {} s: a change of keys takes twice as long",
                status.ttl
            ),
            "set it to 3600 or less",
            "RFC 7671, 13",
        ));
    }
    let usable: Vec<&Tlsa> = records.iter().filter(|record| is_usable(record)).collect();
    if !usable.is_empty() && subject.reach == Reach::Everything {
        let asked: Vec<Asked<Vec<Finding>>> = host
            .addresses
            .iter()
            .take(MAX_ADDRESSES)
            .map(|address| {
                let address = SocketAddr::new(*address, port);
                let answer = facts.get(&Question::Chain(host.name.clone(), address))?;
                Ok(match answer {
                    Answer::Chain(served) => of_served(
                        &told,
                        &usable,
                        &served.chain,
                        (subject, &host.name, is_secure),
                        address,
                    ),
                    Answer::Unreached(why) => vec![told.info(
                        "tlsa.not-compared",
                        format!("{address} was not asked what it serves: {why}"),
                        "",
                        "RFC 7672, 3.1",
                    )],
                    _ => Vec::new(),
                })
            })
            .collect();
        for found in asked {
            for finding in found? {
                // What is wrong at one address is wrong at all, mostly.
                if !findings.iter().any(|known| known.id == finding.id) {
                    findings.push(finding);
                }
            }
        }
    }
    let listed: Vec<String> = records.iter().take(3).map(ToString::to_string).collect();
    Ok((told.conclude(findings, "tlsa.ok", listed.join("; ")), true))
}

fn is_usable(record: &Tlsa) -> bool {
    let length = match record.matching {
        1 => Some(32),
        2 => Some(64),
        _ => None,
    };
    matches!(
        (record.usage, record.selector, record.matching),
        (2 | 3, 0 | 1, 0..=2)
    ) && length.is_none_or(|length| record.data.len() == length)
        && !record.data.is_empty()
}

fn of_records(told: &Told<'_>, records: &[Tlsa]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let usable = records.iter().filter(|record| is_usable(record)).count();
    if usable == 0 {
        findings.push(told.error(
            "tlsa.unusable",
            format!("no record can be used: {}", records[0]),
            "publish `3 1 1` with the SHA-256 of the host's public key; as it is, TLS is forced and nothing proven",
            "RFC 7672, 2.2.3",
        ));
    }
    if let Some(record) = records.iter().find(|record| record.usage < 2) {
        findings.push(told.warning(
            "tlsa.pkix-usage",
            format!("{record}: usage 0 and 1 are not for mail"),
            "publish `3 1 1` in its place",
            "RFC 7672, 3.1.3",
        ));
    }
    if let Some(record) = records
        .iter()
        .find(|record| record.matching == 0 && record.usage >= 2)
    {
        findings.push(told.warning(
            "tlsa.full",
            format!("{record} holds the whole of it, not a digest"),
            "publish the SHA-256: matching type 1",
            "RFC 7671, 10.1.2",
        ));
    }
    if usable == 1 && records.iter().any(|record| record.usage == 3) {
        findings.push(told.info(
            "tlsa.no-rollover",
            "there is one record: the next key needs one before it goes into service",
            "publish the next key's `3 1 1` twice the TTL before the change",
            "RFC 7671, 8.1",
        ));
    }
    findings
}

/// Judges what a port serves.
fn of_served(
    told: &Told<'_>,
    records: &[&Tlsa],
    chain: &[Vec<u8>],
    (subject, host, is_secure): (&Subject, &str, bool),
    address: SocketAddr,
) -> Vec<Finding> {
    let certificates: Vec<Certificate> = chain
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    let Some(leaf) = certificates.first() else {
        return Vec::new();
    };
    let matches = |record: &Tlsa| match record.usage {
        3 => record.matches(of(leaf)),
        _ => certificates.iter().any(|one| {
            Tlsa {
                usage: 3,
                ..record.clone()
            }
            .matches(of(one))
        }),
    };
    let mut findings = Vec::new();
    let matching: Vec<&&Tlsa> = records.iter().filter(|record| matches(record)).collect();
    if matching.is_empty() {
        let severity = if is_secure {
            Severity::Error
        } else {
            Severity::Warning
        };
        let publish = Tlsa::for_key(&leaf.spki_der);
        findings.push(told.tell(
            severity,
            "tlsa.mismatch",
            format!("{address} serves a key that no record names ({})", records[0]),
            format!("publish {}. IN TLSA {publish}", told.subject),
            "RFC 7672, 3.1",
        ));
        return findings;
    }
    if !matching.iter().any(|record| record.usage == 3) {
        findings.extend(of_anchor(told, leaf, &certificates, host, subject.now));
    }
    // Each combination that is published has to match by itself: some clients look at one alone.
    let kinds: BTreeSet<(u8, u8, u8)> = records.iter().map(|record| kind(record)).collect();
    let stale = kinds
        .iter()
        .find(|one| !matching.iter().any(|record| kind(record) == **one));
    if let Some((usage, selector, matching)) = stale {
        findings.push(told.warning(
            "tlsa.combination",
            format!(
                "no `{usage} {selector} {matching}` record matches what {address} serves, though others do"
            ),
            "delete these, or publish one for the key in service",
            "RFC 7671, 8",
        ));
    }
    findings
}

/// By a CA's record, name and time count (RFC 7672, 3.1.2 and 3.2.2).
fn of_anchor(
    told: &Told<'_>,
    leaf: &Certificate,
    chain: &[Certificate],
    host: &str,
    now: OffsetDateTime,
) -> Option<Finding> {
    let covers = host.parse::<DomainName>().is_ok_and(|host| leaf.covers(&host));
    if !covers {
        return Some(told.error(
            "tlsa.anchor-name",
            format!("the certificate is not for {host}, and the records name a CA"),
            format!("serve a certificate for {host}, or publish `3 1 1`"),
            "RFC 7672, 3.2.2",
        ));
    }
    let is_valid = |one: &Certificate| one.validity_at(now) == Validity::Valid;
    (!chain.iter().all(is_valid)).then(|| {
        told.error(
            "tlsa.anchor-expired",
            "a certificate of the chain is not valid now, and the records name a CA",
            "renew it, or publish `3 1 1`",
            "RFC 7672, 3.1.2",
        )
    })
}

fn of(certificate: &Certificate) -> Leaf<'_> {
    Leaf {
        certificate: Some(&certificate.der),
        spki: &certificate.spki_der,
    }
}

fn kind(record: &Tlsa) -> (u8, u8, u8) {
    (record.usage, record.selector, record.matching)
}
