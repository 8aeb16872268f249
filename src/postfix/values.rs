//! Effective parameter values and versions, as postconf(1) prints them. Pure.

use std::{collections::BTreeMap, fmt};

/// How deep `$name` may refer to `$name`; Postfix itself gives up at a similar depth.
const EXPANSION_DEPTH: u8 = 20;
/// From this length on, in bytes, references stay as they are written: values that name each other twice would double at each level.
const EXPANSION_LIMIT: usize = 1 << 20;

/// A release of Postfix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number; Postfix adds features here.
    pub minor: u32,
    /// Third number; 0 for a snapshot, whose date stands there.
    pub patch: u32,
}

impl Version {
    /// Returns a version without a patch level.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor,
            patch: 0,
        }
    }

    /// Reads `mail_version`: `3.7.11`, or a snapshot such as `3.12-20260821`.
    pub fn parse(text: &str) -> Option<Self> {
        let release = text.trim().split('-').next()?;
        let mut numbers = release.split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().map_or(Some(0), Result::ok)?;
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Parameters with their effective values, `$name` expanded. A parameter that the installed version does not know has
/// the empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Reads `name = value` lines as postconf(1) prints them, one a line.
    pub fn parse(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// Returns the value, empty when nothing is known of the parameter.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Returns whether a yes/no parameter says yes.
    pub fn is_yes(&self, name: &str) -> bool {
        self.get(name).eq_ignore_ascii_case("yes")
    }

    /// Returns every parameter that is known, with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Gives the parameter a value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes over the other's values.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Expands `$name`, `${name}` and `$(name)` in a raw value (postconf(5), "main.cf file format").
    ///
    /// A conditional (`${name?...}`) stays as it is written: no value that is compared here has one in practice.
    pub fn expand(&self, raw: &str) -> String {
        let mut expanded = String::with_capacity(raw.len());
        self.expand_into(&mut expanded, raw, EXPANSION_DEPTH);
        expanded
    }

    fn expand_into(&self, expanded: &mut String, raw: &str, depth: u8) {
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                expanded.push('$');
                rest = after;
                continue;
            }
            match reference(after) {
                Some((name, after)) if depth > 0 && expanded.len() < EXPANSION_LIMIT => {
                    self.expand_into(expanded, self.get(name), depth - 1);
                    rest = after;
                }
                _ => {
                    expanded.push('$');
                    rest = after;
                }
            }
        }
        expanded.push_str(rest);
    }
}

/// Splits the name off that follows a `$`.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(is_name_byte);
    for (open, close) in [('{', '}'), ('(', ')')] {
        if let Some(inner) = text.strip_prefix(open) {
            let (name, rest) = inner.split_once(close)?;
            return is_name(name.trim()).then_some((name.trim(), rest));
        }
    }
    let end = text
        .bytes()
        .position(|byte| !is_name_byte(byte))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    is_name(name).then_some((name, rest))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let check = |text: &str, expected: Option<(u32, u32, u32)>| {
            let found = Version::parse(text).map(|version| (version.major, version.minor, version.patch));
            assert_eq!(found, expected, "{text:?}");
        };
        check("3.7.11", Some((3, 7, 11)));
        check("3.12-20260821\n", Some((3, 12, 0)));
        check("3.6-RC1", Some((3, 6, 0)));
        check("2.11.0", Some((2, 11, 0)));
        check("", None);
        check("3", None);
        check("three.seven", None);
        assert!(Version::new(3, 10) > Version::new(3, 4));
    }

    #[test]
    fn expands_references() {
        let mut values = Values::parse(b"a = 1\nb = x = y\nempty =\nloop = $loop\n");
        values.insert("c", "<$a>");
        let check = |raw: &str, expected: &str| assert_eq!(values.expand(raw), expected, "{raw:?}");
        check("/x", "/x");
        check("$a/${b}/$(c)", "1/x = y/<1>");
        check("$nothing,$empty.", ",.");
        check("100$$", "100$");
        check("${a?yes}", "${a?yes}");
        check("$", "$");
        check("$loop", "$loop");
    }
}
