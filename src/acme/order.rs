//! Gets a certificate: an order from its beginning, or from where a crash left it (RFC 8555, 7.4 and 7.5).
//!
//! The order's URL goes to the caller as soon as the CA's headers are here, before the rest of the answer is looked at:
//! a crash a moment later finds the order again. All challenges are set up together, answered together, and waited for
//! together. They are taken away in every case.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, Instant},
};

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, Error,
    NewOrder, Order, OrderStatus,
};

use super::{
    account::Session,
    chain::Chain,
    challenge::{ChallengeResponse, ChallengeType, Present, is_token},
    error::{AcmeError, ChallengeFailure, Problem, ProblemIdentifier},
    poll::Pauses,
    renewal_info::CertificateId,
    wire::{Wire, call},
};
use crate::{
    env::progress::Progress,
    model::name::{DomainName, Identifier},
};

/// How long taking challenges away may take.
const CLEANUP: Duration = Duration::from_secs(60);
/// How many failures in a row are taken for a hiccup while waiting.
const HICCUPS: u32 = 3;

/// What to get.
#[derive(Clone, Copy, Debug)]
pub struct OrderRequest<'a> {
    /// The names, without duplicates.
    pub identifiers: &'a [Identifier],
    /// The request (PKCS#10 DER) for exactly these names.
    pub request_der: &'a [u8],
    /// The order that an earlier run left behind.
    pub resume: Option<&'a str>,
    /// The certificate that this one replaces (RFC 9773, 5). When the CA refuses that, it is tried once without.
    pub replaces: Option<&'a CertificateId>,
    /// How long all of it may take, the challenges' set-up included.
    pub patience: Duration,
}

/// What was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The chain, checked to be ours.
    pub chain: Chain,
    /// Why challenges could not be taken away, when they could not.
    pub leftovers: Option<String>,
}

/// Keeps an order's URL over a crash.
pub trait SaveOrder: Sync {
    /// Saves the URL; the order goes on when this has returned, and not at all when it fails.
    ///
    /// # Errors
    /// When the URL is not on disk.
    fn save(&self, url: &str) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Gets a certificate.
///
/// # Errors
/// Among others [`AcmeError::OrderLost`] when the order to resume came to nothing, so that a new one may be made;
/// [`AcmeError::AccountDoesNotExist`]; [`AcmeError::Challenge`] with the CA's reason for each name.
pub async fn obtain(
    session: &Session,
    request: OrderRequest<'_>,
    present: &Arc<dyn Present>,
    orders: &dyn SaveOrder,
    stop: &Stop,
    progress: &Progress,
) -> Result<Issued, AcmeError> {
    let wire = Wire::new(session.http.clone(), session.take_nonce());
    let run = Run {
        session,
        request,
        wire: wire.clone(),
        deadline: Instant::now() + request.patience,
        progress,
    };
    let mut placed = Placed {
        present: present.clone(),
        responses: Vec::new(),
        leftovers: None,
    };
    let result = tokio::select! {
        result = tokio::time::timeout(request.patience, run.obtain(orders, &mut placed)) => match result {
            Ok(result) => result,
            Err(_) => Err(run.overdue("finish the order", None)),
        },
        () = stop.wanted() => Err(AcmeError::Interrupted),
    };
    session.put_nonce(wire.take_nonce());
    placed.take_away().await;
    let leftovers = placed.leftovers.take();
    match result {
        Ok(chain) => Ok(Issued { chain, leftovers }),
        Err(error) => {
            if let Some(reason) = leftovers {
                progress.done(&format!("a challenge was left behind: {reason}"));
            }
            Err(error)
        }
    }
}

/// Whether somebody wants the run to end. Orders then take their challenges away and can be resumed.
#[derive(Clone, Debug)]
pub struct Stop(tokio::sync::watch::Receiver<bool>);

impl Stop {
    /// Returns a stop that is wanted once the sender says `true`.
    pub fn new(said: tokio::sync::watch::Receiver<bool>) -> Self {
        Self(said)
    }

    /// Returns a stop that nobody ever wants.
    pub fn never() -> Self {
        Self(tokio::sync::watch::channel(false).1)
    }

    /// Waits until it is wanted; for ever, when nobody is left who could want it.
    async fn wanted(&self) {
        let mut said = self.0.clone();
        if said.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Challenge responses that are in place, and go away with this value.
struct Placed {
    present: Arc<dyn Present>,
    responses: Vec<ChallengeResponse>,
    leftovers: Option<String>,
}

impl Placed {
    /// Puts responses in place. They count as placed from the first moment, since half of them may be.
    async fn place(&mut self, responses: Vec<ChallengeResponse>) -> Result<(), AcmeError> {
        self.responses = responses;
        self.present.present(&self.responses).await
    }

    /// Takes them away, once.
    async fn take_away(&mut self) {
        if self.responses.is_empty() {
            return;
        }
        self.leftovers = match tokio::time::timeout(CLEANUP, self.present.cleanup(&self.responses)).await {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(_) => Some(format!("taking it away took longer than {} s", CLEANUP.as_secs())),
        };
        self.responses.clear();
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // Only after an interruption there is something left. The runtime may be ending: then this is in vain.
        let responses = std::mem::take(&mut self.responses);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !responses.is_empty() {
            let present = self.present.clone();
            runtime.spawn(async move { present.cleanup(&responses).await });
        }
    }
}

/// One authorization that is still to be won.
struct Pending {
    /// Its place in the order.
    index: usize,
    /// Whether the CA has not been told yet that the response is in place.
    is_unanswered: bool,
    response: ChallengeResponse,
}

/// What one authorization was found to be.
enum Found {
    /// To be won.
    Pending(Pending),
    /// Lost: the CA could not confirm the name.
    Refused(Vec<ChallengeFailure>),
    /// Won before, and still good.
    Valid,
}

/// One conversation about one order.
struct Run<'a> {
    session: &'a Session,
    request: OrderRequest<'a>,
    wire: Wire,
    deadline: Instant,
    progress: &'a Progress,
}

impl Run<'_> {
    async fn obtain(&self, orders: &dyn SaveOrder, placed: &mut Placed) -> Result<Chain, AcmeError> {
        let mut order = self.begin(orders).await?;
        if order.state().status == OrderStatus::Pending {
            let authorized = self.authorize(&mut order, placed).await;
            authorized.map_err(|error| self.lost_meanwhile(error))?;
        }
        // The port is closed and the DNS clean before the CA goes on.
        placed.take_away().await;
        if order.state().status == OrderStatus::Ready {
            self.progress.step("asking the CA for the certificate");
            call!(self.wire, order.finalize_csr(self.request.request_der))?;
            // An answer that still says "ready" is one from before the CA got to it.
            let waiting = |status| matches!(status, OrderStatus::Processing | OrderStatus::Ready);
            self.wait(&mut order, "issue the certificate", waiting).await?;
        }
        self.wait(&mut order, "issue the certificate", |status| {
            status == OrderStatus::Processing
        })
        .await?;
        if order.state().status != OrderStatus::Valid {
            return Err(self.why_lost(&mut order).await);
        }
        let pem = call!(self.wire, order.certificate())?;
        let pem = pem.ok_or(AcmeError::IssuedOther("there is none".to_owned()))?;
        Chain::check(pem.as_bytes(), self.request.request_der, self.request.identifiers)
            .map_err(AcmeError::IssuedOther)
    }

    /// Finds the order to resume, or makes a new one.
    async fn begin(&self, orders: &dyn SaveOrder) -> Result<Order, AcmeError> {
        let account = Account::builder_with_http(Box::new(self.wire.clone()))
            .from_credentials(self.session.credentials()?)
            .await
            .map_err(|error| self.wire.explain(&error))?;
        if let Some(url) = self.request.resume {
            return self.resume(&account, url).await;
        }
        self.progress.step(&format!(
            "ordering a certificate for {}",
            list(self.request.identifiers)
        ));
        let replaces = self
            .request
            .replaces
            .filter(|_| self.session.directory.has_renewal_info());
        match self.place(&account, replaces, orders).await {
            Err(error) if replaces.is_some() && is_refusal(&error) => {
                self.place(&account, None, orders).await?
            }
            result => result?,
        }
    }

    /// Makes a new order, and has its URL saved.
    ///
    /// The outer failure is that of making it, the inner one that of an order that was made.
    async fn place(
        &self,
        account: &Account,
        replaces: Option<&CertificateId>,
        orders: &dyn SaveOrder,
    ) -> Result<Result<Order, AcmeError>, AcmeError> {
        let names: Vec<instant_acme::Identifier> = self
            .request
            .identifiers
            .iter()
            .map(|name| instant_acme::Identifier::Dns(name.to_string()))
            .collect();
        let mut new_order = NewOrder::new(&names);
        if let Some((key_id, serial)) = replaces.and_then(CertificateId::halves) {
            new_order = new_order.replaces(CertificateIdentifier {
                authority_key_identifier: key_id.into(),
                serial: serial.into(),
            });
        }
        let mut saved: Option<Result<String, AcmeError>> = None;
        let placed = call!(self.wire, async {
            let mut placing = std::pin::pin!(account.new_order(&new_order));
            loop {
                tokio::select! {
                    biased;
                    () = self.wire.head_arrived(), if saved.is_none() => saved = self.save_location(orders),
                    result = &mut placing => {
                        saved = saved.take().or_else(|| self.save_location(orders));
                        return result;
                    }
                }
                if matches!(saved, Some(Err(_))) {
                    return Err(Error::Str("the order's URL is not saved"));
                }
            }
        });
        match (placed, saved) {
            (_, Some(Err(error))) => Err(error),
            (Ok(order), _) => Ok(Ok(order)),
            // The order is there, but its first answer is of no use: ask again.
            (Err(_), Some(Ok(url))) => Ok(call!(self.wire, account.order(url.clone()))),
            (Err(error), None) => Err(error),
        }
    }

    /// Has the order's URL saved, once there is one.
    fn save_location(&self, orders: &dyn SaveOrder) -> Option<Result<String, AcmeError>> {
        let url = self.wire.location()?;
        Some(orders.save(&url).map_err(AcmeError::NotSaved).map(|()| url))
    }

    /// Finds an order again.
    async fn resume(&self, account: &Account, url: &str) -> Result<Order, AcmeError> {
        self.progress.step(&format!(
            "resuming the order for {}",
            list(self.request.identifiers)
        ));
        let lost = |reason: String| AcmeError::OrderLost {
            url: url.to_owned(),
            reason,
        };
        let mut order = match call!(self.wire, account.order(url.to_owned())) {
            Ok(order) => order,
            Err(error) if is_gone(&error) => return Err(lost(error.to_string())),
            Err(error) => return Err(error),
        };
        match order.state() {
            state if state.status != OrderStatus::Invalid => Ok(order),
            state => {
                let reason = state.error.as_ref().map(|problem| convert(problem).to_string());
                Err(lost(reason.unwrap_or_else(|| "it is invalid".to_owned())))
            }
        }
    }

    /// Wins the authorizations that are still pending; when it returns, the order is no longer pending.
    async fn authorize(&self, order: &mut Order, placed: &mut Placed) -> Result<(), AcmeError> {
        let challenge = placed.present.challenge_type();
        let n_authorizations = order.state().authorizations.len();
        if n_authorizations > self.request.identifiers.len() {
            return Err(not_ours("more authorizations than identifiers"));
        }
        let mut pending = Vec::new();
        let mut refused = Vec::new();
        for index in 0..n_authorizations {
            let found = call!(self.wire, async {
                let mut all = skip(order, index).await?;
                let mut handle = all.next().await.ok_or(Error::Str("no such authorization"))??;
                Ok(self.look(index, &mut handle, challenge))
            });
            match found?? {
                Found::Pending(authorization) => pending.push(authorization),
                Found::Refused(failures) => refused.extend(failures),
                Found::Valid => {}
            }
        }
        if !refused.is_empty() {
            return Err(AcmeError::Challenge(refused));
        }
        if !pending.is_empty() {
            self.progress.step(&format!(
                "setting up {} for {}",
                challenge.name(),
                list_pending(&pending)
            ));
            placed
                .place(pending.iter().map(|each| each.response.clone()).collect())
                .await?;
            for authorization in pending.iter().filter(|each| each.is_unanswered) {
                self.answer(order, authorization.index, challenge).await?;
            }
            self.progress.step(&format!(
                "waiting for the CA to confirm {}",
                list_pending(&pending)
            ));
        }
        self.wait(order, "confirm the names", |status| {
            status == OrderStatus::Pending
        })
        .await?;
        if order.state().status == OrderStatus::Invalid {
            return Err(self.why_lost(order).await);
        }
        Ok(())
    }

    /// Reads the failure of a challenge in an order that was resumed: the CA may have looked while nothing was in place.
    fn lost_meanwhile(&self, error: AcmeError) -> AcmeError {
        match (self.request.resume, &error) {
            (Some(url), AcmeError::Challenge(_)) => AcmeError::OrderLost {
                url: url.to_owned(),
                reason: error.to_string(),
            },
            _ => error,
        }
    }

    /// Reads one authorization.
    fn look<'h>(
        &self,
        index: usize,
        handle: &'h mut AuthorizationHandle<'h>,
        wanted: ChallengeType,
    ) -> Result<Found, AcmeError> {
        let (name, identifier) = self.own_name(handle)?;
        match handle.status {
            AuthorizationStatus::Valid => return Ok(Found::Valid),
            AuthorizationStatus::Pending => {}
            _ => return Ok(Found::Refused(failures(&identifier, handle))),
        }
        let offered = handle
            .challenges
            .iter()
            .map(|each| type_name(&each.r#type))
            .collect();
        let Some(challenge) = handle.challenge(crate_type(wanted)) else {
            return Err(AcmeError::ChallengeNotOffered {
                identifier,
                wanted: wanted.name(),
                offered,
            });
        };
        if !is_token(&challenge.token) {
            return Err(not_ours(
                "a challenge whose token has characters that RFC 8555, 8.3 does not allow",
            ));
        }
        let key_authorization = challenge.key_authorization();
        Ok(Found::Pending(Pending {
            index,
            is_unanswered: challenge.status == ChallengeStatus::Pending,
            response: ChallengeResponse {
                name,
                token: challenge.token.clone(),
                key_authorization: key_authorization.as_str().to_owned(),
                txt: key_authorization.dns_value(),
            },
        }))
    }

    /// Returns an authorization's name, and how it is shown; refuses names that we did not order.
    fn own_name(&self, handle: &AuthorizationHandle<'_>) -> Result<(DomainName, String), AcmeError> {
        let authorized = handle.identifier();
        let name = match authorized.identifier {
            instant_acme::Identifier::Dns(name) => name.parse::<DomainName>().ok(),
            _ => None,
        };
        let name = name.ok_or_else(|| not_ours("an authorization for something that is no domain name"))?;
        let identifier = if authorized.wildcard {
            format!("*.{name}")
        } else {
            name.to_string()
        };
        if !self
            .request
            .identifiers
            .iter()
            .any(|ordered| ordered.to_string() == identifier)
        {
            return Err(not_ours("an authorization for a name that was not ordered"));
        }
        Ok((name, identifier))
    }

    /// Tells the CA that a response is in place.
    async fn answer(
        &self,
        order: &mut Order,
        index: usize,
        challenge: ChallengeType,
    ) -> Result<(), AcmeError> {
        call!(self.wire, async {
            let mut all = skip(order, index).await?;
            let mut handle = all.next().await.ok_or(Error::Str("no such authorization"))??;
            let mut challenge = handle
                .challenge(crate_type(challenge))
                .ok_or(Error::Str("no such challenge"))?;
            match challenge.set_ready().await {
                // Refused on the spot: the order's own state tells it for all names at once.
                Err(Error::Api(_)) if self.wire.is_success() => Ok(()),
                result => result,
            }
        })
    }

    /// Waits while the order's status is one of those, asking the CA again and again.
    async fn wait(
        &self,
        order: &mut Order,
        what: &'static str,
        waiting: impl Fn(OrderStatus) -> bool,
    ) -> Result<(), AcmeError> {
        let mut pauses = Pauses::new();
        let mut retry_after = self.wire.retry_after();
        let mut n_hiccups = 0;
        while waiting(order.state().status) {
            let pause = pauses.next(retry_after);
            if Instant::now() + pause > self.deadline {
                return Err(self.overdue(what, retry_after));
            }
            tokio::time::sleep(pause).await;
            match call!(self.wire, async { order.refresh().await.map(|_| ()) }) {
                Ok(()) => {
                    n_hiccups = 0;
                    retry_after = self.wire.retry_after();
                }
                Err(error) if error.is_passing() && n_hiccups < HICCUPS => {
                    n_hiccups += 1;
                    retry_after = error.retry_after();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn overdue(&self, what: &'static str, retry_after: Option<Duration>) -> AcmeError {
        AcmeError::Overdue {
            what,
            after: self.request.patience,
            retry_after,
        }
    }

    /// Finds out why an order is invalid: from its authorizations, else from itself.
    async fn why_lost(&self, order: &mut Order) -> AcmeError {
        let mut lost = Vec::new();
        for index in 0..order.state().authorizations.len() {
            let found = call!(self.wire, async {
                let mut all = skip(order, index).await?;
                let mut handle = all.next().await.ok_or(Error::Str("no such authorization"))??;
                handle.refresh().await?;
                let identifier = self.own_name(&handle).map(|(_, identifier)| identifier);
                Ok(identifier
                    .map(|identifier| failures(&identifier, &handle))
                    .unwrap_or_default())
            });
            match found {
                Ok(failures) => lost.extend(failures),
                // What is known by now has to do.
                Err(_) => break,
            }
        }
        if !lost.is_empty() {
            return AcmeError::Challenge(lost);
        }
        let state = order.state();
        let reason = match &state.error {
            Some(problem) => convert(problem).to_string(),
            None => format!("its status is {:?}", state.status).to_lowercase(),
        };
        AcmeError::OrderLost {
            url: order.url().to_owned(),
            reason,
        }
    }
}

/// Steps over the first authorizations; those known by now cost no request.
async fn skip(order: &mut Order, n: usize) -> Result<instant_acme::Authorizations<'_>, Error> {
    let mut all = order.authorizations();
    for _ in 0..n {
        all.next().await.ok_or(Error::Str("no such authorization"))??;
    }
    Ok(all)
}

/// Returns what went wrong with an authorization's challenges; nothing for one that is not lost.
fn failures(identifier: &str, handle: &AuthorizationHandle<'_>) -> Vec<ChallengeFailure> {
    let failure = |challenge: &instant_acme::Challenge| {
        let problem = convert(challenge.error.as_ref()?);
        let challenge = type_name(&challenge.r#type);
        Some(ChallengeFailure {
            identifier: identifier.to_owned(),
            challenge,
            problem,
        })
    };
    let mut failures: Vec<_> = handle.challenges.iter().filter_map(failure).collect();
    let is_lost = !matches!(
        handle.status,
        AuthorizationStatus::Pending | AuthorizationStatus::Valid
    );
    if failures.is_empty() && is_lost {
        let problem = Problem {
            detail: format!("the authorization is {:?}", handle.status).to_lowercase(),
            ..Problem::default()
        };
        let challenge = "an earlier challenge".to_owned();
        failures.push(ChallengeFailure {
            identifier: identifier.to_owned(),
            challenge,
            problem,
        });
    }
    failures
}

/// Returns whether the CA refused an order as such; then it may go without `replaces`.
fn is_refusal(error: &AcmeError) -> bool {
    matches!(error, AcmeError::Problem { .. } | AcmeError::Status { .. }) && !error.is_rate_limit()
}

/// Returns whether the CA has no such order for us (any more).
fn is_gone(error: &AcmeError) -> bool {
    match error {
        AcmeError::Problem { status, .. } | AcmeError::Status { status, .. } => {
            matches!(status, 400 | 403 | 404 | 410)
        }
        _ => false,
    }
}

/// Returns the error for an order that is not the one we made.
fn not_ours(what: &str) -> AcmeError {
    AcmeError::Invalid(format!("the CA's order has {what}"))
}

/// Converts the crate's problem document.
fn convert(problem: &instant_acme::Problem) -> Problem {
    let subproblem = |sub: &instant_acme::Subproblem| Problem {
        kind: sub.r#type.clone().unwrap_or_default(),
        detail: sub.detail.clone().unwrap_or_default(),
        identifier: sub.identifier.as_ref().map(|identifier| ProblemIdentifier {
            value: identifier.authorized(false).to_string(),
        }),
        subproblems: Vec::new(),
    };
    Problem {
        kind: problem.r#type.clone().unwrap_or_default(),
        detail: problem.detail.clone().unwrap_or_default(),
        identifier: None,
        subproblems: problem.subproblems.iter().map(subproblem).collect(),
    }
}

/// Returns the crate's word for a challenge.
fn crate_type(challenge: ChallengeType) -> instant_acme::ChallengeType {
    match challenge {
        ChallengeType::Dns01 => instant_acme::ChallengeType::Dns01,
        ChallengeType::Http01 => instant_acme::ChallengeType::Http01,
    }
}

/// Returns the standard's word for a challenge.
fn type_name(challenge: &instant_acme::ChallengeType) -> String {
    match challenge {
        instant_acme::ChallengeType::Dns01 => "dns-01".to_owned(),
        instant_acme::ChallengeType::Http01 => "http-01".to_owned(),
        instant_acme::ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        instant_acme::ChallengeType::DeviceAttest01 => "device-attest-01".to_owned(),
        instant_acme::ChallengeType::Unknown(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

/// Names what an order is for; a long list is cut.
fn list(identifiers: &[Identifier]) -> String {
    shorten(identifiers.iter().map(ToString::to_string))
}

/// Names what is to be won.
fn list_pending(pending: &[Pending]) -> String {
    shorten(pending.iter().map(|each| each.response.name.to_string()))
}

fn shorten(names: impl ExactSizeIterator<Item = String>) -> String {
    let n_more = names.len().saturating_sub(3);
    let mut text = names.take(3).collect::<Vec<_>>().join(", ");
    if n_more > 0 {
        text.push_str(&format!(" and {n_more} more"));
    }
    text
}
