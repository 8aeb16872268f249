//! What is set against what should be: the changes to main.cf and master.cf. Pure.
//!
//! Planning what has been applied gives no change. Lines that need no change stay byte for byte.

use std::path::Path;

use super::{
    desired::{CERTIFICATE_PARAMETERS, Desired},
    endpoints::Host,
    submission,
    syntax::{MainCf, MasterCf, Service},
    values::Values,
};
use crate::model::plan::FileChange;

/// An instance as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// Its configuration directory.
    pub directory: &'a Path,
    /// The bytes of main.cf.
    pub main_cf: &'a [u8],
    /// The bytes of master.cf.
    pub master_cf: &'a [u8],
    /// Its effective values.
    pub values: &'a Values,
    /// What the host has besides.
    pub host: &'a Host,
}

/// The changes, and the instance as it will be after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostfixPlan {
    /// At most one change for each of the two files; none when all is as it should be.
    pub changes: Vec<FileChange>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
    /// The effective values after the changes.
    pub values: Values,
    /// The services after the changes.
    pub services: Vec<Service>,
}

/// Compares an instance with what is wanted.
pub fn plan(current: &Current<'_>, desired: &Desired) -> PostfixPlan {
    let (main_cf, main_reasons) = plan_main_cf(current, desired);
    let values = values_after(current.values, &main_cf, desired);
    let (master_cf, master_reasons, notes) = plan_master_cf(current, desired, &values);
    let files = [
        ("main.cf", current.main_cf, main_cf.to_bytes(), main_reasons),
        (
            "master.cf",
            current.master_cf,
            master_cf.to_bytes(),
            master_reasons,
        ),
    ];
    let changes = files
        .into_iter()
        .filter(|(_, before, after, _)| *before != after.as_slice());
    PostfixPlan {
        changes: changes
            .map(|(name, before, after, reasons)| FileChange {
                path: current.directory.join(name),
                before: Some(before.to_vec()),
                after: Some(after),
                reasons,
            })
            .collect(),
        notes: desired.notes.iter().chain(&notes).cloned().collect(),
        values,
        services: master_cf.services(),
    }
}

fn plan_main_cf(current: &Current<'_>, desired: &Desired) -> (MainCf, Vec<String>) {
    let mut file = MainCf::parse(current.main_cf);
    let mut reasons = Vec::new();
    for unwanted in &desired.unwanted {
        if file.comment_out(unwanted.name, unwanted.reason) > 0 {
            reasons.push(format!("{} is commented out: {}", unwanted.name, unwanted.reason));
        }
    }
    for setting in &desired.settings {
        // The effective value counts: `$name` in main.cf may well give the wanted one.
        if current.values.get(setting.name) != current.values.expand(&setting.value) {
            file.set(setting.name, &setting.value);
            reasons.push(format!(
                "{} = {}: {}",
                setting.name, setting.value, setting.reason
            ));
        }
    }
    (file, reasons)
}

/// Returns the file with the reasons for its changes, and what the operator should know besides.
fn plan_master_cf(
    current: &Current<'_>,
    desired: &Desired,
    values: &Values,
) -> (MasterCf, Vec<String>, Vec<String>) {
    let mut file = MasterCf::parse(current.master_cf);
    let refused = |service: &Service, name: &str, raw: &[u8]| {
        // Only these load a server certificate; smtp(8) has its own, a client's.
        if !matches!(service.command.as_str(), "smtpd" | "tlsproxy") {
            return None;
        }
        desired.refuses_override(name, &current.values.expand(&String::from_utf8_lossy(raw)))
    };
    let mut reasons = Vec::new();
    for service in file.services() {
        for found in &service.overrides {
            if let Some(reason) = refused(&service, &found.name, &found.value) {
                reasons.push(format!(
                    "{}: -o {} is commented out: {reason}",
                    service.label(),
                    found.name
                ));
            }
        }
    }
    file.comment_out(|service, found| refused(service, &found.name, &found.value).map(str::to_owned));
    let completed = submission::complete(&mut file, &desired.services, values, current.host);
    reasons.extend(completed.reasons);
    (file, reasons, completed.notes)
}

/// Returns the effective values once the plan is applied.
fn values_after(values: &Values, main_cf: &MainCf, desired: &Desired) -> Values {
    let mut after = values.clone();
    for unwanted in &desired.unwanted {
        after.insert(unwanted.name, "");
    }
    for setting in &desired.settings {
        after.insert(setting.name, values.expand(&setting.value));
    }
    // Defaults that follow what has changed, where main.cf does not say otherwise (postconf(5)).
    let followers = CERTIFICATE_PARAMETERS.map(|(server, proxy)| (proxy, server));
    let level = ("postscreen_tls_security_level", "smtpd_tls_security_level");
    for (follower, followed) in followers.into_iter().chain([level]) {
        let raw = main_cf.get(follower);
        if raw.is_none_or(|raw| String::from_utf8_lossy(&raw).contains("$smtpd_tls_")) {
            let value = after.get(followed).to_owned();
            after.insert(follower, value);
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ClientCa, TlsLayout},
        postfix::{
            desired::{LiveFiles, Policy, Request, SniRequest, desired},
            values::Version,
        },
    };

    /// Plans as if postconf(1) had read these files.
    fn plan_of(main_cf: &[u8], master_cf: &[u8], layout: TlsLayout) -> PostfixPlan {
        let file = MainCf::parse(main_cf);
        let mut raw = Values::default();
        for parameter in crate::postfix::desired::PARAMETERS {
            let value = file.get(parameter.name).unwrap_or_default();
            raw.insert(parameter.name, String::from_utf8_lossy(&value));
        }
        let mut values = Values::default();
        for parameter in crate::postfix::desired::PARAMETERS {
            values.insert(parameter.name, raw.expand(raw.get(parameter.name)));
        }
        let live = LiveFiles::below(Path::new("/l"));
        let bundles = ["/etc/ssl/certs/ca-certificates.crt"];
        let client_ca = &ClientCa::System;
        let request = Request {
            live: &live,
            layout,
            client_ca,
            system_bundles: &bundles,
            sni: SniRequest::unwanted(),
            policy: Policy::default(),
        };
        let wanted = desired(&request, Version::new(3, 7), &file, &values).unwrap();
        plan(
            &Current {
                directory: Path::new("/e"),
                main_cf,
                master_cf,
                values: &values,
                host: &Host::default(),
            },
            &wanted,
        )
    }

    fn check(main_cf: &str, master_cf: &str, layout: TlsLayout, expected_main: &str, expected_master: &str) {
        let planned = plan_of(main_cf.as_bytes(), master_cf.as_bytes(), layout);
        let after = |name: &str, before: &str| {
            let change = planned
                .changes
                .iter()
                .find(|change| change.path == Path::new("/e").join(name));
            change.map_or(before.to_owned(), |change| {
                String::from_utf8(change.after.clone().unwrap()).unwrap()
            })
        };
        let (main_after, master_after) = (after("main.cf", main_cf), after("master.cf", master_cf));
        let without_reasons = |text: &str| {
            text.lines()
                .map(|line| {
                    if line.starts_with("# mailcert:") {
                        "# mailcert"
                    } else {
                        line
                    }
                })
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(without_reasons(&main_after), expected_main, "{main_cf:?}");
        assert_eq!(without_reasons(&master_after), expected_master, "{master_cf:?}");
        assert!(
            planned.changes.iter().all(|change| !change.reasons.is_empty()),
            "{planned:?}"
        );
        let again = plan_of(main_after.as_bytes(), master_after.as_bytes(), layout);
        assert_eq!(again.changes, vec![], "planned again after {main_cf:?}");
        for name in [
            "smtpd_tls_cert_file",
            "smtpd_tls_chain_files",
            "tlsproxy_tls_cert_file",
            "smtp_tls_CAfile",
        ] {
            assert_eq!(
                planned.values.get(name),
                again.values.get(name),
                "{name} after {main_cf:?}"
            );
        }
    }

    const CERT_AND_KEY: &str = "smtpd_tls_cert_file = /l/fullchain.pem\nsmtpd_tls_key_file = /l/privkey.pem";
    const REST: &str = "smtpd_tls_security_level = may\nsmtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt";

    #[test]
    fn edits_main_cf() {
        let check_main =
            |text: &str, layout: TlsLayout, expected: &str| check(text, "", layout, expected, "");
        check_main("", TlsLayout::CertAndKey, &format!("{CERT_AND_KEY}\n{REST}"));
        check_main(
            "",
            TlsLayout::Chain,
            &format!("smtpd_tls_chain_files = /l/combined.pem\n{REST}"),
        );
        // Debian's main.cf as it is installed.
        check_main(
            "# TLS parameters\nsmtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem\n\
             smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key\nsmtpd_tls_security_level=may\n\n\
             smtp_tls_CApath=/etc/ssl/certs\nsmtp_tls_security_level=may",
            TlsLayout::CertAndKey,
            "# TLS parameters\nsmtpd_tls_cert_file=/l/fullchain.pem\nsmtpd_tls_key_file=/l/privkey.pem\n\
             smtpd_tls_security_level=may\n\n# mailcert\n#smtp_tls_CApath=/etc/ssl/certs\nsmtp_tls_security_level=may\n\
             smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt",
        );
        check_main(
            &format!("smtpd_tls_eccert_file = /o,\n#c\n  x\nsmtpd_tls_cert_file=/o\n{REST}\n"),
            TlsLayout::Chain,
            &format!(
                "# mailcert\n#smtpd_tls_eccert_file = /o,\n#c\n#  x\n# mailcert\n#smtpd_tls_cert_file=/o\n{REST}\n\
                 smtpd_tls_chain_files = /l/combined.pem"
            ),
        );
        // A reference that gives the wanted value is as good as the value.
        let by_reference =
            format!("myhostname = /l\n{REST}\nsmtpd_tls_chain_files = $myhostname/combined.pem");
        check_main(&by_reference, TlsLayout::Chain, &by_reference);
    }

    #[test]
    fn edits_master_cf() {
        let main_cf = format!("{CERT_AND_KEY}\n{REST}");
        let check_master =
            |text: &str, expected: &str| check(&main_cf, text, TlsLayout::CertAndKey, &main_cf, expected);
        let smtpd = "a inet n - n - - smtpd";
        let same = format!(
            "{smtpd}\n -o smtpd_tls_cert_file=/l/fullchain.pem\n -o smtpd_tls_security_level=encrypt"
        );
        check_master(&same, &same);
        let client = "a unix - - n - - smtp\n -o smtp_tls_cert_file=/o\n -o smtpd_tls_cert_file=/o";
        check_master(client, client);
        check_master(
            &format!("{smtpd}\n -o smtpd_tls_cert_file=/o -o q=1\n -o smtpd_tls_eckey_file=/o\n"),
            &format!("{smtpd}\n# mailcert\n -o q=1\n# mailcert\n# -o smtpd_tls_eckey_file=/o"),
        );
    }

    #[test]
    fn tells_the_values_that_follow() {
        let planned = plan_of(
            b"tlsproxy_tls_key_file = /o\n",
            b"a inet n - n - 1 postscreen\n",
            TlsLayout::CertAndKey,
        );
        assert_eq!(planned.values.get("postscreen_tls_security_level"), "may");
        assert_eq!(planned.values.get("tlsproxy_tls_key_file"), "/l/privkey.pem");
        let planned = plan_of(
            b"postscreen_tls_security_level = none\n",
            b"",
            TlsLayout::CertAndKey,
        );
        assert_eq!(planned.values.get("postscreen_tls_security_level"), "none");
    }
}
