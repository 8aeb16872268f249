//! Where records are written: what every provider can do, and what each of them cannot.
//!
//! Narrow on purpose: values are added and removed one by one. Nothing here can replace or empty an RRset whose values it
//! does not name. [`rfc2136`] is the measure: it changes an RRset in one piece, and fails when somebody else did meanwhile.

use std::{net::SocketAddr, pin::Pin};

use super::{
    error::{DnsError, ProviderFailure, Written},
    propagation,
    resolver::Resolver,
};
use crate::model::{
    name::DomainName,
    plan::RrsetChange,
    rdata::{Rdata, RecordType},
    rrset::{Rrset, Txt},
};

#[cfg(feature = "cloud-dns")]
pub mod cloud;
pub mod httpreq;
pub mod manual;
pub mod rfc2136;
pub mod secret;
pub mod zone_file;
pub mod zone_text;

/// What a provider's method returns.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// Lists and changes records by value.
pub trait Provider: Send + Sync {
    /// Returns what it can do, so that nobody plans what it cannot.
    fn capabilities(&self) -> Capabilities;

    /// Returns the RRset as the place that takes the changes has it, or as the zone's servers show it where it cannot tell.
    fn list<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Reply<'a, Rrset>;

    /// Adds values of one type beside those that are there, whatever they are; `ttl` in seconds counts only when there are
    /// none. A value that is there already is no error.
    fn add<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        ttl: u32,
    ) -> Reply<'a, ()>;

    /// Removes values of one type and leaves all others; a value that is not there is no error.
    fn remove<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, values: &'a [Rdata])
    -> Reply<'a, ()>;

    /// Carries out a change, or nothing of it when the RRset is no longer what the change was planned on.
    ///
    /// In one piece where [`Capabilities::swap`] is [`Swap::Atomic`]; else by [`change_in_steps`].
    fn change<'a>(&'a self, change: &'a RrsetChange) -> Reply<'a, ()>;

    /// Takes what the operator should know of the changes since the last call, though none of them failed.
    fn take_notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the server that takes the changes, where it can be asked like an authoritative server.
    fn server(&self) -> Option<SocketAddr> {
        None
    }
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The types that it can write.
    pub types: &'static [RecordType],
    /// Whence [`Provider::list`] knows.
    pub list: Listing,
    /// How [`Provider::change`] keeps edits that were made meanwhile.
    pub swap: Swap,
    /// Who writes.
    pub writer: Writer,
}

/// Who writes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A program: what it was told is done.
    Machine,
    /// A person, in his own time: what is not there yet may be on its way, and is not taken back.
    Person,
}

/// Whence a provider knows what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// From the zone's authoritative servers.
    Dns,
    /// From the place that takes the changes.
    Own,
}

/// How a change is kept from overwriting another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The server compares and changes in one piece.
    Atomic,
    /// It is compared right before; an edit in between is not lost, since only named values are touched, but may leave an
    /// RRset that nobody planned. It is compared again afterwards, and told.
    Compared,
}

impl Capabilities {
    /// Returns whether records of this type can be written.
    pub fn writes(&self, kind: RecordType) -> bool {
        self.types.contains(&kind)
    }
}

/// Carries out a change by single steps: compares, adds, removes, and compares again.
///
/// What is wanted is added before what is not is removed, so that the RRset is never without either.
///
/// # Errors
/// [`DnsError::ChangedMeanwhile`] when the RRset is not what the change was planned on, or not what it should have become.
pub async fn change_in_steps<P: Provider + ?Sized>(
    provider: &P,
    change: &RrsetChange,
) -> Result<(), DnsError> {
    let list = || provider.list(&change.zone, &change.name, change.kind);
    let meanwhile = |written| DnsError::ChangedMeanwhile {
        name: change.name.clone(),
        kind: change.kind,
        place: "the DNS provider".to_owned(),
        written,
    };
    if !list().await?.holds_exactly(&change.before) {
        return Err(meanwhile(false));
    }
    if !change.add.is_empty() {
        provider
            .add(&change.zone, &change.name, &change.add, change.ttl)
            .await?;
    }
    if !change.remove.is_empty() {
        provider
            .remove(&change.zone, &change.name, &change.remove)
            .await?;
    }
    if provider.capabilities().list == Listing::Own && !list().await?.holds_exactly(&change.after()) {
        return Err(meanwhile(true));
    }
    Ok(())
}

/// Returns an RRset as the first of the zone's servers that answers has it.
///
/// # Errors
/// When none of them gives an answer.
pub async fn list_from_servers(
    resolver: &Resolver,
    zone: &DomainName,
    name: &DomainName,
    kind: RecordType,
) -> Result<Rrset, DnsError> {
    let servers = resolver.authoritative_servers(zone).await?;
    let mut failed = DnsError::NoAuthoritativeServer { zone: zone.clone() };
    for (_, answer) in propagation::ask_all(&servers, name, kind).await {
        match answer {
            Ok(rrset) => return Ok(rrset),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Returns a value as the one string of text that programs for challenges are given.
///
/// # Errors
/// When it is of another type, or is no such string.
pub fn plain_text(provider: &str, name: &DomainName, value: &Rdata) -> Result<String, DnsError> {
    let text = match value.as_txt().map(Txt::strings) {
        Some([only]) => String::from_utf8(only.clone())
            .ok()
            .filter(|text| !text.contains('\0')),
        _ => None,
    };
    text.ok_or_else(|| {
        DnsError::Provider(Box::new(ProviderFailure {
            provider: provider.to_owned(),
            doing: format!("take a {} record of {name}", value.kind()),
            reason: format!("it takes TXT records of one string of text, and this is {value}"),
            remedy: Some(format!("publish it by hand: {name}. IN {} {value}", value.kind())),
            written: Written::No,
        }))
    })
}
