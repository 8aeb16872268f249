//! Text around DER: PEM (RFC 7468). Pure.
//!
//! For what no library of ours writes. Text before and after a block is passed over.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Returns DER as PEM: lines of 64 characters, LF at the end of each.
pub fn write(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every octet is a boundary.
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Returns the DER of the first block with one of these labels; `None` when there is none, or it is broken.
pub fn read(labels: &[&str], text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (at, label) = labels
        .iter()
        .filter_map(|label| Some((text.find(&format!("-----BEGIN {label}-----"))?, label)))
        .min()?;
    let (_, rest) = text[at..].split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_whatever_stands_around_it() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let der = vec![7; length];
            let text = write("X", &der);
            assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with("-----\n"));
            let around = format!("before\n{}after\n", text.replace('\n', "\r\n"));
            assert_eq!(read(&["Y", "X"], around.as_bytes()), Some(der));
        }
        assert_eq!(read(&["Y"], write("X", b"a").as_bytes()), None);
        assert_eq!(read(&["X"], b"-----BEGIN X-----\nAAAA"), None);
        assert_eq!(read(&["X"], b"-----BEGIN X-----\n!\n-----END X-----"), None);
        assert_eq!(read(&["X"], &[0xff]), None);
    }
}
