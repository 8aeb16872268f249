//! Years of hourly runs against a CA that behaves, one that fails, and one that talks nonsense: for tests. Pure.

mod fleet;

use time::{Duration, OffsetDateTime, macros::datetime};

use super::{Next, Policy, Urgency, choose, due::BETWEEN_RUNS, is_to_be_asked, next, retry};
use crate::model::{
    authority::LETS_ENCRYPT,
    limits::{self, Kind, Ledger, Request},
    lineage::{Failure, Generation, Lineage, RenewalInfo, State, Step},
    name::Identifier,
};

const START: OffsetDateTime = datetime!(2026-12-01 0:00 UTC);

/// The lifetimes that there are and will be, in hours: 160 h, and 45, 64, 90, 365 days.
const LIFETIMES: [i64; 5] = [160, 45 * 24, 64 * 24, 90 * 24, 365 * 24];

/// Numbers that look random and are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn seconds(&mut self, below: u64) -> Duration {
        Duration::seconds(i64::try_from(self.next() % below).unwrap())
    }
}

/// How the CA is, at a time.
trait Ca {
    /// Returns its renewal window for a certificate; `None` when it does not answer.
    fn window(
        &self,
        generation: &Generation,
        now: OffsetDateTime,
    ) -> Option<(OffsetDateTime, OffsetDateTime)>;
    /// Returns whether it issues; else it answers 500, or with this `Retry-After`.
    fn issues(&self, lineage: &Lineage, now: OffsetDateTime) -> Result<(), Option<Duration>>;
}

/// Let's Encrypt: 2 % of the lifetime around two thirds of it, around a half under ten days (Boulder, `core.RenewalInfoSimple`).
struct LetsEncrypt;

fn window_as_lets_encrypt(generation: &Generation) -> (OffsetDateTime, OffsetDateTime) {
    let lifetime = generation.not_after - generation.not_before;
    let left = if lifetime < Duration::days(10) {
        lifetime / 2
    } else {
        lifetime / 3
    };
    let middle = generation.not_after - left;
    (middle - lifetime / 100, middle + lifetime / 100)
}

impl Ca for LetsEncrypt {
    fn window(&self, generation: &Generation, _: OffsetDateTime) -> Option<(OffsetDateTime, OffsetDateTime)> {
        Some(window_as_lets_encrypt(generation))
    }

    fn issues(&self, _: &Lineage, _: OffsetDateTime) -> Result<(), Option<Duration>> {
        Ok(())
    }
}

/// What came of it.
struct Outcome {
    /// When each certificate came, and how it counted.
    issued: Vec<(OffsetDateTime, Kind)>,
    /// How long Postfix served an expired certificate.
    expired: Duration,
    n_attempts: usize,
}

/// Runs `renew` hourly, with the timer's and the runs' own delays.
fn simulate(lifetime: Duration, span: Duration, ca: &impl Ca, seed: u64) -> Outcome {
    let identifiers: Vec<Identifier> = vec!["mail.example.org".parse().unwrap()];
    let policy = Policy {
        identifiers: &identifiers,
        ordered_by_us: true,
        before: None,
        max_per_day: 2,
        max_per_week: 4,
        goal: State::Verified,
        configuration: "",
    };
    let mut random = Random(seed);
    let mut lineage = Lineage::new("mail.example.org");
    let mut ledger = Ledger::default();
    let mut outcome = Outcome {
        issued: Vec::new(),
        expired: Duration::ZERO,
        n_attempts: 0,
    };
    let minute = random.seconds(50 * 60);
    let mut hour = START;
    while hour < START + span {
        let now = hour + minute + random.seconds(60);
        hour += Duration::HOUR;
        ask(&mut lineage, ca, now, &mut random);
        if lineage.live().is_some_and(|live| live.not_after <= now) {
            outcome.expired += Duration::HOUR;
        }
        let quiet_until = match next(&lineage, &policy, now, Urgency::Ordinary) {
            Next::Order(_) => now,
            Next::Idle(due) => due.at,
            Next::Wait(until, _) => until,
            Next::Deploy(_) => panic!("everything is deployed"),
        };
        if quiet_until > now {
            // Runs before that would find the same, unless the CA is to be asked or the certificate ends meanwhile.
            let asks = lineage.renewal_info.as_ref().map(|info| info.ask_at);
            let ends = lineage.live().map(|live| live.not_after.max(now));
            let event = [Some(quiet_until), asks, ends]
                .into_iter()
                .flatten()
                .min()
                .unwrap();
            let n_hours = (event - now).whole_hours().max(1) - 1;
            hour += Duration::hours(n_hours);
            continue;
        }
        outcome.n_attempts += 1;
        let now = now + random.seconds(600);
        let replaces = lineage.live().and_then(|live| live.certificate_id.clone());
        let request = Request {
            kind: limits::kind(&lineage, &identifiers, "le", replaces.as_deref(), now),
            identifiers: identifiers.clone(),
            registered_domains: vec!["example.org".to_owned()],
        };
        assert_eq!(
            ledger.refuses(&LETS_ENCRYPT, &request, now),
            None,
            "the CA would have refused: {lifetime}, {seed}, {:?}",
            outcome.issued
        );
        match ca.issues(&lineage, now) {
            Ok(()) => {
                ledger.take(&LETS_ENCRYPT, &request, now);
                outcome.issued.push((now, request.kind));
                issue(&mut lineage, &identifiers, lifetime, now, now);
                ask(&mut lineage, ca, now, &mut random);
            }
            Err(retry_after) => fail(&mut lineage, retry_after, now),
        }
    }
    outcome
}

fn ask(lineage: &mut Lineage, ca: &impl Ca, now: OffsetDateTime, random: &mut Random) {
    let Some(live) = lineage.live() else { return };
    if !is_to_be_asked(live, lineage.renewal_info.as_ref(), now) {
        return;
    }
    let certificate_id = live.certificate_id.clone().unwrap();
    let earlier = lineage
        .renewal_info
        .as_ref()
        .filter(|info| info.certificate_id == certificate_id)
        .and_then(|info| info.window.clone());
    let answer = ca.window(live, now);
    let window = answer.and_then(|(start, end)| choose(start, end, None, earlier.as_ref(), random.next()));
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id,
        window: window.or(earlier),
        // Six hours, 20 % more or less.
        ask_at: now + Duration::seconds(17280) + random.seconds(8640),
    });
}

/// Keeps a certificate: issued at an instant by the CA's clock, which is `now` by ours.
fn issue(
    lineage: &mut Lineage,
    identifiers: &[Identifier],
    lifetime: Duration,
    issued: OffsetDateTime,
    now: OffsetDateTime,
) {
    let number = lineage.newest + 1;
    // Let's Encrypt puts the beginning an hour back.
    let not_before = issued - Duration::HOUR;
    let generation = Generation {
        identifiers: identifiers.to_vec(),
        not_before,
        not_after: not_before + lifetime,
        leaf_sha256: String::new(),
        spki_sha256: String::new(),
        certificate_id: Some(format!("{} {number}", lineage.name)),
        directory: Some("le".into()),
    };
    lineage.generations.clear();
    lineage.generations.insert(number, generation);
    lineage.newest = number;
    lineage.generation = Some(number);
    lineage.state = State::Verified;
    lineage.failure = None;
    lineage.issued_at.push(now);
    retry::keep_for_caps(&mut lineage.issued_at, now);
}

fn fail(lineage: &mut Lineage, retry_after: Option<Duration>, now: OffsetDateTime) {
    let count = lineage.failure.as_ref().map_or(0, |failure| failure.count) + 1;
    let retry_at = retry::retry_at(retry::Failed {
        now,
        count,
        asked: retry_after.map(|wait| now.saturating_add(wait)),
        not_after: lineage.live().map(|live| live.not_after),
    });
    lineage.failure = Some(Failure {
        step: Step::Order,
        message: String::new(),
        count,
        at: now,
        retry_at,
        configuration: String::new(),
        remedies: Vec::new(),
        not_yet: false,
    });
}

/// Returns when half of a short lifetime has passed, two thirds of a longer one.
fn middle_of(lifetime: Duration) -> Duration {
    if lifetime < Duration::days(10) {
        lifetime / 2
    } else {
        lifetime * 2 / 3
    }
}

#[test]
fn every_renewal_falls_into_its_window_and_each_certificate_is_renewed_once() {
    for hours in LIFETIMES {
        let lifetime = Duration::hours(hours);
        let lives: Duration = lifetime * 4;
        let span = lives.max(Duration::days(100));
        let (middle, slack): (Duration, Duration) = (middle_of(lifetime), lifetime / 100);
        for seed in 0..if hours < 240 { 8 } else { 3 } {
            let outcome = simulate(lifetime, span, &LetsEncrypt, seed);
            assert_eq!(outcome.expired, Duration::ZERO, "{hours} {seed}");
            assert_eq!(outcome.n_attempts, outcome.issued.len(), "{hours} {seed}");
            for (index, pair) in outcome.issued.windows(2).enumerate() {
                let ((before, _), (at, kind)) = (pair[0], pair[1]);
                assert_eq!(kind, Kind::Replacement, "{hours} {seed} {index}");
                let passed = at - before + Duration::HOUR;
                assert!(
                    (passed - middle).abs() <= slack,
                    "{hours} {seed} {index}: renewed after {passed}"
                );
            }
            let expected = span.whole_hours() * if hours < 240 { 2 } else { 3 }
                / if hours < 240 { 1 } else { 2 }
                / hours;
            let n = i64::try_from(outcome.issued.len()).unwrap();
            assert!(
                (n - expected - 1).abs() <= 1 + expected / 20,
                "{hours} {seed}: {n}, not {expected}"
            );
        }
    }
}

#[test]
fn choices_are_spread_over_the_window() {
    let lifetime = Duration::hours(160);
    let mut after: Vec<Duration> = Vec::new();
    for seed in 0..25 {
        let outcome = simulate(lifetime, Duration::days(30), &LetsEncrypt, seed);
        after.extend(outcome.issued.windows(2).map(|pair| pair[1].0 - pair[0].0));
    }
    after.sort();
    let spread = after[after.len() - 1] - after[0];
    assert!(spread > lifetime / 50 - BETWEEN_RUNS - Duration::HOUR, "{spread}");
}

/// No answer about renewal, ever.
struct Silent;

impl Ca for Silent {
    fn window(&self, _: &Generation, _: OffsetDateTime) -> Option<(OffsetDateTime, OffsetDateTime)> {
        None
    }

    fn issues(&self, _: &Lineage, _: OffsetDateTime) -> Result<(), Option<Duration>> {
        Ok(())
    }
}

#[test]
fn without_renewal_information_the_lifetime_decides() {
    for hours in LIFETIMES {
        let lifetime = Duration::hours(hours);
        let middle = middle_of(lifetime);
        let outcome = simulate(lifetime, lifetime * 5, &Silent, 1);
        assert_eq!(outcome.expired, Duration::ZERO, "{hours}");
        for pair in outcome.issued.windows(2) {
            let passed = pair[1].0 - pair[0].0 + Duration::HOUR;
            assert!(
                passed >= middle && passed <= middle + Duration::hours(2),
                "{hours}: {passed}"
            );
        }
    }
}

/// An answer that no CA in its right mind gives.
type Answer = fn(&Generation, OffsetDateTime) -> (OffsetDateTime, OffsetDateTime);

/// Gives such answers.
struct Nonsense(Answer);

impl Ca for Nonsense {
    fn window(
        &self,
        generation: &Generation,
        now: OffsetDateTime,
    ) -> Option<(OffsetDateTime, OffsetDateTime)> {
        Some(self.0(generation, now))
    }

    fn issues(&self, _: &Lineage, _: OffsetDateTime) -> Result<(), Option<Duration>> {
        Ok(())
    }
}

#[test]
fn nonsense_lets_nothing_expire_and_breaks_no_limit() {
    let nonsense: [(&str, Answer); 8] = [
        ("end before start", |one, _| (one.not_after, one.not_before)),
        ("no length", |one, _| (one.not_before, one.not_before)),
        ("years away", |one, _| {
            (
                one.not_after + Duration::days(999),
                one.not_after + Duration::days(1000),
            )
        }),
        ("always tomorrow", |_, now| {
            (now + Duration::days(1), now + Duration::days(2))
        }),
        ("until after the end", |one, _| {
            (
                one.not_after - Duration::HOUR,
                one.not_after + Duration::days(1000),
            )
        }),
        ("before the beginning", |one, _| {
            (
                one.not_before - Duration::days(2),
                one.not_before - Duration::days(1),
            )
        }),
        // An incident that is not over: every certificate is to be replaced at once, the new one too.
        ("over", |_, now| {
            (now - Duration::HOUR, now - Duration::minutes(30))
        }),
        ("in 1970", |_, _| {
            (
                OffsetDateTime::UNIX_EPOCH,
                OffsetDateTime::UNIX_EPOCH + Duration::SECOND,
            )
        }),
    ];
    for hours in LIFETIMES {
        let lifetime = Duration::hours(hours);
        let lives: Duration = lifetime * 3;
        for (what, window) in nonsense {
            for seed in 0..2 {
                let outcome = simulate(lifetime, lives.min(Duration::days(400)), &Nonsense(window), seed);
                assert_eq!(outcome.expired, Duration::ZERO, "{hours} {what} {seed}");
                for n in [2_usize, 4] {
                    let span = if n == 2 {
                        Duration::days(1)
                    } else {
                        Duration::days(7)
                    };
                    let most = outcome
                        .issued
                        .windows(n + 1)
                        .any(|some| some[n].0 - some[0].0 < span);
                    assert!(!most, "{hours} {what} {seed}: {:?}", outcome.issued);
                }
            }
        }
    }
}

/// Issues the first certificate, then answers 500, or asks for patience, until so much before its end.
struct DownUntil {
    left: Duration,
    retry_after: Option<Duration>,
}

impl Ca for DownUntil {
    fn window(&self, generation: &Generation, _: OffsetDateTime) -> Option<(OffsetDateTime, OffsetDateTime)> {
        Some(window_as_lets_encrypt(generation))
    }

    fn issues(&self, lineage: &Lineage, now: OffsetDateTime) -> Result<(), Option<Duration>> {
        match lineage.live() {
            Some(live) if now < live.not_after - self.left => Err(self.retry_after),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_ca_that_comes_back_hours_before_the_end_is_asked_in_time() {
    let century = Duration::days(36500);
    for hours in LIFETIMES {
        let lifetime = Duration::hours(hours);
        for seed in 0..4 {
            for retry_after in [
                None,
                Some(Duration::ZERO),
                Some(Duration::hours(5)),
                Some(century),
            ] {
                let left = Duration::hours(3);
                let outcome = simulate(lifetime, lifetime * 3, &DownUntil { left, retry_after }, seed);
                assert_eq!(outcome.expired, Duration::ZERO, "{hours} {retry_after:?} {seed}");
                let n = outcome.n_attempts / outcome.issued.len();
                // Daily, and more often only towards the end.
                assert!(
                    n <= usize::try_from(hours / 72 + 40).unwrap(),
                    "{hours} {retry_after:?}: {n} attempts"
                );
            }
        }
        // It never comes back: nobody storms it either, and it is asked again for ever.
        let never = DownUntil {
            left: -century,
            retry_after: None,
        };
        let span = lifetime + Duration::days(30);
        let outcome = simulate(lifetime, span, &never, 3);
        assert_eq!(outcome.issued.len(), 1);
        assert!(
            outcome.n_attempts < usize::try_from(hours / 72 + 100).unwrap(),
            "{}",
            outcome.n_attempts
        );
        assert!(outcome.n_attempts > 30, "{}", outcome.n_attempts);
    }
}

/// Every second attempt fails, and so does every second question about renewal.
struct Flaky;

impl Ca for Flaky {
    fn window(
        &self,
        generation: &Generation,
        now: OffsetDateTime,
    ) -> Option<(OffsetDateTime, OffsetDateTime)> {
        now.second()
            .is_multiple_of(2)
            .then(|| window_as_lets_encrypt(generation))
    }

    fn issues(&self, _: &Lineage, now: OffsetDateTime) -> Result<(), Option<Duration>> {
        if now.second().is_multiple_of(2) {
            Ok(())
        } else {
            Err(None)
        }
    }
}

#[test]
fn half_of_all_answers_are_enough() {
    for hours in LIFETIMES {
        let lifetime = Duration::hours(hours);
        let (mut n, mut n_late) = (0, 0);
        for seed in 0..10 {
            let outcome = simulate(lifetime, lifetime * 4, &Flaky, seed);
            assert_eq!(outcome.expired, Duration::ZERO, "{hours} {seed}");
            n += outcome.issued.len() - 1;
            n_late += outcome.issued[1..]
                .iter()
                .filter(|one| one.1 != Kind::Replacement)
                .count();
        }
        // Two or three tries are in reach of a window of three hours.
        assert!(n_late * 2 <= n, "{hours}: {n_late} of {n} after the window");
    }
}
