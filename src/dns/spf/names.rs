//! Names that terms refer to: macros expanded (RFC 7208, 7), compared, shown. Pure.

use std::net::IpAddr;

use super::{Run, Stop};
use crate::{
    dns::{
        error::SHOWN,
        macros::{dotted, transform},
    },
    model::{
        plan::printable_line,
        record::spf::{DomainSpec, Part},
    },
};

impl Run<'_> {
    pub(super) fn target(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Result<String, Stop> {
        spec.map_or_else(|| Ok(domain.to_owned()), |spec| self.expand(spec, domain))
    }

    /// Expands macros (RFC 7208, 7); a result that is too long loses labels from the left (7.3).
    pub(super) fn expand(&mut self, spec: &DomainSpec, domain: &str) -> Result<String, Stop> {
        let mut text = String::new();
        for part in &spec.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Macro(found) => {
                    let value = self.value_of(found.letter, domain)?;
                    text.push_str(&transform(found, &value));
                }
            }
        }
        let mut name = canonical(&text);
        while name.len() > 253 {
            match name.split_once('.') {
                Some((_, rest)) => name = rest.to_owned(),
                None => break,
            }
        }
        Ok(name)
    }

    pub(super) fn value_of(&mut self, letter: char, domain: &str) -> Result<String, Stop> {
        let sender = self.request.sender;
        let (local, sender_domain) = match sender.rsplit_once('@') {
            Some(("", host)) => ("postmaster", host),
            Some(pair) => pair,
            None => ("postmaster", sender),
        };
        Ok(match letter {
            's' => format!("{local}@{sender_domain}"),
            'l' => local.to_owned(),
            'o' => sender_domain.to_owned(),
            'd' => domain.to_owned(),
            'i' => dotted(self.request.address),
            'v' => if self.request.address.is_ipv4() {
                "in-addr"
            } else {
                "ip6"
            }
            .to_owned(),
            'h' => self.request.helo.to_owned(),
            'p' => self.best_name(domain)?,
            _ => String::new(),
        })
    }

    /// Returns the validated name that `%{p}` stands for (RFC 7208, 7.3).
    pub(super) fn best_name(&mut self, domain: &str) -> Result<String, Stop> {
        let names = self.validated_names()?;
        let best = names.iter().find(|name| *name == domain);
        let best = best
            .or_else(|| names.iter().find(|name| is_within(name, domain)))
            .or_else(|| names.first());
        Ok(best.cloned().unwrap_or_else(|| "unknown".to_owned()))
    }
}

/// Returns a name as `Question` has it.
pub(super) fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Returns whether the DNS could hold this name.
pub(super) fn is_askable(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

pub(super) fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

pub(super) fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(32 - prefix.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

pub(super) fn shown(name: &str) -> String {
    printable_line(name.as_bytes(), SHOWN)
}
