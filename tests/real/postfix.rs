//! main.cf and master.cf of real instances: planned, judged, written without loss, proven on every port.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use mailcert::env::Clock;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::support::{Postfix, PostfixOptions, Scratch, Site, judge, world::HOST};

/// Returns the one file change of a plan's or apply's JSON whose path ends so.
fn change<'a>(outcome: &'a Value, name: &str) -> &'a Value {
    let changes = outcome["changes"].as_array().unwrap();
    changes
        .iter()
        .find(|change| change["path"].as_str().is_some_and(|path| path.ends_with(name)))
        .unwrap_or_else(|| panic!("no change of {name}: {outcome:#}"))
}

/// Returns what postconf(1) prints of an instance's own settings, a line each.
fn postconf_n(directory: &Path) -> Vec<String> {
    let output = Command::new("postconf")
        .arg("-c")
        .arg(directory)
        .arg("-n")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Returns main.cf as years of editing leave it; certificate and key are named again, by paths spelled otherwise.
fn worn(text: &[u8], certificate: &str, key: &str) -> Vec<u8> {
    let odd: &[u8] = b"\r\n# \xc0\xe1\xf2\xe5\xf0\xe9: not UTF-8\r\n\
        smtpd_banner   =\t$myhostname   ESMTP \r\n\
        #smtpd_tls_cert_file = /commented/out.pem\n\
        relay_domains = a.example.test,\n  # between\n\n\tb.example.test\n\
        header_size_limit = 51200\nheader_size_limit = 102400\n";
    let pair = format!("smtpd_tls_cert_file =\n   {certificate}\nsmtpd_tls_key_file\t=  {key}  \n");
    let end = b"# the last line has no line feed\nmessage_size_limit = 10240000";
    [text, odd, pair.as_bytes(), end].concat()
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn an_apply_changes_its_lines_alone_and_a_second_one_nothing() {
    let site = Site::start();
    let snake_oil = site.postfix.leaf_sha256(25);
    let spelled = |name: &str| site.postfix.postconf(name).replace("snake-oil/", "snake-oil/./");
    let (certificate, old_key) = (spelled("smtpd_tls_cert_file"), spelled("smtpd_tls_key_file"));
    let live = site.postfix.main_cf();
    let target = site.scratch.path().join("postfix/kept/main.cf");
    let text = worn(&fs::read(&live).unwrap(), &certificate, &old_key);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(&target, &text).unwrap();
    let group = nix::unistd::Group::from_name("postfix")
        .unwrap()
        .unwrap()
        .gid
        .as_raw();
    chown(&target, None, Some(group)).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(&live).unwrap();
    symlink("../kept/main.cf", &live).unwrap();
    let master_before = fs::read(site.postfix.master_cf()).unwrap();
    let effective_before = postconf_n(&site.postfix.config_directory());
    let identity = site.hold_certificate("");

    let applied = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
    let full = site
        .state("live")
        .join(HOST)
        .join("fullchain.pem")
        .display()
        .to_string();
    let key = site
        .state("live")
        .join(HOST)
        .join("privkey.pem")
        .display()
        .to_string();
    let expected = String::from_utf8_lossy(&text)
        .replace(
            &format!("smtpd_tls_cert_file =\n   {certificate}\n"),
            &format!("smtpd_tls_cert_file = {full}\n"),
        )
        .replace(
            &format!("smtpd_tls_key_file\t=  {old_key}  \n"),
            &format!("smtpd_tls_key_file\t=  {key}\n"),
        )
        + "\nsmtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n";
    let after = fs::read(&target).unwrap();
    assert_eq!(String::from_utf8_lossy(&after), expected, "{applied}");
    // Lossy text hides bytes: the comment that is not UTF-8 is there as it was.
    assert!(after.windows(6).any(|bytes| bytes == b"\xc0\xe1\xf2\xe5\xf0\xe9"));
    let meta = fs::metadata(&target).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid(), meta.uid()), (0o640, group, 0));
    assert_eq!(fs::read_link(&live).unwrap(), Path::new("../kept/main.cf"));
    assert_eq!(fs::read(site.postfix.master_cf()).unwrap(), master_before);
    let effective_after = postconf_n(&site.postfix.config_directory());
    let mut differing: Vec<&str> = effective_after
        .iter()
        .filter(|line| !effective_before.contains(line))
        .chain(
            effective_before
                .iter()
                .filter(|line| !effective_after.contains(line)),
        )
        .filter_map(|line| line.split(" = ").next())
        .collect();
    differing.sort_unstable();
    differing.dedup();
    assert_eq!(
        differing,
        ["smtp_tls_CAfile", "smtpd_tls_cert_file", "smtpd_tls_key_file"]
    );
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    site.postfix.verify(25, &site.root_file()).unwrap();
    let finger = site.postfix.finger(&site.root_file());
    assert!(finger.contains("Verified TLS connection established"), "{finger}");

    let modified = fs::metadata(&target).unwrap().modified().unwrap();
    let entries = site.n_journal_entries();
    let reloads = site.postfix.log().matches("reload --").count();
    let again = site
        .mailcert()
        .run(&["apply", "--yes", "--format", "json"])
        .expect(0);
    assert_eq!(again.json()["changes"], serde_json::json!([]), "{again}");
    assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), modified);
    assert_eq!((site.n_journal_entries(), entries), (1, 1));
    assert_eq!(
        site.postfix.log().matches("reload --").count(),
        reloads,
        "nothing to reload for"
    );

    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), text);
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
    let meta = fs::metadata(&target).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid(), meta.uid()), (0o640, group, 0));
    assert_eq!(fs::read_link(&live).unwrap(), Path::new("../kept/main.cf"));
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn rivals_are_commented_out_on_every_port_and_restored_by_undo() {
    let site = Site::of(|scratch, address| {
        let (rival, key) = other_pair(scratch, "rival");
        PostfixOptions {
            submission: true,
            submissions: true,
            main_cf: format!(
                "smtpd_tls_eccert_file = {rival}\nsmtpd_tls_eckey_file = {key}\n\
                 smtpd_tls_dcert_file = {rival}\nsmtpd_tls_dkey_file = {key}\n"
            ),
            master_cf: format!(
                "{}:2525 inet n - n - - smtpd\n  -o syslog_name=postfix/own -o smtpd_tls_cert_file={rival}\n  \
                 -o smtpd_tls_key_file={key}\n",
                address.ip()
            ),
            ..PostfixOptions::default()
        }
    });
    let before = files_of(&site.postfix);
    let snake_oil = site.postfix.leaf_sha256(587).unwrap();
    let rival = site.postfix.leaf_sha256(2525).unwrap();
    let identity = site.hold_certificate("tls_layout = \"chain\"\nclient_ca = \"own-chain\"\n");

    let planned = site
        .mailcert()
        .run(&["plan", "postfix", "--format", "json"])
        .expect(0);
    let master = change(&planned.json(), "master.cf").clone();
    assert!(
        master["reasons"]
            .to_string()
            .contains("-o smtpd_tls_cert_file is commented out"),
        "{planned}"
    );
    assert!(
        planned.stdout.contains("Untrusted"),
        "own-chain is warned about: {planned}"
    );

    let applied = site
        .mailcert()
        .run(&["apply", "postfix", "--yes", "--format", "json"])
        .expect(0);
    for port in [25, 465, 587, 2525] {
        assert_eq!(
            site.postfix.leaf_sha256(port),
            Ok(identity.sha256()),
            "port {port}: {applied}"
        );
        site.postfix.verify(port, &site.root_file()).unwrap();
    }
    assert!(
        site.postfix
            .finger(&site.root_file())
            .contains("Verified TLS connection")
    );
    let endpoints = applied.json()["lineages"][0]["endpoints"].clone();
    let mut asked: Vec<&str> = endpoints
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["endpoint"].as_str())
        .collect();
    asked.sort_unstable();
    let ip = site.address.ip();
    let expected = [
        format!("smtp://{ip}:25"),
        format!("smtp://{ip}:2525"),
        format!("submission://{ip}:587"),
        format!("submissions://{ip}:465"),
    ];
    assert_eq!(asked, expected);
    assert!(
        site.postfix
            .postconf("smtpd_tls_chain_files")
            .ends_with("combined.pem")
    );
    for gone in [
        "smtpd_tls_cert_file",
        "smtpd_tls_eccert_file",
        "smtpd_tls_dkey_file",
    ] {
        assert_eq!(site.postfix.postconf(gone), "", "{gone}");
    }
    assert!(
        site.postfix
            .postconf("smtp_tls_CAfile")
            .ends_with("fullchain.pem")
    );

    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(files_of(&site.postfix), before);
    assert_eq!(site.postfix.leaf_sha256(587), Ok(snake_oil));
    assert_eq!(site.postfix.leaf_sha256(2525), Ok(rival));
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_chain_file_that_wins_in_silence_is_a_rival_too() {
    let site = Site::of(|scratch, _| {
        let (certificate, key) = other_pair(scratch, "chain");
        let both = fs::read_to_string(key).unwrap() + &fs::read_to_string(certificate).unwrap();
        let chain = scratch.secret_file("chain/both.pem", both);
        let main_cf = format!(
            "smtpd_tls_chain_files = {}\nsmtp_tls_CApath=/etc/pki/tls/certs\n",
            chain.display()
        );
        PostfixOptions {
            main_cf,
            ..PostfixOptions::default()
        }
    });
    let before = files_of(&site.postfix);
    let chain_before = site.postfix.leaf_sha256(25).unwrap();
    let identity = site.hold_certificate("");
    let planned = site.mailcert().run(&["plan", "postfix"]).expect(0);
    // The guide's line: commented out, with the reason beside it in the diff.
    assert!(
        planned.stdout.contains("+#smtp_tls_CApath=/etc/pki/tls/certs"),
        "{planned}"
    );
    assert!(
        planned
            .stdout
            .contains("+# mailcert: smtp_tls_CAfile takes its place"),
        "{planned}"
    );
    assert!(
        planned
            .stdout
            .contains("+# mailcert: it wins over smtpd_tls_cert_file in silence"),
        "{planned}"
    );
    site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    assert_eq!(site.postfix.postconf("smtp_tls_CApath"), "");
    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(files_of(&site.postfix), before);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(chain_before));
}

#[test]
#[ignore = "real: needs postfix, named"]
fn plans_client_ca_and_security_level_as_the_configuration_says() {
    let site = Site::with(PostfixOptions {
        main_cf: "smtp_tls_CAfile = /own/roots.pem\n".to_owned(),
        ..PostfixOptions::default()
    });
    let plan = |lines: &str| {
        site.write_config(|text| text + lines);
        let planned = site
            .mailcert()
            .run(&["plan", "postfix", "--format", "json"])
            .expect(0)
            .json();
        change(&planned, "main.cf")["diff"].as_str().unwrap().to_owned()
    };
    site.hold_certificate("");
    let roots = site.root_file();
    let own_file = format!("+smtp_tls_CAfile = {}\n", roots.display());
    let check = |lines: &str, wanted: Option<&str>| {
        let diff = plan(lines);
        assert_eq!(
            diff.contains("smtp_tls_CAfile = /own/roots.pem\n+"),
            wanted.is_some(),
            "{lines}: {diff}"
        );
        assert!(
            wanted.is_none_or(|wanted| diff.contains(wanted)),
            "{lines}: {diff}"
        );
        assert!(!diff.contains("+smtpd_tls_security_level"), "it is set: {diff}");
    };
    check("client_ca = \"keep\"\n", None);
    check(
        "client_ca = \"system\"\n",
        Some("+smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n"),
    );
    check(
        "client_ca = \"own-chain\"\n",
        Some("live/mail.example.test/fullchain.pem\n"),
    );
    check(&format!("client_ca = {roots:?}\n"), Some(&own_file));

    let level = |value: &str| {
        site.postfix.edit_main_cf(|text| {
            [text, format!("smtpd_tls_security_level = {value}\n").into_bytes()].concat()
        });
        plan("")
    };
    for kept in ["encrypt", "may"] {
        let diff = level(kept);
        assert!(!diff.contains("+smtpd_tls_security_level"), "{kept}: {diff}");
    }
    for raised in ["none", ""] {
        let diff = level(raised);
        assert!(
            diff.contains("+smtpd_tls_security_level = may\n"),
            "{raised}: {diff}"
        );
    }
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn switches_tls_on_where_there_was_none() {
    let site = Site::with(PostfixOptions {
        snake_oil: false,
        ..PostfixOptions::default()
    });
    let before = files_of(&site.postfix);
    let identity = site.issue();
    // The first certificate makes Postfix name it, by the same way as `issue`.
    let installed = site.install("first", &identity).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()), "{installed}");
    assert_eq!(site.status()["state"], "verified");
    assert_eq!(site.postfix.postconf("smtpd_tls_security_level"), "may");
    site.mailcert().run(&["undo"]).expect(0);
    assert_eq!(files_of(&site.postfix), before);
    assert!(site.postfix.leaf_sha256(25).is_err());
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn another_instance_on_the_host_is_left_alone() {
    let site = Site::start();
    let elsewhere = Scratch::new();
    let address = crate::support::LoopbackAddress::take(&elsewhere);
    let other = Postfix::start(&elsewhere, &address, &PostfixOptions::default());
    let (files, leaf, log) = (
        files_of(&other),
        other.leaf_sha256(25),
        other.log().matches("reload --").count(),
    );
    let identity = site.issue();
    site.install("first", &identity).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
    assert_eq!(files_of(&other), files);
    assert_eq!(other.leaf_sha256(25), leaf);
    assert_eq!(other.log().matches("reload --").count(), log);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn a_stopped_postfix_keeps_the_certificate_for_its_start() {
    let site = Site::start();
    site.postfix.stop();
    let identity = site.issue();
    let installed = site.install("first", &identity).expect(1);
    assert!(installed.stderr.contains("not running"), "{installed}");
    assert!(
        installed.stderr.contains(&format!(
            "postfix -c {} start",
            site.postfix.config_directory().display()
        )),
        "{installed}"
    );
    // Nothing is rolled back: the certificate waits on disk, named by main.cf, and is red.
    assert_eq!(site.live_generation(), "1");
    assert!(
        site.postfix
            .postconf("smtpd_tls_cert_file")
            .ends_with("fullchain.pem"),
        "{installed}"
    );
    let status = site.mailcert().run(&["status"]).expect(3);
    assert!(status.stdout.contains("not running"), "{status}");
    site.postfix.launch();
    // The next run of the timer, once the back-off of a minute is over.
    let mut later = site.mailcert();
    later.clock = Clock::Fixed(OffsetDateTime::now_utc() + Duration::minutes(2));
    let renewed = later.run(&["renew"]).expect(0);
    assert_eq!(site.status()["state"], "verified", "{renewed}");
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
}

#[test]
#[ignore = "real: needs postfix, named, unshare"]
fn a_host_without_postfix_is_told_how_to_go_on() {
    let site = Site::start();
    site.hold_certificate("");
    // In a mount namespace of its own, where nothing can execute postconf.
    let run = |args: &[&str]| {
        let mailcert = site.mailcert().command(args);
        let script = "mount --bind /dev/null \"$(command -v postconf)\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(mailcert.get_program())
            .args(mailcert.get_args());
        command.output().unwrap()
    };
    for args in [
        ["plan", "postfix"].as_slice(),
        &["apply", "postfix", "--yes"],
        &["deploy"],
    ] {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("not installed") && said.contains("postfix.manage = false"),
            "{args:?}: {said}"
        );
    }
    assert_eq!(site.live_generation(), "1");
    let found = run(&["check", "postfix"]);
    assert_eq!(found.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&found.stdout).contains("postfix.refused"));
}

#[test]
#[ignore = "real: needs postfix, named"]
fn what_postfix_refuses_before_us_is_refused_untouched_with_its_words() {
    let site = Site::start();
    // A daemon that begins while main.cf is broken is held back for a minute: those that are needed run by now.
    assert!(site.postfix.leaf_sha256(25).is_ok());
    site.hold_certificate("");
    let check = |file: &Path, line: &str, words: &str| {
        let good = fs::read(file).unwrap();
        fs::write(file, [good.as_slice(), line.as_bytes()].concat()).unwrap();
        let files = files_of(&site.postfix);
        for args in [["plan", "postfix"].as_slice(), &["apply", "postfix", "--yes"]] {
            let refused = site.mailcert().run(args).expect(1);
            assert!(refused.stderr.contains(words), "{args:?}: {refused}");
            assert!(
                refused.stderr.contains("nothing of it was touched"),
                "{args:?}: {refused}"
            );
        }
        assert_eq!(files_of(&site.postfix), files);
        fs::write(file, good).unwrap();
    };
    check(
        &site.postfix.main_cf(),
        "no equals sign\n",
        "missing '=' after attribute name: \"no equals sign\"",
    );
    check(&site.postfix.master_cf(), "bad line\n", "bad field count");
    assert_eq!(site.n_journal_entries(), 0);
    let served = site.postfix.leaf_sha256(25);
    assert!(served.is_ok(), "{served:?}");
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn what_smtpd_complains_about_in_the_staged_copy_is_not_written() {
    let site = Site::start();
    let snake_oil = site.postfix.leaf_sha256(25);
    site.hold_certificate("");
    let files = files_of(&site.postfix);
    let refuse = |words: &str| {
        let refused = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(1);
        assert!(refused.stderr.contains(words), "{refused}");
        assert!(refused.stderr.contains("nothing was changed"), "{refused}");
        assert!(!refused.stdout.contains("nothing to change"), "{refused}");
        assert_eq!(files_of(&site.postfix), files);
        assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
        assert_eq!(
            site.mailcert().run(&["undo"]).expect(0).stdout,
            "nothing to change\n"
        );
    };
    // A key of another certificate, as a careless restore from a backup leaves it.
    let key = site.state("lineages").join(HOST).join("1/privkey.pem");
    let good = fs::read(&key).unwrap();
    fs::write(&key, site.issue().private_key).unwrap();
    refuse("key values mismatch");
    fs::write(&key, good).unwrap();
    site.write_config(|text| text + "client_ca = \"/nonexistent/roots.pem\"\n");
    refuse("cannot read /nonexistent/roots.pem");
    site.write_config(|text| text);
    site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
    site.postfix.verify(25, &site.root_file()).unwrap();
}

/// Returns main.cf and master.cf.
fn files_of(postfix: &Postfix) -> (Vec<u8>, Vec<u8>) {
    (
        fs::read(postfix.main_cf()).unwrap(),
        fs::read(postfix.master_cf()).unwrap(),
    )
}

/// Makes a self-signed certificate and its key, and returns their paths.
fn other_pair(scratch: &Scratch, name: &str) -> (String, String) {
    let identity = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    let certificate = scratch.file(&format!("{name}/cert.pem"), identity.cert.pem());
    let key = scratch.secret_file(&format!("{name}/key.pem"), identity.signing_key.serialize_pem());
    assert!(judge::certificate_sha256(&identity.cert.pem()).is_ok());
    (certificate.display().to_string(), key.display().to_string())
}
