//! `issue` and `renew`: what is due is ordered, what is unfinished is continued, everything is deployed with one reload.
//!
//! Nothing due: no network, no fsync. One lineage's failure never stops the others.

mod asking;
mod rehearsal;

use std::collections::{BTreeMap, HashMap, HashSet};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Context, Wanted, derived, dns, firewall, heal, hooks, order,
    outcome::{Action, Done, Run},
    plan, private_ca, rollout, sni, status, store_error,
};
use asking::{ask_when_to_renew, is_to_be_asked};
use hooks::Errand;
pub use rehearsal::rehearse;

use crate::{
    config::Certificate,
    error::{Error, Result},
    model::{
        failure::Concern,
        key::PrivateKey,
        lineage::{Lineage, State, Verify},
        schedule::{self, Next, Urgency},
    },
    store::{Store, journal::Status},
};

/// Whether configuration files may be written in the same step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// They are left alone: a renewal keeps alive what `apply` set up.
    Leave,
    /// Postfix is made to name the certificate where it is managed; journalled, so that `undo` takes it back.
    Write,
}

/// One lineage with what is to be done for it.
pub struct Work<'a> {
    /// Where it stands among those that were asked for.
    place: usize,
    certificate: &'a Certificate,
    lineage: Lineage,
    next: Next,
    urgency: Urgency,
    first: bool,
    error: Option<Error>,
    action: Action,
    hooks: hooks::Scope,
}

impl Work<'_> {
    /// Returns what the run does for the lineage; `None` when there is nothing to do, or not now.
    fn errand(&self) -> Option<Errand> {
        match self.next {
            _ if self.error.is_some() => None,
            Next::Order(_) => Some(Errand::Order),
            Next::Deploy(_) => Some(Errand::Deploy),
            Next::Idle(_) | Next::Wait(..) => None,
        }
    }
}

/// Gets a first certificate for lineages that have none, and deploys it; Postfix is made to name it.
///
/// # Errors
/// When the lock is held or a name is unknown; failures of lineages are in the outcome.
pub fn issue(context: &Context<'_>, names: &[String]) -> Result<Run> {
    let _lock = context.lock("issue")?;
    firewall::take_up(context);
    let selected = context.selected(names)?;
    let mut loaded = load(context, &selected, Urgency::Ordinary, |_| true);
    for work in &mut loaded.works {
        // What has a certificate is renewed by `renew`; here it is only put into service if it is not.
        let has_one = work.lineage.newest_complete().is_some();
        if has_one && matches!(work.next, Next::Order(_)) && work.lineage.order.is_none() {
            work.next = Next::Idle(schedule::Due {
                at: context.now(),
                reason: schedule::Reason::Lifetime,
            });
        }
        // A person typed this: the back-off is for the timer.
        if let (Next::Wait(..), None, true) = (
            &work.next,
            work.lineage.newest_complete(),
            work.certificate.issuer.is_asked_by_us(),
        ) {
            work.next = Next::Order("asked for by name".to_owned());
        }
    }
    Ok(finish(context, loaded, Configuration::Write))
}

/// Renews what is due, continues what is unfinished, deploys and verifies.
///
/// # Errors
/// When the lock is held or a name is unknown; failures of lineages are in the outcome.
pub fn run(context: &Context<'_>, names: &[String], urgency: Urgency) -> Result<Run> {
    let _lock = context.lock("renew")?;
    firewall::take_up(context);
    let selected = context.selected(names)?;
    rollout::keep_proven_services(context);
    let mut loaded = load(context, &selected, urgency, |work| {
        !is_to_be_asked(work, context.now())
    });
    ask_when_to_renew(context, &mut loaded.works, urgency)?;
    let passed: Vec<(String, String)> = loaded
        .works
        .iter()
        .filter_map(|work| passed_by_force(context, work))
        .collect();
    let mut run = finish(context, loaded, Configuration::Leave);
    let has_ordered = |name: &String| {
        let is_new = |done: &&Done| matches!(done.action, Action::Issued | Action::Renewed);
        run.lineages
            .iter()
            .filter(is_new)
            .any(|done| done.status.name == *name)
    };
    let passed: Vec<String> = passed
        .into_iter()
        .filter(|(name, _)| has_ordered(name))
        .map(|(_, note)| note)
        .collect();
    run.notes.extend(passed);
    run.notes.extend(private_ca::crl::keep_fresh(context));
    run.notes.extend(derived::keep_fresh(context));
    tell_of_rollover(context, &mut run);
    // A person is told; the hourly runs would fill the log for weeks. Those without any certificate were told why they wait.
    let is_told = |done: &&Done| context.env.streams.stdout_is_terminal && done.status.not_after.is_some();
    let elsewhere = run.lineages.iter().filter(is_told);
    let advised: Vec<String> = elsewhere
        .filter_map(|done| Some(format!("{}: {}", done.status.name, done.status.advice.as_ref()?)))
        .collect();
    run.notes.extend(advised);
    note_last_run(context);
    Ok(run)
}

/// Goes on with the rollover of the host's key. One that failed makes the lineage red, as a deployment that failed does.
fn tell_of_rollover(context: &Context<'_>, run: &mut Run) {
    let tended = dns::rollover::tend(context);
    run.notes.extend(tended.notes);
    if tended.error.is_none() && !tended.had_failed {
        return;
    }
    let certificate = context.default_certificate();
    let concerned = certificate.and_then(|certificate| {
        let mut lineages = run.lineages.iter_mut();
        let done = lineages.find(|done| done.status.name == certificate.name)?;
        Some((certificate, done))
    });
    let Some((certificate, done)) = concerned else {
        run.notes
            .extend(tended.error.map(|error| format!("TLSA records: {error}")));
        return;
    };
    if let Ok(lineage) = context.load(&certificate.name) {
        done.status = status::describe(context, certificate, &lineage);
    }
    if tended.error.is_some() && done.error.is_none() {
        done.error = tended.error;
        if done.action == Action::Nothing {
            done.action = Action::Failed;
        }
    }
}

/// What is to be done, and what is known already to need nothing: of ten thousand lineages only the outcome is kept.
struct Loaded<'a> {
    works: Vec<Work<'a>>,
    idle: Vec<(usize, Done)>,
}

/// Reads every record, mends links, and decides. `is_settled` says whether there is nothing to ask about one that is not
/// due.
fn load<'a>(
    context: &Context<'_>,
    selected: &[&'a Certificate],
    urgency: Urgency,
    is_settled: impl Fn(&Work<'_>) -> bool,
) -> Loaded<'a> {
    let behind = sni::behind(context);
    let default = context.default_certificate().map(|one| one.name.as_str());
    let mut loaded = Loaded {
        works: Vec::new(),
        idle: Vec::with_capacity(selected.len()),
    };
    for (place, certificate) in selected.iter().enumerate() {
        let mut work = Work {
            place,
            certificate,
            lineage: Lineage::new(&certificate.name),
            next: Next::Wait(context.now(), String::new()),
            urgency,
            first: false,
            error: None,
            action: Action::Nothing,
            hooks: hooks::Scope::Unfinished,
        };
        match heal::load(context, certificate) {
            Ok(mut lineage) => {
                if behind.contains(&certificate.name) {
                    // A map that was lost, or never made: as far as the links, and no further.
                    lineage.state = lineage.state.min(State::Installed);
                }
                work.first = lineage.newest_complete().is_none();
                work.lineage = lineage;
                work.next = decide(context, certificate, &work.lineage, urgency);
                if let Err(error) = forget_needless_order(context, &mut work) {
                    work.error = Some(error);
                    work.action = Action::Failed;
                }
            }
            Err(error) => {
                work.error = Some(error);
                work.action = Action::Failed;
            }
        }
        // There is more to say about the one that Postfix names, and hooks may be told of what stays as it is.
        let is_told = default == Some(certificate.name.as_str()) || !context.config.hooks.is_empty();
        let is_idle = matches!(work.next, Next::Idle(_)) && !is_told;
        if is_idle && work.error.is_none() && is_settled(&work) {
            loaded.idle.push((place, outcome(context, work)));
        } else {
            loaded.works.push(work);
        }
    }
    loaded
}

/// Forgets an order that failed, where none is needed now: a renewal that was forced, and failed or was killed before the CA
/// knew of it, leaves nothing unfinished.
fn forget_needless_order(context: &Context<'_>, work: &mut Work<'_>) -> Result<()> {
    if !matches!(work.next, Next::Idle(_)) {
        return Ok(());
    }
    order::discard_needless(context, work.certificate, &work.lineage)?;
    let name = &work.certificate.name;
    context
        .store
        .discard_unfinished_record(name)
        .map_err(|error| store_error(format!("the state of {name} could not be tidied up"), &error))?;
    if work.lineage.failure_of(Concern::Order).is_some() {
        work.lineage.forget_failure_of(Concern::Order);
        context.save(&work.lineage)?;
    }
    Ok(())
}

fn decide(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage, urgency: Urgency) -> Next {
    let wanted = Wanted::new(context, certificate, lineage, is_served(lineage));
    let next = schedule::next(lineage, &wanted.policy(), context.now(), urgency);
    match (&next, lineage.generation) {
        (Next::Deploy(number), live) if live != Some(*number) && has_expired(context, lineage, *number) => {
            let why =
                format!("generation {number} is all that is left on disk, and its certificate has expired");
            Next::Wait(context.now(), why)
        }
        // An endpoint that was added is not proven by what was proven before.
        (Next::Idle(_), Some(live)) if !rollout::unproven(context, certificate, lineage).is_empty() => {
            Next::Deploy(live)
        }
        _ => next,
    }
}

fn has_expired(context: &Context<'_>, lineage: &Lineage, number: u64) -> bool {
    let generation = lineage.generations.get(&number);
    generation.is_some_and(|generation| generation.not_after <= context.now())
}

/// Returns whether endpoints are to serve the lineage, as far as its record knows.
fn is_served(lineage: &Lineage) -> bool {
    lineage
        .deployment
        .as_ref()
        .is_none_or(|deployment| deployment.verify == Verify::On)
}

/// Returns the lineage, and that a person passes what unattended runs keep to, should a certificate come of it.
fn passed_by_force(context: &Context<'_>, work: &Work<'_>) -> Option<(String, String)> {
    if work.urgency != Urgency::Forced || !matches!(work.next, Next::Order(_)) {
        return None;
    }
    let wanted = Wanted::new(context, work.certificate, &work.lineage, true);
    let until = schedule::capped_until(&work.lineage, &wanted.policy(), context.now())?;
    let note = format!(
        "{}: --force passed renew.max_per_day or renew.max_per_week, which hold back unattended runs until {}",
        work.certificate.name,
        until
            .replace_nanosecond(0)
            .unwrap_or(until)
            .format(&Rfc3339)
            .unwrap_or_default()
    );
    Some((work.certificate.name.clone(), note))
}

/// Orders, deploys and verifies; several lineages at once, one reload.
pub fn carry_out(context: &Context<'_>, works: Vec<Work<'_>>, configuration: Configuration) -> Run {
    let idle = Vec::new();
    finish(context, Loaded { works, idle }, configuration)
}

/// Carries out what is to be done; the outcome has the lineages in the order in which they were asked for.
fn finish(context: &Context<'_>, loaded: Loaded<'_>, configuration: Configuration) -> Run {
    let Loaded { mut works, idle } = loaded;
    let mut notes = Vec::new();
    let errands: Vec<Option<Errand>> = works.iter().map(Work::errand).collect();
    hold_back(context, &mut works, &errands);
    let works = order_what_is_due(context, works, &mut notes);
    let mut works = deploy(context, works, configuration, &mut notes);
    let mut settled: Vec<hooks::Settled<'_, '_>> = works
        .iter_mut()
        .zip(errands)
        .map(|(work, errand)| hooks::Settled {
            certificate: work.certificate,
            lineage: &mut work.lineage,
            error: &mut work.error,
            errand,
        })
        .collect();
    hooks::end(context, &mut settled, &mut notes);
    context.progress.clear();
    // Ten thousand stay where they are: no second list, and no copy to sort them.
    let mut lineages = idle;
    lineages.extend(works.into_iter().map(|work| (work.place, outcome(context, work))));
    lineages.sort_unstable_by_key(|(place, _)| *place);
    let unserved = lineages
        .iter()
        .filter(|(_, done)| done.status.unserved && done.error.is_none());
    notes.extend(unserved.map(|(_, done)| {
        format!(
            "{}: only the files are renewed, since Postfix does not name them; `mailcert apply postfix` puts them into service",
            done.status.name
        )
    }));
    Run {
        lineages: lineages.into_iter().map(|(_, done)| done).collect(),
        notes,
        dry_run: false,
    }
}

/// Tells what was done for a lineage, and where it stands now.
fn outcome(context: &Context<'_>, work: Work<'_>) -> Done {
    let next_try = match &work.next {
        Next::Wait(at, _) if work.action == Action::Waiting && *at > context.now() => Some(*at),
        _ => work
            .lineage
            .failure
            .as_ref()
            .filter(|_| work.error.is_some())
            .map(|failure| failure.retry_at),
    };
    let status = status::describe(context, work.certificate, &work.lineage);
    Done {
        action: work.action,
        next_try: next_try.or_else(|| status.waiting.as_ref().map(|held| held.until)),
        status,
        error: work.error,
    }
}

/// Begins the run's hooks; what they hold back is not ordered in this run.
fn hold_back(context: &Context<'_>, works: &mut [Work<'_>], errands: &[Option<Errand>]) {
    let concerned: Vec<hooks::Concerned<'_>> = works
        .iter()
        .zip(errands)
        .filter_map(|(work, errand)| {
            Some(hooks::Concerned {
                certificate: work.certificate,
                lineage: &work.lineage,
                errand: (*errand)?,
            })
        })
        .collect();
    let mut held = hooks::begin(context, &concerned);
    for work in works {
        if let Some(held) = held.remove(&work.certificate.name) {
            let told = order::refuse(
                context,
                work.certificate,
                &mut work.lineage,
                held.step,
                &held.error,
            );
            work.error = Some(told);
            work.action = Action::Failed;
        }
    }
}

fn order_what_is_due<'a>(
    context: &Context<'_>,
    works: Vec<Work<'a>>,
    notes: &mut Vec<String>,
) -> Vec<Work<'a>> {
    let (mut jobs, mut places) = (Vec::new(), BTreeMap::new());
    let mut works = works;
    for (place, work) in works.iter_mut().enumerate() {
        match &work.next {
            _ if work.error.is_some() => {}
            Next::Order(reason) => {
                places.insert(work.certificate.name.clone(), place);
                let lineage = work.lineage.clone();
                jobs.push(order::Job {
                    certificate: work.certificate,
                    lineage,
                    reason: reason.clone(),
                    urgency: work.urgency,
                });
            }
            Next::Wait(_, why) => {
                work.action = Action::Waiting;
                if work.lineage.failure.is_none() {
                    notes.push(format!("{}: {why}", work.certificate.name));
                }
            }
            Next::Deploy(_) | Next::Idle(_) => {}
        }
    }
    if jobs.is_empty() {
        return works;
    }
    let ordered = match order::run(context, jobs) {
        Ok(ordered) => ordered,
        Err(error) => {
            for place in places.values() {
                works[*place].error = Some(error.clone());
                works[*place].action = Action::Failed;
            }
            return works;
        }
    };
    for done in ordered {
        let Some(work) = places
            .get(&done.certificate.name)
            .and_then(|place| works.get_mut(*place))
        else {
            continue;
        };
        notes.extend(done.notes);
        work.lineage = done.lineage;
        match done.result {
            Ok(generation) => {
                work.action = if work.first {
                    Action::Issued
                } else {
                    Action::Renewed
                };
                work.next = Next::Deploy(generation);
            }
            Err(error) => {
                work.action = Action::Failed;
                work.error = Some(error);
            }
        }
    }
    works
}

/// Puts everything that is complete and not in service into service, with one reload.
fn deploy<'a>(
    context: &Context<'_>,
    mut works: Vec<Work<'a>>,
    configuration: Configuration,
    notes: &mut Vec<String>,
) -> Vec<Work<'a>> {
    let mut moves = Vec::new();
    for work in &mut works {
        let mut lineage = work.lineage.clone();
        let generation = match (&work.next, &work.error) {
            (Next::Deploy(generation), None) => {
                if work.action == Action::Nothing {
                    work.action = Action::Deployed;
                }
                if awaits_order(context, work) {
                    lineage.set_order_failure_aside();
                }
                *generation
            }
            // No certificate came: what there is still belongs into service.
            (Next::Order(_), Some(_)) | (Next::Wait(..), None) if !context.is_interrupted() => {
                let Some(generation) = serves_meanwhile(context, work) else {
                    continue;
                };
                lineage.set_order_failure_aside();
                generation
            }
            _ => continue,
        };
        moves.push(rollout::Move {
            certificate: work.certificate,
            lineage,
            generation,
            hooks: work.hooks,
        });
    }
    if moves.is_empty() {
        return works;
    }
    let rolled = match configuration {
        Configuration::Leave => rollout::run(
            context,
            moves,
            rollout::Files {
                changes: &[],
                journal: None,
            },
        ),
        Configuration::Write => deploy_with_configuration(context, moves, notes),
    };
    match rolled {
        Ok(rolled) => {
            notes.extend(rolled.notes);
            let mut nobodys = rolled
                .error
                .filter(|_| rolled.moves.iter().all(|moved| moved.error.is_none()));
            let mut places: HashMap<&str, &mut Work<'_>> = works
                .iter_mut()
                .map(|work| (work.certificate.name.as_str(), work))
                .collect();
            for moved in rolled.moves {
                if let Some(work) = places.get_mut(moved.certificate.name.as_str()) {
                    work.lineage = moved.lineage;
                    // Why no certificate came is told first: what is put into service meanwhile is an old one.
                    let failed = moved.error.or_else(|| nobodys.take());
                    work.error = work.error.take().or(failed);
                    if work.action == Action::Waiting && work.error.is_some() {
                        work.action = Action::Failed;
                    }
                }
            }
        }
        Err(error) => {
            for work in works
                .iter_mut()
                .filter(|work| matches!(work.next, Next::Deploy(_)) && work.error.is_none())
            {
                work.error = Some(error.clone());
            }
        }
    }
    works
}

/// Returns whether a certificate is to be got, be it now or later: then success in service does not end its failure.
fn awaits_order(context: &Context<'_>, work: &Work<'_>) -> bool {
    let wanted = Wanted::new(context, work.certificate, &work.lineage, is_served(&work.lineage));
    work.lineage.failure.is_some() && schedule::wants_order(&work.lineage, &wanted.policy(), context.now())
}

/// Returns the generation that is to be put into service while a certificate is waited for.
fn serves_meanwhile(context: &Context<'_>, work: &Work<'_>) -> Option<u64> {
    let wanted = Wanted::new(context, work.certificate, &work.lineage, is_served(&work.lineage));
    schedule::meanwhile(&work.lineage, &wanted.policy(), context.now(), work.urgency)
}

/// As `apply postfix dovecot` does it, in the same step as the first certificate.
fn deploy_with_configuration<'a>(
    context: &Context<'_>,
    moves: Vec<rollout::Move<'a>>,
    notes: &mut Vec<String>,
) -> Result<rollout::Rolled<'a>> {
    let coming: HashSet<&str> = moves.iter().map(|one| one.certificate.name.as_str()).collect();
    let planned = plan::servers(context, &coming)?;
    let changes = plan::files(&planned);
    notes.extend(planned.notes);
    if changes.is_empty() {
        return rollout::run(
            context,
            moves,
            rollout::Files {
                changes: &[],
                journal: None,
            },
        );
    }
    for change in &changes {
        context.progress.done(change.diff().trim_end());
    }
    let failed = |error| store_error("the journal could not be used", &error);
    let mut entry = context
        .store
        .begin_entry("issue", context.now())
        .map_err(failed)?;
    let rolled = rollout::run(
        context,
        moves,
        rollout::Files {
            changes: &changes,
            journal: Some(&mut entry),
        },
    )?;
    if !entry.is_empty() {
        let status = if rolled.files_written {
            Status::Done
        } else {
            Status::RolledBack
        };
        rollout::close(context, entry, status)?;
    }
    Ok(rolled)
}

/// Puts work together for commands that already know what is to be deployed.
pub fn deploying<'a>(
    certificate: &'a Certificate,
    lineage: Lineage,
    generation: u64,
    action: Action,
) -> Work<'a> {
    Work {
        place: 0,
        certificate,
        lineage,
        next: Next::Deploy(generation),
        urgency: Urgency::Ordinary,
        first: false,
        error: None,
        action,
        hooks: hooks::Scope::All,
    }
}

/// Puts work together that cannot be done.
pub fn failing<'a>(certificate: &'a Certificate, lineage: Lineage, error: Error) -> Work<'a> {
    Work {
        place: 0,
        certificate,
        lineage,
        next: Next::Idle(schedule::Due {
            at: OffsetDateTime::UNIX_EPOCH,
            reason: schedule::Reason::Lifetime,
        }),
        urgency: Urgency::Ordinary,
        first: false,
        error: Some(error),
        action: Action::Failed,
        hooks: hooks::Scope::Unfinished,
    }
}

/// Leaves when `renew` ran last; for people, so nothing is synced and a failure is no failure.
fn note_last_run(context: &Context<'_>) {
    if let Ok(text) = context.now().format(&Rfc3339) {
        context.store.note_last_run(&text);
    }
}

/// Returns when `renew` ran last.
pub fn last_run(store: &Store) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(store.last_run()?.trim(), &Rfc3339).ok()
}

/// Returns whether a key may replace the one in use: it must be good and belong to the certificate.
///
/// # Errors
/// What is wrong with it.
pub fn readable_key(pem: &[u8], what: &str) -> Result<PrivateKey> {
    PrivateKey::from_pem(pem).map_err(|error| Error::failed(format!("{what} cannot be used")).cause(error))
}
