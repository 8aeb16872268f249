//! The submission services of master.cf against what they should be: switched on, put in, completed. Pure.
//!
//! A service in force keeps what its users may lean on; a service that is new gets everything. Other services, comments and
//! spacing stay byte for byte.
//!
//! Rules: master(5); RFC 6409; RFC 8314.

use super::{
    desired::submission::{Manner, Override, Port, Service as Wanted},
    endpoints::{Host, split_service},
    syntax::{MasterCf, Service},
    values::Values,
};

/// Words that hold a sender against the login (postconf(5), smtpd_sender_restrictions).
pub const SENDER_CHECKS: [&str; 3] = [
    "reject_sender_login_mismatch",
    "reject_authenticated_sender_login_mismatch",
    "reject_known_sender_login_mismatch",
];

/// What a completion did, and what it left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Why, a line each.
    pub reasons: Vec<String>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// Returns the number of an `inet` service's port.
pub fn port_of(service: &Service, values: &Values, host: &Host) -> Option<u16> {
    let (_, port) = split_service(&service.name);
    let known = values.get("known_tcp_ports");
    (service.kind == "inet").then(|| host.ports.number(port, known))?
}

/// Splits a list of main.cf or master.cf.
pub fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// Returns whether tables are those of aliases(5): they map names to recipients, not addresses to logins.
pub fn is_alias_map(tables: &str, values: &Values) -> bool {
    let alias_maps = values.get("alias_maps").to_owned();
    let is_alias = |word: &str| {
        word.ends_with("/aliases") || words(&alias_maps).any(|known| known == word && known.contains(':'))
    };
    words(tables).any(is_alias)
}

/// The value of a parameter for a service, as it sees it.
pub fn effective(service: &Service, name: &str, values: &Values) -> String {
    match service.overridden(name) {
        Some(raw) => values.expand(&String::from_utf8_lossy(raw)),
        None => values.get(name).to_owned(),
    }
}

/// Makes master.cf have these services. `values`: main.cf's, as they will be.
pub fn complete(file: &mut MasterCf, wanted: &[Wanted], values: &Values, host: &Host) -> Completed {
    let mut completed = Completed::default();
    for one in wanted {
        let places = places(file, one, values, host, &mut completed.notes);
        let Some(places) = places else { continue };
        for place in places {
            Completion {
                file,
                values,
                is_new: place.is_new,
                index: place.index,
                completed: &mut completed,
            }
            .run(one);
        }
    }
    completed
}

/// Where a service is.
struct Place {
    index: usize,
    is_new: bool,
}

/// Finds the services of a port, or makes them; `None` when the port is somebody else's.
fn places(
    file: &mut MasterCf,
    wanted: &Wanted,
    values: &Values,
    host: &Host,
    notes: &mut Vec<String>,
) -> Option<Vec<Place>> {
    let services = file.services();
    let port = wanted.port;
    let number = port.number();
    let on_port = |service: &Service| port_of(service, values, host) == Some(number);
    let mut places: Vec<Place> = Vec::new();
    let mut taken = Vec::new();
    for (index, service) in services.iter().enumerate().filter(|(_, one)| on_port(one)) {
        if service.command != "smtpd" {
            notes.push(format!(
                "{}: port {number} is served by {}; it is left alone, and so is the port",
                service.label(),
                service.command
            ));
            return None;
        }
        if let Some(word) = service.unread() {
            notes.push(format!(
                "{}: Postfix does not read its options from `{word}` on: a value with blanks needs braces, as in \
                 -o {{ name = value }} (master(5)); it is left alone until that is mended",
                service.label()
            ));
            return None;
        }
        let (address, _) = split_service(&service.name);
        // Of services with the same name, Postfix takes the last.
        if let Some(at) = taken.iter().position(|known| *known == address) {
            notes.push(format!(
                "{} stands more than once for port {number}; Postfix takes one of them, so take the others out",
                service.label()
            ));
            if let Some(place) = places.get_mut(at) {
                place.index = index;
            }
            continue;
        }
        taken.push(address);
        places.push(Place { index, is_new: false });
    }
    if !places.is_empty() {
        return Some(places);
    }
    let is_mail = |service: &&Service| {
        port_of(service, values, host) == Some(25)
            && matches!(service.command.as_str(), "smtpd" | "postscreen")
    };
    let addresses: Vec<String> = services
        .iter()
        .filter(is_mail)
        .filter_map(|service| split_service(&service.name).0.map(str::to_owned))
        .collect();
    if addresses.is_empty()
        && let Some(template) = file.templates().into_iter().find(|template| {
            template.service.command == "smtpd"
                && split_service(&template.service.name).0.is_none()
                && on_port(&template.service)
        })
    {
        let index = file.uncomment(&template, |found| {
            let value = String::from_utf8_lossy(&found.value);
            wanted.overrides.iter().any(|one| {
                let is_ours = one.name == found.name && is_same(&one.value, &value);
                is_ours
                    && !matches!(
                        one.manner,
                        Manner::Authentication | Manner::IfLeaks | Manner::LoginMaps
                    )
            })
        });
        return Some(vec![Place { index, is_new: true }]);
    }
    let known = values.get("known_tcp_ports");
    let port_name = if host.ports.knows(port.name(), known) {
        port.name().to_owned()
    } else {
        number.to_string()
    };
    let names = match addresses.as_slice() {
        [] => vec![port_name],
        addresses => addresses
            .iter()
            .map(|address| format!("{address}:{port_name}"))
            .collect(),
    };
    // The distribution decides whether its daemons are chrooted.
    let chroot = services
        .iter()
        .find(|service| service.command == "smtpd")
        .map_or("n", |service| service.chroot.as_str());
    let mut after = services
        .iter()
        .rposition(|service| is_mail(&service) || Port::of(port_of(service, values, host)).is_some());
    let mut made = Vec::new();
    for name in names {
        let line = format!("{name:<9} inet  n       -       {chroot}       -       -       smtpd");
        let index = file.insert_service(after, &line);
        after = Some(index);
        made.push(Place { index, is_new: true });
    }
    Some(made)
}

/// One service that is completed.
struct Completion<'a> {
    file: &'a mut MasterCf,
    values: &'a Values,
    index: usize,
    is_new: bool,
    completed: &'a mut Completed,
}

impl Completion<'_> {
    fn run(mut self, wanted: &Wanted) {
        let Some(service) = self.service() else { return };
        if self.is_new {
            self.completed.reasons.push(format!(
                "{}: port {} is opened to users who log in (RFC 6409; RFC 8314, 3.3)",
                service.label(),
                wanted.port.number()
            ));
        }
        let authenticated = effective(&service, "smtpd_sasl_auth_enable", self.values)
            .eq_ignore_ascii_case("yes")
            || self.values.get("smtpd_sasl_type") == "dovecot";
        for one in &wanted.overrides {
            let Some(service) = self.service() else { return };
            match self.missing(&service, one, authenticated) {
                Some(value) => self.put(&service, one, &value),
                // It came with the distribution's template.
                None if self.is_new && service.overridden(&one.name).is_some() => {
                    self.tell(&service, one, &one.value);
                }
                None => {}
            }
        }
    }

    fn service(&self) -> Option<Service> {
        self.file.services().into_iter().nth(self.index)
    }

    /// Returns the value that the service lacks; `None` where it is as it should be, or the operator's to keep.
    fn missing(&mut self, service: &Service, one: &Override, authenticated: bool) -> Option<String> {
        let own = service.overridden(&one.name).is_some();
        let present = effective(service, &one.name, self.values);
        let value = self.values.expand(&one.value);
        if own && is_same(&present, &value) {
            return None;
        }
        let inherits = !own && is_same(&present, &value);
        let wanted = Some(one.value.clone());
        match one.manner {
            Manner::Always if inherits && !self.is_new => None,
            Manner::Always => wanted,
            // What main.cf says of the authentication is the operator's, unless nobody ever logged in.
            Manner::Authentication => wanted.filter(|_| !authenticated),
            Manner::Filters if self.is_new => wanted.filter(|_| !own),
            Manner::Filters => {
                let filters = effective(service, "smtpd_milters", self.values);
                wanted.filter(|_| !own && words(&filters).next().is_some())
            }
            Manner::IfAbsent if self.is_new => wanted.filter(|_| !own),
            Manner::IfAbsent | Manner::IfLeaks => wanted.filter(|_| !own && !inherits && !present.is_empty()),
            Manner::LoginMaps => {
                // The same tables by another type are ours, from before an upgrade of Postfix.
                let is_ours = names_of(&present).eq(names_of(&value));
                if present.is_empty() || is_alias_map(&present, self.values) || (is_ours && present != value)
                {
                    return wanted;
                }
                if present != value {
                    self.completed.notes.push(format!(
                        "{}: smtpd_sender_login_maps = {present} stays; `sender_login_maps` names it, or takes its place",
                        service.label()
                    ));
                }
                None
            }
            Manner::NewOnly => wanted.filter(|_| self.is_new && !own),
            Manner::SenderCheck => {
                let checks = words(&present).any(|word| SENDER_CHECKS.contains(&word));
                match service.overridden(&one.name) {
                    Some(_) if checks => None,
                    Some(raw) if !present.trim().is_empty() => {
                        Some(format!("{},{}", one.value, String::from_utf8_lossy(raw)))
                    }
                    _ if checks && !self.is_new => None,
                    _ => wanted,
                }
            }
            Manner::Strangers if self.is_new => wanted.filter(|_| !own),
            Manner::Strangers if !self.demands_a_login(service) => wanted,
            Manner::Strangers => wanted.filter(|_| !own && !inherits && !present.is_empty()),
            Manner::UsersRelay if self.is_new => wanted.filter(|_| !own),
            Manner::UsersRelay => {
                let lists = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"];
                let lets = |name: &str| {
                    let list = effective(service, name, self.values);
                    words(&list).any(|word| word == "permit_sasl_authenticated")
                };
                // An empty relay list leaves it to the other one (postconf(5)).
                let is_empty = words(&present).next().is_none();
                let good = lets(lists[0]) || (is_empty && lets(lists[1]));
                wanted.filter(|_| !good)
            }
        }
    }

    /// Returns whether some list of the service ends with `reject`: only those it permits before come that far.
    fn demands_a_login(&self, service: &Service) -> bool {
        ["client", "helo", "sender", "relay", "recipient"]
            .iter()
            .any(|stage| {
                let list = effective(service, &format!("smtpd_{stage}_restrictions"), self.values);
                words(&list).last() == Some("reject")
            })
    }

    /// Gives the service the override; one in its place is kept as a comment.
    fn put(&mut self, service: &Service, one: &Override, value: &str) {
        self.file.comment_out_in(self.index, &one.name, one.reason);
        self.file.add_override(self.index, &one.name, value);
        self.tell(service, one, value);
    }

    fn tell(&mut self, service: &Service, one: &Override, value: &str) {
        let reason = format!("{}: -o {}={value}: {}", service.label(), one.name, one.reason);
        self.completed.reasons.push(reason);
    }
}

/// Returns the names of tables without their types.
fn names_of(tables: &str) -> impl Iterator<Item = &str> {
    words(tables).map(|word| word.split_once(':').map_or(word, |(_, name)| name))
}

/// Returns whether two values say the same, whatever stands between their words.
fn is_same(one: &str, other: &str) -> bool {
    words(one).eq(words(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::{
        desired::{
            Desired,
            submission::{LoginMaps, Request, decide},
        },
        values::Version,
    };

    const DEFAULTS: &str = "myhostname = mail.example.test\nknown_tcp_ports = smtp=25, smtps=submissions=465, submission=587\n\
        smtpd_tls_security_level = may\nsmtpd_sasl_auth_enable = no\nsmtpd_tls_auth_only = yes\n\
        smtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\nsmtpd_tls_wrappermode = no\n\
        smtpd_tls_req_ccert = no\nsmtpd_delay_reject = yes\n\
        smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination\n\
        local_header_rewrite_clients = permit_inet_interfaces\nmilter_macro_daemon_name = mail\n\
        alias_maps = hash:/etc/aliases\nmua = permit_sasl_authenticated,reject\n";

    fn wanted(ports: &[Port], overrides: &[(&str, &str)]) -> Vec<Wanted> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = Request {
            ports: ports.to_vec(),
            login_maps: LoginMaps::Ours("hash:/m".to_owned()),
            overrides: overrides.iter().map(own).collect(),
        };
        let mut desired = Desired::default();
        decide(&request, Version::new(3, 7), &Values::default(), &mut desired);
        desired.services
    }

    /// Completes once, and makes sure that a second time changes nothing; returns the file and what was said.
    fn done(main_cf: &str, master_cf: &str, wanted: &[Wanted]) -> (String, Completed) {
        let values = Values::parse(format!("{DEFAULTS}{main_cf}").as_bytes());
        let mut file = MasterCf::parse(master_cf.as_bytes());
        let completed = complete(&mut file, wanted, &values, &Host::default());
        let text = String::from_utf8(file.to_bytes()).unwrap();
        let again = complete(&mut file, wanted, &values, &Host::default());
        assert_eq!(String::from_utf8(file.to_bytes()).unwrap(), text, "{main_cf:?}");
        assert_eq!(again.reasons, Vec::<String>::new(), "{main_cf:?} {text}");
        let services = file.services();
        for one in wanted {
            let ours: Vec<&Service> = services
                .iter()
                .filter(|service| port_of(service, &values, &Host::default()) == Some(one.port.number()))
                .filter(|service| service.command == "smtpd")
                .collect();
            // Of services with the same name, Postfix takes the last.
            for service in ours
                .into_iter()
                .rev()
                .take(2)
                .filter(|one| !one.overrides.is_empty() && one.unread().is_none())
            {
                assert_eq!(
                    effective(service, "smtpd_sasl_auth_enable", &values),
                    "yes",
                    "{text}"
                );
            }
        }
        (text, completed)
    }

    /// Returns the lines that a completion added, without their indentation, and those that it took away.
    fn difference(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let only = |one: &str, other: &str| {
            let other: Vec<&str> = other.lines().collect();
            let lines = one
                .lines()
                .filter(|line| !other.contains(line) && !line.starts_with("# mailcert"));
            lines.map(|line| line.trim_start().to_owned()).collect::<Vec<_>>()
        };
        (only(after, before), only(before, after))
    }

    const NEW: [&str; 13] = [
        "-o syslog_name=postfix/submission",
        "-o smtpd_tls_security_level=encrypt",
        "-o smtpd_sasl_auth_enable=yes",
        "-o smtpd_tls_auth_only=yes",
        "-o smtpd_sasl_type=dovecot",
        "-o smtpd_sasl_path=private/auth",
        "-o local_header_rewrite_clients=static:all",
        "-o smtpd_client_restrictions=permit_sasl_authenticated,reject",
        "-o smtpd_sender_login_maps=hash:/m",
        "-o smtpd_sender_restrictions=reject_sender_login_mismatch",
        "-o smtpd_recipient_restrictions=permit_sasl_authenticated,reject",
        "-o smtpd_relay_restrictions=permit_sasl_authenticated,reject",
        "-o milter_macro_daemon_name=ORIGINATING",
    ];

    #[test]
    fn puts_a_service_behind_that_of_port_25() {
        let check = |master_cf: &str, headers: &[&str]| {
            let (after, completed) = done("", master_cf, &wanted(&[Port::Submission], &[]));
            let (added, removed) = difference(master_cf, &after);
            let expected: Vec<&str> = headers
                .iter()
                .flat_map(|header| [*header].into_iter().chain(NEW))
                .collect();
            assert_eq!(
                (added, removed),
                (expected.iter().map(|one| (*one).to_owned()).collect(), vec![])
            );
            assert_eq!(completed.reasons.len(), expected.len());
            assert_eq!(completed.notes, Vec::<String>::new());
        };
        let plain = "submission inet  n       -       y       -       -       smtpd";
        let pickup = "pickup unix n - n 60 1 pickup\n  -o a=b\n";
        check(
            &format!("smtp inet n - y - - smtpd\n  -o a=b\n# c\n{pickup}"),
            &[plain],
        );
        check(
            &format!("smtp inet n - n - 1 postscreen\nsmtpd pass - - y - - smtpd\n{pickup}"),
            &[plain],
        );
        check(
            pickup,
            &["submission inet  n       -       n       -       -       smtpd"],
        );
        check(
            "",
            &["submission inet  n       -       n       -       -       smtpd"],
        );
        check(
            "192.0.2.1:smtp inet n - n - - smtpd\n[2001:db8::1]:25 inet n - n - - smtpd",
            &[
                "192.0.2.1:submission inet  n       -       n       -       -       smtpd",
                "[2001:db8::1]:submission inet  n       -       n       -       -       smtpd",
            ],
        );
    }

    #[test]
    fn brings_the_distributions_template_to_life() {
        let master_cf = "smtp      inet  n       -       y       -       -       smtpd\n\
            #127.0.0.1:submission inet n -   y       -       -       smtpd\n\
            #submission inet n       -       y       -       -       smtpd\n\
            #  -o syslog_name=postfix/submission\n#  -o smtpd_tls_security_level=encrypt\n\
            #  -o smtpd_reject_unlisted_recipient=no\n#  -o smtpd_helo_restrictions=\n\
            #submissions     inet  n       -       y       -       -       smtpd\n\
            #  -o smtpd_tls_wrappermode=yes\npickup    unix  n       -       y       60      1       pickup\n";
        let both = wanted(&[Port::Submission, Port::Submissions], &[]);
        let (after, completed) = done("smtpd_helo_restrictions = reject_x\n", master_cf, &both);
        let file = MasterCf::parse(after.as_bytes());
        let names: Vec<String> = file.services().iter().map(Service::label).collect();
        assert_eq!(
            names,
            ["smtp/inet", "submission/inet", "submissions/inet", "pickup/unix"]
        );
        assert!(after.contains(
            "\n  -o syslog_name=postfix/submission\n  -o smtpd_tls_security_level=encrypt\n  -o smtpd_sasl_auth"
        ), "{after}");
        assert!(
            after.contains("smtpd\n  -o smtpd_tls_wrappermode=yes\n"),
            "{after}"
        );
        assert!(after.contains("\n#127.0.0.1:submission"));
        assert!(after.contains(
            "\n#  -o smtpd_reject_unlisted_recipient=no\n#  -o smtpd_helo_restrictions=\nsubmissions "
        ));
        let services = file.services();
        for service in &services[1..3] {
            assert_eq!(service.chroot, "y");
            assert_eq!(
                service.overridden("smtpd_helo_restrictions"),
                Some(&b""[..]),
                "it leaks"
            );
            assert_eq!(service.overridden("smtpd_reject_unlisted_recipient"), None);
            let told = completed
                .reasons
                .iter()
                .filter(|reason| reason.starts_with(&service.label()));
            assert_eq!(
                told.count(),
                service.overrides.len() + 1,
                "{:#?}",
                completed.reasons
            );
        }
    }

    #[test]
    fn completes_a_service_and_keeps_what_users_lean_on() {
        let check = |main_cf: &str, overrides: &[&str], added: &[&str], removed: &[&str]| {
            for name in ["submission", "587", "127.0.0.1:587", "[::1]:submission"] {
                let lines: String = overrides.iter().map(|one| format!("\n  {one}")).collect();
                let before = format!("a unix - - n - - a\n{name} inet n - - - 5 smtpd{lines}\n# end\n");
                let (after, _) = done(main_cf, &before, &wanted(&[Port::Submission], &[]));
                let (found_added, found_removed) = difference(&before, &after);
                let mut expected: Vec<String> = removed.iter().map(|one| format!("#  {one}")).collect();
                expected.extend(added.iter().map(|one| (*one).to_owned()));
                expected.sort();
                let mut found = found_added;
                found.sort();
                assert_eq!(found, expected, "{main_cf:?} {overrides:?}");
                assert_eq!(found_removed, removed, "{overrides:?}");
            }
        };
        let secure = "-o smtpd_tls_security_level=encrypt";
        let auth = "-o smtpd_sasl_auth_enable=yes";
        let strangers = "-o smtpd_client_restrictions=permit_sasl_authenticated,reject";
        let maps = "-o smtpd_sender_login_maps=hash:/m";
        let sender = "-o smtpd_sender_restrictions=reject_sender_login_mismatch";
        let dovecot = ["-o smtpd_sasl_type=dovecot", "-o smtpd_sasl_path=private/auth"];
        // Nothing at all: everything that is needed, and no more.
        check(
            "",
            &[],
            &[secure, auth, dovecot[0], dovecot[1], strangers, maps, sender],
            &[],
        );
        // It authenticates already: how stays as it is.
        check("", &[secure, auth], &[strangers, maps, sender], &[]);
        // What main.cf says counts as well.
        check(
            "smtpd_sasl_type = dovecot\n",
            &[secure],
            &[auth, strangers, maps, sender],
            &[],
        );
        // A list of its own that turns strangers away stays, and so do its networks.
        let networks = "-o smtpd_recipient_restrictions=permit_mynetworks,permit_sasl_authenticated,reject";
        check("", &[secure, auth, networks], &[maps, sender], &[]);
        let by_reference = "-o smtpd_client_restrictions=$mua";
        check("", &[secure, auth, by_reference], &[maps, sender], &[]);
        // A reference to nothing demands nothing.
        let nothing = "-o smtpd_client_restrictions=$mua_client_restrictions";
        check(
            "",
            &[secure, auth, nothing],
            &[strangers, maps, sender],
            &[nothing],
        );
        // What main.cf sets for strangers does not reach it.
        check(
            "smtpd_client_restrictions = reject_rbl_client x\nsmtpd_helo_restrictions = reject_invalid_helo_hostname\n\
             smtpd_recipient_restrictions = reject_unauth_destination\nsmtpd_data_restrictions = reject_unauth_pipelining\n\
             smtpd_tls_req_ccert = yes\nsmtpd_delay_reject = no\n",
            &[secure, auth],
            &[
                strangers,
                "-o smtpd_helo_restrictions=",
                "-o smtpd_data_restrictions=",
                "-o smtpd_recipient_restrictions=permit_sasl_authenticated,reject",
                "-o smtpd_tls_req_ccert=no",
                "-o smtpd_delay_reject=yes",
                maps,
                sender,
            ],
            &[],
        );
        check(
            "smtpd_milters = inet:127.0.0.1:8891\n",
            &[secure, auth, strangers, maps, sender],
            &["-o milter_macro_daemon_name=ORIGINATING"],
            &[],
        );
        // A relay list without users would keep their mail here.
        check(
            "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n",
            &[secure, auth, strangers, maps, sender],
            &["-o smtpd_relay_restrictions=permit_sasl_authenticated,reject"],
            &[],
        );
        // The guide's alias map is none; another one of the operator's stays.
        let aliases = "-o smtpd_sender_login_maps=hash:/etc/aliases";
        check(
            "",
            &[secure, auth, strangers, aliases, sender],
            &[maps],
            &[aliases],
        );
        let own = "-o smtpd_sender_login_maps=mysql:/etc/senders";
        check("", &[secure, auth, strangers, own, sender], &[], &[]);
        // Ours, from before the type of new tables changed.
        let former = "-o smtpd_sender_login_maps=lmdb:/m";
        check("", &[secure, auth, strangers, former, sender], &[maps], &[former]);
        // A list of the operator's gets the check in front; one that has it stays.
        let list = "-o smtpd_sender_restrictions=reject_unknown_sender_domain";
        check(
            "",
            &[secure, auth, strangers, maps, list],
            &["-o smtpd_sender_restrictions=reject_sender_login_mismatch,reject_unknown_sender_domain"],
            &[list],
        );
        let has = "-o smtpd_sender_restrictions=reject_authenticated_sender_login_mismatch,permit";
        check("", &[secure, auth, strangers, maps, has], &[], &[]);
        let weak = "-o smtpd_tls_security_level=may";
        check("", &[weak, auth, strangers, maps, sender], &[secure], &[weak]);
    }

    #[test]
    fn the_operators_overrides_come_before_ours() {
        let own = [
            ("smtpd_sasl_local_domain", "$myhostname"),
            ("smtpd_client_restrictions", ""),
        ];
        let before = "submission inet n - - - - smtpd\n  -o smtpd_client_restrictions=reject\n";
        let (after, _) = done("", before, &wanted(&[Port::Submission], &own));
        assert!(
            after.contains("\n  -o smtpd_sasl_local_domain=$myhostname\n"),
            "{after}"
        );
        assert!(after.contains("\n  -o smtpd_client_restrictions=\n"), "{after}");
        assert!(
            after.contains("\n#  -o smtpd_client_restrictions=reject\n"),
            "{after}"
        );
    }

    #[test]
    fn odd_files_are_left_as_they_are() {
        let check = |master_cf: &str, is_changed: bool, n_notes: usize| {
            let (after, completed) = done("", master_cf, &wanted(&[Port::Submission], &[]));
            assert_eq!(after != master_cf, is_changed, "{master_cf:?}");
            assert_eq!(completed.notes.len(), n_notes, "{:?}", completed.notes);
        };
        check("submission inet n - n - 1 postscreen\n", false, 1);
        check(
            "submission inet n - n - - smtpd\n  -o a=b, c\n  -o d=e\n",
            false,
            1,
        );
        check(
            "submission inet n - n - - smtpd\n  -o { a = b, c } -v -o d=e -- x\n",
            false,
            1,
        );
        check("587 inet n n n - - spawn\n  user=x argv=/bin/cat\n", false, 1);
        // The last of several counts, and only that is completed.
        let twice = "submission inet n - n - - smtpd\n587 inet n - n - - smtpd\n";
        check(twice, true, 1);
        let (after, _) = done("", twice, &wanted(&[Port::Submission], &[]));
        assert!(
            after.starts_with("submission inet n - n - - smtpd\n587 inet n - n - - smtpd\n  -o"),
            "{after}"
        );
        // A template between a service and its overrides.
        let inside = "smtp inet n - n - - smtpd\n#submission inet n - n - - smtpd\n  -o c=d\n";
        let (after, _) = done("", inside, &wanted(&[Port::Submission], &[]));
        assert!(after.starts_with(inside), "{after}");
    }
}
