//! TLS of mail that this host sends: level, protocols, ciphers, how much is logged. Pure.
//!
//! Optional TLS never gets better by asking for more: what cannot be negotiated is sent again in clear text. So protocols get
//! a floor, ciphers stay Postfix's default, and what an operator has set stricter is kept.
//!
//! Rules: postconf(5) of each parameter; RFC 7435 (opportunistic security); RFC 7672 (DANE for SMTP).

use super::{Desired, Setting, incoming::floor};
use crate::{
    config::{CipherGrade, OutgoingLevel, TlsVersion},
    postfix::values::{Values, Version},
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// How much is demanded of the other side.
    pub level: OutgoingLevel,
    /// What the resolver is worth, where `level` leans on it.
    pub validation: Validation,
    /// Which ciphers are offered where TLS is optional.
    pub ciphers: CipherGrade,
    /// `smtp_tls_loglevel`.
    pub loglevel: u32,
    /// The oldest protocol.
    pub minimum: TlsVersion,
}

/// Whether the resolver that is asked tells which answers are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It does not, or nobody could be asked; why.
    Absent(String),
    /// It does.
    Present,
}

impl Outgoing {
    /// Decides about every parameter of outgoing TLS.
    pub fn decide(&self, version: Version, values: &Values, desired: &mut Desired) {
        self.security_level(version, values, desired);
        let reason = "older protocols are historic (RFC 8996; postconf(5), smtp_tls_protocols)";
        for name in ["smtp_tls_protocols", "smtp_tls_mandatory_protocols"] {
            floor(name, self.minimum, version, values, reason, desired);
        }
        self.ciphers(values, desired);
        self.loglevel(values, desired);
    }

    fn security_level(&self, version: Version, values: &Values, desired: &mut Desired) {
        let present = values.get("smtp_tls_security_level");
        if present.is_empty() && values.is_yes("smtp_enforce_tls") {
            desired.notes.push(
                "smtp_enforce_tls = yes is obsolete since Postfix 2.3; smtp_tls_security_level is left empty so that \
                 TLS stays mandatory"
                    .to_owned(),
            );
            return;
        }
        if self.level == OutgoingLevel::Dane {
            match &self.validation {
                _ if version < Version::new(2, 11) => desired.notes.push(format!(
                    "outgoing_level = \"dane\" is not done: Postfix {version} does not know it, 2.11 does"
                )),
                Validation::Absent(why) => desired.notes.push(format!(
                    "outgoing_level = \"dane\" is not done, `may` is: {why}; DANE needs a validating resolver on this \
                     host (RFC 7672, 2.1.1)"
                )),
                Validation::Present => return Self::dane(present, values, desired),
            }
        }
        match present {
            "" | "none" => desired.settings.push(Setting {
                name: "smtp_tls_security_level",
                value: "may".to_owned(),
                reason: "mail is encrypted where the other side can; without it, it is sent in clear text (postconf(5), \
                         smtp_tls_security_level)",
            }),
            "encrypt" if values.get("relayhost").is_empty() => desired.notes.push(
                "smtp_tls_security_level = encrypt stays: mail to hosts without TLS is not delivered".to_owned(),
            ),
            _ => {}
        }
    }

    fn dane(present: &str, values: &Values, desired: &mut Desired) {
        match present {
            "" | "none" | "may" => desired.settings.push(Setting {
                name: "smtp_tls_security_level",
                value: "dane".to_owned(),
                reason: "servers that publish TLSA records are authenticated by them (RFC 7672; postconf(5), \
                         smtp_tls_security_level)",
            }),
            "dane" | "dane-only" => {}
            stricter => {
                desired.notes.push(format!(
                    "smtp_tls_security_level = {stricter} stays: `dane` would ask less of hosts without TLSA records"
                ));
                return;
            }
        }
        if values.get("smtp_dns_support_level") != "dnssec" {
            desired.settings.push(Setting {
                name: "smtp_dns_support_level",
                value: "dnssec".to_owned(),
                reason: "without it, `dane` is as good as `may` (postconf(5), smtp_tls_security_level)",
            });
        }
    }

    fn ciphers(&self, values: &Values, desired: &mut Desired) {
        let present = values.get("smtp_tls_ciphers");
        let (value, reason) = match self.ciphers {
            CipherGrade::High => ("high", "as outgoing_ciphers says"),
            CipherGrade::Medium => (
                "medium",
                "a handshake that fails for want of a cipher is followed by clear text (postconf(5), smtp_tls_ciphers)",
            ),
        };
        if self.ciphers == CipherGrade::High {
            desired.notes.push(
                "outgoing_ciphers = \"high\": to a host that has none of these ciphers, mail is sent in clear text"
                    .to_owned(),
            );
        }
        // Before Postfix 2.6 there is no such parameter, and nothing to set.
        if !present.is_empty() && present != value {
            desired.settings.push(Setting {
                name: "smtp_tls_ciphers",
                value: value.to_owned(),
                reason,
            });
        }
    }

    fn loglevel(&self, values: &Values, desired: &mut Desired) {
        let wanted = self.loglevel.to_string();
        // Since Postfix 3.12 features may follow the number.
        let present = values.get("smtp_tls_loglevel");
        if present.split(',').next().unwrap_or_default().trim() != wanted {
            desired.settings.push(Setting {
                name: "smtp_tls_loglevel",
                value: wanted,
                reason: "1 tells of each session whether it was encrypted and trusted; 2 and more are for problems alone \
                         (postconf(5), smtp_tls_loglevel)",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = "smtp_tls_ciphers = medium\nsmtp_tls_protocols = >=TLSv1.2\n\
                            smtp_tls_mandatory_protocols = >=TLSv1.2\nsmtp_tls_loglevel = 1\n";

    fn asked(level: OutgoingLevel, validation: Validation) -> Outgoing {
        Outgoing {
            level,
            validation,
            ciphers: CipherGrade::Medium,
            loglevel: 1,
            minimum: TlsVersion::V1_2,
        }
    }

    fn decide(outgoing: &Outgoing, main_cf: &str) -> (Vec<String>, usize) {
        let mut desired = Desired::default();
        let values = Values::parse(format!("{DEFAULTS}{main_cf}").as_bytes());
        outgoing.decide(Version::new(3, 7), &values, &mut desired);
        let settings = desired.settings.iter();
        let settings = settings
            .map(|one| format!("{}={}", one.name, one.value))
            .collect();
        (settings, desired.notes.len())
    }

    #[test]
    fn levels_are_raised_and_never_lowered() {
        let check = |level, validation, main_cf: &str, expected: &[&str], n_notes| {
            let found = decide(&asked(level, validation), main_cf);
            let expected = expected.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            assert_eq!(found, (expected, n_notes), "{main_cf:?}");
        };
        let may = |main_cf: &str, expected: &[&str], n_notes| {
            check(
                OutgoingLevel::May,
                Validation::Present,
                main_cf,
                expected,
                n_notes,
            );
        };
        let set_may = ["smtp_tls_security_level=may"];
        may("", &set_may, 0);
        may("smtp_tls_security_level = none\n", &set_may, 0);
        for kept in ["may", "dane", "dane-only", "verify", "secure"] {
            may(&format!("smtp_tls_security_level = {kept}\n"), &[], 0);
        }
        may("smtp_tls_security_level = encrypt\n", &[], 1);
        may("smtp_tls_security_level = encrypt\nrelayhost = [r]:587\n", &[], 0);
        may("smtp_enforce_tls = yes\n", &[], 1);
        let dane = |main_cf: &str, expected: &[&str], n_notes| {
            check(
                OutgoingLevel::Dane,
                Validation::Present,
                main_cf,
                expected,
                n_notes,
            );
        };
        let set_dane = ["smtp_tls_security_level=dane", "smtp_dns_support_level=dnssec"];
        dane("", &set_dane, 0);
        dane("smtp_tls_security_level = may\n", &set_dane, 0);
        dane("smtp_tls_security_level = dane\n", &set_dane[1..], 0);
        dane(
            "smtp_tls_security_level = dane-only\nsmtp_dns_support_level = dnssec\n",
            &[],
            0,
        );
        dane("smtp_tls_security_level = secure\n", &[], 1);
        let absent = || Validation::Absent("it says nothing".to_owned());
        check(OutgoingLevel::Dane, absent(), "", &set_may, 1);
        check(
            OutgoingLevel::Dane,
            absent(),
            "smtp_tls_security_level = dane\n",
            &[],
            1,
        );
    }

    #[test]
    fn the_guides_values_are_mended_unless_they_are_asked_for() {
        let guide = "smtp_tls_security_level = may\nsmtp_tls_ciphers = high\nsmtp_tls_loglevel = 2\n";
        let mut outgoing = asked(OutgoingLevel::May, Validation::Present);
        assert_eq!(
            decide(&outgoing, guide).0,
            ["smtp_tls_ciphers=medium", "smtp_tls_loglevel=1"]
        );
        outgoing.ciphers = CipherGrade::High;
        outgoing.loglevel = 2;
        assert_eq!(decide(&outgoing, guide), (vec![], 1));
        assert_eq!(
            decide(&outgoing, "smtp_tls_security_level = may\n").0,
            ["smtp_tls_ciphers=high", "smtp_tls_loglevel=2"]
        );
        outgoing.loglevel = 1;
        assert!(
            decide(&outgoing, &format!("{guide}smtp_tls_loglevel = 1,trace\n"))
                .0
                .is_empty()
        );
    }
}
