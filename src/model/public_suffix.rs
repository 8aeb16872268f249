//! Registered domains by the public suffix list (`publicsuffix.org/list`). Pure.
//!
//! CAs count certificates by registered domain: the public suffix (`co.jp`) with one label more. Private suffixes
//! (`github.io`) count like those of registries.

use std::collections::BTreeSet;

use super::name::DomainName;

/// The rules of the list.
#[derive(Clone, Debug, Default)]
pub struct PublicSuffixes {
    /// As they stand there, in A-labels: `jp`, `*.ck`, `!www.ck`.
    rules: BTreeSet<String>,
}

impl PublicSuffixes {
    /// Reads the list; a line that is no rule is stepped over.
    pub fn parse(text: &str) -> Self {
        let rules = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|rule| !rule.starts_with("//"));
        Self {
            rules: rules.filter_map(canonical).collect(),
        }
    }

    /// Returns the registered domain that a name belongs to; a public suffix belongs to itself.
    pub fn registered_domain(&self, name: &DomainName) -> String {
        let labels: Vec<&str> = name.labels().collect();
        let n = (self.suffix_length(&labels) + 1).min(labels.len());
        labels[labels.len() - n..].join(".")
    }

    /// Returns how many labels the public suffix of a name has: the longest rule wins, an exception over all, and without
    /// a rule it is the last label.
    fn suffix_length(&self, labels: &[&str]) -> usize {
        for n in (1..=labels.len()).rev() {
            let suffix = labels[labels.len() - n..].join(".");
            if self.rules.contains(&format!("!{suffix}")) {
                return n - 1;
            }
            let rest = suffix.split_once('.').map_or("", |(_, rest)| rest);
            if self.rules.contains(&suffix) || self.rules.contains(&format!("*.{rest}")) {
                return n;
            }
        }
        1
    }
}

/// Returns a rule in A-labels.
fn canonical(rule: &str) -> Option<String> {
    let (sign, name) = match rule.strip_prefix("!") {
        Some(name) => ("!", name),
        None => match rule.strip_prefix("*.") {
            Some(name) => ("*.", name),
            None => ("", rule),
        },
    };
    Some(format!("{sign}{}", DomainName::from_dns(name).ok()?.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_registered_domain() {
        // From the list's own test data.
        let list = PublicSuffixes::parse(
            "// ===BEGIN ICANN DOMAINS===\ncom\n\nbiz\n jp // Japan\nac.jp\nkyoto.jp\nide.kyoto.jp\n*.kobe.jp\n!city.kobe.jp\n\
             ck\n*.ck\n!www.ck\n公司.cn\ncn\ngithub.io\nnot a rule!\n*\n",
        );
        let check = |name: &str, expected: &str| {
            let name: DomainName = name.parse().unwrap();
            assert_eq!(list.registered_domain(&name), expected, "{name}");
        };
        check("com", "com");
        check("example.com", "example.com");
        check("a.b.example.com", "example.com");
        check("b.example.unlisted", "example.unlisted");
        check("test.ac.jp", "test.ac.jp");
        check("www.test.ac.jp", "test.ac.jp");
        check("a.b.ide.kyoto.jp", "b.ide.kyoto.jp");
        check("b.c.kobe.jp", "b.c.kobe.jp");
        check("a.b.c.kobe.jp", "b.c.kobe.jp");
        check("c.kobe.jp", "c.kobe.jp");
        check("www.city.kobe.jp", "city.kobe.jp");
        check("test.ck", "test.ck");
        check("a.b.test.ck", "b.test.ck");
        check("www.www.ck", "www.ck");
        check("www.食狮.公司.cn", "xn--85x722f.xn--55qx5d.cn");
        check("a.user.github.io", "user.github.io");
        assert_eq!(
            PublicSuffixes::parse("").registered_domain(&"a.example.org".parse().unwrap()),
            "example.org"
        );
    }
}
