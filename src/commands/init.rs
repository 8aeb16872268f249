//! `init`: brings a fresh host to a verified certificate that renews itself.
//!
//! Answers come from flags, from an existing file, from what the host shows, and from a person at a terminal, in this
//! order. Nothing is written before the whole plan has been shown.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    CONFIG_LIMIT, Context, apply, ca, import, mail, notify::watched, outcome::Changes, parse_config, plan,
    target::Target,
};
use crate::{
    acme::directory::Directory,
    config::{
        Acme, Challenge, Config, ExternalAccount, Http01, Issuer, MirroredLimits, Publish, SecretSource,
        Timer,
        template::{self, Answers},
        v1,
    },
    env::{Env, files, progress::Progress},
    error::{Error, ExitCode, Result},
    model::{
        name::{DomainName, Identifier},
        plan::{Change, FileChange, Plan},
    },
};

/// What the command line says.
#[derive(Debug)]
pub struct Request {
    /// `--host`.
    pub host: Option<DomainName>,
    /// `--domain`.
    pub domains: Vec<DomainName>,
    /// `--identifier`.
    pub identifiers: Vec<Identifier>,
    /// `--issuer`.
    pub issuer: Option<Issuer>,
    /// `--directory`.
    pub directory: Option<String>,
    /// `--root-ca-file`.
    pub root_ca_file: Option<PathBuf>,
    /// `--contact`.
    pub contact: Vec<String>,
    /// `--agree-to-terms`.
    pub agree_to_terms: bool,
    /// `--eab-key-id` and `--eab-hmac-key-file`.
    pub external_account: Option<(String, PathBuf)>,
    /// `--challenge`.
    pub challenge: Option<ChallengeType>,
    /// `--listen`.
    pub listen: Vec<SocketAddr>,
    /// `--postfix-config-directory`.
    pub postfix_config_directory: Option<PathBuf>,
    /// `--state-directory`.
    pub state_directory: Option<PathBuf>,
    /// `--dovecot-config-directory`.
    pub dovecot_config_directory: Option<PathBuf>,
    /// `--no-dovecot`.
    pub no_dovecot: bool,
    /// `--publish`.
    pub publish: Vec<Publish>,
    /// `--timer`.
    pub timer: Option<Timer>,
}

/// How names are validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeType {
    /// By a TXT record.
    Dns01,
    /// By a document on port 80.
    Http01,
    /// By a handshake on port 443.
    TlsAlpn01,
}

/// Somebody who answers.
pub trait Ask {
    /// Asks a question; an empty answer is the default.
    ///
    /// # Errors
    /// When the person leaves.
    fn ask(&mut self, question: &str, default: &str) -> Result<String>;

    /// Says something between questions.
    fn tell(&mut self, text: &str);

    /// Asks for a yes; anything else is a no.
    ///
    /// # Errors
    /// When the person leaves.
    fn yes(&mut self, question: &str) -> Result<bool>;
}

/// Everything that `init` would do.
#[derive(Debug, Serialize)]
pub struct Prepared {
    /// The file and the plan, shown before anything is done.
    #[serde(flatten)]
    pub changes: Changes,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    file: Option<FileChange>,
    #[serde(skip)]
    config: Config,
    #[serde(skip)]
    plan: Plan,
}

impl Prepared {
    /// Returns whether anything would change, so that a yes is needed.
    pub fn needs_yes(&self) -> bool {
        !self.changes.changes.is_empty()
    }
}

/// Finds the answers and makes the plan; changes nothing.
///
/// # Errors
/// Exit 2 when an answer is missing and there is nobody to ask, or the answers contradict each other.
pub fn prepare(
    env: &Env,
    path: &Path,
    progress: &Progress,
    request: &Request,
    mut ask: Option<&mut (dyn Ask + 'static)>,
) -> Result<Prepared> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = Existing::read(
        &path,
        |ask_for| first_answers(env, ask_for, ask.as_deref_mut()),
        request,
    )?;
    let mut answers = match &existing {
        Some(existing) => existing.answers(&path, request.issuer)?,
        None => first_answers(env, request, ask.as_deref_mut())?,
    };
    take_flags(&mut answers, request);
    if let Some(ask) = ask.as_deref_mut().filter(|_| existing.is_none()) {
        ask_rest(&mut answers, request, ask)?;
    }
    if answers.issuer == Issuer::Acme && !answers.terms_of_service_agreed {
        agree_to_terms(env, progress, &mut answers, ask)?;
    }
    let text = write_file(
        &path,
        existing.as_ref().map(|existing| existing.completed.as_str()),
        &answers,
    )?;
    let config = parse_config(&path, text.as_bytes())?;
    let file = FileChange {
        path: path.clone(),
        before: existing
            .as_ref()
            .map(|existing| existing.text.clone().into_bytes()),
        after: Some(text.into_bytes()),
        reasons: vec!["what this host should be; every later command reads it".to_owned()],
    };
    let file = (file.before != file.after).then_some(file);
    let context = Context::with(env, &path, config, progress.clone());
    let mut plan = plan::plan(&context, &Target::ALL)?;
    plan.notes.extend(host_notes(env, &context));
    let Context { config, .. } = context;
    let shown = Plan {
        changes: file
            .iter()
            .cloned()
            .map(Change::File)
            .chain(plan.changes.iter().cloned())
            .collect(),
        notes: plan.notes.clone(),
        refusals: plan.refusals.clone(),
    };
    Ok(Prepared {
        changes: Changes::planned(shown, ExitCode::Done),
        path,
        file,
        config,
        plan,
    })
}

/// Writes the file and does what the plan says: certificates, Postfix, Dovecot, records, timer.
///
/// # Errors
/// When the file cannot be written; what fails later is in the outcome.
pub fn carry_out(env: &Env, progress: &Progress, prepared: Prepared) -> Result<Changes> {
    let Prepared {
        path,
        file,
        config,
        plan,
        ..
    } = prepared;
    if let Some(file) = &file {
        let failed = |error| Error::failed("the configuration could not be written").cause(error);
        if let Some(directory) = path.parent() {
            files::make_directory(directory, 0o755).map_err(failed)?;
        }
        files::replace_config(&path, file.after.as_deref().unwrap_or_default()).map_err(failed)?;
        progress.done(&format!("wrote {}", path.display()));
    }
    let context = Context::with(env, &path, config, progress.clone());
    let run = || apply::run(&context, &Target::ALL, &plan, "init");
    let mut done = watched(&context, "init", run)?;
    done.changes = file.into_iter().map(Change::File).chain(done.changes).collect();
    done.notes.extend(by_hand(&context));
    Ok(done)
}

/// The file that is there already.
struct Existing {
    /// As it is.
    text: String,
    /// With host and domains, where it was begun by hand without them.
    completed: String,
    config: Config,
}

impl Existing {
    /// Reads the file, when there is one; `answer` finds host and domains for one that lacks them.
    fn read(
        path: &Path,
        answer: impl FnOnce(&Request) -> Result<Answers>,
        request: &Request,
    ) -> Result<Option<Self>> {
        let failed =
            |error| Error::usage(format!("{} cannot be read as the answers", path.display())).cause(error);
        let bytes = match files::read_trusted(path, CONFIG_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.reason.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let wrong = match parse_config(path, &bytes) {
            Ok(config) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Ok(Some(Self {
                    completed: text.clone(),
                    text,
                    config,
                }));
            }
            Err(error) => error,
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(wrong);
        };
        let (host, domains) = match (&request.host, !template::names_host(&text)) {
            (Some(host), _) => (host.clone(), request.domains.clone()),
            (None, true) => {
                let answers = answer(request)?;
                (answers.host, answers.domains)
            }
            (None, false) => return Err(wrong),
        };
        let completed = template::complete(&text, &host, &domains, request.agree_to_terms)
            .ok_or_else(|| wrong.clone())?;
        let config = parse_config(path, completed.as_bytes())?;
        Ok(Some(Self {
            text,
            completed,
            config,
        }))
    }

    fn answers(&self, path: &Path, issuer: Option<Issuer>) -> Result<Answers> {
        let first = template::answers_from(&self.config);
        let mut answers = match template::answers_in(path, &self.completed, &self.config) {
            Ok(answers) => answers,
            Err(errors) if issuer.unwrap_or(first.issuer) == Issuer::Acme => {
                return Err(Error::usage(format!("{} is wrong", path.display())).cause(errors));
            }
            // Nothing is to come by it.
            Err(_) => first,
        };
        if self.config.certificates.is_empty() {
            answers.identifiers = vec![self.config.host.name.clone().into()];
        }
        Ok(answers)
    }
}

/// Finds host and domains: from the flags, else from a person who is shown what the host says of itself.
pub(super) fn first_answers(
    env: &Env,
    request: &Request,
    mut ask: Option<&mut (dyn Ask + 'static)>,
) -> Result<Answers> {
    let directory = request
        .postfix_config_directory
        .clone()
        .unwrap_or_else(|| PathBuf::from("/etc/postfix"));
    let seen = mail::names(env, &directory);
    let host = match (&request.host, ask.as_deref_mut()) {
        (Some(host), _) => host.clone(),
        (None, Some(ask)) => {
            ask.tell("The mail host's name is what MX records name and clients connect to.");
            let question = "Name of this mail host";
            ask_until(ask, question, seen.host.as_deref().unwrap_or_default(), |text| {
                let name = text.parse::<DomainName>().map_err(|error| error.to_string())?;
                if name.parent().is_some() {
                    Ok(name)
                } else {
                    Err("a full name is needed, such as mail.example.jp".into())
                }
            })?
        }
        (None, None) => {
            return Err(
                Error::usage("the host's name is missing, and there is no terminal to ask at").remedy(
                    "run `mailcert init --host mail.example.jp --domain example.jp --agree-to-terms --yes`",
                ),
            );
        }
    };
    let domains = match (request.domains.as_slice(), ask) {
        ([], Some(ask)) => {
            let default = seen
                .domain
                .clone()
                .or_else(|| host.parent().map(|parent| parent.to_string()));
            let question = "Mail domains served here, separated by spaces";
            ask_until(ask, question, default.as_deref().unwrap_or_default(), |text| {
                let names: Vec<DomainName> = text
                    .split([' ', ','])
                    .filter(|word| !word.is_empty())
                    .map(|word| {
                        word.parse()
                            .map_err(|error: crate::model::name::NameError| error.to_string())
                    })
                    .collect::<Result<_, String>>()?;
                if names.is_empty() {
                    Err("at least one mail domain is needed".into())
                } else {
                    Ok(names)
                }
            })?
        }
        ([], None) => {
            return Err(
                Error::usage("the mail domains are missing, and there is no terminal to ask at")
                    .remedy("name each by --domain"),
            );
        }
        (domains, _) => domains.to_vec(),
    };
    Ok(Answers::new(host, domains))
}

pub(super) fn take_flags(answers: &mut Answers, request: &Request) {
    if let Some(host) = &request.host {
        // The certificate goes with the host's name unless names were given.
        if answers.identifiers == [Identifier::from(answers.host.clone())] {
            answers.identifiers = vec![host.clone().into()];
        }
        answers.host.clone_from(host);
    }
    let replace = |place: &mut PathBuf, given: &Option<PathBuf>| {
        if let Some(given) = given {
            *place = std::path::absolute(given).unwrap_or_else(|_| given.clone());
        }
    };
    replace(
        &mut answers.postfix_config_directory,
        &request.postfix_config_directory,
    );
    replace(
        &mut answers.dovecot_config_directory,
        &request.dovecot_config_directory,
    );
    replace(&mut answers.state_directory, &request.state_directory);
    if let Some(file) = &request.root_ca_file {
        answers.root_ca_file = Some(std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    }
    if !request.domains.is_empty() {
        answers.domains.clone_from(&request.domains);
    }
    if !request.identifiers.is_empty() {
        answers.identifiers.clone_from(&request.identifiers);
    }
    if let Some(issuer) = request.issuer {
        answers.issuer = issuer;
    }
    if let Some(directory) = &request.directory {
        if answers.directory != *directory {
            // What another CA has given is nothing to this one.
            answers.external_account = None;
        }
        answers.directory.clone_from(directory);
    }
    if let Some((key_id, file)) = &request.external_account {
        answers.external_account = Some(ExternalAccount {
            key_id: key_id.clone(),
            hmac_key: SecretSource::File(std::path::absolute(file).unwrap_or_else(|_| file.clone())),
        });
    }
    if !request.contact.is_empty() {
        answers.contact.clone_from(&request.contact);
    }
    answers.terms_of_service_agreed |= request.agree_to_terms;
    match request.challenge {
        Some(ChallengeType::Dns01) => answers.challenge = Challenge::Dns01,
        Some(ChallengeType::Http01) if !matches!(answers.challenge, Challenge::Http01(_)) => {
            answers.challenge = Challenge::Http01(Http01::Listen(Vec::new()));
        }
        Some(ChallengeType::TlsAlpn01) if !matches!(answers.challenge, Challenge::TlsAlpn01(_)) => {
            answers.challenge = Challenge::TlsAlpn01(Vec::new());
        }
        _ => {}
    }
    if !request.listen.is_empty() {
        answers.challenge = match answers.challenge {
            Challenge::TlsAlpn01(_) => Challenge::TlsAlpn01(request.listen.clone()),
            _ => Challenge::Http01(Http01::Listen(request.listen.clone())),
        };
    }
    answers.leave_dovecot |= request.no_dovecot;
    if !request.publish.is_empty() {
        answers.publish.clone_from(&request.publish);
    }
    if let Some(timer) = request.timer {
        answers.timer = timer;
    }
}

/// Asks what has a default but is worth a look, on a first run at a terminal.
fn ask_rest(answers: &mut Answers, request: &Request, ask: &mut dyn Ask) -> Result<()> {
    if request.identifiers.is_empty() && answers.issuer.is_asked_by_us() {
        let names = ask_until(
            ask,
            "Names in the certificate",
            &answers.host.to_string(),
            |text| {
                let names = text
                    .split([' ', ','])
                    .filter(|word| !word.is_empty())
                    .map(|word| word.parse::<Identifier>().map_err(|error| error.to_string()))
                    .collect::<Result<Vec<_>, String>>()?;
                if names.is_empty() {
                    return Err("at least one name is needed".into());
                }
                Ok(names)
            },
        )?;
        answers.identifiers = names;
    }
    if request.directory.is_none() && request.issuer.is_none() {
        ask.tell(
            "The CA is letsencrypt, another one that is known by its name, or the https URL of\n\
             any; `ca` is a private one of this host; `external` are certificates of another\n\
             client, or of a CA that works by mail.",
        );
        let answer = ask_until(ask, "CA", "letsencrypt", |text| {
            if !["ca", "external"].contains(&text) {
                v1::directory(text).map_err(|fault| format!("it {fault}"))?;
            }
            Ok(text.to_owned())
        })?;
        match answer.as_str() {
            "ca" => answers.issuer = Issuer::Ca,
            "external" => answers.issuer = Issuer::External,
            _ => answers.directory = answer,
        }
    }
    Ok(())
}

/// Shows the CA's terms and asks; without a person the flag is needed.
fn agree_to_terms(
    env: &Env,
    progress: &Progress,
    answers: &mut Answers,
    ask: Option<&mut (dyn Ask + 'static)>,
) -> Result<()> {
    let directory =
        &v1::directory(&answers.directory).map_err(|fault| Error::usage(format!("the CA {fault}")))?;
    let acme = Acme {
        directory: directory.to_owned(),
        contact: Vec::new(),
        terms_of_service_agreed: false,
        root_ca_file: answers.root_ca_file.clone(),
        profile: None,
        preferred_chain: None,
        external_account: None,
        challenge: answers.challenge.clone(),
        challenge_hook: None,
        fallback: Vec::new(),
        limits: MirroredLimits::Auto,
    };
    progress.step(&format!("asking {directory} for its terms"));
    let http = ca::http(&acme)?;
    let fetched = super::new_runtime()?.block_on(Directory::fetch(&http, directory));
    progress.clear();
    let fetched =
        fetched.map_err(|error| ca::failure(&format!("the CA at {directory} cannot be used"), &error))?;
    let _ = env;
    if fetched.meta().external_account_required && answers.external_account.is_none() {
        return Err(Error::usage(format!(
            "the CA at {directory} wants an account that is bound to a customer's (RFC 8555, 7.3.4)"
        ))
        .remedy(
            "get a key identifier and a key from it, then give --eab-key-id KID --eab-hmac-key-file FILE",
        ));
    }
    let terms = fetched.meta().terms_of_service.clone();
    let Some(terms) = terms else {
        answers.terms_of_service_agreed = true;
        return Ok(());
    };
    let terms = crate::model::plan::printable_line(terms.as_bytes(), 500);
    let refused = || {
        Error::usage("the CA's terms of service were not agreed to")
            .cause(format!("they are at {terms}"))
            .remedy("read them, then give --agree-to-terms")
    };
    let Some(ask) = ask else { return Err(refused()) };
    ask.tell(&format!("The CA's terms of service are at {terms}"));
    if !ask.yes("Do you agree to them?")? {
        return Err(refused());
    }
    answers.terms_of_service_agreed = true;
    Ok(())
}

fn ask_until<T>(
    ask: &mut dyn Ask,
    question: &str,
    default: &str,
    accept: impl Fn(&str) -> Result<T, String>,
) -> Result<T> {
    loop {
        let answer = ask.ask(question, default)?;
        match accept(&answer) {
            Ok(value) => return Ok(value),
            Err(reason) => ask.tell(&format!("  {reason}")),
        }
    }
}

fn write_file(path: &Path, existing: Option<&str>, answers: &Answers) -> Result<String> {
    match existing {
        None => Ok(template::render(answers)),
        Some(text) => template::edit(path, text, answers).map_err(|error| {
            Error::usage(format!("{} cannot be changed to these answers", path.display())).cause(error)
        }),
    }
}

/// Says what is on the host that the operator should know of: another client, servers that are left alone.
fn host_notes(env: &Env, context: &Context<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for (command, lineages) in import::offers(env) {
        notes.push(format!(
            "another client keeps certificates here: {}; `{command}` takes them over with their account; to keep that client, set \
             issuer = \"external\" and call hooks/deploy/postfix-reload from it",
            lineages.join(", ")
        ));
    }
    if !context.config.postfix.manage {
        notes.push("postfix.manage is false: main.cf is left alone".to_owned());
    }
    if !context.config.dovecot.manage && env.find_program("doveconf").is_some() {
        notes.push("dovecot.manage is false: Dovecot is left alone".to_owned());
    }
    notes
}

/// Says what only the operator can do.
fn by_hand(context: &Context<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let config = &context.config;
    let publishes_spf = config.dns.publish.contains(&Publish::Spf) && config.dns.provider.is_some();
    if !publishes_spf {
        notes.push("publish the records that `mailcert records` prints, at the host of your zone".to_owned());
    }
    notes.push(format!(
        "only you can do: a PTR record of this host's address that names {}, and port 25 open to the world",
        config.host.name
    ));
    notes
}
