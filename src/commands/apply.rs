//! `apply`: carries a plan out in the right order, journalled: certificates, then what names their files, records, timer.
//!
//! What is independent goes on after something fails; the exit code says that not all is well.

use std::collections::{HashMap, HashSet};

use super::{
    Context, dns, dovecot, firewall, heal,
    hooks::{self, Errand},
    mail,
    order::{self, Job},
    outcome::{Action, Changes, Done, together},
    plan as planning, rollout, sni, status, store_error,
    target::Target,
};
use crate::{
    config::Certificate,
    env::files,
    error::{Error, ExitCode, Result},
    model::{
        lineage::{Lineage, State, Verify},
        plan::{Change, FileChange, FirewallChange, Plan},
        schedule::{self, Next, Urgency},
    },
    postfix::inspect::FILE_LIMIT,
    store::journal::{Entry, Status},
    timer,
};

/// Returns whether a lineage among the targets is not yet where it should be, although no file differs.
///
/// # Errors
/// When a record cannot be read.
pub fn has_unfinished(context: &Context<'_>, targets: &[Target]) -> Result<bool> {
    Ok(names_server(targets) && !unfinished(context)?.is_empty())
}

/// Returns whether a server is among the targets that serves certificates.
fn names_server(targets: &[Target]) -> bool {
    targets.contains(&Target::Postfix) || targets.contains(&Target::Dovecot)
}

/// Returns lineages with a complete generation that is not in service.
fn unfinished<'a>(context: &'a Context<'_>) -> Result<Vec<rollout::Move<'a>>> {
    let mut moves = Vec::new();
    let behind = sni::behind(context);
    for certificate in &context.config.certificates {
        let mut lineage = context.load(&certificate.name)?;
        if behind.contains(&certificate.name) {
            lineage.state = lineage.state.min(State::Installed);
        }
        let verify = lineage
            .deployment
            .as_ref()
            .is_none_or(|one| one.verify == Verify::On);
        let wanted = super::Wanted::new(context, certificate, &lineage, verify);
        let next = schedule::next(&lineage, &wanted.policy(), context.now(), Urgency::Forced);
        if let Next::Deploy(generation) = next {
            moves.push(rollout::Move {
                certificate,
                lineage,
                generation,
                hooks: hooks::Scope::Unfinished,
            });
        }
    }
    Ok(moves)
}

/// Adds moves of lineages that are not yet among them.
fn add_moves<'a>(moves: &mut Vec<rollout::Move<'a>>, more: Vec<rollout::Move<'a>>) {
    let known: HashSet<&str> = moves.iter().map(|one| one.certificate.name.as_str()).collect();
    let new: Vec<_> = more
        .into_iter()
        .filter(|one| !known.contains(one.certificate.name.as_str()))
        .collect();
    moves.extend(new);
}

/// Carries out a plan.
///
/// # Errors
/// When the lock is held or the journal cannot be begun; what fails later is in the outcome.
pub fn run(context: &Context<'_>, targets: &[Target], plan: &Plan, command: &str) -> Result<Changes> {
    let _lock = context.lock(command)?;
    firewall::take_up(context);
    let journal = |error| store_error("the journal could not be used; nothing was changed", &error);
    let mut applying = Applying {
        context,
        entry: context
            .store
            .begin_entry(command, context.now())
            .map_err(journal)?,
        done: Changes {
            applied: true,
            ..Changes::planned(Plan::default(), ExitCode::Done)
        },
        failures: plan.refusals.clone(),
    };
    applying.done.notes.clone_from(&plan.notes);
    applying.certificates_and_servers(targets, plan);
    for change in &plan.changes {
        if context.is_interrupted() {
            applying.failures.push(
                Error::failed("the apply was interrupted; what was begun was brought to its end")
                    .remedy(format!("run `mailcert {command}` again to do the rest")),
            );
            break;
        }
        let applied = match change {
            Change::Rrset(change) => applying.record(change),
            Change::File(change) if !mail::is_server_file(context, &change.path) => applying.file(change),
            // What was to be served may have been taken back: then nobody is to knock there either.
            Change::Firewall(change)
                if names_server(targets) && !firewall::is_served(context, change.port) =>
            {
                applying.done.notes.push(format!(
                    "{} is not opened: nothing serves port {}",
                    change.what(),
                    change.port
                ));
                continue;
            }
            Change::Firewall(change) => applying.firewall(change),
            Change::Timer(change) => applying.timer(change),
            Change::Certificate(_) | Change::Derived(_) | Change::File(_) | Change::SniMap(_) => continue,
        };
        match applied {
            Ok(()) => applying.done.changes.push(change.clone()),
            Err(error) => applying.failures.push(error),
        }
    }
    applying.finish()
}

/// Returns the lineage that everybody is to be served, and those that are served by name: the ones that no port served until now,
/// or all of them where Dovecot is given them anew.
fn named_by_files<'a>(context: &'a Context<'_>, files: &[FileChange]) -> Vec<rollout::Move<'a>> {
    let is_for_dovecot = files.iter().any(|file| dovecot::is_file(context, &file.path));
    let default = context.default_certificate();
    let is_default = |one: &Certificate| default.is_some_and(|default| default.name == one.name);
    let named = context
        .config
        .certificates
        .iter()
        .filter(|one| one.sni || is_default(one));
    let mut moves = Vec::new();
    for certificate in named {
        let Ok(lineage) = context.load(&certificate.name) else {
            continue;
        };
        let is_served = lineage
            .deployment
            .as_ref()
            .is_some_and(|one| one.verify == Verify::On);
        if let Some(generation) = lineage.generation
            && (is_default(certificate) || !is_served || is_for_dovecot)
        {
            moves.push(rollout::Move {
                certificate,
                lineage,
                generation,
                hooks: hooks::Scope::Unfinished,
            });
        }
    }
    moves
}

/// A lineage that the apply was to do something for, and what came of it.
struct Over<'a> {
    certificate: &'a Certificate,
    lineage: Lineage,
    error: Option<Error>,
    errand: Errand,
}

/// Begins the hooks of the run; returns the lineages that they hold back, which are no longer among the jobs.
fn hold_back<'a, 'm>(
    context: &Context<'_>,
    jobs: &mut Vec<Job<'a>>,
    moves: impl Iterator<Item = &'m rollout::Move<'a>>,
) -> Vec<Over<'a>>
where
    'a: 'm,
{
    let orders = jobs.iter().map(|job| hooks::Concerned {
        certificate: job.certificate,
        lineage: &job.lineage,
        errand: Errand::Order,
    });
    let deployments = moves.map(|one| hooks::Concerned {
        certificate: one.certificate,
        lineage: &one.lineage,
        errand: Errand::Deploy,
    });
    let concerned: Vec<hooks::Concerned<'_>> = orders.chain(deployments).collect();
    let mut held = hooks::begin(context, &concerned);
    let (stopped, going): (Vec<Job<'a>>, Vec<Job<'a>>) = std::mem::take(jobs)
        .into_iter()
        .partition(|job| held.contains_key(&job.certificate.name));
    *jobs = going;
    let over = |mut job: Job<'a>| {
        let held = held.remove(&job.certificate.name)?;
        let error = order::refuse(context, job.certificate, &mut job.lineage, held.step, &held.error);
        Some(Over {
            certificate: job.certificate,
            lineage: job.lineage,
            error: Some(error),
            errand: Errand::Order,
        })
    };
    stopped.into_iter().filter_map(over).collect()
}

/// Returns whether another run has made a change since the plan.
///
/// One that changes nothing is not: what is derived from the file is lost.
fn is_made(change: &FileChange) -> bool {
    change.before != change.after
        && files::read_if_exists(&change.path, FILE_LIMIT).is_ok_and(|found| found == change.after)
}

struct Applying<'c, 'e> {
    context: &'c Context<'e>,
    entry: Entry,
    done: Changes,
    failures: Vec<Error>,
}

impl Applying<'_, '_> {
    /// Gets the certificates, then puts them and the configuration that names them into service with one reload.
    fn certificates_and_servers(&mut self, targets: &[Target], plan: &Plan) {
        let context = self.context;
        let mut moves = Vec::new();
        let mut jobs = Vec::new();
        for change in &plan.changes {
            let Change::Certificate(change) = change else {
                continue;
            };
            let Some(certificate) = context.find_certificate(&change.lineage) else {
                continue;
            };
            match heal::load(context, certificate) {
                // Another run got it since the plan was made.
                Ok(lineage) if planning::why_wanted(&lineage, &certificate.identifiers).is_none() => {}
                Ok(lineage) => jobs.push(Job {
                    certificate,
                    lineage,
                    reason: change.reason.clone(),
                    urgency: Urgency::Ordinary,
                }),
                Err(error) => self.failures.push(error),
            }
        }
        let mut files: Vec<FileChange> = planning::files(plan)
            .into_iter()
            .filter(|file| mail::is_server_file(context, &file.path))
            .filter(|file| !is_made(file))
            .collect();
        let mut unfinished_moves = Vec::new();
        if names_server(targets) {
            unfinished_moves = unfinished(context).unwrap_or_default();
        }
        // The certificates that the files name are proven on the wire, also when they are not new.
        let mut named = Vec::new();
        if !files.is_empty() {
            named = named_by_files(context, &files);
        }
        let ordered: HashSet<&str> = jobs.iter().map(|job| job.certificate.name.as_str()).collect();
        for moves in [&mut unfinished_moves, &mut named] {
            moves.retain(|one| !ordered.contains(one.certificate.name.as_str()));
        }
        let mut over = hold_back(context, &mut jobs, unfinished_moves.iter().chain(&named));
        if !jobs.is_empty() {
            match order::run(context, jobs) {
                Err(error) => self.failures.push(error),
                Ok(ordered) => {
                    for one in ordered {
                        self.done.notes.extend(one.notes);
                        match one.result {
                            Ok(generation) => moves.push(rollout::Move {
                                certificate: one.certificate,
                                lineage: one.lineage,
                                generation,
                                hooks: hooks::Scope::Unfinished,
                            }),
                            Err(error) => over.push(Over {
                                certificate: one.certificate,
                                lineage: one.lineage,
                                error: Some(error),
                                errand: Errand::Order,
                            }),
                        }
                    }
                }
            }
        }
        let missing: HashSet<String> = over.iter().map(|one| one.certificate.name.clone()).collect();
        moves.extend(unfinished_moves);
        let default = context.default_certificate().map(|one| &one.name);
        let is_gone = |name: &str| missing.contains(name) && context.store.live_points_at(name).is_none();
        let client = context
            .config
            .certificates
            .iter()
            .any(|one| context.config.is_client_certificate(&one.name) && is_gone(&one.name));
        if !files.is_empty() && (client || default.is_some_and(|name| missing.contains(name))) {
            self.done.notes.push(
                "Postfix and Dovecot are left as they are: the certificate that they were to be given was not issued".into(),
            );
            files.clear();
        }
        if !files.is_empty() {
            add_moves(&mut moves, named);
        }
        let is_map_behind = plan
            .changes
            .iter()
            .any(|change| matches!(change, Change::Derived(_) | Change::SniMap(_)));
        if !moves.is_empty() || !files.is_empty() || is_map_behind {
            self.roll_out(moves, &files, plan, over);
        } else {
            self.end(over, |_| false);
        }
    }

    /// Ends the hooks of the run, and tells of each lineage what came of it.
    fn end(&mut self, mut over: Vec<Over<'_>>, was_issued: impl Fn(&str) -> bool) {
        let context = self.context;
        let mut settled: Vec<hooks::Settled<'_, '_>> = over
            .iter_mut()
            .map(|one| hooks::Settled {
                certificate: one.certificate,
                lineage: &mut one.lineage,
                error: &mut one.error,
                errand: Some(one.errand),
            })
            .collect();
        hooks::end(context, &mut settled, &mut self.done.notes);
        for one in over {
            let not_issued = one.errand == Errand::Order && one.error.is_some();
            self.done.lineages.push(Done {
                action: match (&one.error, was_issued(&one.certificate.name)) {
                    (Some(_), _) => Action::Failed,
                    (None, true) => Action::Issued,
                    (None, false) => Action::Deployed,
                },
                status: status::describe(context, one.certificate, &one.lineage),
                next_try: one
                    .lineage
                    .failure
                    .as_ref()
                    .filter(|_| not_issued)
                    .map(|failure| failure.retry_at),
                error: one.error,
            });
        }
    }

    fn roll_out<'b>(
        &mut self,
        moves: Vec<rollout::Move<'b>>,
        files: &[FileChange],
        plan: &Plan,
        mut over: Vec<Over<'b>>,
    ) {
        let context = self.context;
        let first: HashMap<String, bool> = moves
            .iter()
            .map(|one| (one.certificate.name.clone(), one.lineage.state == State::Issued))
            .collect();
        let rolled = rollout::run(
            context,
            moves,
            rollout::Files {
                changes: files,
                journal: Some(&mut self.entry),
            },
        );
        let rolled = match rolled {
            Ok(rolled) => rolled,
            Err(error) => {
                self.failures.push(error);
                return self.end(over, |_| false);
            }
        };
        self.done.notes.extend(rolled.notes);
        let told = rolled.moves.iter().any(|one| one.error.is_some());
        over.extend(rolled.moves.into_iter().map(|one| Over {
            certificate: one.certificate,
            lineage: one.lineage,
            error: one.error,
            errand: Errand::Deploy,
        }));
        self.end(over, |name| first.get(name).copied().unwrap_or(false));
        if let Some(error) = rolled.error.filter(|_| !told) {
            self.failures.push(error);
        }
        if rolled.files_written {
            self.done.changes.extend(files.iter().cloned().map(Change::File));
        } else if let Err(error) = self.forget_files() {
            self.failures.push(error);
        }
        let lineages = self
            .done
            .lineages
            .iter()
            .filter(|done| done.action != Action::Failed);
        let good: HashSet<&str> = lineages.map(|done| done.status.name.as_str()).collect();
        let done = plan.changes.iter().filter(|change| match change {
            Change::Certificate(change) => good.contains(change.lineage.as_str()),
            Change::Derived(_) => rolled.derived_made,
            Change::SniMap(_) => rolled.sni_map_made,
            Change::File(_) | Change::Firewall(_) | Change::Rrset(_) | Change::Timer(_) => false,
        });
        let done: Vec<Change> = done.cloned().collect();
        self.done.changes.splice(0..0, done);
    }

    /// Closes an entry whose files were taken back, or never written: there is nothing of it to undo.
    fn forget_files(&mut self) -> Result<()> {
        if self.entry.files.is_empty() {
            return Ok(());
        }
        self.entry.status = Status::RolledBack;
        self.save()?;
        let failed = |error| store_error("the journal could not be used", &error);
        let command = self.entry.command.clone();
        self.entry = self
            .context
            .store
            .begin_entry(&command, self.context.now())
            .map_err(failed)?;
        Ok(())
    }

    fn record(&mut self, change: &crate::model::plan::RrsetChange) -> Result<()> {
        self.context
            .wait(dns::policy::refuse_early_record(self.context, change))??;
        self.entry.rrsets.push(change.clone());
        self.save()?;
        let applied = self.context.wait(dns::apply(self.context, change))?;
        if let Err(error) = &applied {
            // A change that the server refused was not made; one that is only not seen everywhere yet was.
            if error.exit_code() != ExitCode::NotYet {
                self.entry.rrsets.pop();
                self.save()?;
            }
        }
        self.done.notes.extend(applied?);
        Ok(())
    }

    fn file(&mut self, change: &FileChange) -> Result<()> {
        self.entry.files.push(change.clone());
        self.save()?;
        let failed = |error| Error::failed("a file could not be written").cause(error);
        let Some(content) = &change.after else {
            return files::remove(&change.path).map_err(failed);
        };
        if let Some(parent) = change.path.parent() {
            files::make_directory(parent, 0o755).map_err(failed)?;
        }
        files::replace_config(&change.path, content)
            .map(|_| ())
            .map_err(failed)
    }

    fn firewall(&mut self, change: &FirewallChange) -> Result<()> {
        self.entry.firewall.push(change.clone());
        self.save()?;
        let applied = firewall::carry_out(self.context, change);
        if applied.is_err() {
            self.entry.firewall.pop();
            self.save()?;
        }
        applied
    }

    fn timer(&mut self, change: &crate::model::plan::TimerChange) -> Result<()> {
        self.entry.timer = Some(change.clone());
        self.save()?;
        timer::enable(self.context.env).map_err(|error| {
            Error::failed(format!("{} could not be enabled", change.unit))
                .cause(error)
                .remedy(format!("run `systemctl enable --now {}`", change.unit))
        })
    }

    /// Saves the entry, or removes it when nothing is left in it to undo.
    fn save(&self) -> Result<()> {
        let failed = |error| store_error("the journal could not be written; nothing was changed", &error);
        if self.entry.is_empty() {
            return self.context.store.drop_entry(&self.entry).map_err(failed);
        }
        self.context.store.save_entry(&self.entry).map_err(failed)
    }

    fn finish(mut self) -> Result<Changes> {
        if !self.entry.is_empty() {
            self.entry.status = Status::Done;
            self.save()?;
        }
        self.done.error = together(self.failures);
        self.context.progress.clear();
        Ok(self.done)
    }
}
