//! What is seen of a run from outside, judged by those who read it: promtool, and Postfix's own sendmail.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::support::{PostfixOptions, Scratch, World, WorldOptions, server::wait_until, world::HOST};

/// Lets promtool check metrics; its lints count.
fn promtool(metrics: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{metrics}");
}

#[test]
#[ignore = "real: needs Pebble, BIND, Postfix, promtool"]
fn promtool_finds_nothing_wrong_with_the_metrics_of_good_and_failed_runs() {
    let world = World::issued(&WorldOptions::default(), |text| {
        text + "[notify]\nmail_to = [\"root\"]\nsendmail = \"/nonexistent\"\nafter_failures = 1\n"
    });
    let path = world.state_directory().join("metrics.prom");
    let good = fs::read_to_string(&path).unwrap();
    promtool(&good);
    assert!(
        good.contains(&format!("mailcert_lineage_verified{{lineage=\"{HOST}\"}} 1")),
        "{good}"
    );
    for step in ["order", "install", "deploy", "verify"] {
        let series = format!(
            "mailcert_lineage_step_last_success_timestamp_seconds{{lineage=\"{HOST}\",step=\"{step}\"}}"
        );
        assert!(good.contains(&series), "{series} is not in\n{good}");
    }
    // An apply that finds nothing to do is a run like any other.
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    fs::remove_file(&path).unwrap();
    let again = world.mailcert().run(&["apply"]).expect(0);
    assert!(again.stdout.contains("nothing to change"), "{again}");
    let idle = fs::read_to_string(&path).unwrap();
    promtool(&idle);
    assert!(
        idle.contains("mailcert_last_run_success{command=\"apply\"} 1"),
        "{idle}"
    );
    world.postfix.stop();
    world.mailcert().run(&["renew", "--force"]).expect(1);
    let bad = fs::read_to_string(&path).unwrap();
    promtool(&bad);
    for line in [
        format!("mailcert_lineage_good{{lineage=\"{HOST}\"}} 0"),
        format!("mailcert_lineage_consecutive_failures{{lineage=\"{HOST}\"}} 1"),
        "mailcert_last_run_success{command=\"renew\"} 0".to_owned(),
        "mailcert_last_run_success{command=\"issue\"} 1".to_owned(),
        "mailcert_notify_mail_failed 1".to_owned(),
    ] {
        assert!(bad.lines().any(|found| found == line), "{line} is not in\n{bad}");
    }
}

#[test]
#[ignore = "real: needs Pebble, BIND, Postfix"]
fn postfix_delivers_what_its_own_sendmail_is_handed() {
    // A transport that keeps the mail, since the lab's Postfix drops what is local.
    let keep = "keep unix - n n - - pipe\n  flags=R user=nobody argv=/usr/bin/tee ${nexthop}\n";
    let kept = Scratch::new();
    fs::set_permissions(kept.dir("mail"), fs::Permissions::from_mode(0o777)).unwrap();
    let mail = kept.path().join("mail/kept");
    let options = WorldOptions {
        postfix: PostfixOptions {
            main_cf: format!(
                "transport_maps = inline:{{ {{ ops@{HOST} = keep:{} }} }}\n",
                mail.display()
            ),
            master_cf: keep.to_owned(),
            ..PostfixOptions::default()
        },
        ..WorldOptions::default()
    };
    let world = World::with(&options);
    let sendmail = world.scratch.file(
        "sendmail",
        format!(
            "#!/bin/sh\nexec /usr/sbin/sendmail -C {} \"$@\"\n",
            world.postfix.config_directory().display()
        ),
    );
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
    world.write_config(|text| {
        let nobody = text.replace("listen = [\"", "listen = [\"192.0.2.1:80\"]\n# [\"");
        format!(
            "{nobody}[notify]\nmail_to = [\"ops@{HOST}\"]\nmail_from = \"mailcert@{HOST}\"\nafter_failures = 1\nsendmail = {sendmail:?}\n"
        )
    });
    let failed = world.mailcert().run(&["renew"]).expect(1);
    assert!(!failed.stdout.contains("note: mail"), "{failed}");
    wait_until("the mail is delivered", || {
        fs::read_to_string(&mail)
            .is_ok_and(|text| text.contains("mailcert status") || text.contains(" status\n"))
    });
    let text = fs::read_to_string(&mail).unwrap();
    for line in [
        format!("Return-Path: <mailcert@{HOST}>"),
        format!("To: ops@{HOST}"),
        format!("Subject: {HOST}: {HOST} failed"),
        "Auto-Submitted: auto-generated".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert_eq!(text.matches("\nDate: ").count(), 1, "{text}");
    assert_eq!(text.matches("\nMessage-ID: ").count(), 1, "{text}");
}

#[test]
#[ignore = "real: needs Pebble, BIND, Postfix"]
fn the_log_has_a_line_for_each_event_in_its_order_and_no_progress() {
    let world = World::with(&WorldOptions::default());
    world.write_config(|text| text);
    world.name_live_files();
    let mut mailcert = world.mailcert();
    mailcert.vars.insert("MAILCERT_LOG".into(), "journal".into());
    let run = mailcert.run(&["renew"]).expect(0);
    assert_eq!(run.stdout, "", "the log says it");
    let lines: Vec<&str> = run.stderr.lines().collect();
    let expected = [
        "ordered: https://",
        "issued: generation 1, valid until ",
        "installed: generation 1, ",
        "deployed: generation 1, ",
        "verified: generation 1, ",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("<6>{HOST}: {expected}")), "{run}");
    }
    assert!(
        lines[expected.len()].starts_with(&format!("<6>1 issued; the next renewal is that of {HOST}, at ")),
        "{run}"
    );
    assert_eq!(lines.len(), expected.len() + 1, "{run}");
}

#[test]
#[ignore = "real: needs promtool"]
fn promtool_takes_the_alerts_that_we_ship() {
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/prometheus/mailcert.rules.yml"
    );
    let output = Command::new("promtool")
        .args(["check", "rules", rules])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Every series that a rule names is one that we write.
    let written = include_str!("../../src/model/metrics.rs");
    let text = fs::read_to_string(rules).unwrap();
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let named: Vec<&str> = text
        .split(|character| !is_part(character))
        .filter(|word| word.starts_with("mailcert_"))
        .collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        assert!(written.contains(&format!("\"{name}\"")), "nothing writes {name}");
    }
}
