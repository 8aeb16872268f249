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

mod incoming;
mod outgoing;
pub mod protocols;
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
    parameter("smtp_tls_ciphers", 2, 6),
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
    parameter("smtpd_tls_auth_only", 2, 2),
    parameter("smtpd_tls_cert_file", 2, 2),
    parameter("smtpd_tls_chain_files", 3, 4),
    parameter("smtpd_tls_dcert_file", 2, 2),
    parameter("smtpd_tls_dkey_file", 2, 2),
    parameter("smtpd_tls_eccert_file", 2, 6),
    parameter("smtpd_tls_eckey_file", 2, 6),
    parameter("smtpd_tls_key_file", 2, 2),
    parameter("smtpd_tls_loglevel", 2, 2),
    parameter("smtpd_tls_mandatory_protocols", 2, 3),
    parameter("smtpd_tls_protocols", 2, 6),
    parameter("smtpd_tls_req_ccert", 2, 2),
    parameter("smtpd_tls_security_level", 2, 3),
    parameter("smtpd_tls_wrappermode", 2, 2),
    parameter("smtpd_use_tls", 2, 2),
    parameter("syslog_name", 2, 0),
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
const SYSTEM_CA_DIRECTORIES: [&str; 5] = [
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
            None => Some(rival_reason(
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
    certificate(request, version, &mut desired)?;
    rivals(main_cf, values, &mut desired);
    security_level(values, &mut desired);
    client_ca(request, main_cf, values, &mut desired)?;
    sni_maps(request.sni, version, main_cf, values, &mut desired)?;
    if let Some(minimum) = request.policy.incoming {
        incoming::floors(minimum, version, values, &mut desired);
    }
    if let Some(outgoing) = &request.policy.outgoing {
        outgoing.decide(version, values, &mut desired);
    }
    if request.policy.hide_banner {
        incoming::banner(values, &mut desired);
    }
    submission::decide(&request.policy.submission, version, values, &mut desired);
    Ok(desired)
}

/// Decides about `tls_server_sni_maps`: ours is named after the operator's own, which stay.
fn sni_maps(
    request: SniRequest<'_>,
    version: Version,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let present = values.get(SNI_MAPS);
    let named = sni::named_type(present, request.source);
    if !request.is_wanted {
        if named.is_some() && sni::is_only(present, request.source) {
            desired.unwanted.push(Unwanted {
                name: SNI_MAPS,
                reason: "no certificate has `sni = true` any more (postconf(5), tls_server_sni_maps)",
            });
        }
        return Ok(());
    }
    let parameter = parameter(SNI_MAPS, 3, 4);
    if version < parameter.since {
        return Err(DesiredError::TooOld {
            parameter,
            installed: version,
        });
    }
    let kind = values.get("default_database_type");
    if sni::compiled(kind, request.source).is_none() {
        return Err(DesiredError::MapType(kind.to_owned()));
    }
    let ours = format!("{kind}:{}", in_main_cf(request.source)?);
    // As it is written, references and all; they may stand for the operator's own maps.
    let written = main_cf.get(SNI_MAPS).unwrap_or_default();
    let written = String::from_utf8_lossy(&written)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let value = match named {
        Some(named) if named == kind => present.to_owned(),
        // The type that new maps are made of has changed: an upgrade of Postfix.
        Some(named) => written.replace(&format!("{named}:{}", request.source.display()), &ours),
        None if present.is_empty() => ours,
        None => {
            desired.notes.push(format!(
                "tls_server_sni_maps: your own {present} stays, and is asked first: a name in it gets your certificate, \
                 not the one that mailcert renews"
            ));
            format!("{written}, {ours}")
        }
    };
    desired.settings.push(Setting {
        name: SNI_MAPS,
        value,
        reason: "a certificate for each name that clients ask for (postconf(5), tls_server_sni_maps)",
    });
    Ok(())
}

fn certificate(request: &Request<'_>, version: Version, desired: &mut Desired) -> Result<(), DesiredError> {
    match request.layout {
        TlsLayout::CertAndKey => {
            desired.settings.push(Setting {
                name: "smtpd_tls_cert_file",
                value: in_main_cf(&request.live.fullchain)?,
                reason: "the certificate with its intermediates; with the leaf alone, peers that verify report an \
                         untrusted issuer (postconf(5), smtpd_tls_cert_file)",
            });
            desired.settings.push(Setting {
                name: "smtpd_tls_key_file",
                value: in_main_cf(&request.live.privkey)?,
                reason: "the key of that certificate (postconf(5), smtpd_tls_key_file)",
            });
        }
        TlsLayout::Chain => {
            let parameter = parameter("smtpd_tls_chain_files", 3, 4);
            if version < parameter.since {
                return Err(DesiredError::TooOld {
                    parameter,
                    installed: version,
                });
            }
            desired.settings.push(Setting {
                name: parameter.name,
                value: in_main_cf(&request.live.combined)?,
                reason: "key and chain in one file: no process can read a mixed pair while it is replaced \
                         (postconf(5), smtpd_tls_chain_files)",
            });
        }
    }
    Ok(())
}

/// Finds what main.cf sets besides, and what would be served instead of ours.
fn rivals(main_cf: &MainCf, values: &Values, desired: &mut Desired) {
    let chain = desired.value("smtpd_tls_chain_files").is_some();
    for (server, proxy) in CERTIFICATE_PARAMETERS {
        let wanted = desired.value(server).map(str::to_owned);
        if wanted.is_none() && main_cf.get(server).is_some() && !values.get(server).is_empty() {
            desired.unwanted.push(Unwanted {
                name: server,
                reason: rival_reason(server, chain),
            });
        }
        let follows = main_cf
            .get(proxy)
            .is_none_or(|raw| String::from_utf8_lossy(&raw).contains("$smtpd_tls_"));
        if !follows && values.get(proxy) != wanted.as_deref().unwrap_or_default() {
            let reason = "postscreen's port would serve another certificate; without this line it follows smtpd's \
                          (postconf(5), tlsproxy_tls_cert_file)";
            desired.unwanted.push(Unwanted { name: proxy, reason });
        }
    }
}

fn rival_reason(server: &str, chain: bool) -> &'static str {
    match server {
        _ if chain => {
            "smtpd_tls_chain_files takes its place, and Postfix warns when both are set (postconf(5), \
             smtpd_tls_chain_files)"
        }
        "smtpd_tls_chain_files" => {
            "it wins over smtpd_tls_cert_file in silence (postconf(5), smtpd_tls_chain_files)"
        }
        "smtpd_tls_dcert_file" | "smtpd_tls_dkey_file" => {
            "a second certificate that nobody renews would be served to some clients (postconf(5), \
             smtpd_tls_dcert_file)"
        }
        _ => {
            "a second certificate that nobody renews would be served to clients that prefer ECDSA (postconf(5), \
             smtpd_tls_eccert_file)"
        }
    }
}

fn security_level(values: &Values, desired: &mut Desired) {
    match values.get("smtpd_tls_security_level") {
        "" if values.is_yes("smtpd_enforce_tls") => desired.notes.push(
            "smtpd_enforce_tls = yes is obsolete since Postfix 2.3; smtpd_tls_security_level is left empty so that TLS \
             stays mandatory"
                .to_owned(),
        ),
        "" | "none" => desired.settings.push(Setting {
            name: "smtpd_tls_security_level",
            value: "may".to_owned(),
            reason: "without it the certificate is never used; port 25 must offer TLS, not demand it (RFC 3207, 4)",
        }),
        _ => {}
    }
}

fn client_ca(
    request: &Request<'_>,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let present = values.get("smtp_tls_CAfile");
    let (value, reason) = match request.client_ca {
        ClientCa::Keep => return Ok(()),
        ClientCa::File(path) => (
            in_main_cf(path)?,
            "the roots that `client_ca` names (postconf(5), smtp_tls_CAfile)",
        ),
        ClientCa::OwnChain => {
            desired.notes.push(
                "client_ca = \"own-chain\": smtp_tls_CAfile holds no roots then, and every outgoing session is logged \
                 as Untrusted; `client_ca = \"system\"` mends that"
                    .to_owned(),
            );
            // Not chain.pem: it is empty where the CA signs with its root, and an empty file switches TLS off.
            (
                in_main_cf(&request.live.fullchain)?,
                "our own chain, as `client_ca` says",
            )
        }
        ClientCa::System => {
            let Some(first) = request.system_bundles.first() else {
                desired.notes.push(format!(
                    "smtp_tls_CAfile is left as it is: this host has none of {}; install the distribution's CA \
                     certificates, or name a file as `client_ca`",
                    SYSTEM_BUNDLES.join(", ")
                ));
                return Ok(());
            };
            // Another of its names is as good: RHEL and SUSE have two each.
            let kept = request.system_bundles.iter().find(|bundle| **bundle == present);
            let reason = "the roots that the distribution trusts; with one's own certificate there, every outgoing \
                          session is logged as Untrusted (postconf(5), smtp_tls_CAfile)";
            ((*kept.unwrap_or(first)).to_owned(), reason)
        }
    };
    if !present.is_empty() && present != value {
        desired.notes.push(format!(
            "smtp_tls_CAfile was {present}; if it holds roots of your own, name it as `client_ca` or say \
             `client_ca = \"keep\"`"
        ));
    }
    desired.settings.push(Setting {
        name: "smtp_tls_CAfile",
        value,
        reason,
    });
    ca_path(request, main_cf, values, desired);
    Ok(())
}

/// Decides about `smtp_tls_CApath`, which the guide and most distributions set beside `smtp_tls_CAfile`.
fn ca_path(request: &Request<'_>, main_cf: &MainCf, values: &Values, desired: &mut Desired) {
    let directory = values.get("smtp_tls_CApath").trim_end_matches('/');
    if main_cf.get("smtp_tls_CApath").is_none() || directory.is_empty() {
        return;
    }
    let is_system = SYSTEM_CA_DIRECTORIES.contains(&directory);
    if is_system && !matches!(request.client_ca, ClientCa::File(_)) {
        desired.unwanted.push(Unwanted {
            name: "smtp_tls_CApath",
            reason: "smtp_tls_CAfile takes its place: a file is read before a chroot, a directory is searched inside \
                     it (postconf(5), smtp_tls_CApath)",
        });
    } else {
        desired.notes.push(format!(
            "smtp_tls_CApath = {directory} stays: roots in it are trusted as well"
        ));
    }
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
mod tests {
    use super::*;

    const DEBIAN: &[&str] = &["/etc/ssl/certs/ca-certificates.crt"];

    fn decide(main_cf: &str, layout: TlsLayout, client_ca: &ClientCa) -> Desired {
        let live = LiveFiles::below(Path::new("/l"));
        let request = Request {
            live: &live,
            layout,
            client_ca,
            system_bundles: DEBIAN,
            sni: SniRequest::unwanted(),
            policy: Policy::default(),
        };
        let values = Values::parse(main_cf.as_bytes());
        desired(
            &request,
            Version::new(3, 7),
            &MainCf::parse(main_cf.as_bytes()),
            &values,
        )
        .unwrap()
    }

    fn shown(desired: &Desired) -> (Vec<String>, Vec<&'static str>, usize) {
        let settings = desired
            .settings
            .iter()
            .map(|setting| format!("{}={}", setting.name, setting.value));
        let unwanted = desired.unwanted.iter().map(|unwanted| unwanted.name);
        (settings.collect(), unwanted.collect(), desired.notes.len())
    }

    #[test]
    fn wants_the_certificate_and_no_rival() {
        let check = |main_cf: &str, layout: TlsLayout, settings: &[&str], unwanted: &[&str]| {
            let found = decide(main_cf, layout, &ClientCa::Keep);
            let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
            assert_eq!(shown(&found), (settings, unwanted.to_vec(), 0), "{main_cf:?}");
        };
        let cert_and_key = [
            "smtpd_tls_cert_file=/l/fullchain.pem",
            "smtpd_tls_key_file=/l/privkey.pem",
        ];
        let chain = ["smtpd_tls_chain_files=/l/combined.pem"];
        let may = "smtpd_tls_security_level = may\n";
        let both = |text: &str, unwanted_pair: &[&str], unwanted_chain: &[&str]| {
            check(
                &format!("{may}{text}"),
                TlsLayout::CertAndKey,
                &cert_and_key,
                unwanted_pair,
            );
            check(&format!("{may}{text}"), TlsLayout::Chain, &chain, unwanted_chain);
        };
        both("", &[], &[]);
        both(
            "smtpd_tls_cert_file = /o\nsmtpd_tls_key_file = /k\n",
            &[],
            &["smtpd_tls_cert_file", "smtpd_tls_key_file"],
        );
        both("smtpd_tls_chain_files = /o\n", &["smtpd_tls_chain_files"], &[]);
        let ecdsa = ["smtpd_tls_eccert_file", "smtpd_tls_eckey_file"];
        both(
            "smtpd_tls_eccert_file = /o\nsmtpd_tls_eckey_file = /o\n",
            &ecdsa,
            &ecdsa,
        );
        let dsa = ["smtpd_tls_dcert_file", "smtpd_tls_dkey_file"];
        both(
            "smtpd_tls_dcert_file = /o\nsmtpd_tls_dkey_file = /o\n",
            &dsa,
            &dsa,
        );
        both("smtpd_tls_eccert_file =\n", &[], &[]);
        both(
            "tlsproxy_tls_cert_file = /o\n",
            &["tlsproxy_tls_cert_file"],
            &["tlsproxy_tls_cert_file"],
        );
        both("tlsproxy_tls_cert_file = $smtpd_tls_cert_file\n", &[], &[]);
        both("tls_server_sni_maps = hash:/s\n", &[], &[]);
        // Values that nothing in main.cf sets are the program's defaults, and no rivals.
        let live = LiveFiles::below(Path::new("/l"));
        let request = Request {
            live: &live,
            layout: TlsLayout::Chain,
            client_ca: &ClientCa::Keep,
            system_bundles: DEBIAN,
            sni: SniRequest::unwanted(),
            policy: Policy::default(),
        };
        let values = Values::parse(b"smtpd_tls_key_file = /default\nsmtpd_tls_security_level = may\n");
        let found = desired(&request, Version::new(3, 4), &MainCf::parse(b""), &values).unwrap();
        assert!(found.unwanted.is_empty(), "{found:?}");
    }

    #[test]
    fn switches_tls_on_where_it_is_off() {
        let check = |main_cf: &str, expected: Option<&str>| {
            let found = decide(main_cf, TlsLayout::Chain, &ClientCa::Keep);
            assert_eq!(found.value("smtpd_tls_security_level"), expected, "{main_cf:?}");
        };
        check("", Some("may"));
        check("smtpd_tls_security_level =\n", Some("may"));
        check("smtpd_tls_security_level = none\n", Some("may"));
        check("smtpd_use_tls = yes\n", Some("may"));
        check("smtpd_enforce_tls = yes\n", None);
        check("smtpd_tls_security_level = encrypt\n", None);
        check("smtpd_tls_security_level = bogus\n", None);
    }

    #[test]
    fn decides_about_the_clients_roots() {
        let check =
            |main_cf: &str, client_ca: &ClientCa, file: Option<&str>, unwanted: &[&str], n_notes: usize| {
                let found = decide(
                    &format!("smtpd_tls_security_level = may\n{main_cf}"),
                    TlsLayout::Chain,
                    client_ca,
                );
                assert_eq!(found.value("smtp_tls_CAfile"), file, "{main_cf:?} {client_ca:?}");
                assert_eq!(
                    (shown(&found).1, found.notes.len()),
                    (unwanted.to_vec(), n_notes),
                    "{main_cf:?} {client_ca:?}"
                );
            };
        let (system, bundle) = (ClientCa::System, Some("/etc/ssl/certs/ca-certificates.crt"));
        let file = ClientCa::File("/r.pem".into());
        let (own, path) = (
            "smtp_tls_CAfile = /own/cert.pem\n",
            "smtp_tls_CApath = /etc/ssl/certs\n",
        );
        let ca_path = ["smtp_tls_CApath"];
        check("", &system, bundle, &[], 0);
        check(path, &system, bundle, &ca_path, 0);
        check(
            "smtp_tls_CApath = /etc/pki/tls/certs/\n",
            &system,
            bundle,
            &ca_path,
            0,
        );
        check("smtp_tls_CApath =\n", &system, bundle, &[], 0);
        check("smtp_tls_CApath = /etc/postfix/roots\n", &system, bundle, &[], 1);
        check(own, &system, bundle, &[], 1);
        check(
            "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
            &system,
            bundle,
            &[],
            0,
        );
        check(own, &ClientCa::Keep, None, &[], 0);
        check(path, &ClientCa::Keep, None, &[], 0);
        check(path, &file, Some("/r.pem"), &[], 1);
        check(path, &ClientCa::OwnChain, Some("/l/fullchain.pem"), &ca_path, 1);
    }

    #[test]
    fn knows_the_bundle_of_each_distribution() {
        let check = |present: &[&str], expected: Option<&str>| {
            assert_eq!(
                system_bundles(|path| present.contains(&path)).first().copied(),
                expected,
                "{present:?}"
            );
        };
        let rhel = "/etc/pki/tls/certs/ca-bundle.crt";
        check(&[], None);
        check(DEBIAN, Some(DEBIAN[0]));
        check(
            &[rhel, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"],
            Some(rhel),
        );
        check(&[DEBIAN[0], rhel], Some(rhel));
        check(
            &["/etc/ssl/ca-bundle.pem", "/var/lib/ca-certificates/ca-bundle.pem"],
            Some("/etc/ssl/ca-bundle.pem"),
        );
        check(&["/etc/ssl/cert.pem", DEBIAN[0]], Some(DEBIAN[0]));
        // Without any, the parameter is left alone and the operator is told.
        let live = LiveFiles::below(Path::new("/l"));
        let request = Request {
            live: &live,
            layout: TlsLayout::Chain,
            client_ca: &ClientCa::System,
            system_bundles: &[],
            sni: SniRequest::unwanted(),
            policy: Policy::default(),
        };
        let found = desired(
            &request,
            Version::new(3, 4),
            &MainCf::parse(b""),
            &Values::default(),
        )
        .unwrap();
        assert_eq!((found.value("smtp_tls_CAfile"), found.notes.len()), (None, 1));
    }

    #[test]
    fn refuses_what_the_version_or_main_cf_cannot_hold() {
        let check = |directory: &str, version: Version, layout: TlsLayout, expected: bool| {
            let live = LiveFiles::below(Path::new(directory));
            let request = Request {
                live: &live,
                layout,
                client_ca: &ClientCa::Keep,
                system_bundles: DEBIAN,
                sni: SniRequest::unwanted(),
                policy: Policy::default(),
            };
            let found = desired(&request, version, &MainCf::parse(b""), &Values::default());
            assert_eq!(found.is_ok(), expected, "{found:?}");
        };
        check("/l", Version::new(3, 3), TlsLayout::Chain, false);
        check("/l", Version::new(3, 4), TlsLayout::Chain, true);
        check("/l", Version::new(2, 11), TlsLayout::CertAndKey, true);
        for directory in ["/a b", "/a,b", "/a$b", "/a\nb", "/{a}", "relative"] {
            check(directory, Version::new(3, 7), TlsLayout::CertAndKey, false);
        }
    }

    #[test]
    fn every_certificate_parameter_is_in_the_table_once() {
        for (index, parameter) in PARAMETERS.iter().enumerate() {
            assert!(
                PARAMETERS[..index]
                    .iter()
                    .all(|other| other.name < parameter.name),
                "{}",
                parameter.name
            );
        }
        for (server, proxy) in CERTIFICATE_PARAMETERS {
            assert!(
                PARAMETERS.iter().any(|parameter| parameter.name == server),
                "{server}"
            );
            assert!(
                PARAMETERS.iter().any(|parameter| parameter.name == proxy),
                "{proxy}"
            );
        }
    }

    /// Decides for a host with an SNI map, or without one.
    fn decide_sni(text: &str, version: Version, is_wanted: bool) -> Result<Desired, DesiredError> {
        let live = LiveFiles::below(Path::new("/l"));
        let source = Path::new("/s/sni");
        let request = Request {
            live: &live,
            layout: TlsLayout::CertAndKey,
            client_ca: &ClientCa::Keep,
            system_bundles: DEBIAN,
            sni: SniRequest { source, is_wanted },
            policy: Policy::default(),
        };
        let raw = Values::parse(text.replace("\n  ", " ").as_bytes());
        let mut values = raw.clone();
        values.insert(SNI_MAPS, raw.expand(raw.get(SNI_MAPS)));
        desired(&request, version, &MainCf::parse(text.as_bytes()), &values)
    }

    #[test]
    fn names_the_sni_map_beside_the_operators_own() {
        let check =
            |main_cf: &str, is_wanted: bool, value: Option<&str>, unwanted: &[&str], n_notes: usize| {
                let text = format!("default_database_type = hash\nsmtpd_tls_security_level = may\n{main_cf}");
                let found = decide_sni(&text, Version::new(3, 7), is_wanted).unwrap();
                assert_eq!(
                    (found.value(SNI_MAPS), shown(&found).1, found.notes.len()),
                    (value, unwanted.to_vec(), n_notes),
                    "{text:?}"
                );
            };
        let ours = Some("hash:/s/sni");
        check("", true, ours, &[], 0);
        check("", false, None, &[], 0);
        check("tls_server_sni_maps = hash:/s/sni\n", true, ours, &[], 0);
        check("tls_server_sni_maps = hash:/s/sni\n", false, None, &[SNI_MAPS], 0);
        // The type that new maps are made of has changed.
        check("tls_server_sni_maps = lmdb:/s/sni\n", true, ours, &[], 0);
        check("tls_server_sni_maps = hash:/o\n", false, None, &[], 0);
        check(
            "tls_server_sni_maps = hash:/o\n",
            true,
            Some("hash:/o, hash:/s/sni"),
            &[],
            1,
        );
        check(
            "tls_server_sni_maps = hash:/o,\n  hash:/s/sni\n",
            false,
            None,
            &[],
            0,
        );
        check(
            "m = hash:/o\ntls_server_sni_maps = $m\n",
            true,
            Some("$m, hash:/s/sni"),
            &[],
            1,
        );
        // Planned again after that, the effective value is the wanted one.
        let again = "m = hash:/o\ntls_server_sni_maps = $m, hash:/s/sni\n";
        check(again, true, Some("hash:/o, hash:/s/sni"), &[], 0);
    }

    #[test]
    fn refuses_an_sni_map_that_the_installation_cannot_have() {
        let check = |version: Version, kind: &str, expected: &str| {
            let text = format!("default_database_type = {kind}\n");
            let error = decide_sni(&text, version, true).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            Version::new(3, 3),
            "hash",
            "came with 3.4; `sni = false` works with it",
        );
        check(Version::new(3, 11), "dbm", "`dbm`");
    }

    #[test]
    fn refuses_overrides_that_serve_another_certificate() {
        let check = |layout: TlsLayout, name: &str, value: &str, expected: bool| {
            let found = decide("", layout, &ClientCa::Keep).refuses_override(name, value);
            assert_eq!(found.is_some(), expected, "{layout:?} {name} {value}");
        };
        check(TlsLayout::CertAndKey, "smtpd_tls_cert_file", "/o", true);
        check(TlsLayout::CertAndKey, "smtpd_tls_cert_file", "", true);
        check(
            TlsLayout::CertAndKey,
            "smtpd_tls_cert_file",
            "/l/fullchain.pem",
            false,
        );
        check(TlsLayout::CertAndKey, "smtpd_tls_chain_files", "/o", true);
        check(TlsLayout::CertAndKey, "smtpd_tls_chain_files", "", false);
        check(TlsLayout::CertAndKey, "tlsproxy_tls_eccert_file", "/o", true);
        check(TlsLayout::Chain, "smtpd_tls_key_file", "/o", true);
        check(TlsLayout::Chain, "smtpd_tls_security_level", "encrypt", false);
        check(TlsLayout::Chain, "smtp_tls_cert_file", "/o", false);
    }
}
