//! A CA that answers from a script: everything that a real one should not do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::acme::{
    http::{Limits, Trust},
    renewal_info::RenewalInfo,
};

/// What is done with a request.
#[derive(Clone)]
enum Act {
    /// Send this and hang up.
    Cut(String),
    /// Answer a whole response.
    Say(String),
    /// Send this, then nothing more.
    Stall(String),
    /// Send a body without end.
    Flood,
}

type Script = dyn Fn(&str, SocketAddr) -> Act + Send + Sync;

/// Starts the CA; the script is given `METHOD PATH` and the CA's own address.
async fn start(script: impl Fn(&str, SocketAddr) -> Act + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script: Arc<Script> = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone(), address));
        }
    });
    format!("http://{address}/dir")
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, address: SocketAddr) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let whole = end + length.map_or(0, |length| length.parse::<usize>().unwrap());
        while bytes.len() < whole {
            stream.read_buf(&mut bytes).await?;
        }
        let line = head
            .lines()
            .next()
            .unwrap_or_default()
            .rsplit_once(' ')
            .unwrap_or_default()
            .0
            .to_owned();
        bytes.drain(..whole);
        match script(&line, address) {
            Act::Say(text) => stream.write_all(text.as_bytes()).await?,
            Act::Cut(text) => return stream.write_all(text.as_bytes()).await,
            Act::Stall(text) => {
                stream.write_all(text.as_bytes()).await?;
                std::future::pending::<()>().await;
            }
            Act::Flood => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\n\r\n")
                    .await?;
                loop {
                    stream.write_all(&[b' '; 65536]).await?;
                }
            }
        }
    }
}

/// A whole response with these headers.
fn say(status: &str, headers: &str, body: &str) -> Act {
    let n_bytes = body.len();
    Act::Say(format!(
        "HTTP/1.1 {status}\r\nReplay-Nonce: n\r\n{headers}Content-Length: {n_bytes}\r\n\r\n{body}"
    ))
}

/// What a good but slow CA says: its order stays pending, and is to be asked for again in an hour.
fn good(line: &str, ca: SocketAddr) -> Act {
    let order = format!(
        r#"{{"status": "pending", "authorizations": ["http://{ca}/authz"], "finalize": "http://{ca}/finalize"}}"#
    );
    match line {
        "get /dir" => {
            let link = |name: &str| format!(r#""{name}": "http://{ca}/{name}""#);
            let links = ["newNonce", "newAccount", "newOrder", "renewalInfo"]
                .map(link)
                .join(", ");
            say("200 OK", "", &format!("{{{links}}}"))
        }
        "head /newnonce" => {
            Act::Say("HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\nContent-Length: 0\r\n\r\n".to_owned())
        }
        "post /newaccount" => say("201 Created", &format!("Location: http://{ca}/account\r\n"), "{}"),
        "post /neworder" => say("201 Created", &format!("Location: http://{ca}/order\r\n"), &order),
        "post /order" => say("200 OK", "Retry-After: 3600\r\n", &order),
        "post /authz" => say(
            "200 OK",
            "",
            &format!(
                r#"{{"identifier": {{"type": "dns", "value": "a.example.test"}}, "status": "pending", "challenges":
                   [{{"type": "http-01", "url": "http://{ca}/challenge", "token": "t1", "status": "pending"}}]}}"#
            ),
        ),
        "post /challenge" => say(
            "200 OK",
            "",
            &format!(
                r#"{{"type": "http-01", "url": "http://{ca}/challenge", "token": "t1", "status": "processing"}}"#
            ),
        ),
        _ => say("404 Not Found", "", "{}"),
    }
}

fn http(request: Duration) -> Http {
    let limits = Limits {
        connect: Duration::from_secs(5),
        request,
        body: 1 << 20,
    };
    // No roots are needed for plain HTTP, but there have to be some.
    let mut params = rcgen::CertificateParams::new(["ca.test".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "another root");
    let root = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .pem();
    Http::new(&Trust::Only(root.into()), limits).unwrap()
}

/// One conversation with a CA that is good but for one kind of request.
struct Talk {
    error: AcmeError,
    saved: Vec<String>,
    notes: Vec<String>,
}

/// A limit that no request here comes near.
const PATIENT: Duration = Duration::from_secs(20);
/// A limit for requests that get no answer.
const IMPATIENT: Duration = Duration::from_secs(1);

async fn talk(bad: &'static str, act: impl Fn(SocketAddr) -> Act + Send + Sync + 'static) -> Talk {
    talk_within(PATIENT, bad, act).await
}

async fn talk_within(
    limit: Duration,
    bad: &'static str,
    act: impl Fn(SocketAddr) -> Act + Send + Sync + 'static,
) -> Talk {
    let url = start(move |line, ca| if line == bad { act(ca) } else { good(line, ca) }).await;
    let (saved, notes) = (Saved::default(), Notes::new(ChallengeType::Http01));
    let present: Arc<dyn Present> = notes.clone();
    let http = http(limit);
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
    let result = match open(&http, &url).await {
        Ok(session) => wish.obtain(&session, &present, &saved, None, None).await,
        Err(error) => Err(error),
    };
    Talk {
        error: result.unwrap_err(),
        saved: saved.urls(),
        notes: notes.lines(),
    }
}

/// The requests of a conversation, up to the first that is made more than once.
const STEPS: [&str; 6] = [
    "get /dir",
    "head /newnonce",
    "post /newaccount",
    "post /neworder",
    "post /authz",
    "post /challenge",
];

#[tokio::test]
async fn says_what_is_wrong_with_the_ca_at_every_step() {
    for bad in STEPS {
        let error = talk(bad, |_| say("500 Internal Server Error", "", "oops \u{1b}[31m"))
            .await
            .error;
        assert!(
            matches!(&error, AcmeError::Status { status: 500, .. }),
            "{bad}: {error:?}"
        );
        if bad != "head /newnonce" {
            assert!(
                error
                    .to_string()
                    .ends_with("answered HTTP status 500: `oops \\u{1b}[31m`"),
                "{error}"
            );
        }

        let error = talk(bad, |_| {
            let body = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}"#;
            say("429 Too Many Requests", "Retry-After: 120\r\n", body)
        });
        let error = error.await.error;
        assert!(error.is_rate_limit(), "{bad}: {error:?}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(120)), "{bad}");

        if bad != "head /newnonce" {
            let error = talk(bad, |_| Act::Flood).await.error;
            assert!(matches!(error, AcmeError::TooLarge { .. }), "{bad}: {error:?}");

            let act =
                |_| Act::Cut("HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\nContent-Length: 100\r\n\r\n{".to_owned());
            let error = talk(bad, act).await.error;
            assert!(matches!(error, AcmeError::Cut { .. }), "{bad}: {error:?}");
        }
        if !matches!(bad, "head /newnonce" | "post /newaccount") {
            let error = talk(bad, |_| say("200 OK", "", "<html>\nhello")).await.error;
            assert!(matches!(error, AcmeError::NotAcme { .. }), "{bad}: {error:?}");
            assert!(error.to_string().ends_with("`<html> hello`"), "{error}");
        }
    }
}

#[tokio::test]
async fn waits_for_no_answer_longer_than_the_limit() {
    let talks = STEPS.map(|bad| tokio::spawn(talk_within(IMPATIENT, bad, |_| Act::Stall(String::new()))));
    for talk in talks {
        let error = talk.await.unwrap().error;
        assert!(matches!(error, AcmeError::Timeout { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn cleans_up_after_a_failure() {
    let talk = talk("post /challenge", |_| say("500 Internal Server Error", "", "")).await;
    assert_eq!(talk.notes, ["present a.example.test", "cleanup a.example.test"]);
    assert_eq!(talk.saved.len(), 1);
}

#[tokio::test]
async fn saves_the_order_before_its_answer_is_read() {
    let location = |ca: SocketAddr| {
        format!("HTTP/1.1 201 Created\r\nLocation: http://{ca}/order\r\nContent-Length: 9\r\n\r\n")
    };
    for bad in [
        talk_within(IMPATIENT, "post /neworder", move |ca| Act::Stall(location(ca))).await,
        talk("post /neworder", move |ca| Act::Cut(location(ca))).await,
        talk("post /neworder", move |ca| Act::Say(location(ca) + "<garbage>")).await,
    ] {
        assert_eq!(bad.saved.len(), 1, "{:?}", bad.error);
        assert!(bad.saved[0].ends_with("/order"));
        // The order itself is good, and is gone on with.
        assert_eq!(
            bad.notes,
            ["present a.example.test", "cleanup a.example.test"],
            "{:?}",
            bad.error
        );
    }
}

#[tokio::test]
async fn does_not_wait_longer_than_it_may() {
    let talk = talk("nothing", |_| Act::Flood).await;
    let wanted = Duration::from_secs(3600);
    assert!(matches!(talk.error, AcmeError::Overdue { retry_after: Some(after), .. } if after == wanted));
    assert_eq!(talk.notes, ["present a.example.test", "cleanup a.example.test"]);
}

#[tokio::test]
async fn an_order_that_cannot_be_saved_goes_no_further() {
    let url = start(good).await;
    let notes = Notes::new(ChallengeType::Http01);
    let present: Arc<dyn Present> = notes.clone();
    let session = open(&http(PATIENT), &url).await.unwrap();
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
    let error = wish
        .obtain(&session, &present, &Full, None, None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot save the order's URL: no space left on device"
    );
    assert!(notes.lines().is_empty());
}

#[tokio::test]
async fn an_order_that_is_gone_is_told_from_a_ca_that_is_down() {
    let check = async |act: fn() -> Act, is_lost: bool| {
        let url = start(move |line, ca| {
            if line == "post /order" {
                act()
            } else {
                good(line, ca)
            }
        })
        .await;
        let session = open(&http(PATIENT), &url).await.unwrap();
        let present: Arc<dyn Present> = Notes::new(ChallengeType::Http01);
        let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
        let order = url.replace("/dir", "/order");
        let error = wish
            .obtain(&session, &present, &Saved::default(), Some(&order), None)
            .await
            .unwrap_err();
        assert_eq!(matches!(error, AcmeError::OrderLost { .. }), is_lost, "{error:?}");
    };
    check(|| say("404 Not Found", "", ""), true).await;
    check(
        || {
            say(
                "403 Forbidden",
                "",
                r#"{"type": "urn:ietf:params:acme:error:unauthorized"}"#,
            )
        },
        true,
    )
    .await;
    check(
        || {
            say(
                "200 OK",
                "",
                r#"{"status": "invalid", "authorizations": [], "finalize": ""}"#,
            )
        },
        true,
    )
    .await;
    check(|| say("503 Service Unavailable", "Retry-After: 5\r\n", ""), false).await;
    check(
        || {
            say(
                "400 Bad Request",
                "",
                r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist"}"#,
            )
        },
        false,
    )
    .await;
}

#[tokio::test]
async fn refuses_what_an_order_of_ours_cannot_have() {
    let check = async |authorization: &'static str, expected: &str| {
        let error = talk("post /authz", move |_| say("200 OK", "", authorization))
            .await
            .error
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    let challenges = r#""challenges": [{"type": "dns-01", "url": "", "token": "t1", "status": "pending"}]"#;
    let leak = |text: String| -> &'static str { text.leak() };
    check(
        leak(format!(r#"{{"identifier": {{"type": "dns", "value": "b.example.test"}}, "status": "pending", {challenges}}}"#)),
        "a name that was not ordered",
    )
    .await;
    check(
        leak(format!(
            r#"{{"identifier": {{"type": "ip", "value": "127.0.0.1"}}, "status": "pending", {challenges}}}"#
        )),
        "no domain name",
    )
    .await;
    check(
        leak(format!(r#"{{"identifier": {{"type": "dns", "value": "a.example.test"}}, "status": "pending", {challenges}}}"#)),
        "does not offer http-01 for a.example.test, only dns-01",
    )
    .await;
    check(
        r#"{"identifier": {"type": "dns", "value": "a.example.test"}, "status": "pending",
            "challenges": [{"type": "http-01", "url": "", "token": "../x", "status": "pending"}]}"#,
        "RFC 8555, 8.3",
    )
    .await;
}

#[tokio::test]
async fn wants_terms_agreed_to_and_no_external_account() {
    let check = async |meta: &'static str, agreed: bool, expected: fn(&AcmeError) -> bool| {
        let url = start(move |line, ca| match (line, good(line, ca)) {
            ("get /dir", Act::Say(text)) => {
                let body =
                    text.split_once("\r\n\r\n")
                        .unwrap()
                        .1
                        .replacen('{', &format!("{{\"meta\": {meta}, "), 1);
                say("200 OK", "", &body)
            }
            ("post /newaccount", _) if meta.contains("external") => {
                let body = r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist"}"#;
                say("400 Bad Request", "", body)
            }
            (_, act) => act,
        });
        let (url, http) = (url.await, http(PATIENT));
        let directory = Directory::fetch(&http, &url).await.unwrap();
        let registration = Registration {
            contact: &[],
            terms_of_service_agreed: agreed,
            external_account: None,
        };
        let record = AccountRecord::generate(&url).unwrap();
        let error = Session::open(http.clone(), directory, record, registration)
            .await
            .err();
        assert!(
            error.as_ref().is_none_or(expected) && error.is_some() != agreed,
            "{error:?}"
        );
        // Nothing was sent but for the directory, the nonce and the account; for the account that may be there already too.
        let is_asked_for = agreed || meta.contains("external");
        assert_eq!(http.n_requests(), if is_asked_for { 3 } else { 1 });
    };
    let terms = r#"{"termsOfService": "https://ca.test/terms"}"#;
    check(terms, false, |error| {
        matches!(error, AcmeError::TermsOfService { .. })
    })
    .await;
    check(terms, true, |_| false).await;
    check(r#"{"externalAccountRequired": true}"#, false, |error| {
        matches!(error, AcmeError::ExternalAccountRequired { .. })
    })
    .await;
}

/// Serves one TLS handshake with a certificate for 127.0.0.1 that nobody trusts.
async fn untrusted() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await;
    });
    address
}

#[tokio::test]
async fn an_untrusted_certificate_is_told_from_a_server_without_tls() {
    let address = untrusted().await;
    let error = Directory::fetch(&http(PATIENT), &format!("https://{address}/dir"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the certificate that the server of https://{address}/dir shows is not trusted: \
             its issuer is not among the trusted roots"
        )
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"220 mail.example.test ESMTP\r\n").await;
    });
    let error = Directory::fetch(&http(PATIENT), &format!("https://{address}/dir"))
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn renewal_info_fails_with_a_reason() {
    let root = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
    assert!(CertificateId::of(root.cert.der()).is_err());
    let id: CertificateId = serde_json::from_str("\"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE\"").unwrap();
    let check = async |limit: Duration, act: Act, expected: fn(&AcmeError) -> bool| {
        let line = format!("get /renewalinfo/{id}").to_lowercase();
        let url = start(move |asked, ca| {
            if asked == line {
                act.clone()
            } else {
                good(asked, ca)
            }
        })
        .await;
        let http = http(limit);
        let directory = Directory::fetch(&http, &url).await.unwrap();
        let error = RenewalInfo::fetch(&http, &directory, &id).await.unwrap_err();
        assert!(expected(&error), "{error:?}");
    };
    check(PATIENT, say("404 Not Found", "", ""), |error| {
        matches!(error, AcmeError::Status { status: 404, .. })
    })
    .await;
    check(PATIENT, say("200 OK", "", "{}"), |error| {
        matches!(error, AcmeError::NotAcme { .. })
    })
    .await;
    let upside_down =
        r#"{"suggestedWindow": {"start": "2025-01-03T04:00:00Z", "end": "2025-01-02T04:00:00Z"}}"#;
    check(PATIENT, say("200 OK", "", upside_down), |error| {
        matches!(error, AcmeError::NotAcme { .. })
    })
    .await;
    check(
        PATIENT,
        say("503 Service Unavailable", "Retry-After: 9\r\n", ""),
        |error| error.retry_after() == Some(Duration::from_secs(9)),
    )
    .await;
    check(IMPATIENT, Act::Stall(String::new()), |error| {
        matches!(error, AcmeError::Timeout { .. })
    })
    .await;
}

#[tokio::test]
async fn says_when_nobody_listens() {
    let closed = std::net::TcpListener::bind("127.64.8.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = Directory::fetch(&http(PATIENT), &format!("http://{closed}/dir"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, AcmeError::Connect { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
}

#[tokio::test]
async fn tries_a_rejected_nonce_again_and_again() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let n_refused = Arc::new(AtomicU32::new(0));
    let counter = n_refused.clone();
    // Every eighth try is good: the crate alone gives up after three.
    let url = start(move |line, ca| {
        if line.starts_with("post") && counter.fetch_add(1, Ordering::Relaxed) % 8 != 7 {
            return say(
                "400 Bad Request",
                "",
                r#"{"type": "urn:ietf:params:acme:error:badNonce"}"#,
            );
        }
        good(line, ca)
    });
    let (url, http) = (url.await, http(PATIENT));
    let session = open(&http, &url).await.unwrap();
    let present: Arc<dyn Present> = Notes::new(ChallengeType::Http01);
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
    let error = wish
        .obtain(&session, &present, &Saved::default(), None, None)
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::Overdue { .. }), "{error:?}");
    // newAccount, newOrder, authorization, challenge, order.
    assert_eq!(n_refused.load(Ordering::Relaxed), 5 * 8);
}
