//! MX records: that there are some, and lead to hosts (RFC 5321, 5.1; RFC 2181, 10.3; RFC 7505). Pure.

use std::net::IpAddr;

use super::{Host, MAX_HOSTS, Subject, Told, host, hosts};
use crate::{
    dns::{
        desired::Role,
        facts::{Answer, Asked, Facts, Question},
    },
    model::{finding::Finding, name::DomainName},
};

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let told = Told { subject: domain };
    if subject.role == Role::Host {
        return Ok(Vec::new());
    }
    let own = host(domain, facts);
    let found = match facts.get(&Question::Mx(domain.to_owned()))? {
        Answer::Failed(error) => {
            return Ok(vec![told.error(
                "mx.unanswered",
                error.to_string(),
                "see that the zone's name servers answer; mail to the domain waits meanwhile",
                "RFC 5321, 5.1",
            )]);
        }
        Answer::Exchanges(found) => found.as_slice(),
        _ => &[],
    };
    let publish = subject.ours.as_ref().map_or_else(
        || format!("{domain}. IN MX 10 mail.{domain}."),
        |ours| format!("{domain}. IN MX 10 {}.", ours.host),
    );
    if found.is_empty() {
        return Ok(vec![without(subject, &told, &own?, &publish)]);
    }
    let mut findings = Vec::new();
    let nulls = found.iter().filter(|(_, name)| name.is_empty()).count();
    if nulls > 0 && found.len() > 1 {
        findings.push(told.error(
            "mx.null-beside-others",
            format!("one of {} MX records is `.`", found.len()),
            "delete the null MX, or all the others",
            "RFC 7505, 3",
        ));
    } else if nulls > 0 {
        return Ok(null(subject, &told, found[0].0, &publish));
    }
    let mut names: Vec<&str> = Vec::new();
    for (_, name) in found.iter().take(MAX_HOSTS).filter(|(_, name)| !name.is_empty()) {
        if names.contains(&name.as_str()) {
            findings.push(told.warning(
                "mx.duplicate",
                format!("{name} is there twice"),
                "leave one MX record for each host",
                "RFC 5321, 5.1",
            ));
        } else if name.parse::<IpAddr>().is_ok() {
            findings.push(told.error(
                "mx.address-literal",
                format!("the MX record has the address {name} in the place of a name"),
                format!("give the host a name, and publish {publish}"),
                "RFC 5321, 5.1",
            ));
        } else if name.parse::<DomainName>().is_err() {
            findings.push(told.error(
                "mx.bad-name",
                format!("`{name}` is no host name"),
                format!("publish {publish}"),
                "RFC 1123, 2.1",
            ));
        } else {
            names.push(name);
        }
    }
    if found.len() > MAX_HOSTS {
        findings.push(told.warning(
            "mx.many",
            format!("{} MX records; {MAX_HOSTS} were looked at", found.len()),
            "keep as many as there are hosts that take mail",
            "RFC 5321, 5.1",
        ));
    }
    let hosts = hosts(names.iter().copied(), facts)?;
    for one in &hosts {
        findings.extend(target(&told, one));
    }
    if let Some(ours) = subject.ours.as_ref().filter(|_| subject.role == Role::MailDomain) {
        let is_here = |one: &Host| {
            one.name == ours.host.as_str()
                || one
                    .addresses
                    .iter()
                    .any(|address| ours.interfaces.contains(address))
        };
        if !hosts.iter().any(is_here) {
            findings.push(told.warning(
                "mx.not-this-host",
                format!("its mail goes to {}, not to {}", names.join(", "), ours.host),
                format!("publish {publish}, unless another host takes its mail and hands it on"),
                "RFC 5321, 5.1",
            ));
        }
    }
    Ok(told.conclude(findings, "mx.ok", names.join(", ")))
}

/// There is no MX record.
fn without(subject: &Subject, told: &Told<'_>, own: &Host, publish: &str) -> Finding {
    if !own.addresses.is_empty() {
        return told.warning(
            "mx.implicit",
            "there is no MX record, so mail goes to the domain's own address",
            format!(
                "publish {publish}, or, when it takes no mail, {}. IN MX 0 .",
                subject.name
            ),
            "RFC 5321, 5.1",
        );
    }
    let evidence = "there is no MX record and no address: mail to it comes back";
    match subject.role {
        Role::Any => told.warning(
            "mx.missing",
            evidence,
            format!("publish {publish}"),
            "RFC 5321, 5.1",
        ),
        _ => told.error(
            "mx.missing",
            evidence,
            format!("publish {publish}"),
            "RFC 5321, 5.1",
        ),
    }
}

/// The domain says that it takes no mail.
fn null(subject: &Subject, told: &Told<'_>, preference: u16, publish: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if preference != 0 {
        findings.push(told.warning(
            "mx.null-preference",
            format!("the null MX has the preference {preference}"),
            format!("publish {}. IN MX 0 .", subject.name),
            "RFC 7505, 3",
        ));
    }
    let evidence = "the domain says that it takes no mail";
    findings.push(match subject.role {
        Role::MailDomain => told.error("mx.null", evidence, format!("publish {publish}"), "RFC 7505, 3"),
        _ => told.info("mx.null", evidence, "", "RFC 7505, 3"),
    });
    findings
}

/// A host that an MX record names.
fn target(told: &Told<'_>, host: &Host) -> Option<Finding> {
    let name = &host.name;
    if let Some(alias) = &host.alias {
        return Some(told.error(
            "mx.alias",
            format!("{name} is an alias (CNAME) of {alias}"),
            format!("let the MX record name {alias}, or give {name} addresses"),
            "RFC 2181, 10.3",
        ));
    }
    match (&host.failed, host.addresses.is_empty()) {
        (None, false) => None,
        (None, true) => Some(told.error(
            "mx.unresolved",
            format!("{name} has no address"),
            format!("publish {name}. IN A and AAAA with the addresses of the host, or delete the MX record"),
            "RFC 5321, 5.1",
        )),
        (Some(why), _) => Some(told.error(
            "mx.unresolved",
            format!("nobody tells all addresses of {name}: {why}"),
            format!("see why with `dig {name} A` and `dig {name} AAAA`"),
            "RFC 5321, 5.1",
        )),
    }
}
