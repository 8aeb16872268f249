//! What is to be done about every record that is wanted, as a plan. The decisions are [`crate::dns::plan`]'s.

use std::{collections::BTreeMap, path::PathBuf};

use futures_util::stream::{self, StreamExt as _};
use time::OffsetDateTime;

use super::{
    super::{Context, domains::Asking},
    ending::{self, Ended},
    failure, known, policy, provider, resolver, rollover, sending,
};
use crate::{
    config::{Publish, policy::Binding},
    dns::{
        apply::{self as applying, Proposal, Sources},
        desired::{self, Family, Known, Wanted},
        error::DnsError,
        judge::Reach,
        plan::Decision,
        provider::Provider,
        resolver::Resolver,
    },
    error::{Error, Result},
    model::{
        name::DomainName,
        plan::{Change, Plan, RrsetChange},
        rdata::{Rdata, RecordType},
    },
};

/// Names that are looked at together.
const TOGETHER: usize = 32;

/// What this program wrote, and nobody took back: as the journal says.
#[derive(Clone, Debug, Default)]
pub struct Written {
    values: BTreeMap<(DomainName, RecordType), Vec<Rdata>>,
    files: BTreeMap<PathBuf, Vec<(OffsetDateTime, Vec<u8>)>>,
}

/// Records that are wanted, and what is to be done about each.
pub struct Survey {
    /// What is known of the host.
    pub known: Known,
    /// In the order of [`desired::everything`].
    pub items: Vec<Item>,
    /// What this program wrote.
    pub written: Written,
    /// Domains that leave MTA-STS.
    pub endings: Vec<Ended>,
}

/// One set of records that is wanted.
pub struct Item {
    /// What is wanted.
    pub wanted: Wanted,
    /// What is to be done; or why nobody could tell.
    pub proposal: Result<Proposal, DnsError>,
}

impl Written {
    /// Reads the journal; also returns what to tell when a part of it cannot be read: what is written there counts as somebody
    /// else's, and stays as it is.
    pub fn load(context: &Context<'_>) -> (Self, Option<String>) {
        let (entries, unread) = context.store.standing_entries();
        let unread = unread.map(|error| {
            format!("records that an earlier apply wrote may count as somebody else's, and stay as they are: {error}")
        });
        let mut written = Self::default();
        for entry in entries {
            for change in entry.rrsets {
                let values = written.values.entry((change.name, change.kind)).or_default();
                values.extend(change.add);
            }
            for change in entry.files {
                let contents = written.files.entry(change.path).or_default();
                contents.extend(change.after.map(|content| (entry.at, content)));
            }
        }
        (written, unread)
    }

    /// Returns the values of a type that were written at a name.
    fn values(&self, wanted: &Wanted) -> Vec<Rdata> {
        let key = (wanted.name.clone(), wanted.kind());
        self.values.get(&key).cloned().unwrap_or_default()
    }

    /// Returns what was written into a file, and when, the first content first.
    pub fn contents(&self, path: &std::path::Path) -> &[(OffsetDateTime, Vec<u8>)] {
        self.files.get(path).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns every TLSA record that was written, at whatever name.
    pub fn keys(&self) -> impl Iterator<Item = &Rdata> {
        let of_keys = self
            .values
            .iter()
            .filter(|((_, kind), _)| *kind == RecordType::Tlsa);
        of_keys.flat_map(|(_, values)| values)
    }

    /// Returns whether a file was written with this content.
    pub fn has_file(&self, path: &std::path::Path, content: &[u8]) -> bool {
        let contents = self.files.get(path);
        contents.is_some_and(|contents| contents.iter().any(|(_, one)| one == content))
    }
}

impl Survey {
    /// Returns whether nothing is left to be said at this name: no policy is to be written for it.
    fn has_ended(&self, wanted: &Wanted) -> bool {
        self.endings
            .iter()
            .any(|ended| ended.is_over() && ended.is_about(&wanted.name))
    }
}

/// Looks at the records that are wanted, those that `filter` takes.
pub async fn survey(
    context: &Context<'_>,
    resolver: &Resolver,
    provider: Option<&dyn Provider>,
    written: Written,
    filter: impl Fn(&Wanted) -> bool,
) -> Survey {
    let (known, sending) = tokio::join!(known::gather(context, resolver), sending(context, resolver));
    let sources = Sources {
        provider,
        resolver,
        sending: &sending,
    };
    let wanted: Vec<Wanted> = desired::everything(&context.config, &known)
        .into_iter()
        .filter(filter)
        .collect();
    let of_keys = rollover::retired(context, &known, &written);
    let asked: Vec<_> = wanted
        .into_iter()
        .map(|wanted| {
            // A key's record goes by time alone, whoever wrote it last.
            let ours = match wanted.family {
                Family::Tlsa => of_keys.clone(),
                _ => written.values(&wanted),
            };
            async move {
                let proposal = applying::propose(&wanted, ours, sources).await;
                Item { wanted, proposal }
            }
        })
        .collect();
    let items = stream::iter(asked).buffered(TOGETHER).collect().await;
    let mut survey = Survey {
        known,
        items,
        written,
        endings: Vec::new(),
    };
    ending::settle(context, &mut survey);
    survey
}

/// Plans the records that `dns.publish` names. A record that is there and must not be touched is a refusal in the plan.
///
/// # Errors
/// When nothing can be written.
pub async fn plan(context: &Context<'_>) -> Result<Plan> {
    let publish = &context.config.dns.publish;
    let provider = provider(context)?;
    let resolver = resolver(context);
    let is_published = |wanted: &Wanted| {
        let family = wanted.family.published_by();
        family.is_some_and(|family| publish.contains(&family)) && !is_unbound(context, wanted)
    };
    let (written, unread) = Written::load(context);
    let provided = Some(provider.as_ref());
    let survey = survey(context, &resolver, provided, written, is_published).await;
    let mut plan = Plan {
        notes: missing(context, &survey.known),
        ..Plan::default()
    };
    plan.notes.extend(unread);
    if publish.contains(&Publish::Tlsa) {
        plan.notes.extend(rollover::outlook(context, &survey.known));
    }
    let mut policies = policy::Policies::new(
        context,
        &survey,
        Asking::new(context.env, &resolver, Reach::Everything),
    );
    plan.notes.extend(survey.endings.iter().filter_map(Ended::told));
    plan.notes.extend(ending::forgotten(context, &survey.written));
    let mut unplanned = Vec::new();
    for item in &survey.items {
        let wanted = &item.wanted;
        let decision = match &item.proposal {
            Ok(proposal) => proposal.decision.clone(),
            Err(error) => {
                unplanned.push((wanted, error));
                continue;
            }
        };
        if wanted.family == Family::MtaSts && !survey.has_ended(wanted) {
            match policies.file_for(wanted, &decision).await {
                Ok(file) => plan.changes.extend(file.map(Change::File)),
                Err(refusal) => {
                    plan.refusals.push(refusal);
                    continue;
                }
            }
        }
        match decision {
            Decision::Change(change, _) if !provider.capabilities().writes(change.kind) => {
                plan.refusals.push(unwritable(&change));
            }
            Decision::Change(change, notes) => {
                plan.changes.push(Change::Rrset(change));
                plan.notes.extend(notes);
            }
            Decision::Nothing(notes) => plan.notes.extend(notes),
            Decision::Refused(refusal) => {
                let told = Error::failed(format!(
                    "mailcert publishes no {} record at {} as things are",
                    wanted.family.label(),
                    wanted.name
                ))
                .cause(refusal.message)
                .remedy(refusal.remedy);
                plan.refusals.push(match refusal.record {
                    Some(record) => told.remedy(format!("the record to use: {record}")),
                    None => told,
                });
            }
        }
    }
    plan.refusals.extend(unplannable(&unplanned));
    let unlisted = survey
        .items
        .iter()
        .filter_map(|item| item.proposal.as_ref().ok()?.unlisted.as_ref())
        .find(|error| matches!(error, DnsError::Server { .. }));
    plan.notes.extend(unlisted.map(|error| {
        format!("the server of dns.provider did not tell its records; planned on those that the name servers show: {error}")
    }));
    // The policy goes after its record.
    plan.changes
        .extend(survey.endings.iter().filter_map(Ended::file).map(Change::File));
    Ok(plan)
}

/// Tells what could not be planned: once, where one thing keeps several names from it.
fn unplannable(unplanned: &[(&Wanted, &DnsError)]) -> Vec<Error> {
    let reason = |error: &DnsError| match error {
        DnsError::Provider(failure) => (failure.provider.clone(), failure.reason.clone()),
        // Whatever it was asked.
        DnsError::Server { server, failure, .. } => (server.to_string(), failure.to_string()),
        error => (String::new(), error.to_string()),
    };
    let mut groups: Vec<(&DnsError, Vec<String>)> = Vec::new();
    for (wanted, error) in unplanned {
        let name = format!("{} {}", wanted.name, wanted.kind());
        match groups
            .iter_mut()
            .find(|(known, _)| reason(known) == reason(error))
        {
            Some((_, names)) => names.push(name),
            None => groups.push((error, vec![name])),
        }
    }
    let told = groups.into_iter().map(|(error, names)| {
        let doing = format!("these records could not be planned: {}", names.join(", "));
        failure(doing, error)
    });
    told.collect()
}

/// Tells that the provider cannot write records of this type.
fn unwritable(change: &RrsetChange) -> Error {
    let values: Vec<String> = change.add.iter().map(ToString::to_string).collect();
    Error::failed(format!(
        "the {} records of {} are not published: dns.provider cannot write this type",
        change.kind, change.name
    ))
    .remedy(format!(
        "publish by hand {}. IN {} {}, or take the family out of dns.publish",
        change.name,
        change.kind,
        values.join(", ")
    ))
}

/// Returns whether a CAA record is to bind the CA to our account, and there is none yet.
fn is_unbound(context: &Context<'_>, wanted: &Wanted) -> bool {
    wanted.family == Family::Caa
        && context.config.dns.policies.caa.bind == Binding::Account
        && wanted
            .requests
            .first()
            .is_none_or(|request| request.account.is_empty())
}

/// Names what is to be published and cannot be yet.
fn missing(context: &Context<'_>, known: &Known) -> Vec<String> {
    let config = &context.config;
    let publishes = |family: Publish| config.dns.publish.contains(&family);
    let mut notes = Vec::new();
    if publishes(Publish::Tlsa) && known.keys.is_none() {
        notes.push(format!(
            "no TLSA record is published for {}: no certificate of it has been verified on port 25 yet",
            config.host.name
        ));
    }
    if publishes(Publish::Caa) {
        let bind = config.dns.policies.caa.bind == Binding::Account;
        let account = known.requests.first().map(|(_, request)| &request.account);
        if account.is_none() {
            notes.push("no CAA record is published: no certificate is issued by ACME".to_owned());
        } else if bind && account.is_some_and(String::is_empty) {
            notes.push(
                "no CAA record is published yet: it binds the CA to an account, and there is none before the first certificate"
                    .to_owned(),
            );
        }
    }
    if publishes(Publish::MtaSts) {
        for domain in &config.host.domains {
            if desired::policy(config, domain, known).is_none() {
                notes.push(format!(
                    "{domain} gets no MTA-STS policy: the DNS has no MX record of it, and the policy names the MX hosts"
                ));
            }
        }
    }
    if publishes(Publish::Srv)
        && !config.host.domains.is_empty()
        && config.dns.policies.services == crate::config::policy::Services::Auto
        && known.services.is_empty()
    {
        notes.push(
            "no SRV record is published: no service for mail programs was found on this host; name them in dns.srv"
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::error::{ProviderFailure, ServerFailure, Written as MayBe};

    #[test]
    fn one_reason_is_told_once_with_all_that_it_concerns() {
        let failed = |name: &str, reason: &str| {
            DnsError::Provider(Box::new(ProviderFailure {
                provider: "the API of x".to_owned(),
                doing: format!("list TXT records at {name}"),
                reason: reason.to_owned(),
                remedy: Some("look".to_owned()),
                written: MayBe::No,
            }))
        };
        let wanted = ["a.test", "b.test", "c.test"].map(|name| Wanted {
            name: name.parse().unwrap(),
            family: Family::Spf,
            values: vec![Rdata::text("v=spf1 -all")],
            ttl: 3600,
            reason: String::new(),
            role: desired::Role::MailDomain,
            requests: Vec::new(),
        });
        let errors = [
            failed("a.test", "no"),
            failed("b.test", "gone"),
            failed("c.test", "no"),
        ];
        let unplanned: Vec<(&Wanted, &DnsError)> = wanted.iter().zip(&errors).collect();
        let told: Vec<String> = unplannable(&unplanned).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("a.test TXT, c.test TXT: the API of x"),
            "{told:?}"
        );
        assert!(told[1].contains("b.test TXT: the API of x"), "{told:?}");

        let silent = |question: &str| DnsError::Server {
            server: "192.0.2.53:53".parse().unwrap(),
            question: question.to_owned(),
            failure: ServerFailure::Timeout(std::time::Duration::from_secs(5)),
        };
        let errors = ["a.test. CNAME", "b.test. CNAME", "c.test. CNAME"].map(silent);
        let unplanned: Vec<(&Wanted, &DnsError)> = wanted.iter().zip(&errors).collect();
        assert_eq!(unplannable(&unplanned).len(), 1);
    }
}
