//! main.cf: parameters read, set and commented out. Pure.
//!
//! Rules: postconf(5), "main.cf file format": of several definitions the last one wins.

use super::{Lines, Logical, split_name_value};

/// A main.cf that prints as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainCf(Lines);

impl MainCf {
    /// Reads a file; every sequence of bytes is one, what Postfix would refuse included.
    pub fn parse(bytes: &[u8]) -> Self {
        Self(Lines::parse(bytes))
    }

    /// Returns the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Returns the raw value in force, trimmed and with continuation lines joined; `None` when nothing sets it.
    ///
    /// `$name` is not expanded.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let definition = self.definitions(name).pop()?;
        self.value(&definition)
    }

    /// Gives the parameter this value: the last definition is replaced with all its continuation lines and keeps its
    /// place and its spacing around `=`; without one, a line is appended.
    ///
    /// Earlier definitions stay, since the last one wins. Only those that had said the same as the last are commented
    /// out: Postfix would begin to warn about them.
    pub fn set(&mut self, name: &str, value: &str) {
        let mut definitions = self.definitions(name);
        let Some(last) = definitions.pop() else {
            self.0.append(format!("{name} = {value}").as_bytes());
            return;
        };
        let old = self.value(&last);
        if old.as_deref() == Some(value.as_bytes()) {
            return;
        }
        self.replace(&last, value);
        // From the end, so that the indices before stay right.
        for earlier in definitions
            .iter()
            .rev()
            .filter(|earlier| self.value(earlier) == old)
            .cloned()
            .collect::<Vec<_>>()
        {
            self.0.comment_out(&earlier.lines, "a later line sets it");
        }
    }

    /// Comments out every definition of the parameter, each with the reason on a line before it; returns how many.
    pub fn comment_out(&mut self, name: &str, reason: &str) -> usize {
        let definitions = self.definitions(name);
        for definition in definitions.iter().rev() {
            self.0.comment_out(&definition.lines, reason);
        }
        definitions.len()
    }

    fn definitions(&self, name: &str) -> Vec<Logical> {
        let defines = |logical: &Logical| {
            split_name_value(&self.0.joined(logical)).is_some_and(|(found, _)| found == name.as_bytes())
        };
        self.0.logical().into_iter().filter(defines).collect()
    }

    fn value(&self, definition: &Logical) -> Option<Vec<u8>> {
        split_name_value(&self.0.joined(definition)).map(|(_, value)| value.to_vec())
    }

    fn replace(&mut self, definition: &Logical, value: &str) {
        let Some((first, rest)) = definition.lines.split_first() else {
            return;
        };
        let text = self.0.text(*first);
        // The `=` may stand on a continuation line; then the whole definition is spelled anew.
        let head = match text.iter().position(|byte| *byte == b'=') {
            Some(equals) => text.get(..=equals).unwrap_or_default().to_vec(),
            None => [text.trim_ascii_end(), b" ="].concat(),
        };
        let after = text.get(head.len()..).unwrap_or_default();
        let n_blanks = after
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let blanks = match after.get(..n_blanks).unwrap_or_default() {
            [] if after.trim_ascii().is_empty() && head.ends_with(b" =") => b" ",
            blanks => blanks,
        };
        let end: &[u8] = match self.0.0.get(*first) {
            Some(line) if line.ends_with(b"\r\n") => b"\r\n",
            Some(line) if line.ends_with(b"\n") => b"\n",
            _ => b"",
        };
        let line = [&head, blanks, value.as_bytes(), end].concat();
        if let Some(old) = self.0.0.get_mut(*first) {
            *old = line;
        }
        for index in rest.iter().rev() {
            self.0.0.remove(*index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gets_the_value_in_force() {
        let check = |text: &[u8], expected: Option<&[u8]>| {
            assert_eq!(
                MainCf::parse(text).get("p").as_deref(),
                expected,
                "{}",
                text.escape_ascii()
            );
        };
        check(b"", None);
        check(b"#p = 1\n", None);
        check(b"pp = 1\n", None);
        check(b"p=\n", Some(b""));
        check(b"p = 1\np = 2", Some(b"2"));
        check(b"p = a,\r\n# c\r\n\tb\r\n", Some(b"a,\r\tb"));
        check(b"p =\n  /x\n#\n", Some(b"/x"));
        check(b"p = \xcf\xf0\n", Some(b"\xcf\xf0"));
        check(b"q = 1\n  p = 2\n", None);
        check(b" p = 1\nq = 1\n", None);
        check(b"P = 1\n", None);
    }

    #[test]
    fn sets_in_place_or_at_the_end() {
        let check = |text: &str, expected: &str| {
            let mut file = MainCf::parse(text.as_bytes());
            file.set("p", "/n");
            assert_eq!(String::from_utf8(file.to_bytes()).unwrap(), expected, "{text:?}");
            assert_eq!(file.get("p").as_deref(), Some(&b"/n"[..]), "{text:?}");
        };
        check("", "p = /n\n");
        check("a = 1", "a = 1\np = /n\n");
        check("a = 1\r\nb = 2\r\n", "a = 1\r\nb = 2\r\np = /n\r\n");
        check("a = 1\r\nb = 2", "a = 1\r\nb = 2\r\np = /n\r\n");
        check("p=1\nb=2\n", "p=/n\nb=2\n");
        check("p   =\t1   \nb=2\n", "p   =\t/n\nb=2\n");
        check("p =\nb=2\n", "p = /n\nb=2\n");
        check("p=\n", "p=/n\n");
        check("p = 1\r\nb = 2\r\n", "p = /n\r\nb = 2\r\n");
        check("p =\r\n  1\r\nb = 2\r\n", "p = /n\r\nb = 2\r\n");
        check(
            "p = 1,\n# why\n\t2\n\n  3\n#end\nb = 2\n",
            "p = /n\n# why\n\n#end\nb = 2\n",
        );
        check("p = 1,\n  2", "p = /n\n");
        check("b = 2\np = 1", "b = 2\np = /n");
        check("p\n = 1\nb = 2\n", "p = /n\nb = 2\n");
        check("#p = 1\n", "#p = 1\np = /n\n");
        check("p = 1\np = 2\n", "p = 1\np = /n\n");
        check(
            "p = 2\nq = 1\np = 2\n",
            "# mailcert: a later line sets it\n#p = 2\nq = 1\np = /n\n",
        );
        check("p =  /n \n", "p =  /n \n");
        check("p = /n\np = /n\n", "p = /n\np = /n\n");
    }

    #[test]
    fn comments_out_every_definition() {
        let check = |text: &str, expected: &str, n_expected: usize| {
            let mut file = MainCf::parse(text.as_bytes());
            assert_eq!(file.comment_out("p", "why\nx"), n_expected, "{text:?}");
            assert_eq!(String::from_utf8(file.to_bytes()).unwrap(), expected, "{text:?}");
            assert_eq!(file.get("p"), None, "{text:?}");
        };
        check("a = 1\n", "a = 1\n", 0);
        check(
            "a = 1\np = 1\nb = 2\n",
            "a = 1\n# mailcert: why x\n#p = 1\nb = 2\n",
            1,
        );
        check(
            "p = 1,\r\n#c\r\n\t2\r\nb = 2",
            "# mailcert: why x\r\n#p = 1,\r\n#c\r\n#\t2\r\nb = 2",
            1,
        );
        check(
            "p = 1\np = 2",
            "# mailcert: why x\n#p = 1\n# mailcert: why x\n#p = 2",
            2,
        );
    }
}
