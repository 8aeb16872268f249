//! The packet filter of this host: firewalld and ufw are asked and opened, nftables is read and left alone.
//!
//! [`find`] says which of them filters, [`Firewall::look`] how it treats ports, [`Firewall::opening`] what would open one, and
//! [`Firewall::carry_out`] does it: rules are added one by one, in force and for the next start. firewalld is never reloaded,
//! which would drop the rules that others added while it runs. [`desired`] says which ports should be open.
//!
//! firewall-cmd(1), ufw(8), nft(8), libnftables-json(5).

pub mod desired;
mod firewalld;
pub mod nftables;
mod ufw;

use std::{
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    env::{
        Env, files,
        process::{Output, Program, RunError},
    },
    model::plan::{FirewallAction, FirewallChange, Rules},
};

/// How long one question may take; firewall-cmd waits for D-Bus.
const PATIENCE: Duration = Duration::from_secs(30);

/// What filters packets on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// firewalld runs.
    Firewalld {
        /// firewall-cmd(1).
        program: PathBuf,
        /// The interfaces that lead out.
        interfaces: Vec<String>,
    },
    /// Rules of nft(8) or iptables-nft(8), by whatever hand.
    Nftables {
        /// `nft -j list ruleset`, as it was printed.
        ruleset: String,
    },
    /// Nothing.
    None,
    /// ufw is active.
    Ufw {
        /// ufw(8).
        program: PathBuf,
    },
}

/// How a port is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Others cannot reach it.
    Closed,
    /// The operator has closed it by a rule for this port.
    Denied,
    /// Everybody can reach it.
    Open,
    /// Some can, or it cannot be told from the rules.
    Partly(String),
    /// It is closed now, and open from the next start on.
    PermanentOnly,
    /// It is open until the next start.
    RuntimeOnly,
}

/// A port, and how it is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The TCP port.
    pub port: u16,
    /// The zone, where there are such.
    pub zone: Option<String>,
    /// The name that the program has for the port.
    pub service: Option<String>,
    /// How it is treated.
    pub treatment: Treatment,
}

/// Why a firewall could not be asked or changed.
#[derive(Debug)]
pub enum FirewallError {
    /// It is neither firewalld nor ufw, or no longer the one of the plan.
    Gone(String),
    /// Its program refused; the command line and what it said.
    Refused(String, String),
    /// Its program could not be run.
    Run(RunError),
    /// It said something that is not understood.
    Unread(String),
}

impl fmt::Display for FirewallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(manager) => write!(f, "{manager} does not run here"),
            Self::Refused(command, message) => write!(f, "`{command}` says: {message}"),
            Self::Run(error) => error.fmt(f),
            Self::Unread(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for FirewallError {}

/// Finds what filters. firewalld and ufw write nftables rules themselves, so they come first.
///
/// # Errors
/// When a program that is there cannot be asked, as without root.
pub fn find(env: &Env) -> Result<Firewall, FirewallError> {
    if let Some(program) = env.find_program("firewall-cmd")
        && firewalld::is_running(&program)?
    {
        let interfaces = desired::outward_interfaces(env);
        return Ok(Firewall::Firewalld { program, interfaces });
    }
    if let Some(program) = env.find_program("ufw")
        && ufw::is_active(&program)?
    {
        return Ok(Firewall::Ufw { program });
    }
    if let Some(program) = env.find_program("nft") {
        let output = ask(&program, &["-j", "list", "ruleset"])?;
        let ruleset = output.stdout_text();
        if nftables::filters(&ruleset)? {
            return Ok(Firewall::Nftables { ruleset });
        }
    }
    Ok(Firewall::None)
}

/// Returns whether there are rules of iptables-legacy(8), which nft(8) does not show.
pub fn has_legacy_rules(env: &Env) -> bool {
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .any(|path| {
            let names = files::read_if_exists(&env.host_path(path), 4096).ok().flatten();
            String::from_utf8_lossy(&names.unwrap_or_default()).contains("filter")
        })
}

/// Carries a change out by the program that it names: also one of ufw that is not active, whose rules stay all the same.
///
/// What is so already is no error. Of a firewalld that does not run no rule is in force.
///
/// # Errors
/// When the program is not there or refuses; a half of the change is then taken back.
pub fn carry_out(env: &Env, change: &FirewallChange) -> Result<(), FirewallError> {
    let gone = || FirewallError::Gone(change.manager.clone());
    match change.manager.as_str() {
        "firewalld" => {
            let program = env.find_program("firewall-cmd");
            let running = match program {
                Some(program) if firewalld::is_running(&program)? => Some(program),
                _ => None,
            };
            match running {
                Some(program) => firewalld::carry_out(&program, change),
                None if (change.action, change.rules) == (FirewallAction::Close, Rules::Runtime) => Ok(()),
                None => Err(gone()),
            }
        }
        "ufw" => ufw::carry_out(&env.find_program("ufw").ok_or_else(gone)?, change),
        _ => Err(gone()),
    }
}

impl Firewall {
    /// Returns its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Firewalld { .. } => "firewalld",
            Self::Nftables { .. } => "nftables",
            Self::None => "none",
            Self::Ufw { .. } => "ufw",
        }
    }

    /// Looks how it treats these ports: for firewalld, in each zone that leads out.
    ///
    /// # Errors
    /// When it cannot be asked, or is not understood.
    pub fn look(&self, ports: &[u16]) -> Result<Vec<Seen>, FirewallError> {
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Firewalld { program, interfaces } => firewalld::look(program, interfaces, ports),
            Self::Nftables { ruleset } => nftables::look(ruleset, ports),
            Self::None => Ok(Vec::new()),
            Self::Ufw { program } => ufw::look(program, ports),
        }
    }

    /// Returns what opens a port; nothing when it is open, or not ours to open.
    pub fn opening(&self, seen: &Seen, action: FirewallAction, reason: &str) -> Option<FirewallChange> {
        let rules = match (self, &seen.treatment) {
            (Self::None | Self::Nftables { .. }, _)
            | (_, Treatment::Denied | Treatment::Open | Treatment::Partly(_)) => return None,
            (_, Treatment::Closed) if action == FirewallAction::OpenForNow => Rules::Runtime,
            (_, Treatment::Closed) => Rules::Both,
            (_, Treatment::PermanentOnly) => Rules::Runtime,
            (_, Treatment::RuntimeOnly) if action == FirewallAction::OpenForNow => return None,
            (_, Treatment::RuntimeOnly) => Rules::Permanent,
        };
        Some(FirewallChange {
            manager: self.name().to_owned(),
            zone: seen.zone.clone(),
            service: seen.service.clone(),
            port: seen.port,
            action,
            rules,
            reason: reason.to_owned(),
        })
    }

    /// Carries a change out. What is so already is no error.
    ///
    /// # Errors
    /// When the program refuses; a half of the change is then taken back.
    pub fn carry_out(&self, change: &FirewallChange) -> Result<(), FirewallError> {
        match self {
            Self::Firewalld { program, .. } if change.manager == self.name() => {
                firewalld::carry_out(program, change)
            }
            Self::Ufw { program } if change.manager == self.name() => ufw::carry_out(program, change),
            _ => Err(FirewallError::Gone(change.manager.clone())),
        }
    }

    /// Returns what an operator types to open these ports.
    pub fn how_to_open(&self, seen: &Seen) -> String {
        match self {
            Self::Firewalld { .. } => {
                let zone = seen.zone.as_deref().unwrap_or("public");
                let what = match &seen.service {
                    Some(service) => format!("--add-service={service}"),
                    None => format!("--add-port={}/tcp", seen.port),
                };
                format!("`firewall-cmd --zone={zone} {what}`, and the same with --permanent; no reload")
            }
            Self::Nftables { ruleset } => nftables::line(ruleset, seen.port),
            Self::None => String::new(),
            Self::Ufw { .. } => format!("`ufw allow {}/tcp`", seen.port),
        }
    }
}

/// Runs a program of the firewall.
fn run(program: &Path, args: &[&str]) -> Result<Output, FirewallError> {
    Program::new(program)
        .args(args)
        .timeout(PATIENCE)
        .run()
        .map_err(FirewallError::Run)
}

/// Runs it, and wants success.
fn ask(program: &Path, args: &[&str]) -> Result<Output, FirewallError> {
    let output = run(program, args)?;
    if output.success() {
        return Ok(output);
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let message = crate::model::plan::printable_line(output.complaint().as_bytes(), 1000);
    Err(FirewallError::Refused(
        format!("{name} {}", args.join(" ")),
        message,
    ))
}

/// Returns whether one of the ranges has the port.
fn has(ranges: &[RangeInclusive<u16>], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(&port))
}

/// Reads `25`, `2000-2010` or `2000:2010`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}
