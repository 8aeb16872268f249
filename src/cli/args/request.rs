//! `csr` and `install`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    cli::passphrase::PassphraseOptions,
    model::{key::KeyType, name::Identifier, request::Subject},
};

/// `csr`.
#[derive(Debug, Args)]
pub struct Csr {
    /// The lineage; without a configuration, a name for the files
    #[arg(value_name = "LINEAGE")]
    pub lineage: String,
    /// A name for the certificate (may be repeated); those of the lineage when none is given
    #[arg(long = "identifier", value_name = "NAME")]
    pub identifiers: Vec<Identifier>,
    /// Who asks, in any order: C, ST, L, O, OU, CN, emailAddress; CN is the first name when it is not said, and "" leaves all
    /// away
    #[arg(long, value_name = "C=JP,ST=...,L=...,O=...")]
    pub subject: Option<Subject>,
    /// The kind of key [default: the lineage's, else ecdsa-p256]
    #[arg(long, value_enum, value_name = "KEY")]
    pub key: Option<KeyKind>,
    /// Make a new key, even when a request waits for its answer
    #[arg(long)]
    pub new_key: bool,
    /// Write the files there too: BASENAME.key and csr_BASENAME.pem; with a passphrase BASENAME.key is encrypted, and
    /// nopass_BASENAME.key is the key without it
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
    /// The middle of the files' names [default: the lineage]
    #[arg(long, value_name = "NAME", requires = "out_dir")]
    pub basename: Option<String>,
    /// Ask for a passphrase at the terminal, twice and unseen, and encrypt the key with it (PKCS#8, PBES2)
    #[arg(long, requires = "out_dir", conflicts_with = "passphrase-place")]
    pub passphrase: bool,
    /// Where the passphrase is.
    #[command(flatten)]
    pub place: PassphraseOptions,
    /// How long the certificate is to be valid; a request cannot carry it, so that you are reminded to ask the CA
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: Option<u32>,
    /// Ask no network: neither whether the names resolve, nor for TLSA records
    #[arg(long)]
    pub no_check: bool,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say all")]
pub enum KeyKind {
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    #[value(name = "ecdsa-p384")]
    EcdsaP384,
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-3072")]
    Rsa3072,
    #[value(name = "rsa-4096")]
    Rsa4096,
}

impl From<KeyKind> for KeyType {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::EcdsaP256 => Self::EcdsaP256,
            KeyKind::EcdsaP384 => Self::EcdsaP384,
            KeyKind::Rsa2048 => Self::Rsa(2048),
            KeyKind::Rsa3072 => Self::Rsa(3072),
            KeyKind::Rsa4096 => Self::Rsa(4096),
        }
    }
}

/// `install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The lineage
    #[arg(value_name = "LINEAGE")]
    pub lineage: String,
    /// What the CA sent: PEM, DER, PKCS#7 (.p7b) or PKCS#12 (.p12, .pfx); the chain may be in it or in files of its own
    #[arg(value_name = "FILE", required_unless_present = "from")]
    pub files: Vec<PathBuf>,
    /// Where another client keeps the files, instead
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    pub from: Option<PathBuf>,
    /// The file with the private key, when it is neither that of a request of ours nor in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub key: Option<PathBuf>,
    /// Where the passphrase of FILE or of the key is; asked for at the terminal when none is given.
    #[command(flatten)]
    pub place: PassphraseOptions,
}
