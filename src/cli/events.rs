//! What the log is told when a run ends: a line for each failure and for what still waits, and one for the whole run.
//!
//! What succeeded was logged when it did.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    commands::outcome::{Action, Done},
    env::log::Priority,
    error::{Error, Kind},
};

/// A line with its priority.
pub type Event = (Priority, String);

/// Returns the lines about a run.
pub fn of_run(lineages: &[Done], notes: &[String]) -> Vec<Event> {
    let mut events: Vec<Event> = lineages.iter().filter_map(of_lineage).collect();
    let notes = notes
        .iter()
        .map(|note| (Priority::Warning, format!("note: {note}")));
    events.extend(notes);
    events.push((Priority::Info, summary(lineages)));
    events
}

/// Returns a failure as a line of a log.
pub fn of_error(error: &Error) -> Event {
    let priority = match error.kind {
        Kind::NotYet => Priority::Warning,
        Kind::Failed | Kind::Usage => Priority::Error,
    };
    let mut text = error.to_string();
    for remedy in &error.remedies {
        text.push_str("; remedy: ");
        text.push_str(remedy);
    }
    if let Some(at) = error.retry_at {
        text.push_str(&format!("; again at {}", instant(at)));
    }
    (priority, text)
}

fn of_lineage(done: &Done) -> Option<Event> {
    let name = &done.status.name;
    let next = done
        .next_try
        .map(|at| format!("; next try {}", instant(at)))
        .unwrap_or_default();
    if let Some(error) = &done.error {
        let step = done.status.failure.as_ref().map(|failure| failure.step);
        let step = step.map(|step| format!(" at {step}")).unwrap_or_default();
        let told = Error {
            retry_at: None,
            ..error.clone()
        };
        let (priority, text) = of_error(&told);
        return Some((priority, format!("{name}: failed{step}: {text}{next}")));
    }
    if !done.status.good {
        let why = done
            .status
            .last_error
            .as_ref()
            .and_then(|error| error.lines().next());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let text = format!("{name}: {} and not as it should be{why}{next}", done.status.state);
        return Some((Priority::Warning, text));
    }
    (done.action == Action::Waiting).then(|| (Priority::Info, format!("{name}: waiting{next}")))
}

fn summary(lineages: &[Done]) -> String {
    let count = |action: Action, word: &str| {
        let n = lineages
            .iter()
            .filter(|done| done.action == action && done.error.is_none())
            .count();
        (n > 0).then(|| format!("{n} {word}"))
    };
    let failed = lineages.iter().filter(|done| done.error.is_some()).count();
    let parts = [
        count(Action::Issued, "issued"),
        count(Action::Renewed, "renewed"),
        count(Action::Installed, "installed"),
        count(Action::Deployed, "deployed"),
        count(Action::Waiting, "waiting"),
        (failed > 0).then(|| format!("{failed} failed")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let next = lineages
        .iter()
        .filter_map(|done| Some((done.status.renew_at?, &done.status.name)))
        .min();
    let next = next
        .map(|(at, name)| format!("; the next renewal is that of {name}, at {}", instant(at)))
        .unwrap_or_default();
    if parts.is_empty() {
        format!("nothing was due{next}")
    } else {
        format!("{}{next}", parts.join(", "))
    }
}

fn instant(at: OffsetDateTime) -> String {
    // To the second: a log is read by people.
    at.replace_nanosecond(0)
        .unwrap_or(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}
