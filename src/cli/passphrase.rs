//! The options that say where a passphrase comes from, the same for every command that wants one.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    commands::passphrase,
    env::{Env, secret::Place},
    error::Result,
    model::key::encrypted::Passphrase,
};

/// Where a passphrase comes from; at most one of them.
#[derive(Debug, Default, Args)]
#[group(id = "passphrase-place", multiple = false)]
pub struct PassphraseOptions {
    /// The file whose first line is the passphrase; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The open descriptor that the passphrase is read from
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<u32>,
    /// The systemd credential that is the passphrase (LoadCredential=, LoadCredentialEncrypted=)
    #[arg(long, value_name = "NAME")]
    pub passphrase_credential: Option<String>,
}

impl PassphraseOptions {
    /// Returns where the passphrase is, when an option says so.
    pub fn place(&self) -> Option<Place<'_>> {
        let file = self.passphrase_file.as_deref().map(place_of);
        let descriptor = self.passphrase_fd.map(Place::Descriptor);
        let credential = self.passphrase_credential.as_deref().map(Place::Credential);
        file.or(descriptor).or(credential)
    }

    /// Reads the passphrase, when an option says where it is. `what`: what it is for.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn read(&self, env: &Env, what: &str) -> Result<Option<Passphrase>> {
        self.place()
            .map(|place| passphrase::read(env, what, place))
            .transpose()
    }
}

/// Returns a file's place; what a shell hands over by `<(command)` is a descriptor.
pub fn place_of(path: &Path) -> Place<'_> {
    let text = path.to_str().unwrap_or_default();
    let number = match text {
        "-" | "/dev/stdin" => Some(0),
        _ => text
            .strip_prefix("/dev/fd/")
            .or_else(|| text.strip_prefix("/proc/self/fd/"))
            .and_then(|number| number.parse().ok()),
    };
    number.map_or(Place::File(path), Place::Descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_by_its_path_is_a_descriptor() {
        let check = |path: &str, number: Option<u32>| {
            let found = match place_of(Path::new(path)) {
                Place::Descriptor(found) => Some(found),
                _ => None,
            };
            assert_eq!(found, number, "{path}");
        };
        check("-", Some(0));
        check("/dev/fd/63", Some(63));
        check("/dev/fd/x", None);
        check("/root/pass", None);
    }
}
