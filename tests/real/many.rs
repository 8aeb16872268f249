//! Many lineages: one session, one SNI map, one reload, and nothing that grows with their square.

use std::{fmt::Write as _, fs, os::unix::fs::symlink, path::Path, process::Command, time::Instant};

use mailcert::model::certificate::Chain;
use serde_json::json;

use crate::support::{
    Outcome, PostfixOptions, Scratch, Site, Terminal, World, WorldOptions, judge, world::without_postfix,
};

/// Returns a configuration with this many certificates besides the host's.
fn with_lineages(text: &str, n: usize, more: &str) -> String {
    let mut tables = String::new();
    for i in 0..n {
        let _ = write!(
            tables,
            "[[certificate]]\nidentifiers = [\"{}\"]\n{more}\n",
            name(i)
        );
    }
    text.replace("[renew]\n", &format!("{tables}[renew]\n"))
}

fn name(i: usize) -> String {
    format!("host-{i}.many.example.test")
}

/// How often the CA was asked for something since it had printed that many lines.
fn n_asked(world: &World, since: usize, what: &str) -> usize {
    world
        .pebble
        .log()
        .lines()
        .skip(since)
        .filter(|line| line.contains(what))
        .count()
}

fn n_lines(world: &World) -> usize {
    world.pebble.log().lines().count()
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn fifty_at_once_share_session_directory_and_nonces() {
    let world = World::start();
    world.write_config(|text| with_lineages(&without_postfix(text), 49, ""));
    world.mailcert().run(&["issue"]).expect(0);
    let since = n_lines(&world);
    let renewed = world
        .mailcert()
        .run(&["--format", "json", "renew", "--force"])
        .expect(0);
    let lineages = renewed.json()["lineages"].as_array().unwrap().clone();
    assert_eq!(
        lineages.iter().filter(|one| one["action"] == "renewed").count(),
        50
    );
    let asked = |what| n_asked(&world, since, what);
    assert_eq!(asked("GET /dir -> calling handler"), 1);
    assert_eq!(asked("POST /sign-me-up -> calling handler"), 0);
    // One for each order that begins while no other has left one.
    assert!(
        asked("HEAD /nonce-plz -> calling handler") <= 8,
        "{}",
        asked("HEAD /nonce-plz")
    );
    // Pebble refuses `replaces` for one certificate in 256, whose serial has its top bit set: those ask again without.
    let n_order_requests = asked("POST /order-plz -> calling handler");
    assert_eq!(asked("Added order "), 50);
    assert!((50..60).contains(&n_order_requests), "{n_order_requests}");
    // What RFC 8555 needs for an order of one name, and what polling a CA next door adds.
    let n_posts = asked("POST /") - asked("POST /order-plz ->");
    assert!(n_posts <= 50 * 9, "{n_posts}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn long_a_thousand_lineages_are_renewed_in_one_run_with_one_map_and_one_reload() {
    const N: usize = 1000;
    let options = WorldOptions {
        postfix: PostfixOptions::default(),
        ..WorldOptions::default()
    };
    let world = World::with(&options);
    world.write_config(|text| with_lineages(&text, N, "sni = true\n"));
    world.mailcert().run_program(&["--quiet", "issue"]).expect(0);
    let (since, reloads) = (n_lines(&world), world.postfix.log().matches("reload --").count());
    let map = world.state_directory().join("postfix/sni.db");
    let before: Vec<String> = [0, N / 2, N - 1].map(|i| world.live_sha256(&name(i))).into();
    let began = Instant::now();
    let renewed = world
        .mailcert()
        .run_program(&["--quiet", "--format", "json", "renew", "--force"])
        .expect(0);
    eprintln!(
        "{N} lineages renewed, deployed and verified in {:?}",
        began.elapsed()
    );
    let lineages = renewed.json()["lineages"].as_array().unwrap().clone();
    let verified = lineages
        .iter()
        .filter(|one| one["action"] == "renewed" && one["state"] == "verified");
    assert_eq!(verified.count(), N + 1);
    assert_eq!(n_asked(&world, since, "GET /dir -> calling handler"), 1);
    assert_eq!(n_asked(&world, since, "Issued certificate serial"), N + 1);
    assert_eq!(world.postfix.log().matches("reload --").count(), reloads + 1);
    assert!(map.metadata().unwrap().len() > 1_000_000);
    for (i, before) in [0, N / 2, N - 1].into_iter().zip(before) {
        let served = judge::leaf_sha256(world.postfix.port(25), judge::Tls::StartTls, &name(i)).unwrap();
        assert_eq!(served, world.live_sha256(&name(i)));
        assert_ne!(served, before);
    }
    let status = world
        .mailcert()
        .run_program(&["--format", "json", "status"])
        .expect(0);
    assert_eq!(status.json()["lineages"].as_array().unwrap().len(), N + 1);
    world.mailcert().run_program(&["check", "postfix"]).expect(0);
}

/// A state directory with lineages whose certificates are in service and not due, and its configuration.
fn settled(scratch: &Scratch, n: usize) -> std::path::PathBuf {
    let state = scratch.dir(&format!("state-{n}"));
    let config = format!(
        "version = 1\nstate_directory = {state:?}\n[host]\nname = \"mail.example.test\"\ndomains = [\"example.test\"]\n\
         [acme]\ndirectory = \"https://127.0.0.1:1/dir\"\nterms_of_service_agreed = true\n\
         [renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\nmanage = false\nverify = []\n"
    );
    let lineages = with_lineages("[renew]\n", n, "").replace("[renew]\n", "");
    for i in 0..n {
        let name = name(i);
        let directory = scratch.dir(&format!("state-{n}/lineages/{name}/1"));
        // Sizes that add up, as those of a key with its chain do.
        for (file, size) in [
            ("privkey.pem", 240),
            ("cert.pem", 800),
            ("chain.pem", 900),
            ("fullchain.pem", 1700),
            ("combined.pem", 1940),
        ] {
            fs::write(directory.join(file), "x".repeat(size)).unwrap();
        }
        scratch.file(&format!("state-{n}/lineages/{name}/state.json"), record(&name));
        let live = scratch.dir(&format!("state-{n}/live"));
        symlink(Path::new("../lineages").join(&name).join("1"), live.join(&name)).unwrap();
    }
    scratch.file(&format!("{n}.toml"), config + &lineages)
}

/// A record as a renewal leaves it, of a certificate that is good until 2100.
fn record(name: &str) -> String {
    let digest = "ab".repeat(32);
    serde_json::json!({
        "version": 1, "name": name, "state": "deployed", "generation": 1, "newest": 1,
        "generations": {"1": {
            "identifiers": [name], "not_before": "2026-11-01T00:00:00Z", "not_after": "2100-01-01T00:00:00Z",
            "leaf_sha256": digest, "spki_sha256": digest, "certificate_id": "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
            "directory": "https://127.0.0.1:1/dir",
        }},
        "renewal_info": {
            "certificate_id": "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "ask_at": "2099-01-01T00:00:00Z",
            "window": {"start": "2099-01-01T00:00:00Z", "end": "2099-01-02T00:00:00Z", "chosen": "2099-01-01T12:00:00Z"},
        },
        "issued_at": [],
        "deployment": {"generation": 1, "previous": null, "verify": "off", "baseline": [], "endpoints": []},
    })
    .to_string()
}

/// Runs the built program; returns its CPU time in seconds and its peak memory in KiB.
fn cost(config: &Path, args: &[&str]) -> (f64, u64) {
    let output = Command::new("/usr/bin/time")
        .args(["--format", "%U %S %M"])
        .arg(env!("CARGO_BIN_EXE_mailcert"))
        .arg("--config")
        .arg(config)
        .args(args)
        .output()
        .expect("time(1) is missing: run tests/lab/install");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let words: Vec<&str> = said.lines().last().unwrap().split(' ').collect();
    let seconds = |word: &str| word.parse::<f64>().unwrap_or_else(|_| panic!("{said}"));
    (seconds(words[0]) + seconds(words[1]), words[2].parse().unwrap())
}

#[test]
#[ignore = "real: needs time"]
fn long_ten_thousand_lineages_cost_ten_times_what_a_thousand_do() {
    let scratch = Scratch::new();
    let (thousand, ten_thousand) = (settled(&scratch, 1000), settled(&scratch, 10_000));
    for args in [
        ["renew"].as_slice(),
        &["status"],
        &["plan", "certificates"],
        &["--format", "json", "status"],
    ] {
        let (few, _) = cost(&thousand, args);
        let (many, memory) = cost(&ten_thousand, args);
        // With anything quadratic it were a hundred times; an unoptimized build on a busy machine is given its due.
        assert!(
            many < few.max(0.05) * 25.0,
            "{args:?}: {few} s for 1,000, {many} s for 10,000"
        );
        if args == ["renew"] {
            // Beside the program itself, which without optimization is large.
            let (_, program) = cost(&thousand, &["--version"]);
            assert!(
                memory - program < 24 * 1024,
                "{memory} KiB, {program} KiB of them the program"
            );
        }
    }
}

/// Puts a lineage into service on disk, as `install` does; returns the leaf's SHA-256.
fn settle(site: &Site, name: &str) -> String {
    let identity = site.authority.issue(name, time::Duration::days(90));
    let leaf = Chain::from_pem(identity.leaf.as_bytes()).unwrap().leaf;
    let at = |file: &str| format!("state/lineages/{name}/{file}");
    let chain = identity.fullchain.strip_prefix(&identity.leaf).unwrap();
    let combined = format!("{}{}", identity.private_key, identity.fullchain);
    for (file, text) in [
        ("1/cert.pem", &*identity.leaf),
        ("1/chain.pem", chain),
        ("1/fullchain.pem", &identity.fullchain),
    ] {
        site.scratch.file(&at(file), text);
    }
    site.scratch
        .secret_file(&at("1/privkey.pem"), &identity.private_key);
    site.scratch.secret_file(&at("1/combined.pem"), combined);
    let record = json!({
        "version": 1, "name": name, "state": "verified", "generation": 1, "newest": 1,
        "generations": {"1": {
            "identifiers": [name], "not_before": "2026-11-01T00:00:00Z", "not_after": "2100-01-01T00:00:00Z",
            "leaf_sha256": leaf.sha256, "spki_sha256": leaf.spki_sha256,
        }},
        "issued_at": [],
        "deployment": {"generation": 1, "previous": null, "verify": "off", "baseline": [], "endpoints": []},
    });
    site.scratch.secret_file(&at("state.json"), record.to_string());
    symlink(
        Path::new("../lineages").join(name).join("1"),
        site.state("live").join(name),
    )
    .unwrap();
    leaf.sha256.to_string()
}

#[test]
#[ignore = "real: needs postfix, named, openssl, time"]
fn long_ten_thousand_names_are_in_one_map_and_served() {
    const N: usize = 10_000;
    let site = Site::start();
    site.hold_certificate("");
    let digests: Vec<String> = (0..N).map(|i| settle(&site, &name(i))).collect();
    site.write_config(|text| with_lineages(&text, N, "issuer = \"external\"\nsni = true\n"));
    let config = site.scratch.path().join("mailcert.toml");
    let began = Instant::now();
    let (cpu, memory) = cost(&config, &["--quiet", "apply", "postfix", "--yes"]);
    let (_, program) = cost(&config, &["--version"]);
    eprintln!(
        "{N} names: one map in {:?}, {cpu} s of CPU, {memory} KiB, {program} KiB of them the program",
        began.elapsed()
    );
    // One process holds no more than the names and one certificate at a time; the table is postmap's.
    assert!(
        memory < program + 96 * 1024,
        "{memory} KiB, {program} KiB of them the program"
    );
    let map = format!("hash:{}", site.state("postfix/sni").display());
    let listed = Command::new("postmap")
        .arg("-c")
        .arg(site.postfix.config_directory())
        .args(["-s", &map])
        .output()
        .unwrap();
    assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), N);
    for i in (0..N).step_by(N / 20) {
        let served = judge::leaf_sha256(site.postfix.port(25), judge::Tls::StartTls, &name(i));
        assert_eq!(served.as_ref(), Ok(&digests[i]), "{}", name(i));
    }
    let again = site
        .mailcert()
        .run_program(&["apply", "postfix", "--yes"])
        .expect(0);
    assert!(again.stdout.contains("nothing to change"), "{again}");
}

#[test]
#[ignore = "real: needs postfix, named, openssl, setsid"]
fn each_of_many_names_is_asked_for_on_demand_and_who_watches_sees_how_many() {
    const N: usize = 240;
    let site = Site::start();
    site.hold_certificate("");
    for i in 0..N {
        settle(&site, &name(i));
    }
    site.write_config(|text| with_lineages(&text, N, "issuer = \"external\"\nsni = true\n"));
    site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
    let told = |outcome: &Outcome| {
        let findings = outcome.json()["findings"].as_array().unwrap().clone();
        let wrong = findings.iter().filter(|one| one["severity"] == "error");
        let wrong: Vec<String> = wrong
            .map(|one| one["subject"].as_str().unwrap().to_owned())
            .collect();
        let sni = findings.iter().find(|one| one["id"] == "tls.sni").unwrap();
        (wrong, sni["evidence"].as_str().unwrap().to_owned())
    };
    // One that is not in the sample is to serve another certificate.
    let record = site.state("lineages").join(name(1)).join("state.json");
    let text = fs::read_to_string(&record).unwrap();
    let leaf =
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["generations"]["1"]["leaf_sha256"].clone();
    fs::write(&record, text.replace(leaf.as_str().unwrap(), &"ab".repeat(32))).unwrap();
    let check = ["check", "tls", "--every-name", "--format", "json"];
    let (wrong, sni) = told(
        &site
            .mailcert()
            .run(&["check", "tls", "--format", "json"])
            .expect(0),
    );
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(sni.contains(&format!("120 of {N} lineages")), "{sni}");
    let every = site.mailcert().run(&check).expect(3);
    let (wrong, sni) = told(&every);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].ends_with(&format!(":25 for {}", name(1))), "{wrong:?}");
    assert!(sni.starts_with(&format!("{N} names")), "{sni}");
    assert!(every.stderr.contains("asking every port"), "{every}");
    assert!(!every.stderr.contains(" of "), "a log has no counts: {every}");
    fs::write(&record, text).unwrap();

    let watched = |args: &[&str], steps: &[&str]| {
        let terminal = Terminal::start(&site.mailcert().command(args));
        let (_, shown) = terminal.end();
        for step in steps {
            assert!(shown.contains(step), "{step}: {shown}");
        }
    };
    watched(
        &["deploy", &name(0)],
        &["looking at what is served now: ", "which certificate it serves: "],
    );
    watched(&["check", "tls"], &["which certificate it serves: ", " of 121 "]);

    // A port that is closed is told once, not for every name.
    site.postfix.stop();
    let (wrong, sni) = told(&site.mailcert().run(&check).expect(3));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(sni.contains("which does not answer"), "{sni}");
    let refused = site
        .mailcert()
        .run(&["check", "postfix", "--every-name"])
        .expect(2);
    assert!(refused.stderr.contains("`mailcert check tls`"), "{refused}");
}
