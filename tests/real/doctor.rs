//! `check postfix` as a doctor: what is wrong with a real Postfix is found, and gone once the remedy was taken.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::support::{PostfixOptions, Scratch, Site};

/// Returns the ids that `check postfix` finds, without what is as it should be; sorted, each once.
pub fn ids(site: &Site) -> Vec<String> {
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

/// What a host lacks or has too much of: a line more, and what is found then.
const SICK: &[(&str, &str, &str)] = &[
    ("main.cf", "smtp_tls_security_level =\n", "postfix.outgoing-clear"),
    (
        "main.cf",
        "smtp_tls_security_level = dane\n",
        "postfix.dane-without-dnssec",
    ),
    (
        "main.cf",
        "smtp_tls_CAfile =\nsmtp_tls_CApath =\n",
        "postfix.no-roots",
    ),
    (
        "main.cf",
        "smtp_tls_protocols = TLSv1.2+\n",
        "postfix.protocols-unknown",
    ),
    (
        "master.cf",
        "587 inet n - n - - smtpd\n",
        "postfix.submission-without-auth",
    ),
    (
        "master.cf",
        "465 inet n - n - - smtpd\n",
        "postfix.submissions-not-wrapped",
    ),
    (
        "master.cf",
        "587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_mynetworks,reject\n",
        "postfix.submission-no-relay",
    ),
    (
        "master.cf",
        "587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes \
         -o smtpd_recipient_restrictions=reject_unknown_recipient_domain,permit_sasl_authenticated,reject\n",
        "postfix.submission-dns",
    ),
    (
        "master.cf",
        "587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes -o smtpd_milters=inet:127.0.0.1:8891\n",
        "postfix.submission-filters",
    ),
    (
        "master.cf",
        "587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n",
        "postfix.sender-login-missing",
    ),
    (
        "master.cf",
        "587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes -o smtpd_sender_login_maps=inline:{a=b}\n",
        "postfix.sender-login-unused",
    ),
    (
        "master.cf",
        "smtpp inet n - n - - smtpd\n",
        "postfix.service-unknown",
    ),
];

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn what_is_missing_or_harmful_is_found_line_by_line() {
    let site = Site::with(PostfixOptions {
        main_cf: "smtp_tls_security_level = may\nsmtp_tls_CApath = /etc/ssl/certs\n".to_owned(),
        ..PostfixOptions::default()
    });
    site.write_config(|text| text);
    site.scratch
        .file("root/etc/services", fs::read("/etc/services").unwrap());
    let found = ids(&site);
    for (file, lines, id) in SICK {
        assert!(!found.iter().any(|known| known == id), "{id}: {found:#?}");
        let path = site.postfix.config_directory().join(file);
        let before = fs::read(&path).unwrap();
        fs::write(&path, [before.clone(), lines.as_bytes().to_vec()].concat()).unwrap();
        let now = ids(&site);
        assert!(now.iter().any(|found| found == id), "{id} is not in {now:#?}");
        fs::write(&path, before).unwrap();
    }
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn certificates_that_clients_do_not_take_are_found() {
    let site = Site::start();
    site.write_config(|text| text);
    let identity = site.issue();
    let files = identity.leave(&site.scratch, "own");
    let text = String::from_utf8(fs::read(site.postfix.main_cf()).unwrap()).unwrap();
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        let lines = format!(
            "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
            certificate.display(),
            key.display()
        );
        fs::write(site.postfix.main_cf(), text.clone() + &lines).unwrap();
        ids(&site)
    };
    let key = files.join("privkey.pem");
    let has = |found: &[String], id: &str| found.iter().any(|known| known == id);
    let found = with(&files.join("fullchain.pem"), &key);
    for id in ["leaf-only", "self-signed", "lifetime-long", "names-missing"] {
        assert!(!has(&found, &format!("postfix.{id}")), "{found:#?}");
    }
    assert!(has(&found, "postfix.two-files"), "{found:#?}");
    let found = with(&files.join("cert.pem"), &key);
    assert!(has(&found, "postfix.leaf-only"), "{found:#?}");

    // By a root that signs itself: nothing is missing, once this host trusts it; and what an old how-to makes by it.
    let root = site.scratch.dir("in-house");
    let at = |name: &str| root.join(name).display().to_string();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-noenc",
        "-days",
        "30",
        "-subj",
        "/CN=In-house root",
        "-keyout",
        &at("root.key"),
        "-out",
        &at("root.pem"),
    ]);
    let sign = |name: &str, days: &str, names: &str| {
        let extensions = site.scratch.file("extensions", names);
        openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-noenc",
            "-subj",
            "/CN=mail.example.test",
            "-keyout",
            &at("key.pem"),
            "-out",
            &at("csr.pem"),
        ]);
        openssl(&[
            "x509",
            "-req",
            "-in",
            &at("csr.pem"),
            "-CA",
            &at("root.pem"),
            "-CAkey",
            &at("root.key"),
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            &extensions.display().to_string(),
            "-out",
            &at(name),
        ]);
        with(&root.join(name), &root.join("key.pem"))
    };
    let names = "subjectAltName=DNS:mail.example.test\n";
    let found = sign("server.pem", "397", names);
    assert!(has(&found, "postfix.leaf-only"), "{found:#?}");
    let bundle =
        fs::read_to_string(site.scratch.path().join("root/etc/ssl/certs/ca-certificates.crt")).unwrap();
    let both = bundle + &fs::read_to_string(root.join("root.pem")).unwrap();
    site.scratch.file("root/etc/ssl/certs/ca-certificates.crt", both);
    let found = sign("server.pem", "397", names);
    for id in ["leaf-only", "self-signed", "lifetime-long", "names-missing"] {
        assert!(!has(&found, &format!("postfix.{id}")), "{found:#?}");
    }
    let found = sign("server.pem", "3650", "keyUsage=digitalSignature\n");
    for id in ["lifetime-long", "names-missing"] {
        assert!(has(&found, &format!("postfix.{id}")), "{found:#?}");
    }
}
