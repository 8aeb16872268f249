//! What becomes of one message, from the lines that Postfix logs. Pure.
//!
//! A message may pass through several queue files: a content filter hands it back under another queue id, local(8) forwards
//! it under yet another. They are found by its Message-ID, which all of them carry.
//!
//! Lines as in postlogd(8) and syslog: `Jan  1 00:00:00 host postfix/smtp[1]: 4ABC: to=<...>, relay=..., dsn=2.0.0, status=sent (...)`.

use serde::Serialize;

use crate::model::plan::printable_line;

/// How many queue files of one message are followed.
const MAX_IDS: usize = 32;
/// How many recipients are kept.
const MAX_RECIPIENTS: usize = 100;
/// The longest text of another server that is kept, in characters.
const TEXT_LIMIT: usize = 1000;

/// How a delivery went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It arrived.
    Delivered,
    /// It will be tried again.
    Deferred,
    /// It came back.
    Bounced,
}

/// One recipient, and how the last try went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The queue id of the try.
    pub queue_id: String,
    /// The address that it went to.
    pub recipient: String,
    /// How it went.
    pub status: Status,
    /// The enhanced status code (RFC 3463).
    pub dsn: String,
    /// Who took or refused it; `none` when nobody was asked.
    pub relay: String,
    /// How long after it came in, in seconds, as it is logged.
    pub delay: String,
    /// What was said.
    pub text: String,
}

/// What is known of a message so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    message_id: String,
    files: Vec<QueueFile>,
    deliveries: Vec<Delivery>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct QueueFile {
    id: String,
    is_gone: bool,
}

impl Trail {
    /// Begins with what the server said when it took the message, and the Message-ID without its brackets.
    pub fn new(message_id: &str, reply: &str) -> Self {
        let mut trail = Self {
            message_id: message_id.to_owned(),
            ..Self::default()
        };
        if let Some(id) = queue_id(reply) {
            trail.follow(id);
        }
        trail
    }

    /// Returns the first queue id, when it is known.
    pub fn queue_id(&self) -> Option<&str> {
        self.files.first().map(|file| file.id.as_str())
    }

    /// Returns how the last try for each recipient went.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// Returns the worst status so far; nothing when no try is known.
    pub fn status(&self) -> Option<Status> {
        // Handing on to a filter or forwarding is no delivery of its own: where others follow, they count.
        self.deliveries.iter().map(|one| one.status).max()
    }

    /// Returns whether nothing more will happen: every queue file is gone.
    pub fn is_over(&self) -> bool {
        !self.files.is_empty() && self.files.iter().all(|file| file.is_gone)
    }

    /// Takes a line of the log into account; most are about something else.
    pub fn read(&mut self, line: &str) {
        let about_us = format!("message-id=<{}>", self.message_id);
        if !self.message_id.is_empty()
            && let Some((before, _)) = line.split_once(&about_us)
            && let Some(id) = before.trim_end().strip_suffix(':').and_then(last_word)
        {
            self.follow(id);
        }
        let Some((index, rest)) = self.rest(line) else {
            return;
        };
        if rest == "removed" {
            self.files[index].is_gone = true;
            return;
        }
        let id = self.files[index].id.clone();
        if let Some(delivery) = delivery(&id, rest) {
            if let Some(forwarded) = delivery.text.strip_prefix("forwarded as ") {
                self.follow(forwarded);
            }
            self.keep(delivery);
        }
    }

    /// Finds which queue file a line is about, and what it says.
    fn rest<'a>(&self, line: &'a str) -> Option<(usize, &'a str)> {
        for (index, file) in self.files.iter().enumerate() {
            let mut from = 0;
            while let Some(at) = line.get(from..).and_then(|rest| rest.find(&file.id)) {
                let (start, end) = (from + at, from + at + file.id.len());
                let is_alone = start == 0 || line.get(..start).is_some_and(|before| before.ends_with(": "));
                if let Some(rest) = line.get(end..).and_then(|rest| rest.strip_prefix(": "))
                    && is_alone
                {
                    return Some((index, rest.trim_end()));
                }
                from = end;
            }
        }
        None
    }

    fn follow(&mut self, id: &str) {
        let is_known = self.files.iter().any(|file| file.id == id);
        if is_queue_id(id) && !is_known && self.files.len() < MAX_IDS {
            self.files.push(QueueFile {
                id: id.to_owned(),
                is_gone: false,
            });
        }
    }

    fn keep(&mut self, delivery: Delivery) {
        let is_same =
            |one: &Delivery| one.queue_id == delivery.queue_id && one.recipient == delivery.recipient;
        match self.deliveries.iter().position(is_same) {
            Some(index) => self.deliveries[index] = delivery,
            None if self.deliveries.len() < MAX_RECIPIENTS => self.deliveries.push(delivery),
            None => {}
        }
    }
}

/// Returns the queue id in the reply to a message: `2.0.0 Ok: queued as 4ABC`.
pub fn queue_id(reply: &str) -> Option<&str> {
    let (_, rest) = reply.rsplit_once("queued as ")?;
    let id = rest
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    is_queue_id(id).then_some(id)
}

/// Returns whether it can be a queue id, short or long (postconf(5), enable_long_queue_ids).
fn is_queue_id(text: &str) -> bool {
    (5..=30).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn last_word(text: &str) -> Option<&str> {
    text.split_whitespace().next_back()
}

/// Reads `to=<a>, orig_to=<b>, relay=c, delay=d, ..., dsn=e, status=f (text)`, or that the message was too old.
fn delivery(id: &str, rest: &str) -> Option<Delivery> {
    let (fields, text) = rest.split_once("status=")?;
    let (word, text) = match text.split_once(' ') {
        Some((word, text)) => (word, text),
        None => (text, ""),
    };
    let status = match word.trim_end_matches(',') {
        "sent" | "deliverable" => Status::Delivered,
        "deferred" => Status::Deferred,
        "bounced" | "undeliverable" | "expired" => Status::Bounced,
        _ => return None,
    };
    let field = |name: &str| {
        fields
            .split(", ")
            .find_map(|field| field.trim_start().strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_end_matches([',', ' ']))
            .unwrap_or_default()
    };
    let recipient = field("to").trim_start_matches('<').trim_end_matches('>');
    if recipient.is_empty() && word.trim_end_matches(',') != "expired" {
        return None;
    }
    let text = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let shown = |text: &str| printable_line(text.as_bytes(), TEXT_LIMIT);
    Some(Delivery {
        queue_id: id.to_owned(),
        recipient: shown(recipient),
        status,
        dsn: shown(field("dsn")),
        relay: shown(field("relay")),
        delay: shown(field("delay")),
        text: shown(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "Nov 26 08:00:00 mx postfix/submission/smtpd[1]: 4ABCDE: client=c[192.0.2.9], sasl_method=PLAIN\n\
        Nov 26 08:00:00 mx postfix/cleanup[2]: 4ABCDE: message-id=<t.1@mx>\n\
        Nov 26 08:00:00 mx postfix/qmgr[3]: 4ABCDE: from=<a@x.test>, size=400, nrcpt=1 (queue active)\n";

    fn trail(reply: &str, log: &str) -> Trail {
        let mut trail = Trail::new("t.1@mx", reply);
        for line in log.lines() {
            trail.read(line);
        }
        trail
    }

    #[test]
    fn finds_the_queue_id_in_a_reply() {
        let check = |reply: &str, expected: Option<&str>| assert_eq!(queue_id(reply), expected, "{reply}");
        check("2.0.0 Ok: queued as 4ABCDE", Some("4ABCDE"));
        check(
            "2.0.0 Ok: queued as 4XyZ0123456789abc.",
            Some("4XyZ0123456789abc"),
        );
        check(
            "2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4ABCDE",
            Some("4ABCDE"),
        );
        check("OK id=1rXyZ-000123-AB", None);
        check("queued as ", None);
        check("queued as ../../x", None);
    }

    #[test]
    fn tells_how_it_went() {
        let check = |lines: &str, status: Option<Status>, is_over: bool| {
            let trail = trail("2.0.0 Ok: queued as 4ABCDE", &(LOG.to_owned() + lines));
            assert_eq!((trail.status(), trail.is_over()), (status, is_over), "{lines}");
            trail.deliveries().to_vec()
        };
        let sent = "Nov 26 postfix/smtp[4]: 4ABCDE: to=<b@y.test>, orig_to=<c@x.test>, relay=mx.y.test[192.0.2.7]:25, delay=0.4, \
                    delays=0.1/0/0.2/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as XYZXYZ)\n";
        let removed = "Nov 26 postfix/qmgr[3]: 4ABCDE: removed\n";
        check("", None, false);
        // Of another message.
        check(
            "Nov 26 postfix/qmgr[3]: 44ABCDE: removed\nx 4ABCDE: removed\n",
            None,
            false,
        );
        check(sent, Some(Status::Delivered), false);
        let delivered = check(&(sent.to_owned() + removed), Some(Status::Delivered), true);
        assert_eq!(
            delivered,
            [Delivery {
                queue_id: "4ABCDE".to_owned(),
                recipient: "b@y.test".to_owned(),
                status: Status::Delivered,
                dsn: "2.0.0".to_owned(),
                relay: "mx.y.test[192.0.2.7]:25".to_owned(),
                delay: "0.4".to_owned(),
                text: "250 2.0.0 Ok: queued as XYZXYZ".to_owned(),
            }]
        );
        let deferred = "4ABCDE: to=<b@y.test>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to \
                        y.test[192.0.2.7]:25: Connection timed out)\n";
        check(deferred, Some(Status::Deferred), false);
        // The last try counts.
        check(
            &(deferred.to_owned() + sent + removed),
            Some(Status::Delivered),
            true,
        );
        let bounced = "4ABCDE: to=<b@y.test>, relay=y.test[192.0.2.7]:25, delay=1, delays=1/0/0/0, dsn=5.1.1, status=bounced (host \
                       said: 550 5.1.1 nobody (in reply to RCPT TO command))\n4ABCDE: sender non-delivery notification: 4FFFFF\n";
        let told = check(&(bounced.to_owned() + removed), Some(Status::Bounced), true);
        assert_eq!(
            told[0].text,
            "host said: 550 5.1.1 nobody (in reply to RCPT TO command)"
        );
        check(
            "x postfix/qmgr[1]: 4ABCDE: from=<a@x.test>, status=expired, returned to sender\n",
            Some(Status::Bounced),
            false,
        );
        check(removed, None, true);
    }

    #[test]
    fn follows_a_message_through_filters_and_forwards() {
        let filtered = "x postfix/cleanup[2]: 4BBBBB: message-id=<t.1@mx>\n\
            x postfix/smtp[4]: 4ABCDE: to=<b@y.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=1, dsn=2.0.0, status=sent \
            (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4BBBBB)\n\
            x postfix/qmgr[3]: 4ABCDE: removed\n";
        let half = trail("Ok: queued as 4ABCDE", &(LOG.to_owned() + filtered));
        assert!(!half.is_over());
        let bounced = "x postfix/smtp[4]: 4BBBBB: to=<b@y.test>, relay=none, delay=1, delays=1, dsn=5.4.4, status=bounced (no)\n\
                       x postfix/qmgr[3]: 4BBBBB: removed\n";
        let whole = trail("Ok: queued as 4ABCDE", &(LOG.to_owned() + filtered + bounced));
        assert_eq!((whole.is_over(), whole.status()), (true, Some(Status::Bounced)));
        let forwarded = "x postfix/local[4]: 4ABCDE: to=<b@y.test>, relay=local, delay=1, delays=1, dsn=2.0.0, status=sent (forwarded \
                         as 4CCCCC)\nx postfix/qmgr[3]: 4ABCDE: removed\n";
        assert!(!trail("Ok: queued as 4ABCDE", &(LOG.to_owned() + forwarded)).is_over());
        // A server in between gives no queue id: the Message-ID does.
        assert_eq!(trail("2.0.0 thanks", LOG).queue_id(), Some("4ABCDE"));
        assert_eq!(Trail::new("t.1@mx", "2.0.0 thanks").queue_id(), None);
    }

    #[test]
    fn a_hostile_log_fills_nothing() {
        let mut trail = Trail::new("t.1@mx", "Ok: queued as 4ABCDE");
        for n in 0..10_000 {
            trail.read(&format!("x: Q{n:05}: message-id=<t.1@mx>"));
            trail.read(&format!(
                "4ABCDE: to=<{n}@x\u{1b}[31m>, relay=none, dsn=4.0.0, status=deferred (\u{1b}[0m)"
            ));
        }
        assert_eq!(
            (trail.files.len(), trail.deliveries.len()),
            (MAX_IDS, MAX_RECIPIENTS)
        );
        assert!(!format!("{:?}", trail.deliveries).contains('\u{1b}'));
    }
}
