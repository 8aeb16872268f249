//! Every example of the help, run as it stands: by a shell, in a host of its own with the names that it has.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use clap::CommandFactory;
use mailcert::cli::args::Cli;

use crate::support::{
    Bind, LoopbackAddress, Manner, Pebble, PebbleOptions, Postfix, PostfixOptions, Scratch, Terminal, Zone,
    foreign::fetched,
};

/// What is asked at the terminal, and the answer.
type Dialog = &'static [(&'static str, &'static str)];

const NOTHING: Dialog = &[];
const NEW_PASSPHRASE: Dialog = &[
    ("Passphrase for", "open sesame"),
    ("The same again", "open sesame"),
];
const PASSPHRASE: Dialog = &[("Passphrase of", "open sesame")];

/// What goes before an example, the example, what is asked then, and how it ends; in an order in which each finds what it needs.
const RUN: &[(&str, &str, Dialog, i32)] = &[
    // The private CA: the simple one, then in its place one whose root is kept elsewhere.
    ("", "ca init --domain example.jp", NEW_PASSPHRASE, 0),
    ("", "ca show --all", NOTHING, 0),
    (
        "openssl req -new -newkey rsa:2048 -noenc -keyout mail.key -out mail.csr -subj /CN=www.example.jp \
         -addext subjectAltName=DNS:www.example.jp 2>/dev/null",
        "ca sign mail.csr > mail.pem",
        PASSPHRASE,
        0,
    ),
    (
        "openssl x509 -in mail.pem -noout -checkhost www.example.jp",
        "ca issue mail.example.jp --out-dir /root/new",
        PASSPHRASE,
        0,
    ),
    ("", "ca crl", PASSPHRASE, 0),
    ("", "ca export --out-dir /var/www/html/mail", NOTHING, 0),
    (
        "",
        "ca revoke mail.example.jp --reason keyCompromise",
        PASSPHRASE,
        0,
    ),
    (
        "rm -r /var/lib/mailcert",
        "ca init --domain example.jp --intermediate --root-key /media/usb/root.key",
        NEW_PASSPHRASE,
        0,
    ),
    // What another client left.
    (
        ". /root/lab && REQUESTS_CA_BUNDLE=$root certbot certonly --standalone --http-01-address $ip --server $directory \
         --agree-tos --register-unsafely-without-email --non-interactive -d mail.example.jp",
        "import certbot /etc/letsencrypt --lineage mail.example.jp --dry-run",
        &[
            ("Name of this mail host", "mail.example.jp"),
            ("Mail domains", "example.jp"),
        ],
        0,
    ),
    // The host: asked for what it does not know, and as a script does it.
    (
        "install -D /root/answers.toml /etc/mailcert/mailcert.toml",
        "init --host mail.example.jp --domain example.jp",
        &[("Do you agree to them?", "yes"), ("Do all this?", "no")],
        2,
    ),
    (
        "",
        "init --host mail.example.jp --domain example.jp --agree-to-terms --yes",
        NOTHING,
        0,
    ),
    ("", "issue mail.example.jp", NOTHING, 0),
    ("", "renew --force mail.example.jp", NOTHING, 0),
    (
        "mailcert renew --force mail.example.jp",
        "deploy mail.example.jp --generation 3",
        NOTHING,
        0,
    ),
    ("", "status --format json", NOTHING, 0),
    ("", "probe mail.example.jp:25", NOTHING, 0),
    ("", "check dns example.jp", NOTHING, 0),
    ("", "plan postfix", NOTHING, 0),
    ("", "apply postfix dns --yes", NOTHING, 0),
    ("", "records --format zone", NOTHING, 0),
    ("", "account show", NOTHING, 0),
    ("", "account rollover", NOTHING, 0),
    // That CA is not there, and would not know this key.
    (
        "printf %s c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0 > /root/eab && chmod 600 /root/eab",
        "account register --directory zerossl --eab-key-id KID --eab-hmac-key-file /root/eab --agree-to-terms",
        NOTHING,
        1,
    ),
    (
        "",
        "revoke mail.example.jp --reason keyCompromise --yes",
        NOTHING,
        0,
    ),
    // A CA that works by hand: here our own, by the request that waits.
    ("", "csr mail.example.jp --subject C=JP,O=Example", NOTHING, 0),
    (
        "mailcert csr mail.example.jp --subject C=JP,O=Example > request.pem && \
         echo open sesame | mailcert ca sign request.pem --passphrase-file - > chain.pem && \
         csplit --quiet --prefix part- chain.pem '/BEGIN CERT/' '{*}' && \
         mv part-01 mail-server.pem && mv part-02 intermediate.pem",
        "install mail.example.jp mail-server.pem intermediate.pem",
        NOTHING,
        0,
    ),
    // Nobody of this name may log in.
    (
        "",
        "send-test alice@example.jp someone@example.net --user alice",
        &[("Password of alice", "wrong")],
        1,
    ),
    ("", "account deactivate --yes", NOTHING, 0),
    ("", "undo", NOTHING, 0),
    ("", "man /usr/local/share/man/man1", NOTHING, 0),
    (
        "",
        "completions bash > /etc/bash_completion.d/mailcert",
        NOTHING,
        0,
    ),
];

/// A host that has a file system of its own above this machine's, in which the program is `mailcert`.
struct Host {
    holder: Child,
}

impl Host {
    fn new(scratch: &Scratch) -> Self {
        let private = scratch.dir("private").display().to_string();
        let mut script = format!("set -e\nmount --make-rprivate /\nmount -t tmpfs tmpfs {private}\n");
        for dir in ["etc", "root", "usr/local", "var"] {
            script.push_str(&format!(
                "mkdir -p {private}/{dir}/up {private}/{dir}/work\n\
                 mount -t overlay overlay -o lowerdir=/{dir},upperdir={private}/{dir}/up,workdir={private}/{dir}/work /{dir}\n"
            ));
        }
        script.push_str(&format!(
            "mount -t tmpfs tmpfs /media\nmkdir -p /media/usb /root/work /var/www/html /etc/bash_completion.d\n\
             rm -rf /etc/mailcert /var/lib/mailcert /etc/letsencrypt\n\
             ln -sf {program} /usr/local/bin/mailcert\necho ready\nexec cat\n",
            program = env!("CARGO_BIN_EXE_mailcert"),
        ));
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        scratch.remember("pids", &holder.id().to_string());
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n", "the host's files could not be laid out");
        Self { holder }
    }

    /// Runs a line as a person would type it; returns how it ended, and what it said.
    fn shell(&self, line: &str, dialog: Dialog) -> (i32, String) {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.id().to_string(), "--mount", "sh", "-c"])
            .arg(format!("cd /root/work || exit 99\n{line}"))
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            );
        if dialog.is_empty() {
            let output = command.stdin(Stdio::null()).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            return (
                output.status.code().unwrap_or(-1),
                String::from_utf8_lossy(&said).into_owned(),
            );
        }
        let mut terminal = Terminal::start(&command);
        for (question, answer) in dialog {
            terminal.until(question);
            terminal.until(": ");
            terminal.answer(answer);
        }
        terminal.end()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its standard input ends, and so does it; the mounts go with it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Returns the examples of a command and of those below it: what stands after `mailcert` in lines of their own.
fn examples(command: &clap::Command) -> Vec<String> {
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let own = help
        .replace(" \\\n", " ")
        .lines()
        .fold(Vec::new(), |mut all: Vec<String>, line| {
            if let Some(example) = line.strip_prefix("  mailcert ") {
                all.push(example.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            all
        });
    own.into_iter()
        .chain(command.get_subcommands().flat_map(examples))
        .collect()
}

#[test]
#[ignore = "real: needs postfix, named, pebble, unshare"]
fn every_example_of_the_help_runs_as_it_stands() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    let records = format!("@ MX 10 mail\nmail A {}\n", address.ip());
    let zones = Zone::with_parents("example.jp", &address, &records);
    let bind = Bind::start_as(&scratch, "named", &address, &zones, Manner::Authoritative);
    let pebble = Pebble::start(&scratch, bind.address(), &PebbleOptions::quiet());
    let postfix = Postfix::prepare(&scratch, &address, &PostfixOptions::default());
    let host = Host::new(&scratch);
    let prepared = format!(
        "set -e\necho nameserver {ip} > /etc/resolv.conf\nln -s {certbot} /usr/local/bin/certbot\n\
         printf 'ip=%s directory=%s root=%s' {ip} {directory} {root:?} > /root/lab\n\
         cat > /root/answers.toml <<'END'\n\
         version = 1\n\
         [acme]\ndirectory = \"{directory}\"\nroot_ca_file = {root:?}\n\
         [acme.challenge]\ntype = \"http-01\"\nlisten = [\"{ip}:80\"]\n\
         [renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\nconfig_directory = {postfix:?}\n\
         [dns]\nprovider = {{ type = \"rfc2136\", server = \"{ip}:53\", key_name = \"{key}\", \
         algorithm = \"hmac-sha256\", secret_file = {secret:?} }}\npublish = [\"spf\"]\nEND\n",
        ip = address.ip(),
        certbot = fetched("certbot/bin/certbot").display(),
        directory = pebble.directory(),
        root = pebble.root_ca_file(),
        postfix = postfix.config_directory(),
        key = bind.key_name(),
        secret = bind.secret_file(),
    );
    let (code, said) = host.shell(&prepared, NOTHING);
    assert_eq!(code, 0, "{said}");
    // In there it sees the keys. It waits until port 25 takes connections.
    let (code, said) = host.shell(
        &format!("postfix -c {} start", postfix.config_directory().display()),
        NOTHING,
    );
    assert_eq!(code, 0, "{said}");
    postfix.launch();

    for (before, example, dialog, expected) in RUN {
        if !before.is_empty() {
            let (code, said) = host.shell(before, NOTHING);
            assert_eq!(code, 0, "{before}: {said}");
        }
        let (code, said) = host.shell(&format!("mailcert {example}"), dialog);
        assert_eq!(code, *expected, "mailcert {example}\n{said}");
    }

    let mut left = examples(&Cli::command());
    assert!(left.len() > 20, "{left:?}");
    left.retain(|example| !RUN.iter().any(|(_, run, _, _)| run == example));
    assert!(left.is_empty(), "no test runs these: {left:#?}");
}
