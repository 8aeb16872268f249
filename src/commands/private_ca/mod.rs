//! `ca`: the private CA. It needs no configuration and no network; the CA may live on a machine that has neither.

pub mod crl;
pub mod export;
pub mod init;
pub mod issue;
pub mod revoke;
pub mod show;
pub mod sign;
pub mod trust_store;

use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

pub use crate::ca::{export::sheet::Language, profile::Profile, settings::Signer};

use super::passphrase::{self, AskHidden};
use crate::{
    ca::{
        CaError,
        authority::{Authority, Unlocked},
    },
    config::{Config, Issuer},
    env::{Env, secret::Place as SecretPlace},
    error::{Error, Result},
    model::{certificate::Certificate, key::encrypted::Passphrase, name::DomainName},
};

/// Where the state directory is when nothing says otherwise.
const STATE_DIRECTORY: &str = "/var/lib/mailcert";

/// Which CA, and what the configuration says of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its directory.
    pub directory: PathBuf,
    /// The file with its passphrase, by the configuration.
    pub passphrase_file: Option<PathBuf>,
    /// The operator's domains, by the configuration.
    pub domains: Vec<DomainName>,
    /// Its name, by the configuration.
    pub name: Option<String>,
}

impl Place {
    /// Returns the CA in this directory, else the one in the state directory. Of the configuration nothing counts when
    /// another directory is named than its own.
    pub fn new(directory: Option<&Path>, config: Option<&Config>) -> Self {
        let own = config.map_or(Path::new(STATE_DIRECTORY), |config| &config.state_directory);
        let own = crate::store::layout::Layout::new(own).ca();
        match (directory, config) {
            (Some(directory), _) if directory != own => Self {
                directory: directory.to_owned(),
                passphrase_file: None,
                domains: Vec::new(),
                name: None,
            },
            (_, None) => Self {
                directory: own,
                passphrase_file: None,
                domains: Vec::new(),
                name: None,
            },
            (_, Some(config)) => Self::of_config(config),
        }
    }

    /// Returns the CA of a configuration.
    pub fn of_config(config: &Config) -> Self {
        let mut domains = config.host.domains.clone();
        if !domains.iter().any(|domain| config.host.name.is_within(domain)) {
            domains.push(config.host.name.clone());
        }
        // What the CA is to certify by the configuration, it may certify.
        for certificate in config.certificates.iter().filter(|one| one.issuer == Issuer::Ca) {
            for identifier in &certificate.identifiers {
                if !domains.iter().any(|domain| identifier.base().is_within(domain)) {
                    domains.push(identifier.base().clone());
                }
            }
        }
        Self {
            directory: crate::store::layout::Layout::new(&config.state_directory).ca(),
            passphrase_file: config.ca.passphrase_file.clone(),
            domains,
            name: config.ca.name.clone(),
        }
    }

    /// Reads the CA.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn open(&self) -> Result<Authority> {
        Authority::open(&self.directory).map_err(|error| tell("the private CA could not be read", &error))
    }
}

/// Where the passphrase of a key comes from.
pub struct Keys<'a> {
    /// What an option gave.
    pub given: Option<Passphrase>,
    /// Somebody who can be asked.
    pub asker: Option<&'a mut (dyn AskHidden + 'static)>,
}

impl Keys<'_> {
    /// Opens a key.
    ///
    /// # Errors
    /// When it is not there, its passphrase is missing or wrong, or it is not the key of the certificate.
    pub fn unlock(
        &mut self,
        env: &Env,
        place: &Place,
        authority: &Authority,
        signer: Signer,
    ) -> Result<Unlocked> {
        let failed = |error| tell("the private CA could not be opened; nothing was done", &error);
        let passphrase = match authority.is_encrypted(signer).map_err(failed)? {
            false => None,
            true => Some(self.passphrase(env, place, signer)?),
        };
        authority.unlock(signer, passphrase.as_ref()).map_err(failed)
    }

    fn passphrase(&mut self, env: &Env, place: &Place, signer: Signer) -> Result<Passphrase> {
        let what = format!("the private CA's {} key", signer.name());
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        if let Some(file) = &place.passphrase_file {
            return passphrase::read(env, &what, SecretPlace::File(file));
        }
        match &mut self.asker {
            Some(asker) => passphrase::ask(*asker, &what),
            None => Err(
                Error::usage(format!("{what} is under a passphrase, and none was given; nothing was done"))
                    .remedy("give it by --passphrase-file, --passphrase-fd or --passphrase-credential, or type it at a terminal"),
            ),
        }
    }
}

/// A certificate as results have it.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The subject.
    pub subject: String,
    /// The names in subjectAltName.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The serial number, hexadecimal.
    pub serial: String,
    /// The first moment of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// The last moment of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The kind of key.
    pub key: String,
    /// SHA-256 of its DER.
    pub sha256: String,
}

impl From<&Certificate> for Facts {
    fn from(certificate: &Certificate) -> Self {
        let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
        Self {
            subject: certificate.subject.clone(),
            names: certificate.dns_names.iter().cloned().chain(addresses).collect(),
            serial: certificate.serial_hex(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            key: certificate.key_kind.clone(),
            sha256: certificate.sha256.to_string(),
        }
    }
}

/// Turns what went wrong with the CA into an error for its operator.
pub fn tell(message: &str, error: &CaError) -> Error {
    let failed = match error {
        CaError::Missing(_) | CaError::Exists(_) | CaError::Validity(_) => Error::usage(message),
        CaError::Busy(_) => Error::not_yet(message),
        _ => Error::failed(message),
    };
    let failed = failed.cause(error);
    match error {
        CaError::Busy(_) => failed.remedy("try again when it has ended"),
        CaError::Clock { .. } => failed.remedy(
            "set the clock right; where it was ahead before, wait, or restore the directory from a backup of before",
        ),
        CaError::Damaged { path, .. } => failed.remedy(format!(
            "restore {} from a backup; nothing was changed, and every certificate that was signed is in issued.pem beside it",
            path.display()
        )),
        CaError::Exists(_) => failed.remedy("choose another place, or move what is there away"),
        CaError::File(error) => match super::remedy_of(error) {
            Some(remedy) => failed.remedy(remedy),
            None => failed,
        },
        CaError::Key { .. } if error.is_of_passphrase() => failed.remedy("run it again with the right passphrase"),
        CaError::Key { path, .. } => failed.remedy(format!("restore {} from a backup", path.display())),
        CaError::KeyMissing { signer: Signer::Root, path } => failed.remedy(format!(
            "bring the root's key to {}, for as long as it is needed",
            path.display()
        )),
        CaError::KeyMissing { path, .. } => failed.remedy(format!("restore {} from a backup", path.display())),
        CaError::Missing(_) => failed
            .remedy("make one: `mailcert ca init --domain example.jp`; or name its directory by --directory"),
        CaError::Newer { .. } => failed.remedy("use the newer mailcert that wrote it"),
        CaError::Signing(_) => failed,
        CaError::Validity(_) => failed.remedy("set the clock right, or ask for fewer days (--days)"),
    }
}
