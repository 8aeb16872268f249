//! `revoke`: withdraws a certificate before its time (RFC 8555, 7.6), by the account that ordered it or, when that is lost, by
//! the certificate's own key.
//!
//! Nothing is taken out of service by it: until the next one is there, the revoked certificate goes on serving.

use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

use super::{Context, account::file, ca, store_error};
use crate::{
    acme::{
        AcmeError,
        account::{Registration, Session, rollover},
        directory::Directory,
        http::Http,
        revocation::{self, Revoked as Answer},
    },
    commands::order,
    config::Acme,
    env::files,
    error::{Error, ExitCode, Result},
    model::{
        certificate::{Certificate, certificates_from_pem},
        key::PrivateKey,
        lineage::Lineage,
        revocation::{Reason, Revocation},
    },
};

/// No file with a certificate or a key is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// What is to be revoked, and how.
#[derive(Debug)]
pub struct Request {
    /// The lineage.
    pub lineage: String,
    /// Which of its certificates.
    pub which: Which,
    /// Where the certificate's key is, when it is not with the lineage.
    pub key: Option<PathBuf>,
    /// Why.
    pub reason: Reason,
    /// Who signs; `None`: whoever can.
    pub by: Option<By>,
}

/// Which certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of a file.
    File(PathBuf),
    /// That of a generation.
    Generation(u64),
    /// The one in use.
    Live,
}

/// Who signs a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The account that ordered the certificate.
    Account,
    /// The certificate's own key.
    CertificateKey,
}

/// A revocation that has yet to be agreed to, or was made.
#[derive(Debug, Serialize)]
pub struct Revoke {
    /// The lineage.
    pub lineage: String,
    /// Its generation that has the certificate, if one has.
    pub generation: Option<u64>,
    /// The names in the certificate.
    pub names: Vec<String>,
    /// Its serial number, hex.
    pub serial: String,
    /// SHA-256 of its DER.
    pub leaf_sha256: String,
    /// Until when it would be valid.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Whether it is the certificate in use.
    pub in_use: bool,
    /// The CA's directory.
    pub directory: String,
    /// Why it is withdrawn.
    pub reason: Reason,
    /// Who signs.
    pub by: By,
    /// Whether it was done.
    pub revoked: bool,
    /// What the operator should know besides.
    pub notes: Vec<String>,
    #[serde(skip)]
    certificate: Certificate,
    #[serde(skip)]
    key: Option<PrivateKey>,
    /// Whether the certificate's key may be taken when the account cannot do it.
    #[serde(skip)]
    may_change: bool,
    #[serde(skip)]
    acme: Acme,
}

impl Revoke {
    /// Returns how the program ends.
    pub fn exit_code(&self) -> ExitCode {
        if self.revoked {
            ExitCode::Done
        } else {
            ExitCode::Usage
        }
    }
}

/// Finds the certificate and who can revoke it; asks nobody.
///
/// # Errors
/// Exit 2 for an unknown lineage or generation, or a file that cannot be used; exit 1 when the certificate has expired, or
/// nobody here can sign.
pub fn prepare(context: &Context<'_>, request: &Request) -> Result<Revoke> {
    let lineage = context.load(&context.certificate(&request.lineage)?.name)?;
    let (generation, certificate) = find(context, &lineage, &request.which)?;
    let now = context.now();
    if certificate.not_after <= now {
        return Err(
            Error::failed(format!("the certificate of {} is not revoked", lineage.name))
                .cause(format!("it expired on {}", certificate.not_after.date())),
        );
    }
    let by_private_ca = generation
        .and_then(|number| lineage.generations.get(&number))
        .is_some_and(|generation| generation.directory.as_deref() == Some(order::private::DIRECTORY));
    if by_private_ca {
        return Err(
            Error::usage(format!("the certificate of {} is not revoked here", lineage.name))
                .cause("the private CA issued it, and publishes what is revoked itself")
                .remedy(format!("`mailcert ca revoke {}`", certificate.serial_hex()))
                .remedy(format!(
                    "then `mailcert renew --force {}` for the next one",
                    lineage.name
                )),
        );
    }
    let configured = ca::configured(context)?;
    let recorded = generation
        .and_then(|number| lineage.generations.get(&number))
        .and_then(|generation| generation.directory.clone());
    let mut notes = Vec::new();
    let acme = match recorded {
        Some(directory) if directory != configured.directory => configured.at(&directory),
        Some(_) => configured.clone(),
        None => {
            notes.push(format!(
                "who issued it is not on record; {} is asked",
                configured.directory
            ));
            configured.clone()
        }
    };
    let key = find_key(context, &lineage, &certificate, request.key.as_deref())?;
    let by = choose(context, request, &acme, key.is_some())?;
    let leaf_sha256 = certificate.sha256.to_string();
    let in_use = lineage.live().is_some_and(|live| live.leaf_sha256 == leaf_sha256);
    if request.reason == Reason::KeyCompromise {
        notes.push("its key is never used again; a TLSA record that names it has to go".to_owned());
    }
    Ok(Revoke {
        lineage: lineage.name,
        generation,
        names: certificate.dns_names.clone(),
        serial: certificate.serial_hex(),
        leaf_sha256,
        not_after: certificate.not_after,
        in_use,
        directory: acme.directory.clone(),
        reason: request.reason,
        by,
        revoked: false,
        notes,
        certificate,
        key,
        may_change: request.by.is_none(),
        acme,
    })
}

/// Asks the CA, and keeps that it was done: renewal is due from now on.
///
/// # Errors
/// When the lock is held, or the CA refuses.
pub fn carry_out(context: &Context<'_>, mut revoke: Revoke) -> Result<Revoke> {
    let _lock = context.lock("revoke")?;
    context
        .progress
        .step(&format!("asking {} to revoke", revoke.directory));
    let asked = context.wait(ask(context, &mut revoke));
    context.progress.clear();
    if asked?? == Answer::Before {
        revoke
            .notes
            .push("the CA says that it had been revoked before".to_owned());
    }
    let mut lineage = context.load(&revoke.lineage)?;
    lineage.revoke(Revocation {
        leaf_sha256: revoke.leaf_sha256.clone(),
        spki_sha256: revoke.certificate.spki_sha256.to_string(),
        reason: revoke.reason,
        at: context.now(),
    });
    // What failed before says nothing about what is due now.
    lineage.failure = None;
    context.save(&lineage)?;
    revoke.revoked = true;
    let serves = lineage
        .live()
        .is_some_and(|live| lineage.revocation_of(live).is_some());
    revoke.notes.push(if serves {
        format!(
            "the revoked certificate goes on serving until a new one is there; `mailcert renew {}` orders it now, the timer \
             at its next run",
            lineage.name
        )
    } else {
        match lineage.generation {
            Some(number) => format!("generation {number} goes on serving; it is not the one that was revoked"),
            None => "no certificate of this lineage is in use".to_owned(),
        }
    });
    Ok(revoke)
}

async fn ask(context: &Context<'_>, revoke: &mut Revoke) -> Result<Answer> {
    let (http, directory) = ca::reach(context, &revoke.acme).await?;
    if revoke.by == By::Account {
        let error = match by_account(context, revoke, &http, &directory).await? {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let is_lost = matches!(
            error,
            AcmeError::AccountDoesNotExist(_) | AcmeError::Deactivated(_)
        );
        if !(is_lost && revoke.may_change && revoke.key.is_some()) {
            return Err(refused(revoke, &error));
        }
        revoke.by = By::CertificateKey;
        revoke.notes.push(
            "the CA does not know the account any more; the certificate's own key signed instead".to_owned(),
        );
    }
    let Some(key) = &revoke.key else {
        return Err(Error::failed("the certificate's key is gone"));
    };
    revocation::by_certificate_key(&http, &directory, key, &revoke.certificate.der, revoke.reason)
        .await
        .map_err(|error| refused(revoke, &error))
}

async fn by_account(
    context: &Context<'_>,
    revoke: &Revoke,
    http: &Http,
    directory: &Directory,
) -> Result<Result<Answer, AcmeError>> {
    let Some(mut record) = file::load(context, &revoke.directory)? else {
        return Err(Error::failed("the account's file is gone"));
    };
    if let Err(error) = rollover::settle(http, directory, &mut record).await {
        return Ok(Err(error));
    }
    let registration = Registration {
        contact: &[],
        terms_of_service_agreed: false,
        external_account: None,
    };
    let session = match Session::open(http.clone(), directory.clone(), record, registration).await {
        Ok(session) => session,
        Err(error) => return Ok(Err(error)),
    };
    Ok(revocation::by_account(&session, &revoke.certificate.der, revoke.reason).await)
}

fn refused(revoke: &Revoke, error: &AcmeError) -> Error {
    let told = ca::failure(
        &format!("the CA at {} did not revoke the certificate", revoke.directory),
        error,
    );
    let kind = match error {
        AcmeError::Problem { problem, .. } => problem.acme_kind(),
        _ => None,
    };
    match (kind, revoke.by) {
        (Some("badRevocationReason"), _) => {
            told.remedy("this CA takes other reasons; superseded, cessationOfOperation and keyCompromise are the usual ones")
        }
        (Some("unauthorized"), By::Account) => told.remedy(
            "another account may have ordered it: `--by certificate-key` needs the certificate's key alone",
        ),
        (Some("malformed"), _) => told.remedy("look whether it is this CA that issued the certificate"),
        _ => told,
    }
}

/// Finds the certificate, and the generation that has it.
fn find(context: &Context<'_>, lineage: &Lineage, which: &Which) -> Result<(Option<u64>, Certificate)> {
    let name = &lineage.name;
    let number = match which {
        Which::Live => lineage.generation.ok_or_else(|| {
            Error::failed(format!("{name} has no certificate in use"))
                .remedy("name one by --generation or --certificate")
        })?,
        Which::Generation(number) => {
            if !lineage.generations.contains_key(number) {
                let known: Vec<String> = lineage.generations.keys().map(u64::to_string).collect();
                return Err(Error::usage(format!("{name} has no generation {number}"))
                    .cause(format!("the generations on disk are: {}", known.join(", ")))
                    .remedy("an older certificate can be named by --certificate FILE"));
            }
            *number
        }
        Which::File(path) => {
            let certificate = read_certificate(path)?;
            let sha256 = certificate.sha256.to_string();
            let number = lineage
                .generations
                .iter()
                .find(|(_, generation)| generation.leaf_sha256 == sha256);
            return Ok((number.map(|(number, _)| *number), certificate));
        }
    };
    let unread = |error| store_error(format!("generation {number} of {name} could not be read"), &error);
    let pem = context.store.load_fullchain(name, number).map_err(unread)?;
    let certificate = first(pem.as_bytes()).map_err(|error| {
        Error::failed(format!("generation {number} of {name} cannot be used")).cause(error)
    })?;
    Ok((Some(number), certificate))
}

/// Reads the first certificate of a file, PEM or DER.
fn read_certificate(path: &Path) -> Result<Certificate> {
    let unusable = || {
        Error::usage(format!(
            "{} has no certificate that can be revoked",
            path.display()
        ))
    };
    let bytes = files::read(path, LIMIT).map_err(|error| unusable().cause(error))?;
    let certificate = match bytes.first() {
        // An ASN.1 SEQUENCE.
        Some(0x30) => Certificate::from_der(&bytes),
        _ => first(&bytes),
    };
    certificate.map_err(|error| unusable().cause(error))
}

fn first(pem: &[u8]) -> Result<Certificate, crate::model::certificate::CertificateError> {
    let mut all = certificates_from_pem(pem)?;
    // There is at least one: a text without any is an error.
    Ok(all.swap_remove(0))
}

/// Finds the certificate's key: in the file that was named, or among those of the lineage.
fn find_key(
    context: &Context<'_>,
    lineage: &Lineage,
    certificate: &Certificate,
    named: Option<&Path>,
) -> Result<Option<PrivateKey>> {
    let fits = |key: &PrivateKey| certificate.matches_key(&key.public_key_der());
    if let Some(path) = named {
        let unusable = || {
            Error::usage(format!(
                "{} cannot be used as the certificate's key",
                path.display()
            ))
        };
        let pem = files::read_trusted(path, LIMIT).map_err(|error| unusable().cause(error))?;
        let key = PrivateKey::from_pem(&pem).map_err(|error| unusable().cause(error))?;
        if !fits(&key) {
            return Err(unusable().cause("it is the key of another certificate"));
        }
        return Ok(Some(key));
    }
    let spki = certificate.spki_sha256.to_string();
    let mut with_it = lineage
        .generations
        .iter()
        .filter(|(_, generation)| generation.spki_sha256 == spki);
    let key = with_it.find_map(|(number, _)| {
        let pem = context.store.load_key(&lineage.name, *number).ok()??;
        PrivateKey::from_pem(pem.as_bytes()).ok().filter(fits)
    });
    Ok(key)
}

/// Chooses who signs.
fn choose(context: &Context<'_>, request: &Request, acme: &Acme, has_key: bool) -> Result<By> {
    let account = file::load(context, &acme.directory)?;
    let has_account = account.is_some_and(|record| record.url.is_some());
    let nobody = |cause: &str| Error::failed(format!("{} is not revoked", request.lineage)).cause(cause);
    let no_account = format!("there is no account at {}", acme.directory);
    let no_key = "the certificate's key is not with the lineage";
    match request.by {
        Some(By::Account) if !has_account => {
            Err(nobody(&no_account).remedy("sign with the certificate's key: --by certificate-key"))
        }
        Some(By::CertificateKey) if !has_key => Err(nobody(no_key).remedy("name its file by --key FILE")),
        Some(by) => Ok(by),
        // Let's Encrypt takes this reason only from who has the key, and then blocks the key itself.
        None if request.reason == Reason::KeyCompromise && has_key => Ok(By::CertificateKey),
        None if has_account => Ok(By::Account),
        None if has_key => Ok(By::CertificateKey),
        None => Err(nobody(&no_account)
            .cause(no_key)
            .remedy("name the file of the certificate's key by --key FILE")),
    }
}
