//! Private keys as JSON Web Keys (RFC 7517, RFC 7518, 6), in which certbot keeps its account's. Pure.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{KeyError, PrivateKey};
use crate::model::der;

/// The members of a private key; which of them there are depends on its kind.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    d: Option<String>,
    n: Option<String>,
    e: Option<String>,
    p: Option<String>,
    q: Option<String>,
    dp: Option<String>,
    dq: Option<String>,
    qi: Option<String>,
}

impl PrivateKey {
    /// Reads a private key in JSON.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] when it is no JSON Web Key, [`KeyError::Unsupported`] for any but RSA of at least 2048 bits and
    /// ECDSA on P-256 or P-384, and for numbers that do not belong together.
    pub fn from_jwk(json: &[u8]) -> Result<Self, KeyError> {
        let jwk: Jwk = serde_json::from_slice(json).map_err(|_| KeyError::Malformed)?;
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Self::from_pkcs1_der(&pkcs1(&jwk)?),
            ("EC", Some("P-256" | "P-384")) => {
                let d = number(jwk.d.as_ref())?;
                // ECPrivateKey (RFC 5915, 3) without curve and point: the reader tries the curves.
                let key = der::sequence(&[&der::unsigned(&[1]), &der::value(der::OCTET_STRING, &d)]);
                Self::from_sec1_der(&Zeroizing::new(key))
            }
            _ => Err(KeyError::Unsupported),
        }
    }
}

/// Writes RSAPrivateKey (RFC 8017, A.1.2).
fn pkcs1(jwk: &Jwk) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let members = [&jwk.n, &jwk.e, &jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi];
    let mut content = Zeroizing::new(der::unsigned(&[0]));
    for member in members {
        let octets = number(member.as_ref())?;
        content.extend_from_slice(&Zeroizing::new(der::unsigned(&octets)));
    }
    Ok(Zeroizing::new(der::value(der::SEQUENCE, &content)))
}

fn number(member: Option<&String>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = member.ok_or(KeyError::Malformed)?;
    let octets = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    octets.map(Zeroizing::new).map_err(|_| KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::key::KeyType;

    /// Returns the numbers of a key that was made here, by reading its PKCS#8 again.
    fn rsa() -> (PrivateKey, serde_json::Value) {
        let key = PrivateKey::generate(KeyType::Rsa(2048)).unwrap();
        let pkcs8 = key.to_pkcs8_der();
        let mut outer = der::Reader::new(&pkcs8);
        let mut fields = der::Reader::new(outer.any().unwrap().1);
        fields.any().unwrap();
        fields.any().unwrap();
        let mut pkcs1 = der::Reader::new(fields.any().unwrap().1);
        let mut numbers = der::Reader::new(pkcs1.any().unwrap().1);
        numbers.any().unwrap();
        let mut jwk = json!({"kty": "RSA"});
        for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
            let octets = numbers.any().unwrap().1;
            let octets = octets.strip_prefix(&[0]).unwrap_or(octets);
            jwk[name] = json!(BASE64_URL_SAFE_NO_PAD.encode(octets));
        }
        (key, jwk)
    }

    #[test]
    fn reads_rsa_and_refuses_what_does_not_belong_together() {
        let (key, jwk) = rsa();
        let read = PrivateKey::from_jwk(jwk.to_string().as_bytes()).unwrap();
        assert_eq!(read.public_key_der(), key.public_key_der());
        assert_eq!(read.key_type(), KeyType::Rsa(2048));
        for (member, value) in [
            ("d", json!("AQAB")),
            ("n", json!("!")),
            ("p", json!(null)),
            ("kty", json!("oct")),
        ] {
            let mut broken = jwk.clone();
            broken[member] = value;
            assert!(
                PrivateKey::from_jwk(broken.to_string().as_bytes()).is_err(),
                "{member}"
            );
        }
        for text in ["", "{}", "[]", "{\"kty\":\"RSA\"}", "null"] {
            assert!(PrivateKey::from_jwk(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_the_curves_of_accounts() {
        // RFC 7517, A.2: the key on P-256.
        let jwk = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;
        let key = PrivateKey::from_jwk(jwk.as_bytes()).unwrap();
        assert_eq!(key.key_type(), KeyType::EcdsaP256);
        let x = BASE64_URL_SAFE_NO_PAD
            .decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4")
            .unwrap();
        let public = key.public_key_der();
        assert!(public.windows(x.len()).any(|part| part == x));
        let other = jwk.replace("P-256", "P-521");
        assert_eq!(
            PrivateKey::from_jwk(other.as_bytes()).unwrap_err(),
            KeyError::Unsupported
        );
    }
}
