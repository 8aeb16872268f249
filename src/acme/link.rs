//! `Link` headers (RFC 8288) that name alternates of a document (RFC 8555, 7.4.2). Pure.

use reqwest::Url;

/// No more alternates are looked at.
const MOST: usize = 8;

/// Returns the URLs of the alternates that these headers of a document name, each once, in their order. Relative ones are
/// resolved against the document's own URL.
pub fn alternates<'a>(document: &str, headers: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let Ok(base) = Url::parse(document) else {
        return Vec::new();
    };
    let mut found: Vec<String> = Vec::new();
    for link in headers.into_iter().flat_map(links) {
        if let Some(url) = alternate(link).and_then(|target| base.join(target).ok()) {
            let url = url.to_string();
            if found.len() < MOST && !found.contains(&url) {
                found.push(url);
            }
        }
    }
    found
}

/// Splits a header into its links: commas inside `<>` and quotes belong to them.
fn links(header: &str) -> Vec<&str> {
    let (mut links, mut begin, mut in_target, mut in_quotes) = (Vec::new(), 0, false, false);
    for (at, character) in header.char_indices() {
        match character {
            '<' if !in_quotes => in_target = true,
            '>' if !in_quotes => in_target = false,
            '"' if !in_target => in_quotes = !in_quotes,
            ',' if !in_target && !in_quotes => {
                links.push(header.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    links.push(header.get(begin..).unwrap_or_default());
    links
}

/// Returns the target of a link whose relation is `alternate`.
fn alternate(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_alternate = parameters.split(';').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        let relations = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel")
            && relations
                .split_whitespace()
                .any(|relation| relation.eq_ignore_ascii_case("alternate"))
    });
    is_alternate.then_some(target.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_alternates_and_nothing_else() {
        let check = |headers: &[&str], expected: &[&str]| {
            let found = alternates("https://ca.test/cert/7", headers.iter().copied());
            assert_eq!(found, expected, "{headers:?}");
        };
        check(
            &[
                r#"<https://ca.test/cert/7/1>;rel="alternate""#,
                "<https://ca.test/dir>; rel=index, <8>;title=\"a, b\" ;REL=\"next Alternate\"",
                r#"<https://ca.test/cert/7/1>;rel="alternate""#,
            ],
            &["https://ca.test/cert/7/1", "https://ca.test/cert/8"],
        );
        check(
            &[r#"<https://ca.test/a,b>;rel="alternate",</c>;rel=alternate"#],
            &["https://ca.test/a,b", "https://ca.test/c"],
        );
        for nothing in [
            "",
            ",",
            "<>",
            "<a",
            "a>;rel=alternate",
            "<https://ca.test/up>;rel=\"up\"",
            "<x>;rel",
        ] {
            check(&[nothing], &[]);
        }
        let many: Vec<String> = (0..50).map(|n| format!("</{n}>;rel=alternate")).collect();
        assert_eq!(
            alternates("https://ca.test/", many.iter().map(String::as_str)).len(),
            MOST
        );
        assert!(alternates("no url", ["</a>;rel=alternate"]).is_empty());
    }
}
