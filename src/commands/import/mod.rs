//! `import`: takes over what another client keeps: lineages, account, hooks. Its own files are only read.
//!
//! The certificate in use and its key become the first generation; `apply` puts it into service, and the next renewal is ours,
//! by the same account. `undo` takes all of it back.

mod choose;
mod proof;
mod retiring;
mod undo;

use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    CONFIG_LIMIT, Context, account::file, init, install, order, outcome::Changes, parse_config, store_error,
};
use crate::{
    acme::account::AccountRecord,
    config::{
        Config, Issuer,
        hook::Command,
        template::{self, adopt},
    },
    env::{
        Env,
        files::{self, Access},
        progress::Progress,
    },
    error::{Error, ExitCode, Result},
    model::{
        authority,
        lineage::{Lineage, State},
        name::Identifier,
        plan::{Change, FileChange, Plan},
    },
    store::{
        import::{self as foreign, Found, certbot, tree::Tree},
        journal::{Import, ImportedAccount, Status},
    },
};
use choose::Good;
use proof::Secret;

pub use crate::store::import::Client;
pub use undo::take_back;

/// What is to be taken over.
#[derive(Debug)]
pub struct Request {
    /// The client.
    pub client: Client,
    /// Its directory; `None`: where it usually is.
    pub place: Option<PathBuf>,
    /// The lineages; empty: all.
    pub lineages: Vec<String>,
    /// What a new configuration needs besides, and what is not on record there.
    pub answers: init::Request,
}

/// What is taken over.
#[derive(Debug, Serialize)]
pub struct Adoption {
    /// The client.
    pub client: &'static str,
    /// Its directory.
    pub from: PathBuf,
    /// Its lineages.
    pub adopted: Vec<Adopted>,
    /// Its account.
    pub account: Option<Account>,
    /// The configuration, and what the operator should know.
    #[serde(flatten)]
    pub changes: Changes,
}

/// A lineage that is taken over.
#[derive(Debug, Serialize)]
pub struct Adopted {
    /// Its name.
    pub name: String,
    /// Its names.
    pub identifiers: Vec<Identifier>,
    /// The kind of its key.
    pub key: &'static str,
    /// The end of its certificate.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

/// An account that is taken over.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// The CA's directory.
    pub directory: String,
    /// Its URL; `None`: the CA is asked for it.
    pub url: Option<String>,
    /// The kind of its key.
    pub key: &'static str,
    /// Whether the CA is asked to take another key before the first order.
    pub changes_key: bool,
}

/// Everything that `import` would do.
#[derive(Debug, Serialize)]
pub struct Prepared {
    /// What is shown before anything is done.
    #[serde(flatten)]
    pub adoption: Adoption,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    file: FileChange,
    #[serde(skip)]
    config: Config,
    #[serde(skip)]
    good: Vec<GoodLineage>,
    #[serde(skip)]
    account: Option<(AccountRecord, ImportedAccount)>,
    /// Of the lineages, those that the configuration has from this client already, by `install`.
    #[serde(skip)]
    converted: Vec<String>,
    #[serde(skip)]
    made: Option<Secret>,
}

/// A lineage as it is put on disk.
#[derive(Debug)]
struct GoodLineage(
    String,
    crate::model::certificate::Chain,
    crate::model::key::PrivateKey,
);

/// Reads the other client's directory and makes the plan; changes nothing, and asks no network.
///
/// # Errors
/// When the directory cannot be read or believed, or any lineage that is meant cannot be taken over: then nothing is.
pub fn prepare(
    env: &Env,
    path: &Path,
    request: &Request,
    ask: Option<&mut (dyn init::Ask + 'static)>,
) -> Result<Prepared> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let place = place(env, request)?;
    let shown = place.display().to_string();
    let (tree, found) = foreign::gather(request.client, &place).map_err(|error| {
        Error::failed(format!("nothing was taken over from {}", request.client.name())).cause(error)
    })?;
    let mut existing = existing(&path)?;
    if let Some((text, config)) = &mut existing
        && config.acme.is_none()
    {
        // Where nothing comes by ACME yet, `[acme]` may stand there all the same.
        config.acme = adopt::written_acme(&path, text);
    }
    let config = existing.as_ref().map(|(_, config)| config);
    let selected = choose::select(request.client, &shown, &found, &request.lineages)?;
    let mut refusals = Refusals::new(request, &place);
    let mut good = Vec::new();
    for lineage in &selected {
        match choose::read(&tree, lineage, env.clock.now()) {
            Ok(one) if is_ours(config, &lineage.name) => {
                refusals.add(
                    &one.foreign.name,
                    "mailcert.toml has a certificate of this name already: take it out there first, if this one is to be kept",
                );
            }
            Ok(one) => good.push(one),
            Err(reason) => refusals.add(&lineage.name, &reason),
        }
    }
    if good.is_empty() {
        return Err(refusals.told(&[]));
    }
    let directory = choose::directory(request.answers.directory.as_deref(), config, &good)?;
    good.retain(|one| match choose::refuse_server(one, &directory) {
        Some(reason) => {
            refusals.add(&one.foreign.name, &reason);
            false
        }
        None => true,
    });
    refusals.into_result(&good)?;
    let account = account(&tree, &found, &good, &directory)?;
    let base = match &existing {
        Some((text, _)) => text.clone(),
        None => new_file(env, request, ask)?,
    };
    let beside = path.parent().unwrap_or(Path::new("/")).to_owned();
    let (additions, made) = additions(
        request,
        &found,
        &good,
        config,
        &directory,
        account.is_some(),
        &beside,
    )?;
    let text = adopt::adopt(&path, &base, &additions).map_err(|error| {
        Error::usage(format!(
            "nothing was taken over: {} cannot be changed",
            path.display()
        ))
        .cause(error)
    })?;
    let new = parse_config(&path, text.as_bytes())?;
    if let Some(acme) = new.acme.as_ref().filter(|acme| acme.directory != directory) {
        return Err(Error::usage(format!(
            "nothing was taken over: acme.directory is {}, and the certificates are of {directory}",
            acme.directory
        ))
        .remedy("change acme.directory first, or take over those of that CA"));
    }
    let context = Context::with(env, &path, new, Progress::quiet());
    let mut refusals = Refusals::new(request, &place);
    for one in &good {
        let name = &one.foreign.name;
        let judged = install::judge(
            &context,
            context.certificate(name)?,
            &one.chain,
            &one.key.public_key_der(),
        );
        if let Err(reason) = judged.and_then(|()| refuse_newer(&context, one)) {
            refusals.add(name, &reason);
        }
    }
    refusals.into_result(&good)?;
    if let Some(made) = &made {
        check_made(made)?;
    }
    let names = good.iter().map(|one| &one.foreign.name);
    let converted: Vec<String> = names
        .filter(|name| config.is_some_and(|config| config.certificate(name).is_some()))
        .cloned()
        .collect();
    let mut notes = notes(env, request, &found, &good, config.is_some());
    notes.extend(converted.iter().map(|name| {
        format!(
            "{name} came from {} by `mailcert install` until now; mailcert renews it from now on",
            request.client.name()
        )
    }));
    let account = keep_own_account(&context, account, &directory, &mut notes)?;
    let file = FileChange {
        path: path.clone(),
        before: existing.map(|(text, _)| text.into_bytes()),
        after: Some(text.into_bytes()),
        reasons: vec![format!(
            "what {} did, from now on by mailcert",
            request.client.name()
        )],
    };
    let adoption = Adoption {
        client: request.client.name(),
        from: place,
        adopted: good.iter().map(describe).collect(),
        account: account.as_ref().map(|(shown, ..)| shown.clone()),
        changes: Changes::planned(
            Plan {
                changes: vec![Change::File(file.clone())],
                notes,
                refusals: Vec::new(),
            },
            ExitCode::Done,
        ),
    };
    let Context { config, .. } = context;
    Ok(Prepared {
        adoption,
        path,
        file,
        config,
        good: good
            .into_iter()
            .map(|one| GoodLineage(one.foreign.name, one.chain, one.key))
            .collect(),
        account: account.map(|(_, record, kept)| (record, kept)),
        converted,
        made,
    })
}

/// Puts everything on disk, the configuration last.
///
/// # Errors
/// When something cannot be written, or the configuration was changed since it was read: run again, it goes on.
pub fn carry_out(env: &Env, progress: &Progress, prepared: Prepared) -> Result<Adoption> {
    let Prepared {
        mut adoption,
        path,
        file,
        config,
        good,
        account,
        converted,
        made,
    } = prepared;
    let context = Context::with(env, &path, config, progress.clone());
    let _lock = context.lock("import")?;
    let failed = |error| Error::failed("the import came to no end: run it again").cause(error);
    let present = files::read_if_exists(&path, CONFIG_LIMIT).map_err(failed)?;
    if present != file.before {
        return Err(Error::failed(format!(
            "nothing was done: {} was changed meanwhile",
            path.display()
        ))
        .remedy("run it again, and look at the new plan"));
    }
    let mut lineages = Vec::new();
    for one in good {
        let lineage = context
            .store
            .load(&one.0)
            .map_err(|error| store_error(format!("lineage {} could not be read", one.0), &error))?;
        let number = number_of(&lineage, &one).unwrap_or_else(|| context.store.next_number(&lineage));
        lineages.push((one, lineage, number));
    }
    let journal = |error| store_error("the journal could not be used; nothing was changed", &error);
    let mut entry = context
        .store
        .begin_entry("import", context.now())
        .map_err(journal)?;
    entry.files.push(file.clone());
    entry.import = Some(Import {
        client: adoption.client.to_owned(),
        place: adoption.from.clone(),
        // What `install` took from that client was here before, and stays when the import is taken back.
        lineages: lineages
            .iter()
            .filter(|(one, lineage, _)| lineage.generations.is_empty() || !converted.contains(&one.0))
            .map(|(one, _, number)| (one.0.clone(), *number))
            .collect(),
        account: account.as_ref().map(|(_, kept)| kept.clone()),
        made: made
            .iter()
            .map(|secret| (secret.0.clone(), secret.sha256()))
            .collect(),
    });
    context.store.save_entry(&entry).map_err(journal)?;
    if let Some((record, _)) = &account {
        file::save(&context, record)?;
    }
    for (one, lineage, number) in lineages {
        put_on_disk(&context, one, lineage, number)?;
    }
    if let Some(directory) = path.parent() {
        files::make_directory(directory, 0o755).map_err(failed)?;
    }
    if let Some(Secret(place, text)) = &made {
        files::write_atomic(place, text.as_bytes(), Access::PRIVATE).map_err(failed)?;
    }
    files::replace_config(&path, file.after.as_deref().unwrap_or_default()).map_err(failed)?;
    entry.status = Status::Done;
    context.store.save_entry(&entry).map_err(journal)?;
    adoption.changes.applied = true;
    Ok(adoption)
}

/// Makes a generation of a lineage's certificate, unless a run that was killed has made it.
fn put_on_disk(context: &Context<'_>, one: GoodLineage, mut lineage: Lineage, number: u64) -> Result<()> {
    let GoodLineage(name, chain, key) = one;
    let certificate = context.certificate(&name)?;
    let access = order::key_access(certificate)?;
    order::write_generation(context, &name, number, &chain, &key.to_pem(), access)?;
    if lineage.generations.contains_key(&number) {
        return Ok(());
    }
    let directory = context.config.acme.as_ref().map(|acme| acme.directory.clone());
    lineage.newest = lineage.newest.max(number);
    lineage
        .generations
        .insert(number, order::describe(&chain, directory));
    lineage.renewal_info = None;
    lineage.state = State::Issued;
    lineage.forget_failures();
    context.save(&lineage)
}

/// Returns the number under which a certificate is on disk already.
fn number_of(lineage: &Lineage, one: &GoodLineage) -> Option<u64> {
    let sha256 = one.1.leaf.sha256.to_string();
    let same = lineage
        .generations
        .iter()
        .find(|(_, generation)| generation.leaf_sha256 == sha256);
    same.map(|(number, _)| *number)
}

/// What cannot be taken over, told together.
struct Refusals<'a> {
    request: &'a Request,
    place: &'a Path,
    all: Vec<String>,
}

impl<'a> Refusals<'a> {
    fn new(request: &'a Request, place: &'a Path) -> Self {
        Self {
            request,
            place,
            all: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, reason: &str) {
        self.all.push(format!("{}: {reason}", name.escape_debug()));
    }

    fn into_result(self, good: &[Good]) -> Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        Err(self.told(good))
    }

    fn told(&self, good: &[Good]) -> Error {
        let client = self.request.client.name();
        let message = format!(
            "nothing was taken over from {client} in {}: not every lineage can be",
            self.place.display()
        );
        let error = self.all.iter().fold(Error::failed(message), Error::cause);
        let is_refused = |one: &&Good| {
            !self
                .all
                .iter()
                .any(|told| told.starts_with(&format!("{}:", one.foreign.name)))
        };
        let rest: Vec<String> = good
            .iter()
            .filter(is_refused)
            .map(|one| format!("--lineage {}", one.foreign.name))
            .collect();
        if rest.is_empty() {
            return error.remedy("mend what the causes say, then run it again");
        }
        error.remedy(format!(
            "mend what the causes say, or take over the others alone: `mailcert import {client} {} {}`",
            self.place.display(),
            rest.join(" ")
        ))
    }
}

/// Returns the client's directory.
fn place(env: &Env, request: &Request) -> Result<PathBuf> {
    if let Some(place) = &request.place {
        return Ok(std::path::absolute(place).unwrap_or_else(|_| place.clone()));
    }
    let usual = request.client.usual_places();
    usual
        .iter()
        .map(|place| env.host_path(place))
        .find(|place| !files::list(place).is_empty())
        .ok_or_else(|| {
            let client = request.client.name();
            Error::failed(format!("{client} keeps nothing in {}", usual.join(" or ")))
                .remedy(format!("name its directory: `mailcert import {client} DIR`"))
        })
}

/// Returns the configuration that is there, and what it says.
fn existing(path: &Path) -> Result<Option<(String, Config)>> {
    let failed = |error| Error::usage(format!("{} cannot be read", path.display())).cause(error);
    let bytes = match files::read_trusted(path, CONFIG_LIMIT) {
        Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed)?,
    };
    let config = parse_config(path, &bytes)?;
    Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), config)))
}

/// Returns a new configuration without a certificate; host and domains are asked for as `init` does it.
fn new_file(env: &Env, request: &Request, ask: Option<&mut (dyn init::Ask + 'static)>) -> Result<String> {
    let mut answers = init::first_answers(env, &request.answers, ask).map_err(|error| Error {
        remedies: vec![format!(
            "run `mailcert import {} --host mail.example.jp --domain example.jp --yes`",
            request.client.name()
        )],
        ..error
    })?;
    init::take_flags(&mut answers, &request.answers);
    answers.identifiers.clear();
    answers.issuer = Issuer::Acme;
    Ok(template::render(&answers))
}

/// The account with what is kept of it and what is shown of it.
type Taken = (Account, AccountRecord, ImportedAccount);

/// Reads the client's account at a CA.
fn account(tree: &Tree, found: &Found, good: &[Good], directory: &str) -> Result<Option<Taken>> {
    let Some(account) = choose::account(found, good, directory) else {
        return Ok(None);
    };
    let refused = || {
        Error::failed("nothing was taken over: the account cannot be")
            .remedy("mend that; or move the account away there: mailcert then registers one of its own")
    };
    let key = account.read_key(tree).map_err(|reason| refused().cause(reason))?;
    let record = AccountRecord::adopted(directory, account.url.clone(), key.to_pkcs8_der())
        .map_err(|error| refused().cause(error))?;
    let changes_key = !record.can_order().map_err(|error| refused().cause(error))?;
    let thumbprint = record.thumbprint().map_err(|error| refused().cause(error))?;
    let shown = Account {
        directory: directory.to_owned(),
        url: account.url.clone(),
        key: key.key_type().name(),
        changes_key,
    };
    let kept = ImportedAccount {
        directory: directory.to_owned(),
        id: account.id.clone(),
        thumbprint,
    };
    Ok(Some((shown, record, kept)))
}

/// Leaves an account alone that is there already: the lineages are then renewed by it.
fn keep_own_account(
    context: &Context<'_>,
    account: Option<Taken>,
    directory: &str,
    notes: &mut Vec<String>,
) -> Result<Option<Taken>> {
    let Some((shown, record, kept)) = account else {
        if file::load(context, directory)?.is_none() {
            notes.push(format!(
                "it has no account at {directory}: mailcert registers one of its own"
            ));
        }
        return Ok(None);
    };
    let is_same = |own: &AccountRecord| own.thumbprint().is_ok_and(|own| own == kept.thumbprint);
    match file::load(context, directory)? {
        Some(own) if !is_same(&own) => {
            notes.push(format!(
                "mailcert has an account at {directory}, and orders by it; the other client's is left alone"
            ));
            Ok(None)
        }
        _ => {
            if shown.changes_key {
                notes.push(format!(
                    "the account's key is {}: before its first order mailcert has the CA take an ECDSA key for it (RFC 8555, \
                     7.3.5). The account's URL stays; the other client cannot order by it then, until `mailcert undo`",
                    shown.key
                ));
            }
            Ok(Some((shown, record, kept)))
        }
    }
}

/// Returns what the configuration gets, and the file with secrets that it names.
fn additions(
    request: &Request,
    found: &Found,
    good: &[Good],
    config: Option<&Config>,
    directory: &str,
    has_account: bool,
    beside: &Path,
) -> Result<(adopt::Additions, Option<Secret>)> {
    let is_meant = |name: &String| good.iter().any(|one| one.foreign.name == *name);
    let is_alone = config.is_none_or(|config| config.certificates.iter().all(|one| is_meant(&one.name)));
    let mut additions = adopt::Additions {
        certificates: choose::certificates(good),
        hooks: choose::hooks(found, good, is_alone, calls_us),
        ..adopt::Additions::default()
    };
    if config.is_some_and(|config| config.acme.is_some()) {
        return Ok((additions, None));
    }
    let agreed = has_account || request.answers.agree_to_terms;
    if !agreed {
        return Err(Error::usage(
            "that client has no account, so that one must be made, and the CA's terms of service agreed to",
        )
        .remedy("read them, then give --agree-to-terms"));
    }
    let has_provider = config.is_some_and(|config| config.dns.provider.is_some());
    let proven = proof::decide(choose::method(good), good, &request.answers, has_provider, beside)?;
    let known = authority::by_directory(directory);
    additions.acme = Some(adopt::Acme {
        directory: known.map_or_else(|| directory.to_owned(), |known| known.name.to_owned()),
        terms_of_service_agreed: agreed,
        root_ca_file: request
            .answers
            .root_ca_file
            .as_ref()
            .map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())),
        profile: choose::common(good, |one| one.profile.as_ref()),
        preferred_chain: choose::common(good, |one| one.preferred_chain.as_ref()),
        challenge: proven.proof,
    });
    let made = match has_provider {
        true => None,
        false => {
            additions.provider = proven.provider;
            proven.made
        }
    };
    Ok((additions, made))
}

/// Returns whether a hook calls mailcert, which would wait for itself.
fn calls_us(command: &Command) -> bool {
    let program = match command {
        Command::Directory(_) => return false,
        Command::Run(words) => words.first().map(String::as_str),
        Command::Shell(line) if certbot::calls_mailcert(line.as_bytes()) => return true,
        Command::Shell(line) => line.split_whitespace().next(),
    };
    let path = program.filter(|program| program.starts_with('/'));
    let content = path.and_then(|path| files::read(Path::new(path), 1 << 20).ok());
    content.is_some_and(|content| certbot::calls_mailcert(&content))
}

/// Returns whether a certificate of this name is renewed by us already, and not by that client.
fn is_ours(config: Option<&Config>, name: &str) -> bool {
    let written = config.and_then(|config| config.certificate(name));
    written.is_some_and(|certificate| certificate.issuer.is_asked_by_us())
}

/// Refuses to go back behind a certificate that is here already.
fn refuse_newer(context: &Context<'_>, one: &Good) -> Result<(), String> {
    let lineage = context
        .store
        .load(&one.foreign.name)
        .map_err(|error| error.to_string())?;
    let leaf = &one.chain.leaf;
    let newer = lineage
        .generations
        .values()
        .any(|generation| generation.not_before > leaf.not_before);
    match newer {
        true => Err(format!(
            "{} has a newer certificate of this name",
            context.config.state_directory.display()
        )),
        false => Ok(()),
    }
}

/// Refuses to write over a file of the operator's.
fn check_made(made: &Secret) -> Result<()> {
    let failed = |error| Error::failed("nothing was taken over").cause(error);
    match files::read_if_exists(&made.0, 1 << 20).map_err(failed)? {
        Some(bytes) if bytes != made.1.as_bytes() => Err(Error::failed(format!(
            "nothing was taken over: {} is there, and is to hold the credentials",
            made.0.display()
        ))
        .remedy("move it away, or let mailcert.toml name it: in [dns] provider, or as env_file of the hook")),
        _ => Ok(()),
    }
}

fn describe(one: &Good) -> Adopted {
    Adopted {
        name: one.foreign.name.clone(),
        identifiers: one.identifiers.clone(),
        key: one.key.key_type().name(),
        not_after: one.chain.leaf.not_after,
    }
}

/// Returns what the operator should know: what is not taken over, what comes next, and how to go back.
fn notes(env: &Env, request: &Request, found: &Found, good: &[Good], has_config: bool) -> Vec<String> {
    let client = request.client.name();
    let mut notes: Vec<String> = good.iter().flat_map(|one| one.foreign.notes.clone()).collect();
    notes.extend(found.notes.iter().cloned());
    if let Some(method) = choose::method(good).filter(|_| !has_config) {
        let others: Vec<&str> = good
            .iter()
            .filter(|one| one.foreign.method != *method)
            .map(|one| one.foreign.name.as_str())
            .collect();
        if !others.is_empty() {
            notes.push(format!(
                "names are proven in one way for all lineages, acme.challenge; it was another one for {}",
                others.join(", ")
            ));
        }
    }
    let names: Vec<String> = good.iter().map(|one| one.foreign.name.clone()).collect();
    let rest: Vec<String> = found
        .lineages
        .iter()
        .map(|one| one.name.clone())
        .filter(|name| !names.contains(name))
        .collect();
    notes.push(
        "next: `mailcert apply` lets Postfix name the new files, proves them and enables the timer"
            .to_owned(),
    );
    notes.extend(retiring::steps(env, request.client, &names, &rest));
    notes.push(format!(
        "to go back: `mailcert undo`, once for the apply and once for the import; {client}'s own files are as they were"
    ));
    notes
}

/// Returns the exact commands that take over what is on this host, with the lineages that there are.
pub fn offers(env: &Env) -> Vec<(String, Vec<String>)> {
    let mut offers = Vec::new();
    for client in Client::ALL {
        for place in client.usual_places() {
            let Ok((_, found)) = foreign::gather(client, &env.host_path(place)) else {
                continue;
            };
            if found.lineages.is_empty() {
                continue;
            }
            let is_first = client.usual_places().first() == Some(place);
            let command = match is_first {
                true => format!("mailcert import {}", client.name()),
                false => format!("mailcert import {} {place}", client.name()),
            };
            let names = found.lineages.into_iter().map(|one| one.name).collect();
            offers.push((command, names));
        }
    }
    offers
}
