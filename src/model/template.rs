//! What a template engine has left behind in a configuration: a value that nobody has put in. Pure.

/// How the engines that people write configurations with mark a value: Jinja and Mustache, autoconf's manner, ERB and EJS.
const MARKS: [(&str, &str); 4] = [("{{", "}}"), ("@@", "@@"), ("%%", "%%"), ("<%", "%>")];

/// Returns the first mark with the name in it.
pub fn left_behind(value: &str) -> Option<&str> {
    MARKS.iter().find_map(|(open, close)| {
        let start = value.find(open)?;
        let inner = &value[start + open.len()..];
        let end = inner.find(close)?;
        // A name, perhaps with a filter or a default; nested lists of Postfix have other things in their braces.
        let name = inner[..end].trim().trim_start_matches(['=', '-']).trim();
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || "_.$".contains(first))
            && !name.contains(['{', '}', '=', '@']);
        is_name.then(|| &value[start..start + open.len() + end + close.len()])
    })
}

#[cfg(test)]
mod tests {
    use super::left_behind;

    #[test]
    fn marks_are_told_from_what_postfix_means() {
        let check = |value: &str, expected: Option<&str>| assert_eq!(left_behind(value), expected, "{value}");
        check("{{ mail_host }}", Some("{{ mail_host }}"));
        check("mail.{{domain|default('x')}}", Some("{{domain|default('x')}}"));
        check("@@SIZE@@", Some("@@SIZE@@"));
        check("<%= @host %>", None);
        check("<%= host %>", Some("<%= host %>"));
        check("%%MAILNAME%%", Some("%%MAILNAME%%"));
        check("$myhostname ESMTP", None);
        check("${compatibility_level?{a}:{b}}", None);
        check("{ inet:host:1, command_timeout=3s }, { unix:x }", None);
        check("{{ inet:a, x=y }}", None);
        check("a@@b", None);
        check("100%% sure", None);
    }
}
