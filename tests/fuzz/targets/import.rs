//! The directories of other clients.

use mailcert::store::import::{acme_sh, certbot, dehydrated, lego, tree::Tree};

/// The same files as each of the four might have left them.
pub fn tree(data: &[u8]) {
    let files = super::files(data);
    let texts: Vec<(String, String)> = files
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned()))
        .collect();
    let listed: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let tree = Tree::of(&listed);
    for found in [
        acme_sh::read(&tree),
        certbot::read(&tree),
        dehydrated::read(&tree),
        lego::read(&tree),
    ] {
        for account in &found.accounts {
            let _ = account.read_key(&tree);
        }
    }
}
