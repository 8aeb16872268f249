//! acme.sh's directory: `NAME[_ecc]/NAME.conf`, `account.conf`, `ca/HOST/PATH/`. Pure.

use std::path::PathBuf;

use super::{
    Event, ForeignAccount, ForeignChallenge, ForeignHook, ForeignLineage, Found, KeyFile, KeyForm, Method,
    Server, assignments::Assignments, tree::Tree,
};
use crate::config::{
    Challenge, Http01, ReuseKey,
    hook::{ChallengeStyle, Command, Style},
};

/// Returns whether a file's content counts.
pub fn is_wanted(path: &str) -> bool {
    let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["account.conf"] => true,
        ["ca", ..] => ends(&["/ca.conf", "/account.key", "/account.json"]),
        ["dnsapi" | "deploy" | "notify", ..] => false,
        [_, _] => ends(&[".conf", ".key", "/fullchain.cer"]) && !path.ends_with(".csr.conf"),
        _ => false,
    }
}

/// Reads the whole directory.
pub fn read(tree: &Tree) -> Found {
    let account = Assignments::of(tree.text("account.conf").unwrap_or_default());
    let mut found = Found {
        accounts: accounts(tree),
        ..Found::default()
    };
    let conf_of = |directory: &str| {
        let domain = directory.strip_suffix("_ecc").unwrap_or(directory).to_owned();
        let conf = format!("{directory}/{domain}.conf");
        tree.has(&conf).then_some((domain, conf))
    };
    for directory in tree.below("") {
        let Some((domain, conf)) = conf_of(directory) else {
            continue;
        };
        // With an RSA and an ECDSA certificate for one name, each needs a name of its own.
        let has_both = directory != domain && conf_of(&domain).is_some();
        let name = if has_both { directory } else { &domain };
        let name = name.replacen("*.", "_wildcard.", 1);
        let mut lineage = ForeignLineage::new(
            &name,
            format!("{directory}/{domain}.key"),
            format!("{directory}/fullchain.cer"),
        );
        match tree.text(&conf) {
            Ok(text) => fill(&mut lineage, tree, &Assignments::of(text), &account),
            Err(reason) => lineage.fault = Some(reason),
        }
        found.lineages.push(lineage);
    }
    for account in &mut found.accounts {
        let is_its = |lineage: &&ForeignLineage| match (&lineage.server, &account.server) {
            (Some(Server::Url(url)), Server::Url(known)) => without_port(url) == *known,
            _ => false,
        };
        if let Some(server) = found
            .lineages
            .iter()
            .find(is_its)
            .and_then(|one| one.server.clone())
        {
            account.server = server;
        }
    }
    found
}

/// Returns a URL as acme.sh names the account's directory after it: without the port.
fn without_port(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    format!("{scheme}://{host}/{path}")
}

/// Returns every account: `ca/HOST/PATH…/account.key`, and the URL in `ca.conf`.
fn accounts(tree: &Tree) -> Vec<ForeignAccount> {
    let of = |path: &str| {
        let directory = path.strip_suffix("/account.key")?;
        let server = directory.strip_prefix("ca/")?;
        let conf = Assignments::of(tree.text(&format!("{directory}/ca.conf")).unwrap_or_default());
        Some(ForeignAccount {
            server: Server::Url(format!("https://{server}")),
            id: server.to_owned(),
            url: conf.get("ACCOUNT_URL"),
            key: path.to_owned(),
            form: KeyForm::Pem,
        })
    };
    tree.paths().filter_map(of).collect()
}

fn fill(lineage: &mut ForeignLineage, tree: &Tree, conf: &Assignments, account: &Assignments) {
    lineage.server = conf.get("Le_API").map(Server::Url);
    // Keys are kept unless told otherwise.
    lineage.reuse_key = Some(match conf.get("Le_ForceNewDomainKey").as_deref() {
        Some("1") => ReuseKey::WhilePublished,
        _ => ReuseKey::Always,
    });
    lineage.profile = conf.get("Le_Certificate_Profile");
    lineage.preferred_chain = conf.get("Le_Preferred_Chain");
    lineage.method = method(tree, conf, account);
    for (event, name) in [(Event::Pre, "Le_PreHook"), (Event::Post, "Le_PostHook")] {
        if let Some(command) = conf.get(name) {
            lineage.hooks.push(hook(event, command));
        }
    }
    let steps: Vec<String> = installing(conf)
        .into_iter()
        .chain(conf.get("Le_RenewHook"))
        .chain(conf.get("Le_ReloadCmd"))
        .collect();
    if !steps.is_empty() {
        lineage.hooks.push(hook(Event::Deploy, steps.join(" && ")));
    }
    let name = &lineage.name;
    if let Some(scripts) = conf.get("Le_DeployHook") {
        lineage.notes.push(format!(
            "{name}: acme.sh's deploy script {scripts} is not taken over; write a deploy hook for what it did"
        ));
    }
    if conf.get("Le_ChallengeAlias").is_some() {
        lineage.notes.push(format!(
            "{name}: its challenge alias is not taken over: the record itself is written"
        ));
    }
}

fn hook(event: Event, command: String) -> ForeignHook {
    ForeignHook {
        event,
        style: Style::AcmeSh,
        command: Command::Shell(command),
    }
}

/// Returns the commands that put the files where `--install-cert` had put them: services read them there.
fn installing(conf: &Assignments) -> Vec<String> {
    [
        ("Le_RealCertPath", "CERT_PATH"),
        ("Le_RealKeyPath", "CERT_KEY_PATH"),
        ("Le_RealCACertPath", "CA_CERT_PATH"),
        ("Le_RealFullChainPath", "CERT_FULLCHAIN_PATH"),
    ]
    .into_iter()
    .filter_map(|(setting, variable)| {
        let place = conf.get(setting).filter(|place| place.starts_with('/'))?;
        let quoted = place.replace('\'', r"'\''");
        // As acme.sh does it: into the file that is there, which keeps its owner and mode.
        Some(format!("(umask 077; cat \"${variable}\" > '{quoted}')"))
    })
    .collect()
}

fn method(tree: &Tree, conf: &Assignments, account: &Assignments) -> Method {
    let places = conf.get("Le_Webroot").unwrap_or_default();
    let mut places: Vec<&str> = places.split(',').filter(|place| !place.is_empty()).collect();
    places.sort_unstable();
    places.dedup();
    let [place] = places.as_slice() else {
        return Method::Unknown("is not the same for all of them".to_owned());
    };
    match *place {
        "no" => {
            let listen = conf.get("Le_HTTPPort").and_then(|port| port.parse().ok());
            let listen = listen
                .filter(|port| *port != 80)
                .map(|port| ([0, 0, 0, 0], port).into());
            Method::Own(Challenge::Http01(Http01::Listen(listen.into_iter().collect())))
        }
        "alpn" => Method::Own(Challenge::TlsAlpn01(Vec::new())),
        "dns_nsupdate" if saved(account, conf, "NSUPDATE_KEY").is_some() => {
            let get = |name: &str| saved(account, conf, name);
            let server = get("NSUPDATE_SERVER").unwrap_or_else(|| "127.0.0.1".to_owned());
            let port = get("NSUPDATE_SERVER_PORT").unwrap_or_else(|| "53".to_owned());
            Method::Rfc2136(KeyFile::Named {
                server: if server.contains(':') {
                    format!("[{server}]:{port}")
                } else {
                    format!("{server}:{port}")
                },
                file: PathBuf::from(get("NSUPDATE_KEY").unwrap_or_default()),
            })
        }
        "dns" => Method::Unknown("is by hand".to_owned()),
        api if api.starts_with("dns_") => script(tree, account, api),
        path if path.starts_with('/') => Method::Own(Challenge::Http01(Http01::Webroot(PathBuf::from(path)))),
        other => Method::Unknown(format!(
            "is by acme.sh's mode {}, which mailcert does not have",
            other.escape_debug()
        )),
    }
}

/// Returns a value that acme.sh has kept for its scripts.
fn saved(account: &Assignments, conf: &Assignments, name: &str) -> Option<String> {
    [&format!("SAVED_{name}"), name]
        .into_iter()
        .find_map(|name| account.get(name).or_else(|| conf.get(name)))
}

/// Returns one of its own scripts, with the credentials that it has saved.
fn script(tree: &Tree, account: &Assignments, api: &str) -> Method {
    let variables = account
        .names("SAVED_")
        .filter_map(|name| {
            let value = account.get(name).filter(|value| !value.contains('\n'))?;
            Some((name.strip_prefix("SAVED_")?.to_owned(), value))
        })
        .collect();
    let program = if tree.has("acme.sh") {
        tree.place("acme.sh")
    } else {
        PathBuf::from("/usr/share/acme.sh/acme.sh")
    };
    Method::Hook(ForeignChallenge {
        is_dns: true,
        style: ChallengeStyle::AcmeSh(api.to_owned()),
        command: Command::Run(vec![program.display().to_string()]),
        variables,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(conf: &str, account: &str) -> ForeignLineage {
        let tree = Tree::of(&[
            ("a.test_ecc/a.test.conf", conf),
            ("account.conf", account),
            ("acme.sh", ""),
        ]);
        read(&tree).lineages.remove(0)
    }

    #[test]
    fn a_lineage_is_what_its_file_says() {
        let lineage = one(
            "Le_Domain='a.test'\nLe_API='https://ca.test/dir'\nLe_Webroot='/var/www'\nLe_ForceNewDomainKey='1'\n\
             Le_ReloadCmd='__ACME_BASE64__START_cG9zdGZpeCByZWxvYWQ=__ACME_BASE64__END_'\n\
             Le_RealKeyPath='/etc/ssl/it'\\''s.key'\nLe_RealFullChainPath='/etc/ssl/a.pem'\nLe_PreHook=''\n\
             Le_DeployHook='haproxy'\n",
            "",
        );
        assert_eq!(
            (lineage.name.as_str(), lineage.key.as_str()),
            ("a.test", "a.test_ecc/a.test.key")
        );
        assert_eq!(
            lineage.server,
            Some(Server::Url("https://ca.test/dir".to_owned()))
        );
        assert_eq!(lineage.reuse_key, Some(ReuseKey::WhilePublished));
        assert_eq!(
            lineage.method,
            Method::Own(Challenge::Http01(Http01::Webroot("/var/www".into())))
        );
        assert_eq!(
            lineage.hooks,
            [hook(
                Event::Deploy,
                "(umask 077; cat \"$CERT_KEY_PATH\" > '/etc/ssl/it'\\''s.key') && \
                 (umask 077; cat \"$CERT_FULLCHAIN_PATH\" > '/etc/ssl/a.pem') && postfix reload"
                    .to_owned()
            )]
        );
        assert!(lineage.notes[0].contains("haproxy"), "{:?}", lineage.notes);
        assert_eq!(one("Le_Webroot='no'\n", "").reuse_key, Some(ReuseKey::Always));
    }

    #[test]
    fn every_way_to_prove_names_is_ours_or_told() {
        let check = |conf: &str, account: &str, expected: Method| {
            assert_eq!(one(conf, account).method, expected, "{conf}");
        };
        check(
            "Le_Webroot='no'\n",
            "",
            Method::Own(Challenge::Http01(Http01::Listen(Vec::new()))),
        );
        check(
            "Le_Webroot='alpn'\n",
            "",
            Method::Own(Challenge::TlsAlpn01(Vec::new())),
        );
        check(
            "Le_Webroot='dns_nsupdate,dns_nsupdate'\n",
            "SAVED_NSUPDATE_SERVER='192.0.2.1'\nSAVED_NSUPDATE_KEY='/etc/bind/key'\n",
            Method::Rfc2136(KeyFile::Named {
                server: "192.0.2.1:53".to_owned(),
                file: "/etc/bind/key".into(),
            }),
        );
        check(
            "Le_Webroot='dns_cf'\n",
            "SAVED_CF_Token='t-1'\nUSER_PATH='x'\n",
            Method::Hook(ForeignChallenge {
                is_dns: true,
                style: ChallengeStyle::AcmeSh("dns_cf".to_owned()),
                command: Command::Run(vec!["/their/acme.sh".to_owned()]),
                variables: vec![("CF_Token".to_owned(), "t-1".to_owned())],
            }),
        );
        for (conf, words) in [
            ("Le_Webroot='nginx:'\n", "nginx:"),
            ("Le_Webroot='dns'\n", "by hand"),
            ("Le_Webroot='/a,/b'\n", "not the same"),
            ("", "not the same"),
        ] {
            match one(conf, "").method {
                Method::Unknown(reason) => assert!(reason.contains(words), "{reason}"),
                method => panic!("{conf}: {method:?}"),
            }
        }
    }

    #[test]
    fn two_certificates_for_one_name_are_two_lineages() {
        let tree = Tree::of(&[
            ("a.test/a.test.conf", "Le_API='https://ca.test:14000/acme/dir'\n"),
            ("a.test_ecc/a.test.conf", ""),
            ("*.b.test_ecc/*.b.test.conf", ""),
            ("ca/ca.test/acme/dir/account.key", ""),
            (
                "ca/ca.test/acme/dir/ca.conf",
                "ACCOUNT_URL='https://ca.test/a/1'\n",
            ),
        ]);
        let found = read(&tree);
        let names: Vec<&str> = found.lineages.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["_wildcard.b.test", "a.test", "a.test_ecc"]);
        assert!(found.accounts[0].server.is("https://ca.test:14000/acme/dir"));
        assert_eq!(found.accounts[0].url.as_deref(), Some("https://ca.test/a/1"));
    }
}
