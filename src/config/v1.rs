//! `mailcert.toml`, format 1, as it is written -> [`Config`]. Pure.
//!
//! TOML 1.1. First `check` holds the file against the [`schema`]; then what is left is read here, section by section.
//! Every error of the file is reported at once. The reader never looks at the host: whether a file exists, a user is
//! known or an address is local is found out by those who use it.

mod batches;
mod check;
mod hook;
mod policy;
mod provider;
mod report;
pub mod schema;
mod section;
mod value;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
};

use toml_edit::{Document, Item, TableLike};

use super::{
    Acme, Certificate, Challenge, CipherGrade, ClientCa, ClientCertificate, Config, Dns, Dovecot,
    ExternalAccount, Firewall, Host, Http01, Issuer, KeyType, MirroredLimits, Notify, Outbound, Outgoing,
    OutgoingLevel, Postfix, PrivateCa, Publish, Relay, RelayCa, RelayTable, Reload, Renew, RenewBefore,
    ReuseKey, SecretSource, SenderLoginMaps, Submission, Timer, TlsLayout, TlsVersion, Verify,
    hook::ChallengeHook,
};
use crate::model::{
    address::MailAddress,
    endpoint::{Endpoint, EndpointError, Peer},
    name::{DomainName, Identifier},
};
use batches::Batches;
use report::Report;
pub use report::{ConfigError, ConfigErrors};
use section::Section;

/// Resolves a known CA's name, or checks the https URL of a directory, as `acme.directory` has it.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn directory(text: &str) -> Result<String, String> {
    value::directory(text)
}

/// Checks the name of a lineage, as `certificate.name` has it.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn lineage_name(text: &str) -> Result<String, String> {
    value::lineage_name(text)
}

/// The format that this reader knows.
const VERSION: i64 = 1;
/// TTLs above a week are refused: a mistake in a record should not stay that long.
const MAX_TTL: i64 = 7 * 86400;
/// All are asked at the same time, which should not look like an attack.
const MAX_PROBED: usize = 16;

/// Reads a configuration; `file` is only used to name it in errors.
///
/// # Errors
/// Everything that is wrong with the file; of a file that is not TOML the first fault, of one in a newer format only that.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigErrors> {
    if let Some(batches) = Batches::find(text)
        && let Some(rest) = batches.rest().filter(|rest| !rest.contains_key("certificate"))
        && let Some(read) = read(file, text, rest.as_table(), Some(&batches))
    {
        return read;
    }
    match Document::parse(text) {
        Ok(document) => {
            read(file, text, document.as_table(), None).unwrap_or_else(|| Err(Report::new(text).finish(file)))
        }
        Err(error) => {
            let message = format!("not TOML: {}", error.message());
            Err(Report::new(text).syntax(file, &error.span().unwrap_or_default(), &message))
        }
    }
}

/// Reads what was parsed; `None` when a part of the certificates cannot be parsed on its own.
fn read(
    file: &Path,
    text: &str,
    table: &dyn TableLike,
    batches: Option<&Batches<'_>>,
) -> Option<Result<Config, ConfigErrors>> {
    let mut report = Report::new(text);
    let root = Section {
        path: "",
        table: Some(table),
        at: 0..0,
    };
    if let Some((version, at)) = root.integer("version")
        && version != VERSION
    {
        let what = if version > VERSION {
            "a newer mailcert wrote this, or is needed for it"
        } else {
            "there is no such"
        };
        report.error(
            &at,
            format!("`version` is {version}, but this mailcert reads version {VERSION}: {what}"),
        );
        return Some(Err(report.finish(file)));
    }
    check::document(table, &mut report);
    let (acme_section, dns_section) = (root.section("acme"), root.section("dns"));
    let provider = dns_section.section("dns.provider");
    let challenge_section = acme_section.section("acme.challenge");
    let challenge = challenge(&challenge_section, &mut report);
    let challenge_hook = hook::challenge_hook(
        &challenge_section.section("acme.challenge.hook"),
        &challenge_section.word("type"),
        &mut report,
    );
    let postfix = postfix(&root.section("postfix"), &mut report);
    let dovecot = dovecot(&root.section("dovecot"), &mut report);
    let mut certificates = Certificates {
        challenge: challenge.as_ref(),
        is_managed: postfix.manage || dovecot.manage,
        read: Vec::new(),
        names: HashSet::new(),
        in_sni_map: HashMap::new(),
        first_by_acme: None,
    };
    certificates.add(&root, &mut report);
    for document in batches.into_iter().flat_map(Batches::documents) {
        let document = document?;
        check::certificates(document.as_table(), &mut report);
        let root = Section {
            path: "",
            table: Some(document.as_table()),
            at: 0..0,
        };
        certificates.add(&root, &mut report);
    }
    let Certificates {
        read: certificates,
        first_by_acme,
        ..
    } = certificates;
    let acme = acme(
        &acme_section,
        challenge,
        challenge_hook,
        first_by_acme,
        &provider,
        &mut report,
    );
    let ca = private_ca(&root.section("ca"), &mut report);
    let dns = dns(&dns_section, &provider, &mut report);
    if let Some(ClientCertificate::Lineage(name)) = &postfix.client_certificate
        && !certificates.iter().any(|one| one.name == *name)
    {
        let section = root.section("postfix");
        let at = section.item("client_certificate").and_then(Item::span);
        let fault = format!(
            "names `{}`, which is no lineage of this file; a file is named by its absolute path",
            check::shorten(name)
        );
        section.refuse("client_certificate", &at.unwrap_or_default(), &fault, &mut report);
    }
    let renew = renew(&root.section("renew"), &mut report);
    let hooks = hook::hooks(&root.section("hooks"), &certificates, &mut report);
    let host = host(&root.section("host"), &mut report);
    let state_directory = root.path("state_directory").unwrap_or_default();
    let firewall = Firewall {
        manage: root
            .section("firewall")
            .boolean("manage")
            .is_some_and(|(manage, _)| manage),
    };
    let outbound = outbound(&root.section("outbound"), &mut report);
    let notify = notify(&root.section("notify"), &state_directory, &mut report);
    Some(match host {
        Some(host) if report.n_errors() == 0 => Ok(Config {
            state_directory,
            host,
            acme,
            certificates,
            renew,
            postfix,
            ca,
            dovecot,
            dns,
            firewall,
            outbound,
            notify,
            hooks,
        }),
        _ => Err(report.finish(file)),
    })
}

fn private_ca(section: &Section<'_>, report: &mut Report<'_>) -> PrivateCa {
    let name = section.parsed("name", report, |text| {
        let subject = crate::model::request::Subject::default().with_common_name(text);
        subject.map_err(|error| format!("is wrong: {error}"))
    });
    PrivateCa {
        name: name.and_then(|subject| subject.common_name().map(str::to_owned)),
        passphrase_file: section.path("passphrase_file"),
    }
}

fn domain_name(text: &str) -> Result<DomainName, String> {
    text.parse().map_err(|error| format!("is wrong: {error}"))
}

fn identifier(text: &str) -> Result<Identifier, String> {
    text.parse().map_err(|error| format!("is wrong: {error}"))
}

fn host(section: &Section<'_>, report: &mut Report<'_>) -> Option<Host> {
    let name = section.parsed("name", report, domain_name);
    let domains = section.distinct("domains", report, domain_name);
    Some(Host {
        name: name?,
        domains: without_places(domains),
    })
}

/// Returns the values of a list that has been judged.
fn without_places<T>(list: Vec<(T, Range<usize>)>) -> Vec<T> {
    list.into_iter().map(|(value, _)| value).collect()
}

/// Returns the ACME CA when a certificate wants one.
fn acme(
    section: &Section<'_>,
    challenge: Option<Challenge>,
    challenge_hook: Option<ChallengeHook>,
    first_by_acme: Option<Range<usize>>,
    provider: &Section<'_>,
    report: &mut Report<'_>,
) -> Option<Acme> {
    let directory = section.parsed("directory", report, value::directory);
    let contact = section.parsed_list("contact", report, value::contact);
    let fallback = section.distinct("fallback", report, value::directory);
    if let Some((_, at)) = fallback
        .iter()
        .find(|(other, _)| Some(other) == directory.as_ref())
    {
        let fault = "names the CA of `acme.directory`; name another one, or leave it out";
        section.refuse("fallback", at, fault, report);
    }
    let first = first_by_acme?;
    if !section.is_written() {
        report.error(
            &first,
            "this certificate is to come by ACME, but the table `[acme]` is missing",
        );
        return None;
    }
    let terms = section.item("terms_of_service_agreed");
    if terms.is_none_or(|item| item.as_bool() == Some(false)) {
        let at = terms.and_then(Item::span).unwrap_or_else(|| section.at.clone());
        let fault = "must be true for certificates by ACME; read the terms of service of the CA, then set it";
        section.refuse("terms_of_service_agreed", &at, fault, report);
    }
    let by_hook = section.section("acme.challenge").item("hook").is_some();
    if challenge == Some(Challenge::Dns01) && !provider.is_written() && !by_hook {
        let section = section.section("acme.challenge");
        let at = section
            .item("type")
            .and_then(Item::span)
            .unwrap_or_else(|| section.at.clone());
        let fault =
            "is dns-01, which needs `dns.provider`: where the records are written; or `acme.challenge.hook`";
        section.refuse("type", &at, fault, report);
    }
    Some(Acme {
        directory: directory.unwrap_or_default(),
        contact: without_places(contact),
        terms_of_service_agreed: true,
        root_ca_file: section.path("root_ca_file"),
        profile: section.parsed("profile", report, value::profile),
        preferred_chain: section.parsed("preferred_chain", report, value::common_name),
        external_account: external_account(&section.section("acme.eab"), report),
        challenge: challenge?,
        challenge_hook,
        fallback: without_places(fallback),
        limits: match section.word("limits").as_str() {
            "letsencrypt" => MirroredLimits::LetsEncrypt,
            "none" => MirroredLimits::None,
            _ => MirroredLimits::Auto,
        },
    })
}

/// Returns the customer's account that accounts are bound to; `None` when there is none, or when it has been reported.
fn external_account(section: &Section<'_>, report: &mut Report<'_>) -> Option<ExternalAccount> {
    const SOURCES: [&str; 3] = ["hmac_key_file", "hmac_key_env", "hmac_key_credential"];
    if !section.is_written() {
        return None;
    }
    let key_id = section.parsed("key_id", report, value::key_id);
    let hmac_key = secret(section, SOURCES, report);
    Some(ExternalAccount {
        key_id: key_id?,
        hmac_key: hmac_key?,
    })
}

/// Returns how names are proven; `None` when the type has been reported.
fn challenge(section: &Section<'_>, report: &mut Report<'_>) -> Option<Challenge> {
    let (kind, _) = section.text("type")?;
    let port = if kind == "tls-alpn-01" { 443 } else { 80 };
    let addresses = section.parsed_list("listen", report, |text| value::socket_address(text, port));
    let webroot = section.path("webroot");
    if section.item("hook").is_some() {
        for name in ["listen", "webroot"] {
            if let Some(item) = section.item(name) {
                let fault = "has no meaning with `hook`, which puts the responses in place; leave one out";
                section.refuse(name, &item.span().unwrap_or_default(), fault, report);
            }
        }
    }
    match kind.as_str() {
        "dns-01" => {
            let listen_at = addresses.first().map(|(_, at)| at.clone());
            let webroot_at = section.item("webroot").and_then(Item::span);
            for (name, at) in [("listen", listen_at), ("webroot", webroot_at)] {
                if let Some(at) = at {
                    section.refuse(name, &at, "has no meaning with dns-01; leave it out", report);
                }
            }
            Some(Challenge::Dns01)
        }
        "http-01" => {
            let Some(webroot) = webroot else {
                return Some(Challenge::Http01(Http01::Listen(without_places(addresses))));
            };
            if let Some((_, at)) = addresses.first() {
                section.refuse(
                    "listen",
                    at,
                    "and `webroot` exclude each other; leave one out",
                    report,
                );
            }
            Some(Challenge::Http01(Http01::Webroot(webroot)))
        }
        "tls-alpn-01" => {
            if let Some(at) = section.item("webroot").and_then(Item::span) {
                let fault = "has no meaning with tls-alpn-01; leave it out";
                section.refuse("webroot", &at, fault, report);
            }
            Some(Challenge::TlsAlpn01(without_places(addresses)))
        }
        _ => None,
    }
}

/// The certificates as they are read, and what each of them is held against.
struct Certificates<'a> {
    challenge: Option<&'a Challenge>,
    is_managed: bool,
    read: Vec<Certificate>,
    names: HashSet<String>,
    /// The names that the SNI map has, each with its lineage.
    in_sni_map: HashMap<Identifier, String>,
    /// Where the first stands that is to come by ACME.
    first_by_acme: Option<Range<usize>>,
}

impl Certificates<'_> {
    /// Reads the certificates of a document.
    fn add(&mut self, root: &Section<'_>, report: &mut Report<'_>) {
        for section in root.tables("certificate") {
            if self.first_by_acme.is_none() && section.word("issuer") == "acme" {
                self.first_by_acme = Some(section.at.clone());
            }
            let Some((certificate, at)) = certificate(&section, self.challenge, report) else {
                continue;
            };
            if certificate.sni {
                sni(
                    &section,
                    &certificate,
                    self.is_managed,
                    &mut self.in_sni_map,
                    report,
                );
            }
            if !self.names.insert(certificate.name.clone()) {
                let fault = format!(
                    "`{}` is taken by a certificate above; give this one its own",
                    certificate.name
                );
                section.refuse("name", &at, &fault, report);
            }
            self.read.push(certificate);
        }
    }
}

/// Refuses a name that two certificates are to be served for, and a map that nobody would make.
fn sni(
    section: &Section<'_>,
    certificate: &Certificate,
    is_managed: bool,
    in_sni_map: &mut HashMap<Identifier, String>,
    report: &mut Report<'_>,
) {
    let at = section.item("sni").and_then(Item::span).unwrap_or_default();
    if !is_managed {
        let fault = "needs `postfix.manage` or `dovecot.manage`: names are served by a server that mailcert configures";
        section.refuse("sni", &at, fault, report);
    }
    for identifier in &certificate.identifiers {
        if let Some(other) = in_sni_map.insert(identifier.clone(), certificate.name.clone()) {
            let fault = format!("cannot serve `{identifier}`: that is what `{other}` above is served for");
            section.refuse("sni", &at, &fault, report);
        }
    }
}

/// Returns a certificate and where its name stands, written or by default.
fn certificate(
    section: &Section<'_>,
    challenge: Option<&Challenge>,
    report: &mut Report<'_>,
) -> Option<(Certificate, Range<usize>)> {
    let issuer = match section.word("issuer").as_str() {
        "acme" => Some(Issuer::Acme),
        "ca" => Some(Issuer::Ca),
        "external" => Some(Issuer::External),
        _ => None,
    };
    let identifiers = identifiers(section, issuer, challenge, report);
    let list_at = section
        .item("identifiers")
        .and_then(Item::span)
        .unwrap_or_else(|| section.at.clone());
    let (name, name_at) = match section.text("name") {
        Some((name, at)) => (Some(name), at),
        None => (identifiers.first().map(Identifier::lineage_name), list_at),
    };
    let name = name.and_then(|name| section.take("name", &name_at, value::lineage_name(&name), report));
    let mode = section.integer("mode");
    let mode = mode.and_then(|(bits, at)| section.take("mode", &at, value::key_mode(bits), report));
    let owner = section.parsed("owner", report, value::account);
    let group = section.parsed("group", report, value::account);
    let certificate = Certificate {
        name: name?,
        identifiers,
        issuer: issuer?,
        key: match section.word("key").as_str() {
            "ecdsa-p384" => KeyType::EcdsaP384,
            "rsa-2048" => KeyType::Rsa(2048),
            "rsa-3072" => KeyType::Rsa(3072),
            "rsa-4096" => KeyType::Rsa(4096),
            _ => KeyType::EcdsaP256,
        },
        reuse_key: match section.word("reuse_key").as_str() {
            "always" => ReuseKey::Always,
            "never" => ReuseKey::Never,
            _ => ReuseKey::WhilePublished,
        },
        owner: owner?,
        group: group?,
        mode: mode?,
        sni: section.boolean("sni").is_some_and(|(sni, _)| sni),
    };
    Some((certificate, name_at))
}

/// Returns what a certificate is for; what a CA would refuse anyway is refused here.
fn identifiers(
    section: &Section<'_>,
    issuer: Option<Issuer>,
    challenge: Option<&Challenge>,
    report: &mut Report<'_>,
) -> Vec<Identifier> {
    let refuse = |at: &Range<usize>, fault: &str, report: &mut Report<'_>| {
        section.refuse("identifiers", at, fault, report);
    };
    if let Some(list) = section
        .item("identifiers")
        .filter(|item| item.as_array().is_some_and(toml_edit::Array::is_empty))
    {
        refuse(
            &list.span().unwrap_or_default(),
            "is empty; a certificate needs at least one name",
            report,
        );
    }
    let placed = section.distinct("identifiers", report, identifier);
    let identifiers: Vec<Identifier> = placed.iter().map(|(identifier, _)| identifier.clone()).collect();
    if issuer != Some(Issuer::Acme) {
        return identifiers;
    }
    for (identifier, at) in &placed {
        if identifier.is_wildcard()
            && matches!(challenge, Some(Challenge::Http01(_) | Challenge::TlsAlpn01(_)))
        {
            let fault =
                format!("has the wildcard `{identifier}`; set `acme.challenge.type` to dns-01 for it");
            refuse(at, &fault, report);
        }
        if let Some(wildcard) = value::covering(&identifiers, identifier) {
            refuse(
                at,
                &format!("has `{identifier}`, which `{wildcard}` covers already; leave one out"),
                report,
            );
        }
    }
    identifiers
}

fn renew(section: &Section<'_>, report: &mut Report<'_>) -> Renew {
    let before = section.parsed("before", report, |text| match text {
        "auto" => Ok(RenewBefore::Auto),
        _ => value::duration(text)
            .map(RenewBefore::Left)
            .map_err(|fault| format!("{fault}, or auto")),
    });
    Renew {
        before: before.unwrap_or(RenewBefore::Auto),
        keep_generations: section.number("keep_generations", 1..=1000, report),
        max_per_day: section.number("max_per_day", 0..=1000, report),
        max_per_week: section.number("max_per_week", 0..=1000, report),
        timer: match section.word("timer").as_str() {
            "cron" => Timer::Cron,
            "none" => Timer::None,
            "systemd" => Timer::Systemd,
            _ => Timer::Auto,
        },
    }
}

fn postfix(section: &Section<'_>, report: &mut Report<'_>) -> Postfix {
    let endpoints = endpoints(section, Mail::Sent, report);
    Postfix {
        manage: section.boolean("manage").is_none_or(|(manage, _)| manage),
        config_directory: section.path("config_directory").unwrap_or_default(),
        tls_layout: match section.word("tls_layout").as_str() {
            "chain" => TlsLayout::Chain,
            _ => TlsLayout::CertAndKey,
        },
        client_ca: match section.word("client_ca").as_str() {
            "ca" => ClientCa::Ca,
            "keep" => ClientCa::Keep,
            "own-chain" => ClientCa::OwnChain,
            "system" => ClientCa::System,
            file => ClientCa::File(file.into()),
        },
        client_certificate: client_certificate(section, report),
        relay: relay(section, report),
        incoming: is_on(section, "incoming"),
        outgoing: Outgoing {
            manage: is_on(section, "outgoing"),
            level: match section.word("outgoing_level").as_str() {
                "dane" => OutgoingLevel::Dane,
                _ => OutgoingLevel::May,
            },
            ciphers: match section.word("outgoing_ciphers").as_str() {
                "high" => CipherGrade::High,
                _ => CipherGrade::Medium,
            },
            loglevel: section.number("outgoing_loglevel", 0..=4, report),
        },
        tls_minimum: match section.word("tls_minimum").as_str() {
            "TLSv1" => TlsVersion::V1_0,
            "TLSv1.1" => TlsVersion::V1_1,
            "TLSv1.3" => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        submission: submission(section, report),
        hide_banner: is_on(section, "hide_banner"),
        reload: match section.word("reload").as_str() {
            "never" => Reload::Never,
            _ => Reload::Auto,
        },
        verify: match section.text("verify") {
            Some(_) => Verify::Auto,
            None => Verify::Endpoints(endpoints),
        },
    }
}

fn dovecot(section: &Section<'_>, report: &mut Report<'_>) -> Dovecot {
    let endpoints = endpoints(section, Mail::Read, report);
    let manage = section.boolean("manage").is_none_or(|(manage, _)| manage);
    let auth_socket = section.boolean("auth_socket");
    if let Some((true, at)) = &auth_socket
        && !manage
    {
        let fault = "needs `dovecot.manage`: the listener is made in the Dovecot that mailcert configures";
        section.refuse("auth_socket", at, fault, report);
    }
    Dovecot {
        manage,
        config_directory: section.path("config_directory").unwrap_or_default(),
        auth_socket: auth_socket.is_some_and(|(is_on, _)| is_on),
        verify: match section.text("verify") {
            Some(_) => Verify::Auto,
            None => Verify::Endpoints(endpoints),
        },
    }
}

/// What an endpoint is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mail {
    Read,
    Sent,
}

/// Returns the endpoints of a `verify` list, all of one kind.
fn endpoints(section: &Section<'_>, mail: Mail, report: &mut Report<'_>) -> Vec<Endpoint> {
    let endpoints = section.parsed_list("verify", report, |text| {
        let endpoint: Endpoint = text
            .parse()
            .map_err(|error: EndpointError| format!("is wrong: {error}"))?;
        match (mail, endpoint.scheme.is_for_reading()) {
            (Mail::Read, true) | (Mail::Sent, false) => Ok(endpoint),
            (Mail::Read, false) => Err(format!("is wrong: `{endpoint}` belongs in `postfix.verify`")),
            (Mail::Sent, true) => Err(format!("is wrong: `{endpoint}` belongs in `dovecot.verify`")),
        }
    });
    without_places(endpoints)
}

fn is_on(section: &Section<'_>, name: &str) -> bool {
    section.boolean(name).is_some_and(|(is_on, _)| is_on)
}

/// Returns what is shown to servers that ask: an absolute path is a file, anything else a lineage.
fn client_certificate(section: &Section<'_>, report: &mut Report<'_>) -> Option<ClientCertificate> {
    let key = section.path("client_key");
    let key_at = section
        .item("client_key")
        .and_then(Item::span)
        .unwrap_or_default();
    let Some((written, at)) = section.text("client_certificate") else {
        if key.is_some() {
            let fault = "is the key of `client_certificate`, which is missing";
            section.refuse("client_key", &key_at, fault, report);
        }
        return None;
    };
    if written.starts_with('/') {
        let certificate = Path::new(&written).to_owned();
        let key = key.unwrap_or_else(|| certificate.clone());
        return Some(ClientCertificate::Files { certificate, key });
    }
    if key.is_some() {
        let fault =
            "has no meaning where `client_certificate` is a lineage, which has its own key; leave it out";
        section.refuse("client_key", &key_at, fault, report);
    }
    let name = section.take("client_certificate", &at, value::lineage_name(&written), report);
    name.map(ClientCertificate::Lineage)
}

/// Returns who may relay by client certificate.
fn relay(section: &Section<'_>, report: &mut Report<'_>) -> Relay {
    let clients = section.parsed_list("relay_clients", report, value::relay_client);
    let table = section.parsed("relay_clientcerts", report, |text| match text {
        "generated" => Ok(RelayTable::Generated),
        _ => value::relay_tables(text).map(RelayTable::Own),
    });
    if let (Some(RelayTable::Own(_)), Some((_, at))) = (&table, clients.first()) {
        let fault = "and a `relay_clientcerts` of your own exclude each other: put them into that table";
        section.refuse("relay_clients", at, fault, report);
    }
    Relay {
        clients: without_places(clients),
        table: table.unwrap_or(RelayTable::Generated),
        ca: match section.word("relay_ca").as_str() {
            "ca" => RelayCa::Ca,
            file if file.starts_with('/') => RelayCa::File(file.into()),
            _ => RelayCa::Keep,
        },
    }
}

fn submission(section: &Section<'_>, report: &mut Report<'_>) -> Submission {
    let maps = section.parsed("sender_login_maps", report, |text| match text {
        "generated" => Ok(SenderLoginMaps::Generated),
        "none" => Ok(SenderLoginMaps::None),
        _ => value::tables(text).map(SenderLoginMaps::Own),
    });
    let placed = section.parsed_list("submission_overrides", report, value::service_override);
    let mut overrides: Vec<(String, String)> = Vec::new();
    for ((name, value), at) in placed {
        if overrides.iter().any(|(known, _)| *known == name) {
            section.refuse(
                "submission_overrides",
                &at,
                &format!("has `{name}` twice"),
                report,
            );
        }
        overrides.push((name, value));
    }
    Submission {
        submission: is_on(section, "submission"),
        submissions: is_on(section, "submissions"),
        sender_login_maps: maps.unwrap_or(SenderLoginMaps::Generated),
        overrides,
    }
}

fn dns(section: &Section<'_>, provider_section: &Section<'_>, report: &mut Report<'_>) -> Dns {
    let resolvers = section.parsed_list("resolvers", report, |text| value::socket_address(text, 53));
    let servers = section.parsed_list("servers", report, |text| value::socket_address(text, 53));
    let timeout = section.parsed("timeout", report, value::duration);
    let publish = section.distinct("publish", report, |word| Ok(word.to_owned()));
    let publish: Vec<Publish> = publish
        .iter()
        .filter_map(|(word, _)| Publish::ALL.into_iter().find(|family| family.word() == word))
        .collect();
    Dns {
        resolvers: without_places(resolvers),
        servers: without_places(servers),
        provider: provider::provider(provider_section, report),
        spf: section.parsed("spf", report, value::spf).unwrap_or_default(),
        policies: policy::policies(section, &publish, report),
        publish,
        ttl: section.number("ttl", 1..=MAX_TTL, report),
        timeout: timeout.unwrap_or_default(),
    }
}

fn outbound(section: &Section<'_>, report: &mut Report<'_>) -> Outbound {
    let peer = |text: &str| text.parse::<Peer>().map_err(|error| format!("is wrong: {error}"));
    let probe = section.distinct("probe", report, peer);
    if let Some((_, at)) = probe.get(MAX_PROBED) {
        section.refuse("probe", at, &format!("has more than {MAX_PROBED} hosts"), report);
    }
    Outbound {
        probe: without_places(probe),
    }
}

fn notify(section: &Section<'_>, state_directory: &Path, report: &mut Report<'_>) -> Notify {
    let address = |text: &str| {
        let wrong = |error| format!("has `{}`, which {error}", check::shorten(text));
        text.parse::<MailAddress>().map_err(wrong)
    };
    Notify {
        mail_to: without_places(section.distinct("mail_to", report, address)),
        mail_from: section.parsed("mail_from", report, address),
        sendmail: section.path("sendmail").unwrap_or_default(),
        after_failures: section.number("after_failures", 1..=1000, report),
        metrics_file: section
            .path("metrics_file")
            .unwrap_or_else(|| state_directory.join("metrics.prom")),
    }
}

/// Returns where a secret comes from: exactly one source is named. The names are those of the file, the variable and the
/// credential.
fn secret(
    section: &Section<'_>,
    sources: [&'static str; 3],
    report: &mut Report<'_>,
) -> Option<SecretSource> {
    let [file, variable, credential] = sources;
    let written: Vec<&str> = sources
        .into_iter()
        .filter(|name| section.item(name).is_some())
        .collect();
    match written.as_slice() {
        [only] if *only == file => section.path(file).map(SecretSource::File),
        [only] if *only == variable => section
            .parsed(variable, report, value::reference_name)
            .map(SecretSource::Env),
        [_] => section
            .parsed(credential, report, value::reference_name)
            .map(SecretSource::Credential),
        [] => {
            let message = format!(
                "`{}` names no secret; set one of {}",
                section.path,
                sources.join(", ")
            );
            report.error(&section.at, message);
            None
        }
        _ => {
            report.error(
                &section.at,
                format!("`{}` must have only one of {}", section.path, written.join(", ")),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests;
