//! The commands that talk with a CA about more than orders: `revoke` and `account`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The lineage
    #[arg(value_name = "LINEAGE")]
    pub lineage: String,
    /// The generation whose certificate is revoked; the one in use when neither this nor --certificate is given
    #[arg(long, value_name = "N", conflicts_with = "certificate")]
    pub generation: Option<u64>,
    /// The certificate to revoke, PEM or DER
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key, when it is not with the lineage
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Why
    #[arg(long, value_enum, default_value_t = ReasonKind::Unspecified, value_name = "REASON")]
    pub reason: ReasonKind,
    /// Who signs; whoever can when it is not given
    #[arg(long, value_enum, value_name = "SIGNER")]
    pub by: Option<Signer>,
    /// Answer yes to the plan
    #[arg(long)]
    pub yes: bool,
}

/// Why a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReasonKind {
    /// What it says of its holder has changed.
    #[value(name = "affiliationChanged")]
    AffiliationChanged,
    /// The names are no longer in use.
    #[value(name = "cessationOfOperation")]
    CessationOfOperation,
    /// Somebody else may have the key; it is never used again.
    #[value(name = "keyCompromise")]
    KeyCompromise,
    /// Another certificate has taken its place.
    #[value(name = "superseded")]
    Superseded,
    /// No reason is given.
    #[value(name = "unspecified")]
    Unspecified,
}

/// Who signs a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signer {
    /// The account that ordered the certificate.
    Account,
    /// The certificate's own key: the account may be lost.
    CertificateKey,
}

/// `account`.
#[derive(Debug, Args)]
pub struct Account {
    /// What to do with it.
    #[command(subcommand)]
    pub command: AccountCommand,
}

/// What to do with an account.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Ask the CA for the account: URL, status, contacts, thumbprint
    #[command(after_help = "Example:\n  mailcert account show")]
    Show(At),
    /// Make the account, or find it; with a customer's account where the CA wants one
    ///
    /// Orders make the account of acme.directory by themselves. A CA of acme.fallback that wants a customer's account
    /// (zerossl, google, sslcom-ecc, sslcom-rsa, actalis) is registered with here.
    #[command(
        after_help = "Example:\n  mailcert account register --directory zerossl --eab-key-id KID --eab-hmac-key-file /root/eab --agree-to-terms"
    )]
    Register(Register),
    /// Change the account's key; its URL stays
    ///
    /// The new key is on disk before the CA is asked. Run it again after it was interrupted: it finds out which of the two
    /// keys the CA has.
    #[command(after_help = "Example:\n  mailcert account rollover")]
    Rollover(At),
    /// End the account, for good
    ///
    /// Certificates that were issued stay valid. Its file is kept under another name, and nothing is ordered at the CA until
    /// `account register` has made a new account.
    #[command(after_help = "Example:\n  mailcert account deactivate --yes")]
    Deactivate(Deactivate),
}

/// At which CA.
#[derive(Debug, Args)]
pub struct At {
    /// The CA: a short name or the https URL of its directory; acme.directory when it is not given
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<String>,
}

/// `account register`.
#[derive(Debug, Args)]
pub struct Register {
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// The key identifier that the CA gave its customer; acme.eab when it is not given
    #[arg(long, value_name = "ID", requires = "eab_hmac_key_file")]
    pub eab_key_id: Option<String>,
    /// The file with the key that the CA gave its customer, base64url
    #[arg(long, value_name = "FILE", requires = "eab_key_id")]
    pub eab_hmac_key_file: Option<PathBuf>,
    /// Agree to the CA's terms of service
    #[arg(long)]
    pub agree_to_terms: bool,
}

/// `account deactivate`.
#[derive(Debug, Args)]
pub struct Deactivate {
    /// Where.
    #[command(flatten)]
    pub at: At,
    /// Answer yes
    #[arg(long)]
    pub yes: bool,
}
