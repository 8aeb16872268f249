//! Lossless main.cf and master.cf: what is not changed stays byte for byte. Pure.
//!
//! Files are bytes, not text: comments in old encodings, CRLF, odd spacing and a missing final newline all survive. The
//! line rules are those of Postfix's own reader (postconf(5), "main.cf file format"; `readllines` in its source): an
//! empty line or one whose first character is `#` is skipped wherever it stands, also inside a value; a line that begins
//! with white space continues the logical line above.

pub mod main_cf;
pub mod master_cf;

pub use main_cf::MainCf;
pub use master_cf::{MasterCf, Override, Service, Template};

/// Physical lines with their line ends; joined, they are the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines(Vec<Vec<u8>>);

/// The physical lines of one logical line, without the comments between them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Logical {
    /// Indices into [`Lines`], ascending, at least one.
    lines: Vec<usize>,
}

impl Lines {
    fn parse(bytes: &[u8]) -> Self {
        Self(
            bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
        )
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// Returns the text of a line, without its line feed; a carriage return before it is white space and stays.
    fn text(&self, index: usize) -> &[u8] {
        let line = self.0.get(index).map_or(&[][..], Vec::as_slice);
        line.strip_suffix(b"\n").unwrap_or(line)
    }

    /// Groups physical lines into logical ones; white space before the first logical line belongs to none, as Postfix
    /// has it.
    fn logical(&self) -> Vec<Logical> {
        let mut found: Vec<Logical> = Vec::new();
        let mut orphaned = true;
        for index in 0..self.0.len() {
            let text = self.text(index);
            if is_ignored(text) {
                continue;
            }
            if !text.first().is_some_and(is_space) {
                orphaned = false;
                found.push(Logical { lines: vec![index] });
            } else if !orphaned && let Some(last) = found.last_mut() {
                last.lines.push(index);
            }
        }
        found
    }

    /// Returns the text of a logical line: its physical lines joined without their line feeds.
    fn joined(&self, logical: &Logical) -> Vec<u8> {
        logical
            .lines
            .iter()
            .flat_map(|index| self.text(*index).to_vec())
            .collect()
    }

    /// Returns the line end that this file uses; what has none uses a line feed.
    fn line_end(&self) -> &'static [u8] {
        match self.0.iter().rev().find(|line| line.ends_with(b"\n")) {
            Some(line) if line.ends_with(b"\r\n") => b"\r\n",
            _ => b"\n",
        }
    }

    /// Adds a line at the end; a last line that lacks its line end gets it first.
    fn append(&mut self, text: &[u8]) {
        let end = self.line_end();
        if let Some(last) = self.0.last_mut()
            && !last.ends_with(b"\n")
        {
            last.extend_from_slice(end);
        }
        self.0.push([text, end].concat());
    }

    /// Puts a line before the one of this index; a line above that lacks its line end gets it first.
    fn insert(&mut self, index: usize, text: &[u8]) {
        if index >= self.0.len() {
            return self.append(text);
        }
        let line = [text, self.line_end()].concat();
        self.0.insert(index, line);
    }

    /// Puts `#` before each of these lines, and a comment with the reason before the first.
    fn comment_out(&mut self, indices: &[usize], reason: &str) {
        for index in indices {
            if let Some(line) = self.0.get_mut(*index) {
                line.insert(0, b'#');
            }
        }
        if let Some(first) = indices.first() {
            self.insert_comment(*first, reason.as_bytes());
        }
    }

    /// Inserts a comment line before the line of this index.
    fn insert_comment(&mut self, index: usize, text: &[u8]) {
        // A line feed in the text would end the comment; nothing that is commented on has one.
        let text: Vec<u8> = text
            .iter()
            .map(|byte| if byte.is_ascii_control() { b' ' } else { *byte })
            .collect();
        let line = [b"# mailcert: ", text.as_slice(), self.line_end()].concat();
        self.0.insert(index.min(self.0.len()), line);
    }
}

/// Returns whether Postfix skips this line: empty, only white space, or a comment.
fn is_ignored(text: &[u8]) -> bool {
    text.iter()
        .find(|byte| !is_space(byte))
        .is_none_or(|byte| *byte == b'#')
}

/// Returns whether C's `isspace` holds.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Takes white space away at both ends.
fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|byte| !is_space(byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// Splits `name = value` as Postfix's `split_nameval` does; `None` is a syntax error there.
fn split_name_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let name = trim(text.get(..equals)?);
    let value = trim(text.get(equals + 1..)?);
    (!name.is_empty() && !name.iter().any(is_space)).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lines_as_postfix_does() {
        let check = |text: &str, expected: &[&[usize]]| {
            let found: Vec<Vec<usize>> = Lines::parse(text.as_bytes())
                .logical()
                .into_iter()
                .map(|logical| logical.lines)
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("a = 1\nb = 2", &[&[0], &[1]]);
        check("a = 1\n  2\n# c\n\n  # d\n\t3\nb = 1\n", &[&[0, 1, 5], &[6]]);
        check("  orphan = 1\n more\na = 1\n", &[&[2]]);
        check("#x\n  orphan\na = 1\r\n \r\n 2\r\n", &[&[2, 4]]);
    }

    #[test]
    fn splits_names_from_values() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = split_name_value(text.as_bytes());
            assert_eq!(
                found,
                expected.map(|(name, value)| (name.as_bytes(), value.as_bytes())),
                "{text:?}"
            );
        };
        check("a=b", Some(("a", "b")));
        check("a\t =  b = c  \r", Some(("a", "b = c")));
        check("a =", Some(("a", "")));
        check("a b = c", None);
        check("= c", None);
        check("a", None);
    }
}
