//! `check certificates`: what the records say about each lineage, and whether what is to be seen from outside is seen.

use std::io::ErrorKind;

use time::{Duration, OffsetDateTime};

use super::{
    Context,
    outcome::Expiry,
    private_ca, sni,
    status::{self, LineageStatus},
    store_error,
};
use crate::{
    config::Issuer,
    error::Result,
    model::{
        finding::{Finding, Severity},
        notice,
    },
    store::StoreError,
};

/// Looks at every lineage's record. Returns the findings, and how long each certificate in use is still valid.
///
/// # Errors
/// When the records may not be read by this user: then nothing is known.
pub fn check(context: &Context<'_>) -> Result<(Vec<Finding>, Vec<Expiry>)> {
    let (mut findings, mut expiries) = (Vec::new(), Vec::new());
    let behind = sni::behind(context);
    for certificate in &context.config.certificates {
        let name = &certificate.name;
        let lineage = match context.store.load(name) {
            Ok(lineage) => lineage,
            Err(StoreError::File(error)) if error.reason.kind() == ErrorKind::PermissionDenied => {
                let failed = store_error(
                    "the state of the certificates is not known",
                    &StoreError::File(error),
                );
                return Err(failed.remedy("run it as root, for example by sudo"));
            }
            Err(error) => {
                let told = store_error("", &error);
                findings.push(
                    Finding::new(Severity::Error, "certificate.unreadable", name, error.to_string())
                        .remedy(told.remedies.join("\n")),
                );
                continue;
            }
        };
        let status = status::look(context, certificate, &lineage, &behind);
        let expiry = expiry(&status, context.now());
        findings.push(judge(&status, certificate.issuer, expiry.as_ref(), context.now()));
        expiries.extend(expiry);
    }
    findings.extend(private_ca::show::check(context));
    findings.extend(mail(context));
    findings.extend(metrics(context));
    Ok((findings, expiries))
}

/// Returns how long the certificate in use is valid: a warning when half of the time between its renewal and its end is
/// gone, critical when three quarters are.
fn expiry(status: &LineageStatus, now: OffsetDateTime) -> Option<Expiry> {
    let (not_after, due) = (status.not_after?, status.due?);
    let half = notice::half(due, not_after);
    Some(Expiry {
        lineage: status.name.clone(),
        left: not_after - now,
        warning: not_after - half,
        critical: not_after - notice::half(half, not_after),
    })
}

/// Returns the gravest thing that there is to say about a lineage.
fn judge(status: &LineageStatus, issuer: Issuer, expiry: Option<&Expiry>, now: OffsetDateTime) -> Finding {
    let name = &status.name;
    let finding = |severity, id, evidence: String| Finding::new(severity, id, name, evidence);
    let renewal = match issuer {
        Issuer::Acme | Issuer::Ca => format!("`mailcert renew --force {name}` tries at once and tells what is wrong"),
        Issuer::External => {
            status.advice.clone().unwrap_or_else(|| {
                format!("`mailcert install {name} FILE` with what the CA sent, or `--from DIR` of the client that renews it")
            })
        }
    };
    let left = expiry.map(|expiry| expiry.left);
    if let Some(at) = status.not_after.filter(|at| *at <= now) {
        let evidence = format!("the certificate in use expired on {}", at.date());
        return finding(Severity::Error, "certificate.expired", evidence)
            .remedy(renewal)
            .reference("RFC 5280, 4.1.2.5");
    }
    let is_soon = expiry.is_some_and(|expiry| expiry.left < expiry.warning);
    if let Some(failure) = status.failure.as_ref().filter(|_| !(status.waits && is_soon)) {
        let told = status.last_error.as_deref().unwrap_or_default();
        let first: Vec<&str> = told.lines().take(2).collect();
        let evidence = format!(
            "{} failed {}, next try {}: {}",
            failure.step,
            match failure.count {
                1 => "once".to_owned(),
                n => format!("{n} times in a row"),
            },
            minute(failure.next_try),
            first.join(": ")
        );
        let remedy = match failure.remedies.as_slice() {
            [] if status.waits => "nothing has to be done: the timer tries again then".to_owned(),
            [] => renewal,
            remedies => remedies.join("\n"),
        };
        let severity = if status.waits {
            Severity::Warning
        } else {
            Severity::Error
        };
        return finding(severity, "certificate.failing", evidence).remedy(remedy);
    }
    if let Some(expiry) = expiry.filter(|expiry| expiry.left < expiry.warning) {
        let severity = if expiry.left < expiry.critical {
            Severity::Error
        } else {
            Severity::Warning
        };
        let evidence = format!(
            "it expires in {}, and should have been renewed by now",
            days(expiry.left)
        );
        return finding(severity, "certificate.expires-soon", evidence).remedy(renewal);
    }
    if !status.good {
        let evidence = match &status.last_error {
            Some(error) => error.clone(),
            None => format!("it is {}, and no run has brought it further", status.state),
        };
        return finding(Severity::Error, "certificate.unfinished", evidence)
            .remedy("`mailcert renew` goes on where the last run stopped");
    }
    if status.unserved {
        let evidence = "its files are renewed, and Postfix does not name them: no port serves it".to_owned();
        return finding(Severity::Warning, "certificate.unfinished", evidence)
            .remedy("`mailcert apply postfix` puts it into service; if that is not wanted, set postfix.manage = false");
    }
    if !status.missing_identifiers.is_empty() {
        let names: Vec<String> = status
            .missing_identifiers
            .iter()
            .map(ToString::to_string)
            .collect();
        let evidence = format!("the certificate in use is not for {}", names.join(", "));
        let remedy = match &status.waiting {
            Some(held) => format!("wait until {}: {}", minute(held.until), held.why),
            None => "`mailcert renew` orders one that is".to_owned(),
        };
        return finding(Severity::Warning, "certificate.unfinished", evidence).remedy(remedy);
    }
    let left = left
        .map(|left| format!(", and is valid for {} more", days(left)))
        .unwrap_or_default();
    finding(
        Severity::Ok,
        "certificate.ok",
        format!("it is {}{left}", status.state),
    )
}

/// Tells that mail to the operator does not get through.
fn mail(context: &Context<'_>) -> Option<Finding> {
    if context.config.notify.mail_to.is_empty() {
        return None;
    }
    let notices = context.store.load_notices().ok()?;
    let evidence = format!("the last mail could not be sent: {}", notices.mail_failure?);
    Some(
        Finding::new(
            Severity::Warning,
            "notify.mail-failed",
            context.config.notify.sendmail.display().to_string(),
            evidence,
        )
        .remedy("see that notify.sendmail takes mail; the next run tries again")
        .reference("sendmail(1)"),
    )
}

/// Tells that metrics which were asked for are not written.
fn metrics(context: &Context<'_>) -> Option<Finding> {
    let path = &context.config.notify.metrics_file;
    let has_run = !context.store.load_runs().runs.is_empty();
    let is_ours = path.parent() == Some(context.config.state_directory.as_path());
    (has_run && !is_ours && !path.is_file()).then(|| {
        let evidence = "runs have ended, and the file is not there";
        Finding::new(
            Severity::Warning,
            "notify.metrics-missing",
            path.display().to_string(),
            evidence,
        )
        .remedy("make its directory, which not everybody may write to; `mailcert renew` tells what is wrong")
    })
}

fn days(left: Duration) -> String {
    match (left.whole_days(), left.whole_hours()) {
        (2.., _) => format!("{} days", left.whole_days()),
        (_, hours) => format!("{hours} h"),
    }
}

/// Writes a moment to the minute.
pub(super) fn minute(at: OffsetDateTime) -> String {
    format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
}
