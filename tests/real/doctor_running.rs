//! `check postfix` as a doctor of what runs: who answers where it asks, what its ports serve; also where it is not managed.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
};

use super::doctor::ids;
use crate::support::{PostfixOptions, Scratch, Site};

fn has(site: &Site, id: &str) -> bool {
    ids(site).iter().any(|found| found == id)
}

/// Returns what is told by this id: whom it is about, what was seen, and what to do.
fn told(site: &Site, id: &str) -> [String; 3] {
    let checked = site
        .mailcert()
        .run(&["check", "postfix", "--format", "json"])
        .json();
    let findings = checked["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["id"] == id);
    let found = found.unwrap_or_else(|| panic!("no {id} in {findings:#?}"));
    ["subject", "evidence", "remedy"].map(|key| found[key].as_str().unwrap().to_owned())
}

/// A Postfix whose port 587 asks Cyrus SASL, which has this said.
fn asking_cyrus(scratch: &Scratch, address: &str, said: &str) -> PostfixOptions {
    // Debian's looks beside main.cf, whatever cyrus_sasl_config_path says.
    scratch.file("postfix/etc/sasl/users.conf", said);
    PostfixOptions {
        master_cf: format!(
            "{address}:587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_path=users\n  \
             -o smtpd_tls_security_level=encrypt\n"
        ),
        ..PostfixOptions::default()
    }
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_saslauthd_that_does_not_run_is_found_and_so_is_what_it_cannot_check() {
    let site = Site::of(|scratch, address| {
        let socket = scratch.dir("run").join("mux");
        let said = format!(
            "pwcheck_method: saslauthd\nsaslauthd_path: {}\n",
            socket.display()
        );
        asking_cyrus(scratch, &address.ip().to_string(), &said)
    });
    let file = site.postfix.config_directory().join("sasl/users.conf");
    let [subject, evidence, remedy] = told(&site, "postfix.sasl-silent");
    assert!(subject.contains(":587"), "{subject}");
    assert!(
        evidence.contains("there is no socket at") && evidence.contains("454"),
        "{evidence}"
    );
    assert!(remedy.starts_with("start saslauthd"), "{remedy}");
    assert!(has(&site, "postfix.sasl-mechanisms"));
    // The server says the same to a user.
    let answer = log_in(&site);
    assert!(answer.starts_with("454"), "{answer}");

    let socket = site.scratch.path().join("run/mux");
    let listener = UnixListener::bind(&socket).unwrap();
    // As Debian has it, where the directory is for the group `sasl` alone.
    for (path, mode) in [(&*socket, 0o777), (socket.parent().unwrap(), 0o710)] {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let [_, evidence, remedy] = told(&site, "postfix.sasl-silent");
    assert!(evidence.contains("postfix may not pass"), "{evidence}");
    assert!(remedy.contains("adduser postfix sasl"), "{remedy}");
    drop(listener);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.clone() + "mech_list: PLAIN LOGIN\n").unwrap();
    let [_, evidence, _] = told(&site, "postfix.sasl-silent");
    assert!(evidence.contains("nobody listens at"), "{evidence}");
    assert!(!has(&site, "postfix.sasl-mechanisms"));

    // Where somebody answers, that it is Cyrus is all there is to say.
    fs::write(&file, "pwcheck_method: auxprop\n").unwrap();
    assert!(!has(&site, "postfix.sasl-silent"));
    assert!(has(&site, "postfix.sasl-cyrus"));
}

/// Has openssl log in at port 587; returns the last answer.
fn log_in(site: &Site) -> String {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let port = site.postfix.port(587).to_string();
    let mut child = Command::new("timeout")
        .args([
            "20",
            "openssl",
            "s_client",
            "-quiet",
            "-starttls",
            "smtp",
            "-connect",
            &port,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // alice, and a password.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"EHLO client.example.test\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nQUIT\r\n")
        .unwrap();
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut answers = said.lines().filter(|line| !line.starts_with('2'));
    answers.next_back().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn who_asks_the_wrong_one_or_nobody_is_found() {
    let site = Site::start();
    let master_cf = fs::read_to_string(site.postfix.master_cf()).unwrap();
    let with = |overrides: &str| {
        let service = format!("587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes {overrides}\n");
        fs::write(site.postfix.master_cf(), master_cf.clone() + &service).unwrap();
    };
    with("-o smtpd_sasl_type=kerberos");
    let [_, evidence, remedy] = told(&site, "postfix.sasl-type");
    assert!(
        evidence.contains("smtpd_sasl_type = kerberos, and this Postfix has "),
        "{evidence}"
    );
    assert!(remedy.contains("postconf -a"), "{remedy}");
    with("-o smtpd_sasl_path=private/auth");
    let [_, evidence, _] = told(&site, "postfix.sasl-type");
    assert!(evidence.contains("cyrus, its default"), "{evidence}");
    with("-o smtpd_sasl_type=dovecot -o smtpd_sasl_path=private/auth");
    let [_, evidence, _] = told(&site, "postfix.sasl-silent");
    assert!(
        evidence.contains("queue/private/auth") && evidence.contains("there is no socket"),
        "{evidence}"
    );
    assert!(!has(&site, "postfix.sasl-type"));
    let socket = scratch_socket(&site);
    let _listener = UnixListener::bind(socket).unwrap();
    assert!(!has(&site, "postfix.sasl-silent"));
}

/// Where Dovecot would listen.
fn scratch_socket(site: &Site) -> std::path::PathBuf {
    std::path::PathBuf::from(site.postfix.postconf("queue_directory")).join("private/auth")
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_pair_that_was_replaced_by_hand_and_not_reloaded_is_found() {
    let site = Site::start();
    let value = |name: &str| std::path::PathBuf::from(site.postfix.postconf(name));
    let (certificate, key) = (value("smtpd_tls_cert_file"), value("smtpd_tls_key_file"));
    // A process that has read the old pair, and waits for further clients.
    site.postfix.leaf_sha256(25).unwrap();
    assert!(!has(&site, "postfix.not-reloaded"));
    let identity = site.issue();
    fs::write(&certificate, &identity.fullchain).unwrap();
    fs::write(&key, &identity.private_key).unwrap();
    let [subject, evidence, remedy] = told(&site, "postfix.not-reloaded");
    assert!(subject.ends_with(":25"), "{subject}");
    assert!(
        evidence.contains(&certificate.display().to_string()),
        "{evidence}"
    );
    assert!(remedy.starts_with("`postfix reload`"), "{remedy}");
    site.postfix.reload();
    assert!(!has(&site, "postfix.not-reloaded"));
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_postfix_that_is_not_managed_is_looked_at_with_remedies_for_the_hand() {
    let site = Site::of(|_, address| PostfixOptions {
        main_cf: "smtp_tls_ciphers = high\nsmtpd_sasl_auth_enable = yes\n".to_owned(),
        master_cf: format!("{}:465 inet n - n - - smtpd\n", address.ip()),
        ..PostfixOptions::default()
    });
    site.write_config(|text| text + "manage = false\n");
    let checked = site
        .mailcert()
        .run(&["check", "postfix", "--format", "json"])
        .expect(3)
        .json();
    let findings = checked["findings"].as_array().unwrap();
    let ids: Vec<&str> = findings.iter().map(|one| one["id"].as_str().unwrap()).collect();
    for expected in [
        "auth-on-25",
        "outgoing-ciphers",
        "self-signed",
        "submissions-not-wrapped",
        "unmanaged",
    ] {
        assert!(
            ids.contains(&&*format!("postfix.{expected}")),
            "{expected} is not in {ids:#?}"
        );
    }
    assert!(!ids.contains(&"postfix.not-as-wanted"), "{ids:#?}");
    for finding in findings {
        let remedy = finding["remedy"].as_str().unwrap();
        assert!(
            !remedy.contains("mailcert apply") && !remedy.contains("postfix."),
            "{finding:#}"
        );
    }
    let before = fs::read(site.postfix.main_cf()).unwrap();
    site.mailcert().run(&["apply", "--yes"]);
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);

    // Where there is none, that is no trouble: certificates alone are kept.
    site.write_config(|text| {
        let own = format!("config_directory = {:?}\n", site.postfix.config_directory());
        text.replace(&own, "config_directory = \"/nonexistent\"\nmanage = false\n")
    });
    let checked = site.mailcert().run(&["check", "postfix"]).expect(0);
    assert!(
        checked.stdout.contains("there is no Postfix to look at"),
        "{checked}"
    );
}
