//! Who may submit as whom: the map from sender addresses to logins, made of what Postfix delivers by. Pure.
//!
//! A user of the system logs in by a bare name and owns that name at every domain that is delivered to system users; an
//! address of a virtual domain is its own login. Both are rules, so that a user who is added today may send today. Aliases
//! are a table beside them: whoever gets an address's mail may send as that address. An alias map itself is no such table:
//! it maps the other way, and its pipes and includes would be logins.
//!
//! Rules: postconf(5), smtpd_sender_login_maps; regexp_table(5); aliases(5); virtual(5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{submission::words, values::Values};

/// More entries of a file than these are left out; a map of that size has another source.
const MAX_ENTRIES: usize = 200_000;
/// More owners of one address than these are left out.
const MAX_OWNERS: usize = 64;

/// A name with the recipients it stands for, as aliases(5) or virtual(5) has it.
pub type Entry = (String, Vec<String>);

/// What is known of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Domains whose mail goes to users of the system.
    pub local: BTreeSet<String>,
    /// Domains whose users log in by their whole address.
    pub hosted: BTreeSet<String>,
    /// Domains whose addresses are all aliases.
    pub aliased: BTreeSet<String>,
    /// `recipient_delimiter`.
    pub delimiter: String,
    /// Entries of aliases(5).
    pub aliases: Vec<Entry>,
    /// Entries of virtual(5).
    pub virtual_aliases: Vec<Entry>,
}

/// The map, in its two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// Each alias address with its logins.
    pub table: BTreeMap<String, String>,
    /// The rules, as regexp_table(5).
    pub rules: String,
}

impl Input {
    /// Sorts the domains of a host by how Postfix delivers to them. Tables among them are not looked into: the domains of
    /// the configuration that Postfix names nowhere count as hosted.
    pub fn of<'a>(values: &Values, configured: impl IntoIterator<Item = &'a str>) -> Self {
        let domains = |name: &str| -> BTreeSet<String> {
            words(values.get(name))
                .filter(|word| is_domain(word))
                .map(str::to_ascii_lowercase)
                .collect()
        };
        let local = domains("mydestination");
        let aliased = domains("virtual_alias_domains");
        let mut hosted = domains("virtual_mailbox_domains");
        hosted.extend(
            configured
                .into_iter()
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase()),
        );
        hosted.retain(|domain| !local.contains(domain) && !aliased.contains(domain));
        Self {
            local,
            hosted,
            aliased,
            delimiter: values.get("recipient_delimiter").to_owned(),
            ..Self::default()
        }
    }

    /// Makes the map.
    pub fn generate(&self) -> Generated {
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let by_name: BTreeMap<String, &[String]> = self
            .aliases
            .iter()
            .map(|(name, to)| (name.to_ascii_lowercase(), to.as_slice()))
            .collect();
        let by_address: BTreeMap<String, &[String]> = self
            .virtual_aliases
            .iter()
            .flat_map(|(name, to)| {
                self.addresses(name)
                    .into_iter()
                    .map(|address| (address, to.as_slice()))
            })
            .collect();
        let starts = by_name
            .keys()
            .filter(|name| is_local_part(name))
            .flat_map(|name| self.local.iter().map(move |domain| format!("{name}@{domain}")))
            .chain(by_address.keys().cloned());
        for address in starts.collect::<BTreeSet<_>>().into_iter().take(MAX_ENTRIES) {
            let logins = self.logins_behind(&address, &by_name, &by_address);
            if !logins.is_empty() {
                owners.insert(address, logins);
            }
        }
        Generated {
            table: owners
                .into_iter()
                .map(|(address, logins)| (address, logins.into_iter().collect::<Vec<_>>().join(", ")))
                .collect(),
            rules: self.rules(),
        }
    }

    /// Returns the logins that an address leads to, through whatever aliases.
    fn logins_behind(
        &self,
        address: &str,
        by_name: &BTreeMap<String, &[String]>,
        by_address: &BTreeMap<String, &[String]>,
    ) -> BTreeSet<String> {
        let mut seen = BTreeSet::from([address.to_owned()]);
        let mut next = VecDeque::from([address.to_owned()]);
        let mut logins = BTreeSet::new();
        while let Some(address) = next.pop_front() {
            let Some((user, domain)) = address.rsplit_once('@') else {
                continue;
            };
            let is_local = self.local.contains(domain);
            if is_local {
                logins.insert(user.to_owned());
                logins.insert(address.clone());
            } else if self.hosted.contains(domain) {
                logins.insert(address.clone());
            }
            let through_names = by_name.get(user).filter(|_| is_local);
            let recipients = by_address
                .get(&address)
                .into_iter()
                .chain(through_names)
                .copied()
                .flatten();
            for recipient in recipients {
                let leads = self
                    .one_address(recipient)
                    .filter(|address| seen.len() < MAX_OWNERS && !seen.contains(address));
                if let Some(address) = leads {
                    seen.insert(address.clone());
                    next.push_back(address);
                }
            }
        }
        logins
    }

    /// Returns the addresses that a key of virtual(5) stands for; none for what is not ours, or for a whole domain.
    fn addresses(&self, key: &str) -> Vec<String> {
        let key = key.to_ascii_lowercase();
        match key.rsplit_once('@') {
            Some((user, domain)) if is_local_part(user) && self.is_ours(domain) => vec![key],
            None if is_local_part(&key) => self
                .local
                .iter()
                .map(|domain| format!("{key}@{domain}"))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the address that a recipient of aliases(5) or virtual(5) is; `None` for pipes, files, includes and strangers.
    fn one_address(&self, recipient: &str) -> Option<String> {
        let text = recipient.trim().trim_start_matches('\\').to_ascii_lowercase();
        match text.rsplit_once('@') {
            Some((user, domain)) => (is_local_part(user) && self.is_ours(domain)).then_some(text),
            // A bare name is a user of the system, whatever the domain.
            None if is_local_part(&text) => self.local.first().map(|domain| format!("{text}@{domain}")),
            None => None,
        }
    }

    fn is_ours(&self, domain: &str) -> bool {
        self.local.contains(domain) || self.hosted.contains(domain) || self.aliased.contains(domain)
    }

    /// Returns the rules as regexp_table(5).
    fn rules(&self) -> String {
        // These stand in no user's name, so what follows them is an extension (postconf(5), recipient_delimiter).
        let extension: String = self.delimiter.chars().filter(|c| "+=~#!".contains(*c)).collect();
        let user = if extension.is_empty() {
            "([^@]+)()".to_owned()
        } else {
            format!("([^@{extension}]+)([{extension}][^@]*)?")
        };
        let rule = |domain: &String, logins: &str| {
            let escaped = domain.replace('.', "\\.");
            format!("/^{user}@({escaped})$/  {logins}\n")
        };
        let local = self.local.iter().map(|domain| rule(domain, "${1}, ${1}@${3}"));
        let hosted = self.hosted.iter().map(|domain| rule(domain, "${1}@${3}"));
        local.chain(hosted).collect()
    }
}

impl Generated {
    /// Returns the table as postmap(1) reads it.
    pub fn source(&self) -> String {
        let mut text = String::from(HEADER);
        for (address, logins) in &self.table {
            text.push_str(&format!("{address}  {logins}\n"));
        }
        text
    }

    /// Returns the rules as a file.
    pub fn rules_file(&self) -> String {
        format!("{HEADER}{}", self.rules)
    }
}

const HEADER: &str = "# Made by mailcert: which logins may send as an address (postconf(5), smtpd_sender_login_maps).\n\
                      # An edit is lost with the next `mailcert apply`; `sender_login_maps` names a map of your own.\n";

/// Reads aliases(5): `name: recipient, ...`; comments, continued lines and quotes as local(8) takes them.
pub fn read_aliases(text: &str) -> Vec<Entry> {
    let entry = |line: String| {
        let (name, to) = split_outside_quotes(&line, ':')?;
        let name = unquoted(&name);
        let recipients = recipients(&to);
        (!name.is_empty()).then_some((name, recipients))
    };
    logical_lines(text)
        .into_iter()
        .filter_map(entry)
        .take(MAX_ENTRIES)
        .collect()
}

/// Reads virtual(5): an address, blanks, recipients.
pub fn read_virtual(text: &str) -> Vec<Entry> {
    let entry = |line: String| {
        let (name, to) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), recipients(to)))
    };
    logical_lines(text)
        .into_iter()
        .filter_map(entry)
        .take(MAX_ENTRIES)
        .collect()
}

/// Joins continued lines and leaves comments out (postmap(1), "INPUT FILE FORMAT").
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let is_continued = line.starts_with([' ', '\t']);
        let words = line.trim();
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        match lines.last_mut().filter(|_| is_continued) {
            Some(last) => {
                last.push(' ');
                last.push_str(words);
            }
            None if is_continued => {}
            None => lines.push(words.to_owned()),
        }
    }
    lines
}

fn recipients(text: &str) -> Vec<String> {
    let mut rest = text.to_owned();
    let mut found = Vec::new();
    while found.len() < MAX_OWNERS {
        let (one, after) = match split_outside_quotes(&rest, ',') {
            Some((one, after)) => (one, Some(after)),
            None => (rest.clone(), None),
        };
        let one = unquoted(&one);
        // In virtual(5), blanks divide as commas do; a pipe with arguments is none of ours anyway.
        found.extend(
            one.split_whitespace()
                .map(str::to_owned)
                .filter(|_| !one.starts_with(['|', '/', ':'])),
        );
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    found
}

fn split_outside_quotes(text: &str, mark: char) -> Option<(String, String)> {
    let mut is_quoted = false;
    let at = text.char_indices().find_map(|(at, c)| {
        is_quoted ^= c == '"';
        (c == mark && !is_quoted).then_some(at)
    })?;
    let (before, after) = text.split_at_checked(at)?;
    Some((before.to_owned(), after.get(mark.len_utf8()..)?.to_owned()))
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(text).trim().to_owned()
}

/// Returns whether a word of a list is a domain: no table, file, exception or name of the host alone.
fn is_domain(word: &str) -> bool {
    word.contains('.')
        && !word.starts_with('.')
        && !word.starts_with("localhost.")
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Returns whether a local part needs no quotes, and has no meaning in a table.
fn is_local_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(['#', '|', '/', ':'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_`{|}~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(values: &str) -> Input {
        Input::of(&Values::parse(values.as_bytes()), ["example.test", "hosted.test"])
    }

    fn entry(name: &str, to: &[&str]) -> Entry {
        (name.to_owned(), to.iter().map(|one| (*one).to_owned()).collect())
    }

    #[test]
    fn sorts_domains_by_how_they_are_delivered() {
        let found = input(
            "mydestination = mail.example.test, Example.Test localhost.example.test, localhost, hash:/etc/more\n\
             virtual_mailbox_domains = mysql:/etc/x v.test\nvirtual_alias_domains = a.test\n",
        );
        let set = |names: &[&str]| names.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(found.local, set(&["example.test", "mail.example.test"]));
        assert_eq!(found.hosted, set(&["hosted.test", "v.test"]));
        assert_eq!(found.aliased, set(&["a.test"]));
    }

    #[test]
    fn makes_rules_for_users_and_for_addresses() {
        let check = |delimiter: &str, expected: &str| {
            let values = format!("mydestination = example.test\nrecipient_delimiter = {delimiter}\n");
            assert_eq!(input(&values).generate().rules, expected);
        };
        check(
            "",
            "/^([^@]+)()@(example\\.test)$/  ${1}, ${1}@${3}\n/^([^@]+)()@(hosted\\.test)$/  ${1}@${3}\n",
        );
        check(
            "+",
            "/^([^@+]+)([+][^@]*)?@(example\\.test)$/  ${1}, ${1}@${3}\n\
             /^([^@+]+)([+][^@]*)?@(hosted\\.test)$/  ${1}@${3}\n",
        );
        // A user may be called so.
        assert!(
            input("recipient_delimiter = -\n")
                .generate()
                .rules
                .starts_with("/^([^@]+)()@")
        );
    }

    #[test]
    fn aliases_may_be_sent_as_by_those_who_get_their_mail() {
        let mut input = input("mydestination = example.test\nvirtual_alias_domains = a.test\n");
        input.aliases = vec![
            entry("Postmaster", &["root"]),
            entry(
                "root",
                &["alice", "\\bob", "carol@elsewhere.test", "|/bin/x", "/dev/null"],
            ),
            entry("loop", &["loop2"]),
            entry("loop2", &["loop"]),
            entry("bad name", &["alice"]),
        ];
        input.virtual_aliases = vec![
            entry("info@hosted.test", &["alice", "dave@hosted.test"]),
            entry("sales@a.test", &["info@hosted.test"]),
            entry("@hosted.test", &["eve"]),
            entry("x@elsewhere.test", &["alice"]),
            entry("team", &["dave@hosted.test"]),
        ];
        let found = input.generate().table;
        let check = |address: &str, expected: &str| {
            assert_eq!(
                found.get(address).map_or("", String::as_str),
                expected,
                "{address}"
            );
        };
        let root = "alice, alice@example.test, bob, bob@example.test, root, root@example.test";
        check("root@example.test", root);
        check(
            "postmaster@example.test",
            "alice, alice@example.test, bob, bob@example.test, postmaster, postmaster@example.test, root, root@example.test",
        );
        check(
            "loop@example.test",
            "loop, loop2, loop2@example.test, loop@example.test",
        );
        check(
            "info@hosted.test",
            "alice, alice@example.test, dave@hosted.test, info@hosted.test",
        );
        check(
            "sales@a.test",
            "alice, alice@example.test, dave@hosted.test, info@hosted.test",
        );
        check("team@example.test", "dave@hosted.test, team, team@example.test");
        for absent in [
            "@hosted.test",
            "x@elsewhere.test",
            "bad name@example.test",
            "alice@example.test",
        ] {
            check(absent, "");
        }
    }

    #[test]
    fn reads_alias_files_as_postfix_does() {
        let text = "# c\npostmaster: root\nroot:  alice,\n\tbob\n  # between\n, \"carol\"\n\"odd name\": x\n\
                    list: :include:/etc/list\npipe: \"|/bin/vacation a, b\", dave\nno colon\n:\n";
        assert_eq!(
            read_aliases(text),
            [
                entry("postmaster", &["root"]),
                entry("root", &["alice", "bob"]),
                entry("odd name", &["x"]),
                entry("list", &[]),
                entry("pipe", &["dave"]),
            ]
        );
        assert_eq!(
            read_virtual("a@x.test b@x.test, c@x.test\n  d\n#e f\nalone\n@y.test\tz\n"),
            [
                entry("a@x.test", &["b@x.test", "c@x.test", "d"]),
                entry("@y.test", &["z"])
            ]
        );
    }
}
