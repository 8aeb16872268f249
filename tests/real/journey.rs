//! The main job on real servers: from the snake-oil certificate to a verified one, and back.

use crate::support::{World, judge};

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn init_replaces_the_snake_oil_by_a_verified_certificate() {
    let world = World::start();
    world.write_answers();
    let before = world.postfix.leaf_sha256(25).unwrap();
    let args = world.init_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = world.mailcert().run(&args).expect(0);
    let after = world.postfix.leaf_sha256(25).unwrap();
    assert_ne!(before, after, "{outcome}");
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
    let live = world.state_directory().join("live/mail.example.test/cert.pem");
    let live = std::fs::read_to_string(live).unwrap();
    assert_eq!(judge::certificate_sha256(&live).unwrap(), after);
    let spf = world.bind.dig("example.test", "TXT");
    assert!(spf.contains("v=spf1 mx -all"), "{spf}");
    let spf = world.bind.dig("mail.example.test", "TXT");
    assert!(spf.contains("v=spf1 a -all"), "{spf}");
}
