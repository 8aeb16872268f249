//! Which endpoints no deployment has asked yet: added to a `verify` list, or switched on in Postfix or Dovecot.
//!
//! With `verify = "auto"` the server's own files are read in every run, and nobody is asked while they stay as they were when
//! all was proven. Only what a service serves to everybody is looked at: a lineage of the SNI map is asked for on a new
//! service with its own next deployment.

use std::net::IpAddr;

use aws_lc_rs::digest;

use crate::{
    commands::{Context, dovecot, hex, mail},
    config::{Certificate, Verify as Listed},
    env::files,
    model::{
        endpoint::Endpoint,
        lineage::{Deployment, Lineage, State, Verify},
    },
    postfix::inspect::FILE_LIMIT,
};

/// What the mail servers serve, where their files are not those of which all was proven.
#[derive(Debug)]
pub struct ChangedServices {
    /// Digest of the files.
    digest: String,
    /// The endpoints that speak TLS, each with the lineage that it serves.
    served: Vec<(Endpoint, String)>,
}

/// An endpoint that nobody has asked for a lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Where it was added.
    pub added_to: &'static str,
}

/// Returns the endpoints that are to serve this lineage and that no deployment of it has asked yet.
pub fn unproven(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> Vec<Unproven> {
    let Some(deployment) = &lineage.deployment else {
        return Vec::new();
    };
    if context.goal() != State::Verified {
        return Vec::new();
    }
    let as_added_to = |added_to| {
        move |endpoint: &Endpoint| Unproven {
            endpoint: endpoint.clone(),
            added_to,
        }
    };
    let is_default = || {
        let default = context.default_certificate();
        default.is_some_and(|default| default.name == certificate.name)
    };
    let is_new = |endpoint: &&Endpoint| !deployment.listed.contains(endpoint);
    let mut found: Vec<Unproven> = Vec::new();
    let served = context
        .changed_services()
        .map_or(&[][..], |changed| &changed.served);
    let unasked = served
        .iter()
        .filter(|(endpoint, name)| *name == certificate.name && !was_asked(deployment, endpoint));
    found.extend(unasked.map(|(endpoint, _)| {
        let place = match endpoint.scheme.is_for_reading() {
            true => "Dovecot's configuration",
            false => "master.cf",
        };
        as_added_to(place)(endpoint)
    }));
    if context.config.postfix.verify != Listed::Auto && (deployment.verify == Verify::On || is_default()) {
        let listed = listed_of_postfix(context).iter().filter(is_new);
        found.extend(listed.map(as_added_to("postfix.verify")));
    }
    let of_dovecot = context.config.dovecot.listed().iter().filter(is_new);
    if of_dovecot.clone().next().is_some() && is_default() {
        found.extend(of_dovecot.map(as_added_to("dovecot.verify")));
    }
    found
}

/// Returns the endpoints that the configuration lists.
pub(super) fn listed(context: &Context<'_>) -> Vec<Endpoint> {
    let of_dovecot = context.config.dovecot.listed();
    listed_of_postfix(context)
        .iter()
        .chain(of_dovecot)
        .cloned()
        .collect()
}

fn listed_of_postfix<'c>(context: &'c Context<'_>) -> &'c [Endpoint] {
    match &context.config.postfix.verify {
        Listed::Endpoints(endpoints) => endpoints,
        Listed::Auto => &[],
    }
}

/// Looks whether the servers' files are still those of which all was proven, and asks the servers what they serve where they are
/// not.
pub fn changed_services(context: &Context<'_>) -> Option<ChangedServices> {
    if context.goal() != State::Verified {
        return None;
    }
    let postfix = &context.config.postfix;
    let asks_postfix = postfix.manage && postfix.verify == Listed::Auto;
    let mut text = Vec::new();
    for name in ["main.cf", "master.cf"].iter().filter(|_| asks_postfix) {
        let path = postfix.config_directory.join(name);
        text.extend(files::read(&path, FILE_LIMIT).ok()?);
        text.push(0);
    }
    let asks_dovecot = context.config.dovecot.verify == Listed::Auto;
    if asks_dovecot {
        text.extend(dovecot::files(context).ok()?.unwrap_or_default());
    }
    if text.is_empty() {
        return None;
    }
    let digest = hex(digest::digest(&digest::SHA256, &text).as_ref());
    if context.store.proven_services().as_ref() == Some(&digest) {
        return None;
    }
    // What cannot be looked at says so where it is needed, and is looked at again by the next run.
    let server = mail::inspect(context).ok()?.filter(|_| asks_postfix);
    let dovecot = dovecot::inspect(context).ok().flatten().filter(|_| asks_dovecot);
    let mut served = server.map_or_else(Vec::new, |server| mail::served(context, &server));
    served.extend(
        dovecot
            .iter()
            .flat_map(|instance| dovecot::served(context, instance)),
    );
    Some(ChangedServices { digest, served })
}

/// Keeps that everything that is served now was asked, so that nobody is asked again until its files change.
pub fn keep_proven_services(context: &Context<'_>) {
    let Some(changed) = context.changed_services() else {
        return;
    };
    let is_proven = changed.served.iter().all(|(endpoint, name)| {
        // What is no lineage of ours, or was never put into service, is not to be asked.
        let Some(certificate) = context.find_certificate(name) else {
            return true;
        };
        let lineage = context.load(&certificate.name);
        lineage.is_ok_and(|lineage| {
            let deployment = lineage.deployment.as_ref();
            deployment.is_none_or(|deployment| was_asked(deployment, endpoint))
        })
    });
    if is_proven {
        context.store.note_proven_services(&changed.digest);
    }
}

fn was_asked(deployment: &Deployment, endpoint: &Endpoint) -> bool {
    let address = endpoint.host.parse::<IpAddr>();
    deployment.endpoints.iter().any(|served| {
        let is_there = match &address {
            Ok(address) => served.endpoint.host.parse() == Ok(*address),
            // A name was asked at its addresses.
            Err(_) => true,
        };
        served.server_name.is_none() && served.endpoint.port == endpoint.port && is_there
    })
}
