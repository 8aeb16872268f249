//! `csr` and `install FILE` where no server and no foreign program is needed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use mailcert::{
    model::{bundle, request},
    store::layout::file,
};
use rcgen::{CertificateParams, KeyPair};
use time::Duration;

use crate::{
    host::{Host, NOW, generation, verified},
    support::golden::golden,
};

const HOST: &str = "mail.example.test";

/// A host whose certificate comes from a CA that works by mail.
fn host() -> Host {
    let host = Host::new();
    let certificate = format!("\n[[certificate]]\nidentifiers = [\"{HOST}\"]\nissuer = \"external\"\n");
    host.write_config(
        &(host
            .config()
            .replace("verify = [\"smtp://127.0.0.1:1\"]", "verify = []")
            + &certificate),
    );
    host
}

fn requests(host: &Host) -> PathBuf {
    host.store().layout().requests(HOST)
}

/// Returns the key of a request that waits.
fn key(host: &Host, number: u64) -> KeyPair {
    let path = host.store().layout().request(HOST, number).join(file::PRIVKEY);
    KeyPair::from_pem(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Has the key certified by itself, as the smallest CA of all.
fn answer(host: &Host, file: &str, key: &KeyPair, names: &[&str], from: Duration, to: Duration) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (NOW + from, NOW + to);
    let path = host.scratch.file(file, params.self_signed(key).unwrap().pem());
    path.display().to_string()
}

const DAY: Duration = Duration::DAY;

#[test]
fn a_request_waits_and_is_printed_again_until_its_answer_is_installed() {
    let host = host();
    let ask = |more: &[&str]| host.run(&[&["csr", HOST, "--no-check"], more].concat()).expect(0);
    let first = ask(&[]);
    assert!(
        first.stdout.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"),
        "{first}"
    );
    assert!(
        first.stderr.contains(&format!("mailcert install {HOST} FILE")),
        "{first}"
    );
    assert!(
        !first.stderr.contains("PRIVATE") && !first.stdout.contains("PRIVATE"),
        "{first}"
    );
    assert!(request::from_pem(first.stdout.as_bytes()).is_some());
    for (path, mode) in [
        (requests(&host), 0o700),
        (requests(&host).join("1/privkey.pem"), 0o600),
    ] {
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            mode,
            "{}",
            path.display()
        );
    }
    assert_eq!(ask(&[]).stdout, first.stdout);
    assert!(ask(&["--subject", "C=JP,O=Example"]).stdout != first.stdout);
    assert_eq!(fs::read_dir(requests(&host)).unwrap().count(), 1);
    // Another key; the earlier request may still be answered.
    let second = ask(&["--new-key"]);
    assert!(second.stderr.contains("the earlier request waits on"), "{second}");
    let third = ask(&["--key", "ecdsa-p384"]);
    assert!(third.stderr.contains("of another kind (ecdsa-p256)"), "{third}");
    let json = ask(&["--key", "ecdsa-p384", "--format", "json", "--days", "365"]).json();
    assert_eq!(
        (&json["key"], &json["key_reused"], &json["waits"]),
        (&"ecdsa-p384".into(), &true.into(), &true.into())
    );
    assert!(
        json["notes"][0]
            .as_str()
            .unwrap()
            .contains("ask the CA for 365 days (public CAs give at most 47 now")
    );
    let status = host.run(&["status"]);
    assert!(status.stdout.contains("waits for the CA's answer"), "{status}");

    let pem = answer(&host, "second.pem", &key(&host, 2), &[HOST], -DAY, DAY * 365);
    host.run(&["install", HOST, &pem]).expect(0);
    let lineage = host.load(HOST);
    assert_eq!((lineage.generation, lineage.newest), (Some(1), 1));
    let live = fs::read_to_string(host.store().layout().live(HOST).join(file::PRIVKEY)).unwrap();
    assert!(live == key_pem_of(&lineage, &host));
    // What was answered is gone, and what is older; what is newer waits on.
    assert_eq!(fs::read_dir(requests(&host)).unwrap().count(), 1);
    assert!(requests(&host).join("3").is_dir());
    let status = host.run(&["status"]).expect(0);
    assert!(status.stdout.contains("requested"), "{status}");
    // The same file again changes nothing; its key is the one in use by now.
    host.run(&["install", HOST, &pem]).expect(0);
    assert_eq!(host.load(HOST).newest, 1);
    // A request that was signed again a year later is for the key in use.
    let in_use = KeyPair::from_pem(&live).unwrap();
    let again = answer(&host, "again.pem", &in_use, &[HOST], -DAY, DAY * 400);
    host.run(&["install", HOST, &again]).expect(0);
    assert_eq!(host.load(HOST).generation, Some(2));
}

#[test]
fn what_a_killed_run_left_of_an_answered_request_is_not_asked_for_again() {
    let host = host();
    let ask = || host.run(&["csr", HOST, "--no-check"]).expect(0).stdout;
    let first = ask();
    let directory = requests(&host).join("1");
    let kept = host.scratch.path().join("kept");
    copy(&directory, &kept);
    let pem = answer(&host, "one.pem", &key(&host, 1), &[HOST], -DAY, DAY * 90);
    host.run(&["install", HOST, &pem]).expect(0);
    assert!(!directory.exists());
    // Killed after the record was saved and before the request was taken away: install again, or ask for the next.
    copy(&kept, &directory);
    host.run(&["install", HOST, &pem]).expect(0);
    assert!(!directory.exists());
    assert_eq!(host.load(HOST).newest, 1);
    copy(&kept, &directory);
    assert!(ask() != first);
    assert!(
        host.run(&["install", HOST, &pem])
            .expect(0)
            .stdout
            .contains("deployed")
    );
    assert_eq!(host.load(HOST).newest, 1);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in [file::PRIVKEY, file::REQUEST] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn key_pem_of(lineage: &mailcert::model::lineage::Lineage, host: &Host) -> String {
    let number = lineage.generation.unwrap();
    host.store().load_key(HOST, number).unwrap().unwrap()
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason_and_nothing_is_lost() {
    let host = host();
    let request = host.run(&["csr", HOST, "--no-check"]).expect(0).stdout;
    let key = key(&host, 1);
    let other = KeyPair::generate().unwrap();
    let year = DAY * 365;
    let refuse = |file: &str, words: &str| {
        let told = host.run(&["install", HOST, file]).expect(1);
        assert!(told.stderr.contains(words), "{words}: {told}");
        assert!(!told.stderr.contains("PRIVATE KEY-----"), "{told}");
        assert_eq!(host.load(HOST).newest, 0, "{words}");
        assert!(requests(&host).join("1/privkey.pem").is_file(), "{words}");
        assert_eq!(
            host.run(&["csr", HOST, "--no-check"]).expect(0).stdout,
            request,
            "{words}"
        );
    };
    let (from, to) = (-DAY, year);
    refuse(
        &answer(&host, "mismatch.pem", &other, &[HOST], from, to),
        "none is for a key that is known here",
    );
    refuse(
        &answer(&host, "expired.pem", &key, &[HOST], -year, -DAY),
        "expired on 2030-02-28",
    );
    refuse(
        &answer(&host, "early.pem", &key, &[HOST], DAY, year),
        "valid only from",
    );
    refuse(
        &answer(&host, "name.pem", &key, &["www.example.test"], from, to),
        "is for www.example.test, and lacks mail.example.test",
    );
    refuse(
        &answer(&host, "none.pem", &key, &[], from, to),
        "has no name in subjectAltName",
    );
    let file = |name: &str, content: &[u8]| host.scratch.file(name, content).display().to_string();
    refuse(&file("request.pem", request.as_bytes()), "it is the request");
    refuse(&file("empty", b""), "it is empty");
    refuse(&file("page.html", b"<!DOCTYPE html><html>"), "it is a web page");
    refuse(&file("noise", &[0x30, 0x82, 0xff, 0xff, 1, 2, 3]), "cut off");
    refuse(
        &host.scratch.path().join("missing.pem").display().to_string(),
        "No such file",
    );
    refuse(&host.scratch.path().display().to_string(), "not a regular file");
    let good = answer(&host, "good.pem", &key, &[HOST], from, to);
    let pem = fs::read_to_string(&good).unwrap();
    refuse(
        &file("many.pem", pem.repeat(10_000).as_bytes()),
        "it is larger than",
    );
    let large = host.scratch.path().join("large");
    fs::File::create(&large).unwrap().set_len(100 << 20).unwrap();
    refuse(&large.display().to_string(), "it is larger than");
    host.run(&["install", HOST, &good]).expect(0);
    assert_eq!(host.load(HOST).generation, Some(1));
}

#[test]
fn a_key_may_come_from_a_file() {
    let host = host();
    let key = KeyPair::generate().unwrap();
    let certificate = answer(&host, "one.pem", &key, &[HOST], -DAY, DAY * 90);
    let told = host.run(&["install", HOST, &certificate]).expect(1);
    assert!(
        told.stderr.contains("there is no key of") && told.stderr.contains("--key FILE"),
        "{told}"
    );
    let key_file = host.scratch.secret_file("one.key", key.serialize_pem());
    assert!(bundle::read_key(key.serialize_pem().as_bytes(), None).is_ok());
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o666)).unwrap();
    let with_key = [
        "install",
        HOST,
        &certificate,
        "--key",
        &key_file.display().to_string(),
    ];
    let told = host.run(&with_key).expect(1);
    assert!(told.stderr.contains("others may write it"), "{told}");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    host.run(&with_key).expect(0);
    assert_eq!(host.load(HOST).generation, Some(1));
    // Key and certificate in one file.
    let both = fs::read_to_string(&certificate).unwrap() + &key.serialize_pem();
    let both = host.scratch.secret_file("both.pem", both).display().to_string();
    host.run(&["install", HOST, &both]).expect(0);
}

#[test]
fn without_a_configuration_the_files_of_the_guide_are_written() {
    let mut host = Host::new();
    host.mailcert.config = None;
    let directory = host.scratch.path().join("out");
    let out = directory.display().to_string();
    let pass = host.scratch.secret_file("pass", "geheim\n").display().to_string();
    let args = [
        "csr",
        HOST,
        "--identifier",
        HOST,
        "--identifier",
        "pop.example.test",
        "--key",
        "rsa-2048",
        "--days",
        "365",
        "--subject",
        "/C=JP/ST=Tokyo/O=Example",
        "--out-dir",
        &out,
        "--basename",
        "mail-server",
        "--passphrase-file",
        &pass,
        "--no-check",
    ];
    let told = host.said(&args).expect(0);
    golden("csr/guide.txt", &format!("{}---\n{}", told.stdout, told.stderr));
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["csr_mail-server.pem", "mail-server.key", "nopass_mail-server.key"]
    );
    let before: Vec<Vec<u8>> = names
        .iter()
        .map(|name| fs::read(directory.join(name)).unwrap())
        .collect();
    let told = host.run(&args).expect(1);
    assert!(told.stderr.contains("mail-server.key exists"), "{told}");
    let after: Vec<Vec<u8>> = names
        .iter()
        .map(|name| fs::read(directory.join(name)).unwrap())
        .collect();
    assert!(before == after);
    let refuse = |args: &[&str], code: i32, words: &str| {
        let told = host.run(args).expect(code);
        assert!(told.stderr.contains(words), "{words}: {told}");
    };
    let alone = ["csr", "a", "--identifier", HOST, "--no-check"];
    refuse(&alone, 2, "--out-dir DIR");
    refuse(&["csr", "a"], 2, "--identifier NAME --out-dir DIR");
    let with = |more: &[&'static str]| -> Vec<String> {
        let out = host.scratch.path().join("more").display().to_string();
        alone
            .iter()
            .chain(&["--out-dir", &out])
            .chain(more)
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let run = |args: &[String], code: i32, words: &str| {
        refuse(&args.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
        assert!(!host.scratch.path().join("more").exists(), "{words}");
    };
    run(
        &with(&["--basename", "../a"]),
        2,
        "cannot be part of a file's name",
    );
    run(&with(&["--passphrase"]), 2, "no terminal");
    run(&with(&["--passphrase-file", "/nowhere"]), 2, "No such file");
    run(
        &with(&["--passphrase-credential", "key"]),
        2,
        "CREDENTIALS_DIRECTORY",
    );
    run(&with(&["--passphrase-fd", "999"]), 2, "descriptor 999");
    refuse(
        &["csr", "a", "--passphrase-file", &pass, "--identifier", HOST],
        2,
        "without --out-dir",
    );
    // What somebody planted there is neither written through nor over.
    let open = host.scratch.dir("open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let open = open.display().to_string();
    let into = |directory: &str, words: &str| {
        refuse(&[&alone[..], &["--out-dir", directory]].concat(), 1, words);
    };
    into(&open, "everybody may write there");
    let planted = host.scratch.dir("planted");
    let victim = host.scratch.path().join("victim");
    for name in ["a.key", "csr_a.pem"] {
        symlink(&victim, planted.join(name)).unwrap();
        into(&planted.display().to_string(), &format!("{name} exists"));
        assert!(!victim.exists());
        fs::remove_file(planted.join(name)).unwrap();
    }
    assert_eq!(fs::read_dir(&planted).unwrap().count(), 0);
    // At a terminal, twice.
    let args = with(&["--passphrase"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let told = host
        .mailcert
        .run_at_terminal(&args, "one\ntwo\nsame\nsame\n")
        .expect(0);
    assert!(
        !told.stderr.contains("same\n") && !told.stdout.contains("same"),
        "{told}"
    );
    assert!(host.scratch.path().join("more/nopass_a.key").is_file());
}

#[test]
fn names_are_looked_up_and_a_network_that_is_down_is_no_obstacle() {
    let host = host();
    let told = host.run(&["csr", HOST]).expect(0);
    assert!(told.stderr.contains("could not be found out"), "{told}");
}

#[test]
fn it_is_told_when_the_next_one_is_to_be_asked_for() {
    let check = |age: i32, expected: bool| {
        let host = host();
        let mut lineage = verified(HOST, 1, DAY * age);
        lineage.generations.insert(1, generation(HOST, 1, DAY * age));
        host.save(&lineage);
        let status = host.run(&["status"]);
        let advice = format!("`mailcert csr {HOST}`, then `mailcert install {HOST} FILE`");
        assert_eq!(status.stdout.contains(&advice), expected, "{age}: {status}");
        let told = host.mailcert.run_at_terminal(&["renew"], "");
        assert_eq!(told.stdout.contains(&advice), expected, "{age}: {told}");
        // The timer's runs say it where it does not fill a log: in the mail, the metrics and `status`.
        assert!(!host.run(&["renew"]).stdout.contains(&advice));
        let metrics = fs::read_to_string(host.state().join("metrics.prom")).unwrap();
        assert!(metrics.contains(&format!(
            "mailcert_certificate_due_timestamp_seconds{{lineage=\"{HOST}\"}}"
        )));
    };
    check(50, false);
    check(61, true);
    // When half of the time from then to the expiry is gone, by mail.
    let host = host();
    let mail = host.scratch.path().join("mail.txt");
    let sendmail = host
        .scratch
        .program("sendmail", format!("#!/bin/sh\n/bin/cat > {}\n", mail.display()));
    let config = fs::read_to_string(host.config_file()).unwrap();
    let notify = format!("[notify]\nmail_to = [\"root@example.test\"]\nsendmail = {sendmail:?}\n");
    host.write_config(&config.replace("[[certificate]]", &format!("{notify}[[certificate]]")));
    host.save(&verified(HOST, 1, DAY * 80));
    host.run(&["renew"]);
    let mail = fs::read_to_string(mail).unwrap();
    assert!(
        mail.contains("no new certificate was installed, although its time has come"),
        "{mail}"
    );
    assert!(mail.contains(&format!("mailcert csr {HOST}")), "{mail}");
    assert!(mail.contains(&format!("install {HOST} FILE")), "{mail}");
}
