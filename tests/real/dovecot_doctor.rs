//! `check dovecot` as a doctor: what is wrong with a real Dovecot is found with file and line, and gone once it was mended.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use time::Duration;

use crate::support::{Identity, PostfixOptions, Release, Scratch, Site, dovecot::Dovecot, world::HOST};

/// Returns what is found, but for what is as it should be.
fn findings(site: &Site) -> Vec<Value> {
    let checked = site
        .mailcert()
        .run(&["check", "dovecot", "--format", "json"])
        .json();
    let all = checked["findings"].as_array().unwrap().clone();
    for finding in &all {
        let severe = finding["severity"] == "error" || finding["severity"] == "warning";
        let has_way = ["remedy", "reference"]
            .iter()
            .all(|key| !finding[key].as_str().unwrap().is_empty());
        assert!(!severe || has_way, "{finding:#}");
    }
    all.into_iter()
        .filter(|finding| finding["severity"] != "ok" && finding["severity"] != "info")
        .collect()
}

fn ids(found: &[Value]) -> Vec<&str> {
    found
        .iter()
        .map(|finding| finding["id"].as_str().unwrap())
        .collect()
}

/// Has mailcert look at the Dovecot of this directory.
fn looking_at(site: &Site, directory: &Path) {
    site.write_config(|text| {
        text.replace(
            "[dovecot]\nmanage = false\n",
            &format!("[dovecot]\nconfig_directory = {directory:?}\nverify = []\n"),
        )
    });
}

/// Leaves key and chain in files of these names.
fn leave(scratch: &Scratch, name: &str, identity: &Identity) -> (PathBuf, PathBuf) {
    let directory = identity.leave(scratch, name);
    (directory.join("fullchain.pem"), directory.join("privkey.pem"))
}

/// Appends lines to dovecot.conf, and says which finding is new: `ID LINE`, the line counted from the first that was added; `ID`
/// where it is about no line.
fn check(site: &Site, main: &Path, lines: &str, expected: &str) {
    let good = fs::read_to_string(main).unwrap();
    fs::write(main, format!("{good}{lines}")).unwrap();
    let found = findings(site);
    let n_lines = good.lines().count();
    let told: Vec<String> = found
        .iter()
        .map(|finding| {
            let subject = finding["subject"].as_str().unwrap();
            let line = subject.strip_prefix(&format!("{}:", main.display()));
            let line = line.and_then(|line| line.parse::<usize>().ok());
            let id = finding["id"].as_str().unwrap();
            line.map_or(id.to_owned(), |line| format!("{id} {}", line - n_lines))
        })
        .collect();
    assert!(
        told.iter().any(|one| one == expected),
        "{lines}: {expected} is not in {found:#?}"
    );
    fs::write(main, good).unwrap();
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn what_is_wrong_with_a_dovecot_is_found_where_it_is_written() {
    let socket = |address: &str, scratch: &Scratch| PostfixOptions {
        master_cf: format!(
            "{address}:587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n  -o smtpd_sasl_type=dovecot\n  \
             -o smtpd_sasl_path={}\n",
            scratch.path().join("postfix/queue/private/auth").display()
        ),
        ..PostfixOptions::default()
    };
    let site = Site::of(|scratch, address| socket(&address.ip().to_string(), scratch));
    let (certificate, key) = leave(&site.scratch, "pair", &site.issue());
    let dovecot = Dovecot::start(&site.scratch, &site.address, &certificate, &key);
    let main = dovecot.config_file();
    looking_at(&site, main.parent().unwrap());
    let auth = site.scratch.path().join("postfix/queue/private/auth");
    let listener = |settings: &str| {
        format!(
            "service auth {{\n  unix_listener {} {{\n{settings}  }}\n}}\n",
            auth.display()
        )
    };
    let found = findings(&site);
    assert_eq!(ids(&found), ["dovecot.auth-socket-missing"], "{found:#?}");
    let good = fs::read_to_string(&main).unwrap();
    fs::write(
        &main,
        good + &listener("    mode = 0600\n    user = postfix\n    group = postfix\n"),
    )
    .unwrap();
    // A good Dovecot is told to be one.
    let told = site.mailcert().run(&["check", "dovecot"]).expect(0);
    assert!(told.stdout.contains("ok dovecot.ok"), "{told}");
    assert_eq!(findings(&site), Vec::<Value>::new());

    let check = |lines: &str, expected: &str| check(&site, &main, lines, expected);
    check(&listener("    mode = 0666\n"), "dovecot.auth-socket-open 2");
    check(
        &listener("    user = root\n    group = root\n"),
        "dovecot.auth-socket-owner 2",
    );
    check("ssl = no\n", "dovecot.tls-off 1");
    check("disable_plaintext_auth = no\n", "dovecot.auth-in-clear 1");
    check("ssl_min_protocol = TLSv1\n", "dovecot.protocols-old 1");
    check("ssl_min_protocol = TLSv9\n", "dovecot.protocols-unknown 1");
    check(
        &format!("ssl_cert = {}\n", certificate.display()),
        "dovecot.file-not-read 1",
    );
    check("ssl_key =\n", "dovecot.certificate-unset");
    check("ssl_protocols = !SSLv3\n", "dovecot.obsolete 1");
    check("listen = {{ ip }}\n", "dovecot.template 1");
    check(
        "protocol imap {\n  mail_plugins = $mail_plugins\n",
        "dovecot.refused 1",
    );
    check("ssl_cret = x\n", "dovecot.refused 1");
    check("two words\n", "dovecot.refused 1");
    check("!include nowhere/*.conf\n", "dovecot.include-unmatched 1");
    check("ssl_cert = </nonexistent\n", "dovecot.certificate-unusable");
    let names: String = (0..800)
        .map(|index| {
            format!(
                "local_name n{index}.example.test {{\n  ssl_key = <{}\n}}\n",
                key.display()
            )
        })
        .collect();
    check(&names, "dovecot.names-memory");

    // Files, as they are found on hosts.
    let other = site.issue();
    let (_, other_key) = leave(&site.scratch, "other", &other);
    check(
        &format!("ssl_key = <{}\n", other_key.display()),
        "dovecot.key-mismatch",
    );
    check(
        &format!(
            "local_name x.example.test {{\n  ssl_key = <{}\n}}\n",
            other_key.display()
        ),
        "dovecot.key-mismatch",
    );
    let expired = site.authority.issue(HOST, Duration::days(-1));
    let (old, old_key) = leave(&site.scratch, "expired", &expired);
    let pair = |certificate: &Path, key: &Path| {
        format!(
            "ssl_cert = <{}\nssl_key = <{}\n",
            certificate.display(),
            key.display()
        )
    };
    check(&pair(&old, &old_key), "dovecot.expired");
    check(
        &pair(&certificate.with_file_name("cert.pem"), &key),
        "dovecot.leaf-only",
    );
    let snake_oil = site.scratch.path().join("postfix/snake-oil");
    check(
        &pair(&snake_oil.join("cert.pem"), &snake_oil.join("key.pem")),
        "dovecot.self-signed",
    );
    let encrypted = site.scratch.path().join("encrypted.pem");
    let made = Command::new("openssl")
        .args(["pkey", "-aes128", "-passout", "pass:x", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(&encrypted)
        .status()
        .unwrap();
    assert!(made.success());
    check(
        &format!("ssl_key = <{}\n", encrypted.display()),
        "dovecot.key-unusable",
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    check("", "dovecot.key-exposed");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    // New files that nobody had it read.
    fs::write(&certificate, &other.fullchain).unwrap();
    fs::write(&key, &other.private_key).unwrap();
    let found = findings(&site);
    assert!(
        !found.is_empty() && ids(&found).iter().all(|id| *id == "dovecot.not-reloaded"),
        "{found:#?}"
    );
    let reloaded = Command::new("doveadm")
        .arg("-c")
        .arg(&main)
        .arg("reload")
        .status()
        .unwrap();
    assert!(reloaded.success());
    crate::support::server::wait_until("Dovecot serves the new certificate", || {
        findings(&site).is_empty()
    });
    drop(dovecot);
    assert_eq!(ids(&findings(&site)), ["dovecot.not-running"]);
}

#[test]
#[ignore = "real: needs Debian 13's dovecot, postfix, named"]
fn long_the_doctor_knows_dovecot_2_4() {
    let site = Site::of(|_, _| PostfixOptions {
        release: Some(Release::trixie()),
        ..PostfixOptions::default()
    });
    let (certificate, key) = leave(&site.scratch, "pair", &site.issue());
    let (certificate, key) = (certificate.display(), key.display());
    let root = site.scratch.dir("dovecot");
    let good = format!(
        "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\nprotocols = imap pop3\nlisten = {ip}\n\
         base_dir = {root}/run\nstate_dir = {root}/state\nlog_path = {root}/log\ninstance_name = {root}\n\
         service imap-login {{\n  chroot =\n}}\nservice pop3-login {{\n  chroot =\n}}\n\
         ssl_server_cert_file = {certificate}\nssl_server_key_file = {key}\n",
        ip = site.address.ip(),
        root = root.display(),
    );
    let main = site.scratch.file("dovecot/dovecot.conf", &good);
    looking_at(&site, &root);
    // Nobody has started it.
    assert_eq!(ids(&findings(&site)), ["dovecot.not-running"]);
    let check = |lines: &str, expected: &str| check(&site, &main, lines, expected);
    check("ssl = no\n", "dovecot.tls-off 1");
    check("auth_allow_cleartext = yes\n", "dovecot.auth-in-clear 1");
    check("ssl_min_protocol = TLSv1.1\n", "dovecot.protocols-old 1");
    check(
        &format!("ssl_server {{\n  cert_file = <{certificate}\n}}\n"),
        "dovecot.file-not-read 2",
    );
    check("ssl_server_key_file =\n", "dovecot.certificate-unset");
    check("two words\n", "dovecot.refused 1");
    check("!include nowhere/*.conf\n", "dovecot.include-unmatched 1");
    check(
        "service auth {\n  unix_listener /srv/auth {\n    mode = 0666\n  }\n}\n",
        "dovecot.auth-socket-open 2",
    );
    check("ssl_server_key_file = /nonexistent\n", "dovecot.key-unusable");
    // Every setting of 2.3 that we call gone is refused by 2.4, with what it is now.
    for old in [
        "auth_default_realm",
        "auth_worker_max_count",
        "default_idle_kill",
        "disable_plaintext_auth",
        "login_access_sockets",
        "mail_attachment_dir",
        "mail_location",
        "master_user_separator",
        "ssl_alt_cert",
        "ssl_ca",
        "ssl_cert",
        "ssl_dh",
        "ssl_key",
        "ssl_key_password",
        "ssl_prefer_server_ciphers",
        "ssl_require_crl",
        "ssl_verify_client_cert",
        "verbose_ssl",
        "replication_max_conns",
        "old_stats_memory_limit",
    ] {
        check(&format!("{old} = x\n"), "dovecot.setting-gone 1");
    }
    // A configuration of 2.3, as an upgrade finds it.
    fs::write(&main, "protocols = imap\nssl_cert = </c\nssl_key = </k\n").unwrap();
    let found = findings(&site);
    assert_eq!(ids(&found), ["dovecot.setting-gone"], "{found:#?}");

    // It runs, and serves what its file holds until that is another one.
    fs::write(&main, good).unwrap();
    let doveconf = |program: &str| site.postfix.command(program);
    let started = doveconf("dovecot").arg("-c").arg(&main).status().unwrap();
    assert!(started.success());
    let pid = fs::read_to_string(root.join("run/master.pid")).unwrap_or_default();
    site.scratch.remember("pids", pid.trim());
    crate::support::server::wait_until("Dovecot serves", || findings(&site).is_empty());
    let (other, other_key) = leave(&site.scratch, "other", &site.issue());
    fs::copy(other, certificate.to_string()).unwrap();
    fs::copy(other_key, key.to_string()).unwrap();
    let found = findings(&site);
    assert!(
        !found.is_empty() && ids(&found).iter().all(|id| *id == "dovecot.not-reloaded"),
        "{found:#?}"
    );
    assert!(
        doveconf("doveadm")
            .arg("-c")
            .arg(&main)
            .arg("reload")
            .status()
            .unwrap()
            .success()
    );
    crate::support::server::wait_until("Dovecot serves the new certificate", || {
        findings(&site).is_empty()
    });
    assert!(
        doveconf("doveadm")
            .arg("-c")
            .arg(&main)
            .arg("stop")
            .status()
            .unwrap()
            .success()
    );
}
