//! `[hooks]` and `acme.challenge.hook`: programs of the operator's that are run at certain events. Pure.

use std::{path::PathBuf, time::Duration};

/// `[hooks]`: what is run around orders and deployments, each list in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything is ordered or deployed in a run.
    pub pre: Vec<Hook>,
    /// After the reload, for each lineage that was put into service.
    pub deploy: Vec<Hook>,
    /// At the end of a run that had something to do, whatever came of it.
    pub post: Vec<Hook>,
    /// For each lineage that failed in a run.
    pub failed: Vec<Hook>,
}

/// One program, or one directory of programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whose conventions it was written for.
    pub style: Style,
    /// What is run.
    pub command: Command,
    /// How it is run.
    pub manner: Manner,
    /// The lineages it is for; empty: all.
    pub lineages: Vec<String>,
}

/// The client that a hook was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// acme.sh's `--reloadcmd`, `--pre-hook` and `--post-hook`.
    AcmeSh,
    /// certbot's hooks.
    Certbot,
    /// dehydrated's hook script.
    Dehydrated,
    /// lego 4's `--run-hook` and `--renew-hook`.
    Lego4,
    /// lego 5's hooks.
    Lego5,
    /// Our own.
    Mailcert,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Every executable in this directory, sorted by name.
    Directory(PathBuf),
    /// A program, absolute, with its first arguments; no shell.
    Run(Vec<String>),
    /// A command line for `/bin/sh -c`.
    Shell(String),
}

/// How a program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How long it may take; then it is killed, with what it has started.
    pub timeout: Duration,
    /// How many times more it is tried in the same run when it fails.
    pub retries: u32,
    /// Variables that it is given besides: `NAME=value` lines, readable by the running user only.
    pub env_file: Option<PathBuf>,
}

/// `acme.challenge.hook`: who puts challenge responses in place instead of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeHook {
    /// Whose conventions it was written for.
    pub style: ChallengeStyle,
    /// What is run; never a directory.
    pub command: Command,
    /// How it is run.
    pub manner: Manner,
}

/// The client that a challenge hook was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeStyle {
    /// An acme.sh dnsapi script by this name; the command is acme.sh itself.
    AcmeSh(String),
    /// certbot's `--manual-auth-hook`, and its `--manual-cleanup-hook` where there is one.
    Certbot(Option<Command>),
    /// dehydrated's hook script.
    Dehydrated(Chain),
    /// lego's exec provider.
    LegoExec,
    /// lego's exec provider with `EXEC_MODE=RAW`.
    LegoExecRaw,
    /// Our own.
    Mailcert,
    /// uacme's hook program.
    Uacme,
}

/// Whether dehydrated's script gets all challenges in one call (`HOOK_CHAIN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// One call for each challenge.
    No,
    /// One call for all of them.
    Yes,
}

impl Hooks {
    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Returns every hook.
    pub fn all(&self) -> impl Iterator<Item = &Hook> {
        self.pre
            .iter()
            .chain(&self.deploy)
            .chain(&self.post)
            .chain(&self.failed)
    }
}

impl Hook {
    /// Returns whether the hook is for this lineage.
    pub fn is_for(&self, lineage: &str) -> bool {
        self.lineages.is_empty() || self.lineages.iter().any(|name| name == lineage)
    }
}

impl ChallengeHook {
    /// Returns every command that may be run.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        let cleanup = match &self.style {
            ChallengeStyle::Certbot(cleanup) => cleanup.as_ref(),
            _ => None,
        };
        std::iter::once(&self.command).chain(cleanup)
    }
}
