//! Killed at any instant, run again, and it is well.

use std::{fs, process::Command};

use crate::support::{
    Fault, FaultyCa, World, judge,
    server::wait_until,
    world::{HOST, without_postfix},
};

/// A site that asks Pebble through a front; no cap holds it back.
fn site(edit: fn(String) -> String) -> (World, FaultyCa) {
    let world = World::start();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    let uncapped = "[renew]\nmax_per_day = 0\nmax_per_week = 0\n";
    world.write_config(|text| edit(front.configure(&text, &world.pebble)).replace("[renew]\n", uncapped));
    world.name_live_files();
    (world, front)
}

/// What the live link leads to is a whole pair, and the record is about it.
fn assert_whole(world: &World, what: &str) {
    let live = world.state_directory().join("live").join(HOST);
    let read =
        |name: &str| fs::read_to_string(live.join(name)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (key, leaf, chain) = (read("privkey.pem"), read("cert.pem"), read("fullchain.pem"));
    assert_eq!(judge::public_key_of(&key), judge::public_key_of(&leaf), "{what}");
    assert!(chain.starts_with(&leaf), "{what}");
    assert_eq!(read("combined.pem"), key + &chain, "{what}");
    let record = world.record(HOST);
    let number = record["generation"].to_string();
    assert_eq!(
        record["generations"][&number]["leaf_sha256"],
        world.live_sha256(HOST).as_str(),
        "{what}"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_order_is_resumed_wherever_the_run_was_killed() {
    let (world, front) = site(without_postfix);
    let account = |world: &World| {
        let entries = fs::read_dir(world.state_directory().join("accounts")).unwrap();
        let files = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        files.collect::<Vec<_>>()
    };
    let mut accounts = None;
    for (step, is_after, n_orders) in [
        // The account's key is on disk already: the CA knows it again.
        ("POST /sign-me-up", true, 1),
        ("POST /order-plz", false, 1),
        // The answer with the order's URL never came: one order is left pending at the CA.
        ("POST /order-plz", true, 2),
        ("POST /authZ/", false, 1),
        ("POST /chalZ/", false, 1),
        ("POST /my-order/", false, 1),
        ("POST /finalize-order/", false, 1),
        ("POST /finalize-order/", true, 1),
        ("POST /certZ/", false, 1),
        ("POST /certZ/", true, 1),
        ("GET /draft-ietf-acme-ari-03/renewalInfo/", false, 1),
    ] {
        let fault = if is_after {
            Fault::SilenceAfter
        } else {
            Fault::Silence
        };
        let what = format!("killed at {step} (after: {is_after})");
        let (orders, certificates) = world.pebble.n_orders_and_certificates();
        let n_silent = front.n_silent();
        front.fail(step, fault);
        let mut running = world.mailcert().spawn(&["renew", "--force"]);
        wait_until(&what, || front.n_silent() > n_silent || running.has_ended());
        let killed = running.kill();
        front.heal();
        if killed.code == 0 {
            // A reused authorization, one in a hundred: the step was not gone.
            assert!(
                ["POST /authZ/", "POST /chalZ/", "POST /my-order/"].contains(&step),
                "{what}: {killed}"
            );
            continue;
        }
        let again = world.mailcert().run(&["renew"]).expect(0);
        let (orders_after, certificates_after) = world.pebble.n_orders_and_certificates();
        let most = if step == "POST /chalZ/" { 2 } else { n_orders };
        assert!(
            (1..=most).contains(&(orders_after - orders)),
            "{what}: {killed}\n{again}"
        );
        assert_eq!(certificates_after - certificates, 1, "{what}: {killed}\n{again}");
        assert_whole(&world, &what);
        let now = account(&world);
        assert!(
            accounts.as_ref().is_none_or(|kept| *kept == now),
            "{what}: the account is kept"
        );
        accounts = Some(now);
        // Port 80 is free again.
        std::net::TcpListener::bind(world.address.port(80)).unwrap();
    }
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
    world.mailcert().run(&["status"]).expect(0);
}

/// Runs a renewal that is killed at its n-th rename; whether it came that far.
fn killed_at_rename(world: &World, n: usize) -> bool {
    let program = world.mailcert().command(&["renew", "--force"]);
    let inject = format!("inject=rename,renameat,renameat2:signal=SIGKILL:when={n}");
    let ended = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=rename,renameat,renameat2",
            "-e",
        ])
        .arg(inject)
        .arg(program.get_program())
        .args(program.get_args())
        .output()
        .unwrap();
    // strace dies of what its tracee died of.
    !ended.status.success()
}

/// Kills renewals at every rename, and mends each by an ordinary run; how many there are.
fn kill_at_every_rename(world: &World, from: usize, check: impl Fn(&str)) -> usize {
    world.mailcert().run(&["issue"]).expect(0);
    let mut n = from;
    loop {
        let what = format!("killed at rename {n}");
        let (_, certificates) = world.pebble.n_orders_and_certificates();
        let killed = killed_at_rename(world, n);
        // What is in service at this very moment is whole, whatever the record says.
        let live = world.state_directory().join("live").join(HOST);
        let read = |name: &str| fs::read_to_string(live.join(name)).unwrap();
        assert_eq!(
            judge::public_key_of(&read("privkey.pem")),
            judge::public_key_of(&read("cert.pem")),
            "{what}"
        );
        let mended = world.mailcert().run(&["renew"]).expect(0);
        let (_, certificates_after) = world.pebble.n_orders_and_certificates();
        assert!(certificates_after - certificates <= 1, "{what}: {mended}");
        assert_whole(world, &what);
        world.mailcert().run(&["status"]).expect(0);
        let record = world.record(HOST);
        assert!(record["order"].is_null(), "{what}: {record}");
        check(&what);
        if !killed {
            return n - 1;
        }
        assert!(n < 60, "no end of renames");
        n += 1;
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, strace"]
fn a_renewal_killed_at_any_rename_is_mended_by_the_next_run() {
    let (world, _front) = site(without_postfix);
    let n_renames = kill_at_every_rename(&world, 1, |_| ());
    assert!(n_renames > 8, "{n_renames}");
    // Nothing unfinished is left lying about.
    let lineage = world.state_directory().join("lineages").join(HOST);
    for entry in fs::read_dir(lineage).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name} is left");
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, strace"]
fn long_a_deployment_killed_at_any_rename_ends_verified() {
    let (world, _front) = site(|text| text);
    let check = |what: &str| {
        assert_eq!(world.record(HOST)["state"], "verified", "{what}");
        assert_eq!(
            world.postfix.leaf_sha256(25).unwrap(),
            world.live_sha256(HOST),
            "{what}"
        );
    };
    kill_at_every_rename(&world, 9, check);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_second_run_says_who_holds_the_lock() {
    let (world, front) = site(without_postfix);
    world.mailcert().run(&["issue"]).expect(0);
    front.fail("GET /dir", Fault::Silence);
    let first = world.mailcert().spawn(&["renew", "--force"]);
    wait_until("the first run waits for the CA", || front.n_silent() > 0);
    let record = world.record(HOST);
    let n_requests = front.n_requests();
    for command in [&["renew"][..], &["issue"], &["deploy"], &["renew", "--force"]] {
        let told = world.mailcert().run(command).expect(4);
        let holder = format!("`mailcert renew` with process id {}", first.pid());
        assert!(told.stderr.contains(&holder), "{told}");
        let told = world
            .mailcert()
            .run(&[&["--format", "json"], command].concat())
            .expect(4);
        assert_eq!(told.json()["ok"], false);
        assert!(
            told.json()["error"]["message"]
                .to_string()
                .contains("another run")
        );
    }
    assert_eq!((world.record(HOST), front.n_requests()), (record, n_requests));
    // Reading needs no lock.
    world.mailcert().run(&["status"]).expect(0);
    // No stale lock: the kernel lets go when the holder is dead.
    first.kill();
    front.heal();
    world.mailcert().run(&["renew", "--force"]).expect(0);
}
