//! One file per kind of record that we publish or judge. Pure.

pub mod caa;
pub mod spf;
