//! Which ports of the firewall are open for now, so that a run that was killed is cleaned up after by the next one.
//!
//! The record is on disk before the first port is opened, and goes when the last one is closed.

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError, layout,
    state::{json, parse_record},
};
use crate::{
    env::files::{self, Access},
    model::plan::FirewallChange,
};

/// No such record is larger, in bytes.
const LIMIT: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Openings {
    /// The format's version; another one is not read.
    #[serde(deserialize_with = "crate::model::lineage::this_format")]
    version: u32,
    changes: Vec<FirewallChange>,
}

impl Store {
    /// Returns the openings that nobody has closed yet.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn openings(&self) -> Result<Vec<FirewallChange>, StoreError> {
        let path = self.layout().openings();
        // What it says is carried out as root.
        match files::read_trusted(&path, LIMIT) {
            Ok(bytes) => Ok(parse_record::<Openings>(&path, &bytes)?.changes),
            Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps which ports are open for now; none removes the record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_openings(&self, changes: &[FirewallChange]) -> Result<(), StoreError> {
        let path = self.layout().openings();
        if changes.is_empty() {
            return Ok(files::remove(&path)?);
        }
        files::make_directory(self.layout().root(), layout::WALKABLE)?;
        let record = Openings {
            version: 1,
            changes: changes.to_vec(),
        };
        Ok(files::write_atomic(
            &path,
            &json(&path, &record)?,
            Access::PRIVATE,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{FirewallAction, Rules};

    #[test]
    fn keeps_what_is_open_and_forgets_what_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.openings().unwrap(), []);
        let change = FirewallChange {
            manager: "ufw".to_owned(),
            zone: None,
            service: None,
            port: 80,
            action: FirewallAction::OpenForNow,
            rules: Rules::Runtime,
            reason: "http-01".to_owned(),
        };
        store.save_openings(std::slice::from_ref(&change)).unwrap();
        assert_eq!(store.openings().unwrap(), [change]);
        store.save_openings(&[]).unwrap();
        assert_eq!(store.openings().unwrap(), []);
        store.save_openings(&[]).unwrap();
    }
}
