//! The IMAP and POP3 side of a probe: until TLS is up, and one question within it. Nobody logs in.
//!
//! RFC 9051, 6.2.1 (IMAP STARTTLS) and RFC 2595, 4 (POP3 STLS); RFC 2449, 5 (CAPA). Limits of size and time are those of
//! [`Conversation`].

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    client::Ended,
    sighting::Stage,
    smtp::{Conversation, TEXT_LIMIT},
};

/// How a mailbox is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieval {
    /// RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
}

/// What a server answered to one command.
struct Answer {
    /// The line that ends it, or begins it in POP3.
    status: String,
    is_good: bool,
    /// The other lines.
    lines: Vec<String>,
}

impl Retrieval {
    /// Greets in clear text and asks for TLS; when it is granted, the handshake is next.
    ///
    /// # Errors
    /// Where it ended, and why.
    pub async fn start_tls<S>(self, talk: &mut Conversation<S>) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.greeting(talk)
            .await
            .map_err(|reason| (Stage::Greeting, reason))?;
        let offered = self
            .ask(talk, "a1", self.capability())
            .await
            .map_err(|reason| (Stage::Ehlo, reason))?;
        let (command, name) = match self {
            Self::Imap => ("STARTTLS", "STARTTLS"),
            Self::Pop3 => ("STLS", "STLS"),
        };
        // An old POP3 server does not know CAPA; it may know STLS all the same.
        if offered.is_good && !offered.offers(name) {
            self.log_out(talk).await;
            return Err((Stage::NoStartTls, format!("the server does not offer {name}")));
        }
        let answer = self
            .ask(talk, "a2", command)
            .await
            .map_err(|reason| (Stage::StartTlsRefused, reason))?;
        if !answer.is_good {
            self.log_out(talk).await;
            let reason = format!("{command} is answered {}", cut(&answer.status));
            return Err((Stage::StartTlsRefused, reason));
        }
        Ok(())
    }

    /// Asks within TLS what the server can do, so that one that shakes hands and then is mute is noticed; logs out.
    ///
    /// # Errors
    /// In words, when it does not answer well.
    pub async fn talk_within<S>(self, talk: &mut Conversation<S>, greeting: Greeting) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if greeting == Greeting::Within {
            self.greeting(talk).await?;
        }
        let answer = self.ask(talk, "a3", self.capability()).await?;
        self.log_out(talk).await;
        match answer.is_good || self == Self::Pop3 {
            true => Ok(()),
            false => Err(format!("CAPABILITY is answered {}", cut(&answer.status))),
        }
    }

    fn capability(self) -> &'static str {
        match self {
            Self::Imap => "CAPABILITY",
            Self::Pop3 => "CAPA",
        }
    }

    /// Reads the greeting.
    async fn greeting<S>(self, talk: &mut Conversation<S>) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let line = talk.text().await?;
        let is_good = match self {
            Self::Imap => has_word(&line, "* OK") || has_word(&line, "* PREAUTH"),
            Self::Pop3 => has_word(&line, "+OK"),
        };
        match is_good {
            true => Ok(()),
            false => Err(format!("the greeting is {}", cut(&line))),
        }
    }

    /// Sends a command and reads all of its answer.
    async fn ask<S>(self, talk: &mut Conversation<S>, tag: &str, command: &str) -> Result<Answer, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut answer = Answer {
            status: String::new(),
            is_good: false,
            lines: Vec::new(),
        };
        match self {
            Self::Imap => {
                talk.write(format!("{tag} {command}\r\n").as_bytes()).await?;
                loop {
                    let line = talk.text().await?;
                    let Some(status) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) else {
                        answer.lines.push(line);
                        continue;
                    };
                    answer.is_good = has_word(status, "OK");
                    answer.status = status.to_owned();
                    return Ok(answer);
                }
            }
            Self::Pop3 => {
                talk.write(format!("{command}\r\n").as_bytes()).await?;
                answer.status = talk.text().await?;
                answer.is_good = has_word(&answer.status, "+OK");
                while answer.is_good && command == "CAPA" {
                    match talk.text().await?.as_str() {
                        "." => break,
                        line => answer.lines.push(line.to_owned()),
                    }
                }
                Ok(answer)
            }
        }
    }

    /// Ends it politely; it is over either way.
    async fn log_out<S>(self, talk: &mut Conversation<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let command: &[u8] = match self {
            Self::Imap => b"a9 LOGOUT\r\n",
            Self::Pop3 => b"QUIT\r\n",
        };
        talk.hurry();
        if talk.write(command).await.is_ok() {
            let _ = talk.text().await;
        }
    }
}

/// Where the server says its greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It has said it in clear text.
    Before,
    /// Within TLS.
    Within,
}

impl Answer {
    /// Returns whether a capability is among what was answered.
    fn offers(&self, name: &str) -> bool {
        let words = self.lines.iter().flat_map(|line| line.split_whitespace());
        words.into_iter().any(|word| word.eq_ignore_ascii_case(name))
    }
}

/// Returns as much of a line as is shown.
fn cut(line: &str) -> String {
    line.chars().take(TEXT_LIMIT).collect()
}

/// Returns whether a line begins with these words, in any case.
fn has_word(line: &str, words: &str) -> bool {
    let begins = line
        .get(..words.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(words));
    begins
        && line
            .get(words.len()..)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;

    /// Lets a server say all of it at once, and returns where the client ended and what the server heard.
    async fn hold(retrieval: Retrieval, says: &str) -> (Result<(), Ended>, String) {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(says.as_bytes()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut talk = Conversation::new(near, Duration::from_millis(200), deadline);
        let ended = retrieval.start_tls(&mut talk).await;
        drop(talk);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        (ended, heard)
    }

    #[tokio::test]
    async fn asks_for_tls_where_it_is_offered() {
        let capable = "* OK ready\r\n* CAPABILITY IMAP4rev1 StartTLS\r\na1 OK done\r\na2 OK begin\r\n";
        let (ended, heard) = hold(Retrieval::Imap, capable).await;
        assert_eq!(
            (ended, heard.as_str()),
            (Ok(()), "a1 CAPABILITY\r\na2 STARTTLS\r\n")
        );
        let (ended, heard) = hold(Retrieval::Pop3, "+OK\r\n+OK\r\nUIDL\r\nSTLS\r\n.\r\n+OK\r\n").await;
        assert_eq!((ended, heard.as_str()), (Ok(()), "CAPA\r\nSTLS\r\n"));
        // RFC 2449 came after STLS.
        let (ended, _) = hold(Retrieval::Pop3, "+OK\r\n-ERR what\r\n+OK\r\n").await;
        assert_eq!(ended, Ok(()));
    }

    #[tokio::test]
    async fn tells_where_and_why_there_is_no_tls() {
        let check = async |retrieval, says: &str, stage: Stage, reason: &str| {
            let (ended, _) = hold(retrieval, says).await;
            let (at, why) = ended.unwrap_err();
            assert_eq!(at, stage, "{says:?}: {why}");
            assert!(why.contains(reason), "{says:?}: {why}");
        };
        let (imap, pop3) = (Retrieval::Imap, Retrieval::Pop3);
        check(imap, "", Stage::Greeting, "said nothing").await;
        check(
            imap,
            "220 mail ESMTP\r\n",
            Stage::Greeting,
            "the greeting is 220 mail",
        )
        .await;
        check(imap, "* BYE full\r\n", Stage::Greeting, "* BYE full").await;
        check(
            imap,
            "* OK\r\n* CAPABILITY IMAP4rev1\r\na1 OK\r\n",
            Stage::NoStartTls,
            "not offer STARTTLS",
        )
        .await;
        let refused = "* OK\r\n* CAPABILITY STARTTLS\r\na1 OK\r\na2 NO not now\x1b\r\n";
        check(
            imap,
            refused,
            Stage::StartTlsRefused,
            "answered NO not now\\u{1b}",
        )
        .await;
        check(imap, "* OK\r\n* x\r\n", Stage::Ehlo, "said nothing").await;
        check(pop3, "-ERR no\r\n", Stage::Greeting, "the greeting is -ERR no").await;
        check(
            pop3,
            "+OK\r\n+OK\r\nUIDL\r\n.\r\n",
            Stage::NoStartTls,
            "not offer STLS",
        )
        .await;
        check(
            pop3,
            "+OK\r\n+OK\r\nSTLS\r\n.\r\n-ERR\r\n",
            Stage::StartTlsRefused,
            "STLS is answered -ERR",
        )
        .await;
        check(pop3, "+OK\r\n+OK\r\nSTLS\r\n", Stage::Ehlo, "said nothing").await;
    }

    #[tokio::test]
    async fn one_that_is_mute_within_tls_is_told() {
        let (near, mut far) = tokio::io::duplex(4096);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut talk = Conversation::new(near, Duration::from_millis(100), deadline);
        far.write_all(b"* OK ready\r\na3 BAD what\r\n").await.unwrap();
        let told = Retrieval::Imap.talk_within(&mut talk, Greeting::Within).await;
        assert_eq!(told, Err("CAPABILITY is answered BAD what".to_owned()));
        let told = Retrieval::Imap.talk_within(&mut talk, Greeting::Before).await;
        assert!(told.unwrap_err().contains("said nothing"));
    }
}
