//! The records that this host should have, each with its reason. Pure.
//!
//! What they say is the configuration's; what it cannot know comes in as [`Known`]. The mail domains get what `dns.spf`
//! says (RFC 7208). A host name that is no mail domain gets `v=spf1 a -all`: it has no MX records, so `mx` would match
//! nothing there (5.4), and its bounces, which are judged by the name given with EHLO (2.4), would fail.

mod caa;
#[cfg(test)]
pub(super) mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    config::{
        Config, Publish,
        policy::{Service, Services},
    },
    model::{
        name::DomainName,
        rdata::{Rdata, RecordType},
        record::mta_sts,
    },
};

pub use caa::{CaUse, issuers, own_identities};

/// The record of a host name that is no mail domain.
const HOST_SPF: &str = "v=spf1 a -all";
/// The port of mail between hosts: its certificate is the one that DANE is about (RFC 7672).
const SMTP: u16 = 25;

/// Records of one kind to have at a name, for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The owner name.
    pub name: DomainName,
    /// What it is for.
    pub family: Family,
    /// The data, at least one, all of one type.
    pub values: Vec<Rdata>,
    /// TTL in seconds where the name has no records of this type yet.
    pub ttl: u32,
    /// Why.
    pub reason: String,
    /// What the name is.
    pub role: Role,
    /// With CAA: what each CA is asked for at this name.
    pub requests: Vec<CaUse>,
}

/// What records are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The host's addresses.
    Address,
    /// Which CA may issue.
    Caa,
    /// A key that signs mail.
    Dkim,
    /// What receivers do with mail that fails.
    Dmarc,
    /// That there is a policy, and which.
    MtaSts,
    /// Where the policy is.
    MtaStsHost,
    /// Who takes the mail.
    Mx,
    /// Who may send.
    Spf,
    /// Where services are.
    Srv,
    /// Where TLS reports go.
    TlsRpt,
    /// The host's key.
    Tlsa,
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

/// What is known of the host and its DNS besides the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The host's public addresses.
    pub addresses: Vec<IpAddr>,
    /// Services that the host has.
    pub services: Vec<Service>,
    /// Keys that sign mail.
    pub dkim: Vec<DkimKey>,
    /// The MX hosts of each mail domain, as the DNS has them; missing where it could not tell, or has none.
    pub exchangers: BTreeMap<DomainName, Vec<String>>,
    /// The keys of the host, for DANE; `None` where no lineage is verified on port 25.
    pub keys: Option<HostKeys>,
    /// What the CAs of `[acme]` are asked for.
    pub requests: Vec<(DomainName, CaUse)>,
}

/// The keys of the host, each by the SHA-256 of its public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeys {
    /// Ports that were seen to serve the key in service, in order.
    pub ports: Vec<u16>,
    /// The one in service.
    pub in_service: Vec<u8>,
    /// The one that is to follow, where it is on disk.
    pub next: Option<Vec<u8>>,
}

/// A key that signs mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKey {
    /// The domain that it signs for.
    pub domain: DomainName,
    /// Its selector.
    pub selector: String,
    /// The record to publish.
    pub record: String,
}

impl Wanted {
    fn new(name: DomainName, family: Family, values: Vec<Rdata>, reason: String) -> Self {
        Self {
            name,
            family,
            values,
            ttl: 0,
            reason,
            role: Role::MailDomain,
            requests: Vec::new(),
        }
    }

    /// Returns the type of its records.
    pub fn kind(&self) -> RecordType {
        self.values.first().map_or(RecordType::Txt, Rdata::kind)
    }

    /// Returns the text of its one TXT record, or its data as a list.
    pub fn text(&self) -> String {
        let text = |value: &Rdata| match value.as_txt() {
            Some(txt) => String::from_utf8_lossy(&txt.joined()).into_owned(),
            None => value.to_string(),
        };
        self.values.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

impl Family {
    /// Returns what its records are called.
    pub fn label(self) -> &'static str {
        match self {
            Self::Address | Self::MtaStsHost => "address",
            Self::Caa => "CAA",
            Self::Dkim => "DKIM",
            Self::Dmarc => "DMARC",
            Self::MtaSts => "MTA-STS",
            Self::Mx => "MX",
            Self::Spf => "SPF",
            Self::Srv => "SRV",
            Self::TlsRpt => "TLS reporting",
            Self::Tlsa => "TLSA",
        }
    }

    /// Returns the word of `dns.publish` that lets it be written; `None` for what is published by hand alone.
    pub fn published_by(self) -> Option<Publish> {
        match self {
            Self::Address | Self::Dkim | Self::Mx => None,
            Self::Caa => Some(Publish::Caa),
            Self::Dmarc => Some(Publish::Dmarc),
            Self::MtaSts | Self::MtaStsHost => Some(Publish::MtaSts),
            Self::Spf => Some(Publish::Spf),
            Self::Srv => Some(Publish::Srv),
            Self::TlsRpt => Some(Publish::TlsRpt),
            Self::Tlsa => Some(Publish::Tlsa),
        }
    }
}

/// Returns everything this host should have: its own records first, then those of each mail domain, in the order of the
/// configuration.
pub fn everything(config: &Config, known: &Known) -> Vec<Wanted> {
    let mut wanted = addresses(&config.host.name, known, Family::Address, "where the host is");
    wanted.extend(spf(config));
    wanted.extend(keys(config, known));
    if known.keys.is_some() && !config.host.domains.contains(&config.host.name) {
        // Reports about DANE are by the name of the host (RFC 8460, 4.4: policy-domain).
        wanted.extend(tls_rpt(config, &config.host.name).map(|wanted| Wanted {
            role: Role::Host,
            ..wanted
        }));
    }
    wanted.extend(caa::wanted(&config.dns.policies.caa, known));
    for domain in &config.host.domains {
        wanted.push(mx(config, domain));
        wanted.extend(dkim(domain, known));
        wanted.push(dmarc(config, domain));
        wanted.extend(mta_sts(config, domain, known));
        wanted.extend(tls_rpt(config, domain));
        wanted.extend(srv(config, domain, known));
    }
    for one in &mut wanted {
        one.ttl = config.dns.ttl;
    }
    wanted
}

/// Returns the SPF records this host should have: the mail domains in the order of the configuration, then the host.
pub fn spf(config: &Config) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for domain in &config.host.domains {
        let reason = format!("says which hosts may send mail from addresses at {domain}; all others may not");
        let value = Rdata::text(&config.dns.spf);
        wanted.push(Wanted::new(domain.clone(), Family::Spf, vec![value], reason));
    }
    if wanted.iter().all(|earlier| earlier.name != config.host.name) {
        let host = &config.host.name;
        let reason = format!(
            "bounces are judged by the name {host}, which has no MX records: its own addresses may send"
        );
        let value = Rdata::text(HOST_SPF);
        wanted.push(Wanted {
            role: Role::Host,
            ..Wanted::new(host.clone(), Family::Spf, vec![value], reason)
        });
    }
    for one in &mut wanted {
        one.ttl = config.dns.ttl;
    }
    wanted
}

/// Returns the address records of a name that leads to this host, a set for each family.
fn addresses(name: &DomainName, known: &Known, family: Family, reason: &str) -> Vec<Wanted> {
    let value = |address: &IpAddr| match address {
        IpAddr::V4(address) => Rdata::A(*address),
        IpAddr::V6(address) => Rdata::Aaaa(*address),
    };
    let values: Vec<Rdata> = known.addresses.iter().map(value).collect();
    let (v4, v6): (Vec<Rdata>, Vec<Rdata>) = values
        .into_iter()
        .partition(|value| value.kind() == RecordType::A);
    [v4, v6]
        .into_iter()
        .filter(|values| !values.is_empty())
        .map(|values| Wanted {
            role: Role::Host,
            ..Wanted::new(name.clone(), family, values, reason.to_owned())
        })
        .collect()
}

/// Returns the record of a key: DANE-EE, SPKI, SHA2-256 (RFC 7672, 3.1.1).
pub fn tlsa(digest: &[u8]) -> Rdata {
    Rdata::Tlsa {
        usage: 3,
        selector: 1,
        matching: 1,
        data: digest.to_vec(),
    }
}

/// The host's keys at every port that serves: the one in service, and the one to follow beside it (RFC 7671, 8.1).
fn keys(config: &Config, known: &Known) -> Vec<Wanted> {
    let Some(keys) = &known.keys else {
        return Vec::new();
    };
    let host = &config.host.name;
    let values: Vec<Rdata> = std::iter::once(&keys.in_service)
        .chain(&keys.next)
        .map(|digest| tlsa(digest))
        .collect();
    let next = match keys.next {
        Some(_) => ", and the one to follow",
        None => "",
    };
    let at = |port: &u16| {
        let name = host.prefixed(&format!("_{port}._tcp")).ok()?;
        let who = match *port {
            SMTP => "senders",
            _ => "programs",
        };
        let reason =
            format!("the key that port {port} of {host} serves{next}: {who} that know DANE take no other");
        Some(Wanted {
            role: Role::Host,
            ..Wanted::new(name, Family::Tlsa, values.clone(), reason)
        })
    };
    keys.ports.iter().filter_map(at).collect()
}

fn mx(config: &Config, domain: &DomainName) -> Wanted {
    let value = Rdata::Mx {
        preference: 10,
        exchange: Some(config.host.name.clone().into()),
    };
    let reason = format!("mail for {domain} is taken here");
    Wanted::new(domain.clone(), Family::Mx, vec![value], reason)
}

fn dkim(domain: &DomainName, known: &Known) -> Vec<Wanted> {
    let of_domain = known.dkim.iter().filter(|key| key.domain == *domain);
    let wanted = of_domain.filter_map(|key| {
        let name = domain.prefixed(&format!("{}._domainkey", key.selector)).ok()?;
        // A selector is of others: what no zone could hold is left out.
        let name = DomainName::from_dns(name.as_str()).ok()?;
        let reason = format!("mail from {domain} is signed with this key on this host");
        Some(Wanted::new(
            name,
            Family::Dkim,
            vec![Rdata::text(&key.record)],
            reason,
        ))
    });
    wanted.collect()
}

fn dmarc(config: &Config, domain: &DomainName) -> Wanted {
    let policy = &config.dns.policies.dmarc;
    let mut text = format!("v=DMARC1; p={}", policy.policy.word());
    if !policy.reports.is_empty() {
        text += &format!("; rua={}", policy.reports.join(","));
    }
    let reason = format!("says what receivers do with mail that only pretends to be from {domain}");
    // `_dmarc` and a mail domain fit into a name, or else the domain could not take mail either.
    let name = domain.prefixed("_dmarc").unwrap_or_else(|_| domain.clone());
    Wanted::new(name, Family::Dmarc, vec![Rdata::text(&text)], reason)
}

/// Returns the policy that a domain is to have; `None` where its MX hosts are not known.
pub fn policy(config: &Config, domain: &DomainName, known: &Known) -> Option<mta_sts::Policy> {
    let wanted = &config.dns.policies.mta_sts;
    let mx = known.exchangers.get(domain).cloned().unwrap_or_default();
    if mx.is_empty() && wanted.mode != mta_sts::Mode::None {
        return None;
    }
    Some(mta_sts::Policy {
        mode: wanted.mode,
        // One that ends all policies is remembered for a short while (RFC 8461, 8.3).
        max_age: match wanted.mode {
            mta_sts::Mode::None => wanted.max_age.min(mta_sts::LAST_MAX_AGE),
            _ => wanted.max_age,
        },
        mx,
    })
}

fn mta_sts(config: &Config, domain: &DomainName, known: &Known) -> Vec<Wanted> {
    let Some(policy) = policy(config, domain, known) else {
        return Vec::new();
    };
    let (Ok(name), Ok(host)) = (domain.prefixed("_mta-sts"), domain.prefixed("mta-sts")) else {
        return Vec::new();
    };
    let mut wanted = Vec::new();
    if config.dns.policies.mta_sts.webroot.is_some() {
        let reason = format!("the web server with the MTA-STS policy of {domain} is this host");
        wanted = addresses(&host, known, Family::MtaStsHost, &reason);
    }
    let reason = format!(
        "senders fetch https://{host}/.well-known/mta-sts.txt and take TLS for granted; the id is that of the policy"
    );
    let value = Rdata::text(&format!("v=STSv1; id={}", policy.id()));
    wanted.push(Wanted::new(name, Family::MtaSts, vec![value], reason));
    wanted
}

fn tls_rpt(config: &Config, domain: &DomainName) -> Option<Wanted> {
    let reports = &config.dns.policies.tls_reports;
    if reports.is_empty() {
        return None;
    }
    let value = Rdata::text(&format!("v=TLSRPTv1; rua={}", reports.join(",")));
    let reason = format!("senders report there when they reach {domain} without good TLS");
    let name = domain.prefixed("_smtp._tls").ok()?;
    Some(Wanted::new(name, Family::TlsRpt, vec![value], reason))
}

/// Returns the SRV records (RFC 6186, 3; RFC 8314, 5.1): `.` says that a service is not offered (RFC 6186, 3.4).
///
/// Nothing where no service is known at all: a domain is not to say that there are none because we did not find them.
fn srv(config: &Config, domain: &DomainName, known: &Known) -> Vec<Wanted> {
    let offered = match &config.dns.policies.services {
        Services::Auto => &known.services,
        Services::Listed(services) => services,
    };
    if offered.is_empty() {
        return Vec::new();
    }
    let wanted = Service::ALL.into_iter().filter_map(|service| {
        let name = domain.prefixed(&format!("_{}._tcp", service.word())).ok()?;
        let (value, reason) = if offered.contains(&service) {
            let value = Rdata::Srv {
                priority: 0,
                weight: 1,
                port: service.port(),
                target: Some(config.host.name.clone().into()),
            };
            (value, format!("mail programs find {} there", service.word()))
        } else {
            let value = Rdata::Srv {
                priority: 0,
                weight: 0,
                port: 0,
                target: None,
            };
            (value, format!("{} is not offered", service.word()))
        };
        Some(Wanted::new(name, Family::Srv, vec![value], reason))
    });
    wanted.collect()
}
