//! A good zone has no finding above "info"; each rule broken has the one that is meant. The rules are the standards',
//! numbered as the table of them that the project keeps: SPF 1, DMARC 2, DKIM 3, MTA-STS 4, TLS-RPT 5, DANE 6, CAA 7, MX and
//! host 8.

mod table;
mod zone;

use std::collections::BTreeSet;

use super::*;
use crate::model::finding::IDS;
use zone::Zone;

/// Returns the findings about a name of the zone.
fn findings(zone: &Zone, role: Role) -> Vec<Finding> {
    let subject = zone.subject(role);
    let decisions = decisions(&subject);
    let mut facts = Facts::default();
    let mut all = Vec::new();
    for decide in decisions {
        let mut n_rounds = 0;
        loop {
            facts.take_open();
            match decide(&facts) {
                Ok(found) => break all.extend(found),
                Err(question) => {
                    let mut open = facts.take_open();
                    open.insert(question);
                    for question in open {
                        let reply = zone.reply(&question);
                        facts.insert_reply(question, reply);
                    }
                }
            }
            n_rounds += 1;
            assert!(n_rounds < 60, "the decision does not end");
        }
    }
    for finding in &all {
        let known = IDS.iter().any(|(id, _)| *id == finding.id);
        assert!(known, "{} is not in the manual", finding.id);
        let text = format!("{finding:?}{}", finding.evidence);
        let is_raw = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(is_raw), "{finding:?}");
        assert!(
            finding.severity < Severity::Warning
                || !finding.remedy.is_empty() && !finding.reference.is_empty(),
            "{finding:?}"
        );
        assert!(finding.evidence.len() < 60_000, "{}", finding.evidence.len());
    }
    all
}

#[test]
fn a_good_zone_has_no_finding_above_info() {
    for role in [Role::Any, Role::MailDomain, Role::Host] {
        let all = findings(&Zone::good(), role);
        let bad: Vec<&Finding> = all
            .iter()
            .filter(|finding| finding.severity > Severity::Info)
            .collect();
        assert!(bad.is_empty(), "{role:?}: {bad:#?}");
    }
}

#[test]
fn each_rule_that_is_broken_is_found() {
    let good: Vec<(Role, BTreeSet<&str>)> = [Role::Any, Role::MailDomain, Role::Host]
        .into_iter()
        .map(|role| {
            (
                role,
                findings(&Zone::good(), role)
                    .iter()
                    .map(|finding| finding.id)
                    .collect(),
            )
        })
        .collect();
    let mut wrong = Vec::new();
    for case in table::cases() {
        let mut zone = Zone::good();
        for prefix in case.without {
            zone.remove(prefix);
        }
        for line in case.with {
            zone.add(line);
        }
        let all = findings(&zone, case.role);
        let is_meant = |finding: &&Finding| finding.id == case.id && finding.severity == case.severity;
        if all.iter().find(is_meant).is_none() {
            let told: Vec<String> = all
                .iter()
                .filter(|finding| finding.severity > Severity::Ok)
                .map(|finding| format!("{:?} {}: {}", finding.severity, finding.id, finding.evidence))
                .collect();
            wrong.push(format!(
                "{}: no {:?} {}:\n    {}",
                case.rule,
                case.severity,
                case.id,
                told.join("\n    ")
            ));
        }
        let has_passed = good
            .iter()
            .any(|(role, ids)| *role == case.role && !ids.contains(case.id));
        if !has_passed && case.severity > Severity::Info {
            wrong.push(format!("{}: the good zone has {} as well", case.rule, case.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not said over a world: ids that must be missing.
#[track_caller]
fn is_silent(without: &[&str], with: &[&str], ids: &[&str]) {
    let mut zone = Zone::good();
    without.iter().for_each(|prefix| zone.remove(prefix));
    with.iter().for_each(|line| zone.add(line));
    let all = findings(&zone, Role::Any);
    let said: Vec<&Finding> = all.iter().filter(|finding| ids.contains(&finding.id)).collect();
    assert!(said.is_empty(), "{said:#?}");
}

#[test]
fn a_domain_that_takes_no_mail_is_not_told_to_take_care_of_it() {
    is_silent(
        &[
            "example.test MX",
            "example.test TXT",
            "_mta-sts.example.test",
            "_smtp._tls.example.test",
            "_submissions._tcp",
            "_imaps._tcp",
            "_pop3s._tcp",
        ],
        &["example.test MX 0 .", "example.test TXT v=spf1 -all"],
        &[
            "mta-sts.missing",
            "tls-rpt.missing",
            "tlsa.none",
            "srv.missing",
            "srv.no-autoconfig",
            "spf.no-mx",
            "spf.no-mail",
        ],
    );
}

#[test]
fn what_nobody_answers_is_not_said_to_be_missing() {
    is_silent(
        &[
            "example.test MX",
            "_submissions._tcp",
            "_imaps._tcp",
            "_pop3s._tcp",
        ],
        &[
            "example.test MX !",
            "_submissions._tcp.example.test SRV !",
            "_imaps._tcp.example.test SRV !",
            "autoconfig.example.test A !",
        ],
        &["tlsa.none", "srv.missing", "srv.no-autoconfig"],
    );
    is_silent(&["198.51.100.25 PTR"], &[], &["ptr.ok"]);
}

#[test]
fn the_record_of_a_public_suffix_is_told_as_its_own() {
    let mut zone = Zone::good();
    zone.remove("_dmarc.example.test");
    zone.add("_dmarc.test TXT v=DMARC1; psd=y; p=none; sp=reject");
    let all = findings(&zone, Role::Any);
    let inherited = all
        .iter()
        .find(|finding| finding.id == "dmarc.inherited")
        .unwrap();
    assert!(
        inherited
            .evidence
            .contains("the record of test applies, with `sp=reject`"),
        "{inherited:?}"
    );
}

#[test]
fn every_rule_has_a_failing_zone() {
    let rules: BTreeSet<String> = table::cases().iter().map(|case| case.rule.to_owned()).collect();
    let missing: Vec<&str> = table::RULES
        .iter()
        .copied()
        .filter(|rule| !rules.contains(*rule))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_finding_has_a_failing_zone() {
    // Beside these: what a domain that is good has too, what needs the resolver's word besides the zone's, and relays.
    const ELSEWHERE: &[&str] = &[
        "spf.no-mx",
        "spf.redirect-ignored",
        "spf.relayhost-not-covered",
        "spf.sender-id",
        "spf.servers-unknown",
        "spf.tree",
        "spf.unanswered",
        "tlsa.none",
    ];
    const FAMILIES: &[&str] = &[
        "address", "caa", "dkim", "dmarc", "dnssec", "mta-sts", "mx", "ptr", "spf", "srv", "tls-rpt", "tlsa",
    ];
    let found: BTreeSet<&str> = table::cases().iter().map(|case| case.id).collect();
    let missing: Vec<&str> = IDS
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| {
            id.split_once('.')
                .is_some_and(|(family, _)| FAMILIES.contains(&family))
        })
        .filter(|id| !id.ends_with(".ok") && !ELSEWHERE.contains(id) && !found.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn hostile_answers_harm_nothing() {
    let mut zone = Zone::good();
    for n in 0..10_000 {
        zone.add(&format!(
            "example.test TXT v=spf1 include:x{n}.test \x1b[31m -all"
        ));
        if n < 3000 {
            zone.add(&format!("example.test MX 10 h{n}.x\x07.test"));
            zone.add(&format!(
                "_dmarc.example.test TXT v=DMARC1; rua=mailto:a@{n}.test\x1b]0;x\x07"
            ));
        }
    }
    findings(&zone, Role::MailDomain);
    let mut loops = Zone::good();
    loops.remove("example.test TXT");
    loops.add("example.test TXT v=spf1 include:a.test include:b.test redirect=example.test");
    for (one, other) in [("a", "b"), ("b", "a")] {
        let terms: String = (0..300)
            .map(|n| format!("include:{other}.test a:x{n}.test "))
            .collect();
        loops.add(&format!("{one}.test TXT v=spf1 {terms}-all"));
    }
    let all = findings(&loops, Role::Any);
    assert!(
        all.iter().any(|finding| finding.id == "spf.lookup-limit"),
        "{all:?}"
    );
    let mut large = Zone::good();
    for owner in [
        "example.test",
        "_dmarc.example.test",
        "_mta-sts.example.test",
        "_smtp._tls.example.test",
        "s1._domainkey.example.test",
    ] {
        large.remove(&format!("{owner} TXT"));
        for version in [
            "v=spf1 ",
            "v=DMARC1; ",
            "v=STSv1; id=",
            "v=TLSRPTv1; rua=",
            "v=DKIM1; p=",
        ] {
            large.add(&format!(
                "{owner} TXT {version}{}",
                "\x1b\u{202e}x,;=".repeat(9000)
            ));
        }
    }
    findings(&large, Role::MailDomain);
}

#[test]
fn many_and_bad_answers_of_every_type_harm_nothing() {
    let mut zone = Zone::good();
    for n in 0..300_u32 {
        for line in [
            format!("mail.example.test A 198.51.{}.{}", n / 250, n % 250),
            format!("198.51.100.25 PTR h{n}.\x1b[31m.test"),
            format!("2001:db8::25 PTR {}.test", "x".repeat(300)),
            format!("example.test CAA 128 is\x1bsue{n} ca\x07.test; a b"),
            format!("example.test CAA 0 issue {}", ";".repeat(200)),
            format!("_imaps._tcp.example.test SRV 0 1 993 t{n}\x07.test"),
            format!("_25._tcp.mail.example.test TLSA 255 255 255 {n:08x}"),
            format!("_25._tcp.mail.example.test TLSA 3 1 1 {n:064x}"),
            format!("example.test NS n{n}.\x1b.test"),
            format!("autoconfig.example.test AAAA 2001:db8::{n:x}"),
        ] {
            zone.add(&line);
        }
    }
    // Names that lead to each other, and to names that are none.
    for (one, other) in [("backup", "loop"), ("loop", "backup")] {
        zone.add(&format!("{one}.example.test CNAME {other}.example.test"));
    }
    zone.add("example.test MX 5 a.b\\.c..test");
    zone.add(&format!("example.test MX 6 {}.test", "y".repeat(250)));
    for role in [Role::Any, Role::MailDomain, Role::Host] {
        let all = findings(&zone, role);
        assert!(all.len() < 200, "{role:?}: {}", all.len());
    }
}
