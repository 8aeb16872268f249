//! dehydrated's directory: `config`, `conf.d/*.sh`, and what these name: `domains.txt`, accounts, certificates. Pure.

use std::path::PathBuf;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;

use super::{
    Event, ForeignAccount, ForeignChallenge, ForeignHook, ForeignLineage, Found, KeyForm, Method, Server,
    assignments::Assignments, tree::Tree,
};
use crate::{
    config::{
        Challenge, Http01, ReuseKey,
        hook::{Chain, ChallengeStyle, Command, Style},
    },
    model::authority,
};

/// Names of CAs as dehydrated has them, where ours differ.
const CAS: &[(&str, &str)] = &[
    ("letsencrypt-test", "letsencrypt-staging"),
    ("google-test", "google-staging"),
];

/// Returns whether a file's content counts, before it is known where the rest is.
pub fn is_configuration(path: &str) -> bool {
    path == "config" || path.starts_with("conf.d/") && path.ends_with(".sh")
}

/// Returns whether a file's content counts, in the directories of accounts and certificates.
pub fn is_wanted(path: &str) -> bool {
    [
        "/account_key.pem",
        "/account_id.json",
        "/registration_info.json",
        "/privkey.pem",
        "/fullchain.pem",
    ]
    .iter()
    .any(|ending| path.ends_with(ending))
}

/// Returns the settings, with the defaults for what is not set.
fn settings(tree: &Tree) -> Assignments {
    let top = tree.place("");
    let mut all = Assignments::default();
    all.set("SCRIPTDIR", &top.display().to_string());
    all.set("BASEDIR", &top.display().to_string());
    all.read(tree.text("config").unwrap_or_default());
    for file in tree.below("conf.d") {
        all.read(tree.text(&format!("conf.d/{file}")).unwrap_or_default());
    }
    let base = all.get("BASEDIR").unwrap_or_default();
    for (name, default) in [
        ("CERTDIR", "certs"),
        ("ACCOUNTDIR", "accounts"),
        ("DOMAINS_TXT", "domains.txt"),
    ] {
        if all.get(name).is_none() {
            all.set(name, &format!("{base}/{default}"));
        }
    }
    all
}

/// Returns where accounts, certificates and the list of names are, by the names that [`read`] wants them under.
pub fn places(tree: &Tree) -> Vec<(String, PathBuf)> {
    let settings = settings(tree);
    [
        ("@certs", "CERTDIR"),
        ("@accounts", "ACCOUNTDIR"),
        ("@domains.txt", "DOMAINS_TXT"),
    ]
    .into_iter()
    .filter_map(|(name, setting)| Some((name.to_owned(), PathBuf::from(settings.get(setting)?))))
    .collect()
}

/// Reads the whole directory, with what [`places`] named grafted in.
pub fn read(tree: &Tree) -> Found {
    let settings = settings(tree);
    let mut found = Found {
        accounts: accounts(tree),
        ..Found::default()
    };
    let method = method(&settings);
    let server = Server::Url(directory(settings.get("CA").as_deref().unwrap_or("letsencrypt")));
    let listed = listed(tree.text("@domains.txt").unwrap_or_default());
    let present = tree.below("@certs");
    let names: Vec<&str> = match listed.is_empty() {
        true => present.clone(),
        false => listed.iter().map(String::as_str).collect(),
    };
    for name in &names {
        let file = |file: &str| format!("@certs/{name}/{file}.pem");
        let own = name.replacen("*.", "_wildcard.", 1);
        let mut lineage = ForeignLineage::new(&own, file("privkey"), file("fullchain"));
        lineage.server = Some(server.clone());
        lineage.method = method.clone();
        lineage.profile = settings.get("ACME_PROFILE");
        lineage.preferred_chain = settings.get("PREFERRED_CHAIN");
        lineage.reuse_key = Some(match settings.get("PRIVATE_KEY_RENEW").as_deref() {
            Some("no") => ReuseKey::Always,
            _ => ReuseKey::WhilePublished,
        });
        if tree.has(&format!("@certs/{name}/config")) {
            lineage.notes.push(format!(
                "{name}: its own file of settings is not read: compare it with mailcert.toml"
            ));
        }
        found.lineages.push(lineage);
    }
    let left: Vec<&str> = present
        .iter()
        .copied()
        .filter(|name| !names.contains(name))
        .collect();
    if !left.is_empty() {
        found
            .notes
            .push(format!("not in domains.txt, and left out: {}", left.join(", ")));
    }
    if let Some(hook) = settings.get("HOOK") {
        for event in [Event::Pre, Event::Deploy, Event::Post] {
            found.hooks.push(ForeignHook {
                event,
                style: Style::Dehydrated,
                command: Command::Run(vec![hook.clone()]),
            });
        }
    }
    found
}

/// Returns the URL of a CA's directory that is written as a name or as itself.
fn directory(ca: &str) -> String {
    let name = CAS
        .iter()
        .find(|(theirs, _)| *theirs == ca)
        .map_or(ca, |(_, ours)| ours);
    authority::by_name(name).map_or_else(|| ca.to_owned(), |known| known.directory.to_owned())
}

/// Returns the directories of what `domains.txt` lists: the alias behind `>`, or the first name.
fn listed(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let (domains, alias) = line.split_once('>').unwrap_or((line, ""));
        let name = alias.split_whitespace().chain(domains.split_whitespace()).next();
        if let Some(name) = name
            .map(str::to_ascii_lowercase)
            .filter(|name| !name.contains('/'))
        {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Returns every account: its directory's name is the CA's URL in base64url, with the line feed of the `echo` that made it.
fn accounts(tree: &Tree) -> Vec<ForeignAccount> {
    let of = |name: &str| {
        let url = BASE64_URL_SAFE_NO_PAD.decode(name).ok()?;
        let url = String::from_utf8(url).ok()?.trim_end().to_owned();
        let member = |file: &str, member: &str| {
            let json = tree.file(&format!("@accounts/{name}/{file}")).ok()?;
            let json: Value = serde_json::from_slice(json).ok()?;
            json[member].as_str().map(str::to_owned)
        };
        Some(ForeignAccount {
            server: Server::Url(url),
            id: name.to_owned(),
            url: member("account_id.json", "url"),
            key: format!("@accounts/{name}/account_key.pem"),
            form: KeyForm::Pem,
        })
    };
    tree.below("@accounts").into_iter().filter_map(of).collect()
}

fn method(settings: &Assignments) -> Method {
    let hook = settings.get("HOOK");
    match (settings.get("CHALLENGETYPE").as_deref(), hook) {
        (Some("dns-01"), Some(hook)) => {
            let chain = match settings.get("HOOK_CHAIN").as_deref() {
                Some("yes") => Chain::Yes,
                _ => Chain::No,
            };
            Method::Hook(ForeignChallenge {
                is_dns: true,
                style: ChallengeStyle::Dehydrated(chain),
                command: Command::Run(vec![hook]),
                variables: Vec::new(),
            })
        }
        (Some("dns-01"), None) => Method::Unknown("is by DNS without a hook".to_owned()),
        (Some("tls-alpn-01"), _) => Method::Unknown(
            "is by certificates of dehydrated's that a server of yours shows (tls-alpn-01)".to_owned(),
        ),
        _ => webroot(
            settings
                .get("WELLKNOWN")
                .as_deref()
                .unwrap_or("/var/www/dehydrated"),
        ),
    }
}

/// Returns how files get where a web server finds them: dehydrated names the last directory, and not the web server's root.
fn webroot(wellknown: &str) -> Method {
    let wellknown = wellknown.trim_end_matches('/');
    if let Some(root) = wellknown.strip_suffix("/.well-known/acme-challenge") {
        return Method::Own(Challenge::Http01(Http01::Webroot(PathBuf::from(root))));
    }
    let file = format!("'{}'/\"$CERTBOT_TOKEN\"", wellknown.replace('\'', r"'\''"));
    Method::Hook(ForeignChallenge {
        is_dns: false,
        style: ChallengeStyle::Certbot(Some(Command::Shell(format!("rm -f {file}")))),
        command: Command::Shell(format!("umask 022; printf %s \"$CERTBOT_VALIDATION\" > {file}")),
        variables: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_tell_where_everything_is() {
        let tree = Tree::of(&[
            (
                "config",
                "CONFIG_D=/etc/dehydrated/conf.d\nBASEDIR=/var/lib/dehydrated\nDOMAINS_TXT=\"/etc/d.txt\"\n",
            ),
            ("conf.d/local.sh", "CERTDIR=${BASEDIR}/c\n"),
        ]);
        let places: Vec<String> = places(&tree)
            .into_iter()
            .map(|(name, place)| format!("{name} {}", place.display()))
            .collect();
        assert_eq!(
            places,
            [
                "@certs /var/lib/dehydrated/c",
                "@accounts /var/lib/dehydrated/accounts",
                "@domains.txt /etc/d.txt"
            ]
        );
        let alone = super::places(&Tree::of(&[]));
        assert_eq!(alone[0].1, PathBuf::from("/their/certs"));
    }

    #[test]
    fn lineages_are_those_of_domains_txt() {
        let account = BASE64_URL_SAFE_NO_PAD.encode("https://ca.test/dir\n");
        let tree = Tree::of(&[
            (
                "config",
                "CA=https://ca.test/dir\nHOOK=/hook.sh\nPRIVATE_KEY_RENEW=no\n",
            ),
            (
                "@domains.txt",
                "# all\nmail.example.test imap.example.test\n*.b.test > star # x\n*.c.test\n../x\n",
            ),
            ("@certs/mail.example.test/privkey.pem", ""),
            ("@certs/old.test/privkey.pem", ""),
            (&format!("@accounts/{account}/account_key.pem"), ""),
            (
                &format!("@accounts/{account}/account_id.json"),
                r#"{"url": "https://ca.test/a/1"}"#,
            ),
            ("@accounts/!!/account_key.pem", ""),
        ]);
        let found = read(&tree);
        let names: Vec<&str> = found.lineages.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["_wildcard.c.test", "mail.example.test", "star"]);
        assert_eq!(found.lineages[0].key, "@certs/*.c.test/privkey.pem");
        assert_eq!(found.lineages[0].reuse_key, Some(ReuseKey::Always));
        assert!(found.notes[0].contains("old.test"), "{:?}", found.notes);
        assert_eq!(found.hooks.len(), 3);
        assert_eq!(found.accounts.len(), 1);
        assert!(found.accounts[0].server.is("https://ca.test/dir"));
        assert_eq!(found.accounts[0].url.as_deref(), Some("https://ca.test/a/1"));
    }

    #[test]
    fn every_way_to_prove_names_is_ours_or_told() {
        let of = |text: &str| method(&Assignments::of(text));
        assert_eq!(
            of("WELLKNOWN=/srv/www/.well-known/acme-challenge/\n"),
            Method::Own(Challenge::Http01(Http01::Webroot("/srv/www".into())))
        );
        let Method::Hook(files) = of("WELLKNOWN=/var/lib/x\n") else {
            panic!("no hook");
        };
        assert!(!files.is_dns);
        assert_eq!(
            files.command,
            Command::Shell(
                "umask 022; printf %s \"$CERTBOT_VALIDATION\" > '/var/lib/x'/\"$CERTBOT_TOKEN\"".to_owned()
            )
        );
        let Method::Hook(dns) = of("CHALLENGETYPE=\"dns-01\"\nHOOK=/h\nHOOK_CHAIN=yes\n") else {
            panic!("no hook");
        };
        assert_eq!(dns.style, ChallengeStyle::Dehydrated(Chain::Yes));
        assert!(matches!(of("CHALLENGETYPE=dns-01\n"), Method::Unknown(_)));
        assert!(matches!(of("CHALLENGETYPE=tls-alpn-01\n"), Method::Unknown(_)));
        assert_eq!(
            directory("letsencrypt-test"),
            authority::by_name("letsencrypt-staging").unwrap().directory
        );
        assert_eq!(directory("https://ca.test/dir"), "https://ca.test/dir");
    }
}
