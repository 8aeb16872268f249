//! Asks the CAs when to renew what they have issued (RFC 9773).

use std::{collections::BTreeMap, time::Duration};

use time::OffsetDateTime;

use super::{Work, decide};
use crate::{
    acme::{directory::Directory, http::Http},
    commands::{Context, ca, order, outcome::Action},
    config::Issuer,
    env::threads,
    error::Result,
    model::{
        lineage::Step,
        schedule::{self, Next, Urgency},
    },
};

/// How long the CA is asked when to renew, all certificates together.
const PATIENCE_FOR_ASKING: Duration = Duration::from_secs(120);

/// How many CAs and certificates are asked for renewal information at the same time.
const ASKS_AT_ONCE: usize = 16;

/// Asks the CAs about certificates whose last answer is no longer good, and decides again.
///
/// Each is asked of the CA that issued it, whatever CA the configuration names by now.
pub(super) fn ask_when_to_renew(
    context: &Context<'_>,
    works: &mut [Work<'_>],
    urgency: Urgency,
) -> Result<()> {
    let now = context.now();
    let Some(acme) = context.config.acme.as_ref() else {
        return Ok(());
    };
    let mut asked: BTreeMap<String, Vec<&mut Work<'_>>> = BTreeMap::new();
    for work in works.iter_mut().filter(|work| is_to_be_asked(work, now)) {
        let issuer = work
            .lineage
            .current()
            .and_then(|(_, current)| current.directory.clone());
        if let Some(issuer) = issuer {
            asked.entry(issuer).or_default().push(work);
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    context.progress.step("asking the CA when to renew");
    let deadline = tokio::time::Instant::now() + PATIENCE_FOR_ASKING;
    let mut asks = Vec::new();
    for (directory, works) in &mut asked {
        let http = ca::http(&acme.at(directory))?;
        asks.push(ask_one(http, directory, works, now, deadline));
    }
    context.wait(order::concurrently(asks.into_iter(), ASKS_AT_ONCE))?;
    let asked: Vec<&mut Work<'_>> = asked.into_values().flatten().collect();
    threads::on_each(asked, |work| {
        if let Err(error) = context.save(&work.lineage) {
            work.error = Some(error);
            work.action = Action::Failed;
        }
        work.next = decide(context, work.certificate, &work.lineage, urgency);
    });
    Ok(())
}

/// Asks one CA about certificates of its own.
async fn ask_one(
    http: Http,
    directory: &str,
    works: &mut [&mut Work<'_>],
    now: OffsetDateTime,
    deadline: tokio::time::Instant,
) {
    // A CA that is down must not stop anything: the remaining lifetime decides then.
    let directory = Directory::fetch(&http, directory).await.ok();
    let asks = works.iter_mut().map(|work| async {
        if tokio::time::Instant::now() > deadline {
            // A CA that takes its time must not keep thousands from being renewed: the next run asks on.
            return;
        }
        let Some((_, generation)) = work.lineage.current() else {
            return;
        };
        let earlier = work.lineage.renewal_info.as_ref();
        let info = order::ask_renewal_info(&http, directory.as_ref(), generation, earlier, now).await;
        if info.is_some() {
            work.lineage.renewal_info = info;
        }
    });
    order::concurrently(asks, ASKS_AT_ONCE).await;
}

/// Returns whether the CA may change what is to be done for a lineage, and may be asked.
pub(super) fn is_to_be_asked(work: &Work<'_>, now: OffsetDateTime) -> bool {
    let failed = work.lineage.failure.as_ref().map(|failure| failure.step);
    let is_open = match work.next {
        Next::Deploy(_) | Next::Idle(_) => true,
        // Due by an answer that does not hold any more: the window may have moved.
        Next::Order(_) => {
            let is_unfinished = work.lineage.order.is_some() || !work.lineage.kept_orders.is_empty();
            work.urgency == Urgency::Ordinary && !is_unfinished
        }
        Next::Wait(..) => failed.is_some_and(|step| step != Step::Order),
    };
    let current = work.lineage.current().map(|(_, current)| current);
    is_open
        && work.error.is_none()
        && work.certificate.issuer == Issuer::Acme
        && current
            .is_some_and(|current| schedule::is_to_be_asked(current, work.lineage.renewal_info.as_ref(), now))
}
