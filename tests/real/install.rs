//! `install LINEAGE --from DIR`: what another client renewed is put into service as ours, or refused with a reason.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::support::{
    Outcome, World,
    foreign::{certbot, contents, lego, self_signed},
    issuance::Issued,
    judge,
    world::HOST,
};

/// A site whose certificate comes from another client.
fn site() -> World {
    let world = World::start();
    world.write_config(|text| text.replace("[[certificate]]\n", "[[certificate]]\nissuer = \"external\"\n"));
    world.name_live_files();
    world
}

fn install(world: &World, from: &Path) -> Outcome {
    world
        .mailcert()
        .run(&["install", HOST, "--from", &from.display().to_string()])
}

fn served(world: &World) -> Result<String, String> {
    world.postfix.leaf_sha256(25)
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn what_certbot_and_lego_renewed_is_served_and_their_files_stay() {
    let world = site();
    let told = world.mailcert().run(&["renew"]).expect(1);
    assert!(
        (told.stdout.clone() + &told.stderr).contains("mailcert install"),
        "{told}"
    );

    let first = world.pebble.issue(&world.address, &[HOST]);
    let live = certbot(&world.scratch, HOST, 1, &first);
    let theirs = contents(&live);
    install(&world, &live).expect(0);
    assert_eq!(served(&world), judge::certificate_sha256(&first.fullchain));
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
    assert!(contents(&live) == theirs);
    assert!(
        fs::symlink_metadata(live.join("privkey.pem"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(world.record(HOST)["state"], "verified");
    world.mailcert().run(&["status"]).expect(0);

    // The same again, as a hook that is called twice does it.
    install(&world, &live).expect(0);
    assert_eq!(world.record(HOST)["newest"], 1);

    let second = world.pebble.issue(&world.address, &[HOST]);
    // As lego keeps it with --no-bundle: the rest of the chain in a file of its own.
    let end = "-----END CERTIFICATE-----\n";
    let (leaf, issuers) = second.fullchain.split_once(end).unwrap();
    let alone = Issued {
        fullchain: format!("{leaf}{end}"),
        private_key: second.private_key.clone(),
    };
    let directory = lego(&world.scratch, HOST, &alone);
    fs::write(directory.join(format!("{HOST}.issuer.crt")), issuers).unwrap();
    let theirs = contents(&directory);
    install(&world, &directory).expect(0);
    assert_eq!(served(&world), judge::certificate_sha256(&second.fullchain));
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
    assert!(contents(&directory) == theirs);
    assert_eq!(world.record(HOST)["generation"], 2);
    // It is never ordered by us.
    let orders = world.pebble.n_orders_and_certificates();
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), orders);
    assert_eq!(served(&world), judge::certificate_sha256(&second.fullchain));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn the_first_one_makes_postfix_name_it_and_undo_takes_that_back() {
    let world = World::start();
    world.write_config(|text| text.replace("[[certificate]]\n", "[[certificate]]\nissuer = \"external\"\n"));
    let (main_cf, snake_oil) = (fs::read(world.postfix.main_cf()).unwrap(), served(&world));
    let issued = world.pebble.issue(&world.address, &[HOST]);
    install(&world, &certbot(&world.scratch, HOST, 1, &issued)).expect(0);
    assert_eq!(served(&world), judge::certificate_sha256(&issued.fullchain));
    world.mailcert().run(&["undo"]).expect(0);
    assert!(fs::read(world.postfix.main_cf()).unwrap() == main_cf);
    assert_eq!(served(&world), snake_oil);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn what_cannot_serve_is_refused_and_the_old_one_stays() {
    let world = site();
    let good = world.pebble.issue(&world.address, &[HOST]);
    install(&world, &certbot(&world.scratch, HOST, 1, &good)).expect(0);
    let (serving, record) = (served(&world), world.record(HOST));
    let mut n = 1;
    let mut refuse = |issued: &Issued, damage: &dyn Fn(&Path), words: &str| {
        n += 1;
        let live = certbot(&world.scratch, HOST, n, issued);
        damage(&live);
        let told = install(&world, &live).expect(1);
        assert!(told.stderr.contains(words), "{words}: {told}");
        assert!(told.stderr.contains(HOST), "{words}: {told}");
        assert_eq!(world.record(HOST), record, "{words}");
        assert_eq!(served(&world), serving, "{words}");
        world.mailcert().run(&["status"]).expect(0);
    };
    let whole = |_: &Path| ();
    let key_file = |live: &Path| fs::canonicalize(live.join("privkey.pem")).unwrap();
    let other = self_signed(&[HOST], 0, 90);
    let mismatched = Issued {
        fullchain: good.fullchain.clone(),
        private_key: other.private_key.clone(),
    };
    refuse(&mismatched, &whole, "does not belong to the certificate");
    refuse(&self_signed(&[HOST], -90, -1), &whole, "expired on");
    refuse(&self_signed(&[HOST], 1, 90), &whole, "valid only from");
    refuse(&self_signed(&[HOST], -30, 60), &whole, "older");
    refuse(
        &self_signed(&["www.example.test"], 0, 90),
        &whole,
        "is for www.example.test, and lacks mail.example.test",
    );
    let open = |live: &Path| {
        fs::set_permissions(key_file(live), fs::Permissions::from_mode(0o666)).unwrap();
    };
    refuse(&other, &open, "others may write it");
    let foreign = |live: &Path| std::os::unix::fs::chown(key_file(live), Some(12345), None).unwrap();
    refuse(&other, &foreign, "belongs to user 12345");
    let missing = |live: &Path| fs::remove_file(live.join("fullchain.pem")).unwrap();
    refuse(&other, &missing, "neither privkey.pem and fullchain.pem");
    let dangling = |live: &Path| fs::remove_file(key_file(live)).unwrap();
    refuse(&other, &dangling, "neither privkey.pem and fullchain.pem");
    let empty_chain = |live: &Path| fs::write(live.join("fullchain.pem"), "").unwrap();
    refuse(&other, &empty_chain, "fullchain.pem");
    let empty_key = |live: &Path| fs::write(live.join("privkey.pem"), "").unwrap();
    refuse(&other, &empty_key, "privkey.pem");
    let large = |live: &Path| fs::write(live.join("privkey.pem"), vec![b'\n'; 2 << 20]).unwrap();
    refuse(&other, &large, "larger than");

    let told = install(&world, &world.scratch.path().join("no-such-directory")).expect(1);
    assert!(told.stderr.contains("no-such-directory"), "{told}");
    let told = world
        .mailcert()
        .run(&["install", "no-such-lineage", "--from", "/"])
        .expect(2);
    assert!(told.stderr.contains("no-such-lineage"), "{told}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_key_that_no_published_tlsa_record_names_is_refused() {
    let world = site();
    let good = world.pebble.issue(&world.address, &[HOST]);
    install(&world, &certbot(&world.scratch, HOST, 1, &good)).expect(0);
    let serving = served(&world);
    let spki = world.record(HOST)["generations"]["1"]["spki_sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    world
        .bind
        .nsupdate(&format!("update add _25._tcp.{HOST} 60 TLSA 3 1 1 {spki}"));
    let next = world.pebble.issue(&world.address, &[HOST]);
    let told = install(&world, &certbot(&world.scratch, HOST, 2, &next)).expect(1);
    assert!(told.stderr.contains("TLSA"), "{told}");
    assert_eq!(served(&world), serving);
    let record = world.record(HOST);
    assert_eq!(record["newest"], 1, "{record}");
}
