//! Dovecot 2.3 and 2.4: its configuration read, judged and edited without loss; reloaded.
//!
//! - [`dialect`] (pure): what a setting is called in which version, and how a file is named as its value.
//! - [`effective`] (pure): the effective configuration, as doveconf(1) prints it.
//! - [`endpoints`] (pure): where it speaks TLS, and what it serves there.
//! - [`syntax`] (pure): one file, losslessly; [`tree`] (pure): all of them, in the order in which they count.
//! - [`desired`] (pure): what it is to be given; [`plan`] (pure): the changes for that.
//! - [`doctor`] (pure): what is wrong with it, by whatever hand.
//! - [`inspect`], [`judge`], [`reload`]: the installed program asked, made to judge a copy, made to read its files again.
//!
//! Dovecot reads its certificate when it starts and when `doveadm reload` says so, never between.

pub mod desired;
pub mod dialect;
pub mod doctor;
pub mod effective;
pub mod endpoints;
pub mod inspect;
pub mod judge;
pub mod plan;
pub mod reload;
pub mod syntax;
pub mod tree;
