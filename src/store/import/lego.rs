//! lego's directory, of version 4 and 5: `certificates/NAME.{crt,key,json}`, `accounts/HOST/ID/`. Pure.
//!
//! How names are proven, and hooks, stand in the command line or in version 5's YAML: neither is on record here, but for the
//! variables of a file beside it.

use super::{
    ForeignAccount, ForeignLineage, Found, KeyForm, Method, Server, assignments::Assignments, host_of,
    tree::Tree, tsig,
};
use crate::config::ReuseKey;
use serde::Deserialize;

/// Files of variables that services read before they run lego.
const VARIABLES: [&str; 3] = [".env", "lego.env", "env"];

/// Returns whether a file's content counts.
pub fn is_wanted(path: &str) -> bool {
    let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    path.starts_with("certificates/") && ends(&[".crt", ".key", ".json"])
        || path.starts_with("accounts/") && ends(&[".key", "/account.json"])
        || VARIABLES.contains(&path)
}

/// `account.json`; version 4 has the URL in `uri`, version 5 in `location`, and the CA besides.
#[derive(Deserialize)]
struct Account {
    server: Option<String>,
    registration: Option<Registration>,
}

#[derive(Deserialize)]
struct Registration {
    uri: Option<String>,
    #[serde(alias = "Location")]
    location: Option<String>,
}

/// A certificate's record; version 5 has in it how the certificate is ordered.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    cert_url: String,
    preferred_chain: String,
    profile: String,
}

/// Reads the whole directory.
pub fn read(tree: &Tree) -> Found {
    let mut found = Found {
        accounts: accounts(tree),
        ..Found::default()
    };
    let mut variables = Assignments::default();
    for file in VARIABLES {
        if let Ok(text) = tree.text(file) {
            variables.read(text);
        }
    }
    let method = method(&variables);
    for file in tree.below("certificates") {
        let name = file
            .strip_suffix(".crt")
            .filter(|name| !name.ends_with(".issuer"));
        let Some(name) = name else { continue };
        let file = |ending: &str| format!("certificates/{name}.{ending}");
        let mut lineage =
            ForeignLineage::new(&name.replacen("_.", "_wildcard.", 1), file("key"), file("crt"));
        lineage.method = method.clone();
        let record = tree.file(&file("json")).ok();
        let record: Record = record
            .and_then(|json| serde_json::from_slice(json).ok())
            .unwrap_or_default();
        let given = |text: String| (!text.is_empty()).then_some(text);
        lineage.server = server(&record.cert_url, &found.accounts);
        lineage.preferred_chain = given(record.preferred_chain);
        lineage.profile = given(record.profile);
        // With --no-bundle the certificate stands alone.
        lineage.issuers = Some(file("issuer.crt")).filter(|file| tree.file(file).is_ok());
        lineage.reuse_key = Some(ReuseKey::WhilePublished);
        found.lineages.push(lineage);
    }
    if !found.lineages.is_empty() {
        found.notes.push(
            "lego keeps no record of its hooks: name yours in [hooks], style \"lego4\" or \"lego5\""
                .to_owned(),
        );
    }
    if tree
        .paths()
        .any(|path| path.ends_with(".lego.yml") || path.ends_with(".lego.yaml"))
    {
        found.notes.push(
            "lego's YAML is not read: compare what it says of challenges and keys with mailcert.toml"
                .to_owned(),
        );
    }
    found
}

fn method(variables: &Assignments) -> Method {
    match tsig::Key::of_lego(variables) {
        Some(Ok(key)) => Method::Rfc2136Key(key),
        Some(Err(reason)) => Method::Unknown(format!("is by dynamic updates, but {reason}")),
        None => Method::Unknown("is not on record at lego".to_owned()),
    }
}

/// Returns every account: version 4 keeps the key in `ID/keys/ID.key`, version 5 in `ID/ID.key` or `ID/TYPE/ID.key`.
fn accounts(tree: &Tree) -> Vec<ForeignAccount> {
    let of = |path: &str| {
        let rest = path
            .strip_prefix("accounts/")
            .filter(|path| path.ends_with(".key"))?;
        let mut parts = rest.split('/');
        let (host, id) = (parts.next()?, parts.next()?);
        let (directory, _) = path.rsplit_once('/')?;
        let json = [
            format!("{directory}/account.json"),
            format!("accounts/{host}/{id}/account.json"),
        ];
        let json = json.iter().find_map(|file| tree.file(file).ok());
        let account = json.and_then(|json| serde_json::from_slice::<Account>(json).ok());
        let (server, registration) = account
            .map(|one| (one.server, one.registration))
            .unwrap_or_default();
        let port = |host: &str| match host.rsplit_once('_') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("{name}:{port}"),
            _ => host.to_owned(),
        };
        Some(ForeignAccount {
            server: server.map_or_else(|| Server::Host(port(host)), Server::Url),
            id: id.to_owned(),
            url: registration.and_then(|one| one.uri.or(one.location)),
            key: path.to_owned(),
            form: KeyForm::Pem,
        })
    };
    tree.paths().filter_map(of).collect()
}

/// Returns the CA of a certificate: that of the account whose host is in the certificate's URL, or the only one.
fn server(url: &str, accounts: &[ForeignAccount]) -> Option<Server> {
    let host = host_of(url);
    let is_there = |account: &&ForeignAccount| match &account.server {
        Server::Host(known) => host == Some(known),
        Server::Url(url) => host.is_some() && host == host_of(url),
    };
    let mut servers = accounts.iter().map(|account| &account.server);
    let only = servers
        .next()
        .filter(|first| servers.all(|server| server == *first));
    let account = accounts.iter().find(is_there);
    account
        .map(|account| account.server.clone())
        .or_else(|| only.cloned())
        .or_else(|| host.map(|host| Server::Host(host.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_account(files: &[(&str, &str)], expected: (Server, Option<&str>)) {
        let found = read(&Tree::of(files));
        assert_eq!(found.accounts.len(), 1);
        let account = &found.accounts[0];
        assert_eq!(
            (account.server.clone(), account.url.as_deref()),
            (expected.0, expected.1)
        );
    }

    #[test]
    fn both_versions_keep_accounts_in_their_own_way() {
        let four = "accounts/127.0.0.1_24000/a@example.test";
        check_account(
            &[
                (&format!("{four}/keys/a@example.test.key"), ""),
                (
                    &format!("{four}/account.json"),
                    r#"{"email": "a@example.test", "registration": {"body": {}, "uri": "https://ca.test/a/1"}}"#,
                ),
            ],
            (
                Server::Host("127.0.0.1:24000".to_owned()),
                Some("https://ca.test/a/1"),
            ),
        );
        let five = "accounts/ca.test/main";
        let json = r#"{"id": "main", "keyType": "EC256", "server": "https://ca.test/dir",
                       "registration": {"status": "valid", "location": "https://ca.test/a/2"}}"#;
        let expected = (
            Server::Url("https://ca.test/dir".to_owned()),
            Some("https://ca.test/a/2"),
        );
        check_account(
            &[
                (&format!("{five}/main.key"), ""),
                (&format!("{five}/account.json"), json),
            ],
            expected.clone(),
        );
        check_account(
            &[
                (&format!("{five}/EC256/main.key"), ""),
                (&format!("{five}/EC256/account.json"), json),
            ],
            expected,
        );
        check_account(
            &[
                (&format!("{five}/main.key"), ""),
                (&format!("{five}/account.json"), "{"),
            ],
            (Server::Host("ca.test".to_owned()), None),
        );
    }

    #[test]
    fn certificates_are_lineages_and_variables_tell_how_names_are_proven() {
        let files = [
            ("accounts/ca.test/a/keys/a.key", ""),
            ("accounts/other.test/a/keys/a.key", ""),
            ("certificates/mail.example.test.crt", ""),
            ("certificates/mail.example.test.issuer.crt", ""),
            ("certificates/mail.example.test.key", ""),
            (
                "certificates/mail.example.test.json",
                r#"{"id": "x", "certUrl": "https://other.test/c/1", "profile": "classic", "preferredChain": "Root"}"#,
            ),
            ("certificates/_.example.test.crt", ""),
        ];
        let found = read(&Tree::of(&files));
        let names: Vec<&str> = found.lineages.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["_wildcard.example.test", "mail.example.test"]);
        assert_eq!(
            found.lineages[1].server,
            Some(Server::Host("other.test".to_owned()))
        );
        assert_eq!(found.lineages[0].server, None);
        let ordered = |lineage: &ForeignLineage| {
            let as_text = |text: &Option<String>| text.clone().unwrap_or_default();
            (
                as_text(&lineage.issuers),
                as_text(&lineage.profile),
                as_text(&lineage.preferred_chain),
            )
        };
        let expected = (
            "certificates/mail.example.test.issuer.crt".to_owned(),
            "classic".to_owned(),
            "Root".to_owned(),
        );
        assert_eq!(ordered(&found.lineages[1]), expected);
        assert_eq!(found.lineages[0].issuers, None);
        assert!(matches!(found.lineages[0].method, Method::Unknown(_)));
        let env = "export RFC2136_NAMESERVER=192.0.2.1:53\nRFC2136_TSIG_ALGORITHM=hmac-sha256.\n\
                   RFC2136_TSIG_KEY=k\nRFC2136_TSIG_SECRET=c2VjcmV0\n";
        let found = read(&Tree::of(&[&files[..], &[(".env", env)]].concat()));
        assert!(matches!(&found.lineages[0].method, Method::Rfc2136Key(key) if key.name == "k"));
    }
}
