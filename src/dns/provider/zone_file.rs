//! Records written into a zone's master file, for servers that take no dynamic updates.
//!
//! The new text is judged by `named-checkzone` where it is installed, swapped in by a rename, and the server told by the
//! operator's command; when that fails, the old file comes back. A zone that changes dynamically, or that a signer writes,
//! is refused: its master file is not where it is edited.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Capabilities, Listing, Provider, Reply, Swap, Writer, zone_text::ZoneText};
use crate::{
    config,
    dns::error::{DnsError, ProviderFailure, Written},
    env::{
        Clock, files,
        process::{Output, Program, RunError, is_executable},
    },
    model::{
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::Rrset,
    },
};

/// No master file that people edit is larger, in bytes.
const LIMIT: u64 = 64 << 20;
/// Where named-checkzone(8) is.
const CHECKERS: [&str; 3] = [
    "/usr/bin/named-checkzone",
    "/usr/sbin/named-checkzone",
    "/usr/local/sbin/named-checkzone",
];

/// Master files, by zone.
#[derive(Clone)]
pub struct ZoneFiles(Arc<Place>);

struct Place {
    settings: config::provider::ZoneFile,
    clock: Clock,
}

/// What is to be done to one RRset.
struct Edit {
    name: DomainName,
    kind: RecordType,
    add: Vec<Rdata>,
    remove: Vec<Rdata>,
    ttl: u32,
    /// What it was planned on, where it was planned.
    before: Option<Vec<Rdata>>,
}

impl ZoneFiles {
    /// Returns the provider of the configuration; `clock` dates serials.
    pub fn new(settings: &config::provider::ZoneFile, clock: Clock) -> Self {
        Self(Arc::new(Place {
            settings: settings.clone(),
            clock,
        }))
    }

    /// Carries out an edit on a thread where it may block.
    async fn edit(&self, zone: &DomainName, edit: Edit) -> Result<(), DnsError> {
        let (place, zone) = (Arc::clone(&self.0), zone.clone());
        let doing = format!("change the {} records of {}", edit.kind, edit.name);
        let file = place.file(&zone);
        let work = tokio::task::spawn_blocking(move || place.edit(&zone, &edit));
        match work.await {
            Ok(done) => done,
            Err(_) => Err(failed(&file?, &doing, "it was interrupted", Written::Maybe)),
        }
    }
}

impl Provider for ZoneFiles {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            types: &RecordType::ALL,
            list: Listing::Own,
            swap: Swap::Atomic,
            writer: Writer::Machine,
        }
    }

    fn list<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Reply<'a, Rrset> {
        Box::pin(async move {
            let doing = format!("list the {kind} records of {name}");
            let file = self.0.file(zone)?;
            let text = self.0.read(&file, &doing)?;
            let zone_text = parse(&file, &text, zone, &doing)?;
            zone_text
                .rrset(name, kind)
                .map_err(|error| failed(&file, &doing, &error.to_string(), Written::No))
        })
    }

    fn add<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        ttl: u32,
    ) -> Reply<'a, ()> {
        let edit = Edit {
            name: name.clone(),
            kind: values.first().map_or(RecordType::Txt, Rdata::kind),
            add: values.to_vec(),
            remove: Vec::new(),
            ttl,
            before: None,
        };
        Box::pin(self.edit(zone, edit))
    }

    fn remove<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
    ) -> Reply<'a, ()> {
        let edit = Edit {
            name: name.clone(),
            kind: values.first().map_or(RecordType::Txt, Rdata::kind),
            add: Vec::new(),
            remove: values.to_vec(),
            ttl: 0,
            before: None,
        };
        Box::pin(self.edit(zone, edit))
    }

    fn change<'a>(&'a self, change: &'a RrsetChange) -> Reply<'a, ()> {
        let edit = Edit {
            name: change.name.clone(),
            kind: change.kind,
            add: change.add.clone(),
            remove: change.remove.clone(),
            ttl: change.ttl,
            before: Some(change.before.clone()),
        };
        Box::pin(self.edit(&change.zone, edit))
    }
}

impl Place {
    /// Returns the file of a zone.
    fn file(&self, zone: &DomainName) -> Result<PathBuf, DnsError> {
        let template = self.settings.file.to_string_lossy();
        match &self.settings.zone {
            Some(own) if own != zone => Err(DnsError::Provider(Box::new(ProviderFailure {
                provider: format!("the zone file {template}"),
                doing: format!("take records of the zone {zone}"),
                reason: format!("it is the file of {own} (dns.provider.zone)"),
                remedy: Some(
                    "write `{zone}` into dns.provider.file where the zones' names stand, or publish by hand"
                        .to_owned(),
                ),
                written: Written::No,
            }))),
            _ => Ok(template.replace("{zone}", zone.as_str()).into()),
        }
    }

    fn read(&self, file: &Path, doing: &str) -> Result<Vec<u8>, DnsError> {
        let journal = PathBuf::from(format!("{}.jnl", file.display()));
        if journal.exists() {
            return Err(DnsError::Provider(Box::new(ProviderFailure {
                provider: format!("the zone file {}", file.display()),
                doing: doing.to_owned(),
                reason: format!(
                    "{} is there: the server changes this zone dynamically, and would lose or overwrite an edit of the file",
                    journal.display()
                ),
                remedy: Some("use dns.provider of type rfc2136 for it".to_owned()),
                written: Written::No,
            })));
        }
        files::read(file, LIMIT).map_err(|error| {
            let remedy = "let dns.provider.file name the file that the server reads for this zone (`file` in named.conf); \
                          `{zone}` in it stands for the zone's name";
            with_remedy(failed(file, doing, &error.to_string(), Written::No), remedy.to_owned())
        })
    }

    fn edit(&self, zone: &DomainName, edit: &Edit) -> Result<(), DnsError> {
        let doing = format!("change the {} records of {}", edit.kind, edit.name);
        let file = self.file(zone)?;
        let no = |reason: String| failed(&file, &doing, &reason, Written::No);
        // Two runs of ours do not overwrite each other; others' editors do not know of it, so the text is compared below.
        let _lock = lock(&file).map_err(no)?;
        let old = self.read(&file, &doing)?;
        let text = parse(&file, &old, zone, &doing)?;
        if let Some(before) = &edit.before {
            let found = text
                .rrset(&edit.name, edit.kind)
                .map_err(|error| no(error.to_string()))?;
            if !found.holds_exactly(before) {
                return Err(DnsError::ChangedMeanwhile {
                    name: edit.name.clone(),
                    kind: edit.kind,
                    place: file.display().to_string(),
                    written: false,
                });
            }
        }
        let new = text
            .edited(&edit.name, (&edit.add, &edit.remove), edit.ttl, self.today())
            .map_err(|error| no(error.to_string()))?;
        let Some(new) = new else { return Ok(()) };
        judge(&new, zone).map_err(no)?;
        // Somebody may have saved it while it was judged.
        if self.read(&file, &doing)? != old {
            return Err(no(
                "it was changed meanwhile by somebody else; nothing was written".to_owned(),
            ));
        }
        files::replace_config(&file, &new)
            .map_err(|error| failed(&file, &doing, &error.to_string(), Written::Maybe))?;
        self.reload(zone).map_err(|reason| {
            // The old text again: a later reload by somebody else must not publish what we report as failed.
            match files::replace_config(&file, &old) {
                Ok(_) => {
                    // Half of a reload may have been done.
                    let _ = self.reload(zone);
                    no(format!("{reason}; the file is as it was before"))
                }
                Err(error) => failed(
                    &file,
                    &doing,
                    &format!("{reason}; and the file could not be put back: {error}"),
                    Written::Maybe,
                ),
            }
        })
    }

    /// Returns the date in UTC as `YYYYMMDD`.
    fn today(&self) -> u32 {
        let now = self.clock.now();
        let year = u32::try_from(now.year()).unwrap_or(1970);
        year * 10_000 + u32::from(u8::from(now.month())) * 100 + u32::from(now.day())
    }

    /// Tells the server of the new file.
    fn reload(&self, zone: &DomainName) -> Result<(), String> {
        let words: Vec<String> = self
            .settings
            .reload
            .iter()
            .map(|word| word.replace("{zone}", zone.as_str()))
            .collect();
        let Some((program, args)) = words.split_first() else {
            return Ok(());
        };
        let result = Program::new(program)
            .args(args)
            .timeout(self.settings.timeout)
            .directory("/")
            .run();
        outcome(&format!("`{}`", words.join(" ")), result)
    }
}

fn outcome(what: &str, result: Result<Output, RunError>) -> Result<(), String> {
    match result {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => Err(format!("{what} failed: {}", output.complaint().trim())),
        Err(error) => Err(format!("{what} failed: {error}")),
    }
}

/// Takes the lock of a file's directory; it goes with the handle.
fn lock(file: &Path) -> Result<File, String> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let locked = File::open(directory).and_then(|handle| handle.lock().map(|()| handle));
    locked.map_err(|error| format!("{}: {error}", directory.display()))
}

/// Has the text judged by named-checkzone(8), where it is installed.
fn judge(text: &[u8], zone: &DomainName) -> Result<(), String> {
    let Some(checker) = CHECKERS.iter().find(|path| is_executable(Path::new(path))) else {
        return Ok(());
    };
    let staged =
        tempfile::NamedTempFile::new().and_then(|mut staged| staged.write_all(text).map(|()| staged));
    let staged = staged.map_err(|error| format!("no copy could be made to judge it: {error}"))?;
    // Names of servers elsewhere are not ours to judge, nor to look up.
    let result = Program::new(*checker)
        .args(["-i", "local"])
        .arg(zone.as_str())
        .arg(staged.path())
        .directory("/")
        .run();
    outcome("named-checkzone", result)
}

fn parse(file: &Path, text: &[u8], zone: &DomainName, doing: &str) -> Result<ZoneText, DnsError> {
    ZoneText::parse(text, zone).map_err(|error| {
        let remedy = format!(
            "mend the line, or let dns.provider.file name the zone's master file as text; `named-checkzone {zone} {}` judges it",
            file.display()
        );
        with_remedy(failed(file, doing, &error.to_string(), Written::No), remedy)
    })
}

/// Adds what the operator can do.
fn with_remedy(error: DnsError, remedy: String) -> DnsError {
    match error {
        DnsError::Provider(failure) => DnsError::Provider(Box::new(ProviderFailure {
            remedy: Some(remedy),
            ..*failure
        })),
        error => error,
    }
}

fn failed(file: &Path, doing: &str, reason: &str, written: Written) -> DnsError {
    DnsError::Provider(Box::new(ProviderFailure {
        provider: format!("the zone file {}", file.display()),
        doing: doing.to_owned(),
        reason: reason.to_owned(),
        remedy: None,
        written,
    }))
}
