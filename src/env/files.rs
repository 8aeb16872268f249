//! Reads with the size and owner we expect; writes by temp file, fsync, rename, fsync of the directory.
//!
//! `rename` is the only way a file of ours changes: a reader sees the old content or the new, never half of it. A
//! configuration file keeps its owner, mode, ACL and SELinux label, and a symbolic link keeps pointing where it did.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
        io::AsFd,
    },
    path::{Path, PathBuf},
};

/// Who owns a file and who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, as `chmod` takes them.
    pub mode: u32,
    /// Owner, or `None` to leave it to the running user.
    pub uid: Option<u32>,
    /// Group, or `None` to leave it to the running user.
    pub gid: Option<u32>,
}

impl Access {
    /// Readable by the running user only.
    pub const PRIVATE: Self = Self {
        mode: 0o600,
        uid: None,
        gid: None,
    };
    /// Readable by everyone.
    pub const PUBLIC: Self = Self {
        mode: 0o644,
        uid: None,
        gid: None,
    };
}

/// An IO failure with the file it happened to.
#[derive(Debug)]
pub struct FileError {
    /// What was tried, as a verb: "read", "write".
    pub verb: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it failed.
    pub reason: io::Error,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {} {}: {}", self.verb, self.path.display(), self.reason)
    }
}

impl std::error::Error for FileError {}

impl FileError {
    /// Returns whether the machine could not do it just now, whoever asks: too many open files, no memory, a disk that fails.
    pub fn is_of_the_machine(&self) -> bool {
        use rustix::io::Errno;
        let those = [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::NOMEM];
        those
            .iter()
            .any(|errno| self.reason.raw_os_error() == Some(errno.raw_os_error()))
    }

    /// Returns whether what has the name was read, or looked at, and can be no file of ours: a pipe, a directory, something
    /// enormous. A disk or a kernel that refuses is another matter.
    pub fn is_no_file_of_ours(&self) -> bool {
        let ours = matches!(
            self.reason.kind(),
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput
        );
        ours && self.reason.raw_os_error().is_none()
    }
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |reason| FileError {
        verb,
        path: path.to_owned(),
        reason,
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// When it cannot be opened or read, is not a regular file, or is larger than the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let fail = failed("read", path);
    let (file, meta) = open_regular(path).map_err(&fail)?;
    read_open(file, meta.len(), limit).map_err(fail)
}

/// Reads a file that may not exist.
///
/// # Errors
/// As [`read`], but a missing file is `None`.
pub fn read_if_exists(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, limit) {
        Err(error) if error.reason.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Reads a file of ours that may not exist; a symbolic link is none of ours, wherever it leads.
///
/// # Errors
/// As [`read_if_exists`], and for a link.
pub fn read_own_if_exists(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW;
    let is_loop = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match open_regular_with(path, nofollow) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Also where the directories above go around in circles: nothing of ours, either.
        Err(error) if is_loop(&error) => {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link");
            Err(failed("read", path)(error))
        }
        opened => opened
            .and_then(|(file, meta)| read_open(file, meta.len(), limit))
            .map(Some)
            .map_err(failed("read", path)),
    }
}

/// Reads so many bytes of a file from an offset on.
///
/// # Errors
/// When it cannot be opened or read, is not a regular file, or ends before.
pub fn read_part(path: &Path, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
    let fail = failed("read", path);
    let (mut file, meta) = open_regular(path).map_err(&fail)?;
    if offset.checked_add(length).is_none_or(|end| end > meta.len()) {
        return Err(fail(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it was cut off",
        )));
    }
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).map_err(&fail)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Reads a file whose content we act upon as root: owned by root or the running user, not writable by others.
///
/// The open file is judged, not its name, so that nothing can be swapped in between.
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::PermissionDenied`] with the reason when somebody else could have written it.
pub fn read_trusted(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, meta) = open_trusted(path)?;
    read_open(file, meta.len(), limit).map_err(failed("read", path))
}

/// Judges a program that we run as root by the same rule.
///
/// # Errors
/// As [`read_trusted`].
pub fn check_trusted(path: &Path) -> Result<(), FileError> {
    open_trusted(path).map(|_| ())
}

fn open_trusted(path: &Path) -> Result<(File, fs::Metadata), FileError> {
    let fail = failed("use", path);
    let (file, meta) = open_regular(path).map_err(failed("read", path))?;
    if let Some(reason) = distrust(&meta) {
        return Err(fail(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
    }
    Ok((file, meta))
}

fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    open_regular_with(path, rustix::fs::OFlags::empty())
}

fn open_regular_with(path: &Path, flags: rustix::fs::OFlags) -> io::Result<(File, fs::Metadata)> {
    // O_NONBLOCK: opening a named pipe must not hang; it has no effect on regular files.
    let flags = (flags | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    Ok((file, meta))
}

fn read_open(file: File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size.min(limit).try_into().unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Writes a file of ours so that it is whole on disk, under its name, when this returns.
///
/// The mode is set before the first byte. The directory must exist.
///
/// # Errors
/// When any step fails; the old file, if there was one, is untouched then and no temp file is left.
pub fn write_atomic(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let fail = failed("write", path);
    let (temp_path, mut temp) = create_temp(path).map_err(&fail)?;
    let written = (|| {
        apply_access(&temp, access)?;
        temp.write_all(bytes)?;
        temp.sync_all()?;
        fs::rename(&temp_path, path)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&temp_path);
        return Err(fail(error));
    }
    sync_directory_of(path)
}

/// Replaces a file that can be made anew at any time: by rename, so that a reader sees a whole one, but nothing is synced.
///
/// # Errors
/// When any step fails; the old file, if there was one, is untouched then and no temp file is left.
pub fn replace_unsynced(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let fail = failed("write", path);
    let (temp_path, temp) = create_temp(path).map_err(&fail)?;
    let written = (|| {
        apply_access(&temp, access)?;
        let mut buffer = io::BufWriter::with_capacity(64 << 10, temp);
        write(&mut buffer)?;
        buffer.flush()?;
        fs::rename(&temp_path, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&temp_path);
        fail(error)
    })
}

/// Judges a directory of somebody else that we put a file into: whoever may write there, everybody may not.
///
/// # Errors
/// When it is missing, is no directory, or everybody may write into it.
pub fn check_shared_directory(path: &Path) -> Result<(), FileError> {
    let fail = failed("write into", path);
    let meta = fs::metadata(path).map_err(&fail)?;
    if !meta.is_dir() {
        return Err(fail(io::Error::new(
            io::ErrorKind::NotADirectory,
            "it is not a directory",
        )));
    }
    if meta.mode() & 0o002 != 0 {
        let reason = format!("everybody may write there (mode {:04o})", meta.mode() & 0o7777);
        return Err(fail(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
    }
    Ok(())
}

/// Writes a file of ours into a directory that nobody reads yet; the caller syncs and renames the directory.
///
/// # Errors
/// When the file exists, or any step fails.
pub fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let fail = failed("write", path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600 & access.mode)
        .open(path)
        .map_err(&fail)?;
    apply_access(&file, access).map_err(&fail)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(&fail)
}

/// Writes a file that may not exist, whole or not at all, without a sync: the caller makes many, then calls
/// [`sync_file_system`] once.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when something has the name; when any step fails.
pub fn write_new_unsynced(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let fail = failed("write", path);
    let (temp_path, mut temp) = create_temp(path).map_err(&fail)?;
    let written = apply_access(&temp, access)
        .and_then(|()| temp.write_all(bytes))
        .and_then(|()| {
            let cwd = rustix::fs::CWD;
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(cwd, &temp_path, cwd, path, flags).map_err(io::Error::from)
        });
    written.map_err(|error| {
        let _ = fs::remove_file(&temp_path);
        fail(error)
    })
}

/// Brings everything that was written to the file system of a directory onto the disk.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_file_system(directory: &Path) -> Result<(), FileError> {
    let synced = File::open(directory).and_then(|file| rustix::fs::syncfs(&file).map_err(io::Error::from));
    synced.map_err(failed("sync", directory))
}

fn apply_access(file: &File, access: Access) -> io::Result<()> {
    // Owner first: chown clears bits that chmod has set, and 0600 covers the moment between.
    if access.uid.is_some() || access.gid.is_some() {
        let meta = file.metadata()?;
        let owned =
            access.uid.is_none_or(|uid| uid == meta.uid()) && access.gid.is_none_or(|gid| gid == meta.gid());
        if !owned {
            fchown(file, access.uid, access.gid)?;
        }
    }
    file.set_permissions(fs::Permissions::from_mode(access.mode))
}

/// Returns why a name must not be followed: it is a symbolic link of somebody who is neither root nor the running user.
pub fn foreign_link(path: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_symlink)?;
    let me = rustix::process::geteuid().as_raw();
    (meta.uid() != 0 && meta.uid() != me).then(|| {
        format!(
            "{} is a symbolic link of user {}, who could lead our files anywhere; remove it, or, where it leads to the right \
             place, run `chown -h root` on it",
            path.display(),
            meta.uid()
        )
    })
}

/// How a configuration file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// In place, because it is a mount point that cannot be renamed over; the journal is the safety.
    InPlace,
    /// By rename.
    Renamed,
}

/// Replaces the content of a configuration file that somebody else owns.
///
/// A symbolic link is followed and stays a link. Owner, mode, ACL and SELinux label of the target stay. A missing file
/// is made with mode 0644. A bind-mounted file, which cannot be renamed over, is written in place.
///
/// # Errors
/// When any step fails; the old content is untouched then, except in the in-place case.
pub fn replace_config(path: &Path, bytes: &[u8]) -> Result<Written, FileError> {
    let fail = failed("write", path);
    if let Some(reason) = foreign_link(path) {
        return Err(fail(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
    }
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_atomic(path, bytes, Access::PUBLIC)?;
            return Ok(Written::Renamed);
        }
        Err(error) => return Err(fail(error)),
    };
    let (old, meta) = open_regular(&target).map_err(&fail)?;
    let access = Access {
        mode: meta.mode() & 0o7777,
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    };
    let (temp_path, mut temp) = create_temp(&target).map_err(&fail)?;
    let written = (|| {
        apply_access(&temp, access)?;
        copy_attributes(&old, &temp)?;
        temp.write_all(bytes)?;
        temp.sync_all()?;
        fs::rename(&temp_path, &target)
    })();
    match written {
        Ok(()) => {
            sync_directory_of(&target)?;
            Ok(Written::Renamed)
        }
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let _ = fs::remove_file(&temp_path);
            let mut file = OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&target)
                .map_err(&fail)?;
            file.write_all(bytes)
                .and_then(|()| file.sync_all())
                .map_err(&fail)?;
            Ok(Written::InPlace)
        }
        Err(error) => {
            let _ = fs::remove_file(&temp_path);
            Err(fail(error))
        }
    }
}

/// Copies ACLs and the SELinux label, where the file system has them.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    for name in ["system.posix_acl_access", "security.selinux"] {
        let mut value = [0_u8; 4096];
        let size = match rustix::fs::fgetxattr(from.as_fd(), name, &mut value[..]) {
            Ok(size) => size,
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE) => {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::fsetxattr(to.as_fd(), name, &value[..size], rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Puts several files into a directory that nobody reads yet, so that they are whole on disk when this returns: each has
/// its own fsync, the names have one together. What a killed run left under these names is written anew.
///
/// # Errors
/// When any step fails; some of the files may be there then.
pub fn write_together(directory: &Path, files: &[(&str, &[u8], Access)]) -> Result<(), FileError> {
    let mut written = Vec::with_capacity(files.len());
    for (name, bytes, access) in files {
        let path = directory.join(name);
        let write = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            apply_access(&file, *access)?;
            file.write_all(bytes)?;
            Ok(file)
        };
        written.push((write().map_err(failed("write", &path))?, path));
    }
    for (file, path) in &written {
        file.sync_all().map_err(failed("sync", path))?;
    }
    sync_directory(directory)
}

/// Returns whether a file has exactly this content and access.
pub fn is_as_wanted(path: &Path, bytes: &[u8], access: Access) -> bool {
    let Ok((file, meta)) = open_regular(path) else {
        return false;
    };
    let has_access = meta.mode() & 0o7777 == access.mode
        && access.uid.is_none_or(|uid| uid == meta.uid())
        && access.gid.is_none_or(|gid| gid == meta.gid());
    let length = bytes.len() as u64;
    has_access && meta.len() == length && read_open(file, length, length).is_ok_and(|found| found == bytes)
}

/// Makes a file look as if it had been written now.
///
/// # Errors
/// When it cannot be opened, or its time cannot be set.
pub fn touch(path: &Path) -> Result<(), FileError> {
    let now = std::time::SystemTime::now();
    let touched = OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(now));
    touched.map_err(failed("write", path))
}

/// Points `link` at `target` with one rename; a reader sees the old target or the new one.
///
/// A plain directory or file in the link's place (a restored backup) is refused, not destroyed.
///
/// # Errors
/// When the new link cannot be made or renamed.
pub fn swap_link(target: &Path, link: &Path) -> Result<(), FileError> {
    let fail = failed("link", link);
    if fs::symlink_metadata(link).is_ok_and(|meta| !meta.file_type().is_symlink()) {
        let reason = "it is not a symbolic link; move it away";
        return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, reason)));
    }
    let temp = temp_name(link);
    let _ = fs::remove_file(&temp);
    std::os::unix::fs::symlink(target, &temp).map_err(&fail)?;
    if let Err(error) = fs::rename(&temp, link) {
        let _ = fs::remove_file(&temp);
        return Err(fail(error));
    }
    sync_directory_of(link)
}

/// Puts a symbolic link in the place of a directory by one exchange, so that the name is never gone. The directory ends
/// up at `aside`, in the same file system, where nothing may be yet.
///
/// # Errors
/// When the link cannot be made or the two cannot be exchanged; the directory stays where it is then.
pub fn exchange_for_link(directory: &Path, target: &Path, aside: &Path) -> Result<(), FileError> {
    let fail = failed("link", directory);
    std::os::unix::fs::symlink(target, aside).map_err(&fail)?;
    let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
    if let Err(error) = rustix::fs::renameat_with(cwd, aside, cwd, directory, exchange) {
        let _ = fs::remove_file(aside);
        return Err(fail(error.into()));
    }
    sync_directory_of(directory)
}

/// Makes a directory with this mode, and its parents with 0755; an existing one is left as it is.
///
/// # Errors
/// When it cannot be made, or something else has its name.
pub fn make_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    make_directory_unsynced(path, mode)?;
    sync_directory_of(path)
}

/// Makes a directory that an operator named for what is handed over, as [`make_directory`] does.
///
/// # Errors
/// As [`make_directory`] and [`judge_named_directory`].
pub fn make_named_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    judge_named_directory(path)?;
    make_directory(path, mode)
}

/// Judges a directory that an operator named for what is handed over, be it there or not: no link of somebody else's may lead our
/// files elsewhere, and nobody else may take them away there and put others in their place.
///
/// # Errors
/// When somebody else could.
pub fn judge_named_directory(path: &Path) -> Result<(), FileError> {
    let refuse =
        |reason: String| failed("write into", path)(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    let whole = std::path::absolute(path).map_err(failed("look at", path))?;
    if let Some(reason) = whole.ancestors().find_map(foreign_link) {
        return Err(refuse(reason));
    }
    let Ok(meta) = fs::metadata(&whole) else {
        return Ok(());
    };
    // With the sticky bit everybody may add files, and nobody may take away ours (inode(7)).
    if meta.mode() & 0o1002 == 0o002 {
        return Err(refuse(format!(
            "everybody may write there (mode {:04o}); choose another directory",
            meta.mode() & 0o7777
        )));
    }
    let me = rustix::process::geteuid().as_raw();
    let above = whole.parent().and_then(|parent| fs::metadata(parent).ok());
    let is_planted =
        meta.uid() != 0 && meta.uid() != me && above.is_some_and(|above| above.mode() & 0o002 != 0);
    if is_planted {
        return Err(refuse(format!(
            "user {} made it, where everybody may; choose another directory",
            meta.uid()
        )));
    }
    Ok(())
}

/// Makes a directory whose name need not be on disk yet: the caller syncs its parent later.
///
/// # Errors
/// As [`make_directory`].
pub fn make_directory_unsynced(path: &Path, mode: u32) -> Result<(), FileError> {
    let fail = failed("make directory", path);
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_parents(parent).map_err(&fail)?;
    }
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) => return Err(fail(error)),
    }
    // Not by the mode of mkdir alone: the umask would take bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(&fail)
}

/// Makes directories that are missing, the topmost first, each with its name on disk: what is synced in one of them later would be
/// lost with a name above it.
fn make_parents(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_parents(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(error),
        _ => {}
    }
    sync_directory_of(path).map_err(|error| error.reason)
}

/// Makes a directory of ours with this mode; one that is there must be ours alone, since what we write into it is written
/// as root: no symbolic link that leads elsewhere, of root or the running user, not writable by others.
///
/// # Errors
/// When it cannot be made, or what has its name is not ours.
pub fn make_own_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    match is_own_directory(path)? {
        true => Ok(()),
        false => make_directory(path, mode),
    }
}

/// As [`make_own_directory`], but its name need not be on disk yet: the caller syncs its parent later.
///
/// # Errors
/// As [`make_own_directory`].
pub fn make_own_directory_unsynced(path: &Path, mode: u32) -> Result<(), FileError> {
    match is_own_directory(path)? {
        true => Ok(()),
        false => make_directory_unsynced(path, mode),
    }
}

/// Returns whether a directory that is ours alone is there, `false` for nothing at all.
fn is_own_directory(path: &Path) -> Result<bool, FileError> {
    let refuse = |kind, reason: String| failed("write into", path)(io::Error::new(kind, reason));
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !meta.is_dir() {
        let reason = match meta.is_symlink() {
            true => {
                "it is a symbolic link, which would lead our files elsewhere; put the directory itself there"
            }
            false => "it is not a directory; move it away",
        };
        return Err(refuse(io::ErrorKind::NotADirectory, reason.to_owned()));
    }
    match distrust(&meta) {
        Some(reason) => Err(refuse(io::ErrorKind::PermissionDenied, reason)),
        None => Ok(true),
    }
}

/// Returns why somebody else may have written a file or directory, if so.
pub fn distrust(meta: &fs::Metadata) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != me {
        return Some(format!(
            "it belongs to user {}, not to root or the running user; run `chown` on it",
            meta.uid()
        ));
    }
    (meta.mode() & 0o022 != 0).then(|| {
        format!(
            "others may write it (mode {:04o}); run `chmod go-w` on it",
            meta.mode() & 0o7777
        )
    })
}

/// Removes a file; one that is not there is as good as removed.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

/// Returns the names in a directory, sorted; one that cannot be read has none.
pub fn list(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Makes a rename in a directory survive a power cut.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", path))
}

fn sync_directory_of(path: &Path) -> Result<(), FileError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Deletes what a killed [`write_atomic`] of this file left beside it.
///
/// # Errors
/// When it is there and cannot be deleted.
pub fn discard_unfinished(path: &Path) -> Result<(), FileError> {
    let left = temp_name(path);
    // Looked at first: most often there is none, and nothing is to be changed then.
    if fs::symlink_metadata(&left).is_err() {
        return Ok(());
    }
    match fs::remove_file(&left) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(FileError {
            verb: "remove",
            path: left,
            reason,
        }),
        _ => Ok(()),
    }
}

/// The temp file beside its target; a fixed name, so that a killed run leaves at most one, which the next run replaces.
fn temp_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.mailcert"))
}

fn create_temp(path: &Path) -> io::Result<(PathBuf, File)> {
    let temp = temp_name(path);
    match fs::remove_file(&temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // create_new: never through a link that somebody else placed there.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp)?;
    Ok((temp, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_link_owner_and_mode_of_a_configuration_file() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.cf");
        let link = dir.path().join("main.cf");
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.cf", &link).unwrap();
        assert_eq!(replace_config(&link, b"new").unwrap(), Written::Renamed);
        assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_link_of_somebody_else_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.cf"), dir.path().join("main.cf"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!((foreign_link(&real), foreign_link(&link)), (None, None));
        // Only root may give a link away.
        if std::os::unix::fs::lchown(&link, Some(65534), None).is_ok() {
            let refused = replace_config(&link, b"new").unwrap_err();
            assert!(refused.to_string().contains("link of user 65534"), "{refused}");
            assert_eq!(fs::read(&real).unwrap(), b"old");
        }
    }

    #[test]
    fn a_named_directory_is_nobody_else_s_trap() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &Path, expected: Option<&str>| {
            let made = make_named_directory(path, 0o700);
            let told = made.err().map(|error| error.to_string());
            match (&told, expected) {
                (None, None) => assert!(path.is_dir(), "{}", path.display()),
                (Some(told), Some(words)) => assert!(told.contains(words), "{told}"),
                _ => panic!("{}: {told:?}", path.display()),
            }
        };
        let make = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        check(&dir.path().join("new"), None);
        check(&make("ours", 0o755), None);
        check(
            &make("open", 0o777),
            Some("everybody may write there (mode 0777)"),
        );
        let sticky = make("sticky", 0o1777);
        check(&sticky, None);
        check(&sticky.join("new"), None);
        let (real, link) = (make("real", 0o700), dir.path().join("link"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        check(&link.join("new"), None);
        // Only root may give something away.
        if std::os::unix::fs::lchown(&link, Some(65534), None).is_ok() {
            check(&link, Some("link of user 65534"));
            check(&link.join("other"), Some("link of user 65534"));
            assert!(!real.join("other").exists());
            let planted = sticky.join("planted");
            fs::create_dir(&planted).unwrap();
            std::os::unix::fs::chown(&planted, Some(65534), None).unwrap();
            check(&planted, Some("user 65534 made it"));
            // The home of the one who called us by sudo.
            let home = make("home", 0o755);
            std::os::unix::fs::chown(&home, Some(65534), None).unwrap();
            check(&home, None);
        }
    }

    #[test]
    fn refuses_what_others_may_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mailcert.toml");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(
            read_trusted(&path, 10).unwrap_err().reason.kind(),
            io::ErrorKind::PermissionDenied
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read_trusted(&path, 10).unwrap(), b"x");
    }

    #[test]
    fn refuses_what_is_too_large_or_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read(&path, 4).unwrap_err().reason.kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(read(dir.path(), 4).is_err());
        assert!(read_if_exists(&dir.path().join("none"), 4).unwrap().is_none());
        assert_eq!(
            read_own_if_exists(&path, 5).unwrap().as_deref(),
            Some(b"12345".as_slice())
        );
        assert!(read_own_if_exists(&dir.path().join("none"), 4).unwrap().is_none());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refused = read_own_if_exists(&link, 5).unwrap_err();
        assert!(refused.is_no_file_of_ours(), "{refused}");
    }

    #[test]
    fn a_temp_file_of_a_killed_run_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(dir.path().join(".state.json.mailcert"), "half").unwrap();
        write_atomic(&path, b"whole", Access::PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn swaps_a_link_and_refuses_a_directory_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("live");
        swap_link(Path::new("a/1"), &link).unwrap();
        swap_link(Path::new("a/2"), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("a/2"));
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        assert!(swap_link(Path::new("a/3"), &link).is_err());
    }

    #[test]
    fn a_file_with_another_name_is_replaced_and_the_other_name_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        type Write = fn(&Path) -> Result<(), FileError>;
        let ways: [Write; 4] = [
            |path| write_atomic(path, b"new", Access::PRIVATE),
            |path| replace_config(path, b"new").map(|_| ()),
            |path| replace_unsynced(path, Access::PRIVATE, |out| out.write_all(b"new")),
            |path| {
                let (directory, name) = (path.parent().unwrap(), path.file_name().unwrap());
                write_together(directory, &[(name.to_str().unwrap(), b"new", Access::PRIVATE)])
            },
        ];
        for write in ways {
            // Somebody's file has a second name where ours is to be, and another where our temp file will be.
            for name in ["theirs", "file", ".file.mailcert"] {
                let _ = fs::remove_file(at(name));
            }
            fs::write(at("theirs"), "precious").unwrap();
            fs::hard_link(at("theirs"), at("file")).unwrap();
            fs::hard_link(at("theirs"), at(".file.mailcert")).unwrap();
            write(&at("file")).unwrap();
            assert_eq!(fs::read(at("file")).unwrap(), b"new");
            assert_eq!(fs::read(at("theirs")).unwrap(), b"precious");
        }
    }
}
