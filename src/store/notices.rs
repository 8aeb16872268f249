//! What the operator was told, and the last run of each command.

use super::{
    Store, StoreError,
    state::{json, parse_record},
};
use crate::{
    env::files::{self, Access},
    model::{metrics::Runs, notice::Notices},
};

/// No file of either is larger, in bytes: ten thousand lineages in trouble fit.
const LIMIT: u64 = 16 << 20;

impl Store {
    /// Reads what the operator was told; nothing when it was never saved.
    ///
    /// # Errors
    /// When it cannot be read, is corrupt, or was written by a newer program.
    pub fn load_notices(&self) -> Result<Notices, StoreError> {
        let path = self.layout().notices();
        match files::read_if_exists(&path, LIMIT)? {
            Some(bytes) => parse_record(&path, &bytes),
            None => Ok(Notices::default()),
        }
    }

    /// Saves what the operator was told so that it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written; the old file stays then.
    pub fn save_notices(&self, notices: &Notices) -> Result<(), StoreError> {
        let path = self.layout().notices();
        Ok(files::write_atomic(
            &path,
            &json(&path, notices)?,
            Access::PRIVATE,
        )?)
    }

    /// Reads the last run of each command. A file that cannot be read is as none: the next runs fill it again.
    pub fn load_runs(&self) -> Runs {
        let path = self.layout().runs();
        let bytes = files::read_if_exists(&path, LIMIT).ok().flatten();
        bytes
            .and_then(|bytes| parse_record(&path, &bytes).ok())
            .unwrap_or_default()
    }

    /// Saves the last run of each command; nothing is synced, since the next run writes it anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_runs(&self, runs: &Runs) -> Result<(), StoreError> {
        let path = self.layout().runs();
        let bytes = json(&path, runs)?;
        Ok(files::replace_unsynced(&path, Access::PRIVATE, |out| {
            out.write_all(&bytes)
        })?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use time::macros::datetime;

    use super::*;

    #[test]
    fn reads_back_what_was_saved_and_refuses_what_it_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.load_notices().unwrap(), Notices::default());
        let notices = Notices {
            mail_failure: Some("no".to_owned()),
            mailed_at: Some(datetime!(2030-01-01 0:00 UTC)),
            ..Notices::default()
        };
        store.save_notices(&notices).unwrap();
        assert_eq!(store.load_notices().unwrap(), notices);
        fs::write(store.layout().notices(), "{\"version\": 2}").unwrap();
        assert!(matches!(store.load_notices(), Err(StoreError::Newer { .. })));
        fs::write(store.layout().notices(), [0; 512]).unwrap();
        assert!(matches!(store.load_notices(), Err(StoreError::Corrupt { .. })));

        let mut runs = store.load_runs();
        assert_eq!(runs, Runs::default());
        runs.note("renew", datetime!(2030-01-01 0:00 UTC), 12, 0);
        store.save_runs(&runs).unwrap();
        assert_eq!(store.load_runs(), runs);
        fs::write(store.layout().runs(), "").unwrap();
        assert_eq!(store.load_runs(), Runs::default());
    }
}
