//! What would end a running master(8) when it reads master.cf again, and all mail with it.
//!
//! Neither postconf(1) nor `postfix check` looks at it, and `postfix reload` succeeds: the master ends a moment later. Measured on
//! Postfix 3.7: a port that no file names, a host name without an address, an address that this host does not have, a port
//! that another program holds, an `inet` service that is private, a service of no known type, a name with half a bracket, and a
//! socket in a directory that is not there. A service that stands twice, or whose program is missing, is survived. (Braces that
//! are not closed end it, too: of them postconf(1) warns, and [`super::inspect`] refuses them.)

use std::{
    io::ErrorKind,
    net::{IpAddr, TcpListener, ToSocketAddrs},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    endpoints::{Host, split_service},
    submission::port_of,
    syntax::Service,
    values::Values,
};

/// How long a port may be held by what was there before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns what would end the master, a line each. `running`: the services that it has already, whose ports are its own.
pub fn obstacles(services: &[Service], running: &[Service], values: &Values, host: &Host) -> Vec<String> {
    let why = |service: &Service| {
        let found = misshapen(service, values);
        found.or_else(|| match service.kind.as_str() {
            "inet" => unbindable(service, running, values, host),
            _ => None,
        })
    };
    let told = |service: &Service| {
        let why = why(service)?;
        Some(format!(
            "master.cf, {}: {why}; a reload would end the running Postfix",
            service.label()
        ))
    };
    services.iter().filter_map(told).collect()
}

/// Says what is wrong with the columns of a service: postconf(1) passes over it.
fn misshapen(service: &Service, values: &Values) -> Option<String> {
    let name = &service.name;
    match service.kind.as_str() {
        "inet" if service.private != "n" => Some(format!(
            "an `inet` service has `n` in its third column, not `{}`",
            service.private
        )),
        "inet" => {
            let host = split_service(name).0.unwrap_or_default();
            let (opens, closes) = (host.starts_with('['), host.ends_with(']'));
            let is_halved = opens != closes || (host.is_empty() && name.contains(['[', ']']));
            is_halved.then(|| format!("`{name}` has half a pair of brackets"))
        }
        "fifo" | "pass" | "unix" | "unix-dgram" => {
            let directory = name.rsplit_once('/').map(|(directory, _)| directory)?;
            let class = if service.private == "n" {
                "public"
            } else {
                "private"
            };
            let directory = Path::new(values.get("queue_directory"))
                .join(class)
                .join(directory);
            (!directory.is_dir()).then(|| {
                format!(
                    "its socket is to be in {}, which is not there",
                    directory.display()
                )
            })
        }
        kind => Some(format!("`{kind}` is no type of service")),
    }
}

/// Says why a port cannot be opened.
fn unbindable(service: &Service, running: &[Service], values: &Values, host: &Host) -> Option<String> {
    let ends = Some::<String>;
    let (address, port) = split_service(&service.name);
    let is_own = address.is_some();
    let Some(number) = port_of(service, values, host) else {
        // Without the file there may be other sources of names; of a number that is too large, master takes what is left.
        return if host.ports.is_empty() || port.parse::<u64>().is_ok() {
            None
        } else {
            ends(format!(
                "neither /etc/services nor known_tcp_ports has a port `{port}`"
            ))
        };
    };
    let is_new = !running
        .iter()
        .any(|known| known.kind == service.kind && known.name == service.name);
    for address in addresses(address, values) {
        let Ok(ip) = address.parse::<IpAddr>() else {
            if (address.as_str(), number).to_socket_addrs().is_err() {
                return ends(format!("`{address}` has no address"));
            }
            continue;
        };
        if ip.is_ipv6() && values.get("inet_protocols") == "ipv4" {
            if is_own {
                return ends(format!("`{ip}` is an IPv6 address, and inet_protocols is ipv4"));
            }
            continue;
        }
        // Port 0: whether the address is this host's, without touching a port.
        let tried = bind(ip, if is_new { number } else { 0 });
        match tried.map_err(|error| error.kind()) {
            Err(ErrorKind::AddrNotAvailable) => {
                return ends(format!("this host does not have the address {ip}"));
            }
            Err(ErrorKind::AddrInUse) => return ends(format!("another program holds port {number} of {ip}")),
            // What else there may be, such as a lack of rights, says nothing about the master.
            _ => {}
        }
    }
    None
}

/// Binds a port for a moment. A service that was taken out of master.cf a moment ago may hold it until its last process ends.
fn bind(ip: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let began = Instant::now();
    loop {
        match TcpListener::bind((ip, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            bound => return bound,
        }
    }
}

/// Returns the addresses that a service binds: its own, or those of `inet_interfaces`.
fn addresses(own: Option<&str>, values: &Values) -> Vec<String> {
    let unbracketed = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
    if let Some(own) = own {
        return vec![unbracketed(own)];
    }
    let interfaces = values.get("inet_interfaces");
    let words = interfaces.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    words
        .map(|word| match word {
            "all" => "0.0.0.0".to_owned(),
            "loopback-only" => "127.0.0.1".to_owned(),
            other => unbracketed(other),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::{endpoints::Ports, syntax::MasterCf};

    #[test]
    fn finds_what_master_would_not_survive() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let host = Host {
            ports: Ports::parse("smtp 25/tcp\n"),
            ..Host::default()
        };
        let values = Values::parse(
            b"inet_interfaces = loopback-only\ninet_protocols = all\nknown_tcp_ports = submission=587\n",
        );
        let services = |text: &str| MasterCf::parse(text.as_bytes()).services();
        let check = |line: &str, running: &str, expected: &str| {
            let found = obstacles(
                &services(&format!("{line} inet n - n - - smtpd\n")),
                &services(running),
                &values,
                &host,
            );
            assert_eq!(found.is_empty(), expected.is_empty(), "{line}: {found:?}");
            assert!(
                found.iter().all(|said| said.contains(expected)),
                "{line}: {found:?}"
            );
        };
        check("smtpp", "", "has a port `smtpp`");
        check("127.0.0.1:nosuch", "", "has a port `nosuch`");
        check("192.0.2.77:2525", "", "does not have the address 192.0.2.77");
        check(
            "192.0.2.77:2525",
            "192.0.2.77:2525 inet n - n - - smtpd\n",
            "does not have the address",
        );
        check("no-such-host.invalid:2525", "", "has no address");
        let line = port.to_string();
        check(&line, "", "another program holds");
        check(&format!("127.0.0.1:{port}"), "", "another program holds");
        // Its own.
        check(&line, &format!("{line} inet n - n - - smtpd\n"), "");
        drop(held);
        check(&line, "", "");
    }

    #[test]
    fn finds_lines_whose_shape_master_would_not_survive() {
        let host = Host {
            ports: Ports::parse("smtp 25/tcp\n"),
            ..Host::default()
        };
        let values = Values::parse(
            b"inet_interfaces = loopback-only\ninet_protocols = ipv4\nqueue_directory = /nonexistent\n",
        );
        let check = |line: &str, expected: &str| {
            let services = MasterCf::parse(format!("{line}\n").as_bytes()).services();
            let found = obstacles(&services, &services, &values, &host);
            assert_eq!(found.is_empty(), expected.is_empty(), "{line}: {found:?}");
            assert!(
                found.iter().all(|said| said.contains(expected)),
                "{line}: {found:?}"
            );
        };
        check("127.0.0.1:2525 inet n - n - - smtpd", "");
        check("[127.0.0.1]:2525 inet n n n 5 1 smtpd", "");
        check(
            "127.0.0.1:2525 inet y - n - - smtpd",
            "has `n` in its third column, not `y`",
        );
        check(
            "127.0.0.1:2525 inet - - n - - smtpd",
            "has `n` in its third column, not `-`",
        );
        check("[127.0.0.1:2525 inet n - n - - smtpd", "half a pair of brackets");
        check("127.0.0.1]:2525 inet n - n - - smtpd", "half a pair of brackets");
        check("[127.0.0.1 inet n - n - - smtpd", "half a pair of brackets");
        check("[::1]:2525 inet n - n - - smtpd", "inet_protocols is ipv4");
        check("127.0.0.1: inet n - n - - smtpd", "has a port ``");
        check("127.0.0.1:-5 inet n - n - - smtpd", "has a port `-5`");
        check("x:y:25 inet n - n - - smtpd", "has no address");
        check(
            "{{ service }} unix n - n - - smtpd",
            "`service` is no type of service",
        );
        check(
            "a/b unix n - n - - smtpd",
            "/nonexistent/public/a, which is not there",
        );
        check("foo:bar unix n - n - - smtpd", "");
        check("postlog unix-dgram n - n - 1 postlogd", "");
    }
}
