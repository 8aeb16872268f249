//! A signed zone, the reverse zone of its hosts, and a validating resolver, each a named of its own; and a relay of
//! datagrams that lets every answer wait, as a network does.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    LoopbackAddress, Scratch,
    server::{Server, run},
};

/// Whether a zone is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// By a key that the resolver trusts.
    Signed,
    /// By a key that the resolver trusts, and its signatures have expired.
    Expired,
    /// Not at all.
    Unsigned,
}

/// A named that serves zones, and one that resolves through it.
pub struct Signed {
    _authority: Server,
    _resolver: Server,
}

impl Signed {
    /// Starts both: zones (origin, records, how signed) at one address, the validating resolver at the other. Zones
    /// have the name server `ns1.example.test`; what is in none of them does not exist.
    pub fn start(
        scratch: &Scratch,
        authority: &LoopbackAddress,
        resolver: &LoopbackAddress,
        zones: &[(&str, String, Signing)],
    ) -> Self {
        let dir = scratch.dir("authority");
        let ip = authority.ip();
        let common = |dir: &std::path::Path, ip| {
            format!(
                "options {{\n directory \"{}\"; listen-on port 53 {{ {ip}; }}; listen-on-v6 {{ none; }};\n pid-file none; \
                 lock-file none; session-keyfile none; notify no; empty-zones-enable no; minimal-responses yes; check-names primary ignore; check-integrity no;\n",
                dir.display()
            )
        };
        let mut conf = common(&dir, ip) + "recursion no; dnssec-validation no; };\ncontrols { };\n";
        let mut anchors = String::new();
        let mut stubs = String::new();
        let root = format!("example.test. NS ns1.example.test.\nns1.example.test. A {ip}\n");
        let every = std::iter::once(("", root, Signing::Unsigned)).chain(
            zones
                .iter()
                .map(|(origin, records, signing)| (*origin, records.clone(), *signing)),
        );
        for (n, (origin, records, signing)) in every.enumerate() {
            let owner = format!("{origin}.");
            let file = format!("zone-{n}");
            let text = format!(
                "$ORIGIN {owner}\n$TTL 60\n@ SOA ns1.example.test. hostmaster 1 3600 600 86400 60\n@ NS ns1.example.test.\n{records}"
            );
            fs::write(dir.join(&file), text).unwrap();
            let served = if signing == Signing::Unsigned {
                file
            } else {
                anchors += &sign(&dir, &owner, &file, signing);
                format!("{file}.signed")
            };
            conf += &format!("zone \"{owner}\" {{ type primary; file \"{served}\"; }};\n");
            stubs += &format!("zone \"{owner}\" {{ type static-stub; server-addresses {{ {ip}; }}; }};\n");
        }
        let authority_server = spawn(scratch, "authority", &dir, &conf, authority);
        let dir = scratch.dir("resolver");
        let conf = common(&dir, resolver.ip())
            + "recursion yes; dnssec-validation yes; };\ncontrols { };\n"
            + &format!("trust-anchors {{ {anchors} }};\n{stubs}");
        let resolver_server = spawn(scratch, "resolver", &dir, &conf, resolver);
        Self {
            _authority: authority_server,
            _resolver: resolver_server,
        }
    }
}

/// A zone that its server signs and that takes dynamic updates, and a validating resolver that remembers next to nothing.
pub struct Updated {
    _servers: [Server; 2],
    /// The server that takes updates.
    pub address: SocketAddr,
    /// The file with the TSIG key's base64 secret; its algorithm is hmac-sha256.
    pub secret_file: PathBuf,
}

/// The name of the TSIG key of an [`Updated`] zone.
pub const UPDATE_KEY: &str = "update-key";

impl Updated {
    /// Starts both for the zone `example.test`; its name server is `ns1` in it.
    pub fn start(
        scratch: &Scratch,
        authority: &LoopbackAddress,
        resolver: &LoopbackAddress,
        records: &str,
    ) -> Self {
        Self::start_with(scratch, authority, resolver, records, "")
    }

    /// As [`Updated::start`], with records of an unsigned zone that holds all other names.
    pub fn start_with(
        scratch: &Scratch,
        authority: &LoopbackAddress,
        resolver: &LoopbackAddress,
        records: &str,
        others: &str,
    ) -> Self {
        let (dir, ip) = (scratch.dir("signing"), authority.ip());
        let key = run(Command::new("tsig-keygen").args(["-a", "hmac-sha256", UPDATE_KEY]));
        let secret = key
            .split('"')
            .nth(3)
            .expect("tsig-keygen prints the secret in quotes");
        let secret_file = scratch.secret_file("signing/secret", secret);
        let soa = |owner: &str| {
            format!(
                "$ORIGIN {owner}\n$TTL 60\n@ SOA ns1.example.test. root 1 3600 600 86400 1\n@ NS ns1.example.test.\n"
            )
        };
        let glue = format!("ns1.example.test. A {ip}\n");
        fs::write(
            dir.join("root"),
            soa(".") + "example.test. NS ns1.example.test.\n" + &glue + others,
        )
        .unwrap();
        fs::write(dir.join("zone"), soa("example.test.") + &glue + records).unwrap();
        let policy = "dnssec-policy lab { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; };\n";
        let conf = format!(
            "options {{ directory \"{dir}\"; listen-on port 53 {{ {ip}; }}; listen-on-v6 {{ none; }}; pid-file none; \
             lock-file none; session-keyfile none; notify no; empty-zones-enable no; recursion no; dnssec-validation no; }};\n\
             controls {{ }};\n{key}{policy}zone \".\" {{ type primary; file \"root\"; }};\n\
             zone \"example.test.\" {{ type primary; file \"zone\"; dnssec-policy lab; key-directory \"{dir}\"; \
             update-policy {{ grant {UPDATE_KEY} zonesub ANY; }}; }};\n",
            dir = dir.display(),
        );
        let conf_file = scratch.secret_file("signing/policy.conf", policy);
        let made = run(Command::new("dnssec-keygen")
            .args(["-k", "lab", "-l"])
            .arg(conf_file)
            .arg("-K")
            .arg(&dir)
            .arg("example.test"));
        let anchor = anchor(&dir, made.trim(), "example.test.");
        let server = spawn(scratch, "signing", &dir, &conf, authority);
        let dir = scratch.dir("validating");
        let conf = format!(
            "options {{ directory \"{dir}\"; listen-on port 53 {{ {resolver}; }}; listen-on-v6 {{ none; }}; pid-file none; \
             lock-file none; session-keyfile none; empty-zones-enable no; recursion yes; dnssec-validation yes; \
             max-ncache-ttl 0; max-cache-ttl 1; }};\ncontrols {{ }};\ntrust-anchors {{ {anchor} }};\n\
             zone \".\" {{ type static-stub; server-addresses {{ {ip}; }}; }};\n\
             zone \"example.test.\" {{ type static-stub; server-addresses {{ {ip}; }}; }};\n",
            dir = dir.display(),
            resolver = resolver.ip(),
        );
        let validating = spawn(scratch, "validating", &dir, &conf, resolver);
        let address = authority.port(53);
        super::server::wait_until("the zone is signed", || {
            let dig = Command::new("dig")
                .arg(format!("@{}", resolver.ip()))
                .args(["+time=2", "+tries=1", "example.test", "SOA"])
                .output()
                .expect("dig is missing: run tests/lab/install");
            let text = String::from_utf8_lossy(&dig.stdout).into_owned();
            text.lines()
                .any(|line| line.starts_with(";; flags:") && line.contains(" ad"))
        });
        Self {
            _servers: [server, validating],
            address,
            secret_file,
        }
    }
}

/// Signs a zone's file; returns the trust anchor.
fn sign(dir: &std::path::Path, owner: &str, file: &str, signing: Signing) -> String {
    let key = run(Command::new("dnssec-keygen")
        .args(["-a", "ECDSAP256SHA256", "-f", "KSK", "-K"])
        .arg(dir)
        .arg(owner));
    let key = key.trim();
    let mut signer = Command::new("dnssec-signzone");
    signer
        .current_dir(dir)
        .args(["-z", "-P", "-o", owner, "-f", &format!("{file}.signed")]);
    if signing == Signing::Expired {
        signer.args(["-s", "20200101000000", "-e", "20200201000000"]);
    }
    let public = fs::read_to_string(dir.join(format!("{key}.key"))).unwrap();
    let mut zone = fs::read_to_string(dir.join(file)).unwrap();
    zone.push_str(&public);
    fs::write(dir.join(file), zone).unwrap();
    run(signer.arg(file).arg(key));
    anchor(dir, key, owner)
}

/// Returns the trust anchor of a key that dnssec-keygen made.
fn anchor(dir: &std::path::Path, key: &str, owner: &str) -> String {
    let public = fs::read_to_string(dir.join(format!("{key}.key"))).unwrap();
    let line = public.lines().find(|line| line.contains("DNSKEY")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "DNSKEY").unwrap();
    format!(
        "\"{owner}\" static-key {} {} {} \"{}\";\n",
        words[at + 1],
        words[at + 2],
        words[at + 3],
        words[at + 4..].concat()
    )
}

fn spawn(
    scratch: &Scratch,
    name: &'static str,
    dir: &std::path::Path,
    conf: &str,
    address: &LoopbackAddress,
) -> Server {
    let conf = scratch.file(&format!("{name}/named.conf"), conf);
    run(Command::new("cp").arg("/usr/sbin/named").arg(dir.join("named")));
    let mut command = Command::new(dir.join("named"));
    command
        .arg("-g")
        .arg("-c")
        .arg(conf)
        .args(["-n", "1"])
        .current_dir(dir);
    let mut server = Server::spawn(scratch, name, &mut command);
    server.wait_for(address.port(53));
    server
}

/// Hands datagrams on to a server, and its answers back after a while.
pub struct SlowWay {
    ended: Arc<AtomicBool>,
    address: SocketAddr,
    n_asked: Arc<AtomicUsize>,
}

impl SlowWay {
    /// Listens at one address; each answer of the other is held back for this long.
    pub fn open(at: SocketAddr, to: SocketAddr, delay: Duration) -> Self {
        let socket = Arc::new(UdpSocket::bind(at).unwrap());
        let (ended, n_asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (seen, counted) = (Arc::clone(&ended), Arc::clone(&n_asked));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let (question, back) = (buffer[..length].to_vec(), Arc::clone(&socket));
                thread::spawn(move || {
                    // The delay is what is tested, not a wait for something.
                    thread::sleep(delay);
                    let onward = UdpSocket::bind("127.0.0.1:0").unwrap();
                    onward.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    onward.send_to(&question, to).unwrap();
                    let mut answer = vec![0; 65_535];
                    if let Ok((length, _)) = onward.recv_from(&mut answer) {
                        let _ = back.send_to(&answer[..length], client);
                    }
                });
            }
        });
        Self {
            ended,
            address: at,
            n_asked,
        }
    }

    /// Returns how many questions came.
    pub fn n_asked(&self) -> usize {
        self.n_asked.load(Ordering::SeqCst)
    }
}

impl Drop for SlowWay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .send_to(b"end", self.address);
    }
}
