//! Tables: records, senders, servers, and what is said.

use super::*;
use crate::dns::{
    facts::{Answer, Family, Question},
    sending::Relay,
};

fn server(name: &str, is_listed: bool) -> Server {
    Server {
        name: name.to_owned(),
        address: "192.0.2.53:53".parse().unwrap(),
        is_listed,
    }
}

fn rrset(values: &[&str]) -> TxtRrset {
    TxtRrset {
        ttl: 60,
        values: values.iter().map(|text| Txt::from_text(text)).collect(),
    }
}

/// `mail.test` has its MX at 192.0.2.1; nothing else exists.
fn findings(observed: &Observed, sending: Option<&Sending>) -> Vec<(Severity, &'static str)> {
    let mut facts = Facts::default();
    loop {
        let question = match judge(observed, sending, &facts) {
            Ok(findings) => {
                assert!(
                    findings.iter().all(|finding| !finding.evidence.contains('\x1b')),
                    "{findings:?}"
                );
                return findings
                    .iter()
                    .map(|finding| (finding.severity, finding.id))
                    .collect();
            }
            Err(question) => question,
        };
        let answer = match &question {
            Question::Mx(name) if name == "mail.test" => Answer::Names(vec!["mx.mail.test".to_owned()]),
            Question::Addresses(name, Family::V4) if name == "mx.mail.test" => {
                Answer::Addresses(vec!["192.0.2.1".parse().unwrap()])
            }
            Question::Addresses(..) => Answer::Addresses(vec![]),
            Question::Txt(_) => Answer::Texts(vec![]),
            _ => Answer::Names(vec![]),
        };
        facts.insert(question, answer);
    }
}

fn observed(name: &str, role: Role, values: &[&str]) -> Observed {
    let answers = vec![
        (server("ns1", true), Ok(rrset(values))),
        (server("ns2", true), Ok(rrset(values))),
    ];
    Observed {
        name: name.parse().unwrap(),
        role,
        resolved: Ok(rrset(&[])),
        servers: Ok(answers),
    }
}

fn sending(address: &str, relay: &str) -> Sending {
    Sending {
        host: "mx.mail.test".parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        relay: Relay::parse(relay),
    }
}

#[test]
fn finds_what_is_wrong_in_any_domain() {
    use Severity::{Error, Info, Ok, Warning};
    let check = |values: &[&str], expected: &[(Severity, &str)]| {
        assert_eq!(
            findings(&observed("mail.test", Role::Any, values), None),
            expected,
            "{values:?}"
        );
    };
    check(&["v=spf1 mx -all"], &[(Ok, "spf.ok")]);
    check(
        &["v=spf1 mx ~all", "x"],
        &[(Info, "spf.all-softfail"), (Ok, "spf.ok")],
    );
    check(&[], &[(Error, "spf.missing")]);
    check(&["x"], &[(Error, "spf.missing")]);
    check(&["v=spf1 mx", "V=spf1 -all"], &[(Error, "spf.multiple-records")]);
    check(&["v=spf1 mx, -all"], &[(Error, "spf.syntax")]);
    check(&["v=spf1 \x1b[31m"], &[(Error, "spf.syntax")]);
    // A domain that sends no mail.
    check(&["v=spf1 -all"], &[(Ok, "spf.ok")]);
    check(
        &["v=spf1 ip4:192.0.2.1 -all"],
        &[(Info, "spf.no-mx"), (Ok, "spf.ok")],
    );
    check(&["v=spf1 mx"], &[(Warning, "spf.no-all")]);
    check(&["v=spf1 mx ?all"], &[(Warning, "spf.all-neutral")]);
    check(&["v=spf1 mx +all"], &[(Error, "spf.all-passes")]);
    check(&["v=spf1 mx ptr -all"], &[(Warning, "spf.ptr-mechanism")]);
    check(
        &["v=spf1 mx -all redirect=mail.test"],
        &[(Warning, "spf.after-all")],
    );
    check(
        &["v=spf1 mx redirect=mail.test -all"],
        &[(Warning, "spf.redirect-ignored")],
    );
    check(&["v=spf1 mx -all mx"], &[(Warning, "spf.after-all")]);
    check(
        &["v=spf1 mx include:gone.test -all"],
        &[(Error, "spf.broken-reference")],
    );
    check(
        &["v=spf1 mx include:mail.test -all"],
        &[(Error, "spf.lookup-limit")],
    );
    check(
        &["v=spf1 mx a:a.test a:b.test a:c.test -all"],
        &[(Error, "spf.void-lookups")],
    );
    check(
        &["v=spf1mx"],
        &[(Warning, "spf.unrecognized"), (Error, "spf.missing")],
    );
    check(
        &["spf2.0/pra -all", "v=spf1 mx -all"],
        &[(Info, "spf.sender-id"), (Ok, "spf.ok")],
    );
    let long = format!("v=spf1 mx {}-all", "ip4:192.0.2.1 ".repeat(40));
    check(&[&long], &[(Warning, "spf.length")]);
}

#[test]
fn finds_what_keeps_this_host_from_sending() {
    let check = |name: &str, value: &str, sending: &Sending, expected: &[(Severity, &str)]| {
        let role = if name == "mail.test" {
            Role::MailDomain
        } else {
            Role::Host
        };
        let values = if value.is_empty() { vec![] } else { vec![value] };
        assert_eq!(
            findings(&observed(name, role, &values), Some(sending)),
            expected,
            "{name} {value}"
        );
    };
    let (ours, other) = (sending("192.0.2.1", ""), sending("203.0.113.9", ""));
    let relay = sending("192.0.2.1", "[192.0.2.77]");
    let good = [(Severity::Ok, "spf.ok")];
    check("mail.test", "v=spf1 mx -all", &ours, &good);
    check("mail.test", "v=spf1 ip4:192.0.2.0/24 -all", &ours, &good);
    check(
        "mail.test",
        "v=spf1 -all",
        &ours,
        &[(Severity::Error, "spf.no-mx")],
    );
    check(
        "mail.test",
        "v=spf1 mx -all",
        &other,
        &[(Severity::Error, "spf.host-not-covered")],
    );
    check("mail.test", "", &ours, &[(Severity::Error, "spf.missing")]);
    check(
        "mx.mail.test",
        "",
        &ours,
        &[(Severity::Warning, "spf.host-missing")],
    );
    check("mx.mail.test", "v=spf1 a -all", &ours, &good);
    check(
        "mx.mail.test",
        "v=spf1 mx -all",
        &ours,
        &[(Severity::Error, "spf.host-not-covered")],
    );
    check(
        "mail.test",
        "v=spf1 mx -all",
        &relay,
        &[(Severity::Error, "spf.relayhost-not-covered")],
    );
    check("mail.test", "v=spf1 ip4:192.0.2.77 -all", &relay, &good);
    let unknown = Sending {
        addresses: vec![],
        ..ours
    };
    check(
        "mail.test",
        "v=spf1 -all",
        &unknown,
        &[(Severity::Warning, "spf.no-mx")],
    );
    check("mail.test", "v=spf1 mx -all", &unknown, &good);
}

#[test]
fn compares_the_servers() {
    let failed = |failure| {
        Err(DnsError::Server {
            server: "192.0.2.53:53".parse().unwrap(),
            question: "x\x1b".to_owned(),
            failure,
        })
    };
    let check = |second: (bool, Result<TxtRrset, DnsError>), expected: &[(Severity, &str)]| {
        let mut observed = observed("mail.test", Role::Any, &["v=spf1 mx -all"]);
        observed.servers.as_mut().unwrap()[1] = (server("ns2\x1b", second.0), second.1);
        assert_eq!(findings(&observed, None), expected);
    };
    let refused = || failed(ServerFailure::ResponseCode("REFUSED".to_owned()));
    check(
        (true, Ok(rrset(&[]))),
        &[(Severity::Error, "spf.servers-disagree")],
    );
    check(
        (true, Ok(rrset(&["other", "v=spf1 mx -all"]))),
        &[(Severity::Ok, "spf.ok")],
    );
    check((true, refused()), &[(Severity::Warning, "spf.server-silent")]);
    check((false, refused()), &[(Severity::Ok, "spf.ok")]);
    check(
        (true, failed(ServerFailure::Unreachable(String::new()))),
        &[(Severity::Ok, "spf.ok")],
    );
    let mut nobody = observed("mail.test", Role::Any, &[]);
    nobody.servers = Err(DnsError::NoResolver);
    nobody.resolved = Err(DnsError::NoResolver);
    let expected = [
        (Severity::Warning, "spf.servers-unknown"),
        (Severity::Error, "spf.unanswered"),
    ];
    assert_eq!(findings(&nobody, None), expected);
}

#[test]
fn strings_of_one_record_are_joined_without_a_space() {
    let check = |strings: &[&str], expected: (Severity, &str)| {
        let mut one = observed("mail.test", Role::Any, &[]);
        let values = TxtRrset {
            ttl: 60,
            values: vec![Txt::from_strings(strings)],
        };
        one.servers = Ok(vec![(server("ns1", true), Ok(values))]);
        assert!(findings(&one, None).contains(&expected), "{strings:?}");
    };
    check(&["v=spf1 mx ", "-all"], (Severity::Ok, "spf.ok"));
    check(&["v=spf1 m", "x -all"], (Severity::Ok, "spf.ok"));
    check(&["v=spf1 mx", "-all"], (Severity::Error, "spf.syntax"));
}
