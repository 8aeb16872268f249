//! Parameters and restrictions that the installed Postfix deprecates, or has no more. Pure.
//!
//! Rules: Postfix DEPRECATION_README, and postconf(5) of each; postconf(1) of Postfix 3.9 and newer warns about the same.

use super::{Patient, error, warning};
use crate::{
    model::finding::Finding,
    postfix::{submission::words, values::Version},
};

/// A name that is obsolete.
struct Obsolete {
    name: &'static str,
    /// The version that says so.
    since: (u32, u32),
    /// What takes its place.
    instead: &'static str,
}

const fn obsolete(name: &'static str, since: (u32, u32), instead: &'static str) -> Obsolete {
    Obsolete { name, since, instead }
}

/// Where nothing takes its place.
const NOTHING: &str = "nothing";

/// Parameters, in alphabetical order.
const PARAMETERS: &[Obsolete] = &[
    obsolete(
        "authorized_verp_clients",
        (3, 11),
        "smtpd_authorized_verp_clients",
    ),
    obsolete("disable_dns_lookups", (3, 9), "smtp_dns_support_level"),
    obsolete("fallback_relay", (3, 11), "smtp_fallback_relay"),
    obsolete("lmtp_cname_overrides_servername", (3, 11), NOTHING),
    obsolete("lmtp_enforce_tls", (2, 3), "lmtp_tls_security_level = encrypt"),
    obsolete("lmtp_per_record_deadline", (3, 11), "lmtp_per_request_deadline"),
    obsolete(
        "lmtp_tls_enforce_peername",
        (2, 3),
        "lmtp_tls_security_level = verify",
    ),
    obsolete("lmtp_tls_per_site", (2, 3), "lmtp_tls_policy_maps"),
    obsolete("lmtp_use_tls", (2, 3), "lmtp_tls_security_level = may"),
    obsolete(
        "postscreen_blacklist_action",
        (3, 11),
        "postscreen_denylist_action",
    ),
    obsolete("postscreen_dnsbl_ttl", (3, 11), "postscreen_dnsbl_max_ttl"),
    obsolete(
        "postscreen_dnsbl_whitelist_threshold",
        (3, 11),
        "postscreen_dnsbl_allowlist_threshold",
    ),
    obsolete(
        "postscreen_enforce_tls",
        (3, 9),
        "postscreen_tls_security_level = encrypt",
    ),
    obsolete(
        "postscreen_use_tls",
        (3, 9),
        "postscreen_tls_security_level = may",
    ),
    obsolete(
        "postscreen_whitelist_interfaces",
        (3, 11),
        "postscreen_allowlist_interfaces",
    ),
    obsolete("smtp_cname_overrides_servername", (3, 11), NOTHING),
    obsolete("smtp_enforce_tls", (2, 3), "smtp_tls_security_level = encrypt"),
    obsolete("smtp_per_record_deadline", (3, 11), "smtp_per_request_deadline"),
    obsolete("smtp_tls_cipherlist", (2, 3), "smtp_tls_mandatory_ciphers"),
    obsolete(
        "smtp_tls_enforce_peername",
        (2, 3),
        "smtp_tls_security_level = verify",
    ),
    obsolete("smtp_tls_per_site", (2, 3), "smtp_tls_policy_maps"),
    obsolete("smtp_use_tls", (2, 3), "smtp_tls_security_level = may"),
    obsolete(
        "smtpd_client_connection_limit_exceptions",
        (3, 11),
        "smtpd_client_event_limit_exceptions",
    ),
    obsolete("smtpd_enforce_tls", (2, 3), "smtpd_tls_security_level = encrypt"),
    obsolete("smtpd_per_record_deadline", (3, 11), "smtpd_per_request_deadline"),
    obsolete("smtpd_tls_cipherlist", (2, 3), "smtpd_tls_mandatory_ciphers"),
    obsolete(
        "smtpd_tls_dh1024_param_file",
        (3, 9),
        "nothing: OpenSSL's own parameters are better",
    ),
    obsolete("smtpd_tls_eecdh_grade", (3, 9), "nothing: OpenSSL chooses"),
    obsolete("smtpd_use_tls", (2, 3), "smtpd_tls_security_level = may"),
    obsolete(
        "tlsproxy_client_enforce_tls",
        (3, 9),
        "tlsproxy_client_security_level",
    ),
    obsolete("tlsproxy_client_level", (3, 11), "tlsproxy_client_security_level"),
    obsolete("tlsproxy_client_loglevel_parameter", (3, 12), NOTHING),
    obsolete("tlsproxy_client_per_site", (3, 9), "tlsproxy_client_policy_maps"),
    obsolete("tlsproxy_client_policy", (3, 11), "tlsproxy_client_policy_maps"),
    obsolete(
        "tlsproxy_client_use_tls",
        (3, 9),
        "tlsproxy_client_security_level",
    ),
    obsolete("tlsproxy_enforce_tls", (3, 9), "tlsproxy_tls_security_level"),
    obsolete("tlsproxy_use_tls", (3, 9), "tlsproxy_tls_security_level"),
    obsolete("virtual_maps", (3, 11), "virtual_alias_maps"),
];

/// Words of restriction lists; the version is that in which smtpd(8) knows them no more, and answers 451.
const GONE: &[Obsolete] = &[
    obsolete("check_relay_domains", (3, 9), "reject_unauth_destination"),
    obsolete(
        "permit_naked_ip_address",
        (3, 9),
        "permit_mynetworks, permit_sasl_authenticated",
    ),
    obsolete(
        "reject_maps_rbl",
        (3, 9),
        "reject_rbl_client with the name of a list",
    ),
];

/// Words of restriction lists; the version is that which warns about them.
const LEAVING: &[Obsolete] = &[
    obsolete("check_relay_domains", (2, 2), "reject_unauth_destination"),
    obsolete("permit_mx_backup", (3, 9), "relay_domains"),
    obsolete(
        "permit_naked_ip_address",
        (2, 0),
        "permit_mynetworks, permit_sasl_authenticated",
    ),
    obsolete(
        "reject_maps_rbl",
        (2, 1),
        "reject_rbl_client with the name of a list",
    ),
];

/// Returns whether a warning of postconf(1) is about a parameter that [`examine`](super::examine) tells of, or names the
/// document alone.
pub fn is_told(warning: &str) -> bool {
    let about =
        |one: &Obsolete| warning.contains(&format!("support for parameter \"{}\" will be removed", one.name));
    PARAMETERS.iter().any(about) || warning.contains("/DEPRECATION_README.html for details")
}

impl Patient<'_> {
    /// Names that are obsolete.
    pub(super) fn obsolete(&self, findings: &mut Vec<Finding>) {
        for one in PARAMETERS.iter().filter(|one| self.has_come_to(one)) {
            let own = self.main_cf.get(one.name).is_some();
            let services = self
                .services
                .iter()
                .filter(|service| service.overridden(one.name).is_some());
            let labels: Vec<String> = services
                .map(|service| format!("{} -o", service.label()))
                .collect();
            if !own && labels.is_empty() {
                continue;
            }
            let places = own.then(|| "main.cf".to_owned()).into_iter().chain(labels);
            let evidence = format!(
                "{}: {} is obsolete since Postfix {}.{}",
                places.collect::<Vec<_>>().join(", "),
                one.name,
                one.since.0,
                one.since.1
            );
            findings.push(
                warning("postfix.obsolete", self.subject, evidence)
                    .remedy(format!("take it out; in its place: {}", one.instead))
                    .reference("Postfix DEPRECATION_README"),
            );
        }
        let stages = [
            "client",
            "helo",
            "sender",
            "relay",
            "recipient",
            "data",
            "end_of_data",
            "etrn",
        ];
        for name in stages.map(|stage| format!("smtpd_{stage}_restrictions")) {
            if self.main_cf.get(&name).is_some() {
                self.restrictions(&format!("main.cf, {name}"), self.get(&name), findings);
            }
            for service in self
                .services
                .iter()
                .filter(|service| service.overridden(&name).is_some())
            {
                let place = format!("{}, -o {name}", service.label());
                self.restrictions(&place, &self.effective(service, &name), findings);
            }
        }
    }

    /// One list of restrictions.
    fn restrictions(&self, place: &str, list: &str, findings: &mut Vec<Finding>) {
        let find = |table: &'static [Obsolete], word: &str| {
            table.iter().find(|one| one.name == word && self.has_come_to(one))
        };
        for word in words(list) {
            let (one, finding) = if let Some(one) = find(GONE, word) {
                let evidence = format!(
                    "{word} is gone since Postfix {}.{}: smtpd answers 451",
                    one.since.0, one.since.1
                );
                (one, error("postfix.restriction-gone", place, evidence))
            } else if let Some(one) = find(LEAVING, word) {
                let evidence = format!("{word} is obsolete since Postfix {}.{}", one.since.0, one.since.1);
                (one, warning("postfix.restriction-obsolete", place, evidence))
            } else {
                continue;
            };
            findings.push(
                finding
                    .remedy(format!("take it out; in its place: {}", one.instead))
                    .reference("Postfix DEPRECATION_README"),
            );
        }
    }

    fn has_come_to(&self, one: &Obsolete) -> bool {
        self.version >= Version::new(one.since.0, one.since.1)
    }
}
