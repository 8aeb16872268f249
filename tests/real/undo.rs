//! `undo`: byte for byte, never over somebody's later edit, and what `renew` does after it.

use std::fs;

use crate::support::{Site, World, judge, world::HOST};

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn refuses_over_a_later_edit_and_shows_it_unless_forced() {
    let site = Site::start();
    let snake_oil = site.postfix.leaf_sha256(25);
    let before = fs::read(site.postfix.main_cf()).unwrap();
    let identity = site.issue();
    site.install("first", &identity).expect(0);
    site.postfix
        .edit_main_cf(|text| [text, b"header_size_limit = 51200\n".into()].concat());
    let edited = fs::read(site.postfix.main_cf()).unwrap();

    let refused = site.mailcert().run(&["undo"]).expect(1);
    assert!(refused.stderr.contains("+header_size_limit = 51200"), "{refused}");
    assert!(
        !refused.stderr.contains("-smtpd_tls_cert_file"),
        "only the later edit is shown: {refused}"
    );
    assert!(refused.stderr.contains("undo --force"), "{refused}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), edited);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));

    let forced = site
        .mailcert()
        .run(&["undo", "--force", "--format", "json"])
        .expect(0);
    let json = forced.json();
    assert_eq!(
        (&json["format"], &json["command"], &json["ok"]),
        (&1.into(), &"undo".into(), &true.into())
    );
    assert_eq!(json["changes"][0]["kind"], "file", "{json:#}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
    // The certificate stays.
    assert_eq!(site.live_generation(), "1");

    let again = site.mailcert().run(&["undo"]).expect(0);
    assert!(again.stdout.contains("nothing to change"), "{again}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn takes_back_one_apply_after_the_other() {
    let site = Site::start();
    let first = fs::read(site.postfix.main_cf()).unwrap();
    site.install("first", &site.issue()).expect(0);
    let second = fs::read(site.postfix.main_cf()).unwrap();
    site.write_config(|text| text + "tls_layout = \"chain\"\n");
    site.mailcert().run(&["apply", "--yes"]).expect(0);
    assert!(
        site.postfix
            .postconf("smtpd_tls_chain_files")
            .ends_with("combined.pem")
    );
    assert_eq!(site.n_journal_entries(), 2);
    for expected in [second, first] {
        site.mailcert().run(&["undo"]).expect(0);
        assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), expected);
    }
    assert_eq!(
        site.mailcert().run(&["undo"]).expect(0).stdout,
        "nothing to change\n"
    );
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn works_while_postfix_is_stopped_and_says_that_it_was_not_reloaded() {
    let site = Site::start();
    let snake_oil = site.postfix.leaf_sha256(25);
    let before = fs::read(site.postfix.main_cf()).unwrap();
    site.install("first", &site.issue()).expect(0);
    site.postfix.stop();
    let undone = site.mailcert().run(&["undo"]).expect(0);
    assert!(undone.stdout.contains("not reloaded"), "{undone}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    site.postfix.launch();
    assert_eq!(site.postfix.leaf_sha256(25), snake_oil);
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn refuses_to_bring_back_what_postfix_would_refuse() {
    let site = Site::start();
    let snake_oil = site.postfix.postconf("smtpd_tls_cert_file");
    let identity = site.issue();
    site.install("first", &identity).expect(0);
    let applied = fs::read(site.postfix.main_cf()).unwrap();
    // What was there before names a file that is gone since.
    fs::remove_file(&snake_oil).unwrap();
    let refused = site.mailcert().run(&["undo"]).expect(1);
    assert!(refused.stderr.contains(&snake_oil), "{refused}");
    assert!(refused.stderr.contains("nothing was changed"), "{refused}");
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), applied);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));

    // Forced, it does as it is told, and says what that did.
    let forced = site.mailcert().run(&["undo", "--force"]).expect(1);
    assert!(
        forced
            .stderr
            .contains("a port that completed TLS before does not now"),
        "{forced}"
    );
    assert!(forced.stderr.contains(":25"), "{forced}");
    assert_eq!(site.postfix.postconf("smtpd_tls_cert_file"), snake_oil);
    site.mailcert().run(&["apply", "--yes"]).expect(0);
    assert_eq!(site.postfix.leaf_sha256(25), Ok(identity.sha256()));
}

#[test]
#[ignore = "real: needs postfix, named, openssl"]
fn mends_what_a_later_edit_broke_when_forced() {
    let site = Site::start();
    let before = fs::read(site.postfix.main_cf()).unwrap();
    site.install("first", &site.issue()).expect(0);
    site.postfix
        .edit_main_cf(|text| [text, b"no equals sign\n".into()].concat());
    let refused = site.mailcert().run(&["undo"]).expect(1);
    assert!(refused.stderr.contains("+no equals sign"), "{refused}");
    site.mailcert().run(&["undo", "--force"]).expect(0);
    assert_eq!(fs::read(site.postfix.main_cf()).unwrap(), before);
    assert!(site.postfix.leaf_sha256(25).is_ok());
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn renew_after_it_keeps_files_alive_and_leaves_main_cf_alone() {
    let world = World::start();
    world.write_config(|text| text.replace("publish = [\"spf\"]\n", ""));
    let snake_oil = world.postfix.leaf_sha256(25);
    let before = fs::read(world.postfix.main_cf()).unwrap();
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    let first = world.postfix.leaf_sha256(25).unwrap();
    assert_ne!(Ok(&first), snake_oil.as_ref());
    world.mailcert().run(&["undo"]).expect(0);
    assert_eq!(fs::read(world.postfix.main_cf()).unwrap(), before);

    let idle = world.mailcert().run(&["renew"]).expect(0);
    assert!(idle.stdout.contains("nothing is due"), "{idle}");
    let renewed = world.mailcert().run(&["renew", "--force"]).expect(0);
    // It says that no port serves what it renewed.
    assert!(renewed.stdout.contains("only the files are renewed"), "{renewed}");
    let live = fs::read_to_string(world.state_directory().join("live").join(HOST).join("cert.pem")).unwrap();
    assert_ne!(judge::certificate_sha256(&live), Ok(first), "{renewed}");
    assert_eq!(fs::read(world.postfix.main_cf()).unwrap(), before);
    assert_eq!(world.postfix.leaf_sha256(25), snake_oil);
    let status = world
        .mailcert()
        .run(&["status", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(status["lineages"][0]["verify"], "off", "{status:#}");
    for key in ["renew_at", "renew_reason"] {
        assert!(status["lineages"][0][key].is_string(), "{key}: {status:#}");
    }
    // `apply` puts it into service again.
    world.mailcert().run(&["apply", "--yes"]).expect(0);
    assert_eq!(world.postfix.leaf_sha256(25), judge::certificate_sha256(&live));
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
}
