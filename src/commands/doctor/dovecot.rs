//! The doctor of `check dovecot`: configuration by whatever hand, the files that it names, and what the ports serve.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use time::format_description::well_known::Rfc3339;

use super::{LIMIT, by_hand, chain::Family};
use crate::{
    commands::{Context, check::roots, dovecot},
    dovecot::{
        doctor::{Asker, NamedFile, Ours, Pair, Patient, examine, refusal},
        endpoints::{is_below, named_certificates},
        inspect::{self, Disk, InspectError, Instance},
        tree::Tree,
    },
    env::files,
    error::{Error, Result},
    model::{
        certificate::{Chain, Sha256},
        endpoint::Endpoint,
        finding::{Finding, Severity},
        key::{KeyError, PrivateKey},
        name::DomainName,
        plan::Change,
    },
    postfix::{self, submission::effective},
    probe::{Client, Dialogue, Outcome, Stage, Target, trust::Roots},
};

/// How many names with a certificate of their own are asked for on the wire.
const SAMPLE: usize = 20;
/// How many pairs of files are read.
const PAIRS_LIMIT: usize = 20_000;

/// The document on certificates.
pub(super) const SSL: &str = "doc.dovecot.org, Dovecot SSL configuration";

/// What `check` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Dovecot was named: it is told, too, that there is none.
    ByName,
    /// It is a part of everything.
    WithEverything,
}

/// Looks at Dovecot.
///
/// # Errors
/// When the ports cannot be asked, or the roots not be read.
pub fn findings(context: &Context<'_>, asked: Asked) -> Result<Vec<Finding>> {
    context.progress.step("looking at Dovecot");
    let directory = &context.config.dovecot.config_directory;
    let main = inspect::main_file(directory);
    let told = |id, evidence: &str| {
        let finding = Finding::new(Severity::Info, id, main.display().to_string(), evidence);
        Ok(if asked == Asked::ByName {
            vec![finding]
        } else {
            Vec::new()
        })
    };
    let is_managed = context.config.dovecot.manage;
    // Who only looks may look at any.
    let Some(doveconf) = context.doveconf() else {
        return told("dovecot.none", "Dovecot is not installed");
    };
    if !is_managed && !main.exists() {
        return told(
            "dovecot.unmanaged",
            "dovecot.manage is false, and there is no Dovecot to look at",
        );
    }
    let server = match inspect::inspect(context.env, doveconf, directory) {
        Ok(server) => server,
        Err(error) => return Ok(vec![refused(&main, &error)]),
    };
    let live = context.store.layout().live_directory();
    let serves_ours = server
        .tls_services()
        .iter()
        .any(|service| is_below(service.certificate_file.as_deref(), &live));
    let ours = context
        .default_certificate()
        .filter(|_| serves_ours)
        .map(|certificate| Ours {
            live: &live,
            identifiers: &certificate.identifiers,
        });
    let asker = asker(context);
    let patient = Patient {
        main: &main,
        version: server.version,
        effective: &server.effective,
        warnings: &server.warnings,
        tree: &server.tree,
        ours,
        asker: asker.as_ref(),
    };
    let mut findings = examine(&patient);
    let roots = roots(context)?;
    let mut seen = BTreeSet::new();
    for pair in patient.pairs().iter().take(PAIRS_LIMIT) {
        let path = |file: &Option<NamedFile>| file.as_ref().map(|file| file.path.clone());
        if seen.insert((path(&pair.certificate), path(&pair.key))) {
            findings.extend(files_of(context, pair, roots.as_ref()));
        }
    }
    findings.extend(served(context, &server)?);
    if is_managed {
        findings.extend(as_wanted(context, &main));
    } else {
        by_hand::adapt(&mut findings, "dovecot");
        findings.push(Finding::new(
            Severity::Info,
            "dovecot.unmanaged",
            main.display().to_string(),
            "dovecot.manage is false: mailcert looks at it, and changes nothing of it",
        ));
    }
    if findings
        .iter()
        .all(|finding| finding.severity < Severity::Warning)
    {
        findings.push(Finding::new(
            Severity::Ok,
            "dovecot.ok",
            main.display().to_string(),
            format!("Dovecot {}: nothing is wrong with it", server.version),
        ));
    }
    // Several blocks may name one broken file.
    findings.dedup();
    Ok(findings)
}

/// Holds the files against what mailcert.toml wants.
fn as_wanted(context: &Context<'_>, main: &Path) -> Vec<Finding> {
    let plan = match dovecot::plan(context, &HashSet::new()) {
        Ok(plan) => plan,
        Err(error) => {
            let evidence: Vec<String> = std::iter::once(error.message).chain(error.causes).collect();
            return vec![
                Finding::new(
                    Severity::Error,
                    "dovecot.refused",
                    main.display().to_string(),
                    evidence.join(": "),
                )
                .remedy(error.remedies.join("\n"))
                .reference("doveconf(1)"),
            ];
        }
    };
    let files = plan.changes.into_iter().filter_map(|change| match change {
        Change::File(change) => Some(change),
        _ => None,
    });
    files
        .map(|change| {
            Finding::new(
                Severity::Warning,
                "dovecot.not-as-wanted",
                change.path.display().to_string(),
                change.reasons.join("; "),
            )
            .remedy("`mailcert plan dovecot` shows the difference, `mailcert apply dovecot` makes it so")
            .reference("doc.dovecot.org, Dovecot configuration file")
        })
        .collect()
}

/// Tells why nothing could be learned.
fn refused(main: &Path, error: &InspectError) -> Finding {
    if let InspectError::Refused { message, .. } = error {
        // 2.4 alone refuses what is gone: its rules of reading are taken.
        let tree = Tree::read(main, crate::dovecot::dialect::Dialect::V2_4, &Disk).ok();
        return refusal(main, message, tree.as_ref());
    }
    Finding::new(
        Severity::Error,
        "dovecot.refused",
        main.display().to_string(),
        error.to_string(),
    )
    .remedy("look whether dovecot.config_directory is right")
    .reference("doveconf(1)")
}

/// Returns the Postfix whose users log in through Dovecot, where there is one.
fn asker(context: &Context<'_>) -> Option<Asker> {
    let server = postfix::inspect::inspect(context.env, &context.config.postfix.config_directory).ok()?;
    let queue = Path::new(server.values.get("queue_directory"));
    let asks = server
        .services
        .iter()
        .filter(|service| service.command == "smtpd")
        .filter_map(|service| {
            let value = |name: &str| effective(service, name, &server.values);
            let path = value("smtpd_sasl_path");
            let is_asked = value("smtpd_sasl_auth_enable").eq_ignore_ascii_case("yes")
                && value("smtpd_sasl_type") == "dovecot"
                && !path.starts_with("inet:");
            is_asked.then(|| (service.label(), queue.join(path.trim_start_matches("unix:"))))
        });
    let sockets: Vec<(String, PathBuf)> = asks.collect();
    // Where main.cf does not say, it is as Postfix is built.
    let owner = server.values.get("mail_owner");
    let user = if owner.is_empty() { "postfix" } else { owner }.to_owned();
    (!sockets.is_empty()).then(|| Asker {
        groups: groups(&user),
        user,
        sockets,
    })
}

/// Returns the groups of a user, the first one first.
fn groups(user: &str) -> Vec<String> {
    let known = nix::unistd::User::from_name(user).ok().flatten();
    let first = known.and_then(|known| nix::unistd::Group::from_gid(known.gid).ok().flatten());
    first.into_iter().map(|group| group.name).collect()
}

/// Returns whom a pair is served to, for the end of a sentence.
fn whom(pair: &Pair) -> String {
    match pair.scope.as_slice() {
        [] => String::new(),
        scope => format!(" ({})", scope.join(" / ")),
    }
}

/// Holds the files of one pair against each other, and against time.
fn files_of(context: &Context<'_>, pair: &Pair, roots: Option<&Roots>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let error = |id, file: &NamedFile, evidence: String| {
        Finding::new(Severity::Error, id, file.path.display().to_string(), evidence).reference(SSL)
    };
    let key = pair.key.as_ref().and_then(|file| {
        let (key, found) = key_of(file, pair);
        findings.extend(found);
        Some((file, key?))
    });
    let chain = pair.certificate.as_ref().and_then(|file| {
        let read = files::read(&file.path, LIMIT).map_err(|error| error.to_string());
        match read.and_then(|bytes| Chain::from_pem(&bytes).map_err(|error| error.to_string())) {
            Ok(chain) => Some((file, chain)),
            Err(why) => {
                findings.push(
                    error(
                        "dovecot.certificate-unusable",
                        file,
                        format!(
                            "{} names it, and every handshake fails, or Dovecot does not start: {why}",
                            file.place
                        ),
                    )
                    .remedy("`mailcert apply dovecot` names a file that holds certificate and chain"),
                );
                None
            }
        }
    });
    if let (Some((file, key)), Some((_, chain))) = (&key, &chain)
        && !chain.leaf.matches_key(&key.public_key_der())
    {
        findings.push(
            error(
                "dovecot.key-mismatch",
                file,
                format!(
                    "the key does not belong to the certificate: every handshake fails{}; `doveconf -n` says nothing of it",
                    whom(pair)
                ),
            )
            .remedy("name the key that the certificate was made for; `mailcert apply dovecot` names a pair that fits"),
        );
    }
    if let Some((file, chain)) = &chain {
        findings.extend(chain_of(context, file, chain, pair, roots));
    }
    findings
}

/// Reads the key of a pair, and tells what is wrong with its file.
fn key_of(file: &NamedFile, pair: &Pair) -> (Option<PrivateKey>, Vec<Finding>) {
    let subject = file.path.display().to_string();
    let unusable = |why: String| {
        Finding::new(
            Severity::Error,
            "dovecot.key-unusable",
            subject.clone(),
            format!(
                "{} names it, and every handshake fails, or Dovecot does not start: {why}",
                file.place
            ),
        )
        .remedy("Dovecot needs the key without a passphrase, mode 0600: `openssl pkey -in KEY -out NEW`")
        .reference(SSL)
    };
    let bytes = match files::read(&file.path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => return (None, vec![unusable(error.to_string())]),
    };
    let mut findings = Vec::new();
    if let Some(mode) = postfix::sni_map::mode(&file.path)
        .ok()
        .filter(|mode| mode & 0o004 != 0)
    {
        findings.push(
            Finding::new(
                Severity::Error,
                "dovecot.key-exposed",
                subject.clone(),
                format!("every user of this host may read the private key (mode {mode:04o})"),
            )
            .remedy(format!(
                "`chmod 600 {subject}`: Dovecot reads it as root; think about a new key"
            ))
            .reference(SSL),
        );
    }
    match PrivateKey::from_pem(&bytes) {
        Ok(key) => return (Some(key), findings),
        // With its passphrase in the configuration Dovecot opens it; a key of another kind may be good as well.
        Err(KeyError::Encrypted) if pair.has_password => {}
        Err(KeyError::Unsupported | KeyError::Cipher) => {}
        Err(error) => findings.push(unusable(error.to_string())),
    }
    (None, findings)
}

/// What is wrong with a certificate that can be read.
fn chain_of(
    context: &Context<'_>,
    file: &NamedFile,
    chain: &Chain,
    pair: &Pair,
    roots: Option<&Roots>,
) -> Vec<Finding> {
    let finding = |severity, id, evidence: String| {
        Finding::new(severity, id, file.path.display().to_string(), evidence).reference(SSL)
    };
    let mut findings = Vec::new();
    if chain.leaf.time_left(context.now()).is_negative() {
        let at = chain.leaf.not_after.format(&Rfc3339).unwrap_or_default();
        let remedy = match context.store.layout().lineage_of(&file.path) {
            Some(lineage) => format!("`mailcert renew {lineage}`, and `mailcert status` tells what failed"),
            None => "`mailcert apply dovecot` names a certificate that is renewed".to_owned(),
        };
        let evidence = format!(
            "the certificate expired at {at}: mail programs refuse it{}",
            whom(pair)
        );
        findings.push(finding(Severity::Error, "dovecot.expired", evidence).remedy(remedy));
    }
    findings.extend(super::chain::findings(
        context,
        Family::Dovecot,
        &file.path,
        chain,
        &whom(pair),
        roots,
    ));
    findings
}

/// Asks the ports whether they serve what the files hold: Dovecot reads a certificate when it is reloaded, and never before.
fn served(context: &Context<'_>, server: &Instance) -> Result<Vec<Finding>> {
    let mut wanted: Vec<(Endpoint, Option<DomainName>, PathBuf)> = Vec::new();
    let services = server.tls_services();
    for service in &services {
        let file = service.certificate_file.clone();
        wanted.extend(file.map(|file| (service.endpoint.clone(), None, file)));
    }
    if let Some(first) = services.first() {
        for (names, file) in named_certificates(&server.effective).into_iter().take(SAMPLE) {
            let name = names.first().and_then(|name| name.parse().ok());
            wanted.extend(name.map(|name| (first.endpoint.clone(), Some(name), file)));
        }
    }
    let host = &context.config.host.name;
    let client =
        Client::new(host.clone()).map_err(|error| Error::failed("ports cannot be asked").cause(error))?;
    context.wait(async {
        let mut targets = Vec::new();
        let mut files = Vec::new();
        for (endpoint, name, file) in &wanted {
            for target in Target::resolve(endpoint, Some(name.as_ref().unwrap_or(host))).await {
                targets.push(target);
                files.push((name.clone(), file));
            }
        }
        let sightings = client.ask_all(&targets, Dialogue::Greet).await;
        let mut findings = Vec::new();
        let mut n_silent = 0;
        for (sighting, (name, file)) in sightings.iter().zip(&files) {
            let served = match &sighting.outcome {
                Outcome::Tls(handshake) => handshake.leaf_sha256,
                Outcome::NotTls { stage: Stage::Connect, .. } => {
                    n_silent += 1;
                    continue;
                }
                // Why it fails is told by the files; what the port does is told by `check tls`.
                Outcome::NotTls { .. } => continue,
            };
            let Some(held) = leaf(file).filter(|held| *held != served) else { continue };
            let for_name = name.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
            findings.push(
                Finding::new(
                    Severity::Error,
                    "dovecot.not-reloaded",
                    sighting.endpoint.to_string(),
                    format!(
                        "it serves the certificate {served}{for_name}, and {} holds {held}: Dovecot was not reloaded since",
                        file.display()
                    ),
                )
                .remedy("`doveadm reload`; `mailcert apply dovecot` has every renewal reload it")
                .reference("doveadm(1), reload"),
            );
        }
        if n_silent > 0 && n_silent == sightings.len() {
            findings.push(
                Finding::new(
                    Severity::Warning,
                    "dovecot.not-running",
                    server.main().display().to_string(),
                    "no port of it takes connections: it does not run, or listens elsewhere",
                )
                .remedy("start it (`systemctl start dovecot`), and look at its log")
                .reference("dovecot(1)"),
            );
        }
        findings
    })
}

/// Returns the leaf that a file holds.
fn leaf(file: &Path) -> Option<Sha256> {
    let bytes = files::read(file, LIMIT).ok()?;
    Chain::from_pem(&bytes).ok().map(|chain| chain.leaf.sha256)
}
