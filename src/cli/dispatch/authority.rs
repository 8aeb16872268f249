//! `revoke` and `account`: from the command line to the command, with the yes that some of them need.

use std::path::Path;

use super::{Show, yes_needed};
use crate::{
    cli::{
        args::authority::{AccountCommand, At, ReasonKind, Revoke, Signer},
        ask::Asker,
    },
    commands::{Context, account, init::Ask as _, revoke},
    env::Env,
    error::{Error, ExitCode, Result},
    model::revocation::Reason,
};

/// Shows what would be revoked, asks, and revokes.
pub(super) fn revoke(env: &mut Env, args: &Revoke, path: &Path, shown: &Show) -> Result<ExitCode> {
    let mut asker = Asker::at_terminal(env);
    let context = Context::open(env, path, shown.progress.clone())?;
    let request = revoke::Request {
        lineage: args.lineage.clone(),
        which: match (&args.certificate, args.generation) {
            (Some(file), _) => revoke::Which::File(file.clone()),
            (None, Some(number)) => revoke::Which::Generation(number),
            (None, None) => revoke::Which::Live,
        },
        key: args.key.clone(),
        reason: match args.reason {
            ReasonKind::AffiliationChanged => Reason::AffiliationChanged,
            ReasonKind::CessationOfOperation => Reason::CessationOfOperation,
            ReasonKind::KeyCompromise => Reason::KeyCompromise,
            ReasonKind::Superseded => Reason::Superseded,
            ReasonKind::Unspecified => Reason::Unspecified,
        },
        by: args.by.map(|by| match by {
            Signer::Account => revoke::By::Account,
            Signer::CertificateKey => revoke::By::CertificateKey,
        }),
    };
    let prepared = revoke::prepare(&context, &request)?;
    shown.preview(env, &prepared);
    agree(
        asker.as_mut(),
        args.yes,
        "revoke",
        "Revoke it? This cannot be undone.",
    )?;
    Ok(shown.outcome(env, &revoke::carry_out(&context, prepared)?))
}

/// Does what is to be done with an account.
pub(super) fn account(
    env: &mut Env,
    command: &AccountCommand,
    path: &Path,
    shown: &Show,
) -> Result<ExitCode> {
    let mut asker = Asker::at_terminal(env);
    let context = Context::open(env, path, shown.progress.clone())?;
    let at = |at: &At| account::Request {
        directory: at.directory.clone(),
        ..account::Request::default()
    };
    let outcome = match command {
        AccountCommand::Show(args) => account::show(&context, &at(args))?,
        AccountCommand::Register(args) => {
            let request = account::Request {
                directory: args.at.directory.clone(),
                eab_key_id: args.eab_key_id.clone(),
                eab_hmac_key_file: args.eab_hmac_key_file.clone(),
                agree_to_terms: args.agree_to_terms,
            };
            account::register(&context, &request)?
        }
        AccountCommand::Rollover(args) => account::roll_over(&context, &at(args))?,
        AccountCommand::Deactivate(args) => {
            let request = at(&args.at);
            shown.preview(env, &account::ending(&context, &request)?);
            let question = "Deactivate the account? This cannot be undone.";
            agree(asker.as_mut(), args.yes, "account deactivate", question)?;
            account::deactivate(&context, &request)?
        }
    };
    Ok(shown.outcome(env, &outcome))
}

/// Asks for the yes that was not given on the command line.
fn agree(asker: Option<&mut Asker>, yes: bool, command: &str, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    let Some(asker) = asker else {
        return Err(yes_needed(command));
    };
    if asker.yes(question)? {
        Ok(())
    } else {
        Err(Error::usage("nothing was done: the answer was no"))
    }
}
