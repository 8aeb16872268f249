//! The ports that a challenge is answered on, open only while the CA validates. Anyone may connect to them, so connections
//! and time are limited; what is read from one is limited by who serves it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};

use super::{
    ChallengeType,
    crowd::{Crowd, Room},
    port_holder,
};
use crate::acme::error::AcmeError;

/// How many connections are served at the same time.
const CONNECTIONS: usize = 256;
/// How many wait in the kernel until they are accepted.
const BACKLOG: i32 = 1024;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a port is tried that is taken although nobody is seen to have it, and how long after each time: whoever looks
/// into `/proc/PID/fd` at the wrong moment (`lsof`, `ss`, another run of ours) keeps a socket for a moment after it was closed.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The ports of one challenge.
pub(super) struct Door {
    challenge: ChallengeType,
    addresses: Vec<SocketAddr>,
    port: u16,
    /// The tasks that accept, while it is open.
    accepting: Vec<Accepting>,
    /// Who is served, at all of the addresses.
    guests: Guests,
}

/// The connections that are served, with what ends each.
type Guests = Arc<Mutex<Crowd<AbortHandle>>>;

/// A task that accepts; ends, and unbinds, with its owner.
struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Door {
    /// Names the addresses; without any, the port on every address family. Nothing is bound yet.
    pub fn new(challenge: ChallengeType, addresses: Vec<SocketAddr>, port: u16) -> Self {
        Self {
            challenge,
            addresses,
            port,
            accepting: Vec::new(),
            guests: Arc::new(Mutex::new(Crowd::new(CONNECTIONS))),
        }
    }

    /// Returns what is to be told of a crowd, if there was one.
    pub fn remark(&self) -> Option<String> {
        let n_shed = lock(&self.guests).n_shed();
        (n_shed > 0).then(|| {
            format!(
                "our listener was crowded: all of its {CONNECTIONS} places were taken, and {n_shed} connections were broken off to make \
                 room; somebody may be keeping the CA out, so look who connects to the port, and limit it in the firewall"
            )
        })
    }

    /// Binds all addresses and has each connection served, unless that is so already.
    pub async fn open<F, S>(&mut self, serve: F) -> Result<(), AcmeError>
    where
        F: Fn(TcpStream) -> S + Clone + Send + Sync + 'static,
        S: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        if !self.accepting.is_empty() {
            return Ok(());
        }
        let mut n_tries = 1;
        let listeners = loop {
            match self.bind_all() {
                Err(AcmeError::PortTaken { holder: None, .. }) if n_tries < TRIES => {
                    n_tries += 1;
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                bound => break bound?,
            }
        };
        self.accepting = listeners
            .into_iter()
            .map(|listener| Accepting(tokio::spawn(accept(listener, serve.clone(), self.guests.clone()))))
            .collect();
        Ok(())
    }

    /// Closes; when it returns, the ports are free.
    pub async fn close(&mut self) {
        for mut task in self.accepting.drain(..) {
            task.0.abort();
            // Waited for, so that the port is free when we return.
            let _ = (&mut task.0).await;
        }
    }

    fn bind_all(&self) -> Result<Vec<TcpListener>, AcmeError> {
        if !self.addresses.is_empty() {
            return self.addresses.iter().map(|address| self.bind(*address)).collect();
        }
        let v6 = self.bind((Ipv6Addr::UNSPECIFIED, self.port).into());
        let v4 = self.bind((Ipv4Addr::UNSPECIFIED, self.port).into());
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
            // A host without one of the two families.
            (Ok(one), Err(AcmeError::Bind { .. })) | (Err(AcmeError::Bind { .. }), Ok(one)) => Ok(vec![one]),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    fn bind(&self, address: SocketAddr) -> Result<TcpListener, AcmeError> {
        let challenge = self.challenge.name();
        bind(address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => AcmeError::PortTaken {
                challenge,
                address,
                holder: port_holder::find(address),
            },
            kind => AcmeError::Bind {
                challenge,
                address,
                reason: match kind {
                    std::io::ErrorKind::PermissionDenied => {
                        "ports below 1024 are for root, or a process with CAP_NET_BIND_SERVICE".to_owned()
                    }
                    _ => error.to_string(),
                },
            },
        })
    }
}

/// Binds one address.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // So that `[::]` leaves room for `0.0.0.0` beside it.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until it is aborted.
async fn accept<F, S>(listener: TcpListener, serve: F, guests: Guests)
where
    F: Fn(TcpStream) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = std::io::Result<()>> + Send + 'static,
{
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Out of descriptors, most likely: a moment later there may be one.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        loop {
            let room = lock(&guests).make_room(Instant::now());
            match room {
                Room::Free => break,
                Room::Shed(surplus) => surplus.abort(),
                Room::Wait(moment) => tokio::time::sleep(moment.min(BETWEEN_TRIES)).await,
            }
        }
        let serve = serve.clone();
        // Held until it has entered: it cannot leave before.
        let mut crowd = lock(&guests);
        let all = guests.clone();
        crowd.enter(address.ip(), Instant::now(), |number| {
            let task = tokio::spawn(async move {
                // Who breaks off, or takes too long, is nobody's business here: the CA says what it saw.
                let _ = tokio::time::timeout(PATIENCE, serve(stream)).await;
                lock(&all).leave(number);
            });
            task.abort_handle()
        });
    }
}

fn lock(guests: &Guests) -> MutexGuard<'_, Crowd<AbortHandle>> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        io::IoSlice,
        mem::MaybeUninit,
        net::TcpListener as StdListener,
        os::{fd::AsFd as _, unix::net::UnixStream},
    };

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    /// Returns a listener that is in no process: on its way from one end to the other.
    fn on_its_way(listener: &StdListener) -> (UnixStream, UnixStream) {
        let ends = UnixStream::pair().unwrap();
        let fds = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        assert!(rights.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&ends.0, &[IoSlice::new(b"x")], &mut rights, SendFlags::empty()).unwrap();
        ends
    }

    #[tokio::test]
    async fn a_socket_that_nobody_has_any_more_is_waited_for() {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ends = on_its_way(&listener);
        drop(listener);
        let mut door = Door::new(ChallengeType::Http01, vec![address], 0);
        assert!(matches!(
            door.bind_all(),
            Err(AcmeError::PortTaken { holder: None, .. })
        ));
        // The first try comes before the socket goes.
        let (opened, ()) = tokio::join!(door.open(|_| async { Ok(()) }), async { drop(ends) });
        opened.unwrap();
        door.close().await;
    }

    /// Connects from an address, and says nothing.
    async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(to).await
    }

    /// Asks from another address, and returns the answer.
    async fn ask_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = connect_from(from, to).await?;
        stream.write_all(b"x").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        stream.write_all(b"served").await?;
        stream.shutdown().await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_holds_every_place_keeps_nobody_else_out() {
        let address = StdListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let mut door = Door::new(ChallengeType::Http01, vec![address], 0);
        door.open(echo).await.unwrap();
        assert_eq!(door.remark(), None);
        let flood = Ipv4Addr::new(127, 66, 6, 6);
        // Twice as many as there are places, all at once, and none of them says anything.
        let all = (0..2 * CONNECTIONS).map(|_| connect_from(flood, address));
        let held = futures_util::future::join_all(all).await;
        assert!(held.iter().all(Result::is_ok));
        let begun = Instant::now();
        for last in 1..=4 {
            let answer = ask_from(Ipv4Addr::new(127, 66, 7, last), address).await.unwrap();
            assert_eq!(answer, "served");
        }
        let taken = begun.elapsed();
        // A CA gives up after ten seconds or more; each place would have been held for four.
        assert!(taken < PATIENCE / 2, "{taken:?}");
        let remark = door.remark().unwrap();
        assert!(remark.contains("crowded"), "{remark}");
        door.close().await;
    }
}
