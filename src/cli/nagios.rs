//! Findings as a monitoring plug-in tells them: a line with performance data, then the rest.
//!
//! Monitoring Plugins Development Guidelines: `SERVICE STATUS - text | data`, exit codes 0 to 3, `'label'=value;warn;crit`.
//! A `|` ends the text, so there is none in it. What is longer than such a program reads is cut by whole parts.

use std::fmt::Write as _;

use crate::{
    commands::outcome::{Expiry, Findings},
    model::{
        finding::{Finding, Severity},
        plan::printable_line,
    },
};

/// The longest text of a finding, in characters.
const TEXT_LIMIT: usize = 300;
/// How many octets of further lines there are at most. Nagios reads 8 KiB of everything.
const LINES_LIMIT: usize = 4000;
/// How many octets of performance data there are at most.
const DATA_LIMIT: usize = 2000;

/// Exit code and word for "nothing is known".
pub const UNKNOWN: (u8, &str) = (3, "UNKNOWN");

/// Returns what is printed, and the exit code: 0 ok, 1 warning, 2 critical.
pub fn tell(findings: &Findings) -> (String, u8) {
    let (word, code) = match findings.worst() {
        Severity::Ok | Severity::Info => ("OK", 0),
        Severity::Warning => ("WARNING", 1),
        Severity::Error => ("CRITICAL", 2),
    };
    let wrong: Vec<&Finding> = findings
        .findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning)
        .collect();
    let text = match wrong.as_slice() {
        [] => all_is_well(findings),
        [only] => line(only),
        [first, rest @ ..] => format!("{} (and {} more)", line(first), rest.len()),
    };
    let mut told = format!("MAILCERT {word} - {text} | {}", data(findings));
    for finding in wrong {
        let word = if finding.severity == Severity::Error {
            "CRITICAL"
        } else {
            "WARNING"
        };
        let remedy = match finding.remedy.as_str() {
            "" => String::new(),
            remedy => format!("; remedy: {}", harmless(remedy)),
        };
        let more = format!("\n{word} {}{remedy}", line(finding));
        if told.len() + more.len() > LINES_LIMIT + DATA_LIMIT {
            told.push_str("\nand more: see mailcert check");
            break;
        }
        told.push_str(&more);
    }
    (told, code)
}

/// Returns the line for trouble of the plug-in itself.
pub fn unknown(why: &str) -> String {
    format!("MAILCERT {} - {}", UNKNOWN.1, harmless(why))
}

fn all_is_well(findings: &Findings) -> String {
    let first = findings.expiries.iter().min_by_key(|expiry| expiry.left);
    match first {
        None => "nothing is wrong".to_owned(),
        Some(first) => {
            let n = findings.expiries.len();
            let certificates = if n == 1 { "certificate" } else { "certificates" };
            harmless(&format!(
                "{n} {certificates}, {} expires first, in {} days",
                first.lineage,
                first.left.whole_days()
            ))
        }
    }
}

fn line(finding: &Finding) -> String {
    harmless(&format!(
        "{} {}: {}",
        finding.id, finding.subject, finding.evidence
    ))
}

/// Returns the performance data: days left for each lineage, those that expire first first; then the counts.
fn data(findings: &Findings) -> String {
    let count = |severity| {
        let found = findings.findings.iter();
        found.filter(|finding| finding.severity == severity).count()
    };
    let counts = format!(
        "errors={} warnings={}",
        count(Severity::Error),
        count(Severity::Warning)
    );
    let mut expiries: Vec<&Expiry> = findings.expiries.iter().collect();
    expiries.sort_by_key(|expiry| expiry.left);
    let mut text = String::new();
    for expiry in expiries {
        let days = |left: time::Duration| left.as_seconds_f64() / 86400.0;
        let label: String = expiry
            .lineage
            .chars()
            .map(|character| {
                if matches!(character, '\'' | '=' | '|') {
                    '_'
                } else {
                    character
                }
            })
            .collect();
        let label = printable_line(label.as_bytes(), usize::MAX);
        let before = text.len();
        let (left, warning, critical) = (days(expiry.left), days(expiry.warning), days(expiry.critical));
        let _ = write!(text, "'{label}'={left:.2};{warning:.2}:;{critical:.2}: ");
        if text.len() > DATA_LIMIT {
            text.truncate(before);
            break;
        }
    }
    text + &counts
}

/// Makes one line without a `|` of a text.
fn harmless(text: &str) -> String {
    let joined = text.trim().replace('\n', "; ").replace('|', "/");
    printable_line(joined.as_bytes(), TEXT_LIMIT)
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn expiry(lineage: &str, left: i64) -> Expiry {
        Expiry {
            lineage: lineage.to_owned(),
            left: Duration::days(left),
            warning: Duration::days(15),
            critical: Duration::hours(180),
        }
    }

    fn findings(findings: Vec<Finding>, expiries: Vec<Expiry>) -> Findings {
        Findings {
            expiries,
            ..Findings::sorted(findings)
        }
    }

    #[test]
    fn one_line_when_all_is_well() {
        let (text, code) = tell(&findings(vec![], vec![expiry("b", 80), expiry("a'=", 60)]));
        assert_eq!(
            text,
            "MAILCERT OK - 2 certificates, a'= expires first, in 60 days | \
             'a__'=60.00;15.00:;7.50: 'b'=80.00;15.00:;7.50: errors=0 warnings=0"
        );
        assert_eq!(code, 0);
        let (text, _) = tell(&findings(vec![], vec![]));
        assert_eq!(text, "MAILCERT OK - nothing is wrong | errors=0 warnings=0");
    }

    #[test]
    fn the_worst_first_and_nothing_that_breaks_the_line() {
        let bad = Finding::new(Severity::Error, "tls.expired", "a", "x | y\nz\u{1b}[2J").remedy("do | this");
        let soso = Finding::new(Severity::Warning, "tls.mute", "b", "quiet");
        let (text, code) = tell(&findings(vec![soso, bad], vec![expiry("a", -3)]));
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "MAILCERT CRITICAL - tls.expired a: x / y; z\\u{1b}[2J (and 1 more) | \
                 'a'=-3.00;15.00:;7.50: errors=1 warnings=1",
                "CRITICAL tls.expired a: x / y; z\\u{1b}[2J; remedy: do / this",
                "WARNING tls.mute b: quiet",
            ]
        );
        assert_eq!(code, 2);
        assert_eq!(unknown("a\nb | c"), "MAILCERT UNKNOWN - a; b / c");
    }

    #[test]
    fn is_never_longer_than_nagios_reads() {
        let many = (0..10_000).map(|n| {
            Finding::new(
                Severity::Error,
                "tls.expired",
                format!("host-{n}"),
                "x".repeat(5000),
            )
        });
        let expiries = (0..10_000).map(|n| expiry(&format!("host-{n}"), n)).collect();
        let (text, _) = tell(&findings(many.collect(), expiries));
        assert!(text.len() < 8192, "{}", text.len());
        assert_eq!(text.lines().next().unwrap().matches('|').count(), 1);
        assert!(
            text.contains("'host-0'=0.00") && text.contains("errors=10000"),
            "{text}"
        );
    }
}
