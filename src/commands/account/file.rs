//! The account files: one for each CA, with its key; and those of accounts that were deactivated.

use serde::{Deserialize, Serialize};

use crate::{
    acme::account::AccountRecord,
    commands::{Context, hex, store_error},
    error::{Error, Result},
    model::authority,
};

/// The format of a file without a change of keys under way; a program that knows no such change may write it back.
const FORMAT: u32 = 1;
/// The format of a file with two keys: an older program, which would lose one of them, leaves it alone.
const FORMAT_WITH_TWO_KEYS: u32 = 2;

/// The account file: every file on disk carries its format's version.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    #[serde(flatten)]
    account: AccountRecord,
}

/// Reads the account at a CA; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is damaged, or is from a newer program.
pub fn load(context: &Context<'_>, directory: &str) -> Result<Option<AccountRecord>> {
    let key = name(directory);
    let path = context.store.layout().account(&key);
    let bytes = context
        .store
        .load_account(&key)
        .map_err(|error| store_error("the account could not be read", &error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|error| {
        Error::failed(format!("{} cannot be understood", path.display()))
            .cause(error)
            .remedy("restore it from a backup, or move it away to register a new account")
    })?;
    if envelope.version > FORMAT_WITH_TWO_KEYS {
        return Err(Error::failed(format!(
            "{} was written by a newer mailcert",
            path.display()
        )));
    }
    Ok(Some(envelope.account))
}

/// Saves an account so that it survives a power cut.
///
/// # Errors
/// When it cannot be written; the file that was there stays then.
pub fn save(context: &Context<'_>, record: &AccountRecord) -> Result<()> {
    let failed = |error: serde_json::Error| Error::failed("the account could not be saved").cause(error);
    let envelope = Envelope {
        version: if record.has_proposed_key() {
            FORMAT_WITH_TWO_KEYS
        } else {
            FORMAT
        },
        account: record.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&envelope).map_err(failed)?;
    context
        .store
        .save_account(&name(&record.directory), &bytes)
        .map_err(|error| store_error("the account could not be saved", &error))
}

/// Puts the file of an account that was deactivated aside, and returns where it is now.
///
/// # Errors
/// When it cannot be renamed.
pub fn retire(context: &Context<'_>, directory: &str) -> Result<std::path::PathBuf> {
    context
        .store
        .retire_account(&name(directory))
        .map_err(|error| store_error("the account's file could not be put aside", &error))
}

/// Returns whether an account at a CA was deactivated here, and no new one was made since.
pub fn is_retired(context: &Context<'_>, directory: &str) -> bool {
    let (layout, key) = (context.store.layout(), name(directory));
    !layout.account(&key).exists() && layout.retired_account(&key, 1).exists()
}

/// Returns the path of a CA's account file.
pub fn path(context: &Context<'_>, directory: &str) -> std::path::PathBuf {
    context.store.layout().account(&name(directory))
}

/// Returns the name of a CA's account file: the short name of a known CA, else made from the URL, with a digest so that
/// two URLs never share a file.
pub fn name(directory: &str) -> String {
    if let Some(known) = authority::by_directory(directory) {
        return known.name.to_owned();
    }
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    let safe = |character: char| {
        if character.is_ascii_alphanumeric() || "-.".contains(character) {
            character
        } else {
            '_'
        }
    };
    let readable: String = rest.chars().take(60).map(safe).collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, directory.as_bytes());
    let tail: String = hex(digest.as_ref()).chars().take(8).collect();
    format!("{}-{tail}", readable.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_files_have_safe_and_different_names() {
        assert_eq!(
            name("https://acme-v02.api.letsencrypt.org/directory"),
            "letsencrypt"
        );
        let one = name("https://ca.example:14000/../dir");
        assert!(
            one.starts_with("ca.example_14000_.._dir-") && !one.contains('/'),
            "{one}"
        );
        assert_ne!(name("https://ca.example/a/b"), name("https://ca.example/a_b"));
        assert!(!name("https://../../x").starts_with('.'));
    }
}
