//! `status`, `records` and `plan` as people and scripts read them.

use mailcert::model::lineage::{Failure, Order, RenewalInfo, Served, State, Step, Verify, Window};
use time::Duration;

use crate::{
    host::{Host, NOW, generation, verified},
    support::{Outcome, golden::golden},
};

/// Compares a command's text and JSON with their golden files.
#[track_caller]
fn both(host: &Host, case: &str, args: &[&str], code: i32) {
    let text = host.said(args).expect(code);
    golden(&format!("{case}.txt"), &as_text(&text));
    let json = host
        .said(&[args, &["--format", "json"][..]].concat())
        .expect(code);
    let pretty = serde_json::to_string_pretty(&json.json()).unwrap();
    golden(&format!("{case}.json"), &(pretty + "\n"));
}

fn as_text(outcome: &Outcome) -> String {
    match outcome.stderr.as_str() {
        "" => outcome.stdout.clone(),
        stderr => format!("{}--- stderr\n{stderr}", outcome.stdout),
    }
}

#[test]
fn status_of_lineages_in_every_state() {
    let names = [
        "bare", "good", "failing", "back", "expired", "ordered", "unlinked", "unserved",
    ];
    let full = |name: &str| format!("{name}.example.test");
    let all: Vec<String> = names.iter().map(|name| full(name)).collect();
    let host = Host::with_lineages(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let failure = |step, message: &str| {
        Some(Failure {
            step,
            message: message.to_owned(),
            count: 2,
            at: NOW - Duration::minutes(5),
            retry_at: NOW + Duration::minutes(5),
            configuration: String::new(),
            remedies: vec!["open port 587".to_owned()],
            not_yet: false,
        })
    };

    let mut good = verified(&full("good"), 3, Duration::days(10));
    good.steps.failed(Step::Order, NOW - Duration::days(11));
    good.steps.succeeded(Step::Order, NOW - Duration::days(10));
    let live = good.generations.get_mut(&3).unwrap();
    live.certificate_id = Some("a.b".to_owned());
    live.directory = Some("https://127.0.0.1:2/other".to_owned());
    let end = NOW + Duration::days(52);
    good.renewal_info = Some(RenewalInfo {
        certificate_id: "a.b".to_owned(),
        window: Some(Window {
            start: end - Duration::days(2),
            end,
            chosen: end - Duration::days(1),
            explanation_url: Some("https://127.0.0.1:2/why\u{1b}[2J".to_owned()),
        }),
        ask_at: NOW + Duration::hours(6),
    });
    host.save(&good);

    let mut failing = verified(&full("failing"), 2, Duration::days(1));
    failing.state = State::Deployed;
    failing.failure = failure(
        Step::Verify,
        "smtp://192.0.2.1:587 serves another certificate\nit expired 2030-02-01",
    );
    let endpoints = &mut failing.deployment.as_mut().unwrap().endpoints;
    endpoints.push(Served {
        endpoint: "submission://192.0.2.1:587".parse().unwrap(),
        server_name: None,
        verified: false,
        detail: "serves another certificate".to_owned(),
    });
    host.save(&failing);

    let mut back = verified(&full("back"), 4, Duration::days(70));
    back.state = State::RolledBack;
    back.newest = 5;
    back.generations
        .insert(5, generation(&full("back"), 5, Duration::hours(1)));
    back.failure = failure(Step::Verify, "port 25 no longer completed TLS");
    host.save(&back);

    host.save(&verified(&full("expired"), 1, Duration::days(100)));

    let mut ordered = verified(&full("ordered"), 1, Duration::days(62));
    ordered.order = Some(Order {
        profile: None,
        generation: 2,
        identifiers: vec![full("ordered").parse().unwrap()],
        directory: "https://127.0.0.1:1/dir".to_owned(),
        url: Some("https://127.0.0.1:1/order/1".to_owned()),
        replaces: None,
        started_at: NOW - Duration::minutes(1),
    });
    host.save(&ordered);

    host.save(&verified(&full("unlinked"), 1, Duration::days(10)));
    std::fs::remove_file(host.state().join("live").join(full("unlinked"))).unwrap();

    let mut unserved = verified(&full("unserved"), 1, Duration::days(10));
    unserved.state = State::Deployed;
    let deployment = unserved.deployment.as_mut().unwrap();
    (deployment.verify, deployment.endpoints) = (Verify::Off, Vec::new());
    host.save(&unserved);

    both(&host, "status/every-state", &["status"], 3);
}

#[test]
fn status_is_good_when_all_is_verified_and_no_timer_is_wanted() {
    let host = Host::with_lineages(&["mail.example.test"]);
    host.save(&verified("mail.example.test", 1, Duration::days(10)));
    both(&host, "status/good", &["status"], 0);
}

#[test]
fn status_is_red_while_the_timer_is_not_enabled() {
    let host = Host::with_lineages(&["mail.example.test"]);
    host.save(&verified("mail.example.test", 1, Duration::days(10)));
    let text = std::fs::read_to_string(host.config_file()).unwrap();
    host.write_config(&text.replace("timer = \"none\"", "timer = \"systemd\""));
    let outcome = host.run(&["status"]).expect(3);
    assert!(outcome.stdout.contains("apply timer"), "{outcome}");
    let link = host
        .scratch
        .dir("root/etc/systemd/system/timers.target.wants")
        .join("mailcert-renew.timer");
    std::os::unix::fs::symlink("/etc/systemd/system/mailcert-renew.timer", link).unwrap();
    host.run(&["status"]).expect(0);
}

#[test]
fn records_in_every_format() {
    let host = Host::new();
    let text = host
        .config()
        .replace("[\"example.test\"]", "[\"example.test\", \"other.test\"]");
    let long = "ip4:192.0.2.1 ".repeat(20);
    host.write_config(&format!("{text}spf = \"v=spf1 mx {long}-all\"\nttl = 600\n"));
    both(&host, "records/records", &["records"], 0);
    for format in ["zone", "table"] {
        let outcome = host.said(&["records", "--format", format]).expect(0);
        assert_eq!(outcome.stderr, "asking the name servers what is there\n");
        golden(&format!("records/records.{format}"), &outcome.stdout);
    }
}

#[test]
fn plan_with_nothing_to_do() {
    let host = Host::with_lineages(&["mail.example.test"]);
    host.save(&verified("mail.example.test", 1, Duration::days(10)));
    both(&host, "plan/nothing", &["plan"], 0);
    host.run(&["plan", "--expect-no-changes"]).expect(0);
    let applied = host.run(&["apply", "--yes"]).expect(0);
    assert_eq!(applied.stdout, "nothing to change\n");
    // Nothing to do needs no yes.
    host.run(&["apply"]).expect(0);
    assert!(!host.state().join("journal").exists());
}

#[test]
fn plan_with_certificates_to_get() {
    let host = Host::with_lineages(&["mail.example.test", "www.example.test"]);
    host.save(&verified("mail.example.test", 1, Duration::days(10)));
    both(&host, "plan/certificates", &["plan"], 0);
    host.run(&["plan", "--expect-no-changes"]).expect(3);
    let refused = host.run(&["apply"]).expect(2);
    assert!(
        refused.stdout.contains("www.example.test") && refused.stderr.contains("apply --yes"),
        "{refused}"
    );
    host.mailcert.run_at_terminal(&["apply"], "no\n").expect(2);
    assert!(
        host.load("www.example.test").failure.is_none(),
        "the CA was not asked"
    );
}

#[test]
fn undo_with_nothing_to_take_back() {
    let host = Host::with_lineages(&["mail.example.test"]);
    both(&host, "undo/nothing", &["undo"], 0);
}

#[test]
fn renew_with_nothing_due() {
    let host = Host::with_lineages(&["mail.example.test"]);
    host.save(&verified("mail.example.test", 1, Duration::days(10)));
    let mut lineage = host.load("mail.example.test");
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id: "a.b".to_owned(),
        window: None,
        ask_at: NOW + Duration::hours(6),
    });
    host.save(&lineage);
    both(&host, "renew/nothing-due", &["renew"], 0);
}

#[test]
fn dns_that_answers_nobody() {
    let host = Host::new();
    let dns = "provider = { type = \"rfc2136\", server = \"127.0.0.1:1\", key_name = \"key\", secret_env = \"SECRET\" }\n\
               publish = [\"spf\"]\n";
    host.write_config(&(host.config() + dns));
    let found = host.run(&["check", "dns", "--format", "json"]).expect(3).json();
    let ids: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    // One cause, one finding, for the domain and the host.
    assert_eq!(ids, ["dns.unanswered"], "{found}");
    let told = found["findings"][0].to_string();
    for part in [
        "example.test, mail.example.test",
        "127.0.0.1:1",
        "DMARC",
        "dns.resolvers",
    ] {
        assert!(told.contains(part), "{told}");
    }

    let refused = host.run(&["plan", "dns"]).expect(2);
    assert!(refused.stderr.contains("$SECRET is not set"), "{refused}");
    let mut mailcert = host.mailcert.clone();
    mailcert.vars.insert("SECRET".into(), "not base64!".into());
    let refused = mailcert.run(&["plan", "dns"]).expect(2);
    assert!(
        refused.stderr.contains("$SECRET") && !refused.stderr.contains("not base64!"),
        "{refused}"
    );
    mailcert.vars.insert("SECRET".into(), "c2VjcmV0".into());
    for command in [&["plan", "dns"][..], &["apply", "dns", "--yes"]] {
        let failed = mailcert.run(command).expect(1);
        assert!(
            failed.stderr.contains("example.test") && failed.stderr.contains("127.0.0.1:1"),
            "{failed}"
        );
        assert!(!failed.stderr.contains("c2VjcmV0"), "{failed}");
    }
    assert!(!host.state().join("journal").exists());
}
