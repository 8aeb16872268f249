//! The certificate that this host shows as a client: a lineage, or files of the operator's that are looked at before main.cf names
//! them. smtp(8) has TLS off for a pair that does not fit, and Postfix's own judges never look at it.

use std::{collections::HashSet, path::Path};

use time::format_description::well_known::Rfc3339;

use super::Context;
use crate::{
    config::ClientCertificate,
    env::files,
    error::{Error, Result},
    model::{
        certificate::{self, Chain, Validity},
        key::PrivateKey,
    },
    postfix::{
        desired::client_certificate::{Files, notes},
        inspect::Instance,
    },
    store::layout::file,
};

/// No file with a key or a chain is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// What main.cf is to name, and what the operator should know besides.
#[derive(Default)]
pub struct Wanted {
    /// `None`: main.cf is left alone.
    pub files: Option<Files>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Returns what the configuration wants. `coming`: lineages that will have a certificate by the time the files are written.
///
/// # Errors
/// When the operator's files cannot be used.
pub fn wanted(context: &Context<'_>, server: &Instance, coming: &HashSet<&str>) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    match &context.config.postfix.client_certificate {
        None => return Ok(wanted),
        Some(ClientCertificate::Files { certificate, key }) => {
            let pair = pair(context, certificate, key)?;
            wanted
                .notes
                .extend(usage_note(&certificate.display().to_string(), &pair.leaf));
            wanted.files = Some(Files {
                chain: certificate.clone(),
                key: key.clone(),
                combined: pair.is_combined.then(|| certificate.clone()),
            });
        }
        Some(ClientCertificate::Lineage(name)) => {
            let live = context.store.layout().live(name);
            let is_there = context.store.live_points_at(name).is_some();
            if !is_there && !coming.contains(name.as_str()) {
                wanted.notes.push(format!(
                    "no client certificate is named: {name} has no certificate yet that could be shown"
                ));
                return Ok(wanted);
            }
            if let Some(chain) = in_use(context, name) {
                wanted.notes.extend(usage_note(name, &chain.leaf));
            }
            wanted.files = Some(Files {
                chain: live.join(file::FULLCHAIN),
                key: live.join(file::PRIVKEY),
                combined: Some(live.join(file::COMBINED)),
            });
        }
    }
    wanted.notes.extend(notes(&server.services));
    Ok(wanted)
}

/// Returns the chain of a lineage that is in use.
fn in_use(context: &Context<'_>, name: &str) -> Option<Chain> {
    let path = context.store.layout().live(name).join(file::FULLCHAIN);
    Chain::from_pem(&files::read_if_exists(&path, LIMIT).ok()??).ok()
}

/// Returns whether a certificate is for clients: what has no extended key usage is for everything (RFC 5280, 4.2.1.12).
pub fn is_for_clients(leaf: &certificate::Certificate) -> bool {
    let usages = &leaf.extended_key_usages;
    usages.is_empty()
        || usages
            .iter()
            .any(|usage| usage == "clientAuth" || usage == "anyExtendedKeyUsage")
}

fn usage_note(what: &str, leaf: &certificate::Certificate) -> Option<String> {
    (!is_for_clients(leaf)).then(|| {
        format!(
            "client_certificate: {what} is for {}, not for clients (clientAuth): a relay that verifies client certificates calls \
             it untrusted or refuses it; public CAs issue none for clients since 2026, a private CA does",
            leaf.extended_key_usages.join(", ")
        )
    })
}

/// A pair that fits.
struct Pair {
    leaf: certificate::Certificate,
    /// Whether the key stands before the certificate in the same file.
    is_combined: bool,
}

/// Reads the operator's files and judges them.
fn pair(context: &Context<'_>, certificate: &Path, key: &Path) -> Result<Pair> {
    let unusable = |path: &Path| {
        Error::failed(format!(
            "postfix.client_certificate cannot be used; nothing was changed: {}",
            path.display()
        ))
        .remedy("name the certificate with its intermediates and, as client_key, the key that it was made for, without a passphrase")
    };
    let read = |path: &Path| files::read(path, LIMIT).map_err(|error| unusable(path).cause(error));
    let chain_pem = read(certificate)?;
    let chain = Chain::from_pem(&chain_pem).map_err(|error| unusable(certificate).cause(error))?;
    let key_pem = if key == certificate {
        chain_pem.clone()
    } else {
        read(key)?
    };
    let private_key = PrivateKey::from_pem(&key_pem).map_err(|error| unusable(key).cause(error))?;
    if !chain.leaf.matches_key(&private_key.public_key_der()) {
        return Err(unusable(key).cause("the key does not belong to the certificate"));
    }
    let shown = |at: time::OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    match chain.leaf.validity_at(context.now()) {
        Validity::Expired => {
            return Err(unusable(certificate).cause(format!(
                "the certificate expired at {}",
                shown(chain.leaf.not_after)
            )));
        }
        Validity::NotYet => {
            return Err(unusable(certificate).cause(format!(
                "the certificate is valid only from {}",
                shown(chain.leaf.not_before)
            )));
        }
        Validity::Valid => {}
    }
    let text = String::from_utf8_lossy(&chain_pem);
    let is_combined = match (
        text.find("PRIVATE KEY-----"),
        text.find("-----BEGIN CERTIFICATE-----"),
    ) {
        (Some(key_at), Some(certificate_at)) => key == certificate && key_at < certificate_at,
        _ => false,
    };
    Ok(Pair {
        leaf: chain.leaf,
        is_combined,
    })
}
