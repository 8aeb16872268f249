//! What this host shows as a client, and the tables of those that may relay by certificate here.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use time::{Duration, format_description::well_known::Rfc3339};

use super::{LIMIT, exposed};
use crate::{
    commands::{Context, client_certificate::is_for_clients},
    env::files,
    model::{
        certificate::{Certificate, Chain},
        finding::{Finding, Severity},
        key::PrivateKey,
    },
    postfix::{
        desired::relay_clients::TABLES,
        inspect::Instance,
        sni, sni_map,
        submission::{effective, words},
    },
};

/// So much before its end somebody has to know that nobody has renewed it.
const SOON: Duration = Duration::days(7);

/// Looks at the certificates that smtp(8) shows, and at the tables that smtpd(8) asks.
pub(super) fn findings(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for service in &server.services {
        match service.command.as_str() {
            "smtp" | "lmtp" => {
                let value = |name: &str| effective(service, name, &server.values);
                let files = shown(&value);
                if !files.is_empty() && seen.insert(files.clone()) {
                    findings.extend(pair(context, &files));
                }
            }
            "smtpd" => {
                for table in words(&effective(service, TABLES, &server.values)) {
                    if seen.insert(vec![PathBuf::from(table)]) {
                        findings.extend(relay_table(table));
                    }
                }
            }
            _ => {}
        }
    }
    findings
}

/// Returns the files of the first pair that a client shows: chain files win over the others (postconf(5)).
fn shown(value: &impl Fn(&str) -> String) -> Vec<PathBuf> {
    let chain = value("smtp_tls_chain_files");
    let files: Vec<String> = match words(&chain).next() {
        Some(_) => words(&chain).map(str::to_owned).collect(),
        None => {
            let pairs = [
                ("smtp_tls_cert_file", "smtp_tls_key_file"),
                ("smtp_tls_eccert_file", "smtp_tls_eckey_file"),
            ];
            let pair = pairs.map(|(certificate, key)| [value(certificate), value(key)]);
            let first = pair.into_iter().find(|[certificate, _]| !certificate.is_empty());
            first.into_iter().flatten().collect()
        }
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for file in files.iter().filter(|file| file.starts_with('/')) {
        if !paths.iter().any(|known| known == Path::new(file)) {
            paths.push(file.into());
        }
    }
    paths
}

fn finding(severity: Severity, id: &'static str, subject: &Path, evidence: impl Into<String>) -> Finding {
    Finding::new(severity, id, subject.display().to_string(), evidence)
        .reference("postconf(5), smtp_tls_cert_file")
}

/// Holds key and chain against each other, and against what they are for.
fn pair(context: &Context<'_>, paths: &[PathBuf]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut key, mut chain) = (None, None);
    let unusable = |path: &Path, why: String| {
        finding(
            Severity::Error,
            "postfix.client-certificate-unusable",
            path,
            format!("{why}: TLS of outgoing mail is off"),
        )
        .remedy("name a certificate and the key that it was made for, without a passphrase: postfix.client_certificate")
    };
    for path in paths {
        let bytes = match files::read(path, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => {
                findings.push(unusable(
                    path,
                    format!("main.cf or master.cf names it, and it cannot be read: {error}"),
                ));
                continue;
            }
        };
        if String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----") {
            findings.extend(exposed(path));
            match PrivateKey::from_pem(&bytes) {
                Ok(found) => key = Some((path, found)),
                Err(error) => findings.push(unusable(path, error.to_string())),
            }
        }
        if let Ok(found) = Chain::from_pem(&bytes) {
            chain = Some((path, found.leaf));
        }
    }
    if let (Some((path, key)), Some((_, leaf))) = (&key, &chain)
        && !leaf.matches_key(&key.public_key_der())
    {
        findings.push(unusable(
            path,
            "the key does not belong to the certificate".to_owned(),
        ));
    }
    if let Some((path, leaf)) = &chain {
        findings.extend(dates(context, path, leaf));
        findings.extend(usage(path, leaf));
    }
    findings
}

/// A certificate that has expired, or that nobody has renewed.
fn dates(context: &Context<'_>, path: &Path, leaf: &Certificate) -> Option<Finding> {
    let left = leaf.time_left(context.now());
    let severity = match left {
        left if left < Duration::ZERO => Severity::Error,
        left if left < SOON => Severity::Warning,
        _ => return None,
    };
    let at = leaf.not_after.format(&Rfc3339).unwrap_or_default();
    let evidence = match severity {
        Severity::Error => {
            format!("the client certificate expired at {at}: relays that verify it refuse mail from here")
        }
        _ => format!("the client certificate expires at {at}"),
    };
    let is_lineage = context.store.layout().lineage_of(path);
    let remedy = match is_lineage {
        Some(lineage) => format!("`mailcert renew {lineage}`, and `mailcert status` tells what failed"),
        None => {
            "get a new one; a lineage named as postfix.client_certificate is renewed by itself".to_owned()
        }
    };
    Some(finding(severity, "postfix.client-certificate-expired", path, evidence).remedy(remedy))
}

/// A certificate that is for servers alone.
fn usage(path: &Path, leaf: &Certificate) -> Option<Finding> {
    (!is_for_clients(leaf)).then(|| {
        finding(
            Severity::Warning,
            "postfix.client-certificate-usage",
            path,
            format!(
                "it is for {}, not for clients (clientAuth): relays that verify client certificates call it untrusted, or refuse \
                 it",
                leaf.extended_key_usages.join(", ")
            ),
        )
        .remedy("public CAs issue none for clients since 2026; take one of a private CA: `mailcert ca issue --profile client`")
    })
}

/// A table that says who may relay: it has to be there, and root's alone to write.
fn relay_table(table: &str) -> Option<Finding> {
    let (kind, path) = table.strip_prefix("proxy:").unwrap_or(table).split_once(':')?;
    let path = Path::new(path).is_absolute().then(|| PathBuf::from(path))?;
    let about = |severity, id, evidence: String| {
        Finding::new(severity, id, table, evidence).reference("postconf(5), relay_clientcerts")
    };
    let files = [sni::compiled(kind, &path), Some(path.clone())];
    if let Some(compiled) = &files[0]
        && !compiled.exists()
    {
        return Some(
            about(
                Severity::Error,
                "postfix.relay-clients-missing",
                format!("{} is not there: smtpd cannot start", compiled.display()),
            )
            .remedy(format!(
                "`postmap {kind}:{}` makes it; `mailcert apply postfix` makes the one of mailcert",
                path.display()
            )),
        );
    }
    files.into_iter().flatten().find_map(|file| {
        let mode = sni_map::mode(&file).ok().filter(|mode| mode & 0o022 != 0)?;
        Some(
            about(
                Severity::Error,
                "postfix.relay-clients-writable",
                format!(
                    "{} may be written by others (mode {mode:04o}): whoever can, can let himself relay",
                    file.display()
                ),
            )
            .remedy(format!("`chmod go-w {}`, and see who is in it", file.display())),
        )
    })
}
