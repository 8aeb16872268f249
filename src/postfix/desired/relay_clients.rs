//! Who may relay through this host by client certificate: what main.cf needs for it. Pure.
//!
//! smtpd(8) looks the fingerprints of the client's key and certificate up in `relay_clientcerts`. It looks at nothing else: not
//! at who issued the certificate, nor at its dates. So the table is what counts, and whoever is to relay no more is taken
//! out of it; `smtpd_tls_CAfile` only tells clients whose certificates are wanted, and the log whom to call trusted.
//!
//! Rules: postconf(5), permit_tls_clientcerts, relay_clientcerts, smtpd_tls_ask_ccert, smtpd_tls_fingerprint_digest.

use std::path::{Path, PathBuf};

use super::{Desired, DesiredError, Setting, Unwanted, in_main_cf};
use crate::postfix::{
    sni,
    submission::words,
    syntax::MainCf,
    values::{Values, Version},
};

/// The parameter that names the tables.
pub const TABLES: &str = "relay_clientcerts";

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The source of the table of ours, wanted or not.
    pub source: PathBuf,
    /// The tables; `None` where nobody is to relay by certificate.
    pub tables: Option<Tables>,
    /// What `smtpd_tls_CAfile` is to be; `None`: as it is.
    pub ca_file: Option<PathBuf>,
}

/// The tables of clients that may relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tables {
    /// A table of ours of this type, beside whatever the operator has.
    Ours(String),
    /// These, as the operator says.
    Own(String),
}

/// A digest that fingerprints are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// Returns the digest that the instance is to use: its own where that is still good, else SHA-256. Before Postfix 3.6 and
    /// at older compatibility levels the default is MD5.
    pub fn of(values: &Values) -> Self {
        match values.get("smtpd_tls_fingerprint_digest") {
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => Self::Sha256,
        }
    }

    /// Its name in main.cf.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// Returns which digest smtpd(8) can be asked to find a public key by: since Postfix 2.9.
pub fn finds_keys(version: Version) -> bool {
    version >= Version::new(2, 9)
}

/// Decides about relaying by client certificate.
///
/// # Errors
/// When a path cannot be written into main.cf, or tables of the operator's would stop working.
pub fn decide(
    request: &Request,
    version: Version,
    main_cf: &MainCf,
    values: &Values,
    desired: &mut Desired,
) -> Result<(), DesiredError> {
    let present = values.get(TABLES);
    let Some(tables) = &request.tables else {
        take_out(request, main_cf, values, desired);
        return Ok(());
    };
    match tables {
        Tables::Own(own) => {
            let reason = "who may relay by client certificate, as `relay_clientcerts` says (postconf(5), relay_clientcerts)";
            set(desired, TABLES, own.clone(), reason);
        }
        Tables::Ours(kind) => {
            digest(request, values, desired)?;
            let ours = format!("{kind}:{}", in_main_cf(&request.source)?);
            let value = beside(&ours, &request.source, kind, main_cf, values);
            if !present.is_empty() && !sni::is_only(present, &request.source) {
                desired.notes.push(format!(
                    "relay_clientcerts: your own {} stays: who is in it may relay as well",
                    others(present, &request.source).join(", ")
                ));
            }
            let reason = "fingerprints of the clients that may relay (postconf(5), relay_clientcerts)";
            set(desired, TABLES, value, reason);
        }
    }
    let reason = "clients are asked for a certificate; those without one are served as before (postconf(5), \
                  smtpd_tls_ask_ccert)";
    if !values.is_yes("smtpd_tls_ask_ccert") {
        set(desired, "smtpd_tls_ask_ccert", "yes".to_owned(), reason);
    }
    if let Some(file) = &request.ca_file {
        let reason = "whose certificates clients are asked for (postconf(5), smtpd_tls_CAfile)";
        set(desired, "smtpd_tls_CAfile", in_main_cf(file)?, reason);
    }
    restrictions(version, main_cf, values, desired);
    Ok(())
}

fn set(desired: &mut Desired, name: &'static str, value: String, reason: &'static str) {
    desired.settings.push(Setting { name, value, reason });
}

/// Takes our table out where nobody is to relay any more; the rest of main.cf lets nobody through without a table.
fn take_out(request: &Request, main_cf: &MainCf, values: &Values, desired: &mut Desired) {
    let present = values.get(TABLES);
    if sni::named_type(present, &request.source).is_none() {
        return;
    }
    if sni::is_only(present, &request.source) {
        desired.unwanted.push(Unwanted {
            name: TABLES,
            reason: "`relay_clients` names nobody any more (postconf(5), relay_clientcerts)",
        });
        return;
    }
    let written = written(TABLES, main_cf);
    let left: Vec<&str> = words(&written)
        .filter(|word| {
            word.split_once(':')
                .is_none_or(|(_, path)| Path::new(path) != request.source)
        })
        .collect();
    let reason = "`relay_clients` names nobody any more (postconf(5), relay_clientcerts)";
    set(desired, TABLES, left.join(", "), reason);
}

/// Returns the raw value of main.cf in one line.
fn written(name: &str, main_cf: &MainCf) -> String {
    let raw = main_cf.get(name).unwrap_or_default();
    String::from_utf8_lossy(&raw)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the value that names our table after those of the operator.
fn beside(ours: &str, source: &Path, kind: &str, main_cf: &MainCf, values: &Values) -> String {
    let present = values.get(TABLES);
    let written = written(TABLES, main_cf);
    match sni::named_type(present, source) {
        Some(named) if named == kind => present.to_owned(),
        // The type that new tables are made of has changed: an upgrade of Postfix.
        Some(named) => written.replace(&format!("{named}:{}", source.display()), ours),
        None if present.is_empty() => ours.to_owned(),
        None => format!("{written}, {ours}"),
    }
}

/// Returns the tables of a value that are not ours.
fn others<'a>(value: &'a str, source: &Path) -> Vec<&'a str> {
    let is_ours = |word: &&str| {
        word.split_once(':')
            .is_some_and(|(_, path)| Path::new(path) == source)
    };
    words(value).filter(|word| !is_ours(word)).collect()
}

/// Decides about the digest of fingerprints.
fn digest(request: &Request, values: &Values, desired: &mut Desired) -> Result<(), DesiredError> {
    let name = "smtpd_tls_fingerprint_digest";
    let present = values.get(name);
    let wanted = Digest::of(values).name();
    if present == wanted {
        return Ok(());
    }
    // Whoever has made such tables has made them with the digest that is in force.
    let mut tables: Vec<String> = others(values.get(TABLES), &request.source)
        .into_iter()
        .map(str::to_owned)
        .collect();
    tables.extend(
        values
            .iter()
            .filter(|(_, value)| words(value).any(|word| word == "check_ccert_access"))
            .map(|(name, _)| format!("check_ccert_access in {name}")),
    );
    if !tables.is_empty() && !present.is_empty() {
        return Err(DesiredError::WeakFingerprints {
            digest: present.to_owned(),
            tables: tables.join(", "),
        });
    }
    let reason = "fingerprints of MD5 and SHA-1 can be forged; Postfix before 3.6 takes MD5 unless told (postconf(5), \
                  smtpd_tls_fingerprint_digest)";
    set(desired, name, wanted.to_owned(), reason);
    Ok(())
}

/// The word that lets clients of the table through.
pub const PERMIT: &str = "permit_tls_clientcerts";
/// The word that lets every client through whose certificate is trusted.
pub const PERMIT_ALL: &str = "permit_tls_all_clientcerts";

/// Decides about the lists that let clients relay.
fn restrictions(version: Version, main_cf: &MainCf, values: &Values, desired: &mut Desired) {
    let (for_relay, for_recipients) = ("smtpd_relay_restrictions", "smtpd_recipient_restrictions");
    let has_relay_list = version >= Version::new(2, 10) && words(values.get(for_relay)).next().is_some();
    let reason = "clients of relay_clientcerts may relay; it stands behind who may already, and before who may not \
                  (postconf(5), permit_tls_clientcerts)";
    let mut names = Vec::new();
    if has_relay_list {
        names.push(for_relay);
    }
    // A list for recipients that stops strangers as well would stop relay clients after the other one let them through.
    let stops = words(values.get(for_recipients)).any(|word| STOPS.contains(&word));
    if !has_relay_list || stops {
        names.push(for_recipients);
    }
    for name in names {
        let present = values.get(name);
        if words(present).any(|word| word == PERMIT || word == PERMIT_ALL) {
            continue;
        }
        let raw = match main_cf.get(name) {
            Some(_) => written(name, main_cf),
            None => present.to_owned(),
        };
        set(desired, name, inserted(&raw), reason);
    }
    for name in [
        "smtpd_client_restrictions",
        "smtpd_helo_restrictions",
        "smtpd_sender_restrictions",
    ] {
        let list = values.get(name);
        if words(list).any(|word| word == "reject")
            && !words(list).any(|word| word == PERMIT || word == PERMIT_ALL)
        {
            desired.notes.push(format!(
                "{name} rejects whoever it does not name: put {PERMIT} into it, or relay clients are turned away there"
            ));
        }
    }
}

/// Words that let no stranger relay.
const STOPS: [&str; 4] = [
    "reject_unauth_destination",
    "defer_unauth_destination",
    "reject",
    "defer",
];

/// Puts the permission into a list: behind those who may already, before whatever turns somebody away. The rest stays as it
/// is written.
fn inserted(list: &str) -> String {
    let items = items(list);
    let turns_away = |text: &str| {
        ["reject", "defer", "warn_if_reject"]
            .iter()
            .any(|word| text.starts_with(word))
    };
    let first = items.iter().position(|(_, text)| turns_away(text));
    let permits = |text: &str| matches!(text, "permit_mynetworks" | "permit_sasl_authenticated");
    let behind = items
        .iter()
        .take(first.unwrap_or(items.len()))
        .rposition(|(_, text)| permits(text))
        .map(|index| index + 1);
    // What turns nobody away by name may refer to what does: the permission comes first then.
    let index = behind.or(first).unwrap_or(0);
    let divider = if list.contains(',') || items.len() < 2 {
        ", "
    } else {
        " "
    };
    match items.get(index).and_then(|(at, _)| list.split_at_checked(*at)) {
        Some((before, after)) => format!("{before}{PERMIT}{divider}{after}"),
        None if items.is_empty() => PERMIT.to_owned(),
        None => format!("{list}{divider}{PERMIT}"),
    }
}

/// Splits a list into what stands between its commas and blanks, each with its place; what stands in braces is one item.
fn items(list: &str) -> Vec<(usize, &str)> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0_usize, None);
    for (at, c) in list.char_indices() {
        let divides = depth == 0 && (c == ',' || c.is_whitespace());
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (divides, start) {
            (true, Some(from)) => {
                items.extend(list.get(from..at).map(|text| (from, text)));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    items.extend(start.and_then(|from| Some((from, list.get(from..)?))));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination\n\
        smtpd_tls_fingerprint_digest = sha256\n";

    fn decided(main_cf: &str, tables: Option<Tables>) -> Result<Desired, DesiredError> {
        let request = Request {
            source: "/s/relay-clients".into(),
            tables,
            ca_file: None,
        };
        let mut desired = Desired::default();
        let values = Values::parse(format!("{DEFAULTS}{main_cf}").as_bytes());
        decide(
            &request,
            Version::new(3, 7),
            &MainCf::parse(main_cf.as_bytes()),
            &values,
            &mut desired,
        )?;
        Ok(desired)
    }

    fn ours() -> Option<Tables> {
        Some(Tables::Ours("hash".to_owned()))
    }

    #[test]
    fn names_the_table_asks_for_certificates_and_lets_them_through() {
        let check = |main_cf: &str, name: &str, expected: Option<&str>| {
            let found = decided(main_cf, ours()).unwrap();
            assert_eq!(found.value(name), expected, "{main_cf:?} {found:#?}");
        };
        let table = Some("hash:/s/relay-clients");
        check("", TABLES, table);
        check("relay_clientcerts = btree:/s/relay-clients\n", TABLES, table);
        check(
            "relay_clientcerts = hash:/o\n",
            TABLES,
            Some("hash:/o, hash:/s/relay-clients"),
        );
        check("", "smtpd_tls_ask_ccert", Some("yes"));
        check("smtpd_tls_ask_ccert = yes\n", "smtpd_tls_ask_ccert", None);
        check("", "smtpd_tls_fingerprint_digest", None);
        check(
            "smtpd_tls_fingerprint_digest = sha512\n",
            "smtpd_tls_fingerprint_digest",
            None,
        );
        check(
            "smtpd_tls_fingerprint_digest = md5\n",
            "smtpd_tls_fingerprint_digest",
            Some("sha256"),
        );
        let relay = "smtpd_relay_restrictions";
        check(
            "",
            relay,
            Some(
                "permit_mynetworks, permit_sasl_authenticated, permit_tls_clientcerts, defer_unauth_destination",
            ),
        );
        check(
            "smtpd_relay_restrictions = permit_tls_clientcerts, reject\n",
            relay,
            None,
        );
        let recipients = "smtpd_recipient_restrictions";
        check("", recipients, None);
        check(
            "smtpd_recipient_restrictions = reject_rbl_client z\n",
            recipients,
            None,
        );
        check(
            "smtpd_recipient_restrictions = permit_mynetworks reject_unauth_destination\n",
            recipients,
            Some("permit_mynetworks permit_tls_clientcerts reject_unauth_destination"),
        );
        check(
            "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n",
            recipients,
            Some("permit_mynetworks, permit_tls_clientcerts, reject_unauth_destination"),
        );
    }

    #[test]
    fn puts_the_permission_where_it_counts() {
        let check = |list: &str, expected: &str| assert_eq!(inserted(list), expected, "{list}");
        check(
            "reject_unauth_destination",
            "permit_tls_clientcerts, reject_unauth_destination",
        );
        check(
            "check_client_access hash:/b, permit_mynetworks, reject_rbl_client z, permit_sasl_authenticated, reject",
            "check_client_access hash:/b, permit_mynetworks, permit_tls_clientcerts, reject_rbl_client z, \
             permit_sasl_authenticated, reject",
        );
        check(
            "check_policy_service { inet:a:1, timeout=1s }, warn_if_reject reject_x",
            "check_policy_service { inet:a:1, timeout=1s }, permit_tls_clientcerts, warn_if_reject reject_x",
        );
        check("permit_mynetworks", "permit_mynetworks, permit_tls_clientcerts");
        check("$mine", "permit_tls_clientcerts, $mine");
        check("", "permit_tls_clientcerts");
    }

    #[test]
    fn fingerprints_of_others_are_not_made_worthless() {
        let weak = |more: &str| decided(&format!("smtpd_tls_fingerprint_digest = md5\n{more}"), ours());
        assert!(matches!(
            weak("relay_clientcerts = hash:/o\n"),
            Err(DesiredError::WeakFingerprints { .. })
        ));
        assert!(matches!(
            weak("smtpd_client_restrictions = check_ccert_access hash:/a\n"),
            Err(DesiredError::WeakFingerprints { .. })
        ));
        let own = decided(
            "smtpd_tls_fingerprint_digest = md5\n",
            Some(Tables::Own("hash:/o".to_owned())),
        )
        .unwrap();
        assert_eq!(own.value("smtpd_tls_fingerprint_digest"), None);
        assert_eq!(own.value(TABLES), Some("hash:/o"));
    }

    #[test]
    fn our_table_goes_when_nobody_is_wanted() {
        let check = |main_cf: &str, value: Option<&str>, unwanted: usize| {
            let found = decided(main_cf, None).unwrap();
            assert_eq!(
                (found.value(TABLES), found.unwanted.len()),
                (value, unwanted),
                "{main_cf}"
            );
        };
        check("", None, 0);
        check("relay_clientcerts = hash:/o\n", None, 0);
        check("relay_clientcerts = hash:/s/relay-clients\n", None, 1);
        check(
            "relay_clientcerts = hash:/o, hash:/s/relay-clients\n",
            Some("hash:/o"),
            0,
        );
    }

    #[test]
    fn lists_that_turn_away_whoever_they_do_not_name_are_told() {
        let found = decided("smtpd_client_restrictions = permit_mynetworks, reject\n", ours()).unwrap();
        assert_eq!(found.notes.len(), 1, "{found:?}");
    }
}
