//! Where records are written: what every provider can do.
//!
//! Narrow on purpose: TXT by value. Nothing here can replace or empty an RRset whose values it does not name.

use std::net::SocketAddr;

use super::{answer::TxtRrset, error::DnsError};
use crate::model::{name::DomainName, plan::RrsetChange, rrset::Txt};

/// Lists and changes TXT records by value.
pub trait Provider: Send + Sync {
    /// Returns the TXT records as the place that takes the changes has them.
    fn list(&self, name: &DomainName) -> impl Future<Output = Result<TxtRrset, DnsError>> + Send;

    /// Carries out a change in one piece, or not at all when the RRset is no longer what the change was planned on.
    fn change(&self, change: &RrsetChange) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Adds values beside those that are there, whatever they are; `ttl` in seconds counts only when there are none.
    fn add(
        &self,
        zone: &DomainName,
        name: &DomainName,
        values: &[Txt],
        ttl: u32,
    ) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Removes values and leaves all others; a value that is not there is no error.
    fn remove(
        &self,
        zone: &DomainName,
        name: &DomainName,
        values: &[Txt],
    ) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Returns the server that takes the changes, where it can be asked like an authoritative server.
    fn server(&self) -> Option<SocketAddr>;
}
