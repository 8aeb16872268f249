//! Questions: to resolvers, which ask others for us, and to each authoritative server itself.
//!
//! "No such name" and "no such data" are answers here, not errors. The search list is never used, and nothing is cached:
//! who waits for a change must not see his own memory. Rules: RFC 1034, 3.6.2 and 5.3; RFC 2308.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use tokio::time::Instant;

use super::{
    error::{DnsError, ServerFailure},
    exchange::{self, Recursion},
    facts::{Answer, Asked, Facts, Family, Question},
};
use crate::{
    config,
    env::{Env, files},
    model::{name::DomainName, plan::printable, rrset::Txt},
};

/// CNAME records that are followed one after the other.
const MAX_CHAIN: usize = 16;
/// Authoritative servers of a zone that are looked at.
const MAX_SERVERS: usize = 32;
/// Questions that one decision may ask.
const MAX_QUESTIONS: usize = 200;
/// How long the questions of one decision may take.
const MAX_SETTLING: Duration = Duration::from_secs(60);
/// The port of the DNS.
const PORT: u16 = 53;

/// Asks the configured resolvers, or the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    /// The server that takes updates; it may be hidden, or know zones that the resolvers do not.
    primary: Option<SocketAddr>,
}

/// The TXT records at a name; none when there is no such name or no TXT there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxtRrset {
    /// The TTL in seconds; from a resolver, what is left of it. 0 when there are none.
    pub ttl: u32,
    /// The values, in the order of the answer.
    pub values: Vec<Txt>,
}

/// An authoritative server at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Its name as the NS record has it, or what else it is known as.
    pub name: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// Whether the zone's NS records name it; a hidden primary is not.
    pub is_listed: bool,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = printable(self.name.as_bytes());
        if self.address.port() == PORT {
            write!(f, "{name} ({})", self.address.ip())
        } else {
            write!(f, "{name} ({})", self.address)
        }
    }
}

/// An answer after its CNAME chain.
struct Found {
    records: Vec<Record>,
    /// The name that the chain led to.
    owner: Name,
}

impl Resolver {
    /// Returns a resolver that asks these servers, in this order.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            primary: None,
        }
    }

    /// Adds the server that takes updates: it is asked for zones that the resolvers do not know, and counts as one of
    /// every zone's authoritative servers.
    #[must_use]
    pub fn with_primary(self, primary: SocketAddr) -> Self {
        Self {
            primary: Some(primary),
            ..self
        }
    }

    /// Returns a resolver for the servers of `[dns]`, or for those of `/etc/resolv.conf`.
    pub fn from_config(dns: &config::Dns, env: &Env) -> Self {
        if dns.resolvers.is_empty() {
            Self::system(env)
        } else {
            Self::new(dns.resolvers.clone())
        }
    }

    /// Returns a resolver for the servers of `/etc/resolv.conf`; the host itself when it names none (resolv.conf(5)).
    pub fn system(env: &Env) -> Self {
        let text = files::read_if_exists(&env.host_path("/etc/resolv.conf"), 65_536)
            .ok()
            .flatten()
            .unwrap_or_default();
        Self::new(nameservers(&String::from_utf8_lossy(&text)))
    }

    /// Returns the TXT records at a name, CNAMEs followed.
    ///
    /// # Errors
    /// When no resolver gives an answer.
    pub async fn txt(&self, name: &DomainName) -> Result<TxtRrset, DnsError> {
        Ok(txt_rrset(
            &self.find(&wire_name(name)?, RecordType::TXT).await?.records,
        ))
    }

    /// Returns the addresses of a name, IPv4 first, CNAMEs followed.
    ///
    /// # Errors
    /// When no resolver gives an answer for either family.
    pub async fn addresses(&self, name: &DomainName) -> Result<Vec<IpAddr>, DnsError> {
        let name = wire_name(name)?;
        let mut records = self.find(&name, RecordType::A).await?.records;
        records.extend(self.find(&name, RecordType::AAAA).await?.records);
        Ok(addresses(&records))
    }

    /// Returns the mail exchangers of a domain with their preference, best first; the root (RFC 7505) is empty text.
    ///
    /// # Errors
    /// When no resolver gives an answer.
    pub async fn mx(&self, name: &DomainName) -> Result<Vec<(u16, String)>, DnsError> {
        let mut found: Vec<(u16, String)> = self
            .find(&wire_name(name)?, RecordType::MX)
            .await?
            .records
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, text_of(&mx.exchange))),
                _ => None,
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// Returns the records of a kind at a name, CNAMEs followed.
    ///
    /// # Errors
    /// When no resolver gives an answer.
    pub(super) async fn records(&self, name: &DomainName, kind: RecordType) -> Result<Vec<Record>, DnsError> {
        Ok(self.find(&wire_name(name)?, kind).await?.records)
    }

    /// Follows the CNAME records at a name and returns where they end; the name itself when there is none.
    ///
    /// # Errors
    /// When no resolver gives an answer, or the chain is a loop or longer than sixteen.
    pub async fn canonical_name(&self, name: &DomainName) -> Result<DomainName, DnsError> {
        let mut current = name.clone();
        let mut through = vec![name.to_string()];
        loop {
            let asked = wire_name(&current)?;
            let message = self.any_answer(&asked, RecordType::CNAME).await?;
            let target =
                records_at(&message, &asked, RecordType::CNAME).find_map(|record| match &record.data {
                    RData::CNAME(target) => Some(text_of(&target.0)),
                    _ => None,
                });
            let Some(target) = target else { return Ok(current) };
            let seen = through.contains(&target);
            through.push(target.clone());
            if seen || through.len() > MAX_CHAIN {
                return Err(DnsError::CnameChain {
                    name: name.clone(),
                    through,
                });
            }
            current = domain_name(&target)?;
        }
    }

    /// Returns the zone that holds a name: the owner of the nearest SOA upwards (RFC 2308, 3).
    ///
    /// # Errors
    /// When neither a resolver nor the primary gives an answer, or no zone but the root holds the name.
    pub async fn zone_of(&self, name: &DomainName) -> Result<DomainName, DnsError> {
        let failure = match self.climb(name).await {
            Ok(zone) => return Ok(zone),
            Err(failure) => failure,
        };
        match self.primary_as_resolver() {
            Some(primary) => primary.climb(name).await.map_err(|_| failure),
            None => Err(failure),
        }
    }

    async fn climb(&self, name: &DomainName) -> Result<DomainName, DnsError> {
        let mut candidate = Some(name.clone());
        while let Some(current) = candidate {
            let asked = wire_name(&current)?;
            let message = self.any_answer(&asked, RecordType::SOA).await?;
            if let Some(zone) = zone_in(&message, &asked) {
                return domain_name(&text_of(&zone)).map_err(|_| DnsError::NoZone { name: name.clone() });
            }
            candidate = current.parent();
        }
        Err(DnsError::NoZone { name: name.clone() })
    }

    /// Returns every server that the zone's NS records name, at each of its addresses, and the primary.
    ///
    /// A name without an address is left out: nobody can ask it.
    ///
    /// # Errors
    /// When neither a resolver nor the primary gives an answer, or there is no address at all.
    pub async fn authoritative_servers(&self, zone: &DomainName) -> Result<Vec<Server>, DnsError> {
        let mut servers = match (self.listed_servers(zone).await, self.primary_as_resolver()) {
            (Ok(servers), _) => servers,
            (Err(failure), Some(primary)) => primary.listed_servers(zone).await.map_err(|_| failure)?,
            (Err(failure), None) => return Err(failure),
        };
        if let Some(address) = self.primary
            && !servers.iter().any(|server| server.address == address)
        {
            servers.push(Server {
                name: "the update server".to_owned(),
                address,
                is_listed: false,
            });
        }
        Ok(servers)
    }

    async fn listed_servers(&self, zone: &DomainName) -> Result<Vec<Server>, DnsError> {
        let found = self.find(&wire_name(zone)?, RecordType::NS).await?;
        let names = found.records.iter().filter_map(|record| match &record.data {
            RData::NS(host) => Some(text_of(&host.0)),
            _ => None,
        });
        let mut servers = Vec::new();
        let mut failure = None;
        for name in names.take(MAX_SERVERS) {
            let Ok(host) = domain_name(&name) else { continue };
            match self.addresses(&host).await {
                Ok(addresses) => servers.extend(addresses.into_iter().map(|address| Server {
                    name: name.clone(),
                    address: SocketAddr::new(address, PORT),
                    is_listed: true,
                })),
                Err(error) => failure = Some(error),
            }
        }
        servers.sort();
        servers.dedup();
        servers.truncate(MAX_SERVERS);
        match (servers.is_empty(), failure) {
            (false, _) => Ok(servers),
            (true, Some(failure)) => Err(failure),
            (true, None) => Err(DnsError::NoAuthoritativeServer { zone: zone.clone() }),
        }
    }

    fn primary_as_resolver(&self) -> Option<Self> {
        self.primary.map(|primary| Self::new(vec![primary]))
    }

    /// Asks what a decision wants to know until it is made.
    ///
    /// Past two hundred questions or a minute, further ones count as failed, so that a decision over hostile answers ends.
    pub async fn settle<T>(&self, facts: &mut Facts, decide: impl Fn(&Facts) -> Asked<T>) -> T {
        let start = Instant::now();
        let mut n_questions = 0;
        loop {
            let question = match decide(facts) {
                Ok(decided) => return decided,
                Err(question) => question,
            };
            n_questions += 1;
            let answer = if n_questions > MAX_QUESTIONS || start.elapsed() > MAX_SETTLING {
                Answer::Failed("too many questions; not asked".to_owned())
            } else {
                self.answer(&question).await
            };
            facts.insert(question, answer);
        }
    }

    /// Answers a question of [`Facts`].
    pub async fn answer(&self, question: &Question) -> Answer {
        let (name, kind) = match question {
            Question::Addresses(name, Family::V4) => (raw_name(name), RecordType::A),
            Question::Addresses(name, Family::V6) => (raw_name(name), RecordType::AAAA),
            Question::Mx(name) => (raw_name(name), RecordType::MX),
            Question::Ptr(address) => (Ok(Name::from(*address)), RecordType::PTR),
            Question::Txt(name) => (raw_name(name), RecordType::TXT),
        };
        let found = match name {
            Ok(name) => self.find(&name, kind).await,
            Err(error) => Err(error),
        };
        let records = match found {
            Ok(found) => found.records,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        match question {
            Question::Addresses(..) => Answer::Addresses(addresses(&records)),
            Question::Txt(_) => Answer::Texts(txt_rrset(&records).values.iter().map(Txt::joined).collect()),
            Question::Mx(_) | Question::Ptr(_) => Answer::Names(names(&records)),
        }
    }

    /// Returns the records of a kind at the end of the name's CNAME chain.
    ///
    /// A resolver follows the chain itself; an authoritative server used as one follows it only within its zones.
    async fn find(&self, name: &Name, kind: RecordType) -> Result<Found, DnsError> {
        let mut current = name.clone();
        for _ in 0..MAX_CHAIN {
            let message = self.any_answer(&current, kind).await?;
            let found = follow(&message, &current, kind);
            if !found.records.is_empty() || found.owner == current || message.recursion_available {
                return Ok(found);
            }
            current = found.owner;
        }
        let through = vec![text_of(name), text_of(&current)];
        Err(DnsError::CnameChain {
            name: domain_name(&text_of(name))?,
            through,
        })
    }

    /// Returns the first usable answer of the resolvers: NOERROR or NXDOMAIN, and no referral.
    async fn any_answer(&self, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
        let mut failed = DnsError::NoResolver;
        for server in &self.servers {
            match exchange::ask(*server, name, kind, Recursion::Desired).await {
                Ok(message) => match unusable(&message) {
                    None => return Ok(message),
                    Some(failure) => {
                        failed = DnsError::Server {
                            server: *server,
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

/// Returns the TXT records that an authoritative server has itself at exactly this name.
///
/// # Errors
/// When it gives no usable answer.
pub async fn txt_at(server: SocketAddr, name: &DomainName) -> Result<TxtRrset, DnsError> {
    let asked = wire_name(name)?;
    let message = exchange::ask(server, &asked, RecordType::TXT, Recursion::Off).await?;
    if let Some(failure) = unusable(&message) {
        return Err(DnsError::Server {
            server,
            question: format!("{name} TXT"),
            failure,
        });
    }
    let records: Vec<Record> = records_at(&message, &asked, RecordType::TXT).cloned().collect();
    Ok(txt_rrset(&records))
}

/// Returns why a message answers nothing, or `None` when it does.
fn unusable(message: &Message) -> Option<ServerFailure> {
    match message.response_code {
        ResponseCode::NoError if is_referral(message) => Some(ServerFailure::Referral),
        ResponseCode::NoError | ResponseCode::NXDomain => None,
        code => Some(ServerFailure::ResponseCode(code_name(code))),
    }
}

/// Returns a response code as RFC 2136 and RFC 6895 write it.
pub(super) fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NXRRSet => "NXRRSET".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::YXRRSet => "YXRRSET".to_owned(),
        code => format!("response code {}", u16::from(code)),
    }
}

/// Returns whether a server only says whom else to ask (RFC 2308, 2.2).
fn is_referral(message: &Message) -> bool {
    let has = |kind| {
        message
            .authorities
            .iter()
            .any(|record| record.record_type() == kind)
    };
    message.answers.is_empty() && !message.authoritative && has(RecordType::NS) && !has(RecordType::SOA)
}

fn records_at<'a>(
    message: &'a Message,
    name: &'a Name,
    kind: RecordType,
) -> impl Iterator<Item = &'a Record> {
    message.answers.iter().filter(move |record| {
        record.record_type() == kind && record.dns_class == DNSClass::IN && record.name == *name
    })
}

/// Follows the CNAME chain within one message.
fn follow(message: &Message, name: &Name, kind: RecordType) -> Found {
    let mut owner = name.clone();
    for _ in 0..MAX_CHAIN {
        let records: Vec<Record> = records_at(message, &owner, kind).cloned().collect();
        let target = records_at(message, &owner, RecordType::CNAME).find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        match target {
            Some(target) if records.is_empty() => owner = target,
            _ => return Found { records, owner },
        }
    }
    Found {
        records: Vec::new(),
        owner,
    }
}

/// Returns the zone that an answer to a SOA question names, if it is one that can hold the name.
fn zone_in(message: &Message, asked: &Name) -> Option<Name> {
    if let Some(own) = records_at(message, asked, RecordType::SOA).next() {
        return Some(own.name.clone());
    }
    // Behind a CNAME the SOA is that of the target's zone.
    if records_at(message, asked, RecordType::CNAME).next().is_some() {
        return None;
    }
    let soa = message
        .authorities
        .iter()
        .find(|record| record.record_type() == RecordType::SOA)?;
    soa.name.zone_of(asked).then(|| soa.name.clone())
}

fn txt_rrset(records: &[Record]) -> TxtRrset {
    let values = records.iter().filter_map(|record| match &record.data {
        RData::TXT(txt) => Some(Txt::from_strings(txt.txt_data.iter())),
        _ => None,
    });
    TxtRrset {
        ttl: records.iter().map(|record| record.ttl).min().unwrap_or(0),
        values: values.collect(),
    }
}

fn addresses(records: &[Record]) -> Vec<IpAddr> {
    let addresses = records.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    addresses.collect()
}

fn names(records: &[Record]) -> Vec<String> {
    let mut found: Vec<(u16, String)> = Vec::new();
    for record in records {
        match &record.data {
            RData::MX(mx) => found.push((mx.preference, text_of(&mx.exchange))),
            RData::PTR(host) => found.push((0, text_of(&host.0))),
            _ => {}
        }
    }
    // Stable, so that names of an address keep their order.
    found.sort_by_key(|(preference, _)| *preference);
    found.into_iter().map(|(_, host)| host).collect()
}

/// Returns a name as hickory has it; always absolute.
pub(super) fn wire_name(name: &DomainName) -> Result<Name, DnsError> {
    raw_name(name.as_str())
}

/// Returns any text as a name, each label as it is: what macros make need not be a host name.
fn raw_name(text: &str) -> Result<Name, DnsError> {
    let labels = text
        .split('.')
        .filter(|label| !label.is_empty())
        .map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|error| DnsError::Name(format!("`{text}`: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Returns a name's text in lower case without the trailing dot; odd octets are escaped as `\DDD`.
fn text_of(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}

fn domain_name(text: &str) -> Result<DomainName, DnsError> {
    DomainName::from_dns(text).map_err(|error| DnsError::Name(error.to_string()))
}

/// Returns the `nameserver` lines of resolv.conf(5).
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words
                .next()
                .filter(|word| *word == "nameserver")
                .and_then(|_| words.next())?;
            Some(SocketAddr::new(address.parse().ok()?, PORT))
        })
        .take(3)
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT));
    }
    servers
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{OpCode, Query},
        rr::rdata::{A, CNAME, NS, SOA, TXT},
    };

    use super::*;

    fn name(text: &str) -> Name {
        raw_name(text).unwrap()
    }

    fn message(asked: &str, kind: RecordType) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(name(asked), kind));
        message
    }

    fn soa(owner: &str) -> Record {
        Record::from_rdata(
            name(owner),
            60,
            RData::SOA(SOA::new(name("ns"), name("root"), 1, 2, 3, 4, 5)),
        )
    }

    fn cname(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    #[test]
    fn reads_resolv_conf() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<SocketAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(nameservers(text), expected, "{text}");
        };
        check(
            "nameserver 192.0.2.1\n; x\nnameserver 2001:db8::1\n",
            &["192.0.2.1:53", "[2001:db8::1]:53"],
        );
        check(
            "# nameserver 192.0.2.1\nsearch example\nnameserver fe80::1%eth0\n",
            &["127.0.0.1:53"],
        );
        check("", &["127.0.0.1:53"]);
    }

    #[test]
    fn follows_a_chain_within_one_answer() {
        let mut answer = message("a.test", RecordType::A);
        answer.add_answer(cname("a.test", "B.test"));
        answer.add_answer(cname("b.test", "c.test"));
        answer.add_answer(Record::from_rdata(
            name("c.test"),
            60,
            RData::A(A(Ipv4Addr::new(192, 0, 2, 1))),
        ));
        answer.add_answer(Record::from_rdata(
            name("d.test"),
            60,
            RData::A(A(Ipv4Addr::new(192, 0, 2, 2))),
        ));
        let found = follow(&answer, &name("a.test"), RecordType::A);
        assert_eq!(
            addresses(&found.records),
            [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]
        );
        answer.answers.pop();
        answer.answers.pop();
        answer.add_answer(cname("c.test", "a.test"));
        assert!(follow(&answer, &name("a.test"), RecordType::A).records.is_empty());
    }

    #[test]
    fn finds_the_zone_in_an_answer() {
        let check = |answer: Option<Record>, authority: Option<Record>, expected: Option<&str>| {
            let mut found = message("x.mail.test", RecordType::SOA);
            found.add_answers(answer);
            found.add_authorities(authority);
            assert_eq!(zone_in(&found, &name("x.mail.test")), expected.map(name));
        };
        check(Some(soa("x.mail.test")), None, Some("x.mail.test"));
        check(None, Some(soa("mail.test")), Some("mail.test"));
        check(None, Some(soa("other.test")), None);
        check(Some(cname("x.mail.test", "y.test")), Some(soa("test")), None);
        check(None, None, None);
    }

    #[test]
    fn tells_referrals_from_empty_answers() {
        let mut found = message("x.mail.test", RecordType::TXT);
        assert_eq!(unusable(&found), None);
        found.add_authority(Record::from_rdata(
            name("mail.test"),
            60,
            RData::NS(NS(name("ns.test"))),
        ));
        assert_eq!(unusable(&found), Some(ServerFailure::Referral));
        found.metadata.authoritative = true;
        assert_eq!(unusable(&found), None);
        found.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(
            unusable(&found),
            Some(ServerFailure::ResponseCode("SERVFAIL".to_owned()))
        );
    }

    #[test]
    fn keeps_the_strings_and_the_ttl_of_txt() {
        let txt = |ttl, strings: Vec<&[u8]>| {
            Record::from_rdata(name("a.test"), ttl, RData::TXT(TXT::from_bytes(strings)))
        };
        let rrset = txt_rrset(&[txt(300, vec![b"v=spf1 ", b"-all"]), txt(200, vec![b"\xff", b""])]);
        assert_eq!(rrset.ttl, 200);
        assert_eq!(
            rrset.values,
            [
                Txt::from_strings(["v=spf1 ", "-all"]),
                Txt::from_strings([&b"\xff"[..], b""])
            ]
        );
    }

    #[test]
    fn asks_for_odd_names_as_they_are() {
        assert_eq!(name("joe+x.b_c.test").to_ascii(), "joe\\+x.b_c.test.");
        assert!(raw_name(&format!("{}.test", "a".repeat(64))).is_err());
        assert_eq!(text_of(&name("Mail.TEST")), "mail.test");
        assert_eq!(text_of(&Name::root()), "");
    }
}
