//! Runs a child: absolute path, clean environment, own process group, time limit, bounded output.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::leash::{self, Held, Leash};

/// What a child may print before the rest is dropped, in bytes, for each stream.
const OUTPUT_LIMIT: u64 = 4 << 20;

/// A child to run. Nothing of our own environment reaches it but `PATH` and `LC_ALL=C`.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    vars: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    timeout: Duration,
    terminal: Terminal,
    directory: Option<PathBuf>,
    output_limit: u64,
    leash: Option<Leash>,
}

/// Whether the child sees a terminal; some Postfix programs are mute without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    None,
    Pty,
}

/// What a child did.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed; with a terminal, both streams together.
    pub stdout: Vec<u8>,
    /// What it complained about; empty with a terminal.
    pub stderr: Vec<u8>,
}

/// Why a child could not be run to its end.
#[derive(Debug)]
pub enum RunError {
    /// It could not be started, or its pipes failed.
    Io(PathBuf, std::io::Error),
    /// It was ended, with its process group, because its work was no longer wanted; and what it had said by then.
    Stopped(PathBuf, String),
    /// It was killed, with its process group, because it took longer than this; and what it had said by then, as
    /// [`Output::complaint`] tells it.
    Timeout(PathBuf, Duration, String),
    /// It took longer than this, and did not even end when it was killed; its process id.
    Unending(PathBuf, Duration, u32),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "cannot run {}: {error}", path.display()),
            Self::Stopped(path, _) => write!(f, "{} was ended before its time", path.display()),
            Self::Timeout(path, limit, _) => {
                write!(
                    f,
                    "{} did not end within {} s and was killed",
                    path.display(),
                    limit.as_secs()
                )
            }
            Self::Unending(path, limit, child) => {
                write!(
                    f,
                    "{} did not end within {} s, and is still there after it was killed (process {child})",
                    path.display(),
                    limit.as_secs()
                )
            }
        }
    }
}

impl std::error::Error for RunError {}

impl Output {
    /// Returns true for exit status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Returns what was printed, with bytes that are not UTF-8 replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns what was complained about, or, where that is empty, what was printed; trimmed.
    pub fn complaint(&self) -> String {
        complaint(&self.stdout, &self.stderr)
    }
}

fn complaint(stdout: &[u8], stderr: &[u8]) -> String {
    let stderr = String::from_utf8_lossy(stderr);
    let text = if stderr.trim().is_empty() {
        String::from_utf8_lossy(stdout)
    } else {
        stderr
    };
    without_pem(text.trim())
}

/// Returns the text without what is in PEM blocks (RFC 7468): a program repeats what it cannot make sense of, and that may be a key.
pub fn without_pem(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, block)) = rest.split_once("-----BEGIN") {
        kept.push_str(before);
        kept.push_str("[PEM left out]");
        let after = block
            .split_once("-----END")
            .and_then(|(_, label)| label.split_once("-----"));
        // Without an end all of it may be secret.
        rest = after.map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

impl Program {
    /// Prepares a child with no arguments, empty input and 30 s of patience.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            vars: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(30),
            terminal: Terminal::None,
            directory: None,
            output_limit: OUTPUT_LIMIT,
            leash: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one variable of the child's environment.
    #[must_use]
    pub fn var(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.vars
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets what the child reads on its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets how long the child may run.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets the directory that the child starts in, instead of ours.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Sets after how many bytes of each stream the rest is dropped.
    #[must_use]
    pub fn output_limit(mut self, bytes: u64) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Ends the child, with its process group, when the leash is pulled or the program ends at once.
    #[must_use]
    pub fn on_leash(mut self, leash: &Leash) -> Self {
        self.leash = Some(leash.clone());
        self
    }

    /// Gives the child a pseudo-terminal as its output, for programs that are mute without one.
    #[must_use]
    pub fn on_terminal(mut self) -> Self {
        self.terminal = Terminal::Pty;
        self
    }

    /// Runs the child to its end.
    ///
    /// # Errors
    /// [`RunError::Io`] when it cannot be started; [`RunError::Timeout`] when it was killed for taking too long;
    /// [`RunError::Stopped`] when it was ended by its leash. An exit status other than 0 is not an error here.
    pub fn run(&self) -> Result<Output, RunError> {
        let io = |error| RunError::Io(self.path.clone(), error);
        let mut command = std::process::Command::new(&self.path);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", SAFE_PATH)
            .env("LC_ALL", "C");
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command.process_group(0).stdin(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let pty = match self.terminal {
            Terminal::None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
            Terminal::Pty => {
                let (master, slave) = open_pty().map_err(io)?;
                command.stdout(slave.try_clone().map_err(io)?).stderr(slave);
                Some(master)
            }
        };
        let mut child = spawn(&mut command).map_err(io)?;
        let held = self.leash.as_ref().map(|leash| (Held::new(&child), leash));
        // The command holds our copies of the slave side; while they are open the master never sees the end.
        drop(command);
        let limit = self.output_limit;
        let attended = (|| {
            let (out, err) = match pty {
                Some(master) => (Heard::of(Some(master), limit)?, Heard::of(None::<File>, limit)?),
                None => (
                    Heard::of(child.stdout.take(), limit)?,
                    Heard::of(child.stderr.take(), limit)?,
                ),
            };
            feed(&mut child, self.stdin.clone())?;
            let deadline = Instant::now() + self.timeout;
            let is_wanted = || held.as_ref().is_none_or(|(_, leash)| !leash.is_pulled());
            Ok((wait_until(&mut child, deadline, is_wanted)?, out, err))
        })();
        let (status, out, err) = match (attended, &held) {
            (Ok((Some(status), out, err)), _) => (status, out, err),
            (Ok((None, out, err)), Some((held, leash))) if leash.is_pulled() => {
                held.end(&mut child).map_err(io)?;
                let said = complaint(&out.take(), &err.take());
                return Err(RunError::Stopped(self.path.clone(), said));
            }
            (unfinished, _) => {
                // It had its time, or nobody is left to attend to it.
                let killed = leash::kill(&mut child);
                return Err(match unfinished {
                    Err(error) => io(error),
                    Ok(_) if !matches!(killed, Ok(Some(_))) => {
                        RunError::Unending(self.path.clone(), self.timeout, child.id())
                    }
                    Ok((_, out, err)) => {
                        let said = complaint(&out.take(), &err.take());
                        RunError::Timeout(self.path.clone(), self.timeout, said)
                    }
                });
            }
        };
        Ok(Output {
            status,
            stdout: out.take(),
            stderr: err.take(),
        })
    }
}

/// The only `PATH` a child gets.
const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns whether the path is a regular file that somebody may execute.
pub fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Starts the child; a program file still being written by another thread's fork is tried again at once (ETXTBSY).
fn spawn(command: &mut std::process::Command) -> std::io::Result<Child> {
    for _ in 0..50 {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
            result => return result,
        }
    }
    command.spawn()
}

/// How long a stream may stay open after the child has ended: a grandchild may hold it for ever (a daemon that was
/// started).
const GRACE: Duration = Duration::from_millis(200);

/// How often [`GRACE`] is granted while something is there that was not read yet: on a busy machine the thread that reads may be
/// late, and half of what a program said must not pass for all of it.
const MOST_GRACES: u32 = 50;

/// What a child says, read to its end on a thread of its own, up to the limit.
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Disconnected when the stream has ended.
    end: mpsc::Receiver<()>,
    /// The stream, to see whether something is in it.
    stream: Option<OwnedFd>,
}

impl Heard {
    /// Begins to read.
    ///
    /// # Errors
    /// When there is no thread to be had.
    fn of(stream: Option<impl Read + AsFd + Send + 'static>, limit: u64) -> std::io::Result<Self> {
        let seen = stream.as_ref().map(|stream| stream.as_fd().try_clone_to_owned());
        let seen = seen.transpose()?;
        let (sender, end) = mpsc::channel::<()>();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut stream) = stream {
            let bytes = Arc::clone(&bytes);
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            thread::Builder::new().spawn(move || {
                let _ended_with_us = sender;
                let mut chunk = vec![0; 64 << 10];
                // A pty's master answers EIO at the end; what was read before it counts. What is beyond the limit is
                // read too, so that the child never blocks on a full pipe.
                while let Ok(n @ 1..) = read(&mut stream, &mut chunk) {
                    let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = limit.saturating_sub(bytes.len()).min(n);
                    bytes.extend_from_slice(chunk.get(..room).unwrap_or_default());
                }
            })?;
        }
        Ok(Self {
            bytes,
            end,
            stream: seen,
        })
    }

    /// Returns what came until the stream's end, or by now when it stays open and nothing is in it.
    fn take(&self) -> Vec<u8> {
        let is_behind = || {
            let n_waiting = self.stream.as_ref().map(rustix::io::ioctl_fionread);
            n_waiting.is_some_and(|n| n.is_ok_and(|n| n > 0))
        };
        // Once more after it was empty: what was read a moment ago may not be noted yet.
        let mut n_empty = 0;
        for _ in 0..MOST_GRACES {
            let ended = self.end.recv_timeout(GRACE) == Err(mpsc::RecvTimeoutError::Disconnected);
            n_empty += u32::from(!is_behind());
            if ended || n_empty > 1 {
                break;
            }
        }
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads once, also after a signal.
fn read(stream: &mut impl Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Waits before something is tried again.
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// Writes the input on a thread of its own: a child that reads nothing must not block us.
///
/// # Errors
/// When there is no thread to be had.
fn feed(child: &mut Child, bytes: Vec<u8>) -> std::io::Result<()> {
    if let Some(mut stdin) = child.stdin.take()
        && !bytes.is_empty()
    {
        thread::Builder::new().spawn(move || {
            let _ = stdin.write_all(&bytes);
        })?;
    }
    Ok(())
}

/// Waits for the child without a signal handler, as long as it is wanted; polls, since the children here end within
/// milliseconds.
fn wait_until(
    child: &mut Child,
    deadline: Instant,
    is_wanted: impl Fn() -> bool,
) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline || !is_wanted() {
            return Ok(None);
        }
        thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Opens a pseudo-terminal: the side we read, and the side the child writes to.
fn open_pty() -> std::io::Result<(File, File)> {
    use rustix::{
        fs::{Mode, OFlags},
        pty,
    };
    let master = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY)?;
    pty::grantpt(&master)?;
    pty::unlockpt(&master)?;
    let name = pty::ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(
        &*name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    Ok((File::from(master), File::from(slave)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_that_a_program_repeats_is_told() {
        let check = |text: &str, expected: &str| assert_eq!(without_pem(text), expected, "{text}");
        check("open(/k.pem) failed", "open(/k.pem) failed");
        let key = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----";
        check(
            &format!("open(/d/{key}\n) failed: {key}, no"),
            "open(/d/[PEM left out]\n) failed: [PEM left out], no",
        );
        check(
            "open(/d/-----BEGIN PRIVATE KEY-----\nMIGH",
            "open(/d/[PEM left out]",
        );
        check("a -----BEGIN X-----\nMIGH\n-----END X", "a [PEM left out]");
    }

    #[test]
    fn gives_output_status_and_a_clean_environment() {
        let output = Program::new("/bin/sh")
            .args(["-c", "cat; echo x >&2; env; exit 3"])
            .stdin("hello\n")
            .run()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(
            output.stdout_text().starts_with("hello\n"),
            "{}",
            output.stdout_text()
        );
        assert!(
            !output.stdout_text().contains("CARGO"),
            "{}",
            output.stdout_text()
        );
        assert_eq!(output.complaint(), "x");
    }

    #[test]
    fn kills_the_whole_group_after_the_limit() {
        let child = Program::new("/bin/sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .timeout(Duration::from_millis(200));
        let Err(RunError::Timeout(_, _, said)) = child.run() else {
            panic!("it was not killed")
        };
        assert!(said.parse::<u32>().is_ok(), "what it said is kept: {said:?}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_gone(&said) {
            assert!(Instant::now() < deadline, "{said} is left");
            thread::yield_now();
        }
    }

    #[test]
    fn kills_also_what_has_left_its_group() {
        let program = "$| = 1; setpgrp(0, getpgrp(getppid())) or die; print $$; sleep 600";
        let child = Program::new("/usr/bin/perl").args(["-e", program]);
        let Err(RunError::Timeout(_, _, said)) = child.timeout(Duration::from_secs(2)).run() else {
            panic!("it was not killed")
        };
        assert!(is_gone(&said), "{said} is left");
    }

    /// Returns whether a process is gone, or a zombie that its new parent has not looked at yet.
    fn is_gone(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    }

    #[test]
    fn a_pulled_leash_lets_the_child_clean_up_and_leaves_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name).display().to_string();
        let script = "trap 'echo >$2; exit 0' TERM; sleep 600 & echo $! >$1.new; mv $1.new $1; wait";
        let leash = Leash::default();
        let program = Program::new("/bin/sh")
            .args(["-c", script, "sh", &file("child"), &file("cleaned")])
            .on_leash(&leash);
        let pull = leash.clone();
        let begun = dir.path().join("child");
        let puller = thread::spawn(move || {
            while !begun.exists() {
                thread::yield_now();
            }
            pull.pull();
        });
        let Err(RunError::Stopped(..)) = program.timeout(Duration::from_secs(120)).run() else {
            panic!("it was not ended")
        };
        puller.join().unwrap();
        assert!(dir.path().join("cleaned").exists());
        let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_gone(child.trim()) {
            assert!(Instant::now() < deadline, "{child} is left");
            thread::yield_now();
        }
    }

    /// A stream that is read late, as by a thread that a busy machine does not let run.
    struct Late(std::io::PipeReader);

    impl Read for Late {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            pause(GRACE * 2);
            self.0.read(buffer)
        }
    }

    impl AsFd for Late {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    #[test]
    fn waits_for_what_is_said_and_not_read_yet() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"said").unwrap();
        // Held open, as by a grandchild.
        let heard = Heard::of(Some(Late(reader)), 100).unwrap();
        assert_eq!(heard.take(), b"said");
        drop(writer);
    }

    #[test]
    fn keeps_what_was_said_while_a_grandchild_holds_the_pipe() {
        let output = Program::new("/bin/sh")
            .args(["-c", "echo said; sleep 3 &"])
            .run()
            .unwrap();
        assert_eq!(output.complaint(), "said");
    }

    #[test]
    fn starts_where_it_is_told_to() {
        let output = Program::new("/bin/pwd").directory("/usr").run().unwrap();
        assert_eq!(output.complaint(), "/usr");
    }

    #[test]
    fn shows_the_child_a_terminal() {
        let output = Program::new("/bin/sh")
            .args(["-c", "test -t 2 && echo yes"])
            .on_terminal()
            .run()
            .unwrap();
        assert_eq!(output.complaint(), "yes");
    }

    #[test]
    fn drops_output_above_the_limit_and_lets_the_child_end() {
        let output = Program::new("/bin/sh")
            .args(["-c", "head -c 6000000 /dev/zero"])
            .run()
            .unwrap();
        assert_eq!(output.stdout.len() as u64, OUTPUT_LIMIT);
        assert!(output.success());
    }
}
