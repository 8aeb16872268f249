//! The files that certificates and keys are read from, and what wins over ours. Pure.
//!
//! Rules: doc.dovecot.org, "Dovecot SSL configuration".

use super::{Ours, Patient, error, title, warning};
use crate::{
    dovecot::{
        dialect::{Dialect, Setting},
        effective::HIDDEN,
        endpoints::is_covered,
        tree::Scope,
    },
    model::finding::Finding,
};
use std::path::PathBuf;

/// A file that a setting names, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The file.
    pub path: PathBuf,
    /// File and line of the setting.
    pub place: String,
}

/// Certificate and key that are served together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The blocks that they stand in; empty: for everybody.
    pub scope: Vec<String>,
    /// The certificate; `None` where the value names no file.
    pub certificate: Option<NamedFile>,
    /// The key; `None` where the value names no file.
    pub key: Option<NamedFile>,
    /// Whether a password for the key is set.
    pub has_password: bool,
}

/// A setting as it counts somewhere.
struct Counted {
    value: String,
    place: String,
}

impl Patient<'_> {
    /// Returns what is served: to everybody, and in each block that has a certificate or a key of its own.
    pub fn pairs(&self) -> Vec<Pair> {
        let password = match self.dialect() {
            Dialect::V2_3 => "ssl_key_password",
            Dialect::V2_4 => "ssl_server_key_password",
        };
        let has_password = self.get(password).is_some_and(|value| !value.is_empty());
        let file = |scope: &[Scope], setting: Setting| {
            let counted = self.counted(scope, setting)?;
            Some(NamedFile {
                path: self.dialect().named_file(&counted.value)?.into(),
                place: counted.place,
            })
        };
        let mut pairs = Vec::new();
        for scope in self.scopes() {
            let [certificate, key, second, second_key] = Setting::CERTIFICATES;
            for (certificate, key) in [(certificate, key), (second, second_key)] {
                let is_own = |setting: &Setting| self.own(&scope, *setting).is_some();
                if !scope.is_empty() && ![certificate, key].iter().any(is_own) {
                    continue;
                }
                let (certificate, key) = (file(&scope, certificate), file(&scope, key));
                if certificate.is_some() || key.is_some() {
                    pairs.push(Pair {
                        scope: scope.iter().map(title).collect(),
                        certificate,
                        key,
                        has_password,
                    });
                }
            }
        }
        pairs
    }

    /// Returns the blocks in which a certificate or a key is set; first none at all.
    fn scopes(&self) -> Vec<Vec<Scope>> {
        let mut scopes = vec![Vec::new()];
        for setting in Setting::CERTIFICATES {
            for one in self.assignments(setting.name(self.dialect())) {
                if scopes.last() != Some(&one.scope) && !scopes.contains(&one.scope) {
                    scopes.push(one.scope.clone());
                }
            }
        }
        scopes
    }

    /// Returns the value that is set in a block itself.
    fn own(&self, scope: &[Scope], setting: Setting) -> Option<Counted> {
        let found = self.assignments(setting.name(self.dialect()));
        let last = found.filter(|one| one.scope == scope).last()?;
        Some(Counted {
            value: last.value.clone(),
            place: self.place(last),
        })
    }

    /// Returns the value that counts in a block: its own, else that of everybody.
    fn counted(&self, scope: &[Scope], setting: Setting) -> Option<Counted> {
        let counted = self.own(scope, setting).or_else(|| self.own(&[], setting));
        // A variable in it is Dovecot's to expand; where it hides the result, nothing is known.
        let counted = counted.filter(|one| !one.value.is_empty())?;
        if !counted.value.contains('$') {
            return Some(counted);
        }
        let value = self
            .get(setting.name(self.dialect()))
            .filter(|value| value != HIDDEN)?;
        Some(Counted { value, ..counted })
    }

    /// Values that name no file, although their author thought so; and none at all.
    pub(super) fn unread(&self, findings: &mut Vec<Finding>) {
        let dialect = self.dialect();
        if self.get(Setting::Tls.name(dialect)).as_deref() == Some("no") {
            return;
        }
        let reference = "doc.dovecot.org, Dovecot SSL configuration";
        for scope in self.scopes() {
            for setting in Setting::CERTIFICATES {
                let Some(own) = self.own(&scope, setting) else {
                    continue;
                };
                let name = setting.name(dialect);
                let (evidence, remedy) = match dialect {
                    Dialect::V2_3 if own.value.starts_with('/') => (
                        format!(
                            "{name} = {}: without `<` the path itself is taken for the certificate's text, and every handshake \
                             fails; doveconf says nothing of it",
                            own.value
                        ),
                        format!("write `{name} = <{}`", own.value),
                    ),
                    Dialect::V2_4 if own.value.starts_with('<') => (
                        format!(
                            "{name} = {}: 2.4 takes a file's name; with `<`, what is in the file is taken for one, and Dovecot does \
                             not start",
                            own.value
                        ),
                        format!("write `{name} = {}`", own.value.trim_start_matches('<').trim()),
                    ),
                    _ => continue,
                };
                findings.push(
                    error("dovecot.file-not-read", own.place, evidence)
                        .remedy(remedy)
                        .reference(reference),
                );
            }
        }
        let missing: Vec<&str> = [Setting::Certificate, Setting::Key]
            .into_iter()
            .map(|setting| setting.name(dialect))
            .filter(|name| self.get(name).is_none_or(|value| value.is_empty()))
            .collect();
        if !missing.is_empty() {
            findings.push(
                error(
                    "dovecot.certificate-unset",
                    self.main.display().to_string(),
                    format!(
                        "{} is not set: TLS is offered, and every handshake fails",
                        missing.join(" and ")
                    ),
                )
                .remedy("`mailcert apply dovecot` names certificate and key")
                .reference(reference),
            );
        }
    }

    /// Blocks whose certificate counts in the place of ours.
    pub(super) fn overrides(&self, findings: &mut Vec<Finding>) {
        let Some(ours) = self.ours else { return };
        for pair in self.pairs().iter().filter(|pair| !pair.scope.is_empty()) {
            let Some(certificate) = &pair.certificate else {
                continue;
            };
            let Some(who) = outdone(&pair.scope, ours).filter(|_| !certificate.path.starts_with(ours.live))
            else {
                continue;
            };
            findings.push(
                warning(
                    "dovecot.override",
                    certificate.place.clone(),
                    format!(
                        "{} is served {who}, in the place of the certificate of mailcert: {} counts first, and renewals do not \
                         reach it",
                        certificate.path.display(),
                        pair.scope.join(" / ")
                    ),
                )
                .remedy("take it out; `mailcert apply dovecot` comments it out, and `mailcert undo` brings it back")
                .reference("doc.dovecot.org, Dovecot configuration file, Filters"),
            );
        }
    }
}

/// Returns who gets a block's certificate, where ours is for them as well.
fn outdone(scope: &[String], ours: Ours<'_>) -> Option<String> {
    let names: Vec<&str> = scope
        .iter()
        .filter_map(|title| title.strip_prefix("local_name "))
        .flat_map(str::split_whitespace)
        .collect();
    if names.is_empty() {
        return Some(format!("in {}", scope.join(" / ")));
    }
    let ours: Vec<&str> = names
        .into_iter()
        .filter(|name| is_covered(name, ours.identifiers))
        .collect();
    (!ours.is_empty()).then(|| format!("to those who ask for {}", ours.join(" ")))
}
