//! A port of the mail server that speaks TLS: `smtp://`, `submissions://`, `imaps://` and others, HOST:PORT. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::name::DomainName;

/// How TLS begins on an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// IMAP with STARTTLS (RFC 9051, 6.2.1), port 143.
    Imap,
    /// IMAP over implicit TLS (RFC 8314, 3.2), port 993.
    Imaps,
    /// POP3 with STLS (RFC 2595, 4), port 110.
    Pop3,
    /// POP3 over implicit TLS (RFC 8314, 3.1), port 995.
    Pop3s,
    /// SMTP with STARTTLS between servers (RFC 3207), port 25.
    Smtp,
    /// Submission with STARTTLS (RFC 6409), port 587.
    Submission,
    /// Submission over implicit TLS (RFC 8314, 3.3), port 465.
    Submissions,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 7] = [
        Self::Imap,
        Self::Imaps,
        Self::Pop3,
        Self::Pop3s,
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
    ];

    /// Returns whether mail is read there, not sent.
    pub fn is_for_reading(self) -> bool {
        matches!(self, Self::Imap | Self::Imaps | Self::Pop3 | Self::Pop3s)
    }

    /// Returns whether TLS begins with the first octet.
    pub fn is_implicit(self) -> bool {
        matches!(self, Self::Imaps | Self::Pop3s | Self::Submissions)
    }

    /// Returns the port that IANA assigned.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Imap => 143,
            Self::Imaps => 993,
            Self::Pop3 => 110,
            Self::Pop3s => 995,
            Self::Smtp => 25,
            Self::Submission => 587,
            Self::Submissions => 465,
        }
    }

    /// Returns the name as it stands before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }
}

/// One port to ask, as a client asks. `host` is a name or an address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// How TLS begins.
    pub scheme: Scheme,
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// An endpoint, and the name that a client asks for there by SNI (RFC 6066, 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asked {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The name, where one of the SNI map is meant; `None` for what the endpoint serves to everybody else.
    pub server_name: Option<DomainName>,
}

impl From<Endpoint> for Asked {
    /// Asks for what the endpoint serves by default.
    fn from(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            server_name: None,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server_name {
            None => self.endpoint.fmt(f),
            Some(name) => write!(f, "{} for {name}", self.endpoint),
        }
    }
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError(String);

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EndpointError {}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail =
            |reason: &str| EndpointError(format!("`{}` is not an endpoint: {reason}", text.escape_debug()));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| fail("write it as smtp://HOST:PORT"))?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|known| known.name() == scheme)
            .ok_or_else(|| fail("the scheme is smtp, submission, submissions, imap, imaps, pop3 or pop3s"))?;
        let (host, port) =
            split_host_port(rest).ok_or_else(|| fail("the host and port are HOST:PORT or [IPv6]:PORT"))?;
        let port = match port {
            None => scheme.default_port(),
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| fail("the port is 1 to 65535"))?,
        };
        Ok(Self { scheme, host, port })
    }
}

/// Another host, and a port of it where one is said: `HOST`, `HOST:PORT`, `[IPv6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: Option<u16>,
}

impl FromStr for Peer {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |reason: &str| {
            EndpointError(format!(
                "`{}` is not HOST or HOST:PORT: {reason}",
                text.escape_debug()
            ))
        };
        let (host, port) =
            split_host_port(text).ok_or_else(|| fail("an IPv6 address has brackets before a port"))?;
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => host
                .parse::<DomainName>()
                .map_err(|error| fail(&error.to_string()))?
                .to_string(),
        };
        let port = port
            .map(|port| {
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| fail("the port is 1 to 65535"))
            })
            .transpose()?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Splits `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT` or a bare IPv6 address.
pub fn split_host_port(text: &str) -> Option<(String, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host.to_owned(), None)),
            _ => Some((host.to_owned(), Some(rest.strip_prefix(':')?))),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    let (host, port) = match text.split_once(':') {
        None => (text, None),
        Some((host, port)) => (host, Some(port)),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!host.is_empty() && host.bytes().all(legal)).then(|| (host.to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme.name(), self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme.name(), self.host, self.port)
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                text.parse::<Endpoint>().ok().map(String::from).as_deref(),
                expected,
                "{text}"
            );
        };
        check("smtp://127.0.0.2:2525", Some("smtp://127.0.0.2:2525"));
        check(
            "submissions://mail.example.jp",
            Some("submissions://mail.example.jp:465"),
        );
        check("smtp://[::1]:25", Some("smtp://[::1]:25"));
        check("smtp://::1", Some("smtp://[::1]:25"));
        check("smtp://h:0", None);
        check("smtp://h:99999", None);
        check("imaps://h", Some("imaps://h:993"));
        check("imap://h", Some("imap://h:143"));
        check("pop3://h", Some("pop3://h:110"));
        check("pop3s://h:9950", Some("pop3s://h:9950"));
        check("https://h:993", None);
        check("h:25", None);
        check("smtp://", None);
        check("smtp://a b:25", None);
        check("smtp://[::1", None);
    }
}
