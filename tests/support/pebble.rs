//! Pebble, the CA to test against: a real ACME server whose moods can be set.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    LoopbackAddress, Scratch,
    issuance::{self, Issued},
    server::Server,
};

/// Where the ACME directory is.
const ACME_PORT: u16 = 14000;
/// Where the management interface is.
const MANAGEMENT_PORT: u16 = 15000;

/// How Pebble behaves.
pub struct PebbleOptions {
    /// Variables: `PEBBLE_WFE_NONCEREJECT`, `PEBBLE_VA_SLEEPTIME`, `PEBBLE_CHAIN_LENGTH` and the like.
    pub env: Vec<(&'static str, String)>,
    /// Keys put over those of the `pebble` object in its configuration file.
    pub config: Value,
}

impl PebbleOptions {
    /// Pebble without moods: no rejected nonces, no sleeps, no authorization reuse, no Retry-After.
    pub fn quiet() -> Self {
        let env = [
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "0"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ];
        Self {
            env: env.map(|(name, value)| (name, value.to_owned())).into(),
            config: json!({}),
        }
    }

    /// Pebble as its authors ship it: 5 % rejected nonces, validations that take up to 5 s, half the authorizations
    /// reused, Retry-After of 3 and 5 s.
    pub fn shipped() -> Self {
        Self {
            env: Vec::new(),
            config: json!({ "retryAfter": { "authz": 3, "order": 5 } }),
        }
    }

    /// Pebble in its worst mood: this many nonces of a hundred are rejected, validations take a second or two, chains have
    /// three intermediates and two other roots, and it says when it wants to be asked again.
    pub fn hostile(rejected_nonces: &'static str) -> Self {
        let env = [
            ("PEBBLE_VA_SLEEPTIME", "2"),
            ("PEBBLE_WFE_NONCEREJECT", rejected_nonces),
            ("PEBBLE_AUTHZREUSE", "0"),
            ("PEBBLE_CHAIN_LENGTH", "3"),
            ("PEBBLE_ALTERNATE_ROOTS", "2"),
        ];
        Self {
            env: env.map(|(name, value)| (name, value.to_owned())).into(),
            config: json!({ "retryAfter": { "authz": 1, "order": 2 } }),
        }
    }

    /// Quiet, but with these variables set.
    pub fn quiet_with(env: &[(&'static str, &str)]) -> Self {
        let mut options = Self::quiet();
        options
            .env
            .extend(env.iter().map(|(name, value)| (*name, (*value).to_owned())));
        options
    }
}

/// A running Pebble. All its state, its CA included, is gone when it ends.
pub struct Pebble {
    server: Server,
    launch: Launch,
    address: LoopbackAddress,
    http: reqwest::Client,
    root_ca_file: PathBuf,
    issuer_root_file: PathBuf,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        // tests/run looks for this line.
        if std::thread::panicking() && self.has_spared_a_validation() {
            eprintln!(
                "--- pebble reused an authorization: no validation, hence no challenge, in one of the orders"
            );
        }
    }
}

/// How it is started, so that it can be started again.
struct Launch {
    name: &'static str,
    config_file: PathBuf,
    resolver: SocketAddr,
    env: Vec<(&'static str, String)>,
}

impl Launch {
    fn start(&self, scratch: &Scratch, address: &LoopbackAddress) -> Server {
        let mut command = Command::new(program());
        command
            .arg("-strict")
            .arg("-config")
            .arg(&self.config_file)
            .arg("-dnsserver")
            .arg(self.resolver.to_string());
        command
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut server = Server::spawn(scratch, self.name, &mut command);
        server.wait_for(address.port(ACME_PORT));
        server.wait_for(address.port(MANAGEMENT_PORT));
        server
    }
}

impl Pebble {
    /// Starts Pebble on an address of its own. Names are resolved by `resolver`; http-01 is validated on port 80 and
    /// tls-alpn-01 on port 443 of what they resolve to.
    pub fn start(scratch: &Scratch, resolver: SocketAddr, options: &PebbleOptions) -> Self {
        Self::start_as("pebble", scratch, resolver, options)
    }

    /// As [`Pebble::start`], for a second CA of a test: the name is that of its files and its log.
    pub fn start_as(
        name: &'static str,
        scratch: &Scratch,
        resolver: SocketAddr,
        options: &PebbleOptions,
    ) -> Self {
        let file = |file: &str| format!("{name}/{file}");
        let address = LoopbackAddress::take(scratch);
        let pki = HttpsPki::new(&address);
        let root_ca_file = scratch.file(&file("https-root.pem"), &pki.root);
        let certificate = scratch.file(&file("https.crt"), &pki.certificate);
        let private_key = scratch.secret_file(&file("https.key"), &pki.private_key);
        let mut config = json!({
            "listenAddress": address.port(ACME_PORT).to_string(),
            "managementListenAddress": address.port(MANAGEMENT_PORT).to_string(),
            "certificate": certificate,
            "privateKey": private_key,
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "domainBlocklist": ["blocked.example.test"],
            "keyAlgorithm": "ecdsa",
            "externalAccountBindingRequired": false,
            "profiles": {
                "classic": { "description": "90 days", "promoteCommonName": true, "validityPeriod": 7_776_000 },
            },
        });
        for (key, value) in options.config.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let config_file = scratch.file(&file("config.json"), json!({ "pebble": config }).to_string());
        let launch = Launch {
            name,
            config_file,
            resolver,
            env: options.env.clone(),
        };
        let pebble = Self {
            server: launch.start(scratch, &address),
            launch,
            address,
            http: pki.client(),
            root_ca_file,
            issuer_root_file: scratch.path().join(file("issuer-root.pem")),
        };
        let (status, root) = pebble.get("/roots/0");
        assert_eq!(status, 200, "{root}");
        std::fs::write(&pebble.issuer_root_file, root).unwrap();
        pebble
    }

    /// Ends it, and starts it again: accounts, orders and its CA are gone.
    pub fn restart(&mut self, scratch: &Scratch) {
        self.server.end();
        self.server = self.launch.start(scratch, &self.address);
    }

    /// Returns the URL of the ACME directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address.port(ACME_PORT))
    }

    /// Returns the file with the root that the directory's own HTTPS is verified by.
    pub fn root_ca_file(&self) -> &Path {
        &self.root_ca_file
    }

    /// Returns the file with the root of the certificates it issues.
    pub fn issuer_root_file(&self) -> &Path {
        &self.issuer_root_file
    }

    /// Returns what it printed so far: each request and each validation is there.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Returns how many lines of the log contain the text.
    pub fn count_in_log(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Returns true if there are fewer authorizations than orders. Pebble reuses one that is valid once in a hundred times, whatever
    /// `PEBBLE_AUTHZREUSE` says: it compares `rand.Intn(100) > 0` (`wfe/wfe.go`, `makeAuthorizations`).
    fn has_spared_a_validation(&self) -> bool {
        self.count_in_log(" authorizations in the db") < self.count_in_log("Added order ")
    }

    /// Returns how many orders were made, and how many certificates issued.
    pub fn n_orders_and_certificates(&self) -> (usize, usize) {
        (
            // A request whose nonce was rejected made no order.
            self.count_in_log("Added order "),
            self.count_in_log("Issued certificate serial"),
        )
    }

    /// Returns where it answers ACME requests.
    pub fn address(&self) -> SocketAddr {
        self.address.port(ACME_PORT)
    }

    /// Asks the management interface.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.request(self.http.get(self.management(path)))
    }

    /// Sets what renewal information (RFC 9773) says of a certificate: any text at all; empty is Pebble's own again.
    pub fn set_renewal_info(&self, certificate_pem: &str, answer: &str) {
        let body = json!({ "Certificate": certificate_pem, "ARIResponse": answer }).to_string();
        let (status, text) = self.request(self.http.post(self.management("/set-renewal-info/")).body(body));
        assert_eq!(status, 200, "{text}");
    }

    /// Issues a certificate without mailcert, for names that resolve to the address; borrows its port 80 meanwhile.
    pub fn issue(&self, address: &LoopbackAddress, names: &[&str]) -> Issued {
        issuance::issue(&self.http, self.directory(), address, names)
    }

    fn management(&self, path: &str) -> String {
        format!("https://{}{path}", self.address.port(MANAGEMENT_PORT))
    }

    /// Sends a request on a thread of its own, so that a test that runs inside a runtime can call this too.
    fn request(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let send = async {
            let response = request.send().await.expect("Pebble answers");
            (
                response.status().as_u16(),
                response.text().await.expect("Pebble's answer is text"),
            )
        };
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        std::thread::scope(|scope| scope.spawn(|| runtime().block_on(send)).join().unwrap())
    }
}

/// Returns the Pebble that `tests/lab/install` fetched.
fn program() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = std::env::var_os("MAILCERT_CACHE").map_or_else(|| repository.join(".cache"), PathBuf::from);
    let program = cache.join("pebble/usr/bin/pebble");
    assert!(
        program.exists(),
        "{} is missing: run tests/lab/install",
        program.display()
    );
    program
}

/// Root and certificate of a CA's own HTTPS, as PEM.
pub(super) struct HttpsPki {
    pub(super) root: String,
    pub(super) certificate: String,
    pub(super) private_key: String,
    root_der: rustls::pki_types::CertificateDer<'static>,
}

impl HttpsPki {
    /// Makes a root, and a certificate for the address.
    pub(super) fn new(address: &LoopbackAddress) -> Self {
        let root_key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::default();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.distinguished_name
            .push(rcgen::DnType::CommonName, "mailcert lab: HTTPS of Pebble");
        let root_certificate = root.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(root, root_key);

        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![address.ip().to_string()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        Self {
            root: root_certificate.pem(),
            certificate: certificate.pem(),
            private_key: key.serialize_pem(),
            root_der: root_certificate.der().clone(),
        }
    }

    /// Returns a client that trusts this root alone.
    fn client(&self) -> reqwest::Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root_der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent("mailcert-lab")
            .no_proxy();
        // No idle connections: each request has a runtime of its own, and a connection does not outlive its runtime.
        builder
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap()
    }
}
