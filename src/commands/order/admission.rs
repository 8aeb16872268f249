//! Asks our mirror of a CA's limits before an order is made, and keeps it on disk.
//!
//! The mirror is a courtesy: when its file cannot be read, it begins afresh, and renewals go on.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use time::OffsetDateTime;

use super::refusal::Refusal;
use crate::{
    acme::AcmeError,
    commands::{Context, account::file},
    config::{Acme, MirroredLimits},
    env::{Clock, files, progress::Progress},
    model::{
        authority::{self, short_name},
        limits::{self, Kind, Ledger, Limits, Request, Unused},
        lineage::Lineage,
        name::Identifier,
        public_suffix::PublicSuffixes,
        schedule::Urgency,
    },
    store::{Store, StoreError},
};

/// Where Debian keeps the public suffix list (package `publicsuffix`).
const PUBLIC_SUFFIXES: &str = "/usr/share/publicsuffix/public_suffix_list.dat";
/// No list is larger, in bytes.
const PUBLIC_SUFFIXES_LIMIT: u64 = 4 << 20;

/// What may be ordered at one CA.
pub(super) struct Admission {
    store: Store,
    clock: Clock,
    progress: Progress,
    suffix_list: PathBuf,
    directory: String,
    key: String,
    limits: Option<&'static Limits>,
    ledger: Mutex<Kept>,
    suffixes: OnceLock<Option<PublicSuffixes>>,
    began: OffsetDateTime,
}

/// The ledger, and whether it may be written.
struct Kept {
    ledger: Ledger,
    is_ours: bool,
}

/// What is about to be ordered.
#[derive(Clone, Copy)]
pub(super) struct Intent<'a> {
    /// The lineage's record.
    pub lineage: &'a Lineage,
    /// The names, sorted.
    pub identifiers: &'a [Identifier],
    /// The certificate that the order will say it replaces.
    pub replaces: Option<&'a str>,
    /// How the run was started.
    pub urgency: Urgency,
}

impl Admission {
    /// Reads what is known of the account's use of a CA.
    pub fn new(context: &Context<'_>, acme: &Acme) -> Self {
        let key = file::name(&acme.directory);
        let limits = match acme.limits {
            MirroredLimits::Auto => authority::limits_of(&acme.directory),
            MirroredLimits::LetsEncrypt => Some(&authority::LETS_ENCRYPT),
            MirroredLimits::None => None,
        };
        let kept = match context.store.load_limits(&key) {
            Ok(ledger) => Kept {
                ledger: ledger.unwrap_or_default(),
                is_ours: true,
            },
            Err(error) => {
                context.progress.done(&format!(
                    "what was ordered before at {} is not known, so its limits are not minded: {error}",
                    acme.directory
                ));
                Kept {
                    ledger: Ledger::default(),
                    // One of a newer program is left as it is.
                    is_ours: !matches!(error, StoreError::Newer { .. }),
                }
            }
        };
        Self {
            store: context.store.clone(),
            clock: context.env.clock,
            progress: context.progress.clone(),
            suffix_list: context.env.host_path(PUBLIC_SUFFIXES),
            directory: acme.directory.clone(),
            key,
            limits,
            ledger: Mutex::new(kept),
            suffixes: OnceLock::new(),
            began: context.now(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, kept: &Kept) {
        if !kept.is_ours {
            return;
        }
        if let Err(error) = self.store.save_limits(&self.key, &kept.ledger) {
            self.progress
                .done(&format!("the use of {} is not kept: {error}", self.directory));
        }
    }

    /// Takes what an order will use up.
    ///
    /// # Errors
    /// When the CA would refuse it, or has asked to be left alone; nothing is taken then.
    pub fn admit(&self, intent: Intent<'_>) -> Result<Request, Refusal> {
        let now = self.clock.now();
        let mut kept = self.kept();
        // A person may try again what the CA asked not to, but not over and over in the same run.
        let passes = |said_at| intent.urgency == Urgency::Forced && said_at < self.began;
        if let Some(held) = kept.ledger.held(now).filter(|held| !passes(held.said_at)) {
            return Err(Refusal::held(
                &self.directory,
                held.until,
                &format!("it asked to be left alone: {}", held.why),
            ));
        }
        let kind = limits::kind(
            intent.lineage,
            intent.identifiers,
            &self.directory,
            intent.replaces,
            now,
        );
        let request = Request {
            kind,
            identifiers: intent.identifiers.to_vec(),
            registered_domains: match (kind, self.limits) {
                (Kind::New, Some(_)) => self.registered_domains(intent.identifiers),
                _ => Vec::new(),
            },
        };
        let Some(limits) = self.limits else {
            return Ok(request);
        };
        if let Some(refusal) = kept.ledger.refuses(limits, &request, now) {
            let mut refused = Refusal::held(
                &self.directory,
                refusal.until,
                &format!(
                    "the CA would refuse it: {refusal} is the limit of {}",
                    short_name(&self.directory)
                ),
            );
            if intent.urgency == Urgency::Forced {
                refused.error.causes.push(
                    "--force passes renew.max_per_day, renew.max_per_week and the back-off, but not the CA's own limits"
                        .to_owned(),
                );
            }
            return Err(refused);
        }
        if kind != Kind::Replacement {
            kept.ledger.take(limits, &request, now);
            self.save(&kept);
        }
        Ok(request)
    }

    /// Gives back what an order did not use up.
    pub fn give_back(&self, request: &Request, unused: Unused) {
        let Some(limits) = self.limits.filter(|_| request.kind != Kind::Replacement) else {
            return;
        };
        let mut kept = self.kept();
        kept.ledger.give_back(limits, request, unused, self.clock.now());
        self.save(&kept);
    }

    /// Counts the names that the CA could not confirm.
    pub fn count_failures(&self, kind: Kind, error: &AcmeError) {
        let (AcmeError::Challenge(failures), Some(limits)) = (error, self.limits) else {
            return;
        };
        let names = failures.iter().map(|failure| failure.identifier.as_str());
        let mut kept = self.kept();
        kept.ledger.count_failures(limits, kind, names, self.clock.now());
        self.save(&kept);
    }

    /// Keeps that the CA wants the whole account to be left alone.
    pub fn hold(&self, refusal: &Refusal) {
        let Some(until) = refusal.retry_at else { return };
        let mut kept = self.kept();
        let why = refusal.error.causes.first().unwrap_or(&refusal.error.message);
        kept.ledger.hold(until, why, self.clock.now());
        self.save(&kept);
    }

    /// Returns the registered domains of names, each once; none where the host has no list of public suffixes.
    fn registered_domains(&self, identifiers: &[Identifier]) -> Vec<String> {
        let suffixes = self.suffixes.get_or_init(|| {
            let bytes = files::read(&self.suffix_list, PUBLIC_SUFFIXES_LIMIT).ok()?;
            Some(PublicSuffixes::parse(&String::from_utf8_lossy(&bytes)))
        });
        let Some(suffixes) = suffixes else {
            return Vec::new();
        };
        let mut domains: Vec<String> = identifiers
            .iter()
            .map(|identifier| suffixes.registered_domain(identifier.base()))
            .collect();
        domains.sort();
        domains.dedup();
        domains
    }
}
