//! The mail that is sent: RFC 5322 and MIME, marked as made by a program (RFC 3834). Pure.
//!
//! What comes from a CA, a port or a file goes into the body only, and there with its control characters escaped. Headers
//! hold nothing but names that the configuration's reader has judged, and are cut to printable ASCII all the same.

use std::fmt::Write as _;

use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{
    commands::status::LineageStatus,
    error::Error,
    model::{
        address::MailAddress,
        certificate::Sha256,
        name::DomainName,
        notice::{News, Reason},
        plan::{printable, printable_line},
    },
};

/// Where lines of text are broken, in characters.
const WIDTH: usize = 76;
/// No line may be longer, in octets (RFC 5322, 2.1.1); one word can be.
const LINE_LIMIT: usize = 900;
/// The longest subject, in characters: what a list of messages can show.
const SUBJECT_LIMIT: usize = 120;
/// How many things are told in full; the others by their headline.
const IN_FULL: usize = 20;
/// How many are told by their headline; the others by their number.
const BY_HEADLINE: usize = 500;
/// How much of one failure is told, in characters.
const FAILURE_LIMIT: usize = 4000;

/// A mail to the operator.
pub(super) struct Letter<'a> {
    pub host: &'a DomainName,
    /// `None`: root at the host.
    pub from: Option<&'a MailAddress>,
    pub to: &'a [MailAddress],
    pub now: OffsetDateTime,
    /// How mailcert is called on this host.
    pub program: String,
    /// What there is to tell; at least one.
    pub items: &'a [Item<'a>],
}

/// One thing that there is to tell.
pub(super) struct Item<'a> {
    pub about: About<'a>,
    pub news: News,
    /// When the trouble began.
    pub since: OffsetDateTime,
    /// Failures since then.
    pub failures: u32,
}

/// What it is about.
pub(super) enum About<'a> {
    Lineage {
        status: &'a LineageStatus,
        /// What failed in this run.
        error: Option<&'a Error>,
        /// Whether another client renews it.
        external: bool,
    },
    /// The run as a whole, which failed.
    Run(&'a Error),
    /// The runs, which work again.
    Runs,
}

impl<'a> About<'a> {
    /// Returns the lineage's name.
    pub fn lineage(&self) -> Option<&'a str> {
        match self {
            Self::Lineage { status, .. } => Some(&status.name),
            Self::Run(_) | Self::Runs => None,
        }
    }
}

impl Letter<'_> {
    /// Returns the whole message, with line feeds, as sendmail(1) takes it.
    pub fn message(&self) -> String {
        let body = self.body();
        let date = self.now.format(&Rfc2822).unwrap_or_default();
        let root = MailAddress::root_at(self.host);
        let from = self.from.unwrap_or(&root).completed(self.host);
        let to: Vec<String> = self
            .to
            .iter()
            .map(|address| address.completed(self.host).to_string())
            .collect();
        // Unique by what it says and when: the same mail sent twice is the same message.
        let digest = Sha256::of(format!("{date}\n{body}").as_bytes()).to_string();
        let id = digest.get(..24).unwrap_or_default();
        format!(
            "Date: {date}\n\
             From: \"mailcert on {host}\" <{from}>\n\
             To: {to}\n\
             Subject: {subject}\n\
             Message-ID: <mailcert.{id}@{host}>\n\
             Auto-Submitted: auto-generated\n\
             MIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\n\
             \n\
             {body}",
            host = self.host,
            to = to.join(",\n "),
            subject = self.subject(),
        )
    }

    /// Returns what the message is about, in printable ASCII.
    pub fn subject(&self) -> String {
        let subject = match self.items {
            [only] => format!("{}: {}", self.host, self.headline(only)),
            several => {
                let n_well = several.iter().filter(|item| item.news == News::Well).count();
                match (several.len() - n_well, n_well) {
                    (0, well) => format!("{}: {well} certificates are well again", self.host),
                    (trouble, 0) => format!("{}: {trouble} certificates are in trouble", self.host),
                    (trouble, well) => {
                        format!("{}: {trouble} in trouble, {well} well again", self.host)
                    }
                }
            }
        };
        let legal = |character: char| match character {
            ' '..='~' => character,
            _ => '?',
        };
        subject.chars().take(SUBJECT_LIMIT).map(legal).collect()
    }

    /// Returns one thing in a line.
    fn headline(&self, item: &Item<'_>) -> String {
        let (status, reasons) = match (&item.about, &item.news) {
            (About::Run(_), News::Trouble(_)) => {
                return format!("the renewal run failed{}", in_a_row(item.failures));
            }
            (About::Run(_) | About::Runs, _) => return "the renewal runs work again".to_owned(),
            (About::Lineage { status, .. }, News::Well) => {
                return format!("{} is well again", status.name);
            }
            (About::Lineage { status, .. }, News::Trouble(reasons)) => (status, reasons),
        };
        let name = &status.name;
        match (reasons.last(), status.not_after) {
            (Some(Reason::Expired), _) => format!("the certificate of {name} has expired"),
            (Some(Reason::HalfSlack), Some(at)) => {
                let days = (at - self.now).whole_days();
                format!("the certificate of {name} expires in {days} days and is not renewed")
            }
            _ => format!("{name} failed{}", in_a_row(item.failures)),
        }
    }

    fn body(&self) -> String {
        let mut text = String::new();
        let mut items: Vec<&Item<'_>> = self.items.iter().collect();
        items.sort_by_key(|item| std::cmp::Reverse(gravity(&item.news)));
        for item in items.iter().take(IN_FULL) {
            self.tell(&mut text, item);
            text.push('\n');
        }
        for item in items.iter().skip(IN_FULL).take(BY_HEADLINE) {
            wrap(&mut text, "", &self.headline(item));
        }
        if let Some(n_more) = items.len().checked_sub(IN_FULL + BY_HEADLINE).filter(|n| *n > 0) {
            wrap(&mut text, "", &format!("and {n_more} more"));
        }
        if items.len() > IN_FULL {
            text.push('\n');
        }
        let program = &self.program;
        wrap(&mut text, "", "Where everything stands:");
        verbatim(&mut text, &format!("{program} status"));
        let _ = write!(
            text,
            "\n-- \nmailcert on {}\n\
             Such a mail comes once for failures that stay, once when half of the time until\n\
             the certificate expires is gone, and once when all is well again.\n",
            self.host
        );
        text
    }

    fn tell(&self, text: &mut String, item: &Item<'_>) {
        wrap(text, "", &format!("* {}", self.headline(item)));
        let failures = match item.failures {
            0 => String::new(),
            n => format!("; it failed{}", in_a_row(n)),
        };
        let since = format!("in trouble since {}{failures}", moment(item.since));
        match &item.about {
            About::Runs => {}
            About::Run(error) => {
                wrap(text, "  ", &since);
                let causes = std::iter::once(&error.message).chain(&error.causes);
                section(text, "What failed:", causes.map(String::as_str));
                section(text, "What to do:", error.remedies.iter().map(String::as_str));
                wrap(text, "  ", "To try at once:");
                verbatim(text, &format!("{} renew", self.program));
            }
            About::Lineage {
                status,
                error,
                external,
            } => {
                if let (Some(number), Some(at)) = (status.generation, status.not_after) {
                    let expires = format!(
                        "the certificate in use: generation {number}, valid until {}",
                        moment(at)
                    );
                    wrap(text, "  ", &expires);
                }
                wrap(text, "  ", &format!("it is {} now", status.state));
                if item.news == News::Well {
                    return;
                }
                wrap(text, "  ", &since);
                self.tell_failure(text, status, *error, *external);
            }
        }
    }

    fn tell_failure(&self, text: &mut String, status: &LineageStatus, error: Option<&Error>, external: bool) {
        if let Some(failure) = &status.failure {
            let step = format!(
                "the step that fails: {}; it failed last {}, and is tried again {}",
                failure.step,
                moment(failure.at),
                moment(failure.next_try)
            );
            wrap(text, "  ", &step);
        }
        let told: Vec<&str> = match (error, &status.last_error) {
            (Some(error), _) => std::iter::once(&error.message)
                .chain(&error.causes)
                .map(String::as_str)
                .collect(),
            (None, Some(failed)) => failed.lines().collect(),
            (None, None) if external => {
                vec!["no new certificate was installed, although its time has come"]
            }
            (None, None) => vec!["no new certificate was ordered, although its time has come"],
        };
        section(text, "What failed:", told.into_iter());
        let kept = status.failure.as_ref().map(|failure| &failure.remedies);
        let remedies = error
            .map(|error| &error.remedies)
            .filter(|remedies| !remedies.is_empty())
            .or(kept);
        section(
            text,
            "What to do:",
            remedies.into_iter().flatten().map(String::as_str),
        );
        let name = &status.name;
        if external {
            if let Some(advice) = status.advice.as_ref().filter(|_| error.is_none()) {
                wrap(text, "  ", advice);
            }
            wrap(
                text,
                "  ",
                "With what the CA sent, or where another client keeps the new files:",
            );
            verbatim(text, &format!("{} install {name} FILE", self.program));
            verbatim(text, &format!("{} install {name} --from DIRECTORY", self.program));
            return;
        }
        wrap(text, "  ", "To try at once:");
        verbatim(text, &format!("{} renew --force {name}", self.program));
    }
}

fn gravity(news: &News) -> Option<Reason> {
    match news {
        News::Trouble(reasons) => reasons.last().copied(),
        News::Well => None,
    }
}

fn in_a_row(n: u32) -> String {
    match n {
        1 => String::new(),
        n => format!(" {n} times in a row"),
    }
}

fn moment(at: OffsetDateTime) -> String {
    format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
}

/// Writes a heading and texts of others below it; nothing when there are none.
fn section<'a>(text: &mut String, heading: &str, parts: impl Iterator<Item = &'a str>) {
    let mut begun = false;
    let mut room = FAILURE_LIMIT;
    for part in parts {
        if !begun {
            wrap(text, "  ", heading);
            begun = true;
        }
        let cut: String = part.chars().take(room).collect();
        room -= cut.chars().count();
        wrap(text, "    ", &cut);
        if room == 0 {
            wrap(text, "    ", "…");
            return;
        }
    }
}

/// Adds a text with an indent, broken at spaces; a line feed of its own stays one. Words are left whole: they may be
/// commands or addresses.
fn wrap(text: &mut String, indent: &str, part: &str) {
    for line in printable(part.as_bytes()).lines() {
        let mut column = 0;
        for word in line.split_whitespace() {
            for (index, piece) in pieces(word).enumerate() {
                let length = piece.chars().count();
                let fits = column + 1 + length <= WIDTH && index == 0;
                if column == 0 || !fits {
                    if column > 0 {
                        text.push('\n');
                    }
                    text.push_str(indent);
                    column = indent.len();
                } else {
                    text.push(' ');
                    column += 1;
                }
                text.push_str(piece);
                column += length;
            }
        }
        text.push('\n');
    }
}

/// Adds a command: it may be longer than other lines, so that it can be copied.
fn verbatim(text: &mut String, command: &str) {
    for piece in pieces(&printable_line(command.as_bytes(), usize::MAX)) {
        text.push_str("    ");
        text.push_str(piece);
        text.push('\n');
    }
}

/// Cuts a word that no line of a message may hold.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = (0..=rest.len().min(LINE_LIMIT))
            .rev()
            .find(|end| rest.is_char_boundary(*end))
            .filter(|end| *end > 0)
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}
