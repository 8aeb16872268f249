//! `ca`: from the command line to the command.

use std::{fs::File, io::ErrorKind, path::Path};

use super::{DEFAULT_CONFIG, Show};
use crate::{
    cli::{
        args::{
            Format,
            authority::ReasonKind,
            private_ca::{
                CaCommand, Export, FormKind, Init, LanguageKind, PrivateCa, ProfileKind, TermsArgs, Where,
            },
        },
        ask::Asker,
        passphrase::PassphraseOptions,
        render::private_ca::about,
    },
    commands::{
        csr::Out,
        load_config,
        passphrase::{self, AskHidden},
        private_ca::{Keys, Language, Place, Profile, Signer, crl, export, init, issue, revoke, show, sign},
    },
    config::Config,
    env::{Env, secret},
    error::{Error, ExitCode, Result},
    model::{key::encrypted::Passphrase, revocation::Reason},
};

/// What the CA's passphrase is called.
const WHAT: &str = "the private CA's key";

pub(super) fn run(env: &mut Env, args: &PrivateCa, path: &Path, shown: &Show) -> Result<ExitCode> {
    match &args.command {
        CaCommand::Init(args) => make(env, args, path, shown),
        CaCommand::Sign(args) => {
            let place = place(&args.place, path)?;
            let request = sign::Request {
                files: args.files.clone(),
                names: args.names.clone(),
                terms: terms(&args.terms),
                out_dir: args.out_dir.clone(),
            };
            with_keys(env, &args.passphrase, |env, keys| {
                let signed = sign::run(env, &shown.progress, &place, keys, &request)?;
                let code = shown.outcome(env, &signed);
                if shown.format != Format::Json && !shown.quiet {
                    env.streams.stderr.write(&about(shown.style, &signed));
                }
                Ok(code)
            })
        }
        CaCommand::Issue(args) => {
            let place = place(&args.place, path)?;
            let first = args.names.first().map(ToString::to_string).unwrap_or_default();
            let request = issue::Request {
                names: args.names.clone(),
                terms: terms(&args.terms),
                key: args.key.into(),
                out: Out {
                    directory: args.out_dir.clone(),
                    basename: args
                        .basename
                        .clone()
                        .unwrap_or_else(|| first.replacen("*.", "_wildcard.", 1)),
                },
            };
            with_keys(env, &args.passphrase, |env, keys| {
                let signed = issue::run(env, &shown.progress, &place, keys, &request)?;
                Ok(shown.outcome(env, &signed))
            })
        }
        CaCommand::Revoke(args) => {
            let place = place(&args.place, path)?;
            let reason = match args.reason {
                ReasonKind::AffiliationChanged => Reason::AffiliationChanged,
                ReasonKind::CessationOfOperation => Reason::CessationOfOperation,
                ReasonKind::KeyCompromise => Reason::KeyCompromise,
                ReasonKind::Superseded => Reason::Superseded,
                ReasonKind::Unspecified => Reason::Unspecified,
            };
            with_keys(env, &args.passphrase, |env, keys| {
                let revoked = revoke::run(env, &shown.progress, &place, keys, &args.certificate, reason)?;
                Ok(shown.outcome(env, &revoked))
            })
        }
        CaCommand::Crl(args) => {
            let place = place(&args.place, path)?;
            let signer = args.root.then_some(Signer::Root);
            with_keys(env, &args.passphrase, |env, keys| {
                let crls = crl::run(env, &shown.progress, &place, keys, signer, args.days)?;
                Ok(shown.outcome(env, &crls))
            })
        }
        CaCommand::Export(args) => export(env, args, path, shown),
        CaCommand::Show(args) => {
            let which = match (&args.certificate, args.all) {
                (Some(certificate), _) => show::Which::One(certificate.clone()),
                (None, true) => show::Which::All,
                (None, false) => show::Which::None,
            };
            let place = place(&args.place, path)?;
            Ok(shown.outcome(env, &show::run(env, &place, &which)?))
        }
    }
}

fn export(env: &Env, args: &Export, path: &Path, shown: &Show) -> Result<ExitCode> {
    use export::{Form, Request, TrustStore, run};
    let (place, config) = place_and_config(&args.place, path)?;
    let language = match args.language {
        LanguageKind::En => Language::English,
        LanguageKind::Ja => Language::Japanese,
    };
    let request = Request {
        form: match args.form {
            FormKind::Autoconfig => Form::Autoconfig,
            FormKind::Lines => Form::Lines,
            FormKind::MailMobileconfig => Form::MailProfile,
            FormKind::Mobileconfig => Form::Profile,
            FormKind::Pem => Form::Pem,
            FormKind::Sheet => Form::Sheet(language),
        },
        out_dir: args.out_dir.clone(),
        host: args.host.clone(),
        trust_store: match (args.install, args.uninstall) {
            (true, _) => TrustStore::Install,
            (_, true) => TrustStore::Remove,
            _ => TrustStore::Keep,
        },
    };
    let exported = run(env, &place, config.as_ref(), &request)?;
    let code = shown.outcome(env, &exported);
    if shown.format != Format::Json && !shown.quiet {
        let notes: String = exported
            .notes
            .iter()
            .map(|note| format!("note: {note}\n"))
            .collect();
        env.streams.stderr.write(&notes);
    }
    Ok(code)
}

/// Returns which CA is meant.
fn place(asked: &Where, path: &Path) -> Result<Place> {
    Ok(place_and_config(asked, path)?.0)
}

/// Returns which CA is meant. A file of configuration is read where there is one; one that was named has to be there.
fn place_and_config(asked: &Where, path: &Path) -> Result<(Place, Option<Config>)> {
    let is_there = path != Path::new(DEFAULT_CONFIG)
        || !matches!(
            File::open(path).map_err(|error| error.kind()),
            Err(ErrorKind::NotFound | ErrorKind::PermissionDenied)
        );
    let config = match is_there {
        true => match load_config(path) {
            Ok(config) => Some(config),
            // A configuration that is broken is no reason not to use a CA that is named.
            Err(_) if asked.directory.is_some() && path == Path::new(DEFAULT_CONFIG) => None,
            Err(error) => return Err(error),
        },
        false => None,
    };
    let place = Place::new(asked.directory.as_deref(), config.as_ref());
    Ok((place, config))
}

fn terms(args: &TermsArgs) -> sign::Terms {
    sign::Terms {
        profile: match args.profile {
            ProfileKind::Both => Profile::Both,
            ProfileKind::Client => Profile::Client,
            ProfileKind::Server => Profile::Server,
        },
        days: Some(args.days),
        subject: args.subject.clone(),
    }
}

/// Does something with what opens the CA's key: what an option gave, else somebody at the terminal.
fn with_keys<T>(
    env: &mut Env,
    options: &PassphraseOptions,
    work: impl FnOnce(&mut Env, &mut Keys<'_>) -> Result<T>,
) -> Result<T> {
    let given = options.read(env, WHAT)?;
    let mut asker = match given {
        Some(_) => None,
        None => Asker::at_terminal(env),
    };
    let asker = asker
        .as_mut()
        .map(|asker| asker as &mut (dyn AskHidden + 'static));
    work(env, &mut Keys { given, asker })
}

fn make(env: &mut Env, args: &Init, path: &Path, shown: &Show) -> Result<ExitCode> {
    let place = place(&args.place, path)?;
    let mut request = init::Request {
        domains: args.domains.clone(),
        networks: args.networks.clone(),
        scope: match args.unconstrained {
            true => init::Scope::Anything,
            false => init::Scope::Constrained,
        },
        name: args.name.clone(),
        subject: args.subject.clone().unwrap_or_default(),
        key: Some(args.key.into()),
        days: Some(args.days),
        issuing: args.intermediate.then_some(Some(args.intermediate_days)),
        root_key: args.root_key.clone(),
        passphrase: None,
        root_passphrase: None,
        crl_days: Some(args.crl_days),
        crl_urls: args.crl_urls.clone(),
    };
    init::refuse_early(&place, &request)?;
    request.passphrase = new_passphrase(env, args, &place)?;
    if let Some(file) = &args.root_passphrase_file {
        let place = secret::Place::File(file);
        request.root_passphrase = Some(passphrase::read(env, "the root's key", place)?);
    }
    Ok(shown.outcome(env, &init::run(env, &shown.progress, &place, &request)?))
}

fn new_passphrase(env: &mut Env, args: &Init, place: &Place) -> Result<Option<Passphrase>> {
    if args.no_passphrase {
        return Ok(None);
    }
    if let Some(given) = args.passphrase.read(env, WHAT)? {
        return Ok(Some(given));
    }
    if let Some(file) = &place.passphrase_file {
        return passphrase::read(env, WHAT, secret::Place::File(file)).map(Some);
    }
    let mut asker = Asker::at_terminal(env).ok_or_else(|| {
        Error::usage("no private CA was made: a passphrase for its key is needed, and stdin is no terminal")
            .remedy("give it by --passphrase-file, --passphrase-fd or --passphrase-credential")
            .remedy("or do without: --no-passphrase; then the CA is only as safe as this host")
    })?;
    passphrase::ask_new(&mut asker, WHAT).map(Some)
}
