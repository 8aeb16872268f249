//! Gets certificates: key and intent on disk first, then the order, then the generation complete on disk.
//!
//! Nothing here touches what is in service. A run that is killed anywhere leaves an order that the next run resumes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures_util::stream::{self, StreamExt as _};
use time::OffsetDateTime;

mod failure;
mod generation;
mod key;
mod renewal_info;

pub use failure::{refuse, remember};
pub use generation::{adopt, describe, write_generation};
pub use key::key_access;
pub use renewal_info::ask_renewal_info;

use failure::not_renewed;
use generation::complete;
use key::{choose_key, save_key, unfinished_key};

use super::{
    Context, ca,
    preflight::{Flight, before_answering, preflight},
    solver::Solvers,
};
use crate::{
    acme::{
        AcmeError,
        account::Session,
        order::{self, OrderRequest, SaveOrder},
        renewal_info::CertificateId,
    },
    config::{Acme, Certificate},
    env::{files::Access, log::Priority, progress::Progress},
    error::{Error, Result},
    model::{
        key::PrivateKey,
        lineage::{Generation, Lineage, Order, Step},
    },
    store::Store,
};

/// How many certificates are ordered at the same time.
const AT_ONCE: usize = 8;

/// How long one order may take, challenges included; the next run resumes it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// After so many failures in a row an order whose answers are nonsense is given up.
const NONSENSE: u32 = 3;

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
    let result = Err(refuse(context, certificate, &mut lineage, Step::Order, error));
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
        Ok(generation) => Ok(generation),
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
        let flight = Flight {
            session: &current,
            solver: solvers.solver(),
            identifiers: &order.identifiers,
        };
        let solver = match order.url {
            Some(_) => before_answering(context, flight)?,
            None => match preflight(context, flight).await {
                Ok(said) => {
                    notes.extend(said);
                    std::sync::Arc::clone(solvers.solver())
                }
                Err(refused) => {
                    // There is nothing to resume: no order was made.
                    abandon(context, lineage)?;
                    return Err(refused.into());
                }
            },
        };
        let log = Log {
            store: &context.store,
            progress: &context.progress,
            lineage: Mutex::new(lineage),
        };
        let replaces = order.replaces.as_deref().map(CertificateId::from_text);
        let order_request = OrderRequest {
            identifiers: &order.identifiers,
            request_der: &request,
            resume: order.url.as_deref(),
            replaces: replaces.as_ref(),
            patience: PATIENCE + solvers.patience(order.identifiers.len()),
        };
        let issued = order::obtain(
            &current,
            order_request,
            &solver,
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
        | AcmeError::NotSeen(_)
        | AcmeError::PortTaken { .. }
        | AcmeError::Bind { .. }
        | AcmeError::Dns01(_)
        | AcmeError::Hook(_)
        | AcmeError::HookLater(_)
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

/// Forgets the order in flight; its number may be used again, since nobody has seen it.
///
/// Its key stays for the next order: a TLSA record may have been published for it.
fn abandon(context: &Context<'_>, lineage: &mut Lineage) -> Result<()> {
    if lineage.order.take().is_some() {
        context.save(lineage)?;
    }
    Ok(())
}

/// Runs a full order with a key of its own, and keeps nothing but the account where there is one already; returns what
/// the operator should know besides.
///
/// # Errors
/// What an order can fail with.
pub async fn rehearse(context: &Context<'_>, acme: &Acme, certificate: &Certificate) -> Result<Vec<String>> {
    let solvers = Solvers::new(context, acme)?;
    let session = ca::passing_session(context, acme).await?;
    let refused = |error: &dyn std::fmt::Display| {
        Error::failed(format!("{} cannot be renewed", certificate.name)).cause(error)
    };
    let key = PrivateKey::generate(certificate.key).map_err(|error| refused(&error))?;
    let request = key
        .request_der(&certificate.identifiers)
        .map_err(|error| refused(&error))?;
    let flight = Flight {
        session: &session,
        solver: solvers.solver(),
        identifiers: &certificate.identifiers,
    };
    let notes = preflight(context, flight).await.map_err(|error| {
        let message = format!("{} cannot be renewed", certificate.name);
        let refused = Error {
            message,
            ..error.clone()
        };
        Error {
            causes: std::iter::once(error.message).chain(error.causes).collect(),
            ..refused
        }
    })?;
    let order_request = OrderRequest {
        identifiers: &certificate.identifiers,
        request_der: &request,
        resume: None,
        replaces: None,
        patience: PATIENCE + solvers.patience(certificate.identifiers.len()),
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
        .map(|_| notes)
        .map_err(|error| ca::failure(&format!("{} cannot be renewed", certificate.name), &error))
}

/// Keeps no order: a rehearsal is not resumed.
struct Forget;

impl SaveOrder for Forget {
    fn save(&self, _: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// Saves the order's URL the moment the CA has given it.
struct Log<'a> {
    store: &'a Store,
    progress: &'a Progress,
    lineage: Mutex<&'a mut Lineage>,
}

impl SaveOrder for Log<'_> {
    fn save(&self, url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut lineage = self.lineage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = &mut lineage.order {
            order.url = Some(url.to_owned());
        }
        self.store.save(&lineage)?;
        let text = format!("{}: ordered: {url}", lineage.name);
        self.progress.event(Priority::Info, &text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
