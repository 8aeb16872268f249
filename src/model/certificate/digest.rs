//! Digests of certificates and keys. Pure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A SHA-256 digest, of a certificate's DER unless said otherwise; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

/// A text that is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256Error;

impl fmt::Display for Sha256Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a SHA-256 digest: 64 hexadecimal digits are wanted")
    }
}

impl std::error::Error for Sha256Error {}

impl Sha256 {
    /// Returns the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut octets = [0; 32];
        for (octet, from) in octets.iter_mut().zip(digest.as_ref()) {
            *octet = *from;
        }
        Self(octets)
    }

    /// Returns the octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    /// Reads 64 hexadecimal digits; the colons that openssl prints between octets may be there.
    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let mut octets = [0; 32];
        let mut digits = text
            .chars()
            .filter(|character| *character != ':')
            .map(|character| character.to_digit(16));
        let mut digit = || {
            digits
                .next()
                .flatten()
                .and_then(|digit| u8::try_from(digit).ok())
                .ok_or(Sha256Error)
        };
        for octet in &mut octets {
            *octet = digit()? << 4 | digit()?;
        }
        if digits.next().is_some() {
            Err(Sha256Error)
        } else {
            Ok(Self(octets))
        }
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Sha256Error;

    fn try_from(text: String) -> Result<Self, Sha256Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

/// Returns the octets in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
