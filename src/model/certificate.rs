//! What we read from X.509: names, validity, key, issuer; chain order; digests. Pure.
//!
//! Standard: RFC 5280; PEM by RFC 7468. Signatures are not checked here: who trusts a chain is decided in `probe`, by
//! rustls-webpki. Certificates come from strangers: texts are made fit for a terminal, sizes are limited.

mod chain;
mod digest;

use std::{fmt, net::IpAddr};

use base64::{Engine, engine::general_purpose};
use time::{Duration, OffsetDateTime};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{self, Oid},
    prelude::FromDer,
    public_key::PublicKey,
    x509::{SubjectPublicKeyInfo, X509Name},
};

use super::{
    name::{DomainName, Identifier},
    plan::printable_line,
};
pub use chain::{Chain, certificates_from_pem};
use digest::hex;
pub use digest::{Sha256, Sha256Error};

/// The largest PEM bundle that is read, in bytes.
pub const BUNDLE_LIMIT: usize = 1 << 20;

/// The most certificates a bundle or a served chain may have.
pub const CHAIN_LIMIT: usize = 64;

/// The longest text of a certificate that is shown, in characters.
const TEXT_LIMIT: usize = 512;

/// One X.509 certificate, read once. Every text in it is fit for a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate as it was issued.
    pub der: Vec<u8>,
    /// The digest of `der`.
    pub sha256: Sha256,
    /// The serial number's DER content octets, a leading zero octet included (RFC 9773, 4.1 wants it so).
    pub serial: Vec<u8>,
    /// The subject's distinguished name; empty for many of today's leaves.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The dNSName entries of the subjectAltName, in their order. The subject's common name is no name (RFC 9525, 2).
    pub dns_names: Vec<String>,
    /// The iPAddress entries of the subjectAltName.
    pub ip_addresses: Vec<IpAddr>,
    /// The first moment of validity.
    pub not_before: OffsetDateTime,
    /// The last moment of validity.
    pub not_after: OffsetDateTime,
    /// The basicConstraints say CA.
    pub is_ca: bool,
    /// Subject and issuer are the same name: a root, or a self-signed leaf. The signature is not checked.
    pub self_issued: bool,
    /// The subjectPublicKeyInfo.
    pub spki_der: Vec<u8>,
    /// The digest of `spki_der`, as TLSA selector SPKI uses it.
    pub spki_sha256: Sha256,
    /// The kind of the public key: `ECDSA P-256`, `RSA 2048`, `Ed25519`, or an OID.
    pub key_kind: String,
    /// The extended key usages by their ASN.1 names (`serverAuth`), or OIDs; empty when the extension is missing.
    pub extended_key_usages: Vec<String>,
    /// The keyIdentifier of the authorityKeyIdentifier.
    pub authority_key_id: Option<Vec<u8>>,
    /// The subjectKeyIdentifier.
    pub subject_key_id: Option<Vec<u8>>,
    /// The subject's name in DER, for comparing.
    subject_der: Vec<u8>,
    /// The issuer's name in DER, for comparing.
    issuer_der: Vec<u8>,
}

/// Whether a certificate is valid at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// `not_after` has passed.
    Expired,
    /// `not_before` is still to come; or the clock is wrong.
    NotYet,
    /// The moment lies within.
    Valid,
}

/// Why bytes are no certificate, or no chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// No certificate could be told to be the leaf.
    AmbiguousLeaf(usize),
    /// The base64 between BEGIN and END is broken; the number counts certificates from 1.
    Base64(usize),
    /// The DER is broken; with what the parser said.
    Der(String),
    /// There is no BEGIN CERTIFICATE line.
    Empty,
    /// The file is larger than [`BUNDLE_LIMIT`].
    TooLarge(usize),
    /// There are more certificates than [`CHAIN_LIMIT`].
    TooMany,
    /// A BEGIN line has no END line.
    Unfinished(usize),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AmbiguousLeaf(n) => {
                write!(
                    f,
                    "it holds {n} certificates that are no CA's; one leaf and its issuers are wanted"
                )
            }
            Self::Base64(n) => write!(f, "certificate {n} is not valid base64 between BEGIN and END"),
            Self::Der(reason) => write!(f, "it is not an X.509 certificate: {reason}"),
            Self::Empty => f.write_str("it holds no certificate in PEM (no BEGIN CERTIFICATE line)"),
            Self::TooLarge(size) => write!(f, "it has {size} bytes; at most {BUNDLE_LIMIT} are read"),
            Self::TooMany => write!(f, "it holds more than {CHAIN_LIMIT} certificates"),
            Self::Unfinished(n) => write!(f, "certificate {n} is cut off: its END line is missing"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Certificate({} {:?} by {})",
            self.subject, self.dns_names, self.issuer
        )
    }
}

impl Certificate {
    /// Reads one certificate in DER; nothing may follow it.
    ///
    /// An extension that cannot be parsed counts as missing: what clients make of it is for them to say.
    ///
    /// # Errors
    /// When the outer structure is broken.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > BUNDLE_LIMIT {
            return Err(CertificateError::TooLarge(der.len()));
        }
        let broken = |reason: String| CertificateError::Der(printable_line(reason.as_bytes(), TEXT_LIMIT));
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| broken(error.to_string()))?;
        if !rest.is_empty() {
            return Err(broken(format!("{} bytes follow it", rest.len())));
        }
        let extensions = Extensions::read(&parsed);
        Ok(Self {
            sha256: Sha256::of(der),
            serial: parsed.raw_serial().to_vec(),
            subject: name_text(parsed.subject()),
            issuer: name_text(parsed.issuer()),
            dns_names: extensions.dns_names,
            ip_addresses: extensions.ip_addresses,
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            is_ca: extensions.is_ca,
            self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            spki_der: parsed.public_key().raw.to_vec(),
            spki_sha256: Sha256::of(parsed.public_key().raw),
            key_kind: key_kind(parsed.public_key()),
            extended_key_usages: extensions.extended_key_usages,
            authority_key_id: extensions.authority_key_id,
            subject_key_id: extensions.subject_key_id,
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            der: der.to_vec(),
        })
    }

    /// Returns PEM text: lines of 64 characters, LF at the end of each (RFC 7468, 2).
    pub fn to_pem(&self) -> String {
        let base64 = general_purpose::STANDARD.encode(&self.der);
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        for (index, character) in base64.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                text.push('\n');
            }
            text.push(character);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
        text
    }

    /// Returns the subject's name in DER: what the certificates that it issues have as their issuer.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// Returns the serial number in hexadecimal, as openssl prints it, in lower case.
    pub fn serial_hex(&self) -> String {
        match self.serial.as_slice() {
            [0, rest @ ..] if !rest.is_empty() => hex(rest),
            all => hex(all),
        }
    }

    /// Returns whether this certificate is for the key with this subjectPublicKeyInfo.
    pub fn matches_key(&self, spki_der: &[u8]) -> bool {
        self.spki_der == spki_der
    }

    /// Returns whether a client that connects to `host` finds it here (RFC 9525, 6.3: `*` is exactly one label).
    pub fn covers(&self, host: &DomainName) -> bool {
        self.dns_names
            .iter()
            .any(|name| match name.parse::<Identifier>() {
                Ok(identifier) => identifier.covers(host),
                // A name without a dot is no identifier at a CA, but `localhost` may be in a self-made certificate.
                Err(_) => name.eq_ignore_ascii_case(host.as_str()),
            })
    }

    /// Returns whether the certificate is valid at this moment.
    pub fn validity_at(&self, now: OffsetDateTime) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }

    /// Returns the time from the first to the last moment of validity; negative for a nonsensical certificate.
    pub fn lifetime(&self) -> Duration {
        self.not_after - self.not_before
    }

    /// Returns how much validity is left; negative when it has expired.
    pub fn time_left(&self, now: OffsetDateTime) -> Duration {
        self.not_after - now
    }

    /// Returns the identifier that the CA's renewal information is asked by (RFC 9773, 4.1), when there is an
    /// authorityKeyIdentifier.
    pub fn renewal_info_id(&self) -> Option<String> {
        let base64 = general_purpose::URL_SAFE_NO_PAD;
        let key_id = self.authority_key_id.as_ref()?;
        Some(format!(
            "{}.{}",
            base64.encode(key_id),
            base64.encode(&self.serial)
        ))
    }

    /// Returns whether `other` can have issued this one: the names match, and so do the key identifiers where both
    /// have one. The signature is not checked.
    pub fn may_be_issued_by(&self, other: &Self) -> bool {
        let key_ids_agree = match (&self.authority_key_id, &other.subject_key_id) {
            (Some(authority), Some(subject)) => authority == subject,
            _ => true,
        };
        self.issuer_der == other.subject_der && key_ids_agree
    }
}

/// What is read from a certificate's extensions.
#[derive(Default)]
struct Extensions {
    dns_names: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    is_ca: bool,
    extended_key_usages: Vec<String>,
    authority_key_id: Option<Vec<u8>>,
    subject_key_id: Option<Vec<u8>>,
}

impl Extensions {
    /// Collects them; a doubled extension, which RFC 5280, 4.2 forbids, counts each time.
    fn read(parsed: &X509Certificate<'_>) -> Self {
        let mut found = Self::default();
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        found.add_name(name);
                    }
                }
                ParsedExtension::BasicConstraints(constraints) => found.is_ca |= constraints.ca,
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    found.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectKeyIdentifier(id) => found.subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    let known = [
                        (usage.any, "anyExtendedKeyUsage"),
                        (usage.server_auth, "serverAuth"),
                        (usage.client_auth, "clientAuth"),
                        (usage.code_signing, "codeSigning"),
                        (usage.email_protection, "emailProtection"),
                        (usage.time_stamping, "timeStamping"),
                        (usage.ocsp_signing, "OCSPSigning"),
                    ];
                    let named = known
                        .iter()
                        .filter(|(set, _)| *set)
                        .map(|(_, name)| (*name).to_owned());
                    found.extended_key_usages.extend(named);
                    found
                        .extended_key_usages
                        .extend(usage.other.iter().map(Oid::to_id_string));
                }
                _ => {}
            }
        }
        found
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push(printable_line(name.as_bytes(), TEXT_LIMIT)),
            GeneralName::IPAddress(octets) => {
                let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*octets).map(IpAddr::from);
                self.ip_addresses.extend(v4.or(v6));
            }
            _ => {}
        }
    }
}

fn name_text(name: &X509Name<'_>) -> String {
    printable_line(name.to_string().as_bytes(), TEXT_LIMIT)
}

/// Tells the kind of a key in words.
fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> String {
    let algorithm = &spki.algorithm.algorithm;
    if *algorithm == oid_registry::OID_SIG_ED25519 {
        return "Ed25519".to_owned();
    }
    let curve = spki
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok());
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", bit_length(key.modulus)),
        Ok(PublicKey::EC(_)) => match curve {
            Some(oid) if oid == oid_registry::OID_EC_P256 => "ECDSA P-256".to_owned(),
            Some(oid) if oid == oid_registry::OID_NIST_EC_P384 => "ECDSA P-384".to_owned(),
            Some(oid) if oid == oid_registry::OID_NIST_EC_P521 => "ECDSA P-521".to_owned(),
            Some(oid) => format!("ECDSA on curve {}", oid.to_id_string()),
            None => "ECDSA".to_owned(),
        },
        _ => format!("algorithm {}", algorithm.to_id_string()),
    }
}

/// Returns the length in bits of an unsigned big-endian number.
fn bit_length(octets: &[u8]) -> usize {
    let leading_zeros = octets.iter().take_while(|octet| **octet == 0).count();
    match octets.get(leading_zeros) {
        None => 0,
        Some(first) => (octets.len() - leading_zeros) * 8 - first.leading_zeros() as usize,
    }
}

#[cfg(test)]
mod tests;
