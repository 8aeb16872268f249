//! The DNS as commands use it: resolver and provider of the configuration; records planned, applied, taken back.

mod ending;
pub mod known;
pub mod planning;
pub mod policy;
pub mod rollover;

use std::{net::IpAddr, sync::Arc};

use super::{Context, hooks::RecordHook, mail, undo::LaterEdits};
use crate::{
    config::{self, Provider as Configured, provider::HttpReqMode},
    dns::{
        apply as applying,
        error::{DnsError, Refusal},
        judge::is_global,
        plan,
        provider::{
            Provider,
            httpreq::{BasicAuth, HttpReq},
            manual::Manual,
            rfc2136::Rfc2136,
            secret::{self, SecretError},
            zone_file::ZoneFiles,
        },
        resolver::Resolver,
        sending::{Relay, Sending},
    },
    env::interfaces,
    error::{Error, Result},
    model::{
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
    },
    postfix::values::Values,
    probe::load_roots,
};

/// Returns the resolver that the configuration names, else the system's.
pub fn resolver(context: &Context<'_>) -> Resolver {
    Resolver::from_config(&context.config.dns, context.env)
}

/// Returns the place where records are written.
///
/// # Errors
/// Exit 2 when the configuration names none, or its secret cannot be had.
pub fn provider(context: &Context<'_>) -> Result<Arc<dyn Provider>> {
    match &context.config.dns.provider {
        None => Err(Error::usage("records cannot be written: dns.provider is not set")
            .remedy("set it, or publish by hand what `mailcert records` prints")),
        Some(Configured::Cloud(settings)) => cloud(context, settings),
        Some(Configured::Hook(hook)) => Ok(Arc::new(RecordHook::new(context, hook)?)),
        Some(Configured::HttpReq(settings)) => Ok(Arc::new(httpreq(context, settings)?)),
        Some(Configured::Manual) => Ok(Arc::new(Manual {
            resolver: resolver(context),
            progress: context.progress.clone(),
        })),
        Some(Configured::Rfc2136(settings)) => {
            let provider = Rfc2136::from_config(settings, context.env).map_err(unusable)?;
            Ok(Arc::new(provider))
        }
        Some(Configured::ZoneFile(settings)) => Ok(Arc::new(ZoneFiles::new(settings, context.env.clock))),
    }
}

/// Returns the server of the configuration that is told challenges, not records: it makes the records of these itself.
///
/// # Errors
/// Exit 2 when its password cannot be had.
pub fn told_of_challenges(context: &Context<'_>) -> Result<Option<HttpReq>> {
    match &context.config.dns.provider {
        Some(Configured::HttpReq(settings)) if settings.mode == HttpReqMode::Raw => {
            httpreq(context, settings).map(Some)
        }
        _ => Ok(None),
    }
}

/// Returns the provider for the API of a DNS host, its credentials read.
#[cfg(feature = "cloud-dns")]
fn cloud(context: &Context<'_>, settings: &config::provider::Cloud) -> Result<Arc<dyn Provider>> {
    use crate::dns::provider::cloud::{Cloud, Credentials, NoClient, SERVICES};

    let service = &settings.service;
    let cannot = || Error::usage("dns.provider cannot be used");
    let secret = secret::read(&settings.secret, context.env).map_err(|error| cannot().cause(error))?;
    let credentials = Credentials::parse(&secret.text);
    let provider = Cloud::new(service, &credentials, resolver(context)).map_err(|error| match error {
        NoClient::Missing(name) => cannot()
            .cause(format!("{} has no `{name}`, which {service} needs", secret.place))
            .remedy(format!("write it as a line `{name} = ...`")),
        NoClient::NoSuchService => cannot()
            .cause("dns.provider.service names no DNS host that is known here")
            .remedy(format!("it is one of: {}", SERVICES.join(", "))),
        // What dns-update says may repeat what it was given.
        NoClient::Refused => cannot().cause(format!(
            "{service} cannot be used with what {} says",
            secret.place
        )),
        NoClient::Unknown(known) => cannot()
            .cause(format!("{} has names that {service} does not know", secret.place))
            .remedy(format!("it knows: {}", known.join(", "))),
    })?;
    Ok(Arc::new(provider))
}

/// Tells that there is none.
#[cfg(not(feature = "cloud-dns"))]
fn cloud(_: &Context<'_>, settings: &config::provider::Cloud) -> Result<Arc<dyn Provider>> {
    Err(Error::usage("dns.provider cannot be used")
        .cause("this mailcert was built without the APIs of DNS hosts")
        .remedy("build it with `cargo build --release --features cloud-dns`")
        .remedy(format!(
            "or write through acme.sh: type = \"hook\", style = \"acme.sh\"; look for its dnsapi script for {}",
            settings.service
        )))
}

/// Returns the provider of type httpreq, its password read.
fn httpreq(context: &Context<'_>, settings: &config::provider::HttpReq) -> Result<HttpReq> {
    let cannot = |error: &dyn std::fmt::Display| Error::usage("dns.provider cannot be used").cause(error);
    let password = match &settings.auth {
        Some((_, source)) => Some(secret::read(source, context.env).map_err(|error| cannot(&error))?),
        None => None,
    };
    let auth = settings.auth.as_ref().zip(password.as_ref());
    let auth = auth.map(|((username, _), password)| BasicAuth {
        username,
        password: password.text.trim_end_matches(['\r', '\n']),
    });
    let roots = load_roots(context.env, None).map_err(|error| cannot(&error))?;
    let mut store = rustls::RootCertStore::empty();
    store.roots.extend(roots.anchors().iter().cloned());
    let tls =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| cannot(&error))?
            .with_root_certificates(store)
            .with_no_client_auth();
    let at = (settings.endpoint.as_str(), settings.mode);
    HttpReq::new(at, auth, tls, resolver(context)).map_err(|error| cannot(&error))
}

/// Tells that the secret of the provider cannot be had.
fn unusable(error: SecretError) -> Error {
    let message = "dns.provider cannot be used";
    match error {
        SecretError::Machine(_) => Error::failed(message).cause(error),
        SecretError::Base64 { .. } | SecretError::Unreadable(_) => Error::usage(message).cause(error),
    }
}

/// Turns a failure of the DNS into one for the user.
pub fn failure(doing: impl Into<String>, error: &DnsError) -> Error {
    match error {
        DnsError::NotYet { .. } => Error::not_yet(doing)
            .cause(error)
            .remedy("wait until the servers named above agree, then run it again"),
        DnsError::ChangedMeanwhile { written: false, .. } => Error::failed(doing)
            .cause(error)
            .remedy("nothing was written; look at the new plan and run it again"),
        DnsError::Provider(failure) => {
            let told = Error::failed(doing).cause(error);
            match &failure.remedy {
                Some(remedy) => told.remedy(remedy.clone()),
                None => told
                    .remedy("mend what it says, then run it again: what is done already is not done twice"),
            }
        }
        DnsError::Server { server, .. } => Error::failed(doing).cause(error).remedy(format!(
            "see that {server} runs and can be reached from here, by UDP and by TCP, then run it again"
        )),
        DnsError::Update(update) => {
            let told = Error::failed(doing).cause(error);
            match &update.refusal {
                Refusal::BadKey | Refusal::BadSignature => told
                    .remedy("compare key_name, algorithm and secret of dns.provider with the server's key"),
                Refusal::BadTime { .. } => told.remedy("set the clock that is wrong, this host's or the server's"),
                Refusal::RefusedUnsigned => told
                    .remedy("compare key_name, algorithm and secret of dns.provider with the server's key")
                    .remedy("let the server take updates from this host (PowerDNS: dnsupdate, allow-dnsupdate-from, TSIG-ALLOW-DNSUPDATE)"),
                _ => told.remedy("look at the server's update-policy and zone list"),
            }
        }
        _ => Error::failed(doing).cause(error),
    }
}

/// Gathers by which addresses receivers see this host's mail.
///
/// `smtp_bind_address` and `smtp_bind_address6` where they are set; else the one address of a family that `inet_interfaces`
/// names; else what the DNS has for the host's name, and the public addresses of this host's interfaces. Only the families
/// of `inet_protocols` count. Behind a relay the relay's addresses count.
pub async fn sending(context: &Context<'_>, resolver: &Resolver) -> Sending {
    let host = context.config.host.name.clone();
    let server = if context.config.postfix.manage {
        mail::inspect(context).ok().flatten()
    } else {
        None
    };
    let relay = server
        .as_ref()
        .and_then(|server| Relay::parse(server.values.get("relayhost")));
    let bound = server
        .as_ref()
        .map(|server| &server.values)
        .map(bound_addresses)
        .unwrap_or_default();
    let mut addresses = bound.clone();
    for is_v4 in [true, false] {
        if bound.iter().any(|address| address.is_ipv4() == is_v4) {
            continue;
        }
        let known = resolver.addresses(&host).await.unwrap_or_default();
        let of_interfaces = match &server {
            Some(_) if bound.is_empty() => interfaces::addresses(),
            _ => Vec::new(),
        };
        let public = of_interfaces
            .into_iter()
            .filter(|address| is_global(*address) && !is_example(*address));
        for address in known.into_iter().chain(public) {
            if address.is_ipv4() == is_v4 && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    if let Some(server) = &server {
        let protocols = server.values.get("inet_protocols").to_ascii_lowercase();
        let speaks =
            |word: &str| protocols.is_empty() || protocols.contains("all") || protocols.contains(word);
        addresses.retain(|address| speaks(if address.is_ipv4() { "ipv4" } else { "ipv6" }));
    }
    let greeting = server.as_ref().map(|server| greeting(&server.values));
    let full = greeting
        .filter(|name| name.contains('.'))
        .and_then(|name| name.parse().ok());
    Sending {
        host: full.unwrap_or(host),
        addresses,
        relay,
    }
}

/// Returns the name that Postfix gives with EHLO (postconf(5), smtp_helo_name).
pub fn greeting(values: &Values) -> String {
    values.expand(values.get("smtp_helo_name"))
}

/// Returns whether an address is one that examples have, and nobody on the internet (RFC 5737; RFC 3849).
fn is_example(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_documentation(),
        IpAddr::V6(address) => matches!(address.segments(), [0x2001, 0xdb8, ..]),
    }
}

/// Returns the addresses that Postfix sends from whatever the routes say (postconf(5), smtp_bind_address).
fn bound_addresses(values: &Values) -> Vec<IpAddr> {
    let bound = ["smtp_bind_address", "smtp_bind_address6"];
    let mut addresses: Vec<IpAddr> = bound
        .iter()
        .filter_map(|name| values.get(name).parse().ok())
        .collect();
    let named = values
        .get("inet_interfaces")
        .split([',', ' ', '\t'])
        .filter(|word| !word.is_empty());
    let named: Vec<Option<IpAddr>> = named
        .map(|word| word.trim_matches(['[', ']']).parse().ok())
        .collect();
    for is_v4 in [true, false] {
        let of_family: Vec<IpAddr> = named
            .iter()
            .flatten()
            .copied()
            .filter(|one| one.is_ipv4() == is_v4)
            .collect();
        // Only where it names one, which is not the loopback's.
        if let [one] = of_family.as_slice()
            && named.iter().all(Option::is_some)
            && !one.is_loopback()
            && !addresses.iter().any(|address| address.is_ipv4() == is_v4)
        {
            addresses.push(*one);
        }
    }
    addresses
}

/// Carries out a change and reads it back from every authoritative server. Returns what to tell besides.
///
/// # Errors
/// Exit 1 when the server refuses or the RRset was changed meanwhile; exit 4 when it is not seen everywhere in time.
pub async fn apply(context: &Context<'_>, change: &RrsetChange) -> Result<Vec<String>> {
    let provider = provider(context)?;
    let resolver = resolver(context);
    context.progress.step(&format!(
        "publishing {} {} and asking every name server for it",
        change.name, change.kind
    ));
    let applied = applying::apply(change, provider.as_ref(), &resolver, context.config.dns.timeout).await;
    let notes = provider.take_notes();
    match applied {
        Ok(()) => Ok(notes),
        Err(error) => {
            let doing = format!(
                "the {} records of {} could not be changed",
                change.kind, change.name
            );
            let told = failure(doing, &error);
            Err(notes.into_iter().fold(told, Error::cause))
        }
    }
}

/// Compares the RRsets with what the apply left, before anything is taken back.
///
/// Those already as before are left out.
///
/// # Errors
/// When a later edit is found and must not be overwritten.
pub async fn still_as_written(
    context: &Context<'_>,
    inverses: Vec<RrsetChange>,
    later_edits: LaterEdits,
) -> Result<Vec<RrsetChange>> {
    let provider = provider(context)?;
    let mut still = Vec::new();
    for mut change in inverses {
        let doing = format!("the records of {} could not be read", change.name);
        let found = provider
            .list(&change.zone, &change.name, change.kind)
            .await
            .map_err(|error| failure(doing, &error))?;
        if found.holds_exactly(&change.after()) {
            continue;
        }
        if change.kind == RecordType::Tlsa {
            let (ours, in_service) = rollover::for_undo(context);
            if let Some(change) = plan::taken_back(&change, &found, &ours, in_service.as_ref()) {
                if !(change.add.is_empty() && change.remove.is_empty()) {
                    still.push(change);
                }
                continue;
            }
        }
        if !found.holds_exactly(&change.before) {
            let shown = |values: &[Rdata]| {
                values
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            if later_edits == LaterEdits::Refuse {
                return Err(
                    Error::failed("the last apply was not taken back: records were changed since")
                        .cause(format!(
                            "{} {} was left as {}",
                            change.name,
                            change.kind,
                            shown(&change.before)
                        ))
                        .cause(format!(
                            "{} {} is now {}",
                            change.name,
                            change.kind,
                            shown(&found.values)
                        ))
                        .remedy("`mailcert undo --force` takes back only the values that the apply wrote"),
                );
            }
            // Only our own values are taken back; what others wrote since stays.
            change.before = found.values;
            change.remove.retain(|value| change.before.contains(value));
        }
        still.push(change);
    }
    Ok(still)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_from_what_postfix_binds() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<IpAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(
                bound_addresses(&Values::parse(text.as_bytes())),
                expected,
                "{text}"
            );
        };
        check("inet_interfaces = all\n", &[]);
        check(
            "inet_interfaces = loopback-only\nsmtp_bind_address = 192.0.2.1\n",
            &["192.0.2.1"],
        );
        check("smtp_bind_address6 = 2001:db8::1\n", &["2001:db8::1"]);
        check(
            "inet_interfaces = 192.0.2.2, [2001:db8::2]\n",
            &["192.0.2.2", "2001:db8::2"],
        );
        check("inet_interfaces = 192.0.2.2, 192.0.2.3\n", &[]);
        check("inet_interfaces = 127.0.0.1\n", &[]);
        check("inet_interfaces = 192.0.2.2, mail.test\n", &[]);
        check(
            "inet_interfaces = 192.0.2.2\nsmtp_bind_address = 192.0.2.1\n",
            &["192.0.2.1"],
        );
    }
}
