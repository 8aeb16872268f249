//! Postfix: its configuration read and edited without loss, judged before it is live, reloaded, put back.
//!
//! The way through it: [`inspect`] asks the installed program, [`desired`] says what should be, [`plan`] compares,
//! [`judge`] has a staged copy judged by Postfix itself, [`apply`] writes, reloads and takes back. [`endpoints`] names
//! the ports that then have to prove it. [`submission`] completes the services of users, [`sender_login`] says who may
//! send as whom, [`sasl`] whom it asks who may log in, [`relay`] reads who takes all mail, [`doctor`] finds what is wrong whoever wrote it.
//!
//! This module never edits with `postconf -e` (it loses mode and owner, replaces a symbolic link, and corrupts a file without
//! a final newline) and never signals the master (a broken file ends it). [`survival`] is asked before
//! every reload: some broken lines end it there, too.
//!
//! Rules: postconf(1), postconf(5), master(5), `design` section 6, rule 3.

pub mod apply;
pub mod desired;
pub mod doctor;
pub mod endpoints;
pub mod inspect;
pub mod judge;
pub mod plan;
pub mod queue;
pub mod relay;
pub mod sasl;
pub mod sender_login;
pub mod sender_map;
pub mod sni;
pub mod sni_map;
pub mod submission;
pub mod survival;
pub mod syntax;
pub mod trail;
pub mod values;

#[cfg(test)]
mod scratch;
