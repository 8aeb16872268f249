//! `ca export`: the root in the forms that clients take, sheets for people, and this host's own trust store. Needs no key.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Facts, Place, tell, trust_store};
use crate::{
    ca::{
        export::{
            Login, Mail, Service, autoconfig, file_stem,
            mobileconfig::{self, Profile},
            sheet::{self, Language, Sheet},
            trust_stores::{self, Way},
        },
        layout::Layout,
        root_certificates,
    },
    config::Config,
    env::{
        Env,
        files::{self, Access},
    },
    error::{Error, ExitCode, Result},
    model::{certificate::Certificate, name::DomainName},
    postfix::{desired::submission::Port, inspect, submission},
};

/// What to export, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The form that goes to stdout.
    pub form: Form,
    /// The directory for the files; `None`: none are written.
    pub out_dir: Option<PathBuf>,
    /// What mail programs connect to, where the configuration does not say it, or says something else.
    pub host: Option<DomainName>,
    /// What becomes of the root in this host's own trust store.
    pub trust_store: TrustStore,
}

/// A form of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Mozilla's autoconfiguration.
    Autoconfig,
    /// The lines that put the root into trust stores.
    Lines,
    /// Apple's profile with a mail account.
    MailProfile,
    /// The root as PEM.
    Pem,
    /// Apple's profile with the root alone.
    Profile,
    /// The sheet for users.
    Sheet(Language),
}

/// What becomes of the root in this host's own trust store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustStore {
    /// It is put in.
    Install,
    /// Nothing.
    Keep,
    /// It is taken out.
    Remove,
}

/// What was exported.
#[derive(Debug, Serialize)]
pub struct Exported {
    /// The roots.
    pub roots: Vec<Facts>,
    /// Them as PEM.
    pub pem: String,
    /// What mail programs are told; nothing where no host is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// How each system takes the root.
    pub trust_stores: Vec<Way>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// This host's own trust store, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub this_host: Option<trust_store::Done>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What goes to stdout.
    #[serde(skip)]
    pub text: String,
}

impl Exported {
    /// Returns 0: what could not be exported is an error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Done
    }
}

/// Exports the root.
///
/// # Errors
/// When there is no CA, a file cannot be written, or this host's trust store does not take the root.
pub fn run(env: &Env, place: &Place, config: Option<&Config>, request: &Request) -> Result<Exported> {
    let layout = Layout::new(&place.directory);
    let roots =
        root_certificates(&layout).map_err(|error| tell("the private CA could not be read", &error))?;
    let Some(root) = roots.first() else {
        return Err(Error::failed("the private CA has no root certificate"));
    };
    let mut notes = Vec::new();
    let mail = mail(env, config, request, &mut notes);
    let name = common_name(root);
    let stem = file_stem(&name);
    let material = Material {
        name: &name,
        stem: &stem,
        sha256: spelled(root),
        ways: trust_stores::ways(&stem, &root.serial_hex()),
        roots: &roots,
        mail: mail.as_ref(),
    };
    let mut files = Vec::new();
    if let Some(directory) = &request.out_dir {
        files = material.write(directory)?;
        if mail.is_none() {
            notes.push(
                "without a configuration and --host nothing is known of the mail server: no account, no autoconfiguration, no \
                 sheets"
                    .to_owned(),
            );
        }
    }
    let pem = material.pem();
    let this_host = match request.trust_store {
        TrustStore::Install => Some(trust_store::install(env, &stem, &roots)?),
        TrustStore::Keep => None,
        TrustStore::Remove => Some(trust_store::remove(env, &stem, &roots)?),
    };
    let text = match (&this_host, &request.out_dir) {
        (Some(done), None) if request.form == Form::Pem => done.to_string(),
        (done, Some(_)) => {
            let mut text: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
            if let Some(done) = done {
                let _ = write!(text, "{done}");
            }
            text
        }
        _ => material.form(request.form)?,
    };
    Ok(Exported {
        roots: roots.iter().map(Facts::from).collect(),
        pem,
        trust_stores: material.ways.clone(),
        mail: mail.clone(),
        files,
        this_host,
        notes,
        text,
    })
}

/// Returns the common name of a root, or its whole subject.
fn common_name(root: &Certificate) -> String {
    let part = root.subject.split(", ").find_map(|part| part.strip_prefix("CN="));
    part.unwrap_or(&root.subject).to_owned()
}

/// Returns the digest as people compare it, and as openssl prints it.
fn spelled(root: &Certificate) -> String {
    let octets: Vec<String> = root
        .sha256
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    octets.join(":")
}

/// Returns what mail programs are told.
fn mail(env: &Env, config: Option<&Config>, request: &Request, notes: &mut Vec<String>) -> Option<Mail> {
    let host = request.host.clone().or_else(|| Some(config?.host.name.clone()))?;
    let mut domains = config
        .map(|config| config.host.domains.clone())
        .unwrap_or_default();
    if domains.is_empty() {
        domains.push(host.clone());
    }
    let (submission, login) = services(env, config, &domains, notes);
    Some(Mail {
        host,
        domains,
        imap: Service::IMAPS,
        submission,
        login,
    })
}

/// Returns where mail is submitted, and by what users log in: what the configuration wants, else what Postfix has.
fn services(
    env: &Env,
    config: Option<&Config>,
    domains: &[DomainName],
    notes: &mut Vec<String>,
) -> (Vec<Service>, Login) {
    let server = config.and_then(|config| inspect::inspect(env, &config.postfix.config_directory).ok());
    let has = |port: Port| {
        let wanted = config.map(|config| &config.postfix.submission);
        let is_wanted = wanted.is_some_and(|wanted| match port {
            Port::Submission => wanted.submission,
            Port::Submissions => wanted.submissions,
        });
        let is_there = server.as_ref().is_some_and(|server| {
            server.services.iter().any(|service| {
                submission::port_of(service, &server.values, &server.host) == Some(port.number())
            })
        });
        is_wanted || is_there
    };
    let ports = [
        (Port::Submissions, Service::SUBMISSIONS),
        (Port::Submission, Service::SUBMISSION),
    ];
    let mut services: Vec<Service> = ports
        .into_iter()
        .filter_map(|(port, service)| has(port).then_some(service))
        .collect();
    if services.is_empty() {
        if server.is_some() {
            notes.push(
                "Postfix serves users on neither 465 nor 587; the sheets say 465: set postfix.submissions = true, then `mailcert \
                 apply postfix`"
                    .to_owned(),
            );
        }
        services.push(Service::SUBMISSIONS);
    }
    // Users of the system log in by their name, addresses of virtual domains are their own logins.
    let is_local = server.as_ref().is_some_and(|server| {
        let local: Vec<String> = submission::words(server.values.get("mydestination"))
            .map(str::to_ascii_lowercase)
            .collect();
        domains
            .iter()
            .any(|domain| local.iter().any(|name| name == domain.as_str()))
    });
    (
        services,
        if is_local {
            Login::LocalPart
        } else {
            Login::Address
        },
    )
}

/// What the forms are made of.
struct Material<'a> {
    name: &'a str,
    stem: &'a str,
    sha256: String,
    ways: Vec<Way>,
    roots: &'a [Certificate],
    mail: Option<&'a Mail>,
}

impl Material<'_> {
    fn pem(&self) -> String {
        self.roots.iter().map(Certificate::to_pem).collect()
    }

    fn profile(&self, mail: Option<&Mail>) -> String {
        mobileconfig::profile(&Profile {
            name: self.name,
            stem: self.stem,
            roots: self.roots,
            mail,
        })
    }

    fn sheet(&self, mail: &Mail, language: Language) -> String {
        let sheet = Sheet {
            name: self.name,
            stem: self.stem,
            sha256: &self.sha256,
            mail,
        };
        sheet::html(&sheet, language)
    }

    /// Returns one form.
    fn form(&self, form: Form) -> Result<String> {
        let mail = || {
            self.mail.ok_or_else(|| {
                Error::usage("nothing is known of the mail server")
                    .remedy("name it by --host, or name the configuration by --config")
            })
        };
        Ok(match form {
            Form::Autoconfig => autoconfig::config(mail()?, self.name),
            Form::Lines => trust_stores::lines(&self.ways, &self.sha256),
            Form::MailProfile => self.profile(Some(mail()?)),
            Form::Pem => self.pem(),
            Form::Profile => self.profile(None),
            Form::Sheet(language) => self.sheet(mail()?, language),
        })
    }

    /// Writes every form.
    fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let failed = |error| Error::failed("the export could not be written").cause(error);
        files::make_named_directory(directory, 0o755).map_err(failed)?;
        let mut written: Vec<(String, Vec<u8>)> =
            vec![(format!("{}.pem", self.stem), self.pem().into_bytes())];
        for (index, root) in self.roots.iter().enumerate() {
            let n = if index == 0 {
                String::new()
            } else {
                format!("-{}", index + 1)
            };
            written.push((format!("{}{n}.cer", self.stem), root.der.clone()));
        }
        let mut text = |name: String, text: String| written.push((name, text.into_bytes()));
        text(format!("{}.mobileconfig", self.stem), self.profile(None));
        text(
            format!("{}.txt", self.stem),
            trust_stores::lines(&self.ways, &self.sha256),
        );
        if let Some(mail) = self.mail {
            text(
                format!("{}-mail.mobileconfig", self.stem),
                self.profile(Some(mail)),
            );
            text("config-v1.1.xml".to_owned(), autoconfig::config(mail, self.name));
            for language in Language::ALL {
                text(
                    format!("setup.{}.html", language.code()),
                    self.sheet(mail, language),
                );
            }
        }
        let mut paths = Vec::new();
        for (name, bytes) in written {
            let path = directory.join(name);
            files::write_atomic(&path, &bytes, Access::PUBLIC).map_err(failed)?;
            paths.push(path);
        }
        Ok(paths)
    }
}
