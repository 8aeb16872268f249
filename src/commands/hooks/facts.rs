//! What hooks are told, taken from the configuration and the lineage's record.

use std::path::{Path, PathBuf};

use crate::{
    acme::challenge::ChallengeType,
    commands::Context,
    config::{Acme, Certificate, Challenge},
    env::Env,
    hook::event::{self, Subject, Surroundings},
    model::lineage::Lineage,
};

/// Describes a lineage as hooks are told of it.
pub(super) fn subject(context: &Context<'_>, certificate: &Certificate, lineage: &Lineage) -> Subject {
    let layout = context.store.layout();
    let live = lineage.generation.and_then(|number| {
        let generation = lineage.generations.get(&number)?;
        Some(event::Generation {
            number,
            directory: layout.generation(&certificate.name, number),
            names: generation.identifiers.iter().map(ToString::to_string).collect(),
            not_before: generation.not_before,
            not_after: generation.not_after,
            leaf_sha256: generation.leaf_sha256.clone(),
        })
    });
    Subject {
        name: certificate.name.clone(),
        identifiers: certificate.identifiers.iter().map(ToString::to_string).collect(),
        key: certificate.key,
        live: layout.live(&certificate.name),
        generation: live,
    }
}

pub(super) fn surroundings(context: &Context<'_>) -> Surroundings {
    let acme = context.config.acme.as_ref();
    let email = acme.and_then(|acme| acme.contact.first()?.strip_prefix("mailto:"));
    Surroundings {
        state_directory: context.store.layout().root().to_owned(),
        live_directory: context.store.layout().live_directory(),
        directory: acme.map(|acme| acme.directory.clone()).unwrap_or_default(),
        email: email.unwrap_or_default().to_owned(),
        challenge: acme.map_or("", |acme| challenge_type(acme).name()),
        now: context.now(),
    }
}

/// Returns how names are proven.
pub(super) fn challenge_type(acme: &Acme) -> ChallengeType {
    match acme.challenge {
        Challenge::Dns01 => ChallengeType::Dns01,
        Challenge::Http01(_) => ChallengeType::Http01,
        Challenge::TlsAlpn01(_) => ChallengeType::TlsAlpn01,
    }
}

/// Returns `HOME` for hooks: ours, else root's; a service has none, and programs look for their files there.
pub(super) fn home(env: &Env) -> PathBuf {
    match env.var("HOME") {
        Some(home) if home.starts_with('/') => home.into(),
        _ if rustix::process::geteuid().is_root() => Path::new("/root").to_owned(),
        _ => Path::new("/").to_owned(),
    }
}
