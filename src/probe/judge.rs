//! Whether an endpoint got better or worse by a change. Pure.
//!
//! The rule is `design`, section 1: one that completed TLS before and now does not, or serves neither the old nor the
//! new leaf, takes the change back. One that was down or wrong before, or still serves the old leaf, is a failure and
//! takes nothing back. Mail counts too: a transaction that worked before and now meets a server fault is worse.

use crate::model::{certificate::Sha256, lineage::Before};

use super::sighting::{Outcome, Sighting};

/// What a change did to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No TLS, and none before either.
    Down,
    /// It serves the new leaf.
    Good,
    /// It serves a leaf that is neither old nor new, and nothing good is known of it before.
    Other,
    /// It serves what it served before.
    StillOld,
    /// It was better before: reason to take the change back.
    Worse,
}

/// A verdict with what was seen, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgment {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen: the second half of "smtp://… ".
    pub detail: String,
}

/// What an endpoint is expected to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What it did before the change, where it was asked.
    pub before: Option<Before>,
    /// Leaves that were right until now.
    pub old: Vec<Sha256>,
    /// The leaf that is right now.
    pub new: Sha256,
}

impl Expectation {
    fn leaf_before(&self) -> Option<Sha256> {
        self.before.as_ref()?.leaf_sha256.as_ref()?.parse().ok()
    }

    fn accepted_mail_before(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.accepts_mail)
    }

    /// Judges what is seen after the change.
    pub fn judge(&self, after: &Sighting) -> Judgment {
        if self.accepted_mail_before()
            && let Some(fault) = after.fault()
        {
            let detail = format!("took part in mail before, and now does not: {fault}");
            return Judgment {
                verdict: Verdict::Worse,
                detail,
            };
        }
        let before = self.leaf_before();
        let (verdict, detail) = match (&after.outcome, before) {
            (Outcome::NotTls { reason, .. }, Some(_)) => (
                Verdict::Worse,
                format!("completed TLS before, and now does not: {reason}"),
            ),
            (Outcome::NotTls { reason, .. }, None) => {
                (Verdict::Down, format!("does not complete TLS: {reason}"))
            }
            (Outcome::Tls(handshake), before) => {
                let leaf = handshake.leaf_sha256;
                if leaf == self.new {
                    (Verdict::Good, format!("serves the certificate {leaf}"))
                } else if self.old.contains(&leaf) || before == Some(leaf) {
                    (Verdict::StillOld, format!("still serves the certificate {leaf}"))
                } else if before.is_some() {
                    (
                        Verdict::Worse,
                        format!("serves the certificate {leaf}, which is neither the old nor the new one"),
                    )
                } else {
                    (Verdict::Other, format!("serves another certificate, {leaf}"))
                }
            }
        };
        Judgment { verdict, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Handshake, Reply, Stage, Transaction};

    fn leaf(name: &str) -> Sha256 {
        Sha256::of(name.as_bytes())
    }

    fn sighting(outcome: Outcome, rcpt: Option<(u16, &str)>) -> Sighting {
        let reply = |code, line: &str| Reply {
            code,
            lines: vec![line.to_owned()],
        };
        let transaction = rcpt.map(|(code, line)| Transaction {
            mail: Ok(reply(250, "2.1.0 Ok")),
            rcpt: Some(Ok(reply(code, line))),
        });
        Sighting {
            endpoint: "smtp://192.0.2.1:25".parse().unwrap(),
            address: None,
            outcome,
            transaction,
        }
    }

    fn tls(name: &str, rcpt: Option<(u16, &str)>) -> Sighting {
        let handshake = Handshake {
            chain: vec![],
            leaf_sha256: leaf(name),
            protocol: "TLSv1.3".to_owned(),
            cipher_suite: String::new(),
            key_exchange: String::new(),
            mute: None,
        };
        sighting(Outcome::Tls(handshake), rcpt)
    }

    fn not_tls(stage: Stage) -> Sighting {
        sighting(
            Outcome::NotTls {
                stage,
                reason: "reason".to_owned(),
            },
            None,
        )
    }

    fn check(before: Option<&Sighting>, after: &Sighting, expected: Verdict) {
        let expectation = Expectation {
            before: before.map(Sighting::before),
            old: vec![leaf("old")],
            new: leaf("new"),
        };
        let judgment = expectation.judge(after);
        assert_eq!(
            judgment.verdict, expected,
            "{before:?} -> {after:?}: {}",
            judgment.detail
        );
    }

    const OK: Option<(u16, &str)> = Some((250, "2.1.5 Ok"));
    const REFUSED: Option<(u16, &str)> = Some((554, "5.7.1 Relay access denied"));
    const FAULT: Option<(u16, &str)> = Some((451, "4.3.5 Server configuration error"));

    #[test]
    fn judges_the_leaf_against_before() {
        let down = not_tls(Stage::Connect);
        check(Some(&tls("old", OK)), &tls("new", OK), Verdict::Good);
        check(Some(&tls("old", OK)), &tls("old", OK), Verdict::StillOld);
        check(
            Some(&tls("snakeoil", OK)),
            &tls("snakeoil", OK),
            Verdict::StillOld,
        );
        check(Some(&tls("snakeoil", OK)), &tls("old", OK), Verdict::StillOld);
        check(Some(&tls("old", OK)), &tls("third", OK), Verdict::Worse);
        check(Some(&down), &tls("third", OK), Verdict::Other);
        check(Some(&down), &tls("new", OK), Verdict::Good);
        check(None, &tls("third", OK), Verdict::Other);
        check(None, &tls("new", OK), Verdict::Good);
    }

    #[test]
    fn judges_lost_tls_by_whether_it_was_there() {
        for stage in [
            Stage::Connect,
            Stage::Greeting,
            Stage::NoStartTls,
            Stage::StartTlsRefused,
            Stage::Handshake,
        ] {
            check(Some(&tls("old", OK)), &not_tls(stage), Verdict::Worse);
            check(Some(&not_tls(Stage::Connect)), &not_tls(stage), Verdict::Down);
            check(None, &not_tls(stage), Verdict::Down);
        }
    }

    #[test]
    fn a_port_that_took_mail_in_clear_text_and_is_muted_got_worse() {
        let plain = Sighting {
            transaction: tls("x", OK).transaction,
            ..not_tls(Stage::NoStartTls)
        };
        check(Some(&plain), &not_tls(Stage::Greeting), Verdict::Worse);
        check(Some(&plain), &not_tls(Stage::StartTlsRefused), Verdict::Down);
        check(Some(&plain), &plain, Verdict::Down);
    }

    #[test]
    fn a_new_server_fault_is_worse_even_with_the_new_leaf() {
        check(Some(&tls("old", OK)), &tls("new", FAULT), Verdict::Worse);
        check(Some(&tls("old", FAULT)), &tls("new", FAULT), Verdict::Good);
        check(Some(&tls("old", OK)), &tls("new", REFUSED), Verdict::Good);
        check(Some(&tls("old", REFUSED)), &tls("new", FAULT), Verdict::Worse);
        check(Some(&tls("old", None)), &tls("new", FAULT), Verdict::Good);
        check(None, &tls("new", FAULT), Verdict::Good);
    }
}
