//! `import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ChallengeKind;
use crate::{commands::import::Client, model::name::DomainName};

/// `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The client
    #[arg(value_enum, value_name = "CLIENT")]
    pub client: ClientKind,
    /// Its directory [default: /etc/letsencrypt, /etc/lego, /var/lib/lego, /root/.acme.sh, /etc/dehydrated]
    #[arg(value_name = "DIR")]
    pub directory_of_client: Option<PathBuf>,
    /// A lineage, as that client calls it (may be repeated); all of them when none is named
    #[arg(long = "lineage", value_name = "NAME")]
    pub lineages: Vec<String>,
    /// The CA, where it is not on record there: a known name or an https URL
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<String>,
    /// How names are proven, where that is not on record there, or mailcert does not have it
    #[arg(long, value_enum, value_name = "TYPE")]
    pub challenge: Option<ChallengeKind>,
    /// Address to listen on while validating (may be repeated)
    #[arg(long, value_name = "ADDR", requires = "challenge")]
    pub listen: Vec<String>,
    /// Roots for the directory's own HTTPS, for a private or test CA
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Agree to the CA's terms of service, where that client has no account
    #[arg(long)]
    pub agree_to_terms: bool,
    /// For a new mailcert.toml: the mail host's name
    #[arg(long, value_name = "NAME")]
    pub host: Option<DomainName>,
    /// For a new mailcert.toml: a mail domain served here (may be repeated)
    #[arg(long = "domain", value_name = "NAME")]
    pub domains: Vec<DomainName>,
    /// For a new mailcert.toml: the Postfix instance
    #[arg(long, value_name = "DIR")]
    pub postfix_config_directory: Option<PathBuf>,
    /// For a new mailcert.toml: where dovecot.conf is
    #[arg(long, value_name = "DIR")]
    pub dovecot_config_directory: Option<PathBuf>,
    /// For a new mailcert.toml: leave Dovecot alone
    #[arg(long)]
    pub no_dovecot: bool,
    /// For a new mailcert.toml: where certificates, keys and the journal are kept
    #[arg(long, value_name = "DIR")]
    pub state_directory: Option<PathBuf>,
    /// Show everything and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Answer yes to the plan
    #[arg(long)]
    pub yes: bool,
}

/// Another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say all")]
pub enum ClientKind {
    #[value(name = "acme.sh")]
    AcmeSh,
    Certbot,
    Dehydrated,
    Lego,
}

impl From<ClientKind> for Client {
    fn from(kind: ClientKind) -> Self {
        match kind {
            ClientKind::AcmeSh => Self::AcmeSh,
            ClientKind::Certbot => Self::Certbot,
            ClientKind::Dehydrated => Self::Dehydrated,
            ClientKind::Lego => Self::Lego,
        }
    }
}
