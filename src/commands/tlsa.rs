//! "DANE first": before any new key, the TLSA records of the verified ports are looked up (`design`, section 1).

use super::{Context, dns, mail};
use crate::{
    config::{Certificate, ReuseKey},
    dns::tlsa::{self, Leaf, Tlsa, Verdict},
    error::{Error, Result},
    model::{certificate::Chain, key::PrivateKey, lineage::Lineage},
};
use futures_util::future::join_all;

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
    if !is_served(context, certificate) {
        return Ok(Choice::Generated);
    }
    // A first certificate may have been foreseen by publishing the key of whatever serves now: that is not ours to keep.
    let _ = lineage;
    let next = generated.public_key_der();
    let current = in_use.map(PrivateKey::public_key_der);
    let current = current.as_deref().map(|spki| Leaf {
        certificate: None,
        spki,
    });
    for (port, records) in published(context, certificate).await? {
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
                    "{}: the key is kept{why}: the TLSA record {record} of port {port} names it",
                    certificate.name
                )));
            }
            Verdict::Refuse { records, publish } => {
                return Err(refusal(context, certificate, port, &records, &publish));
            }
        }
    }
    Ok(Choice::Generated)
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
    if !is_served(context, certificate) {
        return Ok(());
    }
    let next = Leaf {
        certificate: Some(&chain.leaf.der),
        spki: &chain.leaf.spki_der,
    };
    for (port, records) in published(context, certificate).await? {
        match tlsa::judge(&records, None, next) {
            Verdict::Absent { .. } | Verdict::MatchesNext { .. } => {}
            Verdict::KeepKey { record } => return Err(refusal(context, certificate, port, &[], &record)),
            Verdict::Refuse { records, publish } => {
                return Err(refusal(context, certificate, port, &records, &publish));
            }
        }
    }
    Ok(())
}

/// Returns whether ports of this host serve the lineage, so that TLSA records of the host speak about it.
fn is_served(context: &Context<'_>, certificate: &Certificate) -> bool {
    context
        .config
        .default_certificate()
        .is_some_and(|default| default.name == certificate.name)
}

/// Looks up the records of every port that is verified, once each; all at the same time.
async fn published(context: &Context<'_>, certificate: &Certificate) -> Result<Vec<(u16, Vec<Tlsa>)>> {
    let resolver = dns::resolver(context);
    let host = &context.config.host.name;
    let ports = mail::ports(context);
    let asked = join_all(ports.iter().map(|port| tlsa::look_up(&resolver, host, *port))).await;
    let mut found = Vec::new();
    for (port, records) in ports.iter().zip(asked) {
        let records = records.map_err(|error| {
            dns::failure(
                format!(
                    "{}: nobody can say whether TLSA records name its key",
                    certificate.name
                ),
                &error,
            )
        })?;
        found.push((*port, records));
    }
    Ok(found)
}

fn refusal(
    context: &Context<'_>,
    certificate: &Certificate,
    port: u16,
    records: &[Tlsa],
    publish: &Tlsa,
) -> Error {
    let host = &context.config.host.name;
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
