//! `check tls`: asks every port that speaks TLS what it serves, and for the names of the SNI map.

use std::collections::{HashMap, HashSet};

use super::roots;
use crate::{
    commands::{
        Context, dovecot, mail,
        sni::{self, Extent},
    },
    error::{Error, Result},
    model::{
        authority,
        certificate::Sha256,
        endpoint::{Asked, Endpoint},
        finding::{Finding, Severity},
    },
    probe::{Client, Dialogue, Outcome, Sighting, Stage, Target, check as tls_check, trust::Roots},
};

/// What a person who watches is told.
const STEP: &str = "asking every port which certificate it serves";

/// How many names are asked for before the answers are condensed: a chain of each is held until then.
const AT_ONCE: usize = 512;

/// Asks every port that speaks TLS what it serves to everybody, and what to those who ask for a name of the SNI map.
///
/// # Errors
/// When a client cannot be made, or this host's roots cannot be read.
pub(super) fn findings(context: &Context<'_>, extent: Extent) -> Result<Vec<Finding>> {
    let server = match mail::inspect(context) {
        Ok(server) => server,
        Err(error) => {
            let evidence = std::iter::once(error.message)
                .chain(error.causes)
                .collect::<Vec<_>>()
                .join(": ");
            return Ok(vec![
                no_endpoints(context, Severity::Error, &evidence).remedy(error.remedies.join("\n")),
            ]);
        }
    };
    // What is wrong with its configuration, `check dovecot` says.
    let dovecot = dovecot::inspect(context).ok().flatten();
    let roots = roots(context)?;
    let host = &context.config.host.name;
    let client =
        Client::new(host.clone()).map_err(|error| Error::failed("ports cannot be asked").cause(error))?;
    context.wait(async {
        let certificates = sni::asked_for(context, extent);
        let expected = mail::expected(context, server.as_ref(), &[], &certificates).await;
        let mut endpoints = server.as_ref().map(mail::endpoints).unwrap_or_default();
        endpoints.extend(dovecot.iter().flat_map(dovecot::endpoints));
        let (by_default, named): (Vec<&Asked>, Vec<&Asked>) =
            expected.keys().partition(|asked| asked.server_name.is_none());
        endpoints.extend(by_default.into_iter().map(|asked| asked.endpoint.clone()));
        endpoints.sort();
        endpoints.dedup();
        if endpoints.is_empty() {
            let found = no_endpoints(context, Severity::Warning, "no port of this host speaks TLS");
            return Ok(vec![found.remedy("`mailcert apply postfix` switches TLS on")]);
        }
        let mut targets = Vec::new();
        for endpoint in &endpoints {
            targets.extend(Target::resolve(endpoint, Some(host)).await);
        }
        let mut judge = Judge {
            context,
            roots: roots.as_ref(),
            leaves: HashMap::new(),
        };
        let tally = context.progress.tally(STEP, targets.len() + named.len());
        let sightings = client.ask_many(&targets, Dialogue::Greet, &tally).await;
        let mut findings = Vec::new();
        for sighting in &sightings {
            let asked = sighting.asked().into();
            findings.extend(judge.findings(sighting, &asked, expected.get(&asked)));
        }
        // Ten thousand times that nobody answers would tell nothing more.
        let silent: HashSet<Endpoint> = sightings
            .iter()
            .filter(|one| is_silent(one))
            .map(Sighting::asked)
            .collect();
        let (silent, named): (Vec<&Asked>, Vec<&Asked>) = named
            .into_iter()
            .partition(|asked| silent.contains(&asked.endpoint));
        for chunk in named.chunks(AT_ONCE) {
            // Endpoints of the map are addresses already: one target each.
            let mut targets = Vec::new();
            for asked in chunk {
                targets.extend(Target::resolve(&asked.endpoint, asked.server_name.as_ref()).await);
            }
            let sightings = client.ask_many(&targets, Dialogue::Greet, &tally).await;
            for (sighting, asked) in sightings.iter().zip(chunk) {
                let mut found = judge.findings(sighting, asked, expected.get(asked));
                // What is right is told once for all of them.
                found.retain(|finding| finding.severity > Severity::Ok);
                for finding in &mut found {
                    finding.subject = asked.to_string();
                }
                findings.extend(found);
            }
        }
        findings.extend(sni::told_once(context, &certificates, &named, &silent));
        Ok(findings)
    })?
}

fn no_endpoints(context: &Context<'_>, severity: Severity, evidence: &str) -> Finding {
    Finding::new(
        severity,
        "tls.no-endpoints",
        context.config.host.name.to_string(),
        evidence,
    )
}

/// Returns whether a port did not even take the connection.
fn is_silent(sighting: &Sighting) -> bool {
    matches!(
        sighting.outcome,
        Outcome::NotTls {
            stage: Stage::Resolve | Stage::Connect,
            ..
        }
    )
}

/// What answers are held against.
struct Judge<'c, 'e> {
    context: &'c Context<'e>,
    roots: Option<&'c Roots>,
    /// The leaf in use of each lineage that was looked up: every port is asked for each.
    leaves: HashMap<String, Option<Sha256>>,
}

impl Judge<'_, '_> {
    fn findings(&mut self, sighting: &Sighting, asked: &Asked, lineage: Option<&String>) -> Vec<Finding> {
        let context = self.context;
        let lineage = lineage.and_then(|lineage| {
            let leaf = match self.leaves.get(lineage) {
                Some(known) => *known,
                None => {
                    let record = context.load(lineage).ok();
                    let live = record.as_ref().and_then(|record| record.live());
                    let leaf = live.and_then(|live| live.leaf_sha256.parse().ok());
                    self.leaves.insert(lineage.clone(), leaf);
                    leaf
                }
            };
            Some((lineage.as_str(), leaf?))
        });
        let expected = tls_check::Expected {
            name: asked.server_name.as_ref().or(Some(&context.config.host.name)),
            lineage,
            roots: self.roots,
            now: context.now(),
        };
        let is_ours = lineage.is_some_and(|(_, leaf)| sighting.leaf() == Some(leaf));
        let found = tls_check::findings(sighting, &expected).into_iter();
        found
            .map(|finding| match is_ours {
                true => own_ca(context, finding),
                false => finding,
            })
            .collect()
    }
}

/// A CA that only the operator knows, or one for tests, is not in this host's roots: whether clients trust it is not for
/// us to see, so that is a warning.
fn own_ca(context: &Context<'_>, finding: Finding) -> Finding {
    let is_trust = matches!(finding.id, "tls.untrusted" | "tls.incomplete-chain");
    let public = context
        .config
        .acme
        .as_ref()
        .and_then(|acme| authority::by_directory(&acme.directory));
    let own = context
        .config
        .acme
        .as_ref()
        .is_some_and(|acme| public.is_none() && acme.root_ca_file.is_some());
    if !(is_trust && own) {
        return finding;
    }
    let remedy = "make sure that clients have the root of this private CA (acme.directory is no public one)"
        .to_owned();
    Finding {
        severity: Severity::Warning,
        remedy,
        ..finding
    }
}
