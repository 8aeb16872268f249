//! Where an unattended run leaves a line for each event: the journal, or syslog.
//!
//! Under systemd the lines go to stderr with their priority before them (sd-daemon(3)); from cron they go to `/dev/log`
//! as datagrams (RFC 3164, 4.1), facility mail. What comes from outside is made harmless here: a line stays one line.
//!
//! Logging never fails a run and never holds it up: without a log, or with one that takes nothing, lines are dropped.

use std::{
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Env, Sink};

/// Says where the log goes when it is not found out: `journal`, `none` or `syslog`.
pub const VARIABLE: &str = "MAILCERT_LOG";

/// Longest line in octets; RFC 5424, 6.1 wants receivers to take 2048 with what stands before the text.
const LINE_LIMIT: usize = 1900;
/// Facility `mail` (RFC 3164, 4.1.1).
const FACILITY_MAIL: u8 = 2;
/// How long a full syslog may hold a line up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How bad it is, by syslog's numbers (RFC 3164, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// 3: something failed.
    Error = 3,
    /// 4: something will fail, or is still failing.
    Warning = 4,
    /// 6: something was done.
    Info = 6,
}

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Target>);

enum Target {
    /// stderr, with priorities.
    Journal(Sink),
    /// Nowhere.
    None,
    /// A datagram socket; given up after it was full once.
    Syslog { socket: UnixDatagram, full: AtomicBool },
    /// Syslog was wanted, and there is none.
    SyslogMissing,
}

/// The log was asked for in a way that does not exist.
#[derive(Debug)]
pub struct UnknownLog(String);

impl std::fmt::Display for UnknownLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{VARIABLE} is `{}`; it may be journal, none or syslog",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for UnknownLog {}

impl Log {
    /// Returns a log that keeps nothing: somebody watches.
    pub fn none() -> Self {
        Self(Arc::new(Target::None))
    }

    /// Returns the log of this run: what `MAILCERT_LOG` says, else the journal when stderr leads there, else none.
    ///
    /// # Errors
    /// When the variable says something else.
    pub fn choose(env: &Env) -> Result<Self, UnknownLog> {
        let target = match env.var(VARIABLE) {
            Some("journal") => Target::Journal(env.streams.stderr.clone()),
            Some("none") => Target::None,
            Some("syslog") => syslog(&env.host_path("/dev/log")),
            Some(other) => return Err(UnknownLog(other.to_owned())),
            None if stderr_is_the_journal(env) => Target::Journal(env.streams.stderr.clone()),
            None => Target::None,
        };
        Ok(Self(Arc::new(target)))
    }

    /// Returns whether stderr is the log, so that nothing else belongs there.
    pub fn is_journal(&self) -> bool {
        matches!(*self.0, Target::Journal(_))
    }

    /// Returns whether the run was told to log to syslog: stderr is then for what cron is to mail.
    pub fn is_syslog(&self) -> bool {
        matches!(*self.0, Target::Syslog { .. } | Target::SyslogMissing)
    }

    /// Leaves a line. Line feeds in it become `; `; other control characters and invisible ones are escaped; a long one
    /// is cut.
    pub fn event(&self, priority: Priority, text: &str) {
        let number = priority as u8;
        match &*self.0 {
            Target::None | Target::SyslogMissing => {}
            Target::Journal(stderr) => stderr.line(&format!("<{number}>{}", one_line(text))),
            Target::Syslog { socket, full } => {
                if full.load(Ordering::Relaxed) {
                    return;
                }
                // Without a time: local time is not ours to know, and whoever takes it puts his own (RFC 3164, 4.3.2).
                let line = format!(
                    "<{}>mailcert[{}]: {}",
                    FACILITY_MAIL * 8 + number,
                    std::process::id(),
                    one_line(text)
                );
                if socket.send(line.as_bytes()).is_err() {
                    full.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

fn syslog(path: &Path) -> Target {
    let connected = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    });
    match connected {
        Ok(socket) => Target::Syslog {
            socket,
            full: AtomicBool::new(false),
        },
        Err(_) => Target::SyslogMissing,
    }
}

/// Returns whether stderr is the stream that `JOURNAL_STREAM` names (systemd.exec(5)): the variable alone is inherited by
/// everything that a service starts.
fn stderr_is_the_journal(env: &Env) -> bool {
    let Some((device, inode)) = env.var("JOURNAL_STREAM").and_then(|value| value.split_once(':')) else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| device == stat.st_dev.to_string() && inode == stat.st_ino.to_string())
}

/// Makes one harmless line of a text.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.trim().chars() {
        if line.len() >= LINE_LIMIT {
            line.push('…');
            break;
        }
        match character {
            '\n' => line.push_str("; "),
            '\t' => line.push(' '),
            character if character.is_control() || is_invisible(character) => {
                line.extend(character.escape_default());
            }
            character => line.push(character),
        }
    }
    line
}

/// Characters that turn or hide text.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_harmless_line() {
        let check = |text: &str, expected: &str| assert_eq!(one_line(text), expected, "{text:?}");
        check("issued", "issued");
        check("a\nb\n", "a; b");
        check("a\r\nb", "a\\r; b");
        check("x\x1b[2Jy\x07", "x\\u{1b}[2Jy\\u{7}");
        check("x\u{202e}y\u{2028}z", "x\\u{202e}y\\u{2028}z");
        check("caf\u{e9}", "caf\u{e9}");
        let long = one_line(&"\u{65e5}".repeat(LINE_LIMIT));
        assert!(
            long.len() <= LINE_LIMIT + 6 && long.ends_with('…'),
            "{}",
            long.len()
        );
    }

    #[test]
    fn sends_datagrams_to_syslog_and_gives_up_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(matches!(syslog(&path), Target::SyslogMissing));
        let server = UnixDatagram::bind(&path).unwrap();
        let log = Log(Arc::new(syslog(&path)));
        assert!(log.is_syslog() && !log.is_journal());
        log.event(Priority::Error, "a\nb");
        log.event(Priority::Info, "c");
        let mut buffer = [0; 4096];
        let mut received = || {
            let size = server.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(buffer.get(..size).unwrap()).into_owned()
        };
        let ident = format!("mailcert[{}]", std::process::id());
        assert_eq!(received(), format!("<19>{ident}: a; b"));
        assert_eq!(received(), format!("<22>{ident}: c"));
        // Nobody reads: the socket fills, one line waits, and no other does.
        let begun = std::time::Instant::now();
        for _ in 0..2000 {
            log.event(Priority::Info, &"x".repeat(1000));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
