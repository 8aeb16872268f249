//! TLS reporting.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, Host, MailDomain},
    model::finding::Severity::{Error, Info, Warning},
};

const TLS: &[&str] = &["_smtp._tls.example.test"];

pub fn cases() -> Vec<Case> {
    vec![
        case("5.record", Any, TLS, &[], "tls-rpt.missing", Info),
        case(
            "5.record",
            Any,
            TLS,
            &["_smtp._tls.example.test TXT v=TLSRPTv1"],
            "tls-rpt.version",
            Error,
        ),
        case(
            "5.count",
            Any,
            &[],
            &["_smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:a@b.test"],
            "tls-rpt.several",
            Error,
        ),
        case(
            "5.uri",
            Any,
            TLS,
            &["_smtp._tls.example.test TXT v=TLSRPTv1; rua=ftp://x.test"],
            "tls-rpt.syntax",
            Error,
        ),
        case(
            "5.uri",
            Any,
            TLS,
            &["_smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:a@example.test"],
            "tls-rpt.same-domain",
            Info,
        ),
        case("5.host", Host, &[], &[], "tls-rpt.missing", Info),
        case(
            "5.wanted",
            MailDomain,
            &[],
            &[". WANTS _smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:other@reports.test"],
            "tls-rpt.differs",
            Warning,
        ),
        case(
            "5.record",
            Any,
            TLS,
            &["_smtp._tls.example.test TXT !"],
            "tls-rpt.unanswered",
            Error,
        ),
    ]
}
