//! The table of clients that may relay by certificate: made of the certificates that the configuration names, compiled, read
//! back, kept up with them. It is derived from them: not journalled, and never undone.
//!
//! smtpd(8) looks at fingerprints alone. So what has expired is left out here, and the table is looked at by every `renew`.

use std::{collections::BTreeMap, path::Path};

use aws_lc_rs::digest;
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use super::{Context, trust_bundle};
use crate::{
    ca::{self, CaError, authority::Authority, profile::Profile},
    config::{RelayCa, RelayClient, RelayTable},
    env::files,
    error::{Error, Result},
    model::{
        certificate::{self, Certificate, Validity},
        finding::{Finding, Severity},
        plan::DerivedChange,
    },
    postfix::{
        desired::relay_clients::{Digest, Request, TABLES, Tables, finds_keys},
        inspect::{FILE_LIMIT, Instance},
        sender_map::{self, SenderMap, SenderMapError},
        sni,
        submission::words,
    },
    store::layout::PRIVATE,
};

/// No file with certificates is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// The table as it should be.
pub struct Wanted {
    /// What main.cf needs for it.
    pub request: Request,
    /// Who is not in it, and what else the operator should know.
    pub notes: Vec<String>,
    /// Each fingerprint with a name for people; `None` where there is no table of ours to make.
    entries: Option<BTreeMap<String, String>>,
    /// The types to make: what main.cf names, and what it will name.
    kinds: Vec<String>,
}

/// Returns what the configuration wants; reads certificates, but changes nothing.
///
/// # Errors
/// When a certificate cannot be read, or the installed Postfix cannot have the table.
pub fn wanted(context: &Context<'_>, server: &Instance) -> Result<Wanted> {
    let relay = &context.config.postfix.relay;
    let source = context.store.layout().relay_clients();
    let mut wanted = Wanted {
        request: Request {
            source: source.clone(),
            tables: None,
            ca_file: None,
        },
        notes: Vec::new(),
        // One that was made before is emptied.
        entries: source.exists().then(BTreeMap::new),
        kinds: kinds(server, &source),
    };
    if !relay.is_wanted() {
        return Ok(wanted);
    }
    wanted.request.ca_file = match &relay.ca {
        RelayCa::Ca if trust_bundle::private_roots(context)?.is_empty() => {
            wanted.notes.push(
                "relay_ca = \"ca\": there is no private CA on this host yet, so smtpd_tls_CAfile is left as it is: `mailcert ca \
                 init`, then `mailcert apply postfix`"
                    .to_owned(),
            );
            None
        }
        RelayCa::Ca => Some(ca::layout::Layout::new(&context.store.layout().ca()).root_certificate()),
        RelayCa::File(path) => {
            roots(path)?;
            Some(path.clone())
        }
        RelayCa::Keep => None,
    };
    match &relay.table {
        RelayTable::Own(tables) => {
            own(context, server, tables)?;
            wanted.request.tables = Some(Tables::Own(tables.clone()));
        }
        RelayTable::Generated => {
            let kind = server.values.get("default_database_type");
            if sni::compiled(kind, &source).is_none() {
                return Err(failed(&SenderMapError::Type(kind.to_owned())));
            }
            wanted.request.tables = Some(Tables::Ours(kind.to_owned()));
            wanted.entries = Some(entries(context, server, &mut wanted.notes)?);
        }
    }
    Ok(wanted)
}

/// Returns the types to make, that of new tables last: types may share a file.
fn kinds(server: &Instance, source: &Path) -> Vec<String> {
    let default = server.values.get("default_database_type");
    let named = sni::named_type(server.values.get(TABLES), source).filter(|named| *named != default);
    named.into_iter().chain([default]).map(str::to_owned).collect()
}

/// Makes sure that the file of `relay_ca` has CA certificates.
fn roots(path: &Path) -> Result<()> {
    let unusable = || {
        Error::failed("postfix.relay_ca cannot be used; nothing was changed")
            .remedy("name a PEM file with the CA certificates that the clients' were issued by")
    };
    let bytes = files::read(path, LIMIT).map_err(|error| unusable().cause(error))?;
    let certificates = certificate::certificates_from_pem(&bytes)
        .map_err(|error| unusable().cause(format!("{}: {error}", path.display())))?;
    if certificates.iter().any(|one| one.is_ca) {
        return Ok(());
    }
    Err(unusable().cause(format!("{} holds no CA certificate", path.display())))
}

/// Makes sure that postmap(1) can read the operator's tables.
fn own(context: &Context<'_>, server: &Instance, tables: &str) -> Result<()> {
    for table in words(tables) {
        sender_map::query(context.env, &server.directory, table, "mailcert\n").map_err(|error| {
            Error::failed(format!(
                "postfix.relay_clientcerts names `{table}`, which cannot be read"
            ))
            .cause(error)
            .remedy(format!(
                "see that it exists and was compiled by postmap(1); its type has to be one of: {}",
                server.table_types.join(", ")
            ))
        })?;
    }
    Ok(())
}

/// Returns the fingerprints of the clients that the configuration names.
fn entries(
    context: &Context<'_>,
    server: &Instance,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, String>> {
    let digest = Digest::of(&server.values);
    let mut entries = BTreeMap::new();
    for client in &context.config.postfix.relay.clients {
        match client {
            RelayClient::Fingerprint { sha256, name } => {
                if digest != Digest::Sha256 {
                    return Err(Error::failed(format!(
                        "postfix.relay_clients has a SHA-256 fingerprint, and smtpd_tls_fingerprint_digest is {}",
                        digest.name()
                    ))
                    .remedy("name the certificate's file instead, or set smtpd_tls_fingerprint_digest = sha256"));
                }
                entries.insert(printed(sha256.as_bytes()), named(name, "client"));
            }
            RelayClient::Ca => {
                let certified = certified(context, notes)?;
                entries.extend(certified.into_iter().map(|leaf| {
                    let name = name_of(&leaf);
                    (
                        fingerprint(digest, &looked_up(server, leaf)),
                        named(&name, "client"),
                    )
                }));
            }
            RelayClient::File(path) => {
                let file_name = path.file_name().unwrap_or_default().to_string_lossy();
                let found = keys(context, server, path, notes)?;
                entries.extend(
                    found
                        .into_iter()
                        .map(|(bytes, name)| (fingerprint(digest, &bytes), named(&name, &file_name))),
                );
            }
        }
    }
    Ok(entries)
}

/// Returns what a file is found by, each with a name: the public key of each certificate that is no CA's, or the public key
/// itself.
fn keys(
    context: &Context<'_>,
    server: &Instance,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<(Vec<u8>, String)>> {
    let unusable = || {
        Error::failed(format!(
            "postfix.relay_clients names {}, which cannot be used; nothing was changed",
            path.display()
        ))
    };
    // Whoever can write it can relay.
    let bytes = files::read_trusted(path, LIMIT).map_err(|error| unusable().cause(error))?;
    let public_keys: Vec<Vec<u8>> = SubjectPublicKeyInfoDer::pem_slice_iter(&bytes)
        .filter_map(Result::ok)
        .map(|key| key.to_vec())
        .collect();
    if !public_keys.is_empty() {
        if !finds_keys(server.version) {
            return Err(unusable().cause(format!(
                "Postfix {} finds clients by their certificates alone, 2.9 by their keys as well",
                server.version
            )));
        }
        return Ok(public_keys.into_iter().map(|der| (der, String::new())).collect());
    }
    let certificates = certificate::certificates_from_pem(&bytes).map_err(|error| {
        unusable()
            .cause(error)
            .remedy("name a PEM file with the client's certificate or its public key")
    })?;
    let leaves: Vec<Certificate> = certificates.into_iter().filter(|one| !one.is_ca).collect();
    if leaves.is_empty() {
        return Err(unusable().cause("it has CA certificates alone").remedy(
            "name the client's own certificate; smtpd_tls_CAfile, which `relay_ca` sets, lets nobody relay by itself",
        ));
    }
    let mut found = Vec::new();
    for leaf in leaves {
        let name = name_of(&leaf);
        if leaf.validity_at(context.now()) == Validity::Expired {
            notes.push(format!(
                "relay_clients: {name} of {} may not relay: its certificate expired on {}",
                path.display(),
                leaf.not_after.date()
            ));
            continue;
        }
        found.push((looked_up(server, leaf), name));
    }
    Ok(found)
}

/// Returns what smtpd(8) finds a certificate by: its key, so that a renewed certificate for the same key goes on relaying.
fn looked_up(server: &Instance, leaf: Certificate) -> Vec<u8> {
    match finds_keys(server.version) {
        true => leaf.spki_der,
        false => leaf.der,
    }
}

/// Returns the certificates that the private CA on this host has issued to clients alone, neither revoked nor expired. Those that
/// are for servers too are no clients': hosts get them for their ports, and relay only where they are named.
fn certified(context: &Context<'_>, notes: &mut Vec<String>) -> Result<Vec<Certificate>> {
    let failed = |error: CaError| {
        Error::failed("relay_clients has \"ca\", and the private CA cannot be read; nothing was changed")
            .cause(error)
    };
    let authority = match Authority::open(&context.store.layout().ca()) {
        Ok(authority) => authority,
        Err(CaError::Missing(_)) => {
            notes.push(
                "relay_clients: there is no private CA on this host yet, so nobody relays by it: `mailcert ca init`".to_owned(),
            );
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let ledger = authority.read_ledger().map_err(failed)?;
    let now = context.now();
    let good = ledger.issued.iter().filter(|issued| {
        issued.profile == Some(Profile::Client)
            && issued.not_after > now
            && !ledger.revoked.contains_key(&issued.serial)
    });
    let mut certificates = Vec::new();
    for issued in good {
        let path = authority.layout.issued();
        let pem =
            files::read_part(&path, issued.offset, issued.length).map_err(|error| failed(error.into()))?;
        let read = certificate::certificates_from_pem(&pem).map_err(|error| {
            failed(CaError::Damaged {
                path,
                reason: error.to_string(),
            })
        })?;
        certificates.extend(read);
    }
    Ok(certificates)
}

fn name_of(leaf: &Certificate) -> String {
    leaf.dns_names
        .first()
        .cloned()
        .unwrap_or_else(|| leaf.subject.clone())
}

/// Returns a fingerprint as smtpd(8) looks it up.
fn fingerprint(kind: Digest, bytes: &[u8]) -> String {
    let algorithm = match kind {
        Digest::Sha256 => &digest::SHA256,
        Digest::Sha384 => &digest::SHA384,
        Digest::Sha512 => &digest::SHA512,
    };
    printed(digest::digest(algorithm, bytes).as_ref())
}

fn printed(bytes: &[u8]) -> String {
    let octets: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    octets.join(":")
}

/// Returns a name that can stand in a table: one line, single blanks.
fn named(name: &str, otherwise: &str) -> String {
    let name = if name.is_empty() { otherwise } else { name };
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    if words.is_empty() {
        "client".to_owned()
    } else {
        words.join(" ")
    }
}

const HEADER: &str = "# Made by mailcert: who may relay by client certificate (postconf(5), relay_clientcerts).\n\
                      # An edit is lost: `relay_clients` of mailcert.toml says who is in it.\n";

impl Wanted {
    /// Returns the table as postmap(1) reads it.
    fn text(entries: &BTreeMap<String, String>) -> String {
        let lines = entries.iter().map(|(key, name)| format!("{key}  {name}\n"));
        std::iter::once(HEADER.to_owned()).chain(lines).collect()
    }

    /// Returns what is to be done about the table; `None` when it is as it should be.
    ///
    /// # Errors
    /// When the one in use cannot be read.
    pub fn change(&self) -> Result<Option<DerivedChange>> {
        let Some(entries) = &self.entries else {
            return Ok(None);
        };
        let path = &self.request.source;
        let before = files::read_if_exists(path, FILE_LIMIT)
            .map_err(|error| Error::failed("the table of relay clients cannot be read").cause(error))?;
        let is_compiled = self
            .kinds
            .iter()
            .filter_map(|kind| sni::compiled(kind, path))
            .all(|file| file.is_file());
        let text = Self::text(entries);
        if is_compiled && before.as_deref() == Some(text.as_bytes()) {
            return Ok(None);
        }
        let before = String::from_utf8_lossy(before.as_deref().unwrap_or_default()).into_owned();
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| match line.split_once("  ") {
                    Some((key, name)) => format!("{name}: {key}"),
                    None => line.to_owned(),
                })
                .collect()
        };
        let (old, new) = (lines(&before), lines(&text));
        Ok(Some(DerivedChange {
            what: "table of relay clients",
            path: path.clone(),
            add: new.iter().filter(|line| !old.contains(line)).cloned().collect(),
            remove: old.iter().filter(|line| !new.contains(line)).cloned().collect(),
            reason: "fingerprints of those that may relay by client certificate (postconf(5), relay_clientcerts)",
        }))
    }

    /// Makes the table, and has it read back.
    ///
    /// # Errors
    /// When it cannot be made; the one in use stays.
    pub fn make(&self, context: &Context<'_>, server: &Instance) -> Result<()> {
        let Some(entries) = &self.entries else {
            return Ok(());
        };
        let text = Self::text(entries);
        let source = &self.request.source;
        let file_failed =
            |error| Error::failed("the table of relay clients could not be written").cause(error);
        if let Some(directory) = source.parent() {
            files::make_directory(directory, PRIVATE).map_err(file_failed)?;
        }
        // The source first: Postfix warns of a table that is older than it.
        files::write_atomic(source, text.as_bytes(), files::Access::PUBLIC).map_err(file_failed)?;
        for kind in &self.kinds {
            let map = SenderMap {
                config_directory: &server.directory,
                kind,
                source,
            };
            map.build(context.env, &text).map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

fn failed(error: &SenderMapError) -> Error {
    Error::failed("the table of relay clients could not be made; what is in use stays")
        .cause(error)
        .remedy("mend what postmap says, or name a table of your own as postfix.relay_clientcerts")
}

/// Makes the table anew where it is behind: what a renewal looks after. Nothing where main.cf does not name it.
///
/// Returns what was changed, a line each.
///
/// # Errors
/// When a certificate cannot be read, or the table cannot be made.
pub fn refresh(context: &Context<'_>, server: &Instance) -> Result<Vec<String>> {
    let source = context.store.layout().relay_clients();
    if sni::named_type(server.values.get(TABLES), &source).is_none() {
        return Ok(Vec::new());
    }
    let wanted = wanted(context, server)?;
    let Some(change) = wanted.change()? else {
        return Ok(Vec::new());
    };
    wanted.make(context, server)?;
    let added = change.add.iter().map(|one| format!("may relay now: {one}"));
    let removed = change
        .remove
        .iter()
        .map(|one| format!("may relay no more: {one}"));
    Ok(added.chain(removed).collect())
}

/// Holds the table that main.cf names against what it should be.
pub fn findings(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let source = context.store.layout().relay_clients();
    if sni::named_type(server.values.get(TABLES), &source).is_none() {
        return Vec::new();
    }
    let stale = |evidence: String| {
        vec![
            Finding::new(
                Severity::Error,
                "postfix.relay-clients-stale",
                source.display().to_string(),
                evidence,
            )
            .remedy("`mailcert apply postfix` makes the table anew")
            .reference("postconf(5), relay_clientcerts"),
        ]
    };
    match wanted(context, server).and_then(|wanted| wanted.change()) {
        Ok(None) => Vec::new(),
        Ok(Some(change)) if change.add.is_empty() && change.remove.is_empty() => {
            stale("the compiled table is missing: smtpd cannot start with it".to_owned())
        }
        Ok(Some(change)) => stale(format!(
            "it is not as `relay_clients` wants it: {} missing, {} too many",
            change.add.len(),
            change.remove.len()
        )),
        Err(error) => stale(error.to_string()),
    }
}
