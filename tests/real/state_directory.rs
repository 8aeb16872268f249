//! A state directory that is damaged, from another time, or on a full disk: what is told, and that nothing is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    World, WorldOptions, judge,
    world::{HOST, without_postfix},
};

fn lineage_file(world: &World, name: &str) -> PathBuf {
    world.state_directory().join("lineages").join(HOST).join(name)
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn an_account_that_is_damaged_or_newer_is_refused_untouched() {
    let world = World::issued(&WorldOptions::default(), without_postfix);
    let accounts = fs::read_dir(world.state_directory().join("accounts")).unwrap();
    let files: Vec<PathBuf> = accounts.map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else {
        panic!("one account: {files:?}")
    };
    let good = fs::read_to_string(file).unwrap();
    for (content, words) in [
        ("\0".repeat(good.len()), "cannot be understood"),
        (
            good.replace("\"version\": 1", "\"version\": 99"),
            "newer mailcert",
        ),
    ] {
        assert_ne!(content, good);
        fs::write(file, &content).unwrap();
        let told = world.mailcert().run(&["renew", "--force"]).expect(1);
        assert!(told.stderr.contains(words), "{told}");
        assert_eq!(fs::read_to_string(file).unwrap(), content);
    }
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);
    fs::write(file, good).unwrap();
    world.mailcert().run(&["renew", "--force"]).expect(0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_live_link_that_leads_elsewhere_is_mended_and_a_copy_in_its_place_is_kept() {
    let world = World::issued(&WorldOptions::default(), |text| text);
    world.mailcert().run(&["renew", "--force"]).expect(0);
    let served = world.postfix.leaf_sha256(25).unwrap();
    let live = world.state_directory().join("live").join(HOST);
    let check_mended = |what: &str| {
        world.mailcert().run(&["status"]).expect(3);
        let mended = world.mailcert().run(&["renew"]).expect(0);
        assert!(
            mended.stderr.contains("mending the live link"),
            "{what}: {mended}"
        );
        assert_eq!(world.live_sha256(HOST), served, "{what}");
        assert_eq!(world.postfix.leaf_sha256(25).unwrap(), served, "{what}");
        world.mailcert().run(&["status"]).expect(0);
    };
    fs::remove_file(&live).unwrap();
    std::os::unix::fs::symlink(Path::new("../lineages").join(HOST).join("1"), &live).unwrap();
    check_mended("an older generation");
    fs::remove_file(&live).unwrap();
    check_mended("no link");

    // What a backup without links restores is not ours to delete.
    fs::remove_file(&live).unwrap();
    fs::create_dir(&live).unwrap();
    fs::write(live.join("fullchain.pem"), "a copy").unwrap();
    check_mended("a copy");
    let kept = world
        .state_directory()
        .join("lineages")
        .join(HOST)
        .join("copy-of-live-1");
    assert_eq!(fs::read_to_string(kept.join("fullchain.pem")).unwrap(), "a copy");
    assert_eq!(world.pebble.n_orders_and_certificates(), (2, 2));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_generation_whose_key_is_lost_is_told_and_another_serves() {
    let world = World::issued(&WorldOptions::default(), |text| {
        text.replace("[renew]\n", "[renew]\nmax_per_day = 0\n")
    });
    let first = world.live_sha256(HOST);
    world.mailcert().run(&["renew", "--force"]).expect(0);
    // Two generations, the newer one damaged: the older one serves until there is another.
    for name in ["2/privkey.pem", "2/combined.pem"] {
        fs::write(lineage_file(&world, name), "").unwrap();
    }
    let told = world.mailcert().run(&["renew"]).expect(0);
    assert!(told.stderr.contains("generation 2"), "{told}");
    assert_eq!(world.live_sha256(HOST), first);
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), first);
    world.mailcert().run(&["status"]).expect(0);
    // None left: a new one is got.
    for name in ["1/privkey.pem", "1/combined.pem"] {
        fs::remove_file(lineage_file(&world, name)).unwrap();
    }
    let told = world.mailcert().run(&["renew"]).expect(0);
    assert!(told.stderr.contains("are missing or empty"), "{told}");
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), world.live_sha256(HOST));
    assert_ne!(world.live_sha256(HOST), first);
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
    world.mailcert().run(&["status"]).expect(0);
}

/// A small file system of one test's own; unmounted on drop.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: PathBuf, kib: usize) -> Self {
        fs::create_dir_all(&at).unwrap();
        let said = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0755"), "none"])
            .arg(&at)
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
        Self(at)
    }

    /// Takes all room but so many pages of 4 KiB.
    pub fn leave(&self, n_pages: u64) {
        let filler = self.0.join("filler");
        let _ = fs::remove_file(&filler);
        let free = rustix::fs::statvfs(&self.0).unwrap().f_bavail;
        let size = free.saturating_sub(n_pages) * 4096;
        fs::write(&filler, vec![0; usize::try_from(size).unwrap()]).unwrap();
    }

    pub fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, mount"]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let world = World::start();
    let disk = SmallDisk::mount(world.scratch.path().join("disk"), 256);
    let state = disk.0.join("state");
    world.write_config(|text| {
        without_postfix(text).replace(
            &format!("state_directory = {:?}", world.state_directory()),
            &format!("state_directory = {state:?}"),
        )
    });
    let live = state.join("live").join(HOST);
    let check = |command: &[&str], pages: u64, before: Option<&str>| {
        disk.leave(pages);
        let (_, certificates) = world.pebble.n_orders_and_certificates();
        let told = world.mailcert().run(command);
        let issued = world.pebble.n_orders_and_certificates().1 - certificates;
        if told.code == 0 {
            return true;
        }
        let told = told.expect(1);
        assert!(
            told.stderr.contains("No space left on device"),
            "{pages} pages: {told}"
        );
        assert!(
            told.stderr.contains("make room on the disk"),
            "{pages} pages: {told}"
        );
        assert!(issued <= 1, "{pages} pages: {told}");
        let now = fs::read_to_string(live.join("cert.pem")).ok();
        assert_eq!(now.as_deref(), before, "{pages} pages: {told}");
        // Nothing half-written has a name.
        if let Ok(record) = fs::read_to_string(state.join("lineages").join(HOST).join("state.json")) {
            serde_json::from_str::<serde_json::Value>(&record).unwrap();
        }
        false
    };
    let mut pages = 0;
    while !check(&["issue"], pages, None) {
        pages += 1;
        assert!(pages < 40);
    }
    disk.make_room();
    assert!(pages > 3, "{pages}");
    assert_eq!(
        world.pebble.n_orders_and_certificates().1,
        1,
        "no certificate was lost on the way"
    );
    assert_eq!(world.pebble.count_in_log("There are now 2 accounts"), 0);

    let first = fs::read_to_string(live.join("cert.pem")).unwrap();
    let mut pages = 0;
    while !check(&["renew", "--force"], pages, Some(&first)) {
        pages += 1;
        assert!(pages < 40);
    }
    disk.make_room();
    assert!(pages > 1, "{pages}");
    assert_eq!(world.pebble.n_orders_and_certificates().1, 2);
    let second = fs::read_to_string(live.join("cert.pem")).unwrap();
    let key = fs::read_to_string(live.join("privkey.pem")).unwrap();
    assert_ne!(second, first);
    assert_eq!(judge::public_key_of(&key), judge::public_key_of(&second));
    world.mailcert().run(&["renew"]).expect(0);
    world.mailcert().run(&["status"]).expect(0);
}
