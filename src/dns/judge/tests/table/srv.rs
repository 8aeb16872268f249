//! Mail programs.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, MailDomain},
    model::finding::Severity::{Error, Info, Warning},
};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "9.srv",
            Any,
            &["_submissions", "_imaps"],
            &[],
            "srv.missing",
            Info,
        ),
        case(
            "9.srv",
            Any,
            &[],
            &["_imap._tcp.example.test SRV 0 1 143 gone.test"],
            "srv.target-unresolved",
            Error,
        ),
        case(
            "9.srv",
            Any,
            &[],
            &[
                "_imap._tcp.example.test SRV 0 1 143 al.test",
                "al.test CNAME mail.example.test",
            ],
            "srv.target-alias",
            Error,
        ),
        case(
            "9.srv",
            Any,
            &[],
            &["_imaps._tcp.example.test SRV 0 0 0 ."],
            "srv.none-beside-others",
            Error,
        ),
        case(
            "9.srv",
            Any,
            &[],
            &["_imap._tcp.example.test SRV 0 1 144 mail.example.test"],
            "srv.port",
            Info,
        ),
        case("9.autoconfig", Any, &[], &[], "srv.no-autoconfig", Info),
        case(
            "9.autoconfig",
            MailDomain,
            &[],
            &["autoconfig.example.test A 198.51.100.80"],
            "srv.autoconfig",
            Warning,
        ),
        case(
            "9.wanted",
            MailDomain,
            &[],
            &[". WANTS _imaps._tcp.example.test SRV 0 1 993 other.example.test"],
            "srv.differs",
            Warning,
        ),
    ]
}
