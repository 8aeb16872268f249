//! certbot's directory: `renewal/NAME.conf`, `live/NAME/`, `accounts/CA/PATH/ID/`, `renewal-hooks/`. Pure.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{
    Event, ForeignAccount, ForeignChallenge, ForeignHook, ForeignLineage, Found, KeyFile, KeyForm, Method,
    Server, cloud::Plugin, ini::Ini, tree::Tree,
};
use crate::config::{
    Challenge, Http01, ReuseKey,
    hook::{ChallengeStyle, Command, Style},
};

/// The section with what a renewal needs.
const PARAMS: &str = "renewalparams";

/// Returns whether a file's content counts.
pub fn is_wanted(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.starts_with("renewal/") && name.ends_with(".conf")
        || path.starts_with("live/") && ["privkey.pem", "fullchain.pem"].contains(&name)
        || path.starts_with("accounts/") && ["regr.json", "private_key.json"].contains(&name)
        || path.starts_with("renewal-hooks/")
}

/// Reads the whole directory.
pub fn read(tree: &Tree) -> Found {
    let mut found = Found {
        accounts: accounts(tree),
        ..Found::default()
    };
    for file in tree.below("renewal") {
        if let Some(name) = file.strip_suffix(".conf") {
            let lineage = lineage(tree, name, &found.accounts);
            found.lineages.push(lineage);
        }
    }
    for (event, name) in [
        (Event::Pre, "pre"),
        (Event::Deploy, "deploy"),
        (Event::Post, "post"),
    ] {
        directory_hooks(tree, event, &format!("renewal-hooks/{name}"), &mut found);
    }
    found
}

/// `regr.json`; what the CA said besides is not of interest.
#[derive(Deserialize)]
struct Registration {
    uri: Option<String>,
}

/// Returns every account: `accounts/HOST/PATH…/ID`.
fn accounts(tree: &Tree) -> Vec<ForeignAccount> {
    let of = |path: &str| {
        let directory = path
            .strip_prefix("accounts/")?
            .strip_suffix("/private_key.json")?;
        let (server, id) = directory.rsplit_once('/')?;
        let registration = tree.file(&format!("accounts/{directory}/regr.json")).ok();
        let registration = registration.and_then(|json| serde_json::from_slice::<Registration>(json).ok());
        Some(ForeignAccount {
            server: Server::Url(format!("https://{server}")),
            id: id.to_owned(),
            url: registration.and_then(|registration| registration.uri),
            key: path.to_owned(),
            form: KeyForm::Jwk,
        })
    };
    tree.paths().filter_map(of).collect()
}

fn lineage(tree: &Tree, name: &str, accounts: &[ForeignAccount]) -> ForeignLineage {
    let live = |file: &str| format!("live/{name}/{file}.pem");
    let mut lineage = ForeignLineage::new(name, live("privkey"), live("fullchain"));
    let text = match tree.text(&format!("renewal/{name}.conf")) {
        Ok(text) => text,
        Err(reason) => {
            lineage.fault = Some(reason);
            return lineage;
        }
    };
    let ini = Ini::of(text);
    let param = |name: &str| ini.get(PARAMS, name);
    if param("authenticator").is_none() || param("server").is_none() {
        lineage.fault = Some(format!(
            "{} says neither who issues it nor how its names are proven",
            tree.place(&format!("renewal/{name}.conf")).display()
        ));
        return lineage;
    }
    // The account's directory tells no scheme and no query: the lineage's own word is better.
    lineage.server = param("server").map(|url| Server::Url(url.to_owned()));
    lineage.account = param("account").map(str::to_owned);
    lineage.reuse_key = Some(if ini.is_true(PARAMS, "reuse_key") {
        ReuseKey::Always
    } else {
        ReuseKey::WhilePublished
    });
    lineage.profile = param("required_profile")
        .or_else(|| param("preferred_profile"))
        .map(str::to_owned);
    lineage.preferred_chain = param("preferred_chain").map(str::to_owned);
    lineage.method = method(&ini);
    for (event, name) in [
        (Event::Pre, "pre_hook"),
        (Event::Deploy, "renew_hook"),
        (Event::Post, "post_hook"),
    ] {
        if let Some(command) = param(name) {
            lineage.hooks.push(ForeignHook {
                event,
                style: Style::Certbot,
                command: Command::Shell(command.to_owned()),
            });
        }
    }
    let is_known = |id: &str| accounts.iter().any(|account| account.id == id);
    if let Some(id) = param("account").filter(|id| !is_known(id)) {
        lineage
            .notes
            .push(format!("{name}: its account {id} is not in the directory"));
    }
    if let Some(installer) = param("installer").filter(|installer| *installer != "null") {
        lineage.notes.push(format!(
            "{name}: certbot's {installer} installer is not taken over; where that server names the old files, let it name \
             those of the live directory, and reload it in a deploy hook"
        ));
    }
    lineage
}

/// Returns how a lineage's names are proven.
fn method(ini: &Ini) -> Method {
    let param = |name: &str| ini.get(PARAMS, name);
    let listen = || Method::Own(Challenge::Http01(Http01::Listen(listen_addresses(ini))));
    match param("authenticator").unwrap_or_default() {
        "standalone" => listen(),
        "webroot" => {
            let mut roots = ini.list(PARAMS, "webroot_path");
            roots.extend(ini.section("webroot_map").map(|(_, root)| root));
            roots.sort_unstable();
            roots.dedup();
            match roots.as_slice() {
                [root] => Method::Own(Challenge::Http01(Http01::Webroot(PathBuf::from(root)))),
                [] => Method::Unknown("is by a webroot that is not on record".to_owned()),
                several => Method::Unknown(format!(
                    "is by several webroots ({}), of which mailcert knows one",
                    several.join(", ")
                )),
            }
        }
        "manual" => match param("manual_auth_hook") {
            Some(auth) => {
                let shell = |text: &str| Command::Shell(text.to_owned());
                let challenges = ini.list(PARAMS, "pref_challs");
                Method::Hook(ForeignChallenge {
                    is_dns: challenges
                        .first()
                        .is_some_and(|challenge| challenge.starts_with("dns")),
                    style: ChallengeStyle::Certbot(param("manual_cleanup_hook").map(shell)),
                    command: shell(auth),
                    variables: Vec::new(),
                })
            }
            None => Method::Unknown("is by hand".to_owned()),
        },
        "dns-rfc2136" => match param("dns_rfc2136_credentials") {
            Some(file) => Method::Rfc2136(KeyFile::Certbot(PathBuf::from(file))),
            None => Method::Unknown("is by dns-rfc2136 without credentials".to_owned()),
        },
        plugin => match Plugin::of(plugin) {
            Some(known) => match param(&known.parameter()) {
                Some(file) => Method::Cloud(known, PathBuf::from(file)),
                None => Method::Unknown(format!("is by {plugin} without credentials")),
            },
            None => Method::Unknown(format!(
                "is by certbot's {plugin} plugin, which mailcert does not have"
            )),
        },
    }
}

/// Returns where the standalone server listens; none: port 80 everywhere.
fn listen_addresses(ini: &Ini) -> Vec<SocketAddr> {
    let address = ini.get(PARAMS, "http01_address");
    let port = ini.get(PARAMS, "http01_port").and_then(|port| port.parse().ok());
    match (address, port) {
        (None, None | Some(80)) => Vec::new(),
        (address, port) => {
            let port = port.unwrap_or(80);
            match address.map(str::parse) {
                Some(Ok(address)) => vec![SocketAddr::new(address, port)],
                // Another port is for a web server in front, which passes the questions on.
                _ => vec![SocketAddr::from(([0, 0, 0, 0], port))],
            }
        }
    }
}

/// Takes the programs of a directory as they are; those that call mailcert are left out, for they would call it in circles.
fn directory_hooks(tree: &Tree, event: Event, directory: &str, found: &mut Found) {
    let hook = |command| ForeignHook {
        event,
        style: Style::Certbot,
        command,
    };
    let (mut programs, mut is_ours) = (Vec::new(), false);
    for name in tree.below(directory) {
        let path = format!("{directory}/{name}");
        match tree.file(&path) {
            Ok(content) if calls_mailcert(content) => {
                is_ours = true;
                found.notes.push(format!(
                    "{} calls mailcert, and is not needed any more; it is left out",
                    tree.place(&path).display()
                ));
            }
            Ok(_) => programs.push(path),
            // It may be a program on another file system, or a large one: found out when it is run.
            Err(reason) => {
                found.notes.push(format!("hook: {reason}"));
                programs.push(path);
            }
        }
    }
    if programs.is_empty() {
        return;
    }
    if is_ours {
        let run = |path: String| Command::Run(vec![tree.place(&path).display().to_string()]);
        found
            .hooks
            .extend(programs.into_iter().map(|path| hook(run(path))));
    } else {
        found.hooks.push(hook(Command::Directory(tree.place(directory))));
    }
}

/// Returns whether a hook program, or a command line, calls `mailcert install`, which would wait for the run that called it.
pub fn calls_mailcert(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    let calls = |line: &str| {
        let words: Vec<&str> = line
            .split(|character: char| character.is_whitespace() || "\"'();|&".contains(character))
            .filter(|word| !word.is_empty())
            .collect();
        words
            .windows(2)
            .any(|pair| pair[0].rsplit('/').next() == Some("mailcert") && pair[1] == "install")
    };
    text.lines()
        .map(str::trim_start)
        .any(|line| !line.starts_with('#') && calls(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "version = 5.8.0\nfullchain = /etc/letsencrypt/live/a/fullchain.pem\n[renewalparams]\n\
                        account = 3aab\nserver = https://ca.test/dir\n";

    fn one(params: &str) -> ForeignLineage {
        let tree = Tree::of(&[("renewal/a.conf", &format!("{HEAD}{params}"))]);
        read(&tree).lineages.remove(0)
    }

    #[test]
    fn a_lineage_is_what_its_file_says() {
        let lineage = one(
            "authenticator = standalone\nreuse_key = True\nrequired_profile = shortlived\n\
                           pre_hook = systemctl stop nginx\nrenew_hook = 'postfix reload'\n",
        );
        assert_eq!(lineage.name, "a");
        assert_eq!(lineage.key, "live/a/privkey.pem");
        assert_eq!(
            lineage.server,
            Some(Server::Url("https://ca.test/dir".to_owned()))
        );
        assert_eq!(lineage.reuse_key, Some(ReuseKey::Always));
        assert_eq!(lineage.profile.as_deref(), Some("shortlived"));
        assert_eq!(lineage.fault, None);
        let hooks: Vec<_> = lineage
            .hooks
            .iter()
            .map(|hook| (hook.event, hook.command.clone()))
            .collect();
        assert_eq!(
            hooks,
            [
                (Event::Pre, Command::Shell("systemctl stop nginx".to_owned())),
                (Event::Deploy, Command::Shell("postfix reload".to_owned()))
            ]
        );
        assert!(lineage.notes[0].contains("3aab"), "{:?}", lineage.notes);
        for text in ["", "[renewalparams]\nserver = https://ca.test/dir\n", "\u{1}"] {
            let tree = Tree::of(&[("renewal/a.conf", text)]);
            assert!(read(&tree).lineages[0].fault.is_some(), "{text}");
        }
    }

    #[test]
    fn every_way_to_prove_names_is_ours_or_told() {
        let listen = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|one| one.parse().unwrap()).collect();
            Method::Own(Challenge::Http01(Http01::Listen(addresses)))
        };
        let check = |params: &str, expected: Method| assert_eq!(one(params).method, expected, "{params}");
        check("authenticator = standalone\n", listen(&[]));
        check(
            "authenticator = standalone\nhttp01_port = 8080\n",
            listen(&["0.0.0.0:8080"]),
        );
        check(
            "authenticator = standalone\nhttp01_address = 192.0.2.1\n",
            listen(&["192.0.2.1:80"]),
        );
        check(
            "authenticator = webroot\nwebroot_path = /var/www,\n[[webroot_map]]\na.test = /var/www\n",
            Method::Own(Challenge::Http01(Http01::Webroot("/var/www".into()))),
        );
        check(
            "authenticator = dns-rfc2136\ndns_rfc2136_credentials = /etc/letsencrypt/rfc2136.ini\n",
            Method::Rfc2136(KeyFile::Certbot("/etc/letsencrypt/rfc2136.ini".into())),
        );
        check(
            "authenticator = dns-cloudflare\ndns_cloudflare_credentials = /root/cf.ini\n",
            Method::Cloud(Plugin::of("dns-cloudflare").unwrap(), "/root/cf.ini".into()),
        );
        check(
            "authenticator = manual\npref_challs = dns-01,\nmanual_auth_hook = /a.sh\nmanual_cleanup_hook = /c.sh\n",
            Method::Hook(ForeignChallenge {
                is_dns: true,
                style: ChallengeStyle::Certbot(Some(Command::Shell("/c.sh".to_owned()))),
                command: Command::Shell("/a.sh".to_owned()),
                variables: Vec::new(),
            }),
        );
        for (params, words) in [
            ("authenticator = nginx\n", "nginx plugin"),
            ("authenticator = dns-cloudflare\n", "without credentials"),
            ("authenticator = dns-route53\n", "dns-route53 plugin"),
            ("authenticator = manual\n", "by hand"),
            ("authenticator = webroot\n", "not on record"),
            (
                "authenticator = webroot\n[[webroot_map]]\na.test = /a\nb.test = /b\n",
                "several",
            ),
        ] {
            match one(params).method {
                Method::Unknown(reason) => assert!(reason.contains(words), "{reason}"),
                method => panic!("{params}: {method:?}"),
            }
        }
    }

    #[test]
    fn knows_programs_that_call_us() {
        for (line, expected) in [
            ("mailcert install x --from y", true),
            ("exec \"/usr/local/bin/mailcert\" install x", true),
            ("cat x > /srv/mailcert/installed.pem", false),
            ("# mailcert install x", false),
            ("mailcert renew", false),
        ] {
            assert_eq!(calls_mailcert(line.as_bytes()), expected, "{line}");
        }
        assert!(calls_mailcert(include_bytes!(
            "../../../hooks/deploy/postfix-reload"
        )));
        // It waits for nobody, and Dovecot wants it.
        assert!(!calls_mailcert(include_bytes!(
            "../../../hooks/deploy/dovecot-reload"
        )));
    }

    #[test]
    fn accounts_and_directories_of_hooks_are_found() {
        let account = "accounts/ca.test/acme/dir/3aab";
        let tree = Tree::of(&[
            (&format!("{account}/private_key.json"), "{}"),
            (
                &format!("{account}/regr.json"),
                r#"{"body": {}, "uri": "https://ca.test/a/1"}"#,
            ),
            ("accounts/other.test/x/4bbc/private_key.json", "{}"),
            ("renewal-hooks/post/10-x", "#!/bin/sh\n"),
            (
                "renewal-hooks/deploy/a",
                "#!/bin/sh\n# not mailcert install\ntrue\n",
            ),
            (
                "renewal-hooks/deploy/b",
                "#!/bin/sh\nmailcert install x --from y\n",
            ),
        ]);
        let found = read(&tree);
        assert_eq!(found.accounts.len(), 2);
        let first = &found.accounts[0];
        assert_eq!(first.url.as_deref(), Some("https://ca.test/a/1"));
        assert!(first.server.is("https://ca.test/acme/dir"));
        assert_eq!(found.accounts[1].url, None);
        let commands: Vec<&Command> = found.hooks.iter().map(|hook| &hook.command).collect();
        assert_eq!(
            commands,
            [
                &Command::Run(vec!["/their/renewal-hooks/deploy/a".to_owned()]),
                &Command::Directory("/their/renewal-hooks/post".into())
            ]
        );
        assert!(
            found.notes[0].contains("deploy/b calls mailcert"),
            "{:?}",
            found.notes
        );
    }
}
