//! `install LINEAGE FILE…`: takes back what a CA sent for a request: PEM, DER, PKCS#7 or PKCS#12, the leaf alone or with its
//! chain, in any order and any number of files.
//!
//! The leaf is the one for a key that we have: of the file named by `--key`, of the PKCS#12 file itself, of a request that
//! waits, or the one in use, which a CA that signs last year's request again has certified.

use std::path::{Path, PathBuf};

use super::{Installed, judge};
use crate::{
    commands::{
        Context, hex,
        outcome::Run,
        passphrase::{self, AskHidden},
        store_error,
    },
    config::Certificate,
    env::files,
    error::{Error, Result},
    model::{
        bundle::{self, Bundle, BundleError},
        certificate::{self, BUNDLE_LIMIT, Chain, Validity},
        key::{PrivateKey, encrypted::Passphrase},
        lineage::Lineage,
    },
};

/// So many certificates are named when none fits.
const MOST_NAMED: usize = 5;

/// What is to be installed.
pub struct Request<'a> {
    /// The files that the CA sent.
    pub files: &'a [PathBuf],
    /// The key, where it is in a file of the operator's.
    pub key: Option<&'a Path>,
    /// What opens the files.
    pub passphrase: Option<Passphrase>,
}

/// What the files hold; nothing of it has been believed yet.
pub struct Sent {
    bundle: Bundle,
    key: Option<PrivateKey>,
    /// The files in words.
    files: String,
}

/// Reads the files. A person is asked for a passphrase where one is wanted and none was given.
///
/// # Errors
/// When one cannot be read, or holds no certificate; exit 2 when a passphrase is wanted and nobody can be asked.
pub fn read(request: &Request<'_>, mut asker: Option<&mut (dyn AskHidden + 'static)>) -> Result<Sent> {
    let names: Vec<String> = request
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut sent = Sent {
        bundle: Bundle::default(),
        key: None,
        files: names.join(", "),
    };
    for path in request.files {
        let bytes = read_file(path)?;
        let opened = unlock(path, request.passphrase.as_ref(), &mut asker, |passphrase| {
            Bundle::read(&bytes, passphrase)
        })?;
        if !opened.keys.is_empty() {
            check_key_file(path)?;
        }
        sent.bundle.extend(opened).map_err(|error| told(path, &error))?;
    }
    if let Some(path) = request.key {
        check_key_file(path)?;
        let bytes = read_file(path)?;
        let key = unlock(path, request.passphrase.as_ref(), &mut asker, |passphrase| {
            bundle::read_key(&bytes, passphrase)
        })?;
        sent.key = Some(key);
    }
    Ok(sent)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    files::read(path, BUNDLE_LIMIT as u64).map_err(|error| {
        let told = Error::failed(unread(path)).cause(&error);
        match error.reason.kind() {
            std::io::ErrorKind::FileTooLarge => {
                told.remedy("look what it is: a certificate with its chain has some kilobytes")
            }
            _ => told.remedy("name the files that the CA sent"),
        }
    })
}

/// A key is believed to be secret only where nobody else could have put it there.
fn check_key_file(path: &Path) -> Result<()> {
    files::check_trusted(path).map_err(|error| {
        Error::failed(unread(path)).cause(error).remedy(format!(
            "it holds a private key: `chown root {0}` and `chmod 600 {0}`",
            path.display()
        ))
    })
}

fn unread(path: &Path) -> String {
    format!("{} cannot be used", path.display())
}

/// Reads what may want a passphrase.
fn unlock<T>(
    path: &Path,
    given: Option<&Passphrase>,
    asker: &mut Option<&mut (dyn AskHidden + 'static)>,
    read: impl Fn(Option<&Passphrase>) -> Result<T, BundleError>,
) -> Result<T> {
    let told = |error| told(path, &error);
    match (read(given), asker.as_mut()) {
        (Err(BundleError::Locked), Some(asker)) => {
            let typed = passphrase::ask(*asker, &path.display().to_string())?;
            read(Some(&typed)).map_err(told)
        }
        (read, _) => read.map_err(told),
    }
}

fn told(path: &Path, error: &BundleError) -> Error {
    let file = path.display();
    match error {
        BundleError::Locked => Error::usage(unread(path))
            .cause(error)
            .remedy("give it by --passphrase-file, --passphrase-fd or --passphrase-credential"),
        BundleError::Old => Error::failed(unread(path)).cause(error).remedy(format!(
            "rewrite it: `umask 077; openssl pkcs12 -legacy -in {file} -nodes -out {file}.pem`, then install {file}.pem and \
             delete it"
        )),
        _ => Error::failed(unread(path)).cause(error),
    }
}

/// Installs, deploys and verifies what a CA sent.
///
/// # Errors
/// When it is for no key that we have, has expired, is not valid yet, or is for other names.
pub fn run(context: &Context<'_>, name: &str, mut sent: Sent) -> Result<Run> {
    let _lock = context.lock("install")?;
    let certificate = context.certificate(name)?;
    let lineage = super::heal::load(context, certificate)?;
    let refused = format!("{} was not installed for {name}", sent.files);
    let keys = keys(context, &lineage, &mut sent)?;
    let Some((leaf, key)) = match_key(&sent.bundle.certificates, &keys, context.now()) else {
        return Err(mismatch(&refused, certificate, &sent, &keys));
    };
    let others = sent
        .bundle
        .certificates
        .iter()
        .filter(|one| one.sha256 != leaf.sha256);
    let chain = Chain::of(leaf.clone(), others.cloned().collect());
    judge(context, certificate, &chain, &key.key.public_key_der()).map_err(|reason| {
        Error::failed(refused.clone()).cause(reason).remedy(format!(
            "ask the CA for one that fits; `mailcert csr {name}` prints the request again"
        ))
    })?;
    let note = missing_issuer(&chain, &sent.bundle.certificates);
    let installed = Installed {
        certificate,
        chain: &chain,
        key: &key.key,
        refused: &refused,
        is_answer: key.request.is_some(),
    };
    let number = key.request;
    let mut run = installed.put_into_service(context, |context| match number {
        None => Ok(()),
        Some(number) => context.store.remove_requests(name, number).map_err(|error| {
            store_error(
                format!("the answered request of {name} could not be taken away"),
                &error,
            )
        }),
    })?;
    run.notes.extend(note);
    Ok(run)
}

/// A key that a certificate may be for.
struct Candidate {
    key: PrivateKey,
    /// The request that it waits in.
    request: Option<u64>,
    /// Which key it is.
    what: String,
}

/// Returns the keys that a certificate may be for, the likeliest first.
fn keys(context: &Context<'_>, lineage: &Lineage, sent: &mut Sent) -> Result<Vec<Candidate>> {
    let given = |key, what: &str| Candidate {
        key,
        request: None,
        what: what.to_owned(),
    };
    // Who names a key means it.
    if let Some(key) = sent.key.take() {
        return Ok(vec![given(key, "that of --key")]);
    }
    let mut keys = Vec::new();
    let beside = std::mem::take(&mut sent.bundle.keys);
    keys.extend(beside.into_iter().map(|key| given(key, "the one beside it")));
    let name = &lineage.name;
    let unread = |error| store_error(format!("the keys of {name} could not be read"), &error);
    for waiting in context.store.load_requests(name).map_err(unread)? {
        keys.push(Candidate {
            key: waiting.key,
            request: Some(waiting.number),
            what: format!("that of request {}", waiting.number),
        });
    }
    for number in lineage.generations.keys().rev() {
        let pem = context.store.load_key(name, *number).map_err(unread)?;
        let key = pem.and_then(|pem| PrivateKey::from_pem(pem.as_bytes()).ok());
        let is_ours_alone =
            |key: &PrivateKey| lineage.compromise_of(&hex(&key.public_key_sha256())).is_none();
        if let Some(key) = key.filter(is_ours_alone) {
            keys.push(Candidate {
                key,
                request: None,
                what: format!("that of generation {number}"),
            });
        }
    }
    Ok(keys)
}

/// Finds the certificate that is for one of the keys: a valid one rather than another, then the newest.
fn match_key<'a>(
    certificates: &'a [certificate::Certificate],
    keys: &'a [Candidate],
    now: time::OffsetDateTime,
) -> Option<(&'a certificate::Certificate, &'a Candidate)> {
    keys.iter().find_map(|key| {
        let spki = key.key.public_key_der();
        let fitting = certificates.iter().filter(|one| one.matches_key(&spki));
        let best = fitting.max_by_key(|one| (one.validity_at(now) == Validity::Valid, one.not_before))?;
        Some((best, key))
    })
}

/// Tells that no certificate is for a key of ours: what there is, and what is wanted.
fn mismatch(refused: &str, certificate: &Certificate, sent: &Sent, keys: &[Candidate]) -> Error {
    let name = &certificate.name;
    let mut error = Error::failed(refused);
    for one in sent.bundle.certificates.iter().take(MOST_NAMED) {
        let names = match one.dns_names.as_slice() {
            [] => one.subject.clone(),
            names => names.join(", "),
        };
        let kind = if one.is_ca { "a CA's" } else { &one.key_kind };
        error = error.cause(format!(
            "it holds the certificate of {names} ({kind}, key {})",
            short(&one.spki_sha256.to_string())
        ));
    }
    let surplus = sent.bundle.certificates.len().saturating_sub(MOST_NAMED);
    if surplus > 0 {
        error = error.cause(format!("and {surplus} more"));
    }
    let wanted: Vec<String> = keys
        .iter()
        .take(MOST_NAMED)
        .map(|one| {
            format!(
                "{} ({}, {})",
                short(&hex(&one.key.public_key_sha256())),
                one.key.key_type().name(),
                one.what
            )
        })
        .collect();
    if wanted.is_empty() {
        return error
            .cause(format!("there is no key of {name} that it could be for"))
            .remedy(format!(
                "make the request by `mailcert csr {name}`, and install what the CA makes of it"
            ))
            .remedy("where the key is in a file, name it: `--key FILE`");
    }
    error
        .cause(format!(
            "none is for a key that is known here: {}",
            wanted.join("; ")
        ))
        .remedy("where the key is in a file, name it: `--key FILE`")
        .remedy(format!(
            "else have the CA answer this request: `mailcert csr {name}` prints it again"
        ))
}

fn short(digest: &str) -> String {
    let (first, _) = digest.split_at_checked(16).unwrap_or((digest, ""));
    format!("{first}…")
}

/// Says that the leaf came without its issuer: most clients then trust nothing.
fn missing_issuer(chain: &Chain, sent: &[certificate::Certificate]) -> Option<String> {
    let leaf = &chain.leaf;
    let is_there = !chain.intermediates.is_empty()
        || leaf.self_issued
        || sent
            .iter()
            .any(|one| one.self_issued && leaf.may_be_issued_by(one));
    (!is_there).then(|| {
        format!(
            "the certificate came alone: unless its issuer `{}` is itself a root that clients know, get the CA's intermediate \
             certificate and install both files together",
            leaf.issuer
        )
    })
}
