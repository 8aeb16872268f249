//! The certificate that the server shows, and what would be shown instead of it. Pure.
//!
//! Rules: postconf(5), smtpd_tls_chain_files, smtpd_tls_cert_file, tlsproxy_tls_cert_file.

use super::{
    CERTIFICATE_PARAMETERS, Desired, DesiredError, Request, Setting, Unwanted, in_main_cf, parameter,
};
use crate::{
    config::TlsLayout,
    postfix::{
        syntax::MainCf,
        values::{Values, Version},
    },
};

/// Decides how key and chain are named.
pub(super) fn certificate(
    request: &Request<'_>,
    version: Version,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
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
pub(super) fn rivals(main_cf: &MainCf, values: &Values, desired: &mut Desired) {
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

/// Tells why a parameter is a rival; `chain`: key and chain are named as one file.
pub(super) fn rival_reason(server: &str, chain: bool) -> &'static str {
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
