//! The ports on which Postfix speaks TLS, from its services and values: what has to prove a deployment. Pure.
//!
//! Works on the values it is given, so it tells the endpoints of a plan as well as those of today. It does not look whether
//! anything listens.
//!
//! Rules: master(5) (service names), postconf(5) (inet_interfaces, known_tcp_ports, smtpd_tls_security_level,
//! smtpd_tls_wrappermode), RFC 8314, 3.3 (submissions).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use super::{syntax::Service, values::Values};
use crate::model::{
    endpoint::{Endpoint, Scheme, split_host_port},
    plan::printable_line,
};

/// How much of a name in master.cf a note shows, in characters.
const SHOWN: usize = 100;

/// One address and port of a service that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsService {
    /// As postconf(1) calls it: `smtp/inet`.
    pub name: String,
    /// Where and how to ask it.
    pub endpoint: Endpoint,
    /// The files that it serves from: `smtpd_tls_chain_files`, or certificate and key; overrides counted in.
    pub certificate_files: Vec<PathBuf>,
    /// The value of `tls_server_sni_maps`; overrides counted in.
    pub sni_maps: String,
}

/// The TLS services of an instance, and what could not be understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsServices {
    /// In the order of master.cf; no endpoint twice.
    pub services: Vec<TlsService>,
    /// Services left out, and why.
    pub notes: Vec<String>,
}

/// Names of TCP ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(BTreeMap<String, u16>);

/// The names that mail uses, so that a host without `/etc/services` knows them (IANA; `urd` is what old tables call 465).
const MAIL_PORTS: [(&str, u16); 5] = [
    ("smtp", 25),
    ("smtps", 465),
    ("submission", 587),
    ("submissions", 465),
    ("urd", 465),
];

impl Ports {
    /// Reads services(5).
    pub fn parse(services: &str) -> Self {
        let mut ports = BTreeMap::new();
        for line in services.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(name) = words.next() else { continue };
            let Some(port) = words
                .next()
                .and_then(|word| word.strip_suffix("/tcp")?.parse().ok())
            else {
                continue;
            };
            for name in [name].into_iter().chain(words) {
                ports.entry(name.to_owned()).or_insert(port);
            }
        }
        Self(ports)
    }

    /// Returns whether nothing was read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether this host can look the name up by itself.
    pub(super) fn knows(&self, name: &str, known: &str) -> bool {
        self.0.contains_key(name)
            || known
                .split(',')
                .any(|entry| entry.split('=').rev().skip(1).any(|word| word.trim() == name))
    }

    /// Returns a port by number or name; `known` is the value of `known_tcp_ports`, which comes first.
    pub(super) fn number(&self, name: &str, known: &str) -> Option<u16> {
        if let Ok(port) = name.parse::<u16>() {
            return (port != 0).then_some(port);
        }
        let by_postfix = known.split(',').find_map(|entry| {
            let mut words = entry.split('=').map(str::trim);
            let port = words.next_back()?.parse().ok()?;
            words.any(|word| word == name).then_some(port)
        });
        let by_us = || {
            MAIL_PORTS
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, port)| *port)
        };
        by_postfix.or_else(|| self.0.get(name).copied()).or_else(by_us)
    }
}

/// What the host has besides Postfix's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Names of ports.
    pub ports: Ports,
    /// Whether `::1` can be reached: not on hosts that have IPv6 switched off.
    pub ipv6: bool,
}

/// Derives the endpoints of every `inet` service that speaks TLS: smtpd(8), and postscreen(8), which hands on to it.
pub fn tls_services(services: &[Service], values: &Values, host: &Host) -> TlsServices {
    let mut found = TlsServices::default();
    let mut seen = BTreeSet::new();
    for service in services.iter().filter(|service| service.kind == "inet") {
        let view = View { service, values };
        let Some(scheme) = view.tls() else { continue };
        // A note is a line for a terminal, whatever stands in the file.
        let shown = |text: &str| printable_line(text.as_bytes(), SHOWN);
        let label = shown(&service.label());
        let Some((addresses, port_name)) = view.addresses(host) else {
            let note = format!("{label}: its name is not understood; it is not verified");
            found.notes.push(note);
            continue;
        };
        let Some(port) = host.ports.number(&port_name, values.get("known_tcp_ports")) else {
            let port_name = shown(&port_name);
            found.notes.push(format!(
                "{label}: nothing tells the number of port `{port_name}`; it is not verified"
            ));
            continue;
        };
        let scheme = scheme.of(&port_name, port);
        for address in addresses {
            let endpoint = Endpoint {
                scheme,
                host: address,
                port,
            };
            if seen.insert((endpoint.host.clone(), port)) {
                let certificate_files = view.certificate_files();
                found.services.push(TlsService {
                    name: service.label(),
                    endpoint,
                    certificate_files,
                    sni_maps: view.get("tls_server_sni_maps"),
                });
            }
        }
    }
    found
}

/// Returns the ports on which mail is taken from other hosts: those of smtpd(8) and postscreen(8) that are not bound to the
/// loopback alone.
pub fn ports_for_others(services: &[Service], values: &Values, host: &Host) -> BTreeSet<u16> {
    let takes_mail = |service: &&Service| {
        service.kind == "inet" && matches!(service.command.as_str(), "smtpd" | "postscreen")
    };
    let port = |service: &Service| {
        let (address, port) = split_service(&service.name);
        let is_for_others = match address {
            Some(address) => !is_loopback(&unbracketed(address)?),
            None => !values
                .get("inet_interfaces")
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter(|word| !word.is_empty())
                .all(|word| {
                    word.eq_ignore_ascii_case("loopback-only")
                        || unbracketed(word).is_some_and(|word| is_loopback(&word))
                }),
        };
        host.ports
            .number(port, values.get("known_tcp_ports"))
            .filter(|_| is_for_others)
    };
    services.iter().filter(takes_mail).filter_map(port).collect()
}

fn is_loopback(address: &str) -> bool {
    address == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// How a service begins TLS, before its port is known.
enum Begins {
    /// At once.
    Implicit,
    /// By STARTTLS; `is_for_users` when it authenticates or demands TLS.
    StartTls { is_for_users: bool },
}

impl Begins {
    fn of(&self, port_name: &str, port: u16) -> Scheme {
        match self {
            Self::Implicit => Scheme::Submissions,
            Self::StartTls { .. } if port_name == "submission" || port == 587 => Scheme::Submission,
            Self::StartTls { is_for_users: true } if port != 25 => Scheme::Submission,
            Self::StartTls { .. } => Scheme::Smtp,
        }
    }
}

/// A service with the values that it sees.
struct View<'a> {
    service: &'a Service,
    values: &'a Values,
}

impl View<'_> {
    /// Returns the effective value of a parameter for this service.
    fn get(&self, name: &str) -> String {
        match self.service.overridden(name) {
            Some(raw) => self.values.expand(&String::from_utf8_lossy(raw)),
            None => self.values.get(name).to_owned(),
        }
    }

    fn is_yes(&self, name: &str) -> bool {
        self.get(name).eq_ignore_ascii_case("yes")
    }

    /// Returns how TLS begins, or `None` when this is no SMTP server or TLS is off.
    fn tls(&self) -> Option<Begins> {
        let (prefix, level) = match self.service.command.as_str() {
            "smtpd" => ("smtpd", self.get("smtpd_tls_security_level")),
            "postscreen" => ("postscreen", self.get("postscreen_tls_security_level")),
            _ => return None,
        };
        if prefix == "smtpd" && self.is_yes("smtpd_tls_wrappermode") {
            return Some(Begins::Implicit);
        }
        let (used, enforced) = (format!("{prefix}_use_tls"), format!("{prefix}_enforce_tls"));
        let demands = match level.as_str() {
            "none" => return None,
            "" if self.is_yes(&enforced) => true,
            "" if self.is_yes(&used) => false,
            "" => return None,
            "may" => false,
            _ => true,
        };
        let authenticates = prefix == "smtpd" && self.is_yes("smtpd_sasl_auth_enable");
        Some(Begins::StartTls {
            is_for_users: demands || authenticates,
        })
    }

    /// Returns the hosts to ask and the port's name, from `port`, `host:port` or `[host]:port`.
    fn addresses(&self, host: &Host) -> Option<(Vec<String>, String)> {
        let (address, port) = split_service(&self.service.name);
        let Some(address) = address else {
            return Some((self.interfaces(host), port.to_owned()));
        };
        Some((self.reachable(&unbracketed(address)?, host), port.to_owned()))
    }

    /// Returns the addresses of `inet_interfaces`.
    fn interfaces(&self, host: &Host) -> Vec<String> {
        let interfaces = self.values.get("inet_interfaces");
        let words = interfaces
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        let mut found = Vec::new();
        for word in words {
            let addresses = match word.to_ascii_lowercase().as_str() {
                "all" | "loopback-only" => self.loopback(host, Family::Any),
                _ => unbracketed(word)
                    .map(|address| self.reachable(&address, host))
                    .unwrap_or_default(),
            };
            found.extend(addresses);
        }
        found
    }

    /// Returns where a service that binds this address can be asked: itself, or the loopback for a wildcard.
    fn reachable(&self, address: &str, host: &Host) -> Vec<String> {
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => self.loopback(host, Family::V4),
            Ok(IpAddr::V6(ip)) if ip.is_unspecified() => self.loopback(host, Family::V6),
            Ok(ip) if !self.speaks(ip.is_ipv4()) => Vec::new(),
            _ => vec![address.to_owned()],
        }
    }

    fn loopback(&self, host: &Host, family: Family) -> Vec<String> {
        let mut found = Vec::new();
        if family != Family::V6 && self.speaks(true) {
            found.push(Ipv4Addr::LOCALHOST.to_string());
        }
        if family != Family::V4 && self.speaks(false) && host.ipv6 {
            found.push(Ipv6Addr::LOCALHOST.to_string());
        }
        found
    }

    /// Returns whether `inet_protocols` allows IPv4, or IPv6.
    fn speaks(&self, ipv4: bool) -> bool {
        let wanted = if ipv4 { "ipv4" } else { "ipv6" };
        let protocols = self.values.get("inet_protocols").to_ascii_lowercase();
        protocols
            .split([',', ' ', '\t'])
            .any(|word| word == "all" || word == wanted)
    }

    fn certificate_files(&self) -> Vec<PathBuf> {
        let prefix = if self.service.command == "postscreen" {
            "tlsproxy_tls"
        } else {
            "smtpd_tls"
        };
        let chain = self.get(&format!("{prefix}_chain_files"));
        let words: Vec<&str> = chain
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .collect();
        if !words.is_empty() {
            return words.into_iter().map(PathBuf::from).collect();
        }
        let certificate = self.get(&format!("{prefix}_cert_file"));
        let mut key = self.get(&format!("{prefix}_key_file"));
        // The key's default follows the certificate, also one that this service overrides.
        let overrides = |name: &str| self.service.overridden(&format!("{prefix}_{name}")).is_some();
        if key.is_empty()
            || (overrides("cert_file")
                && !overrides("key_file")
                && key == self.values.get(&format!("{prefix}_cert_file")))
        {
            key.clone_from(&certificate);
        }
        let mut files = vec![PathBuf::from(&certificate)];
        if key != certificate {
            files.push(PathBuf::from(key));
        }
        files.retain(|file| !file.as_os_str().is_empty());
        files
    }
}

/// Splits the name of an `inet` service: the address it binds, as written, and the port's name or number (master(5)).
pub(super) fn split_service(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once(':') {
        None => (None, name),
        Some(("", port)) => (None, port),
        Some((address, port)) => (Some(address), port),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

/// Takes the brackets from `[::1]` and `[host]`; `None` for what is neither a name nor an address.
fn unbracketed(text: &str) -> Option<String> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let inner = inner.strip_prefix("ipv6:").unwrap_or(inner);
    match split_host_port(inner) {
        Some((host, None)) => Some(host),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_ports_that_others_reach() {
        let check = |master_cf: &str, interfaces: &str, expected: &[u16]| {
            let services = MasterCf::parse(master_cf.as_bytes()).services();
            let values = Values::parse(format!("inet_interfaces = {interfaces}\n").as_bytes());
            let found = ports_for_others(&services, &values, &Host::default());
            assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{master_cf}");
        };
        let usual = "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\n#smtps inet n - n - - smtpd\n\
                     127.0.0.1:10025 inet n - n - - smtpd\nsmtp unix - - n - - smtp\n";
        check(usual, "all", &[25, 587]);
        check(usual, "loopback-only", &[]);
        check(usual, "127.0.0.1, [::1]", &[]);
        check(usual, "127.0.0.1, 192.0.2.1", &[25, 587]);
        check(
            "192.0.2.1:465 inet n - n - - smtpd\n[::1]:587 inet n - n - - smtpd\n",
            "loopback-only",
            &[465],
        );
        check("25 inet n - n - 1 postscreen\n", "all", &[25]);
    }
    use crate::postfix::syntax::MasterCf;

    fn derive(values: &str, master_cf: &str, ipv6: bool) -> TlsServices {
        let defaults = "inet_interfaces = all\ninet_protocols = all\nsmtpd_tls_security_level = may\n\
                        smtpd_tls_cert_file = /c\nsmtpd_tls_key_file = /k\n";
        let values = Values::parse(format!("{defaults}{values}").as_bytes());
        let ports =
            Ports::parse("smtp 25/tcp mail\nurd 465/tcp submissions # x\nalt 2626/udp\nalt 2525/tcp\n");
        tls_services(
            &MasterCf::parse(master_cf.as_bytes()).services(),
            &values,
            &Host { ports, ipv6 },
        )
    }

    fn check(values: &str, master_cf: &str, expected: &[&str]) {
        let found = derive(values, master_cf, true);
        let endpoints: Vec<String> = found
            .services
            .iter()
            .map(|service| service.endpoint.to_string())
            .collect();
        assert_eq!(endpoints, expected, "{values:?} {master_cf:?}");
    }

    #[test]
    fn finds_addresses() {
        let smtp = "smtp inet n - n - - smtpd\n";
        check("", smtp, &["smtp://127.0.0.1:25", "smtp://[::1]:25"]);
        check("inet_protocols = ipv4\n", smtp, &["smtp://127.0.0.1:25"]);
        check("inet_protocols = ipv6\n", smtp, &["smtp://[::1]:25"]);
        check(
            "inet_protocols = ipv4, ipv6\n",
            smtp,
            &["smtp://127.0.0.1:25", "smtp://[::1]:25"],
        );
        check(
            "inet_interfaces = loopback-only\n",
            smtp,
            &["smtp://127.0.0.1:25", "smtp://[::1]:25"],
        );
        check(
            "inet_interfaces = 192.0.2.1, [2001:db8::1] localhost\n",
            smtp,
            &[
                "smtp://192.0.2.1:25",
                "smtp://[2001:db8::1]:25",
                "smtp://localhost:25",
            ],
        );
        check(
            "inet_interfaces = 192.0.2.1, ::1\ninet_protocols = ipv4\n",
            smtp,
            &["smtp://192.0.2.1:25"],
        );
        check(
            "",
            "192.0.2.7:smtp inet n - n - - smtpd",
            &["smtp://192.0.2.7:25"],
        );
        check(
            "",
            "[2001:db8::2]:25 inet n - n - - smtpd",
            &["smtp://[2001:db8::2]:25"],
        );
        check("", "::1:25 inet n - n - - smtpd", &["smtp://[::1]:25"]);
        check("", "0.0.0.0:25 inet n - n - - smtpd", &["smtp://127.0.0.1:25"]);
        check("", "[::]:25 inet n - n - - smtpd", &["smtp://[::1]:25"]);
        check(
            "",
            "mx.example:25 inet n - n - - smtpd",
            &["smtp://mx.example:25"],
        );
        check(
            "",
            &format!("{smtp}127.0.0.1:25 inet n - n - - smtpd"),
            &["smtp://127.0.0.1:25", "smtp://[::1]:25"],
        );
        let without_ipv6 = derive("", smtp, false);
        assert_eq!(without_ipv6.services.len(), 1);
    }

    #[test]
    fn finds_ports_and_schemes() {
        let check_one = |name: &str, rest: &str, expected: &str| {
            check(
                "inet_protocols = ipv4\n",
                &format!("{name} inet n - n - - smtpd {rest}"),
                &[expected],
            );
        };
        check_one("25", "", "smtp://127.0.0.1:25");
        check_one("mail", "", "smtp://127.0.0.1:25");
        check_one("alt", "", "smtp://127.0.0.1:2525");
        check_one("submission", "", "submission://127.0.0.1:587");
        check_one("587", "", "submission://127.0.0.1:587");
        check_one(
            "2587",
            "-o smtpd_tls_security_level=encrypt",
            "submission://127.0.0.1:2587",
        );
        check_one(
            "2587",
            "-o smtpd_sasl_auth_enable=yes",
            "submission://127.0.0.1:2587",
        );
        check_one(
            "smtp",
            "-o smtpd_tls_security_level=encrypt",
            "smtp://127.0.0.1:25",
        );
        check_one("2525", "-o smtpd_tls_security_level=may", "smtp://127.0.0.1:2525");
        for name in ["submissions", "smtps", "urd", "465"] {
            check_one(
                name,
                "-o smtpd_tls_wrappermode=yes",
                "submissions://127.0.0.1:465",
            );
        }
        check_one(
            "2465",
            "-o { smtpd_tls_wrappermode = yes }",
            "submissions://127.0.0.1:2465",
        );
        let own = "inet_protocols = ipv4\nknown_tcp_ports = lmtp=24, smtps=submissions=10465\n";
        check(own, "smtps inet n - n - - smtpd", &["smtp://127.0.0.1:10465"]);
        let unknown = derive("", "nosuch inet n - n - - smtpd", true);
        assert_eq!((unknown.services.len(), unknown.notes.len()), (0, 1));
    }

    #[test]
    fn leaves_out_what_speaks_no_tls() {
        check("smtpd_tls_security_level =\n", "smtp inet n - n - - smtpd", &[]);
        check(
            "smtpd_tls_security_level = none\n",
            "smtp inet n - n - - smtpd",
            &[],
        );
        check(
            "",
            "smtp inet n - n - - smtpd -o smtpd_tls_security_level=none",
            &[],
        );
        check(
            "",
            "smtp inet n - n - - smtpd -o smtpd_tls_security_level=$nothing",
            &[],
        );
        check("", "smtp unix n - n - - smtpd\nsmtp inet n - n - - spawn", &[]);
        let ipv4 = "inet_protocols = ipv4\nsmtpd_tls_security_level =\n";
        check(
            &format!("{ipv4}smtpd_use_tls = yes\n"),
            "25 inet n - n - - smtpd",
            &["smtp://127.0.0.1:25"],
        );
        check(
            ipv4,
            "465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes",
            &["submissions://127.0.0.1:465"],
        );
        let screen = "25 inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n";
        check(ipv4, screen, &[]);
        check(
            &format!("{ipv4}postscreen_tls_security_level = may\n"),
            screen,
            &["smtp://127.0.0.1:25"],
        );
    }

    #[test]
    fn names_the_files_that_are_served() {
        let check_files = |values: &str, rest: &str, expected: &[&str]| {
            let found = derive(
                &format!("inet_protocols = ipv4\n{values}"),
                &format!("25 inet n - n - - {rest}"),
                true,
            );
            let files: Vec<_> = found.services[0]
                .certificate_files
                .iter()
                .map(|file| file.to_str().unwrap())
                .collect();
            assert_eq!(files, expected, "{values:?} {rest:?}");
        };
        check_files("", "smtpd", &["/c", "/k"]);
        check_files("", "smtpd -o smtpd_tls_cert_file=/d", &["/d", "/k"]);
        check_files(
            "smtpd_tls_key_file = /c\n",
            "smtpd -o smtpd_tls_cert_file=/d",
            &["/d"],
        );
        check_files("smtpd_tls_chain_files = /a, /b\n", "smtpd", &["/a", "/b"]);
        check_files(
            "smtpd_tls_chain_files = /a\n",
            "smtpd -o smtpd_tls_chain_files=",
            &["/c", "/k"],
        );
        check_files(
            "postscreen_tls_security_level = may\ntlsproxy_tls_cert_file = /t\n",
            "postscreen",
            &["/t"],
        );
        check_files("smtpd_tls_cert_file =\nsmtpd_tls_key_file =\n", "smtpd", &[]);
    }
}
