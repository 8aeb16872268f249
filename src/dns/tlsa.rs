//! The TLSA guard: whether a new key may go into service while TLSA records speak about the old one.
//!
//! Before any new key, the records of the verified ports are looked up; [`judge`] tells what they demand. Records are
//! taken whether or not the zone is signed: one that is in the zone today is in force the day the zone is. Rules:
//! RFC 6698, 2.1; RFC 7671, 5 and 8; RFC 7672, 3.1.

use std::fmt;

use aws_lc_rs::digest;
use hickory_proto::rr::{RData, Record, RecordType};

use super::{error::DnsError, resolver::Resolver};
use crate::model::{name::DomainName, rdata::Rdata};

/// The data of one TLSA record (RFC 6698, 2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tlsa {
    /// Certificate usage: PKIX-TA 0, PKIX-EE 1, DANE-TA 2, DANE-EE 3 (RFC 7218).
    pub usage: u8,
    /// Selector: Cert 0, SPKI 1.
    pub selector: u8,
    /// Matching type: Full 0, SHA2-256 1, SHA2-512 2.
    pub matching: u8,
    /// The certificate association data.
    pub data: Vec<u8>,
}

/// A leaf as TLSA records see it; DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The certificate; `None` while it has not been issued.
    pub certificate: Option<&'a [u8]>,
    /// Its subjectPublicKeyInfo.
    pub spki: &'a [u8],
}

/// What the records at one port demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There are none that name an end-entity; any key may go into service.
    Absent {
        /// Records of trust anchors, or of kinds that nobody uses, that were left out.
        ignored: Vec<Tlsa>,
    },
    /// The key in use is published and the next one is not: the one in use must be kept.
    KeepKey {
        /// The record that names it.
        record: Tlsa,
    },
    /// The next key is published.
    MatchesNext {
        /// The record that names it.
        record: Tlsa,
    },
    /// Neither key is published: no certificate may be deployed.
    Refuse {
        /// The records that match nothing.
        records: Vec<Tlsa>,
        /// What to publish first.
        publish: Tlsa,
    },
}

impl Tlsa {
    /// Returns the record to publish for a key: DANE-EE, SPKI, SHA2-256 (RFC 7672, 3.1.1).
    pub fn for_key(spki: &[u8]) -> Self {
        Self {
            usage: 3,
            selector: 1,
            matching: 1,
            data: digest::digest(&digest::SHA256, spki).as_ref().to_vec(),
        }
    }

    /// Returns it as a value that can be published.
    pub fn data(&self) -> Rdata {
        Rdata::Tlsa {
            usage: self.usage,
            selector: self.selector,
            matching: self.matching,
            data: self.data.clone(),
        }
    }

    /// Returns whether the record speaks about the end-entity itself (PKIX-EE, DANE-EE) in a manner that we know.
    fn names_leaf(&self) -> bool {
        matches!((self.usage, self.selector, self.matching), (1 | 3, 0 | 1, 0..=2))
    }

    /// Returns whether the record speaks about a CA (PKIX-TA, DANE-TA) in a manner that we know.
    fn names_authority(&self) -> bool {
        matches!((self.usage, self.selector, self.matching), (0 | 2, 0 | 1, 0..=2))
    }

    /// Returns whether the record matches this leaf.
    pub fn matches(&self, leaf: Leaf<'_>) -> bool {
        let selected = match self.selector {
            0 => leaf.certificate,
            1 => Some(leaf.spki),
            _ => None,
        };
        let Some(selected) = selected.filter(|_| self.names_leaf()) else {
            return false;
        };
        match self.matching {
            0 => self.data == selected,
            1 => self.data == digest::digest(&digest::SHA256, selected).as_ref(),
            2 => self.data == digest::digest(&digest::SHA512, selected).as_ref(),
            _ => false,
        }
    }
}

impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        // A full certificate would fill the screen.
        for byte in self.data.iter().take(64) {
            write!(f, "{byte:02x}")?;
        }
        if self.data.len() > 64 {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

/// Decides what the records at a port demand, given the leaf in use (if any) and the one that is to come.
///
/// A record of a whole certificate never matches the one to come while that has not been issued, so it does not let a
/// renewal with the same key pass either.
pub fn judge(records: &[Tlsa], current: Option<Leaf<'_>>, next: Leaf<'_>) -> Verdict {
    let (judged, ignored): (Vec<&Tlsa>, Vec<&Tlsa>) = records.iter().partition(|record| record.names_leaf());
    if judged.is_empty() {
        return Verdict::Absent {
            ignored: ignored.into_iter().cloned().collect(),
        };
    }
    if let Some(record) = judged.iter().find(|record| record.matches(next)) {
        return Verdict::MatchesNext {
            record: (*record).clone(),
        };
    }
    // The key only: the certificate changes with every renewal.
    let kept = current.map(|current| Leaf {
        certificate: None,
        ..current
    });
    if let Some(record) = judged
        .iter()
        .find(|record| kept.is_some_and(|kept| record.matches(kept)))
    {
        return Verdict::KeepKey {
            record: (*record).clone(),
        };
    }
    let publish = Tlsa::for_key(current.map_or(next.spki, |current| current.spki));
    Verdict::Refuse {
        records: judged.into_iter().cloned().collect(),
        publish,
    }
}

/// Returns the record by which clients trust a CA and not the key: another CA's certificate for it would not be taken.
///
/// Which CAs the records name cannot be said before one of them has issued, so any of them counts (RFC 7671, 5.2).
pub fn pinned_authority<'r>(records: &'r [Tlsa], next: Leaf<'_>) -> Option<&'r Tlsa> {
    if records.iter().any(|record| record.matches(next)) {
        return None;
    }
    records.iter().find(|record| record.names_authority())
}

/// Returns the owner name of a port's TLSA records (RFC 6698, 3).
///
/// # Errors
/// When it would be too long.
pub fn owner(host: &DomainName, port: u16) -> Result<DomainName, DnsError> {
    host.prefixed(&format!("_{port}._tcp"))
        .map_err(|error| DnsError::Name(error.to_string()))
}

/// Looks up the TLSA records of a port, sorted; none when there are none.
///
/// # Errors
/// When no resolver gives an answer: then nobody knows, and no new key may go into service.
pub async fn look_up(resolver: &Resolver, host: &DomainName, port: u16) -> Result<Vec<Tlsa>, DnsError> {
    let records = resolver.records(&owner(host, port)?, RecordType::TLSA).await?;
    Ok(records_of(&records))
}

/// Returns the TLSA records among these, sorted.
pub(super) fn records_of(records: &[Record]) -> Vec<Tlsa> {
    let mut found: Vec<Tlsa> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Leaf<'_> = Leaf {
        certificate: Some(b"old certificate"),
        spki: b"old key",
    };
    const NEXT: Leaf<'_> = Leaf {
        certificate: None,
        spki: b"next key",
    };

    fn tlsa(usage: u8, selector: u8, matching: u8, of: &[u8]) -> Tlsa {
        let data = match matching {
            1 => digest::digest(&digest::SHA256, of).as_ref().to_vec(),
            2 => digest::digest(&digest::SHA512, of).as_ref().to_vec(),
            _ => of.to_vec(),
        };
        Tlsa {
            usage,
            selector,
            matching,
            data,
        }
    }

    #[test]
    fn tells_what_the_records_demand() {
        let check =
            |records: &[Tlsa], expected: Verdict| assert_eq!(judge(records, Some(OLD), NEXT), expected);
        let old = tlsa(3, 1, 1, OLD.spki);
        let next = tlsa(3, 1, 2, NEXT.spki);
        let stale = tlsa(3, 1, 1, b"some key");
        let anchor = tlsa(2, 1, 1, b"a CA");
        check(&[], Verdict::Absent { ignored: vec![] });
        check(
            std::slice::from_ref(&anchor),
            Verdict::Absent {
                ignored: vec![anchor.clone()],
            },
        );
        check(
            std::slice::from_ref(&old),
            Verdict::KeepKey { record: old.clone() },
        );
        check(
            &[old.clone(), next.clone()],
            Verdict::MatchesNext { record: next },
        );
        check(
            &[stale.clone(), old.clone()],
            Verdict::KeepKey { record: old.clone() },
        );
        let refuse = |record: &Tlsa| Verdict::Refuse {
            records: vec![record.clone()],
            publish: old.clone(),
        };
        check(&[stale.clone(), anchor], refuse(&stale));
        // The whole certificate: a renewal breaks it, whatever the key.
        let whole = tlsa(3, 0, 1, b"old certificate");
        check(std::slice::from_ref(&whole), refuse(&whole));
        let full = tlsa(1, 1, 0, OLD.spki);
        check(
            std::slice::from_ref(&full),
            Verdict::KeepKey { record: full.clone() },
        );
        let odd = tlsa(3, 1, 9, OLD.spki);
        check(
            std::slice::from_ref(&odd),
            Verdict::Absent {
                ignored: vec![odd.clone()],
            },
        );
        let first = judge(std::slice::from_ref(&stale), None, NEXT);
        assert_eq!(
            first,
            Verdict::Refuse {
                records: vec![stale],
                publish: Tlsa::for_key(NEXT.spki)
            }
        );
    }

    #[test]
    fn another_ca_will_not_do_where_one_is_pinned_and_the_key_is_not() {
        let anchor = tlsa(2, 1, 1, b"a CA");
        let (other_key, next) = (tlsa(3, 1, 1, b"some key"), tlsa(3, 1, 1, NEXT.spki));
        let odd = tlsa(2, 1, 9, b"a CA");
        let check = |records: &[Tlsa], pinned: Option<&Tlsa>| {
            assert_eq!(pinned_authority(records, NEXT), pinned, "{records:?}");
        };
        check(&[], None);
        check(&[other_key.clone(), odd], None);
        check(std::slice::from_ref(&anchor), Some(&anchor));
        check(&[other_key, anchor.clone()], Some(&anchor));
        check(&[anchor.clone(), next], None);
        let of_whole = tlsa(0, 0, 2, b"a CA");
        check(std::slice::from_ref(&of_whole), Some(&of_whole));
    }

    #[test]
    fn matches_a_certificate_that_is_there() {
        assert!(tlsa(3, 0, 0, b"old certificate").matches(OLD));
        assert!(tlsa(3, 0, 2, b"old certificate").matches(OLD));
        assert!(!tlsa(2, 0, 2, b"old certificate").matches(OLD));
        assert_eq!(
            Tlsa {
                usage: 3,
                selector: 1,
                matching: 1,
                data: vec![0xab, 1]
            }
            .to_string(),
            "3 1 1 ab01"
        );
    }
}
