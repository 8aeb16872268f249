//! What is wrong with SPF text, without asking anybody. Pure.

use crate::model::{
    finding::{Finding, Severity},
    record::spf::{DomainSpec, Mechanism, Qualifier, Record, TermKind, is_record},
    rrset::Txt,
};

/// TXT data at one name that still fits a UDP answer of 512 octets (RFC 7208, 3.4).
const MAX_LENGTH: usize = 450;

/// Judges what can be seen in the record itself.
pub(super) fn of_the_text(subject: &str, record: &Record, value: &Txt) -> Vec<Finding> {
    let evidence = || value.to_string();
    let finding = |severity, id, remedy: &str, reference| {
        Finding::new(severity, id, subject, evidence())
            .remedy(remedy)
            .reference(reference)
    };
    let mut findings = Vec::new();
    match record.all() {
        Some(Qualifier::Pass) => findings.push(finding(
            Severity::Error,
            "spf.all-passes",
            "end the record with `-all`: as it is, everybody may send in your name",
            "RFC 7208, 5.1",
        )),
        Some(Qualifier::Neutral) => findings.push(finding(
            Severity::Warning,
            "spf.all-neutral",
            "end the record with `-all` or `~all`: `?all` says nothing about anybody",
            "RFC 7208, 2.6.2",
        )),
        Some(Qualifier::SoftFail) => findings.push(finding(
            Severity::Info,
            "spf.all-softfail",
            "`-all` is stricter; with an enforced DMARC policy `~all` is as good",
            "RFC 7208, 2.6.5",
        )),
        Some(Qualifier::Fail) => {}
        None if record.redirect().is_none() => findings.push(finding(
            Severity::Warning,
            "spf.no-all",
            "end the record with `-all`: without it, it says nothing about other senders",
            "RFC 7208, 4.7",
        )),
        None => {}
    }
    let is_all = |kind: &TermKind| matches!(kind, TermKind::Directive(_, Mechanism::All));
    let after_all = record
        .terms()
        .iter()
        .skip_while(|term| !is_all(&term.kind))
        .skip(1);
    if after_all
        .clone()
        .any(|term| matches!(term.kind, TermKind::Directive(..) | TermKind::Redirect(_)))
    {
        findings.push(finding(
            Severity::Warning,
            "spf.after-all",
            "put `all` last: the mechanisms after it are ignored",
            "RFC 7208, 5.1",
        ));
    } else if record.all().is_some() && record.redirect().is_some() {
        findings.push(finding(
            Severity::Warning,
            "spf.redirect-ignored",
            "remove `redirect=` or `all`: beside `all`, the redirection is ignored",
            "RFC 7208, 6.1",
        ));
    }
    if record.directives().any(|(_, mechanism)| asks_ptr(mechanism))
        || record.redirect().is_some_and(uses_ptr)
    {
        findings.push(finding(
            Severity::Warning,
            "spf.ptr-mechanism",
            "replace `ptr` and `%{p}` by `a`, `mx`, `ip4` or `ip6`: they are slow, unreliable and not to be published",
            "RFC 7208, 5.5",
        ));
    }
    if record.as_str().len() > MAX_LENGTH {
        findings.push(
            Finding::new(
                Severity::Warning,
                "spf.length",
                subject,
                format!("the record is {} octets long", record.as_str().len()),
            )
            .remedy("keep it below 450 octets, so that the answer fits a UDP packet: move parts into an `include`")
            .reference("RFC 7208, 3.4"),
        );
    }
    findings
}

fn asks_ptr(mechanism: &Mechanism) -> bool {
    match mechanism {
        Mechanism::Ptr(_) => true,
        Mechanism::A(Some(spec), _)
        | Mechanism::Exists(spec)
        | Mechanism::Include(spec)
        | Mechanism::Mx(Some(spec), _) => uses_ptr(spec),
        _ => false,
    }
}

fn uses_ptr(spec: &DomainSpec) -> bool {
    spec.uses('p')
}

/// Returns a finding for each value that was meant as SPF and is not.
pub(super) fn unrecognized(subject: &str, values: &[Txt]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for value in values {
        let text = value.joined().to_ascii_lowercase();
        if text.starts_with(b"spf2.0/") {
            findings.push(
                Finding::new(
                    Severity::Info,
                    "spf.sender-id",
                    subject,
                    format!("{value} is Sender ID"),
                )
                .remedy("delete it: nobody reads it any more")
                .reference("RFC 6686, 5"),
            );
        } else if text.trim_ascii_start().starts_with(b"v=spf") && !is_record(&text) {
            findings.push(
                Finding::new(
                    Severity::Warning,
                    "spf.unrecognized",
                    subject,
                    format!("{value} is no SPF record"),
                )
                .remedy("let it begin with `v=spf1` and a space; as it is, receivers do not see it")
                .reference("RFC 7208, 4.5"),
            );
        }
    }
    findings
}
