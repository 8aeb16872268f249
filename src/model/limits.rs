//! A mirror of a CA's limits: what the CA would refuse is not asked for. Pure.
//!
//! Each limit is a bucket that fills again evenly, as the CA's own (a generic cell rate algorithm): all that is kept of
//! one is the instant at which it will be full. Other clients of the same account or the same names are not seen, so the
//! CA may still refuse; what it then says is kept here too, and holds for the whole account.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{
    certificate::Sha256,
    lineage::{FORMAT, Lineage, RenewalInfo, this_format},
    name::Identifier,
    schedule::retry,
};

/// So many at once, and so many in each period after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub n: u32,
    /// In which time.
    pub per: Duration,
}

/// The limits of a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New orders of an account.
    pub orders: Limit,
    /// New certificates for names below one registered domain, whoever asks.
    pub registered_domain: Limit,
    /// Certificates for exactly the same names, whoever asks.
    pub same_names: Limit,
    /// Failed validations of one name.
    pub failures: Limit,
}

/// How a certificate that is ordered counts (`letsencrypt.org/docs/rate-limits`, 2026-08-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For names that have no certificate of this CA: everything counts.
    New,
    /// For the same names as an earlier one: counts as one more for the same names, and its failures count.
    Renewal,
    /// Says which one it replaces while the CA's renewal window for that lasts (RFC 9773, 5): nothing counts.
    Replacement,
}

/// How long the CA remembers names that it issued a certificate for.
const REMEMBERED: Duration = Duration::days(120);

/// Returns how an order for these names counts. `replaces` is the certificate that the order will say it replaces.
pub fn kind(
    lineage: &Lineage,
    identifiers: &[Identifier],
    directory: &str,
    replaces: Option<&str>,
    now: OffsetDateTime,
) -> Kind {
    if replaces.is_some_and(|id| is_in_window(lineage.renewal_info.as_ref(), id, now)) {
        return Kind::Replacement;
    }
    let same = lineage.generations.values().any(|generation| {
        let mut names = generation.identifiers.clone();
        names.sort();
        generation.directory.as_deref() == Some(directory)
            && names == identifiers
            && generation.not_before > now.saturating_sub(REMEMBERED)
    });
    if same { Kind::Renewal } else { Kind::New }
}

/// Returns whether the CA's window for this certificate lasts: from its beginning up to, but without, its end.
fn is_in_window(info: Option<&RenewalInfo>, certificate_id: &str, now: OffsetDateTime) -> bool {
    info.filter(|info| info.certificate_id == certificate_id)
        .and_then(|info| info.window.as_ref())
        .is_some_and(|window| window.start <= now && now < window.end)
}

/// What an order would use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How it counts.
    pub kind: Kind,
    /// The names, sorted.
    pub identifiers: Vec<Identifier>,
    /// The registered domains of the names, each once; empty where nobody knows them.
    pub registered_domains: Vec<String>,
}

/// A limit that an order would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it would not.
    pub until: OffsetDateTime,
    /// The limit in words.
    pub limit: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.limit)
    }
}

/// What the CA itself asked for: to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// When it said so.
    #[serde(with = "time::serde::rfc3339")]
    pub said_at: OffsetDateTime,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// Its words.
    pub why: String,
}

/// What is known of one account's use of its CA; kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The record's format.
    #[serde(deserialize_with = "this_format")]
    version: u32,
    /// When each bucket that is not full will be, in seconds since 1970.
    #[serde(default)]
    full_at: BTreeMap<String, i64>,
    /// What the CA asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
}

/// No more buckets are kept: those that are full soonest go first.
const BUCKETS: usize = 20_000;

/// How much of the CA's words is kept, in characters.
const WHY_LIMIT: usize = 4096;

impl Default for Ledger {
    fn default() -> Self {
        Self {
            version: FORMAT,
            full_at: BTreeMap::new(),
            held: None,
        }
    }
}

/// One bucket that an order takes from.
struct Bucket {
    key: String,
    limit: Limit,
    words: String,
}

impl Ledger {
    /// Returns the limit that an order would break, the one that holds longest; `None` when it may go.
    pub fn refuses(&self, limits: &Limits, request: &Request, now: OffsetDateTime) -> Option<Refusal> {
        let failed = request
            .identifiers
            .iter()
            .filter(|_| request.kind != Kind::Replacement)
            .map(|name| failure_bucket(limits, name.base().as_str()));
        buckets(limits, request)
            .into_iter()
            .chain(failed)
            .filter_map(|bucket| {
                let until =
                    self.full_at(&bucket, now).saturating_add(interval(bucket.limit)) - bucket.limit.per;
                (until > now).then_some(Refusal {
                    until,
                    limit: bucket.words,
                })
            })
            .max_by_key(|refusal| refusal.until)
    }

    /// Takes what an order uses up.
    pub fn take(&mut self, limits: &Limits, request: &Request, now: OffsetDateTime) {
        for bucket in buckets(limits, request) {
            self.shift(&bucket, interval(bucket.limit), now);
        }
        self.prune(now);
    }

    /// Gives back what an order did not use up in the end: no certificate came of it, or not even an order.
    pub fn give_back(&mut self, limits: &Limits, request: &Request, unused: Unused, now: OffsetDateTime) {
        for bucket in buckets(limits, request) {
            if unused == Unused::Everything || bucket.key != ORDERS {
                self.shift(&bucket, -interval(bucket.limit), now);
            }
        }
        self.prune(now);
    }

    /// Counts validations that failed, by name.
    pub fn count_failures<'a>(
        &mut self,
        limits: &Limits,
        kind: Kind,
        names: impl IntoIterator<Item = &'a str>,
        now: OffsetDateTime,
    ) {
        if kind == Kind::Replacement {
            return;
        }
        for name in names {
            let bucket = failure_bucket(limits, name.trim_start_matches("*."));
            self.shift(&bucket, interval(bucket.limit), now);
        }
        self.prune(now);
    }

    /// Keeps that the CA wants to be left alone.
    pub fn hold(&mut self, until: OffsetDateTime, why: &str, now: OffsetDateTime) {
        self.held = Some(Held {
            said_at: now,
            until: until.min(now.saturating_add(retry::LONGEST)),
            why: why.chars().take(WHY_LIMIT).collect(),
        });
    }

    /// Returns what the CA asked for, while it holds.
    pub fn held(&self, now: OffsetDateTime) -> Option<&Held> {
        self.held
            .as_ref()
            .filter(|held| held.until > now && retry::is_credible(held.said_at, held.until, now))
    }

    /// Returns when a bucket will be full; one that only a wrong clock can have emptied so is full.
    fn full_at(&self, bucket: &Bucket, now: OffsetDateTime) -> OffsetDateTime {
        self.full_at
            .get(&bucket.key)
            .and_then(|at| OffsetDateTime::from_unix_timestamp(*at).ok())
            .filter(|at| *at <= now.saturating_add(bucket.limit.per + interval(bucket.limit)))
            .map_or(now, |at| at.max(now))
    }

    fn shift(&mut self, bucket: &Bucket, by: Duration, now: OffsetDateTime) {
        let most = now.saturating_add(bucket.limit.per);
        let at = self.full_at(bucket, now).saturating_add(by).min(most);
        self.full_at.insert(bucket.key.clone(), at.unix_timestamp());
    }

    /// Forgets buckets that are full, and the fullest when there are too many.
    fn prune(&mut self, now: OffsetDateTime) {
        self.full_at.retain(|_, at| *at > now.unix_timestamp());
        if self.full_at.len() > BUCKETS {
            let mut instants: Vec<i64> = self.full_at.values().copied().collect();
            instants.sort_unstable();
            let least = instants[instants.len() - BUCKETS];
            self.full_at.retain(|_, at| *at >= least);
        }
    }
}

/// What an order did not use up in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// A certificate; the order was made.
    Certificate,
    /// Not even an order was made.
    Everything,
}

/// The key of the one bucket that an order takes from, certificate or not.
const ORDERS: &str = "orders";

/// Returns the buckets that an order takes from.
fn buckets(limits: &Limits, request: &Request) -> Vec<Bucket> {
    let mut buckets = Vec::new();
    if request.kind == Kind::New {
        let limit = limits.orders;
        buckets.push(Bucket {
            key: ORDERS.to_owned(),
            limit,
            words: format!("{} new orders of an account in {}", limit.n, in_words(limit.per)),
        });
        let limit = limits.registered_domain;
        buckets.extend(request.registered_domains.iter().map(|domain| Bucket {
            key: format!("domain:{domain}"),
            limit,
            words: format!(
                "{} new certificates for names below {domain} in {}",
                limit.n,
                in_words(limit.per)
            ),
        }));
    }
    if request.kind != Kind::Replacement {
        let limit = limits.same_names;
        buckets.push(Bucket {
            key: format!("names:{}", digest(&request.identifiers)),
            limit,
            words: format!(
                "{} certificates for exactly the same names in {}",
                limit.n,
                in_words(limit.per)
            ),
        });
    }
    buckets
}

fn failure_bucket(limits: &Limits, name: &str) -> Bucket {
    let limit = limits.failures;
    Bucket {
        key: format!("failed:{name}"),
        limit,
        words: format!(
            "{} failed validations of {name} in {}",
            limit.n,
            in_words(limit.per)
        ),
    }
}

/// Returns how long one takes to come back.
fn interval(limit: Limit) -> Duration {
    limit.per / limit.n.max(1)
}

/// Names a set of names by a digest: a certificate may have a hundred.
fn digest(identifiers: &[Identifier]) -> String {
    let mut names: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
    names.sort();
    let whole = Sha256::of(names.join("\n").as_bytes()).to_string();
    whole.chars().take(16).collect()
}

fn in_words(span: Duration) -> String {
    match (span.whole_days(), span.whole_hours()) {
        (days @ 2.., _) => format!("{days} days"),
        (_, 1) => "an hour".to_owned(),
        (_, hours) => format!("{hours} hours"),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::model::{authority, lineage::Generation, schedule::choose};

    const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

    fn limits() -> &'static Limits {
        &authority::LETS_ENCRYPT
    }

    fn request(kind: Kind, names: &[&str]) -> Request {
        Request {
            kind,
            identifiers: names.iter().map(|name| name.parse().unwrap()).collect(),
            registered_domains: vec!["example.org".to_owned()],
        }
    }

    /// Orders as often as it is allowed; returns how many went, and what stopped it.
    fn fill(ledger: &mut Ledger, next: impl Fn(usize) -> Request) -> (usize, Refusal) {
        for n in 0..1000 {
            let request = next(n);
            if let Some(refusal) = ledger.refuses(limits(), &request, NOW) {
                return (n, refusal);
            }
            ledger.take(limits(), &request, NOW);
        }
        panic!("no limit");
    }

    #[test]
    fn refuses_what_the_ca_would_refuse_until_it_would_not() {
        let check = |next: &dyn Fn(usize) -> Request, n: usize, words: &str, wait: Duration| {
            let mut ledger = Ledger::default();
            let (went, refusal) = fill(&mut ledger, next);
            assert_eq!(went, n, "{refusal}");
            assert_eq!(refusal.to_string(), words);
            assert_eq!(refusal.until - NOW, wait, "{refusal}");
            let again = next(n);
            assert!(
                ledger
                    .refuses(limits(), &again, refusal.until - Duration::SECOND)
                    .is_some()
            );
            assert_eq!(ledger.refuses(limits(), &again, refusal.until), None);
            // After the whole period all of it is there again, and nothing is kept.
            let later = NOW + Duration::days(8);
            assert_eq!(ledger.refuses(limits(), &again, later), None);
            ledger.prune(later);
            assert!(ledger.full_at.is_empty());
        };
        let elsewhere = |n: usize| Request {
            registered_domains: vec![format!("{n}.example")],
            ..request(Kind::New, &[format!("{n}.example").as_str()])
        };
        let below = |n: usize| request(Kind::New, &[format!("{n}.example.org").as_str()]);
        let same = |_| request(Kind::Renewal, &["a.example.org", "b.example.org"]);
        check(
            &elsewhere,
            300,
            "300 new orders of an account in 3 hours",
            Duration::seconds(36),
        );
        let words = "50 new certificates for names below example.org in 7 days";
        check(&below, 50, words, Duration::seconds(7 * 86400 / 50));
        let words = "5 certificates for exactly the same names in 7 days";
        check(&same, 5, words, Duration::seconds(7 * 86400 / 5));
    }

    #[test]
    fn exempts_renewals_as_the_ca_does() {
        let mut ledger = Ledger::default();
        let (n, _) = fill(&mut ledger, |n| {
            request(Kind::New, &[format!("{n}.example.org").as_str()])
        });
        assert_eq!(n, 50);
        // A renewal of the same names asks only for that limit, a replacement for none.
        let renewal = request(Kind::Renewal, &["0.example.org"]);
        assert_eq!(ledger.refuses(limits(), &renewal, NOW), None);
        for _ in 0..4 {
            ledger.take(limits(), &renewal, NOW);
        }
        assert!(ledger.refuses(limits(), &renewal, NOW).is_some());
        let before = ledger.clone();
        let replacement = request(Kind::Replacement, &["0.example.org"]);
        assert_eq!(ledger.refuses(limits(), &replacement, NOW), None);
        ledger.take(limits(), &replacement, NOW);
        ledger.count_failures(limits(), Kind::Replacement, ["0.example.org"], NOW);
        assert_eq!(ledger, before);
    }

    #[test]
    fn counts_failures_by_name_and_gives_back_what_was_not_used() {
        let mut ledger = Ledger::default();
        let one = request(Kind::New, &["*.a.example.org", "b.example.org"]);
        for _ in 0..5 {
            assert_eq!(ledger.refuses(limits(), &one, NOW), None);
            ledger.take(limits(), &one, NOW);
            ledger.give_back(limits(), &one, Unused::Certificate, NOW);
            ledger.count_failures(limits(), one.kind, ["*.a.example.org"], NOW);
        }
        let refusal = ledger.refuses(limits(), &one, NOW).unwrap();
        assert_eq!(refusal.limit, "5 failed validations of a.example.org in an hour");
        assert_eq!(refusal.until - NOW, Duration::minutes(12));
        assert_eq!(
            ledger.refuses(limits(), &request(Kind::New, &["b.example.org"]), NOW),
            None
        );
        // The five orders are gone all the same.
        assert_eq!(
            ledger.full_at[ORDERS],
            (NOW + Duration::seconds(5 * 36)).unix_timestamp()
        );
        let before = ledger.clone();
        ledger.take(limits(), &one, NOW);
        ledger.give_back(limits(), &one, Unused::Everything, NOW);
        assert_eq!(ledger, before);
    }

    #[test]
    fn no_wrong_clock_and_no_century_holds_for_ever() {
        let same = request(Kind::Renewal, &["a.example.org"]);
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            ledger.take(limits(), &same, datetime!(2100-01-01 0:00 UTC));
        }
        ledger.hold(
            datetime!(2100-01-02 0:00 UTC),
            "no",
            datetime!(2100-01-01 0:00 UTC),
        );
        assert_eq!(ledger.refuses(limits(), &same, NOW), None);
        assert_eq!(ledger.held(NOW), None);
        ledger.hold(datetime!(2126-01-01 0:00 UTC), "a century", NOW);
        assert_eq!(ledger.held(NOW).unwrap().until, NOW + Duration::days(7));
        assert_eq!(ledger.held(NOW + Duration::days(7)), None);
        assert_eq!(ledger.held(datetime!(1970-01-01 0:00 UTC)), None);
        // Nor does it forget for having been in 2100 for a moment: what is full is only pruned then.
        ledger.take(limits(), &same, NOW);
        assert!(
            ledger
                .full_at
                .values()
                .all(|at| *at < (NOW + Duration::days(8)).unix_timestamp())
        );
    }

    #[test]
    fn stays_small_and_is_read_back() {
        let mut ledger = Ledger::default();
        for n in 0..BUCKETS + 100 {
            let name = format!("failed:{n}.example");
            ledger.full_at.insert(
                name,
                (NOW + Duration::seconds(i64::try_from(n).unwrap() + 1)).unix_timestamp(),
            );
        }
        ledger.hold(NOW, &"é".repeat(100_000), NOW);
        ledger.prune(NOW);
        assert_eq!(ledger.full_at.len(), BUCKETS);
        assert!(!ledger.full_at.contains_key("failed:99.example"));
        let text = serde_json::to_string(&ledger).unwrap();
        assert!(text.len() < 1 << 20, "{}", text.len());
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        assert!(serde_json::from_str::<Ledger>(&text.replace("\"version\":1", "\"version\":2")).is_err());
    }

    #[test]
    fn knows_a_renewal_from_a_replacement_and_from_something_new() {
        let names: Vec<Identifier> = vec!["a.example.org".parse().unwrap()];
        let mut lineage = Lineage::new("a.example.org");
        let judged = |lineage: &Lineage, directory: &str, replaces: Option<&str>, now| {
            kind(lineage, &names, directory, replaces, now)
        };
        assert_eq!(judged(&lineage, "one", None, NOW), Kind::New);
        lineage.generations.insert(
            1,
            Generation {
                identifiers: names.clone(),
                not_before: NOW - Duration::days(60),
                not_after: NOW + Duration::days(30),
                leaf_sha256: String::new(),
                spki_sha256: String::new(),
                certificate_id: Some("id".into()),
                directory: Some("one".into()),
            },
        );
        assert_eq!(judged(&lineage, "one", None, NOW), Kind::Renewal);
        assert_eq!(judged(&lineage, "two", None, NOW), Kind::New);
        assert_eq!(judged(&lineage, "one", None, NOW + Duration::days(90)), Kind::New);
        let end = NOW + Duration::days(1);
        lineage.renewal_info = Some(RenewalInfo {
            certificate_id: "id".into(),
            window: choose(NOW, end, None, None, 0),
            ask_at: NOW,
        });
        for (replaces, now, expected) in [
            (Some("id"), NOW, Kind::Replacement),
            (Some("id"), end - Duration::SECOND, Kind::Replacement),
            (Some("id"), end, Kind::Renewal),
            (Some("id"), NOW - Duration::SECOND, Kind::Renewal),
            (Some("other"), NOW, Kind::Renewal),
            (None, NOW, Kind::Renewal),
        ] {
            assert_eq!(
                judged(&lineage, "one", replaces, now),
                expected,
                "{replaces:?} {now}"
            );
        }
    }
}
