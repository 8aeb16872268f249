//! What a check found: severity, subject, evidence, remedy, reference. Pure.

use serde::Serialize;

/// How bad it is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// Works, but is fragile or obsolete.
    Warning,
    /// Receivers or clients will reject or ignore it.
    Error,
}

/// Every id a finding can have, with what it means; the manual prints it. Ids are stable: scripts hold on to them.
pub const IDS: &[(&str, &str)] = &[
    ("ca.crl-expired", "the private CA's CRL is too old, or missing"),
    ("ca.crl-expires-soon", "the private CA's next CRL is late"),
    (
        "ca.expires-soon",
        "the private CA's certificate ends, and what it signs with it",
    ),
    ("ca.ok", "the private CA is as it should be"),
    ("ca.unreadable", "the private CA cannot be read"),
    ("certificate.expired", "the certificate in use has expired"),
    (
        "certificate.expires-soon",
        "half of the time between renewal and expiry is gone",
    ),
    (
        "certificate.failing",
        "the last try to get, deploy or verify it failed",
    ),
    ("certificate.ok", "the lineage is where it should be"),
    (
        "certificate.unfinished",
        "there is none, or it is not in service as it should be",
    ),
    ("certificate.unreadable", "the lineage's record cannot be read"),
    ("firewall.closed", "others cannot reach a port that serves them"),
    (
        "firewall.denied",
        "the operator has closed a port that serves others",
    ),
    ("firewall.none", "no firewall runs on this host"),
    ("firewall.open", "a port is open to everybody"),
    (
        "firewall.partly",
        "a port is open to some alone, or that cannot be told",
    ),
    (
        "firewall.permanent-only",
        "a port is closed now, and open from the next start on",
    ),
    ("firewall.runtime-only", "a port is open until the next start"),
    ("firewall.unasked", "the firewall cannot be asked"),
    ("firewall.unneeded", "nothing of mail listens for others"),
    (
        "notify.mail-failed",
        "the last mail to notify.mail_to could not be sent",
    ),
    ("notify.metrics-missing", "notify.metrics_file is not written"),
    (
        "outbound.bind-address",
        "mail is to leave from an address that this host does not have",
    ),
    ("outbound.blocked", "no port of other hosts answers"),
    ("outbound.no-route", "an address family has no way out"),
    ("outbound.not-asked", "no host was asked over an address family"),
    ("outbound.ok", "mail can leave"),
    ("outbound.port-25-blocked", "port 25 alone is blocked (OP25B)"),
    (
        "outbound.relay-login",
        "the relay wants a login that Postfix cannot give",
    ),
    ("outbound.relay-ok", "the relay answers"),
    (
        "outbound.relay-tls",
        "TLS to the relay is not set right for its port",
    ),
    ("outbound.relay-unreachable", "the relay does not answer"),
    ("outbound.turned-away", "a host greets this one with a refusal"),
    ("outbound.unresolved", "the hosts to ask have no address"),
    (
        "postfix.ask-ccert-without-roots",
        "clients are asked for a certificate, and no CA is trusted for them",
    ),
    ("postfix.auth-in-clear", "passwords are taken in clear text"),
    ("postfix.auth-on-25", "AUTH is offered on port 25"),
    (
        "postfix.banner",
        "the greeting does not begin with the host's name",
    ),
    ("postfix.certificate-unusable", "the certificate cannot be read"),
    (
        "postfix.client-ca",
        "smtp_tls_CAfile does not hold the roots that we trust",
    ),
    (
        "postfix.client-certificate-expired",
        "what is shown to servers that ask has expired, or will very soon",
    ),
    (
        "postfix.client-certificate-unusable",
        "what is shown to servers that ask cannot be used",
    ),
    (
        "postfix.client-certificate-usage",
        "what is shown to servers that ask is not for clients",
    ),
    (
        "postfix.dane-without-dnssec",
        "`dane` without smtp_dns_support_level = dnssec",
    ),
    ("postfix.encrypt-on-25", "port 25 demands TLS"),
    (
        "postfix.fingerprint-digest",
        "clients are told apart by fingerprints that can be forged",
    ),
    ("postfix.key-exposed", "others may read the private key"),
    (
        "postfix.key-mismatch",
        "the key does not belong to the certificate",
    ),
    (
        "postfix.key-unusable",
        "the key cannot be read, or needs a passphrase",
    ),
    (
        "postfix.leaf-only",
        "smtpd_tls_cert_file lacks the intermediate certificates",
    ),
    ("postfix.loglevel", "a TLS loglevel of 2 or more"),
    ("postfix.no-roots", "outgoing TLS has no trusted roots"),
    (
        "postfix.not-as-wanted",
        "a file differs from what mailcert.toml wants",
    ),
    ("postfix.note", "something worth knowing about the plan"),
    (
        "postfix.obsolete",
        "a parameter that the installed version calls obsolete",
    ),
    ("postfix.ok", "Postfix is configured as mailcert.toml wants it"),
    (
        "postfix.options-unread",
        "options of a service that Postfix does not read",
    ),
    (
        "postfix.outgoing-ciphers",
        "a cipher grade for optional TLS other than `medium`",
    ),
    ("postfix.outgoing-clear", "all mail leaves in clear text"),
    (
        "postfix.outgoing-mandatory",
        "mail to hosts without TLS is not delivered",
    ),
    (
        "postfix.protocols-old",
        "a protocol list that allows what is historic",
    ),
    (
        "postfix.protocols-unknown",
        "a protocol list that the installed version cannot read",
    ),
    (
        "postfix.refused",
        "Postfix is not installed, or refuses its own configuration",
    ),
    (
        "postfix.relay-clients-missing",
        "clients may relay by certificate, and there is no table of them",
    ),
    (
        "postfix.relay-clients-not-asked",
        "clients may relay by certificate, and none is asked for one",
    ),
    (
        "postfix.relay-clients-open",
        "whoever has a certificate of a public CA may relay",
    ),
    (
        "postfix.relay-clients-stale",
        "the table of relay clients is not as mailcert.toml wants it",
    ),
    (
        "postfix.relay-clients-unused",
        "a table of relay clients that no list asks",
    ),
    (
        "postfix.relay-clients-writable",
        "others may write the table of relay clients",
    ),
    ("postfix.req-ccert-on-25", "port 25 demands a client certificate"),
    (
        "postfix.sasl-local-domain",
        "smtpd_sasl_local_domain has no effect with Dovecot",
    ),
    (
        "postfix.self-signed",
        "smtpd_tls_cert_file is a self-signed certificate",
    ),
    (
        "postfix.sender-login-aliases",
        "an alias map in the place of a sender login map",
    ),
    ("postfix.sender-login-missing", "every user may send as everybody"),
    (
        "postfix.sender-login-unused",
        "a sender login map that no list asks",
    ),
    ("postfix.service-twice", "master.cf has a service more than once"),
    (
        "postfix.sni-exposed",
        "others may read the SNI map, which holds private keys",
    ),
    (
        "postfix.sni-missing",
        "main.cf names an SNI map that is not there",
    ),
    (
        "postfix.sni-stale",
        "the SNI map holds other certificates than those in use",
    ),
    ("postfix.submission-clear", "port 587 does not demand TLS"),
    ("postfix.submission-dns", "users are told of DNS failures"),
    (
        "postfix.submission-filters",
        "filters cannot tell users' mail from the world's",
    ),
    (
        "postfix.submission-leak",
        "lists for strangers reach a service of users",
    ),
    (
        "postfix.submission-no-relay",
        "a service of users that relays nothing for them",
    ),
    (
        "postfix.submission-without-auth",
        "a service of users where nobody can log in",
    ),
    (
        "postfix.submissions-not-wrapped",
        "port 465 does not begin with TLS",
    ),
    (
        "postfix.table-type",
        "tables of a type that this Postfix cannot read",
    ),
    (
        "postfix.trust-stale",
        "smtp_tls_CAfile of client_ca = \"ca\" is behind the roots that it is made of",
    ),
    ("postfix.unmanaged", "postfix.manage is false"),
    ("postfix.warning", "postconf warns about something"),
    ("postfix.wrappermode-on-25", "port 25 begins with TLS at once"),
    ("spf.after-all", "terms behind `all` are never looked at"),
    ("spf.all-neutral", "`?all` says nothing about strangers"),
    ("spf.all-passes", "`+all` lets everybody send"),
    ("spf.all-softfail", "`~all`: strangers are only suspicious"),
    (
        "spf.broken-reference",
        "an include or redirect leads to nothing usable",
    ),
    (
        "spf.host-missing",
        "a host name has no SPF record, so its bounces are not covered",
    ),
    ("spf.host-not-covered", "the record does not let this host send"),
    ("spf.length", "the record does not fit a small DNS answer"),
    ("spf.lookup-limit", "more than 10 DNS lookups: a permanent error"),
    ("spf.missing", "there is no SPF record"),
    (
        "spf.multiple-records",
        "there are several SPF records: a permanent error",
    ),
    ("spf.no-all", "the record has neither `all` nor `redirect`"),
    (
        "spf.no-mx",
        "the record of a mail domain has no `mx` and does not cover its hosts",
    ),
    ("spf.ok", "the record is good"),
    ("spf.ptr-mechanism", "`ptr` should not be published"),
    ("spf.redirect-ignored", "`redirect` beside `all` is ignored"),
    (
        "spf.relayhost-not-covered",
        "mail leaves by a relay that the record does not cover",
    ),
    ("spf.sender-id", "a record of Sender ID, which is historic"),
    ("spf.server-silent", "a name server does not answer"),
    ("spf.servers-disagree", "name servers give different answers"),
    (
        "spf.servers-unknown",
        "the zone's name servers could not be found",
    ),
    ("spf.syntax", "a syntax error: a permanent error"),
    ("spf.unanswered", "no server tells the TXT records"),
    ("spf.unrecognized", "a record that is nearly, but not quite, SPF"),
    (
        "spf.void-lookups",
        "too many lookups that find nothing: a permanent error",
    ),
    ("timer.disabled", "nothing wakes `mailcert renew`"),
    ("timer.enabled", "`mailcert renew` is woken regularly"),
    ("timer.late", "`mailcert renew` has not run for hours"),
    ("timer.none", "mailcert.toml wants no timer"),
    ("tls.expired", "the certificate served has expired"),
    (
        "tls.expires-soon",
        "the certificate served should have been renewed by now",
    ),
    ("tls.handshake-failed", "the TLS handshake fails"),
    (
        "tls.incomplete-chain",
        "an intermediate certificate is not served, or the root is unknown",
    ),
    (
        "tls.mute",
        "the server does not answer after the handshake, or cannot take mail",
    ),
    (
        "tls.name-mismatch",
        "the certificate served is not for this host's name",
    ),
    (
        "tls.no-endpoints",
        "no port speaks TLS, or Postfix cannot be looked at",
    ),
    ("tls.no-starttls", "the port offers no STARTTLS"),
    (
        "tls.not-served",
        "the port serves another certificate than the lineage's",
    ),
    ("tls.not-yet-valid", "the certificate served is not valid yet"),
    ("tls.self-signed", "the certificate served is self-signed"),
    ("tls.served", "the port serves the lineage's certificate"),
    ("tls.sni", "names of the SNI map were asked for"),
    ("tls.unreachable", "the port cannot be reached"),
    (
        "tls.untrusted",
        "the chain served does not lead to a trusted root",
    ),
];

/// One thing a check has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// `<family>.<what>`; stable, for scripts.
    pub id: &'static str,
    /// The domain, file or endpoint it is about.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty when nothing needs doing.
    pub remedy: String,
    /// The RFC section or manual page that says so; may be empty.
    pub reference: &'static str,
}

impl Finding {
    /// Returns a finding without a remedy.
    pub fn new(
        severity: Severity,
        id: &'static str,
        subject: impl Into<String>,
        evidence: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            id,
            subject: subject.into(),
            evidence: evidence.into(),
            remedy: String::new(),
            reference: "",
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Adds the document that says so.
    #[must_use]
    pub fn reference(mut self, reference: &'static str) -> Self {
        self.reference = reference;
        self
    }
}
