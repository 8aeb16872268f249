//! Relaying by client certificate between two Postfix instances: a branch that shows one, and a hub that lets it through.

use std::{fs, path::Path, process::Command};

use crate::support::{
    ClientCa, Outcome, Postfix, PostfixOptions, Site, client_ca::ClientIdentity, server::wait_until,
    world::HOST,
};

/// A hub that relays for nobody whom it does not know by a certificate, and drops what it relays.
fn hub(further: &str) -> Site {
    Site::with(PostfixOptions {
        main_cf: format!(
            "mynetworks = 192.0.2.0/24\ndefault_transport = discard:\n\
             smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
             smtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\n{further}"
        ),
        ..PostfixOptions::default()
    })
}

/// A branch all of whose mail goes to the hub.
fn branch(hub: &Site) -> Site {
    let relay = hub.address.ip();
    Site::with(PostfixOptions {
        myhostname: "branch.example.test".to_owned(),
        main_cf: format!(
            "relayhost = [{relay}]:25\nmydestination =\nsmtp_tls_loglevel = 1\nsmtp_dns_support_level = disabled\n"
        ),
        ..PostfixOptions::default()
    })
}

/// Submits a message at a Postfix that takes it from us, and returns what became of it there, once it is known.
fn sent(postfix: &Postfix, tag: &str) -> String {
    let recipient = format!("{tag}@elsewhere.test");
    let script = format!(
        "import smtplib; s = smtplib.SMTP('{}', 25, local_hostname='here.test', timeout=20); \
         s.sendmail('from@branch.example.test', ['{recipient}'], 'Subject: x\\r\\n\\r\\nx\\r\\n'); s.quit()",
        postfix.port(25).ip()
    );
    let output = Command::new("python3").args(["-c", &script]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = || {
        let log = postfix.log();
        let mut lines = log.lines();
        lines
            .rfind(|line| line.contains(&format!("to=<{recipient}>")) && line.contains("status="))
            .map(str::to_owned)
    };
    wait_until("the message's fate is known", || line().is_some());
    let line = line().unwrap();
    line.split_once("status=").unwrap().1.to_owned()
}

fn apply(site: &Site) -> Outcome {
    site.mailcert()
        .run(&["apply", "postfix", "--yes", "--format", "json"])
}

fn main_cf(site: &Site) -> String {
    fs::read_to_string(site.postfix.main_cf()).unwrap()
}

/// Makes the hub hold a certificate, and lets it know these clients.
fn know(hub: &Site, lines: &str) -> Outcome {
    hub.hold_certificate(lines);
    apply(hub)
}

/// Gives the branch these files to show.
fn show(branch: &Site, identity: &ClientIdentity) -> Outcome {
    let lines = format!(
        "client_certificate = {:?}\nclient_key = {:?}\n",
        identity.certificate, identity.key
    );
    branch.write_config(|text| text + &lines);
    apply(branch)
}

fn postmap_q(site: &Site, key: &str) -> String {
    let output = Command::new("postmap")
        .arg("-c")
        .arg(site.postfix.config_directory())
        .args(["-q", key])
        .arg(format!("hash:{}", site.state("postfix/relay-clients").display()))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Returns the findings of `check postfix` about client certificates: severity and id.
fn found(site: &Site) -> Vec<String> {
    let told = site
        .mailcert()
        .run(&["check", "postfix", "--format", "json"])
        .json();
    let about = |id: &str| id.contains("client") || id.contains("ccert");
    let mut ids: Vec<String> = told["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| about(one["id"].as_str().unwrap()))
        .map(|one| {
            format!(
                "{} {}",
                one["severity"].as_str().unwrap(),
                one["id"].as_str().unwrap()
            )
        })
        .collect();
    ids.sort();
    ids
}

#[test]
#[ignore = "real: needs postfix, named, openssl, python3"]
fn a_branch_relays_by_its_certificate_and_nobody_else_does() {
    let hub = hub("");
    let branch = branch(&hub);
    let before = (main_cf(&hub), main_cf(&branch));
    let ours = ClientCa::make(&hub.scratch, "clients");
    let other = ClientCa::make(&hub.scratch, "others");
    let known = ours.issue("branch.example.test", "clientAuth");
    let lines = format!(
        "relay_clients = [{:?}]\nrelay_ca = {:?}\n",
        known.certificate,
        ours.root()
    );
    let applied = know(&hub, &lines).expect(0);
    assert_eq!(
        hub.postfix.postconf("smtpd_relay_restrictions"),
        "permit_mynetworks, permit_tls_clientcerts, reject_unauth_destination"
    );
    assert_eq!(
        postmap_q(&hub, &known.key_fingerprint()),
        "branch.example.test",
        "{applied}"
    );
    assert_eq!(apply(&hub).expect(0).json()["changes"], serde_json::json!([]));

    branch.hold_certificate("");
    apply(&branch).expect(0);
    let refused = |tag: &str, log: &str| {
        let status = sent(&branch.postfix, tag);
        assert!(
            status.starts_with("bounced") && status.contains("Relay access denied"),
            "{tag}: {status}\n{}",
            hub.postfix.log()
        );
        assert!(hub.postfix.log().contains(log), "{tag}: {}", hub.postfix.log());
    };
    refused("without", "Anonymous TLS connection established");
    show(&branch, &known).expect(0);
    let status = sent(&branch.postfix, "known");
    assert!(status.starts_with("sent"), "{status}\n{}", hub.postfix.log());
    assert!(
        hub.postfix
            .log()
            .contains("Trusted TLS connection established from"),
        "{}",
        hub.postfix.log()
    );
    assert_eq!(apply(&branch).expect(0).json()["changes"], serde_json::json!([]));
    // Of the same CA, but not in the table; of another CA under the same name.
    show(&branch, &ours.issue("unknown.example.test", "clientAuth")).expect(0);
    refused("unknown", "Trusted TLS connection established");
    show(&branch, &other.issue("branch.example.test", "clientAuth")).expect(0);
    refused("stranger", "Untrusted TLS connection established");

    assert_eq!(found(&hub), [""; 0]);
    assert_eq!(found(&branch), [""; 0]);
    for _ in 0..5 {
        branch.mailcert().run(&["undo"]).expect(0);
    }
    hub.mailcert().run(&["undo"]).expect(0);
    assert_eq!((main_cf(&hub), main_cf(&branch)), before);
}

#[test]
#[ignore = "real: needs postfix, named, openssl, python3"]
fn the_table_follows_the_certificates() {
    let hub = hub("");
    let branch = branch(&hub);
    let ca = ClientCa::make(&hub.scratch, "clients");
    let first = ca.issue("branch.example.test", "clientAuth");
    let second = ca.issue("second.example.test", "clientAuth");
    let expired = ca.issue_expired("old.example.test");
    let both = hub.scratch.path().join("both.pem");
    let join = |of: &[&ClientIdentity]| {
        let pem = of.iter().map(|one| fs::read_to_string(&one.certificate).unwrap());
        fs::write(&both, pem.collect::<String>()).unwrap();
    };
    join(&[&first, &expired]);
    let applied = know(
        &hub,
        &format!(
            "relay_clients = [{both:?}, \"{} by hand\"]\n",
            second.key_fingerprint()
        ),
    )
    .expect(0);
    assert!(applied.stdout.contains("old.example.test"), "{applied}");
    assert_eq!(postmap_q(&hub, &second.key_fingerprint()), "by hand");
    assert_eq!(postmap_q(&hub, &expired.key_fingerprint()), "");
    // Nobody is told of CAs, so none is trusted; who is in the table relays all the same.
    assert_eq!(found(&hub), ["info postfix.ask-ccert-without-roots"]);
    branch.hold_certificate("");
    show(&branch, &first).expect(0);
    assert!(sent(&branch.postfix, "first").starts_with("sent"));

    // A certificate goes: `check` is red, `renew` takes it out, and Postfix sees it by itself.
    join(&[&second]);
    assert_eq!(
        found(&hub),
        [
            "error postfix.relay-clients-stale",
            "info postfix.ask-ccert-without-roots"
        ]
    );
    let renewed = hub.mailcert().run(&["renew"]).expect(0);
    assert!(
        (renewed.stdout.clone() + &renewed.stderr).contains("may relay no more: branch.example.test"),
        "{renewed}"
    );
    assert!(sent(&branch.postfix, "gone").starts_with("bounced"));
    assert_eq!(found(&hub), ["info postfix.ask-ccert-without-roots"]);

    // Whoever can write the table can relay.
    let table = hub.state("postfix/relay-clients.db");
    Command::new("chmod").arg("666").arg(&table).status().unwrap();
    assert!(found(&hub).contains(&"error postfix.relay-clients-writable".to_owned()));
    Command::new("chmod").arg("644").arg(&table).status().unwrap();

    // A lost table is made again; nobody wanted any more is nobody named.
    fs::remove_file(&table).unwrap();
    apply(&hub).expect(0);
    assert!(table.is_file());
    hub.write_config(|text| text);
    apply(&hub).expect(0);
    assert_eq!(hub.postfix.postconf("relay_clientcerts"), "");
    assert_eq!(postmap_q(&hub, &second.key_fingerprint()), "");
}

#[test]
#[ignore = "real: needs postfix, named, openssl, python3"]
fn a_lineage_is_shown_and_renewed() {
    let hub = hub("");
    let branch = branch(&hub);
    let ca = ClientCa::make(&hub.scratch, "clients");
    let first = ca.issue("branch.example.test", "clientAuth");
    know(&hub, &format!("relay_clients = [{:?}]\n", first.certificate)).expect(0);
    let lines = "client_certificate = \"relay\"\ntls_layout = \"chain\"\n\
                 [[certificate]]\nname = \"relay\"\nidentifiers = [\"branch.example.test\"]\nissuer = \"external\"\n";
    branch.hold_certificate(lines);
    // Before there is one, main.cf does not name it.
    let applied = apply(&branch).expect(0);
    assert!(applied.stdout.contains("has no certificate yet"), "{applied}");
    assert_eq!(branch.postfix.postconf("smtp_tls_chain_files"), "");
    let install = |identity: &ClientIdentity, name: &str| {
        let directory = identity.leave(&branch.scratch, name).display().to_string();
        branch.mailcert().run(&["install", "relay", "--from", &directory])
    };
    // One for servers alone is refused here.
    let server = ca.issue("server.example.test", "serverAuth");
    let refused = install(&server, "server").expect(1);
    assert!(refused.stderr.contains("lacks clientAuth"), "{refused}");
    install(&first, "first").expect(0);
    apply(&branch).expect(0);
    assert_eq!(
        branch.postfix.postconf("smtp_tls_chain_files"),
        branch.state("live/relay/combined.pem").display().to_string()
    );
    // What is served is the other one.
    let host = branch.state("live").join(HOST).join("combined.pem");
    assert_eq!(
        branch.postfix.postconf("smtpd_tls_chain_files"),
        host.display().to_string()
    );
    assert!(sent(&branch.postfix, "first").starts_with("sent"));
    let status = branch.mailcert().run(&["status", "--format", "json"]).json();
    assert_eq!(status["lineages"][1]["state"], "deployed", "{status:#}");

    // The next one comes; the hub sees it, and no configuration changed.
    let text = main_cf(&branch);
    let renewed = ca.issue("branch.example.test", "clientAuth");
    hub.write_config(|text| text + &format!("relay_clients = [{:?}]\n", renewed.certificate));
    apply(&hub).expect(0);
    install(&renewed, "renewed").expect(0);
    assert!(
        sent(&branch.postfix, "renewed").starts_with("sent"),
        "{}",
        hub.postfix.log()
    );
    assert_eq!(main_cf(&branch), text);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_certificate_that_cannot_be_shown_is_refused_untouched() {
    let hub = hub("smtpd_tls_fingerprint_digest = md5\nrelay_clientcerts = inline:{ a=b }\n");
    hub.hold_certificate("");
    let before = main_cf(&hub);
    let ca = ClientCa::make(&hub.scratch, "clients");
    let (one, two) = (
        ca.issue("one.test", "clientAuth"),
        ca.issue("two.test", "clientAuth"),
    );
    let expired = ca.issue_expired("old.test");
    let check = |lines: String, code: i32, expected: &str| {
        hub.write_config(|text| text + &lines);
        let told = hub.mailcert().run(&["apply", "postfix", "--yes"]).expect(code);
        assert!(
            (told.stdout.clone() + &told.stderr).contains(expected),
            "{lines}: {told}"
        );
        assert_eq!(main_cf(&hub), before, "{lines}");
    };
    let pair = |certificate: &Path, key: &Path| {
        format!("client_certificate = {certificate:?}\nclient_key = {key:?}\n")
    };
    check(
        pair(&one.certificate, &two.key),
        1,
        "the key does not belong to the certificate",
    );
    check(
        pair(&expired.certificate, &expired.key),
        1,
        "expired at 2026-01-01",
    );
    check(pair(Path::new("/nonexistent"), &one.key), 1, "/nonexistent");
    check(
        "client_certificate = \"nobody\"\n".to_owned(),
        2,
        "no lineage of this file",
    );
    check("client_key = \"/k\"\n".to_owned(), 2, "which is missing");
    check(
        "relay_clients = [\"nobody\"]\n".to_owned(),
        2,
        "the absolute path of a PEM file",
    );
    check(
        format!("relay_clients = [{:?}]\n", ca.root()),
        1,
        "CA certificates alone",
    );
    check(
        format!("relay_clients = [{:?}]\n", one.certificate),
        1,
        "make them anew with sha256",
    );
    check(
        format!(
            "relay_clientcerts = \"hash:/o\"\nrelay_clients = [{:?}]\n",
            one.certificate
        ),
        2,
        "exclude each other",
    );
    check(
        "relay_clientcerts = \"hash:/nonexistent/table\"\n".to_owned(),
        1,
        "/nonexistent/table",
    );
    Command::new("chmod")
        .arg("666")
        .arg(&two.certificate)
        .status()
        .unwrap();
    check(
        format!("relay_clients = [{:?}]\n", two.certificate),
        1,
        "two.test.pem",
    );
}

/// Returns the subjects of the certificates in a bundle, as openssl sees them.
fn subjects(bundle: &Path) -> String {
    let output = Command::new("openssl")
        .args(["storeutl", "-noout", "-text", "-certs"])
        .arg(bundle)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with("Subject: "));
    let names: Vec<&str> = lines
        .map(|line| line.trim().trim_start_matches("Subject: "))
        .collect();
    names.join("; ")
}

#[test]
#[ignore = "real: needs postfix, named, openssl, python3"]
fn the_roots_of_outgoing_tls_are_the_systems_and_the_private_cas() {
    let hub = hub("");
    // A hub whose own certificate is of the private CA, as the branch sees it.
    know(&hub, "").expect(0);
    let branch = branch(&hub);
    let private = ClientCa::make(&branch.scratch, "private");
    let before = main_cf(&branch);
    branch.hold_certificate("client_ca = \"ca\"\noutgoing = true\n");
    let applied = apply(&branch).expect(0);
    assert!(
        applied.stdout.contains("no private CA on this host yet"),
        "{applied}"
    );
    let bundle = branch.state("ca-bundle.pem");
    assert_eq!(
        branch.postfix.postconf("smtp_tls_CAfile"),
        bundle.display().to_string()
    );
    assert_eq!(subjects(&bundle), "CN=Scratch Root");
    assert!(sent(&branch.postfix, "stranger").starts_with("bounced"));
    assert!(
        branch
            .postfix
            .log()
            .contains("Untrusted TLS connection established to")
    );

    // The private CA is made: `renew` takes its root up, and no configuration changes.
    let text = main_cf(&branch);
    let root = branch.state("ca/root.pem");
    fs::create_dir_all(root.parent().unwrap()).unwrap();
    fs::copy(private.root(), &root).unwrap();
    let stale = branch.mailcert().run(&["check", "postfix"]);
    assert!(stale.stdout.contains("postfix.trust-stale"), "{stale}");
    let renewed = branch.mailcert().run(&["renew"]).expect(0);
    assert!(
        (renewed.stdout.clone() + &renewed.stderr).contains("trusted from now on: CN=private"),
        "{renewed}"
    );
    assert_eq!(subjects(&bundle), "CN=private; CN=Scratch Root");
    assert_eq!(apply(&branch).expect(0).json()["changes"], serde_json::json!([]));

    // The distribution's bundle is updated: a root goes, the one of the hub's CA comes.
    branch
        .scratch
        .file("root/etc/ssl/certs/ca-certificates.crt", hub.authority.root());
    let plan = branch
        .mailcert()
        .run(&["plan", "postfix", "--format", "json"])
        .json();
    assert_eq!(plan["changes"][0]["what"], "trusted roots", "{plan:#}");
    branch.mailcert().run(&["renew"]).expect(0);
    let mode = fs::metadata(&bundle).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o644
    );
    branch.postfix.reload();
    sent(&branch.postfix, "trusted");
    assert!(
        branch
            .postfix
            .log()
            .contains(": Trusted TLS connection established to"),
        "{}",
        branch.postfix.log()
    );
    assert_eq!(main_cf(&branch), text);
    branch.mailcert().run(&["undo"]).expect(0);
    assert_eq!(main_cf(&branch), before);
}

#[test]
#[ignore = "real: needs postfix, named, openssl, python3"]
fn clients_of_the_private_ca_relay_until_they_are_revoked() {
    let hub = hub("");
    let branch = branch(&hub);
    let out = hub.scratch.dir("issued");
    let out_text = out.display().to_string();
    let ca = |args: &[&str]| hub.mailcert().run(&[&["ca"], args].concat()).expect(0);
    hub.hold_certificate("relay_clients = [\"ca\"]\nrelay_ca = \"ca\"\n");
    // Before there is a CA, nobody is in the table, and nothing fails.
    let applied = apply(&hub).expect(0);
    assert!(
        applied.stdout.contains("no private CA on this host yet"),
        "{applied}"
    );
    ca(&["init", "--no-passphrase", "--domain", "example.test"]);
    let issue = |name: &str, profile: &str| {
        ca(&["issue", name, "--profile", profile, "--out-dir", &out_text]);
        ClientIdentity {
            certificate: out.join(format!("{name}.pem")),
            key: out.join(format!("{name}.key")),
        }
    };
    let (client, server) = (
        issue("branch.example.test", "client"),
        issue("server.example.test", "both"),
    );
    apply(&hub).expect(0);
    assert_eq!(
        hub.postfix.postconf("smtpd_tls_CAfile"),
        hub.state("ca/root.pem").display().to_string()
    );
    assert_eq!(postmap_q(&hub, &client.key_fingerprint()), "branch.example.test");
    assert_eq!(postmap_q(&hub, &server.key_fingerprint()), "");
    branch.hold_certificate("");
    show(&branch, &client).expect(0);
    let status = sent(&branch.postfix, "client");
    assert!(status.starts_with("sent"), "{status}\n{}", hub.postfix.log());
    assert!(
        hub.postfix
            .log()
            .contains(": Trusted TLS connection established from")
    );
    assert_eq!(found(&hub), [""; 0]);

    // The next client is in the table with the next renewal, the revoked one is out of it.
    let next = issue("next.example.test", "client");
    ca(&["revoke", "branch.example.test", "--reason", "keyCompromise"]);
    assert_eq!(found(&hub), ["error postfix.relay-clients-stale"]);
    let renewed = hub.mailcert().run(&["renew"]).expect(0);
    let told = renewed.stdout.clone() + &renewed.stderr;
    for expected in [
        "may relay now: next.example.test",
        "may relay no more: branch.example.test",
    ] {
        assert!(told.contains(expected), "{renewed}");
    }
    let status = sent(&branch.postfix, "revoked");
    assert!(status.starts_with("bounced"), "{status}\n{}", hub.postfix.log());
    show(&branch, &next).expect(0);
    assert!(sent(&branch.postfix, "next").starts_with("sent"));
}

#[test]
#[ignore = "real: needs postfix, named, openssl, python3"]
fn a_lineage_of_the_private_ca_is_shown_and_renewed() {
    let hub = hub("");
    let branch = branch(&hub);
    branch.hold_certificate(
        "client_certificate = \"relay\"\nclient_ca = \"ca\"\n\
         [[certificate]]\nname = \"relay\"\nidentifiers = [\"branch.example.test\"]\nissuer = \"ca\"\n",
    );
    // One apply makes the CA, the certificate, the bundle with its root, and has main.cf name them.
    let all = || {
        branch
            .mailcert()
            .run(&["apply", "certificates", "postfix", "--yes", "--format", "json"])
    };
    let applied = all().expect(0);
    let certificate = branch.state("live/relay/cert.pem");
    assert_eq!(
        branch.postfix.postconf("smtp_tls_cert_file"),
        branch.state("live/relay/fullchain.pem").display().to_string(),
        "{applied}"
    );
    let usage = Command::new("openssl")
        .args(["x509", "-noout", "-ext", "extendedKeyUsage", "-in"])
        .arg(&certificate)
        .output()
        .unwrap();
    let usage = String::from_utf8_lossy(&usage.stdout).into_owned();
    assert!(
        usage.contains("TLS Web Client Authentication") && !usage.contains("Server"),
        "{usage}"
    );
    assert!(
        subjects(&branch.state("ca-bundle.pem")).contains("mail CA"),
        "{applied}"
    );
    assert_eq!(all().expect(0).json()["changes"], serde_json::json!([]));
    let root = branch.state("ca/root.pem");
    know(
        &hub,
        &format!("relay_clients = [{certificate:?}]\nrelay_ca = {root:?}\n"),
    )
    .expect(0);
    assert!(
        sent(&branch.postfix, "first").starts_with("sent"),
        "{}",
        hub.postfix.log()
    );
    assert!(
        hub.postfix
            .log()
            .contains(": Trusted TLS connection established from")
    );

    // Renewed with another key: the hub's next renewal has it.
    branch.mailcert().run(&["renew", "--force", "relay"]).expect(0);
    assert!(sent(&branch.postfix, "unknown").starts_with("bounced"));
    hub.mailcert().run(&["renew"]).expect(0);
    assert!(
        sent(&branch.postfix, "renewed").starts_with("sent"),
        "{}",
        hub.postfix.log()
    );
    assert_eq!(found(&branch), [""; 0]);
}
