//! `install`: puts a certificate into service that we did not order. From another client's directory here, from files that a
//! CA sent in [`sent`]. The files are left as they are.

pub mod sent;

use std::path::{Path, PathBuf};

use super::{
    Context, certificates, client_certificate, heal, order,
    outcome::{Action, Run},
    renew::{self, Configuration},
    tlsa,
};
use crate::{
    config::Certificate,
    env::files,
    error::{Error, Result},
    model::{
        certificate::{CertificateError, Chain, certificates_from_pem},
        key::PrivateKey,
        lineage::{Lineage, State},
    },
};

/// No key or chain is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// Installs, deploys and verifies what another client left in a directory.
///
/// The first certificate of a lineage makes Postfix name it, as `issue` does; later ones leave main.cf alone.
///
/// # Errors
/// When the files are missing or unsafe, do not belong together, have expired, or are for other names.
pub fn run(context: &Context<'_>, name: &str, directory: &Path) -> Result<Run> {
    let _lock = context.lock("install")?;
    let certificate = context.certificate(name)?;
    let refused = format!("{name} was not taken over from {}", directory.display());
    let (key_path, chain_path) =
        find(certificate, directory).ok_or_else(|| nothing_found(&refused, certificate))?;
    let read = |path: &Path| {
        files::read_trusted(path, LIMIT).map_err(|error| Error::failed(refused.clone()).cause(error))
    };
    let key = renew::readable_key(&read(&key_path)?, &key_path.display().to_string())?;
    let wrong = |path: &Path, error: CertificateError| {
        Error::failed(refused.clone()).cause(format!("{}: {error}", path.display()))
    };
    let mut chain = Chain::from_pem(&read(&chain_path)?).map_err(|error| wrong(&chain_path, error))?;
    // lego's --no-bundle keeps the rest of the chain in a file of its own.
    let issuers = chain_path.with_extension("issuer.crt");
    if chain.intermediates.is_empty() && issuers.is_file() {
        let others = certificates_from_pem(&read(&issuers)?).map_err(|error| wrong(&issuers, error))?;
        chain = Chain::of(chain.leaf, others);
    }
    judge(context, certificate, &chain, &key.public_key_der())
        .map_err(|reason| Error::failed(refused.clone()).cause(reason))?;
    let installed = Installed {
        certificate,
        chain: &chain,
        key: &key,
        refused: &refused,
        is_answer: false,
    };
    installed.put_into_service(context, |_| Ok(()))
}

/// A key and chain that belong together and are good for the lineage.
struct Installed<'a> {
    certificate: &'a Certificate,
    chain: &'a Chain,
    key: &'a PrivateKey,
    /// What is told when it is refused all the same.
    refused: &'a str,
    /// The key waited for it: then it is the newer one, though its CA may date it back.
    is_answer: bool,
}

impl Installed<'_> {
    /// Makes a generation of it, deploys and verifies it. `saved` is done once it is on disk and in the record, be it
    /// by an earlier run: nothing is lost from then on.
    fn put_into_service(
        &self,
        context: &Context<'_>,
        saved: impl FnOnce(&Context<'_>) -> Result<()>,
    ) -> Result<Run> {
        let Self {
            certificate,
            chain,
            key,
            refused,
            is_answer,
        } = *self;
        let name = &certificate.name;
        let mut lineage = heal::load(context, certificate)?;
        let generation = order::describe(chain, None);
        if let Some(live) = lineage.live() {
            if live.leaf_sha256 == generation.leaf_sha256 && is_on_disk(context, &lineage, chain) {
                let number = lineage.generation.unwrap_or(lineage.newest);
                saved(context)?;
                // The same certificate again: look whether it is served, as the other client's hook expects.
                let work = renew::deploying(certificate, lineage, number, Action::Deployed);
                return Ok(renew::carry_out(context, vec![work], Configuration::Leave));
            }
            if !is_answer && generation.not_before < live.not_before {
                return Err(Error::failed(refused)
                    .cause(format!(
                        "its certificate is older ({}) than the one in use ({})",
                        certificates::minute(generation.not_before),
                        certificates::minute(live.not_before)
                    ))
                    .remedy(format!(
                        "to go back on purpose: `mailcert deploy {name} --generation N`"
                    )));
            }
        }
        context.wait(tlsa::refuse_unpublished(context, certificate, chain))??;
        let first = lineage.newest_complete().is_none();
        let number = context.store.next_number(&lineage);
        let access = order::key_access(certificate)?;
        order::write_generation(context, name, number, chain, &key.to_pem(), access)?;
        lineage.newest = number;
        lineage.generations.insert(number, generation);
        lineage.renewal_info = None;
        lineage.state = State::Issued;
        lineage.forget_failures();
        context.save(&lineage)?;
        saved(context)?;
        let configuration = if first {
            Configuration::Write
        } else {
            Configuration::Leave
        };
        let work = renew::deploying(certificate, lineage, number, Action::Installed);
        Ok(renew::carry_out(context, vec![work], configuration))
    }
}

/// Returns whether the generation in use has this very chain: with the same leaf, an intermediate may have come since.
fn is_on_disk(context: &Context<'_>, lineage: &Lineage, chain: &Chain) -> bool {
    let number = lineage.generation.unwrap_or(lineage.newest);
    let there = context.store.load_fullchain(&lineage.name, number);
    there.is_ok_and(|there| there == chain.to_pem())
}

/// Finds key and full chain: as certbot's live directory has them, or as lego's `certificates` directory.
fn find(certificate: &Certificate, directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let both = |key: String, chain: String| {
        let (key, chain) = (directory.join(key), directory.join(chain));
        (key.is_file() && chain.is_file()).then_some((key, chain))
    };
    let first = certificate
        .identifiers
        .first()
        .map(|identifier| identifier.to_string().replace('*', "_"));
    let lego = |name: &str| both(format!("{name}.key"), format!("{name}.crt"));
    both("privkey.pem".to_owned(), "fullchain.pem".to_owned())
        .or_else(|| lego(&certificate.name))
        .or_else(|| lego(&first?))
}

fn nothing_found(refused: &str, certificate: &Certificate) -> Error {
    Error::failed(refused)
        .cause(format!(
            "there is neither privkey.pem and fullchain.pem (certbot) nor {0}.key and {0}.crt (lego) in it",
            certificate.name
        ))
        .remedy("name certbot's live directory of the lineage, or the directory with lego's files")
}

/// Returns why a chain cannot serve this lineage, or nothing.
pub(super) fn judge(
    context: &Context<'_>,
    certificate: &Certificate,
    chain: &Chain,
    spki: &[u8],
) -> Result<(), String> {
    let leaf = &chain.leaf;
    if !leaf.matches_key(spki) {
        return Err("the private key does not belong to the certificate".to_owned());
    }
    let now = context.now();
    if leaf.not_after <= now {
        return Err(format!("its certificate expired on {}", leaf.not_after.date()));
    }
    if leaf.not_before > now {
        return Err(format!("its certificate is valid only from {}", leaf.not_before));
    }
    let usages = &leaf.extended_key_usages;
    if context.config.is_for_clients_alone(&certificate.name) {
        if !client_certificate::is_for_clients(leaf) {
            return Err(format!(
                "its certificate is not for clients, as postfix.client_certificate wants it: its extended key usage is {}, and \
                 lacks clientAuth",
                usages.join(", ")
            ));
        }
    } else if !usages.is_empty()
        && !usages
            .iter()
            .any(|usage| usage == "serverAuth" || usage == "anyExtendedKeyUsage")
    {
        return Err(format!(
            "its certificate is not for servers: its extended key usage is {}, and lacks serverAuth",
            usages.join(", ")
        ));
    }
    if leaf.dns_names.is_empty() {
        return Err(format!(
            "its certificate has no name in subjectAltName, and clients look nowhere else; its subject is `{}`",
            leaf.subject
        ));
    }
    let missing: Vec<String> = certificate
        .identifiers
        .iter()
        .filter(|wanted| {
            !leaf
                .dns_names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&wanted.to_string()))
        })
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "its certificate is for {}, and lacks {}",
        leaf.dns_names.join(", "),
        missing.join(", ")
    ))
}
