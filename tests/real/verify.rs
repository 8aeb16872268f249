//! What `check`, `probe`, `plan`, `apply` and `status` say of real ports and files, in words, JSON and exit codes.

use std::{fs, path::Path};

use serde_json::Value;
use time::Duration;

use crate::support::{Answer, Identity, Mailcert, Outcome, Port, PostfixOptions, Site, world::HOST};

/// Returns the ids of the findings of `check`, with their severities.
fn findings(site: &Site, target: &str) -> Vec<(String, String)> {
    let outcome = site.mailcert().run(&["check", target, "--format", "json"]);
    let json = outcome.json();
    let list = json["findings"].as_array().unwrap();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    for finding in list {
        for key in ["severity", "id", "subject", "evidence", "remedy", "reference"] {
            assert!(finding[key].is_string(), "{key}: {outcome}");
        }
        assert!(
            finding["severity"] != "error" || finding["remedy"] != "",
            "no remedy: {finding:#}"
        );
    }
    let is_red = list.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(outcome.code, if is_red { 3 } else { 0 }, "{outcome}");
    assert_eq!(json["ok"], !is_red, "{outcome}");
    list.iter()
        .map(|finding| (word(finding, "id"), word(finding, "severity")))
        .collect()
}

fn has(found: &[(String, String)], id: &str, severity: &str) -> bool {
    found.iter().any(|(found, how)| found == id && how == severity)
}

/// Has Postfix serve this pair, as an operator would by hand.
///
/// Lines are replaced: a parameter that is set twice makes every daemon log a warning as it starts, and postlogd(8),
/// which does the same, can then wait for itself.
fn serve(site: &Site, certificate: &Path, key: &Path) {
    site.postfix.edit_main_cf(|text| {
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some(("smtpd_tls_cert_file", _)) => format!("smtpd_tls_cert_file={}\n", certificate.display()),
            Some(("smtpd_tls_key_file", _)) => format!("smtpd_tls_key_file={}\n", key.display()),
            _ => format!("{line}\n"),
        });
        lines.collect::<String>().into_bytes()
    });
    site.postfix.stop();
    site.postfix.launch();
}

fn leave(site: &Site, name: &str, identity: &Identity) -> std::path::PathBuf {
    identity.leave(&site.scratch, name)
}

/// Starts a site whose outgoing mail is encrypted, so that `check postfix` finds nothing wrong with that.
fn encrypting() -> Site {
    let site = Site::start();
    site.postfix
        .edit_main_cf(|text| [text, b"smtp_tls_security_level = may\n".to_vec()].concat());
    site
}

#[test]
#[ignore = "real: needs postfix, named"]
fn verifying_switched_off_ends_deployed_and_reload_never_ends_installed() {
    let check = |lines: &str, state: &str, reloads: usize| {
        let site = Site::start();
        let snake_oil = site.postfix.leaf_sha256(25);
        site.write_config(|text| text + lines);
        let identity = site.issue();
        let directory = identity.leave(&site.scratch, "first").display().to_string();
        let installed = site
            .mailcert()
            .run(&["install", HOST, "--from", &directory, "--format", "json"])
            .expect(0);
        let lineage = installed.json()["lineages"][0].clone();
        assert_eq!(
            (&lineage["state"], &lineage["verify"]),
            (&state.into(), &"off".into()),
            "{installed}"
        );
        assert_eq!(
            site.mailcert()
                .run(&["status"])
                .expect(0)
                .stdout
                .matches("off")
                .count(),
            1
        );
        assert_eq!(
            site.postfix.log().matches("reload --").count(),
            reloads,
            "{installed}"
        );
        assert!(
            site.postfix
                .postconf("smtpd_tls_cert_file")
                .ends_with("fullchain.pem")
        );
        let served = site.postfix.leaf_sha256(25);
        assert!(
            served == Ok(identity.sha256()) || reloads == 0 && served == snake_oil,
            "{served:?}"
        );
        let idle = site.mailcert().run(&["renew"]).expect(0);
        assert!(idle.stdout.contains("nothing is due"), "{idle}");
        let again = site.mailcert().run(&["apply", "--yes"]).expect(0);
        assert!(again.stdout.contains("nothing to change"), "{again}");
    };
    check("verify = []\n", "deployed", 1);
    check("reload = \"never\"\n", "installed", 0);
}

#[test]
#[ignore = "real: needs postfix, named"]
fn check_finds_what_is_wrong_with_certificates_and_files() {
    let site = encrypting();
    let found = findings(&site, "tls");
    assert!(has(&found, "tls.self-signed", "error"), "{found:?}");
    let found = findings(&site, "postfix");
    assert!(has(&found, "postfix.self-signed", "warning"), "{found:?}");

    let good = leave(&site, "good", &site.issue());
    let key = good.join("privkey.pem");
    serve(&site, &good.join("cert.pem"), &key);
    let found = findings(&site, "tls");
    assert!(has(&found, "tls.incomplete-chain", "error"), "{found:?}");
    let found = findings(&site, "postfix");
    assert!(has(&found, "postfix.leaf-only", "error"), "{found:?}");

    let served_by = |name: &str, identity: &Identity| {
        let dir = leave(&site, name, identity);
        serve(&site, &dir.join("fullchain.pem"), &dir.join("privkey.pem"));
        findings(&site, "tls")
    };
    let issue = |name: &str, left: Duration| site.authority.issue(name, left);
    let found = served_by("expired", &issue(HOST, -Duration::DAY));
    assert!(has(&found, "tls.expired", "error"), "{found:?}");
    // Less than an eighth of a lifetime of a day and an hour.
    let found = served_by("soon", &issue(HOST, Duration::HOUR));
    assert!(has(&found, "tls.expires-soon", "error"), "{found:?}");
    let found = served_by("other", &issue("other.example.test", Duration::days(90)));
    assert!(has(&found, "tls.name-mismatch", "error"), "{found:?}");

    // The 2022 guide's line: one's own certificate where roots belong.
    let line = format!("smtp_tls_CAfile = {}\n", good.join("cert.pem").display());
    site.postfix
        .edit_main_cf(|text| [text, line.into_bytes()].concat());
    let found = findings(&site, "postfix");
    assert!(has(&found, "postfix.client-ca", "error"), "{found:?}");

    let installed = site.install("ours", &site.issue());
    installed.expect(0);
    let found = findings(&site, "tls");
    assert_eq!(found, [("tls.served".to_owned(), "ok".to_owned())]);
    let found = findings(&site, "postfix");
    assert!(
        found
            .iter()
            .all(|(_, severity)| severity != "error" && severity != "warning"),
        "{found:?}"
    );
    site.postfix.stop();
    let found = findings(&site, "tls");
    assert!(has(&found, "tls.unreachable", "error"), "{found:?}");
}

#[test]
#[ignore = "real: needs postfix, named"]
fn check_finds_a_port_that_does_not_serve_the_lineage() {
    let site = Site::start();
    site.install("first", &site.issue()).expect(0);
    let stale = Answer::tls(&site.issue());
    let _port = Port::serve(site.address.port(4465), move || stale.clone());
    let ip = site.address.ip();
    site.write_config(|text| text + &format!("verify = [\"smtp://{ip}:25\", \"submissions://{ip}:4465\"]\n"));
    let found = findings(&site, "tls");
    assert!(has(&found, "tls.not-served", "error"), "{found:?}");
    assert!(has(&found, "tls.served", "ok"), "{found:?}");
}

#[test]
#[ignore = "real: needs postfix, named"]
fn check_speaks_to_nagios_in_one_line_and_its_exit_codes() {
    let site = encrypting();
    let check = |mailcert: &Mailcert, target: &str, code: i32, word: &str| {
        let outcome = mailcert
            .run(&["check", target, "--format", "nagios"])
            .expect(code);
        let (first, _) = outcome.stdout.split_once('\n').unwrap();
        assert!(first.starts_with(&format!("MAILCERT {word}")), "{outcome}");
        first.to_owned()
    };
    let mailcert = site.mailcert();
    let line = check(&mailcert, "tls", 2, "CRITICAL - tls.self-signed");
    assert!(line.trim_end().ends_with("| errors=1 warnings=0"), "{line}");
    check(&mailcert, "postfix", 1, "WARNING - postfix.self-signed");
    site.install("first", &site.issue()).expect(0);
    check(&mailcert, "tls", 0, "OK - nothing is wrong | errors=0 warnings=0");
    check(&mailcert, "postfix", 0, "OK");
    let missing = Mailcert {
        config: Some(site.scratch.path().join("none.toml")),
        ..mailcert
    };
    check(&missing, "tls", 3, "UNKNOWN");
}

#[test]
#[ignore = "real: needs postfix, named"]
fn probe_tells_a_handshake_in_full_or_where_it_ended() {
    let site = Site::with(PostfixOptions {
        submissions: true,
        ..PostfixOptions::default()
    });
    let identity = site.issue();
    site.install("first", &identity).expect(0);
    site.scratch.file(
        "root/etc/resolv.conf",
        format!("nameserver {}\n", site.address.ip()),
    );
    let mailcert = Mailcert {
        config: None,
        ..site.mailcert()
    };
    let probe = |port: u16, code: i32| -> Outcome {
        let target = format!("{}:{port}", site.address.ip());
        let roots = site.root_file().display().to_string();
        let args = [
            "probe",
            &target,
            "--name",
            HOST,
            "--root-ca-file",
            &roots,
            "--format",
            "json",
        ];
        mailcert.run(&args).expect(code)
    };
    for port in [25, 465] {
        let said = probe(port, 0).json();
        let tls = &said["reports"][0]["tls"];
        assert_eq!(tls["chain"][0]["sha256"], identity.sha256(), "{said:#}");
        assert_eq!(
            (&tls["trusted"], &tls["name_matches"]),
            (&true.into(), &true.into()),
            "{said:#}"
        );
        assert_eq!(tls["chain"].as_array().unwrap().len(), 2, "{said:#}");
    }
    let closed = probe(4499, 1).json();
    assert_eq!(closed["reports"][0]["failure"]["stage"], "connect", "{closed:#}");
    let _plain = Port::serve(site.address.port(4498), || Answer::Plain);
    let plain = probe(4498, 1).json();
    assert_eq!(
        plain["reports"][0]["failure"]["stage"], "no-start-tls",
        "{plain:#}"
    );
    assert_eq!(
        (&plain["ok"], &plain["command"]),
        (&false.into(), &"probe".into())
    );
    let text = mailcert.run(&[
        "probe",
        &format!("{}:25", site.address.ip()),
        "--name",
        "other.example.test",
    ]);
    assert!(
        text.stdout.contains("other.example.test is not covered"),
        "{text}"
    );
}

#[test]
#[ignore = "real: needs postfix, named"]
fn plan_shows_the_diff_and_apply_wants_a_yes() {
    let site = Site::start();
    let before = fs::read(site.postfix.main_cf()).unwrap();
    site.hold_certificate("");
    let planned = site.mailcert().run(&["plan", "--expect-no-changes"]).expect(3);
    for line in [
        "--- ",
        "+++ ",
        "@@ ",
        "+smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt",
    ] {
        assert!(
            planned.stdout.lines().any(|found| found.starts_with(line)),
            "{line}: {planned}"
        );
    }
    site.mailcert().run(&["plan"]).expect(0);

    let refused = site.mailcert().run(&["apply"]).expect(2);
    assert!(
        refused.stdout.contains("+smtp_tls_CAfile"),
        "the plan is shown: {refused}"
    );
    assert!(refused.stderr.contains("--yes"), "{refused}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    assert_eq!(site.n_journal_entries(), 0);

    site.mailcert().run(&["apply", "--yes"]).expect(0);
    let nothing = site.mailcert().run(&["plan", "--expect-no-changes"]).expect(0);
    assert!(nothing.stdout.contains("nothing to change"), "{nothing}");
    site.mailcert().run(&["apply"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named"]
fn json_is_one_object_that_keeps_the_contract() {
    let site = Site::start();
    site.hold_certificate("");
    let run = |args: &[&str], code: i32| {
        let outcome = site
            .mailcert()
            .run(&[args, &["--format", "json"]].concat())
            .expect(code);
        let json = outcome.json();
        assert_eq!(
            (&json["format"], &json["command"]),
            (&1.into(), &args[0].into()),
            "{outcome}"
        );
        assert_eq!(json["ok"], code == 0, "{outcome}");
        assert_eq!(json.get("error").is_some(), code == 1 || code == 2, "{outcome}");
        if let Some(error) = json.get("error") {
            assert!(
                error["message"].is_string() && error["causes"].is_array(),
                "{outcome}"
            );
            assert!(error["remedies"].is_array(), "{outcome}");
        }
        json
    };
    let change = |json: &Value| {
        let change = json["changes"][0].clone();
        assert_eq!(change["kind"], "file", "{json:#}");
        assert!(
            change["diff"].as_str().unwrap().contains("+smtp_tls_CAfile"),
            "{json:#}"
        );
        assert!(change["path"].as_str().unwrap().ends_with("/main.cf"), "{json:#}");
        assert!(
            change["reasons"]
                .as_array()
                .is_some_and(|reasons| !reasons.is_empty()),
            "{json:#}"
        );
    };
    let planned = run(&["plan"], 0);
    change(&planned);
    assert_eq!(planned["applied"], false);
    run(&["plan", "--expect-no-changes"], 3);
    change(&run(&["apply"], 2));
    let applied = run(&["apply", "--yes"], 0);
    change(&applied);
    assert_eq!(applied["applied"], true);
    assert_eq!(applied["lineages"][0]["action"], "deployed");

    let status = run(&["status"], 0);
    let lineage = &status["lineages"][0];
    for key in ["name", "state", "not_after", "leaf_sha256", "verify"] {
        assert!(lineage[key].is_string(), "{key}: {status:#}");
    }
    // Somebody else renews it.
    for key in ["renew_at", "renew_reason"] {
        assert_eq!(lineage.get(key), Some(&Value::Null), "{key}: {status:#}");
    }
    assert_eq!(
        (&lineage["state"], &lineage["verify"]),
        (&"verified".into(), &"on".into())
    );
    assert_eq!(
        (&lineage["generation"], &lineage["identifiers"]),
        (&1.into(), &serde_json::json!([HOST]))
    );
    assert_eq!(lineage.get("last_error"), Some(&Value::Null));
    assert!(
        lineage["not_after"].as_str().unwrap().ends_with('Z'),
        "RFC 3339 in UTC: {status:#}"
    );
    for key in ["enabled", "last_run", "next_run"] {
        assert!(status["timer"].get(key).is_some(), "{key}: {status:#}");
    }
    run(&["check", "tls", "postfix"], 0);
    assert_eq!(run(&["undo"], 0)["changes"][0]["kind"], "file");
    run(&["deploy", "nobody.example.test"], 2);
    site.postfix.stop();
    run(&["deploy"], 1);
    run(&["apply", "--yes"], 1);
    run(&["status"], 3);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_certificate_that_postfix_names_no_more_is_red_until_it_is_served() {
    let site = Site::start();
    let before = fs::read(site.postfix.main_cf()).unwrap();
    site.install("first", &site.issue()).expect(0);
    // Somebody brings another main.cf, as a host's configuration management does.
    fs::write(site.postfix.main_cf(), before).unwrap();
    let installed = site.install("second", &site.issue()).expect(1);
    assert!(
        installed.stderr.contains("no port serves it any more"),
        "{installed}"
    );
    assert!(installed.stderr.contains("mailcert apply postfix"), "{installed}");
    site.mailcert().run(&["renew"]).expect(1);
    site.mailcert().run(&["status"]).expect(3);
    site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
    site.mailcert().run(&["renew"]).expect(0);
    assert_eq!(site.status()["state"], "verified");
}
