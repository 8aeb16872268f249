//! RRsets, and TXT data as it stands in a zone: character-strings, equality, master-file text. Pure.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::rdata::Rdata;

/// The records of one type at a name; no values when there is no such name or no such data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rrset {
    /// The TTL in seconds; 0 when there are no records.
    pub ttl: u32,
    /// The values, in the order in which they came.
    pub values: Vec<Rdata>,
}

impl Rrset {
    /// Returns whether these are its values, in whatever order.
    pub fn holds_exactly(&self, values: &[Rdata]) -> bool {
        let sorted = |values: &[Rdata]| {
            let mut values = values.to_vec();
            values.sort();
            values
        };
        sorted(&self.values) == sorted(values)
    }
}

/// One TXT record's data: its character-strings, 255 octets each at most (RFC 1035, 3.3.14).
///
/// Two records with the same text but cut into other strings are different RRs, so the cuts are kept: a value must be
/// removed from a zone exactly as it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Txt(Vec<Vec<u8>>);

/// A text that is not TXT data in master-file form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxtError;

impl fmt::Display for TxtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not TXT data: quoted strings of at most 255 octets are wanted (RFC 1035, 5.1)")
    }
}

impl std::error::Error for TxtError {}

impl Txt {
    /// Returns the data for a text of any length, cut into strings of 255 octets.
    pub fn from_text(text: &str) -> Self {
        if text.is_empty() {
            return Self(vec![Vec::new()]);
        }
        Self(text.as_bytes().chunks(255).map(<[u8]>::to_vec).collect())
    }

    /// Returns the data made of these strings as they are; longer ones than 255 octets are cut.
    pub fn from_strings<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Self {
        let mut cut = Vec::new();
        for string in strings {
            match string.as_ref() {
                [] => cut.push(Vec::new()),
                bytes => cut.extend(bytes.chunks(255).map(<[u8]>::to_vec)),
            }
        }
        Self(cut)
    }

    /// Returns the character-strings.
    pub fn strings(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Returns the strings joined without a space, as SPF and DKIM read them (RFC 7208, 3.3).
    pub fn joined(&self) -> Vec<u8> {
        self.0.concat()
    }
}

impl fmt::Display for Txt {
    /// Prints master-file text: each string quoted, `"` and `\` escaped, other octets as `\DDD` (RFC 1035, 5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, string) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&quoted(string))?;
        }
        Ok(())
    }
}

/// Returns a character-string in quotes: `"` and `\` escaped, other octets than printable ones as `\DDD` (RFC 1035, 5.1).
pub fn quoted(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            0x20..=0x7e => text.push(char::from(*octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    text.push('"');
    text
}

impl FromStr for Txt {
    type Err = TxtError;

    /// Reads what `Display` prints.
    fn from_str(text: &str) -> Result<Self, TxtError> {
        let mut strings = Vec::new();
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b' ' => continue,
                b'"' => {}
                _ => return Err(TxtError),
            }
            let mut string = Vec::new();
            loop {
                match bytes.next().ok_or(TxtError)? {
                    b'"' => break,
                    b'\\' => string.push(unescape(&mut bytes)?),
                    byte => string.push(byte),
                }
            }
            if string.len() > 255 {
                return Err(TxtError);
            }
            strings.push(string);
        }
        if strings.is_empty() {
            Err(TxtError)
        } else {
            Ok(Self(strings))
        }
    }
}

fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, TxtError> {
    let first = bytes.next().ok_or(TxtError)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(TxtError)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| TxtError)
}

impl TryFrom<String> for Txt {
    type Error = TxtError;

    fn try_from(text: String) -> Result<Self, TxtError> {
        text.parse()
    }
}

impl From<Txt> for String {
    fn from(txt: Txt) -> Self {
        txt.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_any_bytes() {
        for strings in [
            vec![b"v=spf1 mx -all".to_vec()],
            vec![b"a\"b\\c".to_vec(), vec![], (0..=254).collect()],
        ] {
            let txt = Txt::from_strings(&strings);
            assert_eq!(txt.strings(), strings);
            assert_eq!(txt.to_string().parse::<Txt>().unwrap(), txt);
        }
        assert_eq!(Txt::from_text(&"x".repeat(300)).strings().len(), 2);
        for bad in ["", "abc", "\"abc", "\"\\25\"", "\"\\300\""] {
            assert!(bad.parse::<Txt>().is_err(), "{bad}");
        }
    }
}
