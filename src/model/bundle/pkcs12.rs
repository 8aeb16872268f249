//! Key and certificates out of a PKCS#12 file (RFC 7292): `.p12`, `.pfx`. Pure.
//!
//! Read here and not by a library: `p12-keystore` and RustCrypto's `pkcs12` bring a dozen crates of a second provider (AES,
//! DES, RC2, PBKDF2, SHA-1) for what aws-lc-rs has, or refuses for good reasons. So files encrypted by PBES2 are read, as
//! OpenSSL 3, current Windows and Java write them; RC2 and Triple DES are not: the caller names the command that rewrites them.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::ber;
use crate::model::{
    der::{self, Reader},
    key::{KeyError, encrypted},
};

/// No honest file wants more rounds.
const MOST_ROUNDS: u64 = 10_000_000;

/// The most bags that are looked at, and how deep they may lie in each other.
const MOST_BAGS: usize = 256;
/// An encrypted part counts for so many bags: each costs its rounds, and an honest file has two.
const ENCRYPTED: usize = 32;
const DEEPEST: usize = 4;

/// 1.2.840.113549.1.7.1 and .6: data, and encrypted data.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
/// 1.2.840.113549.1.12.10.1: the kinds of bag are below it.
const BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
/// 1.2.840.113549.1.9.22.1: a certificate in X.509.
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.12.1: the schemes of old are below it.
const OLD_SCHEMES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
/// 1.2.840.113549.1.5.14: PBMAC1 (RFC 9579).
const PBMAC1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0e];

/// What was in the file.
#[derive(Default)]
pub struct Contents {
    /// The certificates, DER.
    pub certificates: Vec<Vec<u8>>,
    /// The private keys, PKCS#8.
    pub keys: Vec<Zeroizing<Vec<u8>>>,
}

/// Why it was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkcs12Error {
    /// It is encrypted in a manner of which only the name is known.
    Cipher,
    /// It is damaged.
    Malformed,
    /// It is encrypted by RC2 or Triple DES, as Windows did and does on request.
    Old,
    /// The passphrase does not open it.
    Passphrase,
    /// Opening it would take longer than any honest file does.
    TooCostly,
}

impl From<KeyError> for Pkcs12Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Cipher => Self::Cipher,
            KeyError::Passphrase => Self::Passphrase,
            KeyError::TooCostly => Self::TooCostly,
            _ => Self::Malformed,
        }
    }
}

/// Returns whether this is PKCS#12: version 3, then PKCS#7.
pub fn is_pkcs12(der: &[u8]) -> bool {
    let begin = || {
        let mut pfx = Reader::new(der).sequence()?;
        let version = pfx.small_unsigned()?;
        pfx.sequence()?
            .read(der::OID)?
            .starts_with(&DATA[..8])
            .then_some(version)
    };
    begin() == Some(3)
}

/// Opens a file.
///
/// # Errors
/// [`Pkcs12Error`]; a wrong passphrase is told by the file's own check value, before anything in it is believed.
pub fn open(der: &[u8], passphrase: &[u8]) -> Result<Contents, Pkcs12Error> {
    let malformed = Pkcs12Error::Malformed;
    let mut pfx = Reader::new(der).sequence().ok_or(malformed)?;
    pfx.small_unsigned().ok_or(malformed)?;
    let mut safe = pfx.sequence().ok_or(malformed)?;
    if safe.read(der::OID) != Some(DATA) {
        return Err(Pkcs12Error::Cipher);
    }
    let content = explicit(&mut safe)
        .and_then(|mut inner| inner.read(der::OCTET_STRING))
        .ok_or(malformed)?;
    if !pfx.is_empty() {
        let mac = pfx.sequence().ok_or(malformed)?;
        check(mac, content, passphrase)?;
    }
    let content = ber::to_der(content).ok_or(malformed)?;
    let mut contents = Contents::default();
    let mut budget = MOST_BAGS;
    let mut infos = Reader::new(&content).sequence().ok_or(malformed)?;
    while !infos.is_empty() {
        let mut info = infos.sequence().ok_or(malformed)?;
        let kind = info.read(der::OID).ok_or(malformed)?;
        let mut inner = explicit(&mut info).ok_or(malformed)?;
        if kind == DATA {
            let bags = inner.read(der::OCTET_STRING).ok_or(malformed)?;
            read_bags(bags, passphrase, 0, &mut budget, &mut contents)?;
        } else if kind == ENCRYPTED_DATA {
            budget = budget.checked_sub(ENCRYPTED).ok_or(Pkcs12Error::TooCostly)?;
            let bags = decrypt(inner, passphrase)?;
            read_bags(&bags, passphrase, 0, &mut budget, &mut contents)?;
        } else {
            // For a recipient's key.
            return Err(Pkcs12Error::Cipher);
        }
    }
    Ok(contents)
}

fn explicit<'a>(reader: &mut Reader<'a>) -> Option<Reader<'a>> {
    reader.read(der::context_constructed(0)).map(Reader::new)
}

/// Opens `EncryptedData` (RFC 5652, 8).
fn decrypt(mut inner: Reader<'_>, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let malformed = Pkcs12Error::Malformed;
    let mut data = inner.sequence().ok_or(malformed)?;
    data.small_unsigned().ok_or(malformed)?;
    let mut info = data.sequence().ok_or(malformed)?;
    info.read(der::OID).ok_or(malformed)?;
    let algorithm = info.read(der::SEQUENCE).ok_or(malformed)?;
    let whole = match info.any().ok_or(malformed)? {
        (0x80, content) => content.to_vec(),
        (0xa0, content) => ber::pieces(content).ok_or(malformed)?,
        _ => return Err(malformed),
    };
    open_encrypted(algorithm, &whole, passphrase)
}

fn open_encrypted(
    algorithm: &[u8],
    data: &[u8],
    passphrase: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Pkcs12Error> {
    let oid = Reader::new(algorithm)
        .read(der::OID)
        .ok_or(Pkcs12Error::Malformed)?;
    if oid.starts_with(OLD_SCHEMES) {
        return Err(Pkcs12Error::Old);
    }
    let algorithm = der::value(der::SEQUENCE, algorithm);
    let whole = der::sequence(&[&algorithm, &der::value(der::OCTET_STRING, data)]);
    Ok(encrypted::open(&whole, passphrase)?)
}

/// Reads `SafeContents`.
fn read_bags(
    bytes: &[u8],
    passphrase: &[u8],
    depth: usize,
    budget: &mut usize,
    contents: &mut Contents,
) -> Result<(), Pkcs12Error> {
    let malformed = Pkcs12Error::Malformed;
    let bytes = Zeroizing::new(ber::to_der(bytes).ok_or(malformed)?);
    let mut bags = Reader::new(&bytes).sequence().ok_or(malformed)?;
    while !bags.is_empty() {
        *budget = budget.checked_sub(1).ok_or(malformed)?;
        let mut bag = bags.sequence().ok_or(malformed)?;
        let kind = bag.read(der::OID).ok_or(malformed)?;
        let value = bag.read(der::context_constructed(0)).ok_or(malformed)?;
        match kind.strip_prefix(BAG) {
            // A key in the clear.
            Some([1]) => contents.keys.push(Zeroizing::new(value.to_vec())),
            // A key under the passphrase.
            Some([2]) => {
                *budget = budget.checked_sub(ENCRYPTED).ok_or(Pkcs12Error::TooCostly)?;
                let mut info = Reader::new(value).sequence().ok_or(malformed)?;
                let algorithm = info.read(der::SEQUENCE).ok_or(malformed)?;
                let data = info.read(der::OCTET_STRING).ok_or(malformed)?;
                contents.keys.push(open_encrypted(algorithm, data, passphrase)?);
            }
            Some([3]) => contents.certificates.extend(certificate(value)),
            // Bags in a bag.
            Some([6]) if depth < DEEPEST => read_bags(value, passphrase, depth + 1, budget, contents)?,
            // Revocation lists and secrets are of no use here.
            _ => {}
        }
    }
    Ok(())
}

/// Returns the certificate of a `CertBag`; `None` for one that is not in X.509.
fn certificate(value: &[u8]) -> Option<Vec<u8>> {
    let mut bag = Reader::new(value).sequence()?;
    let is_x509 = bag.read(der::OID)? == X509;
    let der = explicit(&mut bag)?.read(der::OCTET_STRING)?;
    is_x509.then(|| der.to_vec())
}

/// Holds the file against its check value (RFC 7292, 4; RFC 9579).
fn check(mut mac: Reader<'_>, content: &[u8], passphrase: &[u8]) -> Result<(), Pkcs12Error> {
    let malformed = Pkcs12Error::Malformed;
    let mut info = mac.sequence().ok_or(malformed)?;
    let mut algorithm = info.sequence().ok_or(malformed)?;
    let kind = algorithm.read(der::OID).ok_or(malformed)?;
    let expected = info.read(der::OCTET_STRING).ok_or(malformed)?;
    let salt = mac.read(der::OCTET_STRING).ok_or(malformed)?;
    let rounds = match mac.is_empty() {
        true => 1,
        false => mac.small_unsigned().ok_or(malformed)?,
    };
    let matches = |function: hmac::Algorithm, key: &[u8]| {
        let tag = hmac::sign(&hmac::Key::new(function, key), content);
        constant_time::verify_slices_are_equal(tag.as_ref(), expected).is_ok()
    };
    if kind == PBMAC1 {
        let (function, key) = pbmac1(algorithm.sequence().ok_or(malformed)?, passphrase)?;
        return if matches(function, &key) {
            Ok(())
        } else {
            Err(Pkcs12Error::Passphrase)
        };
    }
    if rounds > MOST_ROUNDS {
        return Err(Pkcs12Error::TooCostly);
    }
    let (digest, function, block) = digest_of(kind).ok_or(Pkcs12Error::Cipher)?;
    // No passphrase is written in two ways: as an empty text with its end, and as nothing at all.
    let mut forms = vec![wide(passphrase)];
    if passphrase.is_empty() {
        forms.push(Zeroizing::new(Vec::new()));
    }
    let opens = |form: &Zeroizing<Vec<u8>>| {
        let key = check_key(digest, block, form, salt, rounds);
        matches(function, &key)
    };
    if forms.iter().any(opens) {
        Ok(())
    } else {
        Err(Pkcs12Error::Passphrase)
    }
}

/// Returns the function of PBMAC1 with its key (RFC 9579, 4).
fn pbmac1(
    mut parameters: Reader<'_>,
    passphrase: &[u8],
) -> Result<(hmac::Algorithm, Zeroizing<Vec<u8>>), Pkcs12Error> {
    let malformed = Pkcs12Error::Malformed;
    let mut derivation = parameters.sequence().ok_or(malformed)?;
    derivation.read(der::OID).ok_or(malformed)?;
    let mut derivation = derivation.sequence().ok_or(malformed)?;
    let salt = derivation.read(der::OCTET_STRING).ok_or(Pkcs12Error::Cipher)?;
    let rounds = derivation.small_unsigned().ok_or(malformed)?;
    let length = derivation.small_unsigned().ok_or(malformed)?;
    let function = |of: Option<Reader<'_>>| match of.and_then(|mut of| of.read(der::OID)) {
        Some([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, last]) => match last {
            9 => Ok((pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256)),
            10 => Ok((pbkdf2::PBKDF2_HMAC_SHA384, hmac::HMAC_SHA384)),
            11 => Ok((pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512)),
            _ => Err(Pkcs12Error::Cipher),
        },
        _ => Err(Pkcs12Error::Cipher),
    };
    let (derive, _) = function(derivation.sequence())?;
    let (_, sign) = function(parameters.sequence())?;
    if rounds > MOST_ROUNDS {
        return Err(Pkcs12Error::TooCostly);
    }
    let rounds = u32::try_from(rounds)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or(malformed)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (16..=64).contains(length));
    let mut key = Zeroizing::new(vec![0; length.ok_or(malformed)?]);
    pbkdf2::derive(derive, rounds, salt, passphrase, &mut key);
    Ok((sign, key))
}

/// Returns the digest of an OID, its HMAC, and its block in octets.
fn digest_of(oid: &[u8]) -> Option<(&'static digest::Algorithm, hmac::Algorithm, usize)> {
    match oid {
        [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Some((
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            64,
        )),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last] => match last {
            1 => Some((&digest::SHA256, hmac::HMAC_SHA256, 64)),
            2 => Some((&digest::SHA384, hmac::HMAC_SHA384, 128)),
            3 => Some((&digest::SHA512, hmac::HMAC_SHA512, 128)),
            _ => None,
        },
        _ => None,
    }
}

/// Returns a passphrase in UTF-16, its end marked (RFC 7292, B.1).
fn wide(passphrase: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = Zeroizing::new(String::from_utf8_lossy(passphrase).into_owned());
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len() * 2 + 2));
    for unit in text.encode_utf16().chain([0]) {
        octets.extend(unit.to_be_bytes());
    }
    octets
}

/// Derives the key of the check value (RFC 7292, B.2, with the ID 3); it is never longer than one digest.
fn check_key(
    algorithm: &'static digest::Algorithm,
    block: usize,
    passphrase: &[u8],
    salt: &[u8],
    rounds: u64,
) -> Zeroizing<Vec<u8>> {
    let filled = |text: &[u8]| -> Vec<u8> {
        let length = text.len().div_ceil(block) * block;
        text.iter().copied().cycle().take(length).collect()
    };
    let mut state = Zeroizing::new(vec![3; block]);
    state.extend(filled(salt));
    state.extend_from_slice(&Zeroizing::new(filled(passphrase)));
    let mut key = Zeroizing::new(digest::digest(algorithm, &state).as_ref().to_vec());
    for _ in 1..rounds.max(1) {
        key = Zeroizing::new(digest::digest(algorithm, &key).as_ref().to_vec());
    }
    key
}
