//! What was reached, in the record and in the log.

use time::format_description::well_known::Rfc3339;

use super::Context;
use crate::{
    env::log::Priority,
    model::lineage::{Lineage, Step},
};

/// Notes in the record that a step succeeded, and logs it in a line. The caller saves the record.
pub fn reached(context: &Context<'_>, lineage: &mut Lineage, step: Step) {
    lineage.steps.succeeded(step, context.now());
    let what = match step {
        Step::Deploy => "deployed",
        Step::Hook => "hooks ran",
        Step::Install => "installed",
        Step::Order => "issued",
        Step::Verify => "verified",
    };
    let generation = match step {
        Step::Order => lineage.newest_complete(),
        _ => lineage
            .generation
            .and_then(|number| Some((number, lineage.generations.get(&number)?))),
    };
    let generation = generation
        .map(|(number, generation)| {
            let until = generation.not_after.format(&Rfc3339).unwrap_or_default();
            format!(": generation {number}, valid until {until}")
        })
        .unwrap_or_default();
    let text = format!("{}: {what}{generation}", lineage.name);
    match step {
        Step::Order => context.progress.done(&text),
        _ => context.progress.event(Priority::Info, &text),
    }
}
