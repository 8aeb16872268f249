//! How `probe` looks as text.

use std::fmt::Write as _;

use super::{Color, Render, Style};
use crate::{
    commands::probe::{Dane, Probed, Report},
    error::ExitCode,
};

impl Render for Probed {
    fn text(&self, style: Style) -> String {
        self.reports
            .iter()
            .map(|report| probe_text(style, self, report))
            .collect()
    }

    fn exit_code(&self) -> ExitCode {
        self.exit_code()
    }
}

fn probe_text(style: Style, probed: &Probed, report: &Report) -> String {
    let address = report
        .address
        .map(|address| format!(" ({address})"))
        .unwrap_or_default();
    let mut text = format!(
        "{}{address}\n",
        style.paint(Color::Bold, &report.endpoint.to_string())
    );
    let mut row = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<9} {value}");
    };
    if let Some(failure) = &report.failure {
        row(
            "no TLS",
            style.paint(
                Color::Red,
                &format!("{}: {}", failure.stage.describe(), failure.reason),
            ),
        );
        return text;
    }
    let Some(tls) = &report.tls else { return text };
    row(
        "protocol",
        format!("{}, {}, {}", tls.protocol, tls.cipher_suite, tls.key_exchange),
    );
    let verdict = |good: bool, yes: &str, no: String| {
        if good {
            style.paint(Color::Green, yes)
        } else {
            style.paint(Color::Red, &no)
        }
    };
    if let (Some(name), Some(matches)) = (&tls.name, tls.name_matches) {
        row(
            "name",
            verdict(
                matches,
                &format!("{name} is covered"),
                format!("{name} is not covered"),
            ),
        );
    }
    match (tls.trusted, &tls.untrusted_reason) {
        (Some(trusted), reason) => {
            let reason = reason.clone().unwrap_or_default();
            row(
                "trust",
                verdict(
                    trusted,
                    "the chain leads to a trusted root",
                    format!("not trusted: {reason}"),
                ),
            );
        }
        (None, _) => row("trust", "not judged: this host has no list of roots".to_owned()),
    }
    let valid = tls.validity == "valid";
    row(
        "validity",
        verdict(
            valid,
            &format!("valid, {} days left", tls.days_left),
            tls.validity.to_owned(),
        ),
    );
    if let Some(fault) = &report.fault {
        row("mail", style.paint(Color::Red, fault));
    }
    match &probed.dane {
        Dane::Unknown(reason) => row("DANE", format!("nobody can say: {reason}")),
        Dane::Records(records) if records.is_empty() => row("DANE", "no TLSA records".to_owned()),
        Dane::Records(records) => {
            let leaf = tls.chain.first().map(|leaf| &leaf.sha256);
            for record in records {
                let matches = leaf.is_some_and(|leaf| record.matches.contains(leaf));
                let text = format!("TLSA {}", record.record);
                row(
                    "DANE",
                    verdict(
                        matches,
                        &format!("{text} matches"),
                        format!("{text} does not match the leaf"),
                    ),
                );
            }
        }
        Dane::Unasked => {}
    }
    for (number, certificate) in tls.chain.iter().enumerate() {
        row(
            &format!("chain {number}"),
            format!("{}, issued by {}", certificate.subject, certificate.issuer),
        );
        let mut more = |label: &str, value: String| row("", format!("{label:<7} {value}"));
        if !certificate.dns_names.is_empty() {
            more("names", certificate.dns_names.join(", "));
        }
        more(
            "valid",
            format!(
                "{} to {}",
                certificate.not_before.date(),
                style.date(certificate.not_after)
            ),
        );
        more("key", certificate.key.clone());
        more("serial", certificate.serial.clone());
        more("sha256", certificate.sha256.to_string());
    }
    text
}
