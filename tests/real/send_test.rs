//! `send-test` through a real Postfix: delivered, deferred, bounced, refused at each step of the way.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::chown,
    path::PathBuf,
    thread,
};

use crate::support::{Outcome, PostfixOptions, Site, auth};

const ALICE: &str = "alice@example.test";

/// A mail server that says this to RCPT, and nothing of TLS.
fn next_hop(address: SocketAddr, rcpt: &'static str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || -> std::io::Result<()> {
                let mut reader = BufReader::new(stream.try_clone()?);
                let mut stream = stream;
                stream.write_all(b"220 next.hop.test ESMTP\r\n")?;
                let mut line = String::new();
                while reader.read_line(&mut line)? > 0 {
                    let answer = match line.get(..4).unwrap_or_default() {
                        "RCPT" => rcpt,
                        "QUIT" => "221 2.0.0 bye\r\n",
                        "DATA" => "354 go on\r\n",
                        _ => "250 2.0.0 Ok\r\n",
                    };
                    stream.write_all(answer.as_bytes())?;
                    line.clear();
                }
                Ok(())
            });
        }
    });
}

/// A site whose users submit; three domains lie behind servers that defer, refuse, or are not there.
struct Mail {
    site: Site,
    password: PathBuf,
}

impl Mail {
    fn start() -> Self {
        let site = Site::of(|scratch, address| {
            let (uid, gid) = (65_534, 65_534);
            let mail = scratch.dir("mail");
            chown(&mail, Some(uid), Some(gid)).unwrap();
            next_hop(address.port(2525), "450 4.2.0 Greylisted, \x1b[31mtry later\r\n");
            next_hop(address.port(2526), "550 5.1.1 nobody of that name\r\n");
            PostfixOptions {
                main_cf: format!(
                    "mydestination = example.test\n\
                     mynetworks = 192.0.2.0/24\n\
                     local_transport = virtual:\n\
                     local_recipient_maps = $virtual_mailbox_maps\n\
                     virtual_mailbox_base = {mail}\n\
                     virtual_mailbox_maps = inline:{{ {ALICE}=alice/ }}\n\
                     virtual_minimum_uid = 1\n\
                     virtual_uid_maps = static:{uid}\n\
                     virtual_gid_maps = static:{gid}\n\
                     transport_maps = inline:{{ deferred.test=smtp:[{ip}]:2525, bounced.test=smtp:[{ip}]:2526, \
                     gone.test=smtp:[{ip}]:2527 }}\n",
                    mail = mail.display(),
                    ip = address.ip(),
                ),
                ..PostfixOptions::default()
            }
        });
        let socket = site.scratch.path().join("postfix/queue/private/auth");
        auth::serve(&socket, &[("alice", "secret-alice")]);
        site.hold_certificate("submission = true\nsubmissions = true\n");
        site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
        let password = site.scratch.secret_file("password", "secret-alice\n");
        Self { site, password }
    }

    /// Sends from alice, who logs in, with these further options.
    fn send(&self, to: &str, further: &[&str]) -> Outcome {
        let password = self.password.display().to_string();
        let args = [
            "send-test",
            ALICE,
            to,
            "--user",
            "alice",
            "--password-file",
            &password,
        ];
        self.site.mailcert().run(&[&args, further].concat())
    }

    /// Returns the messages in alice's mailbox.
    fn inbox(&self) -> Vec<String> {
        let directory = self.site.scratch.path().join("mail/alice/new");
        let entries = fs::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>());
        entries
            .unwrap_or_default()
            .iter()
            .map(|entry| fs::read_to_string(entry.path()).unwrap())
            .collect()
    }
}

#[test]
#[ignore = "real: needs postfix, named"]
fn tells_what_became_of_a_message() {
    let mail = Mail::start();
    // The host's name leads to the site only in its own DNS; the certificate is held against the name all the same.
    let ip = mail.site.address.ip().to_string();
    for (server, subject) in [
        (format!("{ip}:587"), "試験 by 587"),
        (format!("{ip}:465"), "by 465"),
    ] {
        let sent = mail
            .send(
                ALICE,
                &["--server", &server, "--subject", subject, "--format", "json"],
            )
            .expect(0)
            .json();
        assert_eq!(
            (
                &sent["outcome"],
                &sent["ok"],
                &sent["mechanism"],
                &sent["tls"]["verified"]
            ),
            (&"delivered".into(), &true.into(), &"PLAIN".into(), &true.into()),
            "{sent:#}"
        );
        assert_eq!(sent["deliveries"][0]["dsn"], "2.0.0", "{sent:#}");
        let id = sent["message_id"].as_str().unwrap();
        let inbox = mail.inbox();
        let arrived = inbox
            .iter()
            .find(|message| message.contains(&format!("Message-ID: <{id}>")));
        let arrived = arrived.unwrap_or_else(|| panic!("{id} is not in {inbox:?}"));
        let queue_id = sent["queue_id"].as_str().unwrap();
        assert!(
            arrived.contains(&format!("with ESMTPSA id {queue_id}")),
            "{arrived}"
        );
        let expected = if subject.is_ascii() {
            "Subject: by 465\n"
        } else {
            "Subject: =?utf-8?B?6Kmm6aiTIGJ5IDU4Nw==?=\n"
        };
        assert!(arrived.contains(expected), "{arrived}");
    }

    let at = ["--server", &ip];
    let deferred = mail
        .send("bob@deferred.test", &[&at[..], &["--timeout", "5"]].concat())
        .expect(4);
    for words in [
        "deferred\n",
        "4.2.0",
        "Greylisted, ",
        "tried again by itself",
        "postsuper -d",
    ] {
        assert!(deferred.to_string().contains(words), "{words}: {deferred}");
    }
    assert!(!deferred.to_string().contains('\u{1b}'), "{deferred}");
    let gone = mail
        .send("bob@gone.test", &[&at[..], &["--timeout", "5"]].concat())
        .expect(4);
    assert!(
        gone.stderr.contains("Connection refused") && gone.stderr.contains("mailcert check outbound"),
        "{gone}"
    );
    let bounced = mail
        .send("bob@bounced.test", &[&at[..], &["--format", "json"]].concat())
        .expect(1);
    let told = bounced.json();
    assert_eq!(
        (&told["outcome"], &told["deliveries"][0]["dsn"]),
        (&"bounced".into(), &"5.1.1".into()),
        "{bounced}"
    );
    assert!(
        told["deliveries"][0]["relay"].as_str().unwrap().contains(":2526"),
        "{bounced}"
    );
    assert!(
        told["error"]["causes"][0]
            .as_str()
            .unwrap()
            .contains("nobody of that name"),
        "{bounced}"
    );
    assert!(!told.to_string().contains("secret-alice"));

    // Where the log cannot be read, the queue tells what waits, and nothing tells what has left it.
    let elsewhere = mail.site.scratch.path().join("another-log").display().to_string();
    mail.site
        .postfix
        .edit_main_cf(|text| [text, format!("maillog_file = {elsewhere}\n").into_bytes()].concat());
    let waits = mail
        .send("bob@deferred.test", &[&at[..], &["--timeout", "6"]].concat())
        .expect(4);
    assert!(
        waits.stdout.starts_with("deferred\n") && waits.stdout.contains("Greylisted"),
        "{waits}"
    );
    let left = mail.send(ALICE, &at).expect(4);
    assert!(
        left.stderr.contains("nothing here tells what became of it"),
        "{left}"
    );
}

#[test]
#[ignore = "real: needs postfix, named"]
fn tells_where_it_was_refused() {
    let mail = Mail::start();
    let ip = mail.site.address.ip().to_string();
    let server = ["--server", ip.as_str()];
    let check = |outcome: Outcome, code: i32, words: &[&str]| {
        let outcome = outcome.expect(code);
        for word in words {
            assert!(outcome.to_string().contains(word), "{word}: {outcome}");
        }
        assert!(!outcome.to_string().contains("secret-alice"), "{outcome}");
    };
    let wrong = mail
        .site
        .scratch
        .secret_file("wrong", "guess\n")
        .display()
        .to_string();
    let run = |args: &[&str]| mail.site.mailcert().run(&[&["send-test"], args].concat());
    let login = [ALICE, ALICE, "--user", "alice", "--server", &ip];
    check(
        run(&[&login[..], &["--password-file", &wrong]].concat()),
        1,
        &["refuses the login", "535 5.7.8", "doveadm auth test"],
    );
    check(
        run(&[ALICE, ALICE, "--server", &ip]),
        1,
        &["refuses the", "--user NAME"],
    );
    check(
        mail.send("nobody@example.test", &server),
        1,
        &["refuses the recipient", "550 5.1.1"],
    );
    let password = mail.password.display().to_string();
    check(
        run(&[
            "bob@example.test",
            ALICE,
            "--user",
            "alice",
            "--password-file",
            &password,
            "--server",
            &ip,
        ]),
        1,
        &["refuses the", "553 5.7.1", "not owned by user alice"],
    );
    // The certificate: for another name, of a CA that is not known; the password is not said then.
    check(
        mail.send(ALICE, &[&server[..], &["--name", "imap.example.test"]].concat()),
        1,
        &[
            "a certificate that mail programs refuse",
            "not for imap.example.test",
            "--no-verify",
        ],
    );
    let other = mail
        .site
        .scratch
        .file("other.pem", crate::support::Authority::new().root());
    let other = other.display().to_string();
    check(
        mail.send(ALICE, &[&server[..], &["--root-ca-file", &other]].concat()),
        1,
        &["a certificate that mail programs refuse", "trusted root"],
    );
    assert!(!mail.site.postfix.log().contains("imap.example.test"));
    check(
        mail.send(
            ALICE,
            &[&server[..], &["--name", "imap.example.test", "--no-verify"]].concat(),
        ),
        0,
        &["delivered", "certificate not verified, as you wanted it"],
    );
    // No TLS: 25 offers no login, and a server without STARTTLS hears nothing.
    let next = format!("{ip}:2525");
    check(
        mail.send(ALICE, &["--server", &next]),
        1,
        &["speaks no TLS", "does not offer STARTTLS"],
    );
    check(
        mail.send(ALICE, &["--server", &format!("{ip}:25")]),
        1,
        &["lets nobody log in"],
    );
    check(
        mail.send(ALICE, &["--server", &format!("{ip}:2999")]),
        1,
        &["cannot be talked to", "ss -ltn"],
    );

    // A person types the password; nobody is there to type, and a password without a name.
    let typed = mail
        .site
        .mailcert()
        .run_at_terminal(&[&["send-test"], &login[..]].concat(), "secret-alice\n");
    check(typed, 0, &["Password of alice: ", "delivered"]);
    check(run(&login), 2, &["stdin is no terminal", "--password-file"]);
    check(run(&[ALICE, ALICE, "--password-file", &password]), 2, &["--user"]);
    check(run(&["not an address", ALICE]), 2, &["FROM"]);
    check(
        run(&[ALICE, ALICE, "--user", "alice", "--password-file", "/nonexistent"]),
        2,
        &["/nonexistent"],
    );

    // Without a configuration the server has to be named.
    let mut bare = mail.site.mailcert();
    bare.config = Some("/nonexistent/mailcert.toml".into());
    check(bare.run(&["send-test", ALICE, ALICE]), 2, &["--server HOST:587"]);
    let sent = bare.run(&[
        "send-test",
        ALICE,
        ALICE,
        "--user",
        "alice",
        "--password-file",
        &password,
        "--server",
        &ip,
        "--name",
        "mail.example.test",
        "--timeout",
        "3",
    ]);
    check(sent, 4, &["taken; what became of it is not known", "queue id"]);
}
