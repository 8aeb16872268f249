//! `renew --dry-run`: an order at the CA's staging directory, of which nothing stays.

use super::super::{
    Context, ca, order,
    outcome::{Action, Done, Run},
    status,
};
use crate::{
    config::{Acme, Issuer},
    error::Result,
    model::authority,
};

/// Runs a full order at the CA's staging directory, with a key of its own; saves and deploys nothing.
///
/// # Errors
/// When a name is unknown, or there is no ACME CA.
pub fn rehearse(context: &Context<'_>, names: &[String]) -> Result<Run> {
    let selected = context.selected(names)?;
    let mut notes = Vec::new();
    let is_all_private = selected
        .iter()
        .all(|certificate| certificate.issuer == Issuer::Ca);
    let acme = match is_all_private {
        true => None,
        false => Some(rehearsal_of(ca::configured(context)?, &mut notes)),
    };
    let mut lineages = Vec::new();
    for certificate in selected
        .into_iter()
        .filter(|certificate| certificate.issuer.is_asked_by_us())
    {
        let rehearsed = match (certificate.issuer, &acme) {
            (Issuer::Acme, Some(acme)) => {
                context
                    .progress
                    .step(&format!("{}: rehearsing at {}", certificate.name, acme.directory));
                context.wait(order::rehearse(context, acme, certificate))?
            }
            // Nothing is signed: every signature stays in the index for ever.
            _ => order::private::rehearse(context).map(|()| Vec::new()),
        };
        lineages.push(Done {
            action: if rehearsed.is_ok() {
                Action::Renewed
            } else {
                Action::Failed
            },
            status: status::describe(context, certificate, &context.load(&certificate.name)?),
            next_try: None,
            error: match rehearsed {
                Ok(said) => {
                    notes.extend(said);
                    None
                }
                Err(error) => Some(error),
            },
        });
    }
    context.progress.clear();
    Ok(Run {
        lineages,
        notes,
        dry_run: true,
    })
}

/// Returns the CA as a rehearsal asks it: at its staging directory, where it has one.
fn rehearsal_of(acme: &Acme, notes: &mut Vec<String>) -> Acme {
    let mut acme = acme.clone();
    match authority::by_directory(&acme.directory).and_then(|known| known.staging) {
        Some(staging) => staging.clone_into(&mut acme.directory),
        None => notes.push(format!(
            "{} has no staging directory that mailcert knows: this rehearsal spends real orders there",
            acme.directory
        )),
    }
    acme
}
