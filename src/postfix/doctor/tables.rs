//! Tables that the installed Postfix cannot read. Pure.
//!
//! Rules: postconf(1), -m; Postfix DATABASE_README.

use super::{Patient, error};
use crate::{
    model::finding::Finding,
    postfix::{submission::words, syntax::Service},
};

impl Patient<'_> {
    /// Types of tables that are named, and that the installation cannot read.
    pub(super) fn tables(&self, findings: &mut Vec<Finding>) {
        const COMPILED: [&str; 6] = ["btree", "cdb", "dbm", "hash", "lmdb", "sdbm"];
        if self.table_types.is_empty() {
            return;
        }
        let is_known = |kind: &str| self.table_types.iter().any(|known| known == kind);
        for kind in COMPILED.into_iter().filter(|kind| !is_known(kind)) {
            let naming: Vec<&str> = self
                .values
                .iter()
                .filter(|(_, value)| names_type(value, kind))
                .map(|(name, _)| name)
                .filter(|name| self.main_cf.get(name).is_some())
                .collect();
            let services = self.services.iter().filter(|service| {
                let values = service
                    .overrides
                    .iter()
                    .map(|one| String::from_utf8_lossy(&one.value));
                values.into_iter().any(|value| names_type(&value, kind))
            });
            let labels: Vec<String> = services.map(Service::label).collect();
            let places: Vec<&str> = naming
                .into_iter()
                .chain(labels.iter().map(String::as_str))
                .collect();
            if !places.is_empty() {
                findings.push(
                    error(
                        "postfix.table-type",
                        self.subject,
                        format!("{} name tables of type `{kind}`, which this Postfix cannot read", places.join(", ")),
                    )
                    .remedy(format!(
                        "make them as `{}` (`postconf -h default_database_type`) by postmap(1), and name that type",
                        self.get("default_database_type")
                    ))
                    .reference("postconf(1), -m; Postfix NON_BERKELEYDB_README"),
                );
            }
        }
    }
}

/// Returns whether a value names a table of this type.
fn names_type(value: &str, kind: &str) -> bool {
    words(value).any(|word| {
        let word = word.strip_prefix("proxy:").unwrap_or(word);
        word.strip_prefix(kind)
            .is_some_and(|rest| rest.starts_with(":/") || rest.starts_with(":$"))
    })
}
