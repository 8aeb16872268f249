//! Submits one message as a mail program does: TLS, who the server is, login, envelope, message.
//!
//! The handshake accepts every chain, and so it is judged here before a password or a message is sent. The password goes
//! over TLS alone, and is in no error.
//!
//! RFC 6409 (submission), RFC 4954 (AUTH), RFC 4616 (PLAIN), RFC 8314 (TLS).

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use zeroize::Zeroizing;

use super::{
    client::{AfterHandshake, Client, describe},
    sighting::{Handshake, Reply, Stage},
    smtp::{Conversation, stuffed},
    target::Target,
    trust::{self, Roots},
};
use crate::model::{
    certificate::{Certificate, Validity},
    name::DomainName,
};

/// The longest command line that every server takes, in octets (RFC 4954, 4: 12288 for AUTH; older ones have 512).
const COMMAND_LIMIT: usize = 500;

/// Who logs in. No `Debug`: it holds the password.
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<Vec<u8>>,
}

/// How the server's certificate is judged.
#[derive(Clone, Copy)]
pub enum Verification<'a> {
    /// It has to be for this name and lead to one of these roots.
    Demanded {
        /// The name.
        name: &'a DomainName,
        /// The roots.
        roots: &'a Roots,
        /// The present.
        now: OffsetDateTime,
    },
    /// It is not: the operator wants it so.
    Waived,
}

/// What is submitted.
pub struct Submission<'a> {
    /// How the certificate is judged.
    pub verification: Verification<'a>,
    /// Who logs in; `None`: nobody.
    pub login: Option<&'a Login>,
    /// The envelope's sender.
    pub from: &'a str,
    /// The envelope's recipient.
    pub to: &'a str,
    /// Header and body.
    pub message: &'a str,
    /// How long all of it may take.
    pub within: Duration,
}

/// A message that the server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What the server said at last; most name the queue there.
    pub reply: Reply,
    /// How TLS was negotiated.
    pub handshake: Handshake,
    /// The mechanism that was logged in by.
    pub mechanism: Option<&'static str>,
}

/// Where a submission ended, in the order of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// No connection, or no SMTP on it.
    Connect,
    /// No TLS: nothing secret may be said.
    Tls,
    /// The certificate is not the server's, or nobody trusts it.
    Certificate,
    /// The server offers no login that we know.
    NoLogin,
    /// The login was refused.
    Login,
    /// The sender was refused.
    Sender,
    /// The recipient was refused.
    Recipient,
    /// The message was refused.
    Message,
}

/// Why a submission came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where.
    pub step: Step,
    /// In words fit for a terminal.
    pub reason: String,
    /// What the server said, where it said something.
    pub reply: Option<Reply>,
}

impl Refused {
    fn new(step: Step, reason: impl Into<String>) -> Self {
        Self {
            step,
            reason: reason.into(),
            reply: None,
        }
    }

    fn by(step: Step, command: &str, reply: Reply) -> Self {
        Self {
            step,
            reason: format!("{command} is answered {reply}"),
            reply: Some(reply),
        }
    }
}

/// Submits a message to one address of a server.
///
/// # Errors
/// Where it ended; the message was then not taken.
pub async fn submit(
    client: &Client,
    target: &Target,
    address: SocketAddr,
    submission: &Submission<'_>,
) -> Result<Accepted, Refused> {
    let deadline = Instant::now() + submission.within;
    let begun = client.begin(target, address, deadline).await;
    let (stream, after) = begun.map_err(|(stage, reason)| {
        let step = match stage {
            Stage::Resolve | Stage::Connect | Stage::Greeting | Stage::Ehlo => Step::Connect,
            Stage::NoStartTls | Stage::StartTlsRefused | Stage::Handshake => Step::Tls,
        };
        Refused::new(step, format!("while {}: {reason}", stage.describe()))
    })?;
    let handshake = describe(&stream).map_err(|reason| Refused::new(Step::Tls, reason))?;
    let verdict = match submission.verification {
        Verification::Waived => Ok(()),
        Verification::Demanded { name, roots, now } => verify(&handshake.chain, name, roots, now),
    };
    let mut talk = Talk {
        // A filter that looks at the message before it is taken may need its time.
        smtp: Conversation::new(stream, submission.within, deadline),
        submission,
    };
    let held = match verdict {
        Err(reason) => Err(Refused::new(Step::Certificate, reason)),
        Ok(()) => talk.hold(after, client.ehlo_name()).await,
    };
    talk.smtp.quit().await;
    let (reply, mechanism) = held?;
    Ok(Accepted {
        reply,
        handshake,
        mechanism,
    })
}

/// Judges a certificate as a mail program does.
///
/// # Errors
/// Why it would warn, in words.
pub fn verify(
    chain: &[Vec<u8>],
    name: &DomainName,
    roots: &Roots,
    now: OffsetDateTime,
) -> Result<(), String> {
    let leaf = chain
        .first()
        .ok_or_else(|| "the server sent no certificate".to_owned())?;
    let leaf = Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    if let Some(reason) = trust::judge(chain, roots, now).reason() {
        return Err(reason);
    }
    match leaf.validity_at(now) {
        Validity::Valid => {}
        Validity::Expired => return Err(format!("it expired on {}", leaf.not_after.date())),
        Validity::NotYet => return Err(format!("it is valid only from {}", leaf.not_before.date())),
    }
    if leaf.covers(name) {
        Ok(())
    } else {
        let names: Vec<&str> = leaf.dns_names.iter().take(5).map(String::as_str).collect();
        Err(format!("it is for {}, not for {name}", names.join(", ")))
    }
}

/// The conversation within TLS.
struct Talk<'a, S> {
    smtp: Conversation<S>,
    submission: &'a Submission<'a>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn hold(
        &mut self,
        after: AfterHandshake,
        ehlo: &DomainName,
    ) -> Result<(Reply, Option<&'static str>), Refused> {
        let lost = |reason: String| Refused::new(Step::Connect, reason);
        if after == AfterHandshake::Greeting {
            let greeting = self.smtp.reply().await.map_err(lost)?;
            if greeting.code != 220 {
                return Err(Refused::by(Step::Connect, "the connection", greeting));
            }
        }
        let capabilities = self.smtp.command(&format!("EHLO {ehlo}")).await.map_err(lost)?;
        if capabilities.code != 250 {
            return Err(Refused::by(Step::Connect, "EHLO", capabilities));
        }
        let mechanism = match self.submission.login {
            Some(login) => Some(self.log_in(login, &capabilities).await?),
            None => None,
        };
        let (from, to) = (self.submission.from, self.submission.to);
        self.step(Step::Sender, "MAIL FROM", &format!("MAIL FROM:<{from}>"), 250)
            .await?;
        self.step(Step::Recipient, "RCPT TO", &format!("RCPT TO:<{to}>"), 250)
            .await?;
        self.step(Step::Message, "DATA", "DATA", 354).await?;
        let sent = self.smtp.send(&stuffed(self.submission.message)).await;
        let reply = sent.map_err(|reason| {
            let reason = format!("after the message {reason}; the server may have taken it all the same");
            Refused::new(Step::Message, reason)
        })?;
        match reply.code {
            250..300 => Ok((reply, mechanism)),
            _ => Err(Refused::by(Step::Message, "the message", reply)),
        }
    }

    async fn step(&mut self, step: Step, name: &str, command: &str, wanted: u16) -> Result<(), Refused> {
        let reply = self.smtp.command(command).await;
        let reply = reply.map_err(|reason| Refused::new(step, format!("{name}: {reason}")))?;
        // 251: it will forward.
        if reply.code == wanted || (wanted == 250 && reply.code == 251) {
            Ok(())
        } else {
            Err(Refused::by(step, name, reply))
        }
    }

    /// Logs in by PLAIN or LOGIN, whichever is offered first in this order.
    async fn log_in(&mut self, login: &Login, capabilities: &Reply) -> Result<&'static str, Refused> {
        let offered = mechanisms(capabilities);
        let has = |name: &str| offered.iter().any(|one| one.eq_ignore_ascii_case(name));
        if has("PLAIN") {
            self.log_in_plain(login).await.map(|()| "PLAIN")
        } else if has("LOGIN") {
            self.log_in_login(login).await.map(|()| "LOGIN")
        } else if offered.is_empty() {
            Err(Refused::new(
                Step::NoLogin,
                "the server offers no AUTH within TLS",
            ))
        } else {
            let offered = offered.join(", ");
            Err(Refused::new(
                Step::NoLogin,
                format!("the server offers AUTH by {offered} alone, and mailcert knows PLAIN and LOGIN"),
            ))
        }
    }

    async fn log_in_plain(&mut self, login: &Login) -> Result<(), Refused> {
        let mut identity = Zeroizing::new(vec![0]);
        identity.extend(login.user.as_bytes());
        identity.push(0);
        identity.extend(login.password.iter());
        let response = Zeroizing::new(STANDARD.encode(&*identity));
        if response.len() + "AUTH PLAIN ".len() <= COMMAND_LIMIT {
            return self.secret("AUTH PLAIN ", &response, 235).await;
        }
        self.secret("AUTH PLAIN", "", 334).await?;
        self.secret("", &response, 235).await
    }

    async fn log_in_login(&mut self, login: &Login) -> Result<(), Refused> {
        self.secret("AUTH LOGIN", "", 334).await?;
        self.secret("", &STANDARD.encode(&login.user), 334).await?;
        let password = Zeroizing::new(STANDARD.encode(&*login.password));
        self.secret("", &password, 235).await
    }

    /// Sends a line that leaves memory with its last use.
    async fn secret(&mut self, command: &str, response: &str, wanted: u16) -> Result<(), Refused> {
        let mut line = Zeroizing::new(Vec::with_capacity(command.len() + response.len() + 2));
        line.extend(command.as_bytes());
        line.extend(response.as_bytes());
        line.extend(b"\r\n");
        let reply = self.smtp.send(&line).await;
        let reply = reply.map_err(|reason| Refused::new(Step::Login, format!("AUTH: {reason}")))?;
        if reply.code == wanted {
            Ok(())
        } else {
            Err(Refused::by(Step::Login, "AUTH", reply))
        }
    }
}

/// Returns the mechanisms that a server offers; `AUTH=` is how some old ones write it.
fn mechanisms(capabilities: &Reply) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in capabilities.lines.iter().skip(1) {
        let mut words = line.split(|c: char| c == '=' || c.is_whitespace());
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("AUTH")) {
            for word in words.filter(|word| !word.is_empty()) {
                if !found.iter().any(|known| known == word) {
                    found.push(word.to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{Identity, Pki, Script, Server, Smtp};

    #[test]
    fn reads_what_is_offered() {
        let check = |lines: &[&str], expected: &[&str]| {
            let reply = Reply {
                code: 250,
                lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            };
            assert_eq!(mechanisms(&reply), expected, "{lines:?}");
        };
        check(&["AUTH", "SIZE 1"], &[]);
        check(&["x", "AUTH PLAIN LOGIN"], &["PLAIN", "LOGIN"]);
        check(
            &["x", "auth plain", "AUTH=PLAIN LOGIN"],
            &["plain", "PLAIN", "LOGIN"],
        );
        check(&["x", "AUTHX PLAIN"], &[]);
    }

    fn ehlo(auth: &'static str) -> Smtp {
        Smtp {
            ehlo: auth,
            ..Smtp::good(Identity::self_signed("mail.example.test"))
        }
    }

    async fn outcome(smtp: Smtp, verification: Verification<'_>) -> (Result<Accepted, Refused>, Vec<String>) {
        let server = Server::start(move |_| Script::Smtp(smtp.clone())).await;
        let login = Login {
            user: "alice".to_owned(),
            password: Zeroizing::new(b"secret".to_vec()),
        };
        let submission = Submission {
            verification,
            login: Some(&login),
            from: "alice@example.test",
            to: "bob@example.test",
            message: "Subject: x\n\n.\n",
            within: Duration::from_secs(20),
        };
        let client = Client::new("probe.example.test".parse().unwrap()).unwrap();
        let name: DomainName = "mail.example.test".parse().unwrap();
        let target = Target::resolve(&server.endpoint("submission"), Some(&name))
            .await
            .remove(0);
        let submitted = submit(&client, &target, server.address, &submission).await;
        (submitted, server.heard())
    }

    #[tokio::test]
    async fn submits_a_message_and_keeps_the_password_within_tls() {
        // "\0alice\0secret"
        let plain = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";
        let (accepted, heard) = outcome(
            ehlo("250-x\r\n250-STARTTLS\r\n250 AUTH LOGIN PLAIN\r\n"),
            Verification::Waived,
        )
        .await;
        let accepted = accepted.unwrap();
        assert_eq!(accepted.reply.lines, ["2.0.0 Ok: queued as 4ABC"]);
        assert_eq!(accepted.mechanism, Some("PLAIN"));
        assert_eq!(
            heard,
            [
                "EHLO probe.example.test",
                "STARTTLS",
                "EHLO probe.example.test",
                plain,
                "MAIL FROM:<alice@example.test>",
                "RCPT TO:<bob@example.test>",
                "DATA",
                "Subject: x",
                "",
                "..",
                ".",
                "QUIT"
            ]
        );
        let (accepted, heard) = outcome(
            ehlo("250-x\r\n250-STARTTLS\r\n250 AUTH LOGIN\r\n"),
            Verification::Waived,
        )
        .await;
        assert_eq!(accepted.unwrap().mechanism, Some("LOGIN"));
        assert_eq!(heard[3..6], ["AUTH LOGIN", "YWxpY2U=", "c2VjcmV0"]);
    }

    #[tokio::test]
    async fn tells_where_it_ended() {
        let roots = Pki::new().roots();
        let name: DomainName = "mail.example.test".parse().unwrap();
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let demanded = Verification::Demanded {
            name: &name,
            roots: &roots,
            now,
        };
        let full = "250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n";
        let cases = [
            (ehlo(full), demanded, Step::Certificate, "its own issuer"),
            (
                ehlo("250 x\r\n"),
                Verification::Waived,
                Step::Tls,
                "does not offer STARTTLS",
            ),
            (
                ehlo("250-x\r\n250 STARTTLS\r\n"),
                Verification::Waived,
                Step::NoLogin,
                "no AUTH within TLS",
            ),
            (
                ehlo("250-x\r\n250-STARTTLS\r\n250 AUTH CRAM-MD5\r\n"),
                Verification::Waived,
                Step::NoLogin,
                "CRAM-MD5 alone",
            ),
            (
                Smtp {
                    rcpt: "550 5.1.1 no such user\r\n",
                    ..ehlo(full)
                },
                Verification::Waived,
                Step::Recipient,
                "RCPT TO is answered 550 5.1.1 no such user",
            ),
            (
                Smtp {
                    greeting: "554 5.7.1 go away\r\n",
                    ..ehlo(full)
                },
                Verification::Waived,
                Step::Connect,
                "554 5.7.1 go away",
            ),
        ];
        for (smtp, verification, step, words) in cases {
            let (submitted, heard) = outcome(smtp, verification).await;
            let refused = submitted.unwrap_err();
            assert!(
                refused.step == step && refused.reason.contains(words),
                "{refused:?}"
            );
            if step == Step::Certificate {
                assert!(!heard.iter().any(|line| line.starts_with("AUTH")), "{heard:?}");
            }
        }
    }

    #[test]
    fn a_certificate_is_judged_as_a_mail_program_does() {
        let pki = Pki::new();
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        let name: DomainName = "mail.example.test".parse().unwrap();
        let check = |chain: &[Vec<u8>], expected: &str| {
            let said = verify(chain, &name, &pki.roots(), day(2026))
                .err()
                .unwrap_or_default();
            assert!(
                said.contains(expected) && said.is_empty() == expected.is_empty(),
                "{said}"
            );
        };
        check(&pki.issue_for("mail.example.test").chain, "");
        check(
            &pki.issue_for("other.example.test").chain,
            "it is for other.example.test, not for",
        );
        check(
            &pki.issue(&["mail.example.test"], day(2001), day(2002)).chain,
            "it expired on 2002-01-01",
        );
        check(
            &pki.issue(&["mail.example.test"], day(2030), day(2040)).chain,
            "only from 2030",
        );
        check(&Pki::new().issue_for("mail.example.test").chain, "trusted root");
        check(&[], "no certificate");
    }
}
