//! One polite conversation with one address, and many at a time.
//!
//! Polite means: patience for servers that let strangers wait (postscreen(8), `postscreen_greet_wait`), EHLO with our
//! own name, SNI, few connections at a time, QUIT at the end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    dial::{self, Sources},
    retrieval::{Greeting, Retrieval},
    sighting::{Handshake, Outcome, Sighting, Stage, Transaction},
    smtp::{Conversation, seconds},
    target::Target,
    tls,
};
use crate::{
    env::progress::Tally,
    model::{
        certificate::{CHAIN_LIMIT, Sha256},
        endpoint::Scheme,
        name::DomainName,
    },
};

/// How many conversations are held at a time; Postfix lets one client have 50 (`smtpd_client_connection_count_limit`).
const CONCURRENT: usize = 8;

/// Asks mail ports. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    ehlo_name: DomainName,
    mail_domain: DomainName,
    limits: Limits,
    sources: Sources,
    tls: TlsConnector,
    turns: Arc<Semaphore>,
}

/// How long a conversation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until the TCP connection is up.
    pub connect: Duration,
    /// Until each answer is complete, the greeting and the handshake among them.
    pub answer: Duration,
    /// From the first to the last moment.
    pub conversation: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            conversation: Duration::from_secs(30),
        }
    }
}

/// What is said after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialogue {
    /// EHLO and QUIT.
    Greet,
    /// EHLO, `MAIL FROM:<>`, `RCPT TO:<postmaster@…>`, RSET and QUIT; in clear text where the server offers no
    /// STARTTLS. Restrictions are evaluated only here, and those for recipients only where the domain is the server's.
    Transaction,
}

impl Client {
    /// Makes a client that calls itself `ehlo_name`.
    ///
    /// # Errors
    /// When the TLS library refuses its own configuration; in words.
    pub fn new(ehlo_name: DomainName) -> Result<Self, String> {
        let config = tls::client_config().map_err(|error| error.to_string())?;
        Ok(Self {
            mail_domain: ehlo_name.clone(),
            ehlo_name,
            limits: Limits::default(),
            sources: Sources::default(),
            tls: TlsConnector::from(config),
            turns: Arc::new(Semaphore::new(CONCURRENT)),
        })
    }

    /// Sets the domain whose postmaster is named in a transaction; without it, our own name.
    #[must_use]
    pub fn mail_domain(mut self, domain: DomainName) -> Self {
        self.mail_domain = domain;
        self
    }

    /// Sets how long a conversation may take.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the addresses that it connects from.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Asks every target once, several at a time; the answers stand in the order of the targets.
    pub async fn ask_all(&self, targets: &[Target], dialogue: Dialogue) -> Vec<Sighting> {
        self.ask_many(targets, dialogue, &Tally::quiet()).await
    }

    /// Does what [`Self::ask_all`] does, and counts the answers.
    pub async fn ask_many(&self, targets: &[Target], dialogue: Dialogue, tally: &Tally) -> Vec<Sighting> {
        let mut tasks = JoinSet::new();
        for (index, target) in targets.iter().cloned().enumerate() {
            let client = self.clone();
            tasks.spawn(async move { (index, client.ask(&target, dialogue).await) });
        }
        let mut sightings = Vec::with_capacity(targets.len());
        while let Some(joined) = tasks.join_next().await {
            // A conversation neither panics nor is it aborted; were it so, its target would be missing here.
            sightings.extend(joined);
            tally.add_one();
        }
        sightings.sort_by_key(|(index, _)| *index);
        sightings.into_iter().map(|(_, sighting)| sighting).collect()
    }

    /// Connects, asks for TLS where it does not begin at once, and shakes hands; what is said then is the caller's business.
    pub(super) async fn begin(
        &self,
        target: &Target,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<(TlsStream<TcpStream>, AfterHandshake), Ended> {
        let mut talk = Talk {
            client: self,
            deadline,
            dialogue: Dialogue::Greet,
            transaction: None,
        };
        talk.encrypt(target, address).await
    }

    /// Returns the name that it calls itself by.
    pub(super) fn ehlo_name(&self) -> &DomainName {
        &self.ehlo_name
    }

    /// Asks one target, once.
    pub async fn ask(&self, target: &Target, dialogue: Dialogue) -> Sighting {
        // The semaphore is never closed; without a turn the conversation is held all the same.
        let _turn = self.turns.acquire().await.ok();
        let mut sighting = Sighting {
            endpoint: target.endpoint.clone(),
            address: target.address.as_ref().ok().copied(),
            outcome: Outcome::NotTls {
                stage: Stage::Resolve,
                reason: String::new(),
            },
            transaction: None,
        };
        sighting.outcome = match &target.address {
            Err(reason) => Outcome::NotTls {
                stage: Stage::Resolve,
                reason: reason.clone(),
            },
            Ok(address) => {
                let mut talk = Talk {
                    client: self,
                    deadline: Instant::now() + self.limits.conversation,
                    dialogue,
                    transaction: None,
                };
                let held = talk.hold(target, *address).await;
                sighting.transaction = talk.transaction;
                match held {
                    Ok(handshake) => Outcome::Tls(handshake),
                    Err((stage, reason)) => Outcome::NotTls { stage, reason },
                }
            }
        };
        sighting
    }
}

/// Where a conversation ended, and why.
pub(super) type Ended = (Stage, String);

/// One conversation.
struct Talk<'a> {
    client: &'a Client,
    deadline: Instant,
    dialogue: Dialogue,
    transaction: Option<Transaction>,
}

impl Talk<'_> {
    async fn hold(&mut self, target: &Target, address: SocketAddr) -> Result<Handshake, Ended> {
        let (stream, after) = self.encrypt(target, address).await?;
        let mut handshake = describe(&stream).map_err(|reason| (Stage::Handshake, reason))?;
        handshake.mute = match retrieval(target.endpoint.scheme) {
            None => self.talk_within(stream, after).await.err(),
            Some(retrieval) => {
                let mut talk = Conversation::new(stream, self.client.limits.answer, self.deadline);
                let greeting = match after {
                    AfterHandshake::Ehlo => Greeting::Before,
                    AfterHandshake::Greeting => Greeting::Within,
                };
                retrieval.talk_within(&mut talk, greeting).await.err()
            }
        };
        Ok(handshake)
    }

    async fn encrypt(
        &mut self,
        target: &Target,
        address: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, AfterHandshake), Ended> {
        let stream = self
            .connect(address)
            .await
            .map_err(|reason| (Stage::Connect, reason))?;
        let scheme = target.endpoint.scheme;
        let (stream, after) = match (scheme.is_implicit(), retrieval(scheme)) {
            (true, _) => (stream, AfterHandshake::Greeting),
            (false, None) => (self.start_tls(stream).await?, AfterHandshake::Ehlo),
            (false, Some(retrieval)) => {
                let mut talk = Conversation::new(stream, self.client.limits.answer, self.deadline);
                retrieval.start_tls(&mut talk).await?;
                let stream = talk
                    .into_stream()
                    .map_err(|reason| (Stage::StartTlsRefused, reason))?;
                (stream, AfterHandshake::Ehlo)
            }
        };
        Ok((self.shake_hands(stream, target, address.ip()).await?, after))
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, String> {
        let connecting = dial::connect(address, &self.client.sources);
        match timeout(self.client.limits.connect, connecting).await {
            Ok(Ok(stream)) => {
                // Without it a failure here would only cost speed.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "no connection within {} s",
                seconds(self.client.limits.connect)
            )),
        }
    }

    /// Greets in clear text and asks for STARTTLS (RFC 3207, 4).
    async fn start_tls(&mut self, stream: TcpStream) -> Result<TcpStream, Ended> {
        let mut smtp = Conversation::new(stream, self.client.limits.answer, self.deadline);
        let greeting = smtp.reply().await.map_err(|reason| (Stage::Greeting, reason))?;
        if greeting.code != 220 {
            smtp.quit().await;
            return Err((Stage::Greeting, format!("the greeting is {greeting}")));
        }
        let capabilities = smtp
            .command(&self.ehlo())
            .await
            .map_err(|reason| (Stage::Ehlo, reason))?;
        if capabilities.code != 250 {
            smtp.quit().await;
            return Err((Stage::Ehlo, format!("EHLO is answered {capabilities}")));
        }
        let offers_tls = capabilities.lines.iter().skip(1).any(|line| {
            line.split_whitespace()
                .next()
                .is_some_and(|keyword| keyword.eq_ignore_ascii_case("STARTTLS"))
        });
        if !offers_tls {
            self.transact(&mut smtp).await;
            smtp.quit().await;
            return Err((Stage::NoStartTls, "the server does not offer STARTTLS".to_owned()));
        }
        let answer = smtp
            .command("STARTTLS")
            .await
            .map_err(|reason| (Stage::StartTlsRefused, reason))?;
        if answer.code != 220 {
            smtp.quit().await;
            return Err((Stage::StartTlsRefused, format!("STARTTLS is answered {answer}")));
        }
        smtp.into_stream()
            .map_err(|reason| (Stage::StartTlsRefused, reason))
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        target: &Target,
        ip: IpAddr,
    ) -> Result<TlsStream<TcpStream>, Ended> {
        // With an address for a name, rustls sends no SNI.
        let name = target
            .server_name
            .as_ref()
            .and_then(|name| ServerName::try_from(name.as_str().to_owned()).ok());
        let name = name.unwrap_or_else(|| ServerName::from(ip));
        let until = (Instant::now() + self.client.limits.answer).min(self.deadline);
        match timeout_at(until, self.client.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err((Stage::Handshake, tls::describe(&error))),
            Err(_) => {
                let limit = seconds(self.client.limits.answer);
                Err((
                    Stage::Handshake,
                    format!("the server did not finish the handshake within {limit} s"),
                ))
            }
        }
    }

    /// Says EHLO again (RFC 3207, 4.2), and what else is wanted.
    async fn talk_within(
        &mut self,
        stream: TlsStream<TcpStream>,
        after: AfterHandshake,
    ) -> Result<(), String> {
        let mut smtp = Conversation::new(stream, self.client.limits.answer, self.deadline);
        if after == AfterHandshake::Greeting {
            let greeting = smtp.reply().await?;
            if greeting.code != 220 {
                smtp.quit().await;
                return Err(format!("the greeting is {greeting}"));
            }
        }
        let capabilities = smtp.command(&self.ehlo()).await?;
        if capabilities.code == 250 {
            self.transact(&mut smtp).await;
        }
        smtp.quit().await;
        match capabilities.code {
            250 => Ok(()),
            _ => Err(format!("EHLO is answered {capabilities}")),
        }
    }

    /// Begins a mail transaction and drops it, where that is wanted.
    async fn transact<S>(&mut self, smtp: &mut Conversation<S>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        if self.dialogue != Dialogue::Transaction {
            return;
        }
        let mail = smtp.command("MAIL FROM:<>").await;
        let mut rcpt = None;
        if mail.as_ref().is_ok_and(|reply| reply.code == 250) {
            let recipient = format!("RCPT TO:<postmaster@{}>", self.client.mail_domain);
            rcpt = Some(smtp.command(&recipient).await);
        }
        if mail.is_ok() && !matches!(rcpt, Some(Err(_))) {
            // The answer tells nothing more.
            let _ = smtp.command("RSET").await;
        }
        self.transaction = Some(Transaction { mail, rcpt });
    }

    fn ehlo(&self) -> String {
        format!("EHLO {}", self.client.ehlo_name)
    }
}

/// Returns how mailboxes are read on an endpoint that is for that; `None` where mail is sent.
fn retrieval(scheme: Scheme) -> Option<Retrieval> {
    match scheme {
        Scheme::Imap | Scheme::Imaps => Some(Retrieval::Imap),
        Scheme::Pop3 | Scheme::Pop3s => Some(Retrieval::Pop3),
        Scheme::Smtp | Scheme::Submission | Scheme::Submissions => None,
    }
}

/// What the server says first once TLS is up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterHandshake {
    /// Nothing: it waits for a command.
    Ehlo,
    /// The greeting, which implicit TLS puts within.
    Greeting,
}

/// Reads from the session what was negotiated.
pub(super) fn describe(stream: &TlsStream<TcpStream>) -> Result<Handshake, String> {
    let (_, session) = stream.get_ref();
    let chain: Vec<Vec<u8>> = session
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .take(CHAIN_LIMIT)
        .map(|der| der.to_vec())
        .collect();
    let leaf = chain.first().ok_or("the server sent no certificate")?;
    let protocol = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = session
        .negotiated_cipher_suite()
        .map(|suite| format!("{:?}", suite.suite()))
        .unwrap_or_default();
    Ok(Handshake {
        leaf_sha256: Sha256::of(leaf),
        protocol,
        // rustls names the suites of TLS 1.3 apart; IANA writes TLS_ for both.
        cipher_suite: suite.replacen("TLS13_", "TLS_", 1),
        key_exchange: session
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name()))
            .unwrap_or_default(),
        mute: None,
        chain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::{After, Identity, Pki, Script, Server, Smtp};

    fn client() -> Client {
        let client = Client::new("probe.example.test".parse().unwrap()).unwrap();
        client.mail_domain("example.test".parse().unwrap())
    }

    async fn ask(server: &Server, scheme: &str, dialogue: Dialogue) -> Sighting {
        ask_by(&client(), server, scheme, dialogue).await
    }

    async fn ask_by(client: &Client, server: &Server, scheme: &str, dialogue: Dialogue) -> Sighting {
        let name = "mail.example.test".parse().unwrap();
        let targets = Target::resolve(&server.endpoint(scheme), Some(&name)).await;
        client.ask_all(&targets, dialogue).await.remove(0)
    }

    #[tokio::test]
    async fn tells_the_chain_as_served_and_says_goodbye() {
        let identity = Pki::new().issue_for("mail.example.test");
        let smtp = Smtp::good(identity.clone());
        let server = Server::start(move |_| Script::Smtp(smtp.clone())).await;
        let sighting = ask(&server, "smtp", Dialogue::Transaction).await;
        let Outcome::Tls(handshake) = &sighting.outcome else {
            panic!("{sighting:?}")
        };
        assert_eq!(handshake.chain, identity.chain);
        assert_eq!(handshake.leaf_sha256, identity.leaf());
        assert_eq!(handshake.protocol, "TLSv1.3");
        assert!(
            handshake.cipher_suite.starts_with("TLS_AES_"),
            "{}",
            handshake.cipher_suite
        );
        assert_eq!(sighting.accepts_mail(), Some(true));
        let heard = [
            "EHLO probe.example.test",
            "STARTTLS",
            "EHLO probe.example.test",
            "MAIL FROM:<>",
            "RCPT TO:<postmaster@example.test>",
            "RSET",
            "QUIT",
        ];
        assert_eq!(server.heard(), heard);
    }

    #[tokio::test]
    async fn speaks_implicit_tls() {
        let identity = Identity::self_signed("mail.example.test");
        let smtp = Smtp {
            implicit: true,
            ..Smtp::good(identity.clone())
        };
        let server = Server::start(move |_| Script::Smtp(smtp.clone())).await;
        let sighting = ask(&server, "submissions", Dialogue::Greet).await;
        assert_eq!(sighting.leaf(), Some(identity.leaf()), "{sighting:?}");
        assert_eq!(server.heard(), ["EHLO probe.example.test", "QUIT"]);
    }

    #[tokio::test]
    async fn shows_expired_and_self_signed_chains() {
        let day = |year| rcgen::date_time_ymd(year, 1, 1);
        for identity in [
            Pki::new().issue(&["x.test"], day(2001), day(2002)),
            Identity::self_signed("x.test"),
        ] {
            let smtp = Smtp::good(identity.clone());
            let server = Server::start(move |_| Script::Smtp(smtp.clone())).await;
            let sighting = ask(&server, "smtp", Dialogue::Greet).await;
            assert_eq!(sighting.leaf(), Some(identity.leaf()), "{sighting:?}");
        }
    }

    #[tokio::test]
    async fn tells_where_and_why_there_is_no_tls() {
        let pki = Pki::new();
        let good = Smtp::good(pki.issue_for("mail.example.test"));
        let mismatch = Identity {
            key: pki.issue_for("mail.example.test").key,
            ..pki.issue_for("mail.example.test")
        };
        let many_lines = "220-x\r\n".repeat(10_000);
        let cases: Vec<(Script, Stage, &str)> = vec![
            (Script::Close, Stage::Greeting, "closed the connection"),
            (Script::Say(vec![]), Stage::Greeting, "said nothing for 0.5 s"),
            (
                Script::Say(b"220 half a line".to_vec()),
                Stage::Greeting,
                "said nothing",
            ),
            (
                Script::Say(b"SSH-2.0-OpenSSH\r\n".to_vec()),
                Stage::Greeting,
                "not SMTP: SSH-2.0-OpenSSH",
            ),
            (
                Script::Say(b"\x1b]0;owned\x07\r\n".to_vec()),
                Stage::Greeting,
                "not SMTP: \\u{1b}]0;owned\\u{7}",
            ),
            (
                Script::Say(vec![b'2'; 100_000]),
                Stage::Greeting,
                "a line of more than 2048 bytes",
            ),
            (
                Script::Say(many_lines.into_bytes()),
                Stage::Greeting,
                "more than 65536 bytes",
            ),
            (
                Script::Say(b"554 5.7.1 go away\r\n".to_vec()),
                Stage::Greeting,
                "the greeting is 554 5.7.1 go away",
            ),
            (
                Script::Say(b"220-a\r\n250 b\r\n".to_vec()),
                Stage::Greeting,
                "mixed the codes 220 and 250",
            ),
            (
                Script::Smtp(Smtp {
                    ehlo: "502 5.5.2 no\r\n",
                    ..good.clone()
                }),
                Stage::Ehlo,
                "EHLO is answered 502",
            ),
            (
                Script::Smtp(Smtp {
                    ehlo: "250 x\r\n",
                    ..good.clone()
                }),
                Stage::NoStartTls,
                "does not offer STARTTLS",
            ),
            (
                Script::Smtp(Smtp {
                    starttls: "454 4.7.0 TLS not available\r\n",
                    ..good.clone()
                }),
                Stage::StartTlsRefused,
                "454 4.7.0 TLS not available",
            ),
            (
                Script::Smtp(Smtp {
                    starttls: "220 go\r\n250 injected\r\n",
                    ..good.clone()
                }),
                Stage::StartTlsRefused,
                "in clear text after its answer",
            ),
            (
                Script::Smtp(Smtp {
                    tls: After::Bytes(b"220 plain text\r\n"),
                    ..good.clone()
                }),
                Stage::Handshake,
                "not TLS",
            ),
            (
                // A fatal alert handshake_failure (RFC 8446, 6.2).
                Script::Smtp(Smtp {
                    tls: After::Bytes(b"\x15\x03\x03\x00\x02\x02\x28"),
                    ..good.clone()
                }),
                Stage::Handshake,
                "no common TLS",
            ),
            (
                Script::Smtp(Smtp {
                    tls: After::Bytes(b""),
                    ..good.clone()
                }),
                Stage::Handshake,
                "did not finish",
            ),
            (
                Script::Smtp(Smtp {
                    tls: After::Close,
                    ..good.clone()
                }),
                Stage::Handshake,
                "closed the connection",
            ),
            (
                Script::Smtp(Smtp {
                    tls: After::Tls(mismatch),
                    ..good
                }),
                Stage::Handshake,
                "does not belong",
            ),
        ];
        let impatient = client().limits(Limits {
            answer: Duration::from_millis(500),
            ..Limits::default()
        });
        for (script, stage, reason) in cases {
            let server = Server::start(move |_| script.clone()).await;
            // Only where nothing comes is the limit waited for; elsewhere a slow machine must not matter.
            let waits = reason.contains("nothing") || reason.contains("did not finish");
            let client = if waits { &impatient } else { &client() };
            let sighting = ask_by(client, &server, "smtp", Dialogue::Greet).await;
            let Outcome::NotTls {
                stage: seen,
                reason: said,
            } = &sighting.outcome
            else {
                panic!("{reason}")
            };
            assert!(*seen == stage && said.contains(reason), "{reason}: {sighting:?}");
        }
    }

    #[tokio::test]
    async fn a_port_in_clear_text_still_shows_whether_it_takes_mail() {
        let good = Smtp {
            ehlo: "250 x\r\n",
            ..Smtp::good(Identity::self_signed("x.test"))
        };
        let fault = Smtp {
            rcpt: "451 4.3.5 Server configuration error\r\n",
            ..good.clone()
        };
        for (smtp, accepts) in [(good, true), (fault, false)] {
            let server = Server::start(move |_| Script::Smtp(smtp.clone())).await;
            let sighting = ask(&server, "smtp", Dialogue::Transaction).await;
            assert_eq!(
                (sighting.leaf(), sighting.accepts_mail()),
                (None, Some(accepts)),
                "{sighting:?}"
            );
        }
    }

    #[tokio::test]
    async fn closed_ports_and_unknown_names_are_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint: crate::model::endpoint::Endpoint = format!("smtp://{address}").parse().unwrap();
        let targets = Target::resolve(&endpoint, None).await;
        assert_eq!((targets.len(), targets[0].server_name.as_ref()), (1, None));
        let unknown = Target {
            address: Err("no such name".to_owned()),
            ..targets[0].clone()
        };
        let sightings = client()
            .ask_all(&[targets[0].clone(), unknown], Dialogue::Greet)
            .await;
        let stages: Vec<_> = sightings
            .iter()
            .map(|sighting| match &sighting.outcome {
                Outcome::NotTls { stage, .. } => *stage,
                Outcome::Tls(_) => panic!("{sighting:?}"),
            })
            .collect();
        assert_eq!(stages, [Stage::Connect, Stage::Resolve]);
    }
}
