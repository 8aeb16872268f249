//! The names that a private CA certifies, and which ones it may: its name constraints (RFC 5280, 4.2.1.6 and 4.2.1.10). Pure.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::{der, name::DomainName, plan::printable_line};

/// dNSName in a GeneralName.
const DNS_NAME: u8 = der::context(2);
/// iPAddress in a GeneralName.
const IP_ADDRESS: u8 = der::context(7);

/// A name in a certificate's subjectAltName.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AltName {
    /// A host name, which may begin with `*.`.
    Dns {
        /// The name, without `*.`.
        base: DomainName,
        /// Whether `*.` stands before it.
        wildcard: bool,
    },
    /// An address.
    Ip(IpAddr),
}

/// Why a text is no such name, as a whole sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltNameError(String);

impl fmt::Display for AltNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AltNameError {}

impl FromStr for AltName {
    type Err = AltNameError;

    /// Reads a host name, `*.` and a host name, or an address.
    fn from_str(text: &str) -> Result<Self, AltNameError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        let (wildcard, base) = text.strip_prefix("*.").map_or((false, text), |base| (true, base));
        let base: DomainName = base
            .parse()
            .map_err(|error| AltNameError(format!("{error}; nor is it an address")))?;
        if wildcard && base.parent().is_none() {
            return Err(AltNameError(format!(
                "`{}` stands for every name of a top-level domain: no client takes it",
                text.escape_debug()
            )));
        }
        Ok(Self::Dns { base, wildcard })
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { base, wildcard } => write!(f, "{}{base}", if *wildcard { "*." } else { "" }),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl AltName {
    /// Appends it as a GeneralName.
    pub fn push_der(&self, out: &mut Vec<u8>) {
        match self {
            Self::Dns {
                base,
                wildcard: false,
            } => der::push(out, DNS_NAME, base.as_str().as_bytes()),
            Self::Dns { wildcard: true, .. } => der::push(out, DNS_NAME, self.to_string().as_bytes()),
            Self::Ip(IpAddr::V4(address)) => der::push(out, IP_ADDRESS, &address.octets()),
            Self::Ip(IpAddr::V6(address)) => der::push(out, IP_ADDRESS, &address.octets()),
        }
    }
}

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Network {
    type Err = AltNameError;

    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, AltNameError> {
        let wrong = |why: &str| {
            let text = printable_line(text.as_bytes(), 80);
            AltNameError(format!("`{text}` is no network such as 192.0.2.0/24: {why}"))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong("its address is none"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| wrong("its length is none"))?,
        };
        let network = Self { address, prefix };
        if octets(address)
            .iter()
            .zip(network.mask())
            .any(|(octet, mask)| octet & !mask != 0)
        {
            return Err(wrong("bits are set behind its length"));
        }
        Ok(network)
    }
}

impl TryFrom<String> for Network {
    type Error = AltNameError;

    fn try_from(text: String) -> Result<Self, AltNameError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Returns whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = (octets(self.address), octets(address));
        own.len() == other.len()
            && own
                .iter()
                .zip(other)
                .zip(self.mask())
                .all(|((own, other), mask)| own & mask == other & mask)
    }

    fn mask(&self) -> Vec<u8> {
        let n_octets = octets(self.address).len();
        let ones = |index: usize| usize::from(self.prefix).saturating_sub(index * 8).min(8);
        (0..n_octets)
            .map(|index| u8::MAX.checked_shl(8 - ones_u32(ones(index))).unwrap_or(0))
            .collect()
    }
}

/// At most eight.
fn ones_u32(ones: usize) -> u32 {
    u32::try_from(ones).unwrap_or(8)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Which names the CA may certify.
///
/// Without a domain it may certify any: clients that trust its root then trust it for the whole world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// These names and all below them; any name when there is none.
    pub domains: Vec<DomainName>,
    /// These addresses; none when there is none, but any where any name may be certified.
    pub networks: Vec<Network>,
}

impl Constraints {
    /// Returns whether any name may be certified.
    pub fn is_unlimited(&self) -> bool {
        self.domains.is_empty() && self.networks.is_empty()
    }

    /// Returns whether this name may be certified.
    pub fn permit(&self, name: &AltName) -> bool {
        self.is_unlimited()
            || match name {
                AltName::Dns { base, .. } => self.domains.iter().any(|domain| base.is_within(domain)),
                AltName::Ip(address) => self.networks.iter().any(|network| network.contains(*address)),
            }
    }

    /// Returns the extension's value; `None` when any name may be certified.
    ///
    /// A kind of name with no permitted subtree is free to use (RFC 5280, 4.2.1.10): what is not permitted is excluded by
    /// its whole space.
    pub fn to_der(&self) -> Option<Vec<u8>> {
        if self.is_unlimited() {
            return None;
        }
        let (mut permitted, mut excluded) = (Vec::new(), Vec::new());
        for domain in &self.domains {
            push_subtree(&mut permitted, DNS_NAME, domain.as_str().as_bytes());
        }
        if self.domains.is_empty() {
            // The empty name is the root of them all.
            push_subtree(&mut excluded, DNS_NAME, b"");
        }
        for network in &self.networks {
            let octets = [octets(network.address), network.mask()].concat();
            push_subtree(&mut permitted, IP_ADDRESS, &octets);
        }
        for (is_v4, n_octets) in [(true, 8), (false, 32)] {
            if !self
                .networks
                .iter()
                .any(|network| network.address.is_ipv4() == is_v4)
            {
                push_subtree(&mut excluded, IP_ADDRESS, &vec![0; n_octets]);
            }
        }
        let mut content = Vec::new();
        for (number, subtrees) in [(0, permitted), (1, excluded)] {
            if !subtrees.is_empty() {
                der::push(&mut content, der::context_constructed(number), &subtrees);
            }
        }
        Some(der::value(der::SEQUENCE, &content))
    }
}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.write_str("any name");
        }
        let domains = self.domains.iter().map(ToString::to_string);
        let all: Vec<String> = domains
            .chain(self.networks.iter().map(ToString::to_string))
            .collect();
        f.write_str(&all.join(", "))
    }
}

fn push_subtree(out: &mut Vec<u8>, tag: u8, base: &[u8]) {
    let base = der::value(tag, base);
    der::push(out, der::SEQUENCE, &base);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_addresses() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<AltName>().ok().map(|name| name.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("Mail.Example.jp.", Some("mail.example.jp"));
        check("*.example.jp", Some("*.example.jp"));
        check("mail", Some("mail"));
        check("192.0.2.1", Some("192.0.2.1"));
        check("2001:DB8::1", Some("2001:db8::1"));
        check("*.jp", None);
        check("*", None);
        check("a.*.jp", None);
        check("*.*.example.jp", None);
        check("192.0.2.256", None);
        check("a@example.jp", None);
        check("", None);
        check("a\0.example.jp", None);
        check(".example.jp", None);
    }

    #[test]
    fn reads_networks_and_knows_what_is_in_them() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        };
        check("192.0.2.0/24", "192.0.2.255", true);
        check("192.0.2.0/24", "192.0.3.0", false);
        check("192.0.2.128/25", "192.0.2.127", false);
        check("192.0.2.7", "192.0.2.7", true);
        check("192.0.2.7", "192.0.2.6", false);
        check("0.0.0.0/0", "255.0.0.1", true);
        check("0.0.0.0/0", "::1", false);
        check("2001:db8::/33", "2001:db8:7fff::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        for wrong in [
            "192.0.2.1/24",
            "192.0.2.0/33",
            "x/8",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "",
            "::/129",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn permits_what_is_below_a_domain_and_nothing_else() {
        let constraints = Constraints {
            domains: vec!["example.jp".parse().unwrap(), "lan".parse().unwrap()],
            networks: vec!["192.0.2.0/24".parse().unwrap()],
        };
        let none = Constraints::default();
        let check = |name: &str, expected: bool| {
            let name: AltName = name.parse().unwrap();
            assert_eq!(constraints.permit(&name), expected, "{name}");
            assert!(none.permit(&name));
        };
        check("example.jp", true);
        check("a.b.example.jp", true);
        check("*.example.jp", true);
        check("*.b.example.jp", true);
        check("mail.lan", true);
        check("lan", true);
        check("badexample.jp", false);
        check("example.jp.evil.example", false);
        check("mail", false);
        check("192.0.2.9", true);
        check("192.0.3.9", false);
        check("::ffff:192.0.2.9", false);
    }

    #[test]
    fn what_is_not_permitted_is_excluded_whole() {
        let hex = |constraints: &Constraints| -> Option<String> {
            let der = constraints.to_der()?;
            Some(der.iter().map(|octet| format!("{octet:02x}")).collect())
        };
        assert_eq!(hex(&Constraints::default()), None);
        let mut constraints = Constraints {
            domains: vec!["a.jp".parse().unwrap()],
            networks: Vec::new(),
        };
        let zeros = |n: usize| "00".repeat(n);
        let v6 = format!("30228720{}", zeros(32));
        assert_eq!(
            hex(&constraints).unwrap(),
            format!("303ca0083006820461 2e6a70a130300a8708{}{v6}", zeros(8)).replace(' ', "")
        );
        constraints.networks.push("192.0.2.0/24".parse().unwrap());
        assert_eq!(
            hex(&constraints).unwrap(),
            format!("303ca01430068204612e6a70300a8708c0000200ffffff00a124{v6}")
        );
    }
}
