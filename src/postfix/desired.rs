//! The parameters that a mail host with our certificate should have, each with its reason. Pure.
//!
//! Nothing outside this table is ever edited. What is not the certificate itself is touched only where the
//! configuration says so (`client_ca`), or where TLS would stay off (`smtpd_tls_security_level`).
//!
//! Rules: postconf(5) of each parameter; RFC 3207 (STARTTLS); `design` section 6, rule 3, "Rivals".

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    sni,
    syntax::MainCf,
    values::{Values, Version},
};
use crate::config::{ClientCa, TlsLayout, TlsVersion};

mod certificate;
pub mod client_certificate;
mod incoming;
mod outgoing;
pub mod protocols;
pub mod relay_clients;
mod roots;
mod sni_maps;
pub mod submission;

pub use outgoing::{Outgoing, Validation};

/// A parameter of Postfix that we read or write, and the version that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in main.cf.
    pub name: &'static str,
    /// The first version that knows it.
    pub since: Version,
}

const fn parameter(name: &'static str, major: u32, minor: u32) -> Parameter {
    Parameter {
        name,
        since: Version::new(major, minor),
    }
}

/// Every parameter that this program knows, with the version it appeared in (postconf(5)).
pub const PARAMETERS: &[Parameter] = &[
    parameter("alias_maps", 2, 0),
    parameter("compatibility_level", 3, 0),
    parameter("daemon_directory", 2, 0),
    parameter("default_database_type", 2, 0),
    parameter("inet_interfaces", 2, 0),
    parameter("inet_protocols", 2, 2),
    parameter("known_tcp_ports", 3, 6),
    parameter("local_header_rewrite_clients", 2, 2),
    parameter("mail_name", 2, 0),
    parameter("mail_version", 2, 0),
    parameter("maillog_file", 3, 4),
    parameter("milter_macro_daemon_name", 2, 3),
    parameter("mydestination", 2, 0),
    parameter("mydomain", 2, 0),
    parameter("myhostname", 2, 0),
    parameter("mynetworks", 2, 0),
    parameter("postscreen_enforce_tls", 2, 8),
    parameter("postscreen_tls_security_level", 2, 8),
    parameter("postscreen_use_tls", 2, 8),
    parameter("proxy_interfaces", 2, 0),
    parameter("queue_directory", 2, 0),
    parameter("recipient_delimiter", 2, 0),
    parameter("relay_clientcerts", 2, 2),
    parameter("relayhost", 2, 0),
    parameter("smtp_bind_address", 2, 0),
    parameter("smtp_bind_address6", 2, 2),
    parameter("smtp_dns_support_level", 2, 11),
    parameter("smtp_enforce_tls", 2, 2),
    parameter("smtp_sasl_auth_enable", 2, 0),
    parameter("smtp_sasl_password_maps", 2, 0),
    parameter("smtp_sasl_security_options", 2, 0),
    parameter("smtp_sasl_tls_security_options", 2, 2),
    parameter("smtp_tls_CAfile", 2, 2),
    parameter("smtp_tls_CApath", 2, 2),
    parameter("smtp_tls_cert_file", 2, 2),
    parameter("smtp_tls_chain_files", 3, 4),
    parameter("smtp_tls_ciphers", 2, 6),
    parameter("smtp_tls_dcert_file", 2, 2),
    parameter("smtp_tls_dkey_file", 2, 2),
    parameter("smtp_tls_eccert_file", 2, 6),
    parameter("smtp_tls_eckey_file", 2, 6),
    parameter("smtp_tls_key_file", 2, 2),
    parameter("smtp_tls_loglevel", 2, 2),
    parameter("smtp_tls_mandatory_ciphers", 2, 3),
    parameter("smtp_tls_mandatory_protocols", 2, 3),
    parameter("smtp_tls_protocols", 2, 6),
    parameter("smtp_tls_security_level", 2, 3),
    parameter("smtp_tls_wrappermode", 3, 0),
    parameter("smtp_use_tls", 2, 2),
    parameter("smtpd_banner", 2, 0),
    parameter("smtpd_client_restrictions", 2, 0),
    parameter("smtpd_data_restrictions", 2, 0),
    parameter("smtpd_delay_reject", 2, 0),
    parameter("smtpd_end_of_data_restrictions", 2, 2),
    parameter("smtpd_enforce_tls", 2, 2),
    parameter("smtpd_etrn_restrictions", 2, 0),
    parameter("smtpd_forbid_unauth_pipelining", 3, 9),
    parameter("smtpd_helo_restrictions", 2, 0),
    parameter("smtpd_hide_client_session", 3, 10),
    parameter("smtpd_milters", 2, 3),
    parameter("smtpd_recipient_restrictions", 2, 0),
    parameter("smtpd_relay_restrictions", 2, 10),
    parameter("smtpd_sasl_auth_enable", 2, 0),
    parameter("smtpd_sasl_exceptions_networks", 2, 1),
    parameter("smtpd_sasl_local_domain", 2, 0),
    parameter("smtpd_sasl_path", 2, 3),
    parameter("smtpd_sasl_type", 2, 3),
    parameter("smtpd_sender_login_maps", 2, 0),
    parameter("smtpd_sender_restrictions", 2, 0),
    parameter("smtpd_tls_CAfile", 2, 2),
    parameter("smtpd_tls_CApath", 2, 2),
    parameter("smtpd_tls_ask_ccert", 2, 2),
    parameter("smtpd_tls_auth_only", 2, 2),
    parameter("smtpd_tls_cert_file", 2, 2),
    parameter("smtpd_tls_chain_files", 3, 4),
    parameter("smtpd_tls_dcert_file", 2, 2),
    parameter("smtpd_tls_dkey_file", 2, 2),
    parameter("smtpd_tls_eccert_file", 2, 6),
    parameter("smtpd_tls_eckey_file", 2, 6),
    parameter("smtpd_tls_fingerprint_digest", 2, 5),
    parameter("smtpd_tls_key_file", 2, 2),
    parameter("smtpd_tls_loglevel", 2, 2),
    parameter("smtpd_tls_mandatory_protocols", 2, 3),
    parameter("smtpd_tls_protocols", 2, 6),
    parameter("smtpd_tls_req_ccert", 2, 2),
    parameter("smtpd_tls_security_level", 2, 3),
    parameter("smtpd_tls_wrappermode", 2, 2),
    parameter("smtpd_use_tls", 2, 2),
    parameter("syslog_name", 2, 0),
    parameter("tls_append_default_CA", 2, 8),
    parameter("tls_server_sni_maps", 3, 4),
    parameter("tlsproxy_tls_cert_file", 2, 8),
    parameter("tlsproxy_tls_chain_files", 3, 4),
    parameter("tlsproxy_tls_dcert_file", 2, 8),
    parameter("tlsproxy_tls_dkey_file", 2, 8),
    parameter("tlsproxy_tls_eccert_file", 2, 8),
    parameter("tlsproxy_tls_eckey_file", 2, 8),
    parameter("tlsproxy_tls_key_file", 2, 8),
    parameter("virtual_alias_domains", 2, 0),
    parameter("virtual_alias_maps", 2, 0),
    parameter("virtual_mailbox_domains", 2, 0),
];

/// The parameters that name the server's certificates and keys: smtpd's, and tlsproxy's, which follow smtpd's unless
/// main.cf says otherwise.
pub const CERTIFICATE_PARAMETERS: [(&str, &str); 7] = [
    ("smtpd_tls_chain_files", "tlsproxy_tls_chain_files"),
    ("smtpd_tls_cert_file", "tlsproxy_tls_cert_file"),
    ("smtpd_tls_key_file", "tlsproxy_tls_key_file"),
    ("smtpd_tls_eccert_file", "tlsproxy_tls_eccert_file"),
    ("smtpd_tls_eckey_file", "tlsproxy_tls_eckey_file"),
    ("smtpd_tls_dcert_file", "tlsproxy_tls_dcert_file"),
    ("smtpd_tls_dkey_file", "tlsproxy_tls_dkey_file"),
];

/// The parameter that names the maps from names to keys with chains.
const SNI_MAPS: &str = "tls_server_sni_maps";

/// Where distributions keep the roots that they trust, in one file; the distribution's own name before a compatible one.
pub const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/pki/tls/certs/ca-bundle.crt",                  // RHEL, Fedora
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL, Fedora: what the name above points to
    "/etc/ssl/ca-bundle.pem",                            // SUSE
    "/var/lib/ca-certificates/ca-bundle.pem",            // SUSE: what the name above points to
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch, Alpine
    "/etc/ssl/cert.pem",                                 // Alpine, the BSDs
];

/// Where distributions keep the same roots as a directory of hashed names.
pub const SYSTEM_CA_DIRECTORIES: [&str; 5] = [
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/tls",
    "/var/lib/ca-certificates/openssl",
    "/etc/ssl/cacerts",
];

/// The files of the live directory, as absolute paths that stay the same over renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFiles {
    /// The leaf and its intermediates, leaf first.
    pub fullchain: PathBuf,
    /// The private key.
    pub privkey: PathBuf,
    /// Key first, then the full chain.
    pub combined: PathBuf,
}

impl LiveFiles {
    /// Names the files below a live directory as certbot does.
    pub fn below(directory: &Path) -> Self {
        Self {
            fullchain: directory.join("fullchain.pem"),
            privkey: directory.join("privkey.pem"),
            combined: directory.join("combined.pem"),
        }
    }
}

/// What the configuration asks of Postfix.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Where key and chain are.
    pub live: &'a LiveFiles,
    /// How they are named in main.cf.
    pub layout: TlsLayout,
    /// What `smtp_tls_CAfile` is to be.
    pub client_ca: &'a ClientCa,
    /// Those of [`SYSTEM_BUNDLES`] that this host has, in the same order.
    pub system_bundles: &'a [&'static str],
    /// The SNI map of ours.
    pub sni: SniRequest<'a>,
    /// What else the configuration asks for.
    pub policy: Policy,
}

/// What is touched only where the configuration says so.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The oldest protocol that smtpd takes.
    pub incoming: Option<TlsVersion>,
    /// TLS of outgoing mail.
    pub outgoing: Option<Outgoing>,
    /// The greeting keeps the software's name to itself.
    pub hide_banner: bool,
    /// The services that users submit to.
    pub submission: submission::Request,
    /// The file of ours with the distribution's roots and the private CA's.
    pub trust_bundle: PathBuf,
    /// What is shown to servers that ask for a client certificate.
    pub client_certificate: Option<client_certificate::Files>,
    /// Who may relay by client certificate.
    pub relay_clients: relay_clients::Request,
}

/// What main.cf is to do with the SNI map of ours.
#[derive(Clone, Copy, Debug)]
pub struct SniRequest<'a> {
    /// The map's source.
    pub source: &'a Path,
    /// Whether a lineage is in it.
    pub is_wanted: bool,
}

#[cfg(test)]
impl SniRequest<'static> {
    /// Returns what is asked for where no lineage is in the map.
    pub fn unwanted() -> Self {
        Self {
            source: Path::new("/s/sni"),
            is_wanted: false,
        }
    }
}

/// What should be, for one installed Postfix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Parameters with the value they should have.
    pub settings: Vec<Setting>,
    /// Parameters that main.cf should not set.
    pub unwanted: Vec<Unwanted>,
    /// Services of master.cf with the overrides they should have.
    pub services: Vec<submission::Service>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// A parameter with its wanted value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The parameter.
    pub name: &'static str,
    /// Its wanted value, as main.cf is to have it: `$name` is expanded there.
    pub value: String,
    /// Why, with the document that says so.
    pub reason: &'static str,
}

/// A parameter that wins over a wanted one, or is made superfluous by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// The parameter.
    pub name: &'static str,
    /// Why, with the document that says so.
    pub reason: &'static str,
}

/// Why the installed Postfix cannot be given what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredError {
    /// SNI maps are not made as tables of the type that the installation makes by default.
    MapType(String),
    /// The path cannot be written into main.cf so that Postfix reads it back.
    Path(PathBuf),
    /// Tables of the operator's hold fingerprints of a digest that is not to be used any more.
    WeakFingerprints {
        /// The digest.
        digest: String,
        /// What names them.
        tables: String,
    },
    /// The installed version does not know the parameter.
    TooOld {
        /// The parameter.
        parameter: Parameter,
        /// The installed version.
        installed: Version,
    },
}

impl fmt::Display for DesiredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapType(kind) => write!(
                f,
                "default_database_type is `{}`; the map for tls_server_sni_maps is made as one of {}: set \
                 default_database_type to one that `postconf -m` lists",
                kind.escape_debug(),
                sni::known_types().collect::<Vec<_>>().join(", ")
            ),
            Self::Path(path) => write!(
                f,
                "`{}` cannot be named in main.cf: white space, commas, `$`, braces and control characters have a \
                 meaning there",
                path.display().to_string().escape_debug()
            ),
            Self::WeakFingerprints { digest, tables } => write!(
                f,
                "smtpd_tls_fingerprint_digest is `{digest}`, which others can forge, and {tables} may hold such fingerprints: \
                 make them anew with sha256, set smtpd_tls_fingerprint_digest = sha256, then run this again"
            ),
            Self::TooOld { parameter, installed } => write!(
                f,
                "Postfix {installed} does not know {}, which came with {}.{}; `{}` works with it",
                parameter.name,
                parameter.since.major,
                parameter.since.minor,
                if parameter.name == SNI_MAPS {
                    "sni = false"
                } else {
                    "tls_layout = \"cert+key\""
                },
            ),
        }
    }
}

impl std::error::Error for DesiredError {}

impl Desired {
    /// Returns the wanted value of a parameter, when there is one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.settings
            .iter()
            .find(|setting| setting.name == name)
            .map(|setting| setting.value.as_str())
    }

    /// Returns why a service may not override this parameter with this (expanded) value; `None` when it may.
    pub fn refuses_override(&self, name: &str, value: &str) -> Option<&'static str> {
        let (server, _) = CERTIFICATE_PARAMETERS
            .iter()
            .find(|(server, proxy)| *server == name || *proxy == name)?;
        match self.value(server) {
            Some(wanted) if wanted == value => None,
            Some(_) => {
                Some("this service would serve another certificate than main.cf names (master(5), -o)")
            }
            None if value.is_empty() => None,
            None => Some(certificate::rival_reason(
                server,
                self.value("smtpd_tls_chain_files").is_some(),
            )),
        }
    }
}

/// Names those of [`SYSTEM_BUNDLES`] that exist; the caller looks.
pub fn system_bundles(exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    SYSTEM_BUNDLES.into_iter().filter(|path| exists(path)).collect()
}

/// Decides what should be, for the installed version and what main.cf says now.
///
/// # Errors
/// When the installed version cannot do it, or a path cannot be written into main.cf.
pub fn desired(
    request: &Request<'_>,
    version: Version,
    main_cf: &MainCf,
    values: &Values,
) -> Result<Desired, DesiredError> {
    let mut desired = Desired::default();
    certificate::certificate(request, version, &mut desired)?;
    certificate::rivals(main_cf, values, &mut desired);
    incoming::security_level(values, &mut desired);
    roots::client_ca(request, main_cf, values, &mut desired)?;
    sni_maps::sni_maps(request.sni, version, main_cf, values, &mut desired)?;
    if let Some(minimum) = request.policy.incoming {
        incoming::floors(minimum, version, values, &mut desired);
    }
    if let Some(outgoing) = &request.policy.outgoing {
        outgoing.decide(version, values, &mut desired);
    }
    if request.policy.hide_banner {
        incoming::banner(values, &mut desired);
    }
    if let Some(files) = &request.policy.client_certificate {
        client_certificate::decide(files, request.layout, version, main_cf, values, &mut desired)?;
    }
    relay_clients::decide(
        &request.policy.relay_clients,
        version,
        main_cf,
        values,
        &mut desired,
    )?;
    submission::decide(&request.policy.submission, version, values, &mut desired);
    Ok(desired)
}

/// Returns the path as text that main.cf gives back unchanged.
///
/// # Errors
/// When it has a character that has a meaning there.
pub fn in_main_cf(path: &Path) -> Result<String, DesiredError> {
    let fail = || DesiredError::Path(path.to_owned());
    let text = path.to_str().ok_or_else(fail)?;
    let has_meaning = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '$' | '{' | '}');
    if !path.is_absolute() || text.contains(has_meaning) {
        return Err(fail());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
