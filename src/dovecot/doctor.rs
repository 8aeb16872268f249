//! What is wrong, harmful or obsolete in a Dovecot's configuration, whoever wrote it. Pure.
//!
//! Each finding names what was seen and where it is written, what to do, and the document that says so. Nothing here depends on
//! what the configuration of mailcert wants. doveconf(1) says OK to all of it.
//!
//! Rules: doc.dovecot.org, "Dovecot SSL configuration" and "Upgrading Dovecot CE from 2.3 to 2.4"; RFC 8314; RFC 8996.

mod certificates;
mod complaints;
mod renamed;
mod sockets;

use std::path::{Path, PathBuf};

pub use certificates::{NamedFile, Pair};
pub use complaints::refusal;

use super::{
    desired::{least_memory, memory, size},
    dialect::{Dialect, Setting, Version},
    effective::Effective,
    tree::{Assignment, Scope, Tree},
};
use crate::model::{
    finding::{Finding, Severity},
    name::Identifier,
    template::left_behind,
};

/// What `service config` may use where nothing else is said, in bytes.
const DEFAULT_LIMIT: u64 = 256 << 20;

/// A Dovecot as it is configured.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// dovecot.conf, for findings about no line in particular.
    pub main: &'a Path,
    /// The installed version.
    pub version: Version,
    /// What doveconf(1) makes of it.
    pub effective: &'a Effective,
    /// What it warned about.
    pub warnings: &'a [String],
    /// The files as they are written.
    pub tree: &'a Tree,
    /// What of ours it serves; `None` where nothing of ours is in it.
    pub ours: Option<Ours<'a>>,
    /// The Postfix that asks it who may log in; `None` where there is none.
    pub asker: Option<&'a Asker>,
}

/// What of ours is served to everybody.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// The directory of all live links.
    pub live: &'a Path,
    /// The names of the certificate.
    pub identifiers: &'a [Identifier],
}

/// A Postfix whose users log in through Dovecot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// `mail_owner`: smtpd(8) connects as this user.
    pub user: String,
    /// The groups of that user.
    pub groups: Vec<String>,
    /// The sockets that it asks, each with the service that does.
    pub sockets: Vec<(String, PathBuf)>,
}

/// Looks at everything that can be seen in the configuration alone.
pub fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    patient.version(&mut findings);
    patient.complaints(&mut findings);
    patient.tls(&mut findings);
    patient.passwords(&mut findings);
    patient.protocols(&mut findings);
    patient.names(&mut findings);
    patient.template(&mut findings);
    patient.unread(&mut findings);
    patient.overrides(&mut findings);
    patient.sockets(&mut findings);
    patient.renamed(&mut findings);
    findings
}

fn error(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Error, id, subject, evidence)
}

fn warning(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, id, subject, evidence)
}

fn info(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Info, id, subject, evidence)
}

/// Returns how a block begins: `local_name mail.example.jp`.
fn title(scope: &Scope) -> String {
    match scope.name.as_str() {
        "" => scope.kind.clone(),
        name => format!("{} {name}", scope.kind),
    }
}

impl Patient<'_> {
    fn dialect(&self) -> Dialect {
        self.version.dialect()
    }

    /// Returns the value that counts for everybody.
    fn get(&self, name: &str) -> Option<String> {
        self.effective.root.get(name)
    }

    /// Returns the assignments of a setting, outside of blocks and in those that are for some connections alone.
    fn assignments(&self, name: &str) -> impl Iterator<Item = &Assignment> {
        let is_filter = |scope: &Scope| {
            matches!(
                scope.kind.as_str(),
                "local" | "local_name" | "protocol" | "remote"
            )
        };
        let found = self.tree.assignments.iter();
        found.filter(move |one| one.name == name && one.scope.iter().all(is_filter))
    }

    /// Returns file and line of an assignment.
    fn place(&self, assignment: &Assignment) -> String {
        let file = self.tree.files.get(assignment.file);
        let path = file.map_or(self.main, |(path, _)| path);
        match self.tree.placed(assignment) {
            Some(placed) => format!("{}:{}", path.display(), placed.first + 1),
            None => path.display().to_string(),
        }
    }

    /// Returns where the value that counts for everybody is written.
    fn place_of(&self, name: &str) -> String {
        let last = self.assignments(name).filter(|one| one.scope.is_empty()).last();
        last.map_or_else(|| self.main.display().to_string(), |one| self.place(one))
    }

    /// A version that nobody maintains.
    fn version(&self, findings: &mut Vec<Finding>) {
        if self.version < Version::OLDEST {
            findings.push(
                warning(
                    "dovecot.version",
                    self.main.display().to_string(),
                    format!(
                        "Dovecot {} is maintained by nobody, and mailcert does not know it",
                        self.version
                    ),
                )
                .remedy("upgrade to 2.3 or 2.4")
                .reference("doc.dovecot.org, Upgrading Dovecot v2.2 to v2.3"),
            );
        }
    }

    /// TLS that is off, for everybody or for a protocol.
    fn tls(&self, findings: &mut Vec<Finding>) {
        let name = Setting::Tls.name(self.dialect());
        let reference = "doc.dovecot.org, Dovecot SSL configuration; RFC 8314, 3";
        if self.get(name).as_deref() == Some("no") {
            findings.push(
                error(
                    "dovecot.tls-off",
                    self.place_of(name),
                    "ssl = no: no port offers TLS, and mail is read in clear text",
                )
                .remedy("`mailcert apply dovecot` switches it on; or set ssl = required and name certificate and key")
                .reference(reference),
            );
            return;
        }
        for one in self
            .assignments(name)
            .filter(|one| !one.scope.is_empty() && one.value == "no")
        {
            let scope: Vec<String> = one.scope.iter().map(title).collect();
            findings.push(
                warning(
                    "dovecot.tls-off",
                    self.place(one),
                    format!(
                        "ssl = no in {}: there mail is read in clear text",
                        scope.join(" / ")
                    ),
                )
                .remedy("take it out")
                .reference(reference),
            );
        }
    }

    /// Passwords in clear text before TLS.
    fn passwords(&self, findings: &mut Vec<Finding>) {
        let (name, bad) = match self.dialect() {
            Dialect::V2_3 => ("disable_plaintext_auth", "no"),
            Dialect::V2_4 => ("auth_allow_cleartext", "yes"),
        };
        // `required` asks for TLS before any login, whatever this says.
        if self.get(Setting::Tls.name(self.dialect())).as_deref() == Some("required") {
            return;
        }
        let is_bad_for_all = self.get(name).as_deref() == Some(bad);
        let last = self.assignments(name).filter(|one| one.scope.is_empty()).last();
        let inside = self.assignments(name).filter(|one| !one.scope.is_empty());
        for one in last
            .into_iter()
            .filter(|_| is_bad_for_all)
            .chain(inside)
            .filter(|one| one.value == bad)
        {
            let scope: Vec<String> = one.scope.iter().map(title).collect();
            // For a network that the operator has named, it is his decision.
            let is_limited = one
                .scope
                .iter()
                .any(|scope| matches!(scope.kind.as_str(), "local" | "remote"));
            let evidence = match scope.as_slice() {
                [] => format!("{name} = {bad}: passwords are taken in clear text, before TLS"),
                scope => format!(
                    "{name} = {bad} in {}: there passwords are taken in clear text",
                    scope.join(" / ")
                ),
            };
            let finding = if is_limited { warning } else { error };
            findings.push(
                finding("dovecot.auth-in-clear", self.place(one), evidence)
                    .remedy(format!(
                        "take `{name} = {bad}` out; ssl = required refuses every login before TLS"
                    ))
                    .reference("doc.dovecot.org, Dovecot SSL configuration; RFC 8314, 3"),
            );
        }
    }

    /// The oldest protocol; what nobody set is the installed version's own choice.
    fn protocols(&self, findings: &mut Vec<Finding>) {
        let Some(oldest) = self.get("ssl_min_protocol") else {
            return;
        };
        let place = self.place_of("ssl_min_protocol");
        let remedy = "set ssl_min_protocol = TLSv1.2, or take it out";
        match oldest.as_str() {
            "TLSv1.2" | "TLSv1.3" | "LATEST" => {}
            "ANY" | "SSLv3" | "TLSv1" | "TLSv1.1" => findings.push(
                warning(
                    "dovecot.protocols-old",
                    place,
                    format!("ssl_min_protocol = {oldest}: it allows what is historic"),
                )
                .remedy(remedy)
                .reference("RFC 8996"),
            ),
            _ => findings.push(
                error(
                    "dovecot.protocols-unknown",
                    place,
                    format!("ssl_min_protocol = {oldest}: Dovecot knows no such protocol, and every handshake fails"),
                )
                .remedy(remedy)
                .reference("doc.dovecot.org, ssl_min_protocol"),
            ),
        }
    }

    /// Values that nobody has put in. doveconf(1) takes most of them; Dovecot fails where it needs the value.
    fn template(&self, findings: &mut Vec<Finding>) {
        for one in &self.tree.assignments {
            // `%%` is Dovecot's own: a percent sign that is expanded later.
            let left = left_behind(&one.value).filter(|left| !left.starts_with("%%"));
            if let Some(left) = left {
                findings.push(
                    error(
                        "dovecot.template",
                        self.place(one),
                        format!(
                            "{} = {}: `{left}` was meant to be replaced by a value",
                            one.name, one.value
                        ),
                    )
                    .remedy("put the value in; look at what makes this file, whether it ran to its end")
                    .reference("doc.dovecot.org, Dovecot configuration file"),
                );
            }
        }
    }

    /// More names than the service that keeps the configuration has memory for: it is ended, and Dovecot with it.
    fn names(&self, findings: &mut Vec<Finding>) {
        let n_names = self.tree.n_names;
        let Some(good) = memory(self.dialect(), n_names) else {
            return;
        };
        let needed = least_memory(self.dialect(), n_names);
        let own = self
            .effective
            .root
            .block("service", "config")
            .and_then(|service| service.get("vsz_limit"));
        let is_own = own.is_some();
        let limit = match own.or_else(|| self.get("default_vsz_limit")) {
            // Nothing that is a size: the operator has switched the limit off.
            Some(text) => match size(&text) {
                Some(limit) => limit,
                None => return,
            },
            None => DEFAULT_LIMIT,
        };
        if limit >= needed {
            return;
        }
        let has = if is_own {
            "service config { vsz_limit }"
        } else {
            "default_vsz_limit"
        };
        findings.push(
            // Reloading takes most of it; a start alone takes less.
            if needed > 2 * limit { error } else { warning }(
                "dovecot.names-memory",
                self.main.display().to_string(),
                format!(
                    "{n_names} local_name blocks need about {} MB in the service `config`, and {has} is {} MB: it is ended for want \
                     of memory, and nobody can read mail; doveconf says nothing of it",
                    needed >> 20,
                    limit >> 20
                ),
            )
            .remedy(format!("set `service config {{ vsz_limit = {} M }}`", good >> 20))
            .reference("doc.dovecot.org, Dovecot SSL configuration, With client TLS SNI support"),
        );
    }
}

#[cfg(test)]
mod tests;
