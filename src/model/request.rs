//! A request for a certificate as CAs take it that work by mail or web form: PKCS#10 (RFC 2986). Pure, but for the signature.
//!
//! The names stand in subjectAltName (RFC 2985, 5.4.2; RFC 9525, 2). The subject is what such CAs read besides: who asks. It
//! is kept small: one value for each kind.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, string::Ia5String};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{
    der,
    key::{KeyError, PrivateKey},
    name::Identifier,
};

/// The longest common name (RFC 5280, A.1, ub-common-name).
const LONGEST_COMMON_NAME: usize = 64;

/// A kind of value in a subject, in the order in which a certificate has them: the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attribute {
    Country,
    State,
    Locality,
    Organization,
    OrganizationalUnit,
    CommonName,
    Email,
}

/// Every kind: how it is written, by which other names people know it, and how long its value may be in characters (RFC 5280,
/// A.1).
const ATTRIBUTES: [(Attribute, &str, &[&str], usize); 7] = [
    (Attribute::Country, "C", &["countryName"], 2),
    (Attribute::State, "ST", &["S", "stateOrProvinceName"], 128),
    (Attribute::Locality, "L", &["localityName"], 128),
    (Attribute::Organization, "O", &["organizationName"], 64),
    (
        Attribute::OrganizationalUnit,
        "OU",
        &["organizationalUnitName"],
        64,
    ),
    (Attribute::CommonName, "CN", &["commonName"], LONGEST_COMMON_NAME),
    (Attribute::Email, "emailAddress", &["E", "email"], 255),
];

/// Who asks for a certificate: the subject's distinguished name.
///
/// Whatever order it was written in, it is written into the request from the country down, as CAs expect it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject(Vec<(Attribute, String)>);

/// Why a text is no subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectError(String);

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SubjectError {}

impl FromStr for Subject {
    type Err = SubjectError;

    /// Reads `C=JP,O=Example,CN=mail.example.jp` (RFC 4514, 3) or `/C=JP/O=Example/CN=mail.example.jp` (openssl-req(1)), in
    /// any order; a backslash takes the next character as it is.
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let trimmed = text.trim();
        let (separator, rest) = match trimmed.strip_prefix('/') {
            Some(rest) => ('/', rest),
            None => (',', trimmed),
        };
        let mut found: Vec<(Attribute, String)> = Vec::new();
        if rest.is_empty() {
            return Ok(Self(found));
        }
        for part in split(rest, separator)? {
            let (kind, value) = part.split_once('=').ok_or_else(|| {
                SubjectError(format!(
                    "`{}` is not KIND=VALUE; as in C=JP,O=Example,CN=mail.example.jp, with `\\{separator}` for a `{separator}` in a value",
                    shown(&part)
                ))
            })?;
            let (attribute, name, most) = known(kind.trim())?;
            let value = checked(attribute, name, value.trim(), most)?;
            if found.iter().any(|(other, _)| *other == attribute) {
                return Err(SubjectError(format!("{name} stands there twice; one is taken")));
            }
            found.push((attribute, value));
        }
        found.sort_by_key(|(attribute, _)| *attribute);
        Ok(Self(found))
    }
}

impl fmt::Display for Subject {
    /// Prints it in the order of the request, so that [`FromStr`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (attribute, value)) in self.0.iter().enumerate() {
            let name = ATTRIBUTES
                .iter()
                .find(|(known, ..)| known == attribute)
                .map_or("", |(_, name, ..)| name);
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}=")?;
            for character in value.chars() {
                if matches!(character, ',' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

impl Subject {
    /// Returns whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the common name.
    pub fn common_name(&self) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(attribute, _)| *attribute == Attribute::CommonName);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns it with this common name, where it has none and the name is short enough for one: CAs that work by hand often
    /// refuse a request without.
    #[must_use]
    pub fn or_common_name(mut self, name: &Identifier) -> Self {
        let name = name.to_string();
        if self.common_name().is_none() && name.len() <= LONGEST_COMMON_NAME {
            self.0.push((Attribute::CommonName, name));
            self.0.sort_by_key(|(attribute, _)| *attribute);
        }
        self
    }

    /// Returns it as a `Name` in DER (RFC 5280, 4.1.2.4).
    pub fn to_der(&self) -> Vec<u8> {
        let mut names = Vec::new();
        for (attribute, value) in &self.0 {
            let (oid, tag): (&[u8], u8) = match attribute {
                Attribute::Country => (&[0x55, 4, 6], der::PRINTABLE_STRING),
                Attribute::State => (&[0x55, 4, 8], der::UTF8_STRING),
                Attribute::Locality => (&[0x55, 4, 7], der::UTF8_STRING),
                Attribute::Organization => (&[0x55, 4, 10], der::UTF8_STRING),
                Attribute::OrganizationalUnit => (&[0x55, 4, 11], der::UTF8_STRING),
                Attribute::CommonName => (&[0x55, 4, 3], der::UTF8_STRING),
                // As EMAIL.
                Attribute::Email => (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], der::IA5_STRING),
            };
            let pair = der::sequence(&[&der::value(der::OID, oid), &der::value(tag, value.as_bytes())]);
            der::push(&mut names, der::SET, &pair);
        }
        der::value(der::SEQUENCE, &names)
    }

    /// Returns it with this common name in the place of what it has.
    ///
    /// # Errors
    /// When the name is none: empty, longer than 64 characters, or with a control character.
    pub fn with_common_name(mut self, name: &str) -> Result<Self, SubjectError> {
        let name = checked(Attribute::CommonName, "CN", name.trim(), LONGEST_COMMON_NAME)?;
        self.0
            .retain(|(attribute, _)| *attribute != Attribute::CommonName);
        self.0.push((Attribute::CommonName, name));
        self.0.sort_by_key(|(attribute, _)| *attribute);
        Ok(self)
    }

    fn distinguished_name(&self) -> Result<DistinguishedName, KeyError> {
        let mut name = DistinguishedName::new();
        for (attribute, value) in &self.0 {
            let text = || DnValue::Utf8String(value.clone());
            match attribute {
                // RFC 5280, A.1: two letters, as a PrintableString.
                Attribute::Country => name.push(
                    DnType::CountryName,
                    DnValue::PrintableString(value.as_str().try_into().map_err(|_| KeyError::Failed)?),
                ),
                Attribute::State => name.push(DnType::StateOrProvinceName, text()),
                Attribute::Locality => name.push(DnType::LocalityName, text()),
                Attribute::Organization => name.push(DnType::OrganizationName, text()),
                Attribute::OrganizationalUnit => name.push(DnType::OrganizationalUnitName, text()),
                Attribute::CommonName => name.push(DnType::CommonName, text()),
                Attribute::Email => name.push(
                    DnType::CustomDnType(EMAIL.to_vec()),
                    DnValue::Ia5String(Ia5String::try_from(value.as_str()).map_err(|_| KeyError::Failed)?),
                ),
            }
        }
        Ok(name)
    }
}

/// emailAddress (RFC 2985, 5.2.1), an IA5String.
const EMAIL: [u64; 7] = [1, 2, 840, 113_549, 1, 9, 1];

/// Splits at a separator that no backslash stands before, and takes the backslashes away. An escape may be two hexadecimal
/// digits (RFC 4514, 2.4).
fn split(text: &str, separator: char) -> Result<Vec<String>, SubjectError> {
    let mut parts = vec![Vec::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(part) = parts.last_mut() else { break };
        let mut octets = [0; 4];
        if character == separator {
            parts.push(Vec::new());
        } else if character != '\\' {
            part.extend_from_slice(character.encode_utf8(&mut octets).as_bytes());
        } else {
            let next = characters
                .next()
                .ok_or_else(|| SubjectError("it ends in a backslash".to_owned()))?;
            let digits = next
                .to_digit(16)
                .zip(characters.peek().and_then(|low| low.to_digit(16)));
            match digits.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
                Some(octet) => {
                    characters.next();
                    part.push(octet);
                }
                None => part.extend_from_slice(next.encode_utf8(&mut octets).as_bytes()),
            }
        }
    }
    let whole = |part| String::from_utf8(part).map_err(|_| SubjectError("it is not UTF-8".to_owned()));
    parts.into_iter().map(whole).collect()
}

fn known(kind: &str) -> Result<(Attribute, &'static str, usize), SubjectError> {
    ATTRIBUTES
        .iter()
        .find(|(_, name, others, _)| {
            name.eq_ignore_ascii_case(kind) || others.iter().any(|other| other.eq_ignore_ascii_case(kind))
        })
        .map(|(attribute, name, _, most)| (*attribute, *name, *most))
        .ok_or_else(|| {
            let names: Vec<&str> = ATTRIBUTES.iter().map(|(_, name, ..)| *name).collect();
            SubjectError(format!("`{}` is none of {}", shown(kind), names.join(", ")))
        })
}

fn checked(attribute: Attribute, name: &str, value: &str, most: usize) -> Result<String, SubjectError> {
    let refuse = |why: &str| Err(SubjectError(format!("{name} `{}` {why}", shown(value))));
    if value.is_empty() {
        return refuse("is empty");
    }
    if value.chars().count() > most {
        return refuse(&format!("is longer than {most} characters"));
    }
    if value.chars().any(char::is_control) {
        return refuse("holds a control character");
    }
    match attribute {
        Attribute::Country if value.len() != 2 || !value.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            refuse("is not a country's code of two letters, such as JP")
        }
        Attribute::Country => Ok(value.to_ascii_uppercase()),
        Attribute::Email if !value.is_ascii() => {
            refuse("holds what no such value may: letters outside ASCII")
        }
        _ => Ok(value.to_owned()),
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Makes a request for these names, as DER.
///
/// # Errors
/// [`KeyError::Failed`] when signing fails.
pub fn make(key: &PrivateKey, identifiers: &[Identifier], subject: &Subject) -> Result<Vec<u8>, KeyError> {
    let names: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).map_err(|_| KeyError::Failed)?;
    params.distinguished_name = subject.distinguished_name()?;
    key.sign_request(&params)
}

/// Returns the request as PEM.
pub fn to_pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END CERTIFICATE REQUEST-----\n");
    text
}

/// Returns the DER of a request in PEM, as [`to_pem`] writes it.
pub fn from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE REQUEST-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE REQUEST-----")?;
    STANDARD
        .decode(body.split_ascii_whitespace().collect::<String>())
        .ok()
}

/// Returns whether two requests ask for the same by the same key; their signatures may differ.
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let asked = |der| {
        let (rest, request) = X509CertificationRequest::from_der(der).ok()?;
        rest.is_empty()
            .then(|| request.certification_request_info.raw.to_vec())
    };
    asked(one).is_some_and(|one| Some(one) == asked(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::KeyType;

    #[test]
    fn reads_a_subject_as_operators_write_it() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = text.parse::<Subject>().map(|subject| subject.to_string());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
                _ => panic!("{text}: {found:?}"),
            }
        };
        check("", Ok(""));
        check(
            "C=JP,ST=Tokyo,O=Example,CN=a.example",
            Ok("C=JP,ST=Tokyo,O=Example,CN=a.example"),
        );
        check(
            "/C=jp/ST=Tokyo/O=Ex, Inc./CN=a.example",
            Ok("C=JP,ST=Tokyo,O=Ex\\, Inc.,CN=a.example"),
        );
        check(
            "CN=a.example, O=Example , C=JP",
            Ok("C=JP,O=Example,CN=a.example"),
        );
        check("O=Ex\\, Inc.,countryName=JP", Ok("C=JP,O=Ex\\, Inc."));
        check("O=\\E6\\97\\A5\\E6\\9C\\AC", Ok("O=日本"));
        check(
            "O=日本,E=root@example.jp",
            Ok("O=日本,emailAddress=root@example.jp"),
        );
        check("S=a=b", Ok("ST=a=b"));
        check("C=JPN", Err("longer than 2"));
        check("C=J1", Err("two letters"));
        check("X=1", Err("none of C, ST, L, O, OU, CN"));
        check("O=a,O=b", Err("twice"));
        check("O=", Err("empty"));
        check("Example", Err("KIND=VALUE"));
        check("O=a,", Err("KIND=VALUE"));
        check("O=a\\", Err("backslash"));
        check("O=\\ff\\fe", Err("UTF-8"));
        check("O=a\u{7}", Err("control"));
        check("E=ü@example.jp", Err("ASCII"));
        check(&format!("CN={}", "a".repeat(65)), Err("longer than 64"));
    }

    #[test]
    fn its_der_is_what_the_library_writes_into_a_request() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let names: Vec<Identifier> = vec!["a.example".parse().unwrap()];
        for text in ["", "CN=a", "C=JP,ST=東京,L=b,O=c,OU=d,CN=e,emailAddress=f@g.h"] {
            let subject: Subject = text.parse().unwrap();
            let request = make(&key, &names, &subject).unwrap();
            let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
            assert_eq!(
                request.certification_request_info.subject.as_raw(),
                subject.to_der()
            );
        }
        let subject: Subject = "O=x,CN=old".parse().unwrap();
        assert_eq!(
            subject.clone().with_common_name("new").unwrap().to_string(),
            "O=x,CN=new"
        );
        assert!(subject.with_common_name(&"a".repeat(65)).is_err());
    }

    #[test]
    fn a_common_name_is_filled_in_where_it_fits() {
        let check = |subject: &str, name: &str, expected: &str| {
            let subject: Subject = subject.parse().unwrap();
            assert_eq!(
                subject.or_common_name(&name.parse().unwrap()).to_string(),
                expected
            );
        };
        check("", "a.example", "CN=a.example");
        check(
            "emailAddress=a@b.c,O=x",
            "*.a.example",
            "O=x,CN=*.a.example,emailAddress=a@b.c",
        );
        check("CN=other", "a.example", "CN=other");
        let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
        check("", &long, "");
    }

    #[test]
    fn the_same_request_is_known_though_its_signature_differs() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let names: Vec<Identifier> = vec!["a.example".parse().unwrap(), "*.b.example".parse().unwrap()];
        let subject: Subject = "C=JP,O=日本,emailAddress=a@b.c".parse().unwrap();
        let one = make(&key, &names, &subject).unwrap();
        assert!(is_same(&one, &make(&key, &names, &subject).unwrap()));
        assert!(!is_same(&one, &make(&key, &names[..1], &subject).unwrap()));
        assert!(!is_same(&one, &make(&key, &names, &Subject::default()).unwrap()));
        assert!(!is_same(b"", b""));
        assert_eq!(from_pem(to_pem(&one).as_bytes()), Some(one.clone()));
        let (_, request) = X509CertificationRequest::from_der(&one).unwrap();
        assert_eq!(
            request.certification_request_info.subject.to_string(),
            "C=JP, O=日本, Email=a@b.c"
        );
    }
}
