//! From what a run saw to the mail that is sent, and the record of it.

use std::collections::BTreeMap;

use super::{
    Ended, Lineages, Seen,
    message::{About, Item, Letter},
    sendmail,
};
use crate::{
    commands::Context,
    config::Issuer,
    env::log::Priority,
    error::Kind,
    model::{
        metrics::MailFacts,
        notice::{self, Episode, Failed, News, Notices},
    },
    store::StoreError,
};

/// Decides what there is to tell, sends it, and keeps what was told. Returns how mail goes; `None` where none is wanted.
pub(super) fn spread(
    context: &Context<'_>,
    ended: &Ended<'_>,
    lineages: &Lineages<'_>,
    notes: &mut Vec<String>,
) -> Option<MailFacts> {
    if context.config.notify.mail_to.is_empty() {
        return None;
    }
    let earlier = match context.store.load_notices() {
        Ok(notices) => notices,
        Err(error @ StoreError::Newer { .. }) => {
            notes.push(format!("no mail is sent: {error}"));
            return Some(MailFacts {
                failed: true,
                sent_at: None,
            });
        }
        Err(error) => {
            notes.push(format!("what was told before is forgotten: {error}"));
            Notices::default()
        }
    };
    // Who interrupted the run knows of it, and it says nothing about the certificates.
    let notices = if context.is_interrupted() {
        earlier.clone()
    } else {
        send(context, ended, lineages, earlier.clone(), notes)
    };
    if notices != earlier
        && let Err(error) = context.store.save_notices(&notices)
    {
        notes.push(format!("what was told could not be recorded: {error}"));
    }
    Some(MailFacts {
        failed: notices.mail_failure.is_some(),
        sent_at: notices.mailed_at,
    })
}

/// Sends what is new in one mail, and marks it as told once it is sent.
fn send(
    context: &Context<'_>,
    ended: &Ended<'_>,
    lineages: &Lineages<'_>,
    notices: Notices,
    notes: &mut Vec<String>,
) -> Notices {
    let now = context.now();
    let patience = context.config.notify.after_failures;
    let mut next = Notices {
        lineages: BTreeMap::new(),
        ..notices.clone()
    };
    let mut items = Vec::new();
    if let Some(seen) = seen_of_run(context, ended) {
        let (episode, news) = notice::decide(notices.run.clone(), &seen, patience, now);
        if let (Some(news), Some(episode)) = (news, &episode) {
            items.push(item(ended.error.map_or(About::Runs, About::Run), news, episode));
        }
        next.run = episode;
    }
    let mut earlier = notices.lineages;
    for seen in lineages.iter() {
        let name = &seen.certificate.name;
        let (episode, news) = notice::decide(earlier.remove(name), &seen_of(&seen, context), patience, now);
        if let (Some(news), Some(episode)) = (news, &episode) {
            let about = About::Lineage {
                status: seen.status,
                error: seen.error,
                external: seen.certificate.issuer == Issuer::External,
            };
            items.push(item(about, news, episode));
        }
        next.lineages
            .extend(episode.map(|episode| (name.clone(), episode)));
    }
    // A record that cannot be read now was not judged: its episode goes on. Of one that is gone, it ends.
    earlier.retain(|name, _| context.find_certificate(name).is_some());
    next.lineages.extend(earlier);
    if items.is_empty() {
        return next;
    }
    let notify = &context.config.notify;
    let letter = Letter {
        host: &context.config.host.name,
        from: notify.mail_from.as_ref(),
        to: &notify.mail_to,
        now,
        program: program(context),
        items: &items,
    };
    let message = letter.message();
    match sendmail::send(notify, &message) {
        Ok(()) => {
            context
                .progress
                .event(Priority::Info, &format!("mail was sent: {}", letter.subject()));
            next.mail_failure = None;
            next.mailed_at = Some(now);
            let told: Vec<(Option<String>, News)> = items
                .iter()
                .map(|item| (item.about.lineage().map(str::to_owned), item.news.clone()))
                .collect();
            for (lineage, news) in told {
                match lineage {
                    None => next.run = notice::told(next.run.take(), &news),
                    Some(name) => {
                        let told = notice::told(next.lineages.remove(&name), &news);
                        next.lineages.extend(told.map(|episode| (name, episode)));
                    }
                }
            }
        }
        Err(reason) => {
            notes.push(format!(
                "mail to notify.mail_to could not be sent, and is tried again by the next run: {reason}"
            ));
            next.mail_failure = Some(reason);
        }
    }
    next
}

/// Returns what is seen of the run as a whole, or `None` when it says nothing: only the unattended command is judged.
fn seen_of_run(context: &Context<'_>, ended: &Ended<'_>) -> Option<notice::Seen> {
    if ended.command != "renew" {
        return None;
    }
    if ended.error.is_some_and(|error| error.kind == Kind::NotYet) {
        return None;
    }
    Some(notice::Seen {
        well: ended.error.is_none(),
        failed: ended.error.map(|_| Failed {
            at: context.now(),
            count: 1,
        }),
        ..notice::Seen::default()
    })
}

fn seen_of(seen: &Seen<'_>, context: &Context<'_>) -> notice::Seen {
    let recorded = seen.status.failure.as_ref().map(|failure| Failed {
        at: failure.at,
        count: failure.count,
    });
    // A record that cannot be read keeps no failure of its own.
    let unrecorded = seen.error.map(|_| Failed {
        at: context.now(),
        count: 1,
    });
    notice::Seen {
        well: seen.status.good && seen.error.is_none(),
        failed: recorded.or(unrecorded),
        expires: seen.status.not_after,
        due: seen.status.due,
    }
}

fn item<'a>(about: About<'a>, news: News, episode: &Episode) -> Item<'a> {
    Item {
        about,
        news,
        since: episode.since,
        failures: episode.failures,
    }
}

/// Returns how this program is called with this configuration.
fn program(context: &Context<'_>) -> String {
    let default = std::path::Path::new("/etc/mailcert/mailcert.toml");
    if context.config_path == default {
        return "mailcert".to_owned();
    }
    let path = context.config_path.display().to_string();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if path.chars().all(is_plain) {
        return format!("mailcert --config {path}");
    }
    format!("mailcert --config '{}'", path.replace('\'', "'\\''"))
}
