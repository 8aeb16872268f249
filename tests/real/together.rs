//! Many runs at once: one works, the others say so and go; nothing is done twice, nobody waits for ever.

use std::fs;

use crate::support::{
    Outcome, World, WorldOptions,
    world::{HOST, without_postfix},
};

/// Starts all these commands at once and waits for them.
fn at_once(world: &World, commands: &[&[&str]]) -> Vec<Outcome> {
    let running: Vec<_> = commands.iter().map(|args| world.mailcert().spawn(args)).collect();
    running
        .into_iter()
        .map(crate::support::mailcert::Running::wait)
        .collect()
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn many_runs_at_once_get_one_certificate() {
    for n_runs in [2, 10, 50] {
        let world = World::start();
        world.write_config(|text| without_postfix(text).replace("publish = [\"spf\"]\n", ""));
        let all: Vec<&[&str]> = [&["issue"][..], &["renew"], &["apply", "--yes"]]
            .into_iter()
            .cycle()
            .take(n_runs)
            .collect();
        let outcomes = at_once(&world, &all);
        for (args, outcome) in all.iter().zip(&outcomes) {
            assert!([0, 4].contains(&outcome.code), "{args:?} of {n_runs}: {outcome}");
        }
        assert!(outcomes.iter().any(|outcome| outcome.code == 0), "one works");
        assert_eq!(world.pebble.n_orders_and_certificates(), (1, 1), "{n_runs}");
        assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
        world.mailcert().run(&["status"]).expect(0);
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn forced_runs_status_and_apply_at_once_spend_one_certificate_for_each_run_that_worked() {
    let world = World::issued(&WorldOptions::default(), |text| {
        text.replace("[renew]\n", "[renew]\nmax_per_day = 0\nmax_per_week = 0\n")
    });
    for n_runs in [2, 10, 50] {
        let (_, before) = world.pebble.n_orders_and_certificates();
        let forced: &[&str] = &["renew", "--force"];
        let all: Vec<&[&str]> = [forced, &["status"], &["renew"], &["apply", "--yes"], &["deploy"]]
            .into_iter()
            .cycle()
            .take(n_runs)
            .collect();
        let outcomes = at_once(&world, &all);
        let mut n_forced = 0;
        for (args, outcome) in all.iter().zip(&outcomes) {
            // `status` looks without the lock: in the middle of a renewal not all is verified.
            let expected: &[i32] = if args[0] == "status" { &[0, 3] } else { &[0, 4] };
            assert!(
                expected.contains(&outcome.code),
                "{args:?} of {n_runs}: {outcome}"
            );
            n_forced += usize::from(*args == forced && outcome.code == 0);
        }
        let (_, after) = world.pebble.n_orders_and_certificates();
        assert_eq!(after - before, n_forced, "{n_runs}");
        world.mailcert().run(&["renew"]).expect(0);
        world.mailcert().run(&["status"]).expect(0);
        assert_eq!(world.postfix.leaf_sha256(25).unwrap(), world.live_sha256(HOST));
        let lineage = world.state_directory().join("lineages").join(HOST);
        for entry in fs::read_dir(lineage).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} is left");
        }
    }
}
