//! The one who writes index and CRLs: one at a time, by `flock`; the next one waits.
//!
//! A certificate goes to the file of certificates, then into the index, and both are on disk before anybody is given it. What a
//! crash left behind the last whole line of the index is cut off and kept; certificates that stand in the file but not in the
//! index are taken into it: what was signed once can always be revoked.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use super::{
    CaError,
    authority::{Authority, Unlocked},
    certificate::Serial,
    index::{self, Entry, Index, Issued, Ledger, Published, Revocation},
    profile::Profile,
    revocation_list::{self, RevocationList},
    settings::Signer,
};
use crate::{
    env::files::{self, Access, FileError},
    model::{
        certificate::{Certificate, certificates_from_pem},
        revocation::Reason,
    },
};

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether the other one has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// The clock may be behind the index by so much: two machines that share a directory.
const SKEW: time::Duration = time::Duration::minutes(5);

/// The lock, held; index and certificates, open at their ends.
pub struct Writer<'a> {
    authority: &'a Authority,
    lock: File,
    index: Index,
    index_file: File,
    issued_file: File,
    issued_end: u64,
    /// How many certificates a crash had left out of the index.
    pub n_recovered: usize,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // A child between fork and exec may still share the open file.
        let _ = self.lock.unlock();
    }
}

/// A certificate that was signed and is to be recorded.
pub struct Signed {
    /// Its number.
    pub serial: Serial,
    /// By which key.
    pub by: Signer,
    /// Its names, as text.
    pub names: Vec<String>,
    /// What it is for; none for a CA's.
    pub profile: Option<Profile>,
    /// The last moment of its validity.
    pub not_after: OffsetDateTime,
    /// The certificate, PEM, with a line feed at its end.
    pub pem: String,
}

impl<'a> Writer<'a> {
    pub(super) fn open(authority: &'a Authority, now: OffsetDateTime) -> Result<Self, CaError> {
        let layout = &authority.layout;
        let lock = take_lock(&layout.lock())?;
        let index = authority.read_index()?;
        let of_index = |error| authority.of_index(&error);
        if let Some(last) = index.last_at().map_err(of_index)?
            && last > now + SKEW
        {
            return Err(CaError::Clock { now, last });
        }
        compare_with_crls(authority, &index)?;
        let mut index_file = append_to(&layout.index())?;
        if index.n_torn > 0 {
            keep_torn(authority, &mut index_file, &index)?;
        }
        let path = layout.issued();
        let issued_file = append_to(&path)?;
        let issued_end = index.end_of_certificates().map_err(of_index)?;
        let size = issued_file.metadata().map_err(failed("read", &path))?.len();
        if size < issued_end {
            return Err(CaError::Damaged {
                path,
                reason: format!("it has {size} bytes, and {issued_end} by the index: it was cut off"),
            });
        }
        let mut writer = Self {
            authority,
            lock,
            index,
            index_file,
            issued_file,
            issued_end,
            n_recovered: 0,
        };
        if size > issued_end {
            writer.recover(now)?;
        }
        Ok(writer)
    }

    /// Returns the index as tables.
    ///
    /// # Errors
    /// When it was written by a newer program.
    pub fn ledger(&self) -> Result<Ledger, CaError> {
        self.index
            .ledger()
            .map_err(|error| self.authority.of_index(&error))
    }

    /// Records certificates; when this returns they are on disk, and may be given away.
    ///
    /// # Errors
    /// When they cannot be written: then none of them may be given away.
    pub fn record(&mut self, signed: &[Signed], now: OffsetDateTime) -> Result<(), CaError> {
        let path = self.authority.layout.issued();
        let pem: String = signed.iter().map(|one| one.pem.as_str()).collect();
        append(&mut self.issued_file, self.issued_end, pem.as_bytes()).map_err(failed("write", &path))?;
        self.enter(signed, now)
    }

    /// Enters into the index what stands in the file of certificates.
    fn enter(&mut self, signed: &[Signed], now: OffsetDateTime) -> Result<(), CaError> {
        let mut offset = self.issued_end;
        let mut entries = Vec::with_capacity(signed.len());
        for one in signed {
            let length = one.pem.len() as u64;
            entries.push(Entry::Issued(Issued {
                at: whole_second(now),
                by: one.by,
                serial: one.serial,
                names: one.names.clone(),
                profile: one.profile,
                not_after: one.not_after,
                offset,
                length,
            }));
            offset += length;
        }
        self.write(&entries)?;
        self.issued_end = offset;
        Ok(())
    }

    /// Records a revocation; the next CRL has it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn revoke(&mut self, serial: Serial, reason: Reason, now: OffsetDateTime) -> Result<(), CaError> {
        self.write(&[Entry::Revoked(Revocation {
            at: whole_second(now),
            serial,
            reason,
        })])
    }

    /// Signs and publishes the next CRL of a key.
    ///
    /// # Errors
    /// When it cannot be signed or written.
    pub fn publish(&mut self, by: &Unlocked, days: u32, now: OffsetDateTime) -> Result<Published, CaError> {
        let now = whole_second(now);
        let ledger = self.ledger()?;
        let revoked = ledger.listed(by.signer);
        let published = Published {
            at: now,
            by: by.signer,
            number: ledger.crl(by.signer).map_or(0, |last| last.number) + 1,
            // No list outlives its issuer.
            next_update: now
                .saturating_add(time::Duration::days(days.into()))
                .min(self.authority.certificate(by.signer).not_after),
        };
        let der = revocation_list::sign(
            &RevocationList {
                number: published.number,
                this_update: now,
                next_update: published.next_update,
                revoked: &revoked,
            },
            &by.issuer(),
        )?;
        // The number first: it is used up, whatever becomes of the file.
        self.write(&[Entry::Crl(published.clone())])?;
        let pem = revocation_list::to_pem(&der);
        files::write_atomic(
            &self.authority.crl_file(by.signer),
            pem.as_bytes(),
            Access::PUBLIC,
        )?;
        Ok(published)
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), CaError> {
        let (mut lines, mut link) = (Vec::with_capacity(entries.len() * 300), self.index.link);
        for entry in entries {
            link = index::push(&mut lines, link, entry);
        }
        let path = self.authority.layout.index();
        append(&mut self.index_file, self.index.len(), &lines).map_err(failed("write", &path))?;
        self.index.append(&lines, link);
        Ok(())
    }

    /// Takes certificates into the index that a crash left out of it; half of one is cut off.
    fn recover(&mut self, now: OffsetDateTime) -> Result<(), CaError> {
        const END: &str = "-----END CERTIFICATE-----\n";
        let path = self.authority.layout.issued();
        let mut bytes = Vec::new();
        self.issued_file
            .seek(SeekFrom::Start(self.issued_end))
            .and_then(|_| self.issued_file.read_to_end(&mut bytes))
            .map_err(failed("read", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut found = Vec::new();
        for block in text.split_inclusive(END) {
            let one = certificates_from_pem(block.as_bytes()).ok();
            let one = one.and_then(|mut all| all.pop().filter(|_| all.is_empty()));
            let Some(signed) = one.and_then(|certificate| self.signed(&certificate, block)) else {
                break;
            };
            found.push(signed);
        }
        let end = found
            .iter()
            .fold(self.issued_end, |end, one| end + one.pem.len() as u64);
        self.issued_file
            .set_len(end)
            .and_then(|()| self.issued_file.sync_all())
            .map_err(failed("write", &path))?;
        self.enter(&found, now)?;
        self.n_recovered = found.len();
        Ok(())
    }

    /// Returns what is known of a certificate that stands in the file as this block.
    fn signed(&self, certificate: &Certificate, block: &str) -> Option<Signed> {
        let by = *self
            .authority
            .signers()
            .iter()
            .find(|signer| certificate.may_be_issued_by(self.authority.certificate(**signer)))?;
        let has = |usage: &str| certificate.extended_key_usages.iter().any(|one| one == usage);
        let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
        Some(Signed {
            serial: certificate.serial_hex().parse().ok()?,
            by,
            names: match certificate.is_ca {
                true => vec![certificate.subject.clone()],
                false => certificate.dns_names.iter().cloned().chain(addresses).collect(),
            },
            profile: match (certificate.is_ca, has("serverAuth"), has("clientAuth")) {
                (true, ..) => None,
                (_, true, true) => Some(Profile::Both),
                (_, _, true) => Some(Profile::Client),
                _ => Some(Profile::Server),
            },
            not_after: certificate.not_after,
            pem: block.to_owned(),
        })
    }
}

/// Refuses an index that is older than a CRL: revocations would be forgotten, and numbers used again.
fn compare_with_crls(authority: &Authority, index: &Index) -> Result<(), CaError> {
    for signer in authority.signers() {
        let path = authority.crl_file(*signer);
        let Some(pem) = files::read_if_exists(&path, 1 << 30)? else {
            continue;
        };
        // A CRL that was damaged is replaced by the next one.
        let Some(facts) = revocation_list::read(&pem) else {
            continue;
        };
        let last = index
            .last_crl(*signer)
            .map_err(|error| authority.of_index(&error))?;
        let number = last.map_or(0, |last| last.number);
        if facts.number > number {
            return Err(CaError::Damaged {
                path: authority.layout.index(),
                reason: format!(
                    "its last line about a CRL is of number {number}, but {} has number {}: lines at its end are missing, or it is an older copy",
                    path.display(),
                    facts.number
                ),
            });
        }
    }
    Ok(())
}

/// Puts what a crash left at the index's end aside, and cuts it off.
fn keep_torn(authority: &Authority, file: &mut File, index: &Index) -> Result<(), CaError> {
    let path = authority.layout.index();
    let mut torn = Vec::new();
    file.seek(SeekFrom::Start(index.len()))
        .and_then(|_| file.read_to_end(&mut torn))
        .map_err(failed("read", &path))?;
    let free = (1..u64::MAX)
        .map(|n| authority.layout.torn_index(n))
        .find(|path| !path.exists());
    if let Some(aside) = free {
        files::write_new(&aside, &torn, Access::PRIVATE)?;
    }
    file.set_len(index.len())
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &path))?;
    Ok(())
}

/// Appends at a known end; what was written in vain is taken away again, as far as the disk lets us.
fn append(file: &mut File, end: u64, bytes: &[u8]) -> io::Result<()> {
    let written = file
        .seek(SeekFrom::Start(end))
        .and_then(|_| file.write_all(bytes))
        .and_then(|()| file.sync_data());
    if written.is_err() {
        let _ = file.set_len(end);
    }
    written
}

fn append_to(path: &Path) -> Result<File, CaError> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
        .map_err(failed("open", path))?;
    Ok(file)
}

fn take_lock(path: &Path) -> Result<File, CaError> {
    let file = append_to(path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(CaError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error).into()),
        }
    }
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |reason| FileError {
        verb,
        path: path.to_owned(),
        reason,
    }
}

/// Returns the second a moment is in: certificates and CRLs know no more.
fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}
