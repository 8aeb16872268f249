//! What is wrong with a service of master.cf, and with what it does to those who have no account here. Pure.
//!
//! Rules: master(5); RFC 3207, 4; RFC 8314, 3.3.

use super::{Patient, error, warning};
use crate::{
    model::finding::Finding,
    postfix::{desired::submission::Port, endpoints::split_service, syntax::Service},
};

impl Patient<'_> {
    /// A service that another one, further down, is as well.
    pub(super) fn twice(&self, index: usize, service: &Service) -> Option<Finding> {
        let twin = |other: &Service| {
            other.kind == service.kind
                && (other.name == service.name
                    || (service.kind == "inet"
                        && split_service(&other.name).0 == split_service(&service.name).0
                        && self.port(other).is_some()
                        && self.port(other) == self.port(service)))
        };
        self.services.iter().skip(index + 1).any(twin).then(|| {
            error(
                "postfix.service-twice",
                service.label(),
                "it stands in master.cf more than once: Postfix takes one of them, or cannot bind the port twice",
            )
            .remedy("take the others out")
            .reference("master(5)")
        })
    }

    /// One service of master.cf.
    pub(super) fn service(&self, index: usize, service: &Service, findings: &mut Vec<Finding>) {
        let label = service.label();
        findings.extend(self.twice(index, service));
        if let Some(word) = service
            .unread()
            .filter(|_| matches!(service.command.as_str(), "smtpd" | "smtp" | "lmtp"))
        {
            findings.push(
                error(
                    "postfix.options-unread",
                    &label,
                    format!("from `{word}` on, the options of this service are not read"),
                )
                .remedy("a value with blanks needs braces: -o { name = value }")
                .reference("master(5)"),
            );
        }
        let (_, port) = split_service(&service.name);
        // A host without the file may still have other sources of names; what master(8) does there is not known here.
        let is_known =
            port.parse::<u16>().is_ok() || self.host.ports.knows(port, self.get("known_tcp_ports"));
        if service.kind == "inet" && !is_known && !self.host.ports.is_empty() {
            findings.push(
                error(
                    "postfix.service-unknown",
                    &label,
                    format!("neither /etc/services nor known_tcp_ports has a port `{port}`: Postfix does not start"),
                )
                .remedy("write the port as a number")
                .reference("master(5); postconf(5), known_tcp_ports"),
            );
        }
        if service.command != "smtpd" || service.kind == "unix" {
            return;
        }
        self.strangers(service, &label, findings);
        match Port::of(self.port(service)) {
            Some(port) => self.users(service, port, &label, findings),
            None if self.is_yes(service, "smtpd_tls_wrappermode") && self.port(service) == Some(25) => {
                let evidence = "TLS at once on port 25: no other server can send mail here";
                findings.push(
                    error("postfix.wrappermode-on-25", &label, evidence)
                        .remedy("take smtpd_tls_wrappermode out; it belongs to port 465")
                        .reference("RFC 8314, 3.3"),
                );
            }
            None => {}
        }
    }

    /// What a service does to those who have no account here.
    fn strangers(&self, service: &Service, label: &str, findings: &mut Vec<Finding>) {
        let authenticates = self.is_yes(service, "smtpd_sasl_auth_enable");
        let level = self.effective(service, "smtpd_tls_security_level");
        let is_mail = self.port(service) == Some(25) || service.kind == "pass";
        if is_mail && authenticates {
            findings.push(
                warning(
                    "postfix.auth-on-25",
                    label,
                    "AUTH is offered where the world's servers come in: passwords are guessed there",
                )
                .remedy(
                    "take smtpd_sasl_auth_enable out of main.cf; users submit on 587 and 465: postfix.submission = true, \
                     postfix.submissions = true",
                )
                .reference("RFC 8314, 3.3; postconf(5), smtpd_sasl_auth_enable"),
            );
        }
        if is_mail && level == "encrypt" {
            findings.push(
                error(
                    "postfix.encrypt-on-25",
                    label,
                    "smtpd_tls_security_level = encrypt: servers without TLS cannot send mail here",
                )
                .remedy("set smtpd_tls_security_level = may in main.cf; `encrypt` belongs to port 587")
                .reference("RFC 3207, 4; postconf(5), smtpd_tls_security_level"),
            );
        }
        let is_wrapped = self.is_yes(service, "smtpd_tls_wrappermode");
        if authenticates && !is_wrapped && level != "encrypt" && !self.is_yes(service, "smtpd_tls_auth_only")
        {
            findings.push(
                error(
                    "postfix.auth-in-clear",
                    label,
                    "passwords are taken in clear text",
                )
                .remedy("set smtpd_tls_auth_only = yes in main.cf")
                .reference("postconf(5), smtpd_tls_auth_only"),
            );
        }
    }
}
