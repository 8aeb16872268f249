//! Challenge responses put in place by a program of the operator's, instead of our listener or DNS provider.
//!
//! All responses of an order are put in place, one program after another, before the CA is told; orders take turns. A
//! TXT record is waited for on every authoritative server, whoever has written it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;

use crate::{
    acme::{
        AcmeError,
        challenge::{BoxFuture, ChallengeResponse, ChallengeType, Present, Verdict},
    },
    config::hook::ChallengeHook,
    dns::{challenge::Dns01, resolver::Resolver},
    env::{leash::Leash, progress::Progress},
    hook::{
        call::Call,
        challenge::{Refusal, Step, calls, refused},
        event::{Challenge, Fate, Surroundings},
        run::{self, Ended},
    },
    model::name::DomainName,
};

/// Beyond the programs' own limits, for everything around them.
const MARGIN: Duration = Duration::from_secs(60);

/// Puts responses in place through a hook.
pub struct ByHook {
    /// The hook.
    pub hook: ChallengeHook,
    /// What the configuration wants to be proven by.
    pub challenge_type: ChallengeType,
    /// `HOME` of the program.
    pub home: PathBuf,
    /// What every program is told.
    pub around: Surroundings,
    /// Finds zones and their servers.
    pub resolver: Resolver,
    /// How long every authoritative server may take to show a record.
    pub dns_timeout: Duration,
    /// Where what the programs say goes.
    pub progress: Progress,
    /// Programs of one run run one after another, also those of different orders.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// The responses that were, or may have been, put in place, by their tokens.
    pub begun: Arc<Mutex<HashMap<String, Begun>>>,
}

/// A response that was, or may have been, put in place.
#[derive(Clone, Debug)]
pub struct Begun {
    challenge: Challenge,
    /// What the program printed.
    output: String,
    fate: Fate,
}

/// Pulls its leash when the future that owns it is dropped: what runs is ended, and what has not begun is left.
pub(super) struct PullOnDrop(pub Leash);

impl Drop for PullOnDrop {
    fn drop(&mut self) {
        self.0.pull();
    }
}

fn lock(begun: &Mutex<HashMap<String, Begun>>) -> MutexGuard<'_, HashMap<String, Begun>> {
    begun.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a failure of the hook as the order is told of it.
fn failure(doing: &str, call: &Call, ended: Ended) -> Result<String, AcmeError> {
    let told = |reason: String| format!("cannot {doing}: {}: {reason}", shown(call));
    match ended {
        Ended::Done { stdout, .. } => Ok(stdout),
        Ended::Failed(reason) => Err(AcmeError::Hook(told(reason))),
        Ended::Later(reason) => Err(AcmeError::HookLater(told(reason))),
    }
}

/// Returns how a call is named to people: its program, and of a shell its command line; never its facts.
pub(super) fn shown(call: &Call) -> String {
    match call.argv.as_slice() {
        // The shim of acme.sh is long; what it runs is told by its parameters.
        [_, flag, _, acme, verb, api, ..] if flag == "-c" && api.starts_with("dns_") => {
            format!("{acme}: {api} {verb}")
        }
        [_, flag, line, ..] if flag == "-c" => line.clone(),
        [program, ..] => program.clone(),
        [] => String::new(),
    }
}

impl ByHook {
    /// Returns how long the programs for so many names may take.
    pub fn patience(&self, n_names: usize) -> Duration {
        let n_names = u32::try_from(n_names).unwrap_or(u32::MAX);
        let each = self
            .hook
            .manner
            .timeout
            .saturating_mul(self.hook.manner.retries.saturating_add(1));
        each.saturating_mul(n_names).saturating_add(MARGIN)
    }

    /// Returns the responses as programs are told of them, with the record of each where the challenge is dns-01.
    async fn described(&self, responses: &[ChallengeResponse]) -> Result<Vec<Challenge>, AcmeError> {
        let all_names: Vec<String> = responses.iter().map(|each| each.name.to_string()).collect();
        let mut records: HashMap<&DomainName, String> = HashMap::new();
        if self.challenge_type == ChallengeType::Dns01 {
            for response in responses {
                if !records.contains_key(&response.name) {
                    let pair = [(response.name.clone(), response.txt.clone())];
                    let located = self.dns().locate(&pair).await;
                    let located = located.map_err(|error| AcmeError::Dns01(Box::new(error)))?;
                    let record = located.records.first().map(|record| record.name.to_string());
                    records.insert(&response.name, record.unwrap_or_default());
                }
            }
        }
        let one = |(index, response): (usize, &ChallengeResponse)| Challenge {
            kind: self.challenge_type.name(),
            name: response.name.to_string(),
            token: response.token.clone(),
            key_authorization: response.key_authorization.clone(),
            digest: response.txt.clone(),
            digest_hex: sha256_hex(&response.key_authorization),
            record: records.get(&response.name).cloned(),
            all_names: all_names.clone(),
            remaining: responses.len() - index - 1,
        };
        Ok(responses.iter().enumerate().map(one).collect())
    }

    fn dns(&self) -> Dns01<'_, ()> {
        Dns01 {
            resolver: &self.resolver,
            provider: &(),
            timeout: self.dns_timeout,
        }
    }

    /// Runs programs one after another, on a thread where they may block, when it is our turn.
    ///
    /// `keep` hears of each that it begins and that it has ended; `false` ends it.
    async fn in_turn(
        &self,
        jobs: Vec<Call>,
        mut heard: impl FnMut(usize, Option<Ended>) -> bool + Send + 'static,
    ) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let leash = Leash::default();
        let _pull = PullOnDrop(leash.clone());
        let (manner, home, progress) = (self.hook.manner.clone(), self.home.clone(), self.progress.clone());
        let work = move || {
            // Kept until the last program has ended, also when nobody waits for it any more.
            let _turn = turn;
            for (index, call) in jobs.iter().enumerate() {
                if leash.is_pulled() || !heard(index, None) {
                    return;
                }
                let ended = run::run(call, &manner, &home, &leash);
                if let Ended::Done { said, .. } = &ended
                    && !said.is_empty()
                {
                    progress.done(&format!("{}: {said}", shown(call)));
                }
                if !heard(index, Some(ended)) {
                    return;
                }
            }
        };
        // A panic in a program's thread has been told on stderr; nothing was heard then, which is a failure.
        let _ = tokio::task::spawn_blocking(work).await;
    }

    async fn put_in_place(&self, responses: &[ChallengeResponse]) -> Result<(), AcmeError> {
        let challenges = self.described(responses).await?;
        let jobs = calls(&self.hook, &challenges, Step::Present, &self.around);
        let one_by_one = jobs.len() == challenges.len();
        let result = Arc::new(Mutex::new(Err(AcmeError::Interrupted)));
        let n_jobs = jobs.len();
        let heard = {
            let (begun, result, jobs) = (Arc::clone(&self.begun), Arc::clone(&result), jobs.clone());
            move |index: usize, ended: Option<Ended>| {
                let concerned = if one_by_one {
                    challenges.get(index..=index).unwrap_or_default()
                } else {
                    &challenges
                };
                let (Some(ended), Some(call)) = (ended, jobs.get(index)) else {
                    // Known before it begins: whatever it has done by then is taken away.
                    lock(&begun).extend(concerned.iter().map(|challenge| {
                        let begun = Begun {
                            challenge: challenge.clone(),
                            output: String::new(),
                            fate: Fate::Open,
                        };
                        (challenge.token.clone(), begun)
                    }));
                    return true;
                };
                let doing = format!(
                    "set up {} for {}",
                    concerned.first().map_or("", |challenge| challenge.kind),
                    names(concerned)
                );
                let outcome = failure(&doing, call, ended);
                if let Ok(output) = &outcome {
                    for challenge in concerned {
                        if let Some(known) = lock(&begun).get_mut(&challenge.token) {
                            known.output.clone_from(output);
                        }
                    }
                }
                let goes_on = outcome.is_ok();
                if !goes_on || index + 1 == n_jobs {
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = outcome.map(drop);
                }
                goes_on
            }
        };
        self.in_turn(jobs, heard).await;
        std::mem::replace(
            &mut *result.lock().unwrap_or_else(PoisonError::into_inner),
            Ok(()),
        )?;
        if self.challenge_type == ChallengeType::Dns01 {
            self.wait_for_records(responses).await?;
        }
        Ok(())
    }

    /// Waits until every authoritative server shows every value.
    async fn wait_for_records(&self, responses: &[ChallengeResponse]) -> Result<(), AcmeError> {
        let failed = |error| AcmeError::Dns01(Box::new(error));
        let pairs: Vec<(DomainName, String)> = responses
            .iter()
            .map(|each| (each.name.clone(), each.txt.clone()))
            .collect();
        self.progress
            .step("waiting until every name server shows what the hook has written");
        let located = self.dns().locate(&pairs).await.map_err(failed)?;
        self.dns().wait(&located).await.map_err(failed)
    }

    async fn take_away(&self, responses: &[ChallengeResponse]) -> Result<(), AcmeError> {
        // What an earlier present has begun and nobody waits for any more ends before its turn does.
        drop(self.turn.lock().await);
        let begun: Vec<Begun> = responses
            .iter()
            .filter_map(|response| lock(&self.begun).remove(&response.token))
            .collect();
        let mut jobs: Vec<Call> = Vec::new();
        let challenges: Vec<Challenge> = begun.iter().map(|one| one.challenge.clone()).collect();
        let fate = begun.first().map_or(Fate::Open, |one| one.fate);
        let chained = calls(&self.hook, &challenges, Step::Cleanup(fate, ""), &self.around);
        if chained.len() == 1 && challenges.len() > 1 {
            jobs = chained;
        } else {
            for one in &begun {
                let challenge = std::slice::from_ref(&one.challenge);
                let step = Step::Cleanup(one.fate, &one.output);
                jobs.extend(calls(&self.hook, challenge, step, &self.around));
            }
        }
        let result = Arc::new(Mutex::new(Ok(())));
        let heard = {
            let (result, jobs) = (Arc::clone(&result), jobs.clone());
            let doing = format!("take the challenge for {} away", names(&challenges));
            move |index: usize, ended: Option<Ended>| {
                if let (Some(ended), Some(call)) = (ended, jobs.get(index)) {
                    let outcome = failure(&doing, call, ended).map(drop);
                    let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                    if result.is_ok() {
                        *result = outcome;
                    }
                }
                // Every one is tried.
                true
            }
        };
        self.in_turn(jobs, heard).await;
        std::mem::replace(
            &mut *result.lock().unwrap_or_else(PoisonError::into_inner),
            Ok(()),
        )
    }

    /// Tells dehydrated's scripts what the CA refused.
    async fn tell_refusal(&self, error: &AcmeError) {
        let mut jobs = Vec::new();
        match error {
            AcmeError::Challenge(failures) => {
                for failed in failures {
                    let result = json!({
                        "type": failed.challenge,
                        "status": "invalid",
                        "error": { "type": failed.problem.kind, "detail": failed.problem.detail },
                    });
                    let refusal = Refusal::Challenge(&failed.identifier, &result.to_string());
                    jobs.extend(refused(&self.hook, refusal, &self.around));
                }
            }
            AcmeError::Problem { problem, status, .. } => {
                let body = json!({ "type": problem.kind, "detail": problem.detail, "status": status });
                let body = body.to_string();
                let refusal = Refusal::Request(*status, &body);
                jobs.extend(refused(&self.hook, refusal, &self.around));
            }
            _ => {}
        }
        if jobs.is_empty() {
            return;
        }
        let progress = self.progress.clone();
        self.in_turn(jobs, move |_, ended| {
            if let Some(Ended::Failed(reason) | Ended::Later(reason)) = ended {
                progress.done(&format!("the hook did not take the refusal: {reason}"));
            }
            true
        })
        .await;
    }
}

impl Present for ByHook {
    fn challenge_type(&self) -> ChallengeType {
        self.challenge_type
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(self.put_in_place(responses))
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(self.take_away(responses))
    }

    fn judged<'a>(&'a self, responses: &'a [ChallengeResponse], verdict: Verdict<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match verdict {
                Verdict::Confirmed => {
                    for response in responses {
                        if let Some(known) = lock(&self.begun).get_mut(&response.token) {
                            known.fate = Fate::Confirmed;
                        }
                    }
                }
                Verdict::Failed(error) => self.tell_refusal(error).await,
            }
        })
    }

    fn may_be_tried(&self) -> bool {
        false
    }

    fn cleanup_limit(&self, n_responses: usize) -> Duration {
        self.patience(n_responses)
    }
}

fn names(challenges: &[Challenge]) -> String {
    let names: Vec<&str> = challenges
        .iter()
        .map(|challenge| challenge.name.as_str())
        .collect();
    names.join(", ")
}

fn sha256_hex(text: &str) -> String {
    crate::commands::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}
