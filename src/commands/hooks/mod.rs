//! The hooks of a run: looked at before anything is spent, run at their events, and never forgotten.
//!
//! What became of each deploy and post hook stands in the lineage's record. It is there as waiting before the live link
//! moves and as running before the program is started, so that a hook that was killed with us is run again. Later runs
//! run what has not succeeded for the generation in service, and nothing else.

mod challenge;
mod facts;
mod record;
mod records;

use std::collections::{BTreeMap, BTreeSet};

pub use challenge::ByHook;
pub use record::waiting;
pub use records::RecordHook;

use facts::{challenge_type, home, subject, surroundings};
use record::{is_unfinished, keep, keep_end};

use super::{Context, Wanted, dns, note, order};
use crate::{
    config::{
        Acme, Certificate, Issuer,
        hook::{ChallengeHook, Command, Hook, Style},
    },
    env::leash::Leash,
    error::{Error, Result},
    hook::{
        call::calls,
        event::{self, Event, Subject},
        program::{self, Distrust},
        run::{self, Ended},
    },
    model::lineage::{HookEvent, HookOutcome, HookRun, Lineage, State, Step, Verify},
    timer,
};

/// What a run does for a lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Puts a generation into service.
    Deploy,
    /// Gets a certificate, and puts it into service.
    Order,
}

/// Which deploy and post hooks are run when a generation is put into service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them, again: somebody asked for it by hand.
    All,
    /// Those that have not succeeded for this generation.
    Unfinished,
}

/// A lineage that a run has something to do for.
pub struct Concerned<'a> {
    /// As the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record.
    pub lineage: &'a Lineage,
    /// What is to be done.
    pub errand: Errand,
}

/// A lineage for which nothing may be ordered in this run.
pub struct Held {
    /// What the failure is kept as.
    pub step: Step,
    /// Why.
    pub error: Error,
}

/// A lineage at the end of a run.
pub struct Settled<'a, 'l> {
    /// As the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record.
    pub lineage: &'l mut Lineage,
    /// Why it is not where it should be.
    pub error: &'l mut Option<Error>,
    /// What was to be done; `None` when nothing was.
    pub errand: Option<Errand>,
}

/// One program of a list, or why it cannot be run.
struct One<'c> {
    hook: &'c Hook,
    /// How it stands in the record, and how people are told of it.
    id: String,
    command: Result<Command, Distrust>,
}

/// Begins a run that has something to do: hooks that are not to be trusted, and pre hooks that fail, hold orders back.
///
/// certbot goes on after a failed pre hook. Here it stops the orders: what it was to prepare (a port set free, a firewall
/// opened) is not there, and the CA would be asked in vain. What is complete is put into service all the same.
pub fn begin(context: &Context<'_>, concerned: &[Concerned<'_>]) -> BTreeMap<String, Held> {
    let mut held = BTreeMap::new();
    if concerned.is_empty() {
        return held;
    }
    for one in concerned.iter().filter(|one| one.errand == Errand::Order) {
        if let Err(error) = look(context, one.certificate) {
            let step = Step::Hook;
            held.insert(one.certificate.name.clone(), Held { step, error });
        }
    }
    for hook in &context.config.hooks.pre {
        let mut seen = BTreeSet::new();
        let subjects: Vec<Subject> = concerned
            .iter()
            .filter(|one| !held.contains_key(&one.certificate.name) && hook.is_for(&one.certificate.name))
            .filter(|one| seen.insert(&one.certificate.name))
            .map(|one| subject(context, one.certificate, one.lineage))
            .collect();
        if subjects.is_empty() {
            continue;
        }
        for one in programs_of(hook) {
            for (names, failure) in run_pre(context, &one, &subjects) {
                let message = "nothing was ordered: a pre hook failed";
                let error = told(message, [(&one.id, &failure)])
                    .remedy("mend it, or take it out of hooks.pre; post hooks were run all the same");
                for name in names {
                    let step = Step::Order;
                    let error = error.clone();
                    held.entry(name).or_insert(Held { step, error });
                }
            }
        }
    }
    held.retain(|name, _| {
        let is_ordered = |one: &Concerned<'_>| one.errand == Errand::Order && one.certificate.name == *name;
        concerned.iter().any(is_ordered)
    });
    held
}

/// Runs one pre hook; returns which lineages each failure concerns.
fn run_pre(context: &Context<'_>, one: &One<'_>, subjects: &[Subject]) -> Vec<(Vec<String>, Ended)> {
    let all = || subjects.iter().map(|subject| subject.name.clone()).collect();
    let command = match &one.command {
        Ok(command) => command,
        Err(distrust) => return vec![(all(), Ended::Failed(distrust.to_string()))],
    };
    context.progress.step(&format!("running the pre hook {}", one.id));
    let jobs = calls(
        one.hook.style,
        command,
        Event::Pre(subjects),
        &surroundings(context),
    );
    let for_each = jobs.len() == subjects.len() && subjects.len() > 1;
    let mut failures = Vec::new();
    for (index, call) in jobs.iter().enumerate() {
        let ended = run::run(call, &one.hook.manner, &home(context.env), &Leash::default());
        tell(context, one, &ended);
        if !matches!(ended, Ended::Done { .. }) {
            let names = match subjects.get(index) {
                Some(subject) if for_each => vec![subject.name.clone()],
                _ => all(),
            };
            failures.push((names, ended));
        }
    }
    failures
}

/// Looks at everything that would be run for a certificate.
fn look(context: &Context<'_>, certificate: &Certificate) -> Result<()> {
    let refused = |distrust: Distrust| {
        Error::failed("nothing was ordered: a hook is not to be trusted, or missing")
            .cause(&distrust)
            .remedy(distrust.remedy)
    };
    let hooks = context.config.hooks.all();
    for hook in hooks.filter(|hook| hook.is_for(&certificate.name)) {
        program::find(hook).map_err(refused)?;
    }
    let acme = context.config.acme.as_ref();
    match acme.and_then(|acme| acme.challenge_hook.as_ref()) {
        Some(hook) if certificate.issuer == Issuer::Acme => {
            program::find_challenge(hook, &home(context.env)).map_err(refused)
        }
        _ => Ok(()),
    }
}

/// Returns who puts challenge responses in place by a hook.
///
/// # Errors
/// When its program is missing or not to be trusted.
pub fn challenge(context: &Context<'_>, acme: &Acme, hook: &ChallengeHook) -> Result<ByHook> {
    let home = home(context.env);
    program::find_challenge(hook, &home).map_err(|distrust| {
        Error::failed("acme.challenge.hook cannot be used")
            .cause(&distrust)
            .remedy(distrust.remedy)
    })?;
    Ok(ByHook {
        hook: hook.clone(),
        challenge_type: challenge_type(acme),
        around: surroundings(context),
        home,
        resolver: dns::resolver(context),
        dns_timeout: context.config.dns.timeout,
        progress: context.progress.clone(),
        turn: std::sync::Arc::default(),
        begun: std::sync::Arc::default(),
    })
}

/// Runs the deploy hooks of a lineage that are not done for the generation in service.
///
/// # Errors
/// What failed; the record says it of each hook.
pub fn deploy(context: &Context<'_>, certificate: &Certificate, lineage: &mut Lineage) -> Result<()> {
    let mut failures = Vec::new();
    for one in programs(&context.config.hooks.deploy, &certificate.name) {
        if !is_unfinished(lineage, HookEvent::Deploy, &one.id) {
            continue;
        }
        context.progress.step(&format!(
            "{}: running the deploy hook {}",
            certificate.name, one.id
        ));
        keep(
            context,
            lineage,
            HookEvent::Deploy,
            &one.id,
            HookOutcome::Running,
            None,
        )?;
        let ended = match &one.command {
            Err(distrust) => Ended::Failed(distrust.to_string()),
            Ok(command) => {
                let subject = subject(context, certificate, lineage);
                run_all(context, &one, command, Event::Deploy(&subject))
            }
        };
        keep_end(context, lineage, HookEvent::Deploy, &one.id, &ended)?;
        if !matches!(ended, Ended::Done { .. }) {
            failures.push((one.id, ended));
        }
    }
    if failures.is_empty() {
        let ran = lineage
            .deployment
            .as_ref()
            .is_some_and(|deployment| deployment.hooks.iter().any(|run| run.event == HookEvent::Deploy));
        if ran {
            note::reached(context, lineage, Step::Hook);
        }
        return Ok(());
    }
    let name = &certificate.name;
    let message = format!("{name} was put into service, but not every deploy hook did its work");
    let each = failures.iter().map(|(id, ended)| (id, ended));
    Err(told(message, each)
        .remedy(format!(
            "mend the hook; then `mailcert renew --force {name}` runs what failed, and orders nothing; `mailcert deploy {name}` runs \
             all of them again"
        ))
        .remedy("the next runs of the timer try what failed again, at growing intervals"))
}

/// Runs the deploy hooks once more after a change was taken back, for the generation that serves again, so that what they
/// have put elsewhere is the same; those of the generation that was taken back count as not run. A first certificate that
/// went with the configuration leaves nothing of ours in service: there is nothing to tell them then.
pub fn deploy_taken_back(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &mut Lineage,
) -> Vec<Error> {
    let ran = lineage.deployment.as_mut().is_some_and(|deployment| {
        let ran = deployment
            .hooks
            .iter()
            .any(|run| run.event == HookEvent::Deploy && run.outcome != HookOutcome::Waiting);
        for run in &mut deployment.hooks {
            *run = HookRun::waiting(run.event, std::mem::take(&mut run.hook));
        }
        ran
    });
    let mut failures = Vec::new();
    let taken_back = lineage
        .deployment
        .as_ref()
        .map(|deployment| deployment.generation);
    if !ran || lineage.generation == taken_back {
        return failures;
    }
    let subject = subject(context, certificate, lineage);
    for one in programs(&context.config.hooks.deploy, &certificate.name) {
        if let Ok(command) = &one.command {
            let ended = run_all(context, &one, command, Event::Deploy(&subject));
            if !matches!(ended, Ended::Done { .. }) {
                failures.push(told(
                    "a deploy hook failed after the change was taken back",
                    [(&one.id, &ended)],
                ));
            }
        }
    }
    failures
}

/// Ends a run that had something to do: failures are told, and post hooks run, whatever happened.
pub fn end(context: &Context<'_>, settled: &mut [Settled<'_, '_>], notes: &mut Vec<String>) {
    let hooks = &context.config.hooks;
    if hooks.is_empty() || settled.iter().all(|one| one.errand.is_none()) {
        return;
    }
    for one in settled.iter() {
        let subject = subject(context, one.certificate, one.lineage);
        let (list, event, causes);
        match (&one.error, one.errand) {
            (Some(error), Some(_)) => {
                causes = std::iter::once(&error.message)
                    .chain(&error.causes)
                    .cloned()
                    .collect::<Vec<_>>();
                (list, event) = (&hooks.failed, Event::Failed(&subject, &causes));
            }
            (None, None) => (list, event) = (&hooks.deploy, Event::Unchanged(&subject)),
            _ => continue,
        }
        for program in programs(list, &subject.name) {
            let ended = match &program.command {
                Ok(command) => run_all(context, &program, command, event),
                Err(distrust) => Ended::Failed(distrust.to_string()),
            };
            if let Ended::Failed(reason) | Ended::Later(reason) = ended {
                notes.push(format!("{}: the hook {}: {reason}", subject.name, program.id));
            }
        }
    }
    for hook in &hooks.post {
        for one in programs_of(hook) {
            post(context, &one, settled);
        }
    }
    for one in settled.iter_mut() {
        finish(context, one);
    }
    if timer::locks_hooks_in(context.env) {
        notes.push(
            "the timer's unit has a sandbox, in which hooks fail: `mailcert apply timer` writes it without"
                .into(),
        );
    }
}

/// Runs one post hook, and keeps in every lineage's record what came of it.
fn post(context: &Context<'_>, one: &One<'_>, settled: &mut [Settled<'_, '_>]) {
    let concerns =
        |settled: &Settled<'_, '_>| settled.errand.is_some() && one.hook.is_for(&settled.certificate.name);
    let over: Vec<event::Ended> = settled
        .iter()
        .filter(|settled| concerns(settled))
        .map(|settled| event::Ended {
            subject: subject(context, settled.certificate, settled.lineage),
            failure: settled.error.as_ref().map(ToString::to_string),
        })
        .collect();
    if over.is_empty() {
        return;
    }
    context
        .progress
        .step(&format!("running the post hook {}", one.id));
    let ended = match &one.command {
        Ok(command) => run_all(context, one, command, Event::Post(&over)),
        Err(distrust) => Ended::Failed(distrust.to_string()),
    };
    for settled in settled.iter_mut().filter(|settled| concerns(settled)) {
        let name = &settled.certificate.name;
        let kept = keep_end(context, settled.lineage, HookEvent::Post, &one.id, &ended);
        let failure = match (&ended, kept) {
            (Ended::Done { .. }, Ok(())) => continue,
            (Ended::Done { .. }, Err(error)) => error,
            _ => told(format!("{name}: a post hook failed"), [(&one.id, &ended)])
                .remedy("mend the hook; the next runs try it again, at growing intervals"),
        };
        if let Some(error) = settled.error {
            // What failed before stands in the record already.
            error.causes.push(failure.to_string());
            continue;
        }
        let lineage = &mut *settled.lineage;
        lineage.state = match lineage.state {
            State::Verified => State::Deployed,
            other => other,
        };
        order::remember(context, settled.certificate, lineage, Step::Hook, &failure, None);
        let saved = context.save(lineage);
        *settled.error = Some(saved.err().unwrap_or(failure));
    }
}

/// Forgets an earlier failure once everything is done: hooks at the end of a run count too.
fn finish(context: &Context<'_>, settled: &mut Settled<'_, '_>) {
    let lineage = &mut *settled.lineage;
    let verify = lineage
        .deployment
        .as_ref()
        .map_or(Verify::On, |deployment| deployment.verify);
    let goal = Wanted::new(context, settled.certificate, lineage, verify == Verify::On)
        .policy()
        .goal;
    let is_done = settled.errand.is_some()
        && settled.error.is_none()
        && lineage.state >= goal
        && !lineage.has_unfinished_hooks();
    if is_done && lineage.failure.take().is_some() {
        *settled.error = context.save(lineage).err();
    }
}

/// Runs every call of an event; the first that does not do its work ends it.
fn run_all(context: &Context<'_>, one: &One<'_>, command: &Command, event: Event<'_>) -> Ended {
    let mut ended = Ended::Done {
        stdout: String::new(),
        said: String::new(),
    };
    for call in calls(one.hook.style, command, event, &surroundings(context)) {
        ended = run::run(&call, &one.hook.manner, &home(context.env), &Leash::default());
        tell(context, one, &ended);
        if !matches!(ended, Ended::Done { .. }) {
            break;
        }
    }
    ended
}

/// Shows what a hook said; a failure is told with the lineage.
fn tell(context: &Context<'_>, one: &One<'_>, ended: &Ended) {
    if let Ended::Done { said, .. } = ended
        && !said.is_empty()
    {
        context.progress.done(&format!("{}: {said}", one.id));
    }
}

/// Returns one error for hooks that failed; "not yet" when all they ask for is time.
fn told<'i>(
    message: impl Into<String>,
    failures: impl IntoIterator<Item = (&'i String, &'i Ended)>,
) -> Error {
    let failures: Vec<(&String, &Ended)> = failures.into_iter().collect();
    let later = failures.iter().all(|(_, ended)| matches!(ended, Ended::Later(_)));
    let error = if later {
        Error::not_yet(message)
    } else {
        Error::failed(message)
    };
    failures.iter().fold(error, |error, (id, ended)| match ended {
        Ended::Failed(reason) | Ended::Later(reason) => error.cause(format!("{id}: {reason}")),
        Ended::Done { .. } => error,
    })
}

/// Returns the programs of a list that are for this lineage.
fn programs<'c>(list: &'c [Hook], lineage: &str) -> Vec<One<'c>> {
    let mine = list.iter().filter(|hook| hook.is_for(lineage));
    mine.flat_map(programs_of).collect()
}

/// Returns the programs that a hook stands for: itself, or those of its directory.
fn programs_of(hook: &Hook) -> Vec<One<'_>> {
    let one = |command: &Command, result| One {
        hook,
        id: id(hook.style, command),
        command: result,
    };
    match program::find(hook) {
        Ok(commands) => commands
            .iter()
            .map(|command| one(command, Ok(command.clone())))
            .collect(),
        Err(distrust) => vec![one(&hook.command, Err(distrust))],
    }
}

fn id(style: Style, command: &Command) -> String {
    let style = match style {
        Style::AcmeSh => "acme.sh",
        Style::Certbot => "certbot",
        Style::Dehydrated => "dehydrated",
        Style::Lego4 => "lego4",
        Style::Lego5 => "lego5",
        Style::Mailcert => "mailcert",
    };
    match command {
        Command::Run(words) => format!("{} ({style})", words.join(" ")),
        Command::Shell(line) => format!("{line} ({style})"),
        Command::Directory(path) => format!("{} ({style})", path.display()),
    }
}
