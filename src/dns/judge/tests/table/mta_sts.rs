//! MTA-STS.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, MailDomain},
    model::finding::Severity::{Error, Info, Warning},
};

const STS: &[&str] = &["_mta-sts.example.test"];
const PAGE: &[&str] = &["mta-sts.example.test PAGE"];

pub fn cases() -> Vec<Case> {
    vec![
        case("4.record", Any, STS, &[], "mta-sts.missing", Info),
        case(
            "4.record",
            Any,
            STS,
            &["_mta-sts.example.test TXT v=STSv1"],
            "mta-sts.version",
            Error,
        ),
        case(
            "4.count",
            Any,
            &[],
            &["_mta-sts.example.test TXT v=STSv1; id=2"],
            "mta-sts.several",
            Error,
        ),
        case(
            "4.id",
            Any,
            STS,
            &["_mta-sts.example.test TXT v=STSv1; id=a-b"],
            "mta-sts.syntax",
            Error,
        ),
        case("4.page", Any, PAGE, &[], "mta-sts.policy-unreachable", Error),
        case(
            "4.page",
            Any,
            &["mta-sts.example.test A"],
            &[],
            "mta-sts.policy-unreachable",
            Error,
        ),
        case(
            "4.page",
            Any,
            PAGE,
            &["mta-sts.example.test PAGE 404 text/plain x"],
            "mta-sts.policy-unreachable",
            Error,
        ),
        case(
            "4.redirect",
            Any,
            PAGE,
            &["mta-sts.example.test PAGE 301 text/plain x"],
            "mta-sts.redirect",
            Error,
        ),
        case(
            "4.type",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/html version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 604800",
            ],
            "mta-sts.media-type",
            Warning,
        ),
        case(
            "4.size",
            Any,
            PAGE,
            &["mta-sts.example.test PAGE 200 text/plain $LONG"],
            "mta-sts.policy-size",
            Error,
        ),
        case(
            "4.policy",
            Any,
            PAGE,
            &["mta-sts.example.test PAGE 200 text/plain mode: enforce"],
            "mta-sts.policy",
            Error,
        ),
        case(
            "4.mx",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: mail.example.test\\nmax_age: 604800",
            ],
            "mta-sts.mx-uncovered",
            Error,
        ),
        case(
            "4.mx",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: testing\\nmx: mail.example.test\\nmax_age: 604800",
            ],
            "mta-sts.mx-uncovered",
            Warning,
        ),
        case(
            "4.stale",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmx: old.example.test\\nmax_age: 604800",
            ],
            "mta-sts.mx-stale",
            Warning,
        ),
        case(
            "4.age",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 3600",
            ],
            "mta-sts.max-age",
            Warning,
        ),
        case(
            "4.age",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 90000",
            ],
            "mta-sts.max-age",
            Info,
        ),
        case(
            "4.mode",
            Any,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: testing\\nmx: *.example.test\\nmax_age: 604800",
            ],
            "mta-sts.not-enforced",
            Info,
        ),
        case(
            "4.certificate",
            MailDomain,
            &[],
            &["mail.example.test CHAIN untrusted"],
            "mta-sts.mx-certificate",
            Error,
        ),
        case(
            "4.certificate",
            MailDomain,
            &[],
            &["mail.example.test CHAIN other.test"],
            "mta-sts.mx-certificate",
            Error,
        ),
        case(
            "4.certificate",
            MailDomain,
            PAGE,
            &[
                "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: testing\\nmx: *.example.test\\nmax_age: 604800",
                "mail.example.test CHAIN untrusted",
            ],
            "mta-sts.mx-certificate",
            Warning,
        ),
        case(
            "4.certificate",
            MailDomain,
            &[],
            &["mail.example.test CHAIN !"],
            "mta-sts.mx-not-asked",
            Info,
        ),
        case(
            "4.wanted",
            MailDomain,
            &[],
            &[". WANTS _mta-sts.example.test TXT v=STSv1; id=2"],
            "mta-sts.differs",
            Warning,
        ),
        case(
            "4.record",
            Any,
            STS,
            &["_mta-sts.example.test TXT !"],
            "mta-sts.unanswered",
            Error,
        ),
    ]
}
