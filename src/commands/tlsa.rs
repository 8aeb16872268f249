//! "DANE first": before any new key, the TLSA records of the verified ports are looked up (`design`, section 1).

use std::collections::BTreeSet;

use super::{Context, dns};
use crate::{
    config::{Certificate, ReuseKey},
    dns::tlsa::{self, Leaf, Tlsa, Verdict},
    error::{Error, Result},
    model::{
        certificate::Chain,
        key::PrivateKey,
        lineage::Lineage,
        name::{DomainName, Identifier},
    },
};
use futures_util::future::join_all;

/// How long records are looked up that may also stay unknown.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Which key goes on.
pub enum Choice {
    /// The new one.
    Generated,
    /// The one in use, and why.
    InUse(String),
}

/// Decides between the key in use and a new one.
///
/// # Errors
/// When neither matches what is published, or nobody can say what is published: then no certificate is ordered.
pub async fn guard(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    in_use: Option<&PrivateKey>,
    generated: &PrivateKey,
) -> Result<Choice> {
    // A first certificate may have been foreseen by publishing the key of whatever serves now: that is not ours to keep.
    let _ = lineage;
    let found = published(context, certificate).await?;
    decide(certificate, found, in_use, generated)
}

/// Decides as [`guard`] does; `None` when nobody can say within a few seconds what is published.
///
/// # Errors
/// When neither key matches what is published.
pub async fn guard_if_known(
    context: &Context<'_>,
    certificate: &Certificate,
    in_use: Option<&PrivateKey>,
    generated: &PrivateKey,
) -> Result<Option<Choice>> {
    match tokio::time::timeout(PATIENCE, published(context, certificate)).await {
        Ok(Ok(found)) => decide(certificate, found, in_use, generated).map(Some),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn decide(
    certificate: &Certificate,
    found: Vec<(Place<'_>, Vec<Tlsa>)>,
    in_use: Option<&PrivateKey>,
    generated: &PrivateKey,
) -> Result<Choice> {
    let next = generated.public_key_der();
    let current = in_use.map(PrivateKey::public_key_der);
    let current = current.as_deref().map(|spki| Leaf {
        certificate: None,
        spki,
    });
    for (place, records) in found {
        match tlsa::judge(
            &records,
            current,
            Leaf {
                certificate: None,
                spki: &next,
            },
        ) {
            Verdict::Absent { .. } | Verdict::MatchesNext { .. } => {}
            Verdict::KeepKey { record } => {
                let why = match certificate.reuse_key {
                    ReuseKey::Never => ", although reuse_key is \"never\"",
                    ReuseKey::Always | ReuseKey::WhilePublished => "",
                };
                return Ok(Choice::InUse(format!(
                    "{}: the key is kept{why}: the TLSA record {record} of port {} of {} names it",
                    certificate.name, place.port, place.host
                )));
            }
            Verdict::Refuse { records, publish } => {
                return Err(refusal(certificate, &place, &records, &publish));
            }
        }
    }
    Ok(Choice::Generated)
}

/// Refuses another CA than the one that issued what is in service, where clients trust that one by a TLSA record and
/// none names the key.
///
/// # Errors
/// When such a record is published, or nobody can say.
pub async fn refuse_other_authority(
    context: &Context<'_>,
    certificate: &Certificate,
    directory: &str,
    key: &PrivateKey,
) -> Result<()> {
    let spki = key.public_key_der();
    let next = Leaf {
        certificate: None,
        spki: &spki,
    };
    for (Place { host, port }, records) in published(context, certificate).await? {
        if let Some(pin) = tlsa::pinned_authority(&records, next) {
            let publish = Tlsa::for_key(&spki);
            return Err(Error::failed(format!(
                "{}: no certificate of {directory} goes into service while a TLSA record names a CA",
                certificate.name
            ))
            .cause(format!("_{port}._tcp.{host}. IN TLSA {pin}"))
            .remedy(format!(
                "publish the key beside it, which is good for every CA: _{port}._tcp.{host}. IN TLSA {publish}"
            ))
            .remedy("or wait until the CA that it names can be reached again"));
        }
    }
    Ok(())
}

/// Refuses a certificate of another client whose key no published record matches.
///
/// # Errors
/// As [`guard`].
pub async fn refuse_unpublished(
    context: &Context<'_>,
    certificate: &Certificate,
    chain: &Chain,
) -> Result<()> {
    let next = Leaf {
        certificate: Some(&chain.leaf.der),
        spki: &chain.leaf.spki_der,
    };
    for (place, records) in published(context, certificate).await? {
        match tlsa::judge(&records, None, next) {
            Verdict::Absent { .. } | Verdict::MatchesNext { .. } => {}
            Verdict::KeepKey { record } => return Err(refusal(certificate, &place, &[], &record)),
            Verdict::Refuse { records, publish } => {
                return Err(refusal(certificate, &place, &records, &publish));
            }
        }
    }
    Ok(())
}

/// Returns the names whose TLSA records speak about the lineage: the host's, when ports serve the lineage by default; its
/// own, when it is served to clients that ask for them. A client by DANE asks for the name whose records it read (RFC
/// 7672, 8.1). A wildcard has no records of its own: nobody could list the names that might.
fn hosts<'a>(context: &'a Context<'_>, certificate: &'a Certificate) -> BTreeSet<&'a DomainName> {
    let mut hosts = BTreeSet::new();
    let default = context.default_certificate();
    if default.is_some_and(|default| default.name == certificate.name) {
        hosts.insert(&context.config.host.name);
    }
    if certificate.sni {
        let exact = certificate.identifiers.iter().filter(|one| !one.is_wildcard());
        hosts.extend(exact.map(Identifier::base));
    }
    hosts
}

/// Where a TLSA record may stand.
struct Place<'a> {
    host: &'a DomainName,
    port: u16,
}

/// Looks up the records of every port that is verified, once each; all at the same time.
async fn published<'a>(
    context: &'a Context<'_>,
    certificate: &'a Certificate,
) -> Result<Vec<(Place<'a>, Vec<Tlsa>)>> {
    let hosts = hosts(context, certificate);
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let resolver = dns::resolver(context);
    let ports = context.ports();
    let places = hosts
        .into_iter()
        .flat_map(|host| ports.iter().map(move |port| Place { host, port: *port }));
    let places: Vec<Place<'_>> = places.collect();
    let asked = join_all(
        places
            .iter()
            .map(|place| tlsa::look_up(&resolver, place.host, place.port)),
    )
    .await;
    let mut found = Vec::new();
    for (place, records) in places.into_iter().zip(asked) {
        let records = records.map_err(|error| {
            dns::failure(
                format!(
                    "{}: nobody can say whether TLSA records name its key",
                    certificate.name
                ),
                &error,
            )
        })?;
        found.push((place, records));
    }
    Ok(found)
}

fn refusal(certificate: &Certificate, place: &Place<'_>, records: &[Tlsa], publish: &Tlsa) -> Error {
    let Place { host, port } = place;
    let told = Error::failed(format!(
        "{}: no new key goes into service while TLSA records name another one",
        certificate.name
    ));
    let told = records.iter().fold(told, |told, record| {
        told.cause(format!("_{port}._tcp.{host}. IN TLSA {record}"))
    });
    told.remedy(format!(
        "publish first, beside the others: _{port}._tcp.{host}. IN TLSA {publish}"
    ))
    .remedy("wait for twice its TTL, then run this again (RFC 7671, 8.1)")
}
