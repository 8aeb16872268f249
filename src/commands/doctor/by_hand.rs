//! Remedies for a server that mailcert does not manage: what `apply` would do, told to who does it by hand. Pure.

use crate::model::finding::Finding;

/// Remedies that `apply` would carry out, as lines for the operator.
const BY_HAND: &[(&str, &str)] = &[
    (
        "dovecot.auth-socket-missing",
        "put `unix_listener /var/spool/postfix/private/auth { mode = 0600 user = postfix group = postfix }` into `service auth`, then \
         `doveadm reload`",
    ),
    (
        "dovecot.auth-socket-open",
        "set mode = 0600, user = postfix, group = postfix, then `doveadm reload`",
    ),
    (
        "dovecot.auth-socket-owner",
        "set mode = 0600 and the user and group that Postfix runs as (`postconf mail_owner`), then `doveadm reload`",
    ),
    (
        "dovecot.certificate-unset",
        "name certificate and key: ssl_cert and ssl_key with `<` before the file, since 2.4 ssl_server_cert_file and ssl_server_key_file \
         without",
    ),
    (
        "dovecot.certificate-unusable",
        "name a file that holds certificate and chain, then `doveadm reload`",
    ),
    (
        "dovecot.expired",
        "have whoever issues it renew it, then `doveadm reload`",
    ),
    (
        "dovecot.key-mismatch",
        "name the key that the certificate was made for, then `doveadm reload`",
    ),
    (
        "dovecot.not-reloaded",
        "`doveadm reload`, after every renewal: the shipped hook deploy/dovecot-reload does so",
    ),
    (
        "dovecot.self-signed",
        "have a CA issue one, and name its chain and key; `mailcert issue` gets one, below live/ in the state directory",
    ),
    (
        "dovecot.tls-off",
        "set ssl = required and name certificate and key, then `doveadm reload`",
    ),
    (
        "postfix.auth-on-25",
        "take smtpd_sasl_auth_enable out of main.cf, and put `-o smtpd_sasl_auth_enable=yes` to submission and submissions in master.cf",
    ),
    (
        "postfix.certificate-unusable",
        "name files that are there, with key and whole chain, then `postfix reload`",
    ),
    (
        "postfix.client-ca",
        "name the distribution's roots: /etc/ssl/certs/ca-certificates.crt, or /etc/pki/tls/certs/ca-bundle.crt",
    ),
    (
        "postfix.key-mismatch",
        "name the key that the certificate was made for, then `postfix reload`",
    ),
    (
        "postfix.no-roots",
        "name the distribution's roots as smtp_tls_CAfile: /etc/ssl/certs/ca-certificates.crt, or /etc/pki/tls/certs/ca-bundle.crt",
    ),
    (
        "postfix.outgoing-ciphers",
        "take the line out: `medium` is the default; a strict grade belongs into smtp_tls_mandatory_ciphers",
    ),
    ("postfix.outgoing-clear", "set smtp_tls_security_level = may"),
    (
        "postfix.protocols-old",
        "set it to `>=TLSv1.2`; before Postfix 3.6 to `!SSLv2, !SSLv3, !TLSv1, !TLSv1.1`",
    ),
    (
        "postfix.protocols-unknown",
        "before Postfix 3.6 write `!SSLv2, !SSLv3, !TLSv1, !TLSv1.1` in the place of `>=TLSv1.2`",
    ),
    (
        "postfix.relay-clients-missing",
        "name a table of fingerprints as relay_clientcerts, or take permit_tls_clientcerts out",
    ),
    ("postfix.relay-clients-not-asked", "set smtpd_tls_ask_ccert = yes"),
    (
        "postfix.sasl-silent",
        "start Dovecot, with a listener private/auth in Postfix's queue directory",
    ),
    (
        "postfix.self-signed",
        "have a CA issue one, and name its chain and key; `mailcert issue` gets one, below live/ in the state directory",
    ),
    (
        "postfix.sender-login-aliases",
        "name a table from address to login: `alice@example.jp alice`",
    ),
    (
        "postfix.sender-login-missing",
        "name a table from address to login as smtpd_sender_login_maps, and put reject_authenticated_sender_login_mismatch into \
         smtpd_sender_restrictions of the service",
    ),
    (
        "postfix.submission-clear",
        "put `-o smtpd_tls_security_level=encrypt` to the service",
    ),
    (
        "postfix.submission-filters",
        "put `-o milter_macro_daemon_name=ORIGINATING` to the service",
    ),
    (
        "postfix.submission-leak",
        "put `-o smtpd_client_restrictions=` and so on to the service, empty, and `-o \
         smtpd_recipient_restrictions=permit_sasl_authenticated,reject`",
    ),
    (
        "postfix.submission-no-relay",
        "put `-o smtpd_relay_restrictions=permit_sasl_authenticated,reject` to the service",
    ),
    (
        "postfix.submission-without-auth",
        "put `-o smtpd_sasl_auth_enable=yes -o smtpd_sasl_type=dovecot -o smtpd_sasl_path=private/auth` to the service",
    ),
    (
        "postfix.submissions-not-wrapped",
        "put `-o smtpd_tls_wrappermode=yes` to the service",
    ),
    (
        "postfix.two-files",
        "one file with key and chain as smtpd_tls_chain_files is replaced at once; reload after every change",
    ),
];

/// What a remedy says where `mailcert apply` carries it out. `family` is the section of mailcert.toml.
fn is_ours(remedy: &str, family: &str) -> bool {
    let by_command = ["apply", "plan"].iter().any(|verb| {
        let named = remedy.contains(&format!("`mailcert {verb} {family}`"));
        named || remedy.contains(&format!("`mailcert {verb}`"))
    });
    by_command || remedy.contains(&format!("{family}."))
}

/// Gives findings about a server that is not managed remedies that fit it.
pub(in crate::commands) fn adapt(findings: &mut [Finding], family: &str) {
    let foreign = findings
        .iter_mut()
        .filter(|finding| is_ours(&finding.remedy, family));
    for finding in foreign {
        finding.remedy = match BY_HAND.iter().find(|(id, _)| *id == finding.id) {
            Some((_, by_hand)) => (*by_hand).to_owned(),
            None => format!("with {family}.manage = true: {}", finding.remedy),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{IDS, Severity};

    #[test]
    fn each_is_for_a_finding_that_there_is_and_names_no_apply() {
        for (index, (id, remedy)) in BY_HAND.iter().enumerate() {
            assert!(IDS.iter().any(|(known, _)| known == id), "{id}");
            assert!(index == 0 || BY_HAND[index - 1].0 < *id, "{id} is out of order");
            let family = id.split('.').next().unwrap();
            assert!(!is_ours(remedy, family), "{id}: {remedy}");
        }
    }

    #[test]
    fn a_remedy_that_needs_no_apply_stays() {
        let found = |id, remedy: &str| Finding::new(Severity::Error, id, "x", "x").remedy(remedy);
        let apply = "set postfix.submissions = true, then `mailcert apply postfix`";
        let mut findings = [
            found("postfix.submissions-not-wrapped", apply),
            found("postfix.loglevel", "set smtp_tls_loglevel = 1"),
            found("postfix.obsolete", apply),
        ];
        adapt(&mut findings, "postfix");
        let remedies: Vec<&str> = findings.iter().map(|one| one.remedy.as_str()).collect();
        assert_eq!(
            remedies,
            [
                "put `-o smtpd_tls_wrappermode=yes` to the service",
                "set smtp_tls_loglevel = 1",
                "with postfix.manage = true: set postfix.submissions = true, then `mailcert apply postfix`",
            ]
        );
    }
}
