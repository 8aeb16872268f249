//! What an apply replaced, and what it wrote, so that `undo` can take it back byte for byte.
//!
//! The entry is on disk before the first change is made. An apply that was killed leaves it `Begun`: what it had not
//! yet written is then still `before`, and undo copes with both.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Store, StoreError, layout,
    state::{json, parse_record},
};
use crate::{
    env::files::{self, Access, FileError},
    model::plan::{FileChange, FirewallChange, RrsetChange, TimerChange},
};

/// No journal entry is larger, in bytes.
const LIMIT: u64 = 64 << 20;

/// One apply that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The format's version; another one is not read.
    #[serde(deserialize_with = "crate::model::lineage::this_format")]
    pub version: u32,
    /// Its number; they only grow.
    pub number: u64,
    /// The command that made it.
    pub command: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How far it came.
    pub status: Status,
    /// Files, in the order in which they were written.
    pub files: Vec<FileChange>,
    /// RRsets, in the order in which they were changed.
    pub rrsets: Vec<RrsetChange>,
    /// The timer that was enabled.
    pub timer: Option<TimerChange>,
    /// Ports of the firewall, in the order in which they were opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firewall: Vec<FirewallChange>,
    /// What was taken over from another client. An older program that takes such an entry back leaves it in the state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
}

/// What was taken over from another client: nothing of it is secret, and their files are as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The client's name.
    pub client: String,
    /// Its directory.
    pub place: PathBuf,
    /// The lineages, with the generation that each got.
    pub lineages: BTreeMap<String, u64>,
    /// The account, where one was taken over.
    pub account: Option<ImportedAccount>,
    /// Files with secrets that were made beside the configuration, with the SHA-256 of each, lower-case hex.
    pub made: BTreeMap<PathBuf, String>,
}

/// An account that was taken over from another client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedAccount {
    /// The CA's directory.
    pub directory: String,
    /// As that client calls it.
    pub id: String,
    /// Of that client's key (RFC 7638).
    pub thumbprint: String,
}

/// How far an apply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was begun; whether all was written is seen from the files.
    Begun,
    /// All was written.
    Done,
    /// It took itself back because something got worse.
    RolledBack,
    /// `undo` took it back.
    Undone,
}

impl Entry {
    /// Returns whether it names no change at all.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.rrsets.is_empty()
            && self.timer.is_none()
            && self.firewall.is_empty()
            && self.import.is_none()
    }
}

impl Store {
    /// Writes a new entry, with the next number, before anything it names is changed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_entry(&self, command: &str, at: OffsetDateTime) -> Result<Entry, StoreError> {
        let number = self.entry_numbers()?.last().copied().unwrap_or(0) + 1;
        Ok(Entry {
            version: 1,
            number,
            command: command.to_owned(),
            at,
            status: Status::Begun,
            files: Vec::new(),
            rrsets: Vec::new(),
            timer: None,
            firewall: Vec::new(),
            import: None,
        })
    }

    /// Saves an entry so that it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_entry(&self, entry: &Entry) -> Result<(), StoreError> {
        files::make_directory(self.layout().root(), layout::WALKABLE)?;
        files::make_own_directory(&self.layout().journal(), layout::PRIVATE)?;
        let directory = self.layout().journal().join(entry.number.to_string());
        files::make_own_directory(&directory, layout::PRIVATE)?;
        let path = directory.join("entry.json");
        Ok(files::write_atomic(&path, &json(&path, entry)?, Access::PRIVATE)?)
    }

    /// Removes an entry whose changes were all refused.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn drop_entry(&self, entry: &Entry) -> Result<(), StoreError> {
        self.remove_directory(self.layout().journal().join(entry.number.to_string()))
    }

    /// Deletes what a killed [`Self::save_entry`] left: half of an entry that no change has followed, or of its new status.
    ///
    /// Only for whoever holds the lock. It is for tidiness alone: what is left harms nothing.
    ///
    /// # Errors
    /// When something is there and cannot be read or deleted.
    pub fn discard_unfinished_entry(&self) -> Result<(), StoreError> {
        let Some(number) = self.entry_numbers()?.last().copied() else {
            return Ok(());
        };
        let directory = self.layout().journal().join(number.to_string());
        let entry = directory.join("entry.json");
        files::discard_unfinished(&entry)?;
        if !entry.exists() {
            // Only when nothing else is in it: whatever that is, it is not ours to delete.
            let _ = fs::remove_dir(&directory);
        }
        Ok(())
    }

    /// Returns the last entry that changed something and was not taken back.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn last_entry(&self) -> Result<Option<Entry>, StoreError> {
        for number in self.entry_numbers()?.into_iter().rev() {
            if let Some(entry) = self.standing_entry(number)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Returns the entry that stands right before another, when a killed run left it. One that cannot be read is not known to be.
    pub fn killed_before(&self, entry: &Entry) -> Option<Entry> {
        let numbers = self.entry_numbers().ok()?.into_iter().rev();
        let mut earlier = numbers.filter(|number| *number < entry.number);
        let standing = earlier.find_map(|number| self.standing_entry(number).transpose())?;
        standing.ok().filter(|one| one.status == Status::Begun)
    }

    /// Returns every entry that was not taken back, the first one first: what this program wrote. Those that cannot be read are left
    /// out, and why is returned of the last one of them.
    pub fn standing_entries(&self) -> (Vec<Entry>, Option<StoreError>) {
        let numbers = match self.entry_numbers() {
            Ok(numbers) => numbers,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let (mut standing, mut unread) = (Vec::new(), None);
        for number in numbers {
            match self.standing_entry(number) {
                Ok(entry) => standing.extend(entry),
                Err(error) => unread = Some(error),
            }
        }
        (standing, unread)
    }

    /// Returns an entry, where it names a change that was not taken back.
    fn standing_entry(&self, number: u64) -> Result<Option<Entry>, StoreError> {
        let path = self
            .layout()
            .journal()
            .join(number.to_string())
            .join("entry.json");
        // What an entry says is written as root.
        let bytes = match files::read_trusted(&path, LIMIT) {
            Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let entry: Entry = parse_record(&path, &bytes)?;
        let stands = matches!(entry.status, Status::Begun | Status::Done) && !entry.is_empty();
        Ok(stands.then_some(entry))
    }

    fn entry_numbers(&self) -> Result<Vec<u64>, StoreError> {
        let path = self.layout().journal();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(reason) => {
                return Err(StoreError::File(FileError {
                    verb: "read",
                    path,
                    reason,
                }));
            }
        };
        let mut numbers: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn finds_the_last_entry_that_still_stands() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.last_entry().unwrap(), None);
        let at = datetime!(2026-01-01 0:00 UTC);
        let change = FileChange {
            path: "/x".into(),
            before: None,
            after: Some(vec![0, 255]),
            reasons: vec![],
        };
        for status in [Status::Begun, Status::Done, Status::Undone, Status::RolledBack] {
            let mut entry = store.begin_entry("apply", at).unwrap();
            entry.files.push(change.clone());
            entry.status = status;
            store.save_entry(&entry).unwrap();
        }
        let last = store.last_entry().unwrap().unwrap();
        assert_eq!((last.number, &last.files), (2, &vec![change]));
        let killed = store.killed_before(&last).unwrap();
        assert_eq!(killed.number, 1);
        assert_eq!(store.killed_before(&killed), None);
        let numbers = |(standing, unread): (Vec<Entry>, Option<StoreError>)| {
            let numbers: Vec<u64> = standing.iter().map(|entry| entry.number).collect();
            (numbers, unread.is_some())
        };
        assert_eq!(numbers(store.standing_entries()), (vec![1, 2], false));
        let first = store.layout().journal().join("1/entry.json");
        let whole = fs::read(&first).unwrap();
        fs::write(&first, &whole[..9]).unwrap();
        assert_eq!(numbers(store.standing_entries()), (vec![2], true));
        fs::write(&first, whole).unwrap();
        assert_eq!(store.begin_entry("apply", at).unwrap().number, 5);

        // A run was killed before its entry was whole, and another before its new status was.
        let journal = store.layout().journal();
        fs::create_dir(journal.join("5")).unwrap();
        fs::write(journal.join("5/.entry.json.mailcert"), "{").unwrap();
        store.discard_unfinished_entry().unwrap();
        assert!(!journal.join("5").exists());
        fs::write(journal.join("4/.entry.json.mailcert"), "{").unwrap();
        store.discard_unfinished_entry().unwrap();
        assert!(journal.join("4/entry.json").exists());
        assert!(!journal.join("4/.entry.json.mailcert").exists());
    }
}
