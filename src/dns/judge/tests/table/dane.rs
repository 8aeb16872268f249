//! DANE.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, Host, MailDomain},
    model::finding::Severity::{Error, Info, Warning},
};

const TLSA: &[&str] = &["_25._tcp.mail"];
const MAIL: &str = "_25._tcp.mail.example.test TLSA $SERVED";

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "6.mx",
            Any,
            &[],
            &["example.test INSECURE", "mail.example.test X"],
            "tlsa.insecure",
            Warning,
        ),
        case(
            "6.mx",
            Any,
            &["example.test MX"],
            &[
                "example.test MX 1 mail.signed.test",
                "mail.signed.test A 198.51.100.25",
                "_25._tcp.mail.signed.test TLSA $SERVED",
                "example.test INSECURE",
            ],
            "tlsa.mx-insecure",
            Warning,
        ),
        case(
            "6.insecure",
            Host,
            &[],
            &["_tcp.mail.example.test INSECURE"],
            "tlsa.insecure",
            Warning,
        ),
        case(
            "6.insecure",
            Any,
            &[],
            &["example.test INSECURE"],
            "dnssec.insecure",
            Info,
        ),
        case(
            "6.usable",
            Host,
            TLSA,
            &["_25._tcp.mail.example.test TLSA 1 1 1 abab"],
            "tlsa.unusable",
            Error,
        ),
        case(
            "6.usable",
            Host,
            TLSA,
            &["_25._tcp.mail.example.test TLSA 3 1 1 abab"],
            "tlsa.unusable",
            Error,
        ),
        case(
            "6.usage",
            Host,
            &[],
            &["_25._tcp.mail.example.test TLSA 0 1 1 abab"],
            "tlsa.pkix-usage",
            Warning,
        ),
        case(
            "6.full",
            Host,
            &[],
            &["_25._tcp.mail.example.test TLSA 3 1 0 abab"],
            "tlsa.full",
            Warning,
        ),
        case(
            "6.match",
            Host,
            TLSA,
            &[
                "_25._tcp.mail.example.test TLSA 3 1 1 abababababababababababababababababababababababababababababababab",
            ],
            "tlsa.mismatch",
            Error,
        ),
        case(
            "6.match",
            Host,
            &[],
            &["mail.example.test CHAIN mail.example.test"],
            "tlsa.mismatch",
            Error,
        ),
        case(
            "6.match",
            Host,
            &[],
            &["mail.example.test CHAIN !"],
            "tlsa.not-compared",
            Info,
        ),
        case(
            "6.combination",
            Host,
            &[],
            &[
                "_25._tcp.mail.example.test TLSA 3 0 1 abababababababababababababababababababababababababababababababab",
            ],
            "tlsa.combination",
            Warning,
        ),
        case("6.rollover", Host, TLSA, &[MAIL], "tlsa.no-rollover", Info),
        case(
            "6.ttl",
            Host,
            &[],
            &["_25._tcp.mail.example.test TTL 100000"],
            "tlsa.ttl",
            Warning,
        ),
        case(
            "6.bogus",
            Any,
            &["example.test MX"],
            &["example.test MX !bogus"],
            "dnssec.bogus",
            Error,
        ),
        case(
            "6.denial",
            Host,
            TLSA,
            &["_25._tcp.mail.example.test TLSA !"],
            "tlsa.unanswered",
            Error,
        ),
        case(
            "6.several-mx",
            Any,
            &["_25._tcp.backup"],
            &[],
            "tlsa.missing-on-mx",
            Warning,
        ),
        case(
            "6.several-mx",
            MailDomain,
            &["_25._tcp.backup"],
            &[],
            "tlsa.missing-on-mx",
            Warning,
        ),
        case(
            "6.anchor",
            Host,
            TLSA,
            &[
                "_25._tcp.mail.example.test TLSA $ANCHOR",
                "mail.example.test CHAIN anchor",
            ],
            "tlsa.anchor-name",
            Error,
        ),
        case(
            "6.anchor",
            Host,
            TLSA,
            &["_25._tcp.mail.example.test TLSA $ITSELF", ". YEAR 2028"],
            "tlsa.anchor-expired",
            Error,
        ),
        case(
            "6.unknown",
            Any,
            &[],
            &["example.test INSECURE", " INSECURE"],
            "dnssec.unknown",
            Info,
        ),
    ]
}
