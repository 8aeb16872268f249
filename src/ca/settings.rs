//! What a private CA is: the record that `ca init` writes and every other command reads. Pure.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::name::Constraints;

/// The format of every file in the directory.
pub const FORMAT: u64 = 1;

/// What the CA is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// [`FORMAT`].
    pub format: u64,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// Which names it may certify; the name constraints of its certificates say the same.
    pub constraints: Constraints,
    /// Who signs certificates.
    pub signer: Signer,
    /// The file of the root's key, when it does not live in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key: Option<std::path::PathBuf>,
    /// How long a CRL is good for, in days.
    pub crl_days: u32,
    /// Where clients find the CRL; written into certificates. Http URLs.
    #[serde(default)]
    pub crl_urls: Vec<String>,
}

/// One of the CA's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// The issuing intermediate's.
    Issuing,
    /// The root's.
    Root,
}

impl Signer {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::Root => "root",
        }
    }
}

/// Why a text is no such record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// It is of a newer format.
    Newer(u64),
    /// It is not what this program writes.
    Wrong(String),
}

impl Settings {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not what this program writes, or of a newer format.
    pub fn read(json: &[u8]) -> Result<Self, SettingsError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u64,
        }
        let wrong = |error: serde_json::Error| SettingsError::Wrong(error.to_string());
        match serde_json::from_slice::<Versioned>(json).map_err(wrong)?.format {
            FORMAT => serde_json::from_slice(json).map_err(wrong),
            newer if newer > FORMAT => Err(SettingsError::Newer(newer)),
            other => Err(SettingsError::Wrong(format!("there is no format {other}"))),
        }
    }

    /// Writes it, with a line feed at its end.
    pub fn write(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_a_newer_one_is_refused() {
        let settings = Settings {
            format: FORMAT,
            created: time::macros::datetime!(2026-11-26 12:00 UTC),
            constraints: Constraints {
                domains: vec!["example.jp".parse().unwrap()],
                networks: vec!["192.0.2.0/24".parse().unwrap()],
            },
            signer: Signer::Root,
            root_key: None,
            crl_days: 30,
            crl_urls: Vec::new(),
        };
        let json = settings.write();
        assert_eq!(Settings::read(&json), Ok(settings));
        let text = String::from_utf8(json).unwrap();
        let newer = text.replace("\"format\": 1", "\"format\": 2, \"more\": 3");
        assert_eq!(Settings::read(newer.as_bytes()), Err(SettingsError::Newer(2)));
        for wrong in [
            "",
            "{}",
            "[]",
            &text.replace("root", "x"),
            &text[..text.len() / 2],
        ] {
            assert!(matches!(
                Settings::read(wrong.as_bytes()),
                Err(SettingsError::Wrong(_))
            ));
        }
    }
}
