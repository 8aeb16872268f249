//! The table: for each rule at least one zone that breaks it, and what is said then.

mod caa;
mod dane;
mod dkim;
mod dmarc;
mod host;
mod mta_sts;
mod servers;
mod spf;
mod srv;
mod tls_rpt;

use super::super::*;

/// A good zone with lines taken out and put in, and the finding that is meant.
#[derive(Clone)]
pub struct Case {
    pub rule: &'static str,
    pub role: Role,
    pub without: &'static [&'static str],
    pub with: &'static [&'static str],
    pub id: &'static str,
    pub severity: Severity,
}

/// The rules.
pub const RULES: &[&str] = &[
    "1.1",
    "1.2",
    "1.4",
    "1.5",
    "1.6",
    "1.7",
    "1.8",
    "1.9",
    "1.10",
    "1.11",
    "1.12",
    "1.13",
    "1.14",
    "1.15",
    "1.16",
    "1.17",
    "1.18",
    "1.19",
    "1.20",
    "1.21",
    "2.name",
    "2.several",
    "2.unknown",
    "2.dropped",
    "2.p",
    "2.values",
    "2.subdomain",
    "2.walk",
    "2.t",
    "2.uri",
    "2.external",
    "2.reject",
    "2.wanted",
    "3.one",
    "3.v",
    "3.p",
    "3.revoked",
    "3.k",
    "3.h",
    "3.s",
    "3.t",
    "3.size",
    "3.bare",
    "3.ed25519",
    "3.match",
    "3.node",
    "3.selector",
    "3.answer",
    "4.record",
    "4.count",
    "4.id",
    "4.page",
    "4.redirect",
    "4.type",
    "4.size",
    "4.policy",
    "4.mx",
    "4.certificate",
    "4.stale",
    "4.age",
    "4.mode",
    "4.wanted",
    "5.record",
    "5.count",
    "5.uri",
    "5.host",
    "5.wanted",
    "6.mx",
    "6.insecure",
    "6.usable",
    "6.usage",
    "6.full",
    "6.match",
    "6.anchor",
    "6.combination",
    "6.rollover",
    "6.ttl",
    "6.bogus",
    "6.denial",
    "6.several-mx",
    "6.unknown",
    "7.none",
    "7.issue",
    "7.critical",
    "7.grammar",
    "7.account",
    "7.method",
    "7.servfail",
    "7.unnamed",
    "8.alias",
    "8.address",
    "8.literal",
    "8.implicit",
    "8.null",
    "8.ehlo",
    "8.ptr",
    "8.fcrdns",
    "8.one",
    "8.generic",
    "8.ptr-ehlo",
    "8.private",
    "8.here",
    "8.listens",
    "8.many",
    "9.srv",
    "9.wanted",
    "9.autoconfig",
    "servers",
];

/// Returns one case.
fn case(
    rule: &'static str,
    role: Role,
    without: &'static [&'static str],
    with: &'static [&'static str],
    id: &'static str,
    severity: Severity,
) -> Case {
    Case {
        rule,
        role,
        without,
        with,
        id,
        severity,
    }
}

/// Returns every case.
pub fn cases() -> Vec<Case> {
    [
        spf::cases(),
        dmarc::cases(),
        dkim::cases(),
        mta_sts::cases(),
        tls_rpt::cases(),
        dane::cases(),
        caa::cases(),
        host::cases(),
        srv::cases(),
        servers::cases(),
    ]
    .concat()
}
