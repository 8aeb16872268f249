//! Ports 587 and 465 as a mail program sees them: made by an apply, on a Postfix that had none.

use std::{fs, process::Command};

use crate::support::{Outcome, PostfixOptions, Release, Site, auth, world::HOST};

/// What a mail program does and is told, a line for each step; Python's smtplib is the mail program.
const CLIENT: &str = r#"
import smtplib, ssl, sys
address, root, name = sys.argv[1:4]
context = ssl.create_default_context(cafile=root)

class Named:
    """The certificate is held against the host's name, the connection goes to an address."""
    def _get_socket(self, host, port, timeout):
        return super()._get_socket(address, port, timeout)

class Submission(Named, smtplib.SMTP): pass
class Submissions(Named, smtplib.SMTP_SSL):
    def _get_socket(self, host, port, timeout):
        import socket
        return self.context.wrap_socket(socket.create_connection((address, port), timeout), server_hostname=name)

def say(what, answer):
    print(what, answer[0] if isinstance(answer, tuple) else answer)

def connect(port):
    if port == 465:
        return Submissions(name, port, local_hostname='client.test', context=context, timeout=20)
    smtp = Submission(name, port, local_hostname='client.test', timeout=20)
    if port == 587:
        smtp.starttls(context=context)
    return smtp

def login(port, user, password):
    smtp = connect(port)
    try:
        smtp.login(user, password)
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    return smtp

def send(port, user, sender, recipient, data=None):
    smtp = login(port, user, 'secret-' + user.split('@')[0])
    if isinstance(smtp, int):
        return smtp
    for answer in (smtp.mail(sender), smtp.rcpt(recipient)):
        if answer[0] != 250:
            smtp.quit()
            return answer[0]
    answer = smtp.data(data)[0] if data else 250
    smtp.quit()
    return answer

plain = smtplib.SMTP(address, 587, local_hostname='client.test', timeout=20)
plain.ehlo()
say('587 offers AUTH in clear text:', plain.has_extn('auth'))
say('587 MAIL in clear text:', plain.mail('alice@example.test'))
say('587 AUTH in clear text:', plain.docmd('AUTH PLAIN AGFsaWNlAHNlY3JldC1hbGljZQ=='))
plain.quit()
mx = smtplib.SMTP(address, 25, local_hostname='mx.test', timeout=20)
mx.ehlo()
say('25 offers AUTH:', mx.has_extn('auth'))
mx.starttls(context=ssl._create_unverified_context())
mx.ehlo()
say('25 offers AUTH within TLS:', mx.has_extn('auth'))
mx.mail('stranger@elsewhere.test')
say('25 takes mail for us:', mx.rcpt('alice@example.test'))
say('25 relays:', mx.rcpt('someone@elsewhere.test'))
mx.quit()
for port in (587, 465):
    smtp = connect(port)
    smtp.ehlo()
    say(f'{port} offers AUTH within TLS:', smtp.has_extn('auth'))
    smtp.mail('alice@example.test')
    say(f'{port} relays without AUTH:', smtp.rcpt('someone@elsewhere.test'))
    say(f'{port} takes mail for us without AUTH:', smtp.rcpt('alice@example.test'))
    smtp.quit()
    say(f'{port} wrong password:', login(port, 'alice', 'wrong'))
    say(f'{port} alice as alice:', send(port, 'alice', 'alice@example.test', 'someone@elsewhere.test'))
    say(f'{port} alice as alice+news:', send(port, 'alice', 'alice+news@example.test', 'bob@example.test'))
    say(f'{port} alice as info:', send(port, 'alice', 'info@example.test', 'bob@example.test'))
    say(f'{port} alice as bob:', send(port, 'alice', 'bob@example.test', 'someone@elsewhere.test'))
    say(f'{port} alice as a stranger:', send(port, 'alice', 'x@elsewhere.test', 'bob@example.test'))
    say(f'{port} bob as info:', send(port, 'bob', 'info@example.test', 'bob@example.test'))
    say(f'{port} carol as carol:', send(port, 'carol@hosted.test', 'carol@hosted.test', 'bob@example.test'))
    say(f'{port} carol as alice:', send(port, 'carol@hosted.test', 'alice@example.test', 'bob@example.test'))
    message = f'From: alice@example.test\r\nTo: alice@example.test\r\nSubject: by {port}\r\n\r\nhello\r\n'
    say(f'{port} to self:', send(port, 'alice', 'alice@example.test', 'alice@example.test', message))
"#;

/// What is right.
pub fn told() -> Vec<String> {
    let mut lines: Vec<String> = [
        "587 offers AUTH in clear text: False",
        "587 MAIL in clear text: 530",
        "587 AUTH in clear text: 530",
        "25 offers AUTH: False",
        "25 offers AUTH within TLS: False",
        "25 takes mail for us: 250",
        "25 relays: 454",
    ]
    .map(str::to_owned)
    .to_vec();
    for port in [587, 465] {
        lines.extend(
            [
                "offers AUTH within TLS: True",
                "relays without AUTH: 554",
                "takes mail for us without AUTH: 554",
                "wrong password: 535",
                "alice as alice: 250",
                "alice as alice+news: 250",
                "alice as info: 250",
                "alice as bob: 553",
                "alice as a stranger: 553",
                "bob as info: 553",
                "carol as carol: 250",
                "carol as alice: 553",
                "to self: 250",
            ]
            .map(|line| format!("{port} {line}")),
        );
    }
    lines
}

/// Starts a site whose Postfix delivers to system users of example.test and to addresses of hosted.test, and asks a server of
/// Dovecot's kind who may log in.
fn site(further: &str) -> Site {
    site_of(None, further)
}

/// Starts the same with the Postfix of another Debian.
pub fn site_of(release: Option<Release>, further: &str) -> Site {
    let site = site_without_logins(release, further);
    let socket = site.scratch.path().join("postfix/queue/private/auth");
    auth::serve(&socket, &USERS);
    site
}

/// Who may log in.
pub const USERS: [(&str, &str); 3] = [
    ("alice", "secret-alice"),
    ("bob", "secret-bob"),
    ("carol@hosted.test", "secret-carol"),
];
/// The numbers of the user and group that mail belongs to.
pub const MAIL_OWNER: (u32, u32) = (65_534, 65_534);

/// Starts the same with nobody to ask who may log in.
pub fn site_without_logins(release: Option<Release>, further: &str) -> Site {
    Site::of(|scratch, _| {
        let aliases = scratch.file(
            "aliases",
            "postmaster: root\nroot: alice\ninfo: alice, \"|/bin/false\"\n",
        );
        let mail = scratch.dir("mail");
        let (uid, gid) = MAIL_OWNER;
        std::os::unix::fs::chown(&mail, Some(uid), Some(gid)).unwrap();
        PostfixOptions {
            main_cf: format!(
                "mydestination = example.test\n\
                 mynetworks = 192.0.2.0/24\n\
                 local_transport = virtual:\n\
                 default_transport = discard:\n\
                 recipient_delimiter = +\n\
                 alias_maps = texthash:{aliases}\n\
                 virtual_mailbox_domains = hosted.test\n\
                 virtual_mailbox_base = {mail}\n\
                 virtual_mailbox_maps = inline:{{ alice@example.test=alice/, bob@example.test=bob/, \
                 carol@hosted.test=carol/ }}\n\
                 local_recipient_maps = $virtual_mailbox_maps\n\
                 virtual_minimum_uid = 1\n\
                 virtual_uid_maps = static:{uid}\n\
                 virtual_gid_maps = static:{gid}\n\
                 # What is set for strangers, and would turn users away.\n\
                 smtpd_helo_restrictions = check_helo_access inline:{{ client.test=REJECT }}\n\
                 smtpd_recipient_restrictions = reject_unauth_destination\n\
                 smtpd_data_restrictions = reject\n\
                 smtpd_delay_reject = no\n\
                 {further}",
                aliases = aliases.display(),
                mail = mail.display(),
            ),
            release,
            ..PostfixOptions::default()
        }
    })
}

/// Lets a mail program try everything.
pub fn client(site: &Site) -> Vec<String> {
    let output = Command::new("python3")
        .args(["-c", CLIENT, &site.address.ip().to_string()])
        .arg(site.root_file())
        .arg(HOST)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn apply(site: &Site) -> Outcome {
    site.mailcert()
        .run(&["apply", "postfix", "--yes", "--format", "json"])
}

fn files_of(site: &Site) -> (Vec<u8>, Vec<u8>) {
    let read = |path| fs::read(path).unwrap();
    (read(site.postfix.main_cf()), read(site.postfix.master_cf()))
}

#[test]
#[ignore = "real: needs postfix, named, python3"]
fn users_submit_as_themselves_and_nobody_else_relays() {
    let site = site("");
    let before = files_of(&site);
    let identity = site.hold_certificate("submission = true\nsubmissions = true\n");
    let applied = apply(&site).expect(0);
    for port in [25, 465, 587] {
        assert_eq!(site.postfix.leaf_sha256(port), Ok(identity.sha256()), "{applied}");
    }
    assert_eq!(client(&site), told(), "{}\n{applied}", site.postfix.log());
    let inbox = site.scratch.path().join("mail/alice/new");
    crate::support::server::wait_until("mail to self arrives", || {
        fs::read_dir(&inbox).is_ok_and(|found| found.count() == 2)
    });

    let again = site
        .mailcert()
        .run(&["apply", "--yes", "--format", "json"])
        .expect(0);
    assert_eq!(again.json()["changes"], serde_json::json!([]), "{again}");
    site.mailcert().run(&["check", "postfix"]).expect(0);

    // An alias more: the map follows, and nothing else is touched.
    let aliases = site.scratch.path().join("aliases");
    fs::write(&aliases, fs::read_to_string(&aliases).unwrap() + "sales: bob\n").unwrap();
    let checked = site.mailcert().run(&["check", "postfix"]).expect(0);
    assert!(
        checked.stdout.contains("warning postfix.sender-login-stale"),
        "{checked}"
    );
    let files = files_of(&site);
    let more = apply(&site).expect(0).json();
    assert_eq!(more["changes"].as_array().unwrap().len(), 1, "{more:#}");
    assert_eq!(files_of(&site), files);
    let checked = site.mailcert().run(&["check", "postfix"]).expect(0);
    assert!(!checked.stdout.contains("sender-login-stale"), "{checked}");
    let maps = site.postfix.master_cf();
    assert!(
        fs::read_to_string(maps)
            .unwrap()
            .contains("smtpd_sender_login_maps=hash:")
    );
    let asked = Command::new("postmap")
        .arg("-c")
        .arg(site.postfix.config_directory())
        .args(["-q", "sales@example.test"])
        .arg(format!("hash:{}", site.state("postfix/sender-login").display()))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&asked.stdout),
        "bob, bob@example.test, sales, sales@example.test\n",
        "{asked:?}"
    );

    // A table that was lost is made again; so it is when the type that new tables are made of changes.
    fs::remove_file(site.state("postfix/sender-login.db")).unwrap();
    apply(&site).expect(0);
    assert!(site.state("postfix/sender-login.db").is_file());
    site.mailcert().run(&["undo"]).expect(0);
    site.postfix
        .edit_main_cf(|text| [text, b"default_database_type = btree\n".to_vec()].concat());
    apply(&site).expect(0);
    let master_cf = fs::read_to_string(site.postfix.master_cf()).unwrap();
    assert_eq!(
        master_cf.matches("\n  -o smtpd_sender_login_maps=btree:").count(),
        2,
        "{master_cf}"
    );
    // These two types share a file, so what comes back names a table that is the other's until it is compiled again.
    site.mailcert().run(&["undo", "--force"]).expect(0);
    site.postfix.edit_main_cf(|text| {
        let kept = text.len() - "default_database_type = btree\n".len();
        text[..kept].to_vec()
    });
    for _ in 0..2 {
        site.mailcert().run(&["undo"]).expect(0);
    }
    assert_eq!(files_of(&site), before);
    assert!(!site.state("postfix/sender-login").exists());
    assert!(!site.state("postfix/sender-login.db").exists());
    assert!(site.postfix.leaf_sha256(587).is_err());
}

/// Port 587 as the options of a test have it: TLS and nothing else.
fn with_service() -> Site {
    let site = Site::of(|_, _| {
        PostfixOptions {
        submission: true,
        main_cf: "mynetworks = 192.0.2.0/24\nsmtpd_helo_restrictions = check_helo_access inline:{ client.test=REJECT }\n"
            .to_owned(),
        ..PostfixOptions::default()
    }
    });
    let socket = site.scratch.path().join("postfix/queue/private/auth");
    auth::serve(&socket, &[("alice", "secret-alice")]);
    site
}

#[test]
#[ignore = "real: needs postfix, named"]
fn a_service_in_force_is_completed_and_proven() {
    let site = with_service();
    let before = files_of(&site);
    let identity = site.hold_certificate("submission = true\n");
    let applied = apply(&site).expect(0);
    assert_eq!(site.postfix.leaf_sha256(587), Ok(identity.sha256()), "{applied}");
    let master_cf = String::from_utf8(files_of(&site).1).unwrap();
    // What was there stands as it stood; what was missing follows it.
    let old = format!(
        "{}:587 inet n - n - - smtpd\n  -o syslog_name=postfix/submission\n  -o smtpd_tls_security_level=encrypt\n  \
         -o smtpd_sasl_auth_enable=yes\n",
        site.address.ip()
    );
    assert!(master_cf.contains(&old), "{master_cf}");
    assert!(
        master_cf.contains("\n  -o smtpd_helo_restrictions=\n"),
        "{master_cf}"
    );
    assert_eq!(master_cf.matches(":587 ").count(), 1);
    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(files_of(&site), before);
}

#[test]
#[ignore = "real: needs postfix, named"]
fn what_makes_a_service_mute_is_taken_back() {
    let site = with_service();
    let before = files_of(&site);
    let snake_oil = site.postfix.leaf_sha256(587);
    // A word that Postfix does not know is seen by nobody until a recipient is named.
    site.hold_certificate(
        "submission = true\nsubmission_overrides = [\"smtpd_client_restrictions=permit_sasl_autenticated,reject\"]\n",
    );
    let applied = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(1);
    assert!(applied.stderr.contains("taken back"), "{applied}");
    assert_eq!(files_of(&site), before);
    assert_eq!(site.postfix.leaf_sha256(587), snake_oil);
    assert!(!site.state("postfix/sender-login").exists());
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn where_nobody_is_there_to_ask_plan_and_failure_say_so() {
    let site = site_without_logins(None, "");
    site.hold_certificate("submissions = true\nsender_login_maps = \"none\"\n");
    let socket = format!("{}/private/auth", site.postfix.postconf("queue_directory"));
    let why = format!("Postfix asks Dovecot at {socket} who may log in, and there is no socket");
    let planned = site.mailcert().run(&["plan", "postfix"]).expect(0);
    assert!(planned.stdout.contains(&why), "{planned}");
    // Port 465 was not there before: nothing got worse, and whoever starts Dovecot has it.
    let applied = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(1);
    assert!(applied.stderr.contains(&why), "{applied}");
    assert!(applied.stderr.contains("remedy: start Dovecot"), "{applied}");
    let status = site.mailcert().run(&["status"]).expect(3);
    assert!(status.stdout.contains(&why), "{status}");
}

#[test]
#[ignore = "real: needs postfix, named"]
fn what_cannot_work_is_refused_untouched() {
    let site = with_service();
    let before = files_of(&site);
    site.hold_certificate("");
    let check = |lines: &str, code: i32, expected: &str| {
        site.write_config(|text| format!("{text}{lines}\n"));
        let applied = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(code);
        let told = applied.stdout.clone() + &applied.stderr;
        assert!(told.contains(expected), "{lines}: {applied}");
        assert_eq!(files_of(&site), before, "{lines}");
    };
    let own = |map: &str| format!("submission = true\nsender_login_maps = \"{map}\"");
    check(&own("hash:/nonexistent/senders"), 1, "/nonexistent/senders");
    check(
        &own("mysql:/etc/senders"),
        1,
        "take a type that `postconf -m` lists",
    );
    check(&own("senders"), 2, "write generated, none, or tables");
    let with = |one: &str| format!("submission = true\nsubmission_overrides = [\"{one}\"]");
    check(&with("smtpd_tls_cert_file=/x"), 2, "for `[[certificate]]` to say");
    check(&with("not an override"), 2, "write name=value");
    check(
        &with("smtpd_recipient_limit=many"),
        1,
        "bad numerical configuration",
    );
    check(
        &with("smtpd_no_such_thing=1"),
        1,
        "does not know: smtpd_no_such_thing",
    );
    let template = "`{{ template }}` was meant to be replaced";
    check(&with("smtpd_client_restrictions={{ template }}"), 1, template);
}
