//! The chain that a CA sent: is it the certificate we asked for? Pure.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::model::name::Identifier;

/// How many certificates a chain may have.
const LONGEST: usize = 16;

/// A chain, leaf first, that was found to be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The certificates, DER, leaf first; the root is left out by the CA.
    pub certificates: Vec<Vec<u8>>,
}

impl Chain {
    /// Reads a chain (RFC 8555, 9.1) and checks that its leaf answers this request: same public key, same identifiers.
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
        for der in &certificates {
            X509Certificate::from_der(der).map_err(|error| format!("it is no X.509: {error}"))?;
        }
        let leaf = certificates.first().ok_or("there is no certificate in it")?;
        let (_, leaf) =
            X509Certificate::from_der(leaf).map_err(|error| format!("it is no X.509: {error}"))?;
        let (_, request) = X509CertificationRequest::from_der(request_der)
            .map_err(|error| format!("our own request is damaged: {error}"))?;
        if leaf.public_key().raw != request.certification_request_info.subject_pki.raw {
            return Err("it has another public key".to_owned());
        }
        let wanted: BTreeSet<String> = identifiers.iter().map(ToString::to_string).collect();
        let names = names(&leaf)?;
        if names != wanted {
            let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("it is for {}, not for {}", list(names), list(wanted)));
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
    use rcgen::{CertificateParams, KeyPair};

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
}
