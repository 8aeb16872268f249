//! What a template engine has left behind: a value that nobody has put in. Pure.
//!
//! Postfix takes most of it as it stands, and fails where it needs the value. A `$name` that nothing defines is told by postconf(1).

use super::{Patient, error};
use crate::model::finding::Finding;

/// How the engines that people write main.cf with mark a value: Jinja and Mustache, autoconf's manner, ERB and EJS.
const MARKS: [(&str, &str); 4] = [("{{", "}}"), ("@@", "@@"), ("%%", "%%"), ("<%", "%>")];

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

/// Returns the first mark with the name in it.
fn left_behind(value: &str) -> Option<&str> {
    MARKS.iter().find_map(|(open, close)| {
        let start = value.find(open)?;
        let inner = &value[start + open.len()..];
        let end = inner.find(close)?;
        // A name, perhaps with a filter or a default; nested lists of Postfix have other things in their braces.
        let name = inner[..end].trim().trim_start_matches(['=', '-']).trim();
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || "_.$".contains(first))
            && !name.contains(['{', '}', '=', '@']);
        is_name.then(|| &value[start..start + open.len() + end + close.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::left_behind;

    #[test]
    fn marks_are_told_from_what_postfix_means() {
        let check = |value: &str, expected: Option<&str>| assert_eq!(left_behind(value), expected, "{value}");
        check("{{ mail_host }}", Some("{{ mail_host }}"));
        check("mail.{{domain|default('x')}}", Some("{{domain|default('x')}}"));
        check("@@SIZE@@", Some("@@SIZE@@"));
        check("<%= @host %>", None);
        check("<%= host %>", Some("<%= host %>"));
        check("%%MAILNAME%%", Some("%%MAILNAME%%"));
        check("$myhostname ESMTP", None);
        check("${compatibility_level?{a}:{b}}", None);
        check("{ inet:host:1, command_timeout=3s }, { unix:x }", None);
        check("{{ inet:a, x=y }}", None);
        check("a@@b", None);
        check("100%% sure", None);
    }
}
