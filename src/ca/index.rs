//! The index of a private CA as text: what was issued, revoked and published, a line for each. Pure.
//!
//! A line is 32 hexadecimal digits, a space and a JSON object. The digits are the beginning of the SHA-256 of the digits of
//! the line before and of the object: a line that was changed, taken out or put in is seen. Lines are only ever appended.
//!
//! The end of a write that a crash cut short is told from a change by hand: it has no line feed at its end, or octets of zero
//! that the file system left.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    certificate::Serial,
    profile::Profile,
    revocation_list::Revoked,
    settings::{FORMAT, Signer},
};
use crate::model::{certificate::Sha256, revocation::Reason};

/// Digits before each line.
const DIGITS: usize = 32;

/// What one line tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line.
    Begun(Begun),
    /// A CRL was published.
    Crl(Published),
    /// A certificate was signed.
    Issued(Issued),
    /// A certificate was revoked.
    Revoked(Revocation),
}

/// Whose index it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// [`FORMAT`].
    pub format: u64,
    /// The digest of the root's certificate.
    pub root: Sha256,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A certificate that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// By which key.
    pub by: Signer,
    /// Its number.
    pub serial: Serial,
    /// Its names, as text; for a CA's certificate its subject.
    pub names: Vec<String>,
    /// What it is for; none for a CA's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The last moment of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Where its PEM begins in the file of certificates, in bytes.
    pub offset: u64,
    /// How long its PEM is there, in bytes.
    pub length: u64,
}

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Its number.
    pub serial: Serial,
    /// Why.
    pub reason: Reason,
}

/// A CRL that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// By which key.
    pub by: Signer,
    /// Its number.
    pub number: u64,
    /// When the next one is there at the latest.
    #[serde(with = "time::serde::rfc3339")]
    pub next_update: OffsetDateTime,
}

impl Entry {
    /// Returns when it was written.
    pub fn at(&self) -> OffsetDateTime {
        match self {
            Self::Begun(entry) => entry.at,
            Self::Crl(entry) => entry.at,
            Self::Issued(entry) => entry.at,
            Self::Revoked(entry) => entry.at,
        }
    }
}

/// Why an index is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// This line, counted from 1, was changed, or one before it was taken out.
    Damaged(u64, &'static str),
    /// It was written by a newer program.
    Newer(u64),
    /// It belongs to another root.
    Other,
}

impl std::fmt::Display for IndexError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(line, why) => write!(f, "line {line}: {why}"),
            Self::Newer(version) => write!(f, "it has format {version}"),
            Self::Other => f.write_str("it is the index of another root"),
        }
    }
}

/// The digits of the last line: what the next one goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link([u8; DIGITS]);

impl Link {
    /// Before the first line.
    pub const FIRST: Self = Self([b'0'; DIGITS]);

    fn next(self, object: &[u8]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(&self.0);
        context.update(object);
        let digest = context.finish();
        let mut digits = [b'0'; DIGITS];
        let nibbles = digest.as_ref().iter().flat_map(|octet| [octet >> 4, octet & 15]);
        for (digit, nibble) in digits.iter_mut().zip(nibbles) {
            *digit = match nibble {
                0..=9 => b'0' + nibble,
                _ => b'a' + nibble - 10,
            };
        }
        Self(digits)
    }
}

/// Appends a line, and returns what the next one goes on from.
pub fn push(out: &mut Vec<u8>, link: Link, entry: &Entry) -> Link {
    // Plain values with text keys: there is nothing that could not be written.
    let object = serde_json::to_vec(entry).unwrap_or_default();
    let link = link.next(&object);
    out.extend_from_slice(&link.0);
    out.push(b' ');
    out.extend_from_slice(&object);
    out.push(b'\n');
    link
}

/// An index whose lines are all as they were written.
pub struct Index {
    text: Vec<u8>,
    /// What the next line goes on from.
    pub link: Link,
    /// How many octets at its end were cut off, because a crash left them.
    pub n_torn: usize,
}

impl Index {
    /// Looks at every line's digits.
    ///
    /// # Errors
    /// When a line was changed, or it is of a newer format, or of another root.
    pub fn read(mut text: Vec<u8>, root: Sha256) -> Result<Self, IndexError> {
        let (mut link, mut end, mut number) = (Link::FIRST, 0, 0);
        while end < text.len() {
            number += 1;
            let rest = &text[end..];
            let torn = |rest: &[u8]| number > 1 && (!rest.contains(&b'\n') || rest.contains(&0));
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let is_whole = line.len() < rest.len();
            let object = line
                .get(DIGITS + 1..)
                .filter(|_| is_whole && line.get(DIGITS) == Some(&b' '));
            let next = object.map(|object| link.next(object));
            match next {
                Some(next) if line.starts_with(&next.0) => {
                    link = next;
                    end += line.len() + 1;
                }
                _ if torn(rest) => break,
                _ if !is_whole => return Err(IndexError::Damaged(number, "it is cut off")),
                _ => {
                    return Err(IndexError::Damaged(
                        number,
                        "it was changed, or a line before it was taken out",
                    ));
                }
            }
        }
        let n_torn = text.len() - end;
        text.truncate(end);
        let index = Self { text, link, n_torn };
        let first = index.entries().next();
        match first {
            Some(Ok(Entry::Begun(begun))) if begun.format > FORMAT => Err(IndexError::Newer(begun.format)),
            Some(Ok(Entry::Begun(begun))) if begun.root != root => Err(IndexError::Other),
            Some(Ok(Entry::Begun(_))) => Ok(index),
            Some(Err(error)) => Err(error),
            _ => Err(IndexError::Damaged(1, "the first line is missing")),
        }
    }

    /// Returns the octets that are good.
    pub fn len(&self) -> u64 {
        self.text.len() as u64
    }

    /// Returns whether there is no line; there never is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes over lines that were appended to the file.
    pub fn append(&mut self, lines: &[u8], link: Link) {
        self.text.extend_from_slice(lines);
        self.link = link;
    }

    /// Returns what every line tells, in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Result<Entry, IndexError>> + '_ {
        self.objects().map(parse)
    }

    /// Returns when the last line was written.
    ///
    /// # Errors
    /// When it is of a newer format.
    pub fn last_at(&self) -> Result<Option<OffsetDateTime>, IndexError> {
        self.entries()
            .next_back()
            .map(|entry| entry.map(|entry| entry.at()))
            .transpose()
    }

    /// Returns where the certificates of the index end in their file, in bytes.
    ///
    /// # Errors
    /// When it is of a newer format.
    pub fn end_of_certificates(&self) -> Result<u64, IndexError> {
        for entry in self.entries().rev() {
            if let Entry::Issued(issued) = entry? {
                return Ok(issued.offset.saturating_add(issued.length));
            }
        }
        Ok(0)
    }

    /// Returns the last CRL of a key.
    ///
    /// # Errors
    /// When it is of a newer format.
    pub fn last_crl(&self, by: Signer) -> Result<Option<Published>, IndexError> {
        for object in self.objects().rev() {
            // The kind is written first: most lines need not be read.
            if !object.starts_with(br#"{"kind":"crl""#) {
                continue;
            }
            match parse(object)? {
                Entry::Crl(published) if published.by == by => return Ok(Some(published)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn objects(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| line.get(DIGITS + 1..).unwrap_or_default())
    }

    /// Returns everything as tables.
    ///
    /// # Errors
    /// When it is of a newer format.
    pub fn ledger(&self) -> Result<Ledger, IndexError> {
        let mut ledger = Ledger::default();
        for entry in self.entries() {
            match entry? {
                Entry::Begun(_) => {}
                Entry::Crl(published) => match published.by {
                    Signer::Issuing => ledger.issuing_crl = Some(published),
                    Signer::Root => ledger.root_crl = Some(published),
                },
                Entry::Issued(issued) => {
                    ledger.by_serial.insert(issued.serial, ledger.issued.len());
                    ledger.issued.push(issued);
                }
                Entry::Revoked(revocation) => {
                    // The first word counts.
                    ledger.revoked.entry(revocation.serial).or_insert(revocation);
                }
            }
        }
        Ok(ledger)
    }
}

fn parse(object: &[u8]) -> Result<Entry, IndexError> {
    // The digits were right: a newer program wrote what this one does not know.
    serde_json::from_slice(object).map_err(|_| IndexError::Newer(FORMAT + 1))
}

/// The index as tables.
#[derive(Default)]
pub struct Ledger {
    /// What was signed, in order.
    pub issued: Vec<Issued>,
    by_serial: std::collections::HashMap<Serial, usize>,
    /// What was revoked.
    pub revoked: std::collections::BTreeMap<Serial, Revocation>,
    /// The last CRL of the issuing intermediate.
    pub issuing_crl: Option<Published>,
    /// The last CRL of the root.
    pub root_crl: Option<Published>,
}

impl Ledger {
    /// Returns what was signed under this number.
    pub fn find(&self, serial: Serial) -> Option<&Issued> {
        self.issued.get(*self.by_serial.get(&serial)?)
    }

    /// Returns the last CRL of a key.
    pub fn crl(&self, by: Signer) -> Option<&Published> {
        match by {
            Signer::Issuing => self.issuing_crl.as_ref(),
            Signer::Root => self.root_crl.as_ref(),
        }
    }

    /// Returns what the CRL of a key lists now: what it signed and was revoked. What has expired is listed on until one CRL
    /// that was published after its end had it (RFC 5280, 3.3).
    pub fn listed(&self, by: Signer) -> Vec<Revoked> {
        let last = self.crl(by).map(|published| published.at);
        let mut listed: Vec<Revoked> = self
            .revoked
            .values()
            .filter(|revocation| {
                self.find(revocation.serial).is_some_and(|issued| {
                    let was_listed_since =
                        last.is_some_and(|last| last > issued.not_after && last > revocation.at);
                    issued.by == by && !was_listed_since
                })
            })
            .map(|revocation| Revoked {
                serial: revocation.serial,
                at: revocation.at,
                reason: revocation.reason,
            })
            .collect();
        listed.sort_by_key(|revoked| (revoked.at, revoked.serial));
        listed
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const AT: OffsetDateTime = datetime!(2026-11-26 12:00 UTC);

    fn root() -> Sha256 {
        Sha256::of(b"root")
    }

    fn issued(offset: u64) -> Entry {
        Entry::Issued(Issued {
            at: AT,
            by: Signer::Root,
            serial: Serial::random().unwrap(),
            names: vec!["a.example".to_owned()],
            profile: Some(Profile::Server),
            not_after: AT,
            offset,
            length: 10,
        })
    }

    fn sample(n_issued: u64) -> Vec<u8> {
        let mut text = Vec::new();
        let begun = Entry::Begun(Begun {
            format: FORMAT,
            root: root(),
            at: AT,
        });
        let mut link = push(&mut text, Link::FIRST, &begun);
        for number in 0..n_issued {
            link = push(&mut text, link, &issued(number * 10));
        }
        text
    }

    #[test]
    fn is_read_back_and_goes_on() {
        let mut index = Index::read(sample(3), root()).unwrap();
        assert_eq!((index.n_torn, index.end_of_certificates()), (0, Ok(30)));
        let mut lines = Vec::new();
        let link = push(&mut lines, index.link, &issued(30));
        index.append(&lines, link);
        let again = Index::read(index.text.clone(), root()).unwrap();
        assert_eq!(again.ledger().unwrap().issued.len(), 4);
        assert_eq!(again.link, link);
        assert_eq!(again.last_at(), Ok(Some(AT)));
        assert_eq!(
            Index::read(sample(1), Sha256::of(b"")).err(),
            Some(IndexError::Other)
        );
    }

    #[test]
    fn what_a_crash_left_is_cut_off_wherever_it_ends() {
        let whole = sample(3);
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in first..whole.len() {
            let index = Index::read(whole[..end].to_vec(), root()).unwrap();
            assert_eq!(index.len() + index.n_torn as u64, end as u64);
        }
        // Blocks that the file system never wrote are zero; what stands behind them belongs to the same write.
        let mut holed = whole.clone();
        holed[first + 10..first + 20].fill(0);
        let index = Index::read(holed, root()).unwrap();
        assert_eq!(index.len(), first as u64);
        // The first line was on disk before anything was issued.
        assert!(Index::read(whole[..first - 1].to_vec(), root()).is_err());
        assert!(Index::read(Vec::new(), root()).is_err());
    }

    #[test]
    fn every_change_by_hand_is_seen() {
        let whole = sample(4);
        let line_of = |at: usize| whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            if whole[at] == b'\n' || changed[at] == b'\n' {
                continue;
            }
            match Index::read(changed, root()) {
                Err(IndexError::Damaged(line, _)) => assert_eq!(line, line_of(at)),
                other => panic!("{at}: {:?}", other.map(|index| index.n_torn)),
            }
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for gone in 0..lines.len() - 1 {
            let mut rest = lines.clone();
            rest.remove(gone);
            assert!(Index::read(rest.concat(), root()).is_err(), "{gone}");
        }
        let swapped = [lines[0], lines[2], lines[1]].concat();
        assert!(Index::read(swapped, root()).is_err());
    }

    #[test]
    fn a_newer_programs_lines_are_not_guessed_at() {
        let mut text = Vec::new();
        let begun = Entry::Begun(Begun {
            format: FORMAT + 1,
            root: root(),
            at: AT,
        });
        push(&mut text, Link::FIRST, &begun);
        assert_eq!(Index::read(text, root()).err(), Some(IndexError::Newer(2)));
        let mut text = sample(1);
        let link = Index::read(text.clone(), root()).unwrap().link;
        let object = br#"{"kind":"later"}"#;
        text.extend(link.next(object).0);
        text.push(b' ');
        text.extend(object);
        text.push(b'\n');
        let index = Index::read(text, root()).unwrap();
        assert!(matches!(index.ledger().err(), Some(IndexError::Newer(_))));
    }

    #[test]
    fn expired_certificates_leave_the_list_after_one_more_crl() {
        let Entry::Issued(one) = issued(0) else { panic!() };
        let mut ledger = Ledger::default();
        ledger.by_serial.insert(one.serial, 0);
        let revocation = Revocation {
            at: AT - time::Duration::DAY,
            serial: one.serial,
            reason: Reason::Superseded,
        };
        ledger.revoked.insert(one.serial, revocation);
        ledger.issued.push(one);
        let published = |at| Published {
            at,
            by: Signer::Root,
            number: 1,
            next_update: at,
        };
        let mut check = |last: Option<OffsetDateTime>, expected: usize| {
            ledger.root_crl = last.map(published);
            assert_eq!(ledger.listed(Signer::Root).len(), expected);
            assert_eq!(ledger.listed(Signer::Issuing).len(), 0);
        };
        check(None, 1);
        check(Some(AT), 1);
        check(Some(AT + time::Duration::HOUR), 0);
    }
}
