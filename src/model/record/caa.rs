//! CAA (RFC 8659, RFC 8657): whether a CA may issue for a name, to this account, by this method. Pure.
//!
//! The answers of the DNS come in as they are: [`relevant`] climbs over them, [`judge`] decides as a CA does. What does
//! not fit the grammar allows nobody (RFC 8659, 4.2). RFC 9495's `issuemail` and the tags that are only contacts say
//! nothing about TLS.

use std::fmt;

use crate::model::{name::DomainName, plan::printable_line};

/// Records that are shown at most, of those that forbid something.
const SHOWN_RECORDS: usize = 5;
/// Characters of a record's value that are shown at most.
const SHOWN: usize = 200;
/// Tags that a CA knows, so that their critical flag stops nothing: RFC 8659, 4.2 to 4.4; RFC 9495; CA/Browser Forum BR, A.1.
const KNOWN_TAGS: [&str; 6] = [
    "issue",
    "issuewild",
    "iodef",
    "issuemail",
    "contactemail",
    "contactphone",
];

/// One CAA record (RFC 8659, 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Whether a CA that does not know the tag must not issue.
    pub critical: bool,
    /// The tag, as it came; compared without regard to case.
    pub tag: String,
    /// The value, as it came.
    pub value: Vec<u8>,
}

/// What a CA is about to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the CA recognizes itself by: `caaIdentities` of its directory (RFC 8555, 7.1.1).
    pub identities: &'a [String],
    /// The URL of our account there (RFC 8657, 3).
    pub account: &'a str,
    /// The challenge (RFC 8657, 4): `http-01`.
    pub method: &'a str,
    /// Whether the name has `*.` before it.
    pub wildcard: bool,
}

/// What a set of records means for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The CA may issue.
    Allowed,
    /// The CA must not issue.
    Refused(Refusal),
    /// Only certain CAs may issue, and this one does not say by which name it goes.
    Unknown,
}

/// Why a CA must not issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A critical record has a tag that no CA knows.
    Critical(Property),
    /// None of the records lets it; each with why, the first few.
    Denied {
        /// Record and reason.
        records: Vec<(Property, Reason)>,
        /// How many more there are.
        n_more: usize,
    },
}

/// Why one record does not let a CA issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is for other accounts.
    Account,
    /// It does not fit the grammar, or has a parameter twice: then it allows nobody.
    Malformed,
    /// It allows other methods.
    Method,
    /// It allows nobody.
    Nobody,
    /// It is for another CA.
    OtherCa,
}

/// A set of records and its owner.
pub type Relevant<'a> = (DomainName, &'a [Property]);

/// Returns the first set of records at the name or above, with its owner; `None` when there is none up to the root.
///
/// `answer` returns what the DNS says about one name, CNAMEs followed. Those above the owner are not asked for.
///
/// # Errors
/// The answer's own, with the name that it is about: a CA must not issue then (RFC 8659, 3; CA/Browser Forum BR, 3.2.2.8).
pub fn relevant<'a, E>(
    name: &DomainName,
    answer: impl Fn(&DomainName) -> Result<&'a [Property], E>,
) -> Result<Option<Relevant<'a>>, (DomainName, E)> {
    let mut candidate = Some(name.clone());
    while let Some(owner) = candidate {
        match answer(&owner) {
            Ok([]) => candidate = owner.parent(),
            Ok(properties) => return Ok(Some((owner, properties))),
            Err(error) => return Err((owner, error)),
        }
    }
    Ok(None)
}

/// Decides whether the CA may issue.
pub fn judge(properties: &[Property], request: &Request<'_>) -> Verdict {
    if let Some(critical) = properties
        .iter()
        .find(|property| property.is_unknown_and_critical())
    {
        return Verdict::Refused(Refusal::Critical(critical.clone()));
    }
    let of = |tag: &'static str| properties.iter().filter(move |property| property.is(tag));
    let tag = request.tag(properties);
    let mut denied = Vec::new();
    let (mut n_properties, mut names_some_ca) = (0, false);
    for property in of(tag) {
        n_properties += 1;
        let reason = match Issue::parse(&property.value) {
            None => Reason::Malformed,
            Some(issue) => match issue.refuses(request) {
                None => return Verdict::Allowed,
                Some(reason) => reason,
            },
        };
        names_some_ca |= reason == Reason::OtherCa;
        if denied.len() < SHOWN_RECORDS {
            denied.push((property.clone(), reason));
        }
    }
    if n_properties == 0 {
        return Verdict::Allowed;
    }
    if request.identities.is_empty() && names_some_ca {
        return Verdict::Unknown;
    }
    Verdict::Refused(Refusal::Denied {
        n_more: n_properties - denied.len(),
        records: denied,
    })
}

impl Request<'_> {
    /// Returns which tag decides: where there is an `issuewild`, `issue` says nothing about wildcards (RFC 8659, 4.3).
    pub fn tag(&self, properties: &[Property]) -> &'static str {
        match self.wildcard && properties.iter().any(|property| property.is("issuewild")) {
            true => "issuewild",
            false => "issue",
        }
    }
}

impl Property {
    /// Returns whether it is to say who may issue and does not fit the grammar: then it allows nobody (RFC 8659, 4.2).
    pub fn is_malformed(&self) -> bool {
        (self.is("issue") || self.is("issuewild")) && Issue::parse(&self.value).is_none()
    }

    /// Returns whether no CA may issue beside it (RFC 8659, 4.1).
    pub fn is_unknown_and_critical(&self) -> bool {
        self.critical && !KNOWN_TAGS.iter().any(|tag| self.is(tag))
    }

    fn is(&self, tag: &str) -> bool {
        self.tag.eq_ignore_ascii_case(tag)
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} \"{}\"",
            if self.critical { 128 } else { 0 },
            printable_line(self.tag.as_bytes(), SHOWN),
            printable_line(&self.value, SHOWN)
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Critical(property) => write!(f, "{property} is critical, and no CA knows it"),
            Self::Denied { records, n_more } => {
                for (index, (property, reason)) in records.iter().enumerate() {
                    let comma = if index > 0 { "; " } else { "" };
                    write!(f, "{comma}{property} {reason}")?;
                }
                if *n_more > 0 {
                    write!(f, "; and {n_more} more")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "is for another account",
            Self::Malformed => "is malformed, which allows nobody",
            Self::Method => "allows other methods only",
            Self::Nobody => "allows nobody",
            Self::OtherCa => "is for another CA",
        })
    }
}

/// The value of an `issue` or `issuewild` record, read by the grammar of RFC 8659, 4.2.
#[derive(Debug, PartialEq, Eq)]
struct Issue<'a> {
    /// The CA; empty: nobody.
    issuer: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Issue<'a> {
    /// Reads a value; `None` when it does not fit.
    fn parse(value: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(value).ok()?;
        let (issuer, rest) = match text.split_once(';') {
            Some((issuer, rest)) => (issuer, Some(rest)),
            None => (text, None),
        };
        let issuer = trim(issuer);
        if !issuer.is_empty() && !issuer.split('.').all(is_label) {
            return None;
        }
        let rest = trim(rest.unwrap_or_default());
        let mut parameters = Vec::new();
        if !rest.is_empty() {
            let mut parts: Vec<&str> = rest.split(';').map(trim).collect();
            // Not in the grammar, but common, and Boulder lets it pass: a semicolon at the end.
            if parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
                parts.pop();
            }
            for part in parts {
                let (tag, value) = part.split_once('=')?;
                let (tag, value) = (trim(tag), trim(value));
                let is_legal = |byte: u8| matches!(byte, 0x21..=0x7e);
                if !is_label(tag) || !value.bytes().all(is_legal) {
                    return None;
                }
                parameters.push((tag, value));
            }
        }
        Some(Self { issuer, parameters })
    }

    /// Returns why it does not let the CA issue; `None` when it does.
    fn refuses(&self, request: &Request<'_>) -> Option<Reason> {
        if self.issuer.is_empty() {
            return Some(Reason::Nobody);
        }
        let is_issuer = |identity: &String| identity.trim_end_matches('.').eq_ignore_ascii_case(self.issuer);
        if !request.identities.iter().any(is_issuer) {
            return Some(Reason::OtherCa);
        }
        match self.only("accounturi") {
            Err(reason) => return Some(reason),
            Ok(Some(uri)) if uri != request.account => return Some(Reason::Account),
            Ok(_) => {}
        }
        match self.only("validationmethods") {
            Err(reason) => Some(reason),
            Ok(Some(methods)) if !methods.is_empty() && !methods.split(',').all(is_method) => {
                Some(Reason::Malformed)
            }
            Ok(Some(methods)) if methods.split(',').all(|method| method != request.method) => {
                Some(Reason::Method)
            }
            Ok(_) => None,
        }
    }

    /// Returns the value of a parameter that may stand there once (RFC 8657, 3 and 4).
    fn only(&self, tag: &str) -> Result<Option<&'a str>, Reason> {
        let mut found = self
            .parameters
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(tag));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Reason::Malformed),
            (first, _) => Ok(first.map(|(_, value)| *value)),
        }
    }
}

/// Takes away what RFC 8659 calls WSP.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn is_label(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_legal) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_method(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.test/acct/1";

    fn property(text: &str) -> Property {
        let mut parts = text.splitn(3, ' ');
        let (flags, tag, value) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        Property {
            critical: flags == "128",
            tag: tag.to_owned(),
            value: value.as_bytes().to_vec(),
        }
    }

    fn judged(records: &[&str], identities: &[&str], wildcard: bool) -> Verdict {
        let properties: Vec<Property> = records.iter().map(|text| property(text)).collect();
        let identities: Vec<String> = identities.iter().map(|&text| text.to_owned()).collect();
        judge(
            &properties,
            &Request {
                identities: &identities,
                account: ACCOUNT,
                method: "http-01",
                wildcard,
            },
        )
    }

    /// `expected` is why the first record refuses, or `None` when the CA may issue.
    fn check(records: &[&str], wildcard: bool, expected: Option<Reason>) {
        let found = match judged(records, &["ca.test", "other-name.ca.test"], wildcard) {
            Verdict::Allowed => None,
            Verdict::Refused(Refusal::Denied { records, .. }) => Some(records[0].1),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{records:?} {wildcard}");
    }

    #[test]
    fn the_ca_must_be_named() {
        check(&[], false, None);
        check(&["0 issue ca.test"], false, None);
        check(&["0 ISSUE CA.Test"], false, None);
        check(&["128 issue  \tca.test "], false, None);
        check(&["0 issue other-name.ca.test"], false, None);
        check(&["0 issue evil.ca.test"], false, Some(Reason::OtherCa));
        check(&["0 issue test"], false, Some(Reason::OtherCa));
        check(&["0 issue other.test", "0 issue ca.test"], false, None);
        check(&["0 issue ;"], false, Some(Reason::Nobody));
        check(&["0 issue "], false, Some(Reason::Nobody));
        check(&["0 issue ;", "0 issue ca.test"], false, None);
        check(&["0 issue ; accounturi=x"], false, Some(Reason::Nobody));
    }

    #[test]
    fn wildcards_have_records_of_their_own() {
        check(&["0 issuewild other.test"], false, None);
        check(&["0 issuewild other.test"], true, Some(Reason::OtherCa));
        check(&["0 issue other.test"], true, Some(Reason::OtherCa));
        check(&["0 issue other.test", "0 issuewild ca.test"], true, None);
        check(&["0 issue ca.test", "0 issuewild ;"], true, Some(Reason::Nobody));
        check(&["0 issue ca.test", "0 issuewild ;"], false, None);
        check(&["0 issuewild ca.test", "0 issue ;"], false, Some(Reason::Nobody));
    }

    #[test]
    fn other_tags_restrict_nothing_unless_critical() {
        check(&["0 iodef mailto:a@b.test"], false, None);
        check(&["128 iodef mailto:a@b.test"], false, None);
        check(&["128 issuemail ;"], false, None);
        check(&["0 tbs unknown"], false, None);
        let Verdict::Refused(refusal) = judged(&["0 issue ca.test", "128 tbs unknown"], &["ca.test"], false)
        else {
            panic!("a critical record was passed over");
        };
        assert_eq!(
            refusal.to_string(),
            "128 tbs \"unknown\" is critical, and no CA knows it"
        );
    }

    #[test]
    fn accounts_and_methods_are_compared_exactly() {
        let one = |parameters: &str, expected| {
            check(
                &[format!("0 issue ca.test;{parameters}").as_str()],
                false,
                expected,
            );
        };
        one("", None);
        one(" ", None);
        one("accounturi=https://ca.test/acct/1", None);
        one("AccountURI = https://ca.test/acct/1 ; x=", None);
        one("accounturi=https://ca.test/acct/1;", None);
        one("accounturi=https://ca.test/acct/2", Some(Reason::Account));
        one("accounturi=https://ca.test/acct/", Some(Reason::Account));
        one("accounturi=", Some(Reason::Account));
        one(
            "accounturi=https://ca.test/acct/1; accounturi=https://ca.test/acct/1",
            Some(Reason::Malformed),
        );
        one("validationmethods=http-01", None);
        one("validationmethods=dns-01,http-01", None);
        one("validationmethods=dns-01", Some(Reason::Method));
        one("validationmethods=", Some(Reason::Method));
        one("validationmethods=HTTP-01", Some(Reason::Method));
        one("validationmethods=dns-01,,http-01", Some(Reason::Malformed));
        one("validationmethods=dns_01", Some(Reason::Malformed));
        one(
            "validationmethods=http-01;validationmethods=http-01",
            Some(Reason::Malformed),
        );
        one("policy=ev", None);
    }

    #[test]
    fn what_does_not_fit_the_grammar_allows_nobody() {
        let one = |value: &str| {
            check(
                &[format!("0 issue {value}").as_str()],
                false,
                Some(Reason::Malformed),
            );
        };
        one("ca.test.");
        one(".");
        one("ca..test");
        one("-ca.test");
        one("ca_.test");
        one("ca.test ca.test");
        one("ca.test; accounturi");
        one("ca.test; =x");
        one("ca.test; a=b c=d");
        one("ca.test;;");
        one("ca.test; é=x");
        one("\u{1b}[31mca.test");
        let raw = Property {
            critical: false,
            tag: "issue".to_owned(),
            value: b"ca.test\xff\x00".to_vec(),
        };
        assert_eq!(Issue::parse(&raw.value), None);
        assert_eq!(raw.to_string(), "0 issue \"ca.test\\xff\\u{0}\"");
    }

    #[test]
    fn a_ca_without_a_name_cannot_be_judged() {
        assert_eq!(judged(&["0 issue ca.test"], &[], false), Verdict::Unknown);
        assert_eq!(judged(&[], &[], false), Verdict::Allowed);
        assert!(matches!(
            judged(&["0 issue ;"], &[], false),
            Verdict::Refused(Refusal::Denied { .. })
        ));
    }

    #[test]
    fn ten_thousand_records_are_a_short_message() {
        let records = vec![property("0 issue \u{1b}]0;x\u{7}.test"); 10_000];
        let identities = ["ca.test".to_owned()];
        let request = Request {
            identities: &identities,
            account: ACCOUNT,
            method: "http-01",
            wildcard: false,
        };
        let Verdict::Refused(refusal) = judge(&records, &request) else {
            panic!("allowed");
        };
        let text = refusal.to_string();
        assert!(text.ends_with("; and 9995 more") && text.len() < 2000, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
    }

    #[test]
    fn climbs_to_the_first_set() {
        let name: DomainName = "a.b.example.test".parse().unwrap();
        let (set, none) = ([property("0 issue ca.test")], Vec::new());
        let found = |answers: &[(&str, Result<&[Property], &'static str>)]| {
            let answer = |asked: &DomainName| {
                let known = answers.iter().find(|(owner, _)| *owner == asked.as_str());
                known.map_or(Ok(none.as_slice()), |(_, answer)| *answer)
            };
            relevant(&name, answer)
                .map(|found| found.map(|(owner, _)| owner.to_string()))
                .map_err(|(owner, error)| format!("{owner}: {error}"))
        };
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[("test", Ok(&set))]), Ok(Some("test".to_owned())));
        assert_eq!(
            found(&[("example.test", Ok(&set)), ("test", Err("SERVFAIL"))]),
            Ok(Some("example.test".to_owned()))
        );
        assert_eq!(
            found(&[("b.example.test", Err("SERVFAIL")), ("example.test", Ok(&set))]),
            Err("b.example.test: SERVFAIL".to_owned())
        );
        assert_eq!(found(&[("other.test", Ok(&set))]), Ok(None));
    }
}
