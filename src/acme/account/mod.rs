//! An account at a CA: made once, used again (RFC 8555, 7.3).
//!
//! The key comes first: [`AccountRecord::generate`] gives it to the caller, who saves it before the CA is asked. A crash
//! after that loses nothing, since asking again with the same key finds the same account.

pub mod object;
pub mod rollover;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use http::header;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    directory::Directory,
    error::AcmeError,
    external_account::ExternalAccount,
    http::{Answer, Http},
    jws::{self, Signer, SigningKey},
};
use object::Known;

/// What must be kept of an account. The key is secret: it is saved, and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// The CA's directory.
    pub directory: String,
    /// The account's URL, once the CA has given it one.
    pub url: Option<String>,
    /// Whom the CA was told to write to; `None` when nobody remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Vec<String>>,
    /// The private key, PKCS#8 DER.
    #[serde(with = "base64_serde")]
    key_pkcs8: Vec<u8>,
    /// The key that is to follow it; there while a change of keys is not finished.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "base64_serde::option"
    )]
    next_key_pkcs8: Option<Vec<u8>>,
}

impl fmt::Debug for AccountRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountRecord({}, {:?})", self.directory, self.url)
    }
}

impl AccountRecord {
    /// Makes a key for a new account at this CA; to be saved before [`Session::open`].
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when the crypto library fails.
    pub fn generate(directory: impl Into<String>) -> Result<Self, AcmeError> {
        Ok(Self {
            directory: directory.into(),
            url: None,
            contact: None,
            key_pkcs8: SigningKey::generate()?,
            next_key_pkcs8: None,
        })
    }

    /// Returns the record of an account that another client has made: its key in PKCS#8 DER, and its URL where that client has
    /// kept it.
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when the key is of a kind that nobody signs with.
    pub fn adopted(
        directory: impl Into<String>,
        url: Option<String>,
        key_pkcs8: Vec<u8>,
    ) -> Result<Self, AcmeError> {
        SigningKey::of_account(&key_pkcs8)?;
        Ok(Self {
            directory: directory.into(),
            url,
            contact: None,
            key_pkcs8,
            next_key_pkcs8: None,
        })
    }

    /// Returns whether orders can be made with the key in use. Where they cannot, it is changed first.
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when the key is damaged.
    pub fn can_order(&self) -> Result<bool, AcmeError> {
        Ok(SigningKey::of_account(&self.key_pkcs8)?.can_order())
    }

    /// Returns the thumbprint of the key in use (RFC 7638).
    ///
    /// # Errors
    /// [`AcmeError::Invalid`] when the key is damaged.
    pub fn thumbprint(&self) -> Result<String, AcmeError> {
        Ok(SigningKey::of_account(&self.key_pkcs8)?.thumbprint())
    }
}

/// What the CA is told when an account is made.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// `mailto:` URIs.
    pub contact: &'a [String],
    /// The operator has read the CA's terms and agrees.
    pub terms_of_service_agreed: bool,
    /// The customer's account to bind it to.
    pub external_account: Option<&'a ExternalAccount>,
}

/// A conversation with a CA under an account.
pub struct Session {
    pub(crate) http: Http,
    pub(crate) directory: Directory,
    record: AccountRecord,
    key: SigningKey,
    /// The account's URL; the same as in the record, but always there.
    url: String,
    /// Nonces that came and were not used yet: saves asking for one before each of many conversations.
    nonces: Mutex<Vec<String>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.record)
    }
}

impl Session {
    /// Begins a conversation; makes the account when the record has no URL yet.
    ///
    /// With a URL nothing is sent. When [`AcmeError::AccountDoesNotExist`] comes later, taking the URL out of the record
    /// and opening again registers the same key anew.
    ///
    /// # Errors
    /// When the CA refuses the account, wants its terms agreed to, or wants an external account.
    pub async fn open(
        http: Http,
        directory: Directory,
        mut record: AccountRecord,
        registration: Registration<'_>,
    ) -> Result<Self, AcmeError> {
        if record.directory != directory.url {
            let reason = format!(
                "the account is one of {}, not of {}",
                record.directory, directory.url
            );
            return Err(AcmeError::Invalid(reason));
        }
        let key = SigningKey::of_account(&record.key_pkcs8)?;
        let mut nonce = None;
        let url = match &record.url {
            Some(url) => url.clone(),
            None => {
                let (url, fresh) = register(&http, &directory, &key, registration).await?;
                nonce = fresh;
                record.url = Some(url.clone());
                record.contact = Some(registration.contact.to_vec());
                url
            }
        };
        Ok(Self {
            http,
            directory,
            record,
            key,
            url,
            nonces: Mutex::new(nonce.into_iter().collect()),
        })
    }

    /// Returns what must be kept; to be saved after [`Session::open`].
    pub fn record(&self) -> &AccountRecord {
        &self.record
    }

    /// Returns the client, for questions that need no account.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Returns the CA's directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the account's URL.
    pub fn account_url(&self) -> &str {
        &self.url
    }

    /// Returns the account's key.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Posts a payload under the account, `None` for a POST-as-GET; answers the success.
    pub(crate) async fn post(
        &self,
        url: &str,
        payload: Option<&serde_json::Value>,
    ) -> Result<Answer, AcmeError> {
        let signer = Signer::Account(&self.key, &self.url);
        let answer = jws::post(
            &self.http,
            &self.directory,
            signer,
            url,
            payload,
            self.take_nonce(),
        )
        .await?;
        self.put_nonce(answer.nonce());
        Ok(answer)
    }

    /// Takes the freshest nonce out.
    pub(crate) fn take_nonce(&self) -> Option<String> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Puts a nonce in that was not used. There are never more than conversations at a time.
    pub(crate) fn put_nonce(&self, nonce: Option<String>) {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.extend(nonce);
    }

    /// Returns the account in the form that `instant-acme` reads. With the links in it, it asks for no directory.
    pub(crate) fn credentials(&self) -> Result<instant_acme::AccountCredentials, AcmeError> {
        use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
        let key = BASE64_URL_SAFE_NO_PAD.encode(&self.record.key_pkcs8);
        let credentials = json!({"id": self.url, "key_pkcs8": key, "urls": self.directory.links});
        serde_json::from_value(credentials)
            .map_err(|_| AcmeError::Invalid("the account's record is damaged".to_owned()))
    }
}

/// Makes the account, or finds the one that this key has; answers its URL and an unused nonce.
async fn register(
    http: &Http,
    directory: &Directory,
    key: &SigningKey,
    registration: Registration<'_>,
) -> Result<(String, Option<String>), AcmeError> {
    let meta = directory.meta();
    if meta.external_account_required && registration.external_account.is_none() {
        // The account may be there all the same: its URL was lost, or it was bound by hand.
        let found = object::find(http, directory, key, None).await?;
        return match found {
            (Known::Account(url), nonce) => Ok((url, nonce)),
            _ => Err(AcmeError::ExternalAccountRequired {
                directory: directory.url.clone(),
            }),
        };
    }
    if let (Some(url), false) = (&meta.terms_of_service, registration.terms_of_service_agreed) {
        return Err(AcmeError::TermsOfService { url: url.clone() });
    }
    let url = &directory.links.new_account;
    let mut payload = json!({"termsOfServiceAgreed": registration.terms_of_service_agreed});
    if !registration.contact.is_empty() {
        payload["contact"] = json!(registration.contact);
    }
    if let Some(external) = registration.external_account {
        payload["externalAccountBinding"] = external.bind(&key.jwk(), url);
    }
    let answer = jws::post(http, directory, Signer::Key(key), url, Some(&payload), None).await;
    let answer = answer.map_err(|error| match registration.external_account {
        Some(external) => not_bound(external, error),
        None => error,
    })?;
    match answer.header(header::LOCATION) {
        Some(url) => Ok((url.to_owned(), answer.nonce())),
        None => Err(answer.not_acme(&"the new account has no Location")),
    }
}

/// Says that it was the binding that the CA did not like, as far as that can be told from its words.
fn not_bound(external: &ExternalAccount, error: AcmeError) -> AcmeError {
    match error {
        AcmeError::Problem { problem, .. }
            if matches!(
                problem.acme_kind(),
                Some("externalAccountRequired" | "malformed" | "unauthorized")
            ) =>
        {
            AcmeError::ExternalAccountRefused {
                key_id: external.key_id.clone(),
                problem,
            }
        }
        error => error,
    }
}

/// Bytes as base64 in JSON.
mod base64_serde {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The decoder's own message would show a byte of the key.
        BASE64_STANDARD
            .decode(text)
            .map_err(|_| D::Error::custom("the account key is not base64"))
    }

    /// The same for what may be absent.
    pub mod option {
        use serde::{Deserializer, Serializer};

        pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => super::serialize(bytes, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_saved_whole_and_shown_without_its_key() {
        let mut record = AccountRecord::generate("https://ca.test/dir").unwrap();
        let old = serde_json::to_value(&record).unwrap();
        assert!(old.get("next_key_pkcs8").is_none() && old.get("contact").is_none());
        assert_eq!(serde_json::from_value::<AccountRecord>(old).unwrap(), record);
        record.propose_key().unwrap();
        record.contact = Some(vec!["mailto:a@example.test".to_owned()]);
        let saved = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AccountRecord>(&saved).unwrap(), record);
        let key = serde_json::from_str::<serde_json::Value>(&saved).unwrap()["key_pkcs8"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(key.len() > 100);
        let (first, proposed) = (record.thumbprint().unwrap(), record.clone());
        record.propose_key().unwrap();
        assert_eq!(record, proposed, "a key that was proposed stays");
        record.adopt_key();
        assert!(!record.has_proposed_key() && record.thumbprint().unwrap() != first);
        assert_eq!(format!("{record:?}"), "AccountRecord(https://ca.test/dir, None)");
    }
}
