//! Dovecot in trouble in the middle of an apply: the old configuration is back and serves, Postfix's with it, and it is told why.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    dovecot_apply::{Mailboxes, RIVALS},
    state_directory::SmallDisk,
    submission,
    support::{Outcome, dovecot::Passwords, world::HOST},
};

/// What an apply must not change for good.
struct Before<'a> {
    mailboxes: &'a Mailboxes,
    main_cf: Vec<u8>,
    files: std::collections::BTreeMap<String, Vec<u8>>,
    smtp: String,
    imap: String,
}

impl<'a> Before<'a> {
    fn of(mailboxes: &'a Mailboxes) -> Self {
        Self {
            main_cf: fs::read(mailboxes.site.postfix.main_cf()).unwrap(),
            files: mailboxes.dovecot.files(),
            smtp: mailboxes.site.postfix.leaf_sha256(25).unwrap(),
            imap: mailboxes.served(993, &[], HOST),
            mailboxes,
        }
    }

    /// Everything is as before, and serves.
    #[track_caller]
    fn is_back(&self, outcome: &Outcome) {
        let mailboxes = self.mailboxes;
        assert_eq!(mailboxes.dovecot.files(), self.files, "{outcome}");
        assert_eq!(
            fs::read(mailboxes.site.postfix.main_cf()).unwrap(),
            self.main_cf,
            "{outcome}"
        );
        assert_eq!(
            mailboxes.site.postfix.leaf_sha256(25).as_ref(),
            Ok(&self.smtp),
            "{outcome}"
        );
        mailboxes.serve(&self.imap, outcome);
        assert!(!outcome.stderr.contains("not as before"), "{outcome}");
        mailboxes.site.mailcert().run(&["status"]).expect(3);
    }
}

/// Says how a run that has to fail did.
#[track_caller]
fn fails(outcome: Outcome, words: &[&str]) -> Outcome {
    let outcome = outcome.expect(1);
    for words in words {
        assert!(outcome.stderr.contains(words), "{words}: {outcome}");
    }
    outcome
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl, unshare, nsenter"]
fn what_dovecot_has_against_it_only_when_it_reads_it_takes_all_back() {
    let mailboxes = Mailboxes::prepare(submission::site_without_logins(None, ""), Passwords::File, RIVALS);
    let (site, dovecot) = (&mailboxes.site, &mailboxes.dovecot);
    // doveconf(1) sees our files, and the running Dovecot does not: as with PrivateTmp=, InaccessiblePaths= or a security module.
    let state = site.state("");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o711)).unwrap();
    dovecot.start_without(&site.scratch, &state);
    let identity = site.hold_certificate("");
    mailboxes.configure("", "", "");
    let before = Before::of(&mailboxes);
    let told = [
        "Dovecot does not take what it is given, and would not start with it",
        "Can't open file",
        "the change was taken back",
    ];
    before.is_back(&fails(mailboxes.apply(), &told));
    assert_eq!(
        site.mailcert().run(&["undo"]).expect(0).stdout,
        "nothing to change\n"
    );

    dovecot.shell(&format!("umount {}", state.display()));
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
    // A renewal as well: the generation before serves again, on every port.
    let before = Before::of(&mailboxes);
    dovecot.shell(&format!("mount -t tmpfs none {}", state.display()));
    before.is_back(&fails(site.install("next", &site.issue()), &told));
    assert_eq!(site.live_generation(), "1");
    dovecot.shell(&format!("umount {}", state.display()));
    let deployed = site.mailcert().run(&["deploy"]).expect(0);
    assert_eq!(site.live_generation(), "2", "{deployed}");
    site.mailcert().run(&["status"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl"]
fn long_a_dovecot_that_ends_in_the_middle_is_started_again_with_what_it_had() {
    let mailboxes = Mailboxes::start(Passwords::File, RIVALS);
    let (site, dovecot) = (&mailboxes.site, &mailboxes.dovecot);
    let identity = site.hold_certificate("");
    mailboxes.configure("", "", "");
    let before = Before::of(&mailboxes);
    let kill = dovecot.kill();
    // Before it was asked to reload, and after.
    for lines in [kill.clone(), format!("$program \"$@\"\n{kill}\nexit 0")] {
        let mailcert = site.mailcert_with("doveadm", "reload", &lines);
        let told = ["Dovecot has ended: it is started with what was put back"];
        before.is_back(&fails(mailcert.run(&["apply", "--yes"]), &told));
    }
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
}

#[test]
#[ignore = "real: needs postfix, named, dovecot, openssl, mount"]
fn a_full_disk_leaves_dovecot_what_it_had() {
    let site = submission::site_without_logins(None, "");
    let disk = SmallDisk::mount(site.scratch.dir("dovecot/conf.d"), 512);
    let mailboxes = Mailboxes::prepare(site, Passwords::File, RIVALS);
    let site = &mailboxes.site;
    mailboxes.dovecot.start_prepared(&site.scratch);
    let identity = site.hold_certificate("");
    mailboxes.configure("", "", "");
    let before = Before::of(&mailboxes);
    disk.leave(0);
    before.is_back(&fails(
        mailboxes.apply(),
        &["99-mailcert.conf", "No space left on device", "make room"],
    ));
    disk.make_room();
    let applied = mailboxes.apply().expect(0);
    mailboxes.serve(&identity.sha256(), &applied);
}
