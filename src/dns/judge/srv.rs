//! What mail programs look for: SRV records (RFC 6186; RFC 8314, 5) and autoconfig. Pure.

use super::{Reach, Subject, Told, host, hosts, takes_no_mail};
use crate::{
    dns::{
        desired::Role,
        facts::{Answer, Asked, Facts, Question, Service},
    },
    model::finding::Finding,
};

/// Services and their ports.
const SERVICES: [(&str, u16); 5] = [
    ("_submissions._tcp", 465),
    ("_submission._tcp", 587),
    ("_imaps._tcp", 993),
    ("_imap._tcp", 143),
    ("_pop3s._tcp", 995),
];
/// Records of one service that are looked at.
const MAX_RECORDS: usize = 8;

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let told = Told { subject: domain };
    if subject.role == Role::Host {
        return Ok(Vec::new());
    }
    let autoconfig = autoconfig(subject, &told, facts);
    let questions =
        SERVICES.map(|(service, port)| (service, port, Question::Srv(format!("{service}.{domain}"))));
    for (.., question) in &questions {
        facts.want(question.clone());
    }
    let no_mail = takes_no_mail(domain, facts);
    let mut judged = Vec::new();
    let (mut n_offered, mut n_failed) = (0, 0);
    for (service, port, question) in &questions {
        let records = match facts.get(question) {
            Ok(Answer::Services(records)) => records.get(..MAX_RECORDS).unwrap_or(records),
            Ok(answer) => {
                n_failed += usize::from(answer.failure().is_some());
                &[]
            }
            Err(question) => {
                judged.push(Err(question));
                continue;
            }
        };
        n_offered += usize::from(records.iter().any(|record| !record.target.is_empty()));
        judged.push(of_service(&told, service, *port, records, facts));
    }
    let mut findings = Vec::new();
    for one in judged {
        findings.extend(one?);
    }
    let no_mail = no_mail?;
    // Who did not answer may have them.
    if n_offered == 0 && n_failed == 0 && findings.is_empty() && !no_mail {
        let target = subject
            .ours
            .as_ref()
            .map_or_else(|| format!("mail.{domain}"), |ours| ours.host.to_string());
        findings.push(told.info(
            "srv.missing",
            "mail programs find no SRV records",
            format!("publish _submissions._tcp.{domain}. IN SRV 0 1 465 {target}. and _imaps._tcp.{domain}. IN SRV 0 1 993 {target}."),
            "RFC 6186, 3",
        ));
    }
    let autoconfig = autoconfig?;
    if !no_mail {
        findings.extend(autoconfig);
    }
    if n_offered == 0 {
        return Ok(findings);
    }
    Ok(told.conclude(findings, "srv.ok", format!("{n_offered} services")))
}

fn of_service(
    told: &Told<'_>,
    service: &str,
    port: u16,
    records: &[Service],
    facts: &Facts,
) -> Asked<Vec<Finding>> {
    let mut findings = Vec::new();
    let is_none = |record: &&Service| record.target.is_empty();
    if records.len() > 1 && records.iter().any(|record| is_none(&record)) {
        findings.push(told.error(
            "srv.none-beside-others",
            format!("{service}: `.` says that it is not offered, beside others"),
            "delete one of them",
            "RFC 2782",
        ));
    }
    let targets: Vec<&Service> = records.iter().filter(|record| !is_none(record)).collect();
    let hosts = hosts(targets.iter().map(|record| record.target.as_str()), facts)?;
    for (record, host) in targets.iter().zip(&hosts) {
        if let Some(alias) = &host.alias {
            findings.push(told.error(
                "srv.target-alias",
                format!(
                    "{service} leads to {}, an alias (CNAME) of {alias}",
                    record.target
                ),
                format!("let it lead to {alias}"),
                "RFC 2782",
            ));
        } else if host.addresses.is_empty() && host.failed.is_none() {
            findings.push(told.error(
                "srv.target-unresolved",
                format!("{service} leads to {}, which has no address", record.target),
                format!("publish an address at {}, or correct the record", record.target),
                "RFC 2782",
            ));
        }
        if record.port != port {
            findings.push(told.info(
                "srv.port",
                format!("{service} names port {} in the place of {port}", record.port),
                "",
                "RFC 8314, 7",
            ));
        }
    }
    Ok(findings)
}

/// `autoconfig.DOMAIN`, as Thunderbird asks it (draft-ietf-mailmaint-autoconfig).
fn autoconfig(subject: &Subject, told: &Told<'_>, facts: &Facts) -> Asked<Vec<Finding>> {
    let name = format!("autoconfig.{}", subject.name);
    let web = host(&name, facts)?;
    if web.addresses.is_empty() && web.failed.is_some() {
        return Ok(Vec::new());
    }
    if web.addresses.is_empty() {
        return Ok(vec![told.info(
            "srv.no-autoconfig",
            format!("{name} has no address: Thunderbird guesses"),
            format!("serve https://{name}/mail/config-v1.1.xml"),
            "draft-ietf-mailmaint-autoconfig",
        )]);
    }
    if subject.reach == Reach::DnsOnly || subject.ours.is_none() {
        return Ok(Vec::new());
    }
    let problem = match facts.get(&Question::Page(
        name.clone(),
        "/mail/config-v1.1.xml",
        web.addresses,
    ))? {
        Answer::Unreached(why) => Some(why.clone()),
        Answer::Page(page) if page.status != 200 => Some(format!("it is answered with {}", page.status)),
        Answer::Page(page) => {
            let is_one = page.body.windows(13).any(|part| part == b"<clientConfig");
            (!is_one).then(|| "it is no clientConfig".to_owned())
        }
        _ => None,
    };
    Ok(problem
        .map(|why| {
            told.warning(
                "srv.autoconfig",
                format!("https://{name}/mail/config-v1.1.xml: {why}"),
                "serve the file there, or delete the name's address",
                "draft-ietf-mailmaint-autoconfig",
            )
        })
        .into_iter()
        .collect())
}
