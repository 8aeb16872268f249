//! What a setting is called in which version of Dovecot, and how a file is named as its value. Pure.
//!
//! Dovecot 2.4 renamed what 2.3 had, and refuses the old names; `ssl_cert = <FILE` became `ssl_server_cert_file = FILE`
//! ("Upgrading Dovecot v2.3 to v2.4" in its documentation).

use std::fmt;

/// A version of Dovecot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The first version that this program knows.
    pub const OLDEST: Self = Self::new(2, 3, 0);

    /// Returns the version of these numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads what `doveconf --version` or the first line of `doveconf -n` begins with: `2.3.19.1 (9b53102964)`,
    /// `2.4.1-4 (7d8c0e5759)`.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_whitespace().next()?;
        let mut numbers = word.split(['.', '-', '+', '~', '_']).map(str::parse::<u32>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let patch = numbers.next().and_then(Result::ok).unwrap_or_default();
        Some(Self::new(major, minor, patch))
    }

    /// Returns how this version writes its settings.
    pub fn dialect(self) -> Dialect {
        if self >= Self::new(2, 4, 0) {
            Dialect::V2_4
        } else {
            Dialect::V2_3
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How settings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Up to 2.3.
    V2_3,
    /// Since 2.4.
    V2_4,
}

/// A setting that this program reads or writes, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Setting {
    /// A second certificate, of another kind of key, for clients that can take it.
    AlternativeCertificate,
    /// The key of the second certificate.
    AlternativeKey,
    /// The certificate with its chain.
    Certificate,
    /// The private key.
    Key,
    /// Whether TLS is offered: `no`, `yes`, `required`.
    Tls,
}

impl Setting {
    /// Those that say which certificate is served.
    pub const CERTIFICATES: [Self; 4] = [
        Self::Certificate,
        Self::Key,
        Self::AlternativeCertificate,
        Self::AlternativeKey,
    ];

    /// Returns the setting's name.
    pub fn name(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::AlternativeCertificate, Dialect::V2_3) => "ssl_alt_cert",
            (Self::AlternativeCertificate, Dialect::V2_4) => "ssl_server_alt_cert_file",
            (Self::AlternativeKey, Dialect::V2_3) => "ssl_alt_key",
            (Self::AlternativeKey, Dialect::V2_4) => "ssl_server_alt_key_file",
            (Self::Certificate, Dialect::V2_3) => "ssl_cert",
            (Self::Certificate, Dialect::V2_4) => "ssl_server_cert_file",
            (Self::Key, Dialect::V2_3) => "ssl_key",
            (Self::Key, Dialect::V2_4) => "ssl_server_key_file",
            (Self::Tls, _) => "ssl",
        }
    }

    /// Returns the setting of this name, also the one of Dovecot 1 that 2.3 still reads.
    pub fn of(name: &str, dialect: Dialect) -> Option<Self> {
        let mut all = Self::CERTIFICATES.into_iter().chain([Self::Tls]);
        all.find(|setting| setting.name(dialect) == name || setting.is_old_name(name, dialect))
    }

    /// Returns true for the name of Dovecot 1, which 2.3 replaces as it reads (`src/config/old-set-parser.c`). Its value is the
    /// file's path, without a `<`.
    fn is_old_name(self, name: &str, dialect: Dialect) -> bool {
        let old = match self {
            Self::Certificate => "ssl_cert_file",
            Self::Key => "ssl_key_file",
            Self::AlternativeCertificate | Self::AlternativeKey | Self::Tls => return false,
        };
        dialect == Dialect::V2_3 && name == old
    }

    /// Returns the file that an assignment of this setting names; `None` where its value is the certificate itself, or nothing.
    pub fn named_file<'a>(self, name: &str, value: &'a str, dialect: Dialect) -> Option<&'a str> {
        if self.is_old_name(name, dialect) {
            return (!value.is_empty()).then_some(value);
        }
        dialect.named_file(value)
    }
}

impl Dialect {
    /// Returns the value that names a file: 2.3 reads it into the setting, 2.4 has settings that are file names.
    pub fn file_value(self, path: &str) -> String {
        match self {
            Self::V2_3 => format!("<{path}"),
            Self::V2_4 => path.to_owned(),
        }
    }

    /// Returns the file that a value names; `None` where it holds the certificate itself, or nothing.
    pub fn named_file(self, value: &str) -> Option<&str> {
        let path = match self {
            Self::V2_3 => value.strip_prefix('<')?.trim(),
            Self::V2_4 => value,
        };
        (!path.is_empty()).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let check = |text: &str, expected: Option<(&str, Dialect)>| {
            let version = Version::parse(text);
            let found = version.map(|version| (version.to_string(), version.dialect()));
            assert_eq!(
                found,
                expected.map(|(text, dialect)| (text.to_owned(), dialect)),
                "{text}"
            );
        };
        check("2.3.19.1 (9b53102964)", Some(("2.3.19", Dialect::V2_3)));
        check("2.4.1-4 (7d8c0e5759)", Some(("2.4.1", Dialect::V2_4)));
        check("2.4.rc1", Some(("2.4.0", Dialect::V2_4)));
        check("2.2.36 (1f10bfa63)", Some(("2.2.36", Dialect::V2_3)));
        check("3.0", Some(("3.0.0", Dialect::V2_4)));
        check("dovecot", None);
        check("", None);
    }

    #[test]
    fn each_setting_has_its_name_and_its_way_to_name_a_file() {
        for dialect in [Dialect::V2_3, Dialect::V2_4] {
            for setting in Setting::CERTIFICATES {
                assert_eq!(Setting::of(setting.name(dialect), dialect), Some(setting));
            }
            let value = dialect.file_value("/live/a/fullchain.pem");
            assert_eq!(dialect.named_file(&value), Some("/live/a/fullchain.pem"));
            assert_eq!(dialect.named_file(""), None);
        }
        assert_eq!(Setting::of("ssl_cert", Dialect::V2_4), None);
        for (name, setting) in [
            ("ssl_cert_file", Setting::Certificate),
            ("ssl_key_file", Setting::Key),
        ] {
            assert_eq!(Setting::of(name, Dialect::V2_3), Some(setting));
            assert_eq!(
                setting.named_file(name, "/old.pem", Dialect::V2_3),
                Some("/old.pem")
            );
            assert_eq!(Setting::of(name, Dialect::V2_4), None);
        }
        // A forgotten `<` makes the path itself the certificate.
        assert_eq!(Dialect::V2_3.named_file("/etc/ssl/a.pem"), None);
        assert_eq!(
            Dialect::V2_3.named_file("< /etc/ssl/a.pem"),
            Some("/etc/ssl/a.pem")
        );
    }
}
