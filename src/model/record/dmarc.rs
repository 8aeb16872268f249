//! DMARC policy records (RFC 9989, 4.7): which text is one, and what its tags say. Pure.

use super::tag_list::TagList;

/// Labels of the longest name that the tree walk asks for below the author's (RFC 9989, 4.10).
const MAX_LABELS: usize = 7;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its tags.
    pub tags: TagList,
}

/// What is done with mail that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// It is suspicious.
    Quarantine,
    /// It is refused.
    Reject,
}

/// An address that reports go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The URI without an obsolete size at its end.
    pub uri: String,
    /// The domain of a `mailto:` address; `None` for other schemes and what cannot be read.
    pub domain: Option<String>,
    /// Whether there is a size (`!10m`) at its end.
    pub has_size: bool,
}

/// Returns whether a text is a DMARC record: `v` first, its value exactly `DMARC1` (RFC 9989, 4.7).
pub fn is_record(text: &[u8]) -> bool {
    let list = TagList::parse(text.split(|byte| *byte == b';').next().unwrap_or_default());
    list.get("v") == Some("DMARC1")
}

/// Returns whether a text was meant as one: receivers do not see it.
pub fn is_nearly(text: &[u8]) -> bool {
    let squeezed: Vec<u8> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(u8::to_ascii_lowercase)
        .collect();
    !is_record(text)
        && (squeezed.starts_with(b"v=dmarc") || squeezed.windows(9).any(|part| part == b";v=dmarc1"))
}

/// Returns the names of the tree walk from the domain upwards, the domain first (RFC 9989, 4.10).
pub fn tree(domain: &str) -> Vec<&str> {
    let labels: Vec<&str> = domain.split('.').collect();
    let mut names = vec![domain];
    let mut rest = domain;
    for n_left in (1..labels.len()).rev() {
        rest = rest.split_once('.').map_or("", |(_, rest)| rest);
        if n_left <= MAX_LABELS {
            names.push(rest);
        }
    }
    names
}

impl Policy {
    /// Returns its word in a record.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

impl Record {
    /// Reads a record; `None` when the text is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        is_record(text).then(|| Self {
            tags: TagList::parse(text),
        })
    }

    /// Returns the policy that a tag (`p`, `sp`, `np`) gives.
    ///
    /// # Errors
    /// The value, when it is no policy.
    pub fn policy(&self, tag: &str) -> Result<Option<Policy>, &str> {
        match self.tags.get(tag) {
            None => Ok(None),
            Some(value) => match value.to_ascii_lowercase().as_str() {
                "none" => Ok(Some(Policy::None)),
                "quarantine" => Ok(Some(Policy::Quarantine)),
                "reject" => Ok(Some(Policy::Reject)),
                _ => Err(value),
            },
        }
    }

    /// Returns where the reports of a tag (`rua`, `ruf`) go; what is no URI is an error.
    pub fn destinations(&self, tag: &str) -> Vec<Result<Destination, String>> {
        let text = self.tags.get(tag).unwrap_or_default();
        let uris = text.split(',').map(str::trim).filter(|uri| !uri.is_empty());
        uris.map(destination).collect()
    }
}

fn destination(text: &str) -> Result<Destination, String> {
    let (uri, size) = match text.split_once('!') {
        Some((uri, size)) => (uri, Some(size)),
        None => (text, None),
    };
    let is_size = |size: &str| {
        let digits = size.trim_end_matches(['k', 'm', 'g', 't', 'K', 'M', 'G', 'T']);
        !digits.is_empty()
            && size.len() - digits.len() <= 1
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let wrong = || Err(text.to_owned());
    let Some((scheme, rest)) = uri.split_once(':') else {
        return wrong();
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || matches!(one, '+' | '-' | '.'));
    if !is_scheme
        || rest.is_empty()
        || rest.contains(char::is_whitespace)
        || size.is_some_and(|size| !is_size(size))
    {
        return wrong();
    }
    let domain = match scheme.eq_ignore_ascii_case("mailto") {
        true => match rest.split('?').next().unwrap_or_default().rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                Some(domain.trim_end_matches('.').to_ascii_lowercase())
            }
            _ => return wrong(),
        },
        false => None,
    };
    Ok(Destination {
        uri: uri.to_owned(),
        domain,
        has_size: size.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_records_from_others() {
        for text in ["v=DMARC1", "v=DMARC1;p=none", " v = DMARC1 ; p=none"] {
            assert!(is_record(text.as_bytes()), "{text}");
        }
        for text in [
            "v=dmarc1; p=none",
            "p=none; v=DMARC1",
            "v=DMARC2; p=none",
            "v=DMARC1 p=none",
        ] {
            assert!(
                !is_record(text.as_bytes()) && is_nearly(text.as_bytes()),
                "{text}"
            );
        }
        assert!(!is_nearly(b"v=spf1 -all"));
    }

    #[test]
    fn walks_the_tree() {
        assert_eq!(tree("a.b.test"), ["a.b.test", "b.test", "test"]);
        let walk = tree("a.b.c.d.e.f.g.h.i.test");
        assert_eq!((walk.len(), walk[1]), (8, "d.e.f.g.h.i.test"));
        assert_eq!(tree("a.b.c.d.e.f.g.test")[1], "b.c.d.e.f.g.test");
    }

    #[test]
    fn reads_destinations() {
        let record =
            Record::parse(b"v=DMARC1; rua=mailto:a@B.test!10m, https://x.test/r ,mailto:a,x@b.test").unwrap();
        let found = record.destinations("rua");
        assert_eq!(found[0].as_ref().unwrap().domain.as_deref(), Some("b.test"));
        assert!(found[0].as_ref().unwrap().has_size);
        assert_eq!(found[1].as_ref().unwrap().domain, None);
        assert!(found[2].is_err() && found[3].is_err());
    }
}
