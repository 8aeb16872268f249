//! What wakes `renew`: a systemd timer or a line in `/etc/cron.d`, whichever the host has.
//!
//! The texts are the files in `examples/systemd`, with this host's paths put in. Planning reads; the only thing that is
//! changed here is whether systemd has the timer enabled. The files themselves are written by whoever applies the plan.
//!
//! systemd.timer(5), systemd.exec(5), crontab(5).

use std::{
    fmt, iter,
    path::{Path, PathBuf},
    time::Duration,
};

use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

use crate::{
    config,
    env::{
        Env,
        files::{self, FileError},
        process::{Output, Program, RunError},
    },
    model::{
        certificate::Sha256,
        name::DomainName,
        plan::{Change, FileChange, Plan, TimerChange},
    },
};

/// The unit that systemd is asked to enable.
pub const UNIT: &str = "mailcert-renew.timer";

const SERVICE: &str = "mailcert-renew.service";
/// Where an administrator's units are, and ours.
const UNIT_DIR: &str = "/etc/systemd/system";
/// Where a package's units are, which one of the same name in [`UNIT_DIR`] hides; in `/lib` on hosts whose `/usr` is not merged
/// (systemd.unit(5), "Unit File Load Path").
const PACKAGE_UNIT_DIRS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
const CRON_PATH: &str = "/etc/cron.d/mailcert";

const TIMER_TEXT: &str = include_str!("../examples/systemd/mailcert-renew.timer");
const SERVICE_TEXT: &str = include_str!("../examples/systemd/mailcert-renew.service");
const SERVICE_WITH_HOOKS_TEXT: &str = include_str!("../examples/systemd/mailcert-renew-with-hooks.service");
const CRON_TEXT: &str = include_str!("../examples/systemd/mailcert.cron");

/// What stands in the examples where this host's own values go.
const EXAMPLE_EXECUTABLE: &str = "/usr/bin/mailcert";
const EXAMPLE_CONFIG: &str = "/etc/mailcert/mailcert.toml";
const EXAMPLE_STATE: &str = "ReadWritePaths=/var/lib/mailcert\n";
const EXAMPLE_CONDITION: &str = "ConditionPathExists=/etc/mailcert/mailcert.toml\n";
const EXAMPLE_MINUTE: &str = "\n17 * * * *";

/// The largest unit or cron file that is read, in bytes.
const FILE_LIMIT: u64 = 64 << 10;

/// What wakes `renew` on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waker {
    /// A file in `/etc/cron.d`.
    Cron,
    /// Nothing: the operator wants it so, or the host has neither.
    None,
    /// A systemd timer.
    Systemd,
}

impl Waker {
    /// Returns the name as `renew.timer` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::None => "none",
            Self::Systemd => "systemd",
        }
    }
}

/// What is run, and what it may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// This program, absolute.
    pub executable: PathBuf,
    /// `mailcert.toml`, absolute.
    pub config_file: PathBuf,
    /// The state directory, absolute.
    pub state_directory: PathBuf,
    /// What a renewal writes to besides: a webroot, the queue and data directory of a Postfix instance, the metrics.
    pub writable: Vec<PathBuf>,
    /// The host, for a minute of its own.
    pub host: DomainName,
    /// Whether the service may be locked in.
    pub sandbox: Sandbox,
}

/// Whether the service is locked in.
///
/// What a service may not do its children may not either, and a hook may have to do anything: reload a web server, write
/// into another program's directory, send mail through setgid postdrop. Starting hooks outside by `systemd-run` was
/// weighed: it needs the bus, puts a hook's facts into the journal and out of our process group, and whoever may call it
/// is not locked in any more. So a host has either the sandbox or hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// It writes what [`Job`] names, and nothing else.
    Full,
    /// Not at all: programs of the operator's run in it.
    None,
}

/// Whether `renew` is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// By what.
    pub waker: Waker,
    /// It is installed and will wake `renew` also after a restart of the host.
    pub enabled: bool,
    /// When it did last, where that is known.
    pub last_run: Option<OffsetDateTime>,
    /// When it will next, where that is known.
    pub next_run: Option<OffsetDateTime>,
}

/// Why a timer cannot be planned, enabled or asked for.
#[derive(Debug)]
pub enum TimerError {
    /// A file could not be read.
    File(FileError),
    /// systemctl is not installed.
    NoSystemctl,
    /// A path cannot stand in a unit or a cron line.
    Path(PathBuf),
    /// systemctl could not be run.
    Run(RunError),
    /// systemctl failed; with its arguments and what it said.
    Systemctl(String, String),
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NoSystemctl => f.write_str("cannot enable the timer: systemctl is not installed"),
            Self::Path(path) => {
                write!(
                    f,
                    "cannot write {:?} into a unit or cron line: it is not plain text",
                    path.as_os_str()
                )
            }
            Self::Run(error) => error.fmt(f),
            Self::Systemctl(args, complaint) => write!(f, "systemctl {args} failed: {complaint}"),
        }
    }
}

impl std::error::Error for TimerError {}

/// Finds what the host has; a choice in the configuration stands.
pub fn detect(env: &Env, wanted: config::Timer) -> Waker {
    match wanted {
        config::Timer::Cron => Waker::Cron,
        config::Timer::None => Waker::None,
        config::Timer::Systemd => Waker::Systemd,
        config::Timer::Auto if systemd_runs(env) => Waker::Systemd,
        config::Timer::Auto if env.host_path("/etc/cron.d").is_dir() => Waker::Cron,
        config::Timer::Auto => Waker::None,
    }
}

/// sd_booted(3) asks the same.
fn systemd_runs(env: &Env) -> bool {
    env.host_path("/run/systemd/system").is_dir()
}

/// Returns what has to change for the timer to be there and enabled; empty when it is.
///
/// # Errors
/// When a path cannot stand in the files, or an existing file cannot be read.
pub fn plan(env: &Env, waker: Waker, job: &Job) -> Result<Plan, TimerError> {
    let mut plan = Plan::default();
    let mut file_change = |path: PathBuf, before: Option<Vec<u8>>, wanted: Option<String>, reason: &str| {
        let after = wanted.map(String::into_bytes);
        if before != after {
            plan.changes.push(Change::File(FileChange {
                path,
                before,
                after,
                reasons: vec![reason.to_owned()],
            }));
        }
    };
    let read = |path: &Path| files::read_if_exists(path, FILE_LIMIT).map_err(TimerError::File);
    let cron_path = env.host_path(CRON_PATH);
    match waker {
        Waker::None => {}
        Waker::Cron => {
            let before = read(&cron_path)?;
            file_change(cron_path, before, Some(cron_text(job)?), "renews every hour");
        }
        Waker::Systemd => {
            let reason = match job.sandbox {
                Sandbox::Full => "renews in a sandbox",
                Sandbox::None => {
                    "renews without a sandbox: hooks, or the firewall's program, could not work in it"
                }
            };
            let units = [
                (SERVICE, service_text(job)?, reason),
                (UNIT, timer_text(job)?, "renews every hour"),
            ];
            for (name, wanted, reason) in units {
                let path = env.host_path(UNIT_DIR).join(name);
                let before = read(&path)?;
                // A package's unit that says the same serves, and its next version arrives with the package's.
                if before.is_some() || loaded_unit(env, name)?.as_deref() != Some(wanted.as_bytes()) {
                    file_change(path, before, Some(wanted), reason);
                }
            }
            let before = read(&cron_path)?;
            file_change(
                cron_path,
                before,
                None,
                "the systemd timer does it: twice would be too often",
            );
            let enabled = status(env, waker).enabled;
            // systemd goes on with the units it has read until it is told to read them anew.
            if !enabled || !plan.is_empty() {
                let reason = if enabled {
                    "systemd reads the changed units"
                } else {
                    "wakes mailcert every hour"
                };
                let reason = reason.to_owned();
                plan.changes.push(Change::Timer(TimerChange {
                    unit: UNIT.to_owned(),
                    reason,
                }));
            }
        }
    }
    Ok(plan)
}

/// Returns the text of the unit that systemd loads: ours, or else a package's.
fn loaded_unit(env: &Env, name: &str) -> Result<Option<Vec<u8>>, TimerError> {
    for dir in iter::once(UNIT_DIR).chain(PACKAGE_UNIT_DIRS) {
        let path = env.host_path(dir).join(name);
        if let Some(text) = files::read_if_exists(&path, FILE_LIMIT).map_err(TimerError::File)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Returns the timer unit for this host.
///
/// # Errors
/// When a path holds control characters or is not UTF-8.
fn timer_text(job: &Job) -> Result<String, TimerError> {
    // Specifiers are expanded in it, quotes are not taken away.
    let path = plain(&job.config_file)?.replace('%', "%%");
    Ok(TIMER_TEXT.replace(EXAMPLE_CONDITION, &format!("ConditionPathExists={path}\n")))
}

/// Returns the service unit for this host.
///
/// # Errors
/// When a path holds control characters or is not UTF-8.
pub fn service_text(job: &Job) -> Result<String, TimerError> {
    let text = match job.sandbox {
        Sandbox::Full => SERVICE_TEXT,
        Sandbox::None => SERVICE_WITH_HOOKS_TEXT,
    };
    let mut writable = format!("ReadWritePaths={}\n", unit_word(&job.state_directory)?);
    for path in &job.writable {
        writable.push_str(&format!("ReadWritePaths=-{}\n", unit_word(path)?));
    }
    Ok(text
        .replace(EXAMPLE_STATE, &writable)
        .replace(EXAMPLE_CONFIG, &unit_word(&job.config_file)?)
        .replace(EXAMPLE_EXECUTABLE, &unit_word(&job.executable)?))
}

/// Returns whether the unit on this host has the sandbox that hooks cannot work in.
pub fn locks_hooks_in(env: &Env) -> bool {
    let text = loaded_unit(env, SERVICE).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).contains("\nProtectSystem=strict\n")
}

/// Returns the cron file for this host.
///
/// # Errors
/// As [`service_text`].
pub fn cron_text(job: &Job) -> Result<String, TimerError> {
    Ok(CRON_TEXT
        .replace(EXAMPLE_MINUTE, &format!("\n{} * * * *", minute(&job.host)))
        .replace(EXAMPLE_CONFIG, &cron_word(&job.config_file)?)
        .replace(EXAMPLE_EXECUTABLE, &cron_word(&job.executable)?))
}

/// Returns the host's own minute: always the same one, spread evenly over hosts.
fn minute(host: &DomainName) -> u16 {
    let digest = Sha256::of(host.as_str().as_bytes());
    let [first, second, ..] = *digest.as_bytes();
    u16::from_be_bytes([first, second]) % 60
}

/// Returns the path as text when it is plain.
fn plain(path: &Path) -> Result<&str, TimerError> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.ok_or_else(|| TimerError::Path(path.to_owned()))
}

/// Writes a path as one word of a unit file (systemd.syntax(7), systemd.service(5), systemd.unit(5) on specifiers).
fn unit_word(path: &Path) -> Result<String, TimerError> {
    let text = plain(path)?.replace('%', "%%");
    if text.chars().all(is_ordinary) {
        return Ok(text);
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

/// Writes a path as one word of the shell in a cron line, where `%` ends the command (crontab(5)).
fn cron_word(path: &Path) -> Result<String, TimerError> {
    let text = plain(path)?;
    if text.contains('%') {
        // Within quotes the backslash that cron wants would reach the shell.
        return Err(TimerError::Path(path.to_owned()));
    }
    if text.chars().all(is_ordinary) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

fn is_ordinary(character: char) -> bool {
    character.is_ascii_alphanumeric() || "/._-+@:,%=".contains(character)
}

/// Makes systemd read the units anew, and enables and starts the timer. Where systemd does not run (an image is being
/// built) the timer is enabled for the next start.
///
/// # Errors
/// When systemctl is missing or fails.
pub fn enable(env: &Env) -> Result<(), TimerError> {
    switch(env, "enable")
}

/// Stops and disables the timer; to be called before its files are removed.
///
/// # Errors
/// As [`enable`].
pub fn disable(env: &Env) -> Result<(), TimerError> {
    switch(env, "disable")
}

fn switch(env: &Env, verb: &str) -> Result<(), TimerError> {
    if !systemd_runs(env) {
        return systemctl(env, &[&format!("--root={}", env.root.display()), verb, UNIT]).map(|_| ());
    }
    systemctl(env, &["daemon-reload"])?;
    systemctl(env, &[verb, "--now", UNIT]).map(|_| ())
}

fn systemctl(env: &Env, args: &[&str]) -> Result<Output, TimerError> {
    let program = env.find_program("systemctl").ok_or(TimerError::NoSystemctl)?;
    // TZ: so that times are told in UTC.
    let child = Program::new(program)
        .args(args)
        .var("TZ", "UTC")
        .timeout(Duration::from_secs(60));
    let output = child.run().map_err(TimerError::Run)?;
    if output.success() {
        Ok(output)
    } else {
        Err(TimerError::Systemctl(args.join(" "), output.complaint()))
    }
}

/// Tells whether `renew` is woken, as far as the host says.
pub fn status(env: &Env, waker: Waker) -> Status {
    let nothing = Status {
        waker,
        enabled: false,
        last_run: None,
        next_run: None,
    };
    match waker {
        Waker::None => nothing,
        Waker::Cron => Status {
            enabled: env.host_path(CRON_PATH).is_file(),
            ..nothing
        },
        Waker::Systemd if systemd_runs(env) => {
            let properties = "--property=UnitFileState,ActiveState,LastTriggerUSec,NextElapseUSecRealtime";
            // Without an answer it counts as not enabled: red is the safe color.
            systemctl(env, &["show", UNIT, properties])
                .map_or(nothing, |output| shown(waker, &output.stdout_text()))
        }
        Waker::Systemd => {
            let link = "/etc/systemd/system/timers.target.wants/mailcert-renew.timer";
            Status {
                enabled: env.host_path(link).is_symlink(),
                ..nothing
            }
        }
    }
}

/// Returns when the timer's file was written, since when it should have run. A package's file is as old as the package: a timer of
/// its waits for `config_file`.
pub fn installed_at(env: &Env, waker: Waker, config_file: &Path) -> Option<OffsetDateTime> {
    let own = match waker {
        Waker::Cron => env.host_path(CRON_PATH),
        Waker::Systemd => env.host_path(UNIT_DIR).join(UNIT),
        Waker::None => return None,
    };
    let modified = own.metadata().or_else(|_| config_file.metadata());
    modified
        .and_then(|meta| meta.modified())
        .ok()
        .map(OffsetDateTime::from)
}

/// Reads what `systemctl show` printed.
fn shown(waker: Waker, text: &str) -> Status {
    let property = |name: &str| {
        text.lines().find_map(|line| {
            line.split_once('=')
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
        })
    };
    Status {
        waker,
        enabled: property("UnitFileState") == Some("enabled") && property("ActiveState") == Some("active"),
        last_run: property("LastTriggerUSec").and_then(instant),
        next_run: property("NextElapseUSecRealtime").and_then(instant),
    }
}

/// Reads `Mon 2026-11-23 23:17:00 UTC`; `n/a` and the empty text are no instant.
fn instant(text: &str) -> Option<OffsetDateTime> {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let (_weekday, rest) = text.split_once(' ')?;
    PrimitiveDateTime::parse(rest.strip_suffix(" UTC")?, format)
        .ok()
        .map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use time::macros::datetime;

    use super::*;
    use crate::env::{Clock, Sink, Streams};

    fn env(root: &Path) -> Env {
        Env {
            args: vec![],
            vars: BTreeMap::new(),
            streams: Streams {
                stdin: Box::new(std::io::empty()),
                stdout: Sink::new(std::io::sink()),
                stderr: Sink::new(std::io::sink()),
                stdin_is_terminal: false,
                stdout_is_terminal: false,
                stderr_is_terminal: false,
            },
            clock: Clock::System,
            root: root.to_owned(),
        }
    }

    fn job() -> Job {
        Job {
            executable: "/opt/mail cert/mailcert".into(),
            config_file: "/srv/etc/mailcert.toml".into(),
            state_directory: "/srv/state".into(),
            writable: vec!["/srv/webroot".into()],
            host: "mail.example.jp".parse().unwrap(),
            sandbox: Sandbox::Full,
        }
    }

    #[test]
    fn hooks_are_not_locked_in() {
        let hooked = Job {
            sandbox: Sandbox::None,
            ..job()
        };
        let text = service_text(&hooked).unwrap();
        let start = "\nExecStart=\"/opt/mail cert/mailcert\" --config /srv/etc/mailcert.toml renew\n";
        assert!(text.contains(start), "{text}");
        // Everything that a child inherits and a hook could stumble over.
        let names = [
            "Protect",
            "Private",
            "Restrict",
            "ReadWrite",
            "NoNewPrivileges=",
            "Capability",
            "SystemCall",
            "Memory",
            "Lock",
        ];
        for line in text.lines() {
            assert!(!names.iter().any(|name| line.starts_with(name)), "{line}");
        }
        assert!(service_text(&job()).unwrap().contains("\nProtectSystem=strict\n"));
    }

    #[test]
    fn puts_this_hosts_paths_into_the_units() {
        let text = service_text(&job()).unwrap();
        let start = "\nExecStart=\"/opt/mail cert/mailcert\" --config /srv/etc/mailcert.toml renew\n";
        assert!(text.contains(start), "{text}");
        assert!(
            text.contains("\nReadWritePaths=/srv/state\nReadWritePaths=-/srv/webroot\n"),
            "{text}"
        );
        assert!(
            !text.contains("/usr/bin/mailcert") && !text.contains("/etc/mailcert/"),
            "{text}"
        );
        let text = cron_text(&job()).unwrap();
        let line = " * * * * root '/opt/mail cert/mailcert' --quiet --config /srv/etc/mailcert.toml renew";
        assert!(text.contains(line), "{text}");
        assert!(
            !text.contains("\n17 * * * *") || minute(&job().host) == 17,
            "{text}"
        );
    }

    #[test]
    fn the_minute_is_the_hosts_own() {
        let minute = |host: &str| minute(&host.parse().unwrap());
        let minutes: Vec<u16> = ["a.test", "b.test", "c.test", "d.test"].map(minute).to_vec();
        assert_eq!(minutes, ["a.test", "b.test", "c.test", "d.test"].map(minute));
        assert!(minutes.iter().all(|minute| *minute < 60));
        assert!(minutes.iter().any(|minute| *minute != minutes[0]), "{minutes:?}");
    }

    #[test]
    fn quotes_odd_paths_and_refuses_what_cannot_be_quoted() {
        let check = |path: &str, unit: Option<&str>, cron: Option<&str>| {
            assert_eq!(unit_word(Path::new(path)).ok().as_deref(), unit, "{path}");
            assert_eq!(cron_word(Path::new(path)).ok().as_deref(), cron, "{path}");
        };
        check(
            "/usr/bin/mailcert",
            Some("/usr/bin/mailcert"),
            Some("/usr/bin/mailcert"),
        );
        check("/a b", Some("\"/a b\""), Some("'/a b'"));
        check("/a%b", Some("/a%%b"), None);
        check("/a$b'c\"", Some("\"/a$$b'c\\\"\""), Some("'/a$b'\\''c\"'"));
        check("/a\nb", None, None);
    }

    #[test]
    fn uses_what_the_host_has_and_the_configuration_allows() {
        let root = tempfile::tempdir().unwrap();
        let env = env(root.path());
        assert_eq!(detect(&env, config::Timer::Auto), Waker::None);
        fs::create_dir_all(root.path().join("etc/cron.d")).unwrap();
        assert_eq!(detect(&env, config::Timer::Auto), Waker::Cron);
        fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        assert_eq!(detect(&env, config::Timer::Auto), Waker::Systemd);
        assert_eq!(detect(&env, config::Timer::Cron), Waker::Cron);
        assert_eq!(detect(&env, config::Timer::None), Waker::None);
    }

    #[test]
    fn a_second_plan_is_empty() {
        let root = tempfile::tempdir().unwrap();
        let env = env(root.path());
        for waker in [Waker::Cron, Waker::Systemd, Waker::None] {
            for change in plan(&env, waker, &job()).unwrap().changes {
                match change {
                    Change::File(FileChange {
                        path,
                        after: Some(after),
                        ..
                    }) => {
                        fs::create_dir_all(path.parent().unwrap()).unwrap();
                        fs::write(path, after).unwrap();
                    }
                    Change::File(FileChange {
                        path, after: None, ..
                    }) => fs::remove_file(path).unwrap(),
                    Change::Timer(change) => {
                        let wants = root.path().join("etc/systemd/system/timers.target.wants");
                        fs::create_dir_all(&wants).unwrap();
                        std::os::unix::fs::symlink("x", wants.join(change.unit)).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(plan(&env, waker, &job()).unwrap(), Plan::default());
            assert_eq!(status(&env, waker).enabled, waker != Waker::None);
        }
        assert!(
            !env.host_path(CRON_PATH).exists(),
            "the systemd timer takes over from cron"
        );
    }

    #[test]
    fn changed_units_are_read_anew() {
        let root = tempfile::tempdir().unwrap();
        let env = env(root.path());
        let wants = root.path().join("etc/systemd/system/timers.target.wants");
        fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("x", wants.join(UNIT)).unwrap();
        let changes = plan(&env, Waker::Systemd, &job()).unwrap().changes;
        let expected = matches!(
            changes.as_slice(),
            [Change::File(_), Change::File(_), Change::Timer(_)]
        );
        assert!(expected, "{changes:?}");
    }

    #[test]
    fn a_packages_units_serve_where_they_say_the_same() {
        let root = tempfile::tempdir().unwrap();
        let env = env(root.path());
        let packaged = root.path().join("usr/lib/systemd/system");
        let wants = root.path().join("etc/systemd/system/timers.target.wants");
        fs::create_dir_all(&packaged).unwrap();
        fs::create_dir_all(&wants).unwrap();
        fs::write(packaged.join(UNIT), TIMER_TEXT).unwrap();
        fs::write(packaged.join(SERVICE), SERVICE_TEXT).unwrap();
        std::os::unix::fs::symlink("x", wants.join(UNIT)).unwrap();
        let usual = Job {
            executable: EXAMPLE_EXECUTABLE.into(),
            config_file: EXAMPLE_CONFIG.into(),
            state_directory: "/var/lib/mailcert".into(),
            writable: vec![],
            ..job()
        };
        assert_eq!(plan(&env, Waker::Systemd, &usual).unwrap(), Plan::default());
        assert!(locks_hooks_in(&env));

        // What this host wants otherwise stands in units of our own, and systemd takes those.
        let hooked = Job {
            sandbox: Sandbox::None,
            ..usual.clone()
        };
        let changes = plan(&env, Waker::Systemd, &hooked).unwrap().changes;
        let [
            Change::File(FileChange {
                path,
                before: None,
                after: Some(after),
                ..
            }),
            Change::Timer(_),
        ] = changes.as_slice()
        else {
            panic!("{changes:?}");
        };
        assert_eq!(path, &root.path().join("etc/systemd/system").join(SERVICE));
        fs::write(path, after).unwrap();
        assert_eq!(plan(&env, Waker::Systemd, &hooked).unwrap(), Plan::default());
        assert!(!locks_hooks_in(&env));
        // Back to the usual: ours, which hides the package's, becomes it.
        let changes = plan(&env, Waker::Systemd, &usual).unwrap().changes;
        assert!(
            matches!(
                changes.as_slice(),
                [Change::File(FileChange { before: Some(_), .. }), Change::Timer(_)]
            ),
            "{changes:?}"
        );
    }

    #[test]
    fn the_timer_waits_for_this_hosts_configuration() {
        let check = |path: &str, expected: &str| {
            let text = timer_text(&Job {
                config_file: path.into(),
                ..job()
            })
            .unwrap();
            assert!(
                text.contains(&format!("\nConditionPathExists={expected}\n")),
                "{text}"
            );
        };
        check("/srv/mail cert/100%.toml", "/srv/mail cert/100%%.toml");
        check(EXAMPLE_CONFIG, EXAMPLE_CONFIG);
    }

    #[test]
    fn reads_what_systemctl_shows() {
        let text = "NextElapseUSecRealtime=Tue 2026-11-24 00:31:12 UTC\nLastTriggerUSec=n/a\n\
                    ActiveState=active\nUnitFileState=enabled\n";
        let expected = Status {
            waker: Waker::Systemd,
            enabled: true,
            last_run: None,
            next_run: Some(datetime!(2026-11-24 00:31:12 UTC)),
        };
        assert_eq!(shown(Waker::Systemd, text), expected);
        assert!(!shown(Waker::Systemd, "ActiveState=inactive\nUnitFileState=enabled\n").enabled);
        assert!(!shown(Waker::Systemd, "").enabled);
    }
}
