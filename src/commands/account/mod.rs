//! `account`: our accounts at the CAs, as the CAs have them (RFC 8555, 7.3).

pub mod file;
mod rollover;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    Context,
    ca::{self, Opened},
};
use crate::{
    acme::{
        AcmeError,
        account::{
            AccountRecord, Registration, Session,
            object::{AccountObject, Known},
            rollover as keys,
        },
        directory::Directory,
        http::Http,
    },
    config::{Acme, v1},
    env::secret::Place,
    error::{Error, ExitCode, Result},
    model::plan::printable,
};

pub use rollover::{Next, change, roll_over};

/// Which account is meant, and what a new one is made with.
#[derive(Debug, Default)]
pub struct Request {
    /// The CA: a short name or a URL; `None`: that of `acme.directory`.
    pub directory: Option<String>,
    /// The key identifier of a customer's account.
    pub eab_key_id: Option<String>,
    /// The file with the key that goes with it.
    pub eab_hmac_key_file: Option<PathBuf>,
    /// The operator has read the CA's terms and agrees.
    pub agree_to_terms: bool,
}

/// What was done, and what the account is like now.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// What was done.
    pub action: Action,
    /// The account.
    pub account: Account,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It was ended.
    Deactivated,
    /// It was there already.
    Found,
    /// It was made.
    Registered,
    /// It has another key.
    RolledOver,
    /// It was looked at.
    Shown,
}

/// An account as the CA has it. Texts that came from there are fit for a terminal.
#[derive(Debug, Serialize)]
pub struct Account {
    /// The CA's directory.
    pub directory: String,
    /// The account's URL; CAA records may name it (RFC 8657).
    pub url: String,
    /// `valid`, `deactivated` or `revoked`.
    pub status: String,
    /// Whom the CA would write to.
    pub contact: Vec<String>,
    /// Of the account's key (RFC 7638).
    pub thumbprint: String,
    /// Whether it is bound to a customer's account, as far as the CA says.
    pub bound: bool,
    /// Where it is kept.
    pub file: PathBuf,
}

impl Outcome {
    /// Returns how the program ends.
    pub fn exit_code(&self) -> ExitCode {
        match (self.action, self.account.status.as_str()) {
            (Action::Deactivated, _) | (_, "valid") => ExitCode::Done,
            _ => ExitCode::Failed,
        }
    }
}

/// An account whose deactivation has yet to be agreed to.
#[derive(Debug, Serialize)]
pub struct Ending {
    /// The CA's directory.
    pub directory: String,
    /// The account's URL, where it is known.
    pub url: Option<String>,
    /// The lineages that are ordered there.
    pub lineages: Vec<String>,
}

/// Asks the CA for the account object.
///
/// # Errors
/// When there is no account, or the CA cannot be asked.
pub fn show(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    let acme = acme_of(context, request)?;
    let shown = context.wait(async {
        let (http, directory) = ca::reach(context, &acme).await?;
        let mut record = existing(context, &acme)?;
        // In memory only: nothing is written by looking.
        let settled = keys::settle(&http, &directory, &mut record).await;
        settled.map_err(|error| ca::unusable(context, &acme, &error))?;
        let unfinished = record.has_proposed_key();
        let session = session_of(context, &acme, http, directory, record).await?;
        let object = match session.look().await {
            Err(AcmeError::Deactivated(problem)) => {
                context.progress.done(&format!("the CA says: {problem}"));
                None
            }
            result => Some(result.map_err(|error| ca::unusable(context, &acme, &error))?),
        };
        let mut notes = notes_on(&acme, object.as_ref());
        if unfinished {
            notes.push(
                "a change of its key was begun and not finished; `mailcert account rollover` finishes it"
                    .into(),
            );
        }
        Ok(Outcome {
            action: Action::Shown,
            account: describe(context, &session, object.as_ref())?,
            notes,
        })
    });
    context.progress.clear();
    shown?
}

/// Makes the account, or finds it; a new key is on disk before the CA is asked.
///
/// # Errors
/// When the CA refuses, wants its terms agreed to or a customer's account, or the account cannot be saved.
pub fn register(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    let _lock = context.lock("account register")?;
    let mut acme = acme_of(context, request)?;
    let is_configured = is_configured(context, &acme.directory);
    acme.terms_of_service_agreed = request.agree_to_terms || acme.terms_of_service_agreed && is_configured;
    let external_account = match (&request.eab_key_id, &request.eab_hmac_key_file) {
        (Some(key_id), Some(file)) => {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            Some(ca::bind_by(context, key_id, Place::File(&file))?)
        }
        (None, None) => ca::external_account(context, &acme)?,
        _ => {
            return Err(Error::usage(
                "--eab-key-id and --eab-hmac-key-file go together: the CA gives both",
            ));
        }
    };
    let mut notes = Vec::new();
    let registered = context.wait(async {
        let (http, directory) = ca::reach(context, &acme).await?;
        let had_url = match file::load(context, &acme.directory)? {
            Some(record) => {
                put_aside_if_ended(context, &acme, &http, &directory, &record, &mut notes).await?
            }
            None => false,
        };
        let external_account = external_account.as_ref();
        let opened = ca::open_at(context, &acme, http, directory, external_account).await;
        let session = opened.map_err(|failure| untold_terms(failure, context, &acme))?;
        let object = session.look().await;
        let object = object.map_err(|error| ca::unusable(context, &acme, &error))?;
        Ok::<_, Error>(Outcome {
            action: if had_url {
                Action::Found
            } else {
                Action::Registered
            },
            account: describe(context, &session, Some(&object))?,
            notes: Vec::new(),
        })
    });
    context.progress.clear();
    let mut registered = registered??;
    if !is_configured {
        notes.push(format!(
            "{} is neither acme.directory nor in acme.fallback: nothing is ordered there",
            acme.directory
        ));
    }
    registered.notes = notes;
    Ok(registered)
}

/// Says what would end with an account.
///
/// # Errors
/// When there is none.
pub fn ending(context: &Context<'_>, request: &Request) -> Result<Ending> {
    let acme = acme_of(context, request)?;
    let record = existing(context, &acme)?;
    let mut lineages = Vec::new();
    for certificate in &context.config.certificates {
        let lineage = context.load(&certificate.name)?;
        let live = lineage.live().and_then(|live| live.directory.as_ref());
        if live == Some(&acme.directory) {
            lineages.push(certificate.name.clone());
        }
    }
    Ok(Ending {
        directory: acme.directory,
        url: record.url,
        lineages,
    })
}

/// Ends the account, for good; its file is kept under another name once the CA has said that it is so.
///
/// # Errors
/// When the CA refuses, or says yes and leaves it as it was.
pub fn deactivate(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    let _lock = context.lock("account deactivate")?;
    let acme = acme_of(context, request)?;
    let ended = context.wait(async {
        let (http, directory) = ca::reach(context, &acme).await?;
        let mut record = existing(context, &acme)?;
        let told = |error: &AcmeError| ca::unusable(context, &acme, error);
        let settled = keys::settle(&http, &directory, &mut record).await;
        settled.map_err(|error| told(&error))?;
        let session = session_of(context, &acme, http, directory, record).await?;
        let object = match session.deactivate().await {
            Ok(object) if object.status == "deactivated" => Some(object),
            Ok(object) => {
                let status = printable(object.status.as_bytes());
                return Err(
                    Error::failed(format!("the account at {} is not deactivated", acme.directory))
                        .cause(format!("the CA said yes, but its status is `{status}`"))
                        .remedy("ask the CA; nothing was changed on this host"),
                );
            }
            // A run that was killed before it put the file aside had done it already.
            Err(AcmeError::Deactivated(_)) => None,
            Err(error) => return Err(told(&error)),
        };
        let mut account = describe(context, &session, object.as_ref())?;
        account.file = file::retire(context, &acme.directory)?;
        Ok(Outcome {
            action: Action::Deactivated,
            account,
            notes: vec![
                "certificates that were issued stay valid; `mailcert revoke --by certificate-key` revokes them".into(),
                "nothing is ordered there until `mailcert account register` has made a new account".into(),
            ],
        })
    });
    context.progress.clear();
    ended?
}

/// Returns the settings for the CA that is meant.
fn acme_of(context: &Context<'_>, request: &Request) -> Result<Acme> {
    let configured = ca::configured(context)?;
    let Some(text) = &request.directory else {
        return Ok(configured.clone());
    };
    let directory = v1::directory(text).map_err(|fault| Error::usage(format!("--directory {fault}")))?;
    if directory == configured.directory {
        return Ok(configured.clone());
    }
    Ok(configured.at(&directory))
}

/// Returns whether certificates are ordered at a CA.
fn is_configured(context: &Context<'_>, directory: &str) -> bool {
    context.config.acme.as_ref().is_some_and(|acme| {
        acme.directory == directory || acme.fallback.iter().any(|other| other == directory)
    })
}

/// Returns the account that is there.
fn existing(context: &Context<'_>, acme: &Acme) -> Result<AccountRecord> {
    if let Some(record) = file::load(context, &acme.directory)? {
        return Ok(record);
    }
    Err(if file::is_retired(context, &acme.directory) {
        Error::failed(format!("the account at {} was deactivated", acme.directory))
            .remedy("`mailcert account register` makes another one; until then nothing is ordered")
    } else {
        Error::failed(format!("there is no account at {}", acme.directory))
            .remedy("`mailcert account register` makes one; so does the first order")
    })
}

/// Begins a conversation under an account that is there; makes none.
async fn session_of(
    context: &Context<'_>,
    acme: &Acme,
    http: Http,
    directory: Directory,
    mut record: AccountRecord,
) -> Result<Session> {
    let told = |error: AcmeError| ca::unusable(context, acme, &error);
    if record.url.is_none() {
        record.url = match record.find(&http, &directory).await.map_err(told)? {
            Known::Account(url) => Some(url),
            Known::Nobody | Known::Deactivated => {
                return Err(Error::failed(format!(
                    "the CA at {} knows no account of the key in {}",
                    acme.directory,
                    file::path(context, &acme.directory).display()
                ))
                .remedy("`mailcert account register` registers it"));
            }
        };
    }
    let registration = Registration {
        contact: &[],
        terms_of_service_agreed: false,
        external_account: None,
    };
    Session::open(http, directory, record, registration)
        .await
        .map_err(told)
}

/// Puts the file of an account aside that the CA says is deactivated; returns whether there is one left that the CA knows.
async fn put_aside_if_ended(
    context: &Context<'_>,
    acme: &Acme,
    http: &Http,
    directory: &Directory,
    record: &AccountRecord,
    notes: &mut Vec<String>,
) -> Result<bool> {
    let mut record = record.clone();
    let told = |error: AcmeError| ca::unusable(context, acme, &error);
    let settled = keys::settle(http, directory, &mut record).await;
    settled.map_err(told)?;
    match record.find(http, directory).await.map_err(told)? {
        Known::Account(url) => {
            let is_known = record.url.is_some();
            if record.url.as_ref() != Some(&url) {
                record.url = Some(url);
                file::save(context, &record)?;
            }
            Ok(is_known)
        }
        Known::Nobody => {
            if record.url.take().is_some() {
                // The CA has forgotten it: the same key is registered again.
                file::save(context, &record)?;
            }
            Ok(false)
        }
        Known::Deactivated => {
            let aside = file::retire(context, &acme.directory)?;
            notes.push(format!(
                "the account that was there is deactivated; its file is kept as {}",
                aside.display()
            ));
            Ok(false)
        }
    }
}

/// Tells why there is no account; the terms are agreed to by an option here.
fn untold_terms(failure: Opened, context: &Context<'_>, acme: &Acme) -> Error {
    match failure {
        Opened::Failed(AcmeError::TermsOfService { url }) => {
            let url = printable(url.as_bytes());
            Error::usage("the CA's terms of service were not agreed to")
                .cause(format!("they are at {url}"))
                .remedy("read them, then give --agree-to-terms")
        }
        failure => failure.told(context, acme),
    }
}

/// Says what in the account is not as the configuration has it.
fn notes_on(acme: &Acme, object: Option<&AccountObject>) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(object) = object else {
        return notes;
    };
    // Let's Encrypt keeps no contacts: an account without any is nothing to tell.
    if !object.contact.is_empty() && object.contact != acme.contact {
        notes.push("the contacts are not those of acme.contact; the next order tells the CA".to_owned());
    }
    notes
}

/// Describes an account; without an object of the CA's, a deactivated one.
fn describe(context: &Context<'_>, session: &Session, object: Option<&AccountObject>) -> Result<Account> {
    let damaged = |error: AcmeError| Error::failed("the account's key cannot be used").cause(error);
    let fit = |text: &String| printable(text.as_bytes());
    let record = session.record();
    Ok(Account {
        directory: record.directory.clone(),
        url: printable(session.account_url().as_bytes()),
        status: object.map_or_else(|| "deactivated".to_owned(), |object| fit(&object.status)),
        contact: object
            .map(|object| object.contact.iter().map(fit).collect())
            .unwrap_or_default(),
        thumbprint: record.thumbprint().map_err(damaged)?,
        bound: object.is_some_and(AccountObject::is_bound),
        file: Path::new(&file::path(context, &record.directory)).to_owned(),
    })
}
