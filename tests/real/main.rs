//! Commands against servers that we did not write. `tests/run` installs what they need and runs them all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on says so"
)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of it"
)]
mod support;

mod account;
mod bad_input;
mod ca;
mod ca_export;
mod challenge_hooks;
mod check_dns;
mod corpus;
mod crash;
mod damage;
mod dane;
mod dns;
mod doctor;
mod doctor_running;
mod dovecot;
mod dovecot_apply;
mod dovecot_bad_input;
mod dovecot_corpus;
mod dovecot_doctor;
mod fallback;
mod faulty_ca;
mod firewall;
mod help_examples;
mod hook;
mod import;
mod install;
mod interrupted;
mod issuance;
mod journey;
mod lab;
mod many;
mod operator_hooks;
mod orders;
mod other_clients;
mod outbound;
mod outside;
mod postfix;
#[cfg(target_arch = "x86_64")]
mod power_cut;
mod powerdns;
mod preflight;
mod private_ca;
mod providers;
mod publish;
mod recovery;
mod red_hat;
mod relay_clients;
mod renewal;
mod request;
mod revocation;
mod rollback;
mod route53;
mod send_test;
mod sni;
mod state_directory;
mod submission;
#[cfg(target_arch = "x86_64")]
mod sweep;
mod terminal;
#[cfg(target_arch = "x86_64")]
mod threats;
mod together;
mod undo;
mod until_verified;
mod verify;
mod versions;
