//! SPF as another implementation has it: our evaluation agrees with mail-auth's over generated worlds.
//!
//! Left aside is where mail-auth 0.13.3 departs from RFC 7208: it does not count lookups that find nothing (4.6.4), passes
//! over mechanisms that nobody knows and prefix lengths that are too long (4.6, 5.6), asks `exists` for AAAA too (5.7), ends with the qualifier of a nested
//! `include` (5.2), and compares short `ip6` prefixes with IPv4 senders (5.6).

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use mail_auth::{
    DnssecStatus, MX, MessageAuthenticator, Parameters, RecordSet, ResolverCache, Txt,
    common::parse::TxtRecordParser,
    hickory_resolver::config::{ResolverConfig, ResolverOpts},
    spf::{Spf, verify::SpfParameters},
};
use mailcert::dns::{
    facts::{Answer, Facts, Family, Question},
    spf::{self, Request, SpfResult},
};

/// Worlds that are compared.
const N_WORLDS: u64 = 5000;
/// Names that exist.
const NAMES: [&str; 7] = [
    "d.test",
    "a.test",
    "b.test",
    "c.test",
    "e.test",
    "10.9.d.test",
    "mx.test",
];
/// Addresses that senders and hosts have.
const V4: [[u8; 4]; 4] = [
    [192, 0, 2, 1],
    [192, 0, 2, 77],
    [198, 51, 100, 9],
    [203, 0, 113, 200],
];

/// Answers that mail-auth takes for known; what is not there does not exist.
struct Known<K, V>(HashMap<K, V>);

impl<K: Hash + Eq, V: Clone> ResolverCache<K, V> for Known<K, V> {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: K, _: V, _: Instant) {}
}

/// Numbers that are the same in every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % n
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn record(&mut self) -> String {
        let mut text = "v=spf1".to_owned();
        for _ in 0..self.below(5) {
            let qualifier = *self.one(&["", "", "", "-", "~", "?", "+"]);
            let name = *self.one(&NAMES);
            let [a, b, c, d] = *self.one(&V4);
            let (short, long) = (self.below(33), 32 + self.below(97));
            let term = match self.below(20) {
                0 => format!("ip4:{a}.{b}.{c}.{d}"),
                1 => format!("ip4:{a}.{b}.{c}.{d}/{short}"),
                2 => format!("ip6:2001:db8::{d}/{long}"),
                3 | 4 => "a".to_owned(),
                5 => format!("a:{name}/{short}"),
                6 => format!("a:{name}/{short}//{long}"),
                7 => "mx".to_owned(),
                8 => format!("mx:{name}"),
                9..=13 => format!("include:{name}"),
                14 => format!("exists:{name}"),
                15 => "exists:%{ir}.%{d}".to_owned(),
                16 => "include:%{o}".to_owned(),
                17 => format!("A:{}", name.to_ascii_uppercase()),
                18 => (*self.one(&["ip4:1.2.3", "a:", "include", "all:x"])).to_owned(),
                _ => "unknown=x".to_owned(),
            };
            let is_bare = term.contains('=') || term.starts_with("include");
            let qualifier = if is_bare { "" } else { qualifier };
            text += &format!(" {qualifier}{term}");
        }
        text += match self.below(8) {
            0..=2 => " -all",
            3 => " ~all",
            4 => " ?all",
            5 => " redirect=b.test",
            6 => " redirect=c.test",
            _ => "",
        };
        text
    }
}

/// A world as both want it.
struct World {
    facts: Facts,
    texts: Known<Box<str>, Txt>,
    mx: Known<Box<str>, RecordSet<MX>>,
    v4: Known<Box<str>, RecordSet<Ipv4Addr>>,
    v6: Known<Box<str>, RecordSet<Ipv6Addr>>,
    shown: Vec<String>,
}

fn rrset<T>(records: Vec<T>) -> RecordSet<T> {
    RecordSet {
        rrset: records.into(),
        dnssec_status: DnssecStatus::Insecure,
    }
}

fn world(numbers: &mut Numbers) -> World {
    let empty = || HashMap::new();
    let mut world = World {
        facts: Facts::default(),
        texts: Known(empty()),
        mx: Known(HashMap::new()),
        v4: Known(HashMap::new()),
        v6: Known(HashMap::new()),
        shown: Vec::new(),
    };
    for name in NAMES {
        let key: Box<str> = format!("{name}.").into();
        if name == "d.test" || numbers.below(4) > 0 {
            let text = numbers.record();
            let parsed = match Spf::parse(text.as_bytes()) {
                Ok(spf) => Txt::Spf(spf.into()),
                Err(error) => Txt::Error(error),
            };
            world.texts.0.insert(key.clone(), parsed);
            world.shown.push(format!("{name} {text}"));
            world.facts.insert(
                Question::Txt(name.to_owned()),
                Answer::Texts(vec![text.into_bytes()]),
            );
        }
        let has_v4 = numbers.below(3) > 0;
        if has_v4 {
            let address = Ipv4Addr::from(*numbers.one(&V4));
            world.v4.0.insert(key.clone(), rrset(vec![address]));
            world.shown.push(format!("{name} A {address}"));
            let question = Question::Addresses(name.to_owned(), Family::V4);
            world
                .facts
                .insert(question, Answer::Addresses(vec![address.into()]));
        }
        if has_v4 && numbers.below(3) > 0 {
            let address = Ipv6Addr::new(
                0x2001,
                0xdb8,
                0,
                0,
                0,
                0,
                0,
                u16::try_from(numbers.below(3)).unwrap(),
            );
            world.v6.0.insert(key.clone(), rrset(vec![address]));
            world.shown.push(format!("{name} AAAA {address}"));
            let question = Question::Addresses(name.to_owned(), Family::V6);
            world
                .facts
                .insert(question, Answer::Addresses(vec![address.into()]));
        }
        if numbers.below(3) > 0 {
            let target = *numbers.one(&NAMES);
            let exchanges = vec![MX {
                exchanges: [Box::from(format!("{target}."))].into(),
                preference: 10,
            }];
            world.mx.0.insert(key, rrset(exchanges));
            world.shown.push(format!("{name} MX {target}"));
            let answer = Answer::Exchanges(vec![(10, target.to_owned())]);
            world.facts.insert(Question::Mx(name.to_owned()), answer);
        }
    }
    world
}

/// Evaluates as we do; what is not in the world does not exist.
fn ours(world: &World, address: IpAddr) -> spf::Evaluation {
    let mut facts = world.facts.clone();
    let request = Request {
        address,
        domain: "d.test",
        sender: "joe@d.test",
        helo: "mx.test",
    };
    loop {
        match spf::check_host(&request, &facts) {
            Ok(evaluation) => return evaluation,
            Err(question) => {
                let answer = match question {
                    Question::Addresses(..) => Answer::Addresses(Vec::new()),
                    Question::Txt(_) => Answer::Texts(Vec::new()),
                    _ => Answer::Names(Vec::new()),
                };
                facts.insert(question, answer);
            }
        }
    }
}

fn name(result: mail_auth::SpfResult) -> SpfResult {
    match result {
        mail_auth::SpfResult::Pass => SpfResult::Pass,
        mail_auth::SpfResult::Fail => SpfResult::Fail,
        mail_auth::SpfResult::SoftFail => SpfResult::SoftFail,
        mail_auth::SpfResult::Neutral => SpfResult::Neutral,
        mail_auth::SpfResult::TempError => SpfResult::TempError,
        mail_auth::SpfResult::PermError => SpfResult::PermError,
        mail_auth::SpfResult::None => SpfResult::None,
    }
}

#[test]
fn agrees_with_mail_auth_over_generated_worlds() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let nobody = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut n_compared, mut wrong) = (HashMap::<String, u32>::new(), Vec::new());
    for n in 0..N_WORLDS {
        let world = world(&mut numbers);
        let address: IpAddr = match numbers.below(2) {
            0 => Ipv4Addr::from(*numbers.one(&V4)).into(),
            _ => Ipv6Addr::new(
                0x2001,
                0xdb8,
                0,
                0,
                0,
                0,
                0,
                u16::try_from(numbers.below(3)).unwrap(),
            )
            .into(),
        };
        let evaluation = ours(&world, address);
        if evaluation.void_lookups > 2 {
            continue;
        }
        let parameters = Parameters {
            params: SpfParameters::verify_mail_from(address, "mx.test", "host.test", "joe@d.test"),
            cache_txt: Some(&world.texts),
            cache_mx: Some(&world.mx),
            cache_ptr: None::<&Known<IpAddr, RecordSet<Box<str>>>>,
            cache_ipv4: Some(&world.v4),
            cache_ipv6: Some(&world.v6),
        };
        let theirs = name(runtime.block_on(nobody.check_host(parameters)).result());
        *n_compared.entry(theirs.to_string()).or_default() += 1;
        if theirs != evaluation.result {
            wrong.push(format!(
                "{n}: {address}: mail-auth {theirs}, we {} ({}; {} lookups)\n  {}",
                evaluation.result,
                evaluation.reason,
                evaluation.lookups,
                world.shown.join("\n  ")
            ));
        }
    }
    let n_wrong = wrong.len();
    wrong.truncate(10);
    assert!(
        wrong.is_empty(),
        "{n_wrong} of {n_compared:?}:\n{}",
        wrong.join("\n")
    );
    for result in ["pass", "fail", "softfail", "neutral", "permerror"] {
        assert!(n_compared.get(result).is_some_and(|n| *n > 100), "{n_compared:?}");
    }
}
