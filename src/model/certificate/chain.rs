//! PEM bundles, and certificates in the order of a chain. Pure.

use base64::{Engine, engine::general_purpose};

use super::{BUNDLE_LIMIT, CHAIN_LIMIT, Certificate, CertificateError};

/// A leaf and the certificates that lead towards a root; the root is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The end-entity certificate.
    pub leaf: Certificate,
    /// Its issuer, the issuer's issuer, and so on.
    pub intermediates: Vec<Certificate>,
}

impl Chain {
    /// Reads a PEM bundle in any order; other PEM blocks, such as a key, are passed over.
    ///
    /// A self-issued root, and certificates that do not lead from the leaf to a root, are left out.
    ///
    /// # Errors
    /// When there is no certificate, one is broken, a limit is passed, or no leaf can be told.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        Self::from_certificates(certificates_from_pem(pem)?)
    }

    /// Brings certificates into order: the leaf, its issuer, and so on.
    ///
    /// # Errors
    /// When there is none, or no leaf can be told.
    pub fn from_certificates(mut certificates: Vec<Certificate>) -> Result<Self, CertificateError> {
        if certificates.len() > CHAIN_LIMIT {
            return Err(CertificateError::TooMany);
        }
        let index = leaf_index(&certificates)?;
        let leaf = certificates.remove(index);
        Ok(Self::of(leaf, certificates))
    }

    /// Brings the issuers of a leaf into order; what does not lead from it to a root is left out, and so is the root.
    pub fn of(leaf: Certificate, mut others: Vec<Certificate>) -> Self {
        let mut intermediates: Vec<Certificate> = Vec::new();
        loop {
            let last = intermediates.last().unwrap_or(&leaf);
            if last.self_issued {
                break;
            }
            let issuer = others.iter().position(|other| {
                !other.self_issued && other.sha256 != leaf.sha256 && last.may_be_issued_by(other)
            });
            match issuer {
                Some(index) => intermediates.push(others.remove(index)),
                None => break,
            }
        }
        Self { leaf, intermediates }
    }

    /// Returns the leaf, then the intermediates.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.intermediates)
    }

    /// Returns the whole chain as PEM, leaf first: what `fullchain.pem` holds.
    pub fn to_pem(&self) -> String {
        self.iter().map(Certificate::to_pem).collect()
    }

    /// Returns the intermediates as PEM: what `chain.pem` holds.
    pub fn intermediates_to_pem(&self) -> String {
        self.intermediates.iter().map(Certificate::to_pem).collect()
    }
}

/// Reads every certificate of a PEM text, in the order of the text.
///
/// # Errors
/// When there is none, one is broken, or a limit is passed.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    if pem.len() > BUNDLE_LIMIT {
        return Err(CertificateError::TooLarge(pem.len()));
    }
    let mut certificates = Vec::new();
    let mut lines = pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        if !is_boundary(line, b"-----BEGIN ") {
            continue;
        }
        let number = certificates.len() + 1;
        if number > CHAIN_LIMIT {
            return Err(CertificateError::TooMany);
        }
        let mut base64 = Vec::new();
        loop {
            let line = lines.next().ok_or(CertificateError::Unfinished(number))?;
            if is_boundary(line, b"-----END ") {
                break;
            }
            if line.starts_with(b"-----") {
                return Err(CertificateError::Unfinished(number));
            }
            base64.extend_from_slice(line);
        }
        let der = general_purpose::STANDARD
            .decode(&base64)
            .map_err(|_| CertificateError::Base64(number))?;
        certificates.push(Certificate::from_der(&der)?);
    }
    if certificates.is_empty() {
        Err(CertificateError::Empty)
    } else {
        Ok(certificates)
    }
}

/// Returns whether the line is a certificate's BEGIN or END; `X509 CERTIFICATE` is the label of old (RFC 7468, 5.1).
fn is_boundary(line: &[u8], prefix: &[u8]) -> bool {
    line.strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(b"-----"))
        .is_some_and(|label| label == b"CERTIFICATE" || label == b"X509 CERTIFICATE")
}

/// Finds the leaf: the certificate that issued none of the others, preferably no CA's.
fn leaf_index(certificates: &[Certificate]) -> Result<usize, CertificateError> {
    let issues_none = |certificate: &Certificate| {
        !certificates
            .iter()
            .any(|other| other.sha256 != certificate.sha256 && other.may_be_issued_by(certificate))
    };
    let mut candidates: Vec<usize> = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        // The same certificate twice is a sloppy `cat`, not two leaves.
        let repeated = candidates
            .iter()
            .any(|earlier| certificates[*earlier].sha256 == certificate.sha256);
        if issues_none(certificate) && !repeated {
            candidates.push(index);
        }
    }
    let ends: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|index| !certificates[*index].is_ca)
        .collect();
    match (ends.as_slice(), candidates.as_slice()) {
        // In the order that every server wants, the leaf is first; strays behind it do no harm.
        ([0, ..], _) | ([], [0, ..]) => Ok(0),
        ([one], _) | ([], [one]) => Ok(*one),
        _ if certificates.is_empty() => Err(CertificateError::Empty),
        (ends, _) => Err(CertificateError::AmbiguousLeaf(ends.len())),
    }
}
