//! A host without servers: a configuration, a state directory made by hand, a clock that stands still.

use std::path::{Path, PathBuf};

use mailcert::{
    env::Clock,
    model::lineage::{Deployment, Generation, Lineage, Served, State, Verify},
    store::{Store, layout::file},
};
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::support::{Mailcert, Outcome, Scratch};

/// The moment at which the tests run.
pub const NOW: OffsetDateTime = datetime!(2030-03-01 12:00 UTC);

/// A scratch directory with `mailcert.toml` and `state`.
pub struct Host {
    pub scratch: Scratch,
    pub mailcert: Mailcert,
}

impl Host {
    /// Makes a host with no configuration yet. Its `postconf` is a stub, and its root is empty.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let root = scratch.dir("root");
        let mut mailcert = Mailcert::new(Some(&scratch.path().join("mailcert.toml")), &root);
        mailcert.clock = Clock::Fixed(NOW);
        let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offline/stub");
        mailcert.vars.insert("PATH".into(), stub.into());
        Self { scratch, mailcert }
    }

    /// Makes a host whose configuration has these lineages, each from a CA that is never asked.
    pub fn with_lineages(lineages: &[&str]) -> Self {
        let host = Self::new();
        let certificates: String = lineages
            .iter()
            .map(|name| format!("\n[[certificate]]\nidentifiers = [\"{name}\"]\n"))
            .collect();
        host.write_config(&(host.config() + &certificates));
        host
    }

    /// Returns a configuration that is right and wants nothing of the network.
    pub fn config(&self) -> String {
        format!(
            "version = 1\n\
             state_directory = {:?}\n\
             \n\
             [host]\n\
             name = \"mail.example.test\"\n\
             domains = [\"example.test\"]\n\
             \n\
             [acme]\n\
             directory = \"https://127.0.0.1:1/dir\"\n\
             terms_of_service_agreed = true\n\
             \n\
             [renew]\n\
             timer = \"none\"\n\
             \n\
             [dovecot]\n\
             manage = false\n\
             \n\
             [postfix]\n\
             manage = false\n\
             verify = [\"smtp://127.0.0.1:1\"]\n\
             \n\
             [dns]\n\
             resolvers = [\"127.0.0.1:1\"]\n",
            self.state()
        )
    }

    pub fn write_config(&self, text: &str) {
        self.scratch.file("mailcert.toml", text);
    }

    pub fn config_file(&self) -> PathBuf {
        self.scratch.path().join("mailcert.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    pub fn store(&self) -> Store {
        Store::new(&self.state())
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        self.mailcert.run(args)
    }

    /// Runs a command, with the names of this run's own directories taken out of what it says.
    pub fn said(&self, args: &[&str]) -> Outcome {
        self.clean(&self.run(args))
    }

    /// Takes the names of this run's own directories out.
    pub fn clean(&self, outcome: &Outcome) -> Outcome {
        let scratch = self.scratch.path().display().to_string();
        Outcome {
            code: outcome.code,
            stdout: outcome.stdout.replace(&scratch, "SCRATCH"),
            stderr: outcome.stderr.replace(&scratch, "SCRATCH"),
        }
    }

    /// Returns the lineage's record.
    pub fn load(&self, name: &str) -> Lineage {
        self.store().load(name).unwrap()
    }

    /// Puts a lineage on disk: its record, the files of its generations, the live link.
    pub fn save(&self, lineage: &Lineage) {
        let store = self.store();
        store.save(lineage).unwrap();
        for number in lineage.generations.keys() {
            let part = |name: &str| format!("{name} of generation {number}\n");
            let fullchain = part(file::CERT) + &part(file::CHAIN);
            for (name, content) in [
                (file::PRIVKEY, part(file::PRIVKEY)),
                (file::CERT, part(file::CERT)),
                (file::CHAIN, part(file::CHAIN)),
                (file::COMBINED, part(file::PRIVKEY) + &fullchain),
                (file::FULLCHAIN, fullchain),
            ] {
                let path = store.layout().generation(&lineage.name, *number).join(name);
                let path = path
                    .strip_prefix(self.scratch.path())
                    .unwrap()
                    .display()
                    .to_string();
                self.scratch.file(&path, content);
            }
        }
        if let Some(live) = lineage.generation {
            store.point_live_at(&lineage.name, live).unwrap();
        }
    }
}

/// Returns a lineage whose newest generation is in service, issued `age` ago for 90 days.
pub fn verified(name: &str, number: u64, age: Duration) -> Lineage {
    let mut lineage = Lineage::new(name);
    lineage.state = State::Verified;
    lineage.newest = number;
    lineage.generation = Some(number);
    lineage.generations.insert(number, generation(name, number, age));
    lineage.deployment = Some(Deployment {
        generation: number,
        previous: None,
        verify: Verify::On,
        baseline: Vec::new(),
        endpoints: vec![Served {
            endpoint: "smtp://192.0.2.1:25".parse().unwrap(),
            server_name: None,
            verified: true,
            detail: "serves it".to_owned(),
        }],
        hooks: Vec::new(),
        listed: vec!["smtp://127.0.0.1:1".parse().unwrap()],
    });
    lineage
}

/// Returns what is known of a certificate issued `age` ago for 90 days.
pub fn generation(name: &str, number: u64, age: Duration) -> Generation {
    Generation {
        identifiers: vec![name.parse().unwrap()],
        not_before: NOW - age,
        not_after: NOW - age + Duration::days(90),
        leaf_sha256: format!("{number:064}"),
        spki_sha256: format!("{number:064}"),
        certificate_id: None,
        directory: Some("https://127.0.0.1:1/dir".to_owned()),
    }
}
