//! Takes a change back after a port got worse: links, configuration, reload, and a look whether all is as it was.

use time::Duration;

use std::collections::{HashMap, HashSet};

use super::{
    Daemon, Moving, NotReloaded, Rollout, ask_until_proven, close, dovecot, hooks, mail, order, sender_login,
    sni, store_error,
};
use crate::{
    error::Error,
    model::{
        certificate::Sha256,
        endpoint::Asked,
        lineage::{Before, Served, State, Step},
        plan::FileChange,
    },
    postfix::inspect::Instance,
    probe::{
        judge::{Expectation, Judgment, Verdict},
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
        let files_are_back;
        (files_are_back, error) = self.put_files_back(error);
        if files_are_back {
            // The first certificate has no generation to go back to: what was before it serves again.
            for one in self.moves.iter_mut().filter(|one| is_worse(one)) {
                one.lineage.state = State::RolledBack;
            }
        }
        // The links lead to the old generation again; the map still has copies of the new one.
        if let Some(server) =
            server.filter(|_| self.moves.iter().any(|one| is_worse(one) && one.certificate.sni))
            && let Err(failure) = sni::rebuild(context, server)
        {
            error = error.cause(failure);
        }
        let not_taken_up = self.take_up_again(server);
        error = not_taken_up.into_iter().fold(error, Error::cause);
        for one in self
            .moves
            .iter_mut()
            .filter(|one| one.lineage.state == State::RolledBack)
        {
            let failures = hooks::deploy_taken_back(context, one.certificate, &mut one.lineage);
            error = failures.into_iter().fold(error, Error::cause);
        }
        let judged;
        (judged, error) = self.look_after_taking_back(error);
        if files_are_back {
            self.judge_the_others(&lineages, &judged);
        }
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

    /// Puts configuration files back that this run, or a killed apply before it, wrote. Returns whether there were any and
    /// all are back.
    fn put_files_back(&mut self, error: Error) -> (bool, Error) {
        let left = self.left.take();
        let all_written: Vec<FileChange> = left
            .iter()
            .flat_map(|(_, files)| files)
            .chain(&self.written)
            .cloned()
            .collect();
        if all_written.is_empty() {
            return (false, error);
        }
        if let Err(failure) = mail::put_back(&all_written) {
            return (false, error.cause(failure));
        }
        self.written.clear();
        let settled = mail::inspect(self.context).and_then(|server| match server {
            Some(server) => sender_login::settle(self.context, &server, &all_written),
            None => Ok(()),
        });
        let error = match settled {
            Ok(()) => error,
            Err(failure) => error.cause(failure),
        };
        match left.map(|(entry, _)| close(self.context, entry, Status::RolledBack)) {
            Some(Err(failure)) => (true, error.cause(failure)),
            _ => (true, error),
        }
    }

    /// Puts configuration files back that a server refuses to be reloaded with: it runs on with the old ones, and would
    /// not start with these.
    pub(super) fn take_files_back(&mut self, server: Option<&Instance>, error: Error) -> Error {
        let (are_back, error) = self.put_files_back(error);
        if !are_back {
            return error;
        }
        let error = error.cause("the configuration files were put back");
        let not_taken_up = self.take_up_again(server).into_iter();
        not_taken_up.fold(error, |error, failure| {
            error.cause(format!("with them back, too: {failure}"))
        })
    }

    /// Has both servers read what was put back. One that served when this run began and has ended since is started again.
    fn take_up_again(&mut self, server: Option<&Instance>) -> Vec<Error> {
        let context = self.context;
        let mut failures = Vec::new();
        let postfix = self.reload(server).or_else(|failure| match (failure, server) {
            (NotReloaded::NotRunning(_), Some(server)) if self.served(Daemon::Postfix) => {
                context
                    .progress
                    .done("Postfix has ended: it is started with what was put back");
                mail::start(context, server)
            }
            (failure, _) => Err(Error::from(failure)),
        });
        failures.extend(postfix.err());
        if let Err(failure) = self.reload_dovecot() {
            let dovecot = match (failure, &self.dovecot) {
                (NotReloaded::NotRunning(_), Some(instance)) if self.served(Daemon::Dovecot) => {
                    context
                        .progress
                        .done("Dovecot has ended: it is started with what was put back");
                    dovecot::start(context, instance)
                }
                (failure, _) => Err(Error::from(failure)),
            };
            failures.extend(dovecot.err());
        }
        failures
    }

    /// Judges the lineages that nothing got worse for anew: the configuration that named them has gone back as well.
    fn judge_the_others(&mut self, worse: &HashSet<String>, judged: &HashMap<Asked, Judgment>) {
        let by_name: HashMap<&String, &Moving<'_>> = self
            .moves
            .iter()
            .map(|one| (&one.certificate.name, one))
            .collect();
        let before: HashMap<Asked, &Before> = self
            .baseline
            .iter()
            .map(|before| (before.asked(), before))
            .collect();
        let mut seen: HashMap<String, Vec<Served>> = HashMap::new();
        for (asked, name) in &self.expected {
            let own = by_name.get(name).and_then(|one| one.lineage.live());
            let own = own.and_then(|live| live.leaf_sha256.parse().ok());
            let is_own = own.is_some()
                && before
                    .get(asked)
                    .and_then(|before| self.leaf_after_taking_back(&by_name, before))
                    == own;
            let judgment = judged.get(asked);
            seen.entry(name.clone()).or_default().push(Served {
                endpoint: asked.endpoint.clone(),
                server_name: asked.server_name.clone(),
                verified: is_own && judgment.is_some_and(|judgment| judgment.verdict == Verdict::Good),
                detail: match judgment {
                    Some(judgment) => judgment.detail.clone(),
                    None => "went with the configuration that was taken back".to_owned(),
                },
            });
        }
        for one in &mut self.moves {
            let name = &one.certificate.name;
            if one.lineage.state != State::Verified || worse.contains(name) {
                continue;
            }
            let served = seen.remove(name).unwrap_or_default();
            if served.iter().any(|served| !served.verified) || self.unasked.contains_key(name) {
                one.lineage.state = State::Deployed;
            }
            if let Some(deployment) = &mut one.lineage.deployment {
                deployment.endpoints = served;
            }
        }
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
        self.remember_worse_bystanders(lineages, error);
        self.tell_unverified();
        self.error = Some(error.clone());
    }

    /// Notes in the records of lineages that did not move why they are no longer served: their next run looks again.
    fn remember_worse_bystanders(&mut self, lineages: &HashSet<String>, error: &Error) {
        let context = self.context;
        let moved: HashSet<&String> = self.moves.iter().map(|one| &one.certificate.name).collect();
        let bystanders = lineages.iter().filter(|name| !moved.contains(name));
        for certificate in bystanders.filter_map(|name| context.config.certificate(name)) {
            let saved = context.load(&certificate.name).and_then(|mut lineage| {
                if lineage.state == State::Verified {
                    lineage.state = State::Deployed;
                }
                order::remember(context, certificate, &mut lineage, Step::Verify, error, None);
                context.save(&lineage)
            });
            if let Err(failure) = saved {
                self.notes.push(failure.to_string());
            }
        }
    }

    /// Looks whether what was put back works as before; a service that Postfix throttles takes up to a minute.
    fn look_after_taking_back(&self, error: Error) -> (HashMap<Asked, Judgment>, Error) {
        let context = self.context;
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
        let tally = context
            .progress
            .tally("asking every port whether it is as before", checks.len());
        let looked = context.wait(ask_until_proven(context, checks, patience, &tally));
        match looked.and_then(|looked| looked) {
            Err(failure) => (HashMap::new(), error.cause(failure)),
            Ok(judged) => {
                let not_good: Vec<_> = judged
                    .iter()
                    .filter(|(_, judgment)| judgment.verdict != Verdict::Good)
                    .collect();
                let error = not_good.iter().fold(error, |error, (asked, judgment)| {
                    error.cause(format!("{asked} is not as before, even now: {}", judgment.detail))
                });
                let error = match not_good.as_slice() {
                    [] => error,
                    [(asked, _), others @ ..] => {
                        let more = match others.len() {
                            0 => String::new(),
                            n => format!(" and {n} more"),
                        };
                        let message = format!(
                            "{asked}{more} is NOT as it was, although the change was taken back: the reload brought something else into force"
                        );
                        Error { message, ..error }.remedy(
                            "look at what the server logs, and at what was changed in its configuration since it was reloaded before",
                        )
                    }
                };
                (judged.into_iter().collect(), error)
            }
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use time::OffsetDateTime;

    use super::*;
    use crate::{
        commands::{Context, rollout::Move},
        config::v1,
        env::{Env, progress::Progress},
        model::{
            endpoint::Endpoint,
            lineage::{Deployment, Generation, Lineage, Verify},
        },
    };

    fn leaf(name: &str) -> Sha256 {
        Sha256::of(name.as_bytes())
    }

    /// A lineage that moved from its first generation to its second, and was proven.
    fn verified(name: &str) -> Lineage {
        let mut lineage = Lineage::new(name);
        for number in [1, 2] {
            let generation = Generation {
                identifiers: Vec::new(),
                not_before: OffsetDateTime::UNIX_EPOCH,
                not_after: OffsetDateTime::UNIX_EPOCH,
                leaf_sha256: leaf(&format!("{name} {number}")).to_string(),
                spki_sha256: String::new(),
                certificate_id: None,
                directory: None,
            };
            lineage.generations.insert(number, generation);
        }
        lineage.generation = Some(2);
        lineage.state = State::Verified;
        lineage.deployment = Some(Deployment {
            generation: 2,
            previous: Some(1),
            verify: Verify::On,
            baseline: Vec::new(),
            endpoints: Vec::new(),
            hooks: Vec::new(),
            listed: Vec::new(),
        });
        lineage
    }

    #[test]
    fn what_is_served_no_more_once_the_configuration_is_back_is_not_verified() {
        let certificates = ["a.test", "b.test", "c.test"];
        let tables = certificates
            .map(|name| format!("[[certificate]]\nidentifiers = [\"{name}\"]\nissuer = \"external\"\n"));
        let text = format!(
            "version = 1\n[host]\nname = \"a.test\"\ndomains = [\"test\"]\n{}",
            tables.concat()
        );
        let config = v1::parse(Path::new("mailcert.toml"), &text).unwrap();
        let env = Env::real();
        let context = Context::with(&env, Path::new("mailcert.toml"), config, Progress::quiet());
        let endpoint = |name: &str| -> Endpoint {
            let last = name.bytes().next().unwrap_or_default();
            format!("smtp://192.0.2.{last}:25").parse().unwrap()
        };
        // Before the change a.test was served by its first generation, b.test by no file of ours; c.test had no port.
        let before = |name: &str, served: &str| Before {
            endpoint: endpoint(name),
            server_name: None,
            leaf_sha256: Some(leaf(served).to_string()),
            accepts_mail: true,
        };
        let mut rollout = Rollout {
            dovecot: None,
            unseen: None,
            reloads_dovecot: false,
            dovecot_log: None,
            context: &context,
            notes: Vec::new(),
            expected: certificates
                .iter()
                .map(|&name| (endpoint(name).into(), name.to_owned()))
                .collect::<BTreeMap<_, _>>(),
            unasked: BTreeMap::new(),
            baseline: vec![before("a.test", "a.test 1"), before("b.test", "snake oil")],
            moves: certificates
                .iter()
                .map(|name| {
                    Moving::from(Move {
                        certificate: context.config.certificate(name).unwrap(),
                        lineage: verified(name),
                        generation: 2,
                        hooks: hooks::Scope::Unfinished,
                    })
                })
                .collect(),
            error: None,
            written: Vec::new(),
            left: None,
            sni_map_made: false,
            derived_made: false,
        };
        for one in &mut rollout.moves {
            one.previous = Some(1);
        }
        let good = |name: &str| {
            let judgment = Judgment {
                verdict: Verdict::Good,
                detail: "serves it".to_owned(),
            };
            (Asked::from(endpoint(name)), judgment)
        };
        let worse = HashSet::from(["d.test".to_owned()]);
        rollout.judge_the_others(&worse, &HashMap::from([good("a.test"), good("b.test")]));
        let states: Vec<State> = rollout.moves.iter().map(|one| one.lineage.state).collect();
        assert_eq!(states, [State::Verified, State::Deployed, State::Deployed]);
        rollout.moves[0].lineage.state = State::Verified;
        rollout.judge_the_others(&worse, &HashMap::new());
        assert_eq!(
            rollout.moves[0].lineage.state,
            State::Deployed,
            "nobody has seen it"
        );
    }
}
