//! Whether a chain, as it was sent, leads to a root that clients trust. Pure.
//!
//! Path building and signatures by rustls-webpki for server authentication (RFC 5280, 6). Names and dates have
//! findings of their own: an expired leaf is judged as of the last moment of its validity.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::model::certificate::Certificate;

/// The roots that a client trusts.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl Roots {
    /// Collects roots in DER; those that webpki cannot read are passed over, as clients do.
    pub fn from_ders<D: AsRef<[u8]>>(ders: impl IntoIterator<Item = D>) -> Self {
        let anchor = |der: D| {
            let der = CertificateDer::from(der.as_ref());
            anchor_from_trusted_cert(&der)
                .ok()
                .map(|anchor| anchor.to_owned())
        };
        Self(ders.into_iter().filter_map(anchor).collect())
    }

    /// Adds further roots.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns them.
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Who vouches for a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The issuer of the leaf, or of an intermediate, was neither sent nor is it a root.
    IncompleteChain {
        /// The missing issuer's name.
        issuer: String,
    },
    /// Nobody: the leaf is its own issuer.
    SelfSigned,
    /// A root.
    Trusted,
    /// Nobody, for this reason.
    Untrusted {
        /// Why, in words.
        reason: String,
    },
}

impl Trust {
    /// Returns why nobody vouches, in words; `None` when a root does.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::IncompleteChain { issuer } => Some(format!(
                "the issuer `{issuer}` is neither sent nor a trusted root"
            )),
            Self::SelfSigned => Some("the certificate is its own issuer".to_owned()),
            Self::Trusted => None,
            Self::Untrusted { reason } => Some(reason.clone()),
        }
    }
}

/// Judges a chain in DER, leaf first, as it was sent.
pub fn judge(chain: &[Vec<u8>], roots: &Roots, now: OffsetDateTime) -> Trust {
    let untrusted = |reason: &str| Trust::Untrusted {
        reason: reason.to_owned(),
    };
    let Some((leaf_der, rest)) = chain.split_first() else {
        return untrusted("the server sent no certificate");
    };
    let leaf = match Certificate::from_der(leaf_der) {
        Ok(leaf) => leaf,
        Err(error) => return untrusted(&error.to_string()),
    };
    let error = match verify(leaf_der, rest, roots, moment_within(&leaf, now)) {
        Ok(()) => return Trust::Trusted,
        Err(error) => error,
    };
    if leaf.self_issued {
        return Trust::SelfSigned;
    }
    if error != webpki::Error::UnknownIssuer {
        return Trust::Untrusted {
            reason: describe(&error),
        };
    }
    let intermediates: Vec<Certificate> = rest
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    let top = topmost(&leaf, &intermediates);
    if top.self_issued {
        return Trust::Untrusted {
            reason: format!("the root `{}` is not among the trusted ones", top.subject),
        };
    }
    Trust::IncompleteChain {
        issuer: top.issuer.clone(),
    }
}

fn verify(leaf: &[u8], rest: &[Vec<u8>], roots: &Roots, at: UnixTime) -> Result<(), webpki::Error> {
    let leaf = CertificateDer::from(leaf);
    let intermediates: Vec<CertificateDer<'_>> = rest
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    EndEntityCert::try_from(&leaf)?.verify_for_usage(
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all,
        &roots.0,
        &intermediates,
        at,
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    Ok(())
}

/// Returns the present, or the nearest moment at which the leaf is valid.
fn moment_within(leaf: &Certificate, now: OffsetDateTime) -> UnixTime {
    let at = now.max(leaf.not_before).min(leaf.not_after).unix_timestamp();
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)))
}

/// Follows the issuers through what was sent, as far as it goes.
fn topmost<'a>(leaf: &'a Certificate, intermediates: &'a [Certificate]) -> &'a Certificate {
    let mut top = leaf;
    // As many steps as there are certificates: two that issue each other would lead around for ever.
    for _ in intermediates {
        if top.self_issued {
            break;
        }
        match intermediates.iter().find(|other| top.may_be_issued_by(other)) {
            Some(issuer) => top = issuer,
            None => break,
        }
    }
    top
}

/// Tells webpki's reasons in words; its own texts are names of variants.
fn describe(error: &webpki::Error) -> String {
    use webpki::Error;
    match error {
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => "a certificate is malformed".to_owned(),
        Error::CaUsedAsEndEntity => "the certificate is a CA's and must not be a server's".to_owned(),
        Error::CertExpired { .. } => "an intermediate certificate has expired".to_owned(),
        Error::CertNotValidYet { .. } => "an intermediate certificate is not valid yet".to_owned(),
        Error::InvalidSignatureForPublicKey => {
            "a signature in the chain is wrong, or a trusted root has the issuer's name and another key"
                .to_owned()
        }
        Error::NameConstraintViolation => "the issuer must not issue for this name".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => {
            "the certificate is not for servers (extended key usage serverAuth is missing)".to_owned()
        }
        Error::UnsupportedCertVersion => "a certificate is of X.509 version 1 or 2".to_owned(),
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "a certificate is signed by an algorithm that clients no longer accept".to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{Identity, Pki};

    #[test]
    fn judges_chains_as_they_were_sent() {
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        let (pki, other) = (Pki::new(), Pki::new());
        let chain = pki.issue_for("mail.example.test").chain;
        let expired = pki.issue(&["mail.example.test"], day(2001), day(2002)).chain;
        let with_root = [chain.clone(), vec![pki.root_der()]].concat();
        let check = |chain: &[Vec<u8>], roots: &Roots, expected: &str| {
            let trust = judge(chain, roots, day(2026));
            let said = trust.reason().unwrap_or_else(|| "trusted".to_owned());
            assert!(said.contains(expected), "{trust:?}, not {expected}");
        };
        check(&chain, &pki.roots(), "trusted");
        check(&with_root, &pki.roots(), "trusted");
        check(&expired, &pki.roots(), "trusted");
        check(
            &chain[..1],
            &pki.roots(),
            "the issuer `CN=Fake Intermediate` is neither sent",
        );
        check(
            &chain,
            &Roots::default(),
            "the issuer `CN=Fake Root` is neither sent",
        );
        check(
            &with_root,
            &Roots::default(),
            "the root `CN=Fake Root` is not among the trusted",
        );
        // The names are the same, the keys are not.
        check(&with_root, &other.roots(), "another key");
        check(
            &Identity::self_signed("x.test").chain,
            &pki.roots(),
            "its own issuer",
        );
        check(&[], &pki.roots(), "sent no certificate");
        check(&[vec![0x30, 0x00]], &pki.roots(), "not an X.509 certificate");
    }
}
