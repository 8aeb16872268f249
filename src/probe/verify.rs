//! Asks endpoints again and again until a deployment is proven, or time is up.
//!
//! After a reload the first connections may still meet a process that serves the old certificate, and a port may be
//! refused for a moment: one good answer proves little, one bad answer too. Several good ones in a row are wanted.

use std::{num::NonZeroU32, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use super::{
    client::{Client, Dialogue},
    judge::{Expectation, Judgment, Verdict},
    sighting::Sighting,
    target::Target,
};
use crate::env::progress::Tally;

/// How many goals are pursued at a time: more than there are conversations, since most goals wait between two of them.
const AT_ONCE: usize = 64;

/// One address and what it has to serve.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Whom to ask.
    pub target: Target,
    /// What to expect.
    pub expectation: Expectation,
}

/// How long and how often to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many good answers in a row prove it.
    pub good_in_a_row: NonZeroU32,
    /// When to give up.
    pub within: Duration,
    /// When to give up on one that serves neither the old leaf nor the new one: longer than a reload takes to come
    /// through, shorter than `within`, since mail may be stopped meanwhile.
    pub within_if_failing: Duration,
    /// The pause between conversations; it doubles with each bad answer, up to `longest_pause`.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            good_in_a_row: NonZeroU32::MIN.saturating_add(2),
            within: Duration::from_secs(20),
            within_if_failing: Duration::from_secs(5),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// What came of one goal.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The verdict on the last answer.
    pub judgment: Judgment,
    /// The last answer.
    pub last: Sighting,
    /// How often it was asked.
    pub asked: u32,
}

impl Verified {
    /// Returns whether the deployment is proven on this address.
    pub fn is_good(&self) -> bool {
        self.judgment.verdict == Verdict::Good
    }

    /// Returns whether it is a reason to take the change back.
    pub fn is_worse(&self) -> bool {
        self.judgment.verdict == Verdict::Worse
    }
}

/// Asks many goals at the same time, each until it is proven or time is up; the results stand in the order of the goals.
pub async fn verify(client: &Client, goals: Vec<Goal>, patience: Patience, tally: &Tally) -> Vec<Verified> {
    let mut tasks = JoinSet::new();
    let mut results = Vec::new();
    let mut keep = |joined| {
        results.push(joined);
        tally.add_one();
    };
    for (index, goal) in goals.into_iter().enumerate() {
        if tasks.len() >= AT_ONCE {
            // The time of one that waits for its turn must not be over before it begins.
            tasks.join_next().await.into_iter().flatten().for_each(&mut keep);
        }
        let client = client.clone();
        tasks.spawn(async move { (index, pursue(&client, &goal, patience).await) });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.into_iter().for_each(&mut keep);
    }
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, verified)| verified).collect()
}

async fn pursue(client: &Client, goal: &Goal, patience: Patience) -> Verified {
    let started = Instant::now();
    let mut pause = patience.first_pause;
    let (mut good, mut failing) = (0, 0);
    let mut asked = 0;
    loop {
        asked += 1;
        // Restrictions are judged by a transaction. One, in the conversation that decides, is enough, unless it fails.
        let decides = good + 1 >= patience.good_in_a_row.get();
        let dialogue = if decides || failing > 0 {
            Dialogue::Transaction
        } else {
            Dialogue::Greet
        };
        let last = client.ask(&goal.target, dialogue).await;
        let judgment = goal.expectation.judge(&last);
        (good, failing) = match judgment.verdict {
            Verdict::Good => (good + 1, 0),
            Verdict::StillOld => (0, 0),
            Verdict::Down | Verdict::Other | Verdict::Worse => (0, failing + 1),
        };
        // Once is no proof: one conversation alone may take longer than the limit.
        let limit = if failing >= 2 {
            patience.within_if_failing
        } else {
            patience.within
        };
        if good >= patience.good_in_a_row.get() || started.elapsed() + pause >= limit {
            return Verified {
                judgment: unproven(judgment, good, patience),
                last,
                asked,
            };
        }
        tokio::time::sleep(pause).await;
        if good == 0 {
            pause = (pause * 2).min(patience.longest_pause);
        }
    }
}

/// Time ran out between good answers: it serves both the old and the new, which proves nothing.
fn unproven(judgment: Judgment, good: u32, patience: Patience) -> Judgment {
    if judgment.verdict == Verdict::Good && good < patience.good_in_a_row.get() {
        let wanted = patience.good_in_a_row;
        let detail = format!("served the new certificate only {good} times in a row, not {wanted}");
        return Judgment {
            verdict: Verdict::StillOld,
            detail,
        };
    }
    judgment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{Identity, Script, Server, Smtp};

    fn client() -> Client {
        Client::new("probe.example.test".parse().unwrap()).unwrap()
    }

    fn patience(within: Duration) -> Patience {
        let short = Duration::from_millis(1);
        Patience {
            within,
            within_if_failing: within,
            first_pause: short,
            longest_pause: short,
            ..Patience::default()
        }
    }

    /// Verifies one server that served `old` before; returns the verdict and how many connections that took.
    async fn check(
        script: impl Fn(usize) -> Script + Send + 'static,
        new: &Identity,
        within: Duration,
    ) -> Verified {
        let server = Server::start(script).await;
        let old = Identity::self_signed("old.test");
        let target = Target::resolve(&server.endpoint("smtp"), None).await.remove(0);
        let before = crate::model::lineage::Before {
            endpoint: server.endpoint("smtp"),
            server_name: None,
            leaf_sha256: Some(old.leaf().to_string()),
            accepts_mail: true,
        };
        let expectation = Expectation {
            before: Some(before),
            old: vec![],
            new: new.leaf(),
        };
        let results = verify(
            &client(),
            vec![Goal { target, expectation }],
            patience(within),
            &Tally::quiet(),
        )
        .await;
        let verified = results.into_iter().next().unwrap();
        assert_eq!(server.connections(), verified.asked as usize);
        verified
    }

    #[tokio::test]
    async fn wants_three_good_answers_in_a_row() {
        let (new, old) = (
            Identity::self_signed("new.test"),
            Identity::self_signed("stale.test"),
        );
        // Good, good, lost, good, stale, then good for ever.
        let scripts = [
            Some(&new),
            Some(&new),
            None,
            Some(&new),
            Some(&old),
            Some(&new),
            Some(&new),
            Some(&new),
        ];
        let scripts: Vec<Script> = scripts
            .iter()
            .map(|identity| {
                identity.map_or(Script::Close, |identity| {
                    Script::Smtp(Smtp::good(identity.clone()))
                })
            })
            .collect();
        let verified = check(move |n| scripts[n].clone(), &new, Duration::from_secs(60)).await;
        assert!(verified.is_good(), "{verified:?}");
        assert_eq!(verified.asked, 8);
        assert!(
            verified.last.transaction.is_some(),
            "the deciding conversation begins a transaction"
        );
    }

    #[tokio::test]
    async fn a_fault_that_only_a_transaction_shows_is_found_and_settles() {
        let new = Identity::self_signed("new.test");
        let smtp = Smtp {
            rcpt: "451 4.3.5 Server configuration error\r\n",
            ..Smtp::good(new.clone())
        };
        let verified = check(
            move |_| Script::Smtp(smtp.clone()),
            &new,
            Duration::from_millis(200),
        )
        .await;
        assert!(verified.is_worse(), "{verified:?}");
        assert!(verified.judgment.detail.contains("451 4.3.5"), "{verified:?}");
    }

    #[tokio::test]
    async fn gives_up_in_time_with_the_last_verdict() {
        let new = Identity::self_signed("new.test");
        let none = Duration::ZERO;
        let verified = check(|_| Script::Close, &new, none).await;
        assert!(verified.is_worse(), "{verified:?}");
        let other = Identity::self_signed("other.test");
        let verified = check(move |_| Script::Smtp(Smtp::good(other.clone())), &new, none).await;
        assert!(verified.is_worse(), "{verified:?}");
        let smtp = Smtp::good(new.clone());
        let verified = check(move |_| Script::Smtp(smtp.clone()), &new, none).await;
        assert_eq!(
            verified.judgment.verdict,
            Verdict::StillOld,
            "one good answer proves nothing"
        );
    }
}
