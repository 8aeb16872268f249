//! Gets certificates: key and intent on disk first, then the order, then the generation complete on disk.
//!
//! Nothing here touches what is in service. A run that is killed anywhere leaves an order that the next run resumes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures_util::stream::{self, StreamExt as _};
use time::{Duration, OffsetDateTime};

use super::{Context, ca, configuration_digest, solver::Solvers, store_error, tlsa};
use crate::{
    acme::{
        AcmeError,
        account::Session,
        directory::Directory,
        http::Http,
        order::{self, Issued, OrderRequest, SaveOrder},
        renewal_info::{self, CertificateId},
    },
    config::{Acme, Certificate, ReuseKey},
    env::files::Access,
    error::{Error, Kind, Result},
    model::{
        certificate::Chain,
        key::PrivateKey,
        lineage::{Failure, Generation, Lineage, Order, RenewalInfo, State, Step},
        name::Identifier,
        schedule,
    },
    store::{Store, state::Pem},
};

/// How many certificates are ordered at the same time.
const AT_ONCE: usize = 8;

/// How long one order may take, challenges included; the next run resumes it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// After so many failures in a row an order whose answers are nonsense is given up.
const NONSENSE: u32 = 3;

/// How much of a failure is kept in the record, in characters.
const MESSAGE_LIMIT: usize = 16 << 10;

/// One certificate to get.
pub struct Job<'a> {
    /// The lineage as the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record.
    pub lineage: Lineage,
    /// Why it is ordered.
    pub reason: String,
}

/// What became of a job.
pub struct Ordered<'a> {
    /// The lineage as the configuration has it.
    pub certificate: &'a Certificate,
    /// Its record, saved.
    pub lineage: Lineage,
    /// The new generation, complete on disk, or why there is none.
    pub result: Result<u64>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// Gets all these certificates, several at a time; goes on after one fails.
pub async fn run<'a>(context: &Context<'_>, jobs: Vec<Job<'a>>) -> Vec<Ordered<'a>> {
    let prepared = async {
        let acme = ca::configured(context)?;
        let solvers = Solvers::new(context, acme)?;
        let session = ca::session(context, acme).await?;
        Ok::<_, Error>((acme, solvers, Mutex::new(std::sync::Arc::new(session))))
    };
    let (acme, solvers, session) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => {
            return jobs
                .into_iter()
                .map(|job| refused(context, job, &error))
                .collect();
        }
    };
    let orders = jobs
        .into_iter()
        .map(|job| one(context, acme, &session, &solvers, job));
    concurrently(orders, AT_ONCE).await
}

/// Runs futures, at most `limit` of them at a time, and keeps their order.
pub async fn concurrently<F: Future>(futures: impl Iterator<Item = F>, limit: usize) -> Vec<F::Output> {
    stream::iter(futures).buffered(limit).collect().await
}

/// Keeps a failure that came before any order.
fn refused<'a>(context: &Context<'_>, job: Job<'a>, error: &Error) -> Ordered<'a> {
    let Job {
        certificate,
        mut lineage,
        ..
    } = job;
    remember(
        context,
        certificate,
        &mut lineage,
        Step::Order,
        error,
        error.retry_at,
    );
    let result = context
        .save(&lineage)
        .and(Err(not_renewed(&lineage, error.clone())));
    Ordered {
        certificate,
        lineage,
        result,
        notes: Vec::new(),
    }
}

async fn one<'a>(
    context: &Context<'_>,
    acme: &Acme,
    session: &Mutex<std::sync::Arc<Session>>,
    solvers: &Solvers,
    job: Job<'a>,
) -> Ordered<'a> {
    let Job {
        certificate,
        mut lineage,
        reason,
    } = job;
    let mut notes = Vec::new();
    context.progress.step(&format!("{}: {reason}", certificate.name));
    let result = obtain(
        context,
        acme,
        session,
        solvers,
        certificate,
        &mut lineage,
        &mut notes,
    )
    .await;
    let result = match result {
        Ok(generation) => {
            context
                .progress
                .done(&format!("{}: certificate issued", certificate.name));
            Ok(generation)
        }
        Err(failure) => {
            // Who interrupts a run says nothing about the CA: the next run resumes at once.
            if !context.is_interrupted() {
                remember(
                    context,
                    certificate,
                    &mut lineage,
                    Step::Order,
                    &failure.error,
                    failure.retry_at,
                );
            }
            context
                .save(&lineage)
                .and(Err(not_renewed(&lineage, failure.error)))
        }
    };
    Ordered {
        certificate,
        lineage,
        result,
        notes,
    }
}

/// Why there is no certificate, and when the CA wants to be asked again.
struct Refusal {
    error: Error,
    retry_at: Option<OffsetDateTime>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            retry_at: error.retry_at,
            error,
        }
    }
}

async fn obtain(
    context: &Context<'_>,
    acme: &Acme,
    session: &Mutex<std::sync::Arc<Session>>,
    solvers: &Solvers,
    certificate: &Certificate,
    lineage: &mut Lineage,
    notes: &mut Vec<String>,
) -> Result<u64, Refusal> {
    if let Some(number) = adopt(context, lineage)?
        && is_for(certificate, &lineage.generations, number)
    {
        return Ok(number);
    }
    let access = key_access(certificate)?;
    let mut n_tries = 0;
    loop {
        n_tries += 1;
        let (key, order) = begin(context, acme, certificate, lineage, access, notes).await?;
        let request = key.request_der(&order.identifiers).map_err(|error| {
            Error::failed(format!("the request for {} could not be made", certificate.name)).cause(error)
        })?;
        let current = std::sync::Arc::clone(&session.lock().unwrap_or_else(PoisonError::into_inner));
        let log = Log {
            store: &context.store,
            lineage: Mutex::new(lineage),
        };
        let replaces = order.replaces.as_deref().map(CertificateId::from_text);
        let order_request = OrderRequest {
            identifiers: &order.identifiers,
            request_der: &request,
            resume: order.url.as_deref(),
            replaces: replaces.as_ref(),
            patience: PATIENCE,
        };
        let issued = order::obtain(
            &current,
            order_request,
            solvers.solver(),
            &log,
            &context.stop(),
            &context.progress,
        )
        .await;
        match issued {
            Ok(issued) => {
                return complete(context, &current, certificate, lineage, &key, &issued, access).await;
            }
            Err(AcmeError::OrderLost { .. }) if n_tries == 1 => abandon(context, lineage)?,
            Err(AcmeError::AccountDoesNotExist(_)) if n_tries == 1 => {
                abandon(context, lineage)?;
                let fresh = std::sync::Arc::new(ca::register_again(context, acme).await?);
                *session.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            Err(error) => {
                let n_failed = lineage.failure.as_ref().map_or(0, |failure| failure.count);
                if !can_be_resumed(&error, n_failed) {
                    abandon(context, lineage)?;
                }
                let retry_at = ca::retry_at(&error, context.now());
                let doing = format!("the CA at {} issued no certificate", acme.directory);
                return Err(Refusal {
                    error: ca::failure(&doing, &error),
                    retry_at,
                });
            }
        }
    }
}

/// Takes up the certificate of the order in flight when it is complete on disk: a run was killed before it was recorded.
///
/// # Errors
/// When it cannot be read, or the record cannot be saved.
pub fn adopt(context: &Context<'_>, lineage: &mut Lineage) -> Result<Option<u64>> {
    let Some(order) = &lineage.order else {
        return Ok(None);
    };
    let (name, number) = (&lineage.name, order.generation);
    if lineage.generations.contains_key(&number) || !context.store.is_complete(name, number) {
        return Ok(None);
    }
    let unread = |error| store_error(format!("generation {number} of {name} could not be read"), &error);
    let chain = context.store.load_fullchain(name, number).map_err(unread)?;
    let key = context.store.load_key(name, number).map_err(unread)?;
    let (Ok(chain), Some(Ok(key))) = (
        Chain::from_pem(chain.as_bytes()),
        key.map(|pem| PrivateKey::from_pem(pem.as_bytes())),
    ) else {
        return Ok(None);
    };
    if !chain.leaf.matches_key(&key.public_key_der()) {
        return Ok(None);
    }
    let generation = describe(&chain, Some(order.directory.clone()));
    record(context, lineage, number, generation)?;
    Ok(Some(number))
}

/// Returns whether a generation has the names that the configuration wants.
fn is_for(certificate: &Certificate, generations: &BTreeMap<u64, Generation>, number: u64) -> bool {
    let mut wanted = certificate.identifiers.clone();
    wanted.sort();
    generations
        .get(&number)
        .is_some_and(|generation| generation.identifiers == wanted)
}

/// Returns whether the same order may still come to a certificate; `n_failed` runs in a row failed before this one.
fn can_be_resumed(error: &AcmeError, n_failed: u32) -> bool {
    match error {
        // Something between us and the CA answered in its place, most likely; but an order that the CA itself always
        // talks nonsense about must not be asked for until it expires.
        AcmeError::IssuedOther(_) | AcmeError::NotAcme { .. } | AcmeError::TooLarge { .. } => {
            n_failed < NONSENSE
        }
        AcmeError::Connect { .. }
        | AcmeError::Cut { .. }
        | AcmeError::Timeout { .. }
        | AcmeError::Interrupted
        | AcmeError::Overdue { .. }
        | AcmeError::NotSaved(_)
        | AcmeError::PortTaken { .. }
        | AcmeError::Bind { .. }
        | AcmeError::Dns01(_)
        | AcmeError::Webroot(_) => true,
        AcmeError::Problem { status, .. } | AcmeError::Status { status, .. } => {
            matches!(status, 429 | 500..=599)
        }
        _ => false,
    }
}

/// Returns key and intent of the order in flight, or puts those of a new one on disk.
async fn begin(
    context: &Context<'_>,
    acme: &Acme,
    certificate: &Certificate,
    lineage: &mut Lineage,
    access: Access,
    notes: &mut Vec<String>,
) -> Result<(PrivateKey, Order)> {
    let mut identifiers = certificate.identifiers.clone();
    identifiers.sort();
    if let Some(order) = lineage.order.clone() {
        let same = order.identifiers == identifiers && order.directory == acme.directory;
        let key = match same {
            true => unfinished_key(context, certificate, order.generation)?,
            false => None,
        };
        if let Some(key) = key {
            return Ok((key, order));
        }
        abandon(context, lineage)?;
    }
    let key = choose_key(context, certificate, lineage, access, notes).await?;
    let generation = context.store.next_number(lineage);
    save_key(context, certificate, generation, &key, access)?;
    // `replaces` only to the CA that issued the certificate in use.
    let replaces = lineage
        .live()
        .filter(|live| live.directory.as_deref() == Some(acme.directory.as_str()))
        .and_then(|live| live.certificate_id.clone());
    let order = Order {
        generation,
        identifiers,
        directory: acme.directory.clone(),
        url: None,
        replaces,
        started_at: context.now(),
    };
    lineage.order = Some(order.clone());
    context.save(lineage)?;
    Ok((key, order))
}

fn unfinished_key(
    context: &Context<'_>,
    certificate: &Certificate,
    generation: u64,
) -> Result<Option<PrivateKey>> {
    let doing = |error| {
        store_error(
            format!("the key for {} could not be read", certificate.name),
            &error,
        )
    };
    let store = &context.store;
    let pem = match store
        .load_unfinished_key(&certificate.name, generation)
        .map_err(doing)?
    {
        // A run that was killed between completing the generation and saving the record has moved the key.
        None => store.load_key(&certificate.name, generation).map_err(doing)?,
        unfinished => unfinished,
    };
    // A damaged key is as good as none: a new order begins with a new one.
    Ok(pem.and_then(|pem| PrivateKey::from_pem(pem.as_bytes()).ok()))
}

/// Puts the key of a generation to come on disk, in the place of whatever an abandoned order left there.
fn save_key(
    context: &Context<'_>,
    certificate: &Certificate,
    generation: u64,
    key: &PrivateKey,
    access: Access,
) -> Result<()> {
    let doing = |error| {
        store_error(
            format!("the key for {} could not be saved", certificate.name),
            &error,
        )
    };
    let there = unfinished_key(context, certificate, generation)?;
    if there.is_some_and(|there| there.to_pem() == key.to_pem()) {
        // Never taken away in order to be written again: a TLSA record may name it.
        return Ok(());
    }
    context
        .store
        .discard_unfinished(&certificate.name, generation)
        .map_err(doing)?;
    context
        .store
        .save_key(&certificate.name, generation, &key.to_pem(), access)
        .map_err(doing)
}

/// Forgets the order in flight; its number may be used again, since nobody has seen it.
///
/// Its key stays for the next order: a TLSA record may have been published for it.
fn abandon(context: &Context<'_>, lineage: &mut Lineage) -> Result<()> {
    if lineage.order.take().is_some() {
        context.save(lineage)?;
    }
    Ok(())
}

/// Chooses between the key in use and a new one (`reuse_key`, and "DANE first").
async fn choose_key(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    access: Access,
    notes: &mut Vec<String>,
) -> Result<PrivateKey> {
    let in_use = match lineage.generation {
        None => None,
        Some(number) => {
            let doing = |error| {
                store_error(
                    format!("the key of {} could not be read", certificate.name),
                    &error,
                )
            };
            let pem = context.store.load_key(&certificate.name, number).map_err(doing)?;
            pem.and_then(|pem| PrivateKey::from_pem(pem.as_bytes()).ok())
        }
    };
    let usable =
        in_use.filter(|key| key.key_type() == certificate.key || certificate.reuse_key != ReuseKey::Always);
    if let (ReuseKey::Always, Some(key)) = (certificate.reuse_key, &usable) {
        return PrivateKey::from_pem(key.to_pem().as_bytes())
            .map_err(|error| Error::failed("the key in use could not be read").cause(error));
    }
    let number = context.store.next_number(lineage);
    let foreseen = unfinished_key(context, certificate, number)?;
    let generated = match foreseen.filter(|key| key.key_type() == certificate.key) {
        Some(key) => key,
        None => PrivateKey::generate(certificate.key).map_err(|error| {
            Error::failed(format!("no key could be made for {}", certificate.name)).cause(error)
        })?,
    };
    let choice = tlsa::guard(context, certificate, lineage, usable.as_ref(), &generated).await;
    if choice.is_err() && usable.is_none() {
        // The operator is told to publish this key: the next run has to come with the same one.
        save_key(context, certificate, number, &generated, access)?;
    }
    match choice? {
        tlsa::Choice::Generated => Ok(generated),
        tlsa::Choice::InUse(note) => {
            notes.push(note);
            usable.ok_or_else(|| Error::failed("the key in use is gone"))
        }
    }
}

/// Writes the generation, its record, and what the CA says about when to renew it.
async fn complete(
    context: &Context<'_>,
    session: &Session,
    certificate: &Certificate,
    lineage: &mut Lineage,
    key: &PrivateKey,
    issued: &Issued,
    access: Access,
) -> Result<u64, Refusal> {
    let Some(order) = lineage.order.clone() else {
        return Err(Error::failed("the order is gone from the record").into());
    };
    let chain = Chain::from_pem(issued.chain.to_pem().as_bytes()).map_err(|error| {
        Error::failed(format!(
            "the CA's certificate for {} cannot be used",
            certificate.name
        ))
        .cause(error)
    })?;
    let number = order.generation;
    let generation = describe(&chain, Some(order.directory.clone()));
    write_generation(context, &certificate.name, number, &chain, &key.to_pem(), access)?;
    // On record before anything else is asked: a run that is killed while it waits has not got it in vain.
    record(context, lineage, number, generation.clone())?;
    lineage.renewal_info = ask_renewal_info(
        session.http(),
        Some(session.directory()),
        &generation,
        None,
        context.now(),
    )
    .await;
    context.save(lineage)?;
    Ok(number)
}

/// Records a complete generation as the order's outcome.
fn record(context: &Context<'_>, lineage: &mut Lineage, number: u64, generation: Generation) -> Result<()> {
    lineage.order = None;
    lineage.newest = lineage.newest.max(number);
    lineage.generations.insert(number, generation);
    lineage.renewal_info = None;
    lineage.state = State::Issued;
    lineage.failure = None;
    lineage
        .issued_at
        .retain(|at| *at > context.now() - Duration::weeks(1));
    lineage.issued_at.push(context.now());
    context.save(lineage)
}

/// Runs a full order with a key of its own, and keeps nothing but the account where there is one already.
///
/// # Errors
/// What an order can fail with.
pub async fn rehearse(context: &Context<'_>, acme: &Acme, certificate: &Certificate) -> Result<()> {
    let solvers = Solvers::new(context, acme)?;
    let session = ca::passing_session(context, acme).await?;
    let refused = |error: &dyn std::fmt::Display| {
        Error::failed(format!("{} cannot be renewed", certificate.name)).cause(error)
    };
    let key = PrivateKey::generate(certificate.key).map_err(|error| refused(&error))?;
    let request = key
        .request_der(&certificate.identifiers)
        .map_err(|error| refused(&error))?;
    let order_request = OrderRequest {
        identifiers: &certificate.identifiers,
        request_der: &request,
        resume: None,
        replaces: None,
        patience: PATIENCE,
    };
    let issued = order::obtain(
        &session,
        order_request,
        solvers.solver(),
        &Forget,
        &context.stop(),
        &context.progress,
    )
    .await;
    issued
        .map(|_| ())
        .map_err(|error| ca::failure(&format!("{} cannot be renewed", certificate.name), &error))
}

/// Keeps no order: a rehearsal is not resumed.
struct Forget;

impl SaveOrder for Forget {
    fn save(&self, _: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// Puts a complete generation on disk.
///
/// # Errors
/// When it cannot be written.
pub fn write_generation(
    context: &Context<'_>,
    name: &str,
    number: u64,
    chain: &Chain,
    key_pem: &str,
    access: Access,
) -> Result<()> {
    let pem = Pem {
        key: key_pem,
        leaf: &chain.leaf.to_pem(),
        chain: &chain.intermediates_to_pem(),
    };
    context
        .store
        .complete(name, number, &pem, access)
        .map_err(|error| store_error(format!("the certificate for {name} could not be saved"), &error))
}

/// Describes a chain as the record has it.
pub fn describe(chain: &Chain, directory: Option<String>) -> Generation {
    let leaf = &chain.leaf;
    let mut identifiers: Vec<Identifier> = leaf
        .dns_names
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    identifiers.sort();
    identifiers.dedup();
    Generation {
        identifiers,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        leaf_sha256: leaf.sha256.to_string(),
        spki_sha256: leaf.spki_sha256.to_string(),
        certificate_id: leaf.renewal_info_id(),
        directory,
    }
}

/// Asks when to renew a certificate (RFC 9773); `None` when there is nothing to ask.
///
/// A failed ask is not repeated for six hours, and an earlier window for the same certificate is kept.
pub async fn ask_renewal_info(
    http: &Http,
    directory: Option<&Directory>,
    generation: &Generation,
    earlier: Option<&RenewalInfo>,
    now: OffsetDateTime,
) -> Option<RenewalInfo> {
    let certificate_id = generation.certificate_id.clone()?;
    if directory.is_some_and(|directory| !directory.has_renewal_info()) {
        return None;
    }
    let earlier = earlier
        .filter(|info| info.certificate_id == certificate_id)
        .and_then(|info| info.window.as_ref());
    let six_hours = Duration::hours(6);
    let answer = match directory {
        Some(directory) => {
            let id = CertificateId::from_text(&certificate_id);
            renewal_info::RenewalInfo::fetch(http, directory, &id).await.ok()
        }
        None => None,
    };
    Some(match answer {
        Some(answer) => {
            let wait = Duration::try_from(answer.retry_after).unwrap_or(six_hours);
            let window = schedule::choose(
                answer.start,
                answer.end,
                answer.explanation_url,
                earlier,
                random(),
            );
            RenewalInfo {
                certificate_id,
                window: window.or_else(|| earlier.cloned()),
                ask_at: now.saturating_add(wait),
            }
        }
        None => RenewalInfo {
            certificate_id,
            window: earlier.cloned(),
            ask_at: now.saturating_add(six_hours),
        },
    })
}

/// Returns any number; where there is no randomness, always the same one, which only costs spread.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    }
}

/// Returns who may read a certificate's key.
///
/// # Errors
/// Exit 2 when the owner or group does not exist on this host.
pub fn key_access(certificate: &Certificate) -> Result<Access> {
    let unknown = |what: &str, name: &str| {
        Error::usage(format!(
            "there is no {what} `{}` on this host",
            name.escape_debug()
        ))
        .cause(format!("it is the {what} of the key of {}", certificate.name))
    };
    let me = nix::unistd::geteuid();
    let uid = match nix::unistd::User::from_name(&certificate.owner) {
        Ok(Some(user)) => user.uid,
        _ => return Err(unknown("owner", &certificate.owner)),
    };
    let gid = match nix::unistd::Group::from_name(&certificate.group) {
        Ok(Some(group)) => group.gid,
        _ => return Err(unknown("group", &certificate.group)),
    };
    // An ordinary user can only own what it makes: the default, root, is then not meant.
    let default = certificate.owner == "root" && certificate.group == "root";
    if !me.is_root() && default {
        return Ok(Access {
            mode: certificate.mode,
            uid: None,
            gid: None,
        });
    }
    Ok(Access {
        mode: certificate.mode,
        uid: Some(uid.as_raw()),
        gid: Some(gid.as_raw()),
    })
}

/// Keeps a failure in the lineage's record, with when to try again.
pub fn remember(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &mut Lineage,
    step: Step,
    error: &Error,
    retry_at: Option<OffsetDateTime>,
) {
    let now = context.now();
    let configuration = configuration_digest(&context.config, certificate);
    let earlier = lineage
        .failure
        .as_ref()
        .filter(|failure| failure.step == step && failure.configuration == configuration);
    let count = earlier.map_or(0, |failure| failure.count).saturating_add(1);
    let at = now.saturating_add(schedule::back_off(count));
    lineage.failure = Some(Failure {
        step,
        message: kept_message(error),
        count,
        at: now,
        retry_at: retry_at.map_or(at, |asked| asked.max(at)),
        configuration,
    });
}

/// Returns a failure and its causes, cut: the record that it is kept in must stay small enough to be read again, and a
/// CA's problem document may be as large as an answer.
fn kept_message(error: &Error) -> String {
    let whole = std::iter::once(&error.message)
        .chain(&error.causes)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    match whole.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

/// Says what the failure means for the lineage: what is in use, until when, and when it is tried again.
fn not_renewed(lineage: &Lineage, error: Error) -> Error {
    let still = match lineage.live() {
        Some(live) => format!(
            "the certificate in use stays valid until {}",
            live.not_after.date()
        ),
        None => "nothing was changed".to_owned(),
    };
    let verb = if lineage.live().is_some() {
        "renewed"
    } else {
        "issued"
    };
    let mut told = Error {
        message: format!("{} not {verb}; {still}", lineage.name),
        ..error.clone()
    };
    told.causes.insert(0, error.message);
    match &lineage.failure {
        Some(failure) if error.kind == Kind::NotYet => told
            .remedy("nothing has to be done: the timer tries again when the CA's time has come")
            .retry_at(failure.retry_at),
        Some(failure) => told
            .remedy(format!(
                "`mailcert renew --force {}` tries again now; the next `renew` after the time below does by itself",
                lineage.name
            ))
            .retry_at(failure.retry_at),
        None => told,
    }
}

/// Saves the order's URL the moment the CA has given it.
struct Log<'a> {
    store: &'a Store,
    lineage: Mutex<&'a mut Lineage>,
}

impl SaveOrder for Log<'_> {
    fn save(&self, url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut lineage = self.lineage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = &mut lineage.order {
            order.url = Some(url.to_owned());
        }
        Ok(self.store.save(&lineage)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_failure_that_leaves_the_record_readable() {
        let short = Error::failed("a").cause("b").cause("c");
        assert_eq!(kept_message(&short), "a\nb\nc");
        let long = Error::failed("a").cause("é".repeat(1 << 20));
        let kept = kept_message(&long);
        assert_eq!(kept.chars().count(), MESSAGE_LIMIT + 1);
        assert!(kept.starts_with("a\né") && kept.ends_with('…'));
    }

    #[tokio::test]
    async fn never_runs_more_than_the_limit_and_keeps_the_order() {
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let futures = (0..20).map(|number| {
            let (running, most) = (&running, &most);
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, SeqCst);
                number
            }
        });
        assert_eq!(concurrently(futures, 3).await, (0..20).collect::<Vec<_>>());
        assert_eq!(most.load(SeqCst), 3);
    }
}
