//! Has a staged copy of the configuration judged before it is live, by Postfix itself and by us.
//!
//! Only what is *new* against the same questions about the unchanged copy counts: a host may live with warnings for
//! years. The judges:
//!
//! 1. `postconf -n`, `-x` and `-M` for syntax.
//! 2. `smtpd -S` fed `QUIT`, once for each distinct set of `-o` overrides of an smtpd service: it loads values, tables and
//!    certificates as a daemon does, and ends. Its complaints are read from standard error: `-V` (single_server(3), since
//!    Postfix 2.3) makes a daemon log there besides its usual log, and the usual log is pointed at a postlog(1) service that
//!    does not exist, so that nothing of this is written to the host's mail log. It uses the live queue directory.
//! 3. Ours: every file that is named for the first time can be read; a running master survives master.cf; the tables that
//!    smtpd(8) has to open can be opened: a reload would take them from those that still have them.
//!
//! While Postfix is stopped, smtpd cannot reach proxymap(8), for which it would wait for ever, nor tlsmgr(8), without
//! which it does not load certificates: tables behind `proxy:` are left out then, and only values are judged.
//!
//! `postfix check` is not asked: it says OK to bad values and missing certificates, creates and moves files in the live
//! queue, and finds nothing about main.cf that `postconf` does not.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    desired::PARAMETERS,
    endpoints::tls_services,
    inspect::{InspectError, Instance, ask, is_running},
    survival::obstacles,
    syntax::{MasterCf, Override, Service},
    values::Values,
};
use crate::{
    env::{
        Env,
        files::{self, FileError},
        process::{Program, RunError},
    },
    model::plan::FileChange,
};

/// How long smtpd may take to open its tables; a fatal error alone costs it a second.
const SMTPD_PATIENCE: Duration = Duration::from_secs(15);

/// What a judge had to say against a change, to be shown whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints {
    /// Who complains, as a command line.
    pub program: String,
    /// What it says, as it says it.
    pub lines: Vec<String>,
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` says: {}", self.program, self.lines.join("; "))
    }
}

/// Why a change was not found good.
#[derive(Debug)]
pub enum JudgeError {
    /// Postfix, or we, have something against it.
    Complaints(Complaints),
    /// The running smtpd(8) has tables that a new one cannot open.
    Tables(Complaints),
    /// The copy could not be made.
    File(FileError),
    /// The judges could not be asked.
    Inspect(InspectError),
}

impl fmt::Display for JudgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complaints(complaints) | Self::Tables(complaints) => complaints.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Inspect(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JudgeError {}

impl From<InspectError> for JudgeError {
    fn from(error: InspectError) -> Self {
        Self::Inspect(error)
    }
}

/// What the tables of a running Postfix have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Such that smtpd(8) can open them.
    Good,
    /// As they are: `undo` brings back what was there.
    AsTheyAre,
}

/// Judges changes to main.cf and master.cf of an instance; returns what could not be judged, as notes.
///
/// # Errors
/// [`JudgeError::Complaints`] when a judge has something new against them; [`JudgeError::Tables`] whatever changes.
pub fn judge(
    env: &Env,
    instance: &Instance,
    changes: &[FileChange],
    tables: Tables,
) -> Result<Vec<String>, JudgeError> {
    let after = |name: &str| {
        let path = instance.directory.join(name);
        changes
            .iter()
            .find(|change| change.path == path)
            .and_then(|change| change.after.clone())
    };
    let (main_cf, master_cf) = (after("main.cf"), after("master.cf"));
    if main_cf.is_none() && master_cf.is_none() {
        return Ok(Vec::new());
    }
    let master_cf_after = master_cf.clone();
    let stage = Stage::new(instance)?;
    let running = is_running(env, instance)?;
    let before = Hearing::hold(&stage, instance, running)?;
    for (name, bytes) in [("main.cf", main_cf), ("master.cf", master_cf)] {
        if let Some(bytes) = bytes {
            stage.put(name, &bytes)?;
        }
    }
    let after = match Hearing::hold(&stage, instance, running) {
        Err(JudgeError::Inspect(InspectError::Refused { command, message })) => {
            let lines = message.lines().map(str::to_owned).collect();
            return Err(JudgeError::Complaints(Complaints {
                program: command,
                lines,
            }));
        }
        result => result?,
    };
    compare(instance, &before, &after)?;
    if running && tables == Tables::Good {
        tables_open(&after)?;
    }
    if running {
        survives(instance, master_cf_after.as_deref())?;
    }
    let mut notes = before.notes;
    if !running {
        notes.push("Postfix is not running: smtpd could judge values, but not certificates".to_owned());
    }
    Ok(notes)
}

/// Makes sure that the running master reads master.cf again and lives; also where what ends it was there before.
fn survives(instance: &Instance, master_cf: Option<&[u8]>) -> Result<(), JudgeError> {
    let after = master_cf.map(|bytes| MasterCf::parse(bytes).services());
    let after = after.as_ref().unwrap_or(&instance.services);
    let lines = obstacles(after, &instance.services, &instance.values, &instance.host);
    if lines.is_empty() {
        return Ok(());
    }
    Err(JudgeError::Complaints(Complaints {
        program: "master".to_owned(),
        lines,
    }))
}

/// Makes sure that smtpd(8) can open what is there; of what is not there, the doctor tells.
fn tables_open(after: &Hearing) -> Result<(), JudgeError> {
    for (label, lines) in &after.services {
        let lines: Vec<String> = lines.iter().filter(|line| is_of_a_table(line)).cloned().collect();
        if !lines.is_empty() {
            return Err(JudgeError::Tables(Complaints {
                program: format!("smtpd -S for {label}"),
                lines,
            }));
        }
    }
    Ok(())
}

/// Returns whether smtpd says that it cannot open a table that is there: it goes on, and answers 451 where it would look something
/// up in it.
fn is_of_a_table(line: &str) -> bool {
    line.starts_with("error: open ") && !line.ends_with("No such file or directory")
}

/// A copy of the configuration directory: main.cf and master.cf of our own, everything else by symbolic link, so that
/// tables and key files are those of the instance, with their owners and modes.
struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(instance: &Instance) -> Result<Self, JudgeError> {
        let live = &instance.directory;
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |reason: io::Error| {
                JudgeError::File(FileError {
                    verb: "stage",
                    path,
                    reason,
                })
            }
        };
        let live = fs::canonicalize(live).map_err(fail(live))?;
        // Mode 0700: main.cf may hold passwords. Postfix's programs are run as the user who stages.
        let directory = tempfile::Builder::new()
            .prefix("mailcert-")
            .tempdir()
            .map_err(fail(&live))?;
        for entry in fs::read_dir(&live).map_err(fail(&live))? {
            let name = entry.map_err(fail(&live))?.file_name();
            if name != "main.cf" && name != "master.cf" {
                let link = directory.path().join(&name);
                symlink(live.join(&name), &link).map_err(fail(&link))?;
            }
        }
        let stage = Self { directory };
        stage.put("main.cf", &instance.main_cf)?;
        stage.put("master.cf", &instance.master_cf)?;
        Ok(stage)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), JudgeError> {
        let path = self.path().join(name);
        let written = fs::write(&path, bytes).and_then(|()| {
            // Postfix waits until a file that it reads is two seconds old ("pausing to let it cool down"), in each of
            // its programs. This copy does not change under them, so it may be as old as can be.
            fs::File::options()
                .write(true)
                .open(&path)?
                .set_modified(SystemTime::UNIX_EPOCH)
        });
        written.map_err(|reason| {
            JudgeError::File(FileError {
                verb: "write",
                path,
                reason,
            })
        })
    }
}

/// What the judges say about the stage as it is.
struct Hearing {
    /// Of postconf.
    warnings: Vec<String>,
    /// Of each smtpd service: its label, and the complaints.
    services: Vec<(String, Vec<String>)>,
    /// Files named as certificates, keys or roots.
    named: BTreeSet<PathBuf>,
    /// Services that did not answer.
    notes: Vec<String>,
}

impl Hearing {
    fn hold(stage: &Stage, instance: &Instance, running: bool) -> Result<Self, JudgeError> {
        let (values, warnings) = ask(&instance.postconf, stage.path())?;
        let master_cf = files::read(&stage.path().join("master.cf"), super::inspect::FILE_LIMIT);
        let services = MasterCf::parse(&master_cf.map_err(JudgeError::File)?).services();
        let found = tls_services(&services, &values, &instance.host);
        let named = found
            .services
            .into_iter()
            .flat_map(|service| service.certificate_files);
        let roots = Some(values.get("smtp_tls_CAfile"))
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let mut hearing = Self {
            warnings,
            services: Vec::new(),
            named: named.chain(roots).collect(),
            notes: Vec::new(),
        };
        let proxied = if running {
            Vec::new()
        } else {
            proxied_parameters(instance, stage)?
        };
        let master = if running { Master::Running } else { Master::Stopped };
        let mut seen: Vec<&[Override]> = Vec::new();
        for service in services.iter().filter(|service| service.command == "smtpd") {
            if seen.contains(&service.overrides.as_slice()) {
                continue;
            }
            seen.push(&service.overrides);
            match run_smtpd(stage, &values, service, &proxied, master) {
                Ok(lines) => hearing.services.push((service.label(), lines)),
                Err(RunError::Timeout(_, limit, _)) => hearing.notes.push(format!(
                    "{}: smtpd did not end within {} s and could not judge",
                    service.label(),
                    limit.as_secs()
                )),
                Err(error) => return Err(InspectError::Run(error).into()),
            }
        }
        Ok(hearing)
    }
}

/// Whether the services that smtpd(8) leans on are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Master {
    Running,
    Stopped,
}

/// Returns whether smtpd says this only because tlsmgr(8) is not there: it comes with the master.
fn is_for_want_of_tlsmgr(line: &str) -> bool {
    line.contains("private/tlsmgr") || line.contains("no entropy for TLS key generation")
}

/// Runs smtpd(8) as a filter with the service's overrides and returns its complaints.
fn run_smtpd(
    stage: &Stage,
    values: &Values,
    service: &Service,
    proxied: &[String],
    running: Master,
) -> Result<Vec<String>, RunError> {
    let smtpd = Path::new(values.get("daemon_directory")).join("smtpd");
    let mut program = Program::new(smtpd)
        .args(["-S", "-V", "-n", service.name.as_str()])
        .var("MAIL_CONFIG", stage.path())
        // Before and after it has read main.cf: log to a service that nobody offers. An unknown parameter, as
        // maillog_file is before Postfix 3.4, is ignored by the daemons.
        .var("POSTLOG_SERVICE", stage.path().join("no-log"))
        .args(["-o", "maillog_file=/mailcert", "-o", "maillog_file_prefixes=/"])
        .args(["-o", "postlog_service_name=mailcert-no-log"])
        .stdin("QUIT\r\n")
        .timeout(SMTPD_PATIENCE);
    for parameter in &service.overrides {
        let mut text = parameter.name.clone().into_bytes();
        text.push(b'=');
        text.extend_from_slice(&parameter.value);
        program = program.arg("-o").arg(std::ffi::OsStr::from_bytes(&text));
    }
    for name in proxied {
        program = program.arg("-o").arg(format!("{name}="));
    }
    let output = program.run()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<String> = stderr.lines().filter_map(complaint).collect();
    if running == Master::Stopped {
        lines.retain(|line| !is_for_want_of_tlsmgr(line));
    }
    if !output.success() && lines.is_empty() {
        lines.push(format!("smtpd ended with {}", output.status));
    }
    Ok(lines)
}

/// Returns the complaint in a line of a daemon's log, without the daemon's name; `None` for information.
fn complaint(line: &str) -> Option<String> {
    let severities = ["warning: ", "error: ", "fatal: ", "panic: "];
    let start = severities
        .iter()
        .filter_map(|severity| line.find(&format!(": {severity}")))
        .min()?;
    line.get(start + 2..).map(str::to_owned)
}

/// Returns the parameters that name tables behind proxymap(8).
fn proxied_parameters(instance: &Instance, stage: &Stage) -> Result<Vec<String>, JudgeError> {
    let output = Program::new(&instance.postconf)
        .arg("-c")
        .arg(stage.path())
        .arg("-x")
        .run();
    let text = output.map_err(InspectError::Run)?.stdout_text();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let proxied = pairs.filter(|(name, value)| value.contains("proxy:") && !name.starts_with("proxy_"));
    Ok(proxied.map(|(name, _)| name.trim().to_owned()).collect())
}

/// Finds what is new in the second hearing.
fn compare(instance: &Instance, before: &Hearing, after: &Hearing) -> Result<(), JudgeError> {
    let complain = |program: String, lines: Vec<String>| {
        if lines.is_empty() {
            Ok(())
        } else {
            Err(JudgeError::Complaints(Complaints { program, lines }))
        }
    };
    let warnings = new_lines(&before.warnings, &after.warnings);
    complain(
        "postconf -n".to_owned(),
        warnings.into_iter().filter(|line| !is_left_over(line)).collect(),
    )?;
    for (label, lines) in &after.services {
        // A service whose overrides changed is compared with itself, by its name.
        let known = before
            .services
            .iter()
            .find(|(known, _)| known == label)
            .or(before.services.first());
        let known = known.map_or(&[][..], |(_, lines)| lines.as_slice());
        complain(format!("smtpd -S for {label}"), new_lines(known, lines))?;
    }
    for note in after.notes.iter().filter(|note| !before.notes.contains(note)) {
        complain("smtpd -S".to_owned(), vec![note.clone()])?;
    }
    let unreadable = after.named.difference(&before.named).filter_map(|path| {
        let reason = fs::File::open(path)
            .and_then(|mut file| file.read(&mut [0]))
            .err()?;
        Some(format!("cannot read {}: {reason}", path.display()))
    });
    complain(
        format!("mailcert, for {}", instance.directory.display()),
        unreadable.collect(),
    )
}

/// Returns the lines of the second list that the first has not; what an edit moves does not count.
fn new_lines(before: &[String], after: &[String]) -> Vec<String> {
    let known: BTreeSet<String> = before.iter().map(|line| comparable(line)).collect();
    after
        .iter()
        .filter(|line| !known.contains(&comparable(line)))
        .cloned()
        .collect()
}

/// Takes away what changes by itself: numbers of lines (`, line 12:`) and of processes (`problem: 1234:error`), and the
/// value of a parameter that was set twice before and still is.
fn comparable(line: &str) -> String {
    let mut text = match line.split_once(" entry: ") {
        Some((head, parameter)) if head.ends_with("overriding earlier") => {
            format!(
                "{head} entry: {}",
                parameter.split('=').next().unwrap_or_default()
            )
        }
        _ => line.to_owned(),
    };
    for marker in [", line ", ": line ", "problem: "] {
        if let Some((head, tail)) = text.split_once(marker) {
            text = format!(
                "{head}{marker}{}",
                tail.trim_start_matches(|c: char| c.is_ascii_digit())
            );
        }
    }
    text
}

/// Returns whether a warning only says that a parameter of the operator's own is no longer referred to.
fn is_left_over(line: &str) -> bool {
    let Some((_, parameter)) = line.split_once("unused parameter: ") else {
        return false;
    };
    let name = parameter.split('=').next().unwrap_or_default().trim();
    !PARAMETERS.iter().any(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::{inspect::inspect, scratch::Scratch, syntax::MainCf};

    #[test]
    fn finds_complaints_in_a_log() {
        let check =
            |line: &str, expected: Option<&str>| assert_eq!(complaint(line).as_deref(), expected, "{line}");
        check("postfix/smtpd: connect from localhost[127.0.0.1]", None);
        check(
            "postfix/submission/smtpd: fatal: Invalid TLS level",
            Some("fatal: Invalid TLS level"),
        );
        check(
            "postfix/smtpd: warning: x: error: y",
            Some("warning: x: error: y"),
        );
        check(
            "postfix/smtpd: error: open database",
            Some("error: open database"),
        );
    }

    #[test]
    fn counts_only_what_is_new() {
        let check = |before: &str, after: &str, expected: bool| {
            assert_eq!(
                !new_lines(&[before.to_owned()], &[after.to_owned()]).is_empty(),
                expected,
                "{after}"
            );
        };
        check(
            "w: main.cf, line 3: overriding: a=1",
            "w: main.cf, line 7: overriding: a=1",
            false,
        );
        check(
            "w: main.cf, line 3: overriding: a=1",
            "w: main.cf, line 3: overriding: a=2",
            true,
        );
        check(
            "TLS library problem: 12:error:1",
            "TLS library problem: 13:error:1",
            false,
        );
        check(
            "TLS library problem: error:1",
            "TLS library problem: error:2",
            true,
        );
        assert!(is_left_over(
            "postconf: warning: /x/main.cf: unused parameter: my_cert=/x"
        ));
        assert!(!is_left_over(
            "postconf: warning: /x/main.cf: unused parameter: smtpd_tls_chain_files=/x"
        ));
        assert!(!is_left_over("postconf: warning: undefined parameter: x"));
    }

    /// A change that sets parameters of main.cf, or appends a line where there is none to set.
    fn changed(instance: &Instance, name: &str, text: &str) -> FileChange {
        let before = if name == "main.cf" {
            &instance.main_cf
        } else {
            &instance.master_cf
        };
        let mut after = MainCf::parse(before);
        let mut appended = String::new();
        for line in text.lines() {
            match line.split_once(" = ") {
                Some((parameter, value)) if name == "main.cf" => after.set(parameter, value),
                _ => appended = format!("{appended}{line}\n"),
            }
        }
        FileChange {
            path: instance.directory.join(name),
            before: Some(before.clone()),
            after: Some([after.to_bytes(), appended.into_bytes()].concat()),
            reasons: vec![],
        }
    }

    fn check(scratch: &Scratch, name: &str, line: &str, expected: Option<&str>) {
        let env = Env::real();
        let instance = inspect(&env, &scratch.directory()).unwrap();
        match (
            judge(&env, &instance, &[changed(&instance, name, line)], Tables::Good),
            expected,
        ) {
            (Ok(_), None) => {}
            (Err(JudgeError::Complaints(complaints)), Some(expected)) => {
                assert!(complaints.to_string().contains(expected), "{line}: {complaints}");
            }
            (result, _) => panic!("{line}: {result:?}"),
        }
    }

    #[test]
    #[ignore = "real: needs postfix"]
    fn judges_as_a_running_daemon_does() {
        let mut scratch = Scratch::new(
            "127.0.77.3",
            &["smtpd_recipient_restrictions = check_x hash:/none, reject"],
        );
        scratch.pair("other");
        scratch.start();
        let n_lines = scratch.log().lines().count();
        let other = |name: &str| scratch.tls(name).display().to_string();
        let good = format!(
            "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}",
            other("other.crt"),
            other("other.key")
        );
        check(&scratch, "main.cf", &good, None);
        check(&scratch, "main.cf", "# a comment", None);
        check(&scratch, "main.cf", "no equals sign", Some("missing '='"));
        check(
            &scratch,
            "main.cf",
            "smtpd_tls_security_level = bogus",
            Some("Invalid TLS level \"bogus\""),
        );
        check(
            &scratch,
            "main.cf",
            "smtpd_recipient_limit = x",
            Some("bad numerical configuration"),
        );
        check(
            &scratch,
            "main.cf",
            "smtpd_tls_cert_file = /none.pem",
            Some("cannot get"),
        );
        let mismatch = format!("smtpd_tls_key_file = {}", other("other.key"));
        check(&scratch, "main.cf", &mismatch, Some("disabling TLS support"));
        check(
            &scratch,
            "main.cf",
            "smtp_tls_CAfile = /none.pem",
            Some("cannot read /none.pem"),
        );
        check(
            &scratch,
            "main.cf",
            "smtpd_tls_mandatory_protocols = nonsense",
            Some("nonsense"),
        );
        check(&scratch, "master.cf", "bad line", Some("bad field count"));
        check(&scratch, "master.cf", "  -o smtpd_tls_security_level=bogus", None);
        let service = "2626 inet n - n - - smtpd -o { smtpd_tls_security_level = bogus }";
        check(
            &scratch,
            "master.cf",
            service,
            Some("Invalid TLS level \"bogus\""),
        );
        // `postfix status` logs that it was asked.
        let logged: Vec<String> = scratch
            .log()
            .lines()
            .skip(n_lines + 1)
            .map(str::to_owned)
            .collect();
        assert!(
            logged.iter().all(|line| line.contains("is running")),
            "judging leaves traces: {logged:?}"
        );
    }

    #[test]
    #[ignore = "real: needs postfix"]
    fn judges_values_while_postfix_is_stopped() {
        let mut scratch = Scratch::new("127.0.77.4", &[]);
        // The queue's directories are made by the first start.
        scratch.start();
        scratch.stop();
        check(
            &scratch,
            "main.cf",
            "smtpd_tls_security_level = bogus",
            Some("Invalid TLS level \"bogus\""),
        );
        check(&scratch, "main.cf", "smtpd_tls_security_level = encrypt", None);
        check(
            &scratch,
            "main.cf",
            "smtpd_tls_cert_file = /none.pem",
            Some("cannot read /none.pem"),
        );
    }

    #[test]
    #[ignore = "real: needs postfix"]
    fn resolves_what_stands_beside_main_cf() {
        let mut scratch = Scratch::new(
            "127.0.77.5",
            &["smtpd_client_restrictions = check_client_access \
             texthash:$config_directory/access, permit"],
        );
        scratch.write("access", "192.0.2.1 REJECT\n");
        scratch.start();
        let env = Env::real();
        let instance = inspect(&env, &scratch.directory()).unwrap();
        let stage = Stage::new(&instance).unwrap();
        let hearing = Hearing::hold(&stage, &instance, true).unwrap();
        assert_eq!(hearing.services.len(), 3);
        assert!(
            hearing.services.iter().all(|(_, lines)| lines.is_empty()),
            "{:?}",
            hearing.services
        );
    }
}
