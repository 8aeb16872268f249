//! Finds out which program has a TCP port: proc(5), `/proc/net/tcp` and `/proc/PID/fd`.
//!
//! Without root only one's own processes can be looked into; then the answer is `None`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::{acme::error::Holder, env::files};

/// How much of `/proc/net/tcp` is read: some hundred thousand sockets.
const LIMIT: u64 = 64 << 20;

/// Returns the program that listens where `address` should be bound.
pub fn find(address: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| {
        files::read(Path::new(path), LIMIT).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    });
    let inodes: Vec<u64> = tables
        .iter()
        .flat_map(|table| listeners(table, address))
        .collect();
    let is_ours = |target: &Path| {
        let text = target.to_string_lossy();
        let inode = text
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| inodes.contains(&inode))
    };
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        if open
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| is_ours(&target)))
        {
            let name = files::read(&process.path().join("comm"), 64).ok()?;
            return Some(Holder {
                pid,
                program: String::from_utf8_lossy(&name).trim().to_owned(),
            });
        }
    }
    None
}

/// Returns the inodes of the listening sockets in a table that keep `address` from being bound.
fn listeners(table: &str, address: SocketAddr) -> Vec<u64> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let is_listening = *fields.get(3)? == "0A";
        let port = u16::from_str_radix(port, 16).ok()?;
        let conflicts = is_listening && port == address.port() && overlap(local_ip(ip)?, address.ip());
        conflicts.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(parse).collect()
}

/// Returns whether two addresses cannot both be bound on one port. `::` may or may not include IPv4: it counts.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let is_wide = |address: IpAddr| address.is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    match (is_wide(one), is_wide(other)) {
        (true, _) => same_family || one.is_ipv6(),
        (_, true) => same_family || other.is_ipv6(),
        _ => one == other || mapped(one) == mapped(other),
    }
}

/// Returns an IPv4-mapped address as the IPv4 one.
fn mapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Reads an address as the kernel writes it: hexadecimal words in the machine's byte order.
fn local_ip(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for word in hex.as_bytes().chunks(8) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernel_s_tables() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11111 1 0 100 0 0 10 0\n   \
                   1: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 22222 1 0 20 4 30 10 -1\n   \
                   2: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 33333 1 0 100 0 0 10 0\n";
        let tcp6 = "  sl  local_address                         remote_address                        st\n   \
                    0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 33 0 44444 1\n";
        let check = |table: &str, address: &str, expected: &[u64]| {
            assert_eq!(listeners(table, address.parse().unwrap()), expected, "{address}");
        };
        check(tcp, "127.0.0.1:80", &[11111]);
        check(tcp, "0.0.0.0:80", &[11111]);
        check(tcp, "[::]:80", &[11111]);
        check(tcp, "127.0.0.2:80", &[]);
        check(tcp, "192.0.2.1:25", &[33333]);
        check(tcp, "127.0.0.1:443", &[]);
        check(tcp6, "[::1]:80", &[44444]);
        check(tcp6, "0.0.0.0:80", &[44444]);
        check("garbage\n1 2 3\n\n", "0.0.0.0:80", &[]);
    }

    #[test]
    fn finds_ourselves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = find(listener.local_addr().unwrap()).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.program.is_empty());
    }
}
