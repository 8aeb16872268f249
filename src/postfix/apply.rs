//! Writes planned files, takes them back, and has Postfix read them.
//!
//! Never by a signal: a broken file then ends the master and all mail with it. `postfix reload` refuses some of that; the rest is looked for
//! before it.
//!
//! Rules: postfix(1); `design` section 6, rule 3.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    inspect::{FILE_LIMIT, InspectError, Instance, is_running, postfix},
    survival::obstacles,
};
use crate::{
    env::{
        Env,
        files::{self, FileError},
        process::{Program, pause},
    },
    model::plan::FileChange,
};

/// How often it is started, and the pause in between: processes of a master that was killed hold its lock for a moment.
const STARTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What to do with a file that is no longer what the plan, or the apply to be undone, saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Write nothing at all.
    Refuse,
    /// Write over it.
    Overwrite,
}

/// Why files were not written or Postfix did not reload.
#[derive(Debug)]
pub enum ApplyError {
    /// A file could not be read or written; those written before it have been put back, except the ones named.
    File {
        /// What failed.
        error: FileError,
        /// Files that could not be put back.
        stuck: Vec<FileError>,
    },
    /// postfix(1) could not be asked.
    Inspect(InspectError),
    /// Somebody has edited the file; nothing was written.
    Moved {
        /// The file.
        path: PathBuf,
        /// What differs, as a unified diff from what was expected to what is there.
        diff: String,
    },
    /// The instance does not run.
    NotRunning(PathBuf),
    /// The program that should have it reloaded refused.
    Reload {
        /// What was run, as a command line.
        command: String,
        /// What it said, whole.
        message: String,
    },
    /// It would end by it: why, a line each. It was not asked to.
    WouldEnd(Vec<String>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { error, stuck } => {
                error.fmt(f)?;
                stuck
                    .iter()
                    .try_for_each(|error| write!(f, "; then, putting back: {error}"))
            }
            Self::Inspect(error) => error.fmt(f),
            Self::Moved { path, diff } => {
                write!(
                    f,
                    "{} has been changed by somebody else since:\n{diff}",
                    path.display()
                )
            }
            Self::NotRunning(directory) => {
                write!(
                    f,
                    "the Postfix instance of {} is not running",
                    directory.display()
                )
            }
            Self::Reload { command, message } => write!(f, "`{command}` failed: {message}"),
            Self::WouldEnd(lines) => f.write_str(&lines.join("; ")),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<InspectError> for ApplyError {
    fn from(error: InspectError) -> Self {
        Self::Inspect(error)
    }
}

/// Writes the changes, each by rename, owner, mode and links kept. All are compared with the disk before the first is
/// written.
///
/// # Errors
/// [`ApplyError::Moved`] when a file is no longer what the plan saw; [`ApplyError::File`] when one cannot be written, with
/// the others put back.
pub fn write(changes: &[FileChange], moved: Moved) -> Result<(), ApplyError> {
    let failed = |error| ApplyError::File {
        error,
        stuck: Vec::new(),
    };
    for change in changes {
        let found = files::read_if_exists(&change.path, FILE_LIMIT).map_err(failed)?;
        if found != change.before && moved == Moved::Refuse {
            let difference = FileChange {
                path: change.path.clone(),
                before: change.before.clone(),
                after: found,
                reasons: Vec::new(),
            };
            return Err(ApplyError::Moved {
                path: change.path.clone(),
                diff: difference.diff(),
            });
        }
    }
    for (index, change) in changes.iter().enumerate() {
        if let Err(error) = put(&change.path, change.after.as_deref()) {
            let written = changes.iter().take(index).rev();
            let stuck = written
                .filter_map(|change| put(&change.path, change.before.as_deref()).err())
                .collect();
            return Err(ApplyError::File { error, stuck });
        }
    }
    Ok(())
}

/// Takes written changes back, the last one first.
///
/// # Errors
/// As [`write()`]; [`ApplyError::Moved`] when a file is no longer what the apply wrote.
pub fn restore(changes: &[FileChange], moved: Moved) -> Result<(), ApplyError> {
    let inverse: Vec<FileChange> = changes.iter().rev().map(FileChange::inverse).collect();
    write(&inverse, moved)
}

fn put(path: &Path, bytes: Option<&[u8]>) -> Result<(), FileError> {
    match bytes {
        Some(bytes) => files::replace_config(path, bytes).map(drop),
        None => files::remove(path),
    }
}

/// Has the running instance read its configuration and certificates again.
///
/// The service manager is asked where it runs the default instance, so that it knows; otherwise postfix(1). Both return
/// before the daemons have changed over: only a handshake tells.
///
/// # Errors
/// [`ApplyError::NotRunning`], [`ApplyError::WouldEnd`], or [`ApplyError::Reload`] with what was said.
pub fn reload(env: &Env, instance: &Instance) -> Result<(), ApplyError> {
    if !is_running(env, instance)? {
        return Err(ApplyError::NotRunning(instance.directory.clone()));
    }
    let obstacles = obstacles(
        &instance.services,
        &instance.services,
        &instance.values,
        &instance.host,
    );
    if !obstacles.is_empty() {
        return Err(ApplyError::WouldEnd(obstacles));
    }
    if by_service_manager(env, &instance.directory)? {
        return Ok(());
    }
    match postfix(env, &instance.directory, "reload")? {
        (true, _) => Ok(()),
        (false, message) if message.contains("is not running") => {
            Err(ApplyError::NotRunning(instance.directory.clone()))
        }
        (false, message) => {
            let command = format!("postfix -c {} reload", instance.directory.display());
            Err(ApplyError::Reload { command, message })
        }
    }
}

/// Has the service manager reload it; returns whether it did. Where there is none that works, or the unit is not what runs, it did not.
fn by_service_manager(env: &Env, directory: &Path) -> Result<bool, ApplyError> {
    let Some(systemctl) = systemctl_of(env, directory) else {
        return Ok(false);
    };
    let run = |args: &[&str]| {
        Program::new(&systemctl)
            .args(args)
            .run()
            .map_err(InspectError::Run)
    };
    // A Postfix that was started by hand is not the unit's: systemctl would refuse.
    if !run(&["--quiet", "is-active", "postfix.service"])?.success() {
        return Ok(false);
    }
    let output = run(&["reload", "postfix.service"])?;
    if output.success() {
        return Ok(true);
    }
    let command = "systemctl reload postfix.service".to_owned();
    Err(ApplyError::Reload {
        command,
        message: output.complaint(),
    })
}

/// Starts the instance, which has ended since it was last seen: by the service manager where that runs it, so that it knows.
///
/// # Errors
/// [`ApplyError::Reload`] with what was said.
pub fn start(env: &Env, instance: &Instance) -> Result<(), ApplyError> {
    let systemctl = systemctl_of(env, &instance.directory);
    let command = match systemctl {
        Some(_) => "systemctl start postfix.service".to_owned(),
        None => format!("postfix -c {} start", instance.directory.display()),
    };
    let mut message = String::new();
    for _ in 0..STARTS {
        let started = match &systemctl {
            Some(systemctl) => {
                let output = Program::new(systemctl)
                    .args(["start", "postfix.service"])
                    .run()
                    .map_err(InspectError::Run)?;
                (output.success(), output.complaint())
            }
            None => postfix(env, &instance.directory, "start")?,
        };
        // One that is not gone yet says that it runs, and one that is started that it does.
        if started.0 && is_running(env, instance)? {
            return Ok(());
        }
        message = started.1;
        pause(PAUSE);
    }
    Err(ApplyError::Reload { command, message })
}

/// Returns systemctl(1) where systemd is the service manager and the directory is that of the default instance.
fn systemctl_of(env: &Env, directory: &Path) -> Option<PathBuf> {
    let is_default = directory == Path::new("/etc/postfix");
    (is_default && env.host_path("/run/systemd/system").is_dir()).then(|| env.find_program("systemctl"))?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        config::{ClientCa, TlsLayout},
        postfix::{
            desired::{LiveFiles, Request, desired},
            inspect::inspect,
            judge::{Tables, judge},
            plan::plan,
            scratch::Scratch,
            syntax::MainCf,
        },
    };

    fn change(path: PathBuf, before: Option<&str>, after: Option<&str>) -> FileChange {
        let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        FileChange {
            path,
            before: bytes(before),
            after: bytes(after),
            reasons: vec![],
        }
    }

    #[test]
    fn writes_all_or_nothing_and_takes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let text = |name: &str| fs::read_to_string(path(name)).ok();
        fs::write(path("a"), "1").unwrap();
        let changes = [
            change(path("a"), Some("1"), Some("2")),
            change(path("b"), None, Some("3")),
        ];
        write(&changes, Moved::Refuse).unwrap();
        assert_eq!(
            (text("a").as_deref(), text("b").as_deref()),
            (Some("2"), Some("3"))
        );
        restore(&changes, Moved::Refuse).unwrap();
        assert_eq!((text("a").as_deref(), text("b")), (Some("1"), None));

        // The second cannot be written: its directory is missing. The first is as it was.
        let changes = [
            change(path("a"), Some("1"), Some("2")),
            change(path("none/b"), None, Some("3")),
        ];
        let error = write(&changes, Moved::Refuse).unwrap_err();
        assert!(
            matches!(&error, ApplyError::File { stuck, .. } if stuck.is_empty()),
            "{error}"
        );
        assert_eq!(text("a").as_deref(), Some("1"));
    }

    #[test]
    fn refuses_over_an_edit_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "1\n").unwrap();
        fs::write(path("b"), "edited\n").unwrap();
        let changes = [
            change(path("a"), Some("1\n"), Some("2\n")),
            change(path("b"), Some("1\n"), Some("2\n")),
        ];
        let error = write(&changes, Moved::Refuse).unwrap_err();
        assert!(
            matches!(&error, ApplyError::Moved { diff, .. } if diff.contains("-1\n+edited\n")),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(path("a")).unwrap(),
            "1\n",
            "nothing is written"
        );
        write(&changes, Moved::Overwrite).unwrap();
        assert_eq!(fs::read_to_string(path("b")).unwrap(), "2\n");
    }

    #[test]
    #[ignore = "real: needs postfix"]
    fn reloads_a_running_instance_only() {
        let mut scratch = Scratch::new("127.0.77.6", &[]);
        let env = Env::real();
        let instance = inspect(&env, &scratch.directory()).unwrap();
        assert!(matches!(reload(&env, &instance), Err(ApplyError::NotRunning(_))));
        scratch.start();
        assert!(is_running(&env, &instance).unwrap());
        reload(&env, &instance).unwrap();
        scratch.append("main.cf", "no equals sign");
        // What Postfix refuses, it says; the running daemons go on.
        let error = reload(&env, &instance).unwrap_err();
        assert!(error.to_string().contains("missing '='"), "{error}");
    }

    #[test]
    #[ignore = "real: needs postfix and openssl"]
    fn an_apply_changes_what_is_served_and_can_be_taken_back() {
        let mut scratch = Scratch::new(
            "127.0.77.7",
            &["smtpd_tls_eccert_file =", "smtp_tls_CApath = /etc/ssl/certs"],
        );
        scratch.append(
            "master.cf",
            &format!(
                "127.0.77.7:2626 inet n - n - - smtpd\n  -o smtpd_tls_cert_file={}",
                scratch.tls("own.crt").display()
            ),
        );
        scratch.pair("new");
        scratch.start();
        let env = Env::real();
        let served = |port: u16| served_leaf(&format!("127.0.77.7:{port}"));
        let before = inspect(&env, &scratch.directory()).unwrap();
        let live = LiveFiles {
            fullchain: scratch.tls("new.crt"),
            privkey: scratch.tls("new.key"),
            combined: "/none".into(),
        };
        let bundles = ["/etc/ssl/certs/ca-certificates.crt"];
        let request = Request {
            live: &live,
            layout: TlsLayout::CertAndKey,
            client_ca: &ClientCa::System,
            system_bundles: &bundles,
            sni: crate::postfix::desired::SniRequest::unwanted(),
            policy: crate::postfix::desired::Policy::default(),
        };
        let decide = |instance: &Instance| {
            let main_cf = MainCf::parse(&instance.main_cf);
            plan(
                &instance.current(),
                &desired(&request, instance.version, &main_cf, &instance.values).unwrap(),
            )
        };
        let old_leaf = fs::read_to_string(scratch.tls("own.crt")).unwrap();
        let new_leaf = fs::read_to_string(scratch.tls("new.crt")).unwrap();
        assert_eq!((served(2525), served(2626)), (old_leaf.clone(), old_leaf.clone()));

        let planned = decide(&before);
        assert_eq!(planned.changes.len(), 2, "{planned:?}");
        judge(&env, &before, &planned.changes, Tables::Good).unwrap();
        write(&planned.changes, Moved::Refuse).unwrap();
        reload(&env, &before).unwrap();
        let wait_for = |port: u16, leaf: &str| (0..50).any(|_| served(port) == leaf);
        assert!(wait_for(2525, &new_leaf) && wait_for(2626, &new_leaf) && wait_for(2465, &new_leaf));

        let after = inspect(&env, &scratch.directory()).unwrap();
        assert_eq!(decide(&after).changes, vec![]);
        for name in [
            "smtpd_tls_cert_file",
            "smtpd_tls_key_file",
            "smtp_tls_CAfile",
            "smtp_tls_CApath",
            "tlsproxy_tls_cert_file",
            "postscreen_tls_security_level",
        ] {
            assert_eq!(after.values.get(name), planned.values.get(name), "{name}");
        }
        assert_eq!(after.services, planned.services);

        restore(&planned.changes, Moved::Refuse).unwrap();
        reload(&env, &after).unwrap();
        assert!(wait_for(2525, &old_leaf));
        let restored = inspect(&env, &scratch.directory()).unwrap();
        assert_eq!(
            (restored.main_cf, restored.master_cf),
            (before.main_cf, before.master_cf)
        );
    }

    /// Returns the leaf that a port serves, as PEM; empty when it serves none.
    fn served_leaf(address: &str) -> String {
        let mode: &[&str] = if address.ends_with(":2465") {
            &[]
        } else {
            &["-starttls", "smtp"]
        };
        let args = ["s_client", "-connect", address];
        let output = Program::new("/usr/bin/openssl")
            .args(args)
            .args(mode)
            .stdin("QUIT\r\n")
            .run()
            .unwrap()
            .stdout_text();
        let leaf = output.find("-----BEGIN").and_then(|start| {
            output[start..]
                .split_inclusive("-----END CERTIFICATE-----\n")
                .next()
        });
        leaf.unwrap_or_default().to_owned()
    }
}
