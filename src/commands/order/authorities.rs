//! The CAs that a run may ask, in the order in which they are tried, and one session at each, opened when it is needed.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::{Mutex, OnceCell};

use super::{admission::Admission, refusal::Refusal};
use crate::{
    acme::account::Session,
    commands::{
        Context,
        ca::{self, Opened},
    },
    config::Acme,
    model::lineage::Lineage,
};

/// After so many failures in a row a CA is not asked again in the same run.
const GIVEN_UP: u32 = 3;

/// All of them.
pub(super) struct Authorities(Vec<Authority>);

/// One CA.
pub(super) struct Authority {
    /// The configuration as it holds for this CA.
    pub acme: Acme,
    /// What may be ordered there.
    pub admission: Admission,
    /// Whether another one comes before it.
    pub is_fallback: bool,
    /// The session, or why there is none; lineages that come meanwhile wait for the same one.
    opened: OnceCell<Result<Arc<Session>, Refusal>>,
    /// The session of an account that was registered again. Locked while that is done, so that it is done once.
    again: Mutex<Option<Arc<Session>>>,
    /// How often in a row it was down.
    n_down: AtomicU32,
    /// What it was like when it was given up.
    down: OnceCell<Refusal>,
}

impl Authorities {
    /// Returns the CAs of the configuration; nobody is asked yet.
    pub fn new(context: &Context<'_>, acme: &Acme) -> Self {
        let directories = std::iter::once(&acme.directory).chain(&acme.fallback);
        let authority = |(index, directory): (usize, &String)| {
            let acme = if index == 0 {
                acme.clone()
            } else {
                acme.at(directory)
            };
            Authority {
                admission: Admission::new(context, &acme),
                acme,
                is_fallback: index > 0,
                opened: OnceCell::new(),
                again: Mutex::const_new(None),
                n_down: AtomicU32::new(0),
                down: OnceCell::new(),
            }
        };
        Self(directories.enumerate().map(authority).collect())
    }

    /// Returns their directories.
    pub fn directories(&self) -> Vec<&str> {
        self.0
            .iter()
            .map(|authority| authority.acme.directory.as_str())
            .collect()
    }

    /// Returns whom to ask for a lineage, in order: first the one where an order is in flight, or else a second
    /// certificate might be issued.
    pub fn for_lineage(&self, lineage: &Lineage) -> Vec<&Authority> {
        let in_flight = lineage.order.as_ref().filter(|order| order.url.is_some());
        let mut all: Vec<&Authority> = self.0.iter().collect();
        // Stable: the others stay in their order.
        all.sort_by_key(|authority| {
            in_flight.is_none_or(|order| order.directory != authority.acme.directory)
        });
        all
    }
}

impl Authority {
    /// Returns the conversation with this CA; begins it when nobody has.
    ///
    /// # Errors
    /// When it cannot be reached or refuses the account.
    pub async fn session(&self, context: &Context<'_>) -> Result<Arc<Session>, Refusal> {
        if let Some(down) = self.down.get() {
            return Err(down.clone());
        }
        if let Some(again) = self.again.lock().await.as_ref() {
            return Ok(Arc::clone(again));
        }
        let opened = self.opened.get_or_init(|| async {
            let opened = if self.is_fallback {
                ca::open_fallback(context, &self.acme).await
            } else {
                ca::open(context, &self.acme).await
            };
            opened.map(Arc::new).map_err(|failure| match failure {
                Opened::Failed(error) => Refusal::of_session(&self.acme.directory, &error, context.now()),
                Opened::Unusable(error) => Refusal::unusable(error),
                Opened::Refused(error) => error.into(),
            })
        });
        opened.await.clone()
    }

    /// Registers the account anew, since the CA has forgotten it: once, however many lineages hear of it.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub async fn register_again(&self, context: &Context<'_>, lost: &Arc<Session>) -> Result<(), Refusal> {
        let mut again = self.again.lock().await;
        let current = again
            .as_ref()
            .or_else(|| self.opened.get().and_then(|opened| opened.as_ref().ok()));
        if current.is_some_and(|current| !Arc::ptr_eq(current, lost)) {
            return Ok(());
        }
        *again = Some(Arc::new(ca::register_again(context, &self.acme).await?));
        Ok(())
    }

    /// Keeps how it went: who was down several times in a row is left alone for the rest of the run.
    pub fn note(&self, refusal: Option<&Refusal>) {
        match refusal.filter(|refusal| refusal.is_down()) {
            None => self.n_down.store(0, Ordering::Relaxed),
            Some(refusal) => {
                if self.n_down.fetch_add(1, Ordering::Relaxed) + 1 >= GIVEN_UP {
                    // The first to come this far says why.
                    let _ = self.down.set(refusal.clone());
                }
            }
        }
    }
}
