//! `records`: the DNS records that this host should have, each with its reason, for publishing by hand.

use serde::Serialize;

use super::Context;
use crate::dns::desired::{self, Wanted};

/// The records.
#[derive(Debug, Serialize)]
pub struct Records {
    /// In the order of the configuration.
    pub records: Vec<Record>,
    #[serde(skip)]
    wanted: Vec<Wanted>,
}

/// One record as the contract has it.
#[derive(Debug, Serialize)]
pub struct Record {
    /// The record's type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Owner, text, TTL and reason.
    #[serde(flatten)]
    pub wanted: Wanted,
}

impl Records {
    /// Returns master-file text that a zone can include.
    pub fn zone_text(&self) -> String {
        desired::zone_text(&self.wanted)
    }
}

/// Returns the records that the configuration makes this host want.
pub fn run(context: &Context<'_>) -> Records {
    let wanted = desired::spf(&context.config);
    let records = wanted
        .iter()
        .cloned()
        .map(|wanted| Record { kind: "TXT", wanted })
        .collect();
    Records { records, wanted }
}
