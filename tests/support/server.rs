//! A child server: waited for by connecting, killed on drop, its log shown when the test failed.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::Scratch;

/// How long a server may take to start or to end on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program that is ours.
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it prints goes to `<name>.log` in the scratch directory.
    pub fn spawn(scratch: &Scratch, name: &'static str, command: &mut Command) -> Self {
        let log = scratch.path().join(format!("{name}.log"));
        let sink = File::options().create(true).append(true).open(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(sink.try_clone().unwrap())
            .stderr(sink);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{name} does not start ({error}); tests/lab/install installs what is missing")
        });
        scratch.remember("pids", &child.id().to_string());
        Self { name, child, log }
    }

    /// Waits until the port takes connections.
    pub fn wait_for(&mut self, port: SocketAddr) {
        let name = self.name;
        wait_until(&format!("{name} listens on {port}"), || {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{name} ended: {}\n{}",
                ended.unwrap(),
                tail(&self.log)
            );
            TcpStream::connect_timeout(&port, PATIENCE).is_ok()
        });
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns everything it printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- the end of what {} printed:\n{}", self.name, tail(&self.log));
        }
    }
}

/// Asks until the answer is yes; panics when patience ends.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "waited {} s in vain until {what}",
            PATIENCE.as_secs()
        );
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Returns the last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Runs a program to its end and returns what it printed; panics when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/lab/install"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{stderr}",
        output.status
    );
    stdout.into_owned()
}

/// Returns lines of the shell that kill the process of a pid file and its children, and wait until none of them runs.
pub fn kill(pid_file: &Path) -> String {
    format!(
        "read -r pid <{}\nall=\"$pid $(grep -l \"^PPid:[[:space:]]*$pid\\$\" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3)\"\n\
         kill -9 $all\nfor one in $all; do while [ -e /proc/$one/exe ]; do :; done; done",
        pid_file.display()
    )
}
