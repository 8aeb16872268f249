//! Outcomes as text or JSON. Color only on a terminal; everything from outside was made printable before it came here.

mod authority;
mod import;
pub mod plan;
pub mod private_ca;
mod probe;
pub mod request;
mod send_test;

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    args::{Format, Global},
    events::{self, Event},
};
use crate::{
    commands::{
        outcome::{Action, Done, Findings, Run},
        status::{LineageStatus, Status},
    },
    env::Env,
    error::{Error, ExitCode, Kind},
    model::{
        finding::{Finding, Severity},
        lineage::{State, Step},
        plan::{printable, printable_line},
    },
};

/// How text is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colored: bool,
    now: OffsetDateTime,
}

/// The few colors there are.
#[derive(Clone, Copy, Debug)]
enum Color {
    Bold,
    Cyan,
    Green,
    Red,
    Yellow,
}

impl Style {
    /// Returns one without colors, for before the command line is read and after it was carried out.
    pub fn plain(env: &Env) -> Self {
        Self {
            colored: false,
            now: env.clock.now(),
        }
    }

    /// Chooses color for a terminal that wants it.
    pub fn choose(env: &Env, global: &Global) -> Self {
        let terminal = env.streams.stdout_is_terminal && env.streams.stderr_is_terminal;
        let refused = global.no_color || env.var("NO_COLOR").is_some() || env.var("TERM") == Some("dumb");
        Self {
            colored: terminal && !refused && global.format != Format::Json,
            now: env.clock.now(),
        }
    }

    fn paint(self, color: Color, text: &str) -> String {
        if !self.colored {
            return text.to_owned();
        }
        let code = match color {
            Color::Bold => "1",
            Color::Cyan => "36",
            Color::Green => "32",
            Color::Red => "31",
            Color::Yellow => "33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Prints a date with how far away it is.
    fn date(self, at: OffsetDateTime) -> String {
        let away = at - self.now;
        let (days, hours, minutes) = (away.whole_days(), away.whole_hours(), away.whole_minutes());
        let date = format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute());
        let away = match (days, hours, minutes) {
            (2.., ..) => format!("in {days} days"),
            (_, 1.., _) => format!("in {hours} h"),
            (_, 0, 1..) => format!("in {minutes} min"),
            (_, 0, 0) => "now".to_owned(),
            (_, 0, _) => format!("{} min ago", -minutes),
            (..=-2, ..) => format!("{} days ago", -days),
            _ => format!("{} h ago", -hours),
        };
        format!("{date} ({away})")
    }
}

/// An outcome that knows how to be text.
pub trait Render: Serialize {
    /// Returns the text for stdout, with a final line feed unless it is empty.
    fn text(&self, style: Style) -> String;
    /// Returns how the program ends.
    fn exit_code(&self) -> ExitCode;
    /// Returns the failure that is told on stderr and in the JSON, if there is one.
    fn error(&self) -> Option<Error> {
        None
    }
    /// Returns what an unattended run leaves in the log instead of the text; empty for what is no such run.
    fn events(&self) -> Vec<Event> {
        Vec::new()
    }
    /// Returns whether something failed in this run, and not only in an earlier one.
    fn failed_now(&self) -> bool {
        true
    }
}

/// Returns the one JSON object of a result.
pub fn outcome_json(command: &str, outcome: &impl Render) -> String {
    let mut object = Map::new();
    object.insert("format".to_owned(), json!(1));
    object.insert("command".to_owned(), json!(command));
    object.insert("ok".to_owned(), json!(outcome.exit_code() == ExitCode::Done));
    if let Ok(Value::Object(fields)) = serde_json::to_value(outcome) {
        object.extend(fields);
    }
    if let Some(error) = outcome.error() {
        object.insert("error".to_owned(), error_value(&error));
    }
    Value::Object(object).to_string()
}

/// Returns the one JSON object of a failure.
pub fn error_json(command: &str, error: &Error) -> String {
    json!({"format": 1, "command": command, "ok": false, "error": error_value(error)}).to_string()
}

fn error_value(error: &Error) -> Value {
    let mut value = json!({"message": error.message, "causes": error.causes, "remedies": error.remedies});
    if let (Some(at), Value::Object(object)) = (error.retry_at, &mut value) {
        let at = at
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_default();
        object.insert("retry_at".to_owned(), json!(at));
    }
    value
}

/// Returns a failure for people: what, why, what next. Words of others may be in any part of it.
pub fn error_text(style: Style, error: &Error) -> String {
    let mut text = format!(
        "mailcert: {} {}\n",
        style.paint(Color::Red, "error:"),
        printable(error.message.as_bytes())
    );
    let mut part = |label: &str, color, lines: &str| {
        let lines = printable(lines.as_bytes());
        for (index, line) in lines.lines().enumerate() {
            let label = if index == 0 {
                style.paint(color, label)
            } else {
                " ".repeat(label.len())
            };
            let _ = writeln!(text, "  {label} {line}");
        }
    };
    for cause in &error.causes {
        part("cause:", Color::Yellow, cause);
    }
    for remedy in &error.remedies {
        part("remedy:", Color::Cyan, remedy);
    }
    if let Some(at) = error.retry_at {
        part("again:", Color::Cyan, &style.date(at));
    }
    text
}

impl Render for Status {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for lineage in &self.lineages {
            text.push_str(&lineage_text(style, lineage));
        }
        let timer = match (self.timer.enabled, self.timer.wanted) {
            (true, _) => style.paint(Color::Green, "enabled"),
            (false, true) => style.paint(Color::Red, "not enabled; `mailcert apply timer` enables it"),
            (false, false) => "none wanted".to_owned(),
        };
        let _ = write!(text, "timer: {timer}");
        if self.timer.enabled {
            let _ = write!(text, " ({})", self.timer.kind);
        }
        if let Some(last) = self.timer.last_run {
            let _ = write!(text, ", last run {}", style.date(last));
        }
        if let Some(next) = self.timer.next_run {
            let _ = write!(text, ", next run {}", style.date(next));
        }
        text.push('\n');
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

fn lineage_text(style: Style, lineage: &LineageStatus) -> String {
    let color = if lineage.good { Color::Green } else { Color::Red };
    let mut text = format!(
        "{}  {}",
        style.paint(Color::Bold, &lineage.name),
        style.paint(color, &lineage.state.to_string())
    );
    if let Some(generation) = lineage.generation {
        let _ = write!(text, "  generation {generation}");
    }
    text.push('\n');
    let names: Vec<String> = lineage.identifiers.iter().map(ToString::to_string).collect();
    let mut row = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<9} {value}");
    };
    row("names", names.join(", "));
    if !lineage.missing_identifiers.is_empty() {
        let missing: Vec<String> = lineage
            .missing_identifiers
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = format!("{}: the certificate in use is not for it", missing.join(", "));
        row("missing", style.paint(Color::Yellow, &text));
    }
    if let Some(at) = lineage.not_after {
        row("expires", style.date(at));
    }
    if let (Some(at), Some(reason)) = (lineage.renew_at, &lineage.renew_reason) {
        row("renewal", format!("{}: {reason}", style.date(at)));
    }
    if let Some(advice) = &lineage.advice {
        row("renewal", style.paint(Color::Yellow, advice));
    } else if let Some(at) = lineage.requested_at {
        row("requested", style.date(at));
    }
    if let Some(window) = &lineage.renewal_window {
        let why = window.explanation_url.as_ref();
        let why = why.map_or_else(String::new, |url| {
            format!("; the CA says why: {}", printable_line(url.as_bytes(), 500))
        });
        let (start, end) = (style.date(window.start), style.date(window.end));
        row("window", format!("{start} to {end}{why}"));
    }
    if let Some(directory) = lineage.directory.as_ref().filter(|_| lineage.fallback) {
        let text = format!("{directory}, which is not acme.directory");
        row("issued by", style.paint(Color::Yellow, &text));
    }
    if let Some(digest) = &lineage.leaf_sha256 {
        row("sha256", digest.to_string());
    }
    // What is not asked any more has not been seen for long.
    let is_asked = lineage.verify == crate::model::lineage::Verify::On;
    for served in lineage.endpoints.iter().filter(|_| is_asked) {
        let mark = if served.verified {
            style.paint(Color::Green, "ok")
        } else {
            style.paint(Color::Red, "no")
        };
        row(&mark, format!("{}: {}", served.asked(), served.detail));
    }
    if let Some(at) = lineage
        .steps
        .of(Step::Verify)
        .succeeded
        .filter(|_| !lineage.endpoints.is_empty())
    {
        row("asked", style.date(at));
    }
    if lineage.unserved {
        let text = "off: Postfix does not name its files, `mailcert apply postfix` makes it so";
        row("verify", style.paint(Color::Yellow, text));
    } else if lineage.verify == crate::model::lineage::Verify::Off && lineage.state >= State::Installed {
        row("verify", "off: no endpoint is asked for this lineage".to_owned());
    }
    if let Some(error) = &lineage.last_error {
        for (index, line) in error.lines().enumerate() {
            row(
                if index == 0 { "failed" } else { "" },
                style.paint(Color::Red, &printable_line(line.as_bytes(), 1000)),
            );
        }
    }
    for (failure, is_second) in lineage
        .failure
        .iter()
        .map(|failure| (failure, false))
        .chain(lineage.set_aside.iter().map(|failure| (failure, true)))
    {
        let lines = failure.message.lines().filter(|_| is_second);
        for (index, line) in lines.enumerate() {
            row(
                if index == 0 { "and" } else { "" },
                style.paint(Color::Red, &printable_line(line.as_bytes(), 1000)),
            );
        }
        let times = match failure.count {
            1 => "once".to_owned(),
            n => format!("{n} times in a row"),
        };
        let (at, next) = (style.date(failure.at), style.date(failure.next_try));
        row("step", format!("{}, {times}, last {at}", failure.step));
        row("next try", next);
        for line in failure.remedies.iter().flat_map(|remedy| remedy.lines()) {
            row("remedy", printable_line(line.as_bytes(), 1000));
        }
    }
    if let Some(held) = &lineage.waiting {
        let why = printable_line(held.why.as_bytes(), 1000);
        row("waiting", format!("until {}: {why}", style.date(held.until)));
    }
    let failing = [&lineage.failure, &lineage.set_aside].map(|failure| failure.as_ref().map(|one| one.step));
    for step in Step::ALL
        .into_iter()
        .filter(|step| !failing.contains(&Some(*step)))
    {
        let moments = lineage.steps.of(step);
        let Some(failed) = moments.failed else { continue };
        let since = match moments.succeeded.filter(|succeeded| *succeeded >= failed) {
            Some(succeeded) => format!(", succeeded {}", style.date(succeeded)),
            None => String::new(),
        };
        row("earlier", format!("{step} failed {}{since}", style.date(failed)));
    }
    text
}

impl Render for Run {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let is_quiet = |done: &Done| done.action == Action::Nothing && done.status.good;
        if self.lineages.iter().all(is_quiet) {
            let next = self.lineages.iter().filter_map(|done| done.status.renew_at).min();
            let next = next
                .map(|at| format!("; the next renewal is {}", style.date(at)))
                .unwrap_or_default();
            let _ = writeln!(text, "nothing is due{next}");
        } else {
            for done in self.lineages.iter().filter(|done| !is_quiet(done)) {
                text.push_str(&done_text(style, done, self.dry_run));
            }
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
        self.error()
    }

    fn events(&self) -> Vec<Event> {
        events::of_run(&self.lineages, &self.notes)
    }

    fn failed_now(&self) -> bool {
        let failed = |error: &Error| error.kind != Kind::NotYet;
        self.lineages
            .iter()
            .any(|done| done.error.as_ref().is_some_and(failed))
    }
}

fn done_text(style: Style, done: &Done, dry_run: bool) -> String {
    let name = style.paint(Color::Bold, &done.status.name);
    let words = match done.action {
        Action::Deployed => "deployed",
        Action::Failed => "failed",
        Action::Installed => "installed",
        Action::Issued => "issued",
        Action::Nothing => "nothing is due",
        Action::Renewed if dry_run => {
            "can be renewed (rehearsed at the staging directory; nothing was saved)"
        }
        Action::Renewed => "renewed",
        Action::Waiting => "waiting",
    };
    let mut text = format!("{name}: {words}");
    if !matches!(done.action, Action::Nothing | Action::Waiting) && !dry_run {
        let _ = write!(text, ", {}", done.status.state);
        if let Some(at) = done.status.not_after {
            let _ = write!(text, ", valid until {}", style.date(at));
        }
    }
    if let Some(at) = done.next_try {
        let _ = write!(text, ", next try {}", style.date(at));
    }
    text.push('\n');
    if !dry_run {
        for served in &done.status.endpoints {
            let mark = if served.verified {
                style.paint(Color::Green, "ok")
            } else {
                style.paint(Color::Red, "no")
            };
            let _ = writeln!(text, "  {mark} {}: {}", served.asked(), served.detail);
        }
    }
    if done.action == Action::Waiting {
        for line in done.status.last_error.iter().flat_map(|error| error.lines()) {
            let _ = writeln!(text, "  {}", printable_line(line.as_bytes(), 1000));
        }
    }
    text
}

impl Render for Findings {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            text.push_str(&finding_text(style, finding));
        }
        if self.findings.is_empty() {
            text.push_str("nothing to check\n");
        }
        text
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

/// Returns how the JSON of findings begins that are written one by one: `findings` is open.
pub fn list_head(command: &str) -> String {
    format!(
        "{{\"format\":1,\"command\":{},\"findings\":[",
        Value::from(command)
    )
}

/// Returns a finding as people read it.
pub fn finding_text(style: Style, finding: &Finding) -> String {
    let (word, color) = match finding.severity {
        Severity::Ok => ("ok", Color::Green),
        Severity::Info => ("info", Color::Cyan),
        Severity::Warning => ("warning", Color::Yellow),
        Severity::Error => ("error", Color::Red),
    };
    let mut text = format!(
        "{} {} {}: {}\n",
        style.paint(color, word),
        finding.id,
        finding.subject,
        finding.evidence
    );
    for (index, line) in finding.remedy.lines().enumerate() {
        let _ = writeln!(
            text,
            "  {} {line}",
            if index == 0 { "remedy:" } else { "       " }
        );
    }
    if !finding.reference.is_empty() && finding.severity > Severity::Ok {
        let _ = writeln!(text, "  see: {}", finding.reference);
    }
    text
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;

    #[test]
    fn says_how_far_away_a_moment_is() {
        let now = datetime!(2030-03-01 12:00 UTC);
        let style = Style { colored: false, now };
        let check = |away: Duration, expected: &str| {
            let said = style.date(now + away);
            assert!(said.ends_with(&format!("UTC ({expected})")), "{said}");
        };
        check(Duration::days(50), "in 50 days");
        check(Duration::hours(47), "in 47 h");
        check(Duration::minutes(59), "in 59 min");
        check(Duration::seconds(59), "now");
        check(Duration::seconds(-59), "now");
        check(Duration::minutes(-10), "10 min ago");
        check(Duration::hours(-47), "47 h ago");
        check(Duration::days(-2), "2 days ago");
    }

    #[test]
    fn no_part_of_a_failure_commands_the_terminal() {
        let style = Style {
            colored: false,
            now: OffsetDateTime::UNIX_EPOCH,
        };
        let error = Error::failed("a\x1b[2J")
            .cause("b\x1b]0;x\x07")
            .remedy("read https://ca.test/\u{9b}31m\nand so on");
        assert_eq!(
            error_text(style, &error),
            "mailcert: error: a\\u{1b}[2J\n  cause: b\\u{1b}]0;x\\u{7}\n  \
             remedy: read https://ca.test/\\u{9b}31m\n          and so on\n"
        );
    }
}
