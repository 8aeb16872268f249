//! What `check tls` has to say about one sighting. Pure.

use time::{Duration, OffsetDateTime};

use super::{
    sighting::{Handshake, Outcome, Sighting, Stage},
    trust::{self, Roots, Trust},
};
use crate::model::{
    certificate::{Certificate, Sha256, Validity},
    finding::{Finding, Severity},
    name::DomainName,
};

/// What a sighting is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The name that clients connect to; `None` when nothing is known but an address.
    pub name: Option<&'a DomainName>,
    /// The lineage whose certificate belongs on the endpoint, and the leaf of its current generation.
    pub lineage: Option<(&'a str, Sha256)>,
    /// The roots that clients trust; `None` when this host has no list of them, and then trust is not judged.
    pub roots: Option<&'a Roots>,
    /// The present.
    pub now: OffsetDateTime,
}

/// Returns what is wrong, or one finding that says that it is right.
pub fn findings(sighting: &Sighting, expected: &Expected<'_>) -> Vec<Finding> {
    let subject = subject(sighting);
    let handshake = match &sighting.outcome {
        Outcome::NotTls { stage, reason } => return vec![no_tls(subject, *stage, reason)],
        Outcome::Tls(handshake) => handshake,
    };
    let mut findings = Vec::new();
    if let Some(fault) = sighting.fault() {
        let remedy = "look at the mail log for the reason";
        findings.push(Finding::new(Severity::Error, "tls.mute", &subject, fault).remedy(remedy));
    }
    let leaf = match handshake.chain.first().map(|der| Certificate::from_der(der)) {
        Some(Ok(leaf)) => leaf,
        Some(Err(error)) => {
            let evidence = format!("the certificate cannot be read: {error}");
            findings.push(Finding::new(Severity::Error, "tls.untrusted", subject, evidence));
            return findings;
        }
        None => return findings,
    };
    findings.extend(served(&subject, &leaf, expected));
    findings.extend(dates(&subject, &leaf, expected.now));
    findings.extend(name(&subject, &leaf, expected.name));
    findings.extend(trusted(&subject, handshake, expected));
    if findings.iter().all(|finding| finding.severity < Severity::Error) {
        let evidence = format!(
            "{} with {}; certificate {} for {} until {}, {} sent",
            handshake.protocol,
            handshake.cipher_suite,
            leaf.sha256,
            names(&leaf),
            date(leaf.not_after),
            count(handshake.chain.len()),
        );
        findings.push(Finding::new(Severity::Ok, "tls.served", subject, evidence));
    }
    findings
}

/// Returns the endpoint, with the address where it is asked for by name.
fn subject(sighting: &Sighting) -> String {
    match sighting.address {
        Some(address) if address.ip().to_string() != sighting.endpoint.host => {
            format!("{} ({})", sighting.endpoint, address.ip())
        }
        _ => sighting.endpoint.to_string(),
    }
}

fn no_tls(subject: String, stage: Stage, reason: &str) -> Finding {
    let (id, remedy, reference) = match stage {
        Stage::Resolve => (
            "tls.unreachable",
            "publish an address record for the name, or correct the name",
            "",
        ),
        Stage::Connect => (
            "tls.unreachable",
            "start Postfix (`postfix status`), enable the service in master.cf, open the port in the firewall",
            "master(5)",
        ),
        Stage::Greeting | Stage::Ehlo => (
            "tls.unreachable",
            "look at the mail log for why the service does not come up; `postfix check` alone does not tell",
            "master(8)",
        ),
        Stage::NoStartTls => (
            "tls.no-starttls",
            "set smtpd_tls_security_level and name a certificate; `mailcert plan postfix` shows how",
            "postconf(5), smtpd_tls_security_level",
        ),
        Stage::StartTlsRefused | Stage::Handshake => (
            "tls.handshake-failed",
            "look at the mail log; key and certificate may not belong together, or cannot be read: `mailcert deploy`",
            "postconf(5), smtpd_tls_cert_file",
        ),
    };
    let evidence = format!("no TLS while {}: {reason}", stage.describe());
    Finding::new(Severity::Error, id, subject, evidence)
        .remedy(remedy)
        .reference(reference)
}

/// Compares the wire with the disk.
fn served(subject: &str, leaf: &Certificate, expected: &Expected<'_>) -> Option<Finding> {
    let (lineage, current) = expected.lineage?;
    if current == leaf.sha256 {
        return None;
    }
    let evidence = format!(
        "it serves the certificate {} for {} until {}; the current one of {lineage} is {current}",
        leaf.sha256,
        names(leaf),
        date(leaf.not_after),
    );
    let remedy = format!("`mailcert deploy {lineage}` reloads and verifies");
    Some(Finding::new(Severity::Error, "tls.not-served", subject, evidence).remedy(remedy))
}

/// Judges validity: red when it is over or all but over, yellow when a renewal should long have come.
///
/// Renewal is due when a third of the lifetime is left; a quarter left means that it has failed for a while. A year's
/// certificate is not worth a warning for three months, so that is at most 30 days.
fn dates(subject: &str, leaf: &Certificate, now: OffsetDateTime) -> Option<Finding> {
    let finding = |severity, id, evidence: String| Finding::new(severity, id, subject, evidence);
    match leaf.validity_at(now) {
        Validity::Expired => {
            let evidence = format!("the certificate expired on {}", date(leaf.not_after));
            let remedy = "`mailcert renew --force`, then `mailcert status`";
            Some(
                finding(Severity::Error, "tls.expired", evidence)
                    .remedy(remedy)
                    .reference("RFC 5280, 4.1.2.5"),
            )
        }
        Validity::NotYet => {
            let evidence = format!("the certificate is not valid before {}", date(leaf.not_before));
            let remedy = "set the clock of this host (`timedatectl`)";
            Some(
                finding(Severity::Error, "tls.not-yet-valid", evidence)
                    .remedy(remedy)
                    .reference("RFC 5280, 4.1.2.5"),
            )
        }
        Validity::Valid => {
            let left = leaf.time_left(now);
            let severity = if left < (leaf.lifetime() / 8_i32).min(Duration::days(3)) {
                Severity::Error
            } else if left < (leaf.lifetime() / 4_i32).min(Duration::days(30)) {
                Severity::Warning
            } else {
                return None;
            };
            let evidence = format!(
                "the certificate expires on {}, in {}",
                date(leaf.not_after),
                span(left)
            );
            let remedy = "`mailcert status` shows why it was not renewed; `mailcert renew` tries again";
            Some(finding(severity, "tls.expires-soon", evidence).remedy(remedy))
        }
    }
}

fn name(subject: &str, leaf: &Certificate, wanted: Option<&DomainName>) -> Option<Finding> {
    let wanted = wanted.filter(|name| !leaf.covers(name))?;
    let evidence = format!(
        "clients connect to {wanted}; the certificate is for {}",
        names(leaf)
    );
    let remedy = format!(
        "`mailcert apply` has the lineage served that is for {wanted}; where there is none, add the name to its identifiers before"
    );
    let finding = Finding::new(Severity::Error, "tls.name-mismatch", subject, evidence);
    Some(finding.remedy(remedy).reference("RFC 9525, 6.3"))
}

fn trusted(subject: &str, handshake: &Handshake, expected: &Expected<'_>) -> Option<Finding> {
    let finding = |id, evidence: String| Finding::new(Severity::Error, id, subject, evidence);
    match trust::judge(&handshake.chain, expected.roots?, expected.now) {
        Trust::Trusted => None,
        Trust::SelfSigned => {
            let evidence =
                "the certificate is its own issuer, as a distribution's snake-oil one: nobody trusts it";
            let remedy = "`mailcert apply` puts a certificate of a CA in its place";
            Some(finding("tls.self-signed", evidence.to_owned()).remedy(remedy))
        }
        Trust::IncompleteChain { issuer } => {
            let evidence = format!(
                "{} sent; the issuer `{issuer}` is neither among them nor a trusted root",
                count(handshake.chain.len())
            );
            let remedy =
                "name the full chain (fullchain.pem) in smtpd_tls_cert_file; `mailcert plan postfix` does";
            let finding = finding("tls.incomplete-chain", evidence).remedy(remedy);
            Some(finding.reference("postconf(5), smtpd_tls_cert_file"))
        }
        Trust::Untrusted { reason } => {
            let remedy = "get a certificate of a CA that clients trust; a staging or test CA is none";
            Some(
                finding("tls.untrusted", reason)
                    .remedy(remedy)
                    .reference("RFC 5280, 6"),
            )
        }
    }
}

fn names(leaf: &Certificate) -> String {
    match leaf.dns_names.as_slice() {
        [] => "no name".to_owned(),
        [one] => one.clone(),
        [first, second] => format!("{first}, {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}

fn count(certificates: usize) -> String {
    match certificates {
        1 => "1 certificate".to_owned(),
        n => format!("{n} certificates"),
    }
}

/// Returns the day.
fn date(at: OffsetDateTime) -> String {
    at.date().to_string()
}

/// Returns a duration in the unit that says most.
fn span(duration: Duration) -> String {
    match (duration.whole_days(), duration.whole_hours()) {
        (2.., _) => format!("{} days", duration.whole_days()),
        (_, 2..) => format!("{} hours", duration.whole_hours()),
        _ => format!("{} minutes", duration.whole_minutes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{Identity, Pki};

    const NOW_YEAR: i32 = 2026;

    fn sighting(identity: &Identity) -> Sighting {
        let handshake = Handshake {
            chain: identity.chain.clone(),
            leaf_sha256: identity.leaf(),
            protocol: "TLSv1.3".to_owned(),
            cipher_suite: "TLS_AES_256_GCM_SHA384".to_owned(),
            key_exchange: "X25519".to_owned(),
            mute: None,
        };
        Sighting {
            endpoint: "smtp://mail.example.test:25".parse().unwrap(),
            address: Some("192.0.2.1:25".parse().unwrap()),
            outcome: Outcome::Tls(handshake),
            transaction: None,
        }
    }

    /// Compares the ids and severities found; the lineage's leaf is `on_disk`.
    fn check(pki: &Pki, seen: &Sighting, on_disk: Sha256, expected: &[(&str, Severity)]) {
        let name = "mail.example.test".parse().unwrap();
        let roots = pki.roots();
        let expected_state = Expected {
            name: Some(&name),
            lineage: Some(("mail.example.test", on_disk)),
            roots: Some(&roots),
            now: rcgen::date_time_ymd(NOW_YEAR, 1, 1),
        };
        let findings = findings(seen, &expected_state);
        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.id, finding.severity))
            .collect();
        assert_eq!(found, expected, "{findings:#?}");
        for finding in findings {
            assert_eq!(finding.subject, "smtp://mail.example.test:25 (192.0.2.1)");
            assert_eq!(
                finding.remedy.is_empty(),
                finding.severity == Severity::Ok,
                "{finding:?}"
            );
        }
    }

    #[test]
    fn finds_what_is_wrong_with_a_certificate() {
        let pki = Pki::new();
        let day = |year, month| rcgen::date_time_ymd(year, month, 1);
        let issue = |name, from, to| pki.issue(&[name], from, to);
        let good = issue("mail.example.test", day(2025, 12), day(2026, 3));
        check(
            &pki,
            &sighting(&good),
            good.leaf(),
            &[("tls.served", Severity::Ok)],
        );
        let other = issue("mail.example.test", day(2025, 12), day(2026, 3));
        check(
            &pki,
            &sighting(&other),
            good.leaf(),
            &[("tls.not-served", Severity::Error)],
        );
        let expired = issue("mail.example.test", day(2025, 9), day(2025, 12));
        check(
            &pki,
            &sighting(&expired),
            expired.leaf(),
            &[("tls.expired", Severity::Error)],
        );
        let early = issue("mail.example.test", day(2026, 2), day(2026, 3));
        check(
            &pki,
            &sighting(&early),
            early.leaf(),
            &[("tls.not-yet-valid", Severity::Error)],
        );
        let wrong = issue("other.example.test", day(2025, 12), day(2026, 3));
        check(
            &pki,
            &sighting(&wrong),
            wrong.leaf(),
            &[("tls.name-mismatch", Severity::Error)],
        );
        let alone = Identity {
            chain: good.chain[..1].to_vec(),
            key: vec![],
        };
        check(
            &pki,
            &sighting(&alone),
            good.leaf(),
            &[("tls.incomplete-chain", Severity::Error)],
        );
        check(
            &Pki::new(),
            &sighting(&good),
            good.leaf(),
            &[("tls.untrusted", Severity::Error)],
        );
        let own = Identity::self_signed("mail.example.test");
        check(
            &pki,
            &sighting(&own),
            own.leaf(),
            &[("tls.self-signed", Severity::Error)],
        );
    }

    #[test]
    fn warns_before_a_certificate_expires_by_its_lifetime() {
        let pki = Pki::new();
        let now = rcgen::date_time_ymd(NOW_YEAR, 1, 1);
        let check_left = |lifetime: Duration, left: Duration, expected: (&str, Severity)| {
            let to = now + left;
            let identity = pki.issue(&["mail.example.test"], to - lifetime, to);
            let mut wanted = vec![expected];
            if expected.1 == Severity::Warning {
                wanted.push(("tls.served", Severity::Ok));
            }
            check(&pki, &sighting(&identity), identity.leaf(), &wanted);
        };
        let (fine, warning, error) = (
            ("tls.served", Severity::Ok),
            ("tls.expires-soon", Severity::Warning),
            ("tls.expires-soon", Severity::Error),
        );
        check_left(Duration::days(90), Duration::days(23), fine);
        check_left(Duration::days(90), Duration::days(22), warning);
        check_left(Duration::days(90), Duration::days(3), warning);
        check_left(Duration::days(90), Duration::days(2), error);
        check_left(Duration::hours(160), Duration::hours(41), fine);
        check_left(Duration::hours(160), Duration::hours(39), warning);
        check_left(Duration::hours(160), Duration::hours(19), error);
        check_left(Duration::days(3650), Duration::days(31), fine);
        check_left(Duration::days(3650), Duration::days(29), warning);
    }

    #[test]
    fn finds_why_there_is_no_tls() {
        let pki = Pki::new();
        let good = pki.issue_for("mail.example.test");
        let check_stage = |stage, id| {
            let outcome = Outcome::NotTls {
                stage,
                reason: "reason".to_owned(),
            };
            let seen = Sighting {
                outcome,
                ..sighting(&good)
            };
            check(&pki, &seen, good.leaf(), &[(id, Severity::Error)]);
        };
        check_stage(Stage::Resolve, "tls.unreachable");
        check_stage(Stage::Connect, "tls.unreachable");
        check_stage(Stage::Greeting, "tls.unreachable");
        check_stage(Stage::Ehlo, "tls.unreachable");
        check_stage(Stage::NoStartTls, "tls.no-starttls");
        check_stage(Stage::StartTlsRefused, "tls.handshake-failed");
        check_stage(Stage::Handshake, "tls.handshake-failed");
        let mut mute = sighting(&good);
        if let Outcome::Tls(handshake) = &mut mute.outcome {
            handshake.mute = Some("the server said nothing for 10 s".to_owned());
        }
        check(&pki, &mute, good.leaf(), &[("tls.mute", Severity::Error)]);
    }
}
