//! Another client's directory as a plain listing: which files there are, and what is in those that count.
//!
//! It is only read. What may not be believed is listed with the reason: a file that others may write, one that is far too
//! large, a link that leads out of the directory. Nothing is followed that leads in circles, and there is an end to how
//! much is read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::env::files::{self, FileError};

/// No file of a client's that counts is larger, in bytes.
const LIMIT: u64 = 1 << 20;
/// No more names than these are looked at: ten thousand lineages.
const MOST: usize = 200_000;
/// Nobody keeps anything deeper than this.
const DEEPEST: usize = 8;

/// A directory as it was read.
pub struct Tree {
    place: PathBuf,
    entries: BTreeMap<String, Entry>,
    grafts: BTreeMap<String, PathBuf>,
}

enum Entry {
    /// Its content; it may be a key.
    File(Zeroizing<Vec<u8>>),
    /// It is there, and was not read.
    Listed,
    /// It may not be believed; or a directory, and all below it.
    Refused(String),
}

impl Tree {
    /// Reads a directory: of the files that are `wanted` by their path in it, the content too.
    ///
    /// # Errors
    /// When there is no such directory, or others may write to it.
    pub fn read(place: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, FileError> {
        let failed = |reason| FileError {
            verb: "read",
            path: place.to_owned(),
            reason,
        };
        let real = fs::canonicalize(place).map_err(failed)?;
        let meta = fs::metadata(&real).map_err(failed)?;
        if !meta.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        if let Some(reason) = files::distrust(&meta) {
            let reason = std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason);
            return Err(failed(reason));
        }
        fs::read_dir(&real).map_err(failed)?;
        let mut tree = Self {
            place: place.to_owned(),
            entries: BTreeMap::new(),
            grafts: BTreeMap::new(),
        };
        tree.walk("", &real, &real, 0, &wanted);
        Ok(tree)
    }

    /// Adds a directory, or a file, that is somewhere else, under a name in this tree. One that is not there adds nothing.
    pub fn graft(&mut self, name: &str, place: &Path, wanted: impl Fn(&str) -> bool) {
        let Ok(real) = fs::canonicalize(place) else { return };
        let Ok(meta) = fs::metadata(&real) else { return };
        self.grafts.insert(name.to_owned(), place.to_owned());
        if let Some(reason) = files::distrust(&meta) {
            self.refuse(name, format!("{}: {reason}", place.display()));
        } else if meta.is_dir() {
            self.walk(name, &real, &real, 0, &wanted);
        } else {
            self.take(name, &real);
        }
    }

    /// Returns a tree of these files, which are nowhere on disk.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let entry = |(path, content): &(&str, &str)| {
            (
                (*path).to_owned(),
                Entry::File(Zeroizing::new(content.as_bytes().to_vec())),
            )
        };
        Self {
            place: PathBuf::from("/their"),
            entries: files.iter().map(entry).collect(),
            grafts: BTreeMap::new(),
        }
    }

    /// Returns where a path of this tree really is.
    pub fn place(&self, path: &str) -> PathBuf {
        let graft = self.grafts.iter().find(|(name, _)| {
            path == *name
                || path
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        });
        match graft {
            Some((name, place)) if path == name => place.clone(),
            Some((name, place)) => place.join(path[name.len()..].trim_start_matches('/')),
            None if path.is_empty() => self.place.clone(),
            None => self.place.join(path),
        }
    }

    /// Returns the content of a file.
    ///
    /// # Errors
    /// Why there is none: the file and the reason.
    pub fn file(&self, path: &str) -> Result<&[u8], String> {
        match self.entries.get(path) {
            Some(Entry::File(bytes)) => return Ok(bytes),
            Some(Entry::Refused(reason)) => return Err(reason.clone()),
            Some(Entry::Listed) => {
                return Err(format!("{} is no file that counts", self.place(path).display()));
            }
            None => {}
        }
        // A directory that was refused hides what is below it.
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if let Some(Entry::Refused(reason)) = self.entries.get(parent) {
                return Err(reason.clone());
            }
            above = parent;
        }
        Err(format!("{} is missing", self.place(path).display()))
    }

    /// Returns the content of a file as text.
    ///
    /// # Errors
    /// As [`Self::file`], and when it is not UTF-8.
    pub fn text(&self, path: &str) -> Result<&str, String> {
        std::str::from_utf8(self.file(path)?)
            .map_err(|_| format!("{} is not text", self.place(path).display()))
    }

    /// Returns whether there is anything of this name, usable or not.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// Returns every path, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Returns the names right below a directory, in order, without repetition; `""` is the top.
    pub fn below(&self, directory: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for path in self.paths() {
            let rest = match directory {
                "" => Some(path),
                _ => path
                    .strip_prefix(directory)
                    .and_then(|rest| rest.strip_prefix('/')),
            };
            let Some(name) = rest.and_then(|rest| rest.split('/').next()) else {
                continue;
            };
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        names
    }

    fn refuse(&mut self, name: &str, reason: String) {
        self.entries.insert(name.to_owned(), Entry::Refused(reason));
    }

    fn walk(
        &mut self,
        name: &str,
        directory: &Path,
        top: &Path,
        depth: usize,
        wanted: &dyn Fn(&str) -> bool,
    ) {
        for entry in files::list(directory) {
            if self.entries.len() >= MOST {
                return;
            }
            let inner = match name {
                "" => entry.clone(),
                _ => format!("{name}/{entry}"),
            };
            let shown = self.place(&inner);
            let path = directory.join(&entry);
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            if meta.is_dir() {
                match files::distrust(&meta) {
                    Some(reason) => self.refuse(&inner, format!("{}: {reason}", shown.display())),
                    None if depth < DEEPEST => self.walk(&inner, &path, top, depth + 1, wanted),
                    None => self.refuse(&inner, format!("{} lies too deep", shown.display())),
                }
                continue;
            }
            if !wanted(&inner) {
                self.entries.insert(inner, Entry::Listed);
                continue;
            }
            match fs::canonicalize(&path) {
                Ok(real) if real.starts_with(top) => self.take(&inner, &real),
                Ok(real) => {
                    let reason = format!("{} leads out of it, to {}", shown.display(), real.display());
                    self.refuse(&inner, reason);
                }
                Err(error) => self.refuse(&inner, format!("{} cannot be read: {error}", shown.display())),
            }
        }
    }

    /// Reads one file; its name is that of the operator's view, where it is a link.
    fn take(&mut self, name: &str, real: &Path) {
        let entry = match files::read_trusted(real, LIMIT) {
            Ok(bytes) => Entry::File(Zeroizing::new(bytes)),
            Err(error) => Entry::Refused(error.to_string()),
        };
        self.entries.insert(name.to_owned(), entry);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn says_why_a_file_may_not_be_believed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("key"), "secret").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "open", "b"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("a/good"), "good").unwrap();
        symlink("../a/good", at("b/link")).unwrap();
        symlink(outside.path().join("key"), at("b/outside")).unwrap();
        symlink("nowhere", at("b/dangling")).unwrap();
        symlink("circle", at("b/circle")).unwrap();
        symlink("..", at("b/up")).unwrap();
        fs::write(at("b/writable"), "").unwrap();
        fs::set_permissions(at("b/writable"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::File::create(at("b/huge"))
            .unwrap()
            .set_len(LIMIT + 1)
            .unwrap();
        fs::write(at("b/binary"), [0xff, 0xfe]).unwrap();
        fs::write(at("open/file"), "").unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        let mut tree = Tree::read(dir.path(), |path| !path.ends_with("unwanted")).unwrap();
        assert_eq!(tree.text("a/good"), Ok("good"));
        assert_eq!(tree.text("b/link"), Ok("good"));
        assert_eq!(tree.below("a"), ["good"]);
        for (path, words) in [
            ("b/outside", "leads out of it"),
            ("b/dangling", "cannot be read"),
            ("b/circle", "cannot be read"),
            ("b/up", "not a regular file"),
            ("b/writable", "others may write it"),
            ("b/huge", "larger than"),
            ("b/binary", "is not text"),
            ("b/none", "is missing"),
            ("open/file", "others may write it"),
        ] {
            let reason = tree.text(path).unwrap_err();
            assert!(reason.contains(words), "{path}: {reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        tree.graft("key", &outside.path().join("key"), |_| true);
        assert_eq!(tree.text("key"), Ok("secret"));
        tree.graft("more", outside.path(), |_| true);
        assert_eq!(tree.text("more/key"), Ok("secret"));
        assert_eq!(tree.place("more/key"), outside.path().join("key"));
        tree.graft("none", &at("none"), |_| true);
        assert!(!tree.has("none"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Tree::read(dir.path(), |_| true).is_err());
        assert!(Tree::read(&at("a/good"), |_| true).is_err());
    }
}
