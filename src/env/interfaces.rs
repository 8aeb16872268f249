//! The addresses that this host has.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// Addresses that are kept at most.
const MAX_ADDRESSES: usize = 4096;

/// Returns the addresses of all interfaces, loopback among them; none when the system does not tell (getifaddrs(3)).
pub fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    let mut found: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
                (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
                _ => None,
            }
        })
        .take(MAX_ADDRESSES)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        assert!(addresses().iter().any(IpAddr::is_loopback));
    }
}
