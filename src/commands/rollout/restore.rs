//! The mail servers' side of `undo`: configuration comes back, and ports that completed TLS still have to.

use super::{Context, asking, dovecot, mail, sender_login, sni};
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
use std::{collections::HashSet, time::Duration};

/// How often a port that does not complete TLS is asked, and what is waited in between: a server that is reloaded twice in a row
/// takes seconds.
const ROUNDS: usize = 12;
const PAUSE: Duration = Duration::from_millis(500);

/// How the servers fare after an undo.
#[derive(Default)]
pub struct Restored {
    /// What the operator should know.
    pub notes: Vec<String>,
    /// The files are back, but a server did not take them, or a port that should speak TLS with them does not.
    pub error: Option<Error>,
    /// Whether a server goes on with what it had: the reload is still to be done.
    pub is_pending: bool,
}

/// Which servers an undo is about. One that was killed may have brought their files back, and no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concerned {
    /// Files of Dovecot were written.
    pub dovecot: bool,
    /// Files of Postfix were written.
    pub postfix: bool,
}

impl Concerned {
    /// Returns which servers these files are of.
    pub fn by(context: &Context<'_>, files: &[FileChange]) -> Self {
        Self {
            dovecot: files.iter().any(|file| dovecot::is_file(context, &file.path)),
            postfix: files
                .iter()
                .any(|file| mail::is_postfix_file(context, &file.path)),
        }
    }

    /// Returns whether any server is concerned.
    pub fn any(self) -> bool {
        self.dovecot || self.postfix
    }

    /// Returns whether one server is concerned by both.
    pub fn shares_a_server_with(self, other: Self) -> bool {
        self.dovecot && other.dovecot || self.postfix && other.postfix
    }

    /// Returns the endpoints of the servers that speak TLS now; what is in place may be broken.
    fn endpoints(self, context: &Context<'_>) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        if let Some(server) = mail::inspect(context).ok().flatten().filter(|_| self.postfix) {
            endpoints.extend(mail::endpoints(&server));
        }
        if let Some(instance) = dovecot::inspect(context).ok().flatten().filter(|_| self.dovecot) {
            endpoints.extend(dovecot::endpoints(&instance));
        }
        endpoints
    }
}

/// Has the servers judge what `undo` is about to bring back.
///
/// # Errors
/// When one would refuse it, with its words; nothing was written.
pub fn judge_restoring(context: &Context<'_>, changes: &[FileChange]) -> Result<Vec<String>> {
    let (of_dovecot, of_postfix): (Vec<FileChange>, Vec<FileChange>) = changes
        .iter()
        .cloned()
        .partition(|change| dovecot::is_file(context, &change.path));
    let mut notes = Vec::new();
    // Records and timers come back also where no server can be looked at.
    if !of_postfix.is_empty()
        && let Some(server) = mail::inspect(context)?
    {
        notes.extend(mail::judge_restoring(context, &server, &of_postfix)?);
    }
    if !of_dovecot.is_empty()
        && let Some(instance) = dovecot::inspect(context)?
    {
        notes.extend(dovecot::judge_restoring(&instance, &of_dovecot)?);
    }
    Ok(notes)
}

/// Puts configuration files back for `undo`, reloads, and looks whether ports that completed TLS still do.
///
/// # Errors
/// When a file cannot be written, or what came back is refused by its server.
pub fn restore_servers(
    context: &Context<'_>,
    changes: &[FileChange],
    concerned: Concerned,
) -> Result<Restored> {
    let before = look_at(context, &concerned.endpoints(context))?;
    mail::write(changes)?;
    let mut restored = Restored::default();
    let server = mail::inspect(context)?.filter(|_| concerned.postfix);
    if let Some(server) = &server {
        sender_login::settle(context, server, changes)?;
    }
    if context.config.postfix.reload == Reload::Never {
        return Ok(restored);
    }
    let mut is_reloaded = server.is_none_or(|server| restored.take(mail::reload(context, &server)));
    if let Some(instance) = dovecot::inspect(context)?.filter(|_| concerned.dovecot) {
        is_reloaded &= restored.take(dovecot::reload(context, &instance));
    }
    if !is_reloaded {
        return Ok(restored);
    }
    let completed = before.iter().filter(|was| was.leaf_sha256.is_some());
    let mut asked: Vec<Endpoint> = completed.map(|was| was.endpoint.clone()).collect();
    // The first connections after a reload prove little: what fails is asked again.
    for round in 0..ROUNDS {
        if asked.is_empty() {
            break;
        }
        if round > 0 {
            context.wait(async { tokio::time::sleep(PAUSE).await })?;
        }
        let now = look_at(context, &asked)?;
        asked.retain(|endpoint| {
            !now.iter()
                .any(|now| now.endpoint == *endpoint && now.leaf_sha256.is_some())
        });
    }
    let wanted = concerned.endpoints(context);
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

impl Restored {
    /// Takes down how a reload went; returns whether it was done.
    fn take(&mut self, reloaded: Result<(), mail::NotReloaded>) -> bool {
        match reloaded {
            Ok(()) => return true,
            Err(mail::NotReloaded::NotRunning(error)) => self.notes.push(format!(
                "the files are as they were and count when the server is started: {error}"
            )),
            Err(mail::NotReloaded::Refused(refused)) => {
                let message =
                    "the files are as they were, but a server goes on with what the apply had brought";
                let error = Error {
                    remedies: Vec::new(),
                    ..Error::failed(message).cause(refused)
                };
                self.error = Some(error.remedy("mend what it says, then run `mailcert undo` again"));
                self.is_pending = true;
            }
        }
        false
    }
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
