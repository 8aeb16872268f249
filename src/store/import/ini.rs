//! certbot's files: `name = value` lines below `[section]` and `[[subsection]]`, as ConfigObj writes them. Pure.

use std::collections::BTreeMap;

/// The values of a file, each under its section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ini(BTreeMap<(String, String), String>);

impl Ini {
    /// Reads a file; what is no line of such a file is skipped.
    pub fn of(text: &str) -> Self {
        let mut ini = Self::default();
        let mut section = String::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_matches(['[', ']', ' ']).to_owned();
            } else if let Some((name, value)) = line.split_once('=') {
                let key = (section.clone(), name.trim().to_owned());
                ini.0.insert(key, value.trim().to_owned());
            }
        }
        ini
    }

    /// Returns a value that is set; its quotes are taken off, and certbot's `None` is none.
    pub fn get(&self, section: &str, name: &str) -> Option<&str> {
        let value = self.0.get(&(section.to_owned(), name.to_owned()))?;
        let value = unquoted(value);
        (!value.is_empty() && value != "None").then_some(value)
    }

    /// Returns a list: members between commas.
    pub fn list(&self, section: &str, name: &str) -> Vec<&str> {
        let value = self.get(section, name).unwrap_or_default();
        value
            .split(',')
            .map(|member| unquoted(member.trim()))
            .filter(|member| !member.is_empty())
            .collect()
    }

    /// Returns whether a value says yes.
    pub fn is_true(&self, section: &str, name: &str) -> bool {
        self.get(section, name)
            .is_some_and(|value| ["true", "yes", "1"].contains(&value.to_ascii_lowercase().as_str()))
    }

    /// Returns the values of a section, in the order of their names.
    pub fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |((of, _), _)| of == section)
            .map(|((_, name), value)| (name.as_str(), unquoted(value)))
    }
}

/// Takes quotes off, single ones, double ones or three of a kind. There is no escaping inside.
fn unquoted(value: &str) -> &str {
    for quote in ["'''", "\"\"\"", "'", "\""] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|value| value.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_certbot_writes() {
        let ini = Ini::of(
            "version = 5.8.0\n# comment\n[renewalparams]\nrenew_hook = 'echo \"hi, $x\"; true'\nreuse_key = True\n\
             webroot_path = /var/www, /srv/www,\npref_challs = dns-01,\nmanual_public_ip_logging_ok = None\n\
             odd = '''it's \"so\"'''\nno value\n[[webroot_map]]\nmail.example.test = /var/www\n",
        );
        assert_eq!(ini.get("", "version"), Some("5.8.0"));
        let params = |name| ini.get("renewalparams", name);
        assert_eq!(params("renew_hook"), Some("echo \"hi, $x\"; true"));
        assert_eq!(params("odd"), Some("it's \"so\""));
        assert_eq!(params("manual_public_ip_logging_ok"), None);
        assert!(ini.is_true("renewalparams", "reuse_key"));
        assert_eq!(
            ini.list("renewalparams", "webroot_path"),
            ["/var/www", "/srv/www"]
        );
        assert_eq!(ini.list("renewalparams", "pref_challs"), ["dns-01"]);
        assert_eq!(
            ini.section("webroot_map").collect::<Vec<_>>(),
            [("mail.example.test", "/var/www")]
        );
        assert_eq!(Ini::of("= \n[\n]]\n=").get("", "x"), None);
    }
}
