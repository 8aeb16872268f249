//! `records`: the DNS records that this host should have, each with its reason, for publishing by hand.
//!
//! The decisions are those of `plan dns`: what stands and stays is shown as it stands, and what is to be completed as it is
//! to become.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::{
    Context,
    dns::{
        self,
        planning::{self, Item, Written},
    },
};
use crate::{
    dns::{
        desired::{self, Wanted},
        plan::Decision,
    },
    error::Result,
    model::{
        name::DomainName,
        rdata::{Rdata, RecordType},
    },
};

/// The records.
#[derive(Debug, Serialize)]
pub struct Records {
    /// The host's own first, then those of each mail domain.
    pub records: Vec<Record>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The owner name.
    pub name: DomainName,
    /// Its type.
    #[serde(rename = "type", serialize_with = "type_name")]
    pub kind: RecordType,
    /// TTL in seconds.
    pub ttl: u32,
    /// Its text: of TXT in one piece without quotes, as web forms want it; else its data.
    pub text: String,
    /// Its data as a master file has it (RFC 1035, 5.1).
    pub data: Rdata,
    /// Why.
    pub reason: String,
    /// How it is in the DNS.
    pub state: State,
}

/// How a record is in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Another one is there, and stays: this one stands in its place or is left to the operator.
    Differs,
    /// It is not there.
    Missing,
    /// It is there.
    Present,
    /// The DNS did not tell.
    Unknown,
}

fn type_name<S: Serializer>(kind: &RecordType, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl State {
    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::Present => "present",
            Self::Unknown => "unknown",
        }
    }
}

impl Records {
    /// Returns master-file text that a zone can include (RFC 1035, 5): one record a line, its reason above it.
    pub fn zone_text(&self) -> String {
        let mut text = String::new();
        for record in &self.records {
            let _ = writeln!(text, "; {} ({})", record.reason, record.state.word());
            let _ = writeln!(
                text,
                "{}. {} IN {} {}",
                record.name, record.ttl, record.kind, record.data
            );
        }
        for note in self.notes.iter().flat_map(|note| note.lines()) {
            let _ = writeln!(text, "; note: {note}");
        }
        text
    }
}

/// Returns the records that the configuration makes this host want.
///
/// # Errors
/// When the runtime cannot be started.
pub fn run(context: &Context<'_>) -> Result<Records> {
    let resolver = dns::resolver(context);
    // Without one, or without its secret, the servers of the zone are read.
    let provider = dns::provider(context).ok();
    context.progress.step("asking the name servers what is there");
    // Only root may read the journal; to all others every record is somebody else's.
    let (written, _) = Written::load(context);
    let everything = |_: &Wanted| true;
    let survey = context.wait(planning::survey(
        context,
        &resolver,
        provider.as_deref(),
        written,
        everything,
    ))?;
    context.progress.clear();
    let mut found = Records {
        records: Vec::new(),
        notes: Vec::new(),
    };
    let mut silent = Vec::new();
    for item in &survey.items {
        if let Err(error) = &item.proposal {
            silent.push((item.wanted.name.clone(), error.to_string()));
        }
        found.add(item);
    }
    if let Some((name, why)) = silent.first() {
        found.notes.push(format!(
            "the DNS did not tell what is at {name}{}: {why}; what is shown there is what the configuration wants",
            match silent.len() {
                1 => String::new(),
                n => format!(", nor at {} other names", n - 1),
            }
        ));
    }
    for domain in &context.config.host.domains {
        if let Some(policy) = desired::policy(&context.config, domain, &survey.known) {
            found.notes.push(format!(
                "the MTA-STS record of {domain} is for this policy, at https://mta-sts.{domain}/.well-known/mta-sts.txt:\n{}",
                policy.text().trim_end()
            ));
        }
    }
    for address in &survey.known.addresses {
        found.notes.push(format!(
            "{} is to be the PTR record of {address}; whoever gave you the address sets it",
            context.config.host.name
        ));
    }
    Ok(found)
}

impl Records {
    fn add(&mut self, item: &Item) {
        let wanted = &item.wanted;
        let (values, state, ttl) = match &item.proposal {
            Err(_) => (wanted.values.clone(), State::Unknown, wanted.ttl),
            Ok(proposal) => {
                let existing = proposal.existing.as_ref();
                let there: Vec<Rdata> = existing
                    .map(|existing| existing.of_family(wanted.family).into_iter().cloned().collect())
                    .unwrap_or_default();
                let ttl = existing.filter(|existing| !existing.rrset.values.is_empty());
                let ttl = ttl.map_or(wanted.ttl, |existing| existing.rrset.ttl);
                match &proposal.decision {
                    Decision::Change(change, notes) => {
                        self.notes.extend(notes.iter().cloned());
                        let kept = there.into_iter().filter(|value| !change.remove.contains(value));
                        self.push(item, kept.collect(), State::Present, ttl);
                        (change.add.clone(), State::Missing, ttl)
                    }
                    Decision::Nothing(notes) => {
                        self.notes.extend(notes.iter().cloned());
                        let state = match (notes.is_empty(), there.is_empty()) {
                            (true, true) => return,
                            (true, false) => State::Present,
                            (false, _) => State::Differs,
                        };
                        (
                            if there.is_empty() {
                                wanted.values.clone()
                            } else {
                                there
                            },
                            state,
                            ttl,
                        )
                    }
                    Decision::Refused(refusal) => {
                        self.notes
                            .push(format!("{}; {}", refusal.message, refusal.remedy));
                        let to_use = refusal
                            .record
                            .as_ref()
                            .filter(|_| wanted.kind() == RecordType::Txt);
                        let values = match to_use {
                            Some(text) => vec![Rdata::text(text)],
                            None => Vec::new(),
                        };
                        (values, State::Differs, ttl)
                    }
                }
            }
        };
        self.push(item, values, state, ttl);
    }

    fn push(&mut self, item: &Item, values: Vec<Rdata>, state: State, ttl: u32) {
        for data in values {
            let text = match data.as_txt() {
                Some(txt) => String::from_utf8_lossy(&txt.joined()).into_owned(),
                None => data.to_string(),
            };
            self.records.push(Record {
                name: item.wanted.name.clone(),
                kind: data.kind(),
                ttl,
                text,
                data,
                reason: item.wanted.reason.clone(),
                state,
            });
        }
    }
}
