//! Certificates that were withdrawn before their time, and why (RFC 5280, 5.3.1; RFC 8555, 7.6). Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Why a certificate is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// No reason is given.
    Unspecified,
    /// Somebody else may have the private key: it is never used again.
    KeyCompromise,
    /// What the certificate says of its holder has changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The names are no longer in use, or no longer its holder's.
    CessationOfOperation,
}

impl Reason {
    /// Returns the standard's number.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// Returns the standard's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A certificate of a lineage that the CA has withdrawn on our word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// SHA-256 of the certificate's DER, lower-case hex.
    pub leaf_sha256: String,
    /// SHA-256 of its public key's SPKI, lower-case hex.
    pub spki_sha256: String,
    /// Why.
    pub reason: Reason,
    /// When we asked for it.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}
