//! The scratch directory that the other tests write to.

use std::os::unix::fs::MetadataExt;

use crate::support::Scratch;

#[test]
fn is_open_to_unprivileged_servers_keeps_secrets_and_is_gone_after() {
    let scratch = Scratch::new();
    let path = scratch.path().to_owned();
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o755);
    let secret = scratch.secret_file("deep/secret", "x");
    assert_eq!(secret.metadata().unwrap().mode() & 0o7777, 0o600);
    drop(scratch);
    assert!(!path.exists());
}
