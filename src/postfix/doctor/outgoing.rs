//! What is wrong with the mail that this host sends. Pure.
//!
//! Rules: postconf(5), smtp_tls_security_level, smtp_tls_ciphers, smtp_tls_CAfile.

use super::{Patient, error, warning};
use crate::model::finding::{Finding, Severity};

impl Patient<'_> {
    /// Mail that this host sends.
    pub(super) fn outgoing(&self, findings: &mut Vec<Finding>) {
        let level = self.get("smtp_tls_security_level");
        let is_mandatory = self.values.is_yes("smtp_enforce_tls");
        let is_used = self.values.is_yes("smtp_use_tls");
        match level {
            "" | "none" if !is_mandatory && !is_used => findings.push(
                warning(
                    "postfix.outgoing-clear",
                    self.subject,
                    format!("smtp_tls_security_level is `{level}`: all mail leaves in clear text"),
                )
                .remedy("set postfix.outgoing = true, then `mailcert apply postfix`")
                .reference("postconf(5), smtp_tls_security_level"),
            ),
            "encrypt" | "verify" | "secure" if self.get("relayhost").is_empty() => findings.push(
                warning(
                    "postfix.outgoing-mandatory",
                    self.subject,
                    format!(
                        "smtp_tls_security_level = {level} for every host: mail to hosts without TLS is not delivered"
                    ),
                )
                .remedy("set it to `may`; hosts that must be encrypted to are named in smtp_tls_policy_maps")
                .reference("postconf(5), smtp_tls_security_level"),
            ),
            "dane" | "dane-only" if self.get("smtp_dns_support_level") != "dnssec" => findings.push(
                error(
                    "postfix.dane-without-dnssec",
                    self.subject,
                    format!("smtp_tls_security_level = {level}, but smtp_dns_support_level is not `dnssec`"),
                )
                .remedy("set smtp_dns_support_level = dnssec, and see that the resolver validates")
                .reference("postconf(5), smtp_tls_security_level"),
            ),
            _ => {}
        }
        let verifies = ["verify", "secure"].contains(&level);
        if self.get("smtp_tls_CAfile").is_empty() && self.get("smtp_tls_CApath").is_empty() {
            let (severity, what) = if verifies {
                (Severity::Error, "no mail is delivered")
            } else {
                (Severity::Info, "every outgoing session is logged as Untrusted")
            };
            findings.push(
                Finding::new(
                    severity,
                    "postfix.no-roots",
                    self.subject,
                    format!("neither smtp_tls_CAfile nor smtp_tls_CApath is set: {what}"),
                )
                .remedy("set postfix.client_ca = \"system\", then `mailcert apply postfix`")
                .reference("postconf(5), smtp_tls_CAfile"),
            );
        }
        let grade = self.get("smtp_tls_ciphers");
        if !matches!(grade, "" | "medium") {
            let evidence = match grade {
                "high" => {
                    "smtp_tls_ciphers = high: where TLS is optional, a handshake that fails for it is followed by clear \
                     text"
                        .to_owned()
                }
                other => format!("smtp_tls_ciphers = {other}: it lets broken ciphers in, or is `medium` by another name"),
            };
            findings.push(
                warning("postfix.outgoing-ciphers", self.subject, evidence)
                    .remedy(
                        "take the line out; a strict grade belongs into smtp_tls_mandatory_ciphers. postfix.outgoing = true \
                         does it",
                    )
                    .reference("postconf(5), smtp_tls_ciphers"),
            );
        }
        for name in ["smtp_tls_loglevel", "smtpd_tls_loglevel"] {
            let level = self.get(name).split(',').next().unwrap_or_default().trim();
            if level.parse::<u32>().is_ok_and(|level| level >= 2) {
                findings.push(
                    warning(
                        "postfix.loglevel",
                        self.subject,
                        format!("{name} = {level} floods the log, and shows no SMTP commands"),
                    )
                    .remedy(format!(
                        "set {name} = 1; commands of one peer are shown by debug_peer_list"
                    ))
                    .reference("postconf(5), smtp_tls_loglevel"),
                );
            }
        }
    }
}
