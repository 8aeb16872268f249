//! mailcert: certificates and DNS for a Postfix and Dovecot mail server, proven on the wire.
//!
//! A certificate is not renewed when the file is on disk. It is renewed when every port of the mail server serves it.
//!
//! # The map
//!
//! Floor 0, pure, no clock and no IO:
//! - [`error`]: what went wrong, told so that it can be mended; the exit codes.
//! - [`model`]: the nouns: names, certificates, lineages, plans, findings, records, schedules.
//! - [`config`]: `mailcert.toml`, read and checked.
//!
//! The door outside:
//! - [`mod@env`]: arguments, streams, clock, files, child processes.
//!
//! Floor 1, adapters that do not know each other:
//! - [`store`]: what is kept on disk: accounts, lineages, requests, the live links, the journal, the lock.
//! - [`ca`]: the private CA: its keys, index and CRL; what it signs.
//! - [`acme`]: conversations with a CA (RFC 8555, RFC 9773).
//! - [`dns`]: questions to resolvers and authoritative servers, dynamic updates; the records of a mail domain judged, SPF
//!   planned.
//! - [`dovecot`]: the configuration of Dovecot 2.3 and 2.4, read and edited without loss; judged, reloaded.
//! - [`postfix`]: main.cf and master.cf, read and edited without loss; judged, reloaded.
//! - [`probe`]: connects as a client does, and judges what is served.
//! - [`hook`]: programs of the operator's, written for us or for other clients.
//! - [`firewall`]: which ports others reach; firewalld and ufw opened, nftables read.
//! - [`timer`]: the systemd timer or cron line that wakes `renew`.
//!
//! Floor 2, [`commands`]: use-cases; request in, outcome out. Floor 3, [`cli`]: arguments to requests, outcomes to
//! text or JSON, wiring.
//!
//! `cli -> commands -> floor 1 -> {env, config, model} -> error`. Never back.
//!
//! # Deliberately absent
//!
//! `unsafe`; a second TLS stack or crypto provider; a daemon; an editor for parameters that are not named in
//! [`postfix::desired`].

#![forbid(unsafe_code)]

pub mod acme;
pub mod ca;
pub mod cli;
pub mod commands;
pub mod config;
pub mod dns;
pub mod dovecot;
pub mod env;
pub mod error;
pub mod firewall;
pub mod hook;
pub mod model;
pub mod postfix;
pub mod probe;
pub mod store;
pub mod timer;
