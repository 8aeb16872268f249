//! By which addresses mail of this host reaches others, and how a domain's record treats them. Pure.

use std::net::IpAddr;

use super::{
    facts::{Answer, Asked, Facts, Family, Question},
    spf::{self, Evaluation, SpfResult},
};
use crate::model::name::DomainName;

/// How mail leaves this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The name this host gives with EHLO.
    pub host: DomainName,
    /// Its own addresses that it sends from.
    pub addresses: Vec<IpAddr>,
    /// The relay that takes all its mail, if there is one: then receivers see the relay's addresses.
    pub relay: Option<Relay>,
}

/// A relay as postconf(5), `relayhost`, writes it: `[host]:port`, or a domain whose MX records are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    host: String,
    /// Whether MX records are followed: there were no brackets.
    by_mx: bool,
}

/// A sender and what the record says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The address that receivers see.
    pub address: IpAddr,
    /// What the record says.
    pub evaluation: Evaluation,
}

impl Relay {
    /// Reads a `relayhost` value; `None` when it is empty.
    pub fn parse(value: &str) -> Option<Self> {
        // Of a list (Postfix 3.7) the first takes the mail while it can.
        let value = value
            .split([',', ' ', '\t', '\n'])
            .find(|one| !one.is_empty())
            .unwrap_or_default();
        let (host, by_mx) = match value.strip_prefix('[') {
            Some(rest) => (rest.split(']').next().unwrap_or_default(), false),
            None => (value.split(':').next().unwrap_or_default(), true),
        };
        let host = host
            .strip_prefix("ipv6:")
            .unwrap_or(host)
            .trim_end_matches('.')
            .to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { host, by_mx })
    }

    /// Returns the relay's name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the relay's addresses: what receivers probably see.
    ///
    /// # Errors
    /// Names the next open question.
    fn addresses(&self, facts: &Facts) -> Asked<Vec<IpAddr>> {
        if let Ok(address) = self.host.parse() {
            return Ok(vec![address]);
        }
        let mut hosts = vec![self.host.clone()];
        if self.by_mx
            && let names = facts.get(&Question::Mx(self.host.clone()))?.names()
            && !names.is_empty()
        {
            hosts = names.into_iter().take(10).collect();
        }
        let mut addresses = Vec::new();
        for host in &hosts {
            for family in Family::BOTH {
                facts.want(Question::Addresses(host.clone(), family));
            }
        }
        for host in hosts {
            for family in Family::BOTH {
                if let Answer::Addresses(found) = facts.get(&Question::Addresses(host.clone(), family))? {
                    addresses.extend(found.iter().take(10));
                }
            }
        }
        Ok(addresses)
    }

    /// Returns the term that lets a record cover this relay: an `include` of a record that its operator publishes, or
    /// else its own name or address.
    ///
    /// # Errors
    /// Names the next open question.
    pub fn covering_term(&self, facts: &Facts) -> Asked<String> {
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => return Ok(format!("ip4:{address}")),
            Ok(IpAddr::V6(address)) => return Ok(format!("ip6:{address}")),
            Err(_) => {}
        }
        let addresses = self.addresses(facts)?;
        let mut domain = self.host.as_str();
        while domain.contains('.') {
            let mut covers = !addresses.is_empty();
            for address in &addresses {
                let sender = format!("postmaster@{domain}");
                let request = spf::Request {
                    address: *address,
                    domain,
                    sender: &sender,
                    helo: &self.host,
                };
                covers = covers && spf::check_host(&request, facts)?.result == SpfResult::Pass;
            }
            if covers {
                return Ok(format!("include:{domain}"));
            }
            domain = domain.split_once('.').map_or("", |(_, rest)| rest);
        }
        Ok(if self.by_mx {
            format!("mx:{}", self.host)
        } else {
            format!("a:{}", self.host)
        })
    }
}

impl Sending {
    /// Returns the addresses that receivers see: the relay's, or else our own.
    ///
    /// # Errors
    /// Names the next open question.
    pub fn seen_addresses(&self, facts: &Facts) -> Asked<Vec<IpAddr>> {
        match &self.relay {
            Some(relay) => relay.addresses(facts),
            None => Ok(self.addresses.clone()),
        }
    }

    /// Announces the questions of a judgment over the record that the resolver tells.
    pub fn foresee(&self, domain: &DomainName, facts: &Facts) {
        let sender = format!("postmaster@{domain}");
        for address in self.seen_addresses(facts).unwrap_or_default() {
            let request = spf::Request {
                address,
                domain: domain.as_str(),
                sender: &sender,
                helo: self.host.as_str(),
            };
            // Only the questions count here; they are kept in the facts.
            let _ = spf::check_host(&request, facts);
        }
    }

    /// Judges every address that receivers see as if `domain` had this record.
    ///
    /// # Errors
    /// Names the next open question.
    pub fn judge(&self, domain: &DomainName, record: &str, facts: &Facts) -> Asked<Vec<Judged>> {
        let world = facts.with_txt(domain.as_str(), vec![record.as_bytes().to_vec()]);
        let sender = format!("postmaster@{domain}");
        let judged: Vec<Asked<Judged>> = self
            .seen_addresses(facts)?
            .into_iter()
            .map(|address| {
                let request = spf::Request {
                    address,
                    domain: domain.as_str(),
                    sender: &sender,
                    helo: self.host.as_str(),
                };
                let evaluation = spf::check_host(&request, &world)?;
                Ok(Judged { address, evaluation })
            })
            .collect();
        judged.into_iter().collect()
    }
}

impl Judged {
    /// Returns whether the address may send.
    pub fn passes(&self) -> bool {
        self.evaluation.result == SpfResult::Pass
    }
}

/// Returns the senders that may not send, as `192.0.2.1 (fail: …)`, joined.
pub fn not_passing(judged: &[Judged]) -> String {
    let shown = judged.iter().filter(|judged| !judged.passes()).map(|judged| {
        format!(
            "{} ({}: {})",
            judged.address, judged.evaluation.result, judged.evaluation.reason
        )
    });
    shown.collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_relayhost_as_postfix_does() {
        let check = |value: &str, expected: Option<(&str, bool)>| {
            let relay = Relay::parse(value);
            assert_eq!(
                relay.as_ref().map(|relay| (relay.host.as_str(), relay.by_mx)),
                expected,
                "{value}"
            );
        };
        check("", None);
        check(" ", None);
        check("[]:587", None);
        check("[SMTP.isp.test]:587", Some(("smtp.isp.test", false)));
        check("[smtp.isp.test]", Some(("smtp.isp.test", false)));
        check("isp.test:submission", Some(("isp.test", true)));
        check("[2001:db8::1]:587", Some(("2001:db8::1", false)));
        check("[ipv6:2001:db8::1]", Some(("2001:db8::1", false)));
        check("[192.0.2.1]:587", Some(("192.0.2.1", false)));
        check("one.test:25, [two.test]", Some(("one.test", true)));
    }
}
