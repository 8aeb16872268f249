//! What is fuzzed: each target is given bytes as others might write them, and panics when something is wrong with what
//! our reader makes of them: a lossless file that does not print as it was read, a record that does not survive being
//! written and read again, text for a terminal that could command it.
//!
//! A target asks no clock and no network, and writes nothing.

mod acme;
mod certificates;
mod configuration;
mod dovecot;
mod host;
mod import;
mod policies;
mod postfix;
mod records;
mod wire;
mod zones;

use mailcert::model::plan::printable_line;

/// One reader, or a family of them that take the same text.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of the directory below `corpus`.
    pub name: &'static str,
    /// Reads the bytes and judges what came of them.
    pub run: fn(&[u8]),
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    Target {
        name: "acme",
        run: acme::answers,
    },
    Target {
        name: "bundle",
        run: certificates::bundle,
    },
    Target {
        name: "caa",
        run: policies::caa,
    },
    Target {
        name: "certificate",
        run: certificates::certificate,
    },
    Target {
        name: "config",
        run: configuration::config,
    },
    Target {
        name: "crl",
        run: certificates::crl,
    },
    Target {
        name: "dkim",
        run: policies::dkim,
    },
    Target {
        name: "dmarc",
        run: policies::dmarc,
    },
    Target {
        name: "dns-message",
        run: wire::dns_message,
    },
    Target {
        name: "doveconf",
        run: dovecot::doveconf,
    },
    Target {
        name: "dovecot",
        run: dovecot::tree,
    },
    Target {
        name: "hook-output",
        run: host::hook_output,
    },
    Target {
        name: "http",
        run: wire::http,
    },
    Target {
        name: "import",
        run: import::tree,
    },
    Target {
        name: "key",
        run: certificates::key,
    },
    Target {
        name: "mail-log",
        run: host::mail_log,
    },
    Target {
        name: "main-cf",
        run: postfix::main_cf,
    },
    Target {
        name: "master-cf",
        run: postfix::master_cf,
    },
    Target {
        name: "mta-sts",
        run: policies::mta_sts,
    },
    Target {
        name: "nftables",
        run: host::nftables,
    },
    Target {
        name: "postconf",
        run: postfix::postconf,
    },
    Target {
        name: "request",
        run: certificates::request,
    },
    Target {
        name: "sender-login",
        run: postfix::sender_login,
    },
    Target {
        name: "signing",
        run: host::signing,
    },
    Target {
        name: "smtp",
        run: wire::smtp,
    },
    Target {
        name: "spf",
        run: policies::spf,
    },
    Target {
        name: "state",
        run: records::state,
    },
    Target {
        name: "tls-rpt",
        run: policies::tls_rpt,
    },
    Target {
        name: "words",
        run: host::words,
    },
    Target {
        name: "zone",
        run: zones::zone,
    },
];

/// Cuts the input into files: each begins after a line `%% NAME`; what stands before the first one is in none.
fn files(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"%% ") {
            Some(name) if found.len() < 32 => {
                found.push((String::from_utf8_lossy(name).trim().to_owned(), Vec::new()));
            }
            _ => {
                if let Some((_, bytes)) = found.last_mut() {
                    bytes.extend_from_slice(line);
                }
            }
        }
    }
    found
}

/// What goes to a terminal as one line cannot command it.
fn assert_harmless(line: &str) {
    let found = line.chars().find(|character| character.is_control());
    assert_eq!(found, None, "{}", printable_line(line.as_bytes(), 500));
}
