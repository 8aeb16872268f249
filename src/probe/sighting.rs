//! What one conversation with one address showed. Pure.

use std::{fmt, net::SocketAddr};

use serde::Serialize;

use crate::model::{certificate::Sha256, endpoint::Endpoint, lineage::Before};

/// One conversation with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The endpoint as it was asked for.
    pub endpoint: Endpoint,
    /// The address that was asked; `None` when the host's name has none.
    pub address: Option<SocketAddr>,
    /// How far TLS came.
    pub outcome: Outcome,
    /// The mail transaction that was begun and dropped again, where one was wanted and reached.
    pub transaction: Option<Transaction>,
}

/// How far TLS came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No TLS.
    NotTls {
        /// Where it ended.
        stage: Stage,
        /// Why, in words fit for a terminal.
        reason: String,
    },
    /// The handshake was completed.
    Tls(Handshake),
}

/// A completed handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The certificates in DER as they were sent; the first is the leaf.
    pub chain: Vec<Vec<u8>>,
    /// The digest of the first certificate.
    pub leaf_sha256: Sha256,
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: String,
    /// The cipher suite's IANA name.
    pub cipher_suite: String,
    /// The key exchange group's IANA name; empty when it is not known.
    pub key_exchange: String,
    /// Why the server did not answer EHLO after the handshake, where it did not.
    pub mute: Option<String>,
}

/// What the server said to MAIL and RCPT, in clear text where it offers no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The answer to `MAIL FROM:<>`.
    pub mail: Result<Reply, String>,
    /// The answer to `RCPT TO`; `None` when MAIL was refused.
    pub rcpt: Option<Result<Reply, String>>,
}

/// An SMTP reply (RFC 5321, 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// The lines' texts, fit for a terminal.
    pub lines: Vec<String>,
}

/// Where a conversation ended before TLS was up, in the order of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The host's name has no address.
    Resolve,
    /// No TCP connection.
    Connect,
    /// Connected; no greeting, or none that SMTP knows.
    Greeting,
    /// Greeted; EHLO was not answered well.
    Ehlo,
    /// EHLO answered without STARTTLS.
    NoStartTls,
    /// STARTTLS offered and then refused, such as `454 4.7.0 TLS not available due to local problem`.
    StartTlsRefused,
    /// The TLS handshake failed.
    Handshake,
}

impl Sighting {
    /// Returns the leaf that was served, when the handshake was completed.
    pub fn leaf(&self) -> Option<Sha256> {
        match &self.outcome {
            Outcome::NotTls { .. } => None,
            Outcome::Tls(handshake) => Some(handshake.leaf_sha256),
        }
    }

    /// Returns the endpoint with the address that was asked in the place of the name: what a baseline is kept by.
    pub fn asked(&self) -> Endpoint {
        match self.address {
            None => self.endpoint.clone(),
            Some(address) => Endpoint {
                scheme: self.endpoint.scheme,
                host: address.ip().to_string(),
                port: address.port(),
            },
        }
    }

    /// Returns whether the server takes part in mail transactions, as far as this conversation tells.
    ///
    /// A refusal counts as taking part: a submission port refuses strangers. A server fault or silence does not.
    pub fn accepts_mail(&self) -> Option<bool> {
        match (&self.outcome, &self.transaction) {
            (_, Some(transaction)) => Some(transaction.fault().is_none()),
            (Outcome::Tls(handshake), None) => handshake.mute.as_ref().map(|_| false),
            (Outcome::NotTls { stage, .. }, None) => match stage {
                Stage::Connect | Stage::Greeting | Stage::Ehlo => Some(false),
                Stage::Resolve | Stage::NoStartTls | Stage::StartTlsRefused | Stage::Handshake => None,
            },
        }
    }

    /// Returns what stands in the way of mail, in words, where [`Sighting::accepts_mail`] says no.
    pub fn fault(&self) -> Option<String> {
        match (&self.outcome, &self.transaction) {
            (_, Some(transaction)) => transaction.fault(),
            (Outcome::Tls(handshake), None) => handshake.mute.clone(),
            (Outcome::NotTls { reason, .. }, None) => self
                .accepts_mail()
                .is_some_and(|accepts| !accepts)
                .then(|| reason.clone()),
        }
    }

    /// Returns what is kept of this until after a change.
    pub fn before(&self) -> Before {
        Before {
            endpoint: self.asked(),
            server_name: None,
            leaf_sha256: self.leaf().map(String::from),
            accepts_mail: self.accepts_mail().unwrap_or(false),
        }
    }
}

impl Transaction {
    /// Returns why the transaction shows a broken server: a server fault or a lost connection, not a refusal.
    pub fn fault(&self) -> Option<String> {
        for (command, answer) in [("MAIL", Some(&self.mail)), ("RCPT", self.rcpt.as_ref())] {
            match answer {
                Some(Ok(reply)) if reply.is_server_fault() => {
                    return Some(format!("{command} is answered {reply}"));
                }
                Some(Err(reason)) => return Some(format!("{command}: {reason}")),
                Some(Ok(_)) | None => {}
            }
        }
        None
    }
}

impl Reply {
    /// Returns whether the server says that it is itself out of order: 421, or an enhanced status 4.3.Z (mail system
    /// status, RFC 3463, 3.4) such as Postfix's `451 4.3.5 Server configuration error`.
    ///
    /// `450 4.3.2` is none: postscreen(8) says it to every stranger that comes for the first time.
    pub fn is_server_fault(&self) -> bool {
        let status = self
            .lines
            .first()
            .and_then(|line| line.split_whitespace().next())
            .unwrap_or_default();
        self.code == 421 || (matches!(self.code, 451..500) && status.starts_with("4.3."))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

impl Stage {
    /// Returns the stage as the object of "while" in a sentence.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Resolve => "looking up the address",
            Self::Connect => "connecting",
            Self::Greeting => "waiting for the greeting",
            Self::Ehlo => "saying EHLO",
            Self::NoStartTls => "looking for STARTTLS",
            Self::StartTlsRefused => "asking for STARTTLS",
            Self::Handshake => "shaking hands for TLS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_server_faults_from_refusals() {
        let check = |code, line: &str, expected| {
            assert_eq!(
                Reply {
                    code,
                    lines: vec![line.to_owned()]
                }
                .is_server_fault(),
                expected,
                "{line}"
            );
        };
        check(451, "4.3.5 Server configuration error", true);
        check(451, "4.3.0 <a@b>: Temporary lookup failure", true);
        check(421, "mail.example.test Service not available", true);
        check(450, "4.3.2 Service currently unavailable", false);
        check(450, "4.2.0 <a@b>: Recipient address rejected: Greylisted", false);
        check(451, "4.7.1 try later", false);
        check(554, "5.7.1 <a@b>: Relay access denied", false);
        check(250, "4.3.5 strange", false);
    }
}
