//! What a CA will ask the DNS about names: addresses, CAA records, and whether the servers of a zone answer for it.
//!
//! All questions at once, each once, with limits on their number and on time. What is not answered in time is a failure,
//! as it would be for a CA. Rules: RFC 8659, 3 (the climb); RFC 1912, 2.8 (lame delegations).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::stream::{self, StreamExt as _};
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record, RecordType},
};
use tokio::time::{Instant, timeout_at};

use super::{
    answer::{addresses, code_name, wire_name},
    bogus,
    error::{DnsError, Lag, ServerFailure},
    exchange,
    resolver::{Resolver, Server},
};
use crate::model::{name::DomainName, record::caa::Property};

/// Questions in flight at the same time.
const AT_ONCE: usize = 64;
/// How long all questions together may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the DNS says, or why it does not, in words.
pub type Answer<T> = Result<T, String>;

/// What the DNS says about the addresses of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Those found, IPv4 first.
    pub found: Vec<IpAddr>,
    /// Which families could not be asked for, and why.
    pub failed: Vec<String>,
    /// Whether there is such a name at all, with whatever records.
    pub exists: bool,
}

/// A question of the survey.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question(DomainName, RecordType);

/// Asks for the addresses of all names.
pub async fn addresses_of(
    resolver: &Resolver,
    names: &BTreeSet<DomainName>,
) -> BTreeMap<DomainName, Addresses> {
    let questions = names.iter().flat_map(|name| {
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .map(|kind| Question(name.clone(), kind))
    });
    let mut answers = ask_all(resolver, questions.collect()).await;
    let mut of = BTreeMap::new();
    for name in names {
        let mut summary = Addresses::default();
        for kind in [RecordType::A, RecordType::AAAA] {
            match answers.remove(&Question(name.clone(), kind)) {
                Some(Ok(records)) => summary.found.extend(addresses(&records)),
                Some(Err(reason)) => summary.failed.push(reason),
                None => summary.failed.push(late(name, kind)),
            }
        }
        // "No such name" and "no such data" are told apart for the reader alone: only then it is worth a question.
        let is_void = summary.found.is_empty() && summary.failed.is_empty();
        summary.exists = !is_void || resolver.exists(name).await.unwrap_or(true);
        of.insert(name.clone(), summary);
    }
    of
}

/// Asks for the CAA records of all names and of every name above them.
///
/// The levels of a climb are asked for at the same time: one round trip instead of one for each label.
pub async fn caa_above(
    resolver: &Resolver,
    names: &BTreeSet<DomainName>,
) -> BTreeMap<DomainName, Answer<Vec<Property>>> {
    let owners: BTreeSet<DomainName> = names
        .iter()
        .flat_map(|name| std::iter::successors(Some(name.clone()), DomainName::parent))
        .collect();
    let questions = owners
        .iter()
        .map(|owner| Question(owner.clone(), RecordType::CAA));
    let mut answers = ask_all(resolver, questions.collect()).await;
    let mut of = BTreeMap::new();
    for owner in owners {
        let answer = match answers.remove(&Question(owner.clone(), RecordType::CAA)) {
            Some(found) => found.map(|records| properties(&records)),
            None => Err(late(&owner, RecordType::CAA)),
        };
        of.insert(owner, answer);
    }
    of
}

/// Returns the servers of a zone that do not answer for it, and what they say instead.
///
/// # Errors
/// When nobody knows the zone's servers.
pub async fn lame_servers(resolver: &Resolver, zone: &DomainName) -> Result<Vec<Lag>, DnsError> {
    let servers = resolver.authoritative_servers(zone).await?;
    let listed = servers.into_iter().filter(|server| server.is_listed);
    let asking: Vec<_> = listed.map(|server| says(server, zone)).collect();
    let said: Vec<_> = stream::iter(asking).buffered(AT_ONCE).collect().await;
    Ok(said.into_iter().flatten().collect())
}

/// Returns what a server says instead of answering for the zone; `None` when it does, or cannot be asked from here.
async fn says(server: Server, zone: &DomainName) -> Option<Lag> {
    let asked = match wire_name(zone) {
        Ok(name) => exchange::ask(server.address, &name, RecordType::SOA).await,
        Err(error) => Err(error),
    };
    let said = match asked {
        Ok(answer) if answer.response_code != ResponseCode::NoError => code_name(answer.response_code),
        Ok(answer) if !answer.authoritative => "it is not authoritative for the zone".to_owned(),
        Ok(_) => return None,
        // This host lacks IPv6, mostly: others can ask.
        Err(DnsError::Server {
            failure: ServerFailure::Unreachable(_),
            ..
        }) => return None,
        Err(DnsError::Server { failure, .. }) => failure.to_string(),
        Err(error) => error.to_string(),
    };
    Some(Lag {
        server: server.to_string(),
        said,
    })
}

/// Asks all questions; those that took too long are missing from the result.
async fn ask_all(
    resolver: &Resolver,
    questions: BTreeSet<Question>,
) -> BTreeMap<Question, Answer<Vec<Record>>> {
    let deadline = Instant::now() + PATIENCE;
    let mut answers = BTreeMap::new();
    let asking: Vec<_> = questions
        .into_iter()
        .map(|question| ask(resolver, question))
        .collect();
    let mut asked = stream::iter(asking).buffer_unordered(AT_ONCE);
    while let Ok(Some((question, answer))) = timeout_at(deadline, asked.next()).await {
        answers.insert(question, answer);
    }
    answers
}

async fn ask(resolver: &Resolver, question: Question) -> (Question, Answer<Vec<Record>>) {
    let Question(name, kind) = &question;
    let answer = match resolver.records(name, *kind).await {
        Ok(records) => Ok(records),
        Err(error) => Err(match bogus::why(&error, name.as_str(), *kind).await {
            Some(why) => format!("{error} ({why})"),
            None => error.to_string(),
        }),
    };
    (question, answer)
}

fn late(name: &DomainName, kind: RecordType) -> String {
    format!("{name} {kind} was not answered within {} s", PATIENCE.as_secs())
}

/// Returns the CAA records among these.
pub(super) fn properties(records: &[Record]) -> Vec<Property> {
    let property = |record: &Record| match &record.data {
        RData::CAA(caa) => Some(Property {
            critical: caa.issuer_critical,
            tag: caa.tag.clone(),
            value: caa.value.clone(),
        }),
        _ => None,
    };
    records.iter().filter_map(property).collect()
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::Message, rr::rdata::CAA};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, UdpSocket},
    };

    use super::*;

    /// Answers over UDP that the answer does not fit, and over TCP with as many CAA records as a message holds.
    async fn flood(datagrams: UdpSocket, listener: TcpListener) {
        let by_udp = async {
            let mut buffer = [0; 1500];
            loop {
                let (length, client) = datagrams.recv_from(&mut buffer).await.unwrap();
                let mut answer = Message::from_vec(&buffer[..length]).unwrap().into_response();
                answer.metadata.truncation = true;
                datagrams
                    .send_to(&answer.to_vec().unwrap(), client)
                    .await
                    .unwrap();
            }
        };
        let by_tcp = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let length = usize::from(stream.read_u16().await.unwrap());
                let mut query = vec![0; length];
                stream.read_exact(&mut query).await.unwrap();
                let mut answer = Message::from_vec(&query).unwrap().into_response();
                let owner = answer.queries[0].name.clone();
                for _ in 0..2000 {
                    let record = RData::CAA(CAA::new_issue(false, None, Vec::new()));
                    answer.add_answer(Record::from_rdata(owner.clone(), 60, record));
                }
                let bytes = answer.to_vec().unwrap();
                stream
                    .write_u16(u16::try_from(bytes.len()).unwrap())
                    .await
                    .unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        };
        tokio::join!(by_udp, by_tcp);
    }

    #[tokio::test]
    async fn takes_as_many_records_as_a_message_holds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let datagrams = UdpSocket::bind(address).await.unwrap();
        let resolver = Resolver::new(vec![address]);
        let names = BTreeSet::from(["mail.test".parse().unwrap()]);
        tokio::select! {
            found = caa_above(&resolver, &names) => {
                let counts: Vec<usize> = found.values().map(|answer| answer.as_ref().map_or(0, Vec::len)).collect();
                assert_eq!(counts, [2000, 2000]);
            }
            () = flood(datagrams, listener) => {}
        }
    }
}
