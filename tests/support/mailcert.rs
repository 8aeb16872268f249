//! mailcert itself: in this process with its streams in buffers, or as the built program.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use mailcert::env::{Clock, Env, Sink, Streams};

use super::Release;

/// How a run ended and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// The result.
    pub stdout: String,
    /// Everything said about it.
    pub stderr: String,
}

impl Outcome {
    /// Reads the result as the one JSON object that `--format json` prints.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Returns itself when the exit code is this; panics with all that was said otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

/// A way to run mailcert: which configuration, what around it.
#[derive(Clone)]
pub struct Mailcert {
    /// Given as `--config` before the command.
    pub config: Option<PathBuf>,
    /// The root of the host's well-known files, in-process only: the built program sees the real one.
    pub root: PathBuf,
    /// Environment variables; nothing else is inherited.
    pub vars: BTreeMap<OsString, OsString>,
    /// The clock, in-process only.
    pub clock: Clock,
    /// The Debian that it runs on, where that is not this machine's: always as the built program then.
    pub release: Option<Release>,
}

impl Mailcert {
    /// Returns mailcert with this configuration file and root directory, the system's clock and a plain `PATH`.
    pub fn new(config: Option<&Path>, root: &Path) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            config: config.map(Path::to_owned),
            root: root.to_owned(),
            vars: BTreeMap::from([("PATH".into(), path.into())]),
            clock: Clock::System,
            release: None,
        }
    }

    /// Runs a command in this process; nobody sits at its terminal.
    pub fn run(&self, args: &[&str]) -> Outcome {
        if self.release.is_some() {
            return self.run_program(args);
        }
        self.run_with(args, None)
    }

    /// Runs a command in this process for a person who sits at a terminal and types this.
    pub fn run_at_terminal(&self, args: &[&str], typed: &str) -> Outcome {
        self.run_with(args, Some(typed))
    }

    fn run_with(&self, args: &[&str], typed: Option<&str>) -> Outcome {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let stdin = typed.unwrap_or_default().to_owned().into_bytes();
        let streams = Streams {
            stdin: Box::new(std::io::Cursor::new(stdin)),
            stdout: Sink::new(stdout.clone()),
            stderr: Sink::new(stderr.clone()),
            stdin_is_terminal: typed.is_some(),
            stdout_is_terminal: typed.is_some(),
            stderr_is_terminal: typed.is_some(),
        };
        let env = Env {
            args: std::iter::once("mailcert".into())
                .chain(self.arguments(args))
                .collect(),
            vars: self.vars.clone(),
            streams,
            clock: self.clock,
            root: self.root.clone(),
        };
        let code = i32::from(mailcert::cli::run(env).code());
        Outcome {
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }
    }

    /// Starts the built program.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running(Some(self.command(args).spawn().unwrap()))
    }

    /// Runs the built program to its end.
    pub fn run_program(&self, args: &[&str]) -> Outcome {
        self.spawn(args).wait()
    }

    /// Prepares the built program, for a test that wants to run it in a way of its own (under strace, say).
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.release {
            Some(release) => release.mailcert(),
            None => Command::new(env!("CARGO_BIN_EXE_mailcert")),
        };
        command.args(self.arguments(args)).env_clear().envs(&self.vars);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn arguments(&self, args: &[&str]) -> Vec<OsString> {
        let config = self
            .config
            .iter()
            .flat_map(|file| ["--config".into(), file.clone().into_os_string()]);
        config.chain(args.iter().map(Into::into)).collect()
    }
}

/// The built program while it runs; killed on drop.
pub struct Running(Option<Child>);

impl Running {
    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Returns whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0
            .as_mut()
            .is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Kills it as a power cut would, and returns what it had said by then.
    pub fn kill(mut self) -> Outcome {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
        }
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome {
        let child = self.0.take().expect("it is waited for once");
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Bytes that several writers share.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
