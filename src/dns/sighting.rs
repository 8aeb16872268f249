//! Which keys the TLSA records of a port name at every authoritative server, and how long others may remember them.
//!
//! The servers are asked themselves, with their signatures: what a cache says is about the past. A server that cannot be asked
//! from this host is left aside while another answers; any other failure leaves all open (RFC 7671, 8.1).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use hickory_proto::{
    dnssec::rdata::DNSSECRData,
    op::Message,
    rr::{Name, RData, RecordType},
};
use time::OffsetDateTime;

use super::{
    answer::{records_at, unusable, wire_name},
    error::{DnsError, ServerFailure},
    exchange::{self, Wanted},
    resolver::{Resolver, Server},
    tlsa::{self, Tlsa},
};
use crate::model::{name::DomainName, rollover::Sighting};

/// Asks every server of the zone for the TLSA records of a port.
///
/// # Errors
/// When a server does not answer, so that nobody can say what it tells others.
pub async fn sight(resolver: &Resolver, host: &DomainName, port: u16) -> Result<Sighting, DnsError> {
    let owner = tlsa::owner(host, port)?;
    let zone = resolver.zone_of(&owner).await?;
    let servers = resolver.authoritative_servers(&zone).await?;
    let (name, apex) = (wire_name(&owner)?, wire_name(&zone)?);
    let asked = servers.iter().map(async |server| {
        let records = ask(server, &name, RecordType::TLSA, Wanted::Signed).await;
        let soa = ask(server, &apex, RecordType::SOA, Wanted::Own).await;
        (server, records, soa)
    });
    let mut sighting: Option<Sighting> = None;
    let mut aside = None;
    for (server, records, soa) in join_all(asked).await {
        let message = match records {
            Ok(message) => message,
            Err(error) if is_aside(server, &error) => {
                aside = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let refresh = soa.as_ref().map_or(0, |message| refresh(message, &apex));
        let one = read(&message, &name, refresh);
        sighting = Some(match sighting {
            None => one,
            Some(known) => joined(&known, &one),
        });
    }
    match (sighting, aside) {
        (Some(sighting), _) => Ok(sighting),
        (None, Some(error)) => Err(error),
        (None, None) => Err(DnsError::NoAuthoritativeServer { zone }),
    }
}

async fn ask(server: &Server, name: &Name, kind: RecordType, wanted: Wanted) -> Result<Message, DnsError> {
    let message = exchange::ask_for(server.address, name, kind, wanted).await?;
    match unusable(&message) {
        None => Ok(message),
        Some(failure) => Err(DnsError::Server {
            server: server.address,
            question: format!("{name} {kind}"),
            failure,
        }),
    }
}

/// Returns whether a failure says that this host cannot ask the server, and nothing about what it tells others.
fn is_aside(server: &Server, error: &DnsError) -> bool {
    match error {
        DnsError::Server { failure, .. } => match failure {
            ServerFailure::Unreachable(_) => true,
            // A hidden primary may answer nobody but its secondaries.
            ServerFailure::ResponseCode(_) => !server.is_listed,
            _ => false,
        },
        _ => false,
    }
}

/// Reads one server's answer.
fn read(message: &Message, name: &Name, refresh: u32) -> Sighting {
    let records: Vec<_> = records_at(message, name, RecordType::TLSA).cloned().collect();
    let keys: BTreeSet<String> = tlsa::records_of(&records).iter().filter_map(key).collect();
    let ends = message.answers.iter().filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) if record.name == *name => {
            let input = signature.input();
            let end = i64::from(input.sig_expiration.get());
            (input.type_covered == RecordType::TLSA).then(|| OffsetDateTime::from_unix_timestamp(end).ok())?
        }
        _ => None,
    });
    Sighting {
        everywhere: keys.clone(),
        anywhere: keys,
        ttl: records.iter().map(|record| record.ttl).max().unwrap_or(0),
        refresh,
        signed_until: ends.max(),
    }
}

/// Returns the key that a record names by the SHA-256 of its SPKI, lower-case hex: the kind of record that we publish.
fn key(record: &Tlsa) -> Option<String> {
    let is_ours = (record.usage, record.selector, record.matching) == (3, 1, 1);
    is_ours.then(|| record.data.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn refresh(message: &Message, apex: &Name) -> u32 {
    let refresh = records_at(message, apex, RecordType::SOA).find_map(|record| match &record.data {
        RData::SOA(soa) => u32::try_from(soa.refresh).ok(),
        _ => None,
    });
    refresh.unwrap_or(0)
}

/// Returns what two servers say together.
fn joined(one: &Sighting, other: &Sighting) -> Sighting {
    Sighting {
        everywhere: &one.everywhere & &other.everywhere,
        anywhere: &one.anywhere | &other.anywhere,
        ttl: one.ttl.max(other.ttl),
        refresh: one.refresh.max(other.refresh),
        signed_until: one.signed_until.max(other.signed_until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_server_counts_and_the_one_that_lacks_a_key() {
        let sighting = |keys: &[&str], ttl, refresh, end: Option<i64>| {
            let keys: BTreeSet<String> = keys.iter().map(|&key| key.to_owned()).collect();
            Sighting {
                everywhere: keys.clone(),
                anywhere: keys,
                ttl,
                refresh,
                signed_until: end.map(|end| OffsetDateTime::from_unix_timestamp(end).unwrap()),
            }
        };
        let both = joined(
            &sighting(&["a", "b"], 60, 900, Some(5)),
            &sighting(&["b", "c"], 3600, 300, None),
        );
        let mut expected = sighting(&["b"], 3600, 900, Some(5));
        expected.anywhere = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(both, expected);
    }

    #[test]
    fn only_digests_of_a_key_name_one() {
        let record = |usage, selector, matching| Tlsa {
            usage,
            selector,
            matching,
            data: vec![0xab, 0x01],
        };
        assert_eq!(key(&record(3, 1, 1)), Some("ab01".to_owned()));
        for (usage, selector, matching) in [(2, 1, 1), (3, 0, 1), (3, 1, 2), (3, 1, 0)] {
            assert_eq!(key(&record(usage, selector, matching)), None);
        }
    }
}
