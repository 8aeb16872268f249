//! DNSSEC: which answers are proven, as a trusted validating resolver says (RFC 4033; RFC 6840, 5.8). Pure.

use super::{Subject, Told, exchangers};
use crate::{
    dns::{
        desired::Role,
        facts::{Asked, Facts, Family, Question},
    },
    model::finding::Finding,
};

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let name = subject.name.as_str();
    let told = Told { subject: name };
    let mut questions = vec![(format!("{name} TXT"), Question::Txt(name.to_owned()))];
    let root = Question::Ns(String::new());
    facts.want(root.clone());
    facts.want(questions[0].1.clone());
    let hosts = match subject.role {
        Role::Host => vec![name.to_owned()],
        _ => {
            facts.want(Question::Txt(format!("_dmarc.{name}")));
            questions.insert(0, (format!("{name} MX"), Question::Mx(name.to_owned())));
            let dmarc = format!("_dmarc.{name}");
            questions.push((format!("{dmarc} TXT"), Question::Txt(dmarc)));
            exchangers(name, facts)?
        }
    };
    let mut of_hosts = Vec::new();
    for host in hosts.iter().take(5) {
        for (family, word) in Family::BOTH.into_iter().zip(["A", "AAAA"]) {
            of_hosts.push((
                format!("{host} {word}"),
                Question::Addresses(host.clone(), family),
            ));
        }
    }
    questions.extend(of_hosts);
    for (_, question) in &questions {
        facts.want(question.clone());
    }
    let mut bogus: Vec<(&str, Vec<&str>)> = Vec::new();
    let (mut secure, mut insecure) = (Vec::new(), Vec::new());
    for (label, question) in &questions {
        let answer = facts.get(question)?;
        let status = facts.status(question);
        if let Some(why) = &status.bogus {
            match bogus.iter_mut().find(|(same, _)| same == why) {
                Some((_, labels)) => labels.push(label),
                None => bogus.push((why, vec![label])),
            }
        } else if answer.failure().is_none() {
            match status.authenticated {
                true => secure.push(label.as_str()),
                false => insecure.push(label.as_str()),
            }
        }
    }
    let of_reason = |(why, labels): (&str, Vec<&str>)| {
        told.error(
            "dnssec.bogus",
            format!("{}: {why}: validating receivers get no answer", labels.join(", ")),
            "sign the zone anew, or have the DS record at the parent corrected; `delv` shows the chain",
            "RFC 4035, 5.5",
        )
    };
    let mut findings: Vec<Finding> = bogus.into_iter().map(of_reason).collect();
    if secure.is_empty() && findings.is_empty() {
        facts.get(&root)?;
        if !facts.status(&root).authenticated {
            return Ok(vec![told.info(
                "dnssec.unknown",
                "the resolver does not validate, so nobody here can tell",
                "run a validating resolver on this host and name it in dns.resolvers or /etc/resolv.conf",
                "RFC 6840, 5.8",
            )]);
        }
    }
    if !insecure.is_empty() {
        findings.push(told.info(
            "dnssec.insecure",
            format!(
                "not signed: {}{}",
                insecure.join(", "),
                if secure.is_empty() {
                    String::new()
                } else {
                    format!("; signed: {}", secure.join(", "))
                }
            ),
            "sign the zone, and give the DS record to the registrar; DANE needs it",
            "RFC 4033, 5",
        ));
        return Ok(findings);
    }
    Ok(told.conclude(findings, "dnssec.ok", format!("signed: {}", secure.join(", "))))
}
