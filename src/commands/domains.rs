//! `check dns`: which names are looked at, what is known of this host, and who answers the questions.

use std::{net::SocketAddr, path::Path, sync::Arc};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
    stream::{self, StreamExt},
};
use time::OffsetDateTime;

use super::{Context, account, dns};
use crate::{
    config,
    dns::{
        desired::{self, Role, Wanted},
        facts::{Answer, Asked, Facts, Page, Question, Served},
        gather,
        judge::{self, Authority, Ours, Reach, Selector, Subject, Verdict},
        lookup::Lookup,
        resolver::Resolver,
        signing::{self, Signer, SigningKey},
    },
    env::{Env, files, interfaces, progress::Progress},
    error::{Error, Result},
    model::{
        endpoint::{Endpoint, Scheme},
        finding::{Finding, Severity},
        name::{DomainName, Identifier},
    },
    probe::{
        Client, Dialogue, Outcome, Target, load_roots, page,
        trust::{self, Roots},
    },
};

/// Domains of a list that are looked at together.
const TOGETHER: usize = 48;
/// The largest list, in octets.
const LIST_LIMIT: u64 = 64 << 20;
/// The largest file of a program that signs, in octets.
const FILE_LIMIT: u64 = 1 << 20;

/// Who answers questions.
pub struct Asking {
    lookup: Lookup,
    /// The authoritative servers of this host's own zones, where the configuration says so.
    servers: Vec<SocketAddr>,
    /// How certificates are judged.
    now: OffsetDateTime,
    /// For pages; `None` where there are none, and nothing is fetched.
    roots: Option<Roots>,
    client: Option<Client>,
}

impl Asking {
    pub(super) fn new(env: &Env, resolver: &Resolver, reach: Reach) -> Self {
        let asks = reach == Reach::Everything;
        let name = host_name().parse().ok();
        Self {
            lookup: Lookup::new(resolver),
            servers: resolver.authoritative().to_vec(),
            now: env.clock.now(),
            roots: asks.then(|| load_roots(env, None).ok()).flatten(),
            client: name.filter(|_| asks).and_then(|name| Client::new(name).ok()),
        }
    }

    /// Settles everything about one subject.
    async fn check(&self, subject: &Subject) -> Verdict {
        let outside = |question| self.answer(question).boxed();
        let mut facts = match subject.ours {
            Some(_) => Facts::with_servers(&self.servers),
            None => Facts::default(),
        };
        let decisions = judge::decisions(subject);
        let all = gather::settle_all(&self.lookup, &outside, &mut facts, decisions).await;
        judge::verdict(subject, all.into_iter().flatten().collect(), &facts)
    }

    /// Settles everything about several subjects, at the same time.
    async fn check_all(&self, subjects: &[Subject]) -> Vec<Finding> {
        let (mut findings, mut silences) = (Vec::new(), Vec::new());
        for verdict in join_all(subjects.iter().map(|subject| self.check(subject))).await {
            match verdict {
                Verdict::Judged(found) => findings.extend(found),
                Verdict::Silent(silence) => silences.push(silence),
            }
        }
        findings.extend(judge::of_silences(&silences));
        findings
    }

    /// Asks until one decision is made.
    pub(super) async fn settle<T>(&self, decide: impl Fn(&Facts) -> Asked<T> + Send) -> Option<T> {
        let outside = |question| self.answer(question).boxed();
        let mut facts = Facts::default();
        let decisions: Vec<gather::Decision<'_, T>> = vec![Box::new(decide)];
        gather::settle_all(&self.lookup, &outside, &mut facts, decisions)
            .await
            .pop()
    }

    /// Answers what the DNS does not.
    fn answer(&self, question: Question) -> BoxFuture<'_, Answer> {
        async move {
            let unreached = |why: &str| Answer::Unreached(why.to_owned());
            match question {
                Question::Page(host, path, addresses) => match &self.roots {
                    None => unreached("this host has no trusted roots"),
                    Some(roots) => match page::get(&host, path, &addresses, roots).await {
                        Ok(page) => Answer::Page(Page {
                            status: page.status,
                            media_type: page.media_type,
                            body: page.body,
                        }),
                        Err(why) => Answer::Unreached(why),
                    },
                },
                Question::Chain(host, address) => match &self.client {
                    None => unreached("no port is asked"),
                    Some(client) => {
                        let none = Roots::default();
                        let roots = self.roots.as_ref().unwrap_or(&none);
                        served(client, roots, self.now, host, address).await
                    }
                },
                _ => unreached("nobody answers that"),
            }
        }
        .boxed()
    }
}

/// Returns the certificates that a port serves to a client that asks for the host.
async fn served(
    client: &Client,
    roots: &Roots,
    now: OffsetDateTime,
    host: String,
    address: SocketAddr,
) -> Answer {
    let scheme = Scheme::ALL
        .into_iter()
        .find(|scheme| scheme.default_port() == address.port())
        .unwrap_or(Scheme::Smtp);
    let target = Target {
        server_name: host.parse().ok(),
        endpoint: Endpoint {
            scheme,
            host,
            port: address.port(),
        },
        address: Ok(address),
    };
    let sighting = client.ask(&target, Dialogue::Greet).await;
    match sighting.outcome {
        Outcome::Tls(handshake) => Answer::Chain(Served {
            distrust: trust::judge(&handshake.chain, roots, now).reason(),
            chain: handshake.chain,
        }),
        Outcome::NotTls { stage, reason } => Answer::Unreached(format!("{}: {reason}", stage.describe())),
    }
}

/// Returns the name that this host gives itself; what it says with EHLO when ports are asked.
fn host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| name.contains('.'))
        .unwrap_or_else(|| "localhost.localdomain".to_owned())
}

/// Returns the resolver for domains that need no configuration: where there is a good one, its resolvers are asked.
fn resolver(env: &Env, config: &Path) -> Resolver {
    match super::load_config(config) {
        Ok(config) => Resolver::from_config(&config.dns, env),
        Err(_) => Resolver::system(env),
    }
}

fn of_others(name: DomainName, selectors: Vec<Selector>, now: OffsetDateTime, reach: Reach) -> Subject {
    Subject {
        name,
        role: Role::Any,
        ours: None,
        selectors,
        now,
        reach,
    }
}

/// Checks any domains.
///
/// # Errors
/// When the runtime cannot be started.
pub fn any(
    env: &Env,
    config: &Path,
    domains: &[DomainName],
    selectors: &[String],
    progress: &Progress,
) -> Result<Vec<Finding>> {
    progress.step("asking every name server");
    let asking = Asking::new(env, &resolver(env, config), Reach::Everything);
    let (now, signers) = (env.clock.now(), signers(env));
    let subjects: Vec<Subject> = domains
        .iter()
        .map(|domain| {
            let selectors = selectors_of_any(env, domain, &signers, selectors);
            of_others(domain.clone(), selectors, now, Reach::Everything)
        })
        .collect();
    Ok(super::new_runtime()?.block_on(asking.check_all(&subjects)))
}

/// Checks every domain of a list, one name a line, by the DNS alone; `tell` is given the findings in the list's order.
///
/// # Errors
/// Exit 2 when the list cannot be read, or a line is no domain name.
pub fn listed(
    env: &Env,
    config: &Path,
    list: &Path,
    selectors: &[String],
    tell: &mut dyn FnMut(Finding),
) -> Result<()> {
    let names = read_list(list)?;
    let asking = Arc::new(Asking::new(env, &resolver(env, config), Reach::DnsOnly));
    let (now, signers) = (env.clock.now(), signers(env));
    super::new_runtime()?.block_on(async {
        // Each domain is a task of its own, so that all processors have a part.
        let checking = names.into_iter().map(|name| {
            let selectors = selectors_of_any(env, &name, &signers, selectors);
            let (asking, subject) = (
                Arc::clone(&asking),
                of_others(name, selectors, now, Reach::DnsOnly),
            );
            async move { tokio::spawn(async move { asking.check(&subject).await }).await }
        });
        let mut checked = stream::iter(checking).buffered(TOGETHER);
        while let Some(verdict) = checked.next().await {
            let findings = match verdict {
                Ok(Verdict::Judged(findings)) => findings,
                Ok(Verdict::Silent(silence)) => judge::of_silences(&[silence]),
                // A check is not aborted, and a panic ends the program.
                Err(_) => Vec::new(),
            };
            findings.into_iter().for_each(&mut *tell);
        }
    });
    Ok(())
}

fn read_list(list: &Path) -> Result<Vec<DomainName>> {
    let bytes = files::read(list, LIST_LIMIT)
        .map_err(|error| Error::usage(format!("the list {} cannot be read", list.display())).cause(error))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        names.push(name.parse::<DomainName>().map_err(|error| {
            Error::usage(format!("{}:{}: {error}", list.display(), index + 1))
                .remedy("write one domain a line; `#` begins a comment")
        })?);
    }
    Ok(names)
}

/// Checks the domains of the configuration and this host.
///
/// # Errors
/// When the runtime cannot be started.
pub fn own(context: &Context<'_>, selectors: &[String]) -> Result<Vec<Finding>> {
    context.progress.step("asking every name server");
    let resolver = dns::resolver(context);
    let asking = Asking::new(context.env, &resolver, Reach::Everything);
    context.wait(async {
        let ours = ours(context, &resolver).await;
        let signers = signers(context.env);
        let mut names: Vec<(DomainName, Role)> = desired::spf(&context.config)
            .into_iter()
            .map(|wanted| (wanted.name, wanted.role))
            .collect();
        // Bounces are judged by the name given with EHLO (RFC 7208, 2.4), whatever MX records call the host.
        let greeting = &ours.sending.host;
        if names.iter().all(|(name, _)| name != greeting) {
            names.push((greeting.clone(), Role::Host));
        }
        let subjects: Vec<Subject> = names
            .into_iter()
            .map(|(name, role)| Subject {
                selectors: selectors_of(context.env, &name, &signers, selectors),
                name,
                role,
                ours: Some(ours.clone()),
                now: context.now(),
                reach: Reach::Everything,
            })
            .collect();
        let found = asking.check_all(&subjects).await;
        unseen(context).into_iter().chain(found).collect()
    })
}

/// Tells that Postfix could not be asked from where it sends: then the addresses in the DNS count for the host's.
fn unseen(context: &Context<'_>) -> Option<Finding> {
    let error = super::mail::inspect(context).err()?;
    let why: Vec<String> = std::iter::once(error.message).chain(error.causes).collect();
    let directory = context.config.postfix.config_directory.display().to_string();
    Some(
        Finding::new(Severity::Warning, "postfix.refused", directory, why.join(": "))
            .remedy("mend it: until then nobody knows from which addresses mail leaves, nor the name given with EHLO")
            .reference("postconf(1)"),
    )
}

/// Gathers what is known of this host.
async fn ours(context: &Context<'_>, resolver: &Resolver) -> Ours {
    let sending = dns::sending(context, resolver).await;
    let server = match context.config.postfix.manage {
        true => super::mail::inspect(context).ok().flatten(),
        false => None,
    };
    let host = context.config.host.name.clone();
    let ehlo = server.map(|server| dns::greeting(&server.values));
    Ours {
        ehlo: ehlo
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| host.to_string()),
        host,
        interfaces: interfaces::addresses(),
        sending,
        authority: match &context.config.acme {
            Some(acme) => Some(our_authority(context, acme).await),
            None => None,
        },
        ports: context.ports().iter().copied().collect(),
        published: published(context, resolver).await,
    }
}

/// Returns what the configuration wants published, of the families that it lets an apply write.
async fn published(context: &Context<'_>, resolver: &Resolver) -> Vec<Wanted> {
    let publish = &context.config.dns.publish;
    if publish.is_empty() {
        return Vec::new();
    }
    let known = dns::known::gather(context, resolver).await;
    let is_written = |wanted: &Wanted| {
        let family = wanted.family.published_by();
        family.is_some_and(|family| publish.contains(&family))
    };
    desired::everything(&context.config, &known)
        .into_iter()
        .filter(is_written)
        .collect()
}

async fn our_authority(context: &Context<'_>, acme: &config::Acme) -> Authority {
    let account = account::file::load(context, &acme.directory).ok().flatten();
    let identifiers: Vec<Identifier> = context
        .config
        .certificates
        .iter()
        .filter(|certificate| certificate.issuer == config::Issuer::Acme)
        .flat_map(|certificate| certificate.identifiers.iter().cloned())
        .take(MAX_IDENTIFIERS)
        .collect();
    Authority {
        identities: dns::known::identities(context, acme, &acme.directory).await,
        account: account.and_then(|account| account.url),
        method: dns::known::method(acme),
        identifiers,
    }
}

/// Names of certificates whose CAA records are looked at.
const MAX_IDENTIFIERS: usize = 50;

/// Finds the keys that OpenDKIM and rspamd sign with.
pub(super) fn signers(env: &Env) -> Vec<Signer> {
    let read = |path: &str| {
        let bytes = files::read_if_exists(&env.host_path(path), FILE_LIMIT)
            .ok()
            .flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut found = Vec::new();
    if let Some(text) = read("/etc/opendkim.conf") {
        let conf = signing::opendkim(&text);
        found.extend(conf.signers);
        if let Some(table) = conf.key_table.and_then(|path| read(&path)) {
            found.extend(signing::key_table(&table));
        }
    }
    let settings =
        ["local.d", "override.d"].map(|directory| format!("/etc/rspamd/{directory}/dkim_signing.conf"));
    let mut files: Vec<String> = settings.iter().filter_map(|path| read(path)).collect();
    if files.is_empty() && read("/etc/rspamd/rspamd.conf").is_some() {
        // It signs as it comes: with whatever key is where keys are to be.
        files.push(String::new());
    }
    for text in files {
        let conf = signing::rspamd(&text);
        let map = |path: &Option<String>| path.as_deref().and_then(read).unwrap_or_default();
        found.extend(conf.of_maps(&map(&conf.selector_map), &map(&conf.path_map)));
        found.extend(conf.signers);
    }
    found.sort();
    found.dedup();
    found
}

/// Returns the selectors of a domain that need not be ours: where this host signs for every domain that it has a key of, one
/// whose key cannot be looked for says nothing.
fn selectors_of_any(env: &Env, name: &DomainName, signers: &[Signer], named: &[String]) -> Vec<Selector> {
    let has_key = |signer: &&Signer| {
        let file = signer.file_for(name.as_str());
        file.is_some_and(|file| {
            files::read_if_exists(&env.host_path(&file), FILE_LIMIT).is_ok_and(|key| key.is_some())
        })
    };
    let signers: Vec<Signer> = signers
        .iter()
        .filter(|signer| signer.domain != "*" || has_key(signer))
        .cloned()
        .collect();
    selectors_of(env, name, &signers, named)
}

/// Returns the selectors of a domain: those that sign for it, and those that were named.
pub(super) fn selectors_of(
    env: &Env,
    name: &DomainName,
    signers: &[Signer],
    named: &[String],
) -> Vec<Selector> {
    let mut found: Vec<Selector> = Vec::new();
    for signer in signers {
        let Some(file) = signer.file_for(name.as_str()) else {
            continue;
        };
        let path = env.host_path(&file);
        let key = match files::read_if_exists(&path, FILE_LIMIT) {
            Ok(Some(bytes)) => SigningKey::from_file(&bytes),
            // A pattern for every domain says nothing about this one.
            Ok(None) if signer.domain == "*" => continue,
            Ok(None) => Err(format!("{file} does not exist")),
            Err(error) => Err(error.to_string()),
        };
        if !found.iter().any(|known| known.name == signer.selector) {
            found.push(Selector {
                name: signer.selector.clone(),
                key: Some(key),
            });
        }
    }
    for name in named {
        if !found.iter().any(|known| known.name == *name) {
            found.push(Selector {
                name: name.clone(),
                key: None,
            });
        }
    }
    found
}
