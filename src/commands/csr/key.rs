//! Which key a certificate is requested for.

use super::{Check, KeyChoice, PATIENCE, Request};
use crate::{
    commands::{Context, hex, store_error, tlsa},
    config::{Certificate, ReuseKey},
    env::progress::Progress,
    error::{Error, Result},
    model::{
        key::{KeyType, PrivateKey},
        lineage::Lineage,
    },
    store::requests::Request as Waiting,
};

/// The key of a request.
pub struct Chosen {
    /// The key.
    pub key: PrivateKey,
    /// Whether it was there already.
    pub reused: bool,
    /// Whether it is to wait in the state directory; the one in use is there anyway.
    pub waits: bool,
    /// The request that it waits in.
    pub number: Option<u64>,
    /// That request.
    pub der: Option<Vec<u8>>,
}

/// Chooses between the key of a request that waits, the key in use, and a new one.
///
/// # Errors
/// When keys cannot be read or made.
pub fn choose(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<Chosen> {
    let name = &certificate.name;
    let wanted = request.key.unwrap_or(certificate.key);
    let unread = |error| store_error(format!("the requests of {name} could not be read"), &error);
    let waiting = context.store.load_requests(name).map_err(unread)?;
    // A run that was killed may have left the request of a key that is in service by now.
    let is_open = |one: &Waiting| {
        let spki = hex(&one.key.public_key_sha256());
        let is_used = lineage
            .generations
            .values()
            .any(|known| known.spki_sha256 == spki);
        !is_used && lineage.compromise_of(&spki).is_none()
    };
    if let Some(answered) = waiting.iter().find(|one| !is_open(one)) {
        let unremoved = |error| {
            store_error(
                format!("an answered request of {name} could not be taken away"),
                &error,
            )
        };
        context
            .store
            .remove_requests(name, answered.number)
            .map_err(unremoved)?;
    }
    let newest = waiting.into_iter().find(is_open);
    match newest {
        Some(newest) if request.choice == KeyChoice::Waiting => {
            if newest.key.key_type() == wanted {
                return Ok(Chosen {
                    key: newest.key,
                    reused: true,
                    waits: true,
                    number: Some(newest.number),
                    der: newest.der,
                });
            }
            notes.push(format!(
                "the request that waits has a key of another kind ({}); it is kept until an answer is installed",
                newest.key.key_type().name()
            ));
        }
        Some(_) => {
            notes.push("the earlier request waits on: an answer to it can still be installed".to_owned());
        }
        None => {}
    }
    let in_use = key_in_use(context, lineage)?;
    let chosen = |key, reused| Chosen {
        key,
        reused,
        waits: !reused,
        number: None,
        der: None,
    };
    let may_be_kept = |key: &PrivateKey| {
        request.choice == KeyChoice::Waiting && (request.key.is_none() || key.key_type() == wanted)
    };
    let in_use = in_use.filter(may_be_kept);
    let in_use = match (certificate.reuse_key, in_use) {
        (ReuseKey::Always, Some(key)) => {
            notes.push("the key in use is asked for again: reuse_key is \"always\"".to_owned());
            return Ok(chosen(key, true));
        }
        (_, in_use) => in_use,
    };
    let key = generate(&context.progress, name, wanted)?;
    let (keep, note) = warn_of_tlsa(
        context,
        certificate,
        lineage,
        in_use.as_ref(),
        &key,
        request.check,
    )?;
    notes.extend(note);
    match (keep, in_use) {
        (true, Some(in_use)) => Ok(chosen(in_use, true)),
        _ => Ok(chosen(key, false)),
    }
}

/// Returns the key in use, unless somebody else may have it.
fn key_in_use(context: &Context<'_>, lineage: &Lineage) -> Result<Option<PrivateKey>> {
    let Some(number) = lineage.generation else {
        return Ok(None);
    };
    let pem = context
        .store
        .load_key(&lineage.name, number)
        .map_err(|error| store_error(format!("the key of {} could not be read", lineage.name), &error))?;
    let key = pem.and_then(|pem| PrivateKey::from_pem(pem.as_bytes()).ok());
    Ok(key.filter(|key| lineage.compromise_of(&hex(&key.public_key_sha256())).is_none()))
}

/// Returns whether a published TLSA record wants the key in use kept, and what to say about it. Nothing is refused here: a
/// request harms nobody, and `install` looks again.
fn warn_of_tlsa(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    in_use: Option<&PrivateKey>,
    generated: &PrivateKey,
    check: Check,
) -> Result<(bool, Option<String>)> {
    if check == Check::Nothing {
        return Ok((false, None));
    }
    let guarded = tlsa::guard(context, certificate, lineage, in_use, generated);
    let guarded = context.wait(async { tokio::time::timeout(PATIENCE, guarded).await })?;
    Ok(match guarded {
        Ok(Ok(tlsa::Choice::Generated)) => (false, None),
        Ok(Ok(tlsa::Choice::InUse(note))) => (true, Some(note)),
        Ok(Err(error)) => {
            let remedies = error.remedies.join("; ");
            (false, Some(format!("{error}; {remedies}")))
        }
        Err(_) => (
            false,
            Some("whether TLSA records name the key could not be found out in time".to_owned()),
        ),
    })
}

/// Makes a key.
///
/// # Errors
/// When the crypto provider fails.
pub fn generate(progress: &Progress, name: &str, key_type: KeyType) -> Result<PrivateKey> {
    progress.step(&format!("making a key ({})", key_type.name()));
    PrivateKey::generate(key_type)
        .map_err(|error| Error::failed(format!("no key could be made for {name}")).cause(error))
}
