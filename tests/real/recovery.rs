//! Runs that were killed between two writes: the next one takes up what is there.

use std::{fs, process::Command};

use crate::support::{Answer, Port, Site, World, world::HOST};

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_generation_that_was_not_recorded_is_taken_up_without_a_second_order() {
    let world = World::start();
    world.write_config(|text| text);
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    let state_file = world
        .state_directory()
        .join("lineages/mail.example.test/state.json");
    let before = fs::read(&state_file).unwrap();
    world.mailcert().run(&["renew", "--force"]).expect(0);
    let renewed = world.postfix.leaf_sha256(25).unwrap();

    // As after a kill between the rename of the generation's directory and the save of its record.
    let mut state: serde_json::Value = serde_json::from_slice(&before).unwrap();
    state["state"] = "ordered".into();
    state["order"] = serde_json::json!({
        "generation": 2,
        "identifiers": ["mail.example.test"],
        "directory": world.pebble.directory(),
        "started_at": "2026-01-01T00:00:00Z",
    });
    fs::write(&state_file, state.to_string()).unwrap();
    let n_orders = world.pebble.count_in_log("POST /order-plz");
    assert_eq!(n_orders, 2, "{}", world.pebble.log());
    world.mailcert().run(&["renew"]).expect(0);
    assert_eq!(world.pebble.count_in_log("POST /order-plz"), n_orders);
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), renewed);
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&state_file).unwrap()).unwrap();
    assert_eq!((&state["generation"], &state["newest"]), (&2.into(), &2.into()));
    assert_eq!(state["state"], "verified");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn what_another_certificate_left_behind_costs_no_more_than_its_number() {
    let world = World::start();
    world.write_config(|text| text);
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    // Neither the record's nor of a key that we know: never taken up, never in the way.
    let lineage = world.state_directory().join("lineages/mail.example.test");
    fs::create_dir(lineage.join("2")).unwrap();
    fs::write(lineage.join("2/cert.pem"), "of somebody else").unwrap();
    world.mailcert().run(&["renew", "--force"]).expect(0);
    let live = fs::read_link(world.state_directory().join("live/mail.example.test")).unwrap();
    assert!(live.ends_with("3"), "{live:?}");
}

#[test]
#[ignore = "real: needs postfix, named, openssl, strace"]
fn what_a_killed_apply_wrote_is_put_back_when_it_breaks_a_port() {
    let site = Site::start();
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let (old, main_cf) = (Answer::tls(&site.issue()), site.postfix.main_cf());
    let _port = Port::serve(site.address.port(4465), move || {
        let as_before = fs::read_to_string(&main_cf).is_ok_and(|text| text.contains("snake-oil/cert.pem"));
        if as_before { old.clone() } else { Answer::Close }
    });
    let ip = site.address.ip();
    site.write_config(|text| text + &format!("verify = [\"smtp://{ip}:25\", \"submissions://{ip}:4465\"]\n"));
    let directory = site.issue().leave(&site.scratch, "first").display().to_string();
    let program = site.mailcert().command(&["install", HOST, "--from", &directory]);
    let is_written = || fs::read(site.postfix.main_cf()).unwrap() != before;
    // At the first rename after that of main.cf nothing is reloaded or proved yet.
    for n in 1..30 {
        let _ = fs::remove_dir_all(site.state(""));
        Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e"])
            .arg(format!("inject=rename:signal=SIGKILL:when={n}"))
            .arg(program.get_program())
            .args(program.get_args())
            .output()
            .unwrap();
        if is_written() {
            break;
        }
    }
    assert!(is_written());
    let renewed = site.mailcert().run(&["renew"]).expect(1);
    assert!(renewed.stderr.contains("the change was taken back"), "{renewed}");
    assert!(!is_written(), "{renewed}");
    assert_eq!(site.status()["state"], "rolled-back");
    // Nothing of it is left to undo.
    let undone = site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(undone.stdout, "nothing to change\n");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn an_undo_that_was_killed_before_the_reload_is_brought_to_its_end() {
    let site = Site::start();
    let (before, snake_oil) = (
        fs::read(site.postfix.main_cf()).unwrap(),
        site.postfix.leaf_sha256(25),
    );
    site.install("first", &site.issue()).expect(0);
    assert_ne!(site.postfix.leaf_sha256(25), snake_oil);
    fs::write(site.postfix.main_cf(), before).unwrap();
    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
    assert_eq!(site.status()["verify"], "off");
}
