//! The effective configuration of Dovecot, as doveconf(1) prints it: `doveconf -n`, `doveconf -a`, `doveconf service`. Pure.
//!
//! Both 2.3 and 2.4 are read. Dovecot 2.4 prints settings that share a prefix as a block: `ssl_server { cert_file = X }` is
//! `ssl_server_cert_file`, and [`Block::get`] finds it by that name.

use super::dialect::{Dialect, Setting, Version};

/// How deep blocks may lie within each other; deeper ones are not kept.
const DEPTH_LIMIT: usize = 32;

/// What doveconf(1) prints instead of a secret, where it is not asked to show it.
pub const HIDDEN: &str = "# hidden, use -P to show it";

/// Settings that stand together: the whole configuration, or `service auth { … }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The first word: `service`, `local_name`, `unix_listener`; empty for the whole.
    pub kind: String,
    /// What follows it: `auth`, `mail.example.jp`, `/var/spool/postfix/private/auth`; empty where nothing does.
    pub name: String,
    /// Settings in the order of the print; quotes are taken off.
    pub settings: Vec<(String, String)>,
    /// Blocks in the order of the print.
    pub blocks: Vec<Block>,
}

/// A whole configuration as doveconf(1) prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The version that printed it, where the print says so (`doveconf -n` and `-a` do).
    pub version: Option<Version>,
    /// Everything.
    pub root: Block,
}

/// A certificate of the configuration, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedCertificate {
    /// The blocks that it stands in, outermost first, as `local_name mail.example.jp`; empty: for everybody.
    pub scope: Vec<String>,
    /// The value of the certificate's setting: `<FILE` in 2.3, `FILE` in 2.4; empty where only the key is set here.
    pub certificate: String,
    /// The value of the key's setting; may be [`HIDDEN`].
    pub key: String,
    /// The values of the alternative certificate and its key; empty where there is none.
    pub alternative: (String, String),
}

impl Effective {
    /// Reads what doveconf(1) printed. What is no setting, no block and no comment is left out.
    pub fn parse(text: &str) -> Self {
        let mut version = None;
        let mut open = vec![Block::default()];
        // Blocks beyond the limit are counted, so that their ends are not taken for those of others.
        let mut too_deep = 0_usize;
        for line in text.lines() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                if version.is_none() {
                    version = Version::parse(comment).filter(|_| comment.contains('('));
                }
            } else if line == "}" {
                if too_deep > 0 {
                    too_deep -= 1;
                } else if open.len() > 1
                    && let (Some(block), Some(outer)) = (open.pop(), open.last_mut())
                {
                    outer.blocks.push(block);
                }
            } else if let Some(head) = line.strip_suffix('{').filter(|head| is_block_head(head)) {
                if open.len() > DEPTH_LIMIT {
                    too_deep += 1;
                } else {
                    open.push(Block::opened(head.trim()));
                }
            } else if too_deep == 0
                && let Some((name, value)) = line.split_once('=')
                && let Some(block) = open.last_mut()
            {
                block
                    .settings
                    .push((name.trim().to_owned(), unquoted(value.trim())));
            }
        }
        // A print that was cut off leaves blocks open: what is in them counts.
        while open.len() > 1 {
            if let (Some(block), Some(outer)) = (open.pop(), open.last_mut()) {
                outer.blocks.push(block);
            }
        }
        Self {
            version,
            root: open.pop().unwrap_or_default(),
        }
    }

    /// Returns the dialect of the version that printed it, else the one that its settings are written in.
    pub fn dialect(&self) -> Dialect {
        match self.version {
            Some(version) => version.dialect(),
            None if self.root.get("dovecot_config_version").is_some() => Dialect::V2_4,
            None => Dialect::V2_3,
        }
    }

    /// Returns every certificate that is set: for everybody first, then those of filters, `local_name` among them.
    pub fn certificates(&self) -> Vec<ServedCertificate> {
        let mut found = Vec::new();
        let dialect = self.dialect();
        // Filters lie within each other; the way to each is kept, so that no recursion is needed.
        let mut left: Vec<(Vec<String>, &Block)> = vec![(Vec::new(), &self.root)];
        while let Some((scope, block)) = left.pop() {
            let value = |setting: Setting| block.get(setting.name(dialect)).unwrap_or_default();
            let own = ServedCertificate {
                scope: scope.clone(),
                certificate: value(Setting::Certificate),
                key: value(Setting::Key),
                alternative: (
                    value(Setting::AlternativeCertificate),
                    value(Setting::AlternativeKey),
                ),
            };
            let values = [&own.certificate, &own.key, &own.alternative.0, &own.alternative.1];
            if values.iter().any(|value| !value.is_empty()) {
                found.push(own);
            }
            for inner in block.blocks.iter().rev().filter(|inner| inner.is_filter()) {
                let scope = scope.iter().cloned().chain([inner.title()]).collect();
                left.push((scope, inner));
            }
        }
        found
    }

    /// Returns the mail protocols that are switched on: 2.3 has one setting for it, 2.4 that or a block of switches.
    pub fn protocols(&self) -> Vec<String> {
        let listed = self.root.get("protocols").unwrap_or_default();
        let mut names: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        for (name, value) in self.root.blocks("protocols").flat_map(|block| &block.settings) {
            names.retain(|known| known != name);
            if value == "yes" {
                names.push(name.clone());
            }
        }
        names.retain(|name| name != "none");
        names
    }
}

impl Block {
    /// Opens a block by its head, without the brace.
    fn opened(head: &str) -> Self {
        let (kind, name) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
        Self {
            kind: kind.to_owned(),
            name: unquoted(name.trim()),
            ..Self::default()
        }
    }

    /// Returns the value of a setting: the last one of this name, or `PREFIX { REST = value }` of Dovecot 2.4.
    pub fn get(&self, name: &str) -> Option<String> {
        let own = self.settings.iter().rev().find(|(known, _)| known == name);
        if let Some((_, value)) = own {
            return Some(value.clone());
        }
        let grouped = self.blocks.iter().rev().filter(|block| block.name.is_empty());
        grouped
            .filter_map(|block| {
                let rest = name.strip_prefix(block.kind.as_str())?.strip_prefix('_')?;
                block.settings.iter().rev().find(|(known, _)| known == rest)
            })
            .map(|(_, value)| value.clone())
            .next()
    }

    /// Returns the blocks of this kind.
    pub fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Self> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    /// Returns the block of this kind and name.
    pub fn block(&self, kind: &str, name: &str) -> Option<&Self> {
        self.blocks
            .iter()
            .find(|block| block.kind == kind && block.name == name)
    }

    /// Returns how the block begins: `local_name mail.example.jp`.
    pub fn title(&self) -> String {
        match self.name.as_str() {
            "" => self.kind.clone(),
            name => format!("{} {name}", self.kind),
        }
    }

    /// Returns whether the settings in it count for some connections alone.
    pub fn is_filter(&self) -> bool {
        matches!(self.kind.as_str(), "local" | "local_name" | "protocol" | "remote")
    }
}

/// Returns whether what stands before a brace begins a block: a value may end in a brace as well.
fn is_block_head(head: &str) -> bool {
    let word = head.split_whitespace().next().unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    head.ends_with(char::is_whitespace)
        && !word.is_empty()
        && word.bytes().all(is_name)
        && !head.trim_start_matches(word).trim_start().starts_with('=')
}

/// Takes the quotes off a value, and the backslashes that protect what is in them.
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `doveconf -n -P` of Dovecot 2.3.19.
    const V2_3: &str = "\
# 2.3.19.1 (9b53102964): d.conf
# Pigeonhole version 0.5.19 (4eae2f79)
# OS: Linux 6.1 x86_64 Debian 12.11 
listen = 127.0.50.1
login_greeting = \"a # b\\\" \\\\ c\"
namespace inbox {
  location = 
  mailbox \"Sent Messages\" {
    special_use = \\Sent
  }
}
protocols = \" imap lmtp pop3\"
service auth {
  unix_listener /var/spool/postfix/private/auth {
    group = postfix
    mode = 0666
  }
}
ssl_cert = </etc/ssl/a.pem
ssl_key = # hidden, use -P to show it
protocol imap {
  ssl_cert = </etc/ssl/b.pem
}
local_name e.example.jp f.example.jp {
  protocol imap {
    ssl_key = </y
  }
}
";

    /// `doveconf -n` of Dovecot 2.4.1.
    const V2_4: &str = "\
# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf
# 4 default setting changes since version 2.4.0
dovecot_config_version = 2.4.0
protocols {
  imap = yes
  lmtp = no
}
service imap-login {
  inet_listener imaps {
  }
}
ssl_server {
  cert_file = /live/fullchain.pem
  key_file = /live/privkey.pem
}
local_name mail.example.jp {
  ssl_server {
    cert_file = /c
    key_file = /d
  }
}
";

    #[test]
    fn reads_what_2_3_prints() {
        let read = Effective::parse(V2_3);
        assert_eq!(read.version, Some(Version::new(2, 3, 19)));
        assert_eq!(read.protocols(), ["imap", "lmtp", "pop3"]);
        assert_eq!(read.root.get("login_greeting").as_deref(), Some("a # b\" \\ c"));
        let mailbox = read
            .root
            .block("namespace", "inbox")
            .and_then(|block| block.block("mailbox", "Sent Messages"));
        assert_eq!(
            mailbox.and_then(|block| block.get("special_use")).as_deref(),
            Some("\\Sent")
        );
        let listener = read
            .root
            .block("service", "auth")
            .and_then(|auth| auth.block("unix_listener", "/var/spool/postfix/private/auth"));
        assert_eq!(
            listener.and_then(|block| block.get("mode")).as_deref(),
            Some("0666")
        );
        let certificates = read.certificates();
        let scopes: Vec<String> = certificates.iter().map(|one| one.scope.join(" / ")).collect();
        assert_eq!(
            scopes,
            [
                "",
                "protocol imap",
                "local_name e.example.jp f.example.jp / protocol imap"
            ]
        );
        assert_eq!(certificates[0].certificate, "</etc/ssl/a.pem");
        assert_eq!(certificates[0].key, HIDDEN);
        assert_eq!(certificates[2].certificate, "");
    }

    #[test]
    fn reads_what_2_4_prints() {
        let read = Effective::parse(V2_4);
        assert_eq!(read.dialect(), Dialect::V2_4);
        assert_eq!(read.protocols(), ["imap"]);
        assert_eq!(
            read.root.get("ssl_server_cert_file").as_deref(),
            Some("/live/fullchain.pem")
        );
        let certificates = read.certificates();
        assert_eq!(certificates.len(), 2);
        assert_eq!(certificates[1].scope, ["local_name mail.example.jp"]);
        assert_eq!(certificates[1].key, "/d");
    }

    #[test]
    fn what_is_broken_is_read_as_far_as_it_goes() {
        let check = |text: &str, expected: usize| {
            let read = Effective::parse(text);
            assert_eq!(
                read.root.blocks.len() + read.root.settings.len(),
                expected,
                "{text}"
            );
        };
        check("", 0);
        check("}\n}\na = b\n", 1);
        check("service auth {\n a = b\n", 1);
        check("nonsense\n= x\n{\n", 1);
        check("a = {\nb = x {\n", 2);
        check("# \u{0}\n\u{feff}x\n", 0);
        let deep = "a {\n".repeat(100_000);
        check(&format!("{deep}{}b = c\n", "}\n".repeat(100_000)), 2);
    }

    #[test]
    fn many_names_are_read_in_no_time() {
        let block = |index: usize| {
            format!("local_name n{index}.example.jp {{\n  ssl_cert = </l/n{index}/fullchain.pem\n}}\n")
        };
        let text: String = (0..10_000).map(block).collect();
        let read = Effective::parse(&text);
        assert_eq!(read.certificates().len(), 10_000);
    }
}
