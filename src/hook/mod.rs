//! Runs programs of the operator's: around orders and deployments, and to put challenge responses in place.
//!
//! Hooks written for certbot, lego, dehydrated, acme.sh and uacme run as they are: [`call`] knows which program each
//! style runs with which arguments, [`variables`] every name that a hook is given. [`program`] finds what is to be run
//! and refuses what somebody else could have written; [`run`] runs it: a clean environment, a process group of its own,
//! a time limit, bounded output.
//!
//! It never decides when a hook is due, and keeps no record: `commands` does.

pub mod call;
pub mod challenge;
pub mod env_file;
pub mod event;
pub mod program;
pub mod run;
pub mod variables;
