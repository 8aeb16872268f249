//! External account binding: a new account is bound to a customer's account (RFC 8555, 7.3.4). Pure.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};

use super::jws::base64;

/// base64url; padding, which RFC 8555 leaves out, may be there.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a CA gave a customer, to bind accounts by. Its Debug shows nothing of the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key identifier.
    pub key_id: String,
    mac_key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalAccount({})", self.key_id)
    }
}

impl ExternalAccount {
    /// Takes the key identifier, and the key as the CA shows it: base64url. White space around it is ignored, and the
    /// alphabet of plain base64 is taken too, since some tools convert to it.
    ///
    /// # Errors
    /// What is wrong with the key, without any of it.
    pub fn new(key_id: impl Into<String>, mac_key: &str) -> Result<Self, &'static str> {
        let text = mac_key.trim().replace('+', "-").replace('/', "_");
        match BASE64_URL.decode(text) {
            Ok(mac_key) if !mac_key.is_empty() => Ok(Self {
                key_id: key_id.into(),
                mac_key,
            }),
            _ => {
                Err("the external account's key must be base64url text and nothing else, as the CA shows it")
            }
        }
    }

    /// Returns the binding of an account's public key, for the newAccount request at this URL: a JWS by HS256.
    pub(crate) fn bind(&self, jwk: &Value, new_account_url: &str) -> Value {
        let header = json!({"alg": "HS256", "kid": self.key_id, "url": new_account_url});
        let (protected, payload) = (
            base64(header.to_string().as_bytes()),
            base64(jwk.to_string().as_bytes()),
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.mac_key);
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        json!({"protected": protected, "payload": payload, "signature": base64(tag.as_ref())})
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn reads_keys_as_cas_show_them_and_tells_none_of_a_bad_one() {
        let bytes = [0xfb, 0xff, 0xbe, 1];
        for text in ["-_--AQ", "-_--AQ==", " -_--AQ\n", "+/++AQ=="] {
            let read = ExternalAccount::new("kid", text).unwrap();
            assert_eq!(read.mac_key, bytes, "{text}");
            assert_eq!(format!("{read:?}"), "ExternalAccount(kid)");
        }
        for text in ["", " ", "secret!", "a b", "hmac = \"c2VjcmV0\"", "QUJDX"] {
            let error = ExternalAccount::new("kid", text).unwrap_err();
            assert!(text.trim().is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn binds_the_key_to_the_url() {
        let account = ExternalAccount::new("kid-1", "AAECAwQ").unwrap();
        let jwk = json!({"kty": "EC"});
        let binding = account.bind(&jwk, "https://ca.test/new");
        let text = |name: &str| binding[name].as_str().unwrap();
        let decoded = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)).unwrap();
        let header: Value = serde_json::from_slice(&decoded("protected")).unwrap();
        assert_eq!(
            header,
            json!({"alg": "HS256", "kid": "kid-1", "url": "https://ca.test/new"})
        );
        assert_eq!(decoded("payload"), jwk.to_string().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[0, 1, 2, 3, 4]);
        let signed = format!("{}.{}", text("protected"), text("payload"));
        hmac::verify(&key, signed.as_bytes(), &decoded("signature")).unwrap();
    }
}
