//! The firewall as commands use it: looked at, planned, opened; and the challenge's port, open only while the CA looks.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Context, dovecot};
use crate::{
    acme::{
        AcmeError,
        challenge::{BoxFuture, ChallengeResponse, ChallengeType, Present, Verdict},
    },
    config::{Challenge, Http01, Verify},
    error::{Error, Result},
    firewall::{self, Firewall, FirewallError, Seen, Treatment, desired},
    model::{
        finding::{Finding, Severity},
        plan::{Change, FirewallAction, FirewallChange, Plan},
    },
    postfix::{endpoints::ports_for_others, inspect},
    store::{Store, StoreError},
};

/// Returns the ports that are served to others, each with its reason.
fn served(context: &Context<'_>) -> Vec<(u16, String)> {
    let mut found = Vec::new();
    let postfix = &context.config.postfix;
    if let Ok(server) = inspect::inspect(context.env, &postfix.config_directory) {
        let ports = ports_for_others(&server.services, &server.values, &server.host);
        let mail = ports
            .into_iter()
            .filter(|port| desired::MAIL_PORTS.contains(port));
        found.extend(mail.map(|port| (port, format!("master.cf takes mail on port {port}"))));
    }
    let mut ports = desired::MAIL_PORTS.to_vec();
    ports.extend(listed(context));
    let listening = desired::listening(context.env, &ports);
    found.extend(
        listening
            .into_iter()
            .map(|port| (port, format!("a server listens on port {port}"))),
    );
    found
}

/// Returns the ports that the operator lists to be verified, but for those of the loopback and of other hosts' names.
///
/// Dovecot's ports for STARTTLS, 143 and 110, and 995 are opened only where they are among them: mail programs are to use 993
/// (RFC 8314, 3).
fn listed(context: &Context<'_>) -> impl Iterator<Item = u16> {
    let of_postfix = match &context.config.postfix.verify {
        Verify::Endpoints(endpoints) => endpoints.as_slice(),
        Verify::Auto => &[],
    };
    let all = of_postfix.iter().chain(context.config.dovecot.listed());
    let host = context.config.host.name.to_string();
    all.filter(move |endpoint| match endpoint.host.parse::<IpAddr>() {
        Ok(address) => !address.is_loopback(),
        Err(_) => endpoint.host == host,
    })
    .map(|endpoint| endpoint.port)
}

/// Returns whether a port is served to others.
pub fn is_served(context: &Context<'_>, port: u16) -> bool {
    served(context).iter().any(|(served, _)| *served == port)
}

/// Returns the ports that others should reach, each with its reason: also those that the configuration wants served.
fn wanted(context: &Context<'_>) -> Vec<(u16, String)> {
    let mut found = served(context);
    let postfix = &context.config.postfix;
    let submission = &postfix.submission;
    if postfix.manage && submission.submission {
        found.push((587, "postfix.submission is true".to_owned()));
    }
    if postfix.manage && submission.submissions {
        found.push((465, "postfix.submissions is true".to_owned()));
    }
    let of_dovecot = dovecot::ports_for_others(context).into_iter();
    found.extend(
        of_dovecot
            .filter(|port| desired::MAIL_PORTS.contains(port))
            .map(|port| (port, format!("Dovecot serves port {port}"))),
    );
    desired::with_reasons(found)
}

fn failure(error: &FirewallError) -> Error {
    let told = Error::failed("the firewall could not be asked or changed").cause(error);
    match error {
        FirewallError::Gone(manager) => told.remedy(format!(
            "start {manager}, or open and close the port by hand; nothing was changed"
        )),
        FirewallError::Refused(..) | FirewallError::Run(_) => {
            told.remedy("run it as root, and look what the program says")
        }
        FirewallError::Unread(_) => told.remedy("open the ports by hand; mailcert left them as they are"),
    }
}

/// Looks how the wanted ports are treated.
fn look(context: &Context<'_>, ports: &[(u16, String)]) -> Result<(Firewall, Vec<Seen>), FirewallError> {
    let found = firewall::find(context.env)?;
    let numbers: Vec<u16> = ports.iter().map(|(port, _)| *port).collect();
    let seen = found.look(&numbers)?;
    Ok((found, seen))
}

fn reason_of(ports: &[(u16, String)], port: u16) -> String {
    let found = ports.iter().find(|(number, _)| *number == port);
    found.map(|(_, reason)| reason.clone()).unwrap_or_default()
}

/// Tells how each port that serves others is treated.
pub fn findings(context: &Context<'_>) -> Vec<Finding> {
    context.progress.step("looking at the firewall");
    let ports = wanted(context);
    if ports.is_empty() {
        let evidence = "nothing of mail listens on an address that others reach";
        return vec![Finding::new(
            Severity::Info,
            "firewall.unneeded",
            "firewall",
            evidence,
        )];
    }
    let (found, seen) = match look(context, &ports) {
        Ok(looked) => looked,
        Err(error) => {
            let told = failure(&error);
            return vec![
                Finding::new(
                    Severity::Warning,
                    "firewall.unasked",
                    "firewall",
                    error.to_string(),
                )
                .remedy(told.remedies.join("\n"))
                .reference("firewall-cmd(1), ufw(8), nft(8)"),
            ];
        }
    };
    if found == Firewall::None && firewall::has_legacy_rules(context.env) {
        let evidence = "rules of iptables-legacy are in force, which mailcert does not judge";
        return vec![
            Finding::new(Severity::Info, "firewall.partly", "firewall", evidence)
                .remedy("look at them: `iptables-legacy -S INPUT`, `ip6tables-legacy -S INPUT`")
                .reference("iptables(8)"),
        ];
    }
    if found == Firewall::None {
        let evidence = "neither firewalld nor ufw runs, and no rule of nftables closes anything";
        return vec![Finding::new(
            Severity::Info,
            "firewall.none",
            "firewall",
            evidence,
        )];
    }
    let is_ours = context.config.firewall.manage && !matches!(found, Firewall::Nftables { .. });
    seen.iter()
        .map(|one| finding(&found, one, &reason_of(&ports, one.port), is_ours))
        .collect()
}

fn finding(found: &Firewall, seen: &Seen, reason: &str, is_ours: bool) -> Finding {
    let subject = match &seen.zone {
        Some(zone) => format!("{}/tcp in zone {zone}", seen.port),
        None => format!("{}/tcp", seen.port),
    };
    let name = found.name();
    let remedy = || match is_ours {
        true => "`mailcert apply firewall` opens it".to_owned(),
        false => found.how_to_open(seen),
    };
    let tell = |severity, id, evidence: String| Finding::new(severity, id, &subject, evidence);
    let reference = match found {
        Firewall::Firewalld { .. } => "firewall-cmd(1)",
        Firewall::Ufw { .. } => "ufw(8)",
        Firewall::Nftables { .. } | Firewall::None => "nft(8)",
    };
    match &seen.treatment {
        Treatment::Open => tell(Severity::Ok, "firewall.open", format!("{name} lets everybody in")),
        Treatment::Closed => tell(
            Severity::Error,
            "firewall.closed",
            format!("{reason}, and {name} lets nobody in"),
        )
        .remedy(remedy())
        .reference(reference),
        Treatment::Denied => tell(
            Severity::Warning,
            "firewall.denied",
            format!("{reason}, and a rule of {name} for this port lets nobody in"),
        )
        .remedy("take the rule away if it is not meant so (`ufw status numbered`, `ufw delete NUMBER`); mailcert leaves it")
        .reference(reference),
        Treatment::Partly(why) => tell(Severity::Info, "firewall.partly", format!("{name}: {why}")),
        Treatment::PermanentOnly => tell(
            Severity::Error,
            "firewall.permanent-only",
            format!("{reason}, and {name} lets nobody in until it is started anew"),
        )
        .remedy(remedy())
        .reference(reference),
        Treatment::RuntimeOnly => tell(
            Severity::Warning,
            "firewall.runtime-only",
            format!("{name} lets everybody in until it is reloaded or started anew"),
        )
        .remedy(remedy())
        .reference(reference),
    }
}

/// Plans the ports that are to be opened.
///
/// # Errors
/// When the firewall cannot be asked.
pub fn plan(context: &Context<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    if !context.config.firewall.manage {
        return Ok(plan);
    }
    let ports = wanted(context);
    let (found, seen) = look(context, &ports).map_err(|error| failure(&error))?;
    if found == Firewall::None {
        plan.notes
            .push("no firewall runs on this host: every port is open as far as it is concerned".to_owned());
    }
    for one in &seen {
        match (&found, &one.treatment) {
            (Firewall::Nftables { .. }, Treatment::Closed) => plan.notes.push(format!(
                "nftables lets nobody in on port {}: {}",
                one.port,
                found.how_to_open(one)
            )),
            (_, Treatment::Denied) => plan.notes.push(format!(
                "{} closes port {} by a rule of its own, which is left alone",
                found.name(),
                one.port
            )),
            _ => {}
        }
        let reason = reason_of(&ports, one.port);
        let opening = found.opening(one, FirewallAction::Open, &reason);
        plan.changes.extend(opening.map(Change::Firewall));
    }
    Ok(plan)
}

/// Carries a change of a plan or of the journal out.
///
/// # Errors
/// When the firewall refuses, or is no longer the one of the plan.
pub fn carry_out(context: &Context<'_>, change: &FirewallChange) -> Result<()> {
    context
        .progress
        .step(&format!("{}: {}", change.manager, change.what()));
    firewall::carry_out(context.env, change).map_err(|error| failure(&error))
}

/// Returns whether a renewal opens ports for a while.
pub fn is_opened_for_challenges(context: &Context<'_>) -> bool {
    let acme = context.config.acme.as_ref();
    let listens = acme.is_some_and(|acme| {
        acme.challenge_hook.is_none()
            && matches!(
                acme.challenge,
                Challenge::Http01(Http01::Listen(_)) | Challenge::TlsAlpn01(_)
            )
    });
    context.config.firewall.manage && listens
}

/// Closes what a run that was killed left open for now. The lock is held.
///
/// What cannot be closed is told, kept in the record, and tried again by the next run.
pub fn take_up(context: &Context<'_>) {
    let left = match context.store.openings() {
        Ok(left) if left.is_empty() => return,
        Ok(left) => left,
        Err(error) => {
            return context
                .progress
                .done(&format!("ports left open are not known: {error}"));
        }
    };
    match close(&context.store, left, |change| {
        firewall::carry_out(context.env, change)
    }) {
        Ok(()) => context
            .progress
            .done("closed ports of the firewall that a run before this one had left open"),
        Err(error) => context.progress.done(&format!(
            "ports of the firewall that a run before this one had opened are still open: {error}"
        )),
    }
}

/// Closes openings, and forgets them one by one.
fn close(
    store: &Store,
    mut openings: Vec<FirewallChange>,
    carry_out: impl Fn(&FirewallChange) -> Result<(), FirewallError>,
) -> Result<(), FirewallError> {
    let unsaved = |error: StoreError| FirewallError::Unread(error.to_string());
    while let Some(opening) = openings.last() {
        carry_out(&opening.inverse())?;
        openings.pop();
        store.save_openings(&openings).map_err(unsaved)?;
    }
    Ok(())
}

/// Returns a solver whose port is opened in the firewall while it is at work, where that is ours to do.
pub fn opened(
    context: &Context<'_>,
    solver: Arc<dyn Present>,
    addresses: &[SocketAddr],
    default_port: u16,
) -> Arc<dyn Present> {
    if !context.config.firewall.manage {
        return solver;
    }
    let for_others = addresses.iter().filter(|address| !address.ip().is_loopback());
    let ports: BTreeSet<u16> = match addresses {
        [] => BTreeSet::from([default_port]),
        _ => for_others.map(SocketAddr::port).collect(),
    };
    if ports.is_empty() {
        return solver;
    }
    match firewall::find(context.env) {
        Ok(found @ (Firewall::Firewalld { .. } | Firewall::Ufw { .. })) => Arc::new(Opened {
            solver,
            gate: Arc::new(Gate {
                store: Store::new(&context.config.state_directory),
                firewall: found,
                ports: ports.into_iter().collect(),
                inside: Mutex::default(),
            }),
        }),
        Ok(Firewall::None | Firewall::Nftables { .. }) => solver,
        Err(error) => {
            context
                .progress
                .done(&format!("the firewall is not opened for the challenge: {error}"));
            solver
        }
    }
}

/// Ports that are open while somebody uses them.
struct Gate {
    store: Store,
    firewall: Firewall,
    ports: Vec<u16>,
    /// Who is at work.
    inside: Mutex<Inside>,
}

/// Who is at work: the first opens, the last closes.
#[derive(Default)]
struct Inside {
    /// The tokens of responses that are, or are about to be, in place.
    tokens: HashSet<String>,
    is_open: bool,
}

impl Gate {
    /// Opens what is closed, unless another order has done so.
    fn enter(&self, tokens: &[String]) -> Result<()> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.tokens.extend(tokens.iter().cloned());
        if !inside.is_open {
            self.open()?;
            inside.is_open = true;
        }
        Ok(())
    }

    fn open(&self) -> Result<()> {
        let seen = self.firewall.look(&self.ports).map_err(|error| failure(&error))?;
        let reason = "the CA looks at the challenge";
        let openings: Vec<FirewallChange> = seen
            .iter()
            .filter_map(|one| self.firewall.opening(one, FirewallAction::OpenForNow, reason))
            .collect();
        if openings.is_empty() {
            return Ok(());
        }
        // Before anything is opened: a run that is killed from here on is cleaned up after by the next one.
        self.store
            .save_openings(&openings)
            .map_err(|error| super::store_error("the port of the challenge was not opened", &error))?;
        for opening in &openings {
            if let Err(error) = self.firewall.carry_out(opening) {
                let _ = close(&self.store, openings.clone(), |change| {
                    self.firewall.carry_out(change)
                });
                return Err(failure(&error));
            }
        }
        Ok(())
    }

    /// Closes what was opened, when nobody else is at work.
    fn leave(&self, tokens: &[String]) -> Result<()> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        for token in tokens {
            inside.tokens.remove(token);
        }
        if !inside.tokens.is_empty() || !inside.is_open {
            return Ok(());
        }
        let openings = self
            .store
            .openings()
            .map_err(|error| super::store_error("it is not known which ports are to be closed", &error))?;
        close(&self.store, openings, |change| self.firewall.carry_out(change))
            .map_err(|error| failure(&error))?;
        inside.is_open = false;
        Ok(())
    }
}

/// A solver behind a gate.
struct Opened {
    solver: Arc<dyn Present>,
    gate: Arc<Gate>,
}

impl Opened {
    /// Works at the gate on a thread where waiting for a program holds nobody up.
    async fn at_gate(
        &self,
        responses: &[ChallengeResponse],
        work: fn(&Gate, &[String]) -> Result<()>,
    ) -> Result<(), AcmeError> {
        let gate = Arc::clone(&self.gate);
        let tokens: Vec<String> = responses.iter().map(|response| response.token.clone()).collect();
        let done = tokio::task::spawn_blocking(move || work(&gate, &tokens)).await;
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(AcmeError::NotSeen(Box::new(error))),
            Err(_) => Err(AcmeError::NotSeen(Box::new(Error::failed(
                "the firewall was not asked: the run ends",
            )))),
        }
    }
}

impl Present for Opened {
    fn challenge_type(&self) -> ChallengeType {
        self.solver.challenge_type()
    }

    fn present<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            self.at_gate(responses, Gate::enter).await?;
            self.solver.present(responses).await
        })
    }

    fn cleanup<'a>(&'a self, responses: &'a [ChallengeResponse]) -> BoxFuture<'a, Result<(), AcmeError>> {
        Box::pin(async move {
            let cleaned = self.solver.cleanup(responses).await;
            self.at_gate(responses, Gate::leave).await.and(cleaned)
        })
    }

    fn judged<'a>(&'a self, responses: &'a [ChallengeResponse], verdict: Verdict<'a>) -> BoxFuture<'a, ()> {
        self.solver.judged(responses, verdict)
    }

    fn may_be_tried(&self) -> bool {
        self.solver.may_be_tried()
    }

    fn cleanup_limit(&self, n_responses: usize) -> std::time::Duration {
        // The firewall's program may take its time, too.
        self.solver.cleanup_limit(n_responses) + std::time::Duration::from_secs(60)
    }
}
