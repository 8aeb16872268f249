//! Between us and a DNS server: whatever comes is handed on, and somebody else edits the zone right before each update.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hickory_proto::op::{Message, OpCode};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody does who is told the owner name and the type that an update is about.
pub type Edit = Box<dyn FnMut(&str, &str) + Send>;

/// A relay of datagrams and connections, until it is dropped.
pub struct Between {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    edit: Arc<Mutex<Option<Edit>>>,
}

impl Between {
    /// Listens at one address and hands on to the other; nobody edits yet.
    pub fn open(at: SocketAddr, to: SocketAddr) -> Self {
        let edit = Arc::new(Mutex::new(None));
        let ended = Arc::new(AtomicBool::new(false));
        let (datagrams, connections) = (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap());
        let seen = Arc::clone(&ended);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(answer) = by_udp(&buffer[..length], to) {
                    let _ = datagrams.send_to(&answer, client);
                }
            }
        });
        let (seen, editing) = (Arc::clone(&ended), Arc::clone(&edit));
        thread::spawn(move || {
            for stream in connections.incoming().flatten() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let _ = by_tcp(stream, to, &editing);
            }
        });
        Self {
            address: at,
            ended,
            edit,
        }
    }

    /// Has somebody edit from now on.
    pub fn edits(&self, edit: impl FnMut(&str, &str) + Send + 'static) {
        *self.edit.lock().unwrap() = Some(Box::new(edit));
    }

    /// Has nobody edit any more.
    pub fn rests(&self) {
        *self.edit.lock().unwrap() = None;
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Ok(socket) = UdpSocket::bind((self.address.ip(), 0)) {
            let _ = socket.send_to(b"end", self.address);
        }
        let _ = TcpStream::connect(self.address);
    }
}

fn by_udp(question: &[u8], to: SocketAddr) -> io::Result<Vec<u8>> {
    let onward = UdpSocket::bind((to.ip(), 0))?;
    onward.set_read_timeout(Some(PATIENCE))?;
    onward.send_to(question, to)?;
    let mut answer = vec![0; 65_535];
    let (length, _) = onward.recv_from(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn by_tcp(mut stream: TcpStream, to: SocketAddr, edit: &Mutex<Option<Edit>>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = framed(&mut stream)?;
    let message = Message::from_vec(&question).map_err(io::Error::other)?;
    let about = message
        .authorities
        .first()
        .filter(|_| message.metadata.op_code == OpCode::Update);
    if let (Some(record), Some(edit)) = (about, edit.lock().unwrap().as_mut()) {
        edit(&record.name.to_ascii(), &record.record_type().to_string());
    }
    let mut onward = TcpStream::connect(to)?;
    onward.set_read_timeout(Some(PATIENCE))?;
    send(&mut onward, &question)?;
    let answer = framed(&mut onward)?;
    send(&mut stream, &answer)
}

/// Reads one message with its length before it (RFC 1035, 4.2.2).
fn framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}
