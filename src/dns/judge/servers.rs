//! The authoritative servers of a name, and where they differ (RFC 1034, 4.3.5). Pure.

use std::net::SocketAddr;

use super::{Subject, Told, hosts, shown};
use crate::{
    dns::{
        answer::TxtRrset,
        check::{Observed, Told as Said},
        desired::Role,
        error::DnsError,
        facts::{Answer, Asked, Facts, Family, Kind, Question},
        resolver::Server,
    },
    model::{finding::Finding, name::DomainName, rrset::Txt},
};

/// Servers of a zone that are asked, by name; there are thirteen for the root.
const MAX_NAMES: usize = 13;
/// As above, by address.
const MAX_SERVERS: usize = 32;
/// The port of the DNS.
const PORT: u16 = 53;

/// Returns what the resolver and every authoritative server say about the TXT records of a name.
///
/// # Errors
/// Names the next open question.
pub fn observe(name: &DomainName, role: Role, facts: &Facts) -> Asked<Observed> {
    let question = Question::Txt(name.to_string());
    let servers = authoritative(name, facts);
    let resolved = match facts.get(&question)? {
        Answer::Failed(error) => Err(error.clone()),
        answer => Ok(rrset(answer, facts.status(&question).ttl)),
    };
    // An alias has its records elsewhere: there the servers are asked.
    let owner = facts
        .status(&question)
        .aliases
        .last()
        .and_then(|end| DomainName::from_dns(end).ok());
    let (owner, servers) = match owner {
        Some(owner) => {
            let servers = authoritative(&owner, facts);
            (owner, servers?)
        }
        None => (name.clone(), servers?),
    };
    let servers = match servers {
        Ok(servers) => {
            let asked: Vec<Asked<Said>> = servers
                .into_iter()
                .map(|server| {
                    let question = Question::At(server.address, owner.to_string(), Kind::Txt);
                    let said = match facts.get(&question)? {
                        Answer::Failed(error) => Err(error.clone()),
                        answer => Ok(rrset(answer, 0)),
                    };
                    Ok((server, said))
                })
                .collect();
            Ok(asked.into_iter().collect::<Asked<Vec<Said>>>()?)
        }
        Err(error) => Err(error),
    };
    Ok(Observed {
        name: name.clone(),
        role,
        resolved,
        servers,
    })
}

fn rrset(answer: &Answer, ttl: u32) -> TxtRrset {
    TxtRrset {
        ttl,
        values: answer
            .texts()
            .iter()
            .map(|text| Txt::from_strings([text]))
            .collect(),
    }
}

/// Returns the servers that the NS records of a name's zone name, at each of their addresses; or those of the configuration.
fn authoritative(name: &DomainName, facts: &Facts) -> Asked<Result<Vec<Server>, DnsError>> {
    if !facts.servers().is_empty() {
        return Ok(Ok(facts
            .servers()
            .iter()
            .copied()
            .map(Server::configured)
            .collect()));
    }
    let mut names = Vec::new();
    let mut candidate = Some(name.clone());
    while let Some(current) = candidate {
        facts.want(Question::Ns(current.to_string()));
        candidate = current.parent();
        names.push(current);
    }
    for zone in names {
        let question = Question::Ns(zone.to_string());
        let found = match facts.get(&question)? {
            Answer::Failed(error) => return Ok(Err(error.clone())),
            answer => answer.names(),
        };
        // Behind an alias the servers are those of another zone.
        if found.is_empty() || !facts.status(&question).aliases.is_empty() {
            continue;
        }
        let mut servers = Vec::new();
        let named: Vec<&str> = found
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .take(MAX_NAMES)
            .collect();
        for host in hosts(named, facts)? {
            servers.extend(host.addresses.iter().map(|address| Server {
                name: host.name.clone(),
                address: SocketAddr::new(*address, PORT),
                is_listed: true,
            }));
        }
        servers.sort();
        servers.dedup();
        servers.truncate(MAX_SERVERS);
        return Ok(match servers.is_empty() {
            false => Ok(servers),
            true => Err(DnsError::NoAuthoritativeServer { zone }),
        });
    }
    Ok(Err(DnsError::NoZone { name: name.clone() }))
}

/// Returns what the servers are compared by, beside SPF: the id of the finding, the name, the type.
fn places(subject: &Subject) -> Vec<(&'static str, String, Kind)> {
    let name = subject.name.as_str();
    let mut places = vec![("caa.servers-disagree", name.to_owned(), Kind::Caa)];
    if subject.role != Role::Host {
        places.extend([
            ("mx.servers-disagree", name.to_owned(), Kind::Mx),
            ("dmarc.servers-disagree", format!("_dmarc.{name}"), Kind::Txt),
            ("mta-sts.servers-disagree", format!("_mta-sts.{name}"), Kind::Txt),
            (
                "tls-rpt.servers-disagree",
                format!("_smtp._tls.{name}"),
                Kind::Txt,
            ),
        ]);
    }
    let ports: &[u16] = match (subject.this_host(), subject.role) {
        (Some(ours), _) => &ours.ports,
        (None, Role::Host) => &[25],
        (None, _) => return places,
    };
    places.extend(
        Family::BOTH.map(|family| ("address.servers-disagree", name.to_owned(), Kind::Address(family))),
    );
    places.extend(ports.iter().map(|port| {
        (
            "tlsa.servers-disagree",
            format!("_{port}._tcp.{name}"),
            Kind::Tlsa,
        )
    }));
    places
}

/// Compares what the servers have at the names beside SPF.
pub(super) fn compare(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let told = Told {
        subject: subject.name.as_str(),
    };
    // What is silent is told with SPF.
    let Ok(servers) = authoritative(&subject.name, facts)? else {
        return Ok(Vec::new());
    };
    let places = places(subject);
    for (_, name, kind) in &places {
        for server in &servers {
            facts.want(Question::At(server.address, name.clone(), *kind));
        }
    }
    let mut findings = Vec::new();
    for (id, name, kind) in places {
        let mut said: Vec<(String, Vec<String>)> = Vec::new();
        for server in &servers {
            let answer = facts.get(&Question::At(server.address, name.clone(), kind))?;
            let Some(text) = told_by(answer) else { continue };
            match said.iter_mut().find(|(known, _)| *known == text) {
                Some((_, names)) => names.push(server.to_string()),
                None => said.push((text, vec![server.to_string()])),
            }
        }
        if said.len() > 1 {
            let parts: Vec<String> = said
                .iter()
                .map(|(text, names)| {
                    format!(
                        "{}: {}",
                        names.join(", "),
                        if text.is_empty() { "nothing" } else { text }
                    )
                })
                .collect();
            findings.push(told.error(
                id,
                format!("{name}: {}", parts.join("; ")),
                "see why the zone was not transferred to all of them (serial, NOTIFY, allow-transfer)",
                "RFC 1034, 4.3.5",
            ));
        }
    }
    Ok(findings)
}

/// Returns an answer as text that is the same for the same records; `None` where the server gives none.
fn told_by(answer: &Answer) -> Option<String> {
    let mut lines: Vec<String> = match answer {
        Answer::Addresses(found) => found.iter().map(ToString::to_string).collect(),
        Answer::Caa(found) => found.iter().map(ToString::to_string).collect(),
        Answer::Elsewhere(target) => vec![format!("CNAME {target}")],
        Answer::Exchanges(found) => found
            .iter()
            .map(|(preference, host)| format!("{preference} {host}"))
            .collect(),
        Answer::Texts(texts) => texts.iter().map(|text| shown(text)).collect(),
        Answer::Tlsa(found) => found.iter().map(ToString::to_string).collect(),
        _ => return None,
    };
    lines.sort();
    Some(lines.join(", "))
}
