//! The records that this host should have, each with its reason. Pure.
//!
//! Only SPF so far (RFC 7208): the mail domains get what `dns.spf` says. A host name that is no mail domain gets
//! `v=spf1 a -all`: it has no MX records, so `mx` would match nothing there (5.4), and its bounces, which are judged by
//! the name given with EHLO (2.4), would fail.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    config::Config,
    model::{name::DomainName, rrset::Txt},
};

/// The record of a host name that is no mail domain.
const HOST_SPF: &str = "v=spf1 a -all";

/// A TXT record to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// The owner name.
    pub name: DomainName,
    /// Its text.
    pub text: String,
    /// TTL in seconds where the name has no TXT records yet.
    pub ttl: u32,
    /// Why.
    pub reason: String,
    /// What the name is.
    #[serde(skip)]
    pub role: Role,
}

/// What a name is to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing: somebody wants to know.
    Any,
    /// A host name that is no mail domain.
    Host,
    /// A mail domain served here.
    MailDomain,
}

/// Returns the SPF records this host should have: the mail domains in the order of the configuration, then the host.
pub fn spf(config: &Config) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for domain in &config.host.domains {
        if wanted.iter().all(|earlier| earlier.name != *domain) {
            wanted.push(Wanted {
                name: domain.clone(),
                text: config.dns.spf.clone(),
                ttl: config.dns.ttl,
                reason: format!(
                    "says which hosts may send mail from addresses at {domain}; all others may not"
                ),
                role: Role::MailDomain,
            });
        }
    }
    if wanted.iter().all(|earlier| earlier.name != config.host.name) {
        let host = &config.host.name;
        wanted.push(Wanted {
            name: host.clone(),
            text: HOST_SPF.to_owned(),
            ttl: config.dns.ttl,
            reason: format!(
                "bounces are judged by the name {host}, which has no MX records: its own addresses may send"
            ),
            role: Role::Host,
        });
    }
    wanted
}

/// Returns master-file text (RFC 1035, 5): one record a line, its reason above it.
pub fn zone_text(wanted: &[Wanted]) -> String {
    let mut text = String::new();
    for record in wanted {
        let _ = writeln!(text, "; {}", record.reason);
        let _ = writeln!(
            text,
            "{}. {} IN TXT {}",
            record.name,
            record.ttl,
            Txt::from_text(&record.text)
        );
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a wanted record.
    pub fn wanted(name: &str, text: &str, role: Role) -> Wanted {
        Wanted {
            name: name.parse().unwrap(),
            text: text.to_owned(),
            ttl: 3600,
            reason: "a reason".to_owned(),
            role,
        }
    }

    #[test]
    fn zone_text_is_what_named_reads() {
        let text = zone_text(&[wanted("mail.test", "v=spf1 mx -all", Role::MailDomain)]);
        assert_eq!(text, "; a reason\nmail.test. 3600 IN TXT \"v=spf1 mx -all\"\n");
        let long = format!("v=spf1 {}-all", "ip4:192.0.2.1 ".repeat(30));
        let text = zone_text(&[wanted("mail.test", &long, Role::MailDomain)]);
        assert!(text.contains("\" \""), "strings of 255 octets at most: {text}");
    }
}
