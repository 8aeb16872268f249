//! The doctors of `check postfix` and, in [`dovecot`], of `check dovecot`: configuration by whatever hand, and the key and
//! certificate files that it names.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

pub(super) mod by_hand;
mod chain;
mod client;
pub mod dovecot;
pub(super) mod sasl;
mod served;

use super::{Context, check::roots};
use crate::{
    env::files,
    model::{
        certificate::Chain,
        finding::{Finding, Severity},
        key::{KeyError, PrivateKey},
    },
    postfix::{
        self,
        doctor::{Patient, examine},
        inspect::Instance,
        sni, sni_map,
        submission::words,
        syntax::MainCf,
        values::Version,
    },
    probe::trust::Roots,
};
use chain::Family;

/// Where postconf(5) says how certificates are named.
const SSL_OF_POSTFIX: &str = "postconf(5), smtpd_tls_cert_file";
/// The version that has `smtpd_tls_chain_files`.
const CHAIN_FILES_SINCE: Version = Version::new(3, 4);

/// No file with a key or a chain is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// Looks at an instance, whatever mailcert is to make of it.
pub fn findings(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let mut findings = of_patient(server, examine);
    let mut seen = BTreeSet::new();
    let roots = roots(context).ok().flatten();
    let live = context.store.layout().live_directory();
    for service in server.tls_services().services {
        let files = &service.certificate_files;
        if seen.insert(files.clone()) {
            findings.extend(pair(context, files, roots.as_ref()));
            findings.extend(two_files(files, server.version, &live));
        }
    }
    findings.extend(missing_tables(server));
    findings.extend(sni_maps(context, server));
    findings.extend(client::findings(context, server));
    findings.extend(sasl::findings(context, server));
    findings.extend(served::findings(context, server));
    findings
}

/// Has the two files looked at.
fn of_patient(server: &Instance, look: impl Fn(&Patient<'_>) -> Vec<Finding>) -> Vec<Finding> {
    look(&Patient {
        subject: &server.directory.display().to_string(),
        version: server.version,
        main_cf: &MainCf::parse(&server.main_cf),
        values: &server.values,
        services: &server.services,
        table_types: &server.table_types,
        host: &server.host,
    })
}

/// Returns why the two files are not to be edited as they are.
pub(super) fn unclear(server: &Instance) -> Vec<Finding> {
    of_patient(server, postfix::doctor::unclear)
}

/// Holds the files of one service against each other.
fn pair(context: &Context<'_>, paths: &[PathBuf], roots: Option<&Roots>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut keys, mut chains) = (Vec::new(), Vec::new());
    for path in paths {
        let subject = path.display().to_string();
        let bytes = match files::read(path, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => {
                findings.push(
                    Finding::new(
                        Severity::Error,
                        "postfix.certificate-unusable",
                        subject,
                        format!("main.cf or master.cf names it, and TLS is off for it: {error}"),
                    )
                    .remedy("`mailcert apply postfix` names files that are there")
                    .reference("postconf(5), smtpd_tls_cert_file"),
                );
                continue;
            }
        };
        let is_key = String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----");
        if is_key {
            findings.extend(exposed(path));
        }
        match PrivateKey::from_pem(&bytes) {
            Ok(key) => keys.push((path, key)),
            Err(error @ (KeyError::Encrypted | KeyError::Malformed)) if is_key => findings.push(
                Finding::new(
                    Severity::Error,
                    "postfix.key-unusable",
                    subject.clone(),
                    format!("{error}: STARTTLS is offered, and answered with 454"),
                )
                .remedy(
                    "Postfix needs the key without a passphrase, mode 0600: `openssl pkey -in KEY -out NEW`",
                )
                .reference("postconf(5), smtpd_tls_key_file"),
            ),
            Err(_) => {}
        }
        match Chain::from_pem(&bytes) {
            Ok(chain) => {
                findings.extend(chain::findings(context, Family::Postfix, path, &chain, "", roots));
                chains.push((path, chain));
            }
            Err(error) if !is_key => findings.push(
                Finding::new(
                    Severity::Error,
                    "postfix.certificate-unusable",
                    subject,
                    format!("it holds no certificate: {error}"),
                )
                .remedy("`mailcert apply postfix` names a file that does")
                .reference("postconf(5), smtpd_tls_cert_file"),
            ),
            Err(_) => {}
        }
    }
    // Several pairs belong together in an order that only Postfix knows; one key has to fit one chain.
    if let [(key_path, key)] = keys.as_slice()
        && !chains.is_empty()
        && !chains
            .iter()
            .any(|(_, chain)| chain.leaf.matches_key(&key.public_key_der()))
    {
        findings.push(
            Finding::new(
                Severity::Error,
                "postfix.key-mismatch",
                key_path.display().to_string(),
                "the key does not belong to the certificate: STARTTLS is offered, and answered with 454; `postfix check` says \
                 nothing of it",
            )
            .remedy("name the key that the certificate was made for; `mailcert apply postfix` names a pair that fits")
            .reference("postconf(5), smtpd_tls_key_file"),
        );
    }
    findings
}

/// A key and a certificate that are replaced one after the other. Ours are swapped by one rename of a directory's link.
fn two_files(paths: &[PathBuf], version: Version, live: &Path) -> Option<Finding> {
    let [first, .., last] = paths else { return None };
    let is_ours = paths.iter().all(|path| path.starts_with(live));
    (first != last && !is_ours && version >= CHAIN_FILES_SINCE).then(|| {
        Finding::new(
            Severity::Info,
            "postfix.two-files",
            first.display().to_string(),
            format!(
                "the key is in another file, {}: a process that starts while both are replaced sees a pair that does not fit, and \
                 answers STARTTLS with 454",
                last.display()
            ),
        )
        .remedy("set postfix.tls_layout = \"chain\", then `mailcert apply postfix`: one file, replaced at once")
        .reference("postconf(5), smtpd_tls_key_file, smtpd_tls_chain_files")
    })
}

/// A file with a key that others may read.
fn exposed(path: &Path) -> Option<Finding> {
    let mode = sni_map::mode(path).ok()?;
    (mode & 0o004 != 0).then(|| {
        Finding::new(
            Severity::Error,
            "postfix.key-exposed",
            path.display().to_string(),
            format!("every user of this host may read the private key (mode {mode:04o})"),
        )
        .remedy(format!(
            "`chmod 600 {}`: Postfix reads it as root; think about a new key",
            path.display()
        ))
        .reference("postconf(5), smtpd_tls_key_file")
    })
}

/// A table that is named and not there.
pub(super) struct MissingTable {
    /// The parameter that names it.
    parameter: String,
    /// The table, as it is named: `proxy:hash:/etc/postfix/virtual`.
    pub(super) word: String,
    /// The file that is opened for it.
    needed: PathBuf,
}

impl MissingTable {
    /// Returns its type and its path.
    fn source(&self) -> (&str, &Path) {
        let table = self.word.strip_prefix("proxy:").unwrap_or(&self.word);
        let (kind, path) = table.split_once(':').unwrap_or_default();
        (kind, Path::new(path))
    }
}

impl fmt::Display for MissingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            parameter,
            word,
            needed,
        } = self;
        write!(
            f,
            "{parameter} names {word}, and {} is not there",
            needed.display()
        )
    }
}

/// Returns the tables of these two files that are not there, each once.
fn missing(server: &Instance) -> Vec<MissingTable> {
    /// Types whose file is read itself: a text, or what tells of a database elsewhere (DATABASE_README).
    const READ_ITSELF: [&str; 9] = [
        "cidr", "ldap", "memcache", "mysql", "pcre", "pgsql", "regexp", "sqlite", "texthash",
    ];
    /// What others look after.
    const TOLD_ELSEWHERE: [&str; 3] = ["alias_database", "relay_clientcerts", "tls_server_sni_maps"];
    /// What Postfix makes itself as soon as it needs it.
    const MADE_BY_POSTFIX: [&str; 3] = ["_cache_database", "_cache_map", "address_verify_map"];
    let main_cf = MainCf::parse(&server.main_cf);
    let explicit = server
        .values
        .iter()
        .filter(|(name, _)| main_cf.get(name).is_some());
    let mut values: Vec<(String, String)> = explicit
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for service in &server.services {
        let overridden = service.overrides.iter().map(|one| {
            let value = server.values.expand(&String::from_utf8_lossy(&one.value));
            (one.name.clone(), value)
        });
        values.extend(overridden);
    }
    values.retain(|(name, _)| {
        !TOLD_ELSEWHERE.contains(&name.as_str()) && !MADE_BY_POSTFIX.iter().any(|made| name.ends_with(made))
    });
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (parameter, value) in &values {
        for word in words(value) {
            let table = word.strip_prefix("proxy:").unwrap_or(word);
            let Some((kind, path)) = table.split_once(':').filter(|(_, path)| path.starts_with('/')) else {
                continue;
            };
            let needed = match READ_ITSELF.contains(&kind) {
                true => Some(PathBuf::from(path)),
                false => sni::compiled(kind, Path::new(path)),
            };
            if let Some(needed) = needed.filter(|needed| !needed.exists())
                && seen.insert(needed.clone())
            {
                found.push(MissingTable {
                    parameter: parameter.clone(),
                    word: word.to_owned(),
                    needed,
                });
            }
        }
    }
    found
}

/// Tables that are named and not there: what needs them defers mail, or answers 451.
fn missing_tables(server: &Instance) -> Vec<Finding> {
    let found = missing(server).into_iter().map(|table| {
        let (kind, source) = table.source();
        let subject = format!("{kind}:{}", source.display());
        let remedy = match source.exists() {
            true => format!("`postmap {subject}` makes it (an alias file: `postalias`)"),
            false => "make it, or take it out of the list".to_owned(),
        };
        let evidence = format!(
            "{} names it, and {} is not there: mail that needs it is deferred",
            table.parameter,
            table.needed.display()
        );
        Finding::new(Severity::Error, "postfix.table-missing", subject, evidence)
            .remedy(remedy)
            .reference("postmap(1); Postfix DATABASE_README")
    });
    found.collect()
}

/// Returns those of the missing tables without which mail is not taken or not delivered.
///
/// Aliases are none of them: without a database of them local users have their mail, and `newaliases` has not been run yet.
pub(super) fn needed_tables(server: &Instance) -> Vec<MissingTable> {
    let mut found = missing(server);
    found.retain(|table| table.parameter != "alias_maps");
    found
}

/// SNI maps that are not ours: their compiled files hold keys as well.
fn sni_maps(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let ours = context.store.layout().sni_map();
    let tables = words(server.values.get("tls_server_sni_maps")).filter_map(|word| {
        let (kind, path) = word.split_once(':')?;
        sni::compiled(kind, Path::new(path)).filter(|_| Path::new(path) != ours)
    });
    let exposed = |file: PathBuf| {
        let mode = sni_map::mode(&file).ok().filter(|mode| mode & 0o004 != 0)?;
        let subject = file.display().to_string();
        let evidence =
            format!("every user of this host may read it (mode {mode:04o}), and it holds private keys");
        Some(
            Finding::new(Severity::Error, "postfix.sni-exposed", subject, evidence)
                .remedy("`chmod 600` it and its source: postmap -F gives the map its source's mode; think about new keys")
                .reference("postmap(1), -F"),
        )
    };
    tables.filter_map(exposed).collect()
}
