//! A CA of one test's own, made in memory: certificates with any names and dates, as another client would have left them.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};

use super::{Scratch, judge};

/// A root, and an intermediate that it signed.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A chain and the key of its leaf, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// Leaf and intermediate.
    pub fullchain: String,
    /// The leaf alone.
    pub leaf: String,
    /// The key.
    pub private_key: String,
}

impl Identity {
    /// Returns the SHA-256 of the leaf as openssl sees it.
    pub fn sha256(&self) -> String {
        judge::certificate_sha256(&self.leaf).unwrap()
    }

    /// Leaves it in the scratch directory as certbot's live directory has it; returns the directory.
    pub fn leave(&self, scratch: &Scratch, name: &str) -> PathBuf {
        scratch.file(&format!("{name}/fullchain.pem"), &self.fullchain);
        scratch.file(&format!("{name}/cert.pem"), &self.leaf);
        scratch.secret_file(&format!("{name}/privkey.pem"), &self.private_key);
        scratch.path().join(name)
    }
}

impl Authority {
    /// Makes keys and CA certificates.
    pub fn new() -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(ca_params("Scratch Root"), key()).unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(ca_params("Scratch Intermediate"), key(), &root).unwrap();
        Self { root, intermediate }
    }

    /// Returns the root as PEM.
    pub fn root(&self) -> String {
        self.root.pem()
    }

    /// Returns the intermediate and its key as PEM, for a foreign program to sign with.
    pub fn intermediate(&self) -> (String, String) {
        (self.intermediate.pem(), self.intermediate.key().serialize_pem())
    }

    /// Issues a certificate that was made a day ago and is valid for this long from now; it may be over already.
    pub fn issue(&self, name: &str, left: Duration) -> Identity {
        let now = OffsetDateTime::now_utc();
        self.issue_between(
            name,
            (now - Duration::DAY).min(now + left - Duration::DAY),
            now + left,
        )
    }

    /// Issues a certificate that is valid between two instants.
    pub fn issue_between(&self, name: &str, from: OffsetDateTime, to: OffsetDateTime) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (from, to);
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        Identity {
            fullchain: leaf.pem() + &self.intermediate.pem(),
            leaf: leaf.pem(),
            private_key: key.serialize_pem(),
        }
    }
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
