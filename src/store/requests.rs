//! Requests for certificates that a CA answers by mail or web form, each with its key, until the answer is installed.
//!
//! Several wait side by side: who asks anew must not lose the key that an answer may still come for.

use std::{fs, path::Path};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{Store, StoreError, layout, layout::file, state::LIMIT};
use crate::{
    env::files::{self, Access},
    model::{key::PrivateKey, request},
};

/// So many wait at most; the oldest go first.
const MOST: usize = 8;

/// A request without its answer.
pub struct Request {
    /// Its number; higher ones are newer.
    pub number: u64,
    /// Its key.
    pub key: PrivateKey,
    /// The request, DER; `None` when a run was killed before it was on disk.
    pub der: Option<Vec<u8>>,
}

impl Store {
    /// Returns the requests of a lineage, newest first. One whose key cannot be read as a key is passed over: nothing can be
    /// installed for it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn load_requests(&self, name: &str) -> Result<Vec<Request>, StoreError> {
        let mut requests = Vec::new();
        for number in self.request_numbers(name) {
            let directory = self.layout().request(name, number);
            let key = files::read_if_exists(&directory.join(file::PRIVKEY), LIMIT)?;
            if let Some(key) = key.and_then(|pem| PrivateKey::from_pem(&pem).ok()) {
                let pem = files::read_if_exists(&directory.join(file::REQUEST), LIMIT)?;
                let der = pem.and_then(|pem| request::from_pem(&pem));
                requests.push(Request { number, key, der });
            }
        }
        Ok(requests)
    }

    /// Returns when the newest request of a lineage was made; `None` when none waits.
    pub fn requested_at(&self, name: &str) -> Option<OffsetDateTime> {
        let number = *self.request_numbers(name).first()?;
        let path = self.layout().request(name, number).join(file::REQUEST);
        Some(fs::metadata(path).ok()?.modified().ok()?.into())
    }

    /// Keeps a request and its key, the key first; `number` is that of a request to replace, which has the same key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_request(
        &self,
        name: &str,
        number: Option<u64>,
        key: &PrivateKey,
        der: &[u8],
    ) -> Result<u64, StoreError> {
        self.make_lineage_directory(name)?;
        let there = self.request_numbers(name);
        let next = there.first().map_or(1, |newest| newest.saturating_add(1));
        let number = number.unwrap_or(next);
        files::make_own_directory(&self.layout().requests(name), layout::PRIVATE)?;
        let directory = self.layout().request(name, number);
        files::make_own_directory(&directory, layout::PRIVATE)?;
        let key_file = directory.join(file::PRIVKEY);
        let pem = key.to_pem();
        if !files::is_as_wanted(&key_file, pem.as_bytes(), Access::PRIVATE) {
            files::write_atomic(&key_file, pem.as_bytes(), Access::PRIVATE)?;
        }
        let request = request::to_pem(der);
        files::write_atomic(
            &directory.join(file::REQUEST),
            request.as_bytes(),
            Access::PRIVATE,
        )?;
        for old in there.into_iter().skip(MOST - 1) {
            self.remove_directory(self.layout().request(name, old))?;
        }
        Ok(number)
    }

    /// Takes a request away that was answered, and all older ones.
    ///
    /// # Errors
    /// When one is there and cannot be deleted.
    pub fn remove_requests(&self, name: &str, up_to: u64) -> Result<(), StoreError> {
        for number in self.request_numbers(name) {
            if number <= up_to {
                self.remove_directory(self.layout().request(name, number))?;
            }
        }
        Ok(())
    }

    /// Returns the numbers of requests on disk, newest first.
    fn request_numbers(&self, name: &str) -> Vec<u64> {
        let mut numbers: Vec<u64> = files::list(&self.layout().requests(name))
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers
    }
}

/// Writes key and request where an operator wants them: new files only, 0600 before the first byte, all of them or none.
///
/// # Errors
/// When one of them is there already, or cannot be written.
pub fn write_out(directory: &Path, wanted: &[(String, Zeroizing<String>)]) -> Result<(), files::FileError> {
    let mut written = Vec::new();
    for (name, text) in wanted {
        let path = directory.join(name);
        if let Err(error) = files::write_new(&path, text.as_bytes(), Access::PRIVATE) {
            if error.reason.kind() != std::io::ErrorKind::AlreadyExists {
                written.push(path);
            }
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(error);
        }
        written.push(path);
    }
    files::sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{key::KeyType, request::Subject};

    #[test]
    fn several_wait_and_an_answer_ends_the_older_ones() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let key = || PrivateKey::generate(KeyType::EcdsaP256).unwrap();
        let names = ["a.example".parse().unwrap()];
        let numbers = |store: &Store| -> Vec<u64> {
            let requests = store.load_requests("a").unwrap();
            requests.iter().map(|request| request.number).collect()
        };
        assert_eq!((numbers(&store), store.requested_at("a")), (vec![], None));
        for _ in 0..3 {
            let key = key();
            let der = request::make(&key, &names, &Subject::default()).unwrap();
            let number = store.save_request("a", None, &key, &der).unwrap();
            assert_eq!(store.save_request("a", Some(number), &key, &der).unwrap(), number);
            let newest = &store.load_requests("a").unwrap()[0];
            assert_eq!(newest.der.as_ref(), Some(&der));
            assert_eq!(newest.key.to_pem(), key.to_pem());
        }
        assert_eq!(numbers(&store), [3, 2, 1]);
        assert!(store.requested_at("a").is_some());
        store.remove_requests("a", 2).unwrap();
        assert_eq!(numbers(&store), [3]);
        for _ in 0..20 {
            let key = key();
            let der = request::make(&key, &names, &Subject::default()).unwrap();
            store.save_request("a", None, &key, &der).unwrap();
        }
        assert_eq!(numbers(&store).len(), MOST);
        assert_eq!(numbers(&store)[0], 23);
        // Half a request is none, and its number is not used again.
        fs::remove_file(store.layout().request("a", 23).join(file::PRIVKEY)).unwrap();
        assert_eq!(numbers(&store)[0], 22);
        let key = key();
        assert_eq!(store.save_request("a", None, &key, b"").unwrap(), 24);
    }

    #[test]
    fn files_are_written_all_or_none_and_never_over_another() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let files = |names: &[&str]| -> Vec<(String, Zeroizing<String>)> {
            names
                .iter()
                .map(|name| ((*name).to_owned(), Zeroizing::new("text".to_owned())))
                .collect()
        };
        write_out(directory.path(), &files(&["a", "b"])).unwrap();
        let mode = fs::metadata(directory.path().join("a"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        fs::write(directory.path().join("b"), "mine").unwrap();
        fs::remove_file(directory.path().join("a")).unwrap();
        assert!(write_out(directory.path(), &files(&["a", "b", "c"])).is_err());
        assert_eq!(files::list(directory.path()), ["b"]);
        assert_eq!(fs::read(directory.path().join("b")).unwrap(), b"mine");
    }
}
