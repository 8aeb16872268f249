//! Another key for the same account (RFC 8555, 7.3.5): its URL, its authorizations and its limits stay.
//!
//! The new key is in the record, and that on disk, before the CA is asked. Until the CA's answer is on disk too the record
//! holds both: [`settle`] finds out which of the two the CA knows, whenever a run was killed in between.

use serde_json::json;

use super::{AccountRecord, Session, object};
use crate::acme::{
    account::object::Known, directory::Directory, error::AcmeError, http::Http, jws::SigningKey,
};

/// Which of two keys is the account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The new one: the CA has made the change.
    Changed,
    /// The old one: the CA never heard of the new one. It stays in the record, for a request may still be on its way.
    Unchanged,
}

impl AccountRecord {
    /// Puts a new key beside the one in use, unless there is one from an earlier try; to be saved before
    /// [`Session::change_key`].
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when the crypto library fails.
    pub fn propose_key(&mut self) -> Result<(), AcmeError> {
        if self.next_key_pkcs8.is_none() {
            self.next_key_pkcs8 = Some(SigningKey::generate()?);
        }
        Ok(())
    }

    /// Puts this key, PKCS#8 DER, beside the one in use: that of another client, to which the account goes back.
    pub fn propose_this(&mut self, key_pkcs8: Vec<u8>) {
        self.next_key_pkcs8 = Some(key_pkcs8);
    }

    /// Returns whether there is a new key beside the one in use.
    pub fn has_proposed_key(&self) -> bool {
        self.next_key_pkcs8.is_some()
    }

    /// Forgets the new key: the CA has refused it.
    pub fn withdraw_key(&mut self) {
        self.next_key_pkcs8 = None;
    }

    /// Makes the new key the one in use, and forgets the old one; to be saved after [`Session::change_key`].
    pub fn adopt_key(&mut self) {
        if let Some(next) = self.next_key_pkcs8.take() {
            self.key_pkcs8 = next;
        }
    }
}

/// Finds out which of a record's two keys the CA knows, and makes it the one in use; to be saved when it changed.
///
/// # Errors
/// What a request can fail with; [`AcmeError::Invalid`] when the new key is another account's.
pub async fn settle(
    http: &Http,
    directory: &Directory,
    record: &mut AccountRecord,
) -> Result<Settled, AcmeError> {
    let Some(next) = &record.next_key_pkcs8 else {
        return Ok(Settled::Unchanged);
    };
    let next = SigningKey::of_account(next)?;
    match object::find(http, directory, &next, None).await?.0 {
        Known::Nobody => Ok(Settled::Unchanged),
        Known::Account(url) if record.url.as_ref().is_none_or(|ours| *ours == url) => {
            record.url = Some(url);
            record.adopt_key();
            Ok(Settled::Changed)
        }
        Known::Account(url) => Err(AcmeError::Invalid(format!(
            "the new account key is that of another account, {url}"
        ))),
        // The new key was the account's before the account was ended.
        Known::Deactivated => {
            record.adopt_key();
            Ok(Settled::Changed)
        }
    }
}

impl Session {
    /// Asks the CA to take the record's new key instead of the old one.
    ///
    /// # Errors
    /// What a request can fail with: after an answer that did not come, either key may be the account's.
    /// [`AcmeError::Unsupported`] when the CA has no such service.
    pub async fn change_key(&self) -> Result<(), AcmeError> {
        let url = self
            .directory()
            .links
            .key_change
            .clone()
            .ok_or(AcmeError::Unsupported("another key for an account (keyChange)"))?;
        let next = self.record().next_key_pkcs8.as_deref();
        let next = SigningKey::of_account(
            next.ok_or_else(|| AcmeError::Invalid("there is no new account key".to_owned()))?,
        )?;
        let request = json!({"account": self.account_url(), "oldKey": self.key.jwk()});
        let header = json!({"jwk": next.jwk(), "url": url});
        let inner = next.sign(header, &request.to_string())?;
        self.post(&url, Some(&inner)).await.map(|_| ())
    }
}
