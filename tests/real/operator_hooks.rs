//! Hooks around orders and deployments, as operators have written them for certbot, lego, dehydrated and acme.sh.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Instant};

use mailcert::env::Clock;
use time::{Duration, OffsetDateTime};

use crate::support::{
    Mailcert, Outcome, World, WorldOptions,
    hooks::Notes,
    world::{HOST, without_postfix},
};

/// A site whose first certificate is there, and whose hooks are configured afterwards.
struct Hooked {
    notes: Notes,
    world: World,
    start: OffsetDateTime,
}

impl Hooked {
    /// Starts a site; two lineages, since hooks are for some of them.
    fn start(edit: fn(String) -> String) -> Self {
        let world = World::issued(&WorldOptions::default(), edit);
        Self {
            notes: Notes::new(&world.scratch),
            world,
            start: OffsetDateTime::now_utc(),
        }
    }

    /// Configures hooks besides.
    fn configure(&self, hooks: &str) {
        let text = fs::read_to_string(self.world.config_file()).unwrap();
        let before = text.split("[hooks]").next().unwrap();
        self.world
            .scratch
            .file("mailcert.toml", format!("{before}[hooks]\n{hooks}\n"));
    }

    /// Writes a program that notes its runs and then does this; returns its path as TOML has it.
    fn program(&self, name: &str, then: &str) -> String {
        format!("{:?}", self.notes.program(&self.world.scratch, name, then))
    }

    /// Runs a command so long after the start.
    fn after(&self, minutes: i64, args: &[&str]) -> Outcome {
        let now = self.start + Duration::minutes(minutes);
        let mailcert = Mailcert {
            clock: Clock::Fixed(now),
            ..self.world.mailcert()
        };
        mailcert.run(args)
    }

    fn n_orders(&self) -> usize {
        self.world.pebble.count_in_log("/order-plz -> calling handler")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.scratch.path().join(name)
    }
}

fn same(text: String) -> String {
    text
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_certbot_script_copies_for_dovecot_and_reloads_postfix_as_it_is() {
    let hooked = Hooked::start(same);
    let dovecot = hooked.world.scratch.dir("dovecot");
    // As it lies in /etc/letsencrypt/renewal-hooks/deploy of a mail host.
    let script = format!(
        "#!/bin/bash\n\
         set -euo pipefail\n\
         for domain in $RENEWED_DOMAINS; do\n\
             case $domain in\n\
             {HOST})\n\
                 umask 077\n\
                 cp \"$RENEWED_LINEAGE/fullchain.pem\" {dovecot}/dovecot.pem\n\
                 cp \"$RENEWED_LINEAGE/privkey.pem\" {dovecot}/dovecot.key\n\
                 chown root:root {dovecot}/dovecot.key\n\
                 chmod 400 {dovecot}/dovecot.key\n\
                 postfix -c {postfix} reload\n\
                 ;;\n\
             esac\n\
         done\n",
        dovecot = dovecot.display(),
        postfix = hooked.world.postfix.config_directory().display(),
    );
    hooked
        .world
        .scratch
        .program("renewal-hooks/deploy/50-mail", script);
    hooked
        .notes
        .program(&hooked.world.scratch, "renewal-hooks/deploy/10-first", "");
    hooked
        .notes
        .program(&hooked.world.scratch, "renewal-hooks/deploy/90-old~", "");
    hooked
        .world
        .scratch
        .file("renewal-hooks/deploy/README", "not executable");
    let directory = hooked.path("renewal-hooks/deploy");
    hooked.configure(&format!(
        "deploy = [{{ style = \"certbot\", directory = {directory:?} }}]"
    ));
    let reloads = hooked.world.postfix.log().matches("reload --").count();
    hooked.after(0, &["renew", "--force"]).expect(0);
    assert_eq!(
        fs::read_to_string(dovecot.join("dovecot.pem")).unwrap(),
        fs::read_to_string(
            hooked
                .world
                .state_directory()
                .join("live")
                .join(HOST)
                .join("fullchain.pem")
        )
        .unwrap()
    );
    let mode = fs::metadata(dovecot.join("dovecot.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o400);
    // One reload of ours, one of the script's; the port serves the new leaf and was asked after both.
    assert_eq!(
        hooked.world.postfix.log().matches("reload --").count(),
        reloads + 2
    );
    assert_eq!(hooked.world.record(HOST)["state"], "verified");
    assert_eq!(hooked.notes.lines(), ["10-first"]);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn what_failed_is_run_again_until_it_succeeds_and_nothing_else_is() {
    let hooked = Hooked::start(same);
    let good = hooked.program("good", "");
    let bad = hooked.program(
        "bad",
        &format!(
            "test -e {} || {{ echo no disk >&2; exit 3; }}",
            hooked.path("mended").display()
        ),
    );
    hooked.configure(&format!(
        "deploy = [{{ style = \"lego4\", run = {bad} }}, {{ style = \"certbot\", run = {good} }}]"
    ));
    let before = hooked.world.postfix.leaf_sha256(25).unwrap();
    let told = hooked.after(0, &["renew", "--force"]).expect(1);
    assert!(told.stderr.contains("it ended with 3: no disk"), "{told}");
    assert!(told.stderr.contains("hooks/bad (lego4)"), "{told}");
    // Nothing is rolled back: the port serves the new leaf, and the record is red.
    let serving = hooked.world.postfix.leaf_sha256(25).unwrap();
    assert_ne!(serving, before);
    assert_eq!(serving, hooked.world.live_sha256(HOST));
    assert_eq!(hooked.world.record(HOST)["state"], "deployed");
    let status = hooked.after(0, &["--format", "json", "status"]).expect(3);
    assert_eq!(status.json()["lineages"][0]["hooks"][0]["outcome"], "failed");
    assert_eq!(hooked.notes.lines(), ["bad", "good"]);

    // Within the back-off nothing is run, and it stays red.
    hooked.notes.clear();
    let told = hooked.after(0, &["renew"]).expect(1);
    assert!(told.stderr.contains("no disk"), "{told}");
    assert_eq!(hooked.notes.lines(), Vec::<String>::new());
    // Then exactly what failed, at growing intervals, however often.
    for minutes in [2, 20, 200, 2000, 4000, 6000] {
        hooked.after(minutes, &["renew"]).expect(1);
        hooked.after(minutes, &["renew"]).expect(1);
    }
    assert_eq!(hooked.notes.lines(), ["bad"; 6]);
    assert_eq!(hooked.world.record(HOST)["failure"]["count"], 7);
    let n_orders = hooked.n_orders();
    hooked.world.scratch.file("mended", "");
    hooked.notes.clear();
    hooked.after(8000, &["renew"]).expect(0);
    assert_eq!(hooked.notes.lines(), ["bad"]);
    assert_eq!(hooked.world.record(HOST)["state"], "verified");
    assert_eq!(hooked.world.record(HOST)["failure"], serde_json::Value::Null);
    hooked.notes.clear();
    hooked.after(8000, &["renew"]).expect(0);
    assert_eq!(hooked.notes.lines(), Vec::<String>::new());
    assert_eq!(hooked.n_orders(), n_orders, "no certificate is spent on a hook");

    // By hand, all of them again.
    hooked.after(8000, &["deploy"]).expect(0);
    assert_eq!(hooked.notes.lines(), ["bad", "good"]);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_hook_that_was_killed_with_us_is_run_again() {
    let hooked = Hooked::start(same);
    let first = hooked.program("first", "");
    let waiting = hooked.path("waiting");
    let slow = hooked.program(
        "slow",
        &format!(
            "echo $$ >{0}.new; mv {0}.new {0}; exec sleep 600",
            waiting.display()
        ),
    );
    hooked.configure(&format!(
        "deploy = [{{ run = {first} }}, {{ run = {slow}, timeout = \"900s\" }}]"
    ));
    let running = hooked.world.mailcert().spawn(&["renew", "--force"]);
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while !waiting.exists() {
        assert!(Instant::now() < deadline, "the hook was never started");
        std::thread::yield_now();
    }
    running.kill();
    // What was started goes on without us; here it is ended, since the test is over before it.
    let pid = fs::read_to_string(&waiting).unwrap();
    assert!(
        std::process::Command::new("kill")
            .arg(pid.trim())
            .status()
            .unwrap()
            .success()
    );
    let record = hooked.world.record(HOST);
    let outcomes: Vec<&str> = record["deployment"]["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| hook["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["done", "running"]);
    hooked.after(0, &["status"]).expect(3);
    let n_orders = hooked.n_orders();
    hooked.notes.program(&hooked.world.scratch, "slow", "");
    hooked.notes.clear();
    hooked.after(0, &["renew"]).expect(0);
    assert_eq!(
        hooked.notes.lines(),
        ["slow deploy"],
        "and not the one that was done"
    );
    assert_eq!(hooked.n_orders(), n_orders);
    assert_eq!(hooked.world.record(HOST)["state"], "verified");
}

#[test]
#[ignore = "real: needs named, pebble"]
fn events_come_in_order_and_for_the_lineages_they_are_for() {
    let two = |text: String| {
        without_postfix(text).replace(
            "[renew]\n",
            "[[certificate]]\nname = \"a-web\"\nidentifiers = [\"www.many.example.test\", \"b.many.example.test\"]\n[renew]\n",
        )
    };
    let hooked = Hooked::start(two);
    let web = hooked.program("web", "");
    let every = hooked.program("every", "");
    let script = hooked.program("script", "");
    hooked.configure(&format!(
        "pre = [{{ style = \"certbot\", run = {every} }}, {{ style = \"dehydrated\", run = {script} }}]\n\
         deploy = [{{ style = \"dehydrated\", run = {script} }}, {{ run = [{web}, \"x\"], lineages = [\"a-web\"] }}]\n\
         post = [{{ style = \"dehydrated\", run = {script} }}, {{ style = \"certbot\", run = {every} }}]\n\
         failed = [{{ run = {every} }}]"
    ));
    hooked.after(0, &["renew"]).expect(0);
    assert_eq!(
        hooked.notes.lines(),
        Vec::<String>::new(),
        "nothing is due: nothing is run"
    );

    hooked.after(0, &["renew", "--force"]).expect(0);
    let live = |name: &str| {
        hooked
            .world
            .state_directory()
            .join("live")
            .join(name)
            .display()
            .to_string()
    };
    let files = |name: &str| {
        ["privkey", "cert", "fullchain", "chain"]
            .map(|file| format!("{}/{file}.pem", live(name)))
            .join(" ")
    };
    let now = hooked.start.unix_timestamp();
    let expected = [
        "every".to_owned(),
        "script startup_hook".to_owned(),
        format!("script deploy_cert {HOST} {} {now}", files(HOST)),
        format!(
            "script deploy_cert www.many.example.test {} {now}",
            files("a-web")
        ),
        "web x deploy".to_owned(),
        "script exit_hook".to_owned(),
        "every".to_owned(),
    ];
    assert_eq!(hooked.notes.lines(), expected);
    let noted = hooked.notes.read();
    assert_eq!(
        noted[6].var("RENEWED_DOMAINS"),
        format!("{HOST} b.many.example.test www.many.example.test")
    );
    assert_eq!(noted[6].var("FAILED_DOMAINS"), "");
    let document: serde_json::Value = serde_json::from_str(&noted[4].stdin).unwrap();
    assert_eq!(document["lineage"]["name"], "a-web");
    assert_eq!(
        document["lineage"]["generation"]["leaf_sha256"],
        hooked.world.live_sha256("a-web").as_str()
    );
    // dehydrated hears of what was left alone, when there was something else to do.
    hooked.notes.clear();
    let lines = |hooked: &Hooked| -> Vec<String> {
        hooked
            .notes
            .read()
            .iter()
            .map(|noted| noted.args.first().cloned().unwrap_or_default())
            .collect()
    };
    let record = hooked.world.state_directory().join("lineages/a-web/state.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut unfinished: serde_json::Value = serde_json::from_str(&text).unwrap();
    unfinished["deployment"]["hooks"][1]["outcome"] = "failed".into();
    hooked
        .world
        .scratch
        .secret_file("state/lineages/a-web/state.json", unfinished.to_string());
    hooked.after(0, &["renew"]).expect(0);
    assert_eq!(
        lines(&hooked),
        ["", "startup_hook", "x", "unchanged_cert", "exit_hook", ""]
    );

    // One lineage fails: the others go on, post and failed hooks are told.
    hooked.notes.clear();
    hooked.world.bind.nsupdate("update delete *.many.example.test A");
    hooked.after(0, &["renew", "--force"]).expect(1);
    let noted = hooked.notes.read();
    let failed = noted
        .iter()
        .find(|noted| noted.args == ["failed"])
        .expect("a failed event");
    assert_eq!(failed.var("MAILCERT_LINEAGE"), "a-web");
    assert!(
        failed.var("MAILCERT_ERROR").contains("www.many.example.test"),
        "{failed:?}"
    );
    let post = noted.last().unwrap();
    assert_eq!(post.var("RENEWED_DOMAINS"), HOST);
    assert_eq!(
        post.var("FAILED_DOMAINS"),
        "b.many.example.test www.many.example.test"
    );
    let exit = noted
        .iter()
        .find(|noted| noted.args.first().is_some_and(|first| first == "exit_hook"));
    assert!(exit.unwrap().args[1].contains("a-web"), "{exit:?}");
}

#[test]
#[ignore = "real: needs named, pebble"]
fn hooks_are_given_what_is_documented_and_nothing_of_ours() {
    let hooked = Hooked::start(without_postfix);
    let deploy = hooked.program("deploy", "");
    let shell = hooked.path("shell");
    let env_file = hooked
        .world
        .scratch
        .secret_file("hook.env", "API_TOKEN='geheim'\n");
    hooked.configure(&format!(
        "deploy = [{{ style = \"acme.sh\", run = {deploy}, env_file = {env_file:?} }}, \
         {{ style = \"acme.sh\", shell = \"cp $CERT_FULLCHAIN_PATH {shell}; pwd >>{shell}; exit 0\" }}]",
        shell = shell.display()
    ));
    let mut mailcert = hooked.world.mailcert();
    for name in [
        "SECRET",
        "LD_PRELOAD_X",
        "MAILCERT_TSIG_SECRET",
        "CERTBOT_VALIDATION",
    ] {
        mailcert.vars.insert(name.into(), "leaked".into());
    }
    let told = mailcert.run(&["renew", "--force"]).expect(0);
    assert!(!told.stderr.contains("geheim"), "{told}");
    let noted = &hooked.notes.read()[0];
    let names: Vec<&str> = noted.vars.keys().map(String::as_str).collect();
    let documented = [
        "API_TOKEN",
        "CA_CERT_PATH",
        "CERT_FULLCHAIN_PATH",
        "CERT_KEY_PATH",
        "CERT_PATH",
        "HOME",
        "LC_ALL",
        "LEGO_ACCOUNT_EMAIL",
        "LEGO_CERT_DOMAIN",
        "LEGO_CERT_KEY_PATH",
        "LEGO_CERT_PATH",
        "LEGO_CERT_PEM_PATH",
        "LEGO_HOOK_ACCOUNT_EMAIL",
        "LEGO_HOOK_ACCOUNT_ID",
        "LEGO_HOOK_ACCOUNT_SERVER",
        "LEGO_HOOK_CERT_DOMAINS",
        "LEGO_HOOK_CERT_KEY_PATH",
        "LEGO_HOOK_CERT_KEY_TYPE",
        "LEGO_HOOK_CERT_NAME",
        "LEGO_HOOK_CERT_NAME_SANITIZED",
        "LEGO_HOOK_CERT_PATH",
        "LEGO_HOOK_CERT_PEM_PATH",
        "LEGO_HOOK_ISSUER_CERT_PATH",
        "LEGO_ISSUER_CERT_PATH",
        "Le_Domain",
        "Le_Next_Domain_Key",
        "MAILCERT_EVENT",
        "MAILCERT_GENERATION",
        "MAILCERT_IDENTIFIERS",
        "MAILCERT_LEAF_SHA256",
        "MAILCERT_LINEAGE",
        "MAILCERT_LIVE",
        "PATH",
        "RENEWED_DOMAINS",
        "RENEWED_LINEAGE",
    ];
    assert_eq!(names, documented);
    let readme = include_str!("../../hooks/README.md");
    for name in documented.iter().filter(|name| **name != "API_TOKEN") {
        assert!(readme.contains(name), "hooks/README.md does not tell {name}");
    }
    let live = hooked.world.state_directory().join("live").join(HOST);
    // `pwd` follows the live link.
    let real = fs::canonicalize(&live).unwrap().display().to_string();
    assert_eq!(
        fs::canonicalize(&noted.directory).unwrap().display().to_string(),
        real
    );
    assert!(
        fs::read_to_string(&shell)
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE")
    );
    let record = hooked.world.record(HOST).to_string();
    assert!(!record.contains("geheim"), "{record}");
}

#[test]
#[ignore = "real: needs named, pebble"]
fn a_pre_hook_that_fails_stops_the_orders_and_post_hooks_run_all_the_same() {
    let hooked = Hooked::start(without_postfix);
    let pre = hooked.program("pre", &format!("test -e {}", hooked.path("mended").display()));
    let post = hooked.program("post", "");
    hooked.configure(&format!(
        "pre = [{{ run = {pre} }}]\npost = [{{ style = \"certbot\", run = {post} }}]"
    ));
    let n_orders = hooked.n_orders();
    let told = hooked.after(0, &["renew", "--force"]).expect(1);
    assert!(
        told.stderr.contains("nothing was ordered: a pre hook failed"),
        "{told}"
    );
    assert_eq!(hooked.notes.lines(), ["pre pre", "post"]);
    assert_eq!(hooked.notes.read()[1].var("FAILED_DOMAINS"), HOST);
    assert_eq!(hooked.n_orders(), n_orders);
    hooked.world.scratch.file("mended", "");
    hooked.after(0, &["renew", "--force"]).expect(0);
    assert_eq!(hooked.n_orders(), n_orders + 1);
}

#[test]
#[ignore = "real: needs named, pebble"]
fn a_post_hook_that_fails_is_not_forgotten_and_75_means_later() {
    let hooked = Hooked::start(without_postfix);
    let deploy = hooked.program("deploy", "");
    let post = hooked.program("post", &format!("exit $(cat {})", hooked.path("code").display()));
    hooked.configure(&format!(
        "deploy = [{{ run = {deploy} }}]\npost = [{{ run = {post} }}]"
    ));
    hooked.world.scratch.file("code", "1");
    hooked.after(0, &["renew", "--force"]).expect(1);
    assert_eq!(hooked.world.record(HOST)["state"], "deployed");
    hooked.after(0, &["status"]).expect(3);
    hooked.notes.clear();
    hooked.world.scratch.file("code", "75");
    let told = hooked.after(2, &["renew"]).expect(4);
    assert!(told.stderr.contains("try again later"), "{told}");
    assert_eq!(hooked.world.record(HOST)["failure"]["count"], 2);
    hooked.after(2, &["status"]).expect(3);
    hooked.world.scratch.file("code", "0");
    hooked.after(20, &["renew"]).expect(0);
    assert_eq!(
        hooked.notes.lines(),
        ["post post", "post post"],
        "deploy hooks were done"
    );
    hooked.after(20, &["status"]).expect(0);
}

#[test]
#[ignore = "real: needs named, pebble"]
fn what_others_could_have_written_is_refused_before_anything_is_ordered() {
    let hooked = Hooked::start(without_postfix);
    let deploy = hooked.program("deploy", "");
    hooked.configure(&format!("deploy = [{{ run = {deploy} }}]"));
    let n_orders = hooked.n_orders();
    let (file, directory) = (hooked.path("hooks/deploy"), hooked.path("hooks"));
    for (path, mode, mended) in [(&file, 0o757, 0o755), (&directory, 0o777, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let told = hooked.after(0, &["renew", "--force"]).expect(1);
        assert!(told.stderr.contains("can be written by others"), "{told}");
        assert!(
            told.stderr.contains(&format!("`chmod go-w {}`", path.display())),
            "{told}"
        );
        fs::set_permissions(path, fs::Permissions::from_mode(mended)).unwrap();
    }
    fs::remove_file(&file).unwrap();
    hooked.after(0, &["renew", "--force"]).expect(1);
    assert_eq!(hooked.n_orders(), n_orders);
    assert_eq!(hooked.notes.lines(), Vec::<String>::new());
    // What is mended is taken up by the next run: no back-off is for a file's mode.
    hooked.program("deploy", "");
    hooked.after(0, &["renew", "--force"]).expect(0);
    assert_eq!(hooked.n_orders(), n_orders + 1);
}

#[test]
#[ignore = "real: needs named, pebble"]
fn a_hook_that_hangs_is_killed_with_what_it_has_started() {
    let hooked = Hooked::start(without_postfix);
    let pid = hooked.path("pid");
    let deploy = hooked.program(
        "deploy",
        &format!(
            "(sleep 600 & echo $! >{}; wait) & echo hanging; wait",
            pid.display()
        ),
    );
    hooked.configure(&format!("deploy = [{{ run = {deploy}, timeout = \"1s\" }}]"));
    let told = hooked.after(0, &["renew", "--force"]).expect(1);
    assert!(
        told.stderr.contains("did not end within 1 s and was killed"),
        "{told}"
    );
    assert!(told.stderr.contains(": hanging"), "{told}");
    let pid = fs::read_to_string(pid).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(
        stat.is_empty() || stat.contains(") Z "),
        "its grandchild is still there: {stat}"
    );
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_first_certificate_by_apply_runs_the_hooks_too() {
    let world = World::start();
    let notes = Notes::new(&world.scratch);
    let hook = notes.program(&world.scratch, "all", "");
    world.write_config(|text| {
        format!("{text}\n[hooks]\npre = [{{ run = {hook:?} }}]\ndeploy = [{{ run = {hook:?} }}]\npost = [{{ run = {hook:?} }}]\n")
    });
    world
        .mailcert()
        .run(&["apply", "--yes", "certificates", "postfix"])
        .expect(0);
    assert_eq!(notes.lines(), ["all pre", "all deploy", "all post"]);
    world
        .mailcert()
        .run(&["apply", "--yes", "certificates", "postfix"])
        .expect(0);
    assert_eq!(notes.lines().len(), 3, "a second apply changes nothing");
}
