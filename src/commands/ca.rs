//! The ACME CA of the configuration: its HTTP client, its directory, our account there.

use time::{Duration, OffsetDateTime};

use super::{
    Context,
    account::{self, file},
};
use crate::{
    acme::{
        AcmeError,
        account::{
            AccountRecord, Registration, Session,
            rollover::{self, Settled},
        },
        directory::Directory,
        external_account::ExternalAccount,
        http::{Http, Limits, Trust},
    },
    config::{Acme, SecretSource},
    dns::{challenge::PresentError, provider::Writer},
    env::{
        files,
        secret::{self, Place},
    },
    error::{Error, Kind, Result},
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
            let failed = |error: files::FileError| {
                let message = "acme.root_ca_file cannot be used";
                match error.is_of_the_machine() {
                    true => Error::failed(message).cause(error),
                    false => Error::usage(message).cause(error),
                }
            };
            Trust::Only(files::read_trusted(path, ROOTS_LIMIT).map_err(failed)?)
        }
    };
    Http::new(&trust, Limits::default()).map_err(|error| {
        let told = failure("the CA cannot be asked", &error);
        match acme
            .root_ca_file
            .as_ref()
            .filter(|_| matches!(trust, Trust::Only(_)))
        {
            None => told,
            Some(path) => Error {
                kind: Kind::Usage,
                ..told
            }
            .remedy(format!(
                "acme.root_ca_file is {}: it must hold the root that signed the CA's own HTTPS, as PEM",
                path.display()
            )),
        }
    })
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

impl Opened {
    /// Tells it to the user.
    pub fn told(self, context: &Context<'_>, acme: &Acme) -> Error {
        match self {
            Self::Refused(error) | Self::Unusable(error) => error,
            Self::Failed(error) => unusable(context, acme, &error),
        }
    }
}

/// Returns the CA's directory, and the client that got it.
///
/// # Errors
/// When the CA cannot be reached, or is none.
pub async fn reach(context: &Context<'_>, acme: &Acme) -> Result<(Http, Directory)> {
    let http = http(acme)?;
    let directory = Directory::fetch(&http, &acme.directory).await;
    let directory = directory.map_err(|error| unusable(context, acme, &error))?;
    Ok((http, directory))
}

/// Tells why a CA cannot be used.
pub fn unusable(context: &Context<'_>, acme: &Acme, error: &AcmeError) -> Error {
    let failed = failure(&format!("the CA at {} cannot be used", acme.directory), error);
    match retry_at(error, context.now()) {
        Some(at) => failed.retry_at(at),
        None => failed,
    }
}

/// Begins a conversation with the CA; makes the account when there is none.
///
/// # Errors
/// When the CA cannot be reached or refuses, or the account cannot be saved; when it was deactivated here.
pub async fn session(context: &Context<'_>, acme: &Acme) -> Result<Session> {
    open(context, acme)
        .await
        .map_err(|failure| failure.told(context, acme))
}

/// As [`session`], with the reason why there is none.
///
/// The account's key is on disk before the CA is asked, and its URL right after.
///
/// # Errors
/// As [`session`].
pub async fn open(context: &Context<'_>, acme: &Acme) -> Result<Session, Opened> {
    refuse_retired(context, acme)?;
    let external_account = external_account(context, acme)?;
    let http = http(acme)?;
    let directory = Directory::fetch(&http, &acme.directory).await?;
    open_at(context, acme, http, directory, external_account.as_ref()).await
}

/// As [`open`], for a CA that is only asked when another one is down: nothing of the first CA's account is of use there.
///
/// # Errors
/// As [`open`]; [`Opened::Unusable`] when the CA wants a customer's account and there is none on this host yet.
pub async fn open_fallback(context: &Context<'_>, acme: &Acme) -> Result<Session, Opened> {
    refuse_retired(context, acme).map_err(Opened::Unusable)?;
    let http = http(acme)?;
    let directory = Directory::fetch(&http, &acme.directory).await?;
    if directory.meta().external_account_required {
        let account = file::load(context, &acme.directory)?;
        if account.is_none_or(|account| account.url.is_none()) {
            let error = Error::failed(format!(
                "{} of acme.fallback wants an account that is bound to a customer's (RFC 8555, 7.3.4), and there is none",
                acme.directory
            ));
            return Err(Opened::Unusable(error.remedy(format!(
                "register one: `mailcert account register --directory {} --eab-key-id ... --eab-hmac-key-file ...`",
                acme.directory
            ))));
        }
    }
    open_at(context, acme, http, directory, None).await
}

/// Refuses a CA whose account was deactivated here: nobody wants a new one to be made in silence.
fn refuse_retired(context: &Context<'_>, acme: &Acme) -> Result<()> {
    if !file::is_retired(context, &acme.directory) {
        return Ok(());
    }
    Err(
        Error::failed(format!("the account at {} was deactivated", acme.directory)).remedy(
            "`mailcert account register` makes a new one; CAA records that name the old one must be changed then",
        ),
    )
}

/// Begins the conversation, with this external account for a new account.
///
/// # Errors
/// As [`open`].
pub async fn open_at(
    context: &Context<'_>,
    acme: &Acme,
    http: Http,
    directory: Directory,
    external_account: Option<&ExternalAccount>,
) -> Result<Session, Opened> {
    let mut record = match file::load(context, &acme.directory)? {
        Some(record) => record,
        None => {
            let record = AccountRecord::generate(&acme.directory)?;
            file::save(context, &record)?;
            record
        }
    };
    if record.has_proposed_key()
        && rollover::settle(&http, &directory, &mut record).await? == Settled::Changed
    {
        file::save(context, &record)?;
    }
    if !record.can_order()? {
        // Another client's: its key is of a kind that orders are not signed with here. The account, and its URL, stay.
        let changed =
            account::change(context, acme, &http, &directory, &mut record, account::Next::New).await;
        changed.map_err(|error| {
            error.remedy(format!(
                "or do without that account: move {} away, and the next order registers one",
                file::path(context, &acme.directory).display()
            ))
        })?;
    }
    let had_url = record.url.is_some();
    if !had_url {
        context
            .progress
            .step(&format!("registering an account at {}", acme.directory));
    }
    let session = converse(acme, http, directory, record, external_account).await?;
    if had_url {
        tell_contact(context, acme, &session).await?;
    } else {
        file::save(context, session.record())?;
    }
    Ok(session)
}

async fn converse(
    acme: &Acme,
    http: Http,
    directory: Directory,
    record: AccountRecord,
    external_account: Option<&ExternalAccount>,
) -> Result<Session, AcmeError> {
    let registration = Registration {
        contact: &acme.contact,
        terms_of_service_agreed: acme.terms_of_service_agreed,
        external_account,
    };
    Session::open(http, directory, record, registration).await
}

/// Tells the CA of contacts that have changed in the configuration. That it does not want to know stops nothing.
async fn tell_contact(context: &Context<'_>, acme: &Acme, session: &Session) -> Result<()> {
    let is_told = match &session.record().contact {
        Some(told) => *told == acme.contact,
        None => acme.contact.is_empty(),
    };
    if is_told {
        return Ok(());
    }
    match session.tell_contact(&acme.contact).await {
        Ok(_) => {
            let mut record = session.record().clone();
            record.contact = Some(acme.contact.clone());
            file::save(context, &record)
        }
        Err(error) => {
            context.progress.done(&format!(
                "the CA did not take the contacts of acme.contact: {error}"
            ));
            Ok(())
        }
    }
}

/// Returns the external account of the configuration. It is the one of its directory's CA and of no other, and is needed
/// once: for an account that the CA knows, its key may be gone.
///
/// # Errors
/// Exit 2 when its key cannot be read.
pub fn external_account(context: &Context<'_>, acme: &Acme) -> Result<Option<ExternalAccount>> {
    let is_its_own = context
        .config
        .acme
        .as_ref()
        .is_some_and(|own| own.directory == acme.directory);
    let Some(wanted) = acme.external_account.as_ref().filter(|_| is_its_own) else {
        return Ok(None);
    };
    if file::load(context, &acme.directory)?.is_some_and(|record| record.url.is_some()) {
        return Ok(None);
    }
    let place = match &wanted.hmac_key {
        SecretSource::Credential(name) => Place::Credential(name),
        SecretSource::Env(name) => Place::Env(name),
        SecretSource::File(path) => Place::File(path),
    };
    bind_by(context, &wanted.key_id, place).map(Some)
}

/// Reads the key of an external account.
///
/// # Errors
/// Exit 2 when it is not there, could have been written by others, or is no base64url.
pub fn bind_by(context: &Context<'_>, key_id: &str, place: Place<'_>) -> Result<ExternalAccount> {
    let unusable = || Error::usage("the key for external account binding (acme.eab) cannot be used");
    let secret = secret::read(context.env, place).map_err(|reason| unusable().cause(reason))?;
    ExternalAccount::new(key_id, &secret.text)
        .map_err(|reason| unusable().cause(format!("{}: {reason}", secret.place)))
}

/// Begins a conversation for a rehearsal: the account that is there is used, a new one is not kept.
///
/// # Errors
/// When the CA cannot be reached or refuses.
pub async fn passing_session(context: &Context<'_>, acme: &Acme) -> Result<Session> {
    let told = |error: AcmeError| unusable(context, acme, &error);
    let (http, directory) = reach(context, acme).await?;
    let mut record = match file::load(context, &acme.directory)? {
        Some(record) => record,
        None => AccountRecord::generate(&acme.directory).map_err(told)?,
    };
    rollover::settle(&http, &directory, &mut record)
        .await
        .map_err(told)?;
    let external_account = external_account(context, acme)?;
    converse(acme, http, directory, record, external_account.as_ref())
        .await
        .map_err(told)
}

/// Registers the account anew, with the same key: the CA has forgotten it.
///
/// # Errors
/// As [`session`].
pub async fn register_again(context: &Context<'_>, acme: &Acme) -> Result<Session> {
    if let Some(mut record) = file::load(context, &acme.directory)? {
        record.url = None;
        file::save(context, &record)?;
    }
    session(context, acme).await
}

/// Returns whether somebody was told what to publish, and has not done it yet.
fn awaits_person(error: &AcmeError) -> bool {
    match error {
        AcmeError::Dns01(failure) => failure
            .downcast_ref::<PresentError>()
            .is_some_and(|error| error.awaits == Writer::Person),
        _ => false,
    }
}

/// Turns a failure of the conversation into one for the user, with what to do about it.
pub fn failure(doing: &str, error: &AcmeError) -> Error {
    // The CA said when to come back: until then there is nothing to mend.
    let told = match error.retry_after() {
        Some(_) if error.is_rate_limit() && !error.is_paused() => Error::not_yet(doing).cause(error),
        _ if matches!(error, AcmeError::HookLater(_)) || awaits_person(error) => {
            Error::not_yet(doing).cause(error)
        }
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
    if awaits_person(error) {
        return told.remedy("publish the records named above, then run it again");
    }
    if let AcmeError::Problem { problem, .. } = error {
        return match (problem.acme_kind(), problem.instance.as_deref()) {
            (Some("malformed"), _) if problem.detail.contains("JWS verification") => told.remedy(
                "the CA has another key for this account, as after a rollover and a backup from before it: put the newer account \
                 file back, or `mailcert account register` makes an account anew",
            ),
            (Some("userActionRequired"), Some(page)) => told.remedy(format!(
                "open {} and do what the CA asks for there, then `mailcert renew --force`",
                crate::model::plan::printable_line(page.as_bytes(), 500)
            )),
            (Some("rejectedIdentifier"), _) => {
                told.remedy("take the names that the CA does not issue for out of `identifiers`, or use another CA")
            }
            _ => told,
        };
    }
    match error {
        AcmeError::Bind { .. } => told.remedy("set acme.challenge.listen to an address of this host"),
        AcmeError::Challenge(failures) => {
            let http = failures.iter().any(|failure| failure.challenge == "http-01");
            let tls = failures
                .iter()
                .any(|failure| failure.challenge == "tls-alpn-01");
            let dns = failures.iter().any(|failure| failure.challenge == "dns-01");
            let mut told = told;
            if http {
                told = told.remedy(
                    "make sure that each name's A and AAAA records lead to this host, and that port 80 is open to the world",
                );
            }
            if tls {
                told = told.remedy(
                    "make sure that each name's A and AAAA records lead to this host, and that port 443 is open to the world and \
                     leads here without a proxy that ends TLS",
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
        AcmeError::Deactivated(_) => told.remedy(
            "`mailcert account register` puts its file aside and makes a new account; CAA records that name the old one must \
             be changed then",
        ),
        AcmeError::ExternalAccountRefused { .. } => told.remedy(
            "compare key identifier and key with what the CA shows to its customer; some CAs take each pair only once, or for \
             some days: get a new one there",
        ),
        AcmeError::ExternalAccountRequired { directory } => told.remedy(external_account_remedy(directory)),
        AcmeError::Hook(_) => told
            .remedy("mend the program of acme.challenge.hook; nothing was asked of the CA with it failing"),
        AcmeError::NotAcme { .. }
        | AcmeError::TooLarge { .. }
        | AcmeError::Status {
            status: 404 | 410, ..
        } => told.remedy("look whether acme.directory is right"),
        AcmeError::NotSeen(seen) => seen.remedies.iter().cloned().fold(told, Error::remedy),
        AcmeError::PortTaken {
            challenge: "tls-alpn-01",
            ..
        } => told.remedy(
            "stop it, or set acme.challenge.listen to an address that it leaves free, or use http-01 or dns-01",
        ),
        AcmeError::PortTaken { .. } => told
            .remedy("stop it, or set acme.challenge.webroot to the directory that it serves, or use dns-01"),
        AcmeError::ProfileNotOffered { .. } => {
            told.remedy("set acme.profile to one of these, or take it out: the CA chooses then")
        }
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

/// Says where a customer gets what an account is bound by.
fn external_account_remedy(directory: &str) -> String {
    let from = match authority::by_directory(directory).map(|known| known.external_account) {
        Some(authority::ExternalAccount::Required { from }) => from,
        _ => "the CA",
    };
    format!(
        "get a key identifier and a key from {from}, and set acme.eab = {{ key_id = \"...\", hmac_key_file = \"...\" }}; or \
         `mailcert account register --directory {directory} --eab-key-id ... --eab-hmac-key-file ...`"
    )
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
