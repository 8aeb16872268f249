//! `man` and `completions`: made from the definitions of the commands.

use clap::CommandFactory;
use clap_mangen::Man;

use super::Show;
use crate::{
    cli::args::{self, Cli},
    env::{
        Env,
        files::{self, Access},
    },
    error::{Error, ExitCode, Result},
};

/// Prints the program's page, or writes a page for each command.
pub(super) fn man(env: &Env, args: &args::manual::Man, shown: &Show) -> Result<ExitCode> {
    let mut program = Cli::command();
    program.build();
    let Some(directory) = &args.directory else {
        env.streams.stdout.write(&page(program)?);
        return Ok(ExitCode::Done);
    };
    let failed = |error| Error::failed("the man pages could not be written").cause(error);
    files::make_directory(directory, 0o755).map_err(failed)?;
    let pages = pages(&program, "");
    let n_pages = pages.len();
    for (name, command) in pages {
        let path = directory.join(format!("{name}.1"));
        files::write_atomic(&path, page(command)?.as_bytes(), Access::PUBLIC).map_err(failed)?;
    }
    shown
        .progress
        .done(&format!("wrote {n_pages} pages to {}", directory.display()));
    Ok(ExitCode::Done)
}

/// Returns every command with the name of its page: `mailcert`, `mailcert-ca-sign`.
fn pages(command: &clap::Command, above: &str) -> Vec<(String, clap::Command)> {
    let name = format!("{above}{}", command.get_name());
    let mut all = vec![(name.clone(), command.clone().display_name(&name))];
    for below in command.get_subcommands() {
        all.extend(pages(below, &format!("{name}-")));
    }
    all
}

fn page(command: clap::Command) -> Result<String> {
    let mut roff = Vec::new();
    let failed = |error| Error::failed("the man page could not be made").cause(error);
    Man::new(command).render(&mut roff).map_err(failed)?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

/// Prints the completions for a shell.
pub(super) fn completions(env: &Env, args: &args::manual::Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mailcert", &mut script);
    env.streams.stdout.write(&String::from_utf8_lossy(&script));
    ExitCode::Done
}
