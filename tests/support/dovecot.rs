//! A Dovecot of one test's own: configuration, sockets and mail in the scratch directory, ports on an own address.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{LoopbackAddress, Scratch, server::wait_until};

/// A running Dovecot 2.3; stopped on drop, by its own configuration.
pub struct Dovecot {
    root: PathBuf,
}

impl Dovecot {
    /// Starts it with imap, imaps, pop3 and pop3s on the address, and this certificate; alice's password is `secret`.
    pub fn start(scratch: &Scratch, address: &LoopbackAddress, certificate: &Path, key: &Path) -> Self {
        let dovecot = Self {
            root: scratch.dir("dovecot"),
        };
        // Its unprivileged processes go through these.
        for directory in [dovecot.root.clone(), scratch.path().to_owned()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mail = scratch.dir("dovecot/mail");
        let user = nix::unistd::User::from_name("mail").unwrap().unwrap();
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        chown(&mail, Some(uid), Some(gid)).unwrap();
        scratch.file(
            "dovecot/users",
            format!("alice:{{PLAIN}}secret:{uid}:{gid}::{}::\n", mail.display()),
        );
        let root = dovecot.root.display();
        scratch.file(
            "dovecot/dovecot.conf",
            format!(
                "protocols = imap pop3\n\
                 listen = {ip}\n\
                 base_dir = {root}/run\n\
                 state_dir = {root}/state\n\
                 log_path = {root}/log\n\
                 instance_name = {root}\n\
                 mail_location = maildir:{root}/mail\n\
                 first_valid_uid = 1\n\
                 ssl = yes\n\
                 ssl_cert = <{certificate}\n\
                 ssl_key = <{key}\n\
                 service imap-login {{\n  chroot =\n}}\n\
                 service pop3-login {{\n  chroot =\n}}\n\
                 passdb {{\n  driver = passwd-file\n  args = {root}/users\n}}\n\
                 userdb {{\n  driver = passwd-file\n  args = {root}/users\n}}\n",
                ip = address.ip(),
                certificate = certificate.display(),
                key = key.display(),
            ),
        );
        let started = Command::new("/usr/sbin/dovecot")
            .arg("-c")
            .arg(dovecot.config_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("dovecot is installed: tests/lab/install --tests");
        assert!(started.success(), "{}", dovecot.log());
        if let Some(pid) = dovecot.pid() {
            scratch.remember("pids", &pid);
        }
        dovecot
    }

    /// Returns its dovecot.conf.
    pub fn config_file(&self) -> PathBuf {
        self.root.join("dovecot.conf")
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    fn pid(&self) -> Option<String> {
        let text = fs::read_to_string(self.root.join("run/master.pid")).ok()?;
        Some(text.trim().to_owned())
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let Some(pid) = self.pid() else { return };
        let _ = Command::new("/bin/kill").arg(&pid).status();
        wait_until("dovecot has ended", || !Path::new("/proc").join(&pid).exists());
    }
}
