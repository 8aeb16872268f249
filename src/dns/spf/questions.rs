//! What an evaluation asks the DNS, now and later, and the limits on that (RFC 7208, 4.6.4). Pure.

use std::net::IpAddr;

use super::{
    MAX_COUNTED, MAX_LOOKUPS, MAX_NAMES, MAX_TRACE, MAX_VOID_LOOKUPS, Run, Stop, Walk,
    names::{canonical, in_network, is_askable, shown},
};
use crate::{
    dns::facts::{Answer, Family, Question},
    model::record::spf::{DomainSpec, DualCidr, Mechanism, Record, is_record},
};

impl<'a> Run<'a> {
    /// Announces what the terms of a record, and of those it leads to, will ask: then all of it can be asked at once.
    ///
    /// Macros that need an answer of their own (`%{p}`) are left to the walk.
    pub(super) fn announce(&mut self, domain: &str, record: &Record, depth: u32) {
        let family = Family::of(self.request.address);
        let redirect = record.redirect().filter(|_| record.all().is_none());
        let referred = record.directives().filter_map(|(_, mechanism)| match mechanism {
            Mechanism::Include(target) => Some(target),
            _ => None,
        });
        let referred: Vec<&DomainSpec> = referred.chain(redirect).collect();
        for (_, mechanism) in record.directives() {
            match mechanism {
                Mechanism::A(target, _) => {
                    if let Some(target) = self.foreseen(target.as_ref(), domain) {
                        self.facts.want(Question::Addresses(target, family));
                    }
                }
                Mechanism::Mx(target, _) => {
                    let Some(target) = self.foreseen(target.as_ref(), domain) else {
                        continue;
                    };
                    let Ok(answer) = self.facts.get(&Question::Mx(target)) else {
                        continue;
                    };
                    for name in answer.names().iter().take(MAX_NAMES).map(|name| canonical(name)) {
                        if is_askable(&name) {
                            self.facts.want(Question::Addresses(name, family));
                        }
                    }
                }
                Mechanism::Exists(target) => {
                    if let Some(target) = self.foreseen(Some(target), domain) {
                        self.facts.want(Question::Addresses(target, Family::V4));
                    }
                }
                Mechanism::Ptr(_) => self.facts.want(Question::Ptr(self.request.address)),
                Mechanism::All | Mechanism::Include(_) | Mechanism::Ip4(..) | Mechanism::Ip6(..) => {}
            }
        }
        for target in referred.into_iter().take(MAX_NAMES) {
            let Some(target) = self.foreseen(Some(target), domain) else {
                continue;
            };
            let Ok(answer) = self.facts.get(&Question::Txt(target.clone())) else {
                continue;
            };
            if self.announced >= MAX_COUNTED || depth == 0 {
                return;
            }
            self.announced += 1;
            let mut records = answer.texts().iter().filter(|text| is_record(text));
            if let (Some(text), None) = (records.next(), records.next())
                && let Ok(record) = Record::parse(text)
            {
                self.announce(&target, &record, depth - 1);
            }
        }
    }

    /// Returns the name that a term will ask for, where no answer is needed to tell.
    pub(super) fn foreseen(&mut self, spec: Option<&DomainSpec>, domain: &str) -> Option<String> {
        if spec.is_some_and(|spec| spec.uses('p')) {
            return None;
        }
        self.target(spec, domain).ok().filter(|name| is_askable(name))
    }

    pub(super) fn any_mx(&mut self, target: &str, cidr: DualCidr) -> Result<bool, Stop> {
        if !is_askable(target) {
            return Ok(false);
        }
        let names = match self.ask(&Question::Mx(target.to_owned()))? {
            Answer::Failed(why) => return Err(Stop::TempError(format!("MX of {}: {why}", shown(target)))),
            answer => answer.names(),
        };
        self.count_void(names.is_empty(), target)?;
        if names.len() > MAX_NAMES {
            return Err(Stop::PermError(format!(
                "{} has more than {MAX_NAMES} MX records",
                shown(target)
            )));
        }
        let mut matched = false;
        for name in names {
            let addresses = self.addresses(&canonical(&name), Family::of(self.request.address))?;
            matched |= self.any_in(&addresses, cidr);
            if matched && self.walk == Walk::UntilMatch {
                break;
            }
        }
        Ok(matched)
    }

    pub(super) fn any_in(&self, addresses: &[IpAddr], cidr: DualCidr) -> bool {
        addresses.iter().any(|network| {
            let prefix = if network.is_ipv4() { cidr.v4 } else { cidr.v6 };
            in_network(self.request.address, *network, prefix)
        })
    }

    /// Returns the addresses of a name; a name that the DNS cannot hold has none.
    pub(super) fn addresses(&mut self, name: &str, family: Family) -> Result<Vec<IpAddr>, Stop> {
        if !is_askable(name) {
            return Ok(Vec::new());
        }
        let addresses = match self.ask(&Question::Addresses(name.to_owned(), family))? {
            Answer::Addresses(addresses) => addresses.clone(),
            Answer::Failed(why) => return Err(Stop::TempError(format!("address of {}: {why}", shown(name)))),
            _ => Vec::new(),
        };
        self.count_void(addresses.is_empty(), name)?;
        Ok(addresses)
    }

    /// Returns the names of the sender's address that lead back to it (RFC 7208, 5.5).
    ///
    /// Failures do not count here: such a name is passed over.
    pub(super) fn validated_names(&mut self) -> Result<Vec<String>, Stop> {
        let address = self.request.address;
        let names = match self.ask(&Question::Ptr(address))? {
            Answer::Names(names) => names.clone(),
            Answer::Failed(_) => return Ok(Vec::new()),
            _ => Vec::new(),
        };
        self.count_void(names.is_empty(), "the sender's address")?;
        let mut validated = Vec::new();
        for name in names
            .iter()
            .take(MAX_NAMES)
            .map(|name| canonical(name))
            .filter(|name| is_askable(name))
        {
            match self.ask(&Question::Addresses(name.clone(), Family::of(address)))? {
                Answer::Addresses(addresses) if addresses.contains(&address) => validated.push(name),
                _ => {}
            }
        }
        Ok(validated)
    }

    pub(super) fn ask(&self, question: &Question) -> Result<&'a Answer, Stop> {
        self.facts.get(question).map_err(Stop::Ask)
    }

    /// Counts a term that asks the DNS.
    pub(super) fn count(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        let limit = if self.walk == Walk::Everything {
            MAX_COUNTED
        } else {
            MAX_LOOKUPS
        };
        if self.lookups > limit {
            return Err(Stop::PermError(format!("more than {limit} terms ask the DNS")));
        }
        Ok(())
    }

    pub(super) fn count_void(&mut self, is_void: bool, name: &str) -> Result<(), Stop> {
        if !is_void {
            return Ok(());
        }
        self.void_lookups += 1;
        self.note(|| format!("nothing found for {}", shown(name)));
        if self.void_lookups > MAX_VOID_LOOKUPS && self.walk == Walk::UntilMatch {
            return Err(Stop::PermError(format!(
                "more than {MAX_VOID_LOOKUPS} lookups found nothing"
            )));
        }
        Ok(())
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() < MAX_TRACE {
            self.trace.push(line());
        }
    }
}
