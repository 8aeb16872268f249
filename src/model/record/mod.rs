//! One file per kind of record that we publish or judge. Pure.

pub mod caa;
pub mod dkim;
pub mod dmarc;
pub mod mta_sts;
pub mod spf;
pub mod tag_list;
pub mod tls_rpt;
