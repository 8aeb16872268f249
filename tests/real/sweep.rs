//! Hit at every system call that changes anything: killed before it, or the call fails. Then, from outside: the pair on
//! disk matches, Postfix serves the old or the new certificate, its configuration and the zone are the old or the new
//! ones, no second certificate was spent; and one more run ends well.
//!
//! The everyday tests hit some calls of each command, spread evenly; the long ones hit them all.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
};

use mailcert::env::Clock;

use crate::support::{
    Mailcert, Outcome, World,
    inject::{self, Blow, Broken},
    judge,
    server::{run, wait_until},
    world::{DOMAIN, HOST},
};

/// A command to be hit, and what it begins from.
pub(crate) struct Scene {
    /// The command.
    pub(crate) command: &'static [&'static str],
    /// The ordinary run after it.
    pub(crate) again: &'static [&'static str],
    /// Brings a fresh world where the command begins.
    prepare: fn(&World),
    /// Whether the certificate, the configuration and the records are those of before, once it is done.
    pub(crate) undoes: bool,
}

pub(crate) const ISSUE: Scene = Scene {
    command: &["issue"],
    again: &["issue"],
    prepare: |_| (),
    undoes: false,
};

pub(crate) const RENEW: Scene = Scene {
    command: &["renew", "--force"],
    again: &["renew"],
    prepare: |world| {
        world.mailcert().run(&["apply", "--yes"]).expect(0);
    },
    undoes: false,
};

pub(crate) const DEPLOY: Scene = Scene {
    command: &["deploy", HOST, "--generation", "1"],
    again: &["deploy", HOST, "--generation", "1"],
    prepare: |world| {
        world.mailcert().run(&["apply", "--yes"]).expect(0);
        world.mailcert().run(&["renew", "--force"]).expect(0);
    },
    undoes: false,
};

pub(crate) const APPLY: Scene = Scene {
    command: &["apply", "--yes"],
    again: &["apply", "--yes"],
    prepare: |_| (),
    undoes: false,
};

pub(crate) const UNDO: Scene = Scene {
    command: &["undo"],
    again: &["undo"],
    prepare: |world| {
        world.mailcert().run(&["apply", "--yes"]).expect(0);
    },
    undoes: true,
};

/// What a site is made of, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) main_cf: Vec<u8>,
    pub(crate) master_cf: Vec<u8>,
    pub(crate) spf: String,
    pub(crate) served: Option<String>,
    /// The leaf that the live link leads to, when there is one.
    pub(crate) live: Option<String>,
}

/// A world that is brought back to the same beginning again and again.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) scene: &'static Scene,
    kept: PathBuf,
    pub(crate) beginning: Seen,
    pub(crate) end: Seen,
}

impl Stage {
    pub(crate) fn set(scene: &'static Scene) -> Self {
        let world = World::start();
        // Everything that a run writes: the map of names, hooks, metrics, mail about each failure.
        let program = |name: &str, script: &str| {
            let path = world.scratch.file(name, format!("#!/bin/sh\n{script}\n"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let scratch = world.scratch.path().display();
        let hook = program("hook", &format!("echo ran >>{scratch}/hooks"));
        let sendmail = program("sendmail", &format!("cat >>{scratch}/mail"));
        world.write_config(|text| {
            let text = text
                .replace("[renew]\n", "[renew]\nmax_per_day = 0\nmax_per_week = 0\n")
                .replace("[[certificate]]\n", "[[certificate]]\nsni = true\n");
            format!(
                "{text}[hooks]\ndeploy = [{{ run = {hook:?} }}]\n\
                 [notify]\nmail_to = [\"root\"]\nafter_failures = 1\nsendmail = {sendmail:?}\n"
            )
        });
        (scene.prepare)(&world);
        let beginning = look(&world);
        let kept = world.scratch.path().join("kept");
        if world.state_directory().exists() {
            copy(&world.state_directory(), &kept);
        }
        let mut stage = Self {
            world,
            scene,
            kept,
            end: beginning.clone(),
            beginning,
        };
        stage.world.mailcert().run(scene.command).expect(0);
        stage.end = look(&stage.world);
        stage
    }

    /// Brings the world back to the beginning.
    pub(crate) fn reset(&self) {
        let world = &self.world;
        let state = world.state_directory();
        if state.exists() {
            fs::remove_dir_all(&state).unwrap();
        }
        if self.kept.exists() {
            copy(&self.kept, &state);
        }
        fs::write(world.postfix.master_cf(), &self.beginning.master_cf).unwrap();
        world.postfix.edit_main_cf(|_| self.beginning.main_cf.clone());
        self.set_zone(&self.beginning.spf);
        world.postfix.reload();
        wait_until("Postfix serves what it did in the beginning", || {
            world.postfix.leaf_sha256(25).ok() == self.beginning.served
        });
    }

    /// Brings the zone back to the beginning, but for this policy for mail.
    pub(crate) fn set_zone(&self, spf: &str) {
        let mut update = format!("update delete {DOMAIN} TXT\n");
        update += &format!("update delete _acme-challenge.{HOST} TXT\n");
        for record in spf.lines() {
            update += &format!("update add {DOMAIN} 3600 TXT {record}\n");
        }
        self.world.bind.nsupdate(&update);
    }

    /// Hits the n-th call; returns what was hit, or nothing when there are fewer.
    fn hit(&self, blow: Blow, n: usize) -> Option<Broken> {
        let before = self.world.pebble.n_orders_and_certificates();
        let log_before = self.world.pebble.log().len();
        let live = look(&self.world).live;
        let n_hooks = self.n_hooks();
        let broken = inject::run(
            &self.world.mailcert().command(self.scene.command),
            Some((blow, n)),
        );
        let hit = broken.hit.as_ref()?;
        let said = &Outcome {
            stdout: format!("(hit at {hit})\n{}", broken.outcome.stdout),
            ..broken.outcome.clone()
        };
        if let Blow::Fail(_) = blow {
            assert!([0, 1, 4].contains(&said.code), "{said}");
            assert!(!said.stderr.contains("panicked"), "{said}");
            assert!(said.code == 0 || said.stderr.contains("error: "), "{said}");
        }
        let unknown_order = self.has_unknown_order(before.0);
        self.assert_no_worse(&look(&self.world), said);
        self.assert_whole(said);

        self.world.postfix.edit_main_cf(|text| text);
        let again = self.later().run(self.scene.again);
        let both = format!("{said}\n=== and again: {again}");
        assert_eq!(again.code, 0, "{both}");
        assert!(!again.stderr.contains("panicked"), "{both}");
        let end = look(&self.world);
        assert_eq!(
            (&end.main_cf, &end.master_cf),
            (&self.end.main_cf, &self.end.master_cf),
            "{both}"
        );
        assert_eq!(end.spf, self.end.spf, "{both}");
        if self.scene.undoes {
            assert_eq!(end.served, self.end.served, "{both}");
        } else {
            assert_eq!(end.served, end.live, "{both}");
            assert_ne!(end.live, None, "{both}");
            self.later().run(&["status"]).expect(0);
            let record = self.world.record(HOST);
            assert_eq!(record["state"], "verified", "{both}");
            assert!(record["order"].is_null(), "{both}");
            // A renewal that was killed before it began was asked for by a person: nothing is left to be done.
            let deployed = self.scene.command != RENEW.command || end.live != live;
            let ran = self.n_hooks() > n_hooks;
            assert!(ran || !deployed, "the deploy hook did not run: {both}");
        }
        self.assert_whole(&again);
        let after = self.world.pebble.n_orders_and_certificates();
        // One whose answer was lost, or that the CA gave up: the program that answers its validation was gone.
        let given_up = self
            .world
            .pebble
            .log()
            .get(log_before..)
            .is_some_and(|log| log.contains("invalid"));
        let most = if unknown_order || given_up { 2 } else { 1 };
        assert!(
            after.1 - before.1 <= 1,
            "{} certificates: {both}",
            after.1 - before.1
        );
        assert!(
            after.0 - before.0 <= most,
            "{} orders: {both}",
            after.0 - before.0
        );
        self.assert_nothing_is_left(&both);
        Some(broken)
    }

    fn n_hooks(&self) -> usize {
        let ran = fs::read_to_string(self.world.scratch.path().join("hooks"));
        ran.unwrap_or_default().lines().count()
    }

    /// mailcert when every back-off is over.
    pub(crate) fn later(&self) -> Mailcert {
        let now = Clock::System.now();
        Mailcert {
            clock: Clock::Fixed(now + time::Duration::minutes(3)),
            ..self.world.mailcert()
        }
    }

    /// Returns whether the CA has an order of which the record does not know: an answer was lost.
    fn has_unknown_order(&self, n_before: usize) -> bool {
        let path = self
            .world
            .state_directory()
            .join("lineages")
            .join(HOST)
            .join("state.json");
        let is_known = fs::read_to_string(path).is_ok_and(|record| record.contains("\"url\""));
        self.world.pebble.n_orders_and_certificates().0 > n_before && !is_known
    }

    /// Each thing is as it was, or as it is to be.
    pub(crate) fn assert_no_worse(&self, now: &Seen, said: &Outcome) {
        let (old, new) = (&self.beginning, &self.end);
        assert!(
            now.main_cf == old.main_cf || now.main_cf == new.main_cf,
            "main.cf: {said}"
        );
        assert!(
            now.master_cf == old.master_cf || now.master_cf == new.master_cf,
            "master.cf: {said}"
        );
        assert!(now.spf == old.spf || now.spf == new.spf, "{}: {said}", now.spf);
        assert!(now.served.is_some(), "no TLS on port 25: {said}");
        assert!(
            [&old.served, &now.live, &new.served].contains(&&now.served),
            "neither old nor new is served: {said}"
        );
        run(Command::new("postconf")
            .arg("-c")
            .arg(self.world.postfix.config_directory())
            .arg("-n"));
    }

    /// What the live link leads to is a whole pair; no live link is none.
    pub(crate) fn assert_whole(&self, said: &Outcome) {
        let live = self.world.state_directory().join("live").join(HOST);
        if fs::symlink_metadata(&live).is_err() {
            return;
        }
        let read = |name: &str| {
            fs::read_to_string(live.join(name)).unwrap_or_else(|error| panic!("{error}: {said}"))
        };
        let (key, leaf, chain) = (read("privkey.pem"), read("cert.pem"), read("fullchain.pem"));
        assert_eq!(judge::public_key_of(&key), judge::public_key_of(&leaf), "{said}");
        assert!(chain.starts_with(&leaf), "{said}");
        assert_eq!(read("combined.pem"), key + &chain, "{said}");
    }

    /// No temp file, no staged copy, no challenge, no bound port.
    pub(crate) fn assert_nothing_is_left(&self, said: &str) {
        let left = unfinished_below(&self.world.state_directory());
        assert_eq!(left, Vec::<PathBuf>::new(), "{said}");
        let left = unfinished_below(&self.world.postfix.config_directory());
        assert_eq!(left, Vec::<PathBuf>::new(), "{said}");
        assert_eq!(self.world.bind.dig(&format!("_acme-challenge.{HOST}"), "TXT"), "");
        std::net::TcpListener::bind(self.world.address.port(80)).unwrap();
    }
}

pub(crate) fn look(world: &World) -> Seen {
    let live = world.state_directory().join("live").join(HOST).join("cert.pem");
    Seen {
        main_cf: fs::read(world.postfix.main_cf()).unwrap(),
        master_cf: fs::read(world.postfix.master_cf()).unwrap(),
        spf: world.bind.dig(DOMAIN, "TXT"),
        served: world.postfix.leaf_sha256(25).ok(),
        live: fs::read_to_string(live)
            .ok()
            .and_then(|pem| judge::certificate_sha256(&pem).ok()),
    }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Returns what a finished run leaves nowhere: hidden names.
fn unfinished_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            found.push(path);
        } else if path.is_dir() && !path.is_symlink() {
            found.extend(unfinished_below(&path));
        }
    }
    found
}

/// Which calls are hit.
#[derive(Clone, Copy)]
enum Points {
    /// Every call by every blow that can strike it.
    Every,
    /// So many, half of them kills, spread evenly over what a whole run does.
    Spread(usize),
}

/// How many worlds are hit side by side where every call is: most of the time something is waited for.
const WORLDS: usize = 4;

/// Hits a command, tells all that went wrong, and fails if anything did.
fn sweep(scene: &'static Scene, points: Points) {
    let (n_points, failures) = match points {
        Points::Spread(n_points) => {
            let stage = Stage::set(scene);
            hit_all(&stage, spread(&stage, n_points))
        }
        Points::Every => std::thread::scope(|scope| {
            let one = |first: usize| {
                let every = move |blow| (first..10_000).step_by(WORLDS).map(move |n| (blow, n));
                hit_all(&Stage::set(scene), Blow::ALL.into_iter().flat_map(every))
            };
            let workers: Vec<_> = (1..=WORLDS)
                .map(|first| scope.spawn(move || one(first)))
                .collect();
            let results = workers.into_iter().map(|worker| worker.join().unwrap());
            results.fold((0, Vec::new()), |(n_all, all), (n, failures)| {
                (n_all + n, [all, failures].concat())
            })
        }),
    };
    eprintln!(
        "{:?}: {n_points} points, {} failures",
        scene.command,
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Hits one world at these calls, one after another; how many there were, and what went wrong.
fn hit_all(stage: &Stage, points: impl IntoIterator<Item = (Blow, usize)>) -> (usize, Vec<String>) {
    let (mut n_points, mut failures, mut over) = (0, Vec::new(), Vec::new());
    for (blow, n) in points {
        // A run made fewer calls.
        if over.contains(&blow) {
            continue;
        }
        stage.reset();
        match catch_unwind(AssertUnwindSafe(|| stage.hit(blow, n))) {
            Ok(Some(_)) => n_points += 1,
            Ok(None) => {
                eprintln!("{:?} {blow:?}: no call {n}", stage.scene.command);
                over.push(blow);
            }
            Err(cause) => {
                n_points += 1;
                let said = cause.downcast_ref::<String>().cloned().unwrap_or_default();
                let failure = format!("{:?} {blow:?} {n}: {said}", stage.scene.command);
                eprintln!("--- {failure}");
                failures.push(failure);
            }
        }
    }
    (n_points, failures)
}

/// So many points, spread evenly: half of them kills, half errors.
fn spread(stage: &Stage, n_points: usize) -> Vec<(Blow, usize)> {
    stage.reset();
    let whole = inject::run(&stage.world.mailcert().command(stage.scene.command), None);
    let all = |blow: Blow| (1..=whole.n_points(blow)).map(move |n| (blow, n));
    let kills: Vec<_> = all(Blow::Kill).collect();
    let errors: Vec<_> = Blow::ALL[1..].iter().flat_map(|blow| all(*blow)).collect();
    let chosen = |from: &[(Blow, usize)]| {
        let n_chosen = (n_points / 2).min(from.len());
        let at = |n: usize| from[(2 * n + 1) * from.len() / (2 * n_chosen)];
        (0..n_chosen).map(at).collect::<Vec<_>>()
    };
    [chosen(&kills), chosen(&errors)].concat()
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn an_issue_hit_at_some_calls_is_mended_by_the_next() {
    sweep(&ISSUE, Points::Spread(14));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_renewal_hit_at_some_calls_is_mended_by_the_next() {
    sweep(&RENEW, Points::Spread(14));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_deploy_hit_at_some_calls_is_mended_by_the_next() {
    sweep(&DEPLOY, Points::Spread(10));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn an_apply_hit_at_some_calls_is_mended_by_the_next() {
    sweep(&APPLY, Points::Spread(14));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn an_undo_hit_at_some_calls_is_mended_by_the_next() {
    sweep(&UNDO, Points::Spread(10));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_an_issue_hit_at_any_call_is_mended_by_the_next() {
    sweep(&ISSUE, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_a_renewal_hit_at_any_call_is_mended_by_the_next() {
    sweep(&RENEW, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_a_deploy_hit_at_any_call_is_mended_by_the_next() {
    sweep(&DEPLOY, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_an_apply_hit_at_any_call_is_mended_by_the_next() {
    sweep(&APPLY, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_an_undo_hit_at_any_call_is_mended_by_the_next() {
    sweep(&UNDO, Points::Every);
}
