//! Every key of `mailcert.toml`, once: its type, default, example and meaning. Pure.
//!
//! The reader takes its defaults from here, the template its comments, and an unknown key its hint.

use std::{collections::HashMap, sync::LazyLock};

use toml_edit::Value;

use Absent::{Default, Nothing, Refused};
use Kind::{
    Boolean, Choice, ChoiceList, ChoiceOrFile, ChoiceOrList, File, Integer, List, Table, Tables, Text,
    TextOrList,
};

/// One key of the file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table that it stands in, dotted; empty for the top of the file.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds when it is absent.
    pub absent: Absent,
    /// A value that may be written, as TOML.
    pub example: &'static str,
    /// What it means, in a line.
    pub meaning: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// One of some words.
    Choice(Choices),
    /// A list of some words.
    ChoiceList(Choices),
    /// One of some words, or an absolute path.
    ChoiceOrFile(Choices),
    /// One of some words, or a list of strings.
    ChoiceOrList(Choices),
    /// An absolute path.
    File,
    /// An integer.
    Integer,
    /// A list of strings.
    List,
    /// A table, whose keys stand in this schema too.
    Table,
    /// A list of tables.
    Tables,
    /// A string.
    Text,
    /// A string, or a list of strings.
    TextOrList,
}

/// The words that a value may be.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// Those that work.
    pub now: &'static [&'static str],
    /// Those that do not work yet.
    pub later: &'static [&'static str],
}

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// This value, as TOML.
    Default(&'static str),
    /// Nothing.
    Nothing,
    /// The file is refused.
    Refused,
}

impl Key {
    /// Returns the key with its table: `acme.challenge.type`.
    pub fn path(&self) -> String {
        join(self.table, self.name)
    }

    /// Returns the value that holds when the key is absent. It is parsed once: a file may have ten thousand certificates.
    pub fn default(&self) -> Option<&'static Value> {
        static DEFAULTS: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
            let text = |key: &Key| match key.absent {
                Default(text) => Some(text),
                Nothing | Refused => None,
            };
            KEYS.iter()
                .filter_map(text)
                .filter_map(|text| Some((text, text.parse().ok()?)))
                .collect()
        });
        match self.absent {
            Default(text) => DEFAULTS.get(text),
            Nothing | Refused => None,
        }
    }
}

/// Returns a key with the table it stands in.
pub fn join(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// Returns the keys of a table, in the order of the schema.
pub fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

/// Returns a key.
pub fn find(table: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.table == table && key.name == name)
}

/// Returns whether the name of a key says that its value is a secret, or leads to one: such values are never shown.
pub fn names_a_secret(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "secret",
        "password",
        "passwd",
        "passphrase",
        "hmac",
        "token",
        "credential",
        "api_key",
        "apikey",
    ];
    let name = name.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().any(|word| name.contains(word))
        || matches!(name.as_str(), "private_key" | "tsig_key" | "tsig")
}

/// Returns which of `known` was probably meant, if any is near.
pub fn nearest(written: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let limit = match written.len() {
        0..3 => 0,
        3..5 => 1,
        5..8 => 2,
        8..60 => 3,
        _ => return None,
    };
    known
        .into_iter()
        .map(|word| (distance(&written.to_lowercase(), word), word))
        .filter(|(distance, word)| *distance <= limit && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Returns how many letters were changed, left out, added, or swapped with their neighbor (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (row[j] + 1)
                .min(last[j + 1] + 1)
                .min(last[j] + usize::from(x != y));
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

const fn key(
    table: &'static str,
    name: &'static str,
    kind: Kind,
    absent: Absent,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        table,
        name,
        kind,
        absent,
        example,
        meaning,
    }
}

const fn of(now: &'static [&'static str], later: &'static [&'static str]) -> Choices {
    Choices { now, later }
}

/// Every key, in the order in which a file is written (`design`, section 4).
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("", "version", Integer, Refused, "1", "of this file's format"),
    key("", "state_directory", File, Default(r#""/var/lib/mailcert""#), r#""/srv/mailcert""#, "certificates, keys, journal"),
    key("", "host", Table, Refused, "{ }", "this mail host"),
    key("", "acme", Table, Nothing, "{ }", "the CA that issues by ACME (RFC 8555)"),
    key("", "certificate", Tables, Default("[]"), "[]", "a lineage: the certificates for one set of names"),
    key("", "renew", Table, Nothing, "{ }", "when to renew"),
    key("", "postfix", Table, Nothing, "{ }", "what to do with Postfix"),
    key("", "dovecot", Table, Nothing, "{ }", "what to do with Dovecot"),
    key("", "ca", Table, Nothing, "{ }", "the private CA"),
    key("", "dns", Table, Nothing, "{ }", "how to ask the DNS, and what to publish"),
    key("", "firewall", Table, Nothing, "{ }", "what to do with the firewall"),
    key("", "outbound", Table, Nothing, "{ }", "how to see whether mail can leave"),
    key("", "hooks", Table, Nothing, "{ }", "programs to run"),
    key("", "notify", Table, Nothing, "{ }", "whom to tell"),

    key("host", "name", Text, Refused, r#""mail.example.jp""#, "what the MX records name and what clients connect to"),
    key("host", "domains", List, Refused, r#"["example.jp"]"#, "mail domains served here"),

    key("acme", "directory", Text, Default(r#""letsencrypt""#), r#""letsencrypt-staging""#, "a known CA, or the https URL of its directory"),
    key("acme", "fallback", List, Default("[]"), r#"["https://acme.example.net/directory"]"#, "further directories, tried when the first is down"),
    key("acme", "contact", List, Default("[]"), r#"["mailto:postmaster@example.jp"]"#, "mailto: URIs"),
    key("acme", "terms_of_service_agreed", Boolean, Nothing, "true", "you have read the CA's terms and agree"),
    key("acme", "root_ca_file", File, Nothing, r#""/etc/ssl/private-ca.pem""#, "trust for the directory's own HTTPS: a private or test CA"),
    key("acme", "profile", Text, Nothing, r#""shortlived""#, "the CA's profile name"),
    key("acme", "preferred_chain", Text, Nothing, r#""ISRG Root X1""#, "issuer name of the topmost certificate"),
    key("acme", "eab", Table, Nothing, r#"{ key_id = "kid-1", hmac_key_file = "/etc/mailcert/eab" }"#, "external account binding: what the CA gave its customer"),
    key("acme", "limits", Choice(of(&["auto", "letsencrypt", "none"], &[])), Default(r#""auto""#), r#""none""#, "of the CA, mirrored: auto (where they are known), letsencrypt, none"),
    key("acme", "challenge", Table, Nothing, "{ }", "how names are proven"),
    key("acme.eab", "key_id", Text, Refused, r#""kid-1""#, "the identifier that the CA gave"),
    key("acme.eab", "hmac_key_file", File, Nothing, r#""/etc/mailcert/eab""#, "holds the key that the CA gave, base64url"),
    key("acme.eab", "hmac_key_env", Text, Nothing, r#""MAILCERT_EAB_KEY""#, "a variable that holds it"),
    key("acme.eab", "hmac_key_credential", Text, Nothing, r#""eab-key""#, "a systemd credential that holds it"),
    key("acme.challenge", "type", Choice(of(&["http-01", "tls-alpn-01", "dns-01"], &[])), Default(r#""http-01""#), r#""dns-01""#, "http-01, tls-alpn-01, or dns-01 (needs dns.provider or a hook)"),
    key("acme.challenge", "listen", List, Default("[]"), r#"["192.0.2.25:80"]"#, "empty: port 80 (tls-alpn-01: 443) everywhere, only while validating"),
    key("acme.challenge", "webroot", File, Nothing, r#""/var/www/html""#, "http-01 by file instead of listening"),
    key("acme.challenge", "hook", Table, Nothing, r#"{ style = "lego-exec", run = "/usr/local/libexec/dns" }"#, "a program that puts responses in place; dns-01 then needs no dns.provider"),
    key("acme.challenge.hook", "style", Choice(of(&["mailcert", "acme.sh", "certbot", "dehydrated", "lego-exec", "lego-exec-raw", "uacme"], &[])), Default(r#""mailcert""#), r#""certbot""#, "the client that it was written for"),
    key("acme.challenge.hook", "run", TextOrList, Nothing, r#"["/etc/letsencrypt/auth.sh", "--fast"]"#, "the program, absolute, or a list with its arguments; no shell"),
    key("acme.challenge.hook", "shell", Text, Nothing, r#""/etc/letsencrypt/auth.sh""#, "a command line for sh -c instead"),
    key("acme.challenge.hook", "cleanup", TextOrList, Nothing, r#""/etc/letsencrypt/cleanup.sh""#, "certbot: the program of --manual-cleanup-hook"),
    key("acme.challenge.hook", "cleanup_shell", Text, Nothing, r#""rm -r /srv/challenge""#, "certbot: a command line instead"),
    key("acme.challenge.hook", "dnsapi", Text, Nothing, r#""dns_nsupdate""#, "acme.sh: the script; `run` is acme.sh itself"),
    key("acme.challenge.hook", "chain", Boolean, Default("false"), "true", "dehydrated: all challenges in one call, as HOOK_CHAIN"),
    key("acme.challenge.hook", "timeout", Text, Default(r#""120s""#), r#""5m""#, "for each call; then it is killed, with its children"),
    key("acme.challenge.hook", "retries", Integer, Default("0"), "2", "in the same order, when it fails"),
    key("acme.challenge.hook", "env_file", File, Nothing, r#""/etc/mailcert/dns.env""#, "NAME=value lines for it: credentials; mode 0600"),

    key("certificate", "name", Text, Nothing, r#""mail""#, "of the lineage; default: its first identifier"),
    key("certificate", "identifiers", List, Refused, r#"["mail.example.jp", "imap.example.jp"]"#, "names in the certificate"),
    key("certificate", "issuer", Choice(of(&["acme", "ca", "external"], &[])), Default(r#""acme""#), r#""external""#, "acme, ca (the private CA), or external: it comes by `mailcert csr` and `mailcert install`"),
    key("certificate", "key", Choice(of(&["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"], &[])), Default(r#""ecdsa-p256""#), r#""rsa-2048""#, "ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096"),
    key("certificate", "reuse_key", Choice(of(&["always", "never", "while-published"], &[])), Default(r#""while-published""#), r#""never""#, "always, never, while-published (a TLSA record names it)"),
    key("certificate", "owner", Text, Default(r#""root""#), r#""postfix""#, "of the private key's file"),
    key("certificate", "group", Text, Default(r#""root""#), r#""ssl-cert""#, "of the private key's file"),
    key("certificate", "mode", Integer, Default("0o600"), "0o640", "of the private key's file"),
    key("certificate", "sni", Boolean, Default("false"), "true", "true: it is served to clients that ask for its names (tls_server_sni_maps, local_name)"),

    key("renew", "before", Text, Default(r#""auto""#), r#""30d""#, "auto: when the CA says, else with a third of the lifetime left"),
    key("renew", "keep_generations", Integer, Default("3"), "5", "how many generations stay on disk"),
    key("renew", "max_per_day", Integer, Default("2"), "1", "issuances of one set of names, unattended; 0 is no limit"),
    key("renew", "max_per_week", Integer, Default("4"), "3", "the same for a week"),
    key("renew", "timer", Choice(of(&["auto", "systemd", "cron", "none"], &[])), Default(r#""auto""#), r#""cron""#, "auto, systemd, cron, none"),

    key("postfix", "manage", Boolean, Default("true"), "false", "false: main.cf is left alone and Postfix is not reloaded"),
    key("postfix", "config_directory", File, Default(r#""/etc/postfix""#), r#""/etc/postfix-out""#, "the instance"),
    key("postfix", "tls_layout", Choice(of(&["cert+key", "chain"], &[])), Default(r#""cert+key""#), r#""chain""#, "cert+key: two files; chain: one, smtpd_tls_chain_files"),
    key("postfix", "client_ca", ChoiceOrFile(of(&["system", "ca", "own-chain", "keep"], &[])), Default(r#""system""#), r#""keep""#, "smtp_tls_CAfile: system, ca (system and the private CA), own-chain, keep, or a file"),
    key("postfix", "client_certificate", Text, Nothing, r#""/etc/postfix/relay.pem""#, "shown to servers that ask: a lineage, or a PEM file (smtp_tls_cert_file)"),
    key("postfix", "client_key", File, Nothing, r#""/etc/postfix/relay.key""#, "of a client_certificate that is a file; none: it stands in the same file"),
    key("postfix", "relay_clients", List, Default("[]"), r#"["/etc/mailcert/branch.pem"]"#, "who may relay by client certificate: PEM files, SHA-256 fingerprints, ca (the clients of the private CA)"),
    key("postfix", "relay_clientcerts", Text, Default(r#""generated""#), r#""lmdb:/etc/postfix/relay_clientcerts""#, "their table: generated from relay_clients, or your own"),
    key("postfix", "relay_ca", ChoiceOrFile(of(&["keep", "ca"], &[])), Default(r#""keep""#), r#""/etc/mailcert/branches-ca.pem""#, "smtpd_tls_CAfile, where relay clients are wanted: keep, ca, or a file"),
    key("postfix", "incoming", Boolean, Default("false"), "true", "protocol floors of smtpd, as tls_minimum says"),
    key("postfix", "outgoing", Boolean, Default("false"), "true", "TLS of outgoing mail: level, protocols, ciphers, loglevel"),
    key("postfix", "outgoing_level", Choice(of(&["may", "dane"], &[])), Default(r#""may""#), r#""dane""#, "may, or dane: where the resolver validates"),
    key("postfix", "outgoing_ciphers", Choice(of(&["medium", "high"], &[])), Default(r#""medium""#), r#""high""#, "medium, or high: what fails then is sent again in clear text"),
    key("postfix", "outgoing_loglevel", Integer, Default("1"), "2", "0 to 4; 2 and more flood the log"),
    key("postfix", "tls_minimum", Choice(of(&["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], &[])), Default(r#""TLSv1.2""#), r#""TLSv1.3""#, "oldest protocol, with incoming and outgoing"),
    key("postfix", "submission", Boolean, Default("false"), "true", "the submission service, port 587"),
    key("postfix", "submissions", Boolean, Default("false"), "true", "the submissions service, port 465 (RFC 8314)"),
    key("postfix", "submission_overrides", List, Default("[]"), r#"["smtpd_sasl_local_domain=$myhostname"]"#, "-o of both, in the place of ours or besides"),
    key("postfix", "hide_banner", Boolean, Default("false"), "true", "no software name in the greeting"),
    key("postfix", "sender_login_maps", Text, Default(r#""generated""#), r#""lmdb:/etc/postfix/senders""#, "who may submit as whom: generated, none, or your own maps"),
    key("postfix", "reload", Choice(of(&["auto", "never"], &[])), Default(r#""auto""#), r#""never""#, "auto, or never: for building images"),
    key("postfix", "verify", ChoiceOrList(of(&["auto"], &[])), Default(r#""auto""#), r#"["smtp://127.0.0.1:25"]"#, "auto: the TLS ports of master.cf; or a list of smtp://HOST:PORT"),

    key("dovecot", "manage", Boolean, Default("true"), "false", "where it is installed; false: it is left alone and not reloaded"),
    key("dovecot", "config_directory", File, Default(r#""/etc/dovecot""#), r#""/srv/dovecot""#, "the instance: where its dovecot.conf is"),
    key("dovecot", "auth_socket", Boolean, Default("false"), "true", "the listener that Postfix asks who may log in (private/auth)"),
    key("dovecot", "verify", ChoiceOrList(of(&["auto"], &[])), Default(r#""auto""#), r#"["imaps://mail.example.jp:993"]"#, "auto: the TLS ports of Dovecot; or a list of imaps://HOST:PORT"),

    key("ca", "name", Text, Nothing, r#""example.jp mail CA""#, "of the private CA"),
    key("ca", "passphrase_file", File, Nothing, r#""/etc/mailcert/ca-passphrase""#, "protects its key"),

    key("dns", "resolvers", List, Default("[]"), r#"["192.0.2.53"]"#, "empty: the system's"),
    key("dns", "servers", List, Default("[]"), r#"["192.0.2.53"]"#, "asked in the place of those that the zones' NS records name (split horizon); empty: those"),
    key("dns", "provider", Table, Nothing, r#"{ type = "rfc2136", server = "192.0.2.53:53", key_name = "mailcert", algorithm = "hmac-sha256", secret_file = "/etc/mailcert/tsig-secret" }"#, "where records are written"),
    key("dns", "publish", ChoiceList(of(&["spf", "dmarc", "mta-sts", "tls-rpt", "caa", "srv", "tlsa"], &[])), Default("[]"), r#"["spf", "dmarc"]"#, "what `mailcert apply dns` may write"),
    key("dns", "spf", Text, Default(r#""v=spf1 mx -all""#), r#""v=spf1 mx ~all""#, "wanted at the mail domains that have no SPF record yet"),
    key("dns", "dmarc", Table, Nothing, r#"{ policy = "quarantine", rua = ["mailto:dmarc@example.jp"] }"#, "the DMARC record wanted at the mail domains (RFC 9989)"),
    key("dns", "mta_sts", Table, Nothing, r#"{ mode = "testing", webroot = "/var/www/mta-sts" }"#, "the MTA-STS policy wanted at the mail domains (RFC 8461)"),
    key("dns", "tls_rpt", Table, Nothing, r#"{ rua = ["mailto:tls@example.jp"] }"#, "the TLS reporting record wanted at the mail domains (RFC 8460)"),
    key("dns", "caa", Table, Nothing, r#"{ bind = "account" }"#, "which CA may issue for the names of the certificates (RFC 8659)"),
    key("dns", "srv", ChoiceOrList(of(&["auto"], &[])), Default(r#""auto""#), r#"["submissions", "imaps"]"#, "services that mail programs find: auto (what Postfix and Dovecot have), or a list of submissions, submission, imaps, pop3s"),
    key("dns", "ttl", Integer, Default("3600"), "300", "of new names, in seconds"),
    key("dns", "timeout", Text, Default(r#""120s""#), r#""10m""#, "for every authoritative server to agree"),
    key("dns.dmarc", "policy", Choice(of(&["none", "quarantine", "reject"], &[])), Default(r#""none""#), r#""quarantine""#, "what receivers do with mail that fails: none first, and stronger when the reports are good"),
    key("dns.dmarc", "rua", List, Default("[]"), r#"["mailto:dmarc@example.jp"]"#, "where reports go: mailto: URIs"),
    key("dns.mta_sts", "mode", Choice(of(&["testing", "enforce", "none"], &[])), Default(r#""testing""#), r#""enforce""#, "testing, enforce (refused while a certificate of an MX host would not validate), none"),
    key("dns.mta_sts", "max_age", Text, Default(r#""14d""#), r#""90d""#, "how long senders keep the policy"),
    key("dns.mta_sts", "webroot", File, Nothing, r#""/var/www/mta-sts/{domain}""#, "the policy is written below this root of the web server of mta-sts.DOMAIN; {domain} stands for the mail domain"),
    key("dns.tls_rpt", "rua", List, Default("[]"), r#"["mailto:tls@example.jp"]"#, "where reports go: mailto: and https: URIs"),
    key("dns.caa", "bind", Choice(of(&["issuer", "account"], &[])), Default(r#""issuer""#), r#""account""#, "issuer (any account at the CA), or account (ours, and our challenge: RFC 8657)"),
    key("dns.caa", "issuers", List, Default("[]"), r#"["ca.example.net"]"#, "CAs that may issue besides those of [acme]; the first is one of [acme] that mailcert has no name for"),
    key("dns.caa", "iodef", Text, Nothing, r#""mailto:security@example.jp""#, "where a CA reports requests that it refused"),
    key("dns.provider", "type", Choice(of(&["rfc2136", "zone-file", "manual", "hook", "httpreq", "cloud"], &[])), Refused, r#""rfc2136""#, "rfc2136: dynamic updates; zone-file: its master file; hook, httpreq: as lego's and acme.sh's; manual; cloud: a DNS host's API, where it is built in"),
    key("dns.provider", "server", Text, Nothing, r#""192.0.2.53:53""#, "rfc2136: its address"),
    key("dns.provider", "key_name", Text, Nothing, r#""mailcert""#, "rfc2136: of the TSIG key"),
    key("dns.provider", "algorithm", Choice(of(&["hmac-sha256", "hmac-sha384", "hmac-sha512"], &[])), Default(r#""hmac-sha256""#), r#""hmac-sha512""#, "rfc2136: of the TSIG key"),
    key("dns.provider", "file", File, Nothing, r#""/etc/bind/db.{zone}""#, "zone-file: the master file; {zone} stands for the zone's name"),
    key("dns.provider", "zone", Text, Nothing, r#""example.jp""#, "zone-file: the zone, where {zone} is not in file"),
    key("dns.provider", "reload", TextOrList, Default("[]"), r#"["/usr/sbin/rndc", "reload", "{zone}"]"#, "zone-file: the program that tells the server, and its arguments"),
    key("dns.provider", "style", Choice(of(&["lego-exec", "acme.sh"], &[])), Default(r#""lego-exec""#), r#""acme.sh""#, "hook: the client that it was written for"),
    key("dns.provider", "run", TextOrList, Nothing, r#"["/usr/local/libexec/dns", "--fast"]"#, "hook: the program, absolute, or a list with its arguments; of style acme.sh: acme.sh itself"),
    key("dns.provider", "shell", Text, Nothing, r#""/usr/local/libexec/dns \"$@\"""#, "hook: a command line for sh -c instead"),
    key("dns.provider", "dnsapi", Text, Nothing, r#""dns_nsupdate""#, "hook: acme.sh: its script"),
    key("dns.provider", "timeout", Text, Default(r#""120s""#), r#""5m""#, "hook, zone-file: then its program is killed, with its children"),
    key("dns.provider", "retries", Integer, Default("0"), "2", "hook: in the same run, when it fails"),
    key("dns.provider", "env_file", File, Nothing, r#""/etc/mailcert/dns.env""#, "hook: NAME=value lines for it: credentials; mode 0600"),
    key("dns.provider", "endpoint", Text, Nothing, r#""https://dns.example.net/acme""#, "httpreq: the URL that /present and /cleanup are below"),
    key("dns.provider", "mode", Choice(of(&["record", "raw"], &[])), Default(r#""record""#), r#""raw""#, "httpreq: record, or raw (HTTPREQ_MODE=RAW: the server is told the challenge, and writes nothing else)"),
    key("dns.provider", "username", Text, Nothing, r#""mailcert""#, "httpreq: for basic authentication; the secret is the password"),
    key("dns.provider", "service", Text, Nothing, r#""cloudflare""#, "cloud: the DNS host, as dns-update calls it"),
    key("dns.provider", "secret_file", File, Nothing, r#""/etc/mailcert/tsig-secret""#, "rfc2136: holds the TSIG key's base64 secret; httpreq: the password; cloud: credentials, name = value lines"),
    key("dns.provider", "secret_env", Text, Nothing, r#""MAILCERT_TSIG_SECRET""#, "a variable that holds it"),
    key("dns.provider", "secret_credential", Text, Nothing, r#""tsig-secret""#, "a systemd credential that holds it"),

    key("firewall", "manage", Boolean, Default("false"), "true", "firewalld or ufw, where one of them runs: mail ports opened, the challenge's while validating"),

    key("outbound", "probe", List, Default("[]"), r#"["mx.example.net", "relay.example.net:587"]"#, "hosts asked on 25, 587 and 465; empty: well-known ones, by `check outbound` alone"),

    key("hooks", "pre", Tables, Default("[]"), r#"[{ run = "/usr/local/libexec/pre" }]"#, "before anything is ordered or deployed; a failure stops the orders"),
    key("hooks", "deploy", Tables, Default("[]"), r#"[{ run = "/usr/local/libexec/deploy" }]"#, "after the reload, for each lineage; tried again until it succeeds"),
    key("hooks", "post", Tables, Default("[]"), r#"[{ run = "/usr/local/libexec/post" }]"#, "at the end, whatever came of it"),
    key("hooks", "failed", Tables, Default("[]"), r#"[{ run = "/usr/local/libexec/failed" }]"#, "for each lineage that failed"),
    key("hooks.pre", "style", Choice(of(&["mailcert", "acme.sh", "certbot", "dehydrated", "lego5"], &[])), Default(r#""mailcert""#), r#""certbot""#, "the client that it was written for"),
    key("hooks.pre", "run", TextOrList, Nothing, r#"["/usr/local/libexec/pre", "--fast"]"#, "the program, absolute, or a list with its arguments; no shell"),
    key("hooks.pre", "shell", Text, Nothing, r#""systemctl reload nginx""#, "a command line for sh -c instead"),
    key("hooks.pre", "directory", File, Nothing, r#""/etc/letsencrypt/renewal-hooks/pre""#, "certbot: every executable in it instead, sorted"),
    key("hooks.pre", "timeout", Text, Default(r#""60s""#), r#""5m""#, "then it is killed, with its children"),
    key("hooks.pre", "retries", Integer, Default("0"), "2", "in the same run, when it fails"),
    key("hooks.pre", "lineages", List, Default("[]"), r#"["mx.example.org"]"#, "that it is for; empty: all"),
    key("hooks.pre", "env_file", File, Nothing, r#""/etc/mailcert/hook.env""#, "NAME=value lines for it: credentials; mode 0600"),
    key("hooks.deploy", "style", Choice(of(&["mailcert", "acme.sh", "certbot", "dehydrated", "lego4", "lego5"], &[])), Default(r#""mailcert""#), r#""certbot""#, "the client that it was written for"),
    key("hooks.deploy", "run", TextOrList, Nothing, r#"["/usr/local/libexec/deploy", "--fast"]"#, "the program, absolute, or a list with its arguments; no shell"),
    key("hooks.deploy", "shell", Text, Nothing, r#""systemctl reload nginx""#, "a command line for sh -c instead"),
    key("hooks.deploy", "directory", File, Nothing, r#""/etc/letsencrypt/renewal-hooks/deploy""#, "certbot: every executable in it instead, sorted"),
    key("hooks.deploy", "timeout", Text, Default(r#""60s""#), r#""5m""#, "then it is killed, with its children"),
    key("hooks.deploy", "retries", Integer, Default("0"), "2", "in the same run, when it fails"),
    key("hooks.deploy", "lineages", List, Default("[]"), r#"["mx.example.org"]"#, "that it is for; empty: all"),
    key("hooks.deploy", "env_file", File, Nothing, r#""/etc/mailcert/hook.env""#, "NAME=value lines for it: credentials; mode 0600"),
    key("hooks.post", "style", Choice(of(&["mailcert", "acme.sh", "certbot", "dehydrated", "lego5"], &[])), Default(r#""mailcert""#), r#""certbot""#, "the client that it was written for"),
    key("hooks.post", "run", TextOrList, Nothing, r#"["/usr/local/libexec/post", "--fast"]"#, "the program, absolute, or a list with its arguments; no shell"),
    key("hooks.post", "shell", Text, Nothing, r#""systemctl reload nginx""#, "a command line for sh -c instead"),
    key("hooks.post", "directory", File, Nothing, r#""/etc/letsencrypt/renewal-hooks/post""#, "certbot: every executable in it instead, sorted"),
    key("hooks.post", "timeout", Text, Default(r#""60s""#), r#""5m""#, "then it is killed, with its children"),
    key("hooks.post", "retries", Integer, Default("0"), "2", "in the same run, when it fails"),
    key("hooks.post", "lineages", List, Default("[]"), r#"["mx.example.org"]"#, "that it is for; empty: all"),
    key("hooks.post", "env_file", File, Nothing, r#""/etc/mailcert/hook.env""#, "NAME=value lines for it: credentials; mode 0600"),
    key("hooks.failed", "run", TextOrList, Nothing, r#"["/usr/local/libexec/failed", "--fast"]"#, "the program, absolute, or a list with its arguments; no shell"),
    key("hooks.failed", "shell", Text, Nothing, r#""systemctl reload nginx""#, "a command line for sh -c instead"),
    key("hooks.failed", "timeout", Text, Default(r#""60s""#), r#""5m""#, "then it is killed, with its children"),
    key("hooks.failed", "retries", Integer, Default("0"), "2", "in the same run, when it fails"),
    key("hooks.failed", "lineages", List, Default("[]"), r#"["mx.example.org"]"#, "that it is for; empty: all"),
    key("hooks.failed", "env_file", File, Nothing, r#""/etc/mailcert/hook.env""#, "NAME=value lines for it: credentials; mode 0600"),

    key("notify", "mail_to", List, Default("[]"), r#"["postmaster@example.jp"]"#, "told of failures that stay, and of recovery"),
    key("notify", "mail_from", Text, Nothing, r#""mailcert@example.jp""#, "sender; default: root at the host"),
    key("notify", "sendmail", File, Default(r#""/usr/sbin/sendmail""#), r#""/usr/bin/msmtp""#, "takes the mail: any program with sendmail's arguments"),
    key("notify", "after_failures", Integer, Default("3"), "1", "failures in a row before mail is sent"),
    key("notify", "metrics_file", File, Nothing, r#""/var/lib/prometheus/node-exporter/mailcert.prom""#, "default: metrics.prom in the state directory"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once_and_its_values_are_toml() {
        for (index, key) in KEYS.iter().enumerate() {
            let again = KEYS[index + 1..].iter().any(|other| other.path() == key.path());
            assert!(!again, "{} stands twice", key.path());
            assert!(key.example.parse::<Value>().is_ok(), "{}", key.path());
            if let Default(text) = key.absent {
                assert!(text.parse::<Value>().is_ok(), "{}", key.path());
            }
            if let Some((table, name)) = key
                .table
                .rsplit_once('.')
                .or((!key.table.is_empty()).then_some(("", key.table)))
            {
                assert!(
                    find(table, name).is_some(),
                    "{} stands in an unknown table",
                    key.path()
                );
            }
        }
    }

    #[test]
    fn finds_what_was_meant() {
        let check = |written: &str, expected: Option<&str>| {
            assert_eq!(
                nearest(written, keys_of("acme").map(|key| key.name)),
                expected,
                "{written}"
            );
        };
        check("contacts", Some("contact"));
        check("Contact", Some("contact"));
        check("cotnact", Some("contact"));
        check("root_ca", None);
        check("directroy", Some("directory"));
        check("eba", Some("eab"));
        check("x", None);
        check("", None);
        check(&"c".repeat(1000), None);
    }

    #[test]
    fn knows_secrets_by_name() {
        for name in [
            "secret",
            "SECRET",
            "tsig-secret",
            "hmac_key",
            "secret_file",
            "api_token",
            "password",
            "api-key",
        ] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in KEYS
            .iter()
            .filter(|key| !["dns.provider", "acme.eab", "ca"].contains(&key.table))
            .map(|key| key.name)
        {
            assert!(!names_a_secret(name), "{name}");
        }
    }
}
