//! The mail server's side of `undo`: configuration comes back, and ports that completed TLS still have to.

use super::{Context, asking, mail, sender_login, sni};
use crate::config::Certificate;
use crate::{
    config::Reload,
    error::{Error, Result},
    model::{
        endpoint::Endpoint,
        lineage::{Before, State, Verify},
        plan::FileChange,
    },
};
use std::collections::HashSet;

/// How Postfix fares after an undo.
#[derive(Default)]
pub struct Restored {
    /// What the operator should know.
    pub notes: Vec<String>,
    /// The files are back, but Postfix did not take them, or a port that should speak TLS with them does not.
    pub error: Option<Error>,
    /// Whether Postfix goes on with what it had: the reload is still to be done.
    pub is_pending: bool,
}

/// Has Postfix judge what `undo` is about to bring back.
///
/// # Errors
/// When Postfix would refuse it, with its words; nothing was written.
pub fn judge_restoring(context: &Context<'_>, changes: &[FileChange]) -> Result<Vec<String>> {
    if changes.is_empty() {
        // Records and timers come back also where Postfix cannot be looked at.
        return Ok(Vec::new());
    }
    match mail::inspect(context)? {
        Some(server) => mail::judge_restoring(context, &server, changes),
        None => Ok(Vec::new()),
    }
}

/// Puts configuration files back for `undo`, reloads, and looks whether ports that completed TLS still do.
///
/// # Errors
/// When a file cannot be written, or what came back is refused by Postfix.
pub fn restore_postfix(context: &Context<'_>, changes: &[FileChange]) -> Result<Restored> {
    // What is in place may be the broken one.
    let before = match mail::inspect(context) {
        Ok(Some(server)) => look_at(context, &mail::endpoints(&server))?,
        _ => Vec::new(),
    };
    mail::write(changes)?;
    let mut restored = Restored::default();
    if let Some(server) = mail::inspect(context)? {
        sender_login::settle(context, &server, changes)?;
    }
    let Some(server) = mail::inspect(context)?.filter(|_| context.config.postfix.reload != Reload::Never)
    else {
        return Ok(restored);
    };
    match mail::reload(context, &server) {
        Ok(()) => {}
        Err(mail::NotReloaded::NotRunning(error)) => {
            restored.notes.push(format!(
                "the files are as they were and count when Postfix is started: {error}"
            ));
            return Ok(restored);
        }
        Err(mail::NotReloaded::Refused(refused)) => {
            let message = "the files are as they were, but Postfix goes on with what the apply had brought";
            let error = Error {
                remedies: Vec::new(),
                ..Error::failed(message).cause(refused)
            };
            restored.error = Some(error.remedy("mend what Postfix says, then run `mailcert undo` again"));
            restored.is_pending = true;
            return Ok(restored);
        }
    }
    let completed = before.iter().filter(|was| was.leaf_sha256.is_some());
    let mut asked: Vec<Endpoint> = completed.map(|was| was.endpoint.clone()).collect();
    // The first connections after a reload prove little: what fails is asked once more.
    for _ in 0..2 {
        let now = look_at(context, &asked)?;
        asked.retain(|endpoint| {
            !now.iter()
                .any(|now| now.endpoint == *endpoint && now.leaf_sha256.is_some())
        });
    }
    let wanted = mail::endpoints(&server);
    let failure = "the last apply was taken back, but a port that completed TLS before does not now";
    for endpoint in asked {
        if wanted.contains(&endpoint) {
            let error = restored.error.take().unwrap_or_else(|| {
                Error::failed(failure).remedy("look at the mail log; `mailcert apply` goes forward again")
            });
            restored.error = Some(error.cause(endpoint.to_string()));
        } else {
            restored
                .notes
                .push(format!("{endpoint} offers no TLS, as before the apply"));
        }
    }
    Ok(restored)
}

/// Looks at endpoints once.
fn look_at(context: &Context<'_>, endpoints: &[Endpoint]) -> Result<Vec<Before>> {
    context.wait(asking::sight_endpoints(context, endpoints))?
}

/// Notes lineages that no port is to serve any more, after configuration was taken back: only their files are renewed.
///
/// # Errors
/// When a record cannot be read or saved.
pub fn forget_unserved(context: &Context<'_>) -> Result<()> {
    let server = mail::inspect(context)?;
    let in_sni_map: Vec<&Certificate> = sni::certificates(context).collect();
    let expected = context.wait(mail::expected(context, server.as_ref(), &[], &in_sni_map))?;
    let served: HashSet<&String> = expected.values().collect();
    for certificate in &context.config.certificates {
        let mut lineage = context.load(&certificate.name)?;
        let Some(deployment) = &mut lineage.deployment else {
            continue;
        };
        if deployment.verify == Verify::On && !served.contains(&certificate.name) {
            deployment.verify = Verify::Off;
            deployment.endpoints.clear();
            lineage.state = lineage.state.min(State::Deployed);
            context.save(&lineage)?;
        }
    }
    Ok(())
}
