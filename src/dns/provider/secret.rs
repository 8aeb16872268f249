//! Secrets of providers: read from a file, a variable or a systemd credential; never shown. A TSIG key's is base64.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    config::SecretSource,
    env::{
        Env,
        secret::{self, Place, Secret, Unreadable},
    },
};

/// A TSIG key's secret. Its Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigSecret(Vec<u8>);

impl fmt::Debug for TsigSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TsigSecret(..)")
    }
}

/// Why a secret could not be had. Its text never holds the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// The text is no base64, or nothing.
    Base64 {
        /// Where it was read.
        source: String,
    },
    /// The machine could not read it now: too many open files, a disk that fails.
    Machine(String),
    /// The file or variable could not be read.
    Unreadable(String),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64 { source } => write!(
                f,
                "{source} does not hold a TSIG secret: base64 text and nothing else is wanted (of what tsig-keygen prints, the part between the quotes after `secret`)"
            ),
            Self::Machine(reason) | Self::Unreadable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for SecretError {}

/// Reads a secret from where the configuration says.
///
/// # Errors
/// When it is not there, or could have been written by others.
pub fn read(source: &SecretSource, env: &Env) -> Result<Secret, Unreadable> {
    let place = match source {
        SecretSource::Credential(name) => Place::Credential(name),
        SecretSource::Env(name) => Place::Env(name),
        SecretSource::File(path) => Place::File(path),
    };
    secret::read(env, place)
}

impl TsigSecret {
    /// Reads the secret from where the configuration says.
    ///
    /// # Errors
    /// When it is not there, could have been written by others, or is not base64.
    pub fn read(source: &SecretSource, env: &Env) -> Result<Self, SecretError> {
        let secret = read(source, env).map_err(|error| match error {
            Unreadable::Machine(reason) => SecretError::Machine(reason),
            Unreadable::Place(reason) => SecretError::Unreadable(reason),
        })?;
        Self::from_base64(&secret.text, &secret.place)
    }

    /// Parses base64 text; white space around it is ignored. `source` is named in the error.
    ///
    /// # Errors
    /// When it is empty or no base64.
    pub fn from_base64(text: &str, source: &str) -> Result<Self, SecretError> {
        match STANDARD.decode(text.trim()) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            _ => Err(SecretError::Base64 {
                source: source.to_owned(),
            }),
        }
    }

    /// Returns the key's bytes, for signing and nothing else.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn reads_base64_and_shows_none_of_it() {
        let secret = TsigSecret::from_base64(" c2VjcmV0\n", "x").unwrap();
        assert_eq!(secret.bytes(), b"secret");
        assert_eq!(format!("{secret:?}"), "TsigSecret(..)");
        for bad in ["", "\n", "key \"k\" { secret \"c2VjcmV0\"; };", "c2VjcmV0!"] {
            let error = TsigSecret::from_base64(bad, "the file").unwrap_err().to_string();
            assert!(error.contains("the file") && !error.contains("c2Vj"), "{error}");
        }
    }

    #[test]
    fn reads_every_source_and_refuses_what_others_may_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tsig");
        fs::write(&path, "c2VjcmV0\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut env = Env::real();
        env.vars
            .insert("CREDENTIALS_DIRECTORY".into(), directory.path().into());
        env.vars.insert("TSIG".into(), "c2VjcmV0".into());
        let check = |source: SecretSource, expected: bool| {
            assert_eq!(TsigSecret::read(&source, &env).is_ok(), expected, "{source:?}");
        };
        check(SecretSource::File(path.clone()), true);
        check(SecretSource::Env("TSIG".to_owned()), true);
        check(SecretSource::Env("TSIG2".to_owned()), false);
        check(SecretSource::Credential("tsig".to_owned()), true);
        check(SecretSource::Credential("../tsig".to_owned()), false);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        check(SecretSource::File(path.clone()), false);
    }
}
