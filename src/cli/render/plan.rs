//! How plans, and the records to publish, look as text.

use std::fmt::Write as _;

use super::{Color, Render, Style, done_text};
use crate::{
    commands::{
        init::Prepared,
        outcome::{Action, Changes},
        records::{Records, State as RecordState},
    },
    error::{Error, ExitCode},
    model::plan::{Change, FirewallAction},
};

/// How many keys of a map are shown of each kind; all of them are in the JSON.
const SHOWN_KEYS: usize = 20;

impl Render for Changes {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        if self.changes.is_empty() && self.error().is_none() {
            text.push_str("nothing to change\n");
        }
        for change in &self.changes {
            text.push_str(&change_text(style, change, !self.applied));
        }
        for done in self.lineages.iter().filter(|done| done.action != Action::Nothing) {
            text.push_str(&done_text(style, done, false));
        }
        for note in &self.notes {
            let _ = writeln!(text, "{} {note}", style.paint(Color::Yellow, "note:"));
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }

    fn error(&self) -> Option<Error> {
        self.error
            .clone()
            .or_else(|| self.lineages.iter().find_map(|done| done.error.clone()))
    }
}

/// Prints a change: in full for a plan, in a line when it was made.
fn change_text(style: Style, change: &Change, in_full: bool) -> String {
    let bullet = style.paint(Color::Bold, "*");
    let mut text = String::new();
    let reasons = |text: &mut String, reasons: &[String]| {
        for reason in reasons.iter().flat_map(|reason| reason.lines()) {
            let _ = writeln!(text, "    {reason}");
        }
    };
    match change {
        Change::Certificate(change) => {
            let names: Vec<String> = change.identifiers.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "{bullet} certificate {}: {} from {}",
                change.lineage,
                names.join(", "),
                change.issuer
            );
            reasons(&mut text, std::slice::from_ref(&change.reason));
        }
        Change::File(change) => {
            let _ = writeln!(text, "{bullet} file {}", change.path.display());
            reasons(&mut text, &change.reasons);
            if in_full {
                for line in change.diff().lines() {
                    let color = match line.as_bytes().first() {
                        Some(b'+') => Some(Color::Green),
                        Some(b'-') => Some(Color::Red),
                        Some(b'@') => Some(Color::Cyan),
                        _ => None,
                    };
                    let line = color.map_or_else(|| line.to_owned(), |color| style.paint(color, line));
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        Change::Firewall(change) => {
            let verb = match change.action {
                FirewallAction::Close => "close",
                FirewallAction::Open => "open",
                FirewallAction::OpenForNow => "open for now",
            };
            let (what, rules) = (change.what(), change.rules.describe());
            let _ = writeln!(text, "{bullet} {} {verb} {what}, {rules}", change.manager);
            reasons(&mut text, std::slice::from_ref(&change.reason));
        }
        Change::Rrset(change) => {
            let _ = writeln!(
                text,
                "{bullet} records {} {} (zone {})",
                change.name, change.kind, change.zone
            );
            reasons(&mut text, std::slice::from_ref(&change.reason));
            for value in &change.remove {
                let line = format!("- {}. {} IN {} {value}", change.name, change.ttl, change.kind);
                let _ = writeln!(text, "{}", style.paint(Color::Red, &line));
            }
            for value in &change.add {
                let line = format!("+ {}. {} IN {} {value}", change.name, change.ttl, change.kind);
                let _ = writeln!(text, "{}", style.paint(Color::Green, &line));
            }
        }
        Change::Derived(change) => {
            let _ = writeln!(text, "{bullet} {} {}", change.what, change.path.display());
            reasons(&mut text, &[change.reason.to_owned()]);
            let lines = [
                ("-", Color::Red, &change.remove),
                ("+", Color::Green, &change.add),
            ];
            for (sign, color, lines) in lines {
                for line in lines.iter().take(SHOWN_KEYS) {
                    let _ = writeln!(text, "{}", style.paint(color, &format!("{sign} {line}")));
                }
                if let Some(more) = lines.len().checked_sub(SHOWN_KEYS).filter(|more| *more > 0) {
                    let _ = writeln!(text, "{}", style.paint(color, &format!("{sign} and {more} more")));
                }
            }
        }
        Change::SniMap(change) => {
            let _ = writeln!(text, "{bullet} SNI map {}", change.path.display());
            reasons(&mut text, std::slice::from_ref(&change.reason));
            let keys = [
                ("-", Color::Red, &change.remove),
                ("~", Color::Cyan, &change.renew),
                ("+", Color::Green, &change.add),
            ];
            for (sign, color, keys) in keys {
                for key in keys.iter().take(SHOWN_KEYS) {
                    let _ = writeln!(text, "{}", style.paint(color, &format!("{sign} {key}")));
                }
                if let Some(more) = keys.len().checked_sub(SHOWN_KEYS).filter(|more| *more > 0) {
                    let _ = writeln!(text, "{}", style.paint(color, &format!("{sign} and {more} more")));
                }
            }
        }
        Change::Timer(change) => {
            let _ = writeln!(text, "{bullet} timer {}", change.unit);
            reasons(&mut text, std::slice::from_ref(&change.reason));
        }
    }
    text
}

impl Render for Prepared {
    fn text(&self, style: Style) -> String {
        self.changes.text(style)
    }

    fn exit_code(&self) -> ExitCode {
        Render::exit_code(&self.changes)
    }

    fn error(&self) -> Option<Error> {
        self.changes.error()
    }
}

impl Render for Records {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for record in &self.records {
            let line = format!(
                "{}. {} IN {} {}",
                record.name, record.ttl, record.kind, record.data
            );
            let color = match record.state {
                RecordState::Present => Color::Green,
                RecordState::Differs | RecordState::Missing | RecordState::Unknown => Color::Yellow,
            };
            let state = style.paint(color, record.state.word());
            let _ = writeln!(
                text,
                "{}\n    {state}: {}",
                style.paint(Color::Bold, &line),
                record.reason
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "{} {note}", style.paint(Color::Yellow, "note:"));
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::Done
    }
}

/// Returns the records as a table, their text as a web form wants it: without quotes, in one piece.
pub fn records_table(records: &Records) -> String {
    let mut rows = vec![["NAME", "TYPE", "TTL", "STATE", "VALUE"].map(str::to_owned)];
    rows.extend(records.records.iter().map(|record| {
        [
            record.name.to_string(),
            record.kind.to_string(),
            record.ttl.to_string(),
            record.state.word().to_owned(),
            record.text.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, kind, ttl, state) = (width(0), width(1), width(2), width(3));
    let line = |row: &[String; 5]| {
        format!(
            "{:<name$}  {:<kind$}  {:>ttl$}  {:<state$}  {}\n",
            row[0], row[1], row[2], row[3], row[4]
        )
    };
    rows.iter().map(line).collect()
}
