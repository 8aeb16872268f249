//! TLS reporting records (RFC 8460, 3). Pure.

use super::tag_list::TagList;

/// Returns whether a text is one: it begins with `v=TLSRPTv1;`.
pub fn is_record(text: &[u8]) -> bool {
    text.strip_prefix(b"v=TLSRPTv1")
        .is_some_and(|rest| rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b';'))
}

/// Returns the URIs that reports go to.
///
/// # Errors
/// What is wrong with the record, in words.
pub fn destinations(text: &[u8]) -> Result<Vec<String>, String> {
    let tags = TagList::parse(text);
    if let Some(wrong) = tags.wrong() {
        return Err(format!("`{wrong}` is no `tag=value`"));
    }
    let Some(list) = tags.get("rua") else {
        return Err("there is no `rua`".to_owned());
    };
    let mut uris = Vec::new();
    for uri in list.split(',').map(str::trim) {
        let is_good = match uri.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mailto") => rest
                .split_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.')),
            Some((scheme, rest)) => {
                scheme.eq_ignore_ascii_case("https") && rest.starts_with("//") && rest.len() > 2
            }
            None => false,
        };
        if !is_good || uri.contains(['!', ' ', '\t']) {
            return Err(format!("`{uri}` is neither a mailto: nor an https: URI"));
        }
        uris.push(uri.to_owned());
    }
    Ok(uris)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records() {
        let check = |text: &str, expected: Option<usize>| {
            let found = destinations(text.as_bytes());
            assert_eq!(found.as_ref().ok().map(Vec::len), expected, "{text}: {found:?}");
        };
        assert!(is_record(b"v=TLSRPTv1 ; rua=mailto:a@b.test"));
        assert!(!is_record(b"v=TLSRPTv1") && !is_record(b"v=tlsrptv1;"));
        check("v=TLSRPTv1; rua=mailto:a@b.test,https://c.test/v1", Some(2));
        check("v=TLSRPTv1; rua=mailto:a@b.test;", Some(1));
        check("v=TLSRPTv1;", None);
        check("v=TLSRPTv1; rua=http://c.test/v1", None);
        check("v=TLSRPTv1; rua=mailto:a@b.test!10m", None);
        check("v=TLSRPTv1; rua=mailto:a@b.test,", None);
        check("v=TLSRPTv1; rua=mailto:a@b.test; x", None);
    }
}
