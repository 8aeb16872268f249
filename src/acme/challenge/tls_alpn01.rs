//! tls-alpn-01 by a listener of our own (RFC 8737), bound only while the CA validates.
//!
//! A handshake that offers the protocol `acme-tls/1` alone, for a name that is being validated, gets a certificate that was
//! made for this and nothing else; every other handshake fails. Nothing is said after it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use time::Duration;
use tokio::{net::TcpStream, sync::Mutex as AsyncMutex};
use tokio_rustls::TlsAcceptor;

use super::{BoxFuture, ChallengeResponse, ChallengeType, Present, door::Door};
use crate::{acme::error::AcmeError, env::Clock};

/// The protocol's name (RFC 8737, 6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// tls-alpn-01 by a listener of our own.
pub struct Listener {
    door: AsyncMutex<Door>,
    names: Names,
    provider: Arc<CryptoProvider>,
}

/// The names of the moment, each with the token that its certificate answers.
type Names = Arc<Mutex<HashMap<String, (String, Arc<CertifiedKey>)>>>;

impl Listener {
    /// Names the addresses; without any, port 443 on every address family. Nothing is bound yet.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            door: AsyncMutex::new(Door::new(ChallengeType::TlsAlpn01, addresses, 443)),
            names: Names::default(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        }
    }

    async fn start(&self, responses: &[ChallengeResponse]) -> Result<(), AcmeError> {
        let answers = responses
            .iter()
            .map(|each| {
                let answer = (each.token.clone(), self.certificate(each)?);
                Ok((each.name.to_string(), answer))
            })
            .collect::<Result<Vec<_>, AcmeError>>()?;
        let mut door = self.door.lock().await;
        // Known before the first connection can come.
        lock(&self.names).extend(answers);
        let acceptor = TlsAcceptor::from(self.server()?);
        door.open(move |stream| greet(acceptor.clone(), stream)).await
    }

    async fn stop(&self, responses: &[ChallengeResponse]) {
        let mut door = self.door.lock().await;
        let is_idle = {
            let mut names = lock(&self.names);
            names.retain(|_, (token, _)| responses.iter().all(|each| each.token != *token));
            names.is_empty()
        };
        if is_idle {
            door.close().await;
        }
    }

    /// Makes the certificate for one name (RFC 8737, 3): self-signed, with this name alone, and with the digest of the key
    /// authorization in the critical extension `acmeIdentifier`.
    fn certificate(&self, response: &ChallengeResponse) -> Result<Arc<CertifiedKey>, AcmeError> {
        let failed = |_| {
            AcmeError::Invalid(format!(
                "no certificate could be made to prove control of {} by tls-alpn-01",
                response.name
            ))
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(vec![response.name.to_string()]).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        let now = Clock::System.now();
        (params.not_before, params.not_after) = (
            now.saturating_sub(Duration::DAY),
            now.saturating_add(Duration::WEEK),
        );
        let digest = digest::digest(&digest::SHA256, response.key_authorization.as_bytes());
        params
            .custom_extensions
            .push(CustomExtension::new_acme_identifier(digest.as_ref()));
        let certificate = params.self_signed(&key).map_err(failed)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let unusable = |error| AcmeError::Invalid(format!("the key for tls-alpn-01 cannot be used: {error}"));
        let signer = self
            .provider
            .key_provider
            .load_private_key(private)
            .map_err(unusable)?;
        // Not by `from_der`, which would read the certificate: nobody knows its critical extension but the CA.
        Ok(Arc::new(CertifiedKey::new(
            vec![certificate.der().clone()],
            signer,
        )))
    }

    fn server(&self) -> Result<Arc<ServerConfig>, AcmeError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| AcmeError::Invalid(format!("cannot set up TLS: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.names.clone())));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Nobody comes twice.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl Present for Listener {
    fn challenge_type(&self) -> ChallengeType {
        ChallengeType::TlsAlpn01
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(self.start(responses))
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            self.stop(responses).await;
            Ok(())
        })
    }

    fn remark(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { self.door.lock().await.remark() })
    }
}

fn lock(names: &Names) -> MutexGuard<'_, HashMap<String, (String, Arc<CertifiedKey>)>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes one handshake and closes. The sizes of handshake messages are limited by rustls.
async fn greet(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = acceptor.accept(stream).await?;
    stream.shutdown().await
}

/// Finds the certificate for a name that is being validated.
#[derive(Debug)]
struct Resolver(Names);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737, 3: the client offers this protocol and nothing else.
        let mut protocols = hello.alpn()?;
        if protocols.next() != Some(PROTOCOL) || protocols.next().is_some() {
            return None;
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        lock(&self.0)
            .get(&name)
            .map(|(_, certificate)| certificate.clone())
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime},
    };
    use tokio_rustls::TlsConnector;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    /// Takes any certificate: what it says is looked at afterwards.
    #[derive(Debug)]
    struct Anything(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    fn response(name: &str, token: &str) -> ChallengeResponse {
        ChallengeResponse {
            name: name.parse().unwrap(),
            token: token.into(),
            key_authorization: format!("{token}.thumb"),
            txt: String::new(),
        }
    }

    fn free_address(last: u8) -> SocketAddr {
        std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 64, 8, last), 0))
            .unwrap()
            .local_addr()
            .unwrap()
    }

    /// Makes a handshake; returns the certificate that was shown.
    async fn shake(address: SocketAddr, name: &str, protocols: &[&[u8]]) -> std::io::Result<Vec<u8>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.alpn_protocol(), Some(PROTOCOL));
        Ok(connection.peer_certificates().unwrap()[0].to_vec())
    }

    #[tokio::test]
    async fn shows_each_name_its_own_certificate_and_nobody_else_any() {
        let address = free_address(1);
        let listener = Listener::new(vec![address]);
        let responses = [response("a.example.test", "t1"), response("b.example.test", "t2")];
        listener.present(&responses).await.unwrap();
        for each in &responses {
            let der = shake(address, &each.name.to_string().to_uppercase(), &[PROTOCOL])
                .await
                .unwrap();
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            let names = &certificate
                .subject_alternative_name()
                .unwrap()
                .unwrap()
                .value
                .general_names;
            assert_eq!(format!("{names:?}"), format!("[DNSName(\"{}\")]", each.name));
            let proof = certificate
                .extensions()
                .iter()
                .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
                .unwrap();
            let digest = digest::digest(&digest::SHA256, each.key_authorization.as_bytes());
            assert!(proof.critical);
            assert_eq!(proof.value, [&[4, 32], digest.as_ref()].concat());
            assert_eq!(certificate.issuer(), certificate.subject());
        }
        for (name, protocols) in [
            ("c.example.test", &[PROTOCOL][..]),
            ("a.example.test", &[]),
            ("a.example.test", &[b"http/1.1"]),
            ("a.example.test", &[b"http/1.1", PROTOCOL]),
            ("127.64.8.1", &[PROTOCOL]),
        ] {
            assert!(
                shake(address, name, protocols).await.is_err(),
                "{name} {protocols:?}"
            );
        }
        listener.cleanup(&responses[..1]).await.unwrap();
        assert!(shake(address, "a.example.test", &[PROTOCOL]).await.is_err());
        assert!(shake(address, "b.example.test", &[PROTOCOL]).await.is_ok());
        listener.cleanup(&responses).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
        std::net::TcpListener::bind(address).unwrap();
    }

    #[tokio::test]
    async fn says_who_has_the_port() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::new(vec![taken.local_addr().unwrap()]);
        let error = listener
            .present(&[response("a.example.test", "t")])
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("for tls-alpn-01") && error.to_string().contains("has the port"),
            "{error}"
        );
    }
}
