//! PowerDNS with a database of SQLite: dynamic updates signed by a key, and its HTTP API.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    LoopbackAddress, Scratch, Zone, bind,
    server::{Server, run, wait_until},
};

/// The name of the TSIG key that may change everything.
const KEY_NAME: &str = "lab-key";
/// Its secret, which stands for one that nobody knows.
const SECRET: &str = "YSBzZWNyZXQgZm9yIFBvd2VyRE5TIGluIHRoZSBsYWI=";
/// What the HTTP API asks for.
const API_KEY: &str = "the-key-of-the-api";
/// Where Debian keeps the tables of the database.
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// A running pdns_server.
pub struct PowerDns {
    server: Server,
    address: SocketAddr,
    api: SocketAddr,
    key_file: PathBuf,
    secret_file: PathBuf,
}

impl PowerDns {
    /// Starts it on ports 53 and 8081 of the address.
    pub fn start(scratch: &Scratch, address: &LoopbackAddress, zones: &[Zone]) -> Self {
        let dir = scratch.dir("pdns");
        let (ip, database) = (address.ip(), dir.join("zones.sqlite3"));
        let conf = format!(
            "launch=gsqlite3\ngsqlite3-database={database}\ngsqlite3-pragma-synchronous=0\nsocket-dir={dir}\n\
             local-address={ip}\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\nallow-axfr-ips=127.0.0.0/8\n\
             api=yes\napi-key={API_KEY}\nwebserver=yes\nwebserver-address={ip}\nwebserver-allow-from=127.0.0.0/8\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
             security-poll-suffix=\ndisable-syslog=yes\nguardian=no\ndaemon=no\nloglevel=6\n",
            database = database.display(),
            dir = dir.display(),
        );
        scratch.secret_file("pdns/pdns.conf", conf);
        let schema = fs::read_to_string(SCHEMA)
            .unwrap_or_else(|error| panic!("{SCHEMA}: {error}; run tests/lab/install --all"));
        let key = format!(
            "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('{KEY_NAME}', 'hmac-sha256', '{SECRET}');\n"
        );
        let tables = scratch.file("pdns/tables.sql", schema + &key);
        run(Command::new("sqlite3")
            .arg(&database)
            .stdin(Stdio::from(fs::File::open(tables).unwrap())));
        let pdnsutil = |args: &[&str]| {
            run(Command::new("pdnsutil")
                .arg(format!("--config-dir={}", dir.display()))
                .args(args));
        };
        for (n, zone) in zones.iter().enumerate() {
            let origin = format!("{}.", zone.origin);
            let soa = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n";
            let text = format!("$ORIGIN {origin}\n{soa}{}", zone.records);
            let file = scratch.file(&format!("pdns/zone-{n}"), text);
            pdnsutil(&["load-zone", &origin, &file.display().to_string()]);
            pdnsutil(&["set-meta", &origin, "TSIG-ALLOW-DNSUPDATE", KEY_NAME]);
            pdnsutil(&["set-meta", &origin, "SOA-EDIT-DNSUPDATE", "INCREASE"]);
        }
        let mut command = Command::new("/usr/sbin/pdns_server");
        command.arg(format!("--config-dir={}", dir.display()));
        let mut server = Server::spawn(scratch, "pdns", &mut command);
        let (address, api) = (address.port(53), address.port(8081));
        server.wait_for(address);
        server.wait_for(api);
        // The sockets are there before the threads that answer.
        wait_until("PowerDNS answers", || {
            let dig = Command::new("dig")
                .arg(format!("@{ip}"))
                .args(["+time=2", "+tries=1", "+short", ".", "SOA"])
                .output();
            !dig.expect("dig is missing: run tests/lab/install")
                .stdout
                .is_empty()
        });
        let key = format!("key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
        Self {
            server,
            address,
            api,
            key_file: scratch.secret_file("pdns/key.conf", key),
            secret_file: scratch.secret_file("pdns/secret", SECRET),
        }
    }

    /// Returns where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where its HTTP API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Returns what the HTTP API asks for.
    pub fn api_key(&self) -> &'static str {
        API_KEY
    }

    /// Returns the TSIG key's name; its algorithm is hmac-sha256.
    pub fn key_name(&self) -> &'static str {
        KEY_NAME
    }

    /// Returns the file with the TSIG key's base64 secret.
    pub fn secret_file(&self) -> &Path {
        &self.secret_file
    }

    /// Returns the file with the key as `nsupdate -k` takes it.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// Returns what it printed so far: every update and every call of the API is there.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Returns every record of a zone as text, sorted, without its SOA.
    pub fn zone(&self, origin: &str) -> Vec<String> {
        bind::transfer(self.address, origin)
    }

    /// Sends an update made of nsupdate's `update` lines, signed with the key.
    pub fn nsupdate(&self, lines: &str) {
        bind::nsupdate(self.address, &self.key_file, lines);
    }
}
