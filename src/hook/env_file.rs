//! `NAME=value` lines with which credentials reach a hook. Pure.
//!
//! As systemd's `EnvironmentFile=` and a shell's assignments have them: comments, blank lines, `export`, and values in
//! single or double quotes. Nothing is expanded.

/// Reads the lines.
///
/// # Errors
/// The number of the first line that is none, and what is wrong with it; the line is not repeated: it may be a secret.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let fail = |fault: &str| Err(format!("line {} {fault}", index + 1));
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once('=') else {
            return fail("is not NAME=value");
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(legal) {
            return fail("does not begin with the name of a variable: letters, digits and `_`");
        }
        let Some(value) = unquote(value.trim()) else {
            return fail("has a quote without its end");
        };
        if value.contains('\0') {
            return fail("has a null character in it");
        }
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

/// Takes the quotes away; `None` when only one is there.
fn unquote(value: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.strip_suffix(quote);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_shells_and_systemd_read() {
        let text = "# c\n\n; c\nA=1\nexport B='x y'\nC=\"a=b\"\nD=\n  _E = f\n";
        assert!(parse(text).is_err(), "a blank before `=` is none");
        let pairs = parse(&text.replace("_E = f", "_E=f")).unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            pairs,
            [("A", "1"), ("B", "x y"), ("C", "a=b"), ("D", ""), ("_E", "f")]
        );
    }

    #[test]
    fn tells_the_line_and_never_the_secret() {
        for (text, line) in [
            ("geheim", 1),
            ("A=1\n1A=geheim", 2),
            ("A='geheim", 1),
            ("=geheim", 1),
            ("A B=geheim", 1),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(
                fault.starts_with(&format!("line {line} ")) && !fault.contains("geheim"),
                "{fault}"
            );
        }
    }
}
