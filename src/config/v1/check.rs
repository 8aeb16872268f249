//! Compares a parsed file with the schema: unknown keys, wrong types, unknown words, what is missing or not yet
//! supported. Pure.

use std::{ops::Range, path::Path};

use toml_edit::{Item, TableLike};

use super::{
    report::Report,
    schema::{self, Absent, Choices, KEYS, Key, Kind, join, names_a_secret, nearest},
};

/// Reports everything in the file that the schema does not allow.
pub fn document(root: &dyn TableLike, report: &mut Report<'_>) {
    table(root, "", &(0..0), report);
}

/// Reports what the schema does not allow in a part of the file that has certificates alone.
pub fn certificates(root: &dyn TableLike, report: &mut Report<'_>) {
    if let (Some(key), Some(item)) = (schema::find("", "certificate"), root.get("certificate")) {
        value(key, item, &(0..0), report);
    }
}

/// Returns where a key stands, or `otherwise`.
pub fn key_span(table: &dyn TableLike, name: &str, otherwise: &Range<usize>) -> Range<usize> {
    table
        .get_key_value(name)
        .and_then(|(key, _)| key.span())
        .unwrap_or_else(|| otherwise.clone())
}

/// Checks one table and those below it.
fn table(table: &dyn TableLike, path: &str, at: &Range<usize>, report: &mut Report<'_>) {
    // Which keys belong here depends on the type: those of a type that is not there yet are not known.
    let type_known = table.get("type").is_none_or(|item| is_known_type(path, item));
    for (name, item) in table.iter() {
        let at = key_span(table, name, at);
        match schema::find(path, name) {
            Some(key) => value(key, item, &at, report),
            None if names_a_secret(name) => report.error(&at, literal_secret(path, name)),
            None if type_known => report.error(&at, unknown_key(path, name)),
            None => {}
        }
    }
    if !type_known {
        return;
    }
    for key in schema::keys_of(path) {
        if matches!(key.absent, Absent::Refused) && !table.contains_key(key.name) {
            report.error(at, missing(key));
        }
    }
}

fn is_known_type(path: &str, item: &Item) -> bool {
    match schema::find(path, "type").map(|key| key.kind) {
        Some(Kind::Choice(choices)) => item.as_str().is_some_and(|word| choices.now.contains(&word)),
        _ => true,
    }
}

/// Returns what is told of a key that must be there.
pub fn missing(key: &Key) -> String {
    match key.kind {
        Kind::Table => format!("the table `[{}]` is missing", key.path()),
        _ => format!(
            "`{}` is missing; write it as in `{} = {}`",
            key.path(),
            key.name,
            key.example
        ),
    }
}

fn unknown_key(table: &str, name: &str) -> String {
    let written = shorten(name);
    let place = if table.is_empty() {
        String::new()
    } else {
        format!(" in `{table}`")
    };
    if let Some(known) = nearest(name, schema::keys_of(table).map(|key| key.name)) {
        return format!("unknown key `{written}`{place}; did you mean `{known}`?");
    }
    match KEYS.iter().find(|key| key.name == name) {
        Some(key) if key.table.is_empty() => {
            format!(
                "unknown key `{written}`{place}; it belongs to the top of the file, before the first table"
            )
        }
        Some(key) => format!("unknown key `{written}`{place}; it belongs to `[{}]`", key.table),
        None => format!("unknown key `{written}`{place}"),
    }
}

fn literal_secret(table: &str, name: &str) -> String {
    let remedies: Vec<String> = schema::keys_of(table)
        .filter(|key| names_a_secret(key.name))
        .map(|key| format!("`{}`", key.name))
        .collect();
    let remedy = if remedies.is_empty() {
        "a key that ends in `_file`".to_owned()
    } else {
        remedies.join(" or ")
    };
    format!(
        "`{}` would put a secret into this file; name where it is kept with {remedy}",
        shorten(&join(table, name))
    )
}

/// Checks one value: its type, then its words.
fn value(key: &Key, item: &Item, at: &Range<usize>, report: &mut Report<'_>) {
    match key.kind {
        Kind::Table => match item.as_table_like() {
            Some(inner) => table(inner, &key.path(), at, report),
            None => wrong_type(key, item, report),
        },
        Kind::Tables => tables(key, item, report),
        _ => plain(key, item, report),
    }
}

/// Checks a list of tables.
fn tables(key: &Key, item: &Item, report: &mut Report<'_>) {
    if let Some(list) = item.as_array_of_tables() {
        for inner in list {
            let at = inner.span().unwrap_or_default();
            table(inner, &key.path(), &at, report);
        }
    } else if let Some(list) = item.as_array() {
        for member in list {
            match member.as_inline_table() {
                Some(inner) => {
                    table(inner, &key.path(), &member.span().unwrap_or_default(), report);
                }
                None => report.error(
                    &member.span().unwrap_or_default(),
                    format!(
                        "expected a table in `{}`, found {}",
                        key.path(),
                        found(member.type_name())
                    ),
                ),
            }
        }
    } else {
        wrong_type(key, item, report);
    }
}

/// Checks a value that is no table.
fn plain(key: &Key, item: &Item, report: &mut Report<'_>) {
    let at = item.span().unwrap_or_default();
    match key.kind {
        Kind::Boolean if item.is_bool() => {}
        Kind::Integer if item.is_integer() => {}
        Kind::Text | Kind::TextOrList if item.is_str() => {}
        Kind::Choice(choices) | Kind::ChoiceOrFile(choices) | Kind::ChoiceOrList(choices)
            if item.is_str() =>
        {
            let word = item.as_str().unwrap_or_default();
            let is_path = matches!(key.kind, Kind::ChoiceOrFile(_)) && word.starts_with('/');
            if is_path {
                file(key, word, &at, report);
            } else {
                choice(key, choices, word, &at, report);
            }
        }
        Kind::File if item.is_str() => file(key, item.as_str().unwrap_or_default(), &at, report),
        Kind::ChoiceList(_) | Kind::ChoiceOrList(_) | Kind::List | Kind::TextOrList if item.is_array() => {
            for member in item.as_array().into_iter().flatten() {
                let at = member.span().unwrap_or_default();
                match (member.as_str(), key.kind) {
                    (Some(word), Kind::ChoiceList(choices)) => choice(key, choices, word, &at, report),
                    (Some(_), _) => {}
                    (None, _) => report.error(
                        &at,
                        format!(
                            "expected a string in `{}`, found {}",
                            key.path(),
                            found(member.type_name())
                        ),
                    ),
                }
            }
        }
        _ => wrong_type(key, item, report),
    }
}

fn choice(key: &Key, choices: Choices, word: &str, at: &Range<usize>, report: &mut Report<'_>) {
    let Choices { now, later } = choices;
    if now.contains(&word) {
        return;
    }
    let file = if matches!(key.kind, Kind::ChoiceOrFile(_)) {
        ", or an absolute path"
    } else {
        ""
    };
    let list = if matches!(key.kind, Kind::ChoiceOrList(_)) {
        ", or a list"
    } else {
        ""
    };
    let known = format!("{}{file}{list}", now.join(", "));
    let (path, written) = (key.path(), shorten(word));
    report.error(
        at,
        if later.contains(&word) {
            format!("`{path}`: `{written}` is not yet supported; supported: {known}")
        } else if let Some(meant) = nearest(word, now.iter().chain(later).copied()) {
            format!("`{path}` cannot be `{written}`; did you mean `{meant}`? It is one of: {known}")
        } else if key.name == "type" {
            format!("`{path}`: `{written}` is not yet supported; supported: {known}")
        } else {
            format!("`{path}` cannot be `{written}`; it is one of: {known}")
        },
    );
}

fn file(key: &Key, text: &str, at: &Range<usize>, report: &mut Report<'_>) {
    if text.chars().any(char::is_control) {
        report.error(at, format!("`{}` has a control character in it", key.path()));
    } else if !Path::new(text).has_root() {
        // The value is not repeated: somebody may have written the secret where the name of its file belongs.
        report.error(
            at,
            format!(
                "`{}` must be an absolute path: one that begins with `/`",
                key.path()
            ),
        );
    }
}

fn wrong_type(key: &Key, item: &Item, report: &mut Report<'_>) {
    let expected = match key.kind {
        Kind::Boolean => "true or false",
        Kind::Integer => "an integer",
        Kind::Choice(_) | Kind::ChoiceOrFile(_) | Kind::File | Kind::Text => "a string",
        Kind::ChoiceOrList(_) | Kind::TextOrList => "a string or a list of strings",
        Kind::ChoiceList(_) | Kind::List => "a list of strings",
        Kind::Table => "a table",
        Kind::Tables => "a list of tables",
    };
    let hint = match (key.kind, item.as_str()) {
        (Kind::Boolean, Some("true" | "false")) => "; write it without quotes".to_owned(),
        (Kind::Integer, Some(_)) => format!(
            "; write it without quotes, as in `{} = {}`",
            key.name, key.example
        ),
        (Kind::ChoiceList(_) | Kind::List, Some(_)) => "; put it into brackets".to_owned(),
        (Kind::Tables, _) if item.is_table() => format!("; write its header as `[[{}]]`", key.path()),
        _ => String::new(),
    };
    let at = item.span().unwrap_or_default();
    report.error(
        &at,
        format!(
            "`{}` must be {expected}, found {}{hint}",
            key.path(),
            found(item.type_name())
        ),
    );
}

/// Returns TOML's name of a type with its article.
fn found(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {type_name}")
}

/// Makes text from the file fit for a message.
pub fn shorten(text: &str) -> String {
    const MAX: usize = 60;
    let mut short: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        short.push('…');
    }
    short
}
