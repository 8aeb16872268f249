//! The map that `tls_server_sni_maps` looks names up in: its source, and how main.cf names it. Pure.
//!
//! The compiled map holds *copies* of keys and chains, so it is made again whenever one of them changes; the source names
//! files, and says by which generation each was meant, so that a map that is behind is known without reading a key.
//!
//! Rules: postconf(5), tls_server_sni_maps (a name, or a parent domain with a dot before it); postmap(1), -F.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::model::name::Identifier;

/// The table types whose compiled form is one file beside the source, with that file's suffix (DATABASE_README).
const TYPES: [(&str, &str); 4] = [("btree", "db"), ("cdb", "cdb"), ("hash", "db"), ("lmdb", "lmdb")];

/// One name of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name that clients ask for.
    pub identifier: &'a Identifier,
    /// The lineage that answers for it.
    pub lineage: &'a str,
    /// The generation in use.
    pub generation: u64,
    /// Its key with the chain, in one file, by the path that stays the same over renewals.
    pub file: PathBuf,
}

/// What a source says of one name: the lineage, and the generation that the file had then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lineage.
    pub lineage: String,
    /// The generation.
    pub generation: u64,
}

/// Returns the key that Postfix looks up for an identifier: `*.x` is found as `.x`, which also finds names further below.
pub fn key(identifier: &Identifier) -> String {
    let text = identifier.to_string();
    match text.strip_prefix('*') {
        Some(parent) => parent.to_owned(),
        None => text,
    }
}

/// Returns the source of the map, for postmap(1).
pub fn source(entries: &[Entry<'_>]) -> String {
    let mut text =
        "# Made by mailcert: names, each with its key and chain. It is written anew with every renewal.\n\
                    # `mailcert deploy` makes the map again; `postmap -F` on this file does as well.\n"
            .to_owned();
    let mut last = None;
    for entry in entries {
        if last != Some(entry.lineage) {
            let _ = writeln!(
                text,
                "# lineage {}, generation {}",
                entry.lineage, entry.generation
            );
            last = Some(entry.lineage);
        }
        let _ = writeln!(text, "{} {}", key(entry.identifier), entry.file.display());
    }
    text
}

/// Reads a source back: each key with what it was made for. Lines of others are left out.
pub fn read(source: &str) -> BTreeMap<String, Held> {
    let mut held = BTreeMap::new();
    let mut current = None;
    for line in source.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            current = parse_comment(comment);
        } else if let (Some(key), Some(current)) = (line.split_whitespace().next(), &current) {
            held.insert(key.to_owned(), Held::clone(current));
        }
    }
    held
}

fn parse_comment(comment: &str) -> Option<Held> {
    let (lineage, generation) = comment.strip_prefix(" lineage ")?.rsplit_once(", generation ")?;
    Some(Held {
        lineage: lineage.to_owned(),
        generation: generation.parse().ok()?,
    })
}

/// Returns where the compiled map of a type is; `None` for types that are not one file beside their source.
pub fn compiled(kind: &str, source: &Path) -> Option<PathBuf> {
    let (_, suffix) = TYPES.iter().find(|(known, _)| *known == kind)?;
    let mut path = source.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    Some(path.into())
}

/// Returns the name under which Berkeley DB begins a compiled map. One that was left there, by a kill or a power cut, keeps postmap
/// from making the map ever again.
pub fn begun(compiled: &Path) -> PathBuf {
    let mut name = OsString::from("__db.");
    name.push(compiled.file_name().unwrap_or_default());
    compiled.with_file_name(name)
}

/// Returns the types that [`compiled`] knows.
pub fn known_types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(kind, _)| *kind)
}

/// Returns the type by which a value of `tls_server_sni_maps` names the map of this source, when it does.
pub fn named_type<'a>(value: &'a str, source: &Path) -> Option<&'a str> {
    words(value).find_map(|word| {
        let (kind, path) = word.split_once(':')?;
        (Path::new(path) == source).then_some(kind)
    })
}

/// Returns whether a value of `tls_server_sni_maps` names this map and no other.
pub fn is_only(value: &str, source: &Path) -> bool {
    words(value).all(|word| {
        word.split_once(':')
            .is_some_and(|(_, path)| Path::new(path) == source)
    })
}

/// Splits a list of tables (postconf(5): commas and white space).
fn words(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_back_and_says_what_it_was_made_for() {
        let names: Vec<Identifier> = ["a.test", "b.test", "*.c.test"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        let entry = |at: usize, lineage, generation| Entry {
            identifier: &names[at],
            lineage,
            generation,
            file: format!("/s/live/{lineage}/combined.pem").into(),
        };
        let text = source(&[
            entry(0, "a", 3),
            entry(1, "a", 3),
            entry(2, "c, generation 9", 12),
        ]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "a.test /s/live/a/combined.pem",
                "b.test /s/live/a/combined.pem",
                ".c.test /s/live/c, generation 9/combined.pem"
            ]
        );
        let held = read(&text);
        let check = |key: &str, lineage: &str, generation| {
            let expected = Held {
                lineage: lineage.to_owned(),
                generation,
            };
            assert_eq!(held.get(key), Some(&expected), "{key}");
        };
        check("a.test", "a", 3);
        check("b.test", "a", 3);
        check(".c.test", "c, generation 9", 12);
        assert_eq!(held.len(), 3);
        assert!(read("other.test /o\n# lineage x\nmore.test /o\n").is_empty());
    }

    #[test]
    fn finds_our_map_in_the_parameter() {
        let ours = Path::new("/s/postfix/sni");
        let check = |value: &str, kind: Option<&str>, only: bool| {
            assert_eq!(
                (named_type(value, ours), is_only(value, ours)),
                (kind, only),
                "{value}"
            );
        };
        check("hash:/s/postfix/sni", Some("hash"), true);
        check("lmdb:/etc/sni, hash:/s/postfix/sni", Some("hash"), false);
        check("hash:/s/postfix/sni-old", None, false);
        check("inline:{ a=/s/postfix/sni }", None, false);
        check("", None, true);
    }

    #[test]
    fn knows_where_the_compiled_map_is() {
        let check = |kind: &str, expected: Option<&str>| {
            assert_eq!(
                compiled(kind, Path::new("/s/sni")),
                expected.map(PathBuf::from),
                "{kind}"
            );
        };
        check("hash", Some("/s/sni.db"));
        check("lmdb", Some("/s/sni.lmdb"));
        check("cdb", Some("/s/sni.cdb"));
        check("dbm", None);
        check("texthash", None);
        assert_eq!(begun(Path::new("/s/sni.db")), Path::new("/s/__db.sni.db"));
    }
}
