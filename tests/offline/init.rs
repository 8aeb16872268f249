//! `init` with and without a person at the terminal.

use std::fs;

use crate::{host::Host, support::Outcome};

/// Flags of an `init` that needs nothing of the network: another client brings the certificates.
const FLAGS: &[&str] = &["--issuer", "external", "--timer", "none", "--no-dovecot"];

impl Host {
    /// Returns the arguments of an `init` for this host.
    fn init<'a>(&'a self, paths: &'a [String; 4], more: &[&'a str]) -> Vec<&'a str> {
        let paths = paths.iter().map(String::as_str);
        std::iter::once("init")
            .chain(FLAGS.iter().copied())
            .chain(paths)
            .chain(more.iter().copied())
            .collect()
    }

    fn paths(&self) -> [String; 4] {
        let postfix = self.scratch.dir("postfix");
        self.scratch.file("postfix/main.cf", "");
        self.scratch.file("postfix/master.cf", "");
        [
            "--postfix-config-directory".to_owned(),
            postfix.display().to_string(),
            "--state-directory".to_owned(),
            self.state().display().to_string(),
        ]
    }

    /// Asserts that neither a configuration nor a state directory was made.
    #[track_caller]
    fn left_nothing(&self, outcome: &Outcome) {
        assert!(
            !self.config_file().exists() && !self.state().exists(),
            "{outcome}"
        );
    }

    fn written(&self) -> String {
        fs::read_to_string(self.config_file()).unwrap()
    }
}

#[test]
fn without_a_terminal_what_is_missing_is_named() {
    let host = Host::new();
    let paths = host.paths();
    for (flags, word) in [
        (&[][..], "--host mail.example.jp"),
        (&["--host", "mx.example.test"], "--domain"),
        (
            &["--host", "mx.example.test", "--domain", "example.test"],
            "init --yes",
        ),
    ] {
        let refused = host.run(&host.init(&paths, flags)).expect(2);
        assert!(
            refused.stderr.contains(word) && refused.stderr.contains("terminal"),
            "{refused}"
        );
        assert_eq!(refused.stdout, "");
        host.left_nothing(&refused);
    }
}

#[test]
fn with_yes_and_all_answers_the_file_is_written_and_read_again() {
    let host = Host::new();
    let paths = host.paths();
    let args = host.init(
        &paths,
        &["--host", "MX.Example.Test.", "--domain", "example.test", "--yes"],
    );
    let done = host.run(&args).expect(0);
    assert!(done.stdout.contains("a PTR record"), "{done}");
    let text = host.written();
    assert!(
        text.contains("name = \"mx.example.test\"") && text.contains("issuer = \"external\""),
        "{text}"
    );
    host.run(&["records"]).expect(0);
    let again = host.run(&args).expect(0);
    assert_eq!(host.written(), text, "{again}");
    // The file is the answers: nothing has to be said twice, and no yes is needed for nothing.
    host.run(&["init"]).expect(0);
    assert_eq!(host.written(), text);
}

#[test]
fn a_rehearsal_writes_nothing() {
    let host = Host::new();
    let paths = host.paths();
    let args = [
        "--host",
        "mx.example.test",
        "--domain",
        "example.test",
        "--dry-run",
    ];
    let shown = host.run(&host.init(&paths, &args)).expect(0);
    assert!(shown.stdout.contains("+name = \"mx.example.test\""), "{shown}");
    host.left_nothing(&shown);
    // Neither does it with a yes.
    let shown = host
        .run(&host.init(&paths, &[&args[..], &["--yes"]].concat()))
        .expect(0);
    host.left_nothing(&shown);
}

#[test]
fn a_person_is_asked_again_after_a_wrong_answer() {
    let host = Host::new();
    let paths = host.paths();
    let typed = "mx\nno such name\n\n, ,\nexample.test other.test\nmx.example.test imap.example.test\nyes\n";
    let args = host.init(&paths, &[]);
    let args: Vec<&str> = args
        .iter()
        .copied()
        .filter(|word| !["--issuer", "external"].contains(word))
        .collect();
    // Without --issuer the names and the CA are asked for as well.
    let typed = typed.replace("yes\n", "nonsense\nexternal\nyes\n");
    let done = host.mailcert.run_at_terminal(&args, &typed).expect(0);
    for words in [
        "Name of this mail host [mx.example.test]: ",
        "a full name is needed",
        "at least one mail domain is needed",
        "it names no CA that is known here",
        "Do all this? (yes or no) [no]: ",
    ] {
        assert!(done.stderr.contains(words), "`{words}`: {done}");
    }
    let text = host.written();
    for words in [
        "name = \"mx.example.test\"",
        "domains = [\"example.test\", \"other.test\"]",
        "identifiers = [\"mx.example.test\", \"imap.example.test\"]",
        "issuer = \"external\"",
    ] {
        assert!(text.contains(words), "`{words}`: {text}");
    }
}

#[test]
fn the_end_of_the_answers_leaves_nothing_behind() {
    let typed = [
        "",
        "mx.example.test\n",
        "mx.example.test\nexample.test\n",
        "mx.example.test\nexample.test",
    ];
    for typed in typed {
        let host = Host::new();
        let paths = host.paths();
        let left = host
            .mailcert
            .run_at_terminal(&host.init(&paths, &[]), typed)
            .expect(2);
        assert!(
            left.stderr.contains("no answer was given; nothing was done"),
            "{left}"
        );
        host.left_nothing(&left);
    }
}

#[test]
fn anything_but_yes_does_nothing() {
    for answer in ["no", "", "yesterday", "\u{1b}"] {
        let host = Host::new();
        let paths = host.paths();
        let args = host.init(&paths, &["--host", "mx.example.test", "--domain", "example.test"]);
        let left = host
            .mailcert
            .run_at_terminal(&args, &format!("{answer}\n"))
            .expect(2);
        assert!(left.stderr.contains("the answer was no"), "{left}");
        host.left_nothing(&left);
    }
}

#[test]
fn a_file_begun_by_hand_is_completed_and_the_rest_of_it_stays() {
    let host = Host::new();
    let paths = host.paths();
    let begun = "# ours, 2030\nversion = 1\n\n[dns]   # odd   spacing\nresolvers = [\"192.0.2.53\"]\n";
    host.write_config(begun);
    let args = ["--host", "mx.example.test", "--domain", "example.test"];
    let shown = host.run(&host.init(&paths, &args)).expect(2);
    assert!(shown.stderr.contains("+name = \"mx.example.test\""), "{shown}");
    assert_eq!(host.written(), begun, "not without a yes");
    host.run(&host.init(&paths, &[&args[..], &["--yes"]].concat()))
        .expect(0);
    let text = host.written();
    for line in begun.lines() {
        assert!(
            text.lines().any(|one| one == line),
            "`{line}` is gone from {text}"
        );
    }
    host.run(&["records"]).expect(0);

    // A person is asked for what it lacks.
    host.write_config(begun);
    let done = host
        .mailcert
        .run_at_terminal(&host.init(&paths, &[]), "mx.example.test\nexample.test\nyes\n")
        .expect(0);
    assert!(host.written().contains("domains = [\"example.test\"]"), "{done}");
}

#[test]
fn a_file_that_is_wrong_is_left_alone() {
    let host = Host::new();
    let paths = host.paths();
    for (text, words) in [
        ("version = 1\n[host]\nnam = \"a.test\"\n", "nam"),
        (
            "version = 1\n[dns]\npublish = [\"dmrac\"]\n",
            "did you mean `dmarc`?",
        ),
        ("version = ", "mailcert.toml:1:"),
    ] {
        host.write_config(text);
        let args = ["--host", "mx.example.test", "--domain", "example.test", "--yes"];
        let refused = host.run(&host.init(&paths, &args)).expect(2);
        assert!(refused.stderr.contains(words), "{refused}");
        assert_eq!(host.written(), text);
    }
}
