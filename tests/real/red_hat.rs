//! A host as Red Hat lays it out: /etc/pki, labels of SELinux. There is no SELinux here: its programs are stand-ins that say how
//! they were called.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::support::{Mailcert, PostfixOptions, Site, world::HOST};

/// What the package's main.cf says of TLS.
const MAIN_CF: &str = "\
# The full pathname of a file with the Postfix SMTP server RSA certificate\n\
smtpd_tls_cert_file = /etc/pki/tls/certs/postfix.pem\n\
smtpd_tls_key_file = /etc/pki/tls/private/postfix.key\n\
smtpd_tls_security_level = may\n\
smtp_tls_CApath = /etc/pki/tls/certs\n\
smtp_tls_CAfile = /etc/pki/tls/certs/ca-bundle.crt\n\
smtp_tls_security_level = may\n\
meta_directory = /etc/postfix\n\
shlib_directory = /usr/lib/postfix\n";

/// What the package's 10-ssl.conf says.
const SSL_CONF: &str = "\
# SSL/TLS support: yes, no, required. <doc/wiki/SSL.txt>\n\
ssl = required\n\
ssl_cert = </etc/pki/dovecot/certs/dovecot.pem\n\
ssl_key = </etc/pki/dovecot/private/dovecot.pem\n\
ssl_cipher_list = PROFILE=SYSTEM\n";

fn site() -> Site {
    let site = Site::of(|_, _| PostfixOptions {
        snake_oil: false,
        main_cf: MAIN_CF.to_owned(),
        ..PostfixOptions::default()
    });
    let root = site.scratch.path().join("root");
    fs::remove_dir_all(root.join("etc/ssl")).unwrap();
    site.scratch
        .file("root/etc/pki/tls/certs/ca-bundle.crt", site.authority.root());
    site.scratch
        .file("root/etc/os-release", "ID=\"rhel\"\nVERSION_ID=\"9.4\"\n");
    site.hold_certificate("");
    site.scratch.file("root/sys/fs/selinux/enforce", "1");
    site
}

/// Puts programs that note how they are called before those of the system.
fn with_programs(site: &Site, names: &[&str]) -> Mailcert {
    let directory = site.scratch.dir("bin");
    for name in names {
        let log = site.scratch.path().join("calls");
        let script = format!("#!/bin/sh\necho \"{name} $*\" >>{}\n", log.display());
        let program = site.scratch.file(&format!("bin/{name}"), script);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut mailcert = site.mailcert();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
    mailcert.vars.insert("PATH".into(), path.into());
    mailcert
}

/// Returns the calls since the last question.
fn calls(site: &Site) -> Vec<String> {
    let log = site.scratch.path().join("calls");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    text.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn postfix_of_red_hat_is_given_its_files_with_labels_that_it_may_read() {
    let site = site();
    let before = fs::read_to_string(site.postfix.main_cf()).unwrap();
    let mailcert = with_programs(&site, &["semanage", "restorecon"]);
    let checked = mailcert.run(&["check", "postfix"]).expect(3);
    assert!(
        checked
            .stdout
            .contains("postfix.certificate-unusable /etc/pki/tls/certs/postfix.pem"),
        "{checked}"
    );
    let applied = mailcert.run(&["apply", "postfix", "--yes"]).expect(0);
    site.postfix.verify(25, &site.root_file()).unwrap();
    let state = site.state("").display().to_string();
    let state = state.trim_end_matches('/');
    let pattern = format!("{}/(lineages|live|postfix|", state.replace('.', "\\."));
    let called = calls(&site);
    assert!(
        called[0].starts_with(&format!("semanage fcontext -a -t cert_t {pattern}")),
        "{called:?} {applied}"
    );
    assert!(
        called[1].starts_with(&format!("restorecon -R {state}/lineages {state}/live")),
        "{called:?}"
    );
    assert!(
        !applied.stdout.contains("SELinux") && !applied.stderr.contains("SELinux"),
        "{applied}"
    );
    // The distribution's roots are those that it has; its own lines stay.
    let after = fs::read_to_string(site.postfix.main_cf()).unwrap();
    assert!(
        after.contains("\nsmtp_tls_CAfile = /etc/pki/tls/certs/ca-bundle.crt\n"),
        "{after}"
    );
    assert!(after.contains(&format!("live/{HOST}/fullchain.pem")), "{after}");
    // Its files were never there: to go back to them is to switch TLS off, which is told, and done when it has to be.
    mailcert.run(&["undo"]).expect(1);
    mailcert.run(&["undo", "--force"]).expect(1);
    assert_eq!(fs::read_to_string(site.postfix.main_cf()).unwrap(), before);

    // Without semanage, what chcon does is said to last until the next relabel.
    let renewed = |mailcert: &Mailcert, name: &str| {
        let from = site.issue().leave(&site.scratch, name).display().to_string();
        let installed = mailcert.run(&["install", HOST, "--from", &from]).expect(0);
        installed.stdout + &installed.stderr
    };
    for name in ["semanage", "restorecon"] {
        fs::remove_file(site.scratch.path().join("bin").join(name)).unwrap();
    }
    let told = renewed(&with_programs(&site, &["chcon"]), "second");
    assert!(
        told.contains("by chcon only") && told.contains("policycoreutils-python-utils"),
        "{told}"
    );
    assert!(
        calls(&site)[0].starts_with(&format!("chcon -R -t cert_t {state}/lineages")),
        "{told}"
    );
    // The system's own chcon has no SELinux to speak to.
    fs::remove_file(site.scratch.path().join("bin/chcon")).unwrap();
    let told = renewed(&with_programs(&site, &[]), "third");
    assert!(told.contains("could not be labelled cert_t"), "{told}");
}

#[test]
#[ignore = "real: needs postfix, named, dovecot"]
fn dovecot_of_red_hat_is_read_and_its_files_are_named() {
    let site = Site::start();
    let place = site.scratch.dir("dovecot");
    site.scratch.file(
        "dovecot/dovecot.conf",
        format!("protocols = imap pop3 lmtp\nlisten = {}\nbase_dir = {}/run\n!include conf.d/*.conf\n!include_try local.conf\n", site.address.ip(), place.display()),
    );
    let ssl = site.scratch.file("dovecot/conf.d/10-ssl.conf", SSL_CONF);
    site.write_config(|text| {
        text.replace(
            "[dovecot]\nmanage = false\n",
            &format!("[dovecot]\nconfig_directory = {place:?}\nverify = []\n"),
        )
    });
    let found = site
        .mailcert()
        .run(&["check", "dovecot", "--format", "json"])
        .expect(3)
        .json();
    let of = |id: &str| -> Vec<Value> {
        let all = found["findings"].as_array().unwrap().iter();
        all.filter(|one| one["id"] == id).cloned().collect()
    };
    let named = |finding: &Value, file: &str, line: usize| {
        assert_eq!(finding["subject"], file, "{finding:#}");
        let at = format!("{}:{line} ", Path::new(&ssl).display());
        assert!(
            finding["evidence"].as_str().unwrap().starts_with(&at),
            "{finding:#}"
        );
    };
    named(
        &of("dovecot.certificate-unusable")[0],
        "/etc/pki/dovecot/certs/dovecot.pem",
        3,
    );
    named(
        &of("dovecot.key-unusable")[0],
        "/etc/pki/dovecot/private/dovecot.pem",
        4,
    );
}
