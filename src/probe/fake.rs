//! For tests: a small CA, and mail servers on loopback that behave well or badly as scripted.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    pki_types::PrivateKeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::trust::Roots;
use crate::model::{certificate::Sha256, endpoint::Endpoint};

/// A root and an intermediate that it signed.
pub struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A chain as a server has it, leaf first, and the key of the leaf.
#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<Vec<u8>>,
    pub key: Vec<u8>,
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Pki {
    pub fn new() -> Self {
        let root =
            CertifiedIssuer::self_signed(ca_params("Fake Root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let intermediate = CertifiedIssuer::signed_by(ca_params("Fake Intermediate"), key, &root).unwrap();
        Self { root, intermediate }
    }

    pub fn roots(&self) -> Roots {
        Roots::from_ders([self.root.der()])
    }

    pub fn root_der(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    /// Issues a chain of leaf and intermediate.
    pub fn issue(&self, names: &[&str], from: OffsetDateTime, to: OffsetDateTime) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = params("", names);
        (params.not_before, params.not_after) = (from, to);
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        Identity {
            chain: vec![leaf.der().to_vec(), self.intermediate.der().to_vec()],
            key: key.serialize_der(),
        }
    }

    /// Issues a chain that is valid in this century.
    pub fn issue_for(&self, name: &str) -> Identity {
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        self.issue(&[name], day(2001), day(2099))
    }
}

impl Identity {
    /// Makes a leaf that is its own issuer.
    pub fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let leaf = params(name, &[name]).self_signed(&key).unwrap();
        Self {
            chain: vec![leaf.der().to_vec()],
            key: key.serialize_der(),
        }
    }

    pub fn leaf(&self) -> Sha256 {
        Sha256::of(&self.chain[0])
    }

    fn config(&self) -> Arc<ServerConfig> {
        let key = any_supported_type(&PrivateKeyDer::Pkcs8(self.key.clone().into())).unwrap();
        let chain = self.chain.iter().map(|der| der.clone().into()).collect();
        // Not `with_single_cert`, which would refuse a key of another certificate.
        let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        Arc::new(config)
    }
}

/// What a server does with one connection.
#[derive(Clone)]
pub enum Script {
    /// Closes it.
    Close,
    /// Says this and then nothing more.
    Say(Vec<u8>),
    /// Speaks SMTP.
    Smtp(Smtp),
}

/// An SMTP server's answers.
#[derive(Clone)]
pub struct Smtp {
    pub greeting: &'static str,
    pub ehlo: &'static str,
    pub starttls: &'static str,
    pub rcpt: &'static str,
    /// What follows the answer to STARTTLS: a handshake, these bytes, or the end.
    pub tls: After,
    /// TLS from the first byte.
    pub implicit: bool,
}

#[derive(Clone)]
pub enum After {
    Bytes(&'static [u8]),
    Close,
    Tls(Identity),
}

impl Smtp {
    pub fn good(identity: Identity) -> Self {
        Self {
            greeting: "220-mail.example.test please\r\n220 wait\r\n",
            ehlo: "250-mail.example.test\r\n250-SIZE 100\r\n250-StartTLS\r\n250 SMTPUTF8\r\n",
            starttls: "220 2.0.0 Ready\r\n",
            rcpt: "250 2.1.5 Ok\r\n",
            tls: After::Tls(identity),
            implicit: false,
        }
    }
}

/// A server that does as its scripts say; it ends with the test's runtime.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server; the script for the n-th connection, from 0, comes from `script`.
    pub async fn start(script: impl Fn(usize) -> Script + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::new(AtomicUsize::new(0)),
            heard: Arc::default(),
        };
        let (connections, heard) = (server.connections.clone(), server.heard.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = script(connections.fetch_add(1, Ordering::SeqCst));
                let heard = heard.clone();
                tokio::spawn(async move { serve(stream, script, &heard).await });
            }
        });
        server
    }

    pub fn endpoint(&self, scheme: &str) -> Endpoint {
        format!("{scheme}://{}", self.address).parse().unwrap()
    }

    /// Returns how many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns the commands that were heard, in their order.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

type Heard = std::sync::Mutex<Vec<String>>;

async fn serve(mut stream: TcpStream, script: Script, heard: &Heard) -> Option<()> {
    match script {
        Script::Close => Some(()),
        Script::Say(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            let mut sink = Vec::new();
            stream.read_to_end(&mut sink).await.ok().map(|_| ())
        }
        Script::Smtp(smtp) if smtp.implicit => {
            let After::Tls(identity) = smtp.tls.clone() else {
                return None;
            };
            let stream = TlsAcceptor::from(identity.config()).accept(stream).await.ok()?;
            let mut stream = BufReader::new(stream);
            stream.write_all(smtp.greeting.as_bytes()).await.ok()?;
            talk(&mut stream, &smtp, heard).await.map(|_| ())
        }
        Script::Smtp(smtp) => {
            let mut stream = BufReader::new(stream);
            stream.write_all(smtp.greeting.as_bytes()).await.ok()?;
            if talk(&mut stream, &smtp, heard).await? == Next::Quit {
                return Some(());
            }
            match &smtp.tls {
                After::Close => Some(()),
                After::Bytes(bytes) => {
                    stream.write_all(bytes).await.ok()?;
                    let mut sink = Vec::new();
                    stream.read_to_end(&mut sink).await.ok().map(|_| ())
                }
                After::Tls(identity) => {
                    let accepted = TlsAcceptor::from(identity.config())
                        .accept(stream.into_inner())
                        .await;
                    talk(&mut BufReader::new(accepted.ok()?), &smtp, heard)
                        .await
                        .map(|_| ())
                }
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Quit,
    Tls,
}

async fn talk(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    smtp: &Smtp,
    heard: &Heard,
) -> Option<Next> {
    let mut is_message = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let command = line.trim_end().to_owned();
        let (answer, next) = match command.split(' ').next().unwrap() {
            "EHLO" => (smtp.ehlo, None),
            "MAIL" => ("250 2.1.0 Ok\r\n", None),
            "RCPT" => (smtp.rcpt, None),
            "RSET" => ("250 2.0.0 Ok\r\n", None),
            "AUTH" if command == "AUTH LOGIN" => ("334 VXNlcm5hbWU6\r\n", None),
            "AUTH" => ("235 2.7.0 Authentication successful\r\n", None),
            // The two answers of AUTH LOGIN.
            "YWxpY2U=" => ("334 UGFzc3dvcmQ6\r\n", None),
            "c2VjcmV0" => ("235 2.7.0 Authentication successful\r\n", None),
            "DATA" => ("354 End data with <CR><LF>.<CR><LF>\r\n", None),
            _ if is_message => {
                is_message = command != ".";
                let taken = "250 2.0.0 Ok: queued as 4ABC\r\n";
                (if is_message { "" } else { taken }, None)
            }
            "STARTTLS" => (
                smtp.starttls,
                smtp.starttls.starts_with("220").then_some(Next::Tls),
            ),
            "QUIT" => ("221 2.0.0 Bye\r\n", Some(Next::Quit)),
            _ => ("500 5.5.2 what?\r\n", None),
        };
        is_message |= command == "DATA";
        heard.lock().unwrap().push(command);
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        if next.is_some() {
            return next;
        }
    }
}
