//! The nouns of this program: parse, print, compare, decide. Pure: no clock, no IO, no async.

pub mod address;
pub mod authority;
pub mod bundle;
pub mod certificate;
pub mod der;
pub mod endpoint;
pub mod failure;
pub mod finding;
pub mod key;
pub mod limits;
pub mod lineage;
pub mod master_file;
pub mod metrics;
pub mod name;
pub mod notice;
pub mod pem;
pub mod plan;
pub mod public_suffix;
pub mod rdata;
pub mod record;
pub mod request;
pub mod revocation;
pub mod rollover;
pub mod rrset;
pub mod schedule;
pub mod steps;
