//! The relay that takes all mail (`relayhost`), and what main.cf must say of it. Pure.
//!
//! Rules: postconf(5), relayhost, smtp_tls_wrappermode, smtp_sasl_*; RFC 8314, 3.3 (port 465 begins with TLS).

use super::{
    endpoints::Host,
    submission::{effective, words},
    syntax::Service,
    values::Values,
};
use crate::model::finding::{Finding, Severity};

/// A relay as `relayhost` writes it: `[host]:port`, or a domain whose MX records are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayHost {
    /// As it is written.
    pub text: String,
    /// Name or address, without brackets.
    pub host: String,
    /// Whether MX records are followed: there were no brackets.
    pub by_mx: bool,
    /// The port.
    pub port: u16,
}

/// Why a relay cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub String);

impl RelayHost {
    /// Reads a `relayhost` value: several, where the version knows lists (3.8).
    pub fn list(value: &str, host: &Host, known_ports: &str) -> Vec<Result<Self, Unusable>> {
        words(value)
            .map(|word| Self::parse(word, host, known_ports))
            .collect()
    }

    fn parse(text: &str, host: &Host, known_ports: &str) -> Result<Self, Unusable> {
        let fail = |why: &str| Unusable(format!("`{}` {why}", text.escape_debug()));
        let (name, rest, by_mx) = match text.strip_prefix('[') {
            Some(inner) => {
                let (name, rest) = inner
                    .split_once(']')
                    .ok_or_else(|| fail("has no closing bracket"))?;
                (name, rest, false)
            }
            None => match text.split_once(':') {
                Some((name, _)) => (name, &text[name.len()..], true),
                None => (text, "", true),
            },
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => 25,
            Some(port) => host
                .ports
                .number(port, known_ports)
                .ok_or_else(|| fail("names a port that this host does not know"))?,
            None => return Err(fail("has something behind its bracket")),
        };
        let name = name
            .strip_prefix("ipv6:")
            .unwrap_or(name)
            .trim_end_matches('.')
            .to_ascii_lowercase();
        if name.is_empty() {
            return Err(fail("names no host"));
        }
        Ok(Self {
            text: text.to_owned(),
            host: name,
            by_mx,
            port,
        })
    }
}

/// Returns the value of a parameter as the SMTP client of master.cf sees it.
pub fn client_value(name: &str, services: &[Service], values: &Values) -> String {
    let client = services
        .iter()
        .find(|service| service.kind == "unix" && service.name == "smtp" && service.command == "smtp");
    match client {
        Some(service) => effective(service, name, values),
        None => values.get(name).to_owned(),
    }
}

/// Returns whether a value of `smtp_tls_security_level` lets nothing leave in clear text.
pub fn is_mandatory(level: &str) -> bool {
    matches!(
        level,
        "encrypt" | "verify" | "secure" | "fingerprint" | "dane-only"
    )
}

/// Judges what main.cf says of the relay's login and TLS.
pub fn judge(relay: &RelayHost, services: &[Service], values: &Values) -> Vec<Finding> {
    let value = |name: &str| client_value(name, services, values);
    let is_yes = |name: &str| value(name).eq_ignore_ascii_case("yes");
    let mut findings = Vec::new();
    let mut tell = |severity, id, evidence: String, remedy: &str, reference| {
        findings.push(
            Finding::new(severity, id, &relay.text, evidence)
                .remedy(remedy)
                .reference(reference),
        );
    };
    let is_wrapped = is_yes("smtp_tls_wrappermode");
    match (relay.port, is_wrapped) {
        (465, false) => tell(
            Severity::Error,
            "outbound.relay-tls",
            "port 465 begins with TLS, and Postfix waits for a greeting in clear text: nothing is ever sent"
                .to_owned(),
            "set smtp_tls_wrappermode = yes and smtp_tls_security_level = encrypt in main.cf, or take port 587",
            "postconf(5), smtp_tls_wrappermode",
        ),
        (25 | 587, true) => tell(
            Severity::Error,
            "outbound.relay-tls",
            format!(
                "smtp_tls_wrappermode = yes begins with TLS, and port {} does not",
                relay.port
            ),
            "set smtp_tls_wrappermode = no in main.cf, or take port 465",
            "postconf(5), smtp_tls_wrappermode",
        ),
        _ => {}
    }
    let has_login = is_yes("smtp_sasl_auth_enable");
    if !has_login && matches!(relay.port, 465 | 587) {
        tell(
            Severity::Warning,
            "outbound.relay-login",
            format!(
                "port {} is for those who log in, and Postfix does not",
                relay.port
            ),
            "set smtp_sasl_auth_enable = yes, smtp_sasl_password_maps and smtp_sasl_security_options = noanonymous in main.cf, \
             unless the relay knows this host's address",
            "postconf(5), smtp_sasl_auth_enable",
        );
    }
    if has_login && value("smtp_sasl_password_maps").is_empty() {
        tell(
            Severity::Error,
            "outbound.relay-login",
            "smtp_sasl_auth_enable = yes without smtp_sasl_password_maps: there is nothing to log in with"
                .to_owned(),
            "name the table with `[host]:port user:password` in smtp_sasl_password_maps",
            "postconf(5), smtp_sasl_password_maps",
        );
    }
    let level = value("smtp_tls_security_level");
    if has_login && !is_mandatory(&level) && !is_yes("smtp_enforce_tls") {
        tell(
            Severity::Warning,
            "outbound.relay-tls",
            format!(
                "smtp_tls_security_level is `{level}`: whoever sits between takes STARTTLS away and reads the password"
            ),
            "set smtp_tls_security_level = encrypt in main.cf (secure, where the relay's certificate is for its name)",
            "postconf(5), smtp_tls_security_level",
        );
    }
    // Within TLS the second list holds, which by default is the first.
    let options = value("smtp_sasl_tls_security_options");
    if has_login && words(&options).any(|word| word.eq_ignore_ascii_case("noplaintext")) {
        tell(
            Severity::Warning,
            "outbound.relay-login",
            "`noplaintext` leaves PLAIN and LOGIN out, and most relays offer nothing else: Postfix then says \"no mechanism \
             available\""
                .to_owned(),
            "set smtp_sasl_security_options = noanonymous in main.cf: the password travels within TLS",
            "postconf(5), smtp_sasl_security_options",
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::syntax::MasterCf;

    #[test]
    fn reads_relayhost_as_postfix_does() {
        let check = |value: &str, expected: &[Result<(&str, bool, u16), ()>]| {
            let read: Vec<_> = RelayHost::list(value, &Host::default(), "")
                .into_iter()
                .map(|relay| {
                    relay
                        .map(|relay| (relay.host, relay.by_mx, relay.port))
                        .map_err(|_| ())
                })
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|one| one.map(|(host, by_mx, port)| (host.to_owned(), by_mx, port)))
                .collect();
            assert_eq!(read, expected, "{value}");
        };
        check("", &[]);
        check("[SMTP.isp.test]:587", &[Ok(("smtp.isp.test", false, 587))]);
        check("[smtp.isp.test]:submission", &[Ok(("smtp.isp.test", false, 587))]);
        check("isp.test", &[Ok(("isp.test", true, 25))]);
        check("isp.test:465", &[Ok(("isp.test", true, 465))]);
        check("[2001:db8::1]", &[Ok(("2001:db8::1", false, 25))]);
        check("[ipv6:2001:db8::1]:2525", &[Ok(("2001:db8::1", false, 2525))]);
        check(
            "[a.test]:587, [b.test]",
            &[Ok(("a.test", false, 587)), Ok(("b.test", false, 25))],
        );
        check("[a.test", &[Err(())]);
        check("[a.test]587", &[Err(())]);
        check("[]:587", &[Err(())]);
        check(":587", &[Err(())]);
        check("a.test:nothing-known", &[Err(())]);
    }

    #[test]
    fn judges_login_and_tls() {
        let good = "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = lmdb:/x\n\
                    smtp_tls_security_level = encrypt\nsmtp_sasl_tls_security_options = noanonymous\n";
        let check = |relay: &str, further: &str, master_cf: &str, expected: &[(&str, Severity)]| {
            let values = Values::parse((good.to_owned() + further).as_bytes());
            let services = MasterCf::parse(master_cf.as_bytes()).services();
            let relay = RelayHost::parse(relay, &Host::default(), "").unwrap();
            let found: Vec<_> = judge(&relay, &services, &values)
                .into_iter()
                .map(|finding| (finding.id, finding.severity))
                .collect();
            assert_eq!(found, expected, "{} {further}", relay.text);
        };
        let tls = |severity| [("outbound.relay-tls", severity)];
        let login = |severity| [("outbound.relay-login", severity)];
        check("[a.test]:587", "", "", &[]);
        check("[a.test]:465", "", "", &tls(Severity::Error));
        check("[a.test]:465", "smtp_tls_wrappermode = yes\n", "", &[]);
        check(
            "[a.test]:587",
            "smtp_tls_wrappermode = yes\n",
            "",
            &tls(Severity::Error),
        );
        check(
            "[a.test]:465",
            "",
            "smtp unix - - n - - smtp\n  -o smtp_tls_wrappermode=yes\n",
            &[],
        );
        check(
            "[a.test]:587",
            "smtp_sasl_auth_enable = no\n",
            "",
            &login(Severity::Warning),
        );
        check("[a.test]", "smtp_sasl_auth_enable = no\n", "", &[]);
        check(
            "[a.test]:587",
            "smtp_sasl_password_maps =\n",
            "",
            &login(Severity::Error),
        );
        check(
            "[a.test]:587",
            "smtp_tls_security_level = may\n",
            "",
            &tls(Severity::Warning),
        );
        check(
            "[a.test]:587",
            "smtp_sasl_tls_security_options = noplaintext, noanonymous\n",
            "",
            &login(Severity::Warning),
        );
    }
}
