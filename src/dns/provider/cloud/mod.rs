//! Records through the HTTP APIs of DNS hosts, by dns-update.
//!
//! What dns-update 0.6 does is not taken on trust: each call stands between two listings, one at a time in a zone, and what
//! was silently not done, or took a neighbor with it, is told, the neighbor put back. Worked around here:
//! - `set_rrset` deletes first at several services, and is never called: values are added, then removed, by name.
//! - Cloudflare compares TXT in quotes: a value stored without them is "removed" with success and stays.
//! - APIs that replace a whole RRset have no precondition, so two writers lose each other's values.
//! - deSEC, Gandi and Hetzner put the TTL of what is added on the whole RRset, and no listing tells the TTL there is: it is
//!   asked from the zone's servers.
//! - Errors are text that may hold a URL with a key in it: credentials are blotted out.
//! - CAA other than issue, issuewild and iodef, and TXT that is no UTF-8, cannot be had: they are refused before a call.
//! - Route 53 is asked without a time limit: every call here has one.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use dns_update::{
    CAARecord, DnsRecord, DnsRecordType, DnsUpdater, KeyValue, MXRecord, SRVRecord, TLSARecord,
    TlsaCertUsage, TlsaMatching, TlsaSelector,
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{
    Capabilities, Listing, Provider, Reply as Answer, Swap, Writer, change_in_steps, list_from_servers,
};
use crate::{
    dns::{
        error::{DnsError, ProviderFailure, Written},
        resolver::Resolver,
    },
    model::{
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::{Rrset, Txt},
        spelled::Spelled,
    },
};

mod services;

pub use services::{Credentials, NoClient, SERVICES};

/// How long one call may take, with what dns-update asks before and after.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pauses in milliseconds before a listing is asked again that does not show a change yet; a test's API shows it at once.
const PAUSES: [u64; 4] = if cfg!(test) {
    [0; 4]
} else {
    [250, 500, 1000, 2000]
};
/// The TTL that is told where no server says it.
const UNKNOWN_TTL: u32 = 300;

/// The zones of one account at a DNS host.
pub struct Cloud<A = DnsUpdater> {
    service: String,
    api: A,
    /// Texts that are never told.
    secrets: Vec<String>,
    /// How long one call may take.
    patience: Duration,
    resolver: Resolver,
    /// One writer at a time in each zone.
    turns: Mutex<HashMap<DomainName, Arc<Mutex<()>>>>,
    /// What the operator should know.
    notes: std::sync::Mutex<Vec<String>>,
}

/// The three calls that are made.
pub trait Api: Send + Sync {
    /// Lists an RRset; a name that is not there has none.
    fn list<'a>(&'a self, zone: &'a str, name: &'a str, kind: DnsRecordType) -> Call<'a, Vec<DnsRecord>>;
    /// Adds records.
    fn add<'a>(&'a self, zone: &'a str, name: &'a str, records: Vec<DnsRecord>, ttl: u32) -> Call<'a, ()>;
    /// Removes records.
    fn remove<'a>(&'a self, zone: &'a str, name: &'a str, records: Vec<DnsRecord>) -> Call<'a, ()>;
}

/// A call on its way.
pub type Call<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, dns_update::Error>> + Send + 'a>>;

impl Api for DnsUpdater {
    fn list<'a>(&'a self, zone: &'a str, name: &'a str, kind: DnsRecordType) -> Call<'a, Vec<DnsRecord>> {
        Box::pin(async move {
            match self.list_rrset(name, kind, zone).await {
                Err(dns_update::Error::NotFound) => Ok(Vec::new()),
                listed => listed,
            }
        })
    }

    fn add<'a>(&'a self, zone: &'a str, name: &'a str, records: Vec<DnsRecord>, ttl: u32) -> Call<'a, ()> {
        let kind = records.first().map_or(DnsRecordType::TXT, kind_of);
        Box::pin(self.add_to_rrset(name, kind, ttl, records, zone))
    }

    fn remove<'a>(&'a self, zone: &'a str, name: &'a str, records: Vec<DnsRecord>) -> Call<'a, ()> {
        let kind = records.first().map_or(DnsRecordType::TXT, kind_of);
        Box::pin(self.remove_from_rrset(name, kind, records, zone))
    }
}

impl Cloud {
    /// Returns the provider for a service.
    ///
    /// # Errors
    /// When a credential is missing, unknown or refused.
    pub fn new(service: &str, credentials: &Credentials, resolver: Resolver) -> Result<Self, NoClient> {
        Ok(Self {
            service: service.to_owned(),
            api: services::connect(service, credentials)?,
            secrets: credentials.secrets(),
            patience: PATIENCE,
            resolver,
            turns: Mutex::default(),
            notes: std::sync::Mutex::default(),
        })
    }
}

/// A change that an API says it made.
#[derive(Clone, Copy)]
struct Step<'a, 'v> {
    place: Place<'a>,
    /// `add` or `remove`.
    doing: &'a str,
    /// What was to be added.
    missing: &'a [&'v Rdata],
    /// What was there and was to stay.
    neighbors: &'a [&'v Rdata],
    /// What was to be removed.
    present: &'a [&'v Rdata],
}

/// What an API did not do.
struct Outcome<'v> {
    /// Values that should be there.
    lost: Vec<&'v Rdata>,
    /// Values that should be gone.
    left: Vec<&'v Rdata>,
}

/// One RRset that is worked on.
#[derive(Clone, Copy)]
struct Place<'a> {
    zone: &'a DomainName,
    name: &'a DomainName,
    kind: RecordType,
}

impl<A: Api> Cloud<A> {
    fn failed(&self, place: Place<'_>, doing: &str, reason: &str, written: Written) -> DnsError {
        let mut reason = reason.to_owned();
        for secret in &self.secrets {
            reason = reason.replace(secret.as_str(), "…");
        }
        DnsError::Provider(Box::new(ProviderFailure {
            provider: format!("the API of {}", self.service),
            doing: format!("{doing} {} records at {}", place.kind, place.name),
            reason,
            remedy: Some("look at that host's own pages whether the zone, the records and the credentials' rights are as they should be".to_owned()),
            written,
        }))
    }

    /// Waits for a call, within its time.
    async fn call<T>(&self, place: Place<'_>, doing: &str, call: Call<'_, T>) -> Result<T, DnsError> {
        let error = match timeout(self.patience, call).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(_) => {
                let reason = format!("nothing came within {} s", self.patience.as_secs_f32());
                return Err(self.failed(place, doing, &reason, Written::Maybe));
            }
        };
        let status = status(&error);
        let written = match (status, &error) {
            (Some(401 | 403 | 404), _) | (_, dns_update::Error::Unsupported(_)) => Written::No,
            _ => Written::Maybe,
        };
        let reason = match error {
            dns_update::Error::Unauthorized => "it refuses the credentials (401)".to_owned(),
            dns_update::Error::NotFound => "it says that there is no such thing (404)".to_owned(),
            error => error.to_string(),
        };
        let mut failure = self.failed(place, doing, &reason, written);
        if let (DnsError::Provider(failure), Some(remedy)) = (&mut failure, status.and_then(remedy)) {
            failure.remedy = Some(remedy.to_owned());
        }
        Err(failure)
    }

    async fn values(&self, place: Place<'_>) -> Result<Vec<Rdata>, DnsError> {
        let kind = api_kind(place.kind);
        let listed = self.api.list(place.zone.as_str(), place.name.as_str(), kind);
        let listed = self.call(place, "list", listed).await?;
        let read = |record: &DnsRecord| {
            read(record).map_err(|reason| self.failed(place, "list", &reason, Written::No))
        };
        listed.iter().map(read).collect()
    }

    /// Adds and removes values between two listings.
    async fn between_listings(
        &self,
        place: Place<'_>,
        add: &[Rdata],
        remove: &[Rdata],
        ttl: u32,
    ) -> Result<(), DnsError> {
        let turn = Arc::clone(self.turns.lock().await.entry(place.zone.clone()).or_default());
        let _turn = turn.lock().await;
        let doing = if remove.is_empty() { "add" } else { "remove" };
        let written =
            |value: &Rdata| written(value).map_err(|reason| self.failed(place, doing, &reason, Written::No));
        let before = self.values(place).await?;
        let (zone, name) = (place.zone.as_str(), place.name.as_str());
        let missing: Vec<&Rdata> = add.iter().filter(|value| !before.contains(value)).collect();
        let present: Vec<&Rdata> = remove.iter().filter(|value| before.contains(value)).collect();
        if !missing.is_empty() {
            let records = missing
                .iter()
                .map(|value| written(value))
                .collect::<Result<_, _>>()?;
            let ttl = self.ttl(place, &before, ttl).await;
            self.call(place, doing, self.api.add(zone, name, records, ttl))
                .await?;
        }
        if !present.is_empty() {
            let records = present
                .iter()
                .map(|value| written(value))
                .collect::<Result<_, _>>()?;
            self.call(place, doing, self.api.remove(zone, name, records))
                .await?;
        }
        if missing.is_empty() && present.is_empty() {
            return Ok(());
        }
        let is_kept = |value: &&Rdata| !present.contains(value);
        let neighbors: Vec<&Rdata> = before.iter().filter(is_kept).collect();
        let step = Step {
            place,
            doing,
            missing: &missing,
            neighbors: &neighbors,
            present: &present,
        };
        let Outcome { lost, left } = self.look_again(step).await?;
        if lost.is_empty() && left.is_empty() {
            return Ok(());
        }
        if lost.is_empty() {
            let reason = format!(
                "it answered that it has, but {} is still there; is it stored in another form, without quotes?",
                shown(&left)
            );
            return Err(self.failed(place, doing, &reason, Written::Maybe));
        }
        self.put_back(step, &lost, ttl).await
    }

    /// Looks until the change is made, and no other, or for as long as an API may take to show it.
    async fn look_again<'v>(&self, step: Step<'_, 'v>) -> Result<Outcome<'v>, DnsError> {
        let mut pauses = PAUSES.iter();
        loop {
            let after = self.values(step.place).await?;
            let wanted = step.neighbors.iter().chain(step.missing).copied();
            let outcome = Outcome {
                lost: wanted.filter(|value| !after.contains(value)).collect(),
                left: step
                    .present
                    .iter()
                    .copied()
                    .filter(|value| after.contains(value))
                    .collect(),
            };
            match pauses.next() {
                Some(pause) if !(outcome.lost.is_empty() && outcome.left.is_empty()) => {
                    sleep(Duration::from_millis(*pause)).await;
                }
                _ => return Ok(outcome),
            }
        }
    }

    /// Puts back what is gone and was not to go; a neighbor that came back is told, and is no failure.
    async fn put_back(&self, step: Step<'_, '_>, lost: &[&Rdata], ttl: u32) -> Result<(), DnsError> {
        let Step { place, doing, .. } = step;
        let records: Result<Vec<DnsRecord>, String> = lost.iter().map(|value| written(value)).collect();
        let sent = match records {
            Ok(records) => {
                let again = self
                    .api
                    .add(place.zone.as_str(), place.name.as_str(), records, ttl);
                self.call(place, "put back", again).await.is_ok()
            }
            Err(_) => false,
        };
        let neighbors: Vec<&Rdata> = lost
            .iter()
            .copied()
            .filter(|value| step.neighbors.contains(value))
            .collect();
        if sent {
            let again = self.look_again(step).await?;
            if again.lost.is_empty() && again.left.is_empty() {
                if !neighbors.is_empty() {
                    self.note(format!(
                        "warning: {} {}: the API of {} dropped {} when it was to {doing} something else; put back",
                        place.name,
                        place.kind,
                        self.service,
                        shown(&neighbors)
                    ));
                }
                return Ok(());
            }
        }
        let reason = format!(
            "it answered that it has, but {} is not there{}",
            shown(lost),
            match sent {
                true => "; it was sent once more",
                false => "; and could not be sent once more",
            }
        );
        Err(self.failed(place, doing, &reason, Written::Maybe))
    }

    fn note(&self, note: String) {
        // A list of texts is whole whatever its last user did.
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(note);
    }

    /// Returns the TTL that the RRset has, or `other` where there is none or nobody says it.
    async fn ttl(&self, place: Place<'_>, existing: &[Rdata], other: u32) -> u32 {
        if existing.is_empty() {
            return other;
        }
        match list_from_servers(&self.resolver, place.zone, place.name, place.kind).await {
            Ok(rrset) if !rrset.values.is_empty() => rrset.ttl,
            _ => other,
        }
    }
}

impl<A: Api> Provider for Cloud<A> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            types: &RecordType::ALL,
            list: Listing::Own,
            swap: Swap::Compared,
            writer: Writer::Machine,
        }
    }

    fn list<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Answer<'a, Rrset> {
        Box::pin(async move {
            let place = Place { zone, name, kind };
            let values = self.values(place).await?;
            let ttl = match values.is_empty() {
                true => 0,
                false => self.ttl(place, &values, UNKNOWN_TTL).await,
            };
            Ok(Rrset { ttl, values })
        })
    }

    fn add<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        ttl: u32,
    ) -> Answer<'a, ()> {
        let kind = values.first().map_or(RecordType::Txt, Rdata::kind);
        Box::pin(self.between_listings(Place { zone, name, kind }, values, &[], ttl))
    }

    fn remove<'a>(
        &'a self,
        zone: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
    ) -> Answer<'a, ()> {
        let kind = values.first().map_or(RecordType::Txt, Rdata::kind);
        Box::pin(self.between_listings(Place { zone, name, kind }, &[], values, UNKNOWN_TTL))
    }

    fn change<'a>(&'a self, change: &'a RrsetChange) -> Answer<'a, ()> {
        Box::pin(change_in_steps(self, change))
    }

    fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn shown(values: &[&Rdata]) -> String {
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns the HTTP status of a refusal, which dns-update has in its text alone.
fn status(error: &dns_update::Error) -> Option<u16> {
    let text = match error {
        dns_update::Error::Unauthorized => return Some(401),
        dns_update::Error::NotFound => return Some(404),
        dns_update::Error::BadRequest => return Some(400),
        dns_update::Error::Api(text) => text,
        _ => return None,
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).find_map(|pair| match pair {
        [before, word] if *before == "HTTP" || before.ends_with(':') => {
            let status = word.trim_end_matches([':', ',']).parse().ok();
            status.filter(|status| (400..600).contains(status))
        }
        _ => None,
    })
}

/// Returns what the operator can do about a status.
fn remedy(status: u16) -> Option<&'static str> {
    match status {
        401 => Some(
            "compare the credentials of dns.provider with those of your account there: they may have ended",
        ),
        403 => Some(
            "give the credentials of dns.provider the right to list and to change the records of this zone",
        ),
        404 => {
            Some("look whether this zone is one of the account that the credentials of dns.provider are for")
        }
        429 => Some("it limits how often it may be asked: run it again later"),
        500.. => Some("run it again when that host is well again: its own pages may say"),
        _ => None,
    }
}

fn api_kind(kind: RecordType) -> DnsRecordType {
    match kind {
        RecordType::A => DnsRecordType::A,
        RecordType::Aaaa => DnsRecordType::AAAA,
        RecordType::Caa => DnsRecordType::CAA,
        RecordType::Cname => DnsRecordType::CNAME,
        RecordType::Mx => DnsRecordType::MX,
        RecordType::Srv => DnsRecordType::SRV,
        RecordType::Tlsa => DnsRecordType::TLSA,
        RecordType::Txt => DnsRecordType::TXT,
    }
}

fn kind_of(record: &DnsRecord) -> DnsRecordType {
    match record {
        DnsRecord::A(_) => DnsRecordType::A,
        DnsRecord::AAAA(_) => DnsRecordType::AAAA,
        DnsRecord::CAA(_) => DnsRecordType::CAA,
        DnsRecord::CNAME(_) => DnsRecordType::CNAME,
        DnsRecord::MX(_) => DnsRecordType::MX,
        DnsRecord::NS(_) => DnsRecordType::NS,
        DnsRecord::SRV(_) => DnsRecordType::SRV,
        DnsRecord::TLSA(_) => DnsRecordType::TLSA,
        DnsRecord::TXT(_) => DnsRecordType::TXT,
    }
}

/// Reads a record as dns-update has it.
fn read(record: &DnsRecord) -> Result<Rdata, String> {
    let target = |text: &str| match text.trim_end_matches('.') {
        "" => Ok(None),
        name => Spelled::from_dns(name)
            .map(Some)
            .map_err(|error| error.to_string()),
    };
    Ok(match record {
        DnsRecord::A(address) => Rdata::A(*address),
        DnsRecord::AAAA(address) => Rdata::Aaaa(*address),
        DnsRecord::CAA(caa) => {
            let (flags, tag, value) = caa.clone().decompose();
            Rdata::Caa {
                flags,
                tag,
                value: value.into_bytes(),
            }
        }
        DnsRecord::CNAME(name) => Rdata::Cname(target(name)?.ok_or("a CNAME record leads to the root")?),
        DnsRecord::MX(mx) => Rdata::Mx {
            preference: mx.priority,
            exchange: target(&mx.exchange)?,
        },
        DnsRecord::NS(_) => return Err("an NS record was listed".to_owned()),
        DnsRecord::SRV(srv) => Rdata::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: target(&srv.target)?,
        },
        DnsRecord::TLSA(tlsa) => Rdata::Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        },
        DnsRecord::TXT(text) => Rdata::Txt(Txt::from_text(text)),
    })
}

/// Returns a value as dns-update has it.
///
/// # Errors
/// When it has no such: only what is read back as the same is written.
fn written(value: &Rdata) -> Result<DnsRecord, String> {
    let target = |name: &Option<Spelled>| name.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
    let cannot = || format!("{value} cannot be written through it");
    let record = match value {
        Rdata::A(address) => DnsRecord::A(*address),
        Rdata::Aaaa(address) => DnsRecord::AAAA(*address),
        Rdata::Caa { flags, tag, value } => {
            let text = String::from_utf8(value.clone()).map_err(|_| cannot())?;
            DnsRecord::CAA(caa(*flags & 128 != 0, tag, &text).ok_or_else(cannot)?)
        }
        Rdata::Cname(name) => DnsRecord::CNAME(name.to_string()),
        Rdata::Mx { preference, exchange } => DnsRecord::MX(MXRecord {
            exchange: target(exchange),
            priority: *preference,
        }),
        Rdata::Srv {
            priority,
            weight,
            port,
            target: host,
        } => DnsRecord::SRV(SRVRecord {
            target: target(host),
            priority: *priority,
            weight: *weight,
            port: *port,
        }),
        Rdata::Tlsa {
            usage,
            selector,
            matching,
            data,
        } => DnsRecord::TLSA(TLSARecord {
            cert_usage: match usage {
                0 => TlsaCertUsage::PkixTa,
                1 => TlsaCertUsage::PkixEe,
                2 => TlsaCertUsage::DaneTa,
                3 => TlsaCertUsage::DaneEe,
                _ => return Err(cannot()),
            },
            selector: match selector {
                0 => TlsaSelector::Full,
                1 => TlsaSelector::Spki,
                _ => return Err(cannot()),
            },
            matching: match matching {
                0 => TlsaMatching::Raw,
                1 => TlsaMatching::Sha256,
                2 => TlsaMatching::Sha512,
                _ => return Err(cannot()),
            },
            cert_data: data.clone(),
        }),
        Rdata::Txt(txt) => DnsRecord::TXT(String::from_utf8(txt.joined()).map_err(|_| cannot())?),
    };
    match read(&record) {
        // Where a text is cut into strings is the host's own affair.
        Ok(back) if back == *value || matches!(value, Rdata::Txt(_)) => Ok(record),
        _ => Err(cannot()),
    }
}

fn caa(issuer_critical: bool, tag: &str, value: &str) -> Option<CAARecord> {
    let mut parts = value.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
    let option = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    };
    let options: Vec<KeyValue> = parts.filter(|part| !part.is_empty()).map(option).collect();
    match tag {
        "issue" => Some(CAARecord::Issue {
            issuer_critical,
            name,
            options,
        }),
        "issuewild" => Some(CAARecord::IssueWild {
            issuer_critical,
            name,
            options,
        }),
        "iodef" => Some(CAARecord::Iodef {
            issuer_critical,
            url: value.to_owned(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Cell;

    use super::*;

    /// An API that says yes to everything, and has a fault.
    struct Faulty {
        records: Cell<Vec<DnsRecord>>,
        fault: Fault,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        /// None.
        Absent,
        /// What is added replaces what was there.
        Replaces,
        /// What is added replaces what was there, once.
        ReplacesOnce,
        /// What is to be removed stays.
        RemovesNothing,
        /// It never answers.
        Hangs,
        /// It refuses, and repeats the key.
        Tells,
    }

    impl Api for Faulty {
        fn list<'a>(&'a self, _: &'a str, _: &'a str, _: DnsRecordType) -> Call<'a, Vec<DnsRecord>> {
            let records = self.records.lock().unwrap().clone();
            if self.fault == Fault::Hangs {
                return Box::pin(std::future::pending());
            }
            Box::pin(async move { Ok(records) })
        }

        fn add<'a>(&'a self, _: &'a str, _: &'a str, records: Vec<DnsRecord>, _: u32) -> Call<'a, ()> {
            let mut all = self.records.lock().unwrap();
            let has_replaced = all.contains(&DnsRecord::TXT("new".to_owned()));
            if self.fault == Fault::Replaces || self.fault == Fault::ReplacesOnce && !has_replaced {
                all.clear();
            }
            all.extend(records);
            let told = self.fault == Fault::Tells;
            Box::pin(async move {
                match told {
                    true => Err(dns_update::Error::Api(
                        "https://x.test/?key=geheim: no".to_owned(),
                    )),
                    false => Ok(()),
                }
            })
        }

        fn remove<'a>(&'a self, _: &'a str, _: &'a str, records: Vec<DnsRecord>) -> Call<'a, ()> {
            if self.fault != Fault::RemovesNothing {
                self.records
                    .lock()
                    .unwrap()
                    .retain(|record| !records.contains(record));
            }
            Box::pin(async { Ok(()) })
        }
    }

    fn cloud(fault: Fault, records: &[&str]) -> Cloud<Faulty> {
        let records = records
            .iter()
            .map(|text| DnsRecord::TXT((*text).to_owned()))
            .collect();
        Cloud {
            service: "faulty".to_owned(),
            api: Faulty {
                records: Cell::new(records),
                fault,
            },
            secrets: vec!["geheim".to_owned()],
            patience: match fault {
                Fault::Hangs => Duration::from_millis(20),
                _ => PATIENCE,
            },
            resolver: Resolver::new(Vec::new()),
            turns: Mutex::default(),
            notes: std::sync::Mutex::default(),
        }
    }

    async fn tried(fault: Fault, add: &[&str], remove: &[&str]) -> (Result<(), String>, Vec<Rdata>) {
        let cloud = cloud(fault, &["kept", "old"]);
        let (zone, data) = ("a.test".parse().unwrap(), |texts: &[&str]| {
            texts.iter().map(|text| Rdata::text(text)).collect::<Vec<_>>()
        });
        let result = match remove.is_empty() {
            true => cloud.add(&zone, &zone, &data(add), 60).await,
            false => cloud.remove(&zone, &zone, &data(remove)).await,
        };
        let left = cloud.list(&zone, &zone, RecordType::Txt).await.unwrap().values;
        (result.map_err(|error| error.to_string()), left)
    }

    #[tokio::test]
    async fn what_was_not_done_or_took_a_neighbor_with_it_is_told() {
        let data = |texts: &[&str]| texts.iter().map(|text| Rdata::text(text)).collect::<Vec<_>>();
        assert_eq!(
            tried(Fault::Absent, &["new"], &[]).await,
            (Ok(()), data(&["kept", "old", "new"]))
        );
        assert_eq!(
            tried(Fault::Absent, &["old"], &[]).await,
            (Ok(()), data(&["kept", "old"]))
        );
        assert_eq!(
            tried(Fault::Absent, &[], &["old", "none"]).await,
            (Ok(()), data(&["kept"]))
        );
        let (result, _) = tried(Fault::Replaces, &["new"], &[]).await;
        let told = result.unwrap_err();
        assert!(
            told.contains("\"kept\", \"old\" is not there; it was sent once more"),
            "{told}"
        );
        let once = cloud(Fault::ReplacesOnce, &["kept", "old"]);
        let zone = "a.test".parse().unwrap();
        assert_eq!(once.add(&zone, &zone, &data(&["new"]), 60).await, Ok(()));
        let left = once.list(&zone, &zone, RecordType::Txt).await.unwrap().values;
        assert_eq!(left, data(&["new", "kept", "old"]));
        assert_eq!(
            once.take_notes(),
            [
                "warning: a.test TXT: the API of faulty dropped \"kept\", \"old\" when it was to add something else; put back"
            ]
        );
        assert!(once.take_notes().is_empty());
        let (result, left) = tried(Fault::RemovesNothing, &[], &["old"]).await;
        assert!(result.unwrap_err().contains("\"old\" is still there"));
        assert_eq!(left, data(&["kept", "old"]));
        let (result, _) = tried(Fault::Tells, &["new"], &[]).await;
        let told = result.unwrap_err();
        assert!(told.contains("?key=…: no") && !told.contains("geheim"), "{told}");
    }

    #[tokio::test]
    async fn every_refusal_is_told_as_what_it_is() {
        use dns_update::Error::{Api, NotFound, Unauthorized, Unsupported};
        let zone: DomainName = "a.test".parse().unwrap();
        let place = Place {
            zone: &zone,
            name: &zone,
            kind: RecordType::Txt,
        };
        let api = |text: &str| Api(text.to_owned());
        for (error, reason, remedy, written) in [
            (
                Unauthorized,
                "refuses the credentials (401)",
                "may have ended",
                Written::No,
            ),
            (
                api("HTTP 403: {\"error\":1}"),
                "HTTP 403",
                "the right to list",
                Written::No,
            ),
            (
                api("Route53 API error: 403 Forbidden - <Code>x</Code>"),
                "403 Forbidden",
                "the right to list",
                Written::No,
            ),
            (NotFound, "(404)", "one of the account", Written::No),
            (api("HTTP 429"), "HTTP 429", "run it again later", Written::Maybe),
            (api("HTTP 500: oops"), "oops", "well again", Written::Maybe),
            (api("No zone found"), "No zone found", "own pages", Written::Maybe),
            (Unsupported("TLSA".to_owned()), "TLSA", "own pages", Written::No),
        ] {
            let cloud = cloud(Fault::Absent, &[]);
            let call: Call<'_, ()> = Box::pin(async { Err(error) });
            let DnsError::Provider(failure) = cloud.call(place, "add", call).await.unwrap_err() else {
                panic!("{reason}")
            };
            assert!(failure.reason.contains(reason), "{failure:?}");
            assert!(failure.remedy.unwrap().contains(remedy), "{reason}");
            assert_eq!(failure.written, written, "{reason}");
        }
        let listed = cloud(Fault::Hangs, &[]);
        let listed = listed.list(&zone, &zone, RecordType::Txt).await;
        let told = listed.unwrap_err().to_string();
        assert!(told.contains("nothing came within 0.02 s"), "{told}");
    }

    #[test]
    fn writes_only_what_is_read_back_as_the_same() {
        use RecordType::{Caa, Mx, Srv, Tlsa, Txt};
        let check = |kind, text: &str, is_written: bool| {
            let value = Rdata::parse(kind, text).unwrap();
            assert_eq!(written(&value).is_ok(), is_written, "{text}");
        };
        check(Mx, "10 mail.test.", true);
        check(Mx, "0 .", true);
        check(Srv, "0 1 993 mail.test.", true);
        check(Tlsa, "3 1 1 00ff", true);
        check(Tlsa, "3 1 9 00ff", false);
        check(Caa, "128 issue \"ca.test; accounturi=https://ca.test/1\"", true);
        check(Caa, "0 issuemail \"ca.test\"", false);
        check(Caa, "1 issue \"ca.test\"", false);
        check(Txt, "\"a\" \"b\"", true);
        check(Txt, "\"\\255\"", false);
    }

    #[test]
    fn every_service_says_what_it_needs() {
        for service in SERVICES {
            let mut text = "unknown_name = x\n".to_owned();
            loop {
                match services::connect(service, &Credentials::parse(&text)).err() {
                    Some(NoClient::Missing(name)) => {
                        assert!(!text.contains(&format!("\n{name} =")), "{service} {name}");
                        text += &format!("{name} = value\n");
                    }
                    Some(NoClient::Unknown(known)) => break assert!(!known.is_empty(), "{service}"),
                    // Keys that are parsed at once.
                    Some(NoClient::Refused) => break,
                    other => panic!("{service}: {other:?}"),
                }
            }
        }
        let alone = Credentials::parse("# mine\ntoken-that-stands-alone==\n");
        assert!(services::connect("cloudflare", &alone).is_ok());
        let error = services::connect("cloudflair", &alone).err();
        assert_eq!(error, Some(NoClient::NoSuchService));
    }
}
