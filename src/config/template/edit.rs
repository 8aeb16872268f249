//! Careful edits to a configuration that exists. Pure.
//!
//! toml_edit keeps comments, order and spacing; this module decides which keys change, and reads the result back.

use std::{fmt, path::Path};

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{Answers, Wanted, answers_for, answers_from, is_same, take_acme, wanted};
use crate::{
    config::{
        Config, Issuer,
        v1::{
            self, ConfigErrors,
            schema::{self, Key, join},
        },
    },
    model::name::DomainName,
};

/// Why a file was not edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The file as it is is wrong.
    Existing(ConfigErrors),
    /// The answers contradict each other, or something else in the file; places are those of the edited file.
    Edited(ConfigErrors),
    /// This key stands where it could not be set.
    Unset(String),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Existing(errors) => write!(f, "the file is wrong already\n{errors}"),
            Self::Edited(errors) => write!(f, "the file would be wrong with these answers\n{errors}"),
            Self::Unset(key) => write!(f, "`{key}` could not be set in this file; edit it by hand"),
        }
    }
}

impl std::error::Error for EditError {}

/// Returns whether a file that was begun by hand names its host; one that is no TOML counts as if it did.
pub fn names_host(begun: &str) -> bool {
    let document = begun.parse::<DocumentMut>();
    document.map_or(true, |document| {
        document
            .get("host")
            .is_some_and(|host| host.get("name").is_some())
    })
}

/// Returns a file that was begun by hand with what no configuration can do without: version, host, domains; and, where
/// they were agreed to, the CA's terms. What it already says stays. `None` when it is no TOML.
pub fn complete(
    begun: &str,
    host: &DomainName,
    domains: &[DomainName],
    agreed_to_terms: bool,
) -> Option<String> {
    let mut document: DocumentMut = begun.parse().ok()?;
    let root = document.as_table_mut();
    if !root.contains_key("version") {
        root.insert("version", Item::Value(1.into()));
    }
    let mut set = |table: &str, name: &str, value: Value| {
        let place = root.entry(table).or_insert_with(|| Item::Table(Table::new()));
        if let Some(place) = place
            .as_table_like_mut()
            .filter(|place| !place.contains_key(name))
        {
            place.insert(name, Item::Value(value));
        }
    };
    set("host", "name", host.as_str().into());
    set(
        "host",
        "domains",
        domains
            .iter()
            .map(DomainName::to_string)
            .collect::<Array>()
            .into(),
    );
    if agreed_to_terms {
        set("acme", "terms_of_service_agreed", true.into());
    }
    Some(document.to_string())
}

/// Returns the answers that a file gives; `config` is what it was read as. [`answers_from`] knows nothing of a table `[acme]` by
/// which no certificate comes yet, as in a file that was begun by hand.
///
/// # Errors
/// When that table is wrong once a certificate comes by it.
pub fn answers_in(file: &Path, text: &str, config: &Config) -> Result<Answers, ConfigErrors> {
    let mut answers = answers_from(config);
    let document = text.parse::<DocumentMut>().ok();
    let unused = document.filter(|document| config.acme.is_none() && document.contains_key("acme"));
    let Some(mut document) = unused else {
        return Ok(answers);
    };
    let mut agreed = false;
    if let Some(acme) = document.get_mut("acme").and_then(Item::as_table_like_mut) {
        agreed = acme.get("terms_of_service_agreed").and_then(Item::as_bool) == Some(true);
        acme.insert("terms_of_service_agreed", Item::Value(true.into()));
    }
    let mut certificate = Table::new();
    certificate.insert("name", Item::Value("by-acme".into()));
    certificate.insert(
        "identifiers",
        Item::Value(Array::from_iter(["by-acme.invalid"]).into()),
    );
    let certificates = document
        .entry("certificate")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    if let Some(certificates) = certificates.as_array_of_tables_mut() {
        certificates.push(certificate);
    }
    if let Some(acme) = v1::parse(file, &document.to_string())?.acme {
        take_acme(&mut answers, &acme);
        answers.terms_of_service_agreed = agreed;
    }
    Ok(answers)
}

/// Returns an existing file with the answers in it. Only keys whose meaning changes are touched; with the answers that
/// [`answers_in`] read from it, a file stays byte for byte as it is. `file` is only used to name it in errors.
///
/// # Errors
/// When the file is wrong before or after.
pub fn edit(file: &Path, existing: &str, answers: &Answers) -> Result<String, EditError> {
    let config = v1::parse(file, existing).map_err(EditError::Existing)?;
    let old = match answers_in(file, existing, &config) {
        Ok(old) => old,
        Err(errors) if answers.issuer == Issuer::Acme => return Err(EditError::Existing(errors)),
        // Nothing is to come by it.
        Err(_) => answers_from(&config),
    };
    let (old_keys, new_keys) = (wanted(&old), wanted(answers));
    let is_unchanged = |key: &Wanted| old_keys.iter().any(|old| old.is_same(key));
    let changes: Vec<&Wanted> = new_keys.iter().filter(|key| !is_unchanged(key)).collect();
    if changes.is_empty() {
        return Ok(existing.to_owned());
    }
    let name = config
        .default_certificate()
        .map(|certificate| certificate.name.clone());
    let index = config
        .certificates
        .iter()
        .position(|certificate| Some(&certificate.name) == name.as_ref());
    // toml_edit drops the byte order mark and writes line feeds.
    let (mark, text) = match existing.strip_prefix('\u{feff}') {
        Some(text) => ("\u{feff}", text),
        None => ("", existing),
    };
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut text = text.replace("\r\n", "\n");
    for key in &changes {
        text = with_example_active(&text, key).unwrap_or(text);
    }
    let unset = |key: &Wanted| EditError::Unset(join(key.table, key.name));
    let mut document: DocumentMut = text.parse().map_err(|_| EditError::Unset(String::new()))?;
    if let (Some(name), Some(index)) = (&name, index)
        && answers
            .identifiers
            .first()
            .is_some_and(|first| first.lineage_name() != *name)
    {
        // The lineage keeps its name, and with it its history, when its names change.
        let name = Wanted {
            table: "certificate",
            name: "name",
            value: Some(name.as_str().into()),
        };
        set(&mut document, &name, Some(index)).ok_or_else(|| unset(&name))?;
    }
    for key in changes {
        set(&mut document, key, index).ok_or_else(|| unset(key))?;
    }
    if answers.provider.is_none()
        && let Some(dns) = document.get_mut("dns").and_then(Item::as_table_like_mut)
    {
        dns.remove("provider");
    }
    if answers.external_account.is_none()
        && let Some(acme) = document.get_mut("acme").and_then(Item::as_table_like_mut)
    {
        acme.remove("eab");
    }
    let text = format!("{mark}{}", document.to_string().replace('\n', line_end));
    let config = v1::parse(file, &text).map_err(EditError::Edited)?;
    let read_back = wanted(&answers_for(&config, config.certificates.get(index.unwrap_or(0))));
    match new_keys
        .iter()
        .find(|key| !read_back.iter().any(|read| read.is_same(key)))
    {
        Some(key) => Err(unset(key)),
        None => Ok(text),
    }
}

/// Returns the text with the commented example of a key made active, where its table has one: the value then lands
/// there, and not at the table's head.
fn with_example_active(text: &str, key: &Wanted) -> Option<String> {
    key.value.as_ref()?;
    let mut table = "";
    let mut lines: Vec<&str> = text.split('\n').collect();
    for line in &mut lines {
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().unwrap_or_default().trim();
        }
        let Some(example) = line.strip_prefix('#').map(str::trim_start) else {
            continue;
        };
        let is_key = example
            .strip_prefix(key.name)
            .is_some_and(|rest| rest.trim_start().starts_with('='));
        if is_key && table == key.table {
            *line = example;
            let active = lines.join("\n");
            // It does not parse where the key is active already, or where the comment only looked like TOML.
            return active.parse::<DocumentMut>().is_ok().then_some(active);
        }
    }
    None
}

/// Sets a key in its table, which is made where it is missing. `None`: it stands where that is not possible.
pub(super) fn set(document: &mut DocumentMut, key: &Wanted, certificate: Option<usize>) -> Option<()> {
    if key.table == "certificate" {
        return set_value(certificate_table(document, certificate)?, key);
    }
    let mut item = document.as_item_mut();
    for name in key.table.split('.').filter(|name| !name.is_empty()) {
        if key.value.is_none() && item.get(name).is_none() {
            return Some(());
        }
        item = child(item, name)?;
    }
    set_value(item.as_table_like_mut()?, key)
}

/// Returns the table of a certificate; the first, made where there is none, without an index.
fn certificate_table(document: &mut DocumentMut, index: Option<usize>) -> Option<&mut dyn TableLike> {
    let list = document
        .entry("certificate")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    match (list, index) {
        (Item::ArrayOfTables(list), Some(index)) => Some(list.get_mut(index)?),
        (Item::ArrayOfTables(list), None) => {
            if list.is_empty() {
                list.push(Table::new());
            }
            Some(list.get_mut(0)?)
        }
        (Item::Value(Value::Array(list)), Some(index)) => Some(list.get_mut(index)?.as_inline_table_mut()?),
        _ => None,
    }
}

/// Returns the table of this name below another, made in the manner of its parent where it is missing.
pub(super) fn child<'a>(parent: &'a mut Item, name: &str) -> Option<&'a mut Item> {
    let new = match parent {
        Item::Table(parent) => {
            let mut table = Table::new();
            table.set_dotted(parent.is_dotted());
            Item::Table(table)
        }
        _ => Item::Value(InlineTable::new().into()),
    };
    Some(parent.as_table_like_mut()?.entry(name).or_insert(new))
}

/// Sets one key of a table; spacing and comment around its value stay.
fn set_value(table: &mut dyn TableLike, key: &Wanted) -> Option<()> {
    let default = || schema::find(key.table, key.name).and_then(Key::default).cloned();
    let value = key.value.clone().or_else(default);
    match (value, table.get_mut(key.name)) {
        (Some(new), Some(Item::Value(old))) => {
            replace(old, new);
        }
        (Some(_), Some(_)) => return None,
        (Some(new), None) if key.value.is_some() => {
            table.insert(key.name, Item::Value(new));
        }
        (None, Some(_)) => {
            table.remove(key.name);
        }
        (_, None) => {}
    }
    Some(())
}

/// Puts a new value in an old one's place.
fn replace(old: &mut Value, new: Value) {
    if let (Value::Array(old), Value::Array(new)) = (&mut *old, &new)
        && extend(old, new).is_some()
    {
        return;
    }
    let decor = old.decor().clone();
    *old = new;
    *old.decor_mut() = decor;
}

/// Adds further members to a list that has a line, and perhaps a comment, for each. `None`: it is not such a list, or
/// the new one does not begin like it.
fn extend(old: &mut Array, new: &Array) -> Option<()> {
    let last = old.get(old.len().checked_sub(1)?)?;
    let begins_so = new.len() > old.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new));
    let prefix = last.decor().prefix().and_then(|prefix| prefix.as_str())?;
    // The indent is for the next member too; a comment before it is not.
    let (_, indent) = prefix.rsplit_once('\n').filter(|_| begins_so)?;
    let indent = format!("\n{indent}");
    // What stands between the last member and the bracket, a comment on that member perhaps, stays behind the member.
    let suffix = last
        .decor()
        .suffix()
        .and_then(|suffix| suffix.as_str())
        .unwrap_or_default();
    let tail = format!("{suffix}{}", old.trailing().as_str()?);
    let (comment, closing) = tail.rsplit_once('\n')?;
    let (first, closing) = (format!("{comment}{indent}"), format!("\n{closing}"));
    let n_old = old.len();
    old.get_mut(n_old - 1)?.decor_mut().set_suffix("");
    for (index, member) in new.iter().skip(n_old).enumerate() {
        let prefix = if index == 0 { &first } else { &indent };
        old.push_formatted(member.clone().decorated(prefix, ""));
    }
    old.set_trailing(closing);
    old.set_trailing_comma(true);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            render,
            tests::{answers, full, read, variants},
        },
        *,
    };
    use crate::config::{Challenge, Http01, Publish, Timer};

    const EXISTING: &str = "\
# ours
version = 1   # first

host.name = \"Mail.Example.JP.\"
host.domains = [ \"example.jp\" ] # one

[acme]
directory = \"https://acme-v02.api.letsencrypt.org/directory\"
terms_of_service_agreed = true

# two names
[[certificate]]
identifiers = [\"www.example.jp\"]
[[certificate]]
identifiers = [
  \"mail.example.jp\", # the MX
]
mode = 0o640

[renew]
#timer = \"auto\"   # what wakes it
keep_generations = 9
";

    #[test]
    fn the_same_answers_change_nothing() {
        let examples = [
            include_str!("../../../examples/config/minimal.toml"),
            include_str!("../../../examples/config/dns-01-rfc2136.toml"),
            include_str!("../../../examples/config/keep-my-client.toml"),
            include_str!("../../../examples/config/local-test.toml"),
            include_str!("../../../examples/config/hooks.toml"),
            EXISTING,
        ];
        for text in examples
            .iter()
            .map(|text| (*text).to_owned())
            .chain(variants().iter().map(render))
        {
            assert_eq!(
                edit(Path::new("m.toml"), &text, &answers_from(&read(&text))).unwrap(),
                text
            );
        }
    }

    #[test]
    fn from_any_answers_to_any_others() {
        for old in variants() {
            for new in variants() {
                let text = edit(Path::new("m.toml"), &render(&old), &new).unwrap();
                assert_eq!(answers_from(&read(&text)), new, "{text}");
            }
        }
    }

    /// Edits EXISTING, or a text made from it, and expects these lines to go and to come.
    fn check(existing: &str, change: impl Fn(&mut Answers), expected: &[&str]) {
        let mut answers = answers_from(&read(existing));
        change(&mut answers);
        let text = edit(Path::new("m.toml"), existing, &answers).unwrap();
        let diff = similar::TextDiff::from_lines(existing, &text);
        let changes: Vec<String> = diff
            .iter_all_changes()
            .filter(|change| change.tag() != similar::ChangeTag::Equal)
            .map(|change| format!("{}{}", change.tag(), change.value().trim_end_matches('\n')))
            .collect();
        assert_eq!(changes, expected, "{text}");
    }

    #[test]
    fn only_changed_keys_change() {
        check(
            EXISTING,
            |answers| answers.timer = Timer::Cron,
            &[
                "-#timer = \"auto\"   # what wakes it",
                "+timer = \"cron\"   # what wakes it",
            ],
        );
        check(
            EXISTING,
            |answers| answers.directory = "letsencrypt-staging".to_owned(),
            &[
                "-directory = \"https://acme-v02.api.letsencrypt.org/directory\"",
                "+directory = \"letsencrypt-staging\"",
            ],
        );
        check(
            EXISTING,
            |answers| answers.domains.push("example.org".parse().unwrap()),
            &[
                "-host.domains = [ \"example.jp\" ] # one",
                "+host.domains = [\"example.jp\", \"example.org\"] # one",
            ],
        );
        check(
            EXISTING,
            |answers| answers.identifiers = vec!["mx.example.jp".parse().unwrap()],
            &[
                "-identifiers = [",
                "-  \"mail.example.jp\", # the MX",
                "-]",
                "+identifiers = [\"mx.example.jp\"]",
                "+name = \"mail.example.jp\"",
            ],
        );
        check(
            EXISTING,
            |answers| answers.identifiers.push("mx.example.jp".parse().unwrap()),
            &["+  \"mx.example.jp\","],
        );
        check(
            EXISTING,
            |answers| answers.publish = vec![Publish::Spf],
            &["+", "+[dns]", "+publish = [\"spf\"]"],
        );
        check(
            EXISTING,
            |answers| answers.leave_dovecot = true,
            &["+", "+[dovecot]", "+manage = false"],
        );
        let dotted = EXISTING.replace("host.name", "postfix.manage = false\nhost.name");
        check(
            &dotted,
            |answers| answers.postfix_config_directory = "/p".into(),
            &["+postfix.config_directory = \"/p\""],
        );
        let inline = "version = 1\nhost = { name = 'a.example', domains = [] }\nrenew = {} # x\n";
        check(
            inline,
            |answers| answers.timer = Timer::Cron,
            &["-renew = {} # x", "+renew = { timer = \"cron\" } # x"],
        );
        let certificate = |answers: &mut Answers| {
            answers.identifiers = vec!["a.example".parse().unwrap()];
            answers.terms_of_service_agreed = true;
        };
        check(
            inline,
            certificate,
            &[
                "+",
                "+[acme]",
                "+terms_of_service_agreed = true",
                "+",
                "+[[certificate]]",
                "+identifiers = [\"a.example\"]",
            ],
        );
    }

    #[test]
    fn new_tables_follow_their_parents_manner() {
        let host = "version = 1\nhost = { name = 'a.example', domains = [] }\n";
        let certificate = "certificate = [{ identifiers = ['a.example'] }]\n";
        let change = |answers: &mut Answers| {
            answers.challenge = Challenge::Http01(Http01::Webroot("/w".into()));
            answers.identifiers = vec!["b.example".parse().unwrap()];
        };
        check(
            &format!("{host}acme = {{ terms_of_service_agreed = true }}\n{certificate}"),
            change,
            &[
                "-acme = { terms_of_service_agreed = true }",
                "-certificate = [{ identifiers = ['a.example'] }]",
                "+acme = { terms_of_service_agreed = true , challenge = { webroot = \"/w\" } }",
                "+certificate = [{ identifiers = [\"b.example\"] , name = \"a.example\" }]",
            ],
        );
        check(
            &format!("{host}acme.terms_of_service_agreed = true\n{certificate}"),
            change,
            &[
                "-certificate = [{ identifiers = ['a.example'] }]",
                "+acme.challenge.webroot = \"/w\"",
                "+certificate = [{ identifiers = [\"b.example\"] , name = \"a.example\" }]",
            ],
        );
    }

    #[test]
    fn no_existing_file_panics() {
        let texts = [EXISTING.to_owned(), render(&answers()), render(&full())];
        let new = variants();
        let mut state = 1_u64;
        for n in 0..300 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let random =
                |shift: u32, below: usize| usize::try_from((state >> shift) & 0xffff).unwrap() % below;
            let mut bytes = texts[n % texts.len()].clone().into_bytes();
            let at = random(32, bytes.len());
            bytes[at] = b"\"'[]{}=,.#\n\r\t 09azA\\"[random(16, 20)];
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(text) = edit(Path::new("m.toml"), &text, &new[n % new.len()]) {
                read(&text);
            }
        }
    }

    #[test]
    fn line_ends_and_byte_order_mark_stay() {
        let existing = format!("\u{feff}{}", EXISTING.replace('\n', "\r\n"));
        let new = Answers {
            timer: Timer::Cron,
            ..answers_from(&read(&existing))
        };
        let text = edit(Path::new("m.toml"), &existing, &new).unwrap();
        assert_eq!(text, existing.replace("#timer = \"auto\"", "timer = \"cron\""));
    }

    #[test]
    fn refuses_what_would_be_wrong() {
        let file = Path::new("m.toml");
        assert!(matches!(
            edit(file, "version = 1\n", &answers()),
            Err(EditError::Existing(_))
        ));
        let wildcard = Answers {
            identifiers: vec!["*.example.jp".parse().unwrap()],
            ..answers()
        };
        assert!(matches!(
            edit(file, EXISTING, &wildcard),
            Err(EditError::Edited(_))
        ));
        let list = "version = 1\nhost = { name = 'a.example', domains = [] }\ncertificate = []\n";
        let error = edit(file, list, &answers()).unwrap_err();
        assert_eq!(error, EditError::Unset("certificate.identifiers".to_owned()));
    }

    #[test]
    fn a_ca_that_was_named_before_any_certificate_stays() {
        let path = Path::new("m.toml");
        let acme = "[acme]\ndirectory = \"letsencrypt-staging\"\nroot_ca_file = \"/r.pem\"\n[acme.challenge]\n\
                    type = \"http-01\"\nlisten = [\"192.0.2.1:80\"]\n";
        for certificates in [
            "",
            "[[certificate]]\nidentifiers = [\"mail.example.jp\"]\nissuer = \"external\"\n",
        ] {
            let text = format!(
                "version = 1\n[host]\nname = \"mail.example.jp\"\ndomains = [\"example.jp\"]\n{acme}{certificates}"
            );
            let config = v1::parse(path, &text).unwrap();
            assert_eq!(config.acme, None);
            let mut answers = answers_in(path, &text, &config).unwrap();
            assert_eq!(answers.directory, "letsencrypt-staging");
            assert_eq!(answers.root_ca_file.as_deref(), Some(Path::new("/r.pem")));
            assert!(!answers.terms_of_service_agreed);

            answers.terms_of_service_agreed = true;
            answers.identifiers = vec!["mail.example.jp".parse().unwrap()];
            answers.issuer = Issuer::Acme;
            let edited = edit(path, &text, &answers).unwrap();
            for line in acme.lines() {
                assert!(edited.contains(line), "{line}: {edited}");
            }
            let acme = v1::parse(path, &edited).unwrap().acme.unwrap();
            assert!(acme.directory.contains("staging"), "{edited}");
        }

        // What would be wrong once a certificate comes by it is told then, and not before.
        let text = "version = 1\n[host]\nname = \"mail.example.jp\"\ndomains = [\"example.jp\"]\n\
                    [acme.challenge]\ntype = \"dns-01\"\n";
        let config = v1::parse(path, text).unwrap();
        let refused = answers_in(path, text, &config).unwrap_err().to_string();
        assert!(refused.contains("dns.provider"), "{refused}");
        let external =
            format!("{text}[[certificate]]\nidentifiers = [\"mail.example.jp\"]\nissuer = \"external\"\n");
        let answers = answers_from(&v1::parse(path, &external).unwrap());
        assert_eq!(edit(path, &external, &answers).unwrap(), external);
    }
}
