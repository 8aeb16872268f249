//! SPF records and challenges in a real BIND: what is written is read back by dig, and what others wrote stays.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;

use crate::support::{
    Bind, LoopbackAddress, Mailcert, Manner, Outcome, Pebble, PebbleOptions, Postfix, PostfixOptions,
    Scratch, Zone,
    server::run,
    world::{DOMAIN, HOST},
};

/// A DNS server and the host that mailcert runs on; no mail server runs.
pub struct Site {
    pub bind: Bind,
    /// An authoritative server that never learns of updates, where the test wants one.
    lagging: Option<Bind>,
    pub address: LoopbackAddress,
    second: LoopbackAddress,
    pub scratch: Scratch,
}

impl Site {
    /// Starts a server whose zone has MX and A of the host, and these records.
    pub fn start(records: &str) -> Self {
        Self::with(records, None, Manner::Authoritative)
    }

    /// Starts a second authoritative server besides, which has the records of `stale` and takes over nothing.
    pub fn with(records: &str, stale: Option<&str>, manner: Manner) -> Self {
        let scratch = Scratch::new();
        let (address, second) = (LoopbackAddress::take(&scratch), LoopbackAddress::take(&scratch));
        let ip = address.ip();
        let zones = |records: &str| {
            let mut all = format!("@ MX 10 mail\nmail A {ip}\n{records}");
            if stale.is_some() {
                all += &format!("@ NS ns2\nns2 A {}\n", second.ip());
            }
            let mut zones = Zone::with_parents(DOMAIN, &address, &all);
            zones.push(Zone {
                origin: "challenges.test".to_owned(),
                records: format!("@ NS ns1.{DOMAIN}.\n"),
            });
            zones
        };
        let lagging = stale.map(|stale| Bind::start(&scratch, "ns2", &second, &zones(stale)));
        let bind = Bind::start_as(&scratch, "ns1", &address, &zones(records), manner);
        Self {
            bind,
            lagging,
            address,
            second,
            scratch,
        }
    }

    /// Returns mailcert with this configuration, after `edit` had it.
    pub fn mailcert(&self, edit: impl FnOnce(String) -> String) -> Mailcert {
        let file = self.scratch.file("mailcert.toml", edit(self.config()));
        Mailcert::new(Some(&file), &self.scratch.dir("root"))
    }

    /// Returns mailcert as [`Site::config`] has it.
    fn plain(&self) -> Mailcert {
        self.mailcert(|config| config)
    }

    fn config(&self) -> String {
        format!(
            "version = 1\n\
             state_directory = {state:?}\n\
             [host]\n\
             name = \"{HOST}\"\n\
             domains = [\"{DOMAIN}\"]\n\
             [renew]\n\
             timer = \"none\"\n\
             [dovecot]\n\
             manage = false\n\
             [postfix]\n\
             manage = false\n\
             [dns]\n\
             resolvers = [\"{server}\"]\n\
             provider = {{ type = \"rfc2136\", server = \"{server}\", key_name = \"{key}\", \
             algorithm = \"hmac-sha256\", secret_file = {secret:?} }}\n\
             timeout = \"1s\"\n\
             publish = [\"spf\"]\n",
            state = self.state(),
            server = self.bind.address(),
            key = self.bind.key_name(),
            secret = self.bind.secret_file(),
        )
    }

    /// Returns the same with a CA and one certificate for these names, by dns-01; the port of Postfix is not asked.
    fn config_with_ca(&self, config: &str, pebble: &Pebble, identifiers: &[&str]) -> String {
        format!(
            "{config}[acme]\n\
             directory = \"{directory}\"\n\
             terms_of_service_agreed = true\n\
             root_ca_file = {root_ca_file:?}\n\
             [acme.challenge]\n\
             type = \"dns-01\"\n\
             [[certificate]]\n\
             identifiers = {identifiers:?}\n",
            directory = pebble.directory(),
            root_ca_file = pebble.root_ca_file(),
        )
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Returns `TTL data` for each record at a name, sorted.
    pub fn rrset(&self, name: &str, rtype: &str) -> Vec<String> {
        let text = self.bind.dig_with(&["+noall", "+answer"], name, rtype);
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {}", words[1], words[4..].join(" "))
            })
            .collect();
        lines.sort();
        lines
    }

    pub fn txt(&self, name: &str) -> Vec<String> {
        self.rrset(name, "TXT")
    }

    /// Returns the serial of the zone; it grows with every update.
    pub fn serial(&self) -> String {
        let soa = self.bind.dig(DOMAIN, "SOA");
        soa.split_whitespace().nth(2).unwrap().to_owned()
    }

    /// Returns how many entries of the journal name a change.
    fn n_journalled(&self) -> usize {
        let entries = fs::read_dir(self.state().join("journal")).into_iter().flatten();
        entries
            .map(|entry| fs::read_to_string(entry.unwrap().path().join("entry.json")).unwrap())
            .filter(|text| {
                !serde_json::from_str::<Value>(text).unwrap()["rrsets"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            })
            .count()
    }
}

/// Asserts that each of the words was said, on either stream.
#[track_caller]
pub fn says(outcome: &Outcome, words: &[&str]) {
    let all = outcome.to_string();
    for word in words {
        assert!(all.contains(word), "`{word}` is missing in: {all}");
    }
}

/// Returns the ids of the findings of SPF about a subject, without that of its cost.
fn ids(findings: &Value, subject: &str) -> Vec<String> {
    let all = findings["findings"].as_array().unwrap();
    all.iter()
        .filter(|finding| finding["subject"] == subject)
        .map(|finding| finding["id"].as_str().unwrap().to_owned())
        .filter(|id| id.starts_with("spf.") && id != "spf.tree")
        .collect()
}

#[test]
#[ignore = "real: needs named"]
fn check_finds_what_is_wrong_with_spf() {
    let records = "\
        two MX 10 mail\ntwo TXT \"v=spf1 mx -all\"\ntwo TXT \"v=spf1 a -all\"\n\
        without MX 10 mail\nwithout TXT \"v=spf1 ip4:192.0.2.1 -all\"\n\
        open MX 10 mail\nopen TXT \"v=spf1 mx\"\n\
        broken MX 10 mail\nbroken TXT \"v=spf1 mx ip4:1.2.3 -all\"\n\
        good MX 10 mail\ngood TXT \"v=spf1 mx -all\"\ngood TXT \"other\"\n\
        mail TXT \"v=spf1 a -all\"\n";
    let site = Site::start(records);
    let domains =
        ["two", "without", "open", "broken", "good", "bare"].map(|label| format!("{label}.{DOMAIN}"));
    let mailcert = site.mailcert(|config| {
        config.replace(
            &format!("domains = [\"{DOMAIN}\"]"),
            &format!("domains = {domains:?}"),
        )
    });
    let serial = site.serial();
    let outcome = mailcert.run(&["check", "dns", "--format", "json"]).expect(3);
    let findings = outcome.json();
    assert_eq!(findings["ok"], false);
    let check = |label: &str, expected: &[&str]| {
        assert_eq!(
            ids(&findings, &format!("{label}.{DOMAIN}")),
            expected,
            "{outcome}"
        );
    };
    check("two", &["spf.multiple-records"]);
    check("without", &["spf.no-mx"]);
    check("open", &["spf.no-all"]);
    check("broken", &["spf.syntax"]);
    check("good", &["spf.ok"]);
    check("bare", &["spf.missing"]);
    check("mail", &["spf.ok"]);
    let syntax = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == "spf.syntax");
    let evidence = syntax.unwrap()["evidence"].as_str().unwrap();
    // The fifteenth byte is the first of the address.
    assert!(evidence.contains("at byte 15 in `ip4:1.2.3`"), "{evidence}");
    let text = mailcert.run(&["check", "dns", "--no-color"]).expect(3);
    says(
        &text,
        &[
            "error spf.multiple-records",
            "RFC 7208, 3.2",
            "remedy:",
            "v=spf1 ip4:192.0.2.1 mx -all",
        ],
    );
    assert_eq!(site.serial(), serial);
}

#[test]
#[ignore = "real: needs named"]
fn check_of_any_domain_needs_no_configuration() {
    let site = Site::start("@ TXT \"v=spf1 mx -all\"\n");
    site.scratch.file(
        "root/etc/resolv.conf",
        format!("nameserver {}\n", site.address.ip()),
    );
    let mailcert = Mailcert::new(None, &site.scratch.path().join("root"));
    let good = mailcert.run(&["check", "dns", DOMAIN]).expect(0);
    says(&good, &["ok spf.ok example.test"]);
    let bad = mailcert
        .run(&["check", "dns", DOMAIN, HOST, "--format", "json"])
        .expect(3);
    assert_eq!(ids(&bad.json(), HOST), ["spf.missing"]);
    assert_eq!(ids(&bad.json(), DOMAIN), ["spf.ok"]);
    let (line, code) = (mailcert.run(&["check", "dns", HOST, "--format", "nagios"]), 2);
    says(
        &line.expect(code),
        &["MAILCERT CRITICAL - ", "spf.missing", "errors=1"],
    );
}

#[test]
#[ignore = "real: needs named"]
fn apply_publishes_beside_what_is_there_and_undo_takes_it_back() {
    let site = Site::start("@ 777 TXT \"google-site-verification=x\"\n");
    let mailcert = site.plain();
    let (domain, host) = (site.txt(DOMAIN), site.txt(HOST));
    let serial = site.serial();

    let planned = mailcert.run(&["plan", "dns"]).expect(0);
    says(
        &planned,
        &[
            "+ example.test. 777 IN TXT \"v=spf1 mx -all\"",
            "+ mail.example.test. 3600 IN TXT \"v=spf1 a -all\"",
        ],
    );
    let planned = mailcert
        .run(&["plan", "dns", "--expect-no-changes", "--format", "json"])
        .expect(3)
        .json();
    let adds: Vec<&Value> = planned["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["add"])
        .collect();
    assert_eq!(adds.len(), 2, "{planned}");
    let refused = mailcert.run(&["apply", "dns"]).expect(2);
    says(&refused, &["--yes", "v=spf1 mx -all"]);
    assert_eq!(site.serial(), serial);

    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    assert_eq!(
        site.txt(DOMAIN),
        ["777 \"google-site-verification=x\"", "777 \"v=spf1 mx -all\""]
    );
    assert_eq!(site.txt(HOST), ["3600 \"v=spf1 a -all\""]);
    mailcert.run(&["check", "dns"]).expect(0);

    let serial = site.serial();
    let again = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    says(&again, &["nothing to change"]);
    mailcert.run(&["plan", "dns", "--expect-no-changes"]).expect(0);
    assert_eq!((site.serial(), site.n_journalled()), (serial, 1));

    mailcert.run(&["undo"]).expect(0);
    assert_eq!((site.txt(DOMAIN), site.txt(HOST)), (domain, host));
    let serial = site.serial();
    says(&mailcert.run(&["undo"]).expect(0), &["nothing to change"]);
    assert_eq!(site.serial(), serial);
}

#[test]
#[ignore = "real: needs named"]
fn a_record_that_exists_is_completed() {
    let site = Site::start(
        "@ 777 TXT \"v=spf1  ip4:192.0.2.9 ?all\"\n@ 777 TXT \"kept\"\nmail 55 TXT \"v=spf1 -all\"\n",
    );
    let mailcert = site.plain();
    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    assert_eq!(
        site.txt(DOMAIN),
        ["777 \"kept\"", "777 \"v=spf1 ip4:192.0.2.9 mx ?all\""]
    );
    let raw = site.bind.dig(DOMAIN, "TXT");
    assert!(
        raw.contains("v=spf1  ip4:192.0.2.9 mx ?all"),
        "the odd spacing stays: {raw}"
    );
    assert_eq!(site.txt(HOST), ["55 \"v=spf1 a -all\""]);
    says(
        &mailcert.run(&["apply", "dns", "--yes"]).expect(0),
        &["nothing to change"],
    );
}

#[test]
#[ignore = "real: needs named"]
fn two_records_are_left_to_the_operator() {
    let site = Site::start("@ TXT \"v=spf1 mx -all\"\n@ TXT \"v=spf1 a -all\"\n");
    let before = site.txt(DOMAIN);
    assert_eq!(before.len(), 2);
    let refused = site.plain().run(&["apply", "dns", "--yes"]).expect(1);
    says(&refused, &["2 SPF records", "merge them"]);
    assert_eq!(site.txt(DOMAIN), before);
    // The host's own record is another matter.
    assert!(site.txt(HOST)[0].contains("v=spf1 a -all"), "{refused}");
}

#[test]
#[ignore = "real: needs named"]
fn nothing_is_published_that_publish_does_not_name() {
    let site = Site::start("");
    let mailcert = site.mailcert(|config| config.replace("publish = [\"spf\"]", "publish = []"));
    let serial = site.serial();
    says(
        &mailcert.run(&["apply", "dns", "--yes"]).expect(0),
        &["nothing to change"],
    );
    assert_eq!(site.serial(), serial);
}

#[test]
#[ignore = "real: needs named, postconf"]
fn a_relay_that_is_not_covered_refuses_with_the_record_to_use() {
    let site = Site::start("relay A 192.0.2.77\n@ TXT \"v=spf1 mx -all\"\n");
    let options = PostfixOptions {
        main_cf: format!("relayhost = [relay.{DOMAIN}]:587\n"),
        ..PostfixOptions::default()
    };
    let postfix = Postfix::prepare(&site.scratch, &site.address, &options);
    let directory = format!("config_directory = {:?}", postfix.config_directory());
    let mailcert = site.mailcert(|config| config.replace("manage = false", &directory));
    let serial = site.serial();
    for command in [&["plan", "dns"][..], &["apply", "dns", "--yes"]] {
        let refused = mailcert.run(command).expect(1);
        says(
            &refused,
            &[
                "relay.example.test",
                "the record to use: v=spf1 mx a:relay.example.test -all",
            ],
        );
    }
    assert_eq!(site.serial(), serial);
    let found = mailcert
        .run(&["check", "dns", "--format", "json"])
        .expect(3)
        .json();
    assert_eq!(ids(&found, DOMAIN), ["spf.relayhost-not-covered"], "{found}");

    site.bind.nsupdate(&format!(
        "update delete {DOMAIN} TXT\nupdate add {DOMAIN} 60 TXT \"v=spf1 mx a:relay.{DOMAIN} -all\"\n\
         update add {HOST} 60 TXT \"v=spf1 a:relay.{DOMAIN} -all\""
    ));
    says(
        &mailcert.run(&["apply", "dns", "--yes"]).expect(0),
        &["nothing to change"],
    );
}

#[test]
#[ignore = "real: needs named"]
fn a_server_that_lags_is_named_and_ends_in_not_yet() {
    let site = Site::with(
        "@ 777 TXT \"kept\"\n",
        Some("@ 777 TXT \"kept\"\n"),
        Manner::Authoritative,
    );
    let mailcert = site.mailcert(|config| {
        config.replace(
            "domains = [\"example.test\"]",
            "domains = [\"mail.example.test\"]",
        )
    });
    let late = mailcert
        .run(&["apply", "dns", "--yes", "--format", "json"])
        .expect(4);
    says(&late, &["ns2.example.test", "answers without", "v=spf1 mx -all"]);
    assert_eq!(late.json()["ok"], false);
    assert_eq!(site.txt(HOST), ["3600 \"v=spf1 mx -all\""]);
    let found = mailcert
        .run(&["check", "dns", "--format", "json"])
        .expect(3)
        .json();
    assert!(
        ids(&found, HOST).contains(&"spf.servers-disagree".to_owned()),
        "{found}"
    );

    // It was written, so it can be taken back; the server that never had it agrees.
    mailcert.run(&["undo"]).expect(0);
    assert_eq!(site.txt(HOST), Vec::<String>::new());
    assert!(site.lagging.is_some());
}

#[test]
#[ignore = "real: needs named, pebble"]
fn servers_of_the_configuration_are_asked_instead_of_those_of_the_zone() {
    // The NS records name a server that learns of no update: the other side of a split horizon.
    let site = Site::with("", Some("@ TXT \"elsewhere\"\n"), Manner::Authoritative);
    let split = |config: &str, server: &LoopbackAddress| {
        config.replace(
            "timeout = \"1s\"\n",
            &format!("timeout = \"1s\"\nservers = [\"{}\"]\n", server.ip()),
        )
    };
    let mailcert = site.mailcert(|config| split(&config, &site.address));
    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    assert_eq!(site.txt(HOST), ["3600 \"v=spf1 a -all\""]);
    let found = mailcert.run(&["check", "dns", "--format", "json"]).json();
    assert_eq!(ids(&found, HOST), ["spf.ok"], "{found}");
    mailcert.run(&["undo"]).expect(0);
    assert_eq!(site.txt(HOST), Vec::<String>::new());

    let pebble = Pebble::start(&site.scratch, site.bind.address(), &without_blocklist());
    let issuing = site.mailcert(|config| {
        let config = site.config_with_ca(&config, &pebble, &[HOST]);
        split(&config, &site.address)
    });
    issuing.run(&["issue"]).expect(0);
    assert!(names_in(&site, &pebble, HOST).contains("DNS:mail.example.test"));

    // One that lags is waited for, and told as what it is.
    let lagging = site.mailcert(|config| split(&config, &site.second));
    let late = lagging.run(&["apply", "dns", "--yes"]).expect(4);
    let address = site.second.ip().to_string();
    says(&late, &["dns.servers", &address, "answers without"]);
}

#[test]
#[ignore = "real: needs named"]
fn undo_refuses_over_later_edits_and_by_force_takes_only_its_own() {
    let site = Site::start("@ 777 TXT \"kept\"\n");
    let mailcert = site.plain();
    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    site.bind
        .nsupdate(&format!("update add {DOMAIN} 777 TXT \"later\""));
    let serial = site.serial();
    let refused = mailcert.run(&["undo"]).expect(1);
    says(&refused, &["changed since", "\"later\"", "undo --force"]);
    assert_eq!(site.serial(), serial);
    assert_eq!(site.txt(HOST), ["3600 \"v=spf1 a -all\""]);
    mailcert.run(&["undo", "--force"]).expect(0);
    assert_eq!(site.txt(DOMAIN), ["777 \"kept\"", "777 \"later\""]);
    assert_eq!(site.txt(HOST), Vec::<String>::new());
}

#[test]
#[ignore = "real: needs named"]
fn a_key_that_the_server_does_not_accept_is_told_as_such() {
    let site = Site::start("");
    let serial = site.serial();
    let other = site
        .scratch
        .secret_file("other-secret", "YW5vdGhlciBzZWNyZXQgICAgICAgICAgICAgICAgICA=\n");
    let secret = format!("{:?}", site.bind.secret_file());
    let wrong = site.mailcert(|config| config.replace(&secret, &format!("{other:?}")));
    let refused = wrong.run(&["apply", "dns", "--yes"]).expect(1);
    says(&refused, &["BADSIG", "lab-key", "another secret", "remedy:"]);
    assert!(!refused.to_string().contains("YW5vdGhlci"), "{refused}");

    let unknown = site.mailcert(|config| config.replace("\"lab-key\"", "\"nobody\""));
    let refused = unknown.run(&["apply", "dns", "--yes"]).expect(1);
    says(&refused, &["BADKEY", "nobody", "key_name"]);

    let missing = site.mailcert(|config| config.replace(&secret, "\"/nonexistent/secret\""));
    let refused = missing.run(&["apply", "dns", "--yes"]).expect(2);
    says(&refused, &["/nonexistent/secret", "dns.provider"]);

    fs::set_permissions(&other, fs::Permissions::from_mode(0o666)).unwrap();
    let open = site.mailcert(|config| config.replace(&secret, &format!("{other:?}")));
    let refused = open.run(&["apply", "dns", "--yes"]).expect(2);
    says(&refused, &["other-secret", "others may write it"]);
    assert_eq!(site.serial(), serial);
}

#[test]
#[ignore = "real: needs named"]
fn an_apply_that_changed_nothing_is_none_that_undo_takes_back() {
    let site = Site::start("");
    let mailcert = site.plain();
    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    site.bind.nsupdate(&format!("update delete {HOST} TXT"));
    let other = site
        .scratch
        .secret_file("other-secret", "YW5vdGhlciBzZWNyZXQgICAgICAgICAgICAgICAgICA=\n");
    let secret = format!("{:?}", site.bind.secret_file());
    let wrong = site.mailcert(|config| config.replace(&secret, &format!("{other:?}")));
    wrong.run(&["apply", "dns", "--yes"]).expect(1);
    assert_eq!(site.n_journalled(), 1);
    site.plain().run(&["undo"]).expect(0);
    assert_eq!(site.txt(DOMAIN), Vec::<String>::new());
}

#[test]
#[ignore = "real: needs named, named-checkzone"]
fn records_are_what_named_reads() {
    let site = Site::start("");
    let mailcert = site.plain();
    let zone = mailcert.run(&["records", "--format", "zone"]).expect(0).stdout;
    let head = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n";
    let file = site.scratch.file("zone", format!("{head}{zone}"));
    let dump = run(std::process::Command::new("named-checkzone")
        .args(["-D", "-q", DOMAIN])
        .arg(file));
    let dump: Vec<String> = dump
        .lines()
        .filter(|line| line.contains("v=spf1"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        dump,
        [
            "example.test. 3600 IN TXT \"v=spf1 mx -all\"",
            "mail.example.test. 3600 IN TXT \"v=spf1 a -all\"",
        ]
    );
}

/// A quiet CA that issues for `example.test` itself: Pebble 2.10 panics over a name that is the end of a blocked one.
fn without_blocklist() -> PebbleOptions {
    PebbleOptions {
        config: serde_json::json!({ "domainBlocklist": [] }),
        ..PebbleOptions::quiet()
    }
}

/// Returns the names in a certificate and whether it verifies, as openssl sees both.
fn names_in(site: &Site, pebble: &Pebble, lineage: &str) -> String {
    let live = site.state().join("live").join(lineage);
    run(std::process::Command::new("openssl")
        .arg("verify")
        .arg("-CAfile")
        .arg(pebble.issuer_root_file())
        .arg("-untrusted")
        .arg(live.join("chain.pem"))
        .arg(live.join("cert.pem")));
    run(std::process::Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
        .arg(live.join("cert.pem")))
}

#[test]
#[ignore = "real: needs named, pebble"]
fn dns_01_proves_a_name_and_its_wildcard_beside_values_of_others() {
    let site = Site::start("_acme-challenge 777 TXT \"theirs\"\n");
    let pebble = Pebble::start(&site.scratch, site.bind.address(), &without_blocklist());
    let mailcert = site.mailcert(|config| {
        site.config_with_ca(&config, &pebble, &[DOMAIN, "*.example.test", "a.b.example.test"])
    });
    let serial = site.serial();
    mailcert.run(&["issue"]).expect(0);
    let names = names_in(&site, &pebble, DOMAIN);
    for name in ["DNS:example.test", "DNS:*.example.test", "DNS:a.b.example.test"] {
        assert!(names.contains(name), "{names}");
    }
    assert_ne!(site.serial(), serial, "the challenges went through this server");
    assert_eq!(site.txt("_acme-challenge.example.test"), ["777 \"theirs\""]);
    assert_eq!(site.txt("_acme-challenge.a.b.example.test"), Vec::<String>::new());
}

#[test]
#[ignore = "real: needs named, pebble"]
fn dns_01_follows_a_cname_into_another_zone() {
    let site = Site::with(
        "_acme-challenge.mail 60 CNAME host-7.challenges.test.\n",
        None,
        Manner::Resolving,
    );
    let pebble = Pebble::start(&site.scratch, site.bind.address(), &without_blocklist());
    let mailcert = site.mailcert(|config| site.config_with_ca(&config, &pebble, &[HOST]));
    let serial = site.serial();
    mailcert.run(&["issue"]).expect(0);
    assert!(names_in(&site, &pebble, HOST).contains("DNS:mail.example.test"));
    assert_eq!(
        site.serial(),
        serial,
        "nothing was written into the zone of the alias"
    );
    assert!(site.bind.log().contains("updating zone 'challenges.test/IN'"));
    assert_eq!(site.txt("host-7.challenges.test"), Vec::<String>::new());
    assert_eq!(
        site.rrset("_acme-challenge.mail.example.test", "CNAME"),
        ["60 host-7.challenges.test."]
    );
}

#[test]
#[ignore = "real: needs named, pebble"]
fn dns_01_is_cleaned_up_when_the_ca_does_not_see_it() {
    // The CA asks another server than the one that the zone names.
    let site = Site::with(
        "_acme-challenge 777 TXT \"theirs\"\n",
        None,
        Manner::Authoritative,
    );
    let elsewhere = Site::start("");
    let pebble = Pebble::start(&site.scratch, elsewhere.bind.address(), &without_blocklist());
    let mailcert = site.mailcert(|config| site.config_with_ca(&config, &pebble, &[DOMAIN, "*.example.test"]));
    let refused = mailcert.run(&["issue"]).expect(1);
    says(&refused, &["example.test", "dns-01", "unauthorized"]);
    assert_eq!(site.txt("_acme-challenge.example.test"), ["777 \"theirs\""]);
    assert!(
        site.bind
            .log()
            .contains("adding an RR at '_acme-challenge.example.test' TXT")
    );
    assert!(!site.state().join("live").join(DOMAIN).exists());
}

#[test]
#[ignore = "real: needs named, pebble"]
fn dns_01_waits_for_every_server_and_cleans_up_when_one_lags() {
    let site = Site::with("", Some(""), Manner::Authoritative);
    let pebble = Pebble::start(&site.scratch, site.bind.address(), &without_blocklist());
    let mailcert = site.mailcert(|config| site.config_with_ca(&config, &pebble, &[HOST]));
    let refused = mailcert.run(&["issue"]).expect(1);
    says(
        &refused,
        &["ns2.example.test", "answers without", "mail.example.test"],
    );
    assert_eq!(
        site.txt("_acme-challenge.mail.example.test"),
        Vec::<String>::new()
    );
    assert!(
        site.bind
            .log()
            .contains("adding an RR at '_acme-challenge.mail.example.test' TXT")
    );
    assert_eq!(
        pebble.count_in_log("Attempting to validate"),
        0,
        "the CA was not told to look"
    );
    assert_eq!(fs::read_dir(site.state().join("live")).unwrap().count(), 0);
}

#[test]
#[ignore = "real: needs named, pebble"]
fn dns_01_with_a_wrong_key_orders_nothing() {
    let site = Site::start("");
    let pebble = Pebble::start(&site.scratch, site.bind.address(), &without_blocklist());
    let mailcert = site.mailcert(|config| {
        let config = config.replace("\"lab-key\"", "\"nobody\"");
        site.config_with_ca(&config, &pebble, &[HOST])
    });
    let refused = mailcert.run(&["issue"]).expect(1);
    says(&refused, &["BADKEY", "nobody"]);
    assert_eq!(pebble.n_orders_and_certificates().0, 0);
    assert_eq!(
        site.txt("_acme-challenge.mail.example.test"),
        Vec::<String>::new()
    );
    assert_eq!(pebble.count_in_log("Attempting to validate"), 0);
}

#[test]
#[ignore = "real: needs named, pebble"]
fn dns_01_without_a_delegation_or_with_a_lame_server_orders_nothing() {
    let site = Site::start("@ NS lame\nlame A 127.0.0.1\nsub NS nobody.example.test.\n");
    let pebble = Pebble::start(&site.scratch, site.bind.address(), &without_blocklist());
    let mailcert = site.mailcert(|config| {
        let names = [HOST, "*.sub.example.test"];
        site.config_with_ca(&config, &pebble, &names)
    });
    let refused = mailcert.run(&["issue"]).expect(1);
    says(
        &refused,
        &[
            "lame.example.test (127.0.0.1) is named as a server of example.test and does not answer for it",
            "sub.example.test: there is no place for its challenge",
            "no order was made",
        ],
    );
    assert_eq!(pebble.n_orders_and_certificates().0, 0);
}
