//! Lists of TLS protocols, as `smtp_tls_protocols` and its brothers have them. Pure.
//!
//! Rules: postconf(5), smtpd_tls_mandatory_protocols: before Postfix 3.6 protocols are only named and excluded; since
//! then `>=` and `<=` set bounds. A word that the installed version does not know switches TLS off.

use crate::{config::TlsVersion, postfix::values::Version};

/// The protocols that Postfix has names for, oldest first.
const NAMES: [&str; 6] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/// How many of [`NAMES`] are older than TLS.
const N_SSL: usize = 2;

/// Returns the name of a version.
pub fn name(version: TlsVersion) -> &'static str {
    NAMES.get(place(version)).copied().unwrap_or_default()
}

fn place(version: TlsVersion) -> usize {
    N_SSL
        + match version {
            TlsVersion::V1_0 => 0,
            TlsVersion::V1_1 => 1,
            TlsVersion::V1_2 => 2,
            TlsVersion::V1_3 => 3,
        }
}

/// Spells "this version and newer" for an installed Postfix.
pub fn at_least(minimum: TlsVersion, installed: Version) -> String {
    if installed >= Version::new(3, 6) {
        return format!(">={}", name(minimum));
    }
    let older = NAMES.iter().take(place(minimum));
    older
        .map(|name| format!("!{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a list allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// These of the protocols that Postfix has names for.
    Known(Vec<&'static str>),
    /// A word of it is none that the installed version knows: TLS is off (postconf(5)).
    Unreadable(String),
}

impl Allowed {
    /// Reads a list as an installed Postfix does; an empty one allows everything.
    pub fn read(list: &str, installed: Version) -> Self {
        let mut named = [false; NAMES.len()];
        let mut excluded = [false; NAMES.len()];
        let (mut lowest, mut highest) = (0, NAMES.len());
        let words = list
            .split(|c: char| c == ',' || c == ':' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        for word in words {
            let find = |name: &str| NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
            let bound = [">=", "<="]
                .iter()
                .find_map(|sign| Some((*sign, word.strip_prefix(sign)?)));
            let understood = match (bound, word.strip_prefix('!')) {
                (Some(_), _) if installed < Version::new(3, 6) => None,
                // A bound may be a number of OpenSSL's; what it means is not known here.
                (Some((">=", name)), _) => find(name).map(|at| lowest = at),
                (Some((_, name)), _) => find(name).map(|at| highest = at + 1),
                (None, Some(name)) => find(name)
                    .and_then(|at| excluded.get_mut(at))
                    .map(|one| *one = true),
                (None, None) => find(word).and_then(|at| named.get_mut(at)).map(|one| *one = true),
            };
            if understood.is_none() {
                return Self::Unreadable(word.to_owned());
            }
        }
        let any_named = named.contains(&true);
        let allowed = NAMES.iter().enumerate().filter(|(at, _)| {
            let is_named = !any_named || named.get(*at) == Some(&true);
            is_named && excluded.get(*at) == Some(&false) && (lowest..highest).contains(at)
        });
        Self::Known(allowed.map(|(_, name)| *name).collect())
    }

    /// Returns the allowed protocols that are older than this one.
    pub fn older_than(&self, minimum: TlsVersion) -> Vec<&'static str> {
        let old = NAMES.get(..place(minimum)).unwrap_or_default();
        match self {
            Self::Known(allowed) => allowed
                .iter()
                .filter(|name| old.contains(name))
                .copied()
                .collect(),
            Self::Unreadable(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_a_floor_for_the_version() {
        let check = |installed, minimum, expected: &str| {
            let spelled = at_least(minimum, installed);
            assert_eq!(spelled, expected);
            // What is spelled is read back as it was meant.
            let allowed = Allowed::read(&spelled, installed);
            assert_eq!(allowed.older_than(minimum), Vec::<&str>::new(), "{spelled}");
            let Allowed::Known(allowed) = allowed else {
                panic!("{spelled}")
            };
            assert_eq!(allowed.first(), Some(&name(minimum)), "{spelled}");
            assert_eq!(allowed.last(), Some(&"TLSv1.3"), "{spelled}");
        };
        for (installed, minimum, expected) in [
            (Version::new(3, 4), TlsVersion::V1_0, "!SSLv2, !SSLv3"),
            (
                Version::new(3, 4),
                TlsVersion::V1_2,
                "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1",
            ),
            (
                Version::new(3, 5),
                TlsVersion::V1_3,
                "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1, !TLSv1.2",
            ),
            (Version::new(3, 6), TlsVersion::V1_2, ">=TLSv1.2"),
            (Version::new(3, 11), TlsVersion::V1_1, ">=TLSv1.1"),
        ] {
            check(installed, minimum, expected);
        }
    }

    #[test]
    fn reads_lists_as_the_installed_version_does() {
        let check = |installed: Version, list: &str, expected: &str| {
            let found = match Allowed::read(list, installed) {
                Allowed::Known(names) => names.join(" "),
                Allowed::Unreadable(word) => format!("? {word}"),
            };
            assert_eq!(found, expected, "{list:?}");
        };
        let (old, new) = (Version::new(3, 5), Version::new(3, 6));
        for version in [old, new] {
            check(version, "", "SSLv2 SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3");
            check(version, "!SSLv2, !SSLv3", "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3");
            check(version, "!sslv2:!SSLv3 !tlsv1,!TLSv1.1", "TLSv1.2 TLSv1.3");
            check(version, "TLSv1.2", "TLSv1.2");
            check(version, "TLSv1.2 TLSv1.3 !TLSv1.3", "TLSv1.2");
            check(version, "SSLv23", "? SSLv23");
            check(version, "!TLSv2", "? !TLSv2");
        }
        check(new, ">=TLSv1.2", "TLSv1.2 TLSv1.3");
        check(new, ">=TLSv1 <=TLSv1.1", "TLSv1 TLSv1.1");
        check(new, ">=0303", "? >=0303");
        check(old, ">=TLSv1.2", "? >=TLSv1.2");
        let newest = Allowed::read(">=TLSv1.3", new);
        assert!(newest.older_than(TlsVersion::V1_2).is_empty());
        let all = Allowed::read("", new);
        assert_eq!(all.older_than(TlsVersion::V1_1), ["SSLv2", "SSLv3", "TLSv1"]);
    }
}
