//! The text of one value to its type: durations, addresses, URLs, names of lineages. Pure.
//!
//! Each function returns what is wrong as the end of a sentence that begins with the key.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    config::RelayClient,
    model::{
        authority,
        certificate::Sha256,
        endpoint::split_host_port,
        name::{DomainName, Identifier},
    },
};

use super::{check::shorten, schema::nearest};

/// Longest duration: ten years.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86400);
/// Longest name of a lineage in octets: room for a suffix below the 255 that file systems allow.
const MAX_LINEAGE_NAME: usize = 240;

/// Parses `30d`, `72h`, `10m` or `45s`; more than nothing and at most ten years.
pub fn duration(text: &str) -> Result<Duration, String> {
    let fail = || {
        format!(
            "cannot be `{}`; write a number and a unit: 30d, 72h, 10m or 45s",
            shorten(text)
        )
    };
    let unit = match text.as_bytes().last() {
        Some(b'd') => 86400,
        Some(b'h') => 3600,
        Some(b'm') => 60,
        Some(b's') => 1,
        _ => return Err(fail()),
    };
    let digits = text.get(..text.len() - 1).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fail());
    }
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match seconds.map(Duration::from_secs) {
        Some(Duration::ZERO) => Err("must be more than nothing".to_owned()),
        Some(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err("is longer than ten years".to_owned()),
    }
}

/// Parses tables of sender logins; `generated` and `none` are for the caller.
pub fn tables(text: &str) -> Result<String, String> {
    named_tables(text, "generated, none, or", "senders")
}

/// Parses tables of clients that may relay; `generated` is for the caller.
pub fn relay_tables(text: &str) -> Result<String, String> {
    named_tables(text, "generated, or", "relay_clientcerts")
}

/// Parses tables as main.cf names them: `type:name`, several with commas or blanks between.
fn named_tables(text: &str, words_besides: &str, example: &str) -> Result<String, String> {
    let words: Vec<&str> = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    let is_table = |word: &&str| {
        word.split_once(':').is_some_and(|(kind, name)| {
            !name.is_empty() && !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    };
    let is_plain = |word: &&str| {
        word.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"{}#".contains(&byte))
    };
    if words.is_empty() || !words.iter().all(|word| is_table(word) && is_plain(word)) {
        return Err(format!(
            "cannot be `{}`; write {words_besides} tables as main.cf names them: lmdb:/etc/postfix/{example}",
            shorten(text)
        ));
    }
    Ok(words.join(","))
}

/// Parses a client that may relay: `ca`, the absolute path of a PEM file, or a SHA-256 fingerprint with a name behind it.
pub fn relay_client(text: &str) -> Result<RelayClient, String> {
    if text == "ca" {
        return Ok(RelayClient::Ca);
    }
    if text.starts_with('/') && !text.chars().any(char::is_control) {
        return Ok(RelayClient::File(text.into()));
    }
    let (digest, name) = text.split_once(' ').unwrap_or((text, ""));
    let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match digest.parse::<Sha256>() {
        Ok(sha256) if name.len() <= 200 && name.bytes().all(is_plain) => Ok(RelayClient::Fingerprint {
            sha256,
            name: name.trim().to_owned(),
        }),
        _ => Err(format!(
            "has `{}`; write ca, the absolute path of a PEM file, or the SHA-256 fingerprint of a key or certificate as openssl \
             prints it, with a name behind it where you like",
            shorten(text)
        )),
    }
}

/// Parses `name=value`, an override of a service in master.cf. The certificate's own parameters are not among them.
pub fn service_override(text: &str) -> Result<(String, String), String> {
    const CERTIFICATE: [&str; 2] = ["_file", "_chain_files"];
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let (name, value) = (name.trim(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_value = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let is_balanced = value.matches('{').count() == value.matches('}').count();
    if !text.contains('=') || !is_name || !is_value || !is_balanced {
        return Err(format!(
            "has `{}`, which is no override; write name=value, as behind -o in master.cf",
            shorten(text)
        ));
    }
    if name.starts_with("smtpd_tls_")
        && CERTIFICATE.iter().any(|end| name.ends_with(end))
        && name != "smtpd_tls_CAfile"
    {
        return Err(format!(
            "has `{name}`: which certificate is served is for `[[certificate]]` to say"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses `ADDR`, `ADDR:PORT` or `[IPv6]:PORT`; names are refused.
pub fn socket_address(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let fail = || {
        format!(
            "cannot be `{}`; write an IP address, with a port where it is not {default_port}: \
            192.0.2.1:{default_port} or [2001:db8::1]:{default_port}",
            shorten(text)
        )
    };
    let (host, port) = split_host_port(text).ok_or_else(fail)?;
    let address = host.parse::<IpAddr>().map_err(|_| fail())?;
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(fail)?,
    };
    Ok(SocketAddr::new(address, port))
}

/// Resolves a known CA's name, or checks the https URL of a directory.
pub fn directory(text: &str) -> Result<String, String> {
    if let Some(known) = authority::by_name(text) {
        return Ok(known.directory.to_owned());
    }
    let written = shorten(text);
    let Some((scheme, rest)) = text.split_once("://") else {
        let names = || authority::AUTHORITIES.iter().map(|authority| authority.name);
        let hint = match nearest(text, names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!(
                "write {}, or the https URL of its directory",
                names().collect::<Vec<_>>().join(", ")
            ),
        };
        return Err(format!("names no CA that is known here: `{written}`; {hint}"));
    };
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(format!(
            "must be an https URL, found `{written}`; for a private or test CA name its root with \
            `root_ca_file`"
        ));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port_is_right =
        |port: Option<&str>| port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let is_right = split_host_port(host).is_some_and(|(_, port)| port_is_right(port))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !rest.contains('#');
    if is_right {
        Ok(text.to_owned())
    } else {
        Err(format!("is not a URL: `{written}`"))
    }
}

/// Checks a `mailto:` URI as RFC 8555, 7.3 wants it: one address and nothing else.
pub fn contact(text: &str) -> Result<String, String> {
    let written = shorten(text);
    let is_address = |address: &str| {
        let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b',' | b'<' | b'>' | b'"');
        address.bytes().all(legal)
            && address.rsplit_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && !local.contains('@') && domain.parse::<DomainName>().is_ok()
            })
    };
    match text.split_once(':') {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case("mailto") => {
            if is_address(address) {
                Ok(format!("mailto:{address}"))
            } else {
                Err(format!(
                    "must be one mail address after `mailto:`, found `{written}`"
                ))
            }
        }
        _ if is_address(text) => Err(format!("must be a mailto: URI; write `mailto:{written}`")),
        _ => Err(format!("must be a mailto: URI, found `{written}`")),
    }
}

/// Checks the name of a lineage: it becomes the name of a directory.
pub fn lineage_name(text: &str) -> Result<String, String> {
    let fault = if text.is_empty() {
        "it is empty"
    } else if text.len() > MAX_LINEAGE_NAME {
        "it is longer than 240 octets"
    } else if text.contains('/') {
        "it has a `/` in it"
    } else if text.contains("..") {
        "it has `..` in it"
    } else if text.starts_with('.') {
        "it begins with a dot"
    } else if text.starts_with('-') {
        "it begins with a hyphen, as options do"
    } else if text.contains('*') {
        "it has a `*` in it; a wildcard is written `_wildcard.`"
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "it has a blank or a control character in it"
    } else {
        return Ok(text.to_owned());
    };
    Err(format!("cannot be `{}`: {fault}", shorten(text)))
}

/// Checks the permission bits of a private key's file.
pub fn key_mode(bits: i64) -> Result<u32, String> {
    const ALLOWED: u32 = 0o640;
    let fault = match u32::try_from(bits) {
        // The usual slip: decimal 600 where octal is meant.
        Ok(400 | 440 | 600 | 640) => return Err(format!("must be octal; write `0o{bits}`")),
        Ok(mode) if mode & 0o007 != 0 => "others could read or change the key",
        Ok(mode) if mode & !ALLOWED != 0 => "only the bits of 0o640 may be set",
        Ok(mode) if mode & 0o400 == 0 => "its owner could not read the key",
        Ok(mode) => return Ok(mode),
        Err(_) => "only the bits of 0o640 may be set",
    };
    Err(format!("cannot be {}: {fault}", octal(bits)))
}

fn octal(bits: i64) -> String {
    if (0..=0o7777).contains(&bits) {
        format!("0o{bits:o}")
    } else {
        bits.to_string()
    }
}

/// Checks the name of a user or group, or its number.
pub fn account(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '\\');
    if text.is_empty() || text.len() > 256 || text.starts_with('-') || !text.chars().all(legal) {
        return Err(format!("is not the name of a user or group: `{}`", shorten(text)));
    }
    Ok(text.to_owned())
}

/// Checks that a text begins like an SPF record (RFC 7208, 4.5) and can stand in a TXT record.
pub fn spf(text: &str) -> Result<String, String> {
    let version = text.split(' ').next().unwrap_or_default();
    if !version.eq_ignore_ascii_case("v=spf1") {
        return Err(format!("must begin with `v=spf1`, found `{}`", shorten(text)));
    }
    if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err("may only have printable ASCII characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks the name of a CA's profile: it is compared with the names in the CA's directory, and stands in the order.
pub fn profile(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("is not the name of a profile: `{}`", shorten(text)));
    }
    Ok(text.to_owned())
}

/// Checks the common name of an issuer.
pub fn common_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(format!(
            "is not the name of an issuer, such as `ISRG Root X1`: `{}`",
            shorten(text)
        ));
    }
    Ok(name.to_owned())
}

/// Checks the key identifier of an external account. What was written is not repeated: it may be the key.
pub fn key_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 512 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "must be the key identifier as the CA shows it: printable characters, no blanks".to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Checks the name of a variable, or of a systemd credential. What was written is not repeated: it may be the secret.
pub fn reference_name(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if text.is_empty() || text.len() > 255 || text.starts_with('.') || !text.bytes().all(legal) {
        return Err(
            "must be a name: letters, digits, `_`, `-` and `.`; it names the secret and does not hold it"
                .into(),
        );
    }
    Ok(text.to_owned())
}

/// Returns the wildcard of a list that makes another of its names superfluous; CAs refuse such orders.
pub fn covering<'a>(identifiers: &'a [Identifier], name: &Identifier) -> Option<&'a Identifier> {
    identifiers
        .iter()
        .find(|wildcard| wildcard.is_wildcard() && !name.is_wildcard() && wildcard.covers(name.base()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug>(
        parse: fn(&str) -> Result<T, String>,
        text: &str,
        expected: Result<&str, &str>,
    ) {
        match (
            parse(text).map(|value| format!("{value:?}").replace('"', "")),
            expected,
        ) {
            (Ok(value), Ok(expected)) => assert_eq!(value, expected, "{text}"),
            (Err(message), Err(expected)) => assert!(message.contains(expected), "{text}: {message}"),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }

    #[test]
    fn reads_tables_and_overrides() {
        check(
            tables,
            "lmdb:/etc/postfix/senders",
            Ok("lmdb:/etc/postfix/senders"),
        );
        check(tables, "hash:/a,  mysql:/b", Ok("hash:/a,mysql:/b"));
        for text in [
            "",
            "generate",
            "/etc/aliases",
            "hash:",
            ":x",
            "inline:{ a=b }",
            "hash:/a\u{7}",
        ] {
            check(tables, text, Err("write generated, none, or tables"));
        }
        check(
            service_override,
            "syslog_name=postfix/x",
            Ok("(syslog_name, postfix/x)"),
        );
        check(
            service_override,
            "smtpd_helo_restrictions =",
            Ok("(smtpd_helo_restrictions, )"),
        );
        check(service_override, "a=b, c = d", Ok("(a, b, c = d)"));
        for text in ["", "=x", "a", "A=b", "a b=c", "-o a=b", "a=b\nc", "a={b", "é=1"] {
            check(service_override, text, Err("write name=value"));
        }
        for text in ["smtpd_tls_cert_file=/x", "smtpd_tls_chain_files=/x"] {
            check(service_override, text, Err("for `[[certificate]]` to say"));
        }
    }

    #[test]
    fn reads_durations() {
        check(duration, "30d", Ok("2592000s"));
        check(duration, "72h", Ok("259200s"));
        check(duration, "10m", Ok("600s"));
        check(duration, "45s", Ok("45s"));
        for text in ["", "d", "30", "30 d", "+3d", "-3d", "3.5d", "3w", "１d", "é"] {
            check(duration, text, Err("write a number and a unit"));
        }
        check(duration, "0s", Err("more than nothing"));
        check(duration, "99999999999999999999d", Err("ten years"));
        check(duration, "18446744073709551615d", Err("ten years"));
    }

    #[test]
    fn reads_addresses() {
        let address = |text: &str| socket_address(text, 53);
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5002", "[::1]:5002"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
        for text in [
            "",
            "ns.example",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "[::1",
            "[::1]x",
            "::1:99999",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_directories_and_contacts() {
        check(
            directory,
            "letsencrypt",
            Ok("https://acme-v02.api.letsencrypt.org/directory"),
        );
        check(
            directory,
            "https://127.0.0.2:14000/dir",
            Ok("https://127.0.0.2:14000/dir"),
        );
        check(directory, "letsencript", Err("did you mean `letsencrypt`?"));
        check(
            directory,
            "some-ca",
            Err("letsencrypt, letsencrypt-staging, sslcom-ecc, sslcom-rsa, zerossl, or the https URL"),
        );
        check(directory, "http://127.0.0.1/dir", Err("must be an https URL"));
        for text in [
            "https://",
            "https:///dir",
            "https://a b/",
            "https://u@h/",
            "https://h:0/",
            "https://h/#x",
        ] {
            check(directory, text, Err("is not a URL"));
        }
        check(contact, "mailto:a@example.jp", Ok("mailto:a@example.jp"));
        check(contact, "MAILTO:a@example.jp", Ok("mailto:a@example.jp"));
        check(contact, "a@example.jp", Err("write `mailto:a@example.jp`"));
        for text in [
            "mailto:",
            "mailto:a",
            "mailto:a@b,c@d",
            "mailto:a@b?subject=x",
            "mailto:a@b@c",
            "mailto:a b@c",
        ] {
            check(contact, text, Err("one mail address"));
        }
        check(contact, "tel:+81", Err("must be a mailto: URI"));
    }

    #[test]
    fn refuses_unsafe_names() {
        check(lineage_name, "_wildcard.example.jp", Ok("_wildcard.example.jp"));
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a..b",
            ".a",
            "-a",
            "*.a",
            "a\n",
            "a b",
            &"a".repeat(241),
        ] {
            check(lineage_name, text, Err("cannot be"));
        }
        check(account, "ssl-cert", Ok("ssl-cert"));
        for text in ["", "a b", "a:b", "-r", "../x", "a\0"] {
            check(account, text, Err("not the name"));
        }
        check(reference_name, "TSIG_SECRET", Ok("TSIG_SECRET"));
        for text in ["", "../x", "c2VjcmV0=", "a b", ".."] {
            check(reference_name, text, Err("must be a name"));
        }
        check(spf, "v=spf1 mx -all", Ok("v=spf1 mx -all"));
        check(spf, "v=spf1", Ok("v=spf1"));
        check(spf, "v=spf10 mx", Err("must begin"));
        check(spf, "mx -all", Err("must begin"));
        check(spf, "v=spf1 件", Err("ASCII"));
    }

    #[test]
    fn keys_are_for_their_owner() {
        for mode in [0o600, 0o640, 0o400, 0o440] {
            assert_eq!(key_mode(i64::from(mode)), Ok(mode));
        }
        for (bits, expected) in [
            (0o644, "others could read"),
            (600, "write `0o600`"),
            (640, "write `0o640`"),
            (0o700, "only the bits"),
            (0o660, "only the bits"),
            (0o4600, "only the bits"),
            (0, "could not read"),
            (-1, "cannot be -1"),
            (i64::MAX, "only the bits"),
        ] {
            assert!(key_mode(bits).unwrap_err().contains(expected), "{bits:o}");
        }
    }
}
