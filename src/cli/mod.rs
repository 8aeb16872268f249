//! Arguments to requests, outcomes to text or JSON, wiring of the real adapters.

pub mod args;
mod ask;
mod dispatch;
mod events;
mod nagios;
pub mod passphrase;
mod render;

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

use crate::{
    env::{Env, log::Log},
    error::{Error, ExitCode, Kind},
};
use args::{Cli, Format};
use render::Style;

/// Runs the program and returns how it ends.
pub fn run(mut env: Env) -> ExitCode {
    let code = carry_out(&mut env);
    // The result is what a script goes by: one that is lost, or cut short, is not done.
    match env.streams.stdout.take_loss() {
        None => code,
        Some(reason) => {
            let error = Error::failed("the result could not be written to standard output")
                .cause(reason)
                .remedy("see where the output goes, a full disk most likely; `mailcert status` shows what was done");
            env.streams
                .stderr
                .write(&render::error_text(Style::plain(&env), &error));
            match code {
                ExitCode::Done => ExitCode::Failed,
                code => code,
            }
        }
    }
}

fn carry_out(env: &mut Env) -> ExitCode {
    let cli = match parse(env) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let style = Style::choose(env, &cli.global);
    match dispatch::dispatch(env, &cli, style) {
        Ok(code) => code,
        Err(error) => {
            if cli.global.format == Format::Nagios && matches!(cli.command, args::Command::Check(_)) {
                env.streams.stdout.line(&nagios::unknown(&error.to_string()));
                return ExitCode::Findings;
            }
            tell(env, &cli, style, &error);
            error.exit_code()
        }
    }
}

/// Reads the command line; prints help, version or what is wrong with it.
fn parse(env: &Env) -> Result<Cli, ExitCode> {
    let command = Cli::command();
    // MAILCERT_CONFIG comes through Env like everything else, not from the process.
    let mut args = env.args.clone();
    if args.is_empty() {
        args.push("mailcert".into());
    }
    let parsed = command
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let mut cli = parsed.map_err(|error| {
        let text = error.render();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                env.streams.stdout.write(&text.to_string());
                ExitCode::Done
            }
            _ if wants(env, "nagios") && env.args.iter().any(|arg| arg == "check") => {
                let text = error.render().to_string();
                let first = text.lines().next().unwrap_or_default();
                env.streams
                    .stdout
                    .line(&nagios::unknown(first.trim_start_matches("error: ")));
                ExitCode::Findings
            }
            _ if wants(env, "json") => {
                let message = text.to_string();
                // The first paragraph: what is missing stands on lines of its own below what is said of it.
                let lines = message.trim().trim_start_matches("error: ").lines();
                let said: Vec<&str> = lines.map(str::trim).take_while(|line| !line.is_empty()).collect();
                let error = Error::usage(said.join(" "));
                env.streams.stdout.line(&render::error_json("", &error));
                ExitCode::Usage
            }
            _ => {
                env.streams.stderr.write(&text.to_string());
                ExitCode::Usage
            }
        }
    })?;
    if let Some(path) = cli
        .global
        .config
        .take()
        .or_else(|| env.var("MAILCERT_CONFIG").map(Into::into))
    {
        cli.global.config = Some(path);
    }
    Ok(cli)
}

/// Returns whether the command line asks for a format, even when the rest of it is wrong.
fn wants(env: &Env, format: &str) -> bool {
    let words: Vec<_> = env.args.iter().filter_map(|arg| arg.to_str()).collect();
    words.contains(&format!("--format={format}").as_str())
        || words.windows(2).any(|pair| pair == ["--format", format])
}

/// Tells a failure: as JSON on stdout when that was asked for, always as text on stderr.
fn tell(env: &Env, cli: &Cli, style: Style, error: &Error) {
    if cli.global.format == Format::Json {
        env.streams
            .stdout
            .line(&render::error_json(dispatch::name(&cli.command), error));
    }
    let log = Log::choose(env).unwrap_or_else(|_| Log::none());
    let (priority, text) = events::of_error(error);
    log.event(priority, &format!("{}: {text}", dispatch::name(&cli.command)));
    // Cron mails what it reads here: not that another run was at work.
    let is_told = log.is_journal() || log.is_syslog() && error.kind == Kind::NotYet;
    if !is_told {
        env.streams.stderr.write(&render::error_text(style, error));
    }
}
