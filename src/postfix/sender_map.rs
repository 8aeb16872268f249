//! Makes the compiled part of the sender login map, and asks postmap(1) whether maps can be read at all.
//!
//! It is built beside the one in use, read back, and put in its place by one rename, as the SNI map is.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{inspect::InspectError, sni};
use crate::env::{
    Env,
    files::{self, Access, FileError},
    process::{Program, RunError},
};

/// How long postmap may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many entries are read back by one call.
const CHUNK: usize = 512;

/// The table of one instance.
pub struct SenderMap<'a> {
    /// The instance's configuration directory.
    pub config_directory: &'a Path,
    /// The table type.
    pub kind: &'a str,
    /// The source; the compiled table stands beside it.
    pub source: &'a Path,
}

/// Why there is no new table, or why maps cannot be read; what is in use was not touched.
#[derive(Debug)]
pub enum SenderMapError {
    /// Postmap reads something else than was written.
    Differs(String),
    /// A file could not be read or written.
    File(FileError),
    /// Postmap is not installed.
    NotInstalled(InspectError),
    /// Postmap failed, with its words.
    Refused(String),
    /// Postmap could not be run.
    Run(RunError),
    /// Tables of this type are not made.
    Type(String),
}

impl fmt::Display for SenderMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(key) => write!(
                f,
                "postmap made a table that does not hold what it should for {key}"
            ),
            Self::File(error) => error.fmt(f),
            Self::NotInstalled(error) => error.fmt(f),
            Self::Refused(complaint) => write!(f, "postmap says: {complaint}"),
            Self::Run(error) => error.fmt(f),
            Self::Type(kind) => write!(
                f,
                "default_database_type is `{}`; tables are made as one of {}",
                kind.escape_debug(),
                sni::known_types().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl std::error::Error for SenderMapError {}

impl From<FileError> for SenderMapError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl SenderMap<'_> {
    /// Builds the table from this source, has it read back, and puts it in place. The source itself is not written.
    ///
    /// # Errors
    /// When any step fails; the table in use is untouched then.
    pub fn build(&self, env: &Env, text: &str) -> Result<(), SenderMapError> {
        let in_use = self.file(self.source)?;
        let mut beside = self.source.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let built = self.file(&beside)?;
        // What a killed run left.
        for left in [&built, &sni::begun(&built)] {
            files::remove(left)?;
        }
        let placed = self.build_at(env, &beside, text).and_then(|()| {
            let failed = |reason| FileError {
                verb: "rename into place",
                path: in_use.clone(),
                reason,
            };
            fs::rename(&built, &in_use).map_err(failed)?;
            Ok(())
        });
        let _ = fs::remove_file(&beside);
        if placed.is_err() {
            let _ = fs::remove_file(&built);
        }
        placed
    }

    /// Takes the compiled tables of every type away.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn remove(source: &Path) -> Result<(), SenderMapError> {
        for file in sni::known_types().filter_map(|kind| sni::compiled(kind, source)) {
            files::remove(&file)?;
        }
        Ok(())
    }

    fn file(&self, source: &Path) -> Result<PathBuf, SenderMapError> {
        sni::compiled(self.kind, source).ok_or_else(|| SenderMapError::Type(self.kind.to_owned()))
    }

    fn build_at(&self, env: &Env, source: &Path, text: &str) -> Result<(), SenderMapError> {
        files::write_atomic(source, text.as_bytes(), Access::PUBLIC)?;
        let name = format!("{}:{}", self.kind, source.display());
        let output = postmap(env, self.config_directory)?
            .arg(&name)
            .timeout(PATIENCE)
            .run()
            .map_err(SenderMapError::Run)?;
        if !output.success() {
            return Err(SenderMapError::Refused(output.complaint()));
        }
        let entries: Vec<(&str, &str)> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once("  "))
            .collect();
        for chunk in entries.chunks(CHUNK) {
            let keys: String = chunk.iter().map(|(key, _)| format!("{key}\n")).collect();
            let found = query(env, self.config_directory, &name, &keys)?;
            let found: BTreeMap<&str, &str> =
                found.lines().filter_map(|line| line.split_once('\t')).collect();
            if let Some((key, _)) = chunk.iter().find(|(key, value)| found.get(key) != Some(value)) {
                return Err(SenderMapError::Differs((*key).to_owned()));
            }
        }
        Ok(())
    }
}

/// Has postmap(1) look these keys up, one a line, as smtpd(8) would; returns what it found.
///
/// # Errors
/// When the map cannot be opened or read.
pub fn query(env: &Env, config_directory: &Path, map: &str, keys: &str) -> Result<String, SenderMapError> {
    let output = postmap(env, config_directory)?
        .args(["-q", "-"])
        .arg(map)
        .stdin(keys.to_owned())
        .timeout(PATIENCE)
        .run()
        .map_err(SenderMapError::Run)?;
    // Status 1 alone says that no key was found.
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.success() && !complaint.trim().is_empty() {
        return Err(SenderMapError::Refused(output.complaint()));
    }
    Ok(output.stdout_text())
}

fn postmap(env: &Env, config_directory: &Path) -> Result<Program, SenderMapError> {
    let program =
        env.find_program("postmap")
            .ok_or(SenderMapError::NotInstalled(InspectError::NotInstalled(
                "postmap",
            )))?;
    Ok(Program::new(program).arg("-c").arg(config_directory))
}
