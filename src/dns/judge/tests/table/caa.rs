//! CAA.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, Host},
    model::finding::Severity::{Error, Info, Warning},
};

const CAA: &[&str] = &["example.test CAA"];

pub fn cases() -> Vec<Case> {
    vec![
        case("7.none", Host, CAA, &[], "caa.none", Info),
        case(
            "7.issue",
            Host,
            CAA,
            &["example.test CAA 0 issue other.test"],
            "caa.refused",
            Error,
        ),
        case(
            "7.issue",
            Host,
            CAA,
            &["example.test CAA 0 issue ;"],
            "caa.refused",
            Error,
        ),
        case(
            "7.critical",
            Host,
            &[],
            &["example.test CAA 128 tbs x"],
            "caa.critical",
            Error,
        ),
        case(
            "7.grammar",
            Host,
            &[],
            &["example.test CAA 0 issue a.test x y"],
            "caa.malformed",
            Warning,
        ),
        case(
            "7.account",
            Host,
            CAA,
            &["example.test CAA 0 issue letsencrypt.org; accounturi=https://ca.test/a/2"],
            "caa.refused",
            Error,
        ),
        case(
            "7.method",
            Host,
            CAA,
            &["example.test CAA 0 issue letsencrypt.org; validationmethods=dns-01"],
            "caa.refused",
            Error,
        ),
        case(
            "7.servfail",
            Host,
            CAA,
            &["example.test CAA !"],
            "caa.unanswered",
            Error,
        ),
        case(
            "7.servfail",
            Any,
            CAA,
            &["example.test CAA !"],
            "caa.unanswered",
            Error,
        ),
        case(
            "7.critical",
            Any,
            &[],
            &["example.test CAA 128 tbs x"],
            "caa.critical",
            Error,
        ),
        case("7.unnamed", Host, &[], &[". CA unnamed"], "caa.unknown-ca", Info),
    ]
}
