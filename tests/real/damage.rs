//! What is on disk is damaged, from another time, or somebody else's: told, healed where that is safe, never made worse.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use mailcert::env::Clock;
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::support::{
    Mailcert, Outcome, Site, World, WorldOptions, judge,
    server::run,
    world::{HOST, without_postfix},
};

/// A second lineage, to which nothing happens.
const OTHER: &str = "imap.example.test";

/// Two lineages, one of which port 25 serves; no cap holds them back.
fn two_lineages() -> World {
    let world = World::start();
    world
        .bind
        .nsupdate(&format!("update add {OTHER} 60 A {}", world.address.ip()));
    let another = format!(
        "[[certificate]]\nidentifiers = [\"{OTHER}\"]\n\n[renew]\nmax_per_day = 0\nmax_per_week = 0\n"
    );
    world.write_config(|text| text.replace("[renew]\n", &another));
    world.name_live_files();
    world.mailcert().run(&["issue"]).expect(0);
    world
}

fn lineage(world: &World) -> PathBuf {
    world.state_directory().join("lineages").join(HOST)
}

fn state_file(world: &World) -> PathBuf {
    lineage(world).join("state.json")
}

/// Everything is as it should be, told by judges that we did not write.
fn assert_well(world: &World, what: &str) {
    world.mailcert().run(&["status"]).expect(0);
    world
        .postfix
        .verify(25, world.pebble.issuer_root_file())
        .unwrap_or_else(|said| panic!("{what}: {said}"));
    assert_eq!(
        world.postfix.leaf_sha256(25).unwrap(),
        world.live_sha256(HOST),
        "{what}"
    );
    let live = world.state_directory().join("live").join(HOST);
    let read = |name: &str| fs::read_to_string(live.join(name)).unwrap();
    let (key, chain) = (read("privkey.pem"), read("fullchain.pem"));
    assert_eq!(judge::public_key_of(&key), judge::public_key_of(&chain), "{what}");
    assert_eq!(read("combined.pem"), key + &chain, "{what}");
    assert!(chain.starts_with(&read("cert.pem")), "{what}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_record_that_cannot_be_used_is_made_anew_from_the_generations_on_disk() {
    let world = two_lineages();
    world.mailcert().run(&["renew", "--force", HOST]).expect(0);
    let (served, spent) = (
        world.postfix.leaf_sha256(25).unwrap(),
        world.pebble.n_orders_and_certificates(),
    );
    let good = fs::read_to_string(state_file(&world)).unwrap();
    let of_another = good.replace(&format!("\"name\": \"{HOST}\""), "\"name\": \"www.example.test\"");
    assert_ne!(of_another, good);
    let path = state_file(&world);
    let write = |content: &[u8]| fs::write(&path, content).unwrap();
    let damages: [(&str, &dyn Fn()); 9] = [
        ("zeros", &|| write(&vec![0; good.len()])),
        ("nothing", &|| write(b"")),
        ("half", &|| write(&good.as_bytes()[..good.len() / 2])),
        ("a number too much", &|| {
            write(good.replace("\"newest\": 2", "\"newest\": -1").as_bytes());
        }),
        ("another lineage's", &|| write(of_another.as_bytes())),
        ("a gibibyte", &|| {
            fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        }),
        ("a pipe", &|| {
            fs::remove_file(&path).unwrap();
            run(Command::new("mkfifo").arg(&path));
        }),
        ("a directory", &|| {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }),
        ("gone", &|| fs::remove_file(&path).unwrap()),
    ];
    for (n, (what, damage)) in damages.iter().enumerate() {
        damage();
        let told = world.mailcert().run(&["status", "--format", "json"]).expect(3);
        let lineages = told.json()["lineages"].clone();
        assert_eq!(
            (&lineages[0]["name"], &lineages[1]["state"]),
            (&HOST.into(), &"deployed".into()),
            "{what}: {told}"
        );
        if *what != "gone" {
            assert!(
                lineages[0]["last_error"].to_string().contains("state.json"),
                "{what}: {told}"
            );
        }
        let healed = world.mailcert().run(&["renew"]).expect(0);
        assert!(
            healed
                .stderr
                .contains("made anew from the generations on disk: 1, 2"),
            "{what}: {healed}"
        );
        if *what != "gone" {
            let kept = lineage(&world).join(format!("state.json.damaged-{}", n + 1));
            assert!(
                healed.stderr.contains(&kept.display().to_string()),
                "{what}: {healed}"
            );
            assert!(fs::symlink_metadata(kept).is_ok(), "{what}");
        }
        assert_well(&world, what);
        assert_eq!(world.postfix.leaf_sha256(25).unwrap(), served, "{what}");
        let record = world.record(HOST);
        assert_eq!(
            (&record["generation"], &record["newest"]),
            (&2.into(), &2.into()),
            "{what}"
        );
        assert_eq!(record["generations"].as_object().unwrap().len(), 2, "{what}");
        // Both were issued today: the caps still know.
        assert_eq!(record["issued_at"].as_array().unwrap().len(), 2, "{what}");
    }
    assert_eq!(
        world.pebble.n_orders_and_certificates(),
        spent,
        "no certificate is spent on it"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_record_from_a_newer_version_or_a_disk_that_cannot_be_read_is_left_alone() {
    let world = two_lineages();
    let path = state_file(&world);
    let newer = br#"{"version": 2, "shape": "another"}"#;
    fs::write(&path, newer).unwrap();
    let spent = world.pebble.n_orders_and_certificates();
    for command in [
        &["renew"][..],
        &["renew", "--force"],
        &["issue"],
        &["deploy", HOST],
    ] {
        let told = world.mailcert().run(command).expect(1);
        assert!(
            told.stderr.contains("written by a newer mailcert"),
            "{command:?} {told}"
        );
        assert!(
            told.stderr.contains("use the newer mailcert"),
            "{command:?} {told}"
        );
        assert_eq!(fs::read(&path).unwrap(), newer, "{command:?}");
    }
    // The other lineage was renewed by force meanwhile.
    assert_eq!(world.pebble.n_orders_and_certificates().1, spent.1 + 1);
    world.mailcert().run(&["status"]).expect(3);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn damaged_files_of_a_generation_are_written_anew_from_the_others() {
    let world = two_lineages();
    let (served, spent) = (world.live_sha256(HOST), world.pebble.n_orders_and_certificates());
    let live = world.state_directory().join("live").join(HOST);
    let in_live = |name: &str| live.join(name);
    let other_key = fs::read(
        world
            .state_directory()
            .join("live")
            .join(OTHER)
            .join("privkey.pem"),
    )
    .unwrap();
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let half = |name: &str| {
        let whole = fs::read(in_live(name)).unwrap();
        fs::write(in_live(name), &whole[..whole.len() / 2]).unwrap();
    };
    let damages: [(&str, &str, &dyn Fn()); 7] = [
        ("an emptied key", "privkey.pem", &|| {
            fs::write(in_live("privkey.pem"), "").unwrap();
        }),
        ("a lost key", "privkey.pem", &|| {
            fs::remove_file(in_live("privkey.pem")).unwrap();
        }),
        ("the key of another certificate", "privkey.pem", &|| {
            fs::write(in_live("privkey.pem"), &other_key).unwrap();
            let file = fs::File::options()
                .write(true)
                .open(in_live("privkey.pem"))
                .unwrap();
            file.set_modified(an_hour_ago).unwrap();
        }),
        ("a certificate cut short", "cert.pem", &|| half("cert.pem")),
        ("a chain cut short", "fullchain.pem", &|| half("fullchain.pem")),
        ("no combined.pem", "combined.pem", &|| {
            fs::remove_file(in_live("combined.pem")).unwrap();
        }),
        ("a link to elsewhere", "cert.pem", &|| {
            fs::remove_file(in_live("cert.pem")).unwrap();
            symlink("/etc/hostname", in_live("cert.pem")).unwrap();
        }),
    ];
    let hostname = fs::read("/etc/hostname").ok();
    for (what, name, damage) in damages {
        damage();
        let told = world.mailcert().run(&["status"]).expect(3);
        assert!(told.stdout.contains("do not belong together"), "{what}: {told}");
        let healed = world.mailcert().run(&["renew"]).expect(0);
        assert!(
            healed
                .stderr
                .contains(&format!("{name} of generation 1 was damaged")),
            "{what}: {healed}"
        );
        assert_well(&world, what);
        assert_eq!(world.live_sha256(HOST), served, "{what}");
        let mode = fs::metadata(in_live("privkey.pem")).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{what}");
    }
    assert_eq!(fs::read("/etc/hostname").ok(), hostname);
    assert_eq!(
        world.pebble.n_orders_and_certificates(),
        spent,
        "no certificate is spent on it"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_old_backup_of_the_record_never_moves_the_link_back() {
    let world = World::issued(&WorldOptions::default(), |text| {
        text.replace("[renew]\n", "[renew]\nmax_per_day = 0\nmax_per_week = 0\n")
    });
    let old = fs::read(state_file(&world)).unwrap();
    let first = world.live_sha256(HOST);
    world.mailcert().run(&["renew", "--force"]).expect(0);
    world.mailcert().run(&["renew", "--force"]).expect(0);
    let (served, spent) = (world.live_sha256(HOST), world.pebble.n_orders_and_certificates());
    let live = world.state_directory().join("live").join(HOST);
    let link_to = |number: u64| {
        let _ = fs::remove_file(&live);
        symlink(format!("../lineages/{HOST}/{number}"), &live).unwrap();
    };

    // The record alone is old; then the link too.
    for number in [3, 1] {
        fs::write(state_file(&world), &old).unwrap();
        link_to(number);
        let healed = world.mailcert().run(&["renew"]).expect(0);
        assert!(healed.stderr.contains("taken up: generation 2, 3"), "{healed}");
        assert_well(&world, "an old record");
        assert_eq!(world.live_sha256(HOST), served);
        assert_eq!(world.record(HOST)["generation"], 3);
    }

    // As if it were so old that its certificate is over: the newer one on disk is put into service, none is ordered.
    let mut expired: serde_json::Value = serde_json::from_slice(&old).unwrap();
    expired["generations"]["1"]["not_after"] = "2026-01-01T00:00:00Z".into();
    expired["order"] = serde_json::json!({
        "generation": 2,
        "identifiers": [HOST],
        "directory": world.pebble.directory(),
        "url": world.pebble.directory().replace("/dir", "/my-order/of-long-ago"),
        "started_at": "2025-11-01T00:00:00Z",
    });
    fs::write(state_file(&world), expired.to_string()).unwrap();
    link_to(3);
    world.mailcert().run(&["renew"]).expect(0);
    assert_well(&world, "an expired record");
    assert_eq!(world.live_sha256(HOST), served);
    assert_eq!(world.pebble.n_orders_and_certificates(), spent);

    // The generations are of the backup too: what is renewed was replaced at the CA long ago.
    fs::write(state_file(&world), &old).unwrap();
    for number in [2, 3] {
        fs::remove_dir_all(lineage(&world).join(number.to_string())).unwrap();
    }
    link_to(1);
    let renewed = world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_well(&world, "a whole backup");
    assert_ne!(world.live_sha256(HOST), first, "{renewed}");
    assert_eq!(world.pebble.n_orders_and_certificates().1, spent.1 + 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn live_links_that_lead_nowhere_or_elsewhere_are_mended() {
    let world = two_lineages();
    let served = world.live_sha256(HOST);
    let live = world.state_directory().join("live").join(HOST);
    let elsewhere = world.scratch.dir("elsewhere");
    for target in [
        Path::new("../lineages/gone/7"),
        elsewhere.as_path(),
        Path::new(HOST),
    ] {
        fs::remove_file(&live).unwrap();
        symlink(target, &live).unwrap();
        world.mailcert().run(&["status"]).expect(3);
        let mended = world.mailcert().run(&["renew"]).expect(0);
        assert!(mended.stderr.contains("mending the live link"), "{mended}");
        assert_well(&world, &target.display().to_string());
        assert_eq!(world.live_sha256(HOST), served);
    }
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn links_that_somebody_placed_lead_no_write_elsewhere() {
    let world = World::issued(&WorldOptions::default(), |text| {
        text.replace("[renew]\n", "[renew]\nmax_per_day = 0\nmax_per_week = 0\n")
    });
    let state = world.state_directory();
    let (served, elsewhere) = (world.live_sha256(HOST), world.scratch.dir("elsewhere"));
    let victim = world.scratch.file("victim", "precious");
    let is_untouched = || {
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let led: Vec<_> = fs::read_dir(&elsewhere)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(led.is_empty(), "{led:?}");
    };
    // In the place of files: written anew, never through.
    for name in [
        "last-run",
        "live/.mail.example.test.mailcert",
        "lineages/mail.example.test/.state.json.mailcert",
    ] {
        let _ = fs::remove_file(state.join(name));
        symlink(&victim, state.join(name)).unwrap();
    }
    let next = lineage(&world).join(".2.unfinished");
    symlink(&elsewhere, &next).unwrap();
    world.mailcert().run(&["renew", "--force"]).expect(0);
    is_untouched();
    assert_well(&world, "links in the place of files");
    let kept = world.live_sha256(HOST);
    assert_ne!(kept, served);
    // In the place of directories: refused, with what to do; the certificate in use serves on.
    for (name, command) in [
        ("lineages/mail.example.test", &["renew", "--force"][..]),
        ("lineages", &["renew", "--force"]),
        ("live", &["renew", "--force"]),
        ("accounts", &["renew", "--force"]),
    ] {
        let aside = state.join("aside");
        fs::rename(state.join(name), &aside).unwrap();
        symlink(&elsewhere, state.join(name)).unwrap();
        let told = world.mailcert().run(command).expect(1);
        assert!(told.stderr.contains("symbolic link"), "{name}: {told}");
        is_untouched();
        fs::remove_file(state.join(name)).unwrap();
        fs::rename(aside, state.join(name)).unwrap();
        assert_eq!(world.postfix.leaf_sha256(25).unwrap(), kept, "{name}");
    }
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_well(&world, "links in the place of directories");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn what_is_wrong_with_the_lock_file_or_the_directories_is_told() {
    let world = World::issued(&WorldOptions::default(), without_postfix);
    let state = world.state_directory();
    let lock = state.join("lock");
    let refused = |words: &[&str]| {
        let told = world.mailcert().run(&["renew"]).expect(1);
        for word in words {
            assert!(told.stderr.contains(word), "{word}: {told}");
        }
    };
    let lock_path = lock.display().to_string();
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    refused(&[&lock_path, "move", "away: a file belongs there"]);
    fs::remove_dir(&lock).unwrap();
    symlink("/etc/hostname", &lock).unwrap();
    refused(&[&lock_path, "remove the symbolic link"]);
    fs::remove_file(&lock).unwrap();
    // Read-only, or another user's: root takes it all the same.
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o400)).unwrap();
    world.mailcert().run(&["renew"]).expect(0);
    chown(&lock, Some(65534), None).unwrap();
    world.mailcert().run(&["renew"]).expect(0);
    // But one who holds it for ever is told of.
    let holder = fs::File::open(&lock).unwrap();
    holder.lock().unwrap();
    let told = world.mailcert().run(&["renew"]).expect(4);
    assert!(told.stderr.contains("it belongs to user 65534"), "{told}");
    drop(holder);

    for name in ["lineages", "live", &format!("lineages/{HOST}")] {
        let path = state.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let told = world.mailcert().run(&["renew", "--force"]).expect(1);
        assert!(told.stderr.contains("chmod go-w"), "{name}: {told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let parent = world.scratch.dir("open");
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o777)).unwrap();
    let moved = parent.join("state");
    world.write_config(|text| without_postfix(text).replace(&format!("{state:?}"), &format!("{moved:?}")));
    refused(&["everybody may write into", "chmod o-w"]);
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o1777)).unwrap();
    world.mailcert().run(&["renew"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, mount"]
fn a_state_directory_on_a_read_only_disk_is_told_and_goes_on_serving() {
    let world = World::issued(&WorldOptions::default(), |text| text);
    let served = world.postfix.leaf_sha256(25).unwrap();
    let program = world.mailcert().command(&["renew", "--force"]);
    let read_only = |args: &[&str]| {
        // In a mount namespace of its own: nobody else sees it.
        let state = world.state_directory();
        let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .arg(state)
            .arg(program.get_program())
            .arg("--config")
            .arg(world.config_file())
            .args(args)
            .output()
            .unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    let spent = world.pebble.n_orders_and_certificates();
    for command in [
        &["renew"][..],
        &["renew", "--force"],
        &["issue"],
        &["deploy"],
        &["undo"],
    ] {
        let told = read_only(command).expect(1);
        assert!(told.stderr.contains("mounted read-only"), "{command:?}: {told}");
    }
    read_only(&["status"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), spent);
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), served);
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_well(&world, "a disk that was read-only");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_damaged_journal_or_account_stops_only_what_needs_it() {
    let world = World::start();
    world.write_config(|text| text);
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    let main_cf = fs::read(world.postfix.main_cf()).unwrap();
    let entry = world.state_directory().join("journal/1/entry.json");
    let good = fs::read(&entry).unwrap();
    for content in [
        &vec![0; 4096][..],
        b"",
        &good[..good.len() / 2],
        b"{\"version\": 2}",
    ] {
        fs::write(&entry, content).unwrap();
        let told = world.mailcert().run(&["undo"]).expect(1);
        assert!(told.stderr.contains("entry.json"), "{told}");
        assert!(told.stderr.contains("remedy:"), "{told}");
        assert_eq!(fs::read(world.postfix.main_cf()).unwrap(), main_cf);
        world.mailcert().run(&["renew"]).expect(0);
        world.mailcert().run(&["apply", "--yes"]).expect(0);
    }
    // What others may write is not carried out as root.
    fs::write(&entry, &good).unwrap();
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).unwrap();
    let told = world.mailcert().run(&["undo"]).expect(1);
    assert!(told.stderr.contains("chmod go-w"), "{told}");
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o600)).unwrap();
    world.mailcert().run(&["undo"]).expect(0);
    assert_ne!(fs::read(world.postfix.main_cf()).unwrap(), main_cf);
}

/// Returns mailcert at another time.
fn at(mailcert: &Mailcert, now: OffsetDateTime) -> Mailcert {
    Mailcert {
        clock: Clock::Fixed(now),
        ..mailcert.clone()
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_clock_in_1970_or_2100_loses_nothing_and_holds_nothing_back_for_ever() {
    // The caps of an ordinary configuration: they too must not last until 2100.
    let world = World::issued(&WorldOptions::default(), |text| text);
    let served = world.postfix.leaf_sha256(25).unwrap();
    let (past, future) = (datetime!(1970-01-01 0:05 UTC), datetime!(2100-01-01 0:00 UTC));
    for wrong in [past, future] {
        let then = at(&world.mailcert(), wrong);
        for command in [
            &["renew"][..],
            &["issue"],
            &["deploy"],
            &["status"],
            &["check", "tls"],
        ] {
            let said = then.run(command);
            assert!([0, 1, 3, 4].contains(&said.code), "{wrong} {command:?}: {said}");
            assert!(!said.stderr.contains("panicked"), "{wrong} {command:?}: {said}");
        }
        // Whatever it did, a chain that the CA issued is served, and the record can be read.
        world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
        let back = world.mailcert().run(&["renew"]).expect(0);
        assert_well(&world, &format!("{wrong}: {back}"));
    }
    // Renewal is possible at once, and unattended when it is due.
    let record = world.record(HOST);
    let now = OffsetDateTime::now_utc();
    assert!(record["failure"].is_null(), "{record}");
    world.mailcert().run(&["renew", "--force"]).expect(0);
    let due = at(&world.mailcert(), now + Duration::days(70));
    due.run(&["renew"]).expect(0);
    assert_ne!(world.live_sha256(HOST), served);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn an_expired_generation_is_not_put_back_when_the_newer_one_is_lost() {
    let site = Site::start();
    site.write_config(|text| text);
    site.install("first", &site.issue()).expect(0);
    site.install("second", &site.issue()).expect(0);
    let state = site.state(&format!("lineages/{HOST}/state.json"));
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    record["generations"]["1"]["not_after"] = "2026-01-01T00:00:00Z".into();
    fs::write(&state, record.to_string()).unwrap();
    for name in ["privkey.pem", "combined.pem"] {
        fs::write(site.state(&format!("lineages/{HOST}/2/{name}")), "").unwrap();
    }
    let told = site.mailcert().run(&["renew"]);
    assert!(told.stderr.contains("cannot be mended"), "{told}");
    assert!(
        (told.stdout.clone() + &told.stderr).contains("has expired"),
        "{told}"
    );
    assert_eq!(site.live_generation(), "2", "{told}");
    // The certificate from elsewhere puts it right.
    site.install("third", &site.issue()).expect(0);
    assert_eq!(site.status()["state"], "verified");
}
