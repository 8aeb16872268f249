//! The MTA-STS policy: written below the web server's root before its record, and proven to be served before the record
//! names it (RFC 8461, 8.1).

use std::path::{Path, PathBuf};

use super::{
    super::{Context, domains::Asking},
    planning::{Survey, Written},
    resolver,
};
use crate::{
    config::policy::DOMAIN_IN_PATH,
    dns::{
        desired::{self, Known, Wanted},
        facts::{Answer, Asked, Facts, Family, Question},
        judge::{Reach, policy_hosts},
        plan::Decision,
    },
    env::files,
    error::{Error, Result},
    model::{
        name::DomainName,
        plan::{FileChange, RrsetChange},
        record::mta_sts::{self, Mode, Policy},
    },
};

/// Where the policy is below the root of its web server, and on it (RFC 8461, 3.3).
pub(super) const PATH: &str = ".well-known/mta-sts.txt";
const PAGE: &str = "/.well-known/mta-sts.txt";
/// No policy is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// Plans the policies of all domains.
pub struct Policies<'a> {
    context: &'a Context<'a>,
    known: &'a Known,
    written: &'a Written,
    asking: Asking,
    /// What comes into each file.
    files: Vec<(PathBuf, String)>,
}

impl<'a> Policies<'a> {
    /// Returns a planner over what was found out.
    pub fn new(context: &'a Context<'a>, survey: &'a Survey, asking: Asking) -> Self {
        Self {
            context,
            known: &survey.known,
            written: &survey.written,
            asking,
            files: Vec::new(),
        }
    }

    /// Returns the change of the policy's file that has to come before its record.
    ///
    /// # Errors
    /// When the record must not be published: senders would not deliver, or nobody serves the policy.
    pub async fn file_for(&mut self, wanted: &Wanted, decision: &Decision) -> Result<Option<FileChange>> {
        let is_record_new = match decision {
            Decision::Change(..) => true,
            // The operator's own record: the policy is his as well.
            Decision::Nothing(notes) if !notes.is_empty() => return Ok(None),
            Decision::Nothing(_) => false,
            Decision::Refused(_) => return Ok(None),
        };
        let Some((domain, policy)) = domain_of(wanted).and_then(|domain| {
            Some((
                domain.clone(),
                desired::policy(&self.context.config, &domain, self.known)?,
            ))
        }) else {
            return Ok(None);
        };
        let refused = || {
            Error::failed(format!(
                "the MTA-STS policy of {domain} is not published as things are"
            ))
        };
        let file = match &self.context.config.dns.policies.mta_sts.webroot {
            Some(webroot) => self
                .file(webroot, &domain, &policy)
                .map_err(|fault| fault.into_error(refused()))?,
            None => None,
        };
        if file.is_none() && !is_record_new {
            return Ok(None);
        }
        self.refuse_unready(&domain, &policy, refused()).await?;
        if self.context.config.dns.policies.mta_sts.webroot.is_none() {
            self.refuse_unserved(&domain, &policy, refused()).await?;
        }
        Ok(file)
    }

    /// Returns the change of the file; `None` when it says so already.
    fn file(
        &mut self,
        webroot: &Path,
        domain: &DomainName,
        policy: &Policy,
    ) -> Result<Option<FileChange>, Fault> {
        let webroot = root_of(webroot, domain);
        if !webroot.is_dir() {
            return Err(Fault {
                why: format!("the web server's root {} does not exist", webroot.display()),
                remedy: format!(
                    "make it, and serve it as https://mta-sts.{domain}/; or correct dns.mta_sts.webroot"
                ),
            });
        }
        let (path, text) = (webroot.join(PATH), policy.text());
        // Who may write below the root, the web server's user most likely, must not lead what root writes elsewhere.
        let below = path.ancestors().take_while(|part| *part != webroot);
        if let Some(why) = below.into_iter().find_map(files::foreign_link) {
            let remedy = format!("see what is below {}", webroot.display());
            return Err(Fault { why, remedy });
        }
        if self
            .files
            .iter()
            .any(|(known, other)| *known == path && *other != text)
        {
            return Err(Fault {
                why: format!(
                    "{} would have to hold the policies of several domains",
                    path.display()
                ),
                remedy: format!(
                    "write {DOMAIN_IN_PATH} into dns.mta_sts.webroot, and give each domain a root of its own"
                ),
            });
        }
        let is_planned = self.files.iter().any(|(known, _)| *known == path);
        self.files.push((path.clone(), text.clone()));
        let before = files::read_if_exists(&path, LIMIT).map_err(|error| Fault {
            why: error.to_string(),
            remedy: format!("see what is at {}", path.display()),
        })?;
        if let Some(content) = &before {
            let says_so = Policy::parse(content).is_ok_and(|found| found.id() == policy.id());
            if says_so || is_planned {
                return Ok(None);
            }
            if !self.written.has_file(&path, content) {
                return Err(Fault {
                    why: format!(
                        "{} was not written by mailcert, and says something else",
                        path.display()
                    ),
                    remedy: "delete it, or keep it and take `mta-sts` out of dns.publish".to_owned(),
                });
            }
        }
        Ok((!is_planned).then(|| FileChange {
            path,
            before,
            after: Some(text.into_bytes()),
            reasons: vec![format!(
                "the MTA-STS policy of {domain}: mode {}, its MX hosts as the DNS has them (RFC 8461, 3.2)",
                policy.mode.word()
            )],
        }))
    }

    /// Refuses `enforce` where senders that heed it would not deliver (RFC 8461, 4.1 and 4.2).
    async fn refuse_unready(&self, domain: &DomainName, policy: &Policy, refused: Error) -> Result<()> {
        if policy.mode != Mode::Enforce {
            return Ok(());
        }
        self.context
            .progress
            .step(&format!("asking the MX hosts of {domain} for their certificates"));
        let now = self.context.now();
        let outlook = self
            .asking
            .settle(|facts| policy_hosts::judge(&policy.mx, facts, now))
            .await
            .unwrap_or_default();
        let reasons: Vec<String> = outlook.refused.into_iter().chain(outlook.unknown).collect();
        if reasons.is_empty() {
            return Ok(());
        }
        let told = refused
            .cause("the mode is `enforce`, and senders that heed it would not be sure to deliver (RFC 8461, 4.2)")
            .remedy("mend what is named above, or keep dns.mta_sts.mode at `testing` until reports show no failure");
        Err(reasons.into_iter().fold(told, Error::cause))
    }

    /// Refuses to name a policy that nobody serves, where it is the operator who serves it.
    async fn refuse_unserved(&self, domain: &DomainName, policy: &Policy, refused: Error) -> Result<()> {
        let Err(why) = served(&self.asking, domain, &[])
            .await
            .and_then(|found| same(&found, policy))
        else {
            return Ok(());
        };
        Err(refused.cause(why).remedy(format!(
            "serve this at https://mta-sts.{domain}{PAGE}, or name the web server's root in dns.mta_sts.webroot:\n{}",
            policy.text().trim_end()
        )))
    }
}

/// Why a file cannot be written.
struct Fault {
    why: String,
    remedy: String,
}

impl Fault {
    fn into_error(self, refused: Error) -> Error {
        refused.cause(self.why).remedy(self.remedy)
    }
}

/// Returns the root of the web server of a domain's policy.
pub(super) fn root_of(webroot: &Path, domain: &DomainName) -> PathBuf {
    PathBuf::from(webroot.to_string_lossy().replace(DOMAIN_IN_PATH, domain.as_str()))
}

/// Returns the mail domain of an MTA-STS record.
fn domain_of(wanted: &Wanted) -> Option<DomainName> {
    domain_in(&wanted.name)
}

pub(super) fn domain_in(name: &DomainName) -> Option<DomainName> {
    name.as_str().strip_prefix("_mta-sts.")?.parse().ok()
}

fn same(found: &Policy, wanted: &Policy) -> Result<(), String> {
    match found.id() == wanted.id() {
        true => Ok(()),
        false => Err("the policy that is served says something else".to_owned()),
    }
}

/// Returns the policy that senders would get; `otherwise` is asked where the host of the policy has no address yet.
async fn served(
    asking: &Asking,
    domain: &DomainName,
    otherwise: &[std::net::IpAddr],
) -> Result<Policy, String> {
    let host = format!("mta-sts.{domain}");
    let get = |facts: &Facts| -> Asked<Result<Policy, String>> {
        let mut addresses = Vec::new();
        let questions = Family::BOTH.map(|family| Question::Addresses(host.clone(), family));
        questions.iter().for_each(|question| facts.want(question.clone()));
        for question in &questions {
            addresses.extend(facts.get(question)?.addresses());
        }
        if addresses.is_empty() {
            addresses.extend(otherwise);
        }
        if addresses.is_empty() {
            return Ok(Err(format!("{host} has no address")));
        }
        Ok(match facts.get(&Question::Page(host.clone(), PAGE, addresses))? {
            Answer::Page(page) if page.status == 200 => {
                Policy::parse(&page.body).map_err(|why| format!("https://{host}{PAGE}: {why}"))
            }
            Answer::Page(page) => Err(format!("https://{host}{PAGE} is answered with {}", page.status)),
            Answer::Unreached(why) => Err(format!("https://{host}{PAGE}: {why}")),
            _ => Err(format!("https://{host}{PAGE} was not asked for")),
        })
    };
    let settled = asking.settle(get).await;
    settled.unwrap_or_else(|| Err("too many questions were asked".to_owned()))
}

/// Makes sure, before an MTA-STS record of ours is published, that the policy it names is served.
///
/// # Errors
/// When it is not: a record must not come before its policy (RFC 8461, 8.1).
pub async fn refuse_early_record(context: &Context<'_>, change: &RrsetChange) -> Result<()> {
    let id = |value: &crate::model::rdata::Rdata| {
        let text = value.as_txt()?.joined();
        mta_sts::is_record(&text)
            .then(|| mta_sts::id(&text).ok())
            .flatten()
    };
    let (Some(domain), Some(id)) = (domain_in(&change.name), change.add.iter().find_map(id)) else {
        return Ok(());
    };
    let resolver = resolver(context);
    let asking = Asking::new(context.env, &resolver, Reach::Everything);
    // A resolver may remember for a while that the name had no address; the web server with the root is this host.
    let own = match context.config.dns.policies.mta_sts.webroot {
        Some(_) => resolver
            .addresses(&context.config.host.name)
            .await
            .unwrap_or_default(),
        None => Vec::new(),
    };
    context
        .progress
        .step(&format!("fetching the MTA-STS policy of {domain} as senders do"));
    let why = match served(&asking, &domain, &own).await {
        Ok(policy) if policy.id() == id => return Ok(()),
        Ok(_) => "the policy that is served is another one than the record names".to_owned(),
        Err(why) => why,
    };
    Err(Error::failed(format!(
        "the MTA-STS record of {domain} was not published: its policy is not served yet"
    ))
    .cause(why)
    .remedy(format!(
        "have a web server answer https://mta-sts.{domain}{PAGE} with a certificate for mta-sts.{domain} that clients trust, then run it again"
    )))
}
