//! What an apply would change: values that print, serialize, compare, and know their own undo. Pure.
//!
//! A plan holds no closures. `plan` prints it, `apply` carries it out and keeps it in the journal, `undo` reads it back.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    name::{DomainName, Identifier},
    rdata::{Rdata, RecordType},
};
use crate::error::Error;

/// Everything that differs from what the configuration wants, in the order in which it is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What would change; empty when all is as it should be.
    pub changes: Vec<Change>,
    /// What the reader should know besides: warnings, and what only the operator can do.
    pub notes: Vec<String>,
    /// What is wanted and was refused; the rest of the plan stands all the same.
    pub refusals: Vec<Error>,
}

/// One change. Variants stand in the order in which an apply does them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A certificate to get.
    Certificate(CertificateChange),
    /// The SNI map to make anew.
    SniMap(SniMapChange),
    /// Another file of ours to make anew that is derived from others.
    Derived(DerivedChange),
    /// A configuration file to write.
    File(FileChange),
    /// A port to open in the firewall.
    Firewall(FirewallChange),
    /// An RRset to change.
    Rrset(RrsetChange),
    /// The renewal timer to switch on.
    Timer(TimerChange),
}

/// A certificate that a lineage lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateChange {
    /// The lineage.
    pub lineage: String,
    /// What it is for.
    pub identifiers: Vec<Identifier>,
    /// Who is asked.
    pub issuer: String,
    /// Why.
    pub reason: String,
}

/// The map of `tls_server_sni_maps`, which is derived from the certificates in use: not journalled, and never undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SniMapChange {
    /// The map's source.
    pub path: PathBuf,
    /// Keys that come into it.
    pub add: Vec<String>,
    /// Keys whose certificate in it is another one than the one in use.
    pub renew: Vec<String>,
    /// Keys that go.
    pub remove: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A file of ours that is derived from others, and made anew whenever they change: not journalled, and never undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DerivedChange {
    /// What it is.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What comes into it, a line each.
    pub add: Vec<String>,
    /// What goes.
    pub remove: Vec<String>,
    /// Why, with the document that says so.
    pub reason: &'static str,
}

/// A file with its content before and after; `None` means that it does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// The file as it is named in the plan; a symbolic link is followed when it is written.
    pub path: PathBuf,
    /// What is there now.
    #[serde(with = "bytes_as_base64")]
    pub before: Option<Vec<u8>>,
    /// What will be there.
    #[serde(with = "bytes_as_base64")]
    pub after: Option<Vec<u8>>,
    /// Why, a line each.
    pub reasons: Vec<String>,
}

/// An RRset to change by value: what is not named in `add` or `remove` stays, and so does the TTL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SavedRrsetChange", into = "SavedRrsetChange")]
pub struct RrsetChange {
    /// The zone that holds it, as its SOA says.
    pub zone: DomainName,
    /// The owner name.
    pub name: DomainName,
    /// The type of all values.
    pub kind: RecordType,
    /// TTL in seconds of what is added; an RRset that exists keeps its own.
    pub ttl: u32,
    /// The whole RRset before; the change is refused when this no longer holds.
    pub before: Vec<Rdata>,
    /// Values to add.
    pub add: Vec<Rdata>,
    /// Values to remove.
    pub remove: Vec<Rdata>,
    /// Why.
    pub reason: String,
}

/// An RRset change as the journal has it: values as master-file text. Without a type, as it was written first, it is TXT.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedRrsetChange {
    zone: DomainName,
    name: DomainName,
    #[serde(rename = "type", default = "txt")]
    kind: RecordType,
    ttl: u32,
    before: Vec<String>,
    add: Vec<String>,
    remove: Vec<String>,
    reason: String,
}

fn txt() -> RecordType {
    RecordType::Txt
}

impl From<RrsetChange> for SavedRrsetChange {
    fn from(change: RrsetChange) -> Self {
        let texts = |values: &[Rdata]| values.iter().map(ToString::to_string).collect();
        Self {
            before: texts(&change.before),
            add: texts(&change.add),
            remove: texts(&change.remove),
            zone: change.zone,
            name: change.name,
            kind: change.kind,
            ttl: change.ttl,
            reason: change.reason,
        }
    }
}

impl TryFrom<SavedRrsetChange> for RrsetChange {
    type Error = super::rdata::RdataError;

    fn try_from(saved: SavedRrsetChange) -> Result<Self, Self::Error> {
        let value = |text: &String| Rdata::parse(saved.kind, text);
        let values = |texts: &[String]| texts.iter().map(value).collect::<Result<_, _>>();
        Ok(Self {
            before: values(&saved.before)?,
            add: values(&saved.add)?,
            remove: values(&saved.remove)?,
            zone: saved.zone,
            name: saved.name,
            kind: saved.kind,
            ttl: saved.ttl,
            reason: saved.reason,
        })
    }
}

/// A port of the firewall to open or to close again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallChange {
    /// The program that keeps the rules: `firewalld` or `ufw`.
    pub manager: String,
    /// The zone, where the program has such.
    pub zone: Option<String>,
    /// The service's name, where the program knows one for this port.
    pub service: Option<String>,
    /// The TCP port.
    pub port: u16,
    /// Whether it is opened or closed.
    pub action: FirewallAction,
    /// What is changed: the rules in force, those for the next start, or both.
    pub rules: Rules,
    /// Why.
    pub reason: String,
}

/// Whether a port is opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallAction {
    /// It is closed.
    Close,
    /// It is opened.
    Open,
    /// It is opened for a while: the program closes it by itself where it can.
    OpenForNow,
}

/// Which rules of a firewall are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// Those in force and those for the next start.
    Both,
    /// Those for the next start.
    Permanent,
    /// Those in force.
    Runtime,
}

/// The renewal timer to enable; its files are [`FileChange`]s of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerChange {
    /// The unit, such as `mailcert-renew.timer`.
    pub unit: String,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds another plan's changes and notes after these.
    pub fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.notes.extend(other.notes);
        self.refusals.extend(other.refusals);
    }
}

impl SniMapChange {
    /// Returns whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.renew.is_empty() && self.remove.is_empty()
    }
}

impl FileChange {
    /// Returns the unified diff, with three lines of context; bytes that are not UTF-8 or would steer a terminal are
    /// escaped.
    pub fn diff(&self) -> String {
        let before = self.before.as_deref().map(printable).unwrap_or_default();
        let after = self.after.as_deref().map(printable).unwrap_or_default();
        let path = self.path.display().to_string();
        let name = |exists: bool| if exists { path.as_str() } else { "/dev/null" };
        similar::TextDiff::from_lines(&before, &after)
            .unified_diff()
            .context_radius(3)
            .header(name(self.before.is_some()), name(self.after.is_some()))
            .to_string()
    }

    /// Returns the change that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            path: self.path.clone(),
            before: self.after.clone(),
            after: self.before.clone(),
            reasons: vec!["undo".to_owned()],
        }
    }
}

impl FirewallChange {
    /// Returns the change that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            action: match self.action {
                FirewallAction::Close => FirewallAction::Open,
                FirewallAction::Open | FirewallAction::OpenForNow => FirewallAction::Close,
            },
            reason: "undo".to_owned(),
            ..self.clone()
        }
    }

    /// Returns what is changed, as `smtp-submission (587/tcp) in zone public`.
    pub fn what(&self) -> String {
        let port = match &self.service {
            Some(service) => format!("{service} ({}/tcp)", self.port),
            None => format!("{}/tcp", self.port),
        };
        match &self.zone {
            Some(zone) => format!("{port} in zone {zone}"),
            None => port,
        }
    }
}

impl Rules {
    /// Returns which rules these are, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Both => "now and for the next start",
            Self::Permanent => "for the next start",
            Self::Runtime => "now",
        }
    }
}

impl RrsetChange {
    /// Returns the whole RRset as it is after the change.
    pub fn after(&self) -> Vec<Rdata> {
        let kept = self.before.iter().filter(|value| !self.remove.contains(value));
        let added = self.add.iter().filter(|value| !self.before.contains(value));
        kept.chain(added).cloned().collect()
    }

    /// Returns the change that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self {
            zone: self.zone.clone(),
            name: self.name.clone(),
            kind: self.kind,
            ttl: self.ttl,
            before: self.after(),
            add: self.remove.clone(),
            remove: self.add.clone(),
            reason: "undo".to_owned(),
        }
    }
}

/// Makes text fit for a terminal: control characters other than line feed and tab are escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' => text.push(character),
                '\r' => text.push_str("\\r"),
                character if character.is_control() => text.extend(character.escape_default()),
                character => text.push(character),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Makes text of others fit for one line of a terminal or a log, and cuts it after `limit` characters.
///
/// Control characters, line feeds among them, and the invisible ones that turn or hide text are escaped.
pub fn printable_line(bytes: &[u8], limit: usize) -> String {
    let invisible = |character: char| {
        matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
    };
    let mut text = String::new();
    for (index, character) in printable(bytes).chars().enumerate() {
        if index >= limit {
            text.push('…');
            break;
        }
        match character {
            '\n' | '\t' => text.extend(character.escape_default()),
            character if invisible(character) => text.extend(character.escape_default()),
            character => text.push(character),
        }
    }
    text
}

mod bytes_as_base64 {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes
            .as_ref()
            .map(|bytes| STANDARD.encode(bytes))
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_change_shows_its_diff_and_can_be_taken_back() {
        let change = FileChange {
            path: "/etc/postfix/main.cf".into(),
            before: Some(b"a = 1\nb = \xff\x1b[31m\n".to_vec()),
            after: Some(b"a = 2\nb = \xff\x1b[31m\n".to_vec()),
            reasons: vec![],
        };
        let diff = change.diff();
        assert!(
            diff.contains("--- /etc/postfix/main.cf\n+++ /etc/postfix/main.cf\n"),
            "{diff}"
        );
        assert!(diff.contains("-a = 1\n+a = 2\n b = \\xff\\u{1b}[31m\n"), "{diff}");
        assert_eq!(change.inverse().after, change.before);
        let saved = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<FileChange>(&saved).unwrap(), change);
    }

    #[test]
    fn an_rrset_change_is_read_back_from_the_journal_also_from_before_it_had_a_type() {
        let old = r#"{"zone":"a.test","name":"a.test","ttl":60,"before":[],"add":["\"v=spf1 mx -all\""],"remove":[],"reason":""}"#;
        let change: RrsetChange = serde_json::from_str(old).unwrap();
        assert_eq!(
            (change.kind, &change.add),
            (RecordType::Txt, &vec![Rdata::text("v=spf1 mx -all")])
        );
        let data = |text| Rdata::parse(RecordType::Mx, text).unwrap();
        let change = RrsetChange {
            kind: RecordType::Mx,
            before: vec![data("10 a.test.")],
            add: vec![data("20 b.test.")],
            remove: vec![],
            ..change
        };
        let saved = serde_json::to_string(&change).unwrap();
        assert!(saved.contains(r#""type":"MX""#), "{saved}");
        assert_eq!(serde_json::from_str::<RrsetChange>(&saved).unwrap(), change);
        assert!(serde_json::from_str::<RrsetChange>(&saved.replace("10 a.test.", "a.test.")).is_err());
    }

    #[test]
    fn a_line_of_others_cannot_steer_the_terminal() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(printable_line(bytes, 12), expected);
        check(b"250 ok", "250 ok");
        check(b"a\r\nb\x1b", "a\\r\\nb\\u{1b}");
        check("x\u{202e}y".as_bytes(), "x\\u{202e}y");
        check("x\u{61c}\u{e0041}y".as_bytes(), "x\\u{61c}\\u{e0041}y");
        check(b"0123456789abcdef", "0123456789ab…");
    }
}
