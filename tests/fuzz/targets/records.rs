//! Our own records on disk: a disk may have changed them, and an older or a newer program written them.

use std::fmt::Debug;

use mailcert::{
    acme::account::AccountRecord,
    ca::{index::Index, settings::Settings},
    dns::challenge::Presented,
    model::{
        authority,
        certificate::Sha256,
        limits::{self, Ledger},
        lineage::{Lineage, State},
        metrics::Runs,
        notice::{self, Notices},
        rollover::{Keys, Rollover},
        schedule::{self, Policy, Urgency},
    },
    store::journal,
};
use serde::{Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, macros::datetime};

/// An instant like any other.
const NOW: OffsetDateTime = datetime!(2031-03-02 04:05:06 UTC);

/// Reads a record; one that can be read is the same after it was written and read again.
fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let found: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&found).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), found);
    Some(found)
}

/// All of them; and what is decided upon what they say.
pub fn state(data: &[u8]) {
    if let Some(lineage) = record::<Lineage>(data) {
        decide(&lineage);
    }
    if let Some(ledger) = record::<Ledger>(data) {
        ask(ledger);
    }
    if let Some(notices) = record::<Notices>(data) {
        for episode in notices.lineages.into_values().chain(notices.run) {
            for well in [false, true] {
                let seen = notice::Seen {
                    well,
                    failed: Some(notice::Failed {
                        at: NOW,
                        count: u32::MAX,
                    }),
                    expires: episode.expires,
                    due: episode.last_failure,
                };
                let _ = notice::decide(Some(episode.clone()), &seen, 3, NOW);
            }
        }
    }
    if let Some(mut rollover) = record::<Rollover>(data) {
        let keys = Keys {
            in_service: "a",
            next: Some("b"),
        };
        let _ = (
            rollover.may_serve("a", NOW),
            rollover.retired(["a", "c"], keys, NOW),
        );
        let _ = rollover.is_settled(["a"], keys, &[25], NOW);
        rollover.note_made("b");
    }
    record::<Runs>(data);
    record::<Presented>(data);
    record::<journal::Entry>(data);
    let _ = serde_json::from_slice::<AccountRecord>(data);
    if let Ok(settings) = Settings::read(data) {
        assert_eq!(
            Settings::read(&settings.write()).unwrap().write(),
            settings.write()
        );
    }
    if let Ok(index) = Index::read(data.to_vec(), Sha256::of(b"root")) {
        let _ = (index.ledger(), index.last_at(), index.end_of_certificates());
    }
}

fn decide(lineage: &Lineage) {
    let identifiers = lineage
        .generations
        .values()
        .next_back()
        .map(|generation| generation.identifiers.clone())
        .unwrap_or_default();
    for goal in [State::Installed, State::Deployed, State::Verified] {
        let policy = Policy {
            identifiers: &identifiers,
            ordered_by_us: true,
            before: None,
            max_per_day: 2,
            max_per_week: 4,
            goal,
            configuration: "c",
        };
        for urgency in [Urgency::Forced, Urgency::Ordinary] {
            let _ = schedule::next(lineage, &policy, NOW, urgency);
            let _ = schedule::meanwhile(lineage, &policy, NOW, urgency);
        }
        let _ = schedule::held(lineage, &policy, NOW);
    }
    for generation in lineage.generations.values() {
        for before in [None, Some(time::Duration::days(30)), Some(time::Duration::MAX)] {
            let _ = schedule::due(lineage, generation, before);
        }
        let _ = schedule::is_to_be_asked(generation, lineage.renewal_info.as_ref(), NOW);
    }
    // What is in use is never pruned.
    let prunable = lineage.prunable(1);
    assert!(lineage.generation.is_none_or(|live| !prunable.contains(&live)));
    let _ = (lineage.has_unfinished_hooks(), lineage.current());
}

fn ask(mut ledger: Ledger) {
    let Some(limits) = authority::limits_of("https://acme-v02.api.letsencrypt.org/directory") else {
        return;
    };
    let request = limits::Request {
        identifiers: vec!["mail.example.test".parse().unwrap()],
        kind: limits::Kind::New,
        registered_domains: vec!["example.test".to_owned()],
    };
    let _ = (ledger.refuses(limits, &request, NOW), ledger.held(NOW));
    ledger.take(limits, &request, NOW);
    ledger.give_back(limits, &request, limits::Unused::Everything, NOW);
    ledger.hold(NOW, "why", NOW);
}
