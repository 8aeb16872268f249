//! Decisions over small zones: what stays, what is added, what is refused.

use super::*;
use crate::{
    dns::{
        desired::{
            CaUse,
            tests::{request, wanted},
        },
        facts::{Answer, Question},
    },
    model::rdata::RecordType,
};

/// What is known of the world: `NAME TYPE VALUE` lines of TXT and TLSA; what is at `signed.test` is proven.
fn settle(world: &[&str], wanted: &Wanted, there: &[&str], ours: &[&str]) -> Decision {
    let value = |text: &&str| match wanted.kind() {
        RecordType::Txt => Rdata::text(text),
        kind => Rdata::parse(kind, text).unwrap(),
    };
    let existing = Existing {
        zone: "mail.test".parse().unwrap(),
        rrset: Rrset {
            ttl: if there.is_empty() { 0 } else { 77 },
            values: there.iter().map(value).collect(),
        },
        ours: ours.iter().map(value).collect(),
    };
    let sending = Sending {
        host: "mx.mail.test".parse().unwrap(),
        addresses: Vec::new(),
        relay: None,
    };
    let mut facts = Facts::default();
    loop {
        let question = match decide(wanted, &existing, &sending, &facts) {
            Ok(decision) => return decision,
            Err(question) => question,
        };
        let values = |name: &str, kind: &str| {
            let head = format!("{name} {kind} ");
            world
                .iter()
                .filter_map(move |line| line.strip_prefix(&head).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let mut status = crate::dns::facts::Status::default();
        let answer = match &question {
            Question::Txt(name) => {
                Answer::Texts(values(name, "TXT").into_iter().map(String::into_bytes).collect())
            }
            Question::Tlsa(name) => {
                status.authenticated = name.ends_with("signed.test");
                Answer::Tlsa(
                    values(name, "TLSA")
                        .iter()
                        .map(|text| match Rdata::parse(RecordType::Tlsa, text).unwrap() {
                            Rdata::Tlsa {
                                usage,
                                selector,
                                matching,
                                data,
                            } => crate::dns::tlsa::Tlsa {
                                usage,
                                selector,
                                matching,
                                data,
                            },
                            _ => unreachable!(),
                        })
                        .collect(),
                )
            }
            Question::Addresses(name, _) => {
                status.authenticated = name.ends_with("signed.test");
                Answer::Addresses(
                    values(name, "A")
                        .iter()
                        .map(|text| text.parse().unwrap())
                        .collect(),
                )
            }
            other => panic!("{other:?}"),
        };
        facts.insert_reply(question, crate::dns::facts::Reply { answer, status });
    }
}

/// What is added, what is removed, and whether the reader is told anything; `Err` is a refusal.
fn outcome(decision: &Decision) -> Result<(Vec<String>, Vec<String>, bool), String> {
    let texts = |values: &[Rdata]| values.iter().map(ToString::to_string).collect();
    match decision {
        Decision::Change(change, notes) => {
            assert_eq!(change.ttl, if change.before.is_empty() { 3600 } else { 77 });
            Ok((texts(&change.add), texts(&change.remove), !notes.is_empty()))
        }
        Decision::Nothing(notes) => Ok((Vec::new(), Vec::new(), !notes.is_empty())),
        Decision::Refused(refusal) => Err(refusal.message.clone()),
    }
}

#[track_caller]
fn check(found: &Decision, add: &[&str], remove: &[&str], is_told: bool) {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    assert_eq!(
        outcome(found),
        Ok((owned(add), owned(remove), is_told)),
        "{found:?}"
    );
}

#[test]
fn a_text_of_others_stays_and_ours_follows_the_configuration() {
    let dmarc = wanted(
        "_dmarc.mail.test",
        Family::Dmarc,
        RecordType::Txt,
        &["v=DMARC1; p=quarantine"],
    );
    let new = "\"v=DMARC1; p=quarantine\"";
    let check_it = |there: &[&str], ours: &[&str], add: &[&str], remove: &[&str], is_told| {
        check(&settle(&[], &dmarc, there, ours), add, remove, is_told);
    };
    check_it(&[], &[], &[new], &[], false);
    check_it(&["site-verification=x"], &[], &[new], &[], false);
    check_it(&["v=DMARC1; p=quarantine"], &[], &[], &[], false);
    check_it(&["v=DMARC1;p=quarantine;"], &[], &[], &[], false);
    check_it(&["v=DMARC1; p=none"], &[], &[], &[], true);
    check_it(&["v=dmarc1; p=none"], &[], &[], &[], true);
    check_it(
        &["v=DMARC1; p=none", "other"],
        &["v=DMARC1; p=none"],
        &[new],
        &["\"v=DMARC1; p=none\""],
        false,
    );
    // One of two is not ours: both stay.
    check_it(
        &["v=DMARC1; p=none", "v=DMARC1; p=reject"],
        &["v=DMARC1; p=none"],
        &[],
        &[],
        true,
    );
    let tls = wanted(
        "_smtp._tls.mail.test",
        Family::TlsRpt,
        RecordType::Txt,
        &["v=TLSRPTv1; rua=mailto:a@b.test"],
    );
    check(
        &settle(&[], &tls, &["v=TLSRPTv1; rua=mailto:x@y.test"], &[]),
        &[],
        &[],
        true,
    );
    check(
        &settle(&[], &tls, &["v=DMARC1; p=none"], &[]),
        &["\"v=TLSRPTv1; rua=mailto:a@b.test\""],
        &[],
        false,
    );
    let sts = wanted(
        "_mta-sts.mail.test",
        Family::MtaSts,
        RecordType::Txt,
        &["v=STSv1; id=2"],
    );
    check(
        &settle(&[], &sts, &["v=STSv1; id=1"], &["v=STSv1; id=1"]),
        &["\"v=STSv1; id=2\""],
        &["\"v=STSv1; id=1\""],
        false,
    );
    check(&settle(&[], &sts, &["v=STSv1; id=1"], &[]), &[], &[], true);
}

#[test]
fn a_weaker_dmarc_policy_than_the_one_above_is_not_published() {
    let dmarc = wanted(
        "_dmarc.mail.test",
        Family::Dmarc,
        RecordType::Txt,
        &["v=DMARC1; p=none"],
    );
    let new: &[&str] = &["\"v=DMARC1; p=none\""];
    let check_it =
        |world: &[&str], add: &[&str], is_told| check(&settle(world, &dmarc, &[], &[]), add, &[], is_told);
    check_it(&["_dmarc.test TXT v=DMARC1; p=reject"], &[], true);
    check_it(&["_dmarc.test TXT v=DMARC1; p=reject; sp=none"], new, false);
    check_it(&["_dmarc.test TXT v=DMARC1; p=none"], new, false);
    check_it(&["_dmarc.test TXT other"], new, false);
}

#[test]
fn services_are_added_where_there_are_none() {
    let srv = wanted(
        "_imaps._tcp.mail.test",
        Family::Srv,
        RecordType::Srv,
        &["0 1 993 mx.mail.test."],
    );
    let check_it = |there: &[&str], ours: &[&str], add: &[&str], remove: &[&str], is_told| {
        check(&settle(&[], &srv, there, ours), add, remove, is_told);
    };
    let new: &[&str] = &["0 1 993 mx.mail.test."];
    check_it(&[], &[], new, &[], false);
    check_it(new, &[], &[], &[], false);
    // Other weights, and another host beside it, are the operator's.
    check_it(
        &["5 9 993 mx.mail.test.", "9 9 993 b.test."],
        &[],
        &[],
        &[],
        false,
    );
    check_it(&["0 1 993 b.test."], &[], &[], &[], true);
    check_it(&["0 0 0 ."], &["0 0 0 ."], new, &["0 0 0 ."], false);
    check_it(&["0 0 0 ."], &[], &[], &[], true);
    let none = wanted(
        "_pop3s._tcp.mail.test",
        Family::Srv,
        RecordType::Srv,
        &["0 0 0 ."],
    );
    check(&settle(&[], &none, &["0 0 995 ."], &[]), &[], &[], false);
    let host = wanted(
        "mta-sts.mail.test",
        Family::MtaStsHost,
        RecordType::A,
        &["192.0.2.1"],
    );
    check(&settle(&[], &host, &[], &[]), &["192.0.2.1"], &[], false);
    // It leads somewhere by IPv6 already.
    check(
        &settle(&["mta-sts.mail.test A 2001:db8::1"], &host, &[], &[]),
        &[],
        &[],
        false,
    );
}

#[test]
fn our_ca_is_never_locked_out_and_others_stay() {
    let mut caa = wanted(
        "mx.mail.test",
        Family::Caa,
        RecordType::Caa,
        &["0 issue \"ca.test\""],
    );
    caa.requests = vec![request("ca.test", "https://ca.test/1")];
    let new: &[&str] = &["0 issue \"ca.test\""];
    let check_it = |there: &[&str], ours: &[&str], add: &[&str], remove: &[&str], is_told| {
        check(&settle(&[], &caa, there, ours), add, remove, is_told);
    };
    check_it(&[], &[], new, &[], true);
    check_it(new, &[], &[], &[], false);
    check_it(&["0 issue \"other.test\""], &[], new, &[], false);
    check_it(&["0 iodef \"mailto:a@b.test\""], &[], new, &[], false);
    // It lets us issue already, and is stricter than what is wanted.
    let strict = "0 issue \"ca.test; accounturi=https://ca.test/1\"";
    check_it(&[strict], &[], &[], &[], false);
    check_it(&[strict], &[strict], new, &[strict], false);
    check_it(
        &["0 issue \"other.test\"", strict],
        &[strict],
        new,
        &[strict],
        false,
    );
    // Tags are the same in whatever case, and stay as they are.
    check_it(&["0 ISSUE \"ca.test\""], &[], &[], &[], false);
    check_it(&["0 Issue \"other.test\""], &[], new, &[], false);
    // Nobody knows the tag, so nobody may issue whatever is added.
    let decision = settle(&[], &caa, &["128 tbs \"x\""], &[]);
    assert!(
        outcome(&decision)
            .unwrap_err()
            .contains("our own CA could not issue")
    );
    let mut wildcard = caa.clone();
    wildcard.requests.push(CaUse {
        wildcard: true,
        ..request("ca.test", "")
    });
    assert!(outcome(&settle(&[], &wildcard, &["0 issuewild \";\""], &[])).is_err());
    check(
        &settle(&[], &wildcard, &["0 issue \"other.test\""], &[]),
        new,
        &[],
        false,
    );
    // A CA whose name is not known would be locked out by naming another.
    let mut unknown = caa.clone();
    unknown.requests[0].identities.clear();
    assert!(outcome(&settle(&[], &unknown, &[], &[])).is_err());
    // The contact of others is enough.
    let mut contact = wanted(
        "mx.mail.test",
        Family::Caa,
        RecordType::Caa,
        &["0 issue \"ca.test\"", "0 iodef \"mailto:s@mail.test\""],
    );
    contact.requests.clone_from(&caa.requests);
    let theirs = ["0 IODEF \"mailto:a@b.test\"", "0 issue \"other.test\""];
    check(&settle(&[], &contact, &theirs, &[]), new, &[], false);
}

#[test]
fn a_key_is_published_in_signed_zones_alone_and_goes_when_another_is_in_service() {
    let (new, old, theirs) = ("3 1 1 ab", "3 1 1 cd", "2 1 1 ef");
    let own = wanted("_25._tcp.mx.signed.test", Family::Tlsa, RecordType::Tlsa, &[new]);
    let seen: &[&str] = &["_25._tcp.mx.signed.test TLSA 3 1 1 ab"];
    check(&settle(&[], &own, &[], &[]), &[new], &[], false);
    // One thing at a time: the old one goes when the new one is there.
    check(&settle(&[], &own, &[old, theirs], &[old]), &[new], &[], true);
    check(
        &settle(seen, &own, &[new, old, theirs], &[old]),
        &[],
        &[old],
        false,
    );
    check(&settle(&[], &own, &[new, old], &[old]), &[], &[], false);
    check(&settle(seen, &own, &[new, old], &[]), &[], &[], false);
    let unsigned = wanted("_25._tcp.mx.mail.test", Family::Tlsa, RecordType::Tlsa, &[new]);
    let refusal = outcome(&settle(&[], &unsigned, &[], &[])).unwrap_err();
    assert!(refusal.contains("its zone is not signed"), "{refusal}");
}

#[test]
fn an_undo_never_leaves_records_without_the_key_in_service() {
    let value = |text: &&str| Rdata::parse(RecordType::Tlsa, text).unwrap();
    let values = |texts: &[&str]| texts.iter().map(value).collect::<Vec<Rdata>>();
    let (one, two, three, theirs) = ("3 1 1 01", "3 1 1 02", "3 1 1 03", "2 1 1 ef");
    let ours = values(&[one, two, three]);
    // What was there, what the apply added and removed, what is there now, the key in service: what stays.
    let check = |before: &[&str],
                 add: &[&str],
                 remove: &[&str],
                 now: &[&str],
                 in_service: &str,
                 expected: Option<&[&str]>| {
        let applied = RrsetChange {
            zone: "mail.test".parse().unwrap(),
            name: DomainName::from_dns("_25._tcp.mx.mail.test").unwrap(),
            kind: RecordType::Tlsa,
            ttl: 60,
            before: values(before),
            add: values(add),
            remove: values(remove),
            reason: String::new(),
        };
        let found = Rrset {
            ttl: 60,
            values: values(now),
        };
        let change = taken_back(&applied.inverse(), &found, &ours, Some(&value(&in_service)));
        let sorted = |mut values: Vec<Rdata>| {
            values.sort();
            values
        };
        assert_eq!(
            change.map(|change| sorted(change.after())),
            expected.map(|texts| sorted(values(texts))),
            "{before:?} {add:?} {remove:?} {now:?}"
        );
    };
    check(&[], &[one], &[], &[one], one, Some(&[]));
    // The first apply, after the keys have rolled over: all of ours go, whatever they are called by now.
    check(&[], &[one], &[], &[two, three], two, Some(&[]));
    check(
        &[theirs],
        &[one],
        &[],
        &[two, three, theirs],
        two,
        Some(&[theirs]),
    );
    // A later apply alone: its own record goes, unless the others would be left without the key in service.
    check(&[one], &[two], &[], &[one, two], one, Some(&[one]));
    check(&[one], &[two], &[], &[one, two, theirs], one, None);
    check(&[one], &[two], &[], &[one, two], two, Some(&[]));
    check(
        &[one, two],
        &[],
        &[one],
        &[two, three],
        two,
        Some(&[one, two, three]),
    );
    // Somebody else's record came, or went.
    check(&[], &[one], &[], &[two, theirs], two, None);
    check(&[theirs], &[one], &[], &[two], two, None);
}
