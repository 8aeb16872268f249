//! Whether ports of other hosts can be reached from here: connect, hear the greeting, say goodbye.
//!
//! Nothing is asked of the other side but its greeting. All are asked at the same time, so the whole takes as long as the
//! slowest, and that is bounded.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{
    dial::{self, Sources},
    sighting::Reply,
    smtp::{Conversation, seconds},
};

/// A port of another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its name, or its address.
    pub host: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// How long one destination may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the connection is up: two lost packets are made up for (RFC 6298, 2).
    pub connect: Duration,
    /// Until the greeting is complete: postscreen(8) lets strangers wait for six seconds, and some wait longer.
    pub greeting: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(8),
            greeting: Duration::from_secs(12),
        }
    }
}

/// How far one destination could be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The source address is none of this host's.
    BadSource,
    /// Nothing came back for so long: packets are dropped on the way.
    Dropped(Duration),
    /// Connected, but no greeting came: why, in words.
    Mute(String),
    /// This host has no route for the address family.
    NoRoute,
    /// Connected; and greeted, where a server greets before TLS.
    Open(Option<Reply>),
    /// Refused by the host itself, or by somebody who answers in its name.
    Refused,
    /// Turned away on the way: what the system says.
    Rejected(String),
}

/// One destination, and how far it could be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was asked.
    pub destination: Destination,
    /// How it went.
    pub way: Way,
}

/// Asks every destination once, all at the same time; the answers stand in their order.
pub async fn reach_all(destinations: &[Destination], sources: Sources, patience: Patience) -> Vec<Seen> {
    join_all(destinations.iter().map(|destination| async move {
        Seen {
            destination: destination.clone(),
            way: reach(destination.address, sources, patience).await,
        }
    }))
    .await
}

async fn reach(address: SocketAddr, sources: Sources, patience: Patience) -> Way {
    let stream = match timeout(patience.connect, dial::connect(address, &sources)).await {
        Err(_) => return Way::Dropped(patience.connect),
        Ok(Err(error)) => return why(&error, address, &sources),
        Ok(Ok(stream)) => stream,
    };
    if address.port() == 465 {
        // TLS begins at once: the server waits for us.
        return Way::Open(None);
    }
    let deadline = Instant::now() + patience.greeting;
    let mut smtp = Conversation::new(stream, patience.greeting, deadline);
    match smtp.reply().await {
        Ok(greeting) => {
            smtp.quit().await;
            Way::Open(Some(greeting))
        }
        Err(reason) => Way::Mute(reason),
    }
}

fn why(error: &io::Error, address: SocketAddr, sources: &Sources) -> Way {
    match error.kind() {
        // Without a source of ours it is a host without any address of the family.
        io::ErrorKind::AddrNotAvailable if sources.of(address).is_some() => Way::BadSource,
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Way::Refused,
        io::ErrorKind::TimedOut => Way::Rejected("the system gave up".to_owned()),
        _ if !dial::has_route(address) => Way::NoRoute,
        _ => Way::Rejected(error.to_string()),
    }
}

impl Way {
    /// Returns how it went, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::BadSource => "the source address is none of this host's".to_owned(),
            Self::Dropped(after) => format!("no answer within {} s", seconds(*after)),
            Self::Mute(reason) => format!("connected, and then {reason}"),
            Self::NoRoute => "no route".to_owned(),
            Self::Open(_) => "open".to_owned(),
            Self::Refused => "refused".to_owned(),
            Self::Rejected(reason) => format!("rejected: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{Identity, Script, Server, Smtp};

    async fn ask(address: SocketAddr, sources: Sources) -> Way {
        let patience = Patience {
            greeting: Duration::from_millis(500),
            ..Patience::default()
        };
        let destination = Destination {
            host: "mx.example.test".to_owned(),
            address,
        };
        reach_all(&[destination], sources, patience).await.remove(0).way
    }

    #[tokio::test]
    async fn tells_how_far_it_comes() {
        let smtp = Smtp::good(Identity::self_signed("x.test"));
        let server = Server::start(move |_| Script::Smtp(smtp.clone())).await;
        let Way::Open(Some(greeting)) = ask(server.address, Sources::default()).await else {
            panic!("not open")
        };
        assert_eq!(greeting.code, 220);
        assert_eq!(server.heard(), ["QUIT"]);
        for script in [
            Script::Close,
            Script::Say(Vec::new()),
            Script::Say(b"SSH-2.0\r\n".to_vec()),
        ] {
            let server = Server::start(move |_| script.clone()).await;
            let way = ask(server.address, Sources::default()).await;
            assert!(matches!(way, Way::Mute(_)), "{way:?}");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(ask(closed, Sources::default()).await, Way::Refused);
        // RFC 5737: an address for documents is nobody's.
        let foreign = Sources {
            v4: Some("192.0.2.25".parse().unwrap()),
            v6: None,
        };
        assert_eq!(ask(server.address, foreign).await, Way::BadSource);
    }
}
