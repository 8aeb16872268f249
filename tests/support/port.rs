//! A port of one test's own that answers as the test says, by the world as it is when a connection comes in.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::pem::PemObject};

use super::authority::Identity;

/// What a connection gets.
#[derive(Clone)]
pub enum Answer {
    /// It is closed at once.
    Close,
    /// SMTP in clear text, without STARTTLS.
    Plain,
    /// Nothing, until the client leaves.
    Silence,
    /// TLS at once, then SMTP.
    Tls(Arc<ServerConfig>),
}

impl Answer {
    /// Returns TLS with this certificate.
    pub fn tls(identity: &Identity) -> Self {
        Self::tls_of(&identity.fullchain, &identity.private_key)
    }

    /// Returns TLS with this chain and key, as PEM.
    pub fn tls_of(fullchain: &str, private_key: &str) -> Self {
        let chain = rustls::pki_types::CertificateDer::pem_slice_iter(fullchain.as_bytes());
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(private_key.as_bytes());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key.unwrap());
        Self::Tls(Arc::new(config.unwrap()))
    }
}

/// A listening port; it ends on drop.
pub struct Port {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Port {
    /// Listens, and asks `answer` at each connection.
    pub fn serve(address: SocketAddr, answer: impl Fn() -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), answer) = (stream, answer()) else {
                    continue;
                };
                // A client that leaves in the middle is no failure of the test.
                thread::spawn(move || drop(converse(stream, answer)));
            }
        });
        Self { address, ended }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn converse(mut stream: TcpStream, answer: Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    match answer {
        Answer::Close => Ok(()),
        Answer::Plain => smtp(&mut stream),
        Answer::Silence => stream.read(&mut [0; 512]).map(drop),
        Answer::Tls(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            smtp(&mut StreamOwned::new(connection, stream))
        }
    }
}

/// Greets, and says yes to everything.
fn smtp(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"220 port.example.test ESMTP\r\n")?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        line.push(byte[0]);
        if byte[0] != b'\n' {
            continue;
        }
        let quits = line.to_ascii_uppercase().starts_with(b"QUIT");
        stream.write_all(if quits {
            b"221 2.0.0 Bye\r\n"
        } else {
            b"250 2.0.0 Ok\r\n"
        })?;
        if quits {
            return stream.flush();
        }
        line.clear();
    }
    Ok(())
}
