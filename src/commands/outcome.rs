//! What commands return: data that knows its exit code. How it looks is the business of `cli`. Pure.

use serde::{Serialize, Serializer, ser::SerializeMap};
use time::{Duration, OffsetDateTime};

use super::status::LineageStatus;
use crate::{
    error::{Error, ExitCode},
    model::{
        finding::{Finding, Severity},
        plan::{Change, Plan},
    },
};

/// What `issue`, `renew`, `deploy` and `install` did.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The lineages that were asked for.
    pub lineages: Vec<Done>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
    /// Whether this was a rehearsal at the CA's staging directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What was done for one lineage.
#[derive(Debug, Serialize)]
pub struct Done {
    /// What was done.
    pub action: Action,
    /// Where it stands now.
    #[serde(flatten)]
    pub status: LineageStatus,
    /// When it will be tried again, or looked at next.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_try: Option<OffsetDateTime>,
    /// What failed in this run.
    #[serde(serialize_with = "error_object", skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// What was done for a lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// An existing generation was put into service.
    Deployed,
    /// It did not work.
    Failed,
    /// Files of another client were taken over.
    Installed,
    /// A first certificate was issued and deployed.
    Issued,
    /// Nothing was due.
    Nothing,
    /// A certificate was renewed and deployed.
    Renewed,
    /// Something is wanted, but not before a later time.
    Waiting,
}

impl Run {
    /// Returns 0 when every lineage is as far as it can get, 4 when all that is missing is to wait, else 1.
    pub fn exit_code(&self) -> ExitCode {
        let mut code = ExitCode::Done;
        for done in &self.lineages {
            match &done.error {
                Some(error) if error.exit_code() == ExitCode::NotYet => code = ExitCode::NotYet,
                Some(_) => return ExitCode::Failed,
                None if done.status.waits && !self.dry_run => code = ExitCode::NotYet,
                // A lineage that waits out its back-off is still red: the run did not bring it to its goal.
                None if !done.status.good && !self.dry_run => return ExitCode::Failed,
                None if done.action == Action::Waiting => code = ExitCode::NotYet,
                None => {}
            }
        }
        code
    }

    /// Returns one error for all that failed, or is red from an earlier run; or `None`.
    pub fn error(&self) -> Option<Error> {
        let failed: Vec<&Error> = self
            .lineages
            .iter()
            .filter_map(|done| done.error.as_ref())
            .collect();
        match failed.as_slice() {
            [] if self.exit_code() == ExitCode::Done => None,
            [] => Some(self.still_red()),
            [only] => Some((*only).clone()),
            several => {
                let message = format!("{} of {} lineages failed", several.len(), self.lineages.len());
                let all = several.iter().fold(Error::failed(message), Error::cause);
                let mut remedies: Vec<&String> = several.iter().flat_map(|error| &error.remedies).collect();
                remedies.dedup();
                Some(remedies.into_iter().fold(all, Error::remedy))
            }
        }
    }

    /// Tells lineages that are not where they should be, although nothing could be done for them in this run.
    fn still_red(&self) -> Error {
        let waits = self.exit_code() == ExitCode::NotYet;
        let told = if waits {
            Error::not_yet("what is wanted has to wait")
        } else {
            Error::failed("not everything is as it should be")
        };
        let red = |done: &&Done| !done.status.good || done.action == Action::Waiting;
        let told = self.lineages.iter().filter(red).fold(told, |error, done| {
            let status = &done.status;
            let held = status.waiting.as_ref().map(|held| held.why.clone());
            let why = status
                .last_error
                .clone()
                .or(held)
                .unwrap_or_else(|| format!("it is {}", status.state));
            error.cause(format!("{}: {why}", status.name))
        });
        if !waits {
            return told.remedy("mend what the cause says; `mailcert status` shows each lineage");
        }
        let told = told.remedy("nothing has to be done: the timer tries again when the time has come");
        match self.lineages.iter().filter_map(|done| done.next_try).min() {
            Some(at) => told.retry_at(at),
            None => told,
        }
    }
}

/// What `check` found.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Worst first.
    pub findings: Vec<Finding>,
    /// How long the certificates in use are valid, where that was looked at; for monitoring.
    #[serde(skip)]
    pub expiries: Vec<Expiry>,
}

/// How long a certificate in use is still valid.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// The lineage.
    pub lineage: String,
    /// How long; negative once it has expired.
    pub left: Duration,
    /// With less than this a renewal is late.
    pub warning: Duration,
    /// With less than this it is very late.
    pub critical: Duration,
}

impl Findings {
    /// Returns findings sorted worst first, otherwise in their order.
    pub fn sorted(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self {
            findings,
            expiries: Vec::new(),
        }
    }

    /// Returns 3 when there is an error among them.
    pub fn exit_code(&self) -> ExitCode {
        match self.worst() {
            Severity::Error => ExitCode::Findings,
            _ => ExitCode::Done,
        }
    }

    /// Returns the worst severity.
    pub fn worst(&self) -> Severity {
        self.findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or(Severity::Ok)
    }
}

/// What `plan` would change, or `apply` and `undo` changed.
#[derive(Debug, Serialize)]
pub struct Changes {
    /// The changes, in order.
    #[serde(serialize_with = "changes")]
    pub changes: Vec<Change>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
    /// The lineages that were touched; empty for a plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lineages: Vec<Done>,
    /// What failed on the way.
    #[serde(skip)]
    pub error: Option<Error>,
    /// The exit code when changes are pending.
    #[serde(skip)]
    pub when_pending: ExitCode,
    /// Whether they were made, or only planned.
    pub applied: bool,
}

impl Changes {
    /// Returns a plan that was not carried out.
    pub fn planned(plan: Plan, when_pending: ExitCode) -> Self {
        Self {
            changes: plan.changes,
            notes: plan.notes,
            lineages: Vec::new(),
            error: together(plan.refusals),
            when_pending,
            applied: false,
        }
    }

    /// Returns the exit code: that of the failure, that for pending changes, or 0.
    pub fn exit_code(&self) -> ExitCode {
        if let Some(error) = &self.error {
            return error.exit_code();
        }
        if !self.applied && !self.changes.is_empty() {
            return self.when_pending;
        }
        let run = self
            .lineages
            .iter()
            .filter(|done| done.error.is_some() || !done.status.good)
            .count();
        if self.applied && run > 0 {
            ExitCode::Failed
        } else {
            ExitCode::Done
        }
    }
}

/// Tells several failures as one: the first with its causes, the others below it.
pub fn together(errors: Vec<Error>) -> Option<Error> {
    errors.into_iter().reduce(|all, next| {
        let mut all = all.cause(&next.message);
        all.causes.extend(next.causes);
        all.remedies.extend(
            next.remedies
                .into_iter()
                .filter(|remedy| !all.remedies.contains(remedy))
                .collect::<Vec<_>>(),
        );
        all
    })
}

fn changes<S: Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(Shown))
}

/// A change as it stands in the JSON contract.
struct Shown<'a>(&'a Change);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Change::Certificate(change) => {
                map.serialize_entry("kind", "certificate")?;
                map.serialize_entry("lineage", &change.lineage)?;
                map.serialize_entry("identifiers", &change.identifiers)?;
                map.serialize_entry("issuer", &change.issuer)?;
                map.serialize_entry("reasons", &[&change.reason])?;
            }
            Change::Derived(change) => {
                map.serialize_entry("kind", "derived")?;
                map.serialize_entry("what", &change.what)?;
                map.serialize_entry("path", &change.path)?;
                map.serialize_entry("add", &change.add)?;
                map.serialize_entry("remove", &change.remove)?;
                map.serialize_entry("reasons", &[&change.reason])?;
            }
            Change::File(change) => {
                map.serialize_entry("kind", "file")?;
                map.serialize_entry("path", &change.path)?;
                map.serialize_entry("diff", &change.diff())?;
                map.serialize_entry("reasons", &change.reasons)?;
            }
            Change::Firewall(change) => {
                map.serialize_entry("kind", "firewall")?;
                map.serialize_entry("manager", &change.manager)?;
                map.serialize_entry("action", &change.action)?;
                map.serialize_entry("port", &change.port)?;
                map.serialize_entry("service", &change.service)?;
                map.serialize_entry("zone", &change.zone)?;
                map.serialize_entry("rules", &change.rules)?;
                map.serialize_entry("reasons", &[&change.reason])?;
            }
            Change::Rrset(change) => {
                map.serialize_entry("kind", "rrset")?;
                map.serialize_entry("zone", &change.zone)?;
                map.serialize_entry("name", &change.name)?;
                map.serialize_entry("type", &change.kind)?;
                map.serialize_entry("ttl", &change.ttl)?;
                map.serialize_entry("add", &change.add)?;
                map.serialize_entry("remove", &change.remove)?;
                map.serialize_entry("reasons", &[&change.reason])?;
            }
            Change::SniMap(change) => {
                map.serialize_entry("kind", "sni-map")?;
                map.serialize_entry("path", &change.path)?;
                map.serialize_entry("add", &change.add)?;
                map.serialize_entry("renew", &change.renew)?;
                map.serialize_entry("remove", &change.remove)?;
                map.serialize_entry("reasons", &[&change.reason])?;
            }
            Change::Timer(change) => {
                map.serialize_entry("kind", "timer")?;
                map.serialize_entry("unit", &change.unit)?;
                map.serialize_entry("reasons", &[&change.reason])?;
            }
        }
        map.end()
    }
}

/// Serializes an error as the contract has it.
pub fn error_object<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(error) = error else {
        return serializer.serialize_none();
    };
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry("message", &error.message)?;
    map.serialize_entry("causes", &error.causes)?;
    map.serialize_entry("remedies", &error.remedies)?;
    map.end()
}
