//! A first CA that is down, and a second one that is asked instead.

use std::fs;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::support::{
    Fault, FaultyCa, Pebble, PebbleOptions, World,
    world::{HOST, without_postfix},
};

/// What the second CA has given its customer.
const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A site with two CAs; the first is behind a front.
struct TwoCas {
    world: World,
    front: FaultyCa,
    second: Pebble,
}

impl TwoCas {
    fn start(second: &PebbleOptions) -> Self {
        Self::of(second, without_postfix)
    }

    fn of(second: &PebbleOptions, edit: fn(String) -> String) -> Self {
        let world = World::start();
        let front = FaultyCa::start(&world.scratch, &world.pebble);
        let second = Pebble::start_as("second", &world.scratch, world.bind.address(), second);
        let roots =
            [front.root_ca_file(), second.root_ca_file()].map(|file| fs::read_to_string(file).unwrap());
        let both = world.scratch.file("both.pem", roots.concat());
        let two = Self { world, front, second };
        two.world.write_config(|text| {
            let text = two.front.configure(&text, &two.world.pebble);
            edit(text)
                .replace(&format!("{:?}", two.front.root_ca_file()), &format!("{both:?}"))
                .replace(
                    "[acme]\n",
                    &format!("[acme]\nfallback = [\"{}\"]\n", two.second.directory()),
                )
                .replace("[renew]\n", "[renew]\nmax_per_day = 0\nmax_per_week = 0\n")
        });
        two
    }

    /// Orders and certificates of the first CA and of the second.
    fn n(&self) -> [(usize, usize); 2] {
        [
            self.world.pebble.n_orders_and_certificates(),
            self.second.n_orders_and_certificates(),
        ]
    }

    fn issued_by(&self) -> Value {
        let status = self
            .world
            .mailcert()
            .run(&["--format", "json", "status"])
            .expect(0);
        status.json()["lineages"][0]["directory"].clone()
    }
}

fn server_error() -> Fault {
    Fault::status("500 Internal Server Error", "", "oops")
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_second_ca_issues_while_the_first_is_down_and_the_first_is_asked_again_next_time() {
    let two = TwoCas::start(&PebbleOptions::quiet());
    let garbage = Fault::status("200 OK", "Replay-Nonce: n\r\n", "<html>Welcome to nginx!</html>");
    let missing = Fault::status("404 Not Found", "", "no");
    let busy = Fault::status("503 Service Unavailable", "Retry-After: 3600\r\n", "");
    let mut n_second = 0;
    for (step, fault) in [
        ("GET /dir", Fault::CutBefore),
        ("GET /dir", server_error()),
        ("GET /dir", garbage.clone()),
        ("GET /dir", missing),
        ("GET /dir", busy.clone()),
        ("POST /sign-me-up", server_error()),
        ("POST /order-plz", server_error()),
        ("POST /order-plz", garbage),
        ("POST /order-plz", busy),
        ("POST /order-plz", Fault::CutBefore),
    ] {
        two.front.fail(step, fault.clone());
        let told = two.world.mailcert().run(&["renew", "--force"]).expect(0);
        n_second += 1;
        assert_eq!(
            two.n(),
            [(0, 0), (n_second, n_second)],
            "{step} {fault:?}: {told}"
        );
        let said = told.stdout.clone() + &told.stderr;
        assert!(
            said.contains("issued by") && said.contains(&two.second.directory()),
            "{told}"
        );
        assert!(said.contains(&two.front.directory()), "{told}");
        assert_eq!(two.issued_by(), two.second.directory().as_str());
    }
    // What it replaces is said to the CA that issued it, and to no other.
    // Pebble does not know one certificate in 256 again, by its serial number: that one is ordered without.
    let n_replacements = two.second.count_in_log("is a replacement of");
    assert!(
        (n_second - 2..n_second).contains(&n_replacements),
        "{n_replacements} of {n_second}"
    );
    two.front.heal();
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.n(), [(1, 1), (n_second, n_second)]);
    assert_eq!(two.issued_by(), two.front.directory().as_str());
    assert_eq!(two.world.pebble.count_in_log("is a replacement of"), 0);
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.world.pebble.count_in_log("is a replacement of"), 1);
    // An account at each.
    let accounts = fs::read_dir(two.world.state_directory().join("accounts")).unwrap();
    let files: Vec<_> = accounts
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".limits.json"))
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_order_at_a_ca_that_went_down_is_kept_until_another_has_issued() {
    let two = TwoCas::start(&PebbleOptions::quiet());
    let first = two.front.directory();
    // Both are down: the order at the first is kept, and goes on when it is back.
    two.front.fail("POST /finalize-order/", server_error());
    let second = two.world.scratch.path().join("second.toml");
    let text = fs::read_to_string(two.world.config_file()).unwrap();
    fs::write(&second, &text).unwrap();
    let nowhere = text.replace(&two.second.directory(), "https://127.0.0.1:1/dir");
    fs::write(two.world.config_file(), &nowhere).unwrap();
    let told = two.world.mailcert().run(&["renew", "--force"]).expect(1);
    assert!(
        told.stderr.contains(&first) && told.stderr.contains("https://127.0.0.1:1/dir"),
        "{told}"
    );
    let record = two.world.record(HOST);
    assert_eq!(record["order"]["directory"], first.as_str(), "{record}");
    let url = record["order"]["url"].clone();
    assert!(url.is_string());
    two.front.heal();
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.n(), [(1, 1), (0, 0)]);

    // Only the first is down: the second issues, for the same key, and the order at the first is forgotten.
    two.front.fail("POST /finalize-order/", server_error());
    fs::write(two.world.config_file(), &text).unwrap();
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.n(), [(2, 1), (1, 1)]);
    let record = two.world.record(HOST);
    assert!(
        record["order"].is_null() && record["kept_orders"].is_null(),
        "{record}"
    );
    two.front.heal();
    let outcome = two.world.mailcert().run(&["renew"]).expect(0);
    assert!(outcome.stdout.contains("nothing is due"), "{outcome}");
    let directory = two.world.state_directory().join("lineages").join(HOST);
    let unfinished = fs::read_dir(directory)
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".unfinished")
        })
        .count();
    assert_eq!(unfinished, 0);

    // The second goes down in the middle, too: nothing more is spent than the orders that are there.
    two.front.fail("POST /finalize-order/", server_error());
    let mut down = two.world.mailcert();
    down.config = Some(two.world.scratch.path().join("mailcert.toml"));
    two.world.bind.nsupdate(&format!("update delete {HOST} A"));
    let told = down.run(&["renew", "--force"]);
    assert_ne!(told.code, 0, "{told}");
    two.world
        .bind
        .nsupdate(&format!("update add {HOST} 60 A {}", two.world.address.ip()));
    two.front.heal();
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    let [(_, first), (_, second)] = two.n();
    assert_eq!(first + second, 3);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_refusal_or_a_limit_is_no_reason_to_ask_another_ca() {
    let two = TwoCas::start(&PebbleOptions::quiet());
    let problem = |status: &str, kind: &str| {
        let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "no"}).to_string();
        let headers = "Retry-After: 600\r\nReplay-Nonce: n\r\nContent-Type: application/problem+json\r\n";
        Fault::status(status, headers, &body)
    };
    for (step, status, kind, code) in [
        ("POST /order-plz", "429 Too Many Requests", "rateLimited", 4),
        ("GET /dir", "429 Too Many Requests", "rateLimited", 4),
        ("POST /order-plz", "403 Forbidden", "rejectedIdentifier", 1),
        ("POST /order-plz", "400 Bad Request", "malformed", 1),
        ("POST /order-plz", "403 Forbidden", "caa", 1),
    ] {
        two.front.fail(step, problem(status, kind));
        let told = two.world.mailcert().run(&["renew", "--force"]).expect(code);
        assert!(!told.stderr.contains(&two.second.directory()), "{told}");
    }
    assert_eq!(two.n(), [(0, 0), (0, 0)]);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_second_ca_that_wants_a_customers_account_is_told_and_spends_nothing() {
    let mut bound = PebbleOptions::quiet();
    bound.config = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": EAB_KEY },
    });
    let two = TwoCas::start(&bound);
    two.front.fail("GET /dir", Fault::CutBefore);
    let told = two.world.mailcert().run(&["renew", "--force"]).expect(1);
    for words in [
        "broke off",
        "wants an account that is bound",
        "mailcert account register --directory",
        &two.second.directory(),
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert_eq!(two.second.count_in_log("POST /sign-me-up"), 0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_second_ca_with_a_registered_account_issues_without_the_customers_key() {
    let mut bound = PebbleOptions::quiet();
    bound.config = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": EAB_KEY },
    });
    let two = TwoCas::start(&bound);
    let key = two.world.scratch.secret_file("eab-key", EAB_KEY);
    let second = two.second.directory();
    let key_file = key.display().to_string();
    let register = [
        "account",
        "register",
        "--directory",
        &second,
        "--eab-key-id",
        "kid-1",
    ];
    let args = [&register[..], &["--eab-hmac-key-file", &key_file]].concat();
    two.world.mailcert().run(&args).expect(0);
    // The key is spent: it is for one account.
    fs::remove_file(&key).unwrap();
    two.front.fail("GET /dir", Fault::CutBefore);
    for n in 1..=2 {
        two.world.mailcert().run(&["renew", "--force"]).expect(0);
        assert_eq!(two.n(), [(0, 0), (n, n)]);
    }
    assert_eq!(two.issued_by(), second.as_str());
    assert_eq!(two.second.count_in_log("POST /sign-me-up"), 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_second_ca_that_caa_does_not_let_issue_is_not_asked() {
    let two = TwoCas::start(&PebbleOptions::quiet());
    two.world.mailcert().run(&["issue"]).expect(0);
    // Both are the same CA by name; the account tells them apart (RFC 8657, 3).
    let accounts = fs::read_dir(two.world.state_directory().join("accounts")).unwrap();
    let account = accounts
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.to_string_lossy().ends_with(".limits.json"))
        .unwrap();
    let account: Value = serde_json::from_str(&fs::read_to_string(account).unwrap()).unwrap();
    let url = account["url"].as_str().unwrap();
    let caa = format!("0 issue \"pebble.letsencrypt.org; accounturi={url}\"");
    two.world
        .bind
        .nsupdate(&format!("update add {HOST} 60 CAA {caa}"));
    two.front.fail("GET /dir", Fault::CutBefore);
    let told = two.world.mailcert().run(&["renew", "--force"]).expect(1);
    for words in [
        "broke off",
        &format!("CAA at {HOST} does not let"),
        "no order was made",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert_eq!(two.n(), [(1, 1), (0, 0)]);
    assert_eq!(two.second.count_in_log("POST /order-plz"), 0);
    // The first is asked when it is back, and what is served meanwhile stays.
    two.front.heal();
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.n(), [(2, 2), (0, 0)]);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_second_ca_is_not_asked_while_tlsa_records_name_the_first() {
    let two = TwoCas::of(&PebbleOptions::quiet(), |text| text);
    two.world.name_live_files();
    two.world.mailcert().run(&["issue"]).expect(0);
    let leaf = two.world.live_sha256(HOST);
    let owner = format!("_25._tcp.{HOST}");
    let anchor = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    two.world
        .bind
        .nsupdate(&format!("update add {owner} 60 TLSA 2 1 1 {anchor}"));
    two.front.fail("GET /dir", Fault::CutBefore);
    let told = two.world.mailcert().run(&["renew", "--force"]).expect(1);
    let pin = format!("{owner}. IN TLSA 2 1 1 {anchor}");
    for words in [
        "broke off",
        "while a TLSA record names a CA",
        &pin,
        &two.second.directory(),
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert_eq!(two.n(), [(1, 1), (0, 0)]);
    assert_eq!(two.world.live_sha256(HOST), leaf);
    // With the key published as well, any CA will do; and the key that was told is the one that is used.
    let line = told
        .stderr
        .lines()
        .find(|line| line.contains("good for every CA"))
        .unwrap();
    let record = line.split("IN TLSA ").nth(1).unwrap();
    two.world
        .bind
        .nsupdate(&format!("update add {owner} 60 TLSA {record}"));
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.n(), [(1, 1), (1, 1)]);
    assert_eq!(two.issued_by(), two.second.directory().as_str());
    // Once it has issued what is in service, it goes on.
    two.world
        .bind
        .nsupdate(&format!("update delete {owner} TLSA {record}"));
    two.world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(two.n(), [(1, 1), (2, 2)]);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn thousands_of_requests_to_a_ca_that_is_down_are_spared() {
    let two = TwoCas::start(&PebbleOptions::quiet());
    let more: String = (0..40)
        .map(|n| format!("[[certificate]]\nidentifiers = [\"n{n}.many.example.test\"]\n"))
        .collect();
    let text = fs::read_to_string(two.world.config_file()).unwrap();
    fs::write(
        two.world.config_file(),
        text.replace("[renew]\n", &format!("{more}[renew]\n")),
    )
    .unwrap();
    two.front.fail("POST /order-plz", server_error());
    two.world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(two.n(), [(0, 0), (41, 41)]);
    // Each of those that were under way when the third failed may still try once.
    let n = two.front.count("POST /order-plz");
    assert!(n <= 12, "{n} orders");
    // Renewal information is asked of the CA that issued.
    let asked = two.second.count_in_log("renewalInfo/ -> calling handler");
    two.world
        .mailcert_at(OffsetDateTime::now_utc() + Duration::hours(8))
        .run(&["renew"])
        .expect(0);
    assert_eq!(
        two.second.count_in_log("renewalInfo/ -> calling handler"),
        asked + 41
    );
    assert_eq!(
        two.world.pebble.count_in_log("renewalInfo/ -> calling handler"),
        0
    );
}
