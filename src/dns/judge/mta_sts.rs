//! MTA-STS: the record, the policy, and whether the MX records fit it (RFC 8461). Pure.

use super::{Reach, Subject, Told, exchangers, host, policy_hosts, shown, takes_no_mail, texts};
use crate::{
    dns::{
        desired::Role,
        facts::{Answer, Asked, Facts, Page, Question},
    },
    model::{
        finding::{Finding, Severity},
        record::mta_sts::{Mode, Policy, id, is_record, matches},
    },
};

/// The largest policy, in octets (RFC 8461, 3.2: a limit that senders may set).
const MAX_POLICY: usize = 65_536;
/// A policy that is kept for less is hardly one.
const DAY: u64 = 86_400;
/// As above: senders that write seldom have forgotten it.
const WEEK: u64 = 7 * DAY;

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let told = Told { subject: domain };
    if subject.role == Role::Host {
        return Ok(Vec::new());
    }
    let policy_host = format!("mta-sts.{domain}");
    let web = host(&policy_host, facts);
    let names = exchangers(domain, facts);
    let texts = match texts(&format!("_mta-sts.{domain}"), facts)? {
        Ok(texts) => texts,
        Err(why) => {
            return Ok(vec![told.error(
                "mta-sts.unanswered",
                why,
                "see that the zone's name servers answer for _mta-sts",
                "RFC 8461, 3.1",
            )]);
        }
    };
    let mut findings = Vec::new();
    let is_nearly = |text: &&Vec<u8>| !is_record(text) && text.to_ascii_lowercase().starts_with(b"v=sts");
    for text in texts.iter().filter(is_nearly).take(3) {
        findings.push(told.error(
            "mta-sts.version",
            format!("`{}` is no MTA-STS record", shown(text)),
            "let it begin with `v=STSv1;`",
            "RFC 8461, 3.1",
        ));
    }
    let records: Vec<&Vec<u8>> = texts.iter().filter(|text| is_record(text)).collect();
    let record = match records.as_slice() {
        [] if takes_no_mail(domain, facts)? => return Ok(findings),
        [] => {
            findings.push(told.info(
                "mta-sts.missing",
                "there is no MTA-STS record: an attacker on the way can have mail sent in clear text",
                format!(
                    "serve a policy at https://{policy_host}/.well-known/mta-sts.txt, then publish _mta-sts.{domain}. IN TXT \"v=STSv1; id=1\""
                ),
                "RFC 8461, 3.1",
            ));
            return Ok(findings);
        }
        [record] => record,
        several => {
            findings.push(told.error(
                "mta-sts.several",
                format!(
                    "{} MTA-STS records: senders act as if there were none",
                    several.len()
                ),
                "leave one",
                "RFC 8461, 3.1",
            ));
            return Ok(findings);
        }
    };
    if let Err(why) = id(record) {
        findings.push(told.error(
            "mta-sts.syntax",
            format!("{why}, in `{}`", shown(record)),
            format!("publish _mta-sts.{domain}. IN TXT \"v=STSv1; id=1\""),
            "RFC 8461, 3.1",
        ));
        return Ok(findings);
    }
    if subject.reach == Reach::DnsOnly {
        return Ok(told.conclude(findings, "mta-sts.ok", shown(record)));
    }
    let web = web?;
    if web.addresses.is_empty() {
        let why = web
            .failed
            .unwrap_or_else(|| format!("{policy_host} has no address"));
        findings.push(told.error(
            "mta-sts.policy-unreachable",
            format!("there is a record and no policy: {why}"),
            format!("publish {policy_host}. IN A with the address of the web server that has the policy"),
            "RFC 8461, 3.3",
        ));
        return Ok(findings);
    }
    let question = Question::Page(policy_host.clone(), "/.well-known/mta-sts.txt", web.addresses);
    let page = match facts.get(&question)? {
        Answer::Page(page) => page,
        Answer::Unreached(why) => {
            findings.push(told.error(
                "mta-sts.policy-unreachable",
                format!("https://{policy_host}/.well-known/mta-sts.txt: {why}"),
                format!("serve it with a certificate for {policy_host} that clients trust"),
                "RFC 8461, 3.3",
            ));
            return Ok(findings);
        }
        _ => return Ok(findings),
    };
    match policy(&told, page) {
        Err(finding) => findings.push(finding),
        Ok((policy, found)) => {
            findings.extend(found);
            let names = names?;
            findings.extend(of_policy(&told, &policy, &names, domain));
            findings.extend(of_hosts(&told, &policy, &names, subject, facts)?);
        }
    }
    Ok(told.conclude(findings, "mta-sts.ok", shown(record)))
}

/// Whether the hosts of the policy serve certificates that it lets senders take.
fn of_hosts(
    told: &Told<'_>,
    policy: &Policy,
    names: &[String],
    subject: &Subject,
    facts: &Facts,
) -> Asked<Vec<Finding>> {
    // Port 25 of others is closed to many who only want to look at a domain: they would wait for nothing.
    if policy.mode == Mode::None || subject.ours.is_none() {
        return Ok(Vec::new());
    }
    let covered: Vec<String> = names.iter().filter(|name| policy.covers(name)).cloned().collect();
    let outlook = policy_hosts::judge(&covered, facts, subject.now)?;
    let severity = match policy.mode {
        Mode::Enforce => Severity::Error,
        Mode::None | Mode::Testing => Severity::Warning,
    };
    let refused = outlook.refused.iter().map(|why| {
        told.tell(
            severity,
            "mta-sts.mx-certificate",
            format!("senders that heed the policy do not deliver to {why}"),
            "serve a certificate of a public CA for the name that the MX record has, with its chain",
            "RFC 8461, 4.2",
        )
    });
    let unknown = outlook.unknown.iter().map(|why| {
        told.info(
            "mta-sts.mx-not-asked",
            format!("the certificate was not seen: {why}"),
            "",
            "RFC 8461, 4.2",
        )
    });
    Ok(refused.chain(unknown).collect())
}

/// Reads the policy that a server gave.
fn policy(told: &Told<'_>, page: &Page) -> Result<(Policy, Vec<Finding>), Finding> {
    if (300..400).contains(&page.status) {
        return Err(told.error(
            "mta-sts.redirect",
            format!(
                "the policy is answered with {}: senders do not follow",
                page.status
            ),
            "serve the policy itself there",
            "RFC 8461, 3.3",
        ));
    }
    if page.status != 200 {
        return Err(told.error(
            "mta-sts.policy-unreachable",
            format!("the policy is answered with {}", page.status),
            "serve it with the status 200",
            "RFC 8461, 3.3",
        ));
    }
    let mut findings = Vec::new();
    if page.media_type != "text/plain" {
        findings.push(told.warning(
            "mta-sts.media-type",
            format!("the policy comes as `{}`", page.media_type),
            "serve it as text/plain",
            "RFC 8461, 3.2",
        ));
    }
    if page.body.len() > MAX_POLICY {
        return Err(told.error(
            "mta-sts.policy-size",
            "the policy is larger than 64 KiB: senders may leave it",
            "keep what belongs to it",
            "RFC 8461, 3.3",
        ));
    }
    match Policy::parse(&page.body) {
        Ok(policy) => Ok((policy, findings)),
        Err(why) => Err(told.error(
            "mta-sts.policy",
            format!("the policy: {why}"),
            "write `version: STSv1`, `mode: enforce`, `max_age: 604800` and a line `mx: HOST` for each MX host",
            "RFC 8461, 3.2",
        )),
    }
}

fn of_policy(told: &Told<'_>, policy: &Policy, names: &[String], domain: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let uncovered: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !policy.covers(name))
        .collect();
    if policy.mode != Mode::None && !uncovered.is_empty() {
        let severity = if policy.mode == Mode::Enforce {
            Severity::Error
        } else {
            Severity::Warning
        };
        let lines: Vec<String> = uncovered.iter().map(|name| format!("`mx: {name}`")).collect();
        findings.push(told.tell(
            severity,
            "mta-sts.mx-uncovered",
            format!(
                "the policy does not have {}: senders do not deliver there",
                uncovered.join(", ")
            ),
            format!("add {} to the policy, then change the id", lines.join(", ")),
            "RFC 8461, 4.1",
        ));
    }
    let stale: Vec<&str> = policy
        .mx
        .iter()
        .map(String::as_str)
        .filter(|pattern| !names.iter().any(|name| matches(pattern, name)))
        .take(5)
        .collect();
    if policy.mode != Mode::None && !stale.is_empty() {
        findings.push(told.warning(
            "mta-sts.mx-stale",
            format!(
                "the policy has {}, which is no MX host of {domain}",
                stale.join(", ")
            ),
            "remove the line, then change the id",
            "RFC 8461, 3.2",
        ));
    }
    if policy.max_age < WEEK && policy.mode != Mode::None {
        let severity = if policy.max_age < DAY {
            Severity::Warning
        } else {
            Severity::Info
        };
        findings.push(told.tell(
            severity,
            "mta-sts.max-age",
            format!("senders keep the policy for {} s only", policy.max_age),
            "set max_age to 604800 or more: weeks",
            "RFC 8461, 3.2",
        ));
    }
    if policy.mode != Mode::Enforce {
        let mode = if policy.mode == Mode::Testing {
            "testing"
        } else {
            "none"
        };
        findings.push(told.info(
            "mta-sts.not-enforced",
            format!("the mode is `{mode}`: mail is delivered to whoever answers"),
            "`mode: enforce` when reports show no failure, then change the id",
            "RFC 8461, 5",
        ));
    }
    findings
}
