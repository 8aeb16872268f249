//! MTA-STS: the record (RFC 8461, 3.1) and the policy (3.2). Pure.

use std::fmt::Write;

use aws_lc_rs::digest;
use time::{Duration, OffsetDateTime};

use super::tag_list::TagList;

/// The longest `max_age`, in seconds (RFC 8461, 3.2).
pub const MAX_AGE: u64 = 31_557_600;
/// The `max_age` of a policy that ends all policies, in seconds: a small one (RFC 8461, 8.3).
pub const LAST_MAX_AGE: u64 = 86_400;
/// Characters of a line that an error shows.
const SHOWN: usize = 80;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its mode.
    pub mode: Mode,
    /// How long senders keep it, in seconds.
    pub max_age: u64,
    /// Its patterns, in lower case.
    pub mx: Vec<String>,
}

/// What senders do when a host does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They do not deliver.
    Enforce,
    /// As if there were no policy.
    None,
    /// They deliver, and report.
    Testing,
}

/// Returns whether a text counts as a record: others are dropped before they are counted (RFC 8461, 3.1).
pub fn is_record(text: &[u8]) -> bool {
    text.strip_prefix(b"v=STSv1")
        .is_some_and(|rest| rest.iter().find(|byte| !matches!(byte, b' ' | b'\t')) == Some(&b';'))
}

/// Returns the policy's id.
///
/// # Errors
/// What is wrong with the record, in words.
pub fn id(text: &[u8]) -> Result<String, String> {
    let tags = TagList::parse(text);
    let id = tags.get("id").ok_or("there is no `id`")?;
    if tags.doubled() == Some("id") {
        return Err("`id` is there twice".to_owned());
    }
    let is_good = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match is_good {
        true => Ok(id.to_owned()),
        false => Err(format!("the id `{id}` is not 1 to 32 letters and digits")),
    }
}

impl Mode {
    /// Returns its word in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::None => "none",
            Self::Testing => "testing",
        }
    }
}

impl Policy {
    /// Returns the policy as a file: a line for each field (RFC 8461, 3.2). The names are sorted, so that one policy is
    /// always one text.
    pub fn text(&self) -> String {
        let mut text = format!("version: STSv1\nmode: {}\n", self.mode.word());
        let mut names: Vec<&String> = self.mx.iter().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let _ = writeln!(text, "mx: {name}");
        }
        let _ = writeln!(text, "max_age: {}", self.max_age);
        text
    }

    /// Returns an id that changes with what the policy says, and with nothing else: half of the SHA-256 of its text.
    pub fn id(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.text().as_bytes());
        let mut id = String::new();
        for byte in digest.as_ref().iter().take(16) {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for line in text.lines() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() {
                continue;
            }
            let shown = || line.chars().take(SHOWN).collect::<String>();
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| format!("the line `{}` is no `key: value`", shown()))?;
            let value = value.trim();
            match key.trim() {
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                "mx" => mx.push(pattern(value).ok_or_else(|| format!("the line `{}` is no name", shown()))?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("there is no line `version: STSv1`".to_owned());
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("none") => Mode::None,
            Some("testing") => Mode::Testing,
            _ => return Err("there is no line `mode: enforce`, `testing` or `none`".to_owned()),
        };
        let max_age = max_age
            .filter(|text| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|seconds| *seconds <= MAX_AGE)
            .ok_or_else(|| format!("there is no line `max_age: ` with seconds, at most {MAX_AGE}"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err("there is no line `mx:`".to_owned());
        }
        Ok(Self { mode, max_age, mx })
    }

    /// Returns whether a pattern matches the name of a mail exchanger (RFC 8461, 4.1).
    pub fn covers(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| matches(pattern, host))
    }
}

/// How far a domain has come on its way out of MTA-STS (RFC 8461, 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The policy of now is one that senders heed.
    NotBegun,
    /// No sender can remember a policy that he heeds: record and policy may go.
    Over,
    /// Senders may remember such a policy until then.
    Waits(OffsetDateTime),
}

/// Returns how far, given each policy that was served and from when on, the first one first.
///
/// A sender may have fetched a policy in the last moment before the next one took its place, and keeps it for its `max_age`.
pub fn ending(served: &[(OffsetDateTime, Policy)], now: OffsetDateTime) -> Ending {
    if served.last().is_none_or(|(_, policy)| policy.mode != Mode::None) {
        return Ending::NotBegun;
    }
    let forgotten = served.windows(2).filter_map(|pair| match pair {
        [(_, before), (replaced_at, _)] if before.mode != Mode::None => {
            let kept = Duration::seconds(i64::try_from(before.max_age).unwrap_or(i64::MAX));
            Some(replaced_at.saturating_add(kept))
        }
        _ => None,
    });
    match forgotten.max() {
        Some(until) if until > now => Ending::Waits(until),
        _ => Ending::Over,
    }
}

/// Returns whether one pattern matches: `*.` stands for exactly one label.
pub fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, parent)| parent == rest),
        None => pattern == host,
    }
}

fn pattern(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    name.parse::<crate::model::name::DomainName>().ok()?;
    Some(text.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records() {
        assert!(is_record(b"v=STSv1; id=1") && is_record(b"v=STSv1 ;id=1"));
        assert!(!is_record(b"v=STSv1") && !is_record(b"v=stsv1; id=1"));
        assert_eq!(id(b"v=STSv1; id=20260101A;").as_deref(), Ok("20260101A"));
        for wrong in [
            "v=STSv1;",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "v=STSv1; id=1; id=2",
        ] {
            assert!(id(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(id(format!("v=STSv1; id={}", "a".repeat(33)).as_bytes()).is_err());
    }

    #[test]
    fn a_policy_has_one_text_and_an_id_of_its_own() {
        let policy = |mode, mx: &[&str]| Policy {
            mode,
            max_age: 604_800,
            mx: mx.iter().map(|&name| name.to_owned()).collect(),
        };
        let one = policy(Mode::Testing, &["b.test", "a.test", "b.test"]);
        assert_eq!(
            one.text(),
            "version: STSv1\nmode: testing\nmx: a.test\nmx: b.test\nmax_age: 604800\n"
        );
        let read = Policy::parse(one.text().replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!(read.id(), one.id());
        assert_eq!(id(format!("v=STSv1; id={}", one.id()).as_bytes()), Ok(one.id()));
        assert_ne!(policy(Mode::Enforce, &["a.test", "b.test"]).id(), one.id());
        assert_ne!(policy(Mode::Testing, &["a.test"]).id(), one.id());
    }

    #[test]
    fn reads_policies() {
        let good = "version: STSv1\r\nmode: enforce\r\nmode: none\r\nmx: MX.b.test\r\nmx: *.c.test\r\nmax_age: 604800\r\nx: y\r\n";
        let policy = Policy::parse(good.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, 604_800));
        assert!(policy.covers("mx.b.test") && policy.covers("a.c.test"));
        assert!(!policy.covers("c.test") && !policy.covers("a.b.c.test") && !policy.covers("b.test"));
        let lines = ["version: STSv1", "mode: testing", "mx: a.test", "max_age: 1"];
        for left_out in 0..4 {
            let text: Vec<&str> = lines
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != left_out)
                .map(|(_, line)| *line)
                .collect();
            assert!(Policy::parse(text.join("\n").as_bytes()).is_err(), "{text:?}");
        }
        for wrong in [
            "mx: *",
            "mx: a b",
            "max_age: 99999999999",
            "max_age: 31557601",
            "mode: Enforce",
            "x",
        ] {
            let text = format!("version: STSv1\n{wrong}\nmode: testing\nmx: a.test\nmax_age: 1\n");
            assert!(Policy::parse(text.as_bytes()).is_err(), "{wrong}");
        }
        assert!(Policy::parse(b"version: STSv1\nmode: none\nmax_age: 0").is_ok());
        assert!(Policy::parse(b"\xff").is_err());
    }

    #[test]
    fn record_and_policy_may_go_when_the_last_policy_that_is_heeded_is_forgotten() {
        use time::macros::datetime;
        let start = datetime!(2026-06-01 0:00 UTC);
        let day = |n| start + Duration::days(n);
        let policy = |mode, days: u64| Policy {
            mode,
            max_age: days * 86_400,
            mx: Vec::new(),
        };
        let check = |served: &[(i64, Policy)], now: i64, expected| {
            let served: Vec<(OffsetDateTime, Policy)> = served
                .iter()
                .map(|(n, policy)| (day(*n), policy.clone()))
                .collect();
            assert_eq!(ending(&served, day(now)), expected, "{served:?}");
        };
        let (enforce, testing, none) = (
            policy(Mode::Enforce, 90),
            policy(Mode::Testing, 14),
            policy(Mode::None, 1),
        );
        check(&[], 0, Ending::NotBegun);
        check(&[(0, enforce.clone())], 900, Ending::NotBegun);
        check(&[(0, none.clone())], 0, Ending::Over);
        let ended = [(0, enforce.clone()), (10, none.clone())];
        check(&ended, 10, Ending::Waits(day(100)));
        check(&ended, 99, Ending::Waits(day(100)));
        check(&ended, 100, Ending::Over);
        // The longest counts, not the last.
        let softened = [(0, enforce.clone()), (10, testing), (20, none.clone())];
        check(&softened, 50, Ending::Waits(day(100)));
        // Said again, it does not wait anew; taken back, it does.
        let again = [(0, enforce.clone()), (10, none.clone()), (30, none.clone())];
        check(&again, 30, Ending::Waits(day(100)));
        let back = [
            (0, enforce.clone()),
            (10, none.clone()),
            (20, enforce),
            (30, none),
        ];
        check(&back, 100, Ending::Waits(day(120)));
    }
}
