//! The ACME CA of the configuration: its HTTP client, its directory, our account there.

use time::{Duration, OffsetDateTime};

use super::{Context, hex, store_error};
use crate::{
    acme::{
        AcmeError,
        account::{AccountRecord, Registration, Session},
        directory::Directory,
        http::{Http, Limits, Trust},
    },
    config::Acme,
    env::files,
    error::{Error, Result},
    model::authority,
};

/// No file of trusted roots is larger, in bytes.
const ROOTS_LIMIT: u64 = 4 << 20;

/// Returns the configuration of the ACME CA.
///
/// # Errors
/// Exit 2 when there is none.
pub fn configured<'a>(context: &'a Context<'_>) -> Result<&'a Acme> {
    context.config.acme.as_ref().ok_or_else(|| {
        Error::usage(format!(
            "{} has no [acme], so no certificate can be ordered",
            context.config_path.display()
        ))
    })
}

/// Returns an HTTP client that trusts what the configuration says.
///
/// # Errors
/// When the roots cannot be read.
pub fn http(acme: &Acme) -> Result<Http> {
    // A CA that the world trusts shows a certificate that the world trusts; the file is about another one.
    let is_public = authority::by_directory(&acme.directory).is_some();
    let trust = match acme.root_ca_file.as_ref().filter(|_| !is_public) {
        None => Trust::System,
        Some(path) => {
            let failed = |error| Error::usage("acme.root_ca_file cannot be used").cause(error);
            Trust::Only(files::read_trusted(path, ROOTS_LIMIT).map_err(failed)?)
        }
    };
    Http::new(&trust, Limits::default()).map_err(|error| failure("the CA cannot be asked", &error))
}

/// Why there is no conversation with a CA.
#[derive(Debug)]
pub enum Opened {
    /// The CA could not be asked, or refused.
    Failed(AcmeError),
    /// Something of ours is in the way.
    Refused(Error),
    /// This host is not prepared for that CA.
    Unusable(Error),
}

impl From<Error> for Opened {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<AcmeError> for Opened {
    fn from(error: AcmeError) -> Self {
        Self::Failed(error)
    }
}

/// Begins a conversation with the CA; makes the account when there is none.
///
/// # Errors
/// When the CA cannot be reached or refuses, or the account cannot be saved.
pub async fn session(context: &Context<'_>, acme: &Acme) -> Result<Session> {
    open(context, acme).await.map_err(|failure| match failure {
        Opened::Refused(error) | Opened::Unusable(error) => error,
        Opened::Failed(error) => {
            let failed = self::failure(&format!("the CA at {} cannot be used", acme.directory), &error);
            match retry_at(&error, context.now()) {
                Some(at) => failed.retry_at(at),
                None => failed,
            }
        }
    })
}

/// As [`session`], with the reason why there is none.
///
/// The account's key is on disk before the CA is asked, and its URL right after.
///
/// # Errors
/// When the CA cannot be reached or refuses, or the account cannot be saved.
pub async fn open(context: &Context<'_>, acme: &Acme) -> Result<Session, Opened> {
    let http = http(acme)?;
    let directory = Directory::fetch(&http, &acme.directory).await?;
    open_at(context, acme, http, directory).await
}

/// As [`open`], for a CA that is only asked when another one is down: nothing of the first CA's account is of use there.
///
/// # Errors
/// As [`open`]; [`Opened::Unusable`] when the CA wants a customer's account and there is none on this host yet.
pub async fn open_fallback(context: &Context<'_>, acme: &Acme) -> Result<Session, Opened> {
    let http = http(acme)?;
    let directory = Directory::fetch(&http, &acme.directory).await?;
    if directory.meta().external_account_required {
        let account = load_account(context, &account_key(&acme.directory))?;
        if account.is_none_or(|account| account.url.is_none()) {
            let error = Error::failed(format!(
                "{} of acme.fallback wants an account that is bound to a customer's (RFC 8555, 7.3.4), and there is none",
                acme.directory
            ));
            return Err(Opened::Unusable(error.remedy(format!(
                "register one: `mailcert account register --directory {}`",
                acme.directory
            ))));
        }
    }
    open_at(context, acme, http, directory).await
}

async fn open_at(
    context: &Context<'_>,
    acme: &Acme,
    http: Http,
    directory: Directory,
) -> Result<Session, Opened> {
    let key = account_key(&acme.directory);
    let record = match load_account(context, &key)? {
        Some(record) => record,
        None => {
            let record = AccountRecord::generate(&acme.directory)?;
            save_account(context, &key, &record)?;
            record
        }
    };
    let had_url = record.url.is_some();
    if !had_url {
        context
            .progress
            .step(&format!("registering an account at {}", acme.directory));
    }
    let registration = Registration {
        contact: &acme.contact,
        terms_of_service_agreed: acme.terms_of_service_agreed,
    };
    let session = Session::open(http, directory, record, registration).await?;
    if !had_url {
        save_account(context, &key, session.record())?;
    }
    Ok(session)
}

/// Begins a conversation for a rehearsal: the account that is there is used, a new one is not kept.
///
/// # Errors
/// When the CA cannot be reached or refuses.
pub async fn passing_session(context: &Context<'_>, acme: &Acme) -> Result<Session> {
    let doing = format!("the CA at {} cannot be used", acme.directory);
    let told = |error: AcmeError| failure(&doing, &error);
    let http = http(acme)?;
    let directory = Directory::fetch(&http, &acme.directory).await.map_err(told)?;
    let record = match load_account(context, &account_key(&acme.directory))? {
        Some(record) => record,
        None => AccountRecord::generate(&acme.directory).map_err(told)?,
    };
    let registration = Registration {
        contact: &acme.contact,
        terms_of_service_agreed: acme.terms_of_service_agreed,
    };
    Session::open(http, directory, record, registration)
        .await
        .map_err(told)
}

/// Registers the account anew, with the same key: the CA has forgotten it.
///
/// # Errors
/// As [`session`].
pub async fn register_again(context: &Context<'_>, acme: &Acme) -> Result<Session> {
    let key = account_key(&acme.directory);
    if let Some(mut record) = load_account(context, &key)? {
        record.url = None;
        save_account(context, &key, &record)?;
    }
    session(context, acme).await
}

fn load_account(context: &Context<'_>, key: &str) -> Result<Option<AccountRecord>> {
    let path = context.store.layout().account(key);
    let bytes = context
        .store
        .load_account(key)
        .map_err(|error| store_error("the account could not be read", &error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|error| {
        Error::failed(format!("{} cannot be understood", path.display()))
            .cause(error)
            .remedy("restore it from a backup, or move it away to register a new account")
    })?;
    if envelope.version > 1 {
        return Err(Error::failed(format!(
            "{} was written by a newer mailcert",
            path.display()
        )));
    }
    Ok(Some(envelope.account))
}

fn save_account(context: &Context<'_>, key: &str, record: &AccountRecord) -> Result<()> {
    let failed = |error: serde_json::Error| Error::failed("the account could not be saved").cause(error);
    let envelope = Envelope {
        version: 1,
        account: record.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&envelope).map_err(failed)?;
    context
        .store
        .save_account(key, &bytes)
        .map_err(|error| store_error("the account could not be saved", &error))
}

/// The account file: every file on disk carries its format's version.
#[derive(serde::Serialize, serde::Deserialize)]
struct Envelope {
    version: u32,
    #[serde(flatten)]
    account: AccountRecord,
}

/// Returns the name of a CA's account file: the short name of a known CA, else made from the URL, with a digest so that
/// two URLs never share a file.
pub fn account_key(directory: &str) -> String {
    if let Some(known) = authority::by_directory(directory) {
        return known.name.to_owned();
    }
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    let safe = |character: char| {
        if character.is_ascii_alphanumeric() || "-.".contains(character) {
            character
        } else {
            '_'
        }
    };
    let readable: String = rest.chars().take(60).map(safe).collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, directory.as_bytes());
    let tail: String = hex(digest.as_ref()).chars().take(8).collect();
    format!("{}-{tail}", readable.trim_start_matches('.'))
}

/// Turns a failure of the conversation into one for the user, with what to do about it.
pub fn failure(doing: &str, error: &AcmeError) -> Error {
    // The CA said when to come back: until then there is nothing to mend.
    let told = match error.retry_after() {
        Some(_) if error.is_rate_limit() && !error.is_paused() => Error::not_yet(doing).cause(error),
        _ if matches!(error, AcmeError::HookLater(_)) => Error::not_yet(doing).cause(error),
        _ => Error::failed(doing).cause(error),
    };
    if error.is_paused() {
        let page = error.unpause_url();
        let page = page.map_or_else(
            || "the page that the CA names".to_owned(),
            |url| crate::model::plan::printable(url.as_bytes()),
        );
        return told.remedy(format!(
            "the CA has paused these names after many failures: mend why they failed, open {page} and ask for them to be \
             unpaused, then `mailcert renew --force`; until then the timer tries once a day"
        ));
    }
    match error {
        AcmeError::Bind { .. } => told.remedy("set acme.challenge.listen to an address of this host"),
        AcmeError::Challenge(failures) => {
            let http = failures.iter().any(|failure| failure.challenge == "http-01");
            let dns = failures.iter().any(|failure| failure.challenge == "dns-01");
            let mut told = told;
            if http {
                told = told.remedy(
                    "make sure that each name's A and AAAA records lead to this host, and that port 80 is open to the world",
                );
            }
            if dns {
                told = told.remedy(
                    "look with `mailcert check dns` whether every name server of the zone answers alike",
                );
            }
            told
        }
        AcmeError::ChallengeNotOffered { .. } => {
            told.remedy("set acme.challenge.type to one that the CA offers")
        }
        AcmeError::Connect { .. } | AcmeError::Timeout { .. } | AcmeError::Cut { .. } => {
            told.remedy("look whether this host can reach the CA")
        }
        AcmeError::ExternalAccountRequired { .. } => told.remedy("set acme.directory to another CA"),
        AcmeError::Hook(_) => told
            .remedy("mend the program of acme.challenge.hook; nothing was asked of the CA with it failing"),
        AcmeError::NotAcme { .. }
        | AcmeError::TooLarge { .. }
        | AcmeError::Status {
            status: 404 | 410, ..
        } => told.remedy("look whether acme.directory is right"),
        AcmeError::NotSeen(seen) => seen.remedies.iter().cloned().fold(told, Error::remedy),
        AcmeError::PortTaken { .. } => told
            .remedy("stop it, or set acme.challenge.webroot to the directory that it serves, or use dns-01"),
        AcmeError::TermsOfService { url } => told.remedy(format!(
            "read {url}, then set acme.terms_of_service_agreed = true"
        )),
        AcmeError::Untrusted { .. } | AcmeError::Tls { .. } => {
            told.remedy("for a private or test CA, name its root in acme.root_ca_file")
        }
        AcmeError::Webroot(_) => {
            told.remedy("set acme.challenge.webroot to a directory that this user may write")
        }
        _ => told,
    }
}

/// Returns when the CA wants to be asked again, as an instant.
///
/// A pause does not pass by itself: it is left alone for a day at least.
pub fn retry_at(error: &AcmeError, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let pause = error.is_paused().then(|| now.saturating_add(Duration::DAY));
    asked_for(error, now).max(pause)
}

fn asked_for(error: &AcmeError, now: OffsetDateTime) -> Option<OffsetDateTime> {
    // A CA that says "in a hundred years" must not stop renewals for good.
    let wait = error
        .retry_after()?
        .min(std::time::Duration::from_secs(7 * 86400));
    Some(now.saturating_add(Duration::try_from(wait).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_files_have_safe_and_different_names() {
        assert_eq!(
            account_key("https://acme-v02.api.letsencrypt.org/directory"),
            "letsencrypt"
        );
        let one = account_key("https://ca.example:14000/../dir");
        assert!(
            one.starts_with("ca.example_14000_.._dir-") && !one.contains('/'),
            "{one}"
        );
        assert_ne!(
            account_key("https://ca.example/a/b"),
            account_key("https://ca.example/a_b")
        );
        assert!(!account_key("https://../../x").starts_with('.'));
    }
}
