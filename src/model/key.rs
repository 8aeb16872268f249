//! The private keys of certificates, and requests for certificates. Pure.
//!
//! Keys are made and read here, never stored. Making one takes randomness from the crypto provider, the only thing in
//! this file that is not a function of its arguments. A key that was read is normalized to PKCS#8 (RFC 5958), whatever
//! form it came in: SEC 1 (RFC 5915), PKCS#1 (RFC 8017, A.1.2) or PKCS#8. Keys under a passphrase are in [`encrypted`].

pub mod encrypted;
mod jwk;

use std::fmt;

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeyPair as RsaKeyPair,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    },
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, RsaKeySize, SigningKey as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use super::name::Identifier;

/// The kind of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// NIST P-256.
    EcdsaP256,
    /// NIST P-384.
    EcdsaP384,
    /// RSA of this many bits: 2048, 3072 or 4096.
    Rsa(u16),
}

impl KeyType {
    /// Returns the name as it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa(2048) => "rsa-2048",
            Self::Rsa(3072) => "rsa-3072",
            Self::Rsa(_) => "rsa-4096",
        }
    }
}

/// A certificate's private key. Has no `Debug` of its content, and is not `Clone`.
pub struct PrivateKey {
    key_type: KeyType,
    pair: KeyPair,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.key_type.name())
    }
}

/// Why a key could not be made or read, or a request not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The key is encrypted in a manner that we do not read.
    Cipher,
    /// The PEM holds an encrypted key.
    Encrypted,
    /// The crypto provider failed: no randomness, no memory.
    Failed,
    /// The DER inside the PEM is damaged.
    Malformed,
    /// There is no private key in the PEM.
    Missing,
    /// The passphrase does not open it.
    Passphrase,
    /// Opening it would take longer than any honest key does.
    TooCostly,
    /// A key of another kind or size than we can use.
    Unsupported,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cipher => {
                "the private key is encrypted in a manner that is not read here (PBES2 with PBKDF2 and AES-CBC is; \
                 `openssl pkcs8 -topk8 -v2 aes256` writes it)"
            }
            Self::Encrypted => "the private key is encrypted with a passphrase",
            Self::Failed => "the crypto library failed",
            Self::Malformed => "the private key is damaged",
            Self::Missing => "there is no private key in PEM form",
            Self::Passphrase => "the passphrase is wrong, or the private key is damaged",
            Self::TooCostly => "the private key wants more rounds of PBKDF2 than any honest one",
            Self::Unsupported => {
                "the private key is neither ECDSA on P-256 or P-384 nor RSA of at least 2048 bits"
            }
        })
    }
}

impl std::error::Error for KeyError {}

impl PrivateKey {
    /// Makes a new random key. RSA takes from a tenth of a second to several seconds.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for an RSA size other than 2048, 3072 and 4096 bits; [`KeyError::Failed`].
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        let pair = match key_type {
            KeyType::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa(bits) => {
                let size = match bits {
                    2048 => RsaKeySize::_2048,
                    3072 => RsaKeySize::_3072,
                    4096 => RsaKeySize::_4096,
                    _ => return Err(KeyError::Unsupported),
                };
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
            }
        };
        Ok(Self {
            key_type,
            pair: pair.map_err(|_| KeyError::Failed)?,
        })
    }

    /// Reads the first private key of a PEM text; other blocks before it (`EC PARAMETERS`, certificates) are skipped.
    ///
    /// # Errors
    /// When there is none, or it is encrypted, damaged, or of a kind we cannot use.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        match PrivateKeyDer::from_pem_slice(pem) {
            Ok(PrivateKeyDer::Pkcs8(der)) => Self::from_pkcs8_der(der.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Sec1(der)) => Self::from_sec1_der(der.secret_sec1_der()),
            Ok(PrivateKeyDer::Pkcs1(der)) => Self::from_pkcs1_der(der.secret_pkcs1_der()),
            Ok(_) => Err(KeyError::Unsupported),
            Err(_) if is_encrypted(pem) => Err(KeyError::Encrypted),
            Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(KeyError::Missing),
            Err(_) => Err(KeyError::Malformed),
        }
    }

    /// Reads a key in the form of SEC 1 (RFC 5915).
    fn from_sec1_der(der: &[u8]) -> Result<Self, KeyError> {
        from_sec1(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
            .or_else(|| from_sec1(&ECDSA_P384_SHA384_ASN1_SIGNING, der))
            .ok_or(KeyError::Unsupported)
            .and_then(|pkcs8| Self::from_pkcs8_der(&pkcs8))
    }

    /// Reads an RSA key in the form of PKCS#1 (RFC 8017, A.1.2).
    fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_der(der).map_err(|_| KeyError::Unsupported)?;
        Self::from_pkcs8_der(&pkcs8_of_rsa(&pair)?)
    }

    /// Reads a key in PKCS#8 DER.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for anything but the kinds of [`KeyType`] (RSA of at least 2048 bits).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let ecdsa = [
            (
                KeyType::EcdsaP256,
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                &rcgen::PKCS_ECDSA_P256_SHA256,
            ),
            (
                KeyType::EcdsaP384,
                &ECDSA_P384_SHA384_ASN1_SIGNING,
                &rcgen::PKCS_ECDSA_P384_SHA384,
            ),
        ];
        for (key_type, algorithm, signature) in ecdsa {
            let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, der) else {
                continue;
            };
            // Written anew, so that the public key is in it: not every program leaves it in.
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Failed)?;
            return Self::from_normal(key_type, pkcs8.as_ref(), signature);
        }
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Unsupported)?;
        let bits = u16::try_from(pair.public_modulus_len() * 8).map_err(|_| KeyError::Unsupported)?;
        Self::from_normal(KeyType::Rsa(bits), &pkcs8_of_rsa(&pair)?, &rcgen::PKCS_RSA_SHA256)
    }

    fn from_normal(
        key_type: KeyType,
        pkcs8: &[u8],
        signature: &'static rcgen::SignatureAlgorithm,
    ) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), signature);
        Ok(Self {
            key_type,
            pair: pair.map_err(|_| KeyError::Unsupported)?,
        })
    }

    /// Returns the kind.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Returns the key as PEM in PKCS#8, with a line feed at its end. Secret.
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// Returns the key as PKCS#8 DER. Secret.
    pub fn to_pkcs8_der(&self) -> Vec<u8> {
        self.pair.serialize_der()
    }

    /// Returns the public key as SubjectPublicKeyInfo DER (RFC 5280, 4.1.2.7).
    pub fn public_key_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// Returns the SHA-256 digest of [`Self::public_key_der`]: the data of a TLSA record with selector SPKI.
    pub fn public_key_sha256(&self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, &self.public_key_der()).as_ref());
        sha256
    }

    /// Signs a message: ECDSA with the digest of the curve's size (DER, RFC 3279, 2.2.3), or RSA PKCS#1 v1.5 with SHA-256.
    ///
    /// # Errors
    /// [`KeyError::Failed`] when the crypto provider fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign(message).map_err(|_| KeyError::Failed)
    }

    /// Makes a request for a certificate for these identifiers (PKCS#10, RFC 2986), as DER.
    ///
    /// The names stand in subjectAltName only; the subject is empty, since the CN is obsolete (RFC 9525, 2).
    ///
    /// # Errors
    /// [`KeyError::Failed`] when signing fails.
    pub fn request_der(&self, identifiers: &[Identifier]) -> Result<Vec<u8>, KeyError> {
        let names: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(|_| KeyError::Failed)?;
        params.distinguished_name = DistinguishedName::new();
        self.sign_request(&params)
    }

    /// Signs a request for what these parameters say, as DER.
    ///
    /// # Errors
    /// [`KeyError::Failed`] when signing fails.
    pub(super) fn sign_request(&self, params: &CertificateParams) -> Result<Vec<u8>, KeyError> {
        let request = params
            .serialize_request(&self.pair)
            .map_err(|_| KeyError::Failed)?;
        Ok(request.der().to_vec())
    }
}

/// Converts a SEC 1 key of one curve to PKCS#8; `None` when it is of another.
fn from_sec1(algorithm: &'static EcdsaSigningAlgorithm, der: &[u8]) -> Option<Vec<u8>> {
    let pair = EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?;
    Some(pair.to_pkcs8v1().ok()?.as_ref().to_vec())
}

/// Writes an RSA key as PKCS#8.
fn pkcs8_of_rsa(pair: &RsaKeyPair) -> Result<Vec<u8>, KeyError> {
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Failed)?;
    Ok(der.as_ref().to_vec())
}

/// Returns whether the PEM says that its key is encrypted: PKCS#8 in its label, the older forms in a header (RFC 1421).
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.lines().any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY")
            || line.replace(' ', "") == "Proc-Type:4,ENCRYPTED"
    })
}

#[cfg(test)]
mod tests {
    use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

    use super::*;

    /// A throwaway key, made by `openssl ecparam -name prime256v1 -genkey`.
    const P256_SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIMvfceoJqtIHj3Bf42hoOZbFN1HQ1bs7H0zTOVsSELM5oAoGCCqGSM49
AwEHoUQDQgAEAM/v6eXbIzBtd/UGctp62CmkbqVjZvMguJsZy7k1KvYeZ4Znp24T
qB16yknqBpX0FJ5nrV6/nz03kt5fQcgwXg==
-----END EC PRIVATE KEY-----
";
    /// The same key after `openssl pkcs8 -topk8 -nocrypt`.
    const P256_PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgy99x6gmq0gePcF/j
aGg5lsU3UdDVuzsfTNM5WxIQszmhRANCAAQAz+/p5dsjMG139QZy2nrYKaRupWNm
8yC4mxnLuTUq9h5nhmenbhOoHXrKSeoGlfQUnmetXr+fPTeS3l9ByDBe
-----END PRIVATE KEY-----
";
    /// The same key after `openssl pkcs8 -topk8`.
    const P256_ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjbpnJEJ4XjaQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDWz2czoCCUyNbo4olNl5gQEgZD6
XrFC5mbTak7Haolm8vx9KroaVqjRO5aM2TdDv/lfgUMtc+WDU6K/1DgsxKyVVuHW
WPIy8GKijBUIaoyJLHwnQKAbHRe7ZRXUS/ZB1nW2n/dN0ZBNtdL86/uHZrMO2aQP
wZbAOvloCw5Q/XMrsObsqVtk/Qi1n8G2vmu8jwLAUcm5Lz7tdVpR018/3P/OraQ=
-----END ENCRYPTED PRIVATE KEY-----
";
    /// The same key after `openssl ec -aes256`.
    const P256_ENCRYPTED_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,B80A4263EB29CE6C481126B9B4A4F359

wmwofMKVj+q2MPkakx890HJa0z8kcslTWsRpYSsy3uHDat+ShZMYbxHl5DOiC52x
aMLJ7b1WrUa4Z4W3Jr6TYzeDTnFDVdVhWDP6uKYol0A1xLRnRB5jzfs09z32n+6a
1ci3qLVFmUH/ODeIuSh+vpYEkKTJAlOz/Do90wXLDKM=
-----END EC PRIVATE KEY-----
";
    /// A throwaway key, made by `openssl ecparam -name secp384r1 -genkey -noout`.
    const P384_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDAhjtx3r9+//IRthoZHHBRiLetZbuFaNkj4c7xVGEMo5gbtTTWzZ5PN
XQOwWteb8U6gBwYFK4EEACKhZANiAATSCUA84svEBLqJfkq4Zh9WW9ol9TSqJcN9
1G8aDYNUDjfb2xBmLyMgliD0R/QdnnbVa6fa9mz63g3/ulYUxFzutlbbE126e0/o
L6YrQWLAn4yiEupzf5jZ06NAU6DgVno=
-----END EC PRIVATE KEY-----
";
    /// A throwaway key, made by `openssl genrsa -traditional`.
    const RSA_PKCS1: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEpQIBAAKCAQEA084uWKQXQIbqd163T2Cq7gFpyrTUiFZZNOZwHe31AEsoj9n7
q/f9uoa5PRUX+/ia8wMq655bV5oBPlZbkbaHoD4VGUkKimTV/1HECbVATN7Ep55T
sgU/RjP/MTGVFAaEXCuNVA01rVHIG6pf1Bpjm4tt0W9HJP24Q0Gyswy1jTOqOl5b
NJi8h6QT5wT6wiHkvB+aJ9c9L7DEYf8hHAG7l3yMtvlBIct0/2qAZ/3WBAwuoatX
HRcevgwoZCIHw8gAEZLDpC+NhMMA5YrtuIR9xU3+0Nh/W2z0ap5acYNoll+nLof3
tZAt6z3V1Fd66B1LKBJsRsdwSuX4q8iDIT+ATQIDAQABAoIBABybg8uBqElVH6yN
TLWKMTQR2UvhdjZO8WARgtGsDvQh8qHRV6p/xZOwuCrNo05rYuRRSHYIDr7LhID6
sYYCERn94KQoZyXPnk7MqK2F/2ASk52vJw9LoaL2CXEHySKqCa0YTc+tNBOLkPtZ
nPVdNhhvcd8AiGuw4DcnU79Wx1vBgINDM6rpXVCk7CcSYi3tY07gDR3gppGtfshp
x1irW4uaY45kZoPZrnG5YlwevDaaHacQ6sM9FfV8ymFhQq8dgcem9g30WUFlIEBR
hroHJ1xNE4SVFFc/77/EOHKMZY4vAFyqpVTmU5f64TLYKKlcGBgNgWOcUGYeFvtA
cG/+qKkCgYEA7AE/49storjB64isLQV1ZCvpwN9+MiRJGK5QAnRRfjRA8Farqd6M
Vc8c4ZQhznnvNXbolDHLxhNrbj7cUxO3S93cXEh0pYKQY7pmahPYr9Srxj90xkQR
MgQ6TWaSLHsgCxXIr7ymBY/xGBAtiiojYMYT2QHAlJmEivo3K3EjvbUCgYEA5cAQ
jNHZ3G4+rJDbKDT0Id5wI5FdfcOV33VX6nni6tdqv0hhLEb6mZAM83UA7hYuhVkp
iVrcXxPdESnYTb2LR9pL+fBUAdITrcrZlDwpcm+N+XGRC0+WRClw6ET0bXNGTbk8
ZImdkXfAXJJCAJrJYWjS+Lh3NUbzxbRNlTCjFzkCgYEA6Qxi1tJ8wg7ID5oqy1p0
jbJ/ZaJMr579P44CHCpYvtNCvRIY+el1ktauomLw7z+hY55EFPMHUlWi5H7WeoMh
oZ04GTjDVx0TECflMiLe+uJ7rYzD93UHtehO2lfLSHldLxUX09Hp79wwK57uGV17
CfkPaF8+mH7wT3y+NfvHW3ECgYEAttg1E61LAlgmvvWFxSjnhjDd9CCTVCydETr1
HeGlCxsnlFYJJ9DRTfdLp1HdzJ2QpoWAPhU2vuAzFp7Dy5LmzudXgfGXGd/T04NV
x9hdb/qB9hxAv8y2HUcR2XhPQu/z6pVaD/VJlmTEjafEqXCGhmSDSnicPqVaCmTl
Pa94jFkCgYEAnpCrHDZ6HmvwtFAgZ3GVMPUr7gJt6gx85QuA1+mwNGjBSPcyPzA4
vmSyNfo3RSUV7DhJLFWot6MCCWR6lsyQo3+hk/kDXfvqHVib46Y9PQ6aYb0BVJUM
cf5vLIfVK6HuZdfvCbP0KJVigBzFI9u5mqDkIu8LT41XchdDrCIE4kM=
-----END RSA PRIVATE KEY-----
";
    /// A throwaway key, made by `openssl genpkey -algorithm ed25519`.
    const ED25519: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAV4fDAtI3foTZ4r7grpkelPbAx04vYmt2cFauCqCYoy
-----END PRIVATE KEY-----
";

    #[test]
    fn reads_every_form_and_writes_pkcs8() {
        // The digests are `openssl pkey -pubout -outform DER | sha256sum`.
        let p256 = "7085b06fb24736736bf606de3dffd366754902c96dffcac836cd2871dfcfdac5";
        let check = |pem: &str, key_type, sha256: &str| {
            let key = PrivateKey::from_pem(pem.as_bytes()).unwrap();
            assert_eq!(key.key_type(), key_type);
            let hex: String = key
                .public_key_sha256()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(hex, sha256);
            assert!(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
            assert!(key.to_pem().ends_with("-----END PRIVATE KEY-----\n"));
            let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
            assert_eq!(again.public_key_der(), key.public_key_der());
        };
        check(P256_SEC1, KeyType::EcdsaP256, p256);
        check(P256_PKCS8, KeyType::EcdsaP256, p256);
        check(&P256_PKCS8.replace('\n', "\r\n"), KeyType::EcdsaP256, p256);
        check(
            P384_SEC1,
            KeyType::EcdsaP384,
            "5baabf04c640b6ca72102332e18fe0571aeb9538238ed038df4db3d8495c7505",
        );
        check(
            RSA_PKCS1,
            KeyType::Rsa(2048),
            "d2d3a3812ca3f0c747dc472ad08d71ccdd305938cd4242de46fe392fb3220ea9",
        );
        assert_eq!(
            PrivateKey::from_pem(P256_SEC1.as_bytes()).unwrap().to_pem(),
            P256_PKCS8
        );
    }

    #[test]
    fn says_why_a_key_cannot_be_used() {
        let check =
            |pem: &str, expected| assert_eq!(PrivateKey::from_pem(pem.as_bytes()).unwrap_err(), expected);
        check("", KeyError::Missing);
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            KeyError::Missing,
        );
        check(P256_ENCRYPTED, KeyError::Encrypted);
        check(P256_ENCRYPTED_SEC1, KeyError::Encrypted);
        check(ED25519, KeyError::Unsupported);
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            KeyError::Unsupported,
        );
        check(
            "-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n",
            KeyError::Malformed,
        );
        check(&P256_PKCS8[..100], KeyError::Malformed);
    }

    #[test]
    fn makes_keys_and_requests_that_name_the_identifiers_only() {
        let identifiers = ["a.example.test", "*.b.example.test"].map(|name| name.parse().unwrap());
        for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa(2048)] {
            let key = PrivateKey::generate(key_type).unwrap();
            assert_eq!(
                PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap().key_type(),
                key_type
            );
            let der = key.request_der(&identifiers).unwrap();
            let (rest, request) = X509CertificationRequest::from_der(&der).unwrap();
            assert!(rest.is_empty());
            let info = &request.certification_request_info;
            assert_eq!(info.subject.iter().count(), 0);
            assert_eq!(info.subject_pki.raw, key.public_key_der());
            let extensions: Vec<String> = request
                .requested_extensions()
                .unwrap()
                .map(|extension| format!("{extension:?}"))
                .collect();
            assert_eq!(extensions.len(), 1);
            assert!(extensions[0].contains("DNSName(\"a.example.test\"), DNSName(\"*.b.example.test\")"));
        }
        assert_eq!(
            PrivateKey::generate(KeyType::Rsa(1024)).unwrap_err(),
            KeyError::Unsupported
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = PrivateKey::from_pem(P256_SEC1.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(ecdsa-p256)");
    }
}
