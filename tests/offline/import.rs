//! `import`: what other clients keep is taken over, their files stay, and what cannot be believed is told.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use time::Duration;

use crate::{
    host::{Host, NOW, verified},
    support::{
        Outcome,
        foreign::{certbot, issued_at, lego, snapshot, without_its_chain},
        issuance::Issued,
    },
};

/// The key on P-256 of RFC 7517, A.2.
const JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;
const CA: &str = "https://ca.example.test/dir";
const URL: &str = "https://ca.example.test/account/1";
const MAIL: &str = "mail.example.test";

fn fresh(names: &[&str]) -> Issued {
    issued_at(NOW, names, -30, 60)
}

impl Host {
    fn theirs(&self) -> PathBuf {
        self.scratch.path().join("letsencrypt")
    }

    /// Writes certbot's directory with one lineage.
    fn certbot(&self, name: &str, issued: &Issued, params: &str) -> PathBuf {
        certbot(&self.scratch, name, 1, issued);
        self.scratch.file(
            &format!("letsencrypt/renewal/{name}.conf"),
            format!("version = 5.8.0\n[renewalparams]\naccount = 3aab\nserver = {CA}\n{params}"),
        );
        let account = "letsencrypt/accounts/ca.example.test/dir/3aab";
        self.scratch
            .secret_file(&format!("{account}/private_key.json"), JWK);
        self.scratch.file(
            &format!("{account}/regr.json"),
            format!(r#"{{"body": {{}}, "uri": "{URL}"}}"#),
        );
        self.theirs()
    }

    /// Imports with what a new configuration needs.
    fn import(&self, client: &str, place: &Path, more: &[&str]) -> Outcome {
        let (state, postfix) = (self.state(), self.scratch.dir("postfix"));
        let place = place.display().to_string();
        let (state, postfix) = (state.display().to_string(), postfix.display().to_string());
        let args = [
            "import",
            client,
            &place,
            "--host",
            MAIL,
            "--domain",
            "example.test",
            "--state-directory",
            &state,
            "--postfix-config-directory",
            &postfix,
        ];
        self.run(&[&args, more].concat())
    }

    fn toml(&self) -> String {
        fs::read_to_string(self.config_file()).unwrap()
    }

    #[track_caller]
    fn kept_nothing(&self, outcome: &Outcome) {
        assert!(
            !self.config_file().exists() && !self.state().exists(),
            "{outcome}"
        );
    }

    /// Returns the account's record.
    fn account(&self) -> serde_json::Value {
        let directory = self.state().join("accounts");
        let entry = fs::read_dir(directory).unwrap().next().unwrap().unwrap();
        serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap()
    }
}

#[test]
fn certbot_s_lineage_account_and_hooks_are_taken_over_and_undo_gives_all_back() {
    let host = Host::new();
    let issued = fresh(&[MAIL, "imap.example.test"]);
    let place = host.certbot(
        MAIL,
        &issued,
        "authenticator = standalone\nreuse_key = True\nrenew_hook = 'echo \"x\"; true'\n",
    );
    host.scratch
        .file("letsencrypt/renewal-hooks/post/10-x", "#!/bin/sh\n");
    let before = snapshot(&place);

    let shown = host.import("certbot", &place, &["--dry-run"]).expect(0);
    assert!(shown.stdout.contains("+reuse_key = \"always\""), "{shown}");
    host.kept_nothing(&shown);
    let refused = host.import("certbot", &place, &[]).expect(2);
    assert!(refused.stderr.contains("mailcert import --yes"), "{refused}");
    host.kept_nothing(&refused);

    let done = host.import("certbot", &place, &["--yes"]).expect(0);
    for words in [
        URL,
        "mailcert apply",
        "mailcert undo",
        "neither a timer nor a cron line",
    ] {
        assert!(done.stdout.contains(words), "{words}: {done}");
    }
    let text = host.toml();
    for words in [
        "directory = \"https://ca.example.test/dir\"",
        "terms_of_service_agreed = true",
        "identifiers = [\"mail.example.test\", \"imap.example.test\"]",
        "[[hooks.deploy]]",
        "type = \"http-01\"",
        "renewal-hooks/post\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let lineage = host.load(MAIL);
    assert_eq!((lineage.newest, lineage.generation), (1, None));
    assert_eq!(lineage.generations[&1].directory.as_deref(), Some(CA));
    let key = fs::read_to_string(host.store().layout().generation(MAIL, 1).join("privkey.pem")).unwrap();
    assert_eq!(key, issued.private_key);
    assert_eq!(host.account()["url"], URL);
    assert_eq!(snapshot(&place), before);
    let status = host.run(&["status"]).expect(3);
    assert!(status.stdout.contains("issued"), "{status}");

    // Again: it is ours by now.
    let again = host.import("certbot", &place, &["--yes"]).expect(1);
    assert!(again.stderr.contains("of this name already"), "{again}");
    assert_eq!(host.toml(), text);

    let undone = host.run(&["undo"]).expect(0);
    assert!(undone.stdout.contains("switch certbot on again"), "{undone}");
    assert!(!host.config_file().exists());
    assert!(!host.store().layout().lineage(MAIL).exists());
    assert!(!host.state().join("accounts").read_dir().unwrap().any(|_| true));
    assert_eq!(snapshot(&place), before);
    // And once more from the start.
    host.import("certbot", &place, &["--yes"]).expect(0);
    assert_eq!(host.toml(), text);
}

#[test]
fn an_existing_configuration_is_added_to_and_comes_back_byte_for_byte() {
    let host = Host::with_lineages(&["www.example.test"]);
    host.write_config(&(host.toml().replace("https://127.0.0.1:1/dir", CA) + "# the end\n"));
    let own = host.toml();
    let place = host.certbot(
        MAIL,
        &fresh(&[MAIL]),
        "authenticator = nginx\ninstaller = nginx\npre_hook = true\n",
    );
    let args = ["import", "certbot", place.to_str().unwrap(), "--yes"];
    let done = host.run(&args).expect(0);
    assert!(
        done.stdout.contains("nginx installer is not taken over"),
        "{done}"
    );
    let text = host.toml();
    assert!(text.starts_with(&own), "{text}");
    assert!(text.contains("lineages = [\"mail.example.test\"]"), "{text}");
    host.run(&["undo"]).expect(0);
    assert_eq!(host.toml(), own);

    // What was edited since is shown, and not lost.
    host.run(&args).expect(0);
    host.write_config(&(host.toml() + "# mine\n"));
    let refused = host.run(&["undo"]).expect(1);
    assert!(refused.stderr.contains("# mine"), "{refused}");
    assert!(host.store().layout().lineage(MAIL).exists());
}

#[test]
fn lego_acme_sh_and_dehydrated_are_read_too() {
    let key = |issued: &Issued| issued.private_key.clone();
    let account = rcgen::KeyPair::generate().unwrap().serialize_pem();

    let host = Host::new();
    let issued = fresh(&[MAIL]);
    let files = lego(&host.scratch, MAIL, &issued);
    let place = files.parent().unwrap();
    host.scratch
        .secret_file("lego/accounts/ca.example.test/a/a.key", &account);
    host.scratch.secret_file(
        "lego/accounts/ca.example.test/a/account.json",
        format!(r#"{{"server": "{CA}", "registration": {{"location": "{URL}"}}}}"#),
    );
    let before = snapshot(place);
    let refused = host.import("lego", place, &["--yes"]).expect(2);
    assert!(refused.stderr.contains("--challenge http-01"), "{refused}");
    host.kept_nothing(&refused);
    let done = host
        .import("lego", place, &["--challenge", "http-01", "--yes"])
        .expect(0);
    assert_eq!(host.account()["url"], URL);
    assert!(done.stdout.contains("keeps no record of its hooks"), "{done}");
    assert_eq!(snapshot(place), before);

    let host = Host::new();
    let issued = fresh(&[MAIL]);
    let file = |path: &str, text: String| host.scratch.secret_file(&format!("acme.sh/{path}"), text);
    file(
        &format!("{MAIL}_ecc/{MAIL}.conf"),
        format!(
            "Le_Domain='{MAIL}'\nLe_Webroot='dns_cf'\nLe_API='{CA}'\nLe_RealKeyPath='/etc/ssl/m.key'\n\
             Le_ReloadCmd='__ACME_BASE64__START_cG9zdGZpeCByZWxvYWQ=__ACME_BASE64__END_'\n"
        ),
    );
    file(&format!("{MAIL}_ecc/{MAIL}.key"), key(&issued));
    file(&format!("{MAIL}_ecc/fullchain.cer"), issued.fullchain.clone());
    file("account.conf", "SAVED_CF_Token='top-secret'\n".to_owned());
    file("ca/ca.example.test/dir/account.key", account.clone());
    file("ca/ca.example.test/dir/ca.conf", format!("ACCOUNT_URL='{URL}'\n"));
    file("acme.sh", "#!/bin/sh\n".to_owned());
    let place = host.scratch.path().join("acme.sh");
    let before = snapshot(&place);
    let done = host.import("acme.sh", &place, &["--yes"]).expect(0);
    let text = host.toml();
    for words in [
        "dnsapi = \"dns_cf\"",
        "postfix reload",
        "> '/etc/ssl/m.key'",
        "env_file = ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let secrets = host.scratch.path().join("challenge.env");
    assert_eq!(fs::read_to_string(&secrets).unwrap(), "CF_Token='top-secret'\n");
    assert_eq!(
        fs::metadata(&secrets).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let told = format!("{}{}{text}", done.stdout, done.stderr);
    assert!(!told.contains("top-secret"), "{told}");
    let journal = fs::read_to_string(host.state().join("journal/1/entry.json")).unwrap();
    assert!(
        !journal.contains("top-secret") && !journal.contains("PRIVATE KEY"),
        "{journal}"
    );
    host.run(&["undo"]).expect(0);
    assert!(!secrets.exists() && !host.config_file().exists());
    assert_eq!(snapshot(&place), before);

    let host = Host::new();
    let issued = fresh(&[MAIL]);
    let base = host.scratch.dir("lib");
    host.scratch.file(
        "dehydrated/config",
        format!(
            "CA=\"{CA}\"\nBASEDIR={}\nHOOK=/etc/hook.sh\nCHALLENGETYPE=dns-01\n",
            base.display()
        ),
    );
    host.scratch.file("lib/domains.txt", format!("{MAIL} > mx\n"));
    host.scratch
        .secret_file("lib/certs/mx/privkey-1.pem", key(&issued));
    host.scratch
        .secret_file("lib/certs/mx/fullchain-1.pem", &issued.fullchain);
    for file in ["privkey", "fullchain"] {
        symlink(format!("{file}-1.pem"), base.join(format!("certs/mx/{file}.pem"))).unwrap();
    }
    // base64url of the CA's URL and a line feed.
    let id = "aHR0cHM6Ly9jYS5leGFtcGxlLnRlc3QvZGlyCg";
    host.scratch
        .secret_file(&format!("lib/accounts/{id}/account_key.pem"), &account);
    host.scratch.file(
        &format!("lib/accounts/{id}/account_id.json"),
        format!(r#"{{"url": "{URL}"}}"#),
    );
    let place = host.scratch.path().join("dehydrated");
    host.import("dehydrated", &place, &["--yes"]).expect(0);
    let text = host.toml();
    for words in [
        "name = \"mx\"",
        "style = \"dehydrated\"",
        "type = \"dns-01\"",
        "[[hooks.deploy]]",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(host.account()["url"], URL);
}

#[test]
fn lego_s_chain_in_a_file_of_its_own_and_its_profile_are_taken_over() {
    let host = Host::new();
    let (alone, issuer) = without_its_chain(NOW, &[MAIL]);
    let files = lego(&host.scratch, MAIL, &alone);
    fs::write(files.join(format!("{MAIL}.issuer.crt")), &issuer).unwrap();
    fs::write(
        files.join(format!("{MAIL}.json")),
        format!(r#"{{"id": "{MAIL}", "certUrl": "https://ca.example.test/c/1", "profile": "shortlived"}}"#),
    )
    .unwrap();
    let args = [
        "--challenge",
        "http-01",
        "--agree-to-terms",
        "--directory",
        CA,
        "--yes",
    ];
    host.import("lego", files.parent().unwrap(), &args).expect(0);
    let chain = host.store().load_fullchain(MAIL, 1).unwrap();
    assert_eq!(chain, alone.fullchain + &issuer);
    assert!(
        host.toml().contains("profile = \"shortlived\""),
        "{}",
        host.toml()
    );
}

#[test]
fn what_came_from_that_client_by_install_is_ordered_by_us_from_then_on() {
    let host = Host::new();
    let own = host.config().replace("https://127.0.0.1:1/dir", CA)
        + &format!(
            "\n[[certificate]]\nidentifiers = [\"{MAIL}\"] # ours\nissuer = \"external\"\nkey = \"rsa-2048\"\n"
        );
    host.write_config(&own);
    host.save(&verified(MAIL, 1, Duration::days(40)));
    let issued = fresh(&["imap.example.test", MAIL]);
    let place = host.certbot(MAIL, &issued, "authenticator = standalone\nreuse_key = True\n");
    let before = snapshot(&place);
    let args = ["import", "certbot", place.to_str().unwrap(), "--yes"];
    let done = host.run(&args).expect(0);
    assert!(
        done.stdout
            .contains("came from certbot by `mailcert install` until now"),
        "{done}"
    );
    let text = host.toml();
    for words in [
        "issuer = \"acme\"",
        "identifiers = [\"mail.example.test\", \"imap.example.test\"] # ours",
        "key = \"ecdsa-p256\"",
        "reuse_key = \"always\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(text.matches("[[certificate]]").count(), 1, "{text}");
    let lineage = host.load(MAIL);
    assert_eq!((lineage.newest, lineage.generation), (2, Some(1)));
    assert_eq!(host.account()["url"], URL);
    assert_eq!(snapshot(&place), before);
    // Now it is ours.
    let again = host.run(&args).expect(1);
    assert!(again.stderr.contains("of this name already"), "{again}");

    host.run(&["undo"]).expect(0);
    assert_eq!(host.toml(), own);
    assert!(host.store().layout().generation(MAIL, 1).exists());

    // A name that clients are given, and that client's certificate lacks, is not lost unseen.
    let more = own.replace("\"] # ours", "\", \"pop.example.test\"] # ours");
    host.write_config(&more);
    let refused = host.run(&args).expect(1);
    assert!(refused.stderr.contains("lacks pop.example.test"), "{refused}");
    assert_eq!(host.toml(), more);
}

#[test]
fn keys_for_dynamic_updates_go_into_a_file_of_their_own() {
    let host = Host::new();
    let ini = host.scratch.secret_file(
        "rfc2136.ini",
        "dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_name = lab-key\ndns_rfc2136_secret = c2VjcmV0\n\
         dns_rfc2136_algorithm = HMAC-SHA256\n",
    );
    let params = format!(
        "authenticator = dns-rfc2136\ndns_rfc2136_credentials = {}\n",
        ini.display()
    );
    let place = host.certbot("all", &fresh(&["example.test", "*.example.test"]), &params);
    host.import("certbot", &place, &["--yes"]).expect(0);
    let text = host.toml();
    for words in [
        "server = \"192.0.2.53:53\"",
        "key_name = \"lab-key\"",
        "type = \"dns-01\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("c2VjcmV0"), "{text}");
    let secret = fs::read_to_string(host.scratch.path().join("tsig-secret")).unwrap();
    assert_eq!(secret, "c2VjcmV0\n");

    // A file of the operator's is never written over.
    let host = Host::new();
    let place = host.certbot(MAIL, &fresh(&[MAIL]), &params);
    host.scratch.file("tsig-secret", "mine\n");
    let refused = host.import("certbot", &place, &["--yes"]).expect(1);
    assert!(refused.stderr.contains("tsig-secret is there"), "{refused}");
    host.kept_nothing(&refused);
    fs::set_permissions(&ini, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = host.import("certbot", &place, &["--yes"]).expect(2);
    assert!(refused.stderr.contains("others may write it"), "{refused}");
}

#[test]
fn what_cannot_be_believed_is_told_and_nothing_is_changed() {
    const STANDALONE: &str = "authenticator = standalone\n";
    type Damage<'a> = &'a dyn Fn(&Host);
    let live = |host: &Host, file: &str| host.theirs().join(format!("live/{MAIL}/{file}.pem"));
    let real = |host: &Host, file: &str| fs::canonicalize(live(host, file)).unwrap();
    let account = |host: &Host| {
        host.theirs()
            .join("accounts/ca.example.test/dir/3aab/private_key.json")
    };
    let check = |issued: &Issued, params: &str, damage: Damage<'_>, words: &str| {
        let host = Host::new();
        host.certbot("other.example.test", &fresh(&["other.example.test"]), STANDALONE);
        let place = host.certbot(MAIL, issued, params);
        damage(&host);
        let before = snapshot(&place);
        let refused = host.import("certbot", &place, &["--yes"]);
        assert!([1, 2].contains(&refused.code), "{words}: {refused}");
        assert!(refused.stderr.contains(words), "{words}: {refused}");
        host.kept_nothing(&refused);
        assert_eq!(snapshot(&place), before, "{words}");
        refused
    };
    let whole: Damage<'_> = &|_| ();
    let good = || fresh(&[MAIL]);
    let refused = check(&issued_at(NOW, &[MAIL], -90, -1), STANDALONE, whole, "expired on");
    assert!(
        refused.stderr.contains("--lineage other.example.test"),
        "{refused}"
    );
    check(
        &issued_at(NOW, &[MAIL], 1, 90),
        STANDALONE,
        whole,
        "valid only from",
    );
    let mismatched = Issued {
        private_key: good().private_key,
        ..good()
    };
    check(&mismatched, STANDALONE, whole, "does not belong");
    let write = |file: &'static str, text: &'static str| {
        move |host: &Host| fs::write(real(host, file), text).unwrap()
    };
    check(
        &good(),
        STANDALONE,
        &write("privkey", "-----BEGIN PRIVATE KEY-----\nx\n"),
        "privkey.pem",
    );
    check(
        &good(),
        STANDALONE,
        &write("fullchain", "no PEM"),
        "fullchain.pem",
    );
    let gone: Damage<'_> = &|host| fs::remove_file(real(host, "privkey")).unwrap();
    check(&good(), STANDALONE, gone, "privkey.pem");
    let missing: Damage<'_> = &|host| fs::remove_file(live(host, "privkey")).unwrap();
    check(&good(), STANDALONE, missing, "is missing");
    let open: Damage<'_> =
        &|host| fs::set_permissions(real(host, "privkey"), fs::Permissions::from_mode(0o666)).unwrap();
    check(&good(), STANDALONE, open, "others may write it");
    let huge: Damage<'_> = &|host| {
        fs::File::options()
            .write(true)
            .open(real(host, "fullchain"))
            .unwrap()
            .set_len(5 << 20)
            .unwrap();
    };
    check(&good(), STANDALONE, huge, "larger than");
    let outside: Damage<'_> = &|host| {
        let elsewhere = host.scratch.secret_file("elsewhere.pem", good().private_key);
        fs::remove_file(live(host, "privkey")).unwrap();
        symlink(elsewhere, live(host, "privkey")).unwrap();
    };
    check(&good(), STANDALONE, outside, "leads out of it");
    let shared: Damage<'_> =
        &|host| fs::set_permissions(host.theirs(), fs::Permissions::from_mode(0o777)).unwrap();
    check(&good(), STANDALONE, shared, "others may write it");
    check(&good(), "", whole, "neither who issues it");
    check(
        &good(),
        "authenticator = dns-cloudflare\n",
        &|host| {
            fs::remove_file(host.theirs().join("renewal/other.example.test.conf")).unwrap();
        },
        "dns-cloudflare",
    );
    check(
        &good(),
        STANDALONE,
        &|host| fs::write(account(host), "{").unwrap(),
        "private_key.json",
    );
    check(
        &good(),
        STANDALONE,
        &|host| fs::set_permissions(account(host), fs::Permissions::from_mode(0o622)).unwrap(),
        "others may write it",
    );
    let staging: Damage<'_> = &|host| {
        let conf = host.theirs().join(format!("renewal/{MAIL}.conf"));
        let text = fs::read_to_string(&conf).unwrap();
        fs::write(
            conf,
            text.replace(CA, "https://acme-staging-v02.api.letsencrypt.org/directory"),
        )
        .unwrap();
    };
    check(&good(), STANDALONE, staging, "staging CA");
    check(
        &good(),
        STANDALONE,
        &|host| {
            host.scratch.file("letsencrypt/renewal/..conf", "");
        },
        "its name",
    );

    // The others can be had alone.
    let host = Host::new();
    host.certbot("other.example.test", &fresh(&["other.example.test"]), STANDALONE);
    let place = host.certbot(MAIL, &issued_at(NOW, &[MAIL], -90, -1), STANDALONE);
    let done = host
        .import("certbot", &place, &["--lineage", "other.example.test", "--yes"])
        .expect(0);
    assert!(done.stdout.contains("autorenew = False"), "{done}");
    let told = host
        .import("certbot", &place, &["--lineage", "none.test", "--yes"])
        .expect(2);
    assert!(
        told.stderr
            .contains("it has: mail.example.test, other.example.test"),
        "{told}"
    );
    let none = Host::new();
    let told = none.run(&["import", "lego"]).expect(1);
    assert!(told.stderr.contains("/etc/lego"), "{told}");
    none.kept_nothing(&told);
}

#[test]
fn a_run_that_was_killed_is_finished_by_the_next_and_undo_copes_with_half_of_it() {
    let host = Host::new();
    let place = host.certbot(MAIL, &fresh(&[MAIL]), "authenticator = standalone\n");
    host.import("certbot", &place, &["--yes"]).expect(0);
    let text = host.toml();
    // As if it had been killed before the configuration was written.
    fs::remove_file(host.config_file()).unwrap();
    host.import("certbot", &place, &["--yes"]).expect(0);
    assert_eq!(host.toml(), text);
    assert_eq!(host.load(MAIL).newest, 1);
    host.run(&["undo"]).expect(0);
    assert!(!host.store().layout().lineage(MAIL).exists());
}

#[test]
fn init_names_the_command_that_takes_over_what_is_there() {
    let host = Host::new();
    host.certbot(MAIL, &fresh(&[MAIL]), "authenticator = standalone\n");
    let root = host.scratch.dir("root/etc");
    symlink(host.theirs(), root.join("letsencrypt")).unwrap();
    host.scratch.file(
        "root/etc/cron.d/certbot",
        "# x\n0 */12 * * * root certbot -q renew\n",
    );
    let postfix = host.scratch.dir("postfix");
    host.scratch.file("postfix/main.cf", "");
    host.scratch.file("postfix/master.cf", "");
    let args = [
        "init",
        "--dry-run",
        "--issuer",
        "external",
        "--timer",
        "none",
        "--host",
        MAIL,
        "--domain",
        "example.test",
        "--postfix-config-directory",
        postfix.to_str().unwrap(),
    ];
    let shown = host.run(&args).expect(0);
    assert!(
        shown.stdout.contains("`mailcert import certbot` takes them over"),
        "{shown}"
    );
    let args = [
        "import",
        "certbot",
        "--dry-run",
        "--host",
        MAIL,
        "--domain",
        "example.test",
    ];
    let shown = host.run(&args).expect(0);
    assert!(shown.stdout.contains("line 2 of /etc/cron.d/certbot"), "{shown}");
}
