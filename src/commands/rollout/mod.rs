//! Puts generations into service: links, configuration, reload, proof on the wire; and back when something got worse.
//!
//! Every endpoint is probed before the change too. One that completed TLS before and now does not, or serves neither the
//! old nor the new leaf, takes the change back. One that was down or wrong before, or still serves the old leaf, is a
//! failure and takes nothing back (`design`, section 1).

use std::collections::BTreeMap;

use time::OffsetDateTime;

mod restore;
mod taking_back;

pub use restore::{Restored, forget_unserved, judge_restoring, restore_postfix};
use taking_back::WORTH_GOING_BACK_TO;

use super::{Context, Wanted, mail, note, order, store_error};
use crate::{
    config::{Certificate, Reload},
    env::files,
    error::{Error, Result},
    model::{
        certificate::Sha256,
        endpoint::Endpoint,
        lineage::{Before, Deployment, Failure, Lineage, Served, State, Step, Verify},
        plan::FileChange,
    },
    postfix::inspect::{FILE_LIMIT, Instance},
    probe::{
        Client, Dialogue, Target,
        judge::{Expectation, Judgment, Verdict},
        verify::{self, Goal, Patience},
    },
    store::journal::{Entry, Status},
};

/// One lineage and the generation that is to serve.
pub struct Move<'a> {
    /// The lineage as the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record.
    pub lineage: Lineage,
    /// The generation to put into service.
    pub generation: u64,
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
    let mut rollout = Rollout {
        context,
        notes: Vec::new(),
        expected: BTreeMap::new(),
        baseline: Vec::new(),
        moves: moves.into_iter().map(Moving::from).collect(),
        error: None,
        written: Vec::new(),
        left: None,
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

    /// Returns the generation to go back to, when it is worth going back to.
    fn way_back(&self, now: OffsetDateTime) -> Option<u64> {
        self.previous.filter(|number| {
            let generation = self.lineage.generations.get(number);
            generation.is_some_and(|old| old.not_after - now >= WORTH_GOING_BACK_TO)
        })
    }
}

struct Rollout<'c, 'e, 'a> {
    context: &'c Context<'e>,
    notes: Vec<String>,
    /// Which lineage each endpoint is to serve.
    expected: BTreeMap<Endpoint, String>,
    baseline: Vec<Before>,
    moves: Vec<Moving<'a>>,
    error: Option<Error>,
    /// Configuration files that were written and stay.
    written: Vec<FileChange>,
    /// Configuration files that an apply wrote, and its entry: it was killed before it could prove them.
    left: Option<(Entry, Vec<FileChange>)>,
}

impl<'a> Rollout<'_, '_, 'a> {
    fn run(&mut self, server: Option<&Instance>, files: Files<'_>) {
        let context = self.context;
        if context.config.postfix.verify != crate::config::Verify::Endpoints(Vec::new()) {
            match context.wait(mail::expected(context, server, files.changes)) {
                Ok(expected) => self.expected = expected,
                Err(error) => return self.fail_all(Step::Deploy, &error),
            }
        }
        if context.config.postfix.reload == Reload::Never {
            self.install();
            self.write_files(server, files);
            return;
        }
        self.baseline = self.look();
        self.left = self.left_by_a_killed_apply(files.changes);
        self.install();
        if !self.write_files(server, files) {
            return;
        }
        if let Err(error) = self.reload(server) {
            return self.fail_all(Step::Deploy, &error);
        }
        self.reach(State::Deployed);
        self.tell_unserved();
        self.prove(server);
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
        let unknown: Vec<&Endpoint> = self
            .expected
            .keys()
            .filter(|endpoint| !kept.iter().any(|before| before.endpoint == **endpoint))
            .collect();
        let mut baseline = kept;
        if !unknown.is_empty() {
            self.context.progress.step("looking at what is served now");
            let sighted = self.context.wait(sight(self.context, &unknown));
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
            mail::is_postfix_file(self.context, &file.path)
                && changes.iter().all(|change| change.path != file.path)
                && files::read_if_exists(&file.path, FILE_LIMIT).is_ok_and(|found| found == file.after)
        };
        let left: Vec<FileChange> = entry.files.iter().filter(as_written).cloned().collect();
        (!left.is_empty()).then_some((entry, left))
    }

    /// Points the live links at the new generations.
    fn install(&mut self) {
        let context = self.context;
        for one in &mut self.moves {
            let name = &one.certificate.name;
            let served = self.expected.values().any(|lineage| lineage == name);
            one.lineage.deployment = Some(Deployment {
                generation: one.generation,
                previous: one.previous,
                verify: if served { Verify::On } else { Verify::Off },
                baseline: if served { self.baseline.clone() } else { Vec::new() },
                endpoints: Vec::new(),
            });
            // The baseline is on disk before the link moves: a run that is killed in between still knows it.
            let installed = context.save(&one.lineage).and_then(|()| {
                let failed = |error| store_error(format!("{name} could not be installed"), &error);
                context
                    .store
                    .point_live_at(name, one.generation)
                    .map_err(failed)?;
                one.lineage.generation = Some(one.generation);
                one.lineage.state = State::Installed;
                note::reached(context, &mut one.lineage, Step::Install);
                context.save(&one.lineage)
            });
            if let Err(error) = installed {
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
        }
        self.notes.extend(context.store.label(context.env));
    }

    /// Judges the configuration in a staged copy and writes it. Returns whether to go on.
    fn write_files(&mut self, server: Option<&Instance>, files: Files<'_>) -> bool {
        let Files { changes, journal } = files;
        if changes.is_empty() {
            return true;
        }
        let Some(server) = server else { return true };
        self.context
            .progress
            .step("asking Postfix to judge the new configuration");
        let judged = mail::judge(self.context, server, changes);
        let written = judged.and_then(|notes| {
            self.notes.extend(notes);
            if let Some(entry) = journal {
                entry.files.extend(changes.iter().cloned());
                let failed =
                    |error| store_error("the journal could not be written; nothing was changed", &error);
                self.context.store.save_entry(entry).map_err(failed)?;
            }
            mail::write(changes)
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
    fn reload(&self, server: Option<&Instance>) -> Result<()> {
        let Some(server) = server.filter(|_| self.context.config.postfix.manage) else {
            return Ok(());
        };
        self.context.progress.step("reloading Postfix");
        mail::reload(self.context, server)
    }

    /// Keeps and tells that the certificate which Postfix is to name was served before, and by nothing any more: its files
    /// alone are no renewal. After an `undo` that is wanted, and was noted then.
    fn tell_unserved(&mut self) {
        let context = self.context;
        if context.goal() != State::Verified {
            return;
        }
        let default = context.config.default_certificate().map(|one| &one.name);
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
                .cause("the configuration of Postfix was changed: it does not name its files")
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
        self.context
            .progress
            .step("asking every port which certificate it serves");
        let judged = match self.context.wait(self.verify()) {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) | Err(error) => return self.fail_all(Step::Verify, &error),
        };
        let worse: Vec<(Endpoint, String)> = judged
            .iter()
            .filter(|(_, judgment)| judgment.verdict == Verdict::Worse)
            .map(|(endpoint, judgment)| (endpoint.clone(), judgment.detail.clone()))
            .collect();
        for one in &mut self.moves {
            let mine = judged
                .iter()
                .filter(|(endpoint, _)| self.expected.get(endpoint) == Some(&one.certificate.name));
            let served: Vec<Served> = mine
                .map(|(endpoint, judgment)| Served {
                    endpoint: endpoint.clone(),
                    verified: judgment.verdict == Verdict::Good,
                    detail: judgment.detail.clone(),
                })
                .collect();
            let good = !served.is_empty() && served.iter().all(|served| served.verified);
            if let Some(deployment) = &mut one.lineage.deployment {
                deployment.endpoints = served;
            }
            if good && one.error.is_none() {
                one.lineage.state = State::Verified;
                one.lineage.failure = None;
                note::reached(self.context, &mut one.lineage, Step::Verify);
            }
        }
        if worse.is_empty() {
            self.tell_unverified();
        } else {
            self.take_back(server, &worse);
        }
    }

    async fn verify(&self) -> Result<Vec<(Endpoint, Judgment)>> {
        let mut checks = Vec::new();
        for (endpoint, lineage) in &self.expected {
            let leaf = self.leaf_of(lineage)?;
            let before = self
                .baseline
                .iter()
                .find(|before| before.endpoint == *endpoint)
                .cloned();
            let old = before
                .as_ref()
                .and_then(|before| before.leaf_sha256.as_ref()?.parse::<Sha256>().ok());
            let expectation = Expectation {
                before,
                old: old.into_iter().collect(),
                new: leaf,
            };
            checks.push((endpoint.clone(), expectation));
        }
        ask_until_proven(self.context, checks, Patience::default()).await
    }

    /// Returns the leaf that a lineage serves now: of a move, or as the record of an untouched one has it.
    fn leaf_of(&self, name: &str) -> Result<Sha256> {
        let moving = self
            .moves
            .iter()
            .find(|one| one.certificate.name == name)
            .map(|one| &one.lineage);
        let lineage = match moving {
            Some(lineage) => lineage.clone(),
            None => self.context.load(name)?,
        };
        let leaf = lineage.live().and_then(|live| live.leaf_sha256.parse().ok());
        leaf.ok_or_else(|| Error::failed(format!("the record of {name} does not know its certificate")))
    }

    /// Keeps and tells what is not verified, and takes nothing back.
    fn tell_unverified(&mut self) {
        for one in &mut self.moves {
            let Some(deployment) = &one.lineage.deployment else {
                continue;
            };
            if deployment.verify == Verify::Off || one.lineage.state == State::Verified || one.error.is_some()
            {
                continue;
            }
            let wrong = deployment.endpoints.iter().filter(|served| !served.verified);
            let error = wrong.fold(
                Error::failed(format!(
                    "{} is deployed, but not every port serves it",
                    one.certificate.name
                )),
                |error, served| error.cause(format!("{}: {}", served.endpoint, served.detail)),
            );
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

    /// Notes how far all moves have come that nothing has stopped.
    fn reach(&mut self, state: State) {
        let context = self.context;
        for one in self.moves.iter_mut().filter(|one| one.error.is_none()) {
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
        }
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
        let mut moves = Vec::new();
        for mut one in self.moves {
            let wanted = Wanted::new(context, one.certificate, &one.lineage, true);
            if one.error.is_none() && one.lineage.state >= wanted.policy().goal {
                one.lineage.failure = None;
            }
            for number in one.lineage.prunable(context.config.renew.keep_generations) {
                match context.store.prune(&one.certificate.name, number) {
                    Ok(()) => drop(one.lineage.generations.remove(&number)),
                    Err(error) => notes.push(error.to_string()),
                }
            }
            let saved = context.save(&one.lineage);
            let error = one.error.or(saved.err());
            moves.push(Moved {
                certificate: one.certificate,
                lineage: one.lineage,
                error,
            });
        }
        Rolled {
            moves,
            notes,
            error: self.error,
            files_written: !self.written.is_empty(),
        }
    }
}

fn client(context: &Context<'_>) -> Result<Client> {
    let client = Client::new(context.config.host.name.clone())
        .map_err(|error| Error::failed("ports cannot be asked").cause(error))?;
    // A transaction shows what recipients' restrictions do only for a domain that is served here.
    Ok(match context.config.host.domains.first() {
        Some(domain) => client.mail_domain(domain.clone()),
        None => client,
    })
}

/// Looks at each endpoint once.
async fn sight(context: &Context<'_>, endpoints: &[&Endpoint]) -> Result<Vec<Before>> {
    let client = client(context)?;
    let name = &context.config.host.name;
    let mut targets = Vec::new();
    for endpoint in endpoints {
        targets.extend(Target::resolve(endpoint, Some(name)).await);
    }
    let sightings = client.ask_all(&targets, Dialogue::Transaction).await;
    Ok(sightings.iter().map(crate::probe::Sighting::before).collect())
}

/// Asks endpoints until each is proven, or patience is over.
async fn ask_until_proven(
    context: &Context<'_>,
    checks: Vec<(Endpoint, Expectation)>,
    patience: Patience,
) -> Result<Vec<(Endpoint, Judgment)>> {
    let client = client(context)?;
    let mut goals = Vec::new();
    for (endpoint, expectation) in checks {
        let targets = Target::resolve(&endpoint, Some(&context.config.host.name)).await;
        goals.extend(targets.into_iter().map(|target| Goal {
            target,
            expectation: expectation.clone(),
        }));
    }
    let verified = verify::verify(&client, goals, patience).await;
    Ok(verified
        .into_iter()
        .map(|one| (one.last.asked(), one.judgment))
        .collect())
}

/// Marks a journal entry as done, or as taken back.
pub fn close(context: &Context<'_>, mut entry: Entry, status: Status) -> Result<()> {
    entry.status = status;
    context
        .store
        .save_entry(&entry)
        .map_err(|error| store_error("the journal could not be written", &error))
}
