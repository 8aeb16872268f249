//! Whether Postfix's ports serve what the files hold: a process keeps what it read when it began.

use std::path::{Path, PathBuf};

use super::LIMIT;
use crate::{
    commands::Context,
    env::files,
    model::{
        certificate::{Sha256, certificates_from_pem},
        endpoint::Endpoint,
        finding::{Finding, Severity},
    },
    postfix::inspect::Instance,
    probe::{Client, Dialogue, Target},
};

/// Asks each port for what it serves to everybody. What does not answer, `check tls` tells.
pub(super) fn findings(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let held: Vec<(Endpoint, Vec<PathBuf>, Vec<Sha256>)> = server
        .tls_services()
        .services
        .into_iter()
        .map(|service| {
            let digests = service
                .certificate_files
                .iter()
                .flat_map(|file| certificates(file))
                .collect();
            (service.endpoint, service.certificate_files, digests)
        })
        .filter(|(.., digests): &(_, _, Vec<Sha256>)| !digests.is_empty())
        .collect();
    let Ok(client) = Client::new(context.config.host.name.clone()) else {
        return Vec::new();
    };
    let asked = context.wait(async {
        let (mut targets, mut places) = (Vec::new(), Vec::new());
        for (index, (endpoint, ..)) in held.iter().enumerate() {
            // No name is asked for: the SNI map has its own finding.
            for target in Target::resolve(endpoint, None).await {
                targets.push(target);
                places.push(index);
            }
        }
        (client.ask_all(&targets, Dialogue::Greet).await, places)
    });
    let Ok((sightings, places)) = asked else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (sighting, place) in sightings.iter().zip(places) {
        let Some((_, paths, digests)) = held.get(place) else {
            continue;
        };
        let Some(served) = sighting.leaf().filter(|served| !digests.contains(served)) else {
            continue;
        };
        let path = paths.iter().find(|path| !certificates(path).is_empty());
        findings.push(
            Finding::new(
                Severity::Warning,
                "postfix.not-reloaded",
                sighting.asked().to_string(),
                format!(
                    "it serves the certificate {served}, and {} holds another one: Postfix was not reloaded since; clients get now this \
                     one and now that one, until the processes that read the old one have ended",
                    path.map(|path| path.display().to_string()).unwrap_or_default()
                ),
            )
            .remedy("`postfix reload`, after every change of the files; mailcert does so for those that it renews")
            .reference("Postfix TLS_README"),
        );
    }
    findings
}

/// Returns the digests of what a file holds; none where it cannot be read.
fn certificates(file: &Path) -> Vec<Sha256> {
    let bytes = files::read(file, LIMIT).unwrap_or_default();
    let found = certificates_from_pem(&bytes).unwrap_or_default();
    found.into_iter().map(|one| one.sha256).collect()
}
