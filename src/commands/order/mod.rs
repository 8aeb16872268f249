//! Gets certificates: key and intent on disk first, then the order, then the generation complete on disk.
//!
//! Nothing here touches what is in service. A run that is killed anywhere leaves an order that the next run resumes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::stream::{self, StreamExt as _};

mod admission;
mod authorities;
mod failure;
mod generation;
mod in_flight;
mod key;
pub mod private;
mod refusal;
mod renewal_info;

pub use failure::{refuse, remember};
pub use generation::{adopt, describe, on_disk, write_generation};
pub use key::{discard_needless, key_access};
pub use renewal_info::ask_renewal_info;

use admission::{Admission, Intent};
use authorities::{Authorities, Authority};
use failure::not_renewed;
use generation::{complete, is_of_use};
use in_flight::{abandon, begin, replaces, take_up};
use refusal::{Begun, Cause, Refusal};

use super::{
    Context, ca,
    preflight::{Flight, before_answering, preflight},
    solver::Solvers,
    tlsa,
};
use crate::{
    acme::{
        AcmeError,
        account::Session,
        challenge::Present,
        order::{self, Issued, OrderRequest, SaveOrder},
        renewal_info::CertificateId,
    },
    config::{Acme, Certificate, Issuer},
    env::{files::Access, log::Priority, progress::Progress, threads},
    error::{Error, Result},
    model::{
        authority::short_name,
        certificate::Certificate as X509,
        failure::Concern,
        key::PrivateKey,
        limits::{Kind, Request, Unused},
        lineage::{Generation, Lineage, Order, Step},
        plan::printable_line,
        schedule::Urgency,
    },
    store::Store,
};

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
    /// How the run was started.
    pub urgency: Urgency,
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

/// Gets all these certificates, several at a time; goes on after one fails. Those of the private CA come first, and ask nobody.
///
/// Each order has a thread: what one waits for, an fsync among it, holds up none of the others.
///
/// # Errors
/// When the threads for it cannot be started.
pub fn run<'a>(context: &Context<'_>, jobs: Vec<Job<'a>>) -> Result<Vec<Ordered<'a>>> {
    let (private, jobs): (Vec<Job<'a>>, Vec<Job<'a>>) = jobs
        .into_iter()
        .partition(|job| job.certificate.issuer == Issuer::Ca);
    let mut ordered = match private.is_empty() {
        true => Vec::new(),
        false => private::run(context, private),
    };
    if jobs.is_empty() {
        return Ok(ordered);
    }
    let prepared = || {
        let acme = ca::configured(context)?;
        Ok::<_, Error>((Authorities::new(context, acme), Solvers::new(context, acme)?))
    };
    let (authorities, solvers) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => {
            ordered.extend(threads::each(jobs, |job| refused(context, job, &error)));
            return Ok(ordered);
        }
    };
    let by_acme = threads::each(jobs, |job| {
        context.wait(one(context, &authorities, &solvers, job))
    });
    for one in by_acme {
        ordered.push(one?);
    }
    Ok(ordered)
}

/// Runs futures, at most `limit` of them at a time, and keeps their order. A slow one holds up none of the others.
pub async fn concurrently<F: Future>(futures: impl Iterator<Item = F>, limit: usize) -> Vec<F::Output> {
    let numbered = futures
        .enumerate()
        .map(|(index, future)| async move { (index, future.await) });
    let mut outputs: Vec<(usize, F::Output)> = stream::iter(numbered).buffer_unordered(limit).collect().await;
    outputs.sort_by_key(|(index, _)| *index);
    outputs.into_iter().map(|(_, output)| output).collect()
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
    authorities: &Authorities,
    solvers: &Solvers,
    job: Job<'a>,
) -> Ordered<'a> {
    let Job {
        certificate,
        mut lineage,
        reason,
        urgency,
    } = job;
    let mut notes = Vec::new();
    context.progress.step(&format!("{}: {reason}", certificate.name));
    let attempt = Attempt {
        context,
        authorities,
        solvers,
        certificate,
        urgency,
    };
    let result = match attempt.obtain(&mut lineage, &mut notes).await {
        Ok(generation) => Ok(generation),
        // Nobody was asked, so nothing failed: the next run looks again.
        Err(refusal) if refusal.cause == Cause::Held => {
            let held = refusal.to_keep();
            let is_news = lineage.held != held;
            lineage.held = held;
            let saved = if is_news { context.save(&lineage) } else { Ok(()) };
            saved.and(Err(not_renewed(&lineage, refusal.error)))
        }
        Err(refusal) => {
            // Who interrupts a run says nothing about the CA: the next run resumes at once.
            if !context.is_interrupted() {
                remember(
                    context,
                    certificate,
                    &mut lineage,
                    Step::Order,
                    &refusal.error,
                    refusal.retry_at,
                );
            }
            context
                .save(&lineage)
                .and(Err(not_renewed(&lineage, refusal.error)))
        }
    };
    Ordered {
        certificate,
        lineage,
        result,
        notes,
    }
}

/// One lineage on its way to a certificate.
struct Attempt<'a, 'c> {
    context: &'a Context<'c>,
    authorities: &'a Authorities,
    solvers: &'a Solvers,
    certificate: &'a Certificate,
    urgency: Urgency,
}

impl Attempt<'_, '_> {
    /// Asks one CA after the other, while those before are down.
    async fn obtain(&self, lineage: &mut Lineage, notes: &mut Vec<String>) -> Result<u64, Refusal> {
        let context = self.context;
        if let Some(number) = adopt(context, lineage)?
            && is_for(self.certificate, &lineage.generations, number)
        {
            return Ok(number);
        }
        let access = key_access(self.certificate)?;
        let mut down: Vec<Refusal> = Vec::new();
        for authority in self.authorities.for_lineage(lineage) {
            let obtained = self.obtain_at(authority, lineage, access, notes).await;
            authority.note(obtained.as_ref().err());
            match obtained {
                Ok(number) => {
                    if let Some(first) = down.first() {
                        notes.push(format!(
                            "{}: issued by {}, since {}",
                            self.certificate.name,
                            short_name(&authority.acme.directory),
                            first.error
                        ));
                    }
                    return Ok(number);
                }
                Err(refusal) if refusal.is_down() && !context.is_interrupted() => down.push(refusal),
                Err(refusal) if down.is_empty() => return Err(refusal),
                Err(refusal) => {
                    down.push(refusal);
                    break;
                }
            }
        }
        let mut refusals = down.into_iter();
        match refusals.next() {
            Some(first) => Err(first.with_others(refusals.collect())),
            None => Err(Error::failed("there is no CA to ask").into()),
        }
    }

    /// Orders at one CA, or goes on with the order there.
    async fn obtain_at(
        &self,
        authority: &Authority,
        lineage: &mut Lineage,
        access: Access,
        notes: &mut Vec<String>,
    ) -> Result<u64, Refusal> {
        let context = self.context;
        let mut identifiers = self.certificate.identifiers.clone();
        identifiers.sort();
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let session = authority.session(context).await?;
            let directory = &authority.acme.directory;
            take_up(lineage, directory, &identifiers, &self.authorities.directories());
            let intended = replaces(lineage, directory);
            let admit = |lineage: &Lineage| {
                let intent = Intent {
                    lineage,
                    identifiers: &identifiers,
                    replaces: intended.as_deref(),
                    urgency: self.urgency,
                };
                authority.admission.admit(intent)
            };
            let is_new = |lineage: &Lineage| lineage.order.as_ref().is_none_or(|order| order.url.is_none());
            let mut request = match is_new(lineage) {
                true => Some(admit(lineage)?),
                false => None,
            };
            let begun = self.begin(authority, &session, lineage, access, notes).await;
            let (key, order, solver) = match begun {
                Ok(begun) => begun,
                Err(refused) => {
                    if let Some(request) = &request {
                        authority.admission.give_back(request, Unused::Everything);
                    }
                    return Err(refused.into());
                }
            };
            if order.url.is_none() && request.is_none() {
                // The order in flight has lost its key, and with it its use.
                request = Some(admit(lineage)?);
            }
            let (issued, request) = self
                .converse(authority, &session, lineage, &key, &solver, request)
                .await?;
            let issued = issued.and_then(|issued| {
                let judged = of_use(&issued, lineage.live(), context);
                judged.map(|()| issued)
            });
            let error = match issued {
                Ok(issued) => {
                    notes.extend(other_chains(&authority.acme, self.certificate, &issued));
                    return complete(
                        context,
                        &session,
                        self.certificate,
                        lineage,
                        &key,
                        &issued,
                        access,
                    )
                    .await;
                }
                Err(error) => error,
            };
            let begun = match is_new(lineage) {
                true => Begun::No,
                false => Begun::Yes,
            };
            let is_lost = match &error {
                AcmeError::OrderLost { .. } | AcmeError::AccountDoesNotExist(_) => true,
                error => {
                    let n_failed = lineage
                        .failure_of(Concern::Order)
                        .map_or(0, |failure| failure.count);
                    !can_be_resumed(error, n_failed)
                }
            };
            let kind = request.as_ref().map_or(Kind::Renewal, |request| request.kind);
            authority.admission.count_failures(kind, &error);
            if let Some(request) = &request {
                match (begun, is_lost) {
                    (Begun::No, _) => authority.admission.give_back(request, Unused::Everything),
                    (Begun::Yes, true) => {
                        authority.admission.give_back(request, Unused::Certificate);
                    }
                    (Begun::Yes, false) => {}
                }
            }
            if is_lost {
                abandon(context, lineage)?;
            }
            match &error {
                AcmeError::OrderLost { .. } if n_tries == 1 => continue,
                AcmeError::AccountDoesNotExist(_) if n_tries == 1 => {
                    authority.register_again(context, &session).await?;
                    continue;
                }
                _ => {}
            }
            let refusal = Refusal::of_order(directory, &error, &identifiers, begun, context.now());
            if refusal.cause == Cause::Limit {
                authority.admission.hold(&refusal);
            }
            return Err(refusal);
        }
    }

    /// Puts key and intent on disk, or finds those of the order in flight, and looks whether the CA would refuse.
    async fn begin(
        &self,
        authority: &Authority,
        session: &Session,
        lineage: &mut Lineage,
        access: Access,
        notes: &mut Vec<String>,
    ) -> Result<(PrivateKey, Order, Arc<dyn Present>)> {
        let context = self.context;
        let (key, order) = begin(context, authority, self.certificate, lineage, access, notes).await?;
        let flight = Flight {
            session,
            solver: self.solvers.solver(),
            identifiers: &order.identifiers,
        };
        if order.url.is_some() {
            let solver = before_answering(context, flight)?;
            return Ok((key, order, solver));
        }
        let examined = async {
            let in_service = lineage.live().and_then(|live| live.directory.as_deref());
            let directory = authority.acme.directory.as_str();
            if authority.is_fallback && in_service != Some(directory) {
                tlsa::refuse_other_authority(context, self.certificate, directory, &key).await?;
            }
            preflight(context, flight).await
        };
        match examined.await {
            Ok(said) => notes.extend(said),
            Err(refused) => {
                // There is nothing to resume: no order was made.
                abandon(context, lineage)?;
                return Err(refused);
            }
        }
        Ok((key, order, Arc::clone(self.solvers.solver())))
    }

    /// Talks to the CA about the order in flight; also returns how it counts, which the CA may have changed.
    async fn converse(
        &self,
        authority: &Authority,
        session: &Session,
        lineage: &mut Lineage,
        key: &PrivateKey,
        solver: &Arc<dyn Present>,
        request: Option<Request>,
    ) -> Result<(Result<Issued, AcmeError>, Option<Request>)> {
        let context = self.context;
        let Some(order) = lineage.order.clone() else {
            return Err(Error::failed("the order is gone from the record"));
        };
        let request_der = key.request_der(&order.identifiers).map_err(|error| {
            Error::failed(format!(
                "the request for {} could not be made",
                self.certificate.name
            ))
            .cause(error)
        })?;
        let log = Log {
            store: &context.store,
            progress: &context.progress,
            admission: &authority.admission,
            urgency: self.urgency,
            kept: Mutex::new((lineage, request)),
        };
        let replaces = order.replaces.as_deref().map(CertificateId::from_text);
        let order_request = OrderRequest {
            identifiers: &order.identifiers,
            request_der: &request_der,
            resume: order.url.as_deref(),
            replaces: replaces.as_ref(),
            profile: order.profile.as_deref(),
            preferred_chain: authority.acme.preferred_chain.as_deref(),
            patience: PATIENCE + self.solvers.patience(order.identifiers.len()),
        };
        let issued = order::obtain(
            session,
            order_request,
            solver,
            &log,
            &context.stop(),
            &context.progress,
        )
        .await;
        let (_, request) = log.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((issued, request))
    }
}

/// Refuses a certificate that must not come into service.
fn of_use(issued: &Issued, in_service: Option<&Generation>, context: &Context<'_>) -> Result<(), AcmeError> {
    let leaf = issued.chain.certificates.first();
    let leaf = leaf.ok_or(AcmeError::IssuedOther("there is none".to_owned()))?;
    X509::from_der(leaf)
        .map_err(|error| error.to_string())
        .and_then(|leaf| is_of_use(&leaf, in_service, context.now()))
        .map_err(AcmeError::IssuedOther)
}

/// Says that the CA has no chain of the preferred issuer.
fn other_chains(acme: &Acme, certificate: &Certificate, issued: &Issued) -> Option<String> {
    let preferred = acme.preferred_chain.as_ref()?;
    let offered = issued.other_chains.as_ref()?;
    Some(format!(
        "{}: the CA offers no chain whose topmost certificate is issued by `{preferred}`, only by {}; its default chain is used \
         (acme.preferred_chain)",
        certificate.name,
        crate::model::plan::printable(offered.join(", ").as_bytes())
    ))
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

/// Runs a full order with a key of its own, and keeps nothing but the account where there is one already.
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
        profile: acme.profile.as_deref(),
        preferred_chain: acme.preferred_chain.as_deref(),
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
        .and_then(|issued| of_use(&issued, None, context))
        .map(|()| notes)
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
    admission: &'a Admission,
    urgency: Urgency,
    kept: Mutex<(&'a mut Lineage, Option<Request>)>,
}

impl SaveOrder for Log<'_> {
    fn save(&self, url: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = &mut kept.0.order {
            order.url = Some(url.to_owned());
        }
        self.store.save(kept.0)?;
        let url = printable_line(url.as_bytes(), 2000);
        let text = format!("{}: ordered: {url}", kept.0.name);
        self.progress.event(Priority::Info, &text);
        Ok(())
    }

    fn may_go_without_replaces(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (lineage, request) = &mut *kept;
        let Some(order) = &mut lineage.order else {
            return false;
        };
        order.replaces = None;
        let identifiers = order.identifiers.clone();
        if request
            .as_ref()
            .is_some_and(|request| request.kind != Kind::Replacement)
        {
            // It was counted as one that replaces nothing before.
            return true;
        }
        let intent = Intent {
            lineage,
            identifiers: &identifiers,
            replaces: None,
            urgency: self.urgency,
        };
        match self.admission.admit(intent) {
            Ok(admitted) => {
                *request = Some(admitted);
                true
            }
            Err(_) => false,
        }
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

    #[tokio::test]
    async fn a_slow_one_holds_up_none_of_the_others() {
        // The first ends only when all the others have: with slots that wait in line it never would.
        let (done, mut n_done) = tokio::sync::watch::channel(0);
        let first: std::pin::Pin<Box<dyn Future<Output = usize>>> = Box::pin(async move {
            n_done.wait_for(|n_done| *n_done == 9).await.unwrap();
            0
        });
        let done = &done;
        let others = (1..10).map(|number| -> std::pin::Pin<Box<dyn Future<Output = usize>>> {
            Box::pin(async move {
                done.send_modify(|n_done| *n_done += 1);
                number
            })
        });
        let all = concurrently(std::iter::once(first).chain(others), 3);
        assert_eq!(all.await, (0..10).collect::<Vec<_>>());
    }
}
