//! A directory of one test's own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What every scratch directory's name begins with; `tests/lab/sweep` looks for it.
const PREFIX: &str = "mailcert-lab.";

/// A directory under `/tmp`, mode 0755 since Postfix's unprivileged processes pass through it; removed on drop.
///
/// The file `owner` in it holds our process id, so that `tests/lab/sweep` can tell what a killed test left behind.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Makes an empty one.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("owner"), std::process::id().to_string()).unwrap();
        Self(dir)
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a directory in it, with its parents, and returns its path.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file in it, mode 0644, and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// Writes a file in it that only we may read, and returns its path.
    pub fn secret_file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, "");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a program in it, mode 0755, and returns its path. A child puts it in its place: a file that any thread of
    /// ours has open for writing, even across a fork, cannot be executed.
    pub fn program(&self, name: &str, text: impl AsRef<str>) -> PathBuf {
        let draft = self.file(&format!("{name}.draft"), text.as_ref());
        let path = self.path().join(name);
        let copied = std::process::Command::new("install")
            .args(["-m", "0755"])
            .arg(&draft)
            .arg(&path)
            .status()
            .unwrap();
        assert!(copied.success());
        // A directory of hooks must not have the draft in it.
        fs::remove_file(draft).unwrap();
        path
    }

    /// Remembers something for `tests/lab/sweep`: a line in the file `pids` or `addresses`.
    pub fn remember(&self, list: &str, line: &str) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join(list))
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
