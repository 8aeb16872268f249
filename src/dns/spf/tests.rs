//! Evaluations over scripted answers, and the examples of the RFC.

use super::*;
use crate::dns::error::DnsError;

/// A scripted DNS: `name TYPE value` lines; TXT values have spaces, `!` is a failure.
fn world(lines: &[&str]) -> Facts {
    let mut facts = Facts::default();
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (name, kind, value) = (
            words.next().unwrap(),
            words.next().unwrap(),
            words.next().unwrap(),
        );
        let question = match kind {
            "A" => Question::Addresses(name.to_owned(), Family::V4),
            "AAAA" => Question::Addresses(name.to_owned(), Family::V6),
            "MX" => Question::Mx(name.to_owned()),
            "PTR" => Question::Ptr(name.parse().unwrap()),
            _ => Question::Txt(name.to_owned()),
        };
        let answer = match (facts.get(&question).ok().cloned(), value) {
            (_, "!") => Answer::Failed(DnsError::NoResolver),
            (Some(Answer::Addresses(mut known)), value) => {
                known.push(value.parse().unwrap());
                Answer::Addresses(known)
            }
            (Some(Answer::Names(mut known)), value) => {
                known.push(value.to_owned());
                Answer::Names(known)
            }
            (Some(Answer::Texts(mut known)), value) => {
                known.push(value.as_bytes().to_vec());
                Answer::Texts(known)
            }
            (_, value) => match &question {
                Question::Addresses(..) => Answer::Addresses(vec![value.parse().unwrap()]),
                Question::Txt(_) => Answer::Texts(vec![value.as_bytes().to_vec()]),
                _ => Answer::Names(vec![value.to_owned()]),
            },
        };
        facts.insert(question, answer);
    }
    facts
}

/// Evaluates for `address`, `d.example` and `joe@d.example`; what is not scripted does not exist.
fn evaluate(facts: &Facts, address: &str) -> Evaluation {
    let request = Request {
        address: address.parse().unwrap(),
        domain: "d.example",
        sender: "joe@d.example",
        helo: "h.example",
    };
    settle(facts, |facts| check_host(&request, facts))
}

fn settle<T>(facts: &Facts, decide: impl Fn(&Facts) -> Asked<T>) -> T {
    let mut facts = facts.clone();
    for _ in 0..1000 {
        match decide(&facts) {
            Ok(done) => return done,
            Err(question) => {
                let answer = match question {
                    Question::Addresses(..) => Answer::Addresses(vec![]),
                    Question::Txt(_) => Answer::Texts(vec![]),
                    _ => Answer::Names(vec![]),
                };
                facts.insert(question, answer);
            }
        }
    }
    panic!("does not end");
}

#[test]
fn gives_the_results_of_the_rfc() {
    let check = |lines: &[&str], address: &str, expected: SpfResult| {
        let evaluation = evaluate(&world(lines), address);
        assert_eq!(evaluation.result, expected, "{lines:?} {address}: {evaluation:?}");
    };
    let mx = [
        "d.example TXT v=spf1 mx -all",
        "d.example MX m.example",
        "m.example A 192.0.2.1",
        "m.example AAAA 2001:db8::1",
    ];
    check(&mx, "192.0.2.1", SpfResult::Pass);
    check(&mx, "::ffff:192.0.2.1", SpfResult::Pass);
    check(&mx, "192.0.2.2", SpfResult::Fail);
    check(&mx, "2001:db8::1", SpfResult::Pass);
    // No MX: `mx` matches nothing, not even the domain's own address (RFC 7208, 5.4).
    check(
        &["d.example TXT v=spf1 mx -all", "d.example A 192.0.2.1"],
        "192.0.2.1",
        SpfResult::Fail,
    );
    check(
        &["d.example TXT v=spf1 a -all", "d.example A 192.0.2.1"],
        "192.0.2.1",
        SpfResult::Pass,
    );
    check(
        &["d.example TXT v=spf1 a/24 ~all", "d.example A 192.0.2.1"],
        "192.0.2.200",
        SpfResult::Pass,
    );
    check(
        &["d.example TXT v=spf1 ip4:192.0.2.0/25 ~all"],
        "192.0.2.200",
        SpfResult::SoftFail,
    );
    check(
        &["d.example TXT v=spf1 ip4:1.2.3.4/0 -all"],
        "192.0.2.200",
        SpfResult::Pass,
    );
    check(
        &["d.example TXT v=spf1 ip6:::/0 -all"],
        "192.0.2.200",
        SpfResult::Fail,
    );
    check(&["d.example TXT v=spf1 ?all"], "192.0.2.1", SpfResult::Neutral);
    check(&["d.example TXT v=spf1"], "192.0.2.1", SpfResult::Neutral);
    check(&["d.example TXT other"], "192.0.2.1", SpfResult::None);
    check(&[], "192.0.2.1", SpfResult::None);
    check(&["d.example TXT !"], "192.0.2.1", SpfResult::TempError);
    check(
        &["d.example TXT v=spf1 a -all", "d.example A !"],
        "192.0.2.1",
        SpfResult::TempError,
    );
    check(
        &["d.example TXT v=spf1 -all", "d.example TXT v=spf1 mx"],
        "192.0.2.1",
        SpfResult::PermError,
    );
    check(
        &["d.example TXT v=spf1 +all mxx"],
        "192.0.2.1",
        SpfResult::PermError,
    );
    check(
        &[
            "d.example TXT v=spf1 include:e.example -all",
            "e.example TXT v=spf1 +all",
        ],
        "192.0.2.1",
        SpfResult::Pass,
    );
    check(
        &[
            "d.example TXT v=spf1 include:e.example ?all",
            "e.example TXT v=spf1 -all",
        ],
        "192.0.2.1",
        SpfResult::Neutral,
    );
    check(
        &["d.example TXT v=spf1 include:e.example -all"],
        "192.0.2.1",
        SpfResult::PermError,
    );
    check(
        &[
            "d.example TXT v=spf1 redirect=e.example",
            "e.example TXT v=spf1 -all",
        ],
        "192.0.2.1",
        SpfResult::Fail,
    );
    check(
        &["d.example TXT v=spf1 redirect=e.example"],
        "192.0.2.1",
        SpfResult::PermError,
    );
    check(
        &["d.example TXT v=spf1 redirect=e.example ?all"],
        "192.0.2.1",
        SpfResult::Neutral,
    );
    check(
        &[
            "d.example TXT v=spf1 exists:%{ir}.%{v}.%{d} -all",
            "1.2.0.192.in-addr.d.example A 127.0.0.2",
        ],
        "192.0.2.1",
        SpfResult::Pass,
    );
    check(
        &[
            "d.example TXT v=spf1 exists:%{l1r-}.%{o1}.x.example -all",
            "joe.example.x.example A 127.0.0.2",
        ],
        "2001:db8::1",
        SpfResult::Pass,
    );
    let ptr = [
        "d.example TXT v=spf1 ptr -all",
        "192.0.2.1 PTR m.D.example.",
        "m.d.example A 192.0.2.1",
    ];
    check(&ptr, "192.0.2.1", SpfResult::Pass);
    check(&ptr[..2], "192.0.2.1", SpfResult::Fail);
}

#[test]
fn ends_whatever_the_answers_are() {
    let check = |lines: &[&str], expected: &str| {
        let evaluation = evaluate(&world(lines), "192.0.2.1");
        assert_eq!(
            evaluation.result,
            SpfResult::PermError,
            "{lines:?}: {evaluation:?}"
        );
        assert!(evaluation.reason.contains(expected), "{}", evaluation.reason);
        assert!(evaluation.lookups <= MAX_LOOKUPS + 1 && evaluation.trace.len() <= MAX_TRACE);
        // Counting everything ends as well.
        settle(&world(lines), |facts| cost("d.example", facts));
    };
    check(
        &["d.example TXT v=spf1 include:d.example -all"],
        "more than 10 terms",
    );
    check(&["d.example TXT v=spf1 redirect=d.example"], "more than 10 terms");
    check(
        &["d.example TXT v=spf1 include:d.example include:d.example redirect=d.example"],
        "more than 10 terms",
    );
    check(
        &["d.example TXT v=spf1 a:1.x.example a:2.x.example a:3.x.example -all"],
        "more than 2 lookups",
    );
    let many: Vec<String> = (0..11).map(|n| format!("d.example MX m{n}.example")).collect();
    let many: Vec<&str> = many
        .iter()
        .map(String::as_str)
        .chain(["d.example TXT v=spf1 mx -all"])
        .collect();
    check(&many, "more than 10 MX");
    check(&["d.example TXT v=spf1 \x1b[31m"], "printable ASCII");
    let long = format!("d.example TXT v=spf1 {}", "include:d.example ".repeat(3000));
    check(&[&long], "more than 10 terms");
}

#[test]
fn bad_names_match_nothing() {
    let bad = format!(
        "d.example TXT v=spf1 a:{}.example mx:a..example exists:%{{l}}.{}.example -all",
        "x".repeat(64),
        "y".repeat(64)
    );
    assert_eq!(evaluate(&world(&[&bad]), "192.0.2.1").result, SpfResult::Fail);
}

#[test]
fn counts_the_whole_cost() {
    let facts = world(&[
        "d.example TXT v=spf1 mx a:gone.example include:e.example +all a:after.example",
        "d.example MX m.example",
        "m.example A 192.0.2.1",
        "e.example TXT v=spf1 a ptr -all",
        "e.example A 192.0.2.2",
    ]);
    let cost = settle(&facts, |facts| cost("d.example", facts));
    assert_eq!(
        (cost.lookups, cost.void_lookups, cost.problems.len()),
        (5, 2, 0),
        "{cost:?}"
    );
    assert_eq!(evaluate(&facts, "192.0.2.1").lookups, 1);
}

#[test]
fn expands_macros_as_the_rfc_has_it() {
    // The examples of RFC 7208, 7.4.
    let check = |spec: &str, address: &str, expected: &str| {
        let record = Record::parse(format!("v=spf1 exists:{spec}.x.example").as_bytes()).unwrap();
        let Some((_, Mechanism::Exists(spec))) = record.directives().next() else {
            panic!()
        };
        let request = Request {
            address: address.parse().unwrap(),
            domain: "email.example.com",
            sender: "strong-bad@email.example.com",
            helo: "h.example",
        };
        let facts = Facts::default();
        let mut run = Run::new(request, &facts, Walk::UntilMatch);
        let Ok(text) = run.expand(spec, "email.example.com") else {
            panic!()
        };
        assert_eq!(text.strip_suffix(".x.example"), Some(expected));
    };
    check("%{s}", "192.0.2.3", "strong-bad@email.example.com");
    check("%{o}", "192.0.2.3", "email.example.com");
    check("%{d4}", "192.0.2.3", "email.example.com");
    check("%{d2}", "192.0.2.3", "example.com");
    check("%{d1}", "192.0.2.3", "com");
    check("%{dr}", "192.0.2.3", "com.example.email");
    check("%{d2r}", "192.0.2.3", "example.email");
    check("%{l}", "192.0.2.3", "strong-bad");
    check("%{l-}", "192.0.2.3", "strong.bad");
    check("%{lr}", "192.0.2.3", "strong-bad");
    check("%{lr-}", "192.0.2.3", "bad.strong");
    check("%{l1r-}", "192.0.2.3", "strong");
    check(
        "%{ir}.%{v}._spf.%{d2}",
        "192.0.2.3",
        "3.2.0.192.in-addr._spf.example.com",
    );
    check("%{S}", "192.0.2.3", "strong-bad%40email.example.com");
    check(
        "%{ir}.%{v}",
        "2001:db8::cb01",
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6",
    );
}
