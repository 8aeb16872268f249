//! From the records that are there to the change that makes them right, or the reason to leave them alone. Pure.
//!
//! What is not ours stays: records are wanted at names that have none, and replaced only where every value of the family
//! is one that this program wrote ([`Existing::ours`]). Other TXT values at the name, other issuers and the TTL stay.

mod caa;
mod set;
mod spf;
#[cfg(test)]
mod tests;
mod text;
mod tlsa;

use super::{
    desired::{Family, Wanted},
    facts::{Asked, Facts},
    sending::Sending,
};
use crate::model::{
    name::DomainName,
    plan::RrsetChange,
    rdata::Rdata,
    record::{dmarc, mta_sts, spf as spf_record, tls_rpt},
    rrset::Rrset,
};

pub use tlsa::taken_back;

/// What is to be done at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A change, and what the reader should know besides.
    Change(RrsetChange, Vec<String>),
    /// Nothing, and what the reader should know.
    Nothing(Vec<String>),
    /// Nothing can be done without the operator.
    Refused(Refusal),
}

/// Why nothing is published, and what the operator can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// The record to use, where it is known.
    pub record: Option<String>,
}

/// What is at a name before the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The zone that holds the name.
    pub zone: DomainName,
    /// The records there of the type that is wanted.
    pub rrset: Rrset,
    /// Values at this name that this program wrote, as its journal says.
    pub ours: Vec<Rdata>,
}

impl Existing {
    /// Returns the values that serve the same purpose as what is wanted.
    pub fn of_family(&self, family: Family) -> Vec<&Rdata> {
        let values = self.rrset.values.iter();
        values.filter(|value| is_of_family(value, family)).collect()
    }

    fn is_ours(&self, value: &Rdata) -> bool {
        self.ours.contains(value)
    }

    fn change(&self, wanted: &Wanted, add: Vec<Rdata>, remove: Vec<Rdata>, reason: String) -> RrsetChange {
        RrsetChange {
            zone: self.zone.clone(),
            name: wanted.name.clone(),
            kind: wanted.kind(),
            ttl: if self.rrset.values.is_empty() {
                wanted.ttl
            } else {
                self.rrset.ttl
            },
            before: self.rrset.values.clone(),
            add,
            remove,
            reason,
        }
    }
}

/// Returns whether a value serves the purpose: TXT values by how they begin, all others by their type.
fn is_of_family(value: &Rdata, family: Family) -> bool {
    let Some(text) = value.as_txt().map(crate::model::rrset::Txt::joined) else {
        return true;
    };
    match family {
        Family::Dmarc => dmarc::is_record(&text) || dmarc::is_nearly(&text),
        Family::MtaSts => mta_sts::is_record(&text) || text.to_ascii_lowercase().starts_with(b"v=sts"),
        Family::Spf => spf_record::is_record(&text),
        Family::TlsRpt => tls_rpt::is_record(&text) || text.to_ascii_lowercase().starts_with(b"v=tlsrpt"),
        // At a selector there is nothing else.
        _ => true,
    }
}

/// Decides for one name: what is wanted there, and what is there.
///
/// # Errors
/// Names the next open question.
pub fn decide(wanted: &Wanted, existing: &Existing, sending: &Sending, facts: &Facts) -> Asked<Decision> {
    match wanted.family {
        Family::Caa => Ok(caa::decide(wanted, existing)),
        Family::Dmarc => text::decide_dmarc(wanted, existing, facts),
        Family::MtaSts | Family::TlsRpt => Ok(text::decide(wanted, existing)),
        Family::Spf => spf::decide(wanted, existing, sending, facts),
        Family::Tlsa => tlsa::decide(wanted, existing, facts),
        Family::MtaStsHost => set::decide_alias(wanted, existing, facts),
        Family::Address | Family::Dkim | Family::Mx | Family::Srv => Ok(set::decide(wanted, existing)),
    }
}

/// Returns the values of the family that say something else than what is wanted; none where there are none at all.
pub fn differing<'v>(wanted: &Wanted, there: &'v [Rdata]) -> Vec<&'v Rdata> {
    let there: Vec<&Rdata> = there
        .iter()
        .filter(|value| is_of_family(value, wanted.family))
        .collect();
    let says_it = match wanted.family {
        Family::Srv => set::leads_here(wanted, &there),
        _ => text::says(wanted, &there),
    };
    if says_it { Vec::new() } else { there }
}

/// Returns the note about records that are others' and not as the configuration wants them.
fn left_alone(wanted: &Wanted, values: &[&Rdata]) -> String {
    let there: Vec<String> = values.iter().map(ToString::to_string).collect();
    let here: Vec<String> = wanted.values.iter().map(ToString::to_string).collect();
    format!(
        "{} {} is {}, which was not written by mailcert and stays; the configuration wants {}: delete it, and `mailcert apply dns` writes that",
        wanted.name,
        wanted.kind(),
        there.join(", "),
        here.join(", ")
    )
}
