//! A host with a firewall of its own: a network namespace, `/etc` and `/run` that nobody else sees, and a world that knocks.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use super::{
    Mailcert, Namespaces, Outcome, Scratch,
    netns::{Carries, HOST_V4},
    server::{run, wait_until},
};

/// What is laid over the machine's own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Nothing.
    Machine,
    /// The firewalld that tests/lab/install unpacked.
    Firewalld,
}

/// The host. It ends on drop, with all that runs in it.
pub struct Filtered {
    pub namespaces: Namespaces,
    /// Keeps the mounts, and ends with its standard input.
    holder: Child,
}

impl Filtered {
    /// Makes the host.
    pub fn new(scratch: &Scratch, overlay: Overlay) -> Self {
        let namespaces = Namespaces::new(scratch, Carries::V4);
        let private = scratch.dir("private").display().to_string();
        let (usr, etc) = match overlay {
            Overlay::Machine => (String::new(), "/etc".to_owned()),
            Overlay::Firewalld => {
                let place = super::foreign::fetched("firewalld/version");
                let place = place.parent().unwrap();
                let place = place.display().to_string();
                (
                    format!("mount -t overlay overlay -o lowerdir={place}/usr:/usr /usr"),
                    format!("{place}/etc:/etc"),
                )
            }
        };
        let script = format!(
            "set -e\nmount --make-rprivate /\nmount -t tmpfs tmpfs {private}\nmkdir {private}/up {private}/work\n{usr}\n\
             mount -t overlay overlay -o lowerdir={etc},upperdir={private}/up,workdir={private}/work /etc\n\
             mount -t tmpfs tmpfs /run\nmkdir -p /run/dbus /run/lock\necho ready\nexec cat\n"
        );
        let mut holder = namespaces
            .in_host("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        scratch.remember("pids", &holder.id().to_string());
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n", "the host's files could not be laid out");
        Self { namespaces, holder }
    }

    /// Prepares a program to run in the host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.holder.id().to_string(),
            "--mount",
            "--net",
            "--",
            program,
        ]);
        command
    }

    /// Runs a program in the host to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        run(self.command(program).args(args))
    }

    /// Runs a line of a shell in the host.
    pub fn shell(&self, line: &str) -> String {
        self.run("sh", &["-c", line])
    }

    /// Runs the built program in the host.
    pub fn mailcert(&self, mailcert: &Mailcert, args: &[&str]) -> Outcome {
        let program = mailcert.command(args);
        let output = self
            .command(&program.get_program().to_string_lossy())
            .args(program.get_args())
            .env_clear()
            .envs(&mailcert.vars)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Returns those of the ports that the world can connect to.
    pub fn reached(&self, ports: &[u16]) -> Vec<u16> {
        let address = |port: &u16| SocketAddr::new(HOST_V4.parse().unwrap(), *port);
        let reached = |port: &u16| self.namespaces.world_connects(address(port));
        ports.iter().copied().filter(|port| reached(port)).collect()
    }

    /// Starts firewalld, with a bus of its own.
    pub fn start_firewalld(&self, scratch: &Scratch) {
        let bus = scratch.file(
            "bus.conf",
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>\n\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>\n",
        );
        let log = scratch.path().join("firewalld.log");
        for (program, args) in [
            (
                "dbus-daemon",
                vec![
                    "--nofork".to_owned(),
                    "--nopidfile".to_owned(),
                    format!("--config-file={}", bus.display()),
                ],
            ),
            ("firewalld", vec!["--nofork".to_owned(), "--nopid".to_owned()]),
        ] {
            let sink = fs::File::options().create(true).append(true).open(&log).unwrap();
            let child = self
                .command(program)
                .args(args)
                // By this, tests/lab/sweep knows whose it is.
                .env("MAILCERT_LAB", scratch.path().join("private"))
                .stdin(Stdio::null())
                .stdout(sink.try_clone().unwrap())
                .stderr(sink)
                .spawn()
                .unwrap();
            scratch.remember("pids", &child.id().to_string());
            // They end with the host: nobody else is in its namespaces.
            drop(child);
            if program == "dbus-daemon" {
                let is_there = "test -S /run/dbus/system_bus_socket";
                wait_until("the bus is there", || {
                    self.command("sh")
                        .args(["-c", is_there])
                        .status()
                        .unwrap()
                        .success()
                });
            }
        }
        wait_until("firewalld runs", || {
            self.command("firewall-cmd")
                .arg("--state")
                .output()
                .unwrap()
                .status
                .success()
        });
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        // Whatever runs in the host's namespace ends with it.
        let pids = Command::new("ip")
            .args(["netns", "pids", &self.namespaces.host])
            .output();
        let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let ours = std::process::id().to_string();
        for pid in pids.unwrap_or_default().lines().filter(|pid| *pid != ours) {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if let Some(mut stdin) = self.holder.stdin.take() {
            let _ = stdin.flush();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
