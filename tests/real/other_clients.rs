//! The same programs under the clients that they were written for and under mailcert: what they are given is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::support::{
    World,
    foreign::fetched,
    hooks::{Noted, Notes},
    world::{DOMAIN, without_postfix},
};

/// Two names in one certificate.
const NAMES: [&str; 2] = ["a.hook.example.test", "b.hook.example.test"];

/// A site with programs that note their runs, and write records where they are asked to.
struct Lab {
    notes: Notes,
    world: World,
}

impl Lab {
    fn start() -> Self {
        let world = World::start();
        Self {
            notes: Notes::new(&world.scratch),
            world,
        }
    }

    fn program(&self, name: &str, then: &str) -> PathBuf {
        self.notes.program(&self.world.scratch, name, then)
    }

    /// Shell text that adds or deletes what the words say.
    fn nsupdate(&self, words: &str) -> String {
        format!(
            "nsupdate -k {} <<END\nserver {} 53\nzone {DOMAIN}.\nupdate {words}\nsend\nEND\n",
            self.world.bind.key_file().display(),
            self.world.address.ip()
        )
    }

    /// Prepares another client: nothing of our environment but where the CA's root is.
    fn client(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        let root = self.world.pebble.root_ca_file();
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.world.scratch.dir("home"))
            .env("REQUESTS_CA_BUNDLE", root)
            .env("LEGO_CA_CERTIFICATES", root)
            .stdin(Stdio::null());
        command
    }

    /// Runs another client to its end, and returns what its hooks noted.
    fn noted_by(&self, command: &mut Command) -> Vec<Noted> {
        self.notes.clear();
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        self.notes.read()
    }

    /// Runs mailcert with a challenge and hooks, and returns what its hooks noted.
    fn noted_by_us(&self, challenge: &str, hooks: &str) -> Vec<Noted> {
        self.world.write_config(|text| {
            let kept = |line: &&str| {
                !["listen =", "provider =", "publish =", "type = \"http-01\""]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            let text: Vec<String> = without_postfix(text)
                .lines()
                .filter(kept)
                .map(str::to_owned)
                .collect();
            let challenge = format!("[acme.challenge]\ntype = \"dns-01\"\nhook = {{ {challenge} }}");
            let names = format!("identifiers = {NAMES:?}");
            let text = text
                .join("\n")
                .replace("[acme]", "[acme]\ncontact = [\"mailto:post@example.test\"]")
                .replace("[acme.challenge]", &challenge)
                .replace("identifiers = [\"mail.example.test\"]", &names);
            format!("{text}\n[hooks]\n{hooks}\n")
        });
        self.notes.clear();
        self.world.mailcert().run(&["issue"]).expect(0);
        self.notes.read()
    }
}

/// Returns the variables whose names begin so.
fn variables(noted: &Noted, prefixes: &[&str]) -> BTreeMap<String, String> {
    let wanted = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let names = noted.vars.keys().filter(wanted);
    names
        .map(|name| (name.clone(), noted.vars[name].clone()))
        .collect()
}

fn names(noted: &Noted, prefixes: &[&str]) -> BTreeSet<String> {
    variables(noted, prefixes).into_keys().collect()
}

fn programs(noted: &[Noted]) -> Vec<&str> {
    noted.iter().map(|noted| noted.name.as_str()).collect()
}

/// Returns the arguments with what differs from run to run replaced: long values, numbers of seconds, directories.
fn shape(noted: &Noted) -> Vec<String> {
    let one = |arg: &String| match arg {
        arg if arg.starts_with('/') => arg.rsplit('/').next().unwrap_or_default().to_owned(),
        arg if arg.len() == 10 && arg.bytes().all(|byte| byte.is_ascii_digit()) => "SECONDS".to_owned(),
        arg if arg.len() >= 43 => format!("{}.{}", arg.len(), arg.matches('.').count()),
        arg => arg.clone(),
    };
    noted.args.iter().map(one).collect()
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, certbot"]
fn long_certbot_gives_its_hooks_what_we_give_them() {
    let lab = Lab::start();
    let value = "_acme-challenge.$CERTBOT_DOMAIN. ";
    let auth = lab.nsupdate(&format!("add {value} 60 TXT \"$CERTBOT_VALIDATION\""));
    let clean = lab.nsupdate(&format!("delete {value} TXT \"$CERTBOT_VALIDATION\""));
    let auth = lab.program("auth", &format!("{auth}echo \"told of $CERTBOT_DOMAIN\""));
    let clean = lab.program("clean", &clean);
    let [pre, deploy, post] = ["pre", "deploy", "post"].map(|name| lab.program(name, ""));
    let mut certbot = lab.client(fetched("certbot/bin/certbot"));
    for (option, directory) in [
        ("--config-dir", "etc"),
        ("--work-dir", "lib"),
        ("--logs-dir", "log"),
    ] {
        certbot
            .arg(option)
            .arg(lab.world.scratch.dir(&format!("certbot/{directory}")));
    }
    certbot.args([
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--email",
        "post@example.test",
    ]);
    certbot.args([
        "--manual",
        "--preferred-challenges",
        "dns",
        "--server",
        &lab.world.pebble.directory(),
    ]);
    for (option, program) in [
        ("--manual-auth-hook", &auth),
        ("--manual-cleanup-hook", &clean),
        ("--pre-hook", &pre),
        ("--deploy-hook", &deploy),
        ("--post-hook", &post),
    ] {
        certbot.arg(option).arg(program);
    }
    for name in NAMES {
        certbot.args(["-d", name]);
    }
    let theirs = lab.noted_by(&mut certbot);
    let ours = lab.noted_by_us(
        &format!("style = \"certbot\", run = {auth:?}, cleanup = {clean:?}"),
        &format!(
            "pre = [{{ style = \"certbot\", run = {pre:?} }}]\ndeploy = [{{ style = \"certbot\", run = {deploy:?} }}]\n\
             post = [{{ style = \"certbot\", run = {post:?} }}]"
        ),
    );
    assert_eq!(programs(&ours), programs(&theirs));
    assert_eq!(
        programs(&ours),
        ["pre", "auth", "auth", "clean", "clean", "deploy", "post"]
    );
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.args, theirs.args, "{}", ours.name);
        // certbot leaks what its authenticator was given into every later hook.
        let prefixes: &[&str] = match ours.name.as_str() {
            "auth" | "clean" => &["CERTBOT_", "RENEWED_", "FAILED_"],
            "pre" => &["CERTBOT_"],
            "post" => &["RENEWED_DOMAINS", "FAILED_"],
            _ => &["RENEWED_", "FAILED_"],
        };
        assert_eq!(names(ours, prefixes), names(theirs, prefixes), "{}", ours.name);
        assert!(ours.name == "auth" || ours.name == "clean" || names(ours, &["CERTBOT_"]).is_empty());
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split([' ', ',']).map(str::to_owned).collect();
            words.sort();
            words
        };
        for name in names(ours, prefixes) {
            if name.ends_with("_DOMAINS") || name.ends_with("_CHALLENGES") {
                assert_eq!(
                    sorted(ours.var(&name)),
                    sorted(theirs.var(&name)),
                    "{} {name}",
                    ours.name
                );
            }
        }
        let output = format!("told of {}", ours.var("CERTBOT_DOMAIN"));
        assert!(
            ours.name != "clean" || ours.var("CERTBOT_AUTH_OUTPUT") == output,
            "{ours:?}"
        );
    }
    let files = |noted: &Noted| -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(noted.var("RENEWED_LINEAGE"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "README")
            .collect();
        all.sort();
        all
    };
    let of = |all: &[Noted]| {
        all.iter()
            .find(|noted| noted.name == "deploy")
            .map(files)
            .unwrap()
    };
    for file in of(&theirs) {
        assert!(of(&ours).contains(&file), "{file}");
    }
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, lego"]
fn long_lego_gives_its_programs_what_we_give_them() {
    let lab = Lab::start();
    let case = |present: String, cleanup: String| {
        format!("case $1 in\npresent)\n{present};;\ncleanup)\n{cleanup};;\nesac\n")
    };
    let plain = case(
        lab.nsupdate("add $2 120 IN TXT \"$3\""),
        lab.nsupdate("delete $2 IN TXT \"$3\""),
    );
    let digest = "value=$(printf %s \"$5\" | openssl dgst -sha256 -binary | openssl base64 | tr '+/' '-_' | tr -d '=')\n";
    let raw = case(
        lab.nsupdate("add _acme-challenge.$3. 120 IN TXT \"$value\""),
        lab.nsupdate("delete _acme-challenge.$3. IN TXT \"$value\""),
    );
    let raw = format!("{digest}{raw}");
    let deploy = lab.program("deploy", "");
    for (mode, style, script) in [("", "lego-exec", plain), ("RAW", "lego-exec-raw", raw)] {
        let exec = lab.program("exec", &script);
        let mut lego = lab.client(fetched("lego/usr/bin/lego"));
        lego.env("EXEC_PATH", &exec)
            .env("EXEC_MODE", mode)
            .env("EXEC_SEQUENCE_INTERVAL", "1")
            .arg("--server")
            .arg(lab.world.pebble.directory())
            .arg("--path")
            .arg(lab.world.scratch.dir(&format!("lego{mode}")))
            .args([
                "--email",
                "post@example.test",
                "--accept-tos",
                "--pem",
                "--dns",
                "exec",
            ])
            .args(["--dns.resolvers", &lab.world.bind.address().to_string()])
            .args(["--dns.propagation-wait", "1s"]);
        for name in NAMES {
            lego.args(["--domains", name]);
        }
        lego.arg("run").arg("--run-hook").arg(&deploy);
        let theirs = lab.noted_by(&mut lego);
        let state = lab.world.state_directory();
        if state.exists() {
            fs::remove_dir_all(state).unwrap();
        }
        let ours = lab.noted_by_us(
            &format!("style = {style:?}, run = {exec:?}"),
            &format!("deploy = [{{ style = \"lego4\", run = {deploy:?} }}]"),
        );
        // lego proves one name after the other; here all are set up before the first is proven.
        let sorted = |all: &[Noted]| {
            let mut calls: Vec<Vec<String>> = all
                .iter()
                .filter(|noted| noted.name == "exec")
                .map(shape)
                .collect();
            calls.sort();
            calls
        };
        assert_eq!(sorted(&ours).len(), 4);
        assert_eq!(sorted(&ours), sorted(&theirs), "{style}");
        let (our, their) = (ours.last().unwrap(), theirs.last().unwrap());
        assert_eq!((our.name.as_str(), their.name.as_str()), ("deploy", "deploy"));
        assert_eq!(our.args, their.args);
        let prefixes = ["LEGO_ACCOUNT", "LEGO_CERT_", "LEGO_ISSUER"];
        let mut their_names = names(their, &prefixes);
        their_names.remove("LEGO_CERT_PFX_PATH");
        assert_eq!(names(our, &prefixes), their_names);
        for name in ["LEGO_ACCOUNT_EMAIL", "LEGO_CERT_DOMAIN"] {
            assert_eq!(our.var(name), their.var(name), "{name}");
        }
        // The files hold the same kinds of things.
        for name in [
            "LEGO_CERT_PATH",
            "LEGO_CERT_KEY_PATH",
            "LEGO_ISSUER_CERT_PATH",
            "LEGO_CERT_PEM_PATH",
        ] {
            let count = |noted: &Noted| {
                let text = fs::read_to_string(noted.var(name)).unwrap();
                (
                    text.matches("BEGIN CERTIFICATE").count(),
                    text.matches("PRIVATE KEY-----").count() / 2,
                )
            };
            assert_eq!(count(our), count(their), "{name}");
        }
    }
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, curl, dehydrated"]
fn long_dehydrated_gives_its_script_what_we_give_it() {
    let lab = Lab::start();
    let hook = lab.program(
        "hook",
        &format!(
            "case $1 in\ndeploy_challenge)\n{};;\nclean_challenge)\n{};;\nesac\n",
            lab.nsupdate("add _acme-challenge.$2. 300 IN TXT \"$4\""),
            lab.nsupdate("delete _acme-challenge.$2. IN TXT \"$4\"")
        ),
    );
    let base = lab.world.scratch.dir("dehydrated");
    let config = format!(
        "CA={}\nBASEDIR={}\nHOOK={}\nCHALLENGETYPE=dns-01\nKEY_ALGO=prime256v1\nCONTACT_EMAIL=post@example.test\n\
         CURL_OPTS=\"--cacert {}\"\n",
        lab.world.pebble.directory(),
        base.display(),
        hook.display(),
        lab.world.pebble.root_ca_file().display()
    );
    let config = lab.world.scratch.file("dehydrated/config", config);
    let dehydrated = |args: &[&str]| {
        let mut command = lab.client(fetched("dehydrated/usr/bin/dehydrated"));
        command.arg("--config").arg(&config).args(args);
        command
    };
    lab.noted_by(&mut dehydrated(&["--register", "--accept-terms"]));
    let theirs = lab.noted_by(&mut dehydrated(&["--cron", "--domain", &NAMES.join(" ")]));
    let of_style = format!("{{ style = \"dehydrated\", run = {hook:?} }}");
    let ours = lab.noted_by_us(
        &format!("style = \"dehydrated\", run = {hook:?}"),
        &format!("pre = [{of_style}]\ndeploy = [{of_style}]\npost = [{of_style}]"),
    );
    // What it asks besides has no counterpart here: whether the script ignores what it does not know, a request of its
    // own, and files that are not linked yet.
    let asked = |noted: &&Noted| {
        let event = &noted.args[0];
        !event.starts_with("this_hookscript_is_broken")
            && !["generate_csr", "sync_cert"].contains(&event.as_str())
    };
    let theirs: Vec<&Noted> = theirs.iter().filter(asked).collect();
    let ours: Vec<&Noted> = ours.iter().collect();
    let events = |all: &[&Noted]| -> Vec<String> { all.iter().map(|noted| noted.args[0].clone()).collect() };
    assert_eq!(events(&ours), events(&theirs));
    assert_eq!(
        events(&ours),
        [
            "startup_hook",
            "deploy_challenge",
            "deploy_challenge",
            "clean_challenge",
            "clean_challenge",
            "deploy_cert",
            "exit_hook"
        ]
    );
    let sorted = |all: &[&Noted]| {
        let mut all: Vec<Vec<String>> = all.iter().map(|noted| shape(noted)).collect();
        all.sort();
        all
    };
    let tokens = |mut all: Vec<Vec<String>>| {
        // Tokens are random, and of the CA's own length.
        for args in &mut all {
            if args[0].ends_with("_challenge") {
                args[2].clear();
            }
        }
        all
    };
    assert_eq!(tokens(sorted(&ours)), tokens(sorted(&theirs)));
    let exported = [
        "ALPNCERTDIR",
        "BASEDIR",
        "CERTDIR",
        "CHALLENGETYPE",
        "COMMAND",
        "CONFIG",
        "KEY_ALGO",
        "PRIVATE_KEY_ROLLOVER",
        "WELLKNOWN",
        "altnames",
    ];
    let missing = |event: &str| -> Vec<String> {
        let of = |all: &[&Noted]| {
            let noted = all.iter().find(|noted| noted.args[0] == event).unwrap();
            names(noted, &exported)
        };
        of(&theirs).difference(&of(&ours)).cloned().collect()
    };
    // Directories that only dehydrated has, and a configuration that only it can read.
    assert_eq!(missing("deploy_cert"), ["ALPNCERTDIR", "CONFIG", "WELLKNOWN"]);
    assert_eq!(
        missing("deploy_challenge"),
        [
            "ALPNCERTDIR",
            "CONFIG",
            "KEY_ALGO",
            "PRIVATE_KEY_ROLLOVER",
            "WELLKNOWN"
        ]
    );
    let var = |all: &[&Noted], name: &str| {
        let noted = all.iter().find(|noted| noted.args[0] == "deploy_cert").unwrap();
        noted.var(name).to_owned()
    };
    for name in [
        "KEY_ALGO",
        "CHALLENGETYPE",
        "COMMAND",
        "PRIVATE_KEY_ROLLOVER",
        "altnames",
    ] {
        assert_eq!(var(&ours, name), var(&theirs, name), "{name}");
    }
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, curl, acme.sh"]
fn long_acme_sh_gives_its_commands_what_we_give_them() {
    let lab = Lab::start();
    let tree = lab.world.scratch.path().join("acme.sh");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(fetched("acme.sh/usr/share/acme.sh"))
        .arg(&tree)
        .status();
    assert!(copied.unwrap().success());
    let home = lab.world.scratch.dir("acme-home");
    let credentials = [
        ("NSUPDATE_SERVER", lab.world.address.ip().to_string()),
        ("NSUPDATE_KEY", lab.world.bind.key_file().display().to_string()),
        ("NSUPDATE_ZONE", DOMAIN.to_owned()),
    ];
    let [pre, reload, post] = ["pre", "reload", "post"].map(|name| lab.program(name, ""));
    let mut acme = lab.client(tree.join("acme.sh"));
    acme.envs(credentials.iter().map(|(name, value)| (*name, value)))
        .args([
            "--issue",
            "--dns",
            "dns_nsupdate",
            "--dnssleep",
            "1",
            "--keylength",
            "ec-256",
            "--home",
        ])
        .arg(&home)
        .args(["--server", &lab.world.pebble.directory(), "--ca-bundle"])
        .arg(lab.world.pebble.root_ca_file())
        .arg("--pre-hook")
        .arg(&pre)
        .arg("--post-hook")
        .arg(&post)
        .arg("--reloadcmd")
        .arg(&reload);
    for name in NAMES {
        acme.args(["-d", name]);
    }
    let theirs = lab.noted_by(&mut acme);
    let mut lines: String = credentials
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    lines += &format!(
        "LE_WORKING_DIR={0}\nLE_CONFIG_HOME={0}\n",
        lab.world.scratch.dir("other-home").display()
    );
    let env_file = lab.world.scratch.secret_file("acme.env", lines);
    let of_style = |program: &PathBuf| format!("[{{ style = \"acme.sh\", run = {program:?} }}]");
    let ours = lab.noted_by_us(
        &format!(
            "style = \"acme.sh\", run = {:?}, dnsapi = \"dns_nsupdate\", env_file = {env_file:?}",
            tree.join("acme.sh")
        ),
        &format!(
            "pre = {}\ndeploy = {}\npost = {}",
            of_style(&pre),
            of_style(&reload),
            of_style(&post)
        ),
    );
    // acme.sh reloads after its post hook; here post hooks end the run.
    let (mut our, mut their) = (programs(&ours), programs(&theirs));
    our.sort_unstable();
    their.sort_unstable();
    assert_eq!(our, their);
    for (name, known) in [
        ("pre", &["Le_Domain", "Le_Alt"][..]),
        (
            "reload",
            &[
                "CERT_PATH",
                "CERT_KEY_PATH",
                "CA_CERT_PATH",
                "CERT_FULLCHAIN_PATH",
                "Le_Domain",
                "Le_ForceNewDomainKey",
                "Le_Next_Domain_Key",
            ],
        ),
        (
            "post",
            &[
                "CERT_PATH",
                "CERT_KEY_PATH",
                "CA_CERT_PATH",
                "CERT_FULLCHAIN_PATH",
                "Le_Domain",
            ],
        ),
    ] {
        let of = |all: &[Noted]| all.iter().find(|noted| noted.name == name).unwrap().clone();
        let (our, their) = (of(&ours), of(&theirs));
        assert_eq!(our.args, their.args, "{name}");
        for variable in known {
            assert_eq!(
                our.vars.contains_key(*variable),
                their.vars.contains_key(*variable),
                "{name} {variable}"
            );
        }
        for variable in ["Le_Domain", "Le_Alt"] {
            assert_eq!(our.var(variable), their.var(variable), "{name}");
        }
        if name != "pre" {
            // Started where the files are.
            assert!(
                fs::read_dir(&our.directory).unwrap().count() >= 4,
                "{}",
                our.directory
            );
            for variable in [
                "CERT_PATH",
                "CERT_KEY_PATH",
                "CA_CERT_PATH",
                "CERT_FULLCHAIN_PATH",
            ] {
                let count = |noted: &Noted| {
                    let text = fs::read_to_string(noted.var(variable)).unwrap();
                    (
                        text.matches("BEGIN CERTIFICATE").count(),
                        text.matches("PRIVATE KEY-----").count() / 2,
                    )
                };
                assert_eq!(count(&our), count(&their), "{variable}");
            }
        }
    }
}
