//! The sender login map as commands use it: made of what Postfix delivers by, written, compiled, taken away again.

use std::path::{Path, PathBuf};

use super::Context;
use crate::{
    config::SenderLoginMaps,
    env::files,
    error::{Error, Result},
    model::plan::FileChange,
    postfix::{
        desired::{self, submission::LoginMaps},
        inspect::{FILE_LIMIT, Instance},
        sender_login::{Entry, Input, read_aliases, read_virtual},
        sender_map::{self, SenderMap, SenderMapError},
        sni,
        submission::{effective, words},
    },
    store::layout::PRIVATE,
};

/// The map as it should be.
pub struct Wanted {
    /// What `smtpd_sender_login_maps` is to be.
    pub maps: LoginMaps,
    /// The files of ours that it names, with their content.
    files: Vec<(PathBuf, String)>,
    /// Whether the first of them is to be compiled, also where it is as it should be: its table is lost, or of the type
    /// that new tables had before an upgrade.
    is_uncompiled: bool,
    /// What is not in it.
    pub notes: Vec<String>,
}

impl Wanted {
    /// Returns the changes that make the files so.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn changes(&self) -> Result<Vec<FileChange>> {
        let mut changes = Vec::new();
        for (index, (path, text)) in self.files.iter().enumerate() {
            let before = files::read_if_exists(path, FILE_LIMIT)
                .map_err(|error| Error::failed("the sender login map cannot be read").cause(error))?;
            let is_lost = self.is_uncompiled && index == 0;
            if is_lost || before.as_deref() != Some(text.as_bytes()) {
                changes.push(FileChange {
                    path: path.clone(),
                    before,
                    after: Some(text.clone().into_bytes()),
                    reasons: vec![
                        "which logins may send as which address (postconf(5), smtpd_sender_login_maps)"
                            .to_owned(),
                    ],
                });
            }
        }
        Ok(changes)
    }

    /// Returns whether this value of `smtpd_sender_login_maps` names files of ours.
    pub fn is_named(&self, value: &str) -> bool {
        let ours = |word: &str| {
            self.files.iter().any(|(path, _)| {
                word.split_once(':')
                    .is_some_and(|(_, name)| Path::new(name) == path)
            })
        };
        words(value).any(ours)
    }
}

/// Returns what the configuration wants; reads aliases, but changes nothing.
///
/// # Errors
/// When the installed Postfix has no tables of the kinds that are needed, or the operator's own map cannot be read.
pub fn wanted(context: &Context<'_>, server: &Instance) -> Result<Wanted> {
    let submission = &context.config.postfix.submission;
    let nothing = |maps| Wanted {
        maps,
        files: Vec::new(),
        is_uncompiled: false,
        notes: Vec::new(),
    };
    if !submission.submission && !submission.submissions {
        return Ok(nothing(LoginMaps::None));
    }
    match &submission.sender_login_maps {
        SenderLoginMaps::None => Ok(nothing(LoginMaps::None)),
        SenderLoginMaps::Own(maps) => {
            own(context, server, maps)?;
            Ok(nothing(LoginMaps::Own(maps.clone())))
        }
        SenderLoginMaps::Generated => generated(context, server),
    }
}

/// Makes sure that postmap(1) can read the operator's tables.
fn own(context: &Context<'_>, server: &Instance, maps: &str) -> Result<()> {
    let key = format!("postmaster@{}\n", context.config.host.name);
    for map in words(maps) {
        sender_map::query(context.env, &server.directory, map, &key).map_err(|error| {
            let told = Error::failed(format!(
                "postfix.sender_login_maps names `{map}`, which cannot be read"
            ));
            told.cause(error).remedy(match map.split_once(':') {
                Some((kind, _)) if server.table_types.iter().any(|known| known == kind) => {
                    "see that it exists; compiled tables are made by postmap(1)".to_owned()
                }
                _ => format!(
                    "take a type that `postconf -m` lists: {}",
                    server.table_types.join(", ")
                ),
            })
        })?;
    }
    Ok(())
}

fn generated(context: &Context<'_>, server: &Instance) -> Result<Wanted> {
    let failed = |cause: String| {
        Error::failed("the sender login map cannot be made")
            .cause(cause)
            .remedy("name a map of your own as postfix.sender_login_maps, or \"none\"")
    };
    let kind = server.values.get("default_database_type");
    let source = context.store.layout().sender_login();
    let rules = context.store.layout().sender_login_rules();
    let Some(compiled) = sni::compiled(kind, &source) else {
        return Err(failed(SenderMapError::Type(kind.to_owned()).to_string()));
    };
    let has =
        |kind: &str| server.table_types.is_empty() || server.table_types.iter().any(|known| known == kind);
    let Some(rule_kind) = ["regexp", "pcre"].into_iter().find(|kind| has(kind)) else {
        return Err(failed("`postconf -m` lists neither regexp nor pcre".to_owned()));
    };
    let named = |path: &Path| desired::in_main_cf(path).map_err(|error| failed(error.to_string()));
    let maps = format!("{kind}:{},{rule_kind}:{}", named(&source)?, named(&rules)?);
    let domains: Vec<&str> = context
        .config
        .host
        .domains
        .iter()
        .map(crate::model::name::DomainName::as_str)
        .collect();
    let mut input = Input::of(&server.values, domains);
    let mut notes = Vec::new();
    input.aliases = entries(server, "alias_maps", read_aliases, &mut notes);
    input.virtual_aliases = entries(server, "virtual_alias_maps", read_virtual, &mut notes);
    let generated = input.generate();
    Ok(Wanted {
        maps: LoginMaps::Ours(maps),
        is_uncompiled: !compiled.is_file() || named_kind(server, &source) != kind,
        files: vec![(source, generated.source()), (rules, generated.rules_file())],
        notes,
    })
}

/// Reads the text files behind the tables of a parameter. What cannot be read is told, and left out: its addresses can then
/// be sent as by nobody.
fn entries(
    server: &Instance,
    parameter: &str,
    read: fn(&str) -> Vec<Entry>,
    notes: &mut Vec<String>,
) -> Vec<Entry> {
    const WITH_TEXT: [&str; 7] = ["btree", "cdb", "dbm", "hash", "lmdb", "sdbm", "texthash"];
    let mut found = Vec::new();
    for word in words(server.values.get(parameter)) {
        let table = word.strip_prefix("proxy:").unwrap_or(word);
        let file = table
            .split_once(':')
            .filter(|(kind, path)| WITH_TEXT.contains(kind) && path.starts_with('/'))
            .map(|(_, path)| Path::new(path));
        let left_out = |why: &str| {
            format!(
                "{parameter} = {word}: {why}; the addresses in it can be sent as by nobody until a map of your own, as \
                 `sender_login_maps`, names their logins"
            )
        };
        match file.map(|path| files::read_if_exists(path, FILE_LIMIT)) {
            Some(Ok(Some(bytes))) => found.extend(read(&String::from_utf8_lossy(&bytes))),
            Some(Ok(None)) => notes.push(left_out("it has no text file")),
            Some(Err(error)) => notes.push(left_out(&error.to_string())),
            None => notes.push(left_out("it is no table that comes from a text file")),
        }
    }
    found
}

/// Returns whether a file is part of the map.
pub fn is_part(context: &Context<'_>, path: &Path) -> bool {
    let layout = context.store.layout();
    path == layout.sender_login() || path == layout.sender_login_rules()
}

/// Makes the directory of the map; it is shared with the SNI map, which holds keys.
///
/// # Errors
/// When it cannot be made.
pub fn make_directory(context: &Context<'_>) -> Result<()> {
    let source = context.store.layout().sender_login();
    let failed = |error| Error::failed("the sender login map could not be written").cause(error);
    source
        .parent()
        .map_or(Ok(()), |directory| files::make_directory(directory, PRIVATE))
        .map_err(failed)
}

/// Compiles what the changes are about to write: killed in between, a run leaves a table that the next one takes for
/// none, never a source without its table.
///
/// # Errors
/// When it cannot be compiled; what is in use was not touched.
pub fn prepare(context: &Context<'_>, server: &Instance, changes: &[FileChange]) -> Result<()> {
    let source = context.store.layout().sender_login();
    let text = changes
        .iter()
        .find(|change| change.path == source)
        .and_then(|change| change.after.as_ref());
    text.map_or(Ok(()), |text| {
        compile(
            context,
            server,
            server.values.get("default_database_type"),
            &String::from_utf8_lossy(text),
        )
    })
}

/// Makes the compiled table that of the source on disk, after these changes were written or put back.
///
/// # Errors
/// When it cannot be compiled.
pub fn settle(context: &Context<'_>, server: &Instance, changes: &[FileChange]) -> Result<()> {
    if !changes.iter().any(|change| is_part(context, &change.path)) {
        return Ok(());
    }
    let source = context.store.layout().sender_login();
    let failed = |error| Error::failed("the sender login map could not be read").cause(error);
    match files::read_if_exists(&source, FILE_LIMIT).map_err(failed)? {
        Some(bytes) => compile(
            context,
            server,
            &named_kind(server, &source),
            &String::from_utf8_lossy(&bytes),
        ),
        None => SenderMap::remove(&source).map_err(|error| failure(&error)),
    }
}

/// Returns the type by which the configuration names the table; that of new tables where it does not.
fn named_kind(server: &Instance, source: &Path) -> String {
    let name = "smtpd_sender_login_maps";
    let services = server
        .services
        .iter()
        .filter(|service| service.command == "smtpd");
    let kind = services
        .map(|service| effective(service, name, &server.values))
        .find_map(|maps| sni::named_type(&maps, source).map(str::to_owned));
    kind.unwrap_or_else(|| server.values.get("default_database_type").to_owned())
}

fn compile(context: &Context<'_>, server: &Instance, kind: &str, text: &str) -> Result<()> {
    let source = context.store.layout().sender_login();
    let map = SenderMap {
        config_directory: &server.directory,
        kind,
        source: &source,
    };
    map.build(context.env, text).map_err(|error| failure(&error))
}

fn failure(error: &SenderMapError) -> Error {
    Error::failed("the sender login map could not be made; what is in use stays")
        .cause(error)
        .remedy("mend what postmap says, or name a map of your own as postfix.sender_login_maps")
}
