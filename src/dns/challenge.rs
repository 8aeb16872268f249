//! dns-01 (RFC 8555, 8.4): TXT records at `_acme-challenge`, shown by every authoritative server, and taken away again.
//!
//! A CNAME at the name is followed, so that a zone may delegate its challenges to another. Values are added beside those
//! that are there and removed by value: a name and its wildcard, and another client's challenges, share one RRset. What
//! was added is known as [`Presented`], which can be kept on disk before anything is added.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    error::DnsError,
    propagation::{self, Expected},
    provider::{Provider, Writer},
    resolver::Resolver,
};
use crate::model::{
    name::DomainName,
    rdata::{Rdata, RecordType},
    rrset::Txt,
};

/// The label that challenges stand under.
const LABEL: &str = "_acme-challenge";
/// TTL in seconds of a challenge: short, since it is of no use afterwards.
const TTL: u32 = 60;

/// Puts dns-01 challenges into the DNS.
pub struct Dns01<'a, P: ?Sized> {
    /// Finds zones and their servers.
    pub resolver: &'a Resolver,
    /// Writes the records.
    pub provider: &'a P,
    /// How long every authoritative server may take to show them.
    pub timeout: Duration,
}

/// Challenges that are, or may be, in the DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// One entry for each owner name.
    pub records: Vec<PresentedRecord>,
}

/// The challenge values at one owner name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentedRecord {
    /// The zone that holds the name.
    pub zone: DomainName,
    /// The owner name, after CNAMEs.
    pub name: DomainName,
    /// The values of ours.
    pub values: Vec<Txt>,
}

impl PresentedRecord {
    /// Returns the values as record data.
    pub fn data(&self) -> Vec<Rdata> {
        self.values.iter().cloned().map(Rdata::Txt).collect()
    }
}

/// A challenge that could not be presented; what had been added was removed again, unless `left` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentError {
    /// What went wrong.
    pub error: DnsError,
    /// What could not be removed afterwards, and why.
    pub left: Option<(Presented, DnsError)>,
    /// Whether a person was told what to publish, and has not done it yet.
    pub awaits: Writer,
}

impl std::fmt::Display for PresentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some((_, error)) = &self.left {
            write!(
                f,
                "; and the challenge records could not be removed again: {error}"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for PresentError {}

impl<P: ?Sized> Dns01<'_, P> {
    /// Finds where the values belong, and changes nothing.
    ///
    /// # Errors
    /// When a CNAME or a zone cannot be found.
    pub async fn locate(&self, values: &[(DomainName, String)]) -> Result<Presented, DnsError> {
        let mut presented = Presented::default();
        for (base, value) in values {
            let value = Txt::from_text(value);
            let challenge = base
                .prefixed(LABEL)
                .map_err(|error| DnsError::Name(error.to_string()))?;
            let name = self.resolver.canonical_name(&challenge).await?;
            match presented.records.iter_mut().find(|record| record.name == name) {
                Some(record) if record.values.contains(&value) => {}
                Some(record) => record.values.push(value),
                None => {
                    let zone = self.resolver.zone_of(&name).await?;
                    presented.records.push(PresentedRecord {
                        zone,
                        name,
                        values: vec![value],
                    });
                }
            }
        }
        Ok(presented)
    }

    /// Waits until every authoritative server shows the values.
    ///
    /// # Errors
    /// When a server lags, or none is found.
    pub async fn wait(&self, presented: &Presented) -> Result<(), DnsError> {
        for record in &presented.records {
            let servers = self.resolver.authoritative_servers(&record.zone).await?;
            let values = record.data();
            let expected = Expected {
                present: &values,
                absent: &[],
            };
            propagation::wait(&servers, &record.name, RecordType::Txt, expected, self.timeout).await?;
        }
        Ok(())
    }
}

impl<P: Provider + ?Sized> Dns01<'_, P> {
    /// Adds the values (names without `*.`, and the digest that RFC 8555, 8.4 wants) and waits until every authoritative
    /// server shows them.
    ///
    /// # Errors
    /// When that fails; what had been added is removed again then.
    pub async fn present(&self, values: &[(DomainName, String)]) -> Result<Presented, PresentError> {
        let located = self.locate(values).await.map_err(|error| PresentError {
            error,
            left: None,
            awaits: Writer::Machine,
        })?;
        let (added, result) = self.publish(&located).await;
        let result = match result {
            Ok(()) => self.wait(&located).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(located),
            // A person may be about to publish it; the next run looks again.
            Err(error @ DnsError::NotYet { .. }) if self.provider.capabilities().writer == Writer::Person => {
                Err(PresentError {
                    error,
                    left: None,
                    awaits: Writer::Person,
                })
            }
            Err(error) => {
                let left = self.cleanup(&added).await.err().map(|failure| (added, failure));
                Err(PresentError {
                    error,
                    left,
                    awaits: Writer::Machine,
                })
            }
        }
    }

    /// Adds the values where they belong; returns what may have been added, also after a failure.
    async fn publish(&self, located: &Presented) -> (Presented, Result<(), DnsError>) {
        let mut added = Presented::default();
        for record in &located.records {
            let result = self
                .provider
                .add(&record.zone, &record.name, &record.data(), TTL)
                .await;
            // Who refused has written nothing; who fell silent may have.
            if result.as_ref().err().is_none_or(DnsError::may_have_written) {
                added.records.push(record.clone());
            }
            if result.is_err() {
                return (added, result);
            }
        }
        (added, Ok(()))
    }

    /// Removes the values, and none besides; every name is tried, and twice when the network fails.
    ///
    /// # Errors
    /// The first failure, after all have been tried.
    pub async fn cleanup(&self, presented: &Presented) -> Result<(), DnsError> {
        let mut result = Ok(());
        for record in &presented.records {
            let values = record.data();
            let remove = || self.provider.remove(&record.zone, &record.name, &values);
            let mut removed = remove().await;
            if let Err(DnsError::Server { .. }) = removed {
                removed = remove().await;
            }
            result = result.and(removed);
        }
        result
    }
}
