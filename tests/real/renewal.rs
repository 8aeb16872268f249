//! `renew`: what the timer runs. When it asks, when it leaves everybody alone, and what it does for several lineages.

use std::{fs, path::Path, process::Command};

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::support::{
    World, WorldOptions,
    world::{HOST, without_postfix},
};

fn issued(edit: fn(String) -> String) -> World {
    World::issued(&WorldOptions::default(), edit)
}

fn n_asked_for_renewal_info(world: &World) -> usize {
    world.pebble.count_in_log("renewalInfo/ -> calling handler")
}

fn n_requests(world: &World) -> usize {
    world.pebble.count_in_log("-> calling handler")
}

fn n_reloads(world: &World) -> usize {
    world.postfix.log().matches("reload --").count()
}

/// Sets what the CA says about the live certificate.
fn set_renewal_info(world: &World, answer: &str) {
    let live = world.state_directory().join("live").join(HOST);
    let leaf = fs::read_to_string(live.join("cert.pem")).unwrap();
    world.pebble.set_renewal_info(&leaf, answer);
}

fn window(start: OffsetDateTime, end: OffsetDateTime) -> String {
    format!(
        r#"{{"suggestedWindow": {{"start": "{}", "end": "{}"}}}}"#,
        start.format(&Rfc3339).unwrap(),
        end.format(&Rfc3339).unwrap()
    )
}

/// Everything below a directory: paths with their content or target.
fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_symlink() {
            all.push((
                name,
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes(),
            ));
        } else if path.is_dir() {
            all.push((name, Vec::new()));
            all.extend(snapshot(&path));
        } else {
            all.push((name, fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
#[ignore = "real: needs postfix, named, pebble, strace"]
fn nothing_due_asks_nobody_and_waits_for_no_disk() {
    let world = issued(|text| text);
    let mailcert = world.mailcert();
    let trace = world.scratch.path().join("trace");
    let (pebble, bind) = (world.pebble, world.bind);
    drop((pebble, bind));
    let outcome = mailcert.run(&["renew"]).expect(0);
    assert!(outcome.stdout.contains("nothing is due"), "{outcome}");
    let program = mailcert.command(&["--format", "json", "renew"]);
    let traced = Command::new("strace")
        .args(["-f", "-e", "trace=network,fsync,fdatasync,sync,syncfs", "-o"])
        .arg(&trace)
        .arg(program.get_program())
        .args(program.get_args())
        .output()
        .unwrap();
    assert!(traced.status.success(), "{traced:?}");
    assert!(String::from_utf8_lossy(&traced.stdout).contains(r#""action":"nothing""#));
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("+++ exited with 0 +++"), "{trace}");
    for call in ["AF_INET", "fsync", "fdatasync", "sync"] {
        assert!(!trace.contains(call), "{trace}");
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn forced_renewal_brings_a_new_leaf_to_the_port() {
    let world = issued(|text| text);
    let (before, reloads) = (world.postfix.leaf_sha256(25).unwrap(), n_reloads(&world));
    let outcome = world
        .mailcert()
        .run(&["--format", "json", "renew", "--force"])
        .expect(0);
    let after = world.postfix.leaf_sha256(25).unwrap();
    assert_ne!(after, before);
    let lineage = &outcome.json()["lineages"][0];
    assert_eq!(lineage["action"], "renewed");
    assert_eq!(lineage["leaf_sha256"], after.as_str());
    assert_eq!(lineage["state"], "verified");
    assert_eq!(n_reloads(&world), reloads + 1);
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
    // The CA was told which certificate is replaced (RFC 9773, 5).
    assert_eq!(world.pebble.count_in_log("is a replacement of"), 1);
    assert_eq!(
        world
            .mailcert()
            .run(&["renew", "--force", "no-such-lineage"])
            .code,
        2
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_window_of_the_ca_decides_and_is_not_asked_for_too_often() {
    let world = issued(|text| text);
    let before = world.postfix.leaf_sha256(25).unwrap();
    assert_eq!(n_asked_for_renewal_info(&world), 1, "asked right after issuance");
    let now = OffsetDateTime::now_utc();
    set_renewal_info(&world, &window(now - Duration::days(2), now - Duration::days(1)));

    // Pebble said: again in six hours.
    world
        .mailcert_at(now + Duration::hours(5))
        .run(&["renew"])
        .expect(0);
    assert_eq!(n_asked_for_renewal_info(&world), 1);
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), before);

    let outcome = world
        .mailcert_at(now + Duration::hours(7))
        .run(&["renew"])
        .expect(0);
    assert!(outcome.stderr.contains("the CA's renewal window"), "{outcome}");
    assert_eq!(world.pebble.n_orders_and_certificates(), (2, 2));
    assert_ne!(world.postfix.leaf_sha256(25).unwrap(), before);
    assert_eq!(
        n_asked_for_renewal_info(&world),
        3,
        "about the old one, then about the new one"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_ca_without_usable_renewal_information_stops_nothing() {
    let world = issued(without_postfix);
    let asked = n_asked_for_renewal_info(&world);
    let begun = OffsetDateTime::now_utc();
    let mut now = begun;
    let in_two_days = window(begun + Duration::days(2), begun + Duration::days(1));
    for answer in ["<html>", "{}", in_two_days.as_str()] {
        set_renewal_info(&world, answer);
        now += Duration::hours(7);
        let outcome = world.mailcert_at(now).run(&["renew"]).expect(0);
        assert!(outcome.stdout.contains("nothing is due"), "{answer}: {outcome}");
        let n_requests = n_requests(&world);
        // A failed ask is not repeated for six hours.
        world
            .mailcert_at(now + Duration::hours(5))
            .run(&["renew"])
            .expect(0);
        assert_eq!(self::n_requests(&world), n_requests, "{answer}");
    }
    assert_eq!(n_asked_for_renewal_info(&world), asked + 3);
    // The remaining lifetime decides then: 90 days, of which a third is left.
    world
        .mailcert_at(begun + Duration::days(61))
        .run(&["renew"])
        .expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (2, 2));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_rehearsal_keeps_and_deploys_nothing() {
    let world = issued(|text| text);
    let (served, reloads) = (world.postfix.leaf_sha256(25).unwrap(), n_reloads(&world));
    let kept = snapshot(&world.state_directory());
    let outcome = world.mailcert().run(&["renew", "--dry-run"]).expect(0);
    assert!(
        (outcome.stdout.clone() + &outcome.stderr).contains("no staging directory"),
        "{outcome}"
    );
    assert_eq!(world.pebble.n_orders_and_certificates(), (2, 2));
    assert!(snapshot(&world.state_directory()) == kept);
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), served);
    assert_eq!(n_reloads(&world), reloads);

    world.bind.nsupdate(&format!("update delete {HOST} A"));
    let told = world.mailcert().run(&["renew", "--dry-run"]).expect(1);
    assert!(
        told.stderr.contains("mail.example.test cannot be renewed"),
        "{told}"
    );
    assert!(snapshot(&world.state_directory()) == kept);
    world.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn no_more_a_day_than_allowed_unless_a_person_forces_it() {
    let capped = |text: String| without_postfix(text).replace("[renew]\n", "[renew]\nmax_per_day = 1\n");
    let world = World::issued(&WorldOptions::default(), capped);
    // Pebble's clock stays behind: what it issues is due at once.
    let now = OffsetDateTime::now_utc() + Duration::days(75);
    world.mailcert_at(now).run(&["renew"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (2, 2));
    let soon = world.mailcert_at(now + Duration::hours(3));
    let n_requests = n_requests(&world);
    let held = soon.run(&["renew"]).expect(4);
    assert!(held.to_string().contains("max_per_day"), "{held}");
    assert_eq!(self::n_requests(&world), n_requests);
    let forced = soon.run(&["renew", "--force"]).expect(0);
    assert!(
        forced.to_string().contains("--force passed renew.max_per_day"),
        "{forced}"
    );
    assert_eq!(world.pebble.n_orders_and_certificates(), (3, 3));

    // Each set of names is counted for itself.
    world.write_config(|text| {
        capped(text).replace(
            &format!("identifiers = [\"{HOST}\"]"),
            &format!("name = \"{HOST}\"\nidentifiers = [\"{HOST}\", \"a.many.example.test\"]"),
        )
    });
    soon.run(&["renew"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (4, 4));
    soon.run(&["renew"]).expect(4);
    let tomorrow = world.mailcert_at(now + Duration::hours(28));
    tomorrow.run(&["renew"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (5, 5));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn failures_back_off_and_the_next_runs_leave_the_ca_alone() {
    let world = World::start();
    world.write_config(without_postfix);
    world.bind.nsupdate(&format!("update delete {HOST} A"));
    let mut now = OffsetDateTime::now_utc();
    for minutes in [1, 10, 100, 24 * 60, 24 * 60] {
        world.mailcert_at(now).run(&["renew"]).expect(1);
        let failure = world.record(HOST)["failure"].clone();
        let retry_at = OffsetDateTime::parse(failure["retry_at"].as_str().unwrap(), &Rfc3339).unwrap();
        assert_eq!(retry_at, now + Duration::minutes(minutes), "{failure}");
        let n_requests = n_requests(&world);
        let held = world
            .mailcert_at(retry_at - Duration::SECOND)
            .run(&["renew"])
            .expect(1);
        assert_eq!(self::n_requests(&world), n_requests, "{held}");
        assert!(held.stdout.contains("next try"), "{held}");
        assert_eq!(world.record(HOST)["failure"], failure, "{held}");
        now = retry_at;
    }
    // A person is not held back.
    let n_before = n_requests(&world);
    world
        .mailcert_at(now - Duration::HOUR)
        .run(&["renew", "--force"])
        .expect(1);
    assert!(n_requests(&world) > n_before);
    world.mailcert_at(now - Duration::HOUR).run(&["issue"]).expect(1);
    assert_eq!(world.record(HOST)["failure"]["count"], 7);
    // Another configuration starts afresh.
    world.write_config(|text| {
        without_postfix(text).replace("[acme]\n", "[acme]\ncontact = [\"mailto:a@example.test\"]\n")
    });
    let n_before = n_requests(&world);
    world.mailcert_at(now - Duration::HOUR).run(&["renew"]).expect(1);
    assert!(n_requests(&world) > n_before);
    assert_eq!(world.record(HOST)["failure"]["count"], 1);

    world
        .bind
        .nsupdate(&format!("update add {HOST} 60 A {}", world.address.ip()));
    world.mailcert_at(now + Duration::HOUR).run(&["renew"]).expect(0);
    assert!(world.record(HOST)["failure"].is_null());
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn one_lineage_that_fails_does_not_stop_the_others_and_postfix_is_reloaded_once() {
    let world = World::start();
    world.name_live_files();
    let several = format!(
        "identifiers = [\"{HOST}\", \"a.many.example.test\", \"b.many.example.test\"]\n\
         [[certificate]]\nidentifiers = [\"blocked.example.test\"]\n\
         [[certificate]]\nidentifiers = [\"nowhere.example.test\"]\n\
         [[certificate]]\nname = \"second\"\nidentifiers = [\"c.many.example.test\"]\n"
    );
    world.write_config(|text| text.replace(&format!("identifiers = [\"{HOST}\"]\n"), &several));
    let check = |command: &[&str], reloads: usize, generation: u64| {
        let told = world
            .mailcert()
            .run(&[&["--format", "json"], command].concat())
            .expect(1);
        assert_eq!(n_reloads(&world), reloads, "{told}");
        let json = told.json();
        let lineages = json["lineages"].as_array().unwrap();
        assert_eq!(lineages.len(), 4);
        for (lineage, state, words) in [
            (&lineages[0], "verified", None),
            (&lineages[1], "due", Some("blocked.example.test")),
            (&lineages[2], "due", Some("nowhere.example.test")),
            (&lineages[3], "deployed", None),
        ] {
            assert_eq!(lineage["state"], state, "{told}");
            match words {
                None => assert_eq!(lineage["generation"], generation, "{told}"),
                Some(words) => assert!(lineage["error"].to_string().contains(words), "{told}"),
            }
        }
        assert!(
            json["error"]["message"]
                .to_string()
                .contains("2 of 4 lineages failed"),
            "{told}"
        );
        assert_eq!(world.postfix.leaf_sha256(25).unwrap(), world.live_sha256(HOST));
    };
    check(&["issue"], 1, 1);
    check(&["renew", "--force"], 2, 2);
    let live = world.state_directory().join("live");
    let chain = fs::read_to_string(live.join(HOST).join("cert.pem")).unwrap();
    assert_eq!(
        crate::support::judge::dns_names(&chain),
        ["a.many.example.test", "b.many.example.test", HOST]
    );
    // One lineage by name: the others are not touched.
    world.mailcert().run(&["renew", "--force", "second"]).expect(0);
    assert_eq!(world.record(HOST)["generation"], 2);
    assert_eq!(world.record("second")["generation"], 3);
    world.mailcert().run(&["status"]).expect(3);
}
