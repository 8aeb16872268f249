//! The certificates of a PKCS#7 file (RFC 5652, 5.1; RFC 2315): `.p7b`, `.p7c`. Pure.
//!
//! Such a file is a signed message without message and signature: only the certificates are of use. Read here and not by a
//! library: of all CMS it is four levels of DER, and RustCrypto's `cms` refuses the BER that CAs send.

use crate::model::der::{self, Reader};

/// id-signedData, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// Returns whether this is PKCS#7 of whatever kind: a `ContentInfo`.
pub fn is_pkcs7(der: &[u8]) -> bool {
    let oid = Reader::new(der)
        .sequence()
        .and_then(|mut info| info.read(der::OID));
    // id-pkcs7, 1.2.840.113549.1.7.
    oid.is_some_and(|oid| oid.starts_with(&SIGNED_DATA[..8]))
}

/// Returns the DER of its certificates, at most `most + 1` of them; `None` when it is damaged, or not of this kind.
pub fn certificates(der: &[u8], most: usize) -> Option<Vec<Vec<u8>>> {
    let mut info = Reader::new(der).sequence()?;
    if info.read(der::OID)? != SIGNED_DATA {
        return None;
    }
    let mut data = Reader::new(info.read(der::context_constructed(0))?).sequence()?;
    data.small_unsigned()?;
    data.read(der::SET)?;
    data.sequence()?;
    let mut found = Vec::new();
    if data.peek() == Some(der::context_constructed(0)) {
        let mut certificates = Reader::new(data.read(der::context_constructed(0))?);
        while !certificates.is_empty() && found.len() <= most {
            // Other kinds of certificate (attributes, PKCS#6) have other tags.
            if let (der::SEQUENCE, content) = certificates.any()? {
                found.push(der::value(der::SEQUENCE, content));
            }
        }
    }
    Some(found)
}
