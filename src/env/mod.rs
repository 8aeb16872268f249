//! The only door to the outside: arguments, variables, streams, clock, root directory.
//!
//! Whole commands run in-process under test by handing them an [`Env`] made of buffers, a fixed clock and a scratch
//! root. Files and child processes have their own files here; the network is opened by `acme`, `dns` and `probe`.

pub mod below;
pub mod fault;
pub mod files;
pub mod interfaces;
pub mod leash;
pub mod log;
pub mod mail_log;
pub mod process;
pub mod progress;
pub mod room;
pub mod secret;
pub mod signals;
pub mod terminal;
pub mod threads;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use time::OffsetDateTime;

/// Everything a run may know about the world around it.
pub struct Env {
    /// The command line, program name first.
    pub args: Vec<OsString>,
    /// Environment variables.
    pub vars: BTreeMap<OsString, OsString>,
    /// Standard input, output and error.
    pub streams: Streams,
    /// Tells the time.
    pub clock: Clock,
    /// Put before the host's well-known paths (`/etc/os-release`, `/etc/systemd/system`, the CA bundles). `/` in earnest.
    ///
    /// Paths that the user gave, on the command line or in the configuration, are never put under it.
    pub root: PathBuf,
}

/// Standard input, output and error, and whether a person sits at them.
pub struct Streams {
    /// Answers to questions.
    pub stdin: Box<dyn BufRead + Send + Sync>,
    /// The result, and nothing else.
    pub stdout: Sink,
    /// Everything said about the result.
    pub stderr: Sink,
    /// True when stdin is a terminal: only then questions are asked.
    pub stdin_is_terminal: bool,
    /// True when stdout is a terminal: only then it is colored.
    pub stdout_is_terminal: bool,
    /// True when stderr is a terminal: only then progress is drawn.
    pub stderr_is_terminal: bool,
}

/// A stream that several tasks may write whole lines to.
#[derive(Clone)]
pub struct Sink(Arc<Mutex<Open>>);

/// A stream, and the first failure to write to it.
struct Open {
    writer: Box<dyn Write + Send>,
    lost: Option<std::io::Error>,
}

impl Sink {
    /// Wraps a writer.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        let writer = Box::new(writer);
        Self(Arc::new(Mutex::new(Open { writer, lost: None })))
    }

    /// Writes the text and flushes. A failure is kept for [`Self::take_loss`]; a reader that went away is none: it has read
    /// all that it wanted (`mailcert status | head -1`).
    pub fn write(&self, text: &str) {
        let mut open = self.open();
        let written = open.writer.write_all(text.as_bytes());
        if let Err(error) = written.and_then(|()| open.writer.flush())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            open.lost.get_or_insert(error);
        }
    }

    /// Returns why something that was written did not get out, once.
    pub fn take_loss(&self) -> Option<std::io::Error> {
        self.open().lost.take()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes the text and a line feed.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }
}

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Always this instant; for tests.
    Fixed(OffsetDateTime),
    /// The system's clock.
    System,
}

impl Clock {
    /// Returns the present moment in UTC.
    pub fn now(self) -> OffsetDateTime {
        match self {
            Self::Fixed(at) => at,
            Self::System => OffsetDateTime::now_utc(),
        }
    }
}

impl Env {
    /// Returns the real world: this process's arguments, variables, streams and clock.
    pub fn real() -> Self {
        Self {
            args: std::env::args_os().collect(),
            vars: std::env::vars_os().collect(),
            streams: Streams {
                stdin: Box::new(std::io::BufReader::new(std::io::stdin())),
                stdout: Sink::new(std::io::stdout()),
                stderr: Sink::new(std::io::stderr()),
                stdin_is_terminal: std::io::stdin().is_terminal(),
                stdout_is_terminal: std::io::stdout().is_terminal(),
                stderr_is_terminal: std::io::stderr().is_terminal(),
            },
            clock: Clock::System,
            root: PathBuf::from("/"),
        }
    }

    /// Returns a variable's value when it is set, not empty and UTF-8.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(std::ffi::OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns where a well-known absolute path of the host is, below [`Env::root`].
    pub fn host_path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Returns where this program itself is.
    pub fn executable(&self) -> PathBuf {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/mailcert"))
    }

    /// Finds a program the way root's shell would, or `None`.
    ///
    /// `PATH` is searched first, then the sbin directories, which cron and ordinary users lack.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        let path = self.var("PATH").unwrap_or_default();
        let fixed = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        let searched = path.split(':').filter(|dir| dir.starts_with('/')).chain(fixed);
        searched
            .map(|dir| Path::new(dir).join(name))
            .find(|candidate| process::is_executable(candidate))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    /// A stream that takes nothing.
    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(Error::from(self.0))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_did_not_get_out_is_known_unless_nobody_wanted_it() {
        let check = |kind, expected: Option<ErrorKind>| {
            let sink = Sink::new(Refusing(kind));
            sink.line("x");
            sink.line("y");
            assert_eq!(sink.take_loss().map(|error| error.kind()), expected);
            assert!(sink.take_loss().is_none(), "told once");
        };
        check(ErrorKind::StorageFull, Some(ErrorKind::StorageFull));
        check(ErrorKind::BrokenPipe, None);
        let sink = Sink::new(Vec::new());
        sink.line("x");
        assert!(sink.take_loss().is_none());
    }
}
