//! Accounts at a real CA: bound to a customer's account, looked at, given another key whatever happens meanwhile, ended.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Fault, FaultyCa, Outcome, PebbleOptions, World, WorldOptions,
    server::wait_until,
    world::{HOST, without_postfix},
};

/// A key of a customer's account as CAs show it, and another one that is well-formed too.
const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const OTHER_KEY: &str = "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH";

fn bound_world() -> World {
    let mut pebble = PebbleOptions::quiet();
    pebble.config = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": EAB_KEY },
    });
    World::with(&WorldOptions {
        pebble,
        ..WorldOptions::default()
    })
}

/// The files of accounts, by name, with what is in them.
fn accounts(world: &World) -> Vec<(String, Value)> {
    let entries = fs::read_dir(world.state_directory().join("accounts"));
    let mut files: Vec<(String, Value)> = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with(".limits.json"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn shown(world: &World) -> Value {
    let outcome = world.mailcert().run(&["account", "show", "--format", "json"]);
    outcome.expect(0).json()["account"].clone()
}

fn tells_nothing_of_the_keys(told: &Outcome) {
    let all = format!("{}{}", told.stdout, told.stderr);
    for secret in [EAB_KEY, OTHER_KEY] {
        assert!(!all.contains(&secret[..12]), "{told}");
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_new_account_is_bound_to_a_customer_s_and_what_is_wrong_with_that_is_told() {
    let world = bound_world();
    let file = |key: &str| world.scratch.secret_file("eab-key", key);
    let with = |eab: String| {
        world.write_config(|text| without_postfix(text).replace("[acme]\n", &format!("[acme]\n{eab}\n")));
    };
    let from_file = |id: &str| {
        format!(
            "eab = {{ key_id = \"{id}\", hmac_key_file = {:?} }}",
            file(EAB_KEY)
        )
    };

    world.write_config(without_postfix);
    let told = world.mailcert().run(&["issue"]).expect(1);
    for words in [
        "wants new accounts bound to a customer's",
        "acme.eab = {",
        "--eab-key-id",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }

    with(from_file("kid-2"));
    let told = world.mailcert().run(&["renew", "--force"]).expect(1);
    for words in [
        "key identifier `kid-2`",
        "not known to the ACME server",
        "compare key identifier",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }

    with(from_file("kid-1"));
    file(OTHER_KEY);
    let told = world.mailcert().run(&["renew", "--force"]).expect(1);
    for words in [
        "key identifier `kid-1`",
        "verification error",
        "take each pair only once",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    tells_nothing_of_the_keys(&told);

    let path = file(&format!("\"{EAB_KEY}\""));
    let told = world.mailcert().run(&["renew", "--force"]).expect(1);
    for words in [path.to_str().unwrap(), "base64url"] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    tells_nothing_of_the_keys(&told);
    fs::remove_file(&path).unwrap();
    let told = world.mailcert().run(&["renew", "--force"]).expect(1);
    assert!(told.stderr.contains(path.to_str().unwrap()), "{told}");

    assert_eq!(world.pebble.count_in_log("There are now 1 accounts"), 0);
    with("eab = { key_id = \"kid-1\", hmac_key_env = \"EAB_KEY\" }".to_owned());
    let mut mailcert = world.mailcert();
    mailcert
        .vars
        .insert("EAB_KEY".into(), format!("{EAB_KEY}\n").into());
    mailcert.run(&["renew", "--force"]).expect(0);
    assert_eq!(world.pebble.count_in_log("Successful newAccount Binding"), 1);
    // The account is there: what it was bound by is not needed any more.
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(world.pebble.count_in_log("accounts in memory"), 1);
    assert_eq!(shown(&world)["bound"], true);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn init_takes_what_the_ca_gave_its_customer() {
    let world = bound_world();
    let mailcert = world.mailcert();
    world.write_answers();
    let begun = fs::read_to_string(world.config_file()).unwrap();
    let args = world.init_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let disagreeing: Vec<&str> = args
        .iter()
        .copied()
        .filter(|arg| *arg != "--agree-to-terms")
        .collect();
    let told = mailcert.run(&disagreeing).expect(2);
    for words in ["bound to a customer's", "--eab-key-id KID"] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert_eq!(fs::read_to_string(world.config_file()).unwrap(), begun);
    let key = world.scratch.secret_file("eab-key", EAB_KEY);
    let with = |key_id: &str| {
        let more = [
            "--eab-key-id",
            key_id,
            "--eab-hmac-key-file",
            key.to_str().unwrap(),
        ];
        mailcert.run(&[&args[..], &more].concat())
    };
    let told = with("kid 1").expect(2);
    assert!(told.stderr.contains("no blanks"), "{told}");
    with("kid-1").expect(0);
    let text = fs::read_to_string(world.config_file()).unwrap();
    assert!(
        text.contains("key_id = \"kid-1\"") && !text.contains(EAB_KEY),
        "{text}"
    );
    assert_eq!(world.record(HOST)["state"], "verified");
    // The file is the answers: nothing has to be said twice.
    mailcert.run(&args).expect(0);
    assert_eq!(fs::read_to_string(world.config_file()).unwrap(), text);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn registers_at_a_ca_that_wants_a_customer_s_account_and_orders_need_nothing_more() {
    let world = bound_world();
    world.write_config(without_postfix);
    let mailcert = world.mailcert();
    let key = world.scratch.secret_file("eab-key", EAB_KEY);
    let key = key.to_str().unwrap();
    for (args, words) in [
        (&["--eab-key-id", "kid-1"][..], "--eab-hmac-key-file"),
        (&["--eab-hmac-key-file", key], "--eab-key-id"),
        (
            &["--eab-key-id", "kid-1", "--eab-hmac-key-file", "/nonexistent"],
            "/nonexistent",
        ),
        (&["--directory", "zerosll"], "did you mean `zerossl`?"),
        (&["--directory", "http://ca.test/"], "must be an https URL"),
    ] {
        let told = mailcert.run(&[&["account", "register"], args].concat()).expect(2);
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    let register = [
        "account",
        "register",
        "--eab-key-id",
        "kid-1",
        "--eab-hmac-key-file",
        key,
    ];
    let told = mailcert.run(&register).expect(0);
    assert!(
        told.stdout.contains("registered") && told.stdout.contains("valid"),
        "{told}"
    );
    let again = mailcert.run(&["account", "register"]).expect(0);
    assert!(again.stdout.contains("was registered already"), "{again}");
    assert_eq!(world.pebble.count_in_log("accounts in memory"), 1);
    mailcert.run(&["issue"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn another_ca_s_terms_are_agreed_to_on_their_own() {
    let world = World::start();
    let own = world.pebble.directory();
    // The CA that the configuration orders from is another one.
    world.write_config(|text| without_postfix(text).replace(&own, "https://127.0.0.1:9/dir"));
    let register = ["account", "register", "--directory", &own];
    let told = world.mailcert().run(&register).expect(2);
    assert!(told.stderr.contains("--agree-to-terms"), "{told}");
    let told = world
        .mailcert()
        .run(&[&register[..], &["--agree-to-terms"]].concat())
        .expect(0);
    assert!(told.stdout.contains("nothing is ordered there"), "{told}");
    world
        .mailcert()
        .run(&["account", "show", "--directory", &own])
        .expect(0);
    let told = world.mailcert().run(&["account", "show"]).expect(1);
    assert!(told.stderr.contains("127.0.0.1:9"), "{told}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_account_is_shown_as_the_ca_has_it_and_told_of_new_contacts() {
    let world = World::start();
    let with = |contact: &str| {
        let line = format!("[acme]\ncontact = {contact}\n");
        world.write_config(|text| without_postfix(text).replace("[acme]\n", &line));
    };
    with("[]");
    let told = world.mailcert().run(&["account", "show"]).expect(1);
    assert!(told.stderr.contains("account register"), "{told}");
    world.mailcert().run(&["issue"]).expect(0);
    let account = shown(&world);
    assert_eq!(
        (&account["status"], &account["contact"]),
        (&json!("valid"), &json!([]))
    );
    assert!(account["url"].as_str().unwrap().contains("/my-account/"));
    assert_eq!(account["thumbprint"].as_str().unwrap().len(), 43);
    assert_eq!(
        PathBuf::from(account["file"].as_str().unwrap())
            .file_name()
            .unwrap()
            .to_str()
            .unwrap(),
        accounts(&world)[0].0
    );

    with("[\"mailto:a@example.test\"]");
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(shown(&world)["contact"], json!(["mailto:a@example.test"]));
    with("[]");
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(shown(&world)["contact"], json!([]));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_deactivated_account_stays_ended_until_a_new_one_is_wanted() {
    let world = World::start();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    let uncapped = "[renew]\nmax_per_day = 0\nmax_per_week = 0\n";
    world.write_config(|text| {
        front
            .configure(&without_postfix(text), &world.pebble)
            .replace("[renew]\n", uncapped)
    });
    world.mailcert().run(&["issue"]).expect(0);
    let first = shown(&world);
    let before = accounts(&world);

    let told = world.mailcert().run(&["account", "deactivate"]).expect(2);
    assert!(
        told.stderr.contains("a yes is needed") && told.stderr.contains(HOST),
        "{told}"
    );
    world
        .mailcert()
        .run_at_terminal(&["account", "deactivate"], "no\n")
        .expect(2);
    assert_eq!((shown(&world), accounts(&world)), (first.clone(), before.clone()));

    // A CA that says yes and does nothing is not believed.
    let object = r#"{"status": "valid", "contact": []}"#;
    let answer = Fault::status(
        "200 OK",
        "Replay-Nonce: n\r\nContent-Type: application/json\r\n",
        object,
    );
    front.fail("POST /my-account/", answer);
    let told = world
        .mailcert()
        .run(&["account", "deactivate", "--yes"])
        .expect(1);
    assert!(
        told.stderr.contains("not deactivated") && told.stderr.contains("`valid`"),
        "{told}"
    );
    assert_eq!(accounts(&world), before);

    // It is done, but the answer is lost: the next run sees that, and puts the file aside.
    front.fail("POST /my-account/", Fault::CutAfter);
    world
        .mailcert()
        .run(&["account", "deactivate", "--yes"])
        .expect(1);
    front.heal();
    assert_eq!(accounts(&world), before);
    let told = world.mailcert().run(&["renew", "--force"]).expect(1);
    assert!(told.stderr.contains("account register"), "{told}");
    world
        .mailcert()
        .run_at_terminal(&["account", "deactivate"], "yes\n")
        .expect(0);
    let after = accounts(&world);
    assert_eq!(after.len(), 1);
    assert!(after[0].0.ends_with(".deactivated-1.json"), "{after:?}");
    assert_eq!(after[0].1, before[0].1);

    for args in [
        &["renew", "--force"][..],
        &["account", "show"],
        &["account", "rollover"],
    ] {
        let told = world.mailcert().run(args).expect(1);
        assert!(
            told.stderr.contains("was deactivated") && told.stderr.contains("account register"),
            "{args:?}: {told}"
        );
    }
    world.mailcert().run(&["account", "register"]).expect(0);
    assert_ne!(shown(&world)["url"], first["url"]);
    world.mailcert().run(&["renew", "--force"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_account_that_was_ended_elsewhere_is_put_aside_by_register() {
    let world = World::start();
    world.write_config(without_postfix);
    world.mailcert().run(&["issue"]).expect(0);
    let file = world
        .state_directory()
        .join("accounts")
        .join(&accounts(&world)[0].0);
    let kept = fs::read(&file).unwrap();
    world
        .mailcert()
        .run(&["account", "deactivate", "--yes"])
        .expect(0);
    fs::write(&file, kept).unwrap();
    let told = world.mailcert().run(&["account", "register"]).expect(0);
    assert!(told.stdout.contains("deactivated-2.json"), "{told}");
    world.mailcert().run(&["renew", "--force"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_key_is_changed_and_the_account_stays() {
    let world = World::start();
    world.write_config(without_postfix);
    let told = world.mailcert().run(&["account", "rollover"]).expect(1);
    assert!(told.stderr.contains("there is no account"), "{told}");
    world.mailcert().run(&["issue"]).expect(0);
    let before = shown(&world);
    let told = world.mailcert().run(&["account", "rollover"]).expect(0);
    let after = shown(&world);
    assert_eq!(before["url"], after["url"]);
    assert_ne!(before["thumbprint"], after["thumbprint"]);
    assert!(
        told.stdout.contains(after["thumbprint"].as_str().unwrap()),
        "{told}"
    );
    let (_, file) = &accounts(&world)[0];
    assert_eq!((&file["version"], file.get("next_key_pkcs8")), (&json!(1), None));
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_change_of_keys_is_finished_wherever_the_run_was_killed() {
    let world = World::start();
    let front = FaultyCa::start(&world.scratch, &world.pebble);
    let uncapped = "[renew]\nmax_per_day = 0\nmax_per_week = 0\n";
    world.write_config(|text| {
        front
            .configure(&without_postfix(text), &world.pebble)
            .replace("[renew]\n", uncapped)
    });
    world.mailcert().run(&["issue"]).expect(0);
    for (fault, is_changed) in [(Fault::Silence, false), (Fault::SilenceAfter, true)] {
        let (before, n_silent) = (shown(&world), front.n_silent());
        front.fail("POST /rollover-account-key", fault);
        let run = world.mailcert().spawn(&["account", "rollover"]);
        wait_until("the CA is asked", || front.n_silent() > n_silent);
        // The new key is on disk at this very moment, and an older program leaves the file alone.
        let (_, file) = &accounts(&world)[0];
        assert!(
            file["next_key_pkcs8"].is_string() && file["version"] == 2,
            "{file}"
        );
        run.kill();
        front.heal();
        assert_eq!(shown(&world)["thumbprint"] != before["thumbprint"], is_changed);
        // Orders go on under whichever key the CA has.
        world.mailcert().run(&["renew", "--force"]).expect(0);
        let proposed = file["next_key_pkcs8"].clone();
        world.mailcert().run(&["account", "rollover"]).expect(0);
        let after = shown(&world);
        assert_eq!(after["url"], before["url"]);
        assert_ne!(after["thumbprint"], before["thumbprint"]);
        if !is_changed {
            // The key that was proposed is used, not another one.
            assert_eq!(accounts(&world)[0].1["key_pkcs8"], proposed);
        }
        assert!(accounts(&world)[0].1.get("next_key_pkcs8").is_none());
        world.mailcert().run(&["renew", "--force"]).expect(0);
    }
    // Answers that do not come: told, and finished by the next run.
    for fault in [Fault::CutBefore, Fault::CutAfter] {
        let before = shown(&world);
        front.fail("POST /rollover-account-key", fault);
        let told = world.mailcert().run(&["account", "rollover"]).expect(1);
        assert!(told.stderr.contains("both keys are kept"), "{told}");
        front.heal();
        world.mailcert().run(&["account", "rollover"]).expect(0);
        assert_ne!(shown(&world)["thumbprint"], before["thumbprint"]);
    }
    // A refusal: the old key stays, and nothing is left of the new one.
    let before = shown(&world);
    let body = r#"{"type": "urn:ietf:params:acme:error:malformed", "detail": "no such service today"}"#;
    front.fail(
        "POST /rollover-account-key",
        Fault::status("400 Bad Request", "Replay-Nonce: n\r\n", body),
    );
    let told = world.mailcert().run(&["account", "rollover"]).expect(1);
    assert!(
        told.stderr.contains("no such service today") && told.stderr.contains("old key stays"),
        "{told}"
    );
    front.heal();
    assert_eq!(shown(&world), before);
    assert!(accounts(&world)[0].1.get("next_key_pkcs8").is_none());
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, strace"]
fn a_change_of_keys_survives_a_kill_before_every_rename_and_sync() {
    let world = World::start();
    world.write_config(without_postfix);
    world.mailcert().run(&["account", "register"]).expect(0);
    let url = shown(&world)["url"].clone();
    let mut n_killed = 0;
    for calls in [
        "rename,renameat,renameat2",
        "fsync,fdatasync",
        "write,writev,sendto,sendmsg",
    ] {
        for n in 1..80 {
            let program = world.mailcert().command(&["account", "rollover"]);
            let ended = Command::new("strace")
                .args([
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    &format!("trace={calls}"),
                    "-e",
                ])
                .arg(format!("inject={calls}:signal=SIGKILL:when={n}"))
                .arg(program.get_program())
                .args(program.get_args())
                .output()
                .unwrap();
            let account = shown(&world);
            assert_eq!(
                (&account["url"], &account["status"]),
                (&url, &json!("valid")),
                "{calls} {n}"
            );
            if ended.status.success() {
                break;
            }
            n_killed += 1;
            // Every fourth time, the next run finishes it; else the next rollover is killed as well.
            if n % 4 == 0 {
                world.mailcert().run(&["account", "rollover"]).expect(0);
            }
        }
    }
    assert!(n_killed > 8, "{n_killed}");
    world.mailcert().run(&["account", "rollover"]).expect(0);
    assert_eq!(shown(&world)["url"], url);
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
}
