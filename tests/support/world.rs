//! A whole mail site in one test: a CA, a DNS server and a Postfix that know each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mailcert::env::Clock;
use time::OffsetDateTime;

use super::{
    Bind, LoopbackAddress, Mailcert, Manner, Pebble, PebbleOptions, Postfix, PostfixOptions, Scratch, Zone,
};

/// The mail host of the lab.
pub const HOST: &str = "mail.example.test";
/// Its mail domain.
pub const DOMAIN: &str = "example.test";

/// Takes Postfix out of a configuration: for tests to which only what happens at the CA matters.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what edits a configuration takes its text"
)]
pub fn without_postfix(text: String) -> String {
    text.replace("[postfix]\n", "[postfix]\nmanage = false\nverify = []\n")
}

/// What the site is like.
pub struct WorldOptions {
    /// How the CA behaves.
    pub pebble: PebbleOptions,
    /// What Postfix has.
    pub postfix: PostfixOptions,
    /// Master-file lines added to the zone `example.test`.
    pub records: String,
    /// What its DNS server takes.
    pub manner: Manner,
}

impl Default for WorldOptions {
    /// A quiet CA, a Postfix with the snake-oil certificate on port 25, no records but MX and A.
    fn default() -> Self {
        Self {
            pebble: PebbleOptions::quiet(),
            postfix: PostfixOptions::default(),
            records: String::new(),
            manner: Manner::Authoritative,
        }
    }
}

/// The site. Postfix, BIND and the place where http-01 is validated are one address; Pebble has its own.
///
/// `example.test` has an MX record that names `mail.example.test`, and that an A record with the address; every other
/// name in it (`*`) has the same A record, so that any number of identifiers can be validated.
pub struct World {
    // In this order they end.
    pub postfix: Postfix,
    pub pebble: Pebble,
    pub bind: Bind,
    pub address: LoopbackAddress,
    pub scratch: Scratch,
}

impl World {
    /// Starts a site with the defaults.
    pub fn start() -> Self {
        Self::with(&WorldOptions::default())
    }

    /// Starts a site.
    pub fn with(options: &WorldOptions) -> Self {
        let scratch = Scratch::new();
        let address = LoopbackAddress::take(&scratch);
        let ip = address.ip();
        let records = format!("@ MX 10 mail\nmail A {ip}\n*.many A {ip}\n{}", options.records);
        let bind = Bind::start_as(
            &scratch,
            "named",
            &address,
            &Zone::with_parents(DOMAIN, &address, &records),
            options.manner,
        );
        let pebble = Pebble::start(&scratch, bind.address(), &options.pebble);
        let postfix = Postfix::start(&scratch, &address, &options.postfix);
        let world = Self {
            postfix,
            pebble,
            bind,
            address,
            scratch,
        };
        world.write_root();
        world
    }

    /// Returns where mailcert keeps its state; made by mailcert.
    pub fn state_directory(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Returns where the configuration file is, or will be.
    pub fn config_file(&self) -> PathBuf {
        self.scratch.path().join("mailcert.toml")
    }

    /// Returns mailcert with this site's configuration file.
    pub fn mailcert(&self) -> Mailcert {
        Mailcert::new(Some(&self.config_file()), &self.root())
    }

    /// Returns mailcert with this site's configuration file, at another time.
    pub fn mailcert_at(&self, now: OffsetDateTime) -> Mailcert {
        Mailcert {
            clock: Clock::Fixed(now),
            ..self.mailcert()
        }
    }

    /// Returns the text of a configuration for this site; tests replace lines of it.
    pub fn config(&self) -> String {
        format!(
            "version = 1\n\
             state_directory = {state:?}\n\
             \n\
             [host]\n\
             name = \"{HOST}\"\n\
             domains = [\"{DOMAIN}\"]\n\
             \n\
             [acme]\n\
             directory = \"{directory}\"\n\
             terms_of_service_agreed = true\n\
             root_ca_file = {root_ca_file:?}\n\
             \n\
             [acme.challenge]\n\
             type = \"http-01\"\n\
             listen = [\"{http}\"]\n\
             \n\
             [[certificate]]\n\
             identifiers = [\"{HOST}\"]\n\
             \n\
             [renew]\n\
             timer = \"none\"\n\
             \n\
             [dovecot]\n\
             manage = false\n\
             \n\
             [postfix]\n\
             config_directory = {postfix:?}\n\
             \n\
             {dns}\
             publish = [\"spf\"]\n",
            state = self.state_directory(),
            directory = self.pebble.directory(),
            root_ca_file = self.pebble.root_ca_file(),
            http = self.address.port(80),
            postfix = self.postfix.config_directory(),
            dns = self.dns_config(),
        )
    }

    /// Writes [`World::config`], after `edit` had it, to [`World::config_file`].
    pub fn write_config(&self, edit: impl FnOnce(String) -> String) {
        self.scratch.file("mailcert.toml", edit(self.config()));
    }

    /// Makes main.cf name the files of the live link, as `apply` would: a first `issue` then changes no configuration.
    pub fn name_live_files(&self) {
        let live = self.state_directory().join("live").join(HOST);
        let names = format!(
            "smtpd_tls_cert_file = {live}/fullchain.pem\nsmtpd_tls_key_file = {live}/privkey.pem\n\
             smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
            live = live.display()
        );
        let kept = |line: &&[u8]| {
            !line.starts_with(b"smtpd_tls_cert_file") && !line.starts_with(b"smtpd_tls_key_file")
        };
        self.postfix.edit_main_cf(|text| {
            let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(kept).collect();
            [lines.join(&b'\n'), names.into_bytes()].concat()
        });
    }

    /// Starts a site whose port 25 serves a certificate that mailcert got; `edit` has the configuration before.
    pub fn issued(options: &WorldOptions, edit: impl FnOnce(String) -> String) -> Self {
        let world = Self::with(options);
        world.write_config(edit);
        world.name_live_files();
        world.mailcert().run(&["issue"]).expect(0);
        world
    }

    /// Returns a lineage's record.
    pub fn record(&self, lineage: &str) -> serde_json::Value {
        let path = self
            .state_directory()
            .join("lineages")
            .join(lineage)
            .join("state.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Returns the SHA-256 of the leaf in a lineage's live directory.
    pub fn live_sha256(&self, lineage: &str) -> String {
        let path = self.state_directory().join("live").join(lineage).join("cert.pem");
        let pem = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        super::judge::certificate_sha256(&pem).unwrap()
    }

    /// Writes the answers that `init` has no flag for: who takes dynamic updates, and whom to ask.
    pub fn write_answers(&self) {
        self.scratch
            .file("mailcert.toml", format!("version = 1\n\n{}", self.dns_config()));
    }

    /// Returns the arguments of an `init` that asks nothing; [`World::write_answers`] goes before it.
    pub fn init_args(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let pairs = [
            ("--host", HOST.to_owned()),
            ("--domain", DOMAIN.to_owned()),
            ("--identifier", HOST.to_owned()),
            ("--directory", self.pebble.directory()),
            ("--root-ca-file", path(self.pebble.root_ca_file())),
            ("--challenge", "http-01".to_owned()),
            ("--listen", self.address.port(80).to_string()),
            (
                "--postfix-config-directory",
                path(&self.postfix.config_directory()),
            ),
            ("--state-directory", path(&self.state_directory())),
            ("--publish", "spf".to_owned()),
            ("--timer", "none".to_owned()),
        ];
        let flags = ["init", "--yes", "--agree-to-terms", "--no-dovecot"].map(str::to_owned);
        flags
            .into_iter()
            .chain(
                pairs
                    .into_iter()
                    .flat_map(|(flag, value)| [flag.to_owned(), value]),
            )
            .collect()
    }

    /// Returns `[dns]` up to, but without, `publish`.
    fn dns_config(&self) -> String {
        format!(
            "[dns]\n\
             resolvers = [\"{server}\"]\n\
             provider = {{ type = \"rfc2136\", server = \"{server}\", key_name = \"{key}\", \
             algorithm = \"hmac-sha256\", secret_file = {secret:?} }}\n",
            server = self.bind.address(),
            key = self.bind.key_name(),
            secret = self.bind.secret_file(),
        )
    }

    /// The root of the well-known files that a run in this process sees: a Debian with a CA bundle, no systemd, no cron.
    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    fn write_root(&self) {
        for file in ["etc/os-release", "etc/ssl/certs/ca-certificates.crt"] {
            let content =
                fs::read(Path::new("/").join(file)).unwrap_or_else(|error| panic!("/{file}: {error}"));
            self.scratch.file(&format!("root/{file}"), content);
        }
    }
}
