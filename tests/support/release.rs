//! Another Debian than this machine's: Postfix and Dovecot of its own in a root directory that `tests/lab/debian-root`
//! unpacked. What runs in it sees this machine's `/dev`, `/proc` and `/tmp`, its loopback addresses and its processes.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the program under test is in such a root.
const MAILCERT: &str = "/opt/mailcert";

/// Mounts what a program needs, in a namespace that ends with the last process in it, and becomes the program.
const ENTER: &str = "root=$1 program=$2 bundle=$3 hidden=$4; shift 4\n\
    for name in dev proc tmp; do mount --rbind /$name \"$root/$name\" || exit 125; done\n\
    mount --bind \"$program\" \"$root/opt/mailcert\" || exit 125\n\
    [ -z \"$bundle\" ] || mount --bind \"$bundle\" \"$root/etc/ssl/certs/ca-certificates.crt\" || exit 125\n\
    [ -z \"$hidden\" ] || mount -t tmpfs none \"$root$hidden\" || exit 125\n\
    exec chroot \"$root\" \"$@\"";

/// A root directory with another Debian.
#[derive(Clone, Debug)]
pub struct Release {
    root: PathBuf,
    bundle: Option<PathBuf>,
    hidden: Option<PathBuf>,
}

impl Release {
    /// Postfix 3.10, Dovecot 2.4.
    pub fn trixie() -> Self {
        Self::of("trixie")
    }

    /// Postfix 3.11 or newer, Dovecot 2.4.
    pub fn unstable() -> Self {
        Self::of("unstable")
    }

    fn of(suite: &str) -> Self {
        let cache = std::env::var_os("MAILCERT_CACHE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"),
            PathBuf::from,
        );
        let root = cache.join(format!("root-{suite}"));
        assert!(
            root.join("version").is_file(),
            "no {}: run tests/lab/install --all",
            root.display()
        );
        Self {
            root,
            bundle: None,
            hidden: None,
        }
    }

    /// Has nothing be seen of what is in this directory.
    pub fn without(mut self, hidden: &Path) -> Self {
        self.hidden = Some(hidden.to_owned());
        self
    }

    /// Has the distribution's bundle of roots be this file.
    pub fn with_bundle(mut self, bundle: &Path) -> Self {
        self.bundle = Some(bundle.to_owned());
        self
    }

    /// Returns a file of the release.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Prepares a program of the release, found in its `PATH`, or by its path in there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"])
            .arg(&self.root)
            .arg(env!("CARGO_BIN_EXE_mailcert"))
            .arg(self.bundle.as_deref().unwrap_or(Path::new("")))
            .arg(self.hidden.as_deref().unwrap_or(Path::new("")))
            .arg(program);
        command
    }

    /// Prepares the program under test.
    pub fn mailcert(&self) -> Command {
        self.command(MAILCERT)
    }
}
