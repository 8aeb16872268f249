//! `plan`: what differs from the configuration, as a value that `apply` then carries out.

use std::{collections::HashSet, path::Path};

use super::{Context, derived, dns, dovecot, firewall, mail, sni, target::Target};
use crate::{
    config::{Challenge, Http01, Issuer, Timer},
    error::{Error, Result},
    model::{
        lineage::Lineage,
        plan::{CertificateChange, Change, FileChange, Plan},
    },
    timer::{self, Job, Sandbox, Waker},
};

/// Plans the targets, in the order of an apply.
///
/// # Errors
/// When the host cannot be looked at, or refuses what is wanted.
pub fn plan(context: &Context<'_>, targets: &[Target]) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut coming = Vec::new();
    for target in targets {
        match target {
            Target::Certificates => {
                let certificates = certificates(context)?;
                coming = certificates.iter().map(|change| change.lineage.clone()).collect();
                plan.changes
                    .extend(certificates.into_iter().map(Change::Certificate));
                plan.notes.extend(waiting(context)?);
            }
            // Neither a silent name server nor a record that is not ours to touch keeps a certificate from its port.
            Target::Dns => match records(context) {
                Ok(records) => plan.extend(records),
                Err(error) => plan.refusals.push(error),
            },
            // A firewall that cannot be asked keeps nothing else from being done.
            Target::Firewall => match firewall::plan(context) {
                Ok(ports) => plan.extend(ports),
                Err(error) => plan.refusals.push(error),
            },
            Target::Postfix => {
                let issued = issued(context)?;
                let coming: HashSet<&str> = coming.iter().chain(&issued).map(String::as_str).collect();
                plan.extend(postfix(context, &coming)?);
            }
            // A Dovecot whose configuration is broken keeps nothing else from being done.
            Target::Dovecot => {
                let issued = issued(context)?;
                let coming: HashSet<&str> = coming.iter().chain(&issued).map(String::as_str).collect();
                match dovecot::plan(context, &coming) {
                    Ok(files) => plan.extend(files),
                    Err(error) => plan.refusals.push(error),
                }
            }
            Target::Timer => plan.extend(wake(context)?),
        }
    }
    Ok(plan)
}

/// Plans certificates that are missing, or are for other names than the configuration has.
fn certificates(context: &Context<'_>) -> Result<Vec<CertificateChange>> {
    let mut changes = Vec::new();
    for certificate in context
        .config
        .certificates
        .iter()
        .filter(|one| one.issuer.is_asked_by_us())
    {
        let lineage = context.load(&certificate.name)?;
        if let Some(reason) = why_wanted(&lineage, &certificate.identifiers) {
            changes.push(CertificateChange {
                lineage: certificate.name.clone(),
                identifiers: certificate.identifiers.clone(),
                issuer: match (certificate.issuer, &context.config.acme) {
                    (Issuer::Ca, _) => "the private CA".to_owned(),
                    (_, Some(acme)) => acme.directory.clone(),
                    (_, None) => String::new(),
                },
                reason: reason.to_owned(),
            });
        }
    }
    Ok(changes)
}

/// Returns the lineages of the SNI map, and the one that is shown as a client, that have a certificate which no link points at
/// yet: an apply puts it into service.
fn issued(context: &Context<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let certificates = context.config.certificates.iter();
    for certificate in certificates.filter(|one| one.sni || context.config.is_client_certificate(&one.name)) {
        let name = &certificate.name;
        if context.store.live_points_at(name).is_none() && context.load(name)?.newest_complete().is_some() {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Returns why a certificate is to be got, if so.
pub(super) fn why_wanted(
    lineage: &Lineage,
    identifiers: &[crate::model::name::Identifier],
) -> Option<&'static str> {
    let Some((_, current)) = lineage.current() else {
        return Some(if lineage.order.is_some() {
            "an order is unfinished"
        } else {
            "there is no certificate yet"
        });
    };
    let mut wanted = identifiers.to_vec();
    wanted.sort();
    let mut has = current.identifiers.clone();
    has.sort();
    (wanted != has).then_some("the identifiers in the configuration have changed")
}

/// Names lineages whose certificate has to come from elsewhere.
fn waiting(context: &Context<'_>) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for certificate in context
        .config
        .certificates
        .iter()
        .filter(|one| one.issuer == Issuer::External)
    {
        if context.load(&certificate.name)?.newest_complete().is_none() {
            notes.push(format!(
                "{0} has no certificate yet: `mailcert csr {0}` makes the request for a CA, and `mailcert install {0} FILE` takes \
                 its answer; `mailcert install {0} --from DIR` takes over another client's",
                certificate.name
            ));
        }
    }
    Ok(notes)
}

/// Plans main.cf and master.cf. `coming`: lineages that will have a certificate by the time the files are written.
///
/// # Errors
/// When Postfix is not installed, or refuses its own configuration before we touch it.
pub fn postfix(context: &Context<'_>, coming: &HashSet<&str>) -> Result<Plan> {
    let mut plan = Plan::default();
    let Some(certificate) = context
        .default_certificate()
        .filter(|_| context.config.postfix.manage)
    else {
        return Ok(plan);
    };
    let Some(server) = mail::inspect(context)? else {
        return Ok(plan);
    };
    let lineage = context.load(&certificate.name)?;
    if lineage.newest_complete().is_none() && !coming.contains(certificate.name.as_str()) {
        plan.notes.push(format!(
            "Postfix is left as it is: {} has no certificate yet that it could be given",
            certificate.name
        ));
        return Ok(plan);
    }
    let (changes, notes) = mail::plan(context, &server, certificate, coming)?;
    plan.changes
        .extend(sni::plan(context, coming).map(Change::SniMap));
    plan.changes
        .extend(derived::plan(context, &server)?.into_iter().map(Change::Derived));
    plan.changes.extend(changes.into_iter().map(Change::File));
    plan.notes.extend(notes);
    Ok(plan)
}

/// Plans what both mail servers are given, for an `issue`.
///
/// # Errors
/// When Postfix or Dovecot refuses its own configuration.
pub fn servers(context: &Context<'_>, coming: &HashSet<&str>) -> Result<Plan> {
    let mut plan = postfix(context, coming)?;
    plan.extend(dovecot::plan(context, coming)?);
    Ok(plan)
}

/// Plans the records that `dns.publish` names.
fn records(context: &Context<'_>) -> Result<Plan> {
    if context.config.dns.publish.is_empty() {
        return Ok(Plan::default());
    }
    context.wait(dns::planning::plan(context))?
}

/// Plans what wakes `renew`.
fn wake(context: &Context<'_>) -> Result<Plan> {
    let wanted = context.config.renew.timer;
    let waker = timer::detect(context.env, wanted);
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut writable = mail::written_by_reload(context);
    if let Some(Challenge::Http01(Http01::Webroot(root))) =
        context.config.acme.as_ref().map(|acme| &acme.challenge)
    {
        writable.push(root.clone());
    }
    let metrics = context.config.notify.metrics_file.parent();
    writable.extend(
        metrics
            .filter(|directory| !directory.starts_with(&context.config.state_directory))
            .map(Path::to_owned),
    );
    let job = Job {
        executable: context.env.executable(),
        config_file: absolute(&context.config_path),
        state_directory: context.config.state_directory.clone(),
        writable,
        host: context.config.host.name.clone(),
        sandbox: if by_hooks(context) || firewall::is_opened_for_challenges(context) {
            Sandbox::None
        } else {
            Sandbox::Full
        },
    };
    let mut plan = timer::plan(context.env, waker, &job)
        .map_err(|error| Error::failed("the timer could not be planned").cause(error))?;
    if waker == Waker::None && wanted != Timer::None {
        plan.notes.push(
            "this host has neither systemd nor cron: have something run `mailcert renew` every hour".into(),
        );
    }
    Ok(plan)
}

/// Returns the file changes of a plan.
pub fn files(plan: &Plan) -> Vec<FileChange> {
    let file = |change: &Change| match change {
        Change::File(file) => Some(file.clone()),
        Change::Certificate(_)
        | Change::Derived(_)
        | Change::Firewall(_)
        | Change::Rrset(_)
        | Change::SniMap(_)
        | Change::Timer(_) => None,
    };
    plan.changes.iter().filter_map(file).collect()
}

/// Returns whether a renewal runs programs of the operator's.
fn by_hooks(context: &Context<'_>) -> bool {
    let acme = context.config.acme.as_ref();
    !context.config.hooks.is_empty() || acme.is_some_and(|acme| acme.challenge_hook.is_some())
}
