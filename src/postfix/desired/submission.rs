//! The overrides that a submission service should have, each with its reason. Pure.
//!
//! A service of master.cf sees every list that main.cf sets unless it overrides it, and those lists are made for strangers on
//! port 25: they would turn users at home away. So each list is the service's own, or empty.
//!
//! Rules: RFC 6409 (submission), RFC 8314 (TLS for users); postconf(5); the `submission` service of Postfix's own master.cf.

use super::{Desired, Setting};
use crate::postfix::values::{Values, Version};

/// What the configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The services.
    pub ports: Vec<Port>,
    /// The value of `smtpd_sender_login_maps`.
    pub login_maps: LoginMaps,
    /// The operator's overrides of both services.
    pub overrides: Vec<(String, String)>,
}

/// A service that users submit to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// 587, STARTTLS (RFC 6409).
    Submission,
    /// 465, TLS at once (RFC 8314, 3.3).
    Submissions,
}

/// What says which login may use which sender address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoginMaps {
    /// Nothing.
    #[default]
    None,
    /// This, where the operator has not set another one that works.
    Ours(String),
    /// This, as the operator says.
    Own(String),
}

impl Port {
    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Submission => 587,
            Self::Submissions => 465,
        }
    }

    /// Its name, as services(5) has it today.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        [Self::Submission, Self::Submissions]
            .into_iter()
            .find(|port| port.number() == number)
    }

    /// Returns the port of this number, when users submit to it.
    pub fn of(number: Option<u16>) -> Option<Self> {
        number.and_then(Self::from_number)
    }
}

/// One service with the overrides that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which.
    pub port: Port,
    /// In the order in which they are written.
    pub overrides: Vec<Override>,
}

/// One override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The parameter.
    pub name: String,
    /// Its value, without blanks unless the operator wrote some.
    pub value: String,
    /// How it is held against what is there.
    pub manner: Manner,
    /// Why, with the document that says so.
    pub reason: &'static str,
}

/// How an override is held against what a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It has to be this.
    Always,
    /// A service that authenticates already keeps what it has.
    Authentication,
    /// Where mail passes filters; a service that has its own keeps it.
    Filters,
    /// A service that has its own keeps it.
    IfAbsent,
    /// Only where main.cf sets something else that would reach the service.
    IfLeaks,
    /// Tables of the operator's stay, unless they are an alias map.
    LoginMaps,
    /// Only in a service that is new.
    NewOnly,
    /// A list that has the word stays; another one gets it in front.
    SenderCheck,
    /// As [`Self::IfAbsent`]; but where nothing else demands a login, it has to be this.
    Strangers,
    /// A service in force keeps what lets its users relay.
    UsersRelay,
}

/// Lists of main.cf that would reach the service, beside those with a rule of their own.
const OTHER_LISTS: [&str; 4] = [
    "smtpd_helo_restrictions",
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
    "smtpd_etrn_restrictions",
];

/// Decides about the services and about what main.cf needs for them.
pub fn decide(request: &Request, version: Version, values: &Values, desired: &mut Desired) {
    if request.ports.is_empty() {
        return;
    }
    if !values.is_yes("smtpd_tls_auth_only") {
        desired.settings.push(Setting {
            name: "smtpd_tls_auth_only",
            value: "yes".to_owned(),
            reason: "no service takes a password in clear text, whatever else is set (postconf(5), smtpd_tls_auth_only)",
        });
    }
    for port in &request.ports {
        let mut overrides = overrides(*port, request, version);
        for (name, value) in &request.overrides {
            let asked = Override {
                name: name.clone(),
                value: value.clone(),
                manner: Manner::Always,
                reason: "as submission_overrides says",
            };
            match overrides.iter_mut().find(|one| one.name == *name) {
                Some(ours) => *ours = asked,
                None => overrides.push(asked),
            }
        }
        desired.services.push(Service {
            port: *port,
            overrides,
        });
    }
}

/// Returns our overrides of a service for the installed version.
fn overrides(port: Port, request: &Request, version: Version) -> Vec<Override> {
    let mut list: Vec<Override> = Vec::new();
    let mut add = |name: &str, value: &str, manner, reason| {
        list.push(Override {
            name: name.to_owned(),
            value: value.to_owned(),
            manner,
            reason,
        });
    };
    let relay = "permit_sasl_authenticated,reject";
    add(
        "syslog_name",
        &format!("postfix/{}", port.name()),
        Manner::NewOnly,
        "its log lines can be told from those of port 25",
    );
    // Known before Postfix 3.9 too, where releases were mended later; but there it is off by default.
    if version >= Version::new(3, 9) {
        add(
            "smtpd_forbid_unauth_pipelining",
            "no",
            Manner::IfLeaks,
            "mail programs may pipeline (postconf(5), smtpd_forbid_unauth_pipelining)",
        );
    }
    match port {
        Port::Submission => {
            add(
                "smtpd_tls_wrappermode",
                "no",
                Manner::IfLeaks,
                "port 587 begins with STARTTLS (RFC 6409)",
            );
            add(
                "smtpd_tls_security_level",
                "encrypt",
                Manner::Always,
                "passwords and mail of users are encrypted always (RFC 8314, 3)",
            );
        }
        Port::Submissions => add(
            "smtpd_tls_wrappermode",
            "yes",
            Manner::Always,
            "port 465 speaks TLS at once (RFC 8314, 3.3)",
        ),
    }
    add(
        "smtpd_sasl_auth_enable",
        "yes",
        Manner::Always,
        "users say who they are; here, and not on port 25",
    );
    add(
        "smtpd_tls_auth_only",
        "yes",
        Manner::IfAbsent,
        "no password in clear text (postconf(5), smtpd_tls_auth_only)",
    );
    add(
        "smtpd_sasl_type",
        "dovecot",
        Manner::Authentication,
        "Dovecot is asked who may log in",
    );
    add(
        "smtpd_sasl_path",
        "private/auth",
        Manner::Authentication,
        "where Dovecot listens, relative to the queue directory, so that it is found in a chroot too",
    );
    add(
        "smtpd_tls_req_ccert",
        "no",
        Manner::IfLeaks,
        "mail programs have no client certificate (postconf(5), smtpd_tls_req_ccert)",
    );
    add(
        "smtpd_tls_ask_ccert",
        "no",
        Manner::IfLeaks,
        "mail programs that are asked for a certificate bother their users with it (postconf(5), smtpd_tls_ask_ccert)",
    );
    add(
        "smtpd_delay_reject",
        "yes",
        Manner::IfLeaks,
        "else the lists are looked at before a user can log in (postconf(5), smtpd_delay_reject)",
    );
    if version >= Version::new(3, 10) {
        add(
            "smtpd_hide_client_session",
            "yes",
            Manner::NewOnly,
            "a user's address at home is nobody's business (postconf(5), smtpd_hide_client_session)",
        );
    }
    add(
        "local_header_rewrite_clients",
        "static:all",
        Manner::NewOnly,
        "addresses without a domain in users' headers are completed (postconf(5), local_header_rewrite_clients)",
    );
    add(
        "smtpd_client_restrictions",
        relay,
        Manner::Strangers,
        "who has not logged in is turned away (postconf(5), permit_sasl_authenticated)",
    );
    for name in OTHER_LISTS {
        add(
            name,
            "",
            Manner::IfLeaks,
            "main.cf's list is for strangers on port 25",
        );
    }
    sender_check(&request.login_maps, &mut add);
    add(
        "smtpd_recipient_restrictions",
        relay,
        Manner::IfAbsent,
        "who has logged in may write to everybody",
    );
    add(
        "smtpd_relay_restrictions",
        relay,
        Manner::UsersRelay,
        "to send elsewhere is to relay: it must not hang on what main.cf says (postconf(5), smtpd_relay_restrictions)",
    );
    add(
        "milter_macro_daemon_name",
        "ORIGINATING",
        Manner::Filters,
        "filters know by it what to sign (milter_macro_daemon_name in postconf(5); opendkim.conf(5), MTA)",
    );
    list
}

fn sender_check(maps: &LoginMaps, add: &mut impl FnMut(&str, &str, Manner, &'static str)) {
    let (maps, manner) = match maps {
        LoginMaps::None => {
            let reason = "main.cf's list is for strangers on port 25";
            return add("smtpd_sender_restrictions", "", Manner::IfLeaks, reason);
        }
        LoginMaps::Ours(maps) => (maps, Manner::LoginMaps),
        LoginMaps::Own(maps) => (maps, Manner::Always),
    };
    let reason = "which login may send as whom (postconf(5), smtpd_sender_login_maps)";
    add("smtpd_sender_login_maps", maps, manner, reason);
    add(
        "smtpd_sender_restrictions",
        "reject_sender_login_mismatch",
        Manner::SenderCheck,
        "nobody sends as somebody else; the envelope is looked at, not the From: header (postconf(5), \
         reject_sender_login_mismatch)",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide_for(version: Version, request: &Request) -> Desired {
        let mut desired = Desired::default();
        decide(request, version, &Values::default(), &mut desired);
        desired
    }

    #[test]
    fn a_version_gets_only_what_it_knows() {
        let request = Request {
            ports: vec![Port::Submission, Port::Submissions],
            ..Request::default()
        };
        let check = |minor: u32, expected: &[&str]| {
            let version = Version::new(3, minor);
            for service in decide_for(version, &request).services {
                let named: Vec<&str> = service.overrides.iter().map(|one| one.name.as_str()).collect();
                let recent = ["smtpd_forbid_unauth_pipelining", "smtpd_hide_client_session"];
                let found: Vec<&str> = named
                    .iter()
                    .filter(|name| recent.contains(name))
                    .copied()
                    .collect();
                assert_eq!(found, expected, "3.{minor}");
                for name in named {
                    let parameter = crate::postfix::desired::PARAMETERS
                        .iter()
                        .find(|parameter| parameter.name == name);
                    let since = parameter
                        .unwrap_or_else(|| panic!("{name} is not in the table"))
                        .since;
                    assert!(since <= version, "{name} came with {since}");
                }
            }
        };
        for minor in [4, 5, 6, 7, 8] {
            check(minor, &[]);
        }
        check(9, &["smtpd_forbid_unauth_pipelining"]);
        for minor in [10, 11] {
            check(
                minor,
                &["smtpd_forbid_unauth_pipelining", "smtpd_hide_client_session"],
            );
        }
    }

    #[test]
    fn the_guides_nine_overrides_can_all_be_had() {
        let guide = [
            ("syslog_name", "postfix/submission"),
            ("smtpd_tls_security_level", "encrypt"),
            ("smtpd_sasl_auth_enable", "yes"),
            ("smtpd_sasl_type", "dovecot"),
            ("smtpd_sasl_path", "private/auth"),
            ("smtpd_sasl_local_domain", "$myhostname"),
            ("smtpd_client_restrictions", "permit_sasl_authenticated,reject"),
            ("smtpd_sender_login_maps", "hash:/etc/aliases"),
            ("smtpd_sender_restrictions", "reject_sender_login_mismatch"),
            (
                "smtpd_recipient_restrictions",
                "reject_non_fqdn_recipient,reject_unknown_recipient_domain,permit_sasl_authenticated,reject",
            ),
        ];
        let request = Request {
            ports: vec![Port::Submission],
            login_maps: LoginMaps::Own("hash:/etc/aliases".to_owned()),
            overrides: [guide[5], guide[9]]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        };
        let desired = decide_for(Version::new(3, 7), &request);
        for (name, value) in guide {
            let found = desired.services[0]
                .overrides
                .iter()
                .filter(|one| one.name == name);
            let found: Vec<&str> = found.map(|one| one.value.as_str()).collect();
            assert_eq!(found, [value], "{name}");
        }
    }

    #[test]
    fn nothing_is_wanted_where_nothing_is_asked() {
        assert_eq!(
            decide_for(Version::new(3, 7), &Request::default()),
            Desired::default()
        );
    }
}
