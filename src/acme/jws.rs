//! Signed requests of our own (RFC 8555, 6.2), for what `instant-acme` does not do: a new account for a key that was
//! saved before.

use std::time::Instant;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::Method;
use serde_json::{Value, json};

use super::{
    directory::Directory,
    error::AcmeError,
    http::{Answer, Http},
    poll,
};

/// An account's key, ready to sign with ES256.
pub(crate) struct AccountKey(EcdsaKeyPair);

impl AccountKey {
    /// Makes a new key, as PKCS#8 DER.
    pub fn generate() -> Result<Vec<u8>, AcmeError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map(|document| document.as_ref().to_vec())
            .map_err(|_| AcmeError::Invalid("the crypto library failed to make an account key".to_owned()))
    }

    /// Reads a key in PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, AcmeError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Self)
            .map_err(|_| AcmeError::Invalid("the account key is not an ECDSA key on P-256".to_owned()))
    }

    /// Returns the public key (RFC 7517).
    fn jwk(&self) -> Value {
        // An uncompressed point: 04, x, y (SEC 1, 2.3.3).
        let (x, y) = self
            .0
            .public_key()
            .as_ref()
            .get(1..)
            .and_then(|point| point.split_at_checked(32))
            .unwrap_or_default();
        json!({"crv": "P-256", "kty": "EC", "x": base64(x), "y": base64(y)})
    }

    /// Signs a payload (RFC 7515, 7.2.2) and names the signer by its public key, as newAccount wants it (RFC 8555, 6.2).
    fn sign(&self, url: &str, nonce: &str, payload: &Value) -> Result<Vec<u8>, AcmeError> {
        let protected = json!({"alg": "ES256", "nonce": nonce, "url": url, "jwk": self.jwk()});
        let (protected, payload) = (
            base64(protected.to_string().as_bytes()),
            base64(payload.to_string().as_bytes()),
        );
        let signature = self
            .0
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .map_err(|_| AcmeError::Invalid("the crypto library failed to sign".to_owned()))?;
        let body =
            json!({"protected": protected, "payload": payload, "signature": base64(signature.as_ref())});
        Ok(body.to_string().into_bytes())
    }
}

fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Posts a signed payload; answers the success, with a rejected nonce tried again for a minute.
pub(crate) async fn post(
    http: &Http,
    directory: &Directory,
    key: &AccountKey,
    url: &str,
    payload: &Value,
) -> Result<Answer, AcmeError> {
    let begin = Instant::now();
    let mut nonce = None;
    let mut n_refused = 0;
    loop {
        let used = match nonce.take() {
            Some(nonce) => nonce,
            None => new_nonce(http, directory).await?,
        };
        let body = key.sign(url, &used, payload)?;
        let answer = http.send(Method::POST, url, Some(body.into()), |_| ()).await?;
        nonce = answer.nonce();
        match answer.success() {
            Err(error) if error.is_bad_nonce() => {
                n_refused += 1;
                match poll::nonce_pause(n_refused, begin.elapsed()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                }
            }
            result => return result,
        }
    }
}

/// Gets a fresh nonce (RFC 8555, 7.2).
async fn new_nonce(http: &Http, directory: &Directory) -> Result<String, AcmeError> {
    let answer = http
        .send(Method::HEAD, &directory.links.new_nonce, None, |_| ())
        .await?
        .success()?;
    answer
        .nonce()
        .ok_or_else(|| answer.not_acme("there is no Replay-Nonce header"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn signs_what_the_public_key_in_the_header_verifies() {
        let key = AccountKey::from_pkcs8(&AccountKey::generate().unwrap()).unwrap();
        let body = key.sign("https://ca.test/new", "n1", &json!({"a": 1})).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let header: Value = serde_json::from_slice(&decoded(&text("protected"))).unwrap();
        assert_eq!(
            (&header["alg"], &header["nonce"], &header["url"]),
            (&json!("ES256"), &json!("n1"), &json!("https://ca.test/new"))
        );
        assert_eq!(decoded(&text("payload")), b"{\"a\":1}");
        let mut point = vec![4];
        point.extend(decoded(header["jwk"]["x"].as_str().unwrap()));
        point.extend(decoded(header["jwk"]["y"].as_str().unwrap()));
        let signed = format!("{}.{}", text("protected"), text("payload"));
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &decoded(&text("signature")))
            .unwrap();
    }

    #[test]
    fn refuses_other_keys() {
        assert!(AccountKey::from_pkcs8(b"").is_err());
    }
}
