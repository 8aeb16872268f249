//! When the next key of a host may go into service under DANE, and when the record of an earlier key may go. Pure.
//!
//! A TLSA record has to be in every cache before the server uses the key that it names, and a cache may hold the RRset of
//! before for its TTL; who replays that RRset can do so until its signature ends, and a secondary that was not told asks again
//! after the zone's refresh (RFC 7671, 8.1 and 13; RFC 1035, 3.3.13). This module tells how long to wait. It asks neither the
//! clock nor the network: both come in as arguments.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::lineage::{FORMAT, this_format};

/// Next keys that are remembered: more are never published at once.
const MOST_MADE: usize = 50;

/// What is known of the TLSA records of a lineage's keys; keys are told apart by the SHA-256 of their SPKI, lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    #[serde(deserialize_with = "this_format")]
    version: u32,
    /// Keys that were made to be the next one, the newest last: wherever a record names one, it is ours.
    #[serde(default)]
    made: Vec<String>,
    /// The ports that were looked at last.
    #[serde(default)]
    ports: BTreeSet<u16>,
    /// Keys that some server named at some port, when they were asked last.
    #[serde(default)]
    seen: BTreeSet<String>,
    /// Keys that every server names at every port.
    #[serde(default)]
    published: BTreeMap<String, Published>,
    /// Why the last step failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// Since when a key's record is everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// When every server was first seen to have it.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// From when on no cache can be without it.
    #[serde(with = "time::serde::rfc3339")]
    pub ready_at: OffsetDateTime,
}

/// What the authoritative servers say about one port, all of them asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Keys that every server names.
    pub everywhere: BTreeSet<String>,
    /// Keys that some server names.
    pub anywhere: BTreeSet<String>,
    /// The TTL in seconds, the longest of all servers.
    pub ttl: u32,
    /// The refresh interval of the zone's SOA, in seconds.
    pub refresh: u32,
    /// When the last signature over the records ends; `None` where there is none.
    pub signed_until: Option<OffsetDateTime>,
}

/// The keys of a lineage that have a place in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys<'a> {
    /// The one that the ports serve.
    pub in_service: &'a str,
    /// The one that is to follow, where one was made.
    pub next: Option<&'a str>,
}

impl Default for Rollover {
    fn default() -> Self {
        Self {
            version: FORMAT,
            made: Vec::new(),
            ports: BTreeSet::new(),
            seen: BTreeSet::new(),
            published: BTreeMap::new(),
            failed: None,
        }
    }
}

impl Sighting {
    /// Returns from when on no cache lacks what was first seen everywhere at `since`.
    fn ready_at(&self, since: OffsetDateTime) -> OffsetDateTime {
        // Twice the TTL, not once: the RFC asks for at least two.
        let cached = i64::from(self.ttl) * 2;
        let refreshed = i64::from(self.refresh);
        let waited = since.saturating_add(Duration::seconds(cached.max(refreshed)));
        self.signed_until.map_or(waited, |until| waited.max(until))
    }
}

impl Rollover {
    /// Notes that a key was made to be the next one.
    pub fn note_made(&mut self, key: &str) {
        self.made.retain(|known| known != key);
        self.made.push(key.to_owned());
        let n_surplus = self.made.len().saturating_sub(MOST_MADE);
        self.made.drain(..n_surplus);
    }

    /// Notes why the last step failed, or that it did not; returns whether that is news.
    pub fn note_failure(&mut self, failed: Option<String>) -> bool {
        let is_news = self.failed != failed;
        self.failed = failed;
        is_news
    }

    /// Returns why the last step failed, where it did.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Returns the keys that were made to be the next one, those that are no more among them.
    pub fn made(&self) -> impl Iterator<Item = &str> {
        self.made.iter().map(String::as_str)
    }

    /// Takes in what the servers say about every port. A key that is missing at one of them has to wait anew.
    pub fn observe(&mut self, ports: &BTreeMap<u16, Sighting>, now: OffsetDateTime) {
        self.seen = ports.values().flat_map(|port| port.anywhere.clone()).collect();
        let is_new_port = ports.keys().any(|port| !self.ports.contains(port));
        self.ports = ports.keys().copied().collect();
        let mut everywhere = ports.values().map(|port| port.everywhere.clone());
        let first = everywhere.next().unwrap_or_default();
        let everywhere = everywhere.fold(first, |all, port| &all & &port);
        if is_new_port {
            self.published.clear();
        }
        self.published.retain(|key, _| everywhere.contains(key));
        for key in everywhere {
            self.published.entry(key).or_insert_with(|| Published {
                since: now,
                ready_at: ports.values().map(|port| port.ready_at(now)).max().unwrap_or(now),
            });
        }
    }

    /// Returns since when a key's record is everywhere; `None` while it is not.
    pub fn published(&self, key: &str) -> Option<Published> {
        self.published.get(key).copied()
    }

    /// Returns whether a key may be served: no cache can be without its record.
    pub fn may_serve(&self, key: &str, now: OffsetDateTime) -> bool {
        self.published(key)
            .is_some_and(|published| published.ready_at <= now)
    }

    /// Returns which of `ours` may leave the DNS: neither in service nor next, and whoever is without them is sure to have the
    /// one in service.
    pub fn retired<'k>(
        &self,
        ours: impl IntoIterator<Item = &'k str>,
        keys: Keys<'_>,
        now: OffsetDateTime,
    ) -> BTreeSet<String> {
        if !self.may_serve(keys.in_service, now) {
            return BTreeSet::new();
        }
        let is_over = |key: &&str| *key != keys.in_service && Some(*key) != keys.next;
        ours.into_iter().filter(is_over).map(str::to_owned).collect()
    }

    /// Returns whether nothing is to be done or waited for at these ports, so that nobody needs to be asked.
    pub fn is_settled<'k>(
        &self,
        ours: impl IntoIterator<Item = &'k str>,
        keys: Keys<'_>,
        ports: &[u16],
        now: OffsetDateTime,
    ) -> bool {
        let all = std::iter::once(keys.in_service).chain(keys.next);
        ports.iter().copied().collect::<BTreeSet<u16>>() == self.ports
            && all.into_iter().all(|key| self.may_serve(key, now))
            && self
                .retired(ours, keys, now)
                .iter()
                .all(|key| !self.seen.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 0:00 UTC);

    fn seen(keys: &[&str], ttl: u32, refresh: u32) -> Sighting {
        let keys: BTreeSet<String> = keys.iter().map(|&key| key.to_owned()).collect();
        Sighting {
            everywhere: keys.clone(),
            anywhere: keys,
            ttl,
            refresh,
            signed_until: None,
        }
    }

    fn at(ports: &[(u16, Sighting)]) -> BTreeMap<u16, Sighting> {
        ports.iter().cloned().collect()
    }

    #[test]
    fn waits_for_the_slowest_of_cache_secondary_and_signature() {
        let check = |ttl, refresh, signed_until, expected: OffsetDateTime| {
            let mut rollover = Rollover::default();
            let sighting = Sighting {
                signed_until,
                ..seen(&["a"], ttl, refresh)
            };
            rollover.observe(&at(&[(25, sighting)]), NOW);
            let published = rollover.published("a").unwrap();
            assert_eq!((published.since, published.ready_at), (NOW, expected));
            assert!(!rollover.may_serve("a", expected - Duration::seconds(1)));
            assert!(rollover.may_serve("a", expected));
        };
        check(3600, 600, None, NOW + Duration::hours(2));
        check(3600, 86_400, None, NOW + Duration::days(1));
        check(
            3600,
            86_400,
            Some(NOW + Duration::days(14)),
            NOW + Duration::days(14),
        );
        // A signature that has ended already holds nothing up, and no number overflows.
        check(60, 0, Some(NOW - Duration::days(1)), NOW + Duration::minutes(2));
        check(u32::MAX, u32::MAX, None, NOW + Duration::seconds(8_589_934_590));
    }

    #[test]
    fn the_slowest_port_counts_and_a_port_without_the_record_is_waited_for() {
        let mut rollover = Rollover::default();
        rollover.observe(
            &at(&[(25, seen(&["a", "b"], 60, 0)), (465, seen(&["a"], 3600, 0))]),
            NOW,
        );
        assert_eq!(
            rollover.published("a").unwrap().ready_at,
            NOW + Duration::hours(2)
        );
        assert_eq!(rollover.published("b"), None);
        let later = NOW + Duration::hours(1);
        rollover.observe(
            &at(&[(25, seen(&["a", "b"], 60, 0)), (465, seen(&["a", "b"], 3600, 0))]),
            later,
        );
        assert_eq!(rollover.published("a").unwrap().since, NOW);
        assert_eq!(
            rollover.published("b").unwrap().ready_at,
            later + Duration::hours(2)
        );
    }

    #[test]
    fn a_record_that_was_gone_waits_anew() {
        let mut rollover = Rollover::default();
        let both = at(&[(25, seen(&["a", "b"], 60, 0))]);
        rollover.observe(&both, NOW);
        let later = NOW + Duration::days(1);
        assert!(rollover.may_serve("b", later));
        rollover.observe(&at(&[(25, seen(&["a"], 60, 0))]), later);
        assert!(rollover.may_serve("a", later) && !rollover.may_serve("b", later));
        rollover.observe(&both, later);
        assert!(!rollover.may_serve("b", later));
        assert!(rollover.may_serve("b", later + Duration::minutes(2)));
        // A port that was added has caches of its own.
        rollover.observe(
            &at(&[(25, seen(&["a"], 60, 0)), (993, seen(&["a"], 60, 0))]),
            later,
        );
        assert!(!rollover.may_serve("a", later));
    }

    #[test]
    fn an_earlier_key_goes_when_all_have_the_one_in_service() {
        let ours = ["old", "new", "next"];
        let keys = Keys {
            in_service: "new",
            next: Some("next"),
        };
        let mut rollover = Rollover::default();
        let retired = |rollover: &Rollover, now| rollover.retired(ours, keys, now);
        assert!(retired(&rollover, NOW).is_empty());
        let mut port = seen(&["old", "new", "next"], 60, 0);
        port.anywhere.insert("of another host".to_owned());
        rollover.observe(&at(&[(25, port)]), NOW);
        assert!(retired(&rollover, NOW).is_empty());
        let ready = NOW + Duration::minutes(2);
        assert_eq!(retired(&rollover, ready), BTreeSet::from(["old".to_owned()]));
        assert!(!rollover.is_settled(ours, keys, &[25], ready));
        rollover.observe(&at(&[(25, seen(&["new", "next"], 60, 0))]), ready);
        assert!(rollover.is_settled(ours, keys, &[25], ready));
        // Another port, a key that is not there, or one that waits.
        assert!(!rollover.is_settled(ours, keys, &[25, 993], ready));
        assert!(!rollover.is_settled(ours, keys, &[25], NOW));
        let other = Keys {
            next: Some("third"),
            ..keys
        };
        assert!(!rollover.is_settled(ours, other, &[25], ready));
    }

    #[test]
    fn is_read_back_as_it_was_saved_and_remembers_a_bounded_number_of_keys() {
        let mut rollover = Rollover::default();
        for n in 0..200 {
            rollover.note_made(&format!("{n}"));
            rollover.note_made("the same");
        }
        assert_eq!(rollover.made().count(), MOST_MADE);
        assert_eq!(rollover.made().last(), Some("the same"));
        rollover.observe(&at(&[(25, seen(&["a"], 60, 0))]), NOW);
        let text = serde_json::to_string(&rollover).unwrap();
        assert_eq!(serde_json::from_str::<Rollover>(&text).unwrap(), rollover);
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(serde_json::from_str::<Rollover>(&newer).is_err());
    }
}
