//! This host's own trust store: the private CA's root put in, and taken out again. What the system makes of it is looked at: the
//! root has to be in its bundle then, or not in it.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;

use crate::{
    ca::export::trust_stores::{DEBIAN_ANCHORS, RED_HAT_ANCHORS, SUSE_ANCHORS},
    env::{
        Env,
        files::{self, Access},
        process::Program,
    },
    error::{Error, Result},
    model::certificate::Certificate,
    postfix::desired::SYSTEM_BUNDLES,
};

/// How long a system may take to make its bundle.
const PATIENCE: Duration = Duration::from_secs(120);
/// No bundle of roots is larger, in bytes.
const LIMIT: u64 = 4 << 20;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Done {
    /// The file that the system takes the root from.
    pub file: PathBuf,
    /// The bundle that programs of this host read.
    pub bundle: PathBuf,
    /// Whether the root is in it now.
    pub trusted: bool,
    /// Whether anything was changed.
    pub changed: bool,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.trusted, self.changed) {
            (true, true) => "now trusts the root",
            (true, false) => "trusts the root already",
            (false, true) => "trusts the root no more",
            (false, false) => "does not trust the root",
        };
        writeln!(
            f,
            "this host {what}: {} ({})",
            self.bundle.display(),
            self.file.display()
        )
    }
}

/// A system's way to keep an operator's roots.
struct Store<'a> {
    env: &'a Env,
    anchors: PathBuf,
    ending: &'static str,
    program: PathBuf,
    kind: Kind,
    bundle: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Debian,
    RedHat,
    Suse,
}

/// Puts the roots in.
///
/// # Errors
/// When the system has no trust store that is known here, or its bundle does not have them afterwards; the file is taken away
/// again then.
pub fn install(env: &Env, stem: &str, roots: &[Certificate]) -> Result<Done> {
    let store = Store::find(env)?;
    let file = store.file(stem);
    let pem: String = roots.iter().map(Certificate::to_pem).collect();
    let failed = |error| Error::failed("the root could not be put into this host's trust store").cause(error);
    let is_there = files::read_if_exists(&file, LIMIT).map_err(failed)? == Some(pem.clone().into_bytes());
    if is_there && store.trusts(roots)? {
        return Ok(store.done(file, true, false));
    }
    files::make_directory(&store.anchors, 0o755).map_err(failed)?;
    files::write_atomic(&file, pem.as_bytes(), Access::PUBLIC).map_err(failed)?;
    let judged = store.update().and_then(|said| match store.trusts(roots)? {
        true => Ok(()),
        false => Err(Error::failed(format!(
            "the root was given to this host's trust store, but is not in {}",
            store.bundle.display()
        ))
        .cause(said)),
    });
    if let Err(error) = judged {
        let back = files::remove(&file).is_ok() && store.update().is_ok();
        return Err(match back {
            true => error.cause("it was taken away again"),
            false => error.remedy(format!("take {} away", file.display())),
        });
    }
    Ok(store.done(file, true, true))
}

/// Takes the roots out.
///
/// # Errors
/// When the system has no trust store that is known here, or its bundle still has them.
pub fn remove(env: &Env, stem: &str, roots: &[Certificate]) -> Result<Done> {
    let store = Store::find(env)?;
    let file = store.file(stem);
    let failed =
        |error| Error::failed("the root could not be taken out of this host's trust store").cause(error);
    if files::read_if_exists(&file, LIMIT).map_err(failed)?.is_none() {
        let trusted = store.trusts(roots)?;
        let done = store.done(file, trusted, false);
        return match trusted {
            false => Ok(done),
            true => Err(Error::failed(format!(
                "{} has the root, but not by {}",
                done.bundle.display(),
                done.file.display()
            ))
            .remedy("somebody else has put it in, and knows how")),
        };
    }
    files::remove(&file).map_err(failed)?;
    let said = store.update()?;
    if store.trusts(roots)? {
        return Err(Error::failed(format!("the root is still in {}", store.bundle.display())).cause(said));
    }
    Ok(store.done(file, false, true))
}

impl<'a> Store<'a> {
    /// Finds out which way this system has.
    fn find(env: &'a Env) -> Result<Self> {
        let is_there = |path: &str| env.host_path(path).is_dir();
        let (kind, anchors, program, ending) = if is_there(RED_HAT_ANCHORS) {
            (Kind::RedHat, RED_HAT_ANCHORS, "update-ca-trust", "pem")
        } else if is_there(SUSE_ANCHORS) {
            (Kind::Suse, SUSE_ANCHORS, "update-ca-certificates", "pem")
        } else {
            (Kind::Debian, DEBIAN_ANCHORS, "update-ca-certificates", "crt")
        };
        let unknown = |what: String| {
            Error::failed("this host has no trust store that is known here; nothing was done")
                .cause(what)
                .remedy("`mailcert ca export --form lines` tells what other systems want")
        };
        let program = env
            .find_program(program)
            .ok_or_else(|| unknown(format!("`{program}` is not installed")))?;
        let bundle = SYSTEM_BUNDLES
            .iter()
            .map(|path| env.host_path(path))
            .find(|path| path.exists())
            .ok_or_else(|| unknown(format!("there is none of {}", SYSTEM_BUNDLES.join(", "))))?;
        Ok(Self {
            env,
            anchors: env.host_path(anchors),
            ending,
            program,
            kind,
            bundle,
        })
    }

    fn file(&self, stem: &str) -> PathBuf {
        self.anchors.join(format!("{stem}.{}", self.ending))
    }

    fn done(self, file: PathBuf, trusted: bool, changed: bool) -> Done {
        Done {
            file,
            bundle: self.bundle,
            trusted,
            changed,
        }
    }

    /// Returns whether every root is in the bundle.
    fn trusts(&self, roots: &[Certificate]) -> Result<bool> {
        let failed = |error| Error::failed("this host's trusted roots cannot be read").cause(error);
        let bytes = files::read(&self.bundle, LIMIT).map_err(failed)?;
        let known: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&bytes)
            .filter_map(std::result::Result::ok)
            .collect();
        Ok(roots
            .iter()
            .all(|root| known.iter().any(|der| der.as_ref() == root.der)))
    }

    /// Has the system make its bundle anew; returns what it said.
    fn update(&self) -> Result<String> {
        let path = |path: &str| self.env.host_path(path);
        let mut program = Program::new(&self.program).timeout(PATIENCE);
        if self.kind == Kind::RedHat {
            program = program.arg("extract");
        }
        // Debian's script can be told of another root; others work on this one.
        if self.env.root != Path::new("/") && self.kind == Kind::Debian {
            let places = [
                ("--certsconf", "/etc/ca-certificates.conf"),
                ("--certsdir", "/usr/share/ca-certificates"),
                ("--localcertsdir", DEBIAN_ANCHORS),
                ("--etccertsdir", "/etc/ssl/certs"),
                ("--hooksdir", "/etc/ca-certificates/update.d"),
            ];
            for (option, place) in places {
                program = program.arg(option).arg(path(place));
            }
        }
        let failed = || Error::failed(format!("{} did not do its work", self.program.display()));
        let output = program.run().map_err(|error| failed().cause(error))?;
        match output.success() {
            true => Ok(output.stdout_text().trim().to_owned()),
            false => Err(failed().cause(output.complaint())),
        }
    }
}
