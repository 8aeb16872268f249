//! Reads rspamd's configuration language (UCL) as far as settings go: objects, arrays and texts; directives are passed over.
//! Pure.
//!
//! Whatever the text is, something comes of it: who looks for two settings is not the one to refuse a file. Depth and number
//! of values are limited.

/// How deep values may be in each other.
const MAX_DEPTH: usize = 16;
/// Values of a file that are read.
const MAX_VALUES: usize = 50_000;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Values one after another.
    Array(Vec<Value>),
    /// Values with keys, in the order of the file; a key may be there twice.
    Object(Vec<(String, Value)>),
    /// Anything else, without its quotes.
    Text(String),
}

impl Value {
    /// Returns the last value of a key, where this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => entries
                .iter()
                .rev()
                .find(|(known, _)| known == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns the text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Reads a file: the object that it is.
pub fn parse(text: &str) -> Value {
    let mut reader = Reader {
        rest: text,
        n_values: 0,
    };
    let mut entries = Vec::new();
    // A brace too many ends nothing.
    while !reader.rest.is_empty() {
        entries.extend(reader.entries(0));
    }
    Value::Object(entries)
}

struct Reader<'t> {
    rest: &'t str,
    n_values: usize,
}

impl<'t> Reader<'t> {
    /// Reads keys and values up to the closing brace, and that.
    fn entries(&mut self, depth: usize) -> Vec<(String, Value)> {
        let mut entries = Vec::new();
        loop {
            self.skip(|character| character.is_whitespace() || matches!(character, ';' | ','));
            if self.rest.is_empty() || self.takes('}') {
                return entries;
            }
            if self.rest.starts_with('.') {
                self.take_while(|character| character != '\n');
                continue;
            }
            let key = match self.quoted() {
                Some(key) => key,
                None => self
                    .take_while(|character| !character.is_whitespace() && !"={}[]:;,\"".contains(character))
                    .to_owned(),
            };
            let value = self.value(depth);
            if key.is_empty() && value == Value::Text(String::new()) {
                // Nothing that is understood: a character at least is passed over.
                let mut characters = self.rest.chars();
                characters.next();
                self.rest = characters.as_str();
            } else if self.n_values < MAX_VALUES {
                self.n_values += 1;
                entries.push((key, value));
            }
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        self.skip(char::is_whitespace);
        if self.takes('=') || self.takes(':') {
            self.skip(char::is_whitespace);
        }
        if self.takes('{') {
            return match depth < MAX_DEPTH {
                true => Value::Object(self.entries(depth + 1)),
                false => self.nothing_more(),
            };
        }
        if self.takes('[') {
            return match depth < MAX_DEPTH {
                true => Value::Array(self.array(depth + 1)),
                false => self.nothing_more(),
            };
        }
        let text = match self.quoted() {
            Some(text) => text,
            None => self.bare(),
        };
        // `domain "a.test" { ... }` is an object in an object.
        let is_named = self.rest.trim_start_matches([' ', '\t', '=']).starts_with('{');
        if is_named && !text.is_empty() {
            self.rest = self.rest.trim_start_matches([' ', '\t', '=']);
            let inner = self.value(depth + 1);
            return Value::Object(vec![(text, inner)]);
        }
        Value::Text(text)
    }

    /// Reads values up to the closing bracket, and that.
    fn array(&mut self, depth: usize) -> Vec<Value> {
        let mut values = Vec::new();
        loop {
            self.skip(|character| character.is_whitespace() || matches!(character, ';' | ','));
            if self.rest.is_empty() || self.takes(']') {
                return values;
            }
            let before = self.rest.len();
            let value = self.value(depth);
            if self.rest.len() == before {
                let mut characters = self.rest.chars();
                characters.next();
                self.rest = characters.as_str();
            } else if self.n_values < MAX_VALUES {
                self.n_values += 1;
                values.push(value);
            }
        }
    }

    /// Passes over all that is left: it is too deep.
    fn nothing_more(&mut self) -> Value {
        self.rest = "";
        Value::Text(String::new())
    }

    /// Reads a text without quotes: up to the end of the value, variables (`${NAME}`) whole.
    fn bare(&mut self) -> String {
        let mut text = String::new();
        loop {
            let part = self.take_while(|character| !"{}[];,\n#\"".contains(character));
            text.push_str(part);
            let opens_variable = part.ends_with('$') && self.rest.starts_with('{');
            if !opens_variable {
                return text.trim().to_owned();
            }
            let end = self.rest.find(['}', '\n']).map_or(self.rest.len(), |at| at + 1);
            let (variable, rest) = self.rest.split_at(end);
            text.push_str(variable);
            self.rest = rest;
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let inner = self.rest.strip_prefix('"')?;
        let mut text = String::new();
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => text.extend(characters.next()),
                character => text.push(character),
            }
        }
        self.rest = characters.as_str();
        Some(text)
    }

    /// Passes over such characters, and over comments.
    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        loop {
            self.rest = self.rest.trim_start_matches(&is_skipped);
            if self.rest.starts_with('#') {
                self.take_while(|character| character != '\n');
            } else if let Some(inner) = self.rest.strip_prefix("/*") {
                self.rest = inner
                    .find("*/")
                    .map_or("", |at| inner.get(at + 2..).unwrap_or_default());
            } else {
                return;
            }
        }
    }

    fn takes(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, is_taken: impl Fn(char) -> bool) -> &'t str {
        let end = self
            .rest
            .find(|character| !is_taken(character))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        let read = parse(
            "# x\nselector = \"s 1\"; /* path = no; */ path: /a/$domain.key\n.include \"${DBDIR}/x\"\n\
             map = ${DBDIR}/b.map;\ndomain {\n  a.test { selectors [ { selector = one, path = /1 }, {selector: two; path: \"/2\"} ] }\n}\n\
             domain \"b.test\" { selector=own }\nlist = [a, \"b\", c];",
        );
        assert_eq!(read.text("selector"), Some("s 1"));
        assert_eq!(read.text("path"), Some("/a/$domain.key"));
        assert_eq!(read.text("map"), Some("${DBDIR}/b.map"));
        let Value::Object(entries) = &read else {
            unreachable!()
        };
        let domains: Vec<&Value> = entries
            .iter()
            .filter(|(key, _)| key == "domain")
            .map(|(_, value)| value)
            .collect();
        let Some(Value::Array(selectors)) = domains[0].get("a.test").and_then(|one| one.get("selectors"))
        else {
            panic!("{read:?}")
        };
        assert_eq!(selectors[0].text("path"), Some("/1"));
        assert_eq!(selectors[1].text("selector"), Some("two"));
        assert_eq!(selectors[1].text("path"), Some("/2"));
        assert_eq!(
            domains[1].get("b.test").and_then(|one| one.text("selector")),
            Some("own")
        );
        let list = ["a", "b", "c"].map(|text| Value::Text(text.to_owned()));
        assert_eq!(read.get("list"), Some(&Value::Array(list.to_vec())));
    }

    #[test]
    fn ends_whatever_the_text_is() {
        for text in [
            "{", "}", "}}a=b", "[", "]", "\"", "a", "=", ":::", "a {", "a [ [", "/*", "${", "a=${", "\\",
            "é={ß",
        ] {
            parse(text);
            parse(&text.repeat(500));
            parse(&format!("x {{ y = [ {text}"));
        }
        assert_eq!(parse("}}a=b").text("a"), Some("b"));
    }
}
