//! What is known of the host for its records: addresses, services, keys that sign, the key in service, the CAs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures_util::future::join_all;

use super::super::{Context, account, ca, domains};
use crate::{
    acme::directory::Directory,
    config::{self, Challenge, Issuer, policy::Service},
    dns::{
        desired::{CaUse, DkimKey, HostKeys, Known, own_identities},
        judge::is_global,
        resolver::Resolver,
    },
    env::interfaces,
    model::{
        authority,
        lineage::{Lineage, State},
        name::DomainName,
    },
};

/// Names of certificates that get CAA records at most.
const MAX_REQUESTS: usize = 200;
/// How long a CA is asked what it calls itself.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// The port of mail between hosts.
const SMTP: u16 = 25;

/// Gathers what is known. What cannot be found out is missing.
pub async fn gather(context: &Context<'_>, resolver: &Resolver) -> Known {
    let ports = context.ports();
    let (addresses, exchangers, requests) = tokio::join!(
        addresses(context, resolver),
        exchangers(context, resolver),
        requests(context)
    );
    Known {
        addresses,
        services: Service::ALL
            .into_iter()
            .filter(|service| ports.contains(&service.port()))
            .collect(),
        dkim: dkim(context),
        exchangers,
        keys: keys(context),
        requests,
    }
}

/// Returns what the DNS has for the host's name; where it says that there is nothing, the addresses of the interfaces that
/// others can reach.
async fn addresses(context: &Context<'_>, resolver: &Resolver) -> Vec<IpAddr> {
    let known = resolver.addresses(&context.config.host.name).await;
    match known {
        Ok(known) if known.is_empty() => {}
        known => return known.unwrap_or_default(),
    }
    let mut own: Vec<IpAddr> = interfaces::addresses()
        .into_iter()
        .filter(|address| is_global(*address) && !super::is_example(*address))
        .collect();
    own.sort_unstable();
    own.dedup();
    own
}

/// Returns the names of the MX hosts of each mail domain.
async fn exchangers(context: &Context<'_>, resolver: &Resolver) -> BTreeMap<DomainName, Vec<String>> {
    let asked = context.config.host.domains.iter().map(async |domain| {
        let found = resolver.mx(domain).await.ok()?;
        let names: Vec<String> = found
            .into_iter()
            .map(|(_, host)| host)
            .filter(|host| host.parse::<DomainName>().is_ok())
            .collect();
        (!names.is_empty()).then(|| (domain.clone(), names))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn dkim(context: &Context<'_>) -> Vec<DkimKey> {
    let signers = domains::signers(context.env);
    let mut keys = Vec::new();
    for domain in &context.config.host.domains {
        for selector in domains::selectors_of(context.env, domain, &signers, &[]) {
            if let Some(Ok(key)) = &selector.key {
                keys.push(DkimKey {
                    domain: domain.clone(),
                    selector: selector.name.clone(),
                    record: key.record(),
                });
            }
        }
    }
    keys
}

/// Returns the keys of the host, where port 25 was seen to serve the one in service, with all that the lineage is to serve
/// verified.
pub fn keys(context: &Context<'_>) -> Option<HostKeys> {
    let certificate = context.default_certificate()?;
    let lineage = context.load(&certificate.name).ok()?;
    let ports = ports_of(&lineage);
    if lineage.state != State::Verified || !ports.contains(&SMTP) {
        return None;
    }
    let in_service = octets(&lineage.live()?.spki_sha256)?;
    let next = super::rollover::next_key(context, certificate, &lineage)
        .map(|key| key.public_key_sha256().to_vec())
        .filter(|next| *next != in_service);
    Some(HostKeys {
        ports: ports.into_iter().collect(),
        in_service,
        next,
    })
}

/// Returns the ports that were seen to serve the lineage to whoever asks for no other name.
fn ports_of(lineage: &Lineage) -> BTreeSet<u16> {
    let endpoints = lineage.deployment.iter().flat_map(|one| &one.endpoints);
    endpoints
        .filter(|served| served.verified && served.server_name.is_none())
        .map(|served| served.endpoint.port)
        .collect()
}

/// Reads hexadecimal digits.
pub fn octets(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len().is_multiple_of(2))?;
    Some(
        digits
            .chunks_exact(2)
            .filter_map(|pair| Some(pair.first()? << 4 | pair.last()?))
            .collect(),
    )
}

/// Returns what each CA of `[acme]` is asked for, name by name.
async fn requests(context: &Context<'_>) -> Vec<(DomainName, CaUse)> {
    let Some(acme) = &context.config.acme else {
        return Vec::new();
    };
    let mut requests: Vec<(DomainName, CaUse)> = Vec::new();
    let identifiers = context
        .config
        .certificates
        .iter()
        .filter(|certificate| certificate.issuer == Issuer::Acme)
        .flat_map(|certificate| &certificate.identifiers);
    for directory in std::iter::once(&acme.directory).chain(&acme.fallback) {
        let identities = identities(context, acme, directory).await;
        let account = account::file::load(context, directory).ok().flatten();
        let account = account.and_then(|account| account.url).unwrap_or_default();
        for identifier in identifiers.clone().take(MAX_REQUESTS) {
            let request = (
                identifier.base().clone(),
                CaUse {
                    identities: identities.clone(),
                    account: account.clone(),
                    method: method(acme),
                    wildcard: identifier.is_wildcard(),
                },
            );
            if !requests.contains(&request) {
                requests.push(request);
            }
        }
    }
    requests
}

/// Returns what a CA calls itself in CAA records: as is known of it, else as its directory says (RFC 8555, 7.1.1), else as the
/// operator does.
pub async fn identities(context: &Context<'_>, acme: &config::Acme, directory: &str) -> Vec<String> {
    let known = authority::by_directory(directory).map(|known| known.caa_identities);
    let said = match known.unwrap_or_default() {
        [] => said_by(acme, directory).await.unwrap_or_default(),
        known => known.iter().map(|name| (*name).to_owned()).collect(),
    };
    own_identities(said, &context.config.dns.policies.caa)
}

/// Asks a CA's directory what it calls itself; `None` where it does not answer soon.
async fn said_by(acme: &config::Acme, directory: &str) -> Option<Vec<String>> {
    let acme = config::Acme {
        directory: directory.to_owned(),
        ..acme.clone()
    };
    let http = ca::http(&acme).ok()?;
    let asked = tokio::time::timeout(PATIENCE, Directory::fetch(&http, directory)).await;
    let names = asked.ok()?.ok()?.meta().caa_identities.clone();
    // What is no domain name would not be one in a CAA record either (RFC 8659, 4.2).
    Some(
        names
            .into_iter()
            .filter(|name| name.parse::<DomainName>().is_ok())
            .collect(),
    )
}

/// Returns the challenge's name (RFC 8555, 9.7.8).
pub fn method(acme: &config::Acme) -> &'static str {
    match acme.challenge {
        Challenge::Dns01 => "dns-01",
        Challenge::Http01(_) => "http-01",
        Challenge::TlsAlpn01(_) => "tls-alpn-01",
    }
}
