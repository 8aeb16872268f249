//! Certificates of the private CA: no network, no challenge; key and intent on disk first, as with any other CA.
//!
//! The CA is made when it is missing and has never signed anything for this host.

use super::{
    Job, Ordered,
    failure::{not_renewed, remember},
    generation::{adopt, describe, record, write_generation},
    is_for,
    key::{Unsaid, choose_key, key_access, save_key, unfinished_key},
    refused,
};
use crate::{
    ca::{
        CaError,
        authority::{Authority, Unlocked},
        certificate::Serial,
        name::AltName,
        profile::Profile,
        request::judge,
    },
    commands::{
        Context, passphrase,
        private_ca::{
            Place, init,
            sign::{Signing, Terms},
            tell,
        },
    },
    config::Certificate,
    env::{files, secret},
    error::{Error, Result},
    model::{
        certificate::{Certificate as X509, Chain, certificates_from_pem},
        key::PrivateKey,
        lineage::{Lineage, Order, Step},
    },
};

/// What the record has in the place of an ACME CA's directory.
pub const DIRECTORY: &str = "private-ca";

/// The CA, opened.
struct Opened {
    authority: Authority,
    unlocked: Unlocked,
}

/// Gets certificates of the private CA, one after the other.
pub(super) fn run<'a>(context: &Context<'_>, jobs: Vec<Job<'a>>) -> Vec<Ordered<'a>> {
    let mut notes = Vec::new();
    let opened = open(context, &jobs, &mut notes);
    let mut ordered: Vec<Ordered<'a>> = jobs
        .into_iter()
        .map(|job| match &opened {
            Ok(opened) => one(context, opened, job),
            Err(error) => refused(context, job, error),
        })
        .collect();
    if let Some(first) = ordered.first_mut() {
        first.notes.extend(notes);
    }
    ordered
}

/// Looks whether a renewal would find the CA and its key; for a rehearsal.
///
/// # Errors
/// When it would not.
pub fn rehearse(context: &Context<'_>) -> Result<()> {
    let place = Place::of_config(&context.config);
    unlock(context, place.open()?).map(|_| ())
}

fn open(context: &Context<'_>, jobs: &[Job<'_>], notes: &mut Vec<String>) -> Result<Opened> {
    let place = Place::of_config(&context.config);
    let authority = match Authority::open(&place.directory) {
        Ok(authority) => authority,
        Err(error @ CaError::Missing(_)) => {
            let is_ours = |job: &Job<'_>| {
                let mut generations = job.lineage.generations.values();
                generations.any(|generation| generation.directory.as_deref() == Some(DIRECTORY))
            };
            if jobs.iter().any(is_ours) {
                return Err(
                    Error::failed("the private CA is gone, and clients trust its root")
                        .cause(&error)
                        .remedy(format!("restore {} from a backup", place.directory.display()))
                        .remedy("or make another one, `mailcert ca init`, and give its root to every client"),
                );
            }
            make(context, &place, notes)?
        }
        Err(error) => return Err(tell("the private CA could not be read", &error)),
    };
    unlock(context, authority)
}

/// Makes the CA that a certificate of the configuration wants.
fn make(context: &Context<'_>, place: &Place, notes: &mut Vec<String>) -> Result<Authority> {
    let what = "the private CA's key";
    let passphrase = match &place.passphrase_file {
        Some(file) => Some(passphrase::read(context.env, what, secret::Place::File(file))?),
        None => None,
    };
    let request = init::Request {
        passphrase,
        ..init::Request::default()
    };
    let made = init::run(context.env, &context.progress, place, &request)?;
    notes.push(format!(
        "a private CA was made in {}: it certifies {}; give {} to clients",
        made.directory.display(),
        made.constraints,
        made.root_file.display()
    ));
    notes.extend(made.notes);
    place.open()
}

fn unlock(context: &Context<'_>, authority: Authority) -> Result<Opened> {
    let signer = authority.settings.signer;
    let failed = |error: &_| tell("the private CA could not be opened", error);
    let passphrase = match authority.is_encrypted(signer).map_err(|error| failed(&error))? {
        false => None,
        true => Some(stored_passphrase(context)?),
    };
    let unlocked = authority
        .unlock(signer, passphrase.as_ref())
        .map_err(|error| failed(&error))?;
    Ok(Opened { authority, unlocked })
}

/// Reads the passphrase where an unattended run finds it.
///
/// # Errors
/// Exit 2 when the configuration does not say where it is.
pub fn stored_passphrase(context: &Context<'_>) -> Result<crate::model::key::encrypted::Passphrase> {
    match &context.config.ca.passphrase_file {
        Some(file) => passphrase::read(context.env, "the private CA's key", secret::Place::File(file)),
        None => Err(Error::usage(
            "the private CA's key is under a passphrase, and nobody is there to type it",
        )
        .remedy("write it into a file that root alone can read, and name that by ca.passphrase_file")),
    }
}

fn one<'a>(context: &Context<'_>, opened: &Opened, job: Job<'a>) -> Ordered<'a> {
    let Job {
        certificate,
        mut lineage,
        reason,
        ..
    } = job;
    let mut notes = Vec::new();
    context.progress.step(&format!("{}: {reason}", certificate.name));
    let result = obtain(context, opened, certificate, &mut lineage, &mut notes).or_else(|error| {
        remember(context, certificate, &mut lineage, Step::Order, &error, None);
        context.save(&lineage).and(Err(not_renewed(&lineage, error)))
    });
    Ordered {
        certificate,
        lineage,
        result,
        notes,
    }
}

fn obtain(
    context: &Context<'_>,
    opened: &Opened,
    certificate: &Certificate,
    lineage: &mut Lineage,
    notes: &mut Vec<String>,
) -> Result<u64> {
    if let Some(number) = adopt(context, lineage)?
        && is_for(certificate, &lineage.generations, number)
    {
        return Ok(number);
    }
    let names = names_of(certificate)?;
    let failed = || Error::failed(format!("{}: nothing was signed", certificate.name));
    judge(&names, &opened.authority.settings.constraints).map_err(|error| {
        failed().cause(error).remedy(
            "take the name out of the certificate, or make another CA in another state_directory for these names",
        )
    })?;
    let access = key_access(certificate)?;
    let (key, order) = begin(context, certificate, lineage, access, notes)?;
    let now = context.now();
    let chain = match signed_before(opened, &key, &order, &names)? {
        Some(chain) => chain,
        None => {
            let terms = Terms {
                profile: match context.config.is_for_clients_alone(&certificate.name) {
                    true => Profile::Client,
                    false => Profile::Both,
                },
                days: None,
                subject: None,
            };
            let signing = Signing::new(&opened.authority, &opened.unlocked, &terms, now)?;
            let signed = signing.sign(&key.public_key_der(), &names)?;
            opened
                .authority
                .write(now)
                .and_then(|mut writer| writer.record(std::slice::from_ref(&signed), now))
                .map_err(|error| tell(&format!("{}: nothing was signed", certificate.name), &error))?;
            notes.extend(
                signing
                    .notes()
                    .into_iter()
                    .map(|note| format!("{}: {note}", certificate.name)),
            );
            chain_of(opened, &signed.pem)?
        }
    };
    let number = order.generation;
    let generation = describe(&chain, Some(DIRECTORY.to_owned()));
    write_generation(context, &certificate.name, number, &chain, &key.to_pem(), access)?;
    record(context, lineage, number, generation);
    context.save(lineage)?;
    Ok(number)
}

fn names_of(certificate: &Certificate) -> Result<Vec<AltName>> {
    let parsed = certificate.identifiers.iter().map(|identifier| {
        identifier
            .to_string()
            .parse()
            .map_err(|error| Error::failed(format!("{}: nothing was signed", certificate.name)).cause(error))
    });
    parsed.collect()
}

/// Returns key and intent of the signature that a run was killed in, or puts those of a new one on disk.
fn begin(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &mut Lineage,
    access: files::Access,
    notes: &mut Vec<String>,
) -> Result<(PrivateKey, Order)> {
    let mut identifiers = certificate.identifiers.clone();
    identifiers.sort();
    if let Some(order) = lineage.order.clone()
        && order.directory == DIRECTORY
        && order.identifiers == identifiers
        && let Some(key) = unfinished_key(context, certificate, order.generation)?
    {
        return Ok((key, order));
    }
    lineage.order = None;
    lineage.kept_orders.clear();
    let key = context.wait(choose_key(
        context,
        certificate,
        lineage,
        access,
        Unsaid::KeepKey,
        notes,
    ))??;
    let generation = context.store.next_number(lineage);
    save_key(context, certificate, generation, &key, access)?;
    let order = Order {
        generation,
        identifiers,
        directory: DIRECTORY.to_owned(),
        url: None,
        profile: None,
        replaces: None,
        started_at: context.now(),
    };
    lineage.order = Some(order.clone());
    context.save(lineage)?;
    Ok((key, order))
}

/// Returns what a run signed that was killed before the generation was complete: there is never a second one.
fn signed_before(
    opened: &Opened,
    key: &PrivateKey,
    order: &Order,
    names: &[AltName],
) -> Result<Option<Chain>> {
    let authority = &opened.authority;
    let failed = |error: &_| tell("the private CA's index could not be read", error);
    let ledger = authority.read_ledger().map_err(|error| failed(&error))?;
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort();
    let since = order.started_at.replace_nanosecond(0).unwrap_or(order.started_at);
    for issued in ledger.issued.iter().rev().take_while(|issued| issued.at >= since) {
        let mut found = issued.names.clone();
        found.sort();
        if found != names || ledger.revoked.contains_key::<Serial>(&issued.serial) {
            continue;
        }
        let pem = files::read_part(&authority.layout.issued(), issued.offset, issued.length)
            .map_err(|error| failed(&error.into()))?;
        let chain = chain_of(opened, &String::from_utf8_lossy(&pem))?;
        if chain.leaf.matches_key(&key.public_key_der()) {
            return Ok(Some(chain));
        }
    }
    Ok(None)
}

fn chain_of(opened: &Opened, pem: &str) -> Result<Chain> {
    let wrong = || Error::failed("the private CA's certificate could not be read back");
    let leaf = certificates_from_pem(pem.as_bytes())
        .map_err(|error| wrong().cause(error))?
        .into_iter()
        .next()
        .ok_or_else(wrong)?;
    let others: Vec<X509> = opened.authority.intermediates();
    Ok(Chain::of(leaf, others))
}
