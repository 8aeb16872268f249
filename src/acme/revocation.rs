//! Withdraws a certificate (RFC 8555, 7.6): by the account that ordered it, or by the certificate's own key, which needs no
//! account.

use http::StatusCode;
use serde_json::json;

use super::{
    account::Session,
    directory::Directory,
    error::AcmeError,
    http::Http,
    jws::{self, Signer, SigningKey, base64},
};
use crate::model::{key::PrivateKey, revocation::Reason};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It had been withdrawn before.
    Before,
    /// It is withdrawn now.
    Now,
}

/// Asks the CA under an account.
///
/// # Errors
/// [`AcmeError::Unsupported`] when the CA has no such service; [`AcmeError::AccountDoesNotExist`]; what a request can fail
/// with.
pub async fn by_account(
    session: &Session,
    certificate_der: &[u8],
    reason: Reason,
) -> Result<Revoked, AcmeError> {
    let url = url(session.directory())?;
    judge(session.post(&url, Some(&payload(certificate_der, reason))).await)
}

/// Asks the CA with the certificate's key.
///
/// # Errors
/// As [`by_account`], but for the account.
pub async fn by_certificate_key(
    http: &Http,
    directory: &Directory,
    key: &PrivateKey,
    certificate_der: &[u8],
    reason: Reason,
) -> Result<Revoked, AcmeError> {
    let url = url(directory)?;
    let key = SigningKey::of_certificate(&key.to_pkcs8_der())?;
    let payload = payload(certificate_der, reason);
    judge(jws::post(http, directory, Signer::Key(&key), &url, Some(&payload), None).await)
}

fn url(directory: &Directory) -> Result<String, AcmeError> {
    let url = directory.links.revoke_cert.clone();
    url.ok_or(AcmeError::Unsupported("revocation"))
}

fn payload(certificate_der: &[u8], reason: Reason) -> serde_json::Value {
    let mut payload = json!({"certificate": base64(certificate_der)});
    // RFC 5280, 5.3.1: the reason code is left out instead of being "unspecified".
    if reason != Reason::Unspecified {
        payload["reason"] = json!(reason.code());
    }
    payload
}

fn judge(answer: Result<super::http::Answer, AcmeError>) -> Result<Revoked, AcmeError> {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => Ok(Revoked::Now),
        Ok(answer) => Err(answer.not_acme(&"a revocation is answered with 200")),
        Err(AcmeError::Problem { problem, .. }) if problem.acme_kind() == Some("alreadyRevoked") => {
            Ok(Revoked::Before)
        }
        Err(error) => Err(error),
    }
}
