//! `check postfix` as a doctor: what is wrong with a real Postfix is found, and gone once the remedy was taken.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::support::{PostfixOptions, Scratch, Site};

/// Returns the ids that `check postfix` finds, without what is as it should be; sorted, each once.
fn ids(site: &Site) -> Vec<String> {
    let checked = site
        .mailcert()
        .run(&["check", "postfix", "--format", "json"])
        .json();
    let findings = checked["findings"].as_array().unwrap();
    let mut ids: Vec<String> = findings
        .iter()
        .filter(|finding| finding["severity"] != "ok")
        .map(|finding| {
            let severe = finding["severity"] != "info";
            let has_way = !finding["remedy"].as_str().unwrap().is_empty();
            assert!(!severe || has_way, "no remedy: {finding:#}");
            finding["id"].as_str().unwrap().to_owned()
        })
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// main.cf and master.cf as the guides and years of other advice leave them.
fn worn(scratch: &Scratch, address: &str) -> PostfixOptions {
    let aliases = scratch.file("aliases", "root: alice\n");
    let leaf = scratch.path().join("leaf.pem");
    let (leaf, key) = (
        leaf.display().to_string(),
        scratch.path().join("leaf.key").display().to_string(),
    );
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-noenc",
        "-subj",
        "/CN=mail.example.test",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &key,
        "-out",
        &leaf,
    ]);
    PostfixOptions {
        main_cf: format!(
            "smtpd_tls_security_level = encrypt\n\
             smtpd_sasl_auth_enable = yes\n\
             smtpd_sasl_type = dovecot\n\
             smtpd_sasl_path = private/auth\n\
             smtpd_use_tls = yes\n\
             smtpd_tls_mandatory_protocols = !SSLv2, !SSLv3\n\
             smtpd_banner = welcome\n\
             smtpd_client_restrictions = reject_unknown_client_hostname\n\
             smtp_tls_CAfile = {leaf}\n\
             smtp_tls_security_level = encrypt\n\
             smtp_tls_ciphers = high\n\
             smtp_tls_loglevel = 2\n\
             virtual_alias_maps = cdb:/nonexistent\n",
        ),
        master_cf: format!(
            "{address}:587 inet n - n - - smtpd\n\
             \x20 -o smtpd_tls_security_level=may\n\
             \x20 -o smtpd_sender_login_maps=texthash:{aliases}\n\
             \x20 -o smtpd_sasl_local_domain=$myhostname\n\
             {address}:465 inet n - n - - smtpd\n\
             \x20 -o smtpd_tls_wrappermode=yes -o smtpd_recipient_restrictions=permit_mynetworks, reject\n",
            aliases = aliases.display(),
        ),
        ..PostfixOptions::default()
    }
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_worn_configuration_is_told_in_full() {
    let site = Site::of(|scratch, address| worn(scratch, &address.ip().to_string()));
    site.hold_certificate("");
    let found = ids(&site);
    for expected in [
        "postfix.auth-in-clear",
        "postfix.auth-on-25",
        "postfix.banner",
        "postfix.client-ca",
        "postfix.encrypt-on-25",
        "postfix.loglevel",
        "postfix.not-as-wanted",
        "postfix.obsolete",
        "postfix.options-unread",
        "postfix.outgoing-ciphers",
        "postfix.outgoing-mandatory",
        "postfix.protocols-old",
        "postfix.sasl-local-domain",
        "postfix.self-signed",
        "postfix.sender-login-aliases",
        "postfix.submission-clear",
        "postfix.submission-leak",
        "postfix.table-type",
    ] {
        assert!(
            found.iter().any(|id| id == expected),
            "{expected} is not in {found:#?}"
        );
    }
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn keys_that_do_not_fit_or_that_others_may_read_are_found() {
    let site = Site::start();
    site.write_config(|text| text);
    let key = site.postfix.postconf("smtpd_tls_key_file");
    let has = |id: &str| ids(&site).iter().any(|found| found == id);
    let own = fs::read(&key).unwrap();
    for id in [
        "postfix.key-mismatch",
        "postfix.key-exposed",
        "postfix.key-unusable",
    ] {
        assert!(!has(id), "{id}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(has("postfix.key-exposed"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let other = openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    fs::write(&key, other).unwrap();
    assert!(has("postfix.key-mismatch"));
    // The daemon says the same: TLS is offered, and answered with 454.
    site.postfix.reload();
    assert!(site.postfix.leaf_sha256(25).is_err());
    let encrypted = openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-aes128",
        "-pass",
        "pass:x",
    ]);
    fs::write(&key, encrypted).unwrap();
    assert!(has("postfix.key-unusable"));
    fs::write(&key, "none\n").unwrap();
    assert!(has("postfix.certificate-unusable"));
    fs::remove_file(&key).unwrap();
    assert!(has("postfix.certificate-unusable"));
    fs::write(&key, own).unwrap();
    assert!(!has("postfix.key-mismatch"));
}
