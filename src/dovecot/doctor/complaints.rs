//! What doveconf(1) says, as findings: warnings, and why it refuses a configuration, with file and line. Pure.

use std::path::Path;

use super::{
    Patient, error,
    renamed::{UPGRADING, gone, replacement},
    warning,
};
use crate::{
    dovecot::tree::Tree,
    model::{finding::Finding, plan::printable_line},
};

/// The longest line of Dovecot's that is told, in bytes.
const LINE_LIMIT: usize = 500;

/// How doveconf(1) begins what it says about a place.
const AT: &str = "Error in configuration file ";

/// Returns what a refused configuration needs, for what doveconf(1) said about it. `tree`: what could be read of the files.
pub fn refusal(main: &Path, message: &str, tree: Option<&Tree>) -> Finding {
    let lines: Vec<&str> = message
        .lines()
        .map(unprefixed)
        .filter(|line| !line.is_empty())
        .collect();
    let told = lines
        .iter()
        .find(|line| line.contains(AT))
        .or(lines.last())
        .copied()
        .unwrap_or_default();
    let (place, said) = located(told).unwrap_or_else(|| (main.display().to_string(), told));
    let said = without_secrets(said);
    let finding = |id, what: String| {
        error(
            id,
            place.clone(),
            format!("Dovecot refuses its configuration: {what}"),
        )
    };
    if said.contains("No matches") {
        return finding("dovecot.include-unmatched", "`!include` names a file that is not there".to_owned())
            .remedy("write `!include_try`, or name a file that is there; a Dovecot that runs goes on with what it had")
            .reference("doc.dovecot.org, Dovecot configuration file, Including config files");
    }
    let unknown = said
        .split("Unknown setting: ")
        .nth(1)
        .and_then(|name| name.split_whitespace().next());
    if let Some(name) = unknown
        && let Some(new) = replacement(name)
    {
        let others = tree
            .map(gone)
            .unwrap_or_default()
            .into_iter()
            .filter(|line| !line.starts_with(&format!("{name} is ")));
        let others: Vec<String> = others.collect();
        let mut evidence = format!("{name} is a setting of 2.3; in 2.4 it is {new}");
        if !others.is_empty() {
            evidence += &format!("; so are others of these files: {}", others.join("; "));
        }
        return finding("dovecot.setting-gone", evidence)
            .remedy("rewrite them; a Dovecot that runs goes on with what it had, and does not start again")
            .reference(UPGRADING);
    }
    if said.contains("dovecot_config_version") {
        return finding("dovecot.setting-gone", said)
            .remedy("begin dovecot.conf with dovecot_config_version and dovecot_storage_version, and rewrite what 2.3 had")
            .reference(UPGRADING);
    }
    finding("dovecot.refused", said)
        .remedy("mend what it says; a Dovecot that runs goes on with what it had, and does not start again")
        .reference("doveconf(1)")
}

/// Takes off who says it: `doveconf: Fatal: `.
fn unprefixed(line: &str) -> &str {
    let line = line.trim();
    let line = line.strip_prefix("doveconf: ").unwrap_or(line);
    ["Fatal: ", "Error: ", "Warning: "]
        .into_iter()
        .find_map(|word| line.strip_prefix(word))
        .unwrap_or(line)
}

/// Returns file and line, and what is wrong there: `… FILE line 6: Expecting '{'`, `… FILE: Missing '}' (section started at
/// FILE:5)`.
fn located(line: &str) -> Option<(String, &str)> {
    let (_, rest) = line.split_once(AT)?;
    let (place, said) = rest.split_once(": ")?;
    let started = said
        .rsplit_once("(section started at ")
        .map(|(_, at)| at.trim_end_matches(')'));
    let place = match (place.rsplit_once(" line "), started) {
        (Some((file, number)), _) => format!("{file}:{number}"),
        (None, Some(at)) => at.to_owned(),
        (None, None) => place.to_owned(),
    };
    Some((printable_line(place.as_bytes(), LINE_LIMIT), said))
}

/// Returns a line that is fit to be shown. With `<` before the name of a key, 2.4 says what is in the file.
fn without_secrets(said: &str) -> String {
    let end = said.find("-----BEGIN").unwrap_or(said.len());
    printable_line(&said.as_bytes()[..end], LINE_LIMIT)
}

impl Patient<'_> {
    /// What doveconf(1) warns about.
    pub(super) fn complaints(&self, findings: &mut Vec<Finding>) {
        for line in self.warnings {
            let said = unprefixed(line);
            // How to have a new file printed: that is for those who read its print.
            if said.is_empty() || said.starts_with("NOTE: ") {
                continue;
            }
            let obsolete = said
                .strip_prefix("Obsolete setting in ")
                .and_then(|rest| rest.split_once(": "));
            findings.push(match obsolete {
                Some((place, what)) => warning(
                    "dovecot.obsolete",
                    printable_line(place.as_bytes(), LINE_LIMIT),
                    without_secrets(what),
                )
                .remedy("write the new setting, or take the old one out; 2.4 refuses it")
                .reference("doveconf(1)"),
                None => warning(
                    "dovecot.warning",
                    self.main.display().to_string(),
                    without_secrets(said),
                )
                .remedy("mend what doveconf warns about")
                .reference("doveconf(1)"),
            });
        }
    }
}
