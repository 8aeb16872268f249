//! "Ask before spending": what a CA would refuse is found before an order is made, and costs none.

use std::{fs, net::TcpListener, thread};

use crate::support::{
    Fault, FaultyCa, LoopbackAddress, Outcome, PebbleOptions, World, WorldOptions,
    world::{HOST, without_postfix},
};

/// Starts a site on which Postfix does not count, and these records stand besides.
fn world(records: &str) -> World {
    with(PebbleOptions::quiet(), records)
}

fn with(pebble: PebbleOptions, records: &str) -> World {
    let world = World::with(&WorldOptions {
        pebble,
        records: records.to_owned(),
        ..WorldOptions::default()
    });
    world.write_config(without_postfix);
    world
}

/// Makes the one certificate one for these names.
fn identifiers(world: &World, names: &[&str]) {
    world.write_config(|text| {
        without_postfix(text).replace(
            &format!("identifiers = [\"{HOST}\"]"),
            &format!("name = \"{HOST}\"\nidentifiers = {names:?}"),
        )
    });
}

/// Wants the run refused for these reasons, and nothing spent at the CA.
#[track_caller]
fn refused(world: &World, words: &[&str]) -> Outcome {
    let outcome = world.mailcert().run(&["issue"]).expect(1);
    for word in words {
        assert!(outcome.stderr.contains(word), "{word}: {outcome}");
    }
    spent(world, 0, 0);
    outcome
}

#[track_caller]
fn spent(world: &World, n_orders: usize, n_certificates: usize) {
    assert_eq!(
        (
            world.pebble.count_in_log("POST /order-plz"),
            world.pebble.n_orders_and_certificates().1
        ),
        (n_orders, n_certificates),
        "{}",
        world.pebble.log()
    );
}

fn caa(world: &World, owner: &str, records: &[&str]) {
    let adds = records
        .iter()
        .map(|record| format!("update add {owner} 60 CAA {record}\n"));
    world.bind.nsupdate(&format!(
        "update delete {owner} CAA\n{}",
        adds.collect::<String>()
    ));
}

/// Serves one answer to every request on port 80 of an address; ends with the test.
fn serve(address: &LoopbackAddress, answer: String) {
    serve_on(TcpListener::bind(address.port(80)).unwrap(), answer);
}

fn serve_on(listener: TcpListener, answer: String) {
    use std::io::{Read, Write};
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn names_without_an_address_are_all_told_and_cost_no_order() {
    let world = world("empty TXT \"x\"\nloop CNAME loop\nalias CNAME mail\n");
    identifiers(
        &world,
        &[
            HOST,
            "alias.example.test",
            "nowhere.example.test",
            "empty.example.test",
            "loop.example.test",
        ],
    );
    let told = refused(
        &world,
        &[
            "nowhere.example.test does not exist in the DNS",
            "empty.example.test has neither an A nor an AAAA record",
            "loop.example.test: nobody can say its address",
            "publish an A or AAAA record at nowhere.example.test",
            "no order was made",
        ],
    );
    assert!(!told.stderr.contains("alias.example.test"), "{told}");
    // Nothing is left that looks like an order.
    assert!(world.record(HOST)["order"].is_null(), "{}", world.record(HOST));
    identifiers(&world, &[HOST, "alias.example.test"]);
    world.mailcert().run(&["issue"]).expect(0);
    spent(&world, 1, 1);
}

/// The one IPv6 address that every host has; one test at a time may use its port 80.
struct Loopback6(#[expect(dead_code, reason = "held until it is dropped")] fs::File);

impl Loopback6 {
    fn take() -> Self {
        let path = std::env::temp_dir().join("mailcert-lab-ipv6-port-80");
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        Self(file)
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, IPv6 on the loopback"]
fn a_token_is_looked_for_over_ipv4_and_ipv6() {
    let _ipv6 = Loopback6::take();
    let world = world("");
    world.bind.nsupdate(&format!("update add {HOST} 60 AAAA ::1"));
    let both = |text: String| {
        let http = world.address.port(80).to_string();
        without_postfix(text).replace(
            &format!("listen = [\"{http}\"]"),
            &format!("listen = [\"{http}\", \"[::1]:80\"]"),
        )
    };
    // Somebody else answers over IPv6: every CA that asks there sees it, and so do we.
    let other = TcpListener::bind("[::1]:80").unwrap();
    let answering = other.try_clone().unwrap();
    serve_on(answering, http("404 Not Found", "", "no"));
    let told = refused(
        &world,
        &["mail.example.test: the challenge is not seen at ::1", "404"],
    );
    assert!(!told.stderr.contains(&world.address.ip().to_string()), "{told}");
    // Nothing was asked of the CA, so a minute is enough; it is the same back-off as for any failure.
    let failure = &world.record(HOST)["failure"];
    let instant = |key: &str| {
        let text = failure[key].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
    };
    assert_eq!(
        instant("retry_at") - instant("at"),
        time::Duration::MINUTE,
        "{failure}"
    );

    // A port that is taken is told as that, with its address.
    world.write_config(both);
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(told.stderr.contains("[::1]:80"), "{told}");
    spent(&world, 0, 0);
    rustix::net::shutdown(&other, rustix::net::Shutdown::Both).unwrap();
    drop(other);
    crate::support::server::wait_until("port 80 is free", || TcpListener::bind("[::1]:80").is_ok());

    // Ours answers over both. Without an answer over IPv6 that is a note: here it may be we who cannot get there.
    let done = world.mailcert().run(&["issue"]).expect(0);
    assert!(!(done.stdout.clone() + &done.stderr).contains("::1"), "{done}");
    spent(&world, 1, 1);
    world.write_config(without_postfix);
    let told = world.mailcert().run(&["renew", "--force"]);
    let said = told.stdout.clone() + &told.stderr;
    let note = "this host cannot reach ::1 port 80 itself";
    assert!(
        said.contains(note) || told.code != 0 && said.contains("::1"),
        "{told}"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_resolver_that_is_down_refuses() {
    let world = world("");
    let dead = world.bind.address().to_string().replace(":53", ":1");
    world.write_config(|text| {
        let resolvers = format!("resolvers = [\"{}\"]", world.bind.address());
        without_postfix(text).replace(&resolvers, &format!("resolvers = [\"{dead}\"]"))
    });
    refused(
        &world,
        &["nobody can say its address", "CAA at mail.example.test", &dead],
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn caa_for_another_ca_account_or_method_costs_no_order() {
    let world = world("");
    let ours = "pebble.letsencrypt.org";
    let check = |owner: &str, records: &[&str], words: &[&str]| {
        caa(&world, owner, records);
        refused(&world, &[&[format!("CAA at {owner} ").as_str()], words].concat());
        caa(&world, owner, &[]);
    };
    check(
        HOST,
        &["0 issue \"other.test\""],
        &["is for another CA", "CAA 0 issue \"pebble.letsencrypt.org\""],
    );
    check("example.test", &["0 issue \";\""], &["allows nobody"]);
    check("test", &["0 issue \"other.test\""], &["is for another CA"]);
    check(
        HOST,
        &["128 tbs \"x\"", &format!("0 issue \"{ours}\"")],
        &["critical"],
    );
    check(
        HOST,
        &[&format!("0 issue \"{ours}; accounturi=https://ca.test/1\"")],
        &["is for another account"],
    );
    check(
        HOST,
        &[&format!("0 issue \"{ours}; validationmethods=dns-01\"")],
        &["other methods", "by http-01"],
    );
    check(HOST, &[&format!("0 issue \"{ours}; =\"")], &["malformed"]);

    let accounts = world.state_directory().join("accounts");
    let account = fs::read_dir(accounts).unwrap().next().unwrap().unwrap().path();
    let account: serde_json::Value = serde_json::from_slice(&fs::read(account).unwrap()).unwrap();
    let url = account["url"].as_str().unwrap();
    // The nearest set counts, and one record that fits is enough.
    caa(&world, "example.test", &["0 issue \";\""]);
    let right = format!("0 issue \"{ours}; validationmethods=dns-01,http-01; accounturi={url}\"");
    caa(
        &world,
        HOST,
        &["0 issue \"other.test\"", &right, "0 issuewild \";\""],
    );
    world.mailcert().run(&["issue"]).expect(0);
    spent(&world, 1, 1);
    // A rehearsal asks the same.
    caa(&world, HOST, &["0 issue \"other.test\""]);
    let told = world.mailcert().run(&["renew", "--dry-run"]).expect(1);
    assert!(told.stderr.contains("is for another CA"), "{told}");
    spent(&world, 1, 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn hostile_caa_answers_harm_nothing() {
    let many: String = (0..95)
        .map(|n| format!("mail CAA 0 issue \"\\027[31m{n}.test\"\n"))
        .collect();
    let world = world(&many);
    let told = refused(&world, &["CAA at mail.example.test", "and 90 more"]);
    assert!(
        !told.stderr.contains('\u{1b}') && told.stderr.len() < 5000,
        "{told}"
    );
    world.bind.nsupdate("update delete mail.example.test CAA");
    let huge = "x".repeat(250);
    caa(&world, HOST, &[&format!("0 issue \"{huge}\" ")]);
    refused(&world, &["is for another CA"]);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn another_web_server_with_the_name_costs_no_order() {
    let world = world("");
    let other = LoopbackAddress::take(&world.scratch);
    world
        .bind
        .nsupdate(&format!("update add {HOST} 60 A {}", other.ip()));
    serve(&other, http("404 Not Found", "", "nothing \x1b[31mhere"));
    let address = other.ip().to_string();
    let told = refused(
        &world,
        &[
            &address,
            "it answers 404: `nothing \\u{1b}[31mhere`",
            "acme.challenge.webroot",
        ],
    );
    assert!(
        !told.stderr.contains(&format!("seen at {}", world.address.ip())),
        "{told}"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_web_server_that_redirects_here_is_followed() {
    let world = world("");
    let other = LoopbackAddress::take(&world.scratch);
    world.bind.nsupdate(&format!(
        "update delete {HOST} A\nupdate add {HOST} 60 A {}",
        other.ip()
    ));
    // Wherever it is asked, it sends one to the same path of another name: the path is the token's.
    let listener = TcpListener::bind(other.port(80)).unwrap();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = text.split(' ').nth(1).unwrap_or("/").to_owned();
            let to = format!("Location: http://a.many.example.test{path}\r\n");
            let _ = stream.write_all(http("301 Moved Permanently", &to, "").as_bytes());
        }
    });
    world.mailcert().run(&["issue"]).expect(0);
    spent(&world, 1, 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_address_that_only_this_host_cannot_reach_is_a_note() {
    let world = with(PebbleOptions::quiet_with(&[("PEBBLE_VA_ALWAYS_VALID", "1")]), "");
    let silent = LoopbackAddress::take(&world.scratch);
    world
        .bind
        .nsupdate(&format!("update add {HOST} 60 A {}", silent.ip()));
    let told = world.mailcert().run(&["issue"]).expect(0);
    let note = format!("this host cannot reach {} port 80 itself", silent.ip());
    assert!(told.stdout.contains(&note), "{told}");
    spent(&world, 1, 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_port_that_another_program_has_costs_no_order() {
    let world = world("");
    let taken = TcpListener::bind(world.address.port(80)).unwrap();
    refused(
        &world,
        &["has the port", "no order was made", "acme.challenge.webroot"],
    );
    // A web root that nobody serves is another web server, too.
    let other = world.scratch.dir("elsewhere");
    let listen = format!("listen = [\"{}\"]", world.address.port(80));
    serve_on(taken, http("404 Not Found", "", "no such file"));
    world.write_config(|text| without_postfix(text).replace(&listen, &format!("webroot = {other:?}")));
    refused(&world, &["it answers 404", "no such file"]);
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_bad_name_stops_its_own_lineage_alone() {
    let world = world("");
    world.write_config(|text| {
        without_postfix(text)
            + "[[certificate]]\nidentifiers = [\"nowhere.example.test\"]\n\
               [[certificate]]\nidentifiers = [\"a.many.example.test\"]\n"
    });
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(
        told.stderr.contains("nowhere.example.test does not exist"),
        "{told}"
    );
    spent(&world, 2, 2);
    assert_eq!(world.record("a.many.example.test")["generation"], 1);
    assert!(world.record("nowhere.example.test")["generation"].is_null());
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_order_that_is_resumed_looks_before_the_ca_is_told() {
    let world = world("");
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    world.write_config(|text| front.configure(&without_postfix(text), &world.pebble));
    // Found before the CA is told of any challenge.
    front.fail(
        "POST /authZ/",
        Fault::status("500 Internal Server Error", "", "no"),
    );
    world.mailcert().run(&["issue"]).expect(1);
    front.heal();
    assert!(world.record(HOST)["order"]["url"].is_string());
    let other = LoopbackAddress::take(&world.scratch);
    world
        .bind
        .nsupdate(&format!("update add {HOST} 60 A {}", other.ip()));
    serve(&other, http("404 Not Found", "", ""));
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(told.stderr.contains("it answers 404"), "{told}");
    assert_eq!(world.pebble.count_in_log("Attempting to validate"), 0);
    assert!(
        world.record(HOST)["order"]["url"].is_string(),
        "{}",
        world.record(HOST)
    );
    world
        .bind
        .nsupdate(&format!("update delete {HOST} A {}", other.ip()));
    world.mailcert().run(&["issue"]).expect(0);
    spent(&world, 1, 1);
}
