//! Records written by a program of the operator's: lego's exec provider, or a dnsapi script of acme.sh.
//!
//! Such programs set up TXT records, and cannot list them: what is at a name is asked from its zone's servers. They run one
//! after another, each in a clean environment with its own time limit.

use std::{path::PathBuf, sync::Arc};

use super::{
    challenge::{PullOnDrop, shown},
    facts::{home, surroundings},
};
use crate::{
    commands::{Context, dns},
    config::hook::ChallengeHook,
    dns::{
        error::{DnsError, ProviderFailure, Written},
        provider::{
            Capabilities, Listing, Provider, Reply, Swap, Writer, change_in_steps, list_from_servers,
            plain_text,
        },
        resolver::Resolver,
    },
    env::leash::Leash,
    error::{Error, Result},
    hook::{
        challenge::{Step, calls},
        event::{Challenge, Fate, Surroundings},
        program,
        run::{self, Ended},
    },
    model::{
        name::DomainName,
        plan::RrsetChange,
        rdata::{Rdata, RecordType},
        rrset::Rrset,
    },
};

/// A program that writes TXT records.
pub struct RecordHook {
    hook: ChallengeHook,
    home: PathBuf,
    around: Surroundings,
    resolver: Resolver,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl RecordHook {
    /// Returns the provider, its program looked at.
    ///
    /// # Errors
    /// When the program is missing or not to be trusted.
    pub fn new(context: &Context<'_>, hook: &ChallengeHook) -> Result<Self> {
        let home = home(context.env);
        program::find_challenge(hook, &home).map_err(|distrust| {
            Error::failed("dns.provider cannot be used")
                .cause(&distrust)
                .remedy(distrust.remedy)
        })?;
        Ok(Self {
            hook: hook.clone(),
            home,
            around: surroundings(context),
            resolver: dns::resolver(context),
            turn: Arc::default(),
        })
    }

    /// Runs the program for each value.
    async fn each(
        &self,
        name: &DomainName,
        values: &[Rdata],
        step: Step<'static>,
    ) -> std::result::Result<(), DnsError> {
        let _turn = self.turn.lock().await;
        for value in values {
            let text = plain_text("the hook of dns.provider", name, value)?;
            let challenge = Challenge {
                kind: "dns-01",
                name: name.to_string(),
                token: String::new(),
                key_authorization: String::new(),
                digest: text,
                digest_hex: String::new(),
                record: Some(name.to_string()),
                all_names: vec![name.to_string()],
                remaining: 0,
            };
            for call in calls(&self.hook, &[challenge], step, &self.around) {
                let what = shown(&call);
                let leash = Leash::default();
                let _pull = PullOnDrop(leash.clone());
                let (manner, home) = (self.hook.manner.clone(), self.home.clone());
                let work = tokio::task::spawn_blocking(move || run::run(&call, &manner, &home, &leash));
                let reason = match work.await {
                    Ok(Ended::Done { .. }) => continue,
                    Ok(Ended::Failed(reason) | Ended::Later(reason)) => reason,
                    Err(_) => "it was interrupted".to_owned(),
                };
                return Err(DnsError::Provider(Box::new(ProviderFailure {
                    provider: what,
                    doing: match step {
                        Step::Present => format!("add a TXT record at {name}"),
                        Step::Cleanup(..) => format!("remove a TXT record at {name}"),
                    },
                    reason,
                    remedy: None,
                    // A program that failed may have got half-way.
                    written: Written::Maybe,
                })));
            }
        }
        Ok(())
    }
}

impl Provider for RecordHook {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            types: &[RecordType::Txt],
            list: Listing::Dns,
            swap: Swap::Compared,
            writer: Writer::Machine,
        }
    }

    fn list<'a>(&'a self, zone: &'a DomainName, name: &'a DomainName, kind: RecordType) -> Reply<'a, Rrset> {
        Box::pin(list_from_servers(&self.resolver, zone, name, kind))
    }

    fn add<'a>(
        &'a self,
        _: &'a DomainName,
        name: &'a DomainName,
        values: &'a [Rdata],
        _: u32,
    ) -> Reply<'a, ()> {
        Box::pin(self.each(name, values, Step::Present))
    }

    fn remove<'a>(&'a self, _: &'a DomainName, name: &'a DomainName, values: &'a [Rdata]) -> Reply<'a, ()> {
        Box::pin(self.each(name, values, Step::Cleanup(Fate::Open, "")))
    }

    fn change<'a>(&'a self, change: &'a RrsetChange) -> Reply<'a, ()> {
        Box::pin(change_in_steps(self, change))
    }
}
