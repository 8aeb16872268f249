//! A private CA is made: keys, certificates, the first CRLs and the index, all of them or nothing.
//!
//! They are written into a directory that nobody reads, which then gets its name by one rename.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    CaError,
    authority::{Authority, Unlocked},
    certificate::{self, Serial, sign_intermediate, sign_root},
    index::{Begun, Entry, Link, push},
    name::Constraints,
    profile::Validity,
    settings::{FORMAT, Settings, Signer},
    writer::Signed,
};
use crate::{
    env::files::{self, Access, FileError},
    model::{
        certificate::Certificate,
        key::{
            KeyType, PrivateKey,
            encrypted::{self, Passphrase},
        },
        request::Subject,
    },
};

/// Everybody may walk through the directory: daemons are given certificates in it.
const MODE: u32 = 0o711;

/// How long the CRL of a root is good that signs an intermediate only, and may live elsewhere; in days.
pub const ROOT_CRL_DAYS: u32 = 365;

/// A CA's certificate that is to be made.
pub struct Member {
    /// Who it is.
    pub subject: Subject,
    /// The kind of its key.
    pub key: KeyType,
    /// How long it is good, in days.
    pub days: u32,
    /// What closes its key.
    pub passphrase: Option<Passphrase>,
}

/// The CA that is to be made.
pub struct Plan {
    /// The root.
    pub root: Member,
    /// Where the root's key is to live, when not in the directory.
    pub root_key: Option<PathBuf>,
    /// The issuing intermediate.
    pub issuing: Option<Member>,
    /// Which names it may certify.
    pub constraints: Constraints,
    /// How long a CRL is good, in days.
    pub crl_days: u32,
    /// Where clients find the CRL.
    pub crl_urls: Vec<String>,
}

/// Refuses a place where something is already.
///
/// # Errors
/// [`CaError::Exists`].
pub fn refuse_existing(directory: &Path, root_key: Option<&Path>) -> Result<(), CaError> {
    let is_taken = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    };
    if is_taken {
        return Err(CaError::Exists(directory.to_owned()));
    }
    match root_key {
        Some(path) if fs::symlink_metadata(path).is_ok() => Err(CaError::Exists(path.to_owned())),
        _ => Ok(()),
    }
}

/// Makes the CA.
///
/// # Errors
/// [`CaError::Exists`] when something is there already; when a file cannot be written: then nothing is left.
pub fn make(directory: &Path, plan: &Plan, now: OffsetDateTime) -> Result<Authority, CaError> {
    refuse_existing(directory, plan.root_key.as_deref())?;
    let made = Made::new(plan, now)?;
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    files::make_directory(parent, MODE)?;
    let failed = |verb, path: &Path| {
        let path = path.to_owned();
        move |reason| FileError { verb, path, reason }
    };
    // 0700, with a name that no other run has.
    let stage = tempfile::Builder::new()
        .prefix(".ca-unfinished-")
        .tempdir_in(parent)
        .map_err(failed("write into", parent))?;
    let texts: Vec<(&str, &[u8], Access)> = made
        .files
        .iter()
        .map(|(name, text, access)| (*name, text.as_bytes(), *access))
        .collect();
    files::write_together(stage.path(), &texts)?;
    let written = Authority::open(stage.path())?;
    publish_first(&written, &made, plan, now)?;
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(MODE))
        .map_err(failed("write", stage.path()))?;
    if let (Some(path), Some(pem)) = (&plan.root_key, &made.root_key_elsewhere) {
        files::write_new(path, pem.as_bytes(), Access::PRIVATE).map_err(|error| {
            match error.reason.kind() {
                ErrorKind::AlreadyExists => CaError::Exists(path.clone()),
                _ => error.into(),
            }
        })?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files::sync_directory(parent)?;
        }
    }
    if let Err(error) = fs::rename(stage.path(), directory) {
        if let Some(path) = &plan.root_key {
            let _ = fs::remove_file(path);
        }
        return Err(match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                CaError::Exists(directory.to_owned())
            }
            _ => failed("make directory", directory)(error).into(),
        });
    }
    files::sync_directory(parent)?;
    Authority::open(directory)
}

/// Publishes the first CRLs, in the directory that nobody reads yet.
fn publish_first(
    authority: &Authority,
    made: &Made,
    plan: &Plan,
    now: OffsetDateTime,
) -> Result<(), CaError> {
    let mut writer = authority.write(now)?;
    writer.record(&made.intermediates, now)?;
    let root_days = match plan.issuing {
        Some(_) => ROOT_CRL_DAYS.max(plan.crl_days),
        None => plan.crl_days,
    };
    writer.publish(&made.root, root_days, now)?;
    if let Some(issuing) = &made.issuing {
        writer.publish(issuing, plan.crl_days, now)?;
    }
    Ok(())
}

/// The CA in memory.
struct Made {
    root: Unlocked,
    issuing: Option<Unlocked>,
    /// What the root signed.
    intermediates: Vec<Signed>,
    root_key_elsewhere: Option<Zeroizing<String>>,
    files: Vec<(&'static str, Zeroizing<String>, Access)>,
}

/// Names of the files as [`super::layout::Layout`] has them, for a directory that is being put together.
mod file {
    pub const INDEX: &str = "index";
    pub const ISSUING_CERTIFICATE: &str = "issuing.pem";
    pub const ISSUING_KEY: &str = "issuing.key";
    pub const ROOT_CERTIFICATE: &str = "root.pem";
    pub const ROOT_KEY: &str = "root.key";
    pub const SETTINGS: &str = "ca.json";
}

impl Made {
    fn new(plan: &Plan, now: OffsetDateTime) -> Result<Self, CaError> {
        let key = PrivateKey::generate(plan.root.key)?;
        let validity = Validity::of_authority(now, plan.root.days)?;
        let of = certificate::Authority {
            serial: Serial::random()?,
            spki: &key.public_key_der(),
            subject: &plan.root.subject,
            validity,
            constraints: &plan.constraints,
        };
        let certificate = parsed(&sign_root(&of, &key)?)?;
        let mut files = vec![(
            file::ROOT_CERTIFICATE,
            Zeroizing::new(certificate.to_pem()),
            Access::PUBLIC,
        )];
        let pem = closed(&key, plan.root.passphrase.as_ref())?;
        let root_key_elsewhere = match plan.root_key {
            Some(_) => Some(pem),
            None => {
                files.push((file::ROOT_KEY, pem, Access::PRIVATE));
                None
            }
        };
        let root_sha256 = certificate.sha256;
        let root = Unlocked::new(Signer::Root, key, &certificate);
        let mut intermediates = Vec::new();
        let issuing = match &plan.issuing {
            None => None,
            Some(member) => {
                let key = PrivateKey::generate(member.key)?;
                let of = certificate::Authority {
                    serial: Serial::random()?,
                    spki: &key.public_key_der(),
                    subject: &member.subject,
                    validity: Validity::of_authority(now, member.days)?.within(now, validity)?,
                    constraints: &plan.constraints,
                };
                // The URLs are those of the CRL of end-entity certificates; the root's is given by hand.
                let certificate = parsed(&sign_intermediate(&of, &root.issuer(), &[])?)?;
                let pem = certificate.to_pem();
                intermediates.push(Signed {
                    serial: of.serial,
                    by: Signer::Root,
                    names: vec![certificate.subject.clone()],
                    profile: None,
                    not_after: certificate.not_after,
                    pem: pem.clone(),
                });
                files.push((file::ISSUING_CERTIFICATE, Zeroizing::new(pem), Access::PUBLIC));
                let pem = closed(&key, member.passphrase.as_ref())?;
                files.push((file::ISSUING_KEY, pem, Access::PRIVATE));
                Some(Unlocked::new(Signer::Issuing, key, &certificate))
            }
        };
        let settings = Settings {
            format: FORMAT,
            created: now.replace_nanosecond(0).unwrap_or(now),
            constraints: plan.constraints.clone(),
            signer: match issuing {
                Some(_) => Signer::Issuing,
                None => Signer::Root,
            },
            root_key: plan.root_key.clone(),
            crl_days: plan.crl_days,
            crl_urls: plan.crl_urls.clone(),
        };
        let settings_text = String::from_utf8_lossy(&settings.write()).into_owned();
        files.push((file::SETTINGS, Zeroizing::new(settings_text), Access::PRIVATE));
        let begun = Entry::Begun(Begun {
            format: FORMAT,
            root: root_sha256,
            at: settings.created,
        });
        let mut index = Vec::new();
        push(&mut index, Link::FIRST, &begun);
        let index = String::from_utf8_lossy(&index).into_owned();
        files.push((file::INDEX, Zeroizing::new(index), Access::PRIVATE));
        Ok(Self {
            root,
            issuing,
            intermediates,
            root_key_elsewhere,
            files,
        })
    }
}

fn closed(key: &PrivateKey, passphrase: Option<&Passphrase>) -> Result<Zeroizing<String>, CaError> {
    Ok(Zeroizing::new(match passphrase {
        Some(passphrase) => encrypted::encrypt(key, passphrase)?,
        None => key.to_pem(),
    }))
}

/// Reads back what was just signed.
fn parsed(der: &[u8]) -> Result<Certificate, CaError> {
    Certificate::from_der(der).map_err(|_| CaError::Signing(crate::model::key::KeyError::Failed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::layout::Layout;

    #[test]
    fn the_names_are_those_of_the_layout() {
        let layout = Layout::new(Path::new("/x"));
        let check = |name: &str, path: PathBuf| assert_eq!(Path::new("/x").join(name), path);
        check(file::INDEX, layout.index());
        check(file::ISSUING_CERTIFICATE, layout.issuing_certificate());
        check(file::ISSUING_KEY, layout.issuing_key());
        check(file::ROOT_CERTIFICATE, layout.root_certificate());
        check(file::ROOT_KEY, layout.root_key());
        check(file::SETTINGS, layout.settings());
    }
}
