//! What a template engine has left behind: a value that nobody has put in. Pure.
//!
//! Postfix takes most of it as it stands, and fails where it needs the value. A `$name` that nothing defines is told by postconf(1).

use super::{Patient, error};
use crate::model::{finding::Finding, template::left_behind};

impl Patient<'_> {
    /// Values in main.cf and master.cf.
    pub(super) fn template(&self, findings: &mut Vec<Finding>) {
        let explicit = self
            .values
            .iter()
            .filter(|(name, _)| self.main_cf.get(name).is_some());
        let main = explicit.map(|(name, value)| (self.subject.to_owned(), name.to_owned(), value.to_owned()));
        let overridden = self.services.iter().flat_map(|service| {
            service.overrides.iter().map(|one| {
                let value = String::from_utf8_lossy(&one.value).into_owned();
                (service.label(), one.name.clone(), value)
            })
        });
        for (subject, name, value) in main.chain(overridden) {
            if let Some(left) = left_behind(&value) {
                findings.push(
                    error(
                        "postfix.template",
                        subject,
                        format!("{name} = {value}: `{left}` was meant to be replaced by a value"),
                    )
                    .remedy("put the value in; look at what makes this file, whether it ran to its end")
                    .reference("postconf(5)"),
                );
            }
        }
    }
}
