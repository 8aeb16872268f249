//! A name that a record leads to, as it was written. Pure.
//!
//! Names are compared without regard to case, and shown and written again as they came (RFC 4343, 4.1): a record that was
//! taken away comes back octet for octet.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use super::name::{DomainName, NameError};

/// A name and its spelling; equal to every other spelling of it.
#[derive(Clone, Debug)]
pub struct Spelled {
    name: DomainName,
    /// Differs from the name in capital letters alone; without a trailing dot.
    spelling: Box<str>,
}

impl Spelled {
    /// Reads a name as it stands in the DNS, with or without its last dot.
    ///
    /// # Errors
    /// As [`DomainName::from_dns`].
    pub fn from_dns(text: &str) -> Result<Self, NameError> {
        let name = DomainName::from_dns(text)?;
        let written = text.strip_suffix('.').unwrap_or(text);
        // What was internationalized is its A-labels.
        let spelling = match written.eq_ignore_ascii_case(name.as_str()) {
            true => written.into(),
            false => name.as_str().into(),
        };
        Ok(Self { name, spelling })
    }

    /// Returns the name.
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// Returns the name as it was written, without a trailing dot.
    pub fn as_written(&self) -> &str {
        &self.spelling
    }
}

impl From<DomainName> for Spelled {
    fn from(name: DomainName) -> Self {
        let spelling = name.as_str().into();
        Self { name, spelling }
    }
}

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

impl PartialEq for Spelled {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Spelled {}

impl Hash for Spelled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialOrd for Spelled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Spelled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_equal_in_every_spelling_and_keeps_its_own() {
        let check = |text: &str, name: &str, spelling: &str| {
            let read = Spelled::from_dns(text).unwrap();
            assert_eq!(read, Spelled::from(name.parse::<DomainName>().unwrap()));
            assert_eq!(read.to_string(), spelling);
        };
        check("Mail.Example.TEST.", "mail.example.test", "Mail.Example.TEST");
        check("mail.example.test", "mail.example.test", "mail.example.test");
        check("bücher.test", "xn--bcher-kva.test", "xn--bcher-kva.test");
        assert!(Spelled::from_dns(".").is_err());
    }
}
