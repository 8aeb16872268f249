//! What a CA sent, or a person exported: certificates and perhaps their key, in whatever form. Pure.
//!
//! PEM, bare base64, DER, PKCS#7 and PKCS#12 are told apart by what is in them, not by the file's name or the label: a
//! `CERTIFICATE` block with PKCS#7 in it is what some CAs send. Everything comes from strangers: sizes and counts are limited.

mod ber;
mod pkcs12;
mod pkcs7;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{
    certificate::{BUNDLE_LIMIT, CHAIN_LIMIT, Certificate, CertificateError},
    der,
    key::{
        KeyError, PrivateKey,
        encrypted::{self, Passphrase},
    },
};

/// People cut the padding off, or paste it twice as long.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Certificates in their order, and the keys that came with them.
#[derive(Default)]
pub struct Bundle {
    /// The certificates; none twice.
    pub certificates: Vec<Certificate>,
    /// The private keys.
    pub keys: Vec<PrivateKey>,
}

/// Why a file gave no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// A certificate in it cannot be read; with which, counted from 1.
    Certificate(usize, CertificateError),
    /// There is none in it; with what it seems to be instead.
    Empty(&'static str),
    /// The private key in it cannot be used.
    Key(KeyError),
    /// A passphrase is needed.
    Locked,
    /// Its structure is damaged; with what it is.
    Malformed(&'static str),
    /// It is PKCS#12 encrypted by RC2 or Triple DES.
    Old,
    /// It has more bytes than are read.
    TooLarge(usize),
    /// It holds more certificates than any chain.
    TooMany,
    /// A block has no END line.
    Unfinished(String),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(n, error) => write!(f, "certificate {n}: {error}"),
            Self::Empty(instead) => write!(f, "it holds no certificate: {instead}"),
            Self::Key(error) => write!(f, "the key in it cannot be used: {error}"),
            Self::Locked => f.write_str("it is closed by a passphrase"),
            Self::Malformed(what) => write!(f, "it is {what}, and damaged or cut off"),
            Self::Old => f.write_str(
                "it is PKCS#12 encrypted by RC2 or Triple DES, which are broken and not read here (Windows exports so unless \
                 AES256-SHA256 is chosen)",
            ),
            Self::TooLarge(size) => write!(f, "it has {size} bytes; at most {BUNDLE_LIMIT} are read"),
            Self::TooMany => write!(
                f,
                "it holds more than {CHAIN_LIMIT} certificates: a bundle of roots, perhaps, and not what a CA sends"
            ),
            Self::Unfinished(label) => write!(f, "it is cut off: BEGIN {label} has no END"),
        }
    }
}

impl std::error::Error for BundleError {}

impl Bundle {
    /// Reads one file. `passphrase`: for what is encrypted in it.
    ///
    /// # Errors
    /// When there is no certificate in it, or it cannot be read; [`BundleError::Locked`] when a passphrase is wanted.
    pub fn read(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Self, BundleError> {
        let bundle = Self::read_any(bytes, passphrase)?;
        if bundle.certificates.is_empty() {
            return Err(BundleError::Empty(match bundle.keys.is_empty() {
                true => "nothing in it is one",
                false => "a private key is all there is",
            }));
        }
        Ok(bundle)
    }

    /// As [`Self::read`], for a file that may hold keys only.
    fn read_any(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_LIMIT {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let trimmed = bytes.trim_ascii();
        let mut bundle = Self::default();
        if trimmed.is_empty() {
            return Err(BundleError::Empty("it is empty"));
        }
        if contains(trimmed, b"-----BEGIN ") {
            bundle.add_pem(trimmed, passphrase)?;
        } else if trimmed.first() == Some(&der::SEQUENCE) && !trimmed.is_ascii() {
            bundle.add_der(bytes, passphrase)?;
        } else if let Some(der) = bare_base64(trimmed) {
            bundle.add_der(&der, passphrase)?;
        } else {
            return Err(BundleError::Empty(match trimmed.first() {
                Some(b'<') => {
                    "it is a web page or XML; a CA's page may have a link to the certificate itself"
                }
                Some(b'P') if trimmed.starts_with(b"PK\x03\x04") => "it is a ZIP archive; unpack it first",
                Some(&der::SEQUENCE) => "it is binary, and damaged or cut off",
                _ => "it is neither PEM, DER, PKCS#7 nor PKCS#12",
            }));
        }
        Ok(bundle)
    }

    /// Adds what another file gave.
    ///
    /// # Errors
    /// [`BundleError::TooMany`] when it is too much together.
    pub fn extend(&mut self, other: Self) -> Result<(), BundleError> {
        for certificate in other.certificates {
            self.add(certificate)?;
        }
        self.keys.extend(other.keys);
        Ok(())
    }

    fn add(&mut self, certificate: Certificate) -> Result<(), BundleError> {
        if self
            .certificates
            .iter()
            .any(|known| known.sha256 == certificate.sha256)
        {
            return Ok(());
        }
        if self.certificates.len() >= CHAIN_LIMIT {
            return Err(BundleError::TooMany);
        }
        self.certificates.push(certificate);
        Ok(())
    }

    fn add_certificate(&mut self, der: &[u8]) -> Result<(), BundleError> {
        let number = self.certificates.len() + 1;
        let certificate =
            Certificate::from_der(der).map_err(|error| BundleError::Certificate(number, error))?;
        self.add(certificate)
    }

    fn add_pem(&mut self, text: &[u8], passphrase: Option<&Passphrase>) -> Result<(), BundleError> {
        let mut n_requests = 0;
        let mut lines = text
            .split(|byte| *byte == b'\n' || *byte == b'\r')
            .map(<[u8]>::trim_ascii);
        while let Some(line) = lines.next() {
            let Some(label) = boundary(line, b"-----BEGIN ") else {
                continue;
            };
            let mut body = Vec::new();
            loop {
                let unfinished = || BundleError::Unfinished(label.clone());
                let line = lines.next().ok_or_else(unfinished)?;
                if boundary(line, b"-----END ").as_ref() == Some(&label) {
                    break;
                }
                if line.starts_with(b"-----") {
                    return Err(unfinished());
                }
                body.extend_from_slice(line);
                body.push(b'\n');
            }
            if label.ends_with("PRIVATE KEY") {
                self.add_key(&label, &body, passphrase)?;
                continue;
            }
            if label.ends_with("CERTIFICATE REQUEST") {
                n_requests += 1;
                continue;
            }
            let is_of_use = matches!(
                label.as_str(),
                "CERTIFICATE" | "X509 CERTIFICATE" | "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" | "PKCS12"
            );
            if !is_of_use {
                continue;
            }
            let der = bare_base64(&body).ok_or_else(|| {
                BundleError::Certificate(self.certificates.len() + 1, CertificateError::Base64(1))
            })?;
            self.add_der(&der, passphrase)?;
        }
        if n_requests > 0 && self.certificates.is_empty() && self.keys.is_empty() {
            return Err(BundleError::Empty(REQUEST));
        }
        Ok(())
    }

    fn add_key(
        &mut self,
        label: &str,
        body: &[u8],
        passphrase: Option<&Passphrase>,
    ) -> Result<(), BundleError> {
        let mut pem = zeroize::Zeroizing::new(format!("-----BEGIN {label}-----\n").into_bytes());
        pem.extend_from_slice(body);
        pem.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
        let key = match (PrivateKey::from_pem(&pem), passphrase) {
            (Err(KeyError::Encrypted), None) => return Err(BundleError::Locked),
            (Err(KeyError::Encrypted), Some(passphrase)) => encrypted::decrypt(&pem, passphrase),
            (read, _) => read,
        };
        self.keys.push(key.map_err(BundleError::Key)?);
        Ok(())
    }

    fn add_der(&mut self, bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<(), BundleError> {
        let Some(der) = ber::to_der(bytes) else {
            return Err(BundleError::Malformed(match bytes {
                bytes if contains(&bytes[..bytes.len().min(40)], pkcs7_oid()) => "PKCS#7 or PKCS#12",
                _ => "a certificate in DER, or something like it",
            }));
        };
        if pkcs7::is_pkcs7(&der) {
            let certificates =
                pkcs7::certificates(&der, CHAIN_LIMIT).ok_or(BundleError::Malformed("PKCS#7"))?;
            if certificates.len() > CHAIN_LIMIT {
                return Err(BundleError::TooMany);
            }
            return certificates.iter().try_for_each(|der| self.add_certificate(der));
        }
        if pkcs12::is_pkcs12(&der) {
            return self.add_pkcs12(&der, passphrase);
        }
        if X509CertificationRequest::from_der(&der).is_ok() {
            return Err(BundleError::Empty(REQUEST));
        }
        self.add_certificate(&der)
    }

    fn add_pkcs12(&mut self, der: &[u8], passphrase: Option<&Passphrase>) -> Result<(), BundleError> {
        let opened = pkcs12::open(der, passphrase.map(Passphrase::as_bytes).unwrap_or_default());
        let contents = opened.map_err(|error| match error {
            pkcs12::Pkcs12Error::Cipher => BundleError::Key(KeyError::Cipher),
            pkcs12::Pkcs12Error::Malformed => BundleError::Malformed("PKCS#12"),
            pkcs12::Pkcs12Error::Old => BundleError::Old,
            pkcs12::Pkcs12Error::Passphrase if passphrase.is_none() => BundleError::Locked,
            pkcs12::Pkcs12Error::Passphrase => BundleError::Key(KeyError::Passphrase),
            pkcs12::Pkcs12Error::TooCostly => BundleError::Key(KeyError::TooCostly),
        })?;
        for der in &contents.certificates {
            self.add_certificate(der)?;
        }
        for der in &contents.keys {
            self.keys
                .push(PrivateKey::from_pkcs8_der(der).map_err(BundleError::Key)?);
        }
        Ok(())
    }
}

/// Reads a private key that stands alone, in PEM, under a passphrase or not, or in a PKCS#12 file.
///
/// # Errors
/// When there is none, or it cannot be read; [`BundleError::Locked`] when a passphrase is wanted.
pub fn read_key(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<PrivateKey, BundleError> {
    let bundle = Bundle::read_any(bytes, passphrase)?;
    let first = bundle.keys.into_iter().next();
    first.ok_or(BundleError::Key(KeyError::Missing))
}

const REQUEST: &str = "it is the request; the CA sends back the certificate that it makes of it";

/// id-pkcs7 in DER: 1.2.840.113549.1.7.
fn pkcs7_oid() -> &'static [u8] {
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07]
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Returns the label of a BEGIN or END line.
fn boundary(line: &[u8], prefix: &[u8]) -> Option<String> {
    let label = line.strip_prefix(prefix)?.strip_suffix(b"-----")?;
    (label.len() < 80).then(|| String::from_utf8_lossy(label).into_owned())
}

/// Decodes base64 without boundaries, in lines or not: what is left of a certificate after a mail program or a web form.
fn bare_base64(text: &[u8]) -> Option<Vec<u8>> {
    let dense: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let der = BASE64.decode(dense).ok()?;
    (der.first() == Some(&der::SEQUENCE)).then_some(der)
}
