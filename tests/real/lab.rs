//! The lab itself: what the other tests lean on holds.

use crate::support::{
    Bind, LoopbackAddress, Pebble, PebbleOptions, Postfix, PostfixOptions, Scratch, World, WorldOptions,
    Zone, judge, world::HOST,
};

#[test]
#[ignore = "real: needs ip"]
fn gives_each_taker_an_address_of_its_own_and_takes_it_back() {
    let scratch = Scratch::new();
    let (one, other) = (LoopbackAddress::take(&scratch), LoopbackAddress::take(&scratch));
    assert_ne!(one.ip(), other.ip());
    let held = std::net::TcpListener::bind(one.port(25)).unwrap();
    std::net::TcpListener::bind(other.port(25)).unwrap();
    let port = one.port(26);
    drop((held, one));
    // Loopback routes all of 127.0.0.0/8, so the interface tells, not a connection.
    let shown = std::process::Command::new("ip")
        .args(["-4", "addr", "show", "dev", "lo"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&shown.stdout).contains(&format!("{}/", port.ip())));
}

#[test]
#[ignore = "real: needs named, dig, nsupdate"]
fn bind_takes_signed_updates_alone_and_answers_up_to_the_root() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let zones = Zone::with_parents("example.test", &address, "@ MX 10 mail\n@ TXT \"kept\"\n");
    let bind = Bind::start(&scratch, "named", &address, &zones);
    assert_eq!(bind.dig("example.test", "MX"), "10 mail.example.test.");
    bind.nsupdate("update add example.test 60 TXT \"v=spf1 mx -all\"");
    assert_eq!(bind.dig("example.test", "TXT"), "\"kept\"\n\"v=spf1 mx -all\"");
    for (zone, child) in [("test", "example.test."), (".", "test.")] {
        assert!(
            bind.dig_with(&["+noall", "+answer"], zone, "SOA").contains("SOA"),
            "{zone}"
        );
        assert!(bind.dig(child, "NS").contains("ns1.example.test."), "{child}");
    }
    let unsigned = format!(
        "server {}\nupdate add example.test 60 TXT no\nsend\n",
        address.ip()
    );
    let script = scratch.file("unsigned", unsigned);
    let refused = std::process::Command::new("nsupdate")
        .arg(script)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("REFUSED"),
        "{refused:?}"
    );
}

#[test]
#[ignore = "real: needs pebble, named"]
fn pebble_answers_over_https_that_its_own_root_verifies() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let bind = Bind::start(
        &scratch,
        "named",
        &address,
        &Zone::with_parents("example.test", &address, ""),
    );
    let pebble = Pebble::start(&scratch, bind.address(), &PebbleOptions::quiet());
    let directory = pebble.directory();
    let port = directory.trim_start_matches("https://").trim_end_matches("/dir");
    let said = std::process::Command::new("openssl")
        .args(["s_client", "-connect", port, "-verify_return_error", "-CAfile"])
        .arg(pebble.root_ca_file())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    let root = std::fs::read_to_string(pebble.issuer_root_file()).unwrap();
    assert!(
        judge::certificate_sha256(&root).is_ok_and(|digest| digest.len() == 64),
        "{root}"
    );
    assert_eq!(pebble.get("/roots/9").0, 404);
}

#[test]
#[ignore = "real: needs postfix"]
fn postfix_serves_its_snake_oil_on_every_port_that_it_has() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let options = PostfixOptions {
        submission: true,
        submissions: true,
        ..PostfixOptions::default()
    };
    let postfix = Postfix::start(&scratch, &address, &options);
    let file = std::fs::read_to_string(postfix.postconf("smtpd_tls_cert_file")).unwrap();
    let wanted = judge::certificate_sha256(&file);
    assert!(wanted.is_ok(), "{wanted:?}");
    for port in [25, 465, 587] {
        assert_eq!(postfix.leaf_sha256(port), wanted, "port {port}");
    }
    postfix.edit_main_cf(|text| [text, b"smtpd_tls_security_level = none\n".into()].concat());
    assert_eq!(postfix.postconf("smtpd_tls_security_level"), "none");
    postfix.stop();
    assert!(postfix.leaf_sha256(25).is_err());
}

#[test]
#[ignore = "real: needs postfix"]
fn judges_tell_a_verified_certificate_from_an_unknown_one() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let postfix = Postfix::start(&scratch, &address, &PostfixOptions::default());
    let own = std::path::PathBuf::from(postfix.postconf("smtpd_tls_cert_file"));
    let bundle = std::path::Path::new("/etc/ssl/certs/ca-certificates.crt");
    assert_eq!(postfix.verify(25, &own), Ok(()));
    assert!(postfix.verify(25, bundle).is_err());
    assert!(
        postfix
            .finger(&own)
            .contains("Verified TLS connection established"),
        "{}",
        postfix.finger(&own)
    );
    assert!(
        !postfix.finger(bundle).contains("Verified"),
        "{}",
        postfix.finger(bundle)
    );
}

#[test]
#[ignore = "real: needs postfix"]
fn postfix_without_a_certificate_offers_no_tls() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let options = PostfixOptions {
        snake_oil: false,
        ..PostfixOptions::default()
    };
    let postfix = Postfix::start(&scratch, &address, &options);
    let refused = postfix.leaf_sha256(25).unwrap_err();
    assert!(refused.contains("STARTTLS"), "{refused}");
}

#[test]
#[ignore = "real: needs pebble, named, postfix"]
fn two_worlds_stand_side_by_side() {
    let records = "blog A 192.0.2.1\n".to_owned();
    let one = World::start();
    let other = World::with(&WorldOptions {
        records,
        ..WorldOptions::default()
    });
    assert_ne!(
        one.postfix.leaf_sha256(25).unwrap(),
        other.postfix.leaf_sha256(25).unwrap()
    );
    assert_eq!(
        one.bind.dig("mail.example.test", "A"),
        one.address.ip().to_string()
    );
    assert_eq!(
        one.bind.dig("a.many.example.test", "A"),
        one.address.ip().to_string()
    );
    assert_eq!(
        (
            one.bind.dig("blog.example.test", "A"),
            other.bind.dig("blog.example.test", "A")
        ),
        (String::new(), "192.0.2.1".to_owned())
    );
    assert_ne!(one.pebble.directory(), other.pebble.directory());
}

#[test]
#[ignore = "real: needs pebble, named, postfix, openssl"]
fn a_certificate_of_the_labs_ca_verifies_on_the_labs_postfix() {
    let world = World::start();
    let issued = world.pebble.issue(&world.address, &[HOST, "a.many.example.test"]);
    let chain = world.scratch.file("by-hand/fullchain.pem", &issued.fullchain);
    let key = world
        .scratch
        .secret_file("by-hand/privkey.pem", &issued.private_key);
    let root = world.pebble.issuer_root_file();
    assert!(world.postfix.verify(25, root).is_err());

    let names = format!(
        "smtpd_tls_cert_file={}\nsmtpd_tls_key_file={}\n",
        chain.display(),
        key.display()
    );
    world
        .postfix
        .edit_main_cf(|text| [text, names.into_bytes()].concat());
    // Stopped and started: after a reload an old smtpd may answer once more.
    world.postfix.stop();
    world.postfix.launch();
    assert_eq!(world.postfix.verify(25, root), Ok(()));
    assert_eq!(
        world.postfix.leaf_sha256(25),
        judge::certificate_sha256(&issued.fullchain)
    );
}
