//! BIND as the authoritative server of the lab's names, and as the resolver of everybody in it.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    LoopbackAddress, Scratch,
    server::{Server, run},
};

/// The name of the TSIG key that may change everything.
const KEY_NAME: &str = "lab-key";

/// A zone to serve; it takes dynamic updates signed with the key.
pub struct Zone {
    /// Its origin, without the final dot; empty for the root.
    pub origin: String,
    /// Its records in master-file form, relative to the origin, without the SOA.
    pub records: String,
}

impl Zone {
    /// Returns the zone with the parents up to the root, so that climbs for an SOA or a delegation end in the lab.
    pub fn with_parents(origin: &str, nameserver: &LoopbackAddress, records: &str) -> Vec<Self> {
        let ip = nameserver.ip();
        let delegation = |child: &str| format!("{child}. NS ns1.{origin}.\n");
        let mut zones = vec![Self {
            origin: origin.to_owned(),
            records: format!("@ NS ns1\nns1 A {ip}\n{records}"),
        }];
        let mut child = origin;
        while !child.is_empty() {
            let parent = child.split_once('.').map_or("", |(_, parent)| parent);
            let own = format!("@ NS ns1.{origin}.\n");
            let glue = format!("ns1.{origin}. A {ip}\n");
            zones.push(Self {
                origin: parent.to_owned(),
                records: own + &delegation(child) + &glue,
            });
            child = parent;
        }
        zones
    }
}

/// Whether a server also asks others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It answers for its zones and nothing else.
    Authoritative,
    /// It resolves: CNAME records that lead from one of its zones into another are followed. Nobody outside is asked,
    /// since the root is one of the zones.
    Resolving,
    /// It answers for its zones, whose files are edited: it takes no dynamic updates.
    Static,
}

/// A running named.
pub struct Bind {
    server: Server,
    address: SocketAddr,
    key_file: PathBuf,
    secret_file: PathBuf,
}

impl Bind {
    /// Starts named on port 53 of the address, with a directory and a key of its own called `name`.
    pub fn start(scratch: &Scratch, name: &'static str, address: &LoopbackAddress, zones: &[Zone]) -> Self {
        Self::start_as(scratch, name, address, zones, Manner::Authoritative)
    }

    /// Starts named in this manner.
    pub fn start_as(
        scratch: &Scratch,
        name: &'static str,
        address: &LoopbackAddress,
        zones: &[Zone],
        manner: Manner,
    ) -> Self {
        let dir = scratch.dir(name);
        let key = run(Command::new("tsig-keygen").args(["-a", "hmac-sha256", KEY_NAME]));
        let secret = key
            .split('"')
            .nth(3)
            .expect("tsig-keygen prints the secret in quotes")
            .to_owned();
        let key_file = scratch.secret_file(&format!("{name}/key.conf"), &key);
        let secret_file = scratch.secret_file(&format!("{name}/secret"), secret);

        let mut conf = format!(
            "options {{\n  directory \"{dir}\";\n  listen-on port 53 {{ {ip}; }};\n  listen-on-v6 {{ none; }};\n  \
             pid-file none;\n  lock-file none;\n  session-keyfile \"{dir}/session.key\";\n  \
             recursion {recursion};\n  allow-transfer {{ any; }};\n  notify no;\n  dnssec-validation no;\n  empty-zones-enable no;\n}};\n\
             controls {{ }};\n{key}",
            dir = dir.display(),
            ip = address.ip(),
            recursion = match manner {
                Manner::Authoritative | Manner::Static => "no",
                Manner::Resolving => "yes",
            },
        );
        let policy = match manner {
            Manner::Static => String::new(),
            _ => format!("update-policy {{ grant {KEY_NAME} zonesub ANY; }};"),
        };
        for (n, zone) in zones.iter().enumerate() {
            let origin = format!("{}.", zone.origin);
            let file = format!("zone-{n}");
            let soa = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n";
            fs::write(
                dir.join(&file),
                format!("$ORIGIN {origin}\n{soa}{}", zone.records),
            )
            .unwrap();
            conf += &format!("zone \"{origin}\" {{ type primary; file \"{file}\"; {policy} }};\n");
        }
        let conf_file = scratch.secret_file(&format!("{name}/named.conf"), conf);

        // A copy: on hosts with AppArmor the profile of the installed path forbids directories like ours. Made by a
        // child, since a file that any thread of ours has open for writing, even across a fork, cannot be executed.
        run(Command::new("cp").arg(named_path()).arg(dir.join("named")));
        let mut command = Command::new(dir.join("named"));
        command
            .arg("-g")
            .arg("-c")
            .arg(conf_file)
            .args(["-n", "1"])
            .current_dir(&dir);
        let mut server = Server::spawn(scratch, name, &mut command);
        let address = address.port(53);
        server.wait_for(address);
        Self {
            server,
            address,
            key_file,
            secret_file,
        }
    }

    /// Returns where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the TSIG key's name; its algorithm is hmac-sha256.
    pub fn key_name(&self) -> &'static str {
        KEY_NAME
    }

    /// Returns the file with the TSIG key's base64 secret.
    pub fn secret_file(&self) -> &Path {
        &self.secret_file
    }

    /// Returns the file with the key as `nsupdate -k` and named take it.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// Returns the master file of the zone with this index.
    pub fn zone_file(&self, index: usize) -> PathBuf {
        self.key_file.with_file_name(format!("zone-{index}"))
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns what it printed so far: every update and refused query is there.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Asks for an RRset with dig: one line of rdata for each record, in master-file form, sorted.
    pub fn dig(&self, name: &str, rtype: &str) -> String {
        let text = self.dig_with(&["+short"], name, rtype);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// Asks with dig and options of one's own; returns all it prints.
    pub fn dig_with(&self, options: &[&str], name: &str, rtype: &str) -> String {
        dig(self.address, options, name, rtype)
    }

    /// Returns every record of a zone as text, sorted, without its SOA, whose serial grows with every update.
    pub fn zone(&self, origin: &str) -> Vec<String> {
        transfer(self.address, origin)
    }

    /// Sends an update made of nsupdate's `update` lines, signed with the key.
    pub fn nsupdate(&self, lines: &str) {
        nsupdate(self.address, &self.key_file, lines);
    }
}

/// Asks a server with dig and options of one's own; returns all it prints.
pub fn dig(server: SocketAddr, options: &[&str], name: &str, rtype: &str) -> String {
    run(Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["+norecurse", "+time=5", "+tries=3"])
        .args(options)
        .args([name, rtype]))
}

/// Returns every record of a server's zone as text, sorted, without its SOA.
pub fn transfer(server: SocketAddr, origin: &str) -> Vec<String> {
    let text = dig(server, &["+noall", "+answer", "+tcp"], origin, "AXFR");
    let lines = text.lines().filter(|line| !line.contains("SOA"));
    let mut records: Vec<String> = lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    records.sort();
    assert!(!records.is_empty(), "no transfer of {origin}");
    records
}

/// Sends a server an update made of nsupdate's `update` lines, signed with the key of the file.
pub fn nsupdate(server: SocketAddr, key_file: &Path, lines: &str) {
    let mut child = Command::new("nsupdate")
        .arg("-k")
        .arg(key_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nsupdate is missing: run tests/lab/install");
    let script = format!("server {} 53\n{lines}\nsend\n", server.ip());
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "nsupdate refused:\n{script}\n{complaint}"
    );
}

/// Returns where named is installed.
fn named_path() -> PathBuf {
    let places = ["/usr/sbin/named", "/usr/local/sbin/named"].map(PathBuf::from);
    places
        .into_iter()
        .find(|path| path.exists())
        .expect("named is missing: run tests/lab/install")
}
