//! What got worse by a change is taken back; what was wrong before, or still serves the old, takes nothing back.

use std::{fs, path::PathBuf, process::Command};

use time::Duration;

use crate::support::{Answer, Identity, Port, PostfixOptions, Site, hooks::Notes, world::HOST};

/// A port of the test's own beside Postfix's.
const PORT: u16 = 4465;

/// Returns the `verify` line for Postfix's port 25 and these endpoints of the site's address.
fn verify_line(site: &Site, endpoints: &[(&str, u16)]) -> String {
    let ip = site.address.ip();
    let all = [("smtp", 25)].iter().chain(endpoints);
    let list: Vec<String> = all
        .map(|(scheme, port)| format!("\"{scheme}://{ip}:{port}\""))
        .collect();
    format!("verify = [{}]\n", list.join(", "))
}

/// Serves this certificate while the file contains the text, and is broken in this way while it does not.
fn break_unless(site: &Site, file: PathBuf, text: &str, good: &Identity, broken: Answer) -> Port {
    let (text, good) = (text.to_owned(), Answer::tls(good));
    Port::serve(site.address.port(PORT), move || {
        let found = fs::read_to_string(&file).is_ok_and(|content| content.contains(&text));
        if found { good.clone() } else { broken.clone() }
    })
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_port_that_breaks_takes_files_and_certificate_back() {
    let site = Site::start();
    let snake_oil = site.postfix.leaf_sha256(25);
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let old = site.issue();
    let port = break_unless(
        &site,
        site.postfix.main_cf(),
        "snake-oil/cert.pem",
        &old,
        Answer::Close,
    );
    site.write_config(|text| text + &verify_line(&site, &[("submissions", PORT)]));
    let installed = site.install("first", &site.issue()).expect(1);
    assert!(
        installed.stderr.contains("the change was taken back"),
        "{installed}"
    );
    assert!(
        installed
            .stderr
            .contains(&format!("submissions://{}:{PORT}", site.address.ip())),
        "{installed}"
    );
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before, "{installed}");
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
    // There is no generation to go back to; the record is red, and nothing is left to undo.
    assert_eq!(site.status()["state"], "rolled-back", "{installed}");
    assert_eq!(
        site.mailcert().run(&["undo"]).expect(0).stdout,
        "nothing to change\n"
    );
    site.mailcert().run(&["status"]).expect(3);

    // Once the cause is gone, the same certificate is deployed.
    drop(port);
    site.write_config(|text| text);
    site.mailcert().run(&["apply", "--yes"]).expect(0);
    assert_eq!(site.status()["state"], "verified");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_renewal_that_breaks_a_port_goes_back_to_the_old_generation() {
    let site = Site::with(PostfixOptions {
        submissions: true,
        ..PostfixOptions::default()
    });
    let old = site.issue();
    site.install("first", &old).expect(0);
    let main_cf = fs::read(site.postfix.main_cf()).unwrap();
    let live = site.state("live").join(HOST).join("cert.pem");
    let leaf_line = old.leaf.lines().nth(1).unwrap().to_owned();
    let port = break_unless(&site, live, &leaf_line, &old, Answer::tls(&site.issue()));
    site.write_config(|text| text + &verify_line(&site, &[("submissions", 465), ("submissions", PORT)]));
    let renewed = site.install("second", &site.issue()).expect(1);
    assert!(
        renewed.stderr.contains("neither the old nor the new"),
        "{renewed}"
    );
    assert_eq!(site.live_generation(), "1", "{renewed}");
    for port in [25, 465] {
        assert_eq!(
            site.postfix.leaf_sha256(port),
            Ok(old.sha256()),
            "port {port}: {renewed}"
        );
    }
    let status = site.status();
    assert_eq!(
        (&status["state"], &status["generation"]),
        (&"rolled-back".into(), &1.into()),
        "{status:#}"
    );
    assert_eq!(status["leaf_sha256"], old.sha256());
    assert!(
        status["last_error"].as_str().unwrap().contains("taken back"),
        "{status:#}"
    );
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), main_cf);
    // The new generation stays on disk, and is tried again when somebody says so.
    drop(port);
    site.write_config(|text| text);
    site.mailcert().run(&["deploy"]).expect(0);
    assert_eq!(site.live_generation(), "2");
    assert_eq!(site.status()["state"], "verified");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn deploy_hooks_run_again_for_the_generation_that_serves_again() {
    let site = Site::start();
    let notes = Notes::new(&site.scratch);
    let copy = site.scratch.path().join("copy.pem");
    let copying = format!("cp \"$RENEWED_LINEAGE/cert.pem\" {}", copy.display());
    let deploy = notes.program(&site.scratch, "copy", &copying);
    let other = notes.program(&site.scratch, "other", "");
    let configure = |lines: String| {
        let hooks = format!(
            "[hooks]\ndeploy = [{{ style = \"certbot\", run = {deploy:?} }}]\n\
             failed = [{{ run = {other:?} }}]\npost = [{{ run = {other:?} }}]\n"
        );
        site.write_config(|text| text + &lines + &hooks);
    };
    let told = |wanted: &[(&str, &str)]| {
        let noted = notes.read();
        let seen: Vec<(String, &str)> = noted
            .iter()
            .map(|one| {
                let event = one.args.first().map_or("deploy", String::as_str);
                (event.to_owned(), one.var("MAILCERT_GENERATION"))
            })
            .collect();
        let wanted: Vec<(String, &str)> = wanted
            .iter()
            .map(|(event, n)| ((*event).to_owned(), *n))
            .collect();
        assert_eq!(seen, wanted);
        notes.clear();
        noted
    };
    // A first certificate: nothing of ours serves again, so nobody is told that something does.
    let snake_oil = site.postfix.leaf_sha256(25);
    let old = site.issue();
    let port = break_unless(
        &site,
        site.postfix.main_cf(),
        "snake-oil/cert.pem",
        &old,
        Answer::Close,
    );
    configure(verify_line(&site, &[("submissions", PORT)]));
    site.install("first", &old).expect(1);
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
    told(&[("deploy", "1"), ("failed", "1"), ("post", "")]);
    drop(port);
    configure(String::new());
    site.mailcert().run(&["apply", "--yes"]).expect(0);
    told(&[("deploy", "1"), ("post", "")]);

    let leaf_line = old.leaf.lines().nth(1).unwrap().to_owned();
    let live = site.state("live").join(HOST).join("cert.pem");
    let port = break_unless(&site, live.clone(), &leaf_line, &old, Answer::Close);
    configure(verify_line(&site, &[("submissions", PORT)]));
    let new = site.issue();
    site.install("second", &new).expect(1);
    let noted = told(&[("deploy", "2"), ("deploy", "1"), ("failed", "1"), ("post", "")]);
    assert_eq!(noted[0].var("MAILCERT_LEAF_SHA256"), new.sha256());
    assert_eq!(noted[1].var("MAILCERT_LEAF_SHA256"), old.sha256());
    assert_eq!(
        noted[1].var("RENEWED_LINEAGE"),
        live.parent().unwrap().to_str().unwrap()
    );
    assert_eq!(noted[3].var("MAILCERT_FAILED"), HOST);
    assert_eq!(fs::read_to_string(&copy).unwrap(), old.leaf);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(old.sha256()));

    // What is tried again is told again.
    drop(port);
    configure(String::new());
    site.mailcert().run(&["deploy"]).expect(0);
    told(&[("deploy", "2"), ("post", "")]);
    assert_eq!(fs::read_to_string(&copy).unwrap(), new.leaf);
    site.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_certificate_that_a_port_of_postfix_cannot_use_is_taken_back() {
    // Port 587 is for old clients: RSA and TLS 1.2 alone. An ECDSA certificate ends it, and no judge of files sees that.
    let site = Site::of(|scratch, address| {
        let dir = scratch.dir("rsa");
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-noenc",
                "-days",
                "30",
                "-subj",
                "/CN=mail.example.test",
            ])
            .args(["-addext", "subjectAltName=DNS:mail.example.test"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let legacy = "-o smtpd_tls_security_level=encrypt -o smtpd_tls_mandatory_protocols=TLSv1.2 \
                      -o smtpd_tls_mandatory_exclude_ciphers=aECDSA";
        PostfixOptions {
            snake_oil: false,
            main_cf: format!(
                "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = may\n",
                certificate.display(),
                key.display()
            ),
            master_cf: format!("{}:587 inet n - n - - smtpd\n  {legacy}\n", address.ip()),
            ..PostfixOptions::default()
        }
    });
    let rsa = site.postfix.leaf_sha256(587);
    assert!(rsa.is_ok(), "{rsa:?}");
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let installed = site.install("first", &site.issue()).expect(1);
    assert!(
        installed.stderr.contains("the change was taken back"),
        "{installed}"
    );
    assert!(
        installed
            .stderr
            .contains(":587: completed TLS before, and now does not"),
        "{installed}"
    );
    assert!(!installed.stderr.contains("not as before"), "{installed}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    for port in [25, 587] {
        assert_eq!(site.postfix.leaf_sha256(port), rsa, "port {port}");
    }
    assert_eq!(site.status()["state"], "rolled-back");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn ports_that_were_down_or_in_clear_text_are_red_and_take_nothing_back() {
    let site = Site::start();
    let _plain = Port::serve(site.address.port(PORT), || Answer::Plain);
    site.write_config(|text| text + &verify_line(&site, &[("smtp", PORT), ("submissions", 4466)]));
    let identity = site.issue();
    let installed = site.install("first", &identity).expect(1);
    assert!(
        installed.stderr.contains("not every port serves it"),
        "{installed}"
    );
    assert!(
        installed.stderr.contains("4466: does not complete TLS"),
        "{installed}"
    );
    assert!(installed.stderr.contains("STARTTLS"), "{installed}");
    assert!(!installed.stderr.contains("taken back"), "{installed}");
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    let status = site.status();
    assert_eq!(
        (&status["state"], &status["generation"]),
        (&"deployed".into(), &1.into()),
        "{status:#}"
    );
    let verified: Vec<bool> = status["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|endpoint| endpoint["verified"].as_bool())
        .collect();
    assert_eq!(verified.iter().filter(|good| **good).count(), 1, "{status:#}");
    assert_eq!(verified.len(), 3);
}

#[test]
#[ignore = "real: needs postfix, named, openssl; about half a minute, since silence and the old leaf are waited out"]
fn long_ports_that_are_silent_or_serve_the_old_leaf_are_red_and_take_nothing_back() {
    let site = Site::start();
    let (old, identity) = (site.issue(), site.issue());
    let answer = Answer::tls(&old);
    let _old = Port::serve(site.address.port(PORT), move || answer.clone());
    let _silent = Port::serve(site.address.port(4466), || Answer::Silence);
    let lines = verify_line(&site, &[("submissions", PORT), ("smtp", 4466)]);
    site.write_config(|text| text + &lines);
    let installed = site.install("first", &identity).expect(1);
    assert!(
        installed
            .stderr
            .contains(&format!("still serves the certificate {}", old.sha256())),
        "{installed}"
    );
    assert!(
        installed.stderr.contains("4466: does not complete TLS"),
        "{installed}"
    );
    assert!(!installed.stderr.contains("taken back"), "{installed}");
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    assert_eq!(site.status()["state"], "deployed");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn nothing_goes_back_to_a_certificate_that_is_about_to_expire() {
    let site = Site::start();
    let old = site.authority.issue(HOST, Duration::days(2));
    site.install("first", &old).expect(0);
    let live = site.state("live").join(HOST).join("cert.pem");
    let leaf_line = old.leaf.lines().nth(1).unwrap().to_owned();
    let _port = break_unless(&site, live, &leaf_line, &old, Answer::Close);
    site.write_config(|text| text + &verify_line(&site, &[("submissions", PORT)]));
    let new = site.issue();
    let renewed = site.install("second", &new).expect(1);
    assert_eq!(site.live_generation(), "2", "{renewed}");
    assert_eq!(site.postfix.leaf_sha256(25), Ok(new.sha256()), "{renewed}");
    assert!(!renewed.stderr.contains("change was taken back"), "{renewed}");
    assert!(renewed.stderr.contains("less than three days"), "{renewed}");
    assert_eq!(site.status()["state"], "deployed");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_postfix_that_ends_in_the_middle_is_started_again_with_what_it_had() {
    let site = Site::start();
    let snake_oil = site.postfix.leaf_sha256(25);
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let identity = site.hold_certificate("");
    let kill = site.postfix.kill();
    for (lines, told) in [
        (kill.clone(), "the configuration files were put back"),
        (
            format!("$program \"$@\"\n{kill}\nexit 0"),
            "the change was taken back",
        ),
    ] {
        let mailcert = site.mailcert_with("postfix", "reload", &lines);
        let failed = mailcert.run(&["apply", "--yes"]).expect(1);
        for words in [told, "Postfix has ended: it is started with what was put back"] {
            assert!(failed.stderr.contains(words), "{words}: {failed}");
        }
        assert!(!failed.stderr.contains("not as before"), "{failed}");
        assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before, "{failed}");
        assert_eq!(site.postfix.leaf_sha256(25), snake_oil, "{failed}");
        site.mailcert().run(&["status"]).expect(3);
    }
    site.mailcert().run(&["apply", "--yes"]).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
}
