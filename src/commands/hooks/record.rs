//! What became of each hook, in the lineage's record, on disk before anything else happens.

use super::{Scope, programs};
use crate::{
    commands::Context,
    config::{Certificate, Reload},
    error::Result,
    hook::run::Ended,
    model::lineage::{HookEvent, HookOutcome, HookRun, Lineage},
};

/// How much of what a hook said is kept in the record, in characters.
const MESSAGE_LIMIT: usize = 4 << 10;

/// Returns what of a lineage's hooks stands in the record when a generation is about to be put into service.
pub fn waiting(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    generation: u64,
    scope: Scope,
) -> Vec<HookRun> {
    // Images are being built then: nothing is in service that a hook could be for.
    if context.config.postfix.reload == Reload::Never {
        return Vec::new();
    }
    let before = lineage
        .deployment
        .as_ref()
        .filter(|before| before.generation == generation && scope == Scope::Unfinished)
        .map_or(&[][..], |before| &before.hooks);
    let lists = [
        (HookEvent::Deploy, &context.config.hooks.deploy),
        (HookEvent::Post, &context.config.hooks.post),
    ];
    let mut waiting: Vec<HookRun> = Vec::new();
    for (event, list) in lists {
        for one in programs(list, &certificate.name) {
            let is_this = |run: &&HookRun| run.event == event && run.hook == one.id;
            let done = before
                .iter()
                .find(is_this)
                .filter(|run| run.outcome == HookOutcome::Done);
            // One that stands twice in the configuration is run once, as certbot does it.
            if waiting.iter().any(|run| is_this(&run)) {
                continue;
            }
            waiting.push(done.cloned().unwrap_or_else(|| HookRun::waiting(event, one.id)));
        }
    }
    waiting
}

/// Returns whether a hook stands in the record and has not done its work.
pub(super) fn is_unfinished(lineage: &Lineage, event: HookEvent, id: &str) -> bool {
    let runs = lineage
        .deployment
        .as_ref()
        .map_or(&[][..], |deployment| &deployment.hooks);
    let known = runs.iter().find(|run| run.event == event && run.hook == id);
    known.is_some_and(|run| run.outcome != HookOutcome::Done)
}

pub(super) fn keep_end(
    context: &Context<'_>,
    lineage: &mut Lineage,
    event: HookEvent,
    id: &str,
    ended: &Ended,
) -> Result<()> {
    let (outcome, message) = match ended {
        Ended::Done { .. } => (HookOutcome::Done, None),
        Ended::Failed(reason) => (HookOutcome::Failed, Some(reason)),
        Ended::Later(reason) => (HookOutcome::Later, Some(reason)),
    };
    keep(context, lineage, event, id, outcome, message)
}

/// Keeps what became of a hook in the record, on disk. A run that put nothing into service has nothing to keep it with.
pub(super) fn keep(
    context: &Context<'_>,
    lineage: &mut Lineage,
    event: HookEvent,
    id: &str,
    outcome: HookOutcome,
    message: Option<&String>,
) -> Result<()> {
    let Some(deployment) = lineage
        .deployment
        .as_mut()
        .filter(|deployment| Some(deployment.generation) == lineage.generation)
    else {
        return Ok(());
    };
    let index = deployment
        .hooks
        .iter()
        .position(|run| run.event == event && run.hook == id);
    let run = match index.and_then(|index| deployment.hooks.get_mut(index)) {
        Some(run) => run,
        // One that succeeded though nothing was deployed has nothing to be remembered for.
        None if outcome == HookOutcome::Done => return Ok(()),
        None => {
            deployment.hooks.push(HookRun::waiting(event, id.to_owned()));
            match deployment.hooks.last_mut() {
                Some(run) => run,
                None => return Ok(()),
            }
        }
    };
    run.outcome = outcome;
    run.at = Some(context.now());
    run.message = message.map(|message| message.chars().take(MESSAGE_LIMIT).collect());
    context.save(lineage)
}
