//! Services of master.cf before and after their completion.

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
