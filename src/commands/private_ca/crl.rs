//! `ca crl`: the next CRL, signed and published.

use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;

use super::{Keys, Place, tell};
use crate::{
    ca::{
        CaError,
        authority::Authority,
        index::Published,
        making::ROOT_CRL_DAYS,
        revocation_list::{Freshness, freshness},
        settings::Signer,
    },
    commands::{Context, order::private::stored_passphrase},
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

/// Publishes CRLs of the configuration's CA that are due, where their keys can be opened without a person; what hinders it is
/// told once it is late.
pub fn keep_fresh(context: &Context<'_>) -> Vec<String> {
    let place = Place::of_config(&context.config);
    let authority = match Authority::open(&place.directory) {
        Ok(authority) => authority,
        Err(CaError::Missing(_)) => return Vec::new(),
        Err(error) => return vec![format!("the private CA's CRL was not looked at: {error}")],
    };
    let mut notes = Vec::new();
    for signer in authority.signers() {
        match renew_one(context, &authority, *signer) {
            Ok(published) => notes.extend(published.map(|published| {
                format!(
                    "the private CA's {} CRL was published, number {}, good until {}",
                    signer.name(),
                    published.number,
                    published.next_update.date()
                )
            })),
            Err(error) => notes.push(format!(
                "the private CA's next {} CRL is due, and was not published: {error}",
                signer.name()
            )),
        }
    }
    notes
}

fn renew_one(context: &Context<'_>, authority: &Authority, signer: Signer) -> Result<Option<Published>> {
    let now = context.now();
    let failed = |error: &_| tell("no CRL was published", error);
    let ledger = authority.read_ledger().map_err(|error| failed(&error))?;
    let state = ledger.crl(signer).map_or(Freshness::Expired, |last| {
        freshness(last.at, last.next_update, now)
    });
    if state == Freshness::Fresh {
        return Ok(None);
    }
    let is_late = matches!(state, Freshness::Late | Freshness::Expired);
    let unlocked = authority
        .is_encrypted(signer)
        .map_err(|error| failed(&error))
        .and_then(|is_encrypted| match is_encrypted {
            false => Ok(None),
            true => stored_passphrase(context).map(Some),
        })
        .and_then(|passphrase| {
            authority
                .unlock(signer, passphrase.as_ref())
                .map_err(|error| failed(&error))
        });
    match unlocked {
        Ok(unlocked) => authority
            .write(now)
            .and_then(|mut writer| writer.publish(&unlocked, days(authority, signer, None), now))
            .map(Some)
            .map_err(|error| failed(&error)),
        Err(error) if is_late => Err(error),
        // There is time for a person yet.
        Err(_) => Ok(None),
    }
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
