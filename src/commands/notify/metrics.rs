//! The metrics file: written by every run, never synced, always whole.

use super::{Ended, Lineages, Seen};
use crate::{
    commands::{Context, store_error},
    env::files::{self, Access},
    error::{Error, Result},
    model::{
        lineage::{State, Verify},
        metrics::{Facts, Failing, LineageFacts, MailFacts, write as write_facts},
    },
};

/// Writes the metrics of a run that ended.
///
/// The file's directory may be another program's, as node_exporter's is. It is never made, and not used when everybody
/// may write there.
///
/// # Errors
/// When the file or the record of runs cannot be written.
pub(super) fn write(
    context: &Context<'_>,
    ended: &Ended<'_>,
    lineages: &Lineages<'_>,
    mail: Option<MailFacts>,
) -> Result<()> {
    let now = context.now();
    let took = u64::try_from((now - ended.began).whole_milliseconds()).unwrap_or(0);
    let mut runs = context.store.load_runs();
    runs.note(ended.command, now, took, ended.exit_code.code());
    let saved = context.store.save_runs(&runs);
    let facts = Facts {
        lineages: &|| Box::new(lineages.iter().map(|seen| facts_of(&seen))),
        runs: &runs,
        mail,
        version: env!("CARGO_PKG_VERSION"),
    };
    let path = &context.config.notify.metrics_file;
    let is_ours = path.parent() == Some(context.config.state_directory.as_path());
    let written = match path.parent() {
        Some(directory) if !is_ours => files::check_shared_directory(directory),
        _ => Ok(()),
    };
    written
        .and_then(|()| files::replace_unsynced(path, Access::PUBLIC, |out| write_facts(out, &facts)))
        .map_err(|error| Error::failed(error.to_string()))?;
    saved.map_err(|error| store_error("the record of runs could not be written", &error))
}

fn facts_of<'a>(seen: &Seen<'a>) -> LineageFacts<'a> {
    let status = seen.status;
    LineageFacts {
        name: &status.name,
        state: status.state,
        generation: status.generation,
        not_after: status.not_after,
        renew_at: status.renew_at,
        revoked_at: status.revoked_at,
        due: status.due,
        verified: (status.verify == Verify::On).then_some(status.state == State::Verified),
        good: status.good && seen.error.is_none(),
        steps: &status.steps,
        failing: [&status.failure, &status.set_aside].map(|failure| {
            failure.as_ref().map(|failure| Failing {
                step: failure.step,
                count: failure.count,
                next_try: failure.next_try,
            })
        }),
        held_until: status.waiting.as_ref().map(|held| held.until),
    }
}
