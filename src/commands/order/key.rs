//! Which key a certificate is ordered for, and who may read it: kept until the certificate is there.

use crate::{
    commands::{Context, dns::rollover, hex, store_error, tlsa},
    config::{Certificate, ReuseKey},
    env::files::Access,
    error::{Error, Result},
    model::{key::PrivateKey, lineage::Lineage},
};

pub(super) fn unfinished_key(
    context: &Context<'_>,
    certificate: &Certificate,
    generation: u64,
) -> Result<Option<PrivateKey>> {
    let doing = |error| {
        store_error(
            format!("the key for {} could not be read", certificate.name),
            &error,
        )
    };
    let store = &context.store;
    let pem = match store
        .load_unfinished_key(&certificate.name, generation)
        .map_err(doing)?
    {
        // A run that was killed between completing the generation and saving the record has moved the key.
        None => store.load_key(&certificate.name, generation).map_err(doing)?,
        unfinished => unfinished,
    };
    // A damaged key is as good as none: a new order begins with a new one.
    Ok(pem.and_then(|pem| PrivateKey::from_pem(pem.as_bytes()).ok()))
}

/// Puts the key of a generation to come on disk, in the place of whatever an abandoned order left there.
pub(super) fn save_key(
    context: &Context<'_>,
    certificate: &Certificate,
    generation: u64,
    key: &PrivateKey,
    access: Access,
) -> Result<()> {
    let doing = |error| {
        store_error(
            format!("the key for {} could not be saved", certificate.name),
            &error,
        )
    };
    let there = unfinished_key(context, certificate, generation)?;
    if there.is_some_and(|there| there.to_pem() == key.to_pem()) {
        // Never taken away in order to be written again: a TLSA record may name it.
        return Ok(());
    }
    context
        .store
        .discard_unfinished(&certificate.name, generation)
        .map_err(doing)?;
    context
        .store
        .save_key(&certificate.name, generation, &key.to_pem(), access)
        .map_err(doing)
}

/// Deletes the key of an order that failed or was killed, and is not wanted any more.
///
/// A key that the operator was told to publish stays: there is one only where the key in use cannot be used again.
///
/// # Errors
/// When the store cannot be read, or the key not be deleted.
pub fn discard_needless(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> Result<()> {
    let number = context.store.next_number(lineage);
    if !context.store.has_unfinished(&certificate.name, number)
        || usable_key(context, certificate, lineage)?.is_none()
    {
        return Ok(());
    }
    let discarded = context.store.discard_unfinished(&certificate.name, number);
    discarded.map_err(|error| {
        store_error(
            format!(
                "the key that {} does not need could not be deleted",
                certificate.name
            ),
            &error,
        )
    })
}

/// A key that somebody else may have is never used again, whatever a TLSA record says.
fn is_ours_alone(lineage: &Lineage, key: &PrivateKey) -> bool {
    lineage.compromise_of(&hex(&key.public_key_sha256())).is_none()
}

/// Returns the key in use, when a new certificate may be for it.
fn usable_key(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
) -> Result<Option<PrivateKey>> {
    let Some(number) = lineage.generation else {
        return Ok(None);
    };
    let pem = context
        .store
        .load_key(&certificate.name, number)
        .map_err(|error| {
            store_error(
                format!("the key of {} could not be read", certificate.name),
                &error,
            )
        })?;
    let in_use = pem.and_then(|pem| PrivateKey::from_pem(pem.as_bytes()).ok());
    Ok(in_use
        .filter(|key| is_ours_alone(lineage, key))
        .filter(|key| key.key_type() == certificate.key || certificate.reuse_key != ReuseKey::Always))
}

/// Returns whether the key in use is to give way to the one that follows, once that one's record is everywhere.
fn wants_another(certificate: &Certificate, in_use: &Option<PrivateKey>) -> bool {
    certificate.reuse_key == ReuseKey::Never
        || in_use
            .as_ref()
            .is_some_and(|key| key.key_type() != certificate.key)
}

fn copy(key: &PrivateKey) -> Result<PrivateKey> {
    PrivateKey::from_pem(key.to_pem().as_bytes())
        .map_err(|error| Error::failed("the key could not be read again").cause(error))
}

/// What is done when nobody can say whether TLSA records name the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// The key in use goes on, which is as right as before; the private CA needs no network.
    KeepKey,
    /// Nothing is ordered.
    Refuse,
}

/// Chooses between the key in use and a new one (`reuse_key`, and "DANE first").
pub(super) async fn choose_key(
    context: &Context<'_>,
    certificate: &Certificate,
    lineage: &Lineage,
    access: Access,
    unsaid: Unsaid,
    notes: &mut Vec<String>,
) -> Result<PrivateKey> {
    let usable = usable_key(context, certificate, lineage)?;
    if let (ReuseKey::Always, Some(key)) = (certificate.reuse_key, &usable) {
        return copy(key);
    }
    let number = context.store.next_number(lineage);
    let next = rollover::next_key(context, certificate, lineage);
    let follows = next.as_ref().filter(|next| {
        // A key in use that is none, or that somebody else may have, waits for nothing.
        usable.is_none()
            || wants_another(certificate, &usable) && rollover::may_serve(context, certificate, next)
    });
    let foreseen = unfinished_key(context, certificate, number)?;
    let is_next = |key: &PrivateKey| {
        next.as_ref()
            .is_some_and(|next| next.public_key_sha256() == key.public_key_sha256())
    };
    let foreseen = foreseen
        .filter(|key| key.key_type() == certificate.key && is_ours_alone(lineage, key) && !is_next(key));
    let generated = match (follows, foreseen) {
        (Some(next), _) => copy(next)?,
        (None, Some(key)) => key,
        (None, None) => PrivateKey::generate(certificate.key).map_err(|error| {
            Error::failed(format!("no key could be made for {}", certificate.name)).cause(error)
        })?,
    };
    let choice = match unsaid {
        Unsaid::Refuse => tlsa::guard(context, certificate, lineage, usable.as_ref(), &generated).await,
        Unsaid::KeepKey => {
            let known = tlsa::guard_if_known(context, certificate, usable.as_ref(), &generated).await;
            known.map(|known| match (known, &usable) {
                (Some(choice), _) => choice,
                (None, None) => tlsa::Choice::Generated,
                (None, Some(_)) => tlsa::Choice::InUse(format!(
                    "{}: the key is kept: nobody can say whether TLSA records name it",
                    certificate.name
                )),
            })
        }
    };
    if choice.is_err() && usable.is_none() {
        // The operator is told to publish this key: the next run has to come with the same one.
        save_key(context, certificate, number, &generated, access)?;
    }
    match choice? {
        tlsa::Choice::Generated => Ok(generated),
        tlsa::Choice::InUse(note) => {
            notes.push(note);
            usable.ok_or_else(|| Error::failed("the key in use is gone"))
        }
    }
}

/// Returns who may read a certificate's key.
///
/// # Errors
/// Exit 2 when the owner or group does not exist on this host.
pub fn key_access(certificate: &Certificate) -> Result<Access> {
    let unknown = |what: &str, name: &str| {
        Error::usage(format!(
            "there is no {what} `{}` on this host",
            name.escape_debug()
        ))
        .cause(format!("it is the {what} of the key of {}", certificate.name))
    };
    let unasked = |errno: nix::errno::Errno| {
        Error::failed(format!(
            "owner and group of the key of {} could not be looked up",
            certificate.name
        ))
        .cause(errno)
    };
    let me = nix::unistd::geteuid();
    let uid = match nix::unistd::User::from_name(&certificate.owner).map_err(unasked)? {
        Some(user) => user.uid,
        None => return Err(unknown("owner", &certificate.owner)),
    };
    let gid = match nix::unistd::Group::from_name(&certificate.group).map_err(unasked)? {
        Some(group) => group.gid,
        None => return Err(unknown("group", &certificate.group)),
    };
    // An ordinary user can only own what it makes: the default, root, is then not meant.
    let default = certificate.owner == "root" && certificate.group == "root";
    if !me.is_root() && default {
        return Ok(Access {
            mode: certificate.mode,
            uid: None,
            gid: None,
        });
    }
    Ok(Access {
        mode: certificate.mode,
        uid: Some(uid.as_raw()),
        gid: Some(gid.as_raw()),
    })
}
