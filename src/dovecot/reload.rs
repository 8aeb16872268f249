//! Has the running instance read its configuration and certificates again.
//!
//! `doveadm reload` (doveadm(1)) returns before the processes have changed over, and says nothing of what the master thinks of the
//! configuration. A master that cannot read it goes on with what it had, logs why, and would not start again: a handshake tells that
//! nothing has changed, and the log the reason.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use time::OffsetDateTime;

use super::inspect::Instance;
use crate::{
    env::{
        Env, files,
        mail_log::Follower,
        process::{Program, RunError, pause},
    },
    model::plan::printable_line,
};

/// How often doveadm(1) is asked before it is believed.
const TRIES: usize = 3;
/// How often it is started, and the pause in between: processes of a master that was killed hold its ports for a moment.
const STARTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);
/// `base_dir` as Dovecot is built.
const BASE: &str = "/run/dovecot";
/// The longest complaint that is kept, in characters.
const TEXT_LIMIT: usize = 1000;
/// How the master begins what it says of a configuration that it does not take, 2.3 and 2.4; it goes on with the one before.
const COMPLAINTS: [&str; 6] = [
    "master: Error: Config reload failed: ",
    "master: Error: Can't reload configuration ",
    "master: Error: Error reading configuration: ",
    "master: Error: Failed to read configuration: ",
    "master: Error: bind(",
    "master: Error: listen(",
];

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
    if by_service_manager(env, &instance.directory)? {
        return Ok(());
    }
    // A signal to one that has ended and that nobody has reaped yet succeeds.
    if master(instance).is_some_and(|(_, pid)| has_ended(pid)) {
        return Err(ReloadError::NotRunning(instance.directory.clone()));
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

/// Has the service manager reload it; returns whether it did. Where there is none that works, or the unit is not what runs, it did not.
fn by_service_manager(env: &Env, directory: &Path) -> Result<bool, ReloadError> {
    let Some(systemctl) = systemctl_of(env, directory) else {
        return Ok(false);
    };
    let run = |args: &[&str]| Program::new(&systemctl).args(args).run();
    // A Dovecot that was started by hand is not the unit's: systemctl would refuse.
    if !run(&["--quiet", "is-active", "dovecot.service"])?.success() {
        return Ok(false);
    }
    let output = run(&["reload", "dovecot.service"])?;
    if output.success() {
        return Ok(true);
    }
    Err(ReloadError::Refused {
        command: "systemctl reload dovecot.service".to_owned(),
        message: output.complaint(),
    })
}

/// Starts the instance, which has ended since it was last seen: by the service manager where that runs it, so that it knows.
///
/// # Errors
/// [`ReloadError::Refused`] with what was said.
pub fn start(env: &Env, instance: &Instance) -> Result<(), ReloadError> {
    let main = instance.main();
    let (program, command) = match systemctl_of(env, &instance.directory) {
        Some(systemctl) => (
            Program::new(systemctl).args(["start", "dovecot.service"]),
            "systemctl start dovecot.service".to_owned(),
        ),
        None => (
            Program::new(
                env.find_program("dovecot")
                    .ok_or(ReloadError::NotInstalled("dovecot"))?,
            )
            .arg("-c")
            .arg(&main),
            format!("dovecot -c {}", main.display()),
        ),
    };
    let mut message = String::new();
    for _ in 0..STARTS {
        // It would take one that nobody has reaped yet for running.
        if let Some((file, _)) = master(instance).filter(|(_, pid)| has_ended(*pid)) {
            let _ = files::remove(&file);
        }
        let output = program.run()?;
        if output.success() {
            return Ok(());
        }
        message = output.complaint();
        pause(PAUSE);
    }
    Err(ReloadError::Refused { command, message })
}

/// Returns the file that the master leaves its process id in, and the id.
fn master(instance: &Instance) -> Option<(PathBuf, u32)> {
    let base = instance.effective.root.get("base_dir");
    let file = Path::new(base.as_deref().unwrap_or(BASE)).join("master.pid");
    let text = files::read(&file, 64).ok()?;
    let pid = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
    Some((file, pid))
}

/// Returns whether a process is no more, or waits only to be reaped (proc(5), `/proc/PID/stat`).
fn has_ended(pid: u32) -> bool {
    let stat = files::read_if_exists(Path::new(&format!("/proc/{pid}/stat")), 4096);
    // Where there is no proc(5), nothing is known.
    match stat {
        Ok(Some(text)) => is_over(&String::from_utf8_lossy(&text)),
        Ok(None) => Path::new("/proc/self/stat").exists(),
        Err(_) => false,
    }
}

/// Reads `PID (NAME) STATE ...`; the name may hold anything.
fn is_over(stat: &str) -> bool {
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('X' | 'Z'))
}

/// The log of an instance, watched from before a reload on.
pub struct Watch {
    follower: Follower,
    /// Complaints that were there before: the journal is read from its beginning each time.
    n_known: usize,
}

impl Watch {
    /// Begins at the present end of the log.
    pub fn begin(env: &Env, instance: &Instance, now: OffsetDateTime) -> Self {
        let own = instance.effective.root.get("log_path").map(PathBuf::from);
        let own = own.filter(|path| path.is_absolute() && !path.starts_with("/dev"));
        let mut watch = Self {
            follower: Follower::begin(env, own, now),
            n_known: 0,
        };
        watch.n_known = watch.complaints().len();
        watch
    }

    /// Returns why the master does not take the configuration, once it has said so.
    pub fn complaint(&mut self) -> Option<String> {
        let complaints = self.complaints();
        // Lines of a file come once, those of the journal each time.
        (complaints.len() > self.n_known)
            .then(|| complaints.last().cloned())
            .flatten()
    }

    fn complaints(&mut self) -> Vec<String> {
        let lines = self.follower.more();
        lines.iter().filter_map(|line| complaint(line)).collect()
    }
}

/// Returns what the master has against a configuration, where a line of the log says so.
fn complaint(line: &str) -> Option<String> {
    let at = COMPLAINTS.iter().find_map(|begin| line.find(begin))?;
    let said = line.get(at..)?.trim_start_matches("master: Error: ");
    Some(printable_line(said.as_bytes(), TEXT_LIMIT))
}

/// Returns systemctl(1) where systemd is the service manager and the directory is that of the default instance.
fn systemctl_of(env: &Env, directory: &Path) -> Option<PathBuf> {
    let is_default = directory == Path::new("/etc/dovecot");
    (is_default && env.host_path("/run/systemd/system").is_dir()).then(|| env.find_program("systemctl"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_that_works_it_is_asked_itself() {
        let dir = tempfile::tempdir().unwrap();
        let stub = dir.path().join("systemctl");
        let mut env = Env::real();
        env.root = dir.path().to_owned();
        env.vars
            .insert("PATH".into(), dir.path().display().to_string().into());
        let reloaded = |script: &str| {
            files::write_atomic(
                &stub,
                format!("#!/bin/sh\n{script}\n").as_bytes(),
                files::Access {
                    mode: 0o755,
                    ..files::Access::PUBLIC
                },
            )
            .unwrap();
            by_service_manager(&env, Path::new("/etc/dovecot")).map_err(|error| error.to_string())
        };
        // None has booted this host, although its program is there.
        assert_eq!(reloaded("exit 0"), Ok(false));
        files::make_directory(&dir.path().join("run/systemd/system"), 0o755).unwrap();
        let broken = "echo 'System has not been booted with systemd as init system' >&2; exit 1";
        assert_eq!(reloaded(broken), Ok(false));
        assert_eq!(reloaded("exit 0"), Ok(true));
        let refused = reloaded("[ $1 != reload ] || { echo 'Job failed' >&2; exit 1; }").unwrap_err();
        assert!(
            refused.ends_with("dovecot.service` failed: Job failed"),
            "{refused}"
        );
        let other = by_service_manager(&env, Path::new("/srv/dovecot"));
        assert!(matches!(other, Ok(false)));
    }

    #[test]
    fn one_that_is_not_reaped_has_ended() {
        assert!(is_over("7 (dovecot) Z 1 7 7 0"));
        assert!(is_over("7 (a) R (b) X 1"));
        assert!(!is_over("7 (x) Z) S 1"));
        assert!(!is_over(""));
    }

    #[test]
    fn a_complaint_of_the_master_is_told_from_other_lines() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(complaint(line).as_deref(), expected, "{line}");
        };
        check(
            "Nov 26 18:14:16 master: Error: Error reading configuration: Error in configuration file /d/dovecot.conf line 10: ssl_cert: \
             Can't open file /k",
            Some(
                "Error reading configuration: Error in configuration file /d/dovecot.conf line 10: ssl_cert: Can't open file /k",
            ),
        );
        check(
            "Nov 26 18:14:16 mx dovecot: master: Error: Config reload failed: x",
            Some("Config reload failed: x"),
        );
        check("master: Warning: SIGHUP received - reloading configuration", None);
        check(
            "master: Error: service(imap-login): child 7 returned error 89 (Fatal failure)",
            None,
        );
        check("imap-login: Info: Login: user=<master: x>", None);
    }
}
