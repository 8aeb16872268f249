//! `ca export`, judged by those who read what it writes: openssl, xmllint, Python's plistlib, update-ca-certificates.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{LoopbackAddress, Mailcert, Postfix, PostfixOptions, Scratch, server::run};

/// A host with a private CA.
struct Host {
    mailcert: Mailcert,
    scratch: Scratch,
}

impl Host {
    /// Makes one, with a Postfix that does not run and has these ports.
    fn new(options: &PostfixOptions, postfix_lines: &str) -> Self {
        let scratch = Scratch::new();
        let address = LoopbackAddress::take(&scratch);
        let postfix = Postfix::prepare(&scratch, &address, options);
        let config = scratch.file(
            "mailcert.toml",
            format!(
                "version = 1\nstate_directory = {:?}\n[host]\nname = \"mail.example.test\"\n\
                 domains = [\"example.test\", \"hosted.test\"]\n[renew]\ntimer = \"none\"\n[dovecot]\nmanage = false\n[postfix]\n\
                 config_directory = {:?}\n{postfix_lines}",
                scratch.path().join("state"),
                postfix.config_directory()
            ),
        );
        let host = Self {
            mailcert: Mailcert::new(Some(&config), &scratch.path().join("root")),
            scratch,
        };
        host.mailcert
            .run(&[
                "ca",
                "init",
                "--no-passphrase",
                "--domain",
                "example.test",
                "--name",
                "example.test \"mail\" CA",
            ])
            .expect(0);
        host
    }

    fn root_file(&self) -> PathBuf {
        self.scratch.path().join("state/ca/root.pem")
    }

    /// Exports everything; returns the directory.
    fn export(&self) -> PathBuf {
        let directory = self.scratch.path().join("out");
        self.mailcert
            .run(&["ca", "export", "--out-dir", &directory.display().to_string()])
            .expect(0);
        directory
    }
}

#[test]
#[ignore = "real: needs openssl"]
fn an_export_leads_through_no_link_and_trusts_no_directory_that_is_everybody_s() {
    let host = Host::new(&PostfixOptions::default(), "");
    let directory = host.export();
    let victim = host.scratch.file("victim", "precious");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        names.push(path);
    }
    assert!(names.len() > 3, "{names:?}");
    host.export();
    for path in &names {
        assert!(
            fs::symlink_metadata(path).unwrap().is_file(),
            "{}",
            path.display()
        );
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    // A name that leads to the same file as another is replaced, not written into.
    let linked = names.first().unwrap();
    fs::remove_file(linked).unwrap();
    fs::hard_link(&victim, linked).unwrap();
    host.export();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let args = ["ca", "export", "--out-dir", &directory.display().to_string()];
    let told = host.mailcert.run(&args).expect(1);
    assert!(told.stderr.contains("everybody may write there"), "{told}");
}

fn openssl(args: &[&str], file: &Path) -> String {
    run(Command::new("openssl").args(args).arg("-in").arg(file))
}

/// Reads a profile by Python's plistlib; returns what this expression is of it.
fn plist(file: &Path, expression: &str) -> String {
    let script = format!(
        "import plistlib, sys, hashlib; p = plistlib.load(open(sys.argv[1], 'rb')); c = p['PayloadContent']; print({expression})"
    );
    run(Command::new("python3").args(["-c", &script]).arg(file))
        .trim()
        .to_owned()
}

fn xmllint(file: &Path) {
    run(Command::new("xmllint").args(["--nonet", "--noout"]).arg(file));
}

/// Asks xmllint for what an expression of XPath is in a file.
fn xpath(file: &Path, expression: &str) -> String {
    run(Command::new("xmllint")
        .args(["--nonet", "--xpath", expression])
        .arg(file))
    .trim()
    .to_owned()
}

#[test]
#[ignore = "real: needs openssl, xmllint, python3, postfix"]
fn every_form_is_read_by_those_it_is_for() {
    let options = PostfixOptions {
        submission: true,
        submissions: true,
        ..PostfixOptions::default()
    };
    let host = Host::new(&options, "");
    let out = host.export();
    let stem = "example.test-mail-ca";
    let file = |name: &str| out.join(name);
    let digest = |args: &[&str], path: &Path| {
        openssl(
            &[&["x509", "-noout", "-fingerprint", "-sha256"], args].concat(),
            path,
        )
    };
    let root = digest(&[], &host.root_file());
    assert_eq!(digest(&[], &file(&format!("{stem}.pem"))), root);
    assert_eq!(digest(&["-inform", "DER"], &file(&format!("{stem}.cer"))), root);
    let colons = root.trim().split_once('=').unwrap().1;

    let (alone, with_mail) = (
        file(&format!("{stem}.mobileconfig")),
        file(&format!("{stem}-mail.mobileconfig")),
    );
    let payload = "[x['PayloadType'] for x in c]";
    assert_eq!(plist(&alone, payload), "['com.apple.security.root']");
    assert_eq!(
        plist(&with_mail, payload),
        "['com.apple.security.root', 'com.apple.mail.managed']"
    );
    for profile in [&alone, &with_mail] {
        xmllint(profile);
        assert_eq!(
            plist(profile, "hashlib.sha256(c[0]['PayloadContent']).hexdigest()"),
            colons.replace(':', "").to_lowercase()
        );
        assert_eq!(
            plist(profile, "p['PayloadDisplayName']"),
            "example.test \"mail\" CA"
        );
        let unique = "len({x['PayloadUUID'] for x in c} | {p['PayloadUUID']}) == len(c) + 1";
        assert_eq!(plist(profile, unique), "True");
        assert_eq!(
            plist(
                profile,
                "all(__import__('uuid').UUID(x['PayloadUUID']).version == 8 for x in c)"
            ),
            "True"
        );
    }
    let account = "[c[1][k] for k in ('IncomingMailServerHostName', 'IncomingMailServerPortNumber', \
                   'OutgoingMailServerHostName', 'OutgoingMailServerPortNumber', 'OutgoingMailServerUseSSL')]";
    assert_eq!(
        plist(&with_mail, account),
        "['mail.example.test', 993, 'mail.example.test', 465, True]"
    );

    let autoconfig = file("config-v1.1.xml");
    xmllint(&autoconfig);
    assert_eq!(xpath(&autoconfig, "string(//incomingServer/port)"), "993");
    assert_eq!(xpath(&autoconfig, "string(//outgoingServer[1]/port)"), "465");
    assert_eq!(
        xpath(&autoconfig, "string(//outgoingServer[1]/socketType)"),
        "SSL"
    );
    assert_eq!(xpath(&autoconfig, "string(//outgoingServer[2]/port)"), "587");
    assert_eq!(
        xpath(&autoconfig, "string(//outgoingServer[2]/socketType)"),
        "STARTTLS"
    );
    assert_eq!(xpath(&autoconfig, "string(//domain[2])"), "hosted.test");
    // mydestination has the domain: its users are those of the system.
    assert_eq!(
        xpath(&autoconfig, "string(//incomingServer/username)"),
        "%EMAILLOCALPART%"
    );

    for (language, words) in [("en", "Certificate Trust Settings"), ("ja", "証明書信頼設定")] {
        let sheet = file(&format!("setup.{language}.html"));
        xmllint(&sheet);
        let text = fs::read_to_string(&sheet).unwrap();
        for expected in [
            words,
            colons,
            "993",
            "465",
            "587",
            "Thunderbird",
            "Outlook",
            "mail.example.test",
            stem,
        ] {
            assert!(text.contains(expected), "{language}: {expected}\n{text}");
        }
    }
    let lines = fs::read_to_string(file(&format!("{stem}.txt"))).unwrap();
    for expected in [
        "update-ca-certificates",
        "update-ca-trust",
        "certutil -addstore",
        "Android",
        colons,
    ] {
        assert!(lines.contains(expected), "{expected}\n{lines}");
    }

    // Again, it is the same to the byte; and one form at a time goes to stdout.
    let read = |directory: &Path| {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = read(&out);
    assert_eq!(first.len(), 8);
    assert_eq!(read(&host.export()), first);
    let form = |form: &[&str]| {
        host.mailcert
            .run(&[&["ca", "export"], form].concat())
            .expect(0)
            .stdout
    };
    assert_eq!(form(&[]), fs::read_to_string(host.root_file()).unwrap());
    assert_eq!(
        form(&["--form", "mobileconfig"]),
        fs::read_to_string(&alone).unwrap()
    );
    assert_eq!(
        form(&["--form", "sheet", "--language", "ja"]),
        fs::read_to_string(file("setup.ja.html")).unwrap()
    );
    let json = host
        .mailcert
        .run(&["ca", "export", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(json["mail"]["submission"][0]["port"], 465);
    assert_eq!(json["mail"]["submission"][1]["security"], "starttls");
    assert_eq!(json["pem"], fs::read_to_string(host.root_file()).unwrap());
}

#[test]
#[ignore = "real: needs openssl, postfix"]
fn ports_are_those_of_the_configuration() {
    // Nothing is served yet: what the configuration wants counts, and where it wants nothing, that is told.
    let check = |lines: &str, ports: &[u16], note: bool| {
        let host = Host::new(&PostfixOptions::default(), lines);
        let exported = host
            .mailcert
            .run(&["ca", "export", "--format", "json"])
            .expect(0)
            .json();
        let found: Vec<u64> = exported["mail"]["submission"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["port"].as_u64().unwrap())
            .collect();
        let ports: Vec<u64> = ports.iter().map(|port| u64::from(*port)).collect();
        assert_eq!(found, ports, "{lines}");
        assert_eq!(
            exported["notes"].as_array().unwrap().is_empty(),
            !note,
            "{exported:#}"
        );
    };
    check("", &[465], true);
    check("submission = true\n", &[587], false);
    check("submission = true\nsubmissions = true\n", &[465, 587], false);
    // Without a configuration the root is exported all the same.
    let host = Host::new(&PostfixOptions::default(), "");
    let bare = Mailcert::new(None, &host.scratch.path().join("root"));
    let directory = host.scratch.path().join("state/ca").display().to_string();
    let asked = |args: &[&str]| bare.run(&[&["ca", "export", "--directory", &directory], args].concat());
    asked(&["--form", "mobileconfig"]).expect(0);
    let refused = asked(&["--form", "sheet"]).expect(2);
    assert!(refused.stderr.contains("name it by --host"), "{refused}");
    let sheet = asked(&["--form", "sheet", "--host", "mail.example.test"]).expect(0);
    assert!(
        sheet.stdout.contains("Mail settings for mail.example.test"),
        "{sheet}"
    );
}

#[test]
#[ignore = "real: needs openssl, postfix, update-ca-certificates"]
fn this_host_trusts_the_root_until_it_is_taken_out() {
    let host = Host::new(&PostfixOptions::default(), "");
    // A small Debian: one CA of its own.
    let other = host.scratch.dir("root/usr/share/ca-certificates");
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-noenc",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-subj", "/CN=Other", "-keyout", "/dev/null", "-out"])
        .arg(other.join("other.crt")));
    host.scratch.file("root/etc/ca-certificates.conf", "other.crt\n");
    host.scratch.dir("root/usr/local/share/ca-certificates");
    host.scratch.dir("root/etc/ca-certificates/update.d");
    let bundle = host.scratch.file(
        "root/etc/ssl/certs/ca-certificates.crt",
        fs::read(other.join("other.crt")).unwrap(),
    );
    let before = fs::read(&bundle).unwrap();
    host.mailcert
        .run(&[
            "ca",
            "issue",
            "mail.example.test",
            "--out-dir",
            &host.scratch.path().display().to_string(),
        ])
        .expect(0);
    let is_trusted = || {
        let verify = Command::new("openssl")
            .args(["verify", "-no-CApath", "-no-CAstore", "-CAfile"])
            .arg(&bundle)
            .arg(host.scratch.path().join("mail.example.test.pem"))
            .output()
            .unwrap();
        verify.status.success()
    };
    assert!(!is_trusted());
    let install = || host.mailcert.run(&["ca", "export", "--install"]).expect(0).stdout;
    assert!(install().contains("now trusts the root"));
    assert!(is_trusted());
    assert!(install().contains("trusts the root already"));
    let uninstall = || {
        host.mailcert
            .run(&["ca", "export", "--uninstall", "--format", "json"])
            .expect(0)
            .json()
    };
    let gone = uninstall();
    assert_eq!(
        (&gone["this_host"]["trusted"], &gone["this_host"]["changed"]),
        (&false.into(), &true.into())
    );
    assert!(!is_trusted());
    assert_eq!(fs::read(&bundle).unwrap(), before);
    assert_eq!(uninstall()["this_host"]["changed"], false);

    // A system that does not take it is told, and nothing is left behind.
    let idle = host
        .scratch
        .program("idle/update-ca-certificates", "#!/bin/sh\necho 0 added\n");
    let mut mailcert = host.mailcert.clone();
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        idle.parent().unwrap().display()
    );
    mailcert.vars.insert("PATH".into(), path.into());
    let refused = mailcert.run(&["ca", "export", "--install"]).expect(1);
    assert!(refused.stderr.contains("taken away again"), "{refused}");
    let anchors = host.scratch.path().join("root/usr/local/share/ca-certificates");
    assert_eq!(fs::read_dir(anchors).unwrap().count(), 0);

    // The way of RHEL, with a stand-in for its program.
    let anchors = host.scratch.dir("root/etc/pki/ca-trust/source/anchors");
    let red_hat = host.scratch.file("root/etc/pki/tls/certs/ca-bundle.crt", &before);
    let program = format!(
        "#!/bin/sh\n[ \"$1\" = extract ] || exit 1\ncat {:?} {anchors:?}/*.pem >{red_hat:?} 2>/dev/null || cat {:?} >{red_hat:?}\n",
        other.join("other.crt"),
        other.join("other.crt"),
    );
    let extract = host.scratch.program("redhat/update-ca-trust", program);
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        extract.parent().unwrap().display()
    );
    mailcert.vars.insert("PATH".into(), path.into());
    mailcert.run(&["ca", "export", "--install"]).expect(0);
    assert_eq!(fs::read_dir(&anchors).unwrap().count(), 1);
    mailcert.run(&["ca", "export", "--uninstall"]).expect(0);
    assert_eq!(fs::read(&red_hat).unwrap(), before);
}
