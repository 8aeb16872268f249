//! The submission services of master.cf against what they should be: switched on, put in, completed. Pure.
//!
//! A service in force keeps what its users may lean on; a service that is new gets everything. Other services, comments and
//! spacing stay byte for byte.
//!
//! Rules: master(5); RFC 6409; RFC 8314.

mod completion;

use self::completion::Completion;
use super::{
    desired::submission::{Manner, Port, Service as Wanted},
    endpoints::{Host, split_service},
    syntax::{MasterCf, Service},
    values::Values,
};

/// Words that hold a sender against the login (postconf(5), smtpd_sender_restrictions).
pub const SENDER_CHECKS: [&str; 3] = [
    "reject_sender_login_mismatch",
    "reject_authenticated_sender_login_mismatch",
    "reject_known_sender_login_mismatch",
];

/// What a completion did, and what it left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Why, a line each.
    pub reasons: Vec<String>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// Returns the number of an `inet` service's port.
pub fn port_of(service: &Service, values: &Values, host: &Host) -> Option<u16> {
    let (_, port) = split_service(&service.name);
    let known = values.get("known_tcp_ports");
    (service.kind == "inet").then(|| host.ports.number(port, known))?
}

/// Splits a list of main.cf or master.cf.
pub fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// Returns whether tables are those of aliases(5): they map names to recipients, not addresses to logins.
pub fn is_alias_map(tables: &str, values: &Values) -> bool {
    let alias_maps = values.get("alias_maps").to_owned();
    let is_alias = |word: &str| {
        word.ends_with("/aliases") || words(&alias_maps).any(|known| known == word && known.contains(':'))
    };
    words(tables).any(is_alias)
}

/// The value of a parameter for a service, as it sees it.
pub fn effective(service: &Service, name: &str, values: &Values) -> String {
    match service.overridden(name) {
        Some(raw) => values.expand(&String::from_utf8_lossy(raw)),
        None => values.get(name).to_owned(),
    }
}

/// Makes master.cf have these services. `values`: main.cf's, as they will be.
pub fn complete(file: &mut MasterCf, wanted: &[Wanted], values: &Values, host: &Host) -> Completed {
    let mut completed = Completed::default();
    for one in wanted {
        let places = places(file, one, values, host, &mut completed.notes);
        let Some(places) = places else { continue };
        for place in places {
            Completion {
                file,
                values,
                is_new: place.is_new,
                index: place.index,
                completed: &mut completed,
            }
            .run(one);
        }
    }
    completed
}

/// Where a service is.
struct Place {
    index: usize,
    is_new: bool,
}

/// Finds the services of a port, or makes them; `None` when the port is somebody else's.
fn places(
    file: &mut MasterCf,
    wanted: &Wanted,
    values: &Values,
    host: &Host,
    notes: &mut Vec<String>,
) -> Option<Vec<Place>> {
    let services = file.services();
    let port = wanted.port;
    let number = port.number();
    let on_port = |service: &Service| port_of(service, values, host) == Some(number);
    let mut places: Vec<Place> = Vec::new();
    let mut taken = Vec::new();
    for (index, service) in services.iter().enumerate().filter(|(_, one)| on_port(one)) {
        if service.command != "smtpd" {
            notes.push(format!(
                "{}: port {number} is served by {}; it is left alone, and so is the port",
                service.label(),
                service.command
            ));
            return None;
        }
        if let Some(word) = service.unread() {
            notes.push(format!(
                "{}: Postfix does not read its options from `{word}` on: a value with blanks needs braces, as in \
                 -o {{ name = value }} (master(5)); it is left alone until that is mended",
                service.label()
            ));
            return None;
        }
        let (address, _) = split_service(&service.name);
        // Of services with the same name, Postfix takes the last.
        if let Some(at) = taken.iter().position(|known| *known == address) {
            notes.push(format!(
                "{} stands more than once for port {number}; Postfix takes one of them, so take the others out",
                service.label()
            ));
            if let Some(place) = places.get_mut(at) {
                place.index = index;
            }
            continue;
        }
        taken.push(address);
        places.push(Place { index, is_new: false });
    }
    if !places.is_empty() {
        return Some(places);
    }
    let is_mail = |service: &&Service| {
        port_of(service, values, host) == Some(25)
            && matches!(service.command.as_str(), "smtpd" | "postscreen")
    };
    let addresses: Vec<String> = services
        .iter()
        .filter(is_mail)
        .filter_map(|service| split_service(&service.name).0.map(str::to_owned))
        .collect();
    if addresses.is_empty()
        && let Some(template) = file.templates().into_iter().find(|template| {
            template.service.command == "smtpd"
                && split_service(&template.service.name).0.is_none()
                && on_port(&template.service)
        })
    {
        let index = file.uncomment(&template, |found| {
            let value = String::from_utf8_lossy(&found.value);
            wanted.overrides.iter().any(|one| {
                let is_ours = one.name == found.name && is_same(&one.value, &value);
                is_ours
                    && !matches!(
                        one.manner,
                        Manner::Authentication | Manner::IfLeaks | Manner::LoginMaps
                    )
            })
        });
        return Some(vec![Place { index, is_new: true }]);
    }
    let known = values.get("known_tcp_ports");
    let port_name = if host.ports.knows(port.name(), known) {
        port.name().to_owned()
    } else {
        number.to_string()
    };
    let names = match addresses.as_slice() {
        [] => vec![port_name],
        addresses => addresses
            .iter()
            .map(|address| format!("{address}:{port_name}"))
            .collect(),
    };
    // The distribution decides whether its daemons are chrooted.
    let chroot = services
        .iter()
        .find(|service| service.command == "smtpd")
        .map_or("n", |service| service.chroot.as_str());
    let mut after = services
        .iter()
        .rposition(|service| is_mail(&service) || Port::of(port_of(service, values, host)).is_some());
    let mut made = Vec::new();
    for name in names {
        let line = format!("{name:<9} inet  n       -       {chroot}       -       -       smtpd");
        let index = file.insert_service(after, &line);
        after = Some(index);
        made.push(Place { index, is_new: true });
    }
    Some(made)
}

/// Returns whether two values say the same, whatever stands between their words.
fn is_same(one: &str, other: &str) -> bool {
    words(one).eq(words(other))
}

#[cfg(test)]
mod tests;
