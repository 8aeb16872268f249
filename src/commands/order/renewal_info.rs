//! Asks the CA when to renew, and keeps what it said with the instant that was chosen.

use time::{Duration, OffsetDateTime};

use crate::{
    acme::{
        directory::Directory,
        http::Http,
        renewal_info::{self, CertificateId},
    },
    model::{
        lineage::{Generation, RenewalInfo},
        schedule,
    },
};

/// Asks when to renew a certificate (RFC 9773); `None` when there is nothing to ask.
///
/// A failed ask is not repeated for six hours, longer (a day at most) when the CA asks for it; an earlier window for the
/// same certificate is kept.
pub async fn ask_renewal_info(
    http: &Http,
    directory: Option<&Directory>,
    generation: &Generation,
    earlier: Option<&RenewalInfo>,
    now: OffsetDateTime,
) -> Option<RenewalInfo> {
    let certificate_id = generation.certificate_id.clone()?;
    if directory.is_some_and(|directory| !directory.has_renewal_info()) {
        return None;
    }
    let earlier = earlier
        .filter(|info| info.certificate_id == certificate_id)
        .and_then(|info| info.window.as_ref());
    let six_hours = Duration::hours(6);
    let id = CertificateId::from_text(&certificate_id);
    let (answer, asked_for) = match directory {
        Some(directory) => match renewal_info::RenewalInfo::fetch(http, directory, &id).await {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, error.retry_after()),
        },
        None => (None, None),
    };
    Some(match answer {
        Some(answer) => {
            let wait = Duration::try_from(answer.retry_after).unwrap_or(six_hours);
            let window = schedule::choose(
                answer.start,
                answer.end,
                answer.explanation_url,
                earlier,
                random(),
            );
            RenewalInfo {
                certificate_id,
                window: window.or_else(|| earlier.cloned()),
                ask_at: now.saturating_add(wait),
            }
        }
        None => {
            let asked_for = asked_for.and_then(|wait| Duration::try_from(wait).ok());
            let wait = asked_for.unwrap_or(six_hours).clamp(six_hours, Duration::DAY);
            RenewalInfo {
                certificate_id,
                window: earlier.cloned(),
                ask_at: now.saturating_add(wait),
            }
        }
    })
}

/// Returns any number; where there is no randomness, always the same one, which only costs spread.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    }
}
