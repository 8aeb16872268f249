//! The shipped deploy hook, called as certbot and lego call it, with mailcert in its PATH and without.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    Outcome, World,
    foreign::{certbot, lego, self_signed},
    issuance::Issued,
    judge,
    world::HOST,
};

/// Runs the hook with these variables and nothing else but PATH.
fn run(path: &str, variables: &[(&str, String)]) -> Outcome {
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/deploy/postfix-reload");
    let output = Command::new(hook)
        .env_clear()
        .env("PATH", path)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const PLAIN_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What a certbot that renewed this directory sets.
fn certbot_sets(live: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("RENEWED_LINEAGE", text(live)),
        ("RENEWED_DOMAINS", HOST.to_owned()),
    ]
}

/// What lego 4 and lego 5 set.
fn lego_sets(prefix: &str, name: &'static str, directory: &Path) -> Vec<(String, String)> {
    let file = |end: &str| text(&directory.join(format!("{HOST}.{end}")));
    vec![
        (format!("{prefix}_{name}"), HOST.to_owned()),
        (format!("{prefix}_PATH"), file("crt")),
        (format!("{prefix}_KEY_PATH"), file("key")),
    ]
}

fn n_reloads(world: &World) -> usize {
    world.postfix.log().matches("reload --").count()
}

/// Makes Postfix name these files, as README.md of the hooks tells.
fn name_files(world: &World, chain: &Path, key: &Path) {
    let lines = format!(
        "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
        chain.display(),
        key.display()
    );
    world.postfix.edit_main_cf(|text| {
        let kept = text.split(|byte| *byte == b'\n').filter(|line| {
            !line.starts_with(b"smtpd_tls_cert_file") && !line.starts_with(b"smtpd_tls_key_file")
        });
        [kept.collect::<Vec<_>>().join(&b'\n'), lines.into_bytes()].concat()
    });
}

fn sha256(issued: &Issued) -> Result<String, String> {
    judge::certificate_sha256(&issued.fullchain)
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn with_mailcert_in_its_path_the_certificate_is_installed_and_verified() {
    let world = World::start();
    world.write_config(|text| text.replace("[[certificate]]\n", "[[certificate]]\nissuer = \"external\"\n"));
    world.name_live_files();
    let bin = world.scratch.dir("bin");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mailcert"), bin.join("mailcert")).unwrap();
    let path = format!("{}:{PLAIN_PATH}", bin.display());
    let config = ("MAILCERT_CONFIG", text(&world.config_file()));

    let first = world.pebble.issue(&world.address, &[HOST]);
    let live = certbot(&world.scratch, HOST, 1, &first);
    let variables = [certbot_sets(&live), vec![config.clone()]].concat();
    run(&path, &variables).expect(0);
    assert_eq!(world.postfix.leaf_sha256(25), sha256(&first));
    assert_eq!(world.record(HOST)["state"], "verified");

    for (prefix, name) in [("LEGO_CERT", "DOMAIN"), ("LEGO_HOOK_CERT", "NAME")] {
        let next = world.pebble.issue(&world.address, &[HOST]);
        let directory = lego(&world.scratch, HOST, &next);
        let variables = lego_sets(prefix, name, &directory);
        let mut variables: Vec<(&str, String)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        variables.push(config.clone());
        run(&path, &variables).expect(0);
        assert_eq!(world.postfix.leaf_sha256(25), sha256(&next), "{prefix}");
    }
    let serving = world.postfix.leaf_sha256(25);

    // A pair that does not belong together, and a lineage that mailcert does not know.
    let mismatched = Issued {
        fullchain: first.fullchain.clone(),
        private_key: self_signed(&[HOST], 0, 1).private_key,
    };
    let live = certbot(&world.scratch, HOST, 2, &mismatched);
    let told = run(&path, &[certbot_sets(&live), vec![config.clone()]].concat()).expect(1);
    assert!(
        told.stderr.contains("does not belong to the certificate"),
        "{told}"
    );
    let live = certbot(&world.scratch, "www.example.test", 1, &first);
    let told = run(&path, &[certbot_sets(&live), vec![config]].concat()).expect(1);
    assert!(told.stderr.contains("add it to mailcert.toml"), "{told}");
    assert_eq!(world.postfix.leaf_sha256(25), serving);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn without_mailcert_postfix_is_reloaded_and_asked() {
    let world = World::start();
    let instance = (
        "POSTFIX_CONFIG_DIRECTORY",
        text(&world.postfix.config_directory()),
    );
    let first = world.pebble.issue(&world.address, &[HOST]);
    let live = certbot(&world.scratch, HOST, 1, &first);
    name_files(&world, &live.join("fullchain.pem"), &live.join("privkey.pem"));
    let called =
        |variables: Vec<(&str, String)>| run(PLAIN_PATH, &[variables, vec![instance.clone()]].concat());

    let reloads = n_reloads(&world);
    let told = called(certbot_sets(&live)).expect(0);
    assert!(told.stderr.contains(&sha256(&first).unwrap()), "{told}");
    assert_eq!(n_reloads(&world), reloads + 1);
    assert_eq!(world.postfix.leaf_sha256(25), sha256(&first));

    let second = world.pebble.issue(&world.address, &[HOST]);
    certbot(&world.scratch, HOST, 2, &second);
    called(certbot_sets(&live)).expect(0);
    assert_eq!(world.postfix.leaf_sha256(25), sha256(&second));

    // Nothing of what follows reloads anything.
    let reloads = n_reloads(&world);
    let refuse = |issued: &Issued, n: u32, words: &str| {
        let live = certbot(&world.scratch, HOST, n, issued);
        let told = called(certbot_sets(&live)).expect(1);
        assert!(told.stderr.contains(words), "{words}: {told}");
    };
    let mismatched = Issued {
        fullchain: second.fullchain.clone(),
        private_key: first.private_key.clone(),
    };
    refuse(&mismatched, 3, "does not belong to");
    refuse(&self_signed(&[HOST], -9, -1), 4, "has expired");
    let keyless = Issued {
        fullchain: second.fullchain.clone(),
        private_key: String::new(),
    };
    refuse(&keyless, 5, "cannot read");
    let garbage = Issued {
        fullchain: second.fullchain.clone(),
        private_key: "garbage".to_owned(),
    };
    refuse(&garbage, 6, "is not a private key");
    certbot(&world.scratch, HOST, 7, &second);
    let web = certbot(
        &world.scratch,
        "www.example.test",
        1,
        &self_signed(&["www.example.test"], 0, 9),
    );
    let told = called(certbot_sets(&web)).expect(0);
    assert!(told.stderr.contains("nothing to do"), "{told}");
    let told = run(PLAIN_PATH, std::slice::from_ref(&instance)).expect(1);
    assert!(told.stderr.contains("no client called this"), "{told}");
    assert_eq!(n_reloads(&world), reloads);
    assert_eq!(world.postfix.leaf_sha256(25), sha256(&second));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn without_mailcert_what_does_not_reach_the_port_is_a_failure() {
    let world = World::start();
    let instance = (
        "POSTFIX_CONFIG_DIRECTORY",
        text(&world.postfix.config_directory()),
    );
    let first = world.pebble.issue(&world.address, &[HOST]);
    let live = certbot(&world.scratch, HOST, 1, &first);
    let with =
        |variables: Vec<(&str, String)>| run(PLAIN_PATH, &[variables, vec![instance.clone()]].concat());
    // Postfix uses a copy that this renewal did not reach: the old certificate for the same names.
    let copy: PathBuf = world
        .scratch
        .secret_file("copy.pem", &self_signed(&[HOST], 0, 9).fullchain);
    name_files(&world, &copy, &live.join("privkey.pem"));
    let told = with(certbot_sets(&live)).expect(1);
    assert!(
        told.stderr.contains("a copy that this renewal did not reach"),
        "{told}"
    );

    // lego's files, both ways that lego names them.
    for (prefix, name) in [("LEGO_CERT", "DOMAIN"), ("LEGO_HOOK_CERT", "NAME")] {
        let next = world.pebble.issue(&world.address, &[HOST]);
        let directory = lego(&world.scratch, HOST, &next);
        name_files(
            &world,
            &directory.join(format!("{HOST}.crt")),
            &directory.join(format!("{HOST}.key")),
        );
        let variables = lego_sets(prefix, name, &directory);
        with(
            variables
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect(),
        )
        .expect(0);
        assert_eq!(world.postfix.leaf_sha256(25), sha256(&next), "{prefix}");
    }

    // Postfix does not run: the reload fails, loudly.
    world.postfix.stop();
    name_files(&world, &live.join("fullchain.pem"), &live.join("privkey.pem"));
    let told = with(certbot_sets(&live)).expect(1);
    assert!(told.stderr.contains("reload failed"), "{told}");
}
