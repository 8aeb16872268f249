//! "DANE first": a TLSA record that speaks about the key in use decides what a renewal may do.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::support::{
    LoopbackAddress, Mailcert, Outcome, PostfixOptions, World, WorldOptions,
    server::run,
    signed::{UPDATE_KEY, Updated},
    world::HOST,
};

/// Where the records of port 25 are.
const OWNER: &str = "_25._tcp.mail.example.test";
/// The digest of a key that nobody has.
const FOREIGN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Returns the digest that a TLSA record `3 1 1` of the leaf in a PEM file has, as openssl computes it.
fn spki_sha256(world: &World, file: &str) -> String {
    let live: PathBuf = world.state_directory().join("live").join(HOST).join(file);
    let key = run(Command::new("openssl")
        .args(["x509", "-noout", "-pubkey", "-in"])
        .arg(live));
    let key = world.scratch.file("public-key.pem", key);
    let der = world.scratch.path().join("public-key.der");
    run(Command::new("openssl")
        .args(["pkey", "-pubin", "-outform", "der", "-in"])
        .arg(key)
        .arg("-out")
        .arg(&der));
    let digest = run(Command::new("sha256sum").arg(der));
    digest.split_whitespace().next().unwrap().to_owned()
}

/// Publishes these records in the place of those that are there.
fn publish(world: &World, records: &[&str]) {
    let adds = records
        .iter()
        .map(|digest| format!("update add {OWNER} 60 TLSA 3 1 1 {digest}\n"));
    world.bind.nsupdate(&format!(
        "update delete {OWNER} TLSA\n{}",
        adds.collect::<String>()
    ));
}

/// Starts a site whose certificate is issued and served.
fn issued() -> (World, Mailcert) {
    let world = World::start();
    world.write_config(|config| config);
    let mailcert = world.mailcert();
    mailcert.run(&["issue"]).expect(0);
    (world, mailcert)
}

fn leaf(world: &World) -> String {
    world.postfix.leaf_sha256(25).unwrap()
}

/// Returns the record that the remedy says to publish.
fn told_to_publish(outcome: &Outcome) -> String {
    let line = outcome
        .stderr
        .lines()
        .find(|line| line.contains("publish first"))
        .unwrap_or_else(|| panic!("{outcome}"));
    assert!(line.contains(&format!("{OWNER}. IN TLSA 3 1 1 ")), "{outcome}");
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_published_key_is_kept_and_an_unpublished_one_is_not() {
    let (world, mailcert) = issued();
    let (key, before) = (spki_sha256(&world, "cert.pem"), leaf(&world));
    publish(&world, &[&key]);
    let kept = mailcert.run(&["renew", "--force"]).expect(0);
    assert!(
        kept.stdout.contains("the key is kept") && kept.stdout.contains(&key),
        "{kept}"
    );
    assert_ne!(leaf(&world), before);
    assert_eq!(spki_sha256(&world, "cert.pem"), key);

    publish(&world, &[]);
    let renewed = mailcert.run(&["renew", "--force"]).expect(0);
    assert!(!renewed.stdout.contains("kept"), "{renewed}");
    assert_ne!(spki_sha256(&world, "cert.pem"), key);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_record_of_another_key_refuses_the_renewal() {
    let (world, mailcert) = issued();
    let (key, before) = (spki_sha256(&world, "cert.pem"), leaf(&world));
    publish(&world, &[FOREIGN]);
    let n_orders = world.pebble.count_in_log("/order-plz");
    let refused = mailcert.run(&["renew", "--force"]).expect(1);
    assert!(
        refused
            .stderr
            .contains(&format!("{OWNER}. IN TLSA 3 1 1 {FOREIGN}")),
        "{refused}"
    );
    assert_eq!(told_to_publish(&refused), key);
    assert_eq!(
        (leaf(&world), spki_sha256(&world, "cert.pem")),
        (before.clone(), key.clone())
    );
    assert_eq!(world.pebble.count_in_log("/order-plz"), n_orders);
    mailcert.run(&["status"]).expect(3);

    publish(&world, &[FOREIGN, &key]);
    mailcert.run(&["renew", "--force"]).expect(0);
    assert_ne!(leaf(&world), before);
    assert_eq!(spki_sha256(&world, "cert.pem"), key);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_key_that_a_first_issuance_says_to_publish_is_the_one_it_uses_then() {
    let world = World::start();
    world.write_config(|config| config);
    let (mailcert, snake_oil) = (world.mailcert(), leaf(&world));
    publish(&world, &[FOREIGN]);
    let refused = mailcert.run(&["issue"]).expect(1);
    let key = told_to_publish(&refused);
    assert_eq!(leaf(&world), snake_oil);
    assert_eq!(told_to_publish(&mailcert.run(&["issue"]).expect(1)), key);

    publish(&world, &[FOREIGN, &key]);
    // An order that fails at the CA does not use the published key up.
    let (right, wrong) = (
        world.address.port(80).to_string(),
        world.address.port(81).to_string(),
    );
    world.write_config(|config| config.replace(&right, &wrong));
    mailcert.run(&["issue"]).expect(1);
    assert_eq!(world.pebble.count_in_log("POST /order-plz"), 1);
    world.write_config(|config| config);
    mailcert.run(&["issue"]).expect(0);
    assert_eq!(spki_sha256(&world, "cert.pem"), key);
    assert_ne!(leaf(&world), snake_oil);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn nobody_knowing_the_records_refuses_a_new_key() {
    let (world, mailcert) = issued();
    let before = leaf(&world);
    // A port of ours that is taken by nobody: no resolver answers.
    let dead = world.bind.address().to_string().replace(":53", ":1");
    let config = fs::read_to_string(world.config_file()).unwrap();
    let resolvers = format!("resolvers = [\"{}\"]", world.bind.address());
    world.scratch.file(
        "mailcert.toml",
        config.replace(&resolvers, &format!("resolvers = [\"{dead}\"]")),
    );
    let refused = mailcert.run(&["renew", "--force"]).expect(1);
    assert!(refused.stderr.contains("TLSA"), "{refused}");
    assert_eq!(leaf(&world), before);
}

/// Returns the digests that the records of a port name, as the signing server has them.
fn published(signed: &Updated, port: u16) -> Vec<String> {
    let answer = run(Command::new("dig")
        .arg(format!("@{}", signed.address.ip()))
        .args(["+short", "+norecurse"])
        .args([&format!("_{port}._tcp.{HOST}"), "TLSA"]));
    let mut digests: Vec<String> = answer
        .lines()
        .map(|line| {
            line.strip_prefix("3 1 1 ")
                .unwrap()
                .replace(' ', "")
                .to_lowercase()
        })
        .collect();
    digests.sort();
    digests
}

fn sorted(digests: &[&String]) -> Vec<String> {
    let mut digests: Vec<String> = digests.iter().map(|&digest| digest.clone()).collect();
    digests.sort();
    digests
}

/// Makes everything that is known of the records older: what a clock of our own would do, but the name server knows the time.
fn days_pass(world: &World, days: i64) {
    let path = world
        .state_directory()
        .join("lineages")
        .join(HOST)
        .join("next/rollover.json");
    let mut rollover: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for published in rollover["published"].as_object_mut().unwrap().values_mut() {
        for key in ["since", "ready_at"] {
            let at = OffsetDateTime::parse(published[key].as_str().unwrap(), &Rfc3339).unwrap();
            published[key] = (at - Duration::days(days)).format(&Rfc3339).unwrap().into();
        }
    }
    fs::write(path, rollover.to_string()).unwrap();
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn the_key_to_follow_is_published_first_and_the_one_before_goes_last() {
    let world = World::with(&WorldOptions {
        postfix: PostfixOptions {
            submission: true,
            ..PostfixOptions::default()
        },
        ..WorldOptions::default()
    });
    let take = || LoopbackAddress::take(&world.scratch);
    let (signing, validating) = (take(), take());
    let records = format!("@ MX 10 mail\nmail A {}\n", world.address.ip());
    let signed = Updated::start(&world.scratch, &signing, &validating, &records);
    let dns = format!(
        "[dns]\nresolvers = [\"{}\"]\n\
         provider = {{ type = \"rfc2136\", server = \"{}\", key_name = \"{UPDATE_KEY}\", secret_file = {:?} }}\n\
         timeout = \"30s\"\npublish = [\"tlsa\"]\n",
        validating.ip(),
        signed.address,
        signed.secret_file,
    );
    world.write_config(|config| {
        let config = config[..config.find("[dns]").unwrap()].to_owned() + &dns;
        config.replace("[renew]\n", "reuse_key = \"never\"\n\n[renew]\n")
    });
    let mailcert = world.mailcert();
    mailcert.run(&["issue"]).expect(0);
    let first = spki_sha256(&world, "cert.pem");
    // What no apply has begun, no renewal does.
    mailcert.run(&["renew"]).expect(0);
    assert!(published(&signed, 25).is_empty());

    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    assert_eq!(published(&signed, 25), sorted(&[&first]));
    assert_eq!(published(&signed, 587), sorted(&[&first]));
    // A step that fails is as red as a deployment that does, until one succeeds.
    let secret = fs::read_to_string(&signed.secret_file).unwrap();
    fs::write(&signed.secret_file, "bm90IHRoZSBzZWNyZXQ=\n").unwrap();
    let failed = mailcert.run(&["renew"]).expect(1);
    assert!(failed.stderr.contains("BADSIG"), "{failed}");
    let red = mailcert.run(&["status", "--format", "json"]).expect(3).json();
    let why = red["lineages"][0]["last_error"].as_str().unwrap();
    assert!(
        why.starts_with("TLSA records: ") && why.contains("BADSIG"),
        "{red}"
    );
    assert_eq!(published(&signed, 25), sorted(&[&first]));
    fs::write(&signed.secret_file, secret).unwrap();
    let made = mailcert.run(&["renew"]).expect(0);
    assert!(made.stdout.contains("the key to follow"), "{made}");
    mailcert.run(&["status"]).expect(0);
    let next = published(&signed, 25)
        .into_iter()
        .find(|key| *key != first)
        .unwrap();
    assert_eq!(published(&signed, 25), sorted(&[&first, &next]));
    assert_eq!(published(&signed, 587), sorted(&[&first, &next]));
    mailcert.run(&["plan", "dns", "--expect-no-changes"]).expect(0);

    // Its record is too young for all caches.
    let kept = mailcert.run(&["renew", "--force"]).expect(0);
    assert!(kept.stdout.contains("the key is kept"), "{kept}");
    assert_eq!(spki_sha256(&world, "cert.pem"), first);

    // BIND signs for two weeks, and so long somebody could say that there is no such record.
    days_pass(&world, 10);
    mailcert.run(&["renew", "--force"]).expect(0);
    assert_eq!(spki_sha256(&world, "cert.pem"), first);
    days_pass(&world, 10);
    let renewed = mailcert.run(&["renew", "--force"]).expect(0);
    assert_eq!(spki_sha256(&world, "cert.pem"), next, "{renewed}");
    assert_eq!(world.postfix.leaf_sha256(587), world.postfix.leaf_sha256(25));
    // The third is there before the first is gone: one thing at a time.
    let three = published(&signed, 25);
    assert_eq!(three.len(), 3, "{renewed}");
    let taken = mailcert.run(&["renew"]).expect(0);
    assert!(taken.stdout.contains("taken away"), "{taken}");
    let left = published(&signed, 25);
    assert!(
        left.len() == 2 && left.contains(&next) && !left.contains(&first),
        "{taken}"
    );
    assert_eq!(published(&signed, 587), left);
    mailcert.run(&["plan", "dns", "--expect-no-changes"]).expect(0);
    // A third key may not serve yet, and after a while nobody is asked anything.
    mailcert.run(&["renew", "--force"]).expect(0);
    assert_eq!(spki_sha256(&world, "cert.pem"), next);

    mailcert.run(&["undo"]).expect(0);
    assert!(published(&signed, 25).is_empty() && published(&signed, 587).is_empty());
    mailcert.run(&["renew"]).expect(0);
    assert!(published(&signed, 25).is_empty());
}
