//! DKIM.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, MailDomain},
    model::finding::Severity::{Error, Warning},
};

const DKIM: &[&str] = &["s1._domainkey"];

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "3.one",
            Any,
            &[],
            &["s1._domainkey.example.test TXT v=DKIM1; p="],
            "dkim.several",
            Error,
        ),
        case("3.one", Any, DKIM, &[], "dkim.missing", Error),
        case(
            "3.v",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT k=rsa; v=DKIM1; p="],
            "dkim.version",
            Error,
        ),
        case(
            "3.p",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; k=rsa"],
            "dkim.syntax",
            Error,
        ),
        case(
            "3.p",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; p=AAAA"],
            "dkim.syntax",
            Error,
        ),
        case(
            "3.revoked",
            MailDomain,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; p="],
            "dkim.revoked",
            Error,
        ),
        case(
            "3.k",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; k=dsa; p=AAAA"],
            "dkim.algorithm",
            Error,
        ),
        case(
            "3.h",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; h=sha1; p=$PKCS1"],
            "dkim.hash",
            Error,
        ),
        case(
            "3.s",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; s=tlsrpt; p=$PKCS1"],
            "dkim.service",
            Error,
        ),
        case(
            "3.t",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; t=y; p=$PKCS1"],
            "dkim.testing",
            Warning,
        ),
        case("3.size", Any, DKIM, &[RSA_512], "dkim.key-short", Error),
        case("3.size", Any, DKIM, &[RSA_1024], "dkim.key-weak", Warning),
        case(
            "3.bare",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; p=$PKCS1"],
            "dkim.bare-key",
            Warning,
        ),
        case("3.ed25519", Any, DKIM, &[ED25519], "dkim.ed25519-alone", Warning),
        case(
            "3.ed25519",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT v=DKIM1; k=ed25519; p=AAAA"],
            "dkim.syntax",
            Error,
        ),
        case(
            "3.match",
            MailDomain,
            &[],
            &[". KEY other"],
            "dkim.mismatch",
            Error,
        ),
        case(
            "3.node",
            Any,
            &[],
            &["_domainkey.example.test NXDOMAIN"],
            "dkim.no-node",
            Warning,
        ),
    ]
}

const ED25519: &str =
    "s1._domainkey.example.test TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA_512: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOZGbwEcKzz6xHyW64AiiF109Dgrh3eSo6jana8Lhx3UT1/qqYq1jeufyGju3HLtHriFyyYPaaOxX+7YPp3E9qUCAwEAAQ==";
const RSA_1024: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQClNvD8+Y5EZcYepgVV9MEn0+wR9aGG3+Js/Rej0Lo0PiO+MYiV3Q5DCqCSmyQbhaKl+rl861BMxa2yDTM+fFOeGNVPKBqg253gp/dQ0g7los6Q4jwHjWjXR7mpboXBt4sbtubqjxpUvDB7INn7LmOIBILDiMuhoEJ0w4y7/Rg0rQIDAQAB";
