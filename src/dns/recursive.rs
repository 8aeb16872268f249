//! One question to one resolver, which asks others for us: hickory-resolver, with what we want of it switched on or off.
//!
//! A server at a time: of several, hickory neither tells which one failed nor goes on to the next after REFUSED or
//! SERVFAIL. No cache, no hosts file, no search list. Names under `localhost`, `invalid`, `onion` and `127.in-addr.arpa`
//! are answered by hickory without asking anybody (RFC 6761, RFC 7686). Rules: RFC 1034, 3.6.2; RFC 2308; RFC 6891.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RecordType},
};
use hickory_resolver::{
    Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{
        DnsError as Said, NetError, NoRecords,
        runtime::{DnsUdpSocket, RuntimeProvider, TokioRuntimeProvider, TokioTime},
    },
};
use tokio::{net::UdpSocket, time::timeout};

use super::{
    answer::{code_name, unusable},
    error::{DnsError, ServerFailure},
    exchange::{UDP_PAYLOAD, network},
};

/// How long one transport is tried; by UDP hickory sends the datagram up to three times in the first second.
const TRY: Duration = Duration::from_secs(5);
/// How long a question may take with TCP after UDP, and with the CNAMEs that hickory follows.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks one resolver and returns a usable answer: NOERROR or NXDOMAIN, and no referral.
///
/// CNAMEs are followed, with questions of their own where the server leaves that to us; the message then is the last
/// answer, with the CNAMEs before its records. Hickory gives up after eight questions, with an answer that is empty.
///
/// # Errors
/// [`DnsError::Server`] when nothing usable comes in time.
pub async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
    let result = match ask_with(server, name, kind, Edns::Sent).await {
        // Servers from before EDNS (RFC 6891, 7).
        Err(NetError::Dns(Said::ResponseCode(ResponseCode::FormErr | ResponseCode::NotImp))) => {
            ask_with(server, name, kind, Edns::Left).await
        }
        result => result,
    };
    let message = match result {
        Ok(message) => Ok(message),
        Err(NetError::Dns(Said::NoRecordsFound(nothing))) => Ok(empty(nothing)),
        Err(error) => Err(failure(&error)),
    };
    message
        .and_then(|message| unusable(&message).map_or(Ok(message), Err))
        .map_err(|failure| DnsError::Server {
            server,
            question: format!("{name} {kind}"),
            failure,
        })
}

/// Whether the question says that we know EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edns {
    Left,
    Sent,
}

async fn ask_with(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    edns: Edns,
) -> Result<Message, NetError> {
    let mut name = name.clone();
    name.set_fqdn(true);
    let resolver = resolver(server, edns)?;
    match timeout(LIMIT, resolver.lookup(name, kind)).await {
        Ok(lookup) => lookup.map(Message::from),
        Err(_) => Err(NetError::Timeout),
    }
}

/// Returns a resolver for one question: it has no memory that a later one could see, and no connection that stays open.
fn resolver(server: SocketAddr, edns: Edns) -> Result<Resolver<ConnectedUdp>, NetError> {
    let mut transports = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for transport in &mut transports {
        transport.port = server.port();
    }
    let upstream = NameServerConfig::new(server.ip(), true, transports.to_vec());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![upstream]);
    let mut builder = Resolver::builder_with_config(config, ConnectedUdp::default());
    let options = builder.options_mut();
    options.timeout = TRY;
    // Tries after the first one; UDP repeats its datagram anyway.
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = edns == Edns::Sent;
    options.edns_payload_len = UDP_PAYLOAD;
    // TTLs are shown to people: as they came, not cut to a day.
    options.positive_max_ttl = Some(Duration::from_secs(u64::from(u32::MAX)));
    builder.build()
}

/// Returns the answer that hickory has turned into an error: no such name, no such data, or a referral.
///
/// What it does not keep is the AA bit, so NS records without SOA are taken for a referral whoever sends them.
fn empty(nothing: NoRecords) -> Message {
    let mut message = Message::response(0, OpCode::Query);
    message.metadata.response_code = nothing.response_code;
    message.add_query(*nothing.query);
    match (nothing.authorities, nothing.soa) {
        (Some(authorities), _) => {
            message.add_authorities(authorities.iter().cloned());
        }
        (None, Some(soa)) => {
            message.add_authority(soa.into_record_of_rdata());
        }
        (None, None) => {}
    }
    message
}

fn failure(error: &NetError) -> ServerFailure {
    match error {
        NetError::Dns(Said::ResponseCode(code)) => ServerFailure::ResponseCode(code_name(*code)),
        NetError::Io(error) => network(error),
        // What the system said is lost on the way through hickory's pool of servers.
        NetError::NoConnections => {
            ServerFailure::Network("nobody listens there, or there is no way to it from this host".to_owned())
        }
        NetError::Timeout => ServerFailure::Timeout(TRY),
        error => ServerFailure::Garbled(error.to_string()),
    }
}

/// Tokio's sockets, those for UDP connected.
///
/// Connected, the kernel tells when nobody listens; else each question to a resolver that is down takes its whole time.
/// Hickory advises against it because some systems then refuse an address with the datagram; Linux does not (udp(7)).
#[derive(Clone, Default)]
struct ConnectedUdp(TokioRuntimeProvider);

impl RuntimeProvider for ConnectedUdp {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = TokioTime;
    type Udp = ConnectedSocket;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        self.0.connect_tcp(server, local, limit)
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<ConnectedSocket>>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(ConnectedSocket(socket))
        })
    }
}

/// A connected UDP socket.
struct ConnectedSocket(UdpSocket);

impl DnsUdpSocket for ConnectedSocket {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.0, cx, buffer)
    }

    // What the trait has here polls, and tokio's polls are not woken by an error alone.
    fn recv_from<'s, 'b, 'f>(
        &'s self,
        buffer: &'b mut [u8],
    ) -> Pin<Box<dyn Future<Output = io::Result<(usize, SocketAddr)>> + Send + 'f>>
    where
        's: 'f,
        'b: 'f,
    {
        Box::pin(UdpSocket::recv_from(&self.0, buffer))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        message: &[u8],
        server: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        DnsUdpSocket::poll_send_to(&self.0, cx, message, server)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{
        RData, Record,
        rdata::{NS, TXT},
    };

    use super::*;

    /// Asks a server that answers each datagram as `reply` says; returns what comes and the number of questions.
    async fn asked(reply: impl Fn(&mut Message)) -> (Result<Message, DnsError>, usize) {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let name = Name::from_ascii("mail.test.").unwrap();
        let mut n_questions = 0;
        let answers = async {
            let mut buffer = [0; 1500];
            loop {
                let (length, client) = server.recv_from(&mut buffer).await.unwrap();
                n_questions += 1;
                let mut answer = Message::from_vec(&buffer[..length]).unwrap().into_response();
                reply(&mut answer);
                server.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        };
        let result = tokio::select! {
            result = ask(address, &name, RecordType::TXT) => result,
            () = answers => unreachable!(),
        };
        (result, n_questions)
    }

    fn failure_of(result: Result<Message, DnsError>) -> ServerFailure {
        match result {
            Err(DnsError::Server { failure, .. }) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn tells_answers_from_failures() {
        let name = || Name::from_ascii("mail.test.").unwrap();
        let code = |code| move |answer: &mut Message| answer.metadata.response_code = code;
        for nothing in [ResponseCode::NoError, ResponseCode::NXDomain] {
            let (result, _) = asked(code(nothing)).await;
            let message = result.unwrap();
            assert_eq!((message.response_code, message.answers.len()), (nothing, 0));
        }
        for (failing, text) in [
            (ResponseCode::Refused, "REFUSED"),
            (ResponseCode::ServFail, "SERVFAIL"),
            (ResponseCode::Unknown(99), "response code 99"),
        ] {
            let (result, n_questions) = asked(code(failing)).await;
            assert_eq!(
                (failure_of(result), n_questions),
                (ServerFailure::ResponseCode(text.to_owned()), 1)
            );
        }
        let (referral, _) = asked(|answer| {
            let servers = RData::NS(NS(Name::from_ascii("ns.test.").unwrap()));
            answer.add_authority(Record::from_rdata(name(), 60, servers));
        })
        .await;
        assert_eq!(failure_of(referral), ServerFailure::Referral);
    }

    #[tokio::test]
    async fn takes_an_authoritative_answer_without_recursion_and_its_ttl() {
        let week = 604_800;
        let (result, _) = asked(|answer| {
            answer.metadata.authoritative = true;
            answer.metadata.recursion_available = false;
            let text = RData::TXT(TXT::new(vec!["one".to_owned()]));
            answer.add_answer(Record::from_rdata(
                Name::from_ascii("mail.test.").unwrap(),
                week,
                text,
            ));
        })
        .await;
        let ttls: Vec<u32> = result.unwrap().answers.iter().map(|record| record.ttl).collect();
        assert_eq!(ttls, [week]);
    }

    #[tokio::test]
    async fn asks_without_edns_where_it_is_unknown() {
        let (result, n_questions) = asked(|answer| {
            if answer.edns.is_some() {
                answer.metadata.response_code = ResponseCode::FormErr;
            }
        })
        .await;
        assert_eq!((result.is_ok(), n_questions), (true, 2));
    }

    #[tokio::test]
    async fn a_resolver_that_is_down_is_told_at_once() {
        // Bound and closed again: nobody listens there.
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let closed = socket.local_addr().unwrap();
        drop(socket);
        let name = Name::from_ascii("mail.test.").unwrap();
        let result = timeout(TRY / 2, ask(closed, &name, RecordType::A)).await.unwrap();
        let failure = failure_of(result);
        assert!(matches!(failure, ServerFailure::Network(_)), "{failure:?}");
    }
}
