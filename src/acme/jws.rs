//! Signed requests of our own (RFC 8555, 6.2), for what `instant-acme` does not do: accounts, alternate chains, revocation.

use std::time::Instant;

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::Method;
use serde_json::{Value, json};
use x509_parser::{prelude::FromDer, public_key::RSAPublicKey};

use super::{
    directory::Directory,
    error::AcmeError,
    http::{Answer, Http},
    poll,
};

/// A key that signs requests: an account's, or a certificate's, which may revoke that certificate (RFC 8555, 7.6).
pub(crate) struct SigningKey(Pair);

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl SigningKey {
    /// Makes a new key for an account, as PKCS#8 DER.
    pub fn generate() -> Result<Vec<u8>, AcmeError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map(|document| document.as_ref().to_vec())
            .map_err(|_| AcmeError::Invalid("the crypto library failed to make an account key".to_owned()))
    }

    /// Reads an account's key in PKCS#8 DER. Those of ours are ECDSA on P-256; other clients' are also of the other kinds.
    pub fn of_account(der: &[u8]) -> Result<Self, AcmeError> {
        Self::read(der)
            .ok_or_else(|| AcmeError::Invalid("the account key is none that can sign for the CA".to_owned()))
    }

    /// Reads a certificate's key in PKCS#8 DER: any kind that we make.
    pub fn of_certificate(der: &[u8]) -> Result<Self, AcmeError> {
        Self::read(der).ok_or_else(|| {
            AcmeError::Invalid("the certificate's key is none that can sign for the CA".to_owned())
        })
    }

    fn read(der: &[u8]) -> Option<Self> {
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256);
        let p384 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Pair::P384);
        let rsa = || rsa::KeyPair::from_pkcs8(der).map(|pair| Pair::Rsa(Box::new(pair)));
        let pair = p256().or_else(|_| p384()).or_else(|_| rsa());
        pair.ok().map(Self)
    }

    /// Returns whether orders can be made with it: `instant-acme` signs by ECDSA on P-256 alone.
    pub fn can_order(&self) -> bool {
        matches!(self.0, Pair::P256(_))
    }

    /// Returns the algorithm's name (RFC 7518, 3.1).
    fn algorithm(&self) -> &'static str {
        match self.0 {
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// Returns the public key (RFC 7517).
    pub fn jwk(&self) -> Value {
        match &self.0 {
            Pair::P256(pair) => point("P-256", 32, pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", 48, pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                let (modulus, exponent) = RSAPublicKey::from_der(pair.public_key().as_ref())
                    .map(|(_, key)| (key.modulus, key.exponent))
                    .unwrap_or_default();
                json!({"e": base64(unsigned(exponent)), "kty": "RSA", "n": base64(unsigned(modulus))})
            }
        }
    }

    /// Returns the public key's thumbprint (RFC 7638), as key authorizations have it.
    pub fn thumbprint(&self) -> String {
        // The members are in order and without white space, as RFC 7638, 3 wants them.
        let text = self.jwk().to_string();
        base64(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    /// Returns a signed payload in the flattened form (RFC 7515, 7.2.2); `header` is the rest of the protected header.
    pub fn sign(&self, mut header: Value, payload: &str) -> Result<Value, AcmeError> {
        header["alg"] = json!(self.algorithm());
        let (protected, payload) = (base64(header.to_string().as_bytes()), base64(payload.as_bytes()));
        let signature = self
            .signature(format!("{protected}.{payload}").as_bytes())
            .map_err(|_| AcmeError::Invalid("the crypto library failed to sign".to_owned()))?;
        Ok(json!({"protected": protected, "payload": payload, "signature": base64(&signature)}))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.0 {
            Pair::P256(pair) | Pair::P384(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

/// Returns an elliptic curve's point (RFC 7518, 6.2.1); uncompressed, it is 04, x, y (SEC 1, 2.3.3).
fn point(curve: &str, n_bytes: usize, point: &[u8]) -> Value {
    let (x, y) = point
        .get(1..)
        .and_then(|point| point.split_at_checked(n_bytes))
        .unwrap_or_default();
    json!({"crv": curve, "kty": "EC", "x": base64(x), "y": base64(y)})
}

/// Returns an integer without the zero that DER puts before a set top bit.
fn unsigned(integer: &[u8]) -> &[u8] {
    integer.strip_prefix(&[0]).unwrap_or(integer)
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Who signs a request.
#[derive(Clone, Copy)]
pub(crate) enum Signer<'a> {
    /// An account, named by its URL.
    Account(&'a SigningKey, &'a str),
    /// A key that names itself: for a new account, or to revoke a certificate.
    Key(&'a SigningKey),
}

impl Signer<'_> {
    fn sign(self, url: &str, nonce: &str, payload: Option<&Value>) -> Result<Vec<u8>, AcmeError> {
        let mut header = json!({"nonce": nonce, "url": url});
        let key = match self {
            Self::Account(key, account_url) => {
                header["kid"] = json!(account_url);
                key
            }
            Self::Key(key) => {
                header["jwk"] = key.jwk();
                key
            }
        };
        // Without a payload it is a POST-as-GET (RFC 8555, 6.3).
        let payload = payload.map(Value::to_string).unwrap_or_default();
        Ok(key.sign(header, &payload)?.to_string().into_bytes())
    }
}

/// Posts a signed payload, `None` for a POST-as-GET; answers the success, with a rejected nonce tried again for a minute.
pub(crate) async fn post(
    http: &Http,
    directory: &Directory,
    signer: Signer<'_>,
    url: &str,
    payload: Option<&Value>,
    mut nonce: Option<String>,
) -> Result<Answer, AcmeError> {
    let begin = Instant::now();
    let mut n_refused = 0;
    loop {
        let used = match nonce.take() {
            Some(nonce) => nonce,
            None => new_nonce(http, directory).await?,
        };
        let body = signer.sign(url, &used, payload)?;
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
        .ok_or_else(|| answer.not_acme(&"there is no Replay-Nonce header"))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    };

    use super::*;
    use crate::model::key::{KeyType, PrivateKey};

    fn decoded(text: &Value) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
    }

    #[test]
    fn signs_what_the_public_key_in_the_header_verifies() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa(2048)] {
            let key = PrivateKey::generate(key_type).unwrap();
            let key = SigningKey::of_certificate(&key.to_pkcs8_der()).unwrap();
            let body = Signer::Key(&key)
                .sign("https://ca.test/new", "n1", Some(&json!({"a": 1})))
                .unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let header: Value = serde_json::from_slice(&decoded(&body["protected"])).unwrap();
            assert_eq!(
                (&header["nonce"], &header["url"]),
                (&json!("n1"), &json!("https://ca.test/new"))
            );
            assert_eq!(decoded(&body["payload"]), b"{\"a\":1}");
            let jwk = &header["jwk"];
            let signed = format!(
                "{}.{}",
                body["protected"].as_str().unwrap(),
                body["payload"].as_str().unwrap()
            );
            let signature = decoded(&body["signature"]);
            if key_type == KeyType::Rsa(2048) {
                assert_eq!(header["alg"], "RS256");
                let (n, e) = (decoded(&jwk["n"]), decoded(&jwk["e"]));
                RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
                    .unwrap();
                continue;
            }
            let (name, algorithm) = match key_type {
                KeyType::EcdsaP256 => ("ES256", &ECDSA_P256_SHA256_FIXED),
                _ => ("ES384", &ECDSA_P384_SHA384_FIXED),
            };
            assert_eq!(header["alg"], name);
            let point = [vec![4], decoded(&jwk["x"]), decoded(&jwk["y"])].concat();
            UnparsedPublicKey::new(algorithm, point)
                .verify(signed.as_bytes(), &signature)
                .unwrap();
        }
    }

    #[test]
    fn a_post_as_get_has_an_empty_payload_and_names_the_account() {
        let key = SigningKey::of_account(&SigningKey::generate().unwrap()).unwrap();
        let body = Signer::Account(&key, "https://ca.test/a/1")
            .sign("https://ca.test/c", "n", None)
            .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["payload"], "");
        let header: Value = serde_json::from_slice(&decoded(&body["protected"])).unwrap();
        assert_eq!(header["kid"], "https://ca.test/a/1");
        assert!(header.get("jwk").is_none());
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // The members of section 3.1's key, in our own form.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk = json!({"n": n, "kty": "RSA", "e": "AQAB"}).to_string();
        assert!(
            jwk.starts_with(r#"{"e":"AQAB","kty":"RSA","n":"0v"#),
            "the members are sorted"
        );
        let digest = digest::digest(&digest::SHA256, jwk.as_bytes());
        assert_eq!(
            base64(digest.as_ref()),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn refuses_other_keys() {
        assert!(SigningKey::of_account(b"").is_err());
        assert!(SigningKey::of_certificate(b"").is_err());
        // One that another client has made an account with can be read; orders want another.
        for (key_type, can_order) in [(KeyType::EcdsaP384, false), (KeyType::EcdsaP256, true)] {
            let key = PrivateKey::generate(key_type).unwrap();
            let key = SigningKey::of_account(&key.to_pkcs8_der()).unwrap();
            assert_eq!(key.can_order(), can_order);
        }
    }
}
