//! `probe`: one TLS or STARTTLS handshake with each address of a host, told in full. Needs no configuration.

use std::path::PathBuf;

use serde::Serialize;

use super::new_runtime;
pub use crate::probe::report::Report;
use crate::{
    dns::{
        resolver::Resolver,
        tlsa::{self, Leaf, Tlsa},
    },
    env::{Env, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        certificate::{Certificate, Sha256},
        endpoint::Endpoint,
        name::DomainName,
    },
    probe::{Client, Dialogue, Outcome, Sighting, Target, load_roots, report},
};

/// What is asked.
#[derive(Debug)]
pub struct Request {
    /// `HOST`, `HOST:PORT`, or an endpoint with its scheme.
    pub target: String,
    /// The name to ask for and to judge by.
    pub name: Option<DomainName>,
    /// Roots to judge by instead of the system's.
    pub root_ca_file: Option<PathBuf>,
}

/// What every address showed.
#[derive(Debug, Serialize)]
pub struct Probed {
    /// One for each address.
    pub reports: Vec<Report>,
    /// What the DNS says about the certificate.
    pub dane: Dane,
}

/// What the DNS says about the certificate of a port (RFC 7672).
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dane {
    /// The TLSA records of the name and port.
    Records(Vec<DaneRecord>),
    /// There is no name to ask for.
    Unasked,
    /// Nobody could tell, and why.
    Unknown(String),
}

/// A TLSA record, and which of the leaves seen it matches.
#[derive(Debug, Serialize)]
pub struct DaneRecord {
    /// Its data in master-file form.
    pub record: String,
    /// SHA-256 digests of leaves that it matches.
    pub matches: Vec<Sha256>,
}

impl Probed {
    /// Returns 1 when an address completed no handshake.
    pub fn exit_code(&self) -> ExitCode {
        if self.reports.iter().all(|report| report.tls.is_some()) {
            ExitCode::Done
        } else {
            ExitCode::Failed
        }
    }
}

/// Asks every address of the host once.
///
/// # Errors
/// Exit 2 when the target is none; exit 1 when the roots cannot be read.
pub fn run(env: &Env, progress: &Progress, request: &Request) -> Result<Probed> {
    let endpoint: Endpoint = report::endpoint_of(&request.target).map_err(|error| {
        Error::usage("there is nothing to probe")
            .cause(error)
            .remedy("write it as HOST or HOST:PORT")
    })?;
    let name = request
        .name
        .clone()
        .or_else(|| endpoint.host.parse::<DomainName>().ok());
    let roots = match &request.root_ca_file {
        Some(path) => Some(
            load_roots(env, Some(path))
                .map_err(|error| Error::usage("--root-ca-file cannot be used").cause(error))?,
        ),
        // Without a list of roots the handshake is told all the same; who vouches for it stays open.
        None => load_roots(env, None).ok(),
    };
    let own = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    let own = own.and_then(|name| name.parse::<DomainName>().ok());
    let Some(own) = own.or_else(|| "localhost".parse().ok()) else {
        return Err(Error::failed("this host has no name to say EHLO with"));
    };
    let client = Client::new(own).map_err(|error| Error::failed("ports cannot be asked").cause(error))?;
    progress.step(&format!("asking {endpoint}"));
    let resolver = Resolver::system(env);
    let (sightings, tlsa) = new_runtime()?.block_on(async {
        let targets = Target::resolve(&endpoint, name.as_ref()).await;
        let lookup = async {
            match &name {
                Some(name) => Some(tlsa::look_up(&resolver, name, endpoint.port).await),
                None => None,
            }
        };
        tokio::join!(client.ask_all(&targets, Dialogue::Greet), lookup)
    });
    let reports = sightings
        .iter()
        .map(|seen| Report::new(seen, name.as_ref(), roots.as_ref(), env.clock.now()))
        .collect();
    let dane = match tlsa {
        None => Dane::Unasked,
        Some(Err(error)) => Dane::Unknown(error.to_string()),
        Some(Ok(records)) => Dane::Records(
            records
                .iter()
                .map(|record| dane_record(record, &sightings))
                .collect(),
        ),
    };
    Ok(Probed { reports, dane })
}

fn dane_record(record: &Tlsa, sightings: &[Sighting]) -> DaneRecord {
    let mut matches: Vec<Sha256> = Vec::new();
    for sighting in sightings {
        let Outcome::Tls(handshake) = &sighting.outcome else {
            continue;
        };
        let Some(leaf) = handshake
            .chain
            .first()
            .and_then(|der| Certificate::from_der(der).ok())
        else {
            continue;
        };
        if record.matches(Leaf {
            certificate: Some(&leaf.der),
            spki: &leaf.spki_der,
        }) && !matches.contains(&leaf.sha256)
        {
            matches.push(leaf.sha256);
        }
    }
    DaneRecord {
        record: record.to_string(),
        matches,
    }
}
