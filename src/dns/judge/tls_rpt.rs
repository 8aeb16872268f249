//! TLS reporting (RFC 8460, 3). Pure.

use super::{Subject, Told, shown, takes_no_mail, texts};
use crate::{
    dns::{
        desired::Role,
        facts::{Answer, Asked, Facts, Question},
    },
    model::{
        finding::Finding,
        record::tls_rpt::{destinations, is_record},
    },
};

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let told = Told { subject: domain };
    if subject.role == Role::Host {
        // Reports about DANE are by the name of the host (RFC 8460, 4.4: policy-domain), so only then it matters.
        facts.want(Question::Txt(format!("_smtp._tls.{domain}")));
        let records = facts.get(&Question::Tlsa(format!("_25._tcp.{domain}")))?;
        if !matches!(records, Answer::Tlsa(records) if !records.is_empty()) {
            return Ok(Vec::new());
        }
    }
    let texts = match texts(&format!("_smtp._tls.{domain}"), facts)? {
        Ok(texts) => texts,
        Err(why) => {
            return Ok(vec![told.error(
                "tls-rpt.unanswered",
                why,
                "see that the zone's name servers answer for _smtp._tls",
                "RFC 8460, 3",
            )]);
        }
    };
    let mut findings = Vec::new();
    let records: Vec<&Vec<u8>> = texts.iter().filter(|text| is_record(text)).collect();
    let publish =
        format!("publish _smtp._tls.{domain}. IN TXT \"v=TLSRPTv1; rua=mailto:postmaster@{domain}\"");
    let is_nearly = |text: &&Vec<u8>| !is_record(text) && text.to_ascii_lowercase().starts_with(b"v=tlsrpt");
    for text in texts.iter().filter(is_nearly).take(3) {
        findings.push(told.error(
            "tls-rpt.version",
            format!("`{}` is no TLS reporting record", shown(text)),
            publish.clone(),
            "RFC 8460, 3",
        ));
    }
    match records.as_slice() {
        [] if subject.role != Role::Host && takes_no_mail(domain, facts)? => {}
        [] => findings.push(told.info(
            "tls-rpt.missing",
            "there is no TLS reporting record: nobody tells you when TLS fails",
            publish,
            "RFC 8460, 3",
        )),
        [record] => match destinations(record) {
            Err(why) => findings.push(told.error(
                "tls-rpt.syntax",
                format!("{why}, in `{}`", shown(record)),
                publish,
                "RFC 8460, 3",
            )),
            Ok(uris) => {
                let is_here = |uri: &String| {
                    uri.rsplit_once('@')
                        .is_some_and(|(_, to)| to.eq_ignore_ascii_case(domain))
                };
                if uris.iter().all(is_here) {
                    findings.push(told.info(
                        "tls-rpt.same-domain",
                        "reports go to the domain that they are about: they need TLS to work",
                        "add an address elsewhere, or an https: URI",
                        "RFC 8460, 3",
                    ));
                }
                return Ok(told.conclude(findings, "tls-rpt.ok", shown(record)));
            }
        },
        several => findings.push(told.error(
            "tls-rpt.several",
            format!(
                "{} TLS reporting records: reporters act as if there were none",
                several.len()
            ),
            "leave one",
            "RFC 8460, 3",
        )),
    }
    Ok(findings)
}
