//! `status`: lineages, generations, state, expiry, when renewal is due and why then, what failed last.

use std::collections::HashSet;

use serde::Serialize;
use time::OffsetDateTime;

use super::{Context, Wanted, dns, rollout, sni};
use crate::{
    config::{Certificate, Issuer, Timer},
    error::{Error, ExitCode, Result},
    model::{
        certificate::Sha256,
        lineage::{Deployment, Failure, Generation, Held, Lineage, RenewalInfo, State, Step, Verify, Window},
        name::Identifier,
        schedule,
        steps::Steps,
    },
    timer,
};

/// What `status` returns.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The lineages, as the configuration orders them.
    pub lineages: Vec<LineageStatus>,
    /// What wakes `renew`.
    pub timer: TimerStatus,
}

/// One lineage.
#[derive(Debug, Serialize)]
pub struct LineageStatus {
    /// Its name.
    pub name: String,
    /// What it is to be for.
    pub identifiers: Vec<Identifier>,
    /// Those of them that the certificate in use is not for yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_identifiers: Vec<Identifier>,
    /// How far it has come.
    pub state: State,
    /// The generation in use.
    pub generation: Option<u64>,
    /// When the certificate in use expires.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_after: Option<OffsetDateTime>,
    /// When it is to be renewed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub renew_at: Option<OffsetDateTime>,
    /// Why then.
    pub renew_reason: Option<schedule::Reason>,
    /// SHA-256 of the leaf in use.
    pub leaf_sha256: Option<Sha256>,
    /// Whether endpoints prove it: `on` or `off`.
    pub verify: Verify,
    /// What failed last.
    pub last_error: Option<String>,
    /// What each endpoint served at last.
    pub endpoints: Vec<crate::model::lineage::Served>,
    /// The step that is failing, how often it did in a row, and when it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<FailureStatus>>,
    /// What is failing besides, of the other concern: no certificate comes, or one is not in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<Box<FailureStatus>>,
    /// Why a certificate that is wanted is not ordered yet, though nothing failed, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Box<Held>>,
    /// When each step succeeded and failed last.
    #[serde(skip_serializing_if = "Steps::is_empty")]
    pub steps: Steps,
    /// The CA's renewal window for the certificate in use, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_window: Option<Window>,
    /// When the certificate in use was withdrawn, where it was.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub revoked_at: Option<OffsetDateTime>,
    /// The directory of the CA that issued the certificate in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Whether that is another CA than `acme.directory`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
    /// When the request was made that a CA has not answered yet.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub requested_at: Option<OffsetDateTime>,
    /// What only the operator can do, where the next certificate comes from elsewhere and its time has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// When the certificate in use should be replaced, whoever does it.
    #[serde(skip)]
    pub due: Option<OffsetDateTime>,
    /// What became of each hook for the generation in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<crate::model::lineage::HookRun>,
    /// Whether all is well with it.
    #[serde(skip)]
    pub good: bool,
    /// Whether all that is wrong with it is that the CA said when to come back.
    #[serde(skip)]
    pub waits: bool,
    /// Whether Postfix is to serve it, and does not name its files.
    #[serde(skip)]
    pub unserved: bool,
}

/// What is failing.
#[derive(Debug, Serialize)]
pub struct FailureStatus {
    /// The step.
    pub step: Step,
    /// The failure with its causes, in one line each.
    pub message: String,
    /// Failures of it in a row.
    pub count: u32,
    /// When it failed last.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// When it is tried again.
    #[serde(with = "time::serde::rfc3339")]
    pub next_try: OffsetDateTime,
    /// What the operator can do.
    pub remedies: Vec<String>,
    /// Whether all that is to be done is to wait: the CA said when to come back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub not_yet: bool,
}

/// What wakes `renew`.
#[derive(Debug, Serialize)]
pub struct TimerStatus {
    /// Whether it will wake.
    pub enabled: bool,
    /// `systemd`, `cron` or `none`.
    pub kind: &'static str,
    /// When `renew` ran last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_run: Option<OffsetDateTime>,
    /// When it will run next, where that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_run: Option<OffsetDateTime>,
    /// Whether the operator wants no timer of ours.
    #[serde(skip)]
    pub wanted: bool,
}

impl Status {
    /// Returns 3 when something is not verified or the timer is off.
    pub fn exit_code(&self) -> ExitCode {
        let timer_good = self.timer.enabled || !self.timer.wanted;
        if timer_good && self.lineages.iter().all(|lineage| lineage.good) {
            ExitCode::Done
        } else {
            ExitCode::Findings
        }
    }
}

/// Reads the state of every lineage.
///
/// # Errors
/// When a record cannot be read.
pub fn run(context: &Context<'_>) -> Result<Status> {
    let mut lineages = Vec::new();
    let behind = sni::behind(context);
    for certificate in &context.config.certificates {
        lineages.push(match context.load(&certificate.name) {
            Ok(lineage) => look(context, certificate, &lineage, &behind),
            Err(error) => unreadable(context, certificate, &error),
        });
    }
    let wanted = context.config.renew.timer != Timer::None;
    let seen = timer::status(
        context.env,
        timer::detect(context.env, context.config.renew.timer),
    );
    let last_run = seen.last_run.or_else(|| super::renew::last_run(&context.store));
    Ok(Status {
        lineages,
        timer: TimerStatus {
            enabled: seen.enabled,
            kind: seen.waker.name(),
            last_run,
            next_run: seen.next_run,
            wanted,
        },
    })
}

/// Describes one lineage, and holds its record against the disk. `behind`: those that the SNI map lacks.
pub fn look(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    behind: &HashSet<String>,
) -> LineageStatus {
    let mut described = held_against_the_disk(context, describe(context, certificate, lineage));
    if behind.contains(&certificate.name) && lineage.state >= State::Installed {
        described.good = false;
        described
            .last_error
            .get_or_insert("the SNI map does not hold the generation in use".to_owned());
    }
    described
}

/// Describes a lineage whose record cannot be read: the others are told all the same.
fn unreadable(context: &Context<'_>, certificate: &Certificate, error: &Error) -> LineageStatus {
    let remedies = error.remedies.iter().map(|remedy| format!("\n{remedy}"));
    LineageStatus {
        last_error: Some(format!("{error}{}", remedies.collect::<String>())),
        good: false,
        ..describe(context, certificate, &Lineage::new(&certificate.name))
    }
}

/// Tells what the record does not know: a live link that leads elsewhere, files that are missing.
fn held_against_the_disk(context: &Context<'_>, mut status: LineageStatus) -> LineageStatus {
    let Some(number) = status.generation else {
        return status;
    };
    let wrong = if context.store.live_points_at(&status.name) != Some(number) {
        let live = context.store.layout().live(&status.name);
        format!("{} does not point at the generation in use", live.display())
    } else if !is_whole(context, &status, number) {
        format!(
            "files of generation {number}, which is in use, are missing, empty, or do not belong together"
        )
    } else {
        return status;
    };
    status.good = false;
    status.last_error.get_or_insert(wrong);
    status
}

fn is_whole(context: &Context<'_>, status: &LineageStatus, number: u64) -> bool {
    let store = &context.store;
    store.looks_whole(&status.name, number)
        || status.leaf_sha256.is_some_and(|leaf| {
            // One that cannot be read is not known to be damaged: the run that needs it says so.
            store
                .is_whole(&status.name, number, &leaf.to_string())
                .unwrap_or(true)
        })
}

/// Describes one lineage as its record has it; also used for the outcome of commands that change it.
pub fn describe(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> LineageStatus {
    let verify = lineage
        .deployment
        .as_ref()
        .map_or(Verify::On, |deployment| deployment.verify);
    let wanted = Wanted::new(context, certificate, lineage, verify == Verify::On);
    let live = lineage.live();
    // Another client's certificate is renewed when that client says so.
    let ours = live.filter(|_| certificate.issuer.is_asked_by_us());
    let replaced = live.map(|live| schedule::due(lineage, live, wanted.policy().before));
    let due = replaced.clone().filter(|_| ours.is_some());
    let is_elsewhere = certificate.issuer == Issuer::External;
    let requested_at = is_elsewhere
        .then(|| context.store.requested_at(&certificate.name))
        .flatten();
    let is_time = replaced.as_ref().is_none_or(|due| due.at <= context.now());
    let goal = wanted.policy().goal;
    let expired = live.is_some_and(|live| live.not_after <= context.now());
    let reached =
        lineage.state >= goal && lineage.state != State::RolledBack && !lineage.has_unfinished_hooks();
    let state = if lineage.order.is_some() {
        State::Ordered
    } else {
        lineage.state
    };
    let mut last_error = lineage.failure.as_ref().map(|failure| failure.message.clone());
    if let Some(unproven) = rollout::unproven(context, certificate, lineage).first() {
        last_error.get_or_insert(format!(
            "{} was added to {} and has not been asked yet; the next `renew` asks it",
            unproven.endpoint, unproven.added_to
        ));
    }
    if last_error.is_none() {
        last_error = dns::rollover::failed(context, certificate);
    }
    if expired {
        last_error.get_or_insert("the certificate in use has expired".to_owned());
    }
    let revocation = live.and_then(|live| lineage.revocation_of(live));
    if let Some(revocation) = revocation {
        let date = revocation.at.date();
        last_error.get_or_insert(format!(
            "the certificate in use was revoked on {date} ({})",
            revocation.reason
        ));
    }
    LineageStatus {
        name: certificate.name.clone(),
        identifiers: certificate.identifiers.clone(),
        missing_identifiers: live.map_or_else(Vec::new, |live| {
            let has = |name: &&Identifier| !live.identifiers.contains(name);
            certificate.identifiers.iter().filter(has).cloned().collect()
        }),
        state,
        generation: lineage.generation,
        not_after: live.map(|live| live.not_after),
        renew_at: due.as_ref().map(|due| due.at),
        renew_reason: due.map(|due| due.reason),
        leaf_sha256: live.and_then(|live| live.leaf_sha256.parse().ok()),
        verify: if goal < State::Verified {
            Verify::Off
        } else {
            verify
        },
        good: reached && !expired && last_error.is_none(),
        waits: lineage.failure.as_ref().is_some_and(|failure| failure.not_yet)
            && lineage.set_aside.is_none()
            && !expired
            && revocation.is_none()
            && (reached || live.is_none()),
        unserved: is_unserved(context, certificate, lineage),
        last_error,
        endpoints: lineage
            .deployment
            .as_ref()
            .map(|deployment| deployment.endpoints.clone())
            .unwrap_or_default(),
        failure: lineage.failure.as_ref().map(FailureStatus::of).map(Box::new),
        set_aside: lineage.set_aside.as_ref().map(FailureStatus::of).map(Box::new),
        waiting: schedule::held(lineage, &wanted.policy(), context.now()).map(Box::new),
        steps: lineage.steps.clone(),
        revoked_at: revocation.map(|revocation| revocation.at),
        renewal_window: ours.and_then(|live| renewal_window(live, lineage.renewal_info.as_ref())),
        fallback: certificate.issuer == Issuer::Acme
            && ours.is_some_and(|live| is_by_fallback(context, live)),
        directory: live.and_then(|live| live.directory.clone()),
        requested_at,
        advice: (is_elsewhere && is_time).then(|| advice(&certificate.name, requested_at)),
        due: replaced.map(|due| due.at),
        hooks: lineage
            .deployment
            .as_ref()
            .map(|deployment| deployment.hooks.clone())
            .unwrap_or_default(),
    }
}

/// Returns whether a certificate's files are kept alive, but no port is to serve it although Postfix is ours to manage.
fn is_unserved(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> bool {
    let is_off = |deployment: &Deployment| deployment.verify == Verify::Off;
    context.config.postfix.manage
        && context.goal() == State::Verified
        && lineage.deployment.as_ref().is_some_and(is_off)
        && context
            .default_certificate()
            .is_some_and(|default| default.name == certificate.name)
}

/// Tells what the operator can do about a certificate that comes from elsewhere.
fn advice(name: &str, requested_at: Option<OffsetDateTime>) -> String {
    match requested_at {
        Some(at) => format!(
            "the request of {} waits for the CA's answer: `mailcert install {name} FILE`; `mailcert csr {name}` prints it again",
            at.date()
        ),
        None => format!(
            "ask your CA for the next certificate: `mailcert csr {name}`, then `mailcert install {name} FILE`; or have the \
             client that renews it bring one: `mailcert install {name} --from DIR`"
        ),
    }
}

impl FailureStatus {
    fn of(failure: &Failure) -> Self {
        Self {
            step: failure.step,
            message: failure.message.clone(),
            count: failure.count,
            at: failure.at,
            next_try: failure.retry_at,
            remedies: failure.remedies.clone(),
            not_yet: failure.not_yet,
        }
    }
}

/// Returns the window that the CA gave for this very certificate.
fn renewal_window(live: &Generation, info: Option<&RenewalInfo>) -> Option<Window> {
    info.filter(|info| Some(&info.certificate_id) == live.certificate_id.as_ref())
        .and_then(|info| info.window.clone())
}

/// Returns whether another CA than the first of the configuration issued it.
fn is_by_fallback(context: &Context<'_>, live: &Generation) -> bool {
    let first = context.config.acme.as_ref().map(|acme| acme.directory.as_str());
    live.directory.is_some() && live.directory.as_deref() != first
}
