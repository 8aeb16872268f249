//! Loopback addresses of one test's own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::Scratch;

/// Distinguishes the addresses of one process.
static N_TAKEN: AtomicU32 = AtomicU32::new(0);

/// An address in 127.64.0.0/10 that nobody else has; every port on it is free. Taken off the interface on drop.
pub struct LoopbackAddress(Ipv4Addr);

impl LoopbackAddress {
    /// Puts a new address on the loopback interface.
    ///
    /// The kernel refuses an address that is there already, and so arbitrates between processes.
    pub fn take(scratch: &Scratch) -> Self {
        for _ in 0..1000 {
            let address = candidate(std::process::id(), N_TAKEN.fetch_add(1, Ordering::Relaxed));
            let output = ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
            let complaint = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                scratch.remember("addresses", &address.to_string());
                return Self(address);
            }
            assert!(
                complaint.contains("File exists"),
                "ip addr add {address}: {complaint} (are you root?)"
            );
        }
        panic!("no free loopback address in a thousand tries");
    }

    /// Returns the address.
    pub fn ip(&self) -> Ipv4Addr {
        self.0
    }

    /// Returns a port on it.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.0), port)
    }
}

impl Drop for LoopbackAddress {
    fn drop(&mut self) {
        ip(&["addr", "del", &format!("{}/32", self.0), "dev", "lo"]);
    }
}

/// Spreads process ids and counts over 127.64.0.0/10, away from what is commonly used by hand.
fn candidate(pid: u32, n: u32) -> Ipv4Addr {
    let spread = pid
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add(n.wrapping_mul(0x85EB_CA6B))
        >> 10;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) | (spread & 0x003F_FFFF))
}

/// Runs ip(8).
fn ip(args: &[&str]) -> std::process::Output {
    Command::new("ip")
        .args(args)
        .output()
        .expect("ip is missing: run tests/lab/install")
}
