//! Use-cases, one file per command: request in, outcome out. No argument parsing, no printing.
//!
//! What commands share: [`Context`], the lock, and the lineages as the configuration wants them.

pub mod account;
pub mod apply;
pub mod ca;
pub mod certificates;
pub mod check;
mod client_certificate;
pub mod csr;
pub mod deploy;
mod derived;
pub mod dns;
mod doctor;
mod domains;
mod dovecot;
pub mod firewall;
pub mod heal;
pub mod hooks;
pub mod import;
pub mod init;
pub mod install;
pub mod mail;
mod note;
pub mod notify;
pub mod order;
pub mod outbound;
pub mod outcome;
pub mod passphrase;
pub mod plan;
pub mod preflight;
pub mod private_ca;
pub mod probe;
pub mod records;
mod relay_clients;
pub mod renew;
pub mod revoke;
pub mod rollout;
pub mod send_test;
mod sender_login;
pub mod sni;
mod solver;
pub mod status;
pub mod target;
pub mod tlsa;
mod trust_bundle;
pub mod undo;

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use rustix::io::Errno;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::{
    acme::order::Stop,
    config::{Certificate, Config, OutgoingLevel, Reload, RenewBefore, Verify, v1},
    env::{Env, files, leash, progress::Progress, room, signals},
    error::{Error, Result},
    model::{
        lineage::{Lineage, State},
        name::Identifier,
        schedule::Policy,
    },
    postfix::desired::Validation,
    store::{
        Store, StoreError,
        lock::{Lock, LockError},
    },
};

/// No configuration file is larger, in bytes: a hundred thousand certificates.
pub const CONFIG_LIMIT: u64 = 16 << 20;

/// What every command with a configuration works with.
pub struct Context<'a> {
    /// The door outside.
    pub env: &'a Env,
    /// Where the configuration was read.
    pub config_path: PathBuf,
    /// The configuration.
    pub config: Config,
    /// The state directory.
    pub store: Store,
    /// Where progress goes.
    pub progress: Progress,
    runtime: OnceLock<tokio::runtime::Runtime>,
    ports: OnceLock<BTreeSet<u16>>,
    doveconf: OnceLock<Option<PathBuf>>,
    validation: OnceLock<Validation>,
    services: OnceLock<Option<rollout::ChangedServices>>,
    places: OnceLock<HashMap<String, usize>>,
    default: OnceLock<Option<usize>>,
    lock: Mutex<Weak<Lock>>,
    stop: (watch::Sender<bool>, watch::Receiver<bool>),
}

impl<'a> Context<'a> {
    /// Reads the configuration and returns what a command works with.
    ///
    /// # Errors
    /// When the file is missing, may be written by others, or is wrong (exit 2).
    pub fn open(env: &'a Env, config_path: &Path, progress: Progress) -> Result<Self> {
        let config = load_config(config_path)?;
        Ok(Self::with(env, config_path, config, progress))
    }

    /// Returns what a command works with, for a configuration that was already read.
    pub fn with(env: &'a Env, config_path: &Path, config: Config, progress: Progress) -> Self {
        let store = Store::new(&config.state_directory);
        Self {
            env,
            config_path: config_path.to_owned(),
            config,
            store,
            progress,
            runtime: OnceLock::new(),
            ports: OnceLock::new(),
            doveconf: OnceLock::new(),
            validation: OnceLock::new(),
            services: OnceLock::new(),
            places: OnceLock::new(),
            default: OnceLock::new(),
            lock: Mutex::default(),
            stop: watch::channel(false),
        }
    }

    /// Returns the present moment.
    pub fn now(&self) -> OffsetDateTime {
        self.env.clock.now()
    }

    /// Runs a future to its end. The runtime is started when it is first needed: most runs need none.
    ///
    /// # Errors
    /// When the threads for it cannot be started.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let runtime = new_runtime()?;
                heed_signals(self.stop.0.clone())?;
                self.runtime.get_or_init(|| runtime)
            }
        };
        Ok(runtime.block_on(future))
    }

    /// Returns what the resolver is worth for DANE, asked once for a run and only where the configuration leans on it.
    ///
    /// Within the runtime nobody can be asked: what was found out before is returned.
    pub fn validation(&self) -> Validation {
        let outgoing = &self.config.postfix.outgoing;
        if !outgoing.manage || outgoing.level != OutgoingLevel::Dane {
            return Validation::Absent("it was not asked".to_owned());
        }
        if let Some(known) = self.validation.get() {
            return known.clone();
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            return Validation::Absent("it was not asked".to_owned());
        }
        let found = match self.wait(dns::resolver(self).validates()) {
            Ok(Ok(())) => Validation::Present,
            Ok(Err(why)) => Validation::Absent(why),
            Err(error) => Validation::Absent(error.message),
        };
        self.validation.get_or_init(|| found).clone()
    }

    /// Returns the ports that are verified. The mail servers are asked once for a run, however many certificates are ordered.
    pub fn ports(&self) -> &BTreeSet<u16> {
        self.ports.get_or_init(|| mail::ports(self))
    }

    /// Returns doveconf(1), where Dovecot is installed; it is searched for once.
    pub fn doveconf(&self) -> Option<&Path> {
        let find = || crate::dovecot::inspect::find(self.env);
        self.doveconf.get_or_init(find).as_deref()
    }

    /// Returns what the mail servers serve, where their files are not those of which all was proven; it is looked at once.
    pub fn changed_services(&self) -> Option<&rollout::ChangedServices> {
        let seen = self.services.get_or_init(|| rollout::changed_services(self));
        seen.as_ref()
    }

    /// Returns what says that the run is to end.
    pub fn stop(&self) -> Stop {
        Stop::new(self.stop.1.clone())
    }

    /// Returns whether somebody wants the run to end: nothing new is begun then.
    pub fn is_interrupted(&self) -> bool {
        *self.stop.1.borrow()
    }

    /// Takes the lock on the state directory; what this run holds already is held on.
    ///
    /// # Errors
    /// Exit 4 with the holder when another run has it.
    pub fn lock(&self, command: &str) -> Result<Arc<Lock>> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = held.upgrade() {
            return Ok(lock);
        }
        let lock = self.store.lock(command).map_err(|error| match error {
            LockError::Held(holder) => Error::not_yet(format!(
                "another run works on {}: {}",
                self.store.layout().root().display(),
                holder.trim_end()
            ))
            .remedy("try again when it has ended"),
            LockError::Store(error) => store_error("the state directory could not be locked", &error),
        })?;
        let lock = Arc::new(lock);
        *held = Arc::downgrade(&lock);
        // Where that cannot be done, nothing is lost by it.
        let _ = self.store.discard_unfinished_entry();
        Ok(lock)
    }

    /// Returns the certificates of these names, or all of them when none is given.
    ///
    /// # Errors
    /// Exit 2 for a name that the configuration does not have.
    pub fn selected(&self, names: &[String]) -> Result<Vec<&Certificate>> {
        if names.is_empty() {
            return Ok(self.config.certificates.iter().collect());
        }
        names.iter().map(|name| self.certificate(name)).collect()
    }

    /// Returns the certificate of this name, when there is one. Its place is looked up, not searched for: a configuration may
    /// have thousands, and each of them is asked for.
    pub fn find_certificate(&self, name: &str) -> Option<&Certificate> {
        let certificates = &self.config.certificates;
        let places = self.places.get_or_init(|| {
            let names = certificates.iter().map(|certificate| certificate.name.clone());
            names.zip(0..).collect()
        });
        certificates.get(*places.get(name)?)
    }

    /// Returns the certificate that Postfix names in main.cf; it is searched for once.
    pub fn default_certificate(&self) -> Option<&Certificate> {
        let place = self.default.get_or_init(|| {
            let default = self.config.default_certificate()?;
            self.config
                .certificates
                .iter()
                .position(|one| one.name == default.name)
        });
        self.config.certificates.get((*place)?)
    }

    /// Returns one certificate of the configuration.
    ///
    /// # Errors
    /// Exit 2 for a name that the configuration does not have.
    pub fn certificate(&self, name: &str) -> Result<&Certificate> {
        self.find_certificate(name).ok_or_else(|| {
            let known: Vec<&str> = self
                .config
                .certificates
                .iter()
                .map(|known| known.name.as_str())
                .collect();
            Error::usage(format!(
                "there is no lineage `{}` in {}",
                name.escape_debug(),
                self.config_path.display()
            ))
            .cause(format!("the lineages are: {}", known.join(", ")))
            .remedy(format!(
                "add a [[certificate]] with name = \"{}\", or name one of these",
                name.escape_debug()
            ))
        })
    }

    /// Reads one lineage's record.
    ///
    /// # Errors
    /// When it cannot be read, is corrupt, or is from a newer program.
    pub fn load(&self, name: &str) -> Result<Lineage> {
        let unread = format!("lineage {name} could not be read");
        self.store.load(name).map_err(|error| match &error {
            StoreError::Corrupt { .. } => Error::failed(unread).cause(&error).remedy(format!(
                "`mailcert renew {name}` makes it anew from the certificates on disk, and keeps the damaged one"
            )),
            _ => store_error(unread, &error),
        })
    }

    /// Saves one lineage's record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, lineage: &Lineage) -> Result<()> {
        self.store
            .save(lineage)
            .map_err(|error| store_error(format!("lineage {} could not be saved", lineage.name), &error))
    }

    /// Returns the last state there is to reach on this host, for lineages that some endpoint serves.
    pub fn goal(&self) -> State {
        let postfix = &self.config.postfix;
        if postfix.reload == Reload::Never {
            State::Installed
        } else if !dovecot::is_asked(self)
            && (!postfix.manage && postfix.verify == Verify::Auto
                || postfix.verify == Verify::Endpoints(Vec::new()))
        {
            State::Deployed
        } else {
            State::Verified
        }
    }
}

/// Ends orders in good order on the first SIGINT, SIGTERM or SIGHUP: challenges are taken away, and the next run resumes. What is
/// being put into service is brought to its end. The second signal ends the program at once, and hooks with it.
fn heed_signals(stop: watch::Sender<bool>) -> Result<()> {
    let heed = move |n_signals| {
        let _ = stop.send(true);
        if n_signals > 1 {
            leash::kill_all();
            std::process::exit(130);
        }
    };
    signals::heed_each(heed).map_err(|error| Error::failed("signals could not be waited for").cause(error))
}

/// Starts the async runtime.
///
/// # Errors
/// When its threads cannot be started.
pub fn new_runtime() -> Result<tokio::runtime::Runtime> {
    let failed = || Error::failed("the runtime could not be started");
    if let Err(error) = room::for_a_runtime() {
        return Err(failed()
            .cause(format!("there are too few file descriptors or threads for it: {error}"))
            .remedy("raise the limits (`ulimit -n`, `ulimit -u`, systemd's LimitNOFILE= and TasksMax=), then run it again"));
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| failed().cause(error))
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Exit 2: missing, not ours to trust, not text, or wrong, with file:line:column.
pub fn load_config(path: &Path) -> Result<Config> {
    let bytes = files::read_trusted(path, CONFIG_LIMIT).map_err(|error| {
        let message = format!("there is no usable configuration at {}", path.display());
        let failure = match error.is_of_the_machine() {
            true => Error::failed(message),
            false => Error::usage(message),
        };
        let failure = failure.cause(&error);
        match (error.reason.kind(), error.reason.raw_os_error()) {
            (ErrorKind::NotFound, _) => {
                failure.remedy("run `mailcert init`, or name the file by --config or MAILCERT_CONFIG")
            }
            (ErrorKind::PermissionDenied, Some(_)) => failure.remedy("run it as root"),
            (ErrorKind::PermissionDenied, None) => {
                failure.remedy(format!("make {} a file that only root can write", path.display()))
            }
            _ => failure.remedy("look what is there; a configuration file is text of at most 16 MiB"),
        }
    })?;
    parse_config(path, &bytes)
}

/// Checks the bytes of a configuration file.
///
/// # Errors
/// Exit 2: not text, or wrong, with file:line:column.
pub fn parse_config(path: &Path, bytes: &[u8]) -> Result<Config> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Error::usage(format!("{} is not UTF-8 text", path.display())).cause(format!("line {line}: {error}"))
    })?;
    v1::parse(path, text).map_err(|errors| config_error(path, &errors))
}

fn config_error(path: &Path, errors: &v1::ConfigErrors) -> Error {
    let failure = Error::usage(format!("{} is wrong", path.display()));
    errors.to_strings().into_iter().fold(failure, Error::cause)
}

/// Turns a failure of the store into one for the user, with what to do about the common ones.
pub fn store_error(message: impl Into<String>, error: &StoreError) -> Error {
    let failure = Error::failed(message).cause(error);
    match error {
        StoreError::Newer { .. } => failure.remedy("use the newer mailcert that wrote it"),
        StoreError::Corrupt { path, .. } => failure.remedy(format!(
            "restore {} from a backup, or move it away to start afresh",
            path.display()
        )),
        StoreError::File(error) => match remedy_of(error) {
            Some(remedy) => failure.remedy(remedy),
            None => failure,
        },
    }
}

/// Returns what to do about a file that could not be read or written, where that is known.
fn remedy_of(error: &files::FileError) -> Option<String> {
    let path = error.path.display();
    let again = "run it again; nothing that was in service was touched";
    Some(match (error.reason.kind(), error.reason.raw_os_error()) {
        (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _) => {
            format!("make room on the disk and {again}")
        }
        (ErrorKind::ReadOnlyFilesystem, _) => {
            format!(
                "the file system of {path} is mounted read-only: look at the kernel's log, then mount it read-write"
            )
        }
        (ErrorKind::IsADirectory, _) => format!("move {path} away: a file belongs there"),
        (_, Some(number)) if number == Errno::LOOP.raw_os_error() => {
            format!("remove the symbolic link {path}: a file belongs there")
        }
        (_, Some(number)) if number == Errno::IO.raw_os_error() => {
            "the disk failed: look at the kernel's log".to_owned()
        }
        (_, Some(number))
            if number == Errno::MFILE.raw_os_error() || number == Errno::NFILE.raw_os_error() =>
        {
            format!("raise the limit of open files (`ulimit -n`, systemd's LimitNOFILE=), then {again}")
        }
        (ErrorKind::PermissionDenied, Some(_)) => "run it as root".to_owned(),
        _ => return None,
    })
}

/// What the configuration wants of one lineage, kept so that [`Policy`] can borrow it.
pub struct Wanted {
    identifiers: Vec<Identifier>,
    configuration: String,
    before: Option<time::Duration>,
    ordered_by_us: bool,
    goal: State,
    max_per_day: u32,
    max_per_week: u32,
}

impl Wanted {
    /// Returns what the configuration wants of this lineage. `served`: some endpoint is to serve it.
    pub fn new(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage, served: bool) -> Self {
        let mut identifiers = certificate.identifiers.clone();
        identifiers.sort();
        let goal = if served {
            context.goal()
        } else {
            context.goal().min(State::Deployed)
        };
        let before = match context.config.renew.before {
            RenewBefore::Auto => None,
            RenewBefore::Left(left) => time::Duration::try_from(left).ok(),
        };
        Self {
            // Only a failure is held against it; a thousand lineages without one need no thousand digests.
            configuration: match lineage.failure.as_ref().or(lineage.set_aside.as_ref()) {
                Some(_) => configuration_digest(&context.config, certificate),
                None => String::new(),
            },
            before,
            ordered_by_us: certificate.issuer.is_asked_by_us(),
            goal,
            max_per_day: context.config.renew.max_per_day,
            max_per_week: context.config.renew.max_per_week,
            identifiers,
        }
    }

    /// Returns it as the scheduler takes it.
    pub fn policy(&self) -> Policy<'_> {
        Policy {
            identifiers: &self.identifiers,
            ordered_by_us: self.ordered_by_us,
            before: self.before,
            max_per_day: self.max_per_day,
            max_per_week: self.max_per_week,
            goal: self.goal,
            configuration: &self.configuration,
        }
    }
}

/// Digests what of the configuration can make an order or a deployment succeed that failed before: a failure under
/// another one is forgotten.
pub fn configuration_digest(config: &Config, certificate: &Certificate) -> String {
    let text = format!(
        "{certificate:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        config.acme, config.postfix, config.dovecot, config.dns, config.firewall, config.hooks
    );
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

/// Prints bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
