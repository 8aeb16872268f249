//! "Deploy until verified": what is not proven is tried again in every later run, and red until the wire is right.

use std::{fs, os::unix::fs::PermissionsExt};

use mailcert::env::Clock;
use time::{Duration, OffsetDateTime};

use crate::support::{
    Answer, Fault, FaultyCa, Identity, LoopbackAddress, Mailcert, Port, Site, World, WorldOptions,
    world::HOST,
};

/// A port of the test's own beside Postfix's.
const PORT: u16 = 4465;

fn at(mailcert: Mailcert, now: OffsetDateTime) -> Mailcert {
    Mailcert {
        clock: Clock::Fixed(now),
        ..mailcert
    }
}

/// Returns a `verify` line for port 25 and a port of the test's own.
fn verify_line(address: &LoopbackAddress) -> String {
    let ip = address.ip();
    format!("verify = [\"smtp://{ip}:25\", \"submissions://{ip}:{PORT}\"]\n")
}

fn n_reloads(site: &Site) -> usize {
    site.postfix.log().matches("reload --").count()
}

/// What the `postfix` of a test does instead of a reload: it refuses.
const REFUSE: &str = "echo 'fatal: refused by the test' >&2; exit 1\n";
/// It kills mailcert.
const KILL: &str = "kill -9 $PPID; exit 1\n";

/// Puts a `postfix` before the system's that does this instead of a reload, until [`heal`].
fn with_stubborn_postfix(site: &Site, instead: &str) -> Mailcert {
    let refuse = site.scratch.file("instead-of-reload", instead);
    let real = ["/usr/sbin/postfix", "/usr/local/sbin/postfix"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap())
        .expect("postfix is missing: run tests/lab/install");
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\n\
         if [ \"$last\" = reload ] && [ -e {0} ]; then . {0}; fi\n\
         exec {real} \"$@\"\n",
        refuse.display()
    );
    let program = site.scratch.file("bin/postfix", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut mailcert = site.mailcert();
    let path = mailcert.vars["PATH".as_ref() as &std::ffi::OsStr].clone();
    let bin = program.parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", path.to_string_lossy());
    mailcert.vars.insert("PATH".into(), path.into());
    mailcert
}

fn heal(site: &Site) {
    fs::remove_file(site.scratch.path().join("instead-of-reload")).unwrap();
}

#[test]
#[ignore = "real: needs postfix, named, openssl; each try waits five seconds for the port"]
fn long_a_port_that_is_down_is_asked_again_at_the_pace_of_the_back_off_until_it_is_right() {
    let site = Site::start();
    site.write_config(|text| text + &verify_line(&site.address));
    let identity = site.issue();
    site.install("first", &identity).expect(1);
    let mut now = OffsetDateTime::now_utc();
    let mut reloads = n_reloads(&site);
    let minutes = [1, 10, 100, 1440, 1440];
    for pause in minutes.map(Duration::minutes) {
        // Before its time nobody is asked, and all is red all the same.
        let early = at(site.mailcert(), now + pause - Duration::seconds(20));
        let waiting = early.run(&["renew"]).expect(1);
        assert!(waiting.stderr.contains("4465"), "{waiting}");
        early.run(&["status"]).expect(3);
        assert_eq!(n_reloads(&site), reloads, "{pause}");
        now += pause + Duration::seconds(20);
        at(site.mailcert(), now).run(&["renew"]).expect(1);
        reloads += 1;
        assert_eq!(n_reloads(&site), reloads, "{pause}");
        assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    }
    let answer = Answer::tls(&identity);
    let _port = Port::serve(site.address.port(PORT), move || answer.clone());
    now += Duration::days(1) + Duration::seconds(20);
    at(site.mailcert(), now).run(&["renew"]).expect(0);
    at(site.mailcert(), now).run(&["status"]).expect(0);
    assert_eq!(site.status()["state"], "verified");
    let idle = at(site.mailcert(), now).run(&["renew"]).expect(0);
    assert!(idle.stdout.contains("nothing is due"), "{idle}");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_reload_that_postfix_refuses_puts_the_files_back() {
    let site = Site::start();
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let identity = site.hold_certificate("");
    let mailcert = with_stubborn_postfix(&site, REFUSE);
    let refused = mailcert.run(&["apply", "--yes"]).expect(1);
    for words in ["refused by the test", "the configuration files were put back"] {
        assert!(refused.stderr.contains(words), "{words}: {refused}");
    }
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    site.mailcert().run(&["status"]).expect(3);
    // Nothing of it is left to undo.
    assert_eq!(
        site.mailcert().run(&["undo"]).expect(0).stdout,
        "nothing to change\n"
    );

    heal(&site);
    mailcert.run(&["apply", "--yes"]).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    site.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn an_undo_whose_reload_is_refused_failed_and_can_be_run_again() {
    let site = Site::start();
    let (before, snake_oil) = (
        fs::read(site.postfix.main_cf()).unwrap(),
        site.postfix.leaf_sha256(25),
    );
    let identity = site.issue();
    site.install("first", &identity).expect(0);
    let mailcert = with_stubborn_postfix(&site, REFUSE);
    let refused = mailcert.run(&["undo"]).expect(1);
    assert!(refused.stderr.contains("refused by the test"), "{refused}");
    assert!(refused.stderr.contains("`mailcert undo` again"), "{refused}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));

    heal(&site);
    mailcert.run(&["undo"]).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
    assert_eq!(mailcert.run(&["undo"]).expect(0).stdout, "nothing to change\n");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_kill_between_the_write_and_the_reload_is_mended_by_the_next_run() {
    let site = Site::start();
    let identity = site.issue();
    site.install("first", &identity).expect(0);
    // No certificate moves: what changes is another parameter.
    site.write_config(|text| text + "client_ca = \"own-chain\"\n");
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let is_written = || fs::read(site.postfix.main_cf()).unwrap() != before;
    let reloads = n_reloads(&site);
    let killed = with_stubborn_postfix(&site, KILL).run_program(&["apply", "--yes"]);
    assert_eq!(killed.code, -1, "{killed}");
    assert!(is_written());
    assert_eq!(n_reloads(&site), reloads, "it was killed before the reload");
    site.mailcert().run(&["renew"]).expect(0);
    assert_eq!(n_reloads(&site), reloads + 1);
    assert_eq!(site.status()["state"], "verified");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn an_endpoint_added_to_verify_is_red_until_it_is_proven() {
    let site = Site::start();
    let identity = site.issue();
    site.write_config(|text| text + &format!("verify = [\"smtp://{}:25\"]\n", site.address.ip()));
    site.install("first", &identity).expect(0);
    site.mailcert().run(&["status"]).expect(0);

    site.write_config(|text| text + &verify_line(&site.address));
    let added = site.mailcert().run(&["status"]).expect(3);
    assert!(
        (added.stdout.clone() + &added.stderr).contains("4465 was added to postfix.verify"),
        "{added}"
    );
    let asked = site.mailcert().run(&["renew"]).expect(1);
    assert!(asked.stderr.contains("4465: does not complete TLS"), "{asked}");
    let answer = Answer::tls(&identity);
    let _port = Port::serve(site.address.port(PORT), move || answer.clone());
    site.mailcert().run(&["deploy"]).expect(0);
    site.mailcert().run(&["status"]).expect(0);
    let reloads = n_reloads(&site);
    site.mailcert().run(&["renew"]).expect(0);
    assert_eq!(n_reloads(&site), reloads, "nothing is due");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_service_that_is_switched_on_in_master_cf_is_red_until_it_is_proven() {
    let site = Site::start();
    site.install("first", &site.issue()).expect(0);
    let reloads = n_reloads(&site);
    let quiet = || {
        site.mailcert().run(&["renew"]).expect(0);
        site.mailcert().run(&["status"]).expect(0);
        assert_eq!(n_reloads(&site), reloads, "nothing is due");
    };
    quiet();
    let proven = site.state("proven-services");
    let before = fs::read(&proven).unwrap();
    quiet();
    // What has nothing to do with TLS is looked at once, and asks nobody.
    let master_cf = site.postfix.config_directory().join("master.cf");
    let append = |lines: &str| {
        let text = fs::read_to_string(&master_cf).unwrap();
        fs::write(&master_cf, text + lines).unwrap();
    };
    append("# a comment\n");
    quiet();
    let after = fs::read(&proven).unwrap();
    assert_ne!(after, before);

    let ip = site.address.ip();
    append(&format!(
        "{ip}:465 inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes\n"
    ));
    let told = site.mailcert().run(&["status"]).expect(3);
    assert!(
        told.stdout
            .contains(&format!("submissions://{ip}:465 was added to master.cf")),
        "{told}"
    );
    assert_eq!(fs::read(&proven).unwrap(), after, "status changes nothing");
    let told = site.mailcert().run(&["renew"]).expect(0);
    assert!(
        told.stdout.contains(&format!("ok submissions://{ip}:465")),
        "{told}"
    );
    assert_eq!(n_reloads(&site), reloads + 1);
    let leaf = site.status()["leaf_sha256"].as_str().unwrap().to_owned();
    assert_eq!(site.postfix.leaf_sha256(465), Ok(leaf));
    let settled = n_reloads(&site);
    site.mailcert().run(&["renew"]).expect(0);
    assert_ne!(fs::read(&proven).unwrap(), after);
    // A service that does not work is red, and stays so.
    append(&format!(
        "{ip}:587 inet n - n - - smtpd\n  -o smtpd_tls_security_level=may\n  -o smtpd_tls_mandatory_protocols=nonsense\n  -o smtpd_tls_protocols=nonsense\n"
    ));
    let told = site.mailcert().run(&["renew"]).expect(1);
    assert!(told.stderr.contains(":587: does not complete TLS"), "{told}");
    site.mailcert().run(&["status"]).expect(3);
    assert_eq!(n_reloads(&site), settled + 1);
}

/// Adds a service on port 587 that names the live files of a lineage, as an operator does it.
fn add_service_of(site: &Site, lineage: &str) {
    let master_cf = site.postfix.config_directory().join("master.cf");
    let text = fs::read_to_string(&master_cf).unwrap();
    let service = format!(
        "{}:587 inet n - n - - smtpd\n  -o smtpd_tls_security_level=may\n  \
         -o smtpd_tls_cert_file={live}/fullchain.pem\n  -o smtpd_tls_key_file={live}/privkey.pem\n",
        site.address.ip(),
        live = site.state("live").join(lineage).display()
    );
    fs::write(&master_cf, text + &service).unwrap();
    site.postfix.stop();
    site.postfix.launch();
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_service_that_names_no_lineage_of_ours_keeps_nothing_from_being_proven() {
    let site = Site::start();
    site.install("first", &site.issue()).expect(0);
    add_service_of(&site, "nobody.example.test");
    let second = site.issue();
    let installed = site.install("second", &second).expect(0);
    assert!(
        installed.stdout.contains(":587 is not asked") && installed.stdout.contains("nobody.example.test"),
        "{installed}"
    );
    assert_eq!(site.postfix.leaf_sha256(25), Ok(second.sha256()));
    assert_eq!(site.status()["state"], "verified");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_port_of_a_lineage_that_did_not_move_is_red_when_it_gets_worse() {
    const OTHER: &str = "imap.example.test";
    let site = Site::start();
    let second = format!("[[certificate]]\nidentifiers = [\"{OTHER}\"]\nissuer = \"external\"\n[renew]\n");
    let config = |more: &str| {
        let text = site.config().replace("[renew]\n", &second) + more;
        site.scratch.file("mailcert.toml", text);
    };
    let other = site.authority.issue(OTHER, Duration::days(90));
    let install = |lineage: &str, name: &str, identity: &Identity| {
        let directory = identity.leave(&site.scratch, name).display().to_string();
        site.mailcert().run(&["install", lineage, "--from", &directory])
    };
    config("");
    install(HOST, "first", &site.issue()).expect(0);
    install(OTHER, "other", &other).expect(0);
    add_service_of(&site, OTHER);
    assert_eq!(site.postfix.leaf_sha256(587), Ok(other.sha256()));

    // The same port on another address breaks as soon as the first lineage moves on.
    let elsewhere = LoopbackAddress::take(&site.scratch);
    let live = site.state("live").join(HOST).join("cert.pem");
    let (answer, before) = (Answer::tls(&other), fs::read(&live).unwrap());
    let _port = Port::serve(elsewhere.port(587), move || {
        match fs::read(&live).unwrap() == before {
            true => answer.clone(),
            false => Answer::Close,
        }
    });
    config(&format!(
        "verify = [\"smtp://{}:25\", \"submissions://{}:587\"]\n",
        site.address.ip(),
        elsewhere.ip()
    ));
    site.mailcert().run(&["deploy"]).expect(0);
    let moved = site.issue();
    let installed = install(HOST, "second", &moved).expect(1);
    assert!(
        installed
            .stderr
            .contains("a port that worked before does not now"),
        "{installed}"
    );
    assert_eq!(site.postfix.leaf_sha256(25), Ok(moved.sha256()));
    let status = site
        .mailcert()
        .run(&["status", "--format", "json"])
        .expect(3)
        .json();
    let of = |name: &str| {
        let lineages = status["lineages"].as_array().unwrap();
        lineages
            .iter()
            .find(|lineage| lineage["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of(HOST)["state"], "verified", "{status:#}");
    assert_eq!(of(OTHER)["state"], "deployed", "{status:#}");
    assert!(of(OTHER)["last_error"].to_string().contains(":587"), "{status:#}");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn an_older_generation_is_deployed_by_hand_and_stays() {
    let site = Site::start();
    let (first, second) = (site.issue(), site.issue());
    site.install("first", &first).expect(0);
    let record = site.state("lineages").join(HOST).join("state.json");
    let of_first = fs::read(&record).unwrap();
    site.install("second", &second).expect(0);
    let deploy = |generation: &str| site.mailcert().run(&["deploy", HOST, "--generation", generation]);
    deploy("1").expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(first.sha256()));
    for _ in 0..2 {
        let idle = site.mailcert().run(&["renew"]).expect(0);
        assert!(idle.stdout.contains("nothing is due"), "{idle}");
    }
    assert_eq!(site.postfix.leaf_sha256(25), Ok(first.sha256()));
    assert_eq!(site.live_generation(), "1");

    let unknown = deploy("7").expect(2);
    assert!(
        unknown.stderr.contains("the generations on disk are: 1, 2"),
        "{unknown}"
    );
    // Neither file of the key is left, or both are those of another certificate.
    let of = |number: u64, file: &str| site.state("lineages").join(HOST).join(format!("{number}/{file}"));
    let key_files = ["privkey.pem", "combined.pem"];
    let kept = key_files.map(|file| fs::read(of(2, file)).unwrap());
    for broken in [None, Some(1)] {
        for file in key_files {
            let content = broken.map_or(Vec::new(), |number| fs::read(of(number, file)).unwrap());
            fs::write(of(2, file), content).unwrap();
        }
        let refused = deploy("2");
        assert!(refused.code == 1 || refused.code == 2, "{refused}");
        assert!(refused.stderr.contains("generation 2"), "{refused}");
        assert_eq!(site.postfix.leaf_sha256(25), Ok(first.sha256()));
    }
    for (file, content) in key_files.iter().zip(kept) {
        fs::write(of(2, file), content).unwrap();
    }
    let late = OffsetDateTime::now_utc() + Duration::days(91);
    let expired = at(site.mailcert(), late)
        .run(&["deploy", HOST, "--generation", "2"])
        .expect(1);
    assert!(expired.stderr.contains("expired on"), "{expired}");

    // A record from an old backup does not know it, but it is whole on disk.
    fs::write(&record, of_first).unwrap();
    deploy("2").expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(second.sha256()));
    assert_eq!(site.status()["state"], "verified");
    // Its number is not used again.
    site.install("third", &site.issue()).expect(0);
    assert_eq!(site.live_generation(), "3");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn what_there_is_is_put_into_service_while_the_ca_is_down() {
    let world = World::with(&WorldOptions::default());
    world.name_live_files();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    world.write_config(|text| {
        let lines = format!("[postfix]\n{}", verify_line(&world.address));
        front.configure(&text.replace("[postfix]\n", &lines), &world.pebble)
    });
    world.mailcert().run(&["issue"]).expect(1);
    assert_eq!(world.record(HOST)["state"], "deployed");

    let now = OffsetDateTime::now_utc() + Duration::days(70);
    front.fail("", Fault::CutBefore);
    // Both fail now: neither hides the other.
    let before = at(world.mailcert(), now - Duration::HOUR);
    before.run(&["renew"]).expect(1);
    let status = before.run(&["--format", "json", "status"]).expect(3).json();
    let lineage = &status["lineages"][0];
    let steps = [&lineage["failure"]["step"], &lineage["set_aside"]["step"]];
    assert!(
        steps.contains(&&"order".into()) && steps.contains(&&"verify".into()),
        "{lineage:#}"
    );
    assert!(lineage["set_aside"]["message"].is_string(), "{lineage:#}");
    let text = before.run(&["status"]).stdout;
    for words in [
        "  step      order, ",
        "  step      verify, ",
        "broke off",
        &format!(":{PORT}"),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let metrics = fs::read_to_string(world.state_directory().join("metrics.prom")).unwrap();
    for step in ["order", "verify"] {
        let series = format!("next_try_timestamp_seconds{{lineage=\"{HOST}\",step=\"{step}\"}} ");
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    let live = world.state_directory().join("live").join(HOST);
    let read = |name: &str| fs::read_to_string(live.join(name)).unwrap();
    let answer = Answer::tls_of(&read("fullchain.pem"), &read("privkey.pem"));
    let port = Port::serve(world.address.port(PORT), move || answer.clone());
    let failed = at(world.mailcert(), now).run(&["renew"]).expect(1);
    assert!(failed.stderr.contains("not renewed"), "{failed}");
    let record = world.record(HOST);
    assert_eq!(
        (&record["state"], &record["failure"]["step"]),
        (&"verified".into(), &"order".into()),
        "{record:#}"
    );
    // The order waits out its own back-off, whatever became of the ports.
    let n_asked = front.n_requests();
    at(world.mailcert(), now + Duration::seconds(30))
        .run(&["renew"])
        .expect(1);
    assert_eq!(front.n_requests(), n_asked);
    front.heal();
    drop(port);
}
