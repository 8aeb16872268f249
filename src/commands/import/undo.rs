//! `undo` of an import: what came from the other client goes, and its account gets the key back that it has.

use crate::{
    acme::{
        AcmeError,
        account::{
            AccountRecord,
            rollover::{self as keys},
        },
    },
    commands::{
        Context,
        account::{self, file},
        ca, hex, store_error,
    },
    env::files,
    error::{Error, Result},
    store::{
        import::{self as foreign, Client},
        journal::{Import, ImportedAccount},
    },
};

/// No file with secrets is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// Gives the account back and takes the imported files away; what is in use by now stays, and is told.
///
/// # Errors
/// When the CA does not take the old account key back: then nothing is taken away, and the account stays ours.
pub fn take_back(context: &Context<'_>, import: &Import, is_forced: bool) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    if let Some(imported) = &import.account {
        give_back(context, import, imported, is_forced, &mut notes)?;
    }
    for (name, number) in &import.lineages {
        let lineage = context.load(name)?;
        let is_untouched = lineage.newest == *number
            && lineage.generations.len() == 1
            && lineage.order.is_none()
            && context.store.live_points_at(name).is_none();
        if is_untouched {
            context
                .store
                .remove_lineage(name)
                .map_err(|error| store_error(format!("lineage {name} could not be taken away"), &error))?;
        } else if lineage.newest > 0 {
            notes.push(format!(
                "{} stays: it has been in use",
                context.store.layout().lineage(name).display()
            ));
        }
    }
    for (path, sha256) in &import.made {
        let failed = |error| Error::failed("the import was not taken back whole").cause(error);
        let Some(bytes) = files::read_if_exists(path, LIMIT).map_err(failed)? else {
            continue;
        };
        if hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref()) == *sha256 {
            files::remove(path).map_err(failed)?;
        } else {
            notes.push(format!("{} stays: it was changed since", path.display()));
        }
    }
    notes.push(format!(
        "switch {} on again: it has its own files in {}, as they were",
        import.client,
        import.place.display()
    ));
    Ok(notes)
}

/// Has the CA take the other client's key again, where it has another by now, and forgets the account.
fn give_back(
    context: &Context<'_>,
    import: &Import,
    imported: &ImportedAccount,
    is_forced: bool,
    notes: &mut Vec<String>,
) -> Result<()> {
    let Some(record) = file::load(context, &imported.directory)? else {
        return Ok(());
    };
    let damaged = |error: AcmeError| Error::failed("the account's key cannot be used").cause(error);
    let is_theirs = |record: &AccountRecord| {
        let thumbprint = record.thumbprint().map_err(damaged);
        thumbprint.map(|thumbprint| thumbprint == imported.thumbprint)
    };
    if record.has_proposed_key() || !is_theirs(&record)? {
        let changed = their_key(import, imported).and_then(|key| change_back(context, imported, record, key));
        match changed {
            Ok(()) => {}
            Err(error) if is_forced => {
                notes.push(format!(
                    "the account stays mailcert's, in {}: {}",
                    file::path(context, &imported.directory).display(),
                    error.message
                ));
                return Ok(());
            }
            Err(error) => {
                return Err(error.remedy(
                    "`mailcert undo --force` takes the rest back, and keeps the account; the other client then needs a new one",
                ));
            }
        }
    }
    context
        .store
        .remove_account(&file::name(&imported.directory))
        .map_err(|error| store_error("the account could not be taken away", &error))
}

/// Reads the key that the other client has.
fn their_key(import: &Import, imported: &ImportedAccount) -> Result<Vec<u8>> {
    let lost = || {
        Error::failed(format!(
            "the import was not taken back: {} has its account key no longer",
            import.client
        ))
    };
    let client = Client::by_name(&import.client).ok_or_else(lost)?;
    let (tree, found) = foreign::gather(client, &import.place).map_err(|error| lost().cause(error))?;
    let account = found
        .accounts
        .iter()
        .find(|account| account.id == imported.id && account.server.is(&imported.directory));
    let account = account.ok_or_else(lost)?;
    let key = account.read_key(&tree).map_err(|reason| lost().cause(reason))?;
    Ok(key.to_pkcs8_der())
}

fn change_back(
    context: &Context<'_>,
    imported: &ImportedAccount,
    mut record: AccountRecord,
    key: Vec<u8>,
) -> Result<()> {
    let configured = ca::configured(context)?;
    let acme = match configured.directory == imported.directory {
        true => configured.clone(),
        false => configured.at(&imported.directory),
    };
    let changed = context.wait(async {
        let (http, directory) = ca::reach(context, &acme).await?;
        let settled = keys::settle(&http, &directory, &mut record).await;
        settled.map_err(|error| ca::unusable(context, &acme, &error))?;
        let theirs = record.thumbprint();
        if theirs.is_ok_and(|theirs| theirs == imported.thumbprint) {
            return Ok(());
        }
        account::change(
            context,
            &acme,
            &http,
            &directory,
            &mut record,
            account::Next::This(key),
        )
        .await
    });
    context.progress.clear();
    changed?
}
