//! Answers a question of [`Facts`](super::facts::Facts): to the resolvers, with the word whether DNSSEC proves the
//! answer, or to one authoritative server.
//!
//! As Postfix does, the validating resolver is trusted (postconf(5), smtp_dns_support_level; RFC 6840, 5.7): its AD bit
//! is the status. CNAMEs that a resolver does not follow are followed here. Nothing is cached. Messages come from
//! anywhere: a chain is bounded, and what does not belong to the question is passed over.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use tokio::sync::Semaphore;

use super::{
    answer::{MAX_CHAIN, addresses, cname_at, is_bare, raw_name, records_at, text_of, txt_rrset, unusable},
    bogus,
    error::DnsError,
    exchange::{self, Wanted},
    facts::{Answer, Family, Kind, Question, Reply, Service, Status},
    resolver::Resolver,
    survey::properties,
    tlsa::records_of,
};
use crate::model::{name::DomainName, rrset::Txt};

/// Questions that wait for an answer at the same time, over all that is checked.
const AT_ONCE: usize = 128;
/// The type of SPF records before RFC 7208.
const SPF_TYPE: u16 = 99;

/// Asks the resolvers, many questions at a time.
#[derive(Debug)]
pub struct Lookup {
    servers: Vec<SocketAddr>,
    /// Which server answered last: one that is down is not tried first with every question.
    first: AtomicUsize,
    turns: Semaphore,
}

impl Lookup {
    /// Returns what asks the servers of a resolver, in their order.
    pub fn new(resolver: &Resolver) -> Self {
        Self {
            servers: resolver.servers().to_vec(),
            first: AtomicUsize::new(0),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Answers a question; `None` for one that is not the DNS's to answer.
    pub async fn reply(&self, question: &Question) -> Option<Reply> {
        // The semaphore is never closed; without a turn the question is asked all the same.
        let _turn = self.turns.acquire().await.ok();
        let (name, kind) = match question {
            Question::Addresses(name, Family::V4) => (raw_name(name), RecordType::A),
            Question::Addresses(name, Family::V6) => (raw_name(name), RecordType::AAAA),
            Question::At(server, name, kind) => return Some(ask_at(*server, name, *kind).await),
            Question::Caa(name) => (raw_name(name), RecordType::CAA),
            Question::Chain(..) | Question::Page(..) => return None,
            Question::Mx(name) => (raw_name(name), RecordType::MX),
            Question::Ns(name) => (raw_name(name), RecordType::NS),
            Question::Ptr(address) => (Ok(Name::from(*address)), RecordType::PTR),
            Question::SpfType(name) => (raw_name(name), RecordType::Unknown(SPF_TYPE)),
            Question::Srv(name) => (raw_name(name), RecordType::SRV),
            Question::Tlsa(name) => (raw_name(name), RecordType::TLSA),
            Question::Txt(name) => (raw_name(name), RecordType::TXT),
        };
        let found = match name {
            Ok(name) => self.find(&name, kind).await,
            Err(error) => Err(error),
        };
        Some(match found {
            Ok((records, status)) => Reply {
                answer: answer_of(kind, &records),
                status,
            },
            Err(error) => {
                let bogus = match name_of(question) {
                    Some(name) => bogus::why(&error, name, kind).await,
                    None => None,
                };
                let status = Status {
                    bogus: bogus.filter(|why| why.starts_with("DNSSEC")),
                    ..Status::default()
                };
                Reply {
                    answer: Answer::Failed(error),
                    status,
                }
            }
        })
    }

    /// Returns the records of a kind at the end of the name's CNAME chain.
    async fn find(&self, name: &Name, kind: RecordType) -> Result<(Vec<Record>, Status), DnsError> {
        let mut status = Status {
            authenticated: true,
            ..Status::default()
        };
        let mut owner = name.clone();
        let mut seen = BTreeSet::from([text_of(name)]);
        loop {
            let message = self.first_answer(&owner, kind).await?;
            // One part that is not proven makes the whole unproven.
            status.authenticated &= message.metadata.authentic_data;
            let mut moved = false;
            let records = loop {
                let records: Vec<Record> = records_at(&message, &owner, kind).cloned().collect();
                match cname_at(&message, &owner) {
                    Some(target) if records.is_empty() => {
                        let text = text_of(&target);
                        status.aliases.push(text.clone());
                        if !seen.insert(text) || status.aliases.len() > MAX_CHAIN {
                            return Err(chain(name, &status.aliases));
                        }
                        owner = target;
                        moved = true;
                    }
                    _ => break records,
                }
            };
            if moved && records.is_empty() && is_bare(&message) {
                continue;
            }
            status.no_such_name = message.response_code == ResponseCode::NXDomain;
            status.ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
            if kind == RecordType::TXT {
                status.size = message.to_vec().map_or(0, |bytes| bytes.len());
            }
            return Ok((records, status));
        }
    }

    /// Returns the first usable answer of the resolvers.
    async fn first_answer(&self, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
        let mut failed = DnsError::NoResolver;
        let n_servers = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        for turn in 0..n_servers {
            let index = (first + turn) % n_servers;
            let server = self.servers[index];
            match exchange::ask_for(server, name, kind, Wanted::Authenticated).await {
                Ok(message) => match unusable(&message) {
                    None => {
                        self.first.store(index, Ordering::Relaxed);
                        return Ok(message);
                    }
                    Some(failure) => {
                        failed = DnsError::Server {
                            server,
                            question: format!("{name} {kind}"),
                            failure,
                        };
                    }
                },
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn chain(name: &Name, through: &[String]) -> DnsError {
    match DomainName::from_dns(&text_of(name)) {
        Ok(name) => DnsError::CnameChain {
            name,
            through: through.to_vec(),
        },
        Err(error) => DnsError::Name(error.to_string()),
    }
}

/// Returns the name that a question is about, where it is one.
fn name_of(question: &Question) -> Option<&str> {
    match question {
        Question::Addresses(name, _)
        | Question::Caa(name)
        | Question::Mx(name)
        | Question::Ns(name)
        | Question::SpfType(name)
        | Question::Srv(name)
        | Question::Tlsa(name)
        | Question::Txt(name) => Some(name),
        Question::At(..) | Question::Chain(..) | Question::Page(..) | Question::Ptr(_) => None,
    }
}

fn answer_of(kind: RecordType, records: &[Record]) -> Answer {
    match kind {
        RecordType::A | RecordType::AAAA => Answer::Addresses(addresses(records)),
        RecordType::CAA => Answer::Caa(properties(records)),
        RecordType::MX => Answer::Exchanges(exchanges(records)),
        RecordType::NS | RecordType::PTR => Answer::Names(hosts(records)),
        RecordType::SRV => Answer::Services(services(records)),
        RecordType::TLSA => Answer::Tlsa(records_of(records)),
        RecordType::TXT => Answer::Texts(texts(records)),
        // Of type 99 it counts only whether there is one.
        _ => Answer::Texts(vec![Vec::new(); records.len()]),
    }
}

/// Asks one server for what it has itself.
async fn ask_at(server: SocketAddr, name: &str, kind: Kind) -> Reply {
    let kind = match kind {
        Kind::Address(Family::V4) => RecordType::A,
        Kind::Address(Family::V6) => RecordType::AAAA,
        Kind::Caa => RecordType::CAA,
        Kind::Mx => RecordType::MX,
        Kind::Tlsa => RecordType::TLSA,
        Kind::Txt => RecordType::TXT,
    };
    let asked = async {
        let name = raw_name(name)?;
        let message = exchange::ask(server, &name, kind).await?;
        if let Some(failure) = unusable(&message) {
            return Err(DnsError::Server {
                server,
                question: format!("{name} {kind}"),
                failure,
            });
        }
        let records: Vec<Record> = records_at(&message, &name, kind).cloned().collect();
        Ok(match cname_at(&message, &name) {
            Some(target) if records.is_empty() => Answer::Elsewhere(text_of(&target)),
            _ => answer_of(kind, &records),
        })
    };
    Reply {
        answer: asked.await.unwrap_or_else(Answer::Failed),
        status: Status::default(),
    }
}

fn texts(records: &[Record]) -> Vec<Vec<u8>> {
    txt_rrset(records).values.iter().map(Txt::joined).collect()
}

fn exchanges(records: &[Record]) -> Vec<(u16, String)> {
    let mut found: Vec<(u16, String)> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, text_of(&mx.exchange))),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

fn hosts(records: &[Record]) -> Vec<String> {
    let host = |record: &Record| match &record.data {
        RData::NS(host) => Some(text_of(&host.0)),
        RData::PTR(host) => Some(text_of(&host.0)),
        _ => None,
    };
    records.iter().filter_map(host).collect()
}

fn services(records: &[Record]) -> Vec<Service> {
    let mut found: Vec<Service> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: text_of(&srv.target),
            }),
            _ => None,
        })
        .collect();
    found.sort();
    found
}
