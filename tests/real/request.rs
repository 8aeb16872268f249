//! `csr` and `install FILE`: what OpenSSL and GnuTLS read, sign and export, and the whole way to a port that serves it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    pty,
};

use crate::support::{Mailcert, Outcome, Scratch, Site, judge, world::HOST};

/// Runs a program in a directory, which must succeed; returns what it printed.
fn run(directory: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run tests/lab/install --tests"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{said}",
        output.status
    );
    said
}

fn openssl(directory: &Path, args: &str) -> String {
    run(directory, "openssl", &args.split_whitespace().collect::<Vec<_>>())
}

/// The CA's desk: it has the intermediate's key, and signs what comes by mail.
struct Desk(PathBuf);

impl Desk {
    fn of(site: &Site) -> Self {
        let directory = site.scratch.path().join("desk");
        let (certificate, key) = site.authority.intermediate();
        site.scratch.file("desk/ca.pem", certificate);
        site.scratch.secret_file("desk/ca.key", key);
        site.scratch.file("desk/root.pem", site.authority.root());
        Self(directory)
    }

    /// Signs a request as `openssl x509 -req` does it, with the names that it asks for.
    fn sign(&self, request: &str, leaf: &str, days: u32) -> String {
        let given = format!("{leaf}.csr");
        fs::write(self.0.join(&given), request).unwrap();
        let said = openssl(&self.0, &format!("req -in {given} -noout -verify -text"));
        assert!(
            said.contains("verify OK") && said.contains(&format!("DNS:{HOST}")),
            "{said}"
        );
        openssl(
            &self.0,
            &format!(
                "x509 -req -in {given} -CA ca.pem -CAkey ca.key -days {days} -copy_extensions copy -out {leaf}"
            ),
        );
        fs::read_to_string(self.0.join(leaf)).unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

fn served(site: &Site) -> String {
    site.postfix.leaf_sha256(25).unwrap()
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn from_the_request_to_a_port_that_serves_its_answer_and_once_more_a_year_later() {
    let site = Site::start();
    let desk = Desk::of(&site);
    let first = site
        .mailcert()
        .run(&["csr", HOST, "--subject", "C=JP,O=Example"])
        .expect(0);
    // BIND knows the name, so that nothing is to be said about it.
    assert!(!first.stderr.contains("note"), "{first}");
    let leaf = desk.sign(&first.stdout, "leaf.pem", 90);
    openssl(
        &desk.0,
        "crl2pkcs7 -nocrl -certfile root.pem -certfile ca.pem -certfile leaf.pem -outform DER -out all.p7b",
    );
    site.mailcert()
        .run(&["install", HOST, &desk.path("all.p7b")])
        .expect(0);
    assert_eq!(served(&site), judge::certificate_sha256(&leaf).unwrap());
    site.postfix.verify(25, &site.root_file()).unwrap();
    assert_eq!(site.status()["state"], "verified");
    site.mailcert().run(&["status"]).expect(0);
    // As made: the key in use is the one of the request, readable by root alone, and waits no more.
    let live = site.state("live").join(HOST);
    let key = fs::read_to_string(live.join("privkey.pem")).unwrap();
    assert_eq!(judge::public_key_of(&key), judge::public_key_of(&leaf));
    assert_eq!(
        fs::read_dir(site.state("lineages").join(HOST).join("requests"))
            .unwrap()
            .count(),
        0
    );

    // A year later: another key, PEM this time, upside down, with the old leaf and a stranger among them.
    let second = site.mailcert().run(&["csr", HOST]).expect(0);
    assert_eq!(
        site.mailcert().run(&["csr", HOST]).expect(0).stdout,
        second.stdout
    );
    let renewed = desk.sign(&second.stdout, "renewed.pem", 365);
    assert!(judge::public_key_of(&renewed) != judge::public_key_of(&leaf));
    let read = |name: &str| fs::read_to_string(desk.0.join(name)).unwrap();
    let mixed = format!(
        "{}{}{}{leaf}{renewed}",
        read("root.pem"),
        site.issue().leaf,
        read("ca.pem")
    );
    fs::write(desk.0.join("mixed.pem"), mixed).unwrap();
    site.mailcert()
        .run(&["install", HOST, &desk.path("mixed.pem")])
        .expect(0);
    assert_eq!(served(&site), judge::certificate_sha256(&renewed).unwrap());
    site.postfix.verify(25, &site.root_file()).unwrap();
    assert_eq!(site.live_generation(), "2");

    // The leaf alone goes into service, and it is said that clients will not trust it; then its issuer comes after.
    let third = site.mailcert().run(&["csr", HOST]).expect(0);
    let alone = desk.sign(&third.stdout, "alone.pem", 365);
    let told = site.mailcert().run(&["install", HOST, &desk.path("alone.pem")]);
    assert!(told.stdout.contains("the certificate came alone"), "{told}");
    let told = site
        .mailcert()
        .run(&["install", HOST, &desk.path("alone.pem"), &desk.path("ca.pem")])
        .expect(0);
    assert!(!told.stdout.contains("came alone"), "{told}");
    assert_eq!(served(&site), judge::certificate_sha256(&alone).unwrap());
    site.postfix.verify(25, &site.root_file()).unwrap();
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn every_file_that_openssl_exports_is_taken_and_a_wrong_passphrase_is_told() {
    let site = Site::start();
    let desk = Desk::of(&site);
    site.mailcert().run(&["csr", HOST]).expect(0);
    openssl(
        &desk.0,
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out own.key",
    );
    let install = |args: &[&str]| site.mailcert().run(&[&["install", HOST], args].concat());
    let mut n = 0;
    let mut sign = || {
        n += 1;
        openssl(
            &desk.0,
            &format!("req -new -key own.key -subj /CN={HOST} -addext subjectAltName=DNS:{HOST} -out own.csr"),
        );
        let request = fs::read_to_string(desk.0.join("own.csr")).unwrap();
        desk.sign(&request, "own.pem", 90 + n)
    };
    fs::write(desk.0.join("pass"), "geheim\n").unwrap();
    fs::write(desk.0.join("wrong"), "hunter22\n").unwrap();
    let (pass, wrong) = (desk.path("pass"), desk.path("wrong"));
    let export =
        "pkcs12 -export -inkey own.key -in own.pem -certfile ca.pem -passout pass:geheim -out own.p12";
    for more in [
        "",
        " -keypbe AES-128-CBC -certpbe AES-192-CBC -macalg SHA1",
        " -macalg SHA512 -iter 1000 -maciter",
        " -nomac",
        " -certpbe NONE",
    ] {
        let leaf = sign();
        openssl(&desk.0, &format!("{export}{more}"));
        let file = desk.path("own.p12");
        let told = install(&[&file, "--passphrase-file", &wrong]).expect(1);
        assert!(told.stderr.contains("the passphrase is wrong"), "{more}: {told}");
        assert!(!told.stderr.contains("hunter22"), "{told}");
        let told = install(&[&file]).expect(2);
        assert!(told.stderr.contains("--passphrase-file"), "{more}: {told}");
        install(&[&file, "--passphrase-file", &pass]).expect(0);
        assert_eq!(served(&site), judge::certificate_sha256(&leaf).unwrap(), "{more}");
    }
    openssl(&desk.0, &format!("{export} -legacy"));
    let told = install(&[&desk.path("own.p12"), "--passphrase-file", &pass]).expect(1);
    let remedy = told
        .stderr
        .lines()
        .find(|line| line.contains("openssl pkcs12 -legacy"))
        .unwrap();
    // What the remedy says is what helps.
    let command = remedy
        .split('`')
        .nth(1)
        .unwrap()
        .replace("-in ", "-passin pass:geheim -in ");
    run(&desk.0, "sh", &["-c", &command]);
    let leaf = sign();
    openssl(&desk.0, &format!("{export} -legacy"));
    run(&desk.0, "sh", &["-c", &command]);
    install(&[&desk.path("own.p12.pem")]).expect(0);
    assert_eq!(served(&site), judge::certificate_sha256(&leaf).unwrap());

    // An encrypted key beside a certificate in DER.
    let leaf = sign();
    openssl(&desk.0, "x509 -in own.pem -outform DER -out own.der");
    openssl(
        &desk.0,
        "pkcs8 -topk8 -in own.key -passout pass:geheim -out closed.key",
    );
    let (der, key) = (desk.path("own.der"), desk.path("closed.key"));
    let told = install(&[&der, "--key", &key, "--passphrase-file", &wrong]).expect(1);
    assert!(told.stderr.contains("the passphrase is wrong"), "{told}");
    install(&[&der, "--key", &key, "--passphrase-file", &pass]).expect(0);
    assert_eq!(served(&site), judge::certificate_sha256(&leaf).unwrap());
    // The request of the beginning waits all the while.
    assert!(
        site.state("lineages")
            .join(HOST)
            .join("requests/1/privkey.pem")
            .is_file()
    );
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn while_a_tlsa_record_names_the_key_in_use_it_is_the_one_that_is_asked_for() {
    let site = Site::start();
    let desk = Desk::of(&site);
    let first = site.mailcert().run(&["csr", HOST]).expect(0);
    desk.sign(&first.stdout, "leaf.pem", 90);
    site.mailcert()
        .run(&["install", HOST, &desk.path("leaf.pem"), &desk.path("ca.pem")])
        .expect(0);
    let in_use = fs::read_to_string(site.state("live").join(HOST).join("privkey.pem")).unwrap();
    let spki = site
        .mailcert()
        .run(&["csr", HOST, "--format", "json"])
        .expect(0)
        .json()["spki_sha256"]
        .clone();
    let record = format!("_25._tcp.{HOST} 60 TLSA 3 1 1");
    let of_now = {
        let state = fs::read_to_string(site.state("lineages").join(HOST).join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        state["generations"]["1"]["spki_sha256"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(spki != of_now.as_str());
    site.bind.nsupdate(&format!("update add {record} {of_now}"));
    // A request that waits for a key of its own is asked for all the same; nothing is refused before `install`.
    fs::remove_dir_all(site.state("lineages").join(HOST).join("requests")).unwrap();
    let told = site.mailcert().run(&["csr", HOST]).expect(0);
    assert!(told.stderr.contains("the key is kept"), "{told}");
    let next = desk.sign(&told.stdout, "next.pem", 200);
    assert_eq!(judge::public_key_of(&next), judge::public_key_of(&in_use));
    site.mailcert()
        .run(&["install", HOST, &desk.path("next.pem"), &desk.path("ca.pem")])
        .expect(0);
    assert_eq!(served(&site), judge::certificate_sha256(&next).unwrap());
    let told = site.mailcert().run(&["csr", HOST, "--new-key"]).expect(0);
    assert!(told.stderr.contains("publish first, beside the others"), "{told}");
    desk.sign(&told.stdout, "other.pem", 300);
    let refused = site
        .mailcert()
        .run(&["install", HOST, &desk.path("other.pem"), &desk.path("ca.pem")])
        .expect(1);
    assert!(refused.stderr.contains("TLSA"), "{refused}");
    assert_eq!(served(&site), judge::certificate_sha256(&next).unwrap());
    // Published beside the other, it goes into service; its request waited.
    let new = site.mailcert().run(&["csr", HOST, "--format", "json"]).json()["spki_sha256"].clone();
    site.bind
        .nsupdate(&format!("update add {record} {}", new.as_str().unwrap()));
    site.mailcert()
        .run(&["install", HOST, &desk.path("other.pem"), &desk.path("ca.pem")])
        .expect(0);
}

#[test]
#[ignore = "real: needs openssl, gnutls-bin"]
fn the_files_of_the_guide_are_what_openssl_and_gnutls_read() {
    let scratch = Scratch::new();
    let mailcert = Mailcert::new(None, &scratch.dir("root"));
    let pass = scratch.secret_file("pass", "geheim\n").display().to_string();
    for kind in ["rsa-2048", "rsa-3072", "ecdsa-p256", "ecdsa-p384"] {
        let directory = scratch.path().join(kind);
        let out = directory.display().to_string();
        let args = [
            "csr",
            HOST,
            "--identifier",
            HOST,
            "--identifier",
            "*.example.test",
            "--key",
            kind,
            "--subject",
            "C=JP,ST=東京,O=Ex\\, Inc.,OU=IT,emailAddress=root@example.test",
            "--out-dir",
            &out,
            "--basename",
            "mail-server",
            "--passphrase-file",
            &pass,
            "--no-check",
        ];
        mailcert.run_program(&args).expect(0);
        let request = openssl(
            &directory,
            "req -in csr_mail-server.pem -noout -verify -text -nameopt multiline,-esc_msb,utf8",
        );
        for words in [
            "verify OK",
            "countryName               = JP",
            "stateOrProvinceName       = 東京",
            "organizationName          = Ex, Inc.",
            "commonName                = mail.example.test",
            "emailAddress              = root@example.test",
            "DNS:mail.example.test, DNS:*.example.test",
        ] {
            assert!(request.contains(words), "{kind}: {words}: {request}");
        }
        let clear = openssl(&directory, "pkey -in nopass_mail-server.key");
        assert_eq!(
            openssl(&directory, "pkcs8 -in mail-server.key -passin file:../pass"),
            clear
        );
        let wrong = Command::new("openssl")
            .args(["pkcs8", "-in", "mail-server.key", "-passin", "pass:other"])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(!wrong.status.success());
        let structure = openssl(&directory, "asn1parse -in mail-server.key");
        assert!(
            structure.contains("PBES2") && structure.contains("aes-256-cbc"),
            "{structure}"
        );
        let told = run(
            &directory,
            "certtool",
            &["--crq-info", "--infile", "csr_mail-server.pem"],
        );
        assert!(told.contains("DNSname: mail.example.test"), "{told}");
        let told = run(
            &directory,
            "certtool",
            &[
                "--key-info",
                "--password",
                "geheim",
                "--infile",
                "mail-server.key",
            ],
        );
        assert!(told.contains("Public Key"), "{told}");
    }
}

#[test]
#[ignore = "real: needs a kernel with pseudo-terminals"]
fn a_passphrase_is_never_seen_on_the_terminal() {
    let scratch = Scratch::new();
    let mailcert = Mailcert::new(None, &scratch.dir("root"));
    let out = scratch.path().join("out").display().to_string();
    let args = [
        "csr",
        "x",
        "--identifier",
        HOST,
        "--out-dir",
        &out,
        "--passphrase",
        "--no-check",
    ];
    let told = at_terminal(
        &mailcert,
        &args,
        &[
            ("Passphrase for the key: ", "sécret\x7f\x7ft\n"),
            ("The same again: ", "sécret\x7ft\n"),
        ],
    );
    // The second was typed otherwise, so that both are asked for once more; Ctrl-C then gives up.
    assert!(told.stdout.contains("Passphrase for the key"), "{told}");
    assert!(!told.stdout.contains("cr"), "{told}");
    assert!(!Path::new(&out).exists(), "{told}");
    let told = at_terminal(
        &mailcert,
        &args,
        &[
            ("Passphrase for the key: ", "secret\n"),
            ("The same again: ", "secret\n"),
        ],
    );
    assert_eq!(told.code, 0, "{told}");
    assert!(!told.stdout.contains("secret"), "{told}");
    openssl(Path::new(&out), "pkey -in x.key -passin pass:secret -noout");
}

/// Runs the built program at a terminal of its own; each answer is typed when its question is there, and Ctrl-C at any further
/// question. Returns what the terminal showed, and checks that it shows what is typed again afterwards.
fn at_terminal(mailcert: &Mailcert, args: &[&str], answers: &[(&str, &str)]) -> Outcome {
    let master = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&master).unwrap();
    pty::unlockpt(&master).unwrap();
    let name = pty::ptsname(&master, Vec::new()).unwrap();
    let open = || {
        rustix::fs::open(
            &*name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap()
    };
    let (mut master, watched) = (File::from(master), open());
    let mut command = mailcert.command(args);
    let (input, output) = (File::from(open()), File::from(open()));
    let mut child = command
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .unwrap();
    drop(command);
    let (sender, pieces) = mpsc::channel();
    let mut reader = master.try_clone().unwrap();
    thread::spawn(move || {
        let mut piece = [0; 1024];
        // Ends with the last side that is open: when this test lets go of it.
        while let Ok(n_read) = reader.read(&mut piece) {
            let _ = sender.send(String::from_utf8_lossy(&piece[..n_read]).into_owned());
        }
    });
    let (mut shown, mut from) = (String::new(), 0);
    let patience = Duration::from_millis(50);
    for (question, answer) in answers
        .iter()
        .copied()
        .chain([("Passphrase for the key: ", "\x03")])
    {
        let mut has_ended = false;
        while !shown[from..].contains(question) && !has_ended {
            has_ended = child.try_wait().unwrap().is_some();
            shown.extend(pieces.recv_timeout(patience));
        }
        if has_ended {
            break;
        }
        from = shown.len();
        master.write_all(answer.as_bytes()).unwrap();
    }
    let code = child.wait().unwrap().code().unwrap_or(-1);
    shown.extend(pieces.try_iter());
    let modes = rustix::termios::tcgetattr(&watched).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
    Outcome {
        code,
        stdout: shown,
        stderr: String::new(),
    }
}
