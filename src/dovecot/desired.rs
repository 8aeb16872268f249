//! What Dovecot is to be given: a file of ours, in the words of the installed version. Pure.
//!
//! It holds the certificate of every service, a block for each name that has one of its own, the listener that Postfix asks who
//! may log in (doc "Postfix SASL"), and, where there are very many names, the memory that the `config` service needs for them.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::dialect::{Dialect, Setting};

/// What the `config` service needs for one name's block, in bytes, reloads included, and in total besides. Measured on 2.3.19: 700
/// names can do with 256 MB, 1,000 with 400 (not 300), 3,000 with 1150 (not 1024), whatever the size of their chains.
const BYTES_FOR_NAME: [(Dialect, u64); 2] = [(Dialect::V2_3, 350 << 10), (Dialect::V2_4, 60 << 10)];
const BYTES_BESIDES: u64 = 64 << 20;
/// `default_vsz_limit`, which the `config` service has where nothing else is said.
const DEFAULT_LIMIT: u64 = 256 << 20;

/// Key and chain of a lineage, by the paths that stay the same over renewals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePair {
    /// The leaf and its intermediates.
    pub fullchain: PathBuf,
    /// The private key.
    pub privkey: PathBuf,
}

/// A certificate for clients that ask for these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The names; never none.
    pub names: Vec<String>,
    /// The files.
    pub pair: LivePair,
}

/// The socket at which Postfix asks who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSocket {
    /// `private/auth` in Postfix's queue directory.
    pub path: PathBuf,
    /// Postfix's own user.
    pub user: String,
    /// Its group.
    pub group: String,
}

/// What is wanted of Dovecot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// What everybody is served.
    pub default: LivePair,
    /// What those are served who ask for a name of their own.
    pub named: Vec<Named>,
    /// The listener for Postfix.
    pub auth_socket: Option<AuthSocket>,
}

impl AuthSocket {
    /// The settings of the listener. Nobody but Postfix may ask: whoever can, may try passwords as fast as they like.
    pub fn settings(&self) -> [(&'static str, &str); 3] {
        [("mode", "0600"), ("user", &self.user), ("group", &self.group)]
    }
}

impl Desired {
    /// Returns the first path that cannot stand in a configuration of Dovecot without being taken for something else.
    pub fn unnameable(&self) -> Option<&Path> {
        let pairs = [&self.default]
            .into_iter()
            .chain(self.named.iter().map(|one| &one.pair));
        let files = pairs.flat_map(|pair| [pair.fullchain.as_path(), pair.privkey.as_path()]);
        let sockets = self.auth_socket.iter().map(|socket| socket.path.as_path());
        files.chain(sockets).find(|path| {
            let is_odd =
                |byte: char| byte.is_whitespace() || byte.is_control() || "#\"'\\{}$%".contains(byte);
            path.to_str().is_none_or(|text| text.contains(is_odd))
        })
    }

    /// Returns how many blocks there are for names.
    pub fn n_blocks(&self, dialect: Dialect) -> usize {
        match dialect {
            Dialect::V2_3 => self.named.len(),
            Dialect::V2_4 => self.named.iter().map(|one| one.names.len()).sum(),
        }
    }

    /// Returns the file. `limit`: what [`memory`] says.
    pub fn drop_in(&self, dialect: Dialect, limit: Option<u64>) -> String {
        let mut text =
            "# Made by mailcert: `mailcert apply dovecot` writes it anew, `mailcert undo` takes it back.\n"
                .to_owned();
        self.default.write(&mut text, "", dialect);
        if let Some(socket) = &self.auth_socket {
            let _ = writeln!(
                text,
                "\n# Postfix asks here who may log in.\nservice auth {{\n  unix_listener {} {{",
                socket.path.display()
            );
            for (name, value) in socket.settings() {
                let _ = writeln!(text, "    {name} = {value}");
            }
            text.push_str("  }\n}\n");
        }
        for one in &self.named {
            // 2.4 takes one name a block.
            let blocks: Vec<String> = match dialect {
                Dialect::V2_3 if one.names.len() > 1 => vec![format!("\"{}\"", one.names.join(" "))],
                _ => one.names.clone(),
            };
            for names in blocks {
                let _ = writeln!(text, "\nlocal_name {names} {{");
                one.pair.write(&mut text, "  ", dialect);
                text.push_str("}\n");
            }
        }
        if let Some(limit) = limit {
            let _ = writeln!(
                text,
                "\n# So many names need more memory than a service may have by default.\nservice config {{\n  vsz_limit = {}M\n}}",
                limit >> 20
            );
        }
        text
    }
}

impl LivePair {
    /// Returns the files below a live directory.
    pub fn below(directory: &Path) -> Self {
        Self {
            fullchain: directory.join("fullchain.pem"),
            privkey: directory.join("privkey.pem"),
        }
    }

    fn write(&self, text: &mut String, indent: &str, dialect: Dialect) {
        let files = [
            (Setting::Certificate, &self.fullchain),
            (Setting::Key, &self.privkey),
        ];
        for (setting, path) in files {
            let value = dialect.file_value(&path.display().to_string());
            let _ = writeln!(text, "{indent}{} = {value}", setting.name(dialect));
        }
    }
}

/// Returns the memory in bytes that the `config` service needs for so many blocks of names, where that is more than it has.
pub fn memory(dialect: Dialect, n_blocks: usize) -> Option<u64> {
    let needed = least_memory(dialect, n_blocks);
    (needed > DEFAULT_LIMIT).then(|| (BYTES_BESIDES + needed).next_multiple_of(64 << 20))
}

/// Returns the memory in bytes below which the `config` service fails with so many blocks of names.
pub fn least_memory(dialect: Dialect, n_blocks: usize) -> u64 {
    let each = BYTES_FOR_NAME.into_iter().find(|(of, _)| *of == dialect);
    let n_blocks = u64::try_from(n_blocks).unwrap_or(u64::MAX);
    each.map_or(0, |(_, each)| n_blocks.saturating_mul(each))
}

/// Reads a size as Dovecot's `vsz_limit` takes it, in bytes; `None` where it sets no limit, or is no size.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|byte: char| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    number.checked_shl(shift).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired() -> Desired {
        Desired {
            default: LivePair::below(Path::new("/l/mail")),
            named: vec![Named {
                names: vec!["a.example".into(), "b.example".into()],
                pair: LivePair::below(Path::new("/l/a")),
            }],
            auth_socket: Some(AuthSocket {
                path: "/q/private/auth".into(),
                user: "postfix".into(),
                group: "postfix".into(),
            }),
        }
    }

    #[test]
    fn each_version_has_its_words() {
        let check = |dialect, limit, expected: &str| {
            let text = desired().drop_in(dialect, limit);
            let (_, text) = text.split_once('\n').unwrap();
            assert_eq!(text, expected);
        };
        let socket = "\n# Postfix asks here who may log in.\nservice auth {\n  unix_listener /q/private/auth {\n    mode = 0600\n    \
                      user = postfix\n    group = postfix\n  }\n}\n";
        check(
            Dialect::V2_3,
            None,
            &format!(
                "ssl_cert = </l/mail/fullchain.pem\nssl_key = </l/mail/privkey.pem\n{socket}\nlocal_name \"a.example b.example\" {{\n  \
                 ssl_cert = </l/a/fullchain.pem\n  ssl_key = </l/a/privkey.pem\n}}\n"
            ),
        );
        let block = |name: &str| {
            format!(
                "\nlocal_name {name} {{\n  ssl_server_cert_file = /l/a/fullchain.pem\n  ssl_server_key_file = /l/a/privkey.pem\n}}\n"
            )
        };
        check(
            Dialect::V2_4,
            Some(512 << 20),
            &format!(
                "ssl_server_cert_file = /l/mail/fullchain.pem\nssl_server_key_file = /l/mail/privkey.pem\n{socket}{}{}\n\
                 # So many names need more memory than a service may have by default.\nservice config {{\n  vsz_limit = 512M\n}}\n",
                block("a.example"),
                block("b.example")
            ),
        );
    }

    #[test]
    fn many_names_need_memory() {
        let check = |dialect, n_blocks, expected: Option<u64>| {
            assert_eq!(
                memory(dialect, n_blocks).map(|bytes| bytes >> 20),
                expected,
                "{n_blocks}"
            );
        };
        check(Dialect::V2_3, 700, None);
        check(Dialect::V2_3, 800, Some(384));
        check(Dialect::V2_3, 1000, Some(448));
        check(Dialect::V2_3, 3000, Some(1152));
        check(Dialect::V2_3, 10_000, Some(3520));
        check(Dialect::V2_4, 3000, None);
        check(Dialect::V2_4, 10_000, Some(704));
        let sizes = [
            ("512 M", Some(512 << 20)),
            ("1G", Some(1 << 30)),
            ("0", None),
            ("$default_vsz_limit", None),
            ("7", Some(7)),
        ];
        for (text, expected) in sizes {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn a_path_that_would_be_read_as_something_else_is_found() {
        let mut odd = desired();
        assert_eq!(odd.unnameable(), None);
        odd.named[0].pair = LivePair::below(Path::new("/l/a #1"));
        assert_eq!(odd.unnameable(), Some(Path::new("/l/a #1/fullchain.pem")));
    }
}
