//! What a generation's files are worth, and how damaged ones are mended: key and chain are on disk more than once.
//!
//! An emptied key, a certificate cut short, a missing `combined.pem`, the key of another certificate: as long as one pair
//! that belongs together is left, every file is written anew from it. Each by rename: a daemon reads the damaged file or
//! the mended one.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Store, StoreError, layout::file, state::LIMIT};
use crate::{
    env::files::{self, Access, FileError},
    model::{certificate::Chain, key::PrivateKey},
};

/// The files of one generation are written within a moment; ones that are further apart, in seconds, were touched since.
const MOMENT: i64 = 600;

/// What became of a generation's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No pair that belongs together is left; why.
    Lost(String),
    /// These files were damaged, and were written anew from the others.
    Mended(Vec<&'static str>),
    /// Nothing is wrong with them.
    Whole,
}

/// A key and its chain, as a generation's files have them.
pub struct Pair {
    /// The key as PEM text.
    pub key_pem: String,
    /// The chain.
    pub chain: Chain,
}

impl Store {
    /// Returns whether nothing speaks against a generation's files: they are all there, their sizes add up, and none was
    /// written apart from the others. Reads none of them: ten thousand are looked at in every run.
    pub fn looks_whole(&self, name: &str, number: u64) -> bool {
        let directory = self.layout().generation(name, number);
        let look = |name: &str| {
            let meta = fs::symlink_metadata(directory.join(name)).ok()?;
            meta.is_file().then(|| (meta.len(), meta.mtime()))
        };
        let all = [
            file::PRIVKEY,
            file::CERT,
            file::CHAIN,
            file::FULLCHAIN,
            file::COMBINED,
        ]
        .map(look);
        let [
            Some(key),
            Some(leaf),
            Some(chain),
            Some(fullchain),
            Some(combined),
        ] = all
        else {
            return false;
        };
        let times = [key.1, leaf.1, chain.1, fullchain.1, combined.1];
        let (first, last) = (times.iter().min(), times.iter().max());
        let together = first
            .zip(last)
            .is_some_and(|(first, last)| last - first <= MOMENT);
        let adds_up = fullchain.0 == leaf.0 + chain.0 && combined.0 == key.0 + fullchain.0;
        key.0 > 0 && leaf.0 > 0 && adds_up && together
    }

    /// Reads a pair that belongs together out of a generation's files; one whose leaf has this SHA-256, where it is given.
    ///
    /// # Errors
    /// When a file that is there cannot be read; `Ok(None)` when no such pair is left.
    pub fn find_pair(
        &self,
        name: &str,
        number: u64,
        leaf_sha256: Option<&str>,
    ) -> Result<Option<Pair>, StoreError> {
        Ok(self.contents(name, number)?.pair(leaf_sha256))
    }

    /// Looks at a generation's files, and writes those anew that are damaged.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn mend_generation(
        &self,
        name: &str,
        number: u64,
        leaf_sha256: &str,
        access: Access,
    ) -> Result<Condition, StoreError> {
        let directory = self.layout().generation(name, number);
        let is_ours = fs::symlink_metadata(&directory).is_ok_and(|meta| meta.is_dir());
        if !is_ours {
            return Ok(Condition::Lost(format!(
                "{} is no directory",
                directory.display()
            )));
        }
        let contents = self.contents(name, number)?;
        let Some(pair) = contents.pair(Some(leaf_sha256)) else {
            return Ok(Condition::Lost(format!(
                "no key in {} belongs to the certificate that it was made for",
                directory.display()
            )));
        };
        let mut mended = Vec::new();
        for (name, content, access) in pair.files(access) {
            if contents.get(name) != Some(content.as_bytes()) {
                files::write_atomic(&directory.join(name), content.as_bytes(), access)?;
                mended.push(name);
            }
        }
        Ok(match mended.is_empty() {
            true => Condition::Whole,
            false => Condition::Mended(mended),
        })
    }

    /// Returns whether a generation's files are what they should be, however they look; reads them all.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn is_whole(&self, name: &str, number: u64, leaf_sha256: &str) -> Result<bool, StoreError> {
        let contents = self.contents(name, number)?;
        let pair = contents.pair(Some(leaf_sha256));
        Ok(pair.is_some_and(|pair| {
            let files = pair.files(Access::PRIVATE);
            files
                .iter()
                .all(|(name, content, _)| contents.get(name) == Some(content.as_bytes()))
        }))
    }

    /// Returns the numbers of the generations on disk, complete or not, in order.
    ///
    /// # Errors
    /// When the lineage's directory is there and cannot be read.
    pub fn generation_numbers(&self, name: &str) -> Result<Vec<u64>, StoreError> {
        let path = self.layout().lineage(name);
        let unread = |reason| {
            StoreError::File(FileError {
                verb: "read",
                path: path.clone(),
                reason,
            })
        };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unread)?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unread)?;
            numbers.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u64>().ok()),
            );
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Moves a record that cannot be used out of the way and returns where it is kept; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_record_aside(&self, name: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self.layout().state(name);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let aside = (1..1000).map(|n| self.layout().damaged_state(name, n));
        let aside = aside
            .clone()
            .find(|path| fs::symlink_metadata(path).is_err())
            .unwrap_or_else(|| self.layout().damaged_state(name, 0));
        let failed = |reason| {
            StoreError::File(FileError {
                verb: "move away",
                path: path.clone(),
                reason,
            })
        };
        fs::rename(&path, &aside).map_err(failed)?;
        files::sync_directory(&self.layout().lineage(name))?;
        Ok(Some(aside))
    }

    fn contents(&self, name: &str, number: u64) -> Result<Contents, StoreError> {
        let directory = self.layout().generation(name, number);
        let mut contents = Vec::new();
        for name in [
            file::PRIVKEY,
            file::CERT,
            file::CHAIN,
            file::FULLCHAIN,
            file::COMBINED,
        ] {
            contents.extend(read_if_usable(&directory.join(name))?.map(|bytes| (name, bytes)));
        }
        Ok(Contents(contents))
    }
}

/// Reads a file; one that is not there, or can be nothing of ours, is none.
fn read_if_usable(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match files::read_if_exists(path, LIMIT) {
        Err(error) if error.is_no_file_of_ours() => Ok(None),
        result => Ok(result?),
    }
}

/// The files of a generation that could be read, by name.
struct Contents(Vec<(&'static str, Vec<u8>)>);

impl Contents {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, bytes)| bytes.as_slice())
    }

    /// Finds a key and a chain that belong together, the fuller source first.
    fn pair(&self, leaf_sha256: Option<&str>) -> Option<Pair> {
        let leaf_and_chain = [self.get(file::CERT), self.get(file::CHAIN)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        let chains = [
            self.get(file::FULLCHAIN).map(<[u8]>::to_vec),
            Some(leaf_and_chain.concat()),
            self.get(file::COMBINED).map(<[u8]>::to_vec),
        ];
        let chains: Vec<Chain> = chains
            .iter()
            .flatten()
            .filter_map(|pem| Chain::from_pem(pem).ok())
            .filter(|chain| leaf_sha256.is_none_or(|wanted| chain.leaf.sha256.to_string() == wanted))
            .collect();
        let keys = [file::PRIVKEY, file::COMBINED].into_iter().filter_map(|name| {
            let key = PrivateKey::from_pem(self.get(name)?).ok()?;
            Some((key.to_pem(), key.public_key_der()))
        });
        for (key_pem, public_key) in keys {
            // The longest chain: a file that was cut short after the leaf is a chain too.
            let fitting = chains.iter().filter(|chain| chain.leaf.matches_key(&public_key));
            if let Some(chain) = fitting.max_by_key(|chain| chain.intermediates.len()) {
                return Some(Pair {
                    key_pem,
                    chain: chain.clone(),
                });
            }
        }
        None
    }
}

impl Pair {
    /// Returns the files of a generation with their content; those with the key may be read as `access` says.
    pub fn files(&self, access: Access) -> [(&'static str, String, Access); 5] {
        let (leaf, fullchain) = (self.chain.leaf.to_pem(), self.chain.to_pem());
        [
            (file::PRIVKEY, self.key_pem.clone(), access),
            (file::COMBINED, format!("{}{fullchain}", self.key_pem), access),
            (file::CERT, leaf, Access::PUBLIC),
            (file::CHAIN, self.chain.intermediates_to_pem(), Access::PUBLIC),
            (file::FULLCHAIN, fullchain, Access::PUBLIC),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::key::KeyType, store::state::Pem};

    /// A store with one generation of a self-signed certificate; its directory, and the SHA-256 of its leaf.
    fn with_generation() -> (tempfile::TempDir, Store, PathBuf, String) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let chain = Chain::from_pem(params.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
        let key = PrivateKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
        let (leaf, key) = (chain.leaf.to_pem(), key.to_pem());
        let pem = Pem {
            key: &key,
            leaf: &leaf,
            chain: "",
        };
        store.complete("a", 1, &pem, Access::PRIVATE).unwrap();
        let directory = store.layout().generation("a", 1);
        (dir, store, directory, chain.leaf.sha256.to_string())
    }

    #[test]
    fn mends_every_file_from_the_others() {
        let (_dir, store, directory, leaf) = with_generation();
        assert!(store.looks_whole("a", 1));
        assert_eq!(
            store.mend_generation("a", 1, &leaf, Access::PRIVATE).unwrap(),
            Condition::Whole
        );
        let other = PrivateKey::generate(KeyType::EcdsaP256).unwrap().to_pem();
        for name in [file::PRIVKEY, file::CERT, file::FULLCHAIN, file::COMBINED] {
            let good = fs::read(directory.join(name)).unwrap();
            let half = &good[..good.len() / 2];
            for damage in [Some(b"".as_slice()), Some(half), Some(other.as_bytes()), None] {
                match damage {
                    Some(bytes) => fs::write(directory.join(name), bytes).unwrap(),
                    None => fs::remove_file(directory.join(name)).unwrap(),
                }
                let mended = store.mend_generation("a", 1, &leaf, Access::PRIVATE).unwrap();
                assert_eq!(mended, Condition::Mended(vec![name]), "{damage:?}");
                assert_eq!(fs::read(directory.join(name)).unwrap(), good);
            }
        }
        assert!(store.is_whole("a", 1, &leaf).unwrap());
    }

    #[test]
    fn does_not_make_up_what_is_lost() {
        let (_dir, store, directory, leaf) = with_generation();
        fs::write(directory.join(file::PRIVKEY), "").unwrap();
        fs::remove_file(directory.join(file::COMBINED)).unwrap();
        let condition = store.mend_generation("a", 1, &leaf, Access::PRIVATE).unwrap();
        assert!(matches!(condition, Condition::Lost(_)), "{condition:?}");
        assert_eq!(fs::read(directory.join(file::PRIVKEY)).unwrap(), b"");
        // Whole, but another certificate than the record knows.
        let (_dir, store, ..) = with_generation();
        let condition = store.mend_generation("a", 1, &leaf, Access::PRIVATE).unwrap();
        assert!(matches!(condition, Condition::Lost(_)), "{condition:?}");
    }

    #[test]
    fn a_key_that_was_replaced_does_not_look_whole() {
        let (_dir, store, directory, leaf) = with_generation();
        let swapped = PrivateKey::generate(KeyType::EcdsaP256).unwrap().to_pem();
        let path = directory.join(file::PRIVKEY);
        assert_eq!(
            fs::metadata(&path).unwrap().len(),
            swapped.len() as u64,
            "sizes do not tell"
        );
        fs::write(&path, swapped).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert!(!store.looks_whole("a", 1));
        assert!(!store.is_whole("a", 1, &leaf).unwrap());
    }
}
