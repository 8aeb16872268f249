//! What is kept on disk: lineages, their generations and the keys to follow, requests, accounts, the live links, the journal, the lock,
//! and which ports of the firewall are open for now; and what other clients keep.
//!
//! The state file is the record; links are its output and are mended from it. Nothing here asks the network.

pub mod import;
pub mod journal;
pub mod layout;
pub mod lock;
pub mod mend;
pub mod notices;
pub mod openings;
pub mod requests;
pub mod rollover;
pub mod selinux;
pub mod state;

use std::path::{Path, PathBuf};

use crate::env::files::FileError;

/// Why the store could not do what was asked.
#[derive(Debug)]
pub enum StoreError {
    /// A file could not be read or written.
    File(FileError),
    /// A record is not what this program writes.
    Corrupt {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record was written by a newer program; it is left untouched.
    Newer {
        /// The record.
        path: PathBuf,
        /// The format it says it has.
        version: u64,
    },
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Corrupt { path, reason } => write!(f, "{} cannot be understood: {reason}", path.display()),
            Self::Newer { path, version } => write!(
                f,
                "{} was written by a newer mailcert (format {version}, this one knows 1); it is left as it is",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// The state directory of one host.
#[derive(Clone, Debug)]
pub struct Store {
    layout: layout::Layout,
}

impl Store {
    /// Returns the store below this directory; nothing is made or read yet.
    pub fn new(directory: &Path) -> Self {
        Self {
            layout: layout::Layout::new(directory),
        }
    }

    /// Returns every path and mode of the store.
    pub fn layout(&self) -> &layout::Layout {
        &self.layout
    }
}
