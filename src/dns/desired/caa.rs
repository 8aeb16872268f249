//! CAA records for the names of the certificates: every CA of ours may issue, and who else the operator names. Pure.

use super::{Family, Known, Role, Wanted};
use crate::{
    config::policy::{Binding, Caa},
    model::{name::DomainName, rdata::Rdata, record::caa},
};

/// What one CA is asked for at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaUse {
    /// What the CA calls itself in CAA; empty where that is not known.
    pub identities: Vec<String>,
    /// The URL of our account there; empty where there is none.
    pub account: String,
    /// The challenge (RFC 8657, 4).
    pub method: &'static str,
    /// Whether the certificate is for `*.NAME`.
    pub wildcard: bool,
}

impl CaUse {
    /// Returns the request as the judge of CAA records has it.
    pub fn request(&self) -> caa::Request<'_> {
        caa::Request {
            identities: &self.identities,
            account: &self.account,
            method: self.method,
            wildcard: self.wildcard,
        }
    }

    /// Returns the value of its `issue` record; `None` where the CA does not say what it is called.
    fn issuer(&self, bind: Binding) -> Option<String> {
        let mut value = self.identities.first()?.clone();
        if bind == Binding::Account {
            if !self.account.is_empty() {
                value += &format!("; accounturi={}", self.account);
            }
            value += &format!("; validationmethods={}", self.method);
        }
        Some(value)
    }
}

/// Returns what a CA of ours is called: where nobody but the CA knows, as the operator names it first.
pub fn own_identities(identities: Vec<String>, policy: &Caa) -> Vec<String> {
    if identities.is_empty() {
        policy
            .issuers
            .first()
            .map(ToString::to_string)
            .into_iter()
            .collect()
    } else {
        identities
    }
}

/// Returns the values of the `issue` records at a name.
pub fn issuers(policy: &Caa, requests: &[CaUse]) -> Vec<Rdata> {
    let own = requests.iter().filter_map(|one| one.issuer(policy.bind));
    // What is bound to our account is not let in without it.
    let is_own = |issuer: &String| requests.iter().any(|one| one.identities.contains(issuer));
    let others = policy
        .issuers
        .iter()
        .map(ToString::to_string)
        .filter(|issuer| !is_own(issuer));
    let mut values: Vec<Rdata> = Vec::new();
    for issuer in own.chain(others) {
        let value = property("issue", &issuer);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

fn property(tag: &str, value: &str) -> Rdata {
    Rdata::Caa {
        flags: 0,
        tag: tag.to_owned(),
        value: value.as_bytes().to_vec(),
    }
}

/// Returns the records of each name that a certificate is for.
///
/// They stand at the names themselves, not above: what holds for a whole domain would keep its other hosts from their CA.
pub(super) fn wanted(policy: &Caa, known: &Known) -> Vec<Wanted> {
    let mut names: Vec<&DomainName> = Vec::new();
    for (name, _) in &known.requests {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let wanted = names.into_iter().filter_map(|name| {
        let requests: Vec<CaUse> = known
            .requests
            .iter()
            .filter(|(owner, _)| owner == name)
            .map(|(_, request)| request.clone())
            .collect();
        let mut values = issuers(policy, &requests);
        if values.is_empty() {
            return None;
        }
        values.extend(policy.iodef.iter().map(|uri| property("iodef", uri)));
        let reason =
            format!("no other CA may issue for {name}, nor for names below it without CAA of their own");
        Some(Wanted {
            role: Role::Host,
            requests,
            ..Wanted::new(name.clone(), Family::Caa, values, reason)
        })
    });
    wanted.collect()
}
