//! `send-test`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::passphrase::place_of,
    env::secret::Place,
    model::{address::MailAddress, endpoint::Peer, name::DomainName},
};

/// `send-test`.
#[derive(Debug, Args)]
pub struct SendTest {
    /// The sender's address
    #[arg(value_name = "FROM")]
    pub from: MailAddress,
    /// The recipient's address
    #[arg(value_name = "TO")]
    pub to: MailAddress,
    /// Log in by this name
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Where the password is.
    #[command(flatten)]
    pub password: PasswordOptions,
    /// The server [default: the configured host; port 587, or 465 where Postfix has that one alone]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub server: Option<Peer>,
    /// The name that the server's certificate has to be for [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<DomainName>,
    /// Roots to verify the certificate by, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Send, and give the password away, whatever the certificate is
    #[arg(long, conflicts_with = "root_ca_file")]
    pub no_verify: bool,
    /// The subject
    #[arg(long, value_name = "TEXT", default_value = "mailcert test")]
    pub subject: String,
    /// How long all of it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

/// Where the password comes from; at most one of them. Without one it is asked for at the terminal.
#[derive(Debug, Default, Args)]
#[group(id = "password-place", multiple = false, requires = "user")]
pub struct PasswordOptions {
    /// The file whose first line is the password; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The open descriptor that the password is read from
    #[arg(long, value_name = "N")]
    pub password_fd: Option<u32>,
    /// The systemd credential that is the password (LoadCredential=, LoadCredentialEncrypted=)
    #[arg(long, value_name = "NAME")]
    pub password_credential: Option<String>,
}

impl PasswordOptions {
    /// Returns where the password is, when an option says so.
    pub fn place(&self) -> Option<Place<'_>> {
        let file = self.password_file.as_deref().map(place_of);
        let descriptor = self.password_fd.map(Place::Descriptor);
        let credential = self.password_credential.as_deref().map(Place::Credential);
        file.or(descriptor).or(credential)
    }
}
