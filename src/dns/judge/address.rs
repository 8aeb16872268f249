//! Addresses of this host, the name that it gives with EHLO, and the names of its addresses (RFC 5321, 2.3.5; RFC 1912,
//! 2.1). Pure.

use std::net::{IpAddr, SocketAddr};

use super::{Ours, Reach, Subject, Told, exchangers, host, hosts, is_global};
use crate::{
    dns::{
        desired::Role,
        facts::{Answer, Asked, Facts, Family, Question},
    },
    model::{
        finding::{Finding, Severity},
        name::DomainName,
    },
};

/// The port of mail between hosts.
const SMTP: u16 = 25;
/// Addresses whose names are looked at.
const MAX_ADDRESSES: usize = 8;
/// Names of one address that are looked at, as SPF does (RFC 7208, 4.6.4).
const MAX_NAMES: usize = 10;
/// What names of addresses that are given away by the thousand have in them.
const GENERIC: [&str; 7] = [
    "dynamic",
    "dhcp",
    "pool",
    "dialup",
    "dsl",
    "broadband",
    "customer",
];

/// The addresses of the host's name, or of the mail exchangers of a domain that is not ours.
pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    match subject.this_host() {
        Some(ours) => own(subject, ours, facts),
        None if subject.role == Role::Any => exchangers_of_others(subject, facts),
        None => Ok(Vec::new()),
    }
}

fn exchangers_of_others(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let told = Told {
        subject: subject.name.as_str(),
    };
    let names = exchangers(subject.name.as_str(), facts)?;
    let hosts = hosts(names.iter().map(String::as_str), facts)?;
    let mut findings: Vec<Finding> = hosts
        .iter()
        .flat_map(|host| not_global(&told, &host.name, &host.addresses))
        .collect();
    let v4_only: Vec<&str> = hosts
        .iter()
        .filter(|host| !host.addresses.is_empty() && host.addresses.iter().all(IpAddr::is_ipv4))
        .map(|host| host.name.as_str())
        .collect();
    if !v4_only.is_empty() {
        findings.push(no_ipv6(&told, &v4_only.join(", ")));
    }
    Ok(findings)
}

fn no_ipv6(told: &Told<'_>, names: &str) -> Finding {
    told.info(
        "address.no-ipv6",
        format!("no AAAA record at {names}"),
        "publish an AAAA record where the host has IPv6",
        "RFC 5321, 5.2",
    )
}

fn not_global(told: &Told<'_>, name: &str, addresses: &[IpAddr]) -> Option<Finding> {
    let private: Vec<String> = addresses
        .iter()
        .filter(|address| !is_global(**address))
        .map(ToString::to_string)
        .collect();
    (!private.is_empty()).then(|| {
        told.warning(
            "address.not-global",
            format!("{name} has {}, which others cannot reach", private.join(", ")),
            format!("publish the public address of the host at {name}"),
            "RFC 6890, 2.2",
        )
    })
}

fn own(subject: &Subject, ours: &Ours, facts: &Facts) -> Asked<Vec<Finding>> {
    let name = subject.name.as_str();
    let told = Told { subject: name };
    let ehlo = ours.ehlo.trim_end_matches('.').to_ascii_lowercase();
    let greeting = host(&ehlo, facts);
    let own = host(name, facts)?;
    let silent = silent(subject, ours, &own.addresses, facts);
    let mut findings = Vec::new();
    if let Some(why) = &own.failed {
        findings.push(told.error(
            "address.unanswered",
            why,
            format!("see why with `dig {name} A` and `dig {name} AAAA`"),
            "RFC 5321, 5.1",
        ));
    } else if own.addresses.is_empty() {
        findings.push(told.error(
            "address.missing",
            "the host's name has no address",
            format!("publish {name}. IN A and AAAA with the addresses of this host"),
            "RFC 5321, 2.3.5",
        ));
    } else {
        findings.extend(not_global(&told, name, &own.addresses));
        if own.addresses.iter().all(IpAddr::is_ipv4) {
            findings.push(no_ipv6(&told, name));
        }
        let elsewhere: Vec<String> = own
            .addresses
            .iter()
            .filter(|address| !ours.interfaces.contains(address))
            .map(ToString::to_string)
            .collect();
        if !ours.interfaces.is_empty() && !elsewhere.is_empty() {
            findings.push(told.info(
                "address.not-this-host",
                format!("no interface of this host has {}", elsewhere.join(", ")),
                "nothing, where a router hands the port on (NAT); else correct the address",
                "RFC 5321, 5.1",
            ));
        }
    }
    if !is_qualified(&ehlo) {
        findings.push(told.error(
            "address.ehlo-name",
            format!("this host calls itself `{ehlo}` with EHLO, which is no full name"),
            format!("set smtp_helo_name (or myhostname) to {name}"),
            "RFC 5321, 4.1.1.1",
        ));
    } else {
        let greeting = greeting?;
        if greeting.failed.is_none() && greeting.addresses.is_empty() && ehlo != name {
            findings.push(told.error(
                "address.ehlo-name",
                format!("this host calls itself {ehlo} with EHLO, which has no address"),
                format!("publish {ehlo}. IN A with its address, or set smtp_helo_name to {name}"),
                "RFC 5321, 2.3.5",
            ));
        }
    }
    for (address, why) in silent? {
        findings.push(told.warning(
            "address.silent",
            format!("port 25 answers at other addresses of {name}, and not at {address}: {why}"),
            format!("let Postfix listen there (inet_interfaces, inet_protocols), or do not publish {address} at {name}"),
            "RFC 5321, 5.1",
        ));
    }
    let evidence: Vec<String> = own.addresses.iter().map(ToString::to_string).collect();
    Ok(told.conclude(findings, "address.ok", evidence.join(", ")))
}

/// Returns the addresses of this host's own interfaces at which port 25 does not answer, where it does at another: senders try
/// them all, and some IPv6 first. Where none answers, that is told with the port; what only a router has is not asked.
fn silent(
    subject: &Subject,
    ours: &Ours,
    addresses: &[IpAddr],
    facts: &Facts,
) -> Asked<Vec<(IpAddr, String)>> {
    if subject.reach == Reach::DnsOnly || !ours.ports.contains(&SMTP) {
        return Ok(Vec::new());
    }
    let own = addresses
        .iter()
        .filter(|address| ours.interfaces.contains(address));
    let asked: Vec<Asked<(IpAddr, Option<String>)>> = own
        .take(MAX_ADDRESSES)
        .map(|address| {
            let question = Question::Chain(subject.name.to_string(), SocketAddr::new(*address, SMTP));
            Ok(match facts.get(&question)? {
                Answer::Unreached(why) => (*address, Some(why.clone())),
                _ => (*address, None),
            })
        })
        .collect();
    let asked: Vec<(IpAddr, Option<String>)> = asked.into_iter().collect::<Asked<_>>()?;
    if asked.iter().all(|(_, why)| why.is_some()) {
        return Ok(Vec::new());
    }
    Ok(asked
        .into_iter()
        .filter_map(|(address, why)| Some((address, why?)))
        .collect())
}

/// The names of the addresses that send, and whether these lead back.
pub(super) fn judge_ptr(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let told = Told {
        subject: subject.name.as_str(),
    };
    let (addresses, ehlo, worst) = match subject.this_host() {
        None if subject.role == Role::Any => {
            let names = exchangers(subject.name.as_str(), facts)?;
            let hosts = hosts(names.iter().map(String::as_str), facts)?;
            let addresses: Vec<IpAddr> = hosts.into_iter().flat_map(|host| host.addresses).collect();
            // Others may send from elsewhere.
            (addresses, None, Severity::Info)
        }
        // What the relay's addresses are called is its operator's business.
        Some(ours) if ours.sending.relay.is_none() => (
            ours.sending.addresses.clone(),
            // One that is no full name is told already, and no address can have it.
            Some(match is_qualified(&ours.ehlo) {
                true => ours.ehlo.as_str(),
                false => ours.host.as_str(),
            }),
            Severity::Error,
        ),
        _ => return Ok(Vec::new()),
    };
    let mut global: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|address| is_global(*address))
        .collect();
    global.sort_unstable();
    global.dedup();
    global.truncate(MAX_ADDRESSES);
    let judged: Vec<Asked<Vec<Finding>>> = global
        .iter()
        .map(|address| one(&told, *address, ehlo, worst, facts))
        .collect();
    let mut findings = Vec::new();
    for one in judged {
        findings.extend(one?);
    }
    if global.is_empty() {
        return Ok(findings);
    }
    let disagrees =
        |finding: &Finding| ["ptr.missing", "ptr.not-confirmed", "ptr.unanswered"].contains(&finding.id);
    if findings.iter().any(disagrees) {
        return Ok(findings);
    }
    let evidence: Vec<String> = global.iter().map(ToString::to_string).collect();
    Ok(told.conclude(
        findings,
        "ptr.ok",
        format!("{} and their names agree", evidence.join(", ")),
    ))
}

fn one(
    told: &Told<'_>,
    address: IpAddr,
    ehlo: Option<&str>,
    worst: Severity,
    facts: &Facts,
) -> Asked<Vec<Finding>> {
    let names = match facts.get(&Question::Ptr(address))? {
        Answer::Failed(error) => {
            return Ok(vec![told.tell(
                worst.min(Severity::Warning),
                "ptr.unanswered",
                error.to_string(),
                "have the holder of the address see to the reverse zone's name servers",
                "RFC 1912, 2.1",
            )]);
        }
        answer => answer.names(),
    };
    let wanted = ehlo.unwrap_or("the host's name");
    let owner = reverse(address);
    let remedy = format!("have the holder of the address publish {owner}. IN PTR {wanted}.");
    if names.is_empty() {
        let evidence = format!("{address} has no name: many receivers refuse its mail");
        return Ok(vec![told.tell(
            worst,
            "ptr.missing",
            evidence,
            remedy,
            "RFC 1912, 2.1",
        )]);
    }
    let mut findings = Vec::new();
    let looked_at: Vec<&String> = names.iter().take(MAX_NAMES).collect();
    let answers: Vec<Asked<bool>> = looked_at
        .iter()
        .map(|name| {
            let question = Question::Addresses((*name).clone(), Family::of(address));
            Ok(facts.get(&question)?.addresses().contains(&address))
        })
        .collect();
    let mut confirmed = Vec::new();
    for (name, leads_back) in looked_at.iter().zip(answers) {
        if leads_back? {
            confirmed.push(name.as_str());
        }
    }
    if confirmed.is_empty() {
        let shown: Vec<&str> = looked_at.iter().take(3).map(|name| name.as_str()).collect();
        findings.push(told.tell(
            worst,
            "ptr.not-confirmed",
            format!(
                "{address} is called {}, which does not lead back to it",
                shown.join(", ")
            ),
            format!(
                "{remedy} and {wanted}. IN {} {address}",
                if address.is_ipv4() { "A" } else { "AAAA" }
            ),
            "RFC 8601, 3",
        ));
    }
    if names.len() > 1 {
        findings.push(told.info(
            "ptr.several",
            format!("{address} has {} names", names.len()),
            "leave one: some receivers look at the first alone",
            "RFC 1912, 2.1",
        ));
    }
    if let Some(name) = confirmed.iter().find(|name| is_generic(name, address)) {
        findings.push(told.tell(
            worst.min(Severity::Warning),
            "ptr.generic",
            format!("{address} is called {name}, as addresses of homes are"),
            remedy,
            "RFC 1912, 2.1",
        ));
    } else if let Some(ehlo) = ehlo
        && !confirmed.is_empty()
        && !confirmed.iter().any(|name| name.eq_ignore_ascii_case(ehlo))
    {
        findings.push(told.info(
            "ptr.not-ehlo",
            format!(
                "{address} is called {}, and calls itself {ehlo} with EHLO",
                confirmed.join(", ")
            ),
            remedy,
            "RFC 5321, 4.1.4",
        ));
    }
    Ok(findings)
}

/// Returns whether a name given with EHLO is a full one (RFC 5321, 2.3.5).
fn is_qualified(ehlo: &str) -> bool {
    ehlo.contains('.') && ehlo.parse::<DomainName>().is_ok()
}

/// Returns whether a name is made from the address, or of words that providers name their customers' addresses by.
fn is_generic(name: &str, address: IpAddr) -> bool {
    let has_word = name.split(['.', '-']).any(|part| {
        GENERIC
            .iter()
            .any(|word| part.trim_end_matches(|c: char| c.is_ascii_digit()) == *word)
    });
    let IpAddr::V4(address) = address else {
        return has_word;
    };
    let mut octets = address.octets().map(|octet| octet.to_string()).to_vec();
    let numbers: Vec<&str> = name
        .split(|character: char| !character.is_ascii_digit())
        .filter(|number| !number.is_empty())
        .collect();
    let has = |octets: &[String]| {
        numbers
            .windows(4)
            .any(|four| four.iter().zip(octets).all(|(one, other)| one == other))
    };
    let forward = has(&octets);
    octets.reverse();
    has_word || forward || has(&octets)
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", address.to_bits());
            let nibbles: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", nibbles.join("."))
        }
    }
}
