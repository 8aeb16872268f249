//! DKIM keys at the selectors that are known (RFC 6376, 3.6; RFC 8301; RFC 8463). Pure.

use super::{Selector, Subject, Told, shown, texts};
use crate::{
    dns::{
        desired::Role,
        facts::{Asked, Facts, Question},
        signing::SigningKey,
    },
    model::{
        finding::{Finding, Severity},
        record::dkim::{Key, KeyRecordError, Record},
    },
};

/// Selectors that are looked at.
const MAX_SELECTORS: usize = 20;

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let domain = subject.name.as_str();
    let told = Told { subject: domain };
    if subject.role == Role::Host {
        return Ok(Vec::new());
    }
    let node = Question::Txt(format!("_domainkey.{domain}"));
    facts.want(node.clone());
    if subject.selectors.is_empty() {
        return Ok(vec![told.info(
            "dkim.no-selector",
            "no selector is known: keys were not looked at",
            "name one with --selector; those of OpenDKIM and rspamd on this host are found",
            "RFC 6376, 3.1",
        )]);
    }
    let judged: Vec<Asked<(Vec<Finding>, Option<Algorithm>)>> = subject
        .selectors
        .iter()
        .take(MAX_SELECTORS)
        .map(|selector| one(&told, domain, selector, facts))
        .collect();
    facts.get(&node)?;
    let (mut findings, mut algorithms) = (Vec::new(), Vec::new());
    for one in judged {
        let (found, algorithm) = one?;
        findings.extend(found);
        algorithms.extend(algorithm);
    }
    if !algorithms.is_empty() && facts.status(&node).no_such_name {
        findings.push(told.warning(
            "dkim.no-node",
            format!("_domainkey.{domain} does not exist (NXDOMAIN), although there are keys below it"),
            "have the name server mended: receivers that minimise names do not find the keys",
            "RFC 8020, 2",
        ));
    }
    if !algorithms.is_empty() && algorithms.iter().all(|one| *one == Algorithm::Ed25519) {
        findings.push(told.warning(
            "dkim.ed25519-alone",
            "there is an Ed25519 key and no RSA key: many receivers know RSA alone",
            "sign with an RSA key as well",
            "RFC 8463, 6",
        ));
    }
    let names: Vec<&str> = subject
        .selectors
        .iter()
        .map(|selector| selector.name.as_str())
        .collect();
    Ok(told.conclude(findings, "dkim.ok", format!("selectors {}", names.join(", "))))
}

/// The algorithm of a key that verifiers can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    Rsa,
}

fn one(
    told: &Told<'_>,
    domain: &str,
    selector: &Selector,
    facts: &Facts,
) -> Asked<(Vec<Finding>, Option<Algorithm>)> {
    let owner = format!("{}._domainkey.{domain}", selector.name);
    let texts = match texts(&owner, facts)? {
        Ok(texts) => texts,
        Err(why) => {
            let finding = told.error(
                "dkim.unanswered",
                why,
                "see that the zone's name servers answer",
                "RFC 6376, 6.1.2",
            );
            return Ok((vec![finding], None));
        }
    };
    let known = match &selector.key {
        Some(Ok(key)) => Some(key),
        _ => None,
    };
    let publish = match known {
        Some(key) => format!("publish {owner}. IN TXT \"{}\"", key.record()),
        None => format!("publish the key at {owner}, or sign with another selector"),
    };
    let mut findings = Vec::new();
    if let Some(Err(why)) = &selector.key {
        findings.push(told.warning(
            "dkim.key-unreadable",
            format!("the key that signs with {} was not read: {why}", selector.name),
            "run as root, and see that the file is a private key in PEM",
            "opendkim.conf(5), KeyFile",
        ));
    }
    let text = match texts {
        [] => {
            findings.push(told.error(
                "dkim.missing",
                format!("there is no key at {owner}"),
                publish,
                "RFC 6376, 6.1.2",
            ));
            return Ok((findings, None));
        }
        [text] => text,
        several => {
            let evidence = format!(
                "{} TXT records at {owner}: which one counts is undefined",
                several.len()
            );
            findings.push(told.error("dkim.several", evidence, "leave one", "RFC 6376, 3.6.2.2"));
            return Ok((findings, None));
        }
    };
    let record = match Record::parse(text) {
        Ok(record) => record,
        Err(error) => {
            findings.push(unusable(told, &owner, text, &error, &publish));
            return Ok((findings, None));
        }
    };
    findings.extend(of_tags(told, &owner, &record));
    let (found, algorithm) = of_key(told, &owner, selector, &record, &publish);
    findings.extend(found);
    if let Some(key) = known
        && record.key != Key::Revoked
        && !key.is_of(&record.key)
    {
        findings.push(told.error(
            "dkim.mismatch",
            format!("the key at {owner} is not that of the private key that signs: every signature fails"),
            publish,
            "RFC 6376, 6.1.3",
        ));
    }
    Ok((findings, algorithm))
}

fn unusable(told: &Told<'_>, owner: &str, text: &[u8], error: &KeyRecordError, publish: &str) -> Finding {
    let (id, why) = match error {
        KeyRecordError::Algorithm(name) => ("dkim.algorithm", format!("`k={name}` is no algorithm")),
        KeyRecordError::Key(why) => ("dkim.syntax", (*why).to_owned()),
        KeyRecordError::Syntax(why) => ("dkim.syntax", why.clone()),
        KeyRecordError::Version => (
            "dkim.version",
            "`v` is not the first tag, or not DKIM1".to_owned(),
        ),
    };
    told.error(
        id,
        format!("{owner}: {why}: `{}`", shown(text)),
        publish,
        "RFC 6376, 3.6.1",
    )
}

fn of_tags(told: &Told<'_>, owner: &str, record: &Record) -> Vec<Finding> {
    let mut findings = Vec::new();
    if record.has_flag("y") {
        findings.push(told.warning(
            "dkim.testing",
            format!("{owner} says `t=y`: receivers may act as if nothing were signed"),
            "remove `t=y`",
            "RFC 6376, 3.6.1",
        ));
    }
    if !record.allows("h", "sha256") {
        findings.push(told.error(
            "dkim.hash",
            format!("{owner} does not allow sha256"),
            "remove `h`: sha1 must not be used any more",
            "RFC 8301, 3.1",
        ));
    }
    if !record.allows("s", "email") {
        findings.push(told.error(
            "dkim.service",
            format!("{owner} is not for mail"),
            "remove `s`, or write `s=email`",
            "RFC 6376, 3.6.1",
        ));
    }
    findings
}

fn of_key(
    told: &Told<'_>,
    owner: &str,
    selector: &Selector,
    record: &Record,
    publish: &str,
) -> (Vec<Finding>, Option<Algorithm>) {
    let mut findings = Vec::new();
    let algorithm = match &record.key {
        Key::Revoked => {
            let severity = if selector.key.is_some() {
                Severity::Error
            } else {
                Severity::Warning
            };
            findings.push(told.tell(
                severity,
                "dkim.revoked",
                format!("the key at {owner} is revoked (`p` is empty)"),
                publish,
                "RFC 6376, 3.6.1",
            ));
            None
        }
        Key::Ed25519(_) => Some(Algorithm::Ed25519),
        Key::Rsa { bits, is_bare, .. } => {
            let evidence = format!("the RSA key at {owner} has {bits} bits");
            let remedy = "make a key of 2048 bits, with a new selector";
            match bits {
                0..1024 => findings.push(told.error("dkim.key-short", evidence, remedy, "RFC 8301, 3.2")),
                1024..2048 => findings.push(told.warning("dkim.key-weak", evidence, remedy, "RFC 8301, 3.2")),
                2048..=4096 => {}
                _ => findings.push(told.warning(
                    "dkim.key-long",
                    format!("{evidence}: verifiers need not know keys over 4096"),
                    remedy,
                    "RFC 8301, 3.2",
                )),
            }
            if *is_bare {
                findings.push(told.warning(
                    "dkim.bare-key",
                    format!("the key at {owner} is a bare RSAPublicKey, not a SubjectPublicKeyInfo"),
                    "publish what `openssl pkey -pubout -outform DER | base64` prints",
                    "RFC 6376, 3.6.1",
                ));
            }
            Some(Algorithm::Rsa)
        }
    };
    (findings, algorithm)
}

impl SigningKey {
    /// Returns whether a published key is this one's public half.
    fn is_of(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Ed25519 { public }, Key::Ed25519(published)) => public == published,
            (Self::Rsa { pkcs1 }, Key::Rsa { pkcs1: published, .. }) => pkcs1 == published,
            _ => false,
        }
    }
}
