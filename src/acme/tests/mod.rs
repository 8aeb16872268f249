//! Whole conversations: with a scripted CA that misbehaves (`fake_ca`), and with Pebble (`pebble`).

mod fake_ca;
mod pebble;

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    account::{AccountRecord, Registration, Session},
    challenge::{BoxFuture, ChallengeResponse, ChallengeType, Present},
    directory::Directory,
    error::AcmeError,
    http::Http,
    order::{self, Issued, OrderRequest, SaveOrder},
    renewal_info::CertificateId,
};
use crate::{
    env::progress::Progress,
    model::{
        key::{KeyType, PrivateKey},
        name::Identifier,
    },
};

/// Remembers the orders that were saved.
#[derive(Default)]
struct Saved(Mutex<Vec<String>>);

impl Saved {
    fn urls(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl SaveOrder for Saved {
    fn save(&self, url: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.lock().unwrap().push(url.to_owned());
        Ok(())
    }
}

/// A disk that is full.
struct Full;

impl SaveOrder for Full {
    fn save(&self, _: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err("no space left on device".into())
    }
}

/// Writes down what it is told to do, and does nothing.
struct Notes {
    challenge: ChallengeType,
    lines: Mutex<Vec<String>>,
}

impl Notes {
    fn new(challenge: ChallengeType) -> Arc<Self> {
        Arc::new(Self {
            challenge,
            lines: Mutex::default(),
        })
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn note(&self, what: &str, responses: &[ChallengeResponse]) {
        let mut names: Vec<String> = responses.iter().map(|each| each.name.to_string()).collect();
        names.sort();
        self.lines
            .lock()
            .unwrap()
            .push(format!("{what} {}", names.join(" ")));
    }
}

impl Present for Notes {
    fn challenge_type(&self) -> ChallengeType {
        self.challenge
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        self.note("present", responses);
        Box::pin(async { Ok(()) })
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        self.note("cleanup", responses);
        Box::pin(async { Ok(()) })
    }
}

/// A key, and what it is to be certified for.
struct Wish {
    key: PrivateKey,
    identifiers: Vec<Identifier>,
    request_der: Vec<u8>,
}

impl Wish {
    fn new(key_type: KeyType, names: &[&str]) -> Self {
        let key = PrivateKey::generate(key_type).unwrap();
        let identifiers: Vec<Identifier> = names.iter().map(|name| name.parse().unwrap()).collect();
        let request_der = key.request_der(&identifiers).unwrap();
        Self {
            key,
            identifiers,
            request_der,
        }
    }

    async fn obtain(
        &self,
        session: &Session,
        present: &Arc<dyn Present>,
        orders: &dyn SaveOrder,
        resume: Option<&str>,
        replaces: Option<&CertificateId>,
    ) -> Result<Issued, AcmeError> {
        let request = OrderRequest {
            identifiers: &self.identifiers,
            request_der: &self.request_der,
            resume,
            replaces,
            profile: None,
            preferred_chain: None,
            patience: Duration::from_secs(120),
        };
        order::obtain(
            session,
            request,
            present,
            orders,
            &order::Stop::never(),
            &Progress::quiet(),
        )
        .await
    }
}

const AGREED: Registration<'_> = Registration {
    contact: &[],
    terms_of_service_agreed: true,
    external_account: None,
};

/// Begins a conversation under a new account.
async fn open(http: &Http, url: &str) -> Result<Session, AcmeError> {
    let directory = Directory::fetch(http, url).await?;
    Session::open(http.clone(), directory, AccountRecord::generate(url)?, AGREED).await
}

/// Tasks of a runtime with several threads may carry an order.
#[test]
fn an_order_may_move_between_threads() {
    fn is_send(_: impl Send) {}
    let _ =
        |session: &Session, present: &Arc<dyn Present>, orders: &dyn SaveOrder, request: OrderRequest<'_>| {
            is_send(order::obtain(
                session,
                request,
                present,
                orders,
                &order::Stop::never(),
                &Progress::quiet(),
            ));
        };
}
