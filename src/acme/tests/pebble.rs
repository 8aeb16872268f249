//! Conversations with Pebble, Let's Encrypt's test CA. `MAILCERT_TEST_PEBBLE` names its program; beside it stands
//! `pebble-challtestsrv`, the DNS server that it asks.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    task::Poll,
    time::Instant,
};

use super::*;
use crate::acme::{
    challenge::{
        dns01::{Dns01, DnsFailure, Records, TxtValue},
        http01::Listener,
        tls_alpn01,
    },
    http::{Limits, Trust},
    renewal_info::RenewalInfo,
};

/// The port that Pebble validates http-01 on.
const HTTP_PORT: u16 = 5002;
/// No sleeps, no rejected nonces, no authorization used twice.
const QUIET: &[(&str, &str)] = &[
    ("PEBBLE_VA_NOSLEEP", "1"),
    ("PEBBLE_WFE_NONCEREJECT", "0"),
    ("PEBBLE_AUTHZREUSE", "0"),
];

/// A running Pebble with its DNS server; both end with this value.
struct Pebble {
    children: Vec<Child>,
    address: Ipv4Addr,
    root: String,
    directory: tempfile::TempDir,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Pebble {
    /// Starts Pebble on a loopback address of its own.
    fn start(vars: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 128 | high, low, NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let root = write_pki(directory.path(), address);
        let mut pebble = Self {
            children: Vec::new(),
            address,
            root,
            directory,
        };
        pebble.run(vars);
        pebble
    }

    fn run(&mut self, vars: &[(&str, &str)]) {
        let program =
            PathBuf::from(std::env::var_os("MAILCERT_TEST_PEBBLE").expect("MAILCERT_TEST_PEBBLE is not set"));
        let (path, address) = (self.directory.path(), self.address);
        let file = |name: &str| path.join(name).display().to_string();
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("{address}:14000"), "managementListenAddress": format!("{address}:15000"),
            "certificate": file("server.pem"), "privateKey": file("server.key"),
            "httpPort": HTTP_PORT, "tlsPort": 5001, "ocspResponderURL": "", "keyAlgorithm": "ecdsa",
            "domainBlocklist": ["blocked.example.test"], "externalAccountBindingRequired": false,
            "profiles": {"classic": {"description": "90 days", "validityPeriod": 7_776_000}}}});
        std::fs::write(path.join("config.json"), config.to_string()).unwrap();
        let mut dns = Command::new(program.with_file_name("pebble-challtestsrv"));
        dns.args([
            "-dnsserver",
            &format!("{address}:8053"),
            "-management",
            &format!("{address}:8055"),
        ]);
        dns.args(["-defaultIPv4", &address.to_string(), "-defaultIPv6", ""]);
        dns.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]);
        self.children
            .push(dns.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let mut pebble = Command::new(program);
        pebble.args([
            "-config",
            &file("config.json"),
            "-dnsserver",
            &format!("{address}:8053"),
        ]);
        pebble
            .envs(vars.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.children.push(pebble.spawn().unwrap());
        for port in [14000, 8053] {
            let deadline = Instant::now() + Duration::from_secs(20);
            while std::net::TcpStream::connect((address, port)).is_err() {
                assert!(Instant::now() < deadline, "nothing listens on {address}:{port}");
                std::thread::yield_now();
            }
        }
    }

    fn url(&self) -> String {
        format!("https://{}:14000/dir", self.address)
    }

    fn http(&self) -> Http {
        Http::new(&Trust::Only(self.root.clone().into()), Limits::default()).unwrap()
    }

    fn listener(&self) -> Arc<dyn Present> {
        Arc::new(Listener::new(vec![SocketAddr::new(
            self.address.into(),
            HTTP_PORT,
        )]))
    }
}

/// Writes a certificate for Pebble's own HTTPS; returns the root that it is verified by.
fn write_pki(directory: &Path, address: Ipv4Addr) -> String {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new([address.to_string()]).unwrap();
    let server = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(directory.join("server.pem"), server.pem()).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    root
}

/// Shows figures, with `--nocapture`: they are half of what these tests are run for.
#[expect(clippy::print_stdout, reason = "cargo shows it only when asked")]
fn show(what: &str, n_requests: u32, begin: Instant) {
    println!("{what}: {n_requests} requests, {:?}", begin.elapsed());
}

/// Polls a future only while this is true; `None` when it was dropped in its middle.
async fn until<T>(future: impl Future<Output = T>, goes_on: impl Fn() -> bool) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if goes_on() => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn issues_by_http01_with_few_requests() {
    let pebble = Pebble::start(QUIET);
    let present = pebble.listener();
    let begin = Instant::now();
    let http = pebble.http();
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
    let session = open(&http, &pebble.url()).await.unwrap();
    let issued = wish
        .obtain(&session, &present, &Saved::default(), None, None)
        .await
        .unwrap();
    show("with a new account", http.n_requests(), begin);
    assert_eq!(issued.chain.certificates.len(), 2);
    assert_eq!(issued.leftovers, None);

    // A second run, with the account as it was saved.
    for _ in 0..5 {
        let begin = Instant::now();
        let http = pebble.http();
        let directory = Directory::fetch(&http, &pebble.url()).await.unwrap();
        let session = Session::open(http.clone(), directory, session.record().clone(), AGREED)
            .await
            .unwrap();
        wish.obtain(&session, &present, &Saved::default(), None, None)
            .await
            .unwrap();
        show("with an account", http.n_requests(), begin);
        // Directory, nonce, order, authorization, challenge, order, finalize, order, certificate; more questions about
        // the order where the machine is slow.
        assert!(http.n_requests() < 20);
    }
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn issues_for_every_kind_of_key_and_several_names() {
    let pebble = Pebble::start(QUIET);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    for key_type in [KeyType::EcdsaP384, KeyType::Rsa(2048)] {
        let wish = Wish::new(key_type, &["a.example.test", "b.example.test", "c.example.test"]);
        let issued = wish
            .obtain(&session, &pebble.listener(), &Saved::default(), None, None)
            .await
            .unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&issued.chain.certificates[0]).unwrap();
        assert_eq!(leaf.public_key().raw, wish.key.public_key_der());
    }
}

/// Issues some certificates with Pebble in this mood.
async fn issues_in(vars: &[(&str, &str)], n: usize) {
    let pebble = Pebble::start(vars);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    for index in 0..n {
        let begin = Instant::now();
        let wish = Wish::new(
            KeyType::EcdsaP256,
            &[
                "a.example.test",
                "b.example.test",
                &format!("c{index}.example.test"),
            ],
        );
        let before = session.http.n_requests();
        wish.obtain(&session, &pebble.listener(), &Saved::default(), None, None)
            .await
            .unwrap();
        show("three names", session.http.n_requests() - before, begin);
    }
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn issues_while_half_of_all_nonces_are_rejected() {
    issues_in(
        &[
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "50"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ],
        10,
    )
    .await;
    issues_in(
        &[
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "80"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ],
        2,
    )
    .await;
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn issues_with_pebble_as_it_comes() {
    issues_in(&[], 3).await;
    issues_in(&[("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "100")], 3).await;
}

/// dns-01 that writes nothing down but the values.
#[derive(Default)]
struct Zone(Mutex<Vec<TxtValue>>);

impl Dns01 for Arc<Zone> {
    fn present<'a>(&'a self, values: &'a [TxtValue]) -> BoxFuture<'a, Result<(), DnsFailure>> {
        self.0.lock().unwrap().extend_from_slice(values);
        Box::pin(async { Ok(()) })
    }

    fn cleanup<'a>(&'a self, _: &'a [TxtValue]) -> BoxFuture<'a, Result<(), DnsFailure>> {
        Box::pin(async { Err("the server is down".into()) })
    }
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn a_name_and_its_wildcard_have_two_values() {
    let pebble = Pebble::start(&[
        ("PEBBLE_VA_ALWAYS_VALID", "1"),
        ("PEBBLE_VA_NOSLEEP", "1"),
        ("PEBBLE_AUTHZREUSE", "0"),
    ]);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    let zone = Arc::new(Zone::default());
    let present: Arc<dyn Present> = Arc::new(Records(zone.clone()));
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test", "*.a.example.test"]);
    let issued = wish
        .obtain(&session, &present, &Saved::default(), None, None)
        .await
        .unwrap();
    // What could not be cleaned up is told, and the certificate is not lost over it.
    assert_eq!(
        issued.leftovers.as_deref(),
        Some("cannot set up dns-01: the server is down")
    );
    let values = zone.0.lock().unwrap().clone();
    assert_eq!(values.len(), 2);
    assert!(
        values
            .iter()
            .all(|value| value.name.as_str() == "a.example.test" && value.value.len() == 43)
    );
    assert_ne!(values[0].value, values[1].value);
}

/// Puts something else in place than what is wanted.
struct Wrong(Arc<dyn Present>);

impl Present for Wrong {
    fn challenge_type(&self) -> ChallengeType {
        self.0.challenge_type()
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        let mut responses = responses.to_vec();
        for response in responses
            .iter_mut()
            .filter(|each| each.name.as_str() == "b.example.test")
        {
            response.key_authorization = "wrong".to_owned();
        }
        Box::pin(async move { self.0.present(&responses).await })
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        self.0.cleanup(responses)
    }
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn says_which_name_was_not_confirmed_and_why() {
    let pebble = Pebble::start(QUIET);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    let present: Arc<dyn Present> = Arc::new(Wrong(pebble.listener()));
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test", "b.example.test"]);
    let saved = Saved::default();
    let error = wish
        .obtain(&session, &present, &saved, None, None)
        .await
        .unwrap_err();
    let AcmeError::Challenge(failures) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].identifier.as_str(), failures[0].challenge.as_str()),
        ("b.example.test", "http-01")
    );
    assert!(failures[0].problem.detail.contains("wrong"), "{error}");
    let lost = wish
        .obtain(&session, &present, &saved, Some(&saved.urls()[0]), None)
        .await
        .unwrap_err();
    assert!(matches!(lost, AcmeError::OrderLost { .. }), "{lost:?}");
    let wish = Wish::new(KeyType::EcdsaP256, &["blocked.example.test"]);
    let error = wish
        .obtain(&session, &present, &saved, None, None)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, AcmeError::Problem { problem, .. } if problem.acme_kind() == Some("rejectedIdentifier"))
    );
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn resumes_an_order_wherever_it_was_left() {
    let pebble = Pebble::start(QUIET);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    let (mut n, mut n_whole, mut n_resumed) = (1, 0, 0);
    // One that came to its end may only have been spared a validation: Pebble reuses an authorization in a hundred, whatever it is told.
    while n_whole < 3 {
        let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test", "b.example.test"]);
        let (saved, present) = (Saved::default(), pebble.listener());
        let limit = session.http.n_requests() + n;
        let obtained = wish.obtain(&session, &present, &saved, None, None);
        if until(obtained, || session.http.n_requests() < limit)
            .await
            .is_some()
        {
            n_whole += 1;
            continue;
        }
        n_whole = 0;
        let order = saved.urls().first().cloned();
        n_resumed += u32::from(order.is_some());
        match wish
            .obtain(&session, &present, &saved, order.as_deref(), None)
            .await
        {
            Ok(_) => assert_eq!(saved.urls().len(), 1, "dropped at request {n}"),
            // The CA looked while nobody served the token.
            Err(AcmeError::OrderLost { .. }) => {
                wish.obtain(&session, &present, &saved, None, None).await.unwrap();
            }
            Err(error) => panic!("dropped at request {n}: {error}"),
        }
        n += 1;
    }
    assert!(n_resumed >= 8, "{n_resumed}");
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn registers_the_same_key_again_at_a_ca_that_forgot_it() {
    let mut pebble = Pebble::start(QUIET);
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    let mut record = session.record().clone();
    for child in &mut pebble.children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    pebble.children.clear();
    pebble.run(QUIET);
    let http = pebble.http();
    let directory = Directory::fetch(&http, &pebble.url()).await.unwrap();
    let session = Session::open(http.clone(), directory.clone(), record.clone(), AGREED)
        .await
        .unwrap();
    let error = wish
        .obtain(&session, &pebble.listener(), &Saved::default(), None, None)
        .await
        .unwrap_err();
    assert!(matches!(error, AcmeError::AccountDoesNotExist(_)), "{error:?}");
    record.url = None;
    let contact = ["mailto:hostmaster@example.test".to_owned()];
    let registration = Registration {
        contact: &contact,
        terms_of_service_agreed: true,
        external_account: None,
    };
    let session = Session::open(http.clone(), directory.clone(), record.clone(), registration)
        .await
        .unwrap();
    wish.obtain(&session, &pebble.listener(), &Saved::default(), None, None)
        .await
        .unwrap();
    // The key is known now: asking again finds the account.
    let again = Session::open(http, directory, record, registration)
        .await
        .unwrap();
    assert_eq!(again.account_url(), session.account_url());
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn replaces_a_certificate_once_and_goes_on_without_when_refused() {
    let pebble = Pebble::start(QUIET);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test"]);
    let first = wish
        .obtain(&session, &pebble.listener(), &Saved::default(), None, None)
        .await
        .unwrap();
    let id = CertificateId::of(&first.chain.certificates[0]).unwrap();
    let info = RenewalInfo::fetch(&session.http, session.directory(), &id)
        .await
        .unwrap();
    assert!(info.start < info.end);
    assert_eq!(info.retry_after, Duration::from_secs(21600));
    for _ in 0..2 {
        // The second time Pebble says alreadyReplaced.
        wish.obtain(&session, &pebble.listener(), &Saved::default(), None, Some(&id))
            .await
            .unwrap();
    }
    let unknown: CertificateId = serde_json::from_str("\"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE\"").unwrap();
    wish.obtain(
        &session,
        &pebble.listener(),
        &Saved::default(),
        None,
        Some(&unknown),
    )
    .await
    .unwrap();
    let error = RenewalInfo::fetch(&session.http, session.directory(), &unknown)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AcmeError::Problem { status: 400, .. }),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn issues_by_tls_alpn01_for_several_names() {
    let pebble = Pebble::start(QUIET);
    let session = open(&pebble.http(), &pebble.url()).await.unwrap();
    let address = SocketAddr::new(pebble.address.into(), 5001);
    let present: Arc<dyn Present> = Arc::new(tls_alpn01::Listener::new(vec![address]));
    let wish = Wish::new(KeyType::EcdsaP256, &["a.example.test", "b.example.test"]);
    let issued = wish
        .obtain(&session, &present, &Saved::default(), None, None)
        .await
        .unwrap();
    assert_eq!(issued.leftovers, None);
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "the port is closed"
    );
}

#[tokio::test]
#[ignore = "real: needs pebble"]
async fn the_account_is_looked_at_told_of_contacts_given_another_key_and_ended() {
    use crate::acme::account::{
        object::Known,
        rollover::{self, Settled},
    };
    let pebble = Pebble::start(QUIET);
    let (http, url) = (pebble.http(), pebble.url());
    let session = open(&http, &url).await.unwrap();
    let object = session.look().await.unwrap();
    assert_eq!((object.status.as_str(), object.contact.len()), ("valid", 0));
    let contact = ["mailto:a@example.test".to_owned()];
    assert_eq!(session.tell_contact(&contact).await.unwrap().contact, contact);

    // Nothing was asked for yet: the CA knows the old key only.
    let directory = session.directory().clone();
    let mut record = session.record().clone();
    record.propose_key().unwrap();
    let (old, mut killed) = (record.thumbprint().unwrap(), record.clone());
    assert_eq!(
        rollover::settle(&http, &directory, &mut killed).await.unwrap(),
        Settled::Unchanged
    );
    assert_eq!(killed, record);

    // The CA has made the change, and the run was killed before it was written down.
    let session = Session::open(http.clone(), directory.clone(), record.clone(), AGREED)
        .await
        .unwrap();
    session.change_key().await.unwrap();
    assert_eq!(
        rollover::settle(&http, &directory, &mut killed).await.unwrap(),
        Settled::Changed
    );
    record.adopt_key();
    assert_eq!(killed, record);
    assert_ne!(record.thumbprint().unwrap(), old);
    let session = Session::open(http.clone(), directory.clone(), record.clone(), AGREED)
        .await
        .unwrap();
    assert_eq!(session.look().await.unwrap().contact, contact);

    assert_eq!(
        record.find(&http, &directory).await.unwrap(),
        Known::Account(session.account_url().to_owned())
    );
    assert_eq!(session.deactivate().await.unwrap().status, "deactivated");
    assert_eq!(record.find(&http, &directory).await.unwrap(), Known::Deactivated);
    for again in [session.deactivate().await.err(), session.look().await.err()] {
        assert!(matches!(again, Some(AcmeError::Deactivated(_))), "{again:?}");
    }
    let nobody = AccountRecord::generate(&url).unwrap();
    assert_eq!(nobody.find(&http, &directory).await.unwrap(), Known::Nobody);
}
