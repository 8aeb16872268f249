//! The private CA: a root, by option an issuing intermediate below it, and what they sign: certificates and CRLs (RFC 5280).
//!
//! Decided by pure files: [`name`], [`profile`], [`request`], [`certificate`], [`revocation_list`], [`index`]. Kept by
//! [`authority`]: the directory with keys, index and CRL ([`layout`]), one writer at a time. It never asks the network.

pub mod layout;
pub mod name;
pub mod profile;
pub mod settings;

use std::path::{Path, PathBuf};

use crate::{
    env::files::{self, FileError},
    model::certificate::{BUNDLE_LIMIT, Certificate, CertificateError, certificates_from_pem},
};
use layout::Layout;

/// Why the private CA could not do what was asked.
#[derive(Debug)]
pub enum CaError {
    /// A file is not what this program writes.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    File(FileError),
    /// There is no CA in this directory.
    Missing(PathBuf),
    /// A file was written by a newer program; it is left untouched.
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it says it has.
        version: u64,
    },
}

impl std::fmt::Display for CaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { path, reason } => write!(f, "{} is damaged: {reason}", path.display()),
            Self::File(error) => error.fmt(f),
            Self::Missing(directory) => write!(f, "there is no private CA in {}", directory.display()),
            Self::Newer { path, version } => write!(
                f,
                "{} was written by a newer mailcert (format {version}, this one knows {}); it is left as it is",
                path.display(),
                settings::FORMAT
            ),
        }
    }
}

impl std::error::Error for CaError {}

impl From<FileError> for CaError {
    fn from(error: FileError) -> Self {
        Self::File(error)
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
