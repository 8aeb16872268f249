//! DMARC: the policy record and who may be sent reports (RFC 9989, 4.7 and 4.10; RFC 9990, 4). Pure.

use super::{Subject, Told, shown, texts};
use crate::{
    dns::{
        desired::Role,
        facts::{Asked, Facts, Question},
    },
    model::{
        finding::Finding,
        record::dmarc::{Destination, Policy, Record, is_nearly, tree},
    },
};

/// Addresses for reports that are looked at.
const MAX_DESTINATIONS: usize = 10;
/// The tags of RFC 9989, 4.7.
const TAGS: [&str; 11] = [
    "adkim", "aspf", "fo", "np", "p", "psd", "rua", "ruf", "sp", "t", "v",
];
/// Tags of RFC 7489 that are no more.
const DROPPED: [&str; 3] = ["pct", "rf", "ri"];

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let told = Told { subject: domain };
    if subject.role == Role::Host {
        return Ok(Vec::new());
    }
    want_tree(domain, facts);
    let own = match texts(&owner(domain), facts)? {
        Ok(own) => own,
        Err(why) => {
            return Ok(vec![told.error(
                "dmarc.unanswered",
                why,
                "see that the zone's name servers answer for _dmarc",
                "RFC 9989, 4.10",
            )]);
        }
    };
    let mut findings = Vec::new();
    for text in own.iter().filter(|text| is_nearly(text)).take(3) {
        findings.push(told.error(
            "dmarc.version",
            format!("`{}` is no DMARC record", shown(text)),
            "let it begin with `v=DMARC1;`, in capital letters: as it is, receivers do not see it",
            "RFC 9989, 4.7",
        ));
    }
    let records: Vec<Record> = own.iter().filter_map(|text| Record::parse(text)).collect();
    match records.as_slice() {
        [record] => {
            findings.extend(of_record(subject, &told, record, facts)?);
            let evidence = own.iter().find(|text| Record::parse(text).is_some());
            Ok(told.conclude(findings, "dmarc.ok", shown(evidence.map_or(&[], Vec::as_slice))))
        }
        [] => {
            findings.push(inherited(&told, domain, facts)?);
            Ok(findings)
        }
        several => {
            findings.push(told.error(
                "dmarc.several",
                format!(
                    "{} DMARC records at {}: receivers discard all of them",
                    several.len(),
                    owner(domain)
                ),
                "leave one",
                "RFC 9989, 4.10",
            ));
            Ok(findings)
        }
    }
}

fn owner(domain: &str) -> String {
    format!("_dmarc.{domain}")
}

fn want_tree(domain: &str, facts: &Facts) {
    for name in tree(domain) {
        facts.want(Question::Txt(owner(name)));
    }
}

/// Returns the one record at a name; several count as none (RFC 9989, 4.10).
fn record_at(name: &str, facts: &Facts) -> Asked<Option<Record>> {
    let texts = texts(&owner(name), facts)?.unwrap_or_default();
    let mut records = texts.iter().filter_map(|text| Record::parse(text));
    Ok(records.next().filter(|_| records.next().is_none()))
}

/// The organizational domain, and the record that counts for what has none of its own, with where it stands.
struct Organization<'n> {
    name: &'n str,
    record: Option<(&'n str, Record)>,
}

/// Returns the organizational domain (RFC 9989, 4.10).
fn organization<'n>(domain: &'n str, facts: &Facts) -> Asked<Organization<'n>> {
    want_tree(domain, facts);
    let mut found = Organization {
        name: domain,
        record: None,
    };
    let mut below = None;
    for name in tree(domain) {
        let record = record_at(name, facts)?;
        match record.as_ref().and_then(|record| record.tags.get("psd")) {
            Some("n") => {
                return Ok(Organization {
                    name,
                    record: record.map(|record| (name, record)),
                });
            }
            // A public suffix: the organization is one label below.
            Some("y") if name != domain => {
                let below = below.unwrap_or(domain);
                let own = record_at(below, facts)?.map(|own| (below, own));
                return Ok(Organization {
                    name: below,
                    record: own.or(record.map(|record| (name, record))),
                });
            }
            _ => {}
        }
        if let Some(record) = record {
            found = Organization {
                name,
                record: Some((name, record)),
            };
        }
        below = Some(name);
    }
    Ok(found)
}

/// The domain has no record of its own.
fn inherited(told: &Told<'_>, domain: &str, facts: &Facts) -> Asked<Finding> {
    Ok(match organization(domain, facts)?.record {
        Some((from, record)) => {
            let tag = if record.policy("sp").ok().flatten().is_some() {
                "sp"
            } else {
                "p"
            };
            let policy = record.tags.get(tag).unwrap_or("none");
            told.info(
                "dmarc.inherited",
                format!("the record of {from} applies, with `{tag}={policy}`"),
                format!("nothing, unless {domain} is to have a policy of its own"),
                "RFC 9989, 4.10",
            )
        }
        None => told.warning(
            "dmarc.missing",
            "there is no DMARC record",
            format!(
                "publish {}. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\"",
                owner(domain)
            ),
            "RFC 9989, 4.7",
        ),
    })
}

fn of_record(subject: &Subject, told: &Told<'_>, record: &Record, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let external = destinations(told, domain, record, facts);
    let organization = organization(domain, facts)?.name;
    let mut findings = of_tags(told, record);
    findings.extend(of_policy(subject, told, record));
    if organization != domain && record.tags.get("sp").is_some() {
        findings.push(told.warning(
            "dmarc.subdomain-policy-ignored",
            format!("`sp` is ignored here: {domain} belongs to {organization}"),
            format!("remove `sp`; it counts at _dmarc.{organization} alone"),
            "RFC 9989, 4.7",
        ));
    }
    findings.extend(external?);
    Ok(findings)
}

fn of_policy(subject: &Subject, told: &Told<'_>, record: &Record) -> Vec<Finding> {
    let mut findings = Vec::new();
    let wrong = ["p", "sp", "np"].into_iter().find_map(|tag| {
        record
            .policy(tag)
            .err()
            .map(|value| format!("`{tag}={value}` is no policy"))
    });
    let missing = record
        .tags
        .get("p")
        .is_none()
        .then(|| "there is no `p`".to_owned());
    if let Some(evidence) = wrong.or(missing) {
        let has_rua = record.destinations("rua").iter().any(Result::is_ok);
        let remedy = "set `p` to none, quarantine or reject";
        findings.push(match has_rua {
            true => told.warning(
                "dmarc.policy",
                format!("{evidence}: receivers take `p=none`"),
                remedy,
                "RFC 9989, 4.10.1",
            ),
            false => told.error(
                "dmarc.policy",
                format!("{evidence}, and no valid `rua`: receivers act as if there were no record"),
                remedy,
                "RFC 9989, 4.10.1",
            ),
        });
        return findings;
    }
    if record.tags.get("t") == Some("y") {
        findings.push(told.warning(
            "dmarc.testing",
            "`t=y`: receivers apply the next weaker policy",
            "remove `t=y` when the reports show nothing of yours failing",
            "RFC 9989, 4.7",
        ));
    }
    match record.policy("p").ok().flatten() {
        Some(Policy::None) => findings.push(told.info(
            "dmarc.policy-none",
            "`p=none`: mail in your name that fails is delivered",
            "after a month of reports without mail of yours that fails, `p=quarantine`; after another, `p=reject`",
            "RFC 9989, 7.4",
        )),
        Some(Policy::Reject) => {
            let signs = subject.selectors.iter().any(|selector| selector.key.is_some());
            if subject.ours.is_some() && !signs {
                findings.push(told.warning(
                    "dmarc.reject-without-dkim",
                    "`p=reject`, and no DKIM key was found on this host: forwarded mail is refused",
                    "sign with DKIM; where another program or host signs, name its selector with --selector",
                    "RFC 9989, 7.4",
                ));
            } else {
                findings.push(told.info(
                    "dmarc.reject",
                    "`p=reject`: mail of yours that a mailing list changes is refused",
                    "`p=quarantine`, where people write to mailing lists",
                    "RFC 9989, 7.4",
                ));
            }
        }
        _ => {}
    }
    findings
}

fn of_tags(told: &Told<'_>, record: &Record) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(wrong) = record.tags.wrong() {
        findings.push(told.warning(
            "dmarc.syntax",
            format!("`{wrong}` is no `tag=value`"),
            "remove it; tags are separated by `;`",
            "RFC 9989, 4.7",
        ));
    }
    if let Some(doubled) = record.tags.doubled() {
        findings.push(told.warning(
            "dmarc.syntax",
            format!("`{doubled}` is there twice"),
            "leave one",
            "RFC 9989, 4.7",
        ));
    }
    for (name, value) in record.tags.iter() {
        let is_good = match name {
            "t" => ["y", "n"].contains(&value),
            "psd" => ["y", "n", "u"].contains(&value),
            "adkim" | "aspf" => ["r", "s"].contains(&value),
            "fo" => is_fo(value),
            _ => true,
        };
        if !is_good {
            findings.push(told.warning(
                "dmarc.value",
                format!("`{name}={value}` is ignored"),
                format!("correct or remove `{name}`"),
                "RFC 9989, 4.7",
            ));
        }
    }
    let has = |tags: &[&str]| {
        let found: Vec<&str> = record
            .tags
            .iter()
            .map(|(name, _)| name)
            .filter(|name| tags.contains(name))
            .collect();
        found.join(", ")
    };
    let dropped = has(&DROPPED);
    if !dropped.is_empty() {
        findings.push(told.info(
            "dmarc.dropped-tag",
            format!("{dropped}: ignored since RFC 9989; older receivers still obey"),
            "remove it; `t=y` has taken the place of `pct`",
            "RFC 9989, 4.7",
        ));
    }
    let is_unknown = |name: &&str| !TAGS.contains(name) && !DROPPED.contains(name);
    let unknown: Vec<&str> = record
        .tags
        .iter()
        .map(|(name, _)| name)
        .filter(is_unknown)
        .take(5)
        .collect();
    if !unknown.is_empty() {
        findings.push(told.info(
            "dmarc.unknown-tag",
            format!("{}: nobody knows this tag", unknown.join(", ")),
            "see whether it is a slip of the pen",
            "RFC 9989, 4.7",
        ));
    }
    if record.tags.get("psd") == Some("y") {
        findings.push(told.warning(
            "dmarc.psd",
            "`psd=y` says that the domain is a public suffix, such as co.jp",
            "remove `psd=y`",
            "RFC 9989, 4.7",
        ));
    }
    if record.tags.get("fo").is_some() && record.tags.get("ruf").is_none() {
        findings.push(told.info(
            "dmarc.fo-ignored",
            "`fo` without `ruf` says nothing",
            "remove `fo`",
            "RFC 9989, 4.7",
        ));
    }
    findings
}

/// `0` and `1` exclude each other; `d` and `s` may stand beside.
fn is_fo(value: &str) -> bool {
    let options: Vec<&str> = value.split(':').map(str::trim).collect();
    options.iter().all(|one| ["0", "1", "d", "s"].contains(one))
        && !(options.contains(&"0") && options.contains(&"1"))
}

/// Judges where reports go, and whether others agree to take them.
fn destinations(told: &Told<'_>, domain: &str, record: &Record, facts: &Facts) -> Asked<Vec<Finding>> {
    let mut findings = Vec::new();
    if record.tags.get("rua").is_none() {
        findings.push(told.info(
            "dmarc.no-reports",
            "there is no `rua`: nobody tells you what fails",
            format!("add `rua=mailto:postmaster@{domain}`"),
            "RFC 9989, 4.7",
        ));
    }
    let mut external = Vec::new();
    for tag in ["rua", "ruf"] {
        for found in record.destinations(tag).into_iter().take(MAX_DESTINATIONS) {
            match found {
                Err(text) => findings.push(bad_uri(told, tag, &text)),
                Ok(Destination {
                    uri, domain: None, ..
                }) => findings.push(bad_uri(told, tag, &uri)),
                Ok(Destination {
                    uri,
                    domain: Some(to),
                    has_size,
                }) => {
                    if has_size {
                        findings.push(told.info(
                            "dmarc.report-size",
                            format!("the size at the end of `{uri}` in `{tag}` is ignored"),
                            "remove `!` and what follows",
                            "RFC 9989, 4.7",
                        ));
                    }
                    external.push((tag, to));
                }
            }
        }
    }
    external.sort();
    external.dedup_by(|one, other| one.1 == other.1);
    let consents: Vec<Asked<Option<Finding>>> = external
        .iter()
        .map(|(tag, to)| consent(told, domain, tag, to, facts))
        .collect();
    for consent in consents {
        findings.extend(consent?);
    }
    Ok(findings)
}

fn bad_uri(told: &Told<'_>, tag: &str, uri: &str) -> Finding {
    told.warning(
        "dmarc.report-uri",
        format!("`{uri}` in `{tag}` is no mailto: URI"),
        "write `mailto:ADDRESS`; a comma or `!` in it is written %2C or %21",
        "RFC 9989, 4.7",
    )
}

/// Another organization must say that it takes the reports (RFC 9990, 4).
fn consent(told: &Told<'_>, domain: &str, tag: &str, to: &str, facts: &Facts) -> Asked<Option<Finding>> {
    if to == domain {
        return Ok(None);
    }
    let name = format!("{domain}._report._dmarc.{to}");
    let question = Question::Txt(name.clone());
    want_tree(to, facts);
    facts.want(question.clone());
    let ours = organization(domain, facts);
    if organization(to, facts)?.name == ours?.name {
        return Ok(None);
    }
    let answer = facts.get(&question)?;
    if answer.texts().iter().any(|text| Record::parse(text).is_some()) {
        return Ok(None);
    }
    let why = answer
        .failure()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    Ok(Some(told.error(
        "dmarc.report-consent",
        format!("{to} does not say that it takes reports about {domain} (`{tag}`), so none are sent{why}"),
        format!("have {to} publish {name}. IN TXT \"v=DMARC1\", or name an address at {domain}"),
        "RFC 9990, 4",
    )))
}
