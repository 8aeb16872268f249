//! What a traced program, and every program that it starts, does to some directories; and all that it tells others.
//!
//! [`super::inject`] stops each task before and after each system call; here is what these calls mean for a disk. x86-64 only.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::{libc, unistd::Pid};

use super::{
    disk::{Meta, Node, Operation, Tree},
    inject::{read_path, read_word},
};

/// `AT_FDCWD`, as a register has it.
const HERE: u64 = libc::AT_FDCWD.cast_unsigned() as u64;
/// `RENAME_EXCHANGE`.
const EXCHANGE: u64 = 2;
/// No call of ours writes more at once.
const MOST: u64 = 4 << 20;

/// What was seen.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The directories that are watched; their own names are, too.
    pub below: Vec<PathBuf>,
    /// What was done below them, in its order.
    pub operations: Vec<Operation>,
    /// The arguments and the variables of every program that was started.
    pub started: Vec<(Vec<String>, Vec<String>)>,
    /// What was written.
    pub written: Vec<Written>,
    pending: HashMap<Pid, Intent>,
}

/// One call that wrote something.
#[derive(Debug)]
pub struct Written {
    /// The program that wrote it.
    pub program: PathBuf,
    /// Where to: a path, or `pipe:[7]`.
    pub place: PathBuf,
    /// What.
    pub bytes: Vec<u8>,
    /// After how many operations.
    pub after: usize,
}

impl Written {
    /// Returns whether it tells a DNS server to change something (RFC 2136, 2.2), over UDP or TCP.
    pub fn is_dns_update(&self) -> bool {
        const OPCODE: u8 = 0x78;
        const UPDATE: u8 = 5 << 3;
        let message = match self.bytes.as_slice() {
            [high, low, message @ ..] if message.len() == usize::from(u16::from_be_bytes([*high, *low])) => {
                message
            }
            message => message,
        };
        let is_sent = self.place.to_string_lossy().starts_with("socket:");
        is_sent && message.len() > 12 && message[2] & OPCODE == UPDATE
    }
}

/// A call that has begun.
#[derive(Debug)]
enum Intent {
    /// Done as it is when the call succeeds.
    Done(Operation),
    /// A file is opened, which was there or not.
    Open { is_new: bool, truncates: bool },
    /// A name for something that is looked at when it is there.
    Made(PathBuf),
    /// The content of an open file changes.
    Changed(u64),
    /// Owner or permissions change.
    Owned(PathBuf),
}

impl Recorder {
    /// Watches these directories.
    pub fn of(below: &[PathBuf]) -> Self {
        Self {
            below: below.to_vec(),
            ..Self::default()
        }
    }

    /// A task is about to make a call.
    pub(super) fn before(&mut self, task: Pid, registers: &libc::user_regs_struct) {
        self.pending.remove(&task);
        let Ok(number) = i64::try_from(registers.orig_rax) else {
            return;
        };
        let (first, second, third, fourth) = (registers.rdi, registers.rsi, registers.rdx, registers.r10);
        let at = |directory: u64, path: u64| resolve(task, directory, &read_path(task, path));
        let file = |fd: u64| fs::read_link(format!("/proc/{task}/fd/{fd}")).ok();
        let intent = match number {
            libc::SYS_open => self.open(at(HERE, first), second),
            libc::SYS_openat => self.open(at(first, second), third),
            libc::SYS_creat => self.open(
                at(HERE, first),
                u64::from((libc::O_CREAT | libc::O_TRUNC).cast_unsigned()),
            ),
            libc::SYS_write | libc::SYS_pwrite64 => {
                self.note_written(task, first, &[(second, third)]);
                Some(Intent::Changed(first))
            }
            libc::SYS_sendto => {
                self.note_written(task, first, &[(second, third)]);
                None
            }
            libc::SYS_writev | libc::SYS_pwritev => {
                let pieces = (0..third.min(64)).filter_map(|n| {
                    let at = second + 16 * n;
                    Some((read_word(task, at)?, read_word(task, at + 8)?))
                });
                self.note_written(task, first, &pieces.collect::<Vec<_>>());
                Some(Intent::Changed(first))
            }
            libc::SYS_ftruncate | libc::SYS_fallocate | libc::SYS_sendfile => Some(Intent::Changed(first)),
            libc::SYS_copy_file_range => Some(Intent::Changed(third)),
            // What was written through memory is seen now at the latest.
            libc::SYS_close if is_written_to(task, first) => Some(Intent::Changed(first)),
            libc::SYS_fsync | libc::SYS_fdatasync => {
                self.changed(task, first);
                file(first).map(Operation::Sync).map(Intent::Done)
            }
            libc::SYS_syncfs | libc::SYS_sync => Some(Intent::Done(Operation::SyncAll)),
            libc::SYS_rename => self.rename(at(HERE, first), at(HERE, second), 0),
            libc::SYS_renameat => self.rename(at(first, second), at(third, fourth), 0),
            libc::SYS_renameat2 => self.rename(at(first, second), at(third, fourth), registers.r8),
            libc::SYS_link => self.link(at(HERE, first), at(HERE, second)),
            libc::SYS_linkat => self.link(at(first, second), at(third, fourth)),
            libc::SYS_symlink => at(HERE, second).map(Intent::Made),
            libc::SYS_symlinkat => at(second, third).map(Intent::Made),
            libc::SYS_mkdir => at(HERE, first).map(Intent::Made),
            libc::SYS_mkdirat => at(first, second).map(Intent::Made),
            libc::SYS_unlink | libc::SYS_rmdir => at(HERE, first).map(Operation::Remove).map(Intent::Done),
            libc::SYS_unlinkat => at(first, second).map(Operation::Remove).map(Intent::Done),
            libc::SYS_chmod | libc::SYS_chown | libc::SYS_lchown => at(HERE, first).map(Intent::Owned),
            libc::SYS_fchmodat | libc::SYS_fchownat => at(first, second).map(Intent::Owned),
            libc::SYS_fchmod | libc::SYS_fchown => file(first).map(Intent::Owned),
            libc::SYS_execve => {
                self.started.push((words(task, second), words(task, third)));
                None
            }
            _ => None,
        };
        if let Some(intent) = intent {
            self.pending.insert(task, intent);
        }
    }

    /// The call has ended.
    pub(super) fn after(&mut self, task: Pid, result: i64) {
        let Some(intent) = self.pending.remove(&task).filter(|_| result >= 0) else {
            return;
        };
        match intent {
            Intent::Done(operation) => self.note(operation),
            Intent::Open { is_new, truncates } => {
                let Ok(path) = fs::read_link(format!("/proc/{task}/fd/{result}")) else {
                    return;
                };
                match node(&path) {
                    Some(Node::File(meta, _)) if is_new => {
                        self.note(Operation::Make(path, Node::File(meta, Vec::new())));
                    }
                    Some(Node::File(..)) if truncates => self.note(Operation::Write(path, Vec::new())),
                    _ => {}
                }
            }
            Intent::Made(path) => {
                if let Some(node) = node(&path) {
                    self.note(Operation::Make(path, node));
                }
            }
            // Closed: it was looked at before. Else the file is still open.
            Intent::Changed(fd) => self.changed(task, fd),
            Intent::Owned(path) => {
                if let Some(Node::File(meta, _) | Node::Directory(meta)) = node(&path) {
                    self.note(Operation::Change(path, meta));
                }
            }
        }
    }

    fn note(&mut self, operation: Operation) {
        let is_inside = |path: &Path| self.below.iter().any(|top| path.starts_with(top));
        // Of the directories above, only that they were synced matters.
        let is_above = |path: &Path| self.below.iter().any(|top| top.starts_with(path));
        let is_watched = match &operation {
            // One that has no name any more is on no disk.
            Operation::Sync(path) => path.exists() && (is_inside(path) || is_above(path)),
            Operation::SyncAll => true,
            Operation::Rename(_, path) | Operation::Exchange(_, path) | Operation::Link(_, path) => {
                is_inside(path)
            }
            Operation::Make(path, _)
            | Operation::Remove(path)
            | Operation::Write(path, _)
            | Operation::Change(path, _) => is_inside(path),
        };
        if is_watched {
            self.operations.push(operation);
        }
    }

    fn changed(&mut self, task: Pid, fd: u64) {
        let open = PathBuf::from(format!("/proc/{task}/fd/{fd}"));
        let Ok(path) = fs::read_link(&open) else {
            return;
        };
        // One without a name is on no disk.
        let is_inside = self.below.iter().any(|top| path.starts_with(top));
        if is_inside && path.is_file() && fs::metadata(&open).is_ok_and(|meta| meta.is_file()) {
            let bytes = fs::read(&open).unwrap_or_default();
            self.note(Operation::Write(path, bytes));
        }
    }

    fn open(&self, path: Option<PathBuf>, flags: u64) -> Option<Intent> {
        let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
        let path = path.filter(|_| has(libc::O_CREAT) || has(libc::O_TRUNC))?;
        Some(Intent::Open {
            // Through a link that leads to what is not there, too.
            is_new: has(libc::O_CREAT) && fs::metadata(&path).is_err(),
            truncates: has(libc::O_TRUNC),
        })
    }

    fn rename(&self, old: Option<PathBuf>, new: Option<PathBuf>, flags: u64) -> Option<Intent> {
        let (old, new) = (old?, new?);
        let is_inside = |path: &Path| self.below.iter().any(|top| path.starts_with(top));
        Some(match (is_inside(&old), is_inside(&new)) {
            (true, false) => Intent::Done(Operation::Remove(old)),
            (false, true) => Intent::Made(new),
            _ if flags & EXCHANGE != 0 => Intent::Done(Operation::Exchange(old, new)),
            _ => Intent::Done(Operation::Rename(old, new)),
        })
    }

    fn link(&self, old: Option<PathBuf>, new: Option<PathBuf>) -> Option<Intent> {
        Some(Intent::Done(Operation::Link(old?, new?)))
    }

    fn note_written(&mut self, task: Pid, fd: u64, pieces: &[(u64, u64)]) {
        let Ok(memory) = File::open(format!("/proc/{task}/mem")) else {
            return;
        };
        let mut all = Vec::new();
        for (at, length) in pieces {
            let mut bytes = vec![0; usize::try_from((*length).min(MOST)).unwrap_or(0)];
            if memory.read_exact_at(&mut bytes, *at).is_ok() {
                all.extend(bytes);
            }
        }
        let link = |name: &str| fs::read_link(format!("/proc/{task}/{name}")).unwrap_or_default();
        self.written.push(Written {
            program: link("exe"),
            place: link(&format!("fd/{fd}")),
            bytes: all,
            after: self.operations.len(),
        });
    }
}

/// Reads what is at a path: nothing, when it is something else than a file, a directory or a link.
pub fn node(path: &Path) -> Option<Node> {
    let found = fs::symlink_metadata(path).ok()?;
    let meta = Meta {
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
    };
    let kind = found.file_type();
    Some(if kind.is_dir() {
        Node::Directory(meta)
    } else if kind.is_symlink() {
        Node::Link(fs::read_link(path).ok()?)
    } else if kind.is_file() {
        Node::File(meta, fs::read(path).ok()?)
    } else {
        return None;
    })
}

/// Reads what is below some paths.
pub fn tree(below: &[PathBuf]) -> Tree {
    let mut found = Tree::new();
    let mut waiting = below.to_vec();
    while let Some(path) = waiting.pop() {
        let Some(node) = node(&path) else {
            continue;
        };
        if matches!(node, Node::Directory(_)) {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        }
        found.insert(path, node);
    }
    found
}

/// Puts a tree there, and takes away what else is below the paths.
pub fn put(below: &[PathBuf], tree: &Tree) {
    for top in below {
        match fs::symlink_metadata(top) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(top).unwrap(),
            Ok(_) => fs::remove_file(top).unwrap(),
            Err(_) => {}
        }
    }
    // A directory comes before what is in it.
    for (path, node) in tree {
        let meta = match node {
            Node::Directory(meta) => {
                fs::create_dir(path).unwrap();
                meta
            }
            Node::File(meta, bytes) => {
                fs::write(path, bytes).unwrap();
                meta
            }
            Node::Link(target) => {
                std::os::unix::fs::symlink(target, path).unwrap();
                continue;
            }
        };
        std::os::unix::fs::chown(path, Some(meta.uid), Some(meta.gid)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(meta.mode);
        fs::set_permissions(path, mode).unwrap();
    }
}

/// Returns where a path leads that a task names, its last part not followed.
fn resolve(task: Pid, directory: u64, text: &str) -> Option<PathBuf> {
    let base = match directory & u64::from(u32::MAX) {
        HERE => format!("/proc/{task}/cwd"),
        fd => format!("/proc/{task}/fd/{fd}"),
    };
    let path = match text.starts_with('/') {
        true => PathBuf::from(text),
        false => fs::read_link(base).ok()?.join(text),
    };
    let name = path.file_name()?.to_owned();
    Some(fs::canonicalize(path.parent()?).ok()?.join(name))
}

/// Returns whether a descriptor is one of a file that may be written.
fn is_written_to(task: Pid, fd: u64) -> bool {
    let info = fs::read_to_string(format!("/proc/{task}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// Reads a list of words that ends in a null.
fn words(task: Pid, at: u64) -> Vec<String> {
    let addresses = (0..4096).map_while(|n| read_word(task, at + 8 * n).filter(|word| *word != 0));
    addresses.map(|address| read_path(task, address)).collect()
}
