//! What hooks are told: the events of a run, and the facts that go with them. Pure.

use std::path::PathBuf;

use time::OffsetDateTime;

use crate::model::key::KeyType;

/// Something that hooks are run for.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A run is about to order or deploy these lineages.
    Pre(&'a [Subject]),
    /// A lineage was put into service: the daemons were reloaded, the ports are asked next.
    Deploy(&'a Subject),
    /// A run in which there was something to do has nothing to do for this lineage.
    Unchanged(&'a Subject),
    /// A lineage failed, for these reasons, from outside in.
    Failed(&'a Subject, &'a [String]),
    /// A run that had something to do is over: what came of it.
    Post(&'a [Ended]),
}

/// How a run ended for one lineage.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The lineage.
    pub subject: Subject,
    /// Why it is not where it should be; `None` when it is.
    pub failure: Option<String>,
}

/// A lineage as hooks are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// What it is for, in the order of the configuration; wildcards with their `*.`. Never empty.
    pub identifiers: Vec<String>,
    /// The kind of its key.
    pub key: KeyType,
    /// The link to the generation in service: the path that programs are to be given.
    pub live: PathBuf,
    /// The generation in service; `None` before the first.
    pub generation: Option<Generation>,
}

/// The generation in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// Its own directory, which never changes.
    pub directory: PathBuf,
    /// The names in the certificate, sorted.
    pub names: Vec<String>,
    /// Start of its validity.
    pub not_before: OffsetDateTime,
    /// End of its validity.
    pub not_after: OffsetDateTime,
    /// SHA-256 of the leaf's DER, lower-case hex.
    pub leaf_sha256: String,
}

/// What is the same for every hook of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The state directory.
    pub state_directory: PathBuf,
    /// The directory of the live links.
    pub live_directory: PathBuf,
    /// The CA's directory; empty when no certificate comes by ACME.
    pub directory: String,
    /// The first mail address of the account; empty when there is none.
    pub email: String,
    /// How names are proven: `http-01`, `dns-01` or `tls-alpn-01`; empty when no certificate comes by ACME.
    pub challenge: &'static str,
    /// Now.
    pub now: OffsetDateTime,
}

/// One challenge response to be put in place, or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `http-01`, `dns-01` or `tls-alpn-01`.
    pub kind: &'static str,
    /// The name that is validated; for a wildcard, the name below `*.`.
    pub name: String,
    /// The challenge's token.
    pub token: String,
    /// What http-01 answers.
    pub key_authorization: String,
    /// base64url of the key authorization's SHA-256: what dns-01 has as TXT data.
    pub digest: String,
    /// The same SHA-256 in lower-case hex: what the certificate of tls-alpn-01 has in it (RFC 8737, 3).
    pub digest_hex: String,
    /// For dns-01: the owner name of the TXT record, after CNAME records, without the final dot.
    pub record: Option<String>,
    /// The names of all challenges of the order that are set up now, in order.
    pub all_names: Vec<String>,
    /// How many of them come after this one.
    pub remaining: usize,
}

/// What became of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The CA has confirmed the name.
    Confirmed,
    /// It has not: it refused, was not asked, or has not answered.
    Open,
}

impl Subject {
    /// Returns the names in the certificate, or what it is to be for.
    pub fn names(&self) -> &[String] {
        self.generation
            .as_ref()
            .map_or(&self.identifiers, |generation| &generation.names)
    }

    /// Returns the first identifier, which several clients name a certificate by.
    pub fn main(&self) -> &str {
        self.identifiers.first().map_or(&self.name, String::as_str)
    }
}
