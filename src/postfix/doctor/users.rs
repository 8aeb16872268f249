//! What is wrong with the services that users submit to. Pure.
//!
//! Rules: master(5), -o; RFC 6409; RFC 8314.

use super::{Patient, error, info, warning};
use crate::{
    model::finding::Finding,
    postfix::{
        desired::submission::Port,
        submission::{SENDER_CHECKS, is_alias_map, words},
        syntax::Service,
    },
};

impl Patient<'_> {
    /// What a service does to its users.
    pub(super) fn users(&self, service: &Service, port: Port, label: &str, findings: &mut Vec<Finding>) {
        let apply = match port {
            Port::Submission => "set postfix.submission = true, then `mailcert apply postfix`",
            Port::Submissions => "set postfix.submissions = true, then `mailcert apply postfix`",
        };
        let mut add = |finding: Finding| findings.push(finding.remedy(apply));
        let is_wrapped = self.is_yes(service, "smtpd_tls_wrappermode");
        if port == Port::Submission
            && !is_wrapped
            && self.effective(service, "smtpd_tls_security_level") != "encrypt"
        {
            add(warning(
                "postfix.submission-clear",
                label,
                "users may send mail in clear text",
            )
            .reference("RFC 8314, 3"));
        }
        if port == Port::Submissions && !is_wrapped {
            add(error(
                "postfix.submissions-not-wrapped",
                label,
                "port 465 does not begin with TLS: mail programs wait there for a handshake that never comes",
            )
            .reference("RFC 8314, 3.3"));
        }
        if !self.is_yes(service, "smtpd_sasl_auth_enable") {
            add(
                error("postfix.submission-without-auth", label, "nobody can log in")
                    .reference("RFC 6409, 4.3"),
            );
            return;
        }
        self.leaks(service, label, &mut add);
        let lists = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"];
        let relay = lists.map(|name| self.effective(service, name));
        let lets_users = |list: &String| words(list).any(|word| word == "permit_sasl_authenticated");
        let [for_relay, for_recipients] = &relay;
        // An empty relay list leaves it to the other one.
        let in_force = if for_relay.trim().is_empty() {
            for_recipients
        } else {
            for_relay
        };
        if !lets_users(in_force) {
            add(error(
                "postfix.submission-no-relay",
                label,
                "smtpd_relay_restrictions lets no user through: mail to elsewhere is refused",
            )
            .reference("postconf(5), smtpd_relay_restrictions"));
        }
        if words(for_recipients).any(|word| word == "reject_unknown_recipient_domain") {
            findings.push(
                info(
                    "postfix.submission-dns",
                    label,
                    "reject_unknown_recipient_domain: when the DNS hiccups, users are told 450",
                )
                .remedy("take it out of this service's list")
                .reference("postconf(5), reject_unknown_recipient_domain"),
            );
        }
        let filters = self.effective(service, "smtpd_milters");
        if words(&filters).next().is_some()
            && self.effective(service, "milter_macro_daemon_name") == self.get("milter_macro_daemon_name")
        {
            findings.push(
                info(
                    "postfix.submission-filters",
                    label,
                    "filters cannot tell users' mail from the world's: milter_macro_daemon_name is that of port 25",
                )
                .remedy(apply)
                .reference("postconf(5), milter_macro_daemon_name"),
            );
        }
        let domain = service.overridden("smtpd_sasl_local_domain").is_some()
            || self.main_cf.get("smtpd_sasl_local_domain").is_some();
        if domain && self.effective(service, "smtpd_sasl_type") == "dovecot" {
            findings.push(
                info(
                    "postfix.sasl-local-domain",
                    label,
                    "smtpd_sasl_local_domain has no effect with Dovecot: it is only logged",
                )
                .remedy(
                    "take it out; auth_default_realm and auth_username_format of Dovecot do what was meant",
                )
                .reference("postconf(5), smtpd_sasl_local_domain"),
            );
        }
        self.senders(service, label, apply, findings);
    }

    /// Lists of main.cf that reach a service of users.
    fn leaks(&self, service: &Service, label: &str, add: &mut impl FnMut(Finding)) {
        let lists = ["client", "helo", "sender", "recipient", "data", "end_of_data"];
        let leaking: Vec<String> = lists
            .iter()
            .map(|stage| format!("smtpd_{stage}_restrictions"))
            .filter(|name| service.overridden(name).is_none())
            .filter(|name| {
                let list = self.get(name);
                let first = words(list).next();
                first.is_some() && first != Some("permit_sasl_authenticated")
            })
            .collect();
        if !leaking.is_empty() {
            add(warning(
                "postfix.submission-leak",
                label,
                format!(
                    "{} of main.cf reach this service: lists made for strangers turn users away",
                    leaking.join(", ")
                ),
            )
            .reference("master(5), -o; postconf(5), smtpd_recipient_restrictions"));
        }
    }

    /// Who may send as whom.
    fn senders(&self, service: &Service, label: &str, apply: &'static str, findings: &mut Vec<Finding>) {
        let maps = self.effective(service, "smtpd_sender_login_maps");
        let is_held = ["client", "helo", "sender", "relay", "recipient"]
            .iter()
            .any(|stage| {
                let list = self.effective(service, &format!("smtpd_{stage}_restrictions"));
                words(&list).any(|word| SENDER_CHECKS.contains(&word))
            });
        let map_remedy = format!("sender_login_maps = \"generated\" makes one: {apply}");
        if maps.trim().is_empty() {
            findings.push(
                info(
                    "postfix.sender-login-missing",
                    label,
                    "every user may send as everybody",
                )
                .remedy(map_remedy)
                .reference("postconf(5), smtpd_sender_login_maps"),
            );
        } else if is_alias_map(&maps, self.values) {
            findings.push(
                error(
                    "postfix.sender-login-aliases",
                    label,
                    format!(
                        "smtpd_sender_login_maps = {maps}: an alias map says where mail goes, not who sends it; alice may \
                         not send as alice@, and pipes and includes are logins"
                    ),
                )
                .remedy(map_remedy)
                .reference("postconf(5), smtpd_sender_login_maps"),
            );
        } else if !is_held {
            findings.push(
                warning(
                    "postfix.sender-login-unused",
                    label,
                    "smtpd_sender_login_maps is set, and no list asks it: every user may send as everybody",
                )
                .remedy("put reject_sender_login_mismatch into smtpd_sender_restrictions of this service")
                .reference("postconf(5), reject_sender_login_mismatch"),
            );
        }
    }
}
