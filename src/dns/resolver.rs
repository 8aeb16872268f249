//! Questions: to resolvers, which ask others for us, and to each authoritative server itself.
//!
//! Resolvers are asked through [`recursive`], authoritative servers through [`exchange`]. "No such name" and "no such
//! data" are answers here, not errors. The search list is never used, and nothing is cached: who waits for a change must
//! not see his own memory. Rules: RFC 1034, 3.6.2 and 5.3; RFC 2308.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

use super::{
    answer::{
        MAX_CHAIN, TxtRrset, addresses, cname_at, domain_name, follow, is_bare, records_at, rrset_of,
        text_of, txt_rrset, unusable, wire_name, wire_type, zone_in,
    },
    error::{DnsError, SHOWN, ServerFailure},
    exchange, recursive,
};
use crate::{
    config,
    env::{Env, files},
    model::{name::DomainName, plan::printable_line, rdata, rrset::Rrset},
};

/// Authoritative servers of a zone that are looked at.
const MAX_SERVERS: usize = 32;
/// The port of the DNS.
const PORT: u16 = 53;

/// Asks the configured resolvers, or the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    /// The server that takes updates; it may be hidden, or know zones that the resolvers do not.
    primary: Option<SocketAddr>,
    /// Asked in the place of those that NS records name; empty: those.
    authoritative: Vec<SocketAddr>,
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
        let name = printable_line(self.name.as_bytes(), SHOWN);
        if self.address.port() == PORT {
            write!(f, "{name} ({})", self.address.ip())
        } else {
            write!(f, "{name} ({})", self.address)
        }
    }
}

impl Server {
    /// Returns one that `dns.servers` names.
    pub(super) fn configured(address: SocketAddr) -> Self {
        Self {
            name: "dns.servers".to_owned(),
            address,
            is_listed: true,
        }
    }
}

impl Resolver {
    /// Returns a resolver that asks these servers, in this order.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            primary: None,
            authoritative: Vec::new(),
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

    /// Takes these servers for the authoritative ones of every zone, whatever NS records say: with a split horizon those are
    /// not the ones that can be asked from here, or that the CA asks.
    #[must_use]
    pub fn with_authoritative(self, authoritative: Vec<SocketAddr>) -> Self {
        Self {
            authoritative,
            ..self
        }
    }

    /// Returns a resolver for the servers of `[dns]`, or for those of `/etc/resolv.conf`.
    pub fn from_config(dns: &config::Dns, env: &Env) -> Self {
        let resolver = if dns.resolvers.is_empty() {
            Self::system(env)
        } else {
            Self::new(dns.resolvers.clone())
        };
        resolver.with_authoritative(dns.servers.clone())
    }

    /// Returns a resolver for the servers of `/etc/resolv.conf`; the host itself when it names none (resolv.conf(5)).
    pub fn system(env: &Env) -> Self {
        let text = files::read_if_exists(&env.host_path("/etc/resolv.conf"), 65_536)
            .ok()
            .flatten()
            .unwrap_or_default();
        Self::new(nameservers(&String::from_utf8_lossy(&text)))
    }

    /// Looks whether the first resolver that answers validates: whether it says of the root's own records that DNSSEC
    /// proves them, as Postfix asks (postconf(5), dnssec_probe).
    ///
    /// # Errors
    /// Why it does not, in words.
    pub async fn validates(&self) -> Result<(), String> {
        let root = Name::root();
        let mut failed = DnsError::NoResolver.to_string();
        for server in &self.servers {
            let asked = exchange::ask_for(*server, &root, RecordType::NS, exchange::Wanted::Authenticated);
            match asked.await {
                Ok(message) if message.metadata.authentic_data => return Ok(()),
                Ok(_) => return Err(format!("the resolver {} does not validate", server.ip())),
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed)
    }

    /// Returns the TXT records at a name, CNAMEs followed.
    ///
    /// # Errors
    /// When no resolver gives an answer.
    pub async fn txt(&self, name: &DomainName) -> Result<TxtRrset, DnsError> {
        Ok(txt_rrset(&self.find(&wire_name(name)?, RecordType::TXT).await?))
    }

    /// Returns the addresses of a name, IPv4 first, CNAMEs followed.
    ///
    /// # Errors
    /// When no resolver gives an answer for either family.
    pub async fn addresses(&self, name: &DomainName) -> Result<Vec<IpAddr>, DnsError> {
        let name = wire_name(name)?;
        let mut records = self.find(&name, RecordType::A).await?;
        records.extend(self.find(&name, RecordType::AAAA).await?);
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
        self.find(&wire_name(name)?, kind).await
    }

    /// Returns whether there is such a name, with whatever records: "no such name" is the answer NXDOMAIN (RFC 2308, 2.1).
    ///
    /// # Errors
    /// When no resolver gives an answer.
    pub(super) async fn exists(&self, name: &DomainName) -> Result<bool, DnsError> {
        let answer = self.any_answer(&wire_name(name)?, RecordType::A).await?;
        Ok(answer.response_code != ResponseCode::NXDomain)
    }

    /// Follows the CNAME records at a name and returns where they end; the name itself when there is none.
    ///
    /// # Errors
    /// When no resolver gives an answer, or the chain is a loop or longer than sixteen.
    pub async fn canonical_name(&self, name: &DomainName) -> Result<DomainName, DnsError> {
        domain_name(&text_of(&self.end_of_chain(&wire_name(name)?).await?))
    }

    /// Follows the CNAME records at a name, one question each: hickory does not follow them when they are asked for.
    async fn end_of_chain(&self, name: &Name) -> Result<Name, DnsError> {
        let mut current = name.clone();
        let mut through = vec![text_of(name)];
        loop {
            let message = self.any_answer(&current, RecordType::CNAME).await?;
            let Some(target) = cname_at(&message, &current) else {
                return Ok(current);
            };
            let text = text_of(&target);
            let seen = through.contains(&text);
            through.push(text);
            if seen || through.len() > MAX_CHAIN {
                return Err(DnsError::CnameChain {
                    name: domain_name(&text_of(name))?,
                    through,
                });
            }
            current = target;
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
        if !self.authoritative.is_empty() {
            return Ok(self
                .authoritative
                .iter()
                .copied()
                .map(Server::configured)
                .collect());
        }
        let found = self.find(&wire_name(zone)?, RecordType::NS).await?;
        let names = found.iter().filter_map(|record| match &record.data {
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

    /// Returns the servers that are taken for the authoritative ones of every zone.
    pub fn authoritative(&self) -> &[SocketAddr] {
        &self.authoritative
    }

    /// Returns the servers that are asked, in their order.
    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Returns the records of a kind at the end of the name's CNAME chain.
    async fn find(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, DnsError> {
        let answer = self.any_answer(name, kind).await;
        let records = answer.as_ref().map(|message| follow(message, name, kind));
        // Hickory follows a chain with one server, which may not know the target while the next one does; and a loop ends
        // for it as if there were no data. So what may be a chain cut off is followed by single questions.
        let may_be_cut_off = match (&answer, &records) {
            (Ok(message), Ok(records)) => records.is_empty() && is_bare(message),
            (Err(DnsError::Server { failure, .. }), _) => is_not_its_zone(failure),
            _ => false,
        };
        if may_be_cut_off {
            match self.end_of_chain(name).await {
                Ok(end) if end != *name => {
                    return Ok(follow(&self.any_answer(&end, kind).await?, &end, kind));
                }
                Err(error @ DnsError::CnameChain { .. }) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        records.map_err(Clone::clone)
    }

    /// Returns the first usable answer of the resolvers: NOERROR or NXDOMAIN, and no referral.
    async fn any_answer(&self, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
        let mut failed = DnsError::NoResolver;
        for server in &self.servers {
            match recursive::ask(*server, name, kind).await {
                Ok(message) => return Ok(message),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Returns whether a server only says that others have to be asked.
fn is_not_its_zone(failure: &ServerFailure) -> bool {
    match failure {
        ServerFailure::Referral => true,
        ServerFailure::ResponseCode(code) => code == "REFUSED",
        _ => false,
    }
}

/// Returns the RRset that an authoritative server has itself at exactly this name.
///
/// # Errors
/// When it gives no usable answer, or one whose data we cannot read.
pub async fn rrset_at(
    server: SocketAddr,
    name: &DomainName,
    kind: rdata::RecordType,
) -> Result<Rrset, DnsError> {
    let asked = wire_name(name)?;
    let message = exchange::ask(server, &asked, wire_type(kind)).await?;
    if let Some(failure) = unusable(&message) {
        return Err(DnsError::Server {
            server,
            question: format!("{name} {kind}"),
            failure,
        });
    }
    let records: Vec<Record> = records_at(&message, &asked, wire_type(kind)).cloned().collect();
    rrset_of(name, kind, &records)
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
    use hickory_proto::rr::rdata::{CNAME, TXT};
    use tokio::net::UdpSocket;

    use super::*;
    use crate::{dns::answer::raw_name, model::rrset::Txt};

    /// Answers for one name, authoritatively and with the same record whatever the type; refuses all others.
    async fn serve(server: UdpSocket, owner: &str, data: RData) {
        let owner = raw_name(owner).unwrap();
        let mut buffer = [0; 1500];
        loop {
            let (length, client) = server.recv_from(&mut buffer).await.unwrap();
            let mut answer = Message::from_vec(&buffer[..length]).unwrap().into_response();
            if answer.queries[0].name != owner {
                answer.metadata.response_code = ResponseCode::Refused;
            } else if data.record_type() == RecordType::CNAME
                || data.record_type() == answer.queries[0].query_type
            {
                answer.metadata.authoritative = true;
                answer.add_answer(Record::from_rdata(owner.clone(), 60, data.clone()));
            }
            server.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }

    /// Answers everything, and says that it is proven when it is asked so and `validates`.
    async fn resolve(server: UdpSocket, validates: bool) {
        let mut buffer = [0; 1500];
        loop {
            let (length, client) = server.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let is_asked = question.metadata.authentic_data && question.metadata.recursion_desired;
            let mut answer = question.into_response();
            answer.metadata.authentic_data = is_asked && validates;
            server.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }

    #[tokio::test]
    async fn knows_a_validating_resolver() {
        let check = async |validates: bool| {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let resolver = Resolver::new(vec![server.local_addr().unwrap()]);
            tokio::select! {
                found = resolver.validates() => found,
                () = resolve(server, validates) => unreachable!(),
            }
        };
        assert_eq!(check(true).await, Ok(()));
        assert_eq!(
            check(false).await,
            Err("the resolver 127.0.0.1 does not validate".to_owned())
        );
        assert!(Resolver::new(Vec::new()).validates().await.is_err());
    }

    #[tokio::test]
    async fn follows_a_chain_from_one_server_to_the_next() {
        let alias = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let servers = [&alias, &target].map(|server| server.local_addr().unwrap());
        let resolver = Resolver::new(servers.to_vec());
        let question = async {
            let found = resolver.txt(&domain_name("a.test").unwrap()).await;
            assert_eq!(found.unwrap().values, [Txt::from_text("one")]);
            let unknown = resolver.txt(&domain_name("c.test").unwrap()).await.unwrap_err();
            let DnsError::Server {
                server,
                question,
                failure,
            } = unknown
            else {
                panic!("{unknown}")
            };
            assert_eq!((server, question.as_str()), (servers[1], "c.test. TXT"));
            assert_eq!(failure, ServerFailure::ResponseCode("REFUSED".to_owned()));
        };
        let text = TXT::new(vec!["one".to_owned()]);
        tokio::select! {
            () = question => {}
            () = serve(alias, "a.test", RData::CNAME(CNAME(raw_name("b.example").unwrap()))) => {}
            () = serve(target, "b.example", RData::TXT(text)) => {}
        }
    }

    #[tokio::test]
    async fn a_loop_is_no_empty_answer() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = Resolver::new(vec![server.local_addr().unwrap()]);
        let itself = RData::CNAME(CNAME(raw_name("a.test").unwrap()));
        let name = domain_name("a.test").unwrap();
        tokio::select! {
            found = resolver.txt(&name) => assert!(matches!(found, Err(DnsError::CnameChain { .. })), "{found:?}"),
            () = serve(server, "a.test", itself) => {}
        }
    }

    #[tokio::test]
    async fn no_resolver_is_an_error() {
        let found = Resolver::new(Vec::new())
            .txt(&domain_name("a.test").unwrap())
            .await;
        assert_eq!(found, Err(DnsError::NoResolver));
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
}
