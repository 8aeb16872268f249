//! Help, wrong use, formats, colors, quiet: what every command has in common.

use clap::CommandFactory;
use mailcert::cli::args::Cli;
use time::Duration;

use crate::{
    host::{Host, verified},
    support::golden::golden,
};

#[test]
fn the_help_of_every_command_is_reviewed() {
    // The width is fixed: the real one follows the terminal.
    let mut program = Cli::command().term_width(100);
    program.build();
    let mut text = format!("{}\n", program.render_long_help());
    for command in program.get_subcommands() {
        text += &help_of(command, "mailcert");
    }
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    golden("cli_reference.txt", &(text.join("\n") + "\n"));
}

/// Returns the help of a command, and of those below it.
fn help_of(command: &clap::Command, above: &str) -> String {
    let name = format!("{above} {}", command.get_name());
    let help = command.clone().term_width(100).render_long_help();
    let below = command.get_subcommands().map(|one| help_of(one, &name));
    format!("\n=== {name}\n\n{help}\n{}", below.collect::<String>())
}

#[test]
fn help_and_version_are_results() {
    let host = Host::new();
    for args in [&["--help"][..], &["renew", "--help"], &["--version"]] {
        let outcome = host.run(args).expect(0);
        assert!(
            outcome.stdout.contains("mailcert") && outcome.stderr.is_empty(),
            "{outcome}"
        );
    }
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let run = |stdout: std::process::Stdio| {
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_mailcert"))
            .arg("--version")
            .stdout(stdout)
            .stderr(std::process::Stdio::piped())
            .spawn();
        child.unwrap().wait_with_output().unwrap()
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let outcome = run(full.into());
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{said}");
    for words in ["could not be written", "No space left", "remedy:"] {
        assert!(said.contains(words), "{said}");
    }
    // A reader that has seen enough.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let outcome = run(writer.into());
    assert_eq!((outcome.status.code(), outcome.stderr), (Some(0), Vec::new()));
}

/// Returns the names of every command's page.
fn pages(command: &clap::Command, above: &str) -> Vec<String> {
    let name = format!("{above}{}", command.get_name());
    let below = command
        .get_subcommands()
        .flat_map(|one| pages(one, &format!("{name}-")));
    std::iter::once(format!("{name}.1")).chain(below).collect()
}

#[test]
fn man_pages_and_completions_are_made_from_the_definitions() {
    let host = Host::new();
    let page = host.run(&["man"]).expect(0);
    assert!(
        page.stdout.contains(".TH mailcert 1") && page.stdout.contains("MAILCERT_CONFIG"),
        "{page}"
    );
    let directory = host.scratch.path().join("man1");
    for _ in 0..2 {
        host.run(&["man", directory.to_str().unwrap()]).expect(0);
    }
    let mut written: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = pages(&Cli::command(), "");
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    let sign = std::fs::read_to_string(directory.join("mailcert-ca-sign.1")).unwrap();
    assert!(sign.contains("Example:"), "{sign}");
    for (shell, words) in [
        ("bash", "complete -F _mailcert"),
        ("zsh", "#compdef mailcert"),
        ("fish", "complete -c mailcert"),
    ] {
        let script = host.run(&["completions", shell]).expect(0);
        assert!(script.stdout.contains(words), "{script}");
        assert!(script.stdout.contains("send-test"), "{shell}");
    }
    host.run(&["man", "--format", "json"]).expect(2);
    host.run(&["completions", "cmd.exe"]).expect(2);
}

/// Command lines that are wrong, each with a word that says why.
const WRONG: &[(&[&str], &str)] = &[
    (&["frobnicate"], "frobnicate"),
    (&["renew", "--force", "--dry-run"], "--dry-run"),
    (&["probe"], "HOST"),
    (&["deploy", "--generation", "3"], "LINEAGE"),
    (&["deploy", "a", "--generation", "three"], "three"),
    (&["install", "a"], "FILE"),
    (&["install", "a", "b.pem", "--from", "c"], "--from"),
    (&["csr"], "LINEAGE"),
    (&["csr", "a", "--subject", "C=JPN"], "longer than 2"),
    (&["csr", "a", "--subject", "X=1"], "none of C, ST, L"),
    (&["csr", "a", "--key", "rsa-1024"], "rsa-1024"),
    (&["csr", "a", "--days", "0"], "0 is not in"),
    (&["csr", "a", "--identifier", "no name"], "no name"),
    (&["csr", "a", "--basename", "b"], "--out-dir"),
    (&["csr", "a", "--passphrase"], "--out-dir"),
    (&["init", "--host", "no name"], "no name"),
    (&["init", "--challenge", "http-02"], "http-02"),
    (&["init", "--eab-key-id", "kid-1"], "--eab-hmac-key-file"),
    (&["status", "--quiet", "--verbose"], "--verbose"),
    (&["status", "extra"], "extra"),
];

#[test]
fn wrong_use_says_what_is_wrong() {
    let host = Host::new();
    for (args, word) in WRONG {
        let outcome = host.run(args).expect(2);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.contains(word),
            "{args:?}: {outcome}"
        );
        for format in [&["--format", "json"][..], &["--format=json"]] {
            let outcome = host.run(&[args, format].concat()).expect(2);
            let json = outcome.json();
            assert_eq!(
                (&json["format"], &json["ok"]),
                (&1.into(), &false.into()),
                "{args:?}"
            );
            let message = json["error"]["message"].as_str().unwrap();
            assert!(message.contains(word), "{args:?}: {message}");
            assert!(json["error"]["causes"].is_array() && json["error"]["remedies"].is_array());
        }
    }
    let outcome = host.run(&["status", "--format", "xml"]).expect(2);
    assert!(
        outcome.stderr.contains("xml") && outcome.stderr.contains("json"),
        "{outcome}"
    );
}

#[test]
fn without_a_command_the_help_is_shown_and_json_says_so() {
    let host = Host::new();
    let outcome = host.run(&[]).expect(2);
    assert!(outcome.stderr.contains("Usage: mailcert"), "{outcome}");
    let json = host.run(&["--format", "json"]).expect(2).json();
    let message = json["error"]["message"].as_str().unwrap();
    assert!(message.contains("command"), "{message}");
}

#[test]
fn a_format_that_a_command_lacks_is_wrong_use() {
    let host = Host::with_lineages(&[]);
    for args in [
        ["status", "--format", "nagios"],
        ["plan", "--format", "zone"],
        ["renew", "--format", "table"],
        ["records", "--format", "nagios"],
    ] {
        let outcome = host.run(&args).expect(2);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.contains("--format"),
            "{outcome}"
        );
        assert!(outcome.stderr.contains("remedy:"), "{outcome}");
    }
}

#[test]
fn what_is_unknown_or_not_yet_there_is_told() {
    let host = Host::with_lineages(&["mail.example.test", "www.example.test"]);
    for (args, words) in [
        (
            &["issue", "nobody"][..],
            &["nobody", "mail.example.test, www.example.test"][..],
        ),
        (&["renew", "nobody"], &["nobody", "mail.example.test"]),
        (&["deploy", "nobody"], &["nobody", "mail.example.test"]),
        (
            &["install", "nobody", "--from", "/nonexistent"],
            &["nobody", "mail.example.test"],
        ),
        (&["plan", "nothing"], &["`nothing` is no target", "postfix"]),
        (
            &["apply", "nothing", "--yes"],
            &["`nothing` is no target", "postfix"],
        ),
        (&["check", "nothing"], &["`nothing`", "postfix"]),
        (
            &["check", "postfix", "--to", "a.test"],
            &["--to", "check outbound"],
        ),
        (&["check", "dns", "example.test", "postfix"], &["alone"]),
        (&["init", "--host", "a.test", "--listen", "eth0"], &["eth0"]),
    ] {
        let outcome = host.run(args).expect(2);
        for word in words {
            assert!(outcome.stderr.contains(word), "{args:?}: {outcome}");
        }
        let json = host.run(&[args, &["--format", "json"]].concat()).expect(2).json();
        assert_eq!(json["command"], args[0], "{json}");
    }
    assert!(!host.state().join("journal").exists());
}

#[test]
fn control_characters_of_the_user_do_not_reach_the_terminal() {
    let host = Host::with_lineages(&["mail.example.test"]);
    for args in [
        &["renew", "\u{1b}[31mred"][..],
        &["plan", "\u{1b}[31mred"],
        &["check", "\u{1b}[31mred"],
        &["check", "dns", "\u{1b}[31mred"],
        &["probe", "\u{1b}[31mred"],
    ] {
        let outcome = host.run(args);
        assert_ne!(outcome.code, 0, "{outcome}");
        assert!(!outcome.to_string().contains('\u{1b}'), "{args:?}");
    }
}

#[test]
fn color_is_for_terminals_that_want_it() {
    let host = Host::with_lineages(&["mail.example.test"]);
    host.save(&verified("mail.example.test", 1, Duration::days(10)));
    let colored = |args: &[&str]| host.mailcert.run_at_terminal(args, "").stdout.contains('\u{1b}');
    assert!(colored(&["status"]));
    assert!(!host.run(&["status"]).stdout.contains('\u{1b}'));
    assert!(!colored(&["status", "--no-color"]));
    assert!(!colored(&["status", "--format", "json"]));
    for (name, value, expected) in [
        ("NO_COLOR", "1", false),
        ("NO_COLOR", "", true),
        ("TERM", "dumb", false),
    ] {
        let mut mailcert = host.mailcert.clone();
        mailcert.vars.insert(name.into(), value.into());
        let outcome = mailcert.run_at_terminal(&["status"], "");
        assert_eq!(outcome.stdout.contains('\u{1b}'), expected, "{name}={value}");
    }
}

#[test]
fn quiet_says_results_and_errors_only() {
    let host = Host::with_lineages(&["mail.example.test"]);
    let loud = host.run(&["check", "postfix", "tls"]);
    assert!(!loud.stderr.is_empty(), "{loud}");
    let quiet = host.run(&["check", "postfix", "tls", "--quiet"]);
    assert_eq!((quiet.stdout, quiet.stderr.as_str()), (loud.stdout, ""));
    let failed = host.run(&["renew", "--quiet"]).expect(1);
    assert!(failed.stderr.starts_with("mailcert: error: "), "{failed}");
}

#[test]
fn the_configuration_can_be_named_by_a_variable_and_the_option_wins() {
    let host = Host::with_lineages(&["mail.example.test"]);
    let mut mailcert = host.mailcert.clone();
    let right = mailcert.config.take().unwrap();
    mailcert
        .vars
        .insert("MAILCERT_CONFIG".into(), right.clone().into());
    mailcert.run(&["records"]).expect(0);
    mailcert
        .vars
        .insert("MAILCERT_CONFIG".into(), "/nonexistent".into());
    assert!(
        mailcert
            .run(&["records"])
            .expect(2)
            .stderr
            .contains("/nonexistent")
    );
    mailcert.config = Some(right);
    mailcert.run(&["records"]).expect(0);
}
