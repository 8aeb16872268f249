//! Tables of configurations, and what is found in each.

use super::*;
use crate::postfix::{endpoints::Ports, syntax::MasterCf};

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
    let host = Host {
        ports: Ports::parse("smtp 25/tcp mail\n"),
        ..Host::default()
    };
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
    let renamed = "virtual_maps = hash:/x\n";
    check(renamed, SMTP, &[]);
    check_with(Version::new(3, 11), "hash", renamed, SMTP, &["postfix.obsolete"]);
    check(
        "",
        "smtp inet n - n - - smtpd\n  -o smtpd_enforce_tls=yes\n",
        &["postfix.obsolete"],
    );
    let lists = "smtpd_recipient_restrictions = permit_mynetworks, reject_maps_rbl, permit_mx_backup\n";
    check(lists, SMTP, &["postfix.restriction-obsolete"]);
    check_with(
        Version::new(3, 9),
        "hash",
        lists,
        SMTP,
        &["postfix.restriction-gone", "postfix.restriction-obsolete"],
    );
    check_with(
        Version::new(3, 10),
        "hash",
        "",
        "smtp inet n - n - - smtpd\n  -o smtpd_helo_restrictions=permit_naked_ip_address\n",
        &["postfix.restriction-gone"],
    );
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
    let unknown = "smtps-in-house inet n - n - - smtpd\n";
    check("", unknown, &["postfix.service-unknown"]);
    check("", "7025 inet n - n - - lmtp\n", &[]);
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
