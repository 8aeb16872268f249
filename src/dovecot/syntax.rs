//! One configuration file of Dovecot as it is written: every byte survives what is not changed. Pure.
//!
//! The grammar is that of Dovecot's own reader (`config-parser.c`): `name = value`, `kind name {`, `}` and `!include`, one a
//! line; a line that ends in `\` goes on in the next one that is no comment.

/// What one statement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `}`.
    Close,
    /// `!include PATTERN`, or `!include_try PATTERN`.
    Include(String),
    /// `kind name {`; the name is empty where there is none, and without its quotes.
    Open(String, String),
    /// `name = value`, without quotes.
    Set(String, String),
}

/// A statement and the lines that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it says.
    pub statement: Statement,
    /// Its first line, from 0.
    pub first: usize,
    /// Its last line.
    pub last: usize,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFile {
    /// Lines with what ends them.
    lines: Vec<Vec<u8>>,
    /// Statements in their order.
    pub statements: Vec<Placed>,
}

impl SourceFile {
    /// Reads a file. What is no statement is kept, and passed over.
    pub fn parse(bytes: &[u8]) -> Self {
        let lines: Vec<Vec<u8>> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let mut statements = Vec::new();
        // The line that a statement began on, and what it said until now.
        let mut begun: Option<(usize, String)> = None;
        for (number, line) in lines.iter().enumerate() {
            let text = String::from_utf8_lossy(line);
            let text = without_comment(text.trim());
            if text.is_empty() {
                continue;
            }
            let (first, mut said) = begun.take().unwrap_or((number, String::new()));
            if let Some(part) = text.strip_suffix('\\') {
                said.push_str(part.trim_end());
                said.push(' ');
                begun = Some((first, said));
                continue;
            }
            said.push_str(text);
            statements.extend(Statement::parse(&said).map(|statement| Placed {
                statement,
                first,
                last: number,
            }));
        }
        Self { lines, statements }
    }

    /// Returns the bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// Returns the file with these statements commented out, each behind a line that says why.
    pub fn commented_out(&self, which: &[(&Placed, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            let of = which
                .iter()
                .find(|(placed, _)| (placed.first..=placed.last).contains(&number));
            if let Some((placed, reason)) = of {
                let indent = line
                    .iter()
                    .take_while(|byte| matches!(byte, b' ' | b'\t'))
                    .count();
                let end: &[u8] = if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
                if placed.first == number {
                    text.extend_from_slice(&line[..indent]);
                    text.extend_from_slice(format!("# mailcert: {reason}").as_bytes());
                    text.extend_from_slice(end);
                }
                text.push(b'#');
            }
            text.extend_from_slice(line);
        }
        text
    }

    /// Returns the file with further lines at its end.
    pub fn appended(&self, more: &str) -> Vec<u8> {
        let mut text = self.to_bytes();
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(more.as_bytes());
        text
    }

    /// Returns the file with statements replaced, each by one line.
    pub fn replaced(&self, replace: impl Fn(&Placed) -> Option<String>) -> Vec<u8> {
        let mut lines = self.lines.clone();
        for placed in &self.statements {
            if let Some(line) = replace(placed) {
                // Line numbers stay: complaints name them.
                for line in &mut lines[placed.first..=placed.last] {
                    *line = b"#\n".to_vec();
                }
                lines[placed.last] = format!("{line}\n").into_bytes();
            }
        }
        lines.concat()
    }
}

impl Statement {
    /// Reads a statement that was put together from its lines.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.starts_with('}') {
            return Some(Self::Close);
        }
        for word in ["!include_try", "!include"] {
            if let Some(pattern) = text.strip_prefix(word)
                && pattern.starts_with([' ', '\t'])
            {
                return Some(Self::Include(unquoted(pattern.trim())));
            }
        }
        let end = text.find(|byte: char| byte.is_whitespace() || byte == '=');
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        let rest = rest.trim_start();
        if let Some(value) = rest.strip_prefix('=') {
            return Some(Self::Set(word.to_owned(), unquoted(value.trim())));
        }
        let name = rest.strip_suffix('{')?;
        Some(Self::Open(word.to_owned(), unquoted(name.trim())))
    }
}

/// Returns a line without the comment at its end: `#` outside of quotes begins one.
fn without_comment(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'#') => return line[..at].trim_end(),
            _ => {}
        }
    }
    line
}

/// Takes the quotes off a value or a name.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Statement {
        Statement::Set(name.to_owned(), value.to_owned())
    }

    #[test]
    fn reads_what_dovecots_own_reader_reads() {
        let check = |text: &str, expected: &[Statement]| {
            let file = SourceFile::parse(text.as_bytes());
            let found: Vec<Statement> = file.statements.iter().map(|one| one.statement.clone()).collect();
            assert_eq!(found, expected, "{text:?}");
            assert_eq!(file.to_bytes(), text.as_bytes());
        };
        check("", &[]);
        check("# a = b\n\n  \t\n#", &[]);
        check("ssl_cert=</a # why\n", &[set("ssl_cert", "</a")]);
        check("a = \"x # y\" # z", &[set("a", "x # y")]);
        check("a = 'x # y'", &[set("a", "'x # y'")]);
        check("a = \"it\\\"s\"\r\n", &[set("a", "it\"s")]);
        check("a = b \\\n# between\n  c\n", &[set("a", "b c")]);
        check(
            "!include conf.d/*.conf",
            &[Statement::Include("conf.d/*.conf".into())],
        );
        check("!include_try \"x y\"", &[Statement::Include("x y".into())]);
        check(
            "local_name \"a b\" {\n}\nprotocol imap {\n}\ndict {\n}",
            &[
                Statement::Open("local_name".into(), "a b".into()),
                Statement::Close,
                Statement::Open("protocol".into(), "imap".into()),
                Statement::Close,
                Statement::Open("dict".into(), String::new()),
                Statement::Close,
            ],
        );
        check("nonsense\n!includes x\n", &[]);
        check("a = \\", &[]);
    }

    #[test]
    fn what_is_commented_out_keeps_its_bytes_behind_the_mark() {
        let text = b"a = 1\r\n  ssl_cert = <x \\\r\n    y\r\nlast = \xff";
        let file = SourceFile::parse(text);
        let which: Vec<(&Placed, &str)> = file.statements[1..].iter().map(|one| (one, "why")).collect();
        let expected =
            b"a = 1\r\n  # mailcert: why\r\n#  ssl_cert = <x \\\r\n#    y\r\n# mailcert: why\n#last = \xff";
        assert_eq!(file.commented_out(&which), expected);
        assert_eq!(file.commented_out(&[]), text);
        assert_eq!(file.appended("b\n"), [&text[..], b"\nb\n"].concat());
    }

    #[test]
    fn statements_are_replaced_line_for_line() {
        let file = SourceFile::parse(b"a = 1\n!include b \\\n c\n!include d\nx");
        let replaced = file.replaced(|placed| (placed.first == 1).then(|| "!include /s".to_owned()));
        assert_eq!(replaced, b"a = 1\n#\n!include /s\n!include d\nx");
    }
}
