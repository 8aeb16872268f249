//! The key that is to follow the one in service under DANE: made before it is wanted, its record published beside the other's,
//! and the record of an earlier key taken away. How long each waits is [`crate::model::rollover`]'s to say.
//!
//! `apply dns` begins it: where it has published no TLSA record, nothing here does. From then on `renew` goes on, a step in a
//! run: a next key is on disk before its record is in the DNS, and a record is there before its key is in service (RFC 7671,
//! 8.1). What DNSSEC does not prove is not published.

use std::collections::BTreeSet;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    super::{Context, hex, store_error},
    apply, failure, known, planning,
    planning::Written,
    provider, resolver,
};
use crate::{
    config::{Certificate, Publish, ReuseKey},
    dns::{
        desired::{Family, HostKeys, Known, Wanted, tlsa},
        plan::Decision,
        sighting,
    },
    error::{Error, Result},
    model::{
        key::PrivateKey,
        lineage::Lineage,
        plan::RrsetChange,
        rdata::Rdata,
        rollover::{Keys, Rollover},
    },
};

/// Returns whether a lineage changes its key some day: then the next one is made and published ahead.
fn changes_keys(certificate: &Certificate) -> bool {
    certificate.reuse_key != ReuseKey::Always && certificate.issuer.is_asked_by_us()
}

/// Returns the key that is to follow, where one is on disk that may be used: of the kind that is wanted, and nobody else's.
pub fn next_key(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> Option<PrivateKey> {
    if !changes_keys(certificate) || !context.config.dns.publish.contains(&Publish::Tlsa) {
        return None;
    }
    let key = context.store.load_next_key(&certificate.name).ok().flatten()?;
    let digest = hex(&key.public_key_sha256());
    let is_in_service = lineage.live().is_some_and(|live| live.spki_sha256 == digest);
    let is_ours_alone = lineage.compromise_of(&digest).is_none();
    (key.key_type() == certificate.key && is_ours_alone && !is_in_service).then_some(key)
}

/// Returns whether a new certificate may be for the next key: no cache can be without its record.
pub fn may_serve(context: &Context<'_>, certificate: &Certificate, key: &PrivateKey) -> bool {
    let rollover = context.store.load_rollover(&certificate.name);
    rollover.may_serve(&hex(&key.public_key_sha256()), context.now())
}

/// The lineage's keys as the DNS has them or is to have them.
struct Situation {
    rollover: Rollover,
    in_service: String,
    next: Option<String>,
    /// Every key that is ours, by what is known here.
    ours: BTreeSet<String>,
}

impl Situation {
    fn new(context: &Context<'_>, keys: &HostKeys, written: &Written) -> Option<Self> {
        let certificate = context.default_certificate()?;
        let lineage = context.load(&certificate.name).ok()?;
        let rollover = context.store.load_rollover(&certificate.name);
        Some(Self {
            in_service: hex(&keys.in_service),
            next: keys.next.as_deref().map(hex),
            ours: ours(&lineage, &rollover, written),
            rollover,
        })
    }

    fn keys(&self) -> Keys<'_> {
        Keys {
            in_service: &self.in_service,
            next: self.next.as_deref(),
        }
    }

    fn ours(&self) -> impl Iterator<Item = &str> {
        self.ours.iter().map(String::as_str)
    }
}

/// Returns every key of a lineage that a record of ours may name.
fn ours(lineage: &Lineage, rollover: &Rollover, written: &Written) -> BTreeSet<String> {
    let of_generations = lineage
        .generations
        .values()
        .map(|generation| generation.spki_sha256.clone());
    let of_journal = written.keys().filter_map(digest_in);
    of_generations
        .chain(rollover.made().map(str::to_owned))
        .chain(of_journal)
        .collect()
}

fn digest_in(record: &Rdata) -> Option<String> {
    match record {
        Rdata::Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data,
        } => Some(hex(data)),
        _ => None,
    }
}

/// Returns the records of earlier keys that may go now.
pub fn retired(context: &Context<'_>, known: &Known, written: &Written) -> Vec<Rdata> {
    let Some(situation) = known
        .keys
        .as_ref()
        .and_then(|keys| Situation::new(context, keys, written))
    else {
        return Vec::new();
    };
    let retired = situation
        .rollover
        .retired(situation.ours(), situation.keys(), context.now());
    retired.iter().filter_map(|digest| record(digest)).collect()
}

fn record(digest: &str) -> Option<Rdata> {
    Some(tlsa(&known::octets(digest)?))
}

/// Tells what comes of the keys, and when.
pub fn outlook(context: &Context<'_>, known: &Known) -> Vec<String> {
    let (Some(keys), Some(certificate)) = (&known.keys, context.default_certificate()) else {
        return Vec::new();
    };
    let rollover = context.store.load_rollover(&certificate.name);
    let Some(next) = keys.next.as_deref().map(hex) else {
        return match changes_keys(certificate) {
            true => vec![format!(
                "{}: the key to follow is made by the next `mailcert renew`, and its record published beside the one in service",
                certificate.name
            )],
            false => Vec::new(),
        };
    };
    vec![match rollover.published(&next) {
        None => format!(
            "{}: the key to follow ({}) is not used before its record was everywhere for twice its TTL, the zone's refresh, and the life of its signatures",
            certificate.name,
            short(&next)
        ),
        Some(published) => format!(
            "{}: the key to follow ({}) may go into service from {} on: its record is everywhere since {}",
            certificate.name,
            short(&next),
            instant(published.ready_at),
            instant(published.since)
        ),
    }]
}

fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

fn instant(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

/// What came of a rollover's step.
#[derive(Debug, Default)]
pub struct Tended {
    /// What was done.
    pub notes: Vec<String>,
    /// Why it failed, where it did.
    pub error: Option<Error>,
    /// Whether the step before failed.
    pub had_failed: bool,
}

/// Goes on with the rollover that `apply dns` began. Nothing is asked of anybody while nothing is to be done. A failure stays on
/// disk until a step succeeds: `status` is red as long.
pub fn tend(context: &Context<'_>) -> Tended {
    let is_published = context.config.dns.publish.contains(&Publish::Tlsa);
    let Some(certificate) = context.default_certificate().filter(|_| is_published) else {
        return Tended::default();
    };
    let (notes, mut error) = match step_if_begun(context, certificate) {
        Ok(notes) => (notes, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut rollover = context.store.load_rollover(&certificate.name);
    let had_failed = rollover.failed().is_some();
    let why = error.as_ref().map(|error| format!("TLSA records: {error}"));
    if rollover.note_failure(why)
        && let Err(unsaved) = context.store.save_rollover(&certificate.name, &rollover)
    {
        let doing = format!("the rollover of {} could not be saved", certificate.name);
        error.get_or_insert_with(|| store_error(doing, &unsaved));
    }
    Tended {
        notes,
        error,
        had_failed,
    }
}

/// Returns why the last step of a lineage's rollover failed, where there is one and it did.
pub fn failed(context: &Context<'_>, certificate: &Certificate) -> Option<String> {
    let is_published = context.config.dns.publish.contains(&Publish::Tlsa);
    let default = context.default_certificate().filter(|_| is_published)?;
    if default.name != certificate.name {
        return None;
    }
    let rollover = context.store.load_rollover(&certificate.name);
    rollover.failed().map(str::to_owned)
}

fn step_if_begun(context: &Context<'_>, certificate: &Certificate) -> Result<Vec<String>> {
    let Some(keys) = known::keys(context) else {
        return Ok(Vec::new());
    };
    let (written, _) = Written::load(context);
    if written.keys().next().is_none() {
        return Ok(Vec::new());
    }
    let keys = with_next(context, certificate, keys)?;
    let Some(situation) = Situation::new(context, &keys, &written) else {
        return Ok(Vec::new());
    };
    let is_settled =
        situation
            .rollover
            .is_settled(situation.ours(), situation.keys(), &keys.ports, context.now());
    if is_settled {
        return Ok(Vec::new());
    }
    context
        .progress
        .step("looking after the TLSA records of this host");
    context.wait(step(context, certificate, &keys, situation.rollover))?
}

/// Makes the key to follow, where there is none.
fn with_next(context: &Context<'_>, certificate: &Certificate, mut keys: HostKeys) -> Result<HostKeys> {
    if keys.next.is_some() || !changes_keys(certificate) {
        return Ok(keys);
    }
    let name = &certificate.name;
    let key = PrivateKey::generate(certificate.key)
        .map_err(|error| Error::failed(format!("no key could be made for {name}")).cause(error))?;
    let unsaved = |error| store_error(format!("the key to follow of {name} could not be saved"), &error);
    let mut rollover = context.store.load_rollover(name);
    rollover.note_made(&hex(&key.public_key_sha256()));
    // The record first: a key that nobody knows as ours would leave its TLSA record behind.
    context.store.save_rollover(name, &rollover).map_err(unsaved)?;
    context.store.save_next_key(name, &key).map_err(unsaved)?;
    keys.next = Some(key.public_key_sha256().to_vec());
    Ok(keys)
}

/// Writes what is to be written, asks every server what it says, and remembers since when.
async fn step(
    context: &Context<'_>,
    certificate: &Certificate,
    keys: &HostKeys,
    mut rollover: Rollover,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for change in changes(context, &mut notes).await? {
        notes.extend(apply(context, &change).await?);
        let done = |what: &str, values: &[Rdata]| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            (!values.is_empty()).then(|| format!("{}: TLSA {what}: {}", change.name, values.join(", ")))
        };
        notes.extend(done("published", &change.add));
        notes.extend(done("taken away", &change.remove));
    }
    let resolver = resolver(context);
    let host = &context.config.host.name;
    let mut ports = std::collections::BTreeMap::new();
    for port in &keys.ports {
        let seen = sighting::sight(&resolver, host, *port).await.map_err(|error| {
            failure(
                format!("nobody can say which TLSA records port {port} of {host} has everywhere"),
                &error,
            )
        })?;
        ports.insert(*port, seen);
    }
    let next = keys.next.as_deref().map(hex);
    let was_known = next
        .as_deref()
        .and_then(|next| rollover.published(next))
        .is_some();
    rollover.observe(&ports, context.now());
    let unsaved = |error| {
        store_error(
            format!("the rollover of {} could not be saved", certificate.name),
            &error,
        )
    };
    context
        .store
        .save_rollover(&certificate.name, &rollover)
        .map_err(unsaved)?;
    if let (Some(next), false) = (&next, was_known)
        && let Some(published) = rollover.published(next)
    {
        notes.push(format!(
            "{}: the key to follow ({}) is published and may go into service from {} on",
            certificate.name,
            short(next),
            instant(published.ready_at)
        ));
    }
    Ok(notes)
}

/// Plans the TLSA records alone.
async fn changes(context: &Context<'_>, notes: &mut Vec<String>) -> Result<Vec<RrsetChange>> {
    let provider = provider(context)?;
    let resolver = resolver(context);
    let (written, _) = Written::load(context);
    let is_key = |wanted: &Wanted| wanted.family == Family::Tlsa;
    let survey = planning::survey(context, &resolver, Some(provider.as_ref()), written, is_key).await;
    let mut changes = Vec::new();
    for item in survey.items {
        let name = &item.wanted.name;
        let proposal = item
            .proposal
            .map_err(|error| failure(format!("the TLSA records of {name} could not be planned"), &error))?;
        match proposal.decision {
            Decision::Change(change, _) if provider.capabilities().writes(change.kind) => {
                changes.push(change);
            }
            Decision::Change(change, _) => notes.push(format!(
                "{}: dns.provider cannot write TLSA records; `mailcert records` prints them",
                change.name
            )),
            Decision::Nothing(told) => notes.extend(told),
            Decision::Refused(refusal) => notes.push(format!("{}; {}", refusal.message, refusal.remedy)),
        }
    }
    Ok(changes)
}

/// Returns what is ours among the records of a name, and the record of the key in service, for an undo.
pub fn for_undo(context: &Context<'_>) -> (Vec<Rdata>, Option<Rdata>) {
    let Some(certificate) = context.default_certificate() else {
        return (Vec::new(), None);
    };
    let Ok(lineage) = context.load(&certificate.name) else {
        return (Vec::new(), None);
    };
    let rollover = context.store.load_rollover(&certificate.name);
    let (written, _) = Written::load(context);
    let ours = ours(&lineage, &rollover, &written);
    let in_service = lineage.live().and_then(|live| record(&live.spki_sha256));
    (
        ours.iter().filter_map(|digest| record(digest)).collect(),
        in_service,
    )
}
