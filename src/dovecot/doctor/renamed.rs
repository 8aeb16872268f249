//! Settings of 2.3 that 2.4 refuses, and what they are called there. Pure.
//!
//! Source: doc.dovecot.org, "Upgrading Dovecot CE from 2.3 to 2.4"; a test has both versions say so.

use super::{Patient, info};
use crate::{
    dovecot::{dialect::Dialect, tree::Tree},
    model::finding::Finding,
};

/// The document that lists them.
pub(super) const UPGRADING: &str = "doc.dovecot.org, Upgrading Dovecot CE from 2.3 to 2.4";

/// Settings that 2.4 refuses: the old name, and what is written instead.
pub(super) const GONE: &[(&str, &str)] = &[
    ("auth_default_realm", "auth_default_domain"),
    (
        "auth_policy_server_timeout_msecs",
        "http_client_request_timeout in auth_policy",
    ),
    ("auth_stats", "nothing: take it out"),
    ("auth_worker_max_count", "process_limit in service auth-worker"),
    ("config_cache_size", "nothing: take it out"),
    ("default_idle_kill", "default_idle_kill_interval"),
    ("dict_db_config", "nothing: take it out"),
    (
        "disable_plaintext_auth",
        "auth_allow_cleartext, with yes and no exchanged",
    ),
    ("doveadm_http_rawlog_dir", "nothing: take it out"),
    ("imap_id_log", "the event imap_id_received"),
    ("imapc_ssl_verify", "ssl_client_require_valid_cert in imapc"),
    ("login_access_sockets", "passdb lua"),
    ("mail_attachment_dir", "mail_ext_attachment_path"),
    ("mail_attachment_fs", "fs in mail_ext_attachment"),
    ("mail_attachment_hash", "mail_ext_attachment_hash"),
    ("mail_attachment_min_size", "mail_ext_attachment_min_size"),
    ("mail_attribute_dict", "dict in mail_attribute"),
    ("mail_location", "mail_driver and mail_path"),
    ("master_user_separator", "auth_master_user_separator"),
    ("ssl_alt_cert", "ssl_server_alt_cert_file, without `<`"),
    ("ssl_alt_key", "ssl_server_alt_key_file, without `<`"),
    ("ssl_ca", "ssl_server_ca_file or ssl_client_ca_file, without `<`"),
    ("ssl_cert", "ssl_server_cert_file, without `<`"),
    ("ssl_cert_username_field", "ssl_server_cert_username_field"),
    ("ssl_client_cert", "ssl_client_cert_file, without `<`"),
    ("ssl_client_key", "ssl_client_key_file, without `<`"),
    ("ssl_dh", "ssl_server_dh_file, without `<`"),
    ("ssl_key", "ssl_server_key_file, without `<`"),
    ("ssl_key_password", "ssl_server_key_password"),
    ("ssl_prefer_server_ciphers", "ssl_server_prefer_ciphers"),
    ("ssl_require_crl", "ssl_server_require_crl"),
    ("ssl_verify_client_cert", "ssl_server_request_client_cert"),
    ("stats_http_rawlog_dir", "nothing: take it out"),
    ("verbose_ssl", "log_debug = category=ssl"),
];

/// Settings of whole services that 2.4 has no more.
const GONE_SERVICES: [&str; 4] = ["director_", "old_stats_", "replication_", "replicator_"];

/// Returns what a setting of 2.3 is in 2.4; `None` where 2.4 knows it, or nobody does.
pub(super) fn replacement(name: &str) -> Option<&'static str> {
    let renamed = GONE.iter().find(|(old, _)| *old == name).map(|(_, new)| *new);
    let is_gone = GONE_SERVICES.iter().any(|service| name.starts_with(service));
    renamed.or(is_gone.then_some("nothing: 2.4 has no such service"))
}

/// Returns each setting of a configuration that 2.4 refuses, once, in order, with what is written instead.
pub(super) fn gone(tree: &Tree) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for one in &tree.assignments {
        if let Some(new) = replacement(&one.name) {
            let line = format!("{} is {new}", one.name);
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    told
}

impl Patient<'_> {
    /// What an upgrade to 2.4 will refuse.
    pub(super) fn renamed(&self, findings: &mut Vec<Finding>) {
        if self.dialect() != Dialect::V2_3 {
            return;
        }
        let gone = gone(self.tree);
        if !gone.is_empty() {
            findings.push(
                info(
                    "dovecot.before-2-4",
                    self.main.display().to_string(),
                    format!("Dovecot 2.4 will refuse this configuration: {}", gone.join("; ")),
                )
                .remedy("rewrite it when 2.4 comes (Debian 13); until then nothing needs doing")
                .reference(UPGRADING),
            );
        }
    }
}
