//! When the operator is to be told, and told again that all is well. Pure: `now` comes in as an argument.
//!
//! A thing is well, or it is in an episode of trouble: from its first failure, or from the moment at which a certificate
//! should have been renewed, until it is well again. Each reason to tell is told once in an episode, and its end is told
//! when anything was. What was told is kept on disk after it was told: a run that is killed in between tells it twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::lineage::{FORMAT, this_format};

/// Everything that was told and everything in trouble, as it is kept in `notify.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// [`FORMAT`] of the program that wrote it; another one is not read.
    #[serde(deserialize_with = "this_format")]
    pub version: u32,
    /// Runs that failed before they came to any lineage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Episode>,
    /// Lineages in trouble.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lineages: BTreeMap<String, Episode>,
    /// Why the last mail could not be sent; taken away by one that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_failure: Option<String>,
    /// When mail was sent last.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub mailed_at: Option<OffsetDateTime>,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            version: FORMAT,
            run: None,
            lineages: BTreeMap::new(),
            mail_failure: None,
            mailed_at: None,
        }
    }
}

/// Trouble from its beginning on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// The first failure, or the moment at which the certificate should have been renewed.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When the certificate in use then expires: the end of the slack.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<OffsetDateTime>,
    /// Failures in a row, of whichever step.
    pub failures: u32,
    /// The last of them, so that none is counted twice.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_failure: Option<OffsetDateTime>,
    /// What was told.
    #[serde(default)]
    pub told: BTreeSet<Reason>,
}

/// A reason to tell, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It failed so many times in a row.
    Failures,
    /// Half of the time from the first failure to the expiry is gone.
    HalfSlack,
    /// The certificate in use has expired.
    Expired,
}

/// What a run saw of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Whether it is as it should be.
    pub well: bool,
    /// Its last failure.
    pub failed: Option<Failed>,
    /// When the certificate in use expires.
    pub expires: Option<OffsetDateTime>,
    /// When that certificate should have been replaced.
    pub due: Option<OffsetDateTime>,
}

/// A failure.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// When.
    pub at: OffsetDateTime,
    /// How many in a row the record knows of.
    pub count: u32,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Trouble, for these reasons, which were not told before.
    Trouble(BTreeSet<Reason>),
    /// It is well again.
    Well,
}

/// Returns the episode after a run, with what there is to tell. An episode whose end is to be told stays until it was.
pub fn decide(
    episode: Option<Episode>,
    seen: &Seen,
    after_failures: u32,
    now: OffsetDateTime,
) -> (Option<Episode>, Option<News>) {
    let overdue = seen.due.is_some_and(|due| due <= now);
    if seen.well && !overdue {
        return match episode {
            Some(episode) if !episode.told.is_empty() => (Some(episode), Some(News::Well)),
            _ => (None, None),
        };
    }
    let mut episode = episode.unwrap_or_else(|| Episode {
        since: began(seen, now),
        expires: seen.expires,
        failures: 0,
        last_failure: None,
        told: BTreeSet::new(),
    });
    episode.expires = episode.expires.or(seen.expires);
    if let Some(failed) = seen.failed {
        // One that is older was counted, and shows again; unless the clock was ahead when the last one was.
        let is_new = episode
            .last_failure
            .is_none_or(|last| failed.at > last || failed.at < last && last > now);
        if is_new {
            episode.failures = episode.failures.saturating_add(1);
            episode.last_failure = Some(failed.at);
        }
        episode.failures = episode.failures.max(failed.count);
    }
    let reasons = [
        (Reason::Failures, episode.failures >= after_failures),
        (
            Reason::HalfSlack,
            episode
                .expires
                .is_some_and(|expires| now >= half(episode.since, expires)),
        ),
        (
            Reason::Expired,
            seen.expires.is_some_and(|expires| now >= expires),
        ),
    ];
    let news: BTreeSet<Reason> = reasons
        .into_iter()
        .filter(|(reason, holds)| *holds && !episode.told.contains(reason))
        .map(|(reason, _)| reason)
        .collect();
    let news = (!news.is_empty()).then_some(News::Trouble(news));
    (Some(episode), news)
}

/// Returns the episode after its news was told; `None` when that was its end.
pub fn told(episode: Option<Episode>, news: &News) -> Option<Episode> {
    match news {
        News::Well => None,
        News::Trouble(reasons) => episode.map(|mut episode| {
            episode.told.extend(reasons);
            episode
        }),
    }
}

/// Returns the moment at which half of the time between two is gone; the first when the other lies before it.
pub fn half(since: OffsetDateTime, until: OffsetDateTime) -> OffsetDateTime {
    let half: Duration = (until - since) / 2;
    since + half.max(Duration::ZERO)
}

/// Returns when the trouble began: with its failure, else when the certificate was due.
fn began(seen: &Seen, now: OffsetDateTime) -> OffsetDateTime {
    let failed = seen.failed.map(|failed| failed.at);
    // A clock that was ahead when it failed must not put the beginning off.
    failed.or(seen.due).unwrap_or(now).min(now)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2030-01-01 0:00 UTC);

    /// One run at an hour after the start: what it saw, and what it told.
    type Run = (i64, Seen, &'static str);

    fn at(hour: i64) -> OffsetDateTime {
        START + Duration::hours(hour)
    }

    fn failing(hour: i64, count: u32, expires: i64) -> Seen {
        Seen {
            well: false,
            failed: Some(Failed { at: at(hour), count }),
            expires: Some(at(expires)),
            due: Some(START),
        }
    }

    fn well(expires: i64) -> Seen {
        Seen {
            well: true,
            failed: None,
            expires: Some(at(expires)),
            due: Some(at(expires - 100)),
        }
    }

    fn words(news: Option<&News>) -> String {
        match news {
            None => String::new(),
            Some(News::Well) => "well".to_owned(),
            Some(News::Trouble(reasons)) => reasons
                .iter()
                .map(|reason| match reason {
                    Reason::Expired => "expired",
                    Reason::Failures => "failures",
                    Reason::HalfSlack => "half",
                })
                .collect::<Vec<_>>()
                .join("+"),
        }
    }

    /// Walks through runs, each of which tells what it has to.
    fn check(case: &str, runs: &[Run]) {
        let mut episode = None;
        for (hour, seen, expected) in runs {
            let (next, news) = decide(episode, seen, 3, at(*hour));
            assert_eq!(words(news.as_ref()), *expected, "{case}: hour {hour}");
            episode = match &news {
                Some(news) => told(next, news),
                None => next,
            };
            let text = serde_json::to_string(&episode).unwrap();
            assert_eq!(
                serde_json::from_str::<Option<Episode>>(&text).unwrap(),
                episode,
                "{case}"
            );
        }
    }

    #[test]
    fn tells_each_reason_once_in_an_episode_and_its_end() {
        check("nothing happens", &[(0, well(1000), ""), (1, well(1000), "")]);
        check(
            "two failures are not worth a mail",
            &[
                (1, failing(1, 1, 1000), ""),
                (2, failing(2, 2, 1000), ""),
                (3, well(3000), ""),
                (4, failing(4, 1, 1000), ""),
            ],
        );
        check(
            "three are, once",
            &[
                (1, failing(1, 1, 1000), ""),
                (2, failing(2, 2, 1000), ""),
                (3, failing(3, 3, 1000), "failures"),
                (4, failing(4, 4, 1000), ""),
                (30, failing(30, 5, 1000), ""),
                (31, well(3000), "well"),
                (32, well(3000), ""),
                (40, failing(40, 1, 3000), ""),
                (41, failing(41, 2, 3000), ""),
                (42, failing(42, 3, 3000), "failures"),
            ],
        );
        check(
            "runs that wait out the back-off are no failures",
            &[
                (1, failing(1, 1, 1000), ""),
                (2, failing(1, 1, 1000), ""),
                (3, failing(1, 1, 1000), ""),
                (4, failing(4, 2, 1000), ""),
            ],
        );
        check(
            "steps that fail by turns are counted together",
            &[
                (1, failing(1, 1, 1000), ""),
                (2, failing(2, 1, 1000), ""),
                (3, failing(3, 1, 1000), "failures"),
            ],
        );
        check(
            "a failure that was set aside and shows again is none",
            &[
                (1, failing(1, 1, 1000), ""),
                (2, failing(2, 1, 1000), ""),
                (3, failing(1, 1, 1000), ""),
                (4, failing(4, 1, 1000), "failures"),
            ],
        );
        check(
            "the record knows of more than we saw",
            &[(9, failing(9, 7, 1000), "failures")],
        );
        check(
            "half of the slack, then the end",
            &[
                (10, failing(10, 1, 110), ""),
                (59, failing(10, 1, 110), ""),
                (60, failing(10, 1, 110), "half"),
                (61, failing(61, 2, 110), ""),
                (109, failing(109, 3, 110), "failures"),
                (110, failing(109, 3, 110), "expired"),
                (111, failing(109, 3, 110), ""),
                (112, well(3000), "well"),
            ],
        );
        check(
            "all at once after a long silence",
            &[(500, failing(500, 9, 110), "failures+half+expired")],
        );
    }

    #[test]
    fn tells_of_a_certificate_that_nobody_renews() {
        let external = Seen {
            due: Some(at(100)),
            ..well(200)
        };
        check(
            "another client's",
            &[
                (99, external, ""),
                (100, external, ""),
                (149, external, ""),
                (150, external, "half"),
                (199, external, ""),
                (200, external, "expired"),
                (201, well(2000), "well"),
            ],
        );
    }

    #[test]
    fn a_certificate_that_does_not_exist_yet_has_no_slack() {
        let none = |hour, count| Seen {
            expires: None,
            due: None,
            ..failing(hour, count, 0)
        };
        check(
            "first issuance",
            &[
                (1, none(1, 1), ""),
                (900, none(900, 2), ""),
                (901, none(901, 3), "failures"),
            ],
        );
        let nothing = Seen::default();
        check("not begun", &[(1, nothing, ""), (900, nothing, "")]);
    }

    #[test]
    fn the_slack_is_that_of_the_first_failure() {
        // A new certificate that no port serves yet does not give more time: the ports may serve the old one.
        check(
            "installed, not verified",
            &[
                (0, failing(0, 1, 100), ""),
                (1, failing(1, 1, 2000), ""),
                (49, failing(1, 1, 2000), ""),
                (50, failing(1, 1, 2000), "half"),
            ],
        );
    }

    #[test]
    fn what_was_not_sent_is_told_again() {
        let (episode, news) = decide(None, &failing(1, 3, 1000), 3, at(1));
        assert_eq!(words(news.as_ref()), "failures");
        // Sending failed, so nothing was marked as told.
        let (episode, news) = decide(episode, &failing(1, 3, 1000), 3, at(2));
        assert_eq!(words(news.as_ref()), "failures");
        let episode = told(episode, &news.unwrap());
        let (episode, news) = decide(episode, &well(3000), 3, at(3));
        assert_eq!(words(news.as_ref()), "well");
        let (episode, news) = decide(episode, &well(3000), 3, at(4));
        assert_eq!(words(news.as_ref()), "well");
        assert_eq!(told(episode, &news.unwrap()), None);
    }

    #[test]
    fn a_clock_that_was_ahead_puts_nothing_off() {
        let seen = failing(5000, 1, 110);
        let (episode, news) = decide(None, &seen, 3, at(105));
        assert_eq!(episode.unwrap().since, at(105));
        assert_eq!(words(news.as_ref()), "");
        assert_eq!(half(at(10), at(0)), at(10));
    }
}
