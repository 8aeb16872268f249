//! The command line: commands, options, and the help that is their manual.

pub mod authority;
pub mod import;
pub mod manual;
pub mod private_ca;
pub mod request;
pub mod send_test;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{
    endpoint::Peer,
    finding::IDS,
    name::{DomainName, Identifier},
};

/// Get a certificate for a mail server, put it into Postfix, prove that every port serves it, renew it
#[derive(Debug, Parser)]
#[command(
    name = "mailcert",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(after_help = "\
Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong use or configuration, or a yes was needed;
3 findings of severity error, changes pending, or something not verified; 4 not yet, try again later.

Variables: MAILCERT_CONFIG (the configuration file), NO_COLOR, and MAILCERT_LOG (journal, syslog or
none: where a line for each event goes; when not set, to the journal if stderr leads there).

Example:
  mailcert init --host mail.example.jp --domain example.jp")]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the help has the options that every command takes: below its own.
const GLOBAL: &str = "Options of every command";

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// The configuration file [default: $MAILCERT_CONFIG, else /etc/mailcert/mailcert.toml]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the result is written to stdout
    #[arg(long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// Say nothing but results and errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Say more about what is being done
    #[arg(long, short, global = true, help_heading = GLOBAL, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Never color the output (also by the variable NO_COLOR)
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub no_color: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object; a contract.
    Json,
    /// For monitoring plug-ins (check only).
    Nagios,
    /// Records as a table (records only).
    Table,
    /// For people.
    Text,
    /// Records as master-file text (records only).
    Zone,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a fresh host to a verified certificate that renews itself
    ///
    /// Asks for (or takes from the options) host, domains and CA; looks at the installed Postfix and at the DNS; writes
    /// mailcert.toml; shows the plan; and on yes applies it, gets the certificate, verifies it on every port and enables the
    /// timer. An existing file is read as the answers, and changed only with a diff shown.
    #[command(
        after_help = "Example:\n  mailcert init --host mail.example.jp --domain example.jp --agree-to-terms --yes"
    )]
    Init(Box<Init>),
    /// Get a first certificate for lineages that have none, and deploy it
    #[command(after_help = "Example:\n  mailcert issue mail.example.jp")]
    Issue(Lineages),
    /// Renew what is due, continue what is unfinished, deploy and verify; what the timer runs
    #[command(after_help = "Example:\n  mailcert renew --force mail.example.jp")]
    Renew(Renew),
    /// Deploy and verify again, or go back to an older generation
    #[command(after_help = "Example:\n  mailcert deploy mail.example.jp --generation 3")]
    Deploy(Deploy),
    /// Make a key and the request for a CA that works by mail or web form
    ///
    /// The key of a lineage waits in the state directory until `install` brings the certificate for it; asked again, the same
    /// request is printed. The request goes to stdout. Needs no configuration when names are given, and a directory for the
    /// files: then they are NAME.key, csr_NAME.pem and, with a passphrase, nopass_NAME.key, and nothing is written over.
    #[command(after_help = "Example:\n  mailcert csr mail.example.jp --subject C=JP,O=Example")]
    Csr(Box<request::Csr>),
    /// Put a certificate that mailcert did not order into service
    ///
    /// FILE is what a CA sent for a request of `csr`: the certificate alone or with its chain, in any order and form; or a
    /// PKCS#12 file with its key. With --from, DIR is certbot's live directory of the lineage, or the directory of lego's
    /// files; the shipped hooks call this. The files are copied, deployed and verified, and left as they are. A certificate
    /// that has expired, is for other names or for no key that is known is refused.
    #[command(after_help = "Example:\n  mailcert install mail.example.jp mail-server.pem intermediate.pem")]
    Install(request::Install),
    /// Take over what another client keeps: certificates, account, hooks
    ///
    /// Its directory is only read. Each lineage gets a `[[certificate]]` in mailcert.toml, and its certificate and key as the first
    /// generation; the account is used on, under the same URL; hooks are run in their own style. The plan is shown with a diff,
    /// and nothing is done without a yes. `mailcert apply` then puts them into service, and the next renewal is mailcert's;
    /// `mailcert undo` takes all of it back. A lineage that has expired, lacks a file or is of a staging CA refuses the import:
    /// --lineage names the others. No network is asked.
    #[command(
        after_help = "Example:\n  mailcert import certbot /etc/letsencrypt --lineage mail.example.jp --dry-run"
    )]
    Import(Box<import::Import>),
    /// Show lineages, their state and expiry, and when renewal is due
    ///
    /// Exits with 3 when a lineage is not verified, or the timer is not enabled.
    #[command(after_help = "Example:\n  mailcert status --format json")]
    Status,
    /// Look at everything from outside and inside, and print findings; change nothing
    ///
    /// Targets are certificates, tls, postfix, dovecot, firewall, dns, outbound and timer; without one, all of them. `check dns` looks
    /// at MX, addresses and their names, SPF, DMARC, DKIM, MTA-STS, TLS reporting, CAA, DNSSEC, TLSA, SRV and autoconfig, and asks every
    /// name server; `check dns DOMAIN...` does so for any domain, and --from for a list, and both need no configuration. `check outbound` asks port 25 of a few hosts whether mail can leave, and needs none
    /// either; as a part of everything it asks only the relayhost, or the hosts of outbound.probe. Exits with 3 when there is a finding of severity error; with --format nagios as monitoring
    /// plug-ins do (0, 1, 2, 3), with the days left of each certificate as performance data. `check certificates timer` asks
    /// no network. `mailcert check --help` lists every finding.
    #[command(after_help = "Example:\n  mailcert check dns example.jp", after_long_help = findings_help())]
    Check(Check),
    /// Show what apply would change: unified diffs, record changes, certificates to get
    #[command(after_help = "Example:\n  mailcert plan postfix")]
    Plan(Plan),
    /// Make the host as mailcert.toml says, check it, and put everything back when the check fails
    #[command(after_help = "Example:\n  mailcert apply postfix dns --yes")]
    Apply(Apply),
    /// Withdraw a certificate before its time
    ///
    /// By the account that ordered it or, when that is lost, by the certificate's own key. The revoked certificate goes on
    /// serving until the next one is there: renewal is due at once.
    #[command(after_help = "Example:\n  mailcert revoke mail.example.jp --reason keyCompromise --yes")]
    Revoke(authority::Revoke),
    /// Look at an account at a CA, make one, change its key, or end it
    #[command(after_help = "Example:\n  mailcert account show")]
    Account(authority::Account),
    /// Run a private CA: make it, sign requests, issue, revoke
    ///
    /// The CA of mail servers and clients that have no public name: a root, and by option an issuing intermediate, that may
    /// certify the operator's domains only. It lives in the state directory or wherever --directory says, on a machine that
    /// needs neither a configuration nor a network. Its keys are under a passphrase; what was signed is kept in an index that
    /// survives crashes and several callers.
    #[command(after_help = "Example:\n  mailcert ca init --domain example.jp")]
    Ca(private_ca::PrivateCa),
    /// Take the last apply that changed something back, byte for byte
    #[command(after_help = "Example:\n  mailcert undo")]
    Undo(Undo),
    /// Print the DNS records that this host should have, each with its reason
    ///
    /// Each is `present`, `missing`, `differs` (another one is there, and stays) or `unknown` (the DNS did not tell). What
    /// `mailcert plan dns` would complete is printed as it is to become. Keys of OpenDKIM and rspamd are among them.
    #[command(after_help = "Example:\n  mailcert records --format zone")]
    Records,
    /// Print the man page, or write those of all commands to a directory
    ///
    /// Made from the same definitions as --help. Needs no configuration.
    #[command(after_help = "Example:\n  mailcert man /usr/local/share/man/man1")]
    Man(manual::Man),
    /// Print the completions for a shell
    ///
    /// They go to stdout. bash reads them from /etc/bash_completion.d/mailcert, zsh from a file _mailcert in its fpath, fish from
    /// /etc/fish/completions/mailcert.fish. Needs no configuration.
    #[command(after_help = "Example:\n  mailcert completions bash > /etc/bash_completion.d/mailcert")]
    Completions(manual::Completions),
    /// Tell everything about one TLS or STARTTLS handshake
    ///
    /// Port 465 is implicit TLS; every other port is asked for STARTTLS. Needs no configuration.
    #[command(after_help = "Example:\n  mailcert probe mail.example.jp:25")]
    Probe(Probe),
    /// Send a test message through the submission service, and tell what became of it
    ///
    /// Submits it as a mail program does: port 587 with STARTTLS, or 465 with TLS from the first byte; the certificate verified; with
    /// a login when --user is given. Then follows it through the mail log (maillog_file, /var/log/mail.log, /var/log/maillog, the
    /// journal) and the queue. Exits with 0 when it was delivered, 1 when it was refused or came back, 4 when it still waits.
    /// The password is never an argument: it is read from a file, a descriptor or a credential, or asked for at the terminal.
    /// Needs no configuration when the server is named.
    #[command(
        after_help = "Example:\n  mailcert send-test alice@example.jp someone@example.net --user alice"
    )]
    SendTest(Box<send_test::SendTest>),
}

/// Lists every finding, and ends with the example.
fn findings_help() -> String {
    let rows: String = IDS
        .iter()
        .map(|(id, meaning)| format!("  {id:<31} {meaning}\n"))
        .collect();
    format!("Findings:\n{rows}\nExample:\n  mailcert check dns example.jp")
}

/// Lineages by name.
#[derive(Debug, Args)]
pub struct Lineages {
    /// Lineages; all of them when none is named
    #[arg(value_name = "LINEAGE")]
    pub lineages: Vec<String>,
}

/// `init`.
#[derive(Debug, Default, Args)]
pub struct Init {
    /// The mail host's name: what MX records name and clients connect to
    #[arg(long, value_name = "NAME")]
    pub host: Option<DomainName>,
    /// A mail domain served here (may be repeated)
    #[arg(long = "domain", value_name = "NAME")]
    pub domains: Vec<DomainName>,
    /// A name for the certificate (may be repeated); the host's name when none is given
    #[arg(long = "identifier", value_name = "NAME")]
    pub identifiers: Vec<Identifier>,
    /// Who issues the certificate
    #[arg(long, value_enum, value_name = "ISSUER")]
    pub issuer: Option<IssuerKind>,
    /// The ACME CA: letsencrypt, letsencrypt-staging, actalis, google, sslcom-ecc, sslcom-rsa, zerossl, or an https URL
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<String>,
    /// Roots for the directory's own HTTPS, for a private or test CA
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// A contact, such as mailto:postmaster@example.jp (may be repeated)
    #[arg(long = "contact", value_name = "URI")]
    pub contact: Vec<String>,
    /// Agree to the CA's terms of service
    #[arg(long)]
    pub agree_to_terms: bool,
    /// The key identifier that the CA gave its customer, where accounts are bound to one
    #[arg(long, value_name = "KID", requires = "eab_hmac_key_file")]
    pub eab_key_id: Option<String>,
    /// A file with the key that belongs to it, base64url
    #[arg(long, value_name = "FILE", requires = "eab_key_id")]
    pub eab_hmac_key_file: Option<PathBuf>,
    /// How the CA checks the names: http-01, tls-alpn-01 or dns-01
    #[arg(long, value_enum, value_name = "TYPE")]
    pub challenge: Option<ChallengeKind>,
    /// Address to listen on while validating (may be repeated); port 80 (tls-alpn-01: 443) everywhere when none is given
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// The Postfix instance
    #[arg(long, value_name = "DIR")]
    pub postfix_config_directory: Option<PathBuf>,
    /// Where certificates, keys and the journal are kept
    #[arg(long, value_name = "DIR")]
    pub state_directory: Option<PathBuf>,
    /// The Dovecot instance: where its dovecot.conf is
    #[arg(long, value_name = "DIR", conflicts_with = "no_dovecot")]
    pub dovecot_config_directory: Option<PathBuf>,
    /// Leave Dovecot alone
    #[arg(long)]
    pub no_dovecot: bool,
    /// A family of DNS records to publish (may be repeated)
    #[arg(long, value_enum, value_name = "FAMILY")]
    pub publish: Vec<PublishKind>,
    /// What wakes the renewal: auto, systemd, cron, none
    #[arg(long, value_enum, value_name = "TIMER")]
    pub timer: Option<TimerKind>,
    /// Show everything and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Answer yes to the plan
    #[arg(long)]
    pub yes: bool,
}

/// Who issues a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IssuerKind {
    /// An ACME CA.
    Acme,
    /// The private CA, which is made when there is none; no network is needed.
    Ca,
    /// Another client, or a CA that works by mail or web form: certificates come by `csr` and `install`.
    External,
}

/// How names are validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChallengeKind {
    /// By a TXT record.
    #[value(name = "dns-01")]
    Dns01,
    /// By a file on port 80.
    #[value(name = "http-01")]
    Http01,
    /// By a handshake on port 443.
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
}

/// A family of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PublishKind {
    /// CAA, for the names of the certificates.
    Caa,
    /// DMARC.
    Dmarc,
    /// MTA-STS, and the address of the policy's host.
    MtaSts,
    /// SPF.
    Spf,
    /// SRV, for mail programs.
    Srv,
    /// TLSA, in signed zones.
    Tlsa,
}

/// What wakes the renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimerKind {
    /// systemd where it runs, else cron.
    Auto,
    /// A file in /etc/cron.d.
    Cron,
    /// Nothing.
    None,
    /// A systemd timer.
    Systemd,
}

/// `renew`.
#[derive(Debug, Args)]
pub struct Renew {
    /// Lineages; all of them when none is named
    #[arg(value_name = "LINEAGE")]
    pub lineages: Vec<String>,
    /// Renew what is not due, whatever caps and back-off say
    #[arg(long)]
    pub force: bool,
    /// Run a full order at the CA's staging directory; save and deploy nothing
    #[arg(long, conflicts_with = "force")]
    pub dry_run: bool,
}

/// `deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// Lineages; all of them when none is named
    #[arg(value_name = "LINEAGE")]
    pub lineages: Vec<String>,
    /// The generation to go back to (with exactly one lineage)
    #[arg(long, value_name = "N", requires = "lineages")]
    pub generation: Option<u64>,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// certificates, tls, postfix, firewall, dns, outbound, timer; and domains after dns
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// A list of domains for `dns`, one a line, `#` begins a comment: all are asked about at the same time, by the DNS alone
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// A DKIM selector that `dns` looks up (may be repeated); those of OpenDKIM and rspamd on this host are found
    #[arg(long = "selector", value_name = "NAME", value_parser = selector)]
    pub selectors: Vec<String>,
    /// A host that `outbound` asks on ports 25, 587 and 465, or on the one that is named (may be repeated)
    #[arg(long = "to", value_name = "HOST[:PORT]")]
    pub to: Vec<Peer>,
    /// `tls` asks for every name of the SNI map on every port that uses it, not for some of very many
    #[arg(long)]
    pub every_name: bool,
}

/// Reads a DKIM selector: labels of a name (RFC 6376, 3.1).
fn selector(text: &str) -> Result<String, String> {
    let name = DomainName::from_dns(text).map_err(|error| error.to_string())?;
    Ok(name.to_string())
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// certificates, postfix, dovecot, firewall, dns, timer; without one, everything
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Exit with 3 when there is anything to change
    #[arg(long)]
    pub expect_no_changes: bool,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// certificates, postfix, dovecot, firewall, dns, timer; without one, everything
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Answer yes to the plan
    #[arg(long)]
    pub yes: bool,
}

/// `undo`.
#[derive(Debug, Args)]
pub struct Undo {
    /// Also when files or records were changed since
    #[arg(long)]
    pub force: bool,
    /// Accepted for scripts: undo never asks
    #[arg(long)]
    pub yes: bool,
}

/// `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// The host, an address or a name, and the port (25 when not given)
    #[arg(value_name = "HOST[:PORT]")]
    pub target: String,
    /// The name to ask for and to judge by; the host when not given
    #[arg(long, value_name = "NAME")]
    pub name: Option<DomainName>,
    /// Roots to judge the chain by, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
}

/// Reads `--listen` addresses: `ADDR`, `ADDR:PORT`, `[IPv6]:PORT`; `default_port` where none is written.
pub fn listen_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    let (host, port) = crate::model::endpoint::split_host_port(text)?;
    Some(SocketAddr::new(
        host.parse().ok()?,
        port.map_or(Some(default_port), |port| port.parse().ok())?,
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_ends_its_help_with_an_example_that_parses() {
        fn check(command: &clap::Command, above: &str) {
            let name = format!("{above} {}", command.get_name());
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let example = help
                .rsplit_once("Example:\n")
                .map(|(_, example)| example.trim())
                .unwrap_or_default();
            assert!(example.starts_with(&name), "{name}: {help}");
            // What is behind `>` is the shell's.
            let words = example.split_whitespace().take_while(|word| *word != ">");
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
            for below in command.get_subcommands() {
                check(below, &name);
            }
        }
        for command in Cli::command().get_subcommands() {
            check(command, "mailcert");
        }
    }
}
