//! The mail server as commands use it: looked at, planned, judged, written, reloaded; and which ports serve which lineage.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    Context, client_certificate,
    doctor::{self, MissingTable},
    dovecot, relay_clients, sender_login, sni, trust_bundle,
};
use crate::{
    config::{Certificate, Verify},
    env::Env,
    error::{Error, Result},
    model::{
        endpoint::{Asked, Endpoint},
        plan::FileChange,
    },
    postfix::{
        apply::{self, ApplyError, Moved},
        desired::{self, LiveFiles},
        endpoints::{TlsService, tls_services},
        inspect::{self, InspectError, Instance},
        judge::{self, JudgeError, Tables},
        plan::{self, PostfixPlan},
        submission,
        syntax::MainCf,
    },
    probe::Target,
};
use futures_util::future::join_all;

/// Looks at the Postfix instance; `None` when it is neither managed nor asked.
///
/// # Errors
/// When it is not installed, or refuses its own configuration before we touch it.
pub fn inspect(context: &Context<'_>) -> Result<Option<Instance>> {
    let postfix = &context.config.postfix;
    let asked = matches!(&postfix.verify, Verify::Endpoints(endpoints) if !endpoints.is_empty());
    if !postfix.manage && !asked {
        return Ok(None);
    }
    match inspect::inspect(context.env, &postfix.config_directory) {
        Ok(instance) => Ok(Some(instance)),
        // Endpoints that are listed can be asked without a Postfix that we manage.
        Err(_) if !postfix.manage => Ok(None),
        Err(error) => Err(inspect_failure(&error)),
    }
}

/// Looks at the Postfix instance, managed or not: who only looks may look at any. `None` when it is not managed and there is none.
///
/// # Errors
/// When it is managed and not installed, or refuses its own configuration.
pub fn look(context: &Context<'_>) -> Result<Option<Instance>> {
    let postfix = &context.config.postfix;
    match inspect::inspect(context.env, &postfix.config_directory) {
        Ok(instance) => Ok(Some(instance)),
        Err(InspectError::NotInstalled(_)) if !postfix.manage => Ok(None),
        Err(InspectError::File(error)) if !postfix.manage && error.reason.kind() == ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(inspect_failure(&error)),
    }
}

fn inspect_failure(error: &InspectError) -> Error {
    let told = Error::failed("Postfix cannot be looked at").cause(error);
    match error {
        InspectError::NotInstalled(_) => {
            told.remedy("install Postfix, or set postfix.manage = false to keep certificates only")
        }
        InspectError::Refused { .. } => told.remedy("mend what Postfix says; nothing of it was touched"),
        InspectError::File(_) => told.remedy("look whether postfix.config_directory is right"),
        _ => told,
    }
}

/// What the host says of itself, for the questions of `init`.
#[derive(Debug, Default)]
pub struct Names {
    /// `myhostname`, or the system's host name.
    pub host: Option<String>,
    /// `mydomain`.
    pub domain: Option<String>,
}

/// Returns the names that Postfix, or else the system, has for this host; those that are no full names are left out.
pub fn names(env: &Env, directory: &Path) -> Names {
    let full = |name: &str| (name.contains('.') && !name.starts_with("localhost")).then(|| name.to_owned());
    let instance = inspect::inspect(env, directory).ok();
    let value = |name: &str| {
        instance
            .as_ref()
            .and_then(|instance| full(instance.values.get(name)))
    };
    let system = || {
        nix::unistd::gethostname()
            .ok()?
            .into_string()
            .ok()
            .as_deref()
            .and_then(full)
    };
    Names {
        host: value("myhostname").or_else(system),
        domain: value("mydomain"),
    }
}

/// Returns whether a file of a plan is one of the instance's two files, or of a map that they name.
pub fn is_postfix_file(context: &Context<'_>, path: &Path) -> bool {
    let directory = &context.config.postfix.config_directory;
    ["main.cf", "master.cf"]
        .iter()
        .any(|name| path == directory.join(name))
        || sender_login::is_part(context, path)
}

/// Returns whether a file of a plan is one of Postfix's or of Dovecot's: written, proven and taken back together.
pub fn is_server_file(context: &Context<'_>, path: &Path) -> bool {
    is_postfix_file(context, path) || dovecot::is_file(context, path)
}

/// Plans main.cf and master.cf for the certificate that Postfix is to name, and for the SNI map. `coming`: lineages that
/// will have a certificate by the time the files are written.
///
/// # Errors
/// When the installed version cannot be given what the configuration asks for.
pub fn plan(
    context: &Context<'_>,
    server: &Instance,
    certificate: &Certificate,
    coming: &HashSet<&str>,
) -> Result<(Vec<FileChange>, Vec<String>)> {
    let PostfixPlan {
        changes,
        mut notes,
        services,
        values,
    } = planned(context, server, certificate, coming)?;
    let main_cf = after(&changes, &server.directory.join("main.cf"));
    let after = Instance {
        services,
        values,
        main_cf: main_cf.unwrap_or(&server.main_cf).to_vec(),
        ..server.clone()
    };
    // What no daemon starts with is refused in Postfix's own words.
    let is_usable = !server.table_types.is_empty();
    let mut files = ["main.cf", "master.cf"].iter();
    if is_usable && files.any(|name| is_written(&changes, &server.directory.join(name))) {
        is_clear(&after)?;
    }
    let is_listener_coming = context.config.dovecot.manage && context.config.dovecot.auth_socket;
    if is_written(&changes, &server.directory.join("master.cf")) && !is_listener_coming {
        // It may be started before the apply, or after it; until then the ports are dead, and only the log says why.
        let silent = doctor::sasl::errors(context, &after);
        notes.extend(
            silent
                .into_iter()
                .map(|found| format!("{}: {}", found.subject, found.evidence)),
        );
    }
    Ok((changes, notes))
}

/// Returns what a plan makes of a file, where it does.
fn after<'a>(changes: &'a [FileChange], path: &Path) -> Option<&'a [u8]> {
    let change = changes.iter().find(|change| change.path == path)?;
    change.after.as_deref()
}

/// Makes sure that what is edited is what Postfix is to read: no template whose values are still to come, and no service of
/// which nobody knows which one counts.
fn is_clear(after: &Instance) -> Result<()> {
    let unclear = doctor::unclear(after);
    if unclear.is_empty() {
        return Ok(());
    }
    let error = Error::failed(format!(
        "the configuration in {} is not edited as it is; nothing was changed",
        after.directory.display()
    ));
    Err(unclear.into_iter().fold(error, |error, found| {
        let error = error.cause(format!("{}: {}", found.subject, found.evidence));
        match error.remedies.contains(&found.remedy) {
            true => error,
            false => error.remedy(found.remedy),
        }
    }))
}

fn is_written(changes: &[FileChange], path: &Path) -> bool {
    changes.iter().any(|change| change.path == path)
}

fn planned(
    context: &Context<'_>,
    server: &Instance,
    certificate: &Certificate,
    coming: &HashSet<&str>,
) -> Result<PostfixPlan> {
    let sni_map = context.store.layout().sni_map();
    let login = sender_login::wanted(context, server)?;
    let client = client_certificate::wanted(context, server, coming)?;
    let relay = relay_clients::wanted(context, server)?;
    known_overrides(context, server)?;
    let live = LiveFiles::below(&context.store.layout().live(&certificate.name));
    let request = desired::Request {
        live: &live,
        layout: context.config.postfix.tls_layout,
        client_ca: &context.config.postfix.client_ca,
        system_bundles: &server.system_bundles,
        sni: desired::SniRequest {
            source: &sni_map,
            is_wanted: sni::is_wanted(context, coming),
        },
        policy: desired::Policy {
            trust_bundle: context.store.layout().trust_bundle(),
            client_certificate: client.files,
            relay_clients: relay.request.clone(),
            ..policy(context, login.maps.clone())
        },
    };
    let main_cf = MainCf::parse(&server.main_cf);
    let desired = desired::desired(&request, server.version, &main_cf, &server.values).map_err(|error| {
        Error::failed("Postfix cannot be given what the configuration asks for").cause(error)
    })?;
    let mut planned = plan::plan(&server.current(), &desired);
    planned.notes.extend(client.notes);
    planned.notes.extend(relay.notes);
    planned.notes.extend(trust_bundle::wanted(context, server)?.notes);
    if names_login_map(&planned, &login) {
        // The map comes first: what names it must find it.
        planned.changes.splice(0..0, login.changes()?);
        planned.notes.extend(login.notes);
    }
    Ok(planned)
}

/// Returns what is touched only where the configuration says so.
fn policy(context: &Context<'_>, login_maps: desired::submission::LoginMaps) -> desired::Policy {
    let postfix = &context.config.postfix;
    let outgoing = postfix.outgoing;
    desired::Policy {
        incoming: postfix.incoming.then_some(postfix.tls_minimum),
        outgoing: outgoing.manage.then(|| desired::Outgoing {
            level: outgoing.level,
            validation: context.validation(),
            ciphers: outgoing.ciphers,
            loglevel: outgoing.loglevel,
            minimum: postfix.tls_minimum,
        }),
        hide_banner: postfix.hide_banner,
        submission: submission(context, login_maps),
        trust_bundle: PathBuf::new(),
        client_certificate: None,
        relay_clients: desired::relay_clients::Request::default(),
    }
}

/// Returns which services users submit to, and how.
fn submission(
    context: &Context<'_>,
    login_maps: desired::submission::LoginMaps,
) -> desired::submission::Request {
    use desired::submission::{Port, Request};
    let wanted = &context.config.postfix.submission;
    let ports = [
        (wanted.submission, Port::Submission),
        (wanted.submissions, Port::Submissions),
    ];
    Request {
        ports: ports
            .into_iter()
            .filter_map(|(is_wanted, port)| is_wanted.then_some(port))
            .collect(),
        login_maps,
        overrides: wanted.overrides.clone(),
    }
}

/// Makes sure that Postfix knows the overrides of the configuration: it takes a misspelt one without a word.
fn known_overrides(context: &Context<'_>, server: &Instance) -> Result<()> {
    let overrides = &context.config.postfix.submission.overrides;
    let names = overrides.iter().map(|(name, _)| name.as_str());
    let unknown = inspect::unknown_parameters(server, names).map_err(|error| inspect_failure(&error))?;
    match unknown.as_slice() {
        [] => Ok(()),
        unknown => Err(Error::failed(format!(
            "postfix.submission_overrides names what Postfix {} does not know: {}",
            server.version,
            unknown.join(", ")
        ))
        .remedy("correct the name; `postconf -d` lists every parameter")),
    }
}

/// Returns whether a service, or main.cf, holds senders against the sender login map of ours.
fn names_login_map(planned: &PostfixPlan, login: &sender_login::Wanted) -> bool {
    let name = "smtpd_sender_login_maps";
    let services = planned
        .services
        .iter()
        .filter(|service| service.command == "smtpd");
    services
        .map(|service| submission::effective(service, name, &planned.values))
        .any(|value| login.is_named(&value))
}

/// Returns the services that speak TLS, as they are, or as they will be with these changes.
fn services(context: &Context<'_>, server: &Instance, changes: &[FileChange]) -> Vec<TlsService> {
    let main_cf = context.config.postfix.config_directory.join("main.cf");
    let coming = HashSet::new();
    let after = match context.default_certificate() {
        Some(certificate) if !changes.is_empty() => planned(context, server, certificate, &coming).ok(),
        _ => None,
    };
    let Some(mut after) = after else {
        return server.tls_services().services;
    };
    // Whether the SNI map is named by then is in the changes: the lineages in it may be on their way.
    let written = changes.iter().find(|change| change.path == main_cf);
    if let Some(text) = written.and_then(|change| change.after.as_ref()) {
        let raw = MainCf::parse(text).get("tls_server_sni_maps").unwrap_or_default();
        let value = server.values.expand(&String::from_utf8_lossy(&raw));
        after.values.insert("tls_server_sni_maps", value);
    }
    tls_services(&after.services, &after.values, &server.host).services
}

/// Returns the endpoints that speak TLS now, each with the lineage of ours that it serves to everybody.
pub fn served(context: &Context<'_>, server: &Instance) -> Vec<(Endpoint, String)> {
    let services = server.tls_services().services;
    let ours = |service: TlsService| Some((service.endpoint.clone(), ours(context, &service)?));
    services.into_iter().filter_map(ours).collect()
}

/// Returns the lineage whose live files a service names.
fn ours(context: &Context<'_>, service: &TlsService) -> Option<String> {
    let layout = context.store.layout();
    service
        .certificate_files
        .iter()
        .find_map(|file| layout.lineage_of(file))
}

/// Returns which lineage each endpoint is to serve, addresses in the place of names; and for each identifier of the
/// certificates in `in_sni_map`, which is to serve it where a service looks names up in our map.
///
/// With `postfix.verify = "auto"`: every TLS service whose certificate files lie below a live directory of ours. With a list:
/// these endpoints, each with the lineage that the service on its port names, else the one that main.cf names. What is asked of
/// Dovecot, `dovecot::asked` knows.
pub async fn expected(
    context: &Context<'_>,
    server: Option<&Instance>,
    changes: &[FileChange],
    in_sni_map: &[&Certificate],
) -> BTreeMap<Asked, String> {
    let services = server
        .map(|server| services(context, server, changes))
        .unwrap_or_default();
    let ours = |service: &TlsService| ours(context, service);
    // An endpoint, the lineage that it serves by default, and those that it serves by name.
    let is_named = |service: &TlsService| !in_sni_map.is_empty() && sni::is_named(context, &service.sni_maps);
    let by_name = |is_named: bool| if is_named { in_sni_map.to_vec() } else { Vec::new() };
    let mut wanted: Vec<(Endpoint, Option<String>, Vec<&Certificate>)> = match &context.config.postfix.verify
    {
        Verify::Auto => services
            .iter()
            .map(|service| {
                (
                    service.endpoint.clone(),
                    ours(service),
                    by_name(is_named(service)),
                )
            })
            .collect(),
        Verify::Endpoints(endpoints) => {
            let default = context
                .default_certificate()
                .map(|certificate| certificate.name.clone());
            let same_port = |endpoint: &Endpoint| {
                let port = endpoint.port;
                services
                    .iter()
                    .filter(move |service| service.endpoint.port == port)
            };
            endpoints
                .iter()
                .map(|endpoint| {
                    let named = same_port(endpoint)
                        .filter_map(ours)
                        .next()
                        .or_else(|| default.clone());
                    (
                        endpoint.clone(),
                        named,
                        by_name(same_port(endpoint).any(is_named)),
                    )
                })
                .collect()
        }
    };
    let of_dovecot = dovecot::asked(context, changes, in_sni_map);
    wanted.extend(
        of_dovecot
            .into_iter()
            .map(|one| (one.endpoint, one.lineage, one.named)),
    );
    let resolved = join_all(
        wanted
            .iter()
            .map(|(endpoint, ..)| Target::resolve(endpoint, None)),
    )
    .await;
    let mut expected = BTreeMap::new();
    for ((_, lineage, by_name), targets) in wanted.into_iter().zip(resolved) {
        for endpoint in targets.iter().map(Target::asked) {
            expected.extend(by_name.iter().flat_map(|one| asked_for(&endpoint, one)));
            if let Some(lineage) = &lineage {
                expected.insert(endpoint.into(), lineage.clone());
            }
        }
    }
    expected
}

/// Returns how an endpoint is asked for a certificate of the SNI map.
fn asked_for(endpoint: &Endpoint, certificate: &Certificate) -> impl Iterator<Item = (Asked, String)> {
    let names = certificate.identifiers.iter().filter_map(sni::asked_name);
    names.map(|name| {
        let asked = Asked {
            endpoint: endpoint.clone(),
            server_name: Some(name),
        };
        (asked, certificate.name.clone())
    })
}

/// Returns every endpoint that speaks TLS now.
pub fn endpoints(server: &Instance) -> Vec<Endpoint> {
    server
        .tls_services()
        .services
        .into_iter()
        .map(|service| service.endpoint)
        .collect()
}

/// Returns the directories of another instance than the default one that `postfix reload` writes to.
pub fn written_by_reload(context: &Context<'_>) -> Vec<PathBuf> {
    let postfix = &context.config.postfix;
    if !postfix.manage || postfix.config_directory == Path::new("/etc/postfix") {
        return Vec::new();
    }
    let Ok(Some(server)) = inspect(context) else {
        return Vec::new();
    };
    let directories =
        ["queue_directory", "data_directory"].map(|name| PathBuf::from(server.values.get(name)));
    directories
        .into_iter()
        .filter(|path| path.is_absolute())
        .collect()
}

/// Returns the ports that are verified: what TLSA records may speak about.
pub fn ports(context: &Context<'_>) -> BTreeSet<u16> {
    let of_dovecot = dovecot::asked(context, &[], &[])
        .into_iter()
        .map(|one| one.endpoint.port);
    let of_postfix = match &context.config.postfix.verify {
        Verify::Endpoints(endpoints) => endpoints
            .iter()
            .map(|endpoint| endpoint.port)
            .collect::<BTreeSet<u16>>(),
        Verify::Auto => {
            let server = inspect(context).ok().flatten();
            // A port that Postfix is about to offer TLS on counts as well: the usual one for mail is always looked at.
            let known = server.iter().flat_map(endpoints).map(|endpoint| endpoint.port);
            let usual = context.config.postfix.manage.then_some(25);
            known.chain(usual).collect()
        }
    };
    of_dovecot.chain(of_postfix).collect()
}

/// Has Postfix judge the changes in a staged copy; returns what could not be judged.
///
/// # Errors
/// With what the judges have against them, whole, or with tables that the running Postfix cannot open; nothing was written.
pub fn judge(context: &Context<'_>, server: &Instance, changes: &[FileChange]) -> Result<Vec<String>> {
    let mut missing = doctor::needed_tables(server);
    missing.retain(|table| !is_taken_out(server, changes, table));
    if !missing.is_empty()
        && inspect::is_running(context.env, server).map_err(|error| inspect_failure(&error))?
    {
        return Err(missing.iter().fold(tables_failure(), Error::cause));
    }
    judge::judge(context.env, server, changes, Tables::Good).map_err(judge_failure)
}

/// Returns whether a table is named by a file as it is, and no longer by what it will be.
fn is_taken_out(server: &Instance, changes: &[FileChange], table: &MissingTable) -> bool {
    let names = |text: &[u8]| String::from_utf8_lossy(text).contains(&table.word);
    let files = [("main.cf", &server.main_cf), ("master.cf", &server.master_cf)];
    let later = |(name, now): (&str, &Vec<u8>)| {
        let after = after(changes, &server.directory.join(name));
        names(after.unwrap_or(now))
    };
    files.iter().any(|(_, now)| names(now)) && !files.into_iter().any(later)
}

/// Some daemons still have what is gone, and a reload takes it from them for good: no second reload gives it back.
fn tables_failure() -> Error {
    Error::failed("Postfix is to look things up in tables that it cannot open; nothing was changed").remedy(
        "make them (`postmap`), or take them out of main.cf and master.cf; `mailcert check postfix` tells how of each",
    )
}

fn judge_failure(error: JudgeError) -> Error {
    match error {
        JudgeError::Inspect(error) => inspect_failure(&error),
        JudgeError::Tables(complaints) => tables_failure().cause(complaints),
        error => Error::failed("Postfix would not take the new configuration; nothing was changed")
            .cause(error)
            .remedy("mend what Postfix complains about, then run it again"),
    }
}

/// Has Postfix judge what `undo` would bring back. Warnings are notes: the old configuration worked with them.
///
/// # Errors
/// When Postfix would not start with it, or TLS would be off; nothing was written.
pub fn judge_restoring(
    context: &Context<'_>,
    server: &Instance,
    changes: &[FileChange],
) -> Result<Vec<String>> {
    match judge::judge(context.env, server, changes, Tables::AsTheyAre) {
        Err(JudgeError::Complaints(complaints)) if complaints.lines.iter().all(|line| is_harmless(line)) => {
            Ok(vec![format!(
                "Postfix warns about the old configuration: {complaints}"
            )])
        }
        judged => judged.map_err(judge_failure),
    }
}

/// Returns whether Postfix works all the same after saying this.
fn is_harmless(line: &str) -> bool {
    line.contains("warning:") && !line.contains("disabling TLS")
}

/// Writes changes that were planned on what is there.
///
/// # Errors
/// When somebody has edited a file since, or one cannot be written; then none is changed.
pub fn write(changes: &[FileChange]) -> Result<()> {
    apply::write(changes, Moved::Refuse).map_err(|error| apply_failure(&error))
}

/// Takes changes back that were written a moment ago.
///
/// # Errors
/// When somebody has edited a file since, or one cannot be written.
pub fn put_back(changes: &[FileChange]) -> Result<()> {
    apply::restore(changes, Moved::Refuse).map_err(|error| apply_failure(&error))
}

/// Why Postfix was not reloaded.
#[derive(Debug)]
pub enum NotReloaded {
    /// It is not running: what is on disk counts when it starts.
    NotRunning(Error),
    /// It runs, and goes on with what it had.
    Refused(Error),
}

impl From<NotReloaded> for Error {
    fn from(failure: NotReloaded) -> Self {
        match failure {
            NotReloaded::NotRunning(error) | NotReloaded::Refused(error) => error,
        }
    }
}

/// Reloads Postfix.
///
/// # Errors
/// When it is not running, or refuses.
pub fn reload(context: &Context<'_>, server: &Instance) -> Result<(), NotReloaded> {
    apply::reload(context.env, server).map_err(|error| match error {
        ApplyError::NotRunning(_) => NotReloaded::NotRunning(apply_failure(&error)),
        _ => NotReloaded::Refused(apply_failure(&error)),
    })
}

/// Starts Postfix, which served when this run began and has ended since.
///
/// # Errors
/// With what was said.
pub fn start(context: &Context<'_>, server: &Instance) -> Result<()> {
    apply::start(context.env, server).map_err(|error| {
        Error::failed("Postfix has ended, and could not be started again")
            .cause(error)
            .remedy("start it by hand, and look at the mail log")
    })
}

fn apply_failure(error: &ApplyError) -> Error {
    match error {
        ApplyError::Inspect(error) => inspect_failure(error),
        ApplyError::Moved { .. } => {
            Error::failed("the configuration was not written: it was edited meanwhile")
                .cause(error)
                .remedy("look at the new plan and run it again")
        }
        ApplyError::NotRunning(directory) => {
            let command = if directory == Path::new("/etc/postfix") {
                "postfix start".to_owned()
            } else {
                format!("postfix -c {} start", directory.display())
            };
            Error::failed("Postfix was not reloaded")
                .cause(error)
                .remedy(format!(
                    "start it (`{command}`), then `mailcert deploy`; the next `renew` goes on from here as well"
                ))
        }
        ApplyError::Reload { .. } => Error::failed("Postfix was not reloaded")
            .cause(error)
            .remedy("look at the mail log; `mailcert renew` goes on from here"),
        ApplyError::WouldEnd(_) => Error::failed("Postfix was not reloaded: it would end")
            .cause(error)
            .remedy("mend master.cf, then `mailcert deploy`; the next `renew` goes on from here as well"),
        ApplyError::File { error: reason, .. } => {
            let told = Error::failed("the configuration could not be written").cause(error);
            match super::remedy_of(reason) {
                Some(remedy) => told.remedy(remedy),
                None => told,
            }
        }
    }
}
