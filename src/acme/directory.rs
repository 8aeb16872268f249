//! A CA's directory: where everything else is, and on what terms (RFC 8555, 7.1.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{error::AcmeError, http::Http};

/// The directory of a CA.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Where it was read.
    pub url: String,
    /// What it says.
    pub(crate) links: Links,
}

/// The directory's members.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Links {
    /// Where nonces come from.
    pub new_nonce: String,
    /// Where accounts are made.
    pub new_account: String,
    /// Where orders are made.
    pub new_order: String,
    /// Where certificates are revoked.
    #[serde(default)]
    pub revoke_cert: Option<String>,
    /// Where an account's key is changed.
    #[serde(default)]
    pub key_change: Option<String>,
    /// Where renewal information is (RFC 9773, 4.1).
    #[serde(default)]
    pub renewal_info: Option<String>,
    /// The terms.
    #[serde(default)]
    pub meta: Meta,
}

/// The terms on which a CA works.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Where the terms of service are.
    #[serde(default)]
    pub terms_of_service: Option<String>,
    /// What the CA recognizes itself by in CAA records (RFC 8659).
    #[serde(default)]
    pub caa_identities: Vec<String>,
    /// Whether an account must be bound to a customer's account.
    #[serde(default)]
    pub external_account_required: bool,
    /// The certificate profiles, with what they are for.
    #[serde(default)]
    pub profiles: BTreeMap<String, String>,
}

impl Directory {
    /// Reads the directory.
    ///
    /// # Errors
    /// When it cannot be got, or is not a directory of RFC 8555.
    pub async fn fetch(http: &Http, url: &str) -> Result<Self, AcmeError> {
        let answer = http.get_directory(url).await?.success()?;
        Ok(Self {
            url: url.to_owned(),
            links: answer.json()?,
        })
    }

    /// Reads the answer's body; `None` for what is no directory.
    pub fn parse(url: &str, body: &[u8]) -> Option<Self> {
        Some(Self {
            url: url.to_owned(),
            links: serde_json::from_slice(body).ok()?,
        })
    }

    /// Returns the CA's terms.
    pub fn meta(&self) -> &Meta {
        &self.links.meta
    }

    /// Returns whether the CA lets an account change its key (RFC 8555, 7.3.5).
    pub fn can_change_keys(&self) -> bool {
        self.links.key_change.is_some()
    }

    /// Returns whether the CA has renewal information (RFC 9773).
    pub fn has_renewal_info(&self) -> bool {
        self.links.renewal_info.is_some()
    }
}
