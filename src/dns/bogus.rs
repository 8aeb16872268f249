//! Why a resolver says SERVFAIL: DNSSEC, where it tells so itself or where the same question passes without checking.
//!
//! A CA must take a bogus answer for none (CA/Browser Forum BR, 3.2.2.4 and 3.2.2.8), so the operator has to know which
//! it is. Rules: RFC 4035, 3.2.2 (checking disabled); RFC 8914 (extended DNS errors).

use hickory_proto::{
    op::Message,
    rr::{
        Name, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};

use super::{
    answer::{raw_name, unusable},
    error::{DnsError, ServerFailure},
    exchange::{self, Wanted},
};
use crate::model::plan::printable_line;

/// The option that carries an extended error.
const EXTENDED_ERROR: u16 = 15;
/// Characters of a server's own words that are shown.
const SHOWN: usize = 200;

/// Asks the resolver that failed why it did; `None` when DNSSEC has nothing to do with it, as far as can be seen.
pub async fn why(error: &DnsError, name: &str, kind: RecordType) -> Option<String> {
    let DnsError::Server {
        server,
        failure: ServerFailure::ResponseCode(code),
        ..
    } = error
    else {
        return None;
    };
    if code != "SERVFAIL" {
        return None;
    }
    let name: Name = raw_name(name).ok()?;
    let (checked, unchecked) = tokio::join!(
        exchange::ask_for(*server, &name, kind, Wanted::Resolved),
        exchange::ask_for(*server, &name, kind, Wanted::Unchecked),
    );
    let said = checked.ok().as_ref().and_then(extended_error);
    if let Some((code, text)) = &said
        && is_about_dnssec(*code)
    {
        let meaning = meaning(*code);
        let colon = if text.is_empty() { "" } else { ": " };
        return Some(format!("DNSSEC: {meaning}{colon}{text}"));
    }
    match unchecked {
        Ok(answer) if unusable(&answer).is_none() => {
            Some("DNSSEC: the resolver has an answer, but it does not validate (bogus)".to_owned())
        }
        _ => said.filter(|(_, text)| !text.is_empty()).map(|(_, text)| text),
    }
}

/// Reads the extended error of an answer: its code and text (RFC 8914, 2).
fn extended_error(answer: &Message) -> Option<(u16, String)> {
    let option = answer.edns.as_ref()?.option(EdnsCode::Unknown(EXTENDED_ERROR))?;
    let EdnsOption::Unknown(_, data) = option else {
        return None;
    };
    let (code, text) = data.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*code), printable_line(text, SHOWN)))
}

/// RFC 8914, 4.2, 4.3, 4.6 to 4.13; 5.2, 27 and 28 of the registry.
fn is_about_dnssec(code: u16) -> bool {
    matches!(code, 1 | 2 | 5..=12 | 25 | 27)
}

fn meaning(code: u16) -> &'static str {
    match code {
        1 => "an algorithm that the resolver does not know",
        2 => "a digest that the resolver does not know",
        5 => "indeterminate",
        7 => "a signature has expired",
        8 => "a signature is not valid yet",
        9 => "a DS record has no DNSKEY that matches it",
        10 => "signatures are missing",
        11 => "no key of the zone may sign it",
        12 => "the proof that a name does not exist is missing",
        25 => "a signature's inception and expiration do not fit",
        27 => "too many iterations of NSEC3",
        _ => "the answer does not validate (bogus)",
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;
    use tokio::net::UdpSocket;

    use super::*;

    /// Asks why a server failed that answers as `reply` says, which is told whether checking is disabled.
    async fn reason(reply: impl Fn(&mut Message, bool)) -> Option<String> {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let failed = DnsError::Server {
            server: server.local_addr().unwrap(),
            question: String::new(),
            failure: ServerFailure::ResponseCode("SERVFAIL".to_owned()),
        };
        let answers = async {
            let mut buffer = [0; 1500];
            loop {
                let (length, client) = server.recv_from(&mut buffer).await.unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                assert!(query.metadata.recursion_desired);
                let mut answer = query.clone().into_response();
                answer.edns = query.edns.clone();
                reply(&mut answer, query.metadata.checking_disabled);
                server.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        };
        tokio::select! {
            reason = why(&failed, "a.test", RecordType::A) => reason,
            () = answers => unreachable!(),
        }
    }

    fn fail(answer: &mut Message, extended: Option<&[u8]>) {
        answer.metadata.response_code = ResponseCode::ServFail;
        if let (Some(data), Some(edns)) = (extended, &mut answer.edns) {
            edns.options_mut()
                .insert(EdnsOption::Unknown(EXTENDED_ERROR, data.to_vec()));
        }
    }

    #[tokio::test]
    async fn tells_bogus_from_broken() {
        let expired = reason(|answer, _| fail(answer, Some(b"\0\x07a.test \x1b[31mRRSIG"))).await;
        assert_eq!(
            expired.as_deref(),
            Some("DNSSEC: a signature has expired: a.test \\u{1b}[31mRRSIG")
        );
        let silent = reason(|answer, unchecked| {
            if !unchecked {
                fail(answer, None);
            }
        })
        .await;
        assert!(
            silent.as_ref().is_some_and(|text| text.contains("bogus")),
            "{silent:?}"
        );
        assert_eq!(reason(|answer, _| fail(answer, None)).await, None);
        let other = reason(|answer, _| fail(answer, Some(b"\0\x16no reachable authority"))).await;
        assert_eq!(other.as_deref(), Some("no reachable authority"));
        assert_eq!(reason(|answer, _| fail(answer, Some(b"\0"))).await, None);
    }

    #[tokio::test]
    async fn asks_nobody_about_other_failures() {
        assert_eq!(why(&DnsError::NoResolver, "a.test", RecordType::A).await, None);
    }
}
