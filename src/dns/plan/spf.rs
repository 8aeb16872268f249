//! From the TXT records that are there to the change that makes SPF right, or the reason to leave them alone. Pure.
//!
//! A record that exists is never replaced and never doubled: where this host does not pass, `mx` is inserted before its
//! `all`, and every other byte stays. Other TXT values and the TTL stay. Behind a relay nothing is published that does
//! not cover the relay.

use super::{Decision, Existing, Refusal};
use crate::{
    dns::{
        desired::{Role, Wanted},
        error::SHOWN,
        facts::{Asked, Facts},
        sending::{Judged, Sending, not_passing},
        spf::SpfResult,
    },
    model::{
        name::DomainName,
        plan::{RrsetChange, printable_line},
        rdata::Rdata,
        record::spf::{Record, is_record},
        rrset::Txt,
    },
};

/// Decides for one name: the record wanted there, the zone it is in, and the TXT records that it has.
///
/// # Errors
/// Names the next open question.
pub(super) fn decide(
    wanted: &Wanted,
    existing: &Existing,
    sending: &Sending,
    facts: &Facts,
) -> Asked<Decision> {
    let records: Vec<&Txt> = existing
        .rrset
        .values
        .iter()
        .filter_map(Rdata::as_txt)
        .filter(|value| is_record(&value.joined()))
        .collect();
    let change = |add: &str, remove: Option<&Txt>, reason: String| {
        let remove = remove.into_iter().cloned().map(Rdata::Txt).collect();
        existing.change(wanted, vec![Rdata::text(add)], remove, reason)
    };
    match records.as_slice() {
        [] => first_record(wanted, sending, facts, |text, reason| change(text, None, reason)),
        [value] => completed_record(wanted, value, sending, facts, |text, reason| {
            change(text, Some(value), reason)
        }),
        several => Ok(Decision::Refused(Refusal {
            message: format!(
                "{} has {} SPF records, which no receiver accepts: {}",
                wanted.name,
                several.len(),
                several
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<String>>()
                    .join(", ")
            ),
            remedy: "merge them into one record, `v=spf1` once and `all` last, and delete the others"
                .to_owned(),
            record: None,
        })),
    }
}

/// Decides where there is no record.
fn first_record(
    wanted: &Wanted,
    sending: &Sending,
    facts: &Facts,
    change: impl FnOnce(&str, String) -> RrsetChange,
) -> Asked<Decision> {
    let name = &wanted.name;
    let record = match Record::parse(wanted.text().as_bytes()) {
        Ok(record) => record,
        Err(error) => {
            return Ok(Decision::Refused(Refusal {
                message: format!("the record wanted at {name} is wrong: {error}"),
                remedy: "correct `dns.spf` in the configuration".to_owned(),
                record: None,
            }));
        }
    };
    let judged = sending.judge(name, record.as_str(), facts)?;
    if let Some(refusal) = uncovered_relay(name, &record, &judged, sending, facts)? {
        return Ok(Decision::Refused(refusal));
    }
    let reason = format!("{name} has no SPF record; {}", wanted.reason);
    Ok(Decision::Change(
        change(record.as_str(), reason),
        warnings(name, &record, &judged),
    ))
}

/// Decides where there is one record.
fn completed_record(
    wanted: &Wanted,
    value: &Txt,
    sending: &Sending,
    facts: &Facts,
    change: impl FnOnce(&str, String) -> RrsetChange,
) -> Asked<Decision> {
    let name = &wanted.name;
    let refused = |message: String, remedy: &str| {
        Ok(Decision::Refused(Refusal {
            message,
            remedy: remedy.to_owned(),
            record: None,
        }))
    };
    let record = match Record::parse(&value.joined()) {
        Ok(record) => record,
        Err(error) => {
            return refused(
                format!("the SPF record of {name} is wrong, and so of no use to receivers: {error}"),
                "correct it by hand: a record that exists is only ever completed",
            );
        }
    };
    let judged = sending.judge(name, record.as_str(), facts)?;
    if let Some(refusal) = uncovered_relay(name, &record, &judged, sending, facts)? {
        return Ok(Decision::Refused(refusal));
    }
    if sending.relay.is_some() || (!judged.is_empty() && judged.iter().all(Judged::passes)) {
        return Ok(Decision::Nothing(Vec::new()));
    }
    let broken = |judged: &&Judged| {
        matches!(
            judged.evaluation.result,
            SpfResult::PermError | SpfResult::TempError
        )
    };
    if let Some(judged) = judged.iter().find(broken) {
        return refused(
            format!(
                "the SPF record of {name} gives {} for {}: {}",
                judged.evaluation.result, judged.address, judged.evaluation.reason
            ),
            "mend what the record refers to; a term more would not help",
        );
    }
    if judged.is_empty() {
        // Nobody knows by which address we send, so the word of the record is all there is.
        if record.has_mx() || wanted.role != Role::MailDomain {
            return Ok(Decision::Nothing(Vec::new()));
        }
        let completed = record.insert_mx_before_all();
        let reason = format!("the SPF record of {name} has no `mx`; the rest of it stays as it is");
        return Ok(Decision::Change(change(&completed, reason), Vec::new()));
    }
    for term in terms_to_try(wanted.role, &record, &judged) {
        let completed = record.insert_before_all(term.text);
        let after = sending.judge(name, &completed, facts)?;
        let helps = after
            .iter()
            .zip(&judged)
            .any(|(after, before)| after.passes() && !before.passes());
        let breaks = after
            .iter()
            .zip(&judged)
            .any(|(after, before)| !after.passes() && before.passes());
        if (helps || term.even_if_useless) && !breaks {
            let reason = format!(
                "the SPF record of {name} does not let this host send: {}; `{}` is inserted, the rest stays as it is",
                not_passing(&judged),
                term.text
            );
            let after_record = Record::parse(completed.as_bytes()).unwrap_or_else(|_| record.clone());
            let notes = warnings(name, &after_record, &after);
            return Ok(Decision::Change(change(&completed, reason), notes));
        }
    }
    Ok(Decision::Nothing(warnings(name, &record, &judged)))
}

/// A term that may be inserted.
struct Term {
    text: &'static str,
    /// Insert it also when nothing is known to pass by it.
    even_if_useless: bool,
}

fn terms_to_try(role: Role, record: &Record, judged: &[Judged]) -> Vec<Term> {
    // The configuration says that this host serves the domain: `mx` belongs into its record although the MX records do
    // not lead here yet. Not so where some of our addresses pass without it.
    let even_if_useless = role == Role::MailDomain && !judged.iter().any(Judged::passes);
    let mut terms = Vec::new();
    if !record.has_mx() {
        terms.push(Term {
            text: "mx",
            even_if_useless,
        });
    }
    // A host name has no MX records as a rule, so what `mx` is to a domain, `a` is to it.
    if role == Role::Host {
        terms.push(Term {
            text: "a",
            even_if_useless: false,
        });
    }
    terms
}

/// Returns the refusal to publish a record that does not cover the relay, with the record to use.
fn uncovered_relay(
    name: &DomainName,
    record: &Record,
    judged: &[Judged],
    sending: &Sending,
    facts: &Facts,
) -> Asked<Option<Refusal>> {
    let Some(relay) = sending
        .relay
        .as_ref()
        .filter(|_| judged.is_empty() || !judged.iter().all(Judged::passes))
    else {
        return Ok(None);
    };
    let host = printable_line(relay.host().as_bytes(), SHOWN);
    let seen = if judged.is_empty() {
        "no address of it was found".to_owned()
    } else {
        not_passing(judged)
    };
    let covered = record.insert_before_all(&relay.covering_term(facts)?);
    Ok(Some(Refusal {
        message: format!(
            "mail of {name} leaves by the relay {host}, which `{record}` does not cover: {seen}"
        ),
        remedy: format!(
            "publish at {name} a record that covers the relay (its operator knows which): {covered}"
        ),
        record: Some(covered),
    }))
}

/// Returns what the reader should know about senders that do not pass.
fn warnings(name: &DomainName, record: &Record, judged: &[Judged]) -> Vec<String> {
    if judged.iter().all(Judged::passes) {
        return Vec::new();
    }
    vec![format!(
        "`{record}` at {name} does not let this host send from {}; add its address (`ip4:` or `ip6:`), or let the MX records lead to it",
        not_passing(judged)
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dns::{
            desired::tests::wanted_spf,
            facts::{Answer, Family, Question},
            sending::Relay,
        },
        model::rrset::Rrset,
    };

    /// `mail.test` has its MX at 192.0.2.1; the relay is at 198.51.100.1, and `isp.test` publishes a record for it.
    fn settle<T>(decide: impl Fn(&Facts) -> Asked<T>) -> T {
        let mut facts = Facts::default();
        loop {
            let question = match decide(&facts) {
                Ok(decided) => return decided,
                Err(question) => question,
            };
            let addresses = |text: &str| Answer::Addresses(vec![text.parse().unwrap()]);
            let answer = match &question {
                Question::Mx(name) if name == "mail.test" => Answer::Names(vec!["mx.mail.test".to_owned()]),
                Question::Addresses(name, Family::V4) if name.ends_with("mail.test") => {
                    addresses("192.0.2.1")
                }
                Question::Addresses(name, Family::V4) if name == "smtp.isp.test" => addresses("198.51.100.1"),
                Question::Txt(name) if name == "isp.test" => {
                    Answer::Texts(vec![b"v=spf1 ip4:198.51.100.0/24 -all".to_vec()])
                }
                Question::Addresses(..) => Answer::Addresses(vec![]),
                Question::Txt(_) => Answer::Texts(vec![]),
                _ => Answer::Names(vec![]),
            };
            facts.insert(question, answer);
        }
    }

    fn sending(addresses: &[&str], relay: &str) -> Sending {
        Sending {
            host: "mx.mail.test".parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            relay: Relay::parse(relay),
        }
    }

    /// Decides for a mail domain (or the host) with these TXT values.
    fn decision(name: &str, existing: &[&str], sending: &Sending) -> Decision {
        let (text, role) = match name {
            "mail.test" => ("v=spf1 mx -all", Role::MailDomain),
            _ => ("v=spf1 a -all", Role::Host),
        };
        let wanted = wanted_spf(name, text, role);
        let existing = Existing {
            zone: "mail.test".parse().unwrap(),
            rrset: Rrset {
                ttl: 77,
                values: existing.iter().map(|text| Rdata::text(text)).collect(),
            },
            ours: Vec::new(),
        };
        settle(|facts| decide(&wanted, &existing, sending, facts))
    }

    /// Returns what stands in place of the record after the decision, and the number of notes.
    fn outcome(decision: &Decision) -> (Option<String>, usize) {
        match decision {
            Decision::Change(change, notes) => (
                Some(String::from_utf8(change.add[0].as_txt().unwrap().joined()).unwrap()),
                notes.len(),
            ),
            Decision::Nothing(notes) => (None, notes.len()),
            Decision::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    #[test]
    fn completes_records_and_replaces_none() {
        let check = |name: &str, existing: &[&str], address: &str, expected: Option<&str>, n_notes: usize| {
            let decision = decision(name, existing, &sending(&[address], ""));
            assert_eq!(
                outcome(&decision),
                (expected.map(str::to_owned), n_notes),
                "{existing:?} {decision:?}"
            );
        };
        check("mail.test", &[], "192.0.2.1", Some("v=spf1 mx -all"), 0);
        check("mail.test", &["other"], "192.0.2.1", Some("v=spf1 mx -all"), 0);
        check("mail.test", &["v=spf1 mx -all"], "192.0.2.1", None, 0);
        check("mail.test", &["v=spf1 ip4:192.0.2.1 ~all"], "192.0.2.1", None, 0);
        check("mail.test", &["v=spf1 +all"], "192.0.2.1", None, 0);
        check(
            "mail.test",
            &["v=spf1 include:isp.test ~all"],
            "192.0.2.1",
            Some("v=spf1 include:isp.test mx ~all"),
            0,
        );
        check(
            "mail.test",
            &["V=SPF1   ?all  foo=x"],
            "192.0.2.1",
            Some("V=SPF1   mx ?all  foo=x"),
            0,
        );
        check(
            "mail.test",
            &["v=spf1 redirect=isp.test"],
            "192.0.2.1",
            Some("v=spf1 mx redirect=isp.test"),
            0,
        );
        check("mail.test", &["v=spf1"], "192.0.2.1", Some("v=spf1 mx"), 0);
        // The MX records lead elsewhere: the record gets its `mx`, once, and the reader is told.
        check(
            "mail.test",
            &["v=spf1 -all"],
            "203.0.113.9",
            Some("v=spf1 mx -all"),
            1,
        );
        check("mail.test", &["v=spf1 mx -all"], "203.0.113.9", None, 1);
        check("mail.test", &[], "203.0.113.9", Some("v=spf1 mx -all"), 1);
        check("mx.mail.test", &[], "192.0.2.1", Some("v=spf1 a -all"), 0);
        check(
            "mx.mail.test",
            &["v=spf1 mx -all"],
            "192.0.2.1",
            Some("v=spf1 mx a -all"),
            0,
        );
        check("mx.mail.test", &["v=spf1 -all"], "203.0.113.9", None, 1);
    }

    #[test]
    fn a_change_names_one_value_and_keeps_the_ttl() {
        let existing = ["google-site-verification=x", "v=spf1 -all"];
        let Decision::Change(change, _) = decision("mail.test", &existing, &sending(&["192.0.2.1"], ""))
        else {
            panic!()
        };
        assert_eq!(change.ttl, 77);
        assert_eq!(change.before, existing.map(Rdata::text));
        assert_eq!(change.remove, [Rdata::text("v=spf1 -all")]);
        assert_eq!(
            change.after(),
            ["google-site-verification=x", "v=spf1 mx -all"].map(Rdata::text)
        );
        // Twice is once.
        assert_eq!(
            outcome(&decision(
                "mail.test",
                &["v=spf1 mx -all"],
                &sending(&["192.0.2.1"], "")
            )),
            (None, 0)
        );
        let Decision::Change(change, _) = decision("mail.test", &[], &sending(&["192.0.2.1"], "")) else {
            panic!()
        };
        assert_eq!(change.ttl, 3600);
    }

    #[test]
    fn one_of_several_addresses_may_lack() {
        let both = sending(&["192.0.2.1", "203.0.113.9"], "");
        assert_eq!(
            outcome(&decision("mail.test", &["v=spf1 a:mail.test -all"], &both)),
            (None, 1)
        );
        let completed = outcome(&decision("mail.test", &["v=spf1 ip4:203.0.113.9 -all"], &both));
        assert_eq!(completed, (Some("v=spf1 ip4:203.0.113.9 mx -all".to_owned()), 0));
        let unknown = sending(&[], "");
        assert_eq!(
            outcome(&decision("mail.test", &["v=spf1 mx -all"], &unknown)),
            (None, 0)
        );
        assert_eq!(
            outcome(&decision("mail.test", &["v=spf1 -all"], &unknown))
                .0
                .as_deref(),
            Some("v=spf1 mx -all")
        );
    }

    #[test]
    fn refuses_what_only_the_operator_can_mend() {
        let check = |existing: &[&str], relay: &str, message: &str, record: Option<&str>| match decision(
            "mail.test",
            existing,
            &sending(&["192.0.2.1"], relay),
        ) {
            Decision::Refused(refusal) => {
                assert!(refusal.message.contains(message), "{refusal:?}");
                assert_eq!(refusal.record.as_deref(), record);
            }
            decision => panic!("{existing:?}: {decision:?}"),
        };
        check(&["v=spf1 -all", "v=spf1 mx -all"], "", "2 SPF records", None);
        check(&["v=spf1 mxx -all"], "", "byte 8", None);
        check(&["v=spf1 include:gone.test -all"], "", "permerror", None);
        let relay = "[smtp.isp.test]:587";
        check(
            &[],
            relay,
            "leaves by the relay smtp.isp.test",
            Some("v=spf1 mx include:isp.test -all"),
        );
        check(
            &["v=spf1 mx ~all"],
            relay,
            "does not cover",
            Some("v=spf1 mx include:isp.test ~all"),
        );
        check(
            &[],
            "[192.0.2.77]",
            "192.0.2.77",
            Some("v=spf1 mx ip4:192.0.2.77 -all"),
        );
        check(
            &[],
            "[nowhere.other.test]",
            "no address",
            Some("v=spf1 mx a:nowhere.other.test -all"),
        );
        let covered = decision(
            "mail.test",
            &["v=spf1 include:isp.test -all"],
            &sending(&["192.0.2.1"], relay),
        );
        assert_eq!(covered, Decision::Nothing(vec![]));
    }
}
