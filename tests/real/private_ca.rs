//! `ca`: what OpenSSL, GnuTLS and pkilint make of what the private CA signs; what hostile requests and a damaged index come to;
//! and a host whose certificate comes from it without any network.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use mailcert::env::Clock;
use time::{Duration, OffsetDateTime};

use crate::support::{
    LoopbackAddress, Mailcert, Outcome, Postfix, PostfixOptions, Scratch, judge,
    server::wait_until,
    world::{DOMAIN, HOST},
};

/// Runs a program; returns whether it succeeded, and what it said.
fn said(directory: &Path, program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run tests/lab/install --tests"));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// A directory with a private CA under a passphrase.
struct Lab {
    mailcert: Mailcert,
    scratch: Scratch,
}

const PASSPHRASE: &str = "correct horse";

impl Lab {
    fn new() -> Self {
        let scratch = Scratch::new();
        let root = scratch.dir("root");
        scratch.secret_file("pass", format!("{PASSPHRASE}\n"));
        scratch.secret_file("wrong", "not this\n");
        Self {
            mailcert: Mailcert::new(None, &root),
            scratch,
        }
    }

    /// Makes the CA.
    fn with(more: &[&str]) -> Self {
        let lab = Self::new();
        let made = lab.ca("init", more).expect(0);
        assert!(
            !made.stdout.contains("PRIVATE") && !made.stderr.contains(PASSPHRASE),
            "{made}"
        );
        lab
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    /// Runs a command of `ca`, at this lab's directory, with its passphrase.
    fn ca(&self, command: &str, more: &[&str]) -> Outcome {
        self.mailcert.run(
            &self
                .args(command, more)
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    }

    fn args(&self, command: &str, more: &[&str]) -> Vec<String> {
        let mut args = vec![
            "ca".to_owned(),
            command.to_owned(),
            "--directory".to_owned(),
            self.path("ca"),
        ];
        if command != "show" && !more.iter().any(|one| one.contains("pass")) {
            args.extend(["--passphrase-file".to_owned(), self.path("pass")]);
        }
        args.extend(more.iter().map(|one| (*one).to_owned()));
        args
    }

    fn openssl(&self, args: &str) -> String {
        let args: Vec<&str> = args.split_whitespace().collect();
        let (good, text) = said(self.scratch.path(), "openssl", &args);
        assert!(good, "openssl {args:?}: {text}");
        text
    }

    /// Has OpenSSL make a request.
    fn request(&self, name: &str, key: &str, more: &[&str]) -> String {
        let (key_file, file) = (format!("{name}.key"), format!("{name}.csr"));
        let mut args = vec!["req", "-new", "-nodes", "-keyout", &key_file, "-out", &file];
        args.extend(key.split_whitespace());
        args.extend(more);
        let (good, text) = said(self.scratch.path(), "openssl", &args);
        assert!(good, "{text}");
        self.path(&file)
    }

    /// Returns how many certificates the index has.
    fn n_issued(&self) -> u64 {
        let shown = self.ca("show", &["--format", "json"]);
        shown.json()["n_issued"]
            .as_u64()
            .unwrap_or_else(|| panic!("{shown}"))
    }

    /// Returns what OpenSSL says of a certificate, by every rule it has, CRLs of the whole chain included.
    fn verify(&self, certificate: &str) -> (bool, String) {
        let mut crls = String::new();
        for name in ["ca/root.crl.pem", "ca/issuing.crl.pem"] {
            crls += &fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        }
        self.scratch.file("crls.pem", crls);
        let mut args = vec![
            "verify",
            "-x509_strict",
            "-crl_check_all",
            "-CRLfile",
            "crls.pem",
            "-CAfile",
            "ca/root.pem",
        ];
        if self.scratch.path().join("ca/issuing.pem").exists() {
            args.extend(["-untrusted", "ca/issuing.pem"]);
        }
        args.push(certificate);
        said(self.scratch.path(), "openssl", &args)
    }

    /// Has pkilint look; there may be no finding of severity error or worse.
    fn lint(&self, program: &str, args: &[&str]) {
        let cache = std::env::var("MAILCERT_CACHE")
            .unwrap_or_else(|_| format!("{}/.cache", env!("CARGO_MANIFEST_DIR")));
        let program = format!("{cache}/pkilint/bin/{program}");
        let (good, text) = said(
            self.scratch.path(),
            &program,
            &[&["lint", "-s", "WARNING"], args].concat(),
        );
        assert!(good, "{program} {args:?}: {text}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

const P256: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-384";

#[test]
#[ignore = "real: needs openssl, certtool, pkilint"]
fn every_judge_takes_what_it_signs() {
    judge_all(
        &["--domain", DOMAIN, "--network", "192.0.2.0/24", "--intermediate"],
        "192.0.2.1",
    );
}

#[test]
#[ignore = "real: needs openssl, certtool, pkilint"]
fn long_every_judge_takes_what_every_kind_of_key_signs() {
    let p384 = [
        "--domain",
        DOMAIN,
        "--network",
        "2001:db8::/32",
        "--key",
        "ecdsa-p384",
    ];
    judge_all(&p384, "2001:db8::1");
    let rsa = [
        "--unconstrained",
        "--key",
        "rsa-2048",
        "--intermediate",
        "--subject",
        "C=JP,O=Example",
    ];
    judge_all(&rsa, "192.0.2.1");
}

/// Has every judge look at a CA of this kind, and at what it signs.
fn judge_all(more: &[&str], address: &str) {
    let url = ["--crl-url", "http://crl.example.test/ca.crl"];
    let lab = Lab::with(&[more, &url[..]].concat());
    let has_issuing = more.contains(&"--intermediate");
    lab.ca(
        "issue",
        &[
            HOST,
            address,
            "--out-dir",
            &lab.path("out"),
            "--basename",
            "server",
        ],
    )
    .expect(0);
    // pkilint knows RFC 5280 alone, and no wildcard; OpenSSL is asked.
    let wildcard = format!("*.{DOMAIN}");
    lab.ca("issue", &[&wildcard, "--out-dir", &lab.path("out")])
        .expect(0);
    let (verified, text) = lab.verify(&format!("out/_wildcard.{DOMAIN}.pem"));
    assert!(verified, "{text}");
    let csr = lab.request(
        "client",
        P384,
        &[
            "-sha256",
            "-subj",
            "/CN=x",
            "-addext",
            &format!("subjectAltName=DNS:client.{DOMAIN}"),
        ],
    );
    let signed = lab
        .ca("sign", &[&csr, "--profile", "client", "--days", "825"])
        .expect(0);
    lab.scratch.file("out/client.pem", &signed.stdout);
    lab.ca(
        "revoke",
        &[&format!("client.{DOMAIN}"), "--reason", "keyCompromise"],
    )
    .expect(0);
    lab.ca(
        "issue",
        &[
            &format!("client.{DOMAIN}"),
            "--profile",
            "client",
            "--out-dir",
            &lab.path("out"),
            "--basename",
            "second",
            "--subject",
            "",
        ],
    )
    .expect(0);

    for (name, good) in [("server", true), ("client", false), ("second", true)] {
        let (verified, text) = lab.verify(&format!("out/{name}.pem"));
        assert_eq!(verified, good, "{name}: {text}");
        assert_eq!(text.contains("certificate revoked"), !good, "{name}: {text}");
    }
    let purpose = |name: &str| lab.openssl(&format!("x509 -in out/{name}.pem -noout -purpose"));
    assert!(purpose("server").contains("SSL server : Yes") && purpose("server").contains("SSL client : No"));
    assert!(purpose("second").contains("SSL server : No") && purpose("second").contains("SSL client : Yes"));
    let chain = fs::read_to_string(lab.scratch.path().join("out/server.pem")).unwrap()
        + &fs::read_to_string(lab.scratch.path().join("ca/root.pem")).unwrap();
    lab.scratch.file("chain.pem", chain);
    let (good, text) = said(
        lab.scratch.path(),
        "certtool",
        &["--verify-chain", "--infile", "chain.pem"],
    );
    assert!(
        good && text.contains("Verified. The certificate is trusted"),
        "{text}"
    );
    let crl = if has_issuing { "issuing" } else { "root" };
    let (good, text) = said(
        lab.scratch.path(),
        "certtool",
        &[
            "--verify-crl",
            "--infile",
            &format!("ca/{crl}.crl.pem"),
            "--load-ca-certificate",
            &format!("ca/{crl}.pem"),
        ],
    );
    assert!(good && !text.contains("Not verified"), "{text}");

    // pkilint reads one certificate in a file.
    for name in ["server", "second"] {
        lab.openssl(&format!("x509 -in out/{name}.pem -out {name}-leaf.pem"));
    }
    for name in [
        "ca/root.pem",
        "ca/issuing.pem",
        "server-leaf.pem",
        "second-leaf.pem",
    ] {
        if lab.scratch.path().join(name).exists() {
            lab.lint("lint_pkix_cert", &[name]);
        }
    }
    lab.lint(
        "lint_crl",
        &["-p", "PKIX", "-t", "CRL", &format!("ca/{crl}.crl.pem")],
    );
    lab.lint("lint_crl", &["-p", "PKIX", "-t", "CRL", "ca/root.crl.pem"]);
    if has_issuing {
        lab.lint(
            "lint_pkix_signer_signee_cert_chain",
            &["ca/root.pem", "ca/issuing.pem"],
        );
    }
    lab.lint(
        "lint_pkix_signer_signee_cert_chain",
        &[&format!("ca/{crl}.pem"), "server-leaf.pem"],
    );

    // OpenSSL opens our keys, and with no other passphrase.
    for key in ["root", crl] {
        lab.openssl(&format!(
            "pkcs8 -in ca/{key}.key -passin file:pass -out plain.key"
        ));
        assert_eq!(
            judge::public_key_of(&fs::read_to_string(lab.scratch.path().join("plain.key")).unwrap()),
            judge::public_key_of(
                &fs::read_to_string(lab.scratch.path().join(format!("ca/{key}.pem"))).unwrap()
            )
        );
        let (opened, _) = said(
            lab.scratch.path(),
            "openssl",
            &["pkcs8", "-in", &format!("ca/{key}.key"), "-passin", "file:wrong"],
        );
        assert!(!opened);
    }
    for name in [
        "ca/root.key",
        "ca/index",
        "ca/issued.pem",
        "ca/ca.json",
        "out/server.key",
    ] {
        assert_eq!(mode(&lab.scratch.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&lab.scratch.path().join("ca/root.pem")), 0o644);
    lab.ca("show", &[]).expect(0);
}

#[test]
#[ignore = "real: needs openssl"]
fn even_with_its_key_nobody_certifies_other_names() {
    let lab = Lab::with(&["--domain", DOMAIN, "--intermediate"]);
    lab.openssl("pkcs8 -in ca/issuing.key -passin file:pass -out stolen.key");
    let stolen = |name: &str, names: &str| {
        let csr = lab.request(
            name,
            P256,
            &[
                "-subj",
                "/",
                "-addext",
                &format!("subjectAltName=critical,{names}"),
            ],
        );
        lab.openssl(&format!(
            "x509 -req -in {csr} -CA ca/issuing.pem -CAkey stolen.key -days 30 -copy_extensions copy -out {name}.pem"
        ));
        said(
            lab.scratch.path(),
            "openssl",
            &[
                "verify",
                "-CAfile",
                "ca/root.pem",
                "-untrusted",
                "ca/issuing.pem",
                &format!("{name}.pem"),
            ],
        )
    };
    assert!(stolen("inside", &format!("DNS:a.{DOMAIN}")).0);
    for (name, names) in [
        ("outside", "DNS:www.example.com"),
        ("suffix", &format!("DNS:bad{DOMAIN}")),
        ("address", "IP:192.0.2.1"),
        ("v6", "IP:2001:db8::1"),
    ] {
        let (good, text) = stolen(name, names);
        assert!(!good && text.contains("subtree violation"), "{name}: {text}");
    }
}

#[test]
#[ignore = "real: needs openssl, gnutls"]
fn openssl_and_gnutls_shake_hands_by_its_certificates() {
    let lab = Lab::with(&["--domain", DOMAIN, "--intermediate"]);
    let out = lab.path("out");
    lab.ca("issue", &[HOST, "--out-dir", &out, "--basename", "server"])
        .expect(0);
    lab.ca(
        "issue",
        &[
            "client.example.test",
            "--profile",
            "client",
            "--out-dir",
            &out,
            "--basename",
            "client",
        ],
    )
    .expect(0);
    let address = LoopbackAddress::take(&lab.scratch);
    let accept = format!("{}:4433", address.ip());
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            &accept,
            "-cert",
            "out/server.pem",
            "-cert_chain",
            "ca/issuing.pem",
            "-key",
            "out/server.key",
        ])
        .args([
            "-CAfile",
            "ca/root.pem",
            "-Verify",
            "3",
            "-verify_return_error",
            "-quiet",
        ])
        .current_dir(lab.scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("s_server listens", || {
        std::net::TcpStream::connect(address.port(4433)).is_ok()
    });
    let (good, text) = said(
        lab.scratch.path(),
        "openssl",
        &[
            "s_client",
            "-connect",
            &accept,
            "-servername",
            HOST,
            "-verify_hostname",
            HOST,
            "-verify_return_error",
            "-CAfile",
            "ca/root.pem",
            "-cert",
            "out/client.pem",
            "-key",
            "out/client.key",
            "-cert_chain",
            "ca/issuing.pem",
        ],
    );
    assert!(good && text.contains("Verify return code: 0 (ok)"), "{text}");
    let (good, text) = said(
        lab.scratch.path(),
        "gnutls-cli",
        &[
            "--x509cafile",
            "ca/root.pem",
            "--x509certfile",
            "out/client.pem",
            "--x509keyfile",
            "out/client.key",
            "--sni-hostname",
            HOST,
            "--verify-hostname",
            HOST,
            "-p",
            "4433",
            &address.ip().to_string(),
        ],
    );
    assert!(good && text.contains("The certificate is trusted"), "{text}");
    // Without the client's certificate, or for another name, there is no handshake.
    let (good, text) = said(
        lab.scratch.path(),
        "openssl",
        &[
            "s_client",
            "-connect",
            &accept,
            "-verify_hostname",
            "other.example.test",
            "-verify_return_error",
            "-CAfile",
            "ca/root.pem",
        ],
    );
    assert!(!good && text.contains("hostname mismatch"), "{text}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
#[ignore = "real: needs openssl"]
fn what_should_not_be_signed_is_not_and_leaves_no_trace() {
    let lab = Lab::with(&["--domain", DOMAIN, "--network", "192.0.2.0/24"]);
    let subject = |names: &str| format!("subjectAltName={names}");
    let good = lab.request(
        "good",
        P256,
        &["-subj", "/", "-addext", &subject("DNS:a.example.test")],
    );
    let der = {
        lab.openssl("req -in good.csr -outform DER -out good.der");
        fs::read(lab.path("good.der")).unwrap()
    };
    let n_before = lab.n_issued();
    let refused = |name: &str, file: &str, more: &[&str], word: &str, code: i32| {
        let outcome = lab.ca("sign", &[&[file], more].concat()).expect(code);
        assert!(outcome.stderr.contains(word), "{name}: {outcome}");
        assert!(outcome.stderr.contains("remedy:"), "{name}: {outcome}");
        assert_eq!(outcome.stdout, "", "{name}");
    };
    // Names.
    for (name, names, word) in [
        (
            "outside",
            "DNS:www.example.com",
            "may not certify www.example.com",
        ),
        ("look-alike", "DNS:badexample.test", "may not certify"),
        ("wide", "DNS:*.test", "top-level"),
        (
            "address",
            "DNS:a.example.test,IP:198.51.100.1",
            "may not certify 198.51.100.1",
        ),
        ("mail", "email:root@example.test", "mail address"),
        ("uri", "URI:https://a.example.test/", "URI"),
        ("mixed", "DNS:a.example.test,dirName:sect", "directory name"),
    ] {
        let more = ["-subj", "/CN=a.example.test", "-addext", &subject(names)];
        if name == "mixed" {
            let config = lab.scratch.file(
                "openssl.cnf",
                "[req]\ndistinguished_name=dn\n[dn]\n[sect]\nCN=x\n",
            );
            let config = config.display().to_string();
            let file = lab.request(name, P256, &[&more[..], &["-config", &config]].concat());
            refused(name, &file, &[], word, 1);
            continue;
        }
        let file = lab.request(name, P256, &more);
        refused(name, &file, &[], word, 1);
    }
    let cn_only = lab.request("cn", P256, &["-subj", "/CN=a.example.test"]);
    refused("cn", &cn_only, &[], "common name only (a.example.test)", 1);
    let nothing = lab.request("nothing", P256, &["-subj", "/"]);
    refused("nothing", &nothing, &[], "asks for no name", 1);
    let many: Vec<String> = (0..10_000).map(|n| format!("DNS:n{n}.example.test")).collect();
    let config = lab.scratch.file(
        "many.cnf",
        format!(
            "[req]\ndistinguished_name=dn\nreq_extensions=ext\n[dn]\n[ext]\nsubjectAltName={}\n",
            many.join(",")
        ),
    );
    let many = lab.request(
        "many",
        P256,
        &["-subj", "/", "-config", &config.display().to_string()],
    );
    refused("many", &many, &[], "10000 names", 1);
    // Keys and signatures.
    let san = subject("DNS:a.example.test");
    for (name, key, word) in [
        ("weak", "-newkey rsa:1024", "1024 bits"),
        ("ed25519", "-newkey ed25519", "neither ECDSA"),
        (
            "curve",
            "-newkey ec -pkeyopt ec_paramgen_curve:P-521",
            "neither ECDSA",
        ),
        (
            "koblitz",
            "-newkey ec -pkeyopt ec_paramgen_curve:secp256k1",
            "neither ECDSA",
        ),
        ("sha1", "-newkey rsa:2048 -sha1", "manner"),
        ("pss", "-newkey rsa:2048 -sigopt rsa_padding_mode:pss", "manner"),
        (
            "explicit",
            "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            "neither ECDSA",
        ),
    ] {
        let file = lab.request(name, key, &["-subj", "/", "-addext", &san]);
        refused(name, &file, &[], word, 1);
    }
    // What is no whole request.
    let mut changed = der.clone();
    let at = changed.len() - 10;
    changed[at] ^= 1;
    for (name, bytes, word) in [
        ("signature", changed, "signature is wrong"),
        ("cut", der[..der.len() - 1].to_vec(), "broken or cut off"),
        ("longer", [&der[..], b"\0"].concat(), "something follows"),
        ("empty", Vec::new(), "empty"),
        ("text", b"hello".to_vec(), "BEGIN CERTIFICATE REQUEST"),
        ("deep", [0x30, 0x84, 0xff, 0xff, 0xff, 0xff].to_vec(), "broken"),
        ("nested", [0x30, 0x80].repeat(5000), "broken"),
        ("large", vec![0x30; (1 << 20) + 1], "larger than"),
    ] {
        let file = lab
            .scratch
            .file(&format!("{name}.der"), bytes)
            .display()
            .to_string();
        refused(name, &file, &[], word, 1);
    }
    refused("missing", &lab.path("none.csr"), &[], "No such file", 1);
    // The operator's own words.
    refused(
        "san",
        &good,
        &["--san", "www.example.com"],
        "may not certify www.example.com",
        2,
    );
    lab.ca("sign", &[&good, "--san", "a b"]).expect(2);
    lab.ca("sign", &[&good, "--days", "826"]).expect(2);
    lab.ca("sign", &[&good, "--profile", "ca"]).expect(2);
    lab.ca("issue", &["www.example.com", "--out-dir", &lab.path("never")])
        .expect(2);
    assert!(!Path::new(&lab.path("never")).exists());
    // The passphrase.
    let wrong = lab
        .ca("sign", &[&good, "--passphrase-file", &lab.path("wrong")])
        .expect(1);
    assert!(
        wrong.stderr.contains("passphrase is wrong") && !wrong.stderr.contains("not this"),
        "{wrong}"
    );
    let none = lab
        .mailcert
        .run(&["ca", "sign", &good, "--directory", &lab.path("ca")])
        .expect(2);
    assert!(none.stderr.contains("--passphrase-file"), "{none}");
    let typed = lab
        .mailcert
        .run_at_terminal(&["ca", "crl", "--directory", &lab.path("ca")], "wrong\n");
    assert!(typed.code != 0 && !typed.stderr.contains("wrong\n"), "{typed}");
    // The clock.
    let mut early = lab.mailcert.clone();
    for (now, word) in [
        (OffsetDateTime::UNIX_EPOCH, "the clock is wrong"),
        (OffsetDateTime::now_utc() + Duration::days(4000), "was good until"),
    ] {
        early.clock = Clock::Fixed(now);
        let args = lab.args("sign", &[&good]);
        let outcome = early
            .run(&args.iter().map(String::as_str).collect::<Vec<_>>())
            .expect(2);
        assert!(outcome.stderr.contains(word), "{outcome}");
    }
    // A second CA in the same place, or one for nobody.
    let index = fs::read(lab.path("ca/index")).unwrap();
    let again = lab.ca("init", &["--domain", "other.test"]).expect(2);
    assert!(
        again.stderr.contains("exists, and is not written over"),
        "{again}"
    );
    let nobody = lab
        .mailcert
        .run(&["ca", "init", "--directory", &lab.path("other"), "--no-passphrase"])
        .expect(2);
    assert!(nobody.stderr.contains("--domain"), "{nobody}");
    assert_eq!(fs::read(lab.path("ca/index")).unwrap(), index);
    assert_eq!(lab.n_issued(), n_before);
    // What is right is signed after all that.
    let signed = lab
        .ca(
            "sign",
            &[&cn_only, "--san", "a.example.test", "--san", "192.0.2.7"],
        )
        .expect(0);
    lab.scratch.file("signed.pem", &signed.stdout);
    let (verified, text) = lab.verify("signed.pem");
    assert!(verified, "{text}");
    let text = lab.openssl("x509 -in signed.pem -noout -ext subjectAltName,basicConstraints");
    assert!(
        text.contains("DNS:a.example.test, IP Address:192.0.2.7") && text.contains("CA:FALSE"),
        "{text}"
    );
}

#[test]
#[ignore = "real: needs openssl"]
fn a_request_cannot_make_itself_a_ca() {
    let lab = Lab::with(&["--domain", DOMAIN]);
    let csr = lab.request(
        "ca",
        P256,
        &[
            "-subj",
            "/O=Evil/CN=evil",
            "-addext",
            "subjectAltName=DNS:a.example.test",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=keyCertSign",
            "-addext",
            "nameConstraints=permitted;DNS:.",
            "-addext",
            "tlsfeature=status_request",
        ],
    );
    let signed = lab.ca("sign", &[&csr]).expect(0);
    lab.scratch.file("signed.pem", &signed.stdout);
    let text = lab.openssl("x509 -in signed.pem -noout -text");
    assert!(
        text.contains("CA:FALSE") && text.contains("Digital Signature"),
        "{text}"
    );
    for word in [
        "CA:TRUE",
        "Certificate Sign",
        "Evil",
        "Name Constraints",
        "status_request",
    ] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
#[ignore = "real: needs openssl"]
fn a_damaged_index_signs_nothing_and_loses_nothing() {
    let lab = Lab::with(&["--domain", DOMAIN, "--intermediate"]);
    let csr = lab.request(
        "good",
        P256,
        &["-subj", "/", "-addext", "subjectAltName=DNS:a.example.test"],
    );
    lab.ca("sign", &[&csr]).expect(0);
    let first = lab
        .ca("show", &["a.example.test", "--format", "json"])
        .expect(0)
        .json();
    let serial = first["certificates"][0]["serial"].as_str().unwrap().to_owned();
    lab.ca("sign", &[&csr]).expect(0);
    let crl = fs::read(lab.path("ca/issuing.crl.pem")).unwrap();
    lab.ca("revoke", &[&serial]).expect(0);
    let path = PathBuf::from(lab.path("ca/index"));
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let older: String = lines[..lines.len() - 2].concat();
    let without: String = [&lines[..2], &lines[3..]].concat().concat();
    for (name, text, word) in [
        (
            "changed",
            whole.replace("a.example.test", "b.example.test"),
            "was changed",
        ),
        ("taken out", without, "was changed"),
        ("older copy", older, "older copy"),
        ("gone", String::new(), "damaged"),
        (
            "other",
            whole.replacen("\"root\":\"", "\"root\":\"0", 1),
            "was changed",
        ),
    ] {
        fs::write(&path, &text).unwrap();
        for command in ["sign", "revoke", "crl"] {
            let what: &[&str] = match command {
                "sign" => &[&csr],
                "revoke" => &[&serial],
                _ => &[],
            };
            let refused = lab.ca(command, what).expect(1);
            // An older copy is whole: it is the CRL that shows it.
            assert!(
                refused.stderr.contains(word) && refused.stderr.contains("backup"),
                "{name} {command}: {refused}"
            );
            assert_eq!(refused.stdout, "");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
    }
    // What a crash leaves: half a line. It is kept aside, and the certificate that it was about is in the index again.
    let second = lines[..6].concat();
    fs::write(&path, &second[..second.len() - 40]).unwrap();
    fs::write(lab.path("ca/issuing.crl.pem"), crl).unwrap();
    lab.ca("crl", &[]).expect(0);
    assert_eq!(lab.n_issued(), 3);
    assert!(Path::new(&lab.path("ca/index.torn-1")).exists());
    lab.ca("revoke", &[&serial]).expect(0);
    // Half a certificate, which was in no index yet: it is cut off.
    let mut issued = fs::read(lab.path("ca/issued.pem")).unwrap();
    let size = issued.len();
    issued.extend_from_slice(b"-----BEGIN CERTIFICATE-----\nMIIB");
    fs::write(lab.path("ca/issued.pem"), &issued).unwrap();
    lab.ca("crl", &[]).expect(0);
    assert_eq!(fs::read(lab.path("ca/issued.pem")).unwrap().len(), size);
    fs::write(lab.path("ca/issued.pem"), &issued[..size - 1]).unwrap();
    let refused = lab.ca("sign", &[&csr]).expect(1);
    assert!(refused.stderr.contains("cut off"), "{refused}");
}

#[test]
#[ignore = "real: needs openssl"]
fn many_callers_at_once_and_killed_ones_lose_nothing() {
    const CALLERS: usize = 6;
    let lab = Lab::with(&["--domain", DOMAIN]);
    let requests = lab.scratch.dir("requests");
    for n in 0..10 {
        let csr = lab.request(
            &format!("r{n}"),
            P256,
            &[
                "-subj",
                "/",
                "-addext",
                &format!("subjectAltName=DNS:r{n}.example.test"),
            ],
        );
        fs::rename(csr, requests.join(format!("r{n}.csr"))).unwrap();
    }
    let requests = requests.display().to_string();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (lab, requests) = (&lab, &requests);
            scope.spawn(move || {
                let out = lab.path(&format!("out{caller}"));
                lab.ca("sign", &[requests, "--out-dir", &out]).expect(0);
            });
        }
    });
    assert_eq!(lab.n_issued(), 10 * CALLERS as u64);
    // Again: nothing is signed twice into the same place.
    lab.ca("sign", &[&requests, "--out-dir", &lab.path("out0")])
        .expect(0);
    assert_eq!(lab.n_issued(), 10 * CALLERS as u64);
    // Killed at many moments: whatever was given away is in the index, and the next run goes on.
    for n in 0..12_u64 {
        let out = lab.path(&format!("killed{n}"));
        let args = lab.args("sign", &[&requests, "--out-dir", &out]);
        let mut child = lab
            .mailcert
            .command(&args.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lock = lab.path("ca/lock");
        // Each further into the run than the one before, as far as the machine lets us.
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_millis(40 * n)
            && child.try_wait().unwrap().is_none()
        {
            let _ = fs::metadata(&lock);
            thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    lab.ca("crl", &[]).expect(0);
    let all = lab.ca("show", &["--all", "--format", "json"]).expect(0).json();
    let known: Vec<&str> = all["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["serial"].as_str().unwrap())
        .collect();
    for n in 0..12 {
        for entry in fs::read_dir(lab.path(&format!("killed{n}")))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let serial = lab.openssl(&format!("x509 -in {} -noout -serial", entry.path().display()));
            let serial = serial.trim().trim_start_matches("serial=").to_ascii_lowercase();
            assert!(known.contains(&format!("{serial:0>32}").as_str()), "{serial}");
        }
    }
}

/// The answers of a host without a public name, and without any network: nobody answers at the resolver's address.
fn offline_host(scratch: &Scratch, address: &LoopbackAddress, postfix: &Postfix) -> (Mailcert, Vec<String>) {
    scratch.file("root/etc/os-release", "ID=debian\n");
    scratch.file("root/etc/resolv.conf", format!("nameserver {}\n", address.ip()));
    let mailcert = Mailcert::new(
        Some(&scratch.path().join("mailcert.toml")),
        &scratch.path().join("root"),
    );
    let args = [
        "init",
        "--issuer",
        "ca",
        "--host",
        HOST,
        "--domain",
        DOMAIN,
        "--timer",
        "none",
        "--yes",
        "--no-dovecot",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        "--postfix-config-directory".to_owned(),
        postfix.config_directory().display().to_string(),
        "--state-directory".to_owned(),
        scratch.path().join("state").display().to_string(),
    ]);
    let args = args.collect();
    (mailcert, args)
}

#[test]
#[ignore = "real: needs postfix, openssl"]
fn a_host_without_any_network_is_served_by_its_own_ca() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let postfix = Postfix::start(&scratch, &address, &PostfixOptions::default());
    let (mut mailcert, args) = offline_host(&scratch, &address, &postfix);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = mailcert.run(&args).expect(0);
    assert!(done.stdout.contains("a private CA was made"), "{done}");
    let state = scratch.path().join("state");
    let root = state.join("ca/root.pem");
    postfix.verify(25, &root).unwrap();
    let status = |mailcert: &Mailcert| mailcert.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!(status(&mailcert)["lineages"][0]["state"], "verified");
    let first = postfix.leaf_sha256(25).unwrap();
    // Seen from outside, its chain leads to its own root.
    let seen = mailcert.run(&["check", "tls", "certificates"]).expect(0);
    assert!(
        !seen.stdout.contains("untrusted") && seen.stdout.contains("ca.ok"),
        "{seen}"
    );
    // Again, and nothing happens.
    mailcert.run(&["apply", "--yes"]).expect(0);
    mailcert.run(&["renew"]).expect(0);
    assert_eq!(postfix.leaf_sha256(25).unwrap(), first);
    // A person wants the next one now; the key stays, since nobody can say what TLSA records name.
    let renewed = mailcert.run(&["renew", "--force"]).expect(0);
    assert!(
        renewed.stdout.contains("the key is kept") || renewed.stderr.contains("the key is kept"),
        "{renewed}"
    );
    assert_ne!(postfix.leaf_sha256(25).unwrap(), first);
    postfix.verify(25, &root).unwrap();
    mailcert.run(&["renew", "--dry-run"]).expect(0);
    mailcert.run(&["ca", "show"]).expect(0);
    // Sixteen days later the CRL is half over: the timer's run publishes the next one, and nothing else.
    mailcert.clock = Clock::Fixed(OffsetDateTime::now_utc() + Duration::days(16));
    let fresh = mailcert.run(&["renew"]).expect(0);
    assert!(fresh.stdout.contains("CRL was published, number 2"), "{fresh}");
    assert_eq!(
        mailcert
            .run(&["renew"])
            .expect(0)
            .stdout
            .matches("CRL was")
            .count(),
        0
    );
    mailcert.clock = Clock::System;
    // The CA's own way to revoke.
    let refused = mailcert.run(&["revoke", HOST, "--yes"]).expect(2);
    assert!(refused.stderr.contains("mailcert ca revoke"), "{refused}");
    // Without its CA a renewal fails loudly, and what is served goes on; no second root is made.
    fs::rename(state.join("ca"), state.join("away")).unwrap();
    let gone = mailcert.run(&["renew", "--force"]).expect(1);
    assert!(gone.stderr.contains("restore"), "{gone}");
    assert!(!state.join("ca").exists());
    postfix.verify(25, &state.join("away/root.pem")).unwrap();
}

#[test]
#[ignore = "real: needs postfix, openssl"]
fn its_key_may_be_under_a_passphrase_that_a_file_has() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let postfix = Postfix::start(&scratch, &address, &PostfixOptions::default());
    let (mailcert, args) = offline_host(&scratch, &address, &postfix);
    scratch.secret_file("pass", format!("{PASSPHRASE}\n"));
    let config = format!(
        "version = 1\nstate_directory = {:?}\n[host]\nname = \"{HOST}\"\ndomains = [\"{DOMAIN}\"]\n[ca]\nname = \"Our CA\"\npassphrase_file = {:?}\n",
        scratch.path().join("state"),
        scratch.path().join("pass")
    );
    scratch.file("mailcert.toml", config);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    mailcert.run(&args).expect(0);
    let key = fs::read_to_string(scratch.path().join("state/ca/root.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{key}");
    postfix
        .verify(25, &scratch.path().join("state/ca/root.pem"))
        .unwrap();
    // The file is gone: what is served stays, and the error names the key.
    fs::remove_file(scratch.path().join("pass")).unwrap();
    let refused = mailcert.run(&["renew", "--force"]).expect(1);
    assert!(
        refused.stderr.contains("passphrase") && !refused.stderr.contains(PASSPHRASE),
        "{refused}"
    );
    postfix
        .verify(25, &scratch.path().join("state/ca/root.pem"))
        .unwrap();
}
