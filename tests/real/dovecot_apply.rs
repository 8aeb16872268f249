//! Dovecot through `plan`, `apply` and `undo`, beside a Postfix: as it comes from the package, to mail programs that log in.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    submission::{self, MAIL_OWNER, USERS},
    support::{
        Outcome, Release, Site, World,
        dovecot::{Dovecot, Fresh, Passwords},
        judge::{self, Tls},
        server::wait_until,
        world::HOST,
    },
};

/// The ports, as OpenSSL is told how TLS begins there.
pub const PORTS: [(u16, &[&str]); 4] = [
    (993, &[]),
    (143, &["-starttls", "imap"]),
    (995, &[]),
    (110, &["-starttls", "pop3"]),
];

/// What a mail program that reads does and is told; Python's imaplib is the mail program. It connects from another address than the
/// server's: Dovecot trusts who comes from its own.
const READER: &str = r#"
import imaplib, socket, ssl, sys
address, root, name = sys.argv[1:4]
context = ssl.create_default_context(cafile=root)

class Plain(imaplib.IMAP4):
    def _create_socket(self, timeout=None):
        return socket.create_connection((address, self.port), 20, ('127.0.0.1', 0))

class Tls(imaplib.IMAP4_SSL):
    def _create_socket(self, timeout=None):
        return context.wrap_socket(socket.create_connection((address, self.port), 20, ('127.0.0.1', 0)), server_hostname=name)

def login(imap, user, password):
    try:
        return imap.login(user, password)[0]
    except imaplib.IMAP4.error as error:
        return 'refused'

plain = Plain(name, 143)
print('143 login in clear text:', login(plain, 'alice', 'secret-alice'))
plain = Plain(name, 143)
plain.host = name
plain.starttls(context)
print('143 login within TLS:', login(plain, 'alice', 'secret-alice'))
tls = Tls(name, 993)
print('993 wrong password:', login(tls, 'alice', 'wrong'))
tls = Tls(name, 993)
print('993 login:', login(tls, 'alice', 'secret-alice'))
tls.select()
found = tls.search(None, 'SUBJECT', '"by 587"')[1][0].split()
print('993 mail to self:', len(found), tls.fetch(found[0], '(BODY[TEXT])')[1][0][1].strip().decode())
"#;

/// A site with a fresh Dovecot that serves its snake oil.
pub struct Mailboxes {
    pub dovecot: Dovecot,
    pub site: Site,
}

impl Mailboxes {
    pub fn start(passwords: Passwords, local_conf: &str) -> Self {
        let mailboxes = Self::prepare(submission::site_without_logins(None, ""), passwords, local_conf);
        mailboxes.dovecot.start_prepared(&mailboxes.site.scratch);
        mailboxes
    }

    /// Writes the files of a Dovecot 2.4 beside the Postfix of the same Debian.
    fn prepare_of(release: &Release, local_conf: &str) -> Self {
        let site = submission::site_without_logins(Some(release.clone()), "");
        let mail = site.scratch.path().join("mail");
        let fresh = Fresh {
            passwords: Passwords::File,
            users: &USERS,
            mail: &mail,
            owner: MAIL_OWNER,
            local_conf,
        };
        let snake_oil =
            ["cert.pem", "key.pem"].map(|name| site.scratch.path().join("postfix/snake-oil").join(name));
        let dovecot = Dovecot::prepare_of(
            release,
            &site.scratch,
            &site.address,
            &fresh,
            (&snake_oil[0], &snake_oil[1]),
        );
        Self { dovecot, site }
    }

    /// Writes the files of its Dovecot, which is started by the test.
    pub fn prepare(site: Site, passwords: Passwords, local_conf: &str) -> Self {
        let mail = site.scratch.path().join("mail");
        let fresh = Fresh {
            passwords,
            users: &USERS,
            mail: &mail,
            owner: MAIL_OWNER,
            local_conf,
        };
        let dovecot = Dovecot::prepare(&site.scratch, &site.address, &fresh);
        Self { dovecot, site }
    }

    pub fn directory(&self) -> PathBuf {
        self.dovecot.config_file().parent().unwrap().to_owned()
    }

    /// Has both servers managed, with these lines of `[dovecot]` and of `[postfix]`, and `certificates` besides.
    pub fn configure(&self, dovecot: &str, postfix: &str, certificates: &str) {
        let managed = format!("[dovecot]\nconfig_directory = {:?}\n{dovecot}", self.directory());
        self.site.write_config(|text| {
            let text = text.replace("[dovecot]\nmanage = false\n", &managed);
            text.replace("[renew]\n", &format!("{certificates}[renew]\n")) + postfix
        });
    }

    pub fn apply(&self) -> Outcome {
        self.site.mailcert().run(&["apply", "--yes", "--format", "json"])
    }

    /// Returns the leaf that a port serves to who asks for a name, by OpenSSL.
    pub fn served(&self, port: u16, options: &[&str], name: &str) -> String {
        let output = Command::new("openssl")
            .args(["s_client", "-servername", name, "-connect"])
            .arg(self.site.address.port(port).to_string())
            .args(options)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        judge::certificate_sha256(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default()
    }

    #[track_caller]
    pub fn serve(&self, sha256: &str, what: &Outcome) {
        for (port, options) in PORTS {
            assert_eq!(
                self.served(port, options, HOST),
                sha256,
                "{port}: {what}\n{}",
                self.dovecot.log()
            );
        }
    }
}

fn reader(site: &Site) -> Vec<String> {
    let output = Command::new("python3")
        .args(["-c", READER, &site.address.ip().to_string()])
        .arg(site.root_file())
        .arg(HOST)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Settings of the operator's that win over ours.
pub const RIVALS: &str = "ssl_cert = </etc/ssl/certs/ssl-cert-snakeoil.pem\nprotocol imap {\n  ssl_key = </etc/ssl/private/ssl-cert-snakeoil.key\n  \
                      ssl_cert = </etc/ssl/certs/ssl-cert-snakeoil.pem\n}\n";

/// From a fresh Postfix and a fresh Dovecot, by one apply, to users who send and read; and back.
fn users_send_and_read(passwords: Passwords) {
    let mailboxes = Mailboxes::start(passwords, "");
    let site = &mailboxes.site;
    let before = mailboxes.dovecot.files();
    let identity = site.hold_certificate("");
    let snake_oil = mailboxes.served(993, &[], HOST);
    mailboxes.configure(
        "auth_socket = true\n",
        "submission = true\nsubmissions = true\n",
        "",
    );
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    let log = || format!("{}\n{}\n{applied}", site.postfix.log(), mailboxes.dovecot.log());
    assert_eq!(submission::client(site), submission::told(), "{}", log());
    let inbox = site.scratch.path().join("mail/alice/new");
    wait_until("mail to self arrives", || {
        fs::read_dir(&inbox).is_ok_and(|found| found.count() == 2)
    });
    let expected = [
        "143 login in clear text: refused",
        "143 login within TLS: OK",
        "993 wrong password: refused",
        "993 login: OK",
        "993 mail to self: 1 hello",
    ];
    assert_eq!(reader(site), expected, "{}", log());
    assert_eq!(site.status()["state"], "verified");

    let files = mailboxes.dovecot.files();
    let again = mailboxes.apply().expect(0);
    assert_eq!(again.json()["changes"], serde_json::json!([]), "{again}");
    assert_eq!(mailboxes.dovecot.files(), files);
    let undone = site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(mailboxes.dovecot.files(), before, "{undone}");
    mailboxes.serve(&snake_oil, &undone);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, python3, openssl"]
fn long_users_of_a_password_file_send_and_read_after_one_apply() {
    users_send_and_read(Passwords::File);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, python3, openssl"]
fn users_of_the_system_send_and_read_after_one_apply() {
    users_send_and_read(Passwords::Pam);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn what_would_win_is_taken_out_and_a_renewal_is_served_without_a_hook() {
    let mailboxes = Mailboxes::start(Passwords::File, RIVALS);
    let site = &mailboxes.site;
    let before = mailboxes.dovecot.files();
    let identity = site.hold_certificate("");
    mailboxes.configure("", "", "");
    let planned = site.mailcert().run(&["plan", "dovecot"]).expect(0);
    assert!(
        planned
            .stdout
            .contains("in protocol imap it counts in the place of ours"),
        "{planned}"
    );
    assert_eq!(mailboxes.dovecot.files(), before);
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    let files = mailboxes.dovecot.files();
    // The next certificate: files alone change, and both servers are reloaded.
    let next = site.issue();
    let installed = site.install("next", &next).expect(0);
    mailboxes.serve(&next.sha256(), &installed);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(next.sha256()));
    assert_eq!(mailboxes.dovecot.files(), files);
    site.mailcert().run(&["status"]).expect(0);
    // A listener that is switched on later is proven by the next run.
    let local = mailboxes.directory().join("local.conf");
    let more = "service imap-login {\n  inet_listener more {\n    port = 9993\n    ssl = yes\n  }\n}\n";
    fs::write(&local, fs::read_to_string(&local).unwrap() + more).unwrap();
    let status = site.mailcert().run(&["status"]).expect(3);
    assert!(
        status
            .stdout
            .contains(":9993 was added to Dovecot's configuration"),
        "{status}"
    );
    let renewed = site.mailcert().run(&["renew"]).expect(0);
    assert_eq!(mailboxes.served(9993, &[], HOST), next.sha256(), "{renewed}");
    let refused = site.mailcert().run(&["undo"]).expect(1);
    assert!(refused.stderr.contains("inet_listener more"), "{refused}");
    site.mailcert().run(&["undo", "--force"]).expect(0);
    assert_eq!(mailboxes.dovecot.files(), before);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl, strace"]
fn an_apply_that_was_killed_and_finished_by_the_next_goes_back_in_one() {
    let mailboxes = Mailboxes::start(Passwords::File, RIVALS);
    let site = &mailboxes.site;
    let before = mailboxes.dovecot.files();
    let snake_oil = mailboxes.served(993, &[], HOST);
    let identity = site.hold_certificate("");
    mailboxes.configure("", "", "");
    let apply = site.mailcert().command(&["apply", "--yes"]);
    let killed_at = |n: usize| {
        let killed = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=rename,renameat,renameat2",
                "-e",
            ])
            .arg(format!(
                "inject=rename,renameat,renameat2:signal=SIGKILL:when={n}"
            ))
            .arg(apply.get_program())
            .args(apply.get_args())
            .output()
            .unwrap();
        assert!(
            !killed.status.success(),
            "no end to {n} renames before the second file"
        );
        mailboxes.dovecot.files()
    };
    let half = (1..60).map(killed_at).find(|files| *files != before).unwrap();
    // Our file is there, and what wins over it too.
    assert!(half.keys().any(|path| is_ours(path)));
    assert_eq!(half.get("local.conf"), before.get("local.conf"));
    assert_eq!(mailboxes.served(993, &[], HOST), snake_oil);
    let finished = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &finished);
    let undone = site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(mailboxes.dovecot.files(), before, "{undone}");
    mailboxes.serve(&snake_oil, &undone);
    let again = site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(mailboxes.dovecot.files(), before, "{again}");
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn what_dovecot_refuses_is_told_in_its_words_and_left_untouched() {
    let mailboxes = Mailboxes::start(Passwords::File, "");
    let site = &mailboxes.site;
    let identity = site.hold_certificate("");
    mailboxes.configure("", "", "");
    let local = mailboxes.directory().join("local.conf");
    let text = fs::read_to_string(&local).unwrap();
    fs::write(&local, format!("{text}ssl_cret = x\n")).unwrap();
    let before = mailboxes.dovecot.files();
    let snake_oil = mailboxes.served(993, &[], HOST);
    let applied = site.mailcert().run(&["apply", "--yes"]).expect(1);
    let line = text.lines().count() + 1;
    assert!(
        applied
            .stderr
            .contains(&format!("local.conf line {line}: Unknown setting: ssl_cret")),
        "{applied}"
    );
    assert_eq!(mailboxes.dovecot.files(), before);
    // Postfix has its certificate all the same.
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()), "{applied}");
    assert_eq!(mailboxes.served(993, &[], HOST), snake_oil);
    fs::write(&local, &text).unwrap();
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    // One that is broken later keeps a renewal from nothing but itself, and the run is red until it is mended.
    fs::write(&local, format!("{text}ssl_cret = x\n")).unwrap();
    let next = site.issue();
    let installed = site.install("next", &next).expect(1);
    assert!(
        installed.stderr.contains("Unknown setting: ssl_cret"),
        "{installed}"
    );
    assert_eq!(site.postfix.leaf_sha256(25), Ok(next.sha256()), "{installed}");
    site.mailcert().run(&["status"]).expect(3);
    fs::write(&local, &text).unwrap();
    let deployed = site.mailcert().run(&["deploy"]).expect(0);
    mailboxes.serve(&next.sha256(), &deployed);
    site.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn a_port_of_postfix_that_got_worse_takes_dovecot_back_as_well() {
    let mailboxes = Mailboxes::start(Passwords::File, "");
    let site = &mailboxes.site;
    let before = mailboxes.dovecot.files();
    site.hold_certificate("");
    let snake_oil = mailboxes.served(993, &[], HOST);
    let mute = "submission = true\nsubmission_overrides = [\"smtpd_client_restrictions=permit_sasl_autenticated,reject\"]\n";
    mailboxes.configure("auth_socket = true\n", "submission = true\n", "");
    mailboxes.apply().expect(0);
    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(mailboxes.dovecot.files(), before);
    // Port 587 works before, and is made mute by the same apply that writes Dovecot's files.
    let master_cf = fs::read_to_string(site.postfix.master_cf()).unwrap();
    let port = format!("{}:587 inet n - n - - smtpd\n", site.address.ip());
    fs::write(site.postfix.master_cf(), master_cf + &port).unwrap();
    site.postfix.reload();
    mailboxes.configure("auth_socket = true\n", mute, "");
    let applied = site.mailcert().run(&["apply", "--yes"]).expect(1);
    assert!(applied.stderr.contains("taken back"), "{applied}");
    assert_eq!(mailboxes.dovecot.files(), before);
    mailboxes.serve(&snake_oil, &applied);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn names_are_served_certificates_of_their_own_by_both_servers() {
    let mailboxes = Mailboxes::start(Passwords::File, "");
    let site = &mailboxes.site;
    let before = mailboxes.dovecot.files();
    let identity = site.hold_certificate("");
    let names = ["imap.hosted.test", "imap.other.test"];
    let lineage = |name: &str| {
        format!("[[certificate]]\nidentifiers = [\"{name}\"]\nissuer = \"external\"\nsni = true\n")
    };
    mailboxes.configure("", "", "");
    mailboxes.apply().expect(0);
    mailboxes.configure("", "", &names.map(lineage).concat());
    let own = names.map(|name| site.authority.issue(name, time::Duration::days(90)));
    for (name, identity) in names.iter().zip(&own) {
        let directory = identity.leave(&site.scratch, name).display().to_string();
        site.mailcert()
            .run(&["install", name, "--from", &directory])
            .expect(0);
    }
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    for (name, identity) in names.iter().zip(&own) {
        for (port, options) in PORTS {
            assert_eq!(
                mailboxes.served(port, options, name),
                identity.sha256(),
                "{name} on {port}: {applied}"
            );
        }
        assert_eq!(
            mailboxes.served(25, &["-starttls", "smtp"], name),
            identity.sha256(),
            "{name}"
        );
    }
    let status = site
        .mailcert()
        .run(&["status", "--format", "json"])
        .expect(0)
        .json();
    let is_verified = |one: &serde_json::Value| one["state"] == "verified";
    assert!(
        status["lineages"].as_array().unwrap().iter().all(is_verified),
        "{status:#}"
    );
    let again = mailboxes.apply().expect(0);
    assert_eq!(again.json()["changes"], serde_json::json!([]), "{again}");
    // One of them is renewed: it is served, and the others stay.
    let next = site.authority.issue(names[0], time::Duration::days(90));
    let directory = next.leave(&site.scratch, "next").display().to_string();
    let installed = site
        .mailcert()
        .run(&["install", names[0], "--from", &directory])
        .expect(0);
    assert_eq!(mailboxes.served(993, &[], names[0]), next.sha256(), "{installed}");
    assert_eq!(mailboxes.served(993, &[], names[1]), own[1].sha256());
    while mailboxes.dovecot.files() != before {
        let undone = site.mailcert().run(&["undo"]).expect(0);
        assert!(undone.stderr.contains("mailcert.conf"), "{undone}");
    }
}

/// Returns whether a file is our drop-in.
fn is_ours(path: &str) -> bool {
    Path::new(path).ends_with("99-mailcert.conf")
}

#[test]
#[ignore = "real: needs postfix, named, dovecot"]
fn with_reload_never_the_files_are_written_and_nobody_is_reloaded() {
    let mailboxes = Mailboxes::start(Passwords::File, "");
    let site = &mailboxes.site;
    site.hold_certificate("");
    let snake_oil = mailboxes.served(993, &[], HOST);
    mailboxes.configure("", "reload = \"never\"\n", "");
    let applied = mailboxes.apply().expect(0);
    assert!(
        mailboxes.dovecot.files().keys().any(|path| is_ours(path)),
        "{applied}"
    );
    mailboxes.serve(&snake_oil, &applied);
    assert_eq!(site.status()["state"], "installed");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, dovecot, openssl"]
fn init_gives_both_servers_their_first_certificate() {
    let world = World::start();
    let mail = world.scratch.dir("mail");
    let fresh = Fresh {
        passwords: Passwords::File,
        users: &USERS,
        mail: &mail,
        owner: MAIL_OWNER,
        local_conf: "",
    };
    let dovecot = Dovecot::fresh(&world.scratch, &world.address, &fresh);
    let before = dovecot.files();
    let directory = dovecot.config_file().parent().unwrap().display().to_string();
    world.write_answers();
    let args = world.init_args();
    let mut args: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "--no-dovecot")
        .collect();
    args.extend(["--dovecot-config-directory", &directory]);
    let done = world.mailcert().run(&args).expect(0);
    let text = fs::read_to_string(world.config_file()).unwrap();
    assert!(
        text.contains(&format!("config_directory = {directory:?}")),
        "{text}"
    );
    let port = world.address.port(993);
    assert_eq!(
        judge::leaf_sha256(port, Tls::Implicit, HOST),
        Ok(world.live_sha256(HOST)),
        "{done}"
    );
    assert_eq!(world.postfix.leaf_sha256(25), Ok(world.live_sha256(HOST)));
    assert_eq!(world.record(HOST)["state"], "verified");
    world.mailcert().run(&["undo"]).expect(0);
    assert_eq!(dovecot.files(), before);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn long_a_port_of_dovecot_that_got_worse_takes_both_servers_back() {
    let mailboxes = Mailboxes::start(Passwords::File, "");
    let site = &mailboxes.site;
    site.hold_certificate("");
    let snake_oil = site.postfix.leaf_sha256(25);
    // What the operator wrote and never had read: the reload of this apply is the first to find it.
    let local = mailboxes.directory().join("local.conf");
    let text = fs::read_to_string(&local).unwrap();
    fs::write(&local, format!("{text}ssl_cipher_list = NONSENSE\n")).unwrap();
    let before = (
        mailboxes.dovecot.files(),
        fs::read(site.postfix.main_cf()).unwrap(),
    );
    mailboxes.configure("", "", "");
    let applied = site.mailcert().run(&["apply", "--yes"]).expect(1);
    for told in ["the change was taken back", ":993", "is not as before, even now"] {
        assert!(applied.stderr.contains(told), "{told}: {applied}");
    }
    let now = (
        mailboxes.dovecot.files(),
        fs::read(site.postfix.main_cf()).unwrap(),
    );
    assert_eq!(now, before, "{applied}");
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil, "{applied}");
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn long_thousands_of_names_have_the_memory_that_they_need() {
    // The names are the operator's own: ours is the file that has to make them bearable.
    let block = |n: usize| {
        format!(
            "local_name n{n}.elsewhere.test {{\n  ssl_cert = </etc/ssl/certs/ssl-cert-snakeoil.pem\n  \
             ssl_key = </etc/ssl/private/ssl-cert-snakeoil.key\n}}\n"
        )
    };
    let blocks: String = (0..3000).map(block).collect();
    let mailboxes = Mailboxes::prepare(
        submission::site_without_logins(None, ""),
        Passwords::File,
        &blocks,
    );
    let site = &mailboxes.site;
    let before = mailboxes.dovecot.files();
    let identity = site.hold_certificate("");
    mailboxes.configure("", "reload = \"never\"\n", "");
    mailboxes.apply().expect(0);
    mailboxes.dovecot.start_prepared(&site.scratch);
    mailboxes.configure("", "", "");
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    assert_ne!(
        mailboxes.served(993, &[], "n2999.elsewhere.test"),
        identity.sha256()
    );
    let again = mailboxes.apply().expect(0);
    assert_eq!(again.json()["changes"], serde_json::json!([]), "{again}");
    while mailboxes.dovecot.files() != before {
        site.mailcert().run(&["undo", "--force"]);
    }
    // As it was, nobody is served anything.
    assert_eq!(mailboxes.served(993, &[], HOST), "");
}

/// Settings of the operator's that win over ours, in the words of 2.4.
const RIVALS_OF_2_4: &str = "protocol imap {\n  ssl_server_cert_file = /nonexistent/own.pem\n}\n";

/// From a fresh Postfix and a fresh Dovecot 2.4, by one apply, to users who send and read, names of their own, and a renewal; and
/// back.
fn there_and_back_on_2_4(release: &Release) {
    let mailboxes = Mailboxes::prepare_of(release, "");
    let (site, dovecot) = (&mailboxes.site, &mailboxes.dovecot);
    dovecot.start_of(release, &site.scratch);
    let before = dovecot.files();
    let identity = site.hold_certificate("");
    let snake_oil = mailboxes.served(993, &[], HOST);
    assert!(!snake_oil.is_empty(), "{}", dovecot.log());
    let other = "imap.hosted.test";
    let lineage =
        |more: &str| format!("[[certificate]]\nidentifiers = [\"{other}\"]\nissuer = \"external\"\n{more}");
    let own = site.authority.issue(other, time::Duration::days(90));
    site.write_config(|text| {
        text.replace("[renew]\n", &format!("{}[renew]\n", lineage(""))) + "manage = false\n"
    });
    let from = own.leave(&site.scratch, "own").display().to_string();
    site.mailcert()
        .run(&["install", other, "--from", &from])
        .expect(0);
    mailboxes.configure(
        "auth_socket = true\n",
        "submission = true\nsubmissions = true\n",
        &lineage("sni = true\n"),
    );
    let planned = site.mailcert().run(&["plan", "dovecot"]).expect(0);
    assert!(planned.stdout.contains("local_name"), "{planned}");
    assert_eq!(dovecot.files(), before);
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    for (port, options) in PORTS {
        assert_eq!(
            mailboxes.served(port, options, other),
            own.sha256(),
            "{port}: {applied}"
        );
    }
    let log = || format!("{}\n{}\n{applied}", site.postfix.log(), dovecot.log());
    assert_eq!(submission::client(site), submission::told(), "{}", log());
    let inbox = site.scratch.path().join("mail/alice/new");
    wait_until("mail to self arrives", || {
        fs::read_dir(&inbox).is_ok_and(|found| found.count() == 2)
    });
    let read = reader(site);
    assert!(
        read[0].ends_with("refused") && read[1].ends_with("OK"),
        "{read:?}\n{}",
        log()
    );
    assert_eq!(
        read[3..],
        ["993 login: OK", "993 mail to self: 1 hello"],
        "{}",
        log()
    );
    let files = dovecot.files();
    assert_eq!(
        mailboxes.apply().expect(0).json()["changes"],
        serde_json::json!([])
    );
    let checked = site.mailcert().run(&["check", "dovecot"]).expect(0);
    // A root directory without /etc/mtab is warned about.
    assert!(!checked.stdout.contains("error "), "{checked}");

    let next = site.issue();
    let installed = site.install("next", &next).expect(0);
    mailboxes.serve(&next.sha256(), &installed);
    assert_eq!(mailboxes.served(993, &[], other), own.sha256());
    assert_eq!(dovecot.files(), files);
    site.mailcert().run(&["status"]).expect(0);
    let undone = site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(dovecot.files(), before, "{undone}");
    mailboxes.serve(&snake_oil, &undone);
}

#[test]
#[ignore = "real: needs Debian 13's postfix and dovecot, named, python3, openssl"]
fn long_users_send_and_read_on_dovecot_2_4_after_one_apply() {
    there_and_back_on_2_4(&Release::trixie());
}

#[test]
#[ignore = "real: needs Debian unstable's postfix and dovecot, named, python3, openssl"]
fn long_users_send_and_read_on_the_newest_dovecot_after_one_apply() {
    there_and_back_on_2_4(&Release::unstable());
}

#[test]
#[ignore = "real: needs Debian 13's postfix and dovecot, named, openssl"]
fn long_what_dovecot_2_4_has_against_it_only_when_it_reads_it_takes_all_back() {
    let release = Release::trixie();
    let mailboxes = Mailboxes::prepare_of(&release, RIVALS_OF_2_4);
    let (site, dovecot) = (&mailboxes.site, &mailboxes.dovecot);
    // What names a file that is not there, Dovecot does not start with.
    let local = mailboxes.directory().join("local.conf");
    let text = fs::read_to_string(&local).unwrap();
    let own = site.scratch.path().join("postfix/snake-oil/cert.pem");
    fs::write(
        &local,
        text.replace("/nonexistent/own.pem", &own.display().to_string()),
    )
    .unwrap();
    let state = site.state("");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o711)).unwrap();
    dovecot.start_of(&release.without(&state), &site.scratch);
    site.hold_certificate("");
    mailboxes.configure("", "", "");
    let (before, snake_oil) = (dovecot.files(), mailboxes.served(993, &[], HOST));
    let failed = site.mailcert().run(&["apply", "--yes"]).expect(1);
    for words in [
        "would not start with it: Failed to read configuration",
        "the change was taken back",
    ] {
        assert!(failed.stderr.contains(words), "{words}: {failed}");
    }
    assert_eq!(dovecot.files(), before, "{failed}");
    mailboxes.serve(&snake_oil, &failed);
}
