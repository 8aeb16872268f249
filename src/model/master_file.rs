//! The words of a zone's master file, with the places where they stand (RFC 1035, 5.1). Pure.
//!
//! Comments, parentheses, quotes and escapes are understood; names, TTLs and types are not: those are the reader's. Every
//! place is an offset into the text, so that what is not changed can be kept octet for octet.

use std::{fmt, ops::Range};

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is written, without the quotes around it.
    raw: Vec<u8>,
    /// Whether it stands in quotes.
    is_quoted: bool,
    /// Where it stands, with its quotes.
    pub at: Range<usize>,
}

/// One record or directive: what ends with a line that closes every parenthesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The lines that it stands on, with the last one's line feed.
    pub at: Range<usize>,
    /// The number of its first line, from 1.
    pub line: usize,
    /// Whether it begins with white space: then the owner is the one before.
    pub is_indented: bool,
    /// Its words; at least one.
    pub words: Vec<Word>,
}

/// What stops the reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for SyntaxError {}

impl Word {
    /// Returns the text of a word that has neither quotes nor escapes, and is ASCII.
    pub fn plain(&self) -> Option<&str> {
        if self.is_quoted || self.raw.contains(&b'\\') || !self.raw.is_ascii() {
            return None;
        }
        std::str::from_utf8(&self.raw).ok()
    }

    /// Returns the octets that it stands for; `None` when an escape is broken.
    pub fn octets(&self) -> Option<Vec<u8>> {
        let mut octets = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw.iter();
        while let Some(byte) = rest.next() {
            if *byte != b'\\' {
                octets.push(*byte);
                continue;
            }
            let first = *rest.next()?;
            if !first.is_ascii_digit() {
                octets.push(first);
                continue;
            }
            let mut value = u16::from(first - b'0');
            for _ in 0..2 {
                let digit = rest.next().filter(|digit| digit.is_ascii_digit())?;
                value = value * 10 + u16::from(digit - b'0');
            }
            octets.push(u8::try_from(value).ok()?);
        }
        Some(octets)
    }

    /// Returns it as it is written, without the quotes, lossily where it is no UTF-8.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Returns whether it stands in quotes.
    pub fn is_quoted(&self) -> bool {
        self.is_quoted
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::plan::printable_line(&self.raw, 100))
    }
}

/// Reads all entries of a file; lines with nothing but white space and comments are none.
///
/// # Errors
/// An open quote or parenthesis, or one that closes nothing.
pub fn entries(text: &[u8]) -> Result<Vec<Entry>, SyntaxError> {
    let mut reader = Reader {
        text,
        position: 0,
        line: 1,
    };
    let mut entries = Vec::new();
    while reader.position < text.len() {
        entries.extend(reader.entry()?);
    }
    Ok(entries)
}

/// Reads the words of one entry's text; line feeds separate words.
///
/// # Errors
/// As [`entries`].
pub fn words(text: &[u8]) -> Result<Vec<Word>, SyntaxError> {
    Ok(entries(text)?.into_iter().flat_map(|entry| entry.words).collect())
}

struct Reader<'a> {
    text: &'a [u8],
    position: usize,
    line: usize,
}

impl Reader<'_> {
    /// Reads up to the end of a line outside of parentheses.
    fn entry(&mut self) -> Result<Option<Entry>, SyntaxError> {
        let (start, line) = (self.position, self.line);
        let is_indented = matches!(self.peek(), Some(b' ' | b'\t'));
        let mut words = Vec::new();
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.position += 1;
                    self.line += 1;
                    if depth == 0 {
                        break;
                    }
                }
                b' ' | b'\t' | b'\r' => self.position += 1,
                b';' => self.skip_comment(),
                b'(' => {
                    depth += 1;
                    self.position += 1;
                }
                b')' => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| self.wrong("`)` closes nothing"))?;
                    self.position += 1;
                }
                b'"' => words.push(self.quoted()?),
                _ => words.push(self.word()?),
            }
        }
        if depth > 0 {
            return Err(SyntaxError {
                line,
                reason: "`(` is not closed",
            });
        }
        let entry = Entry {
            at: start..self.position,
            line,
            is_indented,
            words,
        };
        Ok(if entry.words.is_empty() { None } else { Some(entry) })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn wrong(&self, reason: &'static str) -> SyntaxError {
        SyntaxError {
            line: self.line,
            reason,
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.position += 1;
        }
    }

    fn quoted(&mut self) -> Result<Word, SyntaxError> {
        let start = self.position;
        self.position += 1;
        loop {
            match self.peek() {
                None | Some(b'\n') => return Err(self.wrong("a quote is not closed")),
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => self.position += 1,
            }
        }
        self.position += 1;
        Ok(self.taken(start, start + 1..self.position - 1, true))
    }

    fn word(&mut self) -> Result<Word, SyntaxError> {
        let start = self.position;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' => self.escape()?,
                _ => self.position += 1,
            }
        }
        Ok(self.taken(start, start..self.position, false))
    }

    /// Passes a backslash and what it escapes.
    fn escape(&mut self) -> Result<(), SyntaxError> {
        match self.text.get(self.position + 1) {
            None | Some(b'\n') => Err(self.wrong("a backslash escapes nothing")),
            Some(_) => {
                self.position += 2;
                Ok(())
            }
        }
    }

    fn taken(&self, start: usize, inside: Range<usize>, is_quoted: bool) -> Word {
        Word {
            raw: self.text.get(inside).unwrap_or_default().to_vec(),
            is_quoted,
            at: start..self.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_comments_parentheses_quotes_and_escapes() {
        let text = b"; a zone\n@ IN SOA ns root ( 1 ; serial (\n\t2 )\n\n\ta TXT \"x;(\" y\\;z\\\"\r\n";
        let found = entries(text).unwrap();
        let raw: Vec<Vec<String>> = found
            .iter()
            .map(|entry| entry.words.iter().map(Word::raw).collect())
            .collect();
        assert_eq!(
            raw,
            [
                vec!["@", "IN", "SOA", "ns", "root", "1", "2"],
                vec!["a", "TXT", "x;(", "y\\;z\\\""]
            ]
        );
        assert_eq!((found[0].line, found[1].line), (2, 5));
        assert_eq!((found[0].is_indented, found[1].is_indented), (false, true));
        assert_eq!(
            &text[found[0].at.clone()],
            b"@ IN SOA ns root ( 1 ; serial (\n\t2 )\n"
        );
        assert_eq!(&text[found[1].words[2].at.clone()], b"\"x;(\"");
        assert_eq!(found[1].words[3].octets().unwrap(), b"y;z\"");
        assert_eq!(found[1].words[3].plain(), None);
    }

    #[test]
    fn tells_where_it_is_broken() {
        let check = |text: &str, line: usize, reason: &str| {
            let error = entries(text.as_bytes()).unwrap_err();
            assert_eq!((error.line, error.reason), (line, reason), "{text}");
        };
        check("a\nb ( c\nd\n", 2, "`(` is not closed");
        check("a )\n", 1, "`)` closes nothing");
        check("\na \"b\nc\"\n", 2, "a quote is not closed");
        check("a b\\", 1, "a backslash escapes nothing");
    }

    #[test]
    fn every_octet_is_in_an_entry_or_between_two() {
        let text = b"\xe4 ; \xff\na\tb\n   \n; only\nc \"\xe9\"";
        let found = entries(text).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].words[1].octets().unwrap(), [0xe9]);
        assert_eq!(found[2].at.end, text.len());
    }
}
