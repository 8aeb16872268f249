//! A mail site whose certificates come from elsewhere (`issuer = "external"`): no CA server, so tests choose the dates.

use std::path::PathBuf;

use time::Duration;

use super::{
    Bind, LoopbackAddress, Mailcert, Outcome, Postfix, PostfixOptions, Scratch, Zone,
    authority::{Authority, Identity},
    world::{DOMAIN, HOST},
};

/// Postfix and BIND on one address, and a CA in memory.
pub struct Site {
    // In this order they end.
    pub postfix: Postfix,
    pub bind: Bind,
    pub authority: Authority,
    pub address: LoopbackAddress,
    pub scratch: Scratch,
}

impl Site {
    /// Starts a site with port 25 and the snake-oil certificate.
    pub fn start() -> Self {
        Self::with(PostfixOptions::default())
    }

    /// Starts a site.
    pub fn with(options: PostfixOptions) -> Self {
        Self::of(|_, _| options)
    }

    /// Starts a site whose Postfix is made to measure.
    pub fn of(options: impl FnOnce(&Scratch, &LoopbackAddress) -> PostfixOptions) -> Self {
        let scratch = Scratch::new();
        let address = LoopbackAddress::take(&scratch);
        let records = format!("@ MX 10 mail\nmail A {}\n", address.ip());
        let zones = Zone::with_parents(DOMAIN, &address, &records);
        let bind = Bind::start(&scratch, "named", &address, &zones);
        let postfix = Postfix::start(&scratch, &address, &options(&scratch, &address));
        let authority = Authority::new();
        // The host's root: a Debian whose CA bundle holds this CA, no systemd, no cron.
        scratch.file("root/etc/ssl/certs/ca-certificates.crt", authority.root());
        scratch.file("root/etc/os-release", "ID=debian\n");
        scratch.file("authority.pem", authority.root());
        let site = Self {
            postfix,
            bind,
            authority,
            address,
            scratch,
        };
        site.write_config(|text| text);
        site
    }

    /// Returns the file with the root that vouches for this site's certificates.
    pub fn root_file(&self) -> PathBuf {
        self.scratch.path().join("authority.pem")
    }

    /// Returns mailcert with this site's configuration.
    pub fn mailcert(&self) -> Mailcert {
        let root = self.scratch.path().join("root");
        let bundle = root.join("etc/ssl/certs/ca-certificates.crt");
        let release = self.postfix.release.clone();
        Mailcert {
            release: release.map(|release| release.with_bundle(&bundle)),
            ..Mailcert::new(Some(&self.scratch.path().join("mailcert.toml")), &root)
        }
    }

    /// Returns a configuration for this site; the last table is `[postfix]`.
    pub fn config(&self) -> String {
        format!(
            "version = 1\n\
             state_directory = {state:?}\n\
             [host]\n\
             name = \"{HOST}\"\n\
             domains = [\"{DOMAIN}\"]\n\
             [[certificate]]\n\
             identifiers = [\"{HOST}\"]\n\
             issuer = \"external\"\n\
             [renew]\n\
             timer = \"none\"\n\
             [dns]\n\
             resolvers = [\"{dns}\"]\n\
             [dovecot]\n\
             manage = false\n\
             [postfix]\n\
             config_directory = {postfix:?}\n",
            state = self.state(""),
            dns = self.bind.address(),
            postfix = self.postfix.config_directory(),
        )
    }

    /// Writes the configuration after `edit` had it.
    pub fn write_config(&self, edit: impl FnOnce(String) -> String) {
        self.scratch.file("mailcert.toml", edit(self.config()));
    }

    /// Returns mailcert with a program put before the system's of this name: when its last argument is `word`, it runs these lines
    /// of the shell, and then in any case the program itself, `$program`.
    pub fn mailcert_with(&self, program: &str, word: &str, lines: &str) -> Mailcert {
        let mut mailcert = self.mailcert();
        let path = mailcert.vars["PATH".as_ref() as &std::ffi::OsStr].clone();
        let path = path.to_string_lossy();
        let mut places = path.split(':').map(|place| PathBuf::from(place).join(program));
        let real = places
            .find(|place| place.is_file())
            .expect("run tests/lab/install --tests");
        let script = format!(
            "#!/bin/sh\nprogram={}\nfor last; do :; done\nif [ \"$last\" = {word} ]; then\n{lines}\nfi\nexec $program \"$@\"\n",
            real.display()
        );
        let stub = self.scratch.program(&format!("bin/{program}"), script);
        let path = format!("{}:{path}", stub.parent().unwrap().display());
        mailcert.vars.insert("PATH".into(), path.into());
        mailcert
    }

    /// Returns a path below the state directory.
    pub fn state(&self, path: &str) -> PathBuf {
        self.scratch.path().join("state").join(path)
    }

    /// Issues a certificate for the host that is valid for 90 days.
    pub fn issue(&self) -> Identity {
        self.authority.issue(HOST, Duration::days(90))
    }

    /// Has mailcert take a certificate over.
    pub fn install(&self, name: &str, identity: &Identity) -> Outcome {
        let directory = identity.leave(&self.scratch, name).display().to_string();
        self.mailcert().run(&["install", HOST, "--from", &directory])
    }

    /// Has mailcert take a new certificate over without touching Postfix, as before `postfix.manage` was switched on;
    /// the configuration then manages it, with these further lines.
    pub fn hold_certificate(&self, postfix_lines: &str) -> Identity {
        let identity = self.issue();
        self.write_config(|text| text + "manage = false\n");
        self.install("held", &identity).expect(0);
        self.write_config(|text| text + postfix_lines);
        identity
    }

    /// Returns which generation the live link points at.
    pub fn live_generation(&self) -> String {
        let target = std::fs::read_link(self.state("live").join(HOST)).unwrap();
        target.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Returns how many journal entries there are.
    pub fn n_journal_entries(&self) -> usize {
        std::fs::read_dir(self.state("journal")).map_or(0, Iterator::count)
    }

    /// Returns the lineage as `status` tells it.
    pub fn status(&self) -> serde_json::Value {
        let outcome = self.mailcert().run(&["status", "--format", "json"]);
        outcome.json()["lineages"][0].clone()
    }
}
