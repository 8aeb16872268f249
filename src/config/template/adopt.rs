//! What another client's directory adds to a configuration: certificates, hooks, and where there is no CA yet, that. Pure.
//!
//! What is new goes into tables of its own, or at the end of those that are there. Nothing that stands in the file is changed, but
//! for a certificate that came from that client until now: it is ordered by us from then on.

use std::{path::Path, path::PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{EditError, Wanted, edit, edit::child, list, wanted_of_provider};
use crate::{
    config::{
        self, Challenge, Http01, KeyType, Provider, ReuseKey,
        hook::{Chain, ChallengeStyle, Command, Style},
        v1,
    },
    model::name::Identifier,
};

/// What is added.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// The CA, where the file has none.
    pub acme: Option<Acme>,
    /// Where records are written, where the file says nothing of it.
    pub provider: Option<Provider>,
    /// The lineages.
    pub certificates: Vec<Certificate>,
    /// The hooks.
    pub hooks: Vec<Hook>,
}

/// A CA that is added.
#[derive(Clone, Debug)]
pub struct Acme {
    /// A known CA's name, or a directory's URL.
    pub directory: String,
    /// Whether its terms were agreed to.
    pub terms_of_service_agreed: bool,
    /// Trust for its own HTTPS.
    pub root_ca_file: Option<PathBuf>,
    /// The profile to order by.
    pub profile: Option<String>,
    /// The topmost issuer that is wanted.
    pub preferred_chain: Option<String>,
    /// How names are proven.
    pub challenge: Proof,
}

/// How names are proven.
#[derive(Clone, Debug)]
pub enum Proof {
    /// By us.
    Own(Challenge),
    /// By a program: whether it is dns-01, its conventions, itself, and its file of variables.
    Hook(bool, ChallengeStyle, Command, Option<PathBuf>),
}

/// A lineage that is added.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Its name.
    pub name: String,
    /// Its names.
    pub identifiers: Vec<Identifier>,
    /// The kind of its key.
    pub key: KeyType,
    /// Whether a renewal keeps the key.
    pub reuse_key: ReuseKey,
}

/// A hook that is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The list of `[hooks]`: pre, deploy or post.
    pub list: &'static str,
    /// Its conventions.
    pub style: Style,
    /// What is run.
    pub command: Command,
    /// The lineages that it is for; empty: all.
    pub lineages: Vec<String>,
}

/// Returns an existing file with the additions. `file` is only used to name it in errors.
///
/// # Errors
/// When the file is wrong before or after, or has a table that nothing can be added to.
pub fn adopt(file: &Path, existing: &str, additions: &Additions) -> Result<String, EditError> {
    let config = v1::parse(file, existing).map_err(EditError::Existing)?;
    let unset = |what: &str| EditError::Unset(what.to_owned());
    // toml_edit drops the byte order mark and writes line feeds.
    let (mark, text) = match existing.strip_prefix('\u{feff}') {
        Some(text) => ("\u{feff}", text),
        None => ("", existing),
    };
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut document: DocumentMut = text.replace("\r\n", "\n").parse().map_err(|_| unset(""))?;
    if let Some(acme) = &additions.acme {
        add_acme(&mut document, acme).ok_or_else(|| unset("acme"))?;
    }
    if let Some(provider) = &additions.provider {
        let table = table(&mut document, &["dns", "provider"]).ok_or_else(|| unset("dns.provider"))?;
        for key in wanted_of_provider(Some(provider)) {
            if let Some(value) = key.value {
                table.insert(key.name, Item::Value(value));
            }
        }
    }
    for certificate in &additions.certificates {
        let known = config
            .certificates
            .iter()
            .position(|one| one.name == certificate.name && one.issuer == config::Issuer::External);
        if let Some(index) = known {
            convert(&mut document, index, &config.certificates[index], certificate)
                .ok_or_else(|| unset("certificate"))?;
            continue;
        }
        push(&mut document, &[], "certificate", certificate_keys(certificate))
            .ok_or_else(|| unset("certificate"))?;
    }
    for hook in &additions.hooks {
        push(&mut document, &["hooks"], hook.list, hook_keys(hook))
            .ok_or_else(|| unset(&format!("hooks.{}", hook.list)))?;
    }
    let trailing = document.trailing().as_str().unwrap_or_default();
    let text = behind_comments(&text.replace("\r\n", "\n"), &document.to_string(), trailing);
    let text = format!("{mark}{}", text.replace('\n', line_end));
    v1::parse(file, &text).map_err(EditError::Edited)?;
    Ok(text)
}

/// Puts what was added to the end of a file behind the comments that stood there: they belong to the table before.
fn behind_comments(before: &str, after: &str, comments: &str) -> String {
    let added = || {
        let body = before.strip_suffix(comments)?;
        after.strip_suffix(comments)?.strip_prefix(body)
    };
    match added() {
        Some(added) => format!("{before}{added}"),
        None => after.to_owned(),
    }
}

/// Returns what `[acme]` says in a file in which no certificate comes by ACME yet; `None` where it is missing, or says too little.
pub fn written_acme(file: &Path, existing: &str) -> Option<config::Acme> {
    let additions = Additions {
        certificates: vec![Certificate {
            name: "any.invalid".to_owned(),
            identifiers: vec!["any.invalid".parse().ok()?],
            key: KeyType::EcdsaP256,
            reuse_key: ReuseKey::WhilePublished,
        }],
        ..Additions::default()
    };
    let text = adopt(file, existing, &additions).ok()?;
    v1::parse(file, &text).ok()?.acme
}

/// Adds what `[acme]` lacks.
fn add_acme(document: &mut DocumentMut, acme: &Acme) -> Option<()> {
    let text = |text: &str| Some(Value::from(text));
    let place = table(document, &["acme"])?;
    for (name, value) in [
        ("directory", text(&acme.directory)),
        (
            "terms_of_service_agreed",
            Some(acme.terms_of_service_agreed.into()),
        ),
        ("root_ca_file", acme.root_ca_file.as_deref().map(super::path)),
        ("profile", acme.profile.as_deref().map(Value::from)),
        (
            "preferred_chain",
            acme.preferred_chain.as_deref().map(Value::from),
        ),
    ] {
        if let Some(value) = value.filter(|_| !place.contains_key(name)) {
            place.insert(name, Item::Value(value));
        }
    }
    if place.contains_key("challenge") {
        return Some(());
    }
    let place = table(document, &["acme", "challenge"])?;
    let addresses = |addresses: &[std::net::SocketAddr]| (!addresses.is_empty()).then(|| list(addresses));
    let (kind, listen, webroot, hook) = match &acme.challenge {
        Proof::Own(Challenge::Dns01) => ("dns-01", None, None, None),
        Proof::Own(Challenge::Http01(Http01::Listen(listen))) => ("http-01", addresses(listen), None, None),
        Proof::Own(Challenge::Http01(Http01::Webroot(root))) => {
            ("http-01", None, Some(super::path(root)), None)
        }
        Proof::Own(Challenge::TlsAlpn01(listen)) => ("tls-alpn-01", addresses(listen), None, None),
        Proof::Hook(is_dns, style, command, env_file) => (
            if *is_dns { "dns-01" } else { "http-01" },
            None,
            None,
            Some(challenge_hook(style, command, env_file.as_deref())),
        ),
    };
    place.insert("type", Item::Value(kind.into()));
    for (name, value) in [("listen", listen), ("webroot", webroot), ("hook", hook)] {
        if let Some(value) = value {
            place.insert(name, Item::Value(value));
        }
    }
    Some(())
}

fn challenge_hook(style: &ChallengeStyle, command: &Command, env_file: Option<&Path>) -> Value {
    let mut table = InlineTable::new();
    let name = match style {
        ChallengeStyle::AcmeSh(_) => "acme.sh",
        ChallengeStyle::Certbot(_) => "certbot",
        ChallengeStyle::Dehydrated(_) => "dehydrated",
        ChallengeStyle::LegoExec => "lego-exec",
        ChallengeStyle::LegoExecRaw => "lego-exec-raw",
        ChallengeStyle::Mailcert => "mailcert",
        ChallengeStyle::Uacme => "uacme",
    };
    table.insert("style", name.into());
    let (key, value) = command_key(command);
    table.insert(key, value);
    match style {
        ChallengeStyle::AcmeSh(api) => {
            table.insert("dnsapi", api.as_str().into());
        }
        ChallengeStyle::Certbot(Some(cleanup)) => {
            let (key, value) = match command_key(cleanup) {
                ("shell", value) => ("cleanup_shell", value),
                (_, value) => ("cleanup", value),
            };
            table.insert(key, value);
        }
        ChallengeStyle::Dehydrated(Chain::Yes) => {
            table.insert("chain", true.into());
        }
        _ => {}
    }
    if let Some(file) = env_file {
        table.insert("env_file", super::path(file));
    }
    table.into()
}

/// Has a certificate that another client renewed until now come from the CA: with the names and the kind of key that it has, and
/// with every name that the file wants of it.
fn convert(
    document: &mut DocumentMut,
    index: usize,
    written: &config::Certificate,
    theirs: &Certificate,
) -> Option<()> {
    let mut set = |name, value: Value| {
        let key = Wanted {
            table: "certificate",
            name,
            value: Some(value),
        };
        edit::set(document, &key, Some(index))
    };
    set("issuer", "acme".into())?;
    let more = theirs
        .identifiers
        .iter()
        .filter(|name| !written.identifiers.contains(name));
    let names: Vec<&Identifier> = written.identifiers.iter().chain(more).collect();
    if names.len() > written.identifiers.len() {
        set("identifiers", list(&names))?;
    }
    if theirs.key != written.key {
        set("key", theirs.key.name().into())?;
    }
    if theirs.reuse_key != written.reuse_key && written.reuse_key == ReuseKey::WhilePublished {
        let reuse_key = match theirs.reuse_key {
            ReuseKey::Always => "always",
            ReuseKey::Never => "never",
            ReuseKey::WhilePublished => "while-published",
        };
        set("reuse_key", reuse_key.into())?;
    }
    Some(())
}

fn certificate_keys(certificate: &Certificate) -> Vec<(&'static str, Value)> {
    let mut keys = Vec::new();
    let is_default = certificate
        .identifiers
        .first()
        .is_some_and(|first| first.lineage_name() == certificate.name);
    if !is_default {
        keys.push(("name", certificate.name.as_str().into()));
    }
    keys.push(("identifiers", list(&certificate.identifiers)));
    if certificate.key != KeyType::EcdsaP256 {
        keys.push(("key", certificate.key.name().into()));
    }
    match certificate.reuse_key {
        ReuseKey::Always => keys.push(("reuse_key", "always".into())),
        ReuseKey::Never => keys.push(("reuse_key", "never".into())),
        ReuseKey::WhilePublished => {}
    }
    keys
}

fn hook_keys(hook: &Hook) -> Vec<(&'static str, Value)> {
    let style = match hook.style {
        Style::AcmeSh => "acme.sh",
        Style::Certbot => "certbot",
        Style::Dehydrated => "dehydrated",
        Style::Lego4 => "lego4",
        Style::Lego5 => "lego5",
        Style::Mailcert => "mailcert",
    };
    let mut keys = vec![("style", style.into()), command_key(&hook.command)];
    if !hook.lineages.is_empty() {
        keys.push(("lineages", list(&hook.lineages)));
    }
    keys
}

fn command_key(command: &Command) -> (&'static str, Value) {
    match command {
        Command::Directory(path) => ("directory", super::path(path)),
        Command::Run(words) => match words.as_slice() {
            [program] => ("run", program.as_str().into()),
            words => ("run", words.iter().map(String::as_str).collect::<Array>().into()),
        },
        Command::Shell(line) => ("shell", line.as_str().into()),
    }
}

/// Returns a table, made where it is missing. `None`: something else stands there.
fn table<'a>(document: &'a mut DocumentMut, path: &[&str]) -> Option<&'a mut dyn TableLike> {
    let mut item = document.as_item_mut();
    for name in path {
        item = child(item, name)?;
    }
    item.as_table_like_mut()
}

/// Adds a table to a list of tables, in the manner in which the list is written. `None`: something else stands there.
fn push(
    document: &mut DocumentMut,
    above: &[&str],
    name: &str,
    keys: Vec<(&'static str, Value)>,
) -> Option<()> {
    let mut item = document.as_item_mut();
    for name in above {
        if let Item::Table(parent) = item
            && !parent.contains_key(name)
        {
            let mut new = Table::new();
            // It has no lines of its own: only the lists below it are written.
            new.set_implicit(true);
            parent.insert(name, Item::Table(new));
        }
        item = child(item, name)?;
    }
    let parent = item.as_table_like_mut()?;
    if let Some(Item::Value(Value::Array(list))) = parent.get_mut(name) {
        let table: InlineTable = keys.into_iter().collect();
        list.push(table);
        return Some(());
    }
    let list = parent
        .entry(name)
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let mut table = Table::new();
    for (key, value) in keys {
        table.insert(key, Item::Value(value));
    }
    list.as_array_of_tables_mut()?.push(table);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Rfc2136, SecretSource, TsigAlgorithm, provider::Cloud};

    fn additions() -> Additions {
        let certificate = |name: &str, identifiers: &[&str]| Certificate {
            name: name.to_owned(),
            identifiers: identifiers.iter().map(|name| name.parse().unwrap()).collect(),
            key: KeyType::Rsa(2048),
            reuse_key: ReuseKey::Always,
        };
        let hook = |list, command, lineages: &[&str]| Hook {
            list,
            style: Style::Certbot,
            command,
            lineages: lineages.iter().map(|name| (*name).to_owned()).collect(),
        };
        Additions {
            acme: Some(Acme {
                directory: "letsencrypt".to_owned(),
                terms_of_service_agreed: true,
                root_ca_file: None,
                profile: Some("classic".to_owned()),
                preferred_chain: None,
                challenge: Proof::Hook(
                    true,
                    ChallengeStyle::Certbot(Some(Command::Shell("rm \"x\"".to_owned()))),
                    Command::Shell("echo 'x'".to_owned()),
                    Some("/etc/mailcert/dns.env".into()),
                ),
            }),
            provider: None,
            certificates: vec![
                certificate("old-name", &["mail.example.jp", "imap.example.jp"]),
                certificate("www.example.jp", &["www.example.jp"]),
            ],
            hooks: vec![
                hook(
                    "deploy",
                    Command::Shell("postfix reload".to_owned()),
                    &["old-name"],
                ),
                hook("deploy", Command::Directory("/etc/hooks".into()), &[]),
                hook(
                    "post",
                    Command::Run(vec!["/bin/true".to_owned(), "x".to_owned()]),
                    &[],
                ),
            ],
        }
    }

    fn added(existing: &str, additions: &Additions) -> (String, Config) {
        let file = Path::new("m.toml");
        let text = adopt(file, existing, additions).unwrap();
        let config = v1::parse(file, &text).unwrap();
        (text, config)
    }

    const HOST: &str = "version = 1 # ours\n[host]\nname = \"mail.example.jp\"\ndomains = [\"example.jp\"]\n";

    #[test]
    fn everything_is_added_and_nothing_that_stood_there_is_changed() {
        for existing in [
            HOST.to_owned(),
            format!("{HOST}\n[hooks]\ndeploy = [{{ run = \"/bin/true\" }}]\n"),
            format!("{HOST}\n[[hooks.deploy]]\nrun = \"/bin/true\"\n[hooks.x]\n").replace("[hooks.x]\n", ""),
            format!("hooks.deploy = []\ncertificate = []\n{HOST}"),
            format!("{HOST}\n[acme]\ndirectory = \"zerossl\"\nterms_of_service_agreed = true\n"),
            HOST.replace('\n', "\r\n"),
            format!("{HOST}[dns]\n#ttl = 3600\n# the end\n"),
        ] {
            let (text, config) = added(&existing, &additions());
            let names: Vec<&str> = config.certificates.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, ["old-name", "www.example.jp"], "{text}");
            assert_eq!(config.certificates[0].key, KeyType::Rsa(2048));
            assert_eq!(config.certificates[0].reuse_key, ReuseKey::Always);
            let own = usize::from(existing.contains("/bin/true"));
            assert_eq!(config.hooks.deploy.len(), 2 + own, "{text}");
            assert_eq!(config.hooks.deploy[own].lineages, ["old-name"]);
            assert_eq!(config.hooks.post.len(), 1);
            let acme = config.acme.unwrap();
            assert_eq!(acme.directory.contains("zerossl"), existing.contains("zerossl"));
            assert!(
                acme.challenge_hook.is_some() && acme.challenge == Challenge::Dns01,
                "{text}"
            );
            // Comments stay below what they are about.
            if existing.ends_with("# the end\n") {
                assert!(text.starts_with(&existing), "{text}");
            }
            for line in existing.lines().filter(|line| !line.contains("= [")) {
                assert!(text.contains(line), "{line}: {text}");
            }
        }
    }

    #[test]
    fn a_provider_is_added_and_what_would_be_wrong_is_refused() {
        let mut some = additions();
        some.provider = Some(Provider::Rfc2136(Rfc2136 {
            server: "192.0.2.1:53".parse().unwrap(),
            key_name: "k".parse().unwrap(),
            algorithm: TsigAlgorithm::HmacSha512,
            secret: SecretSource::File("/etc/mailcert/tsig".into()),
        }));
        if let Some(acme) = &mut some.acme {
            acme.challenge = Proof::Own(Challenge::Dns01);
        }
        let (text, config) = added(HOST, &some);
        assert!(config.dns.provider.is_some(), "{text}");
        let file = Path::new("m.toml");
        some.provider = Some(Provider::Cloud(Cloud {
            service: "cloudflare".to_owned(),
            secret: SecretSource::File("/etc/mailcert/cloudflare-credentials".into()),
        }));
        assert_eq!(added(HOST, &some).1.dns.provider, some.provider);
        let again = adopt(file, &text, &additions());
        assert!(matches!(again, Err(EditError::Edited(_))), "{again:?}");
        assert!(matches!(
            adopt(file, "", &additions()),
            Err(EditError::Existing(_))
        ));

        assert_eq!(written_acme(file, HOST), None);
        let acme = "[acme]\ndirectory = \"zerossl\"\nterms_of_service_agreed = true\n";
        let written = written_acme(file, &format!("{HOST}{acme}")).unwrap();
        assert!(written.directory.contains("zerossl"), "{written:?}");
    }
}
