//! Looks at an http-01 token as a CA does (RFC 8555, 8.3): over plain HTTP, at one address, redirects followed.
//!
//! Nothing secret is sent; what comes back is bounded in size and time and shown only after it was made printable.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::{
    Client, Response, Url,
    header::{self, HeaderValue},
    redirect::Policy,
};

use super::tls;
use crate::model::{name::DomainName, plan::printable_line};

/// How long one look may take, redirects included.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one connection may take to be made.
const CONNECT: Duration = Duration::from_secs(4);
/// Redirects that are followed; Let's Encrypt follows as many.
const MAX_REDIRECTS: usize = 10;
/// How much of an answer is read, in bytes. A key authorization has fewer than 200.
const BODY: usize = 4 << 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 120;

/// The token, and what has to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// The last part of the path.
    pub token: &'a str,
    /// The key authorization.
    pub expected: &'a str,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The key authorization.
    Right,
    /// There is no connection from this host; from elsewhere there may be one.
    Unreachable(String),
    /// Something else: a CA would see it too.
    Wrong(String),
}

/// Asks for the token of `name` at one of its addresses; `resolve` finds where redirects lead.
pub async fn look<F: Future<Output = Result<Vec<IpAddr>, String>>>(
    name: &DomainName,
    address: IpAddr,
    token: Token<'_>,
    resolve: impl Fn(DomainName) -> F,
) -> Look {
    let url = format!("http://{name}/.well-known/acme-challenge/{}", token.token);
    let looked = async {
        let url = Url::parse(&url).map_err(|error| Look::Wrong(error.to_string()))?;
        follow(url, address, token.expected, resolve).await
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(())) => Look::Right,
        Ok(Err(look)) => look,
        // A connection that cannot be made has ended before this.
        Err(_) => Look::Wrong(format!(
            "it took the connection and has not answered within {} s",
            PATIENCE.as_secs()
        )),
    }
}

async fn follow<F: Future<Output = Result<Vec<IpAddr>, String>>>(
    mut url: Url,
    mut address: IpAddr,
    expected: &str,
    resolve: impl Fn(DomainName) -> F,
) -> Result<(), Look> {
    let mut through = String::new();
    for n_redirects in 0..=MAX_REDIRECTS {
        let answer = get(&url, address).await.map_err(|look| match look {
            Look::Unreachable(reason) if n_redirects > 0 => {
                Look::Unreachable(format!("it redirects to {through}, where {reason}"))
            }
            other => other,
        })?;
        if !answer.status().is_redirection() {
            return judge(answer, expected, &through).await;
        }
        let location = answer.headers().get(header::LOCATION).map(HeaderValue::as_bytes);
        let shown = printable_line(location.unwrap_or_default(), SHOWN);
        let next = location
            .and_then(|location| str::from_utf8(location).ok())
            .and_then(|location| url.join(location).ok());
        let Some(next) = next else {
            return Err(Look::Wrong(format!(
                "it answers {} without a usable Location: `{shown}`",
                answer.status().as_u16()
            )));
        };
        if !matches!(next.scheme(), "http" | "https") {
            return Err(Look::Wrong(format!(
                "it redirects to {shown}, which no CA follows"
            )));
        }
        through = shown;
        address = host_of(&next, &through, &resolve).await?;
        url = next;
    }
    Err(Look::Wrong(format!(
        "it redirects more than {MAX_REDIRECTS} times, at last to {through}"
    )))
}

/// Returns the address where a redirect leads.
async fn host_of<F: Future<Output = Result<Vec<IpAddr>, String>>>(
    url: &Url,
    shown: &str,
    resolve: &impl Fn(DomainName) -> F,
) -> Result<IpAddr, Look> {
    let host = url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(address);
    }
    let found = match DomainName::from_dns(host) {
        Ok(name) => resolve(name).await,
        Err(error) => Err(error.to_string()),
    };
    let found = found.map_err(|reason| Look::Wrong(format!("it redirects to {shown}, but {reason}")))?;
    found
        .first()
        .copied()
        .ok_or_else(|| Look::Wrong(format!("it redirects to {shown}, but that host has no address")))
}

/// Sends one request to this address, whatever the DNS says of the URL's host.
async fn get(url: &Url, address: IpAddr) -> Result<Response, Look> {
    let broken = |reason: String| Look::Unreachable(format!("this host cannot ask: {reason}"));
    // A CA takes any certificate there: it is about to issue the right one.
    let tls = tls::client_config().map_err(|error| broken(error.to_string()))?;
    let host = url.host_str().unwrap_or_default();
    let client = Client::builder()
        .tls_backend_preconfigured(tls.as_ref().clone())
        .user_agent(concat!("mailcert/", env!("CARGO_PKG_VERSION"), " (preflight)"))
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0)
        .resolve(host, SocketAddr::new(address, 0))
        .build()
        .map_err(|error| broken(innermost(&error)))?;
    client.get(url.clone()).send().await.map_err(|error| {
        let reason = innermost(&error);
        if error.is_connect() {
            Look::Unreachable(reason)
        } else {
            // Connected, and then nothing of HTTP: whoever is there is no web server of ours.
            Look::Wrong(format!("it does not answer as a web server: {reason}"))
        }
    })
}

/// Compares an answer with what is expected; white space at its end is no difference (RFC 8555, 8.3).
async fn judge(mut answer: Response, expected: &str, through: &str) -> Result<(), Look> {
    let status = answer.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = BODY - body.len();
        body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        if body.len() >= BODY {
            break;
        }
    }
    if status.as_u16() == 200 && body.trim_ascii_end() == expected.as_bytes() {
        return Ok(());
    }
    let whose = match through {
        "" => String::new(),
        url => format!(", redirected to {url}"),
    };
    let what = match status.as_u16() {
        200 => "another text".to_owned(),
        code => code.to_string(),
    };
    let excerpt = printable_line(body.trim_ascii(), SHOWN);
    Err(Look::Wrong(format!("it answers {what}{whose}: `{excerpt}`")))
}

/// Returns the deepest cause: the one that says something.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    printable_line(cause.to_string().as_bytes(), SHOWN)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Looks at a server on an address of its own that answers each request line as `reply` says.
    async fn looked(last: u8, reply: impl Fn(&str) -> String) -> Look {
        let ip = IpAddr::V4(Ipv4Addr::new(127, 64, 8, last));
        let server = TcpListener::bind((ip, 80)).await.unwrap();
        let answers = async {
            loop {
                let (mut stream, _) = server.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                // A client that has seen enough hangs up.
                let _ = stream.write_all(reply(&text).as_bytes()).await;
            }
        };
        let name = "mail.test".parse().unwrap();
        let token = Token {
            token: "t1",
            expected: "t1.thumb",
        };
        let resolve = |name: DomainName| async move {
            match name.as_str() {
                "here.test" | "mail.test" => Ok(vec![ip]),
                "void.test" => Ok(Vec::new()),
                other => Err(format!("{other} was not found")),
            }
        };
        tokio::select! {
            look = look(&name, ip, token, resolve) => look,
            () = answers => unreachable!(),
        }
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn wrong(look: &Look, text: &str) {
        match look {
            Look::Wrong(reason) if reason.contains(text) => {}
            other => panic!("{text}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn sees_the_token_and_nothing_but_it() {
        let right = looked(1, |request| {
            assert!(
                request.starts_with("GET /.well-known/acme-challenge/t1 HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(
                request.to_ascii_lowercase().contains("\r\nhost: mail.test\r\n"),
                "{request}"
            );
            answer("200 OK", "", "t1.thumb \r\n")
        });
        assert_eq!(right.await, Look::Right);
        wrong(
            &looked(2, |_| answer("404 Not Found", "", "no\x1b[31m")).await,
            "it answers 404: `no\\u{1b}[31m`",
        );
        wrong(
            &looked(3, |_| answer("200 OK", "", "t1.thumb.more")).await,
            "another text",
        );
        wrong(
            &looked(4, |_| answer("403 Forbidden", "", "t1.thumb")).await,
            "403",
        );
        wrong(
            &looked(5, |_| "220 smtp.test ESMTP\r\n".to_owned()).await,
            "does not answer as a web server",
        );
        let flood = looked(6, |_| answer("200 OK", "", &"x".repeat(1 << 20))).await;
        wrong(&flood, "another text");
    }

    #[tokio::test]
    async fn follows_redirects_as_far_as_a_ca_does() {
        let to = |location: &str| answer("301 Moved", &format!("Location: {location}\r\n"), "");
        let there = looked(11, |request| {
            if request.starts_with("GET /.well-known") {
                to("http://here.test/there")
            } else {
                assert!(
                    request.to_ascii_lowercase().contains("host: here.test"),
                    "{request}"
                );
                answer("200 OK", "", "t1.thumb")
            }
        });
        assert_eq!(there.await, Look::Right);
        wrong(&looked(12, |_| to("/again")).await, "more than 10 times");
        wrong(&looked(13, |_| to("ftp://here.test/")).await, "no CA follows");
        wrong(&looked(14, |_| to("http://void.test/")).await, "no address");
        wrong(&looked(15, |_| to("http://nobody.test/")).await, "was not found");
        wrong(
            &looked(16, |_| answer("302 Found", "", "")).await,
            "without a usable Location",
        );
        let lost = looked(17, |_| to("https://here.test/there")).await;
        assert!(
            matches!(&lost, Look::Unreachable(reason) if reason.contains("https://here.test/there")),
            "{lost:?}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_no_wrong_answer() {
        let name = "mail.test".parse().unwrap();
        let token = Token {
            token: "t1",
            expected: "t1.thumb",
        };
        let closed = look(
            &name,
            IpAddr::V4(Ipv4Addr::new(127, 64, 8, 99)),
            token,
            |_| async { Ok(Vec::new()) },
        );
        assert!(matches!(closed.await, Look::Unreachable(_)));
    }
}
