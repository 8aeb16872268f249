//! `undo`: takes the last apply that changed something back, byte for byte.
//!
//! Issued certificates stay. A file or RRset that is no longer what the apply wrote is not touched unless forced: the
//! difference is shown instead.

use super::{Context, dns as dns_gate, firewall, import, mail, outcome::Changes, rollout, store_error};
use crate::{
    env::files,
    error::{Error, ExitCode, Result},
    model::plan::{Change, FileChange, FirewallChange, Plan, TimerChange},
    store::journal::{Entry, Status},
    timer,
};

/// Whether later edits are overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaterEdits {
    /// They are lost; typed by a person as `--force`.
    Overwrite,
    /// They refuse the undo.
    Refuse,
}

/// No configuration file is larger, in bytes.
const LIMIT: u64 = 16 << 20;

/// Takes the last apply back.
///
/// # Errors
/// When there were later edits, a file cannot be written, the configuration that would come back is broken, or the DNS
/// server refuses.
pub fn run(context: &Context<'_>, later_edits: LaterEdits) -> Result<Changes> {
    let _lock = context.lock("undo")?;
    let journal = |error| store_error("the journal could not be used", &error);
    let Some(last) = context.store.last_entry().map_err(journal)? else {
        return Ok(Changes {
            applied: true,
            ..Changes::planned(Plan::default(), ExitCode::Done)
        });
    };
    let mut killed: Vec<Entry> = Vec::new();
    while let Some(before) = context
        .store
        .killed_before(killed.last().unwrap_or(&last))
        .filter(|before| is_finished_by(context, before, &last))
    {
        killed.push(before);
    }
    let written = killed.iter().rev().chain([&last]);
    let entry = Entry {
        files: joined(written.flat_map(|entry| &entry.files)),
        ..last.clone()
    };
    let files = files_to_restore(&entry, later_edits)?;
    let mut rrsets: Vec<_> = entry
        .rrsets
        .iter()
        .rev()
        .map(crate::model::plan::RrsetChange::inverse)
        .collect();
    if !rrsets.is_empty() {
        rrsets = context.wait(dns_gate::still_as_written(context, rrsets, later_edits))??;
    }
    let of_servers: Vec<FileChange> = files
        .iter()
        .filter(|file| mail::is_server_file(context, &file.path))
        .cloned()
        .collect();
    let mut notes = Vec::new();
    if later_edits == LaterEdits::Refuse {
        let judged = rollout::judge_restoring(context, &of_servers);
        notes.extend(judged.map_err(|error| {
            error.remedy("`mailcert undo --force` brings the old content back all the same")
        })?);
    }
    if let Some(imported) = &entry.import {
        // First: the CA has the last word on the account, and the configuration says how it is reached.
        let is_forced = later_edits == LaterEdits::Overwrite;
        notes.extend(import::take_back(context, imported, is_forced)?);
    }
    for file in &files {
        context.progress.done(file.diff().trim_end());
    }
    let mut changes: Vec<Change> = Vec::new();
    // A timer that the apply brought goes with its files; one whose files it only changed is read anew afterwards.
    let timer_was_new = files
        .iter()
        .any(|file| file.after.is_none() && file.path.ends_with(timer::UNIT));
    let failed = |error| Error::failed("the timer could not be switched").cause(error);
    if let (Some(timer), true) = (&entry.timer, timer_was_new) {
        timer::disable(context.env).map_err(failed)?;
        changes.push(Change::Timer(TimerChange {
            unit: timer.unit.clone(),
            reason: "undo: disabled".to_owned(),
        }));
    }
    for file in files.iter().filter(|file| !of_servers.contains(file)) {
        restore(file)?;
    }
    if entry.timer.is_some() && !timer_was_new {
        timer::enable(context.env).map_err(failed)?;
    }
    let mut error = None;
    let mut is_pending = false;
    let concerned = rollout::Concerned::by(context, &entry.files);
    if concerned.any() {
        let restored = rollout::restore_servers(context, &of_servers, concerned)?;
        notes.extend(restored.notes);
        error = restored.error;
        is_pending = restored.is_pending;
        rollout::forget_unserved(context)?;
    }
    changes.extend(files.into_iter().map(Change::File));
    for change in entry.firewall.iter().rev().map(FirewallChange::inverse) {
        firewall::carry_out(context, &change)?;
        changes.push(Change::Firewall(change));
    }
    for change in rrsets {
        notes.extend(context.wait(dns_gate::apply(context, &change))??);
        changes.push(Change::Rrset(change));
    }
    if !is_pending {
        // Else the next undo is still about this entry: the files are back, and the reload is left.
        for mut entry in [last].into_iter().chain(killed) {
            entry.status = Status::Undone;
            context.store.save_entry(&entry).map_err(journal)?;
        }
    }
    if !context.config.certificates.is_empty() && !of_servers.is_empty() {
        notes.push(
            "issued certificates stay; `renew` goes on renewing their files, and `apply` puts them back"
                .to_owned(),
        );
    }
    Ok(Changes {
        changes,
        notes,
        lineages: Vec::new(),
        error,
        when_pending: ExitCode::Done,
        applied: true,
    })
}

/// Returns whether an apply that was killed among the files of the servers was brought to its end by the next: half of what both
/// wrote is no configuration that ever was.
fn is_finished_by(context: &Context<'_>, killed: &Entry, last: &Entry) -> bool {
    let has_files_alone = killed.rrsets.is_empty()
        && killed.timer.is_none()
        && killed.firewall.is_empty()
        && killed.import.is_none();
    let of = |entry: &Entry| rollout::Concerned::by(context, &entry.files);
    has_files_alone && killed.command == last.command && of(killed).shares_a_server_with(of(last))
}

/// Returns one change for each file: from what was before the first to what is after the last.
fn joined<'a>(changes: impl Iterator<Item = &'a FileChange>) -> Vec<FileChange> {
    let mut joined: Vec<FileChange> = Vec::new();
    for change in changes {
        match joined.iter_mut().find(|known| known.path == change.path) {
            Some(known) => known.after.clone_from(&change.after),
            None => joined.push(change.clone()),
        }
    }
    joined
}

/// Returns the changes that bring the files back, last one first; those already back are left out.
fn files_to_restore(entry: &Entry, later_edits: LaterEdits) -> Result<Vec<FileChange>> {
    let mut changes = Vec::new();
    let mut refusal: Option<Error> = None;
    for written in entry.files.iter().rev() {
        let present = files::read_if_exists(&written.path, LIMIT)
            .map_err(|error| Error::failed("the last apply could not be taken back").cause(error))?;
        let mut change = written.inverse();
        if present == change.after {
            continue;
        }
        if present != change.before {
            let edits = FileChange {
                path: written.path.clone(),
                before: written.after.clone(),
                after: present.clone(),
                reasons: Vec::new(),
            };
            if later_edits == LaterEdits::Refuse {
                let error = refusal.unwrap_or_else(|| {
                    Error::failed("the last apply was not taken back: files were changed since")
                        .remedy("`mailcert undo --force` brings the old content back and loses these changes")
                });
                refusal = Some(error.cause(format!(
                    "{} was changed since:\n{}",
                    written.path.display(),
                    edits.diff()
                )));
                continue;
            }
            change.before = present;
        }
        changes.push(change);
    }
    refusal.map_or(Ok(changes), Err)
}

fn restore(change: &FileChange) -> Result<()> {
    let written = match &change.after {
        Some(bytes) => files::replace_config(&change.path, bytes).map(|_| ()),
        None => files::remove(&change.path),
    };
    written.map_err(|error| Error::failed("the last apply was not taken back whole").cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_applies_did_to_a_file_goes_back_in_one() {
        let change = |path: &str, before: Option<&str>, after: Option<&str>| FileChange {
            path: path.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
            reasons: Vec::new(),
        };
        let both = [
            change("/a", None, Some("1")),
            change("/b", Some("x"), Some("y")),
            change("/c", Some("m"), Some("n")),
            change("/a", Some("1"), Some("2")),
            change("/b", Some("x"), Some("z")),
        ];
        let expected = [
            change("/a", None, Some("2")),
            change("/b", Some("x"), Some("z")),
            change("/c", Some("m"), Some("n")),
        ];
        assert_eq!(joined(both.iter()), expected);
    }
}
