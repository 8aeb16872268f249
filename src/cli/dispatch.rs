//! From a parsed command line to the command that does it, and from its outcome to the streams.

mod authority;
mod import;
mod manual;
mod private_ca;
mod request;
mod send_test;

use std::path::PathBuf;

use super::{
    args::{Check, Cli, Command, Format, Global},
    ask::Asker,
    events, nagios,
    render::{self, Render, Style},
};
use crate::{
    commands::{
        self, Context, apply, check, deploy, init, init::Ask, notify::watched, outcome::Findings, plan,
        probe, records, renew, sni::Extent, status, target::Target, undo,
    },
    env::{Env, log::Log, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        finding::{Finding, Severity},
        schedule::Urgency,
    },
};

/// Where the configuration is when nothing says otherwise.
const DEFAULT_CONFIG: &str = "/etc/mailcert/mailcert.toml";

/// Does what the command line says; writes the result to stdout.
///
/// # Errors
/// A failure that has no result of its own; the caller tells it.
pub fn dispatch(env: &mut Env, cli: &Cli, style: Style) -> Result<ExitCode> {
    check_format(cli)?;
    let path = cli
        .global
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG));
    let log = Log::choose(env).map_err(|error| Error::usage(error.to_string()))?;
    let progress = progress(env, &cli.global, log);
    let shown = Show {
        command: name(&cli.command),
        format: cli.global.format,
        style,
        quiet: cli.global.quiet,
        progress: progress.clone(),
    };
    match &cli.command {
        Command::Init(request) => return initialize(env, request, &path, &shown),
        Command::Apply(request) => return apply_changes(env, request, &path, &shown),
        Command::Probe(request) => {
            let report = probe::run(env, &progress, &probe_request(request))?;
            return Ok(shown.outcome(env, &report));
        }
        Command::Check(request) => return check_all(env, request, &path, &shown),
        Command::Csr(args) => return request::make_request(env, args, &path, &shown),
        Command::Ca(args) => return private_ca::run(env, args, &path, &shown),
        Command::Import(args) => return import::run(env, args, &path, &shown),
        Command::Install(args) => return request::install(env, args, &path, &shown),
        Command::Man(args) => return manual::man(env, args, &shown),
        Command::Completions(args) => return Ok(manual::completions(env, args)),
        Command::SendTest(args) => return send_test::send(env, args, &path, &shown),
        Command::Revoke(request) => return authority::revoke(env, request, &path, &shown),
        Command::Account(request) => return authority::account(env, &request.command, &path, &shown),
        _ => {}
    }
    let context = Context::open(env, &path, progress)?;
    Ok(match &cli.command {
        Command::Issue(request) => {
            context.selected(&request.lineages)?;
            let run = || renew::issue(&context, &request.lineages);
            shown.outcome(env, &watched(&context, "issue", run)?)
        }
        Command::Renew(request) if request.dry_run => {
            shown.outcome(env, &renew::rehearse(&context, &request.lineages)?)
        }
        Command::Renew(request) => {
            let urgency = if request.force {
                Urgency::Forced
            } else {
                Urgency::Ordinary
            };
            context.selected(&request.lineages)?;
            let run = || renew::run(&context, &request.lineages, urgency);
            shown.outcome(env, &watched(&context, "renew", run)?)
        }
        Command::Deploy(request) => {
            context.selected(&request.lineages)?;
            let run = || deploy::run(&context, &request.lineages, request.generation);
            shown.outcome(env, &watched(&context, "deploy", run)?)
        }
        Command::Status => shown.outcome(env, &status::run(&context)?),
        Command::Plan(request) => {
            let code = if request.expect_no_changes {
                ExitCode::Findings
            } else {
                ExitCode::Done
            };
            let planned = plan::plan(&context, &Target::parse(&request.targets)?)?;
            shown.outcome(env, &commands::outcome::Changes::planned(planned, code))
        }
        Command::Undo(request) => {
            let later_edits = if request.force {
                undo::LaterEdits::Overwrite
            } else {
                undo::LaterEdits::Refuse
            };
            let run = || undo::run(&context, later_edits);
            shown.outcome(env, &watched(&context, "undo", run)?)
        }
        Command::Records => show_records(env, &shown, &records::run(&context)?),
        Command::Init(_)
        | Command::Apply(_)
        | Command::Probe(_)
        | Command::Check(_)
        | Command::Ca(_)
        | Command::Csr(_)
        | Command::Import(_)
        | Command::Install(_)
        | Command::Man(_)
        | Command::Completions(_)
        | Command::Revoke(_)
        | Command::SendTest(_)
        | Command::Account(_) => ExitCode::Done,
    })
}

/// Returns a command's name as the JSON contract has it.
pub fn name(command: &Command) -> &'static str {
    match command {
        Command::Account(_) => "account",
        Command::Apply(_) => "apply",
        Command::Ca(_) => "ca",
        Command::Check(_) => "check",
        Command::Completions(_) => "completions",
        Command::Csr(_) => "csr",
        Command::Deploy(_) => "deploy",
        Command::Import(_) => "import",
        Command::Init(_) => "init",
        Command::Install(_) => "install",
        Command::Issue(_) => "issue",
        Command::Man(_) => "man",
        Command::Plan(_) => "plan",
        Command::Probe(_) => "probe",
        Command::Records => "records",
        Command::Renew(_) => "renew",
        Command::Revoke(_) => "revoke",
        Command::SendTest(_) => "send-test",
        Command::Status => "status",
        Command::Undo(_) => "undo",
    }
}

fn check_format(cli: &Cli) -> Result<()> {
    let fits = match cli.global.format {
        Format::Text => true,
        // They print what other programs read.
        Format::Json => !matches!(cli.command, Command::Man(_) | Command::Completions(_)),
        Format::Nagios => matches!(cli.command, Command::Check(_)),
        Format::Table | Format::Zone => matches!(cli.command, Command::Records),
    };
    if fits {
        return Ok(());
    }
    Err(
        Error::usage(format!("`{}` has no such --format", name(&cli.command)))
            .remedy("text and json fit every command, but for man and completions; nagios fits check; zone and table fit records"),
    )
}

fn progress(env: &Env, global: &Global, log: Log) -> Progress {
    let stderr = env.streams.stderr.clone();
    // What a plug-in says on stderr is mixed into its text by some who call it.
    let progress = if global.quiet || global.format == Format::Nagios {
        Progress::quiet()
    } else if env.streams.stderr_is_terminal && !global.verbose {
        Progress::terminal(stderr)
    } else {
        Progress::lines(stderr)
    };
    progress.logging(log)
}

/// How results of this run are shown.
struct Show {
    command: &'static str,
    format: Format,
    style: Style,
    quiet: bool,
    progress: Progress,
}

impl Show {
    /// Writes an outcome to stdout and its failure to stderr; returns how the program ends.
    fn outcome(&self, env: &Env, outcome: &impl Render) -> ExitCode {
        self.progress.clear();
        let log = self.progress.log();
        let events = outcome.events();
        for (priority, text) in &events {
            log.event(*priority, text);
        }
        let is_logged = log.is_journal() && !events.is_empty();
        match self.format {
            Format::Json => env
                .streams
                .stdout
                .line(&render::outcome_json(self.command, outcome)),
            _ if is_logged => {}
            _ => env.streams.stdout.write(&outcome.text(self.style)),
        }
        if let Some(error) = outcome.error() {
            self.failure(env, &error, is_logged || log.is_syslog() && !outcome.failed_now());
        }
        outcome.exit_code()
    }

    /// Tells a failure on stderr: as a line where that is the log; not at all when it was logged already.
    fn failure(&self, env: &Env, error: &Error, is_logged: bool) {
        let log = self.progress.log();
        match (is_logged, log.is_journal()) {
            (true, _) => {}
            (false, true) => {
                let (priority, text) = events::of_error(error);
                log.event(priority, &text);
            }
            (false, false) => env.streams.stderr.write(&render::error_text(self.style, error)),
        }
    }

    /// Shows what is about to be done, on stderr: stdout is for the result.
    fn preview(&self, env: &Env, outcome: &impl Render) {
        self.progress.clear();
        env.streams.stderr.write(&outcome.text(self.style));
    }
}

fn initialize(
    env: &mut Env,
    args: &super::args::Init,
    path: &std::path::Path,
    shown: &Show,
) -> Result<ExitCode> {
    let request = init_request(args)?;
    let mut asker = Asker::at_terminal(env);
    let ask = asker.as_mut().map(|asker| asker as &mut (dyn Ask + 'static));
    let prepared = init::prepare(env, path, &shown.progress, &request, ask)?;
    if args.dry_run {
        return Ok(shown.outcome(env, &prepared));
    }
    shown.preview(env, &prepared);
    if !args.yes && prepared.needs_yes() {
        let agreed = match asker.as_mut() {
            Some(asker) => asker.yes("Do all this?")?,
            None => return Err(yes_needed("init")),
        };
        if !agreed {
            return Err(Error::usage("nothing was done: the answer was no"));
        }
    }
    let done = init::carry_out(env, &shown.progress, prepared)?;
    Ok(shown.outcome(env, &done))
}

fn apply_changes(
    env: &mut Env,
    request: &super::args::Apply,
    path: &std::path::Path,
    shown: &Show,
) -> Result<ExitCode> {
    let targets = Target::parse(&request.targets)?;
    let mut asker = Asker::at_terminal(env);
    let context = Context::open(env, path, shown.progress.clone())?;
    let planned = plan::plan(&context, &targets)?;
    if planned.is_empty() && !apply::has_unfinished(&context, &targets)? {
        let done = commands::outcome::Changes {
            applied: true,
            ..commands::outcome::Changes::planned(planned, ExitCode::Done)
        };
        // A run that works on it meanwhile writes what is seen from outside itself.
        let done = match context.lock("apply") {
            Ok(_lock) => watched(&context, "apply", || Ok(done))?,
            Err(_) => done,
        };
        return Ok(shown.outcome(env, &done));
    }
    let preview = commands::outcome::Changes::planned(planned.clone(), ExitCode::Usage);
    if !request.yes {
        let Some(asker) = asker.as_mut() else {
            let error = yes_needed("apply");
            shown.outcome(
                env,
                &commands::outcome::Changes {
                    error: Some(error),
                    ..preview
                },
            );
            return Ok(ExitCode::Usage);
        };
        shown.preview(env, &preview);
        if !asker.yes("Apply this?")? {
            return Err(Error::usage("nothing was done: the answer was no"));
        }
    } else {
        shown.preview(env, &preview);
    }
    let run = || apply::run(&context, &targets, &planned, "apply");
    Ok(shown.outcome(env, &watched(&context, "apply", run)?))
}

fn yes_needed(command: &str) -> Error {
    Error::usage("nothing was done: a yes is needed, and there is no terminal to ask at").remedy(format!(
        "look at the plan, then run `mailcert {command} --yes`, with the same options as now"
    ))
}

fn check_all(env: &Env, request: &Check, path: &std::path::Path, shown: &Show) -> Result<ExitCode> {
    let wanted = check::Request {
        words: &request.targets,
        to: &request.to,
        selectors: &request.selectors,
        sni_names: match request.every_name {
            true => Extent::Every,
            false => Extent::Some,
        },
    };
    if let Some(list) = &request.from {
        return check_list(env, list, wanted, path, shown);
    }
    let findings = check::run(env, path, &shown.progress, wanted);
    if shown.format != Format::Nagios {
        return Ok(shown.outcome(env, &findings?));
    }
    // A plug-in tells trouble of its own as "unknown", on stdout.
    let (text, code) = match findings {
        Ok(findings) => nagios::tell(&findings),
        Err(error) => (nagios::unknown(&error.to_string()), nagios::UNKNOWN.0),
    };
    Ok(told_to_nagios(env, shown, &text, code))
}

/// Checks a list and writes each finding as it comes, so that a long list needs no more memory than a short one.
fn check_list(
    env: &Env,
    list: &std::path::Path,
    wanted: check::Request<'_>,
    path: &std::path::Path,
    shown: &Show,
) -> Result<ExitCode> {
    shown.progress.step("asking every name server");
    let stdout = &env.streams.stdout;
    let mut n_told = 0_u64;
    let mut bad = Vec::new();
    let mut tell = |finding: Finding| match shown.format {
        Format::Nagios => {
            if finding.severity >= Severity::Warning {
                bad.push(finding);
            }
        }
        Format::Json => {
            let before = if n_told == 0 {
                render::list_head(shown.command)
            } else {
                ",".to_owned()
            };
            stdout.write(&(before + &serde_json::to_string(&finding).unwrap_or_default()));
            n_told += 1;
        }
        _ => {
            shown.progress.clear();
            stdout.write(&render::finding_text(shown.style, &finding));
        }
    };
    let checked = check::list(env, path, list, wanted, &mut tell);
    if shown.format == Format::Nagios {
        let (text, code) = match checked {
            Ok(_) => nagios::tell(&Findings::sorted(bad)),
            Err(error) => (nagios::unknown(&error.to_string()), nagios::UNKNOWN.0),
        };
        return Ok(told_to_nagios(env, shown, &text, code));
    }
    let worst = checked?;
    if shown.format == Format::Json {
        let head = if n_told == 0 {
            render::list_head(shown.command)
        } else {
            String::new()
        };
        stdout.line(&format!("{head}],\"ok\":{}}}", worst < Severity::Error));
    }
    shown.progress.clear();
    Ok(if worst == Severity::Error {
        ExitCode::Findings
    } else {
        ExitCode::Done
    })
}

fn told_to_nagios(env: &Env, shown: &Show, text: &str, code: u8) -> ExitCode {
    shown.progress.clear();
    env.streams.stdout.line(text);
    match code {
        0 => ExitCode::Done,
        1 => ExitCode::Failed,
        2 => ExitCode::Usage,
        _ => ExitCode::Findings,
    }
}

fn show_records(env: &Env, shown: &Show, records: &records::Records) -> ExitCode {
    match shown.format {
        Format::Zone => {
            env.streams.stdout.write(&records.zone_text());
            ExitCode::Done
        }
        Format::Table => {
            env.streams.stdout.write(&render::plan::records_table(records));
            ExitCode::Done
        }
        _ => shown.outcome(env, records),
    }
}

fn probe_request(request: &super::args::Probe) -> probe::Request {
    probe::Request {
        target: request.target.clone(),
        name: request.name.clone(),
        root_ca_file: request.root_ca_file.clone(),
    }
}

/// Returns a way to prove names, as the commands have it.
fn challenge_type(kind: super::args::ChallengeKind) -> init::ChallengeType {
    use super::args::ChallengeKind;
    match kind {
        ChallengeKind::Dns01 => init::ChallengeType::Dns01,
        ChallengeKind::Http01 => init::ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => init::ChallengeType::TlsAlpn01,
    }
}

/// Reads `--listen`; the port that is not written is the challenge's.
fn listen_addresses(
    texts: &[String],
    challenge: Option<init::ChallengeType>,
) -> Result<Vec<std::net::SocketAddr>> {
    let port = if challenge == Some(init::ChallengeType::TlsAlpn01) {
        443
    } else {
        80
    };
    let address = |text: &String| {
        super::args::listen_address(text, port).ok_or_else(|| {
            Error::usage(format!(
                "--listen `{}` is not ADDR or ADDR:PORT",
                text.escape_debug()
            ))
        })
    };
    texts.iter().map(address).collect()
}

fn init_request(request: &super::args::Init) -> Result<init::Request> {
    use super::args::{IssuerKind, PublishKind, TimerKind};
    use crate::config::{Issuer, Publish, Timer};
    let issuer = match request.issuer {
        None => None,
        Some(IssuerKind::Acme) => Some(Issuer::Acme),
        Some(IssuerKind::External) => Some(Issuer::External),
        Some(IssuerKind::Ca) => Some(Issuer::Ca),
    };
    let challenge = request.challenge.map(challenge_type);
    Ok(init::Request {
        host: request.host.clone(),
        domains: request.domains.clone(),
        identifiers: request.identifiers.clone(),
        issuer,
        directory: request.directory.clone(),
        root_ca_file: request.root_ca_file.clone(),
        contact: request.contact.clone(),
        agree_to_terms: request.agree_to_terms,
        external_account: request.eab_key_id.clone().zip(request.eab_hmac_key_file.clone()),
        challenge,
        listen: listen_addresses(&request.listen, challenge)?,
        postfix_config_directory: request.postfix_config_directory.clone(),
        state_directory: request.state_directory.clone(),
        dovecot_config_directory: request.dovecot_config_directory.clone(),
        no_dovecot: request.no_dovecot,
        publish: request
            .publish
            .iter()
            .map(|kind| match kind {
                PublishKind::Caa => Publish::Caa,
                PublishKind::Dmarc => Publish::Dmarc,
                PublishKind::MtaSts => Publish::MtaSts,
                PublishKind::Spf => Publish::Spf,
                PublishKind::Srv => Publish::Srv,
                PublishKind::Tlsa => Publish::Tlsa,
            })
            .collect(),
        timer: request.timer.map(|timer| match timer {
            TimerKind::Auto => Timer::Auto,
            TimerKind::Cron => Timer::Cron,
            TimerKind::None => Timer::None,
            TimerKind::Systemd => Timer::Systemd,
        }),
    })
}
