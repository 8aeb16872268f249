//! Whether smtpd offers TLS, its protocol floors, and a greeting without the software's name. Pure.
//!
//! Rules: postconf(5), smtpd_tls_protocols, smtpd_tls_mandatory_protocols, smtpd_banner; RFC 3207, 4; RFC 8996 (TLS 1.0 and 1.1 are
//! historic); RFC 5321, 4.3.1 (the greeting begins with the host's name).

use super::{
    Desired, Setting,
    protocols::{self, Allowed},
};
use crate::{
    config::TlsVersion,
    postfix::values::{Values, Version},
};

/// Switches TLS on where it is off.
pub fn security_level(values: &Values, desired: &mut Desired) {
    match values.get("smtpd_tls_security_level") {
        "" if values.is_yes("smtpd_enforce_tls") => desired.notes.push(
            "smtpd_enforce_tls = yes is obsolete since Postfix 2.3; smtpd_tls_security_level is left empty so that TLS \
             stays mandatory"
                .to_owned(),
        ),
        "" | "none" => desired.settings.push(Setting {
            name: "smtpd_tls_security_level",
            value: "may".to_owned(),
            reason: "without it the certificate is never used; port 25 must offer TLS, not demand it (RFC 3207, 4)",
        }),
        _ => {}
    }
}

/// Decides about the floors of both lists, for optional and for mandatory TLS.
pub fn floors(minimum: TlsVersion, version: Version, values: &Values, desired: &mut Desired) {
    let reason = "older protocols are historic (RFC 8996; postconf(5), smtpd_tls_protocols)";
    for name in ["smtpd_tls_protocols", "smtpd_tls_mandatory_protocols"] {
        floor(name, minimum, version, values, reason, desired);
    }
}

/// Raises one list to the floor; one that allows less is the operator's, and stays.
pub(super) fn floor(
    name: &'static str,
    minimum: TlsVersion,
    version: Version,
    values: &Values,
    reason: &'static str,
    desired: &mut Desired,
) {
    let present = values.get(name);
    let allowed = Allowed::read(present, version);
    if let Allowed::Unreadable(word) = &allowed {
        desired.notes.push(format!(
            "{name} was `{present}`; Postfix {version} does not know `{word}`, and has TLS off for it"
        ));
    } else if allowed.older_than(minimum).is_empty() {
        return;
    }
    desired.settings.push(Setting {
        name,
        value: protocols::at_least(minimum, version),
        reason,
    });
}

/// Decides about the greeting; one of the operator's own that does not tell the software stays.
pub fn banner(values: &Values, desired: &mut Desired) {
    let present = values.get("smtpd_banner").to_ascii_lowercase();
    let told = ["mail_name", "mail_version"].map(|name| values.get(name).to_ascii_lowercase());
    let tells = told
        .iter()
        .any(|word| !word.is_empty() && present.contains(word.as_str()));
    if tells || present.is_empty() {
        desired.settings.push(Setting {
            name: "smtpd_banner",
            value: "$myhostname ESMTP".to_owned(),
            reason: "the greeting has to begin with the host's name, and need not tell the software (RFC 5321, 4.3.1)",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(desired: &Desired) -> Vec<String> {
        let settings = desired.settings.iter();
        settings
            .map(|one| format!("{}={}", one.name, one.value))
            .collect()
    }

    #[test]
    fn raises_floors_and_loosens_nothing() {
        let check = |version: Version, main_cf: &str, expected: &[&str], n_notes: usize| {
            let mut desired = Desired::default();
            floors(
                TlsVersion::V1_2,
                version,
                &Values::parse(main_cf.as_bytes()),
                &mut desired,
            );
            assert_eq!(shown(&desired), expected, "{version} {main_cf:?}");
            assert_eq!(desired.notes.len(), n_notes, "{:?}", desired.notes);
        };
        let (old, new) = (Version::new(3, 5), Version::new(3, 6));
        let both = [
            "smtpd_tls_protocols=>=TLSv1.2",
            "smtpd_tls_mandatory_protocols=>=TLSv1.2",
        ];
        check(new, "", &both, 0);
        check(new, "smtpd_tls_protocols = >=TLSv1\n", &both, 0);
        check(new, "smtpd_tls_protocols = >=TLSv1.3\n", &both[1..], 0);
        check(
            new,
            "smtpd_tls_protocols = !SSLv2, !SSLv3, !TLSv1, !TLSv1.1\n",
            &both[1..],
            0,
        );
        check(new, "smtpd_tls_mandatory_protocols = TLSv1.2\n", &both[..1], 0);
        let spelled = "smtpd_tls_protocols=!SSLv2, !SSLv3, !TLSv1, !TLSv1.1";
        let rest = "smtpd_tls_mandatory_protocols = TLSv1.3\n";
        check(
            old,
            &format!("smtpd_tls_protocols = >=TLSv1.2\n{rest}"),
            &[spelled],
            1,
        );
    }

    #[test]
    fn hides_the_name_of_the_software_alone() {
        let check = |banner: &str, expected: usize| {
            let text = format!("mail_name = Postfix\nmail_version = 3.7.11\nsmtpd_banner = {banner}\n");
            let mut desired = Desired::default();
            super::banner(&Values::parse(text.as_bytes()), &mut desired);
            assert_eq!(desired.settings.len(), expected, "{banner}");
        };
        check("mail.example ESMTP Postfix (Debian/GNU)", 1);
        check("mail.example ESMTP postfix", 1);
        check("mail.example ESMTP 3.7.11", 1);
        check("", 1);
        check("mail.example ESMTP", 0);
        check("mail.example ESMTP no spam here", 0);
    }
}
