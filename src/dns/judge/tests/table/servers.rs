//! Name servers.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, Host},
    model::finding::Severity::{Error, Warning},
};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 example.test MX 10 other.test"],
            "mx.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 example.test TXT v=spf1 -all"],
            "spf.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 _dmarc.example.test TXT"],
            "dmarc.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 _mta-sts.example.test TXT"],
            "mta-sts.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 _smtp._tls.example.test TXT"],
            "tls-rpt.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 example.test TXT !"],
            "spf.server-silent",
            Warning,
        ),
        case(
            "servers",
            Any,
            &[],
            &["@198.51.100.2 example.test CAA"],
            "caa.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Host,
            &[],
            &["@198.51.100.2 mail.example.test A 198.51.100.77"],
            "address.servers-disagree",
            Error,
        ),
        case(
            "servers",
            Host,
            &[],
            &["@198.51.100.2 _25._tcp.mail.example.test TLSA"],
            "tlsa.servers-disagree",
            Error,
        ),
    ]
}
