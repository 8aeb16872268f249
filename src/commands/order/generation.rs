//! From the certificate that came to a complete generation on disk and in the record.

use time::{Duration, OffsetDateTime};

use super::{Refusal, renewal_info::ask_renewal_info};
use crate::{
    acme::{account::Session, order::Issued},
    commands::{Context, note, store_error},
    config::Certificate,
    env::files::Access,
    error::{Error, Result},
    model::{
        certificate::{Certificate as Leaf, Chain},
        key::PrivateKey,
        lineage::{Generation, Lineage, State, Step},
        name::Identifier,
        schedule::retry,
    },
    store::state::Pem,
};

/// How far the clocks of CA and host may be apart: what begins later than this is not taken for valid.
const SKEW: Duration = Duration::DAY;
/// What has less than this left is no successor of what has more.
const SHORTEST: Duration = Duration::HOUR;

/// Takes up the certificate of the order in flight when it is complete on disk: a run was killed before it was recorded.
///
/// # Errors
/// When it cannot be read, or the record cannot be saved.
pub fn adopt(context: &Context<'_>, lineage: &mut Lineage) -> Result<Option<u64>> {
    let Some(order) = &lineage.order else {
        return Ok(None);
    };
    let (name, number) = (&lineage.name, order.generation);
    if lineage.generations.contains_key(&number) || !context.store.is_complete(name, number) {
        return Ok(None);
    }
    let Some(chain) = on_disk(context, name, number)? else {
        return Ok(None);
    };
    let generation = describe(&chain, Some(order.directory.clone()));
    record(context, lineage, number, generation);
    context.save(lineage)?;
    Ok(Some(number))
}

/// Returns the chain of a generation whose files are all there and belong together; `None` otherwise.
///
/// # Errors
/// When they cannot be read.
pub fn on_disk(context: &Context<'_>, name: &str, number: u64) -> Result<Option<Chain>> {
    if !context.store.is_complete(name, number) {
        return Ok(None);
    }
    let unread = |error| store_error(format!("generation {number} of {name} could not be read"), &error);
    let chain = context.store.load_fullchain(name, number).map_err(unread)?;
    let key = context.store.load_key(name, number).map_err(unread)?;
    let (Ok(chain), Some(Ok(key))) = (
        Chain::from_pem(chain.as_bytes()),
        key.map(|pem| PrivateKey::from_pem(pem.as_bytes())),
    ) else {
        return Ok(None);
    };
    Ok(chain.leaf.matches_key(&key.public_key_der()).then_some(chain))
}

/// Writes the generation, its record, and what the CA says about when to renew it.
pub(super) async fn complete(
    context: &Context<'_>,
    session: &Session,
    certificate: &Certificate,
    lineage: &mut Lineage,
    key: &PrivateKey,
    issued: &Issued,
    access: Access,
) -> Result<u64, Refusal> {
    let Some(order) = lineage.order.clone() else {
        return Err(Error::failed("the order is gone from the record").into());
    };
    let chain = Chain::from_pem(issued.chain.to_pem().as_bytes()).map_err(|error| {
        Error::failed(format!(
            "the CA's certificate for {} cannot be used",
            certificate.name
        ))
        .cause(error)
    })?;
    let number = order.generation;
    let generation = describe(&chain, Some(order.directory.clone()));
    write_generation(context, &certificate.name, number, &chain, &key.to_pem(), access)?;
    // A run that is killed while it waits has not got it in vain: what is complete on disk is adopted.
    record(context, lineage, number, generation.clone());
    lineage.renewal_info = ask_renewal_info(
        session.http(),
        Some(session.directory()),
        &generation,
        None,
        context.now(),
    )
    .await;
    context.save(lineage)?;
    Ok(number)
}

/// Records a complete generation as the order's outcome; the caller saves the record.
pub(super) fn record(context: &Context<'_>, lineage: &mut Lineage, number: u64, generation: Generation) {
    lineage.order = None;
    // What another CA may still issue is not wanted any more.
    lineage.kept_orders.clear();
    lineage.newest = lineage.newest.max(number);
    lineage.generations.insert(number, generation);
    lineage.renewal_info = None;
    lineage.state = State::Issued;
    lineage.forget_failures();
    lineage.issued_at.push(context.now());
    retry::keep_for_caps(&mut lineage.issued_at, context.now());
    note::reached(context, lineage, Step::Order);
}

/// Returns why a certificate from the CA is not put in the place of the one in service, by its dates and this host's clock.
///
/// One that is short-lived may follow one that lives longer; only what ends before anybody could get the next one may not.
///
/// # Errors
/// The reason, in words.
pub(super) fn is_of_use(
    leaf: &Leaf,
    in_service: Option<&Generation>,
    now: OffsetDateTime,
) -> Result<(), String> {
    let clock = format!("by the clock of this host it is {}", shown(now));
    if leaf.not_after <= now {
        return Err(format!("it expired on {}; {clock}", shown(leaf.not_after)));
    }
    if leaf.not_before > now + SKEW {
        return Err(format!(
            "it is valid only from {} on; {clock}",
            shown(leaf.not_before)
        ));
    }
    let left = leaf.time_left(now);
    let is_ending = left < SHORTEST || left < leaf.lifetime() / 10;
    match in_service {
        Some(live) if is_ending && live.not_after > leaf.not_after => Err(format!(
            "it ends on {}, and the one in service on {}; {clock}",
            shown(leaf.not_after),
            shown(live.not_after)
        )),
        _ => Ok(()),
    }
}

/// Puts a complete generation on disk.
///
/// # Errors
/// When it cannot be written.
pub fn write_generation(
    context: &Context<'_>,
    name: &str,
    number: u64,
    chain: &Chain,
    key_pem: &str,
    access: Access,
) -> Result<()> {
    let pem = Pem {
        key: key_pem,
        leaf: &chain.leaf.to_pem(),
        chain: &chain.intermediates_to_pem(),
    };
    context
        .store
        .complete(name, number, &pem, access)
        .map_err(|error| store_error(format!("the certificate for {name} could not be saved"), &error))
}

/// Describes a chain as the record has it.
pub fn describe(chain: &Chain, directory: Option<String>) -> Generation {
    let leaf = &chain.leaf;
    let mut identifiers: Vec<Identifier> = leaf
        .dns_names
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    identifiers.sort();
    identifiers.dedup();
    Generation {
        identifiers,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        leaf_sha256: leaf.sha256.to_string(),
        spki_sha256: leaf.spki_sha256.to_string(),
        certificate_id: leaf.renewal_info_id(),
        directory,
    }
}

/// Writes a moment to the second.
fn shown(at: OffsetDateTime) -> String {
    let (date, (hour, minute, second)) = (at.date(), at.time().as_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_valid_or_ends_at_once_takes_no_good_ones_place() {
        let key = rcgen::KeyPair::generate().unwrap();
        let now = OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        let leaf = |from: Duration, until: Duration| {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (now + from, now + until);
            Leaf::from_der(params.self_signed(&key).unwrap().der()).unwrap()
        };
        let live = |until: Duration| {
            let leaf = leaf(-Duration::DAY, until);
            describe(
                &Chain {
                    leaf,
                    intermediates: Vec::new(),
                },
                None,
            )
        };
        let (day, hour) = (Duration::DAY, Duration::HOUR);
        let check = |from, until, in_service: Option<Duration>, expected: Option<&str>| {
            let in_service = in_service.map(live);
            match (is_of_use(&leaf(from, until), in_service.as_ref(), now), expected) {
                (Ok(()), None) => {}
                (Err(reason), Some(words)) => {
                    assert!(reason.contains(words), "{reason}");
                    assert!(reason.contains("clock of this host it is 2030-03-17"), "{reason}");
                }
                (result, expected) => panic!("{expected:?}: {result:?}"),
            }
        };
        check(-hour, day * 90, None, None);
        check(-hour, day * 90, Some(day * 20), None);
        // A short-lived profile follows one of 90 days, and a CA of one's own issues for minutes.
        check(-hour, hour * 159, Some(day * 30), None);
        check(-Duration::MINUTE, Duration::minutes(4), None, None);
        check(
            -Duration::MINUTE,
            Duration::minutes(4),
            Some(Duration::minutes(2)),
            None,
        );
        check(-Duration::MINUTE, Duration::minutes(4), Some(-day), None);
        // The host's clock is behind.
        check(hour * 23, day * 90, Some(day), None);
        check(day * 2, day * 90, None, Some("valid only from 2030-03-19"));
        check(-day, Duration::ZERO, None, Some("expired on 2030-03-17"));
        check(-day * 90, -day, Some(-day * 2), Some("expired on"));
        check(-hour, Duration::minutes(59), Some(day), Some("ends on"));
        check(-day * 82, day * 8, Some(day * 20), Some("the one in service on"));
        check(-day * 80, day * 10, Some(day * 20), None);
    }
}
