//! `certificate.sni`: Postfix serves each name its own certificate, from a map that never lags behind.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{
    Mailcert, PostfixOptions, World, WorldOptions,
    judge::{self, Tls},
    server::wait_until,
    world::{HOST, without_postfix},
};

const OTHER: &str = "mail.other.many.example.test";
const THIRD: &str = "mail.third.many.example.test";

/// Returns the configuration with these names, each served from the map.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what edits a configuration takes its text"
)]
fn with_sni(text: String, names: &[&str]) -> String {
    let tables: String = names
        .iter()
        .map(|name| format!("[[certificate]]\nidentifiers = [\"{name}\"]\nsni = true\n\n"))
        .collect();
    text.replace("[renew]\n", &format!("{tables}[renew]\n"))
}

fn options() -> WorldOptions {
    WorldOptions {
        postfix: PostfixOptions {
            submissions: true,
            ..PostfixOptions::default()
        },
        ..WorldOptions::default()
    }
}

/// Starts a site whose ports serve the host's certificate, and two names of the map.
fn served() -> World {
    let world = World::with(&options());
    world.write_config(|text| with_sni(text, &[OTHER, THIRD]));
    world.mailcert().run(&["issue"]).expect(0);
    world
}

/// Returns the leaf that Postfix serves to a client that asks for this name.
fn served_for(world: &World, port: u16, name: &str) -> String {
    let tls = if port == 465 { Tls::Implicit } else { Tls::StartTls };
    judge::leaf_sha256(world.postfix.port(port), tls, name).unwrap()
}

fn check_all_served(world: &World) {
    for name in [HOST, OTHER, THIRD] {
        for port in [25, 465] {
            assert_eq!(
                served_for(world, port, name),
                world.live_sha256(name),
                "{name} on {port}"
            );
        }
    }
}

fn source(world: &World) -> PathBuf {
    world.state_directory().join("postfix/sni")
}

fn map(world: &World) -> PathBuf {
    world.state_directory().join("postfix/sni.db")
}

/// Returns what the map holds for a key, as postmap reads it.
fn value_of(world: &World, key: &str) -> String {
    let output = Command::new("postmap")
        .arg("-c")
        .arg(world.postfix.config_directory())
        .args(["-F", "-q", key])
        .arg(format!("hash:{}", source(world).display()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn findings(world: &World) -> Vec<Value> {
    let outcome = world.mailcert().run(&["--format", "json", "check", "postfix"]);
    outcome.json()["findings"].as_array().unwrap().clone()
}

fn has(findings: &[Value], id: &str) -> bool {
    findings.iter().any(|finding| finding["id"] == id)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn each_name_gets_its_certificate_and_a_renewal_rebuilds_the_map_once() {
    let world = served();
    check_all_served(&world);
    let named = format!("hash:{}", source(&world).display());
    assert_eq!(world.postfix.postconf("tls_server_sni_maps"), named);
    for file in [source(&world), map(&world)] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert!(
        !fs::read_to_string(source(&world)).unwrap().contains("PRIVATE"),
        "the source names files"
    );
    let live = world
        .state_directory()
        .join("live")
        .join(OTHER)
        .join("combined.pem");
    assert_eq!(
        value_of(&world, OTHER).trim(),
        fs::read_to_string(live).unwrap().trim()
    );

    let (before, inode) = (world.live_sha256(OTHER), fs::metadata(map(&world)).unwrap().ino());
    let renewed = world
        .mailcert()
        .run(&["--format", "json", "renew", "--force"])
        .expect(0);
    assert_ne!(world.live_sha256(OTHER), before);
    assert_ne!(
        fs::metadata(map(&world)).unwrap().ino(),
        inode,
        "a new file, by rename"
    );
    check_all_served(&world);
    for lineage in renewed.json()["lineages"].as_array().unwrap() {
        assert_eq!(lineage["state"], "verified", "{renewed}");
        assert_eq!(
            lineage["endpoints"].as_array().unwrap().len(),
            2,
            "both ports: {renewed}"
        );
    }
    let status = world.mailcert().run(&["status"]).expect(0);
    assert!(
        status.stdout.contains(&format!(":465 for {OTHER}: serves")),
        "{status}"
    );
    // The site itself has no logins and sends in clear text; the map is well.
    let found = findings(&world);
    let ids: Vec<_> = found.iter().map(|finding| &finding["id"]).collect();
    assert_eq!(
        ids,
        ["postfix.submission-without-auth", "postfix.outgoing-clear"],
        "{found:?}"
    );
    let applied = world
        .mailcert()
        .run(&["apply", "--yes", "certificates", "postfix"])
        .expect(0);
    assert!(applied.stdout.contains("nothing to change"), "{applied}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl, strace"]
fn however_many_renewed_there_is_one_postmap_and_one_reload() {
    let world = served();
    let trace = world.scratch.path().join("trace");
    let program = world.mailcert().command(&["renew", "--force"]);
    let traced = Command::new("strace")
        .args(["-f", "-s", "200", "-e", "trace=execve", "-o"])
        .arg(&trace)
        .arg(program.get_program())
        .args(program.get_args())
        .output()
        .unwrap();
    assert!(traced.status.success(), "{traced:?}");
    let trace = fs::read_to_string(trace).unwrap();
    let n = |words: &[&str]| {
        let runs = trace
            .lines()
            .filter(|line| line.contains("execve(") && line.ends_with("= 0"));
        runs.filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    };
    let built = n(&["postmap\"", "\"-F\", \"hash:"]);
    assert_eq!((built, n(&["/postfix\"", "\"reload\""])), (1, 1), "{trace}");
    check_all_served(&world);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_map_that_lags_is_found_and_made_again() {
    let world = served();
    // Somebody put an old map back: names get a certificate that is not in use any more.
    let old = fs::read(map(&world)).unwrap();
    world.mailcert().run(&["renew", "--force", OTHER]).expect(0);
    let new = fs::read(map(&world)).unwrap();
    fs::write(map(&world), &old).unwrap();
    // smtpd looks at the map's time, in whole seconds.
    world.postfix.reload();
    let found = findings(&world);
    let stale = found
        .iter()
        .find(|finding| finding["id"] == "postfix.sni-stale")
        .unwrap_or_else(|| panic!("{found:?}"));
    assert!(stale["evidence"].as_str().unwrap().contains(OTHER), "{stale}");
    assert!(!stale["evidence"].as_str().unwrap().contains(THIRD), "{stale}");
    wait_until("the old certificate is served", || {
        world.mailcert().run(&["check", "tls"]).code == 3
    });
    world.mailcert().run(&["deploy"]).expect(0);
    assert!(!has(&findings(&world), "postfix.sni-stale"));
    assert_eq!(value_of(&world, OTHER).len() > 100, new.len() > 100);
    check_all_served(&world);
    world.mailcert().run(&["check", "tls"]);

    // One that is gone comes back with the next run of the timer, also where postmap was killed while it made one.
    fs::remove_file(map(&world)).unwrap();
    let begun = map(&world).with_file_name("__db.sni.new.db");
    fs::write(&begun, "").unwrap();
    assert!(has(&findings(&world), "postfix.sni-missing"));
    world.mailcert().run(&["status"]).expect(3);
    world.mailcert().run(&["renew"]).expect(0);
    assert!(!begun.exists());
    check_all_served(&world);
    world.mailcert().run(&["status"]).expect(0);

    // What others may read is told.
    for file in [source(&world), map(&world)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            has(&findings(&world), "postfix.sni-exposed"),
            "{}",
            file.display()
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(!has(&findings(&world), "postfix.sni-exposed"));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn the_operators_own_map_stays_and_undo_takes_ours_out() {
    let world = World::with(&options());
    let own = world.scratch.dir("own");
    let chain = own.join("own.pem");
    let issued = world.pebble.issue(&world.address, &["own.many.example.test"]);
    fs::write(&chain, format!("{}{}", issued.private_key, issued.fullchain)).unwrap();
    let own_source = world
        .scratch
        .secret_file("own/sni", format!("own.many.example.test {}\n", chain.display()));
    let postmap = |args: &[&str]| {
        let config = world.postfix.config_directory();
        let status = Command::new("postmap")
            .arg("-c")
            .arg(config)
            .args(args)
            .status()
            .unwrap();
        assert!(status.success());
    };
    postmap(&["-F", &format!("hash:{}", own_source.display())]);
    world.postfix.edit_main_cf(|mut text| {
        text.extend(
            format!(
                "maps = hash:{}\ntls_server_sni_maps = ${{maps}}\n",
                own_source.display()
            )
            .bytes(),
        );
        text
    });
    world.postfix.reload();
    let before = fs::read(world.postfix.main_cf()).unwrap();
    world.write_config(|text| with_sni(text, &[OTHER]));
    let issued_ours = world.mailcert().run(&["issue"]).expect(0);
    assert!(
        issued_ours.stdout.contains("stays, and is asked first"),
        "{issued_ours}"
    );
    let maps = world.postfix.postconf("tls_server_sni_maps");
    assert_eq!(
        maps,
        format!("hash:{}, hash:{}", own_source.display(), source(&world).display())
    );
    assert_eq!(served_for(&world, 25, OTHER), world.live_sha256(OTHER));
    let own_leaf = judge::certificate_sha256(&issued.fullchain).unwrap();
    assert_eq!(served_for(&world, 25, "own.many.example.test"), own_leaf);
    let again = world
        .mailcert()
        .run(&["apply", "--yes", "certificates", "postfix"])
        .expect(0);
    assert!(again.stdout.contains("nothing to change"), "{again}");

    world.mailcert().run(&["undo"]).expect(0);
    assert_eq!(fs::read(world.postfix.main_cf()).unwrap(), before);
    let applied = world
        .mailcert()
        .run(&["apply", "--yes", "certificates", "postfix"])
        .expect(0);
    assert_eq!(
        served_for(&world, 25, OTHER),
        world.live_sha256(OTHER),
        "{applied}"
    );
    // Another certificate in our map, or none: the lines follow the configuration.
    world.write_config(|text| with_sni(text, &[OTHER, THIRD]));
    let planned = world.mailcert().run(&["plan", "--format", "json"]);
    let added = planned.json()["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["kind"] == "sni-map")
        .cloned();
    assert_eq!(added.unwrap()["add"], serde_json::json!([THIRD]), "{planned}");
    world
        .mailcert()
        .run(&["apply", "--yes", "certificates", "postfix"])
        .expect(0);
    assert_eq!(served_for(&world, 25, THIRD), world.live_sha256(THIRD));
    assert_eq!(world.record(THIRD)["state"], "verified");
}

/// Returns mailcert that runs this script in the place of a program of Postfix.
fn with_program(world: &World, name: &str, script: &str) -> Mailcert {
    let directory = world.scratch.dir("programs");
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut mailcert = world.mailcert();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
    mailcert.vars.insert("PATH".into(), path.into());
    mailcert
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_map_without_what_it_should_hold_never_comes_into_use() {
    let world = served();
    let before = world.live_sha256(OTHER);
    // A postmap that leaves the old map where the new one was to be.
    let kept = world.scratch.path().join("kept.db");
    fs::copy(map(&world), &kept).unwrap();
    let script = format!(
        "/usr/sbin/postmap \"$@\" || exit\ncase \"$*\" in *' -F hash:'*) cp {} {}.new.db;; esac\n",
        kept.display(),
        source(&world).display()
    );
    let mailcert = with_program(&world, "postmap", &script);
    let outcome = mailcert.run(&["renew", "--force"]).expect(1);
    assert!(outcome.stderr.contains("does not hold the files of"), "{outcome}");
    assert_eq!(served_for(&world, 25, OTHER), before, "{outcome}");
    assert_eq!(world.record(OTHER)["state"], "installed");
    // The others went on.
    assert_eq!(world.record(HOST)["state"], "verified");
    assert!(
        !source(&world).with_extension("new").exists() && !source(&world).with_extension("new.db").exists()
    );
    world.mailcert().run(&["deploy"]).expect(0);
    assert_ne!(world.live_sha256(OTHER), before);
    check_all_served(&world);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_name_that_gets_worse_goes_back_with_the_map_and_the_others_stay() {
    let world = World::with(&options());
    // The operator's own map, empty so far, is asked first.
    let own = world.scratch.secret_file("own/sni", "");
    let config = world.postfix.config_directory();
    let own_map = format!("hash:{}", own.display());
    let made = Command::new("postmap")
        .arg("-c")
        .arg(&config)
        .args(["-F", &own_map])
        .status()
        .unwrap();
    assert!(made.success());
    world.postfix.edit_main_cf(|mut text| {
        text.extend(format!("tls_server_sni_maps = {own_map}\n").bytes());
        text
    });
    world.postfix.reload();
    world.write_config(|text| with_sni(text, &[OTHER, THIRD]));
    world.mailcert().run(&["issue"]).expect(0);
    check_all_served(&world);
    let before = world.live_sha256(OTHER);

    // While a new certificate is in the live directory, a reload comes with a third one for the name.
    let issued = world.pebble.issue(&world.address, &[OTHER]);
    let wrong = world.scratch.secret_file(
        "own/wrong.pem",
        format!("{}{}", issued.private_key, issued.fullchain),
    );
    let live = world.state_directory().join("live").join(OTHER).join("cert.pem");
    let kept = world.scratch.file("own/kept.pem", fs::read(&live).unwrap());
    let script = format!(
        "case \"$*\" in *reload)\n: >{own}\ncmp -s {live} {kept} || echo '{OTHER} {wrong}' >{own}\n\
         /usr/sbin/postmap -c {config} -F {own_map};; esac\nexec /usr/sbin/postfix \"$@\"\n",
        own = own.display(),
        live = live.display(),
        kept = kept.display(),
        wrong = wrong.display(),
        config = config.display(),
    );
    let outcome = with_program(&world, "postfix", &script)
        .run(&["renew", "--force"])
        .expect(1);
    assert!(
        outcome.stderr.contains(&format!(":25 for {OTHER}: serves")),
        "{outcome}"
    );
    assert!(
        outcome.stderr.contains("neither the old nor the new"),
        "{outcome}"
    );
    assert!(
        !outcome.stderr.contains("is not as before, even now"),
        "{outcome}"
    );
    assert_eq!(world.live_sha256(OTHER), before, "{outcome}");
    check_all_served(&world);
    assert_eq!(world.record(OTHER)["state"], "rolled-back");
    assert_eq!(world.record(THIRD)["state"], "verified");
    assert!(
        !has(&findings(&world), "postfix.sni-stale"),
        "{:?}",
        findings(&world)
    );
    world.mailcert().run(&["deploy"]).expect(0);
    assert_ne!(world.live_sha256(OTHER), before);
    check_all_served(&world);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn killed_before_or_after_the_map_it_is_brought_to_its_end() {
    let world = served();
    let before = world.live_sha256(OTHER);
    // Killed while postmap runs: the links are swapped, the map is the old one.
    let killing = world.scratch.path().join("killing");
    let script = format!("kill -9 $PPID; : >{}\n", killing.display());
    let directory = world.scratch.dir("programs");
    for name in ["postmap", "postfix"] {
        fs::write(directory.join(name), format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        let mut mailcert = world.mailcert();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
        mailcert.vars.insert("PATH".into(), path.into());
        let killed = mailcert.run_program(&["renew", "--force", OTHER]);
        assert_eq!(killed.code, -1, "{killed}");
        fs::remove_file(directory.join(name)).unwrap();
        let resumed = world.mailcert().run(&["renew"]).expect(0);
        assert_eq!(world.record(OTHER)["state"], "verified", "{resumed}");
        check_all_served(&world);
        assert!(!has(&findings(&world), "postfix.sni-stale"));
    }
    assert_ne!(world.live_sha256(OTHER), before);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_wildcard_is_served_for_the_names_below_it() {
    let options = options();
    let world = World::with(&options);
    let zone = "many.example.test";
    world.write_config(|text| {
        with_sni(text, &[&format!("*.{zone}"), OTHER])
            .replace("type = \"http-01\"", "type = \"dns-01\"")
            .lines()
            .filter(|line| !line.starts_with("listen"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    let issued = world.mailcert().run(&["issue"]).expect(0);
    let wildcard = format!("_wildcard.{zone}");
    assert_eq!(
        served_for(&world, 25, &format!("any.{zone}")),
        world.live_sha256(&wildcard),
        "{issued}"
    );
    assert_eq!(
        served_for(&world, 25, OTHER),
        world.live_sha256(OTHER),
        "the longer name wins: {issued}"
    );
    assert_eq!(world.record(&wildcard)["state"], "verified");
    assert_eq!(
        served_for(&world, 25, zone),
        world.live_sha256(HOST),
        "a wildcard is not its parent: {issued}"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn files_alone_need_no_map() {
    let world = World::with(&options());
    world.write_config(without_postfix);
    world.mailcert().run(&["issue"]).expect(0);
    assert!(!source(&world).exists());
    world.write_config(|text| with_sni(without_postfix(text), &[OTHER]));
    let refused = world.mailcert().run(&["issue"]).expect(2);
    assert!(refused.stderr.contains("needs `postfix.manage`"), "{refused}");
}
