//! CAA for our CA, account and challenge (RFC 8659; RFC 8657). Pure.

use super::{Authority, Subject, Told};
use crate::{
    dns::facts::{Answer, Asked, Facts, Question},
    model::{
        finding::Finding,
        name::{DomainName, Identifier},
        record::caa::{Property, Refusal, Relevant, Request, Verdict, judge as decide, relevant},
    },
};

/// What is not known of the CAA records at a name.
enum Gap {
    Failed(String),
    Open(Question),
}

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let authority = subject.ours.as_ref().and_then(|ours| ours.authority.as_ref());
    let Some(authority) = authority else {
        return any(subject, facts);
    };
    // Told once, with the host: a certificate may be for several domains.
    if subject.this_host().is_none() {
        return Ok(Vec::new());
    }
    let identifiers = authority.identifiers.iter();
    let judged: Vec<Asked<Vec<Finding>>> = identifiers.map(|one| own(one, authority, facts)).collect();
    let mut findings = Vec::new();
    for one in judged {
        findings.extend(one?);
    }
    Ok(findings)
}

fn want(name: &DomainName, facts: &Facts) {
    let mut name = Some(name.clone());
    while let Some(owner) = name {
        facts.want(Question::Caa(owner.to_string()));
        name = owner.parent();
    }
}

/// Returns the records that count for a name.
fn found<'f>(name: &DomainName, facts: &'f Facts) -> Asked<Result<Option<Relevant<'f>>, String>> {
    want(name, facts);
    let answer = |owner: &DomainName| match facts.get(&Question::Caa(owner.to_string())) {
        Ok(Answer::Caa(properties)) => Ok(properties.as_slice()),
        Ok(Answer::Failed(error)) => Err(Gap::Failed(error.to_string())),
        Ok(_) => Ok(&[][..]),
        Err(question) => Err(Gap::Open(question)),
    };
    match relevant(name, answer) {
        Ok(found) => Ok(Ok(found)),
        Err((_, Gap::Failed(why))) => Ok(Err(why)),
        Err((_, Gap::Open(question))) => Err(question),
    }
}

fn unanswered(told: &Told<'_>, why: &str) -> Finding {
    told.error(
        "caa.unanswered",
        format!("nobody tells the CAA records: {why}: no CA may issue meanwhile"),
        "see that the name servers answer questions for CAA",
        "RFC 8659, 3",
    )
}

/// A domain that is not ours: what its records say to anybody.
fn any(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let told = Told {
        subject: subject.name.as_str(),
    };
    let (owner, properties) = match found(&subject.name, facts)? {
        Err(why) => return Ok(vec![unanswered(&told, &why)]),
        Ok(None) => {
            return Ok(vec![told.info(
                "caa.none",
                "there is no CAA record: every CA may issue",
                format!(
                    "publish {}. IN CAA 0 issue \"CA-DOMAIN\" with the domain of your CA",
                    subject.name
                ),
                "RFC 8659, 3",
            )]);
        }
        Ok(Some(found)) => found,
    };
    let findings = malformed(&told, properties);
    let listed: Vec<String> = properties.iter().take(5).map(ToString::to_string).collect();
    Ok(told.conclude(findings, "caa.ok", format!("{owner}: {}", listed.join("; "))))
}

fn malformed(told: &Told<'_>, properties: &[Property]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for property in properties
        .iter()
        .filter(|property| property.is_malformed())
        .take(5)
    {
        findings.push(told.warning(
            "caa.malformed",
            format!("{property} does not fit the grammar: it allows nobody"),
            "correct it: `CA-DOMAIN; name=value`",
            "RFC 8659, 4.2",
        ));
    }
    if let Some(critical) = properties
        .iter()
        .find(|property| property.is_unknown_and_critical())
    {
        findings.push(told.error(
            "caa.critical",
            format!("{critical} is critical, and no CA knows the tag: none may issue"),
            "delete it, or clear its critical flag",
            "RFC 8659, 4.1",
        ));
    }
    findings
}

/// What our certificates are for.
fn own(identifier: &Identifier, authority: &Authority, facts: &Facts) -> Asked<Vec<Finding>> {
    let name = identifier.to_string();
    let told = Told { subject: &name };
    let tag = if identifier.is_wildcard() {
        "issuewild"
    } else {
        "issue"
    };
    let identity = authority.identities.first().map_or("CA-DOMAIN", String::as_str);
    let base = identifier.base();
    let publish = |owner: &DomainName| match &authority.account {
        Some(account) => format!(
            "publish {owner}. IN CAA 0 {tag} \"{identity}; accounturi={account}; validationmethods={}\"",
            authority.method
        ),
        None => format!(
            "publish {owner}. IN CAA 0 {tag} \"{identity}; validationmethods={}\"",
            authority.method
        ),
    };
    let (owner, properties) = match found(base, facts)? {
        Err(why) => return Ok(vec![unanswered(&told, &why)]),
        Ok(None) => {
            return Ok(vec![told.info(
                "caa.none",
                "there is no CAA record: every CA may issue",
                publish(base),
                "RFC 8659, 3",
            )]);
        }
        Ok(Some(found)) => found,
    };
    let mut findings = malformed(&told, properties);
    let request = Request {
        identities: &authority.identities,
        account: authority.account.as_deref().unwrap_or_default(),
        method: authority.method,
        wildcard: identifier.is_wildcard(),
    };
    match decide(properties, &request) {
        Verdict::Allowed => {}
        Verdict::Unknown => findings.push(told.info(
            "caa.unknown-ca",
            format!(
                "CAA at {owner} names the CAs that may issue, and this CA does not say what its name is there"
            ),
            "ask the CA",
            "RFC 8659, 4.2",
        )),
        // Told already.
        Verdict::Refused(Refusal::Critical(_)) => {}
        Verdict::Refused(refusal) => findings.push(told.error(
            "caa.refused",
            format!(
                "CAA at {owner} does not let our CA issue with {}: {refusal}",
                authority.method
            ),
            publish(&owner),
            "RFC 8659, 4.2; RFC 8657, 3 and 4",
        )),
    }
    Ok(told.conclude(
        findings,
        "caa.ok",
        format!("CAA at {owner} lets {identity} issue"),
    ))
}
