//! What is wrong, harmful or obsolete in a Postfix's configuration, whoever wrote it. Pure.
//!
//! Each finding names what was seen, what to do, and the document that says so. Nothing here depends on what the
//! configuration of mailcert wants: it is about what mail gets from this host, and what this host takes.
//!
//! Rules: postconf(5); master(5); RFC 3207; RFC 8314; RFC 8996.

use super::{
    desired::{protocols::Allowed, submission::Port},
    endpoints::{Host, split_service},
    submission::{SENDER_CHECKS, effective, is_alias_map, port_of, words},
    syntax::{MainCf, Service},
    values::{Values, Version},
};
use crate::{
    config::TlsVersion,
    model::finding::{Finding, Severity},
};

/// A Postfix as it is configured.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// Where, for findings about no file in particular.
    pub subject: &'a str,
    /// The installed version.
    pub version: Version,
    /// main.cf, as it is written.
    pub main_cf: &'a MainCf,
    /// Its effective values.
    pub values: &'a Values,
    /// The services of master.cf.
    pub services: &'a [Service],
    /// The types of tables that it can read; empty where that is not known.
    pub table_types: &'a [String],
    /// What the host has besides.
    pub host: &'a Host,
}

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

/// Looks at everything that can be seen in the configuration alone.
pub fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    patient.outgoing(&mut findings);
    patient.protocols(&mut findings);
    patient.spelling(&mut findings);
    patient.tables(&mut findings);
    for (index, service) in patient.services.iter().enumerate() {
        patient.service(index, service, &mut findings);
    }
    findings
}

fn error(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Error, id, subject, evidence)
}

fn warning(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, id, subject, evidence)
}

fn info(id: &'static str, subject: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding::new(Severity::Info, id, subject, evidence)
}

impl Patient<'_> {
    fn get(&self, name: &str) -> &str {
        self.values.get(name)
    }

    /// Mail that this host sends.
    fn outgoing(&self, findings: &mut Vec<Finding>) {
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

    /// Lists of protocols.
    fn protocols(&self, findings: &mut Vec<Finding>) {
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
    fn spelling(&self, findings: &mut Vec<Finding>) {
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

    /// Types of tables that are named, and that the installation cannot read.
    fn tables(&self, findings: &mut Vec<Finding>) {
        const COMPILED: [&str; 6] = ["btree", "cdb", "dbm", "hash", "lmdb", "sdbm"];
        if self.table_types.is_empty() {
            return;
        }
        let is_known = |kind: &str| self.table_types.iter().any(|known| known == kind);
        for kind in COMPILED.into_iter().filter(|kind| !is_known(kind)) {
            let naming: Vec<&str> = self
                .values
                .iter()
                .filter(|(_, value)| names_type(value, kind))
                .map(|(name, _)| name)
                .filter(|name| self.main_cf.get(name).is_some())
                .collect();
            let services = self.services.iter().filter(|service| {
                let values = service
                    .overrides
                    .iter()
                    .map(|one| String::from_utf8_lossy(&one.value));
                values.into_iter().any(|value| names_type(&value, kind))
            });
            let labels: Vec<String> = services.map(Service::label).collect();
            let places: Vec<&str> = naming
                .into_iter()
                .chain(labels.iter().map(String::as_str))
                .collect();
            if !places.is_empty() {
                findings.push(
                    error(
                        "postfix.table-type",
                        self.subject,
                        format!("{} name tables of type `{kind}`, which this Postfix cannot read", places.join(", ")),
                    )
                    .remedy(format!(
                        "make them as `{}` (`postconf -h default_database_type`) by postmap(1), and name that type",
                        self.get("default_database_type")
                    ))
                    .reference("postconf(1), -m; Postfix NON_BERKELEYDB_README"),
                );
            }
        }
    }

    /// One service of master.cf.
    fn service(&self, index: usize, service: &Service, findings: &mut Vec<Finding>) {
        let label = service.label();
        let twin = |other: &&Service| {
            other.kind == service.kind
                && (other.name == service.name
                    || (service.kind == "inet"
                        && split_service(&other.name).0 == split_service(&service.name).0
                        && self.port(other).is_some()
                        && self.port(other) == self.port(service)))
        };
        if self.services.iter().skip(index + 1).any(|other| twin(&other)) {
            findings.push(
                error(
                    "postfix.service-twice",
                    &label,
                    "it stands in master.cf more than once: Postfix takes one of them, or cannot bind the port twice",
                )
                .remedy("take the others out")
                .reference("master(5)"),
            );
        }
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

    fn port(&self, service: &Service) -> Option<u16> {
        port_of(service, self.values, self.host)
    }

    fn effective(&self, service: &Service, name: &str) -> String {
        effective(service, name, self.values)
    }

    fn is_yes(&self, service: &Service, name: &str) -> bool {
        self.effective(service, name).eq_ignore_ascii_case("yes")
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

    /// What a service does to its users.
    fn users(&self, service: &Service, port: Port, label: &str, findings: &mut Vec<Finding>) {
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

/// Returns whether a value names a table of this type.
fn names_type(value: &str, kind: &str) -> bool {
    words(value).any(|word| {
        let word = word.strip_prefix("proxy:").unwrap_or(word);
        word.strip_prefix(kind)
            .is_some_and(|rest| rest.starts_with(":/") || rest.starts_with(":$"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::syntax::MasterCf;

    /// As an installed Postfix 3.7 has them.
    const DEFAULTS: &str = "myhostname = mail.example.test\nsmtpd_banner = mail.example.test ESMTP Postfix\n\
        smtp_tls_security_level = may\nsmtp_tls_CAfile = /ca\nsmtp_tls_ciphers = medium\nsmtp_tls_loglevel = 0\n\
        smtpd_tls_security_level = may\nsmtpd_tls_auth_only = no\nsmtpd_sasl_auth_enable = no\n\
        smtpd_sasl_type = cyrus\nsmtpd_tls_wrappermode = no\ndefault_database_type = hash\n\
        milter_macro_daemon_name = mail.example.test\nalias_maps = hash:/etc/aliases\n\
        known_tcp_ports = smtp=25, smtps=submissions=465, submission=587\n\
        smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination\n";

    const SMTP: &str = "smtp inet n - n - - smtpd\n";

    fn check_with(version: Version, types: &str, main_cf: &str, master_cf: &str, expected: &[&str]) {
        let values = Values::parse(format!("{DEFAULTS}{main_cf}").as_bytes());
        let services = MasterCf::parse(master_cf.as_bytes()).services();
        let types: Vec<String> = types.split_whitespace().map(str::to_owned).collect();
        let host = Host::default();
        let found = examine(&Patient {
            subject: "/e",
            version,
            main_cf: &MainCf::parse(main_cf.as_bytes()),
            values: &values,
            services: &services,
            table_types: &types,
            host: &host,
        });
        let mut ids: Vec<&str> = found.iter().map(|finding| finding.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{main_cf:?} {master_cf:?} {found:#?}");
        for finding in found {
            assert!(
                !finding.remedy.is_empty() && !finding.reference.is_empty(),
                "{finding:#?}"
            );
        }
    }

    fn check(main_cf: &str, master_cf: &str, expected: &[&str]) {
        check_with(
            Version::new(3, 7),
            "hash inline regexp",
            main_cf,
            master_cf,
            expected,
        );
    }

    #[test]
    fn finds_what_is_wrong_with_outgoing_mail() {
        check("", SMTP, &[]);
        check("smtp_tls_security_level =\n", SMTP, &["postfix.outgoing-clear"]);
        check(
            "smtp_tls_security_level = none\n",
            SMTP,
            &["postfix.outgoing-clear"],
        );
        check(
            "smtp_tls_security_level =\nsmtp_use_tls = yes\n",
            SMTP,
            &["postfix.obsolete"],
        );
        check(
            "smtp_tls_security_level = encrypt\n",
            SMTP,
            &["postfix.outgoing-mandatory"],
        );
        check(
            "smtp_tls_security_level = encrypt\nrelayhost = [r]:587\n",
            SMTP,
            &[],
        );
        check(
            "smtp_tls_security_level = dane\n",
            SMTP,
            &["postfix.dane-without-dnssec"],
        );
        check(
            "smtp_tls_security_level = dane\nsmtp_dns_support_level = dnssec\n",
            SMTP,
            &[],
        );
        check("smtp_tls_CAfile =\n", SMTP, &["postfix.no-roots"]);
        check("smtp_tls_CAfile =\nsmtp_tls_CApath = /etc/ssl/certs\n", SMTP, &[]);
        for grade in ["high", "low", "export", "null"] {
            check(
                &format!("smtp_tls_ciphers = {grade}\n"),
                SMTP,
                &["postfix.outgoing-ciphers"],
            );
        }
        check("smtp_tls_loglevel = 1\n", SMTP, &[]);
        check(
            "smtp_tls_loglevel = 2\nsmtpd_tls_loglevel = 3\n",
            SMTP,
            &["postfix.loglevel"; 2],
        );
    }

    #[test]
    fn finds_old_protocols_and_names() {
        check(
            "smtpd_tls_protocols = !SSLv2, !SSLv3\n",
            SMTP,
            &["postfix.protocols-old"],
        );
        check(
            "smtpd_tls_mandatory_protocols = TLSv1\n",
            SMTP,
            &["postfix.protocols-old"],
        );
        check("smtp_tls_protocols = >=TLSv1.2\n", SMTP, &[]);
        let old = Version::new(3, 5);
        check_with(
            old,
            "hash",
            "smtp_tls_protocols = >=TLSv1.2\n",
            SMTP,
            &["postfix.protocols-unknown"],
        );
        check(
            "smtpd_use_tls = yes\nsmtp_tls_per_site = hash:/x\n",
            SMTP,
            &["postfix.obsolete"; 2],
        );
        let dh = "smtpd_tls_dh1024_param_file = /x\n";
        check(dh, SMTP, &[]);
        check_with(Version::new(3, 9), "hash", dh, SMTP, &["postfix.obsolete"]);
        check("smtpd_banner = ESMTP ready\n", SMTP, &["postfix.banner"]);
        let gone = "virtual_alias_maps = hash:/etc/virtual\n";
        check(gone, SMTP, &[]);
        check_with(
            Version::new(3, 11),
            "lmdb cdb",
            gone,
            SMTP,
            &["postfix.table-type"],
        );
        check_with(
            Version::new(3, 11),
            "lmdb",
            "",
            "smtp inet n - n - - smtpd\n  -o smtpd_client_restrictions=check_client_access,hash:/x\n",
            &["postfix.table-type"],
        );
    }

    #[test]
    fn finds_what_is_wrong_with_port_25() {
        check(
            "smtpd_sasl_auth_enable = yes\n",
            SMTP,
            &["postfix.auth-in-clear", "postfix.auth-on-25"],
        );
        check(
            "smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes\n",
            SMTP,
            &["postfix.auth-on-25"],
        );
        check(
            "smtpd_sasl_auth_enable = yes\n",
            "smtp inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=no\n",
            &[],
        );
        check(
            "smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes\n",
            "smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n",
            &["postfix.auth-on-25"],
        );
        check(
            "smtpd_tls_security_level = encrypt\n",
            SMTP,
            &["postfix.encrypt-on-25"],
        );
        check(
            "smtpd_tls_wrappermode = yes\n",
            SMTP,
            &["postfix.wrappermode-on-25"],
        );
        check("", &format!("{SMTP}{SMTP}"), &["postfix.service-twice"]);
        check(
            "",
            &format!("{SMTP}25 inet n - n - - smtpd\n"),
            &["postfix.service-twice"],
        );
        check("", &format!("{SMTP}127.0.0.1:25 inet n - n - - smtpd\n"), &[]);
        check(
            "",
            "smtp inet n - n - - smtpd\n  -o smtpd_client_restrictions=permit_x, reject\n",
            &["postfix.options-unread"],
        );
    }

    #[test]
    fn finds_what_is_wrong_with_the_services_of_users() {
        let service = |lines: &[&str]| {
            let lines: String = lines.iter().map(|line| format!("  -o {line}\n")).collect();
            format!("submission inet n - n - - smtpd\n{lines}")
        };
        let auth = "smtpd_sasl_auth_enable=yes";
        let secure = "smtpd_tls_security_level=encrypt";
        let maps = "smtpd_sender_login_maps=hash:/m";
        let held = "smtpd_sender_restrictions=reject_sender_login_mismatch";
        let base = [auth, secure, maps, held];
        let with = |more: &[&str]| service(&[&base, more].concat());
        check("", &with(&[]), &[]);
        check(
            "",
            &service(&[auth, maps, held]),
            &["postfix.auth-in-clear", "postfix.submission-clear"],
        );
        check("", &service(&[secure]), &["postfix.submission-without-auth"]);
        check("", &service(&[auth, secure]), &["postfix.sender-login-missing"]);
        check(
            "",
            &service(&[auth, secure, maps]),
            &["postfix.sender-login-unused"],
        );
        let aliases = "smtpd_sender_login_maps=hash:/etc/aliases";
        check(
            "",
            &service(&[auth, secure, aliases, held]),
            &["postfix.sender-login-aliases"],
        );
        let leak = "smtpd_client_restrictions = reject_rbl_client x\nsmtpd_helo_restrictions = reject_y\n";
        check(leak, &with(&[]), &["postfix.submission-leak"]);
        check(
            leak,
            &with(&[
                "smtpd_client_restrictions=permit_sasl_authenticated,reject",
                "smtpd_helo_restrictions=",
            ]),
            &[],
        );
        check(
            "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n",
            &with(&[]),
            &["postfix.submission-no-relay"],
        );
        check(
            "",
            &with(&[
                "smtpd_recipient_restrictions=reject_unknown_recipient_domain,permit_sasl_authenticated,reject",
            ]),
            &["postfix.submission-dns"],
        );
        check(
            "smtpd_milters = inet:127.0.0.1:8891\n",
            &with(&[]),
            &["postfix.submission-filters"],
        );
        check(
            "",
            &with(&["smtpd_sasl_type=dovecot", "smtpd_sasl_local_domain=$myhostname"]),
            &["postfix.sasl-local-domain"],
        );
        let wrapped = service(&[auth, maps, held]).replace("submission inet", "submissions inet");
        check(
            "smtpd_tls_auth_only = yes\n",
            &wrapped,
            &["postfix.submissions-not-wrapped"],
        );
        check("", &format!("{wrapped}  -o smtpd_tls_wrappermode=yes\n"), &[]);
    }
}
