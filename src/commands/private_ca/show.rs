//! `ca show`: what the private CA is, what it signed, and what its operator should see to.

use std::path::PathBuf;

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::{Facts, Place, crl::Crl, revoke::find, tell};
use crate::{
    ca::{
        CaError,
        authority::Authority,
        index::{Issued, Ledger},
        profile::Profile,
        revocation_list::{Freshness, freshness},
        settings::Signer,
    },
    commands::Context,
    env::{Env, files},
    error::{ExitCode, Result},
    model::{
        certificate::Certificate,
        finding::{Finding, Severity},
        revocation::Reason,
    },
};

/// A CA that ends so soon is told: its certificates are cut off by then.
const ENDS_SOON: Duration = Duration::days(398);

/// The CA, and what it signed.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Its directory.
    pub directory: PathBuf,
    /// The root.
    pub root: Facts,
    /// The issuing intermediate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuing: Option<Facts>,
    /// What clients are given.
    pub root_file: PathBuf,
    /// Which names it may certify.
    pub constraints: String,
    /// Whether the key that signs certificates is under a passphrase; nothing when it is not there.
    pub encrypted: Option<bool>,
    /// Whether the root's key is there.
    pub root_key_present: bool,
    /// How many certificates it signed.
    pub n_issued: usize,
    /// How many of them are good now.
    pub n_valid: usize,
    /// How many were revoked.
    pub n_revoked: usize,
    /// Its CRLs.
    pub crls: Vec<Crl>,
    /// The certificates that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<One>,
    /// What its operator should see to.
    pub findings: Vec<Finding>,
}

/// A certificate that was signed.
#[derive(Debug, Serialize)]
pub struct One {
    /// The serial number.
    pub serial: String,
    /// The names.
    pub names: Vec<String>,
    /// What it is for; none for a CA's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// When it was signed.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// The last moment of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Since when it is revoked.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub revoked_at: Option<OffsetDateTime>,
    /// Why it is revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The certificate, PEM, when it alone was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// Which certificates are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// None.
    None,
    /// One, by its serial number, its file or a name.
    One(String),
}

impl Shown {
    /// Returns 3 when there is a finding of severity error.
    pub fn exit_code(&self) -> ExitCode {
        match self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
        {
            true => ExitCode::Findings,
            false => ExitCode::Done,
        }
    }
}

/// Shows the CA; needs no key.
///
/// # Errors
/// When there is none, or its files cannot be read.
pub fn run(env: &Env, place: &Place, which: &Which) -> Result<Shown> {
    let authority = place.open()?;
    let now = env.clock.now();
    let ledger = authority
        .read_ledger()
        .map_err(|error| tell("the index could not be read", &error))?;
    let one = |issued: &Issued| {
        let revoked = ledger.revoked.get(&issued.serial);
        One {
            serial: issued.serial.to_string(),
            names: issued.names.clone(),
            profile: issued.profile,
            issued_at: issued.at,
            not_after: issued.not_after,
            revoked_at: revoked.map(|revoked| revoked.at),
            reason: revoked.map(|revoked| revoked.reason),
            certificate: None,
        }
    };
    let certificates = match which {
        Which::None => Vec::new(),
        Which::All => ledger.issued.iter().map(one).collect(),
        Which::One(what) => {
            let issued = find(&authority, what)?;
            let mut found = one(&issued);
            found.certificate = Some(pem_of(&authority, &issued)?);
            vec![found]
        }
    };
    let is_valid = |issued: &&Issued| issued.not_after > now && !ledger.revoked.contains_key(&issued.serial);
    let signer = authority.settings.signer;
    Ok(Shown {
        directory: authority.layout.directory().to_owned(),
        root: Facts::from(&authority.root),
        issuing: authority.issuing.as_ref().map(Facts::from),
        root_file: authority.layout.root_certificate(),
        constraints: authority.settings.constraints.to_string(),
        encrypted: authority.is_encrypted(signer).ok(),
        root_key_present: authority.key_file(Signer::Root).exists(),
        n_issued: ledger.issued.len(),
        n_valid: ledger.issued.iter().filter(is_valid).count(),
        n_revoked: ledger.revoked.len(),
        crls: authority
            .signers()
            .iter()
            .filter_map(|signer| Some(Crl::of(&authority, ledger.crl(*signer)?)))
            .collect(),
        certificates,
        findings: judge(&authority, &ledger, now),
    })
}

/// Returns the PEM of a certificate, and of the intermediate behind it.
fn pem_of(authority: &Authority, issued: &Issued) -> Result<String> {
    let failed = |error: &_| tell("the certificate could not be read", error);
    let pem = files::read_part(&authority.layout.issued(), issued.offset, issued.length)
        .map_err(|error| failed(&error.into()))?;
    let mut text = String::from_utf8_lossy(&pem).into_owned();
    if issued.by == Signer::Issuing {
        text.extend(authority.intermediates().iter().map(Certificate::to_pem));
    }
    Ok(text)
}

/// Looks at the CA of a configuration, where there is one; for `check`.
pub fn check(context: &Context<'_>) -> Vec<Finding> {
    let place = Place::of_config(&context.config);
    let looked = Authority::open(&place.directory).and_then(|authority| {
        let ledger = authority.read_ledger()?;
        Ok(judge(&authority, &ledger, context.now()))
    });
    match looked {
        Ok(findings) => findings,
        Err(CaError::Missing(_)) => Vec::new(),
        Err(error) => {
            let told = tell("", &error);
            let subject = place.directory.display().to_string();
            let finding = Finding::new(Severity::Error, "ca.unreadable", subject, error.to_string());
            vec![finding.remedy(told.remedies.join("\n"))]
        }
    }
}

/// Returns what the operator of a CA should see to.
pub fn judge(authority: &Authority, ledger: &Ledger, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subject = &authority.signing_certificate().subject;
    for signer in authority.signers() {
        let again = match (signer, authority.settings.signer) {
            (Signer::Root, Signer::Issuing) => "bring the root's key, then `mailcert ca crl --root`",
            _ => {
                "`mailcert ca crl` publishes the next one; `mailcert renew` does it by itself where it can open the key"
            }
        };
        let file = authority.crl_file(*signer).display().to_string();
        let finding = |severity, id, evidence: String| {
            Finding::new(severity, id, &file, evidence)
                .remedy(again)
                .reference("RFC 5280, 5.1.2.5")
        };
        let Some(last) = ledger.crl(*signer) else {
            findings.push(finding(
                Severity::Error,
                "ca.crl-expired",
                "no CRL was published: who checks one refuses every certificate".to_owned(),
            ));
            continue;
        };
        let until = last.next_update.date();
        match freshness(last.at, last.next_update, now) {
            Freshness::Expired => findings.push(finding(
                Severity::Error,
                "ca.crl-expired",
                format!("the CRL was good until {until}: who checks it refuses every certificate"),
            )),
            Freshness::Late => findings.push(finding(
                Severity::Warning,
                "ca.crl-expires-soon",
                format!("the CRL is good until {until}: the next one should be there by now"),
            )),
            Freshness::Due | Freshness::Fresh => {}
        }
    }
    let left = authority.signing_certificate().not_after - now;
    if left < ENDS_SOON {
        let severity = match left < Duration::ZERO {
            true => Severity::Error,
            false => Severity::Warning,
        };
        let evidence = format!(
            "the CA's certificate is good until {}: what it signs ends then",
            authority.signing_certificate().not_after.date()
        );
        findings.push(
            Finding::new(severity, "ca.expires-soon", subject, evidence)
                .remedy("make the next CA in another directory, and give its root to clients in time"),
        );
    }
    if findings.is_empty() {
        let evidence = match ledger.crl(authority.settings.signer) {
            Some(last) => format!("its CRL is good until {}", last.next_update.date()),
            None => String::new(),
        };
        findings.push(Finding::new(Severity::Ok, "ca.ok", subject, evidence));
    }
    findings
}
