//! `ca sign`: certificates for requests that others made, one or ten thousand.

use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

use super::{Keys, Place, tell};
use crate::{
    ca::{
        authority::{Authority, Unlocked},
        certificate::{EndEntity, Serial, sign_end_entity, subject_for},
        name::AltName,
        profile::{DAYS, Profile, Validity},
        request::{self, LARGEST, RequestError},
        writer,
    },
    commands::outcome::error_object,
    env::{
        Env,
        files::{self, Access},
        progress::Progress,
    },
    error::{Error, ExitCode, Result},
    model::{
        certificate::{BUNDLE_LIMIT, Certificate, certificates_from_pem},
        pem,
        request::Subject,
    },
    store::layout,
};

/// So many certificates are signed before the index is brought onto the disk.
const BATCH: usize = 1000;

/// What to do about names that the CA may not certify.
pub(super) const OTHER_NAMES: &str = "take names that its certificate permits, or make another CA for the others: `mailcert ca init --directory DIR`";

/// What a directory's requests are called.
const ENDINGS: [&str; 3] = ["csr", "p10", "req"];

/// What a certificate is for, and for how long.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What it may be used for.
    pub profile: Profile,
    /// How long it is good, in days.
    pub days: Option<u32>,
    /// Its subject; its first name when nothing is said.
    pub subject: Option<Subject>,
}

/// What is to be signed.
pub struct Request {
    /// Files with a request each, directories of them, or `-`.
    pub files: Vec<PathBuf>,
    /// Names in the place of those that the request has.
    pub names: Vec<AltName>,
    /// What it is for, and for how long.
    pub terms: Terms,
    /// Where the certificates go; to stdout when it is not said.
    pub out_dir: Option<PathBuf>,
}

/// What was done for each request.
#[derive(Debug, Serialize)]
pub struct Signed {
    /// The certificate of who signed.
    pub issuer: String,
    /// In the order of the files.
    pub certificates: Vec<Done>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// What was done for one request.
#[derive(Debug, Serialize)]
pub struct Done {
    /// What was done.
    pub action: Action,
    /// The file of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<PathBuf>,
    /// The serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// The names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The last moment of validity.
    #[serde(
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub not_after: Option<OffsetDateTime>,
    /// Where the certificate is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where its key is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The certificate and its intermediate, PEM, when it is in no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Why it was not signed.
    #[serde(serialize_with = "error_object", skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// What was done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It was refused.
    Failed,
    /// Its certificate is there from an earlier run.
    Present,
    /// It was signed.
    Signed,
}

impl Done {
    /// Returns what was done with a certificate.
    pub fn of(signed: &writer::Signed, action: Action) -> Self {
        Self {
            action,
            request: None,
            serial: Some(signed.serial),
            names: signed.names.clone(),
            not_after: Some(signed.not_after),
            file: None,
            key_file: None,
            certificate: None,
            error: None,
        }
    }

    fn failed(error: Error) -> Self {
        Self {
            action: Action::Failed,
            request: None,
            serial: None,
            names: Vec::new(),
            not_after: None,
            file: None,
            key_file: None,
            certificate: None,
            error: Some(error),
        }
    }
}

impl Signed {
    /// Returns the outcome.
    pub fn of(authority: &Authority, certificates: Vec<Done>, notes: Vec<String>) -> Self {
        Self {
            issuer: authority.signing_certificate().subject.clone(),
            certificates,
            notes,
        }
    }

    /// Returns 1 when a request was refused.
    pub fn exit_code(&self) -> ExitCode {
        self.error().map_or(ExitCode::Done, |error| error.exit_code())
    }

    /// Returns one error for all that were refused.
    pub fn error(&self) -> Option<Error> {
        /// So many are told one by one.
        const SHOWN: usize = 10;
        let failed: Vec<&Error> = self
            .certificates
            .iter()
            .filter_map(|done| done.error.as_ref())
            .collect();
        match failed.as_slice() {
            [] => None,
            [only] if self.certificates.len() == 1 => Some((*only).clone()),
            several => {
                let message = format!(
                    "{} of {} requests were not signed; the others were",
                    several.len(),
                    self.certificates.len()
                );
                let all = several
                    .iter()
                    .take(SHOWN)
                    .fold(Error::failed(message), Error::cause);
                let mut remedies: Vec<&String> = several.iter().flat_map(|error| &error.remedies).collect();
                remedies.sort();
                remedies.dedup();
                let all = remedies.into_iter().take(SHOWN).fold(all, Error::remedy);
                Some(match several.len() {
                    n if n > SHOWN => {
                        all.cause(format!("and {} more; --format json has them all", n - SHOWN))
                    }
                    _ => all,
                })
            }
        }
    }
}

/// Who signs, and how.
pub struct Signing<'a> {
    authority: &'a Authority,
    by: &'a Unlocked,
    terms: &'a Terms,
    validity: Validity,
    is_cut: bool,
    intermediates: String,
}

impl<'a> Signing<'a> {
    /// Prepares it.
    ///
    /// # Errors
    /// Exit 2 when no certificate can be good for so long, or now.
    pub fn new(
        authority: &'a Authority,
        by: &'a Unlocked,
        terms: &'a Terms,
        now: OffsetDateTime,
    ) -> Result<Self> {
        let days = terms.days.unwrap_or(DAYS);
        let validity = Validity::of_end_entity(now, days, authority.validity())
            .map_err(|error| tell("nothing was signed", &error.into()))?;
        Ok(Self {
            authority,
            by,
            terms,
            validity,
            is_cut: validity.not_after == authority.validity().not_after,
            intermediates: authority
                .intermediates()
                .iter()
                .map(Certificate::to_pem)
                .collect(),
        })
    }

    /// Returns what stands behind each certificate in a chain, PEM.
    pub fn intermediates(&self) -> &str {
        &self.intermediates
    }

    /// Returns what to say about all of them.
    pub fn notes(&self) -> Vec<String> {
        match self.is_cut {
            true => vec![format!(
                "the certificates end with the CA's own, on {}: make the next CA in time",
                self.validity.not_after.date()
            )],
            false => Vec::new(),
        }
    }

    /// Signs a certificate for a key that was verified and names that were judged.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn sign(&self, spki: &[u8], names: &[AltName]) -> Result<writer::Signed> {
        let failed = |error| Error::failed("the certificate could not be signed").cause(error);
        let subject = match &self.terms.subject {
            Some(subject) => subject.clone(),
            None => subject_for(names),
        };
        let of = EndEntity {
            serial: Serial::random().map_err(failed)?,
            spki,
            names,
            subject: &subject,
            profile: self.terms.profile,
            validity: self.validity,
            crl_urls: &self.authority.settings.crl_urls,
        };
        let der = sign_end_entity(&of, &self.by.issuer()).map_err(failed)?;
        Ok(writer::Signed {
            serial: of.serial,
            by: self.by.signer,
            names: names.iter().map(ToString::to_string).collect(),
            profile: Some(self.terms.profile),
            not_after: self.validity.not_after,
            pem: pem::write("CERTIFICATE", &der),
        })
    }
}

/// Signs requests.
///
/// # Errors
/// When the CA cannot be used; a request that is refused is in the outcome, and stops no other.
pub fn run(
    env: &mut Env,
    progress: &Progress,
    place: &Place,
    keys: &mut Keys<'_>,
    request: &Request,
) -> Result<Signed> {
    let authority = place.open()?;
    if !request.names.is_empty() {
        request::judge(&request.names, &authority.settings.constraints).map_err(|error| {
            Error::usage("nothing was signed")
                .cause(error)
                .remedy(OTHER_NAMES)
        })?;
    }
    let files = files_of(&request.files)?;
    if request.out_dir.is_none() && files.len() > 1 {
        return Err(
            Error::usage("nothing was signed: where are the certificates to go?")
                .remedy("name a directory: `--out-dir DIR`; each is named after its request"),
        );
    }
    // What can be refused without the key is refused before a passphrase is typed.
    if let [only] = files.as_slice() {
        let der = read(env, only).map_err(|error| refused(only, error))?;
        let names = names_of(&der, request).map_err(|error| refused(only, Trouble::Request(error)))?;
        request::judge(&names.1, &authority.settings.constraints)
            .map_err(|error| refused(only, Trouble::Request(error)))?;
        return sign_all(env, progress, place, keys, request, &authority, &files, Some(der));
    }
    sign_all(env, progress, place, keys, request, &authority, &files, None)
}

#[allow(clippy::too_many_arguments, reason = "one call, from above")]
fn sign_all(
    env: &Env,
    progress: &Progress,
    place: &Place,
    keys: &mut Keys<'_>,
    request: &Request,
    authority: &Authority,
    files: &[PathBuf],
    mut only: Option<Vec<u8>>,
) -> Result<Signed> {
    let unlocked = keys.unlock(env, place, authority, authority.settings.signer)?;
    let now = env.clock.now();
    let signing = Signing::new(authority, &unlocked, &request.terms, now)?;
    let failed = |error: &_| tell("nothing more was signed", error);
    if let Some(directory) = &request.out_dir {
        files::make_named_directory(directory, layout::PRIVATE).map_err(|error| failed(&error.into()))?;
    }
    let mut writer = authority
        .write(now)
        .map_err(|error| tell("nothing was signed", &error))?;
    let mut all = Vec::with_capacity(files.len());
    for (number, batch) in files.chunks(BATCH).enumerate() {
        if files.len() > BATCH {
            progress.step(&format!("signing: {} of {}", number * BATCH, files.len()));
        }
        let mut done: Vec<(Done, Option<usize>)> = Vec::with_capacity(batch.len());
        let mut signed = Vec::with_capacity(batch.len());
        for path in batch {
            let der = match only.take() {
                Some(der) => Ok(der),
                None => read_file(path),
            };
            let one = der.and_then(|der| sign_one(&signing, request, path, &der));
            done.push(match one {
                Ok(One::Present(found)) => (*found, None),
                Ok(One::Signed(one)) => {
                    signed.push(one);
                    (
                        Done::of(&signed[signed.len() - 1], Action::Signed),
                        Some(signed.len() - 1),
                    )
                }
                Err(trouble) => (Done::failed(refused(path, trouble)), None),
            });
        }
        // On disk before anybody is given one.
        if !signed.is_empty() {
            writer.record(&signed, now).map_err(|error| failed(&error))?;
        }
        for ((mut done, index), path) in done.into_iter().zip(batch) {
            done.request = Some(path.clone());
            if let Some(one) = index.and_then(|index| signed.get(index)) {
                hand_out(&mut done, &signing, request, path, &one.pem);
            }
            all.push(done);
        }
    }
    drop(writer);
    if let Some(directory) = &request.out_dir {
        files::sync_file_system(directory).map_err(|error| failed(&error.into()))?;
    }
    progress.clear();
    Ok(Signed::of(authority, all, signing.notes()))
}

/// Writes a certificate where it was asked for. It is in the index: what cannot be written is not lost.
fn hand_out(done: &mut Done, signing: &Signing<'_>, request: &Request, path: &Path, pem: &str) {
    let chain = format!("{pem}{}", signing.intermediates());
    let Some(directory) = &request.out_dir else {
        done.certificate = Some(chain);
        return;
    };
    let file = out_file(directory, path);
    match files::write_new_unsynced(&file, chain.as_bytes(), Access::PUBLIC) {
        Ok(()) => done.file = Some(file),
        Err(error) => {
            let serial = done.serial.map(|serial| serial.to_string()).unwrap_or_default();
            let message = format!(
                "the certificate for {} was signed, but could not be written",
                path.display()
            );
            done.error = Some(
                Error::failed(message)
                    .cause(error)
                    .remedy(format!("`mailcert ca show {serial}` prints it")),
            );
        }
    }
}

/// What became of a request.
enum One {
    Present(Box<Done>),
    Signed(writer::Signed),
}

/// Why a request was not signed.
enum Trouble {
    File(files::FileError),
    Other(Error),
    Request(RequestError),
    Taken(PathBuf),
}

fn sign_one(signing: &Signing<'_>, request: &Request, path: &Path, der: &[u8]) -> Result<One, Trouble> {
    let (spki, names) = names_of(der, request).map_err(Trouble::Request)?;
    request::judge(&names, &signing.authority.settings.constraints).map_err(Trouble::Request)?;
    if let Some(directory) = &request.out_dir {
        let file = out_file(directory, path);
        if file.symlink_metadata().is_ok() {
            return match present(signing, &file, &spki, &names) {
                Some(done) => Ok(One::Present(Box::new(done))),
                None => Err(Trouble::Taken(file)),
            };
        }
    }
    signing
        .sign(&spki, &names)
        .map(One::Signed)
        .map_err(Trouble::Other)
}

/// Returns what an earlier run left for the same key and the same names.
fn present(signing: &Signing<'_>, file: &Path, spki: &[u8], names: &[AltName]) -> Option<Done> {
    let pem = files::read(file, BUNDLE_LIMIT as u64).ok()?;
    let certificates = certificates_from_pem(&pem).ok()?;
    let certificate = certificates.first()?;
    let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
    let mut found: Vec<String> = certificate.dns_names.iter().cloned().chain(addresses).collect();
    let mut wanted: Vec<String> = names.iter().map(ToString::to_string).collect();
    found.sort();
    wanted.sort();
    let is_same = certificate.matches_key(spki)
        && found == wanted
        && certificate.may_be_issued_by(signing.authority.signing_certificate())
        && certificate.not_after > signing.validity.not_before;
    is_same.then(|| Done {
        action: Action::Present,
        request: None,
        serial: certificate.serial_hex().parse().ok(),
        names: found,
        not_after: Some(certificate.not_after),
        file: Some(file.to_owned()),
        key_file: None,
        certificate: None,
        error: None,
    })
}

/// Returns the verified key of a request, and the names it is to have.
fn names_of(der: &[u8], request: &Request) -> Result<(Vec<u8>, Vec<AltName>), RequestError> {
    if request.names.is_empty() {
        let verified = request::read(der)?;
        return Ok((verified.spki, verified.names));
    }
    Ok((request::read_key(der)?, request.names.clone()))
}

fn refused(path: &Path, trouble: Trouble) -> Error {
    let refused = Error::failed(format!("{} was not signed", path.display()));
    match trouble {
        Trouble::File(error) => {
            let remedy = super::super::remedy_of(&error);
            let remedy = remedy.unwrap_or_else(|| "name a file that holds a request, PEM or DER".to_owned());
            refused.cause(error).remedy(remedy)
        }
        Trouble::Other(error) => refused.cause(error),
        Trouble::Taken(file) => refused
            .cause(format!("{} exists, and is not its certificate", file.display()))
            .remedy("move it away, or choose another --out-dir"),
        Trouble::Request(error) => {
            let remedy = match &error {
                RequestError::CommonNameOnly(_) | RequestError::NoName => {
                    "ask for a request with subjectAltName, or give the names yourself: `--san NAME`, which may be repeated"
                }
                RequestError::Name(_) | RequestError::NotPermitted(..) => {
                    "ask for a request with other names, or give the names yourself: `--san NAME`"
                }
                RequestError::TooManyNames(_) => "ask for several requests with fewer names",
                RequestError::Algorithm | RequestError::Key | RequestError::WeakKey(_) => {
                    "ask for a request with an ECDSA P-256 key; `mailcert csr` makes one"
                }
                RequestError::NotOne(_) | RequestError::Signature | RequestError::TooLarge(_) => {
                    "ask whoever made it to send it again"
                }
            };
            refused.cause(&error).remedy(remedy)
        }
    }
}

/// Returns where a request's certificate goes: NAME.pem for NAME.csr, and for the csr_NAME.pem that `mailcert csr` writes.
fn out_file(directory: &Path, request: &Path) -> PathBuf {
    let stem = request.file_stem().unwrap_or_default().to_string_lossy();
    let stem = match stem.as_ref() {
        "-" => "certificate",
        stem => stem.strip_prefix("csr_").unwrap_or(stem),
    };
    directory.join(format!("{stem}.pem"))
}

fn read(env: &mut Env, path: &Path) -> Result<Vec<u8>, Trouble> {
    use std::io::Read as _;
    if path != Path::new("-") {
        return read_file(path);
    }
    let mut bytes = Vec::new();
    (&mut env.streams.stdin)
        .take(LARGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Trouble::Other(Error::failed("standard input could not be read").cause(error)))?;
    request::to_der(bytes).map_err(Trouble::Request)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Trouble> {
    let bytes = files::read(path, LARGEST as u64).map_err(Trouble::File)?;
    request::to_der(bytes).map_err(Trouble::Request)
}

/// Returns the files, with those of directories in the order of their names.
fn files_of(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        for name in files::list(path) {
            let path = path.join(&name);
            let ending = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .to_ascii_lowercase();
            let is_ours = name.starts_with("csr_") && ending == "pem";
            if ENDINGS.contains(&ending.as_str()) || is_ours {
                files.push(path);
            }
        }
        if files.len() == before {
            return Err(Error::usage("nothing was signed")
                .cause(format!("there is no request in {}", path.display()))
                .remedy(format!(
                    "name the files, or let their names end in .{}",
                    ENDINGS.join(", .")
                )));
        }
    }
    Ok(files)
}
