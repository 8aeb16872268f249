//! Files of ours that are derived from others and that main.cf names: the table of relay clients, the trusted roots. They are made anew whenever what
//! they come from has changed, by `apply` and by every `renew`; not journalled, and never undone.

use super::{Context, mail, relay_clients, trust_bundle};
use crate::{
    config::ClientCa,
    error::{Error, Result},
    model::plan::DerivedChange,
    postfix::inspect::Instance,
};

/// Plans them.
///
/// # Errors
/// When what they come from cannot be read.
pub fn plan(context: &Context<'_>, server: &Instance) -> Result<Vec<DerivedChange>> {
    let table = relay_clients::wanted(context, server)?.change()?;
    let roots = trust_bundle::wanted(context, server)?.change(context)?;
    Ok(roots.into_iter().chain(table).collect())
}

/// Makes those that are behind.
///
/// # Errors
/// When one cannot be made; what is in use stays.
pub fn make(context: &Context<'_>, server: &Instance) -> Result<()> {
    let roots = trust_bundle::wanted(context, server)?;
    if roots.change(context)?.is_some() {
        roots.make(context)?;
    }
    let table = relay_clients::wanted(context, server)?;
    if table.change()?.is_some() {
        context.progress.step("making the table of relay clients");
        table.make(context, server)?;
    }
    Ok(())
}

/// Returns whether the configuration wants any of them: else Postfix need not be asked.
fn are_wanted(context: &Context<'_>) -> bool {
    let postfix = &context.config.postfix;
    postfix.manage
        && (postfix.client_ca == ClientCa::Ca
            || postfix.relay.is_wanted()
            || context.store.layout().relay_clients().exists())
}

/// Keeps those fresh that main.cf names; returns what was done, or why not. Processes of Postfix see a new file by themselves.
pub fn keep_fresh(context: &Context<'_>) -> Vec<String> {
    if !are_wanted(context) {
        return Vec::new();
    }
    let told = |error: Error| vec![format!("{error}")];
    match mail::inspect(context) {
        Ok(Some(server)) => {
            let mut done = trust_bundle::refresh(context, &server).unwrap_or_else(told);
            done.extend(relay_clients::refresh(context, &server).unwrap_or_else(told));
            done
        }
        Ok(None) => Vec::new(),
        Err(error) => told(error),
    }
}
