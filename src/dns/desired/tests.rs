//! What is wanted, over a configuration and what is known.

use super::*;
use crate::config::v1;

/// Returns an SPF record that is wanted.
pub fn wanted_spf(name: &str, text: &str, role: Role) -> Wanted {
    Wanted {
        ttl: 3600,
        role,
        ..Wanted::new(
            name.parse().unwrap(),
            Family::Spf,
            vec![Rdata::text(text)],
            "a reason".to_owned(),
        )
    }
}

/// Returns what is wanted at a name.
pub fn wanted(name: &str, family: Family, kind: RecordType, values: &[&str]) -> Wanted {
    let value = |text: &&str| match kind {
        RecordType::Txt => Rdata::text(text),
        _ => Rdata::parse(kind, text).unwrap(),
    };
    Wanted {
        ttl: 3600,
        ..Wanted::new(
            DomainName::from_dns(name).unwrap(),
            family,
            values.iter().map(value).collect(),
            "a reason".to_owned(),
        )
    }
}

fn config(dns: &str) -> Config {
    let text = format!(
        "version = 1\n[host]\nname = 'mx.mail.test'\ndomains = ['mail.test', 'b.test']\n[dns]\nttl = 600\n{dns}"
    );
    v1::parse(std::path::Path::new("m.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

fn known() -> Known {
    Known {
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        services: vec![Service::Submissions, Service::Imaps],
        dkim: vec![DkimKey {
            domain: "mail.test".parse().unwrap(),
            selector: "s1".to_owned(),
            record: "v=DKIM1; k=rsa; p=AAAA".to_owned(),
        }],
        exchangers: BTreeMap::from([(
            "mail.test".parse().unwrap(),
            vec!["mx2.mail.test".to_owned(), "mx.mail.test".to_owned()],
        )]),
        keys: Some(HostKeys {
            ports: vec![25, 465],
            in_service: vec![0xab; 32],
            next: Some(vec![0xcd; 32]),
        }),
        requests: vec![
            (
                "mx.mail.test".parse().unwrap(),
                request("ca.test", "https://ca.test/1"),
            ),
            ("mx.mail.test".parse().unwrap(), request("other.test", "")),
        ],
    }
}

pub fn request(identity: &str, account: &str) -> CaUse {
    CaUse {
        identities: vec![identity.to_owned()],
        account: account.to_owned(),
        method: "dns-01",
        wildcard: false,
    }
}

/// Returns `NAME TYPE DATA` of everything at names that end so.
fn lines(config: &Config, known: &Known, family: Family) -> Vec<String> {
    everything(config, known)
        .iter()
        .filter(|wanted| wanted.family == family)
        .flat_map(|wanted| {
            assert_eq!(wanted.ttl, 600);
            assert!(!wanted.reason.is_empty());
            wanted
                .values
                .iter()
                .map(|value| format!("{} {} {value}", wanted.name, wanted.kind()))
        })
        .collect()
}

#[test]
fn every_family_says_what_the_configuration_wants() {
    let config = config(
        "dmarc = { policy = 'quarantine', rua = ['mailto:d@mail.test', 'mailto:e@x.test'] }\n\
         tls_rpt = { rua = ['mailto:t@mail.test', 'https://x.test/r'] }\n\
         mta_sts = { mode = 'enforce', max_age = '30d', webroot = '/srv/{domain}' }\n\
         caa = { bind = 'account', issuers = ['third.test'], iodef = 'mailto:s@mail.test' }\n",
    );
    let known = known();
    let check =
        |family, expected: &[&str]| assert_eq!(lines(&config, &known, family), expected, "{family:?}");
    check(
        Family::Address,
        &["mx.mail.test A 192.0.2.1", "mx.mail.test AAAA 2001:db8::1"],
    );
    check(
        Family::Mx,
        &["mail.test MX 10 mx.mail.test.", "b.test MX 10 mx.mail.test."],
    );
    check(
        Family::Spf,
        &[
            "mail.test TXT \"v=spf1 mx -all\"",
            "b.test TXT \"v=spf1 mx -all\"",
            "mx.mail.test TXT \"v=spf1 a -all\"",
        ],
    );
    let dmarc = "\"v=DMARC1; p=quarantine; rua=mailto:d@mail.test,mailto:e@x.test\"";
    check(
        Family::Dmarc,
        &[
            &format!("_dmarc.mail.test TXT {dmarc}"),
            &format!("_dmarc.b.test TXT {dmarc}"),
        ],
    );
    check(
        Family::TlsRpt,
        &[
            // Senders that know DANE report by the name of the host.
            "_smtp._tls.mx.mail.test TXT \"v=TLSRPTv1; rua=mailto:t@mail.test,https://x.test/r\"",
            "_smtp._tls.mail.test TXT \"v=TLSRPTv1; rua=mailto:t@mail.test,https://x.test/r\"",
            "_smtp._tls.b.test TXT \"v=TLSRPTv1; rua=mailto:t@mail.test,https://x.test/r\"",
        ],
    );
    // Without MX records there is no policy that could name them.
    let policy = policy(&config, &"mail.test".parse().unwrap(), &known).unwrap();
    assert_eq!(
        policy.text(),
        "version: STSv1\nmode: enforce\nmx: mx.mail.test\nmx: mx2.mail.test\nmax_age: 2592000\n"
    );
    check(
        Family::MtaSts,
        &[&format!("_mta-sts.mail.test TXT \"v=STSv1; id={}\"", policy.id())],
    );
    check(
        Family::MtaStsHost,
        &[
            "mta-sts.mail.test A 192.0.2.1",
            "mta-sts.mail.test AAAA 2001:db8::1",
        ],
    );
    check(
        Family::Caa,
        &[
            "mx.mail.test CAA 0 issue \"ca.test; accounturi=https://ca.test/1; validationmethods=dns-01\"",
            "mx.mail.test CAA 0 issue \"other.test; validationmethods=dns-01\"",
            "mx.mail.test CAA 0 issue \"third.test\"",
            "mx.mail.test CAA 0 iodef \"mailto:s@mail.test\"",
        ],
    );
    check(
        Family::Dkim,
        &["s1._domainkey.mail.test TXT \"v=DKIM1; k=rsa; p=AAAA\""],
    );
    let key = |port: u16, octet: &str| format!("_{port}._tcp.mx.mail.test TLSA 3 1 1 {}", octet.repeat(32));
    assert_eq!(
        lines(&config, &known, Family::Tlsa),
        [key(25, "ab"), key(25, "cd"), key(465, "ab"), key(465, "cd")]
    );
    let mut alone = known.clone();
    alone.keys.as_mut().unwrap().next = None;
    assert_eq!(
        lines(&config, &alone, Family::Tlsa),
        [key(25, "ab"), key(465, "ab")]
    );
    let srv = lines(&config, &known, Family::Srv);
    assert_eq!(
        &srv[..4],
        [
            "_submissions._tcp.mail.test SRV 0 1 465 mx.mail.test.",
            "_submission._tcp.mail.test SRV 0 0 0 .",
            "_imaps._tcp.mail.test SRV 0 1 993 mx.mail.test.",
            "_pop3s._tcp.mail.test SRV 0 0 0 .",
        ]
    );
    assert_eq!(srv.len(), 8);
}

#[test]
fn what_is_not_known_is_not_wanted() {
    let nothing = Known::default();
    let plain = config("");
    for family in [
        Family::Address,
        Family::Caa,
        Family::Dkim,
        Family::MtaSts,
        Family::MtaStsHost,
        Family::Srv,
        Family::TlsRpt,
        Family::Tlsa,
    ] {
        assert_eq!(lines(&plain, &nothing, family), Vec::<String>::new());
    }
    assert_eq!(
        lines(&plain, &nothing, Family::Dmarc),
        [
            "_dmarc.mail.test TXT \"v=DMARC1; p=none\"",
            "_dmarc.b.test TXT \"v=DMARC1; p=none\""
        ]
    );
    // The policy that ends all policies needs no host.
    let ended = config("mta_sts = { mode = 'none', max_age = '1d' }\n");
    assert_eq!(lines(&ended, &nothing, Family::MtaSts).len(), 2);
    let listed = config("srv = ['imaps']\n");
    assert_eq!(lines(&listed, &nothing, Family::Srv).len(), 8);
    // A CA is bound to nothing unless it is wanted.
    assert_eq!(
        lines(&plain, &known(), Family::Caa),
        [
            "mx.mail.test CAA 0 issue \"ca.test\"",
            "mx.mail.test CAA 0 issue \"other.test\""
        ]
    );
}

#[test]
fn a_ca_without_a_known_name_is_what_the_operator_calls_it_and_is_bound_all_the_same() {
    let config = config("caa = { bind = 'account', issuers = ['ca.test', 'third.test'] }\n");
    let policy = &config.dns.policies.caa;
    assert_eq!(own_identities(Vec::new(), policy), ["ca.test"]);
    assert_eq!(own_identities(vec!["le.test".to_owned()], policy), ["le.test"]);
    let values = |requests: &[CaUse]| -> Vec<String> {
        let values = issuers(policy, requests);
        values.iter().map(ToString::to_string).collect()
    };
    let bound = "0 issue \"ca.test; accounturi=https://ca.test/1; validationmethods=dns-01\"";
    assert_eq!(
        values(&[request("ca.test", "https://ca.test/1")]),
        [bound, "0 issue \"third.test\""]
    );
}
