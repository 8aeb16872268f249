//! Wires the challenge of the configuration: http-01 and tls-alpn-01 by our listeners, http-01 by a web root, dns-01 by the
//! DNS provider; or any of them by a program of the operator's.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Context, dns, firewall,
    hooks::{self, ByHook},
};
use crate::{
    acme::{
        AcmeError,
        challenge::{
            BoxFuture, ChallengeResponse, ChallengeType, Present,
            dns01::{Dns01, DnsFailure, Records, TxtValue},
            http01, tls_alpn01,
            webroot::Webroot,
        },
    },
    config::{Acme, Challenge, Http01},
    dns::{
        challenge::{self, Presented},
        error::DnsError,
        provider::{self, Provider, httpreq::HttpReq},
        resolver::Resolver,
    },
    env::progress::Progress,
    error::Result,
    model::name::DomainName,
};

/// The one solver of a run; orders share it.
pub struct Solvers {
    present: Arc<dyn Present>,
    /// The program that puts responses in place, where there is one.
    by_hook: Option<Arc<ByHook>>,
}

/// However many names there are, an order is left to the next run after this.
const LONGEST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(40 * 60);

impl Solvers {
    /// Makes what the configuration wants; nothing is bound or written yet.
    ///
    /// # Errors
    /// When the DNS provider cannot be used, or the program is missing or not to be trusted.
    pub fn new(context: &Context<'_>, acme: &Acme) -> Result<Self> {
        if let Some(hook) = &acme.challenge_hook {
            let by_hook = Arc::new(hooks::challenge(context, acme, hook)?);
            return Ok(Self {
                present: Arc::clone(&by_hook) as Arc<dyn Present>,
                by_hook: Some(by_hook),
            });
        }
        let present: Arc<dyn Present> = match &acme.challenge {
            Challenge::Http01(Http01::Listen(addresses)) => firewall::opened(
                context,
                Arc::new(http01::Listener::new(addresses.clone())),
                addresses,
                80,
            ),
            Challenge::Http01(Http01::Webroot(root)) => Arc::new(Webroot::new(root.clone())),
            Challenge::TlsAlpn01(addresses) => firewall::opened(
                context,
                Arc::new(tls_alpn01::Listener::new(addresses.clone())),
                addresses,
                443,
            ),
            Challenge::Dns01 => dns01(context)?,
        };
        Ok(Self {
            present,
            by_hook: None,
        })
    }

    /// Returns the solver.
    pub fn solver(&self) -> &Arc<dyn Present> {
        &self.present
    }

    /// Returns how much longer an order for so many names may take than without the operator's programs.
    pub fn patience(&self, n_names: usize) -> std::time::Duration {
        self.by_hook
            .as_ref()
            .map_or(std::time::Duration::ZERO, |by_hook| by_hook.patience(n_names))
            .min(LONGEST_PATIENCE)
    }
}

/// Returns the solver for dns-01.
fn dns01(context: &Context<'_>) -> Result<Arc<dyn Present>> {
    let resolver = dns::resolver(context);
    let timeout = context.config.dns.timeout;
    if let Some(server) = dns::told_of_challenges(context)? {
        return Ok(Arc::new(Told {
            server,
            resolver,
            timeout,
            begun: Mutex::default(),
        }));
    }
    Ok(Arc::new(Records(Writer {
        resolver,
        provider: dns::provider(context)?,
        progress: context.progress.clone(),
        timeout,
        presented: Mutex::default(),
    })))
}

/// Tells a server of challenges, and waits for the records that it makes of them.
struct Told {
    server: HttpReq,
    resolver: Resolver,
    timeout: std::time::Duration,
    /// The tokens of which it has, or may have, made records.
    begun: Mutex<HashSet<String>>,
}

impl Told {
    async fn put_in_place(&self, responses: &[ChallengeResponse]) -> std::result::Result<(), DnsError> {
        let dns = challenge::Dns01 {
            resolver: &self.resolver,
            provider: &(),
            timeout: self.timeout,
        };
        let pairs: Vec<(DomainName, String)> = responses
            .iter()
            .map(|each| (each.name.clone(), each.txt.clone()))
            .collect();
        // First: whoever looks for a place that is nowhere tells nobody.
        let located = dns.locate(&pairs).await?;
        for each in responses {
            self.begun().insert(each.token.clone());
            self.server
                .present_challenge(&each.name, &each.token, &each.key_authorization)
                .await?;
        }
        dns.wait(&located).await
    }

    async fn take_away(&self, responses: &[ChallengeResponse]) -> std::result::Result<(), DnsError> {
        let mut result = Ok(());
        for each in responses {
            if self.begun().remove(&each.token) {
                let taken = self
                    .server
                    .cleanup_challenge(&each.name, &each.token, &each.key_authorization);
                // Every one is tried.
                result = result.and(taken.await);
            }
        }
        result
    }

    fn begun(&self) -> MutexGuard<'_, HashSet<String>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present for Told {
    fn challenge_type(&self) -> ChallengeType {
        ChallengeType::Dns01
    }

    fn present<'a>(
        &'a self,
        responses: &'a [ChallengeResponse],
    ) -> BoxFuture<'a, std::result::Result<(), AcmeError>> {
        Box::pin(async move {
            let placed = self.put_in_place(responses).await;
            placed.map_err(|error| AcmeError::Dns01(Box::new(error)))
        })
    }

    fn cleanup<'a>(
        &'a self,
        responses: &'a [ChallengeResponse],
    ) -> BoxFuture<'a, std::result::Result<(), AcmeError>> {
        Box::pin(async move {
            let taken = self.take_away(responses).await;
            taken.map_err(|error| AcmeError::Dns01(Box::new(error)))
        })
    }

    /// A token of nobody's is not told to a server that may keep books.
    fn may_be_tried(&self) -> bool {
        false
    }
}

/// Writes challenge records through the DNS provider.
struct Writer {
    resolver: Resolver,
    provider: Arc<dyn Provider>,
    progress: Progress,
    timeout: std::time::Duration,
    /// Where values were put, so that they are taken away there even when a CNAME changes meanwhile.
    presented: Mutex<HashMap<Vec<(DomainName, String)>, Presented>>,
}

impl Writer {
    fn challenges(&self) -> challenge::Dns01<'_, dyn Provider> {
        challenge::Dns01 {
            resolver: &self.resolver,
            provider: self.provider.as_ref(),
            timeout: self.timeout,
        }
    }

    fn tell(&self) {
        for note in self.provider.take_notes() {
            self.progress.done(&note);
        }
    }
}

fn pairs(values: &[TxtValue]) -> Vec<(DomainName, String)> {
    values
        .iter()
        .map(|each| (each.name.clone(), each.value.clone()))
        .collect()
}

impl Dns01 for Writer {
    fn present<'a>(&'a self, values: &'a [TxtValue]) -> BoxFuture<'a, Result<(), DnsFailure>> {
        Box::pin(async move {
            let values = pairs(values);
            let presented = self.challenges().present(&values).await;
            self.tell();
            let presented = presented?;
            self.presented
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(values, presented);
            Ok(())
        })
    }

    fn cleanup<'a>(&'a self, values: &'a [TxtValue]) -> BoxFuture<'a, Result<(), DnsFailure>> {
        Box::pin(async move {
            let values = pairs(values);
            let known = self
                .presented
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&values);
            let presented = match known {
                Some(presented) => presented,
                // What a person has not published in time is on its way: he is not told to take it back.
                None if self.provider.capabilities().writer == provider::Writer::Person => return Ok(()),
                None => self.challenges().locate(&values).await?,
            };
            let cleaned = self.challenges().cleanup(&presented).await;
            self.tell();
            Ok(cleaned?)
        })
    }
}
