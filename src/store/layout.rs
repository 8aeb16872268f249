//! Every path and file mode of the state directory, once (`design`, section 5). Pure.

use std::path::{Path, PathBuf};

/// Mode of directories that daemons and hooks walk through but nobody lists.
pub const WALKABLE: u32 = 0o711;
/// Mode of directories that are nobody else's business.
pub const PRIVATE: u32 = 0o700;

/// File names of a generation; certbot's, so that scripts written for certbot go on working.
pub mod file {
    /// The private key, PKCS#8.
    pub const PRIVKEY: &str = "privkey.pem";
    /// The leaf alone.
    pub const CERT: &str = "cert.pem";
    /// The chain without the leaf.
    pub const CHAIN: &str = "chain.pem";
    /// Leaf and chain.
    pub const FULLCHAIN: &str = "fullchain.pem";
    /// Key, leaf and chain, as `smtpd_tls_chain_files` wants it.
    pub const COMBINED: &str = "combined.pem";
    /// A request for a certificate, beside its key.
    pub const REQUEST: &str = "request.pem";
}

/// The paths below one state directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Returns the layout below this directory.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Returns the state directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the file that is locked by the one writer.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Returns where the last `renew` left its time.
    pub fn last_run(&self) -> PathBuf {
        self.root.join("last-run")
    }

    /// Returns where it is kept of which configuration of Postfix's every service was proven.
    pub fn proven_services(&self) -> PathBuf {
        self.root.join("proven-services")
    }

    /// Returns where the last run of each command is kept.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs.json")
    }

    /// Returns where it is kept what the operator was told.
    pub fn notices(&self) -> PathBuf {
        self.root.join("notify.json")
    }

    /// Returns where it is kept which ports of the firewall are open for now.
    pub fn openings(&self) -> PathBuf {
        self.root.join("openings.json")
    }

    /// Returns the account file for a CA; `key` tells CAs apart and is safe as a file name.
    pub fn account(&self, key: &str) -> PathBuf {
        self.root.join("accounts").join(format!("{key}.json"))
    }

    /// Returns the file with what is known of the use of a CA's limits.
    pub fn limits(&self, key: &str) -> PathBuf {
        self.root.join("accounts").join(format!("{key}.limits.json"))
    }

    /// Returns where the file of the n-th account that was deactivated at a CA is kept, from 1.
    pub fn retired_account(&self, key: &str, n: u64) -> PathBuf {
        self.root
            .join("accounts")
            .join(format!("{key}.deactivated-{n}.json"))
    }

    /// Returns the directory of all lineages.
    pub fn lineages(&self) -> PathBuf {
        self.root.join("lineages")
    }

    /// Returns one lineage's directory.
    pub fn lineage(&self, name: &str) -> PathBuf {
        self.lineages().join(name)
    }

    /// Returns one lineage's record.
    pub fn state(&self, name: &str) -> PathBuf {
        self.lineage(name).join("state.json")
    }

    /// Returns where a record is kept that could not be used.
    pub fn damaged_state(&self, name: &str, n: u64) -> PathBuf {
        self.lineage(name).join(format!("state.json.damaged-{n}"))
    }

    /// Returns the directory of a lineage's requests that no CA has answered yet.
    pub fn requests(&self, name: &str) -> PathBuf {
        self.lineage(name).join("requests")
    }

    /// Returns one request with its key.
    pub fn request(&self, name: &str, number: u64) -> PathBuf {
        self.requests(name).join(number.to_string())
    }

    /// Returns the directory of the key that is to follow the one in service.
    pub fn next_key_directory(&self, name: &str) -> PathBuf {
        self.lineage(name).join("next")
    }

    /// Returns the key that is to follow the one in service.
    pub fn next_key(&self, name: &str) -> PathBuf {
        self.next_key_directory(name).join(file::PRIVKEY)
    }

    /// Returns what is known of the TLSA records of a lineage's keys.
    pub fn rollover(&self, name: &str) -> PathBuf {
        self.next_key_directory(name).join("rollover.json")
    }

    /// Returns one complete generation.
    pub fn generation(&self, name: &str, number: u64) -> PathBuf {
        self.lineage(name).join(number.to_string())
    }

    /// Returns where a directory is kept that stood in the place of the live link.
    pub fn copied_live(&self, name: &str, n: u64) -> PathBuf {
        self.lineage(name).join(format!("copy-of-live-{n}"))
    }

    /// Returns where a generation is put together before it is renamed into place.
    pub fn unfinished(&self, name: &str, number: u64) -> PathBuf {
        self.lineage(name).join(format!(".{number}.unfinished"))
    }

    /// Returns the directory of the live links.
    pub fn live_directory(&self) -> PathBuf {
        self.root.join("live")
    }

    /// Returns the one pointer to the generation in use; what Postfix, Dovecot and hooks are given.
    pub fn live(&self, name: &str) -> PathBuf {
        self.live_directory().join(name)
    }

    /// Returns what the live link contains for a generation; relative, so that a state directory can be moved.
    pub fn live_target(&self, name: &str, number: u64) -> PathBuf {
        Path::new("../lineages").join(name).join(number.to_string())
    }

    /// Returns the source of the map for `tls_server_sni_maps`; the compiled map stands beside it.
    pub fn sni_map(&self) -> PathBuf {
        self.root.join("postfix").join("sni")
    }

    /// Returns the source of the table from alias addresses to logins; the compiled table stands beside it.
    pub fn sender_login(&self) -> PathBuf {
        self.root.join("postfix").join("sender-login")
    }

    /// Returns the rules for every other sender address, as regexp_table(5).
    pub fn sender_login_rules(&self) -> PathBuf {
        self.root.join("postfix").join("sender-login.rules")
    }

    /// Returns the directory of the private CA; what is in it, `ca::layout` knows.
    pub fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// Returns the source of the table of clients that may relay by certificate; the compiled table stands beside it.
    pub fn relay_clients(&self) -> PathBuf {
        self.root.join("postfix").join("relay-clients")
    }

    /// Returns the file with the roots that outgoing TLS trusts: the distribution's and the private CA's.
    pub fn trust_bundle(&self) -> PathBuf {
        self.root.join("ca-bundle.pem")
    }

    /// Returns the directory of the journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Returns the lineage whose live directory holds this path, if one does.
    pub fn lineage_of(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(self.live_directory()).ok()?;
        Some(rest.components().next()?.as_os_str().to_str()?.to_owned())
    }
}
