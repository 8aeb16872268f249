//! The DNS: questions to resolvers and to authoritative servers; records judged, planned and written.
//!
//! Asking: [`resolver`] over [`recursive`] and [`exchange`]; [`answer`] reads what comes, [`facts`] keeps it for decisions:
//! [`gather`] asks through [`lookup`] all that decisions want to know, at once, until they are made. [`survey`] asks what a
//! CA will ask, [`bogus`] why a resolver failed. Writing: a [`provider`]; [`propagation`] waits until every authoritative
//! server agrees. With these, [`challenge`] does dns-01 and [`apply`] carries out an RRset change.
//!
//! Deciding, pure: [`judge`] says what is wrong with a domain's records, with [`check`] for SPF; [`spf`] evaluates a record
//! for a sender, [`desired`] says which records this host should have, [`plan`] what to change, [`tlsa`] whether a new key
//! may go into service, after [`sighting`] has asked what every server says. [`sending`] is how mail leaves this host,
//! [`signing`] which DKIM keys sign on it.
//!
//! Nothing here edits a zone but by single values, and nothing is cached.

pub mod answer;
pub mod apply;
pub mod bogus;
pub mod challenge;
pub mod check;
pub mod desired;
pub mod error;
pub mod exchange;
pub mod facts;
pub mod gather;
pub mod judge;
mod lint;
pub mod lookup;
mod macros;
pub mod plan;
pub mod propagation;
pub mod provider;
pub mod recursive;
pub mod resolver;
pub mod sending;
pub mod sighting;
pub mod signing;
pub mod spf;
pub mod survey;
pub mod tlsa;
mod ucl;

#[cfg(test)]
mod real;
