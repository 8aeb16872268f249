//! Secrets that the operator keeps in a file, a variable or a systemd credential, or hands over by a descriptor. Their text is
//! never in an error.

use std::{fs::File, io::Read, path::Path};

use super::{Env, files};

/// No such file is larger, in bytes.
const LIMIT: u64 = 4096;

/// Keeps this process's memory, which holds keys, out of core dumps, and away from debuggers of whoever is not root
/// (`prctl(2)`, `PR_SET_DUMPABLE`). Programs that we start are as they were: the kernel forgets it when they begin.
pub fn keep_out_of_core_dumps() {
    // A kernel that refuses has no core dumps to keep it out of.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Where a secret is kept.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A file of this name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5), LoadCredential).
    Credential(&'a str),
    /// A descriptor that the caller opened for us, by its number.
    Descriptor(u32),
    /// A variable.
    Env(&'a str),
    /// A file, owned by root or the running user and not writable by others.
    File(&'a Path),
}

/// The text of a secret, and how to name in a message where it was read.
pub struct Secret {
    /// The text, as it was found.
    pub text: String,
    /// `$NAME`, or the file.
    pub place: String,
}

/// Why a secret could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The machine could not read it just now.
    Machine(String),
    /// It is not there, or may not be used: somebody else could have written it.
    Place(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine(reason) | Self::Place(reason) => f.write_str(reason),
        }
    }
}

/// Reads a secret.
///
/// # Errors
/// [`Unreadable`] with the reason.
pub fn read(env: &Env, place: Place<'_>) -> Result<Secret, Unreadable> {
    match place {
        Place::Credential(name) => {
            let directory = env.var("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                Unreadable::Place(format!(
                    "no credential `{name}`: $CREDENTIALS_DIRECTORY is not set (systemd.exec(5), LoadCredential)"
                ))
            })?;
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                return Err(Unreadable::Place(format!("`{name}` is not a credential's name")));
            }
            read_file(&Path::new(directory).join(name))
        }
        Place::Descriptor(number) => read_descriptor(number),
        Place::Env(name) => match env.var(name) {
            Some(text) => Ok(Secret {
                text: text.to_owned(),
                place: format!("${name}"),
            }),
            None => Err(Unreadable::Place(format!("${name} is not set"))),
        },
        Place::File(path) => read_file(path),
    }
}

/// Reads what the caller handed over: who could give us a descriptor is trusted with what is in it.
fn read_descriptor(number: u32) -> Result<Secret, Unreadable> {
    let place = format!("descriptor {number}");
    let unread = |error| Unreadable::Place(format!("{place} cannot be read: {error}"));
    let file = File::open(format!("/dev/fd/{number}")).map_err(unread)?;
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Unreadable::Place(format!(
            "{place} holds more than {LIMIT} bytes"
        )));
    }
    Ok(Secret {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        place,
    })
}

fn read_file(path: &Path) -> Result<Secret, Unreadable> {
    let bytes = files::read_trusted(path, LIMIT).map_err(|error| match error.is_of_the_machine() {
        true => Unreadable::Machine(error.to_string()),
        false => Unreadable::Place(error.to_string()),
    })?;
    Ok(Secret {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        place: path.display().to_string(),
    })
}
