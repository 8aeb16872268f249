//! The TLS side of a probe: a handshake that accepts every chain and keeps it, to be judged afterwards.
//!
//! Whether a chain is trusted is decided by [`super::trust`], after the handshake. Refusing it in the handshake would
//! hide what an operator has to see: an expired, self-made or incomplete chain. Nothing secret is ever sent over such
//! a connection. The server must still prove that it holds the key of the leaf.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
};
use webpki::RawPublicKeyEntity;

use crate::model::certificate::Certificate;

/// Returns the client configuration of all probes: TLS 1.2 and 1.3, every chain accepted.
///
/// # Errors
/// When the crypto provider supports neither version, which aws-lc-rs does.
pub fn client_config() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AcceptAndShow {
        algorithms: provider.signature_verification_algorithms,
    });
    let mut config = builder(provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A resumed session repeats the certificates of the first: a probe has to see today's.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// Accepts every chain; checks that the handshake was signed by the leaf's key.
///
/// The key is taken out by our own parser, not by webpki, so that version 1 certificates, as an old `openssl x509`
/// makes them, can be shown too.
#[derive(Debug)]
struct AcceptAndShow {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptAndShow {
    fn spki(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
        let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        Ok(parsed.spki_der.into())
    }
}

impl ServerCertVerifier for AcceptAndShow {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = Self::spki(certificate)?;
        let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| CertificateError::BadEncoding)?;
        let candidates = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = candidates.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // In TLS 1.2 the scheme does not name the curve (RFC 5246, 7.4.1.4.1): each algorithm that fits is tried.
        let valid = candidates.iter().any(|algorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        });
        if valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = Self::spki(certificate)?;
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Tells in words why a handshake failed.
pub fn describe(error: &std::io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => error.to_string(),
        };
    };
    match tls {
        Error::AlertReceived(
            alert @ (rustls::AlertDescription::ProtocolVersion | rustls::AlertDescription::HandshakeFailure),
        ) => format!(
            "the server sent the alert {alert:?}: no common TLS (offered: TLS 1.2 and 1.3 with ECDHE)"
        ),
        Error::AlertReceived(alert) => format!("the server sent the alert {alert:?}"),
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "the server's key does not belong to the certificate that it sent".to_owned()
        }
        Error::InvalidCertificate(CertificateError::BadEncoding) => {
            "the server sent a certificate that cannot be read".to_owned()
        }
        Error::InvalidMessage(_) => "the server answered with something that is not TLS".to_owned(),
        other => other.to_string(),
    }
}
