//! DKIM.

use super::{Case, case};
use crate::{
    dns::desired::Role::{Any, MailDomain},
    model::finding::Severity::{Error, Info, Warning},
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
        case("3.size", Any, DKIM, &[RSA_4160], "dkim.key-long", Warning),
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
        case(
            "3.match",
            MailDomain,
            &[],
            &[". KEY garbage"],
            "dkim.key-unreadable",
            Warning,
        ),
        case(
            "3.selector",
            Any,
            &[],
            &[". SELECTOR none"],
            "dkim.no-selector",
            Info,
        ),
        case(
            "3.answer",
            Any,
            DKIM,
            &["s1._domainkey.example.test TXT !"],
            "dkim.unanswered",
            Error,
        ),
    ]
}

const ED25519: &str =
    "s1._domainkey.example.test TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA_512: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOZGbwEcKzz6xHyW64AiiF109Dgrh3eSo6jana8Lhx3UT1/qqYq1jeufyGju3HLtHriFyyYPaaOxX+7YPp3E9qUCAwEAAQ==";
const RSA_1024: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQClNvD8+Y5EZcYepgVV9MEn0+wR9aGG3+Js/Rej0Lo0PiO+MYiV3Q5DCqCSmyQbhaKl+rl861BMxa2yDTM+fFOeGNVPKBqg253gp/dQ0g7los6Q4jwHjWjXR7mpboXBt4sbtubqjxpUvDB7INn7LmOIBILDiMuhoEJ0w4y7/Rg0rQIDAQAB";
const RSA_4160: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MIICKjANBgkqhkiG9w0BAQEFAAOCAhcAMIICEgKCAgkAoQ2xtY0DfCospMGtbLu4adEshTzy5/1Ip/uiHxuX4V6/Dm4r8eIhcAVQ9GR6muuHn45uPUcO0ZkXEi5+OAQXaQ8j2Ik+8K4QbVe6KS215uyqB4NMdjP+rWCtMlwd6fK0x11Ng5TD2U0MZTSh1vAF7WqA3iI9e4mlPSYHMbRnvClZ7PlSY0NnAnYggCTSau8DrLP2cQ/yhyND49UDj1p9i/HdqhWMoa1Kq3dMTPNKZqsHQiX1mOm4wZqlT4Aj9as99QYi8meAo2UBDGkZZX3QQ9gFjtoKlTFghAI4KzJhkeLl8+OAnQcG4NLKy9NnmqbHQazTUCGWqguIp+wVXwByeD5DDMXzx5zpGbwb0tGRSv7NTYbx4apaLGkHureRMoNIz4c4OJ1XlQP4pTr7AEHNC+fsNtm9oErf7LQPZDpV4PhIH998v8r3IilXRKVoNTpBHoyDeQW5Z4Zcgz5mfQm0I98ob3Sj25RB8jQZOErYaFmSQJmMniACWpjtLOHV23luYMuOZLeQexr6qPUzf0VLQvxaYtdAl4WP9CKcA+ldKIH6SgsLWKPbcVzMEey0aXIFiaU59ewftPuh7bO2J+Z1lmXmS3l7CaCWOaJmdezcBIXxYxIptvt604XDwB0iiVTH1Wu9f3kqh21uotBXvXzfADbTkWWIAqYcNb2ts9nqdR7ffQzT8oggUwIDAQAB";
