//! The text of SPF macros (RFC 7208, 7.3): how a value is split, reversed, cut and escaped. Pure.

use std::net::{IpAddr, Ipv6Addr};

use crate::model::record::spf::Macro;

/// Returns an address as `%{i}` has it: IPv6 as dot-separated nibbles.
pub(super) fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => nibbles(address),
    }
}

fn nibbles(address: Ipv6Addr) -> String {
    let digits = format!("{:032x}", address.to_bits());
    let mut text = String::with_capacity(63);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push(digit);
    }
    text
}

/// Splits, reverses, cuts and escapes a macro's value (RFC 7208, 7.3).
pub(super) fn transform(found: &Macro, value: &str) -> String {
    let is_delimiter = |character: char| match found.delimiters.as_str() {
        "" => character == '.',
        delimiters => delimiters.contains(character),
    };
    let mut parts: Vec<&str> = value.split(is_delimiter).collect();
    if found.reverse {
        parts.reverse();
    }
    let skipped = found.keep.map_or(0, |keep| parts.len().saturating_sub(keep));
    let text = parts.get(skipped..).unwrap_or_default().join(".");
    if found.escape { url_escaped(&text) } else { text }
}

fn url_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
