//! A Postfix of one test's own: configuration, queue and data in the scratch directory, ports on an own address.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use super::{
    LoopbackAddress, Release, Scratch, judge,
    judge::Tls,
    server::{kill, run, tail, wait_until},
};

/// What the instance has.
pub struct PostfixOptions {
    /// Its host name.
    pub myhostname: String,
    /// Whether it starts with a self-signed certificate, as Debian's package does; else without TLS.
    pub snake_oil: bool,
    /// Whether master.cf has port 587.
    pub submission: bool,
    /// Whether master.cf has port 465.
    pub submissions: bool,
    /// Lines put after main.cf's own.
    pub main_cf: String,
    /// Lines put after master.cf's own.
    pub master_cf: String,
    /// The Debian whose Postfix it is; this machine's when there is none.
    pub release: Option<Release>,
}

impl Default for PostfixOptions {
    /// Port 25 with the snake-oil certificate, and nothing else.
    fn default() -> Self {
        Self {
            myhostname: "mail.example.test".to_owned(),
            snake_oil: true,
            submission: false,
            submissions: false,
            main_cf: String::new(),
            master_cf: String::new(),
            release: None,
        }
    }
}

/// A running Postfix.
pub struct Postfix {
    myhostname: String,
    root: PathBuf,
    address: SocketAddr,
    /// The Debian whose Postfix it is.
    pub release: Option<Release>,
}

impl Postfix {
    /// Writes the instance and starts it on the address.
    pub fn start(scratch: &Scratch, address: &LoopbackAddress, options: &PostfixOptions) -> Self {
        let postfix = Self::prepare(scratch, address, options);
        postfix.launch();
        scratch.remember("pids", &postfix.master_pid().expect("a master").to_string());
        postfix
    }

    /// Lets the log's socket hold more than ten lines. While master(8) reloads, postlogd(8) is down; a main.cf that
    /// Postfix warns about fills the socket then, and master waits for ever for a postlogd that it is to start itself.
    fn widen_log_socket() {
        const LIMIT: &str = "/proc/sys/net/unix/max_dgram_qlen";
        let held: u32 = fs::read_to_string(LIMIT).unwrap().trim().parse().unwrap();
        if held < 512 {
            fs::write(LIMIT, "512").unwrap();
        }
    }

    /// Writes the instance without starting it.
    pub fn prepare(scratch: &Scratch, address: &LoopbackAddress, options: &PostfixOptions) -> Self {
        Self::widen_log_socket();
        let root = scratch.dir("postfix");
        for dir in ["etc", "queue", "data"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o700)).unwrap();
        let (uid, gid) = postfix_user();
        chown(root.join("data"), Some(uid), Some(gid)).unwrap();
        let tls = if options.snake_oil {
            snake_oil(scratch, &options.myhostname)
        } else {
            String::new()
        };
        let text = main_cf(&root, address, options) + &tls + &options.main_cf;
        let main_cf = scratch.file("postfix/etc/main.cf", text);
        age(&main_cf);
        scratch.file(
            "postfix/etc/master.cf",
            master_cf(address, options) + &options.master_cf,
        );
        Self {
            myhostname: options.myhostname.clone(),
            root,
            address: address.port(25),
            release: options.release.clone(),
        }
    }

    /// Starts it and waits until port 25 takes connections.
    pub fn launch(&self) {
        wait_until("Postfix listens", || {
            // What an earlier master leaves behind when it ends may hold a start up for a moment.
            if self.master_pid().is_none() {
                let _ = self.postfix("start").output();
            }
            TcpStream::connect(self.address).is_ok()
        });
    }

    /// Stops it and waits until its master is gone.
    pub fn stop(&self) {
        let Some(pid) = self.master_pid() else { return };
        // The master's TERM handler ends its whole process group; `postfix stop` does the same with sleeps around it.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        wait_until("Postfix ends", || self.master_pid().is_none());
    }

    /// Returns lines of the shell that kill the master with all of its processes, and wait until they are gone.
    pub fn kill(&self) -> String {
        kill(&self.root.join("queue/pid/master.pid"))
    }

    /// Reloads it.
    pub fn reload(&self) {
        run(&mut self.postfix("reload"));
    }

    /// Changes main.cf as an editor would, by bytes; Postfix is not told.
    pub fn edit_main_cf(&self, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let before = fs::read(self.main_cf()).unwrap();
        fs::write(self.main_cf(), edit(before)).unwrap();
        age(&self.main_cf());
    }

    /// Returns the directory with main.cf and master.cf.
    pub fn config_directory(&self) -> PathBuf {
        self.root.join("etc")
    }

    /// Returns main.cf.
    pub fn main_cf(&self) -> PathBuf {
        self.root.join("etc/main.cf")
    }

    /// Returns master.cf.
    pub fn master_cf(&self) -> PathBuf {
        self.root.join("etc/master.cf")
    }

    /// Returns what it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Returns a port of its.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.ip(), port)
    }

    /// Returns a parameter's value as postconf sees it.
    pub fn postconf(&self, parameter: &str) -> String {
        let value = run(self
            .command("postconf")
            .arg("-c")
            .arg(self.config_directory())
            .args(["-hx", parameter]));
        value.trim_end().to_owned()
    }

    /// Returns the SHA-256 of the leaf that a port serves; port 465 is spoken to with TLS at once.
    ///
    /// # Errors
    /// What openssl printed.
    pub fn leaf_sha256(&self, port: u16) -> Result<String, String> {
        judge::leaf_sha256(self.port(port), tls_of(port), &self.myhostname)
    }

    /// Says this on port 25 and returns the last reply's last line.
    pub fn last_reply(&self, lines: &[&str]) -> String {
        let mut stream = BufReader::new(TcpStream::connect(self.port(25)).unwrap());
        let reply = |stream: &mut BufReader<TcpStream>| loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                break line;
            }
        };
        let mut last = reply(&mut stream);
        for line in lines {
            stream
                .get_mut()
                .write_all(format!("{line}\r\n").as_bytes())
                .unwrap();
            last = reply(&mut stream);
        }
        last
    }

    /// Lets openssl verify chain and name of what a port serves.
    ///
    /// # Errors
    /// What openssl printed.
    pub fn verify(&self, port: u16, root: &Path) -> Result<(), String> {
        judge::verify(self.port(port), tls_of(port), &self.myhostname, root)
    }

    /// Lets Postfix's own client judge port 25.
    pub fn finger(&self, root: &Path) -> String {
        judge::posttls_finger(&self.config_directory(), self.port(25), &self.myhostname, root)
    }

    /// Prepares a postfix(1) command for this instance.
    pub fn postfix(&self, command: &str) -> Command {
        let mut prepared = self.command("postfix");
        prepared.arg("-c").arg(self.config_directory()).arg(command);
        prepared
    }

    /// Prepares a program of the installation.
    pub fn command(&self, program: &str) -> Command {
        match &self.release {
            Some(release) => release.command(program),
            None => Command::new(program),
        }
    }

    fn log_file(&self) -> PathBuf {
        self.root.join("maillog")
    }

    /// Returns the running master's process id.
    fn master_pid(&self) -> Option<rustix::process::Pid> {
        let text = fs::read_to_string(self.root.join("queue/pid/master.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        // The file stays behind when the master ends; the process list tells.
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        if command.contains("master") {
            rustix::process::Pid::from_raw(pid)
        } else {
            None
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of what Postfix logged:\n{}", tail(&self.log_file()));
            if let Some(pid) = self.master_pid() {
                // No waiting that could panic again.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        } else {
            self.stop();
        }
    }
}

/// Makes a file look an hour old: each program of Postfix that finds main.cf younger than two seconds waits, reading it
/// again and again, until it is not.
fn age(file: &Path) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .append(true)
        .open(file)
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
}

/// Returns how TLS begins on a well-known port.
fn tls_of(port: u16) -> Tls {
    if port == 465 { Tls::Implicit } else { Tls::StartTls }
}

/// Returns main.cf without TLS.
fn main_cf(root: &Path, address: &LoopbackAddress, options: &PostfixOptions) -> String {
    let root = root.display();
    format!(
        "# A scratch instance; the comments and odd spacing are there to survive.\n\
         compatibility_level = 3.6\n\
         myhostname = {myhostname}\n\
         mydestination = $myhostname, {domain}\n\
         inet_interfaces = {ip}\n\
         inet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\n\
         queue_directory = {root}/queue\n\
         data_directory = {root}/data\n\
         maillog_file = {root}/maillog\n\
         maillog_file_prefixes = /tmp, /var\n\
         \n\
         # Mail is taken and dropped; nobody is asked who a client is.\n\
         local_transport = discard:\n\
         local_recipient_maps =\n\
         alias_maps =\n\
         smtpd_peername_lookup = no\n",
        myhostname = options.myhostname,
        domain = options
            .myhostname
            .split_once('.')
            .map_or("localdomain", |(_, domain)| domain),
        ip = address.ip(),
    )
}

/// Returns master.cf; nothing is chrooted, since the queue directory has no copies of system files.
fn master_cf(address: &LoopbackAddress, options: &PostfixOptions) -> String {
    let ip = address.ip();
    let mut text = format!("{ip}:25 inet n - n - - smtpd\n");
    if options.submission {
        text += &format!("{ip}:587 inet n - n - - smtpd\n  -o syslog_name=postfix/submission\n");
        text += "  -o smtpd_tls_security_level=encrypt\n";
    }
    if options.submissions {
        text += &format!("{ip}:465 inet n - n - - smtpd\n  -o syslog_name=postfix/submissions\n");
        text += "  -o smtpd_tls_wrappermode=yes\n";
    }
    text + SERVICES
}

/// The services that every Postfix has.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// Makes a self-signed certificate and returns the lines of main.cf that name it, as Debian's package writes them.
fn snake_oil(scratch: &Scratch, name: &str) -> String {
    let dir = scratch.dir("postfix/snake-oil");
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "3650",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            &format!("subjectAltName=DNS:{name}"),
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate));
    format!(
        "\n# TLS parameters\nsmtpd_tls_cert_file={}\nsmtpd_tls_key_file={}\nsmtpd_tls_security_level=may\n",
        certificate.display(),
        key.display()
    )
}

/// Returns uid and gid of Postfix's own user.
fn postfix_user() -> (u32, u32) {
    let user = nix::unistd::User::from_name("postfix")
        .unwrap()
        .expect("no user postfix: run tests/lab/install");
    (user.uid.as_raw(), user.gid.as_raw())
}
