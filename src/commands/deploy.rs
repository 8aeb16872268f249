//! `deploy`: puts the newest generation into service again, or an older one, and verifies it.
//!
//! Somebody who goes back to an older generation stays there until its renewal is due. One that the record does not know
//! but that is whole on disk, as after a record was restored from a backup, is taken up.

use super::{
    Context, heal, order,
    outcome::{Action, Run},
    renew::{self, Configuration, Work},
    tlsa,
};
use time::OffsetDateTime;

use crate::{
    config::Certificate,
    error::{Error, Result},
    model::{
        certificate::Chain,
        lineage::{Lineage, State},
    },
};

/// Deploys these lineages (all of them when none is named), or goes back to a generation of one.
///
/// # Errors
/// When the lock is held, a name or generation is unknown, or the generation has expired or is not whole on disk.
pub fn run(context: &Context<'_>, names: &[String], generation: Option<u64>) -> Result<Run> {
    let _lock = context.lock("deploy")?;
    let selected = context.selected(names)?;
    if generation.is_some() && selected.len() != 1 {
        return Err(Error::usage("--generation goes with exactly one lineage"));
    }
    let is_alone = selected.len() == 1;
    let (mut works, mut notes) = (Vec::new(), Vec::new());
    for certificate in selected {
        let lineage = heal::load(context, certificate)?;
        works.push(match generation {
            Some(number) => chosen(context, certificate, lineage, number)?,
            None => match newest(context, certificate, &lineage) {
                Ok(number) => {
                    notes.extend(gives_way(&lineage, number));
                    renew::deploying(certificate, lineage, number, Action::Deployed)
                }
                Err(error) if is_alone => return Err(error),
                // The others are not held back.
                Err(error) => renew::failing(certificate, lineage, error),
            },
        });
    }
    let mut run = renew::carry_out(context, works, Configuration::Leave);
    run.notes.extend(notes);
    Ok(run)
}

/// Tells that a generation which somebody went back to gives way to the newest.
fn gives_way(lineage: &Lineage, newest: u64) -> Option<String> {
    let older = lineage.generation.filter(|live| *live < newest)?;
    (lineage.state == State::Verified).then(|| {
        let name = &lineage.name;
        format!(
            "{name}: generation {newest}, the newest, takes the place of {older}; `mailcert deploy {name} --generation {older}` goes \
             back to it"
        )
    })
}

/// Chooses the newest generation.
fn newest(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> Result<u64> {
    let Some((number, generation)) = lineage.newest_complete() else {
        return Err(
            Error::failed(format!("{} has no certificate yet", certificate.name))
                .remedy(format!("get one by `mailcert issue {}`", certificate.name)),
        );
    };
    if !context.store.is_complete(&certificate.name, number) {
        return Err(not_whole(context, certificate, number));
    }
    not_expired(certificate, number, generation.not_after, context.now())?;
    Ok(number)
}

/// Goes back, or forward, to the generation that somebody has named.
fn chosen<'a>(
    context: &Context<'_>,
    certificate: &'a Certificate,
    mut lineage: Lineage,
    number: u64,
) -> Result<Work<'a>> {
    let name = &certificate.name;
    let is_known = lineage.generations.contains_key(&number);
    if !is_known && !context.store.is_complete(name, number) {
        let known: Vec<String> = lineage.generations.keys().map(u64::to_string).collect();
        let told = Error::usage(format!("{name} has no generation {number}"));
        return Err(match known.as_slice() {
            [] => told.remedy(format!("get one by `mailcert issue {name}`")),
            known => told.cause(format!("the generations on disk are: {}", known.join(", "))),
        });
    }
    let chain = usable(context, certificate, number)?;
    not_revoked(certificate, &lineage, number)?;
    context.wait(tlsa::refuse_unpublished(context, certificate, &chain))??;
    if !is_known {
        context.progress.done(&format!(
            "{name}: taking up generation {number}, which the record did not know"
        ));
        lineage.newest = lineage.newest.max(number);
        lineage.generations.insert(number, order::describe(&chain, None));
    }
    Ok(renew::deploying(certificate, lineage, number, Action::Deployed))
}

/// Returns the chain of a generation that can be put into service.
///
/// # Errors
/// When its files are missing, do not belong together, or are not valid now.
fn usable(context: &Context<'_>, certificate: &Certificate, number: u64) -> Result<Chain> {
    let Some(chain) = order::on_disk(context, &certificate.name, number)? else {
        return Err(not_whole(context, certificate, number));
    };
    not_expired(certificate, number, chain.leaf.not_after, context.now())?;
    Ok(chain)
}

fn not_expired(
    certificate: &Certificate,
    number: u64,
    not_after: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<()> {
    if not_after > now {
        return Ok(());
    }
    Err(refused(certificate, number).cause(format!("its certificate expired on {}", not_after.date())))
}

/// Refuses to go back to a certificate that was withdrawn.
fn not_revoked(certificate: &Certificate, lineage: &Lineage, number: u64) -> Result<()> {
    let generation = lineage.generations.get(&number);
    if generation.is_none_or(|generation| lineage.revocation_of(generation).is_none()) {
        return Ok(());
    }
    let remedy = format!("get a new one by `mailcert renew {}`", certificate.name);
    Err(refused(certificate, number)
        .cause("its certificate was revoked")
        .remedy(remedy))
}

fn not_whole(context: &Context<'_>, certificate: &Certificate, number: u64) -> Error {
    let name = &certificate.name;
    let directory = context.store.layout().generation(name, number);
    refused(certificate, number)
        .cause(format!(
            "files in {} are missing, empty, or do not belong together",
            directory.display()
        ))
        .remedy(format!(
            "`mailcert renew {name}` goes on with what is whole, or gets a new certificate"
        ))
}

fn refused(certificate: &Certificate, number: u64) -> Error {
    Error::failed(format!(
        "generation {number} of {} is not deployed",
        certificate.name
    ))
}
