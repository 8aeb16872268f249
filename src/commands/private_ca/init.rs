//! `ca init`: a root and, by option, an issuing intermediate.

use std::path::PathBuf;

use serde::Serialize;

use super::{Facts, Place, tell};
use crate::{
    ca::{
        authority::Authority,
        making::{self, Member, Plan},
        name::{Constraints, Network},
        profile::{CRL_DAYS, INTERMEDIATE_DAYS, ROOT_DAYS},
        settings::Signer,
    },
    env::{Env, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        key::{KeyType, encrypted::Passphrase},
        name::DomainName,
        request::Subject,
    },
};

/// The CA that is asked for.
#[derive(Default)]
pub struct Request {
    /// The names it may certify, and all below them; those of the configuration when there are none.
    pub domains: Vec<DomainName>,
    /// The addresses it may certify.
    pub networks: Vec<Network>,
    /// Whether it may certify any name.
    pub scope: Scope,
    /// The root's common name.
    pub name: Option<String>,
    /// The rest of the subject, or all of it.
    pub subject: Subject,
    /// The kind of its keys.
    pub key: Option<KeyType>,
    /// How long the root is good, in days.
    pub days: Option<u32>,
    /// An issuing intermediate is wanted; how long it is good, in days.
    pub issuing: Option<Option<u32>>,
    /// Where the root's key is to live.
    pub root_key: Option<PathBuf>,
    /// What closes the keys.
    pub passphrase: Option<Passphrase>,
    /// What closes the root's key, when it is another.
    pub root_passphrase: Option<Passphrase>,
    /// How long a CRL is good, in days.
    pub crl_days: Option<u32>,
    /// Where clients find the CRL.
    pub crl_urls: Vec<String>,
}

/// Which names a CA may certify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Any name at all.
    Anything,
    /// The operator's.
    #[default]
    Constrained,
}

/// A CA that was made, or is there.
#[derive(Debug, Serialize)]
pub struct Made {
    /// Its directory.
    pub directory: PathBuf,
    /// The root.
    pub root: Facts,
    /// The issuing intermediate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuing: Option<Facts>,
    /// Which names it may certify.
    pub constraints: String,
    /// What to give to clients.
    pub root_file: PathBuf,
    /// Where the root's key is.
    pub root_key_file: PathBuf,
    /// Whether the keys are under a passphrase.
    pub encrypted: bool,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

impl Made {
    /// Returns 0: a CA that was not made is an error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Done
    }
}

/// Refuses what would be refused after a passphrase was typed.
///
/// # Errors
/// Exit 2 when something is there already, or it is not said which names the CA may certify.
pub fn refuse_early(place: &Place, request: &Request) -> Result<()> {
    constraints(place, request)?;
    making::refuse_existing(&place.directory, request.root_key.as_deref()).map_err(|error| {
        tell(
            &format!("no private CA was made in {}", place.directory.display()),
            &error,
        )
    })
}

fn constraints(place: &Place, request: &Request) -> Result<Constraints> {
    if request.scope == Scope::Anything {
        return Ok(Constraints::default());
    }
    let domains = match request.domains.is_empty() && request.networks.is_empty() {
        true => place.domains.clone(),
        false => request.domains.clone(),
    };
    let constraints = Constraints {
        domains,
        networks: request.networks.clone(),
    };
    match constraints.is_unlimited() {
        true => Err(
            Error::usage("no private CA was made: for which names?")
                .remedy("name the domains that it may certify: `--domain example.jp`, which may be repeated")
                .remedy("or let it certify any name: `--unconstrained`; whoever trusts its root then trusts it for the whole world"),
        ),
        false => Ok(constraints),
    }
}

/// Makes the CA.
///
/// # Errors
/// Exit 2 when something is there already, or the request is wrong; exit 1 when it cannot be written.
pub fn run(env: &Env, progress: &Progress, place: &Place, request: &Request) -> Result<Made> {
    let constraints = constraints(place, request)?;
    let failed = |error: &_| {
        tell(
            &format!("no private CA was made in {}", place.directory.display()),
            error,
        )
    };
    let key = request.key.unwrap_or(KeyType::EcdsaP256);
    let wrong = |error: crate::model::request::SubjectError| {
        Error::usage("no private CA was made")
            .cause(error)
            .remedy("give it a shorter --name")
    };
    let name = match (&request.name, request.subject.common_name()) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => place.name.clone().unwrap_or_else(|| {
            let first = constraints.domains.first().map(ToString::to_string);
            first.map_or_else(|| "mail CA".to_owned(), |domain| format!("{domain} mail CA"))
        }),
    };
    let subject = request.subject.clone().with_common_name(&name).map_err(wrong)?;
    let issuing = match request.issuing {
        None => None,
        Some(days) => Some(Member {
            subject: subject
                .clone()
                .with_common_name(&format!("{name} issuing"))
                .map_err(wrong)?,
            key,
            days: days.unwrap_or(INTERMEDIATE_DAYS),
            passphrase: request.passphrase.clone(),
        }),
    };
    // Kept as it is found again from anywhere.
    let root_key = request
        .root_key
        .as_ref()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let plan = Plan {
        root: Member {
            subject,
            key,
            days: request.days.unwrap_or(ROOT_DAYS),
            passphrase: request
                .root_passphrase
                .clone()
                .or_else(|| request.passphrase.clone()),
        },
        root_key,
        issuing,
        constraints,
        crl_days: request.crl_days.unwrap_or(CRL_DAYS),
        crl_urls: request.crl_urls.clone(),
    };
    progress.step(&format!("making the private CA ({})", key.name()));
    let authority = making::make(&place.directory, &plan, env.clock.now()).map_err(|error| failed(&error))?;
    progress.clear();
    Ok(describe(&authority, request.passphrase.is_some()))
}

fn describe(authority: &Authority, encrypted: bool) -> Made {
    let mut notes = Vec::new();
    if !encrypted {
        notes.push("its key is under no passphrase: it is only as safe as this host".to_owned());
    }
    if authority.settings.constraints.is_unlimited() {
        notes.push(
            "it may certify any name: whoever trusts its root trusts it for the whole world".to_owned(),
        );
    }
    if authority.settings.root_key.is_some() {
        notes.push(
            "the root's key is needed for a new intermediate and for the root's CRL only; keep it off this host".to_owned(),
        );
    }
    Made {
        directory: authority.layout.directory().to_owned(),
        root: Facts::from(&authority.root),
        issuing: authority.issuing.as_ref().map(Facts::from),
        constraints: authority.settings.constraints.to_string(),
        root_file: authority.layout.root_certificate(),
        root_key_file: authority.key_file(Signer::Root),
        encrypted,
        notes,
    }
}
