//! What clients are given so that they trust the private CA, and find the mail server: Apple's profiles, Mozilla's
//! autoconfiguration, lines that put the root into trust stores, sheets for people. Pure.
//!
//! The same input gives the same bytes: a profile that is installed again takes the place of the one before.

pub mod autoconfig;
pub mod mobileconfig;
pub mod sheet;
pub mod trust_stores;

use serde::Serialize;

use crate::model::name::DomainName;

/// What a mail program has to know of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// What it connects to.
    pub host: DomainName,
    /// The domains of its users' addresses.
    pub domains: Vec<DomainName>,
    /// Where mail is read.
    pub imap: Service,
    /// Where mail is submitted, the better one first; never empty.
    pub submission: Vec<Service>,
    /// By what users log in.
    pub login: Login,
}

/// A port, and how TLS begins on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The port.
    pub port: u16,
    /// How TLS begins.
    pub security: Security,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Security {
    /// With the first byte (RFC 8314, 3).
    #[serde(rename = "tls")]
    Implicit,
    /// After STARTTLS (RFC 3207).
    #[serde(rename = "starttls")]
    StartTls,
}

/// By what users log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// Their whole address.
    Address,
    /// What stands before its `@`: they are users of the system.
    LocalPart,
}

impl Service {
    /// IMAP with TLS at once (RFC 8314, 3.2).
    pub const IMAPS: Self = Self {
        port: 993,
        security: Security::Implicit,
    };
    /// Submission after STARTTLS (RFC 6409).
    pub const SUBMISSION: Self = Self {
        port: 587,
        security: Security::StartTls,
    };
    /// Submission with TLS at once (RFC 8314, 3.3).
    pub const SUBMISSIONS: Self = Self {
        port: 465,
        security: Security::Implicit,
    };
}

/// Makes text fit for an element of XML, or for an attribute in double quotes; characters that XML 1.0 cannot have are left
/// out.
pub fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns what a CA's files are called: its name in small letters, whatever is no letter or digit a hyphen.
pub fn file_stem(name: &str) -> String {
    let mut stem = String::new();
    for c in name.chars().take(100) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || c == '.' && !stem.is_empty() => stem.push(c),
            _ if stem.is_empty() || stem.ends_with('-') => {}
            _ => stem.push('-'),
        }
    }
    let stem = stem.trim_end_matches(['-', '.']);
    if stem.is_empty() { "root" } else { stem }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_files_and_in_xml() {
        let check = |name: &str, expected: &str| assert_eq!(file_stem(name), expected, "{name}");
        check("example.jp mail CA", "example.jp-mail-ca");
        check("../../etc/passwd", "etc-passwd");
        check("社内 CA", "ca");
        check("認証局", "root");
        check("-x.", "x");
        assert_eq!(
            xml("<a href=\"x\">&\u{1b}[0m"),
            "&lt;a href=&quot;x&quot;&gt;&amp;[0m"
        );
    }
}
