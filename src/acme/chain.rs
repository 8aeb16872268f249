//! The chain that a CA sent: is it the certificate we asked for? Pure.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject},
};
use webpki::RawPublicKeyEntity;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::model::{
    der::{Reader, SEQUENCE},
    name::Identifier,
};

/// How many certificates a chain may have.
const LONGEST: usize = 16;

/// A chain, leaf first, that was found to be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The certificates, DER, leaf first; the root is left out by the CA.
    pub certificates: Vec<Vec<u8>>,
}

impl Chain {
    /// Reads a chain (RFC 8555, 9.1) and checks that its leaf answers this request: same public key, same identifiers;
    /// and that it was signed by one of the others, where there are any, and that one again.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn check(pem: &[u8], request_der: &[u8], identifiers: &[Identifier]) -> Result<Self, String> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .take(LONGEST + 1)
            .map(|certificate| {
                certificate
                    .map(|der| der.to_vec())
                    .map_err(|error| format!("it is no PEM: {error}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if certificates.len() > LONGEST {
            return Err(format!("its chain has more than {LONGEST} certificates"));
        }
        let parsed = certificates
            .iter()
            .map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("it is no X.509: {error}"))?;
        let (leaf, issuers) = parsed.split_first().ok_or("there is no certificate in it")?;
        let (_, request) = X509CertificationRequest::from_der(request_der)
            .map_err(|error| format!("our own request is damaged: {error}"))?;
        if leaf.public_key().raw != request.certification_request_info.subject_pki.raw {
            return Err("it has another public key".to_owned());
        }
        let wanted: BTreeSet<String> = identifiers.iter().map(ToString::to_string).collect();
        let names = names(leaf)?;
        if names != wanted {
            let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("it is for {}, not for {}", list(names), list(wanted)));
        }
        if !issuers.is_empty() {
            is_signed(leaf, &certificates, &parsed)?;
        }
        Ok(Self { certificates })
    }

    /// Returns the common name of who issued the topmost certificate; without one, its whole name.
    pub fn topmost_issuer(&self) -> String {
        let top = self.certificates.last();
        let top = top.and_then(|der| X509Certificate::from_der(der).ok());
        let Some((_, top)) = top else {
            return String::new();
        };
        let name = top.issuer().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok()).map(str::to_owned);
        name.unwrap_or_else(|| top.issuer().to_string())
    }

    /// Returns the chain as PEM with line feeds, nothing between the certificates.
    pub fn to_pem(&self) -> String {
        let mut pem = String::new();
        for der in &self.certificates {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            let text = BASE64_STANDARD.encode(der);
            for line in text.as_bytes().chunks(64) {
                pem.extend(line.iter().map(|byte| char::from(*byte)));
                pem.push('\n');
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        pem
    }
}

/// Looks whether the chain holds: the leaf was signed by one of the others, that one by another, as far as they go. What
/// stands beside that does no harm: servers have strays in their chains, and clients pass over them.
fn is_signed(
    leaf: &X509Certificate<'_>,
    ders: &[Vec<u8>],
    certificates: &[X509Certificate<'_>],
) -> Result<(), String> {
    let (mut last, mut last_der) = (leaf, ders.first().map(Vec::as_slice).unwrap_or_default());
    let mut others: Vec<_> = ders.iter().zip(certificates).skip(1).collect();
    while !is_self_issued(last) {
        let named = |(_, other): &(&Vec<u8>, &X509Certificate<'_>)| {
            other.subject().as_raw() == last.issuer().as_raw()
        };
        if !others.iter().any(named) {
            break;
        }
        let found = others
            .iter()
            .position(|pair| named(pair) && signed(last, last_der, pair.1));
        let Some(index) = found else {
            let who = match std::ptr::eq(last, leaf) {
                true => "the certificate".to_owned(),
                false => format!("`{}`", last.subject()),
            };
            return Err(format!(
                "{who} was not signed by the `{}` that is sent with it",
                last.issuer()
            ));
        };
        let (der, issuer) = others.remove(index);
        (last, last_der) = (issuer, der.as_slice());
    }
    match std::ptr::eq(last, leaf) && !is_self_issued(leaf) {
        // Nobody could find the way from it to a root.
        true => Err(format!(
            "it was issued by `{}`, and that is not among the certificates that are sent with it",
            leaf.issuer()
        )),
        false => Ok(()),
    }
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Returns whether a certificate bears the signature of this issuer's key. A kind of signature that nobody here can verify
/// is left to the clients.
fn signed(certificate: &X509Certificate<'_>, der: &[u8], issuer: &X509Certificate<'_>) -> bool {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature } (RFC 5280, 4.1).
    let identifier = Reader::new(der).sequence().and_then(|mut parts| {
        parts.any()?;
        parts.read(SEQUENCE)
    });
    let algorithms = default_provider().signature_verification_algorithms.all;
    let mut fitting = algorithms
        .iter()
        .filter(|algorithm| Some(algorithm.signature_alg_id().as_ref()) == identifier)
        .peekable();
    if fitting.peek().is_none() {
        return true;
    }
    let spki = SubjectPublicKeyInfoDer::from(issuer.public_key().raw);
    let Ok(key) = RawPublicKeyEntity::try_from(&spki) else {
        return false;
    };
    let (signed, signature) = (
        certificate.tbs_certificate.as_ref(),
        &certificate.signature_value.data,
    );
    // The identifier does not name the curve: each algorithm that fits is tried.
    fitting.any(|algorithm| key.verify_signature(*algorithm, signed, signature).is_ok())
}

/// Returns the leaf's names in lower case; what is no DNS name is shown as it is.
fn names(leaf: &X509Certificate<'_>) -> Result<BTreeSet<String>, String> {
    let extension = leaf
        .subject_alternative_name()
        .map_err(|error| format!("its names are damaged: {error}"))?;
    let names = extension
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let shown = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.to_ascii_lowercase(),
        other => format!("{other:?}"),
    };
    Ok(names.iter().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn names_of(names: &[&str]) -> Vec<Identifier> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn request(names: &[&str], key: &KeyPair) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        CertificateParams::new(names)
            .unwrap()
            .serialize_request(key)
            .unwrap()
            .der()
            .to_vec()
    }

    fn leaf(names: &[&str], key: &KeyPair) -> String {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        CertificateParams::new(names)
            .unwrap()
            .self_signed(key)
            .unwrap()
            .pem()
    }

    #[test]
    fn accepts_ours_and_nothing_else() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let names = ["b.example.test", "*.a.example.test"];
        let request = request(&names, &key);
        let check = |pem: &str, expected: Result<usize, &str>| {
            let result = Chain::check(pem.as_bytes(), &request, &names_of(&names));
            match (result, expected) {
                (Ok(chain), Ok(n)) => {
                    assert_eq!(chain.certificates.len(), n);
                    assert_eq!(
                        Chain::check(chain.to_pem().as_bytes(), &request, &names_of(&names)),
                        Ok(chain)
                    );
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (result, _) => panic!("{result:?}"),
            }
        };
        let ours = leaf(&["*.A.example.test", "b.example.test"], &key);
        let issuer = leaf(&["ca.test"], &other);
        check(&ours, Ok(1));
        check(
            &format!("comment\r\n{ours}\r\n{issuer}").replace('\n', "\r\n"),
            Ok(2),
        );
        check(&format!("{issuer}{ours}"), Err("another public key"));
        check(&leaf(&names, &other), Err("another public key"));
        check(
            &leaf(&["b.example.test"], &key),
            Err("not for *.a.example.test, b.example.test"),
        );
        check(
            &leaf(&["b.example.test", "*.a.example.test", "c.example.test"], &key),
            Err("c.example.test"),
        );
        check(
            &leaf(&["b.example.test", "*.a.example.test", "192.0.2.1"], &key),
            Err("IPAddress"),
        );
        check("", Err("no certificate"));
        check("<html>", Err("no certificate"));
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            Err("no X.509"),
        );
        check(&ours.replace("-----END", ""), Err("no"));
        check(&issuer.repeat(LONGEST + 1), Err("more than 16"));
    }

    #[test]
    fn a_chain_that_was_not_signed_by_those_in_it_is_refused() {
        const NAME: &str = "a.example.test";
        let generate = |algorithm| KeyPair::generate_for(algorithm).unwrap();
        let key = generate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let request = request(&[NAME], &key);
        let ca = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root_key = generate(&rcgen::PKCS_ECDSA_P384_SHA384);
        let root = Issuer::new(ca("root"), &root_key);
        let top = ca("root").self_signed(&root_key).unwrap().pem();
        let middle_key = generate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let middle = ca("middle").signed_by(&middle_key, &root).unwrap().pem();
        let issuer = Issuer::new(ca("middle"), &middle_key);
        let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        // The same name, another key: what a mix-up at the CA, or somebody between, would send.
        let other_key = generate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let namesake = ca("middle").signed_by(&other_key, &root).unwrap().pem();
        let false_middle = ca("middle")
            .signed_by(&middle_key, &Issuer::new(ca("root"), &other_key))
            .unwrap()
            .pem();
        let stray = ca("stray").self_signed(&other_key).unwrap().pem();
        let check = |parts: &[&String], expected: Option<&str>| {
            let pem: String = parts.iter().map(|part| part.as_str()).collect();
            match (
                Chain::check(pem.as_bytes(), &request, &names_of(&[NAME])),
                expected,
            ) {
                (Ok(_), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{error}"),
                (result, expected) => panic!("{expected:?}: {result:?}"),
            }
        };
        check(&[&leaf], None);
        check(&[&leaf, &middle], None);
        check(&[&leaf, &middle, &top], None);
        check(&[&leaf, &top, &middle, &stray], None);
        check(&[&leaf, &namesake, &middle], None);
        check(&[&leaf, &namesake], Some("was not signed by the `CN=middle`"));
        check(&[&leaf, &stray], Some("`CN=middle`, and that is not among"));
        check(
            &[&leaf, &false_middle, &top],
            Some("`CN=middle` was not signed by the `CN=root`"),
        );
    }
}
