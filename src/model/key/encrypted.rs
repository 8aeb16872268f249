//! Private keys under a passphrase: encrypted PKCS#8 (RFC 5958, 3) by PBES2 (RFC 8018, 6.2). Pure.
//!
//! Written with PBKDF2-HMAC-SHA256 and AES-256-CBC, which every OpenSSL since 1.0 reads. Read with AES of any size and
//! PBKDF2 of any SHA; what wants scrypt, DES or an older scheme is refused with the command that rewrites it. The work that
//! a file may ask for is limited: it may come from a stranger.
//!
//! The cryptography is the provider's. Only the structure around it is ours.

use std::{fmt, num::NonZeroU32};

use aws_lc_rs::{
    cipher::{
        AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    iv::FixedLength,
    pbkdf2, rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{KeyError, PrivateKey};
use crate::model::der::{self, Reader};

/// How often the function runs for a key of ours: what OWASP recommends for PBKDF2-HMAC-SHA256.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not zero");

/// No honest key wants more: some seconds of work.
const MOST_ROUNDS: u64 = 10_000_000;

/// No passphrase is longer, in bytes.
const LONGEST: usize = 1024;

/// No encrypted key in DER is larger, in bytes: RSA of 16,384 bits has 9,300.
const LARGEST: usize = 16 << 10;

/// id-PBES2, 1.2.840.113549.1.5.13.
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// id-PBKDF2, 1.2.840.113549.1.5.12.
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// id-hmacWithSHA256, 1.2.840.113549.2.9.
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
/// aes256-CBC-PAD, 2.16.840.1.101.3.4.1.42.
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// A passphrase: no `Debug` of its text, gone from memory with its last use.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a text is no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphraseError {
    /// There is nothing in it.
    Empty,
    /// It is longer than any person's.
    TooLong,
}

impl fmt::Display for PassphraseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the passphrase is empty"),
            Self::TooLong => write!(f, "the passphrase is longer than {LONGEST} bytes"),
        }
    }
}

impl std::error::Error for PassphraseError {}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Passphrase {
    /// Takes a passphrase as it stands in a file or was typed: the first line, without its ending, as `openssl` takes it.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn from_line(text: &[u8]) -> Result<Self, PassphraseError> {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.len() {
            0 => Err(PassphraseError::Empty),
            length if length > LONGEST => Err(PassphraseError::TooLong),
            _ => Ok(Self(Zeroizing::new(line.to_vec()))),
        }
    }

    /// Returns its octets.
    pub(in crate::model) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns whether a PEM text holds a private key under a passphrase, in whatever form.
pub fn is_encrypted(pem: &[u8]) -> bool {
    super::is_encrypted(pem)
}

/// Returns the key as PEM under a passphrase (`ENCRYPTED PRIVATE KEY`), with a line feed at its end.
///
/// # Errors
/// [`KeyError::Failed`] when the provider fails.
pub fn encrypt(key: &PrivateKey, passphrase: &Passphrase) -> Result<String, KeyError> {
    let failed = |_| KeyError::Failed;
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(failed)?;
    let mut secret = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        &salt,
        &passphrase.0,
        secret.as_mut(),
    );
    let cipher = UnboundCipherKey::new(&AES_256, secret.as_ref()).map_err(failed)?;
    // Room for the padding, so that the plain text is never copied.
    let mut bytes = Zeroizing::new(key.to_pkcs8_der()).to_vec();
    bytes.reserve(16);
    let context = PaddedBlockEncryptingKey::cbc_pkcs7(cipher)
        .and_then(|cipher| cipher.less_safe_encrypt(&mut bytes, EncryptionContext::Iv128(random_iv()?)))
        .map_err(failed)?;
    let DecryptionContext::Iv128(iv) = context else {
        return Err(KeyError::Failed);
    };
    Ok(pem(&structure(&salt, iv.as_ref(), &bytes)))
}

/// Reads the first encrypted key of a PEM text.
///
/// # Errors
/// [`KeyError::Missing`] when there is none, [`KeyError::Passphrase`], [`KeyError::Cipher`], [`KeyError::TooCostly`], and
/// those of [`PrivateKey::from_pkcs8_der`] for what is in it.
pub fn decrypt(pem: &[u8], passphrase: &Passphrase) -> Result<PrivateKey, KeyError> {
    let Some(der) = der_of(pem)? else {
        return Err(match is_encrypted(pem) {
            true => KeyError::Cipher,
            false => KeyError::Missing,
        });
    };
    let plain = open(&der, &passphrase.0)?;
    // One in 256 wrong passphrases leaves a padding that looks right: what is no PrivateKeyInfo was not opened.
    if Reader::new(&plain)
        .sequence()
        .and_then(|mut inner| inner.small_unsigned())
        .is_none()
    {
        return Err(KeyError::Passphrase);
    }
    PrivateKey::from_pkcs8_der(&plain)
}

/// Opens what has the form of `EncryptedPrivateKeyInfo`, whatever is in it: PKCS#12 encrypts its certificates in the same way.
/// A wrong passphrase is seen by the padding only: of 256, one passes.
///
/// # Errors
/// As [`decrypt`].
pub(in crate::model) fn open(der: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let parameters = Parameters::read(der)?;
    let mut secret = Zeroizing::new(vec![0; parameters.key_length]);
    pbkdf2::derive(
        parameters.function,
        parameters.rounds,
        parameters.salt,
        passphrase,
        &mut secret,
    );
    let mut bytes = Zeroizing::new(parameters.data.to_vec());
    let wrong = |_| KeyError::Passphrase;
    let cipher = UnboundCipherKey::new(parameters.cipher, &secret).map_err(|_| KeyError::Failed)?;
    let context = DecryptionContext::Iv128(FixedLength::from(parameters.iv));
    let length = PaddedBlockDecryptingKey::cbc_pkcs7(cipher)
        .map_err(|_| KeyError::Failed)?
        .decrypt(&mut bytes, context)
        .map_err(wrong)?
        .len();
    bytes.truncate(length);
    Ok(bytes)
}

fn random_iv() -> Result<FixedLength<16>, aws_lc_rs::error::Unspecified> {
    let mut iv = [0; 16];
    rand::fill(&mut iv)?;
    Ok(FixedLength::from(iv))
}

/// Writes `EncryptedPrivateKeyInfo`.
fn structure(salt: &[u8], iv: &[u8], data: &[u8]) -> Vec<u8> {
    let function = der::sequence(&[
        &der::value(der::OID, PBKDF2),
        &der::sequence(&[
            &der::value(der::OCTET_STRING, salt),
            &der::unsigned(&ROUNDS.get().to_be_bytes()),
            &der::sequence(&[&der::value(der::OID, HMAC_SHA256), der::NULL]),
        ]),
    ]);
    let cipher = der::sequence(&[
        &der::value(der::OID, AES_256_CBC),
        &der::value(der::OCTET_STRING, iv),
    ]);
    der::sequence(&[
        &der::sequence(&[
            &der::value(der::OID, PBES2),
            &der::sequence(&[&function, &cipher]),
        ]),
        &der::value(der::OCTET_STRING, data),
    ])
}

/// What an encrypted key says of itself.
struct Parameters<'a> {
    function: pbkdf2::Algorithm,
    rounds: NonZeroU32,
    salt: &'a [u8],
    cipher: &'static Algorithm,
    key_length: usize,
    iv: [u8; 16],
    data: &'a [u8],
}

impl<'a> Parameters<'a> {
    fn read(der: &'a [u8]) -> Result<Self, KeyError> {
        let mut outer = Reader::new(der);
        let mut info = outer.sequence().ok_or(KeyError::Malformed)?;
        outer.end().ok_or(KeyError::Malformed)?;
        let mut algorithm = info.sequence().ok_or(KeyError::Malformed)?;
        let data = info.read(der::OCTET_STRING).ok_or(KeyError::Malformed)?;
        info.end().ok_or(KeyError::Malformed)?;
        if algorithm.read(der::OID) != Some(PBES2) {
            return Err(KeyError::Cipher);
        }
        let mut schemes = algorithm.sequence().ok_or(KeyError::Malformed)?;
        let mut function = schemes.sequence().ok_or(KeyError::Malformed)?;
        let mut cipher = schemes.sequence().ok_or(KeyError::Malformed)?;
        if function.read(der::OID) != Some(PBKDF2) {
            return Err(KeyError::Cipher);
        }
        let mut derivation = function.sequence().ok_or(KeyError::Malformed)?;
        let salt = derivation.read(der::OCTET_STRING).ok_or(KeyError::Cipher)?;
        let rounds = derivation.small_unsigned().ok_or(KeyError::Malformed)?;
        if rounds > MOST_ROUNDS {
            return Err(KeyError::TooCostly);
        }
        let rounds = u32::try_from(rounds)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or(KeyError::Malformed)?;
        // keyLength is optional, and the cipher's when it is there (RFC 8018, A.2).
        let said_length = match derivation.peek() {
            Some(der::INTEGER) => Some(derivation.small_unsigned().ok_or(KeyError::Malformed)?),
            _ => None,
        };
        let algorithm = match derivation.sequence() {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(mut of) => hmac(of.read(der::OID).unwrap_or_default())?,
        };
        let (cipher_algorithm, key_length) = aes(cipher.read(der::OID).unwrap_or_default())?;
        if said_length.is_some_and(|said| usize::try_from(said) != Ok(key_length)) {
            return Err(KeyError::Malformed);
        }
        let iv = cipher
            .read(der::OCTET_STRING)
            .and_then(|iv| iv.try_into().ok())
            .ok_or(KeyError::Malformed)?;
        if data.is_empty() || data.len() % 16 != 0 {
            return Err(KeyError::Malformed);
        }
        Ok(Self {
            function: algorithm,
            rounds,
            salt,
            cipher: cipher_algorithm,
            key_length,
            iv,
            data,
        })
    }
}

/// Returns PBKDF2 with the function of this OID: 1.2.840.113549.2.7 to .11.
fn hmac(oid: &[u8]) -> Result<pbkdf2::Algorithm, KeyError> {
    match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, last] => match last {
            7 => Ok(pbkdf2::PBKDF2_HMAC_SHA1),
            9 => Ok(pbkdf2::PBKDF2_HMAC_SHA256),
            10 => Ok(pbkdf2::PBKDF2_HMAC_SHA384),
            11 => Ok(pbkdf2::PBKDF2_HMAC_SHA512),
            _ => Err(KeyError::Cipher),
        },
        _ => Err(KeyError::Cipher),
    }
}

/// Returns AES in CBC of this OID, and the octets of its key: 2.16.840.1.101.3.4.1.2, .22 and .42.
fn aes(oid: &[u8]) -> Result<(&'static Algorithm, usize), KeyError> {
    match oid {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, last] => match last {
            2 => Ok((&AES_128, 16)),
            22 => Ok((&AES_192, 24)),
            42 => Ok((&AES_256, 32)),
            _ => Err(KeyError::Cipher),
        },
        _ => Err(KeyError::Cipher),
    }
}

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// Returns the DER of the first encrypted key; `None` when there is none.
fn der_of(pem: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
    let text = String::from_utf8_lossy(pem);
    let Some((_, rest)) = text.split_once(BEGIN) else {
        return Ok(None);
    };
    let (body, _) = rest.split_once(END).ok_or(KeyError::Malformed)?;
    let body: String = body.split_ascii_whitespace().collect();
    if body.len() > LARGEST * 4 / 3 {
        return Err(KeyError::Malformed);
    }
    STANDARD.decode(body).map(Some).map_err(|_| KeyError::Malformed)
}

/// Writes PEM: lines of 64 characters (RFC 7468, 2).
fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("{BEGIN}\n");
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n{END}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::KeyType;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::from_line(text.as_bytes()).unwrap()
    }

    /// One throwaway key after `openssl pkcs8 -topk8` with these options; the passphrase is `geheim`.
    const READABLE: [(&str, &str); 5] = [
        (
            "-v2 aes256",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiA5mbPxAXP7wICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEPab+JJWQKmEUJFnn0fGQE0EgZCN
g0e45hhlcwu0OdJyIvrNkg7ik7O4q4s7CFTJSVfZHnla7q+jQtuV73jgmGCico9j
fkewrW8kKVyH6CjlIykhaTyShRJfMWof20soIgRDSNx8+bNvSkp/vgN8jZPfbzlr
tZtca1W7o7j5DZyGDDYO0i3rX4ti3T7kFLhNU73bldUSMWjeYI17nIXwVJTHoB8=
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
        (
            "-v2 aes-192-cbc",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg6eh1G8jCvmAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEARYEEGy3RbwILu2W4YhVDuPyI+YEgZDM
NB48gz8fKeilMogLZzc/F/bBjL1QyuLCxvavtISd8X46ZevF9tGMYLN4D2GHBpiQ
uQ97iZ36+UHK4s+A/qsCa7g86CO39YNhWIzk+/TfoBmCbJ6GkjJTqrSTkAo/KsBf
/Y0qzlgXLDYblgh9RVUtyao6NrFnl0sokVMhH0SgMuJvqeJp/pzEvLLBg8xVbE0=
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
        (
            "-v2 aes-128-cbc -v2prf hmacWithSHA1",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAiyQPvcR8xh1AICCAAw
HQYJYIZIAWUDBAECBBDZeExOFqf+7Nn8WOdqtMGUBIGQqd3x5OufE8RPnQE3nr6g
vNU3CdjMpUcpw2azj8P+NXo9nRVWod0cNkgT3j2dxgPDBJFYnnu3h0PZZFt/2mWV
7cTlLhNi4B4sVdhGE/JwweFiVPrjv6CyVp3NY3JeVo6dkHXxjJuuZpumIFscKLdW
EtUIFIOrZL8zAK4aU9lpVp6W2iAps0QA5IUCMOigziW9
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
        (
            "-v2 aes256 -v2prf hmacWithSHA512 -iter 5000",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhZbJbP5pyFlgICE4gw
DAYIKoZIhvcNAgsFADAdBglghkgBZQMEASoEEPSPkFlGStX6hpUpJSC+Q2cEgZB1
jfBPlApeIp67qTlU+mp/GqdiN+KtAzzHqYZCHQXG14FQ2cV3t2owYnhAmATHwkgy
HPtfbuaAv67Tif3vkQsqCcFT7SX+PcpV03xRsZymqVPVL+QOWobbQEs0jc/kYJSt
0c6y2sToUR++XvDOymH7NUHEkMG3nImvmoTyMGq7/MuqJyYQh27q89+uaPtx/iI=
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
        (
            "-v2 aes256 -v2prf hmacWithSHA384",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgHqlqpErkChwICCAAw
DAYIKoZIhvcNAgoFADAdBglghkgBZQMEASoEENIMKJUZf4k8tyzqeNOdB+gEgZB9
5uQpBF/grITmDUV26HJgwk/hiW3pQAZVQY5bcn9VBLZ0PZdX19Ff3wm0sE/anyo2
8UCdTkRiF2XK/Egzjh3l0xuBGe1avYDAnuXgSLALwPsmmAdJybTiWhcfpmxDAvJj
+BUER87GgpLJ1H8dzBj+IGxkOUUbgEVpycJoHLbeYQhocQ6dFq47feQpLcw9UKU=
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
    ];

    /// The same key in manners that are not read.
    const UNREADABLE: [(&str, &str); 3] = [
        (
            "-scrypt",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAjASo6HyaoCmgICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBDr+mEoHkAdwAJST7xG3ilRBIGQNm0Ru10+sTeN
nHRM0q95fqkiwaVZbHjkdO0FaC98l4HKCa4WG3sF22VDkD0ybiMGlnypwFttMCX/
GAkNxFto8VOkEnIT4tocFgC4blMaS3OE3MLCINWg+D2pbf+RQUxsAUDXfcKTP32A
fR8lPJqqwCBDSq/oYU+2v6UFe1GoFqjvz8WdC48C8Ce4RTx7FTeH
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
        (
            "-v2 des3",
            "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAiLK6BghmTn9AICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIgG3es5cTAn4EgZB2FFqlLgFdIf+k
4trMBH5US40VrlXTmvh8UkprXmdRI9VeU0dd5e5adyC4adq1jsp0cjZ1T5+sd5n8
xz7dtIVQFlCYrh2x9uyRLQl6ccG47SUYtQZOr326IeXadpxfKRTEcwnMwAoBZgNz
PTVRebAmWn/cSOUhpAHZTpaxUAq+9+0y7QfF0HAuO0GstRIlr6w=
-----END ENCRYPTED PRIVATE KEY-----
",
        ),
        (
            "openssl ec -aes256",
            "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,EAA04AF9834932AA58C5AD7B5FCF9FF0

JWWkCP57rWjrW/8k401USj00t97AT4s1Utx6YyDaMZSEnu67eCrxGspGJncyuUPr
S0q810DcJuM9V6FXxFprgm5eZ1eCj2IAhftAEOc2SLfmCjiQQd5xqZOmflf9ZrCY
0GW7n2q+0zSx0ifNcYHlJvwNxdoD82DTSAg0zLbxVko=
-----END EC PRIVATE KEY-----
",
        ),
    ];

    #[test]
    fn opens_what_it_has_closed() {
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa(2048)] {
            let key = PrivateKey::generate(key_type).unwrap();
            let pem = encrypt(&key, &passphrase("Käse & Brot")).unwrap();
            assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
            assert!(pem.lines().all(|line| line.len() <= 64));
            assert_eq!(
                PrivateKey::from_pem(pem.as_bytes()).unwrap_err(),
                KeyError::Encrypted
            );
            let again = decrypt(pem.as_bytes(), &passphrase("Käse & Brot")).unwrap();
            assert_eq!(again.public_key_der(), key.public_key_der());
            assert_eq!(again.key_type(), key_type);
            assert_eq!(
                decrypt(pem.as_bytes(), &passphrase("Käse & Brot ")).unwrap_err(),
                KeyError::Passphrase
            );
        }
    }

    #[test]
    fn reads_what_openssl_writes() {
        // The same key each time: sha256 of its SPKI.
        let expected = "d30d13db8fb830ee6d00e1f5acc60f062ab2f0a8121f0df2f20cb8db68dfb4ca";
        for (how, pem) in READABLE {
            let key = decrypt(pem.as_bytes(), &passphrase("geheim"))
                .unwrap_or_else(|error| panic!("{how}: {error}"));
            let hex: String = key
                .public_key_sha256()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(hex, expected, "{how}");
        }
        for (how, pem) in UNREADABLE {
            assert_eq!(
                decrypt(pem.as_bytes(), &passphrase("geheim")).unwrap_err(),
                KeyError::Cipher,
                "{how}"
            );
        }
    }

    #[test]
    fn no_file_makes_us_work_for_ever() {
        let text = READABLE[0].1;
        let der = der_of(text.as_bytes()).unwrap().unwrap();
        // OpenSSL writes 2048 rounds as INTEGER 0800.
        let at = der.windows(4).position(|four| four == [2, 2, 8, 0]).unwrap();
        let with = |rounds: &[u8]| {
            let mut outer = Reader::new(&der);
            let _ = outer.sequence().unwrap();
            let mut bytes = der.clone();
            bytes[at..at + 4].copy_from_slice(rounds);
            decrypt(pem(&bytes).as_bytes(), &passphrase("geheim")).unwrap_err()
        };
        assert_eq!(with(&[2, 2, 0, 0]), KeyError::Malformed);
        assert_eq!(with(&[2, 2, 0xff, 0xff]), KeyError::Malformed);
        let honest = structure(&[1; 16], &[2; 16], &[3; 32]);
        let rounds = der::unsigned(&ROUNDS.get().to_be_bytes());
        let at = honest
            .windows(rounds.len())
            .position(|some| some == rounds)
            .unwrap();
        let mut costly = honest.clone();
        costly[at + 2..at + 5].copy_from_slice(&[0x7f, 0xff, 0xff]);
        assert_eq!(Parameters::read(&honest).unwrap().rounds, ROUNDS);
        // 8,388,607 rounds are let through; one more octet is not.
        assert!(Parameters::read(&costly).is_ok());
        let mut reader = Reader::new(&honest);
        let inner = reader.sequence().unwrap();
        assert!(!inner.is_empty());
    }

    #[test]
    fn damage_is_told_and_nothing_panics() {
        let der = der_of(READABLE[0].1.as_bytes()).unwrap().unwrap();
        for length in 0..der.len() {
            assert!(Parameters::read(&der[..length]).is_err(), "{length}");
        }
        for at in 0..100.min(der.len()) {
            let mut bytes = der.clone();
            bytes[at] ^= 0x15;
            // Whatever it is, it is read or refused; the rounds are looked at only.
            let _ = Parameters::read(&bytes);
        }
        let check = |pem: &str, expected| {
            assert_eq!(
                decrypt(pem.as_bytes(), &passphrase("geheim")).unwrap_err(),
                expected,
                "{pem}"
            );
        };
        check("", KeyError::Missing);
        check("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA", KeyError::Malformed);
        check(&format!("{BEGIN}\n%%%%\n{END}\n"), KeyError::Malformed);
        check(&format!("{BEGIN}\nAAAA\n{END}\n"), KeyError::Malformed);
        check(
            &format!("{BEGIN}\n{}\n{END}\n", "A".repeat(40_000)),
            KeyError::Malformed,
        );
    }

    #[test]
    fn a_passphrase_is_the_first_line_and_is_never_shown() {
        assert_eq!(passphrase("geheim\r\nmore"), passphrase("geheim"));
        assert_ne!(passphrase(" geheim"), passphrase("geheim"));
        assert_eq!(Passphrase::from_line(b"\n"), Err(PassphraseError::Empty));
        assert_eq!(
            Passphrase::from_line(&[b'a'; 1025]),
            Err(PassphraseError::TooLong)
        );
        assert_eq!(format!("{:?}", passphrase("geheim")), "Passphrase");
    }
}
