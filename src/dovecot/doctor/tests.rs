//! Tables of configurations, and what is found in each.

use super::*;
use crate::dovecot::tree::{Overlay, Source, TreeError};
use std::collections::BTreeMap;

/// No files but those of the table.
struct Nothing;

impl Source for Nothing {
    fn read(&self, _: &Path) -> Result<Option<Vec<u8>>, TreeError> {
        Ok(None)
    }

    fn list(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }
}

const MAIN: &str = "/d/dovecot.conf";
const V2_3: Version = Version::new(2, 3, 19);
const V2_4: Version = Version::new(2, 4, 1);
/// What a good configuration names.
const GOOD_2_3: &str = "ssl_cert = </c\nssl_key = </k\n";
const GOOD_2_4: &str =
    "dovecot_config_version = 2.4.0\nssl_server_cert_file = /c\nssl_server_key_file = /k\n";

fn tree(dialect: Dialect, text: &str) -> Tree {
    let overlay = Overlay {
        under: &Nothing,
        files: BTreeMap::from([(PathBuf::from(MAIN), text.as_bytes().to_vec())]),
    };
    Tree::read(Path::new(MAIN), dialect, &overlay).unwrap()
}

fn examined(version: Version, text: &str, warnings: &str, asker: Option<&Asker>) -> Vec<Finding> {
    let warnings: Vec<String> = warnings.lines().map(str::to_owned).collect();
    let identifiers = ["mail.example.jp".parse().unwrap()];
    examine(&Patient {
        main: Path::new(MAIN),
        version,
        effective: &Effective::parse(&format!("# {version} (x): {MAIN}\n{text}")),
        warnings: &warnings,
        tree: &tree(version.dialect(), text),
        ours: Some(Ours {
            live: Path::new("/live"),
            identifiers: &identifiers,
        }),
        asker,
    })
}

/// Compares what is found with `ID PLACE`; nothing above info may lack a remedy or a reference.
fn compare(found: &[Finding], text: &str, expected: &[&str]) {
    // Every configuration of 2.3 is to be rewritten for 2.4; another test looks at that.
    let told = found.iter().filter(|finding| finding.id != "dovecot.before-2-4");
    let told: Vec<String> = told
        .map(|finding| format!("{} {}", finding.id, finding.subject))
        .collect();
    assert_eq!(told, expected, "{text}\n{found:#?}");
    for finding in found {
        assert!(
            !finding.remedy.is_empty() && !finding.reference.is_empty(),
            "{finding:#?}"
        );
    }
}

fn check(version: Version, text: &str, expected: &[&str]) {
    let good = if version < V2_4 { GOOD_2_3 } else { GOOD_2_4 };
    let text = format!("{good}{text}");
    compare(&examined(version, &text, "", None), &text, expected);
}

#[test]
fn finds_tls_that_is_off_and_passwords_in_clear() {
    check(V2_3, "", &[]);
    check(V2_4, "", &[]);
    check(V2_3, "ssl = no\n", &["dovecot.tls-off /d/dovecot.conf:3"]);
    check(V2_3, "ssl = no\nssl = yes\n", &[]);
    check(
        V2_4,
        "protocol pop3 {\n  ssl = no\n}\n",
        &["dovecot.tls-off /d/dovecot.conf:5"],
    );
    check(
        V2_3,
        "disable_plaintext_auth = no\n",
        &["dovecot.auth-in-clear /d/dovecot.conf:3"],
    );
    check(
        V2_4,
        "auth_allow_cleartext = yes\n",
        &["dovecot.auth-in-clear /d/dovecot.conf:4"],
    );
    check(
        V2_3,
        "disable_plaintext_auth = no\ndisable_plaintext_auth = yes\n",
        &[],
    );
    // TLS is asked for before any login.
    check(V2_3, "disable_plaintext_auth = no\nssl = required\n", &[]);
    let inside = "remote 192.0.2.0/24 {\n  disable_plaintext_auth = no\n}\nprotocol imap {\n  disable_plaintext_auth = no\n}\n";
    let found = examined(V2_3, &format!("{GOOD_2_3}{inside}"), "", None);
    let severities: Vec<Severity> = found.iter().take(2).map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Warning, Severity::Error], "{found:#?}");
}

#[test]
fn finds_protocols() {
    for oldest in ["TLSv1.2", "TLSv1.3"] {
        check(V2_3, &format!("ssl_min_protocol = {oldest}\n"), &[]);
    }
    for oldest in ["SSLv3", "TLSv1", "TLSv1.1", "ANY"] {
        check(
            V2_4,
            &format!("ssl_min_protocol = {oldest}\n"),
            &["dovecot.protocols-old /d/dovecot.conf:4"],
        );
    }
    check(
        V2_3,
        "ssl_min_protocol = TLSv9\n",
        &["dovecot.protocols-unknown /d/dovecot.conf:3"],
    );
}

#[test]
fn finds_values_that_name_no_file() {
    check(
        V2_3,
        "ssl_cert = /c.pem\n",
        &["dovecot.file-not-read /d/dovecot.conf:3"],
    );
    check(
        V2_3,
        "local_name x {\n  ssl_key = /k.pem\n}\n",
        &["dovecot.file-not-read /d/dovecot.conf:4"],
    );
    check(
        V2_4,
        "ssl_server {\n  cert_file = </c.pem\n}\n",
        &["dovecot.file-not-read /d/dovecot.conf:5"],
    );
    // What holds the text itself is well.
    check(V2_3, "ssl_cert = -----BEGIN CERTIFICATE-----\n", &[]);
    let unset = |text: &str, expected: &[&str]| compare(&examined(V2_3, text, "", None), text, expected);
    unset("", &["dovecot.certificate-unset /d/dovecot.conf"]);
    unset("ssl_cert = </c\n", &["dovecot.certificate-unset /d/dovecot.conf"]);
    unset("ssl = no\n", &["dovecot.tls-off /d/dovecot.conf:1"]);
}

#[test]
fn pairs_are_what_is_served_together() {
    let text = format!(
        "{GOOD_2_3}ssl_alt_cert = </a\nssl_alt_key = </b\nlocal_name x {{\n  ssl_cert = </x\n}}\nprotocol imap {{\n  ssl_cert = </y\n  ssl_key = </z\n}}\n"
    );
    let tree = tree(Dialect::V2_3, &text);
    let effective = Effective::parse(&text);
    let patient = Patient {
        main: Path::new(MAIN),
        version: V2_3,
        effective: &effective,
        warnings: &[],
        tree: &tree,
        ours: None,
        asker: None,
    };
    let path = |file: &Option<NamedFile>| {
        file.as_ref()
            .map(|file| file.path.display().to_string())
            .unwrap_or_default()
    };
    let pairs: Vec<String> = patient
        .pairs()
        .iter()
        .map(|pair| {
            format!(
                "{}: {} {}",
                pair.scope.join(" / "),
                path(&pair.certificate),
                path(&pair.key)
            )
        })
        .collect();
    assert_eq!(
        pairs,
        [
            ": /c /k",
            ": /a /b",
            "local_name x: /x /k",
            "protocol imap: /y /z"
        ]
    );
}

#[test]
fn finds_what_wins_over_ours() {
    check(V2_3, "local_name other.example.jp {\n  ssl_cert = </x\n}\n", &[]);
    check(
        V2_3,
        "local_name mail.example.jp {\n  ssl_cert = </live/a/fullchain.pem\n}\n",
        &[],
    );
    check(
        V2_3,
        "local_name Mail.example.jp {\n  ssl_cert = </x\n}\n",
        &["dovecot.override /d/dovecot.conf:4"],
    );
    check(
        V2_4,
        "protocol imap {\n  ssl_server_cert_file = /x\n}\n",
        &["dovecot.override /d/dovecot.conf:5"],
    );
    check(
        V2_3,
        "local 192.0.2.1 {\n  ssl_cert = </x\n  ssl_key = </y\n}\n",
        &["dovecot.override /d/dovecot.conf:4"],
    );
}

#[test]
fn finds_too_many_names_for_the_memory() {
    let blocks = |n: usize| {
        (0..n)
            .map(|index| format!("local_name n{index} {{\n}}\n"))
            .collect::<String>()
    };
    let at = "dovecot.names-memory /d/dovecot.conf";
    check(V2_3, &blocks(700), &[]);
    check(V2_3, &blocks(800), &[at]);
    check(V2_3, &blocks(1500), &[at]);
    check(
        V2_3,
        &format!("{}service config {{\n  vsz_limit = 2 G\n}}\n", blocks(1500)),
        &[],
    );
    check(V2_3, &format!("{}default_vsz_limit = 2 G\n", blocks(1500)), &[]);
    check(
        V2_3,
        &format!("{}service config {{\n  vsz_limit = 16 M\n}}\n", blocks(100)),
        &[],
    );
    check(V2_4, &blocks(1500), &[]);
}

#[test]
fn finds_sockets_that_are_open_to_all_or_shut_to_postfix() {
    let socket = |path: &str, settings: &str| {
        format!("{GOOD_2_3}service auth {{\n  unix_listener {path} {{\n{settings}  }}\n}}\n")
    };
    let asker = Asker {
        user: "postfix".to_owned(),
        groups: vec!["postfix".to_owned()],
        sockets: vec![("smtp/inet".to_owned(), "/q/private/auth".into())],
    };
    let check =
        |text: &str, expected: &[&str]| compare(&examined(V2_3, text, "", Some(&asker)), text, expected);
    let path = "/q/private/auth";
    check(
        &socket(path, "mode = 0600\nuser = postfix\ngroup = postfix\n"),
        &[],
    );
    check(&socket(path, "mode = 0660\ngroup = postfix\n"), &[]);
    check(
        &socket(path, "mode = 0666\n"),
        &["dovecot.auth-socket-open /d/dovecot.conf:4"],
    );
    let shut = &["dovecot.auth-socket-owner /d/dovecot.conf:4"];
    for settings in [
        "",
        "user = dovecot\n",
        "mode = 0600\nuser = root\ngroup = postfix\n",
        "mode = 0440\nuser = postfix\n",
    ] {
        check(&socket(path, settings), shut);
    }
    check(GOOD_2_3, &["dovecot.auth-socket-missing /q/private/auth"]);
    let other = socket("/srv/auth", "mode = 0666\n");
    let found = examined(V2_3, &other, "", None);
    assert_eq!(
        (found[0].id, found[0].severity),
        ("dovecot.auth-socket-open", Severity::Error)
    );
    let text = socket("auth-userdb", "mode = 0666\nuser = vmail\n");
    compare(&examined(V2_3, &text, "", None), &text, &[]);
}

#[test]
fn tells_what_doveconf_warns_about_and_what_2_4_will_refuse() {
    let warnings = "doveconf: Warning: NOTE: You can get a new clean config file with: doveconf -Pn > dovecot-new.conf\n\
        doveconf: Warning: Obsolete setting in /d/conf.d/10-ssl.conf:6: ssl_protocols has been replaced by ssl_min_protocol\n\
        doveconf: Warning: something else\n";
    let found = examined(V2_3, GOOD_2_3, warnings, None);
    compare(
        &found,
        GOOD_2_3,
        &[
            "dovecot.obsolete /d/conf.d/10-ssl.conf:6",
            "dovecot.warning /d/dovecot.conf",
        ],
    );
    let last = found.last().unwrap();
    assert_eq!((last.id, last.severity), ("dovecot.before-2-4", Severity::Info));
    assert!(
        last.evidence.contains("ssl_cert is ssl_server_cert_file"),
        "{last:#?}"
    );
    assert!(examined(V2_4, GOOD_2_4, "", None).is_empty());
    check(Version::new(2, 2, 36), "", &["dovecot.version /d/dovecot.conf"]);
}

#[test]
fn refusals_are_told_with_file_and_line() {
    let check = |message: &str, expected: (&str, &str), words: &str| {
        let tree = tree(Dialect::V2_4, "ssl_cert = </c\nssl_key = </k\n");
        let finding = refusal(Path::new(MAIN), message, Some(&tree));
        assert_eq!((finding.id, finding.subject.as_str()), expected, "{finding:#?}");
        assert!(
            finding.evidence.contains(words) && !finding.remedy.is_empty(),
            "{finding:#?}"
        );
        assert!(!finding.evidence.contains("secret"), "{finding:#?}");
    };
    let at = "doveconf: Fatal: Error in configuration file /d/x.conf";
    check(
        &format!("{at} line 6: Expecting '{{'"),
        ("dovecot.refused", "/d/x.conf:6"),
        "Expecting '{'",
    );
    check(
        &format!("{at}: Missing '}}' (section started at /d/x.conf:5)"),
        ("dovecot.refused", "/d/x.conf:5"),
        "Missing '}'",
    );
    check(
        &format!("{at} line 5: No matches"),
        ("dovecot.include-unmatched", "/d/x.conf:5"),
        "!include",
    );
    check(
        &format!("{at} line 5: Unknown setting: ssl_cret"),
        ("dovecot.refused", "/d/x.conf:5"),
        "ssl_cret",
    );
    check(
        &format!("{at} line 7: ssl_cert: Unknown setting: ssl_cert"),
        ("dovecot.setting-gone", "/d/x.conf:7"),
        "others of these files: ssl_key is ssl_server_key_file",
    );
    check(
        &format!("{at} line 1: The first setting must be dovecot_config_version"),
        ("dovecot.setting-gone", "/d/x.conf:1"),
        "dovecot_config_version",
    );
    check(
        &format!(
            "{at} line 2: ssl_server_key_file: open(/d/-----BEGIN PRIVATE KEY-----\ndoveconf: Fatal: secret\n"
        ),
        ("dovecot.refused", "/d/x.conf:2"),
        "open(/d/",
    );
    check(
        "doveconf: Fatal: open(/d/dovecot.conf) failed",
        ("dovecot.refused", MAIN),
        "open(",
    );
    check("", ("dovecot.refused", MAIN), "");
}

#[test]
fn finds_what_templates_leave_behind() {
    check(
        V2_3,
        "listen = {{ ip }}\n",
        &["dovecot.template /d/dovecot.conf:3"],
    );
    check(V2_3, "mail_location = maildir:%%h/Maildir/%%u\n", &[]);
}
