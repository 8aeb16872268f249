//! The table: for each rule at least one zone that breaks it, and what is said then.

use super::super::*;
use Role::{Any, Host, MailDomain};
use Severity::{Error, Info, Warning};

/// A good zone with lines taken out and put in, and the finding that is meant.
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
    "4.record",
    "4.count",
    "4.id",
    "4.page",
    "4.redirect",
    "4.type",
    "4.size",
    "4.policy",
    "4.mx",
    "4.stale",
    "4.age",
    "4.mode",
    "5.record",
    "5.count",
    "5.uri",
    "5.host",
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
    "7.none",
    "7.issue",
    "7.critical",
    "7.grammar",
    "7.account",
    "7.method",
    "7.servfail",
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
    "9.srv",
    "9.autoconfig",
    "servers",
];

pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut case = |rule, role, without, with, id, severity| {
        all.push(Case {
            rule,
            role,
            without,
            with,
            id,
            severity,
        });
    };
    // SPF.
    const SPF: &[&str] = &["example.test TXT"];
    case(
        "1.1",
        Any,
        &[],
        &["example.test SPF v=spf1 -all"],
        "spf.type",
        Warning,
    );
    case(
        "1.2",
        Any,
        &[],
        &["example.test TXT v=spf1 -all"],
        "spf.multiple-records",
        Error,
    );
    case(
        "1.2",
        Any,
        SPF,
        &["example.test TXT v=spf10 mx -all"],
        "spf.unrecognized",
        Warning,
    );
    case("1.2", Any, SPF, &[], "spf.missing", Error);
    case("1.4", Any, SPF, &[LONG], "spf.length", Warning);
    case("1.4", Any, &[], &[VERY_LONG], "spf.answer-size", Info);
    case(
        "1.5",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx foo:bar -all"],
        "spf.syntax",
        Error,
    );
    case("1.6", Any, SPF, &[MANY_LOOKUPS], "spf.lookup-limit", Error);
    case(
        "1.7",
        Any,
        SPF,
        &[
            "example.test TXT v=spf1 mx:many.test -all",
            "many.test MX 1 a.test",
            "many.test MX 1 b.test",
            "many.test MX 1 c.test",
            "many.test MX 1 d.test",
            "many.test MX 1 e.test",
            "many.test MX 1 f.test",
            "many.test MX 1 g.test",
            "many.test MX 1 h.test",
            "many.test MX 1 i.test",
            "many.test MX 1 j.test",
            "many.test MX 1 k.test",
        ],
        "spf.broken-reference",
        Error,
    );
    case(
        "1.8",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx a:x.test a:y.test a:z.test -all"],
        "spf.void-lookups",
        Error,
    );
    case(
        "1.9",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx"],
        "spf.no-all",
        Warning,
    );
    case(
        "1.10",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx include:x.test -all"],
        "spf.broken-reference",
        Error,
    );
    case(
        "1.11",
        Host,
        &["mail.example.test TXT"],
        &["mail.example.test TXT v=spf1 mx -all"],
        "spf.host-not-covered",
        Error,
    );
    case(
        "1.12",
        Any,
        SPF,
        &["example.test TXT v=spf1 ptr -all"],
        "spf.ptr-mechanism",
        Warning,
    );
    case(
        "1.13",
        Any,
        SPF,
        &["example.test TXT v=spf1 ip4:192.0.2.1/33 -all"],
        "spf.syntax",
        Error,
    );
    case(
        "1.13",
        Any,
        SPF,
        &["example.test TXT v=spf1 a/024 -all"],
        "spf.syntax",
        Error,
    );
    case(
        "1.14",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx -all redirect=x.test"],
        "spf.after-all",
        Warning,
    );
    case(
        "1.14",
        Any,
        SPF,
        &["example.test TXT v=spf1 redirect=x.test"],
        "spf.broken-reference",
        Error,
    );
    case(
        "1.15",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx exp=a.test exp=b.test -all"],
        "spf.syntax",
        Error,
    );
    case(
        "1.16",
        Any,
        SPF,
        &["example.test TXT v=spf1 exists:%{p}.test -all"],
        "spf.ptr-mechanism",
        Warning,
    );
    case(
        "1.16",
        Any,
        SPF,
        &["example.test TXT v=spf1 exists:%{x}.test -all"],
        "spf.syntax",
        Error,
    );
    case(
        "1.17",
        Any,
        SPF,
        &["example.test TXT v=spf1 +all"],
        "spf.all-passes",
        Error,
    );
    case(
        "1.17",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx ?all"],
        "spf.all-neutral",
        Warning,
    );
    case(
        "1.18",
        Host,
        &["mail.example.test TXT"],
        &[],
        "spf.host-missing",
        Warning,
    );
    case(
        "1.19",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx ~all"],
        "spf.all-softfail",
        Info,
    );
    case(
        "1.20",
        Any,
        &["example.test MX"],
        &["example.test MX 0 ."],
        "spf.no-mail",
        Warning,
    );
    case(
        "1.21",
        Any,
        SPF,
        &["example.test TXT v=spf1 mx -all a"],
        "spf.after-all",
        Warning,
    );
    case(
        "1.21",
        Any,
        SPF,
        &["example.test TXT v=spf1 MX foo -all"],
        "spf.syntax",
        Error,
    );
    case(
        "1.18",
        MailDomain,
        &[],
        &[". SENDS 198.51.100.99"],
        "spf.host-not-covered",
        Error,
    );
    // DMARC.
    const DMARC: &[&str] = &["_dmarc.example.test"];
    case(
        "2.name",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=dmarc1; p=none"],
        "dmarc.version",
        Error,
    );
    case("2.name", Any, DMARC, &[], "dmarc.missing", Warning);
    case(
        "2.several",
        Any,
        &[],
        &["_dmarc.example.test TXT v=DMARC1; p=none"],
        "dmarc.several",
        Error,
    );
    case(
        "2.unknown",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=reject; x=y"],
        "dmarc.unknown-tag",
        Info,
    );
    case(
        "2.dropped",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=reject; pct=50"],
        "dmarc.dropped-tag",
        Info,
    );
    case(
        "2.p",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; rua=mailto:a@example.test"],
        "dmarc.policy",
        Warning,
    );
    case(
        "2.p",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=rejct"],
        "dmarc.policy",
        Error,
    );
    case(
        "2.p",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; sp=no"],
        "dmarc.policy",
        Error,
    );
    case(
        "2.values",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; adkim=x"],
        "dmarc.value",
        Warning,
    );
    case(
        "2.values",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; fo=0:1; ruf=mailto:a@example.test"],
        "dmarc.value",
        Warning,
    );
    case(
        "2.values",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; fo=1"],
        "dmarc.fo-ignored",
        Info,
    );
    case(
        "2.values",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; psd=y"],
        "dmarc.psd",
        Warning,
    );
    case(
        "2.values",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; p=none"],
        "dmarc.syntax",
        Warning,
    );
    case(
        "2.subdomain",
        Any,
        DMARC,
        &[
            "_dmarc.example.test TXT v=DMARC1; p=none; sp=none",
            "_dmarc.test TXT v=DMARC1; p=none; psd=n",
        ],
        "dmarc.subdomain-policy-ignored",
        Warning,
    );
    case(
        "2.walk",
        Any,
        DMARC,
        &["_dmarc.test TXT v=DMARC1; p=none"],
        "dmarc.inherited",
        Info,
    );
    case(
        "2.t",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=reject; t=y"],
        "dmarc.testing",
        Warning,
    );
    case(
        "2.uri",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; rua=a@example.test"],
        "dmarc.report-uri",
        Warning,
    );
    case(
        "2.uri",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; rua=mailto:a@example.test!10m"],
        "dmarc.report-size",
        Info,
    );
    case(
        "2.uri",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none"],
        "dmarc.no-reports",
        Info,
    );
    case(
        "2.external",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none; rua=mailto:a@other.example"],
        "dmarc.report-consent",
        Error,
    );
    case(
        "2.reject",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=reject"],
        "dmarc.reject",
        Info,
    );
    case(
        "2.reject",
        MailDomain,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=reject", ". KEY none"],
        "dmarc.reject-without-dkim",
        Warning,
    );
    case(
        "2.reject",
        Any,
        DMARC,
        &["_dmarc.example.test TXT v=DMARC1; p=none"],
        "dmarc.policy-none",
        Info,
    );
    case(
        "2.name",
        Any,
        DMARC,
        &["_dmarc.example.test TXT !"],
        "dmarc.unanswered",
        Error,
    );
    // DKIM.
    const DKIM: &[&str] = &["s1._domainkey"];
    case(
        "3.one",
        Any,
        &[],
        &["s1._domainkey.example.test TXT v=DKIM1; p="],
        "dkim.several",
        Error,
    );
    case("3.one", Any, DKIM, &[], "dkim.missing", Error);
    case(
        "3.v",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT k=rsa; v=DKIM1; p="],
        "dkim.version",
        Error,
    );
    case(
        "3.p",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; k=rsa"],
        "dkim.syntax",
        Error,
    );
    case(
        "3.p",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; p=AAAA"],
        "dkim.syntax",
        Error,
    );
    case(
        "3.revoked",
        MailDomain,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; p="],
        "dkim.revoked",
        Error,
    );
    case(
        "3.k",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; k=dsa; p=AAAA"],
        "dkim.algorithm",
        Error,
    );
    case(
        "3.h",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; h=sha1; p=$PKCS1"],
        "dkim.hash",
        Error,
    );
    case(
        "3.s",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; s=tlsrpt; p=$PKCS1"],
        "dkim.service",
        Error,
    );
    case(
        "3.t",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; t=y; p=$PKCS1"],
        "dkim.testing",
        Warning,
    );
    case("3.size", Any, DKIM, &[RSA_512], "dkim.key-short", Error);
    case("3.size", Any, DKIM, &[RSA_1024], "dkim.key-weak", Warning);
    case(
        "3.bare",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; p=$PKCS1"],
        "dkim.bare-key",
        Warning,
    );
    case("3.ed25519", Any, DKIM, &[ED25519], "dkim.ed25519-alone", Warning);
    case(
        "3.ed25519",
        Any,
        DKIM,
        &["s1._domainkey.example.test TXT v=DKIM1; k=ed25519; p=AAAA"],
        "dkim.syntax",
        Error,
    );
    case(
        "3.match",
        MailDomain,
        &[],
        &[". KEY other"],
        "dkim.mismatch",
        Error,
    );
    case(
        "3.node",
        Any,
        &[],
        &["_domainkey.example.test NXDOMAIN"],
        "dkim.no-node",
        Warning,
    );
    // MTA-STS.
    const STS: &[&str] = &["_mta-sts.example.test"];
    const PAGE: &[&str] = &["mta-sts.example.test PAGE"];
    case("4.record", Any, STS, &[], "mta-sts.missing", Info);
    case(
        "4.record",
        Any,
        STS,
        &["_mta-sts.example.test TXT v=STSv1"],
        "mta-sts.version",
        Error,
    );
    case(
        "4.count",
        Any,
        &[],
        &["_mta-sts.example.test TXT v=STSv1; id=2"],
        "mta-sts.several",
        Error,
    );
    case(
        "4.id",
        Any,
        STS,
        &["_mta-sts.example.test TXT v=STSv1; id=a-b"],
        "mta-sts.syntax",
        Error,
    );
    case("4.page", Any, PAGE, &[], "mta-sts.policy-unreachable", Error);
    case(
        "4.page",
        Any,
        &["mta-sts.example.test A"],
        &[],
        "mta-sts.policy-unreachable",
        Error,
    );
    case(
        "4.page",
        Any,
        PAGE,
        &["mta-sts.example.test PAGE 404 text/plain x"],
        "mta-sts.policy-unreachable",
        Error,
    );
    case(
        "4.redirect",
        Any,
        PAGE,
        &["mta-sts.example.test PAGE 301 text/plain x"],
        "mta-sts.redirect",
        Error,
    );
    case(
        "4.type",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/html version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 604800",
        ],
        "mta-sts.media-type",
        Warning,
    );
    case(
        "4.size",
        Any,
        PAGE,
        &["mta-sts.example.test PAGE 200 text/plain $LONG"],
        "mta-sts.policy-size",
        Error,
    );
    case(
        "4.policy",
        Any,
        PAGE,
        &["mta-sts.example.test PAGE 200 text/plain mode: enforce"],
        "mta-sts.policy",
        Error,
    );
    case(
        "4.mx",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: mail.example.test\\nmax_age: 604800",
        ],
        "mta-sts.mx-uncovered",
        Error,
    );
    case(
        "4.mx",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: testing\\nmx: mail.example.test\\nmax_age: 604800",
        ],
        "mta-sts.mx-uncovered",
        Warning,
    );
    case(
        "4.stale",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmx: old.example.test\\nmax_age: 604800",
        ],
        "mta-sts.mx-stale",
        Warning,
    );
    case(
        "4.age",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 3600",
        ],
        "mta-sts.max-age",
        Warning,
    );
    case(
        "4.age",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: enforce\\nmx: *.example.test\\nmax_age: 90000",
        ],
        "mta-sts.max-age",
        Info,
    );
    case(
        "4.mode",
        Any,
        PAGE,
        &[
            "mta-sts.example.test PAGE 200 text/plain version: STSv1\\nmode: testing\\nmx: *.example.test\\nmax_age: 604800",
        ],
        "mta-sts.not-enforced",
        Info,
    );
    // TLS reporting.
    const TLS: &[&str] = &["_smtp._tls.example.test"];
    case("5.record", Any, TLS, &[], "tls-rpt.missing", Info);
    case(
        "5.record",
        Any,
        TLS,
        &["_smtp._tls.example.test TXT v=TLSRPTv1"],
        "tls-rpt.version",
        Error,
    );
    case(
        "5.count",
        Any,
        &[],
        &["_smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:a@b.test"],
        "tls-rpt.several",
        Error,
    );
    case(
        "5.uri",
        Any,
        TLS,
        &["_smtp._tls.example.test TXT v=TLSRPTv1; rua=ftp://x.test"],
        "tls-rpt.syntax",
        Error,
    );
    case(
        "5.uri",
        Any,
        TLS,
        &["_smtp._tls.example.test TXT v=TLSRPTv1; rua=mailto:a@example.test"],
        "tls-rpt.same-domain",
        Info,
    );
    case("5.host", Host, &[], &[], "tls-rpt.missing", Info);
    // DANE.
    const TLSA: &[&str] = &["_25._tcp.mail"];
    const MAIL: &str = "_25._tcp.mail.example.test TLSA $SERVED";
    case(
        "6.mx",
        Any,
        &[],
        &["example.test INSECURE", "mail.example.test X"],
        "tlsa.insecure",
        Warning,
    );
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
    );
    case(
        "6.insecure",
        Host,
        &[],
        &["_tcp.mail.example.test INSECURE"],
        "tlsa.insecure",
        Warning,
    );
    case(
        "6.insecure",
        Any,
        &[],
        &["example.test INSECURE"],
        "dnssec.insecure",
        Info,
    );
    case(
        "6.usable",
        Host,
        TLSA,
        &["_25._tcp.mail.example.test TLSA 1 1 1 abab"],
        "tlsa.unusable",
        Error,
    );
    case(
        "6.usable",
        Host,
        TLSA,
        &["_25._tcp.mail.example.test TLSA 3 1 1 abab"],
        "tlsa.unusable",
        Error,
    );
    case(
        "6.usage",
        Host,
        &[],
        &["_25._tcp.mail.example.test TLSA 0 1 1 abab"],
        "tlsa.pkix-usage",
        Warning,
    );
    case(
        "6.full",
        Host,
        &[],
        &["_25._tcp.mail.example.test TLSA 3 1 0 abab"],
        "tlsa.full",
        Warning,
    );
    case(
        "6.match",
        Host,
        TLSA,
        &[
            "_25._tcp.mail.example.test TLSA 3 1 1 abababababababababababababababababababababababababababababababab",
        ],
        "tlsa.mismatch",
        Error,
    );
    case(
        "6.match",
        Host,
        &[],
        &["mail.example.test CHAIN mail.example.test"],
        "tlsa.mismatch",
        Error,
    );
    case(
        "6.match",
        Host,
        &[],
        &["mail.example.test CHAIN !"],
        "tlsa.not-compared",
        Info,
    );
    case(
        "6.combination",
        Host,
        &[],
        &[
            "_25._tcp.mail.example.test TLSA 3 0 1 abababababababababababababababababababababababababababababababab",
        ],
        "tlsa.combination",
        Warning,
    );
    case("6.rollover", Host, TLSA, &[MAIL], "tlsa.no-rollover", Info);
    case(
        "6.ttl",
        Host,
        &[],
        &["_25._tcp.mail.example.test TTL 100000"],
        "tlsa.ttl",
        Warning,
    );
    case(
        "6.bogus",
        Any,
        &["example.test MX"],
        &["example.test MX !bogus"],
        "dnssec.bogus",
        Error,
    );
    case(
        "6.denial",
        Host,
        TLSA,
        &["_25._tcp.mail.example.test TLSA !"],
        "tlsa.unanswered",
        Error,
    );
    case(
        "6.several-mx",
        Any,
        &["_25._tcp.backup"],
        &[],
        "tlsa.missing-on-mx",
        Warning,
    );
    case(
        "6.several-mx",
        MailDomain,
        &["_25._tcp.backup"],
        &[],
        "tlsa.missing-on-mx",
        Warning,
    );
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
    );
    // CAA.
    const CAA: &[&str] = &["example.test CAA"];
    case("7.none", Host, CAA, &[], "caa.none", Info);
    case(
        "7.issue",
        Host,
        CAA,
        &["example.test CAA 0 issue other.test"],
        "caa.refused",
        Error,
    );
    case(
        "7.issue",
        Host,
        CAA,
        &["example.test CAA 0 issue ;"],
        "caa.refused",
        Error,
    );
    case(
        "7.critical",
        Host,
        &[],
        &["example.test CAA 128 tbs x"],
        "caa.critical",
        Error,
    );
    case(
        "7.grammar",
        Host,
        &[],
        &["example.test CAA 0 issue a.test x y"],
        "caa.malformed",
        Warning,
    );
    case(
        "7.account",
        Host,
        CAA,
        &["example.test CAA 0 issue letsencrypt.org; accounturi=https://ca.test/a/2"],
        "caa.refused",
        Error,
    );
    case(
        "7.method",
        Host,
        CAA,
        &["example.test CAA 0 issue letsencrypt.org; validationmethods=dns-01"],
        "caa.refused",
        Error,
    );
    case(
        "7.servfail",
        Host,
        CAA,
        &["example.test CAA !"],
        "caa.unanswered",
        Error,
    );
    case(
        "7.servfail",
        Any,
        CAA,
        &["example.test CAA !"],
        "caa.unanswered",
        Error,
    );
    case(
        "7.critical",
        Any,
        &[],
        &["example.test CAA 128 tbs x"],
        "caa.critical",
        Error,
    );
    // MX and hosts.
    case(
        "8.alias",
        Any,
        &["mail.example.test A"],
        &["mail.example.test CNAME real.test", "real.test A 198.51.100.25"],
        "mx.alias",
        Error,
    );
    case(
        "8.address",
        Any,
        &["mail.example.test A"],
        &[],
        "mx.unresolved",
        Error,
    );
    case(
        "8.address",
        Any,
        &["mail.example.test A"],
        &["mail.example.test A !"],
        "mx.unresolved",
        Error,
    );
    case(
        "8.address",
        Host,
        &["mail.example.test A"],
        &[],
        "address.missing",
        Error,
    );
    case(
        "8.address",
        Any,
        &[],
        &["example.test MX 30 mail.example.test"],
        "mx.duplicate",
        Warning,
    );
    case(
        "8.literal",
        Any,
        &[],
        &["example.test MX 30 192.0.2.1"],
        "mx.address-literal",
        Error,
    );
    case(
        "8.literal",
        Any,
        &[],
        &["example.test MX 30 a_b.test"],
        "mx.bad-name",
        Error,
    );
    case(
        "8.implicit",
        Any,
        &["example.test MX"],
        &[],
        "mx.implicit",
        Warning,
    );
    case(
        "8.implicit",
        MailDomain,
        &["example.test MX", "example.test A"],
        &[],
        "mx.missing",
        Error,
    );
    case(
        "8.null",
        Any,
        &[],
        &["example.test MX 0 ."],
        "mx.null-beside-others",
        Error,
    );
    case(
        "8.null",
        Any,
        &["example.test MX"],
        &["example.test MX 10 ."],
        "mx.null-preference",
        Warning,
    );
    case(
        "8.null",
        Any,
        &["example.test MX"],
        &["example.test MX 0 ."],
        "mx.null",
        Info,
    );
    case(
        "8.null",
        MailDomain,
        &["example.test MX"],
        &["example.test MX 0 ."],
        "mx.null",
        Error,
    );
    case(
        "8.address",
        Any,
        &["example.test MX"],
        &["example.test MX !"],
        "mx.unanswered",
        Error,
    );
    case(
        "8.ehlo",
        Host,
        &[],
        &[". EHLO localhost"],
        "address.ehlo-name",
        Error,
    );
    case(
        "8.ehlo",
        Host,
        &[],
        &[". EHLO gone.test"],
        "address.ehlo-name",
        Error,
    );
    case("8.ptr", Host, &["198.51.100.25 PTR"], &[], "ptr.missing", Error);
    case("8.ptr", Host, &["2001:db8::25 PTR"], &[], "ptr.missing", Error);
    case(
        "8.ptr",
        Host,
        &["198.51.100.25 PTR"],
        &["198.51.100.25 PTR !"],
        "ptr.unanswered",
        Warning,
    );
    case("8.ptr", Any, &["198.51.100.25 PTR"], &[], "ptr.missing", Info);
    case(
        "8.fcrdns",
        Host,
        &["198.51.100.25 PTR"],
        &["198.51.100.25 PTR other.test"],
        "ptr.not-confirmed",
        Error,
    );
    case(
        "8.one",
        Host,
        &[],
        &["198.51.100.25 PTR other.test"],
        "ptr.several",
        Info,
    );
    case(
        "8.generic",
        Host,
        &["198.51.100.25 PTR"],
        &[
            "198.51.100.25 PTR 198-51-100-25.isp.test",
            "198-51-100-25.isp.test A 198.51.100.25",
        ],
        "ptr.generic",
        Warning,
    );
    case(
        "8.ptr-ehlo",
        Host,
        &["198.51.100.25 PTR"],
        &["198.51.100.25 PTR x.test", "x.test A 198.51.100.25"],
        "ptr.not-ehlo",
        Info,
    );
    case(
        "8.private",
        Any,
        &[],
        &["mail.example.test A 10.0.0.1"],
        "address.not-global",
        Warning,
    );
    case(
        "8.private",
        Host,
        &["mail.example.test AAAA"],
        &[],
        "address.no-ipv6",
        Info,
    );
    case(
        "8.here",
        MailDomain,
        &["example.test MX"],
        &["example.test MX 10 backup.example.test"],
        "mx.not-this-host",
        Warning,
    );
    case(
        "8.here",
        Host,
        &[],
        &["mail.example.test A 198.51.100.77"],
        "address.not-this-host",
        Info,
    );
    // Mail programs.
    case(
        "9.srv",
        Any,
        &["_submissions", "_imaps"],
        &[],
        "srv.missing",
        Info,
    );
    case(
        "9.srv",
        Any,
        &[],
        &["_imap._tcp.example.test SRV 0 1 143 gone.test"],
        "srv.target-unresolved",
        Error,
    );
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
    );
    case(
        "9.srv",
        Any,
        &[],
        &["_imaps._tcp.example.test SRV 0 0 0 ."],
        "srv.none-beside-others",
        Error,
    );
    case(
        "9.srv",
        Any,
        &[],
        &["_imap._tcp.example.test SRV 0 1 144 mail.example.test"],
        "srv.port",
        Info,
    );
    case("9.autoconfig", Any, &[], &[], "srv.no-autoconfig", Info);
    case(
        "9.autoconfig",
        MailDomain,
        &[],
        &["autoconfig.example.test A 198.51.100.80"],
        "srv.autoconfig",
        Warning,
    );
    // Name servers.
    case(
        "servers",
        Any,
        &[],
        &["@198.51.100.2 example.test MX 10 other.test"],
        "mx.servers-disagree",
        Error,
    );
    case(
        "servers",
        Any,
        &[],
        &["@198.51.100.2 example.test TXT v=spf1 -all"],
        "spf.servers-disagree",
        Error,
    );
    case(
        "servers",
        Any,
        &[],
        &["@198.51.100.2 _dmarc.example.test TXT"],
        "dmarc.servers-disagree",
        Error,
    );
    case(
        "servers",
        Any,
        &[],
        &["@198.51.100.2 _mta-sts.example.test TXT"],
        "mta-sts.servers-disagree",
        Error,
    );
    case(
        "servers",
        Any,
        &[],
        &["@198.51.100.2 _smtp._tls.example.test TXT"],
        "tls-rpt.servers-disagree",
        Error,
    );
    case(
        "servers",
        Any,
        &[],
        &["@198.51.100.2 example.test TXT !"],
        "spf.server-silent",
        Warning,
    );
    all
}

const LONG: &str = "example.test TXT v=spf1 mx ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 ip4:192.0.2.1 -all";
const VERY_LONG: &str = "example.test TXT $LONG";
const MANY_LOOKUPS: &str = "example.test TXT v=spf1 mx mx mx mx mx mx mx mx mx mx mx -all";
const ED25519: &str =
    "s1._domainkey.example.test TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA_512: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOZGbwEcKzz6xHyW64AiiF109Dgrh3eSo6jana8Lhx3UT1/qqYq1jeufyGju3HLtHriFyyYPaaOxX+7YPp3E9qUCAwEAAQ==";
const RSA_1024: &str = "s1._domainkey.example.test TXT v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQClNvD8+Y5EZcYepgVV9MEn0+wR9aGG3+Js/Rej0Lo0PiO+MYiV3Q5DCqCSmyQbhaKl+rl861BMxa2yDTM+fFOeGNVPKBqg253gp/dQ0g7los6Q4jwHjWjXR7mpboXBt4sbtubqjxpUvDB7INn7LmOIBILDiMuhoEJ0w4y7/Rg0rQIDAQAB";
