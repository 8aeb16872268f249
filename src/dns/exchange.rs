//! What hickory-resolver cannot do: one question to an authoritative server about what it has itself, and the bytes of
//! an update. UDP, TCP when the answer does not fit, time limits, and a size limit by the protocol (64 KiB).
//!
//! The messages are hickory-proto's, the transports are not: hickory-resolver keeps neither the AA bit of an empty answer
//! nor what a server says about a wrong TSIG key. Questions to resolvers are [`recursive`](super::recursive)'s. Rules:
//! RFC 1035, 4.2; RFC 5452 (who may have sent an answer); RFC 6891 (EDNS); RFC 7766 (TCP).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::error::{DnsError, ServerFailure};

/// How long a datagram's answer is waited for, first and second try.
const UDP_WAITS: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(3000)];
/// How long a whole exchange over TCP may take.
const TCP_WAIT: Duration = Duration::from_secs(5);
/// What we take by UDP: fits every path without fragments (RFC 9715).
pub(super) const UDP_PAYLOAD: u16 = 1232;

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As [`Self::Resolved`], with the word whether DNSSEC proves it (RFC 6840, 5.7: AD in a question).
    Authenticated,
    /// What it has itself.
    Own,
    /// What it finds out from others for us.
    Resolved,
    /// What it has itself, with the signatures over it (RFC 4035, 3.2.1: DNSSEC OK).
    Signed,
    /// As [`Self::Resolved`], also when DNSSEC says that it is forged (RFC 4035, 3.2.2: checking disabled).
    Unchecked,
}

/// Asks one server for what it has itself and returns its answer, whatever the response code.
///
/// # Errors
/// [`DnsError::Server`] when nothing usable comes in time.
pub async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
    ask_for(server, name, kind, Wanted::Own).await
}

/// Asks one server and returns its answer, whatever the response code.
///
/// # Errors
/// [`DnsError::Server`] when nothing usable comes in time.
pub async fn ask_for(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    wanted: Wanted,
) -> Result<Message, DnsError> {
    let mut query = Message::query();
    query.metadata.recursion_desired = !matches!(wanted, Wanted::Own | Wanted::Signed);
    query.metadata.checking_disabled = wanted == Wanted::Unchecked;
    query.metadata.authentic_data = wanted == Wanted::Authenticated;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    edns.set_dnssec_ok(wanted == Wanted::Signed);
    query.set_edns(edns);
    let fail = |failure| DnsError::Server {
        server,
        question: format!("{name} {kind}"),
        failure,
    };
    let mut answer = by_udp_or_tcp(server, &query).await.map_err(fail)?;
    if matches!(answer.response_code, ResponseCode::FormErr | ResponseCode::NotImp) {
        // Servers from before EDNS (RFC 6891, 7).
        query.edns = None;
        answer = by_udp_or_tcp(server, &query).await.map_err(fail)?;
    }
    Ok(answer)
}

async fn by_udp_or_tcp(server: SocketAddr, query: &Message) -> Result<Message, ServerFailure> {
    let bytes = query
        .to_vec()
        .map_err(|error| ServerFailure::Garbled(error.to_string()))?;
    let mut last = ServerFailure::Timeout(UDP_WAITS.iter().sum());
    for wait in UDP_WAITS {
        match timeout(wait, by_udp(server, query, &bytes)).await {
            Ok(Ok(answer)) if answer.truncation => return by_tcp(server, query, &bytes).await,
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) => last = failure,
            Err(_) => {}
        }
    }
    Err(last)
}

async fn by_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, ServerFailure> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(|error| network(&error))?;
    // Connected: the kernel drops what comes from elsewhere, and tells when nobody listens.
    socket.connect(server).await.map_err(|error| network(&error))?;
    socket.send(bytes).await.map_err(|error| network(&error))?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| network(&error))?;
        // What does not fit may be forged, so the true answer may still come; the caller's time limit ends this.
        if let Ok(answer) = read(query, buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, ServerFailure> {
    let answer = bytes_by_tcp(server, bytes).await?;
    read(query, &answer)
}

/// Sends a message over TCP and returns the bytes of the answer.
///
/// # Errors
/// When the exchange does not end in time.
pub async fn bytes_by_tcp(server: SocketAddr, message: &[u8]) -> Result<Vec<u8>, ServerFailure> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length =
            u16::try_from(message.len()).map_err(|_| io::Error::other("the message is over 64 KiB"))?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(message);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    match timeout(TCP_WAIT, exchange).await {
        Ok(result) => result.map_err(|error| network(&error)),
        Err(_) => Err(ServerFailure::Timeout(TCP_WAIT)),
    }
}

/// Reads an answer and makes sure that it is one to this query (RFC 5452, 9.1).
fn read(query: &Message, bytes: &[u8]) -> Result<Message, ServerFailure> {
    let answer = Message::from_vec(bytes).map_err(|error| ServerFailure::Garbled(error.to_string()))?;
    let garbled = |reason: &str| Err(ServerFailure::Garbled(reason.to_owned()));
    if answer.metadata.message_type != MessageType::Response || answer.metadata.id != query.metadata.id {
        return garbled("it is not the answer to our question");
    }
    // A server that could not read the question may leave it out.
    let echoed = match (answer.queries.as_slice(), query.queries.as_slice()) {
        ([], _) => !matches!(
            answer.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        ),
        ([theirs], [ours]) => theirs.query_type == ours.query_type && theirs.name == ours.name,
        _ => false,
    };
    if echoed {
        Ok(answer)
    } else {
        garbled("it answers another question")
    }
}

/// Returns the failure that an error of the system is.
pub(super) fn network(error: &io::Error) -> ServerFailure {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable => {
            ServerFailure::Unreachable(error.to_string())
        }
        _ => ServerFailure::Network(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_answers_to_the_question() {
        let mut query = Message::query();
        query.add_query(Query::query(
            Name::from_ascii("a.test.").unwrap(),
            RecordType::TXT,
        ));
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.add_query(Query::query(
            Name::from_ascii("A.test.").unwrap(),
            RecordType::TXT,
        ));
        let is_taken = |answer: &Message| read(&query, &answer.to_vec().unwrap()).is_ok();
        assert!(is_taken(&answer));
        let mut other = answer.clone();
        other.metadata.id = query.metadata.id.wrapping_add(1);
        assert!(!is_taken(&other));
        let mut other = answer.clone();
        other.queries = vec![Query::query(
            Name::from_ascii("b.test.").unwrap(),
            RecordType::TXT,
        )];
        assert!(!is_taken(&other));
        let mut other = answer.clone();
        other.queries.clear();
        assert!(!is_taken(&other));
        other.metadata.response_code = ResponseCode::FormErr;
        assert!(is_taken(&other));
        assert!(!is_taken(&query));
        assert!(read(&query, b"\xff\xff\xff").is_err());
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_a_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Announces 64 KiB and closes.
            stream.write_all(&[0xff, 0xff, 0]).await.unwrap();
        };
        let (answer, ()) = tokio::join!(bytes_by_tcp(address, b"question"), server);
        assert!(matches!(answer, Err(ServerFailure::Network(_))), "{answer:?}");
    }
}
