//! A zone's master file: which records it holds, and the text with single records added or removed. Pure.
//!
//! What is not changed stays octet for octet: comments, spacing, order. Every edit is judged by reading the new text: it must
//! hold the same records but for those that were to change and the serial of the SOA record; else it is refused. So a line
//! that others take their owner or TTL from is never moved without notice. Rules: RFC 1035, 5; RFC 2308, 4; RFC 1982.

use std::{fmt, ops::Range};

use crate::model::{
    master_file::{self, Entry, Word},
    name::DomainName,
    rdata::{Rdata, RecordType},
    rrset::Rrset,
};

/// Types that only a signer writes (RFC 4034; RFC 5155): a file that has them is not the source of its zone.
const SIGNERS: [&str; 4] = ["RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"];

/// A master file that was read.
#[derive(Clone, Debug)]
pub struct ZoneText {
    text: Vec<u8>,
    zone: DomainName,
    records: Vec<Record>,
    serial: (u32, Range<usize>),
}

/// One record, with the places where it stands.
#[derive(Clone, Debug)]
struct Record {
    owner: String,
    /// `None` where nothing says it: then it is that of the SOA.
    ttl: Option<u32>,
    kind: String,
    /// The words of its data and the origin that they are below.
    data: Vec<Word>,
    origin: DomainName,
    at: Range<usize>,
    /// Where the owner is written, if it is.
    owner_at: Option<Range<usize>>,
}

/// Why a file is not edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneError {
    /// It uses something that cannot be edited line by line.
    Directive(usize, String),
    /// The text with the change would mean something else besides.
    Entangled,
    /// It has no SOA record of the zone, or several.
    NoSoa(DomainName),
    /// A record has this line, and cannot be read.
    Record(usize, String),
    /// It was written by a signer.
    Signed(usize, String),
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directive(line, directive) => write!(
                f,
                "line {line} has {directive}: what it brings in is not seen here, so the file is left alone"
            ),
            Self::Entangled => f.write_str(
                "other records take their owner or TTL from the lines in question, and would change with them",
            ),
            Self::NoSoa(zone) => write!(f, "it does not hold exactly one SOA record of {zone}"),
            Self::Record(line, reason) => write!(f, "line {line} cannot be read: {reason}"),
            Self::Signed(line, kind) => write!(
                f,
                "line {line} has a {kind} record: a signer writes this file, and edits belong into its source"
            ),
        }
    }
}

impl std::error::Error for ZoneError {}

impl ZoneText {
    /// Reads the master file of a zone.
    ///
    /// # Errors
    /// When it cannot be edited line by line: `$INCLUDE`, `$GENERATE`, signatures, or text that is none.
    pub fn parse(text: &[u8], zone: &DomainName) -> Result<Self, ZoneError> {
        let entries = master_file::entries(text)
            .map_err(|error| ZoneError::Record(error.line, error.reason.to_owned()))?;
        let mut reader = Reader {
            origin: zone.clone(),
            default_ttl: None,
            last_ttl: None,
            last_owner: None,
        };
        let mut records = Vec::new();
        for entry in &entries {
            records.extend(reader.read(entry)?);
        }
        let serial = serial_of(&records, zone)?;
        Ok(Self {
            text: text.to_vec(),
            zone: zone.clone(),
            records,
            serial,
        })
    }

    /// Returns the RRset of a type at a name.
    ///
    /// # Errors
    /// When one of its records cannot be read.
    pub fn rrset(&self, name: &DomainName, kind: RecordType) -> Result<Rrset, ZoneError> {
        let mut rrset = Rrset::default();
        for (record, value) in self.values_at(name, kind)? {
            rrset.ttl = record.ttl.unwrap_or(0);
            if !rrset.values.contains(&value) {
                rrset.values.push(value);
            }
        }
        Ok(rrset)
    }

    /// Returns the text with values added and removed and the serial raised; `None` when nothing would change.
    ///
    /// `today` is the date as `YYYYMMDD`, for serials that are dates.
    ///
    /// # Errors
    /// When the change cannot be made without touching other records.
    pub fn edited(
        &self,
        name: &DomainName,
        (add, remove): (&[Rdata], &[Rdata]),
        ttl: u32,
        today: u32,
    ) -> Result<Option<Vec<u8>>, ZoneError> {
        let Some(kind) = add.first().or(remove.first()).map(Rdata::kind) else {
            return Ok(None);
        };
        let existing = self.rrset(name, kind)?;
        let added: Vec<&Rdata> = add
            .iter()
            .filter(|value| !existing.values.contains(value))
            .collect();
        let removed: Vec<&Record> = self
            .values_at(name, kind)?
            .into_iter()
            .filter(|(_, value)| remove.contains(value) && !add.contains(value))
            .map(|(record, _)| record)
            .collect();
        if added.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        let ttl = if existing.values.is_empty() {
            ttl
        } else {
            existing.ttl
        };
        let lines: String = added
            .iter()
            .map(|value| format!("{name}.\t{ttl}\tIN\t{kind}\t{value}\n"))
            .collect();
        let expected = self.expected(name, &added, &removed, ttl);
        // After the last record of the same name, where people look for it; else at the end, where nothing follows.
        let is_same_owner = |record: &&Record| record.owner == name.as_str();
        let near = self
            .records
            .iter()
            .rfind(is_same_owner)
            .map(|record| record.at.end);
        let places = near.into_iter().chain([self.text.len()]);
        for place in places {
            let text = self.assemble(&removed, place, &lines, today);
            let is_right = Self::parse(&text, &self.zone)
                .is_ok_and(|new| sorted(new.records.iter().map(described).collect()) == expected);
            if is_right {
                return Ok(Some(text));
            }
        }
        Err(ZoneError::Entangled)
    }

    fn values_at(&self, name: &DomainName, kind: RecordType) -> Result<Vec<(&Record, Rdata)>, ZoneError> {
        let at_name = |record: &&Record| record.owner == name.as_str() && record.kind == kind.name();
        let value = |record| {
            let Record { data, origin, at, .. }: &Record = record;
            let read = Rdata::from_words(kind, data, Some(origin));
            let value = read.map_err(|error| ZoneError::Record(self.line_at(at.start), error.to_string()))?;
            Ok((record, value))
        };
        self.records.iter().filter(at_name).map(value).collect()
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Returns what the new text has to hold, but for the serial.
    fn expected(&self, name: &DomainName, added: &[&Rdata], removed: &[&Record], ttl: u32) -> Vec<String> {
        let is_kept = |record: &&Record| !removed.iter().any(|other| other.at == record.at);
        let mut expected: Vec<String> = self.records.iter().filter(is_kept).map(described).collect();
        expected.extend(
            added
                .iter()
                .map(|value| format!("{name} {ttl} {} {value}", value.kind())),
        );
        sorted(expected)
    }

    /// Puts the new text together: lines left out, lines inserted at a place, the serial raised.
    fn assemble(&self, removed: &[&Record], place: usize, lines: &str, today: u32) -> Vec<u8> {
        let (serial, serial_at) = &self.serial;
        let mut edits: Vec<(Range<usize>, Vec<u8>)> = vec![(
            serial_at.clone(),
            next_serial(*serial, today).to_string().into_bytes(),
        )];
        for record in removed {
            edits.push((record.at.clone(), Vec::new()));
            edits.extend(self.owner_handed_on(record, removed));
        }
        if !lines.is_empty() {
            let before = self.text.get(..place).unwrap_or_default();
            let is_cut = !before.is_empty() && !before.ends_with(b"\n");
            edits.push((
                place..place,
                [if is_cut { "\n" } else { "" }, lines].concat().into_bytes(),
            ));
        }
        edits.sort_by_key(|(at, _)| (at.start, at.end));
        let mut text = Vec::with_capacity(self.text.len() + lines.len());
        let mut copied = 0;
        for (at, new) in edits {
            text.extend_from_slice(self.text.get(copied..at.start).unwrap_or_default());
            text.extend(new);
            copied = copied.max(at.end);
        }
        text.extend_from_slice(self.text.get(copied..).unwrap_or_default());
        text
    }

    /// Returns the edit that writes the owner before the record after one that goes, where that one names it for both.
    fn owner_handed_on(&self, record: &Record, removed: &[&Record]) -> Option<(Range<usize>, Vec<u8>)> {
        let owner = self.text.get(record.owner_at.clone()?)?.to_vec();
        let is_left = |other: &&Record| !removed.iter().any(|gone| gone.at == other.at);
        let next = self
            .records
            .iter()
            .skip_while(|other| other.at != record.at)
            .skip(1)
            .take_while(|other| other.owner_at.is_none())
            .find(is_left)?;
        Some((next.at.start..next.at.start, owner))
    }
}

/// Reads entries one after another: what each leaves open is as it was before.
struct Reader {
    origin: DomainName,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    last_owner: Option<String>,
}

impl Reader {
    fn read(&mut self, entry: &Entry) -> Result<Option<Record>, ZoneError> {
        let wrong = |reason: &str| ZoneError::Record(entry.line, reason.to_owned());
        let first = entry.words.first().ok_or_else(|| wrong("it is empty"))?;
        if let Some(directive) = first
            .plain()
            .filter(|word| word.starts_with('$') && !entry.is_indented)
        {
            self.directive(directive, entry)?;
            return Ok(None);
        }
        let mut words = entry.words.as_slice();
        let mut owner_at = None;
        if !entry.is_indented {
            owner_at = Some(first.at.clone());
            words = words.get(1..).unwrap_or_default();
            self.last_owner = Some(self.owner(first));
        }
        let owner = self
            .last_owner
            .clone()
            .ok_or_else(|| wrong("it has no owner name"))?;
        let mut ttl = None;
        let kind = loop {
            let (word, rest) = words.split_first().ok_or_else(|| wrong("it has no type"))?;
            words = rest;
            let text = word.plain().ok_or_else(|| wrong("its type is none"))?;
            if ttl.is_none()
                && let Some(seconds) = seconds(text)
            {
                ttl = Some(seconds);
            } else if ["CH", "HS", "CS"]
                .iter()
                .any(|class| text.eq_ignore_ascii_case(class))
            {
                return Err(wrong("its class is not IN"));
            } else if !text.eq_ignore_ascii_case("IN") {
                break text.to_ascii_uppercase();
            }
        };
        if SIGNERS.contains(&kind.as_str()) {
            return Err(ZoneError::Signed(entry.line, kind));
        }
        if ttl.is_some() {
            self.last_ttl = ttl;
        }
        Ok(Some(Record {
            owner,
            ttl: ttl.or(self.default_ttl).or(self.last_ttl),
            kind,
            data: words.to_vec(),
            origin: self.origin.clone(),
            at: entry.at.clone(),
            owner_at,
        }))
    }

    fn directive(&mut self, directive: &str, entry: &Entry) -> Result<(), ZoneError> {
        let argument = entry.words.get(1).and_then(Word::plain).unwrap_or_default();
        let wrong = || ZoneError::Record(entry.line, format!("{directive} says nothing that is understood"));
        match directive.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                let absolute = match argument.strip_suffix('.') {
                    Some(absolute) => absolute.to_owned(),
                    None if argument == "@" => self.origin.to_string(),
                    None => format!("{argument}.{}", self.origin),
                };
                self.origin = DomainName::from_dns(&absolute).map_err(|_| wrong())?;
            }
            "$TTL" => self.default_ttl = Some(seconds(argument).ok_or_else(wrong)?),
            other => return Err(ZoneError::Directive(entry.line, other.to_owned())),
        }
        Ok(())
    }

    /// Returns an owner name, absolute and in lower case; odd ones as they are written.
    fn owner(&self, word: &Word) -> String {
        let text = word.raw().to_ascii_lowercase();
        match text.strip_suffix('.') {
            Some(absolute) => absolute.to_owned(),
            None if text == "@" => self.origin.to_string(),
            None => format!("{text}.{}", self.origin),
        }
    }
}

/// Returns the serial, and where it stands.
fn serial_of(records: &[Record], zone: &DomainName) -> Result<(u32, Range<usize>), ZoneError> {
    let mut found = records.iter().filter(|record| record.kind == "SOA");
    let (Some(soa), None) = (found.next(), found.next()) else {
        return Err(ZoneError::NoSoa(zone.clone()));
    };
    let serial = soa.data.get(2).filter(|_| soa.owner == zone.as_str());
    serial
        .and_then(|word| Some((word.plain()?.parse().ok()?, word.at.clone())))
        .ok_or_else(|| ZoneError::NoSoa(zone.clone()))
}

/// Returns the next serial: one more, or the first of today where it is a date (RFC 1912, 2.2; RFC 1982, 3.1).
fn next_serial(serial: u32, today: u32) -> u32 {
    let first_of_today = today.saturating_mul(100);
    let is_date = (19_700_101..=today).contains(&(serial / 100));
    match is_date && serial < first_of_today {
        true => first_of_today,
        // 0 is what some programs take for "none".
        false => serial.checked_add(1).unwrap_or(1),
    }
}

/// Reads a TTL: seconds, or BIND's `1h30m`.
fn seconds(text: &str) -> Option<u32> {
    let mut total = 0_u32;
    let mut number = None;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let digit = u32::from(byte - b'0');
            number = Some(number.unwrap_or(0_u32).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match (number, text.is_empty()) {
        (Some(number), _) => total.checked_add(number),
        (None, false) => Some(total),
        (None, true) => None,
    }
}

/// Returns what a record says, however it is written; of an SOA record without its serial.
fn described(record: &Record) -> String {
    let ttl = record.ttl.map_or_else(|| "-".to_owned(), |ttl| ttl.to_string());
    let known = RecordType::from_name(&record.kind)
        .and_then(|kind| Rdata::from_words(kind, &record.data, Some(&record.origin)).ok());
    let data = known.map_or_else(
        || {
            let word = |(index, word): (usize, &Word)| match (record.kind.as_str(), index) {
                ("SOA", 2) => "*".to_owned(),
                _ => format!("{:?}", (word.raw(), word.is_quoted())),
            };
            let words: Vec<String> = record.data.iter().enumerate().map(word).collect();
            format!("{} below {}", words.join(" "), record.origin)
        },
        |data| data.to_string(),
    );
    format!("{} {ttl} {} {data}", record.owner, record.kind)
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = "; the zone\n$TTL 1h\n@\tIN SOA ns root (\n\t2026112501 ; serial\n\t1h 10m 1w 1h )\n\tNS ns\nns A 192.0.2.1\nwww\tA 192.0.2.2 ; web\n\tTXT \"one\"\n    TXT \"two\" ; second\n$ORIGIN sub.a.test.\nx 300 IN TXT three\n";

    fn edit(zone: &str, name: &str, add: &[&str], remove: &[&str]) -> Result<Option<String>, ZoneError> {
        let data = |texts: &[&str]| texts.iter().map(|text| Rdata::text(text)).collect::<Vec<_>>();
        let parsed = ZoneText::parse(zone.as_bytes(), &"a.test".parse().unwrap())?;
        let name = DomainName::from_dns(name).unwrap();
        let edited = parsed.edited(&name, (&data(add), &data(remove)), 60, 20_261_126)?;
        Ok(edited.map(|text| String::from_utf8(text).unwrap()))
    }

    #[track_caller]
    fn check(zone: &str, name: &str, add: &[&str], remove: &[&str], replaced: &[(&str, &str)]) {
        let mut expected = zone.replace("2026112501", "2026112600");
        for (old, new) in replaced {
            assert!(expected.contains(old), "{old}");
            expected = expected.replacen(old, new, 1);
        }
        assert_eq!(edit(zone, name, add, remove).unwrap().unwrap(), expected);
    }

    #[test]
    fn lists_what_the_file_says() {
        let zone = ZoneText::parse(ZONE.as_bytes(), &"a.test".parse().unwrap()).unwrap();
        let list = |name: &str| zone.rrset(&name.parse().unwrap(), RecordType::Txt).unwrap();
        assert_eq!(
            (list("www.a.test").ttl, list("www.a.test").values.len()),
            (3600, 2)
        );
        assert_eq!(list("x.sub.a.test").values, [Rdata::text("three")]);
        assert_eq!((list("x.sub.a.test").ttl, list("none.a.test").ttl), (300, 0));
    }

    #[test]
    fn adds_beside_and_removes_one_line() {
        let www = "www.a.test.\t3600\tIN\tTXT\t\"new\"\n";
        let second = "    TXT \"two\" ; second\n";
        check(
            ZONE,
            "www.a.test",
            &["new"],
            &[],
            &[(second, &format!("{second}{www}"))],
        );
        check(ZONE, "www.a.test", &[], &["two"], &[(second, "")]);
        check(
            ZONE,
            "www.a.test",
            &["new"],
            &["one"],
            &[("\tTXT \"one\"\n", ""), (second, &format!("{second}{www}"))],
        );
        let line = "y.a.test.\t60\tIN\tTXT\t\"new\"\n";
        check(
            ZONE,
            "y.a.test",
            &["new"],
            &[],
            &[("three\n", &format!("three\n{line}"))],
        );
        let unended = ZONE.trim_end();
        check(
            unended,
            "y.a.test",
            &["new"],
            &[],
            &[("three", &format!("three\n{line}"))],
        );
        assert_eq!(edit(ZONE, "www.a.test", &["one"], &["gone"]), Ok(None));
    }

    #[test]
    fn hands_the_owner_on_when_its_line_goes() {
        let zone = "a.test. 60 IN SOA ns root 7 1 1 1 1\nw 60 TXT one\n  60 TXT two ; 2\n\t60 A 192.0.2.1\n";
        let all = edit(zone, "w.a.test", &[], &["one"]).unwrap().unwrap();
        assert!(
            all.ends_with("8 1 1 1 1\nw  60 TXT two ; 2\n\t60 A 192.0.2.1\n"),
            "{all}"
        );
        let all = edit(zone, "w.a.test", &[], &["one", "two"]).unwrap().unwrap();
        assert!(all.ends_with("8 1 1 1 1\nw\t60 A 192.0.2.1\n"), "{all}");
    }

    #[test]
    fn a_line_that_others_take_their_ttl_from_is_not_removed() {
        let zone = "@ 60 IN SOA ns root 7 1 1 1 1\nw 30 TXT one\nv TXT two\n";
        assert_eq!(edit(zone, "w.a.test", &[], &["one"]), Err(ZoneError::Entangled));
        // What is added says its own TTL, and goes where nobody takes it.
        let added = edit(zone, "w.a.test", &["new"], &[]).unwrap().unwrap();
        assert!(
            added.ends_with("\nw.a.test.\t30\tIN\tTXT\t\"new\"\nv TXT two\n"),
            "{added}"
        );
    }

    #[test]
    fn refuses_what_it_does_not_see_through() {
        let soa = "@ 60 IN SOA ns root 7 1 1 1 1\n";
        let check = |zone: String, expected: &str| {
            let error = edit(&zone, "a.test", &["x"], &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{zone}: {error}");
        };
        check(format!("{soa}$INCLUDE other\n"), "line 2 has $INCLUDE");
        check(
            format!("{soa}$GENERATE 1-9 a$ A 192.0.2.$\n"),
            "line 2 has $GENERATE",
        );
        check(format!("{soa}@ 60 RRSIG A 8\n"), "line 2 has a RRSIG record");
        check("@ 60 NS ns\n".to_owned(), "SOA record of a.test");
        check(format!("{soa}{soa}"), "SOA record of a.test");
        check(
            "b.test. 60 IN SOA ns root 7 1 1 1 1\n".to_owned(),
            "SOA record of a.test",
        );
        check(format!("{soa}w TXT (\n"), "line 2 cannot be read");
        check(format!("{soa}@ 60 TXT\n"), "TXT record");
        check(format!(" {soa}"), "no owner");
    }

    #[test]
    fn serials_grow() {
        let check = |serial, expected| assert_eq!(next_serial(serial, 20_261_126), expected, "{serial}");
        check(2_026_112_501, 2_026_112_600);
        check(2_026_112_600, 2_026_112_601);
        check(2_026_112_699, 2_026_112_700);
        check(7, 8);
        check(2_030_010_100, 2_030_010_101);
        check(u32::MAX, 1);
        assert_eq!(
            (
                seconds("1h30m"),
                seconds("0"),
                seconds("1w2d"),
                seconds("A"),
                seconds("h")
            ),
            (Some(5400), Some(0), Some(777_600), None, None)
        );
    }
}
