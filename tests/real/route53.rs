//! Records at Amazon's Route 53, as moto has it: what was silently not done, or took a neighbor with it, is told; the
//! credentials are told to nobody.
#![cfg(feature = "cloud-dns")]

use std::{fs, path::PathBuf};

use super::dns::says;
use crate::support::{
    Bind, Broken, LoopbackAddress, Mailcert, Moto, Scratch, Zone,
    foreign::snapshot,
    world::{DOMAIN, HOST},
};

const KEY_ID: &str = "AKIAEXAMPLEOFTHELAB";
const SECRET: &str = "a-secret-key-that-is-told-to-nobody";

/// moto with the zone, and a BIND that shows the zone as it is before.
struct Site {
    moto: Moto,
    bind: Bind,
    _addresses: [LoopbackAddress; 2],
    scratch: Scratch,
}

impl Site {
    fn start() -> Self {
        let scratch = Scratch::new();
        let addresses = [LoopbackAddress::take(&scratch), LoopbackAddress::take(&scratch)];
        let [address, api] = &addresses;
        let records = format!(
            "@ MX 10 mail\nmail A {}\n@ 777 TXT \"kept\"\nmail CAA 0 issue \"other-ca.test\"\n",
            address.ip()
        );
        let zones = Zone::with_parents(DOMAIN, address, &records);
        let known = serde_json::json!([
            ["example.test", "TXT", 777, ["\"kept\""]],
            ["mail.example.test", "CAA", 60, ["0 issue \"other-ca.test\""]],
        ]);
        Self {
            moto: Moto::start(&scratch, api, DOMAIN, &known),
            bind: Bind::start(&scratch, "named", address, &zones),
            _addresses: addresses,
            scratch,
        }
    }

    fn credentials(&self) -> String {
        format!(
            "access_key_id = {KEY_ID}\nsecret_access_key = {SECRET}\nendpoint = {}\n",
            self.moto.endpoint()
        )
    }

    /// Returns mailcert that gets its credentials so.
    fn mailcert(&self, secret: &str) -> Mailcert {
        let config = format!(
            "version = 1\nstate_directory = {:?}\n[host]\nname = \"{HOST}\"\ndomains = [\"{DOMAIN}\"]\n\
             [renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\nmanage = false\n\
             [dns]\nresolvers = [\"{}\"]\ntimeout = \"1s\"\npublish = [\"spf\"]\n\
             provider = {{ type = \"cloud\", service = \"route53\", {secret} }}\n",
            self.state(),
            self.bind.address(),
        );
        let file = self.scratch.file("mailcert.toml", config);
        Mailcert::new(Some(&file), &self.scratch.dir("root"))
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }
}

#[test]
#[ignore = "real: needs named, moto"]
fn long_route_53_is_written_between_two_listings() {
    let site = Site::start();
    let file = site.scratch.secret_file("aws", site.credentials());
    let mailcert = site.mailcert(&format!("secret_file = {file:?}"));
    let before = site.moto.records();
    assert_eq!(before.len(), 2, "{before:?}");

    // It is written; the name servers, which are others here, do not show it.
    let late = mailcert.run(&["apply", "dns", "--yes"]).expect(4);
    says(&late, &["ns1.example.test", "answers without"]);
    let published = [
        "example.test. 777 TXT \"kept\"",
        "example.test. 777 TXT \"v=spf1 mx -all\"",
        "mail.example.test. 3600 TXT \"v=spf1 a -all\"",
        "mail.example.test. 60 CAA 0 issue \"other-ca.test\"",
    ];
    let found = site.moto.records();
    assert!(
        published
            .iter()
            .take(2)
            .all(|line| found.contains(&(*line).to_owned())),
        "{found:#?}"
    );
    mailcert.run(&["apply", "dns", "--yes"]);
    assert_eq!(site.moto.records(), published);
    let again = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    says(&again, &["nothing to change"]);
    for _ in 0..2 {
        mailcert.run(&["undo"]).expect(0);
    }
    assert_eq!(site.moto.records(), before);

    // A change that is told as done, and was not.
    site.moto.breaks(Broken::Swallows);
    let told = mailcert.run(&["apply", "dns", "--yes"]).expect(1);
    says(
        &told,
        &[
            "the API of route53",
            "it answered that it has, but \"v=spf1 mx -all\" is not there",
        ],
    );
    assert_eq!(site.moto.records(), before);
    // One that took a neighbor with it: the neighbor is put back, and what was wanted is there.
    site.moto.breaks(Broken::Loses("kept"));
    let told = mailcert.run(&["apply", "dns", "--yes"]).expect(4);
    assert_eq!(site.moto.broken(), Broken::Nothing, "it was lost once");
    says(
        &told,
        &["the API of route53 dropped \"kept\" when it was to add something else; put back"],
    );
    assert_eq!(site.moto.records(), published);
    // A removal that is told as done, and was not.
    mailcert.run(&["apply", "dns", "--yes"]);
    let found = site.moto.records();
    site.moto.breaks(Broken::Swallows);
    let told = mailcert.run(&["undo"]).expect(1);
    says(&told, &["is still there"]);
    assert_eq!(site.moto.records(), found);

    // Every refusal is told as what it is.
    for (status, remedy) in [
        ("401 Unauthorized", "may have ended"),
        ("403 Forbidden", "the right to list"),
        ("404 Not Found", "one of the account"),
        ("429 Too Many Requests", "run it again later"),
        ("500 Internal Server Error", "well again"),
    ] {
        site.moto.breaks(Broken::Answers(status));
        for command in [&["plan", "dns"][..], &["apply", "dns", "--yes"]] {
            let told = mailcert.run(command).expect(1);
            says(&told, &[&status[..3], remedy]);
            assert_eq!(told.stderr.matches(remedy).count(), 1, "{told}");
        }
    }
}

#[test]
#[ignore = "real: needs named, moto"]
fn long_credentials_come_from_three_places_and_go_nowhere() {
    let site = Site::start();
    let mut said = String::new();
    let mut plans = |mailcert: &Mailcert, code: i32| {
        let outcome = mailcert.run_program(&["--verbose", "plan", "dns", "--expect-no-changes"]);
        said += &outcome.to_string();
        outcome.expect(code)
    };
    let file = site.scratch.secret_file("credentials/aws", site.credentials());
    plans(&site.mailcert(&format!("secret_file = {file:?}")), 3);
    let mut by_credential = site.mailcert("secret_credential = \"aws\"");
    let directory = file.parent().unwrap().as_os_str().to_owned();
    by_credential
        .vars
        .insert("CREDENTIALS_DIRECTORY".into(), directory);
    plans(&by_credential, 3);
    let mut by_variable = site.mailcert("secret_env = \"AWS\"");
    by_variable.vars.insert("AWS".into(), site.credentials().into());
    plans(&by_variable, 3);
    by_variable.vars.insert("AWS".into(), "access_key_id = x".into());
    let missing = plans(&by_variable, 2);
    says(
        &missing,
        &["$AWS has no `secret_access_key`, which route53 needs"],
    );
    by_variable
        .vars
        .insert("AWS".into(), (site.credentials() + "key = y").into());
    says(&plans(&by_variable, 2), &["has names that route53 does not know"]);

    // What it answers may repeat what it was sent.
    let mailcert = site.mailcert(&format!("secret_file = {file:?}"));
    mailcert.run(&["apply", "dns", "--yes"]);
    site.moto
        .breaks(Broken::Answers("403 a-secret-key-that-is-told-to-nobody"));
    let outcome = mailcert.run(&["--verbose", "undo"]).expect(1);
    said += &outcome.to_string();
    assert!(!said.contains(SECRET) && !said.contains(KEY_ID), "{said}");
    let heads = site.moto.heads();
    assert!(heads.contains(KEY_ID) && !heads.contains(SECRET), "{heads}");
    for line in snapshot(&site.state()) {
        assert!(!line.contains(SECRET), "{line}");
    }
    let kept = fs::read_dir(site.state()).unwrap().count();
    assert!(kept > 0, "the state directory was looked at");
}
