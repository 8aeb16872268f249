//! `[dns.provider]` as it is written. Pure.

use std::{net::IpAddr, ops::Range, path::PathBuf};

use toml_edit::Item;

use super::{check, hook, report::Report, schema, secret, section::Section, value, without_places};
use crate::{
    config::provider::{Cloud, HttpReq, HttpReqMode, Provider, Rfc2136, TsigAlgorithm, ZoneFile},
    model::{endpoint::split_host_port, name::DomainName},
};

/// Where a secret comes from.
const SECRET: [&str; 3] = ["secret_file", "secret_env", "secret_credential"];
/// The types, and the keys that go with each besides `type`.
const TYPES: [(&str, &[&str]); 6] = [
    (
        "cloud",
        &["service", "secret_file", "secret_env", "secret_credential"],
    ),
    (
        "rfc2136",
        &[
            "server",
            "key_name",
            "algorithm",
            "secret_file",
            "secret_env",
            "secret_credential",
        ],
    ),
    ("zone-file", &["file", "zone", "reload", "timeout"]),
    ("manual", &[]),
    (
        "hook",
        &[
            "style", "run", "shell", "dnsapi", "timeout", "retries", "env_file",
        ],
    ),
    (
        "httpreq",
        &[
            "endpoint",
            "mode",
            "username",
            "secret_file",
            "secret_env",
            "secret_credential",
        ],
    ),
];

/// Reads where records are written; `None` when it is nowhere, or when it has been reported.
pub fn provider(section: &Section<'_>, report: &mut Report<'_>) -> Option<Provider> {
    if !section.is_written() {
        return None;
    }
    let word = section.word("type");
    let (_, own) = TYPES.iter().find(|(name, _)| *name == word)?;
    for key in schema::keys_of("dns.provider").map(|key| key.name) {
        if let (Some(item), false) = (section.item(key), key == "type" || own.contains(&key)) {
            let goes_with: Vec<&str> = TYPES
                .iter()
                .filter(|(_, keys)| keys.contains(&key))
                .map(|(name, _)| *name)
                .collect();
            let fault = format!("goes with type {}; leave it out", goes_with.join(" and "));
            section.refuse(key, &item.span().unwrap_or_default(), &fault, report);
        }
    }
    match word.as_str() {
        "rfc2136" => rfc2136(section, report).map(Provider::Rfc2136),
        "zone-file" => zone_file(section, report).map(Provider::ZoneFile),
        "cloud" => {
            wanted(section, &["service"], report);
            let service = section.text("service").map(|(service, _)| service);
            let secret = secret(section, SECRET, report);
            Some(Provider::Cloud(Cloud {
                service: service?,
                secret: secret?,
            }))
        }
        "manual" => Some(Provider::Manual),
        "hook" => hook::record_hook(section, report).map(Provider::Hook),
        "httpreq" => httpreq(section, report).map(Provider::HttpReq),
        _ => None,
    }
}

/// Reports those of these keys that are missing.
fn wanted(section: &Section<'_>, names: &[&str], report: &mut Report<'_>) {
    for key in names.iter().filter_map(|name| schema::find(section.path, name)) {
        if section.item(key.name).is_none() {
            report.error(&section.at, check::missing(key));
        }
    }
}

fn rfc2136(section: &Section<'_>, report: &mut Report<'_>) -> Option<Rfc2136> {
    wanted(section, &["server", "key_name"], report);
    let server = section.parsed("server", report, |text| value::socket_address(text, 53));
    let key_name = section.parsed("key_name", report, |text| {
        // The text is not repeated: `name:secret` is how some programs write a key.
        DomainName::from_dns(text).map_err(|_| "is not a domain name, as names of TSIG keys are".to_owned())
    });
    let secret = secret(section, SECRET, report);
    Some(Rfc2136 {
        server: server?,
        key_name: key_name?,
        algorithm: match section.word("algorithm").as_str() {
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => TsigAlgorithm::HmacSha256,
        },
        secret: secret?,
    })
}

fn zone_file(section: &Section<'_>, report: &mut Report<'_>) -> Option<ZoneFile> {
    wanted(section, &["file"], report);
    let file: Option<PathBuf> = section.path("file");
    let zone = section.parsed("zone", report, |text| {
        DomainName::from_dns(text).map_err(|error| format!("is wrong: {error}"))
    });
    let is_template = file
        .as_ref()
        .is_some_and(|file| file.to_string_lossy().contains("{zone}"));
    match (section.item("zone"), is_template) {
        (None, false) if file.is_some() => {
            let fault = "is missing: name the zone whose master file it is, or write `{zone}` in `file` where the zones' names stand";
            section.refuse("zone", &section.at, fault, report);
            return None;
        }
        (Some(item), true) => {
            let fault = "and `{zone}` in `file` exclude each other; leave one out";
            section.refuse("zone", &item.span().unwrap_or_default(), fault, report);
        }
        _ => {}
    }
    let reload: Vec<(String, Range<usize>)> = match section.text("reload") {
        Some(only) => vec![only],
        None => section.parsed_list("reload", report, |word| Ok(word.to_owned())),
    };
    if let Some((_, at)) = reload.first().filter(|(program, _)| !program.starts_with('/')) {
        let fault = "must begin with the absolute path of a program, its arguments after it in a list";
        section.refuse("reload", at, fault, report);
    }
    let timeout = section.parsed("timeout", report, value::duration);
    Some(ZoneFile {
        file: file?,
        zone,
        reload: without_places(reload),
        timeout: timeout?,
    })
}

fn httpreq(section: &Section<'_>, report: &mut Report<'_>) -> Option<HttpReq> {
    wanted(section, &["endpoint"], report);
    let endpoint = section.parsed("endpoint", report, endpoint);
    let username = section.text("username").map(|(name, _)| name);
    let has_secret = SECRET.iter().any(|name| section.item(name).is_some());
    let auth = match username {
        Some(username) => Some((username, secret(section, SECRET, report)?)),
        None if has_secret => {
            let at = section.at.clone();
            section.refuse("username", &at, "is missing: whose password is it?", report);
            None
        }
        None => None,
    };
    let endpoint = endpoint?;
    if auth.is_some() && endpoint.starts_with("http://") && !is_on_this_host(&endpoint) {
        let at = section.item("endpoint").and_then(Item::span).unwrap_or_default();
        section.refuse(
            "endpoint",
            &at,
            "would send the password in clear text; use https",
            report,
        );
    }
    let mode = match section.word("mode").as_str() {
        "raw" => HttpReqMode::Raw,
        _ => HttpReqMode::Record,
    };
    Some(HttpReq { endpoint, auth, mode })
}

/// Returns whether a URL leads to this host itself.
fn is_on_this_host(url: &str) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let place = rest.split('/').next().unwrap_or_default();
    let Some((host, _)) = split_host_port(place) else {
        return false;
    };
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Checks an http or https URL.
fn endpoint(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_right = rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        // A password in a URL ends up in every log.
        !host.is_empty()
            && !host.contains('@')
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    });
    match is_right {
        true => Ok(text.to_owned()),
        false => Err("must be an http or https URL without user name, query or fragment".to_owned()),
    }
}
