//! A front for Pebble that fails on demand: what no CA should do, at the very step where it should not.
//!
//! Pebble makes its URLs from the Host header, so a client that begins at the front stays with it. Each connection
//! carries one request.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{LoopbackAddress, Pebble, Scratch, pebble::HttpsPki};

/// Where the front listens.
const PORT: u16 = 14000;

/// What is done with a request instead of answering it as Pebble does.
#[derive(Clone, Debug)]
pub enum Fault {
    /// These bytes are the answer; Pebble is not asked.
    Answer(String),
    /// The connection ends; Pebble never hears of the request.
    CutBefore,
    /// Pebble does what it is asked, but its answer is lost.
    CutAfter,
    /// A hundred mebibytes.
    Flood,
    /// Nothing, until the client goes away.
    Silence,
    /// Pebble does what it is asked; the client waits for the answer until it goes away.
    SilenceAfter,
}

impl Fault {
    /// Returns a whole answer with these header lines, each with its CRLF.
    pub fn status(status: &str, headers: &str, body: &str) -> Self {
        Self::Answer(format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    }
}

/// The front, and its own HTTPS.
pub struct FaultyCa {
    address: SocketAddr,
    root_ca_file: PathBuf,
    inner: Arc<Inner>,
    _address: LoopbackAddress,
}

struct Inner {
    pebble: SocketAddr,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// What the next requests with such a beginning suffer, and how many of them.
    fault: Mutex<Option<(String, Fault, usize)>>,
    requests: Mutex<Vec<String>>,
    n_silent: AtomicUsize,
    ended: AtomicBool,
}

impl FaultyCa {
    /// Starts a front that passes everything on.
    pub fn start(scratch: &Scratch, pebble: &Pebble) -> Self {
        let own = LoopbackAddress::take(scratch);
        let pki = HttpsPki::new(&own);
        let root_ca_file = scratch.file("front/https-root.pem", &pki.root);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_slice(pki.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pki.private_key.as_bytes()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(pebble.root_ca_file()).unwrap())
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = own.port(PORT);
        let inner = Arc::new(Inner {
            pebble: pebble.address(),
            server: Arc::new(server),
            client: Arc::new(client),
            fault: Mutex::new(None),
            requests: Mutex::default(),
            n_silent: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let listener = TcpListener::bind(address).unwrap();
        let accepting = inner.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let inner = accepting.clone();
                // A client that hangs up is no failure of the front.
                thread::spawn(move || inner.serve(stream));
            }
        });
        Self {
            address,
            root_ca_file,
            inner,
            _address: own,
        }
    }

    /// Returns the URL of its ACME directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Returns the file with the root that its HTTPS is verified by.
    pub fn root_ca_file(&self) -> &Path {
        &self.root_ca_file
    }

    /// Returns a configuration that asks this front instead of Pebble.
    pub fn configure(&self, text: &str, pebble: &Pebble) -> String {
        let path = |path: &Path| format!("{path:?}");
        text.replace(&pebble.directory(), &self.directory())
            .replace(&path(pebble.root_ca_file()), &path(&self.root_ca_file))
    }

    /// From now on, requests that begin so (`POST /order-plz`) suffer this.
    pub fn fail(&self, beginning: &str, fault: Fault) {
        self.fail_times(beginning, fault, usize::MAX);
    }

    /// The next `n` requests that begin so suffer this.
    pub fn fail_times(&self, beginning: &str, fault: Fault, n: usize) {
        *self.inner.fault.lock().unwrap() = Some((beginning.to_owned(), fault, n));
    }

    /// From now on, all is passed on.
    pub fn heal(&self) {
        *self.inner.fault.lock().unwrap() = None;
    }

    /// Returns how many clients were made to wait.
    pub fn n_silent(&self) -> usize {
        self.inner.n_silent.load(Ordering::SeqCst)
    }

    /// Returns how many requests have come.
    pub fn n_requests(&self) -> usize {
        self.inner.requests.lock().unwrap().len()
    }

    /// Returns how many requests have come that begin so.
    pub fn count(&self, beginning: &str) -> usize {
        let requests = self.inner.requests.lock().unwrap();
        requests.iter().filter(|line| line.starts_with(beginning)).count()
    }
}

impl Drop for FaultyCa {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    /// Serves one connection.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let connection = ServerConnection::new(self.server.clone()).map_err(io::Error::other)?;
        let mut client = StreamOwned::new(connection, stream);
        let (head, body) = read_request(&mut client)?;
        let line = head.lines().next().unwrap_or_default().to_owned();
        self.requests.lock().unwrap().push(line.clone());
        match self.next_fault(&line) {
            None => {
                let answer = self.ask_pebble(&head, &body)?;
                client.write_all(&answer)?;
            }
            Some(Fault::Answer(bytes)) => client.write_all(bytes.as_bytes())?,
            Some(Fault::CutBefore) => return client.sock.shutdown(Shutdown::Both),
            Some(Fault::CutAfter) => {
                self.ask_pebble(&head, &body)?;
                return client.sock.shutdown(Shutdown::Both);
            }
            Some(Fault::Flood) => {
                client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                for _ in 0..1600 {
                    client.write_all(&[b' '; 65536])?;
                }
            }
            Some(fault @ (Fault::Silence | Fault::SilenceAfter)) => {
                if matches!(fault, Fault::SilenceAfter) {
                    self.ask_pebble(&head, &body)?;
                }
                self.n_silent.fetch_add(1, Ordering::SeqCst);
                let mut byte = [0];
                let _ = client.read(&mut byte);
            }
        }
        client.conn.send_close_notify();
        client.flush()
    }

    /// Returns what a request suffers.
    fn next_fault(&self, line: &str) -> Option<Fault> {
        let mut fault = self.fault.lock().unwrap();
        let (beginning, fault, n_left) = fault.as_mut()?;
        let suffers = *n_left > 0 && line.starts_with(beginning.as_str());
        *n_left -= usize::from(suffers);
        suffers.then(|| fault.clone())
    }

    /// Passes a request on and returns the whole answer.
    fn ask_pebble(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect(self.pebble)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::from(self.pebble.ip());
        let connection = ClientConnection::new(self.client.clone(), name).map_err(io::Error::other)?;
        let mut pebble = StreamOwned::new(connection, stream);
        let head = head.trim_end();
        pebble.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())?;
        pebble.write_all(body)?;
        let mut answer = Vec::new();
        match pebble.read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    }
}

/// Reads a request: its head with the empty line, and its body.
fn read_request(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut fill = |bytes: &mut Vec<u8>| match stream.read(&mut chunk)? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        n_read => {
            bytes.extend_from_slice(&chunk[..n_read]);
            Ok(())
        }
    };
    let end = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => fill(&mut bytes)?,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())
            .flatten()
    });
    let whole = end + length.unwrap_or(0);
    while bytes.len() < whole {
        fill(&mut bytes)?;
    }
    Ok((head, bytes.split_off(end)))
}
