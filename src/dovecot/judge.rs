//! Has a staged copy of the configuration judged before it is live: by doveconf(1), and by us, whether ours wins.
//!
//! doveconf(1) says OK to certificates that do not fit their keys: those were judged when they were installed, and are judged again on
//! the wire. Whether every file that is named can be opened, it says only when it is asked for its content.

use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    dialect::{Dialect, Setting},
    effective::{HIDDEN, ServedCertificate},
    endpoints::is_below,
    inspect::{Disk, InspectError, Instance, ask, ask_value, main_file, open_all},
    syntax::Statement,
    tree::{Overlay, Tree},
};
use crate::{env::files::FileError, model::plan::FileChange};

/// Why a change was not found good.
#[derive(Debug)]
pub enum JudgeError {
    /// Dovecot refuses it: what was asked, and what it said, with the files by their own names.
    Refused(String),
    /// The copy could not be made.
    File(FileError),
    /// doveconf(1) could not be asked.
    Inspect(InspectError),
    /// Something else than ours would still be served.
    Outdone(String),
}

impl fmt::Display for JudgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(message) => write!(f, "doveconf says: {message}"),
            Self::File(error) => error.fmt(f),
            Self::Inspect(error) => error.fmt(f),
            Self::Outdone(what) => write!(f, "with it Dovecot would not serve what it should: {what}"),
        }
    }
}

impl std::error::Error for JudgeError {}

impl From<InspectError> for JudgeError {
    fn from(error: InspectError) -> Self {
        Self::Inspect(error)
    }
}

/// What has to be served with a change.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// Whatever it says: `undo` brings it back.
    Anything,
    /// To everybody, and to those who ask for one of these names, what lies below a directory of ours.
    Ours {
        /// The chain that everybody is served.
        fullchain: &'a Path,
        /// Its key.
        privkey: &'a Path,
        /// The directory of all live links.
        live: &'a Path,
        /// Returns whether a name is one of ours.
        is_ours: &'a dyn Fn(&str) -> bool,
    },
}

/// Judges changes to files of an instance; returns what doveconf(1) warns about that it did not before.
///
/// # Errors
/// [`JudgeError::Refused`] with its words, [`JudgeError::Outdone`] when another certificate would be served.
pub fn judge(
    instance: &Instance,
    changes: &[FileChange],
    proof: Proof<'_>,
) -> Result<Vec<String>, JudgeError> {
    let stage = Stage::new(instance, changes)?;
    let (effective, warnings) = match ask(&instance.doveconf, &stage.main()) {
        Err(InspectError::Refused { message, .. }) => {
            return Err(JudgeError::Refused(stage.unstaged(&message)));
        }
        asked => asked?,
    };
    match open_all(&instance.doveconf, &stage.main()) {
        Err(InspectError::Refused { message, .. }) => {
            return Err(JudgeError::Refused(stage.unstaged(&message)));
        }
        opened => opened?,
    }
    if let Proof::Ours {
        fullchain, privkey, ..
    } = proof
    {
        let mut certificates = effective.certificates();
        let mut defaults = certificates.iter_mut().filter(|one| one.scope.is_empty());
        if let Some(default) = defaults.find(|one| one.key == HIDDEN) {
            // 2.3, and 2.4.5 again, hide keys, although they have but their names.
            default.key = ask_value(
                &instance.doveconf,
                &stage.main(),
                Setting::Key.name(instance.dialect()),
            )?;
        }
        let files = (fullchain, privkey);
        if let Some(what) = outdone(instance.dialect(), &certificates, files, proof) {
            return Err(JudgeError::Outdone(what));
        }
    }
    let told = warnings.iter().map(|line| stage.unstaged(line));
    Ok(told.filter(|line| !instance.warnings.contains(line)).collect())
}

/// Returns what would be served in the place of ours.
fn outdone(
    dialect: Dialect,
    certificates: &[ServedCertificate],
    (fullchain, privkey): (&Path, &Path),
    proof: Proof<'_>,
) -> Option<String> {
    let Proof::Ours { live, is_ours, .. } = proof else {
        return None;
    };
    let file = |value: &str| dialect.named_file(value).map(PathBuf::from);
    let default = certificates.iter().find(|one| one.scope.is_empty());
    let is_default = default.is_some_and(|one| {
        file(&one.certificate).as_deref() == Some(fullchain) && file(&one.key).as_deref() == Some(privkey)
    });
    if !is_default {
        let seen = default.map_or("none", |one| one.certificate.as_str());
        let key = default.map_or("none", |one| one.key.as_str());
        return Some(format!(
            "every service has the certificate {seen} with the key {key}, not {} with {}",
            fullchain.display(),
            privkey.display()
        ));
    }
    certificates.iter().find_map(|one| {
        let certificate = file(&one.certificate);
        let is_second = !one.alternative.0.is_empty();
        let names = one
            .scope
            .iter()
            .find_map(|title| title.strip_prefix("local_name "));
        let is_foreign = names.is_some_and(|names| !names.split_whitespace().all(is_ours));
        let is_good = !is_second && (one.certificate.is_empty() || is_below(certificate.as_deref(), live));
        let place = match one.scope.as_slice() {
            [] => "every service".to_owned(),
            scope => scope.join(" / "),
        };
        (!is_good && !is_foreign).then(|| format!("{place} has {}{}", one.certificate, one.alternative.0))
    })
}

/// A copy of every file of the configuration, with the changes in it: what an include names is found in a directory of its own,
/// under numbers that keep the order.
struct Stage {
    directory: tempfile::TempDir,
    /// Staged path and the file that it stands for.
    files: Vec<(String, PathBuf)>,
}

impl Stage {
    fn new(instance: &Instance, changes: &[FileChange]) -> Result<Self, JudgeError> {
        let after = changes
            .iter()
            .filter_map(|change| Some((change.path.clone(), change.after.clone()?)));
        let gone: Vec<&Path> = changes
            .iter()
            .filter(|change| change.after.is_none())
            .map(|change| change.path.as_path())
            .collect();
        let overlay = Overlay {
            under: &Disk,
            files: after.collect(),
        };
        let tree = Tree::read(&instance.main(), instance.dialect(), &overlay).map_err(InspectError::Tree)?;
        // Mode 0700: there are passwords in such files.
        let directory = tempfile::Builder::new()
            .prefix("mailcert-")
            .tempdir()
            .map_err(|reason| {
                JudgeError::File(FileError {
                    verb: "stage",
                    path: instance.main(),
                    reason,
                })
            })?;
        let mut stage = Self {
            directory,
            files: Vec::new(),
        };
        let is_gone = |file: &usize| {
            let path = tree.files.get(*file).map(|(path, _)| path.as_path());
            path.is_some_and(|path| gone.contains(&path))
        };
        for index in 0..tree.files.len() {
            let Some((original, _)) = tree.files.get(index).filter(|_| !is_gone(&index)) else {
                continue;
            };
            let text = stage.text(&tree, index, is_gone);
            if index == 0 {
                stage.put(&stage.main(), original, &text)?;
            }
            for (number, included) in tree.includes.iter().enumerate() {
                let orders = included
                    .files
                    .iter()
                    .enumerate()
                    .filter(|(_, file)| **file == index);
                for (order, _) in orders {
                    let name = original.file_name().unwrap_or_default().to_string_lossy();
                    let directory = stage.directory.path().join(number.to_string());
                    stage.put(&directory.join(format!("{order:05}-{name}")), original, &text)?;
                }
            }
        }
        Ok(stage)
    }

    /// Returns the text of a file, with what it includes found in the stage, and files that it names by where they are.
    fn text(&self, tree: &Tree, index: usize, is_gone: impl Fn(&usize) -> bool) -> Vec<u8> {
        let Some((path, file)) = tree.files.get(index) else {
            return Vec::new();
        };
        file.replaced(|placed| match &placed.statement {
            Statement::Include(_) => {
                let number = tree.includes.iter().position(|one| {
                    let of = file.statements.get(one.statement);
                    one.file == index && of.is_some_and(|of| of.first == placed.first)
                })?;
                // Where none is found, the copy says the same as the original.
                let is_found = tree.includes.get(number)?.files.iter().any(|file| !is_gone(file));
                is_found.then(|| format!("!include {}/{number}/*", self.directory.path().display()))
            }
            Statement::Set(name, value) => {
                let relative = value.strip_prefix('<')?.trim();
                let is_relative = !relative.is_empty() && !relative.starts_with('/');
                let absolute = path.parent()?.join(relative);
                is_relative.then(|| format!("{name} = <{}", absolute.display()))
            }
            Statement::Close | Statement::Open(..) => None,
        })
    }

    fn main(&self) -> PathBuf {
        main_file(self.directory.path())
    }

    fn put(&mut self, path: &Path, original: &Path, bytes: &[u8]) -> Result<(), JudgeError> {
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            let mut options = fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(bytes)
        });
        written.map_err(|reason| {
            JudgeError::File(FileError {
                verb: "write",
                path: path.to_owned(),
                reason,
            })
        })?;
        self.files.push((path.display().to_string(), original.to_owned()));
        Ok(())
    }

    /// Returns what was said about the copy as if it were about the files themselves.
    fn unstaged(&self, text: &str) -> String {
        let replaced = |text: String, (staged, original): &(String, PathBuf)| {
            text.replace(staged, &original.display().to_string())
        };
        self.files.iter().fold(text.to_owned(), replaced)
    }
}
