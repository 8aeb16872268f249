//! `[dns.provider]`: where records are written. Pure.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{SecretSource, hook::ChallengeHook};
use crate::model::name::DomainName;

/// Where records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The HTTP API of a DNS host.
    Cloud(Cloud),
    /// A program written for another client, which sets up TXT records.
    Hook(ChallengeHook),
    /// A server that speaks as lego's httpreq.
    HttpReq(HttpReq),
    /// A person.
    Manual,
    /// Dynamic updates (RFC 2136), signed by TSIG (RFC 8945).
    Rfc2136(Rfc2136),
    /// The master files of zones.
    ZoneFile(ZoneFile),
}

impl Provider {
    /// Returns the word for `dns.provider.type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cloud(_) => "cloud",
            Self::Hook(_) => "hook",
            Self::HttpReq(_) => "httpreq",
            Self::Manual => "manual",
            Self::Rfc2136(_) => "rfc2136",
            Self::ZoneFile(_) => "zone-file",
        }
    }
}

/// The HTTP API of a DNS host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// The host, as dns-update calls it: `cloudflare`.
    pub service: String,
    /// Where the credentials come from: `name = value` lines, or the only one by itself.
    pub secret: SecretSource,
}

/// A server that speaks as lego's httpreq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReq {
    /// The URL that `/present` and `/cleanup` are below.
    pub endpoint: String,
    /// The user name, and where the password comes from.
    pub auth: Option<(String, SecretSource)>,
    /// What it is told.
    pub mode: HttpReqMode,
}

/// What a server that speaks as lego's httpreq is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpReqMode {
    /// The challenge: name, token and key authorization, of which it makes the record itself; so it writes no other records.
    Raw,
    /// The record: its owner name and value.
    Record,
}

/// A server that takes dynamic updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rfc2136 {
    /// Its address.
    pub server: SocketAddr,
    /// The TSIG key's name.
    pub key_name: DomainName,
    /// The TSIG key's algorithm.
    pub algorithm: TsigAlgorithm,
    /// Where the TSIG key's base64 secret comes from.
    pub secret: SecretSource,
}

/// The TSIG algorithms that are still good (RFC 8945, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// HMAC-SHA-256.
    HmacSha256,
    /// HMAC-SHA-384.
    HmacSha384,
    /// HMAC-SHA-512.
    HmacSha512,
}

/// The master files of zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFile {
    /// The file; `{zone}` in it stands for the zone's name.
    pub file: PathBuf,
    /// The one zone that the file is of; `None` where `{zone}` stands in the file's name.
    pub zone: Option<DomainName>,
    /// What tells the server of the new file: a program and its arguments, in which `{zone}` stands for the zone's name.
    pub reload: Vec<String>,
    /// How long that may take.
    pub timeout: Duration,
}
