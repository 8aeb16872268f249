//! What we read from X.509: names, validity, key, issuer; chain order; digests. Pure.
//!
//! Standard: RFC 5280; PEM by RFC 7468. Signatures are not checked here: who trusts a chain is decided in `probe`, by
//! rustls-webpki. Certificates come from strangers: texts are made fit for a terminal, sizes are limited.

use std::{fmt, net::IpAddr, str::FromStr};

use base64::{Engine, engine::general_purpose};
use serde::{Deserialize, Serialize};
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

/// The largest PEM bundle that is read, in bytes.
pub const BUNDLE_LIMIT: usize = 1 << 20;

/// The most certificates a bundle or a served chain may have.
pub const CHAIN_LIMIT: usize = 64;

/// The longest text of a certificate that is shown, in characters.
const TEXT_LIMIT: usize = 512;

/// A SHA-256 digest, of a certificate's DER unless said otherwise; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

/// A text that is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256Error;

impl fmt::Display for Sha256Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a SHA-256 digest: 64 hexadecimal digits are wanted")
    }
}

impl std::error::Error for Sha256Error {}

impl Sha256 {
    /// Returns the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut octets = [0; 32];
        for (octet, from) in octets.iter_mut().zip(digest.as_ref()) {
            *octet = *from;
        }
        Self(octets)
    }

    /// Returns the octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    /// Reads 64 hexadecimal digits; the colons that openssl prints between octets may be there.
    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let mut octets = [0; 32];
        let mut digits = text
            .chars()
            .filter(|character| *character != ':')
            .map(|character| character.to_digit(16));
        let mut digit = || {
            digits
                .next()
                .flatten()
                .and_then(|digit| u8::try_from(digit).ok())
                .ok_or(Sha256Error)
        };
        for octet in &mut octets {
            *octet = digit()? << 4 | digit()?;
        }
        if digits.next().is_some() {
            Err(Sha256Error)
        } else {
            Ok(Self(octets))
        }
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Sha256Error;

    fn try_from(text: String) -> Result<Self, Sha256Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

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

/// A leaf and the certificates that lead towards a root; the root is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The end-entity certificate.
    pub leaf: Certificate,
    /// Its issuer, the issuer's issuer, and so on.
    pub intermediates: Vec<Certificate>,
}

impl Chain {
    /// Reads a PEM bundle in any order; other PEM blocks, such as a key, are passed over.
    ///
    /// A self-issued root, and certificates that do not lead from the leaf to a root, are left out.
    ///
    /// # Errors
    /// When there is no certificate, one is broken, a limit is passed, or no leaf can be told.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        Self::from_certificates(certificates_from_pem(pem)?)
    }

    /// Brings certificates into order: the leaf, its issuer, and so on.
    ///
    /// # Errors
    /// When there is none, or no leaf can be told.
    pub fn from_certificates(mut certificates: Vec<Certificate>) -> Result<Self, CertificateError> {
        if certificates.len() > CHAIN_LIMIT {
            return Err(CertificateError::TooMany);
        }
        let index = leaf_index(&certificates)?;
        let leaf = certificates.remove(index);
        Ok(Self::of(leaf, certificates))
    }

    /// Brings the issuers of a leaf into order; what does not lead from it to a root is left out, and so is the root.
    pub fn of(leaf: Certificate, mut others: Vec<Certificate>) -> Self {
        let mut intermediates: Vec<Certificate> = Vec::new();
        loop {
            let last = intermediates.last().unwrap_or(&leaf);
            if last.self_issued {
                break;
            }
            let issuer = others.iter().position(|other| {
                !other.self_issued && other.sha256 != leaf.sha256 && last.may_be_issued_by(other)
            });
            match issuer {
                Some(index) => intermediates.push(others.remove(index)),
                None => break,
            }
        }
        Self { leaf, intermediates }
    }

    /// Returns the leaf, then the intermediates.
    pub fn iter(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.intermediates)
    }

    /// Returns the whole chain as PEM, leaf first: what `fullchain.pem` holds.
    pub fn to_pem(&self) -> String {
        self.iter().map(Certificate::to_pem).collect()
    }

    /// Returns the intermediates as PEM: what `chain.pem` holds.
    pub fn intermediates_to_pem(&self) -> String {
        self.intermediates.iter().map(Certificate::to_pem).collect()
    }
}

/// Reads every certificate of a PEM text, in the order of the text.
///
/// # Errors
/// When there is none, one is broken, or a limit is passed.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    if pem.len() > BUNDLE_LIMIT {
        return Err(CertificateError::TooLarge(pem.len()));
    }
    let mut certificates = Vec::new();
    let mut lines = pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        if !is_boundary(line, b"-----BEGIN ") {
            continue;
        }
        let number = certificates.len() + 1;
        if number > CHAIN_LIMIT {
            return Err(CertificateError::TooMany);
        }
        let mut base64 = Vec::new();
        loop {
            let line = lines.next().ok_or(CertificateError::Unfinished(number))?;
            if is_boundary(line, b"-----END ") {
                break;
            }
            if line.starts_with(b"-----") {
                return Err(CertificateError::Unfinished(number));
            }
            base64.extend_from_slice(line);
        }
        let der = general_purpose::STANDARD
            .decode(&base64)
            .map_err(|_| CertificateError::Base64(number))?;
        certificates.push(Certificate::from_der(&der)?);
    }
    if certificates.is_empty() {
        Err(CertificateError::Empty)
    } else {
        Ok(certificates)
    }
}

/// Returns whether the line is a certificate's BEGIN or END; `X509 CERTIFICATE` is the label of old (RFC 7468, 5.1).
fn is_boundary(line: &[u8], prefix: &[u8]) -> bool {
    line.strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(b"-----"))
        .is_some_and(|label| label == b"CERTIFICATE" || label == b"X509 CERTIFICATE")
}

/// Finds the leaf: the certificate that issued none of the others, preferably no CA's.
fn leaf_index(certificates: &[Certificate]) -> Result<usize, CertificateError> {
    let issues_none = |certificate: &Certificate| {
        !certificates
            .iter()
            .any(|other| other.sha256 != certificate.sha256 && other.may_be_issued_by(certificate))
    };
    let mut candidates: Vec<usize> = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        // The same certificate twice is a sloppy `cat`, not two leaves.
        let repeated = candidates
            .iter()
            .any(|earlier| certificates[*earlier].sha256 == certificate.sha256);
        if issues_none(certificate) && !repeated {
            candidates.push(index);
        }
    }
    let ends: Vec<usize> = candidates
        .iter()
        .copied()
        .filter(|index| !certificates[*index].is_ca)
        .collect();
    match (ends.as_slice(), candidates.as_slice()) {
        // In the order that every server wants, the leaf is first; strays behind it do no harm.
        ([0, ..], _) | ([], [0, ..]) => Ok(0),
        ([one], _) | ([], [one]) => Ok(*one),
        _ if certificates.is_empty() => Err(CertificateError::Empty),
        (ends, _) => Err(CertificateError::AmbiguousLeaf(ends.len())),
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
mod tests {
    use time::macros::datetime;

    use super::*;

    // Made with openssl for this test; the keys are thrown away.
    const LEAF: &str = "\
-----BEGIN CERTIFICATE-----
MIICGDCCAZ2gAwIBAgIDAI8DMAoGCCqGSM49BAMCMCcxETAPBgNVBAMMCFRlc3Qg
aW50MRIwEAYDVQQKDAlUaHJvd2F3YXkwHhcNMjYwMTAxMDAwMDAwWhcNMjYwNDAx
MDAwMDAwWjAoMRIwEAYDVQQDDAlUZXN0IGxlYWYxEjAQBgNVBAoMCVRocm93YXdh
eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABGcHWZRuljzMNj10mrWuDKanWwZj
xCIXhi5OjrNpQBD/pfP0FIy1X0ryrRNGA8aukQQkBI5XMzDAb355au581imjgbYw
gbMwDAYDVR0TAQH/BAIwADAdBgNVHQ4EFgQUx+icrSyTjsRi06x7O3mgpBSBmqMw
HwYDVR0jBBgwFoAUDT4Med63uDt50KfqLtG5f0PvwT8wHQYDVR0lBBYwFAYIKwYB
BQUHAwEGCCsGAQUFBwMCMEQGA1UdEQQ9MDuCEW1haWwuZXhhbXBsZS50ZXN0gg4q
LmV4YW1wbGUudGVzdIcEwAACAYcQIAENuAAAAAAAAAAAAAAAATAKBggqhkjOPQQD
AgNpADBmAjEAxkhylV6UfYVjNOW0/x+NFw9I5rvIz+oNtdKNh6wMWWBP06hkuCr9
Xiitl9qOOe1oAjEAvg9HzHEXLmQWkkRgZCsNczfLZRqnojA9Jz1y7g6ROdk0mdiJ
BaTKXU5rhh19XqFF
-----END CERTIFICATE-----
";
    const INTERMEDIATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBwTCCAWagAwIBAgIDAI8CMAoGCCqGSM49BAMCMCgxEjAQBgNVBAMMCVRlc3Qg
cm9vdDESMBAGA1UECgwJVGhyb3dhd2F5MB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEw
MTAwMDAwMFowJzERMA8GA1UEAwwIVGVzdCBpbnQxEjAQBgNVBAoMCVRocm93YXdh
eTB2MBAGByqGSM49AgEGBSuBBAAiA2IABA/L11yxjt4TLQT1Ijl6rcjvNYg7cESF
4yU7xXW+KKAwjMcjAEiHjyv7DkUB5mkLg8d+sLufRoHPZ//cePVX5N5cFiC+9hpY
f6xhs5snRmvKd9yd0p+GNM3AN7Cv4swZmqNjMGEwDwYDVR0TAQH/BAUwAwEB/zAd
BgNVHQ4EFgQUDT4Med63uDt50KfqLtG5f0PvwT8wHwYDVR0jBBgwFoAUQcwpA+2x
zcM142bIxgF9SxfV18UwDgYDVR0PAQH/BAQDAgEGMAoGCCqGSM49BAMCA0kAMEYC
IQCI2/foNuPb8fc4ujfTingii8hZn15z0cAK0pu7vU7zKQIhALZWoFhcSVJ7Vn9d
aTBRz7yB/rWmGuXcsNiRZpcYm0Ob
-----END CERTIFICATE-----
";
    const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhDCCASmgAwIBAgIDAI8BMAoGCCqGSM49BAMCMCgxEjAQBgNVBAMMCVRlc3Qg
cm9vdDESMBAGA1UECgwJVGhyb3dhd2F5MB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEw
MTAwMDAwMFowKDESMBAGA1UEAwwJVGVzdCByb290MRIwEAYDVQQKDAlUaHJvd2F3
YXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARuVC9YtOit4hpl017ItA417qyX
K0Jlhj9QJnmxoocon8BBxF+zA4gAt0Neqn1Zgh3jCQS3UIEP+XqFvclJoDEyo0Iw
QDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRBzCkD7bHNwzXjZsjGAX1LF9XX
xTAOBgNVHQ8BAf8EBAMCAQYwCgYIKoZIzj0EAwIDSQAwRgIhAIpcCBn3wOQdEB4N
aMBw9LLGcS1InIJ0p5QtRvPHRVmwAiEAofXJaYqs2g308OSh6yjEfNlZwtwu7Qo8
2MxEq4L/Gp0=
-----END CERTIFICATE-----
";

    fn leaf() -> Certificate {
        certificates_from_pem(LEAF.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn reads_what_openssl_reads() {
        let leaf = leaf();
        assert_eq!(
            leaf.sha256.to_string(),
            "b96891074ab013f1b82ef2da4b4aaf87428c975470dbb7571202d4c64f556782"
        );
        assert_eq!(
            leaf.spki_sha256.to_string(),
            "fec3cc11c12ab1bd8919157f74f31fd2209b8cb726a882fb60f8e78b86efbfa5"
        );
        assert_eq!(leaf.serial_hex(), "8f03");
        assert_eq!(leaf.subject, "CN=Test leaf, O=Throwaway");
        assert_eq!(leaf.issuer, "CN=Test int, O=Throwaway");
        assert_eq!(leaf.dns_names, ["mail.example.test", "*.example.test"]);
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(leaf.ip_addresses, addresses);
        assert_eq!(leaf.not_before, datetime!(2026-01-01 00:00 UTC));
        assert_eq!(leaf.not_after, datetime!(2026-04-01 00:00 UTC));
        assert_eq!(leaf.key_kind, "ECDSA P-256");
        assert_eq!(leaf.extended_key_usages, ["serverAuth", "clientAuth"]);
        assert!(!leaf.is_ca && !leaf.self_issued);
        let issuer = certificates_from_pem(INTERMEDIATE.as_bytes()).unwrap().remove(0);
        assert!(issuer.is_ca && leaf.may_be_issued_by(&issuer) && !issuer.may_be_issued_by(&leaf));
        assert_eq!(issuer.key_kind, "ECDSA P-384");
        assert!(
            certificates_from_pem(ROOT.as_bytes())
                .unwrap()
                .remove(0)
                .self_issued
        );
        assert!(leaf.matches_key(&leaf.spki_der) && !leaf.matches_key(&issuer.spki_der));
    }

    #[test]
    fn the_renewal_info_id_keeps_the_leading_zero_of_the_serial() {
        assert_eq!(
            leaf().renewal_info_id().as_deref(),
            Some("DT4Med63uDt50KfqLtG5f0PvwT8.AI8D")
        );
    }

    #[test]
    fn orders_any_bundle_leaf_first_and_leaves_the_root_out() {
        let wanted = format!("{LEAF}{INTERMEDIATE}");
        let key = "-----BEGIN PRIVATE KEY-----\nnot base64!\n-----END PRIVATE KEY-----\n";
        let crlf = LEAF.replace('\n', "\r\n");
        for bundle in [
            wanted.clone(),
            format!("{ROOT}{INTERMEDIATE}{LEAF}"),
            format!("{INTERMEDIATE}{LEAF}{ROOT}"),
            format!("{key}# text\n{LEAF}{LEAF}{INTERMEDIATE}"),
            format!("{INTERMEDIATE}{crlf}"),
        ] {
            assert_eq!(
                Chain::from_pem(bundle.as_bytes()).unwrap().to_pem(),
                wanted,
                "{bundle}"
            );
        }
        let alone = Chain::from_pem(format!("{LEAF}{ROOT}").as_bytes()).unwrap();
        assert_eq!(
            (alone.to_pem().as_str(), alone.intermediates_to_pem().as_str()),
            (LEAF, "")
        );
        assert_eq!(Chain::from_pem(ROOT.as_bytes()).unwrap().to_pem(), ROOT);
    }

    #[test]
    fn refuses_broken_bundles() {
        let check = |pem: &str, expected: &str| {
            let error = Chain::from_pem(pem.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "no certificate in PEM");
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "no certificate in PEM",
        );
        check(&LEAF[..300], "END line is missing");
        check(&format!("{}{LEAF}", &LEAF[..300]), "not valid base64");
        check(&LEAF.replace("MIIC", "MII%"), "certificate 1 is not valid base64");
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "not an X.509 certificate",
        );
        check(
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "not an X.509 certificate",
        );
        check(&LEAF.repeat(CHAIN_LIMIT + 1), "more than 64");
        check(&" ".repeat(BUNDLE_LIMIT + 1), "at most 1048576");
    }

    #[test]
    fn cut_or_changed_der_is_an_error_or_another_certificate_and_never_a_panic() {
        let der = leaf().der;
        for length in 0..der.len() {
            assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
        }
        for index in 0..der.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[index] ^= flip;
                if let Ok(certificate) = Certificate::from_der(&changed) {
                    assert_ne!(certificate.sha256, leaf().sha256);
                }
            }
        }
        let mut longer = der;
        longer.push(0);
        assert!(Certificate::from_der(&longer).is_err());
    }

    #[test]
    fn names_are_compared_as_clients_do() {
        let check = |name: &str, expected: bool| {
            assert_eq!(leaf().covers(&name.parse().unwrap()), expected, "{name}");
        };
        check("MAIL.example.test", true);
        check("other.example.test", true);
        check("a.other.example.test", false);
        check("example.test", false);
        check("mail.example.jp", false);
    }

    #[test]
    fn validity_includes_both_ends() {
        let check = |now, expected| assert_eq!(leaf().validity_at(now), expected, "{now}");
        check(datetime!(2025-12-31 23:59:59 UTC), Validity::NotYet);
        check(datetime!(2026-01-01 00:00 UTC), Validity::Valid);
        check(datetime!(2026-04-01 00:00 UTC), Validity::Valid);
        check(datetime!(2026-04-01 00:00:01 UTC), Validity::Expired);
        assert_eq!(leaf().lifetime(), Duration::days(90));
        assert_eq!(
            leaf().time_left(datetime!(2026-04-02 00:00 UTC)),
            Duration::days(-1)
        );
    }

    #[test]
    fn digests_are_read_with_and_without_colons() {
        let digest = leaf().sha256;
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let colons =
            "B9:68:91:07:4A:B0:13:F1:B8:2E:F2:DA:4B:4A:AF:87:42:8C:97:54:70:DB:B7:57:12:02:D4:C6:4F:55:67:82";
        assert_eq!(colons.parse(), Ok(digest));
        for bad in ["", "b9", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(bad.parse::<Sha256>(), Err(Sha256Error), "{bad}");
        }
        assert_eq!(
            serde_json::from_str::<Sha256>(&serde_json::to_string(&digest).unwrap()).unwrap(),
            digest
        );
    }

    #[test]
    fn counts_the_bits_of_a_modulus() {
        assert_eq!(bit_length(&[0, 0x80, 0]), 16);
        assert_eq!(bit_length(&[0x01, 0xff]), 9);
        assert_eq!(bit_length(&[0, 0]), 0);
    }
}
