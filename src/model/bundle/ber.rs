//! BER (X.690, 8) made into DER as far as its lengths go: some CAs and browsers write PKCS#7 and PKCS#12 without lengths. Pure.
//!
//! What has a length all the way down stays octet for octet, so that no certificate in it loses its signature. A string in
//! pieces is put together.

use crate::model::der;

/// No honest structure is deeper.
const DEEPEST: usize = 40;

/// Bit 6 of a tag: the content is values.
const CONSTRUCTED: u8 = 0x20;
/// A string in pieces.
const STRING_IN_PIECES: u8 = der::OCTET_STRING | CONSTRUCTED;

/// Returns the first value with definite lengths; nothing but blanks and zeros may follow it. `None` when it is broken.
pub fn to_der(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let mut out = Vec::with_capacity(bytes.len());
    element(&mut rest, 0, &mut out)?;
    let is_filling = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    rest.iter().all(is_filling).then_some(out)
}

/// Moves one value from the input to the output.
fn element(input: &mut &[u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let whole = *input;
    let (&tag, rest) = whole.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, mut rest) = rest.split_first()?;
    if first == 0x80 {
        if tag & CONSTRUCTED == 0 || depth >= DEEPEST {
            return None;
        }
        let mut inner = Vec::new();
        while !rest.starts_with(&[0, 0]) {
            element(&mut rest, depth + 1, &mut inner)?;
        }
        *input = &rest[2..];
        push(tag, &inner, out);
        return Some(());
    }
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let n_octets = usize::from(first & 0x7f);
        if n_octets > 4 || n_octets > rest.len() {
            return None;
        }
        let (octets, after) = rest.split_at(n_octets);
        rest = after;
        octets
            .iter()
            .fold(0_usize, |sum, octet| (sum << 8) | usize::from(*octet))
    };
    if length > rest.len() {
        return None;
    }
    let (content, after) = rest.split_at(length);
    *input = after;
    // What cannot be read is passed on: whoever wants it says what is wrong.
    match inner(tag, content, depth) {
        Some(inner) if inner != content || tag == STRING_IN_PIECES => push(tag, &inner, out),
        _ => out.extend_from_slice(&whole[..whole.len() - after.len()]),
    }
    Some(())
}

/// Returns the values in a constructed value with definite lengths; `None` for a primitive one, and for what cannot be read.
fn inner(tag: u8, content: &[u8], depth: usize) -> Option<Vec<u8>> {
    if tag & CONSTRUCTED == 0 || depth >= DEEPEST {
        return None;
    }
    let mut rest = content;
    let mut inner = Vec::with_capacity(content.len());
    while !rest.is_empty() {
        element(&mut rest, depth + 1, &mut inner)?;
    }
    Some(inner)
}

fn push(tag: u8, inner: &[u8], out: &mut Vec<u8>) {
    match (tag, pieces(inner)) {
        (STRING_IN_PIECES, Some(string)) => der::push(out, der::OCTET_STRING, &string),
        _ => der::push(out, tag, inner),
    }
}

/// Puts the pieces of a string together; `None` when they are none.
pub fn pieces(inner: &[u8]) -> Option<Vec<u8>> {
    let mut reader = der::Reader::new(inner);
    let mut string = Vec::with_capacity(inner.len());
    while !reader.is_empty() {
        string.extend_from_slice(reader.read(der::OCTET_STRING)?);
    }
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_filled_in_and_strings_put_together() {
        let check = |bytes: &[u8], expected: Option<&[u8]>| {
            assert_eq!(to_der(bytes).as_deref(), expected, "{bytes:02x?}");
        };
        check(&[0x30, 3, 2, 1, 5], Some(&[0x30, 3, 2, 1, 5]));
        check(&[0x30, 3, 2, 1, 5, b'\n', 0], Some(&[0x30, 3, 2, 1, 5]));
        check(&[0x30, 0x80, 2, 1, 5, 0, 0], Some(&[0x30, 3, 2, 1, 5]));
        check(&[0x30, 4, 0xa0, 0x80, 0, 0], Some(&[0x30, 2, 0xa0, 0]));
        check(&[0x24, 0x80, 4, 1, 1, 4, 2, 2, 3, 0, 0], Some(&[4, 3, 1, 2, 3]));
        check(&[0x24, 3, 4, 1, 1], Some(&[4, 1, 1]));
        check(
            &[0x24, 0x80, 0x24, 0x80, 4, 1, 7, 0, 0, 4, 1, 8, 0, 0],
            Some(&[4, 2, 7, 8]),
        );
        // A long form stays where nothing in it changes.
        check(&[0x30, 0x81, 3, 2, 1, 5], Some(&[0x30, 0x81, 3, 2, 1, 5]));
        check(&[0x30, 3, 2, 1, 5, 7], None);
        check(&[0x30, 0x80, 2, 1, 5], None);
        check(&[0x04, 0x80, 0, 0], None);
        check(&[0x30, 4, 2, 1], None);
        check(&[0x1f, 1, 0], None);
        check(&[], None);
        check(&[[0x30, 0x80].repeat(100), [0, 0].repeat(100)].concat(), None);
        check(&[0x30, 0x80].repeat(50_000), None);
    }
}
