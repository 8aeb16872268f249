//! Carries the requests of `instant-acme` over our [`Http`], and keeps what that crate drops.
//!
//! It drops the headers of failures, `Retry-After` and `Location` among them, and the status of an answer that is no
//! JSON; it asks for a nonce where one is at hand. All that is mended here. One wire serves one conversation: requests
//! follow each other, so that "the last answer" means something.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::sync::Notify;

use super::{
    error::AcmeError,
    http::{Answer, Http},
    link, poll,
};

/// The wire; clones are the same wire.
#[derive(Clone)]
pub(crate) struct Wire {
    http: Http,
    memory: Arc<Mutex<Memory>>,
    head_arrived: Arc<Notify>,
}

/// What is remembered of the conversation.
#[derive(Default)]
struct Memory {
    /// The last answer; its body is empty while it is still on its way.
    last: Option<Answer>,
    /// Why the last request got no answer.
    failure: Option<AcmeError>,
    /// The nonce of the last answer, while nobody used it.
    nonce: Option<String>,
}

/// How often a call's nonce was rejected, and since when.
pub(crate) struct Refusals {
    begin: Instant,
    n: u32,
}

/// Makes one call of the crate, again for a minute while its nonce is rejected: far beyond the crate's three tries.
///
/// A macro and not a function that takes an async closure: a future with such a closure that borrows is not `Send`.
macro_rules! call {
    ($wire:expr, $call:expr) => {{
        let mut refusals = $wire.begin();
        loop {
            $wire.forget();
            let result = $call.await;
            if let Some(judged) = $wire.judge(result, &mut refusals).await {
                break judged;
            }
        }
    }};
}
pub(crate) use call;

impl Wire {
    /// Makes a wire that begins with this nonce.
    pub fn new(http: Http, nonce: Option<String>) -> Self {
        let memory = Memory {
            nonce,
            ..Memory::default()
        };
        Self {
            http,
            memory: Arc::new(Mutex::new(memory)),
            head_arrived: Arc::new(Notify::new()),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the headers of an answer.
    pub async fn head_arrived(&self) {
        self.head_arrived.notified().await;
    }

    /// Forgets the last answer, so that the next one is that of the next request.
    pub fn forget(&self) {
        let mut memory = self.memory();
        memory.last = None;
        memory.failure = None;
    }

    /// Returns the `Location` of the last answer, when that was a success.
    pub fn location(&self) -> Option<String> {
        let memory = self.memory();
        let last = memory.last.as_ref().filter(|last| last.status.is_success())?;
        last.header(header::LOCATION).map(str::to_owned)
    }

    /// Returns when the last answer wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.memory().last.as_ref()?.retry_after()
    }

    /// Returns whether the last answer was a success.
    pub fn is_success(&self) -> bool {
        self.memory()
            .last
            .as_ref()
            .is_some_and(|last| last.status.is_success())
    }

    /// Takes the unused nonce out.
    pub fn take_nonce(&self) -> Option<String> {
        self.memory().nonce.take()
    }

    /// Puts a nonce in that was not used.
    pub fn put_nonce(&self, nonce: Option<String>) {
        self.memory().nonce = nonce;
    }

    /// Returns the URLs of the alternates that the last answer names.
    pub fn alternates(&self) -> Vec<String> {
        let memory = self.memory();
        let Some(last) = &memory.last else {
            return Vec::new();
        };
        let headers = last.headers.get_all(header::LINK).iter();
        link::alternates(&last.url, headers.filter_map(|value| value.to_str().ok()))
    }

    /// Begins a call of the crate; for [`call`].
    pub fn begin(&self) -> Refusals {
        Refusals {
            begin: Instant::now(),
            n: 0,
        }
    }

    /// Judges a call of the crate; `None` when it is to be made again. For [`call`].
    pub async fn judge<T>(
        &self,
        result: Result<T, Error>,
        refusals: &mut Refusals,
    ) -> Option<Result<T, AcmeError>> {
        let error = match result {
            Ok(value) => return Some(Ok(value)),
            Err(error) => self.explain(&error),
        };
        if !error.is_bad_nonce() {
            return Some(Err(error));
        }
        refusals.n += 1;
        match poll::nonce_pause(refusals.n, refusals.begin.elapsed()) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Some(Err(error)),
        }
        None
    }

    /// Says what was behind an error of the crate.
    pub fn explain(&self, error: &Error) -> AcmeError {
        let mut memory = self.memory();
        if let Some(failure) = memory.failure.take() {
            return failure;
        }
        match &memory.last {
            Some(last) if !last.status.is_success() => last.refusal(),
            Some(last) => last.not_acme(error),
            None => AcmeError::Invalid(format!("the ACME library failed: {error}")),
        }
    }

    /// Sends a request, or answers it from what is at hand.
    async fn carry(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let is_post = parts.method == Method::POST;
        // Whoever posts now has the nonce of the last answer, or took one here: either way ours is used up.
        let nonce = self.memory().nonce.take();
        if let (&Method::HEAD, Some(nonce)) = (&parts.method, nonce) {
            let response = Response::builder()
                .header("replay-nonce", nonce)
                .body(Full::<Bytes>::default())?;
            return Ok(BytesResponse::from(response));
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let url = parts.uri.to_string();
        let sent = self
            .http
            .send(parts.method, &url, is_post.then_some(body), |head| {
                let mut memory = self.memory();
                memory.nonce = if is_post { head.nonce() } else { None };
                memory.last = Some(head.clone());
                drop(memory);
                self.head_arrived.notify_one();
            });
        match sent.await {
            Ok(answer) => {
                let mut response = Response::new(Full::new(answer.body.clone()));
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers.clone();
                self.memory().last = Some(answer);
                Ok(BytesResponse::from(response))
            }
            Err(failure) => {
                self.memory().failure = Some(failure);
                Err(Error::Str("no answer"))
            }
        }
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().carry(request))
    }
}
