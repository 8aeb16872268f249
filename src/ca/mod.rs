//! The private CA: a root, by option an issuing intermediate below it, and what they sign: certificates and CRLs (RFC 5280).
//!
//! Decided by pure files: [`name`], [`profile`], [`request`], [`certificate`], [`revocation_list`], [`index`]. Kept by
//! [`making`], [`authority`] and [`writer`]: the directory with keys, index and CRL ([`layout`]), one writer at a time. It never
//! asks the network.

pub mod authority;
pub mod certificate;
pub mod export;
pub mod index;
pub mod layout;
pub mod making;
pub mod name;
pub mod profile;
pub mod request;
pub mod revocation_list;
pub mod settings;
pub mod writer;

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::{
    env::files::{self, FileError},
    model::{
        certificate::{BUNDLE_LIMIT, Certificate, CertificateError, certificates_from_pem},
        key::KeyError,
    },
};
use layout::Layout;
use profile::ValidityError;
use settings::Signer;

/// Why the private CA could not do what was asked.
#[derive(Debug)]
pub enum CaError {
    /// Another run writes, and does not end.
    Busy(PathBuf),
    /// The clock is behind the last line of the index.
    Clock {
        /// What it says.
        now: OffsetDateTime,
        /// When the last line was written.
        last: OffsetDateTime,
    },
    /// A file is not what this program writes.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a file already, which is not written over.
    Exists(PathBuf),
    /// A file could not be read or written.
    File(FileError),
    /// A key could not be used.
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        error: KeyError,
    },
    /// A key is not there: it may live elsewhere.
    KeyMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// Whose it is.
        signer: Signer,
    },
    /// There is no CA in this directory.
    Missing(PathBuf),
    /// A file was written by a newer program; it is left untouched.
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it says it has.
        version: u64,
    },
    /// The crypto library failed.
    Signing(KeyError),
    /// Nothing can be good for that long, or now.
    Validity(ValidityError),
}

impl std::fmt::Display for CaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(path) => write!(f, "another run holds {}", path.display()),
            Self::Clock { now, last } => {
                write!(f, "the clock says {now}, but the index has a line of {last}")
            }
            Self::Damaged { path, reason } => write!(f, "{} is damaged: {reason}", path.display()),
            Self::Exists(path) => write!(f, "{} exists, and is not written over", path.display()),
            Self::File(error) => error.fmt(f),
            Self::Key { path, error } => write!(f, "{}: {error}", path.display()),
            Self::KeyMissing { path, signer } => {
                write!(f, "the {} key is not there: {}", signer.name(), path.display())
            }
            Self::Missing(directory) => write!(f, "there is no private CA in {}", directory.display()),
            Self::Newer { path, version } => write!(
                f,
                "{} was written by a newer mailcert (format {version}, this one knows {}); it is left as it is",
                path.display(),
                settings::FORMAT
            ),
            Self::Signing(error) => error.fmt(f),
            Self::Validity(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CaError {}

impl From<FileError> for CaError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<KeyError> for CaError {
    fn from(error: KeyError) -> Self {
        Self::Signing(error)
    }
}

impl From<ValidityError> for CaError {
    fn from(error: ValidityError) -> Self {
        Self::Validity(error)
    }
}

/// Reads the root certificates of the CA in this directory: what clients are given to trust. Their PEM is the file
/// [`Layout::root_certificate`], which everybody may read. One today; a root that is being replaced stands beside its
/// successor.
///
/// # Errors
/// [`CaError::Missing`] when there is no CA; when the file cannot be read, or is no certificate.
pub fn root_certificates(layout: &Layout) -> Result<Vec<Certificate>, CaError> {
    read_certificates(layout, &layout.root_certificate())
}

fn read_certificates(layout: &Layout, path: &Path) -> Result<Vec<Certificate>, CaError> {
    let pem = files::read_if_exists(path, BUNDLE_LIMIT as u64)?
        .ok_or_else(|| CaError::Missing(layout.directory().to_owned()))?;
    certificates_from_pem(&pem).map_err(|error: CertificateError| CaError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
