//! `ca`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{authority::ReasonKind, request::KeyKind};
use crate::{
    ca::name::{AltName, Network},
    cli::passphrase::PassphraseOptions,
    model::{name::DomainName, request::Subject},
};

/// `ca`.
#[derive(Debug, Args)]
pub struct PrivateCa {
    /// What to do.
    #[command(subcommand)]
    pub command: CaCommand,
}

/// What to do with the private CA.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make the CA: a root and, by option, an issuing intermediate
    ///
    /// Its certificates are constrained to the domains (and the addresses of --network): even with its key nobody can make
    /// certificates for other names that clients take. Without --domain the domains and the host of the configuration are
    /// taken. Nothing is written over.
    #[command(
        after_help = "Example:\n  mailcert ca init --domain example.jp --intermediate --root-key /media/usb/root.key"
    )]
    Init(Box<Init>),
    /// Sign requests that others made: one, many, or a directory of them
    ///
    /// The signature is verified, the names in subjectAltName are checked against the CA's constraints; nothing else is taken
    /// from a request. Without --out-dir the certificate goes to stdout, with the intermediate behind it. In a directory, what
    /// ends in .csr, .req or .p10 is signed (and csr_NAME.pem of `mailcert csr`); NAME.pem is written for NAME.csr. A request
    /// that is refused stops no other; one whose certificate is there already is not signed again.
    #[command(after_help = "Example:\n  mailcert ca sign mail.csr > mail.pem")]
    Sign(Box<Sign>),
    /// Make a key and its certificate in one
    ///
    /// BASENAME.key and BASENAME.pem (with the intermediate behind it) are written, 0600; nothing is written over.
    #[command(after_help = "Example:\n  mailcert ca issue mail.example.jp --out-dir /root/new")]
    Issue(Box<Issue>),
    /// Revoke a certificate and publish the CRL that says so
    #[command(after_help = "Example:\n  mailcert ca revoke mail.example.jp --reason keyCompromise")]
    Revoke(Revoke),
    /// Publish the next CRL
    #[command(after_help = "Example:\n  mailcert ca crl")]
    Crl(Crl),
    /// Give the root to clients: files, profiles and sheets; or to this host's own trust store
    ///
    /// Without --out-dir, one form goes to stdout: the root as PEM, or the one of --form. With it, every form is written:
    /// NAME.pem, NAME.cer (DER), NAME.mobileconfig for Apple's devices, NAME.txt with the lines for each system's trust store;
    /// and for the mail server NAME-mail.mobileconfig (the root and an account), config-v1.1.xml for Thunderbird, and
    /// setup.en.html and setup.ja.html for users of Thunderbird, Outlook and Apple Mail. Ports and names are those of the
    /// configuration. Nothing in them is secret. Needs no key.
    #[command(after_help = "Example:\n  mailcert ca export --out-dir /var/www/html/mail")]
    Export(Export),
    /// Show the CA, what it signed, and what there is to see to; needs no key
    ///
    /// Exits with 3 when there is a finding of severity error: the CRL, or the CA's certificate, is too old.
    #[command(after_help = "Example:\n  mailcert ca show --all")]
    Show(Show),
}

/// `ca export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// Write every form into this directory
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
    /// The form that goes to stdout
    #[arg(long, value_enum, default_value_t = FormKind::Pem, value_name = "FORM", conflicts_with = "out_dir")]
    pub form: FormKind,
    /// The language of the sheet
    #[arg(long, value_enum, default_value_t = LanguageKind::En, value_name = "LANGUAGE")]
    pub language: LanguageKind,
    /// What mail programs connect to [default: the host of the configuration]
    #[arg(long, value_name = "NAME")]
    pub host: Option<DomainName>,
    /// Put the root into this host's own trust store, and see that the system takes it (Debian, RHEL, SUSE and their kin)
    #[arg(long)]
    pub install: bool,
    /// Take it out again
    #[arg(long, conflicts_with = "install")]
    pub uninstall: bool,
}

/// A form of the root, or of what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormKind {
    /// Mozilla's autoconfiguration.
    Autoconfig,
    /// Lines for the trust stores of systems.
    Lines,
    /// Apple's profile with the root and a mail account.
    MailMobileconfig,
    /// Apple's profile with the root.
    Mobileconfig,
    /// The root as PEM.
    Pem,
    /// The sheet for users, HTML.
    Sheet,
}

/// A language of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LanguageKind {
    /// English.
    En,
    /// Japanese.
    Ja,
}

/// Which CA.
#[derive(Debug, Args)]
pub struct Where {
    /// The CA's directory [default: ca in the state directory]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// `ca init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// A domain that it may certify, with all names below it (may be repeated)
    #[arg(long = "domain", value_name = "NAME")]
    pub domains: Vec<DomainName>,
    /// Addresses that it may certify: 192.0.2.0/24 (may be repeated); none when it is not given
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<Network>,
    /// Let it certify any name: whoever trusts its root trusts it for the whole world
    #[arg(long, conflicts_with_all = ["domains", "networks"])]
    pub unconstrained: bool,
    /// Its common name [default: "DOMAIN mail CA"]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The rest of its subject: C, ST, L, O, OU
    #[arg(long, value_name = "C=JP,O=...")]
    pub subject: Option<Subject>,
    /// The kind of its keys
    #[arg(long, value_enum, default_value_t = KeyKind::EcdsaP256, value_name = "KEY")]
    pub key: KeyKind,
    /// How long the root is good, in days
    #[arg(long, value_name = "N", default_value_t = crate::ca::profile::ROOT_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Sign by an issuing intermediate, so that the root's key can live elsewhere
    #[arg(long)]
    pub intermediate: bool,
    /// How long the intermediate is good, in days
    #[arg(long, value_name = "N", requires = "intermediate", default_value_t = crate::ca::profile::INTERMEDIATE_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub intermediate_days: u32,
    /// The file that the root's key is written to, off this host's disks
    #[arg(long, value_name = "FILE", requires = "intermediate")]
    pub root_key: Option<PathBuf>,
    /// Put the keys under no passphrase: the CA is only as safe as this host
    #[arg(long, conflicts_with = "passphrase-place")]
    pub no_passphrase: bool,
    /// Where the passphrase is; asked for at the terminal, twice and unseen, when it is not given.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
    /// The file with another passphrase for the root's key
    #[arg(long, value_name = "FILE", requires = "intermediate")]
    pub root_passphrase_file: Option<PathBuf>,
    /// How long a CRL is good, in days
    #[arg(long, value_name = "N", default_value_t = crate::ca::profile::CRL_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub crl_days: u32,
    /// Where clients find the CRL, an http URL; written into certificates (may be repeated)
    #[arg(long = "crl-url", value_name = "URL", value_parser = crl_url)]
    pub crl_urls: Vec<String>,
}

/// Reads the URL of a CRL: plain http, since a CRL is signed, and https would ask for another one.
fn crl_url(text: &str) -> Result<String, String> {
    let is_plain = text.len() <= 500 && text.bytes().all(|byte| byte.is_ascii_graphic());
    match text.strip_prefix("http://") {
        Some(rest) if is_plain && !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
        _ => Err("it is not http://HOST/PATH".to_owned()),
    }
}

/// What certificates are for.
#[derive(Debug, Args)]
pub struct TermsArgs {
    /// What the certificate may be used for
    #[arg(long, value_enum, default_value_t = ProfileKind::Server, value_name = "PROFILE")]
    pub profile: ProfileKind,
    /// How long it is good, in days; clients take at most 825
    #[arg(long, value_name = "N", default_value_t = crate::ca::profile::DAYS, value_parser = clap::value_parser!(u32).range(1..=825))]
    pub days: u32,
    /// Its subject [default: its first name as CN]; "" leaves it empty
    #[arg(long, value_name = "O=...,CN=...")]
    pub subject: Option<Subject>,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileKind {
    /// As server and as client.
    Both,
    /// As client.
    Client,
    /// As server.
    Server,
}

/// `ca sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// Requests, PEM or DER; directories of them; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// A name or address in the place of those that the request has (may be repeated)
    #[arg(long = "san", value_name = "NAME")]
    pub names: Vec<AltName>,
    /// What for.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Where the certificates go
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// The CA's passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

/// `ca issue`.
#[derive(Debug, Args)]
pub struct Issue {
    /// Names and addresses of the certificate
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<AltName>,
    /// What for.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// The kind of key
    #[arg(long, value_enum, default_value_t = KeyKind::EcdsaP256, value_name = "KEY")]
    pub key: KeyKind,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    pub out_dir: PathBuf,
    /// What the files are called [default: the first name]
    #[arg(long, value_name = "NAME")]
    pub basename: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// The CA's passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

/// `ca revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The certificate: its serial number, its file, or a name that only one has
    #[arg(value_name = "CERTIFICATE")]
    pub certificate: String,
    /// Why
    #[arg(long, value_enum, default_value_t = ReasonKind::Unspecified, value_name = "REASON")]
    pub reason: ReasonKind,
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// The CA's passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

/// `ca crl`.
#[derive(Debug, Args)]
pub struct Crl {
    /// The CRL of the root, where an intermediate signs certificates
    #[arg(long)]
    pub root: bool,
    /// How long it is good, in days [default: as `ca init` was told]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: Option<u32>,
    /// Where.
    #[command(flatten)]
    pub place: Where,
    /// The CA's passphrase.
    #[command(flatten)]
    pub passphrase: PassphraseOptions,
}

/// `ca show`.
#[derive(Debug, Args)]
pub struct Show {
    /// One certificate: its serial number, its file, or a name that only one has
    #[arg(value_name = "CERTIFICATE")]
    pub certificate: Option<String>,
    /// Every certificate that was signed
    #[arg(long, conflicts_with = "certificate")]
    pub all: bool,
    /// Where.
    #[command(flatten)]
    pub place: Where,
}
