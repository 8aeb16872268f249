//! The account as the CA has it: looked at, told of new contacts, deactivated (RFC 8555, 7.1.2, 7.3.2, 7.3.6).

use http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AccountRecord, Session};
use crate::acme::{
    directory::Directory,
    error::AcmeError,
    http::{Answer, Http},
    jws::{self, Signer, SigningKey},
};

/// What the CA says of an account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountObject {
    /// `valid`, `deactivated` or `revoked` (RFC 8555, 7.1.6).
    pub status: String,
    /// Whom the CA would write to.
    #[serde(default)]
    pub contact: Vec<String>,
    /// Whether the terms of service were agreed to, as far as the CA says.
    #[serde(default)]
    pub terms_of_service_agreed: Option<bool>,
    /// The binding to a customer's account, as it was sent.
    #[serde(default)]
    external_account_binding: Option<Value>,
}

impl AccountObject {
    /// Returns whether it is bound to a customer's account, as far as the CA says.
    pub fn is_bound(&self) -> bool {
        self.external_account_binding.is_some()
    }

    fn read(answer: &Answer) -> Result<Self, AcmeError> {
        answer.json()
    }
}

/// What a CA says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is an account's.
    Account(String),
    /// It was an account's, which is deactivated.
    Deactivated,
    /// It is nobody's.
    Nobody,
}

impl Session {
    /// Asks for the account object.
    ///
    /// # Errors
    /// What a request can fail with; [`AcmeError::Deactivated`] when the CA says so.
    pub async fn look(&self) -> Result<AccountObject, AcmeError> {
        let answer = self.post(self.account_url(), None).await?;
        AccountObject::read(&answer)
    }

    /// Tells the CA whom to write to.
    ///
    /// # Errors
    /// What a request can fail with.
    pub async fn tell_contact(&self, contact: &[String]) -> Result<AccountObject, AcmeError> {
        let payload = json!({"contact": contact});
        let answer = self.post(self.account_url(), Some(&payload)).await?;
        AccountObject::read(&answer)
    }

    /// Deactivates the account, for good; what the CA answers says whether it did.
    ///
    /// # Errors
    /// What a request can fail with; [`AcmeError::Deactivated`] when it was so already.
    pub async fn deactivate(&self) -> Result<AccountObject, AcmeError> {
        let payload = json!({"status": "deactivated"});
        let answer = self.post(self.account_url(), Some(&payload)).await?;
        AccountObject::read(&answer)
    }
}

impl AccountRecord {
    /// Asks the CA whose the key of the record is; makes no account (RFC 8555, 7.3.1).
    ///
    /// # Errors
    /// What a request can fail with.
    pub async fn find(&self, http: &Http, directory: &Directory) -> Result<Known, AcmeError> {
        let key = SigningKey::of_account(&self.key_pkcs8)?;
        find(http, directory, &key, None).await.map(|(known, _)| known)
    }
}

/// Asks the CA whose a key is; answers an unused nonce with it.
pub(super) async fn find(
    http: &Http,
    directory: &Directory,
    key: &SigningKey,
    nonce: Option<String>,
) -> Result<(Known, Option<String>), AcmeError> {
    let payload = json!({"onlyReturnExisting": true});
    let url = &directory.links.new_account;
    match jws::post(http, directory, Signer::Key(key), url, Some(&payload), nonce).await {
        Ok(answer) => match answer.header(header::LOCATION) {
            Some(url) => Ok((Known::Account(url.to_owned()), answer.nonce())),
            None => Err(answer.not_acme(&"the account has no Location")),
        },
        Err(AcmeError::AccountDoesNotExist(_)) => Ok((Known::Nobody, None)),
        Err(AcmeError::Deactivated(_)) => Ok((Known::Deactivated, None)),
        Err(error) => Err(error),
    }
}
