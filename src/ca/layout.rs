//! Every path of the private CA's directory, once. Pure.
//!
//! The directory is `ca` in the state directory, or wherever the operator keeps it. Its mode is 0711: certificates and CRLs
//! are public and are named in configurations of daemons; keys and index are 0600.

use std::path::{Path, PathBuf};

/// The paths below the directory of one private CA.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Returns the layout of the CA in this directory.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Returns the directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns what the CA is: its names, constraints, what it signs with. JSON; 0600.
    pub fn settings(&self) -> PathBuf {
        self.directory.join("ca.json")
    }

    /// Returns the root certificates, PEM; 0644.
    pub fn root_certificate(&self) -> PathBuf {
        self.directory.join("root.pem")
    }

    /// Returns the root's key, PEM, PKCS#8; 0600. It may live elsewhere.
    pub fn root_key(&self) -> PathBuf {
        self.directory.join("root.key")
    }

    /// Returns the issuing intermediate's certificate, PEM; 0644. None where the root signs.
    pub fn issuing_certificate(&self) -> PathBuf {
        self.directory.join("issuing.pem")
    }

    /// Returns the issuing intermediate's key; 0600.
    pub fn issuing_key(&self) -> PathBuf {
        self.directory.join("issuing.key")
    }

    /// Returns the CRL of what the root signed, PEM; 0644.
    pub fn root_crl(&self) -> PathBuf {
        self.directory.join("root.crl.pem")
    }

    /// Returns the CRL of what the issuing intermediate signed, PEM; 0644.
    pub fn issuing_crl(&self) -> PathBuf {
        self.directory.join("issuing.crl.pem")
    }

    /// Returns the index: what was issued, revoked and published, a line for each; 0600.
    pub fn index(&self) -> PathBuf {
        self.directory.join("index")
    }

    /// Returns every certificate that was signed, in the order of the index, PEM; 0600.
    pub fn issued(&self) -> PathBuf {
        self.directory.join("issued.pem")
    }

    /// Returns where the n-th torn end of an index is kept.
    pub fn torn_index(&self, n: u64) -> PathBuf {
        self.directory.join(format!("index.torn-{n}"))
    }

    /// Returns the file that is locked by the one writer.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }
}
