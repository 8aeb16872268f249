//! The SNI map as commands use it: what belongs in it, whether it is behind, and making it anew.
//!
//! The live links say which generation serves, so the map is made after they were swapped, once for a run, however many
//! certificates changed. Its source names the generations; a record is not needed to see that it is behind.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write as _,
};

use super::Context;
use crate::{
    config::Certificate,
    error::{Error, Result},
    model::{
        endpoint::Asked,
        finding::{Finding, Severity},
        name::{DomainName, Identifier},
        plan::SniMapChange,
    },
    postfix::{
        inspect::Instance,
        sni::{self, Entry, Held},
        sni_map::{self, Copied, MapError, SniMap},
    },
    store::layout::file,
};

/// How many lineages `check` asks for on the wire, when not all are wanted.
const SAMPLE: usize = 200;

/// Which names of the map are asked for on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every one, however long that takes.
    Every,
    /// Those of some lineages, when there are very many.
    Some,
}

/// What stands for any name below a wildcard, when it is asked on the wire.
const PROBE_LABEL: &str = "mailcert-probe";

/// Returns the certificates that go into the map.
pub fn certificates<'a>(context: &'a Context<'_>) -> impl Iterator<Item = &'a Certificate> {
    context.config.certificates.iter().filter(|one| one.sni)
}

/// Returns whether the map is to be named in main.cf: some lineage of it has a certificate, or will have by then.
pub fn is_wanted(context: &Context<'_>, coming: &HashSet<&str>) -> bool {
    certificates(context)
        .any(|one| coming.contains(one.name.as_str()) || context.store.live_points_at(&one.name).is_some())
}

/// Returns what belongs in the map now, in the order of the configuration. Lineages without a certificate are left out:
/// their names get the default one.
fn entries<'a>(context: &'a Context<'_>) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    for certificate in certificates(context) {
        let Some(generation) = context.store.live_points_at(&certificate.name) else {
            continue;
        };
        let file = context
            .store
            .layout()
            .live(&certificate.name)
            .join(file::COMBINED);
        // One lineage whose files were lost must not keep the others out.
        if file.is_file() {
            entries.extend(certificate.identifiers.iter().map(|identifier| Entry {
                identifier,
                lineage: &certificate.name,
                generation,
                file: file.clone(),
            }));
        }
    }
    entries
}

/// Returns what the map in use was made for; `None` when there is none, or it cannot be read.
fn held(context: &Context<'_>) -> Option<BTreeMap<String, Held>> {
    let path = context.store.layout().sni_map();
    let source = sni_map::read_source(&path).ok()??;
    sni::known_types()
        .filter_map(|kind| sni::compiled(kind, &path))
        .any(|compiled| compiled.is_file())
        .then(|| sni::read(&source))
}

/// Returns the lineages whose generation in use is not the one that the map holds.
pub fn behind(context: &Context<'_>) -> HashSet<String> {
    if !context.config.postfix.manage || certificates(context).next().is_none() {
        return HashSet::new();
    }
    let held = held(context).unwrap_or_default();
    entries(context)
        .iter()
        .filter(|entry| !is_held(&held, entry))
        .map(|entry| entry.lineage.to_owned())
        .collect()
}

fn is_held(held: &BTreeMap<String, Held>, entry: &Entry<'_>) -> bool {
    let found = held.get(&sni::key(entry.identifier));
    found.is_some_and(|found| found.lineage == entry.lineage && found.generation == entry.generation)
}

/// Plans the map: the names that would be added to it, made anew, or taken out.
///
/// `coming`: lineages that will have a new certificate by the time the map is made.
pub fn plan(context: &Context<'_>, coming: &HashSet<&str>) -> Option<SniMapChange> {
    let mut gone = held(context);
    if gone.is_none() && !is_wanted(context, coming) {
        return None;
    }
    let mut left = gone.take().unwrap_or_default();
    let held = left.clone();
    let mut change = SniMapChange {
        path: context.store.layout().sni_map(),
        add: Vec::new(),
        renew: Vec::new(),
        remove: Vec::new(),
        reason: "the map holds copies of keys and chains (postconf(5), tls_server_sni_maps)".to_owned(),
    };
    let mut put = |key: String, is_held: bool| {
        let known = left.remove(&key).is_some();
        match (known, is_held) {
            (_, true) => {}
            (true, false) => change.renew.push(key),
            (false, false) => change.add.push(key),
        }
    };
    for entry in entries(context)
        .iter()
        .filter(|entry| !coming.contains(entry.lineage))
    {
        put(sni::key(entry.identifier), is_held(&held, entry));
    }
    for certificate in certificates(context).filter(|one| coming.contains(one.name.as_str())) {
        for identifier in &certificate.identifiers {
            put(sni::key(identifier), false);
        }
    }
    change.remove.extend(left.into_keys());
    (!change.is_empty()).then_some(change)
}

/// Makes the map anew from what serves now, and has it read back. Nothing to do where no certificate goes into it.
///
/// # Errors
/// When it cannot be made; the map in use stays.
pub fn rebuild(context: &Context<'_>, server: &Instance) -> Result<()> {
    let path = context.store.layout().sni_map();
    if certificates(context).next().is_none() && !path.exists() {
        return Ok(());
    }
    context.progress.step("making the SNI map");
    let entries = entries(context);
    let text = sni::source(&entries);
    let wanted = copied(entries);
    for kind in types(context, server) {
        let map = SniMap {
            config_directory: &server.directory,
            kind: &kind,
            source: &path,
        };
        map.build(context.env, &text, &wanted)
            .map_err(|error| failure(&error))?;
    }
    Ok(())
}

/// Returns the types to make: the one that main.cf names, and the one that it will name.
fn types(context: &Context<'_>, server: &Instance) -> Vec<String> {
    let path = context.store.layout().sni_map();
    let default = server.values.get("default_database_type");
    let named = sni::named_type(server.values.get("tls_server_sni_maps"), &path);
    let mut types = vec![default.to_owned()];
    types.extend(named.filter(|named| *named != default).map(str::to_owned));
    types
}

fn copied(entries: Vec<Entry<'_>>) -> Vec<Copied> {
    entries
        .into_iter()
        .map(|entry| (sni::key(entry.identifier), entry.file))
        .collect()
}

fn failure(error: &MapError) -> Error {
    let told = Error::failed("the SNI map could not be made; the one in use stays").cause(error);
    match error {
        MapError::NotInstalled(_) => told.remedy("install Postfix's own tools: postmap(1)"),
        MapError::Type(_) => told.remedy("set default_database_type to one that `postconf -m` lists"),
        MapError::Refused(_) => told.remedy("mend what postmap says; `mailcert deploy` then makes the map"),
        MapError::Differs { .. } => {
            told.remedy("look whether these files can be read, then `mailcert deploy`")
        }
        MapError::Exposed(..) | MapError::File(_) | MapError::Run(_) => told,
    }
}

/// Holds the map that main.cf names against the files, whole; nothing when main.cf names none of ours.
pub fn findings(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let path = context.store.layout().sni_map();
    let Some(kind) = sni::named_type(server.values.get("tls_server_sni_maps"), &path) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for file in [Some(path.clone()), sni::compiled(kind, &path)]
        .into_iter()
        .flatten()
    {
        let mode = sni_map::mode(&file);
        match mode {
            Ok(mode) if mode & 0o077 == 0 => {}
            Ok(mode) => findings.push(
                Finding::new(
                    Severity::Error,
                    "postfix.sni-exposed",
                    file.display().to_string(),
                    format!("others may read it (mode {mode:04o}), and the map holds private keys"),
                )
                .remedy(format!(
                    "`chmod 600 {}`; think about new keys: `mailcert renew --force`",
                    file.display()
                ))
                .reference("postmap(1), -F"),
            ),
            Err(error) => findings.push(
                Finding::new(
                    Severity::Error,
                    "postfix.sni-missing",
                    file.display().to_string(),
                    format!("main.cf names it, and it cannot be used: {error}"),
                )
                .remedy("`mailcert deploy` makes the map anew")
                .reference("postconf(5), tls_server_sni_maps"),
            ),
        }
    }
    if !findings.iter().any(|finding| finding.id == "postfix.sni-missing") {
        findings.extend(content_finding(context, server, kind));
    }
    findings
}

fn content_finding(context: &Context<'_>, server: &Instance, kind: &str) -> Option<Finding> {
    let path = context.store.layout().sni_map();
    let map = SniMap {
        config_directory: &server.directory,
        kind,
        source: &path,
    };
    let evidence = match map.differences(context.env, &copied(entries(context))) {
        Ok(keys) if keys.is_empty() => return None,
        Ok(keys) => format!(
            "it does not hold the key and chain in use of {}; clients that ask for them get another certificate",
            keys.join(", ")
        ),
        Err(error) => format!("it could not be read: {error}"),
    };
    Some(
        Finding::new(
            Severity::Error,
            "postfix.sni-stale",
            path.display().to_string(),
            evidence,
        )
        .remedy("`mailcert deploy` makes the map anew and reloads Postfix")
        .reference("postconf(5), tls_server_sni_maps"),
    )
}

/// Returns the certificates whose names `check` asks for on the wire: all of them, or some spread over the configuration
/// when there are very many. The content of the map is compared whole in either case.
pub fn asked_for<'a>(context: &'a Context<'_>, extent: Extent) -> Vec<&'a Certificate> {
    let all: Vec<&Certificate> = certificates(context)
        .filter(|one| context.store.live_points_at(&one.name).is_some())
        .collect();
    let step = match extent {
        Extent::Every => 1,
        Extent::Some => all.len().div_ceil(SAMPLE).max(1),
    };
    all.into_iter().step_by(step).collect()
}

/// Tells what was asked for, in one finding for all names.
///
/// `silent`: questions that were not put, since the port does not answer at all.
pub fn told_once(
    context: &Context<'_>,
    certificates_asked_for: &[&Certificate],
    asked: &[&Asked],
    silent: &[&Asked],
) -> Option<Finding> {
    let names = asked.iter().filter_map(|asked| asked.server_name.as_ref());
    let n_names = names.collect::<HashSet<_>>().len();
    let (n_asked, n_all) = (certificates_asked_for.len(), certificates(context).count());
    let mut evidence = format!("{n_names} names of the SNI map were asked for on every port that uses it");
    if n_asked < n_all {
        let _ = write!(
            evidence,
            "; {n_asked} of {n_all} lineages were asked for, the map itself is compared whole"
        );
    }
    if !silent.is_empty() {
        let ports: BTreeSet<String> = silent.iter().map(|asked| asked.endpoint.to_string()).collect();
        let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
        let _ = write!(
            evidence,
            "; no name was asked for on {ports}, which does not answer"
        );
    }
    let is_told = n_names > 0 || !silent.is_empty();
    is_told.then(|| {
        let subject = context.store.layout().sni_map().display().to_string();
        let remedy = match n_asked < n_all {
            true => "`mailcert check tls --every-name` asks for all of them",
            false => "",
        };
        Finding::new(Severity::Info, "tls.sni", subject, evidence).remedy(remedy)
    })
}

/// Returns whether a service looks names up in our map.
pub fn is_named(context: &Context<'_>, sni_maps: &str) -> bool {
    sni::named_type(sni_maps, &context.store.layout().sni_map()).is_some()
}

/// Returns the name to ask for on the wire, to see what serves an identifier.
pub fn asked_name(identifier: &Identifier) -> Option<DomainName> {
    let key = sni::key(identifier);
    match key.strip_prefix('.') {
        None => key.parse().ok(),
        Some(parent) => format!("{PROBE_LABEL}.{parent}").parse().ok(),
    }
}
