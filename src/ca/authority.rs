//! A private CA that exists: its certificates, its settings, its keys.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{
    CaError,
    certificate::{Issuer, key_id},
    index::{Index, IndexError, Ledger},
    layout::Layout,
    profile::Validity,
    read_certificates,
    settings::{Settings, SettingsError, Signer},
    writer::Writer,
};
use crate::{
    env::files,
    model::{
        certificate::Certificate,
        key::{
            KeyError, PrivateKey,
            encrypted::{self, Passphrase},
        },
    },
};

/// No record or key of ours is larger, in bytes.
const SMALL: u64 = 1 << 20;

/// No index is larger, in bytes: some four million certificates.
pub(super) const LARGEST_INDEX: u64 = 1 << 30;

/// A private CA.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Where it is.
    pub layout: Layout,
    /// What it is.
    pub settings: Settings,
    /// The root's certificate.
    pub root: Certificate,
    /// The issuing intermediate's.
    pub issuing: Option<Certificate>,
}

/// A key of the CA, opened.
pub struct Unlocked {
    /// Whose it is.
    pub signer: Signer,
    key: PrivateKey,
    name: Vec<u8>,
    key_id: Vec<u8>,
}

impl Unlocked {
    /// Takes a key with its certificate.
    pub fn new(signer: Signer, key: PrivateKey, certificate: &Certificate) -> Self {
        Self {
            signer,
            name: certificate.subject_der().to_vec(),
            key_id: certificate
                .subject_key_id
                .clone()
                .unwrap_or_else(|| key_id(&certificate.spki_der)),
            key,
        }
    }

    /// Returns who signs.
    pub fn issuer(&self) -> Issuer<'_> {
        Issuer {
            name: &self.name,
            key_id: &self.key_id,
            key: &self.key,
        }
    }
}

impl Authority {
    /// Reads the CA in this directory.
    ///
    /// # Errors
    /// [`CaError::Missing`] when there is none; when a file cannot be read, was made by a newer program, is damaged, or
    /// somebody else could have written it.
    pub fn open(directory: &Path) -> Result<Self, CaError> {
        let layout = Layout::new(directory);
        let path = layout.settings();
        let json = match files::read_trusted(&path, SMALL) {
            Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => {
                return Err(CaError::Missing(directory.to_owned()));
            }
            json => json?,
        };
        let settings = Settings::read(&json).map_err(|error| match error {
            SettingsError::Newer(version) => CaError::Newer {
                path: path.clone(),
                version,
            },
            SettingsError::Wrong(reason) => CaError::Damaged {
                path: path.clone(),
                reason,
            },
        })?;
        let root = only(&layout, &layout.root_certificate())?;
        let issuing = match settings.signer {
            Signer::Root => None,
            Signer::Issuing => Some(only(&layout, &layout.issuing_certificate())?),
        };
        Ok(Self {
            layout,
            settings,
            root,
            issuing,
        })
    }

    /// Returns the certificate of a key; the root's where there is no intermediate.
    pub fn certificate(&self, signer: Signer) -> &Certificate {
        match (signer, &self.issuing) {
            (Signer::Issuing, Some(issuing)) => issuing,
            _ => &self.root,
        }
    }

    /// Returns the certificate of who signs certificates.
    pub fn signing_certificate(&self) -> &Certificate {
        self.certificate(self.settings.signer)
    }

    /// Returns when who signs certificates is good.
    pub fn validity(&self) -> Validity {
        let certificate = self.signing_certificate();
        Validity {
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }

    /// Returns what stands behind an end-entity certificate in a chain: the intermediate, without the root.
    pub fn intermediates(&self) -> Vec<Certificate> {
        self.issuing.iter().cloned().collect()
    }

    /// Returns the keys there are, those that sign certificates first.
    pub fn signers(&self) -> &'static [Signer] {
        match self.settings.signer {
            Signer::Issuing => &[Signer::Issuing, Signer::Root],
            Signer::Root => &[Signer::Root],
        }
    }

    /// Returns the file of a key.
    pub fn key_file(&self, signer: Signer) -> PathBuf {
        match signer {
            Signer::Issuing => self.layout.issuing_key(),
            Signer::Root => self
                .settings
                .root_key
                .clone()
                .unwrap_or_else(|| self.layout.root_key()),
        }
    }

    /// Returns the file of a key's CRL.
    pub fn crl_file(&self, signer: Signer) -> PathBuf {
        match signer {
            Signer::Issuing => self.layout.issuing_crl(),
            Signer::Root => self.layout.root_crl(),
        }
    }

    /// Returns whether a key is under a passphrase.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn is_encrypted(&self, signer: Signer) -> Result<bool, CaError> {
        Ok(encrypted::is_encrypted(&self.read_key(signer)?))
    }

    /// Opens a key. One that is under no passphrase needs none.
    ///
    /// # Errors
    /// [`CaError::KeyMissing`]; [`CaError::Key`] when the passphrase is missing or wrong, or it is not the key of the
    /// certificate.
    pub fn unlock(&self, signer: Signer, passphrase: Option<&Passphrase>) -> Result<Unlocked, CaError> {
        let pem = zeroize::Zeroizing::new(self.read_key(signer)?);
        let path = self.key_file(signer);
        let failed = |error| CaError::Key {
            path: path.clone(),
            error,
        };
        let key = match passphrase {
            Some(passphrase) if encrypted::is_encrypted(&pem) => encrypted::decrypt(&pem, passphrase),
            _ => PrivateKey::from_pem(&pem),
        };
        let key = key.map_err(failed)?;
        let certificate = self.certificate(signer);
        if !certificate.matches_key(&key.public_key_der()) {
            return Err(CaError::Damaged {
                path,
                reason: format!("it is not the key of {}", certificate.subject),
            });
        }
        Ok(Unlocked::new(signer, key, certificate))
    }

    fn read_key(&self, signer: Signer) -> Result<Vec<u8>, CaError> {
        let path = self.key_file(signer);
        match files::read_trusted(&path, SMALL) {
            Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => {
                Err(CaError::KeyMissing { path, signer })
            }
            pem => Ok(pem?),
        }
    }

    /// Reads the index; a writer may be at work.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn read_index(&self) -> Result<Index, CaError> {
        let path = self.layout.index();
        let text = match files::read_trusted(&path, LARGEST_INDEX) {
            Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => {
                return Err(CaError::Damaged {
                    path,
                    reason: "it is gone".to_owned(),
                });
            }
            text => text?,
        };
        Index::read(text, self.root.sha256).map_err(|error| self.of_index(&error))
    }

    /// Reads the index as tables.
    ///
    /// # Errors
    /// As [`Self::read_index`].
    pub fn read_ledger(&self) -> Result<Ledger, CaError> {
        self.read_index()?.ledger().map_err(|error| self.of_index(&error))
    }

    /// Takes the lock, waiting for another writer, and mends what a crash left.
    ///
    /// # Errors
    /// [`CaError::Busy`] after a minute; [`CaError::Clock`]; when the index is damaged.
    pub fn write(&self, now: OffsetDateTime) -> Result<Writer<'_>, CaError> {
        Writer::open(self, now)
    }

    pub(super) fn of_index(&self, error: &IndexError) -> CaError {
        let path = self.layout.index();
        match error {
            IndexError::Newer(version) => CaError::Newer {
                path,
                version: *version,
            },
            error => CaError::Damaged {
                path,
                reason: error.to_string(),
            },
        }
    }
}

/// Reads the one certificate of a file of the CA's own.
fn only(layout: &Layout, path: &Path) -> Result<Certificate, CaError> {
    read_certificates(layout, path)?
        .into_iter()
        .next()
        .ok_or_else(|| CaError::Damaged {
            path: path.to_owned(),
            reason: "it holds no certificate".to_owned(),
        })
}

impl CaError {
    /// Returns whether a passphrase was wrong, or missing.
    pub fn is_of_passphrase(&self) -> bool {
        matches!(
            self,
            Self::Key {
                error: KeyError::Passphrase | KeyError::Encrypted,
                ..
            }
        )
    }
}
