//! `NAME=value` lines as shells read them: acme.sh's and dehydrated's settings, files of variables. Pure.
//!
//! Only assignments are understood, with quotes and the variables that were set before; a command is never run.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// acme.sh wraps what would not survive its quotes.
const WRAPPED: (&str, &str) = ("__ACME_BASE64__START_", "__ACME_BASE64__END_");

/// The variables that a file sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments(BTreeMap<String, String>);

impl Assignments {
    /// Reads a file; later assignments win, and what is no assignment is skipped.
    pub fn read(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let is_name = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name
                    .chars()
                    .all(|character| character.is_ascii_alphanumeric() || character == '_');
            if is_name {
                let value = self.unquote(value);
                self.0.insert(name.to_owned(), value);
            }
        }
    }

    /// Returns what one file sets.
    pub fn of(text: &str) -> Self {
        let mut assignments = Self::default();
        assignments.read(text);
        assignments
    }

    /// Sets a variable, as a caller's environment does.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Returns a variable that is not empty, with acme.sh's wrapping taken off.
    pub fn get(&self, name: &str) -> Option<String> {
        let value = self.0.get(name).filter(|value| !value.is_empty())?;
        let wrapped = value
            .strip_prefix(WRAPPED.0)
            .and_then(|value| value.strip_suffix(WRAPPED.1));
        match wrapped {
            None => Some(value.clone()),
            Some(wrapped) => String::from_utf8(BASE64_STANDARD.decode(wrapped).ok()?).ok(),
        }
        .filter(|value| !value.is_empty())
    }

    /// Returns the names that begin so, in order.
    pub fn names(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.0
            .keys()
            .map(String::as_str)
            .filter(move |name| name.starts_with(prefix))
    }

    /// Takes quotes off, and puts the variables of before in.
    fn unquote(&self, text: &str) -> String {
        let mut value = String::new();
        let mut characters = text.chars().peekable();
        let mut quote = None;
        while let Some(character) = characters.next() {
            match (character, quote) {
                ('\'', None) => quote = Some('\''),
                ('"', None) => quote = Some('"'),
                (end, Some(begun)) if end == begun => quote = None,
                ('\\', None) => value.extend(characters.next()),
                ('\\', Some('"')) => match characters.next() {
                    Some(next @ ('"' | '\\' | '$' | '`')) => value.push(next),
                    Some(next) => value.extend(['\\', next]),
                    None => value.push('\\'),
                },
                ('$', None | Some('"')) => {
                    let is_braced = characters.next_if_eq(&'{').is_some();
                    let mut name = String::new();
                    while let Some(next) =
                        characters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                    {
                        name.push(next);
                    }
                    if is_braced {
                        characters.next_if_eq(&'}');
                    }
                    value.push_str(self.0.get(&name).map(String::as_str).unwrap_or_default());
                }
                // The next word, or a comment.
                (blank, None) if blank.is_whitespace() || blank == ';' => break,
                (character, _) => value.push(character),
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values_as_a_shell_does() {
        let text = "\
# a comment
BASE=/var/lib/x
WELLKNOWN=\"${BASE}/challenges\" # where
export A='it is'
  B=\"a \\\"b\\\" \\n $BASE\"
C=\\$BASE
D=$NONE/x;rm -rf /
E=
F='__ACME_BASE64__START_c3lzdGVtY3RsIHJlbG9hZCBwb3N0Zml4__ACME_BASE64__END_'
G='__ACME_BASE64__START_!!__ACME_BASE64__END_'
if [ x = y ]; then
1X=2
A='last'
OPEN='to the end
";
        let all = Assignments::of(text);
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(all.get(name).as_deref(), expected, "{name}");
        };
        check("WELLKNOWN", Some("/var/lib/x/challenges"));
        check("A", Some("last"));
        check("B", Some("a \"b\" \\n /var/lib/x"));
        check("C", Some("$BASE"));
        check("D", Some("/x"));
        check("E", None);
        check("F", Some("systemctl reload postfix"));
        check("G", None);
        check("OPEN", Some("to the end"));
        check("1X", None);
        assert_eq!(all.names("B").collect::<Vec<_>>(), ["B", "BASE"]);
    }
}
