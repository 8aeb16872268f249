//! SPF records (RFC 7208): selection, syntax, printing, and completing one without touching the rest of it. Pure.
//!
//! A record keeps its text byte for byte; terms know where they stand in it. A record in hand is free of syntax errors:
//! one anywhere makes the whole record a permerror (RFC 7208, 4.6). What a record means for an address is decided in
//! `dns::spf`.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use crate::model::plan::printable_line;

/// The version that begins every record (RFC 7208, 4.5).
const VERSION: &str = "v=spf1";

/// A record without syntax errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    text: String,
    terms: Vec<Term>,
}

/// One directive or modifier and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Bytes of the record's text.
    pub span: Range<usize>,
    /// What it says.
    pub kind: TermKind,
}

/// What a term says (RFC 7208, 4.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermKind {
    /// A mechanism with the result it gives when it matches.
    Directive(Qualifier, Mechanism),
    /// `exp=` (RFC 7208, 6.2).
    Exp(DomainSpec),
    /// `redirect=` (RFC 7208, 6.1).
    Redirect(DomainSpec),
    /// A modifier without a meaning; it is ignored (RFC 7208, 6).
    Unknown,
}

/// The result of a mechanism that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// `+`, or nothing.
    Pass,
    /// `-`.
    Fail,
    /// `~`.
    SoftFail,
    /// `?`.
    Neutral,
}

/// A mechanism (RFC 7208, 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `all`.
    All,
    /// `include:`.
    Include(DomainSpec),
    /// `a`.
    A(Option<DomainSpec>, DualCidr),
    /// `mx`.
    Mx(Option<DomainSpec>, DualCidr),
    /// `ptr`.
    Ptr(Option<DomainSpec>),
    /// `ip4:` with a prefix length.
    Ip4(Ipv4Addr, u8),
    /// `ip6:` with a prefix length.
    Ip6(Ipv6Addr, u8),
    /// `exists:`.
    Exists(DomainSpec),
}

/// Prefix lengths for both families (RFC 7208, 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DualCidr {
    /// For IPv4, 0 to 32.
    pub v4: u8,
    /// For IPv6, 0 to 128.
    pub v6: u8,
}

/// A name that may hold macros (RFC 7208, 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSpec {
    /// Literal text and macros, in order.
    pub parts: Vec<Part>,
}

/// A piece of a [`DomainSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is; `%%`, `%_` and `%-` have been replaced.
    Literal(String),
    /// A macro to expand.
    Macro(Macro),
}

/// A macro (RFC 7208, 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macro {
    /// The letter in lower case.
    pub letter: char,
    /// Whether the letter was a capital: the expansion is URL-escaped.
    pub escape: bool,
    /// How many parts from the right are kept; `None` keeps all.
    pub keep: Option<usize>,
    /// Whether the parts are reversed.
    pub reverse: bool,
    /// What splits the value into parts; empty means `.`.
    pub delimiters: String,
}

/// Where a record is wrong, and what should stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Bytes of the record before the wrong place.
    pub position: usize,
    /// The term that is wrong, fit for a terminal; cut when it is long.
    pub term: String,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "syntax error at byte {} in `{}`: expected {}",
            self.position + 1,
            self.term,
            self.expected
        )
    }
}

impl std::error::Error for SyntaxError {}

/// Returns whether a TXT value, its strings joined, is an SPF record (RFC 7208, 4.5): `v=spf1` and nothing, or a space.
pub fn is_record(joined: &[u8]) -> bool {
    let (version, rest) = joined.split_at(joined.len().min(VERSION.len()));
    version.eq_ignore_ascii_case(VERSION.as_bytes()) && matches!(rest.first(), None | Some(b' '))
}

impl Record {
    /// Parses a record that [`is_record`] has selected.
    ///
    /// # Errors
    /// For the first wrong place.
    pub fn parse(joined: &[u8]) -> Result<Self, SyntaxError> {
        let text = ascii(joined)?;
        if !is_record(joined) {
            return Err(SyntaxError {
                position: 0,
                term: first_word(text),
                expected: "`v=spf1`",
            });
        }
        let mut terms: Vec<Term> = Vec::new();
        let mut start = VERSION.len();
        for word in text[VERSION.len()..].split(' ') {
            if !word.is_empty() {
                let kind = Scanner { text: word, at: 0 }
                    .term()
                    .map_err(|wrong| SyntaxError {
                        position: start + wrong.at,
                        term: shown(word),
                        expected: wrong.expected,
                    })?;
                if let Some(expected) = duplicate(&terms, &kind) {
                    return Err(SyntaxError {
                        position: start,
                        term: shown(word),
                        expected,
                    });
                }
                terms.push(Term {
                    span: start..start + word.len(),
                    kind,
                });
            }
            start += word.len() + 1;
        }
        Ok(Self {
            text: text.to_owned(),
            terms,
        })
    }

    /// Returns the record as it stands in the DNS, strings joined.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the terms in order.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Returns a term's own text.
    pub fn text_of(&self, term: &Term) -> &str {
        self.text.get(term.span.clone()).unwrap_or_default()
    }

    /// Returns the directives in order.
    pub fn directives(&self) -> impl Iterator<Item = (Qualifier, &Mechanism)> {
        self.terms.iter().filter_map(|term| match &term.kind {
            TermKind::Directive(qualifier, mechanism) => Some((*qualifier, mechanism)),
            _ => None,
        })
    }

    /// Returns the target of `redirect=`, also where an `all` makes it void.
    pub fn redirect(&self) -> Option<&DomainSpec> {
        self.terms.iter().find_map(|term| match &term.kind {
            TermKind::Redirect(target) => Some(target),
            _ => None,
        })
    }

    /// Returns the qualifier of the first `all`.
    pub fn all(&self) -> Option<Qualifier> {
        self.directives()
            .find(|(_, mechanism)| **mechanism == Mechanism::All)
            .map(|(qualifier, _)| qualifier)
    }

    /// Returns whether a plain `mx` (of this domain, for the exact address) can pass.
    pub fn has_mx(&self) -> bool {
        self.directives()
            .any(|directive| matches!(directive, (Qualifier::Pass, Mechanism::Mx(None, _))))
    }

    /// Returns the text with `mx` inserted before `all`, or else before `redirect=`, or else at the end.
    ///
    /// Every other byte stays as it is.
    pub fn insert_mx_before_all(&self) -> String {
        self.insert_before_all("mx")
    }

    /// Returns the text with a term inserted before `all`, or else before `redirect=`, or else at the end.
    pub fn insert_before_all(&self, inserted: &str) -> String {
        let start_of = |wanted: fn(&TermKind) -> bool| {
            self.terms
                .iter()
                .find(|term| wanted(&term.kind))
                .map(|term| term.span.start)
        };
        let place = start_of(|kind| matches!(kind, TermKind::Directive(_, Mechanism::All)))
            .or_else(|| start_of(|kind| matches!(kind, TermKind::Redirect(_))));
        match place.and_then(|at| self.text.split_at_checked(at)) {
            Some((before, after)) => format!("{before}{inserted} {after}"),
            None => format!("{} {inserted}", self.text.trim_end_matches(' ')),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl DomainSpec {
    /// Returns whether a macro with this letter stands in it.
    pub fn uses(&self, letter: char) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Macro(found) if found.letter == letter))
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "-",
            Self::Neutral => "?",
            Self::Pass => "+",
            Self::SoftFail => "~",
        })
    }
}

/// Returns the text, or the place of the first byte that no record may hold.
fn ascii(joined: &[u8]) -> Result<&str, SyntaxError> {
    let wrong = joined.iter().position(|byte| !matches!(byte, 0x20..=0x7e));
    match (wrong, std::str::from_utf8(joined)) {
        (None, Ok(text)) => Ok(text),
        (position, _) => {
            let position = position.unwrap_or(0);
            let start = joined
                .iter()
                .take(position)
                .rposition(|byte| *byte == b' ')
                .map_or(0, |space| space + 1);
            let word = joined
                .get(start..)
                .unwrap_or_default()
                .split(|byte| *byte == b' ')
                .next();
            let term = shown(&word.unwrap_or_default().escape_ascii().to_string());
            Err(SyntaxError {
                position,
                term,
                expected: "printable ASCII characters only",
            })
        }
    }
}

fn first_word(text: &str) -> String {
    shown(text.split(' ').next().unwrap_or_default())
}

/// Cuts a term that would fill the screen.
fn shown(term: &str) -> String {
    printable_line(term.as_bytes(), 100)
}

/// Returns the complaint about a modifier that may stand only once (RFC 7208, 6).
fn duplicate(terms: &[Term], kind: &TermKind) -> Option<&'static str> {
    let seen = |same: fn(&TermKind) -> bool| terms.iter().any(|term| same(&term.kind));
    match kind {
        TermKind::Exp(_) if seen(|kind| matches!(kind, TermKind::Exp(_))) => Some("`exp=` only once"),
        TermKind::Redirect(_) if seen(|kind| matches!(kind, TermKind::Redirect(_))) => {
            Some("`redirect=` only once")
        }
        _ => None,
    }
}

/// A wrong place within a term.
struct Wrong {
    at: usize,
    expected: &'static str,
}

/// Reads one term.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong<T>(&self, expected: &'static str) -> Result<T, Wrong> {
        Err(Wrong {
            at: self.at,
            expected,
        })
    }

    /// Steps over a character if it is the next one.
    fn skip(&mut self, character: char) -> bool {
        let found = self.rest().starts_with(character);
        if found {
            self.at += 1;
        }
        found
    }

    fn term(&mut self) -> Result<TermKind, Wrong> {
        let qualifier = match self.rest().bytes().next() {
            Some(b'+') => Some(Qualifier::Pass),
            Some(b'-') => Some(Qualifier::Fail),
            Some(b'~') => Some(Qualifier::SoftFail),
            Some(b'?') => Some(Qualifier::Neutral),
            _ => None,
        };
        self.at += usize::from(qualifier.is_some());
        let name = self.name()?;
        if qualifier.is_none() && self.skip('=') {
            return self.modifier(&name);
        }
        let mechanism = self.mechanism(&name)?;
        Ok(TermKind::Directive(
            qualifier.unwrap_or(Qualifier::Pass),
            mechanism,
        ))
    }

    /// Reads a name as modifiers have it (RFC 7208, 12); mechanism names are such names too.
    fn name(&mut self) -> Result<String, Wrong> {
        let rest = self.rest();
        if !rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return self.wrong("a mechanism or a modifier");
        }
        let in_name =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
        let name = rest
            .split(|character| !in_name(character))
            .next()
            .unwrap_or_default();
        self.at += name.len();
        Ok(name.to_ascii_lowercase())
    }

    fn modifier(&mut self, name: &str) -> Result<TermKind, Wrong> {
        match name {
            "exp" => self.domain_spec(self.text.len()).map(TermKind::Exp),
            "redirect" => self.domain_spec(self.text.len()).map(TermKind::Redirect),
            _ => self.macro_string(self.text.len()).map(|_| TermKind::Unknown),
        }
    }

    fn mechanism(&mut self, name: &str) -> Result<Mechanism, Wrong> {
        let mechanism = match name {
            "a" => {
                let (domain, cidr) = self.domain_and_cidr()?;
                Mechanism::A(domain, cidr)
            }
            "all" => Mechanism::All,
            "exists" => Mechanism::Exists(self.required_domain()?),
            "include" => Mechanism::Include(self.required_domain()?),
            "ip4" => {
                let (address, prefix) = self.network(32, "an IPv4 address")?;
                Mechanism::Ip4(address, prefix)
            }
            "ip6" => {
                let (address, prefix) = self.network(128, "an IPv6 address")?;
                Mechanism::Ip6(address, prefix)
            }
            "mx" => {
                let (domain, cidr) = self.domain_and_cidr()?;
                Mechanism::Mx(domain, cidr)
            }
            "ptr" if self.skip(':') => Mechanism::Ptr(Some(self.domain_spec(self.text.len())?)),
            "ptr" => Mechanism::Ptr(None),
            _ => {
                self.at -= name.len();
                return self.wrong("one of the mechanisms all, include, a, mx, ptr, ip4, ip6, exists");
            }
        };
        if self.rest().is_empty() {
            Ok(mechanism)
        } else {
            self.wrong("a space or the end of the record")
        }
    }

    fn required_domain(&mut self) -> Result<DomainSpec, Wrong> {
        if self.skip(':') {
            self.domain_spec(self.text.len())
        } else {
            self.wrong("`:` and a domain")
        }
    }

    /// Reads what may follow `a` and `mx`: a domain, prefix lengths, both or neither.
    fn domain_and_cidr(&mut self) -> Result<(Option<DomainSpec>, DualCidr), Wrong> {
        let end = cidr_start(self.text, self.at);
        let domain = if self.skip(':') {
            Some(self.domain_spec(end)?)
        } else {
            None
        };
        let mut cidr = DualCidr { v4: 32, v6: 128 };
        if !self.rest().starts_with("//") && self.skip('/') {
            cidr.v4 = self.prefix(32)?;
        }
        if self.rest().starts_with("//") {
            self.at += 2;
            cidr.v6 = self.prefix(128)?;
        }
        Ok((domain, cidr))
    }

    /// Reads a prefix length without leading zeros.
    fn prefix(&mut self, most: u8) -> Result<u8, Wrong> {
        let digits = self
            .rest()
            .split(|character: char| !character.is_ascii_digit())
            .next()
            .unwrap_or_default();
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        match digits.parse::<u8>() {
            Ok(prefix) if prefix <= most && !leading_zero => {
                self.at += digits.len();
                Ok(prefix)
            }
            _ if most == 32 => self.wrong("a prefix length from 0 to 32"),
            _ => self.wrong("a prefix length from 0 to 128"),
        }
    }

    fn network<A: std::str::FromStr>(&mut self, bits: u8, expected: &'static str) -> Result<(A, u8), Wrong> {
        if !self.skip(':') {
            return self.wrong("`:` and an address");
        }
        let written = self.rest().split('/').next().unwrap_or_default();
        let Ok(address) = written.parse::<A>() else {
            return self.wrong(expected);
        };
        self.at += written.len();
        let prefix = if self.skip('/') { self.prefix(bits)? } else { bits };
        Ok((address, prefix))
    }

    /// Reads up to `end`: a name with macros that ends in a top label or a macro (RFC 7208, 7.1, `domain-end`).
    fn domain_spec(&mut self, end: usize) -> Result<DomainSpec, Wrong> {
        let start = self.at;
        if start >= end {
            return self.wrong("a domain");
        }
        let ends_in_macro = self.macro_string(end)?;
        let written = self.text.get(start..end).unwrap_or_default();
        if !ends_in_macro && !ends_in_top_label(written) {
            let last = written.trim_end_matches('.').rfind('.').map_or(0, |dot| dot + 1);
            return Err(Wrong {
                at: start + last,
                expected: "a domain name with a dot, ending in a top-level label",
            });
        }
        Ok(DomainSpec {
            parts: parts(written),
        })
    }

    /// Steps over macro text up to `end`; returns whether it ends in a macro.
    fn macro_string(&mut self, end: usize) -> Result<bool, Wrong> {
        let mut ends_in_macro = false;
        while self.at < end {
            ends_in_macro = self.rest().starts_with('%');
            if !ends_in_macro {
                self.at += 1;
                continue;
            }
            let Some((_, length)) = macro_at(self.rest()) else {
                return self.wrong("a macro: %{letter}, with s, l, o, d, i, p, h or v, or %%, %_, %-");
            };
            self.at += length;
        }
        Ok(ends_in_macro)
    }
}

/// Returns where trailing prefix lengths begin: they are the only `/digits` that can end a term.
fn cidr_start(term: &str, from: usize) -> usize {
    let strip = |end: usize| {
        let head = term.get(from..end).unwrap_or_default();
        let bare = head.trim_end_matches(|character: char| character.is_ascii_digit());
        (bare.ends_with('/')).then(|| from + bare.len() - 1)
    };
    let Some(last) = strip(term.len()) else {
        return term.len();
    };
    // `//64`: the second slash was found; the first belongs to it, and `/24` may stand before.
    if term.get(from..last).is_some_and(|head| head.ends_with('/')) {
        let double = last - 1;
        return match strip(double) {
            Some(single) if single + 1 < double => single,
            _ => double,
        };
    }
    last
}

/// Returns whether text ends as `domain-end` wants it: a dot, a top label, perhaps one more dot.
fn ends_in_top_label(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else {
        return false;
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(letters)
        && !label.starts_with('-')
        && !label.ends_with('-')
        && !label.bytes().all(|byte| byte.is_ascii_digit())
}

/// Cuts checked text into literals and macros.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some((part, length)) = macro_at(rest).filter(|_| first == '%') else {
            literal.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        };
        match part {
            Part::Literal(text) => literal.push_str(&text),
            found @ Part::Macro(_) => {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(found);
            }
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    parts
}

/// Reads the macro at the start of a text that begins with `%`; returns it and its length.
fn macro_at(text: &str) -> Option<(Part, usize)> {
    let literal = |text: &str| Some((Part::Literal(text.to_owned()), 2));
    match text.as_bytes().get(1)? {
        b'%' => return literal("%"),
        b'_' => return literal(" "),
        b'-' => return literal("%20"),
        b'{' => {}
        _ => return None,
    }
    let (inside, _) = text.get(2..)?.split_once('}')?;
    let letter = inside.chars().next()?;
    // c, r and t are for explanations only (RFC 7208, 7.2).
    if !"slodiphv".contains(letter.to_ascii_lowercase()) {
        return None;
    }
    let transformers = inside.get(1..)?;
    let digits = transformers
        .split(|character: char| !character.is_ascii_digit())
        .next()?;
    let keep = match digits {
        "" => None,
        // As many parts as nobody has are all parts.
        digits => Some(digits.parse::<usize>().unwrap_or(usize::MAX))
            .filter(|keep| *keep > 0)
            .map(Some)?,
    };
    let rest = transformers.get(digits.len()..)?;
    let (reverse, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(delimiters) => (true, delimiters),
        None => (false, rest),
    };
    if !delimiters.chars().all(|character| ".-+,/_=".contains(character)) {
        return None;
    }
    let found = Macro {
        letter: letter.to_ascii_lowercase(),
        escape: letter.is_ascii_uppercase(),
        keep,
        reverse,
        delimiters: delimiters.to_owned(),
    };
    Some((Part::Macro(found), inside.len() + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_records_by_their_version() {
        let check = |text: &str, expected: bool| assert_eq!(is_record(text.as_bytes()), expected, "{text}");
        check("v=spf1", true);
        check("V=SPF1 -all", true);
        check("v=spf1 ", true);
        check("v=spf10", false);
        check("v=spf1mx", false);
        check("v=spf", false);
        check(" v=spf1", false);
        check("spf2.0/pra", false);
        check("", false);
    }

    #[test]
    fn accepts_what_the_grammar_has() {
        let check = |text: &str, n_terms: usize| {
            let record = Record::parse(text.as_bytes()).unwrap();
            assert_eq!(record.terms().len(), n_terms, "{text}");
            assert_eq!(record.to_string(), text);
        };
        check("v=spf1", 0);
        check("v=spf1   mx  -all  ", 2);
        check("V=sPf1 MX ?ALL", 2);
        check("v=spf1 a a/24 a//64 a/24//64 a:b.example a:b.example/0//0", 6);
        check(
            "v=spf1 mx:%{d} mx:%{d}/24 mx:%{i2r.-}._x.%{D} ptr ptr:b.example",
            5,
        );
        check(
            "v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.1 ip6:2001:db8::/32 ip6:::1 ip6:::ffff:1.2.3.4",
            5,
        );
        check("v=spf1 exists:%{ir}.%{v}._spf.%{d2} include:b.example. ~all", 3);
        check("v=spf1 redirect=_spf.b.example exp=e.%{d}", 2);
        check("v=spf1 x.y-z_=%{l}anything/=: all= ", 2);
        check("v=spf1 include:%%%_%-.b.example exists:a.%%", 2);
        check("v=spf1 a:1.2.xn--p1ai a:b.a-1", 2);
        check("v=spf1 exists:%{l999999999999999999999999r}.b.example", 1);
    }

    #[test]
    fn tells_where_a_record_is_wrong() {
        let check = |text: &[u8], position: usize, expected: &str| {
            let error = Record::parse(text).unwrap_err();
            assert_eq!(error.position, position, "{}: {error}", text.escape_ascii());
            assert!(error.expected.contains(expected), "{error}");
        };
        check(b"v=spf1 mxx -all", 7, "one of the mechanisms");
        check(b"v=spf1 -mxx", 8, "one of the mechanisms");
        check(b"v=spf1 mx, -all", 9, "a space");
        check(b"v=spf1 all/8", 10, "a space");
        check(b"v=spf1 all:b.example", 10, "a space");
        check(b"v=spf1 ip4:192.0.2.300", 11, "IPv4");
        check(b"v=spf1 ip4:192.0.2.01", 11, "IPv4");
        check(b"v=spf1 ip4:192.0.2.0/33", 21, "0 to 32");
        check(b"v=spf1 ip4:192.0.2.0/", 21, "0 to 32");
        check(b"v=spf1 ip4:192.0.2.0/08", 21, "0 to 32");
        check(b"v=spf1 ip4", 10, "`:`");
        check(b"v=spf1 ip6:192.0.2.1", 11, "IPv6");
        check(b"v=spf1 ip6:::1/129", 15, "0 to 128");
        check(b"v=spf1 a//129", 10, "0 to 128");
        check(b"v=spf1 a/33", 9, "0 to 32");
        check(b"v=spf1 a/24/64", 11, "a space");
        check(b"v=spf1 a:", 9, "a domain");
        check(b"v=spf1 a:/24", 9, "a domain");
        check(b"v=spf1 a:localhost", 9, "with a dot");
        check(b"v=spf1 a:b.123", 11, "top-level");
        check(b"v=spf1 a:b.example-", 11, "top-level");
        check(b"v=spf1 include", 14, "`:`");
        check(b"v=spf1 include:", 15, "a domain");
        check(b"v=spf1 exists:%{x}.b.example", 14, "a macro");
        check(b"v=spf1 exists:a.%{d", 16, "a macro");
        check(b"v=spf1 exists:%{d0}", 14, "a macro");
        check(b"v=spf1 exists:a.%", 16, "a macro");
        check(b"v=spf1 exists:%{c}.b.example", 14, "a macro");
        check(b"v=spf1 redirect=", 16, "a domain");
        check(b"v=spf1 redirect=a.example redirect=b.example", 26, "only once");
        check(b"v=spf1 exp=a.example exp=a.example", 21, "only once");
        check(b"v=spf1 -redirect=a.example", 8, "one of the mechanisms");
        check(b"v=spf1 =x", 7, "a mechanism or a modifier");
        check(b"v=spf1 mx\t-all", 9, "printable");
        check(b"v=spf1 mx -all\xc2\xa0", 14, "printable");
        check("v=spf1 mx –all".as_bytes(), 10, "printable");
        check(b"v=spf1 foo=%{z}", 11, "a macro");
        check(b"v=spf2", 0, "`v=spf1`");
    }

    #[test]
    fn splits_names_into_text_and_macros() {
        let record = Record::parse(b"v=spf1 exists:a%%b.%{D2r-+}.c.%{i}").unwrap();
        let Some((_, Mechanism::Exists(spec))) = record.directives().next() else {
            panic!()
        };
        let found = |letter, escape, keep, reverse, delimiters: &str| {
            Part::Macro(Macro {
                letter,
                escape,
                keep,
                reverse,
                delimiters: delimiters.to_owned(),
            })
        };
        let literal = |text: &str| Part::Literal(text.to_owned());
        let expected = [
            literal("a%b."),
            found('d', true, Some(2), true, "-+"),
            literal(".c."),
            found('i', false, None, false, ""),
        ];
        assert_eq!(spec.parts, expected);
    }

    #[test]
    fn inserts_mx_and_leaves_the_rest() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                Record::parse(text.as_bytes()).unwrap().insert_mx_before_all(),
                expected
            );
        };
        check("v=spf1 -all", "v=spf1 mx -all");
        check(
            "V=SPF1  include:A.example   ~ALL  x=y ",
            "V=SPF1  include:A.example   mx ~ALL  x=y ",
        );
        check("v=spf1 a redirect=b.example", "v=spf1 a mx redirect=b.example");
        check(
            "v=spf1 redirect=b.example ?all",
            "v=spf1 redirect=b.example mx ?all",
        );
        check("v=spf1 a  ", "v=spf1 a mx");
        check("v=spf1", "v=spf1 mx");
    }
}
