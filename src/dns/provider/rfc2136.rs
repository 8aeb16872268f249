//! Dynamic updates (RFC 2136) signed by TSIG (RFC 8945), over TCP.
//!
//! A change is one message: its prerequisite is the whole RRset as it was planned on, so an edit made meanwhile makes the
//! server refuse instead of being overwritten. Whatever is sent names single values; an RRset is never deleted whole.

use std::{fmt, net::SocketAddr};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        self, DNSClass, Name, Record, TSigner,
        rdata::tsig::{TSIG, TsigAlgorithm, TsigError},
    },
};

use super::{
    Capabilities, Listing, Provider, Reply, Swap, Writer,
    secret::{SecretError, TsigSecret},
};
use crate::{
    config,
    dns::{
        answer::{code_name, record_data, wire_name, wire_type},
        error::{DnsError, Refusal, ServerFailure, UpdateFailure},
        exchange,
        resolver::rrset_at,
    },
    env::{Clock, Env},
    model::{
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::Rrset,
    },
};

/// Seconds that the clocks may differ (RFC 8945, 10, recommends this many).
const FUDGE: u16 = 300;

/// A server that takes dynamic updates, and the key for it.
#[derive(Clone)]
pub struct Rfc2136 {
    server: SocketAddr,
    key: DomainName,
    signer: TSigner,
    clock: Clock,
}

impl fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rfc2136")
            .field("server", &self.server)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Rfc2136 {
    /// Returns the provider of the configuration, its secret read.
    ///
    /// # Errors
    /// When the secret cannot be had.
    pub fn from_config(settings: &config::Rfc2136, env: &Env) -> Result<Self, SecretError> {
        let secret = TsigSecret::read(&settings.secret, env)?;
        Self::new(settings, &secret, env.clock).map_err(|error| SecretError::Unreadable(error.to_string()))
    }

    /// Returns a provider with this secret; `clock` dates the signatures.
    ///
    /// # Errors
    /// When the key's name is none that the DNS can hold.
    pub fn new(settings: &config::Rfc2136, secret: &TsigSecret, clock: Clock) -> Result<Self, DnsError> {
        let algorithm = match settings.algorithm {
            config::TsigAlgorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            config::TsigAlgorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            config::TsigAlgorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let name = wire_name(&settings.key_name)?;
        let signer = TSigner::new(secret.bytes().to_vec(), algorithm, name, FUDGE)
            .map_err(|error| DnsError::Name(error.to_string()))?;
        Ok(Self {
            server: settings.server,
            key: settings.key_name.clone(),
            signer,
            clock,
        })
    }

    /// Sends one update and makes sure that it was carried out.
    async fn update(
        &self,
        zone: &DomainName,
        name: &DomainName,
        kind: RecordType,
        update: Update,
    ) -> Result<(), DnsError> {
        let failed = |failure| DnsError::Server {
            server: self.server,
            question: format!("{name} UPDATE"),
            failure,
        };
        let garbled = |reason: String| failed(ServerFailure::Garbled(reason));
        let refused = |refusal| {
            DnsError::Update(Box::new(UpdateFailure {
                server: self.server,
                zone: zone.clone(),
                name: name.clone(),
                key: self.key.clone(),
                refusal,
            }))
        };
        let mut message = Message::new(Message::query().metadata.id, MessageType::Query, OpCode::Update);
        message.add_query(Query::query(wire_name(zone)?, rr::RecordType::SOA));
        message.add_answers(update.prerequisites);
        message.add_authorities(update.updates);
        let now = u64::try_from(self.clock.now().unix_timestamp()).unwrap_or(0);
        let verifier = message
            .finalize(&self.signer, now)
            .map_err(|error| garbled(error.to_string()))?;
        let bytes = message.to_vec().map_err(|error| garbled(error.to_string()))?;
        let answer_bytes = exchange::bytes_by_tcp(self.server, &bytes)
            .await
            .map_err(failed)?;
        let answer = Message::from_vec(&answer_bytes).map_err(|error| garbled(error.to_string()))?;
        if answer.metadata.id != message.metadata.id || answer.metadata.message_type != MessageType::Response
        {
            return Err(garbled("it is not the answer to our update".to_owned()));
        }
        // A TSIG error is sent unsigned, so it is read before the signature is checked; it can only make us give up.
        if let Some(refusal) = answer
            .signature()
            .and_then(|record| tsig_refusal(&record.data, now))
        {
            return Err(refused(refusal));
        }
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXRRSet | ResponseCode::YXRRSet => {}
            ResponseCode::NotAuth => return Err(refused(Refusal::NotAuthoritative)),
            ResponseCode::NotZone => return Err(refused(Refusal::NotInZone)),
            // PowerDNS signs no refusal of a wrong secret, and says no more; BIND signs what its update policy refuses.
            ResponseCode::Refused if answer.signature().is_none() => {
                return Err(refused(Refusal::RefusedUnsigned));
            }
            ResponseCode::Refused => return Err(refused(Refusal::Refused)),
            code => return Err(refused(Refusal::Other(code_name(code)))),
        }
        let verified = verifier.map(|mut verifier| verifier.verify(&answer_bytes));
        match verified {
            Some(Ok(_)) if answer.response_code == ResponseCode::NoError => Ok(()),
            Some(Ok(_)) => Err(DnsError::ChangedMeanwhile {
                name: name.clone(),
                kind,
                place: self.server.to_string(),
                written: false,
            }),
            Some(Err(error)) => Err(refused(Refusal::Unsigned(error.to_string()))),
            None => Err(refused(Refusal::Unsigned("nothing to verify it with".to_owned()))),
        }
    }

    /// Returns the TTL that the RRset has, or `other` when it does not exist or cannot be seen.
    async fn ttl_or(&self, name: &DomainName, kind: RecordType, other: u32) -> u32 {
        match rrset_at(self.server, name, kind).await {
            Ok(rrset) if !rrset.values.is_empty() => rrset.ttl,
            _ => other,
        }
    }

    /// Sends an update without a condition for values of one type; `made` makes the record of each.
    async fn unconditional(
        &self,
        zone: &DomainName,
        name: &DomainName,
        values: &[Rdata],
        made: impl Fn(&Name, &Rdata) -> Result<Record, DnsError> + Send,
    ) -> Result<(), DnsError> {
        let Some(kind) = values.first().map(Rdata::kind) else {
            return Ok(());
        };
        let owner = wire_name(name)?;
        let updates: Result<Vec<Record>, DnsError> = values.iter().map(|value| made(&owner, value)).collect();
        let update = Update {
            prerequisites: Vec::new(),
            updates: updates?,
        };
        self.update(zone, name, kind, update).await
    }
}

impl Provider for Rfc2136 {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            types: &RecordType::ALL,
            list: Listing::Own,
            swap: Swap::Atomic,
            writer: Writer::Machine,
        }
    }

    fn list<'a>(&'a self, _: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Reply<'a, Rrset> {
        Box::pin(rrset_at(self.server, name, kind))
    }

    fn add<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        ttl: u32,
    ) -> Reply<'a, ()> {
        Box::pin(async move {
            let kind = values.first().map_or(RecordType::Txt, Rdata::kind);
            // Adding a record with another TTL would change that of the whole RRset (RFC 2181, 5.2).
            let ttl = self.ttl_or(name, kind, ttl).await;
            self.unconditional(zone, name, values, |owner, value| added(owner, value, ttl))
                .await
        })
    }

    fn remove<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
    ) -> Reply<'a, ()> {
        Box::pin(self.unconditional(zone, name, values, removed))
    }

    fn change<'a>(&'a self, change: &'a RrsetChange) -> Reply<'a, ()> {
        Box::pin(async move {
            let owner = wire_name(&change.name)?;
            let ttl = self.ttl_or(&change.name, change.kind, change.ttl).await;
            let update = conditional(&owner, change, ttl)?;
            self.update(&change.zone, &change.name, change.kind, update).await
        })
    }

    fn server(&self) -> Option<SocketAddr> {
        Some(self.server)
    }
}

/// The two sections of an update that say something.
struct Update {
    prerequisites: Vec<Record>,
    updates: Vec<Record>,
}

/// Returns the update for a change: prerequisite is exactly the RRset that it was planned on (RFC 2136, 2.4).
fn conditional(owner: &Name, change: &RrsetChange, ttl: u32) -> Result<Update, DnsError> {
    let prerequisites: Result<Vec<Record>, DnsError> = if change.before.is_empty() {
        // "RRset does not exist" (RFC 2136, 2.4.3).
        let mut absent = Record::update0(owner.clone(), 0, wire_type(change.kind));
        absent.dns_class = DNSClass::NONE;
        Ok(vec![absent])
    } else {
        // "RRset exists, value dependent" (RFC 2136, 2.4.2): class IN, TTL 0.
        change.before.iter().map(|value| added(owner, value, 0)).collect()
    };
    // RFC 2136, 3.4.2: carried out in this order, so a value that is replaced by itself under another TTL would vanish the
    // other way round.
    let removals = change.remove.iter().map(|value| removed(owner, value));
    let additions = change.add.iter().map(|value| added(owner, value, ttl));
    Ok(Update {
        prerequisites: prerequisites?,
        updates: removals.chain(additions).collect::<Result<_, DnsError>>()?,
    })
}

/// Returns the record that adds a value (RFC 2136, 2.5.1).
fn added(owner: &Name, value: &Rdata, ttl: u32) -> Result<Record, DnsError> {
    Ok(Record::from_rdata(owner.clone(), ttl, record_data(value)?))
}

/// Returns the record that deletes a value (RFC 2136, 2.5.4).
fn removed(owner: &Name, value: &Rdata) -> Result<Record, DnsError> {
    let mut record = added(owner, value, 0)?;
    record.dns_class = DNSClass::NONE;
    Ok(record)
}

/// Returns what a TSIG error means (RFC 8945, 5.2).
fn tsig_refusal(tsig: &TSIG, now: u64) -> Option<Refusal> {
    Some(match tsig.error? {
        TsigError::BadKey => Refusal::BadKey,
        TsigError::BadSig | TsigError::BadTrunc => Refusal::BadSignature,
        TsigError::BadTime => Refusal::BadTime {
            ahead: server_time(&tsig.other).map(|theirs| difference(theirs, now)),
        },
        TsigError::Unknown(0) => return None,
        TsigError::Unknown(code) => Refusal::Other(format!("TSIG error {code}")),
    })
}

/// Reads the server's clock out of a BADTIME answer: 48 bits of seconds (RFC 8945, 5.2.3).
fn server_time(other: &[u8]) -> Option<u64> {
    let bytes: [u8; 6] = other.try_into().ok()?;
    Some(bytes.iter().fold(0, |time, byte| time << 8 | u64::from(*byte)))
}

fn difference(theirs: u64, ours: u64) -> i64 {
    let apart = i64::try_from(theirs.abs_diff(ours)).unwrap_or(i64::MAX);
    if theirs >= ours { apart } else { -apart }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordData;

    use super::*;

    fn change(before: &[&str], add: &[&str], remove: &[&str]) -> RrsetChange {
        let values = |texts: &[&str]| texts.iter().map(|text| Rdata::text(text)).collect();
        RrsetChange {
            zone: "mail.test".parse().unwrap(),
            name: "mail.test".parse().unwrap(),
            kind: RecordType::Txt,
            ttl: 3600,
            before: values(before),
            add: values(add),
            remove: values(remove),
            reason: String::new(),
        }
    }

    #[test]
    fn a_change_is_conditional_on_the_whole_rrset() {
        let owner = Name::from_ascii("mail.test.").unwrap();
        let shown = |records: &[Record]| -> Vec<String> {
            records
                .iter()
                .map(|record| format!("{} {} {}", record.dns_class, record.ttl, record.data))
                .collect()
        };
        let update = conditional(&owner, &change(&["a", "b"], &["c"], &["a"]), 300).unwrap();
        assert_eq!(shown(&update.prerequisites), ["IN 0 a", "IN 0 b"]);
        assert_eq!(shown(&update.updates), ["NONE 0 a", "IN 300 c"]);
        let update = conditional(&owner, &change(&[], &["c"], &[]), 300).unwrap();
        assert_eq!(update.prerequisites.len(), 1);
        assert!(
            update.prerequisites[0].data.is_update() && update.prerequisites[0].dns_class == DNSClass::NONE
        );
        assert_eq!(update.prerequisites[0].record_type(), rr::RecordType::TXT);
    }

    #[test]
    fn tells_how_far_the_clocks_are_apart() {
        assert_eq!(server_time(&[0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(server_time(&[]), None);
        assert_eq!((difference(10, 4), difference(4, 10)), (6, -6));
    }
}
