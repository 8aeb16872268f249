//! What a private CA signs: its own certificates, and those of others (RFC 5280, 4). Pure, but for the signature and the
//! random serial.
//!
//! Written here and not by a library, so that a foreign request's key is taken as it was verified, and every extension is
//! ours: nothing but names and key is taken from a request.

use std::{fmt, str::FromStr};

use aws_lc_rs::rand;

use super::{
    name::{AltName, Constraints},
    profile::{Profile, Validity},
};
use crate::model::{
    certificate::Sha256,
    der::{self, Reader},
    key::{KeyError, KeyType, PrivateKey},
    request::Subject,
};

/// id-ce: 2.5.29.
const CE: [u8; 2] = [0x55, 0x1d];

/// A serial number: 128 random bits. As text 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial([u8; 16]);

/// A text that is no serial number of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialError;

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no serial number: at most 32 hexadecimal digits are")
    }
}

impl std::error::Error for SerialError {}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Reads hexadecimal digits as openssl prints them, with or without colons and `0x`.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        let text = text.strip_prefix("0x").unwrap_or(text);
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        if digits.is_empty() || digits.len() > 34 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(SerialError);
        }
        // A leading octet of zero, which DER wants before a high bit, is no part of the number.
        u128::from_str_radix(&digits, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| SerialError)
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;

    fn try_from(text: String) -> Result<Self, SerialError> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl serde::Serialize for Serial {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Serial {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serial {
    /// Returns a new one.
    ///
    /// # Errors
    /// [`KeyError::Failed`] when there is no randomness.
    pub fn random() -> Result<Self, KeyError> {
        let mut octets = [0; 16];
        rand::fill(&mut octets).map_err(|_| KeyError::Failed)?;
        // Zero is no serial number (RFC 5280, 4.1.2.2).
        match octets {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Err(KeyError::Failed),
            octets => Ok(Self(octets)),
        }
    }

    /// Returns it as an `INTEGER`.
    pub fn to_der(self) -> Vec<u8> {
        der::unsigned(&self.0)
    }
}

/// Who signs.
pub struct Issuer<'a> {
    /// The subject of its certificate, DER.
    pub name: &'a [u8],
    /// Its subjectKeyIdentifier.
    pub key_id: &'a [u8],
    /// Its key.
    pub key: &'a PrivateKey,
}

/// The end-entity certificate to be signed.
pub struct EndEntity<'a> {
    /// Its number.
    pub serial: Serial,
    /// The holder's subjectPublicKeyInfo, verified.
    pub spki: &'a [u8],
    /// The names; not empty.
    pub names: &'a [AltName],
    /// The subject; may be empty.
    pub subject: &'a Subject,
    /// What it is for.
    pub profile: Profile,
    /// When it is good.
    pub validity: Validity,
    /// Where its CRL is.
    pub crl_urls: &'a [String],
}

/// A CA's certificate to be signed.
pub struct Authority<'a> {
    /// Its number.
    pub serial: Serial,
    /// Its subjectPublicKeyInfo.
    pub spki: &'a [u8],
    /// Its subject; not empty.
    pub subject: &'a Subject,
    /// When it is good.
    pub validity: Validity,
    /// Which names it may certify.
    pub constraints: &'a Constraints,
}

/// Returns the subject that a certificate for these names has: its first name that is short enough, else none.
pub fn subject_for(names: &[AltName]) -> Subject {
    names
        .iter()
        .find_map(|name| Subject::default().with_common_name(&name.to_string()).ok())
        .unwrap_or_default()
}

/// Returns the identifier of a key: the leftmost 160 bits of the SHA-256 of its bits (RFC 7093, 2, method 1).
pub fn key_id(spki: &[u8]) -> Vec<u8> {
    let bits = Reader::new(spki)
        .sequence()
        .and_then(|mut info| {
            info.sequence()?;
            info.read(der::BIT_STRING)
        })
        .and_then(|bits| bits.split_first())
        .map_or(spki, |(_unused, bits)| bits);
    Sha256::of(bits).as_bytes()[..20].to_vec()
}

/// Signs a root's certificate by its own key, DER.
///
/// # Errors
/// [`KeyError::Failed`] when signing fails.
pub fn sign_root(of: &Authority<'_>, key: &PrivateKey) -> Result<Vec<u8>, KeyError> {
    let name = of.subject.to_der();
    let id = key_id(of.spki);
    let extensions = authority_extensions(of, None, &id, &[]);
    let issuer = Issuer {
        name: &name,
        key_id: &id,
        key,
    };
    let body = Body {
        serial: of.serial,
        subject: &name,
        validity: of.validity,
        spki: of.spki,
        extensions: &extensions,
    };
    sign(&body, &issuer)
}

/// Signs an intermediate's certificate, which may sign end-entity certificates only, for servers and clients only.
///
/// # Errors
/// As [`sign_root`].
pub fn sign_intermediate(
    of: &Authority<'_>,
    issuer: &Issuer<'_>,
    crl_urls: &[String],
) -> Result<Vec<u8>, KeyError> {
    let extensions = authority_extensions(of, Some(issuer.key_id), &key_id(of.spki), crl_urls);
    let body = Body {
        serial: of.serial,
        subject: &of.subject.to_der(),
        validity: of.validity,
        spki: of.spki,
        extensions: &extensions,
    };
    sign(&body, issuer)
}

/// Signs an end-entity certificate.
///
/// # Errors
/// As [`sign_root`].
pub fn sign_end_entity(of: &EndEntity<'_>, issuer: &Issuer<'_>) -> Result<Vec<u8>, KeyError> {
    let subject = of.subject.to_der();
    let mut extensions = Vec::with_capacity(512);
    // basicConstraints without a word: no CA.
    push_extension(&mut extensions, 19, Criticality::Critical, &der::sequence(&[]));
    // digitalSignature; RSA keys also take part in the key exchange of TLS 1.2 without forward secrecy (keyEncipherment).
    let usage: &[u8] = match is_rsa(of.spki) {
        true => &[5, 0b1010_0000],
        false => &[7, 0b1000_0000],
    };
    let usage = der::value(der::BIT_STRING, usage);
    push_extension(&mut extensions, 15, Criticality::Critical, &usage);
    push_extension(
        &mut extensions,
        37,
        Criticality::Informative,
        &of.profile.key_usages(),
    );
    let mut names = Vec::with_capacity(of.names.len() * 32);
    for name in of.names {
        name.push_der(&mut names);
    }
    // RFC 5280, 4.2.1.6: critical where the subject says nothing.
    let criticality = match of.subject.is_empty() {
        true => Criticality::Critical,
        false => Criticality::Informative,
    };
    push_extension(
        &mut extensions,
        17,
        criticality,
        &der::value(der::SEQUENCE, &names),
    );
    push_key_ids(&mut extensions, Some(issuer.key_id), &key_id(of.spki));
    push_crl_urls(&mut extensions, of.crl_urls);
    let body = Body {
        serial: of.serial,
        subject: &subject,
        validity: of.validity,
        spki: of.spki,
        extensions: &extensions,
    };
    sign(&body, issuer)
}

fn authority_extensions(
    of: &Authority<'_>,
    issuer_key_id: Option<&[u8]>,
    key_id: &[u8],
    crl_urls: &[String],
) -> Vec<u8> {
    let mut extensions = Vec::with_capacity(256);
    let constraints = match issuer_key_id {
        None => der::sequence(&[der::TRUE]),
        // No CA below an intermediate.
        Some(_) => der::sequence(&[der::TRUE, &der::unsigned(&[0])]),
    };
    push_extension(&mut extensions, 19, Criticality::Critical, &constraints);
    // keyCertSign and cRLSign.
    let usage = der::value(der::BIT_STRING, &[1, 0b0000_0110]);
    push_extension(&mut extensions, 15, Criticality::Critical, &usage);
    if issuer_key_id.is_some() {
        // In a CA's certificate this limits what is below it, as every library reads it.
        push_extension(
            &mut extensions,
            37,
            Criticality::Informative,
            &Profile::Both.key_usages(),
        );
    }
    if let Some(names) = of.constraints.to_der() {
        push_extension(&mut extensions, 30, Criticality::Critical, &names);
    }
    push_key_ids(&mut extensions, issuer_key_id, key_id);
    push_crl_urls(&mut extensions, crl_urls);
    extensions
}

/// Whether a client that does not know the extension refuses the certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Criticality {
    Critical,
    Informative,
}

fn push_extension(out: &mut Vec<u8>, number: u8, criticality: Criticality, value: &[u8]) {
    let oid = der::value(der::OID, &[CE[0], CE[1], number]);
    let value = der::value(der::OCTET_STRING, value);
    let critical = match criticality {
        Criticality::Critical => der::TRUE,
        Criticality::Informative => &[],
    };
    der::push(out, der::SEQUENCE, &[&oid, critical, &value].concat());
}

/// authorityKeyIdentifier and subjectKeyIdentifier.
fn push_key_ids(out: &mut Vec<u8>, issuer: Option<&[u8]>, own: &[u8]) {
    if let Some(issuer) = issuer {
        push_authority_key_id(out, issuer);
    }
    let own = der::value(der::OCTET_STRING, own);
    push_extension(out, 14, Criticality::Informative, &own);
}

/// Appends the extension that says by which key something was signed; CRLs have it too.
pub fn push_authority_key_id(out: &mut Vec<u8>, key_id: &[u8]) {
    let id = der::sequence(&[&der::value(der::context(0), key_id)]);
    push_extension(out, 35, Criticality::Informative, &id);
}

/// Appends an extension of a CRL that is not critical: 2.5.29 and this number.
pub fn push_informative(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    push_extension(out, number, Criticality::Informative, value);
}

fn push_crl_urls(out: &mut Vec<u8>, urls: &[String]) {
    if urls.is_empty() {
        return;
    }
    let mut names = Vec::new();
    for url in urls {
        der::push(&mut names, der::context(6), url.as_bytes());
    }
    let full_name = der::value(der::context_constructed(0), &names);
    let point = der::sequence(&[&der::value(der::context_constructed(0), &full_name)]);
    push_extension(out, 31, Criticality::Informative, &der::sequence(&[&point]));
}

fn is_rsa(spki: &[u8]) -> bool {
    // rsaEncryption, 1.2.840.113549.1.1.1.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    let algorithm = Reader::new(spki).sequence().and_then(|mut info| info.sequence());
    algorithm.and_then(|mut algorithm| algorithm.read(der::OID)) == Some(RSA)
}

/// What is to be signed, apart from who signs it.
struct Body<'a> {
    serial: Serial,
    subject: &'a [u8],
    validity: Validity,
    spki: &'a [u8],
    extensions: &'a [u8],
}

fn sign(body: &Body<'_>, issuer: &Issuer<'_>) -> Result<Vec<u8>, KeyError> {
    let algorithm = algorithm(issuer.key.key_type());
    let version = der::value(der::context_constructed(0), &der::unsigned(&[2]));
    let validity = der::sequence(&[
        &der::time(body.validity.not_before),
        &der::time(body.validity.not_after),
    ]);
    let extensions = der::value(
        der::context_constructed(3),
        &der::value(der::SEQUENCE, body.extensions),
    );
    let signed = der::sequence(&[
        &version,
        &body.serial.to_der(),
        algorithm,
        issuer.name,
        &validity,
        body.subject,
        body.spki,
        &extensions,
    ]);
    seal(&signed, issuer.key)
}

/// Puts a signature below what was signed: certificates and CRLs have the same form.
///
/// # Errors
/// [`KeyError::Failed`] when signing fails.
pub fn seal(signed: &[u8], key: &PrivateKey) -> Result<Vec<u8>, KeyError> {
    let signature = der::bit_string(&key.sign(signed)?);
    Ok(der::sequence(&[signed, algorithm(key.key_type()), &signature]))
}

/// Returns the AlgorithmIdentifier of what such a key signs: RFC 5758, 3.2 and RFC 4055, 5.
pub fn algorithm(key_type: KeyType) -> &'static [u8] {
    match key_type {
        // ecdsa-with-SHA256, 1.2.840.10045.4.3.2, and -SHA384, .3; without parameters.
        KeyType::EcdsaP256 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
        KeyType::EcdsaP384 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
        // sha256WithRSAEncryption, 1.2.840.113549.1.1.11; with NULL.
        KeyType::Rsa(_) => &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0],
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::{ca::profile::Validity, model::certificate::Certificate};

    const VALIDITY: Validity = Validity {
        not_before: datetime!(2026-01-01 0:00 UTC),
        not_after: datetime!(2050-01-01 0:00 UTC),
    };

    #[test]
    fn serials_are_read_as_they_are_printed() {
        let serial = Serial::random().unwrap();
        assert_eq!(serial.to_string().parse(), Ok(serial));
        assert_ne!(serial, Serial::random().unwrap());
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<Serial>().ok().map(|serial| serial.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        let high = "ffeeddccbbaa99887766554433221100";
        check(high, Some(high));
        check(&format!("00{high}"), Some(high));
        check("FF:EE:DD:CC:BB:AA:99:88:77:66:55:44:33:22:11:00", Some(high));
        check("0x1", Some("00000000000000000000000000000001"));
        check("", None);
        check("+1", None);
        check("g", None);
        check(&format!("01{high}"), None);
        check(&"0".repeat(40), None);
        let json = serde_json::to_string(&serial).unwrap();
        assert_eq!(serde_json::from_str::<Serial>(&json).unwrap(), serial);
    }

    #[test]
    fn a_chain_of_every_kind_of_key_says_what_it_should() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa(2048)] {
            let (root_key, key) = (
                PrivateKey::generate(key_type).unwrap(),
                PrivateKey::generate(key_type).unwrap(),
            );
            let constraints = Constraints {
                domains: vec!["example.jp".parse().unwrap()],
                networks: Vec::new(),
            };
            let subject: Subject = "CN=example.jp mail CA".parse().unwrap();
            let root = Authority {
                serial: Serial::random().unwrap(),
                spki: &root_key.public_key_der(),
                subject: &subject,
                validity: VALIDITY,
                constraints: &constraints,
            };
            let root = Certificate::from_der(&sign_root(&root, &root_key).unwrap()).unwrap();
            assert!(root.is_ca && root.self_issued);
            assert_eq!(root.subject, "CN=example.jp mail CA");
            assert_eq!(root.not_after, VALIDITY.not_after);
            let issuer = Issuer {
                name: root.subject_der(),
                key_id: root.subject_key_id.as_ref().unwrap(),
                key: &root_key,
            };
            let names: Vec<AltName> = ["*.example.jp", "192.0.2.1", "2001:db8::1"]
                .iter()
                .map(|name| name.parse().unwrap())
                .collect();
            let of = EndEntity {
                serial: Serial::random().unwrap(),
                spki: &key.public_key_der(),
                names: &names,
                subject: &subject_for(&names),
                profile: Profile::Both,
                validity: VALIDITY,
                crl_urls: &["http://crl.example.jp/ca.crl".to_owned()],
            };
            let leaf = Certificate::from_der(&sign_end_entity(&of, &issuer).unwrap()).unwrap();
            assert!(!leaf.is_ca && leaf.may_be_issued_by(&root));
            assert_eq!(leaf.serial_hex().parse(), Ok(of.serial));
            assert_eq!(leaf.subject, "CN=*.example.jp");
            assert_eq!(leaf.dns_names, ["*.example.jp"]);
            assert_eq!(leaf.ip_addresses.len(), 2);
            assert_eq!(leaf.extended_key_usages, ["serverAuth", "clientAuth"]);
            assert!(leaf.matches_key(&key.public_key_der()));
        }
    }
}
