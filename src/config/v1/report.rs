//! What is wrong with a configuration file: every error at once, as `file:line:column: message`. Pure.
//!
//! The offending line is shown with a caret, except for what follows a key that is named like a secret.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use super::schema::names_a_secret;
use crate::model::plan::printable;

/// Errors kept of one file; a file with more is no configuration.
const MAX_ERRORS: usize = 50;
/// Characters shown of a line.
const MAX_EXCERPT: usize = 150;

/// Everything that is wrong with a file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, as it was named.
    pub file: PathBuf,
    /// At least one.
    pub errors: Vec<ConfigError>,
    /// How many more there are.
    pub n_left_out: usize,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// The line with a caret under the place, in two lines; `None` where it could show a secret.
    pub excerpt: Option<String>,
}

impl ConfigErrors {
    /// Returns each error as `file:line:column: message`, the offending line below it.
    pub fn to_strings(&self) -> Vec<String> {
        let one = |error: &ConfigError| {
            let ConfigError {
                line,
                column,
                message,
                excerpt,
            } = error;
            let excerpt = excerpt
                .as_ref()
                .map(|excerpt| format!("\n{excerpt}"))
                .unwrap_or_default();
            format!("{}:{line}:{column}: {message}{excerpt}", self.file.display())
        };
        let mut texts: Vec<String> = self.errors.iter().map(one).collect();
        if self.n_left_out > 0 {
            texts.push(format!("{}: and {} more", self.file.display(), self.n_left_out));
        }
        texts
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_strings().join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects the errors of one file while it is read.
pub struct Report<'a> {
    text: &'a str,
    errors: Vec<(Range<usize>, String)>,
    n_left_out: usize,
}

impl<'a> Report<'a> {
    /// Begins with no errors.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            errors: Vec::new(),
            n_left_out: 0,
        }
    }

    /// Adds an error about these bytes of the file.
    pub fn error(&mut self, at: &Range<usize>, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push((at.clone(), message.into()));
        } else {
            self.n_left_out += 1;
        }
    }

    /// Returns how many errors there are so far.
    pub fn n_errors(&self) -> usize {
        self.errors.len() + self.n_left_out
    }

    /// Returns the errors, each with its line.
    pub fn finish(mut self, file: &Path) -> ConfigErrors {
        self.errors.sort_by_key(|(at, _)| at.start);
        let errors = self
            .errors
            .iter()
            .map(|(at, message)| locate(self.text, at, message))
            .collect();
        ConfigErrors {
            file: file.to_owned(),
            errors,
            n_left_out: self.n_left_out,
        }
    }

    /// Returns the one error of a file that is not TOML. Its line is left out where a secret may stand in the file: what
    /// cannot be parsed cannot be told apart.
    pub fn syntax(self, file: &Path, at: &Range<usize>, message: &str) -> ConfigErrors {
        let mut error = locate(self.text, at, message);
        if self.text.lines().any(|line| secret_at(line).is_some()) {
            error.excerpt = None;
        }
        ConfigErrors {
            file: file.to_owned(),
            errors: vec![error],
            n_left_out: 0,
        }
    }
}

/// Finds line and column, and cuts out the line.
fn locate(text: &str, at: &Range<usize>, message: &str) -> ConfigError {
    let start = floor_char_boundary(text, at.start);
    let (before, after) = text.split_at(start);
    let line_start = before.rfind('\n').map_or(0, |index| index + 1);
    let in_line = before.get(line_start..).unwrap_or_default();
    let line_end = after.find('\n').map_or(text.len(), |index| start + index);
    let line = text
        .get(line_start..line_end)
        .unwrap_or_default()
        .trim_end_matches('\r');
    let number = before.matches('\n').count() + 1;
    let column = in_line.trim_start_matches('\u{feff}').chars().count();
    let n_marked = text
        .get(start..floor_char_boundary(text, at.end.min(line_start + line.len())))
        .map_or(0, |marked| marked.chars().count());
    // An empty place stands for something that is missing: there is nothing to point at.
    let pointed = (!at.is_empty()).then_some(());
    let excerpt =
        pointed.and_then(|()| excerpt(line.trim_start_matches('\u{feff}'), number, column, n_marked));
    ConfigError {
        line: number,
        column: column + 1,
        message: message.to_owned(),
        excerpt,
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0)
}

/// Draws the line and its caret; columns are counted from 0.
fn excerpt(line: &str, number: usize, column: usize, n_marked: usize) -> Option<String> {
    let (visible, cut) = match secret_at(line) {
        Some(index) => (line.get(..index)?, " …"),
        None => (line, ""),
    };
    let characters: Vec<char> = visible.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    if characters.is_empty() || column > characters.len() {
        return None;
    }
    let first = if characters.len() > MAX_EXCERPT {
        column.saturating_sub(MAX_EXCERPT / 3)
    } else {
        0
    };
    let (before, rest) = (characters.get(first..column)?, characters.get(column..)?);
    let rest = rest
        .get(..MAX_EXCERPT.saturating_sub(before.len()))
        .unwrap_or(rest);
    // Steering characters are escaped one by one, so that the caret still stands where it should.
    let escape = |characters: &[char]| printable(characters.iter().collect::<String>().as_bytes());
    let (before, rest_text) = (escape(before), escape(rest));
    let indent: String = before
        .chars()
        .map(|c| if is_wide(c) { '\u{3000}' } else { ' ' })
        .collect();
    let carets = "^".repeat(n_marked.clamp(1, rest.len().max(1)));
    let gutter = number.to_string();
    let blank = " ".repeat(gutter.len());
    Some(format!(
        "  {gutter} | {before}{rest_text}{cut}\n  {blank} | {indent}{carets}"
    ))
}

/// Returns whether a terminal gives a character two columns (UAX 11, roughly).
fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0xffe0..=0xffe6)
}

/// Returns where the value of the first key that is named like a secret begins, just after its `=`.
fn secret_at(line: &str) -> Option<usize> {
    for (equals, _) in line.match_indices('=') {
        let before = line.get(..equals)?.trim_end().trim_end_matches(['"', '\'']);
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name = before.rsplit(|c| !legal(c)).next().unwrap_or_default();
        if names_a_secret(name) {
            return Some(equals + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, at: Range<usize>) -> String {
        let mut report = Report::new(text);
        report.error(&at, "wrong");
        report.finish(Path::new("m.toml")).to_string()
    }

    #[test]
    fn shows_the_line_and_a_caret() {
        let check = |text: &str, at: Range<usize>, expected: &str| assert_eq!(shown(text, at), expected);
        check(
            "a = 1\nbc = 2\n",
            6..8,
            "m.toml:2:1: wrong\n  2 | bc = 2\n    | ^^",
        );
        check("\u{feff}a = 1", 3..4, "m.toml:1:1: wrong\n  1 | a = 1\n    | ^");
        check(
            "a = 1\r\nb = 2\r\n",
            11..12,
            "m.toml:2:5: wrong\n  2 | b = 2\n    |     ^",
        );
        check(
            "\ta = \"\u{1b}\"",
            5..8,
            "m.toml:1:6: wrong\n  1 |  a = \"\\u{1b}\"\n    |      ^^^",
        );
        check(
            "a = \"件\" # x",
            10..13,
            "m.toml:1:9: wrong\n  1 | a = \"件\" # x\n    |      \u{3000}  ^^^",
        );
        check("", 0..0, "m.toml:1:1: wrong");
        check("a", 7..9, "m.toml:1:2: wrong\n  1 | a\n    |  ^");
        check("件", 1..2, "m.toml:1:1: wrong\n  1 | 件\n    | ^");
    }

    #[test]
    fn never_shows_a_secret() {
        for text in [
            "provider = { secret = \"geheim\", x = 1 }",
            "\"api-token\"=\"geheim\"",
            "x = 1 # password = geheim",
            "hmac_key_file = 'geheim'",
        ] {
            for at in 0..text.len() {
                assert!(!shown(text, at..at + 1).contains("geheim"), "{text}");
            }
            let text = format!("{text}\ngeheim");
            let errors =
                Report::new(&text).syntax(Path::new("m.toml"), &(text.len() - 1..text.len()), "wrong");
            assert_eq!(errors.to_string(), "m.toml:2:6: wrong");
        }
    }

    #[test]
    fn long_lines_and_many_errors_are_cut() {
        let text = "a".repeat(1000);
        let output = shown(&text, 500..900);
        assert!(output.len() < 500, "{output}");
        assert!(
            output.lines().last().is_some_and(|line| line.ends_with('^')),
            "{output}"
        );
        let mut report = Report::new(&text);
        for at in (0..60).rev() {
            report.error(&(at..at + 1), "wrong");
        }
        let errors = report.finish(Path::new("m.toml"));
        assert_eq!((errors.errors.len(), errors.n_left_out), (50, 10));
        assert!(errors.to_string().ends_with("m.toml: and 10 more"));
    }
}
