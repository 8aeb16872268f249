//! What is wrong with a domain's SPF, as findings.
//!
//! [`judge`] decides over what every authoritative server and the resolver said. A domain that is not ours is judged by
//! its record alone; for one of ours the addresses that we send from count too. Rules: RFC 7208, each at its finding.
//! Pure.

use std::net::IpAddr;

use super::{
    answer::TxtRrset,
    desired::Role,
    error::{DnsError, SHOWN, ServerFailure},
    facts::{Answer, Asked, Facts, Question},
    lint::{of_the_text, unrecognized},
    resolver::Server,
    sending::{Judged, Sending, not_passing},
    spf::{self, MAX_LOOKUPS, MAX_VOID_LOOKUPS},
};
use crate::model::{
    finding::{Finding, Severity},
    name::DomainName,
    plan::printable_line,
    record::spf::{Qualifier, Record, is_record},
    rrset::Txt,
};

/// An answer that is larger does not fit every resolver's first datagram, in octets (RFC 9715).
const MAX_ANSWER: usize = 1232;

/// A server and what it answers.
pub type Told = (Server, Result<TxtRrset, DnsError>);

/// What the servers say about one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The name as it was asked for.
    pub name: DomainName,
    /// What it is to this host.
    pub role: Role,
    /// What the resolver answers.
    pub resolved: Result<TxtRrset, DnsError>,
    /// What each authoritative server answers; or why they were not found.
    pub servers: Result<Vec<Told>, DnsError>,
}

/// Judges what was gathered; `sending` is `None` for a domain that is not ours.
///
/// # Errors
/// Names the next open question.
pub fn judge(observed: &Observed, sending: Option<&Sending>, facts: &Facts) -> Asked<Vec<Finding>> {
    let subject = observed.name.as_str();
    let mut findings = server_findings(observed);
    let Some(values) = values(observed) else {
        let why = observed
            .resolved
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        findings.push(
            Finding::new(
                Severity::Error,
                "spf.unanswered",
                subject,
                format!("no server tells its TXT records: {why}"),
            )
            .remedy("find out why the name servers do not answer; mail to others may be deferred meanwhile")
            .reference("RFC 7208, 2.6.6"),
        );
        return Ok(findings);
    };
    findings.extend(unrecognized(subject, values));
    let records: Vec<&Txt> = values.iter().filter(|value| is_record(&value.joined())).collect();
    match records.as_slice() {
        [] => findings.push(missing(observed, sending)),
        [value] => match Record::parse(&value.joined()) {
            Ok(record) => {
                findings.extend(of_the_text(subject, &record, value));
                // All of it is tried, so that all questions are known at once.
                let of_the_senders = of_the_senders(observed, &record, sending, facts);
                findings.extend(of_the_walk(subject, &record, facts)?);
                findings.extend(of_the_senders?);
            }
            Err(error) => findings.push(
                Finding::new(
                    Severity::Error,
                    "spf.syntax",
                    subject,
                    format!("{error}, in {value}"),
                )
                .remedy("correct the record: receivers treat the whole of it as a permanent error")
                .reference("RFC 7208, 4.6"),
            ),
        },
        several => findings.push(
            Finding::new(
                Severity::Error,
                "spf.multiple-records",
                subject,
                format!("{} SPF records: {}", several.len(), joined(several)),
            )
            .remedy(
                "merge them into one: `v=spf1` once, the mechanisms of all, `all` last; delete the others",
            )
            .reference("RFC 7208, 3.2"),
        ),
    }
    if findings
        .iter()
        .all(|finding| finding.severity < Severity::Warning)
    {
        findings.push(Finding::new(Severity::Ok, "spf.ok", subject, joined(&records)));
    }
    Ok(findings)
}

/// Judges what stands beside the record: an obsolete type, the size of the answer, the record of a domain that takes no
/// mail; and tells what the record costs.
///
/// # Errors
/// Names the next open question.
pub fn beside(name: &DomainName, role: Role, facts: &Facts) -> Asked<Vec<Finding>> {
    let subject = name.as_str();
    let (obsolete, txt) = (
        Question::SpfType(name.to_string()),
        Question::Txt(name.to_string()),
    );
    let mx = Question::Mx(name.to_string());
    facts.want(mx.clone());
    let mut findings = Vec::new();
    if !facts.get(&obsolete)?.texts().is_empty() {
        let evidence = "there is a record of the type SPF (99)";
        findings.push(
            Finding::new(Severity::Warning, "spf.type", subject, evidence)
                .remedy("delete it: TXT alone is read")
                .reference("RFC 7208, 3.1"),
        );
    }
    let texts = facts.get(&txt)?.texts();
    let size = facts.status(&txt).size;
    if size > MAX_ANSWER {
        let evidence = format!(
            "the answer with the {} TXT records of {subject} has {size} octets",
            texts.len()
        );
        findings.push(
            Finding::new(Severity::Info, "spf.answer-size", subject, evidence)
                .remedy("delete TXT records that nobody needs any more: small answers need no second question by TCP")
                .reference("RFC 7208, 3.4"),
        );
    }
    let mut records = texts.iter().filter(|text| is_record(text));
    let (Some(text), None) = (records.next(), records.next()) else {
        return Ok(findings);
    };
    let Ok(record) = Record::parse(text) else {
        return Ok(findings);
    };
    if role != Role::Host
        && let Answer::Exchanges(found) = facts.get(&mx)?
        && matches!(found.as_slice(), [(_, host)] if host.is_empty())
        && !(record.all() == Some(Qualifier::Fail) && record.directives().count() == 1)
    {
        let evidence = format!(
            "the domain takes no mail (null MX), and its record is `{}`",
            printable_line(record.as_str().as_bytes(), SHOWN)
        );
        findings.push(
            Finding::new(Severity::Warning, "spf.no-mail", subject, evidence)
                .remedy(format!(
                    "publish {subject}. IN TXT \"v=spf1 -all\", unless it sends mail"
                ))
                .reference("RFC 7208, 10.1.2"),
        );
    }
    let cost = spf::cost(subject, facts)?;
    let evidence = format!(
        "{} of {MAX_LOOKUPS} lookups, {} of {MAX_VOID_LOOKUPS} find nothing:\n{}",
        cost.lookups,
        cost.void_lookups,
        cost.tree.join("\n")
    );
    findings.push(Finding::new(Severity::Ok, "spf.tree", subject, evidence).reference("RFC 7208, 4.6.4"));
    Ok(findings)
}

/// Returns the TXT values that count: an authoritative server's, or else the resolver's.
fn values(observed: &Observed) -> Option<&[Txt]> {
    let listed = observed
        .servers
        .as_ref()
        .ok()
        .and_then(|servers| servers.iter().find_map(|(_, answer)| answer.as_ref().ok()));
    listed
        .or(observed.resolved.as_ref().ok())
        .map(|rrset| rrset.values.as_slice())
}

fn joined(values: &[&Txt]) -> String {
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<String>>()
        .join(", ")
}

/// Judges the servers: those that are silent, and those that differ.
fn server_findings(observed: &Observed) -> Vec<Finding> {
    let subject = observed.name.as_str();
    let servers = match &observed.servers {
        Ok(servers) => servers,
        Err(error) => {
            let evidence = format!("the authoritative servers were not asked: {error}");
            return vec![
                Finding::new(Severity::Warning, "spf.servers-unknown", subject, evidence)
                    .remedy("see that the zone's NS records name servers that have addresses"),
            ];
        }
    };
    let mut findings = Vec::new();
    let mut answers: Vec<(Vec<Txt>, Vec<String>)> = Vec::new();
    for (server, answer) in servers {
        match answer {
            Ok(rrset) => {
                let mut records: Vec<Txt> = rrset
                    .values
                    .iter()
                    .filter(|value| is_record(&value.joined()))
                    .cloned()
                    .collect();
                records.sort();
                match answers.iter_mut().find(|(same, _)| *same == records) {
                    Some((_, names)) => names.push(server.to_string()),
                    None => answers.push((records, vec![server.to_string()])),
                }
            }
            // Not to be asked from here, or by us: says nothing about the server.
            Err(DnsError::Server {
                failure: ServerFailure::Unreachable(_),
                ..
            }) => {}
            Err(_) if !server.is_listed => {}
            Err(error) => findings.push(
                Finding::new(
                    Severity::Warning,
                    "spf.server-silent",
                    subject,
                    format!("{server}: {error}"),
                )
                .remedy("mend the server, or take its NS record out of the zone and of the parent")
                .reference("RFC 1034, 4.1"),
            ),
        }
    }
    if answers.len() > 1 {
        let told = answers.iter().map(|(records, names)| {
            let records: Vec<&Txt> = records.iter().collect();
            let records = if records.is_empty() {
                "no SPF record".to_owned()
            } else {
                joined(&records)
            };
            format!("{}: {records}", names.join(", "))
        });
        let evidence = printable_line(told.collect::<Vec<String>>().join("; ").as_bytes(), 4 * SHOWN);
        findings.push(
            Finding::new(Severity::Error, "spf.servers-disagree", subject, evidence)
                .remedy(
                    "see why the zone was not transferred to all of them (serial, NOTIFY, allow-transfer)",
                )
                .reference("RFC 1034, 4.3.5"),
        );
    }
    findings
}

fn missing(observed: &Observed, sending: Option<&Sending>) -> Finding {
    let subject = observed.name.as_str();
    let behind_relay = sending.is_some_and(|sending| sending.relay.is_some());
    let remedy = |record: &str| match behind_relay {
        true => "publish a record that covers the relay; `mailcert plan dns` shows which".to_owned(),
        false => format!("publish `{record}`: `mailcert apply dns` with publish = [\"spf\"], or by hand"),
    };
    match observed.role {
        Role::Host => Finding::new(
            Severity::Warning,
            "spf.host-missing",
            subject,
            "the host name has no SPF record",
        )
        .remedy(remedy("v=spf1 a -all"))
        .reference("RFC 7208, 10.1.3"),
        Role::Any => Finding::new(Severity::Error, "spf.missing", subject, "there is no SPF record")
            .remedy(format!(
                "publish {subject}. IN TXT \"v=spf1 mx -all\" with those who send besides; \"v=spf1 -all\" where it sends no mail"
            ))
            .reference("RFC 7208, 3"),
        Role::MailDomain => Finding::new(Severity::Error, "spf.missing", subject, "there is no SPF record")
            .remedy(remedy("v=spf1 mx -all"))
            .reference("RFC 7208, 3"),
    }
}

/// Judges what the record leads to: lookups, and other domains' records.
fn of_the_walk(subject: &str, record: &Record, facts: &Facts) -> Asked<Vec<Finding>> {
    let world = facts.with_txt(subject, vec![record.as_str().as_bytes().to_vec()]);
    let cost = spf::cost(subject, &world)?;
    let mut findings = Vec::new();
    if cost.lookups > MAX_LOOKUPS {
        let evidence = format!(
            "{} terms ask the DNS, with all that is included; {MAX_LOOKUPS} may",
            cost.lookups
        );
        findings.push(
            Finding::new(Severity::Error, "spf.lookup-limit", subject, evidence)
                .remedy("replace `include`, `a` and `mx` by the addresses they stand for, or remove what nobody uses")
                .reference("RFC 7208, 4.6.4"),
        );
    } else {
        for problem in &cost.problems {
            findings.push(
                Finding::new(Severity::Error, "spf.broken-reference", subject, problem.clone())
                    .remedy("remove the term, or have the record that it leads to mended")
                    .reference("RFC 7208, 5.2"),
            );
        }
    }
    if cost.void_lookups > MAX_VOID_LOOKUPS {
        let evidence = format!(
            "{} lookups find nothing; {MAX_VOID_LOOKUPS} may",
            cost.void_lookups
        );
        findings.push(
            Finding::new(Severity::Error, "spf.void-lookups", subject, evidence)
                .remedy("remove the terms whose names do not exist any more")
                .reference("RFC 7208, 4.6.4"),
        );
    }
    Ok(findings)
}

/// Judges whether those who send in the domain's name may.
fn of_the_senders(
    observed: &Observed,
    record: &Record,
    sending: Option<&Sending>,
    facts: &Facts,
) -> Asked<Vec<Finding>> {
    let subject = observed.name.as_str();
    let no_mx = |severity, evidence: String| {
        Finding::new(severity, "spf.no-mx", subject, evidence)
            .remedy(format!("publish `{}`", record.insert_mx_before_all()))
            .reference("RFC 7208, 5.4")
    };
    let lacks_mx = !record.has_mx();
    let Some(sending) = sending else {
        // Others may send from elsewhere than their MX hosts.
        let note = no_mx(Severity::Info, format!("`{record}` has no `mx`"));
        // A record that lets nobody send is one of a domain that sends no mail.
        let lets_nobody = record.all() == Some(Qualifier::Fail) && record.directives().count() == 1;
        return Ok(if lacks_mx && !lets_nobody && observed.role == Role::Any {
            vec![note]
        } else {
            Vec::new()
        });
    };
    let judged = sending.judge(&observed.name, record.as_str(), facts)?;
    if let Some(relay) = &sending.relay {
        if !judged.is_empty() && judged.iter().all(Judged::passes) {
            return Ok(Vec::new());
        }
        let host = printable_line(relay.host().as_bytes(), SHOWN);
        let seen = if judged.is_empty() {
            "its address is not known".to_owned()
        } else {
            not_passing(&judged)
        };
        let covered = record.insert_before_all(&relay.covering_term(facts)?);
        let evidence = format!("mail leaves by the relay {host}, which `{record}` does not cover: {seen}");
        return Ok(vec![
            Finding::new(Severity::Error, "spf.relayhost-not-covered", subject, evidence)
                .remedy(format!(
                    "publish `{covered}`, or what the relay's operator tells to"
                ))
                .reference("RFC 7208, 10.1.1"),
        ]);
    }
    if judged.is_empty() {
        let evidence =
            format!("`{record}` has no `mx`, and the addresses this host sends from are not known");
        let is_domain = observed.role == Role::MailDomain;
        return Ok(if lacks_mx && is_domain {
            vec![no_mx(Severity::Warning, evidence)]
        } else {
            Vec::new()
        });
    }
    if judged.iter().all(Judged::passes) {
        return Ok(Vec::new());
    }
    let evidence = format!(
        "`{record}` does not let this host send from {}",
        not_passing(&judged)
    );
    if lacks_mx && observed.role == Role::MailDomain {
        return Ok(vec![no_mx(Severity::Error, evidence)]);
    }
    let has_own = record.as_str().split(' ').any(|term| {
        term.trim_start_matches(['+', '-', '~', '?'])
            .eq_ignore_ascii_case("a")
    });
    let remedy = match observed.role {
        Role::Host if !has_own => format!(
            "publish `{}`: at a host name without MX records, `mx` matches nothing",
            record.insert_before_all("a")
        ),
        _ => format!(
            "publish `{}`, or let the names in the record lead to this host's addresses",
            record.insert_before_all(&literals(&judged))
        ),
    };
    Ok(vec![
        Finding::new(Severity::Error, "spf.host-not-covered", subject, evidence)
            .remedy(remedy)
            .reference("RFC 7208, 2.4"),
    ])
}

/// Returns the terms that let those send who may not.
fn literals(judged: &[Judged]) -> String {
    let not_passing = judged.iter().filter(|judged| !judged.passes());
    let terms: Vec<String> = not_passing
        .map(|judged| match judged.address {
            IpAddr::V4(address) => format!("ip4:{address}"),
            IpAddr::V6(address) => format!("ip6:{address}"),
        })
        .collect();
    terms.join(" ")
}

#[cfg(test)]
mod tests;
