//! `account`: our accounts at the CAs.

pub mod file;
