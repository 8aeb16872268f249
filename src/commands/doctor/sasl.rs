//! Whether somebody answers where Postfix asks who may log in.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};

use super::LIMIT;
use crate::{
    commands::Context,
    env::files,
    model::finding::{Finding, Severity},
    postfix::{
        inspect::{self, Instance},
        sasl::{Backend, Cyrus, Root, backend, is_dovecot_path},
        submission::effective,
    },
};

/// A socket of this host takes a connection at once.
const PATIENCE: Duration = Duration::from_secs(2);

const README: &str = "Postfix SASL_README";

/// What of Cyrus SASL, whoever has it, is told once.
const DOVECOT_INSTEAD: &str = "Dovecot checks the same accounts, and takes no chroot, group or file of its own: smtpd_sasl_type = dovecot";

/// Looks at whom the services ask.
pub(in crate::commands) fn findings(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let mut askers: BTreeMap<(PathBuf, bool), Asker> = BTreeMap::new();
    let mut findings = Vec::new();
    let known = inspect::sasl_types(server).unwrap_or_default();
    for service in &server.services {
        let Some(backend) = backend(service, &server.values, &server.directory) else {
            continue;
        };
        let label = service.label();
        let kind = effective(service, "smtpd_sasl_type", &server.values);
        if !known.is_empty() && !known.contains(&kind) {
            findings.push(
                Finding::new(
                    Severity::Error,
                    "postfix.sasl-type",
                    label,
                    format!(
                        "smtpd_sasl_type = {kind}, and this Postfix has {}: smtpd does not start, and the port is dead",
                        known.join(", ")
                    ),
                )
                .remedy("set smtpd_sasl_type to one that `postconf -a` lists")
                .reference("postconf(5), smtpd_sasl_type"),
            );
            continue;
        }
        if is_dovecot_path(service, &server.values) {
            findings.push(
                Finding::new(
                    Severity::Error,
                    "postfix.sasl-type",
                    label,
                    "smtpd_sasl_path is a socket of Dovecot's, and smtpd_sasl_type is cyrus, its default: nobody can log in",
                )
                .remedy("set smtpd_sasl_type = dovecot")
                .reference("postconf(5), smtpd_sasl_type"),
            );
            continue;
        }
        let root = Root::of(service);
        let (key, whom) = match backend {
            Backend::Elsewhere => continue,
            Backend::Dovecot(socket) => (socket.clone(), Whom::Dovecot(socket)),
            Backend::Cyrus(files) => {
                let found = files.iter().find(|file| file.is_file()).or(files.first());
                let Some(file) = found.cloned() else { continue };
                (file.clone(), Whom::Cyrus(file))
            }
        };
        let asker = askers.entry((key, root == Root::Queue)).or_insert_with(|| Asker {
            root,
            whom,
            labels: Vec::new(),
        });
        asker.labels.push(label);
    }
    let (owner, queue) = (
        server.values.get("mail_owner"),
        Path::new(server.values.get("queue_directory")),
    );
    let user = Login::of(if owner.is_empty() { "postfix" } else { owner });
    for asker in askers.into_values() {
        match &asker.whom {
            Whom::Dovecot(socket) => findings.extend(dovecot(context, &asker, socket)),
            Whom::Cyrus(file) => findings.extend(cyrus(context, &asker, file, queue, &user)),
        }
    }
    findings
}

/// Returns what keeps users from logging in at all.
pub(in crate::commands) fn errors(context: &Context<'_>, server: &Instance) -> Vec<Finding> {
    let found = findings(context, server).into_iter();
    found
        .filter(|finding| finding.severity == Severity::Error)
        .collect()
}

/// Services that ask the same one.
struct Asker {
    root: Root,
    whom: Whom,
    labels: Vec<String>,
}

enum Whom {
    Cyrus(PathBuf),
    Dovecot(PathBuf),
}

impl Asker {
    fn finding(&self, severity: Severity, id: &'static str, evidence: impl Into<String>) -> Finding {
        Finding::new(severity, id, self.labels.join(", "), evidence)
    }
}

/// Says why nobody answers at a socket; `None` when somebody does.
fn silence(context: &Context<'_>, socket: &Path) -> Option<&'static str> {
    let connected = context.wait(async { timeout(PATIENCE, UnixStream::connect(socket)).await });
    match connected {
        Ok(Ok(Ok(_))) => None,
        Ok(Ok(Err(error))) if error.kind() == ErrorKind::NotFound => Some("there is no socket"),
        Ok(Ok(Err(error))) if error.kind() == ErrorKind::ConnectionRefused => Some("nobody listens"),
        // One that nobody but its owner may connect to is told by `check dovecot`; the others are not known to be silent.
        Ok(_) | Err(_) => None,
    }
}

fn dovecot(context: &Context<'_>, asker: &Asker, socket: &Path) -> Option<Finding> {
    let why = silence(context, socket)?;
    let evidence = format!(
        "Postfix asks Dovecot at {} who may log in, and {why}: smtpd ends with `no SASL authentication mechanisms`, and the port \
         is dead",
        socket.display()
    );
    let remedy =
        "start Dovecot; `dovecot.auth_socket = true`, then `mailcert apply dovecot` makes the listener";
    let found = asker.finding(Severity::Error, "postfix.sasl-silent", evidence);
    Some(found.remedy(remedy).reference("postconf(5), smtpd_sasl_path"))
}

fn cyrus(context: &Context<'_>, asker: &Asker, file: &Path, queue: &Path, user: &Login) -> Vec<Finding> {
    let text = match files::read_if_exists(file, LIMIT) {
        Ok(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        Err(_) => return Vec::new(),
    };
    let read = Cyrus::parse(&text);
    let mut findings = Vec::new();
    if let Some(socket) = read.saslauthd() {
        let places = asker.root.places(queue, socket);
        let silent: Vec<(&PathBuf, &str)> = places
            .iter()
            .filter_map(|place| Some((place, silence(context, place)?)))
            .collect();
        if silent.len() == places.len() {
            let (place, why) = silent[0];
            let mut evidence = format!(
                "{} has saslauthd check passwords, and {why} at {}: nobody can log in (454)",
                file.display(),
                place.display()
            );
            let mut remedy = "start saslauthd".to_owned();
            if asker.root == Root::Queue && silence(context, socket).is_none() {
                evidence += "; the service runs in a chroot, and saslauthd listens outside of it";
                remedy = format!(
                    "have it listen inside (`saslauthd -m {}`), or take the service out of the chroot",
                    place.parent().unwrap_or(place).display()
                );
            }
            let found = asker.finding(Severity::Error, "postfix.sasl-silent", evidence);
            findings.push(
                found
                    .remedy(format!("{remedy}. {DOVECOT_INSTEAD}"))
                    .reference(README),
            );
        } else if let Some(barred) = places
            .iter()
            .filter(|place| place.exists())
            .find_map(|place| user.barred(place))
        {
            let evidence = format!(
                "{} has saslauthd check passwords, and {} may not pass {}: nobody can log in (454)",
                file.display(),
                user.name,
                barred.display()
            );
            let remedy = format!(
                "`adduser {} sasl`, or the group that owns it, and restart Postfix. {DOVECOT_INSTEAD}",
                user.name
            );
            let found = asker.finding(Severity::Error, "postfix.sasl-silent", evidence);
            findings.push(found.remedy(remedy).reference(README));
        }
    }
    if let Some(beyond) = read.beyond_saslauthd() {
        let evidence = format!(
            "{}: {beyond}, and saslauthd checks passwords alone: a mail program that picks another way cannot log in",
            file.display()
        );
        let found = asker.finding(Severity::Warning, "postfix.sasl-mechanisms", evidence);
        let remedy = format!("write `mech_list: PLAIN LOGIN` into {}", file.display());
        findings.push(found.remedy(remedy).reference(README));
    }
    if findings.is_empty() {
        let evidence = "passwords are checked by Cyrus SASL, the default of smtpd_sasl_type".to_owned();
        let found = asker.finding(Severity::Info, "postfix.sasl-cyrus", evidence);
        findings.push(found.remedy(DOVECOT_INSTEAD).reference(README));
    }
    findings
}

/// A user, as directories see it.
struct Login {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Login {
    fn of(name: &str) -> Self {
        let user = nix::unistd::User::from_name(name).ok().flatten();
        let groups = user.as_ref().and_then(|user| {
            let name = std::ffi::CString::new(user.name.clone()).ok()?;
            nix::unistd::getgrouplist(&name, user.gid).ok()
        });
        Self {
            name: name.to_owned(),
            uid: user.map_or(u32::MAX, |user| user.uid.as_raw()),
            groups: groups
                .unwrap_or_default()
                .into_iter()
                .map(nix::unistd::Gid::as_raw)
                .collect(),
        }
    }

    /// Returns the first directory on the way to a socket that it may not enter, or the socket when it may not write to it.
    fn barred(&self, socket: &Path) -> Option<PathBuf> {
        let real = socket.canonicalize().ok()?;
        let mut way: Vec<&Path> = real.ancestors().collect();
        way.reverse();
        let is_barred = |path: &&Path| {
            let wanted = if *path == real { 0o2 } else { 0o1 };
            let Ok(meta) = path.metadata() else { return false };
            let mode = meta.permissions().mode();
            let granted = if meta.uid() == self.uid {
                mode >> 6
            } else if self.groups.contains(&meta.gid()) {
                mode >> 3
            } else {
                mode
            };
            granted & wanted == 0
        };
        way.into_iter().find(is_barred).map(Path::to_owned)
    }
}
