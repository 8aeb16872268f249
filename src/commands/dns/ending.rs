//! The way out of MTA-STS: a policy of mode none first, then a wait until every sender has forgotten those that he heeds, then
//! record and policy go (RFC 8461, 8.3). What was served, and when, is the journal's to say.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    super::Context,
    planning::{Item, Survey, Written},
    policy,
};
use crate::{
    config::Publish,
    dns::{desired::Family, plan::Decision},
    env::files,
    model::{
        name::DomainName,
        plan::{FileChange, RrsetChange},
        rdata::Rdata,
        record::mta_sts::{Ending, Mode, Policy, ending},
    },
};

/// No policy is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// A domain that leaves MTA-STS.
pub struct Ended {
    domain: DomainName,
    ending: Ending,
    /// The change that takes the policy's file away, where it is ours and its time has come.
    file: Option<FileChange>,
    /// Whether anything is left to be said or done.
    is_news: bool,
}

impl Ended {
    /// Returns whether a record or the host of a policy is this domain's.
    pub fn is_about(&self, name: &DomainName) -> bool {
        domain_of(name).as_ref() == Some(&self.domain)
    }

    /// Returns whether record and policy may go.
    pub fn is_over(&self) -> bool {
        self.ending == Ending::Over
    }

    /// Returns the change of the policy's file.
    pub fn file(&self) -> Option<FileChange> {
        self.file.clone()
    }

    /// Returns what the operator is told.
    pub fn told(&self) -> Option<String> {
        let domain = &self.domain;
        let told = match self.ending {
            Ending::NotBegun => format!(
                "{domain} leaves MTA-STS: the policy of mode none comes first; `mailcert plan dns` tells then until when senders \
                 remember the one before"
            ),
            Ending::Over => {
                format!("{domain} has left MTA-STS: no sender can remember a policy that he heeds")
            }
            Ending::Waits(until) => format!(
                "{domain} leaves MTA-STS: senders may remember the policy before until {}; from then on `mailcert apply dns` takes \
                 record and policy away",
                instant(until)
            ),
        };
        self.is_news.then_some(told)
    }
}

fn instant(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

fn domain_of(name: &DomainName) -> Option<DomainName> {
    policy::domain_in(name).or_else(|| name.as_str().strip_prefix("mta-sts.")?.parse().ok())
}

/// Finds out how far each domain has come where the mode is none, and decides accordingly.
///
/// A domain that has neither record nor policy of ours has nothing to end. Where the operator serves the policy himself nobody
/// here knows what it said and when, so that its record stays.
pub fn settle(context: &Context<'_>, survey: &mut Survey) {
    let wanted = &context.config.dns.policies.mta_sts;
    if wanted.mode != Mode::None {
        return;
    }
    for index in 0..survey.items.len() {
        let Some(item) = survey.items.get(index) else {
            continue;
        };
        if item.wanted.family != Family::MtaSts {
            continue;
        }
        let Some(domain) = domain_of(&item.wanted.name) else {
            continue;
        };
        let is_there = has_values(item);
        let path = wanted
            .webroot
            .as_ref()
            .map(|webroot| policy::root_of(webroot, &domain).join(policy::PATH));
        let served: Vec<(OffsetDateTime, Policy)> = path
            .iter()
            .flat_map(|path| survey.written.contents(path))
            .filter_map(|(at, content)| Some((*at, Policy::parse(content).ok()?)))
            .collect();
        let there = path
            .as_ref()
            .and_then(|path| files::read_if_exists(path, LIMIT).ok().flatten());
        if !is_there && there.is_none() {
            keep(survey, &domain, &[]);
            survey.endings.push(Ended {
                domain,
                ending: Ending::Over,
                file: None,
                is_news: false,
            });
            continue;
        }
        if path.is_none() {
            continue;
        }
        let far = ending(&served, context.now());
        let mut file = None;
        if far == Ending::Over {
            let ours = survey_values(survey, &domain);
            keep(survey, &domain, &ours);
            // One that somebody else has edited since stays.
            file = path
                .zip(there)
                .filter(|(path, content)| survey.written.has_file(path, content))
                .map(|(path, content)| FileChange {
                    path,
                    before: Some(content),
                    after: None,
                    reasons: vec![format!(
                        "{domain} has left MTA-STS, and no sender remembers a policy that he heeds (RFC 8461, 8.3)"
                    )],
                });
        }
        survey.endings.push(Ended {
            domain,
            ending: far,
            file,
            is_news: true,
        });
    }
}

/// Tells of policies of ours that go on being served and heeded although `dns.publish` no longer has them.
pub fn forgotten(context: &Context<'_>, written: &Written) -> Vec<String> {
    let config = &context.config;
    let Some(webroot) = &config.dns.policies.mta_sts.webroot else {
        return Vec::new();
    };
    if config.dns.publish.contains(&Publish::MtaSts) {
        return Vec::new();
    }
    let domains = config.host.domains.iter();
    let standing = domains.filter(|domain| {
        let path = policy::root_of(webroot, domain).join(policy::PATH);
        let last = written.contents(&path).last();
        last.and_then(|(_, content)| Policy::parse(content).ok())
            .is_some_and(|policy| policy.mode != Mode::None)
    });
    standing
        .map(|domain| {
            format!(
                "the MTA-STS policy of {domain} stays, and senders heed it: to leave, put \"mta-sts\" back into dns.publish with \
                 dns.mta_sts.mode = \"none\", and take it out when `mailcert plan dns` says that the time is over"
            )
        })
        .collect()
}

fn has_values(item: &Item) -> bool {
    let Ok(proposal) = &item.proposal else { return true };
    let existing = proposal.existing.as_ref();
    existing.is_none_or(|existing| !existing.of_family(item.wanted.family).is_empty())
}

/// Returns what is at the names of a domain's policy and was written by us, by name and type.
fn survey_values(survey: &Survey, domain: &DomainName) -> Vec<Rdata> {
    let of_domain = survey
        .items
        .iter()
        .filter(|item| is_of_policy(item, domain))
        .filter_map(|item| item.proposal.as_ref().ok()?.existing.as_ref());
    of_domain.flat_map(|existing| existing.ours.clone()).collect()
}

fn is_of_policy(item: &Item, domain: &DomainName) -> bool {
    matches!(item.wanted.family, Family::MtaSts | Family::MtaStsHost)
        && domain_of(&item.wanted.name).as_ref() == Some(domain)
}

/// Has nothing added at the names of a domain's policy, and these values taken away.
fn keep(survey: &mut Survey, domain: &DomainName, gone: &[Rdata]) {
    for item in survey.items.iter_mut().filter(|item| is_of_policy(item, domain)) {
        let Ok(proposal) = &mut item.proposal else {
            continue;
        };
        let Some(existing) = &proposal.existing else {
            continue;
        };
        let remove: Vec<Rdata> = existing
            .of_family(item.wanted.family)
            .into_iter()
            .filter(|value| gone.contains(value))
            .cloned()
            .collect();
        proposal.decision = match remove.is_empty() {
            true => Decision::Nothing(Vec::new()),
            false => Decision::Change(
                RrsetChange {
                    zone: existing.zone.clone(),
                    name: item.wanted.name.clone(),
                    kind: item.wanted.kind(),
                    ttl: existing.rrset.ttl,
                    before: existing.rrset.values.clone(),
                    add: Vec::new(),
                    remove,
                    reason: format!(
                        "{domain} has left MTA-STS, and no sender remembers a policy that he heeds (RFC 8461, 8.3)"
                    ),
                },
                Vec::new(),
            ),
        };
    }
}
