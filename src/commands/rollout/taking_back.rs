//! Takes a change back after a port got worse: links, configuration, reload, and a look whether all is as it was.

use time::Duration;

use std::collections::{HashMap, HashSet};

use super::{Moving, Rollout, ask_until_proven, close, hooks, mail, order, sni, store_error};
use crate::{
    error::Error,
    model::{
        certificate::Sha256,
        endpoint::Asked,
        lineage::{Before, State, Step},
        plan::FileChange,
    },
    postfix::inspect::Instance,
    probe::{
        judge::{Expectation, Verdict},
        verify::Patience,
    },
    store::journal::Status,
};

/// How long a port may take to be as it was after a change was taken back: Postfix holds a service that failed to start
/// back for up to a minute.
const PATIENCE_AFTER_TAKING_BACK: std::time::Duration = std::time::Duration::from_secs(65);

/// A certificate is never rolled back to one with less than this left.
pub(super) const WORTH_GOING_BACK_TO: Duration = Duration::days(3);

/// What is told when there is nothing to put back.
const NO_WAY_BACK: &str = "a port that worked before does not now, and nothing was taken back: there is no earlier \
                           certificate, or it has less than three days left";

impl Rollout<'_, '_, '_> {
    /// Puts back what got worse by us: the configuration, and the lineages of the endpoints that got worse.
    pub(super) fn take_back(&mut self, server: Option<&Instance>, worse: &[(Asked, String)]) {
        let lineages: HashSet<String> = worse
            .iter()
            .filter_map(|(endpoint, _)| self.expected.get(endpoint).cloned())
            .collect();
        let is_worse = |one: &Moving<'_>| lineages.contains(&one.certificate.name);
        let now = self.context.now();
        let with_way_back = self.moves.iter().filter(|one| is_worse(one));
        if self.written.is_empty()
            && self.left.is_none()
            && with_way_back.clone().all(|one| one.way_back(now).is_none())
        {
            let error = told(worse, NO_WAY_BACK);
            return self.remember_worse(&lineages, &error);
        }
        let context = self.context;
        context.progress.done("a port got worse: putting everything back");
        let mut error = told(
            worse,
            "the change was taken back: a port that worked before did not after it",
        );
        for one in self.moves.iter_mut().filter(|one| is_worse(one)) {
            let Some(back) = one.way_back(now) else { continue };
            match context.store.point_live_at(&one.certificate.name, back) {
                Ok(()) => {
                    one.lineage.generation = Some(back);
                    one.lineage.state = State::RolledBack;
                }
                Err(failure) => {
                    let message = format!("{} could not be put back", one.certificate.name);
                    error = error.cause(store_error(message, &failure));
                }
            }
        }
        let left = self.left.take();
        let all_written: Vec<FileChange> = left
            .iter()
            .flat_map(|(_, files)| files)
            .chain(&self.written)
            .cloned()
            .collect();
        if !all_written.is_empty() {
            match mail::put_back(&all_written) {
                Ok(()) => {
                    self.written.clear();
                    if let Some((entry, _)) = left
                        && let Err(failure) = close(context, entry, Status::RolledBack)
                    {
                        error = error.cause(failure);
                    }
                    // The first certificate has no generation to go back to: what was before it serves again.
                    for one in self.moves.iter_mut().filter(|one| is_worse(one)) {
                        one.lineage.state = State::RolledBack;
                    }
                }
                Err(failure) => error = error.cause(failure),
            }
        }
        // The links lead to the old generation again; the map still has copies of the new one.
        if let Some(server) =
            server.filter(|_| self.moves.iter().any(|one| is_worse(one) && one.certificate.sni))
            && let Err(failure) = sni::rebuild(context, server)
        {
            error = error.cause(failure);
        }
        if let Err(failure) = self.reload(server) {
            error = error.cause(failure);
        }
        for one in self
            .moves
            .iter_mut()
            .filter(|one| one.lineage.state == State::RolledBack)
        {
            let failures = hooks::deploy_taken_back(context, one.certificate, &mut one.lineage);
            error = failures.into_iter().fold(error, Error::cause);
        }
        error = self.look_after_taking_back(error);
        for one in self
            .moves
            .iter_mut()
            .filter(|one| lineages.contains(&one.certificate.name))
        {
            if one.lineage.state != State::RolledBack {
                one.lineage.state = State::Installed;
            }
        }
        self.remember_worse(&lineages, &error);
    }

    /// Keeps and tells why these lineages are not in service after all; of the others, what is not verified.
    fn remember_worse(&mut self, lineages: &HashSet<String>, error: &Error) {
        let is_worse = |one: &&mut Moving<'_>| lineages.contains(&one.certificate.name);
        for one in self.moves.iter_mut().filter(is_worse) {
            let name = &one.certificate.name;
            let told = error
                .clone()
                .remedy(format!("mend what the cause says, then `mailcert deploy {name}`"));
            order::remember(
                self.context,
                one.certificate,
                &mut one.lineage,
                Step::Verify,
                &told,
                None,
            );
            one.error = Some(told);
        }
        self.tell_unverified();
        self.error = Some(error.clone());
    }

    /// Looks whether what was put back works as before; a service that Postfix throttles takes up to a minute.
    fn look_after_taking_back(&self, error: Error) -> Error {
        let context = self.context;
        context.progress.step("asking every port whether it is as before");
        let moves: HashMap<&String, &Moving<'_>> = self
            .moves
            .iter()
            .map(|one| (&one.certificate.name, one))
            .collect();
        let mut checks: Vec<(Asked, Expectation)> = self
            .baseline
            .iter()
            .filter_map(|before| {
                let expectation = Expectation {
                    before: Some(before.clone()),
                    old: Vec::new(),
                    new: self.leaf_after_taking_back(&moves, before)?,
                };
                Some((before.asked(), expectation))
            })
            .collect();
        checks.sort_by(|(one, _), (other, _)| one.cmp(other));
        let patience = Patience {
            within: PATIENCE_AFTER_TAKING_BACK,
            within_if_failing: PATIENCE_AFTER_TAKING_BACK,
            ..Patience::default()
        };
        let looked = context.wait(ask_until_proven(context, checks, patience));
        match looked.and_then(|looked| looked) {
            Err(failure) => error.cause(failure),
            Ok(judged) => judged
                .iter()
                .filter(|(_, judgment)| judgment.verdict != Verdict::Good)
                .fold(error, |error, (asked, judgment)| {
                    error.cause(format!("{asked} is not as before, even now: {}", judgment.detail))
                }),
        }
    }

    /// Returns the leaf that an endpoint serves once everything is put back: the one before, unless that was an earlier
    /// generation of a lineage that was not put back itself.
    fn leaf_after_taking_back(
        &self,
        moves: &HashMap<&String, &Moving<'_>>,
        before: &Before,
    ) -> Option<Sha256> {
        let lineage = self.expected.get(&before.asked())?;
        let served = before.leaf_sha256.as_ref()?;
        let moved = moves.get(lineage).copied();
        let stays = moved.filter(|one| {
            let earlier = one
                .previous
                .and_then(|number| one.lineage.generations.get(&number));
            one.lineage.generation == Some(one.generation)
                && earlier.is_some_and(|earlier| earlier.leaf_sha256 == *served)
        });
        let leaf = stays.and_then(|one| Some(&one.lineage.live()?.leaf_sha256));
        leaf.unwrap_or(served).parse().ok()
    }
}

/// Returns a failure with what became of each endpoint that got worse.
fn told(worse: &[(Asked, String)], message: &str) -> Error {
    worse
        .iter()
        .fold(Error::failed(message), |error, (asked, detail)| {
            error.cause(format!("{asked}: {detail}"))
        })
}
