//! The public CAs we know: directory URL, the names they use in CAA, whether they want a customer's account, and their
//! limits. Pure.

use time::Duration;

use super::limits::{Limit, Limits};

/// A CA that can be named in `acme.directory` by a short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The short name.
    pub name: &'static str,
    /// The directory's URL (RFC 8555, 7.1.1).
    pub directory: &'static str,
    /// The directory that `renew --dry-run` uses; it issues certificates that nobody trusts.
    pub staging: Option<&'static str>,
    /// What the CA recognizes itself by in CAA records (RFC 8659, 4.2); any of them will do. What the directory says in
    /// `caaIdentities` goes before this.
    pub caa_identities: &'static [&'static str],
    /// Whether accounts are bound to a customer's account.
    pub external_account: ExternalAccount,
}

/// Whether a CA binds accounts to a customer's account (RFC 8555, 7.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalAccount {
    /// Anybody may have an account.
    NotNeeded,
    /// `acme.eab` is needed for the first account.
    Required {
        /// Where a customer gets the key identifier and the key.
        from: &'static str,
    },
}

const GOOGLE_STAGING: &str = "https://dv.acme-v02.test-api.pki.goog/directory";
const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
const GOOGLE_CONSOLE: &str = "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial";
const SSLCOM_CONSOLE: &str = "https://secure.ssl.com (dashboard, API credentials)";

/// The CAs, alphabetical.
pub const AUTHORITIES: &[Authority] = &[
    Authority {
        name: "actalis",
        directory: "https://acme-api.actalis.com/acme/directory",
        staging: None,
        caa_identities: &["actalis.it"],
        external_account: ExternalAccount::Required {
            from: "https://www.actalis.com/manage-with-acme",
        },
    },
    Authority {
        name: "google",
        directory: "https://dv.acme-v02.api.pki.goog/directory",
        staging: Some(GOOGLE_STAGING),
        caa_identities: &["pki.goog"],
        external_account: ExternalAccount::Required { from: GOOGLE_CONSOLE },
    },
    Authority {
        name: "google-staging",
        directory: GOOGLE_STAGING,
        staging: Some(GOOGLE_STAGING),
        caa_identities: &["pki.goog"],
        external_account: ExternalAccount::Required { from: GOOGLE_CONSOLE },
    },
    Authority {
        name: "letsencrypt",
        directory: "https://acme-v02.api.letsencrypt.org/directory",
        staging: Some(LETSENCRYPT_STAGING),
        caa_identities: &["letsencrypt.org"],
        external_account: ExternalAccount::NotNeeded,
    },
    Authority {
        name: "letsencrypt-staging",
        directory: LETSENCRYPT_STAGING,
        staging: Some(LETSENCRYPT_STAGING),
        caa_identities: &["letsencrypt.org"],
        external_account: ExternalAccount::NotNeeded,
    },
    Authority {
        name: "sslcom-ecc",
        directory: "https://acme.ssl.com/sslcom-dv-ecc",
        staging: None,
        caa_identities: &["ssl.com"],
        external_account: ExternalAccount::Required { from: SSLCOM_CONSOLE },
    },
    Authority {
        name: "sslcom-rsa",
        directory: "https://acme.ssl.com/sslcom-dv-rsa",
        staging: None,
        caa_identities: &["ssl.com"],
        external_account: ExternalAccount::Required { from: SSLCOM_CONSOLE },
    },
    Authority {
        name: "zerossl",
        directory: "https://acme.zerossl.com/v2/DV90",
        staging: None,
        // Issued below Sectigo's roots.
        caa_identities: &[
            "sectigo.com",
            "trust-provider.com",
            "usertrust.com",
            "comodoca.com",
            "comodo.com",
        ],
        external_account: ExternalAccount::Required {
            from: "https://app.zerossl.com/developer",
        },
    },
];

/// The limits of Let's Encrypt (`letsencrypt.org/docs/rate-limits`, 2026-08-05).
pub const LETS_ENCRYPT: Limits = Limits {
    orders: Limit {
        n: 300,
        per: Duration::hours(3),
    },
    registered_domain: Limit {
        n: 50,
        per: Duration::days(7),
    },
    same_names: Limit {
        n: 5,
        per: Duration::days(7),
    },
    failures: Limit {
        n: 5,
        per: Duration::hours(1),
    },
};

/// Returns what the CA of a directory refuses to do more often, where that is known and small enough to matter.
pub fn limits_of(directory: &str) -> Option<&'static Limits> {
    by_directory(directory)
        .filter(|known| known.name == "letsencrypt")
        .map(|_| &LETS_ENCRYPT)
}

/// Returns how a CA is called where people read it: its short name, else its directory.
pub fn short_name(directory: &str) -> &str {
    by_directory(directory).map_or(directory, |known| known.name)
}

/// Returns the CA of this short name.
pub fn by_name(name: &str) -> Option<&'static Authority> {
    AUTHORITIES.iter().find(|authority| authority.name == name)
}

/// Returns the CA whose directory this is.
pub fn by_directory(url: &str) -> Option<&'static Authority> {
    AUTHORITIES.iter().find(|authority| authority.directory == url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (index, one) in AUTHORITIES.iter().enumerate() {
            assert!(
                AUTHORITIES[..index].iter().all(|other| other.name < one.name),
                "{}",
                one.name
            );
            assert_eq!(by_name(one.name), Some(one));
            assert_eq!(by_directory(one.directory), Some(one));
            assert!(one.directory.starts_with("https://"), "{}", one.name);
            assert!(!one.caa_identities.is_empty(), "{}", one.name);
            if let Some(staging) = one.staging {
                assert_eq!(
                    by_directory(staging).unwrap().staging,
                    Some(staging),
                    "{}",
                    one.name
                );
            }
        }
    }
}
