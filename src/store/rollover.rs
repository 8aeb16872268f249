//! The next key of a lineage, made before it is wanted so that its TLSA record can be published, and what is known of such
//! records.

use super::{
    Store, StoreError, layout,
    state::{LIMIT, json, parse_record},
};
use crate::{
    env::files::{self, Access},
    model::{key::PrivateKey, rollover::Rollover},
};

impl Store {
    /// Reads what is known of a lineage's TLSA records. A record that cannot be read is as none: all waiting begins anew.
    pub fn load_rollover(&self, name: &str) -> Rollover {
        let path = self.layout().rollover(name);
        let bytes = files::read_if_exists(&path, LIMIT).ok().flatten();
        bytes
            .and_then(|bytes| parse_record(&path, &bytes).ok())
            .unwrap_or_default()
    }

    /// Saves what is known of a lineage's TLSA records so that it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written; the old record stays then.
    pub fn save_rollover(&self, name: &str, rollover: &Rollover) -> Result<(), StoreError> {
        let path = self.layout().rollover(name);
        files::make_own_directory(&self.layout().next_key_directory(name), layout::PRIVATE)?;
        Ok(files::write_atomic(
            &path,
            &json(&path, rollover)?,
            Access::PRIVATE,
        )?)
    }

    /// Reads the next key of a lineage; `None` where there is none, or what is there is no key.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load_next_key(&self, name: &str) -> Result<Option<PrivateKey>, StoreError> {
        let pem = files::read_if_exists(&self.layout().next_key(name), LIMIT)?;
        Ok(pem.and_then(|pem| PrivateKey::from_pem(&pem).ok()))
    }

    /// Puts the next key of a lineage on disk, before anything of it is published.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_next_key(&self, name: &str, key: &PrivateKey) -> Result<(), StoreError> {
        self.make_lineage_directory(name)?;
        files::make_own_directory(&self.layout().next_key_directory(name), layout::PRIVATE)?;
        Ok(files::write_atomic(
            &self.layout().next_key(name),
            key.to_pem().as_bytes(),
            Access::PRIVATE,
        )?)
    }
}
