//! Configurations that are broken by others' hands, on a real Postfix: told clearly, nothing changed, and mail goes on.

use std::{fs, net::TcpListener};

use crate::{
    state_directory::SmallDisk,
    support::{
        PostfixOptions, Site,
        server::{run, wait_until},
        world::{DOMAIN, HOST},
    },
};

fn files(site: &Site) -> [Vec<u8>; 2] {
    [site.postfix.main_cf(), site.postfix.master_cf()].map(|path| fs::read(path).unwrap())
}

/// Appends lines to a file, runs a closure, and puts the file back.
fn with_lines(site: &Site, file: &str, lines: &str, look: impl FnOnce()) {
    let before = files(site);
    let path = site.postfix.config_directory().join(file);
    fs::write(
        &path,
        [fs::read(&path).unwrap(), lines.as_bytes().to_vec()].concat(),
    )
    .unwrap();
    // A main.cf younger than two seconds has every program of Postfix wait.
    site.postfix.edit_main_cf(|text| text);
    look();
    fs::write(site.postfix.master_cf(), &before[1]).unwrap();
    site.postfix.edit_main_cf(|_| before[0].clone());
}

/// Has lines of a file refused with these words, while port 25 serves what it did.
fn are_refused(site: &Site, cases: &[(&str, &str, &str)]) {
    let served = site.postfix.leaf_sha256(25);
    for (file, lines, words) in cases {
        with_lines(site, file, lines, || {
            let before = files(site);
            let refused = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(1);
            assert!(refused.stderr.contains(words), "{lines}: {refused}");
            assert_eq!(files(site), before, "{lines}: {refused}");
        });
        assert_eq!(site.postfix.leaf_sha256(25), served, "{lines}");
    }
}

#[test]
#[ignore = "real: needs postfix, named"]
fn what_would_end_the_running_postfix_is_refused_and_it_goes_on() {
    let site = Site::start();
    // What this host's names of ports are; without them none is called unknown.
    site.scratch
        .file("root/etc/services", fs::read("/etc/services").unwrap());
    site.hold_certificate("");
    let served = site.postfix.leaf_sha256(25);
    assert!(served.is_ok());
    let ip = site.address.ip();
    let cases = [
        ("master.cf", "smtpp inet n - n - - smtpd\n", "has a port `smtpp`"),
        (
            "master.cf",
            "192.0.2.77:2525 inet n - n - - smtpd\n",
            "does not have the address 192.0.2.77",
        ),
        (
            "master.cf",
            "no-such-host.invalid:2525 inet n - n - - smtpd\n",
            "has no address",
        ),
        (
            "master.cf",
            "2525 inet - - n - - smtpd\n",
            "has `n` in its third column, not `-`",
        ),
        (
            "master.cf",
            "[127.0.0.1:2525 inet n - n - - smtpd\n",
            "has half a pair of brackets",
        ),
        (
            "master.cf",
            "2525 inet n - n - - smtpd -o { smtpd_banner = x\n",
            "missing '}' in",
        ),
        (
            "master.cf",
            "{{ service }} unix n - n - - smtpd\n",
            "`service` is no type of service",
        ),
    ];
    are_refused(&site, &cases);
    assert_eq!(site.n_journal_entries(), 0);

    // A port of a new service that another program holds.
    let held = TcpListener::bind(site.address.port(465)).unwrap();
    site.write_config(|text| text + "submissions = true\nsender_login_maps = \"none\"\n");
    let before = files(&site);
    let refused = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(1);
    assert!(
        refused
            .stderr
            .contains(&format!("another program holds port 465 of {ip}")),
        "{refused}"
    );
    assert_eq!(files(&site), before);
    assert_eq!(site.postfix.leaf_sha256(25), served);
    drop(held);
    site.write_config(|text| text);
    site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);

    // What is broken later, a renewal finds before it reloads.
    let next = site.issue();
    let serves = site.postfix.leaf_sha256(25);
    with_lines(&site, "master.cf", "smtpp inet n - n - - smtpd\n", || {
        let refused = site.install("next", &next).expect(1);
        assert!(
            refused.stderr.contains("Postfix was not reloaded: it would end"),
            "{refused}"
        );
        assert!(site.postfix.leaf_sha256(25).is_ok(), "{refused}");
    });
    site.mailcert().run(&["deploy"]).expect(0);
    assert_ne!(site.postfix.leaf_sha256(25), serves);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(next.sha256()), "{HOST}");
    // What templates leave behind; postconf passes over it, and postfix(1) does not. A daemon that begins while main.cf is so is held
    // back for a minute: those that are needed run by now.
    let cases = [
        (
            "main.cf",
            "message_size_limit = @@SIZE@@\n",
            "message_size_limit = @@SIZE@@",
        ),
        ("main.cf", "myorigin = {{ mail_domain }}\n", "{{ mail_domain }}"),
        ("main.cf", "inet_interfaces = {{ ip }}\n", "host not found: {{"),
        (
            "main.cf",
            "mail_name = {{ product }}\n",
            "`{{ product }}` was meant to be replaced by a value",
        ),
        ("master.cf", "{{ more_services }}\n", "bad field count"),
    ];
    site.write_config(|text| text + "hide_banner = true\n");
    are_refused(&site, &cases);
    let twice = format!("{ip}:25 inet n - n - - smtpd\n");
    are_refused(
        &site,
        &[("master.cf", &twice, "stands in master.cf more than once")],
    );
}

#[test]
#[ignore = "real: needs postfix, named"]
fn with_tables_that_do_not_open_nothing_is_touched() {
    let site = Site::start();
    site.hold_certificate("");
    let table = site
        .scratch
        .file("table", "postmaster@example.test root\n")
        .display()
        .to_string();
    let db = format!("{table}.db");
    let make = || {
        let mut postmap = site.postfix.command("postmap");
        postmap.arg("-c").arg(site.postfix.config_directory());
        run(postmap.arg(format!("hash:{table}")));
    };
    let recipient = format!("RCPT TO:<postmaster@{DOMAIN}>");
    let takes_mail = || {
        let reply =
            site.postfix
                .last_reply(&["EHLO client.test", "MAIL FROM:<a@elsewhere.test>", &recipient]);
        reply.starts_with("250")
    };
    site.write_config(|text| text + "hide_banner = true\n");
    let gone: &dyn Fn(&str) = &|path| fs::remove_file(path).unwrap();
    let spoilt: &dyn Fn(&str) = &|path| fs::write(path, "no database").unwrap();
    // What is looked up, whether port 25 goes on for a while without the file, and what becomes of it.
    let cases = [
        (format!("virtual_alias_maps = hash:{table}\n"), &db, false, gone),
        (format!("virtual_alias_maps = hash:{table}\n"), &db, false, spoilt),
        (
            format!("virtual_alias_maps = proxy:hash:{table}\n"),
            &db,
            false,
            gone,
        ),
        (
            format!("smtpd_recipient_restrictions = check_recipient_access regexp:{table}\n"),
            &table,
            true,
            gone,
        ),
        (format!("header_checks = regexp:{table}\n"), &table, true, gone),
    ];
    let main_cf = files(&site)[0].clone();
    for (line, path, goes_on, spoil) in cases {
        let text = if line.contains("regexp:") {
            "/^x$/ DUNNO\n"
        } else {
            "postmaster@example.test root\n"
        };
        fs::write(&table, text).unwrap();
        make();
        site.postfix
            .edit_main_cf(|_| [main_cf.as_slice(), line.as_bytes()].concat());
        site.postfix.reload();
        wait_until("mail is taken", takes_mail);
        spoil(path);
        let (before, served) = (files(&site), site.postfix.leaf_sha256(25));
        let refused = site.mailcert().run(&["apply", "postfix", "--yes"]).expect(1);
        for words in [
            "tables that it cannot open; nothing was changed",
            path,
            "`postmap`",
        ] {
            assert!(refused.stderr.contains(words), "{line}: {refused}");
        }
        assert_eq!(files(&site), before, "{refused}");
        assert_eq!(site.postfix.leaf_sha256(25), served, "{refused}");
        assert!(!goes_on || takes_mail(), "{line}: {refused}");
    }
    // With its tables it takes mail, and what is wanted.
    fs::write(&table, "/^x$/ DUNNO\n").unwrap();
    site.mailcert().run(&["apply", "postfix", "--yes"]).expect(0);
    assert!(takes_mail());
}

#[test]
#[ignore = "real: needs postfix, named"]
fn what_breaks_mail_in_silence_is_found() {
    let site = Site::start();
    site.hold_certificate("");
    let table = site
        .scratch
        .file("virtual", "a@example.test b\n")
        .display()
        .to_string();
    let cases = [
        (
            "main.cf",
            "virtual_alias_maps = hash:/nonexistent/virtual\n".to_owned(),
            "postfix.table-missing",
        ),
        (
            "main.cf",
            format!("virtual_alias_maps = proxy:hash:{table}\n"),
            "postfix.table-missing",
        ),
        (
            "main.cf",
            "header_checks = regexp:/nonexistent/checks\n".to_owned(),
            "postfix.table-missing",
        ),
        (
            "main.cf",
            "smtpd_banner = {{ host }} ESMTP\n".to_owned(),
            "postfix.template",
        ),
        (
            "main.cf",
            "smtpd_banner = $hots ESMTP\n".to_owned(),
            "postfix.warning",
        ),
        (
            "master.cf",
            format!("{}:25 inet n - n - - smtpd\n", site.address.ip()),
            "postfix.service-twice",
        ),
    ];
    let found = |id: &str| {
        let checked = site.mailcert().run(&["check", "postfix"]);
        checked
            .stdout
            .lines()
            .any(|line| line.contains(&format!(" {id} ")))
    };
    for (file, lines, id) in &cases {
        assert!(!found(id), "{id}");
        with_lines(&site, file, lines, || assert!(found(id), "{id}: {lines}"));
    }
    // What Postfix makes itself when it needs it.
    let cache = "smtp_tls_session_cache_database = btree:/nonexistent/smtp_scache\n";
    with_lines(&site, "main.cf", cache, || {
        assert!(!found("postfix.table-missing"));
    });
}

#[test]
#[ignore = "real: needs postfix, named, openssl, mount"]
fn a_full_disk_leaves_postfix_what_it_had() {
    let mut disk = None;
    let site = Site::of(|scratch, _| {
        disk = Some(SmallDisk::mount(scratch.dir("postfix/etc"), 256));
        PostfixOptions::default()
    });
    let disk = disk.unwrap();
    let identity = site.hold_certificate("hide_banner = true\n");
    let (before, served) = (files(&site), site.postfix.leaf_sha256(25));
    let mut n_pages = 0;
    loop {
        disk.leave(n_pages);
        let applied = site.mailcert().run(&["apply", "postfix", "--yes"]);
        if applied.code == 0 {
            break;
        }
        let applied = applied.expect(1);
        for words in ["No space left on device", "make room"] {
            assert!(applied.stderr.contains(words), "{n_pages} pages: {applied}");
        }
        assert_eq!(files(&site), before, "{n_pages} pages: {applied}");
        assert_eq!(site.postfix.leaf_sha256(25), served, "{n_pages} pages: {applied}");
        n_pages += 1;
        assert!(n_pages < 10, "{applied}");
    }
    assert!(n_pages > 0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
}
