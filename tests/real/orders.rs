//! Orders against a CA in every mood: what is spent, what is obeyed, and what is left for the next run.

use std::fs;

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::support::{
    Fault, FaultyCa, Outcome, PebbleOptions, World, WorldOptions,
    world::{HOST, without_postfix},
};

/// The names of lineages beside that of the host.
fn others(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("n{n}.many.example.test")).collect()
}

/// A configuration with these further lineages and without caps.
fn with_lineages(text: String, names: &[String]) -> String {
    let more: String = names
        .iter()
        .map(|name| format!("[[certificate]]\nidentifiers = [\"{name}\"]\n"))
        .collect();
    without_postfix(text).replace(
        "[renew]\n",
        &format!("{more}[renew]\nmax_per_day = 0\nmax_per_week = 0\n"),
    )
}

/// A site without Postfix that asks Pebble through a front; nothing is issued yet.
fn site(edit: impl FnOnce(String) -> String) -> (World, FaultyCa) {
    let world = World::start();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    world.write_config(|text| edit(front.configure(&text, &world.pebble)));
    (world, front)
}

/// A CA's refusal.
fn refusal(status: &str, headers: &str, kind: &str, detail: &str) -> Fault {
    let headers = format!("{headers}Content-Type: application/problem+json\r\n");
    let body = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "{detail}"}}"#);
    Fault::status(status, &headers, &body)
}

fn instant(value: &serde_json::Value) -> OffsetDateTime {
    let text = value.as_str().unwrap_or_else(|| panic!("no instant: {value}"));
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn set_renewal_info(world: &World, answer: &str) {
    let live = world.state_directory().join("live").join(HOST);
    let leaf = fs::read_to_string(live.join("cert.pem")).unwrap();
    world.pebble.set_renewal_info(&leaf, answer);
}

fn window(start: OffsetDateTime, end: OffsetDateTime, more: &str) -> String {
    format!(
        r#"{{"suggestedWindow": {{"start": "{}", "end": "{}"}}{more}}}"#,
        start.format(&Rfc3339).unwrap(),
        end.format(&Rfc3339).unwrap()
    )
}

/// Issues and renews three lineages at once: in no mood of the CA is more spent than that.
fn issues_and_renews_in(mood: PebbleOptions, n_certificates: usize) {
    let world = World::with(&WorldOptions {
        pebble: mood,
        ..WorldOptions::default()
    });
    let names = others(2);
    world.write_config(|text| with_lineages(text, &names));
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (3, 3));
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (6, 6));
    for name in names.iter().map(String::as_str).chain([HOST]) {
        let live = world.state_directory().join("live").join(name);
        let chain = fs::read_to_string(live.join("fullchain.pem")).unwrap();
        assert_eq!(
            chain.matches("BEGIN CERTIFICATE").count(),
            n_certificates,
            "{name}"
        );
        assert_eq!(world.record(name)["generation"], 2, "{name}");
    }
    world.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn issues_and_renews_in_a_quiet_mood() {
    issues_and_renews_in(PebbleOptions::quiet(), 2);
}

#[test]
#[ignore = "real: needs postfix, named, pebble; half a minute of the CA's own pauses"]
fn long_issues_and_renews_in_the_mood_as_shipped() {
    issues_and_renews_in(PebbleOptions::shipped(), 2);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn issues_and_renews_in_a_hostile_mood() {
    issues_and_renews_in(PebbleOptions::hostile("50"), 4);
}

#[test]
#[ignore = "real: needs postfix, named, pebble; nine nonces of ten are rejected"]
fn long_issues_and_renews_in_the_most_hostile_mood() {
    issues_and_renews_in(PebbleOptions::hostile("90"), 4);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_ca_that_forgets_everything_in_the_middle_of_an_order_is_begun_with_anew() {
    let (mut world, front) = site(|text| with_lineages(text, &others(1)));
    world.mailcert().run(&["issue"]).expect(0);
    let key = |world: &World| {
        let directory = fs::read_dir(world.state_directory().join("accounts")).unwrap();
        let files: Vec<serde_json::Value> = directory
            .map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap())
            .collect();
        files[0]["key_pkcs8"].clone()
    };
    let account = key(&world);
    for step in ["POST /authZ/", "POST /finalize-order/", "POST /certZ/"] {
        front.fail(step, Fault::CutBefore);
        world.mailcert().run(&["renew", "--force"]).expect(1);
        assert!(world.record(HOST)["order"]["url"].is_string(), "{step}");
        world.pebble.restart(&world.scratch);
        let (orders, certificates) = world.pebble.n_orders_and_certificates();
        front.heal();
        // Both lineages hear that the account is gone; it is registered once.
        world.mailcert().run(&["renew", "--force"]).expect(0);
        let after = world.pebble.n_orders_and_certificates();
        assert_eq!(after, (orders + 2, certificates + 2), "{step}");
        assert_eq!(key(&world), account, "{step}");
        assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0, "{step}");
        world.mailcert().run(&["status"]).expect(0);
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_replacement_that_is_refused_is_ordered_once_without() {
    let (world, front) = site(|text| with_lineages(text, &[]));
    world.mailcert().run(&["issue"]).expect(0);
    let step = "POST /order-plz";
    let refused = |fault: Fault, code: i32, n_asked: usize, n_orders: usize| {
        let (orders, _) = world.pebble.n_orders_and_certificates();
        let asked = front.count(step);
        front.fail_times(step, fault.clone(), 1);
        let told = world.mailcert().run(&["renew", "--force"]).expect(code);
        assert_eq!(front.count(step) - asked, n_asked, "{fault:?}: {told}");
        let (after, _) = world.pebble.n_orders_and_certificates();
        assert_eq!(after - orders, n_orders, "{fault:?}: {told}");
    };
    for (status, kind) in [
        ("409 Conflict", "alreadyReplaced"),
        ("403 Forbidden", "unauthorized"),
        ("404 Not Found", "malformed"),
        ("400 Bad Request", "malformed"),
        // Pebble's own, for one certificate of 256.
        ("500 Internal Server Error", "serverInternal"),
    ] {
        refused(refusal(status, "", kind, "no"), 0, 2, 1);
    }
    refused(Fault::status("418 I'm a teapot", "", ""), 0, 2, 1);
    assert_eq!(world.pebble.count_in_log("is a replacement of"), 0);
    // A limit is no refusal of what is replaced.
    let limited = refusal(
        "429 Too Many Requests",
        "Retry-After: 60\r\n",
        "rateLimited",
        "slowly",
    );
    refused(limited, 4, 1, 0);
    front.heal();
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(world.pebble.count_in_log("is a replacement of"), 1);

    // The CA's own refusal: a backup from before the last renewal is put back.
    let state = world
        .state_directory()
        .join("lineages")
        .join(HOST)
        .join("state.json");
    let backup = fs::read(&state).unwrap();
    world.mailcert().run(&["renew", "--force"]).expect(0);
    let newest = world.record(HOST)["generation"].as_u64().unwrap();
    fs::write(&state, backup).unwrap();
    let healed = world.mailcert().run(&["renew"]).expect(0);
    // What a restored backup did not know may have been taken up from the disk: then it is that one that is replaced, and
    // nothing is refused.
    let in_use = world.record(HOST)["generation"].as_u64().unwrap();
    let asked = front.count(step);
    let forced = world.mailcert().run(&["renew", "--force"]).expect(0);
    let n_asked = if in_use == newest { 1 } else { 2 };
    assert_eq!(front.count(step) - asked, n_asked, "{healed}\n{forced}");
    world.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_first_limit_of_an_account_stops_the_other_orders_and_the_next_runs() {
    let names = others(30);
    let (world, front) = site(|text| with_lineages(text, &names));
    let step = "POST /order-plz";
    let now = OffsetDateTime::now_utc();
    let detail = "too many new orders (300) from this account in the last 3h0m0s";
    let at = (now + Duration::hours(2)).replace_nanosecond(0).unwrap();
    let date = at
        .format(time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        ))
        .unwrap();
    let headers = format!("Retry-After: {date}\r\n");
    front.fail(
        step,
        refusal("429 Too Many Requests", &headers, "rateLimited", detail),
    );
    let told = world.mailcert().run(&["issue"]).expect(4);
    assert!(front.count(step) <= 8, "{}: {told}", front.count(step));
    assert!(told.stderr.contains("no order was made"), "{told}");
    front.heal();
    let asked = front.count(step);
    // Also in the next runs, which the others' own back-off would not keep from asking.
    for minutes in [2, 60, 118] {
        let later = world.mailcert_at(now + Duration::minutes(minutes));
        let held = later.run(&["--format", "json", "renew"]);
        assert_ne!(held.code, 0, "{held}");
        assert_eq!(front.count(step), asked, "{minutes}: {held}");
        assert!(held.stdout.contains(detail), "{held}");
        // Whoever asks is told which wait, until when and why; nothing of theirs failed.
        let told = later.run(&["--format", "json", "status"]).expect(3).json();
        let waiting: Vec<_> = told["lineages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["waiting"].is_object())
            .collect();
        assert!(waiting.len() >= 22, "{told:#}");
        for one in waiting {
            assert!(
                (instant(&one["waiting"]["until"]) - at).abs() < Duration::MINUTE,
                "{one:#}"
            );
            assert!(
                one["waiting"]["why"].as_str().unwrap().contains(detail),
                "{one:#}"
            );
            assert!(one["failure"].is_null(), "{one:#}");
        }
        let text = later.run(&["status"]).stdout;
        assert!(text.contains("waiting   until "), "{text}");
        let metrics = fs::read_to_string(world.state_directory().join("metrics.prom")).unwrap();
        let line = format!(
            "mailcert_lineage_waiting_until_timestamp_seconds{{lineage=\"{}\"}} ",
            names[29]
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
    world
        .mailcert_at(now + Duration::minutes(121))
        .run(&["renew"])
        .expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (31, 31));
    let record = world.record(&names[29]);
    assert!(record["held"].is_null(), "{record}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_limit_of_one_set_of_names_stops_no_other_lineage() {
    let (world, front) = site(|text| with_lineages(text, &others(12)));
    let detail =
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
    let limited = refusal(
        "429 Too Many Requests",
        "Retry-After: 122400\r\n",
        "rateLimited",
        detail,
    );
    front.fail_times("POST /order-plz", limited, 1);
    let told = world.mailcert().run(&["--format", "json", "issue"]).expect(4);
    let failed: Vec<_> = told.json()["lineages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["action"] == "failed")
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(failed.len(), 1, "{told}");
    assert_eq!(world.pebble.n_orders_and_certificates(), (12, 12));
    // 34 hours, as the CA says it.
    let failure = &world.record(&failed[0])["failure"];
    let wait = instant(&failure["retry_at"]) - instant(&failure["at"]) - Duration::hours(34);
    assert!(wait.abs() < Duration::MINUTE, "{failure}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_pause_is_told_with_the_page_that_ends_it_and_left_alone_for_a_day() {
    let (world, front) = site(|text| with_lineages(text, &others(3)));
    let page = "https://portal.example.test/sfe/v1/unpause?jwt=a.b.c";
    let detail = format!(
        "Your account is temporarily prevented from requesting certificates for {HOST} and possibly others. \
         Please visit: {page}"
    );
    let paused = refusal(
        "429 Too Many Requests",
        "Retry-After: 60\r\n",
        "rateLimited",
        &detail,
    );
    front.fail_times("POST /order-plz", paused, 1);
    let now = OffsetDateTime::now_utc();
    let told = world.mailcert_at(now).run(&["issue"]).expect(1);
    assert!(
        told.stderr.contains(page) && told.stderr.contains("unpaused"),
        "{told}"
    );
    assert_eq!(world.pebble.n_orders_and_certificates(), (3, 3));
    let status = world.mailcert_at(now).run(&["status"]).expect(3);
    assert!(status.stdout.contains(page), "{status}");
    let asked = front.count("POST /order-plz");
    for hours in [1, 12, 23] {
        let later = world.mailcert_at(now + Duration::hours(hours));
        later.run(&["renew"]).expect(1);
    }
    assert_eq!(front.count("POST /order-plz"), asked);
    world
        .mailcert_at(now + Duration::hours(25))
        .run(&["renew"])
        .expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn what_the_ca_would_refuse_is_not_asked_for() {
    let mirrored =
        |text: String| with_lineages(text, &[]).replace("[acme]\n", "[acme]\nlimits = \"letsencrypt\"\n");
    let (world, front) = site(mirrored);
    let now = OffsetDateTime::now_utc();
    let forced = |now| {
        world
            .mailcert_at(now)
            .run(&["--format", "json", "renew", "--force"])
    };
    for _ in 0..5 {
        forced(now).expect(0);
    }
    let asked = front.count("POST /order-plz");
    let told = forced(now).expect(4);
    for words in [
        "5 certificates for exactly the same names in 7 days",
        "--force passes",
    ] {
        assert!(told.stdout.contains(words), "{words}: {told}");
    }
    let retry_at = instant(&told.json()["error"]["retry_at"]);
    let wait = Duration::seconds(7 * 86400 / 5);
    assert!((retry_at - now - wait).abs() <= Duration::SECOND, "{told}");
    assert_eq!(front.count("POST /order-plz"), asked);
    // Nothing failed, so there is nothing red: the certificate is good for months.
    world.mailcert_at(now).run(&["status"]).expect(0);
    // In the CA's own window a renewal counts for nothing.
    let soon = now + Duration::hours(7);
    set_renewal_info(
        &world,
        &window(soon - Duration::hours(2), soon + Duration::HOUR, ""),
    );
    world.mailcert_at(soon).run(&["renew"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (6, 6));
    forced(soon).expect(4);
    forced(retry_at + Duration::SECOND).expect(0);
    // Who wants no mirror has none.
    world.write_config(|text| {
        mirrored(front.configure(&text, &world.pebble))
            .replace("limits = \"letsencrypt\"", "limits = \"none\"")
    });
    forced(now).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn failed_validations_are_counted_and_the_sixth_is_not_tried() {
    let (world, front) =
        site(|text| with_lineages(text, &[]).replace("[acme]\n", "[acme]\nlimits = \"letsencrypt\"\n"));
    let invalid = format!(
        r#"{{"status": "invalid", "identifier": {{"type": "dns", "value": "{HOST}"}}, "challenges": [
            {{"type": "http-01", "url": "https://127.0.0.1:1/c", "token": "abcdefghijklmnopqrstuvwxyzabcdef",
              "status": "invalid", "error": {{"type": "urn:ietf:params:acme:error:connection", "detail": "refused"}}}}]}}"#
    );
    let failed = Fault::status(
        "200 OK",
        "Replay-Nonce: n\r\nContent-Type: application/json\r\n",
        &invalid,
    );
    front.fail("POST /authZ/", failed);
    let now = OffsetDateTime::now_utc();
    for n in 0..5 {
        let told = world.mailcert_at(now).run(&["renew", "--force"]).expect(1);
        assert!(told.stderr.contains("could not confirm"), "{n}: {told}");
    }
    let asked = front.count("POST /order-plz");
    let told = world.mailcert_at(now).run(&["renew", "--force"]).expect(4);
    let words = format!("5 failed validations of {HOST} in an hour");
    assert!(told.stderr.contains(&words), "{told}");
    assert_eq!(front.count("POST /order-plz"), asked);
    front.heal();
    let later = now + Duration::minutes(13);
    world.mailcert_at(later).run(&["renew", "--force"]).expect(0);
}

/// cert-manager #8993: a window that is always over brought five certificates in ten seconds.
#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_window_that_is_always_over_brings_no_second_certificate() {
    let (world, front) = site(|text| with_lineages(text, &[]));
    let begun = OffsetDateTime::now_utc();
    let over = window(
        begun - Duration::days(2),
        begun - Duration::days(1),
        r#", "explanationURL": "https://ca.example.test/incident""#,
    );
    let answer = Fault::status(
        "200 OK",
        "Content-Type: application/json\r\nRetry-After: 0\r\n",
        &over,
    );
    front.fail("GET /draft-ietf-acme-ari-03/renewalInfo/", answer);
    world.mailcert_at(begun).run(&["issue"]).expect(0);
    for seconds in 0..10 {
        let outcome = world
            .mailcert_at(begun + Duration::seconds(seconds))
            .run(&["renew"]);
        assert!(outcome.expect(0).stdout.contains("nothing is due"));
    }
    assert_eq!(world.pebble.n_orders_and_certificates(), (1, 1));
    let status = world.mailcert_at(begun).run(&["status"]).expect(0);
    assert!(
        status.stdout.contains("https://ca.example.test/incident"),
        "{status}"
    );
    // Whoever means it is obeyed in its time, once; and once more for the next certificate, up to the caps.
    let later = begun + Duration::hours(7);
    world.mailcert_at(later).run(&["renew"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (2, 2));
    let capped = |text: String| with_lineages(text, &[]).replace("max_per_day = 0\nmax_per_week = 0\n", "");
    world.write_config(|text| capped(front.configure(&text, &world.pebble)));
    for hours in 8..32 {
        world.mailcert_at(begun + Duration::hours(hours)).run(&["renew"]);
    }
    let (_, n) = world.pebble.n_orders_and_certificates();
    assert!(n <= 4, "{n} certificates in a day and a third");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_ca_that_issued_is_asked_when_to_renew() {
    let world = World::issued(&WorldOptions::default(), without_postfix);
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    let now = OffsetDateTime::now_utc();
    set_renewal_info(
        &world,
        &window(now + Duration::days(3), now + Duration::days(4), ""),
    );
    let both = world.scratch.file(
        "both.pem",
        fs::read_to_string(world.pebble.root_ca_file()).unwrap()
            + &fs::read_to_string(front.root_ca_file()).unwrap(),
    );
    // The configuration names another CA by now; to it, the certificate is a stranger's.
    world.write_config(|text| {
        without_postfix(front.configure(&text, &world.pebble))
            .replace(&format!("{:?}", front.root_ca_file()), &format!("{both:?}"))
    });
    let outcome = world
        .mailcert_at(now + Duration::hours(7))
        .run(&["renew"])
        .expect(0);
    assert!(outcome.stdout.contains("nothing is due"), "{outcome}");
    assert_eq!(front.n_requests(), 0);
    let window = &world.record(HOST)["renewal_info"]["window"];
    let start = instant(&window["start"]);
    assert!(
        (start - now - Duration::days(3)).abs() < Duration::MINUTE,
        "{window}"
    );
    // Its renewal goes to the CA of the configuration, which is told nothing of what it replaces.
    let due = now + Duration::days(5);
    let renewed = world.mailcert_at(due).run(&["renew"]).expect(0);
    assert!(front.count("POST /order-plz") == 1, "{renewed}");
    assert_eq!(world.pebble.count_in_log("is a replacement of"), 0);
}

/// Everything that a CA can do to a request, at every step, with an answer that says when to come back in both forms.
#[test]
#[ignore = "real: needs postfix, named, pebble; hundreds of orders"]
fn long_no_fault_at_any_step_costs_more_than_one_certificate_for_one_renewal() {
    let (world, front) = site(|text| with_lineages(text, &[]));
    world.mailcert().run(&["issue"]).expect(0);
    let busy = |status: &str, retry_after: &str| {
        refusal(
            status,
            &format!("Retry-After: {retry_after}\r\n"),
            "serverInternal",
            "busy",
        )
    };
    let faults = [
        busy("503 Service Unavailable", "1"),
        busy("503 Service Unavailable", "Wed, 21 Oct 2015 07:28:00 GMT"),
        busy("500 Internal Server Error", "99999999999999999999"),
        busy("429 Too Many Requests", "soon"),
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Flood,
        Fault::status("200 OK", "Replay-Nonce: n\r\n", "<html>"),
        Fault::status("200 OK", "Replay-Nonce: n\r\n", ""),
    ];
    let steps = [
        "GET /dir",
        "HEAD /nonce-plz",
        "POST /order-plz",
        "POST /authZ/",
        "POST /chalZ/",
        "POST /my-order/",
        "POST /finalize-order/",
        "POST /certZ/",
        "GET /draft-ietf-acme-ari-03/renewalInfo/",
    ];
    for step in steps {
        for fault in &faults {
            for n in [1, 3, usize::MAX] {
                let (_, certificates) = world.pebble.n_orders_and_certificates();
                let generation = world.record(HOST)["generation"].as_u64();
                front.fail_times(step, fault.clone(), n);
                let first: Outcome = world.mailcert().run(&["renew", "--force"]);
                front.heal();
                if first.code != 0 {
                    world.mailcert().run(&["renew", "--force"]).expect(0);
                }
                let (_, after) = world.pebble.n_orders_and_certificates();
                assert_eq!(after - certificates, 1, "{step} {fault:?} {n}: {first}");
                assert_ne!(world.record(HOST)["generation"].as_u64(), generation);
            }
        }
    }
    world.mailcert().run(&["status"]).expect(0);
}
