//! `check outbound` where the world is a namespace of ours: ports dropped, rejected, open over one family only.

use std::net::SocketAddr;

use crate::support::{
    LoopbackAddress, Mailcert, Namespaces, Outcome, Postfix, PostfixOptions, Scratch, Site,
    netns::{Carries, Data, WORLD_V4, WORLD_V6},
};

/// A host whose network is a pair of namespaces.
struct Host {
    namespaces: Namespaces,
    mailcert: Mailcert,
    scratch: Scratch,
}

impl Host {
    /// Makes a host whose world has these ports open, with a Postfix that has these lines in main.cf; it does not run.
    fn new(carries: Carries, ports: &[u16], main_cf: &str) -> Self {
        let scratch = Scratch::new();
        let namespaces = Namespaces::new(&scratch, carries);
        let mut open: Vec<SocketAddr> = Vec::new();
        for (address, family) in [(WORLD_V4, Carries::V4), (WORLD_V6, Carries::V6)] {
            if carries == Carries::Both || carries == family {
                open.extend(
                    ports
                        .iter()
                        .map(|port| SocketAddr::new(address.parse().unwrap(), *port)),
                );
            }
        }
        namespaces.greet(&open, "220 mx.world.test ESMTP\r\n");
        let address = LoopbackAddress::take(&scratch);
        let options = PostfixOptions {
            main_cf: format!("inet_protocols = all\n{main_cf}"),
            ..PostfixOptions::default()
        };
        let postfix = Postfix::prepare(&scratch, &address, &options);
        let config = scratch.file(
            "mailcert.toml",
            format!(
                "version = 1\nstate_directory = {:?}\n[host]\nname = \"mail.example.test\"\ndomains = [\"example.test\"]\n\
                 [renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\nconfig_directory = {:?}\n[dns]\nresolvers = [\"127.0.0.1:1\"]\n",
                scratch.path().join("state"),
                postfix.config_directory()
            ),
        );
        let mailcert = Mailcert::new(Some(&config), &scratch.path().join("root"));
        Self {
            namespaces,
            mailcert,
            scratch,
        }
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.namespaces.mailcert(&self.mailcert, args)
    }

    /// Checks with these hosts, and returns ids, severities and subjects.
    fn check(&self, to: &[&str], code: i32) -> (Vec<[String; 3]>, Outcome) {
        let mut args = vec!["check", "outbound", "--format", "json"];
        for host in to {
            args.extend(["--to", host]);
        }
        let outcome = self.run(&args).expect(code);
        let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = outcome.json()["findings"].as_array().unwrap().clone();
        let found = findings
            .iter()
            .map(|finding| {
                [
                    text(finding, "id"),
                    text(finding, "severity"),
                    text(finding, "subject"),
                ]
            })
            .collect();
        (found, outcome)
    }
}

fn found(id: &str, severity: &str, subject: &str) -> [String; 3] {
    [format!("outbound.{id}"), severity.to_owned(), subject.to_owned()]
}

const BOTH: [&str; 2] = [WORLD_V4, WORLD_V6];
const MAIL_PORTS: [u16; 3] = [25, 587, 465];

#[test]
#[ignore = "real: needs ip, nft, postfix"]
fn blocked_port_25_is_told_with_the_way_out() {
    let host = Host::new(Carries::Both, &MAIL_PORTS, "");
    let (findings, _) = host.check(&BOTH, 0);
    assert_eq!(findings, [found("ok", "ok", "IPv4"), found("ok", "ok", "IPv6")]);

    // As a provider does it: for IPv4 alone, and in silence.
    host.namespaces.filter(
        "table ip provider { chain out { type filter hook output priority 0; tcp dport 25 drop; }; }",
    );
    let (findings, outcome) = host.check(&BOTH, 3);
    assert_eq!(
        findings,
        [
            found("port-25-blocked", "error", "IPv4"),
            found("ok", "ok", "IPv6")
        ],
        "{outcome}"
    );
    let blocked = &outcome.json()["findings"][0];
    for (part, line) in [
        ("evidence", "OP25B"),
        ("evidence", "192.0.2.2:25 no answer within 8 s"),
        ("evidence", "192.0.2.2:587 open"),
        ("remedy", "\nrelayhost = [SMTP.PROVIDER.EXAMPLE]:587\n"),
        (
            "remedy",
            "\nsmtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd\n",
        ),
        (
            "remedy",
            "\nexample.test. TXT \"v=spf1 mx include:SPF.PROVIDER.EXAMPLE -all\"\n",
        ),
        ("reference", "postconf(5), relayhost"),
    ] {
        assert!(
            blocked[part].as_str().unwrap().contains(line),
            "{line:?}: {blocked:#}"
        );
    }

    host.namespaces.filter(
        "flush ruleset; table ip provider { chain out { type filter hook output priority 0; tcp dport 25 reject; }; }",
    );
    let text = host.run(&["check", "outbound", "--to", WORLD_V4]).expect(3);
    assert!(
        text.stdout.starts_with("error outbound.port-25-blocked IPv4: "),
        "{text}"
    );
    let nagios = host
        .run(&["check", "outbound", "--to", WORLD_V4, "--format", "nagios"])
        .expect(2);
    assert!(
        nagios
            .stdout
            .starts_with("MAILCERT CRITICAL - outbound.port-25-blocked IPv4"),
        "{nagios}"
    );
    // Without a configuration it works as well.
    let mut bare = host.mailcert.clone();
    bare.config = Some(host.scratch.path().join("none.toml"));
    let told = host
        .namespaces
        .mailcert(&bare, &["check", "outbound", "--to", WORLD_V4])
        .expect(3);
    assert!(told.stdout.contains("outbound.port-25-blocked"), "{told}");
}

#[test]
#[ignore = "real: needs ip, nft, postfix"]
fn each_way_of_blocking_is_seen() {
    let host = Host::new(Carries::Both, &MAIL_PORTS, "");
    for verdict in [
        "reject",
        "reject with tcp reset",
        "reject with icmpx admin-prohibited",
        "reject with icmpx host-unreachable",
    ] {
        host.namespaces.filter(&format!(
            "flush ruleset; table inet provider {{ chain out {{ type filter hook output priority 0; tcp dport 25 {verdict}; }}; }}"
        ));
        let (findings, outcome) = host.check(&BOTH, 3);
        let expected = ["IPv4", "IPv6"].map(|family| found("port-25-blocked", "error", family));
        assert_eq!(findings, expected, "{verdict}: {outcome}");
    }
    // Everything is shut: that is not OP25B.
    host.namespaces.filter(
        "flush ruleset; table inet provider { chain out { type filter hook output priority 0; tcp dport 1-65535 reject; }; }",
    );
    let (findings, outcome) = host.check(&BOTH, 3);
    let expected = ["IPv4", "IPv6"].map(|family| found("blocked", "error", family));
    assert_eq!(findings, expected, "{outcome}");
}

#[test]
#[ignore = "real: needs ip, nft, postfix"]
fn a_family_that_is_missing_is_told_by_what_it_costs() {
    let host = Host::new(Carries::V4, &MAIL_PORTS, "");
    let (findings, _) = host.check(&BOTH, 0);
    assert_eq!(
        findings,
        [found("no-route", "info", "IPv6"), found("ok", "ok", "IPv4")]
            .into_iter()
            .collect::<Vec<_>>()
    );
    let host = Host::new(Carries::V6, &MAIL_PORTS, "");
    let (findings, outcome) = host.check(&BOTH, 3);
    assert_eq!(
        findings,
        [found("no-route", "error", "IPv4"), found("ok", "ok", "IPv6")],
        "{outcome}"
    );
}

#[test]
#[ignore = "real: needs ip, nft, postfix"]
fn what_postfix_sends_from_and_over_is_honored() {
    // The wrong address is refused by the system, as it would be for Postfix.
    let host = Host::new(Carries::Both, &MAIL_PORTS, "smtp_bind_address = 198.51.100.7\n");
    let (findings, _) = host.check(&BOTH, 3);
    assert_eq!(
        findings,
        [found("bind-address", "error", "IPv4"), found("ok", "ok", "IPv6")]
    );
    let host = Host::new(
        Carries::Both,
        &MAIL_PORTS,
        "inet_protocols = ipv6\nsmtp_bind_address6 = 2001:db8::1\n",
    );
    let (findings, _) = host.check(&BOTH, 0);
    assert_eq!(findings, [found("ok", "ok", "IPv6")]);
}

#[test]
#[ignore = "real: needs ip, nft, postfix"]
fn a_relay_is_asked_instead() {
    let host = Host::new(Carries::Both, &[587], &format!("relayhost = [{WORLD_V4}]:587\n"));
    let relay = format!("[{WORLD_V4}]:587");
    // Greeted, and nothing more: no EHLO is answered with 250.
    let (findings, outcome) = host.check(&[], 3);
    assert_eq!(
        findings,
        [
            found("relay-unreachable", "error", &relay),
            found("relay-login", "warning", &relay)
        ],
        "{outcome}"
    );
    // As a part of everything, it is looked at too.
    let all = host.run(&["check"]);
    assert!(all.stdout.contains("outbound.relay-unreachable"), "{all}");
    // Hosts that are named come before it.
    let (findings, _) = host.check(&[WORLD_V4], 3);
    assert_eq!(
        findings[0],
        found("port-25-blocked", "error", "IPv4"),
        "{findings:?}"
    );
}

#[test]
#[ignore = "real: needs postfix, named"]
fn a_relay_that_speaks_tls_is_good_and_its_login_is_judged() {
    let site = Site::of(|_, address| PostfixOptions {
        submission: true,
        submissions: true,
        main_cf: format!(
            "relayhost = [{}]:587\nsmtp_sasl_auth_enable = yes\nsmtp_tls_security_level = encrypt\n\
             smtp_sasl_password_maps = static:user:secret\nsmtp_sasl_security_options = noanonymous\n",
            address.ip()
        ),
        ..PostfixOptions::default()
    });
    let check = |code: i32, expected: &[&str]| {
        let told = site.mailcert().run(&["check", "outbound"]).expect(code);
        for words in expected {
            assert!(told.stdout.contains(words), "{words}: {told}");
        }
    };
    let relay = |port: u16| format!("[{}]:{port}", site.address.ip());
    let ok = |port: u16| {
        format!(
            "ok outbound.relay-ok {}: {} answers, TLSv1.3",
            relay(port),
            site.postfix.port(port)
        )
    };
    check(0, &[&ok(587)]);
    let edit = |from: &str, to: &str| {
        site.postfix.edit_main_cf(|text| {
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(from), "{from}: {text}");
            text.replace(from, to).into_bytes()
        });
    };
    // 465 as if it were 587: the port answers, and Postfix would wait for ever.
    edit(&relay(587), &relay(465));
    check(
        3,
        &[&ok(465), "error outbound.relay-tls", "smtp_tls_wrappermode = yes"],
    );
    edit(
        "smtp_tls_security_level = encrypt\n",
        "smtp_tls_security_level = encrypt\nsmtp_tls_wrappermode = yes\n",
    );
    check(0, &[&ok(465)]);
    edit("smtp_sasl_security_options = noanonymous\n", "");
    check(0, &["warning outbound.relay-login", "noplaintext"]);
    edit(&relay(465), "[relay.nowhere.test]:587");
    check(3, &["error outbound.relay-unreachable", "relay.nowhere.test"]);
}

#[test]
#[ignore = "real: needs ip, postfix"]
fn strangers_are_asked_only_by_name_and_found_by_dns() {
    let host = Host::new(Carries::V4, &MAIL_PORTS, "");
    let (findings, outcome) = host.check(&[], 3);
    assert_eq!(findings, [found("unresolved", "error", "DNS")], "{outcome}");
    let all = host.run(&["check"]);
    assert!(!all.stdout.contains("outbound."), "{all}");
    // A world in which one provider is known, with an exchanger and a submission host.
    host.namespaces.answer(
        WORLD_V4.parse().unwrap(),
        &[
            ("gmail.com", Data::Mx("mx.world.test")),
            ("mx.world.test", Data::A(WORLD_V4)),
            ("smtp.gmail.com", Data::A(WORLD_V4)),
        ],
    );
    let config = host.scratch.path().join("mailcert.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("127.0.0.1:1", WORLD_V4)).unwrap();
    let (findings, outcome) = host.check(&[], 0);
    let expected = [
        found("unresolved", "warning", "DNS"),
        found("not-asked", "info", "IPv6"),
        found("ok", "ok", "IPv4"),
    ];
    assert_eq!(findings, expected, "{outcome}");
    assert!(
        outcome.stdout.contains("mx.world.test:25 (192.0.2.2) open"),
        "{outcome}"
    );
    assert!(
        outcome.stdout.contains("outlook.com has no MX record"),
        "{outcome}"
    );
    // Hosts of the configuration are asked as a part of everything.
    std::fs::write(&config, text + "[outbound]\nprobe = [\"192.0.2.2:25\"]\n").unwrap();
    let all = host.run(&["check"]);
    assert!(all.stdout.contains("outbound.ok IPv4"), "{all}");

    for wrong in [
        &["check", "outbound", "--to", "a b"][..],
        &["check", "postfix", "--to", "a.test"],
        &["check", "outbound", "--to", "[::1"],
    ] {
        host.run(wrong).expect(2);
    }
}
