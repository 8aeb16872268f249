//! `ca revoke`: a certificate of the private CA is withdrawn, and the CRL says so.

use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;

use super::{Keys, Place, crl::Crl, tell};
use crate::{
    ca::{authority::Authority, certificate::Serial, index::Issued},
    env::{Env, files, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        certificate::{BUNDLE_LIMIT, Certificate, certificates_from_pem},
        revocation::Reason,
    },
};

/// What was done.
#[derive(Debug, Serialize)]
pub struct Revoked {
    /// The serial number.
    pub serial: Serial,
    /// The names.
    pub names: Vec<String>,
    /// Why.
    pub reason: Reason,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether it was revoked before.
    pub already: bool,
    /// The CRL that says so.
    pub crl: Crl,
}

impl Revoked {
    /// Returns 0: what was not revoked is an error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Done
    }
}

/// Finds the certificate that is meant: by its serial number, its file, or a name that only one has.
///
/// # Errors
/// Exit 2 when there is none, or it is not of this CA.
pub fn find(authority: &Authority, what: &str) -> Result<Issued> {
    let ledger = authority
        .read_ledger()
        .map_err(|error| tell("the index could not be read", &error))?;
    let unknown = |cause: String| {
        Error::usage(format!("there is no certificate `{}`", what.escape_debug()))
            .cause(cause)
            .remedy("`mailcert ca show --all` lists them; name one by its serial number or its file")
    };
    let path = PathBuf::from(what);
    if path.is_file() {
        let bytes = files::read(&path, BUNDLE_LIMIT as u64).map_err(|error| unknown(error.to_string()))?;
        let certificate = match bytes.starts_with(b"0") {
            true => Certificate::from_der(&bytes),
            false => certificates_from_pem(&bytes).map(|mut all| all.remove(0)),
        };
        let certificate = certificate.map_err(|error| unknown(error.to_string()))?;
        let is_ours = authority
            .signers()
            .iter()
            .any(|signer| certificate.may_be_issued_by(authority.certificate(*signer)));
        let serial = certificate
            .serial_hex()
            .parse::<Serial>()
            .ok()
            .filter(|_| is_ours);
        return serial
            .and_then(|serial| ledger.find(serial).cloned())
            .ok_or_else(|| unknown(format!("{} was issued by {}, not here", what, certificate.issuer)));
    }
    if let Some(found) = what.parse::<Serial>().ok().and_then(|serial| ledger.find(serial)) {
        return Ok(found.clone());
    }
    let is_live = |issued: &&Issued| !ledger.revoked.contains_key(&issued.serial);
    let has = |issued: &&Issued| issued.names.iter().any(|name| name.eq_ignore_ascii_case(what));
    let named: Vec<&Issued> = ledger.issued.iter().filter(has).filter(is_live).collect();
    match named.as_slice() {
        [] => Err(unknown(
            "it is no serial number that was issued here, no file, and no name of one that is not revoked"
                .to_owned(),
        )),
        [one] => Ok((*one).clone()),
        several => {
            let serials: Vec<String> = several.iter().map(|one| one.serial.to_string()).collect();
            Err(unknown(format!(
                "{} certificates have this name: {}",
                serials.len(),
                serials.join(", ")
            )))
        }
    }
}

/// Revokes a certificate and publishes the CRL.
///
/// # Errors
/// Exit 2 when there is no such certificate; exit 1 when something cannot be written.
pub fn run(
    env: &Env,
    progress: &Progress,
    place: &Place,
    keys: &mut Keys<'_>,
    what: &str,
    reason: Reason,
) -> Result<Revoked> {
    let authority = place.open()?;
    let issued = find(&authority, what)?;
    let unlocked = keys.unlock(env, place, &authority, issued.by)?;
    let now = env.clock.now();
    let failed = |error: &_| tell("it was not revoked", error);
    let mut writer = authority.write(now).map_err(|error| failed(&error))?;
    let ledger = writer.ledger().map_err(|error| failed(&error))?;
    let before = ledger.revoked.get(&issued.serial).cloned();
    if before.is_none() {
        writer
            .revoke(issued.serial, reason, now)
            .map_err(|error| failed(&error))?;
    }
    progress.step("signing the CRL");
    let days = super::crl::days(&authority, issued.by, None);
    let published = writer.publish(&unlocked, days, now).map_err(|error| {
        tell(
            "it is revoked, but the CRL that says so could not be published",
            &error,
        )
        .remedy("`mailcert ca crl` publishes it")
    })?;
    progress.clear();
    Ok(Revoked {
        serial: issued.serial,
        names: issued.names,
        reason: before.as_ref().map_or(reason, |before| before.reason),
        at: before.as_ref().map_or(now, |before| before.at),
        already: before.is_some(),
        crl: Crl::of(&authority, &published),
    })
}
