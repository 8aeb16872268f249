//! Has the running instance read its configuration and certificates again.
//!
//! `doveadm reload` (doveadm(1)) returns before the processes have changed over, and says nothing of what the master thinks of the
//! configuration: only a handshake tells.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::inspect::Instance;
use crate::env::{
    Env,
    process::{Program, RunError},
};

/// How often doveadm(1) is asked before it is believed.
const TRIES: usize = 3;

/// Why Dovecot did not reload.
#[derive(Debug)]
pub enum ReloadError {
    /// The program of this name is not installed.
    NotInstalled(&'static str),
    /// The instance does not run.
    NotRunning(PathBuf),
    /// The program that should have it reloaded refused.
    Refused {
        /// What was run, as a command line.
        command: String,
        /// What it said, whole.
        message: String,
    },
    /// A program could not be run.
    Run(RunError),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled(program) => write!(f, "no `{program}` in PATH or /usr/sbin"),
            Self::NotRunning(directory) => {
                write!(
                    f,
                    "the Dovecot instance of {} is not running",
                    directory.display()
                )
            }
            Self::Refused { command, message } => write!(f, "`{command}` failed: {message}"),
            Self::Run(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

impl From<RunError> for ReloadError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

/// Reloads the instance: by the service manager where that runs it, so that it knows; otherwise by doveadm(1).
///
/// # Errors
/// [`ReloadError::NotRunning`], or [`ReloadError::Refused`] with what was said.
pub fn reload(env: &Env, instance: &Instance) -> Result<(), ReloadError> {
    if let Some(systemctl) = systemctl_of(env, &instance.directory) {
        let run = |args: &[&str]| Program::new(&systemctl).args(args).run();
        // A Dovecot that was started by hand is not the unit's: systemctl would refuse.
        if run(&["--quiet", "is-active", "dovecot.service"])?.success() {
            let output = run(&["reload", "dovecot.service"])?;
            if output.success() {
                return Ok(());
            }
            return Err(ReloadError::Refused {
                command: "systemctl reload dovecot.service".to_owned(),
                message: output.complaint(),
            });
        }
    }
    let doveadm = env
        .find_program("doveadm")
        .ok_or(ReloadError::NotInstalled("doveadm"))?;
    let main = instance.main();
    let mut message = String::new();
    for _ in 0..TRIES {
        let output = Program::new(&doveadm).arg("-c").arg(&main).arg("reload").run()?;
        if output.success() {
            return Ok(());
        }
        message = output.complaint();
        if message.contains("is not running") {
            return Err(ReloadError::NotRunning(instance.directory.clone()));
        }
    }
    Err(ReloadError::Refused {
        command: format!("doveadm -c {} reload", main.display()),
        message,
    })
}

/// Returns systemctl(1) where systemd is the service manager and the directory is that of the default instance.
fn systemctl_of(env: &Env, directory: &Path) -> Option<PathBuf> {
    let is_default = directory == Path::new("/etc/dovecot");
    (is_default && env.host_path("/run/systemd/system").is_dir()).then(|| env.find_program("systemctl"))?
}
