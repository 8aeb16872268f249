//! `csr` and `install`.

use std::{fs::File, io::ErrorKind, path::Path};

use super::{DEFAULT_CONFIG, Show};
use crate::{
    cli::{
        args::{
            Format,
            request::{Csr, Install},
        },
        ask::Asker,
        render::request::about,
    },
    commands::{
        Context,
        csr::{self, Check, KeyChoice, Out, Requested},
        install::{self, sent},
        notify::watched,
        passphrase::{self, AskHidden},
    },
    env::Env,
    error::{Error, ExitCode, Result},
};

pub(super) fn make_request(env: &mut Env, args: &Csr, path: &Path, shown: &Show) -> Result<ExitCode> {
    let request = csr_request(env, args)?;
    // Without a file at the usual place there is none to read; one that was named has to be there.
    let has_config = path != Path::new(DEFAULT_CONFIG)
        || args.identifiers.is_empty()
        || !matches!(
            File::open(path).map_err(|error| error.kind()),
            Err(ErrorKind::NotFound | ErrorKind::PermissionDenied)
        );
    let requested = if has_config {
        let context = Context::open(env, path, shown.progress.clone()).map_err(without_configuration)?;
        match context.find_certificate(&args.lineage) {
            None if !args.identifiers.is_empty() => csr::alone(env, &shown.progress, &request)?,
            _ => csr::run(&context, &request)?,
        }
    } else {
        csr::alone(env, &shown.progress, &request)?
    };
    Ok(tell(env, shown, &requested))
}

fn without_configuration(error: Error) -> Error {
    error.remedy("or ask without one: `mailcert csr NAME --identifier NAME --out-dir DIR`")
}

/// Writes the request to stdout, so that `> request.pem` has it alone, and what is said about it to stderr.
fn tell(env: &Env, shown: &Show, requested: &Requested) -> ExitCode {
    let code = shown.outcome(env, requested);
    if shown.format != Format::Json && !shown.quiet {
        env.streams.stderr.write(&about(shown.style, requested));
    }
    code
}

fn csr_request(env: &mut Env, args: &Csr) -> Result<csr::Request> {
    let what = "the key";
    if args.place.place().is_some() && args.out_dir.is_none() {
        return Err(Error::usage("a passphrase is of no use without --out-dir").cause(
            "the key that waits in the state directory has none: nobody is there to type it at a renewal",
        ));
    }
    let passphrase = match args.passphrase {
        true => {
            let mut asker = Asker::at_terminal(env).ok_or_else(|| {
                Error::usage("no passphrase can be asked for: stdin is no terminal")
                    .remedy("give it by --passphrase-file, --passphrase-fd or --passphrase-credential")
            })?;
            Some(passphrase::ask_new(&mut asker, what)?)
        }
        false => args.place.read(env, what)?,
    };
    let out = args.out_dir.as_ref().map(|directory| Out {
        directory: directory.clone(),
        basename: args.basename.clone().unwrap_or_else(|| args.lineage.clone()),
    });
    Ok(csr::Request {
        lineage: args.lineage.clone(),
        identifiers: args.identifiers.clone(),
        subject: args.subject.clone(),
        key: args.key.map(Into::into),
        choice: if args.new_key {
            KeyChoice::New
        } else {
            KeyChoice::Waiting
        },
        passphrase,
        out,
        days: args.days,
        check: if args.no_check {
            Check::Nothing
        } else {
            Check::Names
        },
    })
}

pub(super) fn install(env: &mut Env, args: &Install, path: &Path, shown: &Show) -> Result<ExitCode> {
    let mut asker = Asker::at_terminal(env);
    let context = Context::open(env, path, shown.progress.clone())?;
    context.certificate(&args.lineage)?;
    if let Some(directory) = &args.from {
        let run = || install::run(&context, &args.lineage, directory);
        return Ok(shown.outcome(env, &watched(&context, "install", run)?));
    }
    let request = sent::Request {
        files: &args.files,
        key: args.key.as_deref(),
        passphrase: args.place.read(env, "what the CA sent")?,
    };
    // Read before the lock is taken: nobody waits while a person types.
    let asker = asker
        .as_mut()
        .map(|asker| asker as &mut (dyn AskHidden + 'static));
    let sent = sent::read(&request, asker)?;
    let run = || sent::run(&context, &args.lineage, sent);
    Ok(shown.outcome(env, &watched(&context, "install", run)?))
}
