//! What of another client's directory is taken over, and what it becomes in `mailcert.toml`. Pure.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::{
    config::{
        Config, ReuseKey,
        hook::Command,
        template::adopt::{Certificate, Hook},
        v1,
    },
    error::{Error, Result},
    model::{
        authority,
        certificate::{Chain, certificates_from_pem},
        key::{KeyType, PrivateKey},
        name::Identifier,
    },
    store::import::{Client, ForeignAccount, ForeignLineage, Found, Method, Server, tree::Tree},
};

/// A lineage whose files belong together.
pub struct Good {
    /// What its client says of it.
    pub foreign: ForeignLineage,
    /// Its names, the one that it is called by first.
    pub identifiers: Vec<Identifier>,
    /// Its key.
    pub key: PrivateKey,
    /// Its chain.
    pub chain: Chain,
}

/// Returns the lineages that are meant: those that were named, or all.
///
/// # Errors
/// Exit 2 for a name that the client does not have.
pub fn select<'a>(
    client: Client,
    place: &str,
    found: &'a Found,
    names: &[String],
) -> Result<Vec<&'a ForeignLineage>> {
    let known: Vec<&str> = found.lineages.iter().map(|one| one.name.as_str()).collect();
    if known.is_empty() {
        return Err(
            Error::failed(format!("{} keeps no certificate in {place}", client.name())).remedy(format!(
                "name its directory: `mailcert import {} DIR`",
                client.name()
            )),
        );
    }
    if names.is_empty() {
        return Ok(found.lineages.iter().collect());
    }
    let one = |name: &String| {
        let lineage = found.lineages.iter().find(|one| one.name == *name);
        lineage.ok_or_else(|| {
            Error::usage(format!(
                "{} has no lineage `{}` in {place}",
                client.name(),
                name.escape_debug()
            ))
            .cause(format!("it has: {}", known.join(", ")))
        })
    };
    names.iter().map(one).collect()
}

/// Reads a lineage's files and judges what needs no configuration.
///
/// # Errors
/// Why it cannot be taken over, as a sentence about it.
pub fn read(tree: &Tree, foreign: &ForeignLineage, now: OffsetDateTime) -> Result<Good, String> {
    if let Some(fault) = &foreign.fault {
        return Err(fault.clone());
    }
    v1::lineage_name(&foreign.name).map_err(|reason| format!("its name {reason}"))?;
    let at = |path: &str| tree.place(path).display().to_string();
    let key = PrivateKey::from_pem(tree.file(&foreign.key)?)
        .map_err(|error| format!("{}: {error}", at(&foreign.key)))?;
    if let KeyType::Rsa(bits) = key.key_type()
        && ![2048, 3072, 4096].contains(&bits)
    {
        return Err(format!(
            "{}: its key is RSA of {bits} bits; renew it there with 2048, 3072 or 4096, or with ECDSA",
            at(&foreign.key)
        ));
    }
    let mut chain = Chain::from_pem(tree.file(&foreign.chain)?)
        .map_err(|error| format!("{}: {error}", at(&foreign.chain)))?;
    if let Some(file) = foreign
        .issuers
        .as_ref()
        .filter(|_| chain.intermediates.is_empty())
    {
        let issuers =
            certificates_from_pem(tree.file(file)?).map_err(|error| format!("{}: {error}", at(file)))?;
        chain = Chain::of(chain.leaf, issuers);
    }
    if !chain.leaf.matches_key(&key.public_key_der()) {
        return Err("its private key does not belong to its certificate".to_owned());
    }
    if chain.leaf.not_after <= now {
        return Err(format!(
            "its certificate expired on {}: that client does not renew it any more",
            chain.leaf.not_after.date()
        ));
    }
    let mut identifiers: Vec<Identifier> = Vec::new();
    for name in &chain.leaf.dns_names {
        let identifier: Identifier = name
            .parse()
            .map_err(|error| format!("its name `{}`: {error}", name.escape_debug()))?;
        if !identifiers.contains(&identifier) {
            identifiers.push(identifier);
        }
    }
    if identifiers.is_empty() {
        return Err("its certificate has no name in subjectAltName".to_owned());
    }
    identifiers.sort_by_key(|one| one.lineage_name() != foreign.name);
    Ok(Good {
        foreign: foreign.clone(),
        identifiers,
        key,
        chain,
    })
}

/// Returns the CA that everything is ordered from: the one that was named, that of the configuration, or that of most lineages.
///
/// # Errors
/// Exit 2 when nobody says which.
pub fn directory(named: Option<&str>, config: Option<&Config>, good: &[Good]) -> Result<String> {
    if let Some(named) = named {
        return v1::directory(named).map_err(|fault| Error::usage(format!("--directory {fault}")));
    }
    if let Some(acme) = config.and_then(|config| config.acme.as_ref()) {
        return Ok(acme.directory.clone());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in good {
        if let Some(url) = one.foreign.server.as_ref().and_then(url_of) {
            *counts.entry(url).or_default() += 1;
        }
    }
    let most = counts
        .into_iter()
        .max_by_key(|(url, count)| (!is_staging(url), *count));
    match most {
        Some((url, _)) => {
            v1::directory(url).map_err(|fault| Error::usage(format!("the CA of that client {fault}")))
        }
        None => Err(
            Error::usage("which CA the certificates are of is not on record there")
                .remedy("name it: `--directory letsencrypt`, or the URL of its directory"),
        ),
    }
}

/// Returns the URL of a CA's directory; of one that is known by its host alone, where it is a CA that we know.
fn url_of(server: &Server) -> Option<&str> {
    match server {
        Server::Url(url) => Some(url),
        Server::Host(_) => authority::AUTHORITIES
            .iter()
            .map(|known| known.directory)
            .find(|url| server.is(url)),
    }
}

/// Returns whether nobody trusts what this CA issues.
fn is_staging(url: &str) -> bool {
    authority::by_directory(url).is_some_and(|known| known.staging == Some(known.directory))
        || url.contains("://acme-staging")
}

/// Returns why a lineage cannot be renewed at this CA, or nothing.
pub fn refuse_server(one: &Good, directory: &str) -> Option<String> {
    let server = one.foreign.server.as_ref()?;
    if server.is(directory) {
        return None;
    }
    let name = match server {
        Server::Host(name) | Server::Url(name) => name,
    };
    if url_of(server).is_some_and(is_staging) {
        return Some(format!("it is of the staging CA {name}, which nobody trusts"));
    }
    Some(format!(
        "it is of the CA {name}, and all of them are ordered from {directory} (acme.directory): take over those of one CA"
    ))
}

/// Returns the account at this CA: the one that most lineages are ordered by.
pub fn account<'a>(found: &'a Found, good: &[Good], directory: &str) -> Option<&'a ForeignAccount> {
    let used = |account: &ForeignAccount| {
        good.iter()
            .filter(|one| one.foreign.account.as_ref() == Some(&account.id))
            .count()
    };
    let at = |account: &&ForeignAccount| account.server.is(directory);
    // Of equals the first.
    found
        .accounts
        .iter()
        .rev()
        .filter(at)
        .max_by_key(|account| used(account))
}

/// Returns how names are proven: as for most of the lineages, and for the first of equals.
pub fn method(good: &[Good]) -> Option<&Method> {
    let count = |method: &Method| good.iter().filter(|one| one.foreign.method == *method).count();
    good.iter()
        .rev()
        .map(|one| &one.foreign.method)
        .max_by_key(|method| count(method))
}

/// Returns the lineages as the configuration has them.
pub fn certificates(good: &[Good]) -> Vec<Certificate> {
    let one = |one: &Good| Certificate {
        name: one.foreign.name.clone(),
        identifiers: one.identifiers.clone(),
        key: one.key.key_type(),
        reuse_key: one.foreign.reuse_key.unwrap_or(ReuseKey::WhilePublished),
    };
    good.iter().map(one).collect()
}

/// Returns the hooks: those of every lineage first, then each lineage's own, a command that several have once. `is_alone`: there
/// are no other lineages in the configuration.
pub fn hooks(found: &Found, good: &[Good], is_alone: bool, is_ours: impl Fn(&Command) -> bool) -> Vec<Hook> {
    let every: Vec<String> = good.iter().map(|one| one.foreign.name.clone()).collect();
    let mut hooks: Vec<Hook> = Vec::new();
    for one in &found.hooks {
        hooks.push(Hook {
            list: one.event.name(),
            style: one.style,
            command: one.command.clone(),
            lineages: every.clone(),
        });
    }
    for lineage in good {
        for one in &lineage.foreign.hooks {
            let list = one.event.name();
            let same = hooks
                .iter_mut()
                .find(|hook| hook.list == list && hook.style == one.style && hook.command == one.command);
            match same {
                Some(hook) if hook.lineages.contains(&lineage.foreign.name) => {}
                Some(hook) => hook.lineages.push(lineage.foreign.name.clone()),
                None => hooks.push(Hook {
                    list,
                    style: one.style,
                    command: one.command.clone(),
                    lineages: vec![lineage.foreign.name.clone()],
                }),
            }
        }
    }
    hooks.retain(|hook| !is_ours(&hook.command));
    for hook in &mut hooks {
        if is_alone && hook.lineages.len() == every.len() {
            hook.lineages.clear();
        }
    }
    hooks
}

/// Returns the one value that all lineages have, if they do.
pub fn common<'a>(good: &'a [Good], of: impl Fn(&'a ForeignLineage) -> Option<&'a String>) -> Option<String> {
    let mut values = good.iter().map(|one| of(&one.foreign));
    let first = values.next()??;
    values.all(|value| value == Some(first)).then(|| first.clone())
}
