//! The SMTP side of a probe: commands out, replies in, within limits of size and time.
//!
//! RFC 5321, 4.2 (replies) and 4.5.3.1 (sizes, taken generously). A server can neither fill our memory nor keep us
//! waiting: a line, a conversation and the wait for each answer are bounded.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::sighting::Reply;
use crate::model::plan::printable_line;

/// The longest line that is read, in bytes; RFC 5321, 4.5.3.1.5 asks for 512.
const LINE_LIMIT: usize = 2048;

/// The most that is read in one conversation before TLS, and once more within it, in bytes.
const TOTAL_LIMIT: usize = 64 << 10;

/// The longest text of a server that is shown, in characters.
pub(super) const TEXT_LIMIT: usize = 300;

/// A stream on which SMTP is spoken.
pub struct Conversation<S> {
    stream: S,
    /// What was received and not yet read as a line.
    pending: Vec<u8>,
    received: usize,
    deadline: Instant,
    patience: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Begins on a stream; each answer may take as long as `patience`, all of them together until `deadline`.
    pub fn new(stream: S, patience: Duration, deadline: Instant) -> Self {
        Self {
            stream,
            pending: Vec::new(),
            received: 0,
            deadline,
            patience,
        }
    }

    /// Returns the stream for TLS to begin on.
    ///
    /// # Errors
    /// When the server sent more than it was asked: whoever sits between could have put it there before encryption
    /// began (RFC 3207, 6), and no honest server does it.
    pub fn into_stream(self) -> Result<S, String> {
        match self.pending.as_slice() {
            [] => Ok(self.stream),
            more => Err(format!(
                "the server sent {} bytes in clear text after its answer",
                more.len()
            )),
        }
    }

    /// Sends a command and reads the reply to it.
    ///
    /// # Errors
    /// In words, when the connection is lost, time runs out, or the answer is no SMTP reply.
    pub async fn command(&mut self, command: &str) -> Result<Reply, String> {
        self.send(format!("{command}\r\n").as_bytes()).await
    }

    /// Sends octets as they are, a line or a whole message, and reads the reply to them.
    ///
    /// # Errors
    /// As [`Conversation::command`].
    pub async fn send(&mut self, bytes: &[u8]) -> Result<Reply, String> {
        self.write(bytes).await?;
        self.reply().await
    }

    /// Sends octets, and reads nothing.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let until = self.until(self.patience);
        let sent = timeout_at(until, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err("the server takes no more data".to_owned()),
        }
    }

    /// Reads one line of another protocol than SMTP, fit for a terminal.
    pub(super) async fn text(&mut self) -> Result<String, String> {
        let until = self.until(self.patience);
        let started = Instant::now();
        let line = timeout_at(until, self.line())
            .await
            .map_err(|_| format!("the server said nothing for {} s", seconds(started.elapsed())))??;
        Ok(printable_line(&line, LINE_LIMIT))
    }

    /// Waits no longer than a moment from now on: what is left to say is politeness.
    pub(super) fn hurry(&mut self) {
        self.patience = self.patience.min(Duration::from_millis(500));
    }

    /// Reads one reply, which may have several lines.
    ///
    /// # Errors
    /// As [`Conversation::command`].
    pub async fn reply(&mut self) -> Result<Reply, String> {
        let until = self.until(self.patience);
        let started = Instant::now();
        let mut reply: Option<Reply> = None;
        loop {
            let line = timeout_at(until, self.line())
                .await
                .map_err(|_| format!("the server said nothing for {} s", seconds(started.elapsed())))??;
            let parsed = ReplyLine::parse(&line)?;
            let reply = reply.get_or_insert_with(|| Reply {
                code: parsed.code,
                lines: Vec::new(),
            });
            if reply.code != parsed.code {
                return Err(format!(
                    "the server mixed the codes {} and {} in one reply",
                    reply.code, parsed.code
                ));
            }
            reply.lines.push(parsed.text);
            if parsed.last {
                return Ok(reply.clone());
            }
        }
    }

    /// Says QUIT and waits a moment for the answer, so that the server does not log a lost connection.
    pub async fn quit(mut self) {
        self.hurry();
        // It is over either way.
        let _ = self.command("QUIT").await;
    }

    fn until(&self, patience: Duration) -> Instant {
        (Instant::now() + patience).min(self.deadline)
    }

    /// Reads a line without its end.
    async fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.pending.len() > LINE_LIMIT {
                return Err(format!(
                    "the server sent a line of more than {LINE_LIMIT} bytes: {}",
                    shown(&self.pending)
                ));
            }
            if self.received > TOTAL_LIMIT {
                return Err(format!("the server sent more than {TOTAL_LIMIT} bytes"));
            }
            let mut buffer = [0; 2048];
            let count = self
                .stream
                .read(&mut buffer)
                .await
                .map_err(|error| lost(&error))?;
            if count == 0 {
                return Err("the server closed the connection".to_owned());
            }
            self.received += count;
            self.pending.extend(buffer.iter().take(count));
        }
    }
}

/// Returns a message as it follows DATA: lines ended by CR LF, a dot before each that begins with one, and the dot that ends it
/// (RFC 5321, 4.5.2).
pub fn stuffed(message: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 64);
    for line in message.lines() {
        if line.starts_with('.') {
            wire.push(b'.');
        }
        // A carriage return within a line would be taken for its end by some.
        wire.extend(line.bytes().filter(|byte| *byte != b'\r'));
        wire.extend(b"\r\n");
    }
    wire.extend(b".\r\n");
    wire
}

/// One line of a reply.
struct ReplyLine {
    code: u16,
    text: String,
    last: bool,
}

impl ReplyLine {
    /// Parses `250-text`, `250 text` or `250` (RFC 5321, 4.2).
    fn parse(line: &[u8]) -> Result<Self, String> {
        let fail = || {
            format!(
                "the server answered with something that is not SMTP: {}",
                shown(line)
            )
        };
        let (digits, rest) = line.split_at_checked(3).ok_or_else(fail)?;
        let code = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|code| (200..600).contains(code))
            .ok_or_else(fail)?;
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(fail()),
        };
        Ok(Self {
            code,
            text: shown(text),
            last,
        })
    }
}

fn shown(bytes: &[u8]) -> String {
    printable_line(bytes, TEXT_LIMIT)
}

/// Tells in words how the connection was lost.
fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => super::tls::describe(error),
    }
}

/// Rounds to whole seconds for a sentence; less than one is shown as it is.
pub fn seconds(duration: Duration) -> String {
    if duration >= Duration::from_secs(1) {
        format!("{:.0}", duration.as_secs_f64())
    } else {
        format!("{:.1}", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_end_itself() {
        let check = |message: &str, expected: &str| {
            assert_eq!(
                String::from_utf8(stuffed(message)).unwrap(),
                expected,
                "{message:?}"
            );
        };
        check("", ".\r\n");
        check("a\nb\n", "a\r\nb\r\n.\r\n");
        check("a\r\nb", "a\r\nb\r\n.\r\n");
        check("a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n");
        check("..a\n.b", "...a\r\n..b\r\n.\r\n");
        check("a\r.\rb", "a.b\r\n.\r\n");
    }

    #[test]
    fn reads_reply_lines() {
        let check = |line: &[u8], expected: Option<(u16, &str, bool)>| {
            let parsed = ReplyLine::parse(line)
                .ok()
                .map(|line| (line.code, line.text, line.last));
            assert_eq!(
                parsed,
                expected.map(|(code, text, last)| (code, text.to_owned(), last)),
                "{line:?}"
            );
        };
        check(b"220 mail ESMTP", Some((220, "mail ESMTP", true)));
        check(b"250-STARTTLS", Some((250, "STARTTLS", false)));
        check(b"250", Some((250, "", true)));
        check(b"250 \x1b[31m", Some((250, "\\u{1b}[31m", true)));
        check(b"25", None);
        check(b"+OK ready", None);
        check(b"* OK IMAP4", None);
        check(b"999 no", None);
        check(b"2500", None);
        check(b"\x16\x03\x01\x02\x00", None);
    }
}
