//! Domain names, made canonical once, and the identifiers of certificates. Pure.
//!
//! The one place that knows capital letters, trailing dots and internationalized names: a [`DomainName`] in hand is lower
//! case, in A-labels (RFC 5890), without a trailing dot, and at most 253 octets long.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A host name or mail domain: lower case, A-labels, no trailing dot, at least one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

/// Why a text is no domain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a domain name: {}",
            self.text.escape_debug(),
            self.reason
        )
    }
}

impl std::error::Error for NameError {}

impl DomainName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Returns the name without its first label, or `None` for a single label.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, rest)| Self(rest.to_owned()))
    }

    /// Returns this name with a label (`_acme-challenge`, `_25._tcp`) put before it.
    ///
    /// # Errors
    /// When the result would be too long for the DNS.
    pub fn prefixed(&self, labels: &str) -> Result<Self, NameError> {
        let text = format!("{labels}.{}", self.0);
        if text.len() > 253 {
            return Err(NameError {
                text,
                reason: "it is longer than 253 octets",
            });
        }
        Ok(Self(text))
    }

    /// Returns whether this is `zone` or a name below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.0 == zone.0
            || self
                .0
                .strip_suffix(&zone.0)
                .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Parses a name as it stands in the DNS, where labels such as `_acme-challenge` are legal.
    ///
    /// # Errors
    /// For anything the DNS could not hold, and for characters that no zone of ours should.
    pub fn from_dns(text: &str) -> Result<Self, NameError> {
        canonical(text, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
        })
    }
}

fn canonical(text: &str, allowed: fn(u8) -> bool) -> Result<DomainName, NameError> {
    let fail = |reason| NameError {
        text: text.chars().take(300).collect(),
        reason,
    };
    let trimmed = text.strip_suffix('.').unwrap_or(text);
    if trimmed.is_empty() {
        return Err(fail("it is empty"));
    }
    if trimmed.len() > 2000 {
        return Err(fail("it is longer than 253 octets"));
    }
    let ascii = if trimmed.is_ascii() {
        trimmed.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(trimmed).map_err(|_| fail("it is not a valid internationalized name (IDNA)"))?
    };
    if ascii.len() > 253 {
        return Err(fail("it is longer than 253 octets"));
    }
    for label in ascii.split('.') {
        if label.is_empty() {
            return Err(fail("a label is empty"));
        }
        if label.len() > 63 {
            return Err(fail("a label is longer than 63 octets"));
        }
        if !label.bytes().all(allowed) {
            return Err(fail("only letters, digits, hyphens and dots may stand in it"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(fail("a label begins or ends with a hyphen"));
        }
    }
    Ok(DomainName(ascii))
}

impl FromStr for DomainName {
    type Err = NameError;

    /// Parses a host name (RFC 1123, 2.1); capital letters, one trailing dot and U-labels are made canonical.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = canonical(text, |byte| byte.is_ascii_alphanumeric() || byte == b'-')?;
        if name
            .labels()
            .next_back()
            .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
        {
            let text = text.to_owned();
            return Err(NameError {
                text,
                reason: "it is an IP address or ends in a number",
            });
        }
        Ok(name)
    }
}

impl TryFrom<String> for DomainName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::from_dns(&text)
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a certificate is for: a DNS name, or all names directly below one (RFC 8555, 7.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identifier {
    base: DomainName,
    wildcard: bool,
}

impl Identifier {
    /// Returns the name without `*.`: the one that is validated.
    pub fn base(&self) -> &DomainName {
        &self.base
    }

    /// Returns whether the identifier begins with `*.`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Returns whether a certificate with this name is good for `host` (RFC 9525, 6.3: `*` is exactly one label).
    pub fn covers(&self, host: &DomainName) -> bool {
        if self.wildcard {
            host.parent().as_ref() == Some(&self.base)
        } else {
            *host == self.base
        }
    }

    /// Returns the name of a lineage called after this identifier: `*.x` is written `_wildcard.x`.
    pub fn lineage_name(&self) -> String {
        if self.wildcard {
            format!("_wildcard.{}", self.base)
        } else {
            self.base.to_string()
        }
    }
}

impl From<DomainName> for Identifier {
    fn from(base: DomainName) -> Self {
        Self {
            base,
            wildcard: false,
        }
    }
}

impl FromStr for Identifier {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (wildcard, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let base = rest.parse::<DomainName>()?;
        if base.parent().is_none() {
            let text = text.to_owned();
            return Err(NameError {
                text,
                reason: "a certificate needs a name with at least one dot",
            });
        }
        Ok(Self { base, wildcard })
    }
}

impl TryFrom<String> for Identifier {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Identifier> for String {
    fn from(identifier: Identifier) -> Self {
        identifier.to_string()
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_names_canonical() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                text.parse::<DomainName>().ok().map(String::from).as_deref(),
                expected,
                "{text}"
            );
        };
        check("Mail.Example.JP.", Some("mail.example.jp"));
        check("メール.example.jp", Some("xn--4dkua4c.example.jp"));
        check("bücher.example", Some("xn--bcher-kva.example"));
        check("localhost", Some("localhost"));
        check("", None);
        check(".", None);
        check("a..b", None);
        check("-a.b", None);
        check("a-.b", None);
        check("a_b.example", None);
        check("127.0.0.1", None);
        check("a b.example", None);
        check("a\u{1b}[31m.example", None);
        check(&format!("{}.example", "a".repeat(64)), None);
        check(&format!("{}example", "aaaaaaaaa.".repeat(26)), None);
    }

    #[test]
    fn wildcards_cover_one_label() {
        let check = |identifier: &str, host: &str, expected: bool| {
            let identifier = identifier.parse::<Identifier>().unwrap();
            assert_eq!(
                identifier.covers(&host.parse().unwrap()),
                expected,
                "{identifier} {host}"
            );
        };
        check("*.example.jp", "mail.example.jp", true);
        check("*.example.jp", "a.mail.example.jp", false);
        check("*.example.jp", "example.jp", false);
        check("mail.example.jp", "MAIL.example.jp.", true);
        assert_eq!(
            "*.Example.jp".parse::<Identifier>().unwrap().lineage_name(),
            "_wildcard.example.jp"
        );
        assert!("*".parse::<Identifier>().is_err());
        assert!("*.jp".parse::<Identifier>().is_err());
        assert!("*.*.example.jp".parse::<Identifier>().is_err());
    }

    #[test]
    fn knows_what_is_below_a_zone() {
        let name = |text| DomainName::from_dns(text).unwrap();
        assert!(name("_acme-challenge.a.example").is_within(&name("a.example")));
        assert!(name("a.example").is_within(&name("a.example")));
        assert!(!name("ba.example").is_within(&name("a.example")));
    }
}
