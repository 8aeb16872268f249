//! Asks the installed Dovecot: version, effective configuration, and the files that it is made of.
//!
//! Changes nothing. What doveconf(1) refuses (exit 89) is told in its own words, before anybody touches it.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    dialect::{Dialect, Version},
    effective::Effective,
    endpoints::{TlsService, tls_services},
    tree::{Source, Tree, TreeError},
};
use crate::env::{
    Env,
    files::{self, FileError},
    process::{Output, Program, RunError, without_pem},
};

/// No configuration file of Dovecot is larger, in bytes.
pub const FILE_LIMIT: u64 = 16 << 20;
/// No print of doveconf(1) is larger, in bytes.
const PRINT_LIMIT: u64 = 64 << 20;
/// How long doveconf(1) may take: ten thousand names cost it seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The configuration file of an instance.
const MAIN: &str = "dovecot.conf";

/// One Dovecot instance as it is configured now.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its configuration directory.
    pub directory: PathBuf,
    /// The doveconf(1) that was asked.
    pub doveconf: PathBuf,
    /// The installed version.
    pub version: Version,
    /// Its files.
    pub tree: Tree,
    /// `doveconf -n`.
    pub effective: Effective,
    /// What doveconf(1) warned about.
    pub warnings: Vec<String>,
    /// Whether `::1` can be reached.
    pub ipv6: bool,
}

/// Why nothing could be learned about an instance.
#[derive(Debug)]
pub enum InspectError {
    /// Dovecot refuses its own configuration.
    Refused {
        /// What was asked, as a command line.
        command: String,
        /// What it said, whole.
        message: String,
    },
    /// A program could not be run.
    Run(RunError),
    /// The files could not be read.
    Tree(TreeError),
    /// doveconf(1) does not say which version it is.
    Version(String),
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { command, message } => {
                write!(
                    f,
                    "Dovecot refuses its own configuration; `{command}` says: {message}"
                )
            }
            Self::Run(error) => error.fmt(f),
            Self::Tree(error) => error.fmt(f),
            Self::Version(text) => write!(f, "`{}` is not a version of Dovecot", text.escape_debug()),
        }
    }
}

impl std::error::Error for InspectError {}

impl From<RunError> for InspectError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<TreeError> for InspectError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// The files of this host.
pub struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, TreeError> {
        if path.is_dir() {
            return Ok(None);
        }
        let failed = |error: FileError| TreeError(error.to_string());
        files::read_if_exists(path, FILE_LIMIT).map_err(failed)
    }

    fn list(&self, path: &Path) -> Vec<String> {
        files::list(path)
    }
}

impl Instance {
    /// Returns how its settings are written.
    pub fn dialect(&self) -> Dialect {
        self.version.dialect()
    }

    /// Returns its dovecot.conf.
    pub fn main(&self) -> PathBuf {
        main_file(&self.directory)
    }

    /// Returns the endpoints that speak TLS today.
    pub fn tls_services(&self) -> Vec<TlsService> {
        tls_services(&self.effective, self.ipv6)
    }
}

/// Returns the configuration file of an instance.
pub fn main_file(directory: &Path) -> PathBuf {
    directory.join(MAIN)
}

/// Returns doveconf(1), where Dovecot is installed.
pub fn find(env: &Env) -> Option<PathBuf> {
    env.find_program("doveconf")
}

/// Asks the installed Dovecot about the instance with this configuration directory.
///
/// # Errors
/// [`InspectError::Refused`] with Dovecot's own message, or a file or program that could not be read or run.
pub fn inspect(env: &Env, doveconf: &Path, directory: &Path) -> Result<Instance, InspectError> {
    let main = main_file(directory);
    let (effective, warnings) = ask(doveconf, &main)?;
    let version = effective
        .version
        .ok_or_else(|| InspectError::Version(String::new()))?;
    let addresses =
        files::read_if_exists(&env.host_path("/proc/net/if_inet6"), FILE_LIMIT).unwrap_or_default();
    let addresses = addresses.unwrap_or_default();
    Ok(Instance {
        tree: Tree::read(&main, version.dialect(), &Disk)?,
        directory: directory.to_owned(),
        doveconf: doveconf.to_owned(),
        version,
        effective,
        warnings,
        ipv6: String::from_utf8_lossy(&addresses).contains("00000000000000000000000000000001 "),
    })
}

/// Asks doveconf(1) for what a configuration file sets, and for its warnings.
pub(super) fn ask(doveconf: &Path, main: &Path) -> Result<(Effective, Vec<String>), InspectError> {
    let output = run(doveconf, main, &["-n"])?;
    let stderr = without_pem(&String::from_utf8_lossy(&output.stderr));
    let warnings = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok((
        Effective::parse(&String::from_utf8_lossy(&output.stdout)),
        warnings.map(str::to_owned).collect(),
    ))
}

/// Asks doveconf(1) for the value of one setting, one that it hides else among them.
pub(super) fn ask_value(doveconf: &Path, main: &Path, name: &str) -> Result<String, InspectError> {
    let output = run(doveconf, main, &["-P", "-h", name])?;
    Ok(output.stdout_text().trim().to_owned())
}

/// Has doveconf(1) open every file that the configuration names, as Dovecot does when it starts. What is in them is not printed.
pub(super) fn open_all(doveconf: &Path, main: &Path) -> Result<(), InspectError> {
    run(doveconf, main, &["-x", "-h", "protocols"]).map(drop)
}

fn run(doveconf: &Path, main: &Path, args: &[&str]) -> Result<Output, InspectError> {
    let output = Program::new(doveconf)
        .arg("-c")
        .arg(main)
        .args(args)
        .output_limit(PRINT_LIMIT)
        .timeout(PATIENCE)
        .run()?;
    if output.success() {
        return Ok(output);
    }
    let command = format!("doveconf -c {} {}", main.display(), args.join(" "));
    Err(InspectError::Refused {
        command,
        message: output.complaint(),
    })
}
