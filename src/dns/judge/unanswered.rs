//! Nobody answers anything about a domain, or it does not exist: one finding that tells the cause and what was therefore not
//! judged, in the place of one for each question. Pure.

use std::collections::BTreeSet;

use super::{Subject, Told, Verdict};
use crate::{
    dns::{
        desired::Role,
        error::DnsError,
        facts::{Answer, Facts, Question},
    },
    model::finding::{Finding, Severity},
};

/// Names and causes that are shown.
const SHOWN: usize = 10;

/// Why nothing about a domain was answered, and whether it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    name: String,
    role: Role,
    /// Why, each reason once.
    causes: BTreeSet<String>,
}

/// Returns what is told about a subject: the findings, unless one cause explains them all.
pub fn verdict(subject: &Subject, findings: Vec<Finding>, facts: &Facts) -> Verdict {
    let name = subject.name.as_str();
    // One of ours may be about to be made: there it is told what to publish.
    if subject.role == Role::Any && facts.status(&Question::Mx(name.to_owned())).no_such_name {
        return Verdict::Judged(vec![no_such_name(name)]);
    }
    let is_of = |owner: &str| {
        owner
            .strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let mut causes = BTreeSet::new();
    for (question, reply) in facts.replies() {
        let about = match question {
            // A server that answers speaks for the domain, whatever the resolvers do.
            Question::At(_, owner, _) if is_of(owner) => {
                if reply.answer.failure().is_none() {
                    return Verdict::Judged(findings);
                }
                continue;
            }
            Question::At(..) | Question::Chain(..) | Question::Page(..) | Question::Ptr(_) => continue,
            Question::Addresses(owner, _)
            | Question::Caa(owner)
            | Question::Mx(owner)
            | Question::Ns(owner)
            | Question::SpfType(owner)
            | Question::Srv(owner)
            | Question::Tlsa(owner)
            | Question::Txt(owner) => owner,
        };
        if !is_of(about) {
            continue;
        }
        match &reply.answer {
            // It says nothing about who does not answer.
            Answer::Failed(DnsError::TooManyQuestions) => {}
            Answer::Failed(DnsError::Server { server, failure, .. }) => {
                let who = format!("{server}: {failure}");
                causes.insert(reply.status.bogus.clone().unwrap_or(who));
            }
            Answer::Failed(error) => {
                causes.insert(error.to_string());
            }
            _ => return Verdict::Judged(findings),
        }
    }
    if causes.is_empty() {
        return Verdict::Judged(findings);
    }
    // That is the cause, and it has its own remedy.
    let bogus: Vec<Finding> = findings
        .into_iter()
        .filter(|finding| finding.id == "dnssec.bogus")
        .map(|mut finding| {
            finding.evidence = format!(
                "{}; not judged therefore: {}",
                finding.evidence,
                families(subject.role)
            );
            finding
        })
        .collect();
    match bogus.is_empty() {
        true => Verdict::Silent(Silence {
            name: name.to_owned(),
            role: subject.role,
            causes,
        }),
        false => Verdict::Judged(bogus),
    }
}

/// There is nothing at the name, nor below it (RFC 8020, 2).
fn no_such_name(name: &str) -> Finding {
    Told { subject: name }.error(
        "dns.no-such-name",
        format!(
            "there is no such name (NXDOMAIN): mail to it comes back; not judged therefore: {}",
            families(Role::Any)
        ),
        "see that it is spelled right and registered, and that the zone above delegates it",
        "RFC 8020, 2",
    )
}

/// Returns one finding for all that have one cause.
pub fn of_silences(silences: &[Silence]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut left: Vec<&Silence> = silences.iter().collect();
    while let Some(first) = left.first().copied() {
        let (same, others): (Vec<&Silence>, Vec<&Silence>) = left
            .into_iter()
            .partition(|silence| silence.causes == first.causes);
        left = others;
        let causes: Vec<&str> = first.causes.iter().take(SHOWN).map(String::as_str).collect();
        let role = match same.iter().all(|silence| silence.role == Role::Host) {
            true => Role::Host,
            false => Role::Any,
        };
        let names: Vec<&str> = same
            .iter()
            .map(|silence| silence.name.as_str())
            .take(SHOWN)
            .collect();
        let more = match same.len() - names.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let subject = format!("{}{more}", names.join(", "));
        let evidence = format!(
            "no question about it was answered ({}); not judged therefore: {}",
            causes.join("; "),
            families(role)
        );
        let told = Told { subject: &subject };
        findings.push(told.tell(
            Severity::Error,
            "dns.unanswered",
            evidence,
            "see that the resolver runs and can be reached from here (`dns.resolvers`, else /etc/resolv.conf); \
             if it answers about other domains, that this domain's name servers do",
            "RFC 1034, 5.3.1",
        ));
    }
    findings
}

/// Returns what is not judged where nothing is answered.
fn families(role: Role) -> &'static str {
    match role {
        Role::Host => "addresses, PTR, SPF, CAA, DNSSEC and TLSA",
        Role::Any | Role::MailDomain => {
            "MX, addresses, SPF, DMARC, DKIM, MTA-STS, TLS reporting, CAA, DNSSEC, TLSA and SRV"
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::dns::{
        error::ServerFailure,
        facts::{Family, Kind, Reply, Status},
        judge::Reach,
    };

    fn subject(name: &str) -> Subject {
        Subject {
            name: name.parse().unwrap(),
            role: Role::Any,
            ours: None,
            selectors: Vec::new(),
            now: OffsetDateTime::UNIX_EPOCH,
            reach: Reach::DnsOnly,
        }
    }

    fn failed(code: &str) -> Answer {
        Answer::Failed(DnsError::Server {
            server: "192.0.2.53:53".parse().unwrap(),
            question: "whatever".to_owned(),
            failure: ServerFailure::ResponseCode(code.to_owned()),
        })
    }

    fn findings() -> Vec<Finding> {
        vec![
            Finding::new(Severity::Error, "mx.unanswered", "a.test", "x"),
            Finding::new(Severity::Error, "dnssec.bogus", "a.test", "x"),
        ]
    }

    fn silent() -> Facts {
        let mut facts = Facts::default();
        facts.insert(Question::Mx("a.test".to_owned()), failed("SERVFAIL"));
        facts.insert(Question::Txt("_dmarc.a.test".to_owned()), failed("SERVFAIL"));
        facts.insert(
            Question::Srv("x.a.test".to_owned()),
            Answer::Failed(DnsError::TooManyQuestions),
        );
        // Of others, and what is above.
        facts.insert(
            Question::Ns(String::new()),
            Answer::Names(vec!["a.root".to_owned()]),
        );
        facts.insert(Question::Txt("_dmarc.test".to_owned()), Answer::Texts(Vec::new()));
        facts.insert(Question::Mx("aa.test".to_owned()), Answer::Exchanges(Vec::new()));
        facts
    }

    fn is_silent(facts: &Facts) -> bool {
        matches!(
            verdict(&subject("a.test"), findings()[..1].to_vec(), facts),
            Verdict::Silent(_)
        )
    }

    #[test]
    fn one_answer_is_enough_to_be_judged() {
        assert!(is_silent(&silent()));
        assert!(!is_silent(&Facts::default()));
        let questions = [
            Question::Txt("a.test".to_owned()),
            Question::Caa("mx.a.test".to_owned()),
            Question::At("192.0.2.1:53".parse().unwrap(), "a.test".to_owned(), Kind::Txt),
        ];
        for question in questions {
            let mut facts = silent();
            facts.insert(question.clone(), Answer::Texts(Vec::new()));
            assert!(!is_silent(&facts), "{question:?}");
        }
    }

    #[test]
    fn what_does_not_exist_is_told_once() {
        let mut facts = Facts::default();
        let reply = Reply {
            answer: Answer::Exchanges(Vec::new()),
            status: Status {
                no_such_name: true,
                ..Status::default()
            },
        };
        facts.insert_reply(Question::Mx("a.test".to_owned()), reply);
        let told = |subject: &Subject| match verdict(subject, findings(), &facts) {
            Verdict::Judged(found) => found.iter().map(|one| one.id).collect(),
            Verdict::Silent(_) => Vec::new(),
        };
        assert_eq!(told(&subject("a.test")), ["dns.no-such-name"]);
        assert_eq!(told(&subject("b.test")).len(), 2);
        // What is ours may be yet to be published.
        for role in [Role::Host, Role::MailDomain] {
            let own = Subject {
                role,
                ..subject("a.test")
            };
            assert_eq!(told(&own).len(), 2);
        }
    }

    #[test]
    fn what_does_not_validate_is_the_cause() {
        let mut facts = silent();
        let reply = Reply {
            answer: failed("SERVFAIL"),
            status: Status {
                bogus: Some("DNSSEC: expired".to_owned()),
                ..Status::default()
            },
        };
        facts.insert_reply(Question::Addresses("a.test".to_owned(), Family::V4), reply);
        let Verdict::Judged(found) = verdict(&subject("a.test"), findings(), &facts) else {
            panic!()
        };
        assert_eq!(found.len(), 1);
        assert!(
            found[0].id == "dnssec.bogus" && found[0].evidence.contains("not judged"),
            "{found:?}"
        );
    }

    #[test]
    fn those_with_one_cause_are_told_together() {
        let silence = |name: &str, cause: &str| Silence {
            name: name.to_owned(),
            role: Role::Any,
            causes: BTreeSet::from([cause.to_owned()]),
        };
        let found = of_silences(&[
            silence("a.test", "192.0.2.53:53: SERVFAIL"),
            silence("b.test", "192.0.2.53:53: REFUSED"),
            silence("c.test", "192.0.2.53:53: SERVFAIL"),
        ]);
        let told: Vec<(&str, &str)> = found.iter().map(|one| (one.id, one.subject.as_str())).collect();
        assert_eq!(
            told,
            [("dns.unanswered", "a.test, c.test"), ("dns.unanswered", "b.test")]
        );
        assert!(
            found[0].evidence.contains("SERVFAIL") && found[0].evidence.contains("DMARC"),
            "{found:?}"
        );
        assert_eq!(of_silences(&[]), []);
    }
}
