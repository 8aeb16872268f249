//! Key and request as files that the operator wants in hand.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    env::files,
    error::{Error, Result},
    model::{
        key::{
            PrivateKey,
            encrypted::{self, Passphrase},
        },
        request,
    },
    store::{layout, requests},
};

/// Where files go that the operator wants in hand.
pub struct Out {
    /// The directory; made when it is missing.
    pub directory: PathBuf,
    /// The middle of their names.
    pub basename: String,
}

/// Returns the names of the files, as the guide of 2013 has them.
fn names(out: &Out, passphrase: Option<&Passphrase>) -> Vec<String> {
    let base = &out.basename;
    let mut names = vec![format!("{base}.key")];
    if passphrase.is_some() {
        names.push(format!("nopass_{base}.key"));
    }
    names.push(format!("csr_{base}.pem"));
    names
}

/// Refuses before a key is made what would be refused after.
///
/// # Errors
/// Exit 2 for a base name that is none; exit 1 when a file exists, or the directory is not to be trusted.
pub fn refuse_existing(out: &Out, passphrase: Option<&Passphrase>) -> Result<()> {
    let base = &out.basename;
    if base.is_empty() || base.starts_with('.') || base.contains(['/', '\0']) || base.len() > 200 {
        return Err(Error::usage(format!(
            "--basename `{}` cannot be part of a file's name",
            base.escape_debug()
        ))
        .remedy("take letters, digits, hyphens and dots, such as mail-server"));
    }
    files::judge_named_directory(&out.directory)
        .map_err(|error| Error::failed("no request was made").cause(error))?;
    let there = names(out, passphrase)
        .into_iter()
        .map(|name| out.directory.join(name))
        .find(|path| fs::symlink_metadata(path).is_ok());
    match there {
        Some(path) => Err(exists(&path)),
        None => Ok(()),
    }
}

fn exists(path: &Path) -> Error {
    Error::failed("no request was made: nothing is written over")
        .cause(format!("{} exists", path.display()))
        .remedy("move it away, or choose another --out-dir or --basename")
}

/// Writes the files that the operator wants in hand.
///
/// # Errors
/// When one is there, or cannot be written.
pub fn write_out(
    out: &Out,
    key: &PrivateKey,
    passphrase: Option<&Passphrase>,
    der: &[u8],
) -> Result<Vec<PathBuf>> {
    let failed = |error: &files::FileError| match error.reason.kind() {
        ErrorKind::AlreadyExists => exists(&error.path),
        _ => Error::failed("the key and its request could not be written").cause(error),
    };
    let mut texts = Vec::new();
    if let Some(passphrase) = passphrase {
        texts.push(
            encrypted::encrypt(key, passphrase)
                .map_err(|error| Error::failed("the key could not be encrypted").cause(error))?,
        );
    }
    texts.push(key.to_pem());
    texts.push(request::to_pem(der));
    let texts = texts.into_iter().map(Zeroizing::new);
    let wanted: Vec<(String, Zeroizing<String>)> = names(out, passphrase).into_iter().zip(texts).collect();
    files::make_named_directory(&out.directory, layout::PRIVATE).map_err(|error| failed(&error))?;
    requests::write_out(&out.directory, &wanted).map_err(|error| failed(&error))?;
    Ok(wanted.iter().map(|(name, _)| out.directory.join(name)).collect())
}
