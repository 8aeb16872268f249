//! Directories that others may write into, below one that the operator has named: entered and written by descriptor, and
//! never through a symbolic link that somebody else could have put there.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::files::FileError;

/// A directory, held open: what happens to its name changes nothing.
#[derive(Debug)]
pub struct Below {
    directory: OwnedFd,
    path: PathBuf,
}

impl Below {
    /// Opens the directory that the operator has named; it may be a link.
    ///
    /// # Errors
    /// When it is missing, or no directory.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => Ok(Self {
                directory,
                path: path.to_owned(),
            }),
            Err(error) => Err(failed("use", path.to_owned(), error.into())),
        }
    }

    /// Enters a directory in this one; `None` when nothing has its name. A link is followed only where it belongs to root or
    /// the running user.
    ///
    /// # Errors
    /// When it is no directory, or somebody else's link.
    pub fn enter(&self, name: &str) -> Result<Option<Self>, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&self.directory, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => self
                .target(name)
                .and_then(|target| Ok(rustix::fs::openat(&self.directory, target, flags, Mode::empty())?)),
            found => found.map_err(io::Error::from),
        };
        match found {
            Ok(directory) => Ok(Some(Self { directory, path })),
            Err(error) => Err(failed("use", path, error)),
        }
    }

    /// Returns where a link leads that we may follow. The link itself is held meanwhile, so that it stays the one judged.
    fn target(&self, name: &str) -> io::Result<std::ffi::CString> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&link)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "it is not a directory",
            ));
        }
        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "it is a symbolic link of user {}, who could lead our files anywhere; make it a directory, or, where it \
                     leads to the right one, run `chown -h root` on it",
                    stat.st_uid
                ),
            ));
        }
        Ok(rustix::fs::readlinkat(&link, c"", Vec::new())?)
    }

    /// Makes a directory in this one with this mode, whatever the umask, and enters it; one that is there is left as it is.
    ///
    /// # Errors
    /// When it can be neither made nor entered.
    pub fn make(&self, name: &str, mode: u32) -> Result<Self, FileError> {
        let path = self.path.join(name);
        let make = || -> io::Result<()> {
            rustix::fs::mkdirat(&self.directory, name, Mode::from_raw_mode(mode & 0o755))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
            Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?)
        };
        match make() {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(failed("make directory", path, error))
            }
            _ => match self.enter(name)? {
                Some(made) => Ok(made),
                None => Err(failed("use", path, io::ErrorKind::NotFound.into())),
            },
        }
    }

    /// Writes a file that is not there yet, readable by everyone.
    ///
    /// # Errors
    /// When something has its name, or it cannot be written.
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o644);
            let file = rustix::fs::openat(&self.directory, name, flags, mode)?;
            rustix::fs::fchmod(&file, mode)?;
            std::fs::File::from(file).write_all(bytes)
        };
        write().map_err(|error| failed("write", self.path.join(name), error))
    }

    /// Removes a file, or a link; one that is not there is as good as removed.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("remove", self.path.join(name), error.into())),
        }
    }

    /// Removes a directory where nothing is in it any more.
    pub fn remove_if_empty(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR);
    }
}

fn failed(verb: &'static str, path: PathBuf, reason: io::Error) -> FileError {
    FileError { verb, path, reason }
}
