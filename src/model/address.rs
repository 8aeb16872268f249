//! A mail address that may stand in a header and on a command line: `user@example.jp`, or a local user's name. Pure.
//!
//! The local part is a dot-string (RFC 5321, 4.1.2); quoted ones, comments and display names are refused. An address never
//! begins with `-`, so that no program takes it for an option.

use std::{fmt, str::FromStr};

use super::name::DomainName;

/// Longest local part in octets (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;
/// Longest address in octets: a path of 256 without its brackets (RFC 5321, 4.5.3.1.3).
const MAX_ADDRESS: usize = 254;

/// A mail address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailAddress {
    local_part: String,
    /// `None`: a user of this host, whom the mail server completes.
    domain: Option<DomainName>,
}

/// What is wrong with an address, as the end of a sentence that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The part behind the `@` is no domain name.
    Domain,
    /// It is longer than mail servers have to take.
    Length,
    /// What is before the `@` is no dot-string, or begins with `-`.
    LocalPart,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Domain => "has no domain name behind its `@`",
            Self::Length => "is longer than an address may be",
            Self::LocalPart => {
                "is no plain address: write user@example.jp, or a local user's name, without a display name or quotes"
            }
        })
    }
}

impl std::error::Error for AddressError {}

impl FromStr for MailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local_part, domain) = match text.rsplit_once('@') {
            Some((local_part, domain)) => (local_part, Some(domain)),
            None => (text, None),
        };
        if !is_dot_string(local_part) || local_part.starts_with('-') {
            return Err(AddressError::LocalPart);
        }
        let domain = domain
            .map(|domain| domain.parse::<DomainName>().map_err(|_| AddressError::Domain))
            .transpose()?;
        let address = Self {
            local_part: local_part.to_owned(),
            domain,
        };
        if address.local_part.len() > MAX_LOCAL_PART || address.to_string().len() > MAX_ADDRESS {
            return Err(AddressError::Length);
        }
        Ok(address)
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{}@{domain}", self.local_part),
            None => f.write_str(&self.local_part),
        }
    }
}

impl MailAddress {
    /// Returns `root` at a host.
    pub fn root_at(host: &DomainName) -> Self {
        Self {
            local_part: "root".to_owned(),
            domain: Some(host.clone()),
        }
    }

    /// Returns it with a domain, as headers want it (RFC 5322, 3.4.1): a local user's is this host.
    #[must_use]
    pub fn completed(&self, host: &DomainName) -> Self {
        Self {
            local_part: self.local_part.clone(),
            domain: Some(self.domain.clone().unwrap_or_else(|| host.clone())),
        }
    }
}

/// Returns whether it is atoms with dots between them (RFC 5321, 4.1.2).
fn is_dot_string(text: &str) -> bool {
    let is_atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_addresses_only() {
        let check = |text: &str, expected: Result<&str, AddressError>| {
            let read = text.parse::<MailAddress>().map(|address| address.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text:?}");
        };
        check("postmaster@example.jp", Ok("postmaster@example.jp"));
        check("first.last+tag@EXAMPLE.jp", Ok("first.last+tag@example.jp"));
        check("root", Ok("root"));
        check("ops@\u{65e5}\u{672c}.jp", Ok("ops@xn--wgv71a.jp"));
        for wrong in [
            "",
            "@example.jp",
            "-oQ/tmp@example.jp",
            "-bv",
            "a b@example.jp",
            "a@b@example.jp",
            "a..b@example.jp",
            ".a@example.jp",
            "\"a b\"@example.jp",
            "Ops <ops@example.jp>",
            "a,b@example.jp",
            "a@example.jp\nBcc: b@example.jp",
            "a\r\nX: y",
            "\u{65e5}@example.jp",
        ] {
            let error = wrong.parse::<MailAddress>().unwrap_err();
            assert!(
                matches!(error, AddressError::LocalPart | AddressError::Domain),
                "{wrong:?}: {error}"
            );
        }
        check("a@", Err(AddressError::Domain));
        check("a@-x.example", Err(AddressError::Domain));
        check(
            &format!("{}@example.jp", "a".repeat(65)),
            Err(AddressError::Length),
        );
        check(
            &format!("{}@example.jp", "a".repeat(64)),
            Ok(&format!("{}@example.jp", "a".repeat(64))),
        );
    }
}
