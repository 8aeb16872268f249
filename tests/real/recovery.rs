//! Runs that were killed between two writes: the next one takes up what is there.

use std::fs;

use crate::support::World;

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
