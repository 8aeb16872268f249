//! The roots that outgoing TLS trusts with `client_ca = "ca"`: the distribution's bundle and the private CA's root, in one file.
//! It is derived from them, and made anew when a package update or a new root changes one of them.

use std::collections::HashSet;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::Context;
use crate::{
    ca::{self, CaError},
    config::ClientCa,
    env::files,
    error::{Error, Result},
    model::{
        certificate::{Certificate, Sha256},
        finding::{Finding, Severity},
        plan::DerivedChange,
    },
    postfix::inspect::Instance,
    store::layout::WALKABLE,
};

/// No bundle of roots is larger, in bytes.
const LIMIT: u64 = 4 << 20;

/// The bundle as it should be.
pub struct Wanted {
    text: Option<String>,
    /// What is missing in it.
    pub notes: Vec<String>,
}

/// Returns the roots of the private CA; none where there is no CA on this host yet.
///
/// # Errors
/// When its file cannot be read.
pub fn private_roots(context: &Context<'_>) -> Result<Vec<Certificate>> {
    let layout = ca::layout::Layout::new(&context.store.layout().ca());
    match ca::root_certificates(&layout) {
        Ok(roots) => Ok(roots),
        Err(CaError::Missing(_)) => Ok(Vec::new()),
        Err(error) => Err(Error::failed("the root of the private CA cannot be read").cause(error)),
    }
}

/// Returns what the configuration wants; reads roots, but changes nothing.
///
/// # Errors
/// When they cannot be read.
pub fn wanted(context: &Context<'_>, server: &Instance) -> Result<Wanted> {
    let mut wanted = Wanted {
        text: None,
        notes: Vec::new(),
    };
    let Some(system) = server
        .system_bundles
        .first()
        .filter(|_| context.config.postfix.client_ca == ClientCa::Ca)
    else {
        return Ok(wanted);
    };
    let path = context.env.host_path(system);
    let failed = |error| Error::failed("the distribution's roots cannot be read").cause(error);
    let bytes = files::read(&path, LIMIT).map_err(failed)?;
    let private = private_roots(context)?;
    if private.is_empty() {
        wanted.notes.push(
            "client_ca = \"ca\": there is no private CA on this host yet, so only the distribution's roots are trusted; the \
             next `apply` or `renew` after `mailcert ca init` adds its root"
                .to_owned(),
        );
    }
    let mut text =
        format!("# Made by mailcert: the root of the private CA, and those of {system}. An edit is lost.\n");
    for root in &private {
        text.push_str(&format!("\n# {}\n{}", root.subject, root.to_pem()));
    }
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(&bytes));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    wanted.text = Some(text);
    Ok(wanted)
}

/// Returns each certificate of a bundle, in its order.
fn certificates(pem: &[u8]) -> Vec<(Sha256, String)> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(std::result::Result::ok)
        .map(|der| {
            let name = Certificate::from_der(&der).map_or_else(
                |_| "a certificate that cannot be read".to_owned(),
                |one| one.subject,
            );
            (Sha256::of(&der), name)
        })
        .collect()
}

impl Wanted {
    /// Returns what is to be done about the bundle; `None` when it is as it should be.
    ///
    /// # Errors
    /// When the one in use cannot be read.
    pub fn change(&self, context: &Context<'_>) -> Result<Option<DerivedChange>> {
        let Some(text) = &self.text else { return Ok(None) };
        let path = context.store.layout().trust_bundle();
        let before = files::read_if_exists(&path, LIMIT * 2)
            .map_err(|error| Error::failed("the bundle of roots cannot be read").cause(error))?
            .unwrap_or_default();
        if before == text.as_bytes() {
            return Ok(None);
        }
        let (old, new) = (certificates(&before), certificates(text.as_bytes()));
        let missing_in = |others: &[(Sha256, String)], these: &[(Sha256, String)]| -> Vec<String> {
            let others: HashSet<Sha256> = others.iter().map(|(digest, _)| *digest).collect();
            let missing = these.iter().filter(|(digest, _)| !others.contains(digest));
            missing.map(|(_, name)| name.clone()).collect()
        };
        Ok(Some(DerivedChange {
            what: "trusted roots",
            path,
            add: missing_in(&old, &new),
            remove: missing_in(&new, &old),
            reason: "the distribution's roots and that of the private CA (postconf(5), smtp_tls_CAfile)",
        }))
    }

    /// Writes the bundle; everybody may read it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(&self, context: &Context<'_>) -> Result<()> {
        let Some(text) = &self.text else { return Ok(()) };
        let path = context.store.layout().trust_bundle();
        let failed = |error| Error::failed("the bundle of roots could not be written").cause(error);
        files::make_directory(context.store.layout().root(), WALKABLE).map_err(failed)?;
        files::write_atomic(&path, text.as_bytes(), files::Access::PUBLIC).map_err(failed)
    }
}

/// Makes the bundle anew where it is behind and main.cf names it; returns what was changed, a line each. Processes of Postfix
/// read it when they start, and live for minutes.
///
/// # Errors
/// When roots cannot be read, or the bundle cannot be written.
pub fn refresh(context: &Context<'_>, server: &Instance) -> Result<Vec<String>> {
    let Some(change) = behind(context, server)? else {
        return Ok(Vec::new());
    };
    wanted(context, server)?.make(context)?;
    let added = change.add.iter().map(|one| format!("trusted from now on: {one}"));
    let removed = change.remove.iter().map(|one| format!("trusted no more: {one}"));
    Ok(added.chain(removed).collect())
}

/// Returns what the bundle that main.cf names lacks.
fn behind(context: &Context<'_>, server: &Instance) -> Result<Option<DerivedChange>> {
    let path = context.store.layout().trust_bundle();
    if server.values.get("smtp_tls_CAfile") != path.display().to_string() {
        return Ok(None);
    }
    wanted(context, server)?.change(context)
}

/// Holds the bundle that main.cf names against what it should be.
pub fn findings(context: &Context<'_>, server: &Instance) -> Option<Finding> {
    let evidence = match behind(context, server) {
        Ok(None) => return None,
        Ok(Some(change)) => format!(
            "{} roots are missing in it, {} are too many",
            change.add.len(),
            change.remove.len()
        ),
        Err(error) => error.to_string(),
    };
    let subject = context.store.layout().trust_bundle().display().to_string();
    Some(
        Finding::new(Severity::Warning, "postfix.trust-stale", subject, evidence)
            .remedy("`mailcert renew`, or `mailcert apply postfix`, makes it anew")
            .reference("postconf(5), smtp_tls_CAfile"),
    )
}
