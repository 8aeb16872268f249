//! Dovecot 2.3 and 2.4: its configuration read. Nothing here changes it yet.
//!
//! - [`dialect`] (pure): what a setting is called in which version, and how a file is named as its value.
//! - [`effective`] (pure): the effective configuration, as doveconf(1) prints it.
//!
//! Dovecot reads its certificate when it starts and when `doveadm reload` says so, never between.

pub mod dialect;
pub mod effective;
