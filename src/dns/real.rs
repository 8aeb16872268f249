//! Tests against BIND: what we write is read back by dig, and what BIND refuses is told as what it is.
//!
//! Each test has name servers of its own, on port 53 of addresses of its own: authoritative servers are asked there and
//! nowhere else. They are given to `lo` for the time of the test, so the tests run as root.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use time::OffsetDateTime;

use super::{
    apply::{Sources, apply, propose},
    challenge::Dns01,
    check,
    desired::{Role, Wanted, tests::wanted_spf},
    error::{DnsError, Refusal},
    facts::Facts,
    gather, judge,
    lookup::Lookup,
    plan::Decision,
    provider::{Provider, rfc2136::Rfc2136, secret::TsigSecret},
    resolver::{Resolver, Server},
    sending::Sending,
    tlsa,
};
use crate::{
    config::{self, SecretSource, TsigAlgorithm},
    env::Clock,
    model::{
        finding::Finding,
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::Txt,
    },
};

const KEY: &str = "c2VjcmV0IGZvciB0ZXN0cyBvbmx5ICAgICAgICAgICA=";
const OTHER_KEY: &str = "YW5vdGhlciBzZWNyZXQgICAgICAgICAgICAgICAgICA=";

/// A BIND with the zones `test`, `mail.test` and `challenges.test`; ended on drop.
struct Named {
    address: IpAddr,
    child: Child,
    /// Removed after the child has ended.
    _directory: TempDir,
}

impl Named {
    /// Starts one on an address; `servers` are the NS of `mail.test`, `records` stand in it besides.
    fn start(address: IpAddr, servers: &[IpAddr], records: &str) -> Self {
        ip("add", address);
        let directory = tempfile::tempdir().unwrap();
        let soa = "$TTL 300\n@ SOA ns1.mail.test. root.mail.test. 1 60 60 600 60\n";
        let mut zone = soa.to_owned();
        for (index, server) in servers.iter().enumerate() {
            let index = index + 1;
            zone.push_str(&format!("@ NS ns{index}\nns{index} A {server}\n"));
        }
        zone.push_str(records);
        zone.push('\n');
        let ours = format!("{soa}@ NS ns1.mail.test.\n");
        fs::write(directory.path().join("mail"), zone).unwrap();
        fs::write(directory.path().join("challenges"), &ours).unwrap();
        fs::write(
            directory.path().join("test"),
            format!("{ours}mail NS ns1.mail\nns1.mail A {address}\n"),
        )
        .unwrap();
        let conf = format!(
            r#"options {{ directory "{}"; listen-on {{ {address}; }}; listen-on-v6 {{ none; }}; recursion no; notify no;
                 dnssec-validation no; pid-file none; session-keyfile none; }};
               controls {{ }};
               key "lab" {{ algorithm hmac-sha256; secret "{KEY}"; }};
               key "narrow" {{ algorithm hmac-sha256; secret "{KEY}"; }};
               zone "test" {{ type primary; file "test"; }};
               zone "mail.test" {{ type primary; file "mail";
                 update-policy {{ grant lab zonesub TXT CAA SRV TLSA; grant narrow name _acme-challenge.mail.test. TXT; }}; }};
               zone "challenges.test" {{ type primary; file "challenges"; update-policy {{ grant lab zonesub TXT; }}; }};"#,
            directory.path().display()
        );
        let conf_path = directory.path().join("named.conf");
        fs::write(&conf_path, conf).unwrap();
        let mut child = Command::new("named")
            .arg("-g")
            .arg("-c")
            .arg(&conf_path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        let is_running = lines.by_ref().map_while(Result::ok).any(|line| {
            log.push(line.clone());
            line.ends_with(" running")
        });
        assert!(is_running, "named did not start:\n{}", log.join("\n"));
        // Read on, so that named never blocks on a full pipe.
        thread::spawn(move || lines.for_each(drop));
        Self {
            address,
            child,
            _directory: directory,
        }
    }

    fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, 53)
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(vec![self.socket()])
    }

    fn provider(&self) -> Rfc2136 {
        self.provider_with("lab", TsigAlgorithm::HmacSha256, KEY, Clock::System)
    }

    fn provider_with(&self, key: &str, algorithm: TsigAlgorithm, secret: &str, clock: Clock) -> Rfc2136 {
        let settings = config::Rfc2136 {
            server: self.socket(),
            key_name: name(key),
            algorithm,
            secret: SecretSource::Env(String::new()),
        };
        Rfc2136::new(
            &settings,
            &TsigSecret::from_base64(secret, "the test").unwrap(),
            clock,
        )
        .unwrap()
    }

    /// Returns what dig sees of TXT: `TTL value` lines, sorted.
    fn dig(&self, owner: &str) -> Vec<String> {
        self.dig_for(owner, RecordType::Txt)
    }

    /// Returns what dig sees: `TTL value` lines, sorted.
    fn dig_for(&self, owner: &str, kind: RecordType) -> Vec<String> {
        let output = Command::new("dig")
            .args([
                &format!("@{}", self.address),
                "+norec",
                "+noall",
                "+answer",
                owner,
                kind.name(),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
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
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        ip("del", self.address);
    }
}

fn ip(verb: &str, address: IpAddr) {
    let status = Command::new("ip")
        .args(["addr", verb, &format!("{address}/32"), "dev", "lo"])
        .status()
        .unwrap();
    assert!(status.success(), "ip addr {verb} {address}: are we root?");
}

/// Returns two addresses that no other test of this process has.
fn addresses() -> [IpAddr; 2] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let third = NEXT.fetch_add(1, Ordering::Relaxed);
    [[127, 153, third, 1].into(), [127, 153, third, 2].into()]
}

fn name(text: &str) -> DomainName {
    DomainName::from_dns(text).unwrap()
}

fn texts(values: &[&str]) -> Vec<Rdata> {
    values.iter().map(|text| Rdata::text(text)).collect()
}

const SOON: Duration = Duration::from_secs(10);

fn one_server(records: &str) -> Named {
    let [address, _] = addresses();
    Named::start(address, &[address], records)
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn a_name_and_its_wildcard_share_an_rrset_with_others() {
    let named = one_server("_acme-challenge 777 TXT \"theirs\"");
    let (resolver, provider) = (named.resolver(), named.provider());
    let dns01 = Dns01 {
        resolver: &resolver,
        provider: &provider,
        timeout: SOON,
    };
    let values = [
        (name("mail.test"), "one".to_owned()),
        (name("mail.test"), "two".to_owned()),
    ];
    let presented = dns01.present(&values).await.unwrap();
    assert_eq!(
        named.dig("_acme-challenge.mail.test"),
        ["777 \"one\"", "777 \"theirs\"", "777 \"two\""]
    );
    dns01.cleanup(&presented).await.unwrap();
    assert_eq!(named.dig("_acme-challenge.mail.test"), ["777 \"theirs\""]);
    // Again: what is gone is no error.
    dns01.cleanup(&presented).await.unwrap();
    let values = [(name("a.mail.test"), "three".to_owned())];
    let presented = dns01.present(&values).await.unwrap();
    assert_eq!(named.dig("_acme-challenge.a.mail.test"), ["60 \"three\""]);
    dns01.cleanup(&presented).await.unwrap();
    assert_eq!(named.dig("_acme-challenge.a.mail.test"), Vec::<String>::new());
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn a_cname_delegates_challenges() {
    let named = one_server(
        "_acme-challenge.a CNAME b\nb CNAME a.challenges.test.\n_acme-challenge.loop CNAME l1\nl1 CNAME l2\nl2 CNAME l1",
    );
    let (resolver, provider) = (named.resolver(), named.provider());
    let dns01 = Dns01 {
        resolver: &resolver,
        provider: &provider,
        timeout: SOON,
    };
    let presented = dns01
        .present(&[(name("a.mail.test"), "one".to_owned())])
        .await
        .unwrap();
    assert_eq!(presented.records[0].zone, name("challenges.test"));
    assert_eq!(named.dig("a.challenges.test"), ["60 \"one\""]);
    dns01.cleanup(&presented).await.unwrap();
    assert_eq!(named.dig("a.challenges.test"), Vec::<String>::new());
    let error = dns01
        .present(&[(name("loop.mail.test"), "one".to_owned())])
        .await
        .unwrap_err();
    assert!(matches!(error.error, DnsError::CnameChain { .. }), "{error}");
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn a_wrong_key_is_told_as_what_it_is() {
    let named = one_server("");
    let refusal = |error: DnsError| match error {
        DnsError::Update(failure) => failure.refusal,
        error => panic!("{error}"),
    };
    let day = time::Duration::DAY;
    let cases = [
        (
            "lab",
            TsigAlgorithm::HmacSha256,
            OTHER_KEY,
            Clock::System,
            Refusal::BadSignature,
        ),
        (
            "nobody",
            TsigAlgorithm::HmacSha256,
            KEY,
            Clock::System,
            Refusal::BadKey,
        ),
        (
            "lab",
            TsigAlgorithm::HmacSha512,
            KEY,
            Clock::System,
            Refusal::BadKey,
        ),
        (
            "narrow",
            TsigAlgorithm::HmacSha256,
            KEY,
            Clock::System,
            Refusal::Refused,
        ),
    ];
    for (key, algorithm, secret, clock, expected) in cases {
        let provider = named.provider_with(key, algorithm, secret, clock);
        let result = provider
            .add(&name("mail.test"), &name("x.mail.test"), &texts(&["one"]), 60)
            .await;
        assert_eq!(refusal(result.unwrap_err()), expected, "{key}");
    }
    let late = Clock::Fixed(OffsetDateTime::now_utc() - day);
    let provider = named.provider_with("lab", TsigAlgorithm::HmacSha256, KEY, late);
    let result = provider
        .add(&name("mail.test"), &name("x.mail.test"), &texts(&["one"]), 60)
        .await;
    let Refusal::BadTime { ahead: Some(ahead) } = refusal(result.unwrap_err()) else {
        panic!()
    };
    assert!((86_399..86_500).contains(&ahead), "{ahead}");
    let provider = named.provider();
    let result = provider
        .add(&name("other.test"), &name("x.other.test"), &texts(&["one"]), 60)
        .await;
    assert_eq!(refusal(result.unwrap_err()), Refusal::NotAuthoritative);
    let result = provider
        .add(&name("mail.test"), &name("x.other.test"), &texts(&["one"]), 60)
        .await;
    assert_eq!(refusal(result.unwrap_err()), Refusal::NotInZone);
    assert_eq!(named.dig("x.mail.test"), Vec::<String>::new());
    // What was refused was not written, so there is nothing to complain about when cleaning up.
    let provider = named.provider_with("lab", TsigAlgorithm::HmacSha256, OTHER_KEY, Clock::System);
    let resolver = named.resolver();
    let dns01 = Dns01 {
        resolver: &resolver,
        provider: &provider,
        timeout: SOON,
    };
    let error = dns01
        .present(&[(name("mail.test"), "one".to_owned())])
        .await
        .unwrap_err();
    assert_eq!(error.left, None);
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn an_edit_made_meanwhile_is_not_overwritten() {
    let named = one_server("@ 555 TXT \"v=spf1 -all\"\n@ 555 TXT \"other\"");
    let (resolver, provider) = (named.resolver(), named.provider());
    let change = |before: &[&str], add: &[&str], remove: &[&str], owner: &str| RrsetChange {
        zone: name("mail.test"),
        name: name(owner),
        kind: RecordType::Txt,
        ttl: 3600,
        before: texts(before),
        add: texts(add),
        remove: texts(remove),
        reason: String::new(),
    };
    let first = change(
        &["other", "v=spf1 -all"],
        &["v=spf1 mx -all"],
        &["v=spf1 -all"],
        "mail.test",
    );
    // Somebody adds a value between our look and our change.
    provider
        .add(&name("mail.test"), &name("mail.test"), &texts(&["late"]), 60)
        .await
        .unwrap();
    let error = apply(&first, &provider, &resolver, SOON).await.unwrap_err();
    assert!(matches!(error, DnsError::ChangedMeanwhile { .. }), "{error}");
    assert_eq!(
        named.dig("mail.test"),
        ["555 \"late\"", "555 \"other\"", "555 \"v=spf1 -all\""]
    );
    let second = RrsetChange {
        before: provider
            .list(&name("mail.test"), &name("mail.test"), RecordType::Txt)
            .await
            .unwrap()
            .values,
        ..first
    };
    apply(&second, &provider, &resolver, SOON).await.unwrap();
    assert_eq!(
        named.dig("mail.test"),
        ["555 \"late\"", "555 \"other\"", "555 \"v=spf1 mx -all\""]
    );
    let error = apply(&second, &provider, &resolver, SOON).await.unwrap_err();
    assert!(matches!(error, DnsError::ChangedMeanwhile { .. }), "{error}");
    // A name that should have none.
    let fresh = change(&[], &["v=spf1 a -all"], &[], "mx.mail.test");
    apply(&fresh, &provider, &resolver, SOON).await.unwrap();
    assert_eq!(named.dig("mx.mail.test"), ["3600 \"v=spf1 a -all\""]);
    let error = apply(&fresh, &provider, &resolver, SOON).await.unwrap_err();
    assert!(matches!(error, DnsError::ChangedMeanwhile { .. }), "{error}");
    apply(&fresh.inverse(), &provider, &resolver, SOON).await.unwrap();
    assert_eq!(named.dig("mx.mail.test"), Vec::<String>::new());
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn an_edit_of_any_family_made_meanwhile_is_not_overwritten() {
    // Tags in capital letters are other octets to BIND, and the same to every CA.
    let named = one_server(
        "mx 555 CAA 0 ISSUE \"other.test\"\n_imaps._tcp 555 SRV 0 1 993 old.mail.test.\n_25._tcp.mx 555 TLSA 3 1 1 00ff",
    );
    let (resolver, provider, zone) = (named.resolver(), named.provider(), name("mail.test"));
    let cases = [
        (
            "mx.mail.test",
            RecordType::Caa,
            "0 issue \"ca.test\"",
            "0 Iodef \"mailto:late@mail.test\"",
        ),
        (
            "_imaps._tcp.mail.test",
            RecordType::Srv,
            "0 1 993 mx.mail.test.",
            "5 1 993 late.mail.test.",
        ),
        ("_25._tcp.mx.mail.test", RecordType::Tlsa, "3 1 1 aa", "2 1 1 1a"),
    ];
    for (owner, kind, ours, late) in cases {
        let (owner, data) = (name(owner), |text| Rdata::parse(kind, text).unwrap());
        let list = || provider.list(&zone, &owner, kind);
        let seen = || named.dig_for(owner.as_str(), kind);
        let original = list().await.unwrap();
        let as_it_was = seen();
        let planned = RrsetChange {
            zone: zone.clone(),
            name: owner.clone(),
            kind,
            ttl: 3600,
            before: original.values.clone(),
            add: vec![data(ours)],
            remove: original.values.clone(),
            reason: String::new(),
        };
        provider.add(&zone, &owner, &[data(late)], 60).await.unwrap();
        let with_late = seen();
        assert_eq!(with_late.len(), 2, "{with_late:?}");
        let error = apply(&planned, &provider, &resolver, SOON).await.unwrap_err();
        assert!(
            matches!(error, DnsError::ChangedMeanwhile { .. }),
            "{kind}: {error}"
        );
        assert_eq!(seen(), with_late);

        // Planned on what is there now it is carried out, and taken back while nobody edits.
        let planned = RrsetChange {
            before: list().await.unwrap().values,
            ..planned
        };
        apply(&planned, &provider, &resolver, SOON).await.unwrap();
        assert!(list().await.unwrap().holds_exactly(&[data(ours), data(late)]));
        provider.remove(&zone, &owner, &[data(late)]).await.unwrap();
        let error = apply(&planned.inverse(), &provider, &resolver, SOON)
            .await
            .unwrap_err();
        assert!(
            matches!(error, DnsError::ChangedMeanwhile { .. }),
            "{kind}: {error}"
        );
        let inverse = RrsetChange {
            before: list().await.unwrap().values,
            ..planned.inverse()
        };
        apply(&inverse, &provider, &resolver, SOON).await.unwrap();
        assert_eq!(seen(), as_it_was);
    }
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn waits_for_the_server_that_lags() {
    let [first, second] = addresses();
    let named = Named::start(first, &[first, second], "");
    let lagging = Named::start(second, &[first, second], "");
    let (resolver, provider) = (named.resolver(), named.provider());
    let short = Dns01 {
        resolver: &resolver,
        provider: &provider,
        timeout: Duration::from_millis(200),
    };
    let values = [(name("mail.test"), "one".to_owned())];
    let error = short.present(&values).await.unwrap_err();
    let DnsError::NotYet { lagging: lags, .. } = &error.error else {
        panic!("{error}")
    };
    assert_eq!(lags.len(), 1, "{error}");
    assert_eq!(lags[0].server, format!("ns2.mail.test ({second})"));
    assert_eq!(lags[0].said, "it answers without \"one\"");
    // Cleaned up after the failure.
    assert_eq!(
        (error.left, named.dig("_acme-challenge.mail.test")),
        (None, vec![])
    );

    let dns01 = Dns01 {
        resolver: &resolver,
        provider: &provider,
        timeout: SOON,
    };
    let catches_up = async {
        let zone = name("mail.test");
        let owner = name("_acme-challenge.mail.test");
        while provider
            .list(&name("mail.test"), &owner, RecordType::Txt)
            .await
            .unwrap()
            .values
            .is_empty()
        {}
        lagging
            .provider()
            .add(&zone, &owner, &texts(&["one"]), 60)
            .await
            .unwrap();
    };
    let (presented, ()) = tokio::join!(dns01.present(&values), catches_up);
    presented.unwrap();
    // A server that does not run lags too, and is named.
    drop(lagging);
    let error = short.present(&values).await.unwrap_err().to_string();
    assert!(error.contains(&format!("ns2.mail.test ({second})")), "{error}");
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn spf_is_planned_applied_and_taken_back() {
    let records = "@ 555 TXT \"v=spf1 include:isp.mail.test ~all\"\n@ 555 TXT \"other\"\nisp TXT \"v=spf1 -all\"\n\
                   @ MX 10 mx\nmx A 192.0.2.1\nalias CNAME mx";
    let named = one_server(records);
    let (resolver, provider) = (named.resolver(), named.provider());
    let sending = Sending {
        host: name("mx.mail.test"),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        relay: None,
    };
    let sources = Sources {
        provider: Some(&provider),
        resolver: &resolver,
        sending: &sending,
    };
    let decide = async |wanted: &Wanted| propose(wanted, Vec::new(), sources).await.unwrap().decision;
    let domain = wanted_spf("mail.test", "v=spf1 mx -all", Role::MailDomain);
    let Decision::Change(change, notes) = decide(&domain).await else {
        panic!()
    };
    assert_eq!((change.zone.as_str(), notes.len()), ("mail.test", 0));
    apply(&change, &provider, &resolver, SOON).await.unwrap();
    let after = ["555 \"other\"", "555 \"v=spf1 include:isp.mail.test mx ~all\""];
    assert_eq!(named.dig("mail.test"), after);
    assert_eq!(decide(&domain).await, Decision::Nothing(vec![]));
    apply(&change.inverse(), &provider, &resolver, SOON)
        .await
        .unwrap();
    assert_eq!(
        named.dig("mail.test"),
        ["555 \"other\"", "555 \"v=spf1 include:isp.mail.test ~all\""]
    );

    let host = wanted_spf("mx.mail.test", "v=spf1 a -all", Role::Host);
    let Decision::Change(change, _) = decide(&host).await else {
        panic!()
    };
    assert_eq!((change.zone.as_str(), change.ttl), ("mail.test", 3600));
    let alias = wanted_spf("alias.mail.test", "v=spf1 a -all", Role::Host);
    let refused = decide(&alias).await;
    assert!(matches!(refused, Decision::Refused(_)), "{refused:?}");
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn check_sees_servers_that_disagree() {
    let [first, second] = addresses();
    let named = Named::start(
        first,
        &[first, second],
        "@ TXT \"v=spf1 mx -all\"\n@ MX 10 mx\nmx A 192.0.2.1",
    );
    let _other = Named::start(second, &[first, second], "");
    let resolver = named.resolver();
    let domain = name("mail.test");
    let findings = gather::settle(&Lookup::new(&resolver), &mut Facts::default(), |facts| {
        check::judge(&judge::observe(&domain, Role::Any, facts)?, None, facts)
    })
    .await
    .unwrap();
    let ids: Vec<&str> = findings.iter().map(|finding: &Finding| finding.id).collect();
    assert_eq!(ids, ["spf.servers-disagree"], "{findings:?}");
    assert!(findings[0].evidence.contains("ns2.mail.test"), "{findings:?}");
}

#[tokio::test]
#[ignore = "real: needs named"]
async fn zones_servers_and_large_answers_are_found() {
    let many: Vec<String> = (0..90)
        .map(|n| format!("big TXT \"value {n:03} {}\"", "x".repeat(100)))
        .collect();
    let records = format!(
        "_25._tcp.mx TLSA 3 1 1 ABCD\nother CNAME _25._tcp.mx\n\
         far CNAME far.challenges.test.\n{}\nc9 TXT end\n{}",
        (0..9)
            .map(|n| format!("c{n} CNAME c{}\n", n + 1))
            .collect::<String>(),
        many.join("\n")
    );
    let named = one_server(&records);
    let resolver = named.resolver();
    let zone = |text: &str| {
        let (resolver, owner) = (resolver.clone(), name(text));
        async move { resolver.zone_of(&owner).await.map(String::from) }
    };
    assert_eq!(zone("a.b.mail.test").await.as_deref(), Ok("mail.test"));
    assert_eq!(zone("mail.test").await.as_deref(), Ok("mail.test"));
    assert_eq!(zone("other.mail.test").await.as_deref(), Ok("mail.test"));
    assert_eq!(zone("nowhere.test").await.as_deref(), Ok("test"));
    assert!(matches!(zone("mail.example").await, Err(DnsError::Server { .. })));
    // Where the resolvers know nothing, the primary is asked.
    let blind = Resolver::new(vec![SocketAddr::new(named.address, 1)]);
    assert!(blind.zone_of(&name("mail.test")).await.is_err());
    let knowing = blind.with_primary(named.socket());
    assert_eq!(knowing.zone_of(&name("x.mail.test")).await, Ok(name("mail.test")));
    let listed = Server {
        name: "ns1.mail.test".to_owned(),
        address: named.socket(),
        is_listed: true,
    };
    assert_eq!(
        knowing.authoritative_servers(&name("mail.test")).await,
        Ok(vec![listed])
    );
    // Ninety values do not fit a datagram.
    assert_eq!(
        resolver.txt(&name("big.mail.test")).await.unwrap().values.len(),
        90
    );
    assert_eq!(
        resolver.txt(&name("none.mail.test")).await.unwrap().values.len(),
        0
    );
    // Behind a chain as long as this, and in another zone of the server where there is nothing.
    let end = resolver.txt(&name("c0.mail.test")).await.unwrap();
    assert_eq!(end.values, [Txt::from_text("end")]);
    assert_eq!(
        resolver.txt(&name("far.mail.test")).await.unwrap().values.len(),
        0
    );
    let found = tlsa::look_up(&resolver, &name("mx.mail.test"), 25).await.unwrap();
    assert_eq!(
        found,
        [tlsa::Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: vec![0xab, 0xcd]
        }]
    );
    assert_eq!(
        tlsa::look_up(&resolver, &name("none.mail.test"), 25).await,
        Ok(vec![])
    );
}
