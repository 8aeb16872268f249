//! What is seen of a run from outside, whoever started it: metrics, and mail about trouble that stays.
//!
//! It comes after the run, under the run's own lock, also when the run failed early. Nothing here fails a run: what does
//! not work is told in its notes, in the log and in the metrics, and is tried again by the next.

mod message;
mod metrics;
mod news;
mod sendmail;

use std::collections::HashMap;

use time::OffsetDateTime;

use super::{
    Context,
    outcome::{Changes, Done, Run},
    status::{self, LineageStatus},
};
use crate::{
    config::Certificate,
    error::{Error, ExitCode, Result},
};

/// The outcome of a command that gets, installs or takes back something.
pub trait Watched {
    /// Returns the lineages that it was about, as they are now.
    fn lineages(&self) -> &[Done];
    /// Returns how the program ends.
    fn ends_with(&self) -> ExitCode;
    /// Adds what the operator should know besides.
    fn note(&mut self, note: String);
}

impl Watched for Run {
    fn lineages(&self) -> &[Done] {
        &self.lineages
    }

    fn ends_with(&self) -> ExitCode {
        self.exit_code()
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}

impl Watched for Changes {
    fn lineages(&self) -> &[Done] {
        &self.lineages
    }

    fn ends_with(&self) -> ExitCode {
        self.exit_code()
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}

/// Runs a command under the lock, then writes the metrics and sends what mail there is to send.
///
/// What a person typed wrong says nothing about the certificates: the caller judges it before.
///
/// # Errors
/// Those of the command; exit 4 when another run has the lock, which writes metrics and mail itself.
pub fn watched<T: Watched>(
    context: &Context<'_>,
    command: &str,
    run: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let _lock = context.lock(command)?;
    let began = context.now();
    let mut result = run();
    let ended = Ended {
        command,
        began,
        exit_code: match &result {
            Ok(outcome) => outcome.ends_with(),
            Err(error) => error.exit_code(),
        },
        error: result.as_ref().err(),
    };
    let done = result.as_ref().map_or(&[][..], |outcome| outcome.lineages());
    let notes = tell(context, &ended, &Lineages::gather(context, done));
    for note in notes {
        match &mut result {
            Ok(outcome) => outcome.note(note),
            Err(error) => error.causes.push(note),
        }
    }
    result
}

/// A run that ended.
struct Ended<'a> {
    command: &'a str,
    began: OffsetDateTime,
    exit_code: ExitCode,
    /// Why it came to no lineage.
    error: Option<&'a Error>,
}

/// Returns what could not be told.
fn tell(context: &Context<'_>, ended: &Ended<'_>, lineages: &Lineages<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let mail = news::spread(context, ended, lineages, &mut notes);
    if let Err(error) = metrics::write(context, ended, lineages, mail) {
        notes.push(format!("the metrics could not be written: {error}"));
    }
    notes
}

/// Every lineage of the configuration, as it is after the run.
struct Lineages<'a> {
    /// Those that the run was not about; `None` for a record that cannot be read.
    others: HashMap<&'a str, Option<LineageStatus>>,
    done: HashMap<&'a str, &'a Done>,
    certificates: &'a [Certificate],
}

/// One lineage after the run.
struct Seen<'a> {
    certificate: &'a Certificate,
    status: &'a LineageStatus,
    /// What failed in this run.
    error: Option<&'a Error>,
}

impl<'a> Lineages<'a> {
    fn gather(context: &'a Context<'_>, done: &'a [Done]) -> Self {
        let certificates = context.config.certificates.as_slice();
        let done: HashMap<&str, &Done> = done.iter().map(|one| (one.status.name.as_str(), one)).collect();
        let load = |certificate: &'a Certificate| {
            let lineage = context.load(&certificate.name).ok();
            let status = lineage.map(|lineage| status::describe(context, certificate, &lineage));
            (certificate.name.as_str(), status)
        };
        let others = certificates
            .iter()
            .filter(|certificate| !done.contains_key(certificate.name.as_str()))
            .map(load)
            .collect();
        Self {
            others,
            done,
            certificates,
        }
    }

    /// Returns the lineages whose records could be read, in the order of the configuration.
    fn iter(&self) -> impl Iterator<Item = Seen<'_>> {
        self.certificates.iter().filter_map(|certificate| {
            let name = certificate.name.as_str();
            if let Some(done) = self.done.get(name) {
                return Some(Seen {
                    certificate,
                    status: &done.status,
                    error: done.error.as_ref(),
                });
            }
            Some(Seen {
                certificate,
                status: self.others.get(name)?.as_ref()?,
                error: None,
            })
        })
    }
}
