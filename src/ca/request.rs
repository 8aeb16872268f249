//! Requests that others made (PKCS#10, RFC 2986): read, verified, judged. Pure.
//!
//! They come from strangers. Names and key are taken, and nothing else: a request cannot make itself a CA. Its key is written
//! anew from what was verified.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

use super::name::{AltName, Constraints};
use crate::model::{
    der::{self, Reader},
    pem,
    plan::printable_line,
};

/// No request is larger, in bytes.
pub const LARGEST: usize = 1 << 20;

/// So many names go into one certificate at most: clients refuse chains of more than 100 KiB (SSL_CTX_set_max_cert_list(3)).
pub const MOST_NAMES: usize = 1000;

/// The fewest bits of an RSA key.
const FEWEST_BITS: usize = 2048;
/// The most bits of an RSA key.
const MOST_BITS: usize = 8192;

/// What its PEM may be called.
const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// id-ecPublicKey, 1.2.840.10045.2.1.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// secp256r1, 1.2.840.10045.3.1.7.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// secp384r1, 1.3.132.0.34.
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// extensionRequest, 1.2.840.113549.1.9.14 (RFC 2985, 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
/// subjectAltName, 2.5.29.17.
const ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// A request whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRequest {
    /// The key that is to be certified.
    pub spki: Vec<u8>,
    /// The names that it asks for, each once, in its order.
    pub names: Vec<AltName>,
}

/// Why a request is not signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Signed in a manner that is not taken.
    Algorithm,
    /// The names stand in the common name only.
    CommonNameOnly(String),
    /// The key's curve, or kind, is not taken.
    Key,
    /// It asks for a name that may not be certified.
    Name(String),
    /// It asks for no name.
    NoName,
    /// It is no request, or a broken one.
    NotOne(&'static str),
    /// The CA may not certify this name.
    NotPermitted(String, String),
    /// Its signature is wrong: the asker does not have the key.
    Signature,
    /// It is too large, in bytes.
    TooLarge(usize),
    /// It asks for too many names.
    TooManyNames(usize),
    /// An RSA key of so many bits.
    WeakKey(usize),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm => f.write_str(
                "it is signed in a manner that is not taken here (ECDSA or RSA PKCS#1 v1.5, with SHA-256, SHA-384 or SHA-512, is)",
            ),
            Self::CommonNameOnly(name) => write!(
                f,
                "its name stands in the common name only ({name}), where no client looks; it belongs into subjectAltName"
            ),
            Self::Key => f.write_str("its key is neither ECDSA on P-256 or P-384 nor RSA"),
            Self::Name(why) => write!(f, "it asks for {why}"),
            Self::NoName => f.write_str("it asks for no name"),
            Self::NotOne(why) => write!(f, "it is no certificate request: {why}"),
            Self::NotPermitted(name, permitted) => {
                write!(f, "the CA may not certify {name}: its certificate permits {permitted}")
            }
            Self::Signature => f.write_str("its signature is wrong: it was changed, or whoever made it does not have the key"),
            Self::TooLarge(size) => write!(f, "it has {size} bytes; at most {LARGEST} are read"),
            Self::TooManyNames(n) => write!(
                f,
                "it asks for {n} names; at most {MOST_NAMES} go into one certificate that clients still take"
            ),
            Self::WeakKey(bits) => write!(
                f,
                "its RSA key has {bits} bits; from {FEWEST_BITS} to {MOST_BITS} are taken"
            ),
        }
    }
}

impl std::error::Error for RequestError {}

/// Reads a request, PEM or DER, and verifies its signature.
///
/// # Errors
/// When it is no request, its key or its signature is not taken, or it asks for what is no name.
pub fn read(bytes: &[u8]) -> Result<VerifiedRequest, RequestError> {
    let unverified = parse(bytes)?;
    unverified.verify()?;
    let names = unverified.names()?;
    Ok(VerifiedRequest {
        spki: unverified.key.spki(),
        names,
    })
}

/// Reads a request whose names are not looked at: the operator gives others.
///
/// # Errors
/// As [`read`], but for the names.
pub fn read_key(bytes: &[u8]) -> Result<Vec<u8>, RequestError> {
    let unverified = parse(bytes)?;
    unverified.verify()?;
    Ok(unverified.key.spki())
}

/// Returns the names, each once, when all of them may be certified.
///
/// # Errors
/// When there is none, there are too many, or one is not permitted.
pub fn judge(names: &[AltName], constraints: &Constraints) -> Result<(), RequestError> {
    match names.len() {
        0 => return Err(RequestError::NoName),
        n if n > MOST_NAMES => return Err(RequestError::TooManyNames(n)),
        _ => {}
    }
    match names.iter().find(|name| !constraints.permit(name)) {
        Some(name) => Err(RequestError::NotPermitted(
            name.to_string(),
            printable_line(constraints.to_string().as_bytes(), 200),
        )),
        None => Ok(()),
    }
}

/// A request as it was written.
struct Unverified<'a> {
    info: &'a [u8],
    subject: Reader<'a>,
    attributes: Reader<'a>,
    key: Key<'a>,
    digest: Digest,
    signature: &'a [u8],
}

/// A public key.
#[derive(Clone, Copy)]
enum Key<'a> {
    P256(&'a [u8]),
    P384(&'a [u8]),
    Rsa(&'a [u8]),
}

/// What the signature is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digest {
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    RsaSha256,
    RsaSha384,
    RsaSha512,
}

fn parse(bytes: &[u8]) -> Result<Unverified<'_>, RequestError> {
    use RequestError::NotOne;
    let broken = NotOne("its DER is broken or cut off");
    let mut outer = Reader::new(bytes);
    let mut request = outer.sequence().ok_or(broken.clone())?;
    outer.end().ok_or(NotOne("something follows it"))?;
    let info = request.whole(der::SEQUENCE).ok_or(broken.clone())?;
    let mut algorithm = request.sequence().ok_or(broken.clone())?;
    let signature = bits(&mut request).ok_or(broken.clone())?;
    request.end().ok_or(broken.clone())?;
    let mut inside = Reader::new(info).sequence().ok_or(broken.clone())?;
    if inside.small_unsigned() != Some(0) {
        return Err(NotOne("its version is not 1"));
    }
    let subject = inside.sequence().ok_or(broken.clone())?;
    let spki = inside.sequence().ok_or(broken.clone())?;
    // Left out by some when there are none.
    let attributes = match inside.is_empty() {
        true => Reader::new(&[]),
        false => Reader::new(inside.read(der::context_constructed(0)).ok_or(broken.clone())?),
    };
    inside.end().ok_or(broken.clone())?;
    Ok(Unverified {
        info,
        subject,
        attributes,
        key: Key::read(spki)?,
        digest: Digest::read(algorithm.read(der::OID).ok_or(broken)?)?,
        signature,
    })
}

/// Reads a BIT STRING of whole octets.
fn bits<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.read(der::BIT_STRING)? {
        [0, octets @ ..] => Some(octets),
        _ => None,
    }
}

impl Unverified<'_> {
    fn verify(&self) -> Result<(), RequestError> {
        use Digest::{EcdsaSha256, EcdsaSha384, EcdsaSha512, RsaSha256, RsaSha384, RsaSha512};
        let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match (self.key, self.digest) {
            (Key::P256(point), EcdsaSha256) => (&ECDSA_P256_SHA256_ASN1, point),
            (Key::P256(point), EcdsaSha384) => (&ECDSA_P256_SHA384_ASN1, point),
            (Key::P256(point), EcdsaSha512) => (&ECDSA_P256_SHA512_ASN1, point),
            // What OpenSSL makes of a P-384 key unless it is told otherwise.
            (Key::P384(point), EcdsaSha256) => (&ECDSA_P384_SHA256_ASN1, point),
            (Key::P384(point), EcdsaSha384) => (&ECDSA_P384_SHA384_ASN1, point),
            (Key::P384(point), EcdsaSha512) => (&ECDSA_P384_SHA512_ASN1, point),
            (Key::Rsa(key), RsaSha256) => (&RSA_PKCS1_2048_8192_SHA256, key),
            (Key::Rsa(key), RsaSha384) => (&RSA_PKCS1_2048_8192_SHA384, key),
            (Key::Rsa(key), RsaSha512) => (&RSA_PKCS1_2048_8192_SHA512, key),
            _ => return Err(RequestError::Signature),
        };
        let key: UnparsedPublicKey<&[u8]> = UnparsedPublicKey::new(algorithm, key);
        key.verify(self.info, self.signature)
            .map_err(|_| RequestError::Signature)
    }

    fn names(&self) -> Result<Vec<AltName>, RequestError> {
        let broken = RequestError::NotOne("its extensions are broken");
        let mut names = Vec::new();
        let mut attributes = self.attributes;
        while !attributes.is_empty() {
            let mut attribute = attributes.sequence().ok_or(broken.clone())?;
            let kind = attribute.read(der::OID).ok_or(broken.clone())?;
            let mut values = Reader::new(attribute.read(der::SET).ok_or(broken.clone())?);
            if kind != EXTENSION_REQUEST {
                continue;
            }
            let mut extensions = values.sequence().ok_or(broken.clone())?;
            while !extensions.is_empty() {
                let mut extension = extensions.sequence().ok_or(broken.clone())?;
                let kind = extension.read(der::OID).ok_or(broken.clone())?;
                extension.read(der::BOOLEAN);
                let value = extension.read(der::OCTET_STRING).ok_or(broken.clone())?;
                if kind == ALT_NAME {
                    let mut value = Reader::new(value);
                    let found = value.sequence().ok_or(broken.clone())?;
                    value.end().ok_or(broken.clone())?;
                    read_names(found, &mut names)?;
                }
            }
        }
        if names.is_empty() {
            return Err(match self.common_name() {
                Some(name) => RequestError::CommonNameOnly(name),
                None => RequestError::NoName,
            });
        }
        Ok(names)
    }

    fn common_name(&self) -> Option<String> {
        let mut subject = self.subject;
        while let Some(set) = subject.read(der::SET) {
            let mut pair = Reader::new(set).sequence()?;
            if pair.read(der::OID)? == COMMON_NAME {
                return pair.any().map(|(_, text)| printable_line(text, 80));
            }
        }
        None
    }
}

/// Reads GeneralNames; each name is taken once.
fn read_names(mut from: Reader<'_>, names: &mut Vec<AltName>) -> Result<(), RequestError> {
    let mut known: std::collections::HashSet<AltName> = names.iter().cloned().collect();
    let mut n_names = 0;
    while !from.is_empty() {
        let (tag, content) = from
            .any()
            .ok_or(RequestError::NotOne("its subjectAltName is broken"))?;
        n_names += 1;
        if n_names > MOST_NAMES {
            // Counted to the end, so that the message tells how many there are.
            continue;
        }
        let shown = || printable_line(content, 80);
        // [7] iPAddress.
        let address = || match content.len() {
            4 => <[u8; 4]>::try_from(content).ok().map(std::net::IpAddr::from),
            _ => <[u8; 16]>::try_from(content).ok().map(std::net::IpAddr::from),
        };
        let name = match tag {
            0x82 => match std::str::from_utf8(content).map(str::parse::<AltName>) {
                Ok(Ok(name @ AltName::Dns { .. })) => name,
                Ok(Ok(AltName::Ip(_))) => {
                    let why = format!("the address {} as if it were a host name", shown());
                    return Err(RequestError::Name(why));
                }
                Ok(Err(error)) => return Err(RequestError::Name(format!("what is no host name: {error}"))),
                Err(_) => return Err(RequestError::Name(format!("what is no host name: {}", shown()))),
            },
            0x87 => AltName::Ip(
                address()
                    .ok_or_else(|| RequestError::Name(format!("an address of {} octets", content.len())))?,
            ),
            other => {
                let kind = match other {
                    0xa0 => "an otherName".to_owned(),
                    0x81 => format!("the mail address {}", shown()),
                    0xa4 => "a directory name".to_owned(),
                    0x86 => format!("the URI {}", shown()),
                    _ => format!("a name of kind [{}]", other & 0x1f),
                };
                return Err(RequestError::Name(format!(
                    "{kind}; host names and addresses are certified here"
                )));
            }
        };
        if known.insert(name.clone()) {
            names.push(name);
        }
    }
    match n_names {
        n if n > MOST_NAMES => Err(RequestError::TooManyNames(n)),
        _ => Ok(()),
    }
}

impl<'a> Key<'a> {
    fn read(mut info: Reader<'a>) -> Result<Self, RequestError> {
        let broken = || RequestError::NotOne("its key is broken");
        let mut algorithm = info.sequence().ok_or_else(broken)?;
        let key = bits(&mut info).ok_or_else(broken)?;
        info.end().ok_or_else(broken)?;
        match algorithm.read(der::OID).ok_or_else(broken)? {
            EC => {
                // A curve by its parameters, not by its name, is how CVE-2020-0601 began.
                let curve = algorithm.read(der::OID).ok_or(RequestError::Key)?;
                match (curve, key) {
                    // Uncompressed points only (RFC 5480, 2.2): not every client takes the others.
                    (P256, [4, rest @ ..]) if rest.len() == 64 => Ok(Self::P256(key)),
                    (P384, [4, rest @ ..]) if rest.len() == 96 => Ok(Self::P384(key)),
                    (P256 | P384, _) => Err(broken()),
                    _ => Err(RequestError::Key),
                }
            }
            RSA => {
                let mut outer = Reader::new(key);
                let mut numbers = outer.sequence().ok_or_else(broken)?;
                outer.end().ok_or_else(broken)?;
                let modulus = numbers.read(der::INTEGER).ok_or_else(broken)?;
                let exponent = numbers.read(der::INTEGER).ok_or_else(broken)?;
                numbers.end().ok_or_else(broken)?;
                let significant = match modulus {
                    [0, rest @ ..] => rest,
                    all => all,
                };
                let bits = significant.first().map_or(0, |first| {
                    significant.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0)
                });
                // An even exponent, or 1, is none (RFC 8017, 3.1).
                let is_odd = exponent.last().is_some_and(|last| last & 1 == 1) && exponent != [1];
                match bits {
                    FEWEST_BITS..=MOST_BITS if is_odd => Ok(Self::Rsa(key)),
                    FEWEST_BITS..=MOST_BITS => Err(broken()),
                    bits => Err(RequestError::WeakKey(bits)),
                }
            }
            _ => Err(RequestError::Key),
        }
    }

    /// Returns the key as a subjectPublicKeyInfo, as RFC 3279 and RFC 5480 have it.
    fn spki(self) -> Vec<u8> {
        let ec = |curve| der::sequence(&[&der::value(der::OID, EC), &der::value(der::OID, curve)]);
        let (algorithm, key) = match self {
            Self::P256(point) => (ec(P256), point),
            Self::P384(point) => (ec(P384), point),
            Self::Rsa(key) => (der::sequence(&[&der::value(der::OID, RSA), der::NULL]), key),
        };
        der::sequence(&[&algorithm, &der::bit_string(key)])
    }
}

impl Digest {
    fn read(oid: &[u8]) -> Result<Self, RequestError> {
        match oid {
            // ecdsa-with-SHA256, -SHA384 and -SHA512: 1.2.840.10045.4.3.2 to .4.
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last] => match last {
                2 => Ok(Self::EcdsaSha256),
                3 => Ok(Self::EcdsaSha384),
                4 => Ok(Self::EcdsaSha512),
                _ => Err(RequestError::Algorithm),
            },
            // sha256WithRSAEncryption and its kin: 1.2.840.113549.1.1.11 to .13.
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last] => match last {
                11 => Ok(Self::RsaSha256),
                12 => Ok(Self::RsaSha384),
                13 => Ok(Self::RsaSha512),
                _ => Err(RequestError::Algorithm),
            },
            _ => Err(RequestError::Algorithm),
        }
    }
}

/// Returns the DER of a request that may be PEM.
///
/// # Errors
/// When it is too large, or PEM without a request.
pub fn to_der(bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
    if bytes.len() > LARGEST {
        return Err(RequestError::TooLarge(bytes.len()));
    }
    match bytes.first() {
        None => Err(RequestError::NotOne("it is empty")),
        Some(&der::SEQUENCE) => Ok(bytes),
        Some(_) => pem::read(&LABELS, &bytes).ok_or(RequestError::NotOne(
            "there is no whole block BEGIN CERTIFICATE REQUEST in it, nor is it DER",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        key::{KeyType, PrivateKey},
        name::Identifier,
        request::{Subject, make, to_pem},
    };

    fn request(key: &PrivateKey, names: &[&str]) -> Vec<u8> {
        let names: Vec<Identifier> = names.iter().map(|name| name.parse().unwrap()).collect();
        make(key, &names, &"O=x,CN=cn.example".parse::<Subject>().unwrap()).unwrap()
    }

    #[test]
    fn takes_key_and_names() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa(2048)] {
            let key = PrivateKey::generate(key_type).unwrap();
            let der = request(&key, &["b.example", "*.a.example"]);
            let found = read(&der).unwrap();
            assert_eq!(found.spki, key.public_key_der());
            let names: Vec<String> = found.names.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["b.example", "*.a.example"]);
            assert_eq!(to_der(to_pem(&der).into_bytes()).unwrap(), der);
            assert_eq!(to_der(der.clone()).unwrap(), der);
        }
    }

    #[test]
    fn every_octet_that_is_changed_or_missing_is_seen() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let der = request(&key, &["a.example"]);
        let good = read(&der).unwrap();
        for at in 0..der.len() {
            let mut bad = der.clone();
            bad[at] ^= 1;
            // The signature's own value may be changed only into one that does not fit.
            assert_ne!(read(&bad).as_ref(), Ok(&good), "{at}");
            assert!(read(&bad).is_err(), "{at}");
            assert!(read(&der[..at]).is_err(), "{at}");
        }
        let mut longer = der.clone();
        longer.push(0);
        assert_eq!(read(&longer), Err(RequestError::NotOne("something follows it")));
    }

    #[test]
    fn a_common_name_is_no_name() {
        let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let der = request(&key, &[]);
        assert_eq!(
            read(&der),
            Err(RequestError::CommonNameOnly("cn.example".to_owned()))
        );
        assert_eq!(read_key(&der).unwrap(), key.public_key_der());
        assert!(matches!(to_der(b"hello".to_vec()), Err(RequestError::NotOne(_))));
        assert!(matches!(to_der(Vec::new()), Err(RequestError::NotOne(_))));
        assert!(matches!(
            to_der(vec![0x30; LARGEST + 1]),
            Err(RequestError::TooLarge(_))
        ));
    }

    #[test]
    fn names_are_judged_one_by_one() {
        let judged = |content: &[u8]| {
            let mut names = Vec::new();
            read_names(Reader::new(content), &mut names).map(|()| names.len())
        };
        let general = |tag, content: &[u8]| der::value(tag, content);
        assert_eq!(judged(&general(0x82, b"a.example")), Ok(1));
        assert_eq!(
            judged(&[general(0x82, b"a.example"), general(0x82, b"A.example")].concat()),
            Ok(1)
        );
        assert_eq!(judged(&general(0x87, &[192, 0, 2, 1])), Ok(1));
        assert_eq!(judged(&general(0x87, &[0; 16])), Ok(1));
        for (tag, content, word) in [
            (0x82, &b"192.0.2.1"[..], "address"),
            (0x82, b"a\0.example", "no host name"),
            (0x82, b"\xff", "no host name"),
            (0x82, b"*.com", "top-level"),
            (0x82, b"f*o.example", "no host name"),
            (0x87, &[1, 2, 3], "3 octets"),
            (0x87, &[0; 8], "8 octets"),
            (0x81, b"a@b.c", "mail address a@b.c"),
            (0x86, b"http://a", "URI"),
            (0xa0, b"", "otherName"),
            (0xa4, b"", "directory name"),
            (0x88, b"x", "kind [8]"),
        ] {
            let error = judged(&general(tag, content)).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        let many: Vec<u8> = (0..10_000)
            .flat_map(|n| general(0x82, format!("n{n}.example").as_bytes()))
            .collect();
        assert_eq!(judged(&many), Err(RequestError::TooManyNames(10_000)));
        let constraints = Constraints {
            domains: vec!["example".parse().unwrap()],
            networks: Vec::new(),
        };
        let check = |name: &str, expected: bool| {
            assert_eq!(
                judge(&[name.parse().unwrap()], &constraints).is_ok(),
                expected,
                "{name}"
            );
        };
        check("a.example", true);
        check("a.example.com", false);
        check("192.0.2.1", false);
        assert_eq!(judge(&[], &constraints), Err(RequestError::NoName));
    }
}
