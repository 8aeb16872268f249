//! `tag=value; tag=value`, as DKIM, DMARC and others write their records (RFC 6376, 3.2). Pure.
//!
//! Octets that are no UTF-8 are kept as U+FFFD: no tag that we know has such a value.

/// A record read as tags, in its order; white space around names and values is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagList {
    tags: Vec<(String, String)>,
    /// Pieces that are no tag.
    wrong: Vec<String>,
}

impl TagList {
    /// Reads a text; pieces that are no tag are kept aside.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (mut tags, mut wrong) = (Vec::new(), Vec::new());
        for piece in text.split(';').map(str::trim).filter(|piece| !piece.is_empty()) {
            let is_name = |name: &str| {
                name.starts_with(|first: char| first.is_ascii_alphabetic())
                    && name
                        .chars()
                        .all(|character| character.is_ascii_alphanumeric() || character == '_')
            };
            match piece.split_once('=') {
                Some((name, value)) if is_name(name.trim()) => {
                    tags.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                _ => wrong.push(piece.to_owned()),
            }
        }
        Self { tags, wrong }
    }

    /// Returns the value of a tag: the first, where there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Returns names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the name of a tag that is there twice.
    pub fn doubled(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names
            .windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
    }

    /// Returns a piece that is no tag.
    pub fn wrong(&self) -> Option<&str> {
        self.wrong.first().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tags() {
        let list = TagList::parse(b"v=DKIM1 ; p= a=b ;;k=rsa; \xff; p=x");
        assert_eq!((list.get("v"), list.get("p")), (Some("DKIM1"), Some("a=b")));
        assert_eq!((list.doubled(), list.wrong()), (Some("p"), Some("\u{fffd}")));
        assert_eq!(TagList::parse(b"").iter().count(), 0);
    }
}
