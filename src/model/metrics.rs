//! What monitoring is told, in Prometheus' text format, version 0.0.4. Pure: it writes to whatever it is given.
//!
//! Every family has its `HELP` and `TYPE` once and its samples together, as the format wants it, so lineages are walked
//! through once for each family; nothing is kept but the caller's facts. A value that is not known has no sample.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    lineage::{FORMAT, State, Step, this_format},
    steps::Steps,
};

/// What is told of one lineage.
#[derive(Clone, Copy, Debug)]
pub struct LineageFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// How far it has come.
    pub state: State,
    /// The generation in use.
    pub generation: Option<u64>,
    /// When the certificate in use expires.
    pub not_after: Option<OffsetDateTime>,
    /// When it is to be renewed.
    pub renew_at: Option<OffsetDateTime>,
    /// When the certificate in use was withdrawn, where it was.
    pub revoked_at: Option<OffsetDateTime>,
    /// When it should be replaced, whoever does it.
    pub due: Option<OffsetDateTime>,
    /// Whether every port proved it; `None` where none is asked.
    pub verified: Option<bool>,
    /// Whether all is well with it: what `status` shows in green.
    pub good: bool,
    /// When each step succeeded and failed last.
    pub steps: &'a Steps,
    /// What is failing.
    pub failing: [Option<Failing>; 2],
    /// Until when an order that is wanted is held back, though nothing failed.
    pub held_until: Option<OffsetDateTime>,
}

/// A step that is failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The step.
    pub step: Step,
    /// Failures in a row.
    pub count: u32,
    /// When it is tried again.
    pub next_try: OffsetDateTime,
}

impl LineageFacts<'_> {
    /// Returns what is failing.
    fn failing(&self) -> impl Iterator<Item = Failing> {
        self.failing.into_iter().flatten()
    }
}

/// The last run of each command, as it is kept in `runs.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// [`FORMAT`] of the program that wrote it; another one is not read.
    #[serde(deserialize_with = "this_format")]
    pub version: u32,
    /// By command.
    pub runs: BTreeMap<String, LastRun>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            version: FORMAT,
            runs: BTreeMap::new(),
        }
    }
}

/// A command's last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// Its exit code.
    pub exit_code: u8,
    /// When one ended with exit code 0 last.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub succeeded_at: Option<OffsetDateTime>,
}

impl Runs {
    /// Notes a run that ended.
    pub fn note(&mut self, command: &str, at: OffsetDateTime, milliseconds: u64, exit_code: u8) {
        let earlier = self.runs.get(command).and_then(|run| run.succeeded_at);
        let run = LastRun {
            at,
            milliseconds,
            exit_code,
            succeeded_at: if exit_code == 0 { Some(at) } else { earlier },
        };
        self.runs.insert(command.to_owned(), run);
    }
}

/// How mail to the operator goes.
#[derive(Clone, Copy, Debug)]
pub struct MailFacts {
    /// Whether the last one could not be sent.
    pub failed: bool,
    /// When one was sent last.
    pub sent_at: Option<OffsetDateTime>,
}

/// Goes through the lineages of the configuration once more.
pub type Walk<'a> = dyn Fn() -> Box<dyn Iterator<Item = LineageFacts<'a>> + 'a> + 'a;

/// Everything that is told.
pub struct Facts<'a> {
    /// The lineages of the configuration: none is kept, however many there are.
    pub lineages: &'a Walk<'a>,
    /// The last run of each command.
    pub runs: &'a Runs,
    /// How mail goes; `None` where none is wanted.
    pub mail: Option<MailFacts>,
    /// The program's version.
    pub version: &'a str,
}

/// Writes all families.
///
/// # Errors
/// What the writer fails with.
pub fn write(out: &mut dyn Write, facts: &Facts<'_>) -> io::Result<()> {
    about_certificates(out, facts.lineages)?;
    about_failures(out, facts.lineages)?;
    about_runs(out, facts.runs)?;
    if let Some(mail) = facts.mail {
        let mut family = Family::new(
            "mailcert_notify_mail_failed",
            "Whether the last mail to notify.mail_to could not be sent.",
        );
        family.sample(out, &[], flag(mail.failed))?;
        let mut family = Family::new(
            "mailcert_notify_mail_last_success_timestamp_seconds",
            "When mail to notify.mail_to was sent last.",
        );
        family.instant(out, &[], mail.sent_at)?;
    }
    let mut family = Family::new("mailcert_build_info", "The version of mailcert that wrote this.");
    family.sample(out, &[("version", facts.version)], 1)
}

fn about_certificates(out: &mut dyn Write, lineages: &Walk<'_>) -> io::Result<()> {
    let mut family = Family::new(
        "mailcert_certificate_not_after_timestamp_seconds",
        "When the certificate in use expires.",
    );
    for one in lineages() {
        family.instant(out, &[("lineage", one.name)], one.not_after)?;
    }
    let mut family = Family::new(
        "mailcert_certificate_renew_at_timestamp_seconds",
        "When the certificate in use is to be renewed.",
    );
    for one in lineages() {
        family.instant(out, &[("lineage", one.name)], one.renew_at)?;
    }
    let mut family = Family::new(
        "mailcert_certificate_revoked_timestamp_seconds",
        "When the certificate in use was revoked on our word; absent when it was not.",
    );
    for one in lineages() {
        family.instant(out, &[("lineage", one.name)], one.revoked_at)?;
    }
    let mut family = Family::new(
        "mailcert_certificate_due_timestamp_seconds",
        "When the certificate in use should be replaced, by us or by whoever brings the next one.",
    );
    for one in lineages() {
        family.instant(out, &[("lineage", one.name)], one.due)?;
    }
    let mut family = Family::new("mailcert_lineage_generation", "The generation in use.");
    for one in lineages() {
        if let Some(generation) = one.generation {
            family.sample(out, &[("lineage", one.name)], generation)?;
        }
    }
    let mut family = Family::new(
        "mailcert_lineage_good",
        "Whether all is well with the lineage, as mailcert status shows it.",
    );
    for one in lineages() {
        family.sample(out, &[("lineage", one.name)], flag(one.good))?;
    }
    let mut family = Family::new(
        "mailcert_lineage_state",
        "How far the newest generation has come: 1 for the state that it is in; the others are absent.",
    );
    for one in lineages() {
        family.sample(out, &[("lineage", one.name), ("state", one.state.word())], 1)?;
    }
    let mut family = Family::new(
        "mailcert_lineage_verified",
        "Whether every port was seen serving the generation in use; absent where no port is asked.",
    );
    for one in lineages() {
        if let Some(verified) = one.verified {
            family.sample(out, &[("lineage", one.name)], flag(verified))?;
        }
    }
    Ok(())
}

fn about_failures(out: &mut dyn Write, lineages: &Walk<'_>) -> io::Result<()> {
    let mut family = Family::new(
        "mailcert_lineage_consecutive_failures",
        "Failures in a row of the step that failed most often; 0 when nothing is failing.",
    );
    for one in lineages() {
        let most = one.failing().map(|failing| failing.count).max();
        family.sample(out, &[("lineage", one.name)], most.unwrap_or(0))?;
    }
    let mut family = Family::new(
        "mailcert_lineage_next_try_timestamp_seconds",
        "When a step that is failing is tried again.",
    );
    for one in lineages() {
        for failing in one.failing() {
            let labels = [("lineage", one.name), ("step", failing.step.word())];
            family.instant(out, &labels, Some(failing.next_try))?;
        }
    }
    let mut family = Family::new(
        "mailcert_lineage_waiting_until_timestamp_seconds",
        "Until when the limits of the CA or of the configuration hold a wanted order back; absent when none is held back.",
    );
    for one in lineages() {
        family.instant(out, &[("lineage", one.name)], one.held_until)?;
    }
    let mut family = Family::new(
        "mailcert_lineage_step_last_failure_timestamp_seconds",
        "When the step failed last.",
    );
    for one in lineages() {
        for step in Step::ALL {
            let labels = [("lineage", one.name), ("step", step.word())];
            family.instant(out, &labels, one.steps.of(step).failed)?;
        }
    }
    let mut family = Family::new(
        "mailcert_lineage_step_last_success_timestamp_seconds",
        "When the step succeeded last.",
    );
    for one in lineages() {
        for step in Step::ALL {
            let labels = [("lineage", one.name), ("step", step.word())];
            family.instant(out, &labels, one.steps.of(step).succeeded)?;
        }
    }
    Ok(())
}

fn about_runs(out: &mut dyn Write, runs: &Runs) -> io::Result<()> {
    let mut family = Family::new(
        "mailcert_last_run_duration_seconds",
        "How long the command's last run took.",
    );
    for (command, run) in &runs.runs {
        let (whole, rest) = (run.milliseconds / 1000, run.milliseconds % 1000);
        family.sample(out, &[("command", command)], format_args!("{whole}.{rest:03}"))?;
    }
    let mut family = Family::new(
        "mailcert_last_run_exit_code",
        "The exit code of the command's last run.",
    );
    for (command, run) in &runs.runs {
        family.sample(out, &[("command", command)], run.exit_code)?;
    }
    let mut family = Family::new(
        "mailcert_last_run_success",
        "Whether the command's last run ended with exit code 0.",
    );
    for (command, run) in &runs.runs {
        family.sample(out, &[("command", command)], flag(run.exit_code == 0))?;
    }
    let mut family = Family::new(
        "mailcert_last_run_timestamp_seconds",
        "When the command's last run ended.",
    );
    for (command, run) in &runs.runs {
        family.instant(out, &[("command", command)], Some(run.at))?;
    }
    let mut family = Family::new(
        "mailcert_last_success_timestamp_seconds",
        "When a run of the command ended with exit code 0 last.",
    );
    for (command, run) in &runs.runs {
        family.instant(out, &[("command", command)], run.succeeded_at)?;
    }
    Ok(())
}

/// A family of samples; what it is about is written before the first.
struct Family {
    name: &'static str,
    help: &'static str,
    begun: bool,
}

impl Family {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            begun: false,
        }
    }

    fn sample(
        &mut self,
        out: &mut dyn Write,
        labels: &[(&str, &str)],
        value: impl fmt::Display,
    ) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            writeln!(out, "# HELP {} {}", self.name, self.help)?;
            writeln!(out, "# TYPE {} gauge", self.name)?;
        }
        out.write_all(self.name.as_bytes())?;
        let mut before = "{";
        for (label, text) in labels {
            write!(out, "{before}{label}=\"{}\"", Escaped(text))?;
            before = ",";
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(out, "{after} {value}")
    }

    fn instant(
        &mut self,
        out: &mut dyn Write,
        labels: &[(&str, &str)],
        at: Option<OffsetDateTime>,
    ) -> io::Result<()> {
        match at {
            Some(at) => self.sample(out, labels, at.unix_timestamp()),
            None => Ok(()),
        }
    }
}

/// A label's value with backslash, quote and line feed escaped, as the format wants it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            let (before, special) = rest.split_at(at);
            f.write_str(before)?;
            f.write_str(match special.as_bytes().first() {
                Some(b'\n') => "\\n",
                Some(b'"') => "\\\"",
                _ => "\\\\",
            })?;
            rest = special.get(1..).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

fn flag(holds: bool) -> u8 {
    u8::from(holds)
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;

    const NOW: OffsetDateTime = datetime!(2030-03-01 12:00 UTC);

    fn text(facts: &Facts<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, facts).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tells_what_is_known_and_nothing_else() {
        let mut steps = Steps::default();
        steps.succeeded(Step::Order, NOW);
        steps.failed(Step::Verify, NOW - Duration::hours(1));
        let mut runs = Runs::default();
        runs.note("renew", NOW - Duration::hours(1), 9, 0);
        runs.note("renew", NOW, 1234, 1);
        let never = Steps::default();
        let lineages = [
            LineageFacts {
                name: "a\"\\b\nc",
                state: State::Deployed,
                generation: Some(3),
                not_after: Some(NOW + Duration::days(30)),
                renew_at: None,
                due: Some(NOW + Duration::days(20)),
                revoked_at: Some(NOW),
                verified: Some(false),
                good: false,
                steps: &steps,
                failing: [
                    Some(Failing {
                        step: Step::Verify,
                        count: 2,
                        next_try: NOW + Duration::minutes(10),
                    }),
                    Some(Failing {
                        step: Step::Order,
                        count: 5,
                        next_try: NOW + Duration::minutes(20),
                    }),
                ],
                held_until: None,
            },
            LineageFacts {
                name: "new",
                state: State::Due,
                generation: None,
                not_after: None,
                renew_at: None,
                due: None,
                revoked_at: None,
                verified: None,
                good: false,
                steps: &never,
                failing: [None, None],
                held_until: Some(NOW),
            },
        ];
        let facts = Facts {
            lineages: &|| Box::new(lineages.iter().copied()),
            runs: &runs,
            mail: Some(MailFacts {
                failed: true,
                sent_at: None,
            }),
            version: "0.1.0",
        };
        let text = text(&facts);
        for line in [
            "mailcert_certificate_not_after_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\"} 1901188800",
            "mailcert_certificate_due_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\"} 1900324800",
            "mailcert_lineage_state{lineage=\"new\",state=\"due\"} 1",
            "mailcert_certificate_revoked_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\"} 1898596800",
            "mailcert_lineage_verified{lineage=\"a\\\"\\\\b\\nc\"} 0",
            "mailcert_lineage_consecutive_failures{lineage=\"a\\\"\\\\b\\nc\"} 5",
            "mailcert_lineage_consecutive_failures{lineage=\"new\"} 0",
            "mailcert_lineage_next_try_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\",step=\"order\"} 1898598000",
            "mailcert_lineage_next_try_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\",step=\"verify\"} 1898597400",
            "mailcert_lineage_waiting_until_timestamp_seconds{lineage=\"new\"} 1898596800",
            "mailcert_lineage_step_last_failure_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\",step=\"verify\"} 1898593200",
            "mailcert_lineage_step_last_success_timestamp_seconds{lineage=\"a\\\"\\\\b\\nc\",step=\"order\"} 1898596800",
            "mailcert_last_run_duration_seconds{command=\"renew\"} 1.234",
            "mailcert_last_run_success{command=\"renew\"} 0",
            "mailcert_last_success_timestamp_seconds{command=\"renew\"} 1898593200",
            "mailcert_notify_mail_failed 1",
            "mailcert_build_info{version=\"0.1.0\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert_eq!(text.matches("mailcert_lineage_state{").count(), 2, "{text}");
        assert!(
            !text.contains("revoked_timestamp_seconds{lineage=\"new\"}"),
            "{text}"
        );
        assert!(!text.contains("renew_at"), "{text}");
        assert!(!text.contains("mail_last_success"), "{text}");
        assert!(!text.contains("verified{lineage=\"new\"}"), "{text}");
        let n_families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        let n_helps = text.lines().filter(|line| line.starts_with("# HELP")).count();
        assert_eq!(n_families, n_helps);
    }
}
