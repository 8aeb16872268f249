//! What this host shows to servers that ask for a client certificate. Pure.
//!
//! A relay that lets clients in by certificate asks for one; every other server ignores it. A certificate of a public CA is
//! none for this: since 2026 they are for servers alone (no clientAuth).
//!
//! Rules: postconf(5), smtp_tls_cert_file, smtp_tls_chain_files; RFC 5280, 4.2.1.12.

use std::path::PathBuf;

use super::{Desired, DesiredError, Setting, Unwanted, in_main_cf, parameter};
use crate::{
    config::TlsLayout,
    postfix::{
        syntax::{MainCf, Service},
        values::{Values, Version},
    },
};

/// The parameters that name the client's certificates and keys.
pub const PARAMETERS: [&str; 7] = [
    "smtp_tls_chain_files",
    "smtp_tls_cert_file",
    "smtp_tls_key_file",
    "smtp_tls_eccert_file",
    "smtp_tls_eckey_file",
    "smtp_tls_dcert_file",
    "smtp_tls_dkey_file",
];

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The leaf and its intermediates, leaf first.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// The key first, then the chain, in one file; `None` where there is no such file.
    pub combined: Option<PathBuf>,
}

/// Decides about the client's certificate.
///
/// # Errors
/// When the installed version cannot do it, or a path cannot be written into main.cf.
pub fn decide(
    files: &Files,
    layout: TlsLayout,
    version: Version,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let (chain, key) = (in_main_cf(&files.chain)?, in_main_cf(&files.key)?);
    let mut set = |name: &'static str, value: String, reason: &'static str| {
        desired.settings.push(Setting { name, value, reason });
    };
    match layout {
        TlsLayout::CertAndKey => {
            let reason =
                "shown to servers that ask for a client certificate (postconf(5), smtp_tls_cert_file)";
            set("smtp_tls_cert_file", chain, reason);
            let reason = "the key of that certificate (postconf(5), smtp_tls_key_file)";
            set("smtp_tls_key_file", key, reason);
        }
        TlsLayout::Chain => {
            let parameter = parameter("smtp_tls_chain_files", 3, 4);
            if version < parameter.since {
                return Err(DesiredError::TooOld {
                    parameter,
                    installed: version,
                });
            }
            let value = match &files.combined {
                Some(combined) => in_main_cf(combined)?,
                // A key may stand in a file of its own before the one with its chain (postconf(5)).
                None => format!("{key}, {chain}"),
            };
            let reason = "shown to servers that ask for a client certificate, key and chain together (postconf(5), \
                          smtp_tls_chain_files)";
            set(parameter.name, value, reason);
        }
    }
    rivals(main_cf, values, desired);
    let level = values.get("smtp_tls_security_level");
    let is_decided = desired.value("smtp_tls_security_level").is_some();
    let is_on = values.is_yes("smtp_use_tls") || values.is_yes("smtp_enforce_tls");
    if !is_decided && (level == "none" || level.is_empty() && !is_on) {
        desired.settings.push(Setting {
            name: "smtp_tls_security_level",
            value: "may".to_owned(),
            reason: "without TLS no certificate is ever shown (postconf(5), smtp_tls_security_level)",
        });
    }
    Ok(())
}

/// Finds what main.cf sets besides, and what would be shown instead of ours.
fn rivals(main_cf: &MainCf, values: &Values, desired: &mut Desired) {
    let reason = match desired.value("smtp_tls_chain_files") {
        Some(_) => {
            "smtp_tls_chain_files takes its place, and Postfix warns when both are set (postconf(5), smtp_tls_chain_files)"
        }
        None => {
            "another certificate than that of `client_certificate` would be shown (postconf(5), smtp_tls_chain_files)"
        }
    };
    for name in PARAMETERS {
        let is_set = main_cf.get(name).is_some() && !values.get(name).is_empty();
        if is_set && desired.value(name).is_none() {
            desired.unwanted.push(Unwanted { name, reason });
        }
    }
}

/// Tells of transports that show another certificate: they were given it on purpose, and keep it.
pub fn notes(services: &[Service]) -> Vec<String> {
    let told = |service: &Service| {
        let named = PARAMETERS.iter().find(|name| service.overridden(name).is_some());
        named.map(|name| {
            format!(
                "{}: its own -o {name} stays: this transport does not show the certificate of `client_certificate`",
                service.label()
            )
        })
    };
    services
        .iter()
        .filter(|service| matches!(service.command.as_str(), "smtp" | "lmtp"))
        .filter_map(told)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::syntax::MasterCf;

    fn check(main_cf: &str, layout: TlsLayout, combined: Option<&str>, settings: &[&str], unwanted: &[&str]) {
        let files = Files {
            chain: "/c.pem".into(),
            key: "/k.pem".into(),
            combined: combined.map(PathBuf::from),
        };
        let mut desired = Desired::default();
        let file = MainCf::parse(main_cf.as_bytes());
        let values = Values::parse(main_cf.as_bytes());
        decide(&files, layout, Version::new(3, 7), &file, &values, &mut desired).unwrap();
        let found: Vec<String> = desired
            .settings
            .iter()
            .map(|one| format!("{}={}", one.name, one.value))
            .collect();
        let found_unwanted: Vec<&str> = desired.unwanted.iter().map(|one| one.name).collect();
        assert_eq!(
            (found, found_unwanted),
            (
                settings.iter().map(|one| (*one).to_owned()).collect(),
                unwanted.to_vec()
            ),
            "{main_cf:?}"
        );
    }

    #[test]
    fn names_the_pair_and_no_rival() {
        let may = "smtp_tls_security_level = may\n";
        let pair = ["smtp_tls_cert_file=/c.pem", "smtp_tls_key_file=/k.pem"];
        check(may, TlsLayout::CertAndKey, None, &pair, &[]);
        check(
            &format!("{may}smtp_tls_chain_files = /o\nsmtp_tls_eccert_file =\n"),
            TlsLayout::CertAndKey,
            None,
            &pair,
            &["smtp_tls_chain_files"],
        );
        check(
            &format!("{may}smtp_tls_cert_file = /o\nsmtp_tls_dkey_file = /o\n"),
            TlsLayout::Chain,
            Some("/b.pem"),
            &["smtp_tls_chain_files=/b.pem"],
            &["smtp_tls_cert_file", "smtp_tls_dkey_file"],
        );
        check(
            may,
            TlsLayout::Chain,
            None,
            &["smtp_tls_chain_files=/k.pem, /c.pem"],
            &[],
        );
    }

    #[test]
    fn switches_tls_on_where_it_is_off() {
        let on = ["smtp_tls_chain_files=/b", "smtp_tls_security_level=may"];
        let check =
            |main_cf: &str, expected: &[&str]| check(main_cf, TlsLayout::Chain, Some("/b"), expected, &[]);
        check("", &on);
        check("smtp_tls_security_level = none\n", &on);
        check("smtp_use_tls = yes\n", &on[..1]);
        for kept in ["may", "encrypt", "dane"] {
            check(&format!("smtp_tls_security_level = {kept}\n"), &on[..1]);
        }
    }

    #[test]
    fn tells_of_transports_with_their_own() {
        let services = MasterCf::parse(
            b"smtp unix - - n - - smtp\nrelay unix - - n - - smtp\n  -o smtp_tls_cert_file=/o\n25 inet n - n - - smtpd\n",
        )
        .services();
        let found = notes(&services);
        assert!(
            matches!(found.as_slice(), [one] if one.starts_with("relay")),
            "{found:?}"
        );
    }
}
