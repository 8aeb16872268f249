//! What `probe HOST[:PORT]` tells: one sighting in full, as data. Pure.

use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    sighting::{Handshake, Outcome, Reply, Sighting, Stage},
    trust::{self, Roots, Trust},
};
use crate::model::{
    certificate::{Certificate, Sha256, Validity},
    endpoint::{Endpoint, EndpointError, Scheme},
    name::DomainName,
};

/// Everything one conversation showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The endpoint as it was asked for.
    pub endpoint: Endpoint,
    /// The address that was asked.
    pub address: Option<IpAddr>,
    /// The handshake, where it was completed.
    pub tls: Option<TlsReport>,
    /// Where and why TLS ended, where it was not.
    pub failure: Option<Failure>,
    /// The answer to `MAIL FROM:<>`, where it was said.
    pub mail: Option<Reply>,
    /// The answer to `RCPT TO`, where it was said.
    pub rcpt: Option<Reply>,
    /// Why the server cannot take mail, where it is out of order.
    pub fault: Option<String>,
}

/// Where and why TLS ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// Why.
    pub reason: String,
}

/// A handshake in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsReport {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: String,
    /// The cipher suite's IANA name.
    pub cipher_suite: String,
    /// The key exchange group.
    pub key_exchange: String,
    /// The name that the certificate was compared with.
    pub name: Option<DomainName>,
    /// Whether the leaf covers it; `None` without a name.
    pub name_matches: Option<bool>,
    /// Whether the leaf is valid now: `valid`, `expired` or `not-yet`.
    pub validity: &'static str,
    /// Whole days until the leaf expires; negative once it has.
    pub days_left: i64,
    /// Whether the chain leads to a trusted root; `None` when there is no list of roots.
    pub trusted: Option<bool>,
    /// Why it does not.
    pub untrusted_reason: Option<String>,
    /// The certificates as they were sent, leaf first.
    pub chain: Vec<CertificateReport>,
}

/// One certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateReport {
    /// The digest of its DER.
    pub sha256: Sha256,
    /// The digest of its public key, as a TLSA record DANE-EE SPKI SHA2-256 has it.
    pub spki_sha256: Sha256,
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Its DNS names.
    pub dns_names: Vec<String>,
    /// Its IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// The first moment of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// The last moment of validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The kind of its key.
    pub key: String,
    /// Whether it is a CA's.
    pub ca: bool,
    /// What it may be used for.
    pub extended_key_usages: Vec<String>,
}

/// Reads what `probe` is given: `HOST`, `HOST:PORT`, or an endpoint with its scheme.
///
/// Port 465 means implicit TLS, 587 submission; 143 and 993 IMAP, 110 and 995 POP3; every other port is spoken to as a mail
/// server speaks.
///
/// # Errors
/// When it is none of these.
pub fn endpoint_of(text: &str) -> Result<Endpoint, EndpointError> {
    if text.contains("://") {
        return text.parse();
    }
    let endpoint: Endpoint = format!("smtp://{text}").parse()?;
    let known = Scheme::ALL
        .into_iter()
        .find(|scheme| scheme.default_port() == endpoint.port);
    Ok(Endpoint {
        scheme: known.unwrap_or(endpoint.scheme),
        ..endpoint
    })
}

impl Report {
    /// Tells a sighting in full; the leaf is compared with `name`, the chain with `roots` where there are any.
    pub fn new(
        sighting: &Sighting,
        name: Option<&DomainName>,
        roots: Option<&Roots>,
        now: OffsetDateTime,
    ) -> Self {
        let (tls, failure) = match &sighting.outcome {
            Outcome::NotTls { stage, reason } => (
                None,
                Some(Failure {
                    stage: *stage,
                    reason: reason.clone(),
                }),
            ),
            Outcome::Tls(handshake) => (Some(TlsReport::new(handshake, name, roots, now)), None),
        };
        let transaction = sighting.transaction.as_ref();
        Self {
            endpoint: sighting.endpoint.clone(),
            address: sighting.address.map(|address| address.ip()),
            tls,
            failure,
            mail: transaction.and_then(|transaction| transaction.mail.clone().ok()),
            rcpt: transaction.and_then(|transaction| transaction.rcpt.clone()?.ok()),
            fault: sighting.fault(),
        }
    }
}

impl TlsReport {
    fn new(
        handshake: &Handshake,
        name: Option<&DomainName>,
        roots: Option<&Roots>,
        now: OffsetDateTime,
    ) -> Self {
        let chain: Vec<Certificate> = handshake
            .chain
            .iter()
            .filter_map(|der| Certificate::from_der(der).ok())
            .collect();
        let trust = roots.map(|roots| trust::judge(&handshake.chain, roots, now));
        // A leaf that cannot be read never gets here: the handshake needs its key.
        let leaf = chain.first();
        Self {
            protocol: handshake.protocol.clone(),
            cipher_suite: handshake.cipher_suite.clone(),
            key_exchange: handshake.key_exchange.clone(),
            name: name.cloned(),
            name_matches: name.map(|name| leaf.is_some_and(|leaf| leaf.covers(name))),
            validity: match leaf.map(|leaf| leaf.validity_at(now)) {
                Some(Validity::Valid) => "valid",
                Some(Validity::NotYet) => "not-yet",
                Some(Validity::Expired) | None => "expired",
            },
            days_left: leaf.map_or(0, |leaf| leaf.time_left(now).whole_days()),
            trusted: trust.as_ref().map(|trust| *trust == Trust::Trusted),
            untrusted_reason: trust.and_then(|trust| trust.reason()),
            chain: chain.iter().map(CertificateReport::new).collect(),
        }
    }
}

impl CertificateReport {
    fn new(certificate: &Certificate) -> Self {
        Self {
            sha256: certificate.sha256,
            spki_sha256: certificate.spki_sha256,
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            serial: certificate.serial_hex(),
            dns_names: certificate.dns_names.clone(),
            ip_addresses: certificate.ip_addresses.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            key: certificate.key_kind.clone(),
            ca: certificate.is_ca,
            extended_key_usages: certificate.extended_key_usages.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::Pki;

    #[test]
    fn the_port_tells_how_tls_begins() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                endpoint_of(text)
                    .ok()
                    .map(|endpoint| endpoint.to_string())
                    .as_deref(),
                expected,
                "{text}"
            );
        };
        check("mail.example.test", Some("smtp://mail.example.test:25"));
        check(
            "mail.example.test:465",
            Some("submissions://mail.example.test:465"),
        );
        check("[2001:db8::1]:587", Some("submission://[2001:db8::1]:587"));
        check("192.0.2.1:2525", Some("smtp://192.0.2.1:2525"));
        check(
            "submissions://192.0.2.1:4650",
            Some("submissions://192.0.2.1:4650"),
        );
        check("192.0.2.1:993", Some("imaps://192.0.2.1:993"));
        check("192.0.2.1:110", Some("pop3://192.0.2.1:110"));
        check("imaps://192.0.2.1", Some("imaps://192.0.2.1:993"));
        check("https://192.0.2.1", None);
        check("mail.example.test:x", None);
    }

    #[test]
    fn tells_a_handshake_in_full() {
        let pki = Pki::new();
        let day = |month| rcgen::date_time_ymd(2026, month, 1);
        let identity = pki.issue(&["mail.example.test"], day(1), day(4));
        let handshake = Handshake {
            leaf_sha256: identity.leaf(),
            chain: identity.chain,
            protocol: "TLSv1.3".to_owned(),
            cipher_suite: "TLS_AES_256_GCM_SHA384".to_owned(),
            key_exchange: "X25519".to_owned(),
            mute: None,
        };
        let sighting = Sighting {
            endpoint: "smtp://mail.example.test:25".parse().unwrap(),
            address: Some("192.0.2.1:25".parse().unwrap()),
            outcome: Outcome::Tls(handshake),
            transaction: None,
        };
        let name = "imap.example.test".parse().unwrap();
        let report =
            serde_json::to_value(Report::new(&sighting, Some(&name), Some(&pki.roots()), day(3))).unwrap();
        assert_eq!(report["endpoint"], "smtp://mail.example.test:25");
        assert_eq!(report["address"], "192.0.2.1");
        let tls = &report["tls"];
        assert_eq!(
            (&tls["name_matches"], &tls["trusted"], &tls["days_left"]),
            (&false.into(), &true.into(), &31.into())
        );
        assert_eq!(tls["chain"][0]["not_after"], "2026-04-01T00:00:00Z");
        assert_eq!(tls["chain"][0]["key"], "ECDSA P-256");
        assert_eq!(tls["chain"][1]["subject"], "CN=Fake Intermediate");
        assert_eq!(tls["chain"][1]["ca"], true);
    }
}
