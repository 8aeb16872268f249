//! Makes the compiled map of `tls_server_sni_maps`, and looks whether it holds what it should.
//!
//! It is built beside the one in use, read back by postmap(1), and put in its place by one rename: smtpd(8) never sees
//! half a map, and a map that lacks a name never comes into use. smtpd opens it as root before it drops privileges and
//! enters a chroot, so nobody else has to read it: 0600 from the first byte, in a directory that is ours alone. A process
//! that has the old file open finds it unlinked and starts anew (postfix, dict_changed_name()).

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{inspect::InspectError, sni};
use crate::env::{
    Env,
    files::{self, Access, FileError},
    process::{Program, RunError},
};

/// Only the running user, root, looks into the map's directory.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// No source is larger, in bytes: a hundred thousand names.
const SOURCE_LIMIT: u64 = 32 << 20;
/// No file with a key and its chain is larger, in bytes.
const PEM_LIMIT: u64 = 1 << 20;
/// How long postmap may take to build; ten thousand names take a second.
const BUILD_PATIENCE: Duration = Duration::from_secs(300);
/// How much of the map is read back by one call, in bytes and names: far below what a child may print.
const CHUNK: (usize, usize) = (1 << 20, 512);
/// How many names that differ are looked for; the others are no news.
const DIFFERENCES: usize = 5;

/// The map of one instance.
pub struct SniMap<'a> {
    /// The instance's configuration directory.
    pub config_directory: &'a Path,
    /// The table type.
    pub kind: &'a str,
    /// The source; the compiled map stands beside it.
    pub source: &'a Path,
}

/// One key of the map, and the file that it holds a copy of.
pub type Copied = (String, PathBuf);

/// Why there is no new map; the one in use was not touched.
#[derive(Debug)]
pub enum MapError {
    /// A file could not be read or written.
    File(FileError),
    /// Postmap is not installed.
    NotInstalled(InspectError),
    /// The map that was built does not hold what it should.
    Differs {
        /// Some of the keys.
        keys: Vec<String>,
        /// What postmap said.
        complaint: String,
    },
    /// Others may read the map that was built, keys and all.
    Exposed(PathBuf, u32),
    /// Postmap failed, with its words.
    Refused(String),
    /// Postmap could not be run.
    Run(RunError),
    /// Maps of this type are not made.
    Type(String),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NotInstalled(error) => error.fmt(f),
            Self::Differs { keys, complaint } => {
                write!(
                    f,
                    "postmap -F made a map that does not hold the files of {}",
                    keys.join(", ")
                )?;
                if complaint.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {complaint}")
                }
            }
            Self::Exposed(path, mode) => {
                write!(
                    f,
                    "others may read {} (mode {mode:04o}), which holds private keys",
                    path.display()
                )
            }
            Self::Refused(complaint) => write!(f, "postmap -F failed: {complaint}"),
            Self::Run(error) => error.fmt(f),
            Self::Type(kind) => write!(
                f,
                "default_database_type is `{kind}`; SNI maps are made as one of {}",
                sni::known_types().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl std::error::Error for MapError {}

impl From<FileError> for MapError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl SniMap<'_> {
    /// Returns where the compiled map is.
    ///
    /// # Errors
    /// When maps of this type are not made.
    pub fn file(&self) -> Result<PathBuf, MapError> {
        sni::compiled(self.kind, self.source).ok_or_else(|| MapError::Type(self.kind.to_owned()))
    }

    /// Builds the map from this source, has it read back, and puts both in place.
    ///
    /// # Errors
    /// When any step fails; the map in use is untouched then.
    pub fn build(&self, env: &Env, source: &str, wanted: &[Copied]) -> Result<(), MapError> {
        let in_use = self.file()?;
        if let Some(directory) = self.source.parent() {
            files::make_directory(directory, PRIVATE_DIRECTORY)?;
        }
        let source_beside = with_suffix(self.source, ".new");
        let beside = SniMap {
            source: &source_beside,
            ..*self
        };
        let built = beside.file()?;
        // What a killed run left.
        for left in [&built, &sni::begun(&built)] {
            files::remove(left)?;
        }
        let result = beside.build_beside(env, source, wanted, &built);
        let placed = result.and_then(|()| {
            // The map first: a source that is behind has the map made again, a map that is behind would go unseen.
            rename(&built, &in_use)?;
            rename(beside.source, self.source)?;
            if let Some(directory) = self.source.parent() {
                files::sync_directory(directory)?;
            }
            Ok(())
        });
        if placed.is_err() {
            for left in [&built, beside.source] {
                let _ = fs::remove_file(left);
            }
        }
        placed
    }

    fn build_beside(&self, env: &Env, source: &str, wanted: &[Copied], built: &Path) -> Result<(), MapError> {
        // postmap gives the map the mode of its source.
        files::write_atomic(self.source, source.as_bytes(), Access::PRIVATE)?;
        let output = self
            .postmap(env)?
            .arg("-F")
            .arg(self.name())
            .timeout(BUILD_PATIENCE)
            .run()
            .map_err(MapError::Run)?;
        if !output.success() {
            return Err(MapError::Refused(output.complaint()));
        }
        let file = fs::File::open(built).map_err(failed("open", built))?;
        let mode = file
            .metadata()
            .map_err(failed("open", built))?
            .permissions()
            .mode()
            & 0o7777;
        if mode & 0o077 != 0 {
            return Err(MapError::Exposed(built.to_owned(), mode));
        }
        // A file that cannot be read is skipped with a warning and status 0, and so is a name that stands twice.
        let keys = self.differences(env, wanted)?;
        if !keys.is_empty() {
            let complaint = output.complaint();
            return Err(MapError::Differs { keys, complaint });
        }
        // An empty map after a power cut would leave every name with the default certificate.
        file.sync_all().map_err(failed("sync", built))?;
        Ok(())
    }

    /// Returns keys whose value is not the content of their file; some of them, when there are many.
    ///
    /// # Errors
    /// When postmap cannot be asked.
    pub fn differences(&self, env: &Env, wanted: &[Copied]) -> Result<Vec<String>, MapError> {
        let mut differ = Vec::new();
        let mut chunk: Vec<(&str, Vec<u8>)> = Vec::new();
        let mut size = 0;
        for (key, file) in wanted {
            let content = match files::read(file, PEM_LIMIT) {
                Ok(content) => content,
                Err(_) => {
                    differ.push(key.clone());
                    continue;
                }
            };
            size += content.len();
            chunk.push((key, content));
            if size >= CHUNK.0 || chunk.len() >= CHUNK.1 {
                differ.extend(self.differing(env, &chunk, DIFFERENCES.saturating_sub(differ.len()))?);
                chunk.clear();
                size = 0;
            }
            if differ.len() >= DIFFERENCES {
                return Ok(differ);
            }
        }
        differ.extend(self.differing(env, &chunk, DIFFERENCES.saturating_sub(differ.len()))?);
        Ok(differ)
    }

    /// Asks for several keys at once, and, when the answer is not as it should be, for one after another.
    fn differing(&self, env: &Env, chunk: &[(&str, Vec<u8>)], limit: usize) -> Result<Vec<String>, MapError> {
        if chunk.is_empty() || self.holds(env, chunk)? {
            return Ok(Vec::new());
        }
        let mut differ = Vec::new();
        for one in chunk.chunks(1) {
            if differ.len() >= limit {
                break;
            }
            if !self.holds(env, one)? {
                differ.extend(one.iter().map(|(key, _)| (*key).to_owned()));
            }
        }
        Ok(differ)
    }

    /// Asks whether the map has exactly these values for these keys.
    fn holds(&self, env: &Env, chunk: &[(&str, Vec<u8>)]) -> Result<bool, MapError> {
        let mut keys = String::new();
        let mut expected = Vec::new();
        for (key, content) in chunk {
            keys.push_str(key);
            keys.push('\n');
            expected.extend_from_slice(key.as_bytes());
            expected.push(b'\t');
            expected.extend_from_slice(content);
            expected.push(b'\n');
        }
        let output = self
            .postmap(env)?
            .args(["-F", "-q", "-"])
            .arg(self.name())
            .stdin(keys)
            .run()
            .map_err(MapError::Run)?;
        // Status 1 alone says that a key was not found.
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.success() && complaint.contains("fatal:") {
            return Err(MapError::Refused(output.complaint()));
        }
        Ok(output.stdout == expected)
    }

    fn postmap(&self, env: &Env) -> Result<Program, MapError> {
        let program = env
            .find_program("postmap")
            .ok_or(MapError::NotInstalled(InspectError::NotInstalled("postmap")))?;
        Ok(Program::new(program).arg("-c").arg(self.config_directory))
    }

    /// Returns the map as Postfix names it.
    fn name(&self) -> String {
        format!("{}:{}", self.kind, self.source.display())
    }
}

/// Reads the source of a map; `None` when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read_source(path: &Path) -> Result<Option<String>, FileError> {
    let bytes = files::read_if_exists(path, SOURCE_LIMIT)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns a file's permission bits.
///
/// # Errors
/// When it is not there, or cannot be looked at.
pub fn mode(path: &Path) -> Result<u32, MapError> {
    let meta = fs::metadata(path).map_err(failed("look at", path))?;
    Ok(meta.permissions().mode() & 0o7777)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}

fn rename(from: &Path, to: &Path) -> Result<(), MapError> {
    fs::rename(from, to).map_err(failed("rename into place", to))
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> MapError + 'a {
    move |reason| {
        MapError::File(FileError {
            verb,
            path: path.to_owned(),
            reason,
        })
    }
}
