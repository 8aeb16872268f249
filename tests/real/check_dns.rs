//! `check dns` against a real name server, a validating resolver and a web server: what is proven, what is served, how
//! long it takes, and what hostile answers do.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    Authority, LoopbackAddress, Mailcert, Outcome, Scratch, World,
    page::{Conduct, HostilePage},
    server::{Server, run},
    signed::{Signed, Signing, SlowWay},
    world::DOMAIN,
};

const GOOD: &str = "\
@ MX 10 mail\n\
@ TXT \"v=spf1 mx include:one.example.test -all\"\n\
@ A 198.51.100.80\n\
@ CAA 0 issue \"letsencrypt.org\"\n\
mail A 198.51.100.25\n\
mail AAAA 2001:db8::25\n\
mail TXT \"v=spf1 a -all\"\n\
one TXT \"v=spf1 include:two.example.test -all\"\n\
two TXT \"v=spf1 include:three.example.test -all\"\n\
three TXT \"v=spf1 a:four.example.test -all\"\n\
four A 198.51.100.44\n\
_dmarc TXT \"v=DMARC1; p=quarantine; rua=mailto:dmarc@example.test\"\n\
_mta-sts TXT \"v=STSv1; id=1\"\n\
_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@reports.test\"\n\
_submissions._tcp SRV 0 1 465 mail\n\
_imaps._tcp SRV 0 1 993 mail\n";

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.test\r\nmax_age: 604800\r\n";

/// Servers, and the host that mailcert runs on.
struct Site {
    scratch: Scratch,
    authority: LoopbackAddress,
    resolver: LoopbackAddress,
    web: LoopbackAddress,
    _servers: Option<Signed>,
    _https: Option<Server>,
}

impl Site {
    fn start(zones: &[(&str, String, Signing)]) -> Self {
        let scratch = Scratch::new();
        let take = || LoopbackAddress::take(&scratch);
        let (authority, resolver, web) = (take(), take(), take());
        let mut site = Self {
            scratch,
            authority,
            resolver,
            web,
            _servers: None,
            _https: None,
        };
        let zones: Vec<(&str, String, Signing)> = zones
            .iter()
            .map(|(origin, records, signing)| {
                let ip = site.authority.ip();
                let glue = if *origin == "example.test" {
                    format!("ns1 A {ip}\n")
                } else {
                    String::new()
                };
                (
                    *origin,
                    glue + &records.replace("WEB", &site.web.ip().to_string()),
                    *signing,
                )
            })
            .collect();
        site._servers = Some(Signed::start(
            &site.scratch,
            &site.authority,
            &site.resolver,
            &zones,
        ));
        site.resolve_at(&site.resolver.ip().to_string());
        site
    }

    /// Starts a site whose domain is good in everything.
    fn good() -> Self {
        let reverse = "25 PTR mail.example.test.\n".to_owned();
        let records = format!("{GOOD}mta-sts A WEB\n");
        let mut site = Self::start(&[
            ("example.test", records, Signing::Signed),
            ("100.51.198.in-addr.arpa", reverse, Signing::Unsigned),
        ]);
        site.serve_policy(POLICY);
        site
    }

    fn resolve_at(&self, ip: &str) {
        self.scratch
            .file("root/etc/resolv.conf", format!("nameserver {ip}\n"));
    }

    /// Serves the policy as openssl serves files: head and body as they are.
    fn serve_policy(&mut self, policy: &str) {
        let authority = Authority::new();
        self.scratch.file("roots.pem", authority.root());
        let identity = authority.issue("mta-sts.example.test", time::Duration::DAY);
        let files = identity.leave(&self.scratch, "identity");
        self.scratch.file(
            "web/.well-known/mta-sts.txt",
            format!(
                "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{policy}",
                policy.len()
            ),
        );
        let mut command = Command::new("openssl");
        command
            .args([
                "s_server",
                "-quiet",
                "-HTTP",
                "-accept",
                &self.web.port(443).to_string(),
            ])
            .arg("-cert")
            .arg(files.join("fullchain.pem"))
            .arg("-cert_chain")
            .arg(files.join("fullchain.pem"))
            .arg("-key")
            .arg(files.join("privkey.pem"))
            .current_dir(self.scratch.path().join("web"));
        let mut server = Server::spawn(&self.scratch, "https", &mut command);
        server.wait_for(self.web.port(443));
        self._https = Some(server);
    }

    fn mailcert(&self) -> Mailcert {
        let mut mailcert = Mailcert::new(None, &self.scratch.path().join("root"));
        let roots = self.scratch.path().join("roots.pem");
        mailcert.vars.insert("SSL_CERT_FILE".into(), roots.into());
        mailcert
    }

    fn check(&self, args: &[&str]) -> Outcome {
        let all: Vec<&str> = ["check", "dns", "--format", "json"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        self.mailcert().run(&all)
    }
}

/// Returns severity and id of every finding.
fn ids(found: &Value) -> BTreeSet<(String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = found["findings"].as_array().unwrap();
    all.iter()
        .map(|finding| (text(finding, "severity"), text(finding, "id")))
        .collect()
}

#[track_caller]
fn has(outcome: &Outcome, severity: &str, id: &str) {
    let found = ids(&outcome.json());
    assert!(
        found.contains(&(severity.to_owned(), id.to_owned())),
        "{severity} {id} is missing: {outcome}"
    );
}

#[test]
#[ignore = "real: needs named, openssl"]
fn a_good_domain_has_no_finding_above_info() {
    let site = Site::good();
    let outcome = site.check(&["example.test"]).expect(0);
    let above: Vec<_> = ids(&outcome.json())
        .into_iter()
        .filter(|(severity, _)| severity == "warning" || severity == "error")
        .collect();
    assert!(above.is_empty(), "{outcome}");
    for id in [
        "spf.ok",
        "mx.ok",
        "dmarc.ok",
        "mta-sts.ok",
        "tls-rpt.ok",
        "dnssec.ok",
        "caa.ok",
        "srv.ok",
    ] {
        has(&outcome, "ok", id);
    }
    let text = site
        .mailcert()
        .run(&["check", "dns", "example.test", "--no-color"])
        .expect(0);
    assert!(text.stdout.contains("5 of 10 lookups"), "{text}");
    let nagios = site
        .mailcert()
        .run(&["check", "dns", "example.test", "--format", "nagios"])
        .expect(0);
    assert!(nagios.stdout.starts_with("MAILCERT OK"), "{nagios}");
}

#[test]
#[ignore = "real: needs named"]
fn an_answer_that_does_not_validate_is_told() {
    let expired = Site::start(&[("example.test", GOOD.to_owned(), Signing::Expired)]);
    let outcome = expired.check(&["example.test"]).expect(3);
    has(&outcome, "error", "dnssec.bogus");
    // One cause, one finding.
    assert_eq!(ids(&outcome.json()).len(), 1, "{outcome}");
    assert!(outcome.stdout.contains("not judged therefore: MX"), "{outcome}");
    let unsigned = Site::start(&[
        ("example.test", GOOD.to_owned(), Signing::Unsigned),
        ("signed.test", "x A 198.51.100.1\n".to_owned(), Signing::Signed),
    ]);
    // Nothing of the domain is signed, nor is the root: whether the resolver validates cannot be seen.
    has(&unsigned.check(&["example.test"]), "info", "dnssec.unknown");
}

#[test]
#[ignore = "real: needs named, openssl"]
fn what_is_wrong_in_a_zone_is_found() {
    let records = "\
        @ MX 10 alias\n@ MX 20 gone\nalias CNAME real\nreal A 198.51.100.25\n\
        @ TXT \"v=spf1 include:loop.example.test +all\"\nloop TXT \"v=spf1 include:loop.example.test -all\"\n\
        _dmarc TXT \"v=DMARC1; p=reject; rua=mailto:a@other.test; pct=50\"\n\
        _mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A WEB\n\
        _smtp._tls TXT \"v=TLSRPTv1; rua=x\"\n\
        weak._domainkey TXT \"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ\"\n\
        @ CAA 128 tbs \"x\"\n_imaps._tcp SRV 0 1 993 gone\n";
    let mut site = Site::start(&[("example.test", records.to_owned(), Signing::Signed)]);
    site.serve_policy("version: STSv1\nmode: enforce\nmx: other.example.test\nmax_age: 10\n");
    let outcome = site
        .check(&["example.test", "--selector", "weak", "--selector", "none"])
        .expect(3);
    for (severity, id) in [
        ("error", "mx.alias"),
        ("error", "mx.unresolved"),
        ("error", "spf.all-passes"),
        ("error", "spf.lookup-limit"),
        ("error", "dmarc.report-consent"),
        ("info", "dmarc.dropped-tag"),
        ("error", "mta-sts.mx-uncovered"),
        ("warning", "mta-sts.mx-stale"),
        ("warning", "mta-sts.max-age"),
        ("error", "tls-rpt.syntax"),
        ("error", "dkim.syntax"),
        ("error", "dkim.missing"),
        ("error", "caa.critical"),
        ("error", "srv.target-unresolved"),
        ("info", "tlsa.none"),
    ] {
        has(&outcome, severity, id);
    }
}

#[test]
#[ignore = "real: needs named"]
fn hostile_answers_harm_nothing() {
    let many: String = (0..1500)
        .map(|n| format!("@ TXT \"\\027[31m{n} {}\"\n", "\\027]0;x\\007".repeat(3)))
        .collect();
    let records = format!(
        "{many}@ MX 10 loop1\nloop1 CNAME loop2\nloop2 CNAME loop1\n\
         @ MX 20 a\\027[31m\\046b\n@ CAA 128 tbs \"\\027[2J\"\n_imaps._tcp SRV 0 1 993 \\007x\\032y\n\
         autoconfig A 127.0.0.1\n_25._tcp.a\\027[31m\\046b TLSA 3 1 0 {}\n\
         _dmarc CNAME _dmarc2\n_dmarc2 CNAME _dmarc\n\
         _mta-sts TXT \"v=STSv1; id=\\027[2J\"\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:\\027[2J@x.test\"\n",
        "ab".repeat(20_000)
    );
    let site = Site::start(&[("example.test", records, Signing::Unsigned)]);
    for format in ["text", "json", "nagios"] {
        let outcome = site
            .mailcert()
            .run(&["check", "dns", "example.test", "--format", format]);
        assert!(outcome.code == 3 || outcome.code == 2, "{outcome}");
        assert!(
            !outcome.stdout.contains('\x1b') && !outcome.stderr.contains('\x1b'),
            "{outcome}"
        );
    }
}

/// Checks the good domain while its policy's web server behaves so.
fn check_beside(conduct: Conduct) -> (Outcome, usize) {
    let mut site = Site::good();
    site._https = None;
    let authority = Authority::new();
    site.scratch.file("roots.pem", authority.root());
    let identity = authority.issue("mta-sts.example.test", time::Duration::DAY);
    let page = HostilePage::serve(site.web.port(443), &identity, conduct);
    let outcome = site.check(&["example.test"]);
    for said in [&outcome.stdout, &outcome.stderr] {
        assert!(
            !said.contains('\x1b') && !said.contains('\x07'),
            "{conduct:?}: {outcome}"
        );
    }
    (outcome, page.n_requests())
}

#[test]
#[ignore = "real: needs named, openssl"]
fn a_hostile_web_server_harms_nothing() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://mta-sts.example.test/.well-known/mta-sts.txt\r\n\
                    Content-Length: 0\r\n\r\n";
    for (conduct, id) in [
        (Conduct::Flood, "mta-sts.policy-size"),
        (Conduct::Head, "mta-sts.policy-unreachable"),
        (Conduct::Says(redirect), "mta-sts.redirect"),
        (Conduct::Says(""), "mta-sts.policy-unreachable"),
        (
            Conduct::Says("HTTP/1.1 200 \x1b[31mOK\x1b[0m\r\nContent-Type: \x1b]0;x\x07\r\n\r\n"),
            "mta-sts.policy-unreachable",
        ),
        (
            Conduct::Says(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nversion: STSv1\r\nmx: \x1b[2J\r\n",
            ),
            "mta-sts.policy",
        ),
        (
            Conduct::Says(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99999999999\r\n\r\nversion",
            ),
            "mta-sts.policy-unreachable",
        ),
    ] {
        let (outcome, n_requests) = check_beside(conduct);
        has(&outcome, "error", id);
        assert_eq!(n_requests, 1, "{conduct:?}: nobody is asked twice");
    }
}

#[test]
#[ignore = "real: needs named, openssl"]
fn long_a_web_server_that_never_ends_is_left() {
    let start = Instant::now();
    let (outcome, _) = check_beside(Conduct::Drip);
    has(&outcome, "error", "mta-sts.policy-unreachable");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
#[ignore = "real: needs named"]
fn a_list_is_checked_line_by_line() {
    let site = Site::start(&[("example.test", GOOD.to_owned(), Signing::Signed)]);
    let list = site
        .scratch
        .file("list", "# two\nexample.test\n\n one.example.test # x\n");
    let list = list.to_str().unwrap();
    let outcome = site.check(&["--from", list]);
    let found = outcome.json();
    assert_eq!(
        (&found["format"], &found["command"]),
        (&1.into(), &"check".into()),
        "{outcome}"
    );
    assert_eq!(found["ok"], outcome.code == 0);
    has(&outcome, "ok", "mx.ok");
    let subjects: BTreeSet<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["subject"].as_str().unwrap())
        .collect();
    assert!(
        subjects.contains("example.test") && subjects.contains("one.example.test"),
        "{outcome}"
    );
    let text = site
        .mailcert()
        .run(&["check", "dns", "--from", list, "--no-color"]);
    assert!(text.stdout.contains("ok mx.ok example.test"), "{text}");
    // One that does not exist has one finding.
    let typo = site.check(&["exmaple.example.test"]).expect(3);
    let found: Vec<(String, String)> = ids(&typo.json()).into_iter().collect();
    assert_eq!(
        found,
        [("error".to_owned(), "dns.no-such-name".to_owned())],
        "{typo}"
    );
    let bad = site.scratch.file("bad", "example.test\nnot a name\n");
    let refused = site.check(&["--from", bad.to_str().unwrap()]).expect(2);
    assert!(refused.to_string().contains("bad:2:"), "{refused}");
    site.mailcert().run(&["check", "tls", "--from", list]).expect(2);
}

#[test]
#[ignore = "real: needs named, openssl"]
fn the_time_is_that_of_the_longest_chain_of_questions() {
    /// How long each answer takes: long, so that a busy machine counts for little. `examples/benchmark-dns` has 50 ms.
    const DELAY: Duration = Duration::from_secs(1);
    /// The domain's TXT, three records that it includes one after the other, and the address that the last one names.
    const CHAIN: u32 = 5;
    let site = Site::good();
    let slow = LoopbackAddress::take(&site.scratch);
    let way = SlowWay::open(slow.port(53), site.resolver.port(53), DELAY);
    site.resolve_at(&slow.ip().to_string());
    // The authoritative server itself is asked as well, at once: its answers come sooner, and are no part of the chain.
    let (chain, mut fastest) = (DELAY * CHAIN, Duration::MAX);
    for n in 1..=3 {
        let start = Instant::now();
        site.check(&["example.test"]).expect(0);
        fastest = fastest.min(start.elapsed());
        assert!(way.n_asked() / n > 20, "{}", way.n_asked());
        if fastest < chain * 13 / 10 {
            return;
        }
    }
    panic!("{fastest:?} for a chain of {chain:?}");
}

/// Returns the findings with this id.
fn of<'f>(found: &'f Value, id: &str) -> Vec<&'f Value> {
    found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["id"] == id)
        .collect()
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn this_host_is_compared_with_what_is_published() {
    let world = World::start();
    world.write_config(|config| config);
    let check = || world.mailcert().run(&["check", "dns", "--format", "json"]);

    // What port 25 serves is not what is published: the record that is told to publish is the right one.
    let foreign = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let owner = "_25._tcp.mail.example.test";
    let publish = |record: &str| {
        world.bind.nsupdate(&format!(
            "update delete {owner} TLSA\nupdate add {owner} 60 TLSA {record}"
        ));
    };
    publish(&format!("3 1 1 {foreign}"));
    let found = check().json();
    let mismatch = of(&found, "tlsa.mismatch");
    assert_eq!(mismatch.len(), 1, "{found}");
    let remedy = mismatch[0]["remedy"].as_str().unwrap();
    publish(remedy.rsplit_once("TLSA ").unwrap().1);
    let outcome = check();
    assert!(of(&outcome.json(), "tlsa.mismatch").is_empty(), "{outcome}");
    has(&outcome, "warning", "tlsa.insecure");

    // The key that OpenDKIM signs with, as openssl has its public half.
    let root = world.scratch.path().join("root");
    let key = |name: &str| {
        let file = world.scratch.dir("root/etc/opendkim").join(name);
        run(Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&file)
            .arg("2048"));
        file
    };
    let file = key("s1.private");
    key("s2.private");
    let public = world.scratch.path().join("public.der");
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-outform", "DER", "-out"])
        .arg(&public)
        .arg("-in")
        .arg(&file));
    let text = run(Command::new("base64").args(["-w", "0"]).arg(&public));
    let (one, other) = text.trim().split_at(200);
    world.bind.nsupdate(&format!(
        "update add s1._domainkey.{DOMAIN} 60 TXT \"v=DKIM1; k=rsa; p={one}\" \"{other}\""
    ));
    let sign_with = |name: &str| {
        let conf = format!("Domain {DOMAIN}\nSelector s1\nKeyFile /etc/opendkim/{name}\n");
        std::fs::write(root.join("etc/opendkim.conf"), conf).unwrap();
    };
    sign_with("s1.private");
    has(&check(), "ok", "dkim.ok");
    sign_with("s2.private");
    has(&check(), "error", "dkim.mismatch");
    // As any domain, too: the keys of this host are looked at wherever they sign.
    let named = world
        .mailcert()
        .run(&["check", "dns", DOMAIN, "--format", "json"]);
    has(&named, "error", "dkim.mismatch");

    // SPF and names of the address that Postfix really sends from.
    world
        .bind
        .nsupdate(&format!("update add {DOMAIN} 60 TXT \"v=spf1 mx -all\""));
    has(&check(), "ok", "spf.ok");
    world.postfix.edit_main_cf(|mut text| {
        text.extend_from_slice(b"smtp_bind_address = 198.51.100.9\n");
        text
    });
    let outcome = check().expect(3);
    has(&outcome, "error", "spf.host-not-covered");
    has(&outcome, "error", "ptr.missing");
    assert!(
        outcome
            .stdout
            .contains("9.100.51.198.in-addr.arpa. IN PTR mail.example.test."),
        "{outcome}"
    );
    world.postfix.edit_main_cf(|mut text| {
        text.extend_from_slice(b"relayhost = [192.0.2.77]\n");
        text
    });
    has(&check(), "error", "spf.relayhost-not-covered");
}
