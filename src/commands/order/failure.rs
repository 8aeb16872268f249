//! Failures as the record keeps them, and as the operator is told of them.

use time::OffsetDateTime;

use crate::{
    commands::{Context, configuration_digest},
    config::Certificate,
    error::{Error, Kind},
    model::{
        lineage::{Failure, Lineage, Step},
        schedule::retry,
    },
};

/// How much of a failure is kept in the record, in characters.
const MESSAGE_LIMIT: usize = 16 << 10;
/// How many remedies are kept beside it.
const N_REMEDIES: usize = 8;
/// How much of each, in characters.
const REMEDY_LIMIT: usize = 1 << 10;

/// Keeps a failure in the lineage's record, with when to try again.
pub fn remember(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &mut Lineage,
    step: Step,
    error: &Error,
    retry_at: Option<OffsetDateTime>,
) {
    let now = context.now();
    lineage.steps.failed(step, now);
    let configuration = configuration_digest(&context.config, certificate);
    let earlier = lineage
        .failure_of(step.concern())
        .filter(|failure| failure.configuration == configuration);
    let count = earlier.map_or(0, |failure| failure.count).saturating_add(1);
    lineage.keep_failure(Failure {
        step,
        message: kept_message(error),
        count,
        at: now,
        retry_at: retry::retry_at(retry::Failed {
            now,
            count,
            asked: retry_at,
            not_after: lineage.live().map(|live| live.not_after),
        }),
        configuration,
        remedies: kept_remedies(error),
        not_yet: error.kind == Kind::NotYet,
    });
}

/// Keeps why nothing was ordered for a lineage, and returns how the operator is told.
pub fn refuse(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &mut Lineage,
    step: Step,
    error: &Error,
) -> Error {
    remember(context, certificate, lineage, step, error, error.retry_at);
    match context.save(lineage) {
        Ok(()) => not_renewed(lineage, error.clone()),
        Err(error) => error,
    }
}

/// Returns a failure and its causes, cut: the record that it is kept in must stay small enough to be read again, and a
/// CA's problem document may be as large as an answer.
fn kept_message(error: &Error) -> String {
    let whole = std::iter::once(&error.message)
        .chain(&error.causes)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    match whole.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

/// Returns what can be done, cut for the same reason.
fn kept_remedies(error: &Error) -> Vec<String> {
    let cut = |remedy: &String| remedy.chars().take(REMEDY_LIMIT).collect();
    error.remedies.iter().take(N_REMEDIES).map(cut).collect()
}

/// Says what the failure means for the lineage: what is in use, until when, and when it is tried again.
pub(super) fn not_renewed(lineage: &Lineage, error: Error) -> Error {
    let still = match lineage.live() {
        Some(live) => format!(
            "the certificate in use stays valid until {}",
            live.not_after.date()
        ),
        None => "nothing was changed".to_owned(),
    };
    let verb = if lineage.live().is_some() {
        "renewed"
    } else {
        "issued"
    };
    let mut told = Error {
        message: format!("{} not {verb}; {still}", lineage.name),
        ..error.clone()
    };
    told.causes.insert(0, error.message);
    match &lineage.failure {
        Some(failure) if error.kind == Kind::NotYet && error.remedies.is_empty() => told
            .remedy("nothing has to be done: the timer tries again when the time below has come")
            .retry_at(failure.retry_at),
        // `renew` alone does not make a server name the files of a first certificate.
        Some(failure) if lineage.live().is_none() => told
            .remedy(format!(
                "`mailcert apply` tries again now, and has it served; the next `renew` after the time below orders {} by itself",
                lineage.name
            ))
            .retry_at(failure.retry_at),
        Some(failure) => told
            .remedy(format!(
                "`mailcert renew --force {}` tries again now; the next `renew` after the time below does by itself, if it is due \
                 then",
                lineage.name
            ))
            .retry_at(failure.retry_at),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_failure_that_leaves_the_record_readable() {
        let short = Error::failed("a").cause("b").cause("c");
        assert_eq!(kept_message(&short), "a\nb\nc");
        let long = Error::failed("a").cause("é".repeat(1 << 20));
        let kept = kept_message(&long);
        assert_eq!(kept.chars().count(), MESSAGE_LIMIT + 1);
        assert!(kept.starts_with("a\né") && kept.ends_with('…'));
    }
}
