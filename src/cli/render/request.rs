//! How `csr` looks as text.

use std::fmt::Write as _;

use super::{Color, Render, Style};
use crate::{commands::csr::Requested, error::ExitCode, model::plan::printable_line};

impl Render for Requested {
    /// The request alone, or the files that it was written to.
    fn text(&self, _: Style) -> String {
        if self.files.is_empty() {
            return self.request.clone();
        }
        self.files
            .iter()
            .map(|path| format!("{}\n", path.display()))
            .collect()
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

/// Returns what there is to say about a request.
pub fn about(style: Style, requested: &Requested) -> String {
    let mut text = format!("{}\n", style.paint(Color::Bold, &requested.lineage));
    let mut row = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<9} {}", printable_line(value.as_bytes(), 1000));
    };
    let names: Vec<String> = requested
        .identifiers
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    let more = requested.identifiers.len().saturating_sub(names.len());
    row(
        "names",
        &match more {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        },
    );
    if !requested.subject.is_empty() {
        row("subject", &requested.subject);
    }
    let which = match (requested.key_reused, requested.waits) {
        (true, true) => ", that of the request which waits",
        (true, false) => ", the one in use",
        (false, _) => ", new",
    };
    row("key", &format!("{}{which}", requested.key));
    for note in &requested.notes {
        row("note", note);
    }
    row("next", &requested.next);
    text
}
