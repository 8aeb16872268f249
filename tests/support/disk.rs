//! A disk that keeps only what was synced. Pure: operations in, what is there after a power cut out.
//!
//! POSIX promises little: `fsync` of a file brings its content to disk, `fsync` of a directory its names. File systems keep
//! more, each in its own way, so two disks are asked of, and a program has to stand both:
//!
//! - [`Cut::Strict`]: nothing that was not synced is there, neither content nor name.
//! - [`Cut::Ordered`]: every name is there, in the order of the changes, as a journal keeps them; but a file whose content was not
//!   synced is empty, as ext4 and XFS leave one that was renamed too early.
//!
//! A rename from one directory into another is one change: it is on disk when either directory was synced, and then in both.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// Owner and permissions. They are taken to be on disk at once: no promise of ours hangs on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Type and permission bits, as `stat` gives them.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(Meta),
    /// A file and its content.
    File(Meta, Vec<u8>),
    /// A symbolic link.
    Link(PathBuf),
}

/// A change, or a promise that one is on disk. Paths are absolute, without links in their directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A name for something new.
    Make(PathBuf, Node),
    /// A further name for a file.
    Link(PathBuf, PathBuf),
    /// A name that goes.
    Remove(PathBuf),
    /// A name that becomes another, and takes the place of what had it.
    Rename(PathBuf, PathBuf),
    /// Two names that change places.
    Exchange(PathBuf, PathBuf),
    /// A file's whole content, as it is now.
    Write(PathBuf, Vec<u8>),
    /// Owner and permissions.
    Change(PathBuf, Meta),
    /// `fsync` of a file or a directory.
    Sync(PathBuf),
    /// `syncfs`: everything.
    SyncAll,
}

/// What survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Every name, and no content but what was synced.
    Ordered,
    /// Nothing but what was synced.
    Strict,
}

impl Cut {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ordered, Self::Strict];
}

/// What is there after a power cut, by path.
pub type Tree = BTreeMap<PathBuf, Node>;

/// A thing on the disk, whatever its names.
type Id = usize;

/// The names in a directory.
type Names = BTreeMap<OsString, Id>;

/// What a thing is, now and on disk.
#[derive(Clone, Debug)]
enum Inode {
    Directory {
        meta: Meta,
        now: Names,
        synced: Names,
    },
    File {
        meta: Meta,
        now: Vec<u8>,
        synced: Vec<u8>,
    },
    Link(PathBuf),
}

/// A rename from one directory into another: on disk in both or in neither.
#[derive(Clone, Debug)]
struct Moved {
    id: Id,
    from: (Id, OsString),
    to: (Id, OsString),
}

/// The disk.
#[derive(Clone, Debug)]
pub struct Disk {
    inodes: Vec<Inode>,
    moved: Vec<Moved>,
}

/// The place of `/`.
const ROOT: Id = 0;

impl Disk {
    /// Returns a disk that holds a tree, all of it synced.
    pub fn holding(tree: &Tree) -> Self {
        let directory = Inode::Directory {
            meta: Meta::default(),
            now: Names::new(),
            synced: Names::new(),
        };
        let mut disk = Self {
            inodes: vec![directory],
            moved: Vec::new(),
        };
        for (path, node) in tree {
            disk.make_parents(path);
            disk.make(path, node);
        }
        disk.sync_all();
        disk
    }

    /// Does one operation; what it is about has to be there.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Make(path, node) => self.make(path, node),
            Operation::Link(old, new) => {
                let id = self.find(old);
                self.name(new, id);
            }
            Operation::Remove(path) => {
                self.unname(path);
            }
            Operation::Rename(old, new) => {
                let id = self.unname(old);
                self.name(new, id);
                self.note_move(id, old, new);
            }
            Operation::Exchange(one, other) => {
                let (first, second) = (self.unname(one), self.unname(other));
                self.name(one, second);
                self.name(other, first);
                self.note_move(first, one, other);
                self.note_move(second, other, one);
            }
            Operation::Write(path, bytes) => {
                let id = self.find(path);
                let Some(Inode::File { now, .. }) = self.inodes.get_mut(id) else {
                    panic!("{} is no file", path.display());
                };
                now.clone_from(bytes);
            }
            Operation::Change(path, new) => {
                let id = self.find(path);
                if let Some(Inode::Directory { meta, .. } | Inode::File { meta, .. }) =
                    self.inodes.get_mut(id)
                {
                    *meta = *new;
                }
            }
            Operation::Sync(path) => {
                let id = self.find(path);
                self.sync(id);
            }
            Operation::SyncAll => self.sync_all(),
        }
    }

    /// Returns what is below some paths when the power goes now.
    pub fn after(&self, cut: Cut, below: &[PathBuf]) -> Tree {
        let mut tree = Tree::new();
        self.walk(ROOT, Path::new("/"), cut, &mut tree);
        tree.retain(|path, _| below.iter().any(|top| path.starts_with(top)));
        tree
    }

    fn walk(&self, id: Id, path: &Path, cut: Cut, tree: &mut Tree) {
        let node = match &self.inodes[id] {
            Inode::Link(target) => Node::Link(target.clone()),
            Inode::File { meta, synced, .. } => Node::File(*meta, synced.clone()),
            Inode::Directory { meta, now, synced } => {
                let names = match cut {
                    Cut::Ordered => now,
                    Cut::Strict => synced,
                };
                for (name, id) in names {
                    self.walk(*id, &path.join(name), cut, tree);
                }
                Node::Directory(*meta)
            }
        };
        tree.insert(path.to_owned(), node);
    }

    fn make(&mut self, path: &Path, node: &Node) {
        let id = self.inodes.len();
        self.inodes.push(match node {
            Node::Directory(meta) => Inode::Directory {
                meta: *meta,
                now: Names::new(),
                synced: Names::new(),
            },
            // Of a new file nothing is on disk: it is empty there.
            Node::File(meta, bytes) => Inode::File {
                meta: *meta,
                now: bytes.clone(),
                synced: Vec::new(),
            },
            Node::Link(target) => Inode::Link(target.clone()),
        });
        self.name(path, id);
    }

    /// Makes the directories above a path, where there are none.
    fn make_parents(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for directory in above.into_iter().rev().skip(1) {
            if self.lookup(directory).is_none() {
                self.make(directory, &Node::Directory(Meta::default()));
            }
        }
    }

    fn sync(&mut self, id: Id) {
        match &mut self.inodes[id] {
            Inode::Link(_) => {}
            Inode::File { now, synced, .. } => synced.clone_from(now),
            Inode::Directory { now, synced, .. } => {
                synced.clone_from(now);
                self.settle_moves(id);
            }
        }
    }

    /// Brings moves out of, or into, a directory that was synced to the disk in the other directory too.
    fn settle_moves(&mut self, synced_now: Id) {
        for moved in std::mem::take(&mut self.moved) {
            if synced_now == moved.to.0 {
                let names = self.synced_names(moved.from.0);
                if names.get(&moved.from.1) == Some(&moved.id) {
                    names.remove(&moved.from.1);
                }
            } else if synced_now == moved.from.0 {
                self.synced_names(moved.to.0).insert(moved.to.1, moved.id);
            } else {
                self.moved.push(moved);
            }
        }
    }

    fn synced_names(&mut self, id: Id) -> &mut Names {
        match &mut self.inodes[id] {
            Inode::Directory { synced, .. } => synced,
            _ => panic!("{id} is no directory"),
        }
    }

    fn sync_all(&mut self) {
        self.moved.clear();
        let all: BTreeSet<Id> = (0..self.inodes.len()).collect();
        for id in all {
            self.sync(id);
        }
    }

    fn note_move(&mut self, id: Id, old: &Path, new: &Path) {
        let (from, to) = (place(old), place(new));
        let (from, to) = ((self.find(from.0), from.1), (self.find(to.0), to.1));
        if from.0 != to.0 {
            self.moved.push(Moved { id, from, to });
        }
    }

    fn lookup(&self, path: &Path) -> Option<Id> {
        let mut id = ROOT;
        for part in path.components() {
            match part {
                Component::RootDir => {}
                Component::Normal(name) => match &self.inodes[id] {
                    Inode::Directory { now, .. } => id = *now.get(name)?,
                    _ => return None,
                },
                _ => panic!("{} is not absolute and plain", path.display()),
            }
        }
        Some(id)
    }

    fn find(&self, path: &Path) -> Id {
        self.lookup(path)
            .unwrap_or_else(|| panic!("there is no {}", path.display()))
    }

    fn names(&mut self, path: &Path) -> &mut Names {
        let id = self.find(path);
        match &mut self.inodes[id] {
            Inode::Directory { now, .. } => now,
            _ => panic!("{} is no directory", path.display()),
        }
    }

    fn name(&mut self, path: &Path, id: Id) {
        let (directory, name) = place(path);
        self.names(directory).insert(name, id);
    }

    fn unname(&mut self, path: &Path) -> Id {
        let (directory, name) = place(path);
        self.names(directory)
            .remove(&name)
            .unwrap_or_else(|| panic!("there is no {}", path.display()))
    }
}

/// Returns the directory of a path and the name in it.
fn place(path: &Path) -> (&Path, OsString) {
    let directory = path.parent().expect("`/` has no name");
    (directory, path.file_name().expect("it ends in a name").to_owned())
}
