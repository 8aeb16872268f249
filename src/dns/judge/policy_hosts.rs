//! Whether senders that hold a domain to its MTA-STS policy would deliver to its hosts: their certificates chain to a root,
//! are for the host's name, and valid now (RFC 8461, 4.2). Pure.

use std::net::SocketAddr;

use time::OffsetDateTime;

use super::{Host, hosts};
use crate::{
    dns::facts::{Answer, Asked, Facts, Question, Served},
    model::{
        certificate::{Certificate, Validity},
        name::DomainName,
    },
};

/// Hosts of one domain that are asked.
const MAX_HOSTS: usize = 5;
/// Addresses of a host that are asked what they serve.
const MAX_ADDRESSES: usize = 4;
/// The port of mail between hosts.
const SMTP: u16 = 25;

/// What senders would find at the hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Where they would not deliver, and why, a line each.
    pub refused: Vec<String>,
    /// What could not be seen from here, and why, a line each.
    pub unknown: Vec<String>,
}

/// Judges every host of a domain, at each of its addresses.
///
/// # Errors
/// Names the next open question.
pub fn judge(names: &[String], facts: &Facts, now: OffsetDateTime) -> Asked<Outlook> {
    let hosts = hosts(names.iter().take(MAX_HOSTS).map(String::as_str), facts)?;
    let asked: Vec<Asked<Vec<Result<(), Reason>>>> =
        hosts.iter().map(|host| of_host(host, facts, now)).collect();
    let mut outlook = Outlook::default();
    for one in asked {
        for found in one? {
            match found {
                Ok(()) => {}
                Err(Reason::Refused(why)) => outlook.refused.push(why),
                Err(Reason::Unknown(why)) => outlook.unknown.push(why),
            }
        }
    }
    Ok(outlook)
}

/// Why it is not certain that mail would be delivered.
enum Reason {
    Refused(String),
    Unknown(String),
}

fn of_host(host: &Host, facts: &Facts, now: OffsetDateTime) -> Asked<Vec<Result<(), Reason>>> {
    if host.addresses.is_empty() {
        return Ok(vec![Err(Reason::Unknown(format!(
            "{} has no address",
            host.name
        )))]);
    }
    let addresses = host.addresses.iter().take(MAX_ADDRESSES);
    let asked: Vec<Asked<Result<(), Reason>>> = addresses
        .map(|address| {
            let address = SocketAddr::new(*address, SMTP);
            let at = format!("{} ({})", host.name, address.ip());
            Ok(match facts.get(&Question::Chain(host.name.clone(), address))? {
                Answer::Chain(served) => match why_not(served, &host.name, now) {
                    None => Ok(()),
                    Some(why) => Err(Reason::Refused(format!("{at}: {why}"))),
                },
                Answer::Unreached(why) => Err(Reason::Unknown(format!("{at}: {why}"))),
                _ => Ok(()),
            })
        })
        .collect();
    asked.into_iter().collect()
}

/// Returns why a sender would not deliver to a host that serves this; `None` when it would.
fn why_not(served: &Served, host: &str, now: OffsetDateTime) -> Option<String> {
    let leaf = served.chain.first().map(|der| Certificate::from_der(der));
    let Some(Ok(leaf)) = leaf else {
        return Some("the certificate cannot be read".to_owned());
    };
    match leaf.validity_at(now) {
        Validity::Valid => {}
        _ => return Some("the certificate is not valid now".to_owned()),
    }
    if !host.parse::<DomainName>().is_ok_and(|host| leaf.covers(&host)) {
        return Some(format!("the certificate is not for {host}"));
    }
    served.distrust.clone()
}
