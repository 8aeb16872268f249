//! The rules of the house that a program can check: direction of imports, purity, and that every example and hook is
//! read by a test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Who may use whom: a module and everything of the crate it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("model", &["error", "model"]),
    ("config", &["config", "error", "model"]),
    ("env", &["env", "error"]),
    ("store", &["config", "env", "error", "model", "store"]),
    ("acme", &["acme", "config", "env", "error", "model"]),
    ("ca", &["ca", "env", "error", "model"]),
    ("dns", &["config", "dns", "env", "error", "model"]),
    ("dovecot", &["config", "dovecot", "env", "error", "model"]),
    ("firewall", &["env", "error", "firewall", "model"]),
    ("hook", &["config", "env", "error", "hook", "model"]),
    ("postfix", &["config", "env", "error", "model", "postfix"]),
    ("probe", &["config", "env", "error", "model", "probe"]),
    ("timer", &["config", "env", "error", "model"]),
    (
        "commands",
        &[
            "acme", "ca", "commands", "config", "dns", "dovecot", "env", "error", "firewall", "hook",
            "model", "postfix", "probe", "store", "timer",
        ],
    ),
    (
        "cli",
        &["ca", "cli", "commands", "config", "env", "error", "model"],
    ),
];

/// What a file that says `Pure.` may not name.
const IMPURE: &[&str] = &[
    "crate::env",
    "std::fs",
    "std::process",
    "tokio::",
    "TcpStream",
    "UdpSocket",
    "SystemTime::now",
];

/// Returns the program's own sources. What Cargo runs before it builds them is none.
fn program() -> Vec<PathBuf> {
    sources("src", ".rs")
        .into_iter()
        .filter(|path| !is_test(path) && !path.ends_with("src/build.rs"))
        .collect()
}

fn sources(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns whether a file is one of unit tests, which may name anything.
fn is_test(path: &Path) -> bool {
    let inside = path.components().any(|part| part.as_os_str() == "tests");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let named = ["tests.rs", "real.rs", "fake.rs", "scratch.rs"];
    path.starts_with(root) && (inside || named.iter().any(|name| path.ends_with(name)))
}

/// Returns the source without comments and without its unit tests, which may name anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn module(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path
        .strip_prefix(root)
        .unwrap()
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the modules of the crate that a source names: `crate::x`, and `use crate::{x, y}`.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => named.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(character),
                    _ => {}
                }
            }
            named.push(word);
        } else {
            named.push(rest.to_owned());
        }
    }
    let first = |text: &String| {
        let text = text.trim();
        text.split(|character: char| !character.is_alphanumeric() && character != '_')
            .next()
            .unwrap_or("")
            .to_owned()
    };
    named.iter().map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn imports_point_down_only() {
    let mut wrong = Vec::new();
    for path in program() {
        let module = module(&path);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let allowed = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("{module} is not in the table of who may use whom"));
        for named in named_modules(&code(&path)) {
            if !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {module} may not use {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_files_are_pure() {
    let mut wrong = Vec::new();
    let mut n_pure = 0;
    for path in program() {
        let text = fs::read_to_string(&path).unwrap();
        let about: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if !about.contains("Pure") {
            assert!(
                !matches!(module(&path).as_str(), "model" | "error" | "config"),
                "{} is not pure",
                path.display()
            );
            continue;
        }
        n_pure += 1;
        let code = code(&path);
        wrong.extend(
            IMPURE
                .iter()
                .filter(|name| code.contains(**name))
                .map(|name| format!("{}: {name}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_pure > 10, "only {n_pure} files say that they are pure");
}

#[test]
fn only_the_edge_reads_files_clock_and_processes() {
    // Modules whose business it is; everything else goes through `env`.
    let edges = [
        "env", "ca", "store", "acme", "dns", "dovecot", "hook", "probe", "postfix",
    ];
    let mut wrong = Vec::new();
    for path in program() {
        let code = code(&path);
        let banned = [
            "OffsetDateTime::now_utc",
            "std::process::Command",
            "SystemTime::now",
            "std::env::var",
        ];
        let module = module(&path);
        for name in banned {
            if code.contains(name) && (module != "env") {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
        if code.contains("std::fs") && !edges.contains(&module.as_str()) {
            wrong.push(format!("{}: std::fs", path.display()));
        }
        if code.contains("println!") || code.contains("eprintln!") {
            wrong.push(format!("{}: prints past Env", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in sources("src", ".rs").into_iter().chain(sources("tests", ".rs")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no module documentation",
            path.display()
        );
    }
}

#[test]
fn the_debian_package_is_of_this_version_and_licence() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let first = format!("mailcert ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(read("examples/debian/changelog").starts_with(&first), "{first}");

    // The licence file and the package say the same, paragraph by paragraph.
    let words = |text: &str| {
        text.split_whitespace()
            .filter(|word| *word != ".")
            .collect::<Vec<_>>()
            .join(" ")
    };
    let licence = read("LICENSE");
    let (_, mit) = licence.split_once("\nMIT License\n").unwrap();
    let copyright = read("examples/debian/copyright");
    let (_, packaged) = copyright.split_once("\nLicense: MIT\n").unwrap();
    assert_eq!(words(packaged), words(mit));

    // dpkg goes on after a failed line of a script that does not say otherwise. tests/debian-package tries what they do.
    for script in ["config", "postinst", "prerm", "postrm"] {
        let text = read(&format!("examples/debian/{script}"));
        assert!(
            text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n"),
            "{script}"
        );
    }
    // The purge asks for the answer by this name.
    assert!(read("examples/debian/templates").starts_with("Template: mailcert/remove-keys\n"));
    assert!(read("examples/debian/postrm").contains("db_get mailcert/remove-keys"));
}

#[test]
fn every_example_and_hook_is_read_by_a_test() {
    let readers: String = sources("src", ".rs")
        .into_iter()
        .chain(sources("tests", ""))
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect::<String>()
        + &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    // Documents are for people; `.ci/run` gives every shell script to shellcheck, by their first line.
    let shown = sources("examples", "").into_iter().chain(sources("hooks", ""));
    for path in shown.filter(|path| path.extension().is_none_or(|ending| ending != "md")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(readers.contains(&name), "nothing reads {}", path.display());
    }
}

#[test]
fn every_test_that_stands_for_a_threat_is_there() {
    let told = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md")).unwrap();
    let tests: String = sources("src", ".rs")
        .into_iter()
        .chain(sources("tests", ".rs"))
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let rows = told
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    // The last cell of each row.
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    let names: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 30, "only {} tests are named", names.len());
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !tests.contains(&format!("fn {name}(")))
        .collect();
    assert!(
        missing.is_empty(),
        "SECURITY.md names tests that are not there: {missing:?}"
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut wrong = Vec::new();
    let mut before = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if inside && line.contains('=') && !line.starts_with('#') && !before.starts_with('#') {
            wrong.push(line);
        }
        before = line;
    }
    assert!(
        wrong.is_empty(),
        "dependencies without a reason:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_finding_is_in_the_manual_and_every_id_there_is_found() {
    use mailcert::model::finding::IDS;
    let sources: String = program()
        .iter()
        .filter(|path| !path.ends_with("finding/ids.rs"))
        .map(|path| code(path))
        .collect();
    let mut wrong = Vec::new();
    for (id, _) in IDS {
        if !sources.contains(&format!("\"{id}\"")) {
            wrong.push(format!("nothing finds {id}"));
        }
    }
    let families = [
        "address",
        "ca",
        "caa",
        "certificate",
        "dkim",
        "dmarc",
        "dns",
        "dnssec",
        "dovecot",
        "firewall",
        "mta-sts",
        "mx",
        "notify",
        "outbound",
        "postfix",
        "ptr",
        "spf",
        "srv",
        "timer",
        "tls",
        "tls-rpt",
        "tlsa",
    ];
    for (at, _) in sources.match_indices("Severity::") {
        let next = &sources[at..(at + 160).min(sources.len())];
        let pieces: Vec<&str> = next.split('"').collect();
        // One that the window cuts off has no end.
        let whole = pieces.iter().take(pieces.len() - 1);
        for literal in whole.skip(1).step_by(2).copied() {
            let is_id = literal
                .split_once('.')
                .is_some_and(|(family, _)| families.contains(&family));
            if is_id && !literal.contains(' ') && !IDS.iter().any(|(id, _)| *id == literal) {
                wrong.push(format!("{literal} is not in the manual"));
            }
        }
    }
    assert!(IDS.is_sorted(), "the ids are not in order");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
