//! `import` of directories that the real clients have made at the same CA: the next certificate is ours, by their account.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{
    Outcome, World,
    foreign::{fetched, snapshot},
    judge,
    world::{DOMAIN, HOST},
};

/// A site whose configuration says nothing of CAs and certificates: another client has them.
fn site(edit: impl FnOnce(String) -> String) -> World {
    let world = World::start();
    world.write_config(|text| {
        let (before, rest) = text.split_once("[acme]").unwrap();
        let (_, after) = rest.split_once("[renew]").unwrap();
        edit(format!("{before}[renew]{after}"))
    });
    world
}

fn without_postfix(text: String) -> String {
    crate::support::world::without_postfix(text)
}

/// Prepares another client: nothing of our environment but where the CA's root is.
fn client(world: &World, program: PathBuf) -> Command {
    let mut command = Command::new(program);
    let root = world.pebble.root_ca_file();
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", world.scratch.dir("home"))
        .env("REQUESTS_CA_BUNDLE", root)
        .env("LEGO_CA_CERTIFICATES", root)
        .stdin(Stdio::null());
    command
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn import(world: &World, client: &str, place: &Path, more: &[&str]) -> Outcome {
    let (place, root) = (place.display().to_string(), world.pebble.root_ca_file());
    let root = root.display().to_string();
    let args = ["import", client, &place, "--root-ca-file", &root, "--yes"];
    world.mailcert().run(&[&args, more].concat())
}

/// Returns the account's URL as the CA has it.
fn account_url(world: &World) -> String {
    let shown = world
        .mailcert()
        .run(&["account", "show", "--format", "json"])
        .expect(0);
    shown.json()["account"]["url"].as_str().unwrap().to_owned()
}

/// Imports a directory, renews by force, and asserts that the account is the one that it was; returns the first run.
fn ours_by_the_same_account(world: &World, client: &str, place: &Path, url: &str, more: &[&str]) -> Outcome {
    let before = snapshot(place);
    let done = import(world, client, place, more).expect(0);
    assert_eq!(account_url(world), url);
    world.mailcert().run(&["renew"]).expect(0);
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(world.record(HOST)["generation"], 2);
    assert_eq!(account_url(world), url);
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
    assert_eq!(snapshot(place), before);
    done
}

fn certbot(world: &World, args: &[&str]) {
    let mut certbot = client(world, fetched("certbot/bin/certbot"));
    for (option, directory) in [
        ("--config-dir", "letsencrypt"),
        ("--work-dir", "work"),
        ("--logs-dir", "logs"),
    ] {
        certbot.arg(option).arg(world.scratch.dir(directory));
    }
    succeeds(certbot.args(args).arg("--non-interactive"));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, certbot"]
fn certbot_s_certificate_and_account_are_ours_until_undo_gives_them_back() {
    let world = site(|text| text);
    let note = world.scratch.path().join("hook-ran");
    let hook = format!("echo \"$RENEWED_LINEAGE\" >> {}", note.display());
    certbot(
        &world,
        &[
            "certonly",
            "--standalone",
            "--http-01-address",
            &world.address.ip().to_string(),
            "--server",
            &world.pebble.directory(),
            "--agree-tos",
            "--register-unsafely-without-email",
            "--deploy-hook",
            &hook,
            "-d",
            HOST,
        ],
    );
    fs::remove_file(&note).unwrap();
    let place = world.scratch.path().join("letsencrypt");
    let theirs = fs::read_to_string(place.join(format!("live/{HOST}/fullchain.pem"))).unwrap();
    let (before, main_cf) = (snapshot(&place), fs::read(world.postfix.main_cf()).unwrap());
    let config = fs::read(world.config_file()).unwrap();

    let done = import(&world, "certbot", &place, &[]).expect(0);
    assert!(done.stdout.contains("the account's key is rsa-2048"), "{done}");
    let url = done
        .stdout
        .split_whitespace()
        .find(|word| word.contains("/my-account/"))
        .unwrap();
    assert_eq!(account_url(&world), url);
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    assert_eq!(world.postfix.leaf_sha256(25), judge::certificate_sha256(&theirs));
    assert_eq!(world.record(HOST)["state"], "verified");
    let live = world.state_directory().join("live").join(HOST);
    assert_eq!(
        fs::read_to_string(&note).unwrap().trim(),
        live.display().to_string()
    );

    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(account_url(&world), url);
    assert_eq!(world.record(HOST)["generation"], 2);
    assert_ne!(world.postfix.leaf_sha256(25), judge::certificate_sha256(&theirs));
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
    assert_eq!(snapshot(&place), before);

    world.mailcert().run(&["undo"]).expect(0);
    assert!(fs::read(world.postfix.main_cf()).unwrap() == main_cf);
    let undone = world.mailcert().run(&["undo"]).expect(0);
    assert!(undone.stdout.contains("switch certbot on again"), "{undone}");
    assert!(fs::read(world.config_file()).unwrap() == config);
    assert_eq!(snapshot(&place), before);
    // Its account has its key again.
    certbot(
        &world,
        &["renew", "--force-renewal", "--no-random-sleep-on-renew"],
    );
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
    let renewed = fs::read_to_string(place.join(format!("live/{HOST}/fullchain.pem"))).unwrap();
    assert_ne!(renewed, theirs);
}

#[test]
#[ignore = "real: needs named, pebble, lego"]
fn long_what_lego_kept_is_renewed_by_its_account() {
    let world = site(without_postfix);
    let place = world.scratch.dir("lego");
    let mut lego = client(&world, fetched("lego/usr/bin/lego"));
    lego.args(["--server", &world.pebble.directory(), "--path"])
        .arg(&place)
        .args([
            "--email",
            "post@example.test",
            "--accept-tos",
            "--http",
            "--http.port",
        ])
        .arg(world.address.port(80).to_string())
        .args(["--domains", HOST, "run"]);
    succeeds(&mut lego);
    let account = fs::read_dir(place.join("accounts"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let json = fs::read(account.path().join("post@example.test/account.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let url = json["registration"]["uri"].as_str().unwrap();
    let directory = world.pebble.directory();
    let listen = world.address.port(80).to_string();
    let more = [
        "--directory",
        &directory,
        "--challenge",
        "http-01",
        "--listen",
        &listen,
    ];
    ours_by_the_same_account(&world, "lego", &place, url, &more);
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, curl, dehydrated"]
fn long_what_dehydrated_kept_is_renewed_by_its_account_and_its_hook() {
    let world = site(without_postfix);
    let nsupdate = |words: &str| {
        format!(
            "nsupdate -k {} <<END\nserver {} 53\nzone {DOMAIN}.\nupdate {words}\nsend\nEND\n",
            world.bind.key_file().display(),
            world.address.ip()
        )
    };
    let note = world.scratch.path().join("deployed");
    let hook = world.scratch.program(
        "hook",
        format!(
            "#!/bin/sh\ncase $1 in\ndeploy_challenge)\n{};;\nclean_challenge)\n{};;\ndeploy_cert) echo \"$2\" >> {};;\nesac\n",
            nsupdate("add _acme-challenge.$2. 300 IN TXT \"$4\""),
            nsupdate("delete _acme-challenge.$2. IN TXT \"$4\""),
            note.display()
        ),
    );
    let base = world.scratch.dir("lib");
    let config = format!(
        "CA={}\nBASEDIR={}\nHOOK={}\nCHALLENGETYPE=dns-01\nKEY_ALGO=prime256v1\nCURL_OPTS=\"--cacert {}\"\n",
        world.pebble.directory(),
        base.display(),
        hook.display(),
        world.pebble.root_ca_file().display()
    );
    let config = world.scratch.file("dehydrated/config", config);
    world.scratch.file("lib/domains.txt", format!("{HOST}\n"));
    for args in [&["--register", "--accept-terms"][..], &["--cron"]] {
        let mut dehydrated = client(&world, fetched("dehydrated/usr/bin/dehydrated"));
        succeeds(dehydrated.arg("--config").arg(&config).args(args));
    }
    fs::remove_file(&note).unwrap();
    let account = fs::read_dir(base.join("accounts"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let json = fs::read(account.path().join("account_id.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let (place, before) = (config.parent().unwrap(), snapshot(&base));
    ours_by_the_same_account(&world, "dehydrated", place, json["url"].as_str().unwrap(), &[]);
    assert_eq!(snapshot(&base), before);
    assert_eq!(fs::read_to_string(&note).unwrap().lines().count(), 2);
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, curl, acme.sh"]
fn long_what_acme_sh_kept_is_renewed_by_its_account_and_its_key_for_updates() {
    let world = site(|text| {
        let kept = |line: &&str| !line.starts_with("provider =") && !line.starts_with("publish =");
        let lines: Vec<String> = without_postfix(text)
            .lines()
            .filter(kept)
            .map(str::to_owned)
            .collect();
        lines.join("\n") + "\n"
    });
    let tree = world.scratch.path().join("acme.sh");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(fetched("acme.sh/usr/share/acme.sh"))
        .arg(&tree)
        .status();
    assert!(copied.unwrap().success());
    let home = world.scratch.dir("acme-home");
    let installed = world.scratch.path().join("installed.pem");
    let mut acme = client(&world, tree.join("acme.sh"));
    acme.env("NSUPDATE_SERVER", world.address.ip().to_string())
        .env("NSUPDATE_KEY", world.bind.key_file())
        .env("NSUPDATE_ZONE", DOMAIN)
        .args([
            "--issue",
            "--dns",
            "dns_nsupdate",
            "--dnssleep",
            "1",
            "--keylength",
            "ec-256",
        ])
        .args(["--server", &world.pebble.directory(), "-d", HOST, "--home"])
        .arg(&home)
        .arg("--ca-bundle")
        .arg(world.pebble.root_ca_file())
        .arg("--fullchain-file")
        .arg(&installed);
    succeeds(&mut acme);
    let conf = Command::new("grep")
        .args(["-rh", "ACCOUNT_URL="])
        .arg(home.join("ca"))
        .output()
        .unwrap();
    let conf = String::from_utf8(conf.stdout).unwrap();
    let url = conf
        .trim()
        .trim_start_matches("ACCOUNT_URL=")
        .trim_matches('\'')
        .to_owned();
    ours_by_the_same_account(&world, "acme.sh", &home, &url, &[]);
    let text = fs::read_to_string(world.config_file()).unwrap();
    assert!(
        text.contains("type = \"rfc2136\"") && text.contains("reuse_key = \"always\""),
        "{text}"
    );
    // What services read where acme.sh had put it is the new one.
    let fullchain = world
        .state_directory()
        .join("live")
        .join(HOST)
        .join("fullchain.pem");
    assert_eq!(fs::read(&installed).unwrap(), fs::read(fullchain).unwrap());
}
