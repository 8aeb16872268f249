//! What is seen of a run from outside: metrics, mail, log lines.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::PathBuf,
    process::Stdio,
};

use mailcert::{
    env::Clock,
    model::lineage::{Failure, Lineage, RenewalInfo, State, Step},
};
use time::{Duration, OffsetDateTime};

use crate::{
    host::{Host, NOW, verified},
    support::Outcome,
};

const NAME: &str = "mail.example.test";

/// A host whose configuration has these lines in `[notify]`.
fn host_with(lineages: &[&str], notify: &str) -> Host {
    let host = Host::with_lineages(lineages);
    let text = fs::read_to_string(host.config_file()).unwrap();
    host.write_config(&format!("{text}\n[notify]\n{notify}\n"));
    host
}

/// Saves a lineage with nothing to do, about which the CA need not be asked.
fn save_idle(host: &Host, name: &str) {
    let mut lineage = verified(name, 1, Duration::days(10));
    lineage.renewal_info = Some(RenewalInfo {
        certificate_id: "a.b".to_owned(),
        window: None,
        ask_at: NOW + Duration::days(300),
    });
    host.save(&lineage);
}

/// Runs a command at another moment.
fn at(host: &Host, moment: OffsetDateTime, args: &[&str]) -> Outcome {
    let mut mailcert = host.mailcert.clone();
    mailcert.clock = Clock::Fixed(moment);
    mailcert.run(args)
}

fn metrics(host: &Host) -> String {
    fs::read_to_string(host.state().join("metrics.prom")).unwrap()
}

/// Returns a series' value.
fn value(metrics: &str, series: &str) -> Option<String> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{series} ")))?;
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

/// A sendmail that keeps what it was given, and does what is asked.
struct FakeSendmail {
    program: PathBuf,
    directory: PathBuf,
}

impl FakeSendmail {
    /// Makes one that ends with these commands of the shell.
    fn new(host: &Host, then: &str) -> Self {
        let directory = host.scratch.dir("mails");
        let fake = Self {
            program: host.scratch.path().join("sendmail"),
            directory,
        };
        fake.behave(host, then);
        fake
    }

    fn behave(&self, host: &Host, then: &str) {
        let directory = self.directory.display();
        let script = format!(
            "#!/bin/sh\nn=$(ls {directory} | grep -c mail)\nprintf '%s\\n' \"$@\" >{directory}/args\ncat >{directory}/mail.$n\n{then}\n"
        );
        host.scratch.file("sendmail", script);
        fs::set_permissions(&self.program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns the mails in the order in which they came.
    fn mails(&self) -> Vec<String> {
        (0..)
            .map_while(|n| fs::read_to_string(self.directory.join(format!("mail.{n}"))).ok())
            .collect()
    }

    fn args(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join("args")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let (head, _) = mail.split_once("\n\n").unwrap();
    let line = head
        .lines()
        .find(|line| line.starts_with(&format!("{name}: ")))
        .unwrap();
    line.split_once(": ").unwrap().1
}

#[test]
fn every_run_leaves_metrics_that_everybody_may_read() {
    let host = Host::with_lineages(&[NAME, "www.example.test"]);
    save_idle(&host, NAME);
    save_idle(&host, "www.example.test");
    host.run(&["renew"]).expect(0);
    let text = metrics(&host);
    let path = host.state().join("metrics.prom");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    let expiry = NOW + Duration::days(80);
    let series = |name: &str| value(&text, &format!("{name}{{lineage=\"{NAME}\"}}"));
    assert_eq!(
        series("mailcert_certificate_not_after_timestamp_seconds"),
        Some(expiry.unix_timestamp().to_string())
    );
    assert_eq!(series("mailcert_lineage_good").as_deref(), Some("1"));
    let now = Some(NOW.unix_timestamp().to_string());
    assert_eq!(
        value(&text, "mailcert_last_run_timestamp_seconds{command=\"renew\"}"),
        now
    );

    // A run that is about one lineage leaves the other's series; one that fails tells it, and when the last was good.
    let later = NOW + Duration::hours(1);
    at(&host, later, &["renew", "--force", NAME]).expect(1);
    let text = metrics(&host);
    assert_eq!(
        value(
            &text,
            &format!("mailcert_lineage_consecutive_failures{{lineage=\"{NAME}\"}}")
        ),
        Some("1".to_owned())
    );
    assert_eq!(
        value(
            &text,
            &format!(
                "mailcert_lineage_step_last_failure_timestamp_seconds{{lineage=\"{NAME}\",step=\"order\"}}"
            )
        ),
        Some(later.unix_timestamp().to_string())
    );
    assert!(text.contains("lineage=\"www.example.test\""), "{text}");
    assert_eq!(
        value(&text, "mailcert_last_run_success{command=\"renew\"}").as_deref(),
        Some("0")
    );
    assert_eq!(
        value(
            &text,
            "mailcert_last_success_timestamp_seconds{command=\"renew\"}"
        ),
        now
    );

    // One that comes to no lineage tells that too.
    let config = fs::read_to_string(host.config_file()).unwrap();
    let broken = config.replace(
        "terms_of_service_agreed",
        "root_ca_file = \"/nonexistent.pem\"\nterms_of_service_agreed",
    );
    let mut lineage = host.load("www.example.test");
    lineage.renewal_info = None;
    lineage.generations.get_mut(&1).unwrap().certificate_id = Some("a.b".to_owned());
    host.save(&lineage);
    host.write_config(&broken);
    at(&host, later + Duration::hours(1), &["renew", "www.example.test"]).expect(2);
    let text = metrics(&host);
    assert_eq!(
        value(&text, "mailcert_last_run_timestamp_seconds{command=\"renew\"}"),
        Some((later + Duration::hours(1)).unix_timestamp().to_string())
    );
    host.write_config(&config);

    // What a person typed wrong is no run, and another run's lock is its own.
    at(
        &host,
        later + Duration::hours(2),
        &["renew", "nobody.example.test"],
    )
    .expect(2);
    let lock = host.store().lock("renew").unwrap();
    at(&host, later + Duration::hours(2), &["renew"]).expect(4);
    drop(lock);
    assert_eq!(metrics(&host), text);
}

#[test]
fn a_lineage_taken_out_of_the_configuration_has_no_series() {
    let host = Host::with_lineages(&[NAME, "www.example.test"]);
    save_idle(&host, NAME);
    save_idle(&host, "www.example.test");
    host.run(&["renew"]).expect(0);
    assert!(metrics(&host).contains("www.example.test"));
    let text = fs::read_to_string(host.config_file()).unwrap();
    host.write_config(&text.replace("[[certificate]]\nidentifiers = [\"www.example.test\"]\n", ""));
    host.run(&["renew"]).expect(0);
    assert!(!metrics(&host).contains("www.example.test"));
}

#[test]
fn a_directory_for_metrics_that_cannot_be_used_is_told_and_fails_no_renewal() {
    let scratch = Host::new();
    let directory = scratch.scratch.path().join("collector");
    let host = host_with(
        &[NAME],
        &format!("metrics_file = {:?}", directory.join("mailcert.prom")),
    );
    save_idle(&host, NAME);
    let missing = host.run(&["renew"]).expect(0);
    assert!(
        missing.stdout.contains("note: the metrics could not be written"),
        "{missing}"
    );
    assert!(!directory.exists(), "it is not ours to make");

    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let open = host.run(&["renew"]).expect(0);
    assert!(open.stdout.contains("everybody may write there"), "{open}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o775)).unwrap();
    let good = host.run(&["renew"]).expect(0);
    assert!(!good.stdout.contains("note:"), "{good}");
    let names: Vec<_> = fs::read_dir(&directory).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(!host.state().join("metrics.prom").exists());
}

#[test]
fn mail_is_sent_for_the_third_failure_and_for_recovery_and_no_other() {
    let scratch = Host::new();
    let sendmail = FakeSendmail::new(&scratch, "");
    let host = host_with(
        &[NAME],
        &format!(
            "mail_to = [\"postmaster@example.test\", \"ops\"]\nmail_from = \"mailcert@example.test\"\nsendmail = {:?}",
            sendmail.program
        ),
    );
    host.save(&verified(NAME, 1, Duration::days(61)));
    let hours = |n| NOW + Duration::hours(n);
    for hour in [0, 1] {
        at(&host, hours(hour), &["renew"]).expect(1);
    }
    assert_eq!(sendmail.mails(), Vec::<String>::new());
    let third = at(&host, hours(2), &["renew"]).expect(1);
    let [mail] = sendmail.mails().try_into().unwrap();
    assert_eq!(
        sendmail.args(),
        [
            "-i",
            "-f",
            "mailcert@example.test",
            "--",
            "postmaster@example.test",
            "ops"
        ]
    );
    assert_eq!(
        header(&mail, "From"),
        "\"mailcert on mail.example.test\" <mailcert@example.test>"
    );
    assert_eq!(header(&mail, "To"), "postmaster@example.test,");
    assert!(
        mail.contains(",\n ops@mail.example.test\n"),
        "a header has no bare local name: {mail}"
    );
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "Date"), "Fri, 01 Mar 2030 14:00:00 +0000");
    assert!(header(&mail, "Message-ID").ends_with("@mail.example.test>"));
    assert_eq!(
        header(&mail, "Subject"),
        "mail.example.test: mail.example.test failed 3 times in a row"
    );
    for told in [
        "valid until 2030-03-30 12:00 UTC",
        "the step that fails: order",
        "What failed:",
        "127.0.0.1:1",
        "What to do:",
        &format!("renew --force {NAME}"),
    ] {
        assert!(mail.contains(told), "{told} is not in\n{mail}\n{third}");
    }
    assert!(mail.lines().all(|line| line.len() < 998), "{mail}");

    for hour in 3..40 {
        at(&host, hours(hour), &["renew"]).expect(1);
    }
    assert_eq!(sendmail.mails().len(), 1, "not every hour");

    host.save(&verified(NAME, 2, Duration::hours(1)));
    at(&host, hours(41), &["renew"]).expect(0);
    at(&host, hours(42), &["renew"]).expect(0);
    let mails = sendmail.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(
        header(&mails[1], "Subject"),
        "mail.example.test: mail.example.test is well again"
    );
}

#[test]
fn mail_that_is_not_taken_is_told_and_tried_again() {
    let scratch = Host::new();
    let sendmail = FakeSendmail::new(&scratch, "echo 'queue file write error' >&2; exit 75");
    let notify = format!(
        "mail_to = [\"ops\"]\nafter_failures = 1\nsendmail = {:?}",
        sendmail.program
    );
    let host = host_with(&[NAME], &notify);
    host.save(&verified(NAME, 1, Duration::days(61)));
    let failed = host.run(&["renew"]).expect(1);
    assert!(failed.stdout.contains("queue file write error"), "{failed}");
    assert_eq!(
        value(&metrics(&host), "mailcert_notify_mail_failed").as_deref(),
        Some("1")
    );
    sendmail.behave(&scratch, "");
    at(&host, NOW + Duration::seconds(30), &["renew"]).expect(1);
    at(&host, NOW + Duration::seconds(31), &["renew"]).expect(1);
    assert_eq!(sendmail.mails().len(), 2, "once refused, once taken");
    let text = metrics(&host);
    assert_eq!(value(&text, "mailcert_notify_mail_failed").as_deref(), Some("0"));
    assert!(
        value(&text, "mailcert_notify_mail_last_success_timestamp_seconds").is_some(),
        "{text}"
    );

    // A program that others may change is not run as root.
    fs::set_permissions(&sendmail.program, fs::Permissions::from_mode(0o777)).unwrap();
    host.save(&verified(NAME, 2, Duration::hours(1)));
    let refused = at(&host, NOW + Duration::hours(1), &["renew"]).expect(0);
    assert!(refused.stdout.contains("others may write it"), "{refused}");
    assert_eq!(sendmail.mails().len(), 2);
}

#[test]
fn a_kill_between_sending_and_recording_sends_the_mail_twice_at_most_and_never_none() {
    let scratch = Host::new();
    // The run is killed the moment its mail is out.
    let sendmail = FakeSendmail::new(&scratch, "kill -9 $PPID");
    let notify = format!(
        "mail_to = [\"ops\"]\nafter_failures = 1\nsendmail = {:?}",
        sendmail.program
    );
    let host = host_with(&[NAME], &notify);
    let now = OffsetDateTime::now_utc();
    let mut lineage = verified(NAME, 1, Duration::days(10));
    let live = lineage.generations.get_mut(&1).unwrap();
    live.not_before = now - Duration::days(10);
    live.not_after = now + Duration::days(80);
    lineage.state = State::Deployed;
    host.save(&lineage);
    let killed = host.mailcert.run_program(&["deploy", NAME]);
    assert_eq!(killed.code, -1, "{killed}");
    assert_eq!(sendmail.mails().len(), 1);
    sendmail.behave(&scratch, "");
    for _ in 0..3 {
        host.mailcert.run_program(&["deploy", NAME]).expect(1);
    }
    assert_eq!(sendmail.mails().len(), 2);
}

#[test]
fn a_certificate_that_another_client_leaves_to_expire_is_told() {
    let scratch = Host::new();
    let sendmail = FakeSendmail::new(&scratch, "");
    let notify = format!("mail_to = [\"ops\"]\nsendmail = {:?}", sendmail.program);
    let host = host_with(&[NAME], &notify);
    let text = fs::read_to_string(host.config_file()).unwrap();
    host.write_config(&text.replace(
        "identifiers = [\"mail",
        "issuer = \"external\"\nidentifiers = [\"mail",
    ));
    host.save(&verified(NAME, 1, Duration::days(0)));
    let subjects = || -> Vec<String> {
        let subject = |mail: &String| header(mail, "Subject").to_owned();
        sendmail.mails().iter().map(subject).collect()
    };
    let day = |n| NOW + Duration::days(n);
    // A third of 90 days is left from the 60th on; half of that is gone at the 75th.
    for n in [0, 59, 61, 74] {
        at(&host, day(n), &["renew"]).expect(0);
    }
    assert_eq!(subjects(), Vec::<String>::new());
    for n in [75, 76, 89] {
        at(&host, day(n), &["renew"]).expect(0);
    }
    let half = format!("{NAME}: the certificate of {NAME} expires in 15 days and is not renewed");
    assert_eq!(subjects(), [half.as_str()]);
    let mail = sendmail.mails().pop().unwrap();
    assert!(mail.contains(&format!("install {NAME} --from")), "{mail}");
    at(&host, day(90), &["renew"]).expect(1);
    at(&host, day(91), &["renew"]).expect(1);
    let expired = format!("{NAME}: the certificate of {NAME} has expired");
    assert_eq!(subjects(), [half.as_str(), expired.as_str()]);
}

#[test]
fn runs_that_come_to_no_lineage_and_records_that_cannot_be_read_are_told() {
    let scratch = Host::new();
    let sendmail = FakeSendmail::new(&scratch, "");
    let notify = format!("mail_to = [\"ops\"]\nsendmail = {:?}", sendmail.program);
    let host = host_with(&[NAME], &notify);
    let mut lineage = verified(NAME, 1, Duration::days(1));
    lineage.generations.get_mut(&1).unwrap().certificate_id = Some("a.b".to_owned());
    host.save(&lineage);
    let good = fs::read_to_string(host.config_file()).unwrap();
    host.write_config(&good.replace(
        "terms_of_service_agreed",
        "root_ca_file = \"/nonexistent.pem\"\nterms_of_service_agreed",
    ));
    for hour in 0..5 {
        at(&host, NOW + Duration::hours(hour), &["renew"]).expect(2);
    }
    let subject = |n: usize| header(&sendmail.mails()[n], "Subject").to_owned();
    assert_eq!(sendmail.mails().len(), 1);
    assert_eq!(
        subject(0),
        format!("{NAME}: the renewal run failed 3 times in a row")
    );
    assert!(
        sendmail.mails()[0].contains("/nonexistent.pem"),
        "{}",
        sendmail.mails()[0]
    );
    host.write_config(&good);
    at(&host, NOW + Duration::hours(5), &["renew"]).expect(0);
    assert_eq!(subject(1), format!("{NAME}: the renewal runs work again"));

    let path = host.store().layout().state(NAME);
    let record = fs::read(&path).unwrap();
    fs::write(&path, "{\"version\": 2}").unwrap();
    for hour in 6..11 {
        at(&host, NOW + Duration::hours(hour), &["renew"]).expect(1);
    }
    assert_eq!(sendmail.mails().len(), 3);
    assert_eq!(subject(2), format!("{NAME}: {NAME} failed 3 times in a row"));
    fs::write(&path, record).unwrap();
    at(&host, NOW + Duration::hours(11), &["renew"]).expect(0);
    assert_eq!(subject(3), format!("{NAME}: {NAME} is well again"));
}

#[test]
fn nothing_that_others_say_reaches_a_header_a_log_line_or_a_terminal_unescaped() {
    let scratch = Host::new();
    let sendmail = FakeSendmail::new(&scratch, "");
    let notify = format!(
        "mail_to = [\"ops\"]\nafter_failures = 1\nsendmail = {:?}",
        sendmail.program
    );
    let host = host_with(&[NAME], &notify);
    let mut lineage: Lineage = verified(NAME, 1, Duration::days(10));
    lineage.state = State::Deployed;
    let config = mailcert::config::v1::parse(
        &host.config_file(),
        &fs::read_to_string(host.config_file()).unwrap(),
    )
    .unwrap();
    lineage.failure = Some(Failure {
        step: Step::Verify,
        message: "x\r\nBcc: victim@example.org\n\u{1b}]0;owned\u{7}\n.\n\u{202e}".to_owned(),
        count: 3,
        at: NOW - Duration::hours(1),
        retry_at: NOW + Duration::hours(12),
        configuration: mailcert::commands::configuration_digest(&config, &config.certificates[0]),
        remedies: vec!["y\n\nFrom: z\u{1b}[2J".to_owned()],
        not_yet: false,
    });
    host.save(&lineage);
    let outcome = host.run(&["renew"]).expect(1);
    let [mail] = sendmail.mails().try_into().unwrap();
    let (head, body) = mail.split_once("\n\n").unwrap();
    assert!(!head.contains("Bcc") && !head.contains("victim"), "{mail}");
    assert!(body.contains("Bcc: victim@example.org"), "{mail}");
    let shown = host.run(&["status"]).expect(3);
    for text in [mail.as_str(), &outcome.stdout, &outcome.stderr, &shown.stdout] {
        let harmless = |character: char| character == '\n' || !character.is_control();
        assert!(text.chars().all(harmless), "{text:?}");
    }
}

/// Binds `/dev/log` of the host's own root.
fn syslog(host: &Host) -> UnixDatagram {
    let server = UnixDatagram::bind(host.scratch.dir("root/dev").join("log")).unwrap();
    server.set_nonblocking(true).unwrap();
    server
}

fn received(server: &UnixDatagram) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(size) = server.recv(&mut buffer) {
        lines.push(String::from_utf8(buffer[..size].to_vec()).unwrap());
    }
    lines
}

#[test]
fn a_run_from_cron_logs_to_syslog_and_speaks_up_only_when_something_failed() {
    let mut host = Host::with_lineages(&[NAME]);
    host.mailcert.vars.insert("MAILCERT_LOG".into(), "syslog".into());
    save_idle(&host, NAME);
    let cron = ["--quiet", "renew"];
    assert_eq!(
        host.run(&cron).expect(0).stderr,
        "",
        "without a /dev/log nothing breaks"
    );
    let server = syslog(&host);
    let quiet = host.run(&cron).expect(0);
    assert_eq!(quiet.stderr, "");
    let ident = format!("mailcert[{}]", std::process::id());
    assert_eq!(
        received(&server),
        [format!(
            "<22>{ident}: nothing was due; the next renewal is that of {NAME}, at 2030-04-20T12:00:00Z"
        )]
    );

    host.save(&verified(NAME, 1, Duration::days(61)));
    let failed = host.run(&cron).expect(1);
    assert!(failed.stderr.contains("not renewed"), "{failed}");
    let lines = received(&server);
    assert!(
        lines[0].starts_with(&format!("<19>{ident}: {NAME}: failed at order: ")),
        "{lines:?}"
    );
    assert!(lines[0].contains("next try 2030-03-01T12:01:00Z"), "{lines:?}");

    // Red as before, but nothing new: syslog knows, and cron has nothing to mail.
    let red = at(&host, NOW + Duration::seconds(30), &cron).expect(1);
    assert_eq!(red.stderr, "");
    assert!(received(&server)[0].starts_with("<20>"));
    let lock = host.store().lock("apply").unwrap();
    assert_eq!(host.run(&cron).expect(4).stderr, "");
    assert!(received(&server)[0].contains("another run works on"));
    drop(lock);

    // A person at a terminal, and a variable that means nothing.
    host.mailcert.vars.remove(std::ffi::OsStr::new("MAILCERT_LOG"));
    host.run(&["renew"]).expect(1);
    assert_eq!(received(&server), Vec::<String>::new());
    host.mailcert.vars.insert("MAILCERT_LOG".into(), "sysLog".into());
    let wrong = host.run(&["status"]).expect(2);
    assert!(wrong.stderr.contains("MAILCERT_LOG is `sysLog`"), "{wrong}");
}

#[test]
fn a_run_whose_stderr_is_the_journal_writes_lines_with_priorities_and_nothing_else() {
    let host = Host::with_lineages(&[NAME]);
    host.save(&verified(NAME, 1, Duration::days(61)));
    let journal = host.scratch.file("journal", "");
    let run = |stream: &str| {
        let file = fs::File::options().append(true).open(&journal).unwrap();
        file.set_len(0).unwrap();
        let mut command = host.mailcert.command(&["renew", "--force"]);
        command.env("JOURNAL_STREAM", stream).stderr(Stdio::from(file));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stdout = String::from_utf8(output.stdout).unwrap();
        (stdout, fs::read_to_string(&journal).unwrap())
    };
    let meta = fs::metadata(&journal).unwrap();
    let (stdout, lines) = run(&format!("{}:{}", meta.dev(), meta.ino()));
    assert_eq!(stdout, "", "the lines say it");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(
        lines[0].starts_with(&format!("<3>{NAME}: failed at order: ")),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("<6>1 failed"), "{lines:#?}");
    assert_eq!(lines.len(), 2, "{lines:#?}");

    // The variable alone is inherited by whatever a service starts.
    let (stdout, lines) = run(&format!("{}:{}", meta.dev(), meta.ino() + 1));
    assert!(stdout.contains("failed"), "{stdout}");
    assert!(lines.contains("mailcert: error:"), "{lines}");
}

/// Runs a plug-in; returns its first line and all of it.
fn plugin(host: &Host, words: &[&str], code: i32) -> (String, String) {
    let outcome = host
        .run(&[words, &["--format", "nagios"][..]].concat())
        .expect(code);
    assert_eq!(outcome.stderr, "");
    let first = outcome.stdout.lines().next().unwrap_or_default().to_owned();
    (first, outcome.stdout)
}

#[test]
fn a_plug_in_tells_days_left_and_what_is_red() {
    let host = Host::with_lineages(&[NAME]);
    save_idle(&host, NAME);
    let certificates = ["check", "certificates"];
    let (first, all) = plugin(&host, &certificates, 0);
    assert_eq!(
        first,
        format!(
            "MAILCERT OK - 1 certificate, {NAME} expires first, in 80 days | \
             '{NAME}'=80.00;15.00:;7.50: errors=0 warnings=0"
        )
    );
    assert_eq!(all.lines().count(), 1);

    host.save(&verified(NAME, 1, Duration::days(76)));
    let (first, _) = plugin(&host, &certificates, 1);
    assert!(
        first.starts_with("MAILCERT WARNING - certificate.expires-soon"),
        "{first}"
    );
    host.save(&verified(NAME, 1, Duration::days(83)));
    let (first, _) = plugin(&host, &certificates, 2);
    assert!(
        first.starts_with("MAILCERT CRITICAL - certificate.expires-soon"),
        "{first}"
    );
    host.save(&verified(NAME, 1, Duration::days(91)));
    let (first, _) = plugin(&host, &certificates, 2);
    assert!(
        first.starts_with("MAILCERT CRITICAL - certificate.expired") && first.contains("=-1.00;"),
        "{first}"
    );

    host.save(&verified(NAME, 1, Duration::days(61)));
    host.run(&["renew"]).expect(1);
    let (first, all) = plugin(&host, &certificates, 2);
    assert!(
        first.starts_with(&format!(
            "MAILCERT CRITICAL - certificate.failing {NAME}: order failed once"
        )),
        "{first}"
    );
    assert!(all.contains("; remedy: "), "{all}");

    fs::write(host.store().layout().state(NAME), "{\"version\": 2}").unwrap();
    let (first, _) = plugin(&host, &certificates, 2);
    assert!(
        first.starts_with("MAILCERT CRITICAL - certificate.unreadable"),
        "{first}"
    );
}

#[test]
fn trouble_of_the_plug_in_itself_is_unknown() {
    let host = Host::with_lineages(&[NAME]);
    for words in [
        &["check", "nonsense"][..],
        &["check", "--nonsense"],
        &["check", "dns", "not a name"],
    ] {
        let (first, _) = plugin(&host, words, 3);
        assert!(
            first.starts_with("MAILCERT UNKNOWN - ") && !first.contains('|'),
            "{words:?}: {first}"
        );
    }
    host.write_config("nonsense");
    let (first, _) = plugin(&host, &["check"], 3);
    assert!(first.starts_with("MAILCERT UNKNOWN - "), "{first}");
}

#[test]
fn a_timer_that_is_enabled_and_wakes_nobody_is_found() {
    let host = Host::with_lineages(&[NAME]);
    save_idle(&host, NAME);
    let text = fs::read_to_string(host.config_file()).unwrap();
    host.write_config(&text.replace("timer = \"none\"", "timer = \"cron\""));
    let (first, _) = plugin(&host, &["check", "timer"], 2);
    assert!(first.contains("timer.disabled"), "{first}");
    // Installed long ago, and nothing ever ran: is there a cron at all?
    let cron = host.scratch.file("root/etc/cron.d/mailcert", "");
    let installed = |hours: i64| {
        let moment = std::time::SystemTime::from(NOW - Duration::hours(hours));
        let file = fs::File::options().append(true).open(&cron).unwrap();
        file.set_modified(moment).unwrap();
    };
    installed(25);
    let (first, _) = plugin(&host, &["check", "timer"], 2);
    assert!(first.contains("timer.late"), "{first}");
    installed(2);
    plugin(&host, &["check", "timer"], 0);
    installed(2500);
    host.run(&["renew"]).expect(0);
    let check =
        |hours: i64, code: i32| at(&host, NOW + Duration::hours(hours), &["check", "timer"]).expect(code);
    assert!(check(2, 0).stdout.contains("timer.enabled"));
    assert!(check(4, 0).stdout.contains("warning timer.late"));
    assert!(check(25, 3).stdout.contains("error timer.late"));
}
