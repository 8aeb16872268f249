//! `ca crl`: the next CRL, signed and published.

use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;

use super::{Keys, Place, tell};
use crate::{
    ca::{authority::Authority, index::Published, making::ROOT_CRL_DAYS, settings::Signer},
    env::{Env, progress::Progress},
    error::{Error, ExitCode, Result},
};

/// A CRL that was published.
#[derive(Clone, Debug, Serialize)]
pub struct Crl {
    /// By which key.
    pub by: Signer,
    /// Its number.
    pub number: u64,
    /// From when it is good.
    #[serde(with = "time::serde::rfc3339")]
    pub this_update: OffsetDateTime,
    /// When the next one is there at the latest.
    #[serde(with = "time::serde::rfc3339")]
    pub next_update: OffsetDateTime,
    /// Where it is, PEM.
    pub file: PathBuf,
}

impl Crl {
    /// Returns what there is to say about one.
    pub fn of(authority: &Authority, published: &Published) -> Self {
        Self {
            by: published.by,
            number: published.number,
            this_update: published.at,
            next_update: published.next_update,
            file: authority.crl_file(published.by),
        }
    }
}

/// The CRLs that were published.
#[derive(Debug, Serialize)]
pub struct Crls {
    /// One, or two with the root's.
    pub crls: Vec<Crl>,
}

impl Crls {
    /// Returns 0: what was not published is an error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Done
    }
}

/// Returns how long the CRL of a key is good, in days.
pub fn days(authority: &Authority, signer: Signer, asked: Option<u32>) -> u32 {
    let usual = match (signer, authority.settings.signer) {
        (Signer::Root, Signer::Issuing) => ROOT_CRL_DAYS.max(authority.settings.crl_days),
        _ => authority.settings.crl_days,
    };
    asked.unwrap_or(usual)
}

/// Publishes the next CRL of who signs certificates, or of the root.
///
/// # Errors
/// When the key cannot be used, or the CRL not be written.
pub fn run(
    env: &Env,
    progress: &Progress,
    place: &Place,
    keys: &mut Keys<'_>,
    signer: Option<Signer>,
    asked: Option<u32>,
) -> Result<Crls> {
    if asked == Some(0) {
        return Err(Error::usage("a CRL for 0 days is none"));
    }
    let authority = place.open()?;
    let signer = signer.unwrap_or(authority.settings.signer);
    let unlocked = keys.unlock(env, place, &authority, signer)?;
    let now = env.clock.now();
    progress.step("signing the CRL");
    let failed = |error: &_| tell("no CRL was published", error);
    let published = authority
        .write(now)
        .and_then(|mut writer| writer.publish(&unlocked, days(&authority, signer, asked), now))
        .map_err(|error| failed(&error))?;
    progress.clear();
    Ok(Crls {
        crls: vec![Crl::of(&authority, &published)],
    })
}
