//! One writer at a time, by `flock` on the state directory's lock file.
//!
//! The kernel lets go of the lock when the process ends, however it ends, so there is no stale lock. It holds on one
//! host only: on NFS without lock support two hosts could both have it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::{Store, StoreError, layout};
use crate::env::files::{self, FileError};

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child between fork and exec still shares the open file.
        let _ = self.file.unlock();
    }
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// Another run has it; what it wrote about itself.
    Held(String),
    /// The lock file could not be opened or written.
    Store(StoreError),
}

impl Store {
    /// Takes the lock without waiting, and makes the state directory when there is none.
    ///
    /// Nothing is synced: the lock file's content is for people only.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder's words when another run has it.
    pub fn lock(&self, command: &str) -> Result<Lock, LockError> {
        let path = self.layout().lock();
        let fail = |reason| {
            LockError::Store(StoreError::File(FileError {
                verb: "lock",
                path: path.clone(),
                reason,
            }))
        };
        files::make_directory(self.layout().root(), layout::WALKABLE)
            .map_err(|error| LockError::Store(StoreError::File(error)))?;
        trustworthy(self.layout().root()).map_err(fail)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(fail)?;
        // We write into it: not into a file that has another name besides, nor into what is none.
        let meta = file.metadata().map_err(fail)?;
        if !meta.is_file() || meta.nlink() > 1 {
            let reason = match meta.is_file() {
                true => "it is a hard link to a file that has another name; remove it",
                false => "it is not a regular file; move it away",
            };
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let strange = file.metadata().ok().and_then(|meta| files::distrust(&meta));
                let mut holder = String::new();
                let _ = file.take(300).read_to_string(&mut holder);
                let holder = holder.lines().next().unwrap_or_default().trim_end();
                let holder = match holder.is_empty() {
                    true => "a starting run".to_owned(),
                    false if is_alive(holder) => holder.to_owned(),
                    // A child of that run may have it, or a run in another container.
                    false => format!(
                        "{holder}, which is not seen from here; `fuser -v {}` shows who has it",
                        path.display()
                    ),
                };
                return Err(LockError::Held(match strange {
                    // Then it may be none of our runs, and hold it for ever.
                    Some(reason) => format!("{holder}; but beware of {}: {reason}", path.display()),
                    None => holder,
                }));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        // Spaces cover what a longer holder left; shorter than truncating and never empty for a reader.
        let holder = format!("`mailcert {command}` with process id {}", std::process::id());
        file.write_all(format!("{holder:<200}\n").as_bytes())
            .map_err(fail)?;
        Ok(Lock { file })
    }
}

/// Returns whether the process that a holder has written of itself is there.
fn is_alive(holder: &str) -> bool {
    use rustix::{io::Errno, process};
    let number = holder.rsplit(' ').next().and_then(|word| word.parse().ok());
    let pid = number.and_then(process::Pid::from_raw);
    pid.is_some_and(|pid| !matches!(process::test_kill_process(pid), Err(Errno::SRCH)))
}

/// Refuses a state directory that somebody else could have filled: it is read, and its keys are used, as root.
fn trustworthy(directory: &Path) -> io::Result<()> {
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if let Some(reason) = files::distrust(&directory.metadata()?) {
        return refuse(reason);
    }
    // Whoever may rename it may put another one in its place.
    for parent in directory.canonicalize()?.ancestors().skip(1) {
        let mode = parent.metadata()?.mode();
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            let parent = parent.display();
            return refuse(format!(
                "everybody may write into {parent}, and so replace it; run `chmod o-w {parent}`"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_holder_and_lets_go_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("state"));
        let lock = store.lock("renew").unwrap();
        match store.lock("issue") {
            Err(LockError::Held(holder)) => {
                assert!(
                    holder.trim_end().ends_with(&std::process::id().to_string()),
                    "{holder}"
                );
                assert!(holder.starts_with("`mailcert renew`"), "{holder}");
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
        store.lock("issue").unwrap();
    }

    #[test]
    fn does_not_name_a_holder_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("state"));
        let lock = store.lock("renew").unwrap();
        // No process has this number: pid_max is at most 4,194,304.
        let text = "`mailcert renew` with process id 999999999\n";
        std::fs::write(store.layout().lock(), text).unwrap();
        match store.lock("issue") {
            Err(LockError::Held(holder)) => assert!(holder.contains("not seen from here"), "{holder}"),
            other => panic!("{other:?}"),
        }
        drop(lock);
    }

    #[test]
    fn writes_into_no_file_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("state"));
        drop(store.lock("renew").unwrap());
        let (path, victim) = (store.layout().lock(), dir.path().join("victim"));
        let check = |words: &str| {
            let error = match store.lock("renew") {
                Err(LockError::Store(error)) => error.to_string(),
                other => panic!("{other:?}"),
            };
            assert!(error.contains(words), "{error}");
            assert_eq!(std::fs::read(&victim).unwrap(), b"old");
        };
        std::fs::write(&victim, "old").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&victim, &path).unwrap();
        check("hard link");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        check("cannot lock");
    }
}
