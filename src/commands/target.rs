//! What `plan`, `apply` and `check` can be limited to. Pure.

use crate::error::{Error, Result};

/// A part of the host that can be planned and applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Certificates that are missing.
    Certificates,
    /// Records to publish.
    Dns,
    /// The configuration of Dovecot.
    Dovecot,
    /// Ports that others are to reach.
    Firewall,
    /// main.cf and master.cf.
    Postfix,
    /// What wakes `renew`.
    Timer,
}

impl Target {
    /// Every target, in the order of an apply.
    pub const ALL: [Self; 6] = [
        Self::Certificates,
        Self::Postfix,
        Self::Dovecot,
        Self::Firewall,
        Self::Dns,
        Self::Timer,
    ];

    /// Reads targets from the command line; none is all of them. The order of an apply is kept.
    ///
    /// # Errors
    /// Exit 2 for a word that is no target.
    pub fn parse(words: &[String]) -> Result<Vec<Self>> {
        let named: Vec<Self> = words.iter().map(|word| Self::one(word)).collect::<Result<_>>()?;
        let wanted = |target: &Self| named.is_empty() || named.contains(target);
        Ok(Self::ALL.into_iter().filter(wanted).collect())
    }

    fn one(word: &str) -> Result<Self> {
        match word {
            "certificates" => Ok(Self::Certificates),
            "dns" => Ok(Self::Dns),
            "dovecot" => Ok(Self::Dovecot),
            "firewall" => Ok(Self::Firewall),
            "postfix" => Ok(Self::Postfix),
            "timer" => Ok(Self::Timer),
            _ => Err(Error::usage(format!("`{}` is no target", word.escape_debug()))
                .remedy("name certificates, postfix, dovecot, firewall, dns or timer; without a target all of them are meant")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_an_apply() {
        let parse =
            |words: &[&str]| Target::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap(), Target::ALL);
        assert_eq!(
            parse(&["timer", "dovecot", "postfix"]).unwrap(),
            [Target::Postfix, Target::Dovecot, Target::Timer]
        );
        assert!(parse(&["postfx"]).is_err());
    }
}
