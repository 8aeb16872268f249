//! Orders in flight: taken up again, set aside while their CA is down, begun anew, forgotten.

use super::{
    authorities::Authority,
    key::{Unsaid, choose_key, save_key, unfinished_key},
};
use crate::{
    commands::Context,
    config::Certificate,
    env::files::Access,
    error::Result,
    model::{
        key::PrivateKey,
        lineage::{Lineage, Order},
        name::Identifier,
    },
};

/// Makes the order at this CA the one in flight: the one at another CA is kept for later, while the CA is one of `known`
/// and the order is for the same names.
///
/// In memory: whatever is done next saves the record.
pub(super) fn take_up(lineage: &mut Lineage, directory: &str, identifiers: &[Identifier], known: &[&str]) {
    let is_wanted = |order: &Order| {
        order.identifiers == identifiers && known.contains(&order.directory.as_str()) && order.url.is_some()
    };
    let mut all = std::mem::take(&mut lineage.kept_orders);
    if let Some(order) = lineage.order.take() {
        if order.directory == directory {
            // What is not for these names any more is looked at where it is begun.
            lineage.order = Some(order);
        } else {
            all.push(order);
        }
    }
    all.retain(is_wanted);
    if lineage.order.is_none()
        && let Some(index) = all.iter().position(|order| order.directory == directory)
    {
        lineage.order = Some(all.remove(index));
    }
    all.retain(|order| order.directory != directory);
    lineage.kept_orders = all;
}

/// Returns what an order at this CA says it replaces: the certificate to be renewed, when the same CA issued it.
pub(super) fn replaces(lineage: &Lineage, directory: &str) -> Option<String> {
    let (_, current) = lineage.current()?;
    (current.directory.as_deref() == Some(directory))
        .then(|| current.certificate_id.clone())
        .flatten()
}

/// Returns key and intent of the order in flight, or puts those of a new one on disk.
pub(super) async fn begin(
    context: &Context<'_>,
    authority: &Authority,
    certificate: &Certificate,
    lineage: &mut Lineage,
    access: Access,
    notes: &mut Vec<String>,
) -> Result<(PrivateKey, Order)> {
    let mut identifiers = certificate.identifiers.clone();
    identifiers.sort();
    let directory = &authority.acme.directory;
    if let Some(order) = lineage.order.clone() {
        let same = order.identifiers == identifiers
            && order.directory == *directory
            && order.profile == authority.acme.profile;
        let key = match same {
            true => unfinished_key(context, certificate, order.generation)?,
            false => None,
        };
        if let Some(key) = key {
            return Ok((key, order));
        }
        abandon(context, lineage)?;
    }
    let key = choose_key(context, certificate, lineage, access, Unsaid::Refuse, notes).await?;
    let generation = context.store.next_number(lineage);
    let there = unfinished_key(context, certificate, generation)?;
    if there.is_none_or(|there| there.to_pem() != key.to_pem()) {
        // Orders that were set aside are for the same key and number: without it they come to nothing.
        lineage.kept_orders.clear();
    }
    save_key(context, certificate, generation, &key, access)?;
    let order = Order {
        generation,
        identifiers,
        directory: directory.clone(),
        url: None,
        profile: authority.acme.profile.clone(),
        replaces: replaces(lineage, directory),
        started_at: context.now(),
    };
    lineage.order = Some(order.clone());
    context.save(lineage)?;
    Ok((key, order))
}

/// Forgets the order in flight; its number may be used again, since nobody has seen it.
///
/// Its key stays for the next order: a TLSA record may have been published for it.
pub(super) fn abandon(context: &Context<'_>, lineage: &mut Lineage) -> Result<()> {
    if lineage.order.take().is_some() {
        context.save(lineage)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn keeps_what_another_ca_may_still_issue() {
        let names = |name: &str| vec![name.parse::<Identifier>().unwrap()];
        let order = |directory: &str, name: &str, url: Option<&str>| Order {
            generation: 2,
            identifiers: names(name),
            directory: directory.into(),
            profile: None,
            url: url.map(str::to_owned),
            replaces: None,
            started_at: OffsetDateTime::UNIX_EPOCH,
        };
        let known = ["one", "two", "three"];
        let check = |in_flight: Option<Order>, kept: Vec<Order>, order: Option<Order>, left: Vec<Order>| {
            let mut lineage = Lineage::new("a");
            lineage.order = in_flight;
            lineage.kept_orders = kept;
            take_up(&mut lineage, "two", &names("a.example"), &known);
            assert_eq!((lineage.order, lineage.kept_orders), (order, left));
        };
        let (one, two, three) = (
            order("one", "a.example", Some("u1")),
            order("two", "a.example", Some("u2")),
            order("three", "a.example", Some("u3")),
        );
        check(None, vec![], None, vec![]);
        check(Some(two.clone()), vec![], Some(two.clone()), vec![]);
        check(Some(one.clone()), vec![], None, vec![one.clone()]);
        check(
            Some(one.clone()),
            vec![two.clone(), three.clone()],
            Some(two.clone()),
            vec![three.clone(), one.clone()],
        );
        // One of no known CA, one for other names, one that was never made.
        check(Some(order("four", "a.example", Some("u"))), vec![], None, vec![]);
        check(Some(order("one", "b.example", Some("u"))), vec![], None, vec![]);
        check(Some(order("one", "a.example", None)), vec![], None, vec![]);
        check(None, vec![order("two", "b.example", Some("u"))], None, vec![]);
        // Never two at one CA.
        check(Some(two.clone()), vec![two.clone()], Some(two), vec![]);
    }
}
