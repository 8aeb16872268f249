//! How names are proven from now on: as the other client did it, in our words. Files with secrets come out of it.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::choose::Good;
use crate::{
    commands::{
        hex,
        init::{self, ChallengeType},
    },
    config::{
        Challenge, Http01, Provider, Rfc2136, SecretSource, TsigAlgorithm, provider::Cloud,
        template::adopt::Proof,
    },
    env::files,
    error::{Error, Result},
    store::import::{ForeignChallenge, KeyFile, Method, cloud::Plugin, tsig::Key},
};

/// No file with a key for updates is larger, in bytes.
const LIMIT: u64 = 64 << 10;

/// What the configuration gets, and what must be there for it.
pub struct Proven {
    /// `[acme.challenge]`.
    pub proof: Proof,
    /// `[dns] provider`.
    pub provider: Option<Provider>,
    /// A file with secrets to make beside the configuration.
    pub made: Option<Secret>,
}

/// A file with secrets, which is made for nobody else to read.
pub struct Secret(pub PathBuf, pub Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.0.display())
    }
}

impl Secret {
    /// Returns the digest of its content, lower-case hex.
    pub fn sha256(&self) -> String {
        hex(digest(&SHA256, self.1.as_bytes()).as_ref())
    }
}

impl Proven {
    fn by(challenge: Challenge) -> Self {
        Self {
            proof: Proof::Own(challenge),
            provider: None,
            made: None,
        }
    }
}

/// Decides how names are proven; `beside`: the directory of the configuration.
///
/// # Errors
/// Exit 2 when the client's own way is not on record, or we do not have it, and no other was named.
pub fn decide(
    method: Option<&Method>,
    good: &[Good],
    flags: &init::Request,
    has_provider: bool,
    beside: &Path,
) -> Result<Proven> {
    if let Some(challenge) = flags.challenge {
        return named(challenge, flags, has_provider);
    }
    let wildcard = good
        .iter()
        .flat_map(|one| &one.identifiers)
        .find(|identifier| identifier.to_string().starts_with("*."));
    let unknown = |reason: &str| {
        let error = Error::usage(format!("nothing was taken over: how names are proven {reason}"));
        match wildcard {
            Some(name) => error
                .cause(format!("{name} can only be proven by dns-01"))
                .remedy("say how in [dns] provider or acme.challenge.hook of mailcert.toml, and import then"),
            None => error.remedy(
                "say how: `--challenge http-01` (port 80 is bound while validating) or `--challenge tls-alpn-01`; or write [acme] \
                 with [acme.challenge] into mailcert.toml, and import then",
            ),
        }
    };
    match method {
        Some(Method::Own(challenge)) => Ok(Proven::by(challenge.clone())),
        Some(Method::Hook(hook)) => Ok(by_program(hook, beside)),
        Some(Method::Rfc2136Key(key)) => by_updates(key, beside).map_err(|reason| unknown(&reason)),
        Some(Method::Rfc2136(file)) => {
            let key =
                read(file).map_err(|reason| unknown(&format!("is by dynamic updates, but {reason}")))?;
            by_updates(&key, beside).map_err(|reason| unknown(&reason))
        }
        Some(Method::Cloud(plugin, file)) => {
            by_api(plugin, file, beside).map_err(|reason| unknown(&format!("is by an API, but {reason}")))
        }
        Some(Method::Unknown(reason)) => Err(unknown(reason)),
        None => Err(unknown("is not on record")),
    }
}

/// Returns the way that the operator named.
fn named(challenge: ChallengeType, flags: &init::Request, has_provider: bool) -> Result<Proven> {
    let listen = flags.listen.clone();
    match challenge {
        ChallengeType::Http01 => Ok(Proven::by(Challenge::Http01(Http01::Listen(listen)))),
        ChallengeType::TlsAlpn01 => Ok(Proven::by(Challenge::TlsAlpn01(listen))),
        ChallengeType::Dns01 if has_provider => Ok(Proven::by(Challenge::Dns01)),
        ChallengeType::Dns01 => Err(
            Error::usage("--challenge dns-01 needs somewhere to write records")
                .remedy("write [dns] provider, or acme.challenge.hook, into mailcert.toml first"),
        ),
    }
}

fn by_program(hook: &ForeignChallenge, beside: &Path) -> Proven {
    let made = (!hook.variables.is_empty()).then(|| {
        let lines: String = hook
            .variables
            .iter()
            // What reads it takes the outer quotes off, whatever is between them.
            .map(|(name, value)| format!("{name}='{value}'\n"))
            .collect();
        Secret(beside.join("challenge.env"), Zeroizing::new(lines))
    });
    Proven {
        proof: Proof::Hook(
            hook.is_dns,
            hook.style.clone(),
            hook.command.clone(),
            made.as_ref().map(|made| made.0.clone()),
        ),
        provider: None,
        made,
    }
}

/// Returns the provider for a key, whose secret goes into a file of its own. The error ends a sentence.
fn by_updates(key: &Key, beside: &Path) -> Result<Proven, String> {
    let server = address(&key.server).ok_or_else(|| {
        format!(
            "is by dynamic updates at `{}`, which is a name: dns.provider wants the server's address",
            key.server.escape_debug()
        )
    })?;
    let key_name = key
        .name
        .parse()
        .map_err(|error| format!("is by a key named `{}`: {error}", key.name.escape_debug()))?;
    let file = beside.join("tsig-secret");
    Ok(Proven {
        proof: Proof::Own(Challenge::Dns01),
        provider: Some(Provider::Rfc2136(Rfc2136 {
            server,
            key_name,
            algorithm: match key.algorithm {
                "hmac-sha512" => TsigAlgorithm::HmacSha512,
                "hmac-sha384" => TsigAlgorithm::HmacSha384,
                _ => TsigAlgorithm::HmacSha256,
            },
            secret: SecretSource::File(file.clone()),
        })),
        made: Some(Secret(file, Zeroizing::new(format!("{}\n", key.secret.as_str())))),
    })
}

/// Returns the provider for a DNS host, whose credentials go into a file of their own. The error ends a sentence.
fn by_api(plugin: &Plugin, file: &Path, beside: &Path) -> Result<Proven, String> {
    if !cfg!(feature = "cloud-dns") {
        return Err(format!(
            "this mailcert was built without the one of {} (cargo build --release --features cloud-dns)",
            plugin.service
        ));
    }
    let text = read_text(file)?;
    let credentials = plugin
        .credentials(&text)
        .map_err(|reason| format!("{}: {reason}", file.display()))?;
    let file = beside.join(format!("{}-credentials", plugin.service));
    Ok(Proven {
        proof: Proof::Own(Challenge::Dns01),
        provider: Some(Provider::Cloud(Cloud {
            service: plugin.service.to_owned(),
            secret: SecretSource::File(file.clone()),
        })),
        made: Some(Secret(file, credentials)),
    })
}

/// Reads an address, with port 53 where none is written.
fn address(text: &str) -> Option<SocketAddr> {
    let text = match text.strip_prefix("localhost") {
        Some(port) => &format!("127.0.0.1{port}"),
        None => text,
    };
    text.parse().ok().or_else(|| {
        let address = text.trim_matches(['[', ']']).parse().ok()?;
        Some(SocketAddr::new(address, 53))
    })
}

/// Reads the file with a key. The error is a sentence about it.
fn read(file: &KeyFile) -> Result<Key, String> {
    let path = match file {
        KeyFile::Certbot(path) => path,
        KeyFile::Named { file, .. } => file,
    };
    let text = read_text(path)?;
    let key = match file {
        KeyFile::Certbot(_) => Key::of_certbot(&text),
        KeyFile::Named { server, .. } => Key::of_named(server, &text),
    };
    key.map_err(|reason| format!("{}: {reason}", path.display()))
}

/// Reads a file with secrets. The error is a sentence about it.
fn read_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = files::read_trusted(path, LIMIT).map_err(|error| error.to_string())?;
    String::from_utf8(bytes)
        .map(Zeroizing::new)
        .map_err(|_| format!("{} is not text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("192.0.2.1:5353", Some("192.0.2.1:5353")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:54", Some("[2001:db8::1]:54")),
            ("localhost:53", Some("127.0.0.1:53")),
            ("ns1.example.test", None),
        ] {
            assert_eq!(
                address(text),
                expected.map(|text| text.parse().unwrap()),
                "{text}"
            );
        }
    }

    mod cloud {
        use super::*;

        #[test]
        fn credentials_of_a_plugin_get_a_file_of_their_own() {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("cloudflare.ini");
            std::fs::write(&file, "dns_cloudflare_api_token = 0123456789\n").unwrap();
            let plugin = Plugin::of("dns-cloudflare").unwrap();
            let proven = by_api(plugin, &file, Path::new("/etc/mailcert"));
            if !cfg!(feature = "cloud-dns") {
                let reason = proven.err().unwrap();
                assert!(reason.contains("--features cloud-dns"), "{reason}");
                return;
            }
            let Proven {
                provider: Some(Provider::Cloud(cloud)),
                made: Some(Secret(made, text)),
                ..
            } = proven.unwrap()
            else {
                panic!("no provider, or no file");
            };
            assert_eq!(cloud.service, "cloudflare");
            assert_eq!(cloud.secret, SecretSource::File(made.clone()));
            assert_eq!(made, Path::new("/etc/mailcert/cloudflare-credentials"));
            assert_eq!(text.as_str(), "api_token = 0123456789\n");

            std::fs::write(&file, "dns_cloudflare_api_key = 0123456789\n").unwrap();
            let reason = by_api(plugin, &file, Path::new("/etc/mailcert")).err().unwrap();
            assert!(
                reason.contains("cloudflare.ini: it has no dns_cloudflare_api_token"),
                "{reason}"
            );
        }
    }
}
