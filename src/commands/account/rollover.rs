//! `account rollover`: another key for the same account. The new key is on disk before the CA is asked.

use super::{Action, Outcome, Request, acme_of, describe, existing, file, keys, session_of};
use crate::{
    acme::{
        AcmeError,
        account::{AccountRecord, rollover::Settled},
        directory::Directory,
        http::Http,
    },
    commands::{Context, ca},
    config::Acme,
    error::{Error, Result},
};

/// Changes the account's key, or finishes a change that an earlier run began.
///
/// # Errors
/// When there is no account, or the CA refuses. When its answer did not come, both keys stay on disk, and the next run finds
/// out which of them the CA has.
pub fn roll_over(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    let _lock = context.lock("account rollover")?;
    let acme = acme_of(context, request)?;
    let rolled = context.wait(async {
        let (http, directory) = ca::reach(context, &acme).await?;
        let told = |error: &AcmeError| {
            let what = format!("the account at {} has no new key", acme.directory);
            ca::failure(&what, error)
        };
        let mut record = existing(context, &acme)?;
        let mut notes = Vec::new();
        let settled = keys::settle(&http, &directory, &mut record).await;
        let settled = settled.map_err(|error| undecided(&error))?;
        if settled == Settled::Changed {
            file::save(context, &record)?;
            notes.push("the change that an earlier run began is finished".to_owned());
        } else {
            change(context, &acme, &http, &directory, &mut record, Next::New).await?;
        }
        let session = session_of(context, &acme, http, directory, record).await?;
        // Asked with the new key: that it is the account's is seen, not believed.
        let object = session.look().await.map_err(|error| told(&error))?;
        notes.push(
            "the account's URL is the same; a web server that answers http-01 by the account's thumbprint needs the new one"
                .to_owned(),
        );
        Ok(Outcome {
            action: Action::RolledOver,
            account: describe(context, &session, Some(&object))?,
            notes,
        })
    });
    context.progress.clear();
    rolled?
}

/// Which key an account is to have.
pub enum Next {
    /// A new one of ours.
    New,
    /// This one, PKCS#8 DER: another client's.
    This(Vec<u8>),
}

/// Has the CA take another key for the account. The new key is on disk before the CA is asked, and the old one until the CA's
/// answer is.
///
/// # Errors
/// When the CA does not know the account, or refuses: the old key stays in use then. When its answer did not come, both keys
/// stay on disk.
pub async fn change(
    context: &Context<'_>,
    acme: &Acme,
    http: &Http,
    directory: &Directory,
    record: &mut AccountRecord,
    next: Next,
) -> Result<()> {
    let told = |error: &AcmeError| {
        let what = format!("the account at {} has no new key", acme.directory);
        ca::failure(&what, error)
    };
    if !directory.can_change_keys() {
        return Err(told(&AcmeError::Unsupported(
            "another key for an account (keyChange)",
        )));
    }
    // Found before a new key is proposed: a key that nobody knows is changed to nothing.
    let session = session_of(context, acme, http.clone(), directory.clone(), record.clone()).await?;
    record.url = Some(session.account_url().to_owned());
    match next {
        Next::New => record.propose_key().map_err(|error| told(&error))?,
        Next::This(key) => record.propose_this(key),
    }
    file::save(context, record)?;
    context.progress.step("asking the CA to take the new account key");
    let session = session_of(context, acme, http.clone(), directory.clone(), record.clone()).await?;
    match session.change_key().await {
        Ok(()) => {}
        Err(error) if is_refusal(&error) => {
            record.withdraw_key();
            file::save(context, record)?;
            return Err(told(&error).cause("the old key stays in use"));
        }
        Err(error) => return Err(undecided(&error)),
    }
    record.adopt_key();
    file::save(context, record)
}

/// Returns whether the CA has certainly not made the change.
fn is_refusal(error: &AcmeError) -> bool {
    match error {
        AcmeError::Deactivated(_) | AcmeError::AccountDoesNotExist(_) | AcmeError::Unsupported(_) => true,
        // 409: the key is somebody's already, our own account's after an answer that was lost, perhaps.
        AcmeError::Problem { status, .. } | AcmeError::Status { status, .. } => {
            (400..500).contains(status) && *status != 409
        }
        _ => false,
    }
}

/// Tells that nobody knows yet which key the CA has.
fn undecided(error: &AcmeError) -> Error {
    ca::failure("it is not known whether the CA has taken the new account key", error)
        .cause("both keys are kept")
        .remedy("run `mailcert account rollover` again: it finds out which of them the CA has, and goes on from there")
}
