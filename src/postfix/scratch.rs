//! A Postfix instance of a test's own: own directories, one loopback address, stopped when dropped.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
};

use crate::env::{Env, process::Program};

/// A configured instance that listens, once started, on ports 2525, 2587 and 2465 of one address.
pub(super) struct Scratch {
    root: tempfile::TempDir,
    /// main.cf as it was when the instance was started; `None` while it is stopped.
    started_with: Option<String>,
}

impl Scratch {
    /// Writes the files of an instance, with these lines at the end of main.cf.
    ///
    /// Each test has an address of 127.0.0.0/8 for itself, so that tests can run at the same time.
    pub(super) fn new(address: &str, main_cf: &[&str]) -> Self {
        let root = tempfile::Builder::new()
            .prefix("mailcert-postfix-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc", "queue", "data", "tls"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let value = |args: &[&str]| {
            let postconf = Env::real()
                .find_program("postconf")
                .expect("postfix is installed");
            Program::new(postconf)
                .args(args)
                .run()
                .unwrap()
                .stdout_text()
                .trim()
                .to_owned()
        };
        let user = value(&["-d", "-h", "mail_owner"]);
        let uid = Program::new("/usr/bin/id")
            .args(["-u", user.as_str()])
            .run()
            .unwrap()
            .stdout_text();
        chown(root.path().join("data"), uid.trim().parse().ok(), None).unwrap();
        fs::set_permissions(root.path().join("data"), fs::Permissions::from_mode(0o700)).unwrap();
        let scratch = Self {
            root,
            started_with: None,
        };
        scratch.pair("own");
        let base = scratch.root.path().display();
        let defaults = [
            "command_directory",
            "daemon_directory",
            "shlib_directory",
            "setgid_group",
        ]
        .map(|name| format!("{name} = {}\n", value(&["-d", "-h", name])));
        let own = format!(
            "compatibility_level = 3.6\nqueue_directory = {base}/queue\ndata_directory = {base}/data\n\
             mail_owner = {user}\nmaillog_file = {base}/maillog\nmaillog_file_prefixes = /tmp\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmydestination =\nalias_maps =\n\
             myhostname = mail.example.test\nsmtpd_tls_cert_file = {base}/tls/own.crt\n\
             smtpd_tls_key_file={base}/tls/own.key\nsmtpd_tls_security_level = may\n"
        );
        scratch.write(
            "main.cf",
            &format!("{}{own}{}\n", defaults.concat(), main_cf.join("\n")),
        );
        // Linux binds every address of 127.0.0.0/8; as inet_interfaces, Postfix would want an interface that has it.
        scratch.write("master.cf", &MASTER_CF.replace("HOST", address));
        scratch
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.root.path().join("etc")
    }

    pub(super) fn tls(&self, name: &str) -> PathBuf {
        self.root.path().join("tls").join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.directory().join(name), text).unwrap();
    }

    pub(super) fn append(&self, name: &str, line: &str) {
        let path = self.directory().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}{line}\n")).unwrap();
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("maillog")).unwrap_or_default()
    }

    /// Makes a certificate and its key, `NAME.crt` and `NAME.key`.
    pub(super) fn pair(&self, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["mail.example.test".to_owned()]).unwrap();
        fs::write(
            self.tls(&format!("{name}.crt")),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        fs::write(self.tls(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(super) fn start(&mut self) {
        assert!(self.postfix("start"), "postfix did not start: {}", self.log());
        self.started_with = fs::read_to_string(self.directory().join("main.cf")).ok();
    }

    pub(super) fn stop(&mut self) {
        // A test may have left what Postfix refuses to read, even for a stop.
        if let Some(main_cf) = self.started_with.take() {
            self.write("main.cf", &main_cf);
            let stopped = self.postfix("stop");
            // A second panic while the first unwinds would hide it.
            assert!(
                stopped || std::thread::panicking(),
                "postfix did not stop: {}",
                self.log()
            );
        }
    }

    fn postfix(&self, command: &str) -> bool {
        let program = Env::real().find_program("postfix").expect("postfix is installed");
        Program::new(program)
            .arg("-c")
            .arg(self.directory())
            .arg(command)
            .run()
            .unwrap()
            .success()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.stop();
    }
}

const MASTER_CF: &str = "\
HOST:2525 inet  n       -       n       -       -       smtpd
HOST:2587 inet  n       -       n       -       -       smtpd
  -o smtpd_tls_security_level=encrypt
HOST:2465 inet  n       -       n       -       -       smtpd
  -o { smtpd_tls_wrappermode = yes }
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
proxymap  unix  -       -       n       -       -       proxymap
anvil     unix  -       -       n       -       1       anvil
showq     unix  n       -       n       -       -       showq
postlog   unix-dgram n  -       n       -       1       postlogd
";
