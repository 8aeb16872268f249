//! firewalld, by firewall-cmd(1): zones, services, ports; rules in force and permanent ones.
//!
//! Rich rules, policies and zones of source addresses are not judged: a port that they alone open is told as closed.

use std::{ops::RangeInclusive, path::Path};

use super::{FirewallError, Seen, Treatment, ask, has, range, run};
use crate::model::plan::{FirewallAction, FirewallChange, Rules};

/// The names that its releases have for ports of ours; one is taken only where it means this port and nothing else.
const SERVICES: [(u16, &[&str]); 9] = [
    (25, &["smtp"]),
    (80, &["http"]),
    (110, &["pop3"]),
    (143, &["imap"]),
    (443, &["https"]),
    (465, &["submissions", "smtps"]),
    (587, &["smtp-submission", "submission"]),
    (993, &["imaps"]),
    (995, &["pop3s"]),
];
/// How long an opening for now stays at most: longer than any order.
const FOR_NOW: &str = "--timeout=1h";
/// How many services of a zone are asked for their ports.
const MAX_SERVICES: usize = 64;

/// Returns whether the daemon runs: `--state` fails with 252 where it does not.
pub fn is_running(program: &Path) -> Result<bool, FirewallError> {
    Ok(run(program, &["--state"])?.success())
}

/// Looks how each zone that leads out treats the ports.
pub fn look(program: &Path, interfaces: &[String], ports: &[u16]) -> Result<Vec<Seen>, FirewallError> {
    let known = ask(program, &["--get-services"])?.stdout_text();
    let known: Vec<&str> = known.split_whitespace().collect();
    let names: Vec<(u16, Option<String>)> = ports
        .iter()
        .map(|port| Ok((*port, name_of(program, *port, &known)?)))
        .collect::<Result<_, FirewallError>>()?;
    let mut seen = Vec::new();
    for zone in zones(program, interfaces)? {
        let (now, later) = (
            InForce::read(program, &zone, When::Now)?,
            InForce::read(program, &zone, When::NextStart)?,
        );
        for (port, service) in &names {
            let treatment = match (now.has(*port), later.has(*port)) {
                (true, true) => Treatment::Open,
                (true, false) => Treatment::RuntimeOnly,
                (false, true) => Treatment::PermanentOnly,
                (false, false) => Treatment::Closed,
            };
            seen.push(Seen {
                port: *port,
                zone: Some(zone.clone()),
                service: service.clone(),
                treatment,
            });
        }
    }
    Ok(seen)
}

/// Returns the zones of the interfaces; an interface without one belongs to the default zone.
fn zones(program: &Path, interfaces: &[String]) -> Result<Vec<String>, FirewallError> {
    let default = ask(program, &["--get-default-zone"])?
        .stdout_text()
        .trim()
        .to_owned();
    let mut zones = Vec::new();
    for interface in interfaces {
        let output = run(program, &[&format!("--get-zone-of-interface={interface}")])?;
        let zone = match output.success() {
            true => output.stdout_text().trim().to_owned(),
            false => default.clone(),
        };
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    if zones.is_empty() {
        zones.push(default);
    }
    match zones.iter().find(|zone| !is_name(zone)) {
        Some(zone) => Err(FirewallError::Unread(format!(
            "firewalld names a zone `{}`",
            zone.escape_debug()
        ))),
        None => Ok(zones),
    }
}

/// Returns whether it can stand in an argument without being more than a name.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(legal)
}

/// Returns the name that the installed release has for a port.
fn name_of(program: &Path, port: u16, known: &[&str]) -> Result<Option<String>, FirewallError> {
    let candidates = SERVICES.iter().find(|(number, _)| *number == port);
    for name in candidates.into_iter().flat_map(|(_, names)| names.iter()) {
        if known.contains(name) && service_ports(program, name, When::Now)? == [port..=port] {
            return Ok(Some((*name).to_owned()));
        }
    }
    Ok(None)
}

/// Which rules are meant.
#[derive(Clone, Copy)]
enum When {
    /// Those in force.
    Now,
    /// The permanent ones.
    NextStart,
}

impl When {
    fn args<'a>(self, args: &[&'a str]) -> Vec<&'a str> {
        match self {
            Self::Now => args.to_vec(),
            Self::NextStart => [&["--permanent"], args].concat(),
        }
    }
}

/// Returns the TCP ports of a service.
fn service_ports(program: &Path, name: &str, when: When) -> Result<Vec<RangeInclusive<u16>>, FirewallError> {
    let output = ask(program, &when.args(&[&format!("--info-service={name}")]))?;
    let text = output.stdout_text();
    let ports = text.lines().find_map(|line| line.trim().strip_prefix("ports:"));
    Ok(ports.map(tcp_ports).unwrap_or_default())
}

/// Reads `25/tcp 2000-2010/tcp 53/udp`.
fn tcp_ports(text: &str) -> Vec<RangeInclusive<u16>> {
    text.split_whitespace()
        .filter_map(|word| range(word.strip_suffix("/tcp")?))
        .collect()
}

/// What a zone lets in.
struct InForce {
    ports: Vec<RangeInclusive<u16>>,
    takes_all: bool,
}

impl InForce {
    fn read(program: &Path, zone: &str, when: When) -> Result<Self, FirewallError> {
        let zone = format!("--zone={zone}");
        let all = ask(program, &when.args(&[&zone, "--list-all"]))?.stdout_text();
        let row = |name: &str| {
            all.lines()
                .find_map(|line| line.trim().strip_prefix(name))
                .unwrap_or_default()
        };
        let mut ports = tcp_ports(row("ports:"));
        let services = row("services:").split_whitespace().filter(|name| is_name(name));
        for service in services.take(MAX_SERVICES) {
            // One that is gone lets nothing in.
            ports.extend(service_ports(program, service, when).unwrap_or_default());
        }
        let takes_all = row("target:").trim() == "ACCEPT";
        Ok(Self { ports, takes_all })
    }

    fn has(&self, port: u16) -> bool {
        self.takes_all || has(&self.ports, port)
    }
}

/// Adds or removes a service or port; what is so already is a warning of firewall-cmd, and no error.
pub fn carry_out(program: &Path, change: &FirewallChange) -> Result<(), FirewallError> {
    let runtime = matches!(change.rules, Rules::Both | Rules::Runtime);
    let permanent = matches!(change.rules, Rules::Both | Rules::Permanent);
    if runtime {
        ask_one(program, change, change.action, When::Now)?;
    }
    if permanent && let Err(error) = ask_one(program, change, change.action, When::NextStart) {
        if runtime {
            // Not half of it.
            let _ = ask_one(program, change, change.inverse().action, When::Now);
        }
        return Err(error);
    }
    Ok(())
}

fn ask_one(
    program: &Path,
    change: &FirewallChange,
    action: FirewallAction,
    when: When,
) -> Result<(), FirewallError> {
    let zone = change.zone.as_deref().filter(|zone| is_name(zone));
    let zone = zone.ok_or_else(|| FirewallError::Unread("the change names no zone".to_owned()))?;
    let service = change.service.as_deref().filter(|service| is_name(service));
    let verb = match action {
        FirewallAction::Close => "remove",
        FirewallAction::Open | FirewallAction::OpenForNow => "add",
    };
    let what = match service {
        Some(service) => format!("--{verb}-service={service}"),
        None => format!("--{verb}-port={}/tcp", change.port),
    };
    let zone = format!("--zone={zone}");
    let mut args = when.args(&[&zone, &what]);
    if action == FirewallAction::OpenForNow {
        args.push(FOR_NOW);
    }
    ask(program, &args).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports() {
        assert_eq!(
            tcp_ports(" 25/tcp 53/udp 2000-2010/tcp x/tcp 70000/tcp"),
            [25..=25, 2000..=2010]
        );
    }

    #[test]
    fn a_name_is_no_option_list() {
        for (name, expected) in [
            ("public", true),
            ("my-zone.1", true),
            ("", false),
            ("a b", false),
            ("a;b", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
