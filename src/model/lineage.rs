//! The succession of certificates for one set of identifiers, and how far the newest one has come. Pure.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    endpoint::{Asked, Endpoint},
    name::{DomainName, Identifier},
    revocation::{Reason, Revocation},
    steps::Steps,
};

/// The version of the saved record; a newer one is refused untouched.
pub const FORMAT: u32 = 1;

/// How far the newest generation has come (`design`, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A certificate is wanted and nothing has been done yet.
    Due,
    /// Key and intent are on disk; an order may exist at the CA.
    Ordered,
    /// The generation's directory is complete.
    Issued,
    /// The live link points at it.
    Installed,
    /// The daemons were reloaded.
    Deployed,
    /// Every endpoint serves it.
    Verified,
    /// The previous generation serves again; this one is tried again after the back-off.
    RolledBack,
}

/// One lineage as it is kept in `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// [`FORMAT`] of the program that wrote it; another one is not read.
    #[serde(deserialize_with = "this_format")]
    pub version: u32,
    /// The lineage's name.
    pub name: String,
    /// How far the newest generation has come.
    pub state: State,
    /// The generation that the live link points at.
    pub generation: Option<u64>,
    /// The newest generation that was installed or is being made; numbers are never used twice.
    pub newest: u64,
    /// What is known of the generations on disk.
    #[serde(default)]
    pub generations: BTreeMap<u64, Generation>,
    /// The order in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Orders at CAs that were down when another was asked: for the same names, the same generation and its key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_orders: Vec<Order>,
    /// What the CA said about when to renew the live generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_info: Option<RenewalInfo>,
    /// What failed last; taken away by success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// A failure of the other concern that goes on holding back what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<Failure>,
    /// Until when the CA's limits hold an order back that nobody has asked it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Certificates of this lineage that were withdrawn on our word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<Revocation>,
    /// When certificates were issued, for the caps; older than a week is dropped.
    #[serde(default, with = "instants")]
    pub issued_at: Vec<OffsetDateTime>,
    /// How the newest installed generation is being put into service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// When each step succeeded and failed last.
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    pub steps: Steps,
}

/// One key and chain on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The names in the certificate.
    pub identifiers: Vec<Identifier>,
    /// Start of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// End of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// SHA-256 of the leaf's DER, lower-case hex.
    pub leaf_sha256: String,
    /// SHA-256 of the public key's SPKI, lower-case hex.
    pub spki_sha256: String,
    /// The RFC 9773 certificate id, where the certificate has an authority key identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<String>,
    /// The directory of the CA that issued it; `None` when another client brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// An order from its intent to its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The generation it is for; its key is already on disk.
    pub generation: u64,
    /// What was asked for.
    pub identifiers: Vec<Identifier>,
    /// The CA's directory.
    pub directory: String,
    /// The order's URL, from its `Location`; `None` until the CA has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The CA's profile that it was made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The certificate it replaces (RFC 9773, 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// When it was begun.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
}

/// The CA's renewal window for one certificate (RFC 9773, 4.2), and the instant we chose in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalInfo {
    /// The certificate it is about; an answer about another one is never used.
    pub certificate_id: String,
    /// The window and our choice; `None` while the CA has not given a usable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Not to be asked again before this.
    #[serde(with = "time::serde::rfc3339")]
    pub ask_at: OffsetDateTime,
}

/// A renewal window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First instant.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// First instant after it.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
    /// The instant chosen at random inside it; kept while the window stays the same.
    #[serde(with = "time::serde::rfc3339")]
    pub chosen: OffsetDateTime,
    /// Why the window is what it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
}

/// What failed, and when it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// The failure with its causes, in one line each.
    pub message: String,
    /// Failures of this step in a row.
    pub count: u32,
    /// When it failed last.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Unattended runs leave it alone until then.
    #[serde(with = "time::serde::rfc3339")]
    pub retry_at: OffsetDateTime,
    /// Digest of the configuration that failed; another one starts afresh.
    pub configuration: String,
    /// What the operator can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<String>,
    /// Whether all that is to be done is to wait: the CA said when to come back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_yet: bool,
}

/// Why nothing was asked of the CA, though a certificate is wanted: nothing failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// When the CA may be asked.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// In words.
    pub why: String,
}

/// A step of the way that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Reload, and what belongs to it.
    Deploy,
    /// A program of the operator's that is run around it.
    Hook,
    /// Putting the generation on disk.
    Install,
    /// Getting the certificate.
    Order,
    /// Seeing it served.
    Verify,
}

/// How a generation is put into service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The generation.
    pub generation: u64,
    /// What the live link pointed at before.
    pub previous: Option<u64>,
    /// Whether endpoints are asked.
    pub verify: Verify,
    /// What each endpoint did before the change, as the prober saved it.
    #[serde(default)]
    pub baseline: Vec<Before>,
    /// What each endpoint served at last.
    #[serde(default)]
    pub endpoints: Vec<Served>,
    /// What became of each hook for this generation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// The endpoints that the configuration listed then, as they stand there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<Endpoint>,
}

/// What became of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// When it is run.
    pub event: HookEvent,
    /// What is run, in words: the same hook has the same ones in every run.
    pub hook: String,
    /// How it ended at last.
    pub outcome: HookOutcome,
    /// When that was.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub at: Option<OffsetDateTime>,
    /// Why it did not do its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// After the reload.
    Deploy,
    /// At the end of the run.
    Post,
}

/// How far a hook has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookOutcome {
    /// It did its work.
    Done,
    /// It did not.
    Failed,
    /// It asked to be tried again later.
    Later,
    /// It was started, and nobody has seen its end.
    Running,
    /// It has not been run.
    Waiting,
}

impl HookRun {
    /// Returns a hook that is still to be run.
    pub fn waiting(event: HookEvent, hook: String) -> Self {
        Self {
            event,
            hook,
            outcome: HookOutcome::Waiting,
            at: None,
            message: None,
        }
    }
}

/// What an endpoint did before a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The name that was asked for by SNI, where that is one of the SNI map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<DomainName>,
    /// The leaf it served; `None` when TLS did not complete.
    pub leaf_sha256: Option<String>,
    /// Whether it took part in a mail transaction; a refusal counts as taking part, a server fault does not.
    pub accepts_mail: bool,
}

/// What an endpoint served at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The name that was asked for by SNI, where that is one of the SNI map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<DomainName>,
    /// Whether it serves the generation.
    pub verified: bool,
    /// In words.
    pub detail: String,
}

impl Before {
    /// Returns what was asked.
    pub fn asked(&self) -> Asked {
        Asked {
            endpoint: self.endpoint.clone(),
            server_name: self.server_name.clone(),
        }
    }
}

impl Served {
    /// Returns what was asked.
    pub fn asked(&self) -> Asked {
        Asked {
            endpoint: self.endpoint.clone(),
            server_name: self.server_name.clone(),
        }
    }
}

/// Whether endpoints are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// No endpoint is to serve this lineage, or it is switched off.
    Off,
    /// Each is asked.
    On,
}

impl State {
    /// Returns the word for it in records, texts and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Ordered => "ordered",
            Self::Issued => "issued",
            Self::Installed => "installed",
            Self::Deployed => "deployed",
            Self::Verified => "verified",
            Self::RolledBack => "rolled-back",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Lineage {
    /// Returns a lineage that has nothing yet.
    pub fn new(name: &str) -> Self {
        Self {
            version: FORMAT,
            name: name.to_owned(),
            state: State::Due,
            generation: None,
            newest: 0,
            generations: BTreeMap::new(),
            order: None,
            kept_orders: Vec::new(),
            renewal_info: None,
            failure: None,
            set_aside: None,
            held: None,
            revocations: Vec::new(),
            issued_at: Vec::new(),
            deployment: None,
            steps: Steps::default(),
        }
    }

    /// Returns whether a hook has not done its work for the generation in service.
    pub fn has_unfinished_hooks(&self) -> bool {
        let in_service = self
            .deployment
            .as_ref()
            .filter(|deployment| Some(deployment.generation) == self.generation);
        in_service.is_some_and(|deployment| {
            deployment
                .hooks
                .iter()
                .any(|run| run.outcome != HookOutcome::Done)
        })
    }

    /// Returns the revocation of a generation: of its certificate, or of another one because somebody else may have the key
    /// that both have.
    pub fn revocation_of(&self, generation: &Generation) -> Option<&Revocation> {
        self.revocations
            .iter()
            .find(|revocation| revocation.leaf_sha256 == generation.leaf_sha256)
            .or_else(|| self.compromise_of(&generation.spki_sha256))
    }

    /// Returns the revocation that says that somebody else may have a key; by its SPKI's SHA-256, lower-case hex.
    pub fn compromise_of(&self, spki_sha256: &str) -> Option<&Revocation> {
        self.revocations.iter().find(|revocation| {
            revocation.reason == Reason::KeyCompromise && revocation.spki_sha256 == spki_sha256
        })
    }

    /// Keeps a revocation. After that of a compromised key, no order in flight goes on: it may be for that key. A key stays
    /// compromised, whatever reason is given when its certificate is revoked again.
    pub fn revoke(&mut self, mut revocation: Revocation) {
        /// More are never needed: generations are pruned long before.
        const MOST: usize = 100;
        if revocation.reason == Reason::KeyCompromise {
            self.order = None;
            self.kept_orders.clear();
        }
        self.revocations.retain(|kept| {
            let is_same = kept.leaf_sha256 == revocation.leaf_sha256;
            if is_same && kept.reason == Reason::KeyCompromise {
                revocation.reason = Reason::KeyCompromise;
            }
            !is_same
        });
        self.revocations.push(revocation);
        let n_surplus = self.revocations.len().saturating_sub(MOST);
        self.revocations.drain(..n_surplus);
    }

    /// Returns the generation that the live link points at.
    pub fn live(&self) -> Option<&Generation> {
        self.generations.get(&self.generation?)
    }

    /// Returns the number and record of the newest complete generation, live or not.
    pub fn newest_complete(&self) -> Option<(u64, &Generation)> {
        self.generations
            .last_key_value()
            .map(|(number, generation)| (*number, generation))
    }

    /// Returns the generation that is, or is to be, in service: the live one, unless a newer one waits to be installed or
    /// to be tried again. Somebody may have gone back to an older one on purpose.
    pub fn current(&self) -> Option<(u64, &Generation)> {
        match self.state {
            State::Due | State::Ordered | State::Issued => self.newest_complete(),
            // What was taken back is tried again, also when it was an older one that somebody had asked for.
            State::RolledBack => {
                let tried = self.deployment.as_ref().map(|deployment| deployment.generation);
                let tried = tried.and_then(|number| Some((number, self.generations.get(&number)?)));
                tried.or_else(|| self.newest_complete())
            }
            State::Installed | State::Deployed | State::Verified => {
                let live = self
                    .generation
                    .and_then(|number| Some((number, self.generations.get(&number)?)));
                live.or_else(|| self.newest_complete())
            }
        }
    }

    /// Returns which generations may be deleted so that `keep` stay: never the live one, the newest, or the one that
    /// served before a deployment that is not verified, nor the one that is to be tried again.
    pub fn prunable(&self, keep: u32) -> Vec<u64> {
        let mut protected: Vec<u64> = self.generation.into_iter().collect();
        protected.extend(self.newest_complete().map(|(number, _)| number));
        if self.state != State::Verified
            && let Some(deployment) = &self.deployment
        {
            protected.push(deployment.generation);
            protected.extend(deployment.previous);
        }
        let surplus = self
            .generations
            .len()
            .saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
        self.generations
            .keys()
            .filter(|number| !protected.contains(number))
            .take(surplus)
            .copied()
            .collect()
    }
}

/// Reads a record's version, and refuses one that this program does not write.
pub fn this_format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        other => Err(serde::de::Error::custom(format!(
            "it has format {other}, not {FORMAT}"
        ))),
    }
}

mod instants {
    use serde::{Deserialize, Deserializer, Serializer, de::Error, ser::SerializeSeq};
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};

    pub fn serialize<S: Serializer>(instants: &[OffsetDateTime], serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(instants.len()))?;
        for instant in instants {
            sequence.serialize_element(&instant.format(&Rfc3339).map_err(serde::ser::Error::custom)?)?;
        }
        sequence.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OffsetDateTime>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| OffsetDateTime::parse(text, &Rfc3339).map_err(D::Error::custom))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn generation() -> Generation {
        Generation {
            identifiers: vec!["a.example".parse().unwrap()],
            not_before: datetime!(2026-01-01 0:00 UTC),
            not_after: datetime!(2026-04-01 0:00 UTC),
            leaf_sha256: "00".into(),
            spki_sha256: "11".into(),
            certificate_id: None,
            directory: None,
        }
    }

    #[test]
    fn is_read_back_as_it_was_saved() {
        let mut lineage = Lineage::new("a.example");
        lineage.generations.insert(1, generation());
        lineage.issued_at.push(datetime!(2026-01-01 1:02:03.5 UTC));
        let text = serde_json::to_string(&lineage).unwrap();
        assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), lineage);
    }

    #[test]
    fn a_compromised_key_makes_every_certificate_with_it_a_revoked_one() {
        let mut lineage = Lineage::new("a.example");
        let mut other = generation();
        other.leaf_sha256 = "99".into();
        let revocation = |reason| Revocation {
            leaf_sha256: "00".into(),
            spki_sha256: "11".into(),
            reason,
            at: datetime!(2026-02-01 0:00 UTC),
        };
        assert_eq!(lineage.revocation_of(&generation()), None);
        lineage.revoke(revocation(Reason::Superseded));
        assert!(lineage.revocation_of(&generation()).is_some());
        assert_eq!(lineage.revocation_of(&other), None);
        lineage.revoke(revocation(Reason::KeyCompromise));
        assert_eq!(lineage.revocations.len(), 1);
        assert!(lineage.revocation_of(&other).is_some() && lineage.compromise_of("11").is_some());
        assert_eq!(lineage.compromise_of("12"), None);
        // Revoked again, for no reason: the key is no better for it.
        lineage.revoke(revocation(Reason::Unspecified));
        assert_eq!(lineage.revocations.len(), 1);
        assert!(lineage.compromise_of("11").is_some());
        let text = serde_json::to_string(&lineage).unwrap();
        assert!(text.contains("keyCompromise"), "{text}");
        assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), lineage);
    }

    #[test]
    fn never_prunes_what_serves() {
        let check = |state, live, previous, keep, expected: &[u64]| {
            let mut lineage = Lineage::new("a.example");
            lineage.generations = (1..=5).map(|number| (number, generation())).collect();
            lineage.state = state;
            lineage.generation = Some(live);
            lineage.deployment = Some(Deployment {
                generation: 5,
                previous,
                verify: Verify::On,
                baseline: vec![],
                endpoints: vec![],
                hooks: vec![],
                listed: vec![],
            });
            assert_eq!(lineage.prunable(keep), expected);
        };
        check(State::Verified, 5, Some(4), 3, &[1, 2]);
        check(State::Verified, 5, Some(4), 1, &[1, 2, 3, 4]);
        check(State::Deployed, 5, Some(1), 1, &[2, 3, 4]);
        check(State::RolledBack, 2, Some(2), 1, &[1, 3, 4]);
        check(State::Verified, 5, None, 9, &[]);
    }
}
