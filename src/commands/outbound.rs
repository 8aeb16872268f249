//! `check outbound`: whether mail can leave this host. Needs no configuration, and looks at Postfix where there is one.
//!
//! Without a relay, port 25 of a few hosts is asked over both address families, and 587 and 465 for comparison; with one, the
//! relay. A connection is all that they get, and QUIT.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{CONFIG_LIMIT, Context, load_config, new_runtime};
use crate::{
    config::Config,
    dns::resolver::Resolver,
    env::{Env, files, progress::Progress},
    error::{Error, Result},
    model::{
        endpoint::{Endpoint, Peer, Scheme},
        finding::{Finding, Severity},
        name::DomainName,
    },
    postfix::{
        inspect::{self, Instance},
        relay::{self, RelayHost},
    },
    probe::{
        Client, Dialogue, Outcome, Sighting, Stage, Target,
        dial::Sources,
        outbound::{self, Protocols, Sender},
        reach::{self, Destination, Patience},
    },
};

/// Mail domains whose first mail exchanger is asked on port 25: large ones, which notice no connection; the last has IPv6.
const MAIL_DOMAINS: [&str; 4] = ["gmail.com", "outlook.com", "yahoo.com", "comcast.net"];
/// Hosts that are asked on ports 587 and 465.
const SUBMISSION_HOSTS: [&str; 2] = ["smtp.gmail.com", "smtp.mail.yahoo.com"];
/// How long the DNS may take to tell where a host is.
const DNS_PATIENCE: Duration = Duration::from_secs(15);
/// How many mail exchangers of a relay's domain are asked.
const EXCHANGERS: usize = 2;
/// Where Postfix is when no configuration says so.
const POSTFIX: &str = "/etc/postfix";

/// Where mail is sent from, and how to look around there.
struct Place {
    resolver: Resolver,
    server: Option<Instance>,
    /// The name for EHLO.
    host: DomainName,
    domains: Vec<DomainName>,
    probe: Vec<Peer>,
}

/// Checks by name: hosts of the command line come before those of the configuration, and those before well-known ones.
///
/// # Errors
/// When there is a configuration and it is wrong (exit 2); when the runtime cannot be started.
pub fn run(env: &Env, config: &Path, progress: &Progress, to: &[Peer]) -> Result<Vec<Finding>> {
    let is_there = !matches!(files::read_if_exists(config, CONFIG_LIMIT), Ok(None));
    let place = match is_there {
        true => Place::of(env, &load_config(config)?),
        false => Place::alone(env)?,
    };
    progress.step("asking ports of other hosts");
    Ok(new_runtime()?.block_on(place.findings(to)))
}

/// Checks as a part of everything: only where the operator named hosts, or there is a relay. Strangers are not asked unasked.
///
/// # Errors
/// When the runtime cannot be started.
pub fn with_everything(context: &Context<'_>) -> Result<Vec<Finding>> {
    let place = Place::of(context.env, &context.config);
    if place.probe.is_empty() && place.relayhost().is_empty() {
        return Ok(Vec::new());
    }
    context.progress.step("asking ports of other hosts");
    context.wait(place.findings(&[]))
}

impl Place {
    fn of(env: &Env, config: &Config) -> Self {
        Self {
            resolver: Resolver::from_config(&config.dns, env),
            // What is wrong with Postfix is `check postfix`'s to tell.
            server: inspect::inspect(env, &config.postfix.config_directory).ok(),
            host: config.host.name.clone(),
            domains: config.host.domains.clone(),
            probe: config.outbound.probe.clone(),
        }
    }

    fn alone(env: &Env) -> Result<Self> {
        let server = inspect::inspect(env, &env.host_path(POSTFIX)).ok();
        let names = [
            server
                .as_ref()
                .map(|server| server.values.get("myhostname").to_owned()),
            nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok()),
            Some("localhost".to_owned()),
        ];
        let host = names.into_iter().flatten().find_map(|name| name.parse().ok());
        Ok(Self {
            resolver: Resolver::system(env),
            server,
            host: host.ok_or_else(|| Error::failed("this host has no name to say EHLO with"))?,
            domains: Vec::new(),
            probe: Vec::new(),
        })
    }

    fn value(&self, name: &str) -> String {
        self.server.as_ref().map_or_else(String::new, |server| {
            relay::client_value(name, &server.services, &server.values)
        })
    }

    fn relayhost(&self) -> String {
        let server = self.server.as_ref();
        server.map_or_else(String::new, |server| server.values.get("relayhost").to_owned())
    }

    fn protocols(&self) -> Protocols {
        Protocols::parse(&self.value("inet_protocols"))
    }

    fn sources(&self) -> Sources {
        Sources {
            v4: self.value("smtp_bind_address").parse().ok(),
            v6: self.value("smtp_bind_address6").parse().ok(),
        }
    }

    async fn findings(&self, to: &[Peer]) -> Vec<Finding> {
        if to.is_empty()
            && let Some(server) = self.server.as_ref().filter(|_| !self.relayhost().is_empty())
        {
            let relays = RelayHost::list(
                &self.relayhost(),
                &server.host,
                server.values.get("known_tcp_ports"),
            );
            let asked = relays.into_iter().map(|relay| async {
                match relay {
                    Ok(relay) => self.relay(&relay, server).await,
                    Err(fault) => vec![
                        Finding::new(
                            Severity::Error,
                            "outbound.relay-unreachable",
                            "relayhost",
                            format!("it cannot be read: {}", fault.0),
                        )
                        .remedy("write it as [host]:port")
                        .reference("postconf(5), relayhost"),
                    ],
                }
            });
            return join_all(asked).await.into_iter().flatten().collect();
        }
        self.direct(to).await
    }

    /// Asks other hosts.
    async fn direct(&self, to: &[Peer]) -> Vec<Finding> {
        let named = if to.is_empty() { &self.probe } else { to };
        let gathered = if named.is_empty() {
            self.well_known().await
        } else {
            join_all(named.iter().map(|peer| self.peer(peer))).await
        };
        let (mut destinations, mut unresolved) = (Vec::new(), Vec::new());
        for found in gathered {
            match found {
                Ok(found) => destinations.extend(found),
                Err(why) => unresolved.push(why),
            }
        }
        let mut findings = Vec::new();
        if !unresolved.is_empty() {
            let severity = if destinations.is_empty() {
                Severity::Error
            } else {
                Severity::Warning
            };
            findings.push(
                Finding::new(
                    severity,
                    "outbound.unresolved",
                    "DNS",
                    format!("not every host to ask can be found: {}", unresolved.join("; ")),
                )
                .remedy("look at dns.resolvers or /etc/resolv.conf: mail cannot leave a host that cannot ask the DNS")
                .reference("RFC 5321, 5.1"),
            );
        }
        if destinations.is_empty() {
            return findings;
        }
        let seen = reach::reach_all(&destinations, self.sources(), Patience::default()).await;
        let server = self.server.as_ref();
        findings.extend(outbound::direct(
            &seen,
            &Sender {
                protocols: self.protocols(),
                table_type: server.map_or("hash", |server| server.values.get("default_database_type")),
                domains: &self.domains,
            },
        ));
        findings
    }

    async fn well_known(&self) -> Vec<Result<Vec<Destination>, String>> {
        let exchangers = MAIL_DOMAINS.iter().map(|domain| async move {
            let hosts = self.exchangers(domain).await?;
            let host = hosts
                .first()
                .ok_or_else(|| format!("{domain} has no MX record"))?;
            self.host(host, &[25]).await
        });
        let submission = SUBMISSION_HOSTS.iter().map(|host| self.host(host, &[587, 465]));
        let (mut found, more) = tokio::join!(join_all(exchangers), join_all(submission));
        found.extend(more);
        found
    }

    async fn peer(&self, peer: &Peer) -> Result<Vec<Destination>, String> {
        match peer.port {
            Some(port) => self.host(&peer.host, &[port]).await,
            None => self.host(&peer.host, &[25, 587, 465]).await,
        }
    }

    /// Returns the mail exchangers of a domain, best first.
    async fn exchangers(&self, domain: &str) -> Result<Vec<String>, String> {
        let name = domain.parse::<DomainName>().map_err(|error| error.to_string())?;
        match timeout(DNS_PATIENCE, self.resolver.mx(&name)).await {
            Ok(Ok(found)) => Ok(found.into_iter().map(|(_, host)| host).collect()),
            Ok(Err(error)) => Err(format!("{domain}: {error}")),
            Err(_) => Err(format!("{domain}: no answer within {} s", DNS_PATIENCE.as_secs())),
        }
    }

    /// Returns ports of a host: of each address family in use, the first address.
    async fn host(&self, host: &str, ports: &[u16]) -> Result<Vec<Destination>, String> {
        let protocols = self.protocols();
        let found = self.addresses(host).await?;
        let first = |is_v4: bool| found.iter().find(|address| address.is_ipv4() == is_v4);
        let used = [(protocols.v4, true), (protocols.v6, false)];
        let addresses: Vec<&IpAddr> = used
            .into_iter()
            .filter_map(|(is_used, is_v4)| first(is_v4).filter(|_| is_used))
            .collect();
        let destination = |address: &IpAddr, port: u16| Destination {
            host: host.to_owned(),
            address: SocketAddr::new(*address, port),
        };
        Ok(addresses
            .iter()
            .flat_map(|address| ports.iter().map(|port| destination(address, *port)))
            .collect())
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let name = host.parse::<DomainName>().map_err(|error| error.to_string())?;
        match timeout(DNS_PATIENCE, self.resolver.addresses(&name)).await {
            Ok(Ok(found)) if found.is_empty() => Err(format!("{host} has no address")),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(format!("{host}: {error}")),
            Err(_) => Err(format!("{host}: no answer within {} s", DNS_PATIENCE.as_secs())),
        }
    }

    /// Asks the relay, as Postfix would, up to the handshake.
    async fn relay(&self, relay: &RelayHost, server: &Instance) -> Vec<Finding> {
        let mut findings = relay::judge(relay, &server.services, &server.values);
        let hosts = match relay.by_mx {
            // Without MX records the domain itself is the host (RFC 5321, 5.1).
            true => match self.exchangers(&relay.host).await {
                Ok(found) if !found.is_empty() => found.into_iter().take(EXCHANGERS).collect(),
                _ => vec![relay.host.clone()],
            },
            false => vec![relay.host.clone()],
        };
        let ports = [relay.port];
        let mut destinations = Vec::new();
        let mut failed = Vec::new();
        for found in join_all(hosts.iter().map(|host| self.host(host, &ports))).await {
            match found {
                Ok(found) => destinations.extend(found),
                Err(why) => failed.push(why),
            }
        }
        let unreachable = |evidence: String| {
            Finding::new(Severity::Error, "outbound.relay-unreachable", &relay.text, evidence)
                .remedy(
                    "all mail waits in the queue meanwhile (`postqueue -p`): look whether the name and port are right, and \
                     whether a firewall is between",
                )
                .reference("postconf(5), relayhost")
        };
        if destinations.is_empty() {
            failed.push("it has no address of a family in inet_protocols".to_owned());
            findings.push(unreachable(failed.join("; ")));
            return findings;
        }
        let scheme = match self.value("smtp_tls_wrappermode").eq_ignore_ascii_case("yes") || relay.port == 465
        {
            true => Scheme::Submissions,
            false => Scheme::Submission,
        };
        let targets: Vec<Target> = destinations
            .iter()
            .map(|destination| Target {
                endpoint: Endpoint {
                    scheme,
                    host: destination.host.clone(),
                    port: relay.port,
                },
                address: Ok(destination.address),
                server_name: destination.host.parse().ok(),
            })
            .collect();
        let client = match Client::new(self.host.clone()) {
            Ok(client) => client.sources(self.sources()),
            Err(why) => return vec![unreachable(why)],
        };
        let sightings = client.ask_all(&targets, Dialogue::Greet).await;
        let must_encrypt = relay::is_mandatory(&self.value("smtp_tls_security_level"));
        let judged: Vec<(bool, Finding)> = sightings
            .iter()
            .map(|seen| judge_relay(relay, seen, must_encrypt, &unreachable))
            .collect();
        let is_any_good = judged.iter().any(|(is_good, _)| *is_good);
        findings.extend(judged.into_iter().map(|(is_good, mut finding)| {
            if is_any_good && !is_good {
                finding.severity = Severity::Warning;
            }
            finding
        }));
        findings
    }
}

/// Judges one address of the relay; says as well whether mail can go that way.
fn judge_relay(
    relay: &RelayHost,
    seen: &Sighting,
    must_encrypt: bool,
    unreachable: &impl Fn(String) -> Finding,
) -> (bool, Finding) {
    let place = seen
        .address
        .map_or_else(|| seen.endpoint.to_string(), |address| address.to_string());
    let ok = |evidence: String| {
        (
            true,
            Finding::new(Severity::Ok, "outbound.relay-ok", &relay.text, evidence),
        )
    };
    let tls = |evidence: String| {
        let finding = Finding::new(Severity::Error, "outbound.relay-tls", &relay.text, evidence)
            .remedy("ask the relay's operator which port and which kind of TLS it wants")
            .reference("postconf(5), smtp_tls_security_level");
        (false, finding)
    };
    match &seen.outcome {
        Outcome::Tls(handshake) => match &handshake.mute {
            None => ok(format!(
                "{place} answers, {} with {}",
                handshake.protocol, handshake.cipher_suite
            )),
            Some(why) => (false, unreachable(format!("{place}: after the handshake {why}"))),
        },
        Outcome::NotTls {
            stage: Stage::NoStartTls,
            ..
        } if !must_encrypt => ok(format!("{place} answers, without TLS")),
        Outcome::NotTls {
            stage: stage @ (Stage::NoStartTls | Stage::StartTlsRefused | Stage::Handshake),
            reason,
        } => tls(format!("{place}, while {}: {reason}", stage.describe())),
        Outcome::NotTls { stage, reason } => (
            false,
            unreachable(format!("{place}, while {}: {reason}", stage.describe())),
        ),
    }
}
