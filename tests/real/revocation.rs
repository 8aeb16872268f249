//! Certificates that are withdrawn, as the CA has them afterwards, and what follows on this host.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Outcome, World, WorldOptions, judge,
    world::{HOST, without_postfix},
};

/// What the CA says of the certificate of a PEM text.
fn status_at_the_ca(world: &World, pem: &str) -> Value {
    let serial = judge::serial(pem);
    let (status, text) = world.pebble.get(&format!("/cert-status-by-serial/{serial}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn cert_of(world: &World, generation: u64) -> String {
    let lineage = world.state_directory().join("lineages").join(HOST);
    fs::read_to_string(lineage.join(generation.to_string()).join("cert.pem")).unwrap()
}

fn key_of(world: &World, generation: u64) -> String {
    let lineage = world.state_directory().join("lineages").join(HOST);
    fs::read_to_string(lineage.join(generation.to_string()).join("privkey.pem")).unwrap()
}

/// A site with a certificate, without caps, with these lines in its `[[certificate]]`.
fn issued(lines: &'static str) -> World {
    let uncapped = "[renew]\nmax_per_day = 0\nmax_per_week = 0\n";
    World::issued(&WorldOptions::default(), |text| {
        without_postfix(text)
            .replace("[renew]\n", uncapped)
            .replace("[[certificate]]\n", &format!("[[certificate]]\n{lines}"))
    })
}

fn revoke(world: &World, args: &[&str]) -> Outcome {
    world.mailcert().run(&[&["revoke", HOST, "--yes"], args].concat())
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_revoked_certificate_is_red_and_replaced_by_the_next_run() {
    let world = issued("");
    let certificate = cert_of(&world, 1);
    let told = world.mailcert().run(&["revoke", HOST]).expect(2);
    for words in ["a yes is needed", "generation 1, in use", "unspecified"] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    world
        .mailcert()
        .run_at_terminal(&["revoke", HOST], "no\n")
        .expect(2);
    assert_eq!(status_at_the_ca(&world, &certificate)["Status"], "Valid");

    let told = world
        .mailcert()
        .run_at_terminal(&["revoke", HOST, "--reason", "superseded"], "yes\n");
    let told = told.expect(0);
    for words in [
        "revoked",
        "superseded",
        "the account",
        "goes on serving",
        "mailcert renew",
    ] {
        assert!(told.stdout.contains(words), "{words}: {told}");
    }
    let said = status_at_the_ca(&world, &certificate);
    assert_eq!((&said["Status"], &said["Reason"]), (&json!("Revoked"), &json!(4)));
    let status = world.mailcert().run(&["status"]).expect(3);
    assert!(
        status.stdout.contains("the certificate in use was revoked"),
        "{status}"
    );
    let told = revoke(&world, &[]).expect(0);
    assert!(told.stdout.contains("had been revoked before"), "{told}");
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    let metrics = || fs::read_to_string(world.state_directory().join("metrics.prom")).unwrap();
    let series = format!("mailcert_certificate_revoked_timestamp_seconds{{lineage=\"{HOST}\"}} ");
    assert!(metrics().contains(&series), "{}", metrics());

    world.mailcert().run(&["renew"]).expect(0);
    assert!(!metrics().contains("revoked"), "{}", metrics());
    assert_eq!(world.record(HOST)["generation"], 2);
    assert_eq!(status_at_the_ca(&world, &cert_of(&world, 2))["Status"], "Valid");
    world.mailcert().run(&["status"]).expect(0);
    let again = world.mailcert().run(&["renew"]).expect(0);
    assert!(again.stdout.contains("nothing is due"), "{again}");
    let told = world
        .mailcert()
        .run(&["deploy", HOST, "--generation", "1"])
        .expect(1);
    assert!(told.stderr.contains("was revoked"), "{told}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn every_kind_of_key_can_revoke_its_certificate_without_the_account() {
    for (key, reason, code) in [
        ("key = \"ecdsa-p256\"\n", "keyCompromise", 1),
        ("key = \"ecdsa-p384\"\n", "cessationOfOperation", 5),
        ("key = \"rsa-2048\"\n", "affiliationChanged", 3),
    ] {
        let world = issued(key);
        fs::remove_dir_all(world.state_directory().join("accounts")).unwrap();
        let told = revoke(&world, &["--by", "account"]).expect(1);
        assert!(
            told.stderr.contains("there is no account") && told.stderr.contains("--by certificate-key"),
            "{told}"
        );
        let told = revoke(&world, &["--reason", reason, "--format", "json"])
            .expect(0)
            .json();
        assert_eq!(
            (&told["by"], &told["revoked"]),
            (&json!("certificate-key"), &json!(true))
        );
        let said = status_at_the_ca(&world, &cert_of(&world, 1));
        assert_eq!(
            (&said["Status"], &said["Reason"]),
            (&json!("Revoked"), &json!(code))
        );
        assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn an_account_that_the_ca_has_forgotten_does_not_stop_a_revocation() {
    let world = issued("");
    let account = fs::read_dir(world.state_directory().join("accounts")).unwrap();
    let file = account
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.to_string_lossy().ends_with(".limits.json"))
        .unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    let url = record["url"]
        .as_str()
        .unwrap()
        .rsplit_once('/')
        .unwrap()
        .0
        .to_owned();
    record["url"] = json!(format!("{url}/deadbeef"));
    fs::write(&file, record.to_string()).unwrap();
    let told = revoke(&world, &["--by", "account"]).expect(1);
    assert!(told.stderr.contains("does not know our account"), "{told}");
    let told = revoke(&world, &[]).expect(0);
    assert!(told.stdout.contains("own key signed instead"), "{told}");
    assert_eq!(status_at_the_ca(&world, &cert_of(&world, 1))["Status"], "Revoked");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_compromised_key_is_never_used_again_whatever_the_configuration_says() {
    let world = issued("reuse_key = \"always\"\n");
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(key_of(&world, 1), key_of(&world, 2));
    // The older certificate is named by its file; the one in use has the same key.
    let old = world.scratch.file("old.pem", cert_of(&world, 1));
    let args = [
        "--certificate",
        old.to_str().unwrap(),
        "--reason",
        "keyCompromise",
    ];
    let told = revoke(&world, &args).expect(0);
    assert!(
        told.stdout.contains("generation 1") && told.stdout.contains("never used again"),
        "{told}"
    );
    world.mailcert().run(&["status"]).expect(3);
    world.mailcert().run(&["renew"]).expect(0);
    assert_eq!(world.record(HOST)["generation"], 3);
    assert_ne!(key_of(&world, 3), key_of(&world, 2));
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(key_of(&world, 4), key_of(&world, 3), "the new one is reused");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn what_cannot_be_revoked_is_told() {
    let world = issued("");
    let foreign = crate::support::Authority::new().issue(HOST, time::Duration::days(9));
    let certificate = world.scratch.file("foreign.pem", &foreign.leaf);
    let key = world.scratch.secret_file("foreign.key", &foreign.private_key);
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let expired = crate::support::Authority::new().issue(HOST, time::Duration::days(-1));
    let expired = world.scratch.file("expired.pem", &expired.leaf);
    let nonsense = world.scratch.file("nonsense.pem", "nothing");
    for (args, code, words) in [
        (&["--generation", "9"][..], 2, "no generation 9"),
        (
            &["--generation", "1", "--certificate", "x"],
            2,
            "cannot be used with",
        ),
        (&["--reason", "boredom"], 2, "boredom"),
        (&["--by", "nobody"], 2, "nobody"),
        (&["--certificate", "/nonexistent"], 2, "/nonexistent"),
        (&["--certificate", nonsense.to_str().unwrap()], 2, "nonsense.pem"),
        (&["--certificate", expired.to_str().unwrap()], 1, "it expired on"),
        (&["--key", key], 2, "the key of another certificate"),
        (
            &["--certificate", certificate, "--by", "certificate-key"],
            1,
            "--key FILE",
        ),
        (
            &["--certificate", certificate],
            1,
            "whether it is this CA that issued",
        ),
        (
            &[
                "--certificate",
                certificate,
                "--key",
                key,
                "--by",
                "certificate-key",
            ],
            1,
            "specified certificate",
        ),
    ] {
        let told = revoke(&world, args).expect(code);
        assert!(told.stderr.contains(words), "{args:?}: {words}: {told}");
    }
    let told = world
        .mailcert()
        .run(&["revoke", "nobody.test", "--yes"])
        .expect(2);
    assert!(told.stderr.contains("nobody.test"), "{told}");
    assert_eq!(status_at_the_ca(&world, &cert_of(&world, 1))["Status"], "Valid");
    world.mailcert().run(&["status"]).expect(0);
}
