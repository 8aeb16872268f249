//! Reads a file with very many certificates some at a time, so that no tree of all of them is ever in memory. Pure.
//!
//! A part is the whole text with all else blanked, so that every place in it is a place in the file. Where the file is
//! laid out in any other way than one table after another, or is wrong, it is read whole: the parser then says what it has
//! to say about it.

use std::ops::Range;

use toml_edit::Document;

/// A file below this is read whole, in bytes.
const LARGE: usize = 64 << 10;
/// How many certificates are read at a time.
const AT_ONCE: usize = 500;
/// The header of a certificate.
const HEADER: &str = "[[certificate]]";

/// A file in parts that can be read one after another.
pub struct Batches<'a> {
    text: &'a str,
    /// The bytes of each certificate, its header among them.
    certificates: Vec<Range<usize>>,
}

impl<'a> Batches<'a> {
    /// Finds the certificates of a large file; `None` for one that is to be read whole.
    pub fn find(text: &'a str) -> Option<Self> {
        // A string over several lines could have anything in it that looks like a header.
        if text.len() < LARGE || text.contains("\"\"\"") || text.contains("'''") {
            return None;
        }
        let mut certificates: Vec<Range<usize>> = Vec::new();
        let (mut open, mut at) = (None, 0);
        for line in text.split_inclusive('\n') {
            let begins = at;
            at += line.len();
            let trimmed = line.trim_ascii();
            if !trimmed.starts_with('[') {
                continue;
            }
            certificates.extend(open.take().map(|begin| begin..begins));
            let code = trimmed.split('#').next().unwrap_or_default().trim_ascii();
            if code == HEADER {
                open = Some(begins);
            } else if code.contains("certificate") || code.contains(['"', '\'', '\\']) {
                return None;
            }
        }
        certificates.extend(open.map(|begin| begin..text.len()));
        (certificates.len() > AT_ONCE).then_some(Self { text, certificates })
    }

    /// Returns the file without its certificates.
    pub fn rest(&self) -> Option<Document<String>> {
        let mut text = self.text.as_bytes().to_vec();
        for range in &self.certificates {
            text.get_mut(range.clone())?.fill(b' ');
        }
        parse(text)
    }

    /// Returns the certificates, some in each document.
    pub fn documents(&self) -> impl Iterator<Item = Option<Document<String>>> {
        self.certificates.chunks(AT_ONCE).map(|chunk| {
            let (first, last) = (chunk.first()?, chunk.last()?);
            let mut text = vec![b' '; last.end];
            for range in chunk {
                let part = self.text.as_bytes().get(range.clone())?;
                text.get_mut(range.clone())?.copy_from_slice(part);
            }
            debug_assert!(
                first.start <= last.start,
                "certificates stand in the order of the file"
            );
            parse(text)
        })
    }
}

fn parse(text: Vec<u8>) -> Option<Document<String>> {
    Document::parse(String::from_utf8(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: usize, more: &str) -> String {
        let certificates =
            (0..n).map(|i| format!("[[certificate]] # {i}\nidentifiers = [\"ü{i}.test\"]\nsni = true\n\n"));
        format!(
            "version = 1\n[host]\nname = \"a.test\"\n{}{more}",
            certificates.collect::<String>()
        )
    }

    #[test]
    fn places_in_a_part_are_places_in_the_file() {
        let text = file(1501, "[renew]\ntimer = \"none\"\n");
        let batches = Batches::find(&text).unwrap();
        let rest = batches.rest().unwrap();
        assert!(rest.get("certificate").is_none());
        let timer = rest["renew"]["timer"].span().unwrap();
        assert_eq!(&text[timer], "\"none\"");
        let mut n = 0;
        for document in batches.documents() {
            let document = document.unwrap();
            assert_eq!(document.iter().count(), 1);
            for table in document["certificate"].as_array_of_tables().unwrap() {
                let span = table["identifiers"].span().unwrap();
                assert_eq!(text[span], format!("[\"ü{n}.test\"]"));
                n += 1;
            }
        }
        assert_eq!(n, 1501);
    }

    #[test]
    fn what_is_laid_out_otherwise_is_read_whole() {
        let check = |text: &str, expected: bool| {
            assert_eq!(Batches::find(text).is_some(), expected, "{:?}", &text[..60]);
        };
        check(&file(2000, ""), true);
        check(&file(100, ""), false);
        check(&file(2000, "[renew]\nbefore = '''\n30d'''\n"), false);
        check(&file(2000, "[certificate.more]\n"), false);
        check(&file(2000, "[[\"certificate\"]]\n"), false);
        check(&format!("{}{}", "# padding\n".repeat(10_000), file(3, "")), false);
    }
}
