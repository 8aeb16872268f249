//! The commented file that `init` writes, and careful edits to one that exists. Pure.
//!
//! [`render`] writes a new file: what differs from the defaults is active, the most useful other keys stand commented
//! with their default. [`edit()`] changes in an existing file only what the answers change; comments, order and spacing
//! stay. Names, defaults and comments come from [`v1::schema`](super::v1::schema).

pub mod adopt;
mod edit;

use std::path::{Path, PathBuf};

use toml_edit::{Array, Value};

use super::{
    Acme, Certificate, Challenge, Config, ExternalAccount, Http01, Issuer, Provider, Publish, SecretSource,
    Timer, TsigAlgorithm,
    v1::schema::{self, Key},
};
use crate::model::{
    authority,
    name::{DomainName, Identifier},
};

pub use edit::{EditError, answers_in, complete, edit, names_host};

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
    /// The customer's account that the CA binds ours to.
    pub external_account: Option<ExternalAccount>,
    /// How names are proven.
    pub challenge: Challenge,
    /// What wakes `renew`.
    pub timer: Timer,
    /// The Postfix instance.
    pub postfix_config_directory: PathBuf,
    /// Where the dovecot.conf of the Dovecot instance is.
    pub dovecot_config_directory: PathBuf,
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
            PathBuf::from(default.and_then(Value::as_str).unwrap_or_default())
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
            external_account: None,
            challenge: Challenge::Http01(Http01::Listen(Vec::new())),
            timer: Timer::Auto,
            postfix_config_directory: default_path("postfix", "config_directory"),
            dovecot_config_directory: default_path("dovecot", "config_directory"),
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
        take_acme(&mut answers, acme);
    }
    answers.timer = config.renew.timer;
    answers
        .postfix_config_directory
        .clone_from(&config.postfix.config_directory);
    answers.provider.clone_from(&config.dns.provider);
    answers.publish.clone_from(&config.dns.publish);
    answers
        .dovecot_config_directory
        .clone_from(&config.dovecot.config_directory);
    answers.leave_dovecot = !config.dovecot.manage;
    answers
}

fn take_acme(answers: &mut Answers, acme: &Acme) {
    let known = authority::by_directory(&acme.directory);
    answers.directory = known.map_or_else(|| acme.directory.clone(), |known| known.name.to_owned());
    answers.root_ca_file.clone_from(&acme.root_ca_file);
    answers.contact.clone_from(&acme.contact);
    answers.terms_of_service_agreed = acme.terms_of_service_agreed;
    answers.external_account.clone_from(&acme.external_account);
    answers.challenge = acme.challenge.clone();
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
        keys.extend(wanted_of_external_account(answers.external_account.as_ref()));
    }
    if !answers.identifiers.is_empty() {
        let issuer = match answers.issuer {
            Issuer::Acme => "acme",
            Issuer::Ca => "ca",
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
    keys.push(Wanted::new(
        "dovecot",
        "config_directory",
        Some(path(&answers.dovecot_config_directory)),
    ));
    let publish: Vec<&str> = answers.publish.iter().map(|family| family.word()).collect();
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
        Challenge::TlsAlpn01(addresses) => ("tls-alpn-01", addresses.as_slice(), None),
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

fn wanted_of_external_account(account: Option<&ExternalAccount>) -> [Wanted; 4] {
    let key = |name, value| Wanted::new("acme.eab", name, value);
    let (file, env, credential) = wanted_of_secret(account.map(|account| &account.hmac_key));
    [
        key("key_id", account.map(|account| account.key_id.as_str().into())),
        key("hmac_key_file", file),
        key("hmac_key_env", env),
        key("hmac_key_credential", credential),
    ]
}

/// Returns where a secret comes from: a file, a variable, or a credential.
fn wanted_of_secret(source: Option<&SecretSource>) -> (Option<Value>, Option<Value>, Option<Value>) {
    match source {
        Some(SecretSource::Credential(name)) => (None, None, Some(name.into())),
        Some(SecretSource::Env(name)) => (None, Some(name.into()), None),
        Some(SecretSource::File(file)) => (Some(path(file)), None, None),
        None => (None, None, None),
    }
}

/// Returns the keys of a provider that takes dynamic updates; of the others, which `init` does not ask for, only the type.
fn wanted_of_provider(provider: Option<&Provider>) -> [Wanted; 8] {
    let word = provider.map(Provider::name);
    let (provider, cloud) = match provider {
        Some(Provider::Rfc2136(provider)) => (Some(provider), None),
        Some(Provider::Cloud(cloud)) => (None, Some(cloud)),
        _ => (None, None),
    };
    let secret = provider
        .map(|provider| &provider.secret)
        .or(cloud.map(|cloud| &cloud.secret));
    let (secret_file, secret_env, secret_credential) = wanted_of_secret(secret);
    let algorithm = provider.map(|provider| match provider.algorithm {
        TsigAlgorithm::HmacSha256 => "hmac-sha256",
        TsigAlgorithm::HmacSha384 => "hmac-sha384",
        TsigAlgorithm::HmacSha512 => "hmac-sha512",
    });
    let key = |name, value| Wanted::new("dns.provider", name, value);
    [
        key("type", word.map(Value::from)),
        key("service", cloud.map(|cloud| cloud.service.as_str().into())),
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
    "dovecot.manage",
    "dovecot.config_directory",
    "dovecot.auth_socket",
    "dovecot.verify",
    "dns.servers",
    "dns.provider",
    "dns.publish",
    "dns.spf",
    "dns.dmarc",
    "dns.mta_sts",
    "dns.tls_rpt",
    "dns.caa",
    "dns.srv",
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
        "acme.eab",
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
            "acme" | "acme.challenge" | "acme.eab" => !is_by_acme(answers),
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
        "acme.challenge.listen" => {
            let empty = [
                Challenge::Http01(Http01::Listen(Vec::new())),
                Challenge::TlsAlpn01(Vec::new()),
            ];
            !empty.contains(&answers.challenge)
        }
        "dns.provider" => answers.provider.is_some(),
        _ => false,
    };
    if is_useless || !SHOWN.contains(&path.as_str()) {
        return None;
    }
    let value = key.default().cloned().or_else(|| key.example.parse().ok())?;
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{Rfc2136, Verify, v1};

    pub fn answers() -> Answers {
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

    pub fn full() -> Answers {
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
            dovecot_config_directory: "/etc/dovecot-mx".into(),
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

    pub fn variants() -> Vec<Answers> {
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
                challenge: Challenge::TlsAlpn01(Vec::new()),
                directory: "zerossl".to_owned(),
                external_account: Some(ExternalAccount {
                    key_id: "kid-1".to_owned(),
                    hmac_key: SecretSource::File("/etc/mailcert/eab".into()),
                }),
                ..answers()
            },
            Answers {
                challenge: Challenge::TlsAlpn01(addresses(&["127.0.0.2:5001", "[::1]:443"])),
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

    pub fn read(text: &str) -> Config {
        v1::parse(Path::new("m.toml"), text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    #[test]
    fn a_rendered_file_is_read_back_as_it_was_answered() {
        for answers in variants() {
            let text = render(&answers);
            assert_eq!(answers_from(&read(&text)), answers, "{text}");
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
            let expected = Answers { provider, ..answers };
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
        assert!(text.lines().count() < 60, "{text}");
        assert!(
            text.contains("\n[host]\nname = \"mail.example.jp\"                # what the MX records name"),
            "{text}"
        );
        assert!(text.contains("\n#timer = \"auto\" "), "{text}");
    }
}
