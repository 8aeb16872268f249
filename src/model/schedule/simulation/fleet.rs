//! 200 days of a thousand lineages at one CA that keeps limits as Let's Encrypt does, fails, revokes, and a host whose
//! clock jumps: for tests. Pure. The CA counts by its own clock and its own books, not by ours.

use std::{cell::RefCell, collections::HashMap, ops::Range};

use super::{
    Ca, Duration, Generation, Identifier, Kind, LETS_ENCRYPT, Ledger, Lineage, Next, OffsetDateTime, Policy,
    Random, Request, START, State, Urgency, ask, fail, issue, limits, next, window_as_lets_encrypt,
};
use crate::model::{limits::Limit, lineage::Held};

/// How long the fleet is looked at.
const SPAN: Duration = Duration::days(200);

/// What is mixed: 160 hours, 45, 64 and 90 days.
const LIFETIMES: [Duration; 4] = [
    Duration::hours(160),
    Duration::days(45),
    Duration::days(64),
    Duration::days(90),
];

/// Names below one registered domain: fewer than Let's Encrypt issues in a week.
const PER_DOMAIN: usize = 40;

/// How the CA fails, and from when until when, in hours since [`START`].
enum Trouble {
    /// Nothing is answered but a failure; with such a `Retry-After` where it says one.
    Down(Option<Duration>),
    /// Every second order fails.
    Flaky,
    /// Orders work, but nobody is told when to renew.
    Mute,
}

fn troubles() -> Vec<(Range<Duration>, Trouble)> {
    let hours = |from: i64, length: i64| Duration::hours(from)..Duration::hours(from + length);
    vec![
        (hours(12, 3), Trouble::Down(None)),
        (hours(25 * 24, 48), Trouble::Down(None)),
        (hours(50 * 24, 9), Trouble::Down(Some(Duration::HOUR))),
        (hours(70 * 24, 30), Trouble::Flaky),
        (hours(95 * 24, 7 * 24), Trouble::Mute),
        (hours(130 * 24, 72), Trouble::Down(Some(Duration::days(30)))),
        (hours(160 * 24, 24), Trouble::Flaky),
    ]
}

/// When the CA finds that every tenth of its certificates was not issued by the rules.
const INCIDENTS: [Duration; 2] = [Duration::days(83), Duration::days(151)];

/// By how much the host's clock is wrong, and when.
fn jumps() -> Vec<(Range<Duration>, Duration)> {
    let hours = |from: i64, length: i64| Duration::hours(from)..Duration::hours(from + length);
    vec![
        (hours(38 * 24, 5), Duration::days(-20_000)),
        (hours(60 * 24, 4), Duration::days(27_000)),
        (hours(110 * 24, 2), Duration::hours(26)),
        (hours(120 * 24, 30), Duration::hours(-7)),
        (hours(175 * 24, 1), Duration::minutes(59)),
    ]
}

/// A bucket of the CA: so many at once, filled again evenly.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: OffsetDateTime,
}

/// Takes one; `false` when there is none.
fn take(bucket: &mut Bucket, limit: Limit, now: OffsetDateTime) -> bool {
    let capacity = f64::from(limit.n);
    bucket.tokens += (now - bucket.at) / limit.per * capacity;
    bucket.tokens = bucket.tokens.min(capacity);
    bucket.at = now;
    // What was counted in floating point may be short of one by a rounding.
    if bucket.tokens < 1.0 - 1e-6 {
        return false;
    }
    bucket.tokens -= 1.0;
    true
}

/// What the CA knows.
#[derive(Default)]
struct Books {
    buckets: HashMap<String, Bucket>,
    /// The certificates that it takes back, and its window for them.
    withdrawn: HashMap<String, (OffsetDateTime, OffsetDateTime)>,
}

/// The CA; its clock is right.
struct SimulatedCa {
    now: OffsetDateTime,
    troubles: Vec<(Range<Duration>, Trouble)>,
    books: RefCell<Books>,
}

impl SimulatedCa {
    fn trouble(&self) -> Option<&Trouble> {
        let passed = self.now - START;
        let mut now = self.troubles.iter().filter(|(when, _)| when.contains(&passed));
        now.next().map(|(_, trouble)| trouble)
    }

    /// Returns the CA's own window for a certificate, whether it tells it or not.
    fn own_window(&self, generation: &Generation) -> (OffsetDateTime, OffsetDateTime) {
        let id = generation.certificate_id.as_deref().unwrap();
        let withdrawn = self.books.borrow().withdrawn.get(id).copied();
        withdrawn.unwrap_or_else(|| window_as_lets_encrypt(generation))
    }

    /// Counts an order as Let's Encrypt does; returns how, or `None` when a limit refuses it.
    fn count(&self, member: &Member) -> Option<Kind> {
        let live = member.lineage.live();
        let is_exempt = live.is_some_and(|live| {
            let (start, end) = self.own_window(live);
            start <= self.now && self.now < end
        });
        if is_exempt {
            return Some(Kind::Replacement);
        }
        let kind = if live.is_some() { Kind::Renewal } else { Kind::New };
        let mut books = self.books.borrow_mut();
        let full = |limit: Limit| Bucket {
            tokens: f64::from(limit.n),
            at: self.now,
        };
        let mut takes = |key: String, limit: Limit| {
            take(
                books.buckets.entry(key).or_insert_with(|| full(limit)),
                limit,
                self.now,
            )
        };
        let mut is_allowed = takes(format!("names {}", member.lineage.name), LETS_ENCRYPT.same_names);
        if kind == Kind::New {
            is_allowed &= takes("orders".to_owned(), LETS_ENCRYPT.orders);
            is_allowed &= takes(
                format!("domain {}", member.domain),
                LETS_ENCRYPT.registered_domain,
            );
        }
        is_allowed.then_some(kind)
    }
}

impl Ca for SimulatedCa {
    fn window(&self, generation: &Generation, _: OffsetDateTime) -> Option<(OffsetDateTime, OffsetDateTime)> {
        match self.trouble() {
            Some(Trouble::Down(_) | Trouble::Mute) => None,
            _ => Some(self.own_window(generation)),
        }
    }

    fn issues(&self, lineage: &Lineage, _: OffsetDateTime) -> Result<(), Option<Duration>> {
        match self.trouble() {
            Some(Trouble::Down(retry_after)) => Err(*retry_after),
            Some(Trouble::Flaky) if (lineage.name.len() + self.now.minute() as usize).is_multiple_of(2) => {
                Err(None)
            }
            _ => Ok(()),
        }
    }
}

/// One lineage of the fleet.
struct Member {
    lineage: Lineage,
    identifiers: Vec<Identifier>,
    domain: String,
    lifetime: Duration,
    /// No run before this finds anything to do, by the host's clock.
    quiet_until: OffsetDateTime,
}

/// A certificate that came.
struct Issued {
    member: usize,
    at: OffsetDateTime,
    kind: Kind,
}

/// What came of it.
#[derive(Default)]
struct Story {
    issued: Vec<Issued>,
    /// What broke a promise.
    faults: Vec<String>,
    n_failed: usize,
    n_held: usize,
    /// How long a certificate that was withdrawn went on being served.
    replaced_after: Vec<Duration>,
}

struct Fleet {
    members: Vec<Member>,
    ledger: Ledger,
    ca: SimulatedCa,
    random: Random,
    story: Story,
}

impl Fleet {
    fn new(n: usize, seed: u64) -> Self {
        let member = |index: usize| {
            let domain = format!("d{}.example", index / PER_DOMAIN);
            let name = format!("m{index}.{domain}");
            Member {
                identifiers: vec![name.parse().unwrap()],
                lineage: Lineage::new(&name),
                domain,
                lifetime: LIFETIMES[index % LIFETIMES.len()],
                quiet_until: OffsetDateTime::UNIX_EPOCH,
            }
        };
        Self {
            members: (0..n).map(member).collect(),
            ledger: Ledger::default(),
            ca: SimulatedCa {
                now: START,
                troubles: troubles(),
                books: RefCell::default(),
            },
            random: Random(seed),
            story: Story::default(),
        }
    }

    /// Runs `renew` every hour, with the timer's delays.
    fn live_through(mut self) -> Story {
        let minute = self.random.seconds(50 * 60);
        let (mut incidents, mut offset) = (INCIDENTS.to_vec(), Duration::ZERO);
        for hour in 0..SPAN.whole_hours() {
            self.ca.now = START + Duration::hours(hour) + minute + self.random.seconds(60);
            let passed = self.ca.now - START;
            let jumped = jumps().into_iter().find(|(when, _)| when.contains(&passed));
            let wrong_by = jumped.map_or(Duration::ZERO, |(_, by)| by);
            if wrong_by != offset {
                offset = wrong_by;
                for member in &mut self.members {
                    member.quiet_until = OffsetDateTime::UNIX_EPOCH;
                }
            }
            if incidents.first().is_some_and(|at| *at <= passed) {
                incidents.remove(0);
                self.withdraw_a_tenth();
            }
            for index in 0..self.members.len() {
                self.renew(index, offset);
            }
        }
        for member in &self.members {
            match member.lineage.live() {
                None => self
                    .story
                    .faults
                    .push(format!("{}: no certificate", member.lineage.name)),
                Some(live) if live.not_after <= self.ca.now => {
                    self.story
                        .faults
                        .push(format!("{}: expired", member.lineage.name));
                }
                Some(_) => {}
            }
        }
        self.story
    }

    /// Withdraws every tenth certificate that there is: to be replaced at once, as Boulder says it.
    fn withdraw_a_tenth(&mut self) {
        let start = self.ca.now - Duration::HOUR;
        let mut books = self.ca.books.borrow_mut();
        for member in self.members.iter().step_by(10) {
            if let Some(id) = member.lineage.live().and_then(|live| live.certificate_id.clone()) {
                books.withdrawn.insert(id, (start, start + Duration::minutes(30)));
            }
        }
    }

    /// Does what a run does for one lineage.
    fn renew(&mut self, index: usize, offset: Duration) {
        let member = &mut self.members[index];
        let now = self.ca.now + offset;
        if member.quiet_until > now {
            return;
        }
        // With a clock that is years wrong the CA's own certificate is not valid, and nothing is asked or ordered.
        let is_reachable = offset.abs() < Duration::days(20);
        if is_reachable {
            ask(&mut member.lineage, &self.ca, now, &mut self.random);
        }
        let policy = Policy {
            identifiers: &member.identifiers,
            ordered_by_us: true,
            before: None,
            max_per_day: 2,
            max_per_week: 4,
            goal: State::Verified,
            configuration: "",
        };
        let quiet_until = match next(&member.lineage, &policy, now, Urgency::Ordinary) {
            Next::Idle(due) => Some(due.at),
            Next::Wait(until, _) => Some(until),
            Next::Order(_) => None,
            Next::Deploy(_) => panic!("everything is deployed"),
        };
        if let Some(until) = quiet_until {
            let asks = member.lineage.renewal_info.as_ref().map(|info| info.ask_at);
            let ends = member
                .lineage
                .live()
                .map(|live| live.not_after)
                .filter(|at| *at > now);
            let events = [Some(until), asks.filter(|_| is_reachable), ends];
            member.quiet_until = events.into_iter().flatten().min().unwrap();
            return;
        }
        if !is_reachable {
            self.story.n_failed += 1;
            fail(&mut member.lineage, None, now);
            return;
        }
        let live = member.lineage.live();
        let replaces = live.and_then(|live| live.certificate_id.clone());
        let request = Request {
            kind: limits::kind(
                &member.lineage,
                &member.identifiers,
                "le",
                replaces.as_deref(),
                now,
            ),
            identifiers: member.identifiers.clone(),
            registered_domains: vec![member.domain.clone()],
        };
        if let Some(refusal) = self.ledger.refuses(&LETS_ENCRYPT, &request, now) {
            self.story.n_held += 1;
            member.lineage.held = Some(Held {
                until: refusal.until,
                why: refusal.limit,
            });
            return;
        }
        match self.ca.issues(&member.lineage, now) {
            Ok(()) => self.issue(index, &request, offset),
            Err(retry_after) => {
                self.story.n_failed += 1;
                fail(&mut member.lineage, retry_after, now);
            }
        }
    }

    fn issue(&mut self, index: usize, request: &Request, offset: Duration) {
        let member = &mut self.members[index];
        let now = self.ca.now + offset;
        let Some(kind) = self.ca.count(member) else {
            self.story.faults.push(format!(
                "{}: the CA's limits refuse it on day {}",
                member.lineage.name,
                (self.ca.now - START).whole_days()
            ));
            fail(&mut member.lineage, Some(Duration::HOUR), now);
            return;
        };
        if let Some(live) = member.lineage.live() {
            if live.not_after <= self.ca.now {
                self.story
                    .faults
                    .push(format!("{}: expired before its renewal", member.lineage.name));
            }
            let id = live.certificate_id.as_deref().unwrap();
            if let Some((start, _)) = self.ca.books.borrow().withdrawn.get(id) {
                self.story
                    .replaced_after
                    .push(self.ca.now - *start - Duration::HOUR);
            }
        }
        self.ledger.take(&LETS_ENCRYPT, request, now);
        let identifiers = member.identifiers.clone();
        issue(
            &mut member.lineage,
            &identifiers,
            member.lifetime,
            self.ca.now,
            now,
        );
        self.story.issued.push(Issued {
            member: index,
            at: self.ca.now,
            kind,
        });
        ask(&mut member.lineage, &self.ca, now, &mut self.random);
    }
}

/// Returns whether something was wrong at the CA or with the clock shortly before, so that a renewal may be late or early.
fn is_after_trouble(at: OffsetDateTime, lifetime: Duration) -> bool {
    // What was held up is caught up with by the back-off's daily try, or in the last third of a short life.
    let after = Duration::days(2).min(lifetime / 2);
    let passed = at - START;
    let troubles = troubles().into_iter().map(|(when, _)| when);
    let jumps = jumps().into_iter().map(|(when, _)| when);
    let incidents = INCIDENTS.into_iter().map(|at| at..at);
    troubles
        .chain(jumps)
        .chain(incidents)
        .any(|when| when.start <= passed && passed <= when.end + after)
}

#[test]
fn a_thousand_lineages_live_through_200_days_of_outages_incidents_and_clock_jumps() {
    let story = Fleet::new(1000, 7).live_through();
    assert!(story.faults.is_empty(), "{:#?}", story.faults);

    let mut n_of = vec![0_u32; 1000];
    let (mut n_quiet, mut n_outside) = (0, 0);
    let mut per_hour: HashMap<i64, u32> = HashMap::new();
    for issued in &story.issued {
        let lifetime = LIFETIMES[issued.member % LIFETIMES.len()];
        n_of[issued.member] += 1;
        if n_of[issued.member] > 1 && !is_after_trouble(issued.at, lifetime) {
            n_quiet += 1;
            n_outside += u32::from(issued.kind != Kind::Replacement);
            *per_hour.entry((issued.at - START).whole_hours()).or_default() += 1;
        }
    }
    assert!(n_quiet > 10_000, "{n_quiet}");
    assert_eq!(n_outside, 0, "of {n_quiet} renewals without trouble");
    // 250 certificates of 160 hours that were issued in one go share windows of three hours at first.
    let most = per_hour.values().max().copied().unwrap_or(0);
    assert!(most <= 100, "{most} renewals in one hour");
    // Asked every six hours, a fifth more or less, by a run that comes hourly.
    assert!(
        story.replaced_after.len() >= 190,
        "{}",
        story.replaced_after.len()
    );
    let slowest = story.replaced_after.iter().max().copied().unwrap_or_default();
    assert!(slowest < Duration::hours(9), "{slowest}");
    // The first thousand are held back by 300 new orders in three hours, and the troubles were met.
    assert!(story.n_held > 0 && story.n_failed > 0);
}
