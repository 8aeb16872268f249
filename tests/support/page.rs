//! A web server by TLS that answers as no honest one does.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::authority::Identity;

/// What it does with every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// An octet of the body now and then, without end.
    Drip,
    /// A body without end.
    Flood,
    /// A head without end.
    Head,
    /// This answer, whole.
    Says(&'static str),
}

/// A listening server; it ends on drop.
pub struct HostilePage {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    n_requests: Arc<AtomicUsize>,
}

impl HostilePage {
    /// Listens, with a certificate that clients take.
    pub fn serve(address: SocketAddr, identity: &Identity, conduct: Conduct) -> Self {
        let chain = CertificateDer::pem_slice_iter(identity.fullchain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.private_key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind(address).unwrap());
        let (ended, n_requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (seen, counted) = (Arc::clone(&ended), Arc::clone(&n_requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let (config, seen) = (Arc::clone(&config), Arc::clone(&seen));
                // A client that leaves in the middle is no failure of the test.
                thread::spawn(move || _ = answer(stream, config, conduct, &seen));
            }
        });
        Self {
            address,
            ended,
            n_requests,
        }
    }

    /// Returns how many connections there were.
    pub fn n_requests(&self) -> usize {
        self.n_requests.load(Ordering::SeqCst)
    }
}

impl Drop for HostilePage {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    conduct: Conduct,
    ended: &AtomicBool,
) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    let (head, part, pause) = match conduct {
        Conduct::Says(text) => {
            stream.write_all(text.as_bytes())?;
            stream.conn.send_close_notify();
            return stream.flush();
        }
        Conduct::Drip => (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
            "v".to_owned(),
            200,
        ),
        Conduct::Flood => (
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
            "version: STSv1\r\n".repeat(1000),
            0,
        ),
        Conduct::Head => ("HTTP/1.1 200 OK\r\n", "X-Line: \u{7}\r\n".repeat(100), 0),
    };
    stream.write_all(head.as_bytes())?;
    while !ended.load(Ordering::SeqCst) {
        stream.write_all(part.as_bytes())?;
        stream.flush()?;
        thread::sleep(Duration::from_millis(pause));
    }
    Ok(())
}
