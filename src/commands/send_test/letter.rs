//! The test message: RFC 5322 and MIME, marked as made by a program (RFC 3834). Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::model::{address::MailAddress, name::DomainName};

/// The longest encoded word, in octets (RFC 2047, 2), is 75; so many octets of text fit into one.
const WORD: usize = 45;
/// The longest subject, in characters.
const SUBJECT_LIMIT: usize = 200;

/// What the message is made of.
pub(super) struct Letter<'a> {
    pub from: &'a MailAddress,
    pub to: &'a MailAddress,
    pub subject: &'a str,
    /// This host, for what is made here.
    pub host: &'a DomainName,
    pub now: OffsetDateTime,
    /// What no other message has.
    pub nonce: &'a str,
}

impl Letter<'_> {
    /// Returns the Message-ID without its brackets.
    pub fn message_id(&self) -> String {
        format!("mailcert.{}@{}", self.nonce, self.host)
    }

    /// Returns header and body, with line feeds.
    pub fn message(&self) -> String {
        let date = self.now.format(&Rfc2822).unwrap_or_default();
        format!(
            "Date: {date}\n\
             From: <{from}>\n\
             To: <{to}>\n\
             Subject: {subject}\n\
             Message-ID: <{id}>\n\
             Auto-Submitted: auto-generated\n\
             MIME-Version: 1.0\n\
             Content-Type: text/plain; charset=us-ascii\n\
             Content-Transfer-Encoding: 7bit\n\
             \n\
             This message was sent to see whether mail leaves and arrives:\n\
             by `mailcert send-test` on {host}, {date}.\n\
             Nothing needs to be done.\n",
            from = self.from.completed(self.host),
            to = self.to.completed(self.host),
            subject = subject(self.subject),
            id = self.message_id(),
            host = self.host,
        )
    }
}

/// Returns a subject as a header has it: in encoded words (RFC 2047) where it is not short printable ASCII.
fn subject(text: &str) -> String {
    let text: String = text
        .chars()
        .take(SUBJECT_LIMIT)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain && text.len() <= 66 && !text.contains("=?") {
        return text;
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        // A character is never split between words (RFC 2047, 5).
        if word.len() + character.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(character);
    }
    words.push(word);
    let encoded = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\n ")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_subject_is_encoded_where_it_must_be() {
        let check = |text: &str, expected: &str| assert_eq!(subject(text), expected, "{text}");
        check("a test", "a test");
        check("", "");
        check("a\r\nBcc: x@y.test", "a  Bcc: x@y.test");
        check("試験", "=?utf-8?B?6Kmm6aiT?=");
        check("=?utf-8?B?eA==?=", "=?utf-8?B?PT91dGYtOD9CP2VBPT0/PQ==?=");
        let long = subject(&"試験".repeat(100));
        assert!(long.lines().all(|line| line.trim().len() <= 75), "{long}");
        let decoded: String = long
            .lines()
            .map(|line| {
                let word = line
                    .trim()
                    .trim_start_matches("=?utf-8?B?")
                    .trim_end_matches("?=");
                String::from_utf8(STANDARD.decode(word).unwrap()).unwrap()
            })
            .collect();
        assert_eq!(decoded, "試験".repeat(100));
        assert!(subject(&"a".repeat(100)).lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn the_message_is_whole() {
        let letter = Letter {
            from: &"alice".parse().unwrap(),
            to: &"bob@example.test".parse().unwrap(),
            subject: "mailcert test",
            host: &"mail.example.test".parse().unwrap(),
            now: datetime!(2026-01-02 03:04:05 UTC),
            nonce: "abc",
        };
        let message = letter.message();
        let (header, body) = message.split_once("\n\n").unwrap();
        for line in [
            "Date: Fri, 02 Jan 2026 03:04:05 +0000",
            "From: <alice@mail.example.test>",
            "To: <bob@example.test>",
            "Subject: mailcert test",
            "Message-ID: <mailcert.abc@mail.example.test>",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(header.lines().any(|found| found == line), "{line}: {header}");
        }
        assert!(message.is_ascii() && body.contains("mail.example.test"));
    }
}
