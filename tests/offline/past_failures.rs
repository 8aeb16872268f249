//! Outages that others had, walked through by mailcert. The numbers are issues of the projects named.

use std::fs;

use mailcert::{
    env::Clock,
    model::lineage::{Failure, RenewalInfo, State, Step, Window},
};
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::{
    host::{Host, NOW, generation, verified},
    support::Outcome,
};

const NAME: &str = "mail.example.test";

/// Returns a host with one verified lineage, issued this long ago.
fn host(age: Duration) -> Host {
    let host = Host::with_lineages(&[NAME]);
    host.save(&verified(NAME, 2, age));
    host
}

impl Host {
    /// Switches verifying off: nobody is asked after a deployment.
    fn without_endpoints(self) -> Self {
        let text = fs::read_to_string(self.config_file()).unwrap();
        self.write_config(&text.replace("verify = [\"smtp://127.0.0.1:1\"]", "verify = []"));
        self
    }
}

/// Returns what the status says of the one lineage.
fn status(host: &Host) -> serde_json::Value {
    host.run(&["status", "--format", "json"]).json()["lineages"][0].clone()
}

/// Asserts that the run never got as far as asking a CA.
#[track_caller]
fn asked_nobody(outcome: &Outcome) {
    assert!(!outcome.to_string().contains("https://"), "{outcome}");
}

/// A board without a battery starts in 1970; a client that trusts its clock renews, or removes what is "not yet valid".
#[test]
fn clock_in_1970() {
    let mut host = host(Duration::days(10));
    let mut lineage = host.load(NAME);
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id: "a.b".to_owned(),
        window: None,
        ask_at: NOW + Duration::hours(6),
    });
    host.save(&lineage);
    let before = host.load(NAME);
    host.mailcert.clock = Clock::Fixed(OffsetDateTime::UNIX_EPOCH);
    asked_nobody(&host.run(&["renew"]).expect(0));
    host.run(&["status"]).expect(0);
    assert_eq!(host.load(NAME), before);
    host.mailcert.clock = Clock::Fixed(NOW);
    host.run(&["renew"]).expect(0);
}

/// certbot #1733, #4750, #6284, certmate #410: after a restore or an rsync the links are copies ("expected to be a
/// symlink"), and renewals stop for ever.
#[test]
fn links_replaced_by_copies() {
    let host = host(Duration::days(10)).without_endpoints();
    let live = host.state().join("live").join(NAME);
    let generation = host.state().join("lineages").join(NAME).join("2");
    fs::remove_file(&live).unwrap();
    fs::create_dir(&live).unwrap();
    for file in ["privkey.pem", "cert.pem", "fullchain.pem", "combined.pem"] {
        fs::copy(generation.join(file), live.join(file)).unwrap();
    }
    assert!(
        status(&host)["last_error"]
            .as_str()
            .unwrap()
            .contains("does not point at")
    );
    host.run(&["renew"]).expect(0);
    assert_eq!(host.store().live_points_at(NAME), Some(2));
    assert_eq!(
        fs::read(live.join("cert.pem")).unwrap(),
        b"cert.pem of generation 2\n"
    );
}

/// certbot #10655: `renew` moved the links back to an older, expired generation.
#[test]
fn links_that_point_at_an_older_generation() {
    let host = host(Duration::days(10)).without_endpoints();
    let mut lineage = host.load(NAME);
    lineage
        .generations
        .insert(1, generation(NAME, 1, Duration::days(100)));
    host.save(&lineage);
    host.store().point_live_at(NAME, 1).unwrap();
    assert!(
        status(&host)["last_error"]
            .as_str()
            .unwrap()
            .contains("does not point at")
    );
    host.run(&["renew"]).expect(0);
    assert_eq!(host.store().live_points_at(NAME), Some(2));
}

/// certbot 5.8 after a kill: the next run points the live link at a file of no bytes and says that all is well; lego
/// 4.35: "no renewal" for 60 days, with the certificate's file empty.
#[test]
fn files_of_no_bytes() {
    let host = host(Duration::days(10)).without_endpoints();
    let mut lineage = host.load(NAME);
    lineage
        .generations
        .insert(1, generation(NAME, 1, Duration::days(70)));
    host.save(&lineage);
    fs::write(
        host.state().join("lineages").join(NAME).join("2/fullchain.pem"),
        "",
    )
    .unwrap();
    host.run(&["status"]).expect(3);
    let run = host.run(&["renew"]).expect(1);
    assert!(run.stderr.contains("missing or empty"), "{run}");
    assert_ne!(host.store().live_points_at(NAME), None);
}

/// acme.sh after a kill: the domain's own file is empty, and every later run fails for good, all lineages with it.
/// dehydrated #710, lego 5: one bad lineage stops those after it.
#[test]
fn a_record_of_no_bytes_stops_no_other_lineage() {
    let host = Host::with_lineages(&["a.example.test", "b.example.test"]).without_endpoints();
    host.save(&verified("b.example.test", 1, Duration::days(10)));
    let record = host.state().join("lineages/a.example.test/state.json");
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    fs::write(&record, "").unwrap();
    // The link of the second one is mended although the first has to start afresh, at a CA that does not answer.
    fs::remove_file(host.state().join("live/b.example.test")).unwrap();
    let run = host.run(&["renew"]).expect(1);
    let kept = record.with_file_name("state.json.damaged-1");
    assert!(
        run.stderr.contains(&kept.display().to_string()) && run.stderr.contains("starts afresh"),
        "{run}"
    );
    assert_eq!(host.store().live_points_at("b.example.test"), Some(1));
    assert_eq!(fs::read(&kept).unwrap(), b"");
    assert_eq!(host.load("a.example.test").failure.unwrap().step, Step::Order);
}

/// A record of a newer program is refused and left as it is: an older one that writes it back loses what it does not know.
#[test]
fn a_record_from_a_newer_program() {
    let host = host(Duration::days(10));
    let record = host.state().join("lineages").join(NAME).join("state.json");
    let newer = fs::read_to_string(&record)
        .unwrap()
        .replacen("\"version\": 1", "\"version\": 2", 1);
    let newer = newer.replacen("\"version\":1", "\"version\":2", 1);
    fs::write(&record, &newer).unwrap();
    for command in [
        &["renew"][..],
        &["issue"],
        &["deploy"],
        &["status"],
        &["plan"],
        &["apply", "--yes"],
    ] {
        // `status` tells of the others all the same.
        let code = if command[0] == "status" { 3 } else { 1 };
        let refused = host.run(command).expect(code);
        assert!(
            (refused.stdout.clone() + &refused.stderr).contains("newer mailcert"),
            "{command:?}: {refused}"
        );
        assert_eq!(fs::read_to_string(&record).unwrap(), newer, "{command:?}");
    }
}

/// dehydrated after a kill: the leftover lock file makes every later run abort until somebody deletes it.
#[test]
fn a_lock_that_a_killed_run_left() {
    let host = host(Duration::days(10));
    host.scratch
        .file("state/lock", "`mailcert renew` with process id 1\n");
    asked_nobody(&host.run(&["undo"]).expect(0));
    let held = host.store().lock("renew").unwrap();
    for command in [
        &["renew"][..],
        &["issue"],
        &["deploy"],
        &["undo"],
        &["apply", "--yes"],
    ] {
        let refused = host.run(command);
        // An apply with nothing to do needs no lock.
        let expected = if command[0] == "apply" { 0 } else { 4 };
        assert_eq!(refused.code, expected, "{command:?}: {refused}");
        if expected == 4 {
            let me = std::process::id().to_string();
            assert!(
                refused.stderr.contains("mailcert renew") && refused.stderr.contains(&me),
                "{refused}"
            );
        }
    }
    drop(held);
    host.run(&["undo"]).expect(0);
}

/// certbot #8528 (`renew` exits 0 after a failed deploy hook); lego 4.35 and acme.sh: the next run says "no renewal", 0.
#[test]
fn a_failed_deployment_stays_red() {
    let host = host(Duration::days(1));
    let mut lineage = host.load(NAME);
    lineage.state = State::Deployed;
    lineage.failure = Some(Failure {
        step: Step::Verify,
        message: "port 25 serves another certificate".to_owned(),
        count: 3,
        at: NOW - Duration::hours(1),
        retry_at: NOW + Duration::hours(1),
        configuration: String::new(),
        remedies: Vec::new(),
        not_yet: false,
    });
    host.save(&lineage);
    for _ in 0..2 {
        let run = host.run(&["renew"]).expect(1);
        assert!(!run.stdout.contains("nothing is due"), "{run}");
        host.run(&["status"]).expect(3);
    }
}

/// cert-manager #8993: the renewal window of the old certificate was applied to the new one, five times in ten seconds.
#[test]
fn a_window_of_another_certificate() {
    let host = host(Duration::days(10));
    let mut lineage = host.load(NAME);
    lineage.generations.get_mut(&2).unwrap().certificate_id = Some("new.one".to_owned());
    let window = Window {
        start: NOW - Duration::days(2),
        end: NOW - Duration::days(1),
        chosen: NOW - Duration::days(1),
        explanation_url: None,
    };
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id: "old.one".to_owned(),
        window: Some(window),
        ask_at: NOW + Duration::hours(6),
    });
    host.save(&lineage);
    let told = status(&host);
    assert_eq!(told["renew_at"], "2030-04-20T12:00:00Z", "{told}");
    assert!(
        told["renew_reason"]
            .as_str()
            .unwrap()
            .contains("a third of the lifetime"),
        "{told}"
    );
}

/// The same, and every other loop: a hard cap that no unattended run passes (Let's Encrypt: 5 a week of the same names).
#[test]
fn too_many_certificates_in_a_day() {
    let host = host(Duration::days(80));
    let mut lineage = host.load(NAME);
    lineage.issued_at = vec![NOW - Duration::hours(2), NOW - Duration::hours(1)];
    host.save(&lineage);
    let run = host.run(&["renew"]);
    assert!(
        run.stdout.contains("renew.max_per_day") && run.stdout.contains("2030-03-02 10:00"),
        "{run}"
    );
    assert!(host.load(NAME).order.is_none());
}

/// certmagic's override: a CA whose window never comes must not let a certificate expire.
#[test]
fn a_window_after_the_end() {
    let host = host(Duration::days(80));
    let mut lineage = host.load(NAME);
    lineage.generations.get_mut(&2).unwrap().certificate_id = Some("the.one".to_owned());
    let far = NOW + Duration::days(1000);
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id: "the.one".to_owned(),
        window: Some(Window {
            start: far,
            end: far + Duration::days(2),
            chosen: far,
            explanation_url: None,
        }),
        ask_at: far,
    });
    host.save(&lineage);
    let told = status(&host);
    assert_eq!(told["renew_at"], "2030-02-09T12:00:00Z", "{told}");
    assert!(
        told["renew_reason"]
            .as_str()
            .unwrap()
            .contains("a third of the lifetime"),
        "{told}"
    );
    // One that begins just before the end is at least one about this certificate; but the last twentieth is its limit.
    let late = lineage.generations[&2].not_after - Duration::hours(3);
    let window = lineage.renewal_info.as_mut().unwrap().window.as_mut().unwrap();
    (window.start, window.chosen) = (late, late);
    host.save(&lineage);
    let told = status(&host);
    assert_eq!(told["renew_at"], "2030-03-07T00:00:00Z", "{told}");
    assert!(
        told["renew_reason"].as_str().unwrap().contains("last twentieth"),
        "{told}"
    );
}

/// The clock was in 2100 for a while: what was written down then holds nobody back for 74 years.
#[test]
fn clock_that_was_in_2100_and_is_right_again() {
    let far = datetime!(2100-01-01 0:00 UTC);
    let mut host = host(Duration::days(80));
    let mut lineage = host.load(NAME);
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id: "the.one".to_owned(),
        window: None,
        ask_at: far,
    });
    host.save(&lineage);
    host.mailcert.clock = Clock::Fixed(far);
    host.run(&["renew"]).expect(1);
    let mut lineage = host.load(NAME);
    let failure = lineage.failure.clone().unwrap();
    assert_eq!((failure.step, failure.at), (Step::Order, far));
    // As many as any cap allows were issued then.
    lineage.issued_at = vec![far; 4];
    host.save(&lineage);
    // Due since twenty days: it is tried, and fails for a reason of today.
    for now in [NOW, NOW + Duration::HOUR] {
        host.mailcert.clock = Clock::Fixed(now);
        let run = host.run(&["renew"]).expect(1);
        let failure = host.load(NAME).failure.unwrap();
        assert_eq!(failure.at, now, "{run}");
        assert!(failure.retry_at <= now + Duration::days(1), "{failure:?}");
    }
}
