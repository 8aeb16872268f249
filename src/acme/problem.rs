//! A CA's own words about what it refuses: problem documents (RFC 9457; RFC 8555, 6.7). Pure.
//!
//! Text that came from the outside is kept whole and made fit for a terminal only when it is printed.

use std::fmt;

use serde::Deserialize;

use crate::model::plan::printable_line;

/// A problem document (RFC 9457; RFC 8555, 6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// What kind of problem; the CA's URN, whole.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The CA's words.
    #[serde(default)]
    pub detail: String,
    /// Where this very occurrence is described (RFC 9457, 3.1.5; RFC 8555, 6.7.1 and 7.3.3).
    #[serde(default)]
    pub instance: Option<String>,
    /// Which identifier it is about, for a subproblem.
    #[serde(default)]
    pub identifier: Option<ProblemIdentifier>,
    /// One for each identifier that is at fault (RFC 8555, 6.7.1).
    #[serde(default)]
    pub subproblems: Vec<Problem>,
}

/// The identifier a subproblem is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProblemIdentifier {
    /// The name.
    pub value: String,
}

/// What stands before the kinds that RFC 8555 registers.
const ACME_PREFIX: &str = "urn:ietf:params:acme:error:";

impl Problem {
    /// Returns the kind as RFC 8555, 6.7 names it (`rateLimited`), or `None` for one of another registry.
    pub fn acme_kind(&self) -> Option<&str> {
        self.kind.strip_prefix(ACME_PREFIX)
    }

    /// Returns whether the CA has paused the account for these names until a person asks it to go on.
    ///
    /// RFC 8555 has no such thing. Boulder's type for it is `rateLimited`, earlier `unauthorized`; what tells it from the
    /// others is the page that lifts it.
    pub fn is_paused(&self) -> bool {
        self.acme_kind() == Some("paused")
            || self
                .detail
                .contains("temporarily prevented from requesting certificates")
            || self.unpause_url().is_some()
    }

    /// Returns the page where a person lifts the pause; the CA names it in its words or in `instance`.
    pub fn unpause_url(&self) -> Option<String> {
        let all: Vec<&str> = self
            .instance
            .iter()
            .map(String::as_str)
            .chain(self.detail.split_whitespace())
            .filter_map(https_url)
            .collect();
        let says_so = |url: &&str| url.contains("unpause");
        let found = all.iter().copied().find(says_so);
        let only = (self.acme_kind() == Some("paused"))
            .then(|| all.first().copied())
            .flatten();
        found.or(only).map(str::to_owned)
    }

    /// Returns whether the account is deactivated: `unauthorized` (RFC 8555, 7.3.6), in words that say so.
    pub fn is_deactivation(&self) -> bool {
        self.acme_kind() == Some("unauthorized") && self.detail.to_ascii_lowercase().contains("deactivated")
    }

    /// Reads a problem document; `None` for anything else.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let problem: Self = serde_json::from_slice(body).ok()?;
        (!problem.kind.is_empty() || !problem.detail.is_empty()).then_some(problem)
    }
}

/// Returns the https URL in a word of a sentence, without what belongs to the sentence.
fn https_url(word: &str) -> Option<&str> {
    const LONGEST: usize = 4096;
    let url = word.get(word.find("https://")?..)?;
    let url = url.trim_end_matches(['.', ',', ';', ')', '>', '"', '\'', ']']);
    (url.len() <= LONGEST && url.bytes().all(|byte| byte.is_ascii_graphic())).then_some(url)
}

/// How much of the CA's words is shown, in characters: of its sentences, and of names and kinds.
const DETAIL: usize = 2000;
const WORD: usize = 260;
/// How many subproblems are shown; as many as a certificate of a public CA has names.
const SUBPROBLEMS: usize = 100;

/// One line, whatever the CA sends: its words stand in logs and mails beside ours.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)?;
        for subproblem in self.subproblems.iter().take(SUBPROBLEMS) {
            f.write_str("; ")?;
            subproblem.write(f)?;
        }
        match self.subproblems.len().saturating_sub(SUBPROBLEMS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl Problem {
    /// Writes it without its subproblems; RFC 8555, 6.7.1 knows none of subproblems.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = || printable_line(self.detail.as_bytes(), DETAIL);
        if let Some(identifier) = &self.identifier {
            write!(f, "{}: ", printable_line(identifier.value.as_bytes(), WORD))?;
        }
        let kind = printable_line(self.acme_kind().unwrap_or(&self.kind).as_bytes(), WORD);
        match (self.detail.is_empty(), kind.is_empty()) {
            (false, false) => write!(f, "{} ({kind})", detail()),
            (false, true) => f.write_str(&detail()),
            (true, _) => f.write_str(&kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_problem_documents_and_nothing_else() {
        let check = |body: &str, expected: Option<&str>| {
            assert_eq!(
                Problem::parse(body.as_bytes())
                    .map(|problem| problem.to_string())
                    .as_deref(),
                expected,
                "{body}"
            );
        };
        // RFC 8555, 6.7.1, shortened.
        check(
            r#"{"type": "urn:ietf:params:acme:error:malformed", "detail": "Some of the identifiers requested were rejected",
                "subproblems": [
                  {"type": "urn:ietf:params:acme:error:malformed", "detail": "Invalid underscore in DNS name \"_example.org\"",
                   "identifier": {"type": "dns", "value": "_example.org"}}]}"#,
            Some(
                "Some of the identifiers requested were rejected (malformed); \
                 _example.org: Invalid underscore in DNS name \"_example.org\" (malformed)",
            ),
        );
        check(r#"{"type":"urn:x","status":400}"#, Some("urn:x"));
        check(r#"{"detail":"no\u001b[31m"}"#, Some("no\\u{1b}[31m"));
        check(
            r#"{"detail":"no\nmailcert: renewed\r\u202egpj","type":"a\nb"}"#,
            Some("no\\nmailcert: renewed\\r\\u{202e}gpj (a\\nb)"),
        );
        let long = |text: &str, n| text.repeat(n);
        check(
            &format!(r#"{{"detail":"{}"}}"#, long("é", 9000)),
            Some(&format!("{}…", long("é", 2000))),
        );
        let (each, told) = (r#"{"detail":"x"}"#, "; x");
        check(
            &format!(
                r#"{{"detail":"y","subproblems":[{each}{}]}}"#,
                long(&format!(",{each}"), 102)
            ),
            Some(&format!("y{}; and 3 more", long(told, 100))),
        );
        check(r#"{"type":7}"#, None);
        check("{}", None);
        check("<html>", None);
        check("", None);
    }
}
