//! Which ports should be open: those that mail needs and that something listens on for others; and which interfaces lead out.

use std::{collections::BTreeMap, net::IpAddr};

use crate::env::{Env, files};

/// The ports of a mail server that are opened wherever they are served: others are the operator's own business, unless he lists them
/// to be verified.
pub const MAIL_PORTS: [u16; 4] = [25, 465, 587, 993];

/// No table of the kernel is read further than this, in bytes.
const LIMIT: u64 = 64 << 20;

/// Returns those of the ports that a process listens on for others, from the kernel's tables (proc(5), `/proc/net/tcp`).
///
/// Whoever serves IMAP may do so in a configuration of its own; that it listens is what counts.
pub fn listening(env: &Env, ports: &[u16]) -> Vec<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| {
        let bytes = files::read_if_exists(&env.host_path(path), LIMIT).ok().flatten();
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    });
    ports
        .iter()
        .copied()
        .filter(|port| tables.iter().any(|table| is_listened_on(table, *port)))
        .collect()
}

/// Returns the interfaces of the default routes (proc(5), `/proc/net/route`); without any, none.
pub fn outward_interfaces(env: &Env) -> Vec<String> {
    let read = |path: &str| {
        let bytes = files::read_if_exists(&env.host_path(path), LIMIT).ok().flatten();
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let mut interfaces = default_v4(&read("/proc/net/route"));
    interfaces.extend(default_v6(&read("/proc/net/ipv6_route")));
    interfaces.sort();
    interfaces.dedup();
    interfaces
}

/// Puts reasons to ports; the first one of a port stays.
pub fn with_reasons(found: impl IntoIterator<Item = (u16, String)>) -> Vec<(u16, String)> {
    let mut wanted = BTreeMap::new();
    for (port, reason) in found {
        wanted.entry(port).or_insert(reason);
    }
    wanted.into_iter().collect()
}

/// Returns whether a table has a socket that listens on the port, on an address that others reach.
fn is_listened_on(table: &str, port: u16) -> bool {
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, found) = fields.get(1)?.split_once(':')?;
        let is_listening = *fields.get(3)? == "0A";
        let is_port = u16::from_str_radix(found, 16).ok()? == port;
        Some(is_listening && is_port && !is_loopback(address)?)
    };
    table.lines().skip(1).any(|line| listens(line).unwrap_or(false))
}

/// Reads an address as the kernel writes it: hexadecimal words in the machine's byte order.
fn is_loopback(hex: &str) -> Option<bool> {
    let mut bytes = Vec::with_capacity(16);
    for word in hex.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        16 => <[u8; 16]>::try_from(bytes).ok()?.into(),
        _ => return None,
    };
    Some(address.to_canonical().is_loopback())
}

/// Reads `Iface Destination Gateway Flags ... Mask`; a default route has neither destination nor mask.
fn default_v4(table: &str) -> Vec<String> {
    let interface = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = *fields.get(1)? == "00000000" && *fields.get(7)? == "00000000";
        is_default.then(|| fields.first().map(|name| (*name).to_owned()))?
    };
    table.lines().skip(1).filter_map(interface).collect()
}

/// Reads `destination length source length hop metric refs use flags interface`; the kernel's own reject route is on `lo`.
fn default_v6(table: &str) -> Vec<String> {
    let interface = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.first()?.bytes().all(|byte| byte == b'0') && *fields.get(1)? == "00";
        let name = *fields.get(9)?;
        (is_default && name != "lo").then(|| name.to_owned())
    };
    table.lines().filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernel_s_tables() {
        let tcp = "  sl  local_address rem_address   st\n\
                   0: 00000000:0019 00000000:0000 0A\n\
                   1: 0100007F:03E1 00000000:0000 0A\n\
                   2: 020200C0:01D1 00000000:0000 0A\n\
                   3: 00000000:024B 020200C0:0019 01\n";
        let tcp6 = "  sl  local_address\n\
                    0: 00000000000000000000000000000000:03E1 00000000000000000000000000000000:0000 0A\n\
                    1: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A\n\
                    2: 0000000000000000FFFF00000100007F:024B 00000000000000000000000000000000:0000 0A\n";
        let ports = |table| {
            MAIL_PORTS
                .into_iter()
                .filter(|port| is_listened_on(table, *port))
                .collect::<Vec<_>>()
        };
        assert_eq!(ports(tcp), [25, 465]);
        assert_eq!(ports(tcp6), [993]);
        assert_eq!(ports("garbage\n1 2\n"), [] as [u16; 0]);
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
                     eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(default_v4(route), ["eth0"]);
        let zeros = "0".repeat(32);
        let route = format!(
            "{zeros} 00 {zeros} 00 fe80 00000400 1 0 00000003 eth2\n{zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(default_v6(&route), ["eth2"]);
    }
}
