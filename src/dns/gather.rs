//! Asks what decisions want to know, all of it at once, until they are made.
//!
//! The time is that of the longest chain of questions of which each needs the answer before it, not of their number. It
//! is bounded, and so is the number of questions: past either, further ones count as failed, so that a decision over
//! hostile answers ends.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{
    FutureExt,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::time::{Instant, timeout_at};

use super::{
    error::DnsError,
    facts::{Answer, Asked, Facts, Question, Reply, Status},
    lookup::Lookup,
};

/// Questions that the decisions about one domain may ask.
const MAX_QUESTIONS: usize = 400;
/// How long they may take.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Answers what is not the DNS's to answer: pages and certificates.
pub type Outside<'a> = dyn Fn(Question) -> BoxFuture<'a, Answer> + Send + Sync + 'a;

/// A decision over what is known.
pub type Decision<'a, T> = Box<dyn Fn(&Facts) -> Asked<T> + Send + 'a>;

/// Returns the answers of somebody who asks nobody outside the DNS.
pub fn nobody(_: Question) -> BoxFuture<'static, Answer> {
    std::future::ready(Answer::Unreached("it is not asked".to_owned())).boxed()
}

/// Asks until one decision is made.
pub async fn settle<T>(
    lookup: &Lookup,
    facts: &mut Facts,
    decide: impl Fn(&Facts) -> Asked<T> + Send,
) -> Option<T> {
    settle_all(lookup, &nobody, facts, vec![Box::new(decide)])
        .await
        .pop()
}

/// Asks until all decisions are made; returns them in their order.
///
/// Each decision must end when all its questions are answered.
pub async fn settle_all<T>(
    lookup: &Lookup,
    outside: &Outside<'_>,
    facts: &mut Facts,
    decisions: Vec<Decision<'_, T>>,
) -> Vec<T> {
    let deadline = Instant::now() + MAX_TIME;
    let mut made: Vec<Option<T>> = decisions.iter().map(|_| None).collect();
    // What each decision waits for; it is looked at again only when one of these is answered.
    let mut waiting: Vec<BTreeSet<Question>> = decisions.iter().map(|_| BTreeSet::new()).collect();
    let mut asked: BTreeSet<Question> = BTreeSet::new();
    let mut asking = FuturesUnordered::new();
    let mut fresh: Option<BTreeSet<Question>> = None;
    loop {
        for (index, decide) in decisions.iter().enumerate() {
            let concerned = |fresh: &BTreeSet<Question>| fresh.iter().any(|one| waiting[index].contains(one));
            if made[index].is_some() || !fresh.as_ref().is_none_or(concerned) {
                continue;
            }
            facts.take_open();
            made[index] = decide(facts).ok();
            let open = facts.take_open();
            if made[index].is_some() {
                waiting[index].clear();
                continue;
            }
            for question in &open {
                if !asked.insert(question.clone()) {
                    continue;
                }
                if asked.len() > MAX_QUESTIONS || Instant::now() >= deadline {
                    facts.insert(question.clone(), Answer::Failed(DnsError::TooManyQuestions));
                } else {
                    asking.push(answer(lookup, outside, question.clone()));
                }
            }
            waiting[index] = open;
        }
        if made.iter().all(Option::is_some) {
            return made.into_iter().flatten().collect();
        }
        let mut answered = BTreeSet::new();
        // Questions that were not asked are answered already.
        for question in waiting.iter().flatten() {
            if !answered.contains(question) && facts.knows(question) {
                answered.insert(question.clone());
            }
        }
        if answered.is_empty() {
            match timeout_at(deadline, asking.next()).await {
                Ok(Some((question, reply))) => {
                    answered.insert(question.clone());
                    facts.insert_reply(question, reply);
                }
                // Time is up, or nothing is left to be asked: what is open stays so.
                Ok(None) | Err(_) => {
                    for question in waiting.iter().flatten() {
                        if !facts.knows(question) {
                            answered.insert(question.clone());
                            facts.insert(question.clone(), Answer::Failed(DnsError::TooManyQuestions));
                        }
                    }
                    if answered.is_empty() {
                        // A decision that wants what is known would never end.
                        return made.into_iter().flatten().collect();
                    }
                }
            }
        }
        while let Some(Some((question, reply))) = asking.next().now_or_never() {
            answered.insert(question.clone());
            facts.insert_reply(question, reply);
        }
        fresh = Some(answered);
    }
}

async fn answer(lookup: &Lookup, outside: &Outside<'_>, question: Question) -> (Question, Reply) {
    let reply = match lookup.reply(&question).await {
        Some(reply) => reply,
        None => Reply {
            answer: outside(question.clone()).await,
            status: Status::default(),
        },
    };
    (question, reply)
}
