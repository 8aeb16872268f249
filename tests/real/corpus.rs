//! Configurations by many hands: whatever is planned for them is done, done once, and taken back byte for byte.
//!
//! They are not part of this repository (test data of others, `../shared/corpus` beside the checkout, or where
//! `MAILCERT_TEST_CORPUS` says); where there are none, one line says so. Directories and users that only their own hosts
//! have are given this host's; nothing else of them is touched.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use time::Duration;

use crate::support::{Authority, Mailcert, Scratch, world::HOST};

/// What belongs to a host rather than to a configuration.
const OF_THE_HOST: [&str; 8] = [
    "command_directory",
    "daemon_directory",
    "data_directory",
    "mail_owner",
    "meta_directory",
    "queue_directory",
    "setgid_group",
    "shlib_directory",
];

/// Where Debian keeps the mail name.
const MAILNAME: &[u8] = b"/etc/mailname";

/// Everything that can be asked of Postfix.
const WANTED: &str = "reload = \"never\"\nincoming = true\noutgoing = true\nhide_banner = true\nsubmission = true\n\
                      submissions = true\n";

/// One configuration of the corpus, as it stands in the scratch directory.
struct Case {
    name: String,
    directory: PathBuf,
    mailcert: Mailcert,
}

pub fn corpus() -> Option<PathBuf> {
    let path = std::env::var_os("MAILCERT_TEST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        PathBuf::from,
    );
    path.is_dir().then_some(path)
}

/// Returns the directories below that hold a file of this name, sorted.
pub fn configurations(below: &Path, main: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(directory) = open.pop() {
        if directory.join(main).is_file() {
            found.push(directory.clone());
        }
        let entries = fs::read_dir(&directory).unwrap().flatten();
        open.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found.sort();
    found
}

fn output(program: &str, directory: &Path, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(program)
        .arg("-c")
        .arg(directory)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Gives a main.cf this host's directories.
fn at_home(main_cf: &[u8], scratch: &Path) -> Vec<u8> {
    let value = |name: &str| match name {
        "queue_directory" => scratch.join("queue").display().to_string(),
        "data_directory" => scratch.join("data").display().to_string(),
        _ => output("postconf", scratch, &["-d", "-h", name])
            .1
            .trim()
            .to_owned(),
    };
    let mut seen = BTreeSet::new();
    let mut text = Vec::new();
    for line in main_cf.split_inclusive(|byte| *byte == b'\n') {
        let found = OF_THE_HOST.iter().find(|name| {
            let rest = line.strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'='))
        });
        match found {
            Some(name) => {
                seen.insert(*name);
                text.extend_from_slice(format!("{name} = {}\n", value(name)).as_bytes());
            }
            None => text.extend_from_slice(line),
        }
    }
    // A queue of its own, where the host's would be used else.
    let own = ["queue_directory", "data_directory"]
        .into_iter()
        .filter(|name| !seen.contains(name));
    let mut lines: Vec<u8> = own
        .flat_map(|name| format!("{name} = {}\n", value(name)).into_bytes())
        .collect();
    lines.extend(text);
    lines
}

impl Case {
    fn new(scratch: &Scratch, state: &Path, source: &Path, number: usize) -> Self {
        let root = scratch.dir(&format!("case-{number}"));
        for name in ["etc", "queue", "data"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("main.cf"), "compatibility_level = 3.6\n").unwrap();
        let mut main_cf = at_home(&fs::read(source.join("main.cf")).unwrap(), &root);
        // Debian's file with the mail name is the host's as well.
        let own = scratch
            .file("mailname", "mail.example.test\n")
            .display()
            .to_string();
        while let Some(at) = main_cf
            .windows(MAILNAME.len())
            .position(|bytes| bytes == MAILNAME)
        {
            main_cf.splice(at..at + MAILNAME.len(), own.bytes());
        }
        fs::write(root.join("etc/main.cf"), main_cf).unwrap();
        let master_cf = [
            source.join("master.cf"),
            "/usr/share/postfix/master.cf.dist".into(),
        ]
        .into_iter()
        .find(|path| path.is_file())
        .unwrap();
        fs::copy(master_cf, root.join("etc/master.cf")).unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(state)
            .arg(root.join("state"))
            .status();
        assert!(copied.unwrap().success());
        let config = config(&root) + WANTED;
        let file = scratch.file(&format!("case-{number}/mailcert.toml"), config);
        Self {
            name: source.file_name().unwrap().to_string_lossy().into_owned(),
            directory: root.join("etc"),
            mailcert: Mailcert::new(Some(&file), &scratch.path().join("root")),
        }
    }

    fn files(&self) -> [Vec<u8>; 2] {
        ["main.cf", "master.cf"].map(|name| fs::read(self.directory.join(name)).unwrap())
    }

    /// Returns what postconf(1) prints, a line each, without what depends on the place.
    fn postconf(&self, args: &[&str]) -> BTreeSet<String> {
        let (good, printed, said) = output("postconf", &self.directory, args);
        assert!(good, "{}: {said}", self.name);
        printed.lines().map(str::to_owned).collect()
    }

    /// Goes all the way with it; returns what went wrong.
    fn run(&self) -> Result<&'static str, String> {
        let before = self.files();
        let (is_read, _, said) = output("postconf", &self.directory, &["-n"]);
        let (has_services, _, said_of_services) = output("postconf", &self.directory, &["-M"]);
        let apply = || {
            self.mailcert
                .run(&["apply", "postfix", "--yes", "--format", "json"])
        };
        if !is_read || !has_services {
            let applied = apply();
            let message = if is_read { said_of_services } else { said };
            let fatal = message
                .lines()
                .find(|line| line.contains("fatal"))
                .unwrap_or_default();
            let fatal = fatal.rsplit("fatal: ").next().unwrap_or_default();
            // The file's own path is named in it; what is behind it has to be told.
            let words = fatal.rsplit(": ").next().unwrap_or_default();
            let told = applied.json()["error"].to_string().replace("\\\"", "\"");
            ensure(applied.code == 1 && told.contains(words), || {
                format!("not refused with `{words}`: {applied}")
            })?;
            ensure(self.files() == before, || {
                "touched, although Postfix refuses it".to_owned()
            })?;
            return Ok("refused");
        }
        let effective = (
            self.postconf(&["-n"]),
            self.postconf(&["-M"]),
            self.postconf(&["-P"]),
        );
        // What no daemon of its would start with is refused in its own words.
        let (is_usable, _, said) = output("postconf", &self.directory, &["-m"]);
        if !is_usable {
            let applied = apply();
            let fatal = said
                .lines()
                .find_map(|line| line.split_once("fatal: "))
                .unwrap_or_default()
                .1
                .trim();
            let told = serde_json::from_value::<Vec<String>>(applied.json()["error"]["causes"].clone());
            let told = told.unwrap_or_default().join(" ");
            ensure(applied.code == 1 && told.contains(fatal), || {
                format!("not refused with `{fatal}`: {applied}")
            })?;
            ensure(self.files() == before, || {
                "touched, although no daemon starts".to_owned()
            })?;
            return Ok("unusable");
        }
        let planned = self.mailcert.run(&["plan", "postfix", "--format", "json"]);
        ensure(planned.code == 0, || format!("no plan: {planned}"))?;
        let planned = planned.json();
        let applied = apply();
        ensure(applied.code == 0, || format!("not applied: {applied}"))?;
        let after = self.files();
        let reasons = reasons(&planned);
        lines_are_kept(&before[0], &after[0], &reasons)?;
        lines_are_kept(&before[1], &after[1], &reasons)?;
        let now = (
            self.postconf(&["-n"]),
            self.postconf(&["-M"]),
            self.postconf(&["-P"]),
        );
        for line in effective.0.symmetric_difference(&now.0) {
            let name = line.split(" =").next().unwrap_or_default();
            let is_named = reasons.iter().any(|reason| {
                reason.starts_with(&format!("{name} = "))
                    || reason.starts_with(&format!("{name} is commented out"))
            });
            ensure(is_named, || format!("`{line}` is not in the plan: {reasons:#?}"))?;
        }
        for line in effective.2.symmetric_difference(&now.2) {
            let (place, _) = line.split_once(" =").unwrap_or_default();
            let (service, name) = place.rsplit_once('/').unwrap_or_default();
            let is_named = reasons
                .iter()
                .any(|reason| reason.starts_with(&format!("{service}: -o {name}")));
            ensure(is_named, || format!("`{line}` is not in the plan: {reasons:#?}"))?;
        }
        let labels = |lines: &BTreeSet<String>| -> BTreeSet<String> {
            let words = lines
                .iter()
                .map(|line| line.split_whitespace().take(8).collect::<Vec<_>>().join(" "));
            words.collect()
        };
        let (old, new) = (labels(&effective.1), labels(&now.1));
        ensure(old.is_subset(&new), || {
            format!("services are gone: {:?}", old.difference(&new))
        })?;
        let again = apply();
        ensure(
            again.code == 0 && again.json()["changes"] == serde_json::json!([]),
            || format!("the second apply changes something: {again}"),
        )?;
        ensure(self.files() == after, || {
            "the second apply touched the files".to_owned()
        })?;
        let mut undone = self.mailcert.run(&["undo"]);
        // Files that only its own host has: what comes back names what cannot be read.
        if undone.code != 0 && self.files() == after {
            undone = self.mailcert.run(&["undo", "--force"]);
        }
        ensure(undone.code == 0, || format!("not taken back: {undone}"))?;
        ensure(self.files() == before, || {
            "not taken back byte for byte".to_owned()
        })?;
        Ok("done and taken back")
    }
}

pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn reasons(planned: &serde_json::Value) -> Vec<String> {
    let changes = planned["changes"].as_array().unwrap();
    let reasons = changes
        .iter()
        .filter_map(|change| change["reasons"].as_array())
        .flatten();
    reasons
        .filter_map(|reason| reason.as_str().map(str::to_owned))
        .collect()
}

/// Holds every line of a file against the file as it is now: it is there as it was, behind a `#`, or out of one; else a
/// reason of the plan names its parameter.
fn lines_are_kept(before: &[u8], after: &[u8], reasons: &[String]) -> Result<(), String> {
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.map(|line| line.trim_ascii_end().to_vec()).collect()
    };
    let now: BTreeSet<Vec<u8>> = lines(after).into_iter().collect();
    let mut parameter = String::new();
    for line in lines(before) {
        let text = String::from_utf8_lossy(&line).into_owned();
        if !text.starts_with([' ', '\t', '#']) && !text.is_empty() {
            parameter = text.split(['=', ' ', '\t']).next().unwrap_or_default().to_owned();
        }
        let commented = [b"#".as_slice(), &line].concat();
        let uncommented = line
            .strip_prefix(b"#")
            .map(<[u8]>::trim_ascii_start)
            .map(<[u8]>::to_vec);
        let is_template = uncommented
            .is_some_and(|inner| now.iter().any(|line| line.trim_ascii_start() == inner.as_slice()));
        if now.contains(&line) || now.contains(&commented) || is_template {
            continue;
        }
        let is_named = reasons.iter().any(|reason| {
            reason.starts_with(&format!("{parameter} = ")) || reason.starts_with(&format!("{parameter}/"))
        });
        ensure(is_named, || {
            format!("`{text}` of {parameter} is gone: {reasons:#?}")
        })?;
    }
    Ok(())
}

fn config(root: &Path) -> String {
    format!(
        "version = 1\nstate_directory = {:?}\n[host]\nname = \"{HOST}\"\ndomains = [\"example.test\"]\n\
         [[certificate]]\nidentifiers = [\"{HOST}\"]\nissuer = \"external\"\n[renew]\ntimer = \"none\"\n\
         [dovecot]\nmanage = false\n[postfix]\nverify = []\nconfig_directory = {:?}\n",
        root.join("state"),
        root.join("etc")
    )
}

#[test]
#[ignore = "real: needs postfix"]
fn every_configuration_of_the_corpus_is_changed_once_and_comes_back() {
    let Some(corpus) = corpus() else {
        eprintln!("no corpus of real configurations beside the checkout: nothing to try");
        return;
    };
    let scratch = Scratch::new();
    let authority = Authority::new();
    scratch.file("root/etc/ssl/certs/ca-certificates.crt", authority.root());
    scratch.file("root/etc/os-release", "ID=debian\n");
    // One certificate, copied to each.
    let root = scratch.dir("held");
    let file = scratch.file("held/mailcert.toml", config(&root) + "manage = false\n");
    let mailcert = Mailcert::new(Some(&file), &scratch.path().join("root"));
    let identity = authority.issue(HOST, Duration::days(90));
    let from = identity.leave(&scratch, "issued").display().to_string();
    mailcert.run(&["install", HOST, "--from", &from]).expect(0);
    let sources = configurations(&corpus, "main.cf");
    let n_sources = sources.len();
    let queue = Mutex::new(sources.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some((number, source)) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let case = Case::new(&scratch, &root.join("state"), &source, number);
                    let result = case.run();
                    results.lock().unwrap().push((case.name, result));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let failed: Vec<String> = results
        .iter()
        .filter_map(|(name, result)| Some(format!("== {name}: {}", result.as_ref().err()?)))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {n_sources}:\n{}",
        failed.len(),
        failed.join("\n")
    );
    let count = |which| results.iter().filter(|(_, result)| *result == Ok(which)).count();
    let (refused, unusable) = (count("refused"), count("unusable"));
    eprintln!(
        "{n_sources} configurations: {refused} refused as postconf refuses them, {unusable} as no daemon starts with them, \
         the others done and taken back"
    );
    assert!(
        refused < n_sources / 4 && count("done and taken back") >= n_sources / 2,
        "{results:#?}"
    );
}
