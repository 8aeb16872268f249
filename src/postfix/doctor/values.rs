//! Values that say something else than their author meant. Pure.
//!
//! Rules: postconf(5); RFC 5321, 4.3.1; RFC 8996.

use super::{Patient, error, warning};
use crate::{config::TlsVersion, model::finding::Finding, postfix::desired::protocols::Allowed};

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

    /// The greeting.
    pub(super) fn banner(&self, findings: &mut Vec<Finding>) {
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
