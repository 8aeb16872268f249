//! `[hooks]` and `acme.challenge.hook` as they are written. Pure.

use std::{ops::Range, path::Path};

use toml_edit::Item;

use super::{report::Report, section::Section, value};
use crate::config::{
    Certificate,
    hook::{Chain, ChallengeHook, ChallengeStyle, Command, Hook, Hooks, Manner, Style},
};

/// More tries in one run than this are a mistake: the next run tries again anyway.
const MAX_RETRIES: i64 = 100;

/// Reads the lists of `[hooks]`; the certificates are those that hooks may name.
pub fn hooks(section: &Section<'_>, certificates: &[Certificate], report: &mut Report<'_>) -> Hooks {
    let mut list = |path| -> Vec<Hook> {
        let mut hooks = Vec::new();
        for one in section.tables(path) {
            hooks.extend(hook(&one, certificates, report));
        }
        hooks
    };
    Hooks {
        pre: list("hooks.pre"),
        deploy: list("hooks.deploy"),
        post: list("hooks.post"),
        failed: list("hooks.failed"),
    }
}

fn hook(section: &Section<'_>, certificates: &[Certificate], report: &mut Report<'_>) -> Option<Hook> {
    let style = match section.word("style").as_str() {
        "acme.sh" => Style::AcmeSh,
        "certbot" => Style::Certbot,
        "dehydrated" => Style::Dehydrated,
        "lego4" => Style::Lego4,
        "lego5" => Style::Lego5,
        _ => Style::Mailcert,
    };
    let lineages = section.distinct("lineages", report, |name| {
        if certificates.iter().any(|certificate| certificate.name == name) {
            return Ok(name.to_owned());
        }
        let known: Vec<&str> = certificates.iter().map(|known| known.name.as_str()).collect();
        Err(format!(
            "has `{}`, which is no certificate of this file; they are: {}",
            super::check::shorten(name),
            known.join(", ")
        ))
    });
    if let (Some(item), true) = (section.item("directory"), style != Style::Certbot) {
        let fault = "goes with style certbot, whose programs lie in directories; name others with `run`";
        section.refuse("directory", &item.span().unwrap_or_default(), fault, report);
    }
    let command = command(section, &["run", "shell", "directory"], report);
    let manner = manner(section, report);
    Some(Hook {
        style,
        command: command?,
        manner: manner?,
        lineages: super::without_places(lineages),
    })
}

/// Reads `acme.challenge.hook`; `None` when it is not there or has been reported. `dns`: the challenge is dns-01.
pub fn challenge_hook(
    section: &Section<'_>,
    challenge: &str,
    report: &mut Report<'_>,
) -> Option<ChallengeHook> {
    if !section.is_written() {
        return None;
    }
    let style = section.word("style");
    let command = command(section, &["run", "shell"], report);
    let cleanup = cleanup(section, report);
    let dnsapi = section.parsed("dnsapi", report, dnsapi_name);
    let chain = section.boolean("chain").is_some_and(|(chain, _)| chain);
    for (name, wanted) in [
        ("cleanup", "certbot"),
        ("cleanup_shell", "certbot"),
        ("chain", "dehydrated"),
        ("dnsapi", "acme.sh"),
    ] {
        if let (Some(item), true) = (section.item(name), style != wanted) {
            let fault = format!("goes with style {wanted}; leave it out");
            section.refuse(name, &item.span().unwrap_or_default(), &fault, report);
        }
    }
    let style_at = section
        .item("style")
        .and_then(Item::span)
        .unwrap_or_else(|| section.at.clone());
    if let Some(lack) = lacks(&style, challenge) {
        section.refuse("style", &style_at, &format!("is {style}, {lack}"), report);
    }
    let alone = matches!(&command, Some(Command::Run(words)) if words.len() == 1);
    if style == "acme.sh" && command.is_some() && !alone {
        let fault = "is acme.sh, which `run` must name: its absolute path and nothing else";
        section.refuse("style", &style_at, fault, report);
    }
    let style = match style.as_str() {
        "acme.sh" => {
            if section.item("dnsapi").is_none() {
                let fault = "is missing; name the script of acme.sh, as in `dnsapi = \"dns_nsupdate\"`";
                section.refuse("dnsapi", &section.at, fault, report);
            }
            ChallengeStyle::AcmeSh(dnsapi?)
        }
        "certbot" => ChallengeStyle::Certbot(cleanup),
        "dehydrated" => ChallengeStyle::Dehydrated(if chain { Chain::Yes } else { Chain::No }),
        "lego-exec" => ChallengeStyle::LegoExec,
        "lego-exec-raw" => ChallengeStyle::LegoExecRaw,
        "uacme" => ChallengeStyle::Uacme,
        _ => ChallengeStyle::Mailcert,
    };
    let manner = manner(section, report);
    Some(ChallengeHook {
        style,
        command: command?,
        manner: manner?,
    })
}

/// Reads the hook that writes the records of `dns.provider`.
pub fn record_hook(section: &Section<'_>, report: &mut Report<'_>) -> Option<ChallengeHook> {
    let command = command(section, &["run", "shell"], report);
    let dnsapi = section.parsed("dnsapi", report, dnsapi_name);
    let is_acme_sh = section.word("style") == "acme.sh";
    let alone = matches!(&command, Some(Command::Run(words)) if words.len() == 1);
    let refuse = |name: &str, fault: &str, report: &mut Report<'_>| {
        let at = section.item(name).and_then(Item::span);
        section.refuse(name, &at.unwrap_or_else(|| section.at.clone()), fault, report);
    };
    match (is_acme_sh, section.item("dnsapi")) {
        (true, None) => {
            let fault = "is missing; name the script of acme.sh, as in `dnsapi = \"dns_nsupdate\"`";
            refuse("dnsapi", fault, report);
        }
        (false, Some(_)) => refuse("dnsapi", "goes with style acme.sh; leave it out", report),
        _ => {}
    }
    if is_acme_sh && command.is_some() && !alone {
        let fault = "is acme.sh, which `run` must name: its absolute path and nothing else";
        refuse("style", fault, report);
    }
    let style = match is_acme_sh {
        true => ChallengeStyle::AcmeSh(dnsapi?),
        false => ChallengeStyle::LegoExec,
    };
    let manner = manner(section, report);
    Some(ChallengeHook {
        style,
        command: command?,
        manner: manner?,
    })
}

/// Returns why programs of this style cannot answer a challenge.
fn lacks(style: &str, challenge: &str) -> Option<&'static str> {
    match (style, challenge) {
        ("acme.sh" | "lego-exec", "http-01" | "tls-alpn-01") => {
            Some("which knows dns-01 only; set `acme.challenge.type` to it")
        }
        ("certbot" | "lego-exec-raw", "tls-alpn-01") => {
            Some("which does not know tls-alpn-01; styles mailcert and uacme do")
        }
        // Its scripts only tell a server of certificates that dehydrated itself has made.
        ("dehydrated", "tls-alpn-01") => Some(
            "whose scripts expect dehydrated's own certificates for tls-alpn-01; styles mailcert and uacme do not",
        ),
        _ => None,
    }
}

/// Reads what is run: exactly one of these keys is written.
fn command(section: &Section<'_>, names: &[&str], report: &mut Report<'_>) -> Option<Command> {
    let written: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| section.item(name).is_some())
        .collect();
    match written.as_slice() {
        ["run"] => program(section, "run", report),
        ["shell"] => shell(section, "shell", report),
        ["directory"] => section.path("directory").map(Command::Directory),
        [] => {
            let message = format!("`{}` runs nothing; set one of {}", section.path, names.join(", "));
            report.error(&section.at, message);
            None
        }
        several => {
            let message = format!("`{}` must have only one of {}", section.path, several.join(", "));
            report.error(&section.at, message);
            None
        }
    }
}

/// Reads certbot's second program.
fn cleanup(section: &Section<'_>, report: &mut Report<'_>) -> Option<Command> {
    match (section.item("cleanup"), section.item("cleanup_shell")) {
        (None, None) => None,
        (Some(_), None) => program(section, "cleanup", report),
        (None, Some(_)) => shell(section, "cleanup_shell", report),
        (Some(_), Some(item)) => {
            let fault = "and `cleanup` exclude each other; leave one out";
            section.refuse("cleanup_shell", &item.span().unwrap_or_default(), fault, report);
            None
        }
    }
}

/// Reads a program: a string, or a list with its first arguments.
fn program(section: &Section<'_>, name: &str, report: &mut Report<'_>) -> Option<Command> {
    let words: Vec<(String, Range<usize>)> = match section.text(name) {
        Some(only) => vec![only],
        None => section.parsed_list(name, report, |word| Ok(word.to_owned())),
    };
    let Some((first, at)) = words.first() else {
        let at = section.item(name).and_then(Item::span)?;
        // What is neither a string nor a list has been reported.
        if section
            .item(name)
            .is_some_and(|item| item.as_array().is_some_and(toml_edit::Array::is_empty))
        {
            section.refuse(
                name,
                &at,
                "is empty; write the absolute path of a program",
                report,
            );
        }
        return None;
    };
    if !Path::new(first).has_root() {
        let fault = if first.contains(char::is_whitespace) {
            "must be an absolute path; a command line is written with `shell`, arguments as a list"
        } else {
            "must be an absolute path: one that begins with `/`"
        };
        section.refuse(name, at, fault, report);
        return None;
    }
    for (word, at) in &words {
        if word.contains('\0') {
            section.refuse(name, at, "has a null character in it", report);
            return None;
        }
    }
    Some(Command::Run(super::without_places(words)))
}

fn shell(section: &Section<'_>, name: &str, report: &mut Report<'_>) -> Option<Command> {
    let line = section.parsed(name, report, |line| {
        if line.trim().is_empty() || line.contains('\0') {
            return Err("must be a command line for /bin/sh".to_owned());
        }
        Ok(line.to_owned())
    });
    line.map(Command::Shell)
}

fn manner(section: &Section<'_>, report: &mut Report<'_>) -> Option<Manner> {
    let timeout = section.parsed("timeout", report, value::duration);
    Some(Manner {
        retries: section.number("retries", 0..=MAX_RETRIES, report),
        env_file: section.path("env_file"),
        timeout: timeout?,
    })
}

/// Checks the name of an acme.sh script: it becomes part of a function's name and of a path.
fn dnsapi_name(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.starts_with("dns_") && text.len() < 64 && text.bytes().all(legal) {
        return Ok(text.to_owned());
    }
    Err("must be the name of a dnsapi script of acme.sh: dns_ and letters, digits, `_`".to_owned())
}
