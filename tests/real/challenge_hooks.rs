//! Challenge responses put in place by programs written for certbot, lego, dehydrated, acme.sh and uacme.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{
    World, WorldOptions,
    foreign::fetched,
    hooks::Notes,
    web::Web,
    world::{DOMAIN, without_postfix},
};

/// Names whose records are not those of the mail host.
const NAME: &str = "hook.example.test";

/// A site without a DNS provider: only the program writes records.
fn world() -> World {
    // The alias leads to a name of its own, as operators delegate challenges to another zone.
    World::with(&WorldOptions {
        records: "_acme-challenge.alias CNAME alias.challenges\n".to_owned(),
        ..WorldOptions::default()
    })
}

/// Configures certificates by dns-01 through this program.
fn by_dns(world: &World, hook: &str, identifiers: &[&str]) {
    configure(
        world,
        &format!("type = \"dns-01\"\nhook = {{ {hook} }}\n"),
        identifiers,
    );
}

fn configure(world: &World, challenge: &str, identifiers: &[&str]) {
    world.write_config(|text| {
        let kept = |line: &&str| {
            !["listen =", "provider =", "publish =", "type = \"http-01\""]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let text: String = without_postfix(text)
            .lines()
            .filter(kept)
            .fold(String::new(), |text, line| text + line + "\n");
        let names = format!("identifiers = {identifiers:?}\n");
        text.replace("[acme.challenge]\n", &format!("[acme.challenge]\n{challenge}"))
            .replace("identifiers = [\"mail.example.test\"]\n", &names)
    });
}

/// An nsupdate as these scripts have it, with one line in its middle.
fn nsupdate(world: &World, line: &str) -> String {
    format!(
        "nsupdate -k {} <<END\nserver {} 53\nzone {DOMAIN}.\n{line}\nsend\nEND\n",
        world.bind.key_file().display(),
        world.address.ip()
    )
}

fn n_told(world: &World) -> usize {
    world.pebble.count_in_log("/chalZ/ -> calling handler")
}

#[track_caller]
fn issued_and_clean(world: &World, names: &[&str]) {
    world.mailcert().run(&["issue"]).expect(0);
    for name in names {
        // The alias has a CNAME record, which stays.
        let owner = match name.strip_prefix("alias.") {
            Some(_) => "alias.challenges.example.test".to_owned(),
            None => format!("_acme-challenge.{name}"),
        };
        assert_eq!(world.bind.dig(&owner, "TXT"), "", "{name}");
    }
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn the_pair_of_a_certbot_user_proves_a_name_and_its_wildcard() {
    let world = world();
    let notes = Notes::new(&world.scratch);
    let value = "_acme-challenge.$CERTBOT_DOMAIN. 60 TXT \"$CERTBOT_VALIDATION\"";
    let auth = format!(
        "set -eu\n{}echo \"zone of $CERTBOT_DOMAIN\"\n",
        nsupdate(&world, &format!("update add {value}"))
    );
    let cleanup = format!(
        "set -eu\ntest \"$CERTBOT_AUTH_OUTPUT\" = \"zone of $CERTBOT_DOMAIN\"\n{}",
        nsupdate(&world, &format!("update delete {}", value.replace(" 60", "")))
    );
    let auth = notes.program(&world.scratch, "auth", &auth);
    let cleanup = notes.program(&world.scratch, "cleanup", &cleanup);
    let deploy = notes.program(&world.scratch, "deploy", "");
    let wildcard = format!("*.{NAME}");
    by_dns(
        &world,
        &format!("style = \"certbot\", run = {auth:?}, cleanup = {cleanup:?}"),
        &[NAME, &wildcard],
    );
    let text = fs::read_to_string(world.config_file()).unwrap();
    world.scratch.file(
        "mailcert.toml",
        format!("{text}[hooks]\ndeploy = [{{ style = \"certbot\", run = {deploy:?} }}]\n"),
    );
    issued_and_clean(&world, &[NAME]);
    let noted = notes.read();
    assert_eq!(notes.lines(), ["auth", "auth", "cleanup", "cleanup", "deploy"]);
    // All are set up before the first is validated, and what is there is added to.
    let remaining: Vec<&str> = noted[..4]
        .iter()
        .map(|noted| noted.var("CERTBOT_REMAINING_CHALLENGES"))
        .collect();
    assert_eq!(remaining, ["1", "0", "1", "0"]);
    assert_ne!(
        noted[0].var("CERTBOT_VALIDATION"),
        noted[1].var("CERTBOT_VALIDATION")
    );
    assert_eq!(noted[0].var("CERTBOT_ALL_DOMAINS"), format!("{NAME},{NAME}"));
    assert!(!noted[0].vars.contains_key("CERTBOT_TOKEN"));
    // certbot leaks these into deploy hooks.
    assert!(
        !noted[4].vars.keys().any(|name| name.starts_with("CERTBOT_")),
        "{:?}",
        noted[4]
    );
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn lego_exec_programs_are_given_where_the_cname_leads() {
    let world = world();
    let notes = Notes::new(&world.scratch);
    let script = format!(
        "set -eu\ncase $1 in\npresent)\n{};;\ncleanup)\n{};;\nesac\n",
        nsupdate(&world, "update add $2 120 IN TXT \"$3\""),
        nsupdate(&world, "update delete $2 IN TXT \"$3\"")
    );
    let program = notes.program(&world.scratch, "exec", &script);
    by_dns(
        &world,
        &format!("style = \"lego-exec\", run = {program:?}"),
        &["alias.example.test"],
    );
    issued_and_clean(&world, &["alias.example.test"]);
    let args: Vec<Vec<String>> = notes
        .read()
        .iter()
        .map(|noted| noted.args[..2].to_vec())
        .collect();
    let name = "alias.challenges.example.test.";
    assert_eq!(args, [["present", name], ["cleanup", name]]);

    // RAW: the program computes the value itself.
    let raw = format!(
        "set -eu\ntest \"$2\" = --\n\
         value=$(printf %s \"$5\" | openssl dgst -sha256 -binary | openssl base64 | tr '+/' '-_' | tr -d '=')\n\
         case $1 in\npresent)\n{};;\ncleanup)\n{};;\nesac\n",
        nsupdate(&world, "update add _acme-challenge.$3. 120 IN TXT \"$value\""),
        nsupdate(&world, "update delete _acme-challenge.$3. IN TXT \"$value\"")
    );
    let program = world.scratch.program("hooks/raw", format!("#!/bin/sh\n{raw}"));
    by_dns(
        &world,
        &format!("style = \"lego-exec-raw\", run = {program:?}"),
        &[NAME],
    );
    issued_and_clean(&world, &[NAME]);
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn a_dehydrated_script_runs_chained_and_one_by_one_and_hears_of_refusals() {
    let world = world();
    let notes = Notes::new(&world.scratch);
    // As the documentation of dehydrated tells to write it: unknown events are ignored.
    let script = format!(
        "handler=$1; shift\ndeploy_challenge() {{\nwhile [ $# -ge 3 ]; do\n{}shift 3\ndone\n}}\n\
         clean_challenge() {{\nwhile [ $# -ge 3 ]; do\n{}shift 3\ndone\n}}\n\
         case $handler in deploy_challenge|clean_challenge) \"$handler\" \"$@\" ;; esac\n",
        nsupdate(&world, "update add _acme-challenge.$1. 300 IN TXT \"$3\""),
        nsupdate(&world, "update delete _acme-challenge.$1. IN TXT \"$3\"")
    );
    let program = notes.program(&world.scratch, "hook.sh", &script);
    let names = ["a.hook.example.test", "b.hook.example.test"];
    let style = format!("style = \"dehydrated\", run = {program:?}");
    by_dns(&world, &style, &names);
    issued_and_clean(&world, &names);
    let events = |notes: &Notes| -> Vec<String> {
        notes
            .read()
            .iter()
            .map(|noted| format!("{} {}", noted.args[0], noted.args.len()))
            .collect()
    };
    assert_eq!(
        events(&notes),
        [
            "deploy_challenge 4",
            "deploy_challenge 4",
            "clean_challenge 4",
            "clean_challenge 4"
        ]
    );
    assert_eq!(notes.read()[0].var("CHALLENGETYPE"), "dns-01");

    notes.clear();
    let names = ["c.hook.example.test", "d.hook.example.test"];
    by_dns(&world, &format!("{style}, chain = true"), &names);
    issued_and_clean(&world, &names);
    assert_eq!(events(&notes), ["deploy_challenge 7", "clean_challenge 7"]);

    // A name that the CA refuses to be asked for, and one that it cannot confirm.
    notes.clear();
    by_dns(&world, &style, &["blocked.example.test"]);
    world.mailcert().run(&["issue"]).expect(1);
    let noted = notes.read();
    assert_eq!(noted[0].args[..2], ["request_failure", "400"], "{noted:?}");
    assert!(noted[0].args[2].contains("rejectedIdentifier"), "{noted:?}");
    notes.clear();
    let nothing = notes.program(&world.scratch, "http.sh", "");
    configure(
        &world,
        &format!("type = \"http-01\"\nhook = {{ style = \"dehydrated\", run = {nothing:?} }}\n"),
        &["mail.example.test"],
    );
    world.mailcert().run(&["issue"]).expect(1);
    let noted = notes.read();
    let lines: Vec<&str> = noted.iter().map(|noted| noted.args[0].as_str()).collect();
    assert_eq!(
        lines,
        ["deploy_challenge", "invalid_challenge", "clean_challenge"]
    );
    assert_eq!(noted[1].args[1], "mail.example.test");
    assert!(
        noted[1].args[2].contains("urn:ietf:params:acme:error:"),
        "{noted:?}"
    );
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, acme.sh"]
fn an_unmodified_acme_sh_writes_the_records() {
    let world = world();
    let tree = world.scratch.path().join("acme.sh");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(fetched("acme.sh/usr/share/acme.sh"))
        .arg(&tree)
        .status()
        .unwrap();
    assert!(copied.success());
    let home = world.scratch.dir("acme-home");
    let credentials = format!(
        "NSUPDATE_SERVER={}\nNSUPDATE_KEY={}\nNSUPDATE_ZONE={DOMAIN}\nLE_WORKING_DIR={home}\nLE_CONFIG_HOME={home}\n",
        world.address.ip(),
        world.bind.key_file().display(),
        home = home.display()
    );
    let env_file = world.scratch.secret_file("acme.env", credentials);
    let hook = |api: &str| {
        format!(
            "style = \"acme.sh\", run = {:?}, dnsapi = {api:?}, env_file = {env_file:?}",
            tree.join("acme.sh")
        )
    };
    by_dns(&world, &hook("dns_none"), &[NAME]);
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(told.stderr.contains("has no dnsapi script dns_none"), "{told}");
    by_dns(&world, &hook("dns_nsupdate"), &[NAME, "alias.example.test"]);
    issued_and_clean(&world, &[NAME, "alias.example.test"]);
    // It remembers credentials in its own way: the next run needs none from us.
    world.scratch.secret_file(
        "acme.env",
        format!("LE_WORKING_DIR={0}\nLE_CONFIG_HOME={0}\n", home.display()),
    );
    world.mailcert().run(&["renew", "--force"]).expect(0);
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, dig, uacme"]
fn uacmes_own_scripts_prove_names_by_dns_and_by_http() {
    let world = world();
    let copy = |name: &str| {
        let text = fs::read_to_string(fetched(&format!("uacme/usr/share/uacme/{name}"))).unwrap();
        world.scratch.program(&format!("uacme/{name}"), text)
    };
    // The script asks the name servers by their names, which only the lab knows.
    let dig = format!(
        "#!/bin/sh\nfor argument; do shift; case $argument in @*) ;; *) set -- \"$@\" \"$argument\" ;; esac; done\n\
         exec dig @{} \"$@\"\n",
        world.address.ip()
    );
    let dig: PathBuf = world.scratch.program("uacme/dig", dig);
    let webroot = world.scratch.dir("webroot");
    let env = format!(
        "UACME_DIG_CMD={}\nUACME_NSUPDATE_SERVER={}\nUACME_NSUPDATE_KEY={}\nUACME_CHALLENGE_PATH={}\n",
        dig.display(),
        world.address.ip(),
        world.bind.key_file().display(),
        webroot.display()
    );
    let env_file = world.scratch.secret_file("uacme.env", env);
    let hook = |program: PathBuf| format!("style = \"uacme\", run = {program:?}, env_file = {env_file:?}");
    by_dns(&world, &hook(copy("nsupdate.sh")), &[NAME]);
    issued_and_clean(&world, &[NAME]);

    let _web = Web::serve(world.address.port(80), &webroot);
    let by_http = hook(copy("uacme.sh"));
    configure(
        &world,
        &format!("type = \"http-01\"\nhook = {{ {by_http} }}\n"),
        &["mail.example.test"],
    );
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(fs::read_dir(&webroot).unwrap().count(), 0);
    // A script that knows one type only declines the other.
    by_dns(&world, &by_http, &["other.hook.example.test"]);
    let before = n_told(&world);
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(told.stderr.contains("it ended with 1"), "{told}");
    assert_eq!(
        n_told(&world),
        before,
        "the CA is not told of a challenge that is not there"
    );
}

/// A stand-in for a TLS server: shows openssl's certificate with this digest, until it is told to stop.
const RESPONDER: &str = r#"
show() {
    printf 'extensions = e\n[e]\nsubjectAltName = DNS:%s\n1.3.6.1.5.5.7.1.31 = critical,DER:0420%s\n' "$1" "$2" >$DIR/x
    printf '[req]\ndistinguished_name = d\n[d]\n' >$DIR/req
    openssl req -new -newkey rsa:2048 -nodes -keyout $DIR/key -subj "/CN=$1" -config $DIR/req -out $DIR/csr 2>/dev/null
    openssl x509 -req -in $DIR/csr -signkey $DIR/key -days 2 -extfile $DIR/x -out $DIR/pem 2>/dev/null
    openssl s_server -accept $PORT -cert $DIR/pem -key $DIR/key -alpn acme-tls/1 -quiet >/dev/null 2>&1 </dev/null &
    echo $! >$DIR/pid
    while ! echo | openssl s_client -connect $PORT >/dev/null 2>&1; do :; done
}
hide() {
    kill "$(cat $DIR/pid)"
    while echo | openssl s_client -connect $PORT >/dev/null 2>&1; do :; done
}
"#;

#[test]
#[ignore = "real: needs named, pebble, openssl, uacme"]
fn tls_alpn_01_is_answered_by_uacmes_own_script_and_by_our_own_kind() {
    let world = world();
    let notes = Notes::new(&world.scratch);
    let directory = world.scratch.dir("responder");
    let port = world.address.port(443);
    let responder = format!("set -eu\nDIR={}\nPORT={port}\n{RESPONDER}", directory.display());
    // uacme's script talks to ualpn, which is compiled for a newer host than the oldest that we test on.
    let ualpn = format!(
        "#!/bin/sh\n{responder}read -r verb name digest\ncase $verb in\nauth) show $name \
         \"$(printf %s= \"$digest\" | tr -- -_ +/ | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')\" ;;\n\
         unauth) hide ;;\nesac\necho OK\n"
    );
    world.scratch.program("uacme/ualpn", ualpn);
    let script = fs::read_to_string(fetched("uacme/usr/share/uacme/ualpn.sh")).unwrap();
    let script = world.scratch.program("uacme/ualpn.sh", script);
    let env = format!("PATH={}/uacme:/usr/bin:/bin\n", world.scratch.path().display());
    let env_file = world.scratch.secret_file("uacme.env", env);
    let configure = |hook: &str| {
        let lines = format!("type = \"tls-alpn-01\"\nhook = {{ {hook} }}\n");
        configure(&world, &lines, &["mail.example.test"]);
    };
    configure(&format!(
        "style = \"uacme\", run = {script:?}, env_file = {env_file:?}"
    ));
    world.mailcert().run(&["issue"]).expect(0);
    std::net::TcpListener::bind(port).expect("nobody listens any more");

    let own = format!(
        "{responder}case $1 in\npresent) show $MAILCERT_IDENTIFIER $MAILCERT_DIGEST_HEX ;;\ncleanup) hide ;;\nesac\n"
    );
    let program = notes.program(&world.scratch, "own", &own);
    configure(&format!("run = {program:?}"));
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(notes.lines(), ["own present", "own cleanup"]);
    std::net::TcpListener::bind(port).expect("nobody listens any more");

    // A digest that is not the right one is the CA's to refuse, and the program's to take away.
    let wrong = own.replace("$MAILCERT_DIGEST_HEX", &"ab".repeat(32));
    let program = notes.program(&world.scratch, "wrong", &wrong);
    configure(&format!("run = {program:?}"));
    let told = world.mailcert().run(&["renew", "--force"]).expect(1);
    assert!(told.stderr.contains("tls-alpn-01"), "{told}");
    std::net::TcpListener::bind(port).expect("nobody listens any more");
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn our_own_kind_reads_json_and_what_fails_is_tried_again_or_later() {
    let world = world();
    let notes = Notes::new(&world.scratch);
    let code = world.scratch.file("code", "3");
    let script = format!(
        "set -eu\ncase $1 in\npresent)\ntest \"$(cat {code})\" = 0 || exit \"$(cat {code})\"\n{};;\ncleanup)\n{};;\nesac\n",
        nsupdate(&world, "update add $MAILCERT_RECORD. 60 TXT \"$MAILCERT_DIGEST\""),
        nsupdate(&world, "update delete $MAILCERT_RECORD. TXT \"$MAILCERT_DIGEST\""),
        code = code.display()
    );
    let program = notes.program(&world.scratch, "own", &script);
    by_dns(&world, &format!("run = {program:?}, retries = 1"), &[NAME]);
    let before = n_told(&world);
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(
        told.stderr.contains("cannot set up dns-01 for hook.example.test"),
        "{told}"
    );
    assert_eq!(n_told(&world), before);
    // Half of it may be there: it is taken away too.
    assert_eq!(notes.lines(), ["own present", "own present", "own cleanup"]);
    fs::write(&code, "75").unwrap();
    let told = world.mailcert().run(&["issue"]).expect(4);
    assert!(told.stderr.contains("try again later"), "{told}");
    notes.clear();
    fs::write(&code, "0").unwrap();
    issued_and_clean(&world, &[NAME]);
    let noted = notes.read();
    let document = |index: usize| -> serde_json::Value { serde_json::from_str(&noted[index].stdin).unwrap() };
    let present = document(0);
    assert_eq!(present["format"], 1);
    assert_eq!(present["challenge"]["type"], "dns-01");
    assert_eq!(
        present["challenge"]["record"]["name"],
        format!("_acme-challenge.{NAME}")
    );
    assert_eq!(
        present["challenge"]["record"]["value"],
        noted[0].var("MAILCERT_DIGEST")
    );
    assert_eq!(document(1)["challenge"]["confirmed"], true);

    // A rehearsal runs challenge hooks, and no others.
    let deploy = notes.program(&world.scratch, "deploy", "");
    let text = fs::read_to_string(world.config_file()).unwrap();
    world.scratch.file(
        "mailcert.toml",
        format!("{text}[hooks]\ndeploy = [{{ run = {deploy:?} }}]\n"),
    );
    notes.clear();
    world.mailcert().run(&["renew", "--dry-run"]).expect(0);
    assert_eq!(notes.lines(), ["own present", "own cleanup"]);
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn a_program_that_replaces_instead_of_adding_is_told_before_the_ca_is() {
    let world = world();
    let script = format!(
        "#!/bin/sh\ncase $1 in\npresent)\n{};;\nesac\n",
        nsupdate(&world, "update delete $2 TXT\nupdate add $2 60 TXT \"$3\"")
    );
    let program = world.scratch.program("hooks/replaces", script);
    let wildcard = format!("*.{NAME}");
    by_dns(
        &world,
        &format!("style = \"lego-exec\", run = {program:?}"),
        &[NAME, &wildcard],
    );
    let text = fs::read_to_string(world.config_file()).unwrap();
    world.scratch.file(
        "mailcert.toml",
        text.replace("[dns]\n", "[dns]\ntimeout = \"2s\"\n"),
    );
    let before = n_told(&world);
    let told = world.mailcert().run(&["issue"]);
    assert_ne!(told.code, 0);
    assert!(
        told.stderr.contains("_acme-challenge.hook.example.test"),
        "{told}"
    );
    assert_eq!(n_told(&world), before);
}
