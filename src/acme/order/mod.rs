//! Gets a certificate: an order from its beginning, or from where a crash left it (RFC 8555, 7.4 and 7.5).
//!
//! The order's URL goes to the caller as soon as the CA's headers are here, before the rest of the answer is looked at:
//! a crash a moment later finds the order again. All challenges are set up together, answered together, and waited for
//! together. They are taken away in every case.

mod authorization;
mod beginning;
mod collecting;
mod placed;
mod words;

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, Instant},
};

use instant_acme::{Order, OrderStatus};

use super::{
    account::Session,
    chain::Chain,
    challenge::{Present, Verdict},
    error::AcmeError,
    poll::Pauses,
    renewal_info::CertificateId,
    wire::{Wire, call},
};
use crate::{env::progress::Progress, model::name::Identifier};
use collecting::Picked;
use placed::Placed;

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
    /// The CA's profile to order by.
    pub profile: Option<&'a str>,
    /// The issuer's common name of the topmost certificate in the chain that is wanted.
    pub preferred_chain: Option<&'a str>,
    /// How long all of it may take, the challenges' set-up included.
    pub patience: Duration,
}

/// What was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The chain, checked to be ours.
    pub chain: Chain,
    /// The chains that the CA has, by the issuer of their topmost certificate, when none of them is the preferred one.
    pub other_chains: Option<Vec<String>>,
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

    /// Hears that the CA refused the order with what it says to replace; answers whether it may go without.
    ///
    /// Without, it counts towards the CA's limits.
    fn may_go_without_replaces(&self) -> bool {
        true
    }
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
    let mut placed = Placed::new(present.clone());
    let mut result = tokio::select! {
        result = tokio::time::timeout(request.patience, run.obtain(orders, &mut placed)) => match result {
            Ok(result) => result,
            Err(_) => Err(run.overdue("finish the order", None)),
        },
        () = stop.wanted() => Err(AcmeError::Interrupted),
    };
    session.put_nonce(wire.take_nonce());
    if let Err(AcmeError::Challenge(failures)) = &mut result {
        let remark = placed.remark().await;
        for failure in failures {
            failure.remark.clone_from(&remark);
        }
    }
    if let Err(error) = &result {
        placed.tell(Verdict::Failed(error)).await;
    }
    placed.take_away().await;
    let leftovers = placed.leftovers();
    match result {
        Ok(picked) => Ok(Issued {
            chain: picked.chain,
            other_chains: picked.others,
            leftovers,
        }),
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
    pub async fn wanted(&self) {
        let mut said = self.0.clone();
        if said.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
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
    async fn obtain(&self, orders: &dyn SaveOrder, placed: &mut Placed) -> Result<Picked, AcmeError> {
        let mut order = self.begin(orders).await?;
        if order.state().status == OrderStatus::Pending {
            let authorized = self.authorize(&mut order, placed).await;
            authorized.map_err(|error| self.lost_meanwhile(error))?;
            placed.tell(Verdict::Confirmed).await;
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
        self.collect(&mut order).await
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
}

/// Names some things; a long list is cut.
fn shorten(names: impl ExactSizeIterator<Item = String>) -> String {
    let n_more = names.len().saturating_sub(3);
    let mut text = names.take(3).collect::<Vec<_>>().join(", ");
    if n_more > 0 {
        text.push_str(&format!(" and {n_more} more"));
    }
    text
}
