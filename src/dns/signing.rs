//! Which DKIM keys sign on this host: what OpenDKIM and rspamd are configured to use, and the public halves of their
//! private keys. Pure.
//!
//! Only what is needed to find selectors is read: of OpenDKIM `Domain`, `Selector`, `KeyFile` and `KeyTable`
//! (opendkim.conf(5)); of rspamd's dkim_signing module `domain`, `selectors`, `selector`, `path`, their maps and defaults
//! (docs.rspamd.com/modules/dkim_signing). Neither program is asked. Of a private key only its public half is kept.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use x509_parser::asn1_rs::{FromDer, Integer, OctetString, Sequence};

use super::ucl::{self, Value};

/// Domains, keys and lines that are read at most of one configuration.
const MAX_ENTRIES: usize = 1000;
/// Where rspamd keeps keys when nothing says otherwise.
const RSPAMD_PATH: &str = "/var/lib/rspamd/dkim/$domain.$selector.key";

/// The public half of a key that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// An Ed25519 key of 32 octets.
    Ed25519 {
        /// The public key.
        public: Vec<u8>,
    },
    /// An RSA key: modulus and exponent in DER (RFC 8017, A.1.1).
    Rsa {
        /// The public key.
        pkcs1: Vec<u8>,
    },
}

/// A key that a program signs with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signer {
    /// The domain that it signs for; `*` for every one.
    pub domain: String,
    /// The selector.
    pub selector: String,
    /// The file of the private key; `$domain` and `$selector` stand for these.
    pub file: String,
}

impl SigningKey {
    /// Reads a private key: PEM (PKCS#1, PKCS#8), or the base64 that `rspamadm dkim_keygen` writes for Ed25519.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn from_file(bytes: &[u8]) -> Result<Self, String> {
        let unusable = || "it is neither an RSA nor an Ed25519 key".to_owned();
        match PrivateKeyDer::from_pem_slice(bytes) {
            Ok(PrivateKeyDer::Pkcs1(der)) => rsa(der.secret_pkcs1_der()).ok_or_else(unusable),
            Ok(PrivateKeyDer::Pkcs8(der)) => {
                let der = der.secret_pkcs8_der();
                if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                    return Ok(Self::Ed25519 {
                        public: pair.public_key().as_ref().to_vec(),
                    });
                }
                rsa_in_pkcs8(der).ok_or_else(unusable)
            }
            Ok(_) => Err(unusable()),
            Err(_) => raw_ed25519(bytes).ok_or_else(|| "it is no private key in PEM".to_owned()),
        }
    }

    /// Returns the record to publish for it (RFC 6376, 3.6.1).
    pub fn record(&self) -> String {
        match self {
            Self::Ed25519 { public } => format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(public)),
            Self::Rsa { pkcs1 } => {
                format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(spki(pkcs1)))
            }
        }
    }
}

/// Wraps an RSA public key into a SubjectPublicKeyInfo (RFC 3279, 2.3.1).
fn spki(pkcs1: &[u8]) -> Vec<u8> {
    /// rsaEncryption with NULL parameters.
    const ALGORITHM: [u8; 15] = [
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let bits = [&[0][..], pkcs1].concat();
    let bit_string = element(0x03, &bits);
    element(0x30, &[&ALGORITHM[..], &bit_string].concat())
}

/// Returns one element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let length: Vec<u8> = content
                .len()
                .to_be_bytes()
                .into_iter()
                .skip_while(|byte| *byte == 0)
                .collect();
            bytes.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            bytes.extend(length);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// Returns the public half of an RSAPrivateKey (RFC 8017, A.1.2).
fn rsa(der: &[u8]) -> Option<SigningKey> {
    let (_, sequence) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Integer::from_der(&sequence.content).ok()?;
    let (rest, modulus) = Integer::from_der(rest).ok()?;
    let (_, exponent) = Integer::from_der(rest).ok()?;
    let numbers = [element(0x02, modulus.as_ref()), element(0x02, exponent.as_ref())].concat();
    Some(SigningKey::Rsa {
        pkcs1: element(0x30, &numbers),
    })
}

/// As above, of a PrivateKeyInfo (RFC 5208, 5).
fn rsa_in_pkcs8(der: &[u8]) -> Option<SigningKey> {
    let (_, sequence) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Integer::from_der(&sequence.content).ok()?;
    let (rest, _algorithm) = Sequence::from_der(rest).ok()?;
    let (_, key) = OctetString::from_der(rest).ok()?;
    rsa(key.as_ref())
}

fn raw_ed25519(bytes: &[u8]) -> Option<SigningKey> {
    let text: String = String::from_utf8_lossy(bytes).split_whitespace().collect();
    let raw = BASE64_STANDARD.decode(text).ok()?;
    let public = match raw.len() {
        // Seed and public key, as libsodium keeps them.
        64 => raw.get(32..)?.to_vec(),
        32 => Ed25519KeyPair::from_seed_unchecked(&raw)
            .ok()?
            .public_key()
            .as_ref()
            .to_vec(),
        _ => return None,
    };
    Some(SigningKey::Ed25519 { public })
}

/// What opendkim.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenDkim {
    /// Keys that it names itself.
    pub signers: Vec<Signer>,
    /// The file of its `KeyTable`, where it has one that is a file.
    pub key_table: Option<String>,
}

/// Reads opendkim.conf.
pub fn opendkim(text: &str) -> OpenDkim {
    let value = |name: &str| {
        let line = text.lines().map(str::trim).rfind(|line| {
            line.split_whitespace()
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case(name))
        })?;
        let value = line.split_once(char::is_whitespace)?.1;
        Some(value.split('#').next().unwrap_or_default().trim().to_owned()).filter(|value| !value.is_empty())
    };
    let mut found = OpenDkim {
        key_table: value("KeyTable").and_then(|table| file_of(&table)),
        ..OpenDkim::default()
    };
    if let (Some(domains), Some(selector), Some(file)) =
        (value("Domain"), value("Selector"), value("KeyFile"))
    {
        for domain in domains
            .split([',', ' '])
            .map(str::trim)
            .filter(|domain| !domain.is_empty())
            .take(MAX_ENTRIES)
        {
            found.signers.push(Signer {
                domain: domain.to_ascii_lowercase(),
                selector: selector.to_ascii_lowercase(),
                file: file.clone(),
            });
        }
    }
    found
}

/// Returns the file of a data set, where it is one (opendkim(8), DATA SETS).
fn file_of(set: &str) -> Option<String> {
    match set.split_once(':') {
        None => set.starts_with('/').then(|| set.to_owned()),
        Some(("file" | "refile", path)) => Some(path.to_owned()),
        Some(_) => None,
    }
}

/// Reads a `KeyTable`: `NAME DOMAIN:SELECTOR:FILE`.
pub fn key_table(text: &str) -> Vec<Signer> {
    let signer = |line: &str| {
        let entry = line.split_whitespace().nth(1)?;
        let mut parts = entry.splitn(3, ':');
        let (domain, selector, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Signer {
            // `%` stands for the domain of the sender.
            domain: if domain == "%" {
                "*".to_owned()
            } else {
                domain.to_ascii_lowercase()
            },
            selector: selector.to_ascii_lowercase(),
            file: file.to_owned(),
        })
    };
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(signer).take(MAX_ENTRIES).collect()
}

/// What rspamd's settings for signing say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rspamd {
    /// Keys that they name themselves.
    pub signers: Vec<Signer>,
    /// The file of `selector_map`, a selector for each domain, where there is one that is a file.
    pub selector_map: Option<String>,
    /// The file of `path_map`, likewise for the keys' files.
    pub path_map: Option<String>,
    selector: Option<String>,
    path: Option<String>,
}

/// Reads rspamd's `dkim_signing.conf` (rspamd, "DKIM signing module"); what it does not say is as it comes with rspamd.
pub fn rspamd(text: &str) -> Rspamd {
    let file = ucl::parse(text);
    let conf = file.get("dkim_signing").unwrap_or(&file);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut found = Rspamd {
        signers: Vec::new(),
        selector_map: conf.text("selector_map").and_then(map_file),
        path_map: conf.text("path_map").and_then(map_file),
        selector: owned(conf.text("selector")),
        path: owned(conf.text("path")),
    };
    let Value::Object(entries) = conf else {
        return found;
    };
    let domains = entries.iter().filter(|(key, _)| key == "domain");
    let domains = domains.filter_map(|(_, value)| match value {
        Value::Object(domains) => Some(domains),
        _ => None,
    });
    for (domain, own) in domains.flatten() {
        // One key, or one of each kind.
        let keys: Vec<&Value> = match own.get("selectors") {
            Some(Value::Array(keys)) => keys.iter().collect(),
            Some(key) => vec![key],
            None => vec![own],
        };
        for key in keys {
            let signer = found.signer(domain, key.text("selector"), key.text("path"));
            found.signers.push(signer);
        }
    }
    let falls_back = conf.text("try_fallback") != Some("false");
    if falls_back || found.signers.is_empty() {
        let signer = found.signer("*", None, None);
        found.signers.push(signer);
    }
    found.signers.truncate(MAX_ENTRIES);
    found
}

/// Returns the file of a map, where it is one, the directories of Debian's package in the place of variables.
fn map_file(map: &str) -> Option<String> {
    let mut path = map.trim_start_matches("file://").to_owned();
    for (variable, directory) in [
        ("LOCAL_CONFDIR", "/etc/rspamd"),
        ("CONFDIR", "/etc/rspamd"),
        ("DBDIR", "/var/lib/rspamd"),
    ] {
        path = path
            .replace(&format!("${{{variable}}}"), directory)
            .replace(&format!("${variable}"), directory);
    }
    path.starts_with('/').then_some(path)
}

impl Rspamd {
    fn signer(&self, domain: &str, selector: Option<&str>, path: Option<&str>) -> Signer {
        let selector = selector.or(self.selector.as_deref()).unwrap_or("dkim");
        let path = path.or(self.path.as_deref()).unwrap_or(RSPAMD_PATH);
        Signer {
            domain: domain.to_ascii_lowercase(),
            selector: selector.to_ascii_lowercase(),
            file: path.to_owned(),
        }
    }

    /// Returns the keys that the maps name, by their content.
    pub fn of_maps(&self, selectors: &str, paths: &str) -> Vec<Signer> {
        let (selectors, paths) = (map(selectors), map(paths));
        let domains: BTreeSet<&str> = selectors.keys().chain(paths.keys()).copied().collect();
        let signer =
            |domain: &str| self.signer(domain, selectors.get(domain).copied(), paths.get(domain).copied());
        domains.into_iter().take(MAX_ENTRIES).map(signer).collect()
    }
}

/// Reads lines of a key and a value.
fn map(text: &str) -> BTreeMap<&str, &str> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(key, value)| (key, value.trim()))
        .collect()
}

impl Signer {
    /// Returns the file of the key for a domain that it signs for; `None` for another.
    pub fn file_for(&self, domain: &str) -> Option<String> {
        (self.domain == "*" || self.domain == domain).then(|| {
            self.file
                .replace("$domain", domain)
                .replace("$selector", &self.selector)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::{KeyType, PrivateKey};

    #[test]
    fn reads_opendkim() {
        let conf = "# Domain no.test\nDomain  B.test, c.test\nSelector 2026 # x\nKeyFile /k\nkeytable refile:/etc/opendkim/key.table\n";
        let found = opendkim(conf);
        let signers: Vec<(&str, &str)> = found
            .signers
            .iter()
            .map(|one| (one.domain.as_str(), one.file.as_str()))
            .collect();
        assert_eq!(signers, [("b.test", "/k"), ("c.test", "/k")]);
        assert_eq!(found.key_table.as_deref(), Some("/etc/opendkim/key.table"));
        assert_eq!(opendkim("KeyTable mysql:x\nDomain a.test"), OpenDkim::default());
        let table = key_table("# x\nd d.test:s1:/etc/d.private\nall %:s2:/etc/all\nbad\n");
        assert_eq!(table[0].file_for("d.test").as_deref(), Some("/etc/d.private"));
        assert_eq!(table[0].file_for("e.test"), None);
        assert_eq!((table[1].domain.as_str(), table.len()), ("*", 2));
    }

    #[test]
    fn reads_rspamd() {
        let check = |text: &str, expected: &[(&str, &str, &str)]| {
            let found = rspamd(text).signers;
            let found: Vec<(&str, &str, &str)> = found
                .iter()
                .map(|one| (one.domain.as_str(), one.selector.as_str(), one.file.as_str()))
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("", &[("*", "dkim", RSPAMD_PATH)]);
        check(
            "selector = \"s1\";\ndomain {\n  A.test {\n    selector = \"own\";\n    path = \"/a.key\";\n  }\n  b.test { }\n}\n",
            &[
                ("a.test", "own", "/a.key"),
                ("b.test", "s1", RSPAMD_PATH),
                ("*", "s1", RSPAMD_PATH),
            ],
        );
        // A key of each kind, as rspamd's manual has it.
        check(
            "try_fallback = false;\ndomain {\n a.test {\n  selectors [\n   { path: \"/rsa\"; selector: \"r\" },\n   { path = /ed, selector = e }\n  ]\n }\n}\n",
            &[("a.test", "r", "/rsa"), ("a.test", "e", "/ed")],
        );
        check(
            "dkim_signing { path = \"/k/$selector\"; selector = x; }",
            &[("*", "x", "/k/$selector")],
        );
        let maps = rspamd(
            "selector_map = \"$LOCAL_CONFDIR/local.d/s.map\"; path_map = \"${DBDIR}/p.map\"; path = /k",
        );
        assert_eq!(maps.selector_map.as_deref(), Some("/etc/rspamd/local.d/s.map"));
        assert_eq!(maps.path_map.as_deref(), Some("/var/lib/rspamd/p.map"));
        let found = maps.of_maps(
            "# x\na.test  s1\nb.test s2 # y\nbad\n",
            "b.test /b/$selector.key\nc.test /c\n",
        );
        let found: Vec<(&str, String)> = found
            .iter()
            .map(|one| (one.selector.as_str(), one.file_for(&one.domain).unwrap()))
            .collect();
        let expected = [("s1", "/k"), ("s2", "/b/s2.key"), ("dkim", "/c")];
        assert_eq!(
            found,
            expected.map(|(selector, file)| (selector, file.to_owned()))
        );
        assert_eq!(rspamd("path_map = \"https://x.test/map\"").path_map, None);
    }

    #[test]
    fn keeps_the_public_half() {
        let key = PrivateKey::generate(KeyType::Rsa(2048)).unwrap();
        let read = SigningKey::from_file(key.to_pem().as_bytes()).unwrap();
        let expected = BASE64_STANDARD.encode(key.public_key_der());
        assert_eq!(read.record(), format!("v=DKIM1; k=rsa; p={expected}"));
        let seed = BASE64_STANDARD.encode([7; 32]);
        assert!(matches!(
            SigningKey::from_file(seed.as_bytes()),
            Ok(SigningKey::Ed25519 { .. })
        ));
        for wrong in [
            "",
            "x",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(SigningKey::from_file(wrong.as_bytes()).is_err());
        }
        let ecdsa = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        assert!(SigningKey::from_file(ecdsa.to_pem().as_bytes()).is_err());
    }
}
