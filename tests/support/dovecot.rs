//! A Dovecot of one test's own: configuration, sockets and mail in the scratch directory, ports on an own address.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    LoopbackAddress, Release, Scratch,
    server::{kill, run, wait_until},
};

/// A running Dovecot 2.3; stopped on drop, by its own configuration.
pub struct Dovecot {
    root: PathBuf,
}

/// Who knows the passwords of a Dovecot as it comes from the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// A file of its own (`passdb passwd-file`).
    File,
    /// The system, by PAM (`passdb pam`); the users are in files that only this Dovecot sees in the place of the system's.
    Pam,
}

/// What a Dovecot as it comes from the package is given.
pub struct Fresh<'a> {
    /// Who knows the passwords.
    pub passwords: Passwords,
    /// Users, each with their password; each has a Maildir of their name without domain below `mail`.
    pub users: &'a [(&'a str, &'a str)],
    /// Where mail is.
    pub mail: &'a Path,
    /// Numbers of the user and group that mail belongs to.
    pub owner: (u32, u32),
    /// Lines of local.conf besides.
    pub local_conf: &'a str,
}

impl Dovecot {
    /// Starts a Dovecot with the package's own files and its snake-oil certificate on the address; what differs is what an operator
    /// writes into local.conf, and who knows the passwords.
    pub fn fresh(scratch: &Scratch, address: &LoopbackAddress, fresh: &Fresh<'_>) -> Self {
        let dovecot = Self::prepare(scratch, address, fresh);
        dovecot.start_prepared(scratch);
        dovecot
    }

    /// Starts what was prepared.
    pub fn start_prepared(&self, scratch: &Scratch) {
        let mut command = Command::new("unshare");
        // The mounts end with the last process that sees them.
        let mount = "for name in passwd shadow; do [ ! -e \"$1/$name\" ] || mount --bind \"$1/$name\" /etc/$name || exit 125; done; \
                     exec /usr/sbin/dovecot -c \"$1/dovecot.conf\"";
        command.args(["--mount", "--propagation", "private", "sh", "-c", mount, "sh"]);
        self.launch(scratch, command.arg(&self.root));
    }

    /// Starts what was prepared, where it does not see what is in this directory, as a service manager may have it.
    pub fn start_without(&self, scratch: &Scratch, hidden: &Path) {
        let mut command = Command::new("unshare");
        let mount = "mount -t tmpfs none \"$2\" || exit 125; exec /usr/sbin/dovecot -c \"$1/dovecot.conf\"";
        command.args(["--mount", "--propagation", "private", "sh", "-c", mount, "sh"]);
        self.launch(scratch, command.arg(&self.root).arg(hidden));
    }

    /// Runs a line of the shell where the running one is: it sees what that sees.
    pub fn shell(&self, line: &str) {
        let pid = self.pid().expect("it runs");
        run(Command::new("nsenter").args(["--target", &pid, "--mount", "sh", "-c", line]));
    }

    /// Returns lines of the shell that kill the master with all of its processes, and wait until they are gone.
    pub fn kill(&self) -> String {
        kill(&self.root.join("run/master.pid"))
    }

    /// Writes files as the package of another Debian has them, for Dovecot 2.4, with the passwords in a file and this certificate.
    pub fn prepare_of(
        release: &Release,
        scratch: &Scratch,
        address: &LoopbackAddress,
        fresh: &Fresh<'_>,
        (certificate, key): (&Path, &Path),
    ) -> Self {
        let dovecot = Self::stock(scratch, &release.file("/usr/share/dovecot"));
        let edit = |name: &str, pairs: &[(&str, &str)]| {
            let file = dovecot.root.join("conf.d").join(name);
            let text = fs::read_to_string(&file).unwrap();
            let own = pairs
                .iter()
                .fold(text.clone(), |text, (from, to)| text.replace(from, to));
            assert_ne!(own, text, "the package's {name} has changed");
            fs::write(&file, own).unwrap();
        };
        edit(
            "10-ssl.conf",
            &[
                (
                    "/etc/dovecot/private/dovecot.pem",
                    &certificate.display().to_string(),
                ),
                ("/etc/dovecot/private/dovecot.key", &key.display().to_string()),
            ],
        );
        edit(
            "10-auth.conf",
            &[("!include auth-system.conf.ext", "!include auth-lab.conf.ext")],
        );
        let root = dovecot.root.display();
        let users: String = fresh
            .users
            .iter()
            .map(|(name, password)| format!("{name}:{{PLAIN}}{password}\n"))
            .collect();
        scratch.file("dovecot/users", users);
        let (uid, gid) = fresh.owner;
        let mail = fresh.mail.display();
        scratch.file(
            "dovecot/conf.d/auth-lab.conf.ext",
            format!(
                "passdb passwd-file {{\n  passwd_file_path = {root}/users\n}}\nuserdb static {{\n  fields {{\n    uid = {uid}\n    \
                 gid = {gid}\n    home = {mail}\n  }}\n}}\n"
            ),
        );
        scratch.file(
            "dovecot/local.conf",
            format!(
                "listen = {ip}\nbase_dir = {root}/run\nstate_dir = {root}/state\nlog_path = {root}/log\ninstance_name = {root}\n\
                 protocols = imap pop3\nmail_driver = maildir\nmail_path = {mail}/%{{user | username}}\nmail_inbox_path = {mail}/%{{user | username}}\n\
                 first_valid_uid = 1\nauth_failure_delay = 1 s\n\
                 service imap-login {{\n  chroot =\n}}\nservice pop3-login {{\n  chroot =\n}}\n{local}",
                ip = address.ip(),
                local = fresh.local_conf,
            ),
        );
        dovecot
    }

    /// Starts what was prepared with the Dovecot of another Debian.
    pub fn start_of(&self, release: &Release, scratch: &Scratch) {
        self.launch(
            scratch,
            release.command("dovecot").arg("-c").arg(self.config_file()),
        );
    }

    /// Copies the package's configuration, where every service of Dovecot can read it.
    fn stock(scratch: &Scratch, stock: &Path) -> Self {
        let dovecot = Self {
            root: scratch.dir("dovecot"),
        };
        for directory in [dovecot.root.clone(), scratch.path().to_owned()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let copy = |name: &str| {
            let text = fs::read(stock.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            scratch.file(&format!("dovecot/{name}"), text);
        };
        copy("dovecot.conf");
        for entry in fs::read_dir(stock.join("conf.d")).unwrap() {
            copy(&format!(
                "conf.d/{}",
                entry.unwrap().file_name().to_string_lossy()
            ));
        }
        dovecot
    }

    /// Writes the same without starting it.
    pub fn prepare(scratch: &Scratch, address: &LoopbackAddress, fresh: &Fresh<'_>) -> Self {
        let dovecot = Self::stock(scratch, Path::new("/usr/share/dovecot"));
        let root = dovecot.root.display().to_string();
        let (uid, gid) = fresh.owner;
        let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
        let mut shadow = fs::read_to_string("/etc/shadow").unwrap();
        let mut users = String::new();
        for (name, password) in fresh.users {
            let hashed = Command::new("openssl")
                .args(["passwd", "-6", password])
                .output()
                .unwrap();
            let hashed = String::from_utf8(hashed.stdout).unwrap();
            passwd += &format!("{name}:x:{uid}:{gid}::{}:/bin/sh\n", fresh.mail.display());
            shadow += &format!("{name}:{}:20000:0:99999:7:::\n", hashed.trim());
            users += &format!("{name}:{{PLAIN}}{password}\n");
        }
        match fresh.passwords {
            Passwords::File => {
                scratch.file("dovecot/users", users);
                let auth = dovecot.root.join("conf.d/10-auth.conf");
                let text = fs::read_to_string(&auth).unwrap();
                let own = text.replace("!include auth-system.conf.ext", "!include auth-lab.conf.ext");
                assert_ne!(own, text, "the package's 10-auth.conf has changed");
                fs::write(&auth, own).unwrap();
                let lab = format!("passdb {{\n  driver = passwd-file\n  args = {root}/users\n}}\n");
                scratch.file("dovecot/conf.d/auth-lab.conf.ext", lab);
            }
            Passwords::Pam => {
                scratch.file("dovecot/passwd", passwd);
                scratch.secret_file("dovecot/shadow", shadow);
            }
        }
        // A wrong password makes nobody wait: Dovecot would have its client wait twice as long for each further one.
        scratch.file(
            "dovecot/local.conf",
            format!(
                "listen = {ip}\nbase_dir = {root}/run\nstate_dir = {root}/state\nlog_path = {root}/log\ninstance_name = {root}\n\
                 mail_location = maildir:{mail}/%n\nfirst_valid_uid = 1\nauth_failure_delay = 0\n\
                 service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n\
                 service imap-login {{\n  chroot =\n}}\nservice pop3-login {{\n  chroot =\n}}\n\
                 userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={mail}\n}}\n{local}",
                ip = address.ip(),
                mail = fresh.mail.display(),
                local = fresh.local_conf,
            ),
        );
        dovecot
    }

    fn launch(&self, scratch: &Scratch, command: &mut Command) {
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("dovecot is installed: tests/lab/install --tests");
        assert!(started.success(), "{}", self.log());
        if let Some(pid) = self.pid() {
            scratch.remember("pids", &pid);
        }
    }

    /// Returns every file of its configuration, by its path in the directory.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for directory in [self.root.clone(), self.root.join("conf.d")] {
            for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
                let path = entry.path();
                let is_ours = path
                    .extension()
                    .is_some_and(|ending| ending == "conf" || ending == "ext");
                if is_ours && path.is_file() {
                    let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }

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
        let mut command = Command::new("/usr/sbin/dovecot");
        dovecot.launch(scratch, command.arg("-c").arg(dovecot.config_file()));
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
