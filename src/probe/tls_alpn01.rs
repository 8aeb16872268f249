//! Looks at a tls-alpn-01 challenge as a CA does (RFC 8737, 3): one handshake with port 443 of one address.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::{http01::Look, tls};
use crate::model::name::DomainName;

/// The protocol's name (RFC 8737, 6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";
/// The port that CAs connect to.
const PORT: u16 = 443;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(4);
/// How long the handshake may take.
const PATIENCE: Duration = Duration::from_secs(6);
/// The object identifier of `acmeIdentifier`.
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Makes the handshake for `name` with one of its addresses.
pub async fn look(name: &DomainName, address: IpAddr, key_authorization: &str) -> Look {
    let target = SocketAddr::new(address, PORT);
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Look::Unreachable(error.to_string()),
        Err(_) => return Look::Unreachable(format!("no connection within {} s", CONNECT.as_secs())),
    };
    match tokio::time::timeout(PATIENCE, shake(name, stream)).await {
        Ok(Ok(der)) => judge(name, &der, key_authorization),
        Ok(Err(look)) => look,
        Err(_) => Look::Wrong(format!(
            "it took the connection and made no handshake within {} s",
            PATIENCE.as_secs()
        )),
    }
}

/// Makes the handshake; returns the certificate that was shown.
async fn shake(name: &DomainName, stream: TcpStream) -> Result<Vec<u8>, Look> {
    let config = tls::client_config().map_err(|error| Look::Unreachable(error.to_string()))?;
    let mut config = config.as_ref().clone();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let server_name =
        ServerName::try_from(name.to_string()).map_err(|error| Look::Wrong(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(server_name, stream)
        .await
        .map_err(|error| {
            Look::Wrong(format!(
                "it makes no handshake for the protocol acme-tls/1: {}",
                tls::describe(&error)
            ))
        })?;
    let (_, connection) = stream.get_ref();
    if connection.alpn_protocol() != Some(PROTOCOL) {
        return Err(Look::Wrong(
            "it does not know the protocol acme-tls/1: another web server has the port".to_owned(),
        ));
    }
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    shown
        .map(|certificate| certificate.to_vec())
        .ok_or_else(|| Look::Wrong("it shows no certificate".to_owned()))
}

/// Holds the certificate against what a CA wants to see in it.
fn judge(name: &DomainName, der: &[u8], key_authorization: &str) -> Look {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Look::Wrong("it shows a certificate that cannot be read".to_owned());
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| extension.value.general_names.as_slice());
    let is_for_the_name = matches!(
        names.unwrap_or_default(),
        [GeneralName::DNSName(only)] if only.eq_ignore_ascii_case(name.as_str())
    );
    if !is_for_the_name {
        return Look::Wrong(format!("it shows a certificate that is not for {name} alone"));
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key_authorization.as_bytes());
    // An OCTET STRING of 32 bytes.
    let expected = [&[4, 32], digest.as_ref()].concat();
    let proves = certificate.extensions().iter().any(|extension| {
        extension.critical
            && extension.oid.to_id_string() == ACME_IDENTIFIER
            && extension.value == expected.as_slice()
    });
    if proves {
        Look::Right
    } else {
        Look::Wrong("its certificate proves another challenge: another ACME client has the port".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn shown(names: &[&str], proof: Option<&str>) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if let Some(proof) = proof {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, proof.as_bytes());
            params
                .custom_extensions
                .push(CustomExtension::new_acme_identifier(digest.as_ref()));
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn takes_the_one_certificate_that_a_ca_would_take() {
        let name: DomainName = "a.example.test".parse().unwrap();
        let check = |der: &[u8], expected: &str| match judge(&name, der, "t.thumb") {
            Look::Right => assert_eq!(expected, ""),
            Look::Wrong(reason) | Look::Unreachable(reason) => {
                assert!(!expected.is_empty() && reason.contains(expected), "{reason}");
            }
        };
        check(&shown(&["A.example.test"], Some("t.thumb")), "");
        check(&shown(&["a.example.test"], Some("t.other")), "another challenge");
        check(&shown(&["a.example.test"], None), "another challenge");
        check(
            &shown(&["b.example.test"], Some("t.thumb")),
            "not for a.example.test",
        );
        check(
            &shown(&["a.example.test", "b.example.test"], Some("t.thumb")),
            "alone",
        );
        check(b"", "cannot be read");
    }
}
