//! Certificates, bundles, keys, requests and CRLs, in whatever form.

use mailcert::{
    acme::renewal_info::CertificateId,
    ca::{request, revocation_list},
    model::{
        bundle::{self, Bundle},
        certificate::{Certificate, Chain, certificates_from_pem},
        key::{
            PrivateKey,
            encrypted::{self, Passphrase},
        },
        name::{DomainName, Identifier},
        pem, request as own_request,
    },
};
use time::OffsetDateTime;

/// What is asked of every certificate.
fn examine(certificate: &Certificate) {
    let now = OffsetDateTime::UNIX_EPOCH;
    let host: DomainName = "mail.example.test".parse().unwrap();
    let _ = (certificate.covers(&host), certificate.validity_at(now));
    let _ = (
        certificate.lifetime(),
        certificate.time_left(now),
        certificate.serial_hex(),
    );
    let id = CertificateId::of(&certificate.der);
    if let (Some(ours), Ok(theirs)) = (certificate.renewal_info_id(), id) {
        assert_eq!(ours, theirs.to_string());
    }
    let again = certificates_from_pem(certificate.to_pem().as_bytes()).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].sha256, certificate.sha256);
}

/// A certificate, DER.
pub fn certificate(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(data) {
        examine(&certificate);
        let chain = Chain::of(certificate.clone(), vec![certificate]);
        assert_eq!(chain.iter().count(), 1);
    }
    let _ = CertificateId::of(data);
}

/// What a CA or a person sends: PEM, DER, PKCS#7, PKCS#12; and a chain as an ACME CA sends it.
pub fn bundle(data: &[u8]) {
    let passphrase = Passphrase::from_line(b"fuzz").unwrap();
    for passphrase in [None, Some(&passphrase)] {
        if let Ok(found) = Bundle::read(data, passphrase) {
            assert!(!found.certificates.is_empty());
            for certificate in &found.certificates {
                examine(certificate);
            }
            if let Ok(chain) = Chain::from_certificates(found.certificates) {
                let again = Chain::from_pem(chain.to_pem().as_bytes()).unwrap();
                assert_eq!(again.to_pem(), chain.to_pem());
            }
        }
        let _ = bundle::read_key(data, passphrase);
    }
    if let Ok(chain) = Chain::from_pem(data) {
        assert!(chain.to_pem().starts_with(&chain.leaf.to_pem()));
    }
    let wanted: [Identifier; 1] = ["mail.example.test".parse().unwrap()];
    let _ = mailcert::acme::chain::Chain::check(data, data, &wanted);
}

/// Private keys: PEM, PKCS#8, JWK, behind a passphrase.
pub fn key(data: &[u8]) {
    let passphrase = Passphrase::from_line(b"fuzz").unwrap();
    let _ = encrypted::is_encrypted(data);
    let found = [
        PrivateKey::from_pem(data),
        PrivateKey::from_pkcs8_der(data),
        PrivateKey::from_jwk(data),
        encrypted::decrypt(data, &passphrase),
    ];
    for key in found.into_iter().flatten() {
        let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(again.public_key_sha256(), key.public_key_sha256());
    }
    let _ = Passphrase::from_line(data);
}

/// Requests that are to be signed.
pub fn request(data: &[u8]) {
    match request::read(data) {
        Ok(found) => assert!(!found.names.is_empty() && !found.spki.is_empty()),
        Err(error) => super::assert_harmless(&error.to_string()),
    }
    let _ = request::read_key(data);
    if let Some(der) = own_request::from_pem(data) {
        assert_eq!(
            own_request::from_pem(own_request::to_pem(&der).as_bytes()),
            Some(der)
        );
    }
    if let Some(der) = pem::read(&["X"], data) {
        assert_eq!(pem::read(&["X"], pem::write("X", &der).as_bytes()), Some(der));
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(subject) = text.parse::<own_request::Subject>() {
        let _ = subject.to_der();
    }
    if let Ok(name) = text.parse::<mailcert::ca::name::AltName>() {
        assert_eq!(
            name.to_string().parse::<mailcert::ca::name::AltName>().as_ref(),
            Ok(&name)
        );
    }
}

/// Revocation lists.
pub fn crl(data: &[u8]) {
    let _ = revocation_list::read(data);
}
