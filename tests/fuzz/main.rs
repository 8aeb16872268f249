//! Replays the kept inputs of every fuzz target: what a fuzzer once found, or reached by, is read by every test run. Then each is
//! tried with changes at random, for as long as `MAILCERT_FUZZ_MILLISECONDS` says: `.ci/run` gives each target a few seconds.
//!
//! `tests/fuzz/run` looks for more, and sees what it reaches; but to build for that takes minutes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on says so"
)]

mod mutation;
mod targets;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mutation::Mutator;
use targets::{TARGETS, Target};

/// How long a processor may work on one input in a build without optimization, in seconds.
const PATIENCE: u64 = 5;

/// Returns how long a processor has worked on this thread: a machine that is busy with other things slows nothing down.
fn worked() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = told.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}

/// Returns the kept inputs of a target, with where they are, in order.
fn kept(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let directory = corpus.join(target.name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "target {} has no input", target.name);
    found
}

#[test]
fn every_target_stands_what_was_kept() {
    for target in TARGETS {
        for (path, bytes) in kept(target) {
            let begun = worked();
            let stood = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(stood.is_ok(), "target {}, input {}", target.name, path.display());
            let taken = worked() - begun;
            assert!(taken.as_secs() < PATIENCE, "{} took {taken:?}", path.display());
        }
    }
}

/// How many changed inputs are tried in a millisecond at most: a faster machine tries the same ones, and finds nothing that others
/// did not.
const PACE: usize = 7;

/// Tries a target with changed inputs for a while; returns how many.
fn try_changes(target: &Target, time: Duration) -> usize {
    let inputs: Vec<Vec<u8>> = kept(target).into_iter().map(|(_, bytes)| bytes).collect();
    // Always the same ones: what fails here fails again.
    let mut mutator = Mutator::new(target.name.len() as u64 + 1);
    let begun = Instant::now();
    let mut n_tried = 0;
    let most = usize::try_from(time.as_millis()).unwrap() * PACE;
    while n_tried < most && begun.elapsed() < time {
        let input = mutator.change(&inputs);
        let stood = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(
            stood.is_ok(),
            "target {}, input {:?}",
            target.name,
            input.escape_ascii().to_string()
        );
        n_tried += 1;
    }
    n_tried
}

#[test]
fn every_target_stands_changes_at_random() {
    let milliseconds = std::env::var("MAILCERT_FUZZ_MILLISECONDS").ok();
    let milliseconds = milliseconds.map_or(100, |text| text.parse().unwrap());
    let time = Duration::from_millis(milliseconds);
    let half = TARGETS.len() / 2;
    std::thread::scope(|scope| {
        for part in [&TARGETS[..half], &TARGETS[half..]] {
            scope.spawn(move || {
                for target in part {
                    let n_tried = try_changes(target, time);
                    eprintln!("{}: {n_tried} inputs in at most {milliseconds} ms", target.name);
                }
            });
        }
    });
}

#[test]
fn every_kept_input_belongs_to_a_target() {
    assert!(
        TARGETS.is_sorted_by_key(|target| target.name),
        "the targets are not in order"
    );
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for entry in fs::read_dir(corpus).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            TARGETS.iter().any(|target| name == target.name),
            "no target is called {name:?}"
        );
    }
}

#[test]
fn the_empty_input_is_one() {
    for target in TARGETS {
        (target.run)(b"");
    }
}
