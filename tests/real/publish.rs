//! Every family of records in a real BIND: published once, following the configuration, taken back byte for byte; what others
//! wrote stays. And the policy that comes before its record, the key in a signed zone.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::dns::{Site, says};
use crate::support::{
    Authority, LoopbackAddress, Mailcert, Manner, World, WorldOptions,
    server::{Server, run, wait_until},
    signed::{UPDATE_KEY, Updated},
    world::{DOMAIN, HOST},
};

/// What `[dns]` says in the place of `publish = ["spf"]`, and what certificate there is.
pub const EVERYTHING: &str = "\
publish = [\"spf\", \"dmarc\", \"tls-rpt\", \"caa\", \"srv\"]\n\
dmarc = { policy = \"quarantine\", rua = [\"mailto:dmarc@example.test\"] }\n\
tls_rpt = { rua = [\"mailto:tls@reports.test\"] }\n\
caa = { iodef = \"mailto:security@example.test\" }\n\
srv = [\"submissions\", \"imaps\"]\n\
[acme]\n\
terms_of_service_agreed = true\n\
[acme.challenge]\n\
type = \"dns-01\"\n\
[[certificate]]\n\
identifiers = [\"mail.example.test\"]\n";

/// What the host's records come to, the others of the zone left out.
pub const PUBLISHED: [&str; 10] = [
    "_dmarc.example.test. 3600 IN TXT \"v=DMARC1; p=quarantine; rua=mailto:dmarc@example.test\"",
    "_imaps._tcp.example.test. 3600 IN SRV 0 1 993 mail.example.test.",
    "_pop3s._tcp.example.test. 3600 IN SRV 0 0 0 .",
    "_smtp._tls.example.test. 3600 IN TXT \"v=TLSRPTv1; rua=mailto:tls@reports.test\"",
    "_submission._tcp.example.test. 3600 IN SRV 0 0 0 .",
    "_submissions._tcp.example.test. 3600 IN SRV 0 1 465 mail.example.test.",
    "example.test. 777 IN TXT \"v=spf1 mx -all\"",
    "mail.example.test. 3600 IN CAA 0 iodef \"mailto:security@example.test\"",
    "mail.example.test. 3600 IN CAA 0 issue \"letsencrypt.org\"",
    "mail.example.test. 3600 IN TXT \"v=spf1 a -all\"",
];

fn with(site: &Site, dns: &str) -> Mailcert {
    site.mailcert(|config| config.replace("publish = [\"spf\"]\n", dns))
}

#[test]
#[ignore = "real: needs named"]
fn every_family_is_published_once_and_taken_back() {
    let site = Site::start("@ 777 TXT \"google-site-verification=x\"\n");
    let mailcert = with(&site, EVERYTHING);
    let before = site.bind.zone(DOMAIN);
    let planned = mailcert.run(&["plan", "dns"]).expect(0);
    let expected: Vec<String> = PUBLISHED.iter().map(|line| format!("+ {line}")).collect();
    says(&planned, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(site.bind.zone(DOMAIN), before, "plan changes nothing");

    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    let mut after: Vec<String> = before.clone();
    after.extend(PUBLISHED.map(str::to_owned));
    after.sort();
    let mut found = site.bind.zone(DOMAIN);
    found.sort();
    assert_eq!(found, after);
    let serial = site.serial();
    says(
        &mailcert.run(&["apply", "dns", "--yes"]).expect(0),
        &["nothing to change"],
    );
    assert_eq!(site.serial(), serial);

    // What is ours follows the configuration; each step can be taken back.
    let stronger = with(&site, &EVERYTHING.replace("quarantine", "reject"));
    stronger.run(&["apply", "dns", "--yes"]).expect(0);
    assert_eq!(
        site.txt(&format!("_dmarc.{DOMAIN}")),
        ["3600 \"v=DMARC1; p=reject; rua=mailto:dmarc@example.test\""]
    );
    stronger.run(&["undo"]).expect(0);
    assert_eq!(site.bind.zone(DOMAIN), found);
    stronger.run(&["undo"]).expect(0);
    assert_eq!(site.bind.zone(DOMAIN), before);
}

#[test]
#[ignore = "real: needs named"]
fn what_others_wrote_stays_and_is_told() {
    let records = "\
        @ TXT \"v=spf1 mx -all\"\nmail TXT \"v=spf1 a -all\"\n\
        _dmarc 60 TXT \"v=DMARC1; p=none\"\n_dmarc 60 TXT \"other\"\n\
        _smtp._tls TXT \"v=TLSRPTv1; rua=mailto:theirs@reports.test\"\n\
        _imaps._tcp SRV 0 1 993 elsewhere\nelsewhere A 192.0.2.9\n\
        mail 55 CAA 0 issue \"other-ca.test\"\n";
    let site = Site::start(records);
    let mailcert = with(&site, EVERYTHING);
    let applied = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    says(
        &applied,
        &[
            "_dmarc.example.test TXT is \"v=DMARC1; p=none\", which was not written by mailcert and stays",
            "_smtp._tls.example.test TXT is",
            "_imaps._tcp.example.test SRV is 0 1 993 elsewhere.example.test.",
        ],
    );
    assert_eq!(
        site.txt(&format!("_dmarc.{DOMAIN}")),
        ["60 \"other\"", "60 \"v=DMARC1; p=none\""]
    );
    assert_eq!(
        site.rrset(HOST, "CAA"),
        [
            "55 0 iodef \"mailto:security@example.test\"",
            "55 0 issue \"letsencrypt.org\"",
            "55 0 issue \"other-ca.test\""
        ]
    );
    let checked = mailcert.run(&["check", "dns"]);
    says(&checked, &["dmarc.differs", "tls-rpt.differs", "srv.differs"]);
    // What somebody wrote since is not taken back with what we wrote.
    site.bind
        .nsupdate(&format!("update add {HOST} 55 CAA 0 issue \"late-ca.test\""));
    let zone = site.bind.zone(DOMAIN);
    says(
        &mailcert.run(&["undo"]).expect(1),
        &["mail.example.test CAA is now", "late-ca.test", "undo --force"],
    );
    assert_eq!(site.bind.zone(DOMAIN), zone);
    mailcert.run(&["undo", "--force"]).expect(0);
    assert_eq!(
        site.rrset(HOST, "CAA"),
        ["55 0 issue \"late-ca.test\"", "55 0 issue \"other-ca.test\""]
    );
}

#[test]
#[ignore = "real: needs named"]
fn a_secondary_that_lags_is_waited_for_and_named() {
    let site = Site::with(
        "@ TXT \"v=spf1 mx -all\"\nmail TXT \"v=spf1 a -all\"\n",
        Some(""),
        Manner::Authoritative,
    );
    let mailcert = with(&site, "publish = [\"srv\"]\nsrv = [\"imaps\"]\n");
    let applied = mailcert.run(&["apply", "dns", "--yes"]).expect(4);
    says(
        &applied,
        &[
            "ns2.example.test",
            "it answers without 0 1 993 mail.example.test.",
        ],
    );
    // It was written all the same, and can be taken back.
    assert_eq!(
        site.rrset(&format!("_imaps._tcp.{DOMAIN}"), "SRV"),
        ["3600 0 1 993 mail.example.test."]
    );
}

#[test]
#[ignore = "real: needs named"]
fn records_agree_with_the_plan_and_with_named() {
    let records =
        "@ 777 TXT \"v=spf1 ip4:192.0.2.9 ~all\"\n@ 777 TXT \"kept\"\nmail CAA 0 issue \"other-ca.test\"\n";
    let site = Site::start(records);
    let mailcert = with(&site, EVERYTHING);
    let states = || {
        let found = mailcert.run(&["records", "--format", "json"]).expect(0).json();
        let of = |record: &Value| {
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            format!(
                "{} {} {} {}",
                text("state"),
                text("name"),
                text("type"),
                text("data")
            )
        };
        let records = found["records"].as_array().unwrap();
        records.iter().map(of).collect::<Vec<String>>()
    };
    let before = states();
    for line in [
        "missing example.test TXT \"v=spf1 ip4:192.0.2.9 mx ~all\"",
        "present example.test MX 10 mail.example.test.",
        "missing mail.example.test CAA 0 issue \"letsencrypt.org\"",
        "present mail.example.test CAA 0 issue \"other-ca.test\"",
        "missing _submission._tcp.example.test SRV 0 0 0 .",
    ] {
        assert!(
            before.iter().any(|found| found == line),
            "{line} is missing: {before:#?}"
        );
    }
    let zone = mailcert.run(&["records", "--format", "zone"]).expect(0).stdout;
    assert!(
        zone.contains("; ") && zone.contains("the PTR record of"),
        "{zone}"
    );
    let head = "$TTL 60\n@ SOA ns1 root 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n";
    let file = site.scratch.file("fragment.zone", format!("{head}{zone}"));
    let dump = run(Command::new("named-checkzone").args(["-D", DOMAIN]).arg(file));
    for data in [
        "v=spf1 ip4:192.0.2.9 mx ~all",
        "letsencrypt.org",
        "0 1 465 mail.example.test.",
    ] {
        assert!(dump.contains(data), "{data} is missing: {dump}");
    }
    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    let after = states();
    let mut published = after.iter().filter(|line| !line.contains("_mta-sts."));
    assert!(published.all(|line| line.starts_with("present ")), "{after:#?}");
    let table = mailcert.run(&["records", "--format", "table"]).expect(0);
    assert!(table.stdout.starts_with("NAME"), "{table}");
}

/// Serves the files below a directory by HTTPS.
fn serve(world: &World, address: &LoopbackAddress, authority: &Authority, webroot: &Path) -> Server {
    let identity = authority.issue(&format!("mta-sts.{DOMAIN}"), Duration::DAY);
    let files = identity.leave(&world.scratch, "web-identity");
    let mut command = Command::new("openssl");
    command
        .args([
            "s_server",
            "-quiet",
            "-WWW",
            "-accept",
            &address.port(443).to_string(),
        ])
        .arg("-cert")
        .arg(files.join("fullchain.pem"))
        .arg("-cert_chain")
        .arg(files.join("fullchain.pem"))
        .arg("-key")
        .arg(files.join("privkey.pem"))
        .current_dir(webroot);
    let mut server = Server::spawn(&world.scratch, "https", &mut command);
    server.wait_for(address.port(443));
    server
}

/// Returns the data of a TLSA record for the key of a PEM certificate, as openssl computes it.
fn tlsa_of(world: &World) -> String {
    let live = world.state_directory().join("live").join(HOST).join("cert.pem");
    let key = run(Command::new("openssl")
        .args(["x509", "-noout", "-pubkey", "-in"])
        .arg(live));
    let key = world.scratch.file("public.pem", key);
    let der = world.scratch.path().join("public.der");
    run(Command::new("openssl")
        .args(["pkey", "-pubin", "-outform", "der", "-in"])
        .arg(key)
        .arg("-out")
        .arg(&der));
    let digest = run(Command::new("sha256sum").arg(der));
    format!(
        "3 1 1 {}",
        digest.split_whitespace().next().unwrap().to_ascii_uppercase()
    )
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn policy_and_key_are_published_when_the_mail_host_is_ready() {
    let world = World::with(&WorldOptions::default());
    let take = || LoopbackAddress::take(&world.scratch);
    let (signing, validating, web) = (take(), take(), take());
    let records = format!(
        "@ MX 10 mail\nmail A {}\nmta-sts A {}\n@ TXT \"v=spf1 mx -all\"\nmail TXT \"v=spf1 a -all\"\n",
        world.address.ip(),
        web.ip()
    );
    let [a, b, c, d] = world.address.ip().octets();
    let reverse = format!("{d}.{c}.{b}.{a}.in-addr.arpa. PTR {HOST}.\n");
    let signed = Updated::start_with(&world.scratch, &signing, &validating, &records, &reverse);
    let webroot = world.scratch.dir("www");
    let dns = format!(
        "[dns]\nresolvers = [\"{}\"]\n\
         provider = {{ type = \"rfc2136\", server = \"{}\", key_name = \"{UPDATE_KEY}\", secret_file = {:?} }}\n\
         timeout = \"5s\"\n\
         publish = [\"spf\", \"dmarc\", \"mta-sts\", \"tls-rpt\", \"caa\", \"srv\", \"tlsa\"]\n\
         dmarc = {{ policy = \"quarantine\", rua = [\"mailto:dmarc@example.test\"] }}\n\
         mta_sts = {{ mode = \"enforce\", webroot = {webroot:?} }}\n\
         tls_rpt = {{ rua = [\"mailto:tls@reports.test\"] }}\n\
         caa = {{ bind = \"account\" }}\n\
         srv = [\"submissions\", \"imaps\"]\n",
        validating.ip(),
        signed.address,
        signed.secret_file,
    );
    world.write_config(|config| config[..config.find("[dns]").unwrap()].to_owned() + &dns);
    let authority = Authority::new();
    let issuer = fs::read_to_string(world.pebble.issuer_root_file()).unwrap();
    let roots = world.scratch.file("roots.pem", authority.root() + &issuer);
    let mut mailcert = world.mailcert();
    mailcert.vars.insert("SSL_CERT_FILE".into(), roots.into());
    let dig = |name: &str, kind: &str| {
        run(Command::new("dig")
            .arg(format!("@{}", signing.ip()))
            .args(["+short", "+norecurse", name, kind]))
    };

    // Port 25 serves a certificate of nobody's, so that neither may be published; all else is.
    let early = mailcert.run(&["apply", "dns", "--yes"]).expect(1);
    says(
        &early,
        &[
            "the MTA-STS policy of example.test is not published",
            "mail.example.test",
            "no TLSA record is published",
        ],
    );
    assert!(dig("_dmarc.example.test", "TXT").contains("p=quarantine"));
    assert_eq!(
        dig("_mta-sts.example.test", "TXT") + &dig("_25._tcp.mail.example.test", "TLSA"),
        ""
    );

    mailcert.run(&["issue"]).expect(0);
    // The policy is written, and nobody serves it yet: the record waits for it.
    let unserved = mailcert.run(&["apply", "dns", "--yes"]).expect(1);
    says(&unserved, &["was not published: its policy is not served yet"]);
    assert_eq!(dig("_mta-sts.example.test", "TXT"), "");
    let policy = webroot.join(".well-known/mta-sts.txt");
    assert_eq!(
        fs::read_to_string(&policy).unwrap(),
        "version: STSv1\nmode: enforce\nmx: mail.example.test\nmax_age: 1209600\n"
    );
    let tlsa = dig("_25._tcp.mail.example.test", "TLSA").replace(' ', "");
    assert_eq!(tlsa.trim(), tlsa_of(&world).replace(' ', ""));

    let _https = serve(&world, &web, &authority, &webroot);
    mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    assert!(dig("_mta-sts.example.test", "TXT").starts_with("\"v=STSv1; id="));
    says(
        &mailcert.run(&["apply", "dns", "--yes"]).expect(0),
        &["nothing to change"],
    );

    let caa = dig("mail.example.test", "CAA");
    assert!(
        caa.contains("pebble.letsencrypt.org; accounturi=https://")
            && caa.contains("; validationmethods=http-01"),
        "{caa}"
    );

    // The key to follow as well, and then all is as it should be; that a lab's address is nobody else's cannot be mended.
    mailcert.run(&["renew"]).expect(0);
    // It remembers for a second what it was asked before.
    wait_until("the resolver has both keys", || {
        let both = Command::new("dig")
            .arg(format!("@{}", validating.ip()))
            .args(["+short", "_25._tcp.mail.example.test", "TLSA"])
            .output();
        String::from_utf8_lossy(&both.unwrap().stdout).lines().count() == 2
    });
    let found = mailcert.run(&["check", "dns", "--format", "json"]).json();
    let told = |severity: &str| -> Vec<&Value> {
        let all = found["findings"].as_array().unwrap();
        all.iter()
            .filter(|finding| finding["severity"] == severity && finding["id"] != "address.not-global")
            .collect()
    };
    assert!(
        told("error").is_empty() && told("warning").is_empty(),
        "{:#?} {:#?}",
        told("error"),
        told("warning")
    );
    for family in [
        "spf", "mx", "dmarc", "mta-sts", "tls-rpt", "caa", "dnssec", "srv", "tlsa",
    ] {
        let id = format!("{family}.ok");
        assert!(
            told("ok").iter().any(|finding| finding["id"] == id),
            "{id}: {found:#}"
        );
    }
    assert!(
        told("info")
            .iter()
            .all(|finding| finding["id"] != "tlsa.no-rollover"),
        "{found:#}"
    );
    leaves_mta_sts(&world, &mailcert, &policy, &dig);

    mailcert.run(&["undo"]).expect(0);
    assert_eq!(dig("_mta-sts.example.test", "TXT"), "");
    mailcert.run(&["undo"]).expect(0);
    assert!(!policy.exists(), "the policy was not there before");
    assert_eq!(dig("_25._tcp.mail.example.test", "TLSA"), "");
}

/// Makes all that was applied older: what a clock of our own would do, but the name server knows the time.
fn days_pass(world: &World, days: i64) {
    for entry in fs::read_dir(world.state_directory().join("journal")).unwrap() {
        let path = entry.unwrap().path().join("entry.json");
        let mut entry: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let at = OffsetDateTime::parse(entry["at"].as_str().unwrap(), &Rfc3339).unwrap();
        entry["at"] = (at - Duration::days(days)).format(&Rfc3339).unwrap().into();
        fs::write(path, entry.to_string()).unwrap();
    }
}

/// Leaves MTA-STS as RFC 8461, 8.3 has it, and takes that back again.
fn leaves_mta_sts(world: &World, mailcert: &Mailcert, policy: &Path, dig: &dyn Fn(&str, &str) -> String) {
    let (record, config) = (
        dig("_mta-sts.example.test", "TXT"),
        fs::read_to_string(world.config_file()).unwrap(),
    );
    world.scratch.file(
        "mailcert.toml",
        config.replace("mode = \"enforce\"", "mode = \"none\""),
    );
    // Not in a hurry.
    let file = world.config_file();
    let none = fs::read_to_string(&file).unwrap();
    world
        .scratch
        .file("mailcert.toml", config.replace("\"mta-sts\", ", ""));
    says(
        &mailcert.run(&["plan", "dns"]).expect(0),
        &["the MTA-STS policy of example.test stays, and senders heed it"],
    );
    world.scratch.file("mailcert.toml", none);
    let begun = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    says(&begun, &["example.test leaves MTA-STS"]);
    assert_eq!(
        fs::read_to_string(policy).unwrap(),
        "version: STSv1\nmode: none\nmx: mail.example.test\nmax_age: 86400\n"
    );
    let new = dig("_mta-sts.example.test", "TXT");
    assert!(new.starts_with("\"v=STSv1; id=") && new != record, "{new}");

    // Two weeks were to be remembered.
    days_pass(world, 13);
    let early = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    says(
        &early,
        &[
            "nothing to change",
            "senders may remember the policy before until",
        ],
    );
    days_pass(world, 2);
    let gone = mailcert.run(&["apply", "dns", "--yes"]).expect(0);
    says(&gone, &["example.test has left MTA-STS"]);
    assert_eq!(dig("_mta-sts.example.test", "TXT"), "");
    assert!(!policy.exists());
    says(
        &mailcert.run(&["apply", "dns", "--yes"]).expect(0),
        &["nothing to change"],
    );

    mailcert.run(&["undo"]).expect(0);
    assert_eq!(dig("_mta-sts.example.test", "TXT"), new);
    mailcert.run(&["undo"]).expect(0);
    assert_eq!(dig("_mta-sts.example.test", "TXT"), record);
    world.scratch.file("mailcert.toml", config);
}
