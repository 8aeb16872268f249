//! DER (X.690, 10) in the small: values of a tag and their content, written and read. Pure.
//!
//! For the few structures that no library of ours writes. The reader takes what strangers sent: it never reads past the
//! end, knows definite lengths only, and wants them in their shortest form.

use time::{OffsetDateTime, UtcOffset};

/// `BOOLEAN`.
pub const BOOLEAN: u8 = 0x01;
/// `INTEGER`.
pub const INTEGER: u8 = 0x02;
/// `BIT STRING`.
pub const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`.
pub const OCTET_STRING: u8 = 0x04;
/// `NULL`, whole: tag and length.
pub const NULL: &[u8] = &[0x05, 0x00];
/// `OBJECT IDENTIFIER`.
pub const OID: u8 = 0x06;
/// `UTF8String`.
pub const UTF8_STRING: u8 = 0x0c;
/// `PrintableString`.
pub const PRINTABLE_STRING: u8 = 0x13;
/// `IA5String`.
pub const IA5_STRING: u8 = 0x16;
/// `ENUMERATED`.
pub const ENUMERATED: u8 = 0x0a;
/// `SEQUENCE` and `SEQUENCE OF`.
pub const SEQUENCE: u8 = 0x30;
/// `SET` and `SET OF`.
pub const SET: u8 = 0x31;

/// `BOOLEAN` that is true, whole; what is false is left out where it is the default.
pub const TRUE: &[u8] = &[BOOLEAN, 0x01, 0xff];
/// `UTCTime`.
pub const UTC_TIME: u8 = 0x17;
/// `GeneralizedTime`.
pub const GENERALIZED_TIME: u8 = 0x18;

/// Returns the tag `[number]` for a primitive value.
pub const fn context(number: u8) -> u8 {
    0x80 | number
}

/// Returns the tag `[number]` for a constructed value.
pub const fn context_constructed(number: u8) -> u8 {
    0xa0 | number
}

/// Appends a value: tag, length, content.
pub fn push(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let skipped = octets.iter().take_while(|octet| **octet == 0).count();
            let significant = &octets[skipped..];
            // At most eight octets: `usize` has no more.
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
}

/// Returns a value: tag, length, content.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    push(&mut out, tag, content);
    out
}

/// Returns a `SEQUENCE` of values that are written already.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// Returns an `INTEGER` that is not negative, from its octets, most significant first.
pub fn unsigned(octets: &[u8]) -> Vec<u8> {
    let skipped = octets.iter().take_while(|octet| **octet == 0).count();
    let significant = &octets[skipped..];
    match significant.first() {
        None => value(INTEGER, &[0]),
        Some(first) if *first >= 0x80 => value(INTEGER, &[&[0], significant].concat()),
        Some(_) => value(INTEGER, significant),
    }
}

/// Returns a `BIT STRING` of whole octets.
pub fn bit_string(octets: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], octets].concat())
}

/// Returns a moment as certificates have it: `UTCTime` through 2049, else `GeneralizedTime` (RFC 5280, 4.1.2.5). In UTC, in
/// whole seconds.
pub fn time(at: OffsetDateTime) -> Vec<u8> {
    let at = at.to_offset(UtcOffset::UTC);
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    match at.year() {
        year @ 1950..2050 => value(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes()),
        year => value(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    }
}

/// Reads values one after another.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Returns a reader of the values in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns whether there is nothing left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the tag of the next value.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Reads the next value: its tag and content. `None` when there is none, or it is broken.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.rest.split_first()?;
        // Tags of several octets do not occur in what we read.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let n_octets = usize::from(first & 0x7f);
            if n_octets == 0 || n_octets > 4 || n_octets > rest.len() {
                return None;
            }
            let (octets, rest) = rest.split_at(n_octets);
            let length = octets
                .iter()
                .fold(0_usize, |sum, octet| (sum << 8) | usize::from(*octet));
            if length < 0x80 || octets.first() == Some(&0) {
                return None;
            }
            (length, rest)
        };
        if length > rest.len() {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.rest = rest;
        Some((tag, content))
    }

    /// Reads the next value with this tag, and returns it whole: tag, length, content.
    pub fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.rest;
        self.read(tag)?;
        Some(&before[..before.len() - self.rest.len()])
    }

    /// Reads the next value, which must have this tag.
    pub fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.any()?;
        if found != tag {
            return None;
        }
        *self = ahead;
        Some(content)
    }

    /// Reads the next value, a `SEQUENCE`, and returns a reader of what is in it.
    pub fn sequence(&mut self) -> Option<Self> {
        self.read(SEQUENCE).map(Self::new)
    }

    /// Reads an `INTEGER` that is not negative and small.
    pub fn small_unsigned(&mut self) -> Option<u64> {
        let content = self.read(INTEGER)?;
        let minimal = match content {
            [] => false,
            [0, second, ..] => *second >= 0x80,
            [first, ..] => *first < 0x80,
        };
        if !minimal || content.len() > 9 || content.len() == 9 && content.first() != Some(&0) {
            return None;
        }
        Some(
            content
                .iter()
                .fold(0, |sum, octet| (sum << 8) | u64::from(*octet)),
        )
    }

    /// Returns something only when nothing is left.
    pub fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_lengths_in_their_shortest_form_and_reads_them_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let written = value(OCTET_STRING, &content);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.read(OCTET_STRING), Some(content.as_slice()));
            assert!(reader.is_empty());
        }
        assert_eq!(value(OCTET_STRING, &[1; 128])[..3], [0x04, 0x81, 0x80]);
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        let check = |octets: &[u8], expected: &[u8]| assert_eq!(unsigned(octets), expected);
        check(&[], &[2, 1, 0]);
        check(&[0, 0], &[2, 1, 0]);
        check(&[0, 5], &[2, 1, 5]);
        check(&[0x80], &[2, 2, 0, 0x80]);
        let read = |bytes: &[u8]| Reader::new(bytes).small_unsigned();
        assert_eq!(read(&[2, 1, 5]), Some(5));
        assert_eq!(read(&[2, 2, 0, 0x80]), Some(128));
        assert_eq!(
            read(&[2, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            Some(u64::MAX)
        );
        for bad in [
            &[2, 0][..],
            &[2, 1, 0x80],
            &[2, 2, 0, 5],
            &[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[4, 1, 5],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_change_their_form_in_2050() {
        use time::macros::datetime;
        let check = |at, expected: &str| {
            let written = time(at);
            let (tag, content) = Reader::new(&written).any().unwrap();
            assert_eq!(
                tag,
                if expected.len() == 13 {
                    UTC_TIME
                } else {
                    GENERALIZED_TIME
                }
            );
            assert_eq!(content, expected.as_bytes());
        };
        check(datetime!(2049-12-31 23:59:59.9 UTC), "491231235959Z");
        check(datetime!(2050-01-01 0:00 UTC), "20500101000000Z");
        check(datetime!(1999-01-02 3:04:05 +03:04:05), "990102000000Z");
        check(datetime!(1949-12-31 0:00 UTC), "19491231000000Z");
    }

    #[test]
    fn a_value_can_be_had_whole() {
        let bytes = [sequence(&[&unsigned(&[5])]), bit_string(&[1, 2])].concat();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.whole(BIT_STRING), None);
        assert_eq!(reader.whole(SEQUENCE), Some(&bytes[..5]));
        assert_eq!(reader.whole(BIT_STRING), Some(&[3, 3, 0, 1, 2][..]));
        assert!(reader.is_empty());
    }

    #[test]
    fn refuses_what_is_broken() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 5, 0, 0, 0, 0, 0],
            &[0x30, 0x82, 0, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x81, 1, 0],
        ] {
            assert_eq!(Reader::new(bad).any(), None, "{bad:?}");
        }
    }
}
