//! Orders of a special kind at a real CA: tls-alpn-01, profiles, the chain that is preferred.

use std::{net::TcpListener, process::Command};

use serde_json::json;

use crate::support::{
    Fault, FaultyCa, PebbleOptions, World, WorldOptions, judge,
    server::wait_until,
    world::{HOST, without_postfix},
};

/// The configuration with tls-alpn-01 on port 443 of the site.
fn by_tls_alpn(world: &World) -> impl FnOnce(String) -> String {
    let (http, tls) = (world.address.port(80), world.address.port(443));
    move |text| {
        without_postfix(text)
            .replace("type = \"http-01\"", "type = \"tls-alpn-01\"")
            .replace(
                &format!("listen = [\"{http}\"]"),
                &format!("listen = [\"{tls}\"]"),
            )
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn tls_alpn_01_shows_what_openssl_reads_and_closes_the_port() {
    let world = World::start();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    let edit = by_tls_alpn(&world);
    world.write_config(|text| {
        front.configure(&edit(text), &world.pebble).replace(
            &format!("identifiers = [\"{HOST}\"]"),
            &format!("identifiers = [\"{HOST}\", \"imap.many.example.test\"]"),
        )
    });
    // The order waits at the CA with its challenges in place.
    front.fail("POST /chalZ/", Fault::Silence);
    let run = world.mailcert().spawn(&["issue"]);
    wait_until("the CA is told", || front.n_silent() > 0);
    let port = world.address.port(443).to_string();
    let ask = |name: &str, protocol: &str| {
        let said = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &port,
                "-servername",
                name,
                "-alpn",
                protocol,
            ])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    for name in [HOST, "imap.many.example.test"] {
        let said = ask(name, "acme-tls/1");
        assert!(said.contains("ALPN protocol: acme-tls/1"), "{said}");
        let pem = &said[said.find("-----BEGIN CERTIFICATE-----").unwrap()..];
        assert_eq!(judge::dns_names(pem), [name]);
        let text = judge::certificate_text(pem);
        assert!(text.contains("1.3.6.1.5.5.7.1.31: critical"), "{text}");
        judge::verify_self_signed(pem);
    }
    for (name, protocol) in [
        ("www.example.test", "acme-tls/1"),
        (HOST, "http/1.1"),
        (HOST, "http/1.1,acme-tls/1"),
    ] {
        let said = ask(name, protocol);
        assert!(!said.contains("BEGIN CERTIFICATE"), "{name} {protocol}: {said}");
    }
    run.kill();
    front.heal();
    TcpListener::bind(world.address.port(443)).unwrap();
    world.mailcert().run(&["issue"]).expect(0);
    TcpListener::bind(world.address.port(443)).unwrap();
    assert_eq!(world.pebble.n_orders_and_certificates().1, 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_server_on_port_443_is_told_before_it_costs_an_order() {
    let world = World::start();
    let edit = by_tls_alpn(&world);
    world.write_config(edit);
    let taken = TcpListener::bind(world.address.port(443)).unwrap();
    let told = world.mailcert().run(&["issue"]).expect(1);
    for words in ["for tls-alpn-01", "has the port", "http-01 or dns-01"] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    drop(taken);
    let elsewhere = crate::support::LoopbackAddress::take(&world.scratch);
    let other = crate::support::Authority::new().issue(HOST, time::Duration::days(9));
    let _port = crate::support::Port::serve(elsewhere.port(443), move || crate::support::Answer::tls(&other));
    world.bind.nsupdate(&format!(
        "update delete {HOST} A\nupdate add {HOST} 60 A {}",
        elsewhere.ip()
    ));
    let told = world.mailcert().run(&["issue"]).expect(1);
    for words in [&elsewhere.ip().to_string(), "acme-tls/1", "port 443"] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert_eq!(world.pebble.n_orders_and_certificates(), (0, 0));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn init_takes_tls_alpn_01_and_a_wildcard_needs_another_challenge() {
    let world = World::start();
    world.write_answers();
    let listen = world.address.port(443).to_string();
    let args: Vec<String> = world
        .init_args()
        .into_iter()
        .map(|arg| match arg.as_str() {
            "http-01" => "tls-alpn-01".to_owned(),
            // Without a port: 443 is meant.
            _ if arg == world.address.port(80).to_string() => listen.trim_end_matches(":443").to_owned(),
            _ => arg,
        })
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.mailcert().run(&args).expect(0);
    let file = std::fs::read_to_string(world.config_file()).unwrap();
    assert!(
        file.contains("\"tls-alpn-01\"") && file.contains(&listen),
        "{file}"
    );
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), world.live_sha256(HOST));
    let again = world.mailcert().run(&args).expect(0);
    assert_eq!(
        std::fs::read_to_string(world.config_file()).unwrap(),
        file,
        "{again}"
    );

    let edit = by_tls_alpn(&world);
    world.write_config(|text| edit(text).replace(&format!("[\"{HOST}\"]"), "[\"*.example.test\"]"));
    let told = world.mailcert().run(&["issue"]).expect(2);
    assert!(told.stderr.contains("dns-01"), "{told}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_profile_is_ordered_by_name_and_a_wrong_one_costs_no_order() {
    let mut pebble = PebbleOptions::quiet();
    pebble.config = json!({ "profiles": {
        "classic": { "description": "90 days", "validityPeriod": 7_776_000 },
        "shortlived": { "description": "160 hours", "validityPeriod": 576_000 },
    } });
    let world = World::with(&WorldOptions {
        pebble,
        ..WorldOptions::default()
    });
    let with = |profile: &str| {
        let line = format!("[acme]\nprofile = \"{profile}\"\n");
        world.write_config(|text| without_postfix(text).replace("[acme]\n", &line));
    };
    with("tlsserver");
    let told = world.mailcert().run(&["issue"]).expect(1);
    for words in [
        "no profile `tlsserver`",
        "classic (90 days)",
        "shortlived (160 hours)",
        "acme.profile",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert_eq!(world.pebble.n_orders_and_certificates(), (0, 0));
    for (number, (profile, hours)) in [("shortlived", 160), ("classic", 2160)].into_iter().enumerate() {
        with(profile);
        world.mailcert().run(&["renew", "--force"]).expect(0);
        let record = world.record(HOST);
        let generation = &record["generations"][(number + 1).to_string()];
        let at = |name: &str| {
            let text = generation[name].as_str().unwrap();
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
        };
        assert!(
            (at("not_after") - at("not_before")).whole_hours().abs_diff(hours) < 2,
            "{profile}"
        );
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn the_preferred_chain_is_picked_and_the_default_one_used_when_there_is_none() {
    let pebble = PebbleOptions::quiet_with(&[
        ("PEBBLE_ALTERNATE_ROOTS", "2"),
        ("PEBBLE_CHAIN_LENGTH", "2"),
        ("PEBBLE_WFE_NONCEREJECT", "20"),
    ]);
    let world = World::with(&WorldOptions {
        pebble,
        ..WorldOptions::default()
    });
    let roots: Vec<String> = (0..3)
        .map(|number| world.pebble.get(&format!("/roots/{number}")).1)
        .collect();
    let names: Vec<String> = roots.iter().map(|pem| judge::common_name(pem)).collect();
    let uncapped = "[renew]\nmax_per_day = 0\nmax_per_week = 0\n";
    let with = |name: &str| {
        let line = format!("[acme]\npreferred_chain = \"{name}\"\n");
        world.write_config(|text| {
            without_postfix(text)
                .replace("[acme]\n", &line)
                .replace("[renew]\n", uncapped)
        });
    };
    let live = world.state_directory().join("live").join(HOST);
    for (number, name) in names.iter().enumerate() {
        with(name);
        let told = world.mailcert().run(&["renew", "--force"]).expect(0);
        assert!(!told.stdout.contains("preferred_chain"), "{told}");
        let read = |file: &str| std::fs::read_to_string(live.join(file)).unwrap();
        for (other, root) in roots.iter().enumerate() {
            let root = world.scratch.file("root.pem", root);
            let is_right = judge::chain_leads_to(&read("cert.pem"), &read("chain.pem"), &root);
            assert_eq!(is_right, other == number, "{name} {other}");
        }
    }
    with("No Such Root");
    let told = world.mailcert().run(&["renew", "--force"]).expect(0);
    assert!(told.stdout.contains("`No Such Root`"), "{told}");
    for name in &names {
        assert!(told.stdout.contains(name), "{name}: {told}");
    }
    let root = world.scratch.file("root.pem", &roots[0]);
    let read = |file: &str| std::fs::read_to_string(live.join(file)).unwrap();
    assert!(
        judge::chain_leads_to(&read("cert.pem"), &read("chain.pem"), &root),
        "the default chain"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_pause_is_told_with_its_page_and_left_alone_for_a_day() {
    let world = World::start();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    world.write_config(|text| front.configure(&without_postfix(text), &world.pebble));
    let body = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "Your account is temporarily prevented from requesting certificates for mail.example.test and possibly others. Please visit: https://portal.ca.test/sfe/v1/unpause?jwt=abc.def"}"#;
    front.fail(
        "POST /order-plz",
        Fault::status("429 Too Many Requests", "Replay-Nonce: n\r\n", body),
    );
    let told = world.mailcert().run(&["issue"]).expect(1);
    for words in [
        "https://portal.ca.test/sfe/v1/unpause?jwt=abc.def",
        "paused",
        "once a day",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    let failure = &world.record(HOST)["failure"];
    let at = |name: &str| {
        let text = failure[name].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
    };
    assert!(
        at("retry_at") - at("at") >= time::Duration::hours(23),
        "{failure}"
    );
    front.heal();
    let n_requests = front.count("POST /order-plz");
    world.mailcert().run(&["renew"]);
    assert_eq!(front.count("POST /order-plz"), n_requests, "nobody is asked");
    world.mailcert().run(&["renew", "--force"]).expect(0);
}
