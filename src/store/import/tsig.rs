//! Keys for dynamic updates as other clients keep them: certbot's credentials, BIND's key files, lego's variables. Pure.

use std::fmt;

use zeroize::Zeroizing;

use super::{assignments::Assignments, ini::Ini};

/// A server and the key that it takes updates by (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The server: an address, and a port where one is written.
    pub server: String,
    /// The key's name.
    pub name: String,
    /// The key's algorithm, as mailcert.toml has it.
    pub algorithm: &'static str,
    /// The key, base64. Secret.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} at {})", self.name, self.server)
    }
}

impl Key {
    fn new(
        server: Option<String>,
        name: Option<String>,
        algorithm: Option<&str>,
        secret: Option<String>,
    ) -> Result<Self, String> {
        Ok(Self {
            server: server.ok_or("it names no server")?,
            name: name
                .ok_or("it names no key")?
                .trim_end_matches('.')
                .to_ascii_lowercase(),
            algorithm: of_algorithm(algorithm)?,
            secret: Zeroizing::new(secret.ok_or("it holds no key")?),
        })
    }

    /// Reads the credentials file of certbot's dns-rfc2136.
    ///
    /// # Errors
    /// What is missing in it, as a sentence about it.
    pub fn of_certbot(text: &str) -> Result<Self, String> {
        let ini = Ini::of(text);
        let get = |name: &str| ini.get("", &format!("dns_rfc2136_{name}")).map(str::to_owned);
        let server = get("server").map(|server| match get("port") {
            Some(port) if server.contains(':') => format!("[{server}]:{port}"),
            Some(port) => format!("{server}:{port}"),
            None => server,
        });
        // Without a word of it, certbot takes MD5, which nobody should (RFC 8945, 6).
        let algorithm = get("algorithm").unwrap_or_else(|| "hmac-md5".to_owned());
        Self::new(server, get("name"), Some(&algorithm), get("secret"))
    }

    /// Reads a key file of BIND: `key "name" { algorithm hmac-sha256; secret "..."; };`.
    ///
    /// # Errors
    /// What is missing in it, as a sentence about it.
    pub fn of_named(server: &str, text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text
            .split(|character: char| character.is_whitespace() || "{};\"".contains(character))
            .filter(|word| !word.is_empty())
            .collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).map(|word| (*word).to_owned())
        };
        let algorithm = after("algorithm");
        Self::new(
            Some(server.to_owned()),
            after("key"),
            algorithm.as_deref(),
            after("secret"),
        )
    }

    /// Reads lego's variables; `None` when they set no server.
    ///
    /// # Errors
    /// What is missing among them, as a sentence about them.
    pub fn of_lego(variables: &Assignments) -> Option<Result<Self, String>> {
        let get = |name: &str| {
            ["RFC2136_", "DNSUPDATE_"]
                .iter()
                .find_map(|prefix| variables.get(&format!("{prefix}{name}")))
        };
        let server = get("NAMESERVER")?;
        let algorithm = get("TSIG_ALGORITHM").unwrap_or_else(|| "hmac-sha1".to_owned());
        Some(Self::new(
            Some(server),
            get("TSIG_KEY"),
            Some(&algorithm),
            get("TSIG_SECRET"),
        ))
    }
}

/// Returns an algorithm as mailcert.toml has it.
fn of_algorithm(name: Option<&str>) -> Result<&'static str, String> {
    let name = name.ok_or("it names no algorithm")?;
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.as_str() {
        "hmac-sha256" => Ok("hmac-sha256"),
        "hmac-sha384" => Ok("hmac-sha384"),
        "hmac-sha512" => Ok("hmac-sha512"),
        _ => Err(format!(
            "its key is one for {}, which mailcert does not use (RFC 8945, 6): make one by `tsig-keygen -a hmac-sha256`",
            name.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(read: Result<Key, String>, expected: Result<(&str, &str, &str), &str>) {
        match (read, expected) {
            (Ok(key), Ok((server, name, secret))) => assert_eq!(
                (key.server.as_str(), key.name.as_str(), key.secret.as_str()),
                (server, name, secret)
            ),
            (Err(reason), Err(words)) => assert!(reason.contains(words), "{reason}"),
            (read, expected) => panic!("{read:?}, not {expected:?}"),
        }
    }

    #[test]
    fn reads_the_three_forms() {
        let ini = "dns_rfc2136_server = 192.0.2.1\ndns_rfc2136_port = 53\ndns_rfc2136_name = Key.Example.\n\
                   dns_rfc2136_secret = c2VjcmV0\ndns_rfc2136_algorithm = HMAC-SHA512\n";
        check(
            Key::of_certbot(ini),
            Ok(("192.0.2.1:53", "key.example", "c2VjcmV0")),
        );
        check(
            Key::of_certbot(&ini.replace("192.0.2.1", "2001:db8::1")),
            Ok(("[2001:db8::1]:53", "key.example", "c2VjcmV0")),
        );
        check(
            Key::of_certbot(&ini.replace("HMAC-SHA512", "HMAC-MD5")),
            Err("hmac-md5"),
        );
        check(
            Key::of_certbot("dns_rfc2136_server = 192.0.2.1"),
            Err("names no key"),
        );
        check(Key::of_certbot(""), Err("names no server"));
        let named = "key \"lab-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        check(Key::of_named("::1", named), Ok(("::1", "lab-key", "c2VjcmV0")));
        check(Key::of_named("::1", "key x {"), Err("names no algorithm"));
        let env = "RFC2136_NAMESERVER=192.0.2.1:5353\nRFC2136_TSIG_KEY=k.\nRFC2136_TSIG_SECRET=c2VjcmV0\n\
                   RFC2136_TSIG_ALGORITHM=hmac-sha256.\n";
        let lego = |text: &str| Key::of_lego(&Assignments::of(text));
        check(lego(env).unwrap(), Ok(("192.0.2.1:5353", "k", "c2VjcmV0")));
        assert!(lego("A=b").is_none());
        assert_eq!(
            format!("{:?}", lego(env).unwrap().unwrap()),
            "Key(k at 192.0.2.1:5353)"
        );
    }
}
