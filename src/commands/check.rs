//! `check`: looks at everything from outside and inside, and prints findings; changes nothing.

mod tls;

use std::{collections::HashSet, path::Path};

use super::{
    Context, certificates, doctor, domains, firewall, mail, outbound,
    outcome::Findings,
    plan, relay_clients, sender_login,
    sni::{self, Extent},
    trust_bundle,
};
use crate::{
    ca::{layout::Layout, root_certificates},
    config::{Issuer, Timer},
    env::{Env, files, progress::Progress},
    error::{Error, Result},
    model::{
        endpoint::Peer,
        finding::{Finding, Severity},
        name::DomainName,
        plan::Change,
    },
    postfix::{doctor::is_told, inspect::Instance},
    probe::{load_roots, trust::Roots},
    timer,
};

/// No certificate file of Postfix is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// `renew` runs every hour; so long without one is strange.
const LATE: time::Duration = time::Duration::hours(3);
/// So long without one is not.
const VERY_LATE: time::Duration = time::Duration::days(1);

/// Something to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Certificates,
    Dns,
    Dovecot,
    Firewall,
    Outbound,
    Postfix,
    Timer,
    Tls,
}

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Targets; words after `dns` are domains, which need no configuration.
    pub words: &'a [String],
    /// Hosts for `outbound`.
    pub to: &'a [Peer],
    /// DKIM selectors for `dns`.
    pub selectors: &'a [String],
    /// How many names of the SNI map `tls` asks for.
    pub sni_names: Extent,
}

/// Checks the targets; without one, everything.
///
/// # Errors
/// Exit 2 for a word that is no target; when the configuration is needed and wrong.
pub fn run(env: &Env, config: &Path, progress: &Progress, request: Request<'_>) -> Result<Findings> {
    let (families, domains) = parse(request.words)?;
    if !request.to.is_empty() && !families.contains(&Family::Outbound) {
        return Err(Error::usage(
            "--to names hosts for `mailcert check outbound`, which was not asked for",
        ));
    }
    if !request.selectors.is_empty() && !families.contains(&Family::Dns) {
        return Err(Error::usage(
            "--selector names a DKIM key for `mailcert check dns`, which was not asked for",
        ));
    }
    if request.sni_names == Extent::Every && !families.contains(&Family::Tls) {
        return Err(Error::usage(
            "--every-name is for `mailcert check tls`, which was not asked for",
        ));
    }
    if !domains.is_empty() {
        let checked = domains::any(env, config, &domains, request.selectors, progress)?;
        return Ok(Findings::sorted(checked));
    }
    if families == [Family::Outbound] {
        let found = outbound::run(env, config, progress, request.to)?;
        return Ok(Findings::sorted(found));
    }
    let context = Context::open(env, config, progress.clone())?;
    let (mut findings, mut expiries) = (Vec::new(), Vec::new());
    for family in families {
        match family {
            Family::Certificates => {
                let (found, dates) = certificates::check(&context)?;
                findings.extend(found);
                expiries.extend(dates);
            }
            Family::Dns => findings.extend(domains::own(&context, request.selectors)?),
            Family::Dovecot => {
                let asked = match request.words {
                    [] => doctor::dovecot::Asked::WithEverything,
                    _ => doctor::dovecot::Asked::ByName,
                };
                findings.extend(doctor::dovecot::findings(&context, asked)?);
            }
            Family::Firewall => {
                let found = firewall::findings(&context);
                // Asked for by name, everything is told; as a part of everything, what matters.
                let is_told =
                    |finding: &Finding| !request.words.is_empty() || finding.severity >= Severity::Warning;
                findings.extend(found.into_iter().filter(is_told));
            }
            Family::Outbound if request.words.is_empty() => {
                findings.extend(outbound::with_everything(&context)?);
            }
            Family::Outbound => findings.extend(outbound::run(env, config, progress, request.to)?),
            Family::Postfix => findings.extend(postfix(&context)),
            Family::Timer => findings.extend(timer_findings(&context)),
            Family::Tls => findings.extend(tls::findings(&context, request.sni_names)?),
        }
    }
    Ok(Findings {
        expiries,
        ..Findings::sorted(findings)
    })
}

/// Checks every domain of a list by the DNS alone; returns the worst severity. `tell` is given each finding as it comes.
///
/// # Errors
/// Exit 2 when something else is asked for beside, or the list is wrong.
pub fn list(
    env: &Env,
    config: &Path,
    list: &Path,
    request: Request<'_>,
    tell: &mut dyn FnMut(Finding),
) -> Result<Severity> {
    if request.words != ["dns"] || !request.to.is_empty() || request.sni_names == Extent::Every {
        return Err(Error::usage("--from names a list for `mailcert check dns` alone")
            .remedy("run `mailcert check dns --from FILE`"));
    }
    let mut worst = Severity::Ok;
    domains::listed(env, config, list, request.selectors, &mut |finding| {
        worst = worst.max(finding.severity);
        tell(finding);
    })?;
    Ok(worst)
}

fn parse(words: &[String]) -> Result<(Vec<Family>, Vec<DomainName>)> {
    let mut families = Vec::new();
    let mut domains = Vec::new();
    for word in words {
        match word.as_str() {
            "certificates" => families.push(Family::Certificates),
            "dns" => families.push(Family::Dns),
            "dovecot" => families.push(Family::Dovecot),
            "firewall" => families.push(Family::Firewall),
            "outbound" => families.push(Family::Outbound),
            "postfix" => families.push(Family::Postfix),
            "timer" => families.push(Family::Timer),
            "tls" => families.push(Family::Tls),
            text if families.last() == Some(&Family::Dns) => {
                let domain = text
                    .parse::<DomainName>()
                    .map_err(|error| Error::usage(error.to_string()))?;
                domains.push(domain);
            }
            text => {
                return Err(Error::usage(format!(
                    "`{}` is nothing that can be checked",
                    text.escape_debug()
                ))
                .remedy("name certificates, tls, postfix, dovecot, firewall, dns, outbound or timer; domains may follow dns"));
            }
        }
    }
    if !domains.is_empty() && families != [Family::Dns] {
        return Err(Error::usage(
            "domains are checked by `mailcert check dns DOMAIN...` alone",
        ));
    }
    if families.is_empty() {
        families = vec![
            Family::Certificates,
            Family::Tls,
            Family::Postfix,
            Family::Dovecot,
            Family::Firewall,
            Family::Dns,
            Family::Outbound,
            Family::Timer,
        ];
    }
    Ok((families, domains))
}

/// Looks at what Postfix is configured to do, against what the configuration wants.
fn postfix(context: &Context<'_>) -> Vec<Finding> {
    context.progress.step("looking at Postfix");
    let directory = context.config.postfix.config_directory.display().to_string();
    let refused = |error: &Error| {
        let evidence = std::iter::once(&error.message)
            .chain(&error.causes)
            .cloned()
            .collect::<Vec<_>>()
            .join(": ");
        Finding::new(Severity::Error, "postfix.refused", directory.clone(), evidence)
            .remedy(error.remedies.join("\n"))
            .reference("postconf(1)")
    };
    let unmanaged =
        |evidence: &str| Finding::new(Severity::Info, "postfix.unmanaged", directory.clone(), evidence);
    let is_managed = context.config.postfix.manage;
    let server = match mail::look(context) {
        Ok(Some(server)) => server,
        Ok(None) => {
            return vec![unmanaged(
                "postfix.manage is false, and there is no Postfix to look at",
            )];
        }
        Err(error) => return vec![refused(&error)],
    };
    let mut findings: Vec<Finding> = server
        .warnings
        .iter()
        .filter(|line| !is_told(line))
        .map(|line| {
            Finding::new(
                Severity::Warning,
                "postfix.warning",
                directory.clone(),
                line.clone(),
            )
            .remedy("mend what postconf warns about")
            .reference("postconf(1)")
        })
        .collect();
    findings.extend(client_ca(&server));
    findings.extend(sni::findings(context, &server));
    findings.extend(relay_clients::findings(context, &server));
    findings.extend(trust_bundle::findings(context, &server));
    findings.extend(doctor::findings(context, &server));
    let planned = is_managed.then(|| plan::postfix(context, &HashSet::new()));
    match planned {
        None => {
            doctor::by_hand::adapt(&mut findings, "postfix");
            findings.push(unmanaged(
                "postfix.manage is false: mailcert looks at it, and changes nothing of it",
            ));
        }
        Some(Err(error)) => findings.push(refused(&error)),
        Some(Ok(plan)) => {
            for change in &plan.changes {
                let Change::File(change) = change else { continue };
                // The map follows aliases that others edit, and only `apply` writes it.
                if sender_login::is_part(context, &change.path)
                    && change.before.is_some()
                    && change.before != change.after
                {
                    findings.push(stale_logins(&change.path));
                    continue;
                }
                findings.push(
                    Finding::new(
                        Severity::Warning,
                        "postfix.not-as-wanted",
                        change.path.display().to_string(),
                        change.reasons.join("; "),
                    )
                    .remedy(
                        "`mailcert plan postfix` shows the difference, `mailcert apply postfix` makes it so",
                    ),
                );
            }
            findings.extend(
                plan.notes
                    .into_iter()
                    .map(|note| Finding::new(Severity::Info, "postfix.note", directory.clone(), note)),
            );
        }
    }
    if findings
        .iter()
        .all(|finding| finding.severity < Severity::Warning)
    {
        findings.push(Finding::new(
            Severity::Ok,
            "postfix.ok",
            directory,
            match is_managed {
                true => "it is as the configuration wants it",
                false => "nothing is wrong with it",
            },
        ));
    }
    findings
}

/// A generated sender login map that is not what the aliases make of it now.
fn stale_logins(path: &Path) -> Finding {
    Finding::new(
        Severity::Warning,
        "postfix.sender-login-stale",
        path.display().to_string(),
        "the aliases or domains that it is made of have changed: new addresses can be sent as by nobody, and those that are gone \
         still by whom they belonged to",
    )
    .remedy("`mailcert plan postfix` shows the difference, `mailcert apply postfix` makes it anew")
    .reference("postconf(5), smtpd_sender_login_maps")
}

/// A file of trusted roots that holds none: every outgoing session is then logged as untrusted.
fn client_ca(server: &Instance) -> Option<Finding> {
    let path = server.values.get("smtp_tls_CAfile");
    if path.is_empty() {
        return None;
    }
    let bytes = files::read_if_exists(Path::new(path), LIMIT * 4).ok()?;
    let finding = |evidence: &str| {
        Some(
            Finding::new(Severity::Error, "postfix.client-ca", path, evidence)
                .remedy("set postfix.client_ca = \"system\", then `mailcert apply postfix`")
                .reference("postconf(5), smtp_tls_CAfile"),
        )
    };
    let Some(bytes) = bytes else {
        return finding("smtp_tls_CAfile names a file that does not exist");
    };
    let certificates = crate::model::certificate::certificates_from_pem(&bytes).ok()?;
    if certificates.iter().any(|certificate| certificate.is_ca) {
        return None;
    }
    finding("smtp_tls_CAfile holds no CA certificate: it names the roots we trust, not our own certificate")
}

/// The roots that clients trust: the system's, and that of our private CA where it issues a lineage: who is to be served by it
/// was given it. The root of an ACME directory says nothing about what it issues.
pub(super) fn roots(context: &Context<'_>) -> Result<Option<Roots>> {
    let system = load_roots(context.env, None).ok();
    if !context
        .config
        .certificates
        .iter()
        .any(|one| one.issuer == Issuer::Ca)
    {
        return Ok(system);
    }
    let layout = Layout::new(&context.store.layout().ca());
    let own = root_certificates(&layout).unwrap_or_default();
    let own = Roots::from_ders(own.iter().map(|root| &root.der));
    Ok(Some(match system {
        Some(mut system) => {
            system.extend(own);
            system
        }
        None => own,
    }))
}

fn timer_findings(context: &Context<'_>) -> Vec<Finding> {
    if context.config.renew.timer == Timer::None {
        return vec![Finding::new(
            Severity::Info,
            "timer.none",
            "renew.timer",
            "no timer of ours is wanted",
        )];
    }
    let seen = timer::status(
        context.env,
        timer::detect(context.env, context.config.renew.timer),
    );
    let subject = if seen.waker == timer::Waker::None {
        "renew.timer"
    } else {
        seen.waker.name()
    };
    if seen.enabled {
        let ran = [
            seen.last_run,
            super::renew::last_run(&context.store),
            context.store.load_runs().runs.get("renew").map(|run| run.at),
        ];
        let since = ran
            .into_iter()
            .flatten()
            .max()
            .or_else(|| timer::installed_at(context.env, seen.waker, &context.config_path));
        let silent = since.map(|since| context.now() - since).unwrap_or_default();
        if silent > LATE {
            let severity = if silent > VERY_LATE {
                Severity::Error
            } else {
                Severity::Warning
            };
            let evidence = format!("no `mailcert renew` has ended for {} h", silent.whole_hours());
            let remedy = match seen.waker {
                timer::Waker::Systemd => {
                    "`systemctl status mailcert-renew.timer mailcert-renew.service` tells why"
                }
                timer::Waker::Cron | timer::Waker::None => "see that cron runs, and what it logs",
            };
            return vec![
                Finding::new(severity, "timer.late", subject, evidence)
                    .remedy(remedy)
                    .reference("systemd.timer(5), crontab(5)"),
            ];
        }
        return vec![Finding::new(
            Severity::Ok,
            "timer.enabled",
            subject,
            "`mailcert renew` is woken regularly",
        )];
    }
    vec![
        Finding::new(
            Severity::Error,
            "timer.disabled",
            subject,
            "nothing wakes `mailcert renew`",
        )
        .remedy("`mailcert apply timer` enables it")
        .reference("systemd.timer(5), crontab(5)"),
    ]
}
