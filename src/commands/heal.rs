//! What a damaged, restored or half-written state directory is mended from, before anything is decided.
//!
//! The record is right about what is in use, the disk about what there is. Where the record is gone or cannot be
//! understood, the generations on disk tell most of what it said. Nothing is deleted: what cannot be used is kept aside,
//! and told. A record of a newer mailcert, and a disk that cannot be read, are left to the operator.

use time::{Duration, OffsetDateTime};

use super::{Context, order, store_error};
use crate::{
    config::{Certificate, Issuer},
    error::Result,
    model::lineage::{Generation, Lineage, State},
    store::{StoreError, mend::Condition},
};

/// Reads a lineage's record and mends what does not fit the disk.
///
/// # Errors
/// When something cannot be read or written, or the record is of a newer program.
pub fn load(context: &Context<'_>, certificate: &Certificate) -> Result<Lineage> {
    let healing = Healing { context, certificate };
    let mut lineage = healing.read()?;
    if let Some(number) = order::adopt(context, &mut lineage)? {
        healing.tell(&format!(
            "generation {number} is complete, though the run that got it was ended before it was recorded"
        ));
    }
    healing.take_up_newer(&mut lineage)?;
    healing.mend_files(&mut lineage)?;
    healing.mend_link(&mut lineage)?;
    Ok(lineage)
}

struct Healing<'c, 'e> {
    context: &'c Context<'e>,
    certificate: &'c Certificate,
}

impl Healing<'_, '_> {
    fn tell(&self, text: &str) {
        self.context
            .progress
            .done(&format!("{}: {text}", self.certificate.name));
    }

    /// Reads the record, or makes one from the generations on disk.
    fn read(&self) -> Result<Lineage> {
        let (store, name) = (&self.context.store, &self.certificate.name);
        let unread = |error| store_error(format!("lineage {name} could not be read"), &error);
        let reason = match store.load(name) {
            Ok(lineage) if lineage.newest > 0 || lineage.order.is_some() => return Ok(lineage),
            Ok(lineage) => {
                // A record that was never written; unless it was taken away.
                if store.generation_numbers(name).map_err(unread)?.is_empty() {
                    return Ok(lineage);
                }
                "it is missing".to_owned()
            }
            Err(StoreError::Corrupt { reason, .. }) => reason,
            Err(StoreError::File(error)) if error.is_no_file_of_ours() => error.reason.to_string(),
            Err(error) => return Err(unread(error)),
        };
        let lineage = self.rebuild()?;
        let aside = store.set_record_aside(name).map_err(unread)?;
        self.context.save(&lineage)?;
        let generations: Vec<String> = lineage.generations.keys().map(u64::to_string).collect();
        self.tell(&format!(
            "state.json could not be used ({reason}); {}",
            match generations.is_empty() {
                true => "no complete certificate is on disk, so that it starts afresh".to_owned(),
                false => format!(
                    "it was made anew from the generations on disk: {}",
                    generations.join(", ")
                ),
            }
        ));
        if let Some(aside) = aside {
            self.tell(&format!("the old one is kept as {}", aside.display()));
        }
        Ok(lineage)
    }

    /// Makes a record of what is on disk. Caps still hold: what was issued in the last week is seen from the certificates.
    fn rebuild(&self) -> Result<Lineage> {
        let (store, name, now) = (&self.context.store, &self.certificate.name, self.context.now());
        let unread = |error| store_error(format!("the generations of {name} could not be read"), &error);
        let mut lineage = Lineage::new(name);
        for number in store.generation_numbers(name).map_err(unread)? {
            lineage.newest = lineage.newest.max(number);
            if let Some(generation) = self.describe(number)? {
                if generation.directory.is_some() && generation.not_before > now - Duration::weeks(1) {
                    lineage.issued_at.push(generation.not_before.min(now));
                }
                lineage.generations.insert(number, generation);
            }
        }
        let is_good = |number: &u64| {
            lineage
                .generations
                .get(number)
                .is_some_and(|one| one.not_after > now)
        };
        let live = store.live_points_at(name).filter(is_good);
        lineage.generation = live;
        // Put into service again, and proven: what the old record knew of that is gone.
        lineage.state = match (live, lineage.generations.is_empty()) {
            (Some(_), _) => State::Installed,
            (None, false) => State::Issued,
            (None, true) => State::Due,
        };
        Ok(lineage)
    }

    /// Describes a generation on disk, when it is whole.
    fn describe(&self, number: u64) -> Result<Option<Generation>> {
        let name = &self.certificate.name;
        let unread = |error| store_error(format!("generation {number} of {name} could not be read"), &error);
        let pair = self.context.store.find_pair(name, number, None).map_err(unread)?;
        // Whom to ask for renewal information: a CA that does not know the certificate says so.
        let acme = self.context.config.acme.as_ref();
        let directory = match self.certificate.issuer {
            Issuer::Acme => acme.map(|acme| acme.directory.clone()),
            Issuer::Ca => Some(order::private::DIRECTORY.to_owned()),
            Issuer::External => None,
        };
        Ok(pair.map(|pair| order::describe(&pair.chain, directory)))
    }

    /// Takes up generations that the record does not know: it was restored from an older backup than they.
    fn take_up_newer(&self, lineage: &mut Lineage) -> Result<()> {
        let (store, name, now) = (&self.context.store, &self.certificate.name, self.context.now());
        let mut wanted = self.certificate.identifiers.clone();
        wanted.sort();
        let mut taken = Vec::new();
        let mut number = lineage.newest.saturating_add(1);
        while store.layout().generation(name, number).is_dir() {
            let newer = self.describe(number)?.filter(|found| {
                let in_use = lineage.live();
                found.identifiers == wanted
                    && found.not_after > now
                    && found.not_before <= now
                    // Two of the same second: the number tells.
                    && in_use.is_none_or(|in_use| found.not_after >= in_use.not_after)
            });
            if let Some(newer) = newer {
                lineage.newest = number;
                lineage.generations.insert(number, newer);
                lineage.renewal_info = None;
                lineage.state = State::Issued;
                taken.push(number.to_string());
            }
            number = number.saturating_add(1);
        }
        if taken.is_empty() {
            return Ok(());
        }
        if lineage
            .order
            .as_ref()
            .is_some_and(|order| order.generation <= lineage.newest)
        {
            lineage.order = None;
        }
        self.tell(&format!(
            "the record is older than what is on disk; taken up: generation {}",
            taken.join(", ")
        ));
        self.context.save(lineage)
    }

    /// Mends the files of the generations that may be put into service; an older one is looked at when somebody wants it
    /// back.
    fn mend_files(&self, lineage: &mut Lineage) -> Result<()> {
        let (store, name) = (&self.context.store, &self.certificate.name);
        let newest = lineage.newest_complete().map(|(number, _)| number);
        let mut suspects: Vec<u64> = lineage.generation.into_iter().chain(newest).collect();
        suspects.dedup();
        suspects.retain(|number| !store.looks_whole(name, *number));
        for number in suspects {
            let Some(leaf) = lineage
                .generations
                .get(&number)
                .map(|one| one.leaf_sha256.clone())
            else {
                continue;
            };
            let failed = |error| {
                store_error(
                    format!("generation {number} of {name} could not be mended"),
                    &error,
                )
            };
            let access = order::key_access(self.certificate)?;
            match store
                .mend_generation(name, number, &leaf, access)
                .map_err(failed)?
            {
                Condition::Whole => continue,
                Condition::Mended(files) => {
                    self.tell(&format!(
                        "{} of generation {number} was damaged, and is written anew from the others",
                        files.join(", ")
                    ));
                    if lineage.generation == Some(number) {
                        lineage.state = lineage.state.min(State::Installed);
                    }
                }
                Condition::Lost(why) => {
                    self.tell(&format!(
                        "files of generation {number} are missing or empty or do not belong together, and cannot be mended: {why}"
                    ));
                    lineage.generations.remove(&number);
                    if lineage.generation == Some(number) {
                        lineage.generation = None;
                        lineage.state = match lineage.generations.is_empty() {
                            true => State::Due,
                            false => State::Issued,
                        };
                    }
                }
            }
            self.context.save(lineage)?;
        }
        Ok(())
    }

    fn mend_link(&self, lineage: &mut Lineage) -> Result<()> {
        let (store, name) = (&self.context.store, &self.certificate.name);
        let Some(live) = lineage
            .generation
            .filter(|live| store.live_points_at(name) != Some(*live))
        else {
            return Ok(());
        };
        let is_over = |number: u64, now: OffsetDateTime| {
            lineage
                .generations
                .get(&number)
                .is_none_or(|one| one.not_after <= now)
        };
        // Never back to a certificate that has expired while a newer one waits to be put into service.
        if lineage.state == State::Issued && is_over(live, self.context.now()) {
            return Ok(());
        }
        self.tell(&format!(
            "mending the live link, which did not point at generation {live}"
        ));
        let failed = |error| store_error(format!("the live link of {name} could not be mended"), &error);
        if let Some(aside) = store.mend_copied_live(name, live).map_err(failed)? {
            self.tell(&format!(
                "a directory stood in the place of the live link; it is kept as {}",
                aside.display()
            ));
        }
        store.point_live_at(name, live).map_err(failed)?;
        lineage.state = lineage.state.min(State::Installed);
        self.context.save(lineage)
    }
}
