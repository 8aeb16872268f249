//! The public CAs we know: directory URL and the names they use in CAA. Pure.

/// A CA that can be named in `acme.directory` by a short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The short name.
    pub name: &'static str,
    /// The directory's URL (RFC 8555, 7.1.1).
    pub directory: &'static str,
    /// The directory that `renew --dry-run` uses; it issues certificates that nobody trusts.
    pub staging: Option<&'static str>,
}

/// The CAs that issue without external account binding, alphabetical.
pub const AUTHORITIES: &[Authority] = &[
    Authority {
        name: "letsencrypt",
        directory: "https://acme-v02.api.letsencrypt.org/directory",
        staging: Some("https://acme-staging-v02.api.letsencrypt.org/directory"),
    },
    Authority {
        name: "letsencrypt-staging",
        directory: "https://acme-staging-v02.api.letsencrypt.org/directory",
        staging: Some("https://acme-staging-v02.api.letsencrypt.org/directory"),
    },
];

/// Returns the CA of this short name.
pub fn by_name(name: &str) -> Option<&'static Authority> {
    AUTHORITIES.iter().find(|authority| authority.name == name)
}

/// Returns the CA whose directory this is.
pub fn by_directory(url: &str) -> Option<&'static Authority> {
    AUTHORITIES.iter().find(|authority| authority.directory == url)
}
