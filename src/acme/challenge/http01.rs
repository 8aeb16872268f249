//! http-01 by a listener of our own (RFC 8555, 8.3), bound only while the CA validates.
//!
//! It serves `/.well-known/acme-challenge/TOKEN` for the tokens of the moment, and nothing else. Anyone may connect to
//! it, so bytes are limited here, connections and time by the door.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex as AsyncMutex,
};

use super::{BoxFuture, ChallengeResponse, ChallengeType, Present, door::Door};
use crate::acme::error::AcmeError;

/// How large a request may be, in bytes.
const REQUEST: usize = 8 << 10;
/// What stands before the token.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// The tokens of the moment, with their key authorizations.
type Tokens = Arc<Mutex<HashMap<String, String>>>;

/// http-01 by a listener of our own.
pub struct Listener {
    door: AsyncMutex<Door>,
    tokens: Tokens,
}

impl Listener {
    /// Names the addresses; without any, port 80 on every address family. Nothing is bound yet.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            door: AsyncMutex::new(Door::new(ChallengeType::Http01, addresses, 80)),
            tokens: Tokens::default(),
        }
    }

    async fn start(&self, responses: &[ChallengeResponse]) -> Result<(), AcmeError> {
        let mut door = self.door.lock().await;
        let tokens = self.tokens.clone();
        door.open(move |stream| serve(stream, tokens.clone())).await?;
        let new = responses
            .iter()
            .map(|each| (each.token.clone(), each.key_authorization.clone()));
        lock(&self.tokens).extend(new);
        Ok(())
    }

    async fn stop(&self, responses: &[ChallengeResponse]) {
        let mut door = self.door.lock().await;
        let is_idle = {
            let mut tokens = lock(&self.tokens);
            tokens.retain(|token, _| responses.iter().all(|each| each.token != *token));
            tokens.is_empty()
        };
        if is_idle {
            door.close().await;
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

    fn remark(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { self.door.lock().await.remark() })
    }
}

fn lock(tokens: &Tokens) -> MutexGuard<'_, HashMap<String, String>> {
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request and closes.
async fn serve(mut stream: TcpStream, tokens: Tokens) -> std::io::Result<()> {
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
    let answer = answer(&request, &lock(&tokens));
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Returns whether the header section has come to its end.
fn is_whole(request: &[u8]) -> bool {
    request.windows(4).any(|window| window == b"\r\n\r\n")
        || request.windows(2).any(|window| window == b"\n\n")
}

/// Returns the whole answer to a request, whoever sent it.
pub fn answer(request: &[u8], tokens: &HashMap<String, String>) -> String {
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
    use std::net::{Ipv4Addr, Ipv6Addr};

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
