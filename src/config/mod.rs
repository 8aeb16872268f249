//! The configuration: complete and checked. No `Option` here means "default". Pure.
//!
//! [`v1`] reads the file as it is written; [`template`] writes the commented file that `init` leaves behind.

pub mod hook;
pub mod policy;
pub mod provider;
pub mod template;
pub mod v1;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::model::{
    address::MailAddress,
    certificate::Sha256,
    endpoint::{Endpoint, Peer},
    name::{DomainName, Identifier},
};

pub use crate::model::key::KeyType;
pub use policy::Publish;
pub use provider::{Provider, Rfc2136, TsigAlgorithm};

/// `mailcert.toml`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where certificates, keys and the journal are kept.
    pub state_directory: PathBuf,
    /// This mail host and its domains.
    pub host: Host,
    /// The ACME CA; `None` when no certificate is issued by ACME.
    pub acme: Option<Acme>,
    /// The lineages, in the order of the file; names are unique.
    pub certificates: Vec<Certificate>,
    /// When and how often to renew.
    pub renew: Renew,
    /// What to do with Postfix.
    pub postfix: Postfix,
    /// What to do with Dovecot.
    pub dovecot: Dovecot,
    /// The private CA.
    pub ca: PrivateCa,
    /// How to ask the DNS, and what to publish.
    pub dns: Dns,
    /// What to do with the firewall.
    pub firewall: Firewall,
    /// Which hosts show whether mail can leave.
    pub outbound: Outbound,
    /// Whom to tell, and how.
    pub notify: Notify,
    /// Programs to run around orders and deployments.
    pub hooks: hook::Hooks,
}

/// `[host]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What the MX records name and what clients connect to.
    pub name: DomainName,
    /// Mail domains served here.
    pub domains: Vec<DomainName>,
}

/// `[acme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The directory's URL; known names have been resolved.
    pub directory: String,
    /// `mailto:` URIs.
    pub contact: Vec<String>,
    /// The operator has read the CA's terms and agrees.
    pub terms_of_service_agreed: bool,
    /// PEM file with the roots that the directory's own HTTPS is verified by, instead of the system's.
    pub root_ca_file: Option<PathBuf>,
    /// The CA's profile to order by; `None`: the CA chooses.
    pub profile: Option<String>,
    /// The issuer's common name of the topmost certificate in the chain that is wanted; `None`: the CA's default chain.
    pub preferred_chain: Option<String>,
    /// The customer's account that a new account at `directory` is bound to.
    pub external_account: Option<ExternalAccount>,
    /// How names are validated.
    pub challenge: Challenge,
    /// Who puts the responses in place instead of us.
    pub challenge_hook: Option<hook::ChallengeHook>,
    /// The URLs of further directories, tried in this order when the first is down.
    pub fallback: Vec<String>,
    /// Which limits of the CA are mirrored.
    pub limits: MirroredLimits,
}

impl Acme {
    /// Returns the settings as they hold for the CA of another directory: what only the first CA knows is left out.
    pub fn at(&self, directory: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            profile: None,
            preferred_chain: None,
            external_account: None,
            ..self.clone()
        }
    }
}

/// Which limits are mirrored, so that what a CA would refuse is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirroredLimits {
    /// Those of the CA, where we know them.
    Auto,
    /// Those of Let's Encrypt, whatever the CA.
    LetsEncrypt,
    /// None.
    None,
}

/// `[ca]`: the private CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateCa {
    /// Its name, when `apply` makes it.
    pub name: Option<String>,
    /// The file with the passphrase of its key; `None`: the key is under none.
    pub passphrase_file: Option<PathBuf>,
}

/// `acme.eab`: external account binding (RFC 8555, 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key identifier that the CA gave.
    pub key_id: String,
    /// Where the key that the CA gave comes from: base64url.
    pub hmac_key: SecretSource,
}

/// `[acme.challenge]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// RFC 8555, 8.4, through the provider of `[dns]`.
    Dns01,
    /// RFC 8555, 8.3.
    Http01(Http01),
    /// RFC 8737, by a listener of ours on these addresses, bound only while validating. Empty: port 443 on every address
    /// family.
    TlsAlpn01(Vec<SocketAddr>),
}

/// Where the http-01 token is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Http01 {
    /// By a listener of ours on these addresses, bound only while validating. Empty: port 80 on every address family.
    Listen(Vec<SocketAddr>),
    /// As files below this web server's root.
    Webroot(PathBuf),
}

/// One `[[certificate]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The lineage: a safe file name.
    pub name: String,
    /// At least one; without duplicates.
    pub identifiers: Vec<Identifier>,
    /// Who issues it.
    pub issuer: Issuer,
    /// The kind of its key.
    pub key: KeyType,
    /// Whether a renewal keeps the key.
    pub reuse_key: ReuseKey,
    /// Owner of the private key's file, as named in the file.
    pub owner: String,
    /// Group of the private key's file.
    pub group: String,
    /// Permission bits of the private key's file.
    pub mode: u32,
    /// Whether it goes into Postfix's `tls_server_sni_maps` for its identifiers.
    pub sni: bool,
}

/// Who issues a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The CA of `[acme]`.
    Acme,
    /// The private CA of `[ca]`.
    Ca,
    /// Somebody else: it comes by `install`.
    External,
}

impl Issuer {
    /// Returns whether renewals get certificates from it by themselves.
    pub fn is_asked_by_us(self) -> bool {
        self != Self::External
    }
}

/// Whether a renewal keeps the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseKey {
    /// Always.
    Always,
    /// Never.
    Never,
    /// While a TLSA record in the DNS names it.
    WhilePublished,
}

/// `[renew]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renew {
    /// When to renew.
    pub before: RenewBefore,
    /// How many generations stay on disk.
    pub keep_generations: u32,
    /// Issuances of one identifier set a day by unattended runs; 0 is no limit.
    pub max_per_day: u32,
    /// Issuances of one identifier set a week by unattended runs; 0 is no limit.
    pub max_per_week: u32,
    /// What wakes `renew`.
    pub timer: Timer,
}

/// When to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewBefore {
    /// The CA's renewal window, else a third of the lifetime left (half when under 10 days).
    Auto,
    /// When this much is left.
    Left(Duration),
}

/// What wakes `renew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// systemd where it runs, else cron where it is installed.
    Auto,
    /// A file in `/etc/cron.d`.
    Cron,
    /// Nothing of ours.
    None,
    /// A systemd timer.
    Systemd,
}

/// `[postfix]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postfix {
    /// Whether main.cf is ours to edit and Postfix ours to reload.
    pub manage: bool,
    /// The instance.
    pub config_directory: PathBuf,
    /// How key and chain are named.
    pub tls_layout: TlsLayout,
    /// What `smtp_tls_CAfile` is.
    pub client_ca: ClientCa,
    /// What this host shows to servers that ask for a client certificate; `None`: main.cf is left alone.
    pub client_certificate: Option<ClientCertificate>,
    /// Who may relay through this host by client certificate.
    pub relay: Relay,
    /// Whether smtpd's protocols get a floor.
    pub incoming: bool,
    /// TLS of outgoing mail.
    pub outgoing: Outgoing,
    /// The oldest protocol, where floors are set.
    pub tls_minimum: TlsVersion,
    /// The services that users submit to.
    pub submission: Submission,
    /// Whether the greeting keeps the software's name to itself.
    pub hide_banner: bool,
    /// Whether Postfix is reloaded.
    pub reload: Reload,
    /// Which endpoints prove a deployment.
    pub verify: Verify,
}

/// `[dovecot]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dovecot {
    /// Whether Dovecot, where it is installed, is ours to configure and to reload.
    pub manage: bool,
    /// Where its dovecot.conf is.
    pub config_directory: PathBuf,
    /// Whether it listens where Postfix asks who may log in.
    pub auth_socket: bool,
    /// Which endpoints prove a deployment. Where it is not managed, a deploy hook has them read the certificate.
    pub verify: Verify,
}

/// How key and chain are named in main.cf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsLayout {
    /// `smtpd_tls_cert_file` and `smtpd_tls_key_file`.
    CertAndKey,
    /// `smtpd_tls_chain_files`: one file, no window.
    Chain,
}

/// What `smtp_tls_CAfile` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCa {
    /// A file of ours: the distribution's bundle, and the root of the private CA.
    Ca,
    /// This file.
    File(PathBuf),
    /// As it is.
    Keep,
    /// The chain of our own certificate, as the 2022 guide has it.
    OwnChain,
    /// The distribution's bundle.
    System,
}

/// What is shown to servers that ask for a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// These files; the key may stand in the certificate's.
    Files {
        /// The leaf and its intermediates.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The lineage of this name.
    Lineage(String),
}

/// Who may relay through this host by client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Whose certificates the generated table has.
    pub clients: Vec<RelayClient>,
    /// The table.
    pub table: RelayTable,
    /// What `smtpd_tls_CAfile` is.
    pub ca: RelayCa,
}

/// A client that may relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayClient {
    /// Every client that the private CA on this host has certified (`--profile client`), and not revoked.
    Ca,
    /// Who has the key of a certificate, or the public key, in this file.
    File(PathBuf),
    /// Who has the key, or the certificate, of this digest.
    Fingerprint {
        /// SHA-256 of the subjectPublicKeyInfo, or of the certificate.
        sha256: Sha256,
        /// What the operator calls it; may be empty.
        name: String,
    },
}

/// The table of clients that may relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayTable {
    /// A table of ours.
    Generated,
    /// The operator's own, as main.cf has it.
    Own(String),
}

/// What `smtpd_tls_CAfile` is, where clients may relay by certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayCa {
    /// The root of the private CA.
    Ca,
    /// This file.
    File(PathBuf),
    /// As it is.
    Keep,
}

impl Relay {
    /// Returns whether anybody is to relay by certificate.
    pub fn is_wanted(&self) -> bool {
        !self.clients.is_empty() || self.table != RelayTable::Generated
    }
}

/// TLS of outgoing mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Whether it is ours to set.
    pub manage: bool,
    /// How much is demanded of the other side.
    pub level: OutgoingLevel,
    /// Which ciphers are offered where TLS is optional.
    pub ciphers: CipherGrade,
    /// `smtp_tls_loglevel`.
    pub loglevel: u32,
}

/// How much is demanded of servers that mail is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutgoingLevel {
    /// What their TLSA records say, where the resolver validates (RFC 7672).
    Dane,
    /// TLS where they offer it.
    May,
}

/// A grade of ciphers (postconf(5), `smtp_tls_ciphers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherGrade {
    /// 128 bits and more, by today's names alone.
    High,
    /// Postfix's default.
    Medium,
}

/// A protocol version, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 2246.
    V1_0,
    /// RFC 4346.
    V1_1,
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// The services that users submit mail to (RFC 6409, RFC 8314).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Whether port 587 is wanted.
    pub submission: bool,
    /// Whether port 465 is wanted.
    pub submissions: bool,
    /// What says which login may use which sender address.
    pub sender_login_maps: SenderLoginMaps,
    /// `-o` overrides of both services by name, in the place of ours or besides.
    pub overrides: Vec<(String, String)>,
}

/// What says which login may use which sender address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderLoginMaps {
    /// A map of ours, for system users and virtual domains.
    Generated,
    /// Nothing: every login may use every address.
    None,
    /// The operator's own, as main.cf has it.
    Own(String),
}

/// Whether Postfix is reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// When something changed.
    Auto,
    /// Never: for building images.
    Never,
}

/// Which endpoints prove a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    /// The TLS endpoints that the server's own configuration enables.
    Auto,
    /// These; empty switches verifying off.
    Endpoints(Vec<Endpoint>),
}

/// `[firewall]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// Whether ports are ours to open.
    pub manage: bool,
}

/// `[outbound]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Hosts whose ports are asked; empty: those of well-known providers, when `check outbound` is asked for by name.
    pub probe: Vec<Peer>,
}

/// `[notify]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Who gets mail about failures that stay, and about recovery; empty: nobody.
    pub mail_to: Vec<MailAddress>,
    /// Who it is from, on the envelope too; `None`: root at the host, and on the envelope whoever sendmail takes.
    pub mail_from: Option<MailAddress>,
    /// The program that takes the mail.
    pub sendmail: PathBuf,
    /// Failures in a row before mail is sent.
    pub after_failures: u32,
    /// Where the metrics are written.
    pub metrics_file: PathBuf,
}

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Resolvers to ask; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Servers that are asked in the place of those that the zones' NS records name; empty: those.
    pub servers: Vec<SocketAddr>,
    /// Where records are written; `None`: nowhere.
    pub provider: Option<Provider>,
    /// What `apply dns` may write besides challenges.
    pub publish: Vec<Publish>,
    /// The SPF record wanted at mail domains that have none.
    pub spf: String,
    /// What the other records are to say.
    pub policies: policy::Policies,
    /// TTL in seconds of new names.
    pub ttl: u32,
    /// How long every authoritative server may take to agree.
    pub timeout: Duration,
}

/// Where a secret comes from; it is never in the file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A variable.
    Env(String),
    /// A file, owned by root or the running user and not writable by others.
    File(PathBuf),
}

impl Dovecot {
    /// Returns the endpoints that the configuration lists.
    pub fn listed(&self) -> &[Endpoint] {
        match &self.verify {
            Verify::Auto => &[],
            Verify::Endpoints(endpoints) => endpoints,
        }
    }
}

impl Config {
    /// Returns the lineage of this name.
    pub fn certificate(&self, name: &str) -> Option<&Certificate> {
        self.certificates
            .iter()
            .find(|certificate| certificate.name == name)
    }

    /// Returns whether this lineage is what the host shows as a client.
    pub fn is_client_certificate(&self, name: &str) -> bool {
        matches!(&self.postfix.client_certificate, Some(ClientCertificate::Lineage(lineage)) if lineage == name)
    }

    /// Returns whether this lineage is shown as a client, and served to nobody.
    pub fn is_for_clients_alone(&self, name: &str) -> bool {
        self.is_client_certificate(name)
            && self
                .default_certificate()
                .is_none_or(|default| default.name != name)
    }

    /// Returns the lineage that Postfix names in main.cf for those who connect: the first that covers the host's name, else the
    /// first. The client certificate is it only where there is no other.
    pub fn default_certificate(&self) -> Option<&Certificate> {
        let covers = |certificate: &&Certificate| {
            certificate
                .identifiers
                .iter()
                .any(|identifier| identifier.covers(&self.host.name))
        };
        let servers = || {
            self.certificates
                .iter()
                .filter(|one| !self.is_client_certificate(&one.name))
        };
        servers()
            .find(covers)
            .or_else(|| servers().next())
            .or_else(|| self.certificates.first())
    }
}
