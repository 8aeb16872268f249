//! The ports on which Dovecot speaks TLS, and the certificate that each serves: what has to prove a deployment. Pure.
//!
//! Only what mail is read through: `imap-login` and `pop3-login`. What doveconf(1) leaves out has its default: 143, 993, 110 and
//! 995, on every address.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    dialect::{Dialect, Setting},
    effective::{Block, Effective},
};
use crate::model::{
    endpoint::{Endpoint, Scheme},
    name::Identifier,
};

/// One address and port that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsService {
    /// Where and how to ask it.
    pub endpoint: Endpoint,
    /// The file that it serves to everybody; `None` where the configuration names none.
    pub certificate_file: Option<PathBuf>,
}

/// Returns every endpoint that speaks TLS. `ipv6`: whether `::1` can be reached.
pub fn tls_services(effective: &Effective, ipv6: bool) -> Vec<TlsService> {
    let mut found: Vec<TlsService> = Vec::new();
    for one in login_ports(effective) {
        for host in addresses(&one.listen, ipv6) {
            let endpoint = Endpoint {
                scheme: one.scheme,
                host,
                port: one.port,
            };
            if !found.iter().any(|known| known.endpoint == endpoint) {
                found.push(TlsService {
                    endpoint,
                    certificate_file: one.certificate_file.clone(),
                });
            }
        }
    }
    found
}

/// Returns the ports that speak TLS on an address which other hosts reach, each with how TLS begins there.
pub fn ports_for_others(effective: &Effective) -> Vec<(u16, Scheme)> {
    let is_for_others = |one: &LoginPort| {
        let mut words = words(&one.listen);
        words.any(|word| !is_loopback(word))
    };
    let ports = login_ports(effective).into_iter();
    ports
        .filter(is_for_others)
        .map(|one| (one.port, one.scheme))
        .collect()
}

/// A port of a login service that speaks TLS.
struct LoginPort {
    scheme: Scheme,
    port: u16,
    /// The addresses, as they are written.
    listen: String,
    certificate_file: Option<PathBuf>,
}

fn login_ports(effective: &Effective) -> Vec<LoginPort> {
    let dialect = effective.dialect();
    let root = &effective.root;
    let everywhere = listed(root, "listen").unwrap_or_else(|| "*, ::".to_owned());
    let is_on = |protocol: &str| match effective.protocols() {
        none if none.is_empty() => dialect == Dialect::V2_3 && root.get("protocols").is_none(),
        some => some.iter().any(|known| known == protocol),
    };
    let mut found = Vec::new();
    for (protocol, plain, implicit) in [
        ("imap", Scheme::Imap, Scheme::Imaps),
        ("pop3", Scheme::Pop3, Scheme::Pop3s),
    ] {
        let own = root.block("protocol", protocol);
        let value = |setting: Setting| {
            let name = setting.name(dialect);
            let in_protocol = own.and_then(|block| block.get(name));
            in_protocol.or_else(|| root.get(name)).unwrap_or_default()
        };
        if !is_on(protocol) || value(Setting::Tls) == "no" {
            continue;
        }
        let certificate = value(Setting::Certificate);
        let service = root.block("service", &format!("{protocol}-login"));
        for (name, scheme) in listeners(service, plain, implicit) {
            let block = service.and_then(|service| service.block("inet_listener", &name));
            let get = |setting: &str| block.and_then(|block| block.get(setting));
            let is_default = name == plain.name() || name == implicit.name();
            let port = match get("port") {
                None if is_default => scheme.default_port(),
                None => continue,
                Some(port) => port.parse().unwrap_or(0),
            };
            // Behind a proxy that tells addresses, nobody else can connect.
            if port == 0 || get("haproxy").as_deref() == Some("yes") {
                continue;
            }
            let own = block.and_then(|block| {
                let own = listed(block, "address").or_else(|| listed(block, "listen"));
                own.filter(|own| !own.is_empty())
            });
            found.push(LoginPort {
                scheme,
                port,
                listen: own.unwrap_or_else(|| everywhere.clone()),
                certificate_file: dialect.named_file(&certificate).map(PathBuf::from),
            });
        }
    }
    found
}

/// Returns the listeners of a login service by name, each with how TLS begins there.
fn listeners(service: Option<&Block>, plain: Scheme, implicit: Scheme) -> Vec<(String, Scheme)> {
    let mut names = vec![plain.name().to_owned(), implicit.name().to_owned()];
    let further = service
        .into_iter()
        .flat_map(|service| service.blocks("inet_listener"));
    names.extend(further.map(|block| block.name.clone()));
    names.dedup();
    let scheme = |name: &String| {
        let block = service.and_then(|service| service.block("inet_listener", name));
        match block.and_then(|block| block.get("ssl")).as_deref() {
            Some("yes") => implicit,
            Some(_) => plain,
            None if name == implicit.name() => implicit,
            None => plain,
        }
    };
    names
        .into_iter()
        .map(|name| {
            let scheme = scheme(&name);
            (name, scheme)
        })
        .collect()
}

/// Returns a list as it is written; 2.4 may print it as a block of switches.
fn listed(block: &Block, name: &str) -> Option<String> {
    block.get(name).or_else(|| {
        let switches = block.block(name, "")?;
        let on = switches.settings.iter().filter(|(_, value)| value == "yes");
        Some(on.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "))
    })
}

/// Returns the addresses of `listen` at which this host can ask itself.
fn addresses(listen: &str, ipv6: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in words(listen) {
        let host = match word {
            "*" | "0.0.0.0" => "127.0.0.1",
            "::" if ipv6 => "::1",
            "::" => continue,
            other => other,
        };
        if !found.iter().any(|known| known == host) {
            found.push(host.to_owned());
        }
    }
    found
}

/// Returns the addresses of `listen` as they are written, without brackets.
fn words(listen: &str) -> impl Iterator<Item = &str> {
    let words = listen.split([' ', ',', '\t']).filter(|word| !word.is_empty());
    words.map(|word| word.trim_start_matches('[').trim_end_matches(']'))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the certificate files of `local_name` blocks, each with the names that it is for.
pub fn named_certificates(effective: &Effective) -> Vec<(Vec<String>, PathBuf)> {
    let dialect = effective.dialect();
    let certificates = effective.certificates();
    certificates
        .iter()
        .filter_map(|one| {
            let [title] = one.scope.as_slice() else {
                return None;
            };
            let names = title.strip_prefix("local_name ")?;
            let file = dialect.named_file(&one.certificate)?;
            Some((
                names.split_whitespace().map(str::to_owned).collect(),
                PathBuf::from(file),
            ))
        })
        .collect()
}

/// Returns whether one of the names that a `local_name` is for is one of these.
pub fn is_covered(name: &str, identifiers: &[Identifier]) -> bool {
    let name = name.to_ascii_lowercase();
    let same = identifiers
        .iter()
        .any(|identifier| identifier.to_string() == name);
    same || name
        .parse()
        .is_ok_and(|name| identifiers.iter().any(|identifier| identifier.covers(&name)))
}

/// Returns whether a file lies below a directory.
pub fn is_below(file: Option<&Path>, directory: &Path) -> bool {
    file.is_some_and(|file| file.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(print: &str, expected: &[&str]) {
        let services = tls_services(&Effective::parse(print), true);
        let found: Vec<String> = services
            .iter()
            .map(|one| match &one.certificate_file {
                Some(file) => format!("{} {}", one.endpoint, file.display()),
                None => one.endpoint.to_string(),
            })
            .collect();
        assert_eq!(found, expected, "{print}");
    }

    #[test]
    fn tells_where_2_3_speaks_tls() {
        check(
            "protocols = \" imap lmtp\"\nssl_cert = </c\n",
            &[
                "imap://127.0.0.1:143 /c",
                "imap://[::1]:143 /c",
                "imaps://127.0.0.1:993 /c",
                "imaps://[::1]:993 /c",
            ],
        );
        check(
            "listen = 192.0.2.1, [2001:db8::1]\nprotocols = pop3\nservice pop3-login {\n  inet_listener pop3 {\n    port = 0\n  }\n}\n",
            &["pop3s://192.0.2.1:995", "pop3s://[2001:db8::1]:995"],
        );
        check("protocols = imap pop3\nssl = no\n", &[]);
        check("protocols = none\n", &[]);
        check(
            "listen = *\nprotocols = imap pop3\nprotocol pop3 {\n  ssl = no\n}\nssl_cert = </c\nprotocol imap {\n  ssl_cert = </d\n}\n\
             service imap-login {\n  inet_listener imap {\n    address = 127.0.0.5\n  }\n  inet_listener imaps {\n    haproxy = yes\n  }\n\
             inet_listener other {\n    port = 9993\n    ssl = yes\n  }\n}\n",
            &["imap://127.0.0.5:143 /d", "imaps://127.0.0.1:9993 /d"],
        );
        // Nothing said: what 2.3 is built with.
        assert_eq!(
            tls_services(&Effective::parse("# 2.3.19 (x): y\n"), false).len(),
            4
        );
    }

    #[test]
    fn tells_where_2_4_speaks_tls() {
        check(
            "# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\nlisten = *\nprotocols {\n  imap = yes\n}\nservice imap-login {\n  \
             inet_listener imap {\n    port = 0\n  }\n  inet_listener imaps {\n    listen = 127.0.0.9\n  }\n}\n\
             ssl_server {\n  cert_file = /c\n}\n",
            &["imaps://127.0.0.9:993 /c"],
        );
        check("# 2.4.1-4 (7d8c0e5759): x\nlisten = *\n", &[]);
    }

    #[test]
    fn tells_what_others_reach() {
        let check = |print: &str, expected: &[u16]| {
            let found = ports_for_others(&Effective::parse(print));
            let ports: Vec<u16> = found.into_iter().map(|(port, _)| port).collect();
            assert_eq!(ports, expected, "{print}");
        };
        check("protocols = imap\n", &[143, 993]);
        check("protocols = imap\nlisten = 127.0.0.1, ::1\n", &[]);
        check("protocols = imap\nssl = no\n", &[]);
        check(
            "protocols = imap pop3\nlisten = 127.0.0.1\nservice imap-login {\n  inet_listener imaps {\n    address = *\n  }\n}\n",
            &[993],
        );
    }

    #[test]
    fn names_have_certificates_of_their_own() {
        let print = "ssl_cert = </a\nlocal_name a.example b.example {\n  ssl_cert = </b\n}\nprotocol imap {\n  ssl_cert = </c\n}\n";
        let found = named_certificates(&Effective::parse(print));
        assert_eq!(
            found,
            [(
                vec!["a.example".to_owned(), "b.example".to_owned()],
                PathBuf::from("/b")
            )]
        );
        let identifiers: Vec<Identifier> =
            vec!["mail.example".parse().unwrap(), "*.w.example".parse().unwrap()];
        for (name, expected) in [
            ("MAIL.example", true),
            ("x.w.example", true),
            ("*.w.example", true),
            ("w.example", false),
        ] {
            assert_eq!(is_covered(name, &identifiers), expected, "{name}");
        }
    }
}
