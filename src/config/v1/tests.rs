//! Every key of the schema, and every error with its place.

use toml_edit::{DocumentMut, TableLike, Value};

use super::{
    schema::{Absent, KEYS, Key, Kind},
    *,
};

/// A file in which every table stands.
const BASE: &str = r#"version = 1

[host]
name = "mx.example.org"
domains = ["example.org"]

[acme]
terms_of_service_agreed = true

[acme.challenge]

[[certificate]]
identifiers = ["mx.example.org"]

[renew]

[postfix]

[dns.provider]
type = "rfc2136"
server = "192.0.2.1"
key_name = "key"
secret_file = "/etc/secret"
"#;

fn read(text: &str) -> Result<Config, String> {
    parse(Path::new("m.toml"), text).map_err(|errors| errors.to_string())
}

/// Returns a file in which the table of this key stands: hooks exclude other keys, so they are not in every file.
fn base_for(key: &Key) -> String {
    if key.table == "acme.challenge.hook" {
        let hook = "[acme.challenge]\ntype = \"dns-01\"\nhook = { run = \"/hook\" }\n";
        return BASE.replace("[acme.challenge]\n", hook);
    }
    if key.table == "dns.provider" {
        let (table, lines) = match key.name {
            "file" | "reload" => ("zone-file", "file = \"/db.{zone}.x\"\n"),
            "zone" => ("zone-file", "file = \"/db\"\nzone = \"other.example\"\n"),
            "timeout" | "style" | "run" | "shell" | "retries" | "env_file" => ("hook", "run = \"/hook\"\n"),
            "dnsapi" => (
                "hook",
                "run = \"/hook\"\nstyle = \"acme.sh\"\ndnsapi = \"dns_x\"\n",
            ),
            "service" => ("cloud", "service = \"desec\"\nsecret_file = \"/s\"\n"),
            "endpoint" | "mode" | "username" => (
                "httpreq",
                "endpoint = \"https://x.example\"\nusername = \"x\"\nsecret_file = \"/s\"\n",
            ),
            _ => return BASE.to_owned(),
        };
        let (start, _) = BASE.split_once("type = \"rfc2136\"").unwrap();
        return format!("{start}type = \"{table}\"\n{lines}");
    }
    if key.name == "client_key" {
        return BASE.replace(
            "[postfix]\n",
            "[postfix]\nclient_certificate = \"/etc/postfix/relay.pem\"\n",
        );
    }
    match key.table.strip_prefix("hooks.") {
        Some(list) => format!("{BASE}\n[[hooks.{list}]]\nrun = \"/hook\"\n"),
        None => BASE.to_owned(),
    }
}

/// Returns `text` with one key set; keys that exclude it are removed, those that it goes with are set.
fn with(text: &str, key: &Key, value: &str) -> String {
    let mut document = text.parse::<DocumentMut>().unwrap();
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in key.table.split('.').filter(|part| !part.is_empty()) {
        let item = table.entry(part).or_insert(toml_edit::table());
        table = match item {
            Item::ArrayOfTables(list) => list.get_mut(0).unwrap(),
            item => item.as_table_like_mut().unwrap(),
        };
    }
    if key.name.starts_with("secret_") {
        table.remove("secret_file");
    }
    if key.table == "acme.eab" {
        // A whole table around the one key that is looked at.
        let (key_id, file) = (
            r#""k""#.parse::<Value>().unwrap(),
            r#""/k""#.parse::<Value>().unwrap(),
        );
        table.insert("key_id", key_id.into());
        if !key.name.starts_with("hmac_key_") {
            table.insert("hmac_key_file", file.into());
        }
    }
    let mut set = |name: &str, value: &str| table.insert(name, value.parse::<Value>().unwrap().into());
    match (key.path().as_str(), value.trim_matches(['"', '\''])) {
        ("acme.challenge.hook.style" | "dns.provider.style", "acme.sh") => set("dnsapi", "'dns_x'"),
        ("acme.challenge.hook.cleanup" | "acme.challenge.hook.cleanup_shell", _) => set("style", "'certbot'"),
        ("acme.challenge.hook.chain", "true") => set("style", "'dehydrated'"),
        ("acme.challenge.hook.dnsapi", _) => set("style", "'acme.sh'"),
        (path, _) if path.starts_with("hooks.") && key.name == "directory" => set("style", "'certbot'"),
        _ => None,
    };
    if (key.table.contains("hook") || key.table == "dns.provider")
        && ["shell", "directory"].contains(&key.name)
    {
        table.remove("run");
    }
    table.remove(key.name);
    table.insert(key.name, value.parse::<Value>().unwrap().into());
    document.to_string()
}

#[test]
fn every_key_takes_its_example() {
    for key in KEYS
        .iter()
        .filter(|key| !matches!(key.kind, Kind::Tables | Kind::Table))
    {
        let text = base_for(key);
        let base = read(&text).unwrap();
        let result = read(&with(&text, key, key.example));
        let unchanged = ["version", "acme.terms_of_service_agreed", "dns.provider.type"];
        let config = result.unwrap_or_else(|message| panic!("{}: {message}", key.path()));
        assert_eq!(
            config == base,
            unchanged.contains(&key.path().as_str()),
            "{}",
            key.path()
        );
    }
}

#[test]
fn a_default_may_be_written() {
    for key in KEYS {
        let file = base_for(key);
        let base = read(&file).unwrap();
        match key.absent {
            Absent::Default(text) if !["certificate", "chain"].contains(&key.name) => {
                assert_eq!(read(&with(&file, key, text)), Ok(base.clone()), "{}", key.path());
            }
            Absent::Refused if !key.table.is_empty() => {
                let text = with(&file, key, key.example);
                let text: Vec<&str> = text
                    .lines()
                    .filter(|line| !line.starts_with(&format!("{} =", key.name)))
                    .collect();
                // `host.name` and others: without the line, the file is refused.
                let message = read(&text.join("\n")).unwrap_err();
                assert!(
                    message.contains(&format!("`{}` is missing", key.path())),
                    "{message}"
                );
            }
            _ => {}
        }
    }
}

#[test]
fn every_choice_means_something_else() {
    for key in KEYS {
        let (Kind::Choice(choices) | Kind::ChoiceOrFile(choices) | Kind::ChoiceOrList(choices)) = key.kind
        else {
            continue;
        };
        if key.path() == "dns.provider.type" {
            // Each goes with keys of its own: every_provider_of_the_example_can_be_had.
            continue;
        }
        let configs: Vec<Config> = choices
            .now
            .iter()
            .map(|word| read(&with(&base_for(key), key, &format!("'{word}'"))).unwrap())
            .collect();
        for (index, config) in configs.iter().enumerate() {
            assert!(
                !configs[index + 1..].contains(config),
                "{}: {:?}",
                key.path(),
                choices.now
            );
        }
        for word in choices.later {
            let message = read(&with(&base_for(key), key, &format!("'{word}'"))).unwrap_err();
            assert!(message.contains("is not yet supported; supported: "), "{message}");
        }
    }
}

#[test]
fn every_family_can_be_published() {
    let key = schema::find("dns", "publish").unwrap();
    for family in Publish::ALL {
        let reports = "[dns.tls_rpt]\nrua = ['mailto:tls@a.test']\n";
        let text = with(
            &format!("{BASE}{reports}"),
            key,
            &format!("['{}']", family.word()),
        );
        assert_eq!(read(&text).unwrap().dns.publish, [family]);
    }
}

#[test]
fn a_file_is_a_choice_where_one_may_be_named() {
    let file = schema::find("postfix", "client_ca").unwrap();
    let config = read(&with(BASE, file, "'/etc/ca.pem'")).unwrap();
    assert_eq!(config.postfix.client_ca, ClientCa::File("/etc/ca.pem".into()));
}

#[test]
fn every_key_refuses_another_type() {
    for key in KEYS.iter().filter(|key| key.table != "acme.eab") {
        for (value, found) in [
            ("1979-05-27", "a datetime"),
            ("1.5", "a float"),
            ("1", "an integer"),
            ("'x'", "a string"),
            ("true", "a boolean"),
            ("[1]", "an array"),
            ("{}", "an inline table"),
        ] {
            let right = match key.kind {
                Kind::Boolean => found == "a boolean",
                Kind::Integer => found == "an integer",
                Kind::Choice(_) | Kind::ChoiceOrFile(_) | Kind::File | Kind::Text => found == "a string",
                Kind::ChoiceOrList(_) | Kind::TextOrList => ["a string", "an array"].contains(&found),
                Kind::ChoiceList(_) | Kind::List | Kind::Tables => found == "an array",
                Kind::Table => found == "an inline table",
            };
            let message = read(&with(&base_for(key), key, value)).err().unwrap_or_default();
            let expected = if found == "an array" && right {
                "found an integer".to_owned()
            } else {
                format!("found {found}")
            };
            if !right || found == "an array" {
                assert!(message.contains(&expected), "{} = {value}: {message}", key.path());
                assert!(
                    message.contains(&format!("`{}`", key.path())),
                    "{} = {value}: {message}",
                    key.path()
                );
            }
        }
    }
}
/// Replaces `from` in BASE and expects these errors, each at its line and column, and no other.
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(BASE.contains(from), "{from}");
    let text = BASE.replacen(from, to, 1);
    let errors = parse(Path::new("m.toml"), &text)
        .err()
        .map(|errors| errors.errors)
        .unwrap_or_default();
    let lines: Vec<String> = errors
        .iter()
        .map(|error| format!("{}:{}: {}", error.line, error.column, error.message))
        .collect();
    assert_eq!(lines.len(), expected.len(), "{to}: {lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(expected),
            "{to}\n     got: {line}\nexpected: {expected}"
        );
    }
}

#[test]
fn refuses_a_wrong_version() {
    check(
        "version = 1",
        "",
        &["1:1: `version` is missing; write it as in `version = 1`"],
    );
    check(
        "version = 1",
        "version = 2\nx = 1",
        &["1:11: `version` is 2, but this mailcert reads version 1: a newer"],
    );
    check(
        "version = 1",
        "version = 0",
        &["1:11: `version` is 0, but this mailcert reads version 1"],
    );
    check(
        "version = 1",
        "version = '1'",
        &["1:11: `version` must be an integer, found a string; write it without"],
    );
}

#[test]
fn refuses_what_is_not_toml() {
    check("version = 1", "version 1", &["1:9: not TOML: "]);
    check(
        "version = 1",
        "version = 1\nversion = 1",
        &["2:1: not TOML: duplicate key"],
    );
    check("[renew]", "[host]", &["15:2: not TOML: duplicate key"]);
}

#[test]
fn refuses_unknown_keys_with_a_hint() {
    check(
        "version = 1",
        "version = 1\nstate_dir = 1",
        &["2:1: unknown key `state_dir`"],
    );
    check(
        "[renew]",
        "[renwe]",
        &["15:2: unknown key `renwe`; did you mean `renew`?"],
    );
    check(
        "[renew]",
        "[renew]\ntimers = 1",
        &["16:1: unknown key `timers` in `renew`; did you mean `timer`?"],
    );
    check(
        "[renew]",
        "[renew]\nwebroot = 1",
        &["16:1: unknown key `webroot` in `renew`; it belongs to `[acme.challenge]`"],
    );
    check(
        "[renew]",
        "[renew]\nstate_directory = 1",
        &["16:1: unknown key `state_directory` in `renew`; it belongs to the top"],
    );
    check(
        "[renew]",
        "[renew]\n\"\\u001b\" = 1",
        &["16:1: unknown key `\\u{1b}` in `renew`"],
    );
}

#[test]
fn refuses_secrets_in_the_file() {
    for line in [
        "secret = 'geheim'",
        "hmac_key = ['geheim']",
        "password = { a = 'geheim' }",
        "secret_file = 'geheim'",
    ] {
        let text = BASE.replace("secret_file = \"/etc/secret\"", line);
        let message = read(&text).unwrap_err();
        assert!(!message.contains("geheim"), "{message}");
    }
    check(
        "secret_file = \"/etc/secret\"",
        "secret = 'geheim'",
        &[
            "19:6: `dns.provider` names no secret; set one of secret_file, secret_env, secret_credential",
            "23:1: `dns.provider.secret` would put a secret into this file; name where it is kept with `secret_file` or",
        ],
    );
}

#[test]
fn refuses_a_wrong_host() {
    check(
        "\"mx.example.org\"",
        "\"192.0.2.1\"",
        &["4:8: `host.name` is wrong: `192.0.2.1` is not a domain name"],
    );
    check(
        "name = \"mx.example.org\"\n",
        "",
        &["3:2: `host.name` is missing; write it as in `name = \"mail"],
    );
    check(
        "[\"example.org\"]",
        "[\"a.org\", \"A.org.\"]",
        &["5:21: `host.domains` has `a.org` twice"],
    );
    check(
        "[\"example.org\"]",
        "\"example.org\"",
        &["5:11: `host.domains` must be a list of strings, found a string; put"],
    );
    check(
        "[host]",
        "[hosts]",
        &[
            "1:1: the table `[host]` is missing",
            "3:2: unknown key `hosts`; did you mean `host`?",
        ],
    );
}

#[test]
fn refuses_a_wrong_ca_or_challenge() {
    check(
        "[acme]",
        "[acme]\ndirectory = 'letsencrypt-stagin'",
        &["8:13: `acme.directory` names no CA"],
    );
    check(
        "[acme]",
        "[acme]\ndirectory = 'http://localhost/dir'",
        &["8:13: `acme.directory` must be an https URL"],
    );
    check(
        "[acme]",
        "[acme]\ncontact = ['a@example.org']",
        &["8:12: `acme.contact` must be a mailto: URI; write `mailto:a@"],
    );
    check(
        "agreed = true",
        "agreed = false",
        &["8:27: `acme.terms_of_service_agreed` must be true"],
    );
    check(
        "terms_of_service_agreed = true",
        "",
        &["7:2: `acme.terms_of_service_agreed` must be true"],
    );
    check(
        "[acme]\nterms_of_service_agreed = true\n\n[acme.challenge]",
        "",
        &["9:1: this certificate is to come by ACME"],
    );
    let challenge = |lines: &str, expected: &[&str]| {
        check(
            "[acme.challenge]",
            &format!("[acme.challenge]\n{lines}"),
            expected,
        );
    };
    challenge(
        "type = 'tls-alpn-01'\nlisten = ['::1', '127.0.0.2:5001']\nwebroot = '/www'",
        &["13:11: `acme.challenge.webroot` has no meaning with tls-alpn-01; leave it out"],
    );
    challenge(
        "type = 'dns01'",
        &["11:8: `acme.challenge.type` cannot be `dns01`; did you mean `dns-01`?"],
    );
    challenge(
        "listen = ['eth0']",
        &["11:11: `acme.challenge.listen` cannot be `eth0`; write an IP address"],
    );
    challenge(
        "listen = ['::1']\nwebroot = '/www'",
        &["11:11: `acme.challenge.listen` and `webroot` exclude"],
    );
    challenge(
        "type = 'dns-01'\nlisten = ['::1']\nwebroot = '/www'",
        &[
            "12:11: `acme.challenge.listen` has no meaning",
            "13:11: `acme.challenge.webroot` has no",
        ],
    );
    challenge(
        "webroot = 'www'",
        &["11:11: `acme.challenge.webroot` must be an absolute path"],
    );
    let provider = &BASE[BASE.find("[dns.provider]").unwrap()..];
    let dns01 = BASE
        .replace("[acme.challenge]", "[acme.challenge]\ntype = 'dns-01'")
        .replace(provider, "");
    let message = read(&dns01).unwrap_err();
    assert!(
        message.starts_with("m.toml:11:8: `acme.challenge.type` is dns-01, which needs `dns.provider`"),
        "{message}"
    );
    let external = dns01.replace("[renew]", "issuer = 'external'\n[renew]");
    assert_eq!(read(&external).unwrap().acme, None);
}

#[test]
fn refuses_a_wrong_certificate() {
    let list = "[\"mx.example.org\"]";
    check(list, "[]", &["13:15: `certificate.identifiers` is empty"]);
    check(
        list,
        "['mx.example.org', 'MX.example.org.']",
        &["13:34: `certificate.identifiers` has `mx.example.org` twice"],
    );
    check(
        list,
        "['*.example.org']",
        &["13:16: `certificate.identifiers` has the wildcard `*.example.org`; set `acme.challenge"],
    );
    check(
        list,
        "['192.0.2.1']",
        &["13:16: `certificate.identifiers` is wrong: `192.0.2.1`"],
    );
    check(
        list,
        "['a.org', 'localhost']",
        &["13:25: `certificate.identifiers` is wrong: `localhost`"],
    );
    check(
        &format!("identifiers = {list}"),
        "",
        &["12:1: `certificate.identifiers` is missing"],
    );
    check(
        "[[certificate]]",
        "[certificate]",
        &[
            "12:1: `certificate` must be a list of tables, found a table; write its header as `[[certificate]]`",
        ],
    );
    let key = |line: &str, expected: &[&str]| {
        check("[[certificate]]", &format!("[[certificate]]\n{line}"), expected);
    };
    key(
        "name = '../x'",
        &["13:8: `certificate.name` cannot be `../x`: it has a `/` in it"],
    );
    key(
        "mode = 0o644",
        &["13:8: `certificate.mode` cannot be 0o644: others could read"],
    );
    key(
        "mode = 600",
        &["13:8: `certificate.mode` must be octal; write `0o600`"],
    );
    key(
        "mode = '0600'",
        &[
            "13:8: `certificate.mode` must be an integer, found a string; write it without quotes, as in `mode",
        ],
    );
    key(
        "key = 'rsa-1024'",
        &["13:7: `certificate.key` cannot be `rsa-1024`; did you mean `rsa-2048`?"],
    );
    key("owner = ''", &["13:9: `certificate.owner` is not the name"]);
    key(
        "identifiers = ['MX.example.org']\n[[certificate]]",
        &["15:15: `certificate.name` `mx.example.org` is taken"],
    );
    check(
        "[acme.challenge]\n\n[[certificate]]\nidentifiers = [\"mx.example.org\"]",
        "challenge.type = 'dns-01'\n[[certificate]]\nidentifiers = ['*.example.org', 'mx.example.org']",
        &["12:33: `certificate.identifiers` has `mx.example.org`, which `*.example.org` covers already"],
    );
}

#[test]
fn refuses_wrong_settings() {
    let renew = |line: &str, expected: &str| check("[renew]", &format!("[renew]\n{line}"), &[expected]);
    renew(
        "before = '3 days'",
        "16:10: `renew.before` cannot be `3 days`; write a number and a unit",
    );
    renew(
        "keep_generations = 0",
        "16:20: `renew.keep_generations` cannot be 0: it is 1 to 1000",
    );
    renew("max_per_day = -1", "16:15: `renew.max_per_day` cannot be -1");
    renew(
        "timer = 'at'",
        "16:9: `renew.timer` cannot be `at`; it is one of: auto, systemd, cron, none",
    );
    let postfix = |line: &str, expected: &str| check("[postfix]", &format!("[postfix]\n{line}"), &[expected]);
    postfix(
        "manage = 'true'",
        "18:10: `postfix.manage` must be true or false, found a string; write it without quotes",
    );
    postfix(
        "client_ca = 'own'",
        "18:13: `postfix.client_ca` cannot be `own`; it is one of: system, ca, own-chain, keep, or an absolute",
    );
    postfix(
        "verify = ['imaps://h']",
        "18:11: `postfix.verify` is wrong: `imaps://h:993` belongs in `dovecot.verify`",
    );
    postfix(
        "verify = 'smtp://h'",
        "18:10: `postfix.verify` cannot be `smtp://h`; it is one of: auto, or a list",
    );
    let dns = |line: &str, expected: &str| {
        check(
            "[dns.provider]",
            &format!("[dns]\n{line}\n[dns.provider]"),
            &[expected],
        );
    };
    dns(
        "resolvers = ['ns']",
        "20:14: `dns.resolvers` cannot be `ns`; write an IP address, with a port where it is not 53",
    );
    dns(
        "publish = ['spf', 'dmrac']",
        "20:19: `dns.publish` cannot be `dmrac`; did you mean `dmarc`? It is one of: ",
    );
    dns("publish = ['fps']", "20:12: `dns.publish` cannot be `fps`; ");
    dns(
        "publish = ['tls-rpt']",
        "19:2: `dns.tls_rpt.rua` is missing: `dns.publish` has `tls-rpt`",
    );
    dns(
        "dmarc = { polcy = 'none' }",
        "20:11: unknown key `polcy` in `dns.dmarc`; did you mean `policy`?",
    );
    dns(
        "dmarc = { policy = 'rejct' }",
        "20:20: `dns.dmarc.policy` cannot be `rejct`; did you mean `reject`?",
    );
    dns(
        "dmarc = { rua = ['https://a.test/'] }",
        "20:18: `dns.dmarc.rua` has `https://a.test/`, which is no mailto: URI",
    );
    dns(
        "dmarc = { rua = ['mailto:a@b.test!10m'] }",
        "20:18: `dns.dmarc.rua` has `mailto:a@b.test!10m`, which ",
    );
    dns(
        "dmarc = { rua = ['mailto:root'] }",
        "20:18: `dns.dmarc.rua` has `mailto:root`, which is no full address",
    );
    dns(
        "mta_sts = { max_age = '400d' }",
        "20:23: `dns.mta_sts.max_age` is longer than a year",
    );
    dns(
        "mta_sts = { webroot = 'www' }",
        "20:23: `dns.mta_sts.webroot` must be an absolute path",
    );
    dns(
        "tls_rpt = { rua = ['http://a.test'] }",
        "20:20: `dns.tls_rpt.rua` has `http://a.test`",
    );
    dns(
        "caa = { issuers = ['Let’s Encrypt'] }",
        "20:20: `dns.caa.issuers` names a CA by its domain",
    );
    dns(
        "srv = ['submision']",
        "20:8: `dns.srv` has `submision`; did you mean `submission`?",
    );
    dns(
        "srv = 'imaps'",
        "20:7: `dns.srv` cannot be `imaps`; it is one of: auto, or a list",
    );
    dns("spf = 'mx -all'", "20:7: `dns.spf` must begin with `v=spf1`");
    dns("ttl = 0", "20:7: `dns.ttl` cannot be 0: it is 1 to 604800");
    dns("timeout = 'auto'", "20:11: `dns.timeout` cannot be `auto`");
    check(
        "\"192.0.2.1\"",
        "'ns.example'",
        &["21:10: `dns.provider.server` cannot be `ns.example`"],
    );
    check(
        "\"key\"",
        "'name:geheim='",
        &["22:12: `dns.provider.key_name` is not a domain name"],
    );
    check(
        "\"rfc2136\"",
        "'cloudflare'\napi = 1",
        &["20:8: `dns.provider.type`: `cloudflare` is not yet supported"],
    );
    check(
        "secret_file",
        "secret_env = 'X'\nsecret_file",
        &["19:6: `dns.provider` must have only one of secret_file, secret_env"],
    );
}

#[test]
fn reports_everything_at_once() {
    let text = "version = 1\nx = 1\n[host]\nname = ''\ndomains = [1]\n[[certificate]]\nmode = 1\n[dovecot]\nconfig_directory = 'x'\n";
    let errors = parse(Path::new("m.toml"), text).unwrap_err();
    let lines: Vec<usize> = errors.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 4, 5, 6, 6, 7, 9], "{errors}");
    assert!(errors.to_string().contains("m.toml:4:8: `host.name` is wrong: `` is not a domain name: it is empty\n  4 | name = ''\n    |        ^^\n"), "{errors}");
}

#[test]
fn fallbacks_are_other_cas_and_limits_are_known_ones() {
    let acme = |lines: &str| read(&BASE.replace("[acme]", &format!("[acme]\n{lines}")));
    let none = acme("").unwrap().acme.unwrap();
    assert_eq!((none.fallback, none.limits), (Vec::new(), MirroredLimits::Auto));
    let two =
        acme("fallback = ['letsencrypt-staging', 'https://acme.example.net/dir']\nlimits = 'letsencrypt'");
    let two = two.unwrap().acme.unwrap();
    assert_eq!(
        two.fallback,
        [
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            "https://acme.example.net/dir"
        ]
    );
    assert_eq!(two.limits, MirroredLimits::LetsEncrypt);
    let there = two.at("https://acme.example.net/dir");
    assert_eq!(there.directory, "https://acme.example.net/dir");
    assert_eq!(there.challenge, two.challenge);
    let refused = |lines: &str, words: &str| {
        let told = acme(lines).unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
    };
    refused(
        "fallback = ['letsencrypt']",
        "`acme.fallback` names the CA of `acme.directory`",
    );
    refused(
        "fallback = ['https://a.example/d', 'https://a.example/d']",
        "twice",
    );
    refused(
        "fallback = ['letsencrypt-stagin']",
        "did you mean `letsencrypt-staging`?",
    );
    refused("fallback = ['http://a.example/d']", "must be an https URL");
    refused("limits = 'lets-encrypt'", "did you mean `letsencrypt`?");
}

#[test]
fn a_full_file_becomes_a_configuration() {
    let config = read(include_str!("../../../examples/config/dns-01-rfc2136.toml")).unwrap();
    let acme = config.acme.as_ref().unwrap();
    assert_eq!(acme.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(acme.challenge, Challenge::Dns01);
    assert_eq!(config.certificates[0].name, "example.jp");
    assert_eq!(config.certificates[0].mode, 0o600);
    assert_eq!(config.state_directory, Path::new("/var/lib/mailcert"));
    assert_eq!(
        config.renew,
        Renew {
            before: RenewBefore::Auto,
            keep_generations: 3,
            max_per_day: 2,
            max_per_week: 4,
            timer: Timer::Auto,
        }
    );
    assert_eq!(config.postfix.client_ca, ClientCa::System);
    assert_eq!(config.dns.timeout.as_secs(), 120);
    let Some(crate::config::Provider::Rfc2136(provider)) = config.dns.provider else {
        panic!("no provider")
    };
    assert_eq!(
        provider.secret,
        SecretSource::File("/etc/mailcert/tsig-secret".into())
    );
    let wildcard = BASE
        .replace("[acme.challenge]", "[acme.challenge]\ntype = 'dns-01'")
        .replace("[\"mx.ex", "[\"*.ex");
    assert_eq!(
        read(&wildcard).unwrap().certificates[0].name,
        "_wildcard.example.org"
    );
}

/// The shipped examples.
const EXAMPLES: &[(&str, &str)] = &[
    ("minimal", include_str!("../../../examples/config/minimal.toml")),
    (
        "dns-01-rfc2136",
        include_str!("../../../examples/config/dns-01-rfc2136.toml"),
    ),
    (
        "ca-by-mail",
        include_str!("../../../examples/config/ca-by-mail.toml"),
    ),
    (
        "dns-providers",
        include_str!("../../../examples/config/dns-providers.toml"),
    ),
    (
        "private-ca",
        include_str!("../../../examples/config/private-ca.toml"),
    ),
    (
        "keep-my-client",
        include_str!("../../../examples/config/keep-my-client.toml"),
    ),
    (
        "local-test",
        include_str!("../../../examples/config/local-test.toml"),
    ),
    (
        "mail-server",
        include_str!("../../../examples/config/mail-server.toml"),
    ),
    ("hooks", include_str!("../../../examples/config/hooks.toml")),
    (
        "relay-branch",
        include_str!("../../../examples/config/relay-branch.toml"),
    ),
    (
        "relay-hub",
        include_str!("../../../examples/config/relay-hub.toml"),
    ),
    ("two-cas", include_str!("../../../examples/config/two-cas.toml")),
    ("zerossl", include_str!("../../../examples/config/zerossl.toml")),
];

#[test]
fn every_provider_of_the_example_can_be_had() {
    let text = include_str!("../../../examples/config/dns-providers.toml");
    let (head, tables) = text.split_once("[dns.provider]\n").unwrap();
    let mut names = Vec::new();
    for table in tables.replace("\n# [", "\n[").split("[dns.provider]\n") {
        let lines: String = table
            .lines()
            .take_while(|line| !line.is_empty())
            .map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n")
            .collect();
        let config = read(&format!("{head}[dns.provider]\n{lines}")).unwrap();
        names.push(config.dns.provider.unwrap().name());
    }
    assert_eq!(names, ["zone-file", "hook", "hook", "httpreq", "manual", "cloud"]);
}

#[test]
fn a_provider_has_the_keys_of_its_type() {
    let (start, _) = BASE.split_once("type = \"rfc2136\"").unwrap();
    let refused = |lines: &str, expected: &str| {
        let message = read(&format!("{start}{lines}\n")).unwrap_err();
        assert!(message.contains(expected), "{lines}: {message}");
    };
    refused(
        "type = 'rfc2136'\nsecret_env = 'X'",
        "`dns.provider.server` is missing; write it as in",
    );
    refused(
        "type = 'manual'\nserver = '192.0.2.1'",
        "`dns.provider.server` goes with type rfc2136; leave it out",
    );
    refused(
        "type = 'cloud'\nsecret_env = 'X'",
        "`dns.provider.service` is missing",
    );
    refused("type = 'zone-file'", "`dns.provider.file` is missing");
    refused(
        "type = 'zone-file'\nfile = '/db'",
        "`dns.provider.zone` is missing",
    );
    refused(
        "type = 'zone-file'\nfile = '/db.{zone}'\nzone = 'a.test'",
        "exclude each other",
    );
    refused(
        "type = 'zone-file'\nfile = '/db.{zone}'\nreload = 'rndc reload'",
        "absolute path of a program",
    );
    refused("type = 'hook'", "runs nothing; set one of run, shell");
    refused(
        "type = 'hook'\nrun = '/h'\nstyle = 'acme.sh'",
        "`dns.provider.dnsapi` is missing",
    );
    refused(
        "type = 'hook'\nrun = '/h'\nstyle = 'certbot'",
        "`dns.provider.style` cannot be `certbot`",
    );
    refused(
        "type = 'httpreq'\nendpoint = 'https://u:p@h.test'",
        "without user name",
    );
    refused(
        "type = 'httpreq'\nendpoint = 'https://h.test'\nsecret_env = 'X'",
        "whose password is it",
    );
    let clear = "type = 'httpreq'\nusername = 'u'\nsecret_env = 'X'\nendpoint = ";
    refused(&format!("{clear}'http://192.0.2.1:8053/x'"), "in clear text");
    read(&format!("{start}{clear}'http://[::1]:8053/x'\n")).unwrap();
}

#[test]
fn the_mail_server_can_be_had_as_the_guide_has_it() {
    let text = include_str!("../../../examples/config/mail-server.toml");
    let config = read(text).unwrap();
    assert!(config.postfix.submission.submission && config.postfix.submission.submissions);
    assert_eq!(
        config.postfix.submission.sender_login_maps,
        SenderLoginMaps::Generated
    );
    // The commented lines are the last ones, and good as well.
    let (head, tail) = text.split_once("# outgoing_ciphers").unwrap();
    let uncommented = format!("{head}# outgoing_ciphers{tail}").replace("\n# ", "\n");
    let literal = uncommented
        .split_once("[postfix]")
        .unwrap()
        .1
        .replace("The guide's", "# The guide's");
    let guide = format!("{}[postfix]{literal}", text.split_once("[postfix]").unwrap().0);
    let config = read(&guide).unwrap();
    assert_eq!(config.postfix.outgoing.ciphers, CipherGrade::High);
    assert_eq!(config.postfix.outgoing.loglevel, 2);
    assert_eq!(
        config.postfix.submission.sender_login_maps,
        SenderLoginMaps::Own("hash:/etc/aliases".to_owned())
    );
    assert_eq!(config.postfix.submission.overrides.len(), 2);
}

#[test]
fn reads_what_an_account_is_bound_by_and_how_names_are_proven() {
    let config = read(include_str!("../../../examples/config/zerossl.toml")).unwrap();
    let acme = config.acme.unwrap();
    assert_eq!(acme.directory, "https://acme.zerossl.com/v2/DV90");
    assert_eq!(acme.challenge, Challenge::TlsAlpn01(Vec::new()));
    let eab = acme.external_account.unwrap();
    assert_eq!(eab.key_id, "the-key-identifier");
    assert_eq!(eab.hmac_key, SecretSource::File("/etc/mailcert/eab-key".into()));
    let with = |lines: &str| {
        let text = BASE.replace("[acme]\n", &format!("[acme]\n{lines}\n"));
        read(&text).map(|config| config.acme.unwrap())
    };
    let acme = with("profile = 'shortlived'\npreferred_chain = ' ISRG Root X1 '").unwrap();
    assert_eq!(acme.profile.as_deref(), Some("shortlived"));
    assert_eq!(acme.preferred_chain.as_deref(), Some("ISRG Root X1"));
    let acme = with("eab = { key_id = 'k', hmac_key_env = 'EAB' }").unwrap();
    assert_eq!(
        acme.external_account.unwrap().hmac_key,
        SecretSource::Env("EAB".to_owned())
    );
    let listen = BASE.replace(
        "[acme.challenge]",
        "[acme.challenge]\ntype = 'tls-alpn-01'\nlisten = ['::1', '127.0.0.2:5001']",
    );
    assert_eq!(
        read(&listen).unwrap().acme.unwrap().challenge,
        Challenge::TlsAlpn01(vec![
            "[::1]:443".parse().unwrap(),
            "127.0.0.2:5001".parse().unwrap()
        ])
    );
    let wrong = |lines: &str, expected: &str| {
        let message = with(lines).unwrap_err();
        assert!(message.contains(expected), "{lines}: {message}");
        assert!(!message.contains("c2VjcmV0"), "{message}");
    };
    wrong("profile = ''", "`acme.profile` is not the name of a profile");
    wrong("profile = 'a b'", "`acme.profile` is not the name of a profile");
    wrong(
        "preferred_chain = ' '",
        "`acme.preferred_chain` is not the name of an issuer",
    );
    wrong("eab = { hmac_key_file = '/k' }", "`acme.eab.key_id` is missing");
    wrong(
        "eab = { key_id = 'k' }",
        "`acme.eab` names no secret; set one of hmac_key_file",
    );
    wrong(
        "eab = { key_id = 'k', hmac_key_file = '/k', hmac_key_env = 'E' }",
        "only one of hmac_key_file, hmac_key_env",
    );
    wrong(
        "eab = { key_id = 'k', hmac_key = 'c2VjcmV0' }",
        "would put a secret into this file",
    );
    wrong(
        "eab = { key_id = 'a b', hmac_key_file = '/k' }",
        "as the CA shows it",
    );
    wrong(
        "eab = { key_id = 'k', hmac_key_env = 'c2VjcmV0=' }",
        "it names the secret",
    );
    wrong(
        "eab = { key_id = 'k', hmac_key_file = 'c2VjcmV0' }",
        "must be an absolute path",
    );
    wrong("eab = 'x'", "`acme.eab` must be a table");
}

#[test]
fn every_example_is_right() {
    for (name, text) in EXAMPLES {
        let config = read(text).unwrap_or_else(|message| panic!("{name}: {message}"));
        assert!(config.default_certificate().is_some(), "{name}");
    }
    assert_eq!(read(EXAMPLES[2].1).unwrap().acme, None);
}

#[test]
fn a_client_certificate_is_not_what_clients_are_served() {
    let branch = include_str!("../../../examples/config/relay-branch.toml");
    let config = read(branch).unwrap();
    assert_eq!(config.default_certificate().unwrap().name, "osaka.example.jp");
    assert!(config.is_client_certificate("relay"));
    // Whatever its place; and it is where it is the only one.
    let own = "[[certificate]]\nidentifiers = [\"osaka.example.jp\"]\n\n";
    let (before, after) = branch.split_once("[postfix]").unwrap();
    let last = format!("{}{own}[postfix]{after}", before.replace(own, ""));
    let config = read(&last).unwrap();
    assert_eq!(config.default_certificate().unwrap().name, "osaka.example.jp");
    let config = read(&branch.replace(own, "")).unwrap();
    assert_eq!(config.default_certificate().unwrap().name, "relay");
    let hub = read(include_str!("../../../examples/config/relay-hub.toml")).unwrap();
    assert_eq!(hub.postfix.relay.clients.len(), 2);
}

#[test]
fn no_input_panics() {
    for (_, text) in EXAMPLES.iter().chain([&("base", BASE)]) {
        for cut in (0..text.len()).filter(|index| text.is_char_boundary(*index)) {
            let _ = read(&text[..cut]);
        }
        // A linear congruential generator is random enough, and the same every time.
        let mut state = 1_u64;
        for _ in 0..400 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let mut bytes = text.as_bytes().to_vec();
            let at = usize::try_from(state >> 33).unwrap() % bytes.len();
            bytes[at] = b"\"'[]{}=,.#\n\r\t 0-9azA\\\x00\x7f\xe3"[usize::try_from(state >> 20).unwrap() % 24];
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn takes_addresses_that_no_program_mistakes_for_an_option() {
    let table = |line: &str| format!("[notify]\n{line}\n\n[renew]");
    check(
        "[renew]",
        &table("mail_to = ['-oQ/tmp@example.jp']"),
        &["16:12: `notify.mail_to` has `-oQ/tmp@example.jp`, which is no plain address"],
    );
    check(
        "[renew]",
        &table("mail_to = ['root', 'Ops <ops@example.jp>', 'a@b', 'root']"),
        &[
            "16:20: `notify.mail_to` has `Ops <ops@example.jp>`, which is no plain address",
            "16:51: `notify.mail_to` has `root` twice",
        ],
    );
    check(
        "[renew]",
        &table("mail_from = 'a@-b'\nafter_failures = 0\nsendmail = 'sendmail'"),
        &[
            "16:13: `notify.mail_from` has `a@-b`, which has no domain name behind its `@`",
            "17:18: `notify.after_failures` cannot be 0",
            "18:12: `notify.sendmail` must be an absolute path",
        ],
    );
    let config = read(BASE).unwrap();
    assert_eq!(
        config.notify.metrics_file,
        Path::new("/var/lib/mailcert/metrics.prom")
    );
    let config = read(&BASE.replace("version = 1", "version = 1\nstate_directory = '/srv/m'")).unwrap();
    assert_eq!(config.notify.metrics_file, Path::new("/srv/m/metrics.prom"));
}

#[test]
fn one_certificate_is_served_for_a_name() {
    let table = "[[certificate]]\nname = \"other\"\nidentifiers = [\"a.example.org\", \"mx.example.org\"]\nsni = true\n\n[renew]";
    assert!(read(&BASE.replace("[renew]", table)).unwrap().certificates[1].sni);
    check(
        "identifiers = [\"mx.example.org\"]\n\n[renew]",
        &format!("identifiers = [\"mx.example.org\"]\nsni = true\n\n{table}"),
        &[
            "19:7: `certificate.sni` cannot serve `mx.example.org`: that is what `mx.example.org` above is served for",
        ],
    );
    check(
        "[renew]\n\n[postfix]",
        &format!("{table}\n\n[postfix]\nmanage = false\n[dovecot]\nmanage = false"),
        &["18:7: `certificate.sni` needs `postfix.manage` or `dovecot.manage`: names are served by"],
    );
}

/// Reads BASE with these lines at its end, or in the place of `[acme.challenge]`.
fn with_hooks(challenge: &str, hooks: &str) -> Result<Config, String> {
    let text = BASE.replace("[acme.challenge]\n", &format!("[acme.challenge]\n{challenge}\n"));
    read(&format!("{text}\n{hooks}\n"))
}

#[test]
fn reads_hooks_of_every_style() {
    use crate::config::hook::{Chain, ChallengeStyle, Command, Style};
    let config = with_hooks(
        "type = 'dns-01'\nhook = { style = 'dehydrated', run = '/etc/dehydrated/hook.sh', chain = true, timeout = '5m' }",
        "[hooks]\npre = [{ style = 'certbot', directory = '/etc/letsencrypt/renewal-hooks/pre' }]\n\
         deploy = [{ run = ['/a', 'b c'], retries = 2, lineages = ['mx.example.org'] }, { style = 'acme.sh', shell = 'x; y' }]",
    )
    .unwrap();
    let hook = config.acme.as_ref().unwrap().challenge_hook.as_ref().unwrap();
    assert_eq!(hook.style, ChallengeStyle::Dehydrated(Chain::Yes));
    assert_eq!(hook.manner.timeout.as_secs(), 300);
    let [first, second] = config.hooks.deploy.as_slice() else {
        panic!("{:?}", config.hooks.deploy)
    };
    assert_eq!(first.command, Command::Run(vec!["/a".into(), "b c".into()]));
    assert_eq!((first.style, first.manner.retries), (Style::Mailcert, 2));
    assert!(first.is_for("mx.example.org") && !first.is_for("x") && second.is_for("x"));
    assert_eq!(second.command, Command::Shell("x; y".into()));
    assert_eq!(config.hooks.pre[0].style, Style::Certbot);
    // A challenge hook writes the records: no provider is needed.
    let text = BASE.split("[dns.provider]").next().unwrap();
    let dns = "[acme.challenge]\ntype = 'dns-01'\nhook = { style = 'certbot', run = '/a', cleanup = '/c' }\n";
    let config = read(&text.replace("[acme.challenge]\n", dns)).unwrap();
    let hook = config.acme.unwrap().challenge_hook.unwrap();
    assert_eq!(
        hook.style,
        ChallengeStyle::Certbot(Some(Command::Run(vec!["/c".into()])))
    );
}

#[test]
fn refuses_hooks_that_cannot_be_meant() {
    let hook = |lines: &str, expected: &str| {
        let message = with_hooks("", &format!("[[hooks.deploy]]\n{lines}")).unwrap_err();
        assert!(message.contains(expected), "{lines}: {message}");
    };
    hook(
        "",
        "`hooks.deploy` runs nothing; set one of run, shell, directory",
    );
    hook("run = '/a'\nshell = 'b'", "must have only one of run, shell");
    hook(
        "run = 'systemctl reload x'",
        "a command line is written with `shell`",
    );
    hook("run = 'hook'", "must be an absolute path");
    hook("run = []", "is empty");
    hook("run = ['/a', 1]", "expected a string in `hooks.deploy.run`");
    hook("shell = ' '", "must be a command line");
    hook("directory = '/d'", "goes with style certbot");
    hook(
        "run = '/a'\nlineages = ['b']",
        "has `b`, which is no certificate of this file",
    );
    hook("run = '/a'\nstyle = 'lego'", "did you mean `lego4`?");
    hook("run = '/a'\nretries = 1000", "cannot be 1000");
    hook("run = '/a'\ntimeout = '0s'", "more than nothing");
    hook(
        "run = '/a'\ntoken = 'geheim'",
        "would put a secret into this file",
    );
    let message = with_hooks("", "[[hooks.pre]]\nstyle = 'lego4'\nrun = '/a'").unwrap_err();
    assert!(message.contains("cannot be `lego4`"), "{message}");
    let challenge = |lines: &str, expected: &str| {
        let message = with_hooks(lines, "").unwrap_err();
        assert!(message.contains(expected), "{lines}: {message}");
    };
    challenge("hook = {}", "`acme.challenge.hook` runs nothing");
    challenge(
        "hook = { run = '/a' }\nwebroot = '/w'",
        "has no meaning with `hook`",
    );
    challenge("hook = { style = 'lego-exec', run = '/a' }", "knows dns-01 only");
    let by_tls = |style: &str| {
        let more = if style == "acme.sh" {
            ", dnsapi = 'dns_x'"
        } else {
            ""
        };
        let hook = format!("hook = {{ style = '{style}', run = '/a'{more} }}");
        with_hooks(&format!("type = 'tls-alpn-01'\n{hook}"), "")
    };
    for style in ["acme.sh", "certbot", "dehydrated", "lego-exec", "lego-exec-raw"] {
        let message = by_tls(style).unwrap_err();
        assert!(
            message.contains(&format!("`acme.challenge.hook.style` is {style}, wh")),
            "{message}"
        );
    }
    for style in ["mailcert", "uacme"] {
        assert!(by_tls(style).unwrap().acme.unwrap().challenge_hook.is_some());
    }
    challenge(
        "type = 'dns-01'\nhook = { style = 'acme.sh', run = '/a' }",
        "`acme.challenge.hook.dnsapi` is missing",
    );
    challenge(
        "type = 'dns-01'\nhook = { style = 'acme.sh', shell = '/a', dnsapi = 'dns_x' }",
        "which `run` must name",
    );
    challenge(
        "type = 'dns-01'\nhook = { style = 'acme.sh', run = '/a', dnsapi = 'dns_x; rm' }",
        "must be the name of a dnsapi script",
    );
    challenge("hook = { run = '/a', cleanup = '/b' }", "goes with style certbot");
    challenge(
        "hook = { style = 'certbot', run = '/a', cleanup = '/b', cleanup_shell = 'c' }",
        "exclude each other",
    );
    challenge(
        "hook = { run = '/a', chain = true }",
        "goes with style dehydrated",
    );
}

#[test]
fn a_large_file_is_read_as_a_small_one_is() {
    let tables = |n: usize| -> String {
        (0..n)
            .map(|i| format!("[[certificate]]\nidentifiers = [\"h{i}.example.org\"]\n\n"))
            .collect()
    };
    let large = BASE.replace("[renew]", &format!("{}[renew]", tables(2000)));
    let config = read(&large).unwrap();
    let base = read(BASE).unwrap();
    assert_eq!(config.certificates.len(), 2001);
    assert_eq!(config.certificates[0], base.certificates[0]);
    assert_eq!(config.certificates[2000].name, "h1999.example.org");
    let rest = Config {
        certificates: base.certificates.clone(),
        ..config
    };
    assert_eq!(rest, base);
    // Faults are found, with their places, in whatever part they are.
    let fault = |from: &str, to: &str| read(&large.replace(from, to)).unwrap_err();
    let twice = fault("\"h1999.example.org\"", "\"h0.example.org\"");
    assert!(twice.contains("m.toml:6013:15:"), "{twice}");
    assert!(twice.contains("is taken by a certificate above"), "{twice}");
    let unknown = fault("[\"h777.example.org\"]", "[\"h777.example.org\"]\nkye = 1");
    assert!(
        unknown.contains("did you mean `key`?") && unknown.contains("kye = 1"),
        "{unknown}"
    );
    let broken = fault("[\"h777.example.org\"]", "[\"h777.example.org\"");
    assert!(broken.contains("not TOML"), "{broken}");
    let no_acme = read(
        &large
            .replace("[acme]\nterms_of_service_agreed = true\n", "")
            .replace("[acme.challenge]\n", ""),
    )
    .unwrap_err();
    assert!(no_acme.contains("the table `[acme]` is missing"), "{no_acme}");
    let inline = fault("version = 1\n", "version = 1\ncertificate = []\n");
    assert!(inline.contains("not TOML"), "{inline}");
}
