//! Commands in-process, without a network or a server.
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

mod command_line;
mod configuration;
mod disk;
mod host;
mod import;
mod init;
mod outside;
mod past_failures;
mod reports;
mod request;
mod scratch;
mod spf;
