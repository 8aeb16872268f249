//! The commented file that `init` writes, and careful edits to one that exists. Pure.
//!
//! [`render`] writes a new file: what differs from the defaults is active, the most useful other keys stand commented
//! with their default. [`edit`] changes in an existing file only what the answers change; comments, order and spacing
//! stay. Names, defaults and comments come from [`v1::schema`](super::v1::schema).

use std::{
    fmt,
    path::{Path, PathBuf},
};

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{
    Certificate, Challenge, Config, Http01, Issuer, Provider, Publish, SecretSource, Timer, TsigAlgorithm,
    v1::{
        self, ConfigErrors,
        schema::{self, Key, join},
    },
};
use crate::model::{
    authority,
    name::{DomainName, Identifier},
};

/// What `init` asks, or takes from its flags. Paths are UTF-8: TOML holds no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Where certificates, keys and the journal are kept.
    pub state_directory: PathBuf,
    /// What the MX records name.
    pub host: DomainName,
    /// Mail domains served here.
    pub domains: Vec<DomainName>,
    /// Names in the certificate that Postfix serves; empty: no certificate is written.
    pub identifiers: Vec<Identifier>,
    /// Who issues it.
    pub issuer: Issuer,
    /// A known CA's name, or a directory's URL.
    pub directory: String,
    /// PEM file with the roots that the directory's own HTTPS is verified by.
    pub root_ca_file: Option<PathBuf>,
    /// `mailto:` URIs.
    pub contact: Vec<String>,
    /// The operator has read the CA's terms and agrees.
    pub terms_of_service_agreed: bool,
    /// How names are proven.
    pub challenge: Challenge,
    /// What wakes `renew`.
    pub timer: Timer,
    /// The Postfix instance.
    pub postfix_config_directory: PathBuf,
    /// Dovecot is to be left alone, whether or not it is installed.
    pub leave_dovecot: bool,
    /// Where records are written.
    pub provider: Option<Provider>,
    /// What `apply dns` may write.
    pub publish: Vec<Publish>,
}

impl Answers {
    /// Returns the defaults for a host: one certificate by ACME for its name.
    pub fn new(host: DomainName, domains: Vec<DomainName>) -> Self {
        let default_path = |table, name| {
            let default = schema::find(table, name).and_then(Key::default);
            PathBuf::from(default.as_ref().and_then(Value::as_str).unwrap_or_default())
        };
        Self {
            state_directory: default_path("", "state_directory"),
            identifiers: vec![host.clone().into()],
            host,
            domains,
            issuer: Issuer::Acme,
            directory: "letsencrypt".to_owned(),
            root_ca_file: None,
            contact: Vec::new(),
            terms_of_service_agreed: false,
            challenge: Challenge::Http01(Http01::Listen(Vec::new())),
            timer: Timer::Auto,
            postfix_config_directory: default_path("postfix", "config_directory"),
            leave_dovecot: false,
            provider: None,
            publish: Vec::new(),
        }
    }
}

/// Returns the answers that a configuration stands for; of several certificates, the one that Postfix serves.
pub fn answers_from(config: &Config) -> Answers {
    answers_for(config, config.default_certificate())
}

fn answers_for(config: &Config, certificate: Option<&Certificate>) -> Answers {
    let mut answers = Answers::new(config.host.name.clone(), config.host.domains.clone());
    answers.state_directory.clone_from(&config.state_directory);
    answers.identifiers.clear();
    if let Some(certificate) = certificate {
        answers.identifiers.clone_from(&certificate.identifiers);
        answers.issuer = certificate.issuer;
    }
    if let Some(acme) = &config.acme {
        let known = authority::by_directory(&acme.directory);
        answers.directory = known.map_or_else(|| acme.directory.clone(), |known| known.name.to_owned());
        answers.root_ca_file.clone_from(&acme.root_ca_file);
        answers.contact.clone_from(&acme.contact);
        answers.terms_of_service_agreed = acme.terms_of_service_agreed;
        answers.challenge = acme.challenge.clone();
    }
    answers.timer = config.renew.timer;
    answers
        .postfix_config_directory
        .clone_from(&config.postfix.config_directory);
    answers.provider.clone_from(&config.dns.provider);
    answers.publish.clone_from(&config.dns.publish);
    answers
}

/// A key that the answers decide.
struct Wanted {
    table: &'static str,
    name: &'static str,
    /// `None`: the default, or nothing.
    value: Option<Value>,
}

impl Wanted {
    fn new(table: &'static str, name: &'static str, value: Option<Value>) -> Self {
        let default = schema::find(table, name).and_then(Key::default);
        let is_default = |value: &Value| default.as_ref().is_some_and(|default| is_same(value, default));
        Self {
            table,
            name,
            value: value.filter(|value| !is_default(value)),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let same_value = match (&self.value, &other.value) {
            (Some(a), Some(b)) => is_same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.table == other.table && self.name == other.name && same_value
    }
}

/// Returns whether two values mean the same, however they are written.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Boolean(a), Value::Boolean(b)) => a.value() == b.value(),
        (Value::String(a), Value::String(b)) => a.value() == b.value(),
        _ => false,
    }
}

/// Returns the keys that the answers decide, in the order of the schema. Those of `[acme]` are left out where nothing
/// comes by ACME.
fn wanted(answers: &Answers) -> Vec<Wanted> {
    let mut keys = vec![
        Wanted::new("", "state_directory", Some(path(&answers.state_directory))),
        Wanted::new("host", "name", Some(answers.host.as_str().into())),
        Wanted::new("host", "domains", Some(list(&answers.domains))),
    ];
    if is_by_acme(answers) {
        keys.extend(wanted_of_acme(answers));
    }
    if !answers.identifiers.is_empty() {
        let issuer = match answers.issuer {
            Issuer::Acme => "acme",
            Issuer::External => "external",
        };
        keys.push(Wanted::new(
            "certificate",
            "identifiers",
            Some(list(&answers.identifiers)),
        ));
        keys.push(Wanted::new("certificate", "issuer", Some(issuer.into())));
    }
    let timer = match answers.timer {
        Timer::Auto => "auto",
        Timer::Cron => "cron",
        Timer::None => "none",
        Timer::Systemd => "systemd",
    };
    keys.push(Wanted::new("renew", "timer", Some(timer.into())));
    keys.push(Wanted::new(
        "postfix",
        "config_directory",
        Some(path(&answers.postfix_config_directory)),
    ));
    keys.push(Wanted::new(
        "dovecot",
        "manage",
        answers.leave_dovecot.then(|| false.into()),
    ));
    let publish: Vec<&str> = answers.publish.iter().map(|Publish::Spf| "spf").collect();
    keys.push(Wanted::new("dns", "publish", Some(list(&publish))));
    keys.extend(wanted_of_provider(answers.provider.as_ref()));
    keys
}

/// Returns whether a certificate comes by ACME.
fn is_by_acme(answers: &Answers) -> bool {
    answers.issuer == Issuer::Acme && !answers.identifiers.is_empty()
}

fn wanted_of_acme(answers: &Answers) -> [Wanted; 7] {
    let (kind, addresses, webroot) = match &answers.challenge {
        Challenge::Dns01 => ("dns-01", &[][..], None),
        Challenge::Http01(Http01::Listen(addresses)) => ("http-01", addresses.as_slice(), None),
        Challenge::Http01(Http01::Webroot(webroot)) => ("http-01", &[][..], Some(path(webroot))),
    };
    [
        Wanted::new("acme", "directory", Some(answers.directory.as_str().into())),
        Wanted::new("acme", "contact", Some(list(&answers.contact))),
        Wanted::new(
            "acme",
            "terms_of_service_agreed",
            Some(answers.terms_of_service_agreed.into()),
        ),
        Wanted::new("acme", "root_ca_file", answers.root_ca_file.as_deref().map(path)),
        Wanted::new("acme.challenge", "type", Some(kind.into())),
        Wanted::new("acme.challenge", "listen", Some(list(addresses))),
        Wanted::new("acme.challenge", "webroot", webroot),
    ]
}

fn wanted_of_provider(provider: Option<&Provider>) -> [Wanted; 7] {
    let text = |value: &str| Some(Value::from(value));
    let provider = provider.map(|Provider::Rfc2136(provider)| provider);
    let (secret_file, secret_env, secret_credential) = match provider.map(|provider| &provider.secret) {
        Some(SecretSource::Credential(name)) => (None, None, text(name)),
        Some(SecretSource::Env(name)) => (None, text(name), None),
        Some(SecretSource::File(file)) => (Some(path(file)), None, None),
        None => (None, None, None),
    };
    let algorithm = provider.map(|provider| match provider.algorithm {
        TsigAlgorithm::HmacSha256 => "hmac-sha256",
        TsigAlgorithm::HmacSha384 => "hmac-sha384",
        TsigAlgorithm::HmacSha512 => "hmac-sha512",
    });
    let key = |name, value| Wanted::new("dns.provider", name, value);
    [
        key("type", provider.map(|_| "rfc2136".into())),
        key(
            "server",
            provider.map(|provider| provider.server.to_string().into()),
        ),
        key(
            "key_name",
            provider.map(|provider| provider.key_name.as_str().into()),
        ),
        key("algorithm", algorithm.map(Value::from)),
        key("secret_file", secret_file),
        key("secret_env", secret_env),
        key("secret_credential", secret_credential),
    ]
}

fn path(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

/// Returns a list of strings; a long one has a line for each.
fn list<T: ToString>(members: &[T]) -> Value {
    const WIDTH: usize = 90;
    let mut array: Array = members.iter().map(T::to_string).collect();
    if array.to_string().len() > WIDTH {
        array
            .iter_mut()
            .for_each(|member| member.decor_mut().set_prefix("\n    "));
        array.set_trailing("\n");
        array.set_trailing_comma(true);
    }
    array.into()
}

/// The keys that a new file shows commented where they have their default.
const SHOWN: &[&str] = &[
    "state_directory",
    "acme.directory",
    "acme.contact",
    "acme.challenge.type",
    "acme.challenge.listen",
    "certificate.key",
    "certificate.group",
    "certificate.mode",
    "renew.before",
    "renew.timer",
    "postfix.config_directory",
    "postfix.tls_layout",
    "postfix.client_ca",
    "postfix.verify",
    "dns.provider",
    "dns.publish",
    "dns.spf",
];

/// Returns a new file.
pub fn render(answers: &Answers) -> String {
    let wanted = wanted(answers);
    let mut text = "\
# What this mail host should be: `mailcert plan` shows what differs, `mailcert apply` makes it so.\n\
# A line that begins with `#` and a key shows its default, or an example.\n\n"
        .to_owned();
    text.push_str(&line("", "version", &1.into(), ""));
    for table in [
        "",
        "host",
        "acme",
        "acme.challenge",
        "certificate",
        "renew",
        "postfix",
        "dovecot",
        "dns",
        "dns.provider",
    ] {
        let lines: String = schema::keys_of(table)
            .filter_map(|key| key_line(key, answers, &wanted))
            .collect();
        let header = match table {
            "" => String::new(),
            "certificate" => "\n[[certificate]]\n".to_owned(),
            _ => format!("\n[{table}]\n"),
        };
        let is_left_out = match table {
            "acme" | "acme.challenge" => !is_by_acme(answers),
            "certificate" => answers.identifiers.is_empty(),
            _ => false,
        };
        if !is_left_out && !lines.is_empty() {
            text.push_str(&header);
            text.push_str(&lines);
        }
    }
    text
}

/// Returns the line of a key: active, commented, or none.
fn key_line(key: &Key, answers: &Answers, wanted: &[Wanted]) -> Option<String> {
    let wanted = wanted
        .iter()
        .find(|wanted| wanted.table == key.table && wanted.name == key.name);
    if let Some(value) = wanted.and_then(|wanted| wanted.value.as_ref()) {
        return Some(line("", key.name, value, key.meaning));
    }
    let path = key.path();
    let is_useless = match path.as_str() {
        "acme.challenge.listen" => answers.challenge != Challenge::Http01(Http01::Listen(Vec::new())),
        "dns.provider" => answers.provider.is_some(),
        _ => false,
    };
    if is_useless || !SHOWN.contains(&path.as_str()) {
        return None;
    }
    let value = key.default().or_else(|| key.example.parse().ok())?;
    Some(line("#", key.name, &value, key.meaning))
}

/// Returns `name = value`, and its meaning as a comment where it does not take a line of its own.
fn line(mark: &str, name: &str, value: &Value, meaning: &str) -> String {
    const COLUMN: usize = 40;
    let setting = format!("{mark}{name} = {}", value.to_string().trim());
    if meaning.is_empty() {
        return format!("{setting}\n");
    }
    if setting.len() > COLUMN || setting.contains('\n') {
        return format!("# {meaning}\n{setting}\n");
    }
    format!("{setting:<COLUMN$}# {meaning}\n")
}

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

/// Returns an existing file with the answers in it. Only keys whose meaning changes are touched; with the answers that
/// [`answers_from`] read from it, a file stays byte for byte as it is. `file` is only used to name it in errors.
///
/// # Errors
/// When the file is wrong before or after.
pub fn edit(file: &Path, existing: &str, answers: &Answers) -> Result<String, EditError> {
    let config = v1::parse(file, existing).map_err(EditError::Existing)?;
    let old = answers_from(&config);
    let (old_keys, new_keys) = (wanted(&old), wanted(answers));
    // What `[acme]` says is not in the configuration where nothing comes by ACME.
    let is_known = |key: &Wanted| config.acme.is_some() || !key.table.starts_with("acme");
    let is_unchanged = |key: &Wanted| is_known(key) && old_keys.iter().any(|old| old.is_same(key));
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
    let text = format!("{mark}{}", document.to_string().replace('\n', line_end));
    let config = v1::parse(file, &text).map_err(EditError::Edited)?;
    let read_back = wanted(&answers_for(&config, config.certificates.get(index.unwrap_or(0))));
    // Whether Dovecot is left alone is not in the configuration yet.
    match new_keys
        .iter()
        .find(|key| key.table != "dovecot" && !read_back.iter().any(|read| read.is_same(key)))
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
fn set(document: &mut DocumentMut, key: &Wanted, certificate: Option<usize>) -> Option<()> {
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
fn child<'a>(parent: &'a mut Item, name: &str) -> Option<&'a mut Item> {
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
    let default = || schema::find(key.table, key.name).and_then(Key::default);
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
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{Rfc2136, Verify};

    fn answers() -> Answers {
        let mut answers = Answers::new(
            "mail.example.jp".parse().unwrap(),
            vec!["example.jp".parse().unwrap()],
        );
        answers.terms_of_service_agreed = true;
        answers
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn full() -> Answers {
        Answers {
            state_directory: "/srv/\"mail\\cert\" #1".into(),
            domains: vec!["example.jp".parse().unwrap(), "メール.example".parse().unwrap()],
            identifiers: (0..20)
                .map(|n| format!("*.a{n}.example.jp").parse().unwrap())
                .collect(),
            directory: "https://127.0.0.2:14000/dir".to_owned(),
            root_ca_file: Some("/tmp/root.pem".into()),
            contact: vec!["mailto:o'neil@example.jp".to_owned()],
            challenge: Challenge::Dns01,
            timer: Timer::Cron,
            postfix_config_directory: "/etc/postfix-mx".into(),
            leave_dovecot: true,
            provider: Some(Provider::Rfc2136(Rfc2136 {
                server: "[2001:db8::53]:5353".parse().unwrap(),
                key_name: "mail.key".parse().unwrap(),
                algorithm: TsigAlgorithm::HmacSha512,
                secret: SecretSource::Credential("tsig".to_owned()),
            })),
            publish: vec![Publish::Spf],
            ..answers()
        }
    }

    fn variants() -> Vec<Answers> {
        let listen = Challenge::Http01(Http01::Listen(addresses(&["127.0.0.2:5002", "[::1]:80"])));
        let webroot = Challenge::Http01(Http01::Webroot("/var/www".into()));
        let external = Answers {
            issuer: Issuer::External,
            terms_of_service_agreed: false,
            ..answers()
        };
        vec![
            answers(),
            full(),
            Answers {
                challenge: listen,
                timer: Timer::None,
                ..answers()
            },
            Answers {
                challenge: webroot,
                directory: "letsencrypt-staging".to_owned(),
                ..answers()
            },
            external,
        ]
    }

    fn read(text: &str) -> Config {
        v1::parse(Path::new("m.toml"), text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    #[test]
    fn a_rendered_file_is_read_back_as_it_was_answered() {
        for answers in variants() {
            let text = render(&answers);
            let expected = Answers {
                leave_dovecot: false,
                ..answers
            };
            assert_eq!(answers_from(&read(&text)), expected, "{text}");
        }
    }

    #[test]
    fn every_commented_key_may_be_uncommented() {
        for answers in variants() {
            let text = render(&answers);
            let is_example = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
            assert!(text.lines().filter(is_example).count() > 7, "{text}");
            let all: Vec<&str> = text
                .lines()
                .map(|line| if is_example(&line) { &line[1..] } else { line })
                .collect();
            let config = read(&all.join("\n"));
            let provider = answers.provider.clone().or(config.dns.provider.clone());
            let expected = Answers {
                leave_dovecot: false,
                provider,
                ..answers
            };
            assert_eq!(answers_from(&config), expected, "{text}");
            assert_eq!(config.postfix.verify, Verify::Auto);
        }
    }

    #[test]
    fn every_shown_key_is_in_the_schema() {
        for path in SHOWN {
            assert!(schema::KEYS.iter().any(|key| key.path() == *path), "{path}");
        }
    }

    #[test]
    fn a_new_file_is_short() {
        let text = render(&answers());
        assert!(text.lines().count() < 50, "{text}");
        assert!(
            text.contains("\n[host]\nname = \"mail.example.jp\"                # what the MX records name"),
            "{text}"
        );
        assert!(text.contains("\n#timer = \"auto\" "), "{text}");
    }

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
            include_str!("../../examples/config/minimal.toml"),
            include_str!("../../examples/config/dns-01-rfc2136.toml"),
            include_str!("../../examples/config/keep-my-client.toml"),
            include_str!("../../examples/config/local-test.toml"),
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
                assert_eq!(
                    answers_from(&read(&text)),
                    Answers {
                        leave_dovecot: false,
                        ..new
                    },
                    "{text}"
                );
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
}
