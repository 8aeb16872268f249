//! Names and values that say something else than their author meant, or nothing any more. Pure.
//!
//! Rules: postconf(5); Postfix DEPRECATION_README; RFC 8996.

use super::{Patient, error, warning};
use crate::{
    config::TlsVersion,
    model::finding::Finding,
    postfix::{desired::protocols::Allowed, values::Version},
};

/// Parameters that are obsolete, with the version that says so and what takes their place (postconf(5); Postfix
/// DEPRECATION_README).
const OBSOLETE: [(&str, u32, u32, &str); 12] = [
    ("disable_dns_lookups", 3, 9, "smtp_dns_support_level"),
    ("lmtp_use_tls", 2, 3, "lmtp_tls_security_level"),
    ("smtp_enforce_tls", 2, 3, "smtp_tls_security_level = encrypt"),
    ("smtp_tls_cipherlist", 2, 3, "smtp_tls_mandatory_ciphers"),
    (
        "smtp_tls_enforce_peername",
        2,
        3,
        "smtp_tls_security_level = verify",
    ),
    ("smtp_tls_per_site", 2, 3, "smtp_tls_policy_maps"),
    ("smtp_use_tls", 2, 3, "smtp_tls_security_level = may"),
    ("smtpd_enforce_tls", 2, 3, "smtpd_tls_security_level = encrypt"),
    ("smtpd_tls_cipherlist", 2, 3, "smtpd_tls_mandatory_ciphers"),
    (
        "smtpd_tls_dh1024_param_file",
        3,
        9,
        "nothing: OpenSSL's own parameters are better",
    ),
    ("smtpd_tls_eecdh_grade", 3, 9, "nothing: OpenSSL chooses"),
    ("smtpd_use_tls", 2, 3, "smtpd_tls_security_level = may"),
];

impl Patient<'_> {
    /// Lists of protocols.
    pub(super) fn protocols(&self, findings: &mut Vec<Finding>) {
        for name in [
            "smtp_tls_protocols",
            "smtp_tls_mandatory_protocols",
            "smtpd_tls_protocols",
            "smtpd_tls_mandatory_protocols",
        ] {
            let list = self.get(name);
            // What nobody set is the installed version's own choice.
            if self.main_cf.get(name).is_none() {
                continue;
            }
            let side = if name.starts_with("smtpd") {
                "incoming"
            } else {
                "outgoing"
            };
            let remedy = format!("set postfix.{side} = true, then `mailcert apply postfix`");
            let allowed = Allowed::read(list, self.version);
            let old = allowed.older_than(TlsVersion::V1_2);
            if let Allowed::Unreadable(word) = &allowed {
                findings.push(
                    error(
                        "postfix.protocols-unknown",
                        self.subject,
                        format!(
                            "{name} = {list}: Postfix {} does not know `{word}`, and TLS is off",
                            self.version
                        ),
                    )
                    .remedy(remedy)
                    .reference("postconf(5), smtpd_tls_protocols"),
                );
            } else if !old.is_empty() {
                findings.push(
                    warning(
                        "postfix.protocols-old",
                        self.subject,
                        format!("{name} = {list}: it allows {}", old.join(", ")),
                    )
                    .remedy(remedy)
                    .reference("RFC 8996"),
                );
            }
        }
    }

    /// Names and values that say something else than their author meant, or nothing any more.
    pub(super) fn spelling(&self, findings: &mut Vec<Finding>) {
        for (name, major, minor, instead) in OBSOLETE {
            if self.main_cf.get(name).is_some() && self.version >= Version::new(major, minor) {
                findings.push(
                    warning(
                        "postfix.obsolete",
                        self.subject,
                        format!("{name} is obsolete since Postfix {major}.{minor}"),
                    )
                    .remedy(format!("take it out; in its place: {instead}"))
                    .reference("Postfix DEPRECATION_README"),
                );
            }
        }
        let banner = self.get("smtpd_banner");
        let host = self.get("myhostname");
        if !banner.is_empty() && !host.is_empty() && banner.split_whitespace().next() != Some(host) {
            findings.push(
                warning(
                    "postfix.banner",
                    self.subject,
                    format!("smtpd_banner = {banner}: it does not begin with {host}"),
                )
                .remedy("begin it with $myhostname")
                .reference("RFC 5321, 4.3.1; postconf(5), smtpd_banner"),
            );
        }
    }
}
