//! Record data of the types that a mail host publishes: values that print, compare and are read again. Pure.
//!
//! A value is one record's data without owner and TTL; a record is managed by its value. The text form is the master
//! file's (RFC 1035, 5; RFC 2782; RFC 6698, 2.2; RFC 8659, 4.1.1), names in it absolute.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize, Serializer};

use super::{
    master_file::{self, Word},
    name::DomainName,
    rrset::{Txt, quoted},
    spelled::Spelled,
};

/// A type of records that can be listed and changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address (RFC 1035, 3.4.1).
    A,
    /// An IPv6 address (RFC 3596).
    Aaaa,
    /// Which CA may issue (RFC 8659).
    Caa,
    /// An alias (RFC 1035, 3.3.1).
    Cname,
    /// A mail exchanger (RFC 1035, 3.3.9).
    Mx,
    /// Where a service is (RFC 2782).
    Srv,
    /// Which certificate a port serves (RFC 6698).
    Tlsa,
    /// Text (RFC 1035, 3.3.14).
    Txt,
}

/// One record's data.
///
/// Names are `None` where they are the root, which in MX and SRV says that there is no such service (RFC 7505; RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rdata {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Which CA may issue.
    Caa {
        /// The flags; 128 is "critical".
        flags: u8,
        /// The tag, as it came: servers compare its octets, everybody else compares it without regard to case (RFC 8659, 4.1).
        tag: String,
        /// The value, as it is.
        value: Vec<u8>,
    },
    /// What the owner is an alias of.
    Cname(Spelled),
    /// A mail exchanger.
    Mx {
        /// Lower is better.
        preference: u16,
        /// The host; `None`: no mail (RFC 7505).
        exchange: Option<Spelled>,
    },
    /// Where a service is.
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// The share among those of the same priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host; `None`: the service is not offered.
        target: Option<Spelled>,
    },
    /// Which certificate a port serves.
    Tlsa {
        /// The certificate usage (RFC 7218).
        usage: u8,
        /// The selector.
        selector: u8,
        /// The matching type.
        matching: u8,
        /// The association data.
        data: Vec<u8>,
    },
    /// Text.
    Txt(Txt),
}

/// A text that is no record data of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdataError {
    kind: RecordType,
    reason: String,
}

impl fmt::Display for RdataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is no {} record: {}", self.kind, self.reason)
    }
}

impl std::error::Error for RdataError {}

impl RecordType {
    /// Every type, in the order of the alphabet.
    pub const ALL: [Self; 8] = [
        Self::A,
        Self::Aaaa,
        Self::Caa,
        Self::Cname,
        Self::Mx,
        Self::Srv,
        Self::Tlsa,
        Self::Txt,
    ];

    /// Returns the type's mnemonic: `AAAA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Srv => "SRV",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
        }
    }

    /// Returns the type that a mnemonic means, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Rdata {
    /// Returns the type.
    pub fn kind(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::Aaaa,
            Self::Caa { .. } => RecordType::Caa,
            Self::Cname(_) => RecordType::Cname,
            Self::Mx { .. } => RecordType::Mx,
            Self::Srv { .. } => RecordType::Srv,
            Self::Tlsa { .. } => RecordType::Tlsa,
            Self::Txt(_) => RecordType::Txt,
        }
    }

    /// Returns whether both say the same: tags of CAA in whatever case (RFC 8659, 4.1), all else octet for octet.
    pub fn says_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Caa { flags, tag, value },
                Self::Caa {
                    flags: other_flags,
                    tag: other_tag,
                    value: other_value,
                },
            ) => flags == other_flags && tag.eq_ignore_ascii_case(other_tag) && value == other_value,
            _ => self == other,
        }
    }

    /// Returns a TXT value for a text of any length.
    pub fn text(text: &str) -> Self {
        Self::Txt(Txt::from_text(text))
    }

    /// Returns the TXT data, where it is such.
    pub fn as_txt(&self) -> Option<&Txt> {
        match self {
            Self::Txt(txt) => Some(txt),
            _ => None,
        }
    }

    /// Reads master-file text of this type; names are absolute, with or without their last dot.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(kind: RecordType, text: &str) -> Result<Self, RdataError> {
        let fail = |reason: String| RdataError { kind, reason };
        let words = master_file::words(text.as_bytes()).map_err(|error| fail(error.to_string()))?;
        Self::from_words(kind, &words, None)
    }

    /// Reads the words of a master file's entry; names that do not end in a dot are below `origin`.
    ///
    /// # Errors
    /// When they are no data of this type.
    pub fn from_words(
        kind: RecordType,
        words: &[Word],
        origin: Option<&DomainName>,
    ) -> Result<Self, RdataError> {
        read(kind, words, origin).map_err(|reason| RdataError { kind, reason })
    }
}

impl fmt::Display for Rdata {
    /// Prints master-file text on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => write!(f, "{address}"),
            Self::Aaaa(address) => write!(f, "{address}"),
            Self::Caa { flags, tag, value } => {
                write!(f, "{flags} {tag} {}", quoted(value))
            }
            Self::Cname(name) => write!(f, "{name}."),
            Self::Mx { preference, exchange } => write!(f, "{preference} {}", absolute(exchange.as_ref())),
            Self::Srv {
                priority,
                weight,
                port,
                target,
            } => write!(f, "{priority} {weight} {port} {}", absolute(target.as_ref())),
            Self::Tlsa {
                usage,
                selector,
                matching,
                data,
            } => {
                write!(f, "{usage} {selector} {matching} ")?;
                data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Txt(txt) => write!(f, "{txt}"),
        }
    }
}

impl Serialize for Rdata {
    /// Writes its master-file text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn absolute(name: Option<&Spelled>) -> String {
    name.map_or_else(String::new, ToString::to_string) + "."
}

fn read(kind: RecordType, words: &[Word], origin: Option<&DomainName>) -> Result<Rdata, String> {
    let name = |word: &Word| target(word, origin);
    match (kind, words) {
        (RecordType::A, [address]) => Ok(Rdata::A(number(address, "an IPv4 address")?)),
        (RecordType::Aaaa, [address]) => Ok(Rdata::Aaaa(number(address, "an IPv6 address")?)),
        (RecordType::Caa, [flags, tag, value]) => Ok(Rdata::Caa {
            flags: number(flags, "flags from 0 to 255")?,
            tag: caa_tag(tag)?,
            value: value.octets().ok_or("its value has a broken escape")?,
        }),
        (RecordType::Cname, [host]) => name(host)?
            .map(Rdata::Cname)
            .ok_or_else(|| "the root is no target".to_owned()),
        (RecordType::Mx, [preference, host]) => Ok(Rdata::Mx {
            preference: number(preference, "a preference")?,
            exchange: name(host)?,
        }),
        (RecordType::Srv, [priority, weight, port, host]) => Ok(Rdata::Srv {
            priority: number(priority, "a priority")?,
            weight: number(weight, "a weight")?,
            port: number(port, "a port")?,
            target: name(host)?,
        }),
        (RecordType::Tlsa, [usage, selector, matching, data @ ..]) if !data.is_empty() => Ok(Rdata::Tlsa {
            usage: number(usage, "a certificate usage")?,
            selector: number(selector, "a selector")?,
            matching: number(matching, "a matching type")?,
            data: hexadecimal(data)?,
        }),
        (RecordType::Txt, [_, ..]) => {
            let strings: Option<Vec<Vec<u8>>> = words.iter().map(Word::octets).collect();
            let strings = strings.ok_or("it has a broken escape")?;
            if strings.iter().any(|string| string.len() > 255) {
                return Err("a string is longer than 255 octets".to_owned());
            }
            Ok(Rdata::Txt(Txt::from_strings(strings)))
        }
        _ => Err(format!("{} words are too many or too few", words.len())),
    }
}

fn number<T: FromStr>(word: &Word, what: &str) -> Result<T, String> {
    word.plain()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("`{word}` is not {what}"))
}

/// Reads a name: the origin by `@`, absolute when it ends in a dot or when there is no origin.
fn target(word: &Word, origin: Option<&DomainName>) -> Result<Option<Spelled>, String> {
    let text = word.plain().ok_or_else(|| format!("`{word}` is no name"))?;
    match (text, origin) {
        (".", _) => Ok(None),
        ("@", Some(origin)) => Ok(Some(origin.clone().into())),
        (text, Some(origin)) if !text.ends_with('.') => {
            Spelled::from_dns(&format!("{text}.{origin}")).map(Some)
        }
        (text, _) => Spelled::from_dns(text).map(Some),
    }
    .map_err(|error| error.to_string())
}

fn caa_tag(word: &Word) -> Result<String, String> {
    match word.plain() {
        Some(tag) if !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Ok(tag.to_owned())
        }
        _ => Err(format!("`{word}` is no tag")),
    }
}

/// Reads hexadecimal digits, which may be cut into words (RFC 6698, 2.2).
fn hexadecimal(words: &[Word]) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = words
        .iter()
        .flat_map(|word| word.plain().unwrap_or("?").chars())
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.ok_or("its data is not hexadecimal")?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err("its data has half an octet too much".to_owned());
    }
    Ok(pairs
        .filter_map(|pair| Some(pair.first()? << 4 | pair.last()?))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_every_type() {
        use RecordType::{A, Aaaa, Caa, Cname, Mx, Srv, Tlsa, Txt};
        let check = |kind, text: &str, expected: &str| {
            let data = Rdata::parse(kind, text).unwrap();
            assert_eq!(data.to_string(), expected);
            assert_eq!(data.kind(), kind);
            assert_eq!(Rdata::parse(kind, expected).unwrap(), data);
        };
        check(A, "192.0.2.1", "192.0.2.1");
        check(Aaaa, "2001:DB8:0::1", "2001:db8::1");
        check(Caa, "0 Issue letsencrypt.org", "0 Issue \"letsencrypt.org\"");
        check(
            Caa,
            r#"128 issue "ca.test; accounturi=https://x/\"1""#,
            r#"128 issue "ca.test; accounturi=https://x/\"1""#,
        );
        check(Cname, "Mail.Example.", "Mail.Example.");
        assert_eq!(
            Rdata::parse(Mx, "10 Mail.Example"),
            Rdata::parse(Mx, "10 mail.example")
        );
        check(Mx, "10 mail.example", "10 mail.example.");
        check(Mx, "0 .", "0 .");
        check(Srv, "0 1 993 imap.example.", "0 1 993 imap.example.");
        check(Srv, "0 0 0 .", "0 0 0 .");
        check(Tlsa, "3 1 1 ABCD ef01", "3 1 1 abcdef01");
        check(Txt, r#"v=spf1 "a \"b\" \001""#, r#""v=spf1" "a \"b\" \001""#);
        check(Txt, r#""""#, r#""""#);
    }

    #[test]
    fn refuses_what_is_none() {
        let check = |kind, text: &str| {
            let error = Rdata::parse(kind, text).unwrap_err().to_string();
            assert!(error.contains(kind.name()), "{text}: {error}");
        };
        check(RecordType::A, "192.0.2");
        check(RecordType::A, "192.0.2.1 192.0.2.2");
        check(RecordType::Aaaa, "192.0.2.1");
        check(RecordType::Caa, "256 issue x");
        check(RecordType::Caa, "0 is-sue x");
        check(RecordType::Cname, ".");
        check(RecordType::Cname, "");
        check(RecordType::Mx, "mail.example.");
        check(RecordType::Mx, "10 \"mail.example.\" x");
        check(RecordType::Tlsa, "3 1 1");
        check(RecordType::Tlsa, "3 1 1 abc");
        check(RecordType::Tlsa, "3 1 1 xy");
        check(RecordType::Txt, "");
        check(RecordType::Txt, "\"open");
        check(RecordType::Txt, &format!("\"{}\"", "x".repeat(256)));
    }

    #[test]
    fn names_are_below_the_origin() {
        let origin: DomainName = "example.test".parse().unwrap();
        let check = |text: &str, expected: &str| {
            let words = master_file::words(text.as_bytes()).unwrap();
            let data = Rdata::from_words(RecordType::Mx, &words, Some(&origin)).unwrap();
            assert_eq!(data.to_string(), expected);
        };
        check("10 mail", "10 mail.example.test.");
        check("10 @", "10 example.test.");
        check("10 mail.other.", "10 mail.other.");
    }
}
