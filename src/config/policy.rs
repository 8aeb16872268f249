//! What the records of the mail domains are to say, and which of them may be written. Pure.

use std::path::PathBuf;

use crate::model::{
    name::DomainName,
    record::{dmarc, mta_sts},
};

/// A family of records that `apply dns` may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Publish {
    /// Which CA may issue for the names of the certificates (RFC 8659).
    Caa,
    /// `v=DMARC1` (RFC 9989).
    Dmarc,
    /// `v=STSv1` and the address of the policy's host (RFC 8461).
    MtaSts,
    /// `v=spf1` (RFC 7208).
    Spf,
    /// Where mail programs find the services (RFC 6186).
    Srv,
    /// `v=TLSRPTv1` (RFC 8460).
    TlsRpt,
    /// The host's key (RFC 7672).
    Tlsa,
}

/// What the records are to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// `[dns.dmarc]`.
    pub dmarc: Dmarc,
    /// `[dns.mta_sts]`.
    pub mta_sts: MtaSts,
    /// Where TLS reports go: `mailto:` and `https:` URIs.
    pub tls_reports: Vec<String>,
    /// `[dns.caa]`.
    pub caa: Caa,
    /// Which services the SRV records offer.
    pub services: Services,
}

/// The DMARC record of each mail domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// What receivers do with mail that fails.
    pub policy: dmarc::Policy,
    /// Where reports go: `mailto:` URIs.
    pub reports: Vec<String>,
}

/// The MTA-STS policy of each mail domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtaSts {
    /// Its mode.
    pub mode: mta_sts::Mode,
    /// How long senders keep it, in seconds.
    pub max_age: u64,
    /// The root directory of the web server of `mta-sts.DOMAIN`, in which [`DOMAIN_IN_PATH`] stands for the domain;
    /// `None`: the operator serves the policy himself.
    pub webroot: Option<PathBuf>,
}

/// What stands for the mail domain in `dns.mta_sts.webroot`.
pub const DOMAIN_IN_PATH: &str = "{domain}";

/// The CAA records of the certificates' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// What a CA is bound to.
    pub bind: Binding,
    /// CAs that may issue besides those of `[acme]`; the first is one of those for which no name is known.
    pub issuers: Vec<DomainName>,
    /// Where a CA reports requests that it refused: a URI.
    pub iodef: Option<String>,
}

/// What a CAA record binds a CA to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Our account and our method besides (RFC 8657).
    Account,
    /// Nothing: whoever has an account there can be issued to.
    Issuer,
}

/// Which services the SRV records offer; those that are not offered get the target `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    /// Those that Postfix and Dovecot have on this host.
    Auto,
    /// These.
    Listed(Vec<Service>),
}

/// A service that mail programs look up (RFC 6186, 3; RFC 8314, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Submission with TLS from the start.
    Submissions,
    /// Submission with STARTTLS.
    Submission,
    /// IMAP with TLS from the start.
    Imaps,
    /// POP3 with TLS from the start.
    Pop3s,
}

impl Publish {
    /// Every family, in the order in which the configuration lists them.
    pub const ALL: [Self; 7] = [
        Self::Spf,
        Self::Dmarc,
        Self::MtaSts,
        Self::TlsRpt,
        Self::Caa,
        Self::Srv,
        Self::Tlsa,
    ];

    /// Returns its word in `dns.publish`; its findings begin with it too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Caa => "caa",
            Self::Dmarc => "dmarc",
            Self::MtaSts => "mta-sts",
            Self::Spf => "spf",
            Self::Srv => "srv",
            Self::TlsRpt => "tls-rpt",
            Self::Tlsa => "tlsa",
        }
    }
}

impl Service {
    /// Every service, the best first.
    pub const ALL: [Self; 4] = [Self::Submissions, Self::Submission, Self::Imaps, Self::Pop3s];

    /// Returns its word in `dns.srv`; `_` before it is its label in the DNS.
    pub fn word(self) -> &'static str {
        match self {
            Self::Imaps => "imaps",
            Self::Pop3s => "pop3s",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }

    /// Returns its port.
    pub fn port(self) -> u16 {
        match self {
            Self::Imaps => 993,
            Self::Pop3s => 995,
            Self::Submission => 587,
            Self::Submissions => 465,
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}
