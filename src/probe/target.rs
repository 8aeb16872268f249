//! From an endpoint to the addresses that are asked.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::timeout;

use crate::model::{endpoint::Endpoint, name::DomainName};

/// The most addresses of one name that are asked.
const ADDRESS_LIMIT: usize = 16;

/// One address to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint as it was asked for.
    pub endpoint: Endpoint,
    /// Its address, or why there is none.
    pub address: Result<SocketAddr, String>,
    /// The name sent as SNI (RFC 6066, 3), or none.
    pub server_name: Option<DomainName>,
}

impl Target {
    /// Finds the addresses of an endpoint: each is a target of its own.
    ///
    /// Without a `server_name` the endpoint's own host is sent as SNI, when it is a name. A name without an address
    /// gives one target that says so.
    pub async fn resolve(endpoint: &Endpoint, server_name: Option<&DomainName>) -> Vec<Self> {
        let server_name = server_name.cloned().or_else(|| endpoint.host.parse().ok());
        let target = |address| Self {
            endpoint: endpoint.clone(),
            address,
            server_name: server_name.clone(),
        };
        if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
            return vec![target(Ok(SocketAddr::new(ip, endpoint.port)))];
        }
        let lookup = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
        let addresses = match timeout(Duration::from_secs(15), lookup).await {
            Err(_) => return vec![target(Err("the resolver did not answer within 15 s".to_owned()))],
            Ok(Err(error)) => return vec![target(Err(error.to_string()))],
            Ok(Ok(addresses)) => addresses,
        };
        let mut targets: Vec<Self> = Vec::new();
        for address in addresses.take(ADDRESS_LIMIT) {
            if !targets.iter().any(|known| known.address == Ok(address)) {
                targets.push(target(Ok(address)));
            }
        }
        if targets.is_empty() {
            targets.push(target(Err("the name has no address".to_owned())));
        }
        targets
    }
}
