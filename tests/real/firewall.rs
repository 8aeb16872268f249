//! `firewall` against firewalld, ufw and nftables as they are, each in namespaces of a test's own; a second namespace knocks.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{
    Filtered, LoopbackAddress, Mailcert, Outcome, Overlay, Postfix, PostfixOptions, Scratch, World,
    world::without_postfix,
};

/// What mail needs here: 25 and 587 by master.cf, 993 by who listens, and 465 that nobody serves.
const WANTED: [u16; 3] = [25, 587, 993];
const ALL: [u16; 4] = [25, 465, 587, 993];

/// A host with a firewall, whose ports 25, 465, 587 and 993 would answer.
struct Host {
    filtered: Filtered,
    mailcert: Mailcert,
    scratch: Scratch,
}

impl Host {
    fn new(overlay: Overlay) -> Self {
        let scratch = Scratch::new();
        let filtered = Filtered::new(&scratch, overlay);
        // It is looked at and does not run: its ports answer by servers of the test's.
        let address = LoopbackAddress::take(&scratch);
        let options = PostfixOptions {
            main_cf: "inet_interfaces = all\n".to_owned(),
            master_cf: "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\n127.0.0.1:465 inet n - n - - smtpd\n"
                .to_owned(),
            ..PostfixOptions::default()
        };
        let postfix = Postfix::prepare(&scratch, &address, &options);
        filtered.namespaces.host_greets(&[25, 587, 993]);
        let host = Self {
            mailcert: Mailcert::new(
                Some(&scratch.path().join("mailcert.toml")),
                &scratch.path().join("root"),
            ),
            filtered,
            scratch,
        };
        host.write_config(&postfix.config_directory(), "true");
        host
    }

    fn write_config(&self, postfix: &std::path::Path, manage: &str) {
        let text = format!(
            "version = 1\nstate_directory = {:?}\n[host]\nname = \"mail.example.test\"\ndomains = [\"example.test\"]\n\
             [renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\nconfig_directory = {postfix:?}\n[firewall]\nmanage = {manage}\n",
            self.state()
        );
        self.scratch.file("mailcert.toml", text);
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.filtered.mailcert(&self.mailcert, args)
    }

    /// Returns ids and subjects of `check firewall`.
    fn check(&self, code: i32) -> (Vec<(String, String)>, Value) {
        let told = self
            .run(&["check", "firewall", "--format", "json"])
            .expect(code)
            .json();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = told["findings"].as_array().unwrap();
        let found = findings
            .iter()
            .map(|one| (text(one, "id"), text(one, "subject")))
            .collect();
        (found, told)
    }

    /// Returns the port, action and rules of each change of an outcome.
    fn changes(outcome: &Outcome) -> Vec<(u64, String, String)> {
        let changes = outcome.json()["changes"].as_array().unwrap().clone();
        let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
        changes
            .iter()
            .map(|change| {
                (
                    change["port"].as_u64().unwrap(),
                    text(change, "action"),
                    text(change, "rules"),
                )
            })
            .collect()
    }
}

fn each(id: &str, suffix: &str) -> Vec<(String, String)> {
    WANTED
        .iter()
        .map(|port| (format!("firewall.{id}"), format!("{port}/tcp{suffix}")))
        .collect()
}

fn opened(action: &str, rules: &str, ports: &[u16]) -> Vec<(u64, String, String)> {
    ports
        .iter()
        .map(|port| (u64::from(*port), action.to_owned(), rules.to_owned()))
        .collect()
}

#[test]
#[ignore = "real: needs ip, nft, postfix"]
fn nftables_is_read_and_the_line_that_opens_a_port_does_so() {
    let host = Host::new(Overlay::Machine);
    let (found, _) = host.check(0);
    assert_eq!(found, [("firewall.none".to_owned(), "firewall".to_owned())]);
    assert_eq!(host.filtered.reached(&ALL), WANTED);

    host.filtered.namespaces.filter(
        "table inet filter {\n chain input {\n  type filter hook input priority 0; policy accept;\n  ct state established accept\n  \
         iif lo accept\n  tcp dport { 22, 80-90 } accept\n  reject with icmpx admin-prohibited\n }\n}",
    );
    assert_eq!(host.filtered.reached(&ALL), [] as [u16; 0]);
    let (found, told) = host.check(3);
    assert_eq!(found, each("closed", ""), "{told:#}");
    // Nothing of it is ours to change; the line is.
    let planned = host
        .run(&["plan", "firewall", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(planned["changes"], serde_json::json!([]));
    assert!(
        planned["notes"][0]
            .as_str()
            .unwrap()
            .contains("nft insert rule inet filter input"),
        "{planned:#}"
    );
    for (index, finding) in told["findings"].as_array().unwrap().iter().enumerate() {
        let remedy = finding["remedy"].as_str().unwrap();
        let line = remedy.split('`').nth(1).unwrap();
        host.filtered.shell(line);
        assert_eq!(host.filtered.reached(&ALL), WANTED[..=index], "{line}");
    }
    let (found, told) = host.check(0);
    assert_eq!(found, each("open", ""), "{told:#}");

    // The same of a chain that iptables made.
    host.filtered
        .shell("nft flush ruleset; iptables -P INPUT DROP; iptables -A INPUT -p tcp --dport 25 -j ACCEPT");
    let (found, told) = host.check(3);
    assert_eq!(found[..2], each("closed", "")[1..], "{told:#}");
    let line = told["findings"][0]["remedy"]
        .as_str()
        .unwrap()
        .split('`')
        .nth(1)
        .unwrap()
        .to_owned();
    assert_eq!(line, "iptables -I INPUT -p tcp --dport 587 -j ACCEPT");
    host.filtered.shell(&line);
    assert_eq!(host.filtered.reached(&ALL), [25, 587]);
}

#[test]
#[ignore = "real: needs ip, ufw, postfix"]
fn ufw_is_opened_and_closed_again() {
    let host = Host::new(Overlay::Machine);
    host.filtered
        .shell("ufw --force enable; ufw allow 22/tcp; ufw allow Postfix");
    let before = host.filtered.shell("ufw status verbose; ufw show added");
    assert_eq!(host.filtered.reached(&ALL), [25]);
    let (found, told) = host.check(3);
    assert_eq!(found[..2], each("closed", "")[1..], "{told:#}");
    let all = host.run(&["check"]);
    assert!(
        all.stdout.contains("error firewall.closed 587/tcp") && !all.stdout.contains("firewall.open"),
        "{all}"
    );

    let planned = host.run(&["plan", "firewall"]).expect(0);
    assert!(
        planned
            .stdout
            .contains("* ufw open 587/tcp, now and for the next start"),
        "{planned}"
    );
    assert_eq!(host.filtered.reached(&ALL), [25]);
    let applied = host
        .run(&["apply", "firewall", "--yes", "--format", "json"])
        .expect(0);
    assert_eq!(Host::changes(&applied), opened("open", "both", &[587, 993]));
    assert_eq!(host.filtered.reached(&ALL), WANTED);
    host.check(0);
    let again = host
        .run(&["apply", "firewall", "--yes", "--format", "json"])
        .expect(0);
    assert_eq!(Host::changes(&again), []);
    // They are there after a restart of ufw.
    host.filtered.shell("ufw reload");
    assert_eq!(host.filtered.reached(&ALL), WANTED);
    let undone = host.run(&["undo", "--format", "json"]).expect(0);
    assert_eq!(Host::changes(&undone), opened("close", "both", &[993, 587]));
    assert_eq!(host.filtered.shell("ufw status verbose; ufw show added"), before);
    assert_eq!(host.filtered.reached(&ALL), [25]);

    // A port that the operator has closed stays closed.
    host.filtered.shell("ufw deny 993/tcp");
    let applied = host
        .run(&["apply", "firewall", "--yes", "--format", "json"])
        .expect(0);
    assert_eq!(Host::changes(&applied), opened("open", "both", &[587]));
    assert!(
        applied.stdout.contains("closes port 993 by a rule of its own"),
        "{applied}"
    );
    assert_eq!(host.filtered.reached(&ALL), [25, 587]);
    // Undone also when ufw was switched off since.
    host.filtered.shell("ufw disable");
    host.run(&["undo"]).expect(0);
    assert!(!host.filtered.shell("ufw show added").contains("587"));

    // A port that the configuration wants and Postfix does not come to serve is not opened.
    let config = host.scratch.path().join("mailcert.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    host.filtered.shell("ufw --force enable");
    std::fs::write(
        &config,
        text.replace("[postfix]\n", "[postfix]\nsubmissions = true\n"),
    )
    .unwrap();
    let both = host.run(&["apply", "postfix", "firewall", "--yes", "--format", "json"]);
    assert_eq!(Host::changes(&both), opened("open", "both", &[587]), "{both}");
    assert!(
        both.stdout
            .contains("465/tcp is not opened: nothing serves port 465"),
        "{both}"
    );
    host.run(&["undo"]).expect(0);
    std::fs::write(&config, text).unwrap();

    // What is not ours to manage is told, and left.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("manage = true", "manage = false")).unwrap();
    let planned = host.run(&["plan", "firewall", "--format", "json"]).expect(0);
    assert_eq!(Host::changes(&planned), []);
    let told = host.run(&["check", "firewall"]).expect(3);
    assert!(
        told.stdout.contains("`ufw allow 587/tcp`")
            && told.stdout.contains("warning firewall.denied 993/tcp"),
        "{told}"
    );

    // 995 and 143 are opened only where somebody lists them for others, and they are served.
    host.filtered.shell("ufw --force delete deny 993/tcp");
    let dovecot = host.scratch.file(
        "dovecot/dovecot.conf",
        "protocols = imap pop3\nlisten = *\nssl = no\n",
    );
    let address = crate::support::netns::HOST_V4;
    let managed = format!(
        "[dovecot]\nconfig_directory = {:?}\nverify = [\"pop3s://{address}:995\", \"imap://127.0.0.1:143\"]\n",
        dovecot.parent().unwrap()
    );
    std::fs::write(&config, text.replace("[dovecot]\nmanage = false\n", &managed)).unwrap();
    let planned = host.run(&["plan", "firewall", "--format", "json"]).expect(0);
    assert_eq!(Host::changes(&planned), opened("open", "both", &[587, 993]));
    host.filtered.namespaces.host_greets(&[143, 995]);
    let planned = host.run(&["plan", "firewall", "--format", "json"]).expect(0);
    assert_eq!(Host::changes(&planned), opened("open", "both", &[587, 993, 995]));
}

#[test]
#[ignore = "real: needs ip, firewalld, postfix"]
fn firewalld_is_opened_without_a_reload_and_closed_again() {
    let host = Host::new(Overlay::Firewalld);
    host.filtered.start_firewalld(&host.scratch);
    let cmd = |args: &[&str]| host.filtered.run("firewall-cmd", args).trim().to_owned();
    // The way out belongs to a zone of its own, and somebody has opened a port until the next reload.
    host.filtered.shell("ip route add default via 192.0.2.2");
    cmd(&["--zone=external", "--change-interface=eth0"]);
    cmd(&["--zone=external", "--add-port=9999/tcp"]);
    cmd(&["--zone=external", "--remove-service=ssh"]);
    // firewalld's external zone has ssh; smtp is put in now, and imaps for the next start alone.
    cmd(&["--zone=external", "--add-service=smtp"]);
    cmd(&["--permanent", "--zone=external", "--add-service=imaps"]);
    let lists = || {
        ["--list-all", "--list-services", "--list-ports"].map(|what| {
            (
                cmd(&["--zone=external", what]),
                cmd(&["--permanent", "--zone=external", what]),
                cmd(&["--zone=public", what]),
            )
        })
    };
    let before = lists();
    assert_eq!(host.filtered.reached(&ALL), [25]);
    let (found, told) = host.check(3);
    let id = |id: &str, port: u16| (format!("firewall.{id}"), format!("{port}/tcp in zone external"));
    assert_eq!(
        found,
        [
            id("closed", 587),
            id("permanent-only", 993),
            id("runtime-only", 25)
        ],
        "{told:#}"
    );

    let planned = host.run(&["plan", "firewall"]).expect(0);
    for line in [
        "* firewalld open smtp (25/tcp) in zone external, for the next start",
        "* firewalld open smtp-submission (587/tcp) in zone external, now and for the next start",
        "* firewalld open imaps (993/tcp) in zone external, now\n",
    ] {
        assert!(planned.stdout.contains(line), "{line}: {planned}");
    }
    let applied = host
        .run(&["apply", "firewall", "--yes", "--format", "json"])
        .expect(0);
    let rules: Vec<String> = Host::changes(&applied)
        .into_iter()
        .map(|(_, _, rules)| rules)
        .collect();
    assert_eq!(rules, ["permanent", "both", "runtime"]);
    assert_eq!(host.filtered.reached(&ALL), WANTED);
    // No reload: what was open until then still is.
    assert_eq!(cmd(&["--zone=external", "--list-ports"]), "9999/tcp");
    host.check(0);
    let again = host
        .run(&["apply", "firewall", "--yes", "--format", "json"])
        .expect(0);
    assert_eq!(Host::changes(&again), []);
    host.run(&["undo"]).expect(0);
    assert_eq!(lists(), before);

    // What is permanent is in force after a reload by somebody else.
    host.run(&["apply", "firewall", "--yes"]).expect(0);
    cmd(&["--reload"]);
    cmd(&["--zone=external", "--change-interface=eth0"]);
    assert_eq!(host.filtered.reached(&ALL), WANTED);
}

/// What a test that has gone into a host's namespaces knows itself by.
const INSIDE: &str = "MAILCERT_TEST_INSIDE";

/// Runs this test once more within a host of its own; says whether this is that run.
fn is_inside(name: &str, overlay: Overlay) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let scratch = Scratch::new();
    let filtered = Filtered::new(&scratch, overlay);
    if overlay == Overlay::Firewalld {
        filtered.start_firewalld(&scratch);
    }
    let output = filtered
        .command(&std::env::current_exe().unwrap().display().to_string())
        .args(["--exact", name, "--include-ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A site whose challenge is answered on port 80 of every address.
struct Site {
    world: World,
    log: PathBuf,
}

impl Site {
    fn start() -> Self {
        // Nobody else is on the loopback of this namespace.
        let world = World::start();
        world.write_config(|text| {
            let listen = format!("listen = [\"{}\"]\n", world.address.port(80));
            assert!(text.contains(&listen));
            let text = text.replace(&listen, "listen = []\n");
            without_postfix(text) + "[firewall]\nmanage = true\n"
        });
        let log = world.scratch.path().join("called.log");
        Self { world, log }
    }

    /// Puts a program before the real one that writes down how it is called, and ends with these lines of the shell.
    fn watch(&self, program: &str, then: &str) {
        let log = self.log.display();
        let name = program.rsplit('/').next().unwrap();
        let script = format!("#!/bin/sh\necho \"$@\" >>{log}\n{program} \"$@\" || exit\n{then}\n");
        let watched = self.world.scratch.program(&format!("bin/{name}"), script);
        assert!(watched.is_file());
    }

    fn mailcert(&self) -> Mailcert {
        let mut mailcert = self.world.mailcert();
        let bin = self.world.scratch.path().join("bin");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        mailcert.vars.insert("PATH".into(), path.into());
        mailcert
    }

    /// Returns how the program was called to change something.
    fn called(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let changes = text.lines().filter(|line| {
            ["allow", "delete", "--add", "--remove", "--reload"]
                .iter()
                .any(|word| line.contains(word))
        });
        changes.map(str::to_owned).collect()
    }
}

fn shell(line: &str) -> String {
    crate::support::server::run(std::process::Command::new("sh").args(["-c", line]))
}

#[test]
#[ignore = "real: needs ip, ufw, pebble, named, postfix"]
fn the_challenge_s_port_is_open_only_while_validating() {
    if !is_inside(
        "firewall::the_challenge_s_port_is_open_only_while_validating",
        Overlay::Machine,
    ) {
        return;
    }
    let site = Site::start();
    site.watch("/usr/sbin/ufw", "");
    shell("ufw --force enable");
    let rules = || shell("ufw show added");
    let before = rules();
    site.mailcert().run(&["issue"]).expect(0);
    let opened_and_closed = ["allow 80/tcp comment mailcert", "delete allow 80/tcp"];
    // Once to see that the token is seen, and once for the CA; each time it is closed again.
    let called = site.called();
    assert!(
        !called.is_empty() && called.chunks(2).all(|pair| pair == opened_and_closed),
        "{called:?}"
    );
    assert_eq!(rules(), before);
    let record = site.world.state_directory().join("openings.json");
    assert!(!record.exists());

    // Killed with the port open: the next run closes it, whatever else it has to do.
    site.watch("/usr/sbin/ufw", "[ \"$1\" != allow ] || kill -9 $PPID");
    let killed = site.mailcert().run_program(&["renew", "--force"]);
    assert_eq!(killed.code, -1, "{killed}");
    assert!(
        record.is_file() && rules().contains("ufw allow 80/tcp"),
        "{}",
        rules()
    );
    site.watch("/usr/sbin/ufw", "");
    let renewed = site.mailcert().run_program(&["renew"]).expect(0);
    assert!(
        renewed.stderr.contains("closed ports of the firewall"),
        "{renewed}"
    );
    assert_eq!(rules(), before);
    assert!(!record.exists());

    // A port that is open already is not closed behind the operator's back.
    shell("ufw allow 80/tcp");
    let before = rules();
    site.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(rules(), before);
}

#[test]
#[ignore = "real: needs ip, firewalld, pebble, named, postfix"]
fn firewalld_opens_the_challenge_s_port_for_a_while() {
    if !is_inside(
        "firewall::firewalld_opens_the_challenge_s_port_for_a_while",
        Overlay::Firewalld,
    ) {
        return;
    }
    let site = Site::start();
    site.watch("/usr/bin/firewall-cmd", "");
    let lists = || shell("firewall-cmd --list-all; firewall-cmd --permanent --list-all");
    let before = lists();
    site.mailcert().run(&["issue"]).expect(0);
    // In force alone, and closed by firewalld itself should nobody come back.
    let opened_and_closed = [
        "--zone=public --add-service=http --timeout=1h",
        "--zone=public --remove-service=http",
    ];
    let called = site.called();
    assert!(
        !called.is_empty() && called.chunks(2).all(|pair| pair == opened_and_closed),
        "{called:?}"
    );
    assert_eq!(lists(), before);
    assert!(!site.world.state_directory().join("openings.json").exists());
}
