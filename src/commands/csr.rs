//! `csr LINEAGE`: a key, and the request that a CA takes which works by mail or web form. `install LINEAGE FILE` takes its
//! answer back.
//!
//! The key of a lineage of the configuration waits in the state directory. Without a configuration, and where the operator
//! wants the files in hand, they are written as the guide of 2013 has them: `NAME.key` under a passphrase, `nopass_NAME.key`,
//! `csr_NAME.pem`. What is there is never written over.

mod files;
mod key;

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use time::{Date, OffsetDateTime, macros::date};

pub use files::Out;
use files::{refuse_existing, write_out};
use key::{choose, generate};

use super::{Context, hex, new_runtime, store_error};
use crate::{
    config::{Certificate, Issuer},
    dns::resolver::Resolver,
    env::{Env, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        key::{KeyType, PrivateKey, encrypted::Passphrase},
        name::Identifier,
        request::{self, Subject},
    },
};

/// How long names and TLSA records are looked up, all together.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many names are looked up at most: a request for thousands is no reason to ask a resolver thousands of times.
const MOST_LOOKED_UP: usize = 100;

/// What is asked for.
pub struct Request {
    /// The lineage; a name for the files where there is no configuration.
    pub lineage: String,
    /// The names; those of the configuration when there are none.
    pub identifiers: Vec<Identifier>,
    /// Who asks; the first name alone when nothing is said.
    pub subject: Option<Subject>,
    /// The kind of key; the lineage's, else ECDSA P-256.
    pub key: Option<KeyType>,
    /// Which key.
    pub choice: KeyChoice,
    /// What closes the key in the operator's directory.
    pub passphrase: Option<Passphrase>,
    /// Where the operator wants the files.
    pub out: Option<Out>,
    /// How long the certificate is to be valid.
    pub days: Option<u32>,
    /// What is looked up.
    pub check: Check,
}

/// Which key a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChoice {
    /// A new one, even when a request waits.
    New,
    /// That of the request that waits, where there is one.
    Waiting,
}

/// What is looked up in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether the names resolve, and whether TLSA records name the key.
    Names,
    /// Nothing: no network is needed.
    Nothing,
}

/// A request that was made.
#[derive(Debug, Serialize)]
pub struct Requested {
    /// The lineage.
    pub lineage: String,
    /// What the certificate is asked for.
    pub identifiers: Vec<Identifier>,
    /// Who asks.
    pub subject: String,
    /// The kind of key.
    pub key: &'static str,
    /// SHA-256 of its SPKI: what a TLSA record `3 1 1` has.
    pub spki_sha256: String,
    /// Whether the key was there already.
    pub key_reused: bool,
    /// Whether the state directory keeps the key until the answer comes.
    pub waits: bool,
    /// The files that were written for the operator.
    pub files: Vec<PathBuf>,
    /// The request, PEM.
    pub request: String,
    /// What the operator should know besides.
    pub notes: Vec<String>,
    /// What to do next, as a command.
    pub next: String,
}

impl Requested {
    /// Returns 0: a request that was not made is an error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Done
    }
}

/// Makes a request for names that no configuration has.
///
/// # Errors
/// Exit 2 when there is no name or no place for the files; exit 1 when they are there, or cannot be written.
pub fn alone(env: &Env, progress: &Progress, request: &Request) -> Result<Requested> {
    let lineage = &request.lineage;
    let Some(first) = request.identifiers.first() else {
        return Err(
            Error::usage(format!("no request was made for {lineage}: for which names?"))
                .remedy("name them: `--identifier mail.example.jp`, which may be repeated"),
        );
    };
    let Some(out) = &request.out else {
        return Err(Error::usage(format!("no request was made for {lineage}"))
            .cause("it is in no configuration, so that its key has no place to wait in")
            .remedy("name a directory: `--out-dir DIR`")
            .remedy("or add a [[certificate]] with issuer = \"external\""));
    };
    refuse_existing(out, request.passphrase.as_ref())?;
    let key_type = request.key.unwrap_or(KeyType::EcdsaP256);
    let key = generate(progress, lineage, key_type)?;
    let subject = request.subject.clone().unwrap_or_default();
    let subject = match request.subject.as_ref().is_some_and(Subject::is_empty) {
        true => subject,
        false => subject.or_common_name(first),
    };
    let der = sign(lineage, &key, &request.identifiers, &subject)?;
    let mut notes = advice(request, &request.identifiers, &subject, env.clock.now());
    if request.check == Check::Names {
        progress.step("looking the names up");
        let looked_up = look_up(Resolver::system(env), &request.identifiers);
        notes.extend(new_runtime()?.block_on(looked_up));
    }
    let files = write_out(out, &key, request.passphrase.as_ref(), &der)?;
    progress.clear();
    Ok(Requested {
        lineage: lineage.clone(),
        identifiers: request.identifiers.clone(),
        subject: subject.to_string(),
        key: key.key_type().name(),
        spki_sha256: hex(&key.public_key_sha256()),
        key_reused: false,
        waits: false,
        next: format!(
            "send {} to the CA; what it sends back belongs to {}",
            files
                .last()
                .map_or(String::new(), |path| path.display().to_string()),
            files
                .first()
                .map_or(String::new(), |path| path.display().to_string()),
        ),
        files,
        request: request::to_pem(&der),
        notes,
    })
}

/// Makes a request for a lineage of the configuration; its key waits in the state directory.
///
/// # Errors
/// Exit 2 when it is no lineage, or other names are given than it has; exit 1 when something cannot be written.
pub fn run(context: &Context<'_>, request: &Request) -> Result<Requested> {
    let certificate = context.certificate(&request.lineage)?;
    refuse_other_names(certificate, &request.identifiers)?;
    let _lock = context.lock("csr")?;
    if let Some(out) = &request.out {
        refuse_existing(out, request.passphrase.as_ref())?;
    }
    let lineage = context.load(&certificate.name)?;
    let first = certificate.identifiers.first();
    let subject = match (&request.subject, first) {
        (Some(subject), _) if subject.is_empty() => subject.clone(),
        (subject, Some(first)) => subject.clone().unwrap_or_default().or_common_name(first),
        (subject, None) => subject.clone().unwrap_or_default(),
    };
    let mut notes = Vec::new();
    let chosen = choose(context, certificate, &lineage, request, &mut notes)?;
    let key = &chosen.key;
    let mut der = sign(&certificate.name, key, &certificate.identifiers, &subject)?;
    if let Some(before) = chosen.der.filter(|before| request::is_same(before, &der)) {
        // Octet for octet what was sent before: nobody need wonder which of two it was.
        der = before;
    }
    let reused = chosen.reused;
    if chosen.waits {
        context
            .store
            .save_request(&certificate.name, chosen.number, key, &der)
            .map_err(|error| {
                store_error(
                    format!("the request for {} could not be kept", certificate.name),
                    &error,
                )
            })?;
    }
    notes.extend(advice(request, &certificate.identifiers, &subject, context.now()));
    if certificate.issuer != Issuer::External {
        notes.push(format!(
            "{}: `renew` goes on getting certificates itself, since its issuer is not \"external\"",
            certificate.name
        ));
    }
    if request.check == Check::Names {
        context.progress.step("looking the names up");
        notes.extend(context.wait(look_up(super::dns::resolver(context), &certificate.identifiers))?);
    }
    let files = match &request.out {
        Some(out) => write_out(out, key, request.passphrase.as_ref(), &der)?,
        None => Vec::new(),
    };
    context.progress.clear();
    Ok(Requested {
        lineage: certificate.name.clone(),
        identifiers: certificate.identifiers.clone(),
        subject: subject.to_string(),
        key: key.key_type().name(),
        spki_sha256: hex(&key.public_key_sha256()),
        key_reused: reused,
        waits: chosen.waits,
        files,
        request: request::to_pem(&der),
        notes,
        next: format!(
            "send the request to the CA, then `mailcert install {} FILE` with what it sends back",
            certificate.name
        ),
    })
}

fn refuse_other_names(certificate: &Certificate, given: &[Identifier]) -> Result<()> {
    let (mut given, mut wanted) = (given.to_vec(), certificate.identifiers.clone());
    given.sort();
    wanted.sort();
    if given.is_empty() || given == wanted {
        return Ok(());
    }
    let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    Err(
        Error::usage(format!("no request was made for {}", certificate.name))
            .cause(format!(
                "the configuration has these names for it: {}",
                names.join(", ")
            ))
            .remedy("change `identifiers` there, or leave --identifier away"),
    )
}

fn sign(name: &str, key: &PrivateKey, identifiers: &[Identifier], subject: &Subject) -> Result<Vec<u8>> {
    request::make(key, identifiers, subject)
        .map_err(|error| Error::failed(format!("no request could be made for {name}")).cause(error))
}

/// Looks names up, as the guide asks one to; never longer than [`PATIENCE`]. Returns what there is to say.
async fn look_up(resolver: Resolver, identifiers: &[Identifier]) -> Vec<String> {
    let asked = identifiers
        .iter()
        .filter(|one| !one.is_wildcard())
        .take(MOST_LOOKED_UP);
    let asked = asked.map(|identifier| {
        let resolver = &resolver;
        async move {
            let name = identifier.base();
            match resolver.addresses(name).await {
                Ok(addresses) if addresses.is_empty() => Some(format!(
                    "{name} has no address in the DNS: clients that use this name will not find the server"
                )),
                Ok(_) => None,
                Err(error) => Some(format!("whether {name} resolves could not be found out: {error}")),
            }
        }
    });
    match tokio::time::timeout(PATIENCE, futures_util::future::join_all(asked)).await {
        Ok(said) => said.into_iter().flatten().collect(),
        Err(_) => vec!["whether the names resolve could not be found out in time".to_owned()],
    }
}

/// Says what a request cannot say, and what CAs make of what it says.
fn advice(
    request: &Request,
    identifiers: &[Identifier],
    subject: &Subject,
    now: OffsetDateTime,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(days) = request.days {
        let most = public_lifetime(now.date());
        let more = match days > most {
            true => format!(" (public CAs give at most {most} now; one of your own may give more)"),
            false => String::new(),
        };
        notes.push(format!(
            "a request cannot say how long the certificate is to be valid: ask the CA for {days} days{more}"
        ));
    }
    if let Some(common_name) = subject.common_name() {
        let is_name = |one: &Identifier| one.to_string().eq_ignore_ascii_case(common_name);
        if !identifiers.iter().any(is_name) {
            notes.push(format!(
                "the common name {common_name} is none of the names in subjectAltName: many CAs refuse that"
            ));
        }
    }
    notes
}

/// Returns the longest lifetime in days that the CA/Browser Forum lets public CAs give (Baseline Requirements, 6.3.2).
fn public_lifetime(today: Date) -> u32 {
    match today {
        _ if today < date!(2026 - 03 - 15) => 398,
        _ if today < date!(2027 - 03 - 15) => 200,
        _ if today < date!(2029 - 03 - 15) => 100,
        _ => 47,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_cas_give_less_and_less() {
        let check = |day: Date, most: u32| assert_eq!(public_lifetime(day), most);
        check(date!(2026 - 03 - 14), 398);
        check(date!(2026 - 03 - 15), 200);
        check(date!(2027 - 03 - 15), 100);
        check(date!(2029 - 03 - 15), 47);
    }
}
