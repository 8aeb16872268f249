//! master.cf: services and their `-o` overrides read; single overrides commented out. Pure.
//!
//! Rules: master(5); words are split as the master does (`mystrtokq`, `extpar`): by blanks, tabs, carriage returns, with
//! `{ ... }` as one word; options as getopt(3) reads them in the daemons, so `-o name=value`, `-oname=value` and
//! `-o { name = value }` are the same.

mod edit;

pub use edit::Template;

use super::{Lines, Logical, is_space, split_name_value, trim};

/// How many columns stand before the command's arguments.
const N_COLUMNS: usize = 8;

/// Single-letter options of Postfix daemons that take an argument (`single_server.c` and its brothers).
const WITH_ARGUMENT: &[u8] = b"imnorst";

/// A master.cf that prints as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterCf(Lines);

/// One service: a logical line of master.cf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As written: `smtp`, `[::1]:587`, `192.0.2.1:submission`.
    pub name: String,
    /// `inet`, `unix`, `unix-dgram`, `fifo` or `pass`.
    pub kind: String,
    /// Whether only Postfix may connect, as written: `y`, `n` or `-`.
    pub private: String,
    /// Whether it runs as `mail_owner`, as written.
    pub unprivileged: String,
    /// Whether it runs in the queue directory as its root, as written.
    pub chroot: String,
    /// Seconds between wake-ups, as written.
    pub wakeup: String,
    /// How many processes, as written.
    pub process_limit: String,
    /// The program's name, relative to `daemon_directory`.
    pub command: String,
    /// What follows the command, in words; `{ ... }` without its braces.
    pub args: Vec<Vec<u8>>,
    /// The `-o` overrides in order; the last one of a name wins.
    pub overrides: Vec<Override>,
}

/// One `-o name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The parameter.
    pub name: String,
    /// Its raw value; `$name` is not expanded.
    pub value: Vec<u8>,
}

/// A word and where it stands in the joined logical line.
struct Word {
    start: usize,
    end: usize,
}

/// An override and the bytes it takes in the joined logical line, `-o` included.
struct Found {
    parameter: Override,
    start: usize,
    end: usize,
}

impl Service {
    /// Returns `name/type`, as postconf(1) calls a service.
    pub fn label(&self) -> String {
        format!("{}/{}", self.name, self.kind)
    }

    /// Returns the word at which a daemon stops to read options: it and all behind it are not looked at. Mostly the rest of
    /// a value with blanks that lacks its braces; also a brace that is not closed, and an option whose argument is missing,
    /// which would swallow whatever was added behind it.
    pub fn unread(&self) -> Option<String> {
        let mut rest = self.args.iter();
        while let Some(word) = rest.next() {
            let shown = || Some(String::from_utf8_lossy(word).into_owned());
            if is_open(word) {
                return shown();
            }
            let letters = word.strip_prefix(b"-").filter(|letters| !letters.is_empty());
            let Some(letters) = letters.filter(|letters| *letters != b"-") else {
                return shown();
            };
            let takes = letters.iter().position(|letter| WITH_ARGUMENT.contains(letter));
            if takes.is_some_and(|at| at + 1 == letters.len()) {
                match rest.next() {
                    None => return shown(),
                    Some(argument) if is_open(argument) => {
                        return Some(String::from_utf8_lossy(argument).into_owned());
                    }
                    Some(_) => {}
                }
            }
        }
        None
    }

    /// Returns the raw value that this service overrides the parameter with.
    pub fn overridden(&self, name: &str) -> Option<&[u8]> {
        self.overrides
            .iter()
            .rev()
            .find(|parameter| parameter.name == name)
            .map(|parameter| parameter.value.as_slice())
    }
}

impl MasterCf {
    /// Reads a file; every sequence of bytes is one, what Postfix would refuse included.
    pub fn parse(bytes: &[u8]) -> Self {
        Self(Lines::parse(bytes))
    }

    /// Returns the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Returns the services in order; a line with fewer than eight columns, which Postfix refuses, is none.
    pub fn services(&self) -> Vec<Service> {
        self.0
            .logical()
            .iter()
            .filter_map(|logical| service(&self.0.joined(logical)))
            .collect()
    }

    /// Comments out the overrides that `chosen` picks, each with the reason it returns; returns how many.
    ///
    /// An override alone on its lines is kept there behind `#`. One that shares a line with other words is taken out of
    /// it, and its text is kept in the comment.
    pub fn comment_out(&mut self, chosen: impl Fn(&Service, &Override) -> Option<String>) -> usize {
        // Each step takes one override away, so the number that is there now bounds the loop.
        let n_overrides: usize = self
            .services()
            .iter()
            .map(|service| service.overrides.len())
            .sum();
        let mut n_changed = 0;
        for _ in 0..n_overrides {
            let Some((logical, found, reason)) = self.first(&chosen) else {
                break;
            };
            self.take_out(&logical, &found, &reason);
            n_changed += 1;
        }
        n_changed
    }

    fn first(
        &self,
        chosen: impl Fn(&Service, &Override) -> Option<String>,
    ) -> Option<(Logical, Found, String)> {
        self.0.logical().into_iter().find_map(|logical| {
            let text = self.0.joined(&logical);
            let service = service(&text)?;
            let (found, reason) = overrides(&text)
                .into_iter()
                .find_map(|found| chosen(&service, &found.parameter).map(|reason| (found, reason)))?;
            Some((logical, found, reason))
        })
    }

    fn take_out(&mut self, logical: &Logical, found: &Found, reason: &str) {
        // Where the override stands on each physical line that it touches.
        let mut touched = Vec::new();
        let mut offset = 0;
        for index in &logical.lines {
            let text = self.0.text(*index);
            let length = text.len();
            let (start, end) = (
                found.start.saturating_sub(offset),
                found.end.saturating_sub(offset).min(length),
            );
            // White space at the edges is the line's indentation, not the override's.
            let part = text.get(start..end).unwrap_or_default();
            if let Some(skipped) = part.iter().position(|byte| !is_space(byte)) {
                touched.push((*index, start + skipped, start + part.trim_ascii_end().len()));
            }
            offset += length;
        }
        let alone = |(index, start, end): &(usize, usize, usize)| {
            let text = self.0.text(*index);
            let outside = [
                text.get(..*start).unwrap_or_default(),
                text.get(*end..).unwrap_or_default(),
            ];
            outside.iter().all(|part| part.iter().all(is_space))
        };
        if touched.iter().all(alone) {
            let lines: Vec<usize> = touched.iter().map(|(index, ..)| *index).collect();
            self.0.comment_out(&lines, reason);
            return;
        }
        let original = self
            .0
            .joined(logical)
            .get(found.start..found.end)
            .unwrap_or_default()
            .to_vec();
        for (index, start, end) in touched.iter().rev() {
            self.cut(*index, *start, *end);
        }
        if let Some((first, ..)) = touched.first() {
            self.0
                .insert_comment(*first, &[reason.as_bytes(), b": ", &original].concat());
        }
    }

    /// Takes a part of a line away, with the white space that set it off; a line that becomes empty goes.
    fn cut(&mut self, index: usize, start: usize, end: usize) {
        let Some(line) = self.0.0.get_mut(index) else {
            return;
        };
        let before = line.get(..start).unwrap_or_default();
        let after = line.get(end..).unwrap_or_default();
        let kept = if before.iter().all(is_space) {
            // The indentation makes it a continuation line: it stays, the gap behind goes.
            let gap = after
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t'))
                .count();
            [before, after.get(gap..).unwrap_or_default()].concat()
        } else {
            [before.trim_ascii_end(), after].concat()
        };
        if kept.iter().all(is_space) {
            self.0.0.remove(index);
        } else {
            *line = kept;
        }
    }
}

/// Returns whether a brace in a word is not closed.
fn is_open(word: &[u8]) -> bool {
    let depth = word.iter().fold(0_usize, |depth, byte| match byte {
        b'{' => depth + 1,
        b'}' => depth.saturating_sub(1),
        _ => depth,
    });
    depth > 0
}

/// Reads the eight columns and the arguments of a logical line.
fn service(text: &[u8]) -> Option<Service> {
    let (columns, arguments) = words(text);
    let column = |index: usize| {
        let word = columns.get(index)?;
        Some(String::from_utf8_lossy(text.get(word.start..word.end)?).into_owned())
    };
    Some(Service {
        name: column(0)?,
        kind: column(1)?,
        private: column(2)?,
        unprivileged: column(3)?,
        chroot: column(4)?,
        wakeup: column(5)?,
        process_limit: column(6)?,
        command: column(7)?,
        args: arguments
            .iter()
            .map(|word| unbraced(text, word).to_vec())
            .collect(),
        overrides: overrides(text).into_iter().map(|found| found.parameter).collect(),
    })
}

/// Reads the `-o` options among a service's arguments, up to the first word that is no option.
fn overrides(text: &[u8]) -> Vec<Found> {
    let (_, arguments) = words(text);
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let Some(letters) = unbraced(text, word)
            .strip_prefix(b"-")
            .filter(|letters| !letters.is_empty())
        else {
            break;
        };
        if letters == b"-" {
            break;
        }
        let Some(at) = letters.iter().position(|letter| WITH_ARGUMENT.contains(letter)) else {
            continue;
        };
        let attached = letters.get(at + 1..).unwrap_or_default();
        let (value, end) = if attached.is_empty() {
            let Some(next) = rest.next() else { break };
            (unbraced(text, next), next.end)
        } else {
            (attached, word.end)
        };
        if letters.get(at) != Some(&b'o') {
            continue;
        }
        if let Some((name, value)) = split_name_value(value) {
            let name = String::from_utf8_lossy(name).into_owned();
            let parameter = Override {
                name,
                value: value.to_vec(),
            };
            found.push(Found {
                parameter,
                start: word.start,
                end,
            });
        }
    }
    found
}

/// Splits a logical line into its columns and its arguments; only among the latter `{` and `}` hold words together.
fn words(text: &[u8]) -> (Vec<Word>, Vec<Word>) {
    // A brace that is not closed holds no line end.
    let text = without_last_blanks(text);
    let (mut columns, mut arguments) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        at += text
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| is_blank(byte))
            .count();
        let start = at;
        let mut depth = 0_usize;
        while let Some(byte) = text.get(at) {
            match byte {
                b'{' if columns.len() == N_COLUMNS => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                byte if depth == 0 && is_blank(byte) => break,
                _ => {}
            }
            at += 1;
        }
        if start == at {
            return (columns, arguments);
        }
        let word = Word { start, end: at };
        let filled = if columns.len() < N_COLUMNS {
            &mut columns
        } else {
            &mut arguments
        };
        filled.push(word);
    }
}

/// Returns whether a byte parts words: a form feed or a vertical tab does not, though it begins a continuation.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn without_last_blanks(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// Returns a word as the daemon sees it: without its braces and the white space inside them.
fn unbraced<'a>(text: &'a [u8], word: &Word) -> &'a [u8] {
    let word = text.get(word.start..word.end).unwrap_or_default();
    match word.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}")) {
        Some(inner) => trim(inner),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_services_and_overrides() {
        let check = |text: &str, expected: &[(&str, &[(&str, &str)])]| {
            let services = MasterCf::parse(text.as_bytes()).services();
            let found: Vec<_> = services
                .iter()
                .map(|service| {
                    let overrides = service.overrides.iter();
                    let pair = |o: &Override| (o.name.clone(), String::from_utf8(o.value.clone()).unwrap());
                    (
                        format!("{} {}", service.label(), service.command),
                        overrides.map(pair).collect::<Vec<_>>(),
                    )
                })
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(label, pairs)| {
                    let pairs = pairs
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                    ((*label).to_owned(), pairs.collect::<Vec<_>>())
                })
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("#smtp inet n - n - - smtpd\n", &[]);
        check("smtp inet n - n - -\n", &[]);
        check("smtp inet n - n - - smtpd", &[("smtp/inet smtpd", &[])]);
        check(
            "a inet n - n - - smtpd -v -o p=1 -op=2\r\n  -o\r\n#-o q=1\r\n  { r = 3 4 }\r\n",
            &[("a/inet smtpd", &[("p", "1"), ("p", "2"), ("r", "3 4")])],
        );
        check(
            "a inet n - n - - smtpd -vop=1 -o {s={ x }} -o bad -n o -o t=\n",
            &[("a/inet smtpd", &[("p", "1"), ("s", "{ x }"), ("t", "")])],
        );
        check(
            "a inet n - n - - smtpd -{ -o p=1\n",
            &[("a/inet smtpd", &[("p", "1")])],
        );
        check(
            "p unix - n n - - pipe -o a=1 flags=R -o b=1\n",
            &[("p/unix pipe", &[("a", "1")])],
        );
        check("a inet n - n - - smtpd -- -o p=1\n", &[("a/inet smtpd", &[])]);
        check("a inet n - n - - smtpd -o p = 1\n", &[("a/inet smtpd", &[])]);
    }

    #[test]
    fn comments_out_one_override() {
        let check = |text: &str, expected: &str| {
            let mut file = MasterCf::parse(text.as_bytes());
            let before = file.services();
            file.comment_out(|_, found| (found.name == "p").then(|| "why".to_owned()));
            assert_eq!(String::from_utf8(file.to_bytes()).unwrap(), expected, "{text:?}");
            // What is left is what was there, without the overrides of `p`.
            let mut wanted = before;
            wanted
                .iter_mut()
                .for_each(|service| service.overrides.retain(|found| found.name != "p"));
            let kept = file.services();
            assert_eq!(kept.len(), wanted.len(), "{text:?}");
            for (kept, wanted) in kept.iter().zip(&wanted) {
                assert_eq!(
                    (kept.label(), &kept.overrides),
                    (wanted.label(), &wanted.overrides),
                    "{text:?}"
                );
            }
        };
        let smtpd = |rest: &str| format!("smtp inet n - n - - smtpd{rest}");
        let check_after = |text: &str, expected: &str| check(&smtpd(text), expected);
        check_after("\n -o q=1\n", &smtpd("\n -o q=1\n"));
        check_after(
            "\n  -o p=1\n\t-o q=1\n",
            &smtpd("\n# mailcert: why\n#  -o p=1\n\t-o q=1\n"),
        );
        check_after("\n  -op=1", &smtpd("\n# mailcert: why\n#  -op=1"));
        check_after(
            "\r\n -o { p = 1 2 }\r\n",
            &smtpd("\r\n# mailcert: why\r\n# -o { p = 1 2 }\r\n"),
        );
        check_after(
            "\n -o {\n p=1\n }\n -o q=1\n",
            &smtpd("\n# mailcert: why\n# -o {\n# p=1\n# }\n -o q=1\n"),
        );
        check_after("\n -o\n p=1\n", &smtpd("\n# mailcert: why\n# -o\n# p=1\n"));
        check_after(" -o p=1\n", &format!("# mailcert: why: -o p=1\n{}", smtpd("\n")));
        check_after(
            " -o p=1 -o q=1 -o p=2\n",
            &format!(
                "# mailcert: why: -o p=1\n# mailcert: why: -o p=2\n{}",
                smtpd(" -o q=1\n")
            ),
        );
        check_after(
            "\n  -o p=1   -o q=1\n",
            &smtpd("\n# mailcert: why: -o p=1\n  -o q=1\n"),
        );
        check_after(
            "\n  -o q=1 -o\n  p=1\n",
            &smtpd("\n# mailcert: why: -o  p=1\n  -o q=1\n"),
        );
        check_after("\n  -o\n  p=1 -v\n", &smtpd("\n# mailcert: why: -o  p=1\n  -v\n"));
        check_after(
            "\n  -o p=1\n\nb unix - - n - - b\n  -o p=1\n",
            &smtpd("\n# mailcert: why\n#  -o p=1\n\nb unix - - n - - b\n# mailcert: why\n#  -o p=1\n"),
        );
    }

    #[test]
    fn tells_what_would_swallow_an_option_that_was_added() {
        let check = |args: &str, expected: Option<&str>| {
            let file = MasterCf::parse(format!("a inet n - n - - smtpd {args}\n").as_bytes());
            assert_eq!(file.services()[0].unread().as_deref(), expected, "{args}");
        };
        check("-v -o a=b -o { c = d e }", None);
        check("-o a=b -o", Some("-o"));
        check("-vo", Some("-vo"));
        check("-o a=b -o {c = d", Some("{c = d"));
        check("-oa={b c", Some("-oa={b c"));
        check("-o a={b} {-v}", None);
        // The daemon parts words at blanks alone.
        check("-o a=b \x0c", Some("\x0c"));
        check("-o a=b \r", None);
    }
}
