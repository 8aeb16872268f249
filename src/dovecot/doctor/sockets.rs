//! The sockets at which others ask Dovecot who may log in. Pure.
//!
//! Whoever can connect to one may try passwords as fast as he likes. Rules: doc.dovecot.org, "Postfix and Dovecot SASL";
//! connecting needs the right to write (unix(7)).

use std::path::Path;

use super::{Asker, Patient, error, warning};
use crate::{
    dovecot::{effective::Block, syntax::Statement},
    model::finding::Finding,
};

/// Listeners that everybody may connect to, by Dovecot's own choice: it asks the kernel who does.
const OPEN_BY_DESIGN: [&str; 4] = [
    "auth-userdb",
    "login/login",
    "token-login/tokenlogin",
    "auth-legacy",
];

/// Who may connect to a listener.
struct Access {
    user: String,
    group: String,
    mode: u32,
}

impl Access {
    /// What doveconf(1) leaves out has its default: root alone.
    fn of(block: Option<&Block>) -> Self {
        let get = |name: &str| block.and_then(|block| block.get(name)).unwrap_or_default();
        Self {
            user: get("user"),
            group: get("group"),
            mode: u32::from_str_radix(&get("mode"), 8).unwrap_or(0o600),
        }
    }

    fn lets(&self, asker: &Asker) -> bool {
        let is_group = asker.groups.contains(&self.group);
        // A variable is Dovecot's to expand.
        let is_unknown = self.user.starts_with('$') || self.group.starts_with('$');
        is_unknown
            || (self.user == asker.user && self.mode & 0o200 != 0)
            || (is_group && self.mode & 0o020 != 0)
            || self.mode & 0o002 != 0
    }

    fn describe(&self) -> String {
        let or_root = |text: &str| {
            if text.is_empty() {
                "root".to_owned()
            } else {
                text.to_owned()
            }
        };
        format!(
            "mode {:04o}, user {}, group {}",
            self.mode,
            or_root(&self.user),
            or_root(&self.group)
        )
    }
}

impl Patient<'_> {
    /// Listeners of the service `auth`.
    pub(super) fn sockets(&self, findings: &mut Vec<Finding>) {
        let auth = self.effective.root.block("service", "auth");
        let listeners = auth.into_iter().flat_map(|auth| auth.blocks("unix_listener"));
        for listener in listeners.filter(|one| !OPEN_BY_DESIGN.contains(&one.name.as_str())) {
            let access = Access::of(Some(listener));
            if access.mode & 0o002 == 0 {
                continue;
            }
            // Postfix keeps others out of this directory of its queue; nobody else does.
            let is_shut = Path::new(&listener.name)
                .parent()
                .is_some_and(|parent| parent.ends_with("private"));
            let (finding, how): (fn(_, String, String) -> Finding, _) = if is_shut {
                (warning, "only the directory around it keeps other users out")
            } else {
                (error, "every user of this host may connect")
            };
            findings.push(
                finding(
                    "dovecot.auth-socket-open",
                    self.listener_place(&listener.name),
                    format!(
                        "unix_listener {} has mode {:04o}: {how}, and try passwords as fast as the host can",
                        listener.name, access.mode
                    ),
                )
                .remedy(
                    "set mode = 0600, user = postfix, group = postfix; dovecot.auth_socket = true does it",
                )
                .reference("doc.dovecot.org, Postfix and Dovecot SASL"),
            );
        }
        if let Some(asker) = self.asker {
            self.asked(asker, auth, findings);
        }
    }

    /// The sockets that Postfix asks.
    fn asked(&self, asker: &Asker, auth: Option<&Block>, findings: &mut Vec<Finding>) {
        for (service, socket) in &asker.sockets {
            let path = socket.display().to_string();
            if !self.has_listener(&path) {
                findings.push(
                    error(
                        "dovecot.auth-socket-missing",
                        path.clone(),
                        format!("{service} of Postfix asks there who may log in, and Dovecot does not listen: nobody can log in"),
                    )
                    .remedy("set dovecot.auth_socket = true, then `mailcert apply dovecot`")
                    .reference("doc.dovecot.org, Postfix and Dovecot SASL"),
                );
                continue;
            }
            let access = Access::of(auth.and_then(|auth| auth.block("unix_listener", &path)));
            if !access.lets(asker) {
                findings.push(
                    error(
                        "dovecot.auth-socket-owner",
                        self.listener_place(&path),
                        format!(
                            "unix_listener {path} has {}: Postfix connects as {}, and may not, so that nobody can log in",
                            access.describe(),
                            asker.user
                        ),
                    )
                    .remedy(format!("set mode = 0600, user = {0}, group = {0}; dovecot.auth_socket = true does it", asker.user))
                    .reference("doc.dovecot.org, Postfix and Dovecot SASL"),
                );
            }
        }
    }

    /// Returns whether a listener is written anywhere: one with every default is left out of doveconf(1)'s print.
    fn has_listener(&self, path: &str) -> bool {
        let auth = self.effective.root.block("service", "auth");
        auth.and_then(|auth| auth.block("unix_listener", path)).is_some() || self.opened(path).is_some()
    }

    /// Returns where a listener is written: the last block of its name.
    fn opened(&self, path: &str) -> Option<String> {
        let files = self.tree.files.iter().rev();
        let is_it = |statement: &Statement| matches!(statement, Statement::Open(kind, name) if kind == "unix_listener" && name == path);
        files
            .flat_map(|(file, read)| read.statements.iter().rev().map(move |placed| (file, placed)))
            .find(|(_, placed)| is_it(&placed.statement))
            .map(|(file, placed)| format!("{}:{}", file.display(), placed.first + 1))
    }

    fn listener_place(&self, path: &str) -> String {
        self.opened(path)
            .unwrap_or_else(|| self.main.display().to_string())
    }
}
