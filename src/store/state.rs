//! Lineages on disk: the record, the generations, the live link; and accounts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Store, StoreError, layout, layout::file};
use crate::{
    env::files::{self, Access, FileError},
    model::{
        limits::Ledger,
        lineage::{FORMAT, Lineage},
    },
};

/// No record or PEM file of ours is larger, in bytes.
pub(super) const LIMIT: u64 = 1 << 20;

/// No ledger of a CA's limits is larger, in bytes: twenty thousand buckets with long names.
const LEDGER_LIMIT: u64 = 8 << 20;

/// The parts of one generation as PEM text.
pub struct Pem<'a> {
    /// The private key, PKCS#8.
    pub key: &'a str,
    /// The leaf.
    pub leaf: &'a str,
    /// The chain below the leaf, root left out; may be empty.
    pub chain: &'a str,
}

impl Store {
    /// Reads a lineage; one that was never saved is new.
    ///
    /// # Errors
    /// When the record cannot be read, is corrupt, or was written by a newer program.
    pub fn load(&self, name: &str) -> Result<Lineage, StoreError> {
        let path = self.layout().state(name);
        let Some(bytes) = files::read_own_if_exists(&path, LIMIT)? else {
            return Ok(Lineage::new(name));
        };
        let lineage: Lineage = parse_record(&path, &bytes)?;
        if lineage.name != name {
            return Err(StoreError::Corrupt {
                path,
                reason: format!("it is about `{}`", lineage.name),
            });
        }
        Ok(lineage)
    }

    /// Saves a lineage's record so that it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written; the old record stays then.
    pub fn save(&self, lineage: &Lineage) -> Result<(), StoreError> {
        let path = self.layout().state(&lineage.name);
        self.make_lineage_directory(&lineage.name)?;
        Ok(files::write_atomic(
            &path,
            &json(&path, lineage)?,
            Access::PRIVATE,
        )?)
    }

    /// Deletes what a killed [`Self::save`] left beside the record.
    ///
    /// # Errors
    /// When it is there and cannot be deleted.
    pub fn discard_unfinished_record(&self, name: &str) -> Result<(), StoreError> {
        Ok(files::discard_unfinished(&self.layout().state(name))?)
    }

    pub(super) fn make_lineage_directory(&self, name: &str) -> Result<(), StoreError> {
        files::make_directory(self.layout().root(), layout::WALKABLE)?;
        let parts = [
            self.layout().lineages(),
            self.layout().live_directory(),
            self.layout().lineage(name),
        ];
        for part in parts {
            files::make_own_directory(&part, layout::WALKABLE)?;
        }
        Ok(())
    }

    /// Puts the key of a generation to come on disk, before anybody is asked for a certificate.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_key(&self, name: &str, number: u64, pem: &str, access: Access) -> Result<(), StoreError> {
        self.make_lineage_directory(name)?;
        let directory = self.layout().unfinished(name, number);
        // The record with the intent comes next, into the same directory: its fsync brings this name to disk too.
        files::make_own_directory_unsynced(&directory, layout::PRIVATE)?;
        Ok(files::write_atomic(
            &directory.join(file::PRIVKEY),
            pem.as_bytes(),
            access,
        )?)
    }

    /// Reads the key of a generation to come; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_unfinished_key(&self, name: &str, number: u64) -> Result<Option<String>, StoreError> {
        self.load_key_file(&self.layout().unfinished(name, number).join(file::PRIVKEY))
    }

    /// Reads the key of a complete generation; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_key(&self, name: &str, number: u64) -> Result<Option<String>, StoreError> {
        self.load_key_file(&self.layout().generation(name, number).join(file::PRIVKEY))
    }

    fn load_key_file(&self, path: &Path) -> Result<Option<String>, StoreError> {
        let Some(bytes) = files::read_if_exists(path, LIMIT)? else {
            return Ok(None);
        };
        let corrupt = |_| StoreError::Corrupt {
            path: path.to_owned(),
            reason: "it is not text".to_owned(),
        };
        String::from_utf8(bytes).map(Some).map_err(corrupt)
    }

    /// Returns the number for a generation to come: one that neither the record nor a run that was killed has used.
    pub fn next_number(&self, lineage: &Lineage) -> u64 {
        let is_free = |number: &u64| !self.layout().generation(&lineage.name, *number).exists();
        let first = lineage.newest.saturating_add(1);
        (first..u64::MAX).find(is_free).unwrap_or(first)
    }

    /// Completes a generation: every file is on disk before the directory gets its name by one rename.
    ///
    /// A complete directory of this number, left by a run that was killed before it saved its record, is kept when it
    /// holds the same leaf.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn complete(&self, name: &str, number: u64, pem: &Pem<'_>, access: Access) -> Result<(), StoreError> {
        self.make_lineage_directory(name)?;
        let finished = self.layout().generation(name, number);
        if finished.is_dir() {
            let there = files::read_if_exists(&finished.join(file::CERT), LIMIT)?;
            if there.as_deref() == Some(pem.leaf.as_bytes()) {
                return Ok(());
            }
            let reason = "a generation with another certificate is there".to_owned();
            return Err(StoreError::Corrupt {
                path: finished,
                reason,
            });
        }
        let directory = self.layout().unfinished(name, number);
        files::make_own_directory(&directory, layout::PRIVATE)?;
        let fullchain = format!("{}{}", pem.leaf, pem.chain);
        let combined = format!("{}{fullchain}", pem.key);
        // The key is on disk since before the order. Where it is not as it should be, it is never gone for a moment.
        let key = directory.join(file::PRIVKEY);
        if files::is_as_wanted(&key, pem.key.as_bytes(), access) {
            // As old as the others, by which a generation that nobody has touched is known.
            files::touch(&key)?;
        } else {
            files::write_atomic(&key, pem.key.as_bytes(), access)?;
        }
        // Nobody reads the directory before it has its name: what is in it needs no order among itself.
        files::write_together(
            &directory,
            &[
                (file::COMBINED, combined.as_bytes(), access),
                (file::CERT, pem.leaf.as_bytes(), Access::PUBLIC),
                (file::CHAIN, pem.chain.as_bytes(), Access::PUBLIC),
                (file::FULLCHAIN, fullchain.as_bytes(), Access::PUBLIC),
            ],
        )?;
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |reason| StoreError::File(FileError { verb, path, reason })
        };
        let walkable = std::os::unix::fs::PermissionsExt::from_mode(layout::WALKABLE);
        fs::set_permissions(&directory, walkable).map_err(failed("open", &directory))?;
        fs::rename(&directory, &finished).map_err(failed("rename into place", &finished))?;
        Ok(files::sync_directory(&self.layout().lineage(name))?)
    }

    /// Returns the full chain of a complete generation as PEM text.
    ///
    /// # Errors
    /// When it cannot be read or is not text.
    pub fn load_fullchain(&self, name: &str, number: u64) -> Result<String, StoreError> {
        let path = self.layout().generation(name, number).join(file::FULLCHAIN);
        let bytes = files::read(&path, LIMIT)?;
        String::from_utf8(bytes).map_err(|_| StoreError::Corrupt {
            path,
            reason: "it is not text".to_owned(),
        })
    }

    /// Points the live link at a generation, by one rename.
    ///
    /// # Errors
    /// When the generation's directory is not there, or the link cannot be swapped.
    pub fn point_live_at(&self, name: &str, number: u64) -> Result<(), StoreError> {
        let generation = self.layout().generation(name, number);
        if !generation.join(file::FULLCHAIN).is_file() {
            return Err(StoreError::Corrupt {
                path: generation,
                reason: "the generation is not complete".into(),
            });
        }
        files::make_own_directory(&self.layout().live_directory(), layout::WALKABLE)?;
        if self.live_points_at(name) == Some(number) {
            return Ok(());
        }
        Ok(files::swap_link(
            &self.layout().live_target(name, number),
            &self.layout().live(name),
        )?)
    }

    /// Puts the live link where a restore or a copying tool left a directory; returns where that is kept now.
    ///
    /// # Errors
    /// When the two cannot be exchanged.
    pub fn mend_copied_live(&self, name: &str, number: u64) -> Result<Option<PathBuf>, StoreError> {
        let live = self.layout().live(name);
        files::make_own_directory(&self.layout().live_directory(), layout::WALKABLE)?;
        if !fs::symlink_metadata(&live).is_ok_and(|meta| meta.is_dir()) {
            return Ok(None);
        }
        let aside = (1..).map(|n| self.layout().copied_live(name, n));
        let aside = aside
            .take(1000)
            .find(|path| fs::symlink_metadata(path).is_err())
            .unwrap_or_else(|| self.layout().copied_live(name, 0));
        files::exchange_for_link(&live, &self.layout().live_target(name, number), &aside)?;
        Ok(Some(aside))
    }

    /// Takes the live link away, when a first deployment is rolled back.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_live(&self, name: &str) -> Result<(), StoreError> {
        Ok(files::remove(&self.layout().live(name))?)
    }

    /// Returns the generation that the live link really points at.
    pub fn live_points_at(&self, name: &str) -> Option<u64> {
        let target = fs::read_link(self.layout().live(name)).ok()?;
        let number = target.file_name()?.to_str()?.parse().ok()?;
        (target == self.layout().live_target(name, number)).then_some(number)
    }

    /// Deletes a generation's directory.
    ///
    /// # Errors
    /// When it is there and cannot be deleted.
    pub fn prune(&self, name: &str, number: u64) -> Result<(), StoreError> {
        self.remove_directory(self.layout().generation(name, number))
    }

    /// Returns whether an order that is not at its end left something behind.
    #[must_use]
    pub fn has_unfinished(&self, name: &str, number: u64) -> bool {
        self.layout().unfinished(name, number).exists()
    }

    /// Deletes what an order that came to nothing left behind.
    ///
    /// # Errors
    /// When it is there and cannot be deleted.
    pub fn discard_unfinished(&self, name: &str, number: u64) -> Result<(), StoreError> {
        self.remove_directory(self.layout().unfinished(name, number))
    }

    pub(super) fn remove_directory(&self, path: PathBuf) -> Result<(), StoreError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::File(FileError {
                verb: "remove",
                path,
                reason: error,
            })),
            _ => Ok(()),
        }
    }

    /// Reads the account kept for a CA as the text that was saved.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_account(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(files::read_if_exists(&self.layout().account(key), LIMIT)?)
    }

    /// Saves the account for a CA: 0600 before the first byte.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_account(&self, key: &str, record: &[u8]) -> Result<(), StoreError> {
        files::make_directory(self.layout().root(), layout::WALKABLE)?;
        let path = self.layout().account(key);
        if let Some(directory) = path.parent() {
            files::make_own_directory(directory, layout::PRIVATE)?;
        }
        Ok(files::write_atomic(&path, record, Access::PRIVATE)?)
    }

    /// Deletes the file of an account that was taken over from another client, who has it still.
    ///
    /// # Errors
    /// When it is there and cannot be deleted.
    pub fn remove_account(&self, key: &str) -> Result<(), StoreError> {
        Ok(files::remove(&self.layout().account(key))?)
    }

    /// Deletes a lineage with all its generations: one that was taken over from another client, who has it still.
    ///
    /// # Errors
    /// When it is there and cannot be deleted.
    pub fn remove_lineage(&self, name: &str) -> Result<(), StoreError> {
        self.remove_directory(self.layout().lineage(name))
    }

    /// Reads what is known of the use of a CA's limits; `None` when nothing is.
    ///
    /// # Errors
    /// When it cannot be read, is corrupt, or was written by a newer program.
    pub fn load_limits(&self, key: &str) -> Result<Option<Ledger>, StoreError> {
        let path = self.layout().limits(key);
        match files::read_if_exists(&path, LEDGER_LIMIT)? {
            Some(bytes) => parse_record(&path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Saves what is known of the use of a CA's limits.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_limits(&self, key: &str, ledger: &Ledger) -> Result<(), StoreError> {
        files::make_directory(self.layout().root(), layout::WALKABLE)?;
        let path = self.layout().limits(key);
        if let Some(directory) = path.parent() {
            files::make_directory(directory, layout::PRIVATE)?;
        }
        Ok(files::write_atomic(
            &path,
            &json(&path, ledger)?,
            Access::PRIVATE,
        )?)
    }

    /// Puts an account's file aside, never over another; returns where it is now.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn retire_account(&self, key: &str) -> Result<PathBuf, StoreError> {
        let from = self.layout().account(key);
        let to = (1..=1000)
            .map(|n| self.layout().retired_account(key, n))
            .find(|path| fs::symlink_metadata(path).is_err())
            .unwrap_or_else(|| self.layout().retired_account(key, 0));
        fs::rename(&from, &to).map_err(|reason| {
            StoreError::File(FileError {
                verb: "rename",
                path: from.clone(),
                reason,
            })
        })?;
        if let Some(directory) = from.parent() {
            files::sync_directory(directory)?;
        }
        Ok(to)
    }

    /// Leaves a text about the last run; for people, so nothing is synced and a failure is no failure.
    pub fn note_last_run(&self, text: &str) {
        let line = format!("{text}\n");
        let _ = files::replace_unsynced(&self.layout().last_run(), Access::PUBLIC, |file| {
            file.write_all(line.as_bytes())
        });
    }

    /// Returns what the last run left.
    pub fn last_run(&self) -> Option<String> {
        let bytes = files::read(&self.layout().last_run(), 100).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Leaves the digest of Postfix's files of which every service was proven; without it, Postfix is looked at again.
    pub fn note_proven_services(&self, digest: &str) {
        let line = format!("{digest}\n");
        let _ = files::replace_unsynced(&self.layout().proven_services(), Access::PUBLIC, |file| {
            file.write_all(line.as_bytes())
        });
    }

    /// Returns the digest that was left.
    pub fn proven_services(&self) -> Option<String> {
        let bytes = files::read(&self.layout().proven_services(), 100).ok()?;
        Some(String::from_utf8(bytes).ok()?.trim_end().to_owned())
    }

    /// Returns whether the generation's files are all on disk.
    pub fn is_complete(&self, name: &str, number: u64) -> bool {
        let directory = self.layout().generation(name, number);
        [file::PRIVKEY, file::CERT, file::FULLCHAIN, file::COMBINED]
            .iter()
            .all(|name| fs::metadata(directory.join(name)).is_ok_and(|meta| meta.is_file() && meta.len() > 0))
    }
}

/// Reads one of our JSON records. A newer one need not look like ours at all, but it says its version.
pub(super) fn parse_record<T: serde::de::DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<T, StoreError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u64,
    }
    let reason = match serde_json::from_slice(bytes) {
        // Ours refuse a version that is not theirs, so that one look is enough.
        Ok(record) => return Ok(record),
        Err(error) => error.to_string(),
    };
    match serde_json::from_slice::<Versioned>(bytes) {
        Ok(Versioned { version }) if version > u64::from(FORMAT) => Err(StoreError::Newer {
            path: path.to_owned(),
            version,
        }),
        _ => Err(StoreError::Corrupt {
            path: path.to_owned(),
            reason,
        }),
    }
}

pub(super) fn json(path: &Path, record: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(|error| StoreError::Corrupt {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        (dir, store)
    }

    #[test]
    fn saves_and_loads_and_refuses_what_it_does_not_know() {
        let (_dir, store) = store();
        let mut lineage = store.load("a.example").unwrap();
        assert_eq!(lineage, Lineage::new("a.example"));
        lineage.newest = 7;
        store.save(&lineage).unwrap();
        assert_eq!(store.load("a.example").unwrap().newest, 7);
        let path = store.layout().state("a.example");
        let check = |content: &[u8], newer: bool| {
            fs::write(&path, content).unwrap();
            let error = store.load("a.example").unwrap_err();
            assert_eq!(matches!(error, StoreError::Newer { .. }), newer, "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        };
        check(b"{\"version\": 2, \"other\": true}", true);
        check(b"{\"version\": 1}", false);
        check(&[0; 512], false);
        check(b"", false);
    }

    #[test]
    fn a_generation_is_whole_before_it_has_a_name() {
        use std::os::unix::fs::MetadataExt;
        let (_dir, store) = store();
        let pem = Pem {
            key: "KEY\n",
            leaf: "LEAF\n",
            chain: "CHAIN\n",
        };
        store.save_key("a", 1, "KEY\n", Access::PRIVATE).unwrap();
        assert_eq!(
            store.load_unfinished_key("a", 1).unwrap().as_deref(),
            Some("KEY\n")
        );
        assert!(store.point_live_at("a", 1).is_err());
        store
            .complete(
                "a",
                1,
                &pem,
                Access {
                    mode: 0o640,
                    uid: None,
                    gid: None,
                },
            )
            .unwrap();
        store.complete("a", 1, &pem, Access::PRIVATE).unwrap();
        assert!(
            store
                .complete(
                    "a",
                    1,
                    &Pem {
                        leaf: "OTHER\n",
                        ..pem
                    },
                    Access::PRIVATE
                )
                .is_err()
        );
        store.point_live_at("a", 1).unwrap();
        assert_eq!(store.live_points_at("a"), Some(1));
        let live = store.layout().live("a");
        assert_eq!(
            fs::read_to_string(live.join(file::COMBINED)).unwrap(),
            "KEY\nLEAF\nCHAIN\n"
        );
        assert_eq!(
            fs::read_to_string(live.join(file::FULLCHAIN)).unwrap(),
            "LEAF\nCHAIN\n"
        );
        assert_eq!(
            fs::metadata(live.join(file::PRIVKEY)).unwrap().mode() & 0o7777,
            0o640
        );
        assert_eq!(
            fs::metadata(live.join(file::COMBINED)).unwrap().mode() & 0o7777,
            0o640
        );
        assert_eq!(
            fs::metadata(live.join(file::CERT)).unwrap().mode() & 0o7777,
            0o644
        );
        assert_eq!(
            store.layout().lineage_of(&live.join(file::CERT)).as_deref(),
            Some("a")
        );
        assert!(store.load_unfinished_key("a", 1).unwrap().is_none());
    }
}
