//! Reads the roots that clients on this host trust.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::trust::Roots;
use crate::env::{Env, files};

/// Where distributions keep the bundle of all roots: Debian and Arch and Alpine; RHEL; SUSE; others.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The largest bundle that is read, in bytes; Debian's has 220 kB.
const BUNDLE_LIMIT: u64 = 8 << 20;

/// Why there are no roots.
#[derive(Debug)]
pub enum RootsError {
    /// The file holds no certificate that can be a root.
    Empty(PathBuf),
    /// It could not be read.
    File(files::FileError),
    /// The host has no bundle where distributions keep it.
    Missing,
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(path) => write!(
                f,
                "cannot use {}: it holds no root certificate in PEM",
                path.display()
            ),
            Self::File(error) => error.fmt(f),
            Self::Missing => write!(
                f,
                "cannot find the trusted roots: none of {} exists",
                BUNDLES.join(", ")
            ),
        }
    }
}

impl std::error::Error for RootsError {}

/// Reads the roots from `file`, else from `$SSL_CERT_FILE`, else from where the distribution keeps them.
///
/// # Errors
/// When there is no bundle, or the one that was named cannot be used.
pub fn load_roots(env: &Env, file: Option<&Path>) -> Result<Roots, RootsError> {
    if let Some(path) = file.or_else(|| env.var("SSL_CERT_FILE").map(Path::new)) {
        return read(path);
    }
    let bundle = BUNDLES
        .iter()
        .map(|path| env.host_path(path))
        .find(|path| path.is_file());
    read(&bundle.ok_or(RootsError::Missing)?)
}

fn read(path: &Path) -> Result<Roots, RootsError> {
    let pem = files::read(path, BUNDLE_LIMIT).map_err(RootsError::File)?;
    let roots = Roots::from_ders(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.count() == 0 {
        Err(RootsError::Empty(path.to_owned()))
    } else {
        Ok(roots)
    }
}
