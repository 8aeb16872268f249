//! An account at a CA: made once, used again (RFC 8555, 7.3).
//!
//! The key comes first: [`AccountRecord::generate`] gives it to the caller, who saves it before the CA is asked. A crash
//! after that loses nothing, since asking again with the same key finds the same account.

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
    http::Http,
    jws::{self, AccountKey},
};

/// What must be kept of an account. The key is secret: it is saved, and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// The CA's directory.
    pub directory: String,
    /// The account's URL, once the CA has given it one.
    pub url: Option<String>,
    /// The private key, PKCS#8 DER.
    #[serde(with = "base64_serde")]
    key_pkcs8: Vec<u8>,
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
            key_pkcs8: AccountKey::generate()?,
        })
    }
}

/// What the CA is told when an account is made.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// `mailto:` URIs.
    pub contact: &'a [String],
    /// The operator has read the CA's terms and agrees.
    pub terms_of_service_agreed: bool,
}

/// A conversation with a CA under an account.
pub struct Session {
    pub(crate) http: Http,
    pub(crate) directory: Directory,
    record: AccountRecord,
    /// The account's URL; the same as in the record, but always there.
    url: String,
    /// The last nonce that came and was not used yet: saves asking for one.
    nonce: Mutex<Option<String>>,
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
        let key = AccountKey::from_pkcs8(&record.key_pkcs8)?;
        let mut nonce = None;
        let url = match &record.url {
            Some(url) => url.clone(),
            None => {
                let (url, fresh) = register(&http, &directory, &key, registration).await?;
                nonce = fresh;
                record.url = Some(url.clone());
                url
            }
        };
        Ok(Self {
            http,
            directory,
            record,
            url,
            nonce: Mutex::new(nonce),
        })
    }

    /// Returns what must be kept; to be saved after [`Session::open`].
    pub fn record(&self) -> &AccountRecord {
        &self.record
    }

    /// Returns the CA's directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the account's URL.
    pub fn account_url(&self) -> &str {
        &self.url
    }

    /// Takes the nonce out.
    pub(crate) fn take_nonce(&self) -> Option<String> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts a nonce in that was not used.
    pub(crate) fn put_nonce(&self, nonce: Option<String>) {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = nonce;
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
    key: &AccountKey,
    registration: Registration<'_>,
) -> Result<(String, Option<String>), AcmeError> {
    let meta = directory.meta();
    if meta.external_account_required {
        return Err(AcmeError::ExternalAccountRequired {
            directory: directory.url.clone(),
        });
    }
    if let (Some(url), false) = (&meta.terms_of_service, registration.terms_of_service_agreed) {
        return Err(AcmeError::TermsOfService { url: url.clone() });
    }
    let mut payload = json!({"termsOfServiceAgreed": registration.terms_of_service_agreed});
    if !registration.contact.is_empty() {
        payload["contact"] = json!(registration.contact);
    }
    let answer = jws::post(http, directory, key, &directory.links.new_account, &payload).await?;
    match answer.header(header::LOCATION) {
        Some(url) => Ok((url.to_owned(), answer.nonce())),
        None => Err(answer.not_acme("the new account has no Location")),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_saved_whole_and_shown_without_its_key() {
        let record = AccountRecord::generate("https://ca.test/dir").unwrap();
        let saved = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AccountRecord>(&saved).unwrap(), record);
        let key = serde_json::from_str::<serde_json::Value>(&saved).unwrap()["key_pkcs8"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(key.len() > 100);
        assert_eq!(format!("{record:?}"), "AccountRecord(https://ca.test/dir, None)");
    }
}
