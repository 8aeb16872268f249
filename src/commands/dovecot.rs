//! Dovecot as commands use it: looked at, planned, judged, reloaded; and which of its ports serve which lineage.

use std::{
    collections::HashSet,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Context, mail::NotReloaded, sni};
use crate::{
    config::{Certificate, Verify},
    dovecot::{
        desired::{AuthSocket, Desired, LivePair, Named},
        dialect::Dialect,
        endpoints::{is_covered, named_certificates},
        inspect::{self, Disk, InspectError, Instance},
        judge::{self, JudgeError, Proof},
        plan::{self, Current},
        reload::{self, ReloadError},
        tree::{Tree, TreeError},
    },
    env::process::pause,
    error::{Error, Result},
    model::{
        endpoint::Endpoint,
        name::Identifier,
        plan::{Change, FileChange, Plan},
    },
};

/// Postfix's own user, where main.cf names no other.
const MAIL_OWNER: &str = "postfix";

/// An endpoint that is to be asked.
pub struct AskedOfDovecot<'a> {
    /// Where.
    pub endpoint: Endpoint,
    /// The lineage that it serves to everybody.
    pub lineage: Option<String>,
    /// Those that it serves to clients that ask for their names.
    pub named: Vec<&'a Certificate>,
}

/// Returns whether Dovecot is ours to configure and to reload: it is installed, and nobody says no.
pub fn is_managed(context: &Context<'_>) -> bool {
    context.config.dovecot.manage && context.doveconf().is_some()
}

/// Returns whether any of its ports is verified.
pub fn is_asked(context: &Context<'_>) -> bool {
    match &context.config.dovecot.verify {
        Verify::Auto => is_managed(context),
        Verify::Endpoints(endpoints) => !endpoints.is_empty(),
    }
}

/// Looks at the Dovecot instance; `None` when it is not managed, or not installed.
///
/// # Errors
/// When it refuses its own configuration before we touch it.
pub fn inspect(context: &Context<'_>) -> Result<Option<Instance>> {
    let directory = &context.config.dovecot.config_directory;
    match context.doveconf().filter(|_| is_managed(context)) {
        Some(doveconf) => inspect::inspect(context.env, doveconf, directory)
            .map(Some)
            .map_err(|error| inspect_failure(&error)),
        None => Ok(None),
    }
}

fn inspect_failure(error: &InspectError) -> Error {
    let told = Error::failed("Dovecot cannot be looked at").cause(error);
    match error {
        InspectError::Refused { .. } => told.remedy(
            "mend what Dovecot says (nothing of it was touched), or set dovecot.manage = false to leave it alone",
        ),
        InspectError::Tree(_) => told.remedy("look whether dovecot.config_directory is right"),
        InspectError::Run(_) | InspectError::Version(_) => told,
    }
}

/// Returns the bytes of every file of its configuration, without asking Dovecot; nothing where it is not managed.
pub fn files(context: &Context<'_>) -> Result<Option<Vec<u8>>, TreeError> {
    if !is_managed(context) {
        return Ok(None);
    }
    // Which words are settings does not matter here.
    let tree = tree(context, Dialect::V2_3)?;
    Ok(Some(tree.to_bytes()))
}

/// Returns whether any of its files names a live directory of ours, without asking Dovecot.
pub fn names_ours(context: &Context<'_>) -> bool {
    let live = context.store.layout().live_directory();
    let text = files(context).ok().flatten().unwrap_or_default();
    live.to_str()
        .is_some_and(|live| String::from_utf8_lossy(&text).contains(live))
}

fn tree(context: &Context<'_>, dialect: Dialect) -> Result<Tree, TreeError> {
    let main = inspect::main_file(&context.config.dovecot.config_directory);
    Tree::read(&main, dialect, &Disk)
}

/// Returns whether a file of a plan is one that Dovecot reads: below its directory, or included from elsewhere.
pub fn is_file(context: &Context<'_>, path: &Path) -> bool {
    path.starts_with(&context.config.dovecot.config_directory)
        || is_managed(context) && tree(context, Dialect::V2_3).is_ok_and(|tree| tree.file(path).is_some())
}

/// Plans the files of Dovecot. `coming`: lineages that will have a certificate by the time they are written.
///
/// # Errors
/// When it refuses its own configuration, or cannot be given what is wanted.
pub fn plan(context: &Context<'_>, coming: &HashSet<&str>) -> Result<Plan> {
    let mut plan = Plan::default();
    let Some(certificate) = context.default_certificate().filter(|_| is_managed(context)) else {
        return Ok(plan);
    };
    let Some(instance) = inspect(context)? else {
        return Ok(plan);
    };
    let lineage = context.load(&certificate.name)?;
    if lineage.newest_complete().is_none() && !coming.contains(certificate.name.as_str()) {
        plan.notes.push(format!(
            "Dovecot is left as it is: {} has no certificate yet that it could be given",
            certificate.name
        ));
        return Ok(plan);
    }
    let desired = desired(context, certificate, coming)?;
    if let Some(path) = desired.unnameable() {
        return Err(Error::failed("Dovecot cannot be given its certificate")
            .cause(format!(
                "its configuration cannot name {}: it would take a character in it for something else",
                path.display()
            ))
            .remedy(
                "choose a state directory, and names of lineages, of letters, digits, `.`, `_` and `-`",
            ));
    }
    let identifiers = identifiers(context, certificate);
    let current = Current {
        main: &instance.main(),
        dialect: instance.dialect(),
        tree: &instance.tree,
        source: &Disk,
        identifiers: &identifiers,
    };
    let planned = plan::plan(&current, &desired).map_err(|error| {
        Error::failed("Dovecot cannot be given what the configuration asks for").cause(error)
    })?;
    plan.changes.extend(planned.changes.into_iter().map(Change::File));
    plan.notes.extend(planned.notes);
    Ok(plan)
}

/// Returns the lineages that have names of their own to be served for.
fn named<'a>(context: &'a Context<'_>, default: &'a Certificate) -> impl Iterator<Item = &'a Certificate> {
    sni::certificates(context).filter(|one| one.name != default.name)
}

/// Returns what the certificates in question are for.
fn identifiers(context: &Context<'_>, default: &Certificate) -> Vec<Identifier> {
    let all = [default].into_iter().chain(named(context, default));
    all.flat_map(|one| one.identifiers.iter().cloned()).collect()
}

fn desired(context: &Context<'_>, default: &Certificate, coming: &HashSet<&str>) -> Result<Desired> {
    let layout = context.store.layout();
    let pair = |name: &str| LivePair::below(&layout.live(name));
    let is_there = |one: &&Certificate| {
        coming.contains(one.name.as_str()) || context.store.live_points_at(&one.name).is_some()
    };
    let named = named(context, default).filter(is_there).map(|one| Named {
        names: one.identifiers.iter().map(Identifier::to_string).collect(),
        pair: pair(&one.name),
    });
    Ok(Desired {
        default: pair(&default.name),
        named: named.collect(),
        auth_socket: auth_socket(context)?,
    })
}

/// Returns the listener that Postfix asks, where it is wanted.
fn auth_socket(context: &Context<'_>) -> Result<Option<AuthSocket>> {
    if !context.config.dovecot.auth_socket {
        return Ok(None);
    }
    let directory = &context.config.postfix.config_directory;
    let server = crate::postfix::inspect::inspect(context.env, directory).map_err(|error| {
        Error::failed("Dovecot cannot be given the listener that Postfix asks: Postfix does not say where")
            .cause(error)
            .remedy("mend what Postfix says, or set dovecot.auth_socket = false")
    })?;
    let queue = PathBuf::from(server.values.get("queue_directory"));
    let user = match server.values.get("mail_owner") {
        "" => MAIL_OWNER,
        owner => owner,
    };
    let group = nix::unistd::User::from_name(user)
        .ok()
        .flatten()
        .and_then(|user| nix::unistd::Group::from_gid(user.gid).ok().flatten())
        .map_or_else(|| user.to_owned(), |group| group.name);
    Ok(Some(AuthSocket {
        path: queue.join("private/auth"),
        user: user.to_owned(),
        group,
    }))
}

/// Waits until somebody listens where Postfix asks who may log in: `doveadm reload` returns before the new listener is there. One
/// that never comes is seen by Postfix's ports.
pub fn await_auth_socket(context: &Context<'_>) {
    /// How often it is looked for, and the pause in between: ten seconds.
    const LOOKS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(100);
    let Ok(Some(socket)) = auth_socket(context) else {
        return;
    };
    for _ in 0..LOOKS {
        if UnixStream::connect(&socket.path).is_ok() {
            return;
        }
        pause(PAUSE);
    }
}

/// Has Dovecot judge the changes in a staged copy, and makes sure that ours is what it would serve; returns its new warnings.
///
/// # Errors
/// With what it has against them, whole; nothing was written.
pub fn judge(context: &Context<'_>, instance: &Instance, changes: &[FileChange]) -> Result<Vec<String>> {
    let Some(default) = context.default_certificate() else {
        return Ok(Vec::new());
    };
    let layout = context.store.layout();
    let pair = LivePair::below(&layout.live(&default.name));
    let identifiers = identifiers(context, default);
    let proof = Proof::Ours {
        fullchain: &pair.fullchain,
        privkey: &pair.privkey,
        live: &layout.live_directory(),
        is_ours: &|name| is_covered(name, &identifiers),
    };
    let warned = judge::judge(instance, changes, proof).map_err(judge_failure)?;
    Ok(warned
        .into_iter()
        .map(|line| format!("Dovecot warns: {line}"))
        .collect())
}

/// Has Dovecot judge what `undo` would bring back.
///
/// # Errors
/// When it would refuse it; nothing was written.
pub fn judge_restoring(instance: &Instance, changes: &[FileChange]) -> Result<Vec<String>> {
    let warned = judge::judge(instance, changes, Proof::Anything).map_err(judge_failure)?;
    let told = |line: String| format!("Dovecot warns about the old configuration: {line}");
    Ok(warned.into_iter().map(told).collect())
}

fn judge_failure(error: JudgeError) -> Error {
    match error {
        JudgeError::Inspect(error) => inspect_failure(&error),
        JudgeError::Outdone(_) => {
            Error::failed("Dovecot would not serve our certificate; nothing was changed")
                .cause(error)
                .remedy("take that out of its configuration by hand, then run it again")
        }
        error => Error::failed("Dovecot would not take the new configuration; nothing was changed")
            .cause(error)
            .remedy("mend what Dovecot complains about, then run it again"),
    }
}

/// Reloads Dovecot.
///
/// # Errors
/// When it is not running, or refuses.
pub fn reload(context: &Context<'_>, instance: &Instance) -> Result<(), NotReloaded> {
    reload::reload(context.env, instance).map_err(|error| {
        let told = Error::failed("Dovecot was not reloaded").cause(&error);
        match error {
            ReloadError::NotRunning(_) => NotReloaded::NotRunning(told.remedy(
                "start it, then `mailcert deploy` (the next `renew` goes on from here as well); \
                 or set dovecot.manage = false to leave it alone",
            )),
            ReloadError::NotInstalled(_) | ReloadError::Refused { .. } | ReloadError::Run(_) => {
                NotReloaded::Refused(told.remedy("look at Dovecot's log; `mailcert renew` goes on from here"))
            }
        }
    })
}

/// Starts Dovecot, which served when this run began and has ended since.
///
/// # Errors
/// With what was said.
pub fn start(context: &Context<'_>, instance: &Instance) -> Result<()> {
    reload::start(context.env, instance).map_err(|error| {
        Error::failed("Dovecot has ended, and could not be started again")
            .cause(error)
            .remedy("start it by hand, and look at its log")
    })
}

/// Begins to watch the log for what the master has against a configuration that it is about to read.
pub fn watch(context: &Context<'_>, instance: &Instance) -> reload::Watch {
    reload::Watch::begin(context.env, instance, context.now())
}

/// Returns the lineages that the configuration names for anybody.
pub fn named_lineages(context: &Context<'_>, instance: &Instance) -> HashSet<String> {
    let dialect = instance.dialect();
    let certificates = instance.effective.certificates();
    let files = certificates
        .iter()
        .filter_map(|one| dialect.named_file(&one.certificate));
    let layout = context.store.layout();
    files
        .filter_map(|file| layout.lineage_of(Path::new(file)))
        .collect()
}

/// Returns every endpoint that speaks TLS now.
pub fn endpoints(instance: &Instance) -> Vec<Endpoint> {
    instance
        .tls_services()
        .into_iter()
        .map(|service| service.endpoint)
        .collect()
}

/// Returns the ports on which it speaks TLS with other hosts, or will once it has the certificate that it is to be given.
pub fn ports_for_others(context: &Context<'_>) -> Vec<u16> {
    let Some(instance) = inspect(context).ok().flatten() else {
        return Vec::new();
    };
    let mut effective = instance.effective;
    if context.default_certificate().is_some() {
        effective.root.settings.push(("ssl".to_owned(), "yes".to_owned()));
    }
    let ports = crate::dovecot::endpoints::ports_for_others(&effective);
    ports.into_iter().map(|(port, _)| port).collect()
}

/// Returns the endpoints that speak TLS now, each with the lineage of ours that it serves to everybody.
pub fn served(context: &Context<'_>, instance: &Instance) -> Vec<(Endpoint, String)> {
    let layout = context.store.layout();
    let services = instance.tls_services().into_iter();
    services
        .filter_map(|service| {
            Some((
                service.endpoint,
                layout.lineage_of(service.certificate_file.as_deref()?)?,
            ))
        })
        .collect()
}

/// Returns which endpoints are to be asked, and what each is to serve, as the configuration is or will be with these changes.
///
/// With `dovecot.verify = "auto"`: where it speaks TLS and a certificate of ours is named. With a list: these, each with the lineage
/// that its port names, else the one that Postfix names.
pub fn asked<'a>(
    context: &Context<'_>,
    changes: &[FileChange],
    in_sni_map: &[&'a Certificate],
) -> Vec<AskedOfDovecot<'a>> {
    let default = context.default_certificate();
    let instance = inspect(context).ok().flatten();
    let services = match (&instance, default) {
        (Some(instance), Some(default)) => services(context, instance, default, changes, in_sni_map),
        _ => Vec::new(),
    };
    let Verify::Endpoints(endpoints) = &context.config.dovecot.verify else {
        return services;
    };
    let default = default.map(|default| default.name.clone());
    let with = |endpoint: &Endpoint| {
        let same_port = services
            .iter()
            .find(|service| service.endpoint.port == endpoint.port);
        AskedOfDovecot {
            endpoint: endpoint.clone(),
            lineage: same_port
                .and_then(|service| service.lineage.clone())
                .or_else(|| default.clone()),
            named: same_port.map(|service| service.named.clone()).unwrap_or_default(),
        }
    };
    endpoints.iter().map(with).collect()
}

fn services<'a>(
    context: &Context<'_>,
    instance: &Instance,
    default: &Certificate,
    changes: &[FileChange],
    in_sni_map: &[&'a Certificate],
) -> Vec<AskedOfDovecot<'a>> {
    let layout = context.store.layout();
    let is_changed = changes.iter().any(|change| is_file(context, &change.path));
    let mut services = instance.tls_services();
    if is_changed && services.is_empty() {
        // TLS may be off as yet.
        let mut on = instance.effective.clone();
        on.root.settings.push(("ssl".to_owned(), "yes".to_owned()));
        services = crate::dovecot::endpoints::tls_services(&on, instance.ipv6);
    }
    let blocks: HashSet<String> = named_certificates(&instance.effective)
        .into_iter()
        .filter_map(|(_, file)| layout.lineage_of(&file))
        .collect();
    services
        .into_iter()
        .map(|service| {
            let lineage = match service.certificate_file {
                _ if is_changed => Some(default.name.clone()),
                file => file.and_then(|file| layout.lineage_of(&file)),
            };
            let is_named = |one: &&&Certificate| {
                is_changed || blocks.contains(&one.name) || lineage.as_ref() == Some(&one.name)
            };
            AskedOfDovecot {
                endpoint: service.endpoint,
                named: in_sni_map.iter().filter(is_named).copied().collect(),
                lineage,
            }
        })
        .collect()
}
