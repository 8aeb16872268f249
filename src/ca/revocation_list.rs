//! The list of what was revoked: a CRL (RFC 5280, 5). Pure, but for the signature.

use time::{Duration, OffsetDateTime};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use super::certificate::{Issuer, Serial, algorithm, push_authority_key_id, push_informative, seal};
use crate::model::{der, key::KeyError, pem, revocation::Reason};

/// The label of its PEM (RFC 7468, 8).
const LABEL: &str = "X509 CRL";

/// One certificate that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// When.
    pub at: OffsetDateTime,
    /// Why.
    pub reason: Reason,
}

/// A CRL to be signed.
pub struct RevocationList<'a> {
    /// Counts the CRLs of one issuer.
    pub number: u64,
    /// From when it is good.
    pub this_update: OffsetDateTime,
    /// When the next one is there at the latest.
    pub next_update: OffsetDateTime,
    /// What was revoked.
    pub revoked: &'a [Revoked],
}

/// Signs a CRL, DER.
///
/// # Errors
/// [`KeyError::Failed`] when signing fails.
pub fn sign(list: &RevocationList<'_>, issuer: &Issuer<'_>) -> Result<Vec<u8>, KeyError> {
    let mut entries = Vec::with_capacity(list.revoked.len() * 48);
    for revoked in list.revoked {
        let mut entry = revoked.serial.to_der();
        entry.extend(der::time(revoked.at));
        // RFC 5280, 5.3.1: unspecified is told by saying nothing.
        if revoked.reason != Reason::Unspecified {
            let mut reason = Vec::new();
            let code = der::value(der::ENUMERATED, &[revoked.reason.code()]);
            push_informative(&mut reason, 21, &code);
            der::push(&mut entry, der::SEQUENCE, &reason);
        }
        der::push(&mut entries, der::SEQUENCE, &entry);
    }
    let entries = match entries.is_empty() {
        // An empty list must not be there at all (5.1.2.6).
        true => Vec::new(),
        false => der::value(der::SEQUENCE, &entries),
    };
    let mut extensions = Vec::new();
    push_authority_key_id(&mut extensions, issuer.key_id);
    push_informative(&mut extensions, 20, &der::unsigned(&list.number.to_be_bytes()));
    let extensions = der::value(
        der::context_constructed(0),
        &der::value(der::SEQUENCE, &extensions),
    );
    let signed = der::sequence(&[
        &der::unsigned(&[1]),
        algorithm(issuer.key.key_type()),
        issuer.name,
        &der::time(list.this_update),
        &der::time(list.next_update),
        &entries,
        &extensions,
    ]);
    seal(&signed, issuer.key)
}

/// Returns a CRL as PEM.
pub fn to_pem(der: &[u8]) -> String {
    pem::write(LABEL, der)
}

/// What a CRL says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number; 0 when it has none, or one of somebody else's.
    pub number: u64,
    /// From when it is good.
    pub this_update: OffsetDateTime,
    /// When the next one is there at the latest.
    pub next_update: Option<OffsetDateTime>,
    /// How many certificates it lists.
    pub n_revoked: usize,
}

/// Reads a CRL in PEM; `None` for anything else. Its signature is not looked at.
pub fn read(text: &[u8]) -> Option<Facts> {
    let der = pem::read(&[LABEL], text)?;
    let (rest, list) = CertificateRevocationList::from_der(&der).ok()?;
    rest.is_empty().then(|| Facts {
        number: list
            .crl_number()
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or(0),
        this_update: list.last_update().to_datetime(),
        next_update: list.next_update().map(|at| at.to_datetime()),
        n_revoked: list.iter_revoked_certificates().count(),
    })
}

/// How much time a CRL has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Its next one should be there: whoever checks refuses every certificate.
    Expired,
    /// More than half of its time is left.
    Fresh,
    /// Half of its time is over: the next one is due.
    Due,
    /// A quarter of its time is left: whoever should have made the next one did not.
    Late,
}

/// Judges how much time a CRL has left.
pub fn freshness(this_update: OffsetDateTime, next_update: OffsetDateTime, now: OffsetDateTime) -> Freshness {
    let (whole, left) = (next_update - this_update, next_update - now);
    match left {
        left if left <= Duration::ZERO => Freshness::Expired,
        left if left < whole / 4 => Freshness::Late,
        left if left < whole / 2 => Freshness::Due,
        _ => Freshness::Fresh,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::{
        ca::certificate::key_id,
        model::{
            key::{KeyType, PrivateKey},
            request::Subject,
        },
    };

    #[test]
    fn is_read_back_by_a_parser_of_others() {
        let key = PrivateKey::generate(KeyType::EcdsaP384).unwrap();
        let id = key_id(&key.public_key_der());
        let name = "CN=a".parse::<Subject>().unwrap().to_der();
        let issuer = Issuer {
            name: &name,
            key_id: &id,
            key: &key,
        };
        let (this_update, next_update) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-01-31 0:00 UTC));
        let of = |reason| Revoked {
            serial: Serial::random().unwrap(),
            at: this_update,
            reason,
        };
        for revoked in [&[][..], &[of(Reason::KeyCompromise), of(Reason::Unspecified)]] {
            let list = RevocationList {
                number: 300,
                this_update,
                next_update,
                revoked,
            };
            let der = sign(&list, &issuer).unwrap();
            assert_eq!(
                read(to_pem(&der).as_bytes()),
                Some(Facts {
                    number: 300,
                    this_update,
                    next_update: Some(next_update),
                    n_revoked: revoked.len()
                })
            );
            let (_, parsed) = CertificateRevocationList::from_der(&der).unwrap();
            let reasons: Vec<u8> = parsed
                .iter_revoked_certificates()
                .filter_map(|one| one.reason_code().map(|(_, reason)| reason.0))
                .collect();
            assert_eq!(reasons, if revoked.is_empty() { vec![] } else { vec![1] });
        }
        assert_eq!(read(b""), None);
    }

    #[test]
    fn a_list_is_due_at_half_of_its_time_and_late_at_three_quarters() {
        let (this, next) = (datetime!(2026-01-01 0:00 UTC), datetime!(2026-01-29 0:00 UTC));
        let check = |now, expected| assert_eq!(freshness(this, next, now), expected);
        check(this, Freshness::Fresh);
        check(datetime!(2026-01-14 23:00 UTC), Freshness::Fresh);
        check(datetime!(2026-01-15 1:00 UTC), Freshness::Due);
        check(datetime!(2026-01-22 1:00 UTC), Freshness::Late);
        check(next, Freshness::Expired);
    }
}
