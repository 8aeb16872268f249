//! `deploy`: puts the newest generation into service again, or an older one, and verifies it.

use super::{
    Context,
    outcome::{Action, Run},
    renew::{self, Configuration},
    store_error, tlsa,
};
use crate::{
    config::Certificate,
    error::{Error, Result},
    model::certificate::Chain,
};

/// Deploys these lineages (all of them when none is named), or goes back to a generation of one.
///
/// # Errors
/// When the lock is held, a name or generation is unknown, or the generation has expired.
pub fn run(context: &Context<'_>, names: &[String], generation: Option<u64>) -> Result<Run> {
    let _lock = context.lock("deploy")?;
    let selected = context.selected(names)?;
    if generation.is_some() && selected.len() != 1 {
        return Err(Error::usage("--generation goes with exactly one lineage"));
    }
    let mut works = Vec::new();
    for certificate in selected {
        let lineage = context.load(&certificate.name)?;
        let known: Vec<String> = lineage.generations.keys().map(u64::to_string).collect();
        let number = match generation {
            None => lineage.newest_complete().map(|(number, _)| number),
            Some(number) => Some(number),
        };
        let Some(number) = number else {
            return Err(
                Error::failed(format!("{} has no certificate yet", certificate.name))
                    .remedy(format!("get one by `mailcert issue {}`", certificate.name)),
            );
        };
        match lineage.generations.get(&number) {
            None => {
                return Err(
                    Error::usage(format!("{} has no generation {number}", certificate.name))
                        .cause(format!("the generations on disk are: {}", known.join(", "))),
                );
            }
            Some(old) if old.not_after <= context.now() => {
                return Err(Error::failed(format!(
                    "generation {number} of {} is not deployed",
                    certificate.name
                ))
                .cause(format!("its certificate expired on {}", old.not_after.date())));
            }
            Some(old) if generation.is_some() && lineage.revocation_of(old).is_some() => {
                return Err(Error::failed(format!(
                    "generation {number} of {} is not deployed",
                    certificate.name
                ))
                .cause("its certificate was revoked")
                .remedy(format!("get a new one by `mailcert renew {}`", certificate.name)));
            }
            Some(_) if generation.is_some() => {
                context.wait(keep_dane(context, certificate, number))??;
                works.push(renew::deploying(certificate, lineage, number, Action::Deployed));
            }
            Some(_) => works.push(renew::deploying(certificate, lineage, number, Action::Deployed)),
        }
    }
    Ok(renew::carry_out(context, works, Configuration::Leave))
}

/// Refuses an older generation whose key the published TLSA records no longer name.
async fn keep_dane(context: &Context<'_>, certificate: &Certificate, number: u64) -> Result<()> {
    let unread = |error| {
        store_error(
            format!("generation {number} of {} could not be read", certificate.name),
            &error,
        )
    };
    let pem = context
        .store
        .load_fullchain(&certificate.name, number)
        .map_err(unread)?;
    let chain = Chain::from_pem(pem.as_bytes()).map_err(|error| {
        Error::failed(format!(
            "generation {number} of {} cannot be used",
            certificate.name
        ))
        .cause(error)
    })?;
    tlsa::refuse_unpublished(context, certificate, &chain).await
}
