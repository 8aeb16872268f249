//! Configurations of Dovecot by many hands: whatever is planned for them is done, done once, and taken back byte for byte.
//!
//! As for Postfix's ([`crate::corpus`]), they are not part of this repository. Where one includes `conf.d/*.conf`, which only its own
//! host has, it is given the package's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use time::Duration;

use crate::{
    corpus::{configurations, corpus, ensure},
    support::{Authority, Mailcert, Outcome, Scratch, world::HOST},
};

struct Case {
    directory: PathBuf,
    mailcert: Mailcert,
}

/// Every file below, by its path.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

impl Case {
    fn new(scratch: &Scratch, state: &Path, source: &Path, number: usize) -> Self {
        let root = scratch.dir(&format!("dovecot-{number}"));
        let directory = root.join("etc");
        fs::create_dir_all(directory.join("conf.d")).unwrap();
        fs::copy(source.join("dovecot.conf"), directory.join("dovecot.conf")).unwrap();
        for (path, text) in files(Path::new("/usr/share/dovecot/conf.d")) {
            fs::write(directory.join("conf.d").join(path.file_name().unwrap()), text).unwrap();
        }
        let copied = Command::new("cp")
            .arg("-a")
            .arg(state)
            .arg(root.join("state"))
            .status();
        assert!(copied.unwrap().success());
        let managed = format!("[dovecot]\nconfig_directory = {directory:?}\nverify = []\n");
        let file = scratch.file(
            &format!("dovecot-{number}/mailcert.toml"),
            config(&root, &managed),
        );
        Self {
            directory,
            mailcert: Mailcert::new(Some(&file), &scratch.path().join("root")),
        }
    }

    /// Returns what doveconf(1) prints and says.
    fn doveconf(&self) -> (bool, BTreeSet<String>, String) {
        let main = self.directory.join("dovecot.conf");
        let output = Command::new("doveconf")
            .arg("-n")
            .arg("-c")
            .arg(main)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let lines = text(&output.stdout).lines().map(str::to_owned).collect();
        (output.status.success(), lines, text(&output.stderr))
    }

    fn apply(&self) -> Outcome {
        self.mailcert
            .run(&["apply", "dovecot", "--yes", "--format", "json"])
    }

    /// Goes all the way with it; returns what went wrong.
    fn run(&self) -> Result<&'static str, String> {
        let before = files(&self.directory);
        let (is_read, effective, said) = self.doveconf();
        if !is_read {
            let applied = self.apply();
            let words = said.trim().rsplit("line ").next().unwrap_or_default();
            let told = applied.json()["error"]
                .to_string()
                .replace("\\\"", "\"")
                .replace("\\\\", "\\");
            ensure(applied.code == 1 && told.contains(words), || {
                format!("not refused with `{words}`: {applied}")
            })?;
            ensure(files(&self.directory) == before, || {
                "touched, although Dovecot refuses it".to_owned()
            })?;
            return Ok("refused");
        }
        let planned = self.mailcert.run(&["plan", "dovecot", "--format", "json"]);
        ensure(planned.code == 0 && files(&self.directory) == before, || {
            format!("no plan: {planned}")
        })?;
        let applied = self.apply();
        ensure(applied.code == 0, || format!("not applied: {applied}"))?;
        let after = files(&self.directory);
        for (path, text) in &before {
            let now = after
                .get(path)
                .ok_or_else(|| format!("{} is gone", path.display()))?;
            let lines: BTreeSet<&[u8]> = now.split(|byte| *byte == b'\n').collect();
            for line in text.split(|byte| *byte == b'\n') {
                let commented = [b"#", line].concat();
                ensure(
                    lines.contains(line) || lines.contains(commented.as_slice()),
                    || {
                        format!(
                            "`{}` of {} is gone",
                            String::from_utf8_lossy(line),
                            path.display()
                        )
                    },
                )?;
            }
        }
        let (is_read, now, said) = self.doveconf();
        ensure(is_read, || format!("Dovecot refuses what was written: {said}"))?;
        let ours = format!("/live/{HOST}/");
        for line in effective.symmetric_difference(&now) {
            let is_planned = ["ssl_cert = ", "ssl_key = ", "ssl_alt", "ssl = yes", "ssl = no"];
            ensure(
                is_planned
                    .iter()
                    .any(|start| line.trim_start().starts_with(start)),
                || format!("`{line}` is not in the plan: {planned}"),
            )?;
        }
        ensure(
            now.iter()
                .any(|line| line.starts_with("ssl_cert = <") && line.contains(&ours)),
            || format!("ours is not what counts: {now:#?}"),
        )?;
        let again = self.apply();
        ensure(
            again.code == 0 && again.json()["changes"] == serde_json::json!([]),
            || format!("the second apply changes something: {again}"),
        )?;
        ensure(files(&self.directory) == after, || {
            "the second apply touched the files".to_owned()
        })?;
        let mut undone = self.mailcert.run(&["undo"]);
        // Files that only its own host has: what comes back names what cannot be opened.
        if undone.code != 0 && files(&self.directory) == after {
            undone = self.mailcert.run(&["undo", "--force"]);
        }
        ensure(undone.code == 0, || format!("not taken back: {undone}"))?;
        ensure(files(&self.directory) == before, || {
            "not taken back byte for byte".to_owned()
        })?;
        Ok("done and taken back")
    }
}

fn config(root: &Path, dovecot: &str) -> String {
    format!(
        "version = 1\nstate_directory = {:?}\n[host]\nname = \"{HOST}\"\ndomains = [\"example.test\"]\n\
         [[certificate]]\nidentifiers = [\"{HOST}\"]\nissuer = \"external\"\n[renew]\ntimer = \"none\"\n\
         [postfix]\nmanage = false\nverify = []\nreload = \"never\"\n{dovecot}",
        root.join("state"),
    )
}

#[test]
#[ignore = "real: needs dovecot"]
fn every_dovecot_of_the_corpus_is_changed_once_and_comes_back() {
    let Some(corpus) = corpus() else {
        eprintln!("no corpus of real configurations beside the checkout: nothing to try");
        return;
    };
    let scratch = Scratch::new();
    let authority = Authority::new();
    scratch.file("root/etc/ssl/certs/ca-certificates.crt", authority.root());
    scratch.file("root/etc/os-release", "ID=debian\n");
    let root = scratch.dir("held");
    let file = scratch.file("held/mailcert.toml", config(&root, "[dovecot]\nmanage = false\n"));
    let identity = authority.issue(HOST, Duration::days(90));
    let from = identity.leave(&scratch, "issued").display().to_string();
    let mailcert = Mailcert::new(Some(&file), &scratch.path().join("root"));
    mailcert.run(&["install", HOST, "--from", &from]).expect(0);
    let sources = configurations(&corpus, "dovecot.conf");
    let mut results = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let case = Case::new(&scratch, &root.join("state"), source, number);
        results.push((source.display().to_string(), case.run()));
    }
    let failed: Vec<String> = results
        .iter()
        .filter_map(|(name, result)| Some(format!("== {name}: {}", result.as_ref().err()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let n_done = results
        .iter()
        .filter(|(_, result)| *result == Ok("done and taken back"))
        .count();
    eprintln!(
        "{} configurations, {n_done} of them done and taken back, the others refused",
        results.len()
    );
    assert!(n_done > results.len() / 3, "{results:#?}");
}
