//! Follows the mail log, where daemons tell what becomes of a message or why they do not take a change. Changes nothing.
//!
//! A daemon logs to a file of its own, through syslog to one of the usual files, or to the journal; what is there is followed.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::Duration,
};

use time::OffsetDateTime;

use super::{Env, process::Program};

/// Where syslog puts the mail log: Debian; RHEL and SUSE; Alpine and others.
const LOGS: [&str; 3] = ["/var/log/mail.log", "/var/log/maillog", "/var/log/mail"];
/// How much of a file is read at once, in bytes; what a busy host logs in a moment.
const CHUNK: u64 = 8 << 20;
/// The longest line that is kept, in bytes.
const LINE_LIMIT: usize = 64 << 10;
/// How long journalctl may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The log, followed from a moment on.
pub struct Follower {
    files: Vec<Tail>,
    journal: Option<Journal>,
}

/// The end of a file, as far as it was read.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    inode: u64,
    /// What was read of a line whose end is still to come.
    begun: Vec<u8>,
}

struct Journal {
    program: PathBuf,
    since: i64,
}

impl Follower {
    /// Begins at the present end of the log.
    ///
    /// `own`: the file that the daemon itself writes, and nobody else; where there is none, syslog's.
    pub fn begin(env: &Env, own: Option<PathBuf>, now: OffsetDateTime) -> Self {
        let is_own = own.is_some();
        let paths = match own {
            None => LOGS.iter().map(|path| env.host_path(path)).collect(),
            Some(own) => vec![own],
        };
        let journal = (!is_own).then(|| env.find_program("journalctl")).flatten();
        Self {
            files: paths.into_iter().map(Tail::at_end).collect(),
            journal: journal.map(|program| Journal {
                program,
                since: now.unix_timestamp() - 1,
            }),
        }
    }

    /// Returns the lines that came since; from the journal, those of the whole time.
    pub fn more(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = self.files.iter_mut().flat_map(Tail::more).collect();
        if let Some(journal) = &self.journal {
            lines.extend(journal.lines());
        }
        lines
    }

    /// Returns what is followed, in words.
    pub fn describe(&self) -> Vec<String> {
        let files = self.files.iter().filter(|tail| tail.file.is_some());
        let mut names: Vec<String> = files.map(|tail| tail.path.display().to_string()).collect();
        if self.journal.is_some() {
            names.push("the journal".to_owned());
        }
        names
    }
}

impl Tail {
    fn at_end(path: PathBuf) -> Self {
        let mut tail = Self {
            path,
            file: None,
            inode: 0,
            begun: Vec::new(),
        };
        if tail.open().is_some()
            && let Some(file) = &mut tail.file
        {
            let _ = file.seek(SeekFrom::End(0));
        }
        tail
    }

    fn open(&mut self) -> Option<()> {
        let file = File::open(&self.path).ok()?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        self.inode = metadata.ino();
        self.file = Some(file);
        Some(())
    }

    fn more(&mut self) -> Vec<String> {
        let mut bytes = std::mem::take(&mut self.begun);
        self.read_into(&mut bytes);
        // A log that was rotated goes on in a new file of the same name.
        let present = self.path.metadata().map(|metadata| metadata.ino());
        if present.is_ok_and(|inode| inode != self.inode) && self.open().is_some() {
            self.read_into(&mut bytes);
        }
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.begun = bytes.split_off(end);
        if self.begun.len() > LINE_LIMIT {
            self.begun.clear();
        }
        let lines = bytes.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty() && line.len() <= LINE_LIMIT)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }

    fn read_into(&mut self, bytes: &mut Vec<u8>) {
        let Some(file) = &mut self.file else { return };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        // Emptied in place, as copytruncate of logrotate(8) does.
        if file.stream_position().is_ok_and(|at| at > length) {
            let _ = file.seek(SeekFrom::Start(0));
        }
        let _ = file.take(CHUNK).read_to_end(bytes);
    }
}

impl Journal {
    fn lines(&self) -> Vec<String> {
        let output = Program::new(&self.program)
            .args(["--quiet", "--no-pager", "--output=cat"])
            .arg(format!("--since=@{}", self.since))
            .arg("SYSLOG_FACILITY=2")
            .timeout(PATIENCE)
            .run();
        let text = output.map(|output| output.stdout_text()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn follows_a_file_from_its_end_through_rotation_and_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("maillog");
        std::fs::write(&path, "old\n").unwrap();
        let mut tail = Tail::at_end(path.clone());
        assert!(tail.more().is_empty());
        let mut log = File::options().append(true).open(&path).unwrap();
        log.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.more(), ["one"]);
        log.write_all(b"o\n").unwrap();
        assert_eq!(tail.more(), ["two"]);
        log.write_all(b"last\n").unwrap();
        std::fs::rename(&path, dir.path().join("maillog.1")).unwrap();
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(tail.more(), ["last", "first"]);
        std::fs::write(&path, "a\n").unwrap();
        assert_eq!(tail.more(), ["a"]);
        // What never ends is not kept.
        std::fs::write(&path, vec![b'x'; LINE_LIMIT * 3]).unwrap();
        assert!(tail.more().is_empty() && tail.begun.is_empty());
        // A log that is not there yet may come.
        let late = dir.path().join("late");
        let mut tail = Tail::at_end(late.clone());
        assert!(tail.more().is_empty());
        std::fs::write(&late, "here\n").unwrap();
        assert_eq!(tail.more(), ["here"]);
    }
}
