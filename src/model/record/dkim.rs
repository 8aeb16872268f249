//! DKIM key records (RFC 6376, 3.6.1; RFC 8301; RFC 8463). Pure.

use base64::{Engine, prelude::BASE64_STANDARD};
use x509_parser::{
    prelude::FromDer,
    public_key::{PublicKey, RSAPublicKey},
    x509::SubjectPublicKeyInfo,
};

use super::tag_list::TagList;

/// A key record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its tags.
    pub tags: TagList,
    /// The key.
    pub key: Key,
}

/// What is in `p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// An Ed25519 key of 32 octets.
    Ed25519(Vec<u8>),
    /// An RSA key.
    Rsa {
        /// Its modulus and exponent in DER, as PKCS#1 has them (RFC 8017, A.1.1).
        pkcs1: Vec<u8>,
        /// The size of its modulus.
        bits: usize,
        /// Whether it stands there without the SubjectPublicKeyInfo around it.
        is_bare: bool,
    },
    /// Empty: the key is revoked.
    Revoked,
}

/// Why a text is no key record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRecordError {
    /// `k` is an algorithm that nobody knows.
    Algorithm(String),
    /// `p` is there and holds no key.
    Key(&'static str),
    /// There is no `p`, or the tags cannot be read.
    Syntax(String),
    /// `v` is not first, or not `DKIM1`.
    Version,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// Why verifiers cannot use it.
    pub fn parse(text: &[u8]) -> Result<Self, KeyRecordError> {
        let tags = TagList::parse(text);
        if tags.get("v").is_some_and(|version| version != "DKIM1")
            || tags.iter().skip(1).any(|(name, _)| name == "v")
        {
            return Err(KeyRecordError::Version);
        }
        if let Some(wrong) = tags.wrong() {
            return Err(KeyRecordError::Syntax(format!("`{wrong}` is no `tag=value`")));
        }
        if let Some(doubled) = tags.doubled() {
            return Err(KeyRecordError::Syntax(format!("`{doubled}` is there twice")));
        }
        let Some(text) = tags.get("p") else {
            return Err(KeyRecordError::Syntax("there is no `p`".to_owned()));
        };
        let text: String = text
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect();
        let algorithm = tags.get("k").unwrap_or("rsa");
        let key = if text.is_empty() {
            Key::Revoked
        } else {
            let bytes = BASE64_STANDARD
                .decode(&text)
                .map_err(|_| KeyRecordError::Key("`p` is not base64"))?;
            match algorithm {
                "rsa" => rsa(&bytes).ok_or(KeyRecordError::Key("`p` is not an RSA key"))?,
                "ed25519" if bytes.len() == 32 => Key::Ed25519(bytes),
                "ed25519" => return Err(KeyRecordError::Key("`p` is not the 32 octets of an Ed25519 key")),
                other => return Err(KeyRecordError::Algorithm(other.to_owned())),
            }
        };
        Ok(Self { tags, key })
    }

    /// Returns whether a list such as `h` or `s` has the value, or is not there.
    pub fn allows(&self, tag: &str, value: &str) -> bool {
        self.tags.get(tag).is_none_or(|list| {
            list.split(':')
                .map(str::trim)
                .any(|one| one == value || (tag == "s" && one == "*"))
        })
    }

    /// Returns whether a flag of `t` is set.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.tags
            .get("t")
            .is_some_and(|list| list.split(':').any(|one| one.trim() == flag))
    }
}

fn rsa(bytes: &[u8]) -> Option<Key> {
    if let Ok((rest, info)) = SubjectPublicKeyInfo::from_der(bytes) {
        let Ok(PublicKey::RSA(key)) = info.parsed() else {
            return None;
        };
        return rest.is_empty().then(|| Key::Rsa {
            pkcs1: info.subject_public_key.data.to_vec(),
            bits: bits(key.modulus),
            is_bare: false,
        });
    }
    let (rest, key) = RSAPublicKey::from_der(bytes).ok()?;
    rest.is_empty().then(|| Key::Rsa {
        pkcs1: bytes.to_vec(),
        bits: bits(key.modulus),
        is_bare: true,
    })
}

/// Returns the size of a number, in bits.
fn bits(number: &[u8]) -> usize {
    let number: Vec<&u8> = number.iter().skip_while(|byte| **byte == 0).collect();
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::{KeyType, PrivateKey};

    #[test]
    fn reads_keys() {
        let key = PrivateKey::generate(KeyType::Rsa(2048)).unwrap();
        let spki = BASE64_STANDARD.encode(key.public_key_der());
        let read = |text: &str| Record::parse(text.as_bytes());
        let record = read(&format!(
            "v=DKIM1; k=rsa; h=sha256; s=email; t=y:s; p={} {}",
            &spki[..40],
            &spki[40..]
        ))
        .unwrap();
        let Key::Rsa { pkcs1, bits, is_bare } = &record.key else {
            panic!()
        };
        assert_eq!((*bits, *is_bare), (2048, false));
        assert!(record.has_flag("y") && record.has_flag("s"));
        assert!(record.allows("h", "sha256") && !record.allows("h", "sha1") && !record.allows("s", "tlsrpt"));
        let bare = read(&format!("p={}", BASE64_STANDARD.encode(pkcs1))).unwrap();
        assert!(matches!(
            bare.key,
            Key::Rsa {
                is_bare: true,
                bits: 2048,
                ..
            }
        ));
        assert!(bare.allows("s", "email"));
        let ed25519 = read("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").unwrap();
        assert!(matches!(ed25519.key, Key::Ed25519(_)));
        assert_eq!(read("v=DKIM1; p=").unwrap().key, Key::Revoked);
        for wrong in [
            "v=DKIM1",
            "k=rsa; v=DKIM1; p=",
            "v=DKIM2; p=",
            "p=!",
            "p=AAAA",
            "k=ed25519; p=AAAA",
            "k=dsa; p=AAAA",
            "p=; p=",
            "x; p=",
            "",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(
            read(&format!(
                "p={}",
                BASE64_STANDARD.encode(PrivateKey::generate(KeyType::EcdsaP256).unwrap().public_key_der())
            ))
            .is_err()
        );
    }
}
