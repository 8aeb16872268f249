//! A configuration that cannot be used: exit 2, the place, and what to do about it.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{host::Host, support::golden::golden};

/// Every command that reads the configuration.
const COMMANDS: &[&[&str]] = &[
    &["issue"],
    &["renew"],
    &["deploy"],
    &["install", "mail.example.test", "--from", "/nonexistent"],
    &["status"],
    &["check"],
    &["plan"],
    &["apply", "--yes"],
    &["undo"],
    &["records"],
];

/// Asserts that every command refuses the file, and that nothing was made.
#[track_caller]
fn refused(host: &Host, case: &str) {
    let told = host.said(&["status"]).expect(2);
    golden(&format!("configuration/{case}.txt"), &told.stderr);
    for command in COMMANDS {
        let outcome = host.said(command).expect(2);
        assert_eq!(
            (outcome.stdout.as_str(), &outcome.stderr),
            ("", &told.stderr),
            "{command:?}"
        );
        let json = host
            .run(&[command, &["--format", "json"][..]].concat())
            .expect(2)
            .json();
        assert_eq!(
            (&json["command"], &json["ok"]),
            (&command[0].into(), &false.into())
        );
        assert!(
            json["error"]["message"]
                .as_str()
                .unwrap()
                .contains("mailcert.toml"),
            "{json}"
        );
        assert!(!json["error"]["causes"].as_array().unwrap().is_empty(), "{json}");
    }
    assert!(
        !host.state().exists(),
        "nothing is made for a configuration that is wrong"
    );
}

#[test]
fn missing() {
    refused(&Host::new(), "missing");
}

#[test]
fn others_may_write_it() {
    let host = Host::with_lineages(&["mail.example.test"]);
    fs::set_permissions(host.config_file(), fs::Permissions::from_mode(0o666)).unwrap();
    refused(&host, "others-may-write");
}

#[test]
fn a_directory_in_its_place() {
    let host = Host::new();
    fs::create_dir(host.config_file()).unwrap();
    refused(&host, "directory");
}

#[test]
fn not_text() {
    let host = Host::new();
    host.scratch.file("mailcert.toml", b"version = 1\n# \xff\n");
    refused(&host, "not-utf8");
}

#[test]
fn too_large() {
    let host = Host::new();
    host.write_config(&(host.config() + &"#".repeat(16 << 20)));
    refused(&host, "too-large");
}

#[test]
fn wrong_keys() {
    let check = |case: &str, edit: &dyn Fn(String) -> String| {
        let host = Host::new();
        host.write_config(&edit(host.config()));
        refused(&host, case);
    };
    check("unknown-key", &|text| text.replace("domains =", "domain ="));
    check("wrong-word", &|text| text + "publish = [\"dmrac\"]\n");
    check("not-toml", &|text| text.replace("domains = [", "domains = "));
    check("newer-version", &|text| {
        text.replace("version = 1\n", "version = 2\n")
    });
    check("no-host", &|text| {
        text.replace("name = \"mail.example.test\"\n", "")
    });
    check("several-errors", &|text| {
        text.replace("timer = \"none\"", "timer = \"hourly\"\nbefor = \"30d\"")
            .replace("manage = false", "manage = \"no\"")
            + "\n[[certificate]]\nidentifiers = []\n"
    });
}
