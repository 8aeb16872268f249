//! What the records are to say: `dns.dmarc`, `dns.mta_sts`, `dns.tls_rpt`, `dns.caa` and `dns.srv`. Pure.

use super::{check::shorten, report::Report, schema::nearest, section::Section, value, without_places};
use crate::{
    config::policy::{Binding, Caa, Dmarc, MtaSts, Policies, Publish, Service, Services},
    model::{
        address::MailAddress,
        name::DomainName,
        record::{
            dmarc,
            mta_sts::{self, MAX_AGE},
        },
    },
};

/// Reports go to that many addresses at most (RFC 9990: receivers heed two at least).
const MAX_REPORTS: usize = 10;

pub(super) fn policies(dns: &Section<'_>, publish: &[Publish], report: &mut Report<'_>) -> Policies {
    let section = dns.section("dns.dmarc");
    let dmarc = Dmarc {
        policy: match section.word("policy").as_str() {
            "quarantine" => dmarc::Policy::Quarantine,
            "reject" => dmarc::Policy::Reject,
            _ => dmarc::Policy::None,
        },
        reports: reports(&section, report, mail_report),
    };
    let tls_section = dns.section("dns.tls_rpt");
    let tls_reports = reports(&tls_section, report, |text| {
        if text.starts_with("https://") {
            web_report(text)
        } else {
            mail_report(text)
        }
    });
    let is_empty = |item: &toml_edit::Item| item.as_array().is_some_and(toml_edit::Array::is_empty);
    let names_nobody = tls_section.item("rua").is_none_or(is_empty);
    if names_nobody && publish.contains(&Publish::TlsRpt) {
        tls_section.refuse(
            "rua",
            &tls_section.at,
            "is missing: `dns.publish` has `tls-rpt`, so say where reports go, as in `rua = [\"mailto:tls@example.jp\"]`",
            report,
        );
    }
    Policies {
        dmarc,
        mta_sts: mta_sts(&dns.section("dns.mta_sts"), report),
        tls_reports,
        caa: caa(&dns.section("dns.caa"), report),
        services: services(dns, report),
    }
}

fn reports(
    section: &Section<'_>,
    report: &mut Report<'_>,
    parse: impl Fn(&str) -> Result<String, String>,
) -> Vec<String> {
    let found = section.distinct("rua", report, parse);
    if let Some((_, at)) = found.get(MAX_REPORTS) {
        section.refuse(
            "rua",
            at,
            &format!("has more than {MAX_REPORTS} addresses"),
            report,
        );
    }
    without_places(found)
}

/// Parses `mailto:` and a full address. What would need an escape in a record is refused (RFC 9990; RFC 8460, 3).
fn mail_report(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        format!(
            "has `{}`, which {why}; write it as mailto:dmarc@example.jp",
            shorten(text)
        )
    };
    let address = text
        .strip_prefix("mailto:")
        .ok_or_else(|| wrong("is no mailto: URI"))?;
    let parsed: MailAddress = address.parse().map_err(|error| wrong(&format!("{error}")))?;
    if !address.contains('@') || address.contains(['!', ',', ';', '%', '?', '#', '&']) {
        return Err(wrong("is no full address that can stand in a record as it is"));
    }
    Ok(format!("mailto:{parsed}"))
}

fn web_report(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .and_then(|rest| rest.split(['/', ':']).next());
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"!,;\"\\".contains(&byte));
    match host.map(str::parse::<DomainName>) {
        Some(Ok(_)) if is_plain => Ok(text.to_owned()),
        _ => Err(format!(
            "has `{}`, which is no https: URI that can stand in a record as it is",
            shorten(text)
        )),
    }
}

fn mta_sts(section: &Section<'_>, report: &mut Report<'_>) -> MtaSts {
    let max_age = section.parsed("max_age", report, |text| {
        let seconds = value::duration(text)?.as_secs();
        match seconds <= MAX_AGE {
            true => Ok(seconds),
            false => Err("is longer than a year (RFC 8461, 3.2)".to_owned()),
        }
    });
    MtaSts {
        mode: match section.word("mode").as_str() {
            "enforce" => mta_sts::Mode::Enforce,
            "none" => mta_sts::Mode::None,
            _ => mta_sts::Mode::Testing,
        },
        max_age: max_age.unwrap_or_default(),
        webroot: section.path("webroot"),
    }
}

fn caa(section: &Section<'_>, report: &mut Report<'_>) -> Caa {
    let issuers = section.distinct("issuers", report, |text| {
        text.parse::<DomainName>()
            .map_err(|error| format!("names a CA by its domain, as in its documents: {error}"))
    });
    let iodef = section.parsed("iodef", report, |text| {
        if text.starts_with("https://") {
            web_report(text)
        } else {
            mail_report(text)
        }
    });
    Caa {
        bind: match section.word("bind").as_str() {
            "account" => Binding::Account,
            _ => Binding::Issuer,
        },
        issuers: without_places(issuers),
        iodef,
    }
}

fn services(dns: &Section<'_>, report: &mut Report<'_>) -> Services {
    if dns.text("srv").is_some() {
        return Services::Auto;
    }
    let parse = |text: &str| {
        let words = Service::ALL.map(Service::word);
        let known = Service::ALL.into_iter().find(|service| service.word() == text);
        known.ok_or_else(|| match nearest(text, words) {
            Some(meant) => format!("has `{}`; did you mean `{meant}`?", shorten(text)),
            None => format!("has `{}`; services are {}", shorten(text), words.join(", ")),
        })
    };
    Services::Listed(without_places(dns.distinct("srv", report, parse)))
}
