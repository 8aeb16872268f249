//! Puts generations into service: links, configuration, reload, proof on the wire; and back when something got worse.
//!
//! Every endpoint is probed before the change too. One that completed TLS before and now does not, or serves neither the
//! old nor the new leaf, takes the change back. One that was down or wrong before, or still serves the old leaf, is a
//! failure and takes nothing back (`design`, section 1). A Dovecot that does not take what it is given is worse: it goes on with
//! what it had, and would not start again. A server that ends meanwhile is given back what it had, and started.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use time::OffsetDateTime;

mod asking;
mod restore;
mod sample;
mod taking_back;
mod unproven;

use asking::{ask_until_proven, sight};
pub use restore::{Concerned, Restored, forget_unserved, judge_restoring, restore_servers};
use sample::Sample;
use taking_back::WORTH_GOING_BACK_TO;
use unproven::listed;
pub use unproven::{ChangedServices, changed_services, keep_proven_services, unproven};

use super::{
    Context, Wanted, derived, doctor, dovecot, hooks,
    mail::{self, NotReloaded},
    note, order, sender_login, sni, store_error,
};
use crate::{
    config::{Certificate, Reload},
    dovecot::reload::Watch,
    env::{files, threads},
    error::{Error, Result},
    model::{
        certificate::Sha256,
        endpoint::{Asked, Endpoint},
        finding::Finding,
        lineage::{Before, Deployment, Failure, Lineage, Served, State, Step, Verify},
        plan::FileChange,
    },
    postfix::inspect::{FILE_LIMIT, Instance},
    probe::{
        judge::{Expectation, Judgment, Verdict},
        verify::Patience,
    },
    store::journal::{Entry, Status},
};

/// The pause between two looks at a log.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(200);

/// Something to ask, and what it is to serve.
type Expected = (Asked, Expectation);

/// One lineage and the generation that is to serve.
pub struct Move<'a> {
    /// The lineage as the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record.
    pub lineage: Lineage,
    /// The generation to put into service.
    pub generation: u64,
    /// Which of its hooks are run.
    pub hooks: hooks::Scope,
}

/// What became of a move.
pub struct Moved<'a> {
    /// The lineage as the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record, saved.
    pub lineage: Lineage,
    /// Why it is not as far as it should be.
    pub error: Option<Error>,
}

/// What a rollout did.
pub struct Rolled<'a> {
    /// The moves, in their order.
    pub moves: Vec<Moved<'a>>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
    /// A failure that is nobody's in particular: the configuration was refused or taken back.
    pub error: Option<Error>,
    /// Whether the configuration files were written and stayed.
    pub files_written: bool,
    /// Whether the SNI map was made anew, or there is none to make.
    pub sni_map_made: bool,
    /// Whether what else is derived was made anew, or there is nothing to make.
    pub derived_made: bool,
}

/// Configuration files to write in the same step.
pub struct Files<'a> {
    /// The changes; empty for a renewal, which never edits configuration.
    pub changes: &'a [FileChange],
    /// Where they are kept for undo; already on disk, as begun.
    pub journal: Option<&'a mut Entry>,
}

/// Puts all these generations into service with one reload.
///
/// # Errors
/// Only for what stops everything before anything was touched; the rest is told per move.
pub fn run<'a>(context: &Context<'_>, moves: Vec<Move<'a>>, files: Files<'_>) -> Result<Rolled<'a>> {
    let server = mail::inspect(context);
    // A Dovecot that refuses its own configuration goes on with what it has, and keeps nothing from Postfix.
    let (dovecot, unseen) = match dovecot::inspect(context) {
        Ok(dovecot) => (dovecot, None),
        // What is none of ours is nobody's failure here.
        Err(error) => (None, Some(error).filter(|_| dovecot::names_ours(context))),
    };
    let mut rollout = Rollout {
        context,
        dovecot,
        unseen,
        reloads_dovecot: false,
        dovecot_log: None,
        notes: Vec::new(),
        expected: BTreeMap::new(),
        unasked: BTreeMap::new(),
        baseline: Vec::new(),
        moves: moves.into_iter().map(Moving::from).collect(),
        error: None,
        written: Vec::new(),
        left: None,
        sni_map_made: false,
        derived_made: false,
    };
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            // Files on disk are still put where they belong: a daemon that is mended finds them.
            rollout.install();
            rollout.fail_all(Step::Deploy, &error);
            return Ok(rollout.finish());
        }
    };
    rollout.run(server.as_ref(), files);
    Ok(rollout.finish())
}

/// A move on its way.
struct Moving<'a> {
    certificate: &'a Certificate,
    lineage: Lineage,
    generation: u64,
    previous: Option<u64>,
    /// Whether endpoints were to serve the lineage until now.
    was_served: bool,
    hooks: hooks::Scope,
    error: Option<Error>,
}

impl<'a> From<Move<'a>> for Moving<'a> {
    fn from(one: Move<'a>) -> Self {
        let was_served = one
            .lineage
            .deployment
            .as_ref()
            .is_some_and(|deployment| deployment.verify == Verify::On);
        let mut moving = Self {
            certificate: one.certificate,
            lineage: one.lineage,
            generation: one.generation,
            previous: None,
            was_served,
            hooks: one.hooks,
            error: None,
        };
        // Only a run that was cut short had begun to leave another generation than the live one.
        let deployment = moving.lineage.deployment.as_ref();
        let resumed = deployment
            .filter(|_| moving.was_cut_short())
            .and_then(|deployment| deployment.previous);
        moving.previous = resumed
            .or(moving.lineage.generation)
            .filter(|previous| *previous != moving.generation);
        moving
    }
}

impl Moving<'_> {
    /// Returns whether a run that was to put this generation into service ended before it had judged any endpoint.
    ///
    /// One whose endpoints were judged has had its run; what they do now is what counts next.
    fn was_cut_short(&self) -> bool {
        self.lineage.deployment.as_ref().is_some_and(|deployment| {
            let asked = deployment.verify == Verify::On;
            let unjudged = asked && deployment.endpoints.is_empty() && self.lineage.state < State::Verified;
            deployment.generation == self.generation && unjudged
        })
    }

    /// Points the live link at the generation.
    fn install(&mut self, context: &Context<'_>) -> Result<()> {
        let name = &self.certificate.name;
        let was = (self.lineage.generation, self.lineage.state);
        self.lineage.generation = Some(self.generation);
        self.lineage.state = State::Installed;
        // The record comes first, with the baseline in it: it says what is to be in use, and a run that is killed before the
        // link is swapped has the link mended by the next one, which goes on from there.
        let installed = context.save(&self.lineage).and_then(|()| {
            let failed = |error| store_error(format!("{name} could not be installed"), &error);
            context.store.point_live_at(name, self.generation).map_err(failed)
        });
        match installed {
            Ok(()) => note::reached(context, &mut self.lineage, Step::Install),
            Err(_) => {
                (self.lineage.generation, self.lineage.state) = was;
                // The link may have moved all the same, where only its fsync failed: the record is not to differ from it. Where
                // this fails too, the next run mends the link from the record.
                let _ = match was.0 {
                    Some(previous) => context.store.point_live_at(name, previous),
                    None => Ok(()),
                };
            }
        }
        installed
    }

    /// Returns the generation to go back to, when it is worth going back to.
    fn way_back(&self, now: OffsetDateTime) -> Option<u64> {
        self.previous.filter(|number| {
            let generation = self.lineage.generations.get(number);
            generation.is_some_and(|old| {
                old.not_after - now >= WORTH_GOING_BACK_TO && self.lineage.revocation_of(old).is_none()
            })
        })
    }
}

struct Rollout<'c, 'e, 'a> {
    context: &'c Context<'e>,
    /// The Dovecot instance, where it is managed.
    dovecot: Option<crate::dovecot::inspect::Instance>,
    /// Why it cannot be looked at.
    unseen: Option<Error>,
    /// Whether it is given something else than it serves.
    reloads_dovecot: bool,
    /// Its log since it was last reloaded.
    dovecot_log: Option<Watch>,
    notes: Vec<String>,
    /// Which lineage each endpoint is to serve, and each name of the SNI map whose certificate is moved.
    expected: BTreeMap<Asked, String>,
    /// Lineages of which no name is asked for, since there are very many, each with one that would be.
    unasked: BTreeMap<String, Asked>,
    baseline: Vec<Before>,
    moves: Vec<Moving<'a>>,
    error: Option<Error>,
    /// Configuration files that were written and stay.
    written: Vec<FileChange>,
    /// Configuration files that an apply wrote, and its entry: it was killed before it could prove them.
    left: Option<(Entry, Vec<FileChange>)>,
    sni_map_made: bool,
    derived_made: bool,
}

impl<'a> Rollout<'_, '_, 'a> {
    fn run(&mut self, server: Option<&Instance>, files: Files<'_>) {
        let context = self.context;
        let asks_postfix = context.config.postfix.verify != crate::config::Verify::Endpoints(Vec::new());
        if asks_postfix || dovecot::is_asked(context) {
            // Of the SNI map only what is moved is asked for on the wire: of the rest postmap tells that it stays the same.
            let in_sni_map: Vec<&Certificate> = self.moves.iter().map(|one| one.certificate).collect();
            let in_sni_map: Vec<&Certificate> = in_sni_map.into_iter().filter(|one| one.sni).collect();
            match context.wait(mail::expected(context, server, files.changes, &in_sni_map)) {
                Ok(expected) => {
                    let sample = Sample::of(expected);
                    self.notes.extend(sample.note());
                    self.expected = sample.asked;
                    self.unasked = sample.unasked;
                }
                Err(error) => return self.fail_all(Step::Deploy, &error),
            }
        }
        if context.config.postfix.reload == Reload::Never {
            self.install();
            if self.make_sni_map(server, &files) && self.make_derived(server, &files) {
                self.write_files(server, files);
            }
            return;
        }
        self.leave_unknown_out();
        self.baseline = self.look();
        self.left = self.left_by_a_killed_apply(files.changes);
        self.reloads_dovecot = self.concerns_dovecot(files.changes);
        self.install();
        let is_made = self.make_sni_map(server, &files) && self.make_derived(server, &files);
        if !is_made || !self.write_files(server, files) {
            return;
        }
        // Dovecot first: a Postfix that finds no listener where it is told to ask who may log in serves none of those ports for a
        // minute (master(8), throttling).
        let reloaded = match self.reload_dovecot() {
            // It would not start with them either.
            Err(NotReloaded::Refused(error)) => Err(self.take_files_back(server, error)),
            // It served a moment ago: who knows whether with these files it would again.
            Err(NotReloaded::NotRunning(error)) if self.served(Daemon::Dovecot) => {
                Err(self.take_files_back(server, error))
            }
            // Postfix is proven all the same.
            Err(NotReloaded::NotRunning(error)) => Ok(Some(error)),
            Ok(()) => {
                if self.reloads_dovecot && self.dovecot.is_some() {
                    dovecot::await_auth_socket(context);
                }
                Ok(None)
            }
        };
        let reloaded = reloaded.and_then(|without_dovecot| match self.reload(server) {
            Err(NotReloaded::Refused(error)) => Err(self.take_files_back(server, error)),
            Err(NotReloaded::NotRunning(error)) if self.served(Daemon::Postfix) => {
                Err(self.take_files_back(server, error))
            }
            Err(NotReloaded::NotRunning(error)) => Err(error),
            Ok(()) => Ok(without_dovecot.or_else(|| self.unseen.take())),
        });
        let without_dovecot = match reloaded {
            Ok(without_dovecot) => without_dovecot,
            Err(error) => {
                self.fail_all(Step::Deploy, &error);
                self.error = Some(error);
                return;
            }
        };
        self.reach(State::Deployed);
        if let Some(error) = without_dovecot {
            self.fail_all(Step::Deploy, &error);
            self.error = Some(error);
        }
        self.run_hooks();
        self.tell_unserved();
        self.prove(server);
    }

    /// Takes endpoints out that are to serve a lineage of which nothing is known: an operator's line in master.cf names
    /// files that are none of ours, or not yet. They keep nothing else from being proven.
    fn leave_unknown_out(&mut self) {
        let moved: HashSet<&String> = self.moves.iter().map(|one| &one.certificate.name).collect();
        let named: BTreeSet<&String> = self.expected.values().collect();
        let unknown: HashSet<String> = named
            .into_iter()
            .filter(|name| !moved.contains(name))
            .filter(|name| {
                self.context
                    .load(name)
                    .is_ok_and(|lineage| lineage.live().is_none())
            })
            .cloned()
            .collect();
        self.expected.retain(|asked, name| {
            let is_known = !unknown.contains(name);
            if !is_known {
                self.notes.push(format!(
                    "{asked} is not asked: it names the certificate {name}, and there is none of that name; \
                     `mailcert check postfix` shows its files"
                ));
            }
            is_known
        });
    }

    /// Probes every endpoint as it is before the change; a baseline kept by a run that was killed is used again.
    fn look(&self) -> Vec<Before> {
        let kept = self
            .moves
            .iter()
            .filter_map(|one| one.lineage.deployment.as_ref().map(|d| (one, d)));
        let kept: Vec<Before> = kept
            .filter(|(one, _)| one.was_cut_short())
            .flat_map(|(_, deployment)| deployment.baseline.clone())
            .collect();
        let known: HashSet<Asked> = kept.iter().map(Before::asked).collect();
        let unknown: Vec<&Asked> = self
            .expected
            .keys()
            .filter(|asked| !known.contains(asked))
            .collect();
        let mut baseline = kept;
        if !unknown.is_empty() {
            let tally = self
                .context
                .progress
                .tally("looking at what is served now", unknown.len());
            let sighted = self.context.wait(sight(self.context, &unknown, &tally));
            baseline.extend(sighted.and_then(|sighted| sighted).unwrap_or_default());
        }
        baseline
    }

    /// Finds what a killed apply wrote and nobody has proved yet: it is put back too when a port got worse.
    fn left_by_a_killed_apply(&self, changes: &[FileChange]) -> Option<(Entry, Vec<FileChange>)> {
        if !self.moves.iter().any(Moving::was_cut_short) {
            return None;
        }
        let entry = self.context.store.last_entry().ok()??;
        if entry.status != Status::Begun {
            return None;
        }
        let as_written = |file: &&FileChange| {
            mail::is_server_file(self.context, &file.path)
                && changes.iter().all(|change| change.path != file.path)
                && files::read_if_exists(&file.path, FILE_LIMIT).is_ok_and(|found| found == file.after)
        };
        let left: Vec<FileChange> = entry.files.iter().filter(as_written).cloned().collect();
        (!left.is_empty()).then_some((entry, left))
    }

    /// Returns whether Dovecot has to read its files again: they are written, or they name a lineage that moves.
    fn concerns_dovecot(&self, changes: &[FileChange]) -> bool {
        let Some(instance) = &self.dovecot else {
            return false;
        };
        let left = self.left.iter().flat_map(|(_, files)| files);
        let mut files = changes.iter().chain(left);
        let named = dovecot::named_lineages(self.context, instance);
        files.any(|file| dovecot::is_file(self.context, &file.path))
            || self.moves.iter().any(|one| named.contains(&one.certificate.name))
    }

    /// Points the live links at the new generations.
    fn install(&mut self) {
        let context = self.context;
        let served_lineages: HashSet<&String> = self.expected.values().chain(self.unasked.keys()).collect();
        // What a port serves by default concerns every move; what it serves for a name, only the one that has the name.
        let (by_default, mut by_name) = self.baseline_by_lineage();
        for one in &mut self.moves {
            let name = &one.certificate.name;
            let served = served_lineages.contains(name);
            let own = by_name.remove(name).unwrap_or_default();
            let hooks = hooks::waiting(context, one.certificate, &one.lineage, one.generation, one.hooks);
            one.lineage.deployment = Some(Deployment {
                hooks,
                generation: one.generation,
                previous: one.previous,
                verify: if served { Verify::On } else { Verify::Off },
                baseline: if served {
                    by_default.iter().cloned().chain(own).collect()
                } else {
                    Vec::new()
                },
                endpoints: Vec::new(),
                listed: listed(context),
            });
        }
        threads::on_each(&mut self.moves, |one| {
            if let Err(error) = one.install(context) {
                order::remember(
                    context,
                    one.certificate,
                    &mut one.lineage,
                    Step::Install,
                    &error,
                    None,
                );
                one.error = Some(error);
            }
        });
    }

    /// Splits the baseline: what endpoints serve by default, and what lineages are served for their own names.
    fn baseline_by_lineage(&self) -> (Vec<Before>, HashMap<String, Vec<Before>>) {
        let (by_default, named): (Vec<Before>, Vec<Before>) = self
            .baseline
            .iter()
            .cloned()
            .partition(|before| before.server_name.is_none());
        let mut by_name: HashMap<String, Vec<Before>> = HashMap::new();
        for before in named {
            if let Some(lineage) = self.expected.get(&before.asked()) {
                by_name.entry(lineage.clone()).or_default().push(before);
            }
        }
        (by_default, by_name)
    }

    /// Makes the SNI map anew from the live links, once for all moves. Returns whether to go on.
    fn make_sni_map(&mut self, server: Option<&Instance>, files: &Files<'_>) -> bool {
        let context = self.context;
        let is_concerned = self.moves.iter().any(|one| one.certificate.sni);
        let server = server.filter(|_| context.config.postfix.manage);
        let made = match server {
            Some(server) if is_concerned || sni::plan(context, &HashSet::new()).is_some() => {
                sni::rebuild(context, server)
            }
            _ => Ok(()),
        };
        // Links and map are there; what daemons may read is told to SELinux once.
        self.notes.extend(context.store.label(context.env));
        let Err(error) = made else {
            self.sni_map_made = true;
            return true;
        };
        // What is not in the map goes on: the one in use is whole, and serves what it served.
        for one in self
            .moves
            .iter_mut()
            .filter(|one| one.certificate.sni && one.error.is_none())
        {
            order::remember(
                context,
                one.certificate,
                &mut one.lineage,
                Step::Deploy,
                &error,
                None,
            );
            one.error = Some(error.clone());
        }
        if !files.changes.is_empty() {
            self.fail_all(Step::Deploy, &error);
            self.error = Some(error);
            return false;
        }
        if !is_concerned {
            self.error = Some(error);
        }
        true
    }

    /// Makes what else main.cf names, or is about to name, and is derived from other files. Returns whether to go on.
    fn make_derived(&mut self, server: Option<&Instance>, files: &Files<'_>) -> bool {
        let server = server.filter(|_| self.context.config.postfix.manage);
        let made = server.map_or(Ok(()), |server| derived::make(self.context, server));
        match made {
            Ok(()) => self.derived_made = true,
            Err(error) if files.changes.is_empty() => {
                // What is in use is whole, and the certificates do not wait for it.
                self.error = Some(error);
            }
            Err(error) => {
                self.fail_all(Step::Deploy, &error);
                self.error = Some(error);
                return false;
            }
        }
        true
    }

    /// Judges the configuration in a staged copy and writes it. Returns whether to go on.
    fn write_files(&mut self, server: Option<&Instance>, files: Files<'_>) -> bool {
        let Files { changes, journal } = files;
        if changes.is_empty() {
            return true;
        }
        let context = self.context;
        let mut journal = journal;
        let (maps, others): (Vec<FileChange>, Vec<FileChange>) = changes
            .iter()
            .cloned()
            .partition(|change| sender_login::is_part(context, &change.path));
        let mut keep = |files: &[FileChange]| {
            let Some(entry) = &mut journal else { return Ok(()) };
            entry.files.extend(files.iter().cloned());
            let failed = |error| store_error("the journal could not be written; nothing was changed", &error);
            context.store.save_entry(entry).map_err(failed)
        };
        // A map is there before anything names it, and before those are asked who will read it.
        let written = server
            .map_or(Ok(()), |server| write_maps(context, server, &maps, &mut keep))
            .and_then(|()| judge(context, server, self.dovecot.as_ref(), changes))
            .and_then(|notes| {
                self.notes.extend(notes);
                if !others.is_empty() {
                    keep(&others)?;
                }
                mail::write(&others)
            });
        let taken_back = || server.map_or(Ok(()), |server| take_maps_back(context, server, &maps));
        let written = written.map_err(|error| match taken_back() {
            Ok(()) => error,
            Err(failure) => error.cause(failure),
        });
        match written {
            Ok(()) => {
                self.written = changes.to_vec();
                true
            }
            Err(error) => {
                self.fail_all(Step::Deploy, &error);
                self.error = Some(error);
                false
            }
        }
    }

    /// Reloads Postfix, where it is ours to reload.
    fn reload(&self, server: Option<&Instance>) -> Result<(), NotReloaded> {
        let Some(server) = server.filter(|_| self.context.config.postfix.manage) else {
            return Ok(());
        };
        self.context.progress.step("reloading Postfix");
        mail::reload(self.context, server)
    }

    /// Reloads Dovecot, where it is ours to reload and has something to read.
    fn reload_dovecot(&mut self) -> Result<(), NotReloaded> {
        let Some(instance) = self.dovecot.as_ref().filter(|_| self.reloads_dovecot) else {
            return Ok(());
        };
        self.context.progress.step("reloading Dovecot");
        self.dovecot_log = Some(dovecot::watch(self.context, instance));
        dovecot::reload(self.context, instance)
    }

    /// Returns whether a port of this server completed TLS before the change.
    fn served(&self, daemon: Daemon) -> bool {
        let mut before = self.baseline.iter();
        before.any(|before| before.leaf_sha256.is_some() && Daemon::of(&before.endpoint) == daemon)
    }

    /// Returns whether files of Dovecot are in place that it has not been seen to take.
    fn wrote_dovecot(&self) -> bool {
        let left = self.left.iter().flat_map(|(_, files)| files);
        let mut files = self.written.iter().chain(left);
        files.any(|file| dovecot::is_file(self.context, &file.path))
    }

    /// Runs the deploy hooks, lineage by lineage in the order of the configuration. One that fails takes nothing back.
    fn run_hooks(&mut self) {
        let context = self.context;
        let place = |one: &Moving<'_>| {
            let mut all = context.config.certificates.iter();
            all.position(|certificate| certificate.name == one.certificate.name)
        };
        let mut moves: Vec<&mut Moving<'_>> =
            self.moves.iter_mut().filter(|one| one.error.is_none()).collect();
        moves.sort_by_key(|one| place(one));
        for one in moves {
            if let Err(error) = hooks::deploy(context, one.certificate, &mut one.lineage) {
                order::remember(
                    context,
                    one.certificate,
                    &mut one.lineage,
                    Step::Hook,
                    &error,
                    None,
                );
                one.error = Some(error);
            }
        }
    }

    /// Keeps and tells that the certificate which Postfix is to name was served before, and by nothing any more: its files
    /// alone are no renewal. After an `undo` that is wanted, and was noted then.
    fn tell_unserved(&mut self) {
        let context = self.context;
        if context.goal() != State::Verified {
            return;
        }
        let default = context.default_certificate().map(|one| &one.name);
        let lost = |one: &&mut Moving<'_>| {
            let is_off = |deployment: &Deployment| deployment.verify == Verify::Off;
            one.was_served
                && one.error.is_none()
                && Some(&one.certificate.name) == default
                && one.lineage.deployment.as_ref().is_some_and(is_off)
        };
        for one in self.moves.iter_mut().filter(lost) {
            let name = &one.certificate.name;
            let error = Error::failed(format!("{name} is installed, but no port serves it any more"))
                .cause(
                    "the configuration of Postfix was changed: it does not name its files, or TLS is off \
                     (smtpd_tls_security_level)",
                )
                .remedy("`mailcert apply postfix` makes Postfix name them again")
                .remedy("if other files are wanted, set postfix.manage = false");
            order::remember(
                context,
                one.certificate,
                &mut one.lineage,
                Step::Verify,
                &error,
                None,
            );
            one.error = Some(error);
        }
    }

    /// Asks every endpoint until it serves what it should, or patience is over; takes back what got worse.
    fn prove(&mut self, server: Option<&Instance>) {
        if self.expected.is_empty() {
            return;
        }
        let log = self.dovecot_log.take();
        let mut judged = match self.context.wait(self.verify(log)) {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) | Err(error) => return self.fail_all(Step::Verify, &error),
        };
        if self.wrote_dovecot() {
            not_taken(&mut judged);
        }
        let worse: Vec<(Asked, String)> = judged
            .iter()
            .filter(|(_, judgment)| judgment.verdict == Verdict::Worse)
            .map(|(asked, judgment)| (asked.clone(), judgment.detail.clone()))
            .collect();
        let is_good = |(asked, judgment): &(Asked, Judgment)| {
            asked.server_name.is_none() || judgment.verdict == Verdict::Good
        };
        let are_names_good = judged.iter().all(is_good);
        let mut by_lineage: HashMap<&String, Vec<Served>> = HashMap::new();
        for (name, asked) in &self.unasked {
            by_lineage.insert(name, vec![by_the_map(asked, self.sni_map_made && are_names_good)]);
        }
        for (asked, judgment) in judged {
            let Some(lineage) = self.expected.get(&asked) else {
                continue;
            };
            by_lineage.entry(lineage).or_default().push(Served {
                endpoint: asked.endpoint,
                server_name: asked.server_name,
                verified: judgment.verdict == Verdict::Good,
                detail: judgment.detail,
            });
        }
        for one in &mut self.moves {
            let served = by_lineage.remove(&one.certificate.name).unwrap_or_default();
            let good = !served.is_empty() && served.iter().all(|served| served.verified);
            if let Some(deployment) = &mut one.lineage.deployment {
                deployment.endpoints = served;
            }
            if good && one.error.is_none() {
                one.lineage.state = State::Verified;
                if !one.lineage.has_unfinished_hooks() {
                    one.lineage.failure = None;
                }
                note::reached(self.context, &mut one.lineage, Step::Verify);
            }
        }
        if worse.is_empty() {
            self.tell_unverified();
        } else {
            self.take_back(server, &worse);
        }
    }

    /// Asks every endpoint until it is proven. What Dovecot says of its new configuration meanwhile, `log` tells.
    async fn verify(&self, log: Option<Watch>) -> Result<Vec<(Asked, Judgment)>> {
        let mut before: HashMap<Asked, &Before> = self
            .baseline
            .iter()
            .map(|before| (before.asked(), before))
            .collect();
        let leaves = self.leaves()?;
        let mut checks = Vec::new();
        for (asked, lineage) in &self.expected {
            let Some(leaf) = leaves.get(lineage).copied() else {
                continue;
            };
            let before = before.remove(asked).cloned();
            let old = before
                .as_ref()
                .and_then(|before| before.leaf_sha256.as_ref()?.parse::<Sha256>().ok());
            let expectation = Expectation {
                before,
                old: old.into_iter().collect(),
                new: leaf,
            };
            checks.push((asked.clone(), expectation));
        }
        let is_of_dovecot =
            |(asked, _): &(Asked, Expectation)| Daemon::of(&asked.endpoint) == Daemon::Dovecot;
        let context = self.context;
        let tally = context
            .progress
            .tally("asking every port which certificate it serves", checks.len());
        let (of_dovecot, others): (Vec<_>, Vec<_>) = checks.into_iter().partition(is_of_dovecot);
        let refused_by_dovecot: Vec<Expected> = of_dovecot.clone();
        let of_dovecot = async {
            tokio::select! {
                judged = ask_until_proven(context, of_dovecot, Patience::default(), &tally) => judged,
                complaint = complaint(log) => Ok(refused(refused_by_dovecot, &complaint)),
            }
        };
        let others = ask_until_proven(context, others, Patience::default(), &tally);
        let (of_dovecot, others) = tokio::join!(of_dovecot, others);
        let mut judged = others?;
        judged.extend(of_dovecot?);
        Ok(judged)
    }

    /// Returns the leaf that each expected lineage serves now: of a move, or as the record of an untouched one has it.
    fn leaves(&self) -> Result<HashMap<&String, Sha256>> {
        let moving: HashMap<&String, &Lineage> = self
            .moves
            .iter()
            .map(|one| (&one.certificate.name, &one.lineage))
            .collect();
        let mut leaves = HashMap::new();
        for name in self.expected.values().collect::<BTreeSet<_>>() {
            let leaf_of = |lineage: &Lineage| lineage.live().and_then(|live| live.leaf_sha256.parse().ok());
            let leaf = match moving.get(name) {
                Some(lineage) => leaf_of(lineage),
                None => leaf_of(&self.context.load(name)?),
            };
            let unknown = || Error::failed(format!("the record of {name} does not know its certificate"));
            leaves.insert(name, leaf.ok_or_else(unknown)?);
        }
        Ok(leaves)
    }

    /// Keeps and tells what is not verified, and takes nothing back.
    fn tell_unverified(&mut self) {
        let silent = self.silent_logins();
        for one in &mut self.moves {
            let Some(deployment) = &one.lineage.deployment else {
                continue;
            };
            let wrong: Vec<&Served> = deployment
                .endpoints
                .iter()
                .filter(|served| !served.verified)
                .collect();
            if deployment.verify == Verify::Off || one.lineage.state == State::Verified {
                continue;
            }
            if let Some(error) = &mut one.error {
                // A hook failed: what the ports do is told besides.
                let told = wrong
                    .iter()
                    .map(|served| format!("{}: {}", served.endpoint, served.detail));
                error.causes.extend(told);
                continue;
            }
            let error = wrong.iter().fold(
                Error::failed(format!(
                    "{} is deployed, but not every port serves it",
                    one.certificate.name
                )),
                |error, served| error.cause(format!("{}: {}", served.asked(), served.detail)),
            );
            let told = silent
                .iter()
                .map(|found| format!("{}: {}", found.subject, found.evidence));
            let error = told.fold(error, Error::cause);
            let remedies = silent.iter().map(|found| found.remedy.clone());
            let error = remedies.fold(error, Error::remedy);
            let error = error.remedy(format!(
                "mend that port, then `mailcert deploy {}`; the next `renew` looks again",
                one.certificate.name
            ));
            order::remember(
                self.context,
                one.certificate,
                &mut one.lineage,
                Step::Verify,
                &error,
                None,
            );
            one.error = Some(error);
        }
    }

    /// Returns why ports of users may be dead, where one of Postfix's is not as it should be: smtpd says it to its log alone.
    fn silent_logins(&self) -> Vec<Finding> {
        let deployments = self
            .moves
            .iter()
            .filter_map(|one| one.lineage.deployment.as_ref());
        let mut served = deployments.flat_map(|deployment| &deployment.endpoints);
        let is_dead = |one: &Served| !one.verified && Daemon::of(&one.endpoint) == Daemon::Postfix;
        if !served.any(is_dead) {
            return Vec::new();
        }
        // As it is now: what a plan saw was before the files were written.
        match mail::inspect(self.context) {
            Ok(Some(server)) => doctor::sasl::errors(self.context, &server),
            Ok(None) | Err(_) => Vec::new(),
        }
    }

    /// Notes how far all moves have come that nothing has stopped.
    fn reach(&mut self, state: State) {
        let context = self.context;
        let reached = self.moves.iter_mut().filter(|one| one.error.is_none());
        threads::on_each(reached, |one| {
            one.lineage.state = state;
            note::reached(context, &mut one.lineage, Step::Deploy);
            // Where no port is asked, a configuration that was refused or taken back is still a failure.
            let is_on_disk = |failure: &Failure| matches!(failure.step, Step::Install | Step::Order);
            if one.lineage.failure.as_ref().is_some_and(is_on_disk) {
                one.lineage.failure = None;
            }
            if let Err(error) = context.save(&one.lineage) {
                one.error = Some(error);
            }
        });
    }

    fn fail_all(&mut self, step: Step, error: &Error) {
        for one in self.moves.iter_mut().filter(|one| one.error.is_none()) {
            order::remember(self.context, one.certificate, &mut one.lineage, step, error, None);
            one.error = Some(error.clone());
        }
    }

    /// Saves every record, deletes surplus generations, and hands the result over.
    fn finish(self) -> Rolled<'a> {
        let context = self.context;
        let mut notes = self.notes;
        let finished = threads::each(self.moves, |mut one| {
            let mut notes = Vec::new();
            let wanted = Wanted::new(context, one.certificate, &one.lineage, true);
            // Hooks that run later may have failed before: how often is not forgotten.
            if one.error.is_none()
                && one.lineage.state >= wanted.policy().goal
                && !one.lineage.has_unfinished_hooks()
            {
                one.lineage.failure = None;
            }
            one.lineage.show_what_was_set_aside();
            for number in one.lineage.prunable(context.config.renew.keep_generations) {
                match context.store.prune(&one.certificate.name, number) {
                    Ok(()) => drop(one.lineage.generations.remove(&number)),
                    Err(error) => notes.push(error.to_string()),
                }
            }
            let saved = context.save(&one.lineage);
            let error = one.error.or(saved.err());
            let moved = Moved {
                certificate: one.certificate,
                lineage: one.lineage,
                error,
            };
            (moved, notes)
        });
        let mut moves = Vec::new();
        for (moved, more) in finished {
            moves.push(moved);
            notes.extend(more);
        }
        Rolled {
            moves,
            notes,
            error: self.error,
            files_written: !self.written.is_empty(),
            sni_map_made: self.sni_map_made,
            derived_made: self.derived_made,
        }
    }
}

/// A server whose ports are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    Dovecot,
    Postfix,
}

impl Daemon {
    /// Returns whose an endpoint is.
    fn of(endpoint: &Endpoint) -> Self {
        match endpoint.scheme.is_for_reading() {
            true => Self::Dovecot,
            false => Self::Postfix,
        }
    }
}

/// Says what a lineage is served of which nobody has asked a name: the map was read back, and other names of it were asked for.
fn by_the_map(asked: &Asked, is_good: bool) -> Served {
    let detail = match is_good {
        true => "is in the SNI map; of its many names others were asked for, and served",
        false => "was not asked for; other names of the SNI map are not served as they should be",
    };
    Served {
        endpoint: asked.endpoint.clone(),
        server_name: asked.server_name.clone(),
        verified: is_good,
        detail: detail.to_owned(),
    }
}

/// Waits until Dovecot complains of its new configuration; for ever where it does not, or has no log that can be read.
async fn complaint(log: Option<Watch>) -> String {
    let mut log = log;
    while let Some(mut watch) = log.take() {
        let looked = tokio::task::spawn_blocking(move || (watch.complaint(), watch)).await;
        match looked {
            Ok((Some(complaint), _)) => return complaint,
            Ok((None, watch)) => log = Some(watch),
            Err(_) => {}
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    std::future::pending().await
}

/// Judges the endpoints of a Dovecot that goes on with what it had, and would not start again.
fn refused(checks: Vec<Expected>, complaint: &str) -> Vec<(Asked, Judgment)> {
    let judged = checks.into_iter().map(|(asked, expectation)| {
        let served = expectation
            .before
            .is_some_and(|before| before.leaf_sha256.is_some());
        let judgment = Judgment {
            verdict: if served { Verdict::Worse } else { Verdict::Down },
            detail: format!(
                "Dovecot does not take what it is given, and would not start with it: {complaint}"
            ),
        };
        (asked, judgment)
    });
    judged.collect()
}

/// Calls it worse when every port of Dovecot still serves the old although its files are new: it has not taken them, and nobody knows
/// whether it would start with them.
fn not_taken(judged: &mut [(Asked, Judgment)]) {
    let mut of_dovecot: Vec<&mut Judgment> = judged
        .iter_mut()
        .filter(|(asked, _)| Daemon::of(&asked.endpoint) == Daemon::Dovecot)
        .map(|(_, judgment)| judgment)
        .collect();
    if of_dovecot
        .iter()
        .any(|judgment| judgment.verdict != Verdict::StillOld)
    {
        return;
    }
    for judgment in &mut of_dovecot {
        judgment.verdict = Verdict::Worse;
        judgment.detail += ": Dovecot did not take its new files; its log says why";
    }
}

/// Has each server judge its part of the changes in a staged copy; returns what could not be judged.
fn judge(
    context: &Context<'_>,
    server: Option<&Instance>,
    dovecot: Option<&crate::dovecot::inspect::Instance>,
    changes: &[FileChange],
) -> Result<Vec<String>> {
    let (of_dovecot, of_postfix): (Vec<FileChange>, Vec<FileChange>) = changes
        .iter()
        .cloned()
        .partition(|change| dovecot::is_file(context, &change.path));
    let mut notes = Vec::new();
    if let Some(server) = server.filter(|_| !of_postfix.is_empty()) {
        context
            .progress
            .step("asking Postfix to judge the new configuration");
        notes.extend(mail::judge(context, server, &of_postfix)?);
    }
    if !of_dovecot.is_empty() {
        // One that was planned for and is broken meanwhile says why.
        let looked = dovecot.map_or_else(|| dovecot::inspect(context), |known| Ok(Some(known.clone())))?;
        if let Some(instance) = looked {
            context
                .progress
                .step("asking Dovecot to judge the new configuration");
            notes.extend(dovecot::judge(context, &instance, &of_dovecot)?);
        }
    }
    Ok(notes)
}

/// Writes the maps among the changes and compiles them.
fn write_maps(
    context: &Context<'_>,
    server: &Instance,
    maps: &[FileChange],
    keep: &mut impl FnMut(&[FileChange]) -> Result<()>,
) -> Result<()> {
    if maps.is_empty() {
        return Ok(());
    }
    keep(maps)?;
    sender_login::make_directory(context)?;
    sender_login::prepare(context, server, maps)?;
    mail::write(maps)?;
    // Once more, so that the table is not older than its source: Postfix warns of that.
    sender_login::prepare(context, server, maps)
}

/// Puts maps back whose configuration was not found good.
fn take_maps_back(context: &Context<'_>, server: &Instance, maps: &[FileChange]) -> Result<()> {
    let written: Vec<FileChange> = maps
        .iter()
        .filter(|change| {
            files::read_if_exists(&change.path, FILE_LIMIT).is_ok_and(|found| found == change.after)
        })
        .cloned()
        .collect();
    mail::put_back(&written)?;
    sender_login::settle(context, server, &written)
}

/// Marks a journal entry as done, or as taken back.
pub fn close(context: &Context<'_>, mut entry: Entry, status: Status) -> Result<()> {
    entry.status = status;
    context
        .store
        .save_entry(&entry)
        .map_err(|error| store_error("the journal could not be written", &error))
}
