//! Client certificates as a Postfix asks for them, and lets clients relay by them. Pure.
//!
//! Rules: postconf(5), smtpd_tls_ask_ccert, smtpd_tls_req_ccert, permit_tls_clientcerts, permit_tls_all_clientcerts.

use super::{Patient, error, info, warning};
use crate::{
    model::finding::Finding,
    postfix::{
        desired::{
            SYSTEM_BUNDLES, SYSTEM_CA_DIRECTORIES,
            relay_clients::{PERMIT, PERMIT_ALL, TABLES},
            submission::Port,
        },
        submission::words,
        syntax::Service,
    },
};

const STAGES: [&str; 5] = ["client", "helo", "sender", "relay", "recipient"];

impl Patient<'_> {
    /// What is asked of clients, and who may relay by a certificate.
    pub(super) fn client_certificates(&self, findings: &mut Vec<Finding>) {
        let mut found = Vec::new();
        let servers = self
            .services
            .iter()
            .filter(|one| one.command == "smtpd" && one.kind != "unix");
        let mut is_let_in = false;
        for service in servers {
            self.demands(service, &mut found);
            is_let_in |= self.relaying(service, &mut found);
        }
        let tables = self.get(TABLES);
        if words(tables).next().is_some() {
            if !is_let_in {
                found.push(
                    warning(
                        "postfix.relay-clients-unused",
                        self.subject,
                        format!(
                            "relay_clientcerts = {tables}, and no list has {PERMIT}: nobody relays by it"
                        ),
                    )
                    .remedy(format!(
                        "put {PERMIT} into smtpd_relay_restrictions, before reject_unauth_destination; \
                         postfix.relay_clients does it"
                    ))
                    .reference("postconf(5), permit_tls_clientcerts"),
                );
            }
            let digest = self.get("smtpd_tls_fingerprint_digest");
            if matches!(digest, "md5" | "sha1") {
                found.push(
                    warning(
                        "postfix.fingerprint-digest",
                        self.subject,
                        format!("smtpd_tls_fingerprint_digest = {digest}: others can make a certificate with the same one"),
                    )
                    .remedy("make relay_clientcerts anew with sha256, and set smtpd_tls_fingerprint_digest = sha256")
                    .reference("postconf(5), smtpd_tls_fingerprint_digest"),
                );
            }
        }
        // Services say the same of what main.cf has; it is told once.
        for finding in found {
            let is_told = |other: &Finding| other.id == finding.id && other.evidence == finding.evidence;
            if !findings.iter().any(is_told) {
                findings.push(finding);
            }
        }
    }

    /// A service that asks for certificates, or demands them.
    fn demands(&self, service: &Service, found: &mut Vec<Finding>) {
        let label = service.label();
        let is_demanded = self.is_yes(service, "smtpd_tls_req_ccert");
        let is_asked = self.is_yes(service, "smtpd_tls_ask_ccert");
        let level = self.effective(service, "smtpd_tls_security_level");
        let is_mail = self.port(service) == Some(25) || service.kind == "pass";
        let is_mandatory = level == "encrypt" || self.is_yes(service, "smtpd_tls_wrappermode");
        if is_demanded && is_mail {
            let finding = if is_mandatory {
                error(
                    "postfix.req-ccert-on-25",
                    label,
                    "smtpd_tls_req_ccert = yes: the world's servers have no client certificate, and none of their mail comes in",
                )
            } else {
                warning(
                    "postfix.req-ccert-on-25",
                    label,
                    "smtpd_tls_req_ccert = yes has no effect while TLS is optional, and is warned about in the log",
                )
            };
            found.push(
                finding
                    .remedy(
                        "set smtpd_tls_req_ccert = no, and smtpd_tls_ask_ccert = yes where relays show one",
                    )
                    .reference("postconf(5), smtpd_tls_req_ccert"),
            );
        }
        if is_asked && Port::of(self.port(service)).is_some() {
            found.push(
                info(
                    "postfix.ask-ccert-of-users",
                    service.label(),
                    "mail programs are asked for a client certificate: some bother their users with it",
                )
                .remedy("-o smtpd_tls_ask_ccert=no for this service; postfix.submission and postfix.submissions do it")
                .reference("postconf(5), smtpd_tls_ask_ccert"),
            );
        }
        let names = ["smtpd_tls_CAfile", "smtpd_tls_CApath"];
        let has_roots = names.iter().any(|name| !self.effective(service, name).is_empty())
            || self.is_yes(service, "tls_append_default_CA");
        if !(is_asked || is_demanded && is_mandatory) || has_roots {
            return;
        }
        let id = "postfix.ask-ccert-without-roots";
        let evidence =
            "client certificates are asked for, and neither smtpd_tls_CAfile nor smtpd_tls_CApath is set: ";
        let finding = if is_demanded && is_mandatory {
            error(
                id,
                self.subject,
                format!("{evidence}every certificate is refused"),
            )
        } else if self.lists(service, PERMIT_ALL).next().is_some() {
            error(
                id,
                self.subject,
                format!("{evidence}no certificate is trusted, and {PERMIT_ALL} lets nobody through"),
            )
        } else if self.lists(service, PERMIT).next().is_some() {
            info(
                id,
                self.subject,
                format!(
                    "{evidence}those of relay_clientcerts relay all the same, but are logged as Untrusted"
                ),
            )
        } else {
            warning(
                id,
                self.subject,
                format!("{evidence}no certificate is ever trusted"),
            )
        };
        found.push(
            finding
                .remedy("name the CA that issues to your relay clients: postfix.relay_ca, or smtpd_tls_CAfile in main.cf")
                .reference("postconf(5), smtpd_tls_CAfile"),
        );
    }

    /// Returns the lists of a service that have this word.
    fn lists(&self, service: &Service, word: &'static str) -> impl Iterator<Item = String> {
        STAGES
            .iter()
            .map(|stage| format!("smtpd_{stage}_restrictions"))
            .filter(move |name| words(&self.effective(service, name)).any(|found| found == word))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// A service that lets clients through by certificate; returns whether it has a list that asks the table.
    fn relaying(&self, service: &Service, found: &mut Vec<Finding>) -> bool {
        let label = service.label();
        let by_table = self.lists(service, PERMIT).next();
        let by_trust = self.lists(service, PERMIT_ALL).next();
        let Some(list) = by_table.as_ref().or(by_trust.as_ref()) else {
            return false;
        };
        if !self.is_yes(service, "smtpd_tls_ask_ccert") && !self.is_yes(service, "smtpd_tls_req_ccert") {
            found.push(
                warning(
                    "postfix.relay-clients-not-asked",
                    &label,
                    format!("{list} lets clients through by certificate, and smtpd_tls_ask_ccert is not set: none is asked for one"),
                )
                .remedy("set smtpd_tls_ask_ccert = yes; postfix.relay_clients does it")
                .reference("postconf(5), smtpd_tls_ask_ccert"),
            );
        }
        if by_table.is_some() && self.effective(service, TABLES).trim().is_empty() {
            found.push(
                warning(
                    "postfix.relay-clients-missing",
                    &label,
                    format!(
                        "{list} has {PERMIT}, and relay_clientcerts is empty: nobody relays by certificate"
                    ),
                )
                .remedy("name who may relay as postfix.relay_clients, then `mailcert apply postfix`")
                .reference("postconf(5), relay_clientcerts"),
            );
        }
        let file = self.effective(service, "smtpd_tls_CAfile");
        let directory = self.effective(service, "smtpd_tls_CApath");
        let directory = directory.trim_end_matches('/');
        let is_public = SYSTEM_BUNDLES.contains(&file.as_str())
            || SYSTEM_CA_DIRECTORIES.contains(&directory)
            || self.is_yes(service, "tls_append_default_CA");
        if by_trust.is_some() && is_public {
            found.push(
                error(
                    "postfix.relay-clients-open",
                    &label,
                    format!("{PERMIT_ALL}, and the trusted CAs are the public ones: strangers with a certificate may relay"),
                )
                .remedy(format!(
                    "take {PERMIT} and name the clients in relay_clientcerts, or trust your own CA alone (smtpd_tls_CAfile)"
                ))
                .reference("postconf(5), permit_tls_all_clientcerts"),
            );
        }
        by_table.is_some()
    }
}

#[cfg(test)]
mod tests {
    use crate::postfix::{
        doctor::{Patient, examine},
        endpoints::Host,
        syntax::{MainCf, MasterCf},
        values::{Values, Version},
    };

    fn check(main_cf: &str, options: &[&str], expected: &[&str]) {
        check_on("25", main_cf, options, expected);
    }

    fn check_on(port: &str, main_cf: &str, options: &[&str], expected: &[&str]) {
        let defaults = "myhostname = m.test\nsmtpd_banner = m.test\nsmtp_tls_security_level = may\nsmtp_tls_CAfile = /ca\n\
            smtp_tls_ciphers = medium\nsmtpd_tls_security_level = may\nsmtpd_tls_fingerprint_digest = sha256\n";
        let values = Values::parse(format!("{defaults}{main_cf}").as_bytes());
        let lines: String = options.iter().map(|one| format!("  -o {one}\n")).collect();
        let services = MasterCf::parse(format!("{port} inet n - n - - smtpd\n{lines}").as_bytes()).services();
        let found = examine(&Patient {
            subject: "/e",
            version: Version::new(3, 7),
            main_cf: &MainCf::parse(main_cf.as_bytes()),
            values: &values,
            services: &services,
            table_types: &[],
            host: &Host::default(),
        });
        let mut ids: Vec<String> = found
            .iter()
            .map(|one| format!("{:?} {}", one.severity, one.id.trim_start_matches("postfix.")))
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{main_cf} {options:?} {found:#?}");
        assert!(
            found
                .iter()
                .all(|one| !one.remedy.is_empty() && !one.reference.is_empty())
        );
    }

    #[test]
    fn finds_certificates_that_are_demanded_of_everybody() {
        let demand = "smtpd_tls_req_ccert = yes\nsmtpd_tls_CAfile = /r\n";
        check(demand, &[], &["Warning req-ccert-on-25"]);
        check(
            demand,
            &["smtpd_tls_security_level=encrypt"],
            &["Error encrypt-on-25", "Error req-ccert-on-25"],
        );
        check(demand, &["smtpd_tls_req_ccert=no"], &[]);
        check(
            "smtpd_tls_ask_ccert = yes\n",
            &[],
            &["Warning ask-ccert-without-roots"],
        );
        check("smtpd_tls_ask_ccert = yes\nsmtpd_tls_CApath = /r\n", &[], &[]);
        check_on(
            "587",
            "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CApath = /r\n",
            &[
                "smtpd_tls_security_level=encrypt",
                "smtpd_sasl_auth_enable=yes",
                "smtpd_tls_auth_only=yes",
            ],
            &[
                "Error submission-no-relay",
                "Info ask-ccert-of-users",
                "Info sender-login-missing",
            ],
        );
    }

    #[test]
    fn finds_relaying_that_lets_nobody_or_everybody_through() {
        let good = "smtpd_relay_restrictions = permit_tls_clientcerts, reject\nsmtpd_tls_ask_ccert = yes\n\
            smtpd_tls_CAfile = /r\nrelay_clientcerts = hash:/t\n";
        check(good, &[], &[]);
        check(
            good,
            &["smtpd_tls_ask_ccert=no"],
            &["Warning relay-clients-not-asked"],
        );
        check(good, &["relay_clientcerts="], &["Warning relay-clients-missing"]);
        check(
            good,
            &["smtpd_relay_restrictions=reject"],
            &["Warning relay-clients-unused"],
        );
        check(good, &["smtpd_tls_CAfile="], &["Info ask-ccert-without-roots"]);
        check(
            &format!("{good}smtpd_tls_fingerprint_digest = md5\n"),
            &[],
            &["Warning fingerprint-digest"],
        );
        let all =
            "smtpd_relay_restrictions = permit_tls_all_clientcerts, reject\nsmtpd_tls_ask_ccert = yes\n";
        check(all, &["smtpd_tls_CAfile=/r"], &[]);
        check(all, &[], &["Error ask-ccert-without-roots"]);
        for public in [
            "smtpd_tls_CAfile=/etc/ssl/certs/ca-certificates.crt",
            "smtpd_tls_CApath=/etc/ssl/certs/",
        ] {
            check(all, &[public], &["Error relay-clients-open"]);
        }
    }
}
