//! Two network namespaces of one test's own, joined by a cable: the host on one end, the world on the other.
//!
//! Nothing in them reaches the machine's own network, and nothing that is filtered in them touches it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{Mailcert, Outcome, Scratch, server::run};

/// Distinguishes the namespaces of one process.
static N_MADE: AtomicU32 = AtomicU32::new(0);

/// The host's addresses.
pub const HOST_V4: &str = "192.0.2.1";
pub const HOST_V6: &str = "2001:db8::1";
/// The world's addresses.
pub const WORLD_V4: &str = "192.0.2.2";
pub const WORLD_V6: &str = "2001:db8::2";

/// The address families that the cable carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    Both,
    V4,
    V6,
}

/// A pair of namespaces; taken away on drop, with all that runs in them.
pub struct Namespaces {
    pub host: String,
    pub world: String,
}

impl Namespaces {
    /// Makes them.
    pub fn new(scratch: &Scratch, carries: Carries) -> Self {
        let n = N_MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("mailcert-{}-{n}{end}", std::process::id());
        let pair = Self {
            host: name("h"),
            world: name("w"),
        };
        for one in [&pair.host, &pair.world] {
            scratch.remember("namespaces", one);
            run(Command::new("ip").args(["netns", "add", one]));
            run(Command::new("ip").args(["-n", one, "link", "set", "lo", "up"]));
        }
        let (host, world) = (&pair.host, &pair.world);
        run(Command::new("ip").args([
            "link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", "eth0", "netns", world,
        ]));
        for (one, v4, v6) in [(host, HOST_V4, HOST_V6), (world, WORLD_V4, WORLD_V6)] {
            if carries != Carries::V6 {
                run(Command::new("ip").args(["-n", one, "addr", "add", &format!("{v4}/24"), "dev", "eth0"]));
            }
            if carries != Carries::V4 {
                // Without duplicate address detection it can be used at once.
                let address = format!("{v6}/64");
                run(Command::new("ip").args(["-n", one, "addr", "add", &address, "dev", "eth0", "nodad"]));
            } else {
                let off = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
                run(Command::new("ip").args(["netns", "exec", one, "sh", "-c", off]));
            }
            run(Command::new("ip").args(["-n", one, "link", "set", "eth0", "up"]));
        }
        pair
    }

    /// Loads rules of nft(8) into the host's namespace.
    pub fn filter(&self, rules: &str) {
        let mut child = self
            .in_host("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft is missing: run tests/lab/install --tests");
        writeln!(child.stdin.take().unwrap(), "{rules}").unwrap();
        assert!(child.wait().unwrap().success(), "{rules}");
    }

    /// Prepares a program to run in the host's namespace.
    pub fn in_host(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host, program]);
        command
    }

    /// Runs the built program in the host's namespace.
    pub fn mailcert(&self, mailcert: &Mailcert, args: &[&str]) -> Outcome {
        let program = mailcert.command(args);
        let output = self
            .in_host(&program.get_program().to_string_lossy())
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

    /// Has servers of the world greet whoever connects, and answer every line with a goodbye.
    pub fn greet(&self, addresses: &[SocketAddr], greeting: &'static str) {
        for address in addresses.iter().copied() {
            self.serve(address, move |stream| {
                let mut reader = BufReader::new(stream.try_clone()?);
                let mut stream = stream;
                stream.write_all(greeting.as_bytes())?;
                let mut line = String::new();
                while reader.read_line(&mut line)? > 0 {
                    stream.write_all(b"221 2.0.0 bye\r\n")?;
                    line.clear();
                }
                Ok(())
            });
        }
    }

    /// Has a name server of the world know these records, and say of every other name that there is none.
    pub fn answer(&self, address: IpAddr, records: &[(&'static str, Data)]) {
        let records = records.to_vec();
        let (ready, is_ready) = mpsc::channel();
        self.go_over(move || {
            let socket = UdpSocket::bind((address, 53)).unwrap();
            ready.send(()).unwrap();
            let mut packet = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                let reply = answer(&packet[..length], &records);
                socket.send_to(&reply, client).unwrap();
            }
        });
        is_ready.recv().expect("a name server of the world");
    }

    /// Has the host greet whoever connects.
    pub fn host_greets(&self, ports: &[u16]) {
        for port in ports.iter().copied() {
            let (ready, is_ready) = mpsc::channel();
            go_over(&self.host, move || {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
                ready.send(()).unwrap();
                for mut stream in listener.incoming().map_while(Result::ok) {
                    let _ = stream.write_all(b"220 host.test ESMTP\r\n");
                }
            });
            is_ready.recv().expect("a server of the host");
        }
    }

    /// Returns whether the world can connect to the host.
    pub fn world_connects(&self, address: SocketAddr) -> bool {
        let (result, is_so) = mpsc::channel();
        go_over(&self.world, move || {
            // A packet that is dropped gets no answer; one that passes, at once.
            let connected = TcpStream::connect_timeout(&address, Duration::from_secs(1));
            result.send(connected.is_ok()).unwrap();
        });
        is_so.recv().expect("an answer of the world")
    }

    /// Runs a thread in the world's namespace.
    fn go_over(&self, work: impl FnOnce() + Send + 'static) {
        go_over(&self.world, work);
    }

    /// Listens in the world's namespace until the test's process ends.
    fn serve(
        &self,
        address: SocketAddr,
        converse: impl Fn(TcpStream) -> std::io::Result<()> + Copy + Send + 'static,
    ) {
        let (ready, is_ready) = mpsc::channel();
        self.go_over(move || {
            let listener = TcpListener::bind(address).unwrap();
            ready.send(()).unwrap();
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || converse(stream));
            }
        });
        is_ready.recv().expect("a server of the world");
    }
}

/// Runs a thread in a namespace.
fn go_over(namespace: &str, work: impl FnOnce() + Send + 'static) {
    let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
    thread::spawn(move || {
        // This thread alone goes over; so do the sockets that it makes.
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work();
    });
}

/// The data of a record.
#[derive(Clone, Copy)]
pub enum Data {
    A(&'static str),
    Mx(&'static str),
}

impl Data {
    /// Returns type and data as they are on the wire (RFC 1035, 3.3, 3.4).
    fn wire(self) -> (u16, Vec<u8>) {
        match self {
            Self::A(address) => (1, address.parse::<Ipv4Addr>().unwrap().octets().to_vec()),
            Self::Mx(host) => {
                let labels = host.split('.').flat_map(|label| {
                    let length = u8::try_from(label.len()).unwrap();
                    [vec![length], label.as_bytes().to_vec()].concat()
                });
                (15, [0, 10].into_iter().chain(labels).chain([0]).collect())
            }
        }
    }
}

/// Returns the reply to a question (RFC 1035, 4.1).
fn answer(query: &[u8], records: &[(&str, Data)]) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let question = &query[12..at + 5];
    let asked = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let name = labels.join(".");
    let known: Vec<(u16, Vec<u8>)> = records
        .iter()
        .filter(|(owner, _)| *owner == name)
        .map(|(_, data)| data.wire())
        .collect();
    let found: Vec<&(u16, Vec<u8>)> = known.iter().filter(|(kind, _)| *kind == asked).collect();
    let code = if known.is_empty() { 3 } else { 0 };
    let count = u8::try_from(found.len()).unwrap();
    let mut reply = [
        &query[..2],
        &[0x85, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0],
        question,
    ]
    .concat();
    for (kind, data) in found {
        let length = u16::try_from(data.len()).unwrap();
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 60]);
        reply.extend(length.to_be_bytes());
        reply.extend(data);
    }
    reply
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for one in [&self.host, &self.world] {
            let _ = Command::new("ip").args(["netns", "del", one]).output();
        }
    }
}
