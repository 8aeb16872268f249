//! The fuzz targets below libFuzzer, which sees by what it has reached where to go on; `tests/fuzz/run` builds and runs it.
//!
//! One program for all of them: `MAILCERT_FUZZ_TARGET` names the one to run.
#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

mod targets;

use std::sync::LazyLock;

use targets::{TARGETS, Target};

/// The target to run; without a name, their names are told.
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("MAILCERT_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == wanted);
    *found.unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        panic!("MAILCERT_FUZZ_TARGET is none of {}", names.join(" "))
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
