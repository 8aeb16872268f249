//! http-01 by a listener of our own (RFC 8555, 8.3), bound only while the CA validates.
//!
//! It serves `/.well-known/acme-challenge/TOKEN` for the tokens of the moment, and nothing else. Anyone may connect to
//! it, so connections, bytes and time are limited.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex as AsyncMutex, Semaphore},
    task::JoinHandle,
};

use super::{BoxFuture, ChallengeResponse, ChallengeType, Present, port_holder};
use crate::acme::error::AcmeError;

/// How many connections are served at the same time; more wait.
const CONNECTIONS: usize = 64;
/// How large a request may be, in bytes.
const REQUEST: usize = 8 << 10;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// What stands before the token.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// The tokens of the moment, with their key authorizations.
type Tokens = Arc<Mutex<HashMap<String, String>>>;

/// http-01 by a listener of our own.
pub struct Listener {
    addresses: Vec<SocketAddr>,
    tokens: Tokens,
    /// The tasks that accept, while it is bound.
    accepting: AsyncMutex<Vec<Accepting>>,
}

/// A task that accepts; ends, and unbinds, with its owner.
struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Names the addresses; without any, port 80 on every address family. Nothing is bound yet.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            tokens: Tokens::default(),
            accepting: AsyncMutex::default(),
        }
    }

    /// Binds all addresses.
    fn bind(&self) -> Result<Vec<TcpListener>, AcmeError> {
        if !self.addresses.is_empty() {
            return self.addresses.iter().map(|address| bind(*address)).collect();
        }
        let v6 = bind((Ipv6Addr::UNSPECIFIED, 80).into());
        let v4 = bind((Ipv4Addr::UNSPECIFIED, 80).into());
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
            // A host without one of the two families.
            (Ok(one), Err(AcmeError::Bind { .. })) | (Err(AcmeError::Bind { .. }), Ok(one)) => Ok(vec![one]),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn start(&self, responses: &[ChallengeResponse]) -> Result<(), AcmeError> {
        let mut accepting = self.accepting.lock().await;
        if accepting.is_empty() {
            let slots = Arc::new(Semaphore::new(CONNECTIONS));
            *accepting = self
                .bind()?
                .into_iter()
                .map(|listener| Accepting(tokio::spawn(accept(listener, self.tokens.clone(), slots.clone()))))
                .collect();
        }
        let new = responses
            .iter()
            .map(|each| (each.token.clone(), each.key_authorization.clone()));
        lock(&self.tokens).extend(new);
        Ok(())
    }

    async fn stop(&self, responses: &[ChallengeResponse]) {
        let mut accepting = self.accepting.lock().await;
        let is_idle = {
            let mut tokens = lock(&self.tokens);
            tokens.retain(|token, _| responses.iter().all(|each| each.token != *token));
            tokens.is_empty()
        };
        if is_idle {
            for mut task in accepting.drain(..) {
                task.0.abort();
                // Waited for, so that the port is free when we return.
                let _ = (&mut task.0).await;
            }
        }
    }
}

impl Present for Listener {
    fn challenge_type(&self) -> ChallengeType {
        ChallengeType::Http01
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(self.start(responses))
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            self.stop(responses).await;
            Ok(())
        })
    }
}

fn lock(tokens: &Tokens) -> MutexGuard<'_, HashMap<String, String>> {
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds one address.
fn bind(address: SocketAddr) -> Result<TcpListener, AcmeError> {
    let open = || -> std::io::Result<TcpListener> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            // So that `[::]` leaves room for `0.0.0.0` beside it.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 128)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => AcmeError::PortTaken {
            address,
            holder: port_holder::find(address),
        },
        std::io::ErrorKind::PermissionDenied => {
            let reason = "ports below 1024 are for root, or a process with CAP_NET_BIND_SERVICE".to_owned();
            AcmeError::Bind { address, reason }
        }
        _ => AcmeError::Bind {
            address,
            reason: error.to_string(),
        },
    })
}

/// Accepts connections until it is aborted.
async fn accept(listener: TcpListener, tokens: Tokens, slots: Arc<Semaphore>) {
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let tokens = tokens.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PATIENCE, serve(stream, &tokens)).await;
                    drop(slot);
                });
            }
            // Out of descriptors, most likely: a moment later there may be one.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Answers one request and closes.
async fn serve(mut stream: TcpStream, tokens: &Tokens) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(1024);
    while !is_whole(&request) {
        if request.len() >= REQUEST {
            return Ok(());
        }
        let room = REQUEST - request.len();
        if (&mut stream).take(room as u64).read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let answer = answer(&request, &lock(tokens));
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Returns whether the header section has come to its end.
fn is_whole(request: &[u8]) -> bool {
    request.windows(4).any(|window| window == b"\r\n\r\n")
        || request.windows(2).any(|window| window == b"\n\n")
}

/// Returns the whole answer to a request.
fn answer(request: &[u8], tokens: &HashMap<String, String>) -> String {
    let body = requested(request).and_then(|(method, token)| Some((method, tokens.get(token)?)));
    let (status, method, body) = match body {
        Some((method, body)) => ("200 OK", method, body.as_str()),
        None => ("404 Not Found", Method::Get, ""),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    match method {
        Method::Get => head + body,
        Method::Head => head,
    }
}

/// The methods we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

/// Reads the method and the token out of a request (RFC 9112, 3).
fn requested(request: &[u8]) -> Option<(Method, &str)> {
    let line = request.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut parts = str::from_utf8(line).ok()?.split(' ');
    let method = match parts.next()? {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return None,
    };
    let target = parts.next()?;
    if !parts.next()?.starts_with("HTTP/1.") || parts.next().is_some() {
        return None;
    }
    // A proxy in between may ask in absolute form.
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => target,
    };
    let path = path.split('?').next()?;
    Some((method, path.strip_prefix(PREFIX)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_known_tokens_and_nothing_else() {
        let tokens = HashMap::from([("t1".to_owned(), "t1.thumb".to_owned())]);
        let check = |request: &str, expected: Option<&str>| {
            let text = answer(request.as_bytes(), &tokens);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(
                head.starts_with("HTTP/1.1 200 OK\r\n"),
                expected.is_some(),
                "{request} {text}"
            );
            assert_eq!(body, expected.unwrap_or_default(), "{request}");
        };
        check(
            "GET /.well-known/acme-challenge/t1 HTTP/1.1\r\nHost: a\r\n\r\n",
            Some("t1.thumb"),
        );
        check(
            "GET /.well-known/acme-challenge/t1?x=y HTTP/1.0\r\n\r\n",
            Some("t1.thumb"),
        );
        check(
            "GET http://a.test/.well-known/acme-challenge/t1 HTTP/1.1\r\n\r\n",
            Some("t1.thumb"),
        );
        check("HEAD /.well-known/acme-challenge/t1 HTTP/1.1\r\n\r\n", Some(""));
        check("POST /.well-known/acme-challenge/t1 HTTP/1.1\r\n\r\n", None);
        check("GET /.well-known/acme-challenge/t2 HTTP/1.1\r\n\r\n", None);
        check("GET /.well-known/acme-challenge/ HTTP/1.1\r\n\r\n", None);
        check("GET /.well-known/acme-challenge/../../t1 HTTP/1.1\r\n\r\n", None);
        check("GET /etc/passwd HTTP/1.1\r\n\r\n", None);
        check("GET / HTTP/1.1\r\n\r\n", None);
        check("GET http://a.test HTTP/1.1\r\n\r\n", None);
        check("\r\n\r\n", None);
        assert_eq!(requested(b"GET \xff HTTP/1.1\r\n\r\n"), None);
    }

    fn response(token: &str) -> ChallengeResponse {
        ChallengeResponse {
            name: "a.example.test".parse().unwrap(),
            token: token.into(),
            key_authorization: format!("{token}.thumb"),
            txt: String::new(),
        }
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// A free port on an address that no other test uses.
    fn free_address(last: u8) -> SocketAddr {
        std::net::TcpListener::bind((Ipv4Addr::new(127, 64, 7, last), 0))
            .unwrap()
            .local_addr()
            .unwrap()
    }

    #[tokio::test]
    async fn is_bound_only_while_there_are_tokens() {
        let address = free_address(1);
        let listener = Listener::new(vec![address]);
        let get = |token: &str| format!("GET {PREFIX}{token} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        listener.present(&[response("t1")]).await.unwrap();
        listener.present(&[response("t2")]).await.unwrap();
        assert!(ask(address, &get("t1")).await.unwrap().ends_with("t1.thumb"));
        listener.cleanup(&[response("t1")]).await.unwrap();
        assert!(
            ask(address, &get("t1"))
                .await
                .unwrap()
                .starts_with("HTTP/1.1 404")
        );
        assert!(ask(address, &get("t2")).await.unwrap().ends_with("t2.thumb"));
        listener.cleanup(&[response("t2")]).await.unwrap();
        assert!(ask(address, &get("t2")).await.is_err());
        listener.cleanup(&[response("t2")]).await.unwrap();
    }

    #[tokio::test]
    async fn drops_a_request_that_is_too_large() {
        let address = free_address(2);
        let listener = Listener::new(vec![address]);
        listener.present(&[response("t1")]).await.unwrap();
        let text = ask(address, &vec![b'x'; REQUEST]).await.unwrap_or_default();
        assert_eq!(text, "");
    }

    #[tokio::test]
    async fn says_who_has_the_port() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Listener::new(vec![address])
            .present(&[response("t1")])
            .await
            .unwrap_err();
        let AcmeError::PortTaken {
            holder: Some(holder), ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(holder.pid, std::process::id());
        assert!(error.to_string().contains("has the port"), "{error}");
    }

    #[tokio::test]
    async fn both_families_share_a_port() {
        let address = free_address(3);
        let wide = |ip: std::net::IpAddr| SocketAddr::new(ip, address.port());
        let listener = Listener::new(vec![wide(address.ip()), wide(Ipv6Addr::UNSPECIFIED.into())]);
        match listener.present(&[response("t1")]).await {
            // A host without IPv6 has nothing to share.
            Err(AcmeError::Bind { .. }) => {}
            result => result.unwrap(),
        }
    }
}
